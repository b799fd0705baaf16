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
#define MILD_SIZE 1024

int idmap_klog_begin(void)
{
	int fd = idmap_open_device(AT_FDCWD, "/dev/kmsg", O_RDONLY, 1, 11);

	if (fd >= 0)
		lseek(fd, 0, SEEK_END);
	return fd;
}

void idmap_klog_read(int fd, struct idmap_text *ret_words)
{
	char record[RECORD_SIZE], mild[MILD_SIZE];
	struct idmap_text rest, *text;
	const char *words;
	bool grave;
	long n = 1;

	idmap_text_init(&rest, mild, sizeof(mild));
	while (fd >= 0 &&
	       (n > 0 || (n < 0 && errno == EPIPE))) { /* some have been overwritten meanwhile */
		n = read(fd, record, sizeof(record) - 1);
		if (n <= 0)
			continue;
		record[n] = 0;
		words = idmap_klog_words(record, &grave);
		text = grave ? ret_words : &rest;
		if (words)
			idmap_text_add(text, "%s%s", text->at == text->start ? "" : ", ", words);
	}
	if (*mild)
		idmap_text_add(ret_words, "%s%s", ret_words->at == ret_words->start ? "" : ", ",
			       mild);
}
