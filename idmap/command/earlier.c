// SPDX-License-Identifier: MIT
/*
 * What stands already when idmap apply begins: of an earlier one to the same folder, of one to
 * another folder, or since the boot. It is neither done a second time nor lost sight of.
 */
#define _GNU_SOURCE
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "command.h"

struct earlier {
	const struct idmap_plan *plan;
	uint64_t number; /* of the table */
	const char *folder;
	struct mounts *mounts;
	struct records records;
};

/* --- of this folder ------------------------------------------------------------------------- */

/* The next row from *at on whose mount stands, and its path; NULL: there is none. */
static const struct recorded *next_standing(const struct record *record,
					    const struct mounts *mounts, size_t *at,
					    char path[PATH_MAX])
{
	while (*at < record->count) {
		const struct recorded *recorded = &record->row[(*at)++];

		record_target(record, recorded->row, path);
		if (recorded->id.number && record_stands(record, recorded, mounts))
			return recorded;
	}
	return NULL;
}

/* Whether the row's mount is what is seen by its path, which it gives. */
static bool is_seen(const struct record *record, const struct recorded *recorded,
		    char path[PATH_MAX])
{
	record_target(record, recorded->row, path);
	return mount_same(mount_id_of(AT_FDCWD, path), recorded->id);
}

/* The first row that stands, and is not what is seen by its path; false: there is none. */
static bool find_unseen(const struct record *record, const struct mounts *mounts,
			char path[PATH_MAX])
{
	const struct recorded *recorded;
	size_t at = 0;

	while ((recorded = next_standing(record, mounts, &at, path)))
		if (!is_seen(record, recorded, path))
			return true;
	return false;
}

/*
 * What an earlier one has put in place. 1: the same table stands already. -errno: another one does,
 * or what was interrupted cannot be taken back.
 */
static int look_back(struct earlier *earlier, struct idmap_error *ret_error)
{
	const struct idmap_plan *plan = earlier->plan;
	const char *folder = earlier->folder;
	struct record before;
	size_t standing, gone;
	char path[PATH_MAX];
	bool unseen;
	int result;

	if (!record_read(&before, folder))
		return 0;
	standing = record_count(&before, earlier->mounts, true);
	gone = record_count(&before, earlier->mounts, false);
	if (standing && (!before.done || before.halfway)) {
		fprintf(stderr,
			"idmap apply: an interrupted %s has left rows in place; they are taken back\n",
			before.halfway ? "idmap undo" : "one");
		result = take_back(&before, earlier->mounts, ret_error);
		return result ? result : mounts_read(earlier->mounts, ret_error);
	}
	if (!standing)
		return 0;
	unseen = before.plan == earlier->number && find_unseen(&before, earlier->mounts, path);
	if (!gone && before.plan == earlier->number && !unseen) {
		if (before.count < plan->rows)
			fprintf(stderr,
				"idmap apply: %u rows were skipped then; take the others back with"
				" idmap undo to try them again\n",
				plan->rows - (uint32_t)before.count);
		return 1;
	}
	if (unseen)
		return idmap_fail(
			ret_error, NULL, IDMAP_BAD_SYSTEM, EEXIST,
			"the rows stand in %s, but the one on %s is not seen there: it was"
			" moved, or another mount covers it; move it back, or unmount what"
			" covers it, and say this again",
			folder, path);
	return idmap_fail(ret_error, NULL, IDMAP_BAD_SYSTEM, EEXIST,
			  "%u mounts of an earlier apply stand in %s%s; take them back with idmap"
			  " undo --root %s",
			  (uint32_t)standing, folder,
			  before.plan == earlier->number
				  ? ", and others of it are not there any more"
				  : ", of another table",
			  folder);
}

int verify_earlier(const char *folder, struct idmap_error *ret_error)
{
	struct record record;
	char path[PATH_MAX];
	size_t i;

	if (!record_read(&record, folder))
		return 0;
	if (!record.done || record.halfway)
		return idmap_fail(ret_error, NULL, IDMAP_BAD_SYSTEM, EBUSY,
				  "what was begun in %s was interrupted; say idmap %s --root %s"
				  " again",
				  folder, record.halfway ? "undo" : "apply", folder);
	for (i = 0; i < record.count; i++) {
		const struct recorded *recorded = &record.row[i];

		if (recorded->id.number && !recorded_is_root(recorded) &&
		    !is_seen(&record, recorded, path))
			return idmap_fail(
				ret_error, NULL, IDMAP_BAD_SYSTEM, ENOENT,
				"the row on %s is not seen there any more: another mount"
				" covers it, or another root was made of this one, as"
				" systemd.volatile=, rd.overlay= and overlayroot= do; leave out"
				" one of the two",
				path);
	}
	return 0;
}

/* --- of others ------------------------------------------------------------------------------- */

