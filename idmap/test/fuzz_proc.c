// SPDX-License-Identifier: MIT
/*
 * Any text as the kernel's list of mounts, as records of its log and as a list of modules. Each is
 * cut in place: nothing is read or written outside, every string ends, and all lines are seen.
 */
#include "check.h"
#include "device/device.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static char *text_of(const uint8_t *data, size_t size)
{
	char *text = malloc(size + 1);

	CHECK(text, "no memory for the test");
	if (size)
		memcpy(text, data, size);
	text[size] = 0;
	return text;
}

static void check_inside(const char *string, const char *text, size_t size)
{
	CHECK(string >= text && string + strlen(string) <= text + size, "a string outside");
}

static void check_mounts(const uint8_t *data, size_t size)
{
	char *text = text_of(data, size), *rest = text;
	struct idmap_mountinfo mount;

	while (idmap_mountinfo_next(&rest, &mount)) {
		check_inside(mount.id, text, size);
		check_inside(mount.parent, text, size);
		check_inside(mount.target, text, size);
		check_inside(mount.options, text, size);
		check_inside(mount.type, text, size);
		check_inside(mount.source, text, size);
	}
	free(text);
}

static void check_lines(const uint8_t *data, size_t size)
{
	char *text = text_of(data, size), *rest = text, *line;
	const size_t length = strlen(text);
	size_t seen = 0;

	while ((line = idmap_next_line(&rest))) {
		check_inside(line, text, size);
		CHECK(!strchr(line, '\n'), "a line with a newline");
		seen += strlen(line) + 1;
	}
	CHECK(seen == length || seen == length + 1, "%zu of %zu bytes seen", seen, length);
	free(text);
}

static void check_record(const uint8_t *data, size_t size)
{
	char *text = text_of(data, size);
	bool grave;
	const char *words = idmap_klog_words(text, &grave);

	if (words) {
		check_inside(words, text, size);
		CHECK(*words && !strchr(words, '\n'), "words that are none");
	}
	free(text);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	check_mounts(data, size);
	check_lines(data, size);
	check_record(data, size);
	return 0;
}
