// SPDX-License-Identifier: MIT
/*
 * A table in a file, which looks like fstab(5): a line a row, blanks between its fields. Pure.
 */
#include <string.h>

#include "table/table.h"

/* A line of the file, without its newline. */
static void read_line(struct idmap_table *table, const struct idmap_place *place, const char *line,
		      size_t length)
{
	enum { MOST = 6 };
	struct idmap_piece field[MOST + 1] = {0};
	size_t i = 0, fields = 0;

	while (fields <= MOST) {
		while (i < length && idmap_is_blank(line[i]))
			i++;
		if (i == length || (!fields && line[i] == '#'))
			break;
		field[fields].at = line + i;
		field[fields].column = (uint32_t)i + 1;
		while (i < length && !idmap_is_blank(line[i]))
			i++;
		field[fields].length = (size_t)(line + i - field[fields].at);
		fields++;
	}
	if (!fields)
		return;
	if (fields < FIELD_OPTIONS) {
		table->unread = true;
		idmap_table_error(table, place, (uint32_t)length + 1,
				  "the row ends too soon; write SOURCE TARGET TYPE [OPTIONS]");
		return;
	}
	for (i = FIELDS; i < fields; i++) {
		const struct idmap_piece *extra = &field[i];
		uint32_t number;

		/* fstab's fs_freq and fs_passno */
		if (i < MOST && idmap_read_u32(extra->at, extra->length, &number) == NUMBER_OK)
			continue;
		if (*extra->at == '#')
			idmap_table_error(table, place, extra->column,
					  "a comment begins at the start of a line only; give it a"
					  " line of its own");
		else
			idmap_table_error(table, place, extra->column,
					  "'%.*s' is one field too many; write OPTIONS without"
					  " blanks, \\040 for one",
					  (int)extra->length, extra->at);
		table->unread = true;
		return;
	}
	if (fields < FIELDS)
		field[FIELD_OPTIONS] = (struct idmap_piece){
			.at = line, .length = 0, .column = (uint32_t)length + 1};
	idmap_read_row(table, place, field);
}

void idmap_table_file(struct idmap_table *table, const char *name, const char *text, size_t size)
{
	struct idmap_place place = {.name = name};
	bool returns_said = false;
	const char *nul;
	size_t i = 0;

	if (size >= 3 && !memcmp(text, "\xef\xbb\xbf", 3)) {
		place.line = 1;
		idmap_table_error(table, &place, 1,
				  "the file begins with a byte order mark; save it as plain UTF-8");
		text += 3;
		size -= 3;
		place.line = 0;
	}
	nul = memchr(text, 0, size);
	while (i < size) {
		const char *line = text + i, *end = memchr(line, '\n', size - i);
		size_t length = end ? (size_t)(end - line) : size - i;

		i += length + 1;
		place.line++;
		if (nul && nul < line + length) {
			idmap_table_error(table, &place, (uint32_t)(nul - line) + 1,
					  "a byte of value 0 is here; is this a text file?");
			return;
		}
		if (length && line[length - 1] == '\r') {
			length--;
			if (!returns_said)
				idmap_table_error(
					table, &place, (uint32_t)length + 1,
					"the line ends in a carriage return; save the file with Unix"
					" line ends");
			returns_said = true;
		}
		read_line(table, &place, line, length);
	}
}
