// SPDX-License-Identifier: MIT
/*
 * What is suggested is read as a table would read it before it is printed: whoever writes it into
 * one is to find it right.
 */
#define _GNU_SOURCE
#include <stdlib.h>
#include <string.h>

#include "suggestion.h"

int suggestion_failed(const struct idmap_error *error)
{
	fprintf(stderr, "idmap suggest: %s\n", error->text);
	return (int)error->class;
}

int suggestion_no_memory(void)
{
	fputs("idmap suggest: no memory; end other programs\n", stderr);
	return EXIT_FAILED;
}

bool suggestion_add(struct suggestion *suggestion, uint64_t disk, uint64_t seen, uint64_t count)
{
	struct suggested *last = suggestion->extent + suggestion->count;

	if (suggestion->count && last[-1].disk + last[-1].count == disk &&
	    last[-1].seen + last[-1].count == seen) {
		last[-1].count += count;
		return true;
	}
	last = realloc(suggestion->extent, (suggestion->count + 1) * sizeof(*last));
	if (!last)
		return false;
	suggestion->extent = last;
	last[suggestion->count++] = (struct suggested){disk, seen, count};
	return true;
}

static void print_list(FILE *out, const struct suggestion *suggestion, const char *rest)
{
	const char *comma = "";
	size_t i;

	for (i = 0; i < suggestion->count; i++, comma = ",")
		fprintf(out, "%s%llu:%llu:%llu", comma,
			(unsigned long long)suggestion->extent[i].disk,
			(unsigned long long)suggestion->extent[i].seen,
			(unsigned long long)suggestion->extent[i].count);
	if (*rest)
		fprintf(out, "%s%s", comma, rest);
}

/* The option text, or NULL: no memory. */
static char *text_of(const struct suggestion of[IDMAP_KINDS], const char *rest)
{
	const struct suggestion *uid = &of[IDMAP_UID], *gid = &of[IDMAP_GID];
	const bool same = uid->count == gid->count &&
			  (!uid->count ||
			   !memcmp(uid->extent, gid->extent, uid->count * sizeof(*uid->extent)));
	char *text = NULL;
	size_t size;
	FILE *out = open_memstream(&text, &size);

	if (!out)
		return NULL;
	fputs(same ? "idmap=" : "uidmap=", out);
	print_list(out, uid, rest);
	if (!same) {
		fputs(",gidmap=", out);
		print_list(out, gid, rest);
	}
	return fclose(out) ? NULL : text;
}

int suggestion_print(const struct suggestion of[IDMAP_KINDS], const char *rest)
{
	struct option_map map = {.row.place = {.name = "suggestion", .line = 1}};
	const char *text = text_of(of, rest);
	const struct idmap_error *wrong;
	struct idmap_error error;

	if (!text)
		return suggestion_no_memory();
	if (read_map(&map, text, &error))
		return suggestion_failed(&error);
	for (wrong = map.table.errors; wrong; wrong = wrong->next)
		fprintf(stderr, "idmap suggest: %s\n", wrong->text);
	if (map.table.error_count)
		return IDMAP_NO_MAP;
	puts(text);
	return EXIT_DONE;
}
