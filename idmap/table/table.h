/* SPDX-License-Identifier: MIT */
/*
 * Between the files of table/, which turn text into a table and a table into a plan. All of them
 * are pure: they see memory and nothing else. In the order in which each needs the ones before it:
 * text, error, scan, map, extents, source, verity, options, table, conf, seal, cmdline, order,
 * within, plan. What Kconfig takes out leaves an inline stub here.
 */
#ifndef TABLE_H
#define TABLE_H

#include <errno.h>
#include <stdarg.h>
#include <string.h>

#include "generated/autoconf.h"
#include "idmap.h"

/* fsconfig(2) copies keys and values of at most this many bytes (fs/fsopen.c). */
#define IDMAP_OPTION_MAX 255
/* So many layers the kernel merges below a top (OVL_MAX_STACK in fs/overlayfs/params.h). */
#define IDMAP_LAYERS_MAX 500

#define COUNT_OF(array) (sizeof(array) / sizeof(*(array)))

/* --- text.c ---------------------------------------------------------------------------------- */

static inline bool idmap_is_digit(char c)
{
	return c >= '0' && c <= '9';
}

static inline bool idmap_is_blank(char c)
{
	return c == ' ' || c == '\t';
}

/* Writes a field as the table takes it: blanks, backslashes, quotes and control characters become
 * octal escapes, and so does `more` unless it is 0. */
void idmap_text_field(struct idmap_text *text, const char *field, char more);
void idmap_text_vadd(struct idmap_text *text, const char *format, va_list list);
/* Whether the `length` bytes at `text`, which need not end there, are the whole of `word`. */
bool idmap_same(const char *word, const char *text, size_t length);
/* Cuts the next line off *text, terminated in place of its newline; NULL: there is none. */
char *idmap_next_line(char **text);
/* Whether `type` is or holds the name `name`. */
bool idmap_type_has(const char *type, const char *name);
/* Whether a driver by that name reads what a superblock is of: ext4's is that of ext2 and ext3,
 * too. */
bool idmap_type_fits(const char *superblock, const char *type);
/* Whether it is a filesystem that a server on the host gives: virtiofs, 9p. */
bool idmap_is_served(const char *type);
/* Whether SOURCE is a tag of a server's, or any word, as that of what the kernel makes has none. */
bool idmap_has_no_device(const char *type);
/* Whether so many bytes are the same to the kernel, to which `-` and `_` are one in a name. */
bool idmap_same_name(const char *a, const char *b, size_t length);
bool idmap_is_parameter(const char *name, const char *text, size_t length); /* all of it */
/* Whether it is a filesystem, or are all some, that surely lies on a block device or in a file. */
bool idmap_needs_device(const char *type);
/* What follows the first `part` of a text, or NULL: it has none. strstr() is 1.3 KB of code. */
const char *idmap_after(const char *text, const char *part);
bool idmap_contains(const char *text, const char *part);
/* Whether the text is the word but for one letter that is other, missing, too many or swapped. */
bool idmap_is_near(const char *word, const char *text, size_t length);

/* What to say for a number, such as an errno. The last of a list has the number 0: for all others.
 */
struct idmap_words {
	uint32_t number;
	const char *text;
};

const char *idmap_words_for(const struct idmap_words *words, uint32_t number);

enum idmap_number { NUMBER_OK, NUMBER_EMPTY, NUMBER_NOT_DECIMAL, NUMBER_TOO_LARGE };

/* Digit by digit into 32 bits: no sign, no blank, no prefix, no wrapping. */
enum idmap_number idmap_read_u32(const char *text, size_t length, uint32_t *ret);
/* The value of a hex digit, or 16. */
uint32_t idmap_hex(char c);
/* Writes the two hex digits of a byte; gives what stands behind them. */
char *idmap_put_hex(char *out, char byte);
/* Digits of that base, and what they are worth or more than 32 bits hold; gives their end. */
const char *idmap_read_digits(const char *text, uint32_t base, uint64_t *ret);
/* A little-endian number of at most 8 bytes. */
uint64_t idmap_little(const char *bytes, size_t size);

/* A copy with a NUL behind it, or NULL: no room. */
char *idmap_copy(struct idmap_arena *arena, const char *text, size_t length);
/* idmap_alloc() from the far end. The caller saves `end` before and restores it when done. */
void *idmap_alloc_scratch(struct idmap_arena *arena, size_t size);

/* --- error.c --------------------------------------------------------------------------------- */

void idmap_table_verror(struct idmap_table *table, const struct idmap_place *place, uint32_t column,
			const char *format, va_list list);
