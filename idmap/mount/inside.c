// SPDX-License-Identifier: MIT
/*
 * Rows inside a view: where their targets are, and what comes along into the root. Targets and the
 * sources of binds come from a table but lead through an image that may be hostile, so every one is
 * opened as a chrooted process would, and without a link on the way (see links.c).
 */
#define _GNU_SOURCE
#include <errno.h>
#include <limits.h>
#include <string.h>
#include <sys/mount.h>
#include <sys/stat.h>

#include "mount/mount.h"

/* --- folders of rows ------------------------------------------------------------------------- */

int idmap_parent_of(struct idmap_parent *parent, int root_fd, const char *path,
		    const char **ret_name)
{
	const size_t length = (size_t)(strrchr(path, '/') + 1 - path);
	char folder[256];

	*ret_name = path + length;
	if (length >= sizeof(folder))
		return -ENAMETOOLONG;
	if (length != parent->length || strncmp(path, parent->path, length)) {
		idmap_close(&parent->fd);
		memcpy(folder, path, length);
		folder[length] = 0;
		parent->fd = idmap_open_inside(root_fd, folder, O_PATH | O_DIRECTORY,
					       RESOLVE_NO_SYMLINKS);
		parent->path = path;
		parent->length = length;
	}
	return parent->fd;
}

/* --- attaching ------------------------------------------------------------------------------- */

int idmap_attach_in_folder(struct idmap_stage *stage, int tree_fd, const struct idmap_row *row)
{
	const char *name;
	const int fd = idmap_parent_of(&stage->target, stage->seen_fd, row->target, &name);

	/* The last name may be a link, but that is no folder and the kernel refuses it. */
	return fd < 0 ? fd
		      : or_errno(sys_move_mount(tree_fd, "", fd, name, MOVE_MOUNT_F_EMPTY_PATH));
}

static int attach_inside(int root_fd, int tree_fd, const char *path, uint64_t resolve)
{
	idmap_closed int target_fd = idmap_open_inside(root_fd, path, O_PATH, resolve);

	return target_fd < 0 ? target_fd
			     : or_errno(sys_move_mount(tree_fd, "", target_fd, "",
						       MOVE_MOUNT_F_EMPTY_PATH |
							       MOVE_MOUNT_T_EMPTY_PATH));
}

int idmap_attach_inside(int root_fd, int tree_fd, const struct idmap_row *row,
			struct idmap_error *ret_error)
{
	int result = attach_inside(root_fd, tree_fd, row->target, RESOLVE_NO_SYMLINKS);

	if (result == -ELOOP)
		return IDMAP_BY_LINK;
	return result ? idmap_target_failed(row, -result, ret_error) : 0;
}

/* --- what comes along ------------------------------------------------------------------------ */

/* Whether the row shows it: its source lies in that, or it is an rbind that has it inside. */
static bool shows_carried(const struct idmap_carried *carried, const struct idmap_row *row)
{
	return row->inside &&
	       (idmap_path_inside(row->inside, carried->real) ||
		(row->flags & IDMAP_RBIND && idmap_path_inside(carried->real, row->inside)));
}

/* Whether the row has to do with what comes along. */
static bool concerns(const struct idmap_carried *carried, const struct idmap_row *row)
{
	/* Where a target is made, or an image is, cannot be told from the path alone. */
	return row->flags & (IDMAP_MKDIR | IDMAP_IMAGE | IDMAP_IN_DISK_VIEW) ||
	       idmap_path_inside(row->target, carried->real) || shows_carried(carried, row);
}

/*
 * Whether a row that is still to come covers the place where it would land. The one at hand does
 * not, nor does the overlay that merges it, if that shows it: its source is opened before.
 */
static bool is_covered_later(const struct idmap_plan *plan, const struct idmap_carried *carried,
			     const struct idmap_row *at_hand)
{
	uint32_t i;

	for (i = 0; i < plan->rows; i++) {
		const struct idmap_row *row = plan->row[i];

		if (!strcmp(row->target, at_hand->target) && shows_carried(carried, at_hand))
			continue;
		if (!(row->flags & (IDMAP_PLACED | IDMAP_SKIPPED)) && !idmap_row_is_root(row) &&
		    strcmp(row->target, carried->real) &&
		    idmap_path_inside(carried->real, row->target))
			return true;
	}
	return false;
}

static int carry_before(const struct idmap_stage *stage, const struct idmap_row *row,
			struct idmap_carried *carried, struct idmap_error *ret_error)
{
	int result;

	if (carried->unbindable)
		return idmap_fail(ret_error, row, IDMAP_BAD_SYSTEM, EINVAL,
				  "the mount on %s, or one in it, is unbindable, so the new root"
				  " cannot have it before this row; make that private"
				  " (mount --make-private)",
				  carried->path);
	result = idmap_carry_clone(stage, carried);
	/* A row that is still to come may bring the folder. */
	return result && !idmap_no_folder(result)
		       ? idmap_carry_failed(carried->path, -result, ret_error)
		       : 0;
}

