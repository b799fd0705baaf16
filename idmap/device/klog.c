// SPDX-License-Identifier: MIT
/*
 * Why something failed is often said in the kernel's log alone. Its records carry no reliable time,
 * so what failed is done once more, and what the log says between begin and read is about it.
 */
#define _GNU_SOURCE
#include <errno.h>
#include <fcntl.h>
#include <unistd.h>

#include "device/device.h"

#define RECORD_SIZE 4096 /* a read gives a whole record or EINVAL */

int idmap_klog_begin(void)
{
	int fd = idmap_open_device(AT_FDCWD, "/dev/kmsg", O_RDONLY, 1, 11);

	if (fd >= 0)
		lseek(fd, 0, SEEK_END);
	return fd;
}

void idmap_klog_read(int fd, struct idmap_text *ret_words)
{
	char record[RECORD_SIZE];
	bool grave, any_grave = false;
	const char *words;
	long n = 1;

	while (fd >= 0 &&
	       (n > 0 || (n < 0 && errno == EPIPE))) { /* some have been overwritten meanwhile */
		n = read(fd, record, sizeof(record) - 1);
		if (n <= 0)
			continue;
		record[n] = 0;
		words = idmap_klog_words(record, &grave);
		if (!words || (any_grave && !grave))
			continue;
		/* What it chats about before may leave no room for the cause. */
		if (grave && !any_grave)
			ret_words->at = ret_words->start;
		any_grave |= grave;
		idmap_text_add(ret_words, "%s%s", ret_words->at == ret_words->start ? "" : ", ",
			       words);
	}
}
