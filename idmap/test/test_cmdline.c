// SPDX-License-Identifier: MIT
/*
 * The kernel command line: a table of lines and what the kernel makes of them, then a comparison
 * with kernel_rules.h on random lines, then what idmap_cmdline_read() takes from a line and what a
 * module gets. A line that the kernel and we read differently would mount one root and name
 * another.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>

#include <cmocka.h>

#include "device/device.h"
#include "kernel_rules.h"
#include "random.h"

/* As in a table of the kernel's own words: [name] or [name|value]. */
static void cut(const char *line, char *out, size_t size)
{
	struct idmap_parameter p;
	size_t at = 0;

	*out = 0;
	while (idmap_cmdline_next(&line, &p)) {
		at += (size_t)snprintf(out + at, size - at, "[%.*s%s%.*s]", (int)p.name_length,
				       p.name, p.value ? "|" : "",
				       p.value ? (int)p.value_length : 0, p.value ? p.value : "");
		assert_true(at < size);
	}
}

static void cut_by_rules(const char *line, char *out, size_t size)
{
	struct rules_word word;
	size_t at = 0;

	*out = 0;
	while (rules_next(&line, &word)) {
		at += (size_t)snprintf(out + at, size - at, "[%s%s%s]", word.name,
				       word.value ? "|" : "", word.value ? word.value : "");
		rules_free(&word);
		assert_true(at < size);
	}
}

static const struct {
	const char *line, *words;
} lines[] = {
	/* blanks */
	{"", ""},
	{" ", ""},
	{"\n", ""},
	{"a", "[a]"},
	{"a\n", "[a]"},
	{"  a   b  ", "[a][b]"},
	{"a\tb\nc\vd\fe\rf", "[a][b][c][d][e][f]"},
	{"a\xa0"
	 "b=1\xa0",
	 "[a][b|1]"},
	{"a\x85"
	 "b",
	 "[a\x85"
	 "b]"},
	{"a\x1f"
	 "b",
	 "[a\x1f"
	 "b]"},
	{"a\xc2\xa0"
	 "b",
	 "[a\xc2][b]"},
	/* the = */
	{"a=", "[a|]"},
	{"a=b", "[a|b]"},
	{"a=b=c", "[a|b=c]"},
	{"a==", "[a|=]"},
	{"=a", "[=a]"},
	{"=", "[=]"},
	{"==", "[=|]"},
	{"=a=b", "[=a|b]"},
	{"==b", "[=|b]"},
	{"a =b", "[a][=b]"},
	{"a= b", "[a|][b]"},
	{"idmap=PARTUUID=1-2,/,ext4,idmap=0:0:1", "[idmap|PARTUUID=1-2,/,ext4,idmap=0:0:1]"},
	/* quotes at the start of the value */
	{"a=\"b c\"", "[a|b c]"},
	{"a=\"b c\" d", "[a|b c][d]"},
	{"a=\"\"", "[a|]"},
	{"a=\"", "[a|]"},
	{"a=\" ", "[a| ]"},
	{"a=\"b c", "[a|b c]"},
	{"a=\"b\"c", "[a|b\"c]"},
	{"a=\"b\"c\"", "[a|b\"c]"},
	{"a=\"b\"\"c\"", "[a|b\"\"c]"},
	{"a=\"\"b c\"", "[a|\"b][c\"]"},
	{"a=\"b\" \"c\"", "[a|b][c]"},
	{"a=\"\"\"", "[a|\"]"},
	{"a=\"\" b", "[a|][b]"},
	/* quotes at the start of the word */
	{"\"a\"", "[a]"},
	{"\"a b\"", "[a b]"},
	{"\"a b\" c", "[a b][c]"},
	{"\"a=b c\"", "[a|b c]"},
	{"\"a=b c\" d", "[a|b c][d]"},
	{"\"a b=c\"", "[a b|c]"},
	{"\"a b\"=c", "[a b\"|c]"},
	{"\"a\"=b", "[a\"|b]"},
	{"\"a=b", "[a|b]"},
	{"\"a b", "[a b]"},
	{"\"\"", "[]"},
	{"\"\" a", "[][a]"},
	{"\"", "[]"},
	{"\" a", "[ a]"},
	{"\"=a\"", "[=a]"},
	{"\"=a=b\"", "[=a|b]"},
	{"\"a=\"b", "[a|b]"},
	{"\"a=\"b c\"", "[a|b][c\"]"},
	{"\"a=\"b\" c", "[a|b\" c]"},
	{"\"a=\"", "[a|]"},
	{"\"a=\"\"", "[a|]"},
	{"\"\"a b\"", "[\"a][b\"]"},
	/* quotes inside */
	{"a\"b", "[a\"b]"},
	{"a\"b c", "[a\"b c]"},
	{"a\"b c\"d e", "[a\"b c\"d][e]"},
	{"a\"", "[a\"]"},
	{"a\"\"", "[a\"\"]"},
	{"a=b\"c d\"", "[a|b\"c d\"]"},
	{"a=b\"c d\"e", "[a|b\"c d\"e]"},
	{"a=b\"", "[a|b\"]"},
	{"a\"=b c\"", "[a\"|b c\"]"},
	{"a\"=\"b c", "[a\"|b][c]"},
	/* no other quotes, no escapes */
	{"a='b c'", "[a|'b][c']"},
	{"a=b\\ c", "[a|b\\][c]"},
	{"a=\"b\\\"c d\"", "[a|b\\\"c][d\"]"},
	/* -- */
	{"a -- b", "[a]"},
	{"--", ""},
	{"-- a", ""},
	{"a --b c", "[a][--b][c]"},
	{"a --=b c", "[a][--|b][c]"},
	{"a --- c", "[a][---][c]"},
	{"a - c", "[a][-][c]"},
	{"a __ c", "[a][__][c]"},
	{"a \"--\" c", "[a]"},
	{"a \"-- c\" d", "[a][-- c][d]"},
	{"a b=-- c", "[a][b|--][c]"},
	{"a --\" c", "[a][--\" c]"},
	{"a --\n", "[a]"},
	{"a=\"b\nc d", "[a|b\nc d]"},
	/* as it was measured */
	{"foo=bar q=\"x y\" a.b=c myflag -- alpha b=2", "[foo|bar][q|x y][a.b|c][myflag]"},
};

