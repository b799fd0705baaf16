// SPDX-License-Identifier: MIT
/*
 * idmap apply: a table is carried out below a folder, all or nothing, by what PID 1 does it with.
 * For other initramfs tools, which have mounted a root and not yet entered it, and for systems that
 * run.
 */
#define _GNU_SOURCE
#include <errno.h>
#include <signal.h>
#include <stddef.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mount.h>
#include <sys/signalfd.h>

#include "command.h"

#define WORKSHOP "/run/.idmap"
#define ROW_SIZE (1 << 20)
#define MEMORY (1 << 20)

/* What is done, and what of it has been recorded. */
struct apply {
	struct idmap_build build;
	struct record record;
	struct mounts mounts;
	uint32_t recorded;
	uint64_t number;    /* of the table */
	const char *before; /* the options that the folder's mount has, where that is replaced */
	bool by_hand;
};

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

static struct mount_id id_of(const struct apply *apply, const struct idmap_row *row)
{
	char path[PATH_MAX];

	if (row->flags & IDMAP_LAYER)
		return (struct mount_id){0, 0};
	return mounts_id(&apply->mounts, record_target(&apply->record, row, path));
}

static int begin_record(struct apply *apply, const char *folder, struct idmap_error *ret_error)
{
	apply->recorded = 0;
	return apply->by_hand ? record_go_on(&apply->record, ret_error)
			      : record_begin(&apply->record, folder, apply->number, apply->before,
					     ret_error);
}

/* Those that stand by now, so that an apply that is killed can be taken back. */
static void record_more(struct apply *apply, uint32_t until)
{
	const struct idmap_plan *plan = &apply->build.plan;
	struct idmap_error unused;

	/* Without a record the rows are in place all the same, and its end tells. */
	if (!apply->record.out || (until > apply->recorded && mounts_read(&apply->mounts, &unused)))
		return;
	for (; apply->recorded < until; apply->recorded++) {
		const struct idmap_row *row = plan->row[apply->recorded];

		if (!(row->flags & IDMAP_SKIPPED))
			record_row(&apply->record, row, id_of(apply, row));
	}
}

static void step(struct idmap_build *build, enum idmap_step step, const struct idmap_row *row,
		 uint32_t limit_s)
{
	struct apply *apply = (struct apply *)((char *)build - offsetof(struct apply, build));
	struct idmap_error unused;
	uint32_t at = 0;

	(void)step, (void)limit_s;
	/* Of a new root nothing stands before all of it does. */
	if (build->plan.new_root)
		return;
	while (build->plan.row[at] != row)
		at++;
	/* Rows were taken down, since a link has changed the plan. */
	if (at < apply->recorded && apply->record.out) {
		fclose(apply->record.out);
		begin_record(apply, apply->record.folder, &unused);
	}
	record_more(apply, at);
}

/* The lock is ours, so nobody works there. */
void take_down_stale(const struct command *command, const struct mounts *mounts)
{
	struct idmap_stage stage;

	if (!mounts_at(mounts, WORKSHOP))
		return;
	fprintf(stderr,
		"idmap %s: what an interrupted one has left on " WORKSHOP " is taken down\n",
		command->name);
	stage.workshop_fd = idmap_open("/run", O_PATH | O_DIRECTORY);
	idmap_stage_close(&stage);
}

/*
 * What an earlier one has put in place. 1: the same table stands already. -errno: another one does,
 * or what was interrupted cannot be taken back.
 */
