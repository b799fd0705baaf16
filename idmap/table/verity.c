// SPDX-License-Identifier: MIT
/*
 * dm-verity under a row: the options of mount(8), and for the root the parameters that systemd has
 * for it. What is asked for is done or an error, never passed over. Pure.
 */
#include <string.h>

#include "table/verity.h"

#define HASH_LEAST 32 /* hex digits: systemd's, who reads two UUIDs out of them */
#define HASH_MOST 128
#define OFFSET_MOST (UINT64_C(1) << 60) /* bytes, far beyond any disk */

/* What is wrong with a value is said behind it. */
static const char no_hash[] = "is no root hash; write the hex digits that veritysetup(8) prints";
static const char no_offset[] =
	"is no place of a hash tree; write the bytes before it, a multiple of 512";
static const char no_device[] =
	"is no device; write a path or a name, as in /dev/vdb or PARTUUID=...";
static const char no_corruption[] =
	"is none of ignore, restart, panic; write one of them, or take it out";
static const char no_memory[] = "finds no room in memory; make the table shorter";

static const char *read_hash(struct idmap_table *table, struct idmap_verity *verity,
			     const char *value)
{
	const size_t length = strlen(value);
	char *hash = idmap_copy(table->arena, value, length);
	size_t i;

	if (!hash)
		return no_memory;
	/* In lower case, as the kernel gives it back. */
	for (i = 0; i < length; i++) {
		if (idmap_hex(value[i]) > 15)
			return no_hash;
		hash[i] = "0123456789abcdef"[idmap_hex(value[i])];
	}
	if (length < HASH_LEAST || length > HASH_MOST || length % 2)
		return no_hash;
	verity->root_hash = hash;
	return NULL;
}

static const char *read_device(struct idmap_table *table, const char *value, const char **ret)
{
	struct idmap_source source;
	const char *wrong = idmap_source_of(value, &source);

	if (wrong)
		return wrong;
	if (source.kind == IDMAP_SOURCE_OTHER && *value != '/')
		return no_device;
	*ret = idmap_copy(table->arena, value, strlen(value));
	return *ret ? NULL : no_memory;
}

static const char *read_offset(struct idmap_verity *verity, const char *value)
{
	const char *digit = value;
	uint64_t offset = 0;

	for (; idmap_is_digit(*digit) && offset < OFFSET_MOST; digit++)
		offset = offset * 10 + (uint64_t)(*digit - '0');
	if (digit == value || *digit || offset % 512)
		return no_offset;
	verity->hash_offset = offset;
	verity->has_offset = true;
	return NULL;
}

/* The word of dm-verity (admin-guide/device-mapper/verity.rst) that `length` bytes ask for. */
static const char *corruption_of(const char *text, size_t length)
{
	static const char *const words[] = {"ignore_corruption", "restart_on_corruption",
					    "panic_on_corruption"};
	size_t i;

	for (i = 0; i < COUNT_OF(words); i++)
		if (length && strcspn(words[i], "_") == length && !memcmp(words[i], text, length))
			return words[i];
	return NULL;
}

static struct idmap_verity *verity_of(struct idmap_table *table, struct idmap_verity **verity)
{
	if (!*verity)
		*verity = idmap_alloc(table->arena, sizeof(**verity));
	return *verity;
}

/* --- of a row -------------------------------------------------------------------------------- */

bool idmap_verity_option(const struct idmap_item *item, struct idmap_row *row)
{
	const char *name = item->text + sizeof(IDMAP_VERITY) - 1, *equals = strchr(name, '=');
	const char *value = equals ? equals + 1 : "", *wrong;
	const size_t length = equals ? (size_t)(equals - name) : strlen(name);
	struct idmap_verity *verity;

	if (strncmp(item->text, IDMAP_VERITY, sizeof(IDMAP_VERITY) - 1))
		return false;
	verity = verity_of(item->table, &row->verity);
	if (!verity) {
		wrong = no_memory;
	} else if (idmap_same("roothash", name, length)) {
		wrong = read_hash(item->table, verity, value);
	} else if (idmap_same("hashdevice", name, length)) {
		wrong = read_device(item->table, value, &verity->hash_device);
	} else if (idmap_same("hashoffset", name, length)) {
		wrong = read_offset(verity, value);
	} else if (idmap_same("oncorruption", name, length)) {
		verity->corruption = corruption_of(value, strlen(value));
		wrong = verity->corruption ? NULL : no_corruption;
	} else {
		wrong = "is not taken; write verity.roothash=, verity.hashdevice=,"
			" verity.hashoffset= or verity.oncorruption=";
	}
	if (!wrong)
		return true;
	idmap_item_error(item, item->text, "'%s' %s", item->text, wrong);
	if (verity)
		verity->wrong = true;
	return true;
}

void idmap_verity_check(struct idmap_table *table, const struct idmap_row *row)
{
	const struct idmap_verity *verity = row->verity;
	const char *wrong = NULL, *further;

	if (!verity || verity->wrong)
		return;
	further = idmap_row_part(row);
	if (further)
		idmap_table_error(table, &row->place, row->type_column,
				  "'%s' names a device that the root hash does not verify; make the"
				  " image on one device, or take out what verifies",
				  further);
	if (row->flags & (IDMAP_CLONE | IDMAP_OVERLAY | IDMAP_OWN_ROOT) ||
	    idmap_has_no_device(row->type))
		wrong = "dm-verity stands between a filesystem and its device, and this row brings"
			" none; take out verity., or write it in the row of the device";
	else if (row->flags & IDMAP_UPPER)
		wrong = "what is written to cannot be verified; take out verity. or upper";
	else if (!verity->root_hash)
		wrong = "verity. verifies nothing without the root hash; write verity.roothash=";
	else if (!verity->hash_device && !verity->has_offset)
		wrong = "where the hash tree is must be said; write verity.hashdevice=, or"
			" verity.hashoffset= for one behind the data";
	if (wrong)
		idmap_table_error(table, &row->place, row->type_column, "%s", wrong);
}

