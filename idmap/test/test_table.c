// SPDX-License-Identifier: MIT
/*
 * The table as data: every case of table.data is read by the code that boots and compared, to the
 * byte, with the rows or the messages that the case expects. Each is a test of its own, so that a
 * failure names it. What an accepted case prints must moreover say the same again. Below are the
 * few cases that are too long to be written out.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#define CHECK_END() fail()
#include "check.h"

#ifndef TEST_DATA
#define TEST_DATA "idmap/test/table.data"
#endif

#define CASES_MOST 1000
#define WORDS_MOST 64

/* A test that fails leaves its memory behind; a list of leaks would hide the reason. */
const char *__asan_default_options(void);
const char *__asan_default_options(void)
{
	return "detect_leaks=0";
}

/* Growing text; a case's bytes may hold NUL. */
struct bytes {
	char *at;
	size_t size, room;
};

struct test_case {
	char *name;
	uint32_t line;
	bool has_file;
	struct bytes file, expected;
	char *word[WORDS_MOST]; /* NULL: idmap without a value */
	uint32_t words;
	struct idmap_root root;
};

static void put(struct bytes *bytes, const char *text, size_t size)
{
	if (bytes->size + size + 1 > bytes->room) {
		bytes->room = (bytes->size + size + 1) * 2;
		bytes->at = realloc(bytes->at, bytes->room);
		CHECK(bytes->at, "no memory for the test");
	}
	memcpy(bytes->at + bytes->size, text, size);
	bytes->size += size;
	bytes->at[bytes->size] = 0;
}

/* --- reading table.data ---------------------------------------------------------------------- */

/* <09> is a byte in hex, <a*255> a letter many times, <> nothing. */
static void put_unescaped(struct bytes *bytes, const char *text, uint32_t line)
{
	for (; *text; text++) {
		unsigned int value, times = 1;
		char c = *text, close = 0;

		if (c == '<') {
			if (text[1] == '>')
				times = 0;
			else if (text[2] == '*' &&
				 sscanf(text, "<%c*%u%c", &c, &times, &close) == 3)
				CHECK(close == '>', "table.data:%u: bad <…>", line);
			else if (sscanf(text, "<%2x%c", &value, &close) == 2 && close == '>')
				c = (char)value;
			else
				CHECK(false, "table.data:%u: bad <…>", line);
			text = strchr(text, '>');
		}
		while (times--)
			put(bytes, &c, 1);
	}
}

static char *unescaped(const char *text, uint32_t line)
{
	struct bytes bytes = {0};

	put(&bytes, "", 0);
	put_unescaped(&bytes, text, line);
	return bytes.at;
}

static bool begins(const char *line, const char *with, const char **ret_rest)
{
	if (strncmp(line, with, strlen(with)))
		return false;
	*ret_rest = line + strlen(with);
	return true;
}

static void read_case_line(struct test_case *one, const char *line, uint32_t number)
{
	const char *rest;

	if (begins(line, "file ", &rest) || begins(line, "tail ", &rest)) {
		one->has_file = true;
		put_unescaped(&one->file, rest, number);
		if (*line == 'f')
			put(&one->file, "\n", 1);
	} else if (begins(line, "word ", &rest)) {
		CHECK(one->words < WORDS_MOST, "table.data:%u: too many words", number);
		one->word[one->words++] = unescaped(rest, number);
	} else if (!strcmp(line, "bare")) {
		one->word[one->words++] = NULL;
	} else if (begins(line, "root=", &rest)) {
		one->root.source = unescaped(rest, number);
	} else if (begins(line, "rootfstype=", &rest)) {
		one->root.type = unescaped(rest, number);
	} else if (begins(line, "rootflags=", &rest)) {
		one->root.flags = unescaped(rest, number);
	} else if (!strcmp(line, "rw")) {
		one->root.writable = true;
	} else {
		CHECK(begins(line, "row ", &rest) || begins(line, "error ", &rest) ||
			      begins(line, "more ", &rest) || !strcmp(line, "off"),
		      "table.data:%u: what is '%s'?", number, line);
		put_unescaped(&one->expected, line, number);
		put(&one->expected, "\n", 1);
	}
}

