// SPDX-License-Identifier: MIT
/*
 * Which program becomes the real init, and whether it can. Looked into before the initramfs is
 * freed, because afterwards nothing is left that could tell: execve(2) answers a missing
 * interpreter like a missing file.
 */
#define _GNU_SOURCE
#include <errno.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h> /* X_OK */

#include "explain.h"
#include "init.h"
#include "sys.h"

/* The front of a program: a #! line, or ELF headers and, as a rule, the loader's name. */
#define HEAD_SIZE 2048
#define ELF_HEADER_SIZE 64
#define DEPTH_MOST 5 /* scripts that are interpreters of scripts (fs/exec.c, exec_binprm()) */

/* The linker's: the program in memory, from its first byte. */
extern const char __ehdr_start[] __attribute__((visibility("hidden")));

/* What is wrong with a program, for the line that a person reads. */
struct trouble {
	char interpreter[128]; /* whose trouble it is, or "" for the program's own */
	bool maybe_self;       /* it begins as this very program does */
};

static uint64_t field(const char *p, size_t size)
{
	uint64_t value = 0;

	while (size--)
		value = value << 8 | (unsigned char)p[size];
	return value;
}

/* The interpreter that a #! line names; "" where there is none. */
static void script_interpreter(const char *head, struct idmap_text *ret)
{
	const char *p = head + 2;
	size_t length = 0;

	while (*p == ' ' || *p == '\t')
		p++;
	while (p[length] && !strchr(" \t\r\n", p[length]))
		length++;
	idmap_text_add(ret, "%.*s", (int)length, p);
}

/* The loader that an ELF program asks for (PT_INTERP, elf(5)), of either word size. */
static void elf_loader(const char *head, size_t size, struct idmap_text *ret)
{
	const bool wide = head[4] == 2;
	uint64_t at = wide ? field(head + 32, 8) : field(head + 28, 4);
	const uint64_t entry = field(head + (wide ? 54 : 42), 2);
	uint64_t count = field(head + (wide ? 56 : 44), 2);

	for (; count && at + entry <= size && entry >= 32; count--, at += entry) {
		const char *p = head + at;
		uint64_t where = wide ? field(p + 8, 8) : field(p + 4, 4);

		/* A name beyond the front is left to the exec. */
		if (field(p, 4) == 3 && where < size)
			idmap_text_add(ret, "%s", head + where);
	}
}

/* The same question as execve(2)'s: a file, a mode for root, no noexec. */
static int check_mode(int fd)
{
	struct stat st;
	int result = sys_fstat(fd, &st);

	if (result)
		return result;
	if (S_ISDIR(st.st_mode))
		return -EISDIR;
	if (!S_ISREG(st.st_mode))
		return -EACCES;
	/* faccessat2: 5.8; an older kernel leaves the question to the exec. */
	result = sys_faccessat2(fd, "", X_OK, SYS_AT_EMPTY_PATH);
	return result == -ENOSYS ? 0 : result;
}

static int check_program(int root_fd, const char *path, int depth, struct trouble *ret_trouble)
{
	idmap_closed int fd = idmap_open_in_root(root_fd, path, O_PATH);
	char head[HEAD_SIZE + 1], name[128];
	struct idmap_text text;
	long size;
	int result = fd < 0 ? fd : check_mode(fd);

	ret_trouble->maybe_self = true;
	if (result || !IS_ENABLED(CONFIG_INIT_CHECK))
		return result;
	if (depth == DEPTH_MOST)
		return -ELOOP;
	idmap_close(&fd);
	fd = idmap_open_in_root(root_fd, path, O_RDONLY);
	size = fd < 0 ? fd : sys_read(fd, head, HEAD_SIZE);
	if (size < 0)
		return 0; /* it may be run and not read */
	head[size] = 0;
	ret_trouble->maybe_self =
		size > ELF_HEADER_SIZE && !memcmp(head, __ehdr_start, ELF_HEADER_SIZE);
	idmap_text_init(&text, name, sizeof(name));
	if (size > 2 && !memcmp(head, "#!", 2)) {
		script_interpreter(head, &text);
		if (!*name)
			return -ENOEXEC;
	} else if (size > 64 && !memcmp(head, "\177ELF", 4)) {
		elf_loader(head, (size_t)size, &text);
	} else {
		return -ENOEXEC;
	}
	if (!*name || text.cut)
		return 0;
	result = check_program(root_fd, name, depth + 1, ret_trouble);
	if (result && !*ret_trouble->interpreter)
		memcpy(ret_trouble->interpreter, name, sizeof(name));
	return result;
}

