// SPDX-License-Identifier: MIT
/*
 * Prints what a table means, or what is wrong with it: rows as the plan has them, one a line, or
 * the errors on stderr. The tests of README.md read its examples with it; it is handy by hand too.
 *
 *	print_plan /etc/idmap.conf ['root=/dev/vda …']
 *	print_plan - 'root=/dev/vda idmap=100000:0:65536'
 *
 * The second argument is a kernel command line.
 */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "device/device.h"

static char *read_all(const char *path, size_t *ret_size)
{
	FILE *file = fopen(path, "r");
	char *text = malloc(1 << 20);

	if (!file || !text) {
		perror(path);
		exit(2);
	}
	*ret_size = fread(text, 1, 1 << 20, file);
	fclose(file);
	return text;
}

int main(int argc, char **argv)
{
	const char *words = argc > 2 ? argv[2] : "";
	static char line[1 << 16];
	struct idmap_cmdline cmdline = {.text = words};
	const struct idmap_error *error;
	struct idmap_table table;
	struct idmap_arena arena;
	struct idmap_plan plan;
	char *memory, *file = NULL;
	size_t size = 0;
	uint32_t i;

	if (argc < 2)
		return 2;
	if (strcmp(argv[1], "-"))
		file = read_all(argv[1], &size);
	size += strlen(words);
	memory = malloc(idmap_arena_size(size));
	arena = (struct idmap_arena){.at = memory, .end = memory + idmap_arena_size(size)};
	idmap_table_init(&table, &arena);
	idmap_cmdline_read(&cmdline, &table);
	if (file && !cmdline.words)
		idmap_table_file(&table, argv[1], file, size - strlen(words));
	idmap_plan_make(&table, &cmdline.root, &plan);
	for (error = table.errors; error; error = error->next)
		fprintf(stderr, "%s\n", error->text);
	for (i = 0; !table.error_count && i < plan.rows; i++) {
		struct idmap_text text;

		idmap_text_init(&text, line, sizeof(line));
		idmap_row_text(plan.row[i], &text);
		puts(line);
	}
	free(file);
	free(memory);
	return table.error_count != 0;
}
