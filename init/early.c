// SPDX-License-Identifier: MIT
/*
 * The surroundings that everything else needs: /dev, /proc, /sys, /run and three open descriptors.
 * Whoever ran before us may have mounted some of them, which is fine.
 */
#include <errno.h>
#include <fcntl.h>
#include <sys/mount.h>
#include <sys/stat.h>
#include <unistd.h>

#include "init.h"

static const struct early_mount {
	const char *target, *type, *data;
	unsigned long flags;
	bool needed;
} mounts[] = {
	{"/dev", "devtmpfs", "mode=0755", MS_NOSUID, false},
	{"/proc", "proc", NULL, MS_NOSUID | MS_NODEV | MS_NOEXEC, true},
	{"/sys", "sysfs", NULL, MS_NOSUID | MS_NODEV | MS_NOEXEC, false},
	{"/run", "tmpfs", "mode=0755", MS_NOSUID | MS_NODEV, false},
};

/* A mounted folder shows another device than / does. */
static bool is_mounted(const char *path)
{
	struct stat here, root;

	return !stat(path, &here) && !stat("/", &root) && here.st_dev != root.st_dev;
}

/* The kernel leaves 0 to 2 closed when the initramfs has no /dev/console. */
static void open_console(void)
{
	int fd;

	if (fcntl(STDERR_FILENO, F_GETFD) >= 0)
		return;
	fd = open("/dev/console", O_RDWR | O_NOCTTY);
	if (fd < 0)
		fd = open("/dev/null", O_RDWR);
	while (fd >= 0 && fd < STDERR_FILENO)
		fd = dup(fd);
}

int early_mounts(struct idmap_error *ret_error)
{
	size_t i;

	for (i = 0; i < sizeof(mounts) / sizeof(*mounts); i++) {
		const struct early_mount *m = &mounts[i];

		if (is_mounted(m->target))
			continue;
		if ((mkdir(m->target, 0755) && errno != EEXIST) ||
		    (mount(m->type, m->target, m->type, m->flags, m->data) && errno != EBUSY)) {
			if (m->needed)
				return idmap_fail(
					ret_error, IDMAP_BAD_SYSTEM, errno,
					"%s cannot be mounted (%s); build the kernel with %s",
					m->target, idmap_errno_text(errno), m->type);
			msg(MSG_WARNING, "%s cannot be mounted (%s), going on without", m->target,
			    idmap_errno_text(errno));
		}
	}
	open_console();
	return 0;
}
