// SPDX-License-Identifier: MIT
/*
 * A share of the host may hold other mounts of the host, and a server that announces them has the
 * kernel mount each by itself, once somebody goes there, with the share's options and without its
 * map (fs/fuse/dir.c, fuse_dentry_automount()): what is in them would be seen by the host's ids,
 * and written by them.
 */
#define _GNU_SOURCE
#include <dirent.h>
#include <errno.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/statfs.h>
#include <sys/syscall.h>

#include "mount/announced.h"
#include "mount/behind.h"

#define MAGIC_FUSE 0x65735546 /* linux/magic.h */
/* linux/stat.h; stx_attributes stands behind stx_mask and stx_blksize */
#define ATTR_AUTOMOUNT 0x1000
enum { ATTRIBUTES = 1 };

/* Whether the kernel would mount something there. */
static bool is_announced(int folder_fd, const char *name)
{
	uint64_t answer[32] = {0}; /* struct statx */

	return !syscall(SYS_statx, folder_fd, name, AT_SYMLINK_NOFOLLOW | AT_NO_AUTOMOUNT, 0,
			answer) &&
	       answer[ATTRIBUTES] & ATTR_AUTOMOUNT;
}

/* Whether a row, or what comes along, is seen in its place. */
static bool is_covered(const struct idmap_stage *stage, const struct idmap_row *row,
		       const char *target, const char *path)
{
	const struct idmap_carried *carried;
	uint32_t i;

	/* An overlay meets it itself, and gives no answer there (EREMOTE). */
	if (row->flags & IDMAP_LAYER)
		return false;
	for (i = 0; i < stage->plan->rows; i++)
		if (!(stage->plan->row[i]->flags & IDMAP_NOFAIL) &&
		    strcmp(stage->plan->row[i]->target, target) &&
		    idmap_path_inside(path, stage->plan->row[i]->target) &&
		    idmap_path_inside(stage->plan->row[i]->target, target))
			return true;
	for (carried = stage->carry; carried; carried = carried->next)
		if (!strcmp(carried->path, path))
			return true;
	return false;
}

int idmap_refuse_announced(const struct idmap_stage *stage, int tree_fd, struct idmap_row *row,
			   const char *target, struct idmap_error *ret_error)
{
	idmap_closed int fd = -1;
	uint64_t buffer[512];
	char path[PATH_MAX];
	struct statfs fs;
	int n, at;

	if (!(row->flags & (IDMAP_CLONE | IDMAP_OWN_ROOT)) && !idmap_is_served(row->type))
		return 0;
	if (fstatfs(tree_fd, &fs) || (uint32_t)fs.f_type != MAGIC_FUSE ||
	    !idmap_map_shown(stage->plan, row))
		return 0;
	fd = openat(tree_fd, ".", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	while ((n = fd < 0 ? fd : getdents(fd, (struct dirent *)buffer, sizeof(buffer))) > 0)
		for (at = 0; at < n;) {
			const struct dirent *entry =
				(const struct dirent *)((const char *)buffer + at);

			at += entry->d_reclen;
			if ((entry->d_type != DT_DIR && entry->d_type != DT_UNKNOWN) ||
			    !strcmp(entry->d_name, ".") || !strcmp(entry->d_name, "..") ||
			    !is_announced(fd, entry->d_name))
				continue;
			idmap_print(path, sizeof(path), "%s/%s", target[1] ? target : "",
				    entry->d_name);
			if (!is_covered(stage, row, target, path))
				return idmap_fail(ret_error, row, IDMAP_NO_MAP, EXDEV,
						  "%s is another mount of the host, which the"
						  " kernel would show there without the map; start"
						  " virtiofsd with --no-announce-submounts, or"
						  " cover it by a row",
						  path);
		}
	if (n < 0)
		idmap_note_row(stage->notes, row,
			       "its server does not let its root folder be read (%s), so mounts of"
			       " the host in it, which the map is not for, would not be seen",
			       idmap_errno_text(errno));
	return 0;
}
