// SPDX-License-Identifier: MIT
/*
 * What is mounted on the trees of rows once an apply is done: what a row shows with its tree goes
 * with it, what was in the folder before comes back, and what is mounted there later is somebody's.
 */
#define _GNU_SOURCE
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "command.h"

/* Whether a mount on the folder's own one has that path, beneath the rows. */
static bool is_beneath_rows(const struct mounts *mounts, const char *folder, const char *path)
{
	const uint64_t number = mount_id_on(folder).number;
	size_t i;

	for (i = 0; i < mounts->count; i++)
		if (!strcmp(mounts->mount[i].target, path) &&
		    strtoull(mounts->mount[i].parent, NULL, 10) == number)
			return true;
	return false;
}

/* The row whose mount it is, but that of the folder itself; NULL: none's. */
static const struct idmap_row *row_of(const struct idmap_plan *plan,
				      const struct idmap_mountinfo *mount)
{
	const uint64_t number = strtoull(mount->id, NULL, 10);
	uint32_t i;

	for (i = 0; i < plan->rows; i++)
		if (plan->row[i]->mount == number && !idmap_row_is_root(plan->row[i]))
			return plan->row[i];
	return NULL;
}

/* Whether something that is no row has been mounted on it. */
static bool is_beneath_other(const struct idmap_plan *plan, const struct mounts *mounts,
			     const struct idmap_mountinfo *mount)
{
	size_t i;

	for (i = 0; i < mounts->count; i++)
		if (!strcmp(mounts->mount[i].parent, mount->id) &&
		    !strcmp(mounts->mount[i].target, mount->target) &&
		    !row_of(plan, &mounts->mount[i]))
			return true;
	return false;
}

/*
 * Whether what is mounted on a row was in the folder before: it is one of those that have come
 * along, or stands on one. What stands on a row that stands on one is that row's.
 */
static bool came_along(const struct idmap_build *build, const struct mounts *mounts,
		       const char *folder, const struct idmap_mountinfo *mount)
{
	const struct idmap_carried *carried;
	char path[PATH_MAX];
	size_t steps;

	/* As many steps as there are mounts, whatever the list says. */
	for (steps = 0; mount && steps < mounts->count; steps++) {
		if (row_of(&build->plan, mount))
			return false;
		for (carried = build->carry; carried; carried = carried->next)
			if (!strcmp(mount->target, idmap_path_join(path, folder, carried->real)) &&
			    !is_beneath_rows(mounts, folder, path) &&
			    !is_beneath_other(&build->plan, mounts, mount))
				return true;
		mount = mounts_parent(mounts, mount);
	}
	return false;
}

/* The row of the plan that the mount stands on; NULL: on none, or it is one itself. */
static const struct idmap_row *row_below(const struct idmap_plan *plan, const struct mounts *mounts,
					 const struct idmap_mountinfo *mount)
{
	const struct idmap_row *row;
	size_t steps;

	for (steps = 0; mount && steps < mounts->count; steps++) {
		row = row_of(plan, mount);
		if (row)
			return steps ? row : NULL;
		mount = mounts_parent(mounts, mount);
	}
	return NULL;
}

int record_all_inner(struct record *record, const struct idmap_build *build, struct mounts *mounts,
		     struct idmap_error *ret_error)
{
	const int result = mounts_read(mounts, ret_error);
	size_t i;

	for (i = 0; !result && i < mounts->count; i++) {
		const struct idmap_mountinfo *mount = &mounts->mount[i];
		const struct idmap_row *row = row_below(&build->plan, mounts, mount);
		struct inner_mount inner = {.along = false};

		if (!row)
			continue;
		inner.along = came_along(build, mounts, record->folder, mount);
		inner.id = mount_id_listed(mount);
		if (inner.along || row->flags & IDMAP_RBIND)
			record_inner(record, inner);
	}
	return result;
}
