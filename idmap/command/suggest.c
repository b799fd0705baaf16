// SPDX-License-Identifier: MIT
/*
 * idmap suggest: a map from what is there, for a person to look at: the owners below a folder, the
 * names of two systems, or the ids that a user has been given.
 */
#include <errno.h>
#include <pwd.h>
#include <stdlib.h>
#include <string.h>

#include "walk.h"

#define RANGE 65536 /* ids of a user namespace, as useradd(8) and systemd-nspawn(1) give them */
#define SUBID_FIRST 100000 /* SUB_UID_MIN of login.defs(5) */
#define FAR 65536	   /* ids further apart belong to two ranges */

struct extents {
	struct idmap_extent extent[IDMAP_EXTENTS_MAX];
	uint32_t count;
};

static void print_list(const struct extents *extents)
{
	uint32_t i;

	for (i = 0; i < extents->count; i++)
		printf("%s%u:%u:%u", i ? "," : "", extents->extent[i].disk, extents->extent[i].seen,
		       extents->extent[i].count);
}

/* Two lists as one option text; `rest`: what stands behind each, such as ",identity". */
static void print_map(const struct extents of[IDMAP_KINDS], const char *rest)
{
	const bool same = of[0].count == of[1].count &&
			  !memcmp(of[0].extent, of[1].extent, of[0].count * sizeof(*of[0].extent));

	printf(same ? "idmap=" : "uidmap=");
	print_list(&of[IDMAP_UID]);
	fputs(of[IDMAP_UID].count ? rest : *rest ? rest + 1 : "", stdout);
	if (!same) {
		printf(",gidmap=");
		print_list(&of[IDMAP_GID]);
		fputs(of[IDMAP_GID].count ? rest : *rest ? rest + 1 : "", stdout);
	}
	putchar('\n');
}

static bool add(struct extents *extents, uint32_t disk, uint32_t seen, uint32_t count)
{
	struct idmap_extent *last = extents->extent + extents->count - 1;

	if (extents->count && last->disk + last->count == disk &&
	    last->seen + last->count == seen) {
		last->count += count;
		return true;
	}
	if (extents->count == IDMAP_EXTENTS_MAX)
		return false;
	extents->extent[extents->count++] =
		(struct idmap_extent){.disk = disk, .seen = seen, .count = count};
	return true;
}

/* --- of a folder ----------------------------------------------------------------------------- */

/* Where the range begins that has the id in it, as such ranges are given. */
static uint32_t range_of(uint32_t id)
{
	return id < SUBID_FIRST ? id - id % RANGE
				: SUBID_FIRST + (id - SUBID_FIRST) / RANGE * RANGE;
}

/*
 * Where the extent of the ids from `first` to `last` begins: with the folder's owner if he is the
 * first of them, or further on in another range; else as ranges do.
 */
static uint32_t base_of(uint32_t first, uint32_t last, uint32_t root)
{
	const bool inside = root >= first && root <= last;

	return inside && (root == first || range_of(root) != range_of(first)) ? first
									      : range_of(first);
}

/*
 * Extents for the ids of a kind, sorted in owners. The owner of the folder itself is its root;
 * where he has a range to himself, it is that of a user whose other ids begin with 1 (rootless
 * containers).
 */
static bool suggest_kind(const struct owners *owners, enum idmap_kind kind, uint32_t root,
			 struct extents *ret)
{
	uint32_t seen = 0;
	size_t i, next;

	ret->count = 0;
	for (i = 0; i < owners->count; i = next) {
		const struct owner *first = &owners->owner[i];
		uint32_t base, last;
		uint64_t files = 0, count;

		next = i + 1;
		if (first->kind != kind)
			continue;
		last = first->id;
		files = first->files;
		while (next < owners->count && owners->owner[next].kind == kind &&
		       owners->owner[next].id - last < FAR) {
			last = owners->owner[next].id;
			files += owners->owner[next++].files;
		}
		if (first->id == last && last == root && i + 1 < owners->count &&
		    owners->owner[i + 1].kind == kind) {
			base = root;
			count = 1;
		} else {
			base = base_of(first->id, last, root);
			count = RANGE;
			while (base + count <= last)
				count += RANGE;
			if (seen == 1) /* behind a root of his own the first range is one shorter */
				count--;
		}
		if (base + count > IDMAP_ID_MAX)
			count = IDMAP_ID_MAX + UINT64_C(1) - base;
		fprintf(stderr, "%llu files have %ss from %u to %u\n", (unsigned long long)files,
			kind == IDMAP_UID ? "uid" : "gid", first->id, last);
		if (!add(ret, base, seen, (uint32_t)count))
			return false;
		seen += (uint32_t)count;
	}
	return true;
}