static void test_lines(void **state)
{
	char ours[400], rules[400];
	size_t i;

	(void)state;
	assert_true(sizeof(lines) / sizeof(*lines) >= 60);
	for (i = 0; i < sizeof(lines) / sizeof(*lines); i++) {
		/* Exactly as much memory as the line, so that a step beyond is seen. */
		char *line = strdup(lines[i].line);

		cut(line, ours, sizeof(ours));
		cut_by_rules(line, rules, sizeof(rules));
		free(line);
		if (strcmp(ours, lines[i].words) || strcmp(rules, lines[i].words))
			print_error("line %zu: <%s>\n", i, lines[i].line);
		assert_string_equal(rules, lines[i].words);
		assert_string_equal(ours, lines[i].words);
	}
}

/* Which /proc/cmdline adds, and the kernel has not. */
static void test_newline(void **state)
{
	char ours[40];

	(void)state;
	cut("a=\"b c\nd=e\n", ours, sizeof(ours));
	assert_string_equal(ours, "[a|b c\nd=e]");
	cut("\"\n", ours, sizeof(ours));
	assert_string_equal(ours, "[]");
}

/* Few letters, many of them special: every short line of them comes up. */
static void random_line(char *line, size_t size, const char *letters)
{
	size_t length = random_below((uint32_t)size), i;

	for (i = 0; i < length; i++)
		line[i] = letters[random_below((uint32_t)strlen(letters))];
	line[i] = 0;
}

static void test_random_lines(void **state)
{
	static const char *const letters[] = {"\"= a", "\"=- a\xa0_.b", "\" ", "=\"-- "};
	uint32_t round;

	(void)state;
	for (round = 0; round < 200000; round++) {
		char buffer[24], ours[400], rules[400], *line;

		random_line(buffer, sizeof(buffer), letters[round % 4]);
		line = strdup(buffer);
		cut(line, ours, sizeof(ours));
		cut_by_rules(line, rules, sizeof(rules));
		if (strcmp(ours, rules))
			print_error("line: <%s>\n", line);
		assert_string_equal(ours, rules);
		free(line);
	}
}

