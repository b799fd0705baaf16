/* SPDX-License-Identifier: MIT */
/*
 * Messages, which are a third of what the program weighs. With CONFIG_PACK every MESSAGE() stands
 * in a section that is packed after linking (pack.c) and not loaded: its address there is all that
 * is left in the code, and text.c has it unpacked when a line is really told. A build without
 * CONFIG_EXPLAIN says only where and in which step something failed, with the number of the error.
 * The callers write the whole message either way, as a literal.
 */
#ifndef EXPLAIN_H
#define EXPLAIN_H

#include "config.h"
#include "idmap.h"

/* unpack.c: what a MESSAGE() stands for; any other string is given back as it is. */
const char *idmap_unpack(const char *string);

/* The unit tests have their messages plain. */
#if defined(CONFIG_PACK) && !defined(IDMAP_PLAIN_MESSAGES)
#define MESSAGE(string)                                                                          \
	({                                                                                       \
		static const char message_[] __attribute__((section(".messages"), aligned(1))) = \
			string;                                                                  \
		(const char *)message_;                                                          \
	})
#define MESSAGE_TEXT(string) idmap_unpack(string)

/* The compiler checks arguments against literals only, so it is shown one that it then drops. */
static inline int idmap_check_format(const char *format, ...) IDMAP_PRINTF(1, 2);
static inline int idmap_check_format(const char *format, ...)
{
	(void)format;
	return 0;
}
#define MESSAGE_FORMAT(format, ...) \
	((void)(0 && idmap_check_format(format, ##__VA_ARGS__)), MESSAGE(format))
#else
#define MESSAGE(string) (string)
#define MESSAGE_TEXT(string) (string)
#define MESSAGE_FORMAT(format, ...) format
#endif

/* A message that is only handed on, to a function that may leave it out. */
#define EXPLAINED(string) (IS_ENABLED(CONFIG_EXPLAIN) ? MESSAGE(string) : "")

/*
 * What a message has for a number, such as an errno: idmap_choose(CHOICES(ON(ENOENT, "words"),
 * ON2(EIO, ENXIO, "words for two"), "words for all others"), error). error.c
 */
const char *idmap_choose(const char *choices, uint32_t number);
#define idmap_choose(choices, number) \
	(IS_ENABLED(CONFIG_EXPLAIN) ? idmap_choose(MESSAGE(choices), (uint32_t)(number)) : "")
#define CHOICES(...) CHOICES_JOIN(__VA_ARGS__, , , , , , , , )
#define CHOICES_JOIN(a, b, c, d, e, f, g, h, ...) a b c d e f g h
#define ON(number, words) ON_NUMBER(number) "=" words "\0"
#define ON2(number, other, words) ON_NUMBER(number) "," ON(other, words)
#define ON3(number, other, third, words) ON_NUMBER(number) "," ON2(other, third, words)
#define ON_NUMBER(number) ON_STRING(number)
#define ON_STRING(number) #number

/* What is left of an error without CONFIG_EXPLAIN; error.c. */
int idmap_row_fail_plain(struct idmap_error *ret_error, const struct idmap_row *row,
			 enum idmap_class class, int error);
void idmap_table_error_plain(struct idmap_table *table, const struct idmap_place *place,
			     uint32_t column);

#define idmap_table_error(table, place, column, format, ...)                                      \
	(IS_ENABLED(CONFIG_EXPLAIN)                                                               \
		 ? idmap_table_error(table, place, column, MESSAGE_FORMAT(format, ##__VA_ARGS__), \
				     ##__VA_ARGS__)                                               \
		 : idmap_table_error_plain(table, place, column))

#define idmap_row_fail(ret_error, row, class, error, format, ...)                       \
	(IS_ENABLED(CONFIG_EXPLAIN)                                                     \
		 ? idmap_row_fail(ret_error, row, class, error,                         \
				  MESSAGE_FORMAT(format, ##__VA_ARGS__), ##__VA_ARGS__) \
		 : idmap_row_fail_plain(ret_error, row, class, error))

#endif
