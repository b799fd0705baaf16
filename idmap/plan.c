// SPDX-License-Identifier: MIT
/*
 * Rows -> a plan that can be carried out from the first row to the last: what the kernel's own
 * parameters say of the root is filled in, defaults are settled, what contradicts itself is
 * refused, and every row comes after the rows that it stands on or clones from. Pure.
 */
#include <errno.h>
#include <string.h>

#include "explain.h"
#include "idmap.h"

#define NO_ROW UINT32_MAX

/* Without them every row is made here, for the root. */
#define WRITTEN_ROWS (IS_ENABLED(CONFIG_CMDLINE_ROWS) || IS_ENABLED(CONFIG_TABLE_FILE))

static bool is_root(const struct idmap_row *row)
{
	return !WRITTEN_ROWS || !row->target[1];
}

/* Whether the row could be read and is not to be passed over. */
static bool counts(const struct idmap_row *row)
{
	return !(row->flags & IDMAP_NOAUTO) &&
	       (!WRITTEN_ROWS || (row->target && row->type && row->source));
}

static bool clones(const struct idmap_row *row)
{
	return row->flags & IDMAP_CLONE;
}

static bool is_layer(const struct idmap_row *row)
{
	return row->flags & IDMAP_LAYER;
}

static bool said_ro(const struct idmap_row *row)
{
	return row->attr_said & row->attr & IDMAP_RDONLY;
}

static bool said_rw(const struct idmap_row *row)
{
	return row->attr_said & ~row->attr & IDMAP_RDONLY;
}

/* --- what a row means ------------------------------------------------------------------------ */

/*
 * The kernel's ro and rw, where neither the row nor rootflags= has said one; a layer has its own.
 */
static void apply_writable(struct idmap_row *row, const struct idmap_root *root)
{
	if (root->writable && !(row->attr_said & IDMAP_RDONLY) && !is_layer(row))
		row->attr_said |= IDMAP_RDONLY;
}

static void apply_root(struct idmap_table *table, struct idmap_row *row,
		       const struct idmap_root *root)
{
	if (is_root(row) && root->wait_s && !(row->flags & IDMAP_WAIT))
		row->wait_s = root->wait_s;
	if (row->inside || strcmp(row->source, "/dev/root"))
		return;
	if (IS_ENABLED(CONFIG_IN_PLACE) && root->booted && is_root(row)) {
		row->flags |= IDMAP_BOOTED;
		apply_writable(row, root);
		return;
	}
	if (!root->source || !*root->source) {
		idmap_table_error(
			table, &row->place, row->source_column,
			"the row is for what root= names, and the kernel command line has no root=;"
			" add root=DEVICE");
		return;
	}
	row->source = root->source;
	if (IS_ENABLED(CONFIG_IMAGES) && !strncmp(row->source, "root:", 5))
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
	if (!IS_ENABLED(CONFIG_ROWS) || row->flags & IDMAP_LOWER)
		return false;
	if (row->flags & IDMAP_OVERLAY)
		return strcmp(row->source, "none");
	return row->flags & IDMAP_UPPER || !strcmp(row->type, "tmpfs");
}

static void apply_defaults(struct idmap_row *row)
{
	uint32_t attr = is_written(row) ? 0 : IDMAP_RDONLY;

	/* A map can make a stranger's setuid file root's, so only the root itself may have any. */
	if (IS_ENABLED(CONFIG_ROWS) && !is_root(row))
		attr |= IDMAP_NOSUID | IDMAP_NODEV;
	row->attr |= attr & ~row->attr_said;
}

/* What is not built into this program, or NULL. */
static const char *not_built(const struct idmap_row *row)
{
	if (!IS_ENABLED(CONFIG_LAYERS) && row->flags & (IDMAP_LAYER | IDMAP_OVERLAY))
		return EXPLAINED("layers are not built into this idmap-init; write a row without"
				 " lower, upper and overlay");
	if (!IS_ENABLED(CONFIG_IMAGES) && row->flags & IDMAP_IMAGE)
		return EXPLAINED(
			"image files are not built into this idmap-init; write a device, as"
			" in /dev/vda");
	return NULL;
}