static void test_names(void **state)
{
	static const struct {
		const char *line, *name;
		bool is;
	} cases[] = {
		{"root=x", "root", true},
		{"root", "root", true},
		{"roo=x", "root", false},
		{"rootx=x", "root", false},
		{"Root=x", "root", false},
		{"\"root=x y\"", "root", true},
		{"\"root\"=x", "root", false},
		{"", "", false},
		{"=root", "root", false},
		{"idmap.conf=x", "idmap.conf", true},
		{"idmap-conf=x", "idmap.conf", false},
	};
	size_t i;

	(void)state;
	for (i = 0; i < sizeof(cases) / sizeof(*cases); i++) {
		const char *line = cases[i].line;
		struct idmap_parameter p;

		assert_int_equal(idmap_cmdline_next(&line, &p) &&
					 p.name_length == strlen(cases[i].name) &&
					 !memcmp(p.name, cases[i].name, p.name_length),
				 cases[i].is);
	}
}

/* --- cmdline_read ---------------------------------------------------------------------------- */

struct read_case {
	const char *line;
	struct idmap_cmdline cmdline; /* NULL and 0 where nothing is said */
	const char *source;	      /* of the first row; NULL: there is none */
	const char *error;	      /* the first one */
	uint32_t errors;
};

static const struct read_case read_cases[] = {
	{.line = ""},
	{.line = "quiet panic=1"},
	{.line = "root=/dev/vda", .cmdline = {.root = {.source = "/dev/vda"}}},
	{.line = "root=/dev/vda root=/dev/vdb", .cmdline = {.root = {.source = "/dev/vdb"}}},
	{.line = "root=UUID=a=b", .cmdline = {.root = {.source = "UUID=a=b"}}},
	{.line = "\"root=/dev/v da\"", .cmdline = {.root = {.source = "/dev/v da"}}},
	{.line = "root"},
	{.line = "rootx=/dev/vda xroot=/dev/vda Root=a"},
	{.line = "rootfstype=ext4 rootfstype=erofs,ext4",
	 .cmdline = {.root = {.type = "erofs,ext4"}}},
	{.line = "rootflags=a,b rootflags=c=\"d e\"", .cmdline = {.root = {.flags = "c=\"d e\""}}},
	{.line = "rw", .cmdline = {.root = {.writable = true}}},
	{.line = "rw ro"},
	{.line = "ro rw", .cmdline = {.root = {.writable = true}}},
	{.line = "rw ro=1 rwx=2 rox", .cmdline = {.root = {.writable = true}}},
	{.line = "rw=1"},
	{.line = "rootwait", .cmdline = {.root = {.waits = true, .wait_s = IDMAP_WAIT_FOREVER}}},
	{.line = "rootwait=5", .cmdline = {.root = {.waits = true, .wait_s = 5}}},
	{.line = "rootwait rootwait=7", .cmdline = {.root = {.waits = true, .wait_s = 7}}},
	{.line = "rootwait=7 rootwait",
	 .cmdline = {.root = {.waits = true, .wait_s = IDMAP_WAIT_FOREVER}}},
	{.line = "rootwait=junk",
	 .cmdline = {.root = {.waits = true, .wait_s = IDMAP_WAIT_FOREVER}}},
	{.line = "rootwait=", .cmdline = {.root = {.waits = true, .wait_s = IDMAP_WAIT_FOREVER}}},
	{.line = "rootwait=0", .cmdline = {.root = {.waits = true}}},
	{.line = "rootwait=0x2", .cmdline = {.root = {.waits = true, .wait_s = 2}}},
	{.line = "rootwait=0X1f", .cmdline = {.root = {.waits = true, .wait_s = 31}}},
	{.line = "rootwait=010", .cmdline = {.root = {.waits = true, .wait_s = 8}}},
	{.line = "rootwait=+4", .cmdline = {.root = {.waits = true, .wait_s = 4}}},
	{.line = "rootwait=08", .cmdline = {.root = {.waits = true, .wait_s = IDMAP_WAIT_FOREVER}}},
	{.line = "rootwait=0x", .cmdline = {.root = {.waits = true, .wait_s = IDMAP_WAIT_FOREVER}}},
	{.line = "rootwait=-1", .cmdline = {.root = {.waits = true, .wait_s = IDMAP_WAIT_FOREVER}}},
	{.line = "rootwait=5s", .cmdline = {.root = {.waits = true, .wait_s = IDMAP_WAIT_FOREVER}}},
	{.line = "rootwait=2147483", .cmdline = {.root = {.waits = true, .wait_s = 2147483}}},
	{.line = "rootwait=2147484",
	 .cmdline = {.root = {.waits = true, .wait_s = IDMAP_WAIT_FOREVER}}},
	{.line = "rootdelay=0x2", .cmdline = {.root_delay_s = 2}},
	{.line = "rootdelay=5s", .cmdline = {.root_delay_s = 5}},
	{.line = "rootdelay=junk"},
	{.line = "rootdelay=3", .cmdline = {.root_delay_s = 3}},
	{.line = "rootdelay=3 rootdelay=4", .cmdline = {.root_delay_s = 4}},
	{.line = "init=/bin/sh", .cmdline = {.init = "/bin/sh"}},
	{.line = "init=/a init=/b rdinit=/c", .cmdline = {.init = "/b"}},
	{.line = "init=\"/bin/my init\"", .cmdline = {.init = "/bin/my init"}},
	{.line = "idmap.conf=/etc/x", .cmdline = {.conf = "/etc/x"}},
	{.line = "idmap.conf=/a idmap.conf=/b", .cmdline = {.conf = "/b"}},
	{.line = "idmap.conf=x",
	 .error = "cmdline: idmap.conf=: it needs an absolute path; write idmap.conf=/PATH",
	 .errors = 1},
	{.line = "idmap.conf",
	 .error = "cmdline: idmap.conf=: it needs an absolute path; write idmap.conf=/PATH",
	 .errors = 1},
	{.line = "idmap=a,/,erofs", .cmdline = {.words = 1}, .source = "a"},
	{.line = "idmap=a,/,erofs idmap=b,/b,erofs", .cmdline = {.words = 2}, .source = "a"},
	{.line = "\"idmap=a b,/,erofs\"", .cmdline = {.words = 1}, .source = "a b"},
	{.line = "idmap=\"a b,/,erofs\"", .cmdline = {.words = 1}, .source = "a b"},
	{.line = "idmap=a\"b,/,erofs", .cmdline = {.words = 1}, .source = "a\"b"},
	{.line = "idmap=0:0:1", .cmdline = {.words = 1}, .source = "/dev/root"},
	{.line = "idmap=off", .cmdline = {.words = 1}},
	{.line = "idmap",
	 .cmdline = {.words = 1},
	 .error = "cmdline: idmap= #1: it is empty; write extents DISK:SEEN:COUNT, a row, or off",
	 .errors = 1},
	{.line = "idmap=",
	 .cmdline = {.words = 1},
	 .error = "cmdline: idmap= #1: it is empty; write extents DISK:SEEN:COUNT, a row, or off",
	 .errors = 1},
	{.line = "idmap=a,/,erofs idmap=\"b,/b,erofs,x y,1:2\"",
	 .cmdline = {.words = 2},
	 .source = "a",
	 .error = "cmdline: idmap= #2, column 16: '1:2' is no extent of three numbers; write"
		  " DISK:SEEN:COUNT",
	 .errors = 1},
	{.line = "idmapfoo=a,/,erofs idmap-x=1 xidmap=2 Idmap=off i-dmap=3 idmap_=4"},
	{.line = "idmap.foo=1",
	 .error = "cmdline: idmap.: 'idmap.foo' is no parameter of idmap-init; write idmap=,"
		  " idmap.conf=, idmap.debug, idmap.init= or idmap.onfail=",
	 .errors = 1},
	{.line = "root=/dev/vda -- root=/dev/vdb idmap=off rw",
	 .cmdline = {.root = {.source = "/dev/vda"}}},
	{.line = "a \"root=/x\" rootflags=\"noatime,data=journal\" ro\n",
	 .cmdline = {.root = {.source = "/x", .flags = "noatime,data=journal"}}},
};

