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

#include "device/device.h"
#include "init.h"
#include "mount/mount.h"

/* --- the switch ------------------------------------------------------------------------------ */

/*
 * Deletes what the folder holds, never across a mount (openat2(2), RESOLVE_NO_XDEV, which sees
 * binds of the same filesystem too). What cannot be deleted stays; it only costs memory.
 */
static void delete_contents(int dir_fd)
{
	char buffer[2048] __attribute__((aligned(__alignof__(struct dirent))));
	struct dirent *entry;
	long n;

	do {
		long at;

		n = getdents(dir_fd, (struct dirent *)buffer, sizeof(buffer));
		for (at = 0; at < n; at += entry->d_reclen) {
			struct sys_open_how how = {
				.flags = O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC,
				.resolve = RESOLVE_NO_XDEV,
			};
			idmap_closed int fd = -1;

			entry = (struct dirent *)(buffer + at);
			if (!strcmp(entry->d_name, ".") || !strcmp(entry->d_name, ".."))
				continue;
			/* Half of an initramfs' folders are empty: mounts stood on them. */
			if (!unlinkat(dir_fd, entry->d_name,
				      entry->d_type == DT_DIR ? AT_REMOVEDIR : 0) ||
			    entry->d_type != DT_DIR)
				continue;
			fd = sys_openat2(dir_fd, entry->d_name, &how);
			if (fd < 0)
				continue;
			delete_contents(fd);
			unlinkat(dir_fd, entry->d_name, AT_REMOVEDIR);
		}
		/* Where another entry had found room, this was the last. */
	} while (n + (long)sizeof(*entry) > (long)sizeof(buffer));
}

static int switch_failed(const char *step, int result, struct idmap_error *ret_error)
{
	return idmap_fail(
		ret_error, NULL, IDMAP_BAD_SYSTEM, -result,
		"the root cannot be switched, %s failed (%m); start idmap-init as /init of"
		" an initramfs",
		step);
}

/*
 * Before 7.0 the initramfs cannot be pivoted away from: the new root, where we stand, is moved over
 * it and becomes ours by chroot. What has been cloned early is to go with the rest.
 */
static int move_over(const struct idmap_stage *stage, struct idmap_error *ret_error)
{
	const struct idmap_carried *carried;
	int result;

	for (carried = stage->carry; carried; carried = carried->next)
		if (carried->cloned)
			umount2(carried->path, MNT_DETACH);
	result = or_errno(mount(".", "/", NULL, MS_MOVE, NULL));
	if (result)
		return switch_failed("mount", result, ret_error);
	result = or_errno(chroot("."));
	return result ? switch_failed("chroot", result, ret_error) : 0;
}

int handoff_switch(struct boot *boot, struct idmap_error *ret_error)
{
	struct idmap_stage *stage = &boot->build.stage;
	const bool booted = boot->cmdline.root.booted;
	const struct idmap_carried *carried;
	idmap_closed int old_fd = idmap_open("/", O_RDONLY | O_DIRECTORY);
	int result = old_fd < 0 ? old_fd : or_errno(fchdir(stage->seen_fd));
	bool pivoted = false;

	idmap_close(&stage->seen_fd);
	if (result)
		return switch_failed("chdir", result, ret_error);
	if (boot->pivots) {
		result = or_errno(sys_pivot_root(".", "."));
		pivoted = !result;
	}
	if (!pivoted)
		result = booted ? switch_failed("pivot_root", result, ret_error)
				: move_over(stage, ret_error);
	if (result)
		return result;
	result = idmap_stage_carry(stage, old_fd, ret_error);
	if (result)
		return result;
	/* After a pivot too: on 7.2 unmounting the initramfs alone gives no memory back. */
	if (!booted)
		delete_contents(old_fd);
	if (pivoted)
		result = or_errno(umount2(".", MNT_DETACH));
	idmap_stage_close(stage);
	if (!result)
		result = or_errno(chdir("/"));
	for (carried = stage->carry; !result && boot->has_console && carried;
	     carried = carried->next)
		if (carried->cloned && !strcmp(carried->path, boot->dev))
			dev_follow();
	return result ? switch_failed("umount", result, ret_error) : 0;
}

/* --- the exec -------------------------------------------------------------------------------- */

int handoff_exec(const struct boot *boot, struct idmap_error *ret_error)
{
	char **from, **to;
	int result;

	/* The kernel gives PID 1 what it does not know itself; idmap= is ours and ends here. */
	for (from = to = boot->envp; *from; from++)
		if (strncmp(*from, "idmap=", 6))
			*to++ = *from;
	*to = NULL;
	boot->argv[0] = (char *)(uintptr_t)boot->init;
	result = or_errno(execve(boot->init, boot->argv, boot->envp));
	return idmap_fail(
		ret_error, NULL, IDMAP_NO_INIT, -result,
		"%s does not start (%m); check its format and that its interpreter is in the new root",
		boot->init);
}