static bool stands_in(const struct record *record, const struct mounts *mounts, const char *folder,
		      char path[PATH_MAX])
{
	size_t at = 0;

	while (next_standing(record, mounts, &at, path))
		if (idmap_path_inside(path, folder))
			return true;
	return false;
}

/*
 * The row as it was written, but for where it stands (there), and what says how it is put there.
 */
static char *text_of(const struct idmap_row *row, const char *target)
{
	struct idmap_row plain = *row;

	plain.target = target;
	plain.flags &= ~(uint32_t)(IDMAP_NOFAIL | IDMAP_WAIT | IDMAP_MKDIR);
	plain.wait_s = IDMAP_WAIT_S;
	plain.attr &= ~plain.found_attr;
	return row_line(&plain);
}

/* Both have the same mount's path behind them; so of one root they are if they say it alike. */
static bool is_same_row(const struct idmap_row *row, const struct idmap_row *recorded)
{
	const bool one_root = !strcmp(row->target, recorded->target);
	char *a = text_of(row, recorded->target), *b = text_of(recorded, recorded->target);
	/* What stands in a root is named from there. */
	const bool same = a && b && !strcmp(a, b) && (one_root || !row->inside);

	free(a);
	free(b);
	return same;
}

/* The next layer of that target, of so many rows from *at on; or NULL. */
static const struct idmap_row *next_layer(const struct earlier *earlier, const char *target,
					  uint32_t *at)
{
	while (*at < earlier->plan->rows) {
		const struct idmap_row *row = earlier->plan->row[(*at)++];

		if (row->flags & IDMAP_LAYER && !strcmp(row->target, target))
			return row;
	}
	return NULL;
}

/* The same, and of the same layers if it has some. */
static bool is_same(const struct earlier *earlier, const struct idmap_row *row,
		    const struct record *record, const struct idmap_row *recorded)
{
	bool same = is_same_row(row, recorded);
	uint32_t at = 0;
	size_t i;

	for (i = 0; same && i < record->count; i++) {
		const struct idmap_row *layer = record->row[i].row, *ours;

		if (!(layer->flags & IDMAP_LAYER) || strcmp(layer->target, recorded->target))
			continue;
		ours = next_layer(earlier, row->target, &at);
		same = ours && is_same_row(ours, layer);
	}
	return same && !next_layer(earlier, row->target, &at);
}

/* What stands by another hand of ours is not done a second time. 1: all of it is that. */
static int look_at_others(const struct earlier *earlier, struct idmap_error *ret_error)
{
	const struct idmap_plan *plan = earlier->plan;
	const struct idmap_row *first = NULL;
	uint32_t i, rows = 0, stand = 0;
	char path[PATH_MAX];

	for (i = 0; i < plan->rows; i++) {
		const struct idmap_row *row = plan->row[i], *there;
		const struct idmap_mountinfo *mount;
		const struct record *record;

		if (row->flags & IDMAP_LAYER || idmap_row_is_root(row))
			continue;
		rows++;
		mount = mounts_at(earlier->mounts,
				  idmap_path_join(path, earlier->folder, row->target));
		there = mount ? records_row(&earlier->records, mount, &record) : NULL;
		if (!there || !is_same(earlier, row, record, there))
			continue;
		stand++;
		first = first ? first : row;
	}
	if (!stand)
		return 0;
	if (stand == rows && !plan->new_root)
		return 1;
	return idmap_fail(ret_error, first, IDMAP_BAD_SYSTEM, EEXIST,
			  "this row stands there already, since the boot or by another idmap; leave"
			  " out what stands, or unmount it first");
}

/* Rows of another folder stand in this one, and would lose their numbers. */
static int look_inside(const struct earlier *earlier, struct idmap_error *ret_error)
{
	char path[PATH_MAX];
	size_t i;

	for (i = 0; i < earlier->records.count; i++) {
		const struct record *record = &earlier->records.record[i];

		if (*record->folder && strcmp(record->folder, earlier->folder) &&
		    stands_in(record, earlier->mounts, earlier->folder, path))
			return idmap_fail(ret_error, NULL, IDMAP_BAD_SYSTEM, EEXIST,
					  "rows of an earlier apply to %s stand in it, such as the"
					  " one on %s; take them back with idmap undo --root %s",
					  record->folder, path, record->folder);
	}
	return 0;
}

int look_earlier(const struct idmap_plan *plan, uint64_t number, const char *folder,
		 struct mounts *mounts, struct idmap_error *ret_error)
{
	struct earlier earlier = {plan, number, folder, mounts, {0}};
	int result = look_back(&earlier, ret_error);

	if (result)
		return result;
	records_read(&earlier.records);
	result = look_at_others(&earlier, ret_error);
	if (!result && plan->new_root)
		result = look_inside(&earlier, ret_error);
	return result;
}
