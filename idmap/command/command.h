/* SPDX-License-Identifier: MIT */
/*
 * command.h - idmap(8): the table for people, on the machine where an image is built and on one
 * that runs. Each command is a file; all of them read a table in the same way, with the words of a
 * boot.
 */
#ifndef COMMAND_H
#define COMMAND_H

#include <stdio.h>

#include "device/device.h"
#include "mount/mount.h"

/* Exit codes are PID 1's classes; wrong use is that of a wrong table. */
enum { EXIT_DONE = 0, EXIT_FAILED = IDMAP_BAD_SYSTEM, EXIT_BAD_USE = IDMAP_BAD_TABLE };

/* What a table says, and where it says it. */
struct input {
	const char *conf, *cmdline; /* -c and -k; NULL: not given */
	bool json;
	struct idmap_arena arena[2], notes_arena;
	struct idmap_notes notes;
	struct idmap_cmdline parameters;
	struct idmap_table table;
	struct idmap_plan plan;
};

struct command {
	const char *name, *usage, *help;
	int (*run)(int argc, char **argv); /* argv[0] is the command's name; gives the exit code */
};

extern const struct command command_check, command_plan, command_id, command_show, command_suggest;

/* --- input.c --------------------------------------------------------------------------------- */

/* Wrong use: says `words` about `what`, and how to see what is right. */
int bad_use(const struct command *command, const char *what, const char *words);
/*
 * Takes an option that all tables are named with: -c FILE, -k CMDLINE, --json; true: it was one.
 * `at` is the index of the option, and becomes that of its value.
 */
bool take_input(struct input *input, int argc, char **argv, int *at);
/*
 * Reads the table and makes the plan. -errno: it cannot be read, *ret_error says why. What is wrong
 * with it stands in input->table, what is odd in input->notes.
 */
int read_input(struct input *input, struct idmap_error *ret_error);
/* Tells what read_input() has found, on stderr; gives the exit code so far. */
int tell_input(const struct input *input);

/* --- json.c ---------------------------------------------------------------------------------- */

/* A string with its quotes. Bytes that are no UTF-8 become \udcXX, as Python's surrogateescape. */
void json_string(FILE *out, const char *string);
/* `[[disk, seen, count], …]` */
void json_extents(FILE *out, const struct idmap_map *map, enum idmap_kind kind);
/* `{"uids": …, "gids": …}` or null. */
void json_map(FILE *out, const struct idmap_map *map);

#endif
