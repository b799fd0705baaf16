// SPDX-License-Identifier: MIT
/*
 * The OPTIONS of a row: words of mount(8) and fstab(5), the lists of extents, and what is left for
 * the filesystem. Keys match whole; nothing is guessed. Pure.
 */
#include <string.h>

#include "table/verity.h"

/* What one row's options have said so far. */
struct reader {
	struct idmap_item item; /* the option that is read */
	struct idmap_row *row;
	struct idmap_extents extents;
	uint32_t kinds; /* of the list that the key at hand opens */
	char *data;	/* end of the options for the filesystem */
	bool vfs_only;	/* rootflags=: only words of the VFS are ours */
};

/* --- words without a value ------------------------------------------------------------------- */

/* Words of the VFS: `mask` of the attributes becomes `value`. Of two that say the same the first is
 * ours to write. */
static const struct {
	const char *word;
	uint32_t mask, value;
} attributes[] = {
	{"ro", IDMAP_RDONLY, IDMAP_RDONLY},
	{"rw", IDMAP_RDONLY, 0},
	{"nosuid", IDMAP_NOSUID, IDMAP_NOSUID},
	{"suid", IDMAP_NOSUID, 0},
	{"nodev", IDMAP_NODEV, IDMAP_NODEV},
	{"dev", IDMAP_NODEV, 0},
	{"noexec", IDMAP_NOEXEC, IDMAP_NOEXEC},
	{"exec", IDMAP_NOEXEC, 0},
	{"noatime", IDMAP_ATIME_MASK, IDMAP_NOATIME},
	{"strictatime", IDMAP_ATIME_MASK, IDMAP_STRICTATIME},
	{"relatime", IDMAP_ATIME_MASK, 0},
	{"atime", IDMAP_ATIME_MASK, 0},
	{"nodiratime", IDMAP_NODIRATIME, IDMAP_NODIRATIME},
	{"diratime", IDMAP_NODIRATIME, 0},
	{"nosymfollow", IDMAP_NOSYMFOLLOW, IDMAP_NOSYMFOLLOW},
	{"symfollow", IDMAP_NOSYMFOLLOW, 0},
};

/* Words for the row, by its flag, and with what mount(8) takes them to imply; others are without
 * effect. */
static const struct {
	const char *word;
	uint32_t flag, attr;
} flags[] = {
	{"nofail", IDMAP_NOFAIL, 0},
	{"noauto", IDMAP_NOAUTO, 0},
	{"lower", IDMAP_LOWER, 0},
	{"data-only", IDMAP_DATA_ONLY, 0},
	{"upper", IDMAP_UPPER, 0},
	{"X-mount.mkdir", IDMAP_MKDIR, 0},
	{"bind", IDMAP_BIND, 0},
	{"rbind", IDMAP_RBIND, 0},
	{"user", 0, IDMAP_NOSUID | IDMAP_NODEV | IDMAP_NOEXEC},
	{"users", 0, IDMAP_NOSUID | IDMAP_NODEV | IDMAP_NOEXEC},
	{"owner", 0, IDMAP_NOSUID | IDMAP_NODEV},
	{"group", 0, IDMAP_NOSUID | IDMAP_NODEV},
	{"defaults", 0, 0},
	{"auto", 0, 0},
	{"nouser", 0, 0},
	{"nousers", 0, 0},
	{"noowner", 0, 0},
	{"nogroup", 0, 0},
	{"silent", 0, 0},
	{"loud", 0, 0},
	{"_netdev", 0, 0},
	{"loop", 0, 0}, /* an image file becomes a device as it must */
};

static void say_attributes(struct idmap_row *row, uint32_t mask, uint32_t value)
{
	row->attr_said |= mask;
	row->attr = (row->attr & ~mask) | value;
}

/* The index in attributes[], or COUNT_OF(attributes). */
static size_t find_attribute(const char *item, size_t length)
{
	size_t i;

	for (i = 0; i < COUNT_OF(attributes); i++)
		if (idmap_same(attributes[i].word, item, length))
			break;
	return i;
}

