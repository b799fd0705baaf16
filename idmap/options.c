// SPDX-License-Identifier: MIT
/*
 * The OPTIONS of a row: words of mount(8) and fstab(5), the lists of extents, and what is left for
 * the filesystem. Keys match whole; nothing is guessed. Pure.
 */
#include <stdarg.h>
#include <string.h>

#include "explain.h"
#include "idmap.h"
#include "scan.h"
#include "vadd.h"

/* What one row's options have said so far. */
struct reader {
	struct idmap_table *table;
	struct idmap_row *row;
	const struct idmap_piece *piece; /* the option that is read, as written */
	char *item;			 /* and decoded */
	struct idmap_spec *spec;
	uint32_t specs;
	uint32_t identity;   /* a bit a kind */
	uint32_t map_column; /* where the first list was opened; 0: no map was said */
	uint32_t list_kinds; /* of the list opened last; 0: none is open */
	char *data;	     /* end of the options for the filesystem */
	bool vfs_only;	     /* rootflags=: only words of the VFS are ours */
};

#define BOTH_KINDS (1u << IDMAP_UID | 1u << IDMAP_GID)

/* --- extents --------------------------------------------------------------------------------- */

#define WRITE_EXTENT "write DISK:SEEN:COUNT"

static uint32_t column_of(const struct reader *r, const char *at)
{
	return idmap_column_of(r->piece, (size_t)(at - r->item));
}

/* An error at a byte of the item. */
static void row_error(struct reader *r, const char *at, const char *format, ...) IDMAP_PRINTF(3, 4);

static void row_error(struct reader *r, const char *at, const char *format, ...)
{
	va_list list;

	va_start(list, format);
	idmap_table_verror(r->table, &r->row->place, column_of(r, at), format, list);
	va_end(list);
}

static void row_error_plain(struct reader *r, const char *at)
{
	idmap_table_error_plain(r->table, &r->row->place, column_of(r, at));
}

