// SPDX-License-Identifier: MIT
/*
 * Map -> user namespace. mount_setattr(2) takes a map only as a user namespace, and a user
 * namespace is born only with a process in it: a helper that shares our memory, does nothing,
 * and is killed and reaped as soon as its namespace is held open.
 */
#define _GNU_SOURCE
#include <errno.h>
#include <sched.h>
#include <signal.h>

#include <sys/prctl.h>
#include <sys/wait.h>
#include <unistd.h>

#include "mount/mount.h"

/*
 * Only a signal that kills ends it, and whatever kills its parent does: what that has open it has
 * open, too, a lock for one.
 */
static int sleep_forever(void *parent)
{
	prctl(PR_SET_PDEATHSIG, SIGKILL);
	while (getppid() == *(const int *)parent)
		pause();
	return 0;
}

/*
 * The helper's pid, or -errno explained as user_namespaces(7) and clone(2) have it. It shares our
 * memory, since copying the page tables for a fork takes longer than all the rest.
 */
static int start_helper(const struct idmap_row *row, struct idmap_error *ret_error)
{
	static const struct idmap_words remedies[] = {
		{EINVAL, "build the kernel with CONFIG_USER_NS=y"},
		{ENOSYS, "build the kernel with CONFIG_USER_NS=y"},
		{ENOSPC,
		 "raise sysctl.user.max_user_namespaces= on the kernel command line, or take it out"},
		{EPERM, "run it as root, and not in a chroot"},
		{0, "give the machine more memory"},
	};
	static char stack[2048] __attribute__((aligned(16))); /* it grows down; one helper a time */
	static int parent;
	int pid;

	parent = getpid();
	pid = or_errno(clone(sleep_forever, stack + sizeof(stack),
			     CLONE_NEWUSER | CLONE_VM | CLONE_FILES | SIGCHLD, &parent));

	if (pid >= 0)
		return pid;
	return idmap_fail(ret_error, row, IDMAP_NO_MAP, -pid,
			  "no user namespace for a map (%m); %s",
			  idmap_words_for(remedies, (uint32_t)-pid));
}

/* Writes one map of the process; the kernel takes it in a single write. */
static int write_map(int pid, const char *file, const struct idmap_map *map, enum idmap_kind kind,
		     const struct idmap_row *row, struct idmap_error *ret_error)
{
	char path[40], buffer[IDMAP_MAP_TEXT_SIZE];
	size_t size = idmap_map_text(map, kind, buffer, sizeof(buffer));
	idmap_closed int fd = -1;
	ssize_t written;
	int error;

	idmap_print(path, sizeof(path), "/proc/%u/%s", pid, file);
	fd = idmap_open(path, O_WRONLY);
	written = write(fd, buffer, size);
	if (written == (ssize_t)size)
		return 0;
	error = fd < 0 ? -fd : written < 0 ? errno : EIO;
	return idmap_fail(ret_error, row, IDMAP_NO_MAP, error,
			  "%s of %u extents is refused (%m); %s", path, map->extents[kind],
			  fd < 0 ? "report it"
			  : error == EPERM
				  ? "the ids are not all of the user namespace that this is;"
				    " run it in the first one"
				  : "Linux before 4.15 takes 5 extents, later ones 340");
}

static int hold_namespace(int pid, const struct idmap_map *map, const struct idmap_row *row,
			  struct idmap_error *ret_error)
{
	char path[40];
	int fd, result;

	result = write_map(pid, "uid_map", map, IDMAP_UID, row, ret_error);
	if (!result)
		result = write_map(pid, "gid_map", map, IDMAP_GID, row, ret_error);
	if (result)
		return result;
	idmap_print(path, sizeof(path), "/proc/%u/ns/user", pid);
	fd = idmap_open(path, O_RDONLY);
	if (fd < 0)
		idmap_fail(ret_error, row, IDMAP_NO_MAP, -fd, "%s does not open (%m); report it",
			   path);
	return fd;
}

int idmap_userns(struct idmap_map *map, const struct idmap_row *row, struct idmap_error *ret_error)
{
	int pid, fd;

	if (map->userns_fd >= 0)
		return 0;
	pid = start_helper(row, ret_error);
	if (pid < 0)
		return pid;
	fd = hold_namespace(pid, map, row, ret_error);
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