void idmap_attr_text(uint32_t attr, uint32_t all, struct idmap_text *text)
{
	const char *comma = "";
	size_t i;

	for (i = 0; i < COUNT_OF(attributes); i++) {
		const uint32_t mask = attributes[i].mask, value = attributes[i].value;

		if ((attr & mask) != value || !(value || all & mask) ||
		    (i && mask == attributes[i - 1].mask && value == attributes[i - 1].value))
			continue;
		idmap_text_add(text, "%s%s", comma, attributes[i].word);
		comma = ",";
	}
}

static bool read_flag(struct reader *r, const char *word)
{
	size_t i;

	for (i = 0; i < COUNT_OF(flags); i++) {
		if (strcmp(word, flags[i].word))
			continue;
		r->row->flags |= flags[i].flag;
		say_attributes(r->row, flags[i].attr, flags[i].attr);
		if (flags[i].flag & (IDMAP_NOFAIL | IDMAP_NOAUTO))
			r->row->left_out_column = r->item.piece->column;
		return true;
	}
	return false;
}

/* --- words with a value ---------------------------------------------------------------------- */

static void read_idmap(struct reader *r, const char *value)
{
	idmap_read_extents(&r->item, &r->extents, value, r->kinds);
	if (!*value)
		idmap_item_error(&r->item, value,
				 "%s has no extent; " IDMAP_WRITE_EXTENT ", or identity",
				 r->item.text);
}

