// SPDX-License-Identifier: MIT
/*
 * PID 1 before the contestants, the same for all: loads and deletes the drivers, waits until the
 * disk opens, waits until the kernel is at rest, stamps, and becomes /stage1 with everything that
 * the kernel gave to it. What it leaves is an initramfs where nothing is mounted, as the kernel
 * leaves it. In boots that a clock on the host measures it only loads the drivers.
 */
#include <stdbool.h>
#include <string.h>
#include <sys/mount.h>

#include "bench.h"

#define LINE_SIZE 4096
#define REST "rest"
#define REST_MS 300

/* /stage0: a line a module, /lib/...; a device to wait for, /devices/...; or REST. */
static char list[LINE_SIZE];

static void load(const char *path)
{
	int fd = sys_open(path, O_RDONLY | O_CLOEXEC, 0);

	sys_finit_module(fd, "");
	sys_close(fd);
	sys_unlinkat(AT_FDCWD, path, 0);
}

static void await(const char *path)
{
	const struct timespec pause = {.tv_nsec = 10000000};
	int fd;

	while ((fd = sys_open(path, O_RDONLY | O_CLOEXEC, 0)) < 0)
		sys_nanosleep(&pause);
	sys_close(fd);
}

/* True if it is to be measured from here. */
static bool prepare(void)
{
	const struct timespec rest = {.tv_nsec = REST_MS * 1000000};
	int fd = sys_open("/stage0", O_RDONLY | O_CLOEXEC, 0);
	char *line, *end;
	bool rested = false;

	sys_read(fd, list, sizeof(list) - 1);
	sys_close(fd);
	sys_unlinkat(AT_FDCWD, "/stage0", 0);
	sys_mkdirat(AT_FDCWD, "/devices", 0700);
	sys_mount("devtmpfs", "/devices", "devtmpfs", 0, "");
	for (line = list; *line; line = end + 1) {
		for (end = line; *end != '\n';)
			end++;
		*end = 0;
		if (!strcmp(line, REST))
			rested = true;
		else if (line[1] == 'l')
			load(line);
		else
			await(line);
	}
	sys_umount2("/devices", 0);
	sys_unlinkat(AT_FDCWD, "/devices", AT_REMOVEDIR);
	if (rested)
		sys_nanosleep(&rest);
	return rested;
}

int main(int argc, char **argv, char **envp)
{
	(void)argc;
	if (prepare()) {
		may_tell();
		tell(instructions());
	}
	sys_execve("/stage1", argv, envp);
	return 1;
}
