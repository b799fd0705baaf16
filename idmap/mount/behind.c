// SPDX-License-Identifier: MIT
/*
 * Which row's tree a path of the new root lies in. A bind without a map shows another row's, and so
 * has that one's map.
 */
#include <string.h>

#include "mount/behind.h"

struct idmap_row *idmap_row_holding(const struct idmap_plan *plan, const char *path,
				    uint32_t before, uint32_t *ret_index)
{
	struct idmap_row *holding = NULL;
	uint32_t i;

	for (i = 0; i < before; i++) {
		struct idmap_row *row = plan->row[i];

		/* Of two on one target the later one is seen. */
		if (!(row->flags & IDMAP_PLACED) || row->flags & IDMAP_LAYER ||
		    !idmap_path_inside(path, row->target) ||
		    (holding && strlen(row->target) < strlen(holding->target)))
			continue;
		holding = row;
		*ret_index = i;
	}
	return holding;
}

struct idmap_row *idmap_row_behind(const struct idmap_plan *plan, struct idmap_row *row,
				   char path[PATH_MAX])
{
	char inside[PATH_MAX];
	uint32_t before = 0;

	/* What stands on the same target by now, such as the overlay of a layer, came after it. */
	while (before < plan->rows && plan->row[before] != row)
		before++;
	while (row && !row->map && row->flags & IDMAP_CLONE) {
		idmap_print(inside, sizeof(inside), "%s%s", row->inside[1] ? row->inside : "",
			    path + strlen(row->target));
		/* Only a recursive bind brings along what stands in its source. */
		row = idmap_row_holding(plan, row->flags & IDMAP_RBIND ? inside : row->inside,
					before, &before);
		memcpy(path, *inside ? inside : "/", *inside ? sizeof(inside) : 2);
	}
	return row;
}

const struct idmap_map *idmap_map_shown(const struct idmap_plan *plan, struct idmap_row *row)
{
	char path[PATH_MAX];

	idmap_print(path, sizeof(path), "%s", row->target);
	row = idmap_row_behind(plan, row, path);
	return row ? row->map : NULL;
}

static void note_left_out(struct idmap_notes *notes, const struct idmap_table *table,
			  const struct idmap_plan *plan, const struct idmap_row *row)
{
	const struct idmap_row *out;
	uint32_t i;

	for (out = row->inside ? table->first : NULL; out; out = out->next) {
		if (!(out->flags & IDMAP_NOAUTO) || !out->target ||
		    !idmap_path_inside(row->inside, out->target))
			continue;
		for (i = 0; i < plan->rows; i++)
			if (idmap_path_inside(row->inside, plan->row[i]->target) &&
			    idmap_path_inside(plan->row[i]->target, out->target))
				break; /* another row has its place */
		if (i == plan->rows)
			idmap_note_row(
				notes, row,
				"the row for %s is noauto, so this shows what lies below that;"
				" say noauto in both, or in none",
				out->target);
	}
}

/* What has nodes of devices by its nature; not what else is mounted below /dev. */
static bool has_devices(const struct idmap_row *row)
{
	static const char *const others[] = {"/dev/shm", "/dev/mqueue", "/dev/hugepages",
					     "/dev/log"};
	size_t i;

	for (i = 0; row->inside && i < COUNT_OF(others); i++)
		if (idmap_path_inside(row->inside, others[i]))
			return false;
	return row->inside ? row->flags & IDMAP_CLONE && idmap_path_inside(row->inside, "/dev")
			   : !strcmp(row->type, "devpts") || !strcmp(row->type, "devtmpfs");
}

void idmap_note_odd(struct idmap_notes *notes, const struct idmap_table *table,
		    const struct idmap_plan *plan, const struct idmap_row *row)
{
	note_left_out(notes, table, plan, row);
	if (row->attr & ~row->attr_said & IDMAP_NODEV && has_devices(row))
		idmap_note_row(notes, row,
			       "rows are nodev, so no device in it can be opened; write dev, or"
			       " nodev if that is meant");
}
