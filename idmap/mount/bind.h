/* SPDX-License-Identifier: MIT */
/*
 * A folder or file of the root becomes a tree, or is opened for one: what bind.c gives to image.c,
 * tree.c and rows.c.
 */
#ifndef BIND_H
#define BIND_H

#include "mount/mount.h"

#ifdef CONFIG_ROWS
/*
 * Opens the row's source in one of the views; whether it surely is a folder. -errno of openat2(2),
 * and IDMAP_BY_LINK, are not told.
 */
int idmap_open_source(const struct idmap_stage *stage, const struct idmap_row *row, bool seen,
		      bool *ret_folder);
/*
 * Refuses what has been opened in the disk view where the seen one has another file there: a mount
 * that is unbindable is not in a recursive clone. -1: there is none.
 */
int idmap_check_same(const struct idmap_stage *stage, const struct idmap_row *row, int fd,
		     struct idmap_error *ret_error);
/* A clone of the row's source: from the disk view, unmapped, or from the seen one. */
int idmap_clone_source(struct idmap_stage *stage, const struct idmap_row *row, bool seen,
		       bool *ret_folder, struct idmap_error *ret_error);
/*
 * Refuses the row's map where a mount that comes along with its source is an overlay, or a share
 * that has further mounts of the host; whose owner the map leaves out is noted.
 */
int idmap_refuse_inside(const struct idmap_stage *stage, struct idmap_row *row,
			struct idmap_error *ret_error);
/* Makes the error of a recursive bind that of the mount inside it that cannot be mapped. */
void idmap_submount_note(const struct idmap_stage *stage, const struct idmap_row *row,
			 struct idmap_error *ret_error);
#else
static inline int idmap_open_source(const struct idmap_stage *stage, const struct idmap_row *row,
				    bool seen, bool *ret_folder)
{
	return (void)stage, (void)row, (void)seen, (void)ret_folder, -ENOENT;
}

static inline int idmap_check_same(const struct idmap_stage *stage, const struct idmap_row *row,
				   int fd, struct idmap_error *ret_error)
{
	return (void)stage, (void)row, (void)fd, (void)ret_error, 0;
}

static inline int idmap_clone_source(struct idmap_stage *stage, const struct idmap_row *row,
				     bool seen, bool *ret_folder, struct idmap_error *ret_error)
{
	return (void)ret_error, idmap_open_source(stage, row, seen, ret_folder);
}
#endif

#endif