static size_t read_cases(const char *path, struct test_case *cases)
{
	FILE *file = fopen(path, "r");
	struct test_case *one = NULL;
	char *line = NULL;
	const char *rest;
	size_t room = 0, count = 0;
	uint32_t number = 0;

	CHECK(file, "cannot open %s", path);
	while (getline(&line, &room, file) >= 0) {
		number++;
		line[strcspn(line, "\n")] = 0;
		if (!*line || *line == '#')
			continue;
		if (begins(line, "case ", &rest)) {
			CHECK(count < CASES_MOST, "too many cases");
			one = &cases[count++];
			one->name = unescaped(rest, number);
			one->line = number;
			put(&one->file, "", 0);
			put(&one->expected, "", 0);
			continue;
		}
		CHECK(one, "table.data:%u: no case yet", number);
		read_case_line(one, line, number);
	}
	free(line);
	fclose(file);
	return count;
}

static void free_case(struct test_case *one)
{
	uint32_t i;

	for (i = 0; i < one->words; i++)
		free(one->word[i]);
	free(one->name);
	free(one->file.at);
	free(one->expected.at);
	free((void *)(uintptr_t)one->root.source);
	free((void *)(uintptr_t)one->root.type);
	free((void *)(uintptr_t)one->root.flags);
}

/* --- a case ---------------------------------------------------------------------------------- */

/* What a table came to, in the words of table.data. */
static void put_result(struct bytes *out, struct idmap_table *table, const struct idmap_root *root)
{
	const struct idmap_error *error;
	struct idmap_plan plan;
	uint32_t listed = 0;
	char *rows, *row, *save;

	if (table->off) {
		put(out, "off\n", 4);
		return;
	}
	if (!idmap_plan_make(table, root, &plan)) {
		check_plan(table, &plan);
		rows = check_plan_text(&plan);
		check_round_trip(rows, false);
		for (row = strtok_r(rows, "\n", &save); row; row = strtok_r(NULL, "\n", &save)) {
			put(out, "row ", 4);
			put(out, row, strlen(row));
			put(out, "\n", 1);
		}
		free(rows);
		return;
	}
	for (error = table->errors; error; error = error->next, listed++) {
		put(out, "error ", 6);
		put(out, error->text, strlen(error->text));
		put(out, "\n", 1);
	}
	if (table->error_count > listed) {
		char more[32];
		int n = snprintf(more, sizeof(more), "more %u\n", table->error_count - listed);

		put(out, more, (size_t)n);
	}
}

static size_t text_length(const char *text)
{
	return text ? strlen(text) : 0;
}

static bool has_line(const char *text, const char *line, size_t length)
{
	for (; text; text = strchr(text, '\n'), text += text != NULL)
		if (!strncmp(text, line, length))
			return true;
	return false;
}

/* Lines of `a` that are not in `b`. */
static void print_missing(const char *a, const char *b, const char *mark)
{
	size_t length;

	for (; *a; a += length) {
		length = strcspn(a, "\n") + 1;
		if (!has_line(b, a, length))
			print_error("  %s %.*s", mark, (int)length, a);
	}
}

static void test_one(void **state)
{
	struct test_case *one = *state;
	size_t size = one->file.size + text_length(one->root.source) + text_length(one->root.type) +
		      text_length(one->root.flags);
	struct bytes actual = {0};
	struct idmap_arena arena;
	struct idmap_table table;
	char *memory;
	uint32_t i;

	for (i = 0; i < one->words; i++)
		size += text_length(one->word[i]) + 1;
	memory = check_arena(&arena, idmap_arena_size(size));
	idmap_table_init(&table, &arena);
	if (one->has_file)
		idmap_table_file(&table, "/etc/idmap.conf", one->file.at, one->file.size);
	for (i = 0; i < one->words; i++)
		idmap_table_word(&table, one->word[i], i + 1);
	put(&actual, "", 0);
	put_result(&actual, &table, &one->root);
	if (strcmp(actual.at, one->expected.at)) {
		print_error("%s:%u: %s\n", TEST_DATA, one->line, one->name);
		print_missing(one->expected.at, actual.at, "-");
		print_missing(actual.at, one->expected.at, "+");
		if (strlen(actual.at) == strlen(one->expected.at))
			print_error("  in this order:\n%s", actual.at);
		free(actual.at);
		free(memory);
		fail();
	}
	free(actual.at);
	free(memory);
}

/* --- too long to write out ------------------------------------------------------------------- */

