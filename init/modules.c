// SPDX-License-Identifier: MIT
/*
 * Loads what mkinitramfs put in: a list of modules in an order that needs no further thought, each
 * with the options that the kernel command line has for it. A module that does not load is not
 * yet a failure; the device that is then missing is, and says so.
 */
#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "init.h"

static void load(const char *path, const char *cmdline)
{
	const char *name = strrchr(path, '/') ? strrchr(path, '/') + 1 : path;
	idmap_closed int fd = open(path, O_RDONLY | O_CLOEXEC);
	struct idmap_text text;
	char options[1024];

	idmap_text_init(&text, options, sizeof(options));
	cmdline_module_options(cmdline, name, strcspn(name, "."), &text);
	if (fd < 0 || (syscall(SYS_finit_module, fd, options, 0) && errno != EEXIST))
		msg(MSG_WARNING, "module %s does not load (%s), going on without", path,
		    idmap_errno_text(errno));
}

void modules_load(const struct boot *boot, struct idmap_arena *arena)
{
	char *line, *end;
	size_t size;
	int result = idmap_file_read(MODULES_LIST, arena, &line, &size);

	if (result == -ENOENT)
		return;
	if (result)
		msg(MSG_WARNING, "%s cannot be read (%s), going on without modules", MODULES_LIST,
		    idmap_errno_text(-result));
	for (; !result && *line; line = end) {
		end = line + strcspn(line, "\n");
		if (*end)
			*end++ = 0;
		if (*line)
			load(line, boot->cmdline);
	}
}
