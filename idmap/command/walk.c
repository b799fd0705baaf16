// SPDX-License-Identifier: MIT
/*
 * Walks through a folder once. A tree of millions of files has few owners, so these are kept sorted
 * in a plain array.
 */
#define _GNU_SOURCE
#include <errno.h>
#include <ftw.h>
#include <stdlib.h>
#include <string.h>
#include <sys/xattr.h>

#include "walk.h"

#define DEEPEST (PATH_MAX / 2) /* musl's nftw(3) goes no deeper, and says nothing of that */
#define VALUE_SIZE 65536
#define PROGRESS_US 500000

/* nftw(3) hands nothing on to its callback. */
static struct {
	size_t prefix;
	void (*look)(void *arg, const char *path, const char *file, const struct stat *st);
	void *arg;
	struct owners *owners;
	struct idmap_error *error;
	uint64_t told_us;
	bool terminal;
} walk;

static struct owner *find(struct owners *owners, enum idmap_kind kind, uint32_t id)
{
	size_t low = 0, high = owners->count;
	struct owner *owner;

	while (low < high) {
		size_t middle = low + (high - low) / 2;

		owner = &owners->owner[middle];
		if (owner->kind < kind || (owner->kind == kind && owner->id < id))
			low = middle + 1;
		else
			high = middle;
	}
	if (low < owners->count && owners->owner[low].kind == kind && owners->owner[low].id == id)
		return &owners->owner[low];
	owner = realloc(owners->owner, (owners->count + 1) * sizeof(*owner));
	if (!owner)
		return NULL;
	owners->owner = owner;
	memmove(owner + low + 1, owner + low, (owners->count++ - low) * sizeof(*owner));
	owner[low] = (struct owner){.kind = kind, .id = id};
	return &owner[low];
}

void owners_add(struct owners *owners, enum idmap_kind kind, uint32_t id, const char *example)
{
	struct owner *owner = find(owners, kind, id);

	if (owner && !owner->files++)
		owner->example = strdup(example);
}

void owners_free(struct owners *owners)
{
	while (owners->count)
		free(owners->owner[--owners->count].example);
	free(owners->owner);
	owners->owner = NULL;
}

static void tell_progress(void)
{
	const uint64_t now_us = idmap_now_us();

	if (!walk.terminal || now_us - walk.told_us < PROGRESS_US)
		return;
	walk.told_us = now_us;
	fprintf(stderr, "\r%llu files", (unsigned long long)walk.owners->files);
}

static int look_at(const char *path, const struct stat *st, int type, struct FTW *unused)
{
	const char *from = path + walk.prefix;

	(void)unused;
	if (type == FTW_NS || type == FTW_DNR)
		return idmap_fail(
			walk.error, NULL, IDMAP_NO_SOURCE, EACCES,
			"%s cannot be read (%m); run this as root, or name another folder", path);
	if (!*from)
		from = "/";
	walk.owners->files++;
	owners_add(walk.owners, IDMAP_UID, st->st_uid, from);
	owners_add(walk.owners, IDMAP_GID, st->st_gid, from);
	if (walk.look)
		walk.look(walk.arg, from, path, st);
	tell_progress();
	return 0;
}

int walk_folder(const char *folder,
		void (*look)(void *arg, const char *path, const char *file, const struct stat *st),
		void *arg, struct owners *ret, struct idmap_error *ret_error)
{
	char real[PATH_MAX];
	int result;

	*ret = (struct owners){0};
	/* Once: nftw(3) would look at a link itself, and what it leads to may change. */
	if (!real_path(folder, real) || stat(real, &ret->root))
		result = errno;
	else
		result = S_ISDIR(ret->root.st_mode) ? 0 : ENOTDIR;
	if (result)
		return idmap_fail(ret_error, NULL, IDMAP_NO_SOURCE, result,
				  "%s is no folder that can be read (%m); name one", folder);
	walk.prefix = real[1] ? strlen(real) : 0;
	walk.look = look;
	walk.arg = arg;
	walk.owners = ret;
	walk.error = ret_error;
	walk.terminal = isatty(STDERR_FILENO);
	walk.told_us = idmap_now_us();
	idmap_raise_files();
	result = nftw(real, look_at, DEEPEST, FTW_PHYS);
	if (walk.terminal)
		fprintf(stderr, "\r\033[K");
	if (result == -1)
		return idmap_fail(
			ret_error, NULL, IDMAP_NO_SOURCE, errno,
			"%s cannot be read (%m); run this as root, or name another folder", real);
	return result;
}

/* linux/posix_acl_xattr.h */
void walk_acl(const char *file, const char *name,
	      void (*found)(void *arg, enum idmap_kind kind, uint32_t id), void *arg)
{
	static char value[VALUE_SIZE];
	ssize_t size = lgetxattr(file, name, value, sizeof(value)), at;

	for (at = 4; at + 8 <= size; at += 8) {
		const uint64_t tag = idmap_little(value + at, 2);

		if (tag == 2 || tag == 8)
			found(arg, tag == 2 ? IDMAP_UID : IDMAP_GID,
			      (uint32_t)idmap_little(value + at + 4, 4));
	}
}
