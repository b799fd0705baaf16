// SPDX-License-Identifier: MIT
/*
 * What was mounted before we came, by the kernel or by somebody else: a filesystem is mounted once,
 * and whatever a row says of it that mount has said before.
 */
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <sys/sysmacros.h>

#include "mount/standing.h"

struct wanted {
	char number[24];
	const char *device;
	const char *file; /* or what lies in this one, and can be written */
	const char *id;	  /* or the mount of that number */
};

bool idmap_same_device(const char *a, const char *b)
{
	struct stat one, other;

	return !strcmp(a, b) ||
	       (*a == '/' && *b == '/' && !stat(a, &one) && !stat(b, &other) &&
		S_ISBLK(one.st_mode) && S_ISBLK(other.st_mode) && one.st_rdev == other.st_rdev);
}

static bool is_wanted(const struct wanted *wanted, const struct idmap_mountinfo *mount)
{
	if (wanted->id)
		return !strcmp(mount->id, wanted->id);
	if (wanted->file)
		return !strncmp(mount->source, "/dev/loop", 9) && !strncmp(mount->data, "rw", 2) &&
		       idmap_loop_has(mount->source, wanted->file);
	return !strcmp(mount->number, wanted->number) ||
	       idmap_same_device(mount->source, wanted->device);
}

static bool find(const struct wanted *wanted, struct idmap_standing *ret)
{
	struct idmap_arena arena;
	struct idmap_error unused;
	char *text;
	size_t size;

	if (idmap_arena_map(&arena, IDMAP_MOUNTS_MEMORY, &unused))
		return false;
	ret->memory = arena.at;
	if (!idmap_file_read("/proc/self/mountinfo", &arena, &text, &size))
		while (idmap_mountinfo_next(&text, &ret->mount))
			if (is_wanted(wanted, &ret->mount))
				return true;
	idmap_standing_done(ret);
	return false;
}

bool idmap_standing(const char *device, uint64_t number, struct idmap_standing *ret)
{
	struct wanted wanted = {.device = device};

	idmap_print(wanted.number, sizeof(wanted.number), "%u:%u", major(number), minor(number));
	return find(&wanted, ret);
}

bool idmap_standing_of_file(const char *file, struct idmap_standing *ret)
{
	return find(&(const struct wanted){.file = file}, ret);
}

bool idmap_is_mapped(int fd)
{
	struct idmap_standing standing;
	char id[24];
	bool mapped;

	idmap_print(id, sizeof(id), "%lu", (unsigned long)idmap_mount_id(fd, "", true).number);
	if (!find(&(const struct wanted){.id = id}, &standing))
		return false;
	mapped = idmap_contains(standing.mount.options, ",idmapped");
	idmap_standing_done(&standing);
	return mapped;
}

void idmap_standing_done(struct idmap_standing *standing)
{
	munmap(standing->memory, IDMAP_MOUNTS_MEMORY);
}
