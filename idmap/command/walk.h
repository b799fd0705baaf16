/* SPDX-License-Identifier: MIT */
/*
 * A folder's owners: which ids there are, on how many files, with a path of each.
 */
#ifndef WALK_H
#define WALK_H

#include <sys/stat.h>

#include "command.h"

struct owner {
	enum idmap_kind kind;
	uint32_t id;
	uint64_t files;
	char *example; /* from the folder on */
};

/* All of them, by kind and id; freed with their examples by owners_free(). */
struct owners {
	struct owner *owner;
	size_t count;
	uint64_t files;
	struct stat root; /* the folder itself, known before the walk begins */
};

/*
 * Looks at everything below the folder, which may be a link, and follows no links in it. Calls
 * `look`, if any, for each with its path from the folder on. Tells how far it is where a terminal
 * sees it. -errno, with the path that failed in ret_error.
 */
int walk_folder(const char *folder,
		void (*look)(void *arg, const char *path, const char *file, const struct stat *st),
		void *arg, struct owners *ret, struct idmap_error *ret_error);
void owners_free(struct owners *owners);
/* Adds one to the owner of that kind and id. */
void owners_add(struct owners *owners, enum idmap_kind kind, uint32_t id, const char *example);

/* Calls `found` for each user and group that the file's ACL of that name has entries for. */
void walk_acl(const char *file, const char *name,
	      void (*found)(void *arg, enum idmap_kind kind, uint32_t id), void *arg);

#endif
