// SPDX-License-Identifier: MIT
/*
 * A plan is carried out, row by row: all of it stands in the end, or nothing is left of any.
 */
#define _GNU_SOURCE
#include <errno.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/statfs.h>
#include <sys/statvfs.h> /* ST_RDONLY */

#include "mount/behind.h"

#define MOUNT_S 300    /* a journal may take its time */
#define NOTES_LEAST 16 /* more than one row has */

static void begin(struct idmap_build *build, enum idmap_step step, const struct idmap_row *row,
		  uint32_t limit_s)
{
	if (build->step)
		build->step(build, step, row, limit_s);
}

static void tell(struct idmap_build *build)
{
	if (build->notes->first && build->tell)
		build->tell(build);
}

/*
 * What is odd about a row's tree is told once the paths of all rows are known: until then it may be
 * another tree. Steps are told at once, and all where the room for it gets short.
 */
static void tell_row(struct idmap_build *build)
{
	const struct idmap_arena *arena = build->notes->arena;
	const size_t room = (size_t)(arena->end - arena->at);

	if (build->followed || build->plan.rows == 1 || build->notes->traced_us ||
	    room < NOTES_LEAST * sizeof(struct idmap_note))
		tell(build);
}

/* IDMAP_BY_LINK: where its target is must be known before rows on it can be skipped, too. */
static int skip(struct idmap_build *build, struct idmap_row *row)
{
	int result = idmap_stage_skip(&build->stage, row);

	build->skips |= !result;
	build->row_us = idmap_now_us();
	return result;
}

/* The row that was skipped and has this path in it, or NULL. */
static const struct idmap_row *skipped_around(const struct idmap_build *build, const char *path)
{
	const struct idmap_plan *plan = &build->plan;
	uint32_t i;

	for (i = 0; build->skips && path && i < plan->rows; i++)
		if (plan->row[i]->flags & IDMAP_SKIPPED &&
		    idmap_path_inside(path, plan->row[i]->target))
			return plan->row[i];
	return NULL;
}

/* For one answer of what is there; a short wait= is about its coming. */
static uint32_t patience_s(const struct idmap_row *row)
{
	return row->wait_s > IDMAP_WAIT_S ? row->wait_s : IDMAP_WAIT_S;
}

static int wait_for_device(struct idmap_build *build, struct idmap_row *row,
			   struct idmap_error *ret_error)
{
	int result;

	if (row->flags & IDMAP_OWN_ROOT)
		return 0;
	begin(build, IDMAP_STEP_DEVICE, row, patience_s(row));
	while ((result = idmap_device_wait(&build->devices, row, build->notes, ret_error)) ==
	       -EAGAIN)
		tell(build);
	if (build->devices.came_us)
		build->row_us = build->devices.came_us;
	return result;
}

static int build_tree(struct idmap_build *build, struct idmap_row *row,
		      struct idmap_error *ret_error)
{
	if (idmap_is_served(row->type))
		begin(build, IDMAP_STEP_SERVER, row, patience_s(row));
	else
		begin(build, IDMAP_STEP_PLACE, row, row->wait_s > MOUNT_S ? row->wait_s : MOUNT_S);
	return idmap_stage_add(&build->stage, row, ret_error);
}

static void turn_read_only(struct idmap_row *row)
{
	row->attr |= IDMAP_RDONLY;
	row->found_attr |= IDMAP_RDONLY;
	row->flags |= IDMAP_TURNED_RO;
}

static void note_turned(struct idmap_build *build, const struct idmap_row *row)
{
	struct stat st;
	const bool file =
		row->flags & IDMAP_IMAGE || (!stat(row->device, &st) && S_ISREG(st.st_mode));

	idmap_note_mild(build->notes,
			row->flags & IDMAP_OWN_ROOT && !build->plan.root->writable
				? "%s was mounted ro, so it is ro on %s, and not rw; write rw"
				  " on the kernel command line, too"
			: file ? "%s is an image file, so it is ro on %s, and not rw"
			: idmap_row_part(row)
				? "%s, or a device that its options name, is read-only, so it is"
				  " ro on %s, and not rw"
				: "%s is read-only, so it is ro on %s, and not rw",
			row->source, row->target);
}