/* Adds to the line; strings are not shortened. */
void idmap_fail_more(struct idmap_error *error, const char *format, ...) IDMAP_PRINTF(2, 3);
/* idmap_note() with a list, and about a row, unless that is NULL. */
void idmap_vnote(struct idmap_notes *notes, const struct idmap_row *row, const char *format,
		 va_list list);
/* The same with the row's place, source and target in front, as in idmap_fail(). */
void idmap_note_row(struct idmap_notes *notes, const struct idmap_row *row, const char *format, ...)
	IDMAP_PRINTF(3, 4);
/* A mild one, of an error that stops nothing. */
void idmap_note_error(struct idmap_notes *notes, const struct idmap_error *error);
/* "/etc/idmap.conf:3:17" or "cmdline: idmap= #2, column 9"; column 0: without the column. */
void idmap_place_text(struct idmap_text *text, const struct idmap_place *place, uint32_t column);
/* The error of an arena that has no room left. */
void idmap_table_full(struct idmap_table *table, const struct idmap_place *place, uint32_t column);

/* --- scan.c ---------------------------------------------------------------------------------- */

/* A piece of the text as written; `column` is where it begins, from 1. */
struct idmap_piece {
	const char *at;
	size_t length;
	uint32_t column;
};

/* An option that is being read: as written, and decoded. */
struct idmap_item {
	struct idmap_table *table;
	const struct idmap_place *place;
	const struct idmap_piece *piece;
	char *text;
};

/* The column of a byte of the item's text. */
uint32_t idmap_item_column(const struct idmap_item *item, const char *at);
/* An error at a byte of the item's text. */
void idmap_item_error(const struct idmap_item *item, const char *at, const char *format, ...)
	IDMAP_PRINTF(3, 4);
/*
 * Decodes into `out`, which has room for the piece and a NUL. false, with an error on the table's
 * list: an escape stands for no byte.
 */
bool idmap_decode(struct idmap_table *table, const struct idmap_place *place,
		  const struct idmap_piece *piece, char *out);
/* The same into the table's arena; NULL on an error. */
char *idmap_decode_kept(struct idmap_table *table, const struct idmap_place *place,
			const struct idmap_piece *piece);
/*
 * Takes // . and a final / out of `path`, in place; NULL, with an error that calls it `what`, where
 * it is relative or has a `..`.
 */
const char *idmap_normal_path(struct idmap_table *table, const struct idmap_place *place,
			      const struct idmap_piece *piece, char *path, const char *what);

/* The device that an option of a filesystem names, or NULL: `device=/dev/vdb` and its kin. */
const char *idmap_device_option(const char *item);
/* The first option of the row that names one, or NULL. Its lists are whole: after the plan. */
const char *idmap_row_part(const struct idmap_row *row);

/* --- map.c ----------------------------------------------------------------------------------- */

#define BOTH_KINDS (1u << IDMAP_UID | 1u << IDMAP_GID)

/* An extent as written, before checking. */
struct idmap_spec {
	struct idmap_extent extent;
	uint32_t column;
	uint32_t kinds; /* bits 1 << IDMAP_UID, 1 << IDMAP_GID */
};

/*
 * Checks what a row says and makes its map, equal maps once only. `identity` has a bit a kind
 * where the word was said; a kind of which nothing was said is identity as well. Every error
 * goes to the table's list; then NULL is returned. Works in scratch memory; `specs` is sorted.
 */
struct idmap_map *idmap_map_make(struct idmap_table *table, const struct idmap_place *place,
				 struct idmap_spec *specs, uint32_t count, uint32_t identity,
				 uint32_t column);

/*
 * A write to uid_map must be shorter than a page (map_write() in kernel/user_namespace.c). The
 * smallest page counts, so that a table means the same on every machine.
 */
#define IDMAP_MAP_TEXT_SIZE 4096
/* What to write to uid_map or gid_map. Never cut when `size` is IDMAP_MAP_TEXT_SIZE. */
size_t idmap_map_text(const struct idmap_map *map, enum idmap_kind kind, char *buffer, size_t size);
/* What the id on disk is seen as; false where the map leaves it out. */
bool idmap_map_seen(const struct idmap_map *map, enum idmap_kind kind, uint32_t disk,
		    uint32_t *ret_seen);
/* The id on disk that is seen as `seen`; false where there is none. */
bool idmap_map_disk(const struct idmap_map *map, enum idmap_kind kind, uint32_t seen,
		    uint32_t *ret_disk);

/* --- extents.c ------------------------------------------------------------------------------- */

