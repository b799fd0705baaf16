// SPDX-License-Identifier: MIT
/*
 * The order of several rows: each comes after what it stands on, an overlay after its layers, a
 * clone after what holds its source. Rows are sorted by target, so that what stands in a folder
 * follows it, and then walked depth first. Pure.
 */
#include <errno.h>
#include <string.h>

#include "table/table.h"

#define NO_ROW UINT32_MAX

/* Rows that a row needs, by their index. */
struct needs {
	uint32_t below;	      /* the one whose target holds this one's */
	uint32_t source;      /* the one that holds its source */
	uint32_t first, last; /* and those from `first` until before `last` */
};

/* Rows sorted by target, and what an iterative depth-first walk over them needs. */
struct order {
	struct idmap_table *table;
	struct idmap_row **row;
	struct needs *needs;
	enum { NEW, BEGUN, DONE } * state;
	uint32_t *at; /* which of its needs is looked at next */
	uint32_t *stack;
	uint32_t count;
};

static bool is_layer(const struct idmap_row *row)
{
	return row->flags & IDMAP_LAYER;
}

/* --- by target ------------------------------------------------------------------------------- */

/* "/" sorts below every other byte, so that a folder is followed by all that is inside it. */
static int compare_paths(const char *a, const char *b)
{
	unsigned char ca, cb;

	a += !a[1]; /* "/" is "" */
	b += !b[1];
	do {
		ca = (unsigned char)*a++;
		cb = (unsigned char)*b++;
	} while (ca == cb && ca);
	if (ca == cb)
		return 0;
	if (ca == '/' && cb)
		return -1;
	if (cb == '/' && ca)
		return 1;
	return ca - cb;
}

/* By target; of one target as declared, and the overlay after its layers. */
static bool comes_before(const struct idmap_row *a, const struct idmap_row *b)
{
	int order = compare_paths(a->target, b->target);

	if (!order)
		order = (int)(a->flags & IDMAP_OVERLAY) - (int)(b->flags & IDMAP_OVERLAY);
	return order ? order < 0 : a->place.line < b->place.line;
}

static void sort_rows(struct idmap_row **row, uint32_t count)
{
	uint32_t gap = 1, i, j;

	while (gap < count / 3)
		gap = gap * 3 + 1;
	for (; gap; gap /= 3) {
		for (i = gap; i < count; i++) {
			struct idmap_row *one = row[i];

			for (j = i; j >= gap && comes_before(one, row[j - gap]); j -= gap)
				row[j] = row[j - gap];
			row[j] = one;
		}
	}
}

/* How many of the first `limit` rows have targets up to and with `path`. */
static uint32_t rows_up_to(const struct order *order, const char *path, uint32_t limit)
{
	uint32_t low = 0, high = limit;

	while (low < high) {
		uint32_t middle = low + (high - low) / 2;

		if (compare_paths(order->row[middle]->target, path) <= 0)
			low = middle + 1;
		else
			high = middle;
	}
	return low;
}

/* The row with the longest target that has `path` inside, of the first `limit`; no layer does. */
static uint32_t row_around(const struct order *order, const char *path, uint32_t limit)
{
	uint32_t i = rows_up_to(order, path, limit);

	for (i = i ? i - 1 : NO_ROW; i != NO_ROW; i = order->needs[i].below)
		if (!is_layer(order->row[i]) && idmap_path_inside(path, order->row[i]->target))
			break;
	return i;
}

static bool same_path(const struct order *order, uint32_t a, uint32_t b)
{
	return !strcmp(order->row[a]->target, order->row[b]->target);
}

/* --- rows of one target ---------------------------------------------------------------------- */

static void same_target(struct idmap_table *table, const struct idmap_row *first,
			const struct idmap_row *second)
{
	struct idmap_text text;
	char where[128];

	if (second->place.line < first->place.line) {
		const struct idmap_row *swap = first;

		first = second;
		second = swap;
	}
	idmap_text_init(&text, where, sizeof(where));
	idmap_place_text(&text, &first->place, 0);
	idmap_table_error(table, &second->place, second->target_column,
			  "the target %s has a row already (%s); keep one of them", second->target,
			  where);
}

