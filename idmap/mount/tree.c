// SPDX-License-Identifier: MIT
/*
 * A row becomes a tree, by what it is: a clone, an overlay of layers, or a filesystem on a device
 * or in a file.
 */
#include "mount/mount.h"

int idmap_tree_build(struct idmap_stage *stage, struct idmap_row *row, bool *ret_folder,
		     struct idmap_error *ret_error)
{
	/* In the disk view a mount has no attributes that a clone would have to lose again. */
	const uint32_t attr = idmap_in_disk_view(stage, row) ? 0 : row->attr;
	int fd;

	*ret_folder = !row->subdir;
	if (row->flags & IDMAP_CLONE)
		return idmap_clone_source(stage, row, ret_folder, ret_error);
	if (row->flags & IDMAP_OVERLAY)
		return idmap_layers_merge(stage, row, ret_error);
	if (row->flags & IDMAP_OWN_ROOT)
		fd = idmap_clone_own_root(row, ret_error);
	else
		fd = idmap_image_mount(stage, row, attr, ret_error);
	return fd >= 0 && row->subdir ? idmap_clone_subdir(stage, fd, row, ret_error) : fd;
}
