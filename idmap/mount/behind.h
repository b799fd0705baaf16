/* SPDX-License-Identifier: MIT */
/*
 * Which row's tree a path of the new root lies in: what behind.c gives to layers and to the look at
 * the real init.
 */
#ifndef BEHIND_H
#define BEHIND_H

#include <limits.h>

#include "mount/mount.h"

#ifdef CONFIG_ROWS
/* The row, of the first `before` ones of the plan, that a path of the seen view lies on; or NULL.
 */
struct idmap_row *idmap_row_holding(const struct idmap_plan *plan, const char *path,
				    uint32_t before, uint32_t *ret_index);
/*
 * The row whose tree a path in the row's target really lies in: another one where that is a bind
 * without a map. `path` becomes the one there. NULL: none of the plan.
 */
struct idmap_row *idmap_row_behind(const struct idmap_plan *plan, struct idmap_row *row,
				   char path[PATH_MAX]);
/* The map that the row's tree is shown by: its own, or that of what a bind lies on; or NULL. */
const struct idmap_map *idmap_map_shown(const struct idmap_plan *plan, struct idmap_row *row);
/*
 * Tells what is odd about a row that stands, by the table alone: a SOURCE in the new root where a
 * row that is noauto would have been, and devices that nodev closes though the row does not say it.
 */
void idmap_note_odd(struct idmap_notes *notes, const struct idmap_table *table,
		    const struct idmap_plan *plan, const struct idmap_row *row);
#else
static inline void idmap_note_odd(struct idmap_notes *notes, const struct idmap_table *table,
				  const struct idmap_plan *plan, const struct idmap_row *row)
{
	(void)notes, (void)table, (void)plan, (void)row;
}

static inline struct idmap_row *idmap_row_holding(const struct idmap_plan *plan, const char *path,
						  uint32_t before, uint32_t *ret_index)
{
	return (void)path, (void)before, (void)ret_index, plan->rows ? *plan->row : NULL;
}

static inline struct idmap_row *idmap_row_behind(const struct idmap_plan *plan,
						 struct idmap_row *row, char path[PATH_MAX])
{
	return (void)plan, (void)path, row;
}

static inline const struct idmap_map *idmap_map_shown(const struct idmap_plan *plan,
						      struct idmap_row *row)
{
	return (void)plan, row->map;
}
#endif

#endif