/* Reads a file's text and checks that it is one row, or refused with just `error`. */
static void expect(const char *text, const char *error, uint32_t errors)
{
	static const struct idmap_root root;
	struct idmap_arena arena;
	char *memory = check_arena(&arena, idmap_arena_size(strlen(text)));
	struct idmap_table table;
	struct idmap_plan plan;
	int result;

	idmap_table_init(&table, &arena);
	idmap_table_file(&table, "t", text, strlen(text));
	result = idmap_plan_make(&table, &root, &plan);
	check_errors(&table);
	assert_int_equal(table.error_count, errors);
	if (errors) {
		assert_int_not_equal(result, 0);
		assert_string_equal(table.errors->text, error);
	} else {
		char *printed;

		assert_int_equal(result, 0);
		check_plan(&table, &plan);
		printed = check_plan_text(&plan);
		check_round_trip(printed, false);
		free(printed);
	}
	free(memory);
}

static void test_extent_limit(void **state)
{
	static const uint32_t counts[] = {339, 340, 341, 400};
	static const char *const errors[] = {
		NULL, NULL,
		"t:1:11: the uid map has 341 extents, 1 more than the kernel's limit of 340; map"
		" wider ranges",
		"t:1:11: the uid map has 400 extents, 60 more than the kernel's limit of 340; map"
		" wider ranges"};
	size_t i;

	(void)state;
	for (i = 0; i < sizeof(counts) / sizeof(*counts); i++) {
		struct bytes text = {0};
		char extent[40];
		uint32_t j;

		put(&text, "a / erofs uidmap=", 17);
		for (j = 0; j < counts[i]; j++) {
			/* Every second id, so that nothing merges. */
			int n = snprintf(extent, sizeof(extent), "%u:%u:1,", 2 * j, 2 * j);

			put(&text, extent, (size_t)n);
		}
		expect(text.at, errors[i], errors[i] != NULL);
		free(text.at);
	}
}

/* 400 extents that merge into one are no problem; nor are 340 that identity merges with. */
static void test_merged_before_counted(void **state)
{
	struct bytes text = {0};
	char extent[40];
	uint32_t j;

	(void)state;
	put(&text, "a / erofs ", 10);
	for (j = 0; j < 400; j++) {
		int n = snprintf(extent, sizeof(extent), "%u:%u:10,", 1000 + 10 * j, 10 * j);

		put(&text, extent, (size_t)n);
	}
	expect(text.at, NULL, 0);
	free(text.at);
}

/* The gaps count: 200 single ids with identity between them are 401 extents, more for seen. */
static void test_identity_counts(void **state)
{
	struct bytes text = {0};
	char extent[40];
	uint32_t j;

	(void)state;
	put(&text, "a / erofs idmap=identity,", 25);
	for (j = 0; j < 200; j++) {
		/* Even ids one pair aside: each is claimed on both sides, so odd ones are left. */
		int n = snprintf(extent, sizeof(extent), "%u:%u:1,", 10 + 2 * j, 10 + 2 * (j ^ 1));

		put(&text, extent, (size_t)n);
	}
	/* 0-9, then 200 extents and the 199 odd ids between them, then the rest. */
	expect(text.at,
	       "t:1:11: the map has 401 extents, 61 more than the kernel's limit of 340; map"
	       " wider ranges",
	       1);
	free(text.at);
}

/* Text of exactly `size` bytes: lines of 24 bytes, the last one filled up. */
static void map_of_size(struct bytes *text, uint32_t size)
{
	uint32_t i, lines = size / 24 - 1, rest = size - 24 * lines;
	char extent[64];
	int n;

	put(text, "a / erofs idmap=", 16);
	for (i = 0; i < lines; i++) {
		/* "1000000000 1000000000 1\n": 10 + 1 + 10 + 1 + 1 + 1 */
		n = snprintf(extent, sizeof(extent), "%u:%u:1,", 1000000000 + 2 * i,
			     1000000000 + 2 * i);
		put(text, extent, (size_t)n);
	}
	/* 24 to 47 bytes more: one line of 24 to 33, or two. "D S C\n" with one digit is 6. */
	if (rest > 30) {
		put(text, "8:8:1,", 6);
		rest -= 6;
	}
	if (rest > 30) {
		put(text, "6:6:1,", 6);
		rest -= 6;
	}
	if (rest > 30) {
		put(text, "4:4:1,", 6);
		rest -= 6;
	}
	/* 2000000000 2000000000 and a COUNT of rest - 23 digits */
	for (n = 1, i = 1; i < rest - 23; i++)
		n *= 10;
	n = snprintf(extent, sizeof(extent), "2000000000:2000000000:%d", n);
	put(text, extent, (size_t)n);
}