int idmap_carry_for(struct idmap_stage *stage, const struct idmap_row *row,
		    struct idmap_error *ret_error)
{
	struct idmap_carried *carried;
	int result = 0;

	if (!stage->plan->new_root || stage->seen_fd < 0)
		return 0;
	for (carried = stage->carry; !result && carried; carried = carried->next)
		if (!carried->cloned && concerns(carried, row) &&
		    !is_covered_later(stage->plan, carried, row))
			result = carry_before(stage, row, carried, ret_error);
	return result;
}

/* The same of a folder that has been made for the row: what lands there would cover it later. */
static int carry_onto(const struct idmap_stage *stage, const struct idmap_row *row,
		      const char *folder, struct idmap_error *ret_error)
{
	struct idmap_carried *carried;
	int result = 0;

	for (carried = stage->carry; stage->plan->new_root && !result && carried;
	     carried = carried->next)
		if (!carried->cloned && !strcmp(carried->real, folder))
			result = carry_before(stage, row, carried, ret_error);
	return result;
}

/* --- targets --------------------------------------------------------------------------------- */

/* Makes the folder where it is missing, and opens it. `name`: where in the path its name begins. */
static int open_or_make(const struct idmap_stage *stage, int parent_fd, const char *path,
			size_t name, struct idmap_row *row, struct idmap_error *ret_error)
{
	const int root_fd = stage->seen_fd;
	int fd = idmap_open_inside(root_fd, path, O_PATH | O_DIRECTORY, RESOLVE_NO_SYMLINKS);
	int result;

	if (fd == -ENOENT) {
		if (mkdirat(parent_fd, path + name, row->mkdir_mode))
			return idmap_target_failed(row, errno, ret_error);
		if (!row->made)
			row->made = (uint32_t)name;
		result = carry_onto(stage, row, path, ret_error);
		if (result)
			return result;
		fd = idmap_open_inside(root_fd, path, O_PATH | O_DIRECTORY, RESOLVE_NO_SYMLINKS);
	}
	return fd < 0 ? idmap_target_failed(row, -fd, ret_error) : fd;
}

/* Makes what is missing of the row's target, a component at a time, inside the view. */
static int make_folders(const struct idmap_stage *stage, struct idmap_row *row,
			struct idmap_error *ret_error)
{
	char prefix[PATH_MAX];
	size_t length = strlen(row->target), i, name = 1;
	idmap_closed int parent_fd = idmap_open_inside(stage->seen_fd, "/", O_PATH, 0);

	if (length >= sizeof(prefix))
		return idmap_target_failed(row, ENAMETOOLONG, ret_error);
	if (parent_fd < 0)
		return idmap_target_failed(row, -parent_fd, ret_error);
	for (i = 1; i <= length && parent_fd >= 0; i++) {
		int fd;

		if (row->target[i] && row->target[i] != '/')
			continue;
		memcpy(prefix, row->target, i);
		prefix[i] = 0;
		fd = open_or_make(stage, parent_fd, prefix, name, row, ret_error);
		idmap_close(&parent_fd);
		parent_fd = fd;
		name = i + 1;
	}
	return parent_fd < 0 ? parent_fd : 0;
}

int idmap_make_target(const struct idmap_stage *stage, struct idmap_row *row,
		      struct idmap_error *ret_error)
{
	idmap_closed int target_fd = -1;
	mode_t umask_before;
	int result;

	if (!(row->flags & IDMAP_MKDIR))
		return 0;
	target_fd = idmap_open_inside(stage->seen_fd, row->target, O_PATH, RESOLVE_NO_SYMLINKS);
	if (target_fd == -ELOOP)
		return IDMAP_BY_LINK;
	if (target_fd != -ENOENT)
		return 0;
	umask_before = umask(0);
	result = make_folders(stage, row, ret_error);
	umask(umask_before);
	return result;
}

int idmap_cut_name(int root_fd, char *path, const char **ret_name)
{
	char *slash = strrchr(path, '/');

	*slash = 0;
	*ret_name = slash + 1;
	return idmap_open_inside(root_fd, *path ? path : "/", O_PATH | O_DIRECTORY,
				 RESOLVE_NO_SYMLINKS);
}

/* Removes what was made of the row's target, the last name first. */
static void unmake(int root_fd, struct idmap_row *row)
{
	char path[PATH_MAX];

	idmap_print(path, sizeof(path), "%s", row->target);
	while (row->made) {
		const char *name;
		idmap_closed int parent_fd = idmap_cut_name(root_fd, path, &name);

		/* What has come along may stand there, and nothing else any more. */
		if (unlinkat(parent_fd, name, AT_REMOVEDIR) && errno == EBUSY &&
		    !fchdir(parent_fd) && !umount2(name, MNT_DETACH | UMOUNT_NOFOLLOW))
			unlinkat(parent_fd, name, AT_REMOVEDIR);
		if (name == path + row->made)
			row->made = 0;
	}
}

void idmap_target_unmake(const struct idmap_stage *stage, struct idmap_row *row)
{
	unmake(stage->seen_fd, row);
}
