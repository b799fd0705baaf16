// SPDX-License-Identifier: MIT
/*
 * idmap plan: what a boot would do, in its order, with the defaults spelled out.
 */
#include <stdlib.h>
#include <string.h>

#include "command.h"

#define ROW_SIZE (1 << 20)

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

static int run(int argc, char **argv)
{
	struct input input = {0};
	struct idmap_error error;
	char *buffer = malloc(ROW_SIZE);
	int at, code;
	uint32_t i;

	for (at = 1; at < argc; at++)
		if (!take_input(&input, argc, argv, &at))
			return bad_use(&command_plan, argv[at],
				       "no option, or one without its value");
	if (!buffer || read_input(&input, &error)) {
		fprintf(stderr, "idmap plan: %s\n", buffer ? error.text : "no memory");
		return buffer ? (int)error.class : EXIT_FAILED;
	}
	code = tell_input(&input);
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
	"[-c FILE] [-k CMDLINE] [--root DIR] [--sealed WORDS] [--json]",
	"Prints the rows of a table in the order in which a boot takes them, each with its map and its\n"
	"defaults spelled out: a table that says the same.\n\n"
	"  -c FILE     the table's file; default: /etc/idmap.conf\n"
	"  -k CMDLINE  a kernel command line; rows in it stand in for the file\n"
	"  --root DIR  as idmap apply would take it\n"
	"  --sealed WORDS  as in an initramfs whose /etc/idmap.sealed has these words\n"
	"  --json      a list of objects: place, source, target, type, options, map\n",
	run,
};
