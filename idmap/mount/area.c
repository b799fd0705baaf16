// SPDX-License-Identifier: MIT
/*
 * The area: a small tmpfs in the workshop, with a folder for each tree that has to be attached for
 * a while. Before 7.x an overlay takes no layer that is not attached somewhere, and a folder of a
 * mount cannot be cloned before the mount is attached.
 */
#define _GNU_SOURCE
#include <errno.h>
#include <sys/mount.h>
#include <sys/stat.h>

#include "mount/mount.h"

static int open_area(struct idmap_views *views)
{
	idmap_closed int fs_fd = -1;
	int fd, result;

	if (views->area_fd >= 0)
		return 0;
	fs_fd = or_errno(sys_fsopen("tmpfs", FSOPEN_CLOEXEC));
	result = fs_fd < 0 ? fs_fd : or_errno(sys_fsconfig(fs_fd, FSCONFIG_CMD_CREATE, NULL, NULL));
	if (result)
		return result;
	fd = or_errno(sys_fsmount(fs_fd, FSMOUNT_CLOEXEC, 0));
	if (fd < 0)
		return fd;
	result = idmap_attach_at(views, IDMAP_AREA, fd);
	if (result)
		idmap_close(&fd);
	views->area_fd = fd;
	return result;
}

static const char *slot_name(uint32_t slot, char buffer[12])
{
	return idmap_print(buffer, 12, "%u", slot);
}

int idmap_area_put(struct idmap_views *views, int tree_fd, uint32_t *ret_slot)
{
	int result = open_area(views);
	char name[12];

	if (result)
		return result;
	*ret_slot = views->slots++;
	if (mkdirat(views->area_fd, slot_name(*ret_slot, name), 0700))
		return -errno;
	return or_errno(sys_move_mount(tree_fd, "", views->area_fd, name, MOVE_MOUNT_F_EMPTY_PATH));
}

void idmap_area_take(const struct idmap_views *views, uint32_t slot)
{
	char name[12];

	if (!fchdir(views->area_fd))
		umount2(slot_name(slot, name), MNT_DETACH | UMOUNT_NOFOLLOW);
	chdir("/");
}
