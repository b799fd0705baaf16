// SPDX-License-Identifier: MIT
/*
 * Loads what mkinitramfs put in: a list of modules in an order that needs no further thought, each
 * with the options that the kernel command line has for it. A module that does not load is not
 * yet a failure; the device that is then missing is, and says so.
 */
#define _GNU_SOURCE
#include <errno.h>
#include <string.h>

#include "device/device.h"
#include "init.h"
#include "mount/sys.h"

#define MODULES_LIST "/etc/idmap.modules"

static void load(const char *path, const char *cmdline)
{
	const char *slash = strrchr(path, '/'), *name = slash ? slash + 1 : path;
	idmap_closed int fd = idmap_open(path, O_RDONLY);
	struct idmap_text text;
	size_t length = 0;
	char options[1024];
	int result;

	idmap_text_init(&text, options, sizeof(options));
	while (name[length] && name[length] != '.')
		length++;
	idmap_cmdline_module_options(cmdline, name, length, &text);
	result = fd < 0 ? fd : or_errno(sys_finit_module(fd, options));
	/* ENODEV is a driver's word for hardware that is not here, such as a crc by another CPU. */
	if (result && result != -EEXIST && result != -ENODEV)
		msg(MSG_WARNING, "module %s does not load (%s), going on without", path,
		    idmap_errno_text(-result));
}

void modules_load(const struct boot *boot)
{
	char *line, *end;
	size_t size;
	int result = idmap_file_read(MODULES_LIST, boot->arena, &line, &size);

	if (result == -ENOENT)
		return;
	if (result)
		msg(MSG_WARNING, "%s cannot be read (%s), going on without modules", MODULES_LIST,
		    idmap_errno_text(-result));
	for (; !result && *line; line = end) {
		end = strchr(line, '\n');
		if (end)
			*end++ = 0;
		else
			end = line + strlen(line);
		if (*line)
			load(line, boot->cmdline.text);
	}
}
