// SPDX-License-Identifier: MIT
/*
 * What a program reads.
 */
#include <string.h>

#include "command.h"

/* How many bytes the character at `s` has in UTF-8 (RFC 3629); 0: it is none. */
static size_t utf8_length(const unsigned char *s)
{
	size_t length = s[0] < 0x80   ? 1
			: s[0] < 0xc2 ? 0
			: s[0] < 0xe0 ? 2
			: s[0] < 0xf0 ? 3
			: s[0] < 0xf5 ? 4
				      : 0;
	size_t i;

	for (i = 1; i < length; i++)
		if ((s[i] & 0xc0) != 0x80)
			return 0;
	if ((s[0] == 0xe0 && s[1] < 0xa0) || (s[0] == 0xed && s[1] > 0x9f) ||
	    (s[0] == 0xf0 && s[1] < 0x90) || (s[0] == 0xf4 && s[1] > 0x8f))
		return 0;
	return length;
}

void json_string(FILE *out, const char *string)
{
	const unsigned char *s = (const unsigned char *)string;

	fputc('"', out);
	while (*s) {
		size_t length = utf8_length(s);

		if (*s == '"' || *s == '\\')
			fprintf(out, "\\%c", *s);
		else if (*s < ' ' || *s == 0x7f)
			fprintf(out, "\\u%04x", *s);
		else if (!length)
			fprintf(out, "\\udc%02x", *s);
		else
			fwrite(s, 1, length, out);
		s += length ? length : 1;
	}
	fputc('"', out);
}

void json_extents(FILE *out, const struct idmap_map *map, enum idmap_kind kind)
{
	uint32_t i;

	fputc('[', out);
	for (i = 0; i < map->extents[kind]; i++) {
		const struct idmap_extent *extent = &map->extent[kind][i];

		fprintf(out, "%s[%u, %u, %u]", i ? ", " : "", extent->disk, extent->seen,
			extent->count);
	}
	fputc(']', out);
}

void json_map(FILE *out, const struct idmap_map *map)
{
	if (!map) {
		fputs("null", out);
		return;
	}
	fputs("{\"uids\": ", out);
	json_extents(out, map, IDMAP_UID);
	fputs(", \"gids\": ", out);
	json_extents(out, map, IDMAP_GID);
	fputc('}', out);
}
