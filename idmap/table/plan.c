// SPDX-License-Identifier: MIT
/*
 * Rows -> a plan that can be carried out from the first row to the last: what the kernel's own
 * parameters say of the root is filled in, defaults are settled, what contradicts itself is
 * refused, and every row comes after the rows that it stands on or clones from. Pure.
 */
#include <errno.h>
#include <string.h>

#include "table/verity.h"

/* --- what a row means ------------------------------------------------------------------------ */

/*
 * The kernel's ro and rw, where neither the row nor rootflags= has said one; a layer has its own.
 */
static void apply_writable(struct idmap_row *row, const struct idmap_root *root)
{
	if (root->writable && !(row->attr_said & IDMAP_RDONLY) && !(row->flags & IDMAP_LAYER))
		row->attr_said |= IDMAP_RDONLY;
}

static void apply_root(struct idmap_table *table, struct idmap_row *row,
		       const struct idmap_root *root)
{
	if (idmap_row_is_root(row) && root->waits && !(row->flags & IDMAP_WAIT))
		row->wait_s = root->wait_s;
	if (row->inside || strcmp(row->source, "/dev/root"))
		return;
	if (root->booted && idmap_row_is_root(row)) {
		row->flags |= IDMAP_OWN_ROOT;
		apply_writable(row, root);
		return;
	}
	if (!root->source || !*root->source) {
		if (table->unread)
			return;
		idmap_table_error(
			table, &row->place, row->source_column,
			"the row is for what root= names, and the kernel command line has no root=;"
			" add root=DEVICE");
		return;
	}
	row->source = root->source;
	/* Each row has a device of the mapper of its own. */
	if (!row->verity && root->verity) {
		row->verity = idmap_alloc(table->arena, sizeof(*row->verity));
		if (row->verity)
			*row->verity = *root->verity;
		else
			idmap_table_full(table, &row->place, 0);
	}
	if (!strncmp(row->source, "root:", 5))
		idmap_table_error(table, &row->place, 0,
				  "/ cannot be in a file inside itself; name a device");
	if (strlen(row->source) > IDMAP_OPTION_MAX)
		idmap_table_error(
			table, &row->place, 0,
			"root= is longer than the 255 bytes that the kernel takes; name the"
			" device by a shorter path");
	if (root->type && !strcmp(row->type, "auto"))
		idmap_table_rootfstype(table, row, root->type);
	if (root->flags)
		idmap_table_rootflags(table, row, root->flags);
	apply_writable(row, root);
}

/* Whether the row is written to unless it says otherwise. */
static bool is_written(const struct idmap_row *row)
{
	if (row->flags & IDMAP_LOWER)
		return false;
	if (row->flags & IDMAP_OVERLAY)
		return strcmp(row->source, "none");
	return row->flags & IDMAP_UPPER || !strcmp(row->type, "tmpfs");
}

static void apply_defaults(struct idmap_row *row)
{
	uint32_t attr = is_written(row) ? 0 : IDMAP_RDONLY;

	/* A map can make a stranger's setuid file root's, so only the root itself may have any. */
	if (!idmap_row_is_root(row) && !(row->flags & IDMAP_LAYER))
		attr |= IDMAP_NOSUID | IDMAP_NODEV;
	row->attr |= attr & ~row->attr_said;
}

/* A word that is none of ours, where no filesystem is mounted that could take it. */
static void refuse_option(struct idmap_table *table, const struct idmap_row *row)
{
	const char *near = idmap_option_near(row->data);

	idmap_table_error(table, &row->place, row->type_column,
			  "'%s' is no option of a %s, which mounts no filesystem; %s%s%s",
			  row->data,
			  row->flags & IDMAP_CLONE ? row->type : "root that is mounted already",
			  near ? "did you mean " : "take it out", near ? near : "",
			  near ? "?" : "");
}

/* A filesystem of the row's types that lets any word pass; or NULL. */
static const char *takes_any_word(const struct idmap_row *row)
{
	static const char *const types[] = {"9p",     "ramfs", "debugfs", "tracefs", "bpf",
					    "pstore", "minix", "bfs",	  "sysv",    "v7",
					    "efs",    "vxfs",  "qnx4"};
	size_t i;

	for (i = 0; i < COUNT_OF(types); i++)
		if (idmap_type_has(row->type, types[i]))
			return types[i];
	return NULL;
}

/* What is misspelt is without effect there, and nobody says so. */
static void refuse_misspelt(struct idmap_table *table, const struct idmap_row *row,
			    const char *item)
{
	const char *type = *item ? takes_any_word(row) : NULL, *near;

	for (; type && *item; item += strlen(item) + 1) {
		near = idmap_option_near(item);
		if (near)
			idmap_table_error(table, &row->place, row->type_column,
					  "'%s' is no option of %s, which lets any word pass;"
					  " did you mean %s?",
					  item, type, near);
	}
}

/* Its options are one string, where a comma that was written \054 would begin another one. */
static void check_overlay(struct idmap_table *table, const struct idmap_row *row)
{
	const char *item;

	for (item = row->data; *item; item += strlen(item) + 1)
		if (strchr(item, ','))
			idmap_table_error(
				table, &row->place, row->type_column,
				"'%s' has a comma in it, which an overlay's options cannot"
				" have; write two options",
				item);
}

