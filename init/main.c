// SPDX-License-Identifier: MIT
/*
 * The story of a boot, a verb a line, and the only place that decides to fail. All that a person
 * wrote is read and checked before anything is mounted; the new root is whole before anything is
 * switched; and what fails is told in one line, the last before the kernel's own.
 */
#define _GNU_SOURCE
#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <string.h>
#include <sys/reboot.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <sys/utsname.h>
#include <unistd.h>

#include "device/device.h"
#include "init.h"

#define RUN_TABLE_DIR "/run/idmap"
#define RUN_TABLE RUN_TABLE_DIR "/table"
#define ROW_TEXT_SIZE (4 * IDMAP_MAP_TEXT_SIZE)
#define TABLE_PIECE 4000 /* written at once, unless a row alone is longer */
#define FEW_MAPS 64	 /* so many fit any limit */
#define LOGGED_MOST 239	 /* bytes of a row */

/* For a usual command line; beside the program's data no page table has to be made for it. */
static char memory[512 * 1024] __attribute__((aligned(sizeof(void *))));
#define NOTES_SIZE (8 * sizeof(struct idmap_note)) /* of it; they are told row by row */

/*
 * Every map that waits is an open file: as many as there may be. The real init gets its limit back.
 * By prlimit(2), since musl's setrlimit() is made for programs of many threads.
 */
static void raise_files(struct boot *boot)
{
	struct rlimit limit;

	if (prlimit(0, RLIMIT_NOFILE, NULL, &boot->files))
		return;
	limit = boot->files;
	limit.rlim_cur = limit.rlim_max;
	boot->files_raised = !prlimit(0, RLIMIT_NOFILE, &limit, NULL);
}

static void restore_files(const struct boot *boot)
{
	if (boot->files_raised)
		prlimit(0, RLIMIT_NOFILE, &boot->files, NULL);
}

static void fail(const struct boot *boot, const struct idmap_error *error)
	__attribute__((noreturn));

static void fail(const struct boot *boot, const struct idmap_error *error)
{
	char shell[] = "/bin/sh", *shell_argv[] = {shell, NULL};

	msg(MSG_ERROR, "%s", error->text);
	switch (boot->cmdline.onfail) {
	case IDMAP_ONFAIL_REBOOT:
		sync();
		reboot(RB_AUTOBOOT);
		break;
	case IDMAP_ONFAIL_POWEROFF:
		sync();
		reboot(RB_POWER_OFF);
		break;
	case IDMAP_ONFAIL_SHELL:
		/* The initramfs' own only: a half-made root is nobody's. */
		restore_files(boot);
		if (!boot->no_way_back && !boot->cmdline.root.booted)
			execve(shell, shell_argv, boot->envp);
		break;
	case IDMAP_ONFAIL_PANIC:
		break;
	}
	/* The exit of PID 1 is the kernel's panic, so that its panic= decides what comes next. */
	_exit((int)error->class);
}

/* Every error of the table but the last, which the caller fails with. */
static int tell_table_errors(const struct idmap_table *table, struct idmap_error *ret_error)
{
	const struct idmap_error *error = table->errors;

	if (!table->error_count)
		return 0;
	for (; error && error->next; error = error->next)
		msg(MSG_ERROR, "%s", error->text);
	if (table->error_count > IDMAP_ERRORS_MAX)
		msg(MSG_ERROR, "%u more errors are not shown",
		    table->error_count - IDMAP_ERRORS_MAX);
	if (!error)
		return idmap_fail(ret_error, NULL, IDMAP_BAD_TABLE, EINVAL,
				  "no memory to read the table; make it shorter");
	*ret_error = *error;
	return -EINVAL;
}

static int make_room(struct idmap_arena *arena, size_t size, struct idmap_error *ret_error)
{
	return size <= (size_t)(arena->end - arena->at) ? 0
							: idmap_arena_map(arena, size, ret_error);
}

/* The kernel's COMMAND_LINE_SIZE (asm/setup.h) on the machines that this is built for. */
static size_t cmdline_size(void)
{
	struct utsname uts;

	return !uname(&uts) && !strncmp(uts.machine, "riscv", 5) ? 1024 : 2048;
}

static int read_cmdline(struct boot *boot, struct idmap_table *table, struct idmap_arena *arena,
			struct idmap_error *ret_error)
{
	char *text;
	size_t size;
	int result = idmap_file_read("/proc/cmdline", arena, &text, &size);

	if (result)
		return idmap_fail(
			ret_error, NULL, IDMAP_BAD_SYSTEM, -result,
			"/proc/cmdline cannot be read (%m); build the kernel with CONFIG_PROC_FS");
	result = make_room(arena, idmap_arena_size(size), ret_error);
	if (result)
		return result;
	boot->cmdline.text = text;
	boot->cmdline.cut = cmdline_size() - 1;
	idmap_table_init(table, arena);
	idmap_cmdline_read(&boot->cmdline, table);
	return 0;
}

