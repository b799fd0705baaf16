// SPDX-License-Identifier: MIT
/*
 * Devices of the /dev that we were given or have mounted. A name in it may be anything, since an
 * image may have a /dev of its own making, so each is known by its number, and none is opened in a
 * way that waits.
 */
#define _GNU_SOURCE
#include <fcntl.h>
#include <sys/ioctl.h>
#include <unistd.h>

#include "device/device.h"
#include "init.h"
#include "mount/mount.h"

/* The folder, wherever it stands by now; -1 before dev_begin(). */
static int dev_fd = -1;

void dev_begin(void)
{
	dev_fd = idmap_open("/dev", O_PATH | O_DIRECTORY);
}

int dev_open(const char *name, int flags, uint32_t major, uint32_t minor)
{
	return idmap_open_device(dev_fd, name, flags, major, minor);
}

/*
 * The kernel leaves 0 to 2 closed when the initramfs has no /dev/console, and else opens the one in
 * the initramfs: that would keep the whole of it in memory, and be a deleted file to the real init.
 */
bool dev_console(void)
{
	int fd = dev_open("console", O_RDWR, 5, 1), off = 0, target;
	const bool is_console = fd >= 0;

	if (!is_console)
		fd = dev_open("null", O_RDWR, 1, 3);
	if (fd < 0)
		return false;
	ioctl(fd, FIONBIO, &off); /* whoever inherits it wants to wait, */
	ioctl(fd, FIONCLEX);	  /* and to keep it */
	for (target = 0; target <= STDERR_FILENO; target++)
		if (target != fd)
			dup2(fd, target);
	if (fd > STDERR_FILENO)
		close(fd);
	return is_console;
}

void dev_follow(void)
{
	int fd = idmap_open("/dev", O_PATH | O_DIRECTORY);

	if (fd >= 0 && idmap_same_file(fd, dev_fd)) {
		idmap_close(&dev_fd);
		dev_fd = fd;
		dev_console();
	} else {
		idmap_close(&fd);
	}
}
