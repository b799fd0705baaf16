// SPDX-License-Identifier: MIT
/*
 * Text, words, numbers and memory without stdio and malloc: a line is put together in a buffer that
 * cannot overflow, numbers are read digit by digit with their bounds, and memory comes from an
 * arena that lives as long as the table. Pure.
 */
#include <errno.h>
#include <string.h>

#include "table/table.h"

/* --- text ------------------------------------------------------------------------------------ */

void idmap_text_init(struct idmap_text *text, char *buffer, size_t size)
{
	text->start = text->at = buffer;
	text->end = buffer + size - 1;
	text->most = 0;
	text->error = 0;
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

/* A byte as fstab(5) writes it: \040 is a blank. */
static void add_octal(struct idmap_text *text, unsigned char c)
{
	idmap_text_add(text, "\\%o%o%o", c >> 6, c >> 3 & 7u, c & 7u);
}

/*
 * In a message a string from outside is shortened, so that it does not push the rest of the line
 * out, and loses its control characters, so that it neither breaks the line nor drives a terminal.
 */
static void add_string(struct idmap_text *text, const char *s, size_t length)
{
	size_t i, used = 0;

	if (!text->most) {
		add(text, s, length);
		return;
	}
	for (i = 0; i < length; i++) {
		const unsigned char c = (unsigned char)s[i];
		const bool control = c < ' ' || c == 0x7f;

		used += control ? 4 : 1;
		if (used > text->most) {
			add(text, "...", 3);
			return;
		}
		if (control)
			add_octal(text, c);
		else
			add(text, s + i, 1);
	}
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
		if (kind == 's' || kind == '.' || kind == 'm') {
			s = kind == 'm' ? idmap_errno_text(text->error)
					: va_arg(list, const char *);
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

const char *idmap_print(char *buffer, size_t size, const char *format, ...)
{
	struct idmap_text text;
	va_list list;

	idmap_text_init(&text, buffer, size);
	va_start(list, format);
	idmap_text_vadd(&text, format, list);
	va_end(list);
	return buffer;
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
			add_octal(text, c);
			field++;
		}
	}
}

bool idmap_same(const char *word, const char *text, size_t length)
{
	return !strncmp(word, text, length) && !word[length];
}

/* --- words ----------------------------------------------------------------------------------- */

bool idmap_same_name(const char *a, const char *b, size_t length)
{
	size_t i;

	for (i = 0; i < length; i++)
		if ((a[i] == '-' ? '_' : a[i]) != (b[i] == '-' ? '_' : b[i]))
			return false;
	return true;
}

bool idmap_is_parameter(const char *name, const char *text, size_t length)
{
	return strlen(name) == length && idmap_same_name(name, text, length);
}

const char *idmap_words_for(const struct idmap_words *words, uint32_t number)
{
	while (words->number && words->number != number)
		words++;
	return words->text;
}

const char *idmap_errno_text(int error)
{
	/* Of the C library's words those that mounts can bring, for people who are no programmers.
	 */
	static const struct idmap_words words[] = {
		{EPERM, "operation not permitted"},
		{ENOENT, "not there"},
		{EIO, "input/output error"},
		{EAGAIN, "nothing to read now"},
		{ENXIO, "no such device or address"},
		{E2BIG, "too long a list"},
		{ENOEXEC, "not a format that can be run"},
		{ENOMEM, "no memory"},
		{EACCES, "permission denied"},
		{ENOTBLK, "not a block device"},
		{EBUSY, "busy"},
		{EADDRINUSE, "in use"},
		{EEXIST, "already there"},
		{ENODEV, "no such device"},
		{ENOTDIR, "not a folder"},
		{EISDIR, "a folder"},
		{EINVAL, "invalid argument"},
		{EFBIG, "too large"},
		{EXDEV, "beyond the root"},
		{ENFILE, "too many open files"},
		{EMFILE, "too many open files"},
		{ESTALE, "of another filesystem"},
		{ETIMEDOUT, "no answer in time"},
		{EBADMSG, "damaged"},
		{ENOKEY, "signed with an unknown key"},
		{EKEYREJECTED, "its signature was rejected"},
		{ENOSPC, "no room left"},
		{EROFS, "read-only"},
		{ENAMETOOLONG, "too long a name"},
		{ENOSYS, "not in this kernel"},
		{ELOOP, "too many symbolic links"},
		{ENOLINK, "a link that leads nowhere"},
		{ENOMEDIUM, "no medium in it"},
		{EOVERFLOW, "an id that cannot be stored"},
		{EOPNOTSUPP, "not supported"},
		{EUCLEAN, "the filesystem needs repair"},
		{0, NULL},
	};
	static char buffer[32];
	const char *found = idmap_words_for(words, (uint32_t)error);

	return found ? found : idmap_print(buffer, sizeof(buffer), "errno %u", error);
}

/* --- numbers --------------------------------------------------------------------------------- */

enum idmap_number idmap_read_u32(const char *text, size_t length, uint32_t *ret)
{
	uint64_t value = 0;
	size_t i;

	if (!length)
		return NUMBER_EMPTY;
	for (i = 0; i < length; i++)
		if (!idmap_is_digit(text[i]))
			return NUMBER_NOT_DECIMAL;
	for (i = 0; i < length; i++) {
		value = value * 10 + (uint32_t)(text[i] - '0');
		if (value > UINT32_MAX)
			return NUMBER_TOO_LARGE;
	}
	*ret = (uint32_t)value;
	return NUMBER_OK;
}

uint32_t idmap_hex(char c)
{
	if (idmap_is_digit(c))
		return (uint32_t)(c - '0');
	c |= 'a' - 'A';
	return c >= 'a' && c <= 'f' ? (uint32_t)(c - 'a') + 10 : 16;
}

char *idmap_put_hex(char *out, char byte)
{
	static const char digits[] = "0123456789abcdef";

	*out++ = digits[(unsigned char)byte >> 4];
	*out++ = digits[byte & 15];
	return out;
}

const char *idmap_read_digits(const char *text, uint32_t base, uint64_t *ret)
{
	for (*ret = 0; idmap_hex(*text) < base; text++)
		if (*ret <= UINT32_MAX)
			*ret = *ret * base + idmap_hex(*text);
	return text;
}

uint64_t idmap_little(const char *bytes, size_t size)
{
	uint64_t value = 0;

	while (size--)
		value = value << 8 | (unsigned char)bytes[size];
	return value;
}

/* --- memory ---------------------------------------------------------------------------------- */

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

char *idmap_copy(struct idmap_arena *arena, const char *text, size_t length)
{
	char *copy = idmap_alloc(arena, length + 1);

	return copy ? memcpy(copy, text, length) : NULL;
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

char *idmap_next_line(char **text)
{
	char *line = *text, *end;

	if (!*line)
		return NULL;
	end = strchr(line, '\n');
	*text = end ? end + 1 : strchr(line, 0);
	if (end)
		*end = 0;
	return line;
}

const char *idmap_after(const char *text, const char *part)
{
	const size_t length = strlen(part);

	while (*text && strncmp(text, part, length))
		text++;
	return *text ? text + length : NULL;
}

bool idmap_contains(const char *text, const char *part)
{
	return idmap_after(text, part);
}

bool idmap_is_near(const char *word, const char *text, size_t length)
{
	if (strlen(word) < 5)
		return false; /* such as ro and rw */
	while (length && *word == *text) {
		word++;
		text++;
		length--;
	}
	if (!length || !*word)
		return strlen(word) + length == 1;
	return idmap_same(word + 1, text, length) || idmap_same(word, text + 1, length - 1) ||
	       idmap_same(word + 1, text + 1, length - 1) ||
	       (length > 1 && word[0] == text[1] && word[1] == text[0] &&
		idmap_same(word + 2, text + 2, length - 2));
}

bool idmap_type_has(const char *type, const char *name)
{
	size_t length = strlen(name);

	for (; *type; type += *type == ':') {
		if (!strncmp(type, name, length) && (!type[length] || type[length] == ':'))
			return true;
		while (*type && *type != ':')
			type++;
	}
	return false;
}

bool idmap_type_fits(const char *superblock, const char *type)
{
	return !strcmp(superblock, type) ||
	       (!strcmp(superblock, "ext4") && (!strcmp(type, "ext2") || !strcmp(type, "ext3"))) ||
	       (!strcmp(superblock, "iso9660") && !strcmp(type, "udf")); /* a disc may have both */
}

bool idmap_is_served(const char *type)
{
	return idmap_type_has(type, "virtiofs") || idmap_type_has(type, "9p");
}

bool idmap_needs_device(const char *type)
{
	static const char drivers[] =
		"auto:erofs:squashfs:ext4:ext3:ext2:xfs:btrfs:f2fs:vfat:msdos:"
		"exfat:ntfs3:ntfs:iso9660:udf:cramfs:romfs:minix";
	char name[16];
	size_t length;

	for (; *type; type += length + (type[length] == ':')) {
		length = strcspn(type, ":");
		idmap_print(name, sizeof(name), "%.*s", (int)length, type);
		if (!idmap_type_has(drivers, name))
			return false;
	}
	return true;
}

bool idmap_has_no_device(const char *type)
{
	static const char kernels[] =
		"tmpfs:ramfs:devtmpfs:devpts:proc:sysfs:cgroup:cgroup2:debugfs:tracefs:bpf:"
		"securityfs:selinuxfs:configfs:mqueue:hugetlbfs:efivarfs:pstore:binfmt_misc:"
		"fusectl:nfsd:rpc_pipefs:binder:resctrl:cpuset:vboxsf:hostfs:functionfs:"
		"smackfs:xenfs:cifs:smb3";

	return idmap_is_served(type) || idmap_type_has(kernels, type);
}