/* Whether extents found for the other kind show all ids of this one, the folder's owner as 0. */
static bool fits(const struct extents *extents, const struct owners *owners, enum idmap_kind kind,
		 uint32_t root)
{
	size_t i;
	uint32_t at;

	if (extents->extent[0].disk != root)
		return false;
	for (i = 0; i < owners->count; i++) {
		const struct owner *owner = &owners->owner[i];

		for (at = 0; owner->kind == kind && at < extents->count; at++)
			if (owner->id - extents->extent[at].disk < extents->extent[at].count)
				break;
		if (owner->kind == kind && at == extents->count)
			return false;
	}
	return true;
}

static int suggest_folder(const char *folder)
{
	struct extents of[IDMAP_KINDS];
	struct idmap_error error;
	struct owners owners;

	if (walk_folder(folder, NULL, NULL, &owners, &error))
		return tell_failed(&command_suggest, &error);
	if (!suggest_kind(&owners, IDMAP_UID, owners.root.st_uid, &of[IDMAP_UID]) ||
	    !suggest_kind(&owners, IDMAP_GID, owners.root.st_gid, &of[IDMAP_GID])) {
		fprintf(stderr,
			"idmap suggest: %s: its ids lie in more ranges than a map has; shift them"
			" first\n",
			folder);
		return IDMAP_NO_MAP;
	}
	/* A kind of which only root has files says less than the other one does. */
	if (of[IDMAP_UID].count < of[IDMAP_GID].count &&
	    fits(&of[IDMAP_GID], &owners, IDMAP_UID, owners.root.st_uid))
		of[IDMAP_UID] = of[IDMAP_GID];
	else if (of[IDMAP_GID].count < of[IDMAP_UID].count &&
		 fits(&of[IDMAP_UID], &owners, IDMAP_GID, owners.root.st_gid))
		of[IDMAP_GID] = of[IDMAP_UID];
	owners_free(&owners);
	print_map(of, "");
	return EXIT_DONE;
}

/* --- by names -------------------------------------------------------------------------------- */

struct name {
	char *name;
	uint32_t id;
};

struct names {
	struct name *name;
	size_t count;
};

/* passwd(5) and group(5) alike: the name first, its id third. */
static int read_names(const char *folder, const char *file, struct names *ret)
{
	char path[4096], line[65536];
	FILE *in;

	*ret = (struct names){0};
	idmap_print(path, sizeof(path), "%s/etc/%s", folder, file);
	in = fopen(path, "re");
	if (!in) {
		fprintf(stderr,
			"idmap suggest: %s cannot be read (%s); name a folder that has it\n", path,
			strerror(errno));
		return IDMAP_NO_SOURCE;
	}
	while (fgets(line, sizeof(line), in)) {
		char *id = strchr(line, ':'), *end = id ? strchr(id + 1, ':') : NULL;
		char *stop = end ? strchr(end + 1, ':') : NULL;
		struct name *name;
		uint32_t number;

		if (!stop ||
		    idmap_read_u32(end + 1, (size_t)(stop - end - 1), &number) != NUMBER_OK)
			continue;
		name = realloc(ret->name, (ret->count + 1) * sizeof(*name));
		if (!name)
			break;
		*id = 0;
		ret->name = name;
		ret->name[ret->count++] = (struct name){.name = strdup(line), .id = number};
	}
	fclose(in);
	return 0;
}

static const struct name *find_name(const struct names *names, const char *name)
{
	size_t i;

	for (i = 0; i < names->count; i++)
		if (!strcmp(names->name[i].name, name))
			return &names->name[i];
	return NULL;
}

static int compare_disk(const void *a, const void *b)
{
	const struct idmap_extent *x = a, *y = b;

	return x->disk < y->disk ? -1 : x->disk > y->disk;
}

/* An extent for each name whose number differs; everything else is left to identity. */
static bool suggest_names(const struct names *old, const struct names *new, struct extents *ret)
{
	struct idmap_extent pair[4096];
	size_t count = 0, i, j;

	ret->count = 0;
	for (i = 0; i < old->count; i++) {
		const struct name *other = find_name(new, old->name[i].name);

		if (!other) {
			fprintf(stderr, "%s (%u) has no namesake in the new one\n",
				old->name[i].name, old->name[i].id);
			continue;
		}
		for (j = 0; j < count; j++)
			if (pair[j].disk == old->name[i].id || pair[j].seen == other->id)
				break;
		if (j < count ||
		    count == COUNT_OF(pair)) /* two names of one number: the first counts */
			continue;
		pair[count++] = (struct idmap_extent){old->name[i].id, other->id, 1};
	}
	qsort(pair, count, sizeof(*pair), compare_disk);
	for (i = 0; i < count; i++)
		if (pair[i].disk != pair[i].seen && !add(ret, pair[i].disk, pair[i].seen, 1))
			return false;
	return true;
}