static void describe(const struct idmap_cmdline *cmdline, const char *source, const char *error,
		     uint32_t errors, char *out, size_t size)
{
	const struct idmap_root *root = &cmdline->root;
	int n = snprintf(
		out, size,
		"root=%s rootfstype=%s rootflags=%s %s rootwait=%d,%u rootdelay=%u init=%s\n"
		"idmap.conf=%s, %u idmap=, the first row from %s\n"
		"%u errors: %s\n",
		root->source ? root->source : "-", root->type ? root->type : "-",
		root->flags ? root->flags : "-", root->writable ? "rw" : "ro", root->waits,
		root->wait_s, cmdline->root_delay_s, cmdline->init ? cmdline->init : "-",
		cmdline->conf ? cmdline->conf : "-", cmdline->words, source ? source : "-", errors,
		error ? error : "-");

	assert_true(n > 0 && (size_t)n < size);
}

static void test_read(void **state)
{
	size_t i;

	(void)state;
	for (i = 0; i < sizeof(read_cases) / sizeof(*read_cases); i++) {
		const struct read_case *one = &read_cases[i];
		size_t size = idmap_arena_size(strlen(one->line));
		char *memory = malloc(size), *line = strdup(one->line), want[2000], got[2000];
		struct idmap_arena arena = {memory, memory + size};
		struct idmap_cmdline cmdline = {.text = line};
		struct idmap_table table;

		idmap_table_init(&table, &arena);
		idmap_cmdline_read(&cmdline, &table);
		describe(&one->cmdline, one->source, one->error, one->errors, want, sizeof(want));
		describe(&cmdline, table.first ? table.first->source : NULL,
			 table.errors ? table.errors->text : NULL, table.error_count, got,
			 sizeof(got));
		if (strcmp(want, got))
			print_error("line: <%s>\n", line);
		assert_string_equal(got, want);
		assert_int_equal(table.off, !strcmp(one->line, "idmap=off"));
		free(line);
		free(memory);
	}
}

