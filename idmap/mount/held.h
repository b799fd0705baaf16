/* SPDX-License-Identifier: MIT */
/*
 * Who has what a row is to have: what held.c gives to those that say why it does not mount.
 */
#ifndef HELD_H
#define HELD_H

#include "mount/mount.h"

/* The device is mounted already, in another way: by whom, and what to do. */
void idmap_held_add_holder(const struct idmap_stage *stage, const struct idmap_row *row,
			   struct idmap_text *text);
/*
 * A filesystem that is here by its UUID already: another disk's, where `clones` says what to do, or
 * the same image file's.
 */
void idmap_held_add_clone(const struct idmap_stage *stage, const struct idmap_row *row,
			  const char *clones, struct idmap_text *text);

#endif
