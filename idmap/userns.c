// SPDX-License-Identifier: MIT
/*
 * Map -> user namespace. mount_setattr(2) takes a map only as a user namespace, and a user
 * namespace is born only with a process in it: a helper that shares our memory, does nothing,
 * and is killed and reaped as soon as its namespace is held open.
 */
#define _GNU_SOURCE
#include <errno.h>
#include <fcntl.h>
#include <sched.h>
#include <signal.h>
#include <sys/wait.h>
#include <unistd.h>

#include "idmap.h"

static int helper(void *unused)
{
	(void)unused;
	while (pause())
		;
	return 0;
}

/* errno of clone(2) as user_namespaces(7) explains it; 0 or more is the helper's pid. */
static int start_helper(struct idmap_error *ret_error)
{
	static char stack[1024] __attribute__((aligned(16)));
	const char *remedy;
	int pid = clone(helper, stack + sizeof(stack),
			CLONE_NEWUSER | CLONE_VM | CLONE_FILES | SIGCHLD, NULL);
	int error = errno;

	if (pid >= 0)
		return pid;
	switch (error) {
	case EINVAL:
	case ENOSYS:
		remedy = "build the kernel with CONFIG_USER_NS=y";
		break;
	case ENOSPC:
	case EUSERS:
		remedy = "raise /proc/sys/user/max_user_namespaces";
		break;
	case EPERM:
		remedy = "run it as root, and not in a chroot";
		break;
	default:
		remedy = "give the machine more memory";
	}
	return idmap_fail(ret_error, IDMAP_NO_MAP, error, "no user namespace for a map (%s); %s",
			  idmap_errno_text(error), remedy);
}

/* Writes one map of the process; the kernel takes it in a single write. */
static int write_map(int pid, const char *file, const struct idmap_map *map, enum idmap_kind kind,
		     struct idmap_error *ret_error)
{
	char path[40], buffer[IDMAP_MAP_TEXT_SIZE];
	size_t size = idmap_map_text(map, kind, buffer, sizeof(buffer));
	struct idmap_text text;
	ssize_t written;

	idmap_text_init(&text, path, sizeof(path));
	idmap_text_add(&text, "/proc/%d/%s", pid, file);
	idmap_closed int fd = open(path, O_WRONLY | O_CLOEXEC);
	written = fd < 0 ? -1 : write(fd, buffer, size);
	if (written == (ssize_t)size)
		return 0;
	return idmap_fail(ret_error, IDMAP_NO_MAP, written < 0 ? errno : EIO,
			  "%s of %u extents is refused (%s); %s", path, map->extents[kind],
			  idmap_errno_text(written < 0 ? errno : EIO),
			  fd < 0 ? "mount /proc"
				 : "Linux before 4.15 takes 5 extents, later ones 340");
}

static int hold_namespace(int pid, const struct idmap_map *map, struct idmap_error *ret_error)
{
	struct idmap_text text;
	char path[40];
	int fd, result;

	result = write_map(pid, "uid_map", map, IDMAP_UID, ret_error);
	if (!result)
		result = write_map(pid, "gid_map", map, IDMAP_GID, ret_error);
	if (result)
		return result;
	idmap_text_init(&text, path, sizeof(path));
	idmap_text_add(&text, "/proc/%d/ns/user", pid);
	fd = open(path, O_RDONLY | O_CLOEXEC);
	if (fd < 0)
		return idmap_fail(ret_error, IDMAP_NO_MAP, errno,
				  "%s does not open (%s); mount /proc", path,
				  idmap_errno_text(errno));
	return fd;
}

int idmap_userns(struct idmap_map *map, struct idmap_error *ret_error)
{
	int pid, fd;

	if (map->userns_fd >= 0)
		return 0;
	pid = start_helper(ret_error);
	if (pid < 0)
		return pid;
	fd = hold_namespace(pid, map, ret_error);
	kill(pid, SIGKILL);
	while (waitpid(pid, NULL, 0) < 0 && errno == EINTR)
		;
	if (fd < 0)
		return fd;
	map->userns_fd = fd;
	return 0;
}

void idmap_userns_put(struct idmap_map *map)
{
	if (map && !--map->users)
		idmap_close(&map->userns_fd);
}
