// SPDX-License-Identifier: MIT
/*
 * The surroundings that everything else needs: /dev, /proc, /sys, /run and three open descriptors.
 * Whoever ran before us may have mounted some of them, which is fine.
 */
#define _GNU_SOURCE
#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <sys/mount.h>
#include <sys/stat.h>
#include <unistd.h>

#include "device/device.h"
#include "init.h"

static const struct early_mount {
	const char *type, *data;
	unsigned long flags; /* of mount(2) */
} mounts[EARLY_MOUNTS] = {
	{"devtmpfs", "mode=0755", MS_NOSUID},
	{"proc", "", MS_NOSUID | MS_NODEV | MS_NOEXEC},
	{"sysfs", "", MS_NOSUID | MS_NODEV | MS_NOEXEC},
	{"tmpfs", "mode=0755", MS_NOSUID | MS_NODEV},
};

enum { DEV, PROC /* the one that nothing goes without */, RUN = 3 };

/* Where they are, or in a root that has links there where these lead. */
static const char *places[EARLY_MOUNTS] = {"/dev", "/proc", "/sys", "/run"};

/* By /proc, and only for what is a link, as that takes its time. */
static void find_places(void)
{
	static char real[EARLY_MOUNTS][IDMAP_BEHIND_SIZE];
	char path[32];
	size_t i;

	for (i = 0; i < EARLY_MOUNTS; i++) {
		idmap_closed int fd = -1;
		long n;

		if (readlink(places[i], path, sizeof(path)) < 0)
			continue;
		fd = idmap_open(places[i], O_PATH | O_DIRECTORY);
		n = readlink(idmap_print(path, sizeof(path), "/proc/self/fd/%u", fd), real[i],
			     sizeof(real[i]));
		if (n <= 1 || n == sizeof(real[i])) /* it leads nowhere, or to / */
			continue;
		real[i][n] = 0;
		places[i] = real[i];
	}
}

static int mount_early(size_t i)
{
	const struct early_mount *m = &mounts[i];
	int result = or_errno(mount(m->type, places[i], m->type, m->flags, m->data));

	if (result == -ENOENT && !mkdir(places[i], 0755))
		result = or_errno(mount(m->type, places[i], m->type, m->flags, m->data));
	return result == -EBUSY ? 0 : result;
}

/* Our four are carried by themselves. */
static void leave_out_own(struct idmap_carried **list, struct idmap_carried four[EARLY_MOUNTS])
{
	while (*list) {
		size_t own = 0;

		while (own < EARLY_MOUNTS && strcmp((*list)->path, places[own]))
			own++;
		if (own == EARLY_MOUNTS) {
			list = &(*list)->next;
		} else {
			four[own].stacked |= (*list)->stacked;
			four[own].unbindable |= (*list)->unbindable;
			*list = (*list)->next;
		}
	}
}

/*
 * What stands here already, by /proc. The first line is the root's: only an initramfs shows as
 * rootfs; its filesystem, ramfs or tmpfs, would not tell, as a root of somebody's making may be one
 * too, and that is not ours to delete. Where it is its own parent pivot_root(2) cannot work.
 */
static int read_standing(struct boot *boot, bool standing[EARLY_MOUNTS],
			 struct idmap_carried four[EARLY_MOUNTS], struct idmap_carried **ret_others)
{
	struct idmap_carried *carried, **tail = ret_others;
	const char *root_id = "";
	struct idmap_mountinfo mount;
	bool first = true;
	char *text;
	size_t i, size;
	int result = idmap_file_read("/proc/self/mountinfo", boot->arena, &text, &size);

	if (result)
		return result;
	boot->cmdline.root.booted = boot->pivots = true;
	for (; idmap_mountinfo_next(&text, &mount); first = false) {
		for (i = 0; i < EARLY_MOUNTS; i++)
			standing[i] |= !strcmp(mount.target, places[i]);
		boot->cmdline.root.shared |= !!mount.peers;
		boot->cmdline.root.others |= !first && strcmp(mount.target, places[PROC]);
		if (first && !strcmp(mount.type, "rootfs")) {
			boot->cmdline.root.booted = false;
			boot->pivots = strcmp(mount.id, mount.parent);
		}
		if (!strcmp(mount.target, "/"))
			root_id = mount.id;
		carried = idmap_alloc(boot->arena, sizeof(*carried));
		if (!carried)
			continue;
		carried->path = mount.target;
		carried->unbindable = mount.unbindable;
		carried->real = mount.parent; /* until the stage has it */
		*tail = carried;
		tail = &carried->next;
	}
	*tail = NULL;
	idmap_mounts_on(ret_others, root_id);
	leave_out_own(ret_others, four);
	if (!boot->cmdline.root.booted) /* an initramfs goes with all that is in it */
		*ret_others = NULL;
	return 0;
}

int early_mounts(struct boot *boot, struct idmap_error *ret_error)
{
	static struct idmap_carried four[EARLY_MOUNTS];
	bool standing[EARLY_MOUNTS] = {false};
	struct idmap_carried *others = NULL, **tail = &boot->build.carry;
	int proc, result[EARLY_MOUNTS];
	size_t i;

	proc = access("/proc/self", F_OK) ? mount_early(PROC) : 0;
	if (!proc) {
		find_places();
		proc = read_standing(boot, standing, four, &others);
	}
	boot->dev = places[DEV];
	boot->run = places[RUN];
	for (i = 0; i < EARLY_MOUNTS; i++) {
		result[i] = i == PROC ? proc : standing[i] ? 0 : mount_early(i);
		four[i].path = places[i];
		if (!result[i]) {
			*tail = &four[i];
			tail = &four[i].next;
		}
	}
	*tail = others;
	/* Before there is a /dev nothing can be told. */
	dev_begin();
	boot->has_console = dev_console();
	for (i = 0; i < EARLY_MOUNTS; i++)
		if (result[i] && i != PROC)
			msg(MSG_WARNING, "%s cannot be mounted (%s), going on without", places[i],
			    idmap_errno_text(-result[i]));
	if (!proc)
		return 0;
	return idmap_fail(ret_error, NULL, IDMAP_BAD_SYSTEM, -proc,
			  "/proc cannot be mounted (%m); build the kernel with proc");
}