static bool same_program(int root_fd, const char *path)
{
	idmap_closed int fd = idmap_open_in_root(root_fd, path, O_RDONLY);
	idmap_closed int self_fd = -1;
	char a[1024], b[1024];
	long n;

	/* Hardly any other program has our header, so that is all that is looked at. */
	if (fd < 0 || sys_pread(fd, a, ELF_HEADER_SIZE, 0) != ELF_HEADER_SIZE ||
	    memcmp(a, __ehdr_start, ELF_HEADER_SIZE))
		return false;
	self_fd = sys_open("/proc/self/exe", O_RDONLY | O_CLOEXEC, 0);
	if (self_fd < 0)
		return false;
	do {
		n = sys_read(self_fd, a, sizeof(a));
		if (n < 0 || sys_read(fd, b, sizeof(b)) != n || memcmp(a, b, (size_t)n))
			return false;
	} while (n);
	return true;
}

/* Whether the file is this very program, which as the real init would only start itself again. */
static bool is_self(int root_fd, const char *path)
{
	return (IS_ENABLED(CONFIG_INIT_CHECK) || IS_ENABLED(CONFIG_IN_PLACE)) &&
	       same_program(root_fd, path);
}

static const char *remedy(int error)
{
	return idmap_choose(
		CHOICES(ON(ENOENT, "name a program of the new root, links and all"),
			ON(EACCES, "check its mode, noexec, and that the map covers its owner"),
			ON(ENOEXEC,
			   "name a program for this machine, or a script that begins with #!"),
			"name a program of the new root"),
		error);
}

/* `parameter=path`, which a person chose: its failure is the boot's. */
static int check_named(int root_fd, const char *parameter, const char *path,
		       struct idmap_error *ret_error)
{
	struct trouble trouble = {.interpreter = ""};
	int result = check_program(root_fd, path, 0, &trouble);
	bool interpreter = IS_ENABLED(CONFIG_INIT_CHECK) && *trouble.interpreter;

	if (!result && trouble.maybe_self && is_self(root_fd, path))
		return idmap_fail(ret_error, IDMAP_NO_INIT, ELOOP,
				  "cmdline: %s=%s: that is idmap-init itself and would start for"
				  " ever; name the real init with idmap.init=",
				  parameter, path);
	if (result)
		return idmap_fail(ret_error, IDMAP_NO_INIT, -result,
				  "cmdline: %s=%s: it cannot be run in the new root (%s%s%s); %s",
				  parameter, path, interpreter ? trouble.interpreter : "",
				  interpreter ? ", its interpreter: " : "",
				  idmap_errno_text(-result), remedy(-result));
	return 0;
}

int realinit_find(const struct boot *boot, int root_fd, const char **ret_init,
		  struct idmap_error *ret_error)
{
	/* init/main.c, kernel_init() */
	static const char usual[][11] = {"/sbin/init", "/etc/init", "/bin/init", "/bin/sh"};
	size_t i;

	if (boot->own_init) {
		*ret_init = boot->own_init;
		return check_named(root_fd, "idmap.init", boot->own_init, ret_error);
	}
	/* Started by the kernel as init=, we are what that names; it says nothing of the real one.
	 */
	if (boot->init && !(boot->root.booted && is_self(root_fd, boot->init))) {
		*ret_init = boot->init;
		return check_named(root_fd, "init", boot->init, ret_error);
	}
	for (i = 0; i < sizeof(usual) / sizeof(*usual); i++) {
		struct trouble trouble = {.interpreter = ""};
		int result = check_program(root_fd, usual[i], 0, &trouble);
		bool interpreter = IS_ENABLED(CONFIG_INIT_CHECK) && *trouble.interpreter;

		if (!result && trouble.maybe_self && is_self(root_fd, usual[i]))
			result = -ELOOP;
		if (!result) {
			*ret_init = usual[i];
			return 0;
		}
		if (result != -ENOENT || interpreter)
			msg(MSG_ERROR, "%s of the new root is passed over (%s%s%s)", usual[i],
			    interpreter ? trouble.interpreter : "",
			    interpreter ? ", its interpreter: " : "",
			    result == -ELOOP ? "idmap-init itself" : idmap_errno_text(-result));
	}
	return idmap_fail(
		ret_error, IDMAP_NO_INIT, ENOENT,
		"the root has no /sbin/init, /etc/init, /bin/init or /bin/sh that can be run;"
		" name it with init=%s",
		boot->root.source || boot->root.booted
			? ", check that the map covers its owner"
			: ", or another root with root= or a row for /");
}
