// SPDX-License-Identifier: MIT
/*
 * The smallest parts of a table's text: pieces with their columns, escapes, paths. A piece is split
 * off before it is decoded, so that an escaped comma or blank never separates anything, and a
 * column is always that of the text as a person wrote it. Pure.
 */
#include <string.h>

#include "table/table.h"

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
static uint32_t column_of(const struct idmap_piece *piece, size_t index)
{
	size_t i = 0;

	while (index-- && i < piece->length)
		i += unit_length(piece->at + i, piece->length - i);
	return piece->column + (uint32_t)i;
}

uint32_t idmap_item_column(const struct idmap_item *item, const char *at)
{
	return column_of(item->piece, (size_t)(at - item->text));
}

void idmap_item_error(const struct idmap_item *item, const char *at, const char *format, ...)
{
	va_list list;

	va_start(list, format);
	idmap_table_verror(item->table, item->place, idmap_item_column(item, at), format, list);
	va_end(list);
}

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
		idmap_table_full(table, place, piece->column);
		return NULL;
	}
	return idmap_decode(table, place, piece, out) ? out : NULL;
}

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
		if (length == 2 && !memcmp(p, "..", 2)) {
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

bool idmap_path_inside(const char *path, const char *folder)
{
	if (!folder[1]) /* "/" */
		return true;
	for (; *folder; folder++, path++)
		if (*path != *folder)
			return false;
	return !*path || *path == '/';
}

const char *idmap_device_option(const char *item)
{
	/* btrfs, erofs and f2fs; xfs, twice; ext4; reiserfs */
	static const char *const names[] = {"device", "logdev", "rtdev", "journal_path", "jdev"};
	const char *equals = strchr(item, '=');
	size_t i;

	for (i = 0; equals && i < COUNT_OF(names); i++)
		if (idmap_same(names[i], item, (size_t)(equals - item)))
			return equals + 1;
	return NULL;
}

/* Of options, one after the other and an empty one last, the first that names one, or NULL. */
static const char *further_device(const char *items)
{
	while (*items && !idmap_device_option(items))
		items += strlen(items) + 1;
	return *items ? items : NULL;
}

const char *idmap_row_part(const struct idmap_row *row)
{
	const char *part = further_device(row->root_data);

	return part ? part : further_device(row->data);
}
