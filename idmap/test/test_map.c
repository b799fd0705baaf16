// SPDX-License-Identifier: MIT
/*
 * Maps in detail: what identity fills, what merges, which maps are one, and a comparison with a
 * second implementation that looks at every id by itself. That one knows no extents, so it cannot
 * make the same mistake.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#define CHECK_END() fail()
#include "check.h"
#include "random.h"
#include "table/table.h"

#define UID (1u << IDMAP_UID)
#define GID (1u << IDMAP_GID)
#define BOTH (UID | GID)
#define LAST 4294967294u

static const struct idmap_place place = {.name = "t", .line = 1};

struct setup {
	struct idmap_table table;
	struct idmap_arena arena;
	char *memory;
};

static void setup_open(struct setup *setup)
{
	setup->memory = check_arena(&setup->arena, 1 << 18);
	idmap_table_init(&setup->table, &setup->arena);
}

static struct idmap_map *make(struct setup *setup, const struct idmap_spec *specs, uint32_t count,
			      uint32_t identity)
{
	struct idmap_spec copy[64];
	char *end = setup->arena.end;
	struct idmap_map *map;

	assert_true(count <= 64);
	if (count)
		memcpy(copy, specs, count * sizeof(*specs));
	map = idmap_map_make(&setup->table, &place, copy, count, identity, 1);
	setup->arena.end = end;
	if (map) {
		check_extents(map, IDMAP_UID);
		check_extents(map, IDMAP_GID);
	}
	check_errors(&setup->table);
	return map;
}

struct expected {
	struct idmap_spec spec[6];
	uint32_t identity;
	const char *uid, *gid; /* of uid_map; NULL: refused */
};

#define EXTENT(d, s, c, k)                                           \
	{                                                            \
		.extent = {(d), (s), (c)}, .column = 1, .kinds = (k) \
	}
#define ALL "0 0 4294967295\n"

static const struct expected expectations[] = {
	{{{{0}, 0, 0}}, 0, ALL, ALL},
	{{{{0}, 0, 0}}, BOTH, ALL, ALL},
	{{EXTENT(0, 5, 1, BOTH)}, 0, "0 5 1\n", "0 5 1\n"},
	{{EXTENT(0, 5, 1, UID)}, 0, "0 5 1\n", ALL},
	{{EXTENT(0, 5, 1, GID)}, 0, ALL, "0 5 1\n"},
	{{EXTENT(0, 5, 1, UID)}, GID, "0 5 1\n", ALL},
	{{EXTENT(0, 5, 1, UID), EXTENT(0, 6, 1, GID)}, 0, "0 5 1\n", "0 6 1\n"},
	/* The gaps of identity: before, between, after; what is claimed on one side only is none.
	 */
	{{EXTENT(5, 5, 1, BOTH)}, BOTH, ALL, ALL},
	{{EXTENT(1000, 0, 1, BOTH)},
	 UID,
	 "1 1 999\n1000 0 1\n1001 1001 4294966294\n",
	 "1000 0 1\n"},
	{{EXTENT(0, 1000, 1, BOTH)},
	 GID,
	 "0 1000 1\n",
	 "0 1000 1\n1 1 999\n1001 1001 4294966294\n"},
	{{EXTENT(0, LAST, 1, UID), EXTENT(LAST, 0, 1, UID)},
	 UID,
	 "0 4294967294 1\n1 1 4294967293\n4294967294 0 1\n",
	 ALL},
	{{EXTENT(LAST, LAST, 1, BOTH)}, BOTH, ALL, ALL},
	{{EXTENT(0, 0, LAST + 1, BOTH)}, BOTH, ALL, ALL},
	{{EXTENT(0, 1, LAST, BOTH)}, BOTH, "0 1 4294967294\n", "0 1 4294967294\n"},
	{{EXTENT(10, 20, 5, UID), EXTENT(12, 30, 5, GID)},
	 BOTH,
	 "0 0 10\n10 20 5\n15 15 5\n25 25 4294967270\n",
	 "0 0 12\n12 30 5\n17 17 13\n35 35 4294967260\n"},
	/* Claims of both sides that overlap each other leave no gap. */
	{{EXTENT(10, 12, 5, BOTH)},
	 BOTH,
	 "0 0 10\n10 12 5\n17 17 4294967278\n",
	 "0 0 10\n10 12 5\n17 17 4294967278\n"},
	/* Merging. */
	{{EXTENT(2, 12, 1, BOTH), EXTENT(0, 10, 1, BOTH), EXTENT(1, 11, 1, BOTH)},
	 0,
	 "0 10 3\n",
	 "0 10 3\n"},
	{{EXTENT(0, 10, 1, BOTH), EXTENT(1, 11, 1, UID)}, 0, "0 10 2\n", "0 10 1\n"},
	{{EXTENT(0, 11, 1, BOTH), EXTENT(1, 10, 1, BOTH)},
	 0,
	 "0 11 1\n1 10 1\n",
	 "0 11 1\n1 10 1\n"},
	{{EXTENT(LAST, 1, 1, BOTH), EXTENT(0, 2, 1, BOTH)},
	 0,
	 "0 2 1\n4294967294 1 1\n",
	 "0 2 1\n4294967294 1 1\n"},
	{{EXTENT(LAST - 1, LAST - 1, 1, BOTH), EXTENT(LAST, LAST, 1, BOTH)},
	 0,
	 "4294967293 4294967293 2\n",
	 "4294967293 4294967293 2\n"},
	/* Overlaps. */
	{{EXTENT(0, 0, 2, BOTH), EXTENT(1, 9, 1, BOTH)}, 0, NULL, NULL},
	{{EXTENT(0, 0, 2, BOTH), EXTENT(9, 1, 1, BOTH)}, 0, NULL, NULL},
	{{EXTENT(0, 0, 2, UID), EXTENT(1, 9, 1, BOTH)}, 0, NULL, NULL},
	{{EXTENT(0, 0, LAST + 1, GID), EXTENT(LAST, LAST, 1, GID)}, GID, NULL, NULL},
	{{EXTENT(0, 0, 100, BOTH), EXTENT(1, 200, 1, BOTH), EXTENT(50, 300, 1, BOTH)},
	 0,
	 NULL,
	 NULL},
};

