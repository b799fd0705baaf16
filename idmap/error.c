// SPDX-License-Identifier: MIT
/*
 * A failure becomes one line that an admin reads on a serial console at night: place, cause,
 * remedy. Here is how places and errnos are worded and where lists of errors are kept. Pure.
 */
#include <errno.h>
#include <stdarg.h>
#include <string.h>

#include "idmap.h"
#include "vadd.h"

/* So much of a path or of a kernel's message tells it from others, and leaves room for the remedy.
 */
#define STRING_MOST 160

int idmap_fail(struct idmap_error *ret_error, enum idmap_class class, int error, const char *format,
	       ...)
{
	struct idmap_text text;
	va_list list;

	ret_error->class = class;
	idmap_text_init(&text, ret_error->text, sizeof(ret_error->text));
	text.most = STRING_MOST;
	va_start(list, format);
	idmap_text_vadd(&text, format, list);
	va_end(list);
	return -error;
}

int idmap_row_fail(struct idmap_error *ret_error, const struct idmap_row *row,
		   enum idmap_class class, int error, const char *format, ...)
{
	struct idmap_text text;
	va_list list;

	ret_error->class = class;
	idmap_text_init(&text, ret_error->text, sizeof(ret_error->text));
	text.most = STRING_MOST;
	idmap_place_text(&text, &row->place, 0);
	idmap_text_add(&text, ": %s on %s: ", row->source, row->target);
	va_start(list, format);
	idmap_text_vadd(&text, format, list);
	va_end(list);
	return -error;
}

void idmap_place_text(struct idmap_text *text, const struct idmap_place *place, uint32_t column)
{
	if (!place->parameter) {
		idmap_text_add(text, "%s:%u", place->name, place->line);
		if (column)
			idmap_text_add(text, ":%u", column);
		return;
	}
	idmap_text_add(text, "cmdline: %s", place->name);
	if (place->line)
		idmap_text_add(text, " #%u", place->line);
	if (column)
		idmap_text_add(text, ", column %u", column);
}

void idmap_table_error(struct idmap_table *table, const struct idmap_place *place, uint32_t column,
		       const char *format, ...)
{
	struct idmap_error *error;
	struct idmap_text text;
	va_list list;

	if (table->error_count++ >= IDMAP_ERRORS_MAX)
		return;
	error = idmap_alloc(table->arena, sizeof(*error));
	if (!error)
		return;
	error->class = IDMAP_BAD_TABLE;
	idmap_text_init(&text, error->text, sizeof(error->text));
	idmap_place_text(&text, place, column);
	idmap_text_add(&text, ": ");
	text.most = STRING_MOST;
	va_start(list, format);
	idmap_text_vadd(&text, format, list);
	va_end(list);
	*table->errors_tail = error;
	table->errors_tail = &error->next;
}

const char *idmap_errno_text(int error)
{
	/* Without the words' table of the C library, tiny saves two kilobytes. */
	return strerror(error);
}
