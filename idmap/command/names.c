// SPDX-License-Identifier: MIT
/*
 * The map from the numbers that names have in one system to those that they have in another. A
 * number is mapped once, on either side, so where names share one the first in the file counts.
 */
#define _GNU_SOURCE
#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

#include "suggestion.h"

struct name {
	char *name;
	uint32_t id;
	size_t line;
};

struct names {
	struct name *name;
	size_t count;
};

/* A name's number in both systems. */
struct pair {
	const char *name;
	uint32_t disk, seen;
	size_t line;
};

static const char *const files[] = {[IDMAP_UID] = "passwd", [IDMAP_GID] = "group"};
static const char *const kinds[] = {[IDMAP_UID] = "uid", [IDMAP_GID] = "gid"};

static int compare(uint64_t a, uint64_t b)
{
	return (a > b) - (a < b);
}

static int compare_names(const void *a, const void *b)
{
	const struct name *x = a, *y = b;
	const int order = strcmp(x->name, y->name);

	return order ? order : compare(x->line, y->line);
}

static int compare_lines(const void *a, const void *b)
{
	return compare(((const struct name *)a)->line, ((const struct name *)b)->line);
}

static int compare_disk(const void *a, const void *b)
{
	const struct pair *x = a, *y = b;

	return x->disk != y->disk ? compare(x->disk, y->disk) : compare(x->line, y->line);
}

static int compare_seen(const void *a, const void *b)
{
	const struct pair *x = a, *y = b;

	return x->seen != y->seen ? compare(x->seen, y->seen) : compare(x->line, y->line);
}

/* --- reading --------------------------------------------------------------------------------- */

/* Cuts name and number out of a line, in place; false: it is none, such as NIS's `+`. */
static bool cut_line(char *line, char **ret_id)
{
	char *name_end = strchr(line, ':'), *id, *end;

	if (!name_end || !strchr(name_end + 1, ':'))
		return false;
	id = strchr(name_end + 1, ':') + 1;
	end = strchr(id, ':');
	if (!end || end == id)
		return false;
	*name_end = *end = 0;
	*ret_id = id;
	return true;
}

/* false: no memory */
static bool add_name(struct names *names, const char *name, uint32_t id, size_t line)
{
	struct name *more = realloc(names->name, (names->count + 1) * sizeof(*more));
	char *copy = strdup(name);

	if (more)
		names->name = more;
	if (!more || !copy)
		return false;
	more[names->count++] = (struct name){copy, id, line};
	return true;
}

static bool read_lines(FILE *in, const char *path, struct names *ret)
{
	char *line = NULL, *number;
	size_t size = 0, count;
	bool enough = true;
	uint32_t id;

	for (count = 1; enough && getline(&line, &size, in) >= 0; count++) {
		if (!cut_line(line, &number))
			continue;
		if (idmap_read_u32(number, strlen(number), &id) == NUMBER_OK && id <= IDMAP_ID_MAX)
			enough = add_name(ret, line, id, count);
		else
			fprintf(stderr, "%s:%zu: %s has the number %s, which is no id: left out\n",
				one_line(path), count, one_line(line), one_line(number));
	}
	free(line);
	return enough;
}

/* By name, each once: the first line of it counts, as for getpwnam(3). */
static void sort_names(struct names *names)
{
	size_t i, kept = 0;

	if (names->count)
		qsort(names->name, names->count, sizeof(*names->name), compare_names);
	for (i = 0; i < names->count; i++) {
		const struct name *first = kept ? &names->name[kept - 1] : NULL;

		if (!first || strcmp(first->name, names->name[i].name)) {
			names->name[kept++] = names->name[i];
			continue;
		}
		if (first->id != names->name[i].id)
			fprintf(stderr, "%s has two numbers, %u and %u: the first counts\n",
				one_line(first->name), first->id, names->name[i].id);
		free(names->name[i].name);
	}
	names->count = kept;
}

/* A regular file, as whoever lives in the folder sees it: links stay inside. Or -errno. */
static int open_in_tree(const char *folder, const char *path)
{
	idmap_closed int folder_fd = idmap_open(folder, O_PATH | O_DIRECTORY);
	idmap_closed int fd =
		folder_fd < 0 ? folder_fd : idmap_open_inside(folder_fd, path, O_PATH, 0);
	struct stat st;
	char self[32];

	if (fd < 0)
		return fd;
	if (fstat(fd, &st) || !S_ISREG(st.st_mode))
		return -EINVAL;
	return idmap_open(idmap_print(self, sizeof(self), "/proc/self/fd/%u", fd), O_RDONLY);
}