static void test_expectations(void **state)
{
	size_t i;

	(void)state;
	for (i = 0; i < sizeof(expectations) / sizeof(*expectations); i++) {
		const struct expected *e = &expectations[i];
		char uid[IDMAP_MAP_TEXT_SIZE], gid[IDMAP_MAP_TEXT_SIZE];
		struct setup setup;
		struct idmap_map *map;
		uint32_t count = 0;

		while (count < 6 && e->spec[count].kinds)
			count++;
		setup_open(&setup);
		map = make(&setup, e->spec, count, e->identity);
		if (!!map != !!e->uid)
			print_error("expectation %zu\n", i);
		assert_int_equal(!!map, !!e->uid);
		assert_int_equal(!setup.table.error_count, !!e->uid);
		if (map) {
			idmap_map_text(map, IDMAP_UID, uid, sizeof(uid));
			idmap_map_text(map, IDMAP_GID, gid, sizeof(gid));
			assert_string_equal(uid, e->uid);
			assert_string_equal(gid, e->gid);
			assert_int_equal(map->userns_fd, -1);
			assert_int_equal(map->users, 0);
		}
		free(setup.memory);
	}
}

/* However they are written, equal maps are one, with one user namespace. */
static void test_interning(void **state)
{
	static const struct idmap_spec one[] = {EXTENT(0, 10, 2, BOTH)};
	static const struct idmap_spec split[] = {EXTENT(1, 11, 1, BOTH), EXTENT(0, 10, 1, BOTH)};
	static const struct idmap_spec kinds[] = {EXTENT(0, 10, 2, GID), EXTENT(0, 10, 2, UID)};
	static const struct idmap_spec uids[] = {EXTENT(0, 10, 2, UID)};
	static const struct idmap_spec gids[] = {EXTENT(0, 10, 2, GID)};
	static const struct idmap_spec longer[] = {EXTENT(0, 10, 2, BOTH), EXTENT(9, 9, 1, BOTH)};
	static const struct idmap_spec itself[] = {EXTENT(7, 7, 7, BOTH)};
	struct setup setup;
	struct idmap_map *map[6];
	uint32_t i, j;

	(void)state;
	setup_open(&setup);
	map[0] = make(&setup, one, 1, 0);
	map[1] = make(&setup, uids, 1, 0);
	map[2] = make(&setup, gids, 1, 0);
	map[3] = make(&setup, longer, 2, 0);
	map[4] = make(&setup, NULL, 0, BOTH);
	map[5] = make(&setup, one, 1, BOTH);
	for (i = 0; i < 6; i++) {
		assert_non_null(map[i]);
		assert_int_equal(map[i]->number, i + 1);
		for (j = 0; j < i; j++)
			assert_ptr_not_equal(map[i], map[j]);
	}
	assert_ptr_equal(make(&setup, one, 1, 0), map[0]);
	assert_ptr_equal(make(&setup, split, 2, 0), map[0]);
	assert_ptr_equal(make(&setup, kinds, 2, 0), map[0]);
	assert_ptr_equal(make(&setup, uids, 1, GID), map[1]);
	assert_ptr_equal(make(&setup, itself, 1, BOTH), map[4]);
	assert_ptr_equal(make(&setup, NULL, 0, UID), map[4]);
	assert_ptr_equal(make(&setup, split, 2, BOTH), map[5]);
	assert_int_equal(setup.table.map_count, 6);
	assert_int_equal(setup.table.error_count, 0);
	for (i = 0; i < 6; i++)
		assert_ptr_equal(map[i]->next, i < 5 ? map[i + 1] : NULL);
	free(setup.memory);
}

