// SPDX-License-Identifier: MIT
/*
 * idmap id: what an id is seen as, and back.
 */
#include <string.h>

#include "command.h"

static void print_id(const struct idmap_map *map, enum idmap_kind kind, uint32_t id)
{
	const char *name = kind == IDMAP_UID ? "uid" : "gid";
	uint32_t other;

	if (idmap_map_seen(map, kind, id, &other))
		printf("%s %u on disk is seen as %u\n", name, id, other);
	else
		printf("%s %u on disk is seen as 65534, the map leaves it out\n", name, id);
	if (idmap_map_disk(map, kind, id, &other))
		printf("%s %u seen is %u on disk\n", name, id, other);
	else
		printf("%s %u seen is nothing on disk\n", name, id);
}

static int run(int argc, char **argv)
{
	struct option_map map = {.row.place = {.name = "MAP", .parameter = true}};
	const struct idmap_error *wrong;
	struct idmap_error error;
	uint32_t id, kind;
	int at;

	if (argc < 3)
		return bad_use(&command_id, argc < 2 ? "MAP" : "ID", "missing");
	if (read_map(&map, argv[1], &error))
		return tell_failed(&command_id, &error);
	for (wrong = map.table.errors; wrong; wrong = wrong->next)
		fprintf(stderr, "%s\n", wrong->text);
	if (map.table.error_count)
		return EXIT_BAD_USE;
	if (!map.row.map)
		return bad_use(&command_id, argv[1], "no extent in it; write DISK:SEEN:COUNT");
	for (at = 2; at < argc; at++)
		if (idmap_read_u32(argv[at], strlen(argv[at]), &id) != NUMBER_OK ||
		    id > IDMAP_ID_MAX)
			return bad_use(&command_id, argv[at],
				       "no id; write a number up to 4294967294");
	for (at = 2; at < argc; at++) {
		idmap_read_u32(argv[at], strlen(argv[at]), &id);
		for (kind = 0; kind < IDMAP_KINDS; kind++)
			print_id(map.row.map, (enum idmap_kind)kind, id);
	}
	return EXIT_DONE;
}

const struct command command_id = {
	"id",
	"MAP ID...",
	"Tells what each id on disk is seen as under a map, and which id on disk is seen as it.\n\n"
	"  MAP  as in the options of a row: 100000:0:65536, u:0:1:2, uidmap=0:5:1, identity\n",
	run,
};