/* passwd(5) and group(5) alike: the name first, its id third. */
static int read_names(const char *folder, enum idmap_kind kind, struct names *ret)
{
	char *path;
	bool enough;
	FILE *in;
	int fd;

	*ret = (struct names){0};
	if (asprintf(&path, "%s/etc/%s", folder, files[kind]) < 0)
		return suggestion_no_memory();
	fd = open_in_tree(folder, path + strlen(folder));
	in = fd < 0 ? NULL : fdopen(fd, "r");
	if (!in) {
		fprintf(stderr,
			"idmap suggest: %s cannot be read (%s); name a folder that has it\n",
			one_line(path), idmap_errno_text(fd < 0 ? -fd : errno));
		free(path);
		return IDMAP_NO_SOURCE;
	}
	enough = read_lines(in, path, ret);
	fclose(in);
	free(path);
	sort_names(ret);
	return enough ? EXIT_DONE : suggestion_no_memory();
}

static void free_names(struct names *names)
{
	while (names->count)
		free(names->name[--names->count].name);
	free(names->name);
	*names = (struct names){0};
}

/* --- the map --------------------------------------------------------------------------------- */

/* Of each name that both have; gives how many. In the order of the old one's file. */
static size_t pair_names(struct names *old, const struct names *new, struct pair *ret)
{
	size_t count = 0, i;

	if (old->count)
		qsort(old->name, old->count, sizeof(*old->name), compare_lines);
	for (i = 0; i < old->count; i++) {
		const struct name *one = &old->name[i], *other;
		size_t low = 0, high = new->count;

		while (low < high) {
			const size_t middle = low + (high - low) / 2;

			if (strcmp(new->name[middle].name, one->name) < 0)
				low = middle + 1;
			else
				high = middle;
		}
		other = &new->name[low];
		if (low < new->count && !strcmp(other->name, one->name))
			ret[count++] = (struct pair){one->name, one->id, other->id, one->line};
		else
			fprintf(stderr, "%s (%u) has no namesake in the new one\n",
				one_line(one->name), one->id);
	}
	return count;
}

/* Leaves one pair of each number on a side, that of the first line. */
static size_t keep_first(struct pair *pair, size_t count, enum idmap_kind kind,
			 int (*by)(const void *, const void *))
{
	size_t i, kept = 0;

	if (count)
		qsort(pair, count, sizeof(*pair), by);
	for (i = 0; i < count; i++) {
		const struct pair *first = kept ? &pair[kept - 1] : NULL;
		const bool shared = first && (by == compare_disk ? first->disk == pair[i].disk
								 : first->seen == pair[i].seen);

		if (!shared)
			pair[kept++] = pair[i];
		else if (first->disk != pair[i].disk || first->seen != pair[i].seen)
			fprintf(stderr,
				"%s (%s %u, in the new one %u) shares a number with %s (%u, %u) and"
				" is left out\n",
				one_line(pair[i].name), kinds[kind], pair[i].disk, pair[i].seen,
				one_line(first->name), first->disk, first->seen);
	}
	return kept;
}

/* An extent for each name whose number differs; everything else is left to identity. */
static bool suggest_kind(struct names *old, const struct names *new, enum idmap_kind kind,
			 struct suggestion *ret)
{
	struct pair *pair = calloc(old->count + 1, sizeof(*pair));
	bool enough = pair;
	size_t count, i;

	if (!pair)
		return false;
	count = pair_names(old, new, pair);
	count = keep_first(pair, count, kind, compare_disk);
	count = keep_first(pair, count, kind, compare_seen);
	if (count)
		qsort(pair, count, sizeof(*pair), compare_disk);
	for (i = 0; enough && i < count; i++)
		if (pair[i].disk != pair[i].seen)
			enough = suggestion_add(ret, pair[i].disk, pair[i].seen, 1);
	free(pair);
	return enough;
}

int suggest_names(const char *from, const char *to, struct suggestion ret[IDMAP_KINDS])
{
	struct names old = {0}, new = {0};
	uint32_t kind;
	int code = EXIT_DONE;

	for (kind = 0; !code && kind < IDMAP_KINDS; kind++) {
		code = read_names(from, (enum idmap_kind)kind, &old);
		if (!code)
			code = read_names(to, (enum idmap_kind)kind, &new);
		if (!code && !suggest_kind(&old, &new, (enum idmap_kind)kind, &ret[kind]))
			code = suggestion_no_memory();
		free_names(&old);
		free_names(&new);
	}
	return code;
}
