// SPDX-License-Identifier: MIT
/*
 * The little that everything else needs of files, memory and time.
 */
#define _GNU_SOURCE
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <stdarg.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <sys/sysmacros.h>
#include <time.h>
#include <unistd.h>

#include "device/device.h"

int or_errno(int result)
{
	return result < 0 ? -errno : result;
}

int idmap_open(const char *path, int flags)
{
	return or_errno(
		openat(AT_FDCWD, path, flags | O_CLOEXEC | (flags & O_PATH ? 0 : O_NONBLOCK)));
}

int idmap_open_device(int dir_fd, const char *name, int flags, uint32_t major, uint32_t minor)
{
	int fd = or_errno(openat(dir_fd, name, flags | O_CLOEXEC | O_NOCTTY | O_NONBLOCK));
	struct stat st;

	if (fd >= 0 &&
	    (fstat(fd, &st) || !S_ISCHR(st.st_mode) || st.st_rdev != makedev(major, minor))) {
		idmap_close(&fd);
		return -ENODEV;
	}
	return fd;
}

void idmap_close(int *fd)
{
	const int error = errno;

	if (*fd >= 0)
		close(*fd);
	*fd = -1;
	errno = error;
}

int idmap_arena_map(struct idmap_arena *ret_arena, size_t size, struct idmap_error *ret_error)
{
	char *p = mmap(NULL, size, PROT_READ | PROT_WRITE,
		       MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);

	if (p == MAP_FAILED)
		return idmap_fail(ret_error, NULL, IDMAP_BAD_SYSTEM, errno,
				  "no %lu KiB of memory to read the table (%m); make it shorter or"
				  " give the machine more",
				  (unsigned long)(size / 1024));
	ret_arena->at = p;
	ret_arena->end = p + size;
	return 0;
}

int idmap_arena_room(struct idmap_arena *arena, size_t size, struct idmap_error *ret_error)
{
	return size <= (size_t)(arena->end - arena->at) ? 0
							: idmap_arena_map(arena, size, ret_error);
}

void idmap_raise_files(void)
{
	struct rlimit limit;

	if (prlimit(0, RLIMIT_NOFILE, NULL, &limit))
		return;
	limit.rlim_cur = limit.rlim_max;
	prlimit(0, RLIMIT_NOFILE, &limit, NULL);
}

/* Of a path that does not open: whether nothing is there, or a link that leads nowhere, which
 * somebody has made for something. */
static int absence(const char *path)
{
	char prefix[PATH_MAX];
	struct stat st;
	size_t length = 0;

	while (path[length]) {
		length += 1 + strcspn(path + length + 1, "/");
		idmap_print(prefix, sizeof(prefix), "%.*s", (int)length, path);
		if (lstat(prefix, &st))
			break;
		if (S_ISLNK(st.st_mode) && stat(prefix, &st))
			return -ENOLINK;
	}
	return -ENOENT;
}

int64_t idmap_file_size(const char *path)
{
	idmap_closed int fd = idmap_open(path, O_PATH);
	struct stat st;

	if (fd < 0)
		return fd == -ENOENT ? absence(path) : fd;
	if (fstat(fd, &st))
		return -errno;
	return S_ISREG(st.st_mode) ? st.st_size : -EINVAL;
}

int idmap_file_read(const char *path, struct idmap_arena *arena, char **ret_text, size_t *ret_size)
{
	idmap_closed int fd = idmap_open(path, O_RDONLY | O_NOCTTY);
	char *start = arena->at;
	long n;

	if (fd < 0)
		return fd == -ENOENT ? absence(path) : fd;
	do {
		size_t room = (size_t)(arena->end - arena->at);

		/* Something is kept for the NUL and for aligning the end. */
		n = room > sizeof(void *) ? read(fd, arena->at, room - sizeof(void *)) : -1;
		if (n < 0) {
			arena->at = start;
			return room > sizeof(void *) ? -errno : -EFBIG;
		}
		arena->at += n;
	} while (n);
	*ret_text = start;
	*ret_size = (size_t)(arena->at - start);
	*arena->at++ = 0;
	while ((uintptr_t)arena->at % sizeof(void *))
		arena->at++;
	return 0;
}

int idmap_table_text(const char *path, const char *remedy, struct idmap_arena *arena,
		     char **ret_text, size_t *ret_size, struct idmap_error *ret_error)
{
	const int64_t size = idmap_file_size(path);
	int result = size < 0 ? (int)size : 0;

	/* Somewhat more: a file may grow. */
	if (!result &&
	    idmap_arena_map(arena, (size_t)size + idmap_arena_size((size_t)size + 4096), ret_error))
		return -ENOMEM;
	if (!result)
		result = idmap_file_read(path, arena, ret_text, ret_size);
	return result ? idmap_fail(ret_error, NULL, IDMAP_BAD_TABLE, -result,
				   "%s cannot be read (%m); %s", path, remedy)
		      : 0;
}

uint64_t idmap_now_us(void)
{
	struct timespec now;

	clock_gettime(CLOCK_MONOTONIC, &now);
	return (uint64_t)now.tv_sec * 1000000 + (uint64_t)now.tv_nsec / 1000;
}

void idmap_trace(struct idmap_notes *notes, const char *format, ...)
{
	const uint64_t now_us = notes->traced_us ? idmap_now_us() : 0;
	char words[IDMAP_LINE_SIZE];
	struct idmap_text text;
	va_list list;

	if (!notes->traced_us)
		return;
	idmap_text_init(&text, words, sizeof(words));
	va_start(list, format);
	idmap_text_vadd(&text, format, list);
	va_end(list);
	idmap_note(notes, "+%u us: %s", (uint32_t)(now_us - notes->traced_us), words);
	notes->traced_us = idmap_now_us();
}
