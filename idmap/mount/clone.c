// SPDX-License-Identifier: MIT
/*
 * What stands somewhere already becomes a tree: a folder or file of the disk view, the root that we
 * are in, a folder of another tree. open_tree(2) clones mounts, and a clone of an unmapped one can
 * be mapped.
 */
#define _GNU_SOURCE
#include <errno.h>
#include <sys/stat.h>
#include <sys/statfs.h>

#include "mount/mount.h"

int idmap_clone(int dir_fd, bool recursive)
{
	return or_errno(sys_open_tree(dir_fd, "",
				      OPEN_TREE_CLONE | OPEN_TREE_CLOEXEC | AT_EMPTY_PATH |
					      (recursive ? AT_RECURSIVE : 0)));
}

int idmap_clone_own_root(const struct idmap_row *row, struct idmap_error *ret_error)
{
	idmap_closed int root_fd = idmap_open_own_root();
	int fd = root_fd < 0 ? root_fd : idmap_clone(root_fd, false);

	if (fd < 0)
		idmap_fail(ret_error, row, IDMAP_NO_MOUNT, -fd,
			   "the root cannot be cloned (%m); boot with an initramfs");
	return fd;
}

int idmap_open_source(struct idmap_views *views, const struct idmap_row *row, bool *ret_folder,
		      struct idmap_error *ret_error)
{
	const int root_fd = views->disk_fd;
	int fd = idmap_open_inside(root_fd, row->inside, O_PATH | O_DIRECTORY, RESOLVE_NO_SYMLINKS);

	*ret_folder = fd >= 0;
	if (fd == -ENOTDIR)
		fd = idmap_open_inside(root_fd, row->inside, O_PATH, RESOLVE_NO_SYMLINKS);
	if (fd != -ELOOP)
		return fd;
	idmap_carry_now(views);
	fd = idmap_open_in_root(root_fd, row->inside, O_PATH);
	if (fd >= 0 && idmap_check_source_link(views, row, fd, ret_error)) {
		idmap_close(&fd);
		return IDMAP_TOLD;
	}
	return fd;
}

/* A clone of the row's source by the folder that holds it, if no link is in the way. */
static int clone_in_folder(struct idmap_views *views, const struct idmap_row *row, bool *ret_folder)
{
	const char *name;
	const int folder_fd = idmap_parent_of(&views->source, views->disk_fd, row->inside, &name);
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

int idmap_clone_source(struct idmap_views *views, const struct idmap_row *row, bool *ret_folder,
		       struct idmap_error *ret_error)
{
	idmap_closed int source_fd = -1, folder_fd = -1;
	int fd = row->subdir || !row->inside[1] ? -1 : clone_in_folder(views, row, ret_folder);
	struct statfs unused;

	if (fd >= 0)
		return fd;
	fd = source_fd = idmap_open_source(views, row, ret_folder, ret_error);
	if (fd >= 0 && row->subdir) {
		*ret_folder = false;
		fd = folder_fd = idmap_open_in_root(source_fd, row->subdir, O_PATH);
		if (fd >= 0 && idmap_check_source_link(views, row, fd, ret_error))
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

int idmap_clone_subdir(struct idmap_views *views, int tree_fd, const struct idmap_row *row,
		       struct idmap_error *ret_error)
{
	idmap_closed int taken_fd = tree_fd, folder_fd = -1;
	uint32_t slot;
	int fd, result = idmap_area_put(views, tree_fd, &slot);

	folder_fd = result ? result : idmap_open_in_root(tree_fd, row->subdir, O_PATH);
	fd = folder_fd < 0 ? folder_fd : idmap_clone(folder_fd, false);
	if (fd < 0)
		idmap_fail(
			ret_error, row, IDMAP_NO_MOUNT, -fd,
			"it has no folder %s to show (%m); correct X-mount.subdir=", row->subdir);
	if (!result)
		idmap_area_take(views, slot);
	return fd;
}
