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

int idmap_open_source(struct idmap_stage *stage, const struct idmap_row *row, bool *ret_folder,
		      struct idmap_error *ret_error)
{
	const int root_fd = stage->disk_fd;
	int fd = idmap_open_inside(root_fd, row->inside, O_PATH | O_DIRECTORY, RESOLVE_NO_SYMLINKS);

	*ret_folder = fd >= 0;
	if (fd == -ENOTDIR)
		fd = idmap_open_inside(root_fd, row->inside, O_PATH, RESOLVE_NO_SYMLINKS);
	if (fd != -ELOOP)
		return fd;
	idmap_carry_now(stage);
	fd = idmap_open_inside(root_fd, row->inside, O_PATH, 0);
	if (fd >= 0 && idmap_check_source_link(stage, row, fd, ret_error)) {
		idmap_close(&fd);
		return IDMAP_TOLD;
	}
	return fd;
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
	idmap_closed int source_fd = -1, folder_fd = -1;
	int fd = row->subdir || !row->inside[1] ? -1 : clone_in_folder(stage, row, ret_folder);
	struct statfs unused;

	if (fd >= 0)
		return fd;
	fd = source_fd = idmap_open_source(stage, row, ret_folder, ret_error);
	if (fd >= 0 && row->subdir) {
		*ret_folder = false;
		fd = folder_fd = idmap_open_inside(source_fd, row->subdir, O_PATH, 0);
		if (fd >= 0 && idmap_check_source_link(stage, row, fd, ret_error))
			return IDMAP_TOLD;
	}
	if (fd == IDMAP_TOLD)
		return fd;
	if (fd >= 0)
		fd = idmap_clone(fd, row->flags & IDMAP_RBIND);
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
