// SPDX-License-Identifier: MIT
/*
 * What all else is written with: text in bounded buffers, fields and their escapes, and the arena,
 * which is run dry at every size. A table that does not fit must end in an error, never in a plan
 * that lacks something.
 */
#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#define CHECK_END() fail()
#include "check.h"

static void test_formats(void **state)
{
	struct idmap_text text;
	char buffer[400];

	(void)state;
	idmap_text_init(&text, buffer, sizeof(buffer));
	assert_string_equal(buffer, "");
	idmap_text_add(&text, "%s|%.*s|%.*s|%%|", "abc", 2, "xyz", 0, "none");
	idmap_text_add(&text, "%u|%u|%lu|%lu|", 0u, 4294967295u, 0ul, 18446744073709551615ul);
	idmap_text_add(&text, "%o|%o|", 0u, 0755u);
	idmap_text_add(&text, "%s", "");
	assert_string_equal(buffer, "abc|xy||%|0|4294967295|0|"
				    "18446744073709551615|0|755|");
	assert_false(text.cut);
	assert_ptr_equal(text.at, buffer + strlen(buffer));
}

/* At every size of the buffer: the beginning of the whole, terminated, and `cut` tells. */
static void test_cut(void **state)
{
	static const char whole[] = "one 22 three\\040four";
	size_t size;

	(void)state;
	for (size = 1; size < sizeof(whole) + 3; size++) {
		size_t expected = size < sizeof(whole) ? size - 1 : sizeof(whole) - 1;
		char *buffer = malloc(size);
		struct idmap_text text;

		idmap_text_init(&text, buffer, size);
		idmap_text_add(&text, "%s %u ", "one", 22u);
		idmap_text_field(&text, "three four", 0);
		assert_int_equal(strlen(buffer), expected);
		assert_memory_equal(buffer, whole, expected);
		assert_int_equal(text.cut, size < sizeof(whole));
		free(buffer);
	}
}

static void test_shortening(void **state)
{
	struct idmap_text text;
	char buffer[100];

	(void)state;
	idmap_text_init(&text, buffer, sizeof(buffer));
	text.most = 4;
	idmap_text_add(&text, "%s|%s|%.*s|%.*s|literal text|%u", "1234", "12345", 4, "12345", 5,
		       "123456", 1234567u);
	assert_string_equal(buffer, "1234|1234...|1234|1234...|literal text|1234567");
	assert_false(text.cut);
}

static void test_field(void **state)
{
	static const struct {
		const char *field;
		char more;
		const char *expected;
	} cases[] = {
		{"", 0, ""},
		{"plain", 0, "plain"},
		{"a b\tc\nd\re", 0, "a\\040b\\011c\\012d\\015e"},
		{"\\040", 0, "\\134040"},
		{"a\"b\x7f\x01", 0, "a\\042b\\177\\001"},
		{"a,b", 0, "a,b"},
		{"a,b", ',', "a\\054b"},
		{"a,b=c", '=', "a,b\\075c"},
		{"\xc3\xa9\xff", ',', "\xc3\xa9\xff"},
		{"#", '#', "\\043"},
	};
	size_t i;

	(void)state;
	for (i = 0; i < sizeof(cases) / sizeof(*cases); i++) {
		struct idmap_text text;
		char buffer[100];

		idmap_text_init(&text, buffer, sizeof(buffer));
		idmap_text_field(&text, cases[i].field, cases[i].more);
		assert_string_equal(buffer, cases[i].expected);
	}
}

/* Every byte of a SOURCE comes back from what is printed, the first one and the others. */
static void test_every_byte(void **state)
{
	uint32_t byte;

	(void)state;
	for (byte = 1; byte < 256; byte++) {
		const struct idmap_root root = {0};
		struct idmap_arena arena;
		struct idmap_table table;
		struct idmap_plan plan;
		char text[40], *memory, *printed;
		int n = snprintf(text, sizeof(text), "\\%03o\\%03o / any a\\%03o", byte, byte,
				 byte);

		memory = check_arena(&arena, idmap_arena_size((size_t)n));
		idmap_table_init(&table, &arena);
		idmap_table_file(&table, "t", text, (size_t)n);
		assert_int_equal(idmap_plan_make(&table, &root, &plan), 0);
		assert_int_equal((unsigned char)plan.row[0]->source[0], byte);
		assert_int_equal((unsigned char)plan.row[0]->source[1], byte);
		printed = check_plan_text(&plan);
		check_round_trip(printed, false);
		free(printed);
		free(memory);
	}
}

