/* SPDX-License-Identifier: MIT */
/*
 * Between stage.c and those who build a tree with more than one mount: layers.c, image.c. The area
 * is a small tmpfs on the stage, because before 7.x an overlay takes no layer that is not attached
 * somewhere, and a folder of a mount cannot be cloned before the mount is attached.
 */
#ifndef IDMAP_STAGE_H
#define IDMAP_STAGE_H

#include "idmap.h"

enum idmap_view { IDMAP_SEEN_VIEW, IDMAP_DISK_VIEW, IDMAP_AREA };

/* Attaches a detached mount where this view hangs. -errno of move_mount(2). */
int idmap_stage_attach(const struct idmap_stage *stage, enum idmap_view view, int tree_fd);
#define IDMAP_TOLD (-4096) /* beyond what the kernel gives, whose last is -4095 */
/*
 * Opens the row's source in the disk view; whether it surely is a folder. IDMAP_TOLD: it leads to
 * where another row stands, as *ret_error says. -errno of openat2(2) are not told yet.
 */
int idmap_stage_source(struct idmap_stage *stage, const struct idmap_row *row, bool *ret_folder,
		       struct idmap_error *ret_error);
/* Unmounts what *fd leads to, with all that stands on it, and closes it. */
void idmap_stage_detach(int *fd);

/* --- layers.c --- */

/* The folder row->subdir of a detached tree, as a detached tree. Takes tree_fd, also on failure. */
int idmap_layers_subdir(struct idmap_stage *stage, int tree_fd, const struct idmap_row *row,
			struct idmap_error *ret_error);
/* Keeps a layer's tree, mapped already, until its overlay is merged. */
int idmap_layers_add(struct idmap_stage *stage, int tree_fd, struct idmap_row *row,
		     struct idmap_error *ret_error);
/* The overlay of the row's layers as a detached tree. */
int idmap_layers_merge(struct idmap_stage *stage, const struct idmap_row *row,
		       struct idmap_error *ret_error);

/* --- image.c --- */

/*
 * As idmap_tree_mount(), but the source may be an image file: of the old root, or where the row
 * says so of the new one. IDMAP_NO_SOURCE: there is no such file.
 */
int idmap_image_mount(struct idmap_stage *stage, struct idmap_row *row, uint32_t attr,
		      struct idmap_error *ret_error);

#endif
