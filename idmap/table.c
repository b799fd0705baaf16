// SPDX-License-Identifier: MIT
/*
 * Text -> rows. Both carriers, a file like fstab(5) and idmap= on the kernel command line, are cut
 * into the same four fields and read by the same code. Fields are split first and decoded after, so
 * that an escaped comma or blank never separates anything. Every error is put on the table's list
 * with its place, and reading goes on. Pure.
 */
#include <stdarg.h>
#include <string.h>

#include "explain.h"
#include "idmap.h"
#include "vadd.h"

/* A piece of the text as written; `column` is where it begins, from 1. */
struct piece {
	const char *at;
	size_t length;
	uint32_t column;
};

/* What one row's options have said so far. */
struct reader {
	struct idmap_table *table;
	struct idmap_row *row;
	struct idmap_spec *spec;
	uint32_t specs;
	uint32_t identity;   /* a bit a kind */
	uint32_t map_column; /* where the first list was opened; 0: no map was said */
	uint32_t list_kinds; /* of the list opened last; 0: none is open */
	char *data;	     /* end of the options for the filesystem */
	bool vfs_only;	     /* rootflags=: only words of the VFS are ours */
};

#define BOTH_KINDS (1u << IDMAP_UID | 1u << IDMAP_GID)

/* --- characters, escapes, numbers ------------------------------------------------------------ */

static bool is_digit(char c)
{
	return c >= '0' && c <= '9';
}

static bool is_blank(char c)
{
	return c == ' ' || c == '\t';
}

/* The length of the escape or plain byte at `p`; three octal digits make an escape. */
static size_t unit_length(const char *p, size_t left)
{
	size_t i;

	if (left < 4 || *p != '\\')
		return 1;
	for (i = 1; i < 4; i++)
		if (p[i] < '0' || p[i] > '7')
			return 1;
	return 4;
}

/* The column of what became byte `index` of the decoded piece. */
static uint32_t column_of(const struct piece *piece, size_t index)
{
	size_t i = 0;

	while (index-- && i < piece->length)
		i += unit_length(piece->at + i, piece->length - i);
	return piece->column + (uint32_t)i;
}

/* Decodes into `out`, which has room for the piece and a NUL. */
static bool decode(struct idmap_table *table, const struct idmap_place *place,
		   const struct piece *piece, char *out)
{
	size_t i, step;

	for (i = 0; i < piece->length; i += step) {
		const char *p = piece->at + i;
		uint32_t value = (unsigned char)*p;

		step = unit_length(p, piece->length - i);
		if (step == 4)
			value = (uint32_t)((p[1] - '0') << 6 | (p[2] - '0') << 3 | (p[3] - '0'));
		if (!value || value > 0377) {
			idmap_table_error(
				table, place, piece->column + (uint32_t)i,
				"the escape %.*s stands for no byte of a name; write \\001 to \\377",
				(int)step, p);
			return false;
		}
		*out++ = (char)value;
	}
	*out = 0;
	return true;
}

static char *decode_kept(struct idmap_table *table, const struct idmap_place *place,
			 const struct piece *piece)
{
	char *out = idmap_alloc(table->arena, piece->length + 1);

	if (!out) {
		idmap_table_error(table, place, piece->column, "no memory; make the table shorter");
		return NULL;
	}
	return decode(table, place, piece, out) ? out : NULL;
}

enum scan { SCAN_OK, SCAN_EMPTY, SCAN_NOT_DECIMAL, SCAN_TOO_LARGE };

/* Digit by digit into 32 bits: no sign, no blank, no prefix, no wrapping. */
static enum scan scan_u32(const char *text, size_t length, uint32_t *ret)
{
	uint64_t value = 0;
	size_t i;

	if (!length)
		return SCAN_EMPTY;
	for (i = 0; i < length; i++)
		if (!is_digit(text[i]))
			return SCAN_NOT_DECIMAL;
	for (i = 0; i < length; i++) {
		value = value * 10 + (uint32_t)(text[i] - '0');
		if (value > UINT32_MAX)
			return SCAN_TOO_LARGE;
	}
	*ret = (uint32_t)value;
	return SCAN_OK;
}

/* --- extents --------------------------------------------------------------------------------- */

#define WRITE_EXTENT "write DISK:SEEN:COUNT"