/* A printed row is a row even where its name looks like the mark at the start of a file. */
static void test_byte_order_mark(void **state)
{
	static const char text[] = "\\357\\273\\277a / any";
	const struct idmap_root root = {0};
	struct idmap_arena arena;
	struct idmap_table table;
	struct idmap_plan plan;
	char *memory = check_arena(&arena, idmap_arena_size(sizeof(text))), *printed;

	(void)state;
	idmap_table_init(&table, &arena);
	idmap_table_file(&table, "t", text, sizeof(text) - 1);
	assert_int_equal(idmap_plan_make(&table, &root, &plan), 0);
	printed = check_plan_text(&plan);
	check_round_trip(printed, false);
	free(printed);
	free(memory);
}

static void test_places(void **state)
{
	static const struct {
		struct idmap_place place;
		uint32_t column;
		const char *expected;
	} cases[] = {
		{{"/etc/idmap.conf", 3, false}, 17, "/etc/idmap.conf:3:17"},
		{{"/etc/idmap.conf", 3, false}, 0, "/etc/idmap.conf:3"},
		{{"idmap=", 2, true}, 9, "cmdline: idmap= #2, column 9"},
		{{"idmap=", 2, true}, 0, "cmdline: idmap= #2"},
		{{"rootflags=", 0, true}, 4, "cmdline: rootflags=, column 4"},
		{{"root=", 0, true}, 0, "cmdline: root="},
	};
	size_t i;

	(void)state;
	for (i = 0; i < sizeof(cases) / sizeof(*cases); i++) {
		struct idmap_text text;
		char buffer[100];

		idmap_text_init(&text, buffer, sizeof(buffer));
		idmap_place_text(&text, &cases[i].place, cases[i].column);
		assert_string_equal(buffer, cases[i].expected);
	}
}

static void test_fail(void **state)
{
	const struct idmap_row row = {
		.place = {.name = "f", .line = 7}, .source = "/dev/vda", .target = "/mnt"};
	struct idmap_error error = {0};
	char path[1000];

	(void)state;
	assert_int_equal(idmap_fail(&error, NULL, IDMAP_NO_INIT, ENOENT, "%s: %u", "x", 5u),
			 -ENOENT);
	assert_int_equal(error.class, IDMAP_NO_INIT);
	assert_string_equal(error.text, "x: 5");
	assert_int_equal(idmap_fail(&error, &row, IDMAP_NO_MOUNT, EIO, "no %u", 1u), -EIO);
	assert_int_equal(error.class, IDMAP_NO_MOUNT);
	assert_string_equal(error.text, "f:7: /dev/vda on /mnt: no 1");
	/* Long names never push the remedy out. */
	memset(path, 'p', sizeof(path) - 1);
	path[sizeof(path) - 1] = 0;
	idmap_fail(&error, NULL, IDMAP_NO_MOUNT, EIO, "%s %s %s %s; do that", path, path, path,
		   path);
	assert_non_null(strstr(error.text, "; do that"));
	/* Words for an errno, whether known or not. */
	assert_true(strlen(idmap_errno_text(EINVAL)) > 0);
	assert_true(strlen(idmap_errno_text(4000)) > 0);
}

/* --- the arena ------------------------------------------------------------------------------- */

static void test_alloc(void **state)
{
	struct idmap_arena arena;
	char *memory = check_arena(&arena, 64), *a, *b, *c;

	(void)state;
	memset(memory, 0xff, 64);
	a = idmap_alloc(&arena, 1);
	b = idmap_alloc(&arena, 9);
	c = idmap_alloc_scratch(&arena, 3);
	assert_non_null(a);
	assert_non_null(b);
	assert_non_null(c);
	assert_int_equal(a[0], 0);
	assert_int_equal(b[8], 0);
	assert_int_equal(c[2], 0);
	assert_true(a < b && b + 9 <= c && c + 3 <= memory + 64);
	assert_null(idmap_alloc(&arena, 64));
	assert_null(idmap_alloc_scratch(&arena, 64));
	/* What failed took nothing. */
	assert_non_null(idmap_alloc(&arena, (size_t)(arena.end - arena.at)));
	assert_null(idmap_alloc(&arena, 1));
	assert_null(idmap_alloc_scratch(&arena, 1));
	assert_non_null(idmap_alloc(&arena, 0));
	free(memory);
}

/* An arena may end anywhere, as after a file's size; what it gives is aligned all the same. */
static void test_alignment(void **state)
{
	size_t size, one;

	(void)state;
	for (size = 32; size < 48; size++) {
		for (one = 0; one < 9; one++) {
			struct idmap_arena arena;
			char *memory = check_arena(&arena, size);

			assert_int_equal((uintptr_t)idmap_alloc(&arena, one) % sizeof(void *), 0);
			assert_int_equal(
				(uintptr_t)idmap_alloc_scratch(&arena, one) % sizeof(void *), 0);
			free(memory);
		}
	}
}

