// SPDX-License-Identifier: MIT
/*
 * The surroundings that everything else needs: /dev, /proc, /sys, /run and three open descriptors.
 * Whoever ran before us may have mounted some of them, which is fine.
 */
#include <errno.h>
#include <sys/mount.h>
#include <sys/stat.h>
#include <unistd.h>

#include "explain.h"
#include "init.h"
#include "sys.h"

static const struct early_mount {
	char target[6], type[9], data[10];
	unsigned char flags; /* of mount(2); these fit */
	bool needed;
} mounts[] = {
	{"/dev", "devtmpfs", "mode=0755", MS_NOSUID, false},
	{"/proc", "proc", "", MS_NOSUID | MS_NODEV | MS_NOEXEC, true},
	{"/sys", "sysfs", "", MS_NOSUID | MS_NODEV | MS_NOEXEC, false},
	{"/run", "tmpfs", "mode=0755", MS_NOSUID | MS_NODEV, false},
};

static noinline uint64_t device_of(const char *path)
{
	struct stat st;

	return sys_fstatat(AT_FDCWD, path, &st, 0) ? 0 : st.st_dev;
}

static int mount_early(const struct early_mount *m)
{
	int result = sys_mount(m->type, m->target, m->type, m->flags, m->data);

	if (result == -ENOENT && !sys_mkdirat(AT_FDCWD, m->target, 0755))
		result = sys_mount(m->type, m->target, m->type, m->flags, m->data);
	return result == -EBUSY ? 0 : result;
}

/*
 * The kernel leaves 0 to 2 closed when the initramfs has no /dev/console, and else opens the one in
 * the initramfs: that would keep the whole of it in memory, and be a deleted file to the real init.
 */
static void open_console(void)
{
	int target, fd = sys_open("/dev/console", O_RDWR | O_NOCTTY, 0);

	if (fd < 0)
		fd = sys_open("/dev/null", O_RDWR, 0);
	for (target = 0; fd >= 0 && target <= STDERR_FILENO; target++)
		if (target != fd)
			sys_dup3(fd, target);
	if (fd > STDERR_FILENO)
		sys_close(fd);
}

int early_mounts(struct idmap_error *ret_error)
{
	const uint64_t root = device_of("/");
	size_t i;

	for (i = 0; i < sizeof(mounts) / sizeof(*mounts); i++) {
		const struct early_mount *m = &mounts[i];
		const uint64_t device = device_of(m->target);
		/* A mounted folder shows another device than / does. */
		int result = device && device != root ? 0 : mount_early(m);

		if (!result)
			continue;
		if (m->needed)
			return idmap_fail(ret_error, IDMAP_BAD_SYSTEM, -result,
					  "%s cannot be mounted (%s); build the kernel with %s",
					  m->target, idmap_errno_text(-result), m->type);
		msg(MSG_WARNING, "%s cannot be mounted (%s), going on without", m->target,
		    idmap_errno_text(-result));
	}
	open_console();
	return 0;
}