void idmap_verity_text(const struct idmap_verity *verity, struct idmap_text *text)
{
	if (!verity)
		return;
	idmap_text_add(text, ",verity.roothash=%s", verity->root_hash);
	if (verity->hash_device) {
		idmap_text_add(text, ",verity.hashdevice=");
		idmap_text_field(text, verity->hash_device, ',');
	}
	if (verity->has_offset)
		idmap_text_add(text, ",verity.hashoffset=%lu", verity->hash_offset);
	if (verity->corruption)
		idmap_text_add(text, ",verity.oncorruption=%.*s",
			       (int)strcspn(verity->corruption, "_"), verity->corruption);
}

/* --- of the root ----------------------------------------------------------------------------- */

/*
 * The options of veritytab(5) that there are here; the rest would change what is verified. *value
 * becomes the one that is wrong.
 */
static const char *read_veritytab(struct idmap_verity *verity, char **value)
{
	static const char offset[] = "hash-offset=", corruption[] = "-corruption";
	char *option, *next;

	for (option = *value; option; option = next) {
		const size_t length = strcspn(option, "-");

		next = strchr(option, ',');
		if (next)
			*next++ = 0;
		*value = option;
		if (!*option)
			continue;
		if (!strncmp(option, offset, sizeof(offset) - 1)) {
			if (read_offset(verity, option + sizeof(offset) - 1))
				return no_offset;
		} else if (corruption_of(option, length) &&
			   (!strcmp(option + length, corruption) ||
			    !strcmp(option + length, "-on-corruption"))) {
			verity->corruption = corruption_of(option, length);
		} else {
			return "has an option that is not taken; write hash-offset=BYTES,"
			       " ignore-corruption, restart-on-corruption or"
			       " panic-on-corruption";
		}
	}
	return NULL;
}

void idmap_verity_parameter(struct idmap_table *table, struct idmap_root *root, const char *name,
			    enum idmap_verity_word word, char *value)
{
	struct idmap_verity *verity = verity_of(table, &root->verity);
	struct idmap_place place = {.parameter = true};
	const char *wrong = NULL;
	char equals[40];

	if (!verity)
		wrong = no_memory;
	else if (word == VERITY_ROOT_HASH)
		wrong = read_hash(table, verity, value);
	else if (word == VERITY_DATA_DEVICE)
		wrong = read_device(table, value, &verity->data_device);
	else if (word == VERITY_HASH_DEVICE)
		wrong = read_device(table, value, &verity->hash_device);
	else
		wrong = read_veritytab(verity, &value);
	if (!wrong)
		return;
	place.name = idmap_print(equals, sizeof(equals), "%s=", name);
	idmap_table_error(table, &place, 0, "'%s' %s", value, wrong);
	if (verity)
		verity->wrong = true;
}

/* PARTUUID= of 32 hex digits. */
static const char *partition_of(struct idmap_table *table, const char *digits)
{
	char name[48];

	idmap_print(name, sizeof(name), "PARTUUID=%.*s-%.*s-%.*s-%.*s-%.*s", 8, digits, 4,
		    digits + 8, 4, digits + 12, 4, digits + 16, 12, digits + 20);
	return idmap_copy(table->arena, name, strlen(name));
}

void idmap_verity_root(struct idmap_table *table, struct idmap_root *root)
{
	const struct idmap_place place = {.name = "roothash=", .parameter = true};
	struct idmap_verity *verity = root->verity;
	const char *hash;

	/* Of a root that stands it is its mounter's business. */
	if (!verity || verity->wrong || root->booted)
		return;
	hash = verity->root_hash;
	if (!hash) {
		verity->wrong = true;
		idmap_table_error(table, &place, 0,
				  "it is missing, and systemd.verity_root_... verifies nothing"
				  " without it; add it, or take them out");
		return;
	}
	/* The verified root, by the name that it gets; any other one would be mounted as it is. */
	if (root->source && strcmp(root->source, "gpt-auto") &&
	    strncmp(root->source, "/dev/mapper/", 12) && strncmp(root->source, "/dev/dm-", 8)) {
		verity->wrong = true;
		idmap_table_error(table, &place, 0,
				  "root=%s names a root that would not be verified; write"
				  " systemd.verity_root_data=%s in its place",
				  root->source, root->source);
	}
	/* systemd-gpt-auto-generator(8): the partitions' UUIDs are the two ends of the hash. */
	root->source = verity->data_device ? verity->data_device : partition_of(table, hash);
	if (!verity->hash_device && !verity->has_offset)
		verity->hash_device = partition_of(table, hash + strlen(hash) - 32);
	if (!root->source || (!verity->hash_device && !verity->has_offset))
		idmap_table_full(table, &place, 0);
}

void idmap_verity_unused(struct idmap_table *table, const struct idmap_root *root)
{
	const struct idmap_place place = {.name = "roothash=", .parameter = true};
	const struct idmap_row *row;

	/* Who has mounted the root has verified it. */
	if (!root->verity || root->verity->wrong || root->booted || table->unread)
		return;
	for (row = table->first; row; row = row->next)
		if (row->verity && row->verity->root_hash == root->verity->root_hash &&
		    idmap_row_is_root(row))
			return;
	idmap_table_error(table, &place, 0,
			  "no row for / is of what it verifies; write /dev/root as the SOURCE of"
			  " one, or verity.roothash= in the row that is meant");
}
