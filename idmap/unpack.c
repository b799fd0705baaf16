// SPDX-License-Identifier: MIT
/*
 * The messages, unpacked when the first of them is told. Pairs of bytes that are frequent in them
 * stand as one byte, and pairs of such pairs again (byte pair encoding): for text of this kind not
 * far from what gzip does, and undone by two lines.
 */
#include "explain.h"
#include "idmap.h"
#include "packed.h"

/* Made by pack.c. Weak, since the library may be linked by who has no packed messages. */
extern const struct idmap_packed idmap_packed __attribute__((weak, visibility("hidden")));
/* The linker's: where the program is loaded, from which the messages count. */
extern const char __ehdr_start[] __attribute__((visibility("hidden")));

static char messages[PACKED_MOST];

static char *expand(char *out, unsigned int byte)
{
	if (PACKED_IS_TEXT(byte)) {
		*out++ = (char)byte;
		return out;
	}
	out = expand(out, idmap_packed.pair[PACKED_CODE(byte)][0]);
	return expand(out, idmap_packed.pair[PACKED_CODE(byte)][1]);
}

const char *idmap_unpack(const char *string)
{
	const uintptr_t base = IS_ENABLED(CONFIG_HARDENING) ? (uintptr_t)__ehdr_start : 0;
	const uintptr_t offset = (uintptr_t)string - base;
	char *out = messages;
	uint32_t i;

	if (!&idmap_packed || offset >= idmap_packed.text_size)
		return string;
	for (i = *messages ? idmap_packed.size : 0; i < idmap_packed.size; i++)
		out = expand(out, idmap_packed.data[i]);
	return messages + offset;
}
