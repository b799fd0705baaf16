// SPDX-License-Identifier: MIT
/*
 * Whether a program can be run in a root, and whose fault it is if not. Asked before the old root
 * is given up, because afterwards nothing is left that could tell: execve(2) answers a missing
 * interpreter like a missing file.
 */
#define _GNU_SOURCE
#include <elf.h>
#include <errno.h>
#include <string.h>
#include <sys/stat.h>

#include "mount/mount.h"

/* The front of a program: a #! line, or ELF headers and, as a rule, the loader's name. */
#define HEAD_SIZE 2048
#define DEPTH_MOST 5 /* scripts that are interpreters of scripts (fs/exec.c, exec_binprm()) */

/* The interpreter that a #! line names; "" where there is none. */
static void script_interpreter(const char *head, struct idmap_text *ret)
{
	const char *p = head + 2;
	size_t length = 0;

	while (idmap_is_blank(*p))
		p++;
	while (p[length] && !strchr(" \t\r\n", p[length]))
		length++;
	idmap_text_add(ret, "%.*s", (int)length, p);
}

/* The loader that an ELF program asks for (PT_INTERP, elf(5)), of either word size. */
static void elf_loader(const char *head, size_t size, struct idmap_text *ret)
{
	const bool wide = head[EI_CLASS] == ELFCLASS64;
	uint64_t at = wide ? idmap_little(head + 32, 8) : idmap_little(head + 28, 4);
	const uint64_t entry = idmap_little(head + (wide ? 54 : 42), 2);
	uint64_t count = idmap_little(head + (wide ? 56 : 44), 2);

	for (; count && at < size && entry <= size - at && entry >= sizeof(Elf32_Phdr);
	     count--, at += entry) {
		const char *p = head + at;
		uint64_t where = wide ? idmap_little(p + 8, 8) : idmap_little(p + 4, 4);

		/* A name beyond the front is left to the exec. */
		if (idmap_little(p, 4) == PT_INTERP && where < size)
			idmap_text_add(ret, "%s", head + where);
	}
}

/* The same question as execve(2)'s: a file, a mode for root, no noexec. */
static int check_mode(int fd, struct idmap_program *ret)
{
	struct stat st;

	if (fstat(fd, &st))
		return -errno;
	if (ret) { /* an interpreter's owner is its own affair */
		ret->uid = st.st_uid;
		ret->gid = st.st_gid;
	}
	if (S_ISDIR(st.st_mode))
		return -EISDIR;
	if (!S_ISREG(st.st_mode))
		return -EACCES;
	/* An older kernel than 5.8 leaves the question to the exec. */
	return sys_faccessat2(fd, "", X_OK, AT_EMPTY_PATH) && errno != ENOSYS ? -errno : 0;
}

/* Whom the program needs to run, by its front: "" where it needs nobody. -errno of execve(2). */
static int find_interpreter(int fd, char head[HEAD_SIZE + 1], char *name, size_t name_size)
{
	struct idmap_text text;
	long size = read(fd, head, HEAD_SIZE);

	idmap_text_init(&text, name, name_size);
	if (size < 0)
		return 0; /* it may be run and not read */
	head[size] = 0;
	if (size > 2 && !memcmp(head, "#!", 2)) {
		script_interpreter(head, &text);
		if (!*name)
			return -ENOEXEC;
	} else if (size > (long)sizeof(Elf64_Ehdr) && !memcmp(head, ELFMAG, SELFMAG)) {
		elf_loader(head, (size_t)size, &text);
	} else {
		return -ENOEXEC;
	}
	if (text.cut)
		*name = 0;
	return 0;
}

static int check(int root_fd, const char *path, int depth, struct idmap_program *ret)
{
	idmap_closed int fd = idmap_open_inside(root_fd, path, O_PATH, 0);
	char name[sizeof(ret->interpreter)], head[HEAD_SIZE + 1] = "";
	int result = fd < 0 ? fd : check_mode(fd, depth ? NULL : ret);

	if (result)
		return result;
	if (depth == DEPTH_MOST)
		return -ELOOP;
	idmap_close(&fd);
	fd = idmap_open_inside(root_fd, path, O_RDONLY, 0);
	result = fd < 0 ? 0 : find_interpreter(fd, head, name, sizeof(name));
	if (!depth)
		memcpy(ret->head, head, sizeof(ret->head));
	if (result || fd < 0 || !*name)
		return result;
	result = check(root_fd, name, depth + 1, ret);
	if (result && !*ret->interpreter)
		memcpy(ret->interpreter, name, sizeof(name));
	return result;
}

int idmap_program_check(int root_fd, const char *path, struct idmap_program *ret)
{
	memset(ret, 0, sizeof(*ret));
	return check(root_fd, path, 0, ret);
}