static int look_back(struct apply *apply, const char *folder, struct idmap_error *ret_error)
{
	struct record before;
	size_t i, standing = 0, mounted = 0;

	if (!record_read(&before, folder))
		return 0;
	for (i = 0; i < before.count; i++) {
		mounted += before.row[i].id.number != 0;
		standing += record_stands(&before, &before.row[i], &apply->mounts);
	}
	if (!before.done && standing) {
		fputs("idmap apply: an interrupted one has left rows in place; they are taken back\n",
		      stderr);
		return undo_rows(&before, &apply->mounts, ret_error);
	}
	if (!standing)
		return 0;
	if (standing == mounted && before.plan == apply->number) {
		if (before.count < apply->build.plan.rows)
			fprintf(stderr,
				"idmap apply: %u rows were skipped then; take the others back with"
				" idmap undo to try them again\n",
				apply->build.plan.rows - (uint32_t)before.count);
		return 1;
	}
	return idmap_fail(ret_error, NULL, IDMAP_BAD_SYSTEM, EEXIST,
			  "%u mounts of an earlier apply stand in %s, of another table; take them"
			  " back with idmap undo --root %s",
			  (uint32_t)standing, folder, folder);
}

/* --- the folder ------------------------------------------------------------------------------ */

/* What is mounted in the folder comes along where the folder itself is replaced. */
static int read_carried(struct apply *apply, struct idmap_arena *arena, const char *folder,
			struct idmap_error *ret_error)
{
	const struct idmap_mountinfo *root = mounts_at(&apply->mounts, folder);
	struct idmap_carried **tail = &apply->build.carry;
	size_t i;

	if (!strcmp(folder, "/"))
		return idmap_fail(ret_error, apply->build.plan.row[0], IDMAP_BAD_TABLE, EINVAL,
				  "the root of a running system is not replaced; boot with"
				  " idmap-init, or name another root with --root");
	if (!root)
		return idmap_fail(ret_error, apply->build.plan.row[0], IDMAP_NO_TARGET, EINVAL,
				  "nothing is mounted on %s, which a row for / replaces; name the"
				  " folder that the root is mounted on",
				  folder);
	if (idmap_path_inside("/run", folder))
		return idmap_fail(ret_error, apply->build.plan.row[0], IDMAP_NO_TARGET, EBUSY,
				  "%s holds /run, where the work is done, and cannot be replaced;"
				  " name the folder of another root",
				  folder);
	for (i = 0; i < apply->mounts.count; i++) {
		const struct idmap_mountinfo *mount = &apply->mounts.mount[i];
		struct idmap_carried *carried;

		if (!idmap_path_inside(mount->target, folder) || !strcmp(mount->target, folder))
			continue;
		if (mount->unbindable)
			return idmap_fail(ret_error, apply->build.plan.row[0], IDMAP_NO_TARGET,
					  EINVAL,
					  "the mount on %s in it is unbindable, so it cannot come"
					  " along; make that private (mount --make-private)",
					  mount->target);
		if (idmap_arena_room(arena, sizeof(*carried), ret_error))
			return -ENOMEM;
		carried = idmap_alloc(arena, sizeof(*carried));
		carried->path = mount->target + strlen(folder);
		carried->real = mount->parent;
		*tail = carried;
		tail = &carried->next;
	}
	*tail = NULL;
	idmap_mounts_on(&apply->build.carry, root->id);
	return 0;
}

static void print_left(const struct idmap_carried *carried, const char *folder)
{
	for (; carried; carried = carried->next)
		if (carried->left)
			fprintf(stderr, "%s%s cannot come along, the new root has no such folder\n",
				folder, carried->path);
}

/* --- all of it ------------------------------------------------------------------------------- */

static int build_rows(struct idmap_build *build, const char *folder, struct idmap_error *ret_error)
{
	int result;

	build->devices.uevent_fd = -1;
	build->devices.start_us = build->row_us = idmap_now_us();
	result = idmap_build(build, ret_error);
	if (!result && build->plan.new_root) {
		result = idmap_stage_replace(&build->stage, ret_error);
		if (!result)
			print_left(build->carry, folder);
	}
	idmap_close(&build->devices.uevent_fd);
	return result;
}

