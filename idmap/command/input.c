// SPDX-License-Identifier: MIT
/*
 * A table as a boot would read it: the kernel command line's, else that of a file.
 */
#define _GNU_SOURCE
#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>
#include <sys/mman.h>
#include <sys/stat.h>

#include "command.h"

#define NOTES_MOST 1000
#define LINE_MOST 2047	/* COMMAND_LINE_SIZE of asm/setup.h less its NUL, but on riscv */
#define FOLDER_MOST 240 /* bytes: it becomes the name of a file */
#define ROOM (4 << 20)	/* for a row by hand, and what devices are found at */

const char *one_line(const char *string)
{
	const size_t size = 4 * strlen(string) + 1;
	char *buffer = malloc(size);
	struct idmap_text text;

	if (!buffer)
		return "?";
	idmap_text_init(&text, buffer, size);
	text.most = size; /* a message, all of it */
	idmap_text_add(&text, "%s", string);
	return buffer;
}

int bad_use(const struct command *command, const char *what, const char *words)
{
	fprintf(stderr, "idmap %s: %s: %s; see idmap %s --help\n", command->name, one_line(what),
		words, command->name);
	return EXIT_BAD_USE;
}

int tell_failed(const struct command *command, const struct idmap_error *error)
{
	fprintf(stderr, "idmap %s: %s\n", command->name, error->text);
	return (int)error->class;
}

char *real_path(const char *path, char real[PATH_MAX])
{
	size_t slashes;

	if (!realpath(path, real))
		return NULL;
	slashes = strspn(real, "/");
	if (slashes > 1)
		memmove(real, real + slashes - 1, strlen(real + slashes - 1) + 1);
	return real;
}

const char *real_folder(const struct command *command, const char *folder, int *ret_code)
{
	static char real[PATH_MAX];
	const char *cause;
	struct stat st;

	if (!real_path(folder, real) || stat(real, &st))
		cause = idmap_errno_text(errno);
	else if (!S_ISDIR(st.st_mode))
		cause = idmap_errno_text(ENOTDIR);
	else if (strlen(real) > FOLDER_MOST)
		cause = idmap_errno_text(ENAMETOOLONG);
	else if (strchr(real, '\n'))
		cause = "a line of the record ends where its name has a newline";
	else
		return real;
	fprintf(stderr, "idmap %s: %s cannot be used (%s); name a folder\n", command->name,
		one_line(folder), cause);
	*ret_code = IDMAP_NO_TARGET;
	return NULL;
}

/* Of several lines the last is the kernel's, and what a loader cuts. */
static bool add_line(struct input *input, const char *line)
{
	char *both;

	if (input->cmdline) {
		input->parameters.before = strlen(input->cmdline) + 1;
		if (asprintf(&both, "%s %s", input->cmdline, line) < 0)
			return false;
		line = both;
	}
	input->cmdline = line;
	return true;
}

bool take_input(struct input *input, int argc, char **argv, int *at)
{
	const struct {
		const char *name, **value;
	} options[] = {
		{"-c", &input->conf}, {"--sealed", &input->sealed}, {"--root", &input->folder}};
	size_t i;

	if (!strcmp(argv[*at], "--json"))
		return input->json = true;
	if (!strcmp(argv[*at], "-k") && *at + 1 < argc)
		return add_line(input, argv[++*at]);
	for (i = 0; i < COUNT_OF(options); i++)
		if (!strcmp(argv[*at], options[i].name))
			break;
	/* Of two the first would be dropped without a word. */
	if (i == COUNT_OF(options) || *at + 1 == argc || *options[i].value)
		return false;
	*options[i].value = argv[++*at];
	return true;
}

/* What comes through a pipe, as <(…) of a shell does: a copy of it in memory, which has a size. -1:
 * it is none, or that cannot be made. */
static int copy_pipe(const char *path)
{
	idmap_closed int fd = -1;
	struct stat st;
	char buffer[4096];
	ssize_t n;
	int copy_fd;

	if (stat(path, &st) || !S_ISFIFO(st.st_mode))
		return -1;
	fd = open(path, O_RDONLY | O_CLOEXEC);
	copy_fd = memfd_create("table", MFD_CLOEXEC);
	while ((n = read(fd, buffer, sizeof(buffer))) > 0 && write(copy_fd, buffer, (size_t)n) == n)
		;
	if (n)
		idmap_close(&copy_fd);
	return copy_fd;
}

