// SPDX-License-Identifier: MIT
/*
 * idmap plan: what a boot would do, in its order, with the defaults spelled out.
 */
#include <stdlib.h>
#include <string.h>

#include "command.h"

static void print_row(const struct idmap_row *row, char *buffer)
{
	struct idmap_text text;

	idmap_text_init(&text, buffer, ROW_SIZE);
	idmap_row_text(row, &text);
	puts(buffer);
}

/*
 * The options but for the map, one string each. They are cut where the table's text has commas and
 * then decoded, since a comma of an option's own is an escape there.
 */
static void json_options(struct idmap_table *table, const struct idmap_row *row, char *buffer)
{
	struct idmap_row plain = *row;
	struct idmap_text text;
	char *option, *rest;
	const char *comma = "";

	plain.map = NULL;
	idmap_text_init(&text, buffer, ROW_SIZE);
	idmap_row_options_text(&plain, &text);
	fputs("[", stdout);
	for (option = strtok_r(buffer, ",", &rest); option; option = strtok_r(NULL, ",", &rest)) {
		const struct idmap_piece piece = {.at = option, .length = strlen(option)};

		/* In place: what is decoded is never longer. */
		idmap_decode(table, &row->place, &piece, option);
		fputs(comma, stdout);
		json_string(stdout, option);
		comma = ", ";
	}
	fputs("]", stdout);
}

static void json_row(struct idmap_table *table, const struct idmap_row *row, char *buffer)
{
	struct idmap_text text;
	char place[512];

	idmap_text_init(&text, place, sizeof(place));
	idmap_place_text(&text, &row->place, 0);
	fputs("  {\"place\": ", stdout);
	json_string(stdout, place);
	fputs(", \"source\": ", stdout);
	json_string(stdout, row->source);
	fputs(", \"target\": ", stdout);
	json_string(stdout, row->target);
	fputs(", \"type\": ", stdout);
	json_string(stdout, row->type);
	fputs(", \"options\": ", stdout);
	json_options(table, row, buffer);
	fputs(", \"map\": ", stdout);
	json_map(stdout, row->map);
	fputs("}", stdout);
}

/* --- modules --------------------------------------------------------------------------------- */

/* The names so far, each with a newline before and behind it. */
struct modules {
	char text[ROW_SIZE];
	struct idmap_text end;
};

static void add_module(struct modules *modules, const char *prefix, const char *name, size_t length)
{
	char line[80];

	idmap_print(line, sizeof(line), "\n%s%.*s\n", prefix, (int)length, name);
	if (length && !strstr(modules->text, line))
		idmap_text_add(&modules->end, "%s", line + 1);
}

/* Tables of characters, which a filesystem asks for by name as it is mounted. */
static void add_charsets(struct modules *modules, const char *items)
{
	static const char *const words[][2] = {
		{"iocharset=", "nls_"}, {"nls=", "nls_"}, {"codepage=", "nls_cp"}};
	size_t i;

	for (; *items; items += strlen(items) + 1)
		for (i = 0; i < COUNT_OF(words); i++) {
			const size_t length = strlen(words[i][0]);

			if (!strncmp(items, words[i][0], length))
				add_module(modules, words[i][1], items + length,
					   strlen(items + length));
		}
}

static void add_type(struct modules *modules, const char *type, size_t length)
{
	/* Asked for by name, too: linux/fs/fat/Kconfig, as upstream and as Debian have it. */
	static const char *const further[][2] = {{"vfat", "nls_cp437"},
						 {"vfat", "nls_iso8859-1"},
						 {"vfat", "nls_ascii"},
						 {"msdos", "nls_cp437"},
						 {"9p", "9pnet_virtio"}};
	char name[64];
	size_t i;

	idmap_print(name, sizeof(name), "%.*s", (int)length, type);
	if (idmap_type_has("auto:bind:rbind:tmpfs", name))
		return;
	add_module(modules, "", type, length);
	for (i = 0; i < COUNT_OF(further); i++)
		if (!strcmp(further[i][0], name))
			add_module(modules, "", further[i][1], strlen(further[i][1]));
}

static void add_modules(struct modules *modules, const struct idmap_row *row)
{
	const char *type = row->type;
	const bool in_file = row->flags & IDMAP_IMAGE ||
			     (*row->source == '/' && strncmp(row->source, "/dev/", 5) &&
			      !(row->flags & IDMAP_CLONE) && !idmap_has_no_device(type));
	size_t length;

	for (; *type; type += length + (type[length] == ':')) {
		length = strcspn(type, ":");
		add_type(modules, type, length);
	}
	add_charsets(modules, row->root_data);
	add_charsets(modules, row->data);
	if (row->verity)
		add_module(modules, "", "dm_verity", 9);
	if (in_file)
		add_module(modules, "", "loop", 4);
}

static void print_modules(const struct idmap_plan *plan)
{
	static struct modules modules;
	uint32_t i;

	idmap_text_init(&modules.end, modules.text, sizeof(modules.text));
	idmap_text_add(&modules.end, "\n");
	for (i = 0; i < plan->rows; i++)
		add_modules(&modules, plan->row[i]);
	fputs(modules.text + 1, stdout);
}

static int run(int argc, char **argv)
{
	struct input input = {0};
	struct idmap_error error;
	char *buffer = malloc(ROW_SIZE);
	bool modules = false;
	int at, code;
	uint32_t i;

	for (at = 1; at < argc; at++)
		if (!strcmp(argv[at], "--modules"))
			modules = true;
		else if (!strcmp(argv[at], "--initramfs"))
			input.parameters.root.entered = true;
		else if (!take_input(&input, argc, argv, &at) || (modules && input.json))
			return bad_use(&command_plan, argv[at], NO_OPTION);
	if (!buffer || read_input(&input, &error)) {
		fprintf(stderr, "idmap plan: %s\n", buffer ? error.text : "no memory");
		return buffer ? (int)error.class : EXIT_FAILED;
	}
	code = tell_input(&input);
	if (modules) {
		free(buffer);
		if (code == EXIT_DONE)
			print_modules(&input.plan);
		return code;
	}
	if (input.json)
		puts("[");
	for (i = 0; code == EXIT_DONE && i < input.plan.rows; i++) {
		if (!input.json) {
			print_row(input.plan.row[i], buffer);
			continue;
		}
		json_row(&input.table, input.plan.row[i], buffer);
		puts(i + 1 < input.plan.rows ? "," : "");
	}
	if (input.json)
		puts("]");
	free(buffer);
	return code;
}

const struct command command_plan = {
	"plan",
	"[-c FILE] [-k CMDLINE]... [--root DIR [--initramfs]] [--sealed WORDS] [--json | --modules]",
	"Prints the rows of a table in the order in which a boot takes them, each with its map and its\n"
	"defaults spelled out: a table that says the same.\n\n"
	"  -c FILE     the table's file; default: /etc/idmap.conf\n"
	"  -k CMDLINE  a kernel command line; rows in it stand in for the file\n"
	"  --root DIR  as idmap apply would take it\n"
	"  --initramfs the root is one that another initramfs has mounted and is to enter\n"
	"  --sealed WORDS  as in an initramfs whose /etc/idmap.sealed has these words\n"
	"  --json      a list of objects: place, source, target, type, options, map\n"
	"  --modules   not the rows, but the kernel modules that they need, a name a line: of filesystems,\n"
	"              dm-verity, image files; for whoever makes an initramfs\n",
	run,
};
