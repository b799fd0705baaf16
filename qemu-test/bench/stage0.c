// SPDX-License-Identifier: MIT
/*
 * PID 1 before the contestants, the same for all: loads and deletes the drivers, waits until the
 * disk opens, waits until the kernel is at rest, stamps, and becomes /stage1 with everything that
 * the kernel gave to it. What it leaves is an initramfs where nothing is mounted, as the kernel
 * leaves it. In boots that a clock on the host measures it only loads the drivers.
 */
#include <fcntl.h>
#include <stdbool.h>
#include <string.h>
#include <sys/io.h>
#include <sys/mount.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <time.h>
#include <unistd.h>

#include "bench.h"

#define LINE_SIZE 4096
#define REST "rest"
#define TRACE "trace"
#define REST_MS 300

/* /stage0: a line a module, /lib/...; a device to wait for, /devices/...; or TRACE, or REST. */
static char list[LINE_SIZE];

static void load(const char *path)
{
	int fd = open(path, O_RDONLY | O_CLOEXEC);

	syscall(SYS_finit_module, fd, "", 0);
	close(fd);
	unlink(path);
}

static void await(const char *path)
{
	const struct timespec pause = {.tv_nsec = 10000000};
	int fd;

	while ((fd = open(path, O_RDONLY | O_CLOEXEC)) < 0)
		nanosleep(&pause, NULL);
	close(fd);
}

static void write_text(const char *path, const char *text)
{
	int fd = open(path, O_WRONLY | O_CLOEXEC);

	write(fd, text, strlen(text));
	close(fd);
}

/*
 * From here on the kernel writes down each system call, its entry and its exit, by the counter that
 * instructions() reads. It goes on without its filesystem.
 */
static void trace(void)
{
	mkdir("/trace", 0700);
	mount("tracefs", "/trace", "tracefs", 0, "");
	write_text("/trace/trace_clock", "x86-tsc");
	write_text("/trace/options/record-cmd", "0"); /* nothing at a switch of tasks */
	write_text("/trace/events/raw_syscalls/enable", "1");
	umount2("/trace", 0);
	rmdir("/trace");
}

/* True if it is to be measured from here. */
static bool prepare(void)
{
	const struct timespec rest = {.tv_nsec = REST_MS * 1000000};
	int fd = open("/stage0", O_RDONLY | O_CLOEXEC);
	char *line, *end;
	bool rested = false;

	read(fd, list, sizeof(list) - 1);
	close(fd);
	unlink("/stage0");
	mkdir("/devices", 0700);
	mount("devtmpfs", "/devices", "devtmpfs", 0, "");
	for (line = list; *line; line = end + 1) {
		for (end = line; *end != '\n';)
			end++;
		*end = 0;
		if (!strcmp(line, REST))
			rested = true;
		else if (!strcmp(line, TRACE))
			trace();
		else if (line[1] == 'l')
			load(line);
		else
			await(line);
	}
	umount2("/devices", 0);
	rmdir("/devices");
	if (rested)
		nanosleep(&rest, NULL);
	return rested;
}

int main(int argc, char **argv, char **envp)
{
	(void)argc;
	if (prepare()) {
		iopl(3);
		tell(instructions());
	}
	execve("/stage1", argv, envp);
	return 1;
}
