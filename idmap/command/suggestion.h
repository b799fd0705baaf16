/* SPDX-License-Identifier: MIT */
/*
 * A map that idmap suggest is about to print, and the ways to find one. Each gives an exit code.
 */
#ifndef SUGGESTION_H
#define SUGGESTION_H

#include "command.h"

/* Of one kind. Wider than ids are, so that a sum is refused and never wraps. */
struct suggestion {
	struct suggested {
		uint64_t disk, seen, count;
	} * extent;
	size_t count;
};

/* --- suggestion.c ---------------------------------------------------------------------------- */

/* Tell why nothing can be suggested. */
int suggestion_failed(const struct idmap_error *error);
int suggestion_no_memory(void);
/* Adds an extent at the end, to the last one where it goes on from that. false: no memory. */
bool suggestion_add(struct suggestion *suggestion, uint64_t disk, uint64_t seen, uint64_t count);
/*
 * Prints both kinds as an option text, or why a table would refuse that. `rest` is what stands
 * behind each kind, such as "identity", or "".
 */
int suggestion_print(const struct suggestion of[IDMAP_KINDS], const char *rest);

/* --- ranges.c, names.c, subids.c ------------------------------------------------------------- */

/* The map that shows what is below the folder from 0 on. */
int suggest_ranges(const char *folder, struct suggestion ret[IDMAP_KINDS]);
/* That from the numbers of the names in one system to those in another; the rest is identity. */
int suggest_names(const char *from, const char *to, struct suggestion ret[IDMAP_KINDS]);
/* That of the user's subordinate ids. */
int suggest_subids(const char *user, struct suggestion ret[IDMAP_KINDS]);

#endif
