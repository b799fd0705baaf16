// SPDX-License-Identifier: MIT
/*
 * idmap(8): the same table and the same words as a boot's, for people and for other programs.
 */
#define _GNU_SOURCE
#include <fcntl.h>
#include <string.h>
#include <unistd.h>

#include "command.h"
#include "version.h"

static const struct command *const commands[] = {
	&command_check, &command_plan, &command_apply, &command_undo,
	&command_mount, &command_show, &command_id,    &command_suggest,
};

static void usage(FILE *out)
{
	size_t i;

	fputs("usage: idmap COMMAND [ARGUMENT...]\n\n", out);
	for (i = 0; i < COUNT_OF(commands); i++)
		fprintf(out, "  idmap %s %s\n", commands[i]->name, commands[i]->usage);
	fputs("\nidmap COMMAND --help tells more. Exit codes: 0 done, 1 the system, 2 the table or wrong"
	      " use, 3 a source\nis not there, 4 a filesystem does not mount, 5 no map, 6 a target cannot be used.\n",
	      out);
}

/* What is told goes into no file that is opened here, where the caller has closed 0, 1 or 2. */
static void keep_standard_files(void)
{
	int fd;

	do
		fd = open("/dev/null", O_RDONLY); /* to write there stays an error */
	while (fd >= 0 && fd <= STDERR_FILENO);
	if (fd >= 0)
		close(fd);
}

int main(int argc, char **argv)
{
	const struct command *command = NULL;
	size_t i;
	int code;

	keep_standard_files();
	if (argc > 1 && (!strcmp(argv[1], "--help") || !strcmp(argv[1], "-h"))) {
		usage(stdout);
		return EXIT_DONE;
	}
	if (argc > 1 && !strcmp(argv[1], "--version")) {
		puts("idmap " IDMAP_VERSION);
		return EXIT_DONE;
	}
	for (i = 0; argc > 1 && i < COUNT_OF(commands); i++)
		if (!strcmp(argv[1], commands[i]->name))
			command = commands[i];
	if (!command) {
		if (argc > 1)
			fprintf(stderr, "idmap: %s: no such command\n\n", one_line(argv[1]));
		usage(stderr);
		return EXIT_BAD_USE;
	}
	for (i = 2; i < (size_t)argc; i++) {
		if (strcmp(argv[i], "--help") && strcmp(argv[i], "-h"))
			continue;
		printf("usage: idmap %s %s\n\n%s", command->name, command->usage, command->help);
		return EXIT_DONE;
	}
	code = command->run(argc - 1, argv + 1);
	if (fflush(stdout) || ferror(stdout)) {
		fputs("idmap: the output cannot be written\n", stderr);
		return EXIT_FAILED;
	}
	return code;
}
