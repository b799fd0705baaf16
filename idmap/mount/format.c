// SPDX-License-Identifier: MIT
/*
 * What the front of a program says of who runs it: a #! line as fs/binfmt_script.c reads it, ELF
 * headers as fs/binfmt_elf.c does (elf(5)). The file may be anybody's making, so nothing goes by a
 * number in it without its bound. Pure.
 */
#include <errno.h>
#include <string.h>

#include "mount/format.h"

/* elf.h, which is a system's */
enum { CLASS_AT = 4, CLASS_64 = 2, TYPE_AT = 16, MACHINE_AT = 18, TYPE_EXEC = 2, TYPE_DYN = 3 };
enum { ENTRY_32 = 32, ENTRY_64 = 56, LOADER = 3 }; /* sizes of a program header, PT_INTERP */

const char *const idmap_format_inits[FORMAT_INITS] = {"/sbin/init", "/etc/init", "/bin/init",
						      "/bin/sh"};

static bool is_space_or_tab(char c)
{
	return c == ' ' || c == '\t';
}

static int read_script(const char *head, size_t size, struct idmap_format *ret)
{
	const size_t seen = size < FORMAT_LINE_SIZE ? size : FORMAT_LINE_SIZE;
	const char *end = memchr(head, '\n', seen), *name = head + 2, *name_end;
	const char *const last = end ? end : head + seen;

	while (name < last && is_space_or_tab(*name))
		name++;
	for (name_end = name; name_end < last && *name_end && !is_space_or_tab(*name_end);)
		name_end++;
	if (name_end == name) {
		ret->fault = "its #! line names no interpreter; write one";
		return -ENOEXEC;
	}
	/* Cut there the name would be another one. A shorter file ends by itself. */
	if (name_end == last && !end && size >= FORMAT_LINE_SIZE) {
		ret->fault = "its #! line is longer than the 255 bytes that the kernel reads;"
			     " make it shorter";
		return -ENOEXEC;
	}
	if (name_end[-1] == '\r')
		ret->fault = "its #! line ends in a carriage return; save the file with Unix line"
			     " ends";
	idmap_print(ret->interpreter, sizeof(ret->interpreter), "%.*s", (int)(name_end - name),
		    name);
	return 0;
}

/* The program headers that are in the front, for the loader; one beyond it is left to the exec. */
static void find_loader(const char *head, size_t size, struct idmap_format *ret)
{
	const bool wide = head[CLASS_AT] == CLASS_64;
	const uint64_t entry = wide ? ENTRY_64 : ENTRY_32;
	uint64_t at = wide ? idmap_little(head + 32, 8) : idmap_little(head + 28, 4);
	uint64_t count = idmap_little(head + (wide ? 56 : 44), 2);

	for (; count && at <= size && entry <= size - at; count--, at += entry) {
		const char *p = head + at;
		const uint64_t where = wide ? idmap_little(p + 8, 8) : idmap_little(p + 4, 4);

		if (idmap_little(p, 4) != LOADER || where >= size)
			continue;
		if (!memchr(head + where, 0, size - where))
			continue;
		idmap_print(ret->interpreter, sizeof(ret->interpreter), "%s", head + where);
		return;
	}
}

static int read_elf(const char *head, size_t size, struct idmap_format *ret)
{
	const bool wide = head[CLASS_AT] == CLASS_64;
	const uint64_t type = idmap_little(head + TYPE_AT, 2);

	ret->machine = (uint32_t)idmap_little(head + MACHINE_AT, 2);
	if (type != TYPE_EXEC && type != TYPE_DYN) {
		ret->fault = "it is an ELF file but no program, such as an object that was not"
			     " linked; name a program";
		return -ENOEXEC;
	}
	if (idmap_little(head + (wide ? 54 : 42), 2) != (wide ? ENTRY_64 : ENTRY_32)) {
		ret->fault = "its ELF headers are damaged; write the file anew";
		return -ENOEXEC;
	}
	find_loader(head, size, ret);
	return 0;
}

int idmap_format_read(const char *head, size_t size, struct idmap_format *ret)
{
	*ret = (struct idmap_format){.machine = 0};
	if (size > 2 && !memcmp(head, "#!", 2))
		return read_script(head, size, ret);
	if (size >= FORMAT_ELF_SIZE && !memcmp(head, "\177ELF", 4))
		return read_elf(head, size, ret);
	if (!size)
		ret->fault = "it is empty; write the file anew";
	return -ENOEXEC;
}
