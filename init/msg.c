// SPDX-License-Identifier: MIT
/*
 * Lines for the kernel log. /dev/kmsg drops what comes after ten lines in five seconds, but counts
 * by open file (kernel/printk/printk.c, devkmsg_write()), so it is opened anew now and then.
 */
#include <stdarg.h>
#include <unistd.h> /* STDERR_FILENO */

#include "init.h"
#include "sys.h"
#include "vadd.h"

#define LINES_PER_OPEN 9

void(msg)(int level, const char *format, ...)
{
	static int kmsg_fd = -1;
	static unsigned int lines;
	char line[IDMAP_LINE_SIZE + 40];
	struct idmap_text text;
	size_t prefix;
	va_list list;

	idmap_text_init(&text, line, sizeof(line) - 1);
	idmap_text_add(&text, "<%u>", level);
	prefix = (size_t)(text.at - line);
	idmap_text_add(&text, "idmap-init: ");
	va_start(list, format);
	idmap_text_vadd(&text, format, list);
	va_end(list);
	*text.at++ = '\n';
	if (lines++ % LINES_PER_OPEN == 0)
		idmap_close(&kmsg_fd);
	if (kmsg_fd < 0)
		kmsg_fd = sys_open("/dev/kmsg", O_WRONLY | O_CLOEXEC, 0);
	if (kmsg_fd < 0 || sys_write(kmsg_fd, line, (size_t)(text.at - line)) < 0)
		sys_write(STDERR_FILENO, line + prefix, (size_t)(text.at - line) - prefix);
}
