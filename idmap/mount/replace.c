// SPDX-License-Identifier: MIT
/*
 * A mount gives its place to the root that was made of it: for other initramfs tools, which have
 * mounted their root somewhere and will switch to it themselves.
 */
#define _GNU_SOURCE
#include <errno.h>
#include <fcntl.h>
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

/* One of this namespace's mounts. */
struct listed {
	struct idmap_mountinfo mount;
	struct listed *next;
	bool gets;	     /* what is mounted where the folder's is */
	struct listed *tree; /* what it goes with, itself too: the folder's, or a copy; or NULL */
};

static int list_mounts(struct idmap_arena *arena, struct listed **ret)
{
	struct idmap_mountinfo mount;
	char *text;
	size_t size;
	int result = idmap_file_read("/proc/self/mountinfo", arena, &text, &size);

	*ret = NULL;
	while (!result && idmap_mountinfo_next(&text, &mount)) {
		struct listed *listed = idmap_alloc(arena, sizeof(*listed));

		if (!listed)
			return -ENOMEM;
		*listed = (struct listed){.mount = mount, .next = *ret};
		*ret = listed;
	}
	return result;
}

static struct listed *by_id(struct listed *all, const char *id)
{
	while (all && strcmp(all->mount.id, id))
		all = all->next;
	return all;
}

/* The mount that the path leads to; NULL: it is not on the list. */
static struct listed *by_path(struct listed *all, const char *path)
{
	const struct idmap_mount_id id = idmap_mount_id(AT_FDCWD, path, true);
	char number[24];

	return by_id(all, idmap_print(number, sizeof(number), "%lu", (unsigned long)id.number));
}

static bool shows_same(const struct idmap_mountinfo *one, const struct idmap_mountinfo *other)
{
	return !strcmp(one->number, other->number) && !strcmp(one->root, other->root);
}

/* Peers and slaves of the folder's parent, and theirs: what is mounted on it appears on them. */
static void mark_getting(struct listed *all, struct listed *parent)
{
	struct listed *one, *on;
	bool more = true;

	for (parent->gets = true; more;) {
		more = false;
		for (on = all; on; on = on->next)
			for (one = all; on->gets && one; one = one->next)
				if (!one->gets && idmap_mount_gets(&one->mount, &on->mount))
					one->gets = more = true;
	}
}

/* What stands on those where the folder's mount is, and is the same, may be its copy. */
static void mark_copies(struct listed *all, struct listed *top, const struct listed *parent)
{
	char inside[PATH_MAX], path[PATH_MAX];
	struct listed *one, *on;

	idmap_path_join(inside, parent->mount.root,
			idmap_path_behind(top->mount.target, parent->mount.target));
	for (one = all; one; one = one->next) {
		on = one == top ? NULL : by_id(all, one->mount.parent);
		if (!on || !on->gets || !idmap_path_inside(inside, on->mount.root) ||
		    !shows_same(&one->mount, &top->mount))
			continue;
		idmap_path_join(path, on->mount.target, idmap_path_behind(inside, on->mount.root));
		if (!strcmp(one->mount.target, path))
			one->tree = one;
	}
}

/* All that is mounted in them, wherever its path may lead by now. */
static void mark_trees(struct listed *all)
{
	struct listed *one, *on;
	bool more = true;

	while (more) {
		more = false;
		for (one = all; one; one = one->next) {
			on = one->tree ? NULL : by_id(all, one->mount.parent);
			if (!on || !on->tree)
				continue;
			one->tree = on->tree;
			more = true;
		}
	}
}

/* Whether the folder's mount has the same one in it, at the same place. */
static bool has_it(const struct listed *all, const struct listed *top, const struct listed *one)
{
	const char *path = idmap_path_behind(one->mount.target, one->tree->mount.target);

	for (; all; all = all->next)
		if (all->tree == top && shows_same(&all->mount, &one->mount) &&
		    !strcmp(idmap_path_behind(all->mount.target, top->mount.target), path))
			return true;
	return false;
}

/* Somebody may have mounted something of his own in a copy: that stays, and so does the copy. */
static void unmark_copies_of_others(struct listed *all, const struct listed *top)
{
	struct listed *one, *other, *tree;

	for (one = all; one; one = one->next) {
		tree = one->tree;
		if (!tree || has_it(all, top, one))
			continue;
		for (other = all; other; other = other->next)
			if (other->tree == tree)
				other->tree = NULL;
	}
}

