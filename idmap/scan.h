/* SPDX-License-Identifier: MIT */
/* Between scan.c, options.c and table.c: how a table's text is cut and decoded. */
#ifndef SCAN_H
#define SCAN_H

#include "idmap.h"

/* A piece of the text as written; `column` is where it begins, from 1. */
struct idmap_piece {
	const char *at;
	size_t length;
	uint32_t column;
};

enum idmap_scan { SCAN_OK, SCAN_EMPTY, SCAN_NOT_DECIMAL, SCAN_TOO_LARGE };

static inline bool idmap_is_digit(char c)
{
	return c >= '0' && c <= '9';
}

static inline bool idmap_is_blank(char c)
{
	return c == ' ' || c == '\t';
}

/* The column of what became byte `index` of the decoded piece. */
uint32_t idmap_column_of(const struct idmap_piece *piece, size_t index);
/*
 * Decodes into `out`, which has room for the piece and a NUL. false, with an error on the table's
 * list: an escape stands for no byte.
 */
bool idmap_decode(struct idmap_table *table, const struct idmap_place *place,
		  const struct idmap_piece *piece, char *out);
/* The same into the table's arena; NULL on an error. */
char *idmap_decode_kept(struct idmap_table *table, const struct idmap_place *place,
			const struct idmap_piece *piece);
/* Digit by digit into 32 bits: no sign, no blank, no prefix, no wrapping. */
enum idmap_scan idmap_scan_u32(const char *text, size_t length, uint32_t *ret);
/* The value of a hex digit, or 16. */
uint32_t idmap_hex(char c);
/* Digits of that base, and what they are worth or more than 32 bits hold; gives their end. */
const char *idmap_scan_digits(const char *text, uint32_t base, uint64_t *ret);
/*
 * Takes // . and a final / out of `path`, in place; NULL, with an error that calls it `what`, where
 * it is relative or has a `..`.
 */
const char *idmap_normal_path(struct idmap_table *table, const struct idmap_place *place,
			      const struct idmap_piece *piece, char *path, const char *what);

/*
 * options.c: reads all options of a row into it. With `vfs_only`, for rootflags=, only words of the
 * VFS are ours and everything else is the filesystem's.
 */
void idmap_read_options(struct idmap_table *table, struct idmap_row *row,
			const struct idmap_piece *options, bool vfs_only);

#endif