/* An overlay with the layers that it merges, `count` of them lower ones. */
static void check_overlay(struct idmap_table *table, const struct idmap_row *row, uint32_t count)
{
	const bool upper = !strcmp(row->source, "upper");
	const struct idmap_row *layer = row->below;

	if (!count)
		idmap_table_error(
			table, &row->place, row->target_column,
			"%s has no layer to merge; give rows on this target the option lower",
			row->target);
	while (layer && layer->flags & IDMAP_DATA_ONLY)
		layer = layer->below;
	if (count && !layer)
		idmap_table_error(table, &row->place, row->target_column,
				  "all layers of %s are data-only, and show nothing by themselves;"
				  " add the one that leads to them",
				  row->target);
	if (count > IDMAP_LAYERS_MAX)
		idmap_table_error(table, &row->place, row->target_column,
				  "%s has %u layers, and the kernel merges 500; make %u fewer",
				  row->target, count, count - IDMAP_LAYERS_MAX);
	if (!upper && strcmp(row->source, "none") && strcmp(row->source, "tmpfs"))
		idmap_table_error(
			table, &row->place, row->source_column,
			"an overlay's SOURCE is none (read-only), tmpfs (what is written is lost) or"
			" upper (a row keeps it), not '%s'",
			row->source);
	else if (upper && !row->upper)
		idmap_table_error(table, &row->place, row->source_column,
				  "no row on %s is the upper layer; give the row of a writable"
				  " filesystem the option upper",
				  row->target);
	else if (!row->upper && !strcmp(row->source, "none") &&
		 row->attr_said & ~row->attr & IDMAP_RDONLY)
		idmap_table_error(table, &row->place, row->type_column,
				  "nothing takes what is written; take out rw, or write tmpfs or"
				  " upper as the overlay's SOURCE");
	else if (!upper && row->upper)
		idmap_table_error(
			table, &row->place, row->source_column,
			"a row on %s is the upper layer; write upper as the overlay's SOURCE",
			row->target);
}

/* All rows of one target, which are one row, or layers and what merges them. */
static void check_target(struct order *order, uint32_t from, uint32_t to)
{
	struct idmap_row *top = NULL, *upper = NULL, *whole = NULL;
	uint32_t count = 0;

	for (; from < to; from++) {
		struct idmap_row *row = order->row[from];
		struct idmap_row **one = row->flags & IDMAP_UPPER ? &upper : &whole;

		if (row->flags & IDMAP_LOWER) {
			/* Whose names are not shown is beneath all whose are. */
			if (row->flags & IDMAP_DATA_ONLY && top && !(top->flags & IDMAP_DATA_ONLY))
				idmap_table_error(order->table, &row->place, row->type_column,
						  "a data-only layer is below all others of %s;"
						  " write it before them",
						  row->target);
			row->below = top;
			top = row;
			count++;
			continue;
		}
		if (*one)
			same_target(order->table, *one, row);
		*one = row;
	}
	if (whole && whole->flags & IDMAP_OVERLAY) {
		whole->below = top;
		whole->upper = upper;
		check_overlay(order->table, whole, count);
	} else if (top || upper) {
		const struct idmap_row *layer = top ? top : upper;

		idmap_table_error(
			order->table, &layer->place, layer->target_column,
			"nothing merges the layers on %s; add a row for it with the type overlay%s",
			layer->target, whole ? " in place of the one without lower" : "");
	}
}

/* --- what needs what ------------------------------------------------------------------------- */

/* For what a row is cloned from: it, and what it stands on, keeps an unmapped tree. */
static void keep_unmapped(const struct order *order, uint32_t i)
{
	for (; i != NO_ROW && !(order->row[i]->flags & IDMAP_IN_DISK_VIEW);
	     i = order->needs[i].below)
		order->row[i]->flags |= IDMAP_IN_DISK_VIEW;
}

/* What a clone needs besides what it stands on. */
static void find_source(const struct order *order, uint32_t i)
{
	const struct idmap_row *row = order->row[i];
	struct needs *needs = &order->needs[i];

	needs->source = row_around(order, row->inside, order->count);
	/* A row, or a layer of one, cannot show itself: what it stands on is meant. */
	if (needs->source != NO_ROW && same_path(order, needs->source, i))
		needs->source = needs->below;
	if (!(row->flags & IDMAP_RBIND))
		return;
	needs->first = needs->last = rows_up_to(order, row->inside, order->count);
	while (needs->last < order->count &&
	       idmap_path_inside(order->row[needs->last]->target, row->inside))
		needs->last++;
}

/* The root's names are known for what they are; those of another tree are a stranger's. */
static void note_outer(const struct order *order, uint32_t i)
{
	const uint32_t outer[] = {order->needs[i].below, order->needs[i].source};
	size_t k;

	order->row[i]->flags &= ~(uint32_t)IDMAP_IN_ROW;
	for (k = 0; k < COUNT_OF(outer); k++)
		if (outer[k] != NO_ROW && order->row[outer[k]]->target[1])
			order->row[i]->flags |= IDMAP_IN_ROW;
}