/* What cannot be built into every program, or not into this one. */
static void check_features(struct idmap_table *table, const struct idmap_row *row)
{
	const struct idmap_place *place = &row->place;
	struct idmap_source source;
	const char *wrong = idmap_source_read(row, &source);

	if (wrong)
		idmap_table_error(table, place, row->source_column, "%s %s", row->source, wrong);
	if ((!IS_ENABLED(CONFIG_BIND) && clones(row)) ||
	    (!IS_ENABLED(CONFIG_TMPFS) && !strcmp(row->type, "tmpfs")) ||
	    (!IS_ENABLED(CONFIG_TYPE_AUTO) && !strcmp(row->type, "auto")))
		idmap_table_error(
			table, place, row->type_column,
			"the type %s is not built into this idmap-init; name a filesystem%s",
			row->type, is_root(row) ? MESSAGE(" with rootfstype=") : "");
	wrong = not_built(row);
	if (wrong)
		idmap_table_error(table, place,
				  row->flags & IDMAP_IMAGE ? row->source_column : row->type_column,
				  "%s", wrong);
}

static void check_row(struct idmap_table *table, const struct idmap_row *row)
{
	const struct idmap_place *place = &row->place;
	const bool root = is_root(row);

	if (IS_ENABLED(CONFIG_BIND) && root && clones(row))
		idmap_table_error(
			table, place, row->type_column,
			"/ cannot be a %s, it is what others are cloned from; name its filesystem",
			row->type);
	else if (IS_ENABLED(CONFIG_IMAGES) && root && row->inside)
		idmap_table_error(table, place, row->source_column,
				  "/ cannot be in a file inside itself; name a device");
	if ((root || is_layer(row)) && row->flags & IDMAP_NOFAIL)
		idmap_table_error(table, place, row->nofail_column,
				  "nofail is not for %s, nothing runs without it; take it out",
				  root ? "/" : "a layer");
	check_features(table, row);
	if (!IS_ENABLED(CONFIG_LAYERS) || !is_layer(row))
		return;
	if ((row->flags & IDMAP_LAYER) == IDMAP_LAYER || row->flags & IDMAP_OVERLAY)
		idmap_table_error(table, place, row->type_column,
				  "a row is one of lower, upper and overlay; write a row for each");
	if (row->flags & IDMAP_LOWER && said_rw(row))
		idmap_table_error(table, place, row->type_column,
				  "a lower layer is never written to; take out rw, what is written"
				  " goes to upper or tmpfs");
	if (row->flags & IDMAP_UPPER && said_ro(row))
		idmap_table_error(
			table, place, row->type_column,
			"the upper layer takes what is written; take out ro, or write none"
			" as the overlay's SOURCE");
}

/* --- paths ----------------------------------------------------------------------------------- */

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

