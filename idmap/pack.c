// SPDX-License-Identifier: MIT
/*
 * Runs on the host: packs the messages of a linked program (a file: NUL-terminated strings) into C
 * on stdout, which is then linked in. Again and again the pair that stands there most often becomes
 * a byte of its own; see unpack.c.
 */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "packed.h"

static unsigned char data[PACKED_MOST];
static size_t size;

static int fail(const char *cause)
{
	fprintf(stderr, "pack: %s\n", cause);
	return 1;
}

/* The most frequent pair, and how often it stands there. The first of equals, so that builds agree.
 */
static unsigned int best_pair(unsigned int *ret_pair)
{
	static unsigned int count[0x10000];
	unsigned int pair, most = 0;
	size_t i;

	memset(count, 0, sizeof(count));
	for (i = 0; i + 1 < size; i++) {
		pair = data[i] * 256u + data[i + 1];
		count[pair]++;
		/* "aaa" holds the pair "aa" once. */
		if (i + 2 < size && data[i] == data[i + 1] && data[i] == data[i + 2])
			i++;
	}
	for (pair = 0; pair < 0x10000; pair++) {
		if (count[pair] > most) {
			most = count[pair];
			*ret_pair = pair;
		}
	}
	return most;
}

static void replace(unsigned int pair, unsigned char byte)
{
	size_t from, to;

	for (from = to = 0; from < size; to++) {
		if (from + 1 < size && data[from] * 256u + data[from + 1] == pair) {
			data[to] = byte;
			from += 2;
		} else {
			data[to] = data[from++];
		}
	}
	size = to;
}

int main(int argc, char **argv)
{
	unsigned char pairs[PACKED_CODES][2] = {{0}};
	unsigned int byte, pair = 0;
	size_t text_size, i;
	FILE *file = argc == 2 ? fopen(argv[1], "rb") : NULL;

	if (!file)
		return fail("name the file of messages");
	text_size = size = fread(data, 1, sizeof(data), file);
	if (!feof(file) || fclose(file))
		return fail("there are more messages than PACKED_MOST bytes; raise it in packed.h");
	for (i = 0; i < size; i++)
		if (!PACKED_IS_TEXT(data[i]))
			return fail("a message holds a byte that is not ASCII");
	for (byte = 1; byte < 256; byte++) {
		/* A code costs two bytes, so three of a pair are the least that pay. */
		if (PACKED_IS_TEXT(byte) || best_pair(&pair) < 3)
			continue;
		replace(pair, (unsigned char)byte);
		pairs[PACKED_CODE(byte)][0] = (unsigned char)(pair / 256);
		pairs[PACKED_CODE(byte)][1] = (unsigned char)(pair % 256);
	}
	printf("#include \"packed.h\"\n\nextern const struct idmap_packed idmap_packed;\n"
	       "const struct idmap_packed idmap_packed = {\n\t.text_size = %zu,\n\t.size = %zu,\n"
	       "\t.pair = {",
	       text_size, size);
	for (i = 0; i < PACKED_CODES; i++)
		printf("{%u, %u}, ", pairs[i][0], pairs[i][1]);
	printf("},\n\t.data = {");
	for (i = 0; i < size; i++)
		printf("%u, ", data[i]);
	printf("},\n};\n");
	return 0;
}
