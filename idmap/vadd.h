/* SPDX-License-Identifier: MIT */
/* The va_list side of text.c and error.c, for the library's own variadic functions. */
#ifndef IDMAP_VADD_H
#define IDMAP_VADD_H

#include <stdarg.h>
#include <stdint.h>

struct idmap_place;
struct idmap_table;
struct idmap_text;

void idmap_text_vadd(struct idmap_text *text, const char *format, va_list list);
void idmap_table_verror(struct idmap_table *table, const struct idmap_place *place, uint32_t column,
			const char *format, va_list list);

#endif
