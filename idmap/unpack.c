// SPDX-License-Identifier: MIT
/*
 * The messages, unpacked when the first of them is told: bit by bit, by what model.h expects of
 * each. That takes some milliseconds and memory for the counts, neither of which a boot that goes
 * well spends.
 */
#include "explain.h"
#include "idmap.h"
#include "model.h"

/* Made by pack.c. Weak, since the library may be linked by who has no packed messages. */
extern const struct idmap_packed idmap_packed __attribute__((weak, visibility("hidden")));
/* The linker's: where the program is loaded, from which the messages count. */
extern const char __ehdr_start[] __attribute__((visibility("hidden")));

struct coder {
	const unsigned char *in; /* the rest of the packed bytes, which are one large number */
	uint32_t value;		 /* what is left of the number, below the range */
	uint32_t range;
};

static uint32_t coder_bit(struct coder *coder, uint32_t zeros, uint32_t all)
{
	uint32_t part;

	while (coder->range < CODER_RANGE_LEAST) {
		coder->range <<= 8;
		coder->value = coder->value << 8 | *coder->in++;
	}
	part = coder->range / all * zeros;
	if (coder->value < part) {
		coder->range = part;
		return 0;
	}
	coder->range -= part;
	coder->value -= part;
	return 1;
}

const char *idmap_unpack(const char *string)
{
	/* Not aligned, they are linked last, away from what every boot touches. */
	static struct model_count counts[1 << MODEL_HASH_BITS] __attribute__((aligned(1)));
	static char text[MODEL_ORDERS + PACKED_MOST] __attribute__((aligned(1)));
	const uintptr_t base = IS_ENABLED(CONFIG_HARDENING) ? (uintptr_t)__ehdr_start : 0;
	const uintptr_t offset = (uintptr_t)string - base;
	struct coder coder = {.in = idmap_packed.data, .range = 1};
	char *messages = text + MODEL_ORDERS, *out;

	if (!&idmap_packed || offset >= idmap_packed.text_size)
		return string;
	if (!*messages)
		for (out = messages; out < messages + idmap_packed.text_size; out++)
			*out = model_byte(&coder, counts, out);
	return messages + offset;
}
