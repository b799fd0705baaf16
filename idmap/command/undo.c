// SPDX-License-Identifier: MIT
/*
 * idmap undo: takes the rows of an apply back, and only what is still the mount that was made then.
 */
#define _GNU_SOURCE
#include <errno.h>
#include <string.h>

#include "command.h"

/* Asked before anything is taken back: whether the kernel can take its map off the folder. */
static int check_root(const struct record *record, const char *folder,
		      struct idmap_error *ret_error)
{
	idmap_closed int root_fd = idmap_open(folder, O_PATH | O_DIRECTORY);
	idmap_closed int fd = -1;
	size_t i;

	for (i = 0; i < record->count; i++)
		if (idmap_row_is_root(record->row[i].row) &&
		    (record->row[i].row->subdir || record->row[i].row->flags & IDMAP_OVERLAY))
			return idmap_fail(
				ret_error, NULL, IDMAP_BAD_SYSTEM, EINVAL,
				"%s is an overlay or a folder of what was mounted there,"
				" which cannot come back; nothing is changed: unmount it, or"
				" leave it",
				folder);
	fd = root_fd < 0 ? root_fd : idmap_clone_unmapped(root_fd);

	return fd < 0 ? idmap_fail(ret_error, NULL, IDMAP_NO_MAP, -fd,
				   "the map of %s itself cannot be taken off (%m), that needs Linux"
				   " 6.15 or newer; nothing is changed: unmount it, or leave it",
				   folder)
		      : 0;
}

static int undo(const char *folder, struct idmap_error *ret_error)
{
	struct mounts mounts = {0};
	struct record record;
	bool root = false;
	size_t i, gone;
	int result = mounts_read(&mounts, ret_error);

	if (result)
		return result;
	if (!record_read(&record, folder))
		return idmap_fail(ret_error, NULL, IDMAP_BAD_SYSTEM, ENOENT,
				  "no idmap apply is recorded for %s; those that are stand"
				  " in " RECORDS,
				  folder);
	take_down_stale(&command_undo, &mounts);
	gone = record_gone(&record, &mounts);
	if (gone)
		fprintf(stderr, "idmap undo: %u mounts of it are not there any more\n",
			(uint32_t)gone);
	for (i = 0; i < record.count; i++)
		root |= recorded_is_root(&record.row[i]) &&
			record_stands(&record, &record.row[i], &mounts);
	if (root)
		result = check_root(&record, folder, ret_error);
	if (!result)
		result = undo_rows(&record, &mounts, ret_error);
	if (!result && root)
		result = unmap_folder(folder, record.before, ret_error);
	if (!result)
		record_remove(folder);
	return result;
}

static int run(int argc, char **argv)
{
	struct idmap_error error;
	idmap_closed int lock_fd = -1;
	const char *folder = "/";
	int at, code;

	for (at = 1; at < argc; at++) {
		if (strcmp(argv[at], "--root") || at + 1 >= argc)
			return bad_use(&command_undo, argv[at],
				       "no option, or one without its value");
		folder = argv[++at];
	}
	folder = real_folder(&command_undo, folder, &code);
	if (!folder)
		return code;
	lock_fd = record_lock(&command_undo, &error);
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
