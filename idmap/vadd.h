/* SPDX-License-Identifier: MIT */
/* The va_list side of text.c, for the library's own variadic functions. */
#ifndef IDMAP_VADD_H
#define IDMAP_VADD_H

#include <stdarg.h>

struct idmap_text;

void idmap_text_vadd(struct idmap_text *text, const char *format, va_list list);

#endif
