// SPDX-License-Identifier: MIT
/*
 * The folder itself, where its mount is replaced by its clone: what comes along, and how it is
 * without the map once more.
 */
#define _GNU_SOURCE
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "command.h"

#define WORKSHOP "/run" WORKSHOP_NAME
#define MEMORY (1 << 20)

/* Whether the mount, in the folder, goes with the rows of the record. */
static bool goes(const struct record *record, const struct idmap_mountinfo *mount)
{
	const struct recorded *recorded = record_row_of(record, mount);
	const struct inner_mount *inner = record_inner_of(record, mount);

	return recorded ? !recorded_is_root(recorded) : inner && !inner->along;
}

/* The number of the mount that it stands on, once the rows of the record, or NULL, are gone. */
static const char *stands_on(const struct mounts *mounts, const struct record *record,
			     const struct idmap_mountinfo *mount)
{
	const struct inner_mount *inner = record ? record_inner_of(record, mount) : NULL;
	const struct idmap_mountinfo *below;
	size_t steps;

	/* As many steps as there are mounts, whatever the list says. */
	for (steps = 0; inner && inner->along && steps < mounts->count; steps++) {
		below = mounts_parent(mounts, mount);
		if (!below || !goes(record, below))
			break;
		mount = below;
	}
	return mount->parent;
}

/* What is mounted in the folder comes along where the folder itself is replaced. */
int read_carried(struct idmap_build *build, const struct mounts *mounts, struct idmap_arena *arena,
		 const char *folder, const struct record *but, const struct idmap_row *row,
		 struct idmap_error *ret_error)
{
	const struct idmap_mountinfo *root = mounts_at(mounts, folder);
	struct idmap_carried **tail = &build->carry, *carried;
	size_t i;

	if (!root)
		return idmap_fail(ret_error, row, IDMAP_NO_TARGET, EINVAL,
				  "nothing is mounted on %s, which a row for / replaces; name the"
				  " folder that the root is mounted on",
				  folder);
	if (idmap_path_inside("/run", folder))
		return idmap_fail(ret_error, row, IDMAP_NO_TARGET, EBUSY,
				  "%s holds /run, where the work is done, and cannot be replaced;"
				  " name the folder of another root",
				  folder);
	for (i = 0; i < mounts->count; i++) {
		const struct idmap_mountinfo *mount = &mounts->mount[i];

		if (!idmap_path_inside(mount->target, folder) || !strcmp(mount->target, folder) ||
		    (but && goes(but, mount)))
			continue;
		if (mount->unbindable)
			return idmap_fail(ret_error, row, IDMAP_NO_TARGET, EINVAL,
					  "the mount on %s in it is unbindable, so it cannot come"
					  " along; make that private (mount --make-private)",
					  mount->target);
		if (idmap_arena_room(arena, sizeof(*carried), ret_error))
			return -ENOMEM;
		carried = idmap_alloc(arena, sizeof(*carried));
		carried->path = mount->target + strlen(folder);
		carried->real = stands_on(mounts, but, mount);
		*tail = carried;
		tail = &carried->next;
	}
	*tail = NULL;
	idmap_mounts_on(&build->carry, root->id);
	for (carried = build->carry; carried; carried = carried->next)
		if (carried->stacked)
			return idmap_fail(ret_error, row, IDMAP_NO_TARGET, EBUSY,
					  "the mount on %s%s in it covers another one, which cannot"
					  " come along; unmount one of the two",
					  folder, carried->path);
	return 0;
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

		/* mount_setattr(2) does not know it then, and the clone keeps it. */
		if (!strcmp(pairs[i][0], "nosymfollow") && idmap_kernel_before(5, 14))
			continue;

		idmap_print(word, sizeof(word), ",%s,", pairs[i][0]);
		idmap_text_add(&text, ",%s", pairs[i][!idmap_contains(list, word)]);
	}
	return words;
}

int replace_folder(struct idmap_build *build, const struct mounts *before,
		   struct idmap_error *ret_error)
{
	const char *folder = build->plan.root->folder;
	const struct idmap_mount_id stood = mount_id_of(AT_FDCWD, folder);
	bool changed;
	int result;

