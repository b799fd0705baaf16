// SPDX-License-Identifier: MIT
/*
 * Text and memory without stdio and malloc: those two would double the size of the binary, and
 * a program that runs once needs neither. Pure.
 */
#include <stdarg.h>
#include <string.h>

#include "explain.h"
#include "idmap.h"
#include "vadd.h"

void idmap_text_init(struct idmap_text *text, char *buffer, size_t size)
{
	text->start = text->at = buffer;
	text->end = buffer + size - 1;
	text->most = 0;
	text->cut = false;
	*buffer = 0;
}

static void add(struct idmap_text *text, const char *s, size_t length)
{
	size_t room = (size_t)(text->end - text->at);

	if (length > room) {
		length = room;
		text->cut = true;
	}
	memcpy(text->at, s, length);
	text->at += length;
	*text->at = 0;
}

/*
 * In a message a string from outside is shortened, so that it does not push the rest of the line
 * out, and loses its control characters, so that it neither breaks the line nor drives a terminal.
 */
static void add_string(struct idmap_text *text, const char *s, size_t length)
{
	bool shorten = text->most && length > text->most;
	size_t i;

	if (!text->most) {
		add(text, s, length);
		return;
	}
	if (shorten)
		length = text->most;
	for (i = 0; i < length; i++) {
		unsigned char c = (unsigned char)s[i];

		if (c < ' ' || c == 0x7f)
			idmap_text_add(text, "\\%o%o%o", c >> 6, c >> 3 & 7u, c & 7u);
		else
			add(text, s + i, 1);
	}
	if (shorten)
		add(text, "...", 3);
}

static void add_number(struct idmap_text *text, uint64_t value, unsigned int base)
{
	char digits[24], *p = digits + sizeof(digits);

	do
		*--p = (char)('0' + value % base);
	while (value /= base);
	add(text, p, (size_t)(digits + sizeof(digits) - p));
}

void idmap_text_vadd(struct idmap_text *text, const char *format, va_list list)
{
	format = MESSAGE_TEXT(format);
	for (; *format; format++) {
		const char *s = format;
		size_t most = SIZE_MAX;
		uint64_t number = 0;
		char kind;

		if (*s != '%') {
			while (format[1] && format[1] != '%')
				format++;
			add(text, s, (size_t)(format + 1 - s));
			continue;
		}
		kind = *++format;
		if (kind == '.' || kind == 'u' || kind == 'o')
			number = va_arg(list, unsigned int);
		if (kind == 'l') { /* only %lu */
			format++;
			number = va_arg(list, unsigned long);
		}
		if (kind == '.') { /* only %.*s */
			format += 2;
			most = number;
		}
		if (kind == 's' || kind == '.') {
			s = MESSAGE_TEXT(va_arg(list, const char *));
			add_string(text, s, strnlen(s, most));
		} else if (kind == '%') {
			add(text, format, 1);
		} else {
			add_number(text, number, kind == 'o' ? 8 : 10);
		}
	}
}

void idmap_text_add(struct idmap_text *text, const char *format, ...)
{
	va_list list;

	va_start(list, format);
	idmap_text_vadd(text, format, list);
	va_end(list);
}

void idmap_text_field(struct idmap_text *text, const char *field, char more)
{
	while (*field) {
		const char *plain = field;
		unsigned char c;

		for (; (c = (unsigned char)*field); field++)
			if (c <= ' ' || c == 0x7f || c == '\\' || c == '"' ||
			    c == (unsigned char)more)
				break;
		add(text, plain, (size_t)(field - plain));
		if (c) {
			idmap_text_add(text, "\\%o%o%o", c >> 6, c >> 3 & 7u, c & 7u);
			field++;
		}
	}
}

uint32_t idmap_word_index(const char *list, const char *word, size_t length)
{
	uint32_t index;

	for (index = 0; *list; index++) {
		size_t same = 0;

		while (same < length && list[same] && list[same] == word[same])
			same++;
		list += same;
		if (same == length && !*list)
			return index;
		while (*list++)
			;
	}
	return IDMAP_NO_WORD;
}

#define ALIGNMENT sizeof(void *)

static size_t aligned(size_t size)
{
	return (size + ALIGNMENT - 1) & ~(ALIGNMENT - 1);
}

void *idmap_alloc(struct idmap_arena *arena, size_t size)
{
	char *p = arena->at;

	size = aligned(size);
	if (size > (size_t)(arena->end - p))
		return NULL;
	arena->at += size;
	return memset(p, 0, size);
}

void *idmap_alloc_scratch(struct idmap_arena *arena, size_t size)
{
	size = aligned(size) + (uintptr_t)arena->end % ALIGNMENT;
	if (size > (size_t)(arena->end - arena->at))
		return NULL;
	arena->end -= size;
	return memset(arena->end, 0, size);
}

size_t idmap_arena_size(size_t text_size)
{
	/*
	 * Greedy per byte are a file full of the shortest rows ("a / b": a struct idmap_row of some
	 * 160 bytes for 6 of text) and a list of the shortest extents ("0:0:1,": 20 bytes as
	 * written, and for each of two kinds up to five times as many while they are checked and
	 * three of 12 that stay). Only touched pages cost.
	 */
	return text_size * 64 + (IDMAP_ERRORS_MAX + 32) * sizeof(struct idmap_error);
}
