/* SPDX-License-Identifier: MIT */
/*
 * How a row, or the root, is asked to be verified by dm-verity: words of mount(8) and of systemd
 * (verity.c). Without it in Kconfig to ask for it is an error.
 */
#ifndef VERITY_H
#define VERITY_H

#include "table/table.h"

#define IDMAP_VERITY "verity."

/* What a row is verified by, as it was asked for. */
struct idmap_verity {
	const char *root_hash;	 /* hex digits in lower case */
	const char *data_device; /* systemd.verity_root_data=, or NULL */
	const char *hash_device; /* where the hash tree is; NULL: on the same device or file */
	uint64_t hash_offset;	 /* so many bytes before it */
	bool has_offset, wrong;	 /* the latter: some of it was, and was told */
	const char *corruption;	 /* what follows a wrong block, in dm-verity's word; NULL: EIO */
	/* the mapper's own */
	char name[76]; /* below /dev/mapper; "": there is none yet */
	uint32_t minor;
};

/* What a parameter of systemd's tells. */
enum idmap_verity_word { VERITY_ROOT_HASH, VERITY_DATA_DEVICE, VERITY_HASH_DEVICE, VERITY_TAB };

#ifdef CONFIG_VERITY
/* Reads an option of a row that begins with IDMAP_VERITY; false: it is another one. */
bool idmap_verity_option(const struct idmap_item *item, struct idmap_row *row);
/* Errors of what a row says of it as a whole. */
void idmap_verity_check(struct idmap_table *table, const struct idmap_row *row);
/* As options of a table, each with a comma in front. */
void idmap_verity_text(const struct idmap_verity *verity, struct idmap_text *text);
/* Reads the parameter of systemd's by that name; `value` is cut into pieces. */
void idmap_verity_parameter(struct idmap_table *table, struct idmap_root *root, const char *name,
			    enum idmap_verity_word word, char *value);
/* All of them are read: names the root's devices. */
void idmap_verity_root(struct idmap_table *table, struct idmap_root *root);
/* An error where no row is verified by them. */
void idmap_verity_unused(struct idmap_table *table, const struct idmap_root *root);
#else
#define IDMAP_NO_VERITY "dm-verity, which would verify it, is not built in; take it out"
static inline bool idmap_verity_option(const struct idmap_item *item, struct idmap_row *row)
{
	(void)row;
	if (strncmp(item->text, IDMAP_VERITY, sizeof(IDMAP_VERITY) - 1))
		return false;
	idmap_item_error(item, item->text, IDMAP_NO_VERITY);
	return true;
}

static inline void idmap_verity_check(struct idmap_table *table, const struct idmap_row *row)
{
	(void)table, (void)row;
}

static inline void idmap_verity_text(const struct idmap_verity *verity, struct idmap_text *text)
{
	(void)verity, (void)text;
}

static inline void idmap_verity_parameter(struct idmap_table *table, struct idmap_root *root,
					  const char *name, enum idmap_verity_word word,
					  char *value)
{
	const struct idmap_place place = {.name = name, .parameter = true};

	(void)root, (void)word, (void)value;
	idmap_table_error(table, &place, 0, IDMAP_NO_VERITY);
}

static inline void idmap_verity_root(struct idmap_table *table, struct idmap_root *root)
{
	(void)table, (void)root;
}

static inline void idmap_verity_unused(struct idmap_table *table, const struct idmap_root *root)
{
	(void)table, (void)root;
}
#endif

#endif
