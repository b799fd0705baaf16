// SPDX-License-Identifier: MIT
/*
 * idmap apply: a table is carried out below a folder, all or nothing, by what PID 1 does it with.
 * For other initramfs tools, which have mounted a root and not yet entered it, and for systems that
 * run.
 */
#define _GNU_SOURCE
#include <dirent.h>
#include <errno.h>
#include <signal.h>
#include <stddef.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mount.h>
#include <sys/signalfd.h>

#include "command.h"

#define ROW_SIZE (1 << 20)

/* What is done, and what of it has been recorded. */
struct apply {
	struct idmap_build build;
	struct record record;
	struct mounts mounts, after; /* before it, whose paths what comes along has, and after it */
	uint32_t recorded;
	bool followed;	    /* they are by real paths */
	uint64_t number;    /* of the table */
	const char *before; /* the options that the folder's mount has, where that is replaced */
	struct mount_id replaces; /* and that mount */
	bool by_hand;
};

static void step(struct idmap_build *build, enum idmap_step kind, const struct idmap_row *row,
		 uint32_t limit_s)
{
	(void)build;
	late_step(kind, row, limit_s);
}

static void tell(struct idmap_build *build)
{
	print_notes(build->notes);
}

/* --- the record ------------------------------------------------------------------------------ */

/* A number for all rows, by their text (FNV-1a). */
static uint64_t number_of(const struct idmap_plan *plan)
{
	uint64_t number = UINT64_C(0xcbf29ce484222325);
	char *line = malloc(ROW_SIZE);
	struct idmap_text text;
	uint32_t i;

	for (i = 0; line && i < plan->rows; i++) {
		const char *c;

		idmap_text_init(&text, line, ROW_SIZE);
		idmap_row_text(plan->row[i], &text);
		for (c = line; c < text.at; c++)
			number = (number ^ (unsigned char)*c) * UINT64_C(0x100000001b3);
	}
	free(line);
	return number;
}

static int begin_record(struct apply *apply, const char *folder, struct idmap_error *ret_error)
{
	apply->recorded = 0;
	return apply->by_hand ? record_go_on(&apply->record, ret_error)
			      : record_begin(&apply->record, folder, apply->number, apply->before,
					     apply->replaces, ret_error);
}

/* Rows that were taken down, since a link has changed the plan, are none any more. */
static int follow_record(struct apply *apply, struct idmap_error *ret_error)
{
	if (!apply->build.followed || apply->followed)
		return 0;
	apply->followed = true;
	record_drop(&apply->record);
	return begin_record(apply, apply->record.folder, ret_error);
}

/* A row is written before its mount goes into place, with the layers that it merges. */
static int place(struct idmap_build *build, const struct idmap_row *row, int tree_fd,
		 struct idmap_error *ret_error)
{
	struct apply *apply = (struct apply *)((char *)build - offsetof(struct apply, build));
	uint32_t at = 0;
	int result = follow_record(apply, ret_error);

	if (!result && !build->plan.new_root)
		result = peers_look(&apply->record, &build->plan, &apply->mounts, row, build->notes,
				    ret_error);
	while (build->plan.row[at] != row)
		at++;
	for (; !result && apply->recorded <= at; apply->recorded++) {
		const struct idmap_row *next = build->plan.row[apply->recorded];

		if (next == row)
			result = record_row(&apply->record, row, mount_id_of(tree_fd, ""),
					    ret_error);
		else if (next->flags & IDMAP_LAYER)
			result = record_row(&apply->record, next, (struct mount_id){0}, ret_error);
	}
	return result;
}

/* The next row from *at on whose mount stands, and its path; NULL: there is none. */
static const struct recorded *next_standing(const struct record *record,
					    const struct mounts *mounts, size_t *at,
					    char path[PATH_MAX])
{
	while (*at < record->count) {
		const struct recorded *recorded = &record->row[(*at)++];

		record_target(record, recorded->row, path);
		if (recorded->id.number && record_stands(record, recorded, mounts))
			return recorded;
	}
	return NULL;
}