/* The words of a seal; the ways out are tried in qemu-test/test_sealed.py. */
static void test_seal(void **state)
{
	static const struct {
		const char *seal, *word;
		bool open;
	} cases[] = {
		{NULL, "root", true},
		{"", "root", false},
		{"root", "root", true},
		{"roo\nrootx root_\n", "root", false},
		{"# root\nidmap # root\n", "root", false},
		{"# x\nidmap, root", "root", true},
		{"\troot\n", "root", true},
		{"systemd.verity_root-data", "systemd.verity-root_data", true},
		{"root#", "root", true},
		{"root", "", false},
	};
	size_t i;

	(void)state;
	for (i = 0; i < sizeof(cases) / sizeof(*cases); i++) {
		struct idmap_cmdline cmdline = {.sealed = cases[i].seal};

		assert_int_equal(idmap_seal_allows(&cmdline, cases[i].word, strlen(cases[i].word)),
				 cases[i].open);
	}
}

#define HASH "00112233445566778899aabbccddeeff0123456789abcdef0123456789abcdef"

/* roothash= and its kin: where the root is, and what it is verified by, as a row's options. */
static void test_verity(void **state)
{
	static const struct {
		const char *line, *root, *options, *error;
	} cases[] = {
		{"roothash=" HASH, "PARTUUID=00112233-4455-6677-8899-aabbccddeeff",
		 "verity.roothash=" HASH
		 ",verity.hashdevice=PARTUUID=01234567-89ab-cdef-0123-456789abcdef",
		 NULL},
		{"roothash=" HASH " root=/dev/mapper/root systemd.verity_root_hash=/dev/vdb"
		 " systemd.verity-root_data=/dev/vda",
		 "/dev/vda", "verity.roothash=" HASH ",verity.hashdevice=/dev/vdb", NULL},
		{"systemd.verity_root_options=hash-offset=1024,,panic-on-corruption"
		 " systemd.verity_root_data=LABEL=x roothash=" HASH,
		 "LABEL=x",
		 "verity.roothash=" HASH ",verity.hashoffset=1024,verity.oncorruption=panic", NULL},
		{"systemd.verity_root_options=ignore-corruption roothash=" HASH " root=gpt-auto",
		 "PARTUUID=00112233-4455-6677-8899-aabbccddeeff",
		 "verity.roothash=" HASH
		 ",verity.hashdevice=PARTUUID=01234567-89ab-cdef-0123-456789abcdef"
		 ",verity.oncorruption=ignore",
		 NULL},
		{"root=/dev/vda roothash=" HASH, NULL, NULL,
		 "cmdline: roothash=: root=/dev/vda names a root that would not be verified; write"
		 " systemd.verity_root_data=/dev/vda in its place"},
		{"root=/dev/vda roothash=abc", NULL, NULL,
		 "cmdline: roothash=: 'abc' is no root hash; write the hex digits that"
		 " veritysetup(8) prints"},
		{"root=/dev/vda systemd.verity_root_data=/dev/vda", NULL, NULL,
		 "cmdline: roothash=: it is missing, and systemd.verity_root_... verifies nothing"
		 " without it; add it, or take them out"},
		{"roothash=" HASH " systemd.verity_root_hash=vdb", NULL, NULL,
		 "cmdline: systemd.verity_root_hash=: 'vdb' is no device; write a path or a name,"
		 " as in /dev/vdb or PARTUUID=..."},
		{"roothash=" HASH " systemd.verity_root_options=hash-offset=0,superblock=0,x", NULL,
		 NULL,
		 "cmdline: systemd.verity_root_options=: 'superblock=0' has an option that is not"
		 " taken; write hash-offset=BYTES, ignore-corruption, restart-on-corruption or"
		 " panic-on-corruption"},
		{"roothash=" HASH " idmap=/dev/vda,/,erofs,0:0:1", NULL, NULL,
		 "cmdline: roothash=: no row for / is of what it verifies; write /dev/root as the"
		 " SOURCE of one, or verity.roothash= in the row that is meant"},
		{"roothash=" HASH " idmap=/dev/vda,/,erofs,0:0:1 idmap=/dev/root,/srv,erofs,0:0:1",
		 NULL, NULL,
		 "cmdline: roothash=: no row for / is of what it verifies; write /dev/root as the"
		 " SOURCE of one, or verity.roothash= in the row that is meant"},
	};
	size_t i;

	(void)state;
	for (i = 0; i < sizeof(cases) / sizeof(*cases); i++) {
		static char memory[65536];
		struct idmap_arena arena = {memory, memory + sizeof(memory)};
		struct idmap_cmdline cmdline = {.text = cases[i].line};
		struct idmap_table table;
		struct idmap_plan plan;
		struct idmap_text text;
		char options[1000];

		idmap_table_init(&table, &arena);
		idmap_cmdline_read(&cmdline, &table);
		idmap_plan_make(&table, &cmdline.root, &plan);
		if (cases[i].error) {
			assert_int_equal(table.error_count, 1);
			assert_string_equal(table.errors->text, cases[i].error);
			continue;
		}
		assert_int_equal(table.error_count, 0);
		assert_int_equal(plan.rows, 1);
		assert_string_equal(plan.row[0]->source, cases[i].root);
		idmap_text_init(&text, options, sizeof(options));
		idmap_verity_text(plan.row[0]->verity, &text);
		assert_string_equal(options + 1, cases[i].options);
	}
}

