/* SPDX-License-Identifier: MIT */
/*
 * What must hold of every table that is accepted, whatever its text was: the maps obey the
 * kernel's rules, and the rows, printed, say the same again. Unit tests and fuzzers share it. The
 * rules are checked here in the slow and obvious way, with no code of the library's own. A breach
 * ends the program, so that a fuzzer keeps the input; a unit test defines CHECK_END first.
 */
#ifndef CHECK_H
#define CHECK_H

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "table/table.h"

#ifndef CHECK_END
#define CHECK_END() abort()
#endif

#define CHECK(condition, ...)                                                             \
	do {                                                                              \
		if (!(condition)) {                                                       \
			fprintf(stderr, "%s:%d: %s\n  ", __FILE__, __LINE__, #condition); \
			fprintf(stderr, __VA_ARGS__);                                     \
			fputc('\n', stderr);                                              \
			CHECK_END();                                                      \
		}                                                                         \
	} while (0)

/* Memory of exactly `size` bytes, so that the sanitizer sees a step outside. */
static inline char *check_arena(struct idmap_arena *ret_arena, size_t size)
{
	char *memory = malloc(size ? size : 1);

	CHECK(memory, "no memory for the test");
	ret_arena->at = memory;
	ret_arena->end = memory + size;
	return memory;
}

/* All rows of a plan, a line each. The caller frees it. */
static inline char *check_plan_text(const struct idmap_plan *plan)
{
	size_t size = 4096;

	for (;; size *= 4) {
		char *buffer = malloc(size);
		struct idmap_text text;
		uint32_t i;

		CHECK(buffer, "no memory for the test");
		idmap_text_init(&text, buffer, size);
		for (i = 0; i < plan->rows; i++) {
			idmap_row_text(plan->row[i], &text);
			idmap_text_add(&text, "\n");
		}
		if (!text.cut)
			return buffer;
		free(buffer);
	}
}

/* The text of a map is what the kernel takes, and says what the map says. */
static inline void check_map_text(const struct idmap_map *map, enum idmap_kind kind)
{
	char text[IDMAP_MAP_TEXT_SIZE], *p = text;
	size_t length = idmap_map_text(map, kind, text, sizeof(text));
	uint32_t i;

	CHECK(length == strlen(text), "length %zu of %zu", length, strlen(text));
	CHECK(length && length < IDMAP_MAP_TEXT_SIZE, "%zu bytes", length);
	for (i = 0; i < map->extents[kind]; i++) {
		const struct idmap_extent *e = &map->extent[kind][i];
		char line[64];
		int n = snprintf(line, sizeof(line), "%u %u %u\n", e->disk, e->seen, e->count);

		CHECK(!strncmp(p, line, (size_t)n), "line %u is not %s", i, line);
		p += n;
	}
	CHECK(!*p, "more text than extents: %s", p);
}

/* user_namespaces(7): ids in range, no overlap on either side; ours: sorted and merged. */
static inline void check_extents(const struct idmap_map *map, enum idmap_kind kind)
{
	uint32_t n = map->extents[kind], i, j;

	CHECK(n >= 1 && n <= IDMAP_EXTENTS_MAX, "%u extents", n);
	for (i = 0; i < n; i++) {
		const struct idmap_extent *a = &map->extent[kind][i];
		uint64_t disk_end = (uint64_t)a->disk + a->count;
		uint64_t seen_end = (uint64_t)a->seen + a->count;

		CHECK(a->count, "extent %u is empty", i);
		CHECK(disk_end <= 4294967295u && seen_end <= 4294967295u, "extent %u is too far",
		      i);
		for (j = i + 1; j < n; j++) {
			const struct idmap_extent *b = &map->extent[kind][j];

			CHECK(disk_end <= b->disk, "extents %u, %u: unsorted or overlap", i, j);
			CHECK(seen_end <= b->seen || (uint64_t)b->seen + b->count <= a->seen,
			      "extents %u and %u overlap on the seen side", i, j);
			CHECK(disk_end != b->disk || seen_end != b->seen,
			      "extents %u and %u are not merged", i, j);
		}
	}
	check_map_text(map, kind);
}

static inline bool check_same_map(const struct idmap_map *a, const struct idmap_map *b)
{
	uint32_t kind;

	for (kind = 0; kind < IDMAP_KINDS; kind++)
		if (a->extents[kind] != b->extents[kind] ||
		    memcmp(a->extent[kind], b->extent[kind],
			   a->extents[kind] * sizeof(struct idmap_extent)))
			return false;
	return true;
}

/* An overlay has all the layers of its target, and they come before it, the highest last. */
static inline void check_layers(const struct idmap_plan *plan, uint32_t overlay)
{
	const struct idmap_row *row = plan->row[overlay], *below = row->below;
	uint32_t i = overlay;

	if (!(row->flags & IDMAP_OVERLAY))
		return;
	CHECK(below, "nothing to merge on %s", row->target);
	CHECK(!row->upper == !!strcmp(row->source, "upper"), "%s on %s", row->source, row->target);
	while (i--) {
		if (strcmp(plan->row[i]->target, row->target))
			continue;
		CHECK(plan->row[i] == (plan->row[i]->flags & IDMAP_UPPER ? row->upper : below),
		      "the layers of %s are out of order", row->target);
		if (plan->row[i]->flags & IDMAP_LOWER)
			below = below->below;
	}
	CHECK(!below, "a layer of %s is not planned before it", row->target);
}

static inline void check_plan(const struct idmap_table *table, const struct idmap_plan *plan)
{
	const struct idmap_map *map, *other;
	uint32_t i, j, maps = 0;

	CHECK(!table->error_count && !table->errors, "a plan in spite of an error");
	CHECK(plan->new_root == (plan->rows && !strcmp(plan->row[0]->target, "/")),
	      "a row for / that is not first, or none");
	for (map = table->maps; map; map = map->next) {
		check_extents(map, IDMAP_UID);
		check_extents(map, IDMAP_GID);
		maps += map->users > 0;
		for (other = map->next; other; other = other->next)
			CHECK(!check_same_map(map, other), "equal maps made twice");
	}
	CHECK(plan->maps == maps, "%u maps counted, %u used", plan->maps, maps);
	for (i = 0; i < plan->rows; i++) {
		check_layers(plan, i);
		for (j = i + 1; j < plan->rows; j++) {
			const char *a = plan->row[i]->target, *b = plan->row[j]->target;

			CHECK(strcmp(a, b) || plan->row[i]->flags & IDMAP_LAYER, "%s twice", a);
			CHECK(strncmp(a, b, strlen(b)) || a[strlen(b)] != '/' || !b[1],
			      "%s comes before %s, which holds it", a, b);
		}
	}
}

/* An error is one line for a person, with its place. */
static inline void check_errors(const struct idmap_table *table)
{
	const struct idmap_error *error;
	uint32_t listed = 0;

	for (error = table->errors; error; error = error->next) {
		const unsigned char *p = (const unsigned char *)error->text;

		listed++;
		CHECK(error->class == IDMAP_BAD_TABLE, "class %d", (int)error->class);
		CHECK(strstr(error->text, ": "), "no place: %s", error->text);
		for (; *p; p++)
			CHECK(*p >= ' ' && *p != 0x7f, "byte %d in a message: %s", *p, error->text);
	}
	CHECK(listed <= IDMAP_ERRORS_MAX && listed <= table->error_count, "%u listed", listed);
}

/* An arena of idmap_arena_size() never runs dry. */
static inline void check_memory(const struct idmap_table *table)
{
	const struct idmap_error *error;

	for (error = table->errors; error; error = error->next) {
		const char *text = error->text;

		/* The message stands behind the place; a table's own words come later. */
		text += strncmp(text, "cmdline: ", 9) ? 0 : 9;
		text = strstr(text, ": ");
		CHECK(!text || strncmp(text, ": no memory", 11), "%s", error->text);
	}
}

/* The printed plan, read as a file, gives the same plan; so does each of its rows alone. */
static inline void check_round_trip(const char *text, bool booted)
{
	size_t size = strlen(text), arena_size = idmap_arena_size(size);
	struct idmap_root root = {.booted = booted};
	struct idmap_arena arena;
	struct idmap_table table;
	struct idmap_plan plan;
	char *memory = check_arena(&arena, arena_size), *again;

	idmap_table_init(&table, &arena);
	idmap_table_file(&table, "again", text, size);
	if (idmap_plan_make(&table, &root, &plan))
		CHECK(false, "%s\nis refused: %s", text,
		      table.errors ? table.errors->text : "without a word");
	check_plan(&table, &plan);
	again = check_plan_text(&plan);
	CHECK(!strcmp(text, again), "first:\n%ssecond:\n%s", text, again);
	free(again);
	free(memory);
}

#endif
