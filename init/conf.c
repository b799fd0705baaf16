// SPDX-License-Identifier: MIT
/*
 * The table's file: /etc/idmap.conf, or what idmap.conf= names. It comes from the root that we are
 * started in, never from one that is being mounted.
 */
#include <errno.h>
#include <sys/stat.h>

#include "device/device.h"
#include "init.h"

int conf_read(const struct idmap_cmdline *cmdline, struct idmap_table *table,
	      struct idmap_arena *arena, struct idmap_error *ret_error)
{
	const char *path = cmdline->conf ? cmdline->conf : IDMAP_CONF;
	struct stat st;
	size_t size;
	char *text;
	int result;

	if (cmdline->words)
		return 0;
	if (cmdline->sealed && !stat(path, &st) && (st.st_uid || st.st_mode & 022))
		return idmap_fail(ret_error, NULL, IDMAP_BAD_TABLE, EPERM,
				  "%s can be written by others than root, and the initramfs is"
				  " sealed; give it to root, with the mode 0644",
				  path);
	result = idmap_table_text(
		path, "put it into the initramfs (mkinitramfs -c) or correct idmap.conf=", arena,
		&text, &size, ret_error);
	if (result)
		return result == -ENOENT && !cmdline->conf ? 0 : result;
	table->arena = arena;
	idmap_table_file(table, path, text, size);
	return 0;
}
