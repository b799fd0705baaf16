/* SPDX-License-Identifier: MIT */
/* What pack.c makes of the messages and unpack.c reads. */
#ifndef IDMAP_PACKED_H
#define IDMAP_PACKED_H

#include <stdint.h>

/* All messages together, unpacked. */
#define PACKED_MOST 24576
/* A byte of text has seven bits. */
#define PACKED_IS_TEXT(byte) ((byte) < 0x80)

struct idmap_packed {
	uint16_t text_size; /* unpacked */
	unsigned char data[];
};

#endif