/* Of a root that stands, which somebody else has mounted, they say nothing. */
static void test_verity_of_others(void **state)
{
	static char memory[65536];
	struct idmap_arena arena = {memory, memory + sizeof(memory)};
	struct idmap_cmdline cmdline = {
		.text = "root=/dev/vda roothash=" HASH " idmap=0:0:1",
		.root = {.booted = true},
	};
	struct idmap_table table;
	struct idmap_plan plan;

	(void)state;
	idmap_table_init(&table, &arena);
	idmap_cmdline_read(&cmdline, &table);
	idmap_plan_make(&table, &cmdline.root, &plan);
	assert_int_equal(table.error_count, 0);
	assert_null(plan.row[0]->verity);
}

/* What is odd and no error. */
static void test_notes(void **state)
{
	static const struct {
		const char *line, *note; /* NULL: none */
	} cases[] = {
		{"idmap=0:0:1 root=/dev/vda rootwait=3 idmap.debug quiet -- single", NULL},
		{"idmpa=0:0:1", "cmdline: 'idmpa' means nothing here; did you mean idmap?"},
		{"imap=0:0:1", "cmdline: 'imap' means nothing here; did you mean idmap?"},
		{"rootahsh=00 root=/dev/vda",
		 "cmdline: 'rootahsh' means nothing here; did you mean roothash?"},
		{"-- roothash=00",
		 "cmdline: 'roothash' stands behind a bare --, so it is the real init's and means"
		 " nothing here; write it before the --"},
		{"idmaps", "cmdline: 'idmaps' means nothing here; did you mean idmap?"},
		{"idmapx.a=1 map=1 idap2=1 ip=10.0.0.2::10.0.0.1:255.255.255.0::eth0:off"
		 " usbcore.quirks=0781:5580:bk crashkernel=1:2 idmap_x=1:2",
		 NULL},
		{"IDMAP=0:100000:65536",
		 "cmdline: 'IDMAP' means nothing here; did you mean idmap=, or a comma in place of"
		 " a blank?"},
		{"idmap:0:100000:65536",
		 "cmdline: 'idmap:0:100000:65536' means nothing here; did you mean idmap=, or a"
		 " comma in place of a blank?"},
		{"X-mount.idmap=u:0:1:1",
		 "cmdline: 'X-mount.idmap' means nothing here; did you mean idmap=, or a comma in"
		 " place of a blank?"},
		{"g:0:1:1",
		 "cmdline: 'g:0:1:1' means nothing here; did you mean idmap=, or a comma in"
		 " place of a blank?"},
		{"u:x:y", NULL},
		{"X-mount.idmap=0:1:1,1:0:1",
		 "cmdline: 'X-mount.idmap' means nothing here; did you mean idmap=, or a comma in"
		 " place of a blank?"},
		{"idmap=/dev/vdb,/srv,erofs,5000:0:1 5007:7:1",
		 "cmdline: '5007:7:1' means nothing here; did you mean idmap=, or a comma in place"
		 " of a blank?"},
		{"idmap=/dev/vdb,/srv,ext4,rw ,1000:0:1",
		 "cmdline: ',1000:0:1' means nothing here; did you mean idmap=, or a comma in place"
		 " of a blank?"},
		{"idmap=/dev/vdb,/srv,ext4,rw nosuid,1000:0:1",
		 "cmdline: 'nosuid,1000:0:1' means nothing here; did you mean idmap=, or a comma in"
		 " place of a blank?"},
		{"/dev/vdb,/srv,ext4,1000:0:1",
		 "cmdline: '/dev/vdb,/srv,ext4,1000:0:1' means nothing here; did you mean idmap=, or"
		 " a comma in place of a blank?"},
		{"idmap=/dev/vdb,/srv,ext4,comment=voil\xc3\xa0,u:1000:0:1",
		 "cmdline: ',u:1000:0:1' means nothing here; did you mean idmap=, or a comma in"
		 " place of a blank?"},
		{"pci=resource_alignment=20@0000:00:10.0 mem=1,2:3 foo,1:2:x", NULL},
		{"idmap_conf=/x",
		 "cmdline: 'idmap_conf' means nothing here; did you mean idmap.conf?"},
		{"rootwait=5s",
		 "cmdline: rootwait=5s is no number of seconds, so the root is waited for for ever;"
		 " write rootwait, or rootwait=SECONDS"},
		{"a -- b root=/dev/vda c",
		 "cmdline: 'root' stands behind a bare --, so it is the real init's and means"
		 " nothing here; write it before the --"},
		{"-- -- idmap=0:0:1",
		 "cmdline: 'idmap' stands behind a bare --, so it is the real init's and means"
		 " nothing here; write it before the --"},
	};
	size_t i;

	(void)state;
	for (i = 0; i < sizeof(cases) / sizeof(*cases); i++) {
		char memory[16384], notes_memory[8192];
		struct idmap_arena arena = {memory, memory + sizeof(memory)};
		struct idmap_arena notes_arena = {notes_memory,
						  notes_memory + sizeof(notes_memory)};
		struct idmap_notes notes;
		struct idmap_cmdline cmdline = {.text = cases[i].line, .notes = &notes};
		struct idmap_table table;

		idmap_notes_init(&notes, &notes_arena);
		idmap_table_init(&table, &arena);
		idmap_cmdline_read(&cmdline, &table);
		if (!cases[i].note)
			assert_null(notes.first);
		else
			assert_string_equal(notes.first ? notes.first->text : "", cases[i].note);
	}
}