/* Whether what is unmounted in it would be unmounted in something that stays, too. */
static bool has_others(const struct listed *all, const struct idmap_mountinfo *mount)
{
	for (; all; all = all->next)
		if (!all->tree && idmap_mount_gets(&all->mount, mount))
			return true;
	return false;
}

/*
 * What goes and is a peer of something that stays leaves it. 1: there was any, and what is a slave
 * of that one is another one's now; 0: there is none. -ENOENT: no path leads to one, as others
 * hide it.
 */
static int leave_some(struct listed *all)
{
	struct listed *one;
	int result = 0;

	for (one = all; one; one = one->next) {
		if (!one->tree || !one->mount.peers || !has_others(all, &one->mount))
			continue;
		if (by_path(all, one->mount.target) != one)
			return -ENOENT;
		if (mount(NULL, one->mount.target, NULL, MS_PRIVATE, NULL))
			return -errno;
		result = 1;
	}
	return result;
}

/*
 * Before the folder's mount goes, and before something comes in its place. Where other namespaces
 * have copies of it they get the new one, too, and lose the old one with what is mounted in it.
 * What is a peer of something that stays leaves it: nothing is unmounted there, and what comes
 * does not appear in what goes, by which it would lose what is mounted in it. *ret_all: what there
 * is, with the copies marked; NULL: none of them goes.
 */
static int leave_others(const char *folder, struct listed **ret_all)
{
	struct idmap_error unused;
	struct idmap_arena arena; /* for as long as the process lives */
	struct listed *all, *top, *parent;
	int result = idmap_arena_map(&arena, MEMORY, &unused);
	char *start = arena.at;

	if (result)
		return result;
	do {
		arena.at = start;
		result = list_mounts(&arena, &all);
		if (result)
			return result;
		top = by_path(all, folder);
		parent = top ? by_id(all, top->mount.parent) : NULL;
		if (!parent || !parent->mount.peers) {
			result = -ENOENT;
			break;
		}
		mark_getting(all, parent);
		mark_copies(all, top, parent);
		top->tree = top;
		mark_trees(all);
		unmark_copies_of_others(all, top);
		result = leave_some(all);
	} while (result > 0);
	*ret_all = result ? NULL : all;
	return result == -ENOENT ? or_errno(mount(NULL, folder, NULL, MS_REC | MS_PRIVATE, NULL))
				 : result;
}

/* The folder's mount, and the copies of it that did not go with it. */
static int unmount(const char *folder, struct listed *all)
{
	struct listed *one;

	if (umount2(folder, MNT_DETACH))
		return -errno;
	for (one = all; one; one = one->next)
		if (one->tree == one && by_path(all, one->mount.target) == one)
			umount2(one->mount.target, MNT_DETACH | UMOUNT_NOFOLLOW);
	return 0;
}

int idmap_take_down(const char *folder)
{
	struct listed *all;
	const int result = leave_others(folder, &all);

	return result ? result : unmount(folder, all);
}

/*
 * Where the kernel can put a mount beneath another one there is no moment without a root. Before,
 * the old one goes first; as a clone it can come back.
 */
static int replace(const struct idmap_plan *plan, int new_fd)
{
	const char *folder = plan->root->folder;
	idmap_closed int old_fd = idmap_open(folder, O_PATH | O_DIRECTORY), back_fd = -1;
	struct listed *all;
	int result;

	if (old_fd < 0)
		return old_fd;
	result = leave_others(folder, &all);
	if (result)
		return result;
	if (!sys_move_mount(new_fd, "", old_fd, "",
			    MOVE_MOUNT_F_EMPTY_PATH | MOVE_MOUNT_T_EMPTY_PATH | MOVE_MOUNT_BENEATH))
		return unmount(folder, all);
	back_fd = idmap_clone(old_fd, true);
	if (back_fd < 0)
		return back_fd;
	result = idmap_leave_peers(plan, back_fd);
	if (!result)
		result = unmount(folder, all);
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
				   "%s cannot be replaced by its clone (%m); name the folder"
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
