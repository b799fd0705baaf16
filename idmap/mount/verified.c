// SPDX-License-Identifier: MIT
/*
 * A filesystem whose blocks are verified becomes a tree.
 */
#include <errno.h>
#include <sys/stat.h>

#include "mount/mount.h"

/* What the filesystem's driver says is of no use if its blocks are not what they were. */
static int tell_corruption(const struct idmap_row *row, int log_fd, struct idmap_error *ret_error)
{
	struct idmap_text text;
	char words[200];

	idmap_text_init(&text, words, sizeof(words));
	idmap_klog_read(log_fd, &text);
	return idmap_fail(ret_error, row, IDMAP_NO_MOUNT, EIO,
			  "it is not what the root hash was made of, or damaged (%s); use that"
			  " image, or correct the root hash",
			  *words ? words : "dm-verity says so");
}

static int mount_by(const struct idmap_stage *stage, struct idmap_row *row, uint32_t attr,
		    const struct idmap_mapped *mapped, struct idmap_error *ret_error)
{
	const char *device = row->device;
	idmap_closed int log_fd = idmap_klog_begin();
	int fd;

	idmap_trace(stage->notes, "%s is verified as /dev/mapper/%s, for %s", row->source,
		    row->verity->name, row->target);
	row->device = mapped->path;
	fd = idmap_filesystem_mount(stage, row, attr, ret_error);
	row->device = device;
	if (fd < 0 && idmap_mapper_is_corrupted(mapped, row))
		return tell_corruption(row, log_fd, ret_error);
	return fd;
}

int idmap_verified_mount(const struct idmap_stage *stage, struct idmap_row *row, uint32_t attr,
			 struct idmap_error *ret_error)
{
	const char *hash;
	char path[IDMAP_LOOP_SIZE];
	idmap_closed int loop_fd = -1;
	struct idmap_mapped mapped;
	struct stat st;
	int result;

	if (!row->verity)
		return idmap_filesystem_mount(stage, row, attr, ret_error);
	hash = row->verity->hash_device;
	hash = hash ? idmap_device_found(row, hash) : row->device;
	if (!stat(hash, &st) && S_ISREG(st.st_mode)) {
		loop_fd = idmap_loop(hash, hash, path);
		if (loop_fd < 0)
			return idmap_loop_failed(row, loop_fd, ret_error);
		hash = path;
	}
	result = idmap_mapper_verify(stage->plan, row, hash, &mapped, ret_error);
	if (!result)
		result = mount_by(stage, row, attr, &mapped, ret_error);
	idmap_close(&mapped.fd);
	idmap_close(&mapped.control_fd);
	return result;
}
