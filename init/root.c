// SPDX-License-Identifier: MIT
/*
 * The plan is carried out, row by row, and what was done is told.
 */
#define _GNU_SOURCE
#include <errno.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "device/device.h"
#include "init.h"
#include "mount/sys.h"

#define RUN_TABLE "/run/idmap/table"
#define ROW_TEXT_SIZE (4 * IDMAP_MAP_TEXT_SIZE)
#define TABLE_PIECE 4000 /* written at once, unless a row alone is longer */
#define LOGGED_MOST 239	 /* bytes of a row */
#define MOUNT_S 300	 /* a journal may take its time */

/* IDMAP_BY_LINK: where its target is must be known before rows on it can be skipped, too. */
static int skip(struct boot *boot, struct idmap_row *row)
{
	int result = idmap_stage_skip(&boot->stage, row);

	boot->skips |= !result;
	boot->row_us = idmap_now_us();
	return result;
}

/* The row that was skipped and has this path in it, or NULL. */
static const struct idmap_row *skipped_around(const struct boot *boot, const char *path)
{
	const struct idmap_plan *plan = &boot->plan;
	uint32_t i;

	for (i = 0; boot->skips && path && i < plan->rows; i++)
		if (plan->row[i]->flags & IDMAP_SKIPPED &&
		    idmap_path_inside(path, plan->row[i]->target))
			return plan->row[i];
	return NULL;
}

/* Whether what the row shows is not there; every other failure is one, nofail or not. */
static bool is_absent(int result, const struct idmap_error *error)
{
	return error->class == IDMAP_NO_SOURCE &&
	       (result == -ENOENT || result == -ENODEV || result == -EINVAL); /* of a tag */
}

/* For one answer of what is there; a short wait= is about its coming. */
static uint32_t patience_s(const struct idmap_row *row)
{
	return row->wait_s > IDMAP_WAIT_S ? row->wait_s : IDMAP_WAIT_S;
}

static int wait_for_device(struct boot *boot, struct idmap_row *row, struct idmap_error *ret_error)
{
	int result;

	if (row->flags & IDMAP_OWN_ROOT)
		return 0;
	step_begin(boot, STEP_DEVICE, row, NULL, patience_s(row));
	while ((result = idmap_device_wait(&boot->devices, row, &boot->notes, ret_error)) ==
	       -EAGAIN)
		msg_notes(&boot->notes);
	if (boot->devices.came_us)
		boot->row_us = boot->devices.came_us;
	return result;
}

/* Whether a row before has the device, and as it cannot be written, ro. */
static bool was_turned(const struct boot *boot, const struct idmap_row *row)
{
	const struct idmap_row *other;
	uint32_t i;

	for (i = 0; i < boot->plan.rows && (other = boot->plan.row[i]) != row; i++)
		if (other->flags & IDMAP_TURNED_RO && !strcmp(other->device, row->device))
			return true;
	return false;
}

static int build_tree(struct boot *boot, struct idmap_row *row, struct idmap_error *ret_error)
{
	if (idmap_is_served(row->type))
		step_begin(boot, STEP_SERVER, row, NULL, patience_s(row));
	else
		step_begin(boot, STEP_BUILD, row, NULL,
			   row->wait_s > MOUNT_S ? row->wait_s : MOUNT_S);
	return idmap_stage_add(&boot->stage, row, ret_error);
}

static int build_row(struct boot *boot, struct idmap_row *row, struct idmap_error *ret_error)
{
	const struct idmap_row *skipped = skipped_around(boot, row->inside);
	uint64_t end_us;
	int result;

	if (row->flags & IDMAP_SKIPPED) /* and told, before links were followed */
		return skip(boot, row);
	if (skipped_around(boot, row->target)) {
		result = skip(boot, row);
		if (result)
			return result;
		msg(MSG_WARNING, "%s is skipped, what it stands on is absent", row->target);
		return 0;
	}
	/* What lies below the row that is not there is not what is meant. */
	result = skipped ? idmap_fail(ret_error, row, IDMAP_NO_SOURCE, ENOENT,
				      "the row for %s, which %s lies on, is absent; %s",
				      skipped->target, row->source,
				      row->flags & IDMAP_LAYER ? "take nofail from that row, as a"
								 " layer cannot be left out"
							       : "say nofail here, too")
			 : wait_for_device(boot, row, ret_error);
	if (!result)
		result = build_tree(boot, row, ret_error);
	/* As the kernel does for a root on a disk that cannot be written (init/do_mounts.c). */
	if (ret_error->class == IDMAP_NO_MOUNT && !(row->attr & IDMAP_RDONLY) &&
	    !(row->flags & (IDMAP_UPPER | IDMAP_OVERLAY)) &&
	    (result == -EACCES || result == -EROFS ||
	     (result == -EBUSY && was_turned(boot, row)))) {
		row->attr |= IDMAP_RDONLY;
		row->flags |= IDMAP_TURNED_RO;
		result = build_tree(boot, row, ret_error);
	}
	if (!result && row->flags & IDMAP_TURNED_RO)
		msg(MSG_WARNING, "%s is read-only, so it is ro on %s, and not rw", row->source,
		    row->target);
	if (result && row->flags & IDMAP_NOFAIL && is_absent(result, ret_error)) {
		result = skip(boot, row);
		if (result)
			return result;
		msg(MSG_WARNING, "%s", ret_error->text);
		msg(MSG_WARNING, "%s is skipped, its row says nofail", row->target);
		return 0;
	}
	end_us = idmap_now_us();
	row->took_us = (uint32_t)(end_us - boot->row_us);
	boot->row_us = end_us;
	return result;
}

