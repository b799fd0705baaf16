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
	const uint64_t number = mounts_id(mounts, folder).number;
	size_t i;

	for (i = 0; i < mounts->count; i++)
		if (!strcmp(mounts->mount[i].target, path) &&
		    strtoull(mounts->mount[i].parent, NULL, 10) == number)
			return true;
	return false;
}

/* Whether what is mounted on a row was in the folder before, as one of those that have come along.
 */
static bool came_along(const struct mounts *mounts, const struct idmap_carried *carried,
		       const char *folder, const struct idmap_mountinfo *mount)
{
	char path[PATH_MAX];

	for (; carried; carried = carried->next) {
		path_join(path, folder, carried->real);
		if (idmap_path_inside(mount->target, path) &&
		    !is_beneath_rows(mounts, folder, path))
			return true;
	}
	return false;
}

/* The row of the plan that the mount stands on; NULL: on none. `number`: of each row's mount. */
static const struct idmap_row *row_below(const struct idmap_plan *plan, const uint64_t *number,
					 const struct mounts *mounts,
					 const struct idmap_mountinfo *mount)
{
	size_t steps;
	uint32_t i;

	/* As many steps as there are mounts, whatever the list says. */
	for (steps = 0; mount && steps < mounts->count; steps++) {
		const uint64_t at = strtoull(mount->id, NULL, 10);

		for (i = 0; i < plan->rows; i++)
			if (number[i] == at)
				return steps ? plan->row[i] : NULL; /* it is that itself */
		mount = mounts_parent(mounts, mount);
	}
	return NULL;
}

int record_all_inner(struct record *record, const struct idmap_build *build, struct mounts *mounts,
		     struct idmap_error *ret_error)
{
	const struct idmap_plan *plan = &build->plan;
	uint64_t *number = calloc(plan->rows + 1, sizeof(*number));
	int result = number ? mounts_read(mounts, ret_error)
			    : idmap_fail(ret_error, NULL, IDMAP_BAD_SYSTEM, ENOMEM, "%m");
	uint32_t i;
	size_t j;

	for (i = 0; !result && i < plan->rows; i++) {
		const struct idmap_row *row = plan->row[i];
		char path[PATH_MAX];

		if (!idmap_row_is_root(row) && !(row->flags & (IDMAP_SKIPPED | IDMAP_LAYER)))
			number[i] = mounts_id(mounts, record_target(record, row, path)).number;
	}
	for (j = 0; !result && j < mounts->count; j++) {
		const struct idmap_mountinfo *mount = &mounts->mount[j];
		const struct idmap_row *row = row_below(plan, number, mounts, mount);
		struct inner_mount inner = {.along = false};

		if (!row)
			continue;
		inner.along = came_along(mounts, build->carry, record->folder, mount);
		inner.id = mount_id_listed(mount);
		if (inner.along || row->flags & IDMAP_RBIND)
			record_inner(record, inner);
	}
	free(number);
	return result;
}
