// SPDX-License-Identifier: MIT
/*
 * idmap mount: one row by hand, in the root that we are in. umount(8) takes it back.
 */
#define _GNU_SOURCE
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

#include "command.h"

#define TEXT_SIZE (64 << 10)

/* What was given: SOURCE, TARGET, TYPE, OPTIONS. */
static const char *given[4];

/*
 * A path from where we are to one from /. Its end need not be there: X-mount.mkdir may be to make
 * it, and else it is missed where it was meant to be.
 */
static const char *absolute(const char *path)
{
	char *head = strdup(path), *full = NULL, real[PATH_MAX];
	size_t length = strlen(path);

	if (!head)
		return path;
	while (!real_path(length ? head : ".", real)) {
		if (!length) { /* where we are is nowhere */
			free(head);
			return path;
		}
		/* One name less; a / at the front is there in any case. */
		while (length && head[length - 1] == '/')
			head[--length] = 0;
		while (length && head[length - 1] != '/')
			head[--length] = 0;
	}
	free(head);
	return asprintf(&full, "%s%s%s", real, path[length] ? "/" : "", path + length) > 0 ? full
											   : path;
}

/* Whether the kernel mounts one of these types without a device, as far as it has them by now. */
static bool needs_no_device(const char *types)
{
	char line[256], *type;
	FILE *in = fopen("/proc/filesystems", "re");
	bool found = false;

	while (in && !found && fgets(line, sizeof(line), in)) {
		type = strchr(line, '\t');
		if (!type || type == line)
			continue;
		type[strcspn(type, "\n")] = 0;
		found = idmap_type_has(types, type + 1);
	}
	if (in)
		fclose(in);
	return found;
}

/*
 * Whether SOURCE is a path, which counts from where we are. It may be a word that the filesystem
 * takes as it is, though something here has that name; a name that a disk carries; or a path of
 * something else, as in root:/PATH.
 */
static bool is_path(const char *source, const char *type)
{
	struct idmap_source read;
	struct stat st;

	if (type && (!strcmp(type, "bind") || !strcmp(type, "rbind")))
		return true;
	if (type && (idmap_is_served(type) || idmap_type_has(type, "tmpfs") ||
		     idmap_type_has(type, "overlay") || needs_no_device(type)))
		return false;
	if (!stat(source, &st))
		return true;
	return !idmap_source_of(source, &read) && read.kind == IDMAP_SOURCE_OTHER &&
	       !strstr(source, ":/");
}

/* Octal escapes are the writer's own, so it is what ends a field or a line that is escaped. */
static void add_options(struct idmap_text *text, const char *options)
{
	for (; *options; options++)
		idmap_text_add(text,
			       *options == ' '	  ? "\\040"
			       : *options == '\t' ? "\\011"
			       : *options == '\n' ? "\\012"
						  : "%.*s",
			       1, options);
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
		c = given[i];
		/* At the start of a line these would begin a comment, or a byte order mark. */
		if (!i && (*c == '#' || *c == '\xef'))
			idmap_text_add(&text, *c++ == '#' ? "\\043" : "\\357");
		if (i < 3)
			idmap_text_field(&text, c, 0);
		else
			add_options(&text, c);
		idmap_text_add(&text, " ");
	}
	if (text.cut)
		return idmap_fail(ret_error, NULL, IDMAP_BAD_TABLE, E2BIG,
				  "the options are longer than %u bytes; write a table, and say"
				  " idmap apply",
				  TEXT_SIZE);
	idmap_table_file(&input->table, "mount", buffer, strlen(buffer));
	/* Whoever mounts it by hand means it, as with mount(8). */
	if (input->table.first)
		input->table.first->flags &= ~(uint32_t)IDMAP_NOAUTO;
	return idmap_plan_make(&input->table, &input->parameters.root, &input->plan), 0;
}

/* Several -o are one list, as for mount(8). */
static const char *joined(const char *before, const char *options)
{
	char *list = NULL;

	if (!before)
		return options;
	return asprintf(&list, "%s,%s", before, options) > 0 ? list : options;
}

static int run(int argc, char **argv)
{
	static const char *const names[] = {"SOURCE", "TARGET", "TYPE"};
	struct input input = {0};
	struct stat st;
	int at, count = 0;

	given[2] = given[3] = NULL;
	for (at = 1; at < argc; at++) {
		if (!strcmp(argv[at], "-t") && at + 1 < argc && !given[2])
			given[2] = argv[++at];
		else if (!strcmp(argv[at], "-o") && at + 1 < argc)
			given[3] = joined(given[3], argv[++at]);
		else if ((*argv[at] == '-' && argv[at][1]) || count == 2)
			return bad_use(&command_mount, argv[at],
				       NO_OPTION ", or one argument too many");
		else
			given[count++] = argv[at];
	}
	if (count < 2)
		return bad_use(&command_mount, count ? given[0] : "nothing",
			       "SOURCE and TARGET are needed");
	/* The row's text would have one field less, and those behind it would be taken for it. */
	for (at = 0; at < 3; at++)
		if (given[at] && !*given[at])
			return bad_use(&command_mount, names[at], "empty; write it out");
	if (!given[3])
		given[3] = "defaults";
	if (is_path(given[0], given[2]))
		given[0] = absolute(given[0]);
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
