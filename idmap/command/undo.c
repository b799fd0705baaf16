// SPDX-License-Identifier: MIT
/*
 * idmap undo: takes the rows of an apply back, and only what is still the mount that was made then.
 */
#define _GNU_SOURCE
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mount.h>

#include "command.h"

/* --- rows ------------------------------------------------------------------------------------ */

/* Writes anew what is left of it: the rows that stand. */
static void record_rest(const struct record *record, const struct mounts *mounts)
{
	struct record rest;
	struct idmap_error unused;
	size_t i;

	if (record_begin(&rest, record->folder, record->plan, record->before, record->replaces,
			 &unused))
		return;
	for (i = 0; i < record->count; i++)
		if (!record->row[i].id.number || record_stands(record, &record->row[i], mounts))
			record_row(&rest, record->row[i].row, record->row[i].id, &unused);
	for (i = 0; i < record->inner_count; i++)
		record_inner(&rest, record->inner[i]);
	rest.halfway = true;
	rest.stood_on = record->stood_on;
	record_end(&rest, record->done, &unused);
}

/*
 * What stands on the row, was in the folder before, and comes along where that is replaced: the row
 * goes with what was replaced. NULL: there is none, or somebody has mounted something there since.
 */
static const struct idmap_mountinfo *along_on(const struct record *record, uint64_t number,
					      const struct mounts *mounts)
{
	const struct idmap_mountinfo *along = NULL;
	size_t i;

	for (i = 0; i < mounts->count; i++) {
		const struct inner_mount *inner;

		if (!mounts_inside(mounts, &mounts->mount[i], number))
			continue;
		inner = record_inner_of(record, &mounts->mount[i]);
		if (!inner && !record_row_of(record, &mounts->mount[i]))
			return NULL;
		if (inner && inner->along)
			along = &mounts->mount[i];
	}
	return along;
}

/* Its path leads to it, and nothing is mounted on it. */
static bool is_uppermost(const struct mounts *mounts, const struct idmap_mountinfo *mount)
{
	size_t i;

	for (i = 0; i < mounts->count; i++)
		if (!strcmp(mounts->mount[i].parent, mount->id))
			return false;
	return mounts_at(mounts, mount->target) == mount;
}

/* Unmounts what the row shows with its tree, what hides others first; -EBUSY: more stands there. */
static int undo_inside(const struct record *record, uint64_t number, struct mounts *mounts,
		       struct idmap_error *ret_error)
{
	const struct idmap_mountinfo *next;
	bool left;
	size_t i;

	/* Of an interrupted one none is recorded, and nobody has had the time to add any. */
	for (i = 0; record->done && i < mounts->count; i++)
		if (mounts_inside(mounts, &mounts->mount[i], number) &&
		    !record_inner_of(record, &mounts->mount[i]))
			return -EBUSY;
	do {
		left = false;
		next = NULL;
		for (i = 0; i < mounts->count; i++) {
			const struct idmap_mountinfo *mount = &mounts->mount[i];

			if (!mounts_inside(mounts, mount, number))
				continue;
			left = true;
			if (is_uppermost(mounts, mount))
				next = mount;
		}
		if (next && umount2(next->target, UMOUNT_NOFOLLOW))
			return -errno;
		if (next && mounts_read(mounts, ret_error))
			return -ENOMEM;
	} while (next);
	return left ? -EBUSY : 0;
}

/* Whether a row that stands is what is seen there: nothing of somebody else's is taken down. */
static int check_seen(const struct record *record, const struct recorded *recorded,
		      struct idmap_error *ret_error)
{
	char path[PATH_MAX];
	struct idmap_mount_id top = mount_id_on(record_target(record, recorded->row, path));

	return mount_same(top, recorded->id)
		       ? 0
		       : idmap_fail(ret_error, NULL, IDMAP_BAD_SYSTEM, EBUSY,
				    "what was put on %s is covered by another mount by now, or was"
				    " moved; unmount that first",
				    path);
}

/* Unmounts one row that stands. */
static int undo_row(const struct record *record, const struct recorded *recorded,
		    struct mounts *mounts, struct idmap_error *ret_error)
{
	char path[PATH_MAX];
	int result = check_seen(record, recorded, ret_error);

