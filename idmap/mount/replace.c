// SPDX-License-Identifier: MIT
/*
 * A mount gives its place to the root that was made of it: for other initramfs tools, which have
 * mounted their root somewhere and will switch to it themselves.
 */
#define _GNU_SOURCE
#include <errno.h>
#include <string.h>
#include <sys/mount.h>

#include "mount/mount.h"

#define MEMORY (16 << 20) /* costs what is touched */
#ifndef MOVE_MOUNT_BENEATH
#define MOVE_MOUNT_BENEATH 0x200u /* linux/mount.h, 6.5 */
#endif

/* What is mounted in it, and no row has needed so far. */
static int carry_rest(struct idmap_stage *stage, struct idmap_error *ret_error)
{
	struct idmap_carried *carried;

	for (carried = stage->carry; carried; carried = carried->next) {
		const int result = carried->cloned ? 0 : idmap_carry_clone(stage, carried);

		/* It would be gone with what is replaced, and with it what may be in it alone. */
		if (idmap_no_folder(result))
			return idmap_fail(ret_error, NULL, IDMAP_NO_TARGET, -result,
					  "what is mounted on %s%s cannot come along, since the new"
					  " root has no such folder (%m); unmount it first, or make"
					  " the folder there",
					  stage->plan->root->folder, carried->path);
		if (result)
			return idmap_carry_failed(carried->path, -result, ret_error);
	}
	return 0;
}

/* The mounts of this namespace. */
struct listed {
	struct idmap_mountinfo mount;
	const struct listed *next;
};

static int list_mounts(const struct listed **ret)
{
	struct idmap_error unused;
	struct idmap_arena arena; /* for as long as the process lives */
	struct idmap_mountinfo mount;
	char *text;
	size_t size;
	int result = idmap_arena_map(&arena, MEMORY, &unused);

	*ret = NULL;
	if (!result)
		result = idmap_file_read("/proc/self/mountinfo", &arena, &text, &size);
	while (!result && idmap_mountinfo_next(&text, &mount)) {
		struct listed *listed = idmap_alloc(&arena, sizeof(*listed));

		if (!listed)
			return -ENOMEM;
		*listed = (struct listed){mount, *ret};
		*ret = listed;
	}
	return result;
}

/* What is mounted on the very folder: on the mount of that number, or with NULL whatever comes
 * first. */
static const struct idmap_mountinfo *mounted_on(const struct listed *all, const char *folder,
						const char *parent)
{
	for (; all; all = all->next)
		if (!strcmp(all->mount.target, folder) &&
		    (!parent || !strcmp(all->mount.parent, parent)))
			return &all->mount;
	return NULL;
}

/* Whether what is seen on the folder's path is mounted on something that is shared. */
static bool stands_on_shared(const struct listed *all, const char *folder)
{
	const struct idmap_mountinfo *top = NULL, *next;

	while ((next = mounted_on(all, folder, top ? top->id : NULL)))
		top = next;
	for (; top && all; all = all->next)
		if (!strcmp(all->mount.id, top->parent))
			return all->mount.peers;
	return false;
}

/* Whether what is unmounted in it would be unmounted in something else, outside the folder, too. */
static bool has_others(const struct listed *all, const struct idmap_mountinfo *mount,
		       const char *folder)
{
	for (; all; all = all->next)
		if (!idmap_path_inside(all->mount.target, folder) &&
		    ((all->mount.peers && !strcmp(all->mount.peers, mount->peers)) ||
		     (all->mount.master && !strcmp(all->mount.master, mount->peers))))
			return true;
	return false;
}

/*
 * Where other namespaces have copies of the folder's mount they got the new one, too, and lose the
 * old one with what is mounted in it. What is a peer of something else leaves it.
 */
int idmap_take_down(const char *folder)
{
	const struct listed *all, *one;
	int result = list_mounts(&all);

	if (!result && !stands_on_shared(all, folder))
		result = or_errno(mount(NULL, folder, NULL, MS_REC | MS_PRIVATE, NULL));
	else
		for (one = all; !result && one; one = one->next)
			if (one->mount.peers && idmap_path_inside(one->mount.target, folder) &&
			    has_others(all, &one->mount, folder))
				result = or_errno(
					mount(NULL, one->mount.target, NULL, MS_PRIVATE, NULL));
	return result ? result : or_errno(umount2(folder, MNT_DETACH));
}

/*
 * Where the kernel can put a mount beneath another one there is no moment without a root. Before,
 * the old one goes first; as a clone it can come back.
 */
static int replace(const struct idmap_plan *plan, int new_fd)
{
	const char *folder = plan->root->folder;
	idmap_closed int old_fd = idmap_open(folder, O_PATH | O_DIRECTORY), back_fd = -1;
	int result;

	if (old_fd < 0)
		return old_fd;
	if (!sys_move_mount(new_fd, "", old_fd, "",
			    MOVE_MOUNT_F_EMPTY_PATH | MOVE_MOUNT_T_EMPTY_PATH | MOVE_MOUNT_BENEATH))
		return idmap_take_down(folder);
	back_fd = idmap_clone(old_fd, true);
	if (back_fd < 0)
		return back_fd;
	result = idmap_leave_peers(plan, back_fd);
	if (!result)
		result = idmap_take_down(folder);
	if (result)
		return result;
	result = or_errno(sys_move_mount(new_fd, "", AT_FDCWD, folder, MOVE_MOUNT_F_EMPTY_PATH));
	if (result)
		sys_move_mount(back_fd, "", AT_FDCWD, folder, MOVE_MOUNT_F_EMPTY_PATH);
	return result;
}

int idmap_stage_replace(struct idmap_stage *stage, struct idmap_error *ret_error)
{
	int result = carry_rest(stage, ret_error);

	if (!result) {
		result = replace(stage->plan, stage->seen_fd);
		if (result)
			idmap_fail(ret_error, NULL, IDMAP_BAD_SYSTEM, -result,
				   "%s cannot be replaced by its mapped clone (%m); name the folder"
				   " that it is mounted on",
				   stage->plan->root->folder);
	}
	if (result) {
		idmap_stage_drop(stage);
		return result;
	}
	idmap_stage_done(stage);
	idmap_stage_close(stage);
	idmap_close(&stage->seen_fd);
	return 0;
}