void tell_left(const struct boot *boot)
{
	const struct idmap_carried *carried;

	for (carried = boot->stage.carry; carried; carried = carried->next)
		if (carried->left)
			msg(MSG_WARNING, "the new root has no folder %s, going on without it",
			    carried->path);
}

/* Adds rows, up to the root alone or all of them. *ret_row: the one that failed. */
static int add_rows(struct boot *boot, bool root_only, const struct idmap_row **ret_row,
		    struct idmap_error *ret_error)
{
	const struct idmap_plan *plan = &boot->plan;
	struct idmap_stage *stage = &boot->stage;
	int result = idmap_stage_open(stage, plan, boot->carry, &boot->notes, ret_error);
	uint32_t i;

	stage->modules_cause = boot->devices.modules_cause;
	for (i = 0; !result && i < plan->rows && !(root_only && stage->seen_fd >= 0); i++) {
		*ret_row = plan->row[i];
		result = build_row(boot, plan->row[i], ret_error);
		msg_notes(&boot->notes);
	}
	return result;
}

/* Makes the plan anew, by the paths that links of the root lead to. */
static int follow_links(struct boot *boot, struct idmap_error *ret_error)
{
	const struct idmap_row *unused;
	int result = add_rows(boot, true, &unused, ret_error);

	if (!result)
		result = idmap_stage_resolve(&boot->stage, boot->arena, ret_error);
	idmap_stage_drop(&boot->stage);
	return result ? result : plan_make(boot, ret_error);
}

int build_root(struct boot *boot, struct idmap_error *ret_error)
{
	const struct idmap_row *row = NULL;
	int result = add_rows(boot, false, &row, ret_error);

	if (result == IDMAP_BY_LINK) {
		idmap_stage_drop(&boot->stage);
		result = follow_links(boot, ret_error);
		if (result)
			return result;
		result = add_rows(boot, false, &row, ret_error);
	}
	if (result == IDMAP_BY_LINK)
		result = idmap_stage_link_failed(&boot->stage, row, ret_error);
	if (result)
		idmap_stage_drop(&boot->stage);
	else
		idmap_stage_done(&boot->stage);
	return result;
}

/* Writes what there is of it, unless that went wrong before. */
static void write_table(int fd, struct idmap_text *text, long *result)
{
	if (*result >= 0)
		*result = write(fd, text->start, (size_t)(text->at - text->start)) < 0 ? -errno : 0;
	text->at = text->start;
}

/*
 * /run as the real init will see it: by now a row may have put anything there, so no link is
 * followed and nothing is waited for.
 */
static int open_table(const struct boot *boot)
{
	const struct idmap_plan *plan = &boot->plan;
	idmap_closed int old_fd = idmap_open("/", O_PATH | O_DIRECTORY), run_fd = -1;
	const struct idmap_carried *run = boot->carry;
	bool in_seen = !plan->new_root;
	const char *path = "/run";
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
	run_fd = idmap_open_inside(in_seen ? boot->stage.seen_fd : old_fd, path,
				   O_PATH | O_DIRECTORY, RESOLVE_NO_SYMLINKS);
	if (run_fd < 0)
		return run_fd;
	mkdirat(run_fd, "idmap", 0755);
	return idmap_open_inside(run_fd, "/idmap/table", O_WRONLY | O_CREAT | O_TRUNC,
				 RESOLVE_NO_SYMLINKS);
}

/*
 * What was done, a line a row: in the log, where a long one is cut, and whole as a table that reads
 * back as one.
 */
void tell_rows(const struct boot *boot)
{
	const struct idmap_plan *plan = &boot->plan;
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
	lines_begin(&lines, MSG_INFO, plan->rows);
	for (i = 0; i < plan->rows; i++) {
		const struct idmap_row *row = plan->row[i];
		const char *line;
		long length;

		if (row->flags & IDMAP_SKIPPED)
			continue;
		idmap_text_add(&text, "# %u us\n", row->took_us);
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
	write_table(fd, &text, &result);
	if (result < 0)
		msg(MSG_WARNING, "%s cannot be written (%s), going on without", RUN_TABLE,
		    idmap_errno_text((int)-result));
}
