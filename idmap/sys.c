// SPDX-License-Identifier: MIT
/*
 * Those calls of sys.h that are made in so many places that a function is shorter.
 */
#include "sys.h"

int sys_open(const char *path, int flags, unsigned int mode)
{
	return (int)SYS(SYS_openat, AT_FDCWD, path, flags, mode);
}

long sys_write(int fd, const void *buffer, size_t size)
{
	return (long)SYS(SYS_write, fd, buffer, size);
}

int sys_unlinkat(int fd, const char *path, int flags)
{
	return (int)SYS(SYS_unlinkat, fd, path, flags);
}

int sys_move_mount(int from_fd, const char *from, int to_fd, const char *to, unsigned int flags)
{
	return (int)SYS(SYS_move_mount, from_fd, from, to_fd, to, flags);
}

int sys_fsconfig(int fd, int command, const char *key, const char *value)
{
	return (int)SYS(SYS_fsconfig, fd, command, key, value, 0);
}