static int carry_out(struct apply *apply, const char *folder, struct idmap_error *ret_error)
{
	const struct idmap_mountinfo *root =
		apply->build.plan.new_root ? mounts_at(&apply->mounts, folder) : NULL;
	int result;

	apply->before = root ? strdup(root->options) : NULL;
	result = begin_record(apply, folder, ret_error);
	if (result)
		return result;
	result = build_rows(&apply->build, folder, ret_error);
	if (!result) {
		record_more(apply, apply->build.plan.rows);
		return record_end(&apply->record, ret_error);
	}
	if (apply->record.out)
		fclose(apply->record.out);
	if (!apply->by_hand)
		record_remove(folder);
	return result;
}

/* The options that a mount had, and the opposite of those that it had not. */
static const char *undo_words(const char *before, char words[400])
{
	static const char *const pairs[][2] = {
		{"nosuid", "suid"}, {"nodev", "dev"},		{"noexec", "exec"},
		{"ro", "rw"},	    {"nodiratime", "diratime"}, {"nosymfollow", "symfollow"}};
	struct idmap_text text;
	char list[400];
	size_t i;

	idmap_print(list, sizeof(list), ",%s,", before);
	idmap_text_init(&text, words, 400);
	idmap_text_add(&text, idmap_contains(list, ",noatime,")	   ? "noatime"
			      : idmap_contains(list, ",relatime,") ? "relatime"
								   : "strictatime");
	for (i = 0; i < COUNT_OF(pairs); i++) {
		char word[16];

		idmap_print(word, sizeof(word), ",%s,", pairs[i][0]);
		idmap_text_add(&text, ",%s", pairs[i][!idmap_contains(list, word)]);
	}
	return words;
}

int unmap_folder(const char *folder, const char *before, struct idmap_error *ret_error)
{
	char table[512], words[400];
	struct idmap_root root = {.booted = true, .folder = folder, .shared = true, .unmaps = true};
	struct idmap_arena arena, notes_arena;
	struct idmap_notes notes;
	struct idmap_table rows;
	struct apply apply = {.build = {.table = &rows, .notes = &notes, .tell = tell}};
	int result = idmap_arena_map(&arena, MEMORY, ret_error);

	if (!result)
		result = idmap_arena_map(&notes_arena, MEMORY, ret_error);
	if (result)
		return result;
	idmap_notes_init(&notes, &notes_arena);
	idmap_table_init(&rows, &arena);
	snprintf(table, sizeof(table), "/dev/root / auto %s\n",
		 undo_words(before ? before : "", words));
	idmap_table_file(&rows, "undo", table, strlen(table));
	apply.build.devices.arena = &arena;
	apply.build.devices.stop_fd = -1;
	result = idmap_plan_make(&rows, &root, &apply.build.plan);
	if (!result)
		result = mounts_read(&apply.mounts, ret_error);
	if (!result)
		result = read_carried(&apply, &arena, folder, ret_error);
	return result ? result : build_rows(&apply.build, folder, ret_error);
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
	if (result > 0) {
		fprintf(stderr, "idmap %s: the rows stand in %s already, nothing is changed\n",
			command->name, folder);
		return 0;
	}
	if (!result && apply.build.plan.new_root) {
		if (has_root(&apply.build.plan))
			result = read_carried(&apply, &input->arena[0], folder, ret_error);
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
	idmap_closed int lock_fd = record_lock(command, &error);
	int code;

	if (lock_fd < 0)
		return tell_failed(command, &error);
	input->folder = input->parameters.root.folder = folder;
	input->parameters.root.keeps = strcmp(folder, "/") ? NULL : RECORDS;
	input->parameters.root.booted = true;
	input->parameters.root.shared = true; /* it may be, here or in another namespace */
	if (read(input, &error))
		return tell_failed(command, &error);
	code = tell_input(input);
	if (code != EXIT_DONE || !input->plan.rows)
		return code;
	if (!apply_plan(command, input, folder, record, &error))
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
			return bad_use(&command_apply, argv[at],
				       "no option, or one without its value");
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
