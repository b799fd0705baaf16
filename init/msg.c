// SPDX-License-Identifier: MIT
/*
 * Lines for the kernel log. /dev/kmsg drops what comes after ten writes in five seconds, but counts
 * by open file (kernel/printk/printk.c, devkmsg_write()), so it is opened anew now and then. A
 * write may hold several lines, which the kernel shows as such, and costs it little more than one.
 */
#define _GNU_SOURCE
#include <fcntl.h>
#include <stdarg.h>
#include <string.h>
#include <unistd.h>

#include "device/device.h"
#include "init.h"

#define WRITES_PER_OPEN 9
/*
 * One write takes 976 bytes or more, and what its lines are with their times in front is cut off
 * behind 1,024 (LOG_LINE_MAX, CONSOLE_LOG_MAX): lines are added while another one fits with the
 * longest of such prefixes.
 */
#define PREFIX_MOST 48
#define MANY_UNTIL 640

static void begin(struct lines *lines)
{
	idmap_text_init(&lines->text, lines->record, sizeof(lines->record) - 1);
	idmap_text_add(&lines->text, "<%u>", lines->level);
	lines->prefixes = 0;
}

void lines_begin(struct lines *lines, int level, uint32_t count)
{
	/* A few can have a write each, which is kinder to those who read record by record. */
	lines->until = count < WRITES_PER_OPEN ? 0 : MANY_UNTIL;
	lines->level = level;
	lines->open = false;
	begin(lines);
}

/* The line at hand is whole. */
static void end_line(struct lines *lines)
{
	*lines->text.at++ = '\n';
	lines->prefixes += PREFIX_MOST;
}

static void write_lines(struct lines *lines)
{
	static struct {
		int fd;
		unsigned int writes;
	} kmsg = {.fd = -1};
	const size_t level = strlen("<6>"), size = (size_t)(lines->text.at - lines->record);
	int fd = kmsg.fd;

	if (kmsg.writes++ % WRITES_PER_OPEN == 0)
		fd = idmap_open("/dev/kmsg", O_WRONLY);
	if (fd >= 0 && fd != kmsg.fd) {
		idmap_close(&kmsg.fd);
		kmsg.fd = fd;
	}
	if (kmsg.fd < 0 || write(kmsg.fd, lines->record, size) < 0)
		write(STDERR_FILENO, lines->record + level, size - level);
}

struct idmap_text *lines_next(struct lines *lines)
{
	if (lines->open)
		end_line(lines);
	if (lines->text.at - lines->record + lines->prefixes > lines->until && lines->open) {
		write_lines(lines);
		begin(lines);
	}
	lines->open = true;
	idmap_text_add(&lines->text, "idmap-init: ");
	return &lines->text;
}

void lines_end(struct lines *lines)
{
	if (!lines->open)
		return;
	end_line(lines);
	write_lines(lines);
}

void msg(int level, const char *format, ...)
{
	struct lines lines;
	va_list list;

	lines_begin(&lines, level, 1);
	va_start(list, format);
	idmap_text_vadd(lines_next(&lines), format, list);
	va_end(list);
	lines_end(&lines);
}

void msg_notes(struct idmap_notes *notes)
{
	const struct idmap_note *note;

	for (note = notes->first; note; note = note->next)
		msg(MSG_ERROR, "%s", note->text);
	if (notes->first)
		notes->arena->at = (char *)notes->first; /* it has notes only */
	idmap_notes_init(notes, notes->arena);
}
