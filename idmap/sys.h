/* SPDX-License-Identifier: MIT */
/*
 * The kernel interfaces that musl lacks, each with its source and the first Linux that has it.
 * Debian's musl-gcc comes without linux/ headers, so the few constants stand here; the numbers of
 * the calls are musl's own SYS_*.
 */
#ifndef IDMAP_SYS_H
#define IDMAP_SYS_H

#include <stdint.h>
#include <sys/syscall.h>
#include <unistd.h>

/* open_tree(2), move_mount(2), fsopen(2), fsconfig(2), fsmount(2): linux/mount.h, 5.2 */
#define OPEN_TREE_CLONE 1u
#define OPEN_TREE_CLOEXEC 02000000u
#define MOVE_MOUNT_F_EMPTY_PATH 0x04u
#define MOVE_MOUNT_T_EMPTY_PATH 0x40u
#define FSOPEN_CLOEXEC 1u
#define FSMOUNT_CLOEXEC 1u
enum { FSCONFIG_SET_FLAG = 0, FSCONFIG_SET_STRING = 1, FSCONFIG_CMD_CREATE = 6 };

/* linux/fcntl.h; musl has them only under _GNU_SOURCE or not at all */
#define SYS_AT_EMPTY_PATH 0x1000u
#define SYS_AT_RECURSIVE 0x8000u

/* mount_setattr(2): linux/mount.h, 5.12 */
#define MOUNT_ATTR_IDMAP 0x100000u
struct sys_mount_attr {
	uint64_t attr_set, attr_clr, propagation, userns_fd;
};

/* openat2(2): linux/openat2.h, 5.6 */
#define RESOLVE_NO_XDEV 0x01u
#define RESOLVE_IN_ROOT 0x10u
struct sys_open_how {
	uint64_t flags, mode, resolve;
};

static inline int sys_open_tree(int fd, const char *path, unsigned int flags)
{
	return (int)syscall(SYS_open_tree, fd, path, flags);
}

static inline int sys_move_mount(int from_fd, const char *from, int to_fd, const char *to,
				 unsigned int flags)
{
	return (int)syscall(SYS_move_mount, from_fd, from, to_fd, to, flags);
}

static inline int sys_fsopen(const char *type, unsigned int flags)
{
	return (int)syscall(SYS_fsopen, type, flags);
}

static inline int sys_fsconfig(int fd, int command, const char *key, const char *value)
{
	return (int)syscall(SYS_fsconfig, fd, command, key, value, 0);
}

static inline int sys_fsmount(int fd, unsigned int flags, unsigned int attr)
{
	return (int)syscall(SYS_fsmount, fd, flags, attr);
}

static inline int sys_mount_setattr(int fd, const char *path, unsigned int flags,
				    struct sys_mount_attr *attr)
{
	return (int)syscall(SYS_mount_setattr, fd, path, flags, attr, sizeof(*attr));
}

static inline int sys_openat2(int fd, const char *path, struct sys_open_how *how)
{
	return (int)syscall(SYS_openat2, fd, path, how, sizeof(*how));
}

#endif