static int make_plan(struct boot *boot, struct idmap_plan *plan, struct idmap_error *ret_error)
{
	idmap_plan_make(&boot->table, &boot->cmdline.root, plan);
	return tell_table_errors(&boot->table, ret_error);
}

static int read_table(struct boot *boot, struct idmap_arena arena[2], struct idmap_plan *plan,
		      struct idmap_error *ret_error)
{
	int result = read_cmdline(boot, &boot->table, &arena[0], ret_error);

	if (!result && !boot->table.off)
		result = conf_read(&boot->cmdline, &boot->table, &arena[1], ret_error);
	return result ? result : make_plan(boot, plan, ret_error);
}

/* For what rows' names lead to, the disks' names while they are looked at, and tell_rows(). */
static int make_room_for_devices(const struct boot *boot, const struct idmap_plan *plan,
				 struct idmap_error *ret_error)
{
	return make_room(boot->arena, plan->rows * IDMAP_DEVICE_SIZE + 256 * 1024, ret_error);
}

static void skip(struct boot *boot, struct idmap_row *row)
{
	idmap_stage_skip(row);
	boot->skips = true;
	boot->row_us = idmap_now_us();
}

/* The row that was skipped and has this path in it, or NULL. */
static const struct idmap_row *skipped_around(const struct boot *boot,
					      const struct idmap_plan *plan, const char *path)
{
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

static int wait_for_device(struct boot *boot, struct idmap_row *row, struct idmap_error *ret_error)
{
	int result;

	if (row->flags & IDMAP_OWN_ROOT)
		return 0;
	while ((result = idmap_device_wait(&boot->devices, row, &boot->notes, ret_error)) ==
	       -EAGAIN)
		msg_notes(&boot->notes);
	if (boot->devices.came_us)
		boot->row_us = boot->devices.came_us;
	return result;
}

static int build_row(struct boot *boot, const struct idmap_plan *plan, struct idmap_stage *stage,
		     struct idmap_row *row, struct idmap_error *ret_error)
{
	const struct idmap_row *skipped = skipped_around(boot, plan, row->inside);
	uint64_t end_us;
	int result;

	if (row->flags & IDMAP_SKIPPED) { /* and told, before links were followed */
		skip(boot, row);
		return 0;
	}
	if (skipped_around(boot, plan, row->target)) {
		skip(boot, row);
		msg(MSG_WARNING, "%s is skipped, what it stands on is absent", row->target);
		return 0;
	}
	/* What lies below the row that is not there is not what is meant. */
	result =
		skipped ? idmap_fail(
				  ret_error, row, IDMAP_NO_SOURCE, ENOENT,
				  "the row for %s, which %s lies on, is absent; say nofail here, too",
				  skipped->target, row->source)
			: wait_for_device(boot, row, ret_error);
	if (!result)
		result = idmap_stage_add(stage, row, ret_error);
	/* As the kernel does for a root on a disk that cannot be written (init/do_mounts.c). */
	if ((result == -EACCES || result == -EROFS) && ret_error->class == IDMAP_NO_MOUNT &&
	    !(row->attr & IDMAP_RDONLY) && !(row->flags & IDMAP_UPPER)) {
		msg(MSG_WARNING, "%s is read-only, mounting it ro on %s", row->source, row->target);
		row->attr |= IDMAP_RDONLY;
		result = idmap_stage_add(stage, row, ret_error);
	}
	if (result && row->flags & IDMAP_NOFAIL && is_absent(result, ret_error)) {
		msg(MSG_WARNING, "%s", ret_error->text);
		msg(MSG_WARNING, "%s is skipped, its row says nofail", row->target);
		skip(boot, row);
		return 0;
	}
	end_us = idmap_now_us();
	row->took_us = (uint32_t)(end_us - boot->row_us);
	boot->row_us = end_us;
	return result;
}

static void tell_left(const struct idmap_stage *stage)
{
	uint32_t i;

	for (i = 0; *stage->carry[i]; i++)
		if (stage->left & 1u << i)
			msg(MSG_WARNING, "the new root has no folder %s, going on without it",
			    stage->carry[i]);
}

/* Adds rows, up to the root alone or all of them. *ret_row: the one that failed. */
static int add_rows(struct boot *boot, struct idmap_plan *plan, struct idmap_stage *stage,
		    bool root_only, const struct idmap_row **ret_row, struct idmap_error *ret_error)
{
	int result = idmap_stage_open(stage, plan, boot->carry, &boot->notes, ret_error);
	uint32_t i;

	for (i = 0; !result && i < plan->rows && !(root_only && stage->seen_fd >= 0); i++) {
		*ret_row = plan->row[i];
		result = build_row(boot, plan, stage, plan->row[i], ret_error);
		msg_notes(&boot->notes);
	}
	return result;
}

/* Makes the plan anew, by the paths that links of the root lead to. */
static int follow_links(struct boot *boot, struct idmap_plan *plan, struct idmap_stage *stage,
			struct idmap_error *ret_error)
{
	const struct idmap_row *unused;
	int result = add_rows(boot, plan, stage, true, &unused, ret_error);

	if (!result)
		result = idmap_stage_resolve(stage, boot->arena, ret_error);
	idmap_stage_drop(stage);
	return result ? result : make_plan(boot, plan, ret_error);
}

/* All trees in place on the stage, or nothing left of any. */
static int build_root(struct boot *boot, struct idmap_plan *plan, struct idmap_stage *stage,
		      struct idmap_error *ret_error)
{
	const struct idmap_row *row = NULL;
	int result = add_rows(boot, plan, stage, false, &row, ret_error);

	if (result == IDMAP_BY_LINK) {
		idmap_stage_drop(stage);
		result = follow_links(boot, plan, stage, ret_error);
		if (result)
			return result;
		result = add_rows(boot, plan, stage, false, &row, ret_error);
	}
	if (result == IDMAP_BY_LINK)
		result = idmap_stage_link_failed(stage, row, ret_error);
	if (result)
		idmap_stage_drop(stage);
	else
		idmap_stage_done(stage);
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
 * What was done, a line a row: in the log, where a long one is cut, and whole as a table that reads
 * back as one.
 */
static void tell_rows(const struct boot *boot, const struct idmap_plan *plan)
{
	struct lines lines;
	idmap_closed int fd = -1;
	struct idmap_text text;
	long result;
	uint32_t i;

	mkdir(RUN_TABLE_DIR, 0755);
	fd = or_errno(openat(AT_FDCWD, RUN_TABLE, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0644));
	result = fd < 0 ? fd : 0;
	/* There is room, make_room_for_devices() has seen to it. */
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

/* Typed at a prompt it would mount over what is there, so it does nothing at all. */
static void refuse_to_be_a_command(void)
{
	static const char line[] = "idmap-init: it is no command; the kernel starts it as PID 1, as"
				   " /init of an initramfs or by init=\n";

	if (getpid() == 1)
		return;
	write(STDERR_FILENO, line, sizeof(line) - 1);
	_exit(IDMAP_BAD_SYSTEM);
}

int main(int argc, char **argv, char **envp)
{
	/* They are there once, and a fixed address is shorter to name than a place on the stack. */
	static struct boot boot;
	static struct idmap_arena arena[2], notes_arena;
	static struct idmap_stage stage;
	static struct idmap_error error;
	static struct idmap_plan plan;
	const char *init = NULL;

	(void)argc;
	refuse_to_be_a_command();
	boot.argv = argv;
	boot.envp = envp;
	boot.cmdline.onfail = CONFIG_ONFAIL;
	boot.arena = boot.devices.arena = &arena[0];
	boot.devices.uevent_fd = -1;
	arena[0].at = memory;
	arena[0].end = memory + sizeof(memory) - NOTES_SIZE;
	notes_arena.at = arena[0].end;
	notes_arena.end = memory + sizeof(memory);
	idmap_notes_init(&boot.notes, &notes_arena);
	if (early_mounts(&boot, &error))
		fail(&boot, &error);
	if (read_table(&boot, arena, &plan, &error))
		fail(&boot, &error);
	modules_load(&boot);
	if (make_room_for_devices(&boot, &plan, &error))
		fail(&boot, &error);
	for (; boot.cmdline.root_delay_s; boot.cmdline.root_delay_s--)
		poll(NULL, 0, 1000);
	boot.row_us = boot.devices.start_us = idmap_now_us();
	if (plan.maps_at_once > FEW_MAPS)
		raise_files(&boot);
	if (build_root(&boot, &plan, &stage, &error))
		fail(&boot, &error);
	if (realinit_find(&boot.cmdline, &stage, &init, &error)) {
		idmap_stage_drop(&stage);
		fail(&boot, &error);
	}
	msg_notes(&boot.notes);
	tell_rows(&boot, &plan);
	boot.no_way_back = true;
	if (plan.new_root && handoff_switch(&boot, &stage, &error))
		fail(&boot, &error);
	tell_left(&stage);
	restore_files(&boot);
	handoff_exec(&boot, init, &error);
	fail(&boot, &error);
}