static void test_text_limit(void **state)
{
	static const struct {
		uint32_t size;
		const char *error;
	} cases[] = {
		{4094, NULL},
		{4095, NULL},
		{4096, "t:1:11: the map is 4096 bytes as text, 1 more than the kernel's limit"
		       " of 4095; map wider ranges"},
		{4097, "t:1:11: the map is 4097 bytes as text, 2 more than the kernel's limit"
		       " of 4095; map wider ranges"},
		{6000, "t:1:11: the map is 6000 bytes as text, 1905 more than the kernel's"
		       " limit of 4095; map wider ranges"},
	};
	size_t i;

	(void)state;
	for (i = 0; i < sizeof(cases) / sizeof(*cases); i++) {
		struct bytes text = {0};

		map_of_size(&text, cases[i].size);
		expect(text.at, cases[i].error, cases[i].error != NULL);
		free(text.at);
	}
}

/* The same, and the text that comes out is really that long. */
static void test_text_is_as_long_as_said(void **state)
{
	static const struct idmap_root root;
	char out[IDMAP_MAP_TEXT_SIZE];
	struct idmap_arena arena;
	struct idmap_table table;
	struct idmap_plan plan;
	struct bytes text = {0};
	char *memory;

	(void)state;
	map_of_size(&text, 4095);
	memory = check_arena(&arena, idmap_arena_size(text.size));
	idmap_table_init(&table, &arena);
	idmap_table_file(&table, "t", text.at, text.size);
	assert_int_equal(idmap_plan_make(&table, &root, &plan), 0);
	assert_int_equal(idmap_map_text(table.maps, IDMAP_GID, out, sizeof(out)), 4095);
	free(text.at);
	free(memory);
}

/* 32 are kept, all are counted, and a table of errors alone fits its arena. */
static void test_many_errors(void **state)
{
	struct bytes text = {0};
	uint32_t i;

	(void)state;
	put(&text, "a / b\n", 6);
	for (i = 0; i < 1000; i++)
		put(&text, "x\n", 2);
	expect(text.at, "t:2:2: the row ends too soon; write SOURCE TARGET TYPE [OPTIONS]", 1000);
	free(text.at);
}

/* The shortest rows there are, each on a target of its own. */
static void test_many_rows(void **state)
{
	struct bytes text = {0};
	char row[40];
	uint32_t i;

	(void)state;
	put(&text, "a / b\n", 6);
	for (i = 0; i < 2000; i++)
		put(&text, row, (size_t)snprintf(row, sizeof(row), "a /%x b\n", i));
	expect(text.at, NULL, 0);
	/* Deep: each stands on the one before. */
	text.size = 0;
	put(&text, "a / b\n", 6);
	for (i = 1; i < 150; i++) {
		uint32_t j;

		put(&text, "a ", 2);
		for (j = 0; j < 150 - i; j++)
			put(&text, "/a", 2);
		put(&text, " b\n", 3);
	}
	expect(text.at, NULL, 0);
	free(text.at);
}

/* What takes most memory for its length is refused for what it is, not for want of memory. */
static void test_greedy(void **state)
{
	struct bytes text = {0};
	uint32_t i;

	(void)state;
	for (i = 0; i < 20000; i++)
		put(&text, "a / b\n", 6);
	expect(text.at, "t:2:3: the target / has a row already (t:1); keep one of them", 19999);
	text.size = 0;
	put(&text, "a / b identity", 14);
	for (i = 0; i < 20000; i++)
		put(&text, ",0:0:1", 6);
	expect(text.at,
	       "t:1:22: extents 0:0:1 and 0:0:1 overlap on the seen side for uids and gids (id 0);"
	       " let each id stand in one extent only",
	       2 * 19999);
	free(text.at);
}

/* A chain of binds, each from the one before, said backwards. */
static void test_long_chain(void **state)
{
	struct bytes text = {0};
	char row[64];
	int i;

	(void)state;
	put(&text, "a / b\n", 6);
	for (i = 499; i > 0; i--)
		put(&text, row,
		    (size_t)snprintf(row, sizeof(row), "/n%d/x /n%d bind\n", (i * 7) % 500,
				     ((i + 1) * 7) % 500));
	expect(text.at, NULL, 0);
	free(text.at);
}

