/* SPDX-License-Identifier: MIT */
/*
 * Mounts of the host in a share: what announced.c gives to those who map trees.
 */
#ifndef ANNOUNCED_H
#define ANNOUNCED_H

#include <limits.h>

#include "mount/mount.h"

/*
 * Asked before a tree of a share, which the row has there, is mapped. Refuses it where in its root
 * folder the kernel would mount something without the map that the row has or shows, if nothing is
 * to be seen in its place.
 */
int idmap_refuse_announced(const struct idmap_stage *stage, int tree_fd, struct idmap_row *row,
			   const char *target, struct idmap_error *ret_error);

#endif
