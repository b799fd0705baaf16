// SPDX-License-Identifier: MIT
/*
 * The map that shows the files below a folder from 0 on. Ids that lie near to one another are one
 * range, as such are given to a guest or to a user, and ranges follow one another where they are
 * seen.
 */
#include "suggestion.h"
#include "walk.h"

#define RANGE 65536 /* ids of a user namespace, as useradd(8) and systemd-nspawn(1) give them */
#define SUBID_FIRST 100000 /* SUB_UID_MIN of login.defs(5) */
#define FAR 65536	   /* ids further apart belong to two ranges */

/* Owners of a kind that are near to one another. */
struct group {
	uint32_t first, last;
	uint64_t files;
	size_t end; /* behind the last of them, in the owners */
};

/* Who is to be seen as root. */
struct root {
	uint32_t owner; /* of the folder itself */
	uint32_t id;	/* seen as 0, or near to that */
	bool rootless;	/* a user, whose other ids are of a range */
	bool stranger;	/* the owner only made the folder, and is left out */
};

/* Where the range begins that has the id in it, as such ranges are given. */
static uint32_t range_of(uint32_t id)
{
	return id < SUBID_FIRST ? id - id % RANGE
				: SUBID_FIRST + (id - SUBID_FIRST) / RANGE * RANGE;
}

/* Whether ranges begin with it: those of useradd(8), or of systemd-nspawn(1), by its multiples. */
static bool is_start(uint32_t id)
{
	return id % RANGE == 0 || range_of(id) == id;
}

/*
 * Where the extent of the ids from `first` to `last` begins: with the folder's owner if he is the
 * first of them, or further on in another range; else as ranges do.
 */
static uint32_t base_of(uint32_t first, uint32_t last, uint32_t root)
{
	const bool inside = root >= first && root <= last;

	return is_start(first) || (inside && (root == first || range_of(root) != range_of(first)))
		       ? first
		       : range_of(first);
}

/* Whether there is one of that kind there, whose id is one. */
static bool is_one(const struct owners *owners, size_t at, enum idmap_kind kind)
{
	return at < owners->count && owners->owner[at].kind == kind &&
	       owners->owner[at].id <= IDMAP_ID_MAX;
}

/* A machine's own ids, nobody's (65534) among them, are none of the ranges that it gives. */
static bool are_near(uint32_t id, uint32_t next)
{
	return next - id < FAR && !(id < RANGE && next >= SUBID_FIRST);
}

static struct group group_at(const struct owners *owners, size_t at)
{
	const struct owner *owner = &owners->owner[at];
	struct group group = {owner->id, owner->id, owner->files, at + 1};

	while (is_one(owners, group.end, owner->kind) &&
	       are_near(group.last, owners->owner[group.end].id)) {
		group.last = owners->owner[group.end].id;
		group.files += owners->owner[group.end++].files;
	}
	return group;
}

static bool has(const struct group *group, uint32_t id)
{
	return id >= group->first && id <= group->last;
}

/*
 * The owner of the folder itself is its root. But one whose range has no other ids and fewer files
 * than another one, which begins where such ranges do, has only made the folder that the others
 * were unpacked in.
 */
static struct root find_root(const struct owners *owners, enum idmap_kind kind, uint32_t owner)
{
	struct root root = {.owner = owner, .id = owner};
	struct group group, own = {0}, most = {0};
	size_t i;

	for (i = 0; i < owners->count; i = group.end) {
		group.end = i + 1;
		if (!is_one(owners, i, kind))
			continue;
		group = group_at(owners, i);
		if (has(&group, owner))
			own = group;
		else if (group.files > most.files)
			most = group;
	}
	root.rootless = own.first == own.last && owner && !is_start(owner) && most.files &&
			most.first >= SUBID_FIRST;
	root.stranger = own.first == own.last && most.files > own.files && is_start(most.first);
	if (root.stranger)
		root.id = most.first;
	return root;
}

/*
 * The extent of a group behind those that there are. Where the root is a user with no other ids
 * near, and a range beside his own, those begin with 1 (rootless containers).
 */
static bool add_group(struct suggestion *suggestion, const struct group *group,
		      const struct root *root)
{
	const struct suggested *extent = suggestion->extent;
	uint64_t seen = 0, base, count;
	size_t i;

	for (i = 0; i < suggestion->count; i++)
		seen += extent[i].count;
	if (root->rootless && !root->stranger && group->first == root->id)
		return suggestion_add(suggestion, root->id, seen, 1);
	base = base_of(group->first, group->last, root->id);
	/* Where its range would begin one below has not ended: then it is what follows. */
	for (i = 0; i < suggestion->count; i++)
		if (extent[i].disk < group->first && base < extent[i].disk + extent[i].count)
			base = extent[i].disk + extent[i].count;
	count = seen == 1 ? RANGE - 1 : RANGE;
	while (base + count <= group->last)
		count += RANGE;
	if (base + count > IDMAP_ID_MAX)
		count = IDMAP_ID_MAX + UINT64_C(1) - base;
	for (i = 0; i < suggestion->count; i++)
		if (extent[i].disk > group->last && base + count > extent[i].disk)
			count = extent[i].disk - base;
	return suggestion_add(suggestion, base, seen, count);
}