static void check_row(struct idmap_table *table, const struct idmap_row *row)
{
	const struct idmap_place *place = &row->place;
	const bool root = idmap_row_is_root(row);
	struct idmap_source source;
	const char *wrong;

	if (row->said_target && strcmp(row->said_target, row->target)) {
		if (root)
			idmap_table_error(table, place, row->target_column,
					  "%s is a link to /, and no row for / is meant; name"
					  " another folder",
					  row->said_target);
		idmap_is_fstabs(table, place, row->target_column, row->target, row->type);
	}
	if (root && row->flags & IDMAP_CLONE)
		idmap_table_error(
			table, place, row->type_column,
			"/ cannot be a %s, it is what others are cloned from; name its filesystem",
			row->type);
	else if (root && row->inside)
		idmap_table_error(table, place, row->source_column,
				  "/ cannot be in a file inside itself; name a device");
	if ((root || row->flags & IDMAP_LAYER) && row->flags & IDMAP_NOFAIL)
		idmap_table_error(table, place, row->left_out_column,
				  "nofail is not for %s, nothing runs without it; take it out",
				  root ? "/" : "a layer");
	wrong = idmap_source_read(row, &source);
	if (wrong)
		idmap_table_error(table, place, row->source_column, "%s %s", row->source, wrong);
	else if (source.kind == IDMAP_SOURCE_OTHER && *row->source && *row->source != '/' &&
		 strncmp(row->source, "root:", 5) && /* told already where that is wrong */
		 !(row->flags & (IDMAP_CLONE | IDMAP_OVERLAY | IDMAP_OWN_ROOT)) &&
		 idmap_needs_device(row->type))
		idmap_table_error(table, place, row->source_column,
				  "%s is neither a device nor an absolute path; write /dev/..., a"
				  " name such as PARTUUID=..., or the path of an image file",
				  row->source);
	if (*row->data && row->flags & (IDMAP_CLONE | IDMAP_OWN_ROOT))
		refuse_option(table, row);
	refuse_misspelt(table, row, row->root_data);
	refuse_misspelt(table, row, row->data);
	if (row->flags & IDMAP_OVERLAY)
		check_overlay(table, row);
	idmap_verity_check(table, row);
	if (row->flags & IDMAP_DATA_ONLY && !(row->flags & IDMAP_LOWER))
		idmap_table_error(table, place, row->type_column,
				  "data-only is for a lower layer; add lower, or take it out");
	if (!(row->flags & IDMAP_LAYER))
		return;
	if (row->flags & IDMAP_RBIND)
		idmap_table_error(table, place, row->type_column,
				  "an overlay does not show what is mounted in a layer; write bind,"
				  " and a row for each mount in it");
	if (row->attr_said & row->attr &
	    (IDMAP_NOSUID | IDMAP_NODEV | IDMAP_NOEXEC | IDMAP_NOSYMFOLLOW))
		idmap_table_error(table, place, row->type_column,
				  "nosuid, nodev, noexec and nosymfollow have no effect on a layer;"
				  " write them in the row of the overlay");
	/* An overlay reads a lower one as if noatime were said of it. */
	if (row->attr_said & row->attr &
	    (IDMAP_STRICTATIME | (row->flags & IDMAP_UPPER ? IDMAP_NOATIME | IDMAP_NODIRATIME : 0)))
		idmap_table_error(table, place, row->type_column,
				  "times of reading are kept as the row of the overlay says; write"
				  " noatime, nodiratime or strictatime there");
	if ((row->flags & IDMAP_LAYER) == IDMAP_LAYER || row->flags & IDMAP_OVERLAY)
		idmap_table_error(table, place, row->type_column,
				  "a row is one of lower, upper and overlay; write a row for each");
	if (row->flags & IDMAP_LOWER && row->attr_said & ~row->attr & IDMAP_RDONLY)
		idmap_table_error(table, place, row->type_column,
				  "a lower layer is never written to; take out rw, what is written"
				  " goes to upper or tmpfs");
	if (row->flags & IDMAP_UPPER && row->attr_said & row->attr & IDMAP_RDONLY)
		idmap_table_error(
			table, place, row->type_column,
			"the upper layer takes what is written; take out ro, or write none"
			" as the overlay's SOURCE");
}

/* --- the plan -------------------------------------------------------------------------------- */

/*
 * Without a row for /, root= alone names the root, as it would for the kernel. Where there is
 * nothing to name it, or the kernel has mounted it, the root that we are in is meant: true.
 */
static bool imply_root(struct idmap_table *table, const struct idmap_root *root)
{
	const struct idmap_place place = {.name = "root=", .parameter = true};
	struct idmap_row *row;

	for (row = table->first; row; row = row->next)
		if (!(row->flags & IDMAP_NOAUTO) && row->target && idmap_row_is_root(row))
			return false;
	if (table->unread || root->booted || !root->source || !*root->source)
		return true;
	idmap_table_add_root(table, &place);
	return false;
}

