// SPDX-License-Identifier: MIT
/*
 * A row on a mount that is shared appears on its peers, too (mount_namespaces(7)): a bind of
 * fstab(5) shares with what it shows wherever systemd runs. That is as the kernel's mounts are, and
 * told; but where the other place is one that the table names, its rows would cover each other.
 */
#include <errno.h>
#include <string.h>

#include "command.h"

/* The mount that is seen at a path, with no link in it; NULL: the list does not tell. */
static const struct idmap_mountinfo *seen_at(const struct mounts *mounts, const char *path)
{
	const struct idmap_mountinfo *seen = mounts_at(mounts, "/"), *next = seen;
	size_t i, steps;

	/* As many steps as there are mounts, whatever the list says. */
	for (steps = 0; next && steps < mounts->count; steps++) {
		seen = next;
		next = NULL;
		for (i = 0; i < mounts->count; i++) {
			const struct idmap_mountinfo *mount = &mounts->mount[i];

			/* Of those that stand on it the first on the way. */
			if (mount != seen && !strcmp(mount->parent, seen->id) &&
			    idmap_path_inside(path, mount->target) &&
			    (!next || strlen(mount->target) < strlen(next->target)))
				next = mount;
		}
	}
	return seen;
}

/* Whether it is on an earlier row, whose own copies have been looked at. */
static bool is_on_row(const struct record *record, const struct idmap_plan *plan, const char *path,
		      const struct idmap_mountinfo *below)
{
	char target[PATH_MAX];
	uint32_t i;

	for (i = 0; i < plan->rows; i++)
		if (plan->row[i]->flags & IDMAP_PLACED && !(plan->row[i]->flags & IDMAP_LAYER) &&
		    idmap_path_inside(path, record_target(record, plan->row[i], target)) &&
		    idmap_path_inside(target, below->target))
			return true;
	return false;
}

/* Whether what appears there covers a row's TARGET, or what a bind shows. */
static bool is_of_table(const struct record *record, const struct idmap_plan *plan,
			const char *copy)
{
	char path[PATH_MAX];
	uint32_t i;

	for (i = 0; i < plan->rows; i++) {
		const struct idmap_row *row = plan->row[i];

		if (idmap_path_inside(record_target(record, row, path), copy) ||
		    (row->inside &&
		     idmap_path_inside(idmap_path_join(path, record->folder, row->inside), copy)))
			return true;
	}
	return false;
}

/* Whether what is mounted there on the peer is seen; a root is mounted in the place of another. */
static bool is_seen(const struct mounts *mounts, const struct idmap_mountinfo *peer,
		    const char *copy, bool root)
{
	const struct idmap_mountinfo *seen = seen_at(mounts, copy);

	return seen == peer ||
	       (root && seen && !strcmp(seen->target, copy) && mounts_parent(mounts, seen) == peer);
}

int peers_look(const struct record *record, const struct idmap_plan *plan,
	       const struct mounts *mounts, const struct idmap_row *row, struct idmap_notes *notes,
	       struct idmap_error *ret_error)
{
	char target[PATH_MAX], inside[PATH_MAX], copy[PATH_MAX];
	const struct idmap_mountinfo *below = seen_at(mounts, record_target(record, row, target));
	const bool root = idmap_row_is_root(row);
	size_t i;

	if (below && root)
		below = mounts_parent(mounts, below);
	if (!below || !below->peers || (!root && is_on_row(record, plan, target, below)))
		return 0;
	idmap_path_join(inside, below->root, idmap_path_behind(target, below->target));
	for (i = 0; i < mounts->count; i++) {
		const struct idmap_mountinfo *peer = &mounts->mount[i];

		if (peer == below || !idmap_mount_gets(peer, below) ||
		    !idmap_path_inside(inside, peer->root) ||
		    !is_seen(mounts, peer,
			     idmap_path_join(copy, peer->target,
					     idmap_path_behind(inside, peer->root)),
			     root))
			continue;
		/* It goes with what a root replaces. */
		if (root && idmap_path_inside(peer->target, target))
			continue;
		if (is_of_table(record, plan, copy))
			return idmap_fail(
				ret_error, row, IDMAP_NO_TARGET, EBUSY,
				"the mount on %s is shared with that on %s, so this would appear"
				" on %s, too, which the table names; unmount it, or make it"
				" private (mount --make-private %s)",
				below->target, peer->target, copy, below->target);
		idmap_note(notes,
			   "%s appears on %s, too%s, since the mounts on %s and %s are shared; make"
			   " one private before where that is not meant (mount --make-private)",
			   target, copy,
			   seen_at(mounts, copy) == peer ? "" : " (in place of what is there)",
			   below->target, peer->target);
	}
	return 0;
}