static int read_conf(struct input *input, const char *path, struct idmap_error *ret_error)
{
	idmap_closed int copy_fd = copy_pipe(path);
	/* The line may be this machine's, or another one's. */
	const char *remedy = path == input->parameters.conf
				     ? "correct idmap.conf=, or name the table with -c"
				     : "name the table with -c, or rows with -k";
	char copy[32];
	size_t size;
	char *text;
	int result;

	idmap_print(copy, sizeof(copy), "/proc/self/fd/%u", copy_fd);
	result = idmap_table_text(copy_fd < 0 ? path : copy, remedy, &input->arena[1], &text, &size,
				  ret_error);
	if (result)
		return result;
	input->table.arena = &input->arena[1];
	idmap_table_file(&input->table, one_line(path), text, size);
	return 0;
}

int read_map(struct option_map *map, const char *text, struct idmap_error *ret_error)
{
	const struct idmap_piece piece = {.at = text, .length = strlen(text), .column = 1};
	int result =
		idmap_arena_map(&map->arena, idmap_arena_size(piece.length) + 65536, ret_error);

	if (result)
		return result;
	idmap_table_init(&map->table, &map->arena);
	idmap_read_options(&map->table, &map->row, &piece, false);
	return 0;
}

int read_nothing(struct input *input, struct idmap_error *ret_error)
{
	const size_t size = input->cmdline ? strlen(input->cmdline) : 0;
	int result = idmap_arena_map(&input->arena[0], idmap_arena_size(size) + ROOM, ret_error);

	if (!result)
		result = idmap_arena_map(&input->notes_arena,
					 NOTES_MOST * sizeof(struct idmap_note), ret_error);
	if (result)
		return result;
	idmap_notes_init(&input->notes, &input->notes_arena);
	idmap_table_init(&input->table, &input->arena[0]);
	return 0;
}

/*
 * What is longer than a boot loader can say reaches no kernel whole. Not so where a system runs
 * whose line this is: bootconfig adds to that one.
 */
static void check_line(struct input *input)
{
	const struct idmap_place place = {.name = "the line", .parameter = true};
	const char *text = input->parameters.text + input->parameters.before;
	size_t length = strlen(text);

	length -= length && text[length - 1] == '\n';
	if (!input->folder && length > LINE_MOST)
		idmap_table_error(
			&input->table, &place, 0,
			"it has %lu bytes, and is cut to %u without a word; write rows and maps"
			" into /etc/idmap.conf (mkinitramfs -c)",
			(unsigned long)length, LINE_MOST);
}

void set_root(struct input *input, const char *folder)
{
	struct idmap_root *root = &input->parameters.root;

	input->folder = root->folder = folder;
	root->booted = true;
	/* As a path below the folder, if that is one. */
	if (!strcmp(folder, "/"))
		root->keeps = root->entered ? NULL : RECORDS;
	else if (idmap_path_inside(RECORDS, folder) && strcmp(RECORDS, folder))
		root->keeps = &RECORDS[strlen(folder)];
}

int read_input(struct input *input, struct idmap_error *ret_error)
{
	static char real[PATH_MAX];
	const char *conf;
	int result = read_nothing(input, ret_error);

	if (result)
		return result;
	/* What is only checked may be for a folder that is not here. */
	if (input->folder && !input->parameters.root.folder)
		set_root(input, real_path(input->folder, real) ? real : input->folder);
	input->parameters.text = input->cmdline ? input->cmdline : "";
	input->parameters.cut = LINE_MOST;
	input->parameters.sealed = input->sealed;
	input->parameters.notes = &input->notes;
	check_line(input);
	idmap_cmdline_read(&input->parameters, &input->table);
	/* -c is the file wherever it will lie; a file is not asked for where the line has a table.
	 */
	conf = input->conf ? input->conf : input->parameters.conf;
	if (!input->parameters.words)
		result = read_conf(input, conf ? conf : IDMAP_CONF, ret_error);
	/* As in a boot, one that nobody has named may be missing where there is a line. */
	if (result == -ENOENT && !conf && input->cmdline)
		result = 0;
	if (!result)
		idmap_plan_make(&input->table, &input->parameters.root, &input->plan);
	if (!result)
		idmap_seal_rows(&input->parameters, &input->table);
	return result;
}

void print_notes(struct idmap_notes *notes)
{
	const struct idmap_note *note;

	for (note = notes->first; note; note = note->next)
		fprintf(stderr, "%s\n", note->text);
	idmap_notes_forget(notes);
}

int tell_input(struct input *input)
{
	const struct idmap_error *error;

	print_notes(&input->notes);
	for (error = input->table.errors; error; error = error->next)
		fprintf(stderr, "%s\n", error->text);
	if (input->table.error_count > IDMAP_ERRORS_MAX)
		fprintf(stderr, "%u more errors are not shown\n",
			input->table.error_count - IDMAP_ERRORS_MAX);
	return input->table.error_count ? EXIT_BAD_USE : EXIT_DONE;
}