/* The path of a bind with X-mount.subdir is that of the folder. */
static void join_subdir(struct idmap_table *table, struct idmap_row *row)
{
	const size_t base = row->inside[1] ? strlen(row->inside) : 0;
	const size_t size = strlen(row->subdir) + 1;
	char *path;

	row->base = base;
	if (!row->subdir[1]) /* all of it */
		return;
	path = idmap_alloc(table->arena, base + size);
	if (!path) {
		idmap_table_full(table, &row->place, 0);
		return;
	}
	memcpy(path, row->inside, base);
	memcpy(path + base, row->subdir, size);
	row->inside = path;
}

/* What an earlier plan of the same table has left: its rows' paths may have changed since. */
static void forget_plan(struct idmap_table *table)
{
	struct idmap_map *map;
	struct idmap_row *row;

	for (map = table->maps; map; map = map->next)
		map->users = map->rows = 0;
	for (row = table->first; row; row = row->next) {
		row->flags &= ~(uint32_t)IDMAP_IN_DISK_VIEW;
		row->below = row->upper = NULL;
	}
}

/*
 * A map on an overlay is its layers': so it stores the same on every kernel, those that could map
 * the overlay itself included.
 */
static void give_map_to_layers(struct idmap_row *overlay)
{
	struct idmap_row *layer;

	for (layer = overlay->below; layer; layer = layer->below)
		if (!layer->map)
			layer->map = overlay->map;
	if (overlay->upper && !overlay->upper->map)
		overlay->upper->map = overlay->map;
	overlay->map = NULL;
}

/* How many maps have been built for a row and wait for another one, at the most. */
static uint32_t count_at_once(const struct idmap_plan *plan)
{
	uint32_t i, open = 0, most = 0;

	for (i = 0; i < plan->rows; i++) {
		struct idmap_map *map = plan->row[i]->map;

		if (!map)
			continue;
		open += !map->rows++;
		if (open > most)
			most = open;
		open -= map->rows == map->users;
	}
	return most;
}

/*
 * Without an initramfs a path is one of the root, where other rows stand: an image there is looked
 * up as one that is named root:/PATH.
 */
static void find_image(struct idmap_table *table, struct idmap_row *row)
{
	const size_t length = strlen(row->source);
	const struct idmap_piece piece = {
		.at = row->source, .length = length, .column = row->source_column};
	char *path;

	if (*row->source != '/' || !strncmp(row->source, "/dev/", 5) ||
	    row->flags & (IDMAP_CLONE | IDMAP_OVERLAY | IDMAP_IMAGE) ||
	    idmap_has_no_device(row->type))
		return;
	path = idmap_copy(table->arena, row->source, length);
	if (!path) {
		idmap_table_full(table, &row->place, 0);
		return;
	}
	row->inside = idmap_normal_path(table, &row->place, &piece, path, "SOURCE");
	row->flags |= IDMAP_IMAGE;
}

int idmap_plan_make(struct idmap_table *table, const struct idmap_root *root,
		    struct idmap_plan *ret_plan)
{
	struct idmap_plan plan = {.root = root};
	char *scratch_end = table->arena->end;
	struct idmap_row *row;
	bool in_place;
	uint32_t i;

	forget_plan(table);
	in_place = imply_root(table, root);
	for (row = table->first; row; row = row->next) {
		/* What root= names would be there, without the map. */
		if (row->flags & IDMAP_NOAUTO && !(row->flags & IDMAP_LAYER) && row->target &&
		    idmap_row_is_root(row))
			idmap_table_error(table, &row->place, row->left_out_column,
					  "noauto is not for /, nothing runs without it; take it"
					  " out");
		/* A row that could not be read has been reported; the others are still checked. */
		if (!idmap_row_counts(row))
			continue;
		apply_root(table, row, root);
		if (!row->device)
			row->device = row->source;
		if (row->flags & IDMAP_CLONE && row->subdir && !row->base &&
		    row->inside == row->source)
			join_subdir(table, row);
		apply_defaults(row);
		check_row(table, row);
		idmap_within_row(table, row, root);
		if (in_place || root->booted)
			find_image(table, row);
	}
	idmap_verity_unused(table, root);
	if (!table->row_count) {
		*ret_plan = plan;
		return table->error_count ? -EINVAL : 0;
	}
	if (idmap_order_make(table, &plan))
		idmap_table_full(table, &table->first->place, 0);
	table->arena->end = scratch_end;
	if (table->error_count)
		return -EINVAL;
	for (i = 0; i < plan.rows; i++)
		if (plan.row[i]->flags & IDMAP_OVERLAY)
			give_map_to_layers(plan.row[i]);
	for (i = 0; i < plan.rows; i++) {
		row = plan.row[i];
		if (row->inside)
			plan.disk_view = true;
		if (idmap_row_is_root(row))
			plan.new_root = true;
		if (row->map && !row->map->users++)
			plan.maps++;
	}
	idmap_within_plan(table, &plan);
	if (table->error_count)
		return -EINVAL;
	plan.maps_at_once = count_at_once(&plan);
	*ret_plan = plan;
	return 0;
}
