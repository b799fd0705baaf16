// SPDX-License-Identifier: MIT
/*
 * The table's file: /etc/idmap.conf, or what idmap.conf= names. It comes from the root that we are
 * started in, never from one that is being mounted.
 */
#include <errno.h>

#include "device/device.h"
#include "init.h"

#define DEFAULT_CONF "/etc/idmap.conf"

int conf_read(const struct idmap_cmdline *cmdline, struct idmap_table *table,
	      struct idmap_arena *arena, struct idmap_error *ret_error)
{
	const char *path = cmdline->conf ? cmdline->conf : DEFAULT_CONF;
	int64_t size;
	size_t read_size;
	char *text;
	int result;

	if (cmdline->words)
		return 0;
	size = idmap_file_size(path);
	if (size == -ENOENT && !cmdline->conf)
		return 0;
	if (size >= 0) {
		result = idmap_arena_map(
			arena, (size_t)size + idmap_arena_size((size_t)size + 4096), ret_error);
		if (result)
			return result;
	}
	result = size < 0 ? (int)size : idmap_file_read(path, arena, &text, &read_size);
	if (result)
		return idmap_fail(
			ret_error, NULL, IDMAP_BAD_TABLE, -result,
			"%s cannot be read (%m); put it into the initramfs (mkinitramfs -c) or correct"
			" idmap.conf=",
			path);
	table->arena = arena;
	idmap_table_file(table, path, text, read_size);
	return 0;
}