/* What one row's options have said of its map so far. */
struct idmap_extents {
	struct idmap_spec *spec; /* with room for all that the options can hold */
	uint32_t specs;
	uint32_t identity;   /* a bit a kind */
	uint32_t column;     /* where the first list was opened; 0: no map was said */
	uint32_t list_kinds; /* of the list opened last; 0: none is open */
};

#define IDMAP_WRITE_EXTENT "write DISK:SEEN:COUNT"

/* A value that can only be meant as an extent, right or wrong; never a filesystem's option. */
bool idmap_looks_like_extent(const char *text);
/* Whether one of the options in so many bytes, commas between, is an extent. */
bool idmap_has_extent(const char *text, size_t length);
/*
 * Extents and `identity` from `from`, a byte of the item, to its end, separated by blanks
 * (mount(8)'s form) or commas.
 */
void idmap_read_extents(const struct idmap_item *item, struct idmap_extents *extents,
			const char *from, uint32_t kinds);

/* --- options.c ------------------------------------------------------------------------------- */

/*
 * Reads all options of a row into it. With `vfs_only`, for rootflags=, only words of the VFS are
 * ours and everything else is the filesystem's.
 */
void idmap_read_options(struct idmap_table *table, struct idmap_row *row,
			const struct idmap_piece *options, bool vfs_only);

/* The option of ours that was hardly missed by this word, or NULL. */
const char *idmap_option_near(const char *word);

/* A day is more than anyone waits for, and its milliseconds fit an int. */
#define IDMAP_WAIT_MOST_S 86400

/* Attributes as options: those that are set, and of those in `all` also that they are not. */
void idmap_attr_text(uint32_t attr, uint32_t all, struct idmap_text *text);
/* In front of a row that stands: which of its attributes were found, as a number. */
#define IDMAP_FOUND_LINE "# found "
/* The same: the two numbers of its mount. */
#define IDMAP_MOUNT_LINE "# mount "

/* --- table.c --------------------------------------------------------------------------------- */

enum idmap_field { FIELD_SOURCE, FIELD_TARGET, FIELD_TYPE, FIELD_OPTIONS, FIELDS };

/* Adds the row of four fields. All of them are read even when one is wrong, to report every error.
 */
void idmap_read_row(struct idmap_table *table, const struct idmap_place *place,
		    const struct idmap_piece field[FIELDS]);
/*
 * Gives `row` the options of a rootflags= text: words of the VFS and options of the filesystem.
 * What the row says itself wins.
 */
void idmap_table_rootflags(struct idmap_table *table, struct idmap_row *row, const char *flags);
/* The same for rootfstype=, a comma list. */
void idmap_table_rootfstype(struct idmap_table *table, struct idmap_row *row, const char *types);
/*
 * Adds a row for the root that the kernel's own parameters name. Only the plan adds one that nobody
 * wrote; NULL when memory is short.
 */
struct idmap_row *idmap_table_add_root(struct idmap_table *table, const struct idmap_place *place);

/*
 * Whether it is a row of a whole system's fstab, and what is done with it there: an error. The rest
 * of what it says is not looked at.
 */
bool idmap_is_fstabs(struct idmap_table *table, const struct idmap_place *place, uint32_t column,
		     const char *target, const char *type);

static inline bool idmap_row_is_root(const struct idmap_row *row)
{
	return !row->target[1]; /* it begins with a / */
}

/* The OPTIONS of a row as a line of a table has them. */
void idmap_row_options_text(const struct idmap_row *row, struct idmap_text *text);

/* The table's file, where no other is named. */
#define IDMAP_CONF "/etc/idmap.conf"

/* --- cmdline.c ------------------------------------------------------------------------------- */

/* A parameter as the kernel cuts it; `value` is NULL where there is no `=`. Not terminated. */
struct idmap_parameter {
	const char *name, *value;
	size_t name_length, value_length;
	bool quoted; /* the word began with a quote, which is not in `name` */
};

/*
 * Cuts the next parameter off *text, by the rules of next_arg() in lib/cmdline.c. false: the end,
 * or a bare `--`, after which everything is for the real init.
 */
bool idmap_cmdline_next(const char **text, struct idmap_parameter *ret);

/* --- source.c -------------------------------------------------------------------------------- */

enum idmap_source_kind {
	IDMAP_SOURCE_PARTUUID,
	IDMAP_SOURCE_PARTLABEL,
	IDMAP_SOURCE_UUID,
	IDMAP_SOURCE_LABEL,
	IDMAP_SOURCE_SERIAL, /* of a virtio disk */
	IDMAP_SOURCE_NUMBER, /* MAJOR:MINOR, or hex as in root= */
	IDMAP_SOURCE_DEVICE, /* a path below /dev */
	IDMAP_SOURCE_OTHER,  /* a tag, a file, what a bind clones, no source at all */
};

