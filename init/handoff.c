// SPDX-License-Identifier: MIT
/*
 * From the stage to the real init. Everything that can go wrong is tried first; the one step
 * without a way back is freeing the initramfs, and after it only the exec is left.
 */
#define _GNU_SOURCE
#include <dirent.h>
#include <errno.h>
#include <string.h>
#include <sys/mount.h>
#include <sys/stat.h>
#include <unistd.h>

#include "explain.h"
#include "init.h"
#include "sys.h"

/* --- which init ------------------------------------------------------------------------------ */

/* Whether root may run it: the same question as execve(2)'s, where modes and noexec decide. */
static int check_init(int root_fd, const char *path)
{
	idmap_closed int fd = idmap_open_in_root(root_fd, path, O_PATH);
	struct stat st;
	int result;

	if (fd < 0)
		return fd;
	result = sys_fstatat(fd, "", &st, SYS_AT_EMPTY_PATH);
	if (result)
		return result;
	if (!S_ISREG(st.st_mode))
		return -EACCES;
	/* faccessat2: 5.8; an older kernel leaves the question to the exec. */
	result = sys_faccessat2(fd, "", X_OK, SYS_AT_EMPTY_PATH);
	return result == -ENOSYS ? 0 : result;
}

int handoff_find_init(const struct boot *boot, int root_fd, const char **ret_init,
		      struct idmap_error *ret_error)
{
	/* init/main.c, kernel_init() */
	static const char *const usual[] = {"/sbin/init", "/etc/init", "/bin/init", "/bin/sh"};
	size_t i;
	int result;

	if (boot->init) {
		result = check_init(root_fd, boot->init);
		if (result)
			return idmap_fail(
				ret_error, IDMAP_NO_INIT, -result,
				"cmdline: init=%s: the new root does not run it (%s); %s",
				boot->init, idmap_errno_text(-result),
				result == -EACCES
					? "check its mode, noexec, and that the map covers its owner"
					: "name a program of the new root");
		*ret_init = boot->init;
		return 0;
	}
	for (i = 0; i < sizeof(usual) / sizeof(*usual); i++) {
		result = check_init(root_fd, usual[i]);
		if (!result) {
			*ret_init = usual[i];
			return 0;
		}
		if (result != -ENOENT)
			msg(MSG_ERROR, "%s of the new root is passed over (%s)", usual[i],
			    idmap_errno_text(-result));
	}
	return idmap_fail(
		ret_error, IDMAP_NO_INIT, ENOENT,
		"the new root has no /sbin/init, /etc/init, /bin/init or /bin/sh that can be run; name"
		" it with init=, check that the map covers its owner");
}

/* --- the switch ------------------------------------------------------------------------------ */

static void move_into(int root_fd, const char *path)
{
	idmap_closed int target_fd = idmap_open_in_root(root_fd, path, O_PATH | O_DIRECTORY);
	int result = target_fd;

	if (result >= 0)
		result = sys_move_mount(AT_FDCWD, path, target_fd, "", MOVE_MOUNT_T_EMPTY_PATH);
	if (!result || result == -EINVAL) /* EINVAL: nothing was mounted there */
		return;
	msg(MSG_WARNING, "the new root takes no %s (%s), going on without", path,
	    idmap_errno_text(-result));
	sys_umount2(path, MNT_DETACH);
}

/*
 * Deletes what the folder holds, never across a mount (openat2(2), RESOLVE_NO_XDEV, which sees
 * binds of the same filesystem too). What cannot be deleted stays; it only costs memory.
 */
static void delete_contents(int dir_fd)
{
	char buffer[2048];
	long n;

	while ((n = sys_getdents64(dir_fd, buffer, sizeof(buffer))) > 0) {
		struct dirent *entry;
		long at;

		for (at = 0; at < n; at += entry->d_reclen) {
			struct sys_open_how how = {
				.flags = O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC,
				.resolve = RESOLVE_NO_XDEV,
			};
			idmap_closed int fd = -1;

			entry = (struct dirent *)(buffer + at);
			if (!strcmp(entry->d_name, ".") || !strcmp(entry->d_name, ".."))
				continue;
			if (entry->d_type != DT_DIR) {
				sys_unlinkat(dir_fd, entry->d_name, 0);
				continue;
			}
			fd = sys_openat2(dir_fd, entry->d_name, &how);
			if (fd < 0)
				continue;
			delete_contents(fd);
			sys_unlinkat(dir_fd, entry->d_name, AT_REMOVEDIR);
		}
	}
}

static int switch_failed(const char *step, int result, struct idmap_error *ret_error)
{
	return idmap_fail(
		ret_error, IDMAP_BAD_SYSTEM, -result,
		"the root cannot be switched, %s failed (%s); start idmap-init as /init of"
		" an initramfs",
		step, idmap_errno_text(-result));
}

/* Before 7.0: the new root is moved over the initramfs, which is then deleted file by file. */
static int move_over(struct idmap_error *ret_error)
{
	idmap_closed int old_fd = sys_open("/", O_RDONLY | O_DIRECTORY | O_CLOEXEC, 0);
	int result;

	if (old_fd < 0)
		return switch_failed("open", old_fd, ret_error);
	result = sys_mount(".", "/", NULL, MS_MOVE, NULL);
	if (result)
		return switch_failed("mount", result, ret_error);
	result = sys_chroot(".");
	if (!result)
		result = sys_chdir("/");
	if (result)
		return switch_failed("chroot", result, ret_error);
	delete_contents(old_fd);
	return 0;
}

int handoff_switch(struct idmap_stage *stage, struct idmap_error *ret_error)
{
	static const char *const moved[] = {"/dev", "/proc", "/sys", "/run"};
	size_t i;
	int result;

	for (i = 0; i < sizeof(moved) / sizeof(*moved); i++)
		move_into(stage->seen_fd, moved[i]);
	/* The descriptor leads to the root whatever is mounted where. */
	result = sys_fchdir(stage->seen_fd);
	idmap_close(&stage->seen_fd);
	if (result)
		return switch_failed("chdir", result, ret_error);
	/* Since 7.0 the initramfs stands on a root of its own and can be pivoted away from. */
	if (sys_pivot_root(".", "."))
		return move_over(ret_error);
	result = sys_umount2(".", MNT_DETACH);
	return result ? switch_failed("umount", result, ret_error) : 0;
}

/* --- the exec -------------------------------------------------------------------------------- */

int handoff_exec(const struct boot *boot, const char *init, struct idmap_error *ret_error)
{
	char **from, **to;
	int result;

	/* The kernel gives PID 1 what it does not know itself; idmap= is ours and ends here. */
	for (from = to = boot->envp; *from; from++)
		if (strncmp(*from, "idmap=", 6))
			*to++ = *from;
	*to = NULL;
	boot->argv[0] = (char *)(uintptr_t)init;
	result = sys_execve(init, boot->argv, boot->envp);
	return idmap_fail(
		ret_error, IDMAP_NO_INIT, -result,
		"%s does not start (%s); check its format and that its interpreter is in the new root",
		init, idmap_errno_text(-result));
}