/* An error at byte `index` of a decoded piece of the row. */
static void row_error(struct reader *r, const struct piece *piece, size_t index, const char *format,
		      ...) IDMAP_PRINTF(4, 5);

static void row_error(struct reader *r, const struct piece *piece, size_t index, const char *format,
		      ...)
{
	va_list list;

	va_start(list, format);
	idmap_table_verror(r->table, &r->row->place, column_of(piece, index), format, list);
	va_end(list);
}

/* Without CONFIG_EXPLAIN the place alone is told, as in explain.h. */
#define row_error(r, piece, index, ...)                                       \
	(IS_ENABLED(CONFIG_EXPLAIN) ? row_error(r, piece, index, __VA_ARGS__) \
				    : row_error(r, piece, index, "%s", "not understood"))

/* The three numbers between the colons of text[from..to). */
static bool read_numbers(struct reader *r, const struct piece *piece, const char *text, size_t from,
			 size_t to, uint32_t number[3])
{
	static const char *const name[] = {"DISK", "SEEN", "COUNT"};
	size_t end;
	int i;

	for (i = 0; i < 3; i++, from = end + 1) {
		for (end = from; end < to && text[end] != ':';)
			end++;
		switch (scan_u32(text + from, end - from, &number[i])) {
		case SCAN_OK:
			continue;
		case SCAN_EMPTY:
			row_error(r, piece, from, "%s of the extent is missing; " WRITE_EXTENT,
				  name[i]);
			return false;
		case SCAN_NOT_DECIMAL:
			row_error(r, piece, from,
				  "%s '%.*s' is no decimal number; write digits only", name[i],
				  (int)(end - from), text + from);
			return false;
		case SCAN_TOO_LARGE:
			row_error(r, piece, from,
				  "%s '%.*s' does not fit in 32 bits; the last id is %u", name[i],
				  (int)(end - from), text + from, IDMAP_ID_MAX);
			return false;
		}
	}
	return true;
}

/* One extent in text[from..to): prefix, three numbers, bounds. */
static void read_extent(struct reader *r, const struct piece *piece, const char *text, size_t from,
			size_t to)
{
	const char *whole = text + from;
	const int length = (int)(to - from);
	uint32_t number[3] = {0}, kinds = r->list_kinds, colons = 0, i;
	size_t start = from, p;

	if (whole[1] == ':' && !is_digit(*whole)) {
		if (kinds != BOTH_KINDS) {
			row_error(r, piece, start,
				  "the prefix %c: belongs in idmap= only; leave it out here",
				  *whole);
			return;
		}
		if (*whole != 'b')
			kinds = 1u << (*whole == 'u' ? IDMAP_UID : IDMAP_GID);
		from += 2;
	}
	for (p = from; p < to; p++)
		colons += text[p] == ':';
	if (colons != 2) {
		row_error(r, piece, start, "'%.*s' is no extent of three numbers; " WRITE_EXTENT,
			  length, whole);
		return;
	}
	if (!read_numbers(r, piece, text, from, to, number))
		return;
	if (!number[2]) {
		row_error(r, piece, start,
			  "extent '%.*s' has COUNT 0 and maps nothing; write 1 or more", length,
			  whole);
		return;
	}
	for (i = 0; i < 2; i++) {
		uint64_t last = (uint64_t)number[i] + number[2] - 1;

		if (last > IDMAP_ID_MAX) {
			row_error(r, piece, start,
				  "extent '%.*s' reaches %s id %lu; the last id is %u", length,
				  whole, i ? "seen" : "disk", (unsigned long)last, IDMAP_ID_MAX);
			return;
		}
	}
	r->spec[r->specs++] = (struct idmap_spec){
		.extent = {.disk = number[0], .seen = number[1], .count = number[2]},
		.column = column_of(piece, start),
		.kinds = kinds,
	};
}

/* A value that can only be meant as an extent, right or wrong; never a filesystem's option. */
static bool looks_like_extent(const char *s)
{
	if (*s && strchr("ugb", *s) && s[1] == ':')
		return true;
	if (*s == '+' || *s == '-')
		s++;
	return is_digit(*s) && strchr(s, ':');
}

