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

#define MILD_SIZE 1024

int idmap_klog_begin(void)
{
	int fd = idmap_open_device(AT_FDCWD, "/dev/kmsg", O_RDONLY, 1, 11);

	if (fd >= 0)
		lseek(fd, 0, SEEK_END);
	return fd;
}

const char *idmap_klog_next(int fd, char record[IDMAP_KLOG_RECORD], bool *ret_grave)
{
	const char *words = NULL;
	long n = 1;

	while (fd >= 0 && !words &&
	       (n > 0 || (n < 0 && errno == EPIPE))) { /* some have been overwritten meanwhile */
		n = read(fd, record, IDMAP_KLOG_RECORD - 1);
		if (n <= 0)
			continue;
		record[n] = 0;
		words = idmap_klog_words(record, ret_grave);
	}
	return words;
}

void idmap_klog_read(int fd, struct idmap_text *ret_words)
{
	char record[IDMAP_KLOG_RECORD], mild[MILD_SIZE];
	struct idmap_text rest, *text;
	const char *words;
	bool grave;

	idmap_text_init(&rest, mild, sizeof(mild));
	while ((words = idmap_klog_next(fd, record, &grave))) {
		text = grave ? ret_words : &rest;
		idmap_text_add(text, "%s%s", text->at == text->start ? "" : ", ", words);
	}
	if (*mild)
		idmap_text_add(ret_words, "%s%s", ret_words->at == ret_words->start ? "" : ", ",
			       mild);
}
