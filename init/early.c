// SPDX-License-Identifier: MIT
/*
 * The surroundings that everything else needs: /dev, /proc, /sys, /run and three open descriptors.
 * Whoever ran before us may have mounted some of them, which is fine.
 */
#define _GNU_SOURCE
#include <errno.h>
#include <string.h>
#include <sys/mount.h>
#include <sys/stat.h>

#include "device/device.h"
#include "init.h"

static const struct early_mount {
	const char *target, *type, *data;
	unsigned long flags; /* of mount(2) */
} mounts[EARLY_MOUNTS] = {
	{"/dev", "devtmpfs", "mode=0755", MS_NOSUID},
	{"/proc", "proc", "", MS_NOSUID | MS_NODEV | MS_NOEXEC},
	{"/sys", "sysfs", "", MS_NOSUID | MS_NODEV | MS_NOEXEC},
	{"/run", "tmpfs", "mode=0755", MS_NOSUID | MS_NODEV},
};

#define PROC 1 /* the one that nothing goes without */

static int mount_early(const struct early_mount *m)
{
	int result = or_errno(mount(m->type, m->target, m->type, m->flags, m->data));

	if (result == -ENOENT && !mkdir(m->target, 0755))
		result = or_errno(mount(m->type, m->target, m->type, m->flags, m->data));
	return result == -EBUSY ? 0 : result;
}

/* Our four are carried by themselves. */
static void leave_out_own(struct idmap_carried **list)
{
	while (*list) {
		const struct early_mount *own = mounts;

		while (own < mounts + EARLY_MOUNTS && strcmp((*list)->path, own->target))
			own++;
		if (own == mounts + EARLY_MOUNTS)
			list = &(*list)->next;
		else
			*list = (*list)->next;
	}
}

/*
 * What stands here already, by /proc. The first line is the root's: only an initramfs shows as
 * rootfs; its filesystem, ramfs or tmpfs, would not tell, as a root of somebody's making may be one
 * too, and that is not ours to delete. Where it is its own parent pivot_root(2) cannot work.
 */
static int read_standing(struct boot *boot, bool standing[EARLY_MOUNTS],
			 struct idmap_carried **ret_others)
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
			standing[i] |= !strcmp(mount.target, mounts[i].target);
		boot->cmdline.root.shared |= mount.shared;
		if (first && !strcmp(mount.type, "rootfs")) {
			boot->cmdline.root.booted = false;
			boot->pivots = strcmp(mount.id, mount.parent);
		}
		if (!strcmp(mount.target, "/"))
			root_id = mount.id;
		carried = boot->cmdline.root.booted ? idmap_alloc(boot->arena, sizeof(*carried))
						    : NULL;
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
	leave_out_own(ret_others);
	return 0;
}

int early_mounts(struct boot *boot, struct idmap_error *ret_error)
{
	static struct idmap_carried four[EARLY_MOUNTS];
	bool standing[EARLY_MOUNTS] = {false};
	struct idmap_carried *others = NULL, **tail = &boot->build.carry;
	int proc = read_standing(boot, standing, &others), result;
	size_t i;

	if (proc)
		proc = mount_early(&mounts[PROC]);
	if (!proc && !standing[PROC])
		proc = read_standing(boot, standing, &others);
	for (i = 0; i < EARLY_MOUNTS; i++) {
		const struct early_mount *m = &mounts[i];

		result = i == PROC ? proc : standing[i] ? 0 : mount_early(m);
		four[i].path = m->target;
		if (!result) {
			*tail = &four[i];
			tail = &four[i].next;
		} else if (i != PROC) {
			msg(MSG_WARNING, "%s cannot be mounted (%s), going on without", m->target,
			    idmap_errno_text(-result));
		}
	}
	*tail = others;
	dev_begin();
	boot->has_console = dev_console();
	if (!proc)
		return 0;
	return idmap_fail(ret_error, NULL, IDMAP_BAD_SYSTEM, -proc,
			  "/proc cannot be mounted (%m); build the kernel with proc");
}
