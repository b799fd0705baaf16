// SPDX-License-Identifier: MIT
/*
 * The string functions of string.c, by other names, beside the C library's on random texts of few
 * letters, so that there is much to find and to confuse.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#define memcpy our_memcpy
#define memmove our_memmove
#define memset our_memset
#define memcmp our_memcmp
#define memchr our_memchr
#define strlen our_strlen
#define strnlen our_strnlen
#define strchr our_strchr
#define strrchr our_strrchr
#define strncmp our_strncmp
#define strcmp our_strcmp
void *our_memcpy(void *restrict to, const void *restrict from, size_t size);
void *our_memmove(void *to, const void *from, size_t size);
void *our_memset(void *to, int byte, size_t size);
int our_memcmp(const void *a, const void *b, size_t size);
void *our_memchr(const void *text, int byte, size_t size);
size_t our_strlen(const char *text);
size_t our_strnlen(const char *text, size_t most);
char *our_strchr(const char *text, int byte);
char *our_strrchr(const char *text, int byte);
int our_strncmp(const char *a, const char *b, size_t most);
int our_strcmp(const char *a, const char *b);
#include "../string.c"
#undef memcpy
#undef memmove
#undef memset
#undef memcmp
#undef memchr
#undef strlen
#undef strnlen
#undef strchr
#undef strrchr
#undef strncmp
#undef strcmp

#define SIZE 24

static int sign(int value)
{
	return (value > 0) - (value < 0);
}

static void random_text(char text[SIZE])
{
	size_t i;

	for (i = 0; i < SIZE - 1; i++)
		text[i] = "\0aab\xff"[(unsigned int)rand() % 5];
	text[SIZE - 1] = 0;
}

static void test_texts(void **state)
{
	char a[SIZE], b[SIZE];
	int i;

	(void)state;
	srand(1);
	for (i = 0; i < 200000; i++) {
		const size_t n = (size_t)rand() % SIZE;
		const int c = "\0abz\xff"[rand() % 5];

		random_text(a);
		random_text(b);
		if (i % 2)
			memcpy(b, a, n);
		assert_int_equal(our_strlen(a), strlen(a));
		assert_int_equal(our_strnlen(a, n), strnlen(a, n));
		assert_ptr_equal(our_strchr(a, c), strchr(a, c));
		assert_ptr_equal(our_strrchr(a, c), strrchr(a, c));
		assert_ptr_equal(our_memchr(a, c, n), memchr(a, c, n));
		assert_int_equal(sign(our_strcmp(a, b)), sign(strcmp(a, b)));
		assert_int_equal(sign(our_strncmp(a, b, n)), sign(strncmp(a, b, n)));
		assert_int_equal(sign(our_memcmp(a, b, n)), sign(memcmp(a, b, n)));
	}
}

static void test_copies(void **state)
{
	char ours[2 * SIZE], theirs[2 * SIZE];
	size_t from, to, n;

	(void)state;
	for (from = 0; from < SIZE; from++) {
		for (to = 0; to < SIZE; to++) {
			for (n = 0; n <= SIZE; n++) {
				random_text(ours);
				random_text(ours + SIZE);
				memcpy(theirs, ours, sizeof(ours));
				assert_ptr_equal(our_memmove(ours + to, ours + from, n), ours + to);
				memmove(theirs + to, theirs + from, n);
				assert_memory_equal(ours, theirs, sizeof(ours));
			}
			assert_ptr_equal(our_memset(ours + to, (int)from, SIZE), ours + to);
			memset(theirs + to, (int)from, SIZE);
			assert_memory_equal(ours, theirs, sizeof(ours));
		}
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_texts),
		cmocka_unit_test(test_copies),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
