// SPDX-License-Identifier: MIT
/*
 * Runs on the host: packs the messages of a linked program (a file: NUL-terminated strings) into C
 * on stdout, which is then linked in. See model.h for how, and unpack.c for the way back.
 */
#include <stdio.h>
#include <string.h>

#include "model.h"

/* The text, and of what it is packed to so much that a text without any likely bit fits. */
static char text[MODEL_ORDERS + PACKED_MOST];
static unsigned char data[4 * PACKED_MOST];
static struct model_count counts[1 << MODEL_HASH_BITS];

struct coder {
	const char *at;	    /* the byte that is coded */
	unsigned int coded; /* so many of its bits */
	unsigned char *out; /* end of the packed bytes, which are one large number */
	uint32_t range;	    /* of what may be added to it */
};

/* Adds to the number, of which every byte but the last ones may be said already. */
static void add(unsigned char *end, uint32_t value)
{
	for (; value; value >>= 8) {
		value += *--end;
		*end = (unsigned char)value;
	}
}

static uint32_t coder_bit(struct coder *coder, uint32_t zeros, uint32_t all)
{
	const uint32_t bit = (uint32_t)*coder->at >> (6 - coder->coded++) & 1;
	uint32_t part;

	while (coder->range < CODER_RANGE_LEAST) {
		coder->range <<= 8;
		coder->out++;
	}
	part = coder->range / all * zeros;
	if (bit)
		add(coder->out, part);
	coder->range = bit ? coder->range - part : part;
	return bit;
}

static int fail(const char *cause)
{
	fprintf(stderr, "pack: %s\n", cause);
	return 1;
}

int main(int argc, char **argv)
{
	struct coder coder = {.out = data, .range = 1};
	FILE *file = argc == 2 ? fopen(argv[1], "rb") : NULL;
	const unsigned char *byte;
	const char *end;

	if (!file)
		return fail("name the file of messages");
	coder.at = text + MODEL_ORDERS;
	end = coder.at + fread(text + MODEL_ORDERS, 1, PACKED_MOST, file);
	if (!feof(file) || fclose(file))
		return fail("there are more messages than PACKED_MOST bytes; raise it in packed.h");
	for (; coder.at < end; coder.at++) {
		if (!PACKED_IS_TEXT((unsigned char)*coder.at))
			return fail("a message holds a byte that is not ASCII");
		coder.coded = 0;
		model_byte(&coder, counts, coder.at);
	}
	printf("#include \"packed.h\"\n\nextern const struct idmap_packed idmap_packed;\n"
	       "const struct idmap_packed idmap_packed = {\n\t.text_size = %zu,\n\t.data = {",
	       (size_t)(end - text) - MODEL_ORDERS);
	for (byte = data; byte < coder.out; byte++)
		printf("%u, ", *byte);
	printf("},\n};\n");
	return 0;
}
