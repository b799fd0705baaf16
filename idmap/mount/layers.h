/* SPDX-License-Identifier: MIT */
/*
 * Trees become one tree: what top.c and layers.c give to those who build and drop the stage.
 */
#ifndef LAYERS_H
#define LAYERS_H

#include "mount/mount.h"

/* Of the highest layer, and of the row that is its top: the trees without a map, O_PATH, or -1; and
 * the maps that they are shown by, or NULL. A top with a map and no such tree is a tmpfs. */
struct idmap_unmapped {
	int layer_fd, top_fd;
	const struct idmap_map *layer_map, *top_map;
	bool strange; /* the layer lies in an overlay that is none of the table's */
};

/* What a top gets its looks from, and where its folder is. */
struct idmap_looks {
	const struct idmap_stage *stage;
	const struct idmap_row *row; /* the overlay's */
	int from_fd, to_fd;
	/*
	 * Without any map, for ACLs: what getxattr(2) gives through a mapped mount, and what
	 * setxattr(2) takes, is the id on disk on one kernel and the one seen on another.
	 */
	int unmapped_from_fd, unmapped_to_fd;
	const struct idmap_unmapped *unmapped;
	char *value; /* XATTR_SIZE_MAX bytes, xattr(7) */
};

#ifdef CONFIG_LAYERS
/* The root folder of what waits in the area: idmap_area_put(). -errno. */
int idmap_slot_open(const struct idmap_stage *stage, uint32_t slot);
/*
 * Gives a new top the looks of the layer below: owner, attributes such as ACLs, and then the mode,
 * which may be another one than the layer's, and which an ACL would set. -errno.
 */
int idmap_looks_copy(struct idmap_looks *looks, int mode_fd);
/*
 * Tells of ACLs that go wrong later: a file that is written to is copied with all its attributes,
 * so from xfs to xfs with an ACL's ids on disk once more, and those win.
 */
void idmap_looks_warn(const struct idmap_stage *stage, const struct idmap_row *row, int top_fd);
/* Whether the merge needs them, for ACLs; then the maps are filled in. */
bool idmap_layers_have_acl(const struct idmap_stage *stage, const struct idmap_row *row,
			   struct idmap_unmapped *ret);
/*
 * Makes the folders upper and work of the top in `slot` where they are missing; a new upper gets
 * the looks of the layers' root, but for the mode of a tmpfs that has one of its own. -errno.
 */
int idmap_top_make(const struct idmap_stage *stage, struct idmap_row *row, uint32_t slot,
		   bool own_mode, const struct idmap_unmapped *unmapped,
		   struct idmap_error *ret_error);
/* Keeps a layer's tree, mapped already, until its overlay is merged. */
int idmap_layers_add(struct idmap_stage *stage, int tree_fd, struct idmap_row *row,
		     struct idmap_error *ret_error);
/* The overlay of the row's layers as a detached tree. */
int idmap_layers_merge(struct idmap_stage *stage, struct idmap_row *row,
		       const struct idmap_unmapped *unmapped, struct idmap_error *ret_error);
/* Takes the folder upper away that was made for the overlay, if it is still empty. */
void idmap_layers_unmake(const struct idmap_stage *stage, struct idmap_row *row);
/*
 * Making the row's target in an overlay copies what leads to it to the top. Before it: notes in
 * row->copied how many of its last names are not there.
 */
void idmap_copies_note(const struct idmap_stage *stage, struct idmap_row *row);
/* Removes those when the overlay does not stand any more; a folder that is not empty stays. */
void idmap_copies_remove(const struct idmap_stage *stage, struct idmap_row *row);
#else
static inline void idmap_copies_note(const struct idmap_stage *stage, struct idmap_row *row)
{
	(void)stage, (void)row;
}
static inline void idmap_copies_remove(const struct idmap_stage *stage, struct idmap_row *row)
{
	(void)stage, (void)row;
}
static inline void idmap_layers_unmake(const struct idmap_stage *stage, struct idmap_row *row)
{
	(void)stage, (void)row;
}
static inline int idmap_layers_add(struct idmap_stage *stage, int tree_fd, struct idmap_row *row,
				   struct idmap_error *ret_error)
{
	(void)stage;
	(void)tree_fd;
	return idmap_fail(ret_error, row, IDMAP_BAD_TABLE, EINVAL,
			  "layers are not built into this idmap-init; write a row without"
			  " lower and upper");
}

static inline bool idmap_layers_have_acl(const struct idmap_stage *stage,
					 const struct idmap_row *row, struct idmap_unmapped *ret)
{
	return (void)stage, (void)row, (void)ret, false;
}

static inline int idmap_layers_merge(struct idmap_stage *stage, struct idmap_row *row,
				     const struct idmap_unmapped *unmapped,
				     struct idmap_error *ret_error)
{
	(void)unmapped;
	return (void)stage, idmap_fail(ret_error, row, IDMAP_BAD_TABLE, EINVAL,
				       "overlays are not built into this idmap-init; write one row"
				       " for it");
}
#endif

#endif