/* Extents and `identity` in text[from..], separated by blanks (mount(8)'s form) or commas. */
static void read_extents(struct reader *r, const struct piece *piece, const char *text, size_t from)
{
	size_t to;

	for (; text[from]; from = to) {
		to = from + 1;
		if (is_blank(text[from]) || text[from] == ',')
			continue;
		while (text[to] && !is_blank(text[to]) && text[to] != ',')
			to++;
		if (to - from == 8 && !memcmp(text + from, "identity", 8))
			r->identity |= r->list_kinds;
		else if (looks_like_extent(text + from))
			read_extent(r, piece, text, from, to);
		else if (text[from] == '/')
			row_error(
				r, piece, from,
				"'%.*s' is a path, and namespaces are not taken by path; write the"
				" extents, DISK:SEEN:COUNT",
				(int)(to - from), text + from);
		else
			row_error(r, piece, from,
				  "'%.*s' is no extent; " WRITE_EXTENT ", or identity",
				  (int)(to - from), text + from);
	}
}

/* --- options --------------------------------------------------------------------------------- */

/* Words without a value. `mask` of the attributes becomes `value`; `flag` is set. */
static const struct word {
	const char *name;
	uint32_t mask, value, flag;
} words[] = {
	{"ro", IDMAP_RDONLY, IDMAP_RDONLY, 0},
	{"rw", IDMAP_RDONLY, 0, 0},
	{"nosuid", IDMAP_NOSUID, IDMAP_NOSUID, 0},
	{"suid", IDMAP_NOSUID, 0, 0},
	{"nodev", IDMAP_NODEV, IDMAP_NODEV, 0},
	{"dev", IDMAP_NODEV, 0, 0},
	{"noexec", IDMAP_NOEXEC, IDMAP_NOEXEC, 0},
	{"exec", IDMAP_NOEXEC, 0, 0},
	{"noatime", IDMAP_ATIME_MASK, IDMAP_NOATIME, 0},
	{"atime", IDMAP_ATIME_MASK, 0, 0},
	{"relatime", IDMAP_ATIME_MASK, 0, 0},
	{"strictatime", IDMAP_ATIME_MASK, IDMAP_STRICTATIME, 0},
	{"nodiratime", IDMAP_NODIRATIME, IDMAP_NODIRATIME, 0},
	{"diratime", IDMAP_NODIRATIME, 0, 0},
	{"nosymfollow", IDMAP_NOSYMFOLLOW, IDMAP_NOSYMFOLLOW, 0},
	{"symfollow", IDMAP_NOSYMFOLLOW, 0, 0},
	{"defaults", 0, 0, 0},
	{"auto", 0, 0, 0},
	{"nouser", 0, 0, 0},
	{"_netdev", 0, 0, 0},
	{"nofail", 0, 0, IDMAP_NOFAIL},
	{"noauto", 0, 0, IDMAP_NOAUTO},
	{"lower", 0, 0, IDMAP_LOWER},
	{"upper", 0, 0, IDMAP_UPPER},
	{"bind", 0, 0, IDMAP_BIND},
	{"rbind", 0, 0, IDMAP_RBIND},
	{"X-mount.mkdir", 0, 0, IDMAP_MKDIR},
};

/* Words with a value, and what reads it: the row's own, by enum. */
enum key {
	KEY_IDMAP,
	KEY_UIDMAP,
	KEY_GIDMAP,
	KEY_X_IDMAP,
	KEY_WAIT,
	KEY_MKDIR,
	KEY_SUBDIR,
	KEY_COMMENT,
	KEY_LOWERDIR,
	KEY_UPPERDIR,
	KEY_WORKDIR,
};

static const char *const keys[] = {
	[KEY_IDMAP] = "idmap",		 [KEY_UIDMAP] = "uidmap",   [KEY_GIDMAP] = "gidmap",
	[KEY_X_IDMAP] = "X-mount.idmap", [KEY_WAIT] = "wait",	    [KEY_MKDIR] = "X-mount.mkdir",
	[KEY_SUBDIR] = "X-mount.subdir", [KEY_COMMENT] = "comment", [KEY_LOWERDIR] = "lowerdir",
	[KEY_UPPERDIR] = "upperdir",	 [KEY_WORKDIR] = "workdir",
};

#define COUNT_OF(array) (sizeof(array) / sizeof(*(array)))

static void open_list(struct reader *r, const struct piece *piece, const char *item, size_t value,
		      uint32_t kinds)
{
	if (!r->map_column)
		r->map_column = column_of(piece, 0);
	r->list_kinds = kinds;
	if (!item[value])
		row_error(r, piece, value, "%s has no extent; " WRITE_EXTENT ", or identity", item);
	else
		read_extents(r, piece, item, value);
}

