// SPDX-License-Identifier: MIT
/*
 * What the root that a table is for forbids to its rows: the one that we are in, a caller's folder,
 * or one that an initramfs enters. Pure.
 */
#include <string.h>

#include "table/table.h"

/* Where rows are recorded nothing may stand, by whichever link it would get there. */
static void check_kept(struct idmap_table *table, const struct idmap_row *row, const char *kept)
{
	if (kept && !idmap_row_is_root(row) && idmap_path_inside(kept, row->target))
		idmap_table_error(table, &row->place, row->target_column,
				  "that would cover %s, where it is recorded; name another folder",
				  kept);
}

/* What is moved into the root when that is entered comes to stand on top. */
static void check_entered(struct idmap_table *table, const struct idmap_row *row)
{
	static const char *const moved[] = {"/dev", "/proc", "/sys", "/run"};
	size_t i;

	for (i = 0; i < COUNT_OF(moved); i++)
		if (!(row->flags & IDMAP_LAYER) && idmap_path_inside(row->target, moved[i]))
			idmap_table_error(table, &row->place, row->target_column,
					  "the initramfs moves its %s over that when the root is"
					  " entered; leave this row to the real init",
					  moved[i]);
}

void idmap_within_row(struct idmap_table *table, const struct idmap_row *row,
		      const struct idmap_root *root)
{
	check_kept(table, row, root->keeps);
	if (root->entered)
		check_entered(table, row);
}

/*
 * Where trees go into the root that we are in, what covers /proc would leave what comes after it
 * unmapped, unmounted or untold.
 */
static void check_proc(struct idmap_table *table, const struct idmap_plan *plan)
{
	const char *folder = plan->root->folder;
	const bool covers =
		!plan->new_root && !plan->root->entered && (!folder || !strcmp(folder, "/"));
	uint32_t i;

	for (i = 0; i < plan->rows && covers; i++) {
		const struct idmap_row *row = plan->row[i];

		if (!strcmp(row->target, "/proc") &&
		    !(row->flags & IDMAP_CLONE && !strcmp(row->inside, "/proc")))
			idmap_table_error(
				table, &row->place, row->target_column,
				"that would cover /proc, by way of which rows are mounted;"
				" name another folder");
	}
}

/* The caller's folder: what is mounted there can become its root anew, and nothing else can. */
static void check_folder(struct idmap_table *table, const struct idmap_plan *plan)
{
	const char *folder = plan->root->folder;
	const struct idmap_row *root = plan->row[0];
	bool own = false;
	uint32_t i;

	if (!folder || !plan->new_root)
		return;
	for (i = 0; i < plan->rows; i++)
		own |= (plan->row[i]->flags & IDMAP_OWN_ROOT) != 0;
	if (!own)
		idmap_table_error(table, &root->place, root->source_column,
				  "only what is mounted on %s already can be its root; write"
				  " /dev/root as SOURCE",
				  folder);
	else if (!strcmp(folder, "/") && !plan->root->entered)
		idmap_table_error(table, &root->place, root->target_column,
				  "the root of a running system is not replaced; boot with"
				  " idmap-init, or name another root with --root");
}

void idmap_within_plan(struct idmap_table *table, const struct idmap_plan *plan)
{
	check_proc(table, plan);
	check_folder(table, plan);
}
