// SPDX-License-Identifier: MIT
/*
 * The kernel command line, cut exactly as the kernel cuts it (lib/cmdline.c, kernel/params.c), so
 * that idmap= and the kernel's own parameters never mean two things. Pure.
 */
#include <string.h>

#include "table/verity.h"

/* The kernel's isspace(): ASCII's six, and 0xA0 of Latin-1 (lib/ctype.c). */
static bool is_space(char c)
{
	return c == ' ' || (c >= '\t' && c <= '\r') || (unsigned char)c == 0xa0;
}

bool idmap_cmdline_next(const char **text, struct idmap_parameter *ret)
{
	const char *p = *text, *start, *equals = NULL, *end;
	bool quoted, inside;

	while (is_space(*p))
		p++;
	*text = p;
	if (!*p)
		return false;
	quoted = inside = *p == '"';
	start = p += quoted;
	/* The newline that /proc/cmdline adds ends quotes that are left open, too. */
	for (; *p && (inside ? strcmp(p, "\n") : !is_space(*p)); p++) {
		/* A `=` in the first place is a part of the name. */
		if (*p == '=' && !equals && p > start)
			equals = p;
		if (*p == '"')
			inside = !inside;
	}
	*text = p;
	*ret = (struct idmap_parameter){.name = start, .quoted = quoted};
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

/* What is odd and no error. */
static void IDMAP_PRINTF(2, 3) note(const struct idmap_cmdline *cmdline, const char *format, ...)
{
	va_list list;

	va_start(list, format);
	if (cmdline->notes)
		idmap_vnote(cmdline->notes, NULL, format, list);
	va_end(list);
}

/* A number as the kernel writes it: 0x… is hex, 0… is octal. Gives what stands behind it. */
static const char *read_number(const char *text, uint64_t *ret)
{
	if (text[0] == '0' && (text[1] | ' ') == 'x' && idmap_hex(text[2]) < 16)
		return idmap_read_digits(text + 2, 16, ret);
	return idmap_read_digits(text, *text == '0' ? 8 : 10, ret);
}

/* rootwait_setup() and rootwait_timeout_setup() of init/do_mounts.c. */
static void read_rootwait(struct idmap_cmdline *cmdline, const char *value)
{
	const char *digits = value && *value == '+' ? value + 1 : value;
	struct idmap_root *root = &cmdline->root;
	uint64_t s = 0;

	root->waits = true;
	root->wait_s = IDMAP_WAIT_FOREVER;
	if (!value)
		return;
	/* Its milliseconds are to fit an int. */
	if (*digits && !*read_number(digits, &s) && s <= INT32_MAX / 1000)
		root->wait_s = (uint32_t)s;
	else
		note(cmdline,
		     "cmdline: rootwait=%s is no number of seconds, so the root is waited for for"
		     " ever; write rootwait, or rootwait=SECONDS",
		     value);
}

static void read_onfail(struct idmap_cmdline *cmdline, struct idmap_table *table, const char *value)
{
	static const char *const policies[] = {
		[IDMAP_ONFAIL_PANIC] = "panic",	      [IDMAP_ONFAIL_REBOOT] = "reboot",
		[IDMAP_ONFAIL_POWEROFF] = "poweroff", [IDMAP_ONFAIL_SHELL] = "shell",
		[IDMAP_ONFAIL_HALT] = "halt",
	};
	const struct idmap_place place = {.name = "idmap.onfail=", .parameter = true};
	uint32_t i;

	for (i = 0; value && i < COUNT_OF(policies); i++) {
		if (!strcmp(value, policies[i])) {
			cmdline->onfail = (enum idmap_onfail)i;
			return;
		}
	}
	idmap_table_error(table, &place, 0,
			  "it is none of panic, reboot, poweroff, shell, halt; write one of"
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

/* The parameters that are read. */
enum name {
	ROOT,
	ROOTFSTYPE,
	ROOTFLAGS,
	ROOTWAIT,
	ROOTDELAY,
	RO,
	RW,
	INIT,
	/* From here on there are only names that nobody else acts on in our place. */
	ROOTHASH,
	VERITY_DATA,
	VERITY_HASH,
	VERITY_OPTIONS,
	OWN,
	OWN_CONF,
	OWN_DEBUG,
	OWN_INIT,
	OWN_ONFAIL,
	NAMES,
};

/*
 * A seal closes what decides on which root is shown, to whom, or what runs in it; idmap.onfail= is
 * a matter of its value.
 */
static const struct {
	const char *text;
	bool closed;
} names[NAMES] = {
	[ROOT] = {"root", true},
	[ROOTFSTYPE] = {"rootfstype", true},
	[ROOTFLAGS] = {"rootflags", true},
	[ROOTWAIT] = {"rootwait", false},
	[ROOTDELAY] = {"rootdelay", false},
	[RO] = {"ro", false},
	[RW] = {"rw", true},
	[INIT] = {"init", true},
	[ROOTHASH] = {"roothash", true},
	[VERITY_DATA] = {"systemd.verity_root_data", true},
	[VERITY_HASH] = {"systemd.verity_root_hash", true},
	[VERITY_OPTIONS] = {"systemd.verity_root_options", true},
	[OWN] = {"idmap", true},
	[OWN_CONF] = {"idmap.conf", true},
	[OWN_DEBUG] = {"idmap.debug", false},
	[OWN_INIT] = {"idmap.init", true},
	[OWN_ONFAIL] = {"idmap.onfail", false},
};

static enum name name_of(const struct idmap_parameter *parameter)
{
	uint32_t i;

	for (i = 0; i < NAMES; i++)
		if (idmap_is_parameter(names[i].text, parameter->name, parameter->name_length))
			break;
	return (enum name)i;
}

/* The kernel's: ro and rw have no value, and all others but rootwait have one. */
static void read_kernels(struct idmap_cmdline *cmdline, enum name name, const char *value)
{
	struct idmap_root *root = &cmdline->root;

	uint64_t s;

	if (name == ROOTWAIT) {
		read_rootwait(cmdline, value);
	} else if (name == RO || name == RW) {
		if (!value)
			root->writable = name == RW;
	} else if (!value) {
		return;
	} else if (name == ROOT) {
		root->source = value;
	} else if (name == ROOTFSTYPE) {
		root->type = value;
	} else if (name == ROOTFLAGS) {
		root->flags = value;
	} else if (name == ROOTDELAY) {
		/* As the kernel's simple_strtoul(): so far as it is one, else 0. */
		read_number(value, &s);
		cmdline->root_delay_s = s > UINT32_MAX ? UINT32_MAX : (uint32_t)s;
	} else {
		cmdline->init = value;
	}
}

/* `idmap` in capitals, or with a colon where the = should be. */
static bool is_idmap_but(const char *name, size_t length)
{
	size_t i;

	for (i = 0; i < 5; i++)
		if (i >= length || (name[i] | ' ') != "idmap"[i])
			return false;
	return length == 5 || name[5] == ':';
}

/* A map that is none, since it stands where nobody looks for one. */
static void note_stray_map(struct idmap_cmdline *cmdline, const struct idmap_parameter *parameter)
{
	const struct idmap_parameter *p = parameter;

	if (idmap_has_extent(p->name, p->name_length) || is_idmap_but(p->name, p->name_length) ||
	    (p->value && idmap_has_extent(p->value, p->value_length)))
		note(cmdline,
		     "cmdline: '%.*s' means nothing here; did you mean idmap=, or a comma in place"
		     " of a blank?",
		     (int)p->name_length, p->name);
}

/* One letter off, and the kernel hands it to the real init without a word. */
static bool note_near_miss(struct idmap_cmdline *cmdline, const struct idmap_parameter *parameter)
{
	bool near = false;
	uint32_t i;

	for (i = ROOTHASH; i < NAMES; i++) {
		if (!idmap_is_near(names[i].text, parameter->name, parameter->name_length))
			continue;
		near = true;
		note(cmdline, "cmdline: '%.*s' means nothing here; did you mean %s?",
		     (int)parameter->name_length, parameter->name, names[i].text);
	}
	return near;
}

/* What stands behind a bare -- is for the real init, and was hardly meant to be. */
static void note_behind_dashes(struct idmap_cmdline *cmdline, const char *text)
{
	struct idmap_parameter parameter;
	enum name name;

	while (*text) {
		/* Another -- is only a word there. */
		if (!idmap_cmdline_next(&text, &parameter))
			continue;
		name = name_of(&parameter);
		if (name == ROOT || (name >= ROOTHASH && name < NAMES))
			note(cmdline,
			     "cmdline: '%.*s' stands behind a bare --, so it is the real init's"
			     " and means nothing here; write it before the --",
			     (int)parameter.name_length, parameter.name);
	}
}

/* As a module's parameter that is one of two: kstrtobool() of lib/kstrtox.c. */
static void read_debug(struct idmap_cmdline *cmdline, struct idmap_table *table, const char *value)
{
	static const char *const words[][4] = {{"0", "n", "N", "off"}, {"1", "y", "Y", "on"}};
	const struct idmap_place place = {.name = "idmap.debug", .parameter = true};
	size_t i;

	if (!value) {
		cmdline->debug = true;
		return;
	}
	for (i = 0; i < 2 * COUNT_OF(words[0]); i++) {
		if (strcmp(value, words[i % 2][i / 2]))
			continue;
		cmdline->debug = i % 2;
		return;
	}
	idmap_table_error(table, &place, 0, "'%s' is neither 0 nor 1; write idmap.debug", value);
}

static void read_parameter(struct idmap_cmdline *cmdline, struct idmap_table *table,
			   const struct idmap_parameter *parameter, char *value)
{
	const struct idmap_place place = {.name = "idmap.", .parameter = true};
	const enum name name = name_of(parameter);

	switch (name) {
	case OWN:
		idmap_table_word(table, value, ++cmdline->words);
		break;
	case OWN_CONF:
		read_path(table, "idmap.conf=", value, &cmdline->conf);
		break;
	case OWN_DEBUG:
		read_debug(cmdline, table, value);
		break;
	case OWN_INIT:
		read_path(table, "idmap.init=", value, &cmdline->own_init);
		break;
	case OWN_ONFAIL:
		read_onfail(cmdline, table, value);
		break;
	case ROOTHASH:
	case VERITY_DATA:
	case VERITY_HASH:
	case VERITY_OPTIONS:
		if (value)
			idmap_verity_parameter(table, &cmdline->root, names[name].text,
					       (enum idmap_verity_word)(name - ROOTHASH), value);
		break;
	case NAMES:
		if (parameter->name_length > 5 && !memcmp(parameter->name, "idmap.", 6))
			idmap_table_error(table, &place, 0,
					  "'%.*s' is no parameter of idmap-init; write idmap=,"
					  " idmap.conf=, idmap.debug, idmap.init= or idmap.onfail=",
					  (int)parameter->name_length, parameter->name);
		else if (!note_near_miss(cmdline, parameter))
			note_stray_map(cmdline, parameter);
		break;
	default:
		read_kernels(cmdline, name, value);
	}
}

/* Whether idmap=off stands anywhere; then no other idmap= is even looked at. */
static bool is_off(const char *text)
{
	struct idmap_parameter parameter;

	while (idmap_cmdline_next(&text, &parameter))
		if (name_of(&parameter) == OWN && parameter.value &&
		    idmap_same("off", parameter.value, parameter.value_length))
			return true;
	return false;
}

/* What the kernel or a loader has cut off may have been the map's last digits, or a row. */
static void check_length(const struct idmap_cmdline *cmdline, struct idmap_table *table)
{
	const struct idmap_place place = {.name = "the line", .parameter = true};
	const char *text = cmdline->text + cmdline->before;
	size_t length = strlen(text);

	length -= length && text[length - 1] == '\n';
	if (cmdline->cut && length == cmdline->cut)
		idmap_table_error(
			table, &place, 0,
			"it has %u bytes, and a longer one is cut to these without a word;"
			" write rows and maps into /etc/idmap.conf (mkinitramfs -c)",
			(uint32_t)length);
	else if (cmdline->cut && length > cmdline->cut)
		note(cmdline,
		     "cmdline: the line has %u bytes, as bootconfig adds to it, and whether the"
		     " loader's own were cut to %u cannot be told; write rows and maps into"
		     " /etc/idmap.conf (mkinitramfs -c)",
		     (uint32_t)length, (uint32_t)cmdline->cut);
}

void idmap_cmdline_read(struct idmap_cmdline *cmdline, struct idmap_table *table)
{
	const char *text = cmdline->text;
	struct idmap_parameter parameter;
	enum name name;

	check_length(cmdline, table);
	table->off = idmap_seal_allows(cmdline, "idmap", 5) && is_off(text);
	while (idmap_cmdline_next(&text, &parameter)) {
		char *value = NULL;

		name = name_of(&parameter);
		if (!idmap_seal_check(cmdline, table, &parameter,
				      name < NAMES && names[name].closed))
			continue;
		if (table->off && name == OWN) {
			cmdline->words++;
			continue;
		}
		if (parameter.value) {
			value = idmap_copy(table->arena, parameter.value, parameter.value_length);
			if (!value) {
				const struct idmap_place place = {.name = "idmap=",
								  .parameter = true};

				idmap_table_full(table, &place, 0);
				return;
			}
		}
		read_parameter(cmdline, table, &parameter, value);
	}
	idmap_verity_root(table, &cmdline->root);
	note_behind_dashes(cmdline, text);
}

void idmap_cmdline_module_options(const char *cmdline, const char *name, size_t name_length,
				  struct idmap_text *ret_options)
{
	struct idmap_parameter parameter;

	while (idmap_cmdline_next(&cmdline, &parameter)) {
		const char *option = parameter.name + name_length + 1;
		size_t length = parameter.name_length - name_length - 1;

		if (parameter.name_length < name_length + 2 || parameter.name[name_length] != '.' ||
		    !idmap_same_name(parameter.name, name, name_length) ||
		    memchr(parameter.name, '"', parameter.name_length) ||
		    (length == 2 && !parameter.value && !memcmp(option, "--", 2)))
			continue;
		/* As it stands there, quotes and all, so that it is cut once more the same way. */
		idmap_text_add(ret_options, "%s%s%.*s",
			       ret_options->at > ret_options->start ? " " : "",
			       parameter.quoted ? "\"" : "", (int)(cmdline - option), option);
	}
}
