// SPDX-License-Identifier: MIT
/*
 * Lines for the kernel log. /dev/kmsg drops what comes after ten writes in five seconds, but counts
 * by open file (kernel/printk/printk.c, devkmsg_write()), so it is opened anew now and then. A
 * write may hold several lines, which the kernel shows as such, and costs it little more than one.
 *
 * Whoever reads an error sits before the console, so it is shown there under any loglevel=.
 */
#define _GNU_SOURCE
#include <fcntl.h>
#include <stdarg.h>
#include <string.h>
#include <sys/klog.h>
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
	lines->text.most = IDMAP_LINE_SIZE; /* no control character drives the console */
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

#define CONSOLE_LEVEL 8 /* SYSLOG_ACTION_CONSOLE_LEVEL of linux/syslog.h, which musl has not */

/* What the console's level was before it was raised, from 1 on; 0: it was not. */
static uint32_t level_before;

/* Raised once and for long: a console may print a line some time after it was written. */
static void show_errors(void)
{
	char text[32] = "";
	idmap_closed int fd = -1;
	uint64_t level = 0;

	if (level_before)
		return;
	fd = idmap_open("/proc/sys/kernel/printk", O_RDONLY);
	read(fd, text, sizeof(text) - 1);
	idmap_read_digits(text, 10, &level);
	if (level > MSG_ERROR)
		return;
	level_before = level ? (uint32_t)level : 1;
	klogctl(CONSOLE_LEVEL, NULL, MSG_ERROR + 1);
}

void msg_restore_level(void)
{
	if (level_before)
		klogctl(CONSOLE_LEVEL, NULL, (int)level_before);
}

static void write_lines(struct lines *lines)
{
	static struct {
		int fd;
		unsigned int writes;
	} kmsg = {.fd = -1};
	const size_t level = strlen("<6>"), size = (size_t)(lines->text.at - lines->record);
	int fd = kmsg.fd;

	if (lines->level <= MSG_ERROR)
		show_errors();
	if (kmsg.writes++ % WRITES_PER_OPEN == 0 || kmsg.fd < 0)
		fd = dev_open("kmsg", O_WRONLY, 1, 11);
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
		msg(note->mild ? MSG_WARNING : MSG_ERROR, "%s", note->text);
	idmap_notes_forget(notes);
}

void msg_trace(struct idmap_notes *notes, const char *words, const char *string)
{
	idmap_trace(notes, "%s %s", words, string);
	msg_notes(notes);
}
