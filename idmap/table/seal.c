// SPDX-License-Identifier: MIT
/*
 * A sealed initramfs: what the kernel command line may say of the root is what /etc/idmap.sealed
 * names, and by itself that is nothing. Whoever boots a guest, and may write its command line, then
 * gets the table that was built in, or no boot. Pure.
 */
#include <string.h>

#include "table/verity.h"

bool idmap_seal_allows(const struct idmap_cmdline *cmdline, const char *name, size_t length)
{
	const char *word = cmdline->sealed;

	if (!word)
		return true;
	while (*word) {
		const size_t word_length = strcspn(word, " \t\r\n,#");

		if (word_length && word_length == length && idmap_same_name(word, name, length))
			return true;
		word += word_length;
		word += *word == '#' ? strcspn(word, "\n") : *word != 0;
	}
	return false;
}

/* Whether it is the word by which that is allowed. */
static bool allows(const struct idmap_cmdline *cmdline, const char *word)
{
	return idmap_seal_allows(cmdline, word, strlen(word));
}

bool idmap_seal_check(const struct idmap_cmdline *cmdline, struct idmap_table *table,
		      const struct idmap_parameter *parameter, bool closed)
{
	const bool shell = idmap_same("idmap.onfail", parameter->name, parameter->name_length) &&
			   parameter->value &&
			   idmap_same("shell", parameter->value, parameter->value_length);
	struct idmap_place place = {.parameter = true};
	const char *word;
	char name[40], equals[48];

	if (!cmdline->sealed || !(shell || closed))
		return true;
	idmap_print(name, sizeof(name), "%.*s", (int)parameter->name_length, parameter->name);
	word = shell ? "shell" : name;
	if (allows(cmdline, word))
		return true;
	place.name = idmap_print(equals, sizeof(equals), "%s%s", name, parameter->value ? "=" : "");
	idmap_table_error(table, &place, 0,
			  "the initramfs is sealed, and the command line may not say that; take it"
			  " out, write it into the table there, or the word %s into " IDMAP_SEALED,
			  word);
	table->unread = true; /* what is missing without it has that cause */
	return false;
}

/* An option that leads to a path, or NULL. */
static const char *path_in(const char *item)
{
	for (; *item; item += strlen(item) + 1) {
		const char *value = strchr(item, '=');

		if (value && value[1] == '/')
			return item;
	}
	return NULL;
}

/* What of the row leads to a path, or NULL. */
static const char *path_of(const struct idmap_row *row, const struct idmap_verity *of_root)
{
	const char *path = row->root_data ? path_in(row->root_data) : NULL;
	const char *hash = row->verity ? row->verity->hash_device : NULL;

	if (!path)
		path = path_in(row->data);
	if (!path)
		path = row->subdir;
	/* What systemd's parameters name has words of its own. */
	if (!path && hash && *hash == '/' && !(of_root && of_root->hash_device == hash))
		path = hash;
	return path;
}

void idmap_seal_rows(const struct idmap_cmdline *cmdline, struct idmap_table *table)
{
	const struct idmap_place place = {.name = "idmap=", .parameter = true};
	const struct idmap_row *row;
	bool root = false;

	for (row = table->first; row && cmdline->sealed; row = row->next) {
		const char *path;

		root |= idmap_row_counts(row) && idmap_row_is_root(row);

		if (!row->place.parameter || !idmap_row_counts(row))
			continue;
		if (!strcmp(row->type, "auto") && !allows(cmdline, "auto"))
			idmap_table_error(table, &row->place, row->type_column,
					  "the initramfs is sealed, and the command line may not"
					  " leave the type to whatever is there; name it, or write"
					  " the word auto into " IDMAP_SEALED);
		path = path_of(row, cmdline->root.verity);
		if (path && !allows(cmdline, "paths"))
			idmap_table_error(
				table, &row->place, row->type_column,
				"the initramfs is sealed, and the command line may not"
				" name a path in an option (%s); take it out, or write the"
				" word paths into " IDMAP_SEALED,
				path);
	}
	/* Else what runs would be the initramfs' own shell. */
	if (cmdline->sealed && cmdline->words && !root && !cmdline->root.booted)
		idmap_table_error(table, &place, 0,
				  "the initramfs is sealed, and the command line leaves it no row"
				  " for /; write one, or take idmap= out");
}
