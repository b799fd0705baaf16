// SPDX-License-Identifier: MIT
/*
 * What is mounted, by /proc/self/mountinfo and by the numbers of mounts: the list alone does not
 * tell what stands on what.
 */
#define _GNU_SOURCE
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

#include "command.h"

#ifndef SYS_statmount
#define SYS_statmount 457 /* 6.8 */
#endif

int mounts_read(struct mounts *mounts, struct idmap_error *ret_error)
{
	struct idmap_mountinfo mount;
	char *text;
	size_t size;
	int result = mounts->arena.at
			     ? 0
			     : idmap_arena_map(&mounts->arena, IDMAP_MOUNTS_MEMORY, ret_error);

	if (result)
		return result;
	if (!mounts->start)
		mounts->start = mounts->arena.at;
	mounts->arena.at = mounts->start;
	mounts->count = 0;
	result = idmap_file_read("/proc/self/mountinfo", &mounts->arena, &text, &size);
	if (result)
		return idmap_fail(ret_error, NULL, IDMAP_BAD_SYSTEM, -result,
				  "/proc/self/mountinfo cannot be read (%m); mount /proc");
	/* In the room behind the text, since undo reads this anew for each row. */
	mounts->mount = (void *)mounts->arena.at;
	while (idmap_mountinfo_next(&text, &mount)) {
		if ((size_t)(mounts->arena.end - mounts->arena.at) < sizeof(mount))
			return idmap_fail(ret_error, NULL, IDMAP_BAD_SYSTEM, ENOMEM, "%m");
		mounts->mount[mounts->count++] = mount;
		mounts->arena.at += sizeof(mount);
	}
	return 0;
}

/*
 * The next one from *at on that is in the folder, or NULL. Ours may be seen there, too, as /run is
 * shared.
 */
static const struct idmap_mountinfo *next_in(const struct mounts *mounts, const char *folder,
					     size_t *at)
{
	while (*at < mounts->count) {
		const struct idmap_mountinfo *mount = &mounts->mount[(*at)++];

		if (idmap_path_inside(mount->target, folder) &&
		    !idmap_contains(mount->target + strlen(folder), WORKSHOP_NAME))
			return mount;
	}
	return NULL;
}

bool mounts_changed(const struct mounts *before, const char *folder)
{
	const struct idmap_mountinfo *was, *is;
	struct mounts now = {0};
	struct idmap_error unused;
	size_t at = 0, now_at = 0;

	if (mounts_read(&now, &unused))
		return false;
	do {
		was = next_in(before, folder, &at);
		is = next_in(&now, folder, &now_at);
	} while (was && is && !strcmp(was->id, is->id) && !strcmp(was->parent, is->parent) &&
		 !strcmp(was->target, is->target));
	return was || is;
}

struct idmap_mount_id mount_id_listed(const struct idmap_mountinfo *mount)
{
	const struct idmap_mount_id top = mount_id_of(AT_FDCWD, mount->target);
	const uint64_t number = strtoull(mount->id, NULL, 10);

	/* One that is covered cannot be looked at. */
	return top.number == number ? top : (struct idmap_mount_id){.number = number};
}

static const struct idmap_mountinfo *by_number(const struct mounts *mounts, uint64_t number)
{
	size_t i;

	for (i = 0; i < mounts->count; i++)
		if (strtoull(mounts->mount[i].id, NULL, 10) == number)
			return &mounts->mount[i];
	return NULL;
}

struct idmap_mount_id mount_id_on(const char *path)
{
	/* Without comparing names: it may be listed by another one, where case does not count. */
	return idmap_is_mount_root(AT_FDCWD, path) ? mount_id_of(AT_FDCWD, path)
						   : (struct idmap_mount_id){0};
}

const struct idmap_mountinfo *mounts_at(const struct mounts *mounts, const char *path)
{
	const struct idmap_mount_id id = mount_id_on(path);

	return id.number ? by_number(mounts, id.number) : NULL;
}

const struct idmap_mountinfo *mounts_parent(const struct mounts *mounts,
					    const struct idmap_mountinfo *mount)
{
	return by_number(mounts, strtoull(mount->parent, NULL, 10));
}

bool mounts_inside(const struct mounts *mounts, const struct idmap_mountinfo *mount,
		   uint64_t number)
{
	size_t steps;

	/* As many steps as there are mounts, whatever the list says. */
	for (steps = 0; mount && steps < mounts->count; steps++) {
		const uint64_t parent = strtoull(mount->parent, NULL, 10);

		if (parent == number)
			return true;
		mount = by_number(mounts, parent);
	}
	return false;
}

/* Whether there is a mount of that unique number, wherever it may be by now. */
static bool exists(uint64_t unique)
{
	uint64_t answer[64],
		request[3] = {24, unique, 0x2}; /* struct mnt_id_req, STATMOUNT_MNT_BASIC */

	return !syscall(SYS_statmount, request, answer, sizeof(answer), 0);
}

bool mounts_have(const struct mounts *mounts, struct idmap_mount_id id, const char *path)
{
	const struct idmap_mountinfo *mount;
	struct idmap_mount_id top;

	if (!id.number)
		return false;
	/* A number is given anew when its mount is gone, a unique one is not. */
	if (id.unique && !mount_id_of(AT_FDCWD, "/").looks)
		return exists(id.unique);
	top = mount_id_of(AT_FDCWD, path);
	if (top.number == id.number)
		return mount_same(top, id) && idmap_is_mount_root(AT_FDCWD, path);
	/* One that is covered cannot be looked at. */
	mount = by_number(mounts, id.number);
	return mount && !strcmp(mount->target, path);
}