struct tight {
	const char *file, *word[4];
	struct idmap_root root;
};

#define LONG "text_that_is_longer_than_what_the_order_of_a_row_needs_in_memory"

static const struct tight tables[] = {
	{.file = "a / b\n"},
	{.file = "# c\n/dev/vda / erofs ro,0:1:1,5:6:1,identity,x=y\n"
		 "tag /srv virtiofs X-mount.mkdir=0700,u:7:8:9,nofail\n"
		 "/srv/a\\040b /opt rbind\n/opt/c /mnt bind g:1:2:3\n"},
	{.file = "a / b 0:0:1\nc /c d 0:0:1,1:1:1\ne /e f 0:0:2\n"},
	{.file = "a / b 0:0:1\nc /c d 0:0:1,1:1\ne e f\n\n/x /y\n"},
	{.word = {"/dev/vda,/,erofs,100000:0:65536", "a,/a,tmpfs,size=1m,mode=0755"}},
	{.word = {"100000:0:65536,noatime"},
	 .root = {.source = "/dev/vda",
		  .type = "erofs,squashfs",
		  .flags = "noatime,a=b,nodev,errors=continue",
		  .writable = true}},
	{.word = {"ro", "/dev/root,/mnt,auto,data=x", "/dev/root,/srv,auto"},
	 .root = {.source = "/dev/vda", .type = "ext4", .flags = "data=ordered,noexec"}},
	/* Long texts are the first that do not fit any more, and short ones after them do. */
	{.word = {LONG}, .root = {.source = "/dev/vda", .flags = "a" LONG}},
	{.word = {"ro"}, .root = {.source = "/dev/vda", .flags = LONG "," LONG}},
	{.word = {"ro"}, .root = {.source = "/dev/vda", .type = LONG "," LONG}},
	{.word = {"a,/a,tmpfs"}, .root = {.source = "/dev/vda", .type = "ext4", .flags = "q"}},
	{.word = {"X-mount.subdir=a"}, .root = {.source = "/dev/vda"}},
};

/* The plan's text, or NULL and then at least one error. */
static char *read_tight(const struct tight *tight, size_t size)
{
	struct idmap_arena arena;
	struct idmap_table table;
	struct idmap_plan plan;
	char *memory = check_arena(&arena, size), *text = NULL;
	uint32_t i;

	idmap_table_init(&table, &arena);
	if (tight->file)
		idmap_table_file(&table, "t", tight->file, strlen(tight->file));
	for (i = 0; i < 4 && tight->word[i]; i++)
		idmap_table_word(&table, tight->word[i], i + 1);
	if (idmap_plan_make(&table, &tight->root, &plan)) {
		assert_true(table.error_count > 0);
	} else {
		check_plan(&table, &plan);
		text = check_plan_text(&plan);
	}
	check_errors(&table);
	assert_true(arena.at <= arena.end);
	free(memory);
	return text;
}

static void test_exhaustion(void **state)
{
	size_t i, size, most, least;

	(void)state;
	for (i = 0; i < sizeof(tables) / sizeof(*tables); i++) {
		char *whole = read_tight(&tables[i], 1 << 18);

		/* Twice what the plan needs, as far as it goes. */
		most = 8192;
		least = 0;
		for (size = 0; size < most; size += sizeof(void *)) {
			char *text = read_tight(&tables[i], size);

			if (text && !whole)
				print_error("table %zu: accepted in %zu bytes:\n%s", i, size, text);
			if (text && whole && strcmp(text, whole))
				print_error("table %zu in %zu bytes:\n%sinstead of\n%s", i, size,
					    text, whole);
			assert_true(!text || (whole && !strcmp(text, whole)));
			if (text && !least)
				least = size;
			free(text);
		}
		if (whole)
			assert_in_range(least, 100, most);
		free(whole);
	}
}

int main(void)
{
	static const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_formats),	   cmocka_unit_test(test_cut),
		cmocka_unit_test(test_shortening), cmocka_unit_test(test_field),
		cmocka_unit_test(test_every_byte), cmocka_unit_test(test_byte_order_mark),
		cmocka_unit_test(test_places),	   cmocka_unit_test(test_fail),
		cmocka_unit_test(test_alloc),	   cmocka_unit_test(test_alignment),
		cmocka_unit_test(test_exhaustion),
	};

	return cmocka_run_group_tests_name("text and memory", tests, NULL, NULL);
}