static int suggest_by_names(const char *from, const char *to)
{
	static const char *const files[] = {[IDMAP_UID] = "passwd", [IDMAP_GID] = "group"};
	struct extents of[IDMAP_KINDS];
	uint32_t kind;

	for (kind = 0; kind < IDMAP_KINDS; kind++) {
		struct names old, new;
		int code = read_names(from, files[kind], &old);

		if (!code)
			code = read_names(to, files[kind], &new);
		if (code)
			return code;
		if (!suggest_names(&old, &new, &of[kind])) {
			fprintf(stderr,
				"idmap suggest: more names differ than a map has extents (%u)\n",
				IDMAP_EXTENTS_MAX);
			return IDMAP_NO_MAP;
		}
	}
	print_map(of, ",identity");
	return EXIT_DONE;
}

/* --- of a user ------------------------------------------------------------------------------- */

/* The user's line of subuid(5) or subgid(5). */
static int read_range(const char *path, const char *user, uint32_t id, uint32_t *ret_first,
		      uint32_t *ret_count)
{
	char line[4096], number[12];
	FILE *in = fopen(path, "re");

	idmap_print(number, sizeof(number), "%u", id);
	while (in && fgets(line, sizeof(line), in)) {
		char *first = strchr(line, ':'), *count = first ? strchr(first + 1, ':') : NULL;

		if (!count)
			continue;
		*first++ = *count++ = 0;
		count[strcspn(count, "\n")] = 0;
		if ((!strcmp(line, user) || !strcmp(line, number)) &&
		    idmap_read_u32(first, strlen(first), ret_first) == NUMBER_OK &&
		    idmap_read_u32(count, strlen(count), ret_count) == NUMBER_OK && *ret_count) {
			fclose(in);
			return 0;
		}
	}
	if (in)
		fclose(in);
	fprintf(stderr,
		"idmap suggest: %s gives %s no ids; add them with usermod --add-subuids and"
		" --add-subgids\n",
		path, user);
	return IDMAP_NO_SOURCE;
}

static int suggest_subuid(const char *user)
{
	static const char *const paths[] = {
		[IDMAP_UID] = "/etc/subuid", [IDMAP_GID] = "/etc/subgid"};
	struct extents of[IDMAP_KINDS] = {0};
	uint32_t id[IDMAP_KINDS], kind, first, count;
	const struct passwd *passwd = getpwnam(user);

	if (!passwd) {
		fprintf(stderr, "idmap suggest: %s is no user of /etc/passwd; name one\n", user);
		return IDMAP_NO_SOURCE;
	}
	id[IDMAP_UID] = passwd->pw_uid;
	id[IDMAP_GID] = passwd->pw_gid;
	for (kind = 0; kind < IDMAP_KINDS; kind++) {
		int code = read_range(paths[kind], user, id[IDMAP_UID], &first, &count);

		if (code)
			return code;
		add(&of[kind], id[kind], 0, 1);
		add(&of[kind], first, 1, count);
	}
	print_map(of, "");
	return EXIT_DONE;
}

static int run(int argc, char **argv)
{
	if (argc == 2 && *argv[1] != '-')
		return suggest_folder(argv[1]);
	if (argc == 3 && !strcmp(argv[1], "--subuid"))
		return suggest_subuid(argv[2]);
	if (argc == 5 && !strcmp(argv[1], "--from") && !strcmp(argv[3], "--to"))
		return suggest_by_names(argv[2], argv[4]);
	return bad_use(&command_suggest, argc > 1 ? argv[1] : "what",
		       argc > 1 ? "not used like that"
				: "missing: a folder, --from and --to, or --subuid");
}

const struct command command_suggest = {
	"suggest",
	"DIR | --from OLD --to NEW | --subuid USER",
	"Prints a map as an option text; on stderr, what it is made from.\n\n"
	"  DIR                  that shows the files below DIR from 0 on\n"
	"  --from OLD --to NEW  from the numbers of names in OLD/etc/passwd and group to those in NEW's\n"
	"  --subuid USER        of the ids that /etc/subuid and /etc/subgid give the user, who is root\n",
	run,
};
