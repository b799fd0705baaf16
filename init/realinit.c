// SPDX-License-Identifier: MIT
/*
 * Which program becomes the real init. A named one that cannot be run is a failure, never a
 * fallback; of the kernel's own list each that is passed over is told.
 */
#define _GNU_SOURCE
#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <unistd.h>

#include "init.h"
#include "device/device.h"
#include "mount/format.h"
#include "mount/program.h"

/* Whether the file is this very program, and would only start itself for ever. */
static bool is_self(int root_fd, const char *path)
{
	idmap_closed int self_fd = idmap_open("/proc/self/exe", O_RDONLY);
	idmap_closed int fd = idmap_open_inside(root_fd, path, O_RDONLY, 0);
	char a[1024], b[1024];
	off_t at = 0;
	ssize_t n;

	if (fd < 0)
		return false;
	if (self_fd < 0)
		return true; /* rather an error than a loop */
	do {
		n = pread(self_fd, a, sizeof(a), at);
		if (n < 0 || pread(fd, b, sizeof(b), at) != n || memcmp(a, b, (size_t)n))
			return false;
		at += n;
	} while (n);
	return true;
}

/* 0, or -errno: it cannot be run. *ret_self: because it is this very program. */
static int check(struct boot *boot, const char *path, struct idmap_program *ret, bool *ret_self)
{
	const int root_fd = boot->build.stage.seen_fd;
	int result;

	*ret_self = false;
	result = idmap_program_check(&boot->build.stage, path, ret);
	/* Else /proc/self/exe need not be asked, which takes its time. */
	if (!result && ret->is_like_us)
		*ret_self = is_self(root_fd, path);
	return *ret_self ? -ELOOP : result;
}

/* `parameter=path`, which a person chose: its failure is the boot's. */
static int check_named(struct boot *boot, const char *parameter, const char *path,
		       struct idmap_program *program, struct idmap_error *ret_error)
{
	static const struct idmap_words remedies[] = {
		{ENOENT, "name a program of the new root, links and all"},
		{EACCES, "check its mode, noexec, and that the map covers its owner"},
		{ENOEXEC, "name a program for this machine, or a script that begins with #!"},
		{0, "name a program of the new root"},
	};
	bool self;
	int result = check(boot, path, program, &self);

	if (self)
		return idmap_fail(ret_error, NULL, IDMAP_NO_INIT, ELOOP,
				  "cmdline: %s=%s: that is idmap-init itself and would start for"
				  " ever; name the real init with idmap.init=",
				  parameter, path);
	if (result)
		return idmap_fail(ret_error, NULL, IDMAP_NO_INIT, -result,
				  "cmdline: %s=%s: it cannot be run in the new root (%s%s%m); %s",
				  parameter, path, program->interpreter,
				  *program->interpreter ? ", its interpreter: " : "",
				  *program->fault ? program->fault
						  : idmap_words_for(remedies, (uint32_t)-result));
	return 0;
}

/* Which one, without a word on its owner. */
static int find(struct boot *boot, struct idmap_program *program, struct idmap_error *ret_error)
{
	const struct idmap_cmdline *cmdline = &boot->cmdline;
	size_t i;

	if (cmdline->own_init) {
		boot->init = cmdline->own_init;
		return check_named(boot, "idmap.init", cmdline->own_init, program, ret_error);
	}
	if (cmdline->init && !boot->init_is_us) {
		boot->init = cmdline->init;
		return check_named(boot, "init", cmdline->init, program, ret_error);
	}
	for (i = 0; i < FORMAT_INITS; i++) {
		const char *path = idmap_format_inits[i];
		bool self;
		int result = check(boot, path, program, &self);

		if (!result) {
			boot->init = path;
			return 0;
		}
		if (result != -ENOENT || *program->interpreter)
			msg(MSG_ERROR, "%s of the new root is passed over (%s%s%s%s%s)", path,
			    program->interpreter,
			    *program->interpreter ? ", its interpreter: " : "",
			    self ? "idmap-init itself" : idmap_errno_text(-result),
			    *program->fault ? "; " : "", program->fault);
	}
	return idmap_fail(
		ret_error, NULL, IDMAP_NO_INIT, ENOENT,
		"the root has no /sbin/init, /etc/init, /bin/init or /bin/sh that can be run;"
		" name it with init=%s",
		cmdline->root.source || cmdline->root.booted
			? ", check that the map covers its owner"
			: ", or another root with root= or a row for /");
}

static int fail_again(const char *path, struct idmap_error *ret_error)
{
	return idmap_fail(ret_error, NULL, IDMAP_NO_INIT, ELOOP,
			  "%s was started before, and has started idmap-init again; name the real"
			  " init with idmap.init=",
			  path);
}

/* Of the kernel's list, the first that is in a folder and is not this program; or NULL. */
static const char *first_of_list(int root_fd)
{
	size_t i;

	for (i = 0; i < FORMAT_INITS; i++) {
		idmap_closed int fd = idmap_open_inside(root_fd, idmap_format_inits[i], O_PATH, 0);

		if (fd >= 0 && !is_self(root_fd, idmap_format_inits[i]))
			return idmap_format_inits[i];
	}
	return NULL;
}

int realinit_begin(struct boot *boot, struct idmap_error *ret_error)
{
	const struct idmap_cmdline *cmdline = &boot->cmdline;
	const char *would_run = cmdline->own_init ? cmdline->own_init : cmdline->init;
	idmap_closed int root_fd = -1;

	if (!cmdline->root.booted)
		return 0;
	root_fd = idmap_open("/", O_PATH | O_DIRECTORY);
	boot->init_is_us = !cmdline->own_init && cmdline->init && is_self(root_fd, cmdline->init);
	/* Reading two programs takes its time, and of most boots nothing has been noted yet. */
	if (boot->record_fd < 0)
		return 0;
	if (boot->init_is_us || !would_run)
		would_run = first_of_list(root_fd);
	return would_run && tell_was_started(boot, would_run) ? fail_again(would_run, ret_error)
							      : 0;
}

int realinit_find(struct boot *boot, struct idmap_error *ret_error)
{
	struct idmap_program program;
	int result = find(boot, &program, ret_error);

	/* A row may have brought it since. */
	if (!result && tell_was_started(boot, boot->init))
		return fail_again(boot->init, ret_error);
	if (!result && (program.uid == NOBODY || program.gid == NOBODY))
		idmap_stage_note_program(&boot->build.stage, boot->init, program.uid, program.gid);
	return result;
}
