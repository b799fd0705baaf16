// SPDX-License-Identifier: MIT
/*
 * What is mounted already becomes a tree: the root that we are in, a folder of another tree.
 * open_tree(2) clones mounts, and a clone of an unmapped one can be mapped.
 */
#define _GNU_SOURCE
#include <errno.h>

#include "mount/mount.h"

int idmap_clone_unmapped(int dir_fd)
{
	struct sys_mount_attr attr = {.attr_clr = MOUNT_ATTR_IDMAP};

	return or_errno(sys_open_tree_attr(
		dir_fd, "", OPEN_TREE_CLONE | OPEN_TREE_CLOEXEC | AT_EMPTY_PATH, &attr));
}

int idmap_clone_own_root(const struct idmap_plan *plan, const struct idmap_row *row,
			 struct idmap_error *ret_error)
{
	idmap_closed int root_fd = idmap_open_root(plan);
	int fd = root_fd, result;

	if (fd >= 0)
		fd = plan->root->unmaps ? idmap_clone_unmapped(root_fd)
					: idmap_clone(root_fd, false);
	if (fd < 0)
		idmap_fail(ret_error, row, IDMAP_NO_MOUNT, -fd,
			   plan->root->unmaps ? "its map cannot be taken off (%m); that needs Linux"
						" 6.15 or newer"
					      : "the root cannot be cloned (%m); boot with an"
						" initramfs");
	result = fd < 0 ? 0 : idmap_leave_peers(plan, fd);
	if (result) {
		idmap_close(&fd);
		return idmap_peers_failed(row, -result, ret_error);
	}
	return fd;
}

int idmap_clone_subdir(struct idmap_stage *stage, int tree_fd, const struct idmap_row *row,
		       struct idmap_error *ret_error)
{
	idmap_closed int folder_fd = -1;
	uint32_t slot;
	int fd, result = idmap_area_put(stage, tree_fd, &slot);

	if (result) {
		idmap_close(&tree_fd);
		return idmap_area_failed(row, -result, ret_error);
	}
	folder_fd = idmap_open_inside(tree_fd, row->subdir, O_PATH | O_DIRECTORY, 0);
	fd = folder_fd < 0 ? folder_fd : idmap_clone(folder_fd, false);
	if (fd < 0)
		idmap_fail(
			ret_error, row, IDMAP_NO_MOUNT, -fd,
			"it has no folder %s to show (%m); correct X-mount.subdir=", row->subdir);
	idmap_close(&tree_fd);
	return fd;
}
