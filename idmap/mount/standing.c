// SPDX-License-Identifier: MIT
/*
 * What was mounted before we came, by the kernel or by somebody else: a filesystem is mounted once,
 * and whatever a row says of it that mount has said before.
 */
#include <string.h>
#include <sys/mman.h>
#include <sys/sysmacros.h>

#include "mount/standing.h"

#define MOUNTS_MEMORY (8 << 20) /* costs what is touched */

bool idmap_standing(const struct idmap_row *row, uint64_t number, struct idmap_standing *ret)
{
	struct idmap_arena arena;
	struct idmap_error unused;
	char words[24], *text;
	size_t size;

	if (idmap_arena_map(&arena, MOUNTS_MEMORY, &unused))
		return false;
	ret->memory = arena.at;
	idmap_print(words, sizeof(words), "%u:%u", major(number), minor(number));
	if (!idmap_file_read("/proc/self/mountinfo", &arena, &text, &size))
		while (idmap_mountinfo_next(&text, &ret->mount))
			if (!strcmp(ret->mount.number, words) ||
			    !strcmp(ret->mount.source, row->device))
				return true;
	idmap_standing_done(ret);
	return false;
}

void idmap_standing_done(struct idmap_standing *standing)
{
	munmap(standing->memory, MOUNTS_MEMORY);
}