/* The filesystems whose UUID= and LABEL= are found. */
#define IDMAP_SOURCE_KNOWN "erofs, ext4, xfs or btrfs"

struct idmap_source {
	enum idmap_source_kind kind;
	int32_t offset; /* /PARTNROFF=: so many partitions from the one named */
	bool raw;	/* dm-verity is to stand on it, and is not what is meant */
	char value[IDMAP_OPTION_MAX + 1]; /* what stands behind the =; a number as MAJOR:MINOR */
};

/* The device that a name in an option has turned out to be. */
struct idmap_found {
	struct idmap_found *next;
	const char *name; /* where it stands in the option */
	const char *device;
};

#ifdef CONFIG_NAMES
/* What stands before a name, by kind: "PARTUUID=" and so on; "" for a number. */
extern const char idmap_source_word[][11];
/*
 * Reads the row's source. NULL, or what is wrong with it and what to write instead, for a line that
 * begins with the source.
 */
const char *idmap_source_read(const struct idmap_row *row, struct idmap_source *ret);
/* The same for a text that can only be a device. */
const char *idmap_source_of(const char *text, struct idmap_source *ret);
#else
static inline const char *idmap_source_of(const char *text, struct idmap_source *ret)
{
	ret->kind = strncmp(text, "/dev/", 5) ? IDMAP_SOURCE_OTHER : IDMAP_SOURCE_DEVICE;
	return (strchr(text, '=') && *text != '/') || !strncmp(text, "/dev/disk/", 10)
		       ? "is a name, and names are not built into this idmap-init; write the"
			 " device, as in /dev/vda"
		       : NULL;
}

static inline const char *idmap_source_read(const struct idmap_row *row, struct idmap_source *ret)
{
	ret->kind = IDMAP_SOURCE_OTHER;
	if (row->flags & IDMAP_CLONE || idmap_type_has("virtiofs:9p:tmpfs:overlay", row->type))
		return NULL;
	return idmap_source_of(row->source, ret);
}
#endif

/* --- seal.c ---------------------------------------------------------------------------------- */

#define IDMAP_SEALED "/etc/idmap.sealed"
/* There is no seal, or it names the word. */
bool idmap_seal_allows(const struct idmap_cmdline *cmdline, const char *name, size_t length);
/* false: it must not be said, and that was told. A closed one needs the seal's word. */
bool idmap_seal_check(const struct idmap_cmdline *cmdline, struct idmap_table *table,
		      const struct idmap_parameter *parameter, bool closed);
/* Errors of what rows of the command line must not say, once the plan is made. */
void idmap_seal_rows(const struct idmap_cmdline *cmdline, struct idmap_table *table);

/* --- order.c --------------------------------------------------------------------------------- */

/* Whether the row could be read and is not to be passed over. */
static inline bool idmap_row_counts(const struct idmap_row *row)
{
	return !(row->flags & IDMAP_NOAUTO) && row->target && row->type && row->source;
}

#ifdef CONFIG_ROWS
/*
 * Puts the rows that count into the plan, each after what it stands on or is cloned from, and
 * chains layers. Errors go to the table's list. -ENOMEM: the arena is full.
 */
int idmap_order_make(struct idmap_table *table, struct idmap_plan *plan);
#else
static inline int idmap_order_make(struct idmap_table *table, struct idmap_plan *plan)
{
	struct idmap_row *row;

	plan->row = idmap_alloc(table->arena, sizeof(*plan->row));
	if (!plan->row)
		return -ENOMEM;
	for (row = table->first; row; row = row->next) {
		if (!idmap_row_counts(row))
			continue;
		if (plan->rows || !idmap_row_is_root(row) ||
		    row->flags & (IDMAP_OVERLAY | IDMAP_LAYER))
			idmap_table_error(table, &row->place, row->target_column,
					  "this idmap-init is built for one row, the one for /;"
					  " take this one out");
		else
			plan->row[plan->rows++] = row;
	}
	return 0;
}
#endif

/* --- within.c -------------------------------------------------------------------------------- */

/* Adds to the table's errors what the root forbids to a row, or to all of a plan that is made. */
void idmap_within_row(struct idmap_table *table, const struct idmap_row *row,
		      const struct idmap_root *root);
void idmap_within_plan(struct idmap_table *table, const struct idmap_plan *plan);

#endif
