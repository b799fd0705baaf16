// SPDX-License-Identifier: MIT
/*
 * A file becomes a block device, by loop(4).
 */
#define _GNU_SOURCE
#include <errno.h>
#include <fcntl.h>
#include <sys/ioctl.h>
#include <sys/stat.h>

#include "device/device.h"

/* loop(4): linux/loop.h, 5.8 */
#define LOOP_CONFIGURE 0x4c0a
#define LOOP_GET_STATUS64 0x4c05
#define LOOP_CTL_GET_FREE 0x4c82
enum { LO_FLAGS_READ_ONLY = 1, LO_FLAGS_AUTOCLEAR = 4 };
struct loop_info {
	uint64_t device, inode, rdevice, offset, size_limit;
	uint32_t number, encrypt_type, encrypt_key_size, flags;
	char file_name[64], crypt_name[64], encrypt_key[32];
	uint64_t init[2];
};
struct loop_config {
	uint32_t fd, block_size;
	struct loop_info info;
	uint64_t reserved[8];
};

#define LOOP_TRIES 16 /* others may take the free device first */

int idmap_loop_failed(const struct idmap_row *row, int error, struct idmap_error *ret_error)
{
	return idmap_fail(ret_error, row, IDMAP_NO_MOUNT, -error,
			  "the image file gets no loop device (%m); load the module loop"
			  " (mkinitramfs -m loop)");
}

int idmap_loop(const char *file, const char *name, char ret_path[IDMAP_LOOP_SIZE])
{
	idmap_closed int control_fd = idmap_open("/dev/loop-control", O_RDWR);
	idmap_closed int file_fd = idmap_open(file, O_RDONLY);
	struct loop_config config = {
		.fd = (uint32_t)file_fd,
		.info.flags = LO_FLAGS_READ_ONLY | LO_FLAGS_AUTOCLEAR,
	};
	int number, loop_fd, result = -EBUSY, tries;

	if (control_fd < 0)
		return control_fd;
	if (file_fd < 0)
		return file_fd;
	idmap_print(config.info.file_name, sizeof(config.info.file_name), "%s", name);
	for (tries = 0; result == -EBUSY && tries < LOOP_TRIES; tries++) {
		number = or_errno(ioctl(control_fd, LOOP_CTL_GET_FREE));
		if (number < 0)
			return number;
		idmap_print(ret_path, IDMAP_LOOP_SIZE, "/dev/loop%u", number);
		loop_fd = idmap_open(ret_path, O_RDONLY);
		if (loop_fd < 0)
			return loop_fd;
		result = or_errno(ioctl(loop_fd, LOOP_CONFIGURE, &config));
		if (!result)
			return loop_fd;
		idmap_close(&loop_fd);
	}
	return result;
}

bool idmap_loop_has(const char *device, const char *file)
{
	idmap_closed int loop_fd = idmap_open(device, O_RDONLY);
	struct loop_info info;
	struct stat st;

	return loop_fd >= 0 && !ioctl(loop_fd, LOOP_GET_STATUS64, &info) && !stat(file, &st) &&
	       info.device == st.st_dev && info.inode == st.st_ino;
}
