// SPDX-License-Identifier: MIT
/*
 * Any bytes as what a message is about: a place's name, a source, a target, the kernel's words. The
 * line fits, ends, has no control character, and its beginning and its remedy are there.
 */
#include "check.h"
#include "table/table.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void check_line(const char *text)
{
	const unsigned char *c;

	CHECK(memchr(text, 0, IDMAP_LINE_SIZE), "a line that is open");
	for (c = (const unsigned char *)text; *c; c++)
		CHECK(*c >= ' ' && *c != 0x7f, "a control character: %s", text);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	char *string = malloc(size + 1), memory[2 * sizeof(struct idmap_note)];
	struct idmap_arena arena = {memory, memory + sizeof(memory)};
	struct idmap_row row = {.place = {.name = "idmap=", .line = 3, .parameter = true}};
	char errors[2 * sizeof(struct idmap_error)];
	struct idmap_arena table_arena = {errors, errors + sizeof(errors)};
	struct idmap_table table;
	struct idmap_notes notes;
	struct idmap_error error;

	CHECK(string, "no memory for the test");
	if (size)
		memcpy(string, data, size);
	string[size] = 0;
	row.source = row.target = string;
	CHECK(idmap_fail(&error, &row, IDMAP_NO_MOUNT, 5, "does not mount (%m%s%s); try ro",
			 "; kernel: ", string) == -5,
	      "another result");
	check_line(error.text);
	CHECK(!strncmp(error.text, "cmdline: idmap= #3: ", 20), "no place: %s", error.text);
	CHECK(strlen(error.text) > 8 && !strcmp(strchr(error.text, 0) - 8, "; try ro"),
	      "no remedy: %s", error.text);
	idmap_fail(&error, &row, IDMAP_NO_MOUNT, 5, "does not mount (");
	idmap_fail_more(&error, "%s); try ro", string);
	check_line(error.text);
	idmap_table_init(&table, &table_arena);
	idmap_table_error(&table, &(const struct idmap_place){.name = string, .line = 3}, 7,
			  "the row ends too soon");
	CHECK(table.errors, "no error");
	check_line(table.errors->text);
	idmap_notes_init(&notes, &arena);
	idmap_note(&notes, "%s: done", string);
	CHECK(notes.first, "no note");
	check_line(notes.first->text);
	free(string);
	return 0;
}