static bool stands_in(const struct record *record, const struct mounts *mounts, const char *folder,
		      char path[PATH_MAX])
{
	size_t at = 0;

	while (next_standing(record, mounts, &at, path))
		if (idmap_path_inside(path, folder))
			return true;
	return false;
}

/* Rows of another folder stand in this one, and would lose their numbers. */
static int look_inside(const struct apply *apply, const char *folder, struct idmap_error *ret_error)
{
	struct record record;
	DIR *records = opendir(RECORDS);
	char path[PATH_MAX];
	int result = 0;

	while (!result && record_next(records, &record))
		if (strcmp(record.folder, folder) && *record.folder &&
		    stands_in(&record, &apply->mounts, folder, path))
			result =
				idmap_fail(ret_error, NULL, IDMAP_BAD_SYSTEM, EEXIST,
					   "rows of an earlier apply to %s stand in it, such as the"
					   " one on %s; take them back with idmap undo --root %s",
					   record.folder, path, record.folder);
	if (records)
		closedir(records);
	return result;
}

/* The first row that stands, and is not what is seen by its path; false: there is none. */
static bool find_unseen(const struct record *record, const struct mounts *mounts,
			char path[PATH_MAX])
{
	const struct recorded *recorded;
	size_t at = 0;

	while ((recorded = next_standing(record, mounts, &at, path)))
		if (mount_id_of(AT_FDCWD, path).number != recorded->id.number)
			return true;
	return false;
}

/*
 * What an earlier one has put in place. 1: the same table stands already. -errno: another one does,
 * or what was interrupted cannot be taken back.
 */
static int look_back(struct apply *apply, const char *folder, struct idmap_error *ret_error)
{
	struct record before;
	size_t standing, gone;
	char path[PATH_MAX];
	bool unseen;
	int result;

	if (!record_read(&before, folder))
		return 0;
	standing = record_count(&before, &apply->mounts, true);
	gone = record_count(&before, &apply->mounts, false);
	if (standing && (!before.done || before.halfway)) {
		fprintf(stderr,
			"idmap apply: an interrupted %s has left rows in place; they are taken back\n",
			before.halfway ? "idmap undo" : "one");
		result = take_back(&before, &apply->mounts, ret_error);
		return result ? result : mounts_read(&apply->mounts, ret_error);
	}
	if (!standing)
		return 0;
	unseen = before.plan == apply->number && find_unseen(&before, &apply->mounts, path);
	if (!gone && before.plan == apply->number && !unseen) {
		if (before.count < apply->build.plan.rows)
			fprintf(stderr,
				"idmap apply: %u rows were skipped then; take the others back with"
				" idmap undo to try them again\n",
				apply->build.plan.rows - (uint32_t)before.count);
		return 1;
	}
	if (unseen)
		return idmap_fail(
			ret_error, NULL, IDMAP_BAD_SYSTEM, EEXIST,
			"the rows stand in %s, but the one on %s is not seen there: it was"
			" moved, or another mount covers it; move it back, or unmount what"
			" covers it, and say this again",
			folder, path);
	return idmap_fail(ret_error, NULL, IDMAP_BAD_SYSTEM, EEXIST,
			  "%u mounts of an earlier apply stand in %s%s; take them back with idmap"
			  " undo --root %s",
			  (uint32_t)standing, folder,
			  before.plan == apply->number ? ", and others of it are not there any more"
						       : ", of another table",
			  folder);
}

/*
 * The row that stands at a target of the plan though no apply to this folder has put it there: PID
 * 1 did, or one to a folder that is / by now. NULL: none.
 */
static const struct idmap_row *row_at(const struct record *boot, const char *path,
				      const struct idmap_mountinfo *mount)
{
	const struct idmap_row *row = records_row(mount);
	size_t i;

	for (i = boot->count; !row && i > 0; i--)
		if (!strcmp(boot->row[i - 1].row->target, path))
			row = boot->row[i - 1].row;
	return row;
}

