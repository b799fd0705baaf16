/* SPDX-License-Identifier: MIT */
/*
 * What Linux has and musl 1.2.3 lacks: calls, by syscall(2), and constants, since Debian's musl-gcc
 * comes without linux/ headers. Newer C libraries bring some of them, hence each #ifndef. Every
 * call gives what the kernel gives, or -1 with errno.
 */
#ifndef SYS_H
#define SYS_H

#include <fcntl.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/syscall.h>
#include <unistd.h>

/* open_tree(2), move_mount(2), fsopen(2), fspick(2) and their kin: linux/mount.h, 5.2 */
#ifndef OPEN_TREE_CLONE
#define OPEN_TREE_CLONE 1u
#endif
#ifndef OPEN_TREE_CLOEXEC
#define OPEN_TREE_CLOEXEC O_CLOEXEC
#endif
#ifndef MOVE_MOUNT_F_EMPTY_PATH
#define MOVE_MOUNT_F_EMPTY_PATH 0x04u
#endif
#ifndef MOVE_MOUNT_T_SYMLINKS
#define MOVE_MOUNT_T_SYMLINKS 0x10u
#endif
#ifndef MOVE_MOUNT_T_EMPTY_PATH
#define MOVE_MOUNT_T_EMPTY_PATH 0x40u
#endif
#ifndef FSOPEN_CLOEXEC
#define FSOPEN_CLOEXEC 1u
#endif
#ifndef FSMOUNT_CLOEXEC
#define FSMOUNT_CLOEXEC 1u
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
#ifndef FSCONFIG_CMD_RECONFIGURE
#define FSCONFIG_CMD_RECONFIGURE 7
#endif
#ifndef FSPICK_EMPTY_PATH
#define FSPICK_EMPTY_PATH 0x8u
#endif

/* The flags that statfs(2) gives have their names in sys/statvfs.h; but this one: 5.10 */
#ifndef ST_NOSYMFOLLOW
#define ST_NOSYMFOLLOW 0x2000
#endif

/* linux/fcntl.h, 5.2 */
#ifndef AT_RECURSIVE
#define AT_RECURSIVE 0x8000
#endif

/* mount_setattr(2): linux/mount.h, 5.12 */
#ifndef MOUNT_ATTR_IDMAP
#define MOUNT_ATTR_IDMAP 0x100000u
#endif
struct sys_mount_attr { /* struct mount_attr, which newer C libraries have */
	uint64_t attr_set, attr_clr, propagation, userns_fd;
};

/* open_tree_attr(2): asm/unistd.h, 6.15, the same number everywhere */
#ifndef SYS_open_tree_attr
#define SYS_open_tree_attr 467
#endif

/* openat2(2): linux/openat2.h, 5.6 */
#ifndef RESOLVE_NO_XDEV
#define RESOLVE_NO_XDEV 0x01u
#endif
#ifndef RESOLVE_NO_SYMLINKS
#define RESOLVE_NO_SYMLINKS 0x04u
#endif
#ifndef RESOLVE_IN_ROOT
#define RESOLVE_IN_ROOT 0x10u
#endif
struct sys_open_how { /* struct open_how, likewise */
	uint64_t flags, mode, resolve;
};

static inline int sys_openat2(int fd, const char *path, struct sys_open_how *how)
{
	return (int)syscall(SYS_openat2, fd, path, how, sizeof(*how));
}

static inline int sys_open_tree(int fd, const char *path, unsigned int flags)
{
	return (int)syscall(SYS_open_tree, fd, path, flags);
}

static inline int sys_open_tree_attr(int fd, const char *path, unsigned int flags,
				     struct sys_mount_attr *attr)
{
	return (int)syscall(SYS_open_tree_attr, fd, path, flags, attr, sizeof(*attr));
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

static inline int sys_fspick(int fd, const char *path, unsigned int flags)
{
	return (int)syscall(SYS_fspick, fd, path, flags);
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

/* 5.8. musl's faccessat() knows it too, with a child process to fall back on. */
static inline int sys_faccessat2(int fd, const char *path, int mode, unsigned int flags)
{
	return (int)syscall(SYS_faccessat2, fd, path, mode, flags);
}

static inline int sys_pivot_root(const char *root, const char *old)
{
	return (int)syscall(SYS_pivot_root, root, old);
}

static inline int sys_finit_module(int fd, const char *options)
{
	return (int)syscall(SYS_finit_module, fd, options, 0);
}

#endif