static void test_wait(void **state)
{
	static const char text[] = "a / erofs\nb /b erofs\nc /c erofs wait=0\nd /d erofs wait=3\n";
	static const struct idmap_root root = {.waits = true, .wait_s = IDMAP_WAIT_FOREVER};
	static const uint32_t seconds[] = {IDMAP_WAIT_FOREVER, 10, 0, 3};
	struct idmap_arena arena;
	char *memory = check_arena(&arena, idmap_arena_size(sizeof(text)));
	struct idmap_table table;
	struct idmap_plan plan;
	uint32_t i;

	(void)state;
	idmap_table_init(&table, &arena);
	idmap_table_file(&table, "t", text, sizeof(text) - 1);
	assert_int_equal(idmap_plan_make(&table, &root, &plan), 0);
	assert_int_equal(plan.rows, 4);
	for (i = 0; i < plan.rows; i++)
		assert_int_equal(plan.row[i]->wait_s, seconds[i]);
	free(memory);
}

/* wait= of the row beats rootwait. */
static void test_wait_of_root(void **state)
{
	static const struct idmap_root root = {.source = "/dev/vda", .waits = true, .wait_s = 77};
	static const struct {
		const char *word;
		uint32_t seconds;
	} cases[] = {{"ro", 77}, {"wait=5", 5}, {"/dev/vdb,/,erofs", 77}};
	size_t i;

	(void)state;
	for (i = 0; i < sizeof(cases) / sizeof(*cases); i++) {
		struct idmap_arena arena;
		char *memory = check_arena(&arena, idmap_arena_size(100));
		struct idmap_table table;
		struct idmap_plan plan;

		idmap_table_init(&table, &arena);
		idmap_table_word(&table, cases[i].word, 1);
		assert_int_equal(idmap_plan_make(&table, &root, &plan), 0);
		assert_int_equal(plan.row[0]->wait_s, cases[i].seconds);
		free(memory);
	}
}

/* What stage.c builds by: a view without maps is needed only where something is cloned. */
static void test_disk_view(void **state)
{
	static const struct {
		const char *text;
		bool disk_view;
		uint32_t maps;
	} cases[] = {
		{"a / erofs 0:0:1\n", false, 1},
		{"a / erofs 0:0:1\nb /b erofs idmap=0:0:1\nc /c tmpfs 5:5:1\n", false, 2},
		{"a / erofs\n/x /y bind\n", true, 0},
		{"a / erofs\n/x /y rbind u:0:0:1\n", true, 1},
		{"a / erofs\n/x /y bind noauto,0:0:1\n", false, 0},
	};
	static const struct idmap_root root;
	size_t i;

	(void)state;
	for (i = 0; i < sizeof(cases) / sizeof(*cases); i++) {
		struct idmap_arena arena;
		char *memory = check_arena(&arena, idmap_arena_size(strlen(cases[i].text)));
		struct idmap_table table;
		struct idmap_plan plan;

		idmap_table_init(&table, &arena);
		idmap_table_file(&table, "t", cases[i].text, strlen(cases[i].text));
		assert_int_equal(idmap_plan_make(&table, &root, &plan), 0);
		assert_int_equal(plan.disk_view, cases[i].disk_view);
		assert_int_equal(plan.maps, cases[i].maps);
		free(memory);
	}
}

int main(int argc, char **argv)
{
	static const struct CMUnitTest fixed[] = {
		cmocka_unit_test(test_extent_limit),
		cmocka_unit_test(test_merged_before_counted),
		cmocka_unit_test(test_identity_counts),
		cmocka_unit_test(test_text_limit),
		cmocka_unit_test(test_text_is_as_long_as_said),
		cmocka_unit_test(test_many_errors),
		cmocka_unit_test(test_many_rows),
		cmocka_unit_test(test_greedy),
		cmocka_unit_test(test_long_chain),
		cmocka_unit_test(test_wait),
		cmocka_unit_test(test_wait_of_root),
		cmocka_unit_test(test_disk_view),
	};
	static struct test_case cases[CASES_MOST];
	static struct CMUnitTest tests[CASES_MOST];
	const size_t count = read_cases(argc > 1 ? argv[1] : TEST_DATA, cases);
	size_t i;
	int failed;

	for (i = 0; i < count; i++)
		tests[i] = (struct CMUnitTest){
			.name = cases[i].name, .test_func = test_one, .initial_state = &cases[i]};
	failed = _cmocka_run_group_tests("table.data", tests, count, NULL, NULL);
	failed += cmocka_run_group_tests_name("long tables", fixed, NULL, NULL);
	for (i = 0; i < count; i++)
		free_case(&cases[i]);
	return failed ? 1 : 0;
}
