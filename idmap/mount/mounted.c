// SPDX-License-Identifier: MIT
/*
 * Which mount it is: statx(2) tells its numbers, by which it is known again.
 */
#define _GNU_SOURCE
#include <string.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "mount/mount.h"

/* linux/stat.h: 5.8; STATX_MNT_ID_UNIQUE 6.8; where struct statx has it, in 64 bits each */
#define MNT_ID 0x1000
#define MNT_ID_UNIQUE 0x4000
#define MNT_ID_AT 18
#define ATTR_MOUNT_ROOT 0x2000 /* the same: 5.8 */
#define ATTRIBUTES_AT 1
#define STATX_WORDS 32 /* struct statx, whose mask comes first */

static bool statx_words(int dir_fd, const char *path, unsigned int mask,
			uint64_t answer[STATX_WORDS])
{
	return !syscall(SYS_statx, dir_fd, path,
			AT_SYMLINK_NOFOLLOW | AT_NO_AUTOMOUNT | AT_EMPTY_PATH, mask, answer);
}

bool idmap_is_mount_root(int dir_fd, const char *path)
{
	uint64_t answer[STATX_WORDS];

	return statx_words(dir_fd, path, 0, answer) && answer[ATTRIBUTES_AT] & ATTR_MOUNT_ROOT;
}

/* Which of those the answer is: of both the second, where the kernel has it; 0: there is none. */
static unsigned int ask(int dir_fd, const char *path, unsigned int mask, uint64_t *ret)
{
	uint64_t answer[STATX_WORDS];

	if (!statx_words(dir_fd, path, mask, answer) || !(answer[0] & mask))
		return 0;
	*ret = answer[MNT_ID_AT];
	return (unsigned int)answer[0] & mask;
}

struct idmap_mount_id idmap_mount_id(int dir_fd, const char *path, bool both)
{
	struct idmap_mount_id id = {0};
	struct stat st;
	uint64_t number;
	const unsigned int told = ask(dir_fd, path, MNT_ID | MNT_ID_UNIQUE, &number);

	if (told & MNT_ID_UNIQUE) {
		id.unique = number;
		if (both)
			ask(dir_fd, path, MNT_ID, &id.number);
	} else if (told) {
		id.number = number;
		id.looks = !fstatat(dir_fd, path, &st, *path ? AT_SYMLINK_NOFOLLOW : AT_EMPTY_PATH);
	}
	if (id.looks) {
		const uint64_t looks[] = {st.st_dev, st.st_ino, st.st_uid, st.st_gid,
					  st.st_mode & S_IFMT};
		size_t i;

		for (i = 0; i < COUNT_OF(looks); i++) /* FNV-1a, by words */
			id.unique = (id.unique ^ looks[i]) * UINT64_C(0x100000001b3) + 1;
	}
	return id;
}

const char *idmap_path_join(char path[PATH_MAX], const char *folder, const char *rest)
{
	if (!strcmp(rest, "/"))
		rest = "";
	return idmap_print(path, PATH_MAX, "%s%s", folder[1] || !*rest ? folder : "", rest);
}

const char *idmap_path_behind(const char *path, const char *folder)
{
	return path + (folder[1] ? strlen(folder) : !path[1]);
}

bool idmap_same_place(int dir_fd, const char *one, const char *other)
{
	struct stat st, other_st;

	if (fstatat(dir_fd, one, &st, AT_SYMLINK_NOFOLLOW) ||
	    fstatat(dir_fd, other, &other_st, AT_SYMLINK_NOFOLLOW) ||
	    st.st_dev != other_st.st_dev || st.st_ino != other_st.st_ino)
		return false;
	/* A file may have another name that is a place of its own. */
	if (!S_ISDIR(st.st_mode) && st.st_nlink > 1)
		return false;
	return idmap_mount_id(dir_fd, one, true).number ==
	       idmap_mount_id(dir_fd, other, true).number;
}
