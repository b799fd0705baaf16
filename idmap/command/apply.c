// SPDX-License-Identifier: MIT
/*
 * idmap apply: a table is carried out below a folder, all or nothing, by what PID 1 does it with.
 * For other initramfs tools, which have mounted a root and not yet entered it, and for systems that
 * run.
 */
#define _GNU_SOURCE
#include <errno.h>
#include <stddef.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mount.h>

#include "command.h"

/* What is done, and what of it has been recorded. */
struct apply {
	struct idmap_build build;
	struct record record;
	struct mounts mounts, after; /* before it, whose paths what comes along has, and after it */
	uint32_t recorded;
	bool followed;	    /* they are by real paths */
	uint64_t number;    /* of the table */
	const char *before; /* the options that the folder's mount has, where that is replaced */
	struct idmap_mount_id replaces; /* and that mount */
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
	uint32_t i;

	for (i = 0; i < plan->rows; i++) {
		char *line = row_line(plan->row[i]);
		const char *c;

		for (c = line; c && *c; c++)
			number = (number ^ (unsigned char)*c) * UINT64_C(0x100000001b3);
		free(line);
	}
	return number;
}

static int begin_record(struct apply *apply, const char *folder, struct idmap_error *ret_error)
{
	apply->recorded = 0;
	return apply->by_hand ? record_go_on(&apply->record, &apply->mounts, ret_error)
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
static int place(struct idmap_build *build, const struct idmap_row *row,
		 struct idmap_error *ret_error)
{
	struct apply *apply = (struct apply *)((char *)build - offsetof(struct apply, build));
	uint32_t at = 0;
	int result = follow_record(apply, ret_error);

	/* In a new root they appear with that. */
	if (!result && (idmap_row_is_root(row) || !build->plan.new_root))
		result = peers_look(&apply->record, &build->plan, &apply->mounts, row, build->notes,
				    ret_error);
	while (build->plan.row[at] != row)
		at++;
	for (; !result && apply->recorded <= at; apply->recorded++) {
		const struct idmap_row *next = build->plan.row[apply->recorded];

		if (next == row)
			result = record_row(&apply->record, row,
					    (struct idmap_mount_id){row->mount, row->mount_unique,
								    false},
					    ret_error);
		else if (next->flags & IDMAP_LAYER)
			result = record_row(&apply->record, next, (struct idmap_mount_id){0},
					    ret_error);
	}
	return result;
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
		result = replace_folder(&apply->build, &apply->mounts, ret_error);
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
		result = look_earlier(&apply.build.plan, apply.number, folder, &apply.mounts,
				      ret_error);
	if (result > 0) {
		fprintf(stderr, "idmap %s: the rows stand in %s already, nothing is changed\n",
			command->name, folder);
		return 0;
	}
	if (!result && !apply.build.plan.rows) {
		record_remove(folder); /* what it had is gone */
		return 0;
	}
	if (!result && apply.build.plan.new_root)
		result = read_carried(&apply.build, &apply.mounts, &input->arena[0], folder, NULL,
				      apply.build.plan.row[0], ret_error);
	return result ? result : carry_out(&apply, folder, ret_error);
}

/* Whether we are in one that has not yet entered its root; systemd's and dracut's have the file. */
static bool is_initramfs(void)
{
	struct mounts mounts = {0};
	struct idmap_error unused;
	const struct idmap_mountinfo *root;

	if (!access("/etc/initrd-release", F_OK))
		return true;
	root = mounts_read(&mounts, &unused) ? NULL : mounts_at(&mounts, "/");
	return root && !strcmp(root->type, "rootfs");
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
	set_root(input, folder);
	input->parameters.root.entered = strcmp(folder, "/") && is_initramfs();
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

static int verify(const char *folder)
{
	struct idmap_error error;
	idmap_closed int lock_fd = record_lock(&command_apply, &error);

	if (lock_fd >= 0 && !verify_earlier(folder, &error))
		return EXIT_DONE;
	return tell_failed(&command_apply, &error);
}

static int run(int argc, char **argv)
{
	struct input input = {0};
	const char *folder;
	bool verifies = false;
	int at, code;

	for (at = 1; at < argc; at++)
		if (!verifies && !strcmp(argv[at], "--verify"))
			verifies = true;
		else if (!take_input(&input, argc, argv, &at) || input.json)
			return bad_use(&command_apply, argv[at], NO_OPTION);
	if (verifies && (input.conf || input.cmdline || input.sealed))
		return bad_use(&command_apply, "--verify", "of what was applied, and of no table");
	folder = real_folder(&command_apply, input.folder ? input.folder : "/", &code);
	if (folder && verifies)
		return verify(folder);
	return folder ? apply_input(&command_apply, &input, folder, true, read_input) : code;
}

const struct command command_apply = {
	"apply",
	"[-c FILE] [-k CMDLINE]... [--root DIR] | --verify [--root DIR]",
	"Carries a table out below a folder: all rows are in place then, or none. A row for / of /dev/root\n"
	"replaces what is mounted on that folder by its mapped clone. What was done is recorded in\n"
	"/run/idmap/apply; the same once more changes nothing.\n\n"
	"  -c FILE     the table's file; default: /etc/idmap.conf\n"
	"  -k CMDLINE  a kernel command line, such as \"$(cat /proc/cmdline)\"; rows in it stand in for the file;\n"
	"              may be repeated, the kernel's own last\n"
	"  --root DIR  the root that the rows are for, such as /sysroot; default: /\n"
	"  --verify    changes nothing: whether all rows of the last one, but that of / itself, are still seen\n",
	run,
};
