// SPDX-License-Identifier: MIT
/*
 * What a person wrote: the kernel command line and the table's file, read and checked as a whole
 * before anything is mounted.
 */
#define _GNU_SOURCE
#include <errno.h>
#include <string.h>
#include <sys/utsname.h>

#include "device/device.h"
#include "init.h"

int table_errors(const struct idmap_table *table, struct idmap_error *ret_error)
{
	const struct idmap_error *error = table->errors;

	if (!table->error_count)
		return 0;
	for (; error && error->next; error = error->next)
		msg(MSG_ERROR, "%s", error->text);
	if (table->error_count > IDMAP_ERRORS_MAX)
		msg(MSG_ERROR, "%u more errors are not shown",
		    table->error_count - IDMAP_ERRORS_MAX);
	if (!error)
		return idmap_fail(ret_error, NULL, IDMAP_BAD_TABLE, EINVAL,
				  "no memory to read the table; make it shorter");
	*ret_error = *error;
	return -EINVAL;
}

/* The kernel's COMMAND_LINE_SIZE (asm/setup.h) on the machines that this is built for. */
static size_t cmdline_size(void)
{
	struct utsname uts;

	return !uname(&uts) && !strncmp(uts.machine, "riscv", 5) ? 1024 : 2048;
}

/* Empty, too, it is a seal. */
static int read_seal(struct boot *boot, struct idmap_error *ret_error)
{
	char *text;
	size_t size;
	int result = idmap_file_read(IDMAP_SEALED, boot->arena, &text, &size);

	if (!result)
		boot->cmdline.sealed = text;
	else if (CONFIG_ALWAYS_SEALED)
		boot->cmdline.sealed = "";
	return !result || result == -ENOENT
		       ? 0
		       : idmap_fail(ret_error, NULL, IDMAP_BAD_TABLE, -result,
				    IDMAP_SEALED " cannot be read (%m); make it a file of words");
}

static int read_cmdline(struct boot *boot, struct idmap_error *ret_error)
{
	struct idmap_arena *arena = boot->arena;
	char *text;
	size_t size;
	int result = idmap_file_read("/proc/cmdline", arena, &text, &size);

	if (result)
		return idmap_fail(
			ret_error, NULL, IDMAP_BAD_SYSTEM, -result,
			"/proc/cmdline cannot be read (%m); mount all of proc on /proc, no subset=pid of"
			" it, with a kernel that has CONFIG_PROC_FS");
	result = idmap_arena_room(arena, idmap_arena_size(size), ret_error);
	if (result)
		return result;
	boot->cmdline.text = text;
	boot->cmdline.cut = cmdline_size() - 1;
	boot->cmdline.notes = &boot->notes;
	idmap_table_init(&boot->table, arena);
	idmap_cmdline_read(&boot->cmdline, &boot->table);
	boot->notes.traced_us = boot->cmdline.debug ? idmap_now_us() : 0;
	msg_notes(&boot->notes);
	return 0;
}

/* Of a root that stands already nobody can say any more what was read of it. */
static void refuse_late_hash(struct boot *boot)
{
	const struct idmap_place place = {.name = "roothash=", .parameter = true};

	if (boot->cmdline.root.booted && boot->cmdline.root.verity)
		idmap_table_error(&boot->table, &place, 0,
				  "the kernel has mounted the root, and nothing has verified it;"
				  " boot with an initramfs, or take it out");
}

int table_read(struct boot *boot, struct idmap_error *ret_error)
{
	static struct idmap_arena arena; /* the file's size is known, and any */
	int result = read_seal(boot, ret_error);

	if (!result)
		result = read_cmdline(boot, ret_error);
	if (!result && !boot->table.off)
		result = conf_read(&boot->cmdline, &boot->table, &arena, ret_error);
	if (result)
		return result;
	refuse_late_hash(boot);
	idmap_plan_make(&boot->table, &boot->cmdline.root, &boot->build.plan);
	idmap_seal_rows(&boot->cmdline, &boot->table);
	return table_errors(&boot->table, ret_error);
}
