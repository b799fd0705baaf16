// SPDX-License-Identifier: MIT
/*
 * PID 1 before the contestants, the same for all: loads and deletes the drivers, waits until the
 * disks open, copies the first to a RAM disk, waits until the kernel is at rest, stamps, and
 * becomes /stage1 with everything that the kernel gave to it. What it leaves is an initramfs where
 * nothing is mounted, as the kernel leaves it. Without a RAM disk in its list it neither copies nor
 * rests nor stamps: it only loads the drivers, for boots that a clock on the host measures.
 */
#include <stdbool.h>
#include <string.h>
#include <sys/mount.h>

#include "bench.h"

#define LINE_SIZE 4096
#define REST_MS 300

/* /stage0: a path a line; modules first, then the devices to wait for. */
static char list[LINE_SIZE];

static void load(const char *path)
{
	int fd = sys_open(path, O_RDONLY | O_CLOEXEC, 0);

	sys_finit_module(fd, strstr(path, "/brd.ko") ? "rd_nr=1 rd_size=65536" : "");
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

/* The disk's waits depend on the host; those of a RAM disk do not. */
static void copy(const char *from, const char *to)
{
	static char buffer[16384];
	int from_fd = sys_open(from, O_RDONLY | O_CLOEXEC, 0);
	int to_fd = sys_open(to, O_WRONLY | O_CLOEXEC, 0);
	long n;

	while ((n = sys_read(from_fd, buffer, sizeof(buffer))) > 0)
		sys_write(to_fd, buffer, (size_t)n);
	sys_close(from_fd);
	sys_close(to_fd);
}

/* True if there is a RAM disk, with the disk's copy. */
static bool prepare(void)
{
	const struct timespec rest = {.tv_nsec = REST_MS * 1000000};
	int fd = sys_open("/stage0", O_RDONLY | O_CLOEXEC, 0);
	char *line, *end;
	bool ram = false;

	sys_read(fd, list, sizeof(list) - 1);
	sys_close(fd);
	sys_unlinkat(AT_FDCWD, "/stage0", 0);
	sys_mkdirat(AT_FDCWD, "/devices", 0700);
	sys_mount("devtmpfs", "/devices", "devtmpfs", 0, "");
	for (line = list; *line; line = end + 1) {
		for (end = line; *end != '\n';)
			end++;
		*end = 0;
		if (line[1] == 'l') /* /lib/modules/... */
			load(line);
		else
			await(line);
		ram |= !strcmp(line, "/devices/ram0");
	}
	if (ram)
		copy("/devices/vda", "/devices/ram0");
	sys_umount2("/devices", 0);
	sys_unlinkat(AT_FDCWD, "/devices", AT_REMOVEDIR);
	if (ram)
		sys_nanosleep(&rest);
	return ram;
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