bool idmap_path_inside(const char *path, const char *folder)
{
	if (!folder[1]) /* "/" */
		return true;
	for (; *folder; folder++, path++)
		if (*path != *folder)
			return false;
	return !*path || *path == '/';
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

/* --- the order ------------------------------------------------------------------------------- */

/* Rows sorted by target, and what an iterative depth-first walk over them needs. */
struct order {
	struct idmap_table *table;
	struct idmap_row **row;
	uint32_t *parent; /* the row whose target holds this one's */
	uint32_t *step;	  /* dependencies already looked at; 0: not begun */
	uint32_t *stack;
	uint32_t count;
};

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

/* The row with the longest target that holds `path`, among the first `limit`; no layer does. */
static uint32_t holder(const struct order *order, const char *path, uint32_t limit)
{
	uint32_t i = rows_up_to(order, path, limit);

	for (i = i ? i - 1 : NO_ROW; i != NO_ROW; i = order->parent[i])
		if (!is_layer(order->row[i]) && idmap_path_inside(path, order->row[i]->target))
			break;
	return i;
}

/*
 * The `step`th row that row `i` needs: what it stands on, an overlay's layers, what holds its
 * source, and for rbind all that is mounted below its source. false: no more. NO_ROW: nothing in
 * this step.
 */
static bool dependency(const struct order *order, uint32_t i, uint32_t step, uint32_t *ret)
{
	const struct idmap_row *row = order->row[i];
	uint32_t at;

	*ret = NO_ROW;
	if (!step) {
		*ret = order->parent[i];
		return true;
	}
	if (row->flags & IDMAP_OVERLAY) { /* they stand right before it */
		*ret = i - step;
		return step <= i && is_layer(order->row[*ret]) &&
		       !compare_paths(order->row[*ret]->target, row->target);
	}
	if (!row->inside)
		return false;
	if (step == 1) {
		*ret = holder(order, row->inside, order->count);
		/* A row, or a layer of one, cannot show itself: what it stands on is meant. */
		if (*ret != NO_ROW && !compare_paths(order->row[*ret]->target, row->target))
			*ret = order->parent[i];
		return true;
	}
	at = rows_up_to(order, row->inside, order->count) + step - 2;
	if (!(row->flags & IDMAP_RBIND) || at >= order->count ||
	    !idmap_path_inside(order->row[at]->target, row->inside))
		return false;
	/* What stands on this very row cannot be a part of what it clones. */
	if (!idmap_path_inside(order->row[at]->target, row->target))
		*ret = at;
	return true;
}

/* A source lies in row `i`: it is to be cloned from, and what it stands on holds it. */
static void show(const struct order *order, uint32_t i)
{
	for (; i != NO_ROW && !(order->row[i]->flags & IDMAP_SHOWN); i = order->parent[i])
		order->row[i]->flags |= IDMAP_SHOWN;
}

static void walk(struct order *order, uint32_t from, struct idmap_plan *plan)
{
	const uint32_t done = UINT32_MAX;
	uint32_t depth = 0, next;

	if (order->step[from] == done)
		return;
	order->stack[depth++] = from;
	while (depth) {
		uint32_t i = order->stack[depth - 1], step = order->step[i]++;
		bool more = dependency(order, i, step, &next);

		if (step && next != NO_ROW && order->row[i]->inside)
			show(order, next);
		if (!more) {
			order->step[i] = done;
			plan->row[plan->rows++] = order->row[i];
			depth--;
		} else if (next != NO_ROW && !order->step[next]) {
			order->stack[depth++] = next;
		} else if (next != NO_ROW && order->step[next] != done) {
			struct idmap_place place = order->row[i]->place;

			idmap_table_error(
				order->table, &place, order->row[i]->source_column,
				"%s cannot be used for %s: it would hold itself, by the row for %s;"
				" take it from a folder that no other row covers",
				order->row[i]->source, order->row[i]->target,
				order->row[next]->target);
		}
	}
}

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

	if (!count)
		idmap_table_error(
			table, &row->place, row->target_column,
			"%s has no layer to merge; give rows on this target the option lower",
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

		if (IS_ENABLED(CONFIG_LAYERS) && row->flags & IDMAP_LOWER) {
			row->below = top;
			top = row;
			count++;
			continue;
		}
		if (*one)
			same_target(order->table, *one, row);
		*one = row;
	}
	if (!IS_ENABLED(CONFIG_LAYERS))
		return;
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

/* The whole plan of a build without CONFIG_ROWS. */
static int take_root(struct idmap_table *table, struct idmap_plan *plan)
{
	struct idmap_row *row;

	plan->row = idmap_alloc(table->arena, sizeof(*plan->row));
	if (!plan->row)
		return -ENOMEM;
	for (row = table->first; row; row = row->next) {
		if (!counts(row))
			continue;
		if (!is_root(row) || plan->rows)
			idmap_table_error(
				table, &row->place, row->target_column,
				"this idmap-init is built for one row, the one for /; take this"
				" one out");
		else
			plan->row[plan->rows++] = row;
	}
	return 0;
}

static int make_order(struct idmap_table *table, struct idmap_plan *plan)
{
	struct order order = {.table = table};
	struct idmap_row *row;
	uint32_t i, first;

	order.row = idmap_alloc_scratch(table->arena, table->row_count * sizeof(*order.row));
	order.parent = idmap_alloc_scratch(table->arena, table->row_count * sizeof(uint32_t));
	order.step = idmap_alloc_scratch(table->arena, table->row_count * sizeof(uint32_t));
	order.stack = idmap_alloc_scratch(table->arena, table->row_count * sizeof(uint32_t));
	plan->row = idmap_alloc(table->arena, table->row_count * sizeof(*plan->row));
	if (!plan->row || !order.row || !order.parent || !order.step || !order.stack)
		return -ENOMEM;
	for (row = table->first; row; row = row->next)
		if (counts(row))
			order.row[order.count++] = row;
	sort_rows(order.row, order.count);
	for (i = first = 0; i < order.count; i++) {
		order.parent[i] = i ? holder(&order, order.row[i]->target, i) : NO_ROW;
		if (i + 1 < order.count &&
		    !compare_paths(order.row[first]->target, order.row[i + 1]->target))
			continue;
		check_target(&order, first, i + 1);
		first = i + 1;
	}
	for (i = 0; i < order.count; i++)
		walk(&order, i, plan);
	return 0;
}

/* --- the plan -------------------------------------------------------------------------------- */

/*
 * Without a row for /, root= alone names the root, as it would for the kernel. Where there is
 * nothing to name it, or the kernel has mounted it, the root that we are in is meant.
 */
static void imply_root(struct idmap_table *table, const struct idmap_root *root)
{
	const struct idmap_place place = {.name = "root=", .parameter = true};
	struct idmap_row *row;

	for (row = table->first; row; row = row->next)
		if (!(row->flags & IDMAP_NOAUTO) && (!WRITTEN_ROWS || row->target) && is_root(row))
			return;
	if (!IS_ENABLED(CONFIG_IN_PLACE) && !root->source)
		idmap_table_error(
			table, &place, 0,
			"nothing names a root; add root=DEVICE to the kernel command line,"
			" or a row with the target /");
	if (table->unread || root->booted || !root->source || !*root->source)
		return;
	idmap_table_add_root(table, &place);
}

int idmap_plan_make(struct idmap_table *table, const struct idmap_root *root,
		    struct idmap_plan *ret_plan)
{
	struct idmap_plan plan = {.booted = root->booted, .shared = root->shared};
	char *scratch_end = table->arena->end;
	struct idmap_row *row;
	uint32_t i;

	imply_root(table, root);
	for (row = table->first; row; row = row->next) {
		/* A row that could not be read has been reported; the others are still checked. */
		if (!counts(row))
			continue;
		apply_root(table, row, root);
		row->device = row->source;
		apply_defaults(row);
		check_row(table, row);
	}
	if (!table->row_count) {
		*ret_plan = plan;
		return table->error_count ? -EINVAL : 0;
	}
	if (IS_ENABLED(CONFIG_ROWS) ? make_order(table, &plan) : take_root(table, &plan))
		idmap_table_error(table, &table->first->place, 0,
				  "no memory; make the table shorter");
	table->arena->end = scratch_end;
	if (table->error_count)
		return -EINVAL;
	for (i = 0; i < plan.rows; i++) {
		row = plan.row[i];
		if (IS_ENABLED(CONFIG_ROWS) && row->inside)
			plan.disk_view = true;
		if (is_root(row))
			plan.new_root = true;
		if (row->map && !row->map->users++)
			plan.maps++;
	}
	*ret_plan = plan;
	return 0;
}