static void read_wait(struct reader *r, const struct piece *piece, const char *item,
		      const char *value)
{
	/* A day is more than anyone waits for, and its milliseconds fit an int. */
	const uint32_t most = 86400;
	uint32_t seconds;

	if (scan_u32(value, strlen(value), &seconds) != SCAN_OK || seconds > most) {
		row_error(r, piece, (size_t)(value - item),
			  "'%s' is no time to wait; write whole seconds, at most 86400", item);
		return;
	}
	r->row->wait_s = seconds;
	r->row->flags |= IDMAP_WAIT;
}

static void read_mkdir(struct reader *r, const struct piece *piece, const char *item,
		       const char *value)
{
	uint32_t mode = 0;
	size_t i;

	for (i = 0; value[i] >= '0' && value[i] <= '7' && mode <= 0777; i++)
		mode = mode << 3 | (uint32_t)(value[i] - '0');
	if (!i || value[i]) {
		row_error(r, piece, (size_t)(value - item),
			  "'%s' is no mode; write octal digits, as in X-mount.mkdir=0755", item);
		return;
	}
	r->row->mkdir_mode = mode;
	r->row->flags |= IDMAP_MKDIR;
}

static const char *normal_path(struct reader *r, const struct piece *piece, char *path,
			       const char *what);

static void read_subdir(struct reader *r, const struct piece *piece, const char *item,
			const char *value)
{
	size_t size = strlen(value) + 2;
	char *path = idmap_alloc(r->table->arena, size);

	if (!path || !*value) {
		row_error(r, piece, (size_t)(value - item),
			  "'%s' names no folder; write X-mount.subdir=DIR", item);
		return;
	}
	path[0] = '/';
	memcpy(path + 1, value, size - 1);
	r->row->subdir = normal_path(r, piece, path, "X-mount.subdir");
}

/* true: the item was one of our key=value words (or an error in one). */
static bool read_key(struct reader *r, const struct piece *piece, const char *item,
		     size_t key_length)
{
	static const uint32_t list_kinds[] = {
		[KEY_IDMAP] = BOTH_KINDS,
		[KEY_UIDMAP] = 1u << IDMAP_UID,
		[KEY_GIDMAP] = 1u << IDMAP_GID,
		[KEY_X_IDMAP] = BOTH_KINDS,
	};
	const char *value = item + key_length + 1;
	size_t i;

	for (i = 0; i < COUNT_OF(keys); i++)
		if (strlen(keys[i]) == key_length && !memcmp(keys[i], item, key_length))
			break;
	switch (i) {
	case KEY_IDMAP:
	case KEY_UIDMAP:
	case KEY_GIDMAP:
	case KEY_X_IDMAP:
		open_list(r, piece, item, key_length + 1, list_kinds[i]);
		return true;
	case KEY_WAIT:
		read_wait(r, piece, item, value);
		return true;
	case KEY_MKDIR:
		read_mkdir(r, piece, item, value);
		return true;
	case KEY_SUBDIR:
		read_subdir(r, piece, item, value);
		return true;
	case KEY_COMMENT:
		return true;
	case KEY_LOWERDIR:
	case KEY_UPPERDIR:
	case KEY_WORKDIR:
		row_error(
			r, piece, 0,
			"'%s' is not taken; write each layer as a row with the option lower or upper",
			item);
		return true;
	default:
		return false;
	}
}

static bool read_word(struct reader *r, const char *item)
{
	size_t i;

	for (i = 0; i < COUNT_OF(words); i++) {
		if (strcmp(words[i].name, item))
			continue;
		if (r->vfs_only && !words[i].mask)
			return false;
		r->row->attr_said |= words[i].mask;
		r->row->attr = (r->row->attr & ~words[i].mask) | words[i].value;
		r->row->flags |= words[i].flag;
		return true;
	}
	return false;
}

static void keep_for_filesystem(struct reader *r, const struct piece *piece, const char *item,
				size_t key_length)
{
	size_t length = strlen(item), value = length > key_length ? length - key_length - 1 : 0;

	if (!key_length) {
		row_error(r, piece, 0, "'%s' has no name before its =; write NAME=VALUE", item);
		return;
	}
	if (key_length > IDMAP_OPTION_MAX || value > IDMAP_OPTION_MAX) {
		row_error(r, piece, 0,
			  "'%s' is too long for a filesystem's option; the kernel takes 255 bytes",
			  item);
		return;
	}
	memcpy(r->data, item, length + 1);
	r->data += length + 1;
}

