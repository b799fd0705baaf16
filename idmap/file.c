// SPDX-License-Identifier: MIT
/*
 * The little that everything else needs of files, memory and time.
 */
#include <errno.h>
#include <sys/mman.h>
#include <sys/stat.h>

#include "explain.h"
#include "idmap.h"
#include "sys.h"

void idmap_close(int *fd)
{
	if (*fd >= 0)
		sys_close(*fd);
	*fd = -1;
}

int idmap_arena_map(struct idmap_arena *ret_arena, size_t size, struct idmap_error *ret_error)
{
	char *p =
		sys_mmap(size, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE);
	intptr_t error = -(intptr_t)p;

	if (error > 0 && error < 4096)
		return idmap_fail(ret_error, IDMAP_BAD_SYSTEM, (int)error,
				  "no %lu KiB of memory to read the table (%s); make it shorter or"
				  " give the machine more",
				  (unsigned long)(size / 1024), idmap_errno_text((int)error));
	ret_arena->at = p;
	ret_arena->end = p + size;
	return 0;
}

int64_t idmap_file_size(const char *path)
{
	struct stat st;
	int result = sys_fstatat(AT_FDCWD, path, &st, 0);

	if (result)
		return result;
	return S_ISREG(st.st_mode) ? st.st_size : -EINVAL;
}

int idmap_file_read(const char *path, struct idmap_arena *arena, char **ret_text, size_t *ret_size)
{
	idmap_closed int fd = sys_open(path, O_RDONLY | O_CLOEXEC | O_NOCTTY, 0);
	char *start = arena->at;
	long n;

	if (fd < 0)
		return fd;
	do {
		size_t room = (size_t)(arena->end - arena->at);

		/* Something is kept for the NUL and for aligning the end. */
		n = room > sizeof(void *) ? sys_read(fd, arena->at, room - sizeof(void *)) : -EFBIG;
		if (n < 0) {
			arena->at = start;
			return (int)n;
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

uint64_t idmap_now_us(void)
{
	struct timespec now;

	sys_clock_gettime(CLOCK_MONOTONIC, &now);
	return (uint64_t)now.tv_sec * 1000000 + (uint64_t)now.tv_nsec / 1000;
}
