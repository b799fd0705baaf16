// SPDX-License-Identifier: MIT
/*
 * Any bytes as values of idmap=, one a line, with the kernel's own parameters beside them: the
 * first byte says which, and the first lines are their values. What must hold is in check.h.
 */
#include "check.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

enum {
	WITH_ROOT = 1,
	WITH_TYPE = 2,
	WITH_FLAGS = 4,
	WITH_RW = 8,
	WITH_BARE = 16,
	WITH_BOOTED = 32
};

/* The next line of a NUL-terminated text, made a string of its own exact size; NULL: no more. */
static char *next_line(const char **text)
{
	size_t length = strcspn(*text, "\n");
	char *line;

	if (!**text)
		return NULL;
	line = strndup(*text, length);
	*text += length + ((*text)[length] == '\n');
	return line;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	struct idmap_root root = {0};
	struct idmap_arena arena;
	struct idmap_table table;
	struct idmap_plan plan;
	char *copy, *memory, *type = NULL, *flags = NULL, *word, *text;
	const char *rest;
	uint32_t number = 0;

	if (!size)
		return 0;
	copy = strndup((const char *)data + 1, size - 1);
	rest = copy;
	if (*data & WITH_ROOT)
		root.source = "/dev/vda";
	if (*data & WITH_TYPE)
		root.type = type = next_line(&rest);
	if (*data & WITH_FLAGS)
		root.flags = flags = next_line(&rest);
	root.writable = *data & WITH_RW;
	root.booted = *data & WITH_BOOTED;
	memory = check_arena(&arena, idmap_arena_size(size));
	idmap_table_init(&table, &arena);
	if (*data & WITH_BARE)
		idmap_table_word(&table, NULL, ++number);
	while ((word = next_line(&rest))) {
		idmap_table_word(&table, word, ++number);
		free(word);
	}
	if (!idmap_plan_make(&table, &root, &plan)) {
		check_plan(&table, &plan);
		text = check_plan_text(&plan);
		/* What is for the filesystem only, as in rootflags=nofail, cannot be printed. */
		if (!flags)
			check_round_trip(text, root.booted);
		free(text);
	} else {
		CHECK(table.error_count, "refused without a word");
	}
	check_errors(&table);
	/* rootflags= is copied into each row for /dev/root, which its length does not tell. */
	if (!flags)
		check_memory(&table);
	free(memory);
	free(type);
	free(flags);
	free(copy);
	return 0;
}
