// SPDX-License-Identifier: MIT
/*
 * A failure becomes one line that an admin reads on a serial console at night: place, cause,
 * remedy. Here is how places and errnos are worded, and where errors and notes are kept. Pure.
 */
#include <string.h>

#include "table/table.h"

/* So much of a path or of a kernel's message tells it from others, and leaves room for the remedy.
 */
#define STRING_MOST 200

static void begin(struct idmap_text *text, struct idmap_error *error, enum idmap_class class)
{
	error->class = class;
	error->absent = false;
	idmap_text_init(text, error->text, sizeof(error->text));
}

/* What a line about a row begins with. */
static void begin_row(struct idmap_text *text, const struct idmap_row *row)
{
	idmap_place_text(text, &row->place, 0);
	idmap_text_add(text, ": %s on %s: ", row->source, row->target);
}

int idmap_fail(struct idmap_error *ret_error, const struct idmap_row *row, enum idmap_class class,
	       int error, const char *format, ...)
{
	struct idmap_text text;
	va_list list;

	begin(&text, ret_error, class);
	text.most = STRING_MOST;
	text.error = error;
	if (row)
		begin_row(&text, row);
	va_start(list, format);
	idmap_text_vadd(&text, format, list);
	va_end(list);
	return -error;
}

void idmap_fail_more(struct idmap_error *error, const char *format, ...)
{
	const size_t length = strlen(error->text);
	struct idmap_text text;
	va_list list;

	idmap_text_init(&text, error->text + length, sizeof(error->text) - length);
	text.most = sizeof(error->text);
	va_start(list, format);
	idmap_text_vadd(&text, format, list);
	va_end(list);
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

/* --- a table's ------------------------------------------------------------------------------- */

void idmap_table_verror(struct idmap_table *table, const struct idmap_place *place, uint32_t column,
			const char *format, va_list list)
{
	struct idmap_error *error;
	struct idmap_text text;

	if (table->error_count++ >= IDMAP_ERRORS_MAX)
		return;
	error = idmap_alloc(table->arena, sizeof(*error));
	if (!error)
		return;
	*table->errors_tail = error;
	table->errors_tail = &error->next;
	begin(&text, error, IDMAP_BAD_TABLE);
	text.most = STRING_MOST;
	idmap_place_text(&text, place, column);
	idmap_text_add(&text, ": ");
	idmap_text_vadd(&text, format, list);
}

void idmap_table_error(struct idmap_table *table, const struct idmap_place *place, uint32_t column,
		       const char *format, ...)
{
	va_list list;

	va_start(list, format);
	idmap_table_verror(table, place, column, format, list);
	va_end(list);
}

void idmap_table_full(struct idmap_table *table, const struct idmap_place *place, uint32_t column)
{
	idmap_table_error(table, place, column, "no memory; make the table shorter");
}

/* --- notes ----------------------------------------------------------------------------------- */

/* A new one at the end of the list, or NULL: there is no room. */
static struct idmap_note *add_note(struct idmap_notes *notes)
{
	struct idmap_note *note = idmap_alloc(notes->arena, sizeof(*note));

	if (!note)
		return NULL;
	*notes->tail = note;
	notes->tail = &note->next;
	return note;
}

void idmap_vnote(struct idmap_notes *notes, const struct idmap_row *row, const char *format,
		 va_list list)
{
	struct idmap_note *note = add_note(notes);
	struct idmap_text text;

	if (!note)
		return;
	idmap_text_init(&text, note->text, sizeof(note->text));
	text.most = STRING_MOST;
	if (row)
		begin_row(&text, row);
	idmap_text_vadd(&text, format, list);
}

void idmap_note(struct idmap_notes *notes, const char *format, ...)
{
	va_list list;

	va_start(list, format);
	idmap_vnote(notes, NULL, format, list);
	va_end(list);
}

void idmap_note_row(struct idmap_notes *notes, const struct idmap_row *row, const char *format, ...)
{
	va_list list;

	va_start(list, format);
	idmap_vnote(notes, row, format, list);
	va_end(list);
}

void idmap_note_mild(struct idmap_notes *notes, const char *format, ...)
{
	struct idmap_note **last = notes->tail;
	va_list list;

	va_start(list, format);
	idmap_vnote(notes, NULL, format, list);
	va_end(list);
	if (*last)
		(*last)->mild = true;
}

void idmap_note_error(struct idmap_notes *notes, const struct idmap_error *error)
{
	struct idmap_note *note = add_note(notes);

	if (!note)
		return;
	note->mild = true;
	memcpy(note->text, error->text, sizeof(note->text));
}

void idmap_notes_forget(struct idmap_notes *notes)
{
	const uint64_t traced_us = notes->traced_us;

	if (notes->first)
		notes->arena->at = (char *)notes->first; /* it has notes only */
	idmap_notes_init(notes, notes->arena);
	notes->traced_us = traced_us;
}

void idmap_notes_init(struct idmap_notes *notes, struct idmap_arena *arena)
{
	*notes = (struct idmap_notes){.arena = arena};
	notes->tail = &notes->first;
}