static void test_disk(void **state)
{
	static const struct idmap_spec specs[] = {EXTENT(100000, 0, 1000, UID),
						  EXTENT(5, 1000, 1, BOTH),
						  EXTENT(LAST, LAST, 1, BOTH)};
	static const struct {
		enum idmap_kind kind;
		uint32_t seen;
		bool there;
		uint32_t disk;
	} cases[] = {
		{IDMAP_UID, 0, true, 100000},	 {IDMAP_UID, 999, true, 100999},
		{IDMAP_UID, 1000, true, 5},	 {IDMAP_UID, 1001, false, 0},
		{IDMAP_UID, 100000, false, 0},	 {IDMAP_UID, LAST, true, LAST},
		{IDMAP_UID, LAST - 1, false, 0}, {IDMAP_UID, UINT32_MAX, false, 0},
		{IDMAP_GID, 0, false, 0},	 {IDMAP_GID, 1000, true, 5},
		{IDMAP_GID, 5, false, 0},	 {IDMAP_GID, LAST, true, LAST},
	};
	struct setup setup;
	struct idmap_map *map;
	size_t i;

	(void)state;
	setup_open(&setup);
	map = make(&setup, specs, 3, 0);
	assert_non_null(map);
	for (i = 0; i < sizeof(cases) / sizeof(*cases); i++) {
		uint32_t disk = 77;

		assert_int_equal(idmap_map_disk(map, cases[i].kind, cases[i].seen, &disk),
				 cases[i].there);
		assert_int_equal(disk, cases[i].there ? cases[i].disk : 77);
	}
	free(setup.memory);
}

static void test_options(void **state)
{
	static const struct idmap_spec same[] = {EXTENT(0, 10, 2, BOTH), EXTENT(9, 9, 1, BOTH)};
	static const struct idmap_spec differ[] = {EXTENT(0, 10, 2, BOTH), EXTENT(9, 9, 1, GID)};
	struct idmap_text text;
	struct setup setup;
	char buffer[100];

	(void)state;
	setup_open(&setup);
	idmap_text_init(&text, buffer, sizeof(buffer));
	idmap_map_options(make(&setup, same, 2, 0), &text);
	assert_string_equal(buffer, "idmap=0:10:2,9:9:1");
	idmap_text_init(&text, buffer, sizeof(buffer));
	idmap_map_options(make(&setup, differ, 2, 0), &text);
	assert_string_equal(buffer, "uidmap=0:10:2,gidmap=0:10:2,9:9:1");
	free(setup.memory);
}

/* A short buffer gets what fits and is terminated. */
static void test_text_sizes(void **state)
{
	static const struct idmap_spec specs[] = {EXTENT(0, 10, 2, BOTH), EXTENT(9, 9, 1, BOTH)};
	static const char whole[] = "0 10 2\n9 9 1\n";
	struct setup setup;
	struct idmap_map *map;
	size_t size;

	(void)state;
	setup_open(&setup);
	map = make(&setup, specs, 2, 0);
	for (size = 1; size < sizeof(whole) + 3; size++) {
		size_t expected = size < sizeof(whole) ? size - 1 : sizeof(whole) - 1;
		char *buffer = malloc(size);

		assert_int_equal(idmap_map_text(map, IDMAP_UID, buffer, size), expected);
		assert_int_equal(strlen(buffer), expected);
		assert_memory_equal(buffer, whole, expected);
		free(buffer);
	}
	free(setup.memory);
}

/* --- against a map that is an array of ids --------------------------------------------------- */

#define IDS 24
#define NONE UINT32_MAX

/* Ids 0 … IDS-1 stand for base … base+IDS-1, so that both ends of all ids are looked at. */
struct model {
	uint32_t disk[IDS]; /* of what is seen */
	bool overlap, said;
};