static bool is_same_row(const struct idmap_row *a, const struct idmap_row *b)
{
	return !strcmp(a->source, b->source) &&
	       (a->map && b->map ? same_map(a->map, b->map) : !a->map && !b->map);
}

/* What stands by another hand of ours is not done a second time. 1: all of it is that. */
static int look_at_others(const struct apply *apply, const char *folder,
			  struct idmap_error *ret_error)
{
	const struct idmap_plan *plan = &apply->build.plan;
	const struct idmap_row *first = NULL;
	struct record boot = {.count = 0};
	uint32_t i, rows = 0, stand = 0;
	char path[PATH_MAX];

	if (!strcmp(folder, "/") && !record_read_boot(&boot))
		boot.count = 0;
	for (i = 0; i < plan->rows; i++) {
		const struct idmap_row *row = plan->row[i], *there;
		const struct idmap_mountinfo *mount;

		if (row->flags & IDMAP_LAYER || idmap_row_is_root(row))
			continue;
		rows++;
		mount = mounts_at(&apply->mounts, path_join(path, folder, row->target));
		there = mount ? row_at(&boot, path, mount) : NULL;
		if (!there || !is_same_row(there, row))
			continue;
		stand++;
		first = first ? first : row;
	}
	if (!stand)
		return 0;
	if (stand == rows && !plan->new_root)
		return 1;
	return idmap_fail(ret_error, first, IDMAP_BAD_SYSTEM, EEXIST,
			  "this row stands there already, since the boot or by another idmap; leave"
			  " out what stands, or unmount it first");
}

/* --- all of it ------------------------------------------------------------------------------- */

static int carry_out(struct apply *apply, const char *folder, struct idmap_error *ret_error)
{
	const struct idmap_mountinfo *root =
		apply->build.plan.new_root ? mounts_at(&apply->mounts, folder) : NULL;
	struct idmap_error unused;
	struct record written;
	int result;

	apply->before = root ? strdup(root->options) : NULL;
	if (root)
		apply->replaces = mount_id_of(AT_FDCWD, folder);
	result = begin_record(apply, folder, ret_error);
	if (!result)
		result = replace_folder(&apply->build, ret_error);
	if (result) {
		record_drop(&apply->record);
		return result;
	}
	result = follow_record(apply, ret_error);
	if (!result)
		result = record_all_inner(&apply->record, &apply->build, &apply->after, ret_error);
	if (!result)
		result = record_end(&apply->record, true, ret_error);
	/* What is not known to be whole does not stay. */
	if (result && !apply->by_hand && record_read(&written, folder))
		take_back(&written, &apply->after, &unused);
	return result;
}

/*
 * Half a table is nobody's wish: a signal waits for its end, but where a device is waited for.
 * Gives what can be read once there is one.
 */
static int hold_signals(void)
{
	sigset_t set;

	sigemptyset(&set);
	sigaddset(&set, SIGINT);
	sigaddset(&set, SIGTERM);
	sigaddset(&set, SIGHUP);
	signal(SIGPIPE, SIG_IGN); /* whoever reads what is told may go */
	sigprocmask(SIG_BLOCK, &set, NULL);
	return signalfd(-1, &set, SFD_CLOEXEC);
}

static bool has_root(const struct idmap_plan *plan)
{
	uint32_t i;

	for (i = 0; i < plan->rows; i++)
		if (plan->row[i]->flags & IDMAP_OWN_ROOT)
			return true;
	return false;
}