	if (result)
		return result;
	record_target(record, recorded->row, path);
	if (recorded->row->flags & IDMAP_RBIND)
		result = undo_inside(record, recorded->id.number, mounts, ret_error);
	if (!result)
		result = or_errno(umount2(path, UMOUNT_NOFOLLOW));
	return result ? idmap_fail(ret_error, NULL, IDMAP_BAD_SYSTEM, -result,
				   "%s cannot be unmounted (%m); end what uses it (fuser -m %s), or"
				   " unmount what was mounted in it, and say idmap undo again",
				   path, path)
		      : 0;
}

/* `root`: the folder itself is replaced afterwards. */
static int undo_rows(struct record *record, bool root, struct mounts *mounts,
		     struct idmap_error *ret_error)
{
	size_t i;
	int result;

	for (i = record->count; i--;) {
		const struct recorded *recorded = &record->row[i];

		if (recorded_is_root(recorded) || !record_stands(record, recorded, mounts) ||
		    (root && along_on(record, recorded->id.number, mounts)))
			continue;
		result = undo_row(record, recorded, mounts, ret_error);
		if (!result)
			result = mounts_read(mounts, ret_error);
		if (result) {
			record_rest(record, mounts);
			return result;
		}
	}
	return 0;
}

/* --- all of it ------------------------------------------------------------------------------- */

/* The mount that the row's hides, which is none of the record's; NULL: there is none. */
static const struct idmap_mountinfo *
hidden_by(const struct record *record, const struct recorded *recorded, const struct mounts *mounts)
{
	char path[PATH_MAX];
	size_t i;

	record_target(record, recorded->row, path);
	for (i = 0; i < mounts->count; i++) {
		const struct idmap_mountinfo *mount = &mounts->mount[i];

		if (idmap_path_inside(mount->target, path) && !record_row_of(record, mount) &&
		    !mounts_inside(mounts, mount, recorded->id.number))
			return mount;
	}
	return NULL;
}

/* No path leads to what a row hides that goes with the folder, so that could not come along. */
static int check_hidden(const struct record *record, const struct mounts *mounts,
			struct idmap_error *ret_error)
{
	char path[PATH_MAX];
	size_t i;

	for (i = 0; i < record->count; i++) {
		const struct recorded *recorded = &record->row[i];
		const struct idmap_mountinfo *hidden, *along;

		if (recorded_is_root(recorded) || !record_stands(record, recorded, mounts))
			continue;
		along = along_on(record, recorded->id.number, mounts);
		hidden = along ? hidden_by(record, recorded, mounts) : NULL;
		if (hidden)
			return idmap_fail(ret_error, NULL, IDMAP_BAD_SYSTEM, EBUSY,
					  "the row on %s covers the mount on %s, and that on %s"
					  " stands on it; nothing is changed: unmount %s, and say"
					  " this again",
					  record_target(record, recorded->row, path),
					  hidden->target, along->target, along->target);
	}
	return 0;
}

/* Asked before anything is taken back: whether the folder can become what it was. */
static int check_root(const struct record *record, const char *folder, const struct mounts *mounts,
		      struct idmap_error *ret_error)
{
	const bool maps = record_maps_root(record);
	idmap_closed int root_fd = idmap_open(folder, O_PATH | O_DIRECTORY);
	idmap_closed int fd = -1;
	size_t i;
	int result;

	for (i = 0; i < record->count; i++)
		if (idmap_row_is_root(record->row[i].row) &&
		    (record->row[i].row->subdir || record->row[i].row->flags & IDMAP_OVERLAY))
			return idmap_fail(
				ret_error, NULL, IDMAP_BAD_SYSTEM, EINVAL,
				"%s is an overlay or a folder of what was mounted there,"
				" which cannot come back; nothing is changed: unmount it, or"
				" leave it",
				folder);
	if (maps)
		fd = root_fd < 0 ? root_fd : idmap_clone_unmapped(root_fd);
	if (maps && fd < 0)
		return idmap_fail(ret_error, NULL, IDMAP_NO_MAP, -fd,
				  "the map of %s itself cannot be taken off (%m), that needs Linux"
				  " 6.15 or newer; nothing is changed: unmount it, or leave it",
				  folder);
	result = check_hidden(record, mounts, ret_error);
	return result ? result : unmap_folder(record, true, ret_error);
}

