// SPDX-License-Identifier: MIT
/*
 * A failure becomes one line that an admin reads on a serial console at night: place, cause,
 * remedy. Here is how places and errnos are worded and where lists of errors are kept. Pure.
 */
#include <errno.h>
#include <stdarg.h>
#include <string.h>

#include "explain.h"
#include "idmap.h"
#include "scan.h"
#include "vadd.h"

/* So much of a path or of a kernel's message tells it from others, and leaves room for the remedy.
 */
#define STRING_MOST 200

static void begin(struct idmap_text *text, struct idmap_error *error, enum idmap_class class)
{
	error->class = class;
	idmap_text_init(text, error->text, sizeof(error->text));
}

static void begin_row(struct idmap_text *text, struct idmap_error *error, enum idmap_class class,
		      const struct idmap_row *row)
{
	begin(text, error, class);
	text->most = STRING_MOST;
	if (!row)
		return;
	idmap_place_text(text, &row->place, 0);
	idmap_text_add(text, ": %s on %s: ", row->source, row->target);
}

int(idmap_row_fail)(struct idmap_error *ret_error, const struct idmap_row *row,
		    enum idmap_class class, int error, const char *format, ...)
{
	struct idmap_text text;
	va_list list;

	begin_row(&text, ret_error, class, row);
	va_start(list, format);
	idmap_text_vadd(&text, format, list);
	va_end(list);
	return -error;
}

int idmap_row_fail_plain(struct idmap_error *ret_error, const struct idmap_row *row,
			 enum idmap_class class, int error)
{
	static const char steps[][7] = {
		[IDMAP_BAD_SYSTEM] = "system", [IDMAP_BAD_TABLE] = "table",
		[IDMAP_NO_SOURCE] = "source",  [IDMAP_NO_MOUNT] = "mount",
		[IDMAP_NO_MAP] = "map",	       [IDMAP_NO_TARGET] = "target",
		[IDMAP_NO_INIT] = "init",
	};
	struct idmap_text text;

	begin_row(&text, ret_error, class, row);
	idmap_text_add(&text, "%s: errno %u", steps[class], error);
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

/* A new error on the table's list that begins with its place. false: there is none. */
static bool begin_table(struct idmap_text *text, struct idmap_table *table,
			const struct idmap_place *place, uint32_t column)
{
	struct idmap_error *error;

	if (table->error_count++ >= IDMAP_ERRORS_MAX)
		return false;
	error = idmap_alloc(table->arena, sizeof(*error));
	if (!error)
		return false;
	*table->errors_tail = error;
	table->errors_tail = &error->next;
	begin(text, error, IDMAP_BAD_TABLE);
	idmap_place_text(text, place, column);
	idmap_text_add(text, ": ");
	text->most = STRING_MOST;
	return true;
}

void idmap_table_verror(struct idmap_table *table, const struct idmap_place *place, uint32_t column,
			const char *format, va_list list)
{
	struct idmap_text text;

	if (begin_table(&text, table, place, column))
		idmap_text_vadd(&text, format, list);
}

void idmap_table_error_plain(struct idmap_table *table, const struct idmap_place *place,
			     uint32_t column)
{
	struct idmap_text text;

	if (begin_table(&text, table, place, column))
		idmap_text_add(&text, "not understood");
}

void(idmap_table_error)(struct idmap_table *table, const struct idmap_place *place, uint32_t column,
			const char *format, ...)
{
	va_list list;

	va_start(list, format);
	idmap_table_verror(table, place, column, format, list);
	va_end(list);
}

const char *(idmap_choose)(const char *choices, uint32_t number)
{
	const char *words = MESSAGE_TEXT(choices);

	for (; idmap_is_digit(*words); words += strlen(words) + 1) {
		bool chosen = false;
		uint64_t one;

		do {
			words = words[1] == 'x' ? idmap_scan_digits(words + 2, 16, &one)
						: idmap_scan_digits(words, 10, &one);
			chosen |= one == number;
		} while (*words++ == ',');
		if (chosen)
			break;
	}
	return words;
}

const char *idmap_errno_text(int error)
{
	static char buffer[32];
	struct idmap_text text;
	const char *words;

	/* Of the C library's words those that mounts can bring; all of them cost two kilobytes. */
	if (IS_ENABLED(CONFIG_EXPLAIN)) {
		words = idmap_choose(
			CHOICES(CHOICES(ON(EPERM, "operation not permitted"),
					ON(ENOENT, "not there"), ON(EIO, "input/output error"),
					ON(ENXIO, "no such device or address"),
					ON(E2BIG, "too long a list"),
					ON(ENOEXEC, "not a format that can be run"),
					ON(EAGAIN, "try again")),
				CHOICES(ON(ENOMEM, "no memory"), ON(EACCES, "permission denied"),
					ON(EFAULT, "bad address"),
					ON(ENOTBLK, "not a block device"), ON(EBUSY, "busy"),
					ON(EEXIST, "already there"), ON(ENODEV, "no such device")),
				CHOICES(ON(ENOTDIR, "not a folder"), ON(EISDIR, "a folder"),
					ON(EINVAL, "invalid argument"), ON(EFBIG, "too large"),
					ON(ENOSPC, "no room left"), ON(EROFS, "read-only"),
					ON(ENAMETOOLONG, "too long a name")),
				CHOICES(ON(ENOSYS, "not in this kernel"),
					ON(ELOOP, "too many symbolic links"),
					ON(EOVERFLOW, "an id that cannot be stored"),
					ON(EUSERS, "too many users"),
					ON(EOPNOTSUPP, "not supported"),
					ON(EUCLEAN, "the filesystem needs repair"))),
			error);
		if (*words)
			return words;
	}
	idmap_text_init(&text, buffer, sizeof(buffer));
	idmap_text_add(&text, "errno %u", error);
	return buffer;
}