/* A disk of somebody else's that is written to. */
static void note_marked(struct idmap_build *build, const struct idmap_row *row)
{
	const bool written = row->device && *row->device == '/' && !row->inside &&
			     !idmap_has_no_device(row->type) && !(row->attr & IDMAP_RDONLY);
	const char *owner = written ? idmap_disks_mark(row->device) : NULL;

	if (owner)
		idmap_note_row(build->notes, row,
			       "the device belongs to %s by a mark on it, which will not have what"
			       " is written here; mount what is made of it, or take the mark off"
			       " (wipefs)",
			       owner);
}

static int build_row(struct idmap_build *build, struct idmap_row *row,
		     struct idmap_error *ret_error)
{
	const struct idmap_row *skipped = skipped_around(build, row->inside);
	uint64_t end_us;
	int result;

	/* An earlier row's, which was skipped; not each failure fills it. */
	ret_error->absent = false;
	ret_error->class = 0;
	if (skipped_around(build, row->target)) {
		result = skip(build, row);
		if (!result)
			idmap_note_mild(build->notes, "%s is skipped, what it stands on is absent",
					row->target);
		return result;
	}
	/* What lies below the row that is not there is not what is meant. */
	if (skipped) {
		result = idmap_fail(ret_error, row, IDMAP_NO_SOURCE, ENOENT,
				    "the row for %s, which %s lies on, is absent%s",
				    skipped->target, row->source,
				    row->flags & IDMAP_LAYER ? "; take nofail from that row, as a"
							       " layer cannot be left out"
				    : row->flags & IDMAP_NOFAIL ? ""
								: "; say nofail here, too");
		ret_error->absent = true;
	} else {
		result = wait_for_device(build, row, ret_error);
	}
	if (row->verity && !(row->attr & IDMAP_RDONLY))
		turn_read_only(row);
	if (!result)
		result = build_tree(build, row, ret_error);
	/* As the kernel does for a root on a disk that cannot be written (init/do_mounts.c). */
	if (ret_error->class == IDMAP_NO_MOUNT && !(row->attr & IDMAP_RDONLY) &&
	    !(row->flags & (IDMAP_UPPER | IDMAP_OVERLAY | IDMAP_CLONE | IDMAP_OWN_ROOT)) &&
	    (result == -EACCES || result == -EROFS ||
	     (result == -EBUSY && idmap_was_denied(&build->plan, row)))) {
		turn_read_only(row);
		row->flags |= IDMAP_DENIED;
		result = build_tree(build, row, ret_error);
	}
	if (!result) {
		idmap_note_odd(build->notes, build->table, &build->plan, row);
		note_marked(build, row);
	}
	idmap_note_written(row, build->notes);
	/* It may be what stands behind a link, and is there then. */
	if (result && row->flags & IDMAP_NOFAIL && ret_error->absent && row->inside &&
	    !build->followed)
		return IDMAP_BY_LINK;
	if (result && row->flags & IDMAP_NOFAIL && ret_error->absent) {
		result = skip(build, row);
		if (result)
			return result;
		idmap_note_error(build->notes, ret_error);
		idmap_note_mild(build->notes, "%s is skipped, its row says nofail", row->target);
		return 0;
	}
	end_us = idmap_now_us();
	row->took_us = (uint32_t)(end_us - build->row_us);
	build->row_us = end_us;
	return result;
}

/* Adds rows, up to the root alone or all of them. *ret_row: the one that failed. */
static int add_rows(struct idmap_build *build, bool root_only, const struct idmap_row **ret_row,
		    struct idmap_error *ret_error)
{
	const struct idmap_plan *plan = &build->plan;
	struct idmap_stage *stage = &build->stage;
	int result = idmap_stage_open(stage, plan, build->carry, build->notes, ret_error);
	uint32_t i;

	stage->modules_cause = build->devices.modules_cause;
	stage->build = build;
	for (i = 0; !result && i < plan->rows && !(root_only && stage->seen_fd >= 0); i++) {
		*ret_row = plan->row[i];
		result = build_row(build, plan->row[i], ret_error);
		tell_row(build);
	}
	return result;
}