/* Where memory ends, reading must not end as if the line did. */
static void test_read_without_memory(void **state)
{
	static const char line[] = "root=/dev/vda idmap=0:0:1 rootflags=noatime "
				   "idmap=\"a,/a,erofs,0:0:1\" rw idmap=b,/b,erofs";
	size_t size;

	(void)state;
	for (size = 0; size < 4096; size += sizeof(void *)) {
		char *memory = malloc(size ? size : 1);
		struct idmap_arena arena = {memory, memory + size};
		struct idmap_cmdline cmdline = {.text = line};
		struct idmap_table table;

		idmap_table_init(&table, &arena);
		idmap_cmdline_read(&cmdline, &table);
		if (!table.error_count && (cmdline.words != 3 || !cmdline.root.writable))
			print_error("%zu bytes: %u words and no error\n", size, cmdline.words);
		assert_true(table.error_count || (cmdline.words == 3 && cmdline.root.writable));
		free(memory);
	}
}

/* --- modules --------------------------------------------------------------------------------- */

static void test_module_options(void **state)
{
	static const struct {
		const char *line, *module;
		bool any;
	} cases[] = {
		{"", "loop", false},
		{"loop.max_loop=8", "loop", true},
		{"loop.a=1 x loop.b=2", "loop", true},
		{"loop.flag", "loop", true},
		{"loop.a=", "loop", true},
		{"loop=1 loopx.a=1 xloop.a=1 loo.a=1 loop-.a=1", "loop", false},
		{"virtio-blk.queue-depth=1", "virtio_blk", true},
		{"virtio_blk.a=1", "virtio-blk", true},
		{"loop.a=\"x y\"", "loop", true},
		{"\"loop.a=x y\"", "loop", true},
		{"loop.a=1 loop.a=2", "loop", true},
		{"loop.a=1 -- loop.b=2", "loop", true},
		{"-- loop.b=2", "loop", false},
		{"loop.a.b=1", "loop", true},
		{"loop.a=b=c", "loop", true},
		{"loop.a=x\"y z\"w loop.b=1", "loop", true},
		{"loop.a=\"x\"y\" loop.b=1", "loop", true},
		{"loop.a=x\" y", "loop", true},
		{"loop.a=x\"", "loop", true},
		{"loop. loop.=1", "loop", false},
		{"loop.-- loop.a=1", "loop", true},
		{"loop.-- ", "loop", false},
		{"loop.--=- loop.a=1", "loop", true},
	};
	size_t i, bad = 0;

	(void)state;
	for (i = 0; i < sizeof(cases) / sizeof(*cases); i++) {
		struct idmap_text text;
		char options[200];

		idmap_text_init(&text, options, sizeof(options));
		idmap_cmdline_module_options(cases[i].line, cases[i].module,
					     strlen(cases[i].module), &text);
		if (!*options == cases[i].any ||
		    !rules_same_options(cases[i].line, cases[i].module, options)) {
			print_error("%s\n  became: %s\n", cases[i].line, options);
			bad++;
		}
	}
	assert_int_equal(bad, 0);
}

int main(void)
{
	static const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_lines),	       cmocka_unit_test(test_newline),
		cmocka_unit_test(test_random_lines),   cmocka_unit_test(test_names),
		cmocka_unit_test(test_read),	       cmocka_unit_test(test_seal),
		cmocka_unit_test(test_verity),	       cmocka_unit_test(test_verity_of_others),
		cmocka_unit_test(test_notes),	       cmocka_unit_test(test_read_without_memory),
		cmocka_unit_test(test_module_options),
	};

	return cmocka_run_group_tests_name("kernel command line", tests, NULL, NULL);
}
