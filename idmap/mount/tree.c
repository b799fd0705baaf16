// SPDX-License-Identifier: MIT
/*
 * A row becomes a tree, by what it is: a clone, an overlay of layers, or a filesystem on a device
 * or in a file.
 */
#include "mount/mount.h"

int idmap_tree_build(struct idmap_views *views, struct idmap_row *row, bool *ret_folder,
		     struct idmap_error *ret_error)
{
	/* In the disk view a mount has no attributes that a clone would have to lose again. */
	const uint32_t attr = idmap_in_disk_view(views, row) ? 0 : row->attr;
	int fd;

	*ret_folder = !row->subdir;
	if (row->flags & IDMAP_CLONE)
		return idmap_clone_source(views, row, ret_folder, ret_error);
	if (row->flags & IDMAP_OVERLAY)
		return idmap_layers_merge(views, row, ret_error);
	if (row->flags & IDMAP_OWN_ROOT)
		fd = idmap_clone_own_root(row, ret_error);
	else
		fd = idmap_image_mount(views, row, attr, ret_error);
	return fd >= 0 && row->subdir ? idmap_clone_subdir(views, fd, row, ret_error) : fd;
}