static void read_wait(struct reader *r, const char *value)
{
	uint32_t seconds;

	if (idmap_read_u32(value, strlen(value), &seconds) != NUMBER_OK ||
	    seconds > IDMAP_WAIT_MOST_S) {
		idmap_item_error(&r->item, value,
				 "'%s' is no time to wait; write whole seconds, at most 86400",
				 r->item.text);
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
	/* mkdir(2) knows the sticky bit and no set-id ones. */
	if (digit == value || *digit || mode > 01777) {
		idmap_item_error(
			&r->item, value,
			"'%s' is no mode of a new folder; write octal digits up to 1777, as in"
			" X-mount.mkdir=0755",
			r->item.text);
		return;
	}
	r->row->mkdir_mode = mode;
	r->row->flags |= IDMAP_MKDIR;
}

static void read_subdir(struct reader *r, const char *value)
{
	size_t size = strlen(value) + 2;
	char *path = idmap_alloc(r->item.table->arena, size);

	if (!path || !*value) {
		idmap_item_error(&r->item, value, "'%s' names no folder; write X-mount.subdir=DIR",
				 r->item.text);
		return;
	}
	path[0] = '/';
	memcpy(path + 1, value, size - 1);
	r->row->subdir = idmap_normal_path(r->item.table, r->item.place, r->item.piece, path,
					   "X-mount.subdir");
}

static void refuse_layers(struct reader *r, const char *value)
{
	(void)value;
	idmap_item_error(
		&r->item, r->item.text,
		"'%s' is not taken; write each layer as a row with the option lower or upper",
		r->item.text);
}

/* What mount(8) makes a loop device of. */
static void refuse_loop(struct reader *r, const char *value)
{
	(void)value;
	idmap_item_error(&r->item, r->item.text,
			 "'%s' is not taken; an image file is attached as a whole, to a free loop"
			 " device",
			 r->item.text);
}

static const struct {
	const char *key;
	void (*read)(struct reader *r, const char *value); /* NULL: without effect */
	uint32_t kinds;					   /* of the list that it opens */
} keys[] = {
	{"idmap", read_idmap, BOTH_KINDS},
	{"uidmap", read_idmap, 1u << IDMAP_UID},
	{"gidmap", read_idmap, 1u << IDMAP_GID},
	{"X-mount.idmap", read_idmap, BOTH_KINDS},
	{"wait", read_wait, 0},
	{"X-mount.mkdir", read_mkdir, 0},
	{"X-mount.subdir", read_subdir, 0},
	{"comment", NULL, 0},
	{"lowerdir", refuse_layers, 0},
	{"upperdir", refuse_layers, 0},
	{"workdir", refuse_layers, 0},
	{"lowerdir+", refuse_layers, 0},
	{"datadir+", refuse_layers, 0},
	{"loop", refuse_loop, 0},
	{"offset", refuse_loop, 0},
	{"sizelimit", refuse_loop, 0},
};

/* The index in keys[], or COUNT_OF(keys). */
static size_t find_key(const char *item, size_t length)
{
	size_t i;

	for (i = 0; i < COUNT_OF(keys); i++)
		if (idmap_same(keys[i].key, item, length))
			break;
	return i;
}

const char *idmap_option_near(const char *word)
{
	const size_t length = strcspn(word, "=");
	size_t i;

	for (i = 0; i < COUNT_OF(attributes); i++)
		if (idmap_is_near(attributes[i].word, word, length))
			return attributes[i].word;
	for (i = 0; i < COUNT_OF(flags); i++)
		if (idmap_is_near(flags[i].word, word, length))
			return flags[i].word;
	for (i = 0; i < COUNT_OF(keys); i++)
		if (idmap_is_near(keys[i].key, word, length))
			return keys[i].key;
	return NULL;
}

/* --- all options ----------------------------------------------------------------------------- */

/* Three, as two may be ports. */
static bool has_three_numbers(const char *value)
{
	return idmap_looks_like_extent(value) && strchr(strchr(value, ':') + 1, ':');
}

static void check_device(struct reader *r)
{
	const char *device = idmap_device_option(r->item.text), *wrong;
	struct idmap_source source;

	wrong = device ? idmap_source_of(device, &source) : NULL;
	if (device && !wrong && source.kind == IDMAP_SOURCE_OTHER)
		wrong = "names no device; write /dev/..., or a name such as PARTUUID=...";
	if (wrong)
		idmap_item_error(&r->item, r->item.text, "%s %s", r->item.text, wrong);
}

static void keep_for_filesystem(struct reader *r, size_t key_length)
{
	const char *item = r->item.text;
	const char *colon; /* in place of the = */
	size_t length = strlen(item), value = length > key_length ? length - key_length - 1 : 0;

	if (!key_length) {
		idmap_item_error(&r->item, item, "'%s' has no name before its =; write NAME=VALUE",
				 item);
		return;
	}
	if (key_length > IDMAP_OPTION_MAX || value > IDMAP_OPTION_MAX) {
		idmap_item_error(
			&r->item, item,
			"'%s' is too long for a filesystem's option; the kernel takes 255 bytes",
			item);
		return;
	}
	colon = value ? NULL : strchr(item, ':');
	if (has_three_numbers(colon ? colon + 1 : item + length - value)) {
		idmap_item_error(&r->item, item,
				 r->vfs_only ? "'%s' has an extent and is no filesystem's; write"
					       " idmap= as a parameter of its own"
					     : "'%s' has an extent and is no option of ours; did"
					       " you mean idmap=?",
				 item);
		return;
	}
	check_device(r);
	memcpy(r->data, item, length + 1);
	r->data += length + 1;
}

/* What is neither a word of ours nor a filesystem's. true: it was told. */
static bool refuse(struct reader *r, bool known_key)
{
	const char *item = r->item.text;

	if (!strncmp(item, "X-mount.", 8))
		idmap_item_error(
			&r->item, item,
			"'%s' is not known; X-mount. takes idmap=, mkdir[=MODE] and subdir=DIR",
			item);
	else if (*item == '/')
		idmap_item_error(
			&r->item, item,
			"'%s' is a path, not an option; a row is SOURCE,TARGET,TYPE[,OPTIONS]",
			item);
	else if (known_key)
		idmap_item_error(&r->item, item, "'%s' needs a value; write it after a =", item);
	else
		return false;
	return true;
}

/* A comment is without effect: one that says what a word of ours would was meant to be that. */
static void refuse_disguised(struct reader *r, size_t key_length)
{
	const char *item = r->item.text, *name = item + 2, *value;
	size_t length = key_length - 2, i;

	if (length > 6 && idmap_same("mount.", name, 6)) {
		name += 6;
		length -= 6;
	}
	for (i = 0; i < COUNT_OF(keys); i++) {
		const char *word = keys[i].key, *dot = strchr(word, '.');

		if (!keys[i].kinds && !dot)
			continue; /* wait= and the like have no owner to show */
		if (!idmap_same(dot ? dot + 1 : word, name, length))
			continue;
		idmap_item_error(&r->item, item,
				 "'%s' is a comment, as all of x- and X- but X-mount. is; did you"
				 " mean %s?",
				 item, word);
		return;
	}
	value = item[key_length] ? item + key_length + 1 : "";
	if (has_three_numbers(value))
		idmap_item_error(
			&r->item, item,
			"'%s' is a comment, as all of x- and X- but X-mount. is, and has an"
			" extent; did you mean idmap=?",
			item);
}

static void read_item(struct reader *r)
{
	const char *item = r->item.text, *equals = strchr(item, '=');
	size_t key_length = equals ? (size_t)(equals - item) : strlen(item), key;

	key = find_attribute(item, key_length);
	if (key < COUNT_OF(attributes)) {
		if (equals) /* the kernel would pass over the value */
			idmap_item_error(&r->item, item, "'%s' takes no value; write %s", item,
					 attributes[key].word);
		say_attributes(r->row, attributes[key].mask, attributes[key].value);
		return;
	}
	if (r->vfs_only) {
		keep_for_filesystem(r, key_length);
		return;
	}
	if ((!equals && read_flag(r, item)) || idmap_verity_option(&r->item, r->row))
		return;
	key = find_key(item, key_length);
	if (equals && key < COUNT_OF(keys)) {
		r->kinds = keys[key].kinds;
		if (keys[key].read)
			keys[key].read(r, equals + 1);
		return;
	}
	/* No filesystem's option begins with a digit. */
	if (!strcmp(item, "identity") || idmap_looks_like_extent(item) || idmap_is_digit(*item)) {
		idmap_read_extents(&r->item, &r->extents, item,
				   r->extents.list_kinds ? r->extents.list_kinds : BOTH_KINDS);
		return;
	}
	/* Comments, as in fstab(5): x-… and X-…, but for X-mount.… and what was meant for it. */
	if ((*item == 'x' || *item == 'X') && item[1] == '-' && strncmp(item, "X-mount.", 8)) {
		refuse_disguised(r, key_length);
		return;
	}
	if (!refuse(r, key < COUNT_OF(keys)))
		keep_for_filesystem(r, key_length);
}

void idmap_read_options(struct idmap_table *table, struct idmap_row *row,
			const struct idmap_piece *options, bool vfs_only)
{
	struct reader r = {.row = row, .vfs_only = vfs_only};
	char *scratch_end = table->arena->end, *data;
	size_t i, start, most = 1;

	/* Separators are commas, blanks and escapes that decode to blanks. */
	for (i = 0; i < options->length; i++) {
		const char c = options->at[i];

		most += c == ',' || c == '\\' || idmap_is_blank(c);
	}
	data = r.data = idmap_alloc(table->arena, options->length + 2);
	r.item = (struct idmap_item){.table = table, .place = &row->place};
	r.item.text = idmap_alloc_scratch(table->arena, options->length + 1);
	r.extents.spec = idmap_alloc_scratch(table->arena, most * sizeof(*r.extents.spec));
	if (!data || !r.item.text || !r.extents.spec) {
		idmap_table_full(table, &row->place, options->column);
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
		r.item.piece = &piece;
		if (idmap_decode(table, &row->place, &piece, r.item.text))
			read_item(&r);
	}
	/* Checked even if something else of the row is wrong: every error is to be told. */
	if (r.extents.specs || r.extents.identity)
		row->map = idmap_map_make(table, &row->place, r.extents.spec, r.extents.specs,
					  r.extents.identity, r.extents.column);
	row->data = data;
	table->arena->end = scratch_end;
}