static void tell_no_id(const struct owner *owner, const char *name)
{
	fprintf(stderr, "%llu files have the %s %u, which is no id, such as %s: it is left out\n",
		(unsigned long long)owner->files, name, owner->id,
		one_line(owner->example ? owner->example : "?"));
}

static void tell_stranger(const struct owner *owner, const char *name, uint32_t root)
{
	fprintf(stderr,
		"%llu files have the %s %u, such as %s: left out, as whoever unpacked the others has"
		" made them; give them to %u (chown), or they are nobody's\n",
		(unsigned long long)owner->files, name, owner->id,
		one_line(owner->example ? owner->example : "?"), root);
}

/*
 * Extents for the ids of a kind, sorted in owners: for those among which the root is, or where his
 * range is, and for the others, each in turn.
 */
static bool suggest_kind(const struct owners *owners, enum idmap_kind kind, const struct root *root,
			 struct suggestion *ret)
{
	const char *name = kind == IDMAP_UID ? "uid" : "gid";
	bool others = false;
	size_t i = 0;

	while (i < owners->count || !others) {
		const struct owner *owner = &owners->owner[i];
		struct group group;

		if (i == owners->count) {
			others = true;
			i = 0;
		} else if (owner->kind != kind) {
			i++;
		} else if (owner->id > IDMAP_ID_MAX) {
			if (others)
				tell_no_id(owner, name);
			i++;
		} else {
			group = group_at(owners, i);
			i = group.end;
			if (has(&group, root->id) == others)
				continue;
			if (root->stranger && has(&group, root->owner)) {
				tell_stranger(owner, name, root->id);
				continue;
			}
			fprintf(stderr, "%llu files have %ss from %u to %u\n",
				(unsigned long long)group.files, name, group.first, group.last);
			if (!add_group(ret, &group, root))
				return false;
		}
	}
	return true;
}

/* Whether extents found for the other kind show all ids of this one, the folder's owner as 0. */
static bool fits(const struct suggestion *found, const struct owners *owners, enum idmap_kind kind,
		 uint32_t root)
{
	size_t i, at;

	if (!found->count || found->extent[0].disk != root)
		return false;
	for (i = 0; i < owners->count; i++) {
		const struct owner *owner = &owners->owner[i];

		if (owner->kind != kind || owner->id > IDMAP_ID_MAX)
			continue;
		for (at = 0; at < found->count; at++)
			if (owner->id - found->extent[at].disk < found->extent[at].count)
				break;
		if (at == found->count)
			return false;
	}
	return true;
}

struct walk {
	struct owners owners;
	const char *path;
};

static void add_entry(void *arg, enum idmap_kind kind, uint32_t id)
{
	struct walk *walk = arg;

	owners_add(&walk->owners, kind, id, walk->path);
}

/* Whoever is named by an ACL is to be let in, too. */
static void look(void *arg, const char *path, const char *file, const struct stat *st)
{
	struct walk *walk = arg;

	walk->path = path;
	if (!S_ISLNK(st->st_mode))
		walk_acl(file, "system.posix_acl_access", add_entry, walk);
	if (S_ISDIR(st->st_mode))
		walk_acl(file, "system.posix_acl_default", add_entry, walk);
}

int suggest_ranges(const char *folder, struct suggestion ret[IDMAP_KINDS])
{
	struct suggestion *uid = &ret[IDMAP_UID], *gid = &ret[IDMAP_GID];
	struct idmap_error error;
	struct walk walk;
	struct owners *owners = &walk.owners;
	struct root root_uid, root_gid;

	if (walk_folder(folder, look, &walk, owners, &error))
		return suggestion_failed(&error);
	root_uid = find_root(owners, IDMAP_UID, owners->root.st_uid);
	root_gid = find_root(owners, IDMAP_GID, owners->root.st_gid);
	if (!suggest_kind(owners, IDMAP_UID, &root_uid, uid) ||
	    !suggest_kind(owners, IDMAP_GID, &root_gid, gid))
		return suggestion_no_memory();
	/* A kind of which only root has files says less than the other one does. */
	if (uid->count < gid->count && fits(gid, owners, IDMAP_UID, root_uid.id))
		*uid = *gid;
	else if (gid->count < uid->count && fits(uid, owners, IDMAP_GID, root_gid.id))
		*gid = *uid;
	owners_free(owners);
	return EXIT_DONE;
}
