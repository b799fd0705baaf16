/* SPDX-License-Identifier: MIT */
/*
 * What is mounted already: what standing.c and once.c give to those that mount, or say why not.
 */
#ifndef STANDING_H
#define STANDING_H

#include "mount/mount.h"

/* A mount that was there before. */
struct idmap_standing {
	struct idmap_mountinfo mount;
	char *memory; /* its text */
};

/* Whether somebody may have mounted something before us. */
static inline bool idmap_may_stand(const struct idmap_stage *stage)
{
	return stage->plan->root->booted || stage->plan->root->others;
}

/* Whether both are one block device, by whatever names; else they are what they are called. */
bool idmap_same_device(const char *a, const char *b);
/* The first one of that device, or of one of that number; then it is to be done with. */
bool idmap_standing(const char *device, uint64_t number, struct idmap_standing *ret);
/* One of a loop device that has the file, and can write to it. */
bool idmap_standing_of_file(const char *file, struct idmap_standing *ret);
void idmap_standing_done(struct idmap_standing *standing);
/* Whether the mount that a descriptor lies on has a map, whoever has made it. */
bool idmap_is_mapped(int fd);

/*
 * A filesystem is mounted once, whatever the number of rows that have it, with the options of the
 * first: the kernel takes those of another row and goes by none of them, without a word. -EINVAL
 * where the row, whose tree that is, asks for other ones; what it is where somebody else has
 * mounted it is noted.
 */
int idmap_once_check(const struct idmap_stage *stage, struct idmap_row *row, int tree_fd,
		     struct idmap_error *ret_error);

#endif