static int apply_plan(const struct command *command, struct input *input, const char *folder,
		      bool record, struct idmap_error *ret_error)
{
	struct apply apply = {.build = {.table = &input->table,
					.plan = input->plan,
					.notes = &input->notes,
					.step = step,
					.place = place,
					.tell = tell},
			      .number = number_of(&input->plan),
			      .by_hand = !record};
	int result;

	apply.build.devices.arena = &input->arena[0];
	apply.build.devices.stop_fd = hold_signals();
	idmap_raise_files();
	result = mounts_read(&apply.mounts, ret_error);
	if (!result)
		take_down_stale(command, &apply.mounts);
	if (!result && record)
		result = look_back(&apply, folder, ret_error);
	if (!result && record)
		result = look_at_others(&apply, folder, ret_error);
	if (result > 0) {
		fprintf(stderr, "idmap %s: the rows stand in %s already, nothing is changed\n",
			command->name, folder);
		return 0;
	}
	if (!result && !apply.build.plan.rows)
		return 0;
	if (!result && apply.build.plan.new_root)
		result = look_inside(&apply, folder, ret_error);
	if (!result && apply.build.plan.new_root) {
		if (has_root(&apply.build.plan))
			result = read_carried(&apply.build, &apply.mounts, &input->arena[0], folder,
					      NULL, apply.build.plan.row[0], ret_error);
		else
			result = idmap_fail(ret_error, apply.build.plan.row[0], IDMAP_BAD_TABLE,
					    EINVAL,
					    "only what is mounted on %s already can be its root;"
					    " write /dev/root as SOURCE",
					    folder);
	}
	return result ? result : carry_out(&apply, folder, ret_error);
}

int apply_input(const struct command *command, struct input *input, const char *folder, bool record,
		int (*read)(struct input *input, struct idmap_error *ret_error))
{
	struct idmap_error error;
	struct record before;
	idmap_closed int lock_fd = record_lock(command, &error);
	int code, result;

	if (lock_fd < 0)
		return tell_failed(command, &error);
	input->folder = input->parameters.root.folder = folder;
	/* As a path below the folder, if that is one. */
	if (!strcmp(folder, "/"))
		input->parameters.root.keeps = RECORDS;
	else if (idmap_path_inside(RECORDS, folder) && strcmp(RECORDS, folder))
		input->parameters.root.keeps = &RECORDS[strlen(folder)];
	input->parameters.root.booted = true;
	input->parameters.root.follows = !record; /* somebody has typed the path */
	input->parameters.root.shared = true;	  /* it may be, here or in another namespace */
	if (read(input, &error))
		return tell_failed(command, &error);
	code = tell_input(input);
	/* Without rows there is nothing to do, if nothing of an earlier table is there. */
	if (code != EXIT_DONE || (!input->plan.rows && !(record && record_read(&before, folder))))
		return code;
	late_begin();
	result = apply_plan(command, input, folder, record, &error);
	late_end();
	if (!result)
		return EXIT_DONE;
	if (input->table.error_count)
		return tell_input(input);
	return tell_failed(command, &error);
}

static int run(int argc, char **argv)
{
	struct input input = {0};
	const char *folder;
	int at, code;

	for (at = 1; at < argc; at++)
		if (!take_input(&input, argc, argv, &at) || input.json)
			return bad_use(&command_apply, argv[at], NO_OPTION);
	folder = real_folder(&command_apply, input.folder ? input.folder : "/", &code);
	return folder ? apply_input(&command_apply, &input, folder, true, read_input) : code;
}

const struct command command_apply = {
	"apply",
	"[-c FILE] [-k CMDLINE] [--root DIR]",
	"Carries a table out below a folder: all rows are in place then, or none. A row for / of /dev/root\n"
	"replaces what is mounted on that folder by its mapped clone. What was done is recorded in\n"
	"/run/idmap/apply; the same once more changes nothing.\n\n"
	"  -c FILE     the table's file; default: /etc/idmap.conf\n"
	"  -k CMDLINE  a kernel command line, such as \"$(cat /proc/cmdline)\"; rows in it stand in for the file\n"
	"  --root DIR  the root that the rows are for, such as /sysroot; default: /\n",
	run,
};