/* An interrupted one has put the new root beneath the old one, which hides it still. */
static bool is_beneath(const struct record *record)
{
	const struct idmap_mount_id top = mount_id_on(record->folder);

	return !record->done && record->replaces.number && mount_same(top, record->replaces);
}

/* What the folder's mount stands on. */
static uint64_t stands_on(const struct record *record, const struct mounts *mounts)
{
	const struct idmap_mountinfo *top = mounts_at(mounts, record->folder);

	return top ? strtoull(top->parent, NULL, 10) : 0;
}

/* An interrupted undo has put the old root beneath the new one, which hides it still. */
static int finish(const struct record *record, struct idmap_error *ret_error)
{
	const int result = idmap_take_down(record->folder);

	if (result)
		return idmap_fail(ret_error, NULL, IDMAP_BAD_SYSTEM, -result,
				  "%s cannot be unmounted (%m); unmount it, and what it hides is"
				  " as it was",
				  record->folder);
	record_remove(record->folder);
	return 0;
}

int take_back(struct record *record, struct mounts *mounts, struct idmap_error *ret_error)
{
	const struct recorded *root = NULL;
	size_t i;
	int result = 0;

	for (i = 0; i < record->count; i++)
		if (recorded_is_root(&record->row[i]) &&
		    record_stands(record, &record->row[i], mounts))
			root = &record->row[i];
	if (root && is_beneath(record)) {
		result = put_back_folder(record->folder, ret_error);
		if (!result)
			record_remove(record->folder);
		return result;
	}
	if (root)
		result = check_seen(record, root, ret_error);
	if (!result && root && record->stood_on && stands_on(record, mounts) != record->stood_on)
		return finish(record, ret_error);
	if (!result && root)
		result = check_root(record, record->folder, mounts, ret_error);
	if (result)
		return result;
	record_goes(record, stands_on(record, mounts));
	result = undo_rows(record, root, mounts, ret_error);
	if (!result && root) {
		result = unmap_folder(record, false, ret_error);
		if (result)
			record_rest(record, mounts);
	}
	if (!result)
		record_remove(record->folder);
	return result;
}

static int undo(const char *folder, struct idmap_error *ret_error)
{
	struct mounts mounts = {0};
	struct record record;
	size_t gone;
	int result = mounts_read(&mounts, ret_error);

	if (result)
		return result;
	/* One that was killed early has recorded nothing. */
	take_down_stale(&command_undo, &mounts);
	if (!record_read(&record, folder))
		return idmap_fail(ret_error, NULL, IDMAP_BAD_SYSTEM, ENOENT,
				  "no idmap apply is recorded for %s; those that are stand"
				  " in " RECORDS,
				  folder);
	gone = record_count(&record, &mounts, false);
	if (gone && record.done)
		fprintf(stderr, "idmap undo: %u mounts of it are not there any more\n",
			(uint32_t)gone);
	return take_back(&record, &mounts, ret_error);
}

static int run(int argc, char **argv)
{
	struct idmap_error error;
	idmap_closed int lock_fd = -1;
	const char *folder = NULL;
	int at, code;

	for (at = 1; at < argc; at++) {
		if (strcmp(argv[at], "--root") || at + 1 >= argc || folder)
			return bad_use(&command_undo, argv[at], NO_OPTION);
		folder = argv[++at];
	}
	folder = real_folder(&command_undo, folder ? folder : "/", &code);
	if (!folder)
		return code;
	lock_fd = record_lock(&command_undo, &error);
	hold_signals();
	if (lock_fd >= 0 && !undo(folder, &error))
		return EXIT_DONE;
	return tell_failed(&command_undo, &error);
}

const struct command command_undo = {
	"undo",
	"[--root DIR]",
	"Takes back what the last idmap apply has put in place below a folder, as far as it is still the same\n"
	"mount; folders that X-mount.mkdir has made stay. The map of the folder itself can be taken off from\n"
	"Linux 6.15 on.\n\n"
	"  --root DIR  the one that was given to apply; default: /\n",
	run,
};
