// SPDX-License-Identifier: MIT
/*
 * The ids that a user has been given by subuid(5) and subgid(5), behind his own, which is root's.
 */
#define _GNU_SOURCE
#include <pwd.h>
#include <stdlib.h>
#include <string.h>

#include "suggestion.h"

struct range {
	uint32_t first, count;
};

struct ranges {
	struct range *range;
	size_t count;
};

static int compare(const void *a, const void *b)
{
	const struct range *x = a, *y = b;

	return x->first != y->first ? (x->first > y->first) - (x->first < y->first)
				    : (x->count > y->count) - (x->count < y->count);
}

static bool add(struct ranges *ranges, const struct range *range)
{
	struct range *more = realloc(ranges->range, (ranges->count + 1) * sizeof(*more));

	if (!more)
		return false;
	ranges->range = more;
	more[ranges->count++] = *range;
	return true;
}

/* A line, which is cut in place; false: it is another user's. */
static bool is_users(char *line, const char *user, const char *number, char **ret_range)
{
	char *colon = strchr(line, ':');

	line[strcspn(line, "\n")] = 0;
	if (!colon)
		return false;
	*colon = 0;
	*ret_range = colon + 1;
	return !strcmp(line, user) || !strcmp(line, number);
}

static bool read_range(const char *text, struct range *ret)
{
	const size_t length = strcspn(text, ":");

	return text[length] && idmap_read_u32(text, length, &ret->first) == NUMBER_OK &&
	       idmap_read_u32(text + length + 1, strlen(text + length + 1), &ret->count) ==
		       NUMBER_OK &&
	       ret->count;
}

/* All of the user's lines. false: no memory. */
static bool read_file(const char *path, const char *user, const char *number, struct ranges *ret)
{
	FILE *in = fopen(path, "re");
	char *line = NULL, *text;
	size_t size = 0;
	bool enough = true;

	*ret = (struct ranges){0};
	while (in && enough && getline(&line, &size, in) >= 0) {
		struct range range;

		if (!is_users(line, user, number, &text))
			continue;
		if (read_range(text, &range))
			enough = add(ret, &range);
		else
			fprintf(stderr, "%s: '%s' of %s is no range FIRST:COUNT; it is left out\n",
				path, one_line(text), one_line(user));
	}
	if (in)
		fclose(in);
	free(line);
	return enough;
}

/* In both files the user is named, or has his uid; `id` of the kind becomes 0. */
static int suggest_kind(const char *path, const struct passwd *user, uint32_t id,
			struct suggestion *ret)
{
	char number[12];
	uint64_t seen = 1;
	struct ranges ranges;
	bool enough;
	size_t i;

	idmap_print(number, sizeof(number), "%u", user->pw_uid);
	enough = read_file(path, user->pw_name, number, &ranges) && suggestion_add(ret, id, 0, 1);
	if (enough && !ranges.count) {
		fprintf(stderr,
			"idmap suggest: %s gives %s no ids; add them with usermod --add-subuids and"
			" --add-subgids\n",
			path, one_line(user->pw_name));
		return IDMAP_NO_SOURCE;
	}
	/* The lowest first, as containers have them (createIDMap() of containers/storage). */
	if (ranges.count)
		qsort(ranges.range, ranges.count, sizeof(*ranges.range), compare);
	for (i = 0; enough && i < ranges.count; i++) {
		/* The same once more, such as by the user's name and by his number. */
		if (i && !compare(&ranges.range[i - 1], &ranges.range[i]))
			continue;
		enough = suggestion_add(ret, ranges.range[i].first, seen, ranges.range[i].count);
		seen += ranges.range[i].count;
	}
	free(ranges.range);
	return enough ? EXIT_DONE : suggestion_no_memory();
}

int suggest_subids(const char *user, struct suggestion ret[IDMAP_KINDS])
{
	const struct passwd *passwd = getpwnam(user);
	int code;

	if (!passwd) {
		fprintf(stderr, "idmap suggest: %s is no user of /etc/passwd; name one\n",
			one_line(user));
		return IDMAP_NO_SOURCE;
	}
	code = suggest_kind("/etc/subuid", passwd, passwd->pw_uid, &ret[IDMAP_UID]);
	return code ? code : suggest_kind("/etc/subgid", passwd, passwd->pw_gid, &ret[IDMAP_GID]);
}
