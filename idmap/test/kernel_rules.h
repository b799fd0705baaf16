/* SPDX-License-Identifier: MIT */
/*
 * How the kernel cuts its command line, written down a second time: each rule by itself, on copies,
 * slowly. cmdline.c does all of it in one pass; the two must agree on every line. The rules are
 * those of the manual of the kernel's parameters and of lib/cmdline.c, in words:
 *
 *   1. Blanks separate words, 0xA0 is one. A `"` turns quoting on and off wherever it stands, and
 *      in quotes a blank is a byte like another. A quote left open reaches to the end.
 *   2. A quote at the very start of a word goes.
 *   3. The first `=` that is not the first byte splits name from value.
 *   4. A quote at the start of the value goes.
 *   5. Where one of these went, a quote at the very end goes too; of two, only one.
 *   6. A word `--` without a value ends the parameters.
 */
#ifndef KERNEL_RULES_H
#define KERNEL_RULES_H

#include <stdbool.h>
#include <stdlib.h>
#include <string.h>

struct rules_word {
	char *name, *value; /* value: NULL where there is no `=` */
};

static inline bool rules_blank(char c)
{
	return c && strchr(" \t\n\v\f\r\xa0", c);
}

/* Rule 1: how long the word is that begins here. */
static inline size_t rules_word_length(const char *text)
{
	size_t length = 0, quotes = 0;

	for (; text[length]; length++) {
		if (rules_blank(text[length]) && quotes % 2 == 0)
			break;
		quotes += text[length] == '"';
	}
	return length;
}

/* Cuts the next word off; the caller frees both strings. false: no more, or `--`. */
static inline bool rules_next(const char **text, struct rules_word *ret)
{
	size_t length;
	char *word, *equals, *value = NULL;
	bool unquoted = false;

	while (rules_blank(**text))
		++*text;
	length = rules_word_length(*text);
	if (!length)
		return false;
	word = strndup(*text, length);
	*text += length;
	if (*word == '"') { /* rule 2 */
		memmove(word, word + 1, length--);
		unquoted = true;
	}
	equals = length ? strchr(word + 1, '=') : NULL; /* rule 3 */
	if (equals) {
		value = strdup(equals + 1);
		*equals = 0;
		if (*value == '"') { /* rule 4 */
			memmove(value, value + 1, strlen(value));
			unquoted = true;
		}
	}
	if (unquoted) { /* rule 5 */
		char *last = value ? value : word;

		if (*last && last[strlen(last) - 1] == '"')
			last[strlen(last) - 1] = 0;
	}
	if (!value && !strcmp(word, "--")) { /* rule 6 */
		free(word);
		return false;
	}
	*ret = (struct rules_word){.name = word, .value = value};
	return true;
}

static inline void rules_free(struct rules_word *word)
{
	free(word->name);
	free(word->value);
}

/* In names, and only there, the kernel takes `-` for `_`. */
static inline bool rules_same_name(const char *a, const char *b, size_t length)
{
	size_t i;

	for (i = 0; i < length; i++) {
		char ca = a[i] == '-' ? '_' : a[i], cb = b[i] == '-' ? '_' : b[i];

		if (ca != cb || !ca)
			return false;
	}
	return true;
}

/*
 * Whether `options`, cut by the same rules as the kernel cuts the options of a module, say what
 * `line` says of the module: the same names and values in the same order. Names that no option can
 * have are left out: an empty one, one with a quote, and a bare `--`, which would end the rest.
 */
static inline bool rules_same_options(const char *line, const char *module, const char *options)
{
	size_t length = strlen(module);
	struct rules_word word, option = {0};
	bool same = true;

	while (rules_next(&line, &word)) {
		bool ours = rules_same_name(word.name, module, length) &&
			    word.name[length] == '.' && word.name[length + 1] &&
			    (word.value || strcmp(word.name + length, ".--")) &&
			    !strchr(word.name, '"');

		if (ours && !rules_next(&options, &option)) {
			ours = same = false;
		} else if (ours) {
			same = same && !strcmp(word.name + length + 1, option.name) &&
			       !word.value == !option.value &&
			       (!word.value || !strcmp(word.value, option.value));
			rules_free(&option);
		}
		rules_free(&word);
	}
	if (rules_next(&options, &option)) {
		rules_free(&option);
		return false;
	}
	return same;
}

#endif
