// SPDX-License-Identifier: MIT
/*
 * Any bytes as the front of a program. Nothing is read outside of them, a name fits and ends, and
 * what would not be run is told so.
 */
#include "check.h"
#include "mount/format.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	/* Of exactly that size, so that the sanitizer sees a step out. */
	char *front = malloc(size ? size : 1);
	struct idmap_format format;
	int result;

	CHECK(front, "no memory for the test");
	if (size)
		memcpy(front, data, size);
	result = idmap_format_read(front, size, &format);
	CHECK(!result || result == -ENOEXEC, "result %d", result);
	CHECK(memchr(format.interpreter, 0, sizeof(format.interpreter)), "a name that is open");
	CHECK(!result || !*format.interpreter, "an interpreter of what is not run: %s",
	      format.interpreter);
	if (size > 2 && !memcmp(front, "#!", 2))
		CHECK(result || *format.interpreter, "a script without an interpreter");
	else if (size < 4 || memcmp(front, "\177ELF", 4))
		CHECK(result, "neither a script nor ELF, and it is run");
	free(front);
	return 0;
}
