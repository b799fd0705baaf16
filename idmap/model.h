/* SPDX-License-Identifier: MIT */
/*
 * How pack.c and unpack.c both expect the next bit of a text: what came in its place so far, after
 * the same 0, 1, … 5 bytes, says how likely a 0 and a 1 are. An arithmetic coder then spends the
 * less on a bit the likelier it was.
 */
#ifndef IDMAP_MODEL_H
#define IDMAP_MODEL_H

#include <stdint.h>

#include "packed.h"

/* Contexts of 0 to 5 bytes; so many zeros stand before the text. */
#define MODEL_ORDERS 6
/* Counts are found by a hash. Where two share one, the packed text is longer but not wrong. */
#define MODEL_HASH_BITS 20
/* The past is forgotten after so many. */
#define MODEL_COUNT_MOST 30
/* The coder's range is widened, by a byte, when it is less. */
#define CODER_RANGE_LEAST (1u << 24)

/* How often a 0 and a 1 came in a context. */
struct model_count {
	unsigned char of[2];
};

struct coder;
/* Codes a bit that is a 0 `zeros` times of `all`, and gives it. Theirs who include this. */
static uint32_t coder_bit(struct coder *coder, uint32_t zeros, uint32_t all);

/* Codes the byte at `text`, by those before it, and gives it. `counts` are zero at first. */
static inline char model_byte(struct coder *coder, struct model_count *counts, const char *text)
{
	uint32_t bits = 1; /* those of the byte so far, behind a 1 */

	while (PACKED_IS_TEXT(bits)) {
		struct model_count *count[MODEL_ORDERS];
		uint32_t odds[2] = {1, 1}, hash = bits, i, bit;

		for (i = 0; i < MODEL_ORDERS; i++) {
			uint32_t weight;

			hash *= 0x9e3779b1;
			count[i] = &counts[hash >> (32 - MODEL_HASH_BITS)];
			/* What never came otherwise tells most. */
			weight = count[i]->of[0] && count[i]->of[1] ? 1 : 8;
			odds[0] += count[i]->of[0] * weight;
			odds[1] += count[i]->of[1] * weight;
			hash += (unsigned char)text[-1 - (int)i];
		}
		bit = coder_bit(coder, odds[0], odds[0] + odds[1]);
		for (i = 0; i < MODEL_ORDERS; i++) {
			unsigned char *of = count[i]->of;

			of[bit] = (unsigned char)(of[bit] + (of[bit] < MODEL_COUNT_MOST));
			of[!bit] = (unsigned char)((of[!bit] + 1) / 2);
		}
		bits = bits << 1 | bit;
	}
	return (char)(bits & 0x7f);
}

#endif
