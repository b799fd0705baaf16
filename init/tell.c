// SPDX-License-Identifier: MIT
/*
 * What was done is told.
 */
#define _GNU_SOURCE
#include <errno.h>
#include <limits.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "device/device.h"
#include "init.h"
#include "mount/sys.h"
#include "version.h"

#define RUN_TABLE "/run/idmap/table"
#define INIT_LINE "# init=" /* the last of it */
#define ROW_TEXT_SIZE (4 * IDMAP_MAP_TEXT_SIZE)
#define TABLE_PIECE 4000 /* written at once, unless a row alone is longer */
#define LOGGED_MOST 239	 /* bytes of a row */

void tell_notes(struct idmap_build *build)
{
	msg_notes(build->notes);
}

void tell_left(const struct boot *boot)
{
	const struct idmap_carried *carried;

	for (carried = boot->build.stage.carry; carried; carried = carried->next) {
		if (carried->left)
			msg(MSG_WARNING, "the new root has no folder %s, going on without it",
			    carried->path);
		/* Where the root stays, all of them stay. */
		else if (carried->stacked && boot->build.plan.new_root)
			msg(MSG_ERROR,
			    "of the mounts on %s only the uppermost has come along; mount one of"
			    " them elsewhere, or later",
			    carried->path);
	}
}

/*
 * Writes what there is of it, unless that went wrong before. What a full /run or a limit of files'
 * sizes cuts is a short write first, and an error when it is gone on with.
 */
static void write_table(int fd, struct idmap_text *text, long *result)
{
	const char *from = text->start;

	while (*result >= 0 && from < text->at) {
		*result = write(fd, from, (size_t)(text->at - from));
		*result = *result < 0 ? -errno : *result;
		from += *result > 0 ? *result : 0;
	}
	text->at = text->start;
}

/*
 * /run as the real init will see it: by now a row may have put anything there, so no link is
 * followed and nothing is waited for.
 */
static int open_run(const struct boot *boot)
{
	const struct idmap_plan *plan = &boot->build.plan;
	idmap_closed int old_fd = idmap_open("/", O_PATH | O_DIRECTORY);
	const struct idmap_carried *run = boot->build.carry;
	bool in_seen = !plan->new_root;
	const char *path = boot->run;
	uint32_t i;

	while (run && strcmp(run->path, path))
		run = run->next;
	/* In a new root our own /run comes along, unless a row stands there or in it. */
	for (i = 0; run && i < plan->rows && !in_seen; i++) {
		const struct idmap_row *row = plan->row[i];

		in_seen = row->flags & IDMAP_PLACED && !(row->flags & IDMAP_LAYER) &&
			  idmap_path_inside(row->target, run->real);
		path = in_seen ? run->real : path;
	}
	return idmap_open_inside(in_seen ? boot->build.stage.seen_fd : old_fd, path,
				 O_PATH | O_DIRECTORY, RESOLVE_NO_SYMLINKS);
}

/* Opens the record to be written. */
static int open_table(const struct boot *boot)
{
	idmap_closed int run_fd = open_run(boot);

	if (run_fd < 0)
		return run_fd;
	mkdirat(run_fd, "idmap", 0755);
	return idmap_open_inside(run_fd, "/idmap/table", O_WRONLY | O_CREAT | O_TRUNC,
				 RESOLVE_NO_SYMLINKS);
}

int tell_open_record(const struct boot *boot)
{
	char table[IDMAP_BEHIND_SIZE + 16];

	return idmap_open(idmap_print(table, sizeof(table), "%s/idmap/table", boot->run),
			  O_RDONLY | O_NOFOLLOW);
}

bool tell_was_started(const struct boot *boot, const char *path)
{
	char end[PATH_MAX + sizeof(INIT_LINE)], line[sizeof(end)];
	const int fd = boot->record_fd;
	const size_t length = strlen(idmap_print(line, sizeof(line), "\n" INIT_LINE "%s\n", path));
	long n =
		fd < 0 || lseek(fd, -(off_t)length, SEEK_END) < 0 ? -1 : read(fd, end, sizeof(end));

	return n == (long)length && !memcmp(line, end, length);
}

/*
 * What was done, a line a row: in the log, where a long one is cut, and whole as a table that reads
 * back as one.
 */
void tell_rows(const struct boot *boot)
{
	const struct idmap_plan *plan = &boot->build.plan;
	struct lines lines;
	idmap_closed int fd = -1;
	struct idmap_error unused;
	struct idmap_text text;
	long result;
	uint32_t i;

	if (idmap_arena_room(boot->arena, TABLE_PIECE + ROW_TEXT_SIZE, &unused)) {
		msg(MSG_WARNING, "there is no memory to tell the rows");
		return;
	}
	fd = open_table(boot);
	result = fd < 0 ? fd : 0;
	idmap_text_init(&text, boot->arena->at, TABLE_PIECE + ROW_TEXT_SIZE);
	lines_begin(&lines, MSG_INFO, plan->rows + 1);
	idmap_text_add(lines_next(&lines), "version " IDMAP_VERSION ", rows: %u", plan->rows);
	for (i = 0; i < plan->rows; i++) {
		const struct idmap_row *row = plan->row[i];
		const char *line;
		long length;

		if (row->flags & IDMAP_SKIPPED)
			continue;
		/* What is merged has no mount of its own, and 0 for it. */
		idmap_text_add(&text, IDMAP_MOUNT_LINE "%lu %lu, %u us\n",
			       (unsigned long)row->mount, (unsigned long)row->mount_unique,
			       row->took_us);
		if (row->found_attr)
			idmap_text_add(&text, IDMAP_FOUND_LINE "%u\n", row->found_attr);
		line = text.at;
		idmap_row_text(row, &text);
		length = text.at - line;
		idmap_text_add(lines_next(&lines), "%.*s%s in %u us",
			       (int)(length < LOGGED_MOST ? length : LOGGED_MOST), line,
			       length > LOGGED_MOST ? "..." : "", row->took_us);
		idmap_text_add(&text, "\n");
		if (text.at - text.start > TABLE_PIECE)
			write_table(fd, &text, &result);
	}
	lines_end(&lines);
	idmap_text_add(&text, INIT_LINE "%s\n", boot->init);
	write_table(fd, &text, &result);
	if (result < 0) {
		ftruncate(fd, 0);
		msg(MSG_WARNING, "%s cannot be written (%s), going on without", RUN_TABLE,
		    idmap_errno_text((int)-result));
	}
}
