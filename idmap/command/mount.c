// SPDX-License-Identifier: MIT
/*
 * idmap mount: one row by hand, in the root that we are in. umount(8) takes it back.
 */
#define _GNU_SOURCE
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "command.h"

#define TEXT_SIZE (64 << 10)

/* What was given: SOURCE, TARGET, TYPE, OPTIONS. */
static const char *given[4];

/* A path from where we are to one from /; what is no folder or file here stays as it is. */
static const char *absolute(const char *path)
{
	char *real = realpath(path, NULL), *here = NULL, *full = NULL;

	if (real || *path == '/')
		return real ? real : path;
	/* A folder that X-mount.mkdir is to make. */
	here = getcwd(NULL, 0);
	return here && asprintf(&full, "%s/%s", here, path) > 0 ? full : path;
}

/* A row from the fields that were given, as if it were read from a table. */
static int read_given(struct input *input, struct idmap_error *ret_error)
{
	static char buffer[TEXT_SIZE];
	struct idmap_text text;
	const char *c;
	int result = read_nothing(input, ret_error);
	size_t i;

	if (result)
		return result;
	idmap_text_init(&text, buffer, sizeof(buffer));
	for (i = 0; i < COUNT_OF(given); i++) {
		if (*given[i] == '#' && !i) {
			idmap_text_add(&text, "\\043");
			given[i]++;
		}
		/* Octal escapes of OPTIONS are the writer's own; a blank is one of theirs. */
		for (c = given[i]; i >= 2 && *c; c++)
			if (*c == ' ' || *c == '\n')
				idmap_text_add(&text, *c == ' ' ? "\\040" : "\\012");
			else
				idmap_text_add(&text, "%.*s", 1, c);
		if (i < 2)
			idmap_text_field(&text, given[i], 0);
		idmap_text_add(&text, " ");
	}
	if (text.cut)
		return idmap_fail(ret_error, NULL, IDMAP_BAD_TABLE, E2BIG,
				  "the options are longer than %u bytes; write a table, and say"
				  " idmap apply",
				  TEXT_SIZE);
	idmap_table_file(&input->table, "mount", buffer, strlen(buffer));
	return idmap_plan_make(&input->table, &input->parameters.root, &input->plan), 0;
}

static int run(int argc, char **argv)
{
	struct input input = {0};
	struct stat st;
	int at, count = 0;

	given[2] = NULL;
	given[3] = "defaults";
	for (at = 1; at < argc; at++) {
		if (!strcmp(argv[at], "-t") && at + 1 < argc)
			given[2] = argv[++at];
		else if (!strcmp(argv[at], "-o") && at + 1 < argc)
			given[3] = argv[++at];
		else if ((*argv[at] == '-' && argv[at][1]) || count == 2)
			return bad_use(
				&command_mount, argv[at],
				"no option, one without its value, or one argument too many");
		else
			given[count++] = argv[at];
	}
	if (count < 2)
		return bad_use(&command_mount, count ? given[0] : "nothing",
			       "SOURCE and TARGET are needed");
	given[0] = stat(given[0], &st) ? given[0] : absolute(given[0]);
	given[1] = absolute(given[1]);
	if (!given[2])
		given[2] = !stat(given[0], &st) && S_ISDIR(st.st_mode) ? "bind" : "auto";
	return apply_input(&command_mount, &input, "/", false, read_given);
}

const struct command command_mount = {
	"mount",
	"SOURCE TARGET [-t TYPE] [-o OPTIONS]",
	"Mounts one row of a table, as mount(8) has it: idmap mount /srv/data /mnt -o rw,idmap=1000:0:1\n"
	"TYPE is bind where SOURCE is a folder, else what is on the device. umount(8) takes it back.\n\n"
	"  -t TYPE     a filesystem, bind, rbind, tmpfs\n"
	"  -o OPTIONS  those of a table: idmap=DISK:SEEN:COUNT, uidmap=, gidmap=, ro, rw, ...\n",
	run,
};
