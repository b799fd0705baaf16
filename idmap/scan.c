// SPDX-License-Identifier: MIT
/*
 * The smallest parts of a table's text: pieces with their columns, escapes, numbers, paths. A piece
 * is split off before it is decoded, so that an escaped comma or blank never separates anything,
 * and a column is always that of the text as a person wrote it. Pure.
 */
#include <string.h>

#include "explain.h"
#include "idmap.h"
#include "scan.h"

/* The length of the escape or plain byte at `p`; three octal digits make an escape. */
static size_t unit_length(const char *p, size_t left)
{
	size_t i;

	if (left < 4 || *p != '\\')
		return 1;
	for (i = 1; i < 4; i++)
		if (p[i] < '0' || p[i] > '7')
			return 1;
	return 4;
}

/* The column of what became byte `index` of the decoded piece. */
uint32_t idmap_column_of(const struct idmap_piece *piece, size_t index)
{
	size_t i = 0;

	while (index-- && i < piece->length)
		i += unit_length(piece->at + i, piece->length - i);
	return piece->column + (uint32_t)i;
}

/* Decodes into `out`, which has room for the piece and a NUL. */
bool idmap_decode(struct idmap_table *table, const struct idmap_place *place,
		  const struct idmap_piece *piece, char *out)
{
	const char *p = piece->at, *end = p + piece->length;
	size_t step;

	for (; p < end; p += step) {
		uint32_t value = (unsigned char)*p;

		step = value == '\\' ? unit_length(p, (size_t)(end - p)) : 1;
		if (step == 4)
			value = (uint32_t)((p[1] - '0') << 6 | (p[2] - '0') << 3 | (p[3] - '0'));
		if (!value || value > 0377) {
			idmap_table_error(
				table, place, piece->column + (uint32_t)(p - piece->at),
				"the escape %.*s stands for no byte of a name; write \\001 to \\377",
				(int)step, p);
			return false;
		}
		*out++ = (char)value;
	}
	*out = 0;
	return true;
}

char *idmap_decode_kept(struct idmap_table *table, const struct idmap_place *place,
			const struct idmap_piece *piece)
{
	char *out = idmap_alloc(table->arena, piece->length + 1);

	if (!out) {
		idmap_table_error(table, place, piece->column, "no memory; make the table shorter");
		return NULL;
	}
	return idmap_decode(table, place, piece, out) ? out : NULL;
}

/* Digit by digit into 32 bits: no sign, no blank, no prefix, no wrapping. */
enum idmap_scan idmap_scan_u32(const char *text, size_t length, uint32_t *ret)
{
	uint64_t value = 0;
	size_t i;

	if (!length)
		return SCAN_EMPTY;
	for (i = 0; i < length; i++)
		if (!idmap_is_digit(text[i]))
			return SCAN_NOT_DECIMAL;
	for (i = 0; i < length; i++) {
		value = value * 10 + (uint32_t)(text[i] - '0');
		if (value > UINT32_MAX)
			return SCAN_TOO_LARGE;
	}
	*ret = (uint32_t)value;
	return SCAN_OK;
}

/* The value of a hex digit, or 16. */
uint32_t idmap_hex(char c)
{
	if (idmap_is_digit(c))
		return (uint32_t)(c - '0');
	c |= 'a' - 'A';
	return c >= 'a' && c <= 'f' ? (uint32_t)(c - 'a') + 10 : 16;
}

/* Digits of that base, and what they are worth or more than 32 bits hold; gives their end. */
const char *idmap_scan_digits(const char *text, uint32_t base, uint64_t *ret)
{
	for (*ret = 0; idmap_hex(*text) < base; text++)
		if (*ret <= UINT32_MAX)
			*ret = *ret * base + idmap_hex(*text);
	return text;
}

/* Without // . and a final /; NULL and an error where the path is relative or has a `..`. */
const char *idmap_normal_path(struct idmap_table *table, const struct idmap_place *place,
			      const struct idmap_piece *piece, char *path, const char *what)
{
	char *out = path, *p = path;

	if (*p != '/') {
		idmap_table_error(table, place, piece->column,
				  "%s '%s' is no absolute path; begin it with /", what, path);
		return NULL;
	}
	while (*p) {
		size_t length;

		while (*p == '/')
			p++;
		for (length = 0; p[length] && p[length] != '/';)
			length++;
		if (length == 2 && p[0] == '.' && p[1] == '.') {
			idmap_table_error(table, place, piece->column,
					  "%s holds a '..'; write the path without", what);
			return NULL;
		}
		if (length && !(length == 1 && *p == '.')) {
			*out++ = '/';
			memmove(out, p, length);
			out += length;
		}
		p += length;
	}
	if (out == path)
		*out++ = '/';
	*out = 0;
	return path;
}
