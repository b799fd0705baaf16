/* SPDX-License-Identifier: MIT */
/*
 * Whether a program of the new root can be run: what program.c gives to whoever starts one.
 */
#ifndef PROGRAM_H
#define PROGRAM_H

#include "mount/mount.h"

/* What is wrong with a program, for the line that a person reads. */
struct idmap_program {
	uint32_t uid, gid; /* its owner, as seen */
	bool is_like_us;   /* its file begins with this program's header, as hardly another does */
	char interpreter[256]; /* whose trouble it is, or "" for the program's own */
	char fault[200];       /* what is wrong and what to do, where that is known, or "" */
};

/*
 * Whether the program can be run in the root on the stage: its mode, its format, that its
 * interpreter or loader is there and can be run too; what they lie on comes along before. 0, or the
 * -errno that execve(2) would give, or a clearer one.
 */
int idmap_program_check(struct idmap_stage *stage, const char *path, struct idmap_program *ret);

#endif