static void model_make(struct model *model, const struct idmap_spec *spec, uint32_t count,
		       uint32_t kind, bool identity, uint32_t base)
{
	bool disk_claimed[IDS] = {false}, seen_claimed[IDS] = {false};
	uint32_t i, id;

	*model = (struct model){0};
	for (id = 0; id < IDS; id++)
		model->disk[id] = NONE;
	for (i = 0; i < count; i++) {
		if (!(spec[i].kinds & 1u << kind))
			continue;
		model->said = true;
		for (id = 0; id < spec[i].extent.count; id++) {
			uint32_t disk = spec[i].extent.disk - base + id;
			uint32_t seen = spec[i].extent.seen - base + id;

			model->overlap |= disk_claimed[disk] | seen_claimed[seen];
			disk_claimed[disk] = seen_claimed[seen] = true;
			model->disk[seen] = disk;
		}
	}
	for (id = 0; id < IDS; id++)
		if ((identity || !model->said) && !disk_claimed[id] && !seen_claimed[id])
			model->disk[id] = id;
}

static void compare_with_model(struct setup *setup, uint32_t base)
{
	struct idmap_spec spec[8];
	uint32_t count = random_below(7), identity = random_below(4), i, kind, id;
	struct model model[IDMAP_KINDS];
	struct idmap_map *map;

	for (i = 0; i < count; i++) {
		uint32_t size = 1 + random_below(5);

		spec[i] =
			(struct idmap_spec){.extent = {.disk = base + random_below(IDS - size + 1),
						       .seen = base + random_below(IDS - size + 1),
						       .count = size},
					    .column = i + 1,
					    .kinds = 1 + random_below(3)};
	}
	for (kind = 0; kind < IDMAP_KINDS; kind++)
		model_make(&model[kind], spec, count, kind, identity & 1u << kind, base);
	map = make(setup, spec, count, identity);
	assert_int_equal(!map, model[IDMAP_UID].overlap || model[IDMAP_GID].overlap);
	assert_int_equal(!map, setup->table.error_count > 0);
	for (kind = 0; map && kind < IDMAP_KINDS; kind++) {
		for (id = 0; id < IDS; id++) {
			uint32_t disk = NONE;

			if (idmap_map_disk(map, (enum idmap_kind)kind, base + id, &disk))
				disk -= base;
			assert_int_equal(disk, model[kind].disk[id]);
		}
	}
}

static void test_random(void **state)
{
	uint32_t round, accepted = 0;

	(void)state;
	for (round = 0; round < 20000; round++) {
		struct setup setup;

		setup_open(&setup);
		compare_with_model(&setup, round % 2 ? 0 : LAST - (IDS - 1));
		accepted += !setup.table.error_count;
		free(setup.memory);
	}
	/* Neither all nor nothing: the random extents are worth something. */
	assert_in_range(accepted, 2000, 18000);
}

/* Every message of an overlap names two extents that do overlap, in the order of the text. */
static void test_overlap_messages(void **state)
{
	uint32_t round;

	(void)state;
	for (round = 0; round < 5000; round++) {
		struct idmap_spec spec[5];
		const struct idmap_error *error;
		struct setup setup;
		uint32_t i;

		for (i = 0; i < 5; i++)
			spec[i] = (struct idmap_spec){.extent = {.disk = random_below(20),
								 .seen = random_below(20),
								 .count = 1 + random_below(9)},
						      .column = i + 1,
						      .kinds = 1 + random_below(3)};
		setup_open(&setup);
		make(&setup, spec, 5, 0);
		for (error = setup.table.errors; error; error = error->next) {
			uint32_t column, first, last, a[3], b[3], low, high;
			char side[5], kind[9];
			uint32_t k;
			int n = sscanf(error->text,
				       "t:1:%u: extents %u:%u:%u and %u:%u:%u overlap on the %4s"
				       " side for %8[a-z]%*[^(](%*[ids] %u to %u)",
				       &column, &a[0], &a[1], &a[2], &b[0], &b[1], &b[2], side,
				       kind, &first, &last);

			/* A single id is no range. */
			if (n == 10) {
				last = first;
				n = 11;
			}
			if (n != 11)
				print_error("%s\n", error->text);
			assert_int_equal(n, 11);
			k = strcmp(side, "disk") ? 1 : 0;
			low = a[k] > b[k] ? a[k] : b[k];
			high = a[k] + a[2] < b[k] + b[2] ? a[k] + a[2] : b[k] + b[2];
			assert_int_equal(first, low);
			assert_int_equal(last, high - 1);
			assert_true(first <= last);
			assert_int_equal(spec[column - 1].extent.disk, b[0]);
			assert_int_equal(spec[column - 1].extent.seen, b[1]);
			assert_int_equal(spec[column - 1].extent.count, b[2]);
		}
		free(setup.memory);
	}
}

int main(void)
{
	static const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_expectations),
		cmocka_unit_test(test_interning),
		cmocka_unit_test(test_disk),
		cmocka_unit_test(test_options),
		cmocka_unit_test(test_text_sizes),
		cmocka_unit_test(test_random),
		cmocka_unit_test(test_overlap_messages),
	};

	return cmocka_run_group_tests_name("maps", tests, NULL, NULL);
}
