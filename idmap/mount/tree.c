// SPDX-License-Identifier: MIT
/*
 * A row becomes a tree, by what it is: a clone, an overlay of layers, or a filesystem on a device
 * or in a file.
 */
#include "mount/behind.h"
#include "mount/bind.h"
#include "mount/layers.h"

/* A layer's tree once more, without any map; its kind of source is the same. */
static int build_unmapped(struct idmap_stage *stage, struct idmap_row *row,
			  struct idmap_error *ret_error)
{
	bool folder;

	return row->flags & IDMAP_CLONE ? idmap_clone_source(stage, row, false, &folder, ret_error)
					: idmap_tree_build(stage, row, &folder, ret_error);
}

/* An upper that was there may have an owner that nobody has looked at: by the ids on disk. */
static void note_owner(struct idmap_stage *stage, const struct idmap_row *row, int tree_fd)
{
	const struct idmap_map *map = row->upper ? idmap_map_shown(stage->plan, row->upper) : NULL;
	idmap_closed int top_fd = -1, upper_fd = -1;
	struct idmap_error error;
	struct stat st;
	uint32_t unused;

	if (!row->upper || fstat(tree_fd, &st) || (st.st_uid != NOBODY && st.st_gid != NOBODY))
		return;
	if (!map && !(row->flags & IDMAP_MADE_UPPER))
		idmap_note(stage->notes,
			   "%s: the folder upper of %s belongs to 65534 on disk, and so does the"
			   " root folder here; give it to root, or delete it while nothing is in"
			   " it",
			   row->target, row->upper->source);
	if (!map)
		return;
	top_fd = build_unmapped(stage, row->upper, &error);
	if (top_fd >= 0)
		upper_fd = idmap_open_inside(top_fd, "/upper", O_PATH | O_DIRECTORY, 0);
	if (upper_fd >= 0 && !fstat(upper_fd, &st) &&
	    !(idmap_map_seen(map, IDMAP_UID, st.st_uid, &unused) &&
	      idmap_map_seen(map, IDMAP_GID, st.st_gid, &unused)))
		idmap_note(stage->notes,
			   "%s: the folder upper of %s has an owner that the map leaves out, so its"
			   " root folder is nobody's (65534); give it to the id that is seen as 0",
			   row->target, row->upper->source);
}

/* An overlay; for ACLs of its layers with trees that nothing has been mapped in. */
static int merge(struct idmap_stage *stage, struct idmap_row *row, struct idmap_error *ret_error)
{
	struct idmap_unmapped unmapped = {.layer_fd = -1, .top_fd = -1};
	idmap_closed int layer_fd = -1, top_fd = -1;
	int fd;

	if (idmap_layers_have_acl(stage, row, &unmapped)) {
		layer_fd = build_unmapped(stage, row->below, ret_error);
		if (layer_fd < 0)
			return layer_fd;
		/* A tmpfs would be another one. It has maps since Linux 6.3, which takes what is
		 * seen. */
		if (unmapped.top_map && !idmap_type_has("tmpfs", row->upper->type)) {
			top_fd = build_unmapped(stage, row->upper, ret_error);
			if (top_fd < 0)
				return top_fd;
		}
		unmapped.layer_fd = layer_fd;
		unmapped.top_fd = top_fd;
	}
	fd = idmap_layers_merge(stage, row, &unmapped, ret_error);
	if (fd >= 0)
		note_owner(stage, row, fd);
	return fd;
}

int idmap_tree_build(struct idmap_stage *stage, struct idmap_row *row, bool *ret_folder,
		     struct idmap_error *ret_error)
{
	int fd;

	*ret_folder = !row->subdir;
	if (row->flags & IDMAP_CLONE)
		return idmap_clone_source(stage, row, !row->map && !idmap_in_disk_view(stage, row),
					  ret_folder, ret_error);
	if (row->flags & IDMAP_OVERLAY)
		fd = merge(stage, row, ret_error);
	else if (row->flags & IDMAP_OWN_ROOT)
		fd = idmap_clone_own_root(stage->plan, row, ret_error);
	else
		fd = idmap_image_mount(stage, row, row->attr, ret_error);
	return fd >= 0 && row->subdir ? idmap_clone_subdir(stage, fd, row, ret_error) : fd;
}
