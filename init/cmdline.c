// SPDX-License-Identifier: MIT
/*
 * The kernel command line, cut exactly as the kernel cuts it (lib/cmdline.c, kernel/params.c), so
 * that idmap= and the kernel's own parameters never mean two things. Pure.
 */
#include <string.h>

#include "explain.h"
#include "init.h"

/* The kernel's isspace(): ASCII's six, and 0xA0 of Latin-1 (lib/ctype.c). */
static bool is_space(char c)
{
	return c == ' ' || (c >= '\t' && c <= '\r') || (unsigned char)c == 0xa0;
}

bool cmdline_next(const char **text, struct parameter *ret)
{
	const char *p = *text, *start, *equals = NULL, *end;
	bool quoted, inside;

	while (is_space(*p))
		p++;
	if (!*p)
		return false;
	quoted = inside = *p == '"';
	start = p += quoted;
	for (; *p && (inside || !is_space(*p)); p++) {
		/* A `=` in the first place is a part of the name. */
		if (*p == '=' && !equals && p > start)
			equals = p;
		if (*p == '"')
			inside = !inside;
	}
	*text = p;
	*ret = (struct parameter){.name = start, .quoted = quoted};
	/*
	 * Of quotes only one at the start of the word or of the value goes, with one at the very
	 * end; a word that has both loses one at the end still.
	 */
	end = p;
	if (equals) {
		ret->value = equals + 1;
		if (*ret->value == '"') {
			ret->value++;
			quoted = true;
		}
	}
	if (quoted && end > start && end[-1] == '"')
		end--;
	ret->name_length = (size_t)((equals ? equals : end) - start);
	if (equals)
		ret->value_length = end > ret->value ? (size_t)(end - ret->value) : 0;
	return equals || ret->name_length != 2 || memcmp(start, "--", 2);
}

/* `-` and `_` are the same to the kernel. */
static bool same_name(const char *a, const char *b, size_t length)
{
	size_t i;

	for (i = 0; i < length; i++)
		if ((a[i] == '-' ? '_' : a[i]) != (b[i] == '-' ? '_' : b[i]))
			return false;
	return true;
}

/* Digits only; everything else counts as not said, as the kernel takes a bad rootdelay= for 0. */
static uint32_t seconds(const struct parameter *parameter)
{
	uint32_t value = 0;
	size_t i;

	for (i = 0; i < parameter->value_length; i++) {
		char c = parameter->value[i];

		if (c < '0' || c > '9' || value > 86400)
			return 0;
		value = value * 10 + (uint32_t)(c - '0');
	}
	return value;
}

static void read_onfail(struct boot *boot, struct idmap_table *table, const char *value)
{
	const struct idmap_place place = {.name = "idmap.onfail=", .parameter = true};
	uint32_t policy = IDMAP_NO_WORD;

	if (value) /* in the order of enum onfail */
		policy = idmap_word_index("panic\0reboot\0poweroff\0shell\0", value, strlen(value));
	if (policy != IDMAP_NO_WORD) {
		boot->onfail = (enum onfail)policy;
		return;
	}
	idmap_table_error(table, &place, 0,
			  "it is none of panic, reboot, poweroff, shell; write one of"
			  " them");
}

/* A parameter that takes an absolute path. */
static void read_path(struct idmap_table *table, const char *name, const char *value,
		      const char **ret_path)
{
	const struct idmap_place place = {.name = name, .parameter = true};

	if (value && *value == '/')
		*ret_path = value;
	else
		idmap_table_error(table, &place, 0, "it needs an absolute path; write %s/PATH",
				  name);
}

/* The parameters that are read. None has a `-` or `_`, which are the same to the kernel. */
static const char names[] = "root\0rootfstype\0rootflags\0rootwait\0rootdelay\0ro\0rw\0init\0"
			    "idmap\0idmap.conf\0idmap.init\0idmap.onfail\0";

enum name {
	ROOT,
	ROOTFSTYPE,
	ROOTFLAGS,
	ROOTWAIT,
	ROOTDELAY,
	RO,
	RW,
	INIT,
	OWN,
	OWN_CONF,
	OWN_INIT,
	OWN_ONFAIL,
};

static noinline void read_parameter(struct boot *boot, struct idmap_table *table,
				    const struct parameter *parameter, const char *value)
{
	const struct idmap_place place = {.name = "idmap.", .parameter = true};
	const uint32_t name = idmap_word_index(names, parameter->name, parameter->name_length);
	struct idmap_root *root = &boot->root;

	switch (name) {
	case ROOTWAIT:
		root->wait_s = seconds(parameter);
		if (!root->wait_s)
			root->wait_s = IDMAP_WAIT_FOREVER;
		return;
	case OWN:
		idmap_table_word(table, value, ++boot->words);
		return;
	case OWN_CONF:
		read_path(table, "idmap.conf=", value, &boot->conf);
		return;
	case OWN_INIT:
		read_path(table, "idmap.init=", value, &boot->own_init);
		return;
	case OWN_ONFAIL:
		if (IS_ENABLED(CONFIG_ONFAIL_PARAMETER))
			read_onfail(boot, table, value);
		else
			idmap_table_error(table, &place, 0,
					  "idmap.onfail= is not built into this idmap-init; take"
					  " it out");
		return;
	case IDMAP_NO_WORD:
		if (parameter->name_length > 5 && !memcmp(parameter->name, "idmap.", 6))
			idmap_table_error(table, &place, 0,
					  "'%.*s' is no parameter of idmap-init; write idmap=,"
					  " idmap.conf=, idmap.init= or idmap.onfail=",
					  (int)parameter->name_length, parameter->name);
		return;
	}
	/* The kernel's: ro and rw have no value, and all others have one. */
	if (name == RO || name == RW) {
		if (!value)
			root->writable = name == RW;
		return;
	}
	if (!value)
		return;
	if (name == ROOT)
		root->source = value;
	else if (name == ROOTFSTYPE)
		root->type = value;
	else if (name == ROOTFLAGS)
		root->flags = value;
	else if (name == ROOTDELAY)
		boot->root_delay_s = seconds(parameter);
	else
		boot->init = value;
}

void cmdline_read(struct boot *boot, struct idmap_table *table)
{
	const char *text = boot->cmdline;
	struct parameter parameter;

	while (cmdline_next(&text, &parameter)) {
		char *value = NULL;

		if (parameter.value) {
			value = idmap_alloc(table->arena, parameter.value_length + 1);
			if (!value) {
				const struct idmap_place place = {.name = "idmap=",
								  .parameter = true};

				idmap_table_error(table, &place, 0,
						  "no memory; make the table shorter");
				return;
			}
			memcpy(value, parameter.value, parameter.value_length);
		}
		read_parameter(boot, table, &parameter, value);
	}
}

void cmdline_module_options(const char *cmdline, const char *name, size_t name_length,
			    struct idmap_text *ret_options)
{
	struct parameter parameter;

	while (cmdline_next(&cmdline, &parameter)) {
		const char *option = parameter.name + name_length + 1;
		size_t length = parameter.name_length - name_length - 1;

		if (parameter.name_length < name_length + 2 || parameter.name[name_length] != '.' ||
		    !same_name(parameter.name, name, name_length) ||
		    memchr(parameter.name, '"', parameter.name_length) ||
		    (length == 2 && !parameter.value && !memcmp(option, "--", 2)))
			continue;
		/* As it stands there, quotes and all, so that it is cut once more the same way. */
		idmap_text_add(ret_options, "%s%s%.*s",
			       ret_options->at > ret_options->start ? " " : "",
			       parameter.quoted ? "\"" : "", (int)(cmdline - option), option);
	}
}
