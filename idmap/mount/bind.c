// SPDX-License-Identifier: MIT
/*
 * A folder or file of the root becomes a tree: bind and rbind. It is cloned from the disk view,
 * where nothing is mapped yet.
 */
#define _GNU_SOURCE
#include <errno.h>
#include <sys/stat.h>
#include <sys/statfs.h>

#include "mount/mount.h"

int idmap_open_source(const struct idmap_stage *stage, const struct idmap_row *row,
		      bool *ret_folder)
{
	const int root_fd = stage->disk_fd;
	int fd = idmap_open_inside(root_fd, row->inside, O_PATH | O_DIRECTORY, RESOLVE_NO_SYMLINKS);

	*ret_folder = fd >= 0;
	if (fd == -ENOTDIR)
		fd = idmap_open_inside(root_fd, row->inside, O_PATH, RESOLVE_NO_SYMLINKS);
	return fd == -ELOOP ? IDMAP_BY_LINK : fd;
}

/* A clone of the row's source by the folder that holds it, if no link is in the way. */
static int clone_in_folder(struct idmap_stage *stage, const struct idmap_row *row, bool *ret_folder)
{
	const char *name;
	const int folder_fd = idmap_parent_of(&stage->source, stage->disk_fd, row->inside, &name);
	struct stat st;
	int fd;

	if (folder_fd < 0)
		return folder_fd;
	fd = or_errno(sys_open_tree(folder_fd, name,
				    OPEN_TREE_CLONE | OPEN_TREE_CLOEXEC | AT_SYMLINK_NOFOLLOW |
					    (row->flags & IDMAP_RBIND ? AT_RECURSIVE : 0)));
	if (fd < 0)
		return fd;
	if (fstat(fd, &st) || S_ISLNK(st.st_mode))
		idmap_close(&fd);
	else
		*ret_folder = S_ISDIR(st.st_mode);
	return fd;
}

int idmap_clone_source(struct idmap_stage *stage, const struct idmap_row *row, bool *ret_folder,
		       struct idmap_error *ret_error)
{
	int fd = row->inside[1] ? clone_in_folder(stage, row, ret_folder) : -1;
	idmap_closed int source_fd = -1;
	struct statfs unused;

	if (fd >= 0)
		return fd;
	source_fd = idmap_open_source(stage, row, ret_folder);
	if (source_fd == IDMAP_BY_LINK)
		return IDMAP_BY_LINK;
	fd = source_fd < 0 ? source_fd : idmap_clone(source_fd, row->flags & IDMAP_RBIND);
	if (fd >= 0) /* as idmap_tree_map() does: maybe nobody has asked its server yet */
		fstatfs(fd, &unused);
	if (fd < 0)
		idmap_fail(
			ret_error, row, source_fd < 0 ? IDMAP_NO_SOURCE : IDMAP_NO_MOUNT, -fd,
			"%s in the new root cannot be cloned (%m); a bind's SOURCE is a path in the new"
			" root",
			row->source);
	return fd;
}