	build->devices.uevent_fd = -1;
	build->devices.start_us = build->row_us = idmap_now_us();
	result = idmap_build(build, ret_error);
	idmap_close(&build->devices.uevent_fd);
	/* Others have had all the time that devices took to come. Rows in place are ours. */
	changed = result || build->plan.new_root
			  ? mounts_changed(before, folder)
			  : !mount_same(stood, mount_id_of(AT_FDCWD, folder));
	if (result && changed && folder[1])
		idmap_fail_more(ret_error, "; others have mounted in %s meanwhile: say this again",
				folder);
	if (result)
		return result;
	if (changed) {
		idmap_stage_drop(&build->stage);
		return idmap_fail(ret_error, NULL, IDMAP_BAD_SYSTEM, EBUSY,
				  "others have mounted or unmounted in %s meanwhile, and that"
				  " would be lost; say this again when they are done",
				  folder);
	}
	if (build->plan.new_root)
		return idmap_stage_replace(&build->stage, ret_error);
	idmap_stage_done(&build->stage);
	return 0;
}

int unmap_folder(const struct record *record, bool asks, struct idmap_error *ret_error)
{
	const char *folder = record->folder, *before = record->before;
	char table[512], words[400];
	struct idmap_root root = {.booted = true,
				  .folder = folder,
				  .shared = true,
				  .unmaps = record_maps_root(record)};
	struct idmap_arena arena, notes_arena;
	struct idmap_notes notes;
	struct idmap_table rows;
	struct mounts mounts = {0};
	struct idmap_build build = {.table = &rows, .notes = &notes};
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
	build.devices.arena = &arena;
	build.devices.stop_fd = -1;
	result = idmap_plan_make(&rows, &root, &build.plan);
	if (result)
		idmap_fail(ret_error, NULL, IDMAP_BAD_SYSTEM, -result, "%s cannot be undone: %s",
			   folder, rows.errors ? rows.errors->text : idmap_errno_text(-result));
	if (!result)
		result = mounts_read(&mounts, ret_error);
	if (!result)
		result = read_carried(&build, &mounts, &arena, folder, record, NULL, ret_error);
	if (!result && !asks)
		result = replace_folder(&build, &mounts, ret_error);
	print_notes(&notes);
	return result;
}

/*
 * The lock is ours, so nobody works there. A workshop is a folder of /run mounted on itself; what
 * else may stand there is somebody else's.
 */
void take_down_stale(const struct command *command, const struct mounts *mounts)
{
	const struct idmap_mountinfo *mount = mounts_at(mounts, WORKSHOP);
	const char *name = mount ? strrchr(mount->root, '/') : NULL;
	struct idmap_stage stage;

	idmap_mapper_take_down_stale();
	if (!name || strcmp(name, WORKSHOP_NAME))
		return;
	fprintf(stderr,
		"idmap %s: what an interrupted one has left on " WORKSHOP " is taken down\n",
		command->name);
	stage.workshop_fd = idmap_open("/run", O_PATH | O_DIRECTORY);
	idmap_stage_close(&stage);
}

int put_back_folder(const char *folder, struct idmap_error *ret_error)
{
	idmap_closed int old_fd = idmap_open(folder, O_PATH | O_DIRECTORY);
	idmap_closed int back_fd = old_fd < 0 ? old_fd : idmap_clone(old_fd, true);
	int result = back_fd < 0 ? back_fd : idmap_make_private(back_fd), times;

	/* The old one, and the new one beneath it. */
	for (times = 0; !result && times < 2; times++)
		result = idmap_take_down(folder);
	if (!result)
		result = or_errno(
			sys_move_mount(back_fd, "", AT_FDCWD, folder, MOVE_MOUNT_F_EMPTY_PATH));
	return result ? idmap_fail(ret_error, NULL, IDMAP_BAD_SYSTEM, -result,
				   "%s cannot be put back as it was (%m); unmount it, and mount it"
				   " anew",
				   folder)
		      : 0;
}
