// SPDX-License-Identifier: MIT
/*
 * A list of extents as people write it: DISK:SEEN:COUNT, decimal and whole, with a prefix for one
 * kind of ids, and the word identity. Pure.
 */
#include <string.h>

#include "table/table.h"

/* The three numbers between the colons of what stands before `to`. */
static bool read_numbers(const struct idmap_item *item, const char *from, const char *to,
			 uint32_t number[3])
{
	static const char name[][6] = {"DISK", "SEEN", "COUNT"};
	const char *end;
	int i;

	for (i = 0; i < 3; i++, from = end + 1) {
		for (end = from; end < to && *end != ':';)
			end++;
		switch (idmap_read_u32(from, (size_t)(end - from), &number[i])) {
		case NUMBER_OK:
			continue;
		case NUMBER_EMPTY:
			idmap_item_error(item, from,
					 "%s of the extent is missing; " IDMAP_WRITE_EXTENT,
					 name[i]);
			return false;
		case NUMBER_NOT_DECIMAL:
			idmap_item_error(item, from,
					 "%s '%.*s' is no decimal number; write digits only",
					 name[i], (int)(end - from), from);
			return false;
		case NUMBER_TOO_LARGE:
			idmap_item_error(item, from,
					 "%s '%.*s' does not fit in 32 bits; the last id is %u",
					 name[i], (int)(end - from), from, IDMAP_ID_MAX);
			return false;
		}
	}
	return true;
}

/* One extent, up to `to`: prefix, three numbers, bounds. */
static void read_extent(const struct idmap_item *item, struct idmap_extents *extents,
			const char *whole, const char *to)
{
	const int length = (int)(to - whole);
	uint32_t number[3] = {0}, kinds = extents->list_kinds, colons = 0, i;
	const char *from = whole, *p;

	if (whole[1] == ':' && !idmap_is_digit(*whole)) {
		if (kinds != BOTH_KINDS) {
			idmap_item_error(
				item, whole,
				"the prefix %.*s belongs in idmap= only; leave it out here", 2,
				whole);
			return;
		}
		if (*whole != 'b')
			kinds = 1u << (*whole == 'u' ? IDMAP_UID : IDMAP_GID);
		from += 2;
	}
	for (p = from; p < to; p++)
		colons += *p == ':';
	if (colons != 2) {
		idmap_item_error(item, whole,
				 "'%.*s' is no extent of three numbers; " IDMAP_WRITE_EXTENT,
				 length, whole);
		return;
	}
	if (!read_numbers(item, from, to, number))
		return;
	if (!number[2]) {
		idmap_item_error(item, whole,
				 "extent '%.*s' has COUNT 0 and maps nothing; write 1 or more",
				 length, whole);
		return;
	}
	for (i = 0; i < 2; i++) {
		uint64_t last = (uint64_t)number[i] + number[2] - 1;

		if (last > IDMAP_ID_MAX) {
			idmap_item_error(item, whole,
					 "extent '%.*s' reaches %s id %lu; the last id is %u",
					 length, whole, i ? "seen" : "disk", (unsigned long)last,
					 IDMAP_ID_MAX);
			return;
		}
	}
	extents->spec[extents->specs++] = (struct idmap_spec){
		.extent = {.disk = number[0], .seen = number[1], .count = number[2]},
		.column = idmap_item_column(item, whole),
		.kinds = kinds,
	};
}

bool idmap_looks_like_extent(const char *text)
{
	if (*text && strchr("ugb", *text) && text[1] == ':')
		return true;
	if (*text == '+' || *text == '-')
		text++;
	return idmap_is_digit(*text) && strchr(text, ':');
}

void idmap_read_extents(const struct idmap_item *item, struct idmap_extents *extents,
			const char *from, uint32_t kinds)
{
	const char *to;

	extents->list_kinds = kinds;
	if (!extents->column)
		extents->column = idmap_item_column(item, item->text);
	for (; *from; from = to) {
		to = from + 1;
		if (idmap_is_blank(*from) || *from == ',')
			continue;
		while (*to && !idmap_is_blank(*to) && *to != ',')
			to++;
		if (idmap_same("identity", from, (size_t)(to - from)))
			extents->identity |= kinds;
		else if (idmap_looks_like_extent(from))
			read_extent(item, extents, from, to);
		else if (*from == '/')
			idmap_item_error(
				item, from,
				"'%.*s' is a path, and namespaces are not taken by path; write the"
				" extents, DISK:SEEN:COUNT",
				(int)(to - from), from);
		else
			idmap_item_error(item, from,
					 "'%.*s' is no extent; " IDMAP_WRITE_EXTENT ", or identity",
					 (int)(to - from), from);
	}
}

/* Whether that many bytes are an extent, of one kind or both, or begin a list of some. */
static bool is_extent(const char *text, size_t length)
{
	const bool kind = length > 2 && strchr("ugb", *text) && text[1] == ':';
	size_t at = kind ? 2 : 0, number;

	for (number = 0; number < 3; number++) {
		const size_t start = at;

		while (at < length && idmap_is_digit(text[at]))
			at++;
		if (at == start || (number < 2 && (at == length || text[at++] != ':')))
			return false;
	}
	return at == length || text[at] == ',';
}

bool idmap_has_extent(const char *text, size_t length)
{
	size_t at;

	for (at = 0; at < length; at++)
		if ((!at || text[at - 1] == ',') && is_extent(text + at, length - at))
			return true;
	return false;
}
