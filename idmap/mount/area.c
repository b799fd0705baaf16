// SPDX-License-Identifier: MIT
/*
 * The area: a small tmpfs in the workshop, with a folder for each tree that has to be attached for
 * a while. Before 7.x an overlay takes no layer that is not attached somewhere, and a folder of a
 * mount cannot be cloned before the mount is attached.
 */
#define _GNU_SOURCE
#include <errno.h>
#include <sys/stat.h>

#include "mount/mount.h"

static int open_area(struct idmap_stage *stage)
{
	idmap_closed int fs_fd = -1;
	idmap_closed int fd = -1;
	int result;

	if (stage->area_fd >= 0)
		return 0;
	fs_fd = or_errno(sys_fsopen("tmpfs", FSOPEN_CLOEXEC));
	result = fs_fd < 0 ? fs_fd : or_errno(sys_fsconfig(fs_fd, FSCONFIG_CMD_CREATE, NULL, NULL));
	if (result)
		return result;
	fd = or_errno(sys_fsmount(fs_fd, FSMOUNT_CLOEXEC, 0));
	return fd < 0 ? fd : idmap_attach_at(stage, IDMAP_AREA, &fd);
}

struct idmap_slot_name idmap_slot_name(uint32_t slot, const char *folder)
{
	struct idmap_slot_name name;

	idmap_print(name.text, sizeof(name.text), *folder ? "%u/%s" : "%u", slot, folder);
	return name;
}

int idmap_area_put(struct idmap_stage *stage, int tree_fd, uint32_t *ret_slot)
{
	int result = open_area(stage);
	struct idmap_slot_name name;

	if (result)
		return result;
	*ret_slot = stage->slots++;
	name = idmap_slot_name(*ret_slot, "");
	if (mkdirat(stage->area_fd, name.text, 0700))
		return -errno;
	return or_errno(
		sys_move_mount(tree_fd, "", stage->area_fd, name.text, MOVE_MOUNT_F_EMPTY_PATH));
}

int idmap_area_failed(const struct idmap_row *row, int error, struct idmap_error *ret_error)
{
	static const struct idmap_words remedies[] = {
		{ENOSPC, "raise the limit of mounts, sysctl.fs.mount-max="},
		{0, "build the kernel with CONFIG_TMPFS, and give the machine memory"},
	};

	return idmap_fail(ret_error, row, IDMAP_BAD_SYSTEM, error,
			  "there is no place to keep it until it is mounted (%m); %s",
			  idmap_words_for(remedies, (uint32_t)error));
}
