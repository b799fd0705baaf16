// SPDX-License-Identifier: MIT
/*
 * Whether a program can be run in a root, and whose fault it is if not. Asked before the old root
 * is given up, because afterwards nothing is left that could tell: execve(2) answers a missing
 * interpreter like a missing file.
 */
#define _GNU_SOURCE
#include <errno.h>
#include <sched.h>
#include <signal.h>
#include <string.h>
#include <sys/ptrace.h>
#include <sys/stat.h>
#include <sys/statfs.h>
#include <sys/statvfs.h>
#include <sys/wait.h>

#include "mount/format.h"
#include "mount/program.h"

#ifndef ST_NOSYMFOLLOW
#define ST_NOSYMFOLLOW 0x2000 /* linux/statfs.h, 5.10 */
#endif

/* The linker's: this program in memory, from its first byte. */
extern const char __ehdr_start[] __attribute__((visibility("hidden")));

/* --- a trial --------------------------------------------------------------------------------- */

struct trial {
	int root_fd, result;
	const char *path;
};

/* The helper's part: what execve(2) runs is stopped before its first instruction. */
static int try_to_exec(void *arg)
{
	struct trial *trial = arg;
	char *argv[] = {(char *)(uintptr_t)trial->path, NULL};

	if (fchdir(trial->root_fd) || chroot(".") || ptrace(PTRACE_TRACEME, 0, NULL, NULL))
		return 0; /* then the exec itself will tell */
	execve(trial->path, argv, argv + 1);
	trial->result = -errno;
	return 0;
}

/*
 * Whether the kernel runs a program of another machine: it may well, by compatibility or by
 * binfmt_misc(5), and it alone knows. 0 or -errno.
 */
static int try_foreign(int root_fd, const char *path)
{
	static char stack[4096] __attribute__((aligned(16))); /* it grows down */
	struct trial trial = {.root_fd = root_fd, .path = path};
	int status, pid = clone(try_to_exec, stack + sizeof(stack),
				CLONE_VM | CLONE_VFORK | SIGCHLD, &trial);

	if (pid < 0)
		return 0;
	if (waitpid(pid, &status, 0) == pid && WIFSTOPPED(status)) {
		kill(pid, SIGKILL);
		waitpid(pid, &status, 0);
	}
	return trial.result;
}

/* --- looks ----------------------------------------------------------------------------------- */

/* The same question as execve(2)'s: a file, a mode for root, no noexec. */
static int check_mode(int fd, struct idmap_program *ret)
{
	struct statfs fs;
	struct stat st;

	if (fstat(fd, &st))
		return -errno;
	if (ret) { /* an interpreter's owner is its own affair */
		ret->uid = st.st_uid;
		ret->gid = st.st_gid;
	}
	if (S_ISDIR(st.st_mode))
		return -EISDIR;
	if (!S_ISREG(st.st_mode)) {
		if (ret)
			idmap_print(ret->fault, sizeof(ret->fault),
				    "it is a device, a FIFO or a socket; name a program");
		return -EACCES;
	}
	/* An older kernel than 5.8 leaves the question to the exec. */
	if (!sys_faccessat2(fd, "", X_OK, AT_EMPTY_PATH) || errno == ENOSYS)
		return 0;
	if (ret && errno == EACCES && !fstatfs(fd, &fs) && fs.f_flags & ST_NOEXEC)
		idmap_print(ret->fault, sizeof(ret->fault),
			    "what it lies on is noexec; take that out of the row");
	return -EACCES;
}

/* Whether what a link lies on is nosymfollow, which the kernel tells as too many links. */
static bool is_closed_link(int root_fd, const char *path)
{
	char folder[PATH_MAX];
	struct statfs fs;
	char *slash;

	idmap_print(folder, sizeof(folder), "%s", path);
	while ((slash = strrchr(folder, '/'))) {
		idmap_closed int fd = -1;

		/* The first folder that can be reached is the link's. */
		slash[slash == folder] = 0;
		fd = idmap_open_inside(root_fd, folder, O_PATH | O_DIRECTORY, 0);
		if (fd >= 0)
			return !fstatfs(fd, &fs) && fs.f_flags & ST_NOSYMFOLLOW;
		*slash = 0;
	}
	return false;
}

/* Reads the front and what it says. A file that can be run and not read says nothing. */
static int read_front(int root_fd, const char *path, char head[FORMAT_HEAD_SIZE + 1],
		      struct idmap_format *format)
{
	idmap_closed int fd = idmap_open_inside(root_fd, path, O_RDONLY, 0);
	long size = fd < 0 ? -1 : read(fd, head, FORMAT_HEAD_SIZE);

	*format = (struct idmap_format){.machine = 0};
	return size < 0 ? 0 : idmap_format_read(head, (size_t)size, format);
}

/* Whether the kernel runs it though it is made for another machine than we are. */
static int check_machine(int root_fd, const char *path, const struct idmap_format *format,
			 struct idmap_program *ret)
{
	struct idmap_format own;
	int result;

	idmap_format_read(__ehdr_start, FORMAT_ELF_SIZE, &own);
	if (!format->machine || format->machine == own.machine)
		return 0;
	result = try_foreign(root_fd, path);
	if (result == -ENOEXEC)
		idmap_print(ret->fault, sizeof(ret->fault),
			    "it is for another machine (%u in ELF's numbers, and this is %u: see"
			    " readelf -h); name a program for this one",
			    format->machine, own.machine);
	return result;
}

static int check(struct idmap_stage *stage, const char *path, int depth, struct idmap_program *ret)
{
	const int root_fd = stage->seen_fd;
	idmap_closed int fd = -1;
	struct idmap_format format;
	char head[FORMAT_HEAD_SIZE + 1] = "";
	int result;

	idmap_stage_bring(stage, path);
	fd = idmap_open_inside(root_fd, path, O_PATH, 0);
	result = fd < 0 ? fd : check_mode(fd, depth ? NULL : ret);
	if (result == -ELOOP && is_closed_link(root_fd, path))
		idmap_print(ret->fault, sizeof(ret->fault),
			    "a link on the way lies on what is nosymfollow; take that out of the"
			    " row");
	if (result)
		return result;
	if (depth == FORMAT_DEPTH_MOST)
		return -ELOOP;
	result = read_front(root_fd, path, head, &format);
	if (!depth)
		ret->is_like_us = !memcmp(head, __ehdr_start, FORMAT_ELF_SIZE);
	if (!result)
		result = check_machine(root_fd, path, &format, ret);
	/* What the exec did not find may be the loader. */
	if ((!result || result == -ENOENT) && *format.interpreter) {
		result = check(stage, format.interpreter, depth + 1, ret);
		if (result && !*ret->interpreter)
			memcpy(ret->interpreter, format.interpreter, sizeof(ret->interpreter));
	}
	if (result && format.fault && !*ret->fault)
		idmap_print(ret->fault, sizeof(ret->fault), "%s", format.fault);
	return result;
}

int idmap_program_check(struct idmap_stage *stage, const char *path, struct idmap_program *ret)
{
	memset(ret, 0, sizeof(*ret));
	return check(stage, path, 0, ret);
}
