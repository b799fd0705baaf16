// SPDX-License-Identifier: MIT
/*
 * Any bytes as /etc/idmap.conf. Either each thing that is wrong is a line with a place, or the plan
 * holds (check.h) and says the same when it is printed and read again. The first byte chooses what
 * the kernel command line says of the root.
 */
#include "check.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	static const struct idmap_root roots[] = {
		{0},
		{.source = "/dev/vda"},
		{.source = "/dev/vda",
		 .type = "erofs,ext4",
		 .writable = true,
		 .waits = true,
		 .wait_s = 3},
	};
	struct idmap_arena arena;
	struct idmap_table table;
	struct idmap_plan plan;
	char *memory, *copy, *text;

	if (!size)
		return 0;
	/* The exact size, and gone before the plan is made: rows must not point into the text. */
	copy = malloc(size);
	CHECK(copy, "no memory for the test");
	memcpy(copy, data + 1, size - 1);
	memory = check_arena(&arena, idmap_arena_size(size - 1));
	idmap_table_init(&table, &arena);
	idmap_table_file(&table, "f", copy, size - 1);
	free(copy);
	if (!idmap_plan_make(&table, &roots[*data % 3], &plan)) {
		check_plan(&table, &plan);
		text = check_plan_text(&plan);
		check_round_trip(text, false);
		free(text);
	} else {
		CHECK(table.error_count, "refused without a word");
	}
	check_errors(&table);
	check_memory(&table);
	free(memory);
	return 0;
}
