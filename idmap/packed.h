/* SPDX-License-Identifier: MIT */
/* What pack.c makes of the messages and unpack.c reads. */
#ifndef IDMAP_PACKED_H
#define IDMAP_PACKED_H

#include <stdint.h>

/* All messages together, unpacked. */
#define PACKED_MOST 24576
/* A byte of text is itself, NUL too; all others are pairs. */
#define PACKED_CODES 159
#define PACKED_IS_TEXT(byte) (!(byte) || ((byte) >= 0x20 && (byte) < 0x80))
#define PACKED_CODE(byte) ((byte) < 0x20 ? (byte) + 127 : (byte)-0x80)

struct idmap_packed {
	uint16_t text_size; /* unpacked */
	uint16_t size;	    /* of data */
	unsigned char pair[PACKED_CODES][2];
	unsigned char data[];
};

#endif
