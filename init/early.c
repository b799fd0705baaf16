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

/* The next word of a line, terminated; its blank is gone, a newline stays. */
static char *next_word(char **line)
{
	char *word = *line, *end = strchr(word, ' ');

	*line = end ? end + 1 : strchr(word, 0);
	if (end)
		*end = 0;
	return word;
}

/*
 * What stands here already, by /proc. The first line is the root's: only an initramfs shows as
 * rootfs; its filesystem, ramfs or tmpfs, would not tell, as a root of somebody's making may be one
 * too, and that is not ours to delete. Where it is its own parent pivot_root(2) cannot work.
 */
static int read_standing(struct boot *boot, bool standing[EARLY_MOUNTS])
{
	char *text, *line, *end;
	size_t i, size;
	int result = idmap_file_read("/proc/self/mountinfo", boot->arena, &text, &size);

	if (result)
		return result;
	boot->arena->at = line = text; /* no longer needed than here */
	boot->cmdline.root.booted = boot->pivots = true;
	while (*line) {
		enum { ID, PARENT, DEVICE, FOLDER, TARGET, OPTIONS, COUNT };
		const char *field[COUNT], *tag;

		for (i = 0; i < COUNT; i++) /* proc_pid_mountinfo(5) */
			field[i] = next_word(&line);
		for (i = 0; i < EARLY_MOUNTS; i++)
			standing[i] |= !strcmp(field[TARGET], mounts[i].target);
		while (*(tag = next_word(&line)) && strcmp(tag, "-"))
			boot->cmdline.root.shared |= !strncmp(tag, "shared:", 7);
		if (field[ID] == text && !strcmp(next_word(&line), "rootfs")) {
			boot->cmdline.root.booted = false;
			boot->pivots = strcmp(field[ID], field[PARENT]);
		}
		end = strchr(line, '\n');
		line = end ? end + 1 : strchr(line, 0);
	}
	return 0;
}

/*
 * The kernel leaves 0 to 2 closed when the initramfs has no /dev/console, and else opens the one in
 * the initramfs: that would keep the whole of it in memory, and be a deleted file to the real init.
 */
static void open_console(void)
{
	int target, fd = openat(AT_FDCWD, "/dev/console", O_RDWR | O_NOCTTY);

	if (fd < 0)
		fd = openat(AT_FDCWD, "/dev/null", O_RDWR);
	for (target = 0; fd >= 0 && target <= STDERR_FILENO; target++)
		if (target != fd)
			dup2(fd, target);
	if (fd > STDERR_FILENO)
		close(fd);
}

int early_mounts(struct boot *boot, struct idmap_error *ret_error)
{
	bool standing[EARLY_MOUNTS] = {false};
	int proc = read_standing(boot, standing), result;
	size_t i, carried = 0;

	if (proc)
		proc = mount_early(&mounts[PROC]);
	if (!proc && !standing[PROC])
		proc = read_standing(boot, standing);
	for (i = 0; i < EARLY_MOUNTS; i++) {
		const struct early_mount *m = &mounts[i];

		result = i == PROC ? proc : standing[i] ? 0 : mount_early(m);
		if (!result)
			idmap_print(boot->carry[carried++], IDMAP_CARRIED_SIZE, "%s", m->target);
		else if (i != PROC)
			msg(MSG_WARNING, "%s cannot be mounted (%s), going on without", m->target,
			    idmap_errno_text(-result));
	}
	open_console();
	if (!proc)
		return 0;
	return idmap_fail(ret_error, NULL, IDMAP_BAD_SYSTEM, -proc,
			  "/proc cannot be mounted (%m); build the kernel with proc");
}