static void read_item(struct reader *r, const struct piece *piece, const char *item)
{
	const char *equals = strchr(item, '=');
	size_t key_length = equals ? (size_t)(equals - item) : strlen(item);
	size_t i;

	if (read_word(r, item)) {
		if (!strcmp(item, "nofail"))
			r->row->nofail_column = piece->column;
		return;
	}
	if (r->vfs_only) {
		keep_for_filesystem(r, piece, item, key_length);
		return;
	}
	if (equals && read_key(r, piece, item, key_length))
		return;
	if (!strcmp(item, "identity") || looks_like_extent(item)) {
		if (!r->list_kinds)
			r->list_kinds = BOTH_KINDS;
		if (!r->map_column)
			r->map_column = column_of(piece, 0);
		read_extents(r, piece, item, 0);
		return;
	}
	if (!strncmp(item, "x-", 2) || (!strncmp(item, "X-", 2) && strncmp(item, "X-mount.", 8)))
		return; /* comments, as in fstab(5) */
	if (!strncmp(item, "X-mount.", 8)) {
		row_error(r, piece, 0,
			  "'%s' is not known; X-mount. takes idmap=, mkdir[=MODE] and subdir=DIR",
			  item);
		return;
	}
	if (*item == '/') {
		row_error(r, piece, 0,
			  "'%s' is a path, not an option; a row is SOURCE,TARGET,TYPE[,OPTIONS]",
			  item);
		return;
	}
	for (i = 0; !equals && i < COUNT_OF(keys); i++) {
		if (!strcmp(keys[i], item)) {
			row_error(r, piece, 0, "'%s' needs a value; write it after a =", item);
			return;
		}
	}
	keep_for_filesystem(r, piece, item, key_length);
}

/* All options of a row. The map is made by the caller's scratch; equal maps are made once. */
static void read_options(struct idmap_table *table, struct idmap_row *row,
			 const struct piece *options, bool vfs_only)
{
	struct reader r = {.table = table, .row = row, .vfs_only = vfs_only};
	char *scratch_end = table->arena->end, *item, *data;
	size_t i, start, most = 1;

	/* Separators are commas, blanks and escapes that decode to blanks. */
	for (i = 0; i < options->length; i++)
		most += strchr(", \t\\", options->at[i]) != NULL;
	data = r.data = idmap_alloc(table->arena, options->length + 2);
	item = idmap_alloc_scratch(table->arena, options->length + 1);
	r.spec = idmap_alloc_scratch(table->arena, most * sizeof(*r.spec));
	if (!data || !item || !r.spec) {
		idmap_table_error(table, &row->place, options->column,
				  "no memory; make the table shorter");
		table->arena->end = scratch_end;
		return;
	}
	for (start = 0; start <= options->length; start = i + 1) {
		struct piece piece = {.at = options->at + start,
				      .column = options->column + (uint32_t)start};

		for (i = start; i < options->length && options->at[i] != ',';)
			i++;
		piece.length = i - start;
		if (!piece.length)
			continue;
		if (decode(table, &row->place, &piece, item))
			read_item(&r, &piece, item);
	}
	/* Checked even if something else of the row is wrong: every error is to be told. */
	if (r.specs || r.identity)
		row->map = idmap_map_make(table, &row->place, r.spec, r.specs, r.identity,
					  r.map_column);
	row->data = data;
	table->arena->end = scratch_end;
}

/* --- sources, targets, types ----------------------------------------------------------------- */

/* Without // . and a final /; NULL and an error where the path is relative or has a `..`. */
static const char *normal_path(struct reader *r, const struct piece *piece, char *path,
			       const char *what)
{
	char *out = path, *p = path;

	if (*p != '/') {
		idmap_table_error(r->table, &r->row->place, piece->column,
				  "%s '%s' is no absolute path; begin it with /", what, path);
		return NULL;
	}
	while (*p) {
		size_t length;

		while (*p == '/')
			p++;
		for (length = 0; p[length] && p[length] != '/';)
			length++;
		if (length == 2 && p[0] == '.' && p[1] == '.') {
			idmap_table_error(r->table, &r->row->place, piece->column,
					  "%s holds a '..'; write the path without", what);
			return NULL;
		}
		if (length && !(length == 1 && *p == '.')) {
			*out++ = '/';
			memmove(out, p, length);
			out += length;
		}
		p += length;
	}
	if (out == path)
		*out++ = '/';
	*out = 0;
	return path;
}

