// SPDX-License-Identifier: MIT
/*
 * Loads what mkinitramfs put in: a list of modules in an order that needs no further thought, each
 * with the options that the kernel command line has for it. A module that does not load is not
 * yet a failure; the device or the filesystem that is then missing is, and its line says why.
 */
#define _GNU_SOURCE
#include <errno.h>
#include <string.h>

#include "device/device.h"
#include "init.h"
#include "mount/sys.h"

#define LOAD_S 180 /* the firmware that a driver asks for may take a minute */

/* The first that did not load, and why. */
static char cause[300];

/* Whether the word stands on the command line by itself. */
static bool has_word(const char *cmdline, const char *word)
{
	struct idmap_parameter parameter;

	while (idmap_cmdline_next(&cmdline, &parameter))
		if (!parameter.value && idmap_same(word, parameter.name, parameter.name_length))
			return true;
	return false;
}

/* Loads it; what the kernel says of a failure is in its log only, so that it is tried once more. */
static int try_load(int fd, const char *options, struct idmap_text *words)
{
	int result = or_errno(sys_finit_module(fd, options));
	idmap_closed int log_fd = -1;

	/* ENODEV is a driver's word for hardware that is not here, such as a crc by another CPU. */
	if (!result || result == -EEXIST || result == -ENODEV)
		return 0;
	log_fd = idmap_klog_begin();
	result = or_errno(sys_finit_module(fd, options));
	idmap_klog_read(log_fd, words);
	return result == -EEXIST ? 0 : result;
}

/* True: it is loaded. */
static bool load(struct boot *boot, const char *path)
{
	const char *slash = strrchr(path, '/'), *name = slash ? slash + 1 : path;
	idmap_closed int fd = idmap_open(path, O_RDONLY);
	struct idmap_arena scratch = *boot->arena;
	const size_t size = strlen(boot->cmdline.text) + 2; /* they are a part of it */
	char *options = idmap_alloc(&scratch, size), said[200], line[sizeof(cause)];
	struct idmap_text text, words;
	size_t length = 0;
	int result;

	idmap_text_init(&words, said, sizeof(said));
	while (name[length] && name[length] != '.')
		length++;
	if (options) {
		idmap_text_init(&text, options, size);
		idmap_cmdline_module_options(boot->cmdline.text, name, length, &text);
		if (*options && !idmap_seal_allows(&boot->cmdline, "modules", 7)) {
			msg(MSG_WARNING,
			    "the initramfs is sealed, and module %s gets no options; write the word"
			    " modules into " IDMAP_SEALED,
			    name);
			*options = 0;
		}
	}
	result = fd < 0 ? fd : !options ? -ENOMEM : try_load(fd, options, &words);
	if (!result)
		return true;
	if (result == -EPERM && has_word(boot->cmdline.text, "nomodule"))
		idmap_text_add(&words, "nomodule is on the kernel command line, take it out");
	else if (result == -EPERM && idmap_contains(boot->cmdline.text, "modules_disabled"))
		idmap_text_add(&words, "modules_disabled is on the kernel command line, take it"
				       " out");
	idmap_text_init(&text, line, sizeof(line));
	text.most = sizeof(line);
	idmap_text_add(&text, "module %s does not load (%s%s%s)", name, idmap_errno_text(-result),
		       *said ? "; " : "", said);
	msg(MSG_WARNING, "%s, going on without", line);
	if (boot->build.devices.modules_cause)
		return false;
	memcpy(cause, line, sizeof(cause));
	boot->build.devices.modules_cause = cause;
	return false;
}

void modules_load(struct boot *boot)
{
	char *text, *line;
	size_t size;
	int result = idmap_file_read(MODULES_LIST, boot->arena, &text, &size);

	if (result && result != -ENOENT)
		msg(MSG_WARNING, "%s cannot be read (%s), going on without modules", MODULES_LIST,
		    idmap_errno_text(-result));
	while (!result && (line = idmap_next_line(&text))) {
		if (!*line)
			continue;
		step_begin(boot, STEP_MODULE, NULL, line, LOAD_S);
		if (load(boot, line))
			msg_trace(&boot->notes, "loaded", line);
	}
}
