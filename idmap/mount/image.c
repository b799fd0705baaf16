// SPDX-License-Identifier: MIT
/*
 * Image files. Where the kernel mounts a filesystem from a file by itself (erofs since 6.12) that
 * is asked for first; ENOTBLK, and not a version, tells that a loop device must stand between.
 * Files in the new root are looked up as a chrooted process would.
 */
#define _GNU_SOURCE
#include <errno.h>
#include <string.h>
#include <sys/stat.h>

#include "mount/bind.h"
#include "mount/standing.h"

#define SECTOR 512
#define LOOP_PATH "/dev/loop"

static int mount_by_loop(const struct idmap_stage *stage, struct idmap_row *row, uint32_t attr,
			 struct idmap_error *ret_error)
{
	char path[IDMAP_LOOP_SIZE];
	const char *file = row->device;
	struct idmap_standing standing;
	idmap_closed int loop_fd = -1;
	const char *holds;
	uint64_t number;
	struct stat st;
	int fd;

	/* Beside one that writes this one would show what was there before, or damage. */
	if (idmap_standing_of_file(file, &standing)) {
		idmap_fail(
			ret_error, row, IDMAP_NO_MOUNT, EBUSY,
			"the image file is mounted on %s already, rw; name %s as SOURCE, or unmount"
			" it first",
			standing.mount.target, standing.mount.source);
		idmap_standing_done(&standing);
		return -EBUSY;
	}
	/* A filesystem of xfs or btrfs is mounted once, but from one device as often as need be. */
	idmap_print(path, sizeof(path), LOOP_PATH "%u", row->loop - 1);
	if (row->loop && idmap_loop_has(path, file))
		loop_fd = idmap_open(path, O_RDONLY);
	else
		loop_fd = idmap_loop(file, row->inside ? row->inside : file, path);
	if (loop_fd < 0)
		return idmap_loop_failed(row, loop_fd, ret_error);
	if (!*idmap_read_digits(path + strlen(LOOP_PATH), 10, &number))
		row->loop = (uint32_t)number + 1;
	row->device = path;
	fd = idmap_verified_mount(stage, row, attr, ret_error);
	holds = fd == -EINVAL || fd == -EIO ? idmap_disks_type(path) : NULL;
	row->device = file;
	/* It is of the row's type, and what stands at its end is not there. */
	if (holds && (!strcmp(row->type, "auto") || idmap_type_has(row->type, holds)) &&
	    !row->verity && !stat(file, &st) && st.st_size % SECTOR)
		return idmap_fail(ret_error, row, IDMAP_NO_MOUNT, EINVAL,
				  "the image file's last %u bytes are missing on the loop device,"
				  " which has sectors of %u; pad the file to a multiple of that",
				  (uint32_t)(st.st_size % SECTOR), SECTOR);
	return fd;
}

int idmap_image_mount(struct idmap_stage *stage, struct idmap_row *row, uint32_t attr,
		      struct idmap_error *ret_error)
{
	const char *source = row->device;
	idmap_closed int file_fd = -1;
	char path[32];
	struct stat st;
	bool folder;
	int fd, result;

	/* A tag, and the word that a filesystem in memory has, may begin like a path. */
	if ((*source != '/' && !row->inside) || idmap_has_no_device(row->type))
		return idmap_filesystem_mount(stage, row, attr, ret_error);
	file_fd = row->inside ? idmap_open_source(stage, row, false, &folder)
			      : idmap_open(source, O_PATH);
	if (file_fd == IDMAP_BY_LINK)
		return file_fd;
	result = file_fd < 0 ? file_fd : or_errno(fstat(file_fd, &st));
	if ((!result || result == -ENOENT) && row->inside &&
	    idmap_check_same(stage, row, file_fd, ret_error))
		return -EINVAL;
	if (!result && row->inside && S_ISBLK(st.st_mode))
		return idmap_fail(ret_error, row, IDMAP_NO_SOURCE, ENODEV,
				  "it is a device node of the new root, which may be anybody's"
				  " making; name the device, as in /dev/vda");
	if (!result && S_ISBLK(st.st_mode))
		return idmap_verified_mount(stage, row, attr, ret_error);
	if (result) {
		idmap_fail(ret_error, row, IDMAP_NO_SOURCE, -result,
			   "the image file cannot be opened (%m); a path is one of the %s",
			   row->inside ? "new root's"
				       : "initramfs, root:/PATH one of the new root");
		ret_error->absent = result == -ENOENT;
		return result;
	}
	if (!S_ISREG(st.st_mode))
		return idmap_fail(ret_error, row, IDMAP_NO_SOURCE, ENOTBLK,
				  "it is neither a block device nor an image file; correct SOURCE,"
				  " or write the type bind for a folder of the new root");
	if (!(row->attr & IDMAP_RDONLY))
		return idmap_fail(ret_error, row, IDMAP_NO_MOUNT, EROFS,
				  "an image file is mounted read-only; write ro, or put a layer of"
				  " tmpfs on it");
	if (row->inside)
		row->device = idmap_print(path, sizeof(path), "/proc/self/fd/%u", file_fd);
	fd = row->verity ? -ENOTBLK : idmap_filesystem_mount(stage, row, attr, ret_error);
	/* What verifies stands between block devices. erofs from a file takes no device beside it
	 * (fs/erofs/super.c). */
	if (fd == -ENOTBLK || (fd == -EINVAL && idmap_row_part(row)))
		fd = mount_by_loop(stage, row, attr, ret_error);
	row->device = source;
	return fd;
}
