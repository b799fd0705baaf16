// SPDX-License-Identifier: MIT
/*
 * A filesystem is mounted once, however many rows show it: whether they ask for the same, and what
 * it is where somebody has mounted it before us.
 */
#include <errno.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/statfs.h>

#include "mount/further.h"
#include "mount/standing.h"

#define MAGIC_BTRFS 0x9123683e /* linux/magic.h */

/*
 * The next option of two lists, one after the other, that is one of the filesystem as a whole:
 * which subvolume is shown is not.
 */
static const char *next_option(const char **first, const char **second)
{
	const char *option;

	do {
		option = idmap_next_option(first, second);
	} while (idmap_names_subvolume(option));
	return option;
}

static bool has_option(const struct idmap_row *row, const char *wanted)
{
	const char *first = row->root_data, *second = row->data, *option;

	while (*(option = next_option(&first, &second)))
		if (!strcmp(option, wanted))
			return true;
	return false;
}

/* Whether b has all that a has. */
static bool has_options(const struct idmap_row *b, const struct idmap_row *a)
{
	const char *first = a->root_data, *second = a->data, *option;

	while (*(option = next_option(&first, &second)))
		if (!has_option(b, option))
			return false;
	return true;
}

static bool same_options(const struct idmap_row *a, const struct idmap_row *b)
{
	return has_options(a, b) && has_options(b, a);
}

/* Whether the row has an option that a filesystem that stands does not have. */
static bool missing_option(const struct idmap_row *row, const char *has)
{
	const char *first = row->root_data, *second = row->data, *option;
	char list[1024], wanted[IDMAP_OPTION_MAX + 3];

	idmap_print(list, sizeof(list), ",%s,", has);
	while (*(option = next_option(&first, &second))) {
		idmap_print(wanted, sizeof(wanted), ",%s,", option);
		if (idmap_contains(list, wanted))
			continue;
		/* Or with what the filesystem has added: compress=zstd:3. */
		wanted[strlen(wanted) - 1] = ':';
		if (!idmap_contains(list, wanted))
			return true;
	}
	return false;
}

/* Whether it stands with owners or modes, of a filesystem that has none, that the row does not say.
 */
static bool has_owners(const struct idmap_row *row, const char *has)
{
	/* Each with what else says it. */
	static const char *const keys[] = {"uid=,umask=,", "gid=,umask=,", "fmask=,umask=,",
					   "dmask=,umask=,"};
	size_t i;

	for (; *has; has += strcspn(has, ","), has += *has == ',')
		for (i = 0; i < COUNT_OF(keys); i++)
			if (!strncmp(has, keys[i], strcspn(keys[i], ",")) &&
			    strncmp(has + 1, "mask=0022", 9) && !idmap_row_says(row, keys[i]))
				return true;
	return false;
}

/* The same, where somebody has mounted it before us: that is theirs, and only told. */
static void note_standing(const struct idmap_stage *stage, const struct idmap_row *row,
			  uint64_t device_number)
{
	struct idmap_standing standing;

	if (!idmap_may_stand(stage) || !idmap_standing(row->device, device_number, &standing))
		return;
	if (missing_option(row, standing.mount.data) || has_owners(row, standing.mount.data))
		idmap_note(stage->notes,
			   "%s stands on %s already, and is as it is there (%s) on %s, too,"
			   " whatever its row says; where that differs, unmount it first",
			   row->source, standing.mount.target, standing.mount.data, row->target);
	idmap_standing_done(&standing);
}

/*
 * What the kernel makes for the whole machine is there once, and goes by what was said of it last,
 * or first. cgroup2 gives up what it was mounted with where a row says nothing.
 */
static void note_of_machine(const struct idmap_stage *stage, const struct idmap_row *row,
			    uint64_t device_number)
{
	struct idmap_standing standing;

	if ((!*row->data && !idmap_type_has("cgroup2", row->type)) ||
	    idmap_type_has("tmpfs:ramfs", row->type) || idmap_is_served(row->type) ||
	    !idmap_standing("", device_number, &standing))
		return;
	idmap_note_row(
		stage->notes, row,
		"the machine has one %s, on %s, too, and what the row says of it has an effect"
		" there as well, or none; write %s %s bind",
		row->type, standing.mount.target, standing.mount.target, row->target);
	idmap_standing_done(&standing);
}

/*
 * Whether the row that is in place shows the same btrfs, which may lie on several devices. Its
 * subvolumes differ in the second word (btrfs_statfs() of fs/btrfs/super.c).
 */
static bool is_same_btrfs(const struct idmap_stage *stage, const struct idmap_row *other,
			  const struct idmap_row *row, const struct statfs *fs)
{
	idmap_closed int fd = -1;
	struct statfs its;

	if (other->flags & IDMAP_LAYER)
		return other->device && idmap_same_device(other->device, row->device);
	fd = idmap_open_inside(stage->seen_fd, other->target, O_PATH, RESOLVE_NO_SYMLINKS);
	return fd >= 0 && !fstatfs(fd, &its) && its.f_type == fs->f_type &&
	       its.f_fsid.__val[0] == fs->f_fsid.__val[0];
}

/* Subvolumes of a btrfs have numbers of their own, and the device in common. */
int idmap_once_check(const struct idmap_stage *stage, struct idmap_row *row, int tree_fd,
		     struct idmap_error *ret_error)
{
	/* What names no device may have the same word for another one: a tag, or "none". */
	const bool named = *row->device == '/' && !idmap_has_no_device(row->type);
	const struct idmap_row *other;
	struct statfs fs;
	struct stat st;
	bool parts;
	uint32_t i;

	if (fstat(tree_fd, &st))
		return 0;
	parts = named && !fstatfs(tree_fd, &fs) && fs.f_type == MAGIC_BTRFS;
	row->device_number = st.st_dev;
	for (i = 0; i < stage->plan->rows && (other = stage->plan->row[i]) != row; i++) {
		if (!(other->flags & IDMAP_PLACED) ||
		    other->flags & (IDMAP_CLONE | IDMAP_OVERLAY) ||
		    (other->device_number != st.st_dev &&
		     !(named && !strcmp(other->device, row->device)) &&
		     !(parts && is_same_btrfs(stage, other, row, &fs))))
			continue;
		if (same_options(other, row))
			return 0;
		return idmap_fail(ret_error, row, IDMAP_BAD_TABLE, EINVAL,
				  "the row for %s has the same filesystem with other options,"
				  " and it is mounted once only; write the same in both",
				  other->target);
	}
	/* A layer may be built once more. */
	if (named && !(row->flags & IDMAP_PLACED))
		note_standing(stage, row, st.st_dev);
	else if (idmap_has_no_device(row->type) && !(row->flags & IDMAP_PLACED))
		note_of_machine(stage, row, st.st_dev);
	return 0;
}