/* Without CONFIG_EXPLAIN the place alone is told, as in explain.h. */
#define row_error(r, at, format, ...)                                                     \
	(IS_ENABLED(CONFIG_EXPLAIN)                                                       \
		 ? row_error(r, at, MESSAGE_FORMAT(format, ##__VA_ARGS__), ##__VA_ARGS__) \
		 : row_error_plain(r, at))

/* The three numbers between the colons of what stands before `to`. */
static bool read_numbers(struct reader *r, const char *from, const char *to, uint32_t number[3])
{
	static const char name[][6] = {"DISK", "SEEN", "COUNT"};
	const char *end;
	int i;

	for (i = 0; i < 3; i++, from = end + 1) {
		for (end = from; end < to && *end != ':';)
			end++;
		switch (idmap_scan_u32(from, (size_t)(end - from), &number[i])) {
		case SCAN_OK:
			continue;
		case SCAN_EMPTY:
			row_error(r, from, "%s of the extent is missing; " WRITE_EXTENT, name[i]);
			return false;
		case SCAN_NOT_DECIMAL:
			row_error(r, from, "%s '%.*s' is no decimal number; write digits only",
				  name[i], (int)(end - from), from);
			return false;
		case SCAN_TOO_LARGE:
			row_error(r, from, "%s '%.*s' does not fit in 32 bits; the last id is %u",
				  name[i], (int)(end - from), from, IDMAP_ID_MAX);
			return false;
		}
	}
	return true;
}

/* One extent, up to `to`: prefix, three numbers, bounds. */
static void read_extent(struct reader *r, const char *whole, const char *to)
{
	const int length = (int)(to - whole);
	uint32_t number[3] = {0}, kinds = r->list_kinds, colons = 0, i;
	const char *from = whole, *p;

	if (whole[1] == ':' && !idmap_is_digit(*whole)) {
		if (kinds != BOTH_KINDS) {
			row_error(r, whole,
				  "the prefix %.*s belongs in idmap= only; leave it out here", 2,
				  whole);
			return;
		}
		if (*whole != 'b')
			kinds = 1u << (*whole == 'u' ? IDMAP_UID : IDMAP_GID);
		from += 2;
	}
	for (p = from; p < to; p++)
		colons += *p == ':';
	if (colons != 2) {
		row_error(r, whole, "'%.*s' is no extent of three numbers; " WRITE_EXTENT, length,
			  whole);
		return;
	}
	if (!read_numbers(r, from, to, number))
		return;
	if (!number[2]) {
		row_error(r, whole, "extent '%.*s' has COUNT 0 and maps nothing; write 1 or more",
			  length, whole);
		return;
	}
	for (i = 0; i < 2; i++) {
		uint64_t last = (uint64_t)number[i] + number[2] - 1;

		if (last > IDMAP_ID_MAX) {
			row_error(r, whole, "extent '%.*s' reaches %s id %lu; the last id is %u",
				  length, whole, i ? "seen" : "disk", (unsigned long)last,
				  IDMAP_ID_MAX);
			return;
		}
	}
	r->spec[r->specs++] = (struct idmap_spec){
		.extent = {.disk = number[0], .seen = number[1], .count = number[2]},
		.column = column_of(r, whole),
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
	return idmap_is_digit(*s) && strchr(s, ':');
}

/* Extents and `identity` to the item's end, separated by blanks (mount(8)'s form) or commas. */
static void read_extents(struct reader *r, const char *from, uint32_t kinds)
{
	const char *to;

	r->list_kinds = kinds;
	if (!r->map_column)
		r->map_column = column_of(r, r->item);
	for (; *from; from = to) {
		to = from + 1;
		if (idmap_is_blank(*from) || *from == ',')
			continue;
		while (*to && !idmap_is_blank(*to) && *to != ',')
			to++;
		if (to - from == 8 && !memcmp(from, "identity", 8))
			r->identity |= kinds;
		else if (looks_like_extent(from))
			read_extent(r, from, to);
		else if (*from == '/')
			row_error(
				r, from,
				"'%.*s' is a path, and namespaces are not taken by path; write the"
				" extents, DISK:SEEN:COUNT",
				(int)(to - from), from);
		else
			row_error(r, from, "'%.*s' is no extent; " WRITE_EXTENT ", or identity",
				  (int)(to - from), from);
	}
}

/* --- options --------------------------------------------------------------------------------- */

/*
 * Words without a value: of the VFS, by what they do to the attributes, without effect, and flags
 * in the order of enum idmap_row_flag.
 */
static const char words[] = "ro\0rw\0nosuid\0suid\0nodev\0dev\0noexec\0exec\0"
			    "noatime\0atime\0relatime\0strictatime\0"
			    "nodiratime\0diratime\0nosymfollow\0symfollow\0"
			    "defaults\0auto\0nouser\0_netdev\0"
			    "nofail\0noauto\0lower\0upper\0X-mount.mkdir\0bind\0rbind\0";

enum { WORDS_OF_VFS = 16, WORD_NOFAIL = 20 };

/* Of those of the VFS: `mask` of the attributes becomes `value`. */
static const struct {
	uint16_t mask, value;
} attributes[WORDS_OF_VFS] = {
	{IDMAP_RDONLY, IDMAP_RDONLY},
	{IDMAP_RDONLY, 0},
	{IDMAP_NOSUID, IDMAP_NOSUID},
	{IDMAP_NOSUID, 0},
	{IDMAP_NODEV, IDMAP_NODEV},
	{IDMAP_NODEV, 0},
	{IDMAP_NOEXEC, IDMAP_NOEXEC},
	{IDMAP_NOEXEC, 0},
	{IDMAP_ATIME_MASK, IDMAP_NOATIME},
	{IDMAP_ATIME_MASK, 0},
	{IDMAP_ATIME_MASK, 0},
	{IDMAP_ATIME_MASK, IDMAP_STRICTATIME},
	{IDMAP_NODIRATIME, IDMAP_NODIRATIME},
	{IDMAP_NODIRATIME, 0},
	{IDMAP_NOSYMFOLLOW, IDMAP_NOSYMFOLLOW},
	{IDMAP_NOSYMFOLLOW, 0},
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

static const char keys[] = "idmap\0uidmap\0gidmap\0X-mount.idmap\0wait\0X-mount.mkdir\0"
			   "X-mount.subdir\0comment\0lowerdir\0upperdir\0workdir\0";

static void read_list(struct reader *r, const char *value, uint32_t kinds)
{
	read_extents(r, value, kinds);
	if (!*value)
		row_error(r, value, "%s has no extent; " WRITE_EXTENT ", or identity", r->item);
}

static void read_wait(struct reader *r, const char *value)
{
	/* A day is more than anyone waits for, and its milliseconds fit an int. */
	const uint32_t most = 86400;
	uint32_t seconds;

	if (idmap_scan_u32(value, strlen(value), &seconds) != SCAN_OK || seconds > most) {
		row_error(r, value, "'%s' is no time to wait; write whole seconds, at most 86400",
			  r->item);
		return;
	}
	r->row->wait_s = seconds;
	r->row->flags |= IDMAP_WAIT;
}

static void read_mkdir(struct reader *r, const char *value)
{
	const char *digit = value;
	uint32_t mode = 0;

	for (; *digit >= '0' && *digit <= '7' && mode <= 0777; digit++)
		mode = mode << 3 | (uint32_t)(*digit - '0');
	if (digit == value || *digit) {
		row_error(r, value, "'%s' is no mode; write octal digits, as in X-mount.mkdir=0755",
			  r->item);
		return;
	}
	r->row->mkdir_mode = mode;
	r->row->flags |= IDMAP_MKDIR;
}

static void read_subdir(struct reader *r, const char *value)
{
	size_t size = strlen(value) + 2;
	char *path = idmap_alloc(r->table->arena, size);

	if (!path || !*value) {
		row_error(r, value, "'%s' names no folder; write X-mount.subdir=DIR", r->item);
		return;
	}
	path[0] = '/';
	memcpy(path + 1, value, size - 1);
	r->row->subdir =
		idmap_normal_path(r->table, &r->row->place, r->piece, path, "X-mount.subdir");
}

/* true: the item was one of our key=value words (or an error in one). */
static bool read_key(struct reader *r, size_t key_length)
{
	static const unsigned char list_kinds[] = {
		[KEY_IDMAP] = BOTH_KINDS,
		[KEY_UIDMAP] = 1u << IDMAP_UID,
		[KEY_GIDMAP] = 1u << IDMAP_GID,
		[KEY_X_IDMAP] = BOTH_KINDS,
	};
	const char *value = r->item + key_length + 1;
	const uint32_t key = idmap_word_index(keys, r->item, key_length);

	switch (key) {
	case KEY_IDMAP:
	case KEY_UIDMAP:
	case KEY_GIDMAP:
	case KEY_X_IDMAP:
		read_list(r, value, list_kinds[key]);
		return true;
	case KEY_WAIT:
		read_wait(r, value);
		return true;
	case KEY_MKDIR:
		if (IS_ENABLED(CONFIG_ROWS))
			read_mkdir(r, value);
		return true;
	case KEY_SUBDIR:
		if (IS_ENABLED(CONFIG_SUBDIR))
			read_subdir(r, value);
		else
			row_error(r, r->item,
				  "X-mount.subdir is not built into this idmap-init; bind the"
				  " folder in a row of its own");
		return true;
	case KEY_COMMENT:
		return true;
	case KEY_LOWERDIR:
	case KEY_UPPERDIR:
	case KEY_WORKDIR:
		row_error(
			r, r->item,
			"'%s' is not taken; write each layer as a row with the option lower or upper",
			r->item);
		return true;
	default:
		return false;
	}
}

static bool read_word(struct reader *r)
{
	struct idmap_row *row = r->row;
	const uint32_t word = idmap_word_index(words, r->item, strlen(r->item));

	if (word < WORDS_OF_VFS) {
		row->attr_said |= attributes[word].mask;
		row->attr = (row->attr & ~attributes[word].mask) | attributes[word].value;
		return true;
	}
	if (word == IDMAP_NO_WORD || r->vfs_only)
		return false;
	if (word == WORD_NOFAIL)
		row->nofail_column = r->piece->column;
	if (word >= WORD_NOFAIL)
		row->flags |= (uint32_t)IDMAP_NOFAIL << (word - WORD_NOFAIL);
	return true;
}

static void keep_for_filesystem(struct reader *r, size_t key_length)
{
	const char *item = r->item;
	size_t length = strlen(item), value = length > key_length ? length - key_length - 1 : 0;

	if (!key_length) {
		row_error(r, item, "'%s' has no name before its =; write NAME=VALUE", item);
		return;
	}
	if (key_length > IDMAP_OPTION_MAX || value > IDMAP_OPTION_MAX) {
		row_error(r, item,
			  "'%s' is too long for a filesystem's option; the kernel takes 255 bytes",
			  item);
		return;
	}
	memcpy(r->data, item, length + 1);
	r->data += length + 1;
}

static void read_item(struct reader *r)
{
	const char *item = r->item, *equals = strchr(item, '=');
	size_t key_length = equals ? (size_t)(equals - item) : strlen(item);

	if (!equals && read_word(r))
		return;
	if (r->vfs_only) {
		keep_for_filesystem(r, key_length);
		return;
	}
	if (equals && read_key(r, key_length))
		return;
	if (!strcmp(item, "identity") || looks_like_extent(item)) {
		read_extents(r, item, r->list_kinds ? r->list_kinds : BOTH_KINDS);
		return;
	}
	if (!strncmp(item, "X-mount.", 8)) {
		row_error(r, item,
			  "'%s' is not known; X-mount. takes idmap=, mkdir[=MODE] and subdir=DIR",
			  item);
		return;
	}
	if ((*item | ' ') == 'x' && item[1] == '-')
		return; /* comments, as in fstab(5) */
	if (*item == '/') {
		row_error(r, item,
			  "'%s' is a path, not an option; a row is SOURCE,TARGET,TYPE[,OPTIONS]",
			  item);
		return;
	}
	if (!equals && idmap_word_index(keys, item, key_length) != IDMAP_NO_WORD) {
		row_error(r, item, "'%s' needs a value; write it after a =", item);
		return;
	}
	keep_for_filesystem(r, key_length);
}

/* All options of a row. The map is made by the caller's scratch; equal maps are made once. */
void idmap_read_options(struct idmap_table *table, struct idmap_row *row,
			const struct idmap_piece *options, bool vfs_only)
{
	struct reader r = {.table = table, .row = row, .vfs_only = vfs_only};
	char *scratch_end = table->arena->end, *data;
	size_t i, start, most = 1;

	/* Separators are commas, blanks and escapes that decode to blanks. */
	for (i = 0; i < options->length; i++) {
		const char c = options->at[i];

		most += c == ',' || c == '\\' || idmap_is_blank(c);
	}
	data = r.data = idmap_alloc(table->arena, options->length + 2);
	r.item = idmap_alloc_scratch(table->arena, options->length + 1);
	r.spec = idmap_alloc_scratch(table->arena, most * sizeof(*r.spec));
	if (!data || !r.item || !r.spec) {
		idmap_table_error(table, &row->place, options->column,
				  "no memory; make the table shorter");
		table->arena->end = scratch_end;
		return;
	}
	for (start = 0; start <= options->length; start = i + 1) {
		struct idmap_piece piece = {.at = options->at + start,
					    .column = options->column + (uint32_t)start};

		for (i = start; i < options->length && options->at[i] != ',';)
			i++;
		piece.length = i - start;
		if (!piece.length)
			continue;
		r.piece = &piece;
		if (idmap_decode(table, &row->place, &piece, r.item))
			read_item(&r);
	}
	/* Checked even if something else of the row is wrong: every error is to be told. */
	if (r.specs || r.identity)
		row->map = idmap_map_make(table, &row->place, r.spec, r.specs, r.identity,
					  r.map_column);
	row->data = data;
	table->arena->end = scratch_end;
}