/* Makes the plan anew, by the paths that links of the root lead to. 1: some are others. */
static int follow_links(struct idmap_build *build, struct idmap_error *ret_error)
{
	struct idmap_notes *const said = build->notes, again;
	struct idmap_arena rest = *said->arena;
	const struct idmap_row *unused;
	int changed, result;

	/* Of the root that stands for this alone nothing is told that was not. */
	idmap_notes_init(&again, &rest);
	build->notes = &again;
	changed = add_rows(build, true, &unused, ret_error);
	if (!changed)
		changed = idmap_links_resolve(&build->stage, build->devices.arena, ret_error);
	idmap_stage_drop(&build->stage);
	build->notes = said;
	if (changed < 0)
		return changed;
	build->followed = true;
	result = idmap_plan_make(build->table, build->plan.root, &build->plan);
	return result ? result : changed;
}

/* Of what was found ro another row may have made the filesystem writable since, as btrfs allows. */
static void find_anew(const struct idmap_stage *stage, struct idmap_row *row)
{
	idmap_closed int fd = idmap_open_inside(stage->seen_fd, row->target, O_PATH, 0);
	struct statfs fs;

	if (fstatfs(fd, &fs) || fs.f_flags & ST_RDONLY)
		return;
	row->attr &= ~(uint32_t)IDMAP_RDONLY;
	row->found_attr &= ~(uint32_t)IDMAP_RDONLY;
	row->flags &= ~(uint32_t)IDMAP_TURNED_RO;
}

/* Once all rows stand, or one has failed. */
static void note_all_turned(struct idmap_build *build, bool stand)
{
	uint32_t i;

	for (i = 0; i < build->plan.rows; i++) {
		struct idmap_row *row = build->plan.row[i];

		if (!(row->flags & IDMAP_PLACED))
			continue;
		if (stand && row->found_attr & IDMAP_RDONLY && !(row->flags & IDMAP_LAYER))
			find_anew(&build->stage, row);
		if (row->flags & IDMAP_TURNED_RO)
			note_turned(build, row);
		tell_row(build);
	}
}

/*
 * Once more, by real paths. What fails before those are known may have been looked for where a row
 * that is named by a link is still to stand.
 */
static int add_followed(struct idmap_build *build, int failed, const struct idmap_row **ret_row,
			struct idmap_error *ret_error)
{
	const struct idmap_error error = *ret_error;
	int result;

	note_all_turned(build, false); /* it may be why */
	idmap_stage_drop(&build->stage);
	build->skips = false;
	result = follow_links(build, ret_error);
	if (result < 0)
		return result;
	if (!result && failed != IDMAP_BY_LINK) { /* it was no link's fault */
		*ret_error = error;
		return failed;
	}
	idmap_notes_forget(build->notes); /* of rows that are built once more */
	return add_rows(build, false, ret_row, ret_error);
}

int idmap_build(struct idmap_build *build, struct idmap_error *ret_error)
{
	const struct idmap_row *row = NULL;
	int result = add_rows(build, false, &row, ret_error);
	uint32_t i;

	if (result == IDMAP_BY_LINK ||
	    (result && build->plan.rows > 1 && build->stage.seen_fd >= 0))
		result = add_followed(build, result, &row, ret_error);
	if (result == IDMAP_BY_LINK)
		result = idmap_link_failed(&build->plan, row, ret_error);
	if (!result)
		result = idmap_rows_look(&build->stage, ret_error);
	for (i = 0; !result && build->skips && i < build->plan.rows; i++)
		idmap_written_settle(&build->stage, build->plan.row[i]);
	if (!result && build->plan.new_root)
		result = idmap_stage_look(&build->stage, ret_error);
	note_all_turned(build, !result);
	/* Rows alone go into the initramfs, and what they are meant for is more often forgotten. */
	if (result == -ENOENT && ret_error->class == IDMAP_NO_TARGET && !build->plan.new_root &&
	    !build->plan.root->booted && row && !idmap_path_inside(row->target, "/run") &&
	    !idmap_path_inside(row->target, "/dev"))
		idmap_fail_more(ret_error, ", or name a root with root= or a row for /");
	if (result)
		idmap_stage_drop(&build->stage);
	tell(build);
	return result;
}