static bool type_letter(char c)
{
	return is_digit(c) || (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || c == '_' ||
	       c == '-' || c == '.';
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

/* Checks a type or list, in place; commas become colons. */
static const char *read_type(struct idmap_table *table, struct idmap_row *row, uint32_t column,
			     char *type)
{
	static const char *const alone[] = {"auto", "bind", "rbind", "overlay", "none"};
	bool letters = false;
	size_t i;
	char *p;

	for (p = type;; p++) {
		if (type_letter(*p)) {
			letters = true;
			continue;
		}
		if ((*p && *p != ',' && *p != ':') || !letters) {
			idmap_table_error(
				table, &row->place, column,
				"'%s' is no type; write a filesystem's name, or names with : between",
				type);
			return NULL;
		}
		letters = false;
		if (!*p)
			break;
	}
	for (p = type; *p; p++)
		if (*p == ',')
			*p = ':';
	for (i = 0; i < COUNT_OF(alone); i++) {
		if (strchr(type, ':') && idmap_type_has(type, alone[i])) {
			idmap_table_error(table, &row->place, column,
					  "the type %s stands alone; take it out of the list '%s'",
					  alone[i], type);
			return NULL;
		}
	}
	if (row->flags & (IDMAP_BIND | IDMAP_RBIND))
		return row->flags & IDMAP_RBIND ? "rbind"
						: "bind"; /* as in fstab(5), the option decides */
	if (!strcmp(type, "none")) {
		idmap_table_error(
			table, &row->place, column,
			"the type none needs the option bind or rbind; write the type itself");
		return NULL;
	}
	return type;
}

struct idmap_row *idmap_table_add(struct idmap_table *table, const struct idmap_place *place)
{
	struct idmap_row *row = idmap_alloc(table->arena, sizeof(*row));

	if (!row) {
		idmap_table_error(table, place, 0, "no memory; make the table shorter");
		return NULL;
	}
	row->place = *place;
	row->data = "";
	row->wait_s = IDMAP_WAIT_S;
	row->mkdir_mode = 0755;
	*table->tail = row;
	table->tail = &row->next;
	table->row_count++;
	return row;
}

enum field { SOURCE, TARGET, TYPE, OPTIONS, FIELDS };

/* The row of four fields. All of them are read even when one is wrong, to report every error. */
static void read_row(struct idmap_table *table, const struct idmap_place *place,
		     const struct piece field[FIELDS])
{
	struct idmap_row *row = idmap_table_add(table, place);
	struct reader r = {.table = table, .row = row};
	char *source, *target, *type;
	bool bind;

	if (!row)
		return;
	row->source_column = field[SOURCE].column;
	row->target_column = field[TARGET].column;
	row->type_column = field[TYPE].column;
	source = decode_kept(table, place, &field[SOURCE]);
	target = decode_kept(table, place, &field[TARGET]);
	type = decode_kept(table, place, &field[TYPE]);
	read_options(table, row, &field[OPTIONS], false);
	row->source = source;
	table->unread |= !target;
	if (target)
		row->target = normal_path(&r, &field[TARGET], target, "TARGET");
	if (type)
		row->type = read_type(table, row, row->type_column, type);
	if (!source || !row->type)
		return;
	bind = !strcmp(row->type, "bind") || !strcmp(row->type, "rbind");
	if (!*source)
		idmap_table_error(table, place, row->source_column,
				  "SOURCE is empty; write a device, a tag or a path");
	else if (bind)
		row->source = normal_path(&r, &field[SOURCE], source, "SOURCE");
	else if (strlen(source) > IDMAP_OPTION_MAX)
		idmap_table_error(
			table, place, row->source_column,
			"SOURCE is longer than the 255 bytes that the kernel takes; make a shorter"
			" link to it");
	if (bind)
		row->flags |= row->type[0] == 'r' ? IDMAP_RBIND : IDMAP_BIND;
}

/* --- the carriers ---------------------------------------------------------------------------- */

void idmap_table_init(struct idmap_table *table, struct idmap_arena *arena)
{
	*table = (struct idmap_table){.arena = arena};
	table->tail = &table->first;
	table->maps_tail = &table->maps;
	table->errors_tail = &table->errors;
}

/* A line of the file, without its newline. */
static void read_line(struct idmap_table *table, const struct idmap_place *place, const char *line,
		      size_t length)
{
	enum { MOST = 6 };
	struct piece field[MOST + 1] = {0};
	size_t i = 0, fields = 0;

	while (fields <= MOST) {
		while (i < length && is_blank(line[i]))
			i++;
		if (i == length || (!fields && line[i] == '#'))
			break;
		field[fields].at = line + i;
		field[fields].column = (uint32_t)i + 1;
		while (i < length && !is_blank(line[i]))
			i++;
		field[fields].length = (size_t)(line + i - field[fields].at);
		fields++;
	}
	if (!fields)
		return;
	if (fields < OPTIONS) {
		table->unread = true;
		idmap_table_error(table, place, (uint32_t)length + 1,
				  "the row ends too soon; write SOURCE TARGET TYPE [OPTIONS]");
		return;
	}
	for (i = FIELDS; i < fields; i++) {
		const struct piece *extra = &field[i];
		uint32_t number;

		/* fstab's fs_freq and fs_passno */
		if (i < MOST && scan_u32(extra->at, extra->length, &number) == SCAN_OK)
			continue;
		idmap_table_error(
			table, place, extra->column,
			"'%.*s' is one field too many; write OPTIONS without blanks, \\040 for one",
			(int)extra->length, extra->at);
		table->unread = true;
		return;
	}
	if (fields < FIELDS)
		field[OPTIONS] =
			(struct piece){.at = line, .length = 0, .column = (uint32_t)length + 1};
	read_row(table, place, field);
}

void idmap_table_file(struct idmap_table *table, const char *name, const char *text, size_t size)
{
	struct idmap_place place = {.name = name};
	bool returns_said = false;
	size_t i = 0;

	if (size >= 3 && !memcmp(text, "\xef\xbb\xbf", 3)) {
		place.line = 1;
		idmap_table_error(table, &place, 1,
				  "the file begins with a byte order mark; save it as plain UTF-8");
		text += 3;
		size -= 3;
		place.line = 0;
	}
	while (i < size) {
		const char *line = text + i, *end = memchr(line, '\n', size - i);
		size_t length = end ? (size_t)(end - line) : size - i;
		const char *nul = memchr(line, 0, length);

		i += length + 1;
		place.line++;
		if (nul) {
			idmap_table_error(table, &place, (uint32_t)(nul - line) + 1,
					  "a byte of value 0 is here; is this a text file?");
			return;
		}
		if (length && line[length - 1] == '\r') {
			length--;
			if (!returns_said)
				idmap_table_error(
					table, &place, (uint32_t)length + 1,
					"the line ends in a carriage return; save the file with Unix"
					" line ends");
			returns_said = true;
		}
		read_line(table, &place, line, length);
	}
}

void idmap_table_word(struct idmap_table *table, const char *value, uint32_t number)
{
	struct idmap_place place = {.name = "idmap=", .line = number, .parameter = true};
	struct piece field[FIELDS] = {0};
	const char *p = value;
	uint32_t i;

	if (!value || !*value) {
		table->unread = true;
		idmap_table_error(table, &place, 0,
				  "it is empty; write extents DISK:SEEN:COUNT, a row, or off");
		return;
	}
	if (!strcmp(value, "off")) {
		table->off = true;
		return;
	}
	for (i = 0; i < FIELDS; i++) {
		const char *comma = i < OPTIONS ? strchr(p, ',') : NULL;

		field[i] = (struct piece){.at = p, .column = (uint32_t)(p - value) + 1};
		field[i].length = comma ? (size_t)(comma - p) : strlen(p);
		p += field[i].length + (comma != NULL);
	}
	if (field[TARGET].length && *field[TARGET].at == '/') {
		if (!field[TYPE].length) {
			table->unread = true;
			idmap_table_error(table, &place, field[TYPE].column,
					  "TYPE is missing; write SOURCE,TARGET,TYPE[,OPTIONS]");
			return;
		}
		read_row(table, &place, field);
		return;
	}
	/* The short form: options of the root that root= names. */
	field[SOURCE] = (struct piece){.at = "/dev/root", .length = 9, .column = 1};
	field[TARGET] = (struct piece){.at = "/", .length = 1, .column = 1};
	field[TYPE] = (struct piece){.at = "auto", .length = 4, .column = 1};
	field[OPTIONS] = (struct piece){.at = value, .length = strlen(value), .column = 1};
	read_row(table, &place, field);
}

void idmap_table_rootflags(struct idmap_table *table, struct idmap_row *row, const char *flags)
{
	struct idmap_place place = {.name = "rootflags=", .parameter = true};
	struct idmap_row said = {.place = place, .data = ""};
	struct piece piece = {.at = flags, .length = strlen(flags), .column = 1};
	size_t first = 0, second = 0;
	char *data;

	read_options(table, &said, &piece, true);
	row->attr |= said.attr & ~row->attr_said;
	row->attr_said |= said.attr_said;
	/* The filesystem takes the last of two, and the row's own come last. */
	while (said.data[first])
		first += strlen(said.data + first) + 1;
	while (row->data[second])
		second += strlen(row->data + second) + 1;
	data = idmap_alloc(table->arena, first + second + 1);
	if (!data) {
		idmap_table_error(table, &place, 0, "no memory; make the table shorter");
		return;
	}
	memcpy(data, said.data, first);
	memcpy(data + first, row->data, second);
	row->data = data;
}

void idmap_table_rootfstype(struct idmap_table *table, struct idmap_row *row, const char *types)
{
	struct idmap_row said = {.place = {.name = "rootfstype=", .parameter = true}};
	char *copy = idmap_alloc(table->arena, strlen(types) + 1);

	if (!copy) {
		idmap_table_error(table, &said.place, 0, "no memory; make the table shorter");
		return;
	}
	memcpy(copy, types, strlen(types));
	said.type = read_type(table, &said, 1, copy);
	if (said.type)
		row->type = said.type;
	if (said.type && (!strcmp(said.type, "bind") || !strcmp(said.type, "rbind")))
		row->flags |= IDMAP_BIND;
}

/* --- and back -------------------------------------------------------------------------------- */

void idmap_row_text(const struct idmap_row *row, struct idmap_text *text)
{
	bool root = !strcmp(row->target, "/");
	const char *item;

	bool odd = *row->source == '#' || *row->source == '\xef';

	if (odd)
		idmap_text_add(text, *row->source == '#' ? "\\043" : "\\357");
	idmap_text_field(text, row->source + odd, "");
	idmap_text_add(text, " ");
	idmap_text_field(text, row->target, "");
	idmap_text_add(text, " %s %s", row->type, row->attr & IDMAP_RDONLY ? "ro" : "rw");
	if (row->attr & IDMAP_NOSUID || !root)
		idmap_text_add(text, row->attr & IDMAP_NOSUID ? ",nosuid" : ",suid");
	if (row->attr & IDMAP_NODEV || !root)
		idmap_text_add(text, row->attr & IDMAP_NODEV ? ",nodev" : ",dev");
	if (row->attr & IDMAP_NOEXEC)
		idmap_text_add(text, ",noexec");
	if (row->attr & (IDMAP_NOATIME | IDMAP_STRICTATIME))
		idmap_text_add(text, row->attr & IDMAP_NOATIME ? ",noatime" : ",strictatime");
	if (row->attr & IDMAP_NODIRATIME)
		idmap_text_add(text, ",nodiratime");
	if (row->attr & IDMAP_NOSYMFOLLOW)
		idmap_text_add(text, ",nosymfollow");
	if (row->flags & IDMAP_NOFAIL)
		idmap_text_add(text, ",nofail");
	if (row->flags & IDMAP_WAIT)
		idmap_text_add(text, ",wait=%u", row->wait_s);
	if (row->flags & IDMAP_LOWER)
		idmap_text_add(text, ",lower");
	if (row->flags & IDMAP_UPPER)
		idmap_text_add(text, ",upper");
	if (row->flags & IDMAP_MKDIR)
		idmap_text_add(text, ",X-mount.mkdir=0%o", row->mkdir_mode);
	if (row->subdir) {
		idmap_text_add(text, ",X-mount.subdir=");
		idmap_text_field(text, row->subdir, ",");
	}
	for (item = row->data; *item; item += strlen(item) + 1) {
		idmap_text_add(text, ",");
		idmap_text_field(text, item, ",");
	}
	if (row->map) {
		idmap_text_add(text, ",");
		idmap_map_options(row->map, text);
	}
}
