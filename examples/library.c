// SPDX-License-Identifier: MIT
// Reads a table by the library, and says how many rows it has.
#include <idmap.h>
#include <stdio.h>

int main(void)
{
	static char memory[1 << 20], text[] = "/dev/vda / erofs idmap=100000:0:65536\n";
	struct idmap_arena arena = {memory, memory + sizeof(memory)};
	struct idmap_table table;

	idmap_table_init(&table, &arena);
	idmap_table_file(&table, "example", text, sizeof(text) - 1);
	printf("%u rows, %u errors\n", table.row_count, table.error_count);
	return (int)table.error_count;
}