/* The layers of an overlay stand right before it. */
static void find_layers(const struct order *order, uint32_t i)
{
	struct needs *needs = &order->needs[i];

	needs->first = needs->last = i;
	while (needs->first && is_layer(order->row[needs->first - 1]) &&
	       same_path(order, needs->first - 1, i))
		needs->first--;
}

/* The next row that row `i` needs. NO_ROW: no more. */
static uint32_t next_need(struct order *order, uint32_t i)
{
	const struct needs *needs = &order->needs[i];
	const struct idmap_row *row = order->row[i];

	for (;;) {
		const uint32_t at = order->at[i]++;
		uint32_t need = at == 0 ? needs->below : at == 1 ? needs->source : NO_ROW;

		if (at > 1) {
			if (at - 2 >= needs->last - needs->first)
				return NO_ROW;
			need = needs->first + at - 2;
			/* What stands on this very row cannot be a part of what it clones. */
			if (row->inside && idmap_path_inside(order->row[need]->target, row->target))
				continue;
		}
		if (need == NO_ROW)
			continue;
		if (at && row->inside)
			keep_unmapped(order, need);
		return need;
	}
}

/* --- the walk -------------------------------------------------------------------------------- */

/*
 * Row `need` is needed for the last of so many on the stack, and waits for it. That is the doing of
 * one of them that is taken from a folder, and no overlay's or disk's.
 */
static void circle(struct order *order, uint32_t depth, uint32_t need)
{
	const uint32_t first = need, *at = &order->stack[depth - 1];
	const struct idmap_row *row;

	for (; *at != first && !order->row[*at]->inside; at--)
		need = *at;
	row = order->row[*at];
	idmap_table_error(order->table, &row->place, row->source_column,
			  "%s cannot be used for %s: it would hold itself, by the row for %s;"
			  " take it from a folder that no other row covers",
			  row->source, row->target, order->row[need]->target);
}

static void walk(struct order *order, uint32_t from, struct idmap_plan *plan)
{
	uint32_t depth = 0;

	if (order->state[from] == DONE)
		return;
	order->stack[depth++] = from;
	order->state[from] = BEGUN;
	while (depth) {
		const uint32_t i = order->stack[depth - 1], need = next_need(order, i);

		if (need == NO_ROW) {
			order->state[i] = DONE;
			plan->row[plan->rows++] = order->row[i];
			depth--;
		} else if (order->state[need] == NEW) {
			order->state[need] = BEGUN;
			order->stack[depth++] = need;
		} else if (order->state[need] == BEGUN) {
			circle(order, depth, need);
		}
	}
}

static bool make_room(struct order *order)
{
	struct idmap_arena *arena = order->table->arena;
	const size_t rows = order->table->row_count;

	order->row = idmap_alloc_scratch(arena, rows * sizeof(*order->row));
	order->needs = idmap_alloc_scratch(arena, rows * sizeof(*order->needs));
	order->state = idmap_alloc_scratch(arena, rows * sizeof(*order->state));
	order->at = idmap_alloc_scratch(arena, rows * sizeof(*order->at));
	order->stack = idmap_alloc_scratch(arena, rows * sizeof(*order->stack));
	return order->row && order->needs && order->state && order->at && order->stack;
}

int idmap_order_make(struct idmap_table *table, struct idmap_plan *plan)
{
	struct order order = {.table = table};
	struct idmap_row *row;
	uint32_t i, first;

	plan->row = idmap_alloc(table->arena, table->row_count * sizeof(*plan->row));
	if (!plan->row || !make_room(&order))
		return -ENOMEM;
	for (row = table->first; row; row = row->next)
		if (idmap_row_counts(row))
			order.row[order.count++] = row;
	sort_rows(order.row, order.count);
	for (i = first = 0; i < order.count; i++) {
		order.needs[i] = (struct needs){.source = NO_ROW};
		order.needs[i].below = i ? row_around(&order, order.row[i]->target, i) : NO_ROW;
		if (i + 1 < order.count && same_path(&order, first, i + 1))
			continue;
		check_target(&order, first, i + 1);
		first = i + 1;
	}
	for (i = 0; i < order.count; i++) {
		if (order.row[i]->flags & IDMAP_OVERLAY)
			find_layers(&order, i);
		else if (order.row[i]->inside)
			find_source(&order, i);
	}
	for (i = 0; i < order.count; i++)
		note_outer(&order, i);
	for (i = 0; i < order.count; i++)
		walk(&order, i, plan);
	return 0;
}
