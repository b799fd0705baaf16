/* SPDX-License-Identifier: MIT */
/*
 * What the mount calls of Linux 5.2 and later take. musl 1.2.3 has their numbers and nothing else
 * of them, and its headers come without linux/. Newer C libraries have some of these, so each is
 * under #ifndef.
 */
#ifndef CALLS_H
#define CALLS_H

#include <fcntl.h>
#include <stdint.h>
#include <sys/mount.h>

/* open_tree(2), move_mount(2), fsopen(2), fsconfig(2), fsmount(2): linux/mount.h, 5.2 */
#ifndef OPEN_TREE_CLONE
#define OPEN_TREE_CLONE 1
#endif
#ifndef OPEN_TREE_CLOEXEC
#define OPEN_TREE_CLOEXEC O_CLOEXEC
#endif
#ifndef MOVE_MOUNT_F_EMPTY_PATH
#define MOVE_MOUNT_F_EMPTY_PATH 0x04
#endif
#ifndef FSOPEN_CLOEXEC
#define FSOPEN_CLOEXEC 1
#endif
#ifndef FSMOUNT_CLOEXEC
#define FSMOUNT_CLOEXEC 1
#endif
#ifndef FSCONFIG_SET_FLAG
#define FSCONFIG_SET_FLAG 0
#endif
#ifndef FSCONFIG_SET_STRING
#define FSCONFIG_SET_STRING 1
#endif
#ifndef FSCONFIG_CMD_CREATE
#define FSCONFIG_CMD_CREATE 6
#endif
#ifndef MOUNT_ATTR_RDONLY
#define MOUNT_ATTR_RDONLY 0x01
#endif
#ifndef MOUNT_ATTR_NOSUID
#define MOUNT_ATTR_NOSUID 0x02
#endif
#ifndef MOUNT_ATTR_NODEV
#define MOUNT_ATTR_NODEV 0x04
#endif

/* mount_setattr(2): linux/mount.h, 5.12. The struct has a name of its own, as it is no macro. */
#ifndef MOUNT_ATTR_IDMAP
#define MOUNT_ATTR_IDMAP 0x100000
#endif
struct attributes {
	uint64_t attr_set, attr_clr, propagation, userns_fd;
};

#endif
