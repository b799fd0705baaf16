// SPDX-License-Identifier: MIT
/*
 * Trees -> a whole root, or nothing. The new root is put together where nobody but us sees it,
 * attached from the start (before 7.x nothing can be attached to a detached mount) and private.
 * Where the root that we are in is to be the root, each row that is in place can be taken back.
 */
#include <sys/mount.h>
#include <sys/stat.h>

#include "mount/mount.h"

int idmap_stage_open(struct idmap_stage *stage, const struct idmap_plan *plan,
		     const char (*carry)[IDMAP_CARRIED_SIZE], struct idmap_error *ret_error)
{
	stage->placed = NULL;
	return idmap_views_open(&stage->views, plan, carry, ret_error);
}

/*
 * Whether the row, as it is written, has to do with what comes along. Where a link leads there is
 * found when it is met.
 */
static bool needs_carried(const struct idmap_views *views, const struct idmap_row *row)
{
	uint32_t i;

	if (row->flags & (IDMAP_MKDIR | IDMAP_IMAGE | IDMAP_IN_DISK_VIEW) &&
	    !idmap_row_is_root(row))
		return true;
	/* They stand in / itself. */
	if (row->subdir && row->inside && !row->inside[1])
		return true;
	for (i = 0; *views->carry[i]; i++)
		if (idmap_path_inside(row->target, views->carry[i]) ||
		    (row->inside && (idmap_path_inside(row->inside, views->carry[i]) ||
				     (row->flags & IDMAP_RBIND &&
				      idmap_path_inside(views->carry[i], row->inside)))))
			return true;
	return false;
}

/* The new root itself: its descriptor becomes the seen view's. */
static int attach_root(struct idmap_views *views, int *tree_fd, const struct idmap_row *row,
		       struct idmap_error *ret_error)
{
	int result = idmap_attach_at(views, IDMAP_SEEN, *tree_fd);
	struct stat st;
	uint32_t i;

	if (result)
		return idmap_target_failed(row, -result, ret_error);
	views->seen_fd = *tree_fd;
	*tree_fd = -1;
	/* Where such a folder is a link, rows may land in it by another name. */
	for (i = 0; views->plan->rows > 1 && *views->carry[i]; i++)
		if (!fstatat(views->seen_fd, views->carry[i] + 1, &st, AT_SYMLINK_NOFOLLOW) &&
		    S_ISLNK(st.st_mode))
			idmap_carry_now(views);
	return 0;
}

/* Puts the unmapped tree into the disk view, and gives a clone of it to be mapped. */
static int keep_unmapped(struct idmap_views *views, int *tree_fd, const struct idmap_row *row,
			 struct idmap_error *ret_error)
{
	int clone_fd, result;

	if (idmap_row_is_root(row)) {
		result = idmap_attach_at(views, IDMAP_DISK, *tree_fd);
		if (result)
			return idmap_target_failed(row, -result, ret_error);
	} else {
		idmap_parents_close(views);
		result = idmap_attach_inside(views->disk_fd, *tree_fd, row, ret_error);
		if (result)
			return result;
	}
	clone_fd = idmap_clone(*tree_fd, row->flags & IDMAP_RBIND);
	if (clone_fd < 0)
		return idmap_fail(ret_error, row, IDMAP_NO_MOUNT, -clone_fd,
				  "the mount cannot be cloned (%m); report it");
	if (idmap_row_is_root(row))
		views->disk_fd = *tree_fd;
	else
		idmap_close(tree_fd);
	*tree_fd = clone_fd;
	return 0;
}

/*
 * Attaches the mapped tree at the row's target in the seen view. IDMAP_BY_LINK: a link led there,
 * and the row has to be built anew, for the disk view too.
 */
static int attach(struct idmap_views *views, int tree_fd, const struct idmap_row *row, bool folder,
		  struct idmap_error *ret_error)
{
	int result = 0;

	if (folder && !idmap_attach_in_folder(views, tree_fd, row))
		return 0;
	idmap_carry_now(views);
	idmap_parents_close(views);
	if (views->plan->disk_view && !idmap_in_disk_view(views, row))
		result = idmap_check_target_link(views, row, ret_error);
	return result ? result : idmap_attach_inside(views->seen_fd, tree_fd, row, ret_error);
}

/* The row's tree, mapped, and in the disk view as well where it has to be. */
static int build(struct idmap_views *views, struct idmap_row *row, int *ret_fd, bool *ret_folder,
		 struct idmap_error *ret_error)
{
	const bool kept = idmap_in_disk_view(views, row);
	int result = 0;

	*ret_fd = idmap_tree_build(views, row, ret_folder, ret_error);
	if (*ret_fd < 0)
		return *ret_fd;
	if (!(row->flags & IDMAP_LAYER))
		result = idmap_make_target(views, row, ret_error);
	if (!result && kept)
		result = keep_unmapped(views, ret_fd, row, ret_error);
	if (!result && (kept || row->map || row->flags & (IDMAP_CLONE | IDMAP_OWN_ROOT)))
		result = idmap_tree_map(*ret_fd, row, ret_error);
	return result;
}

int idmap_stage_add(struct idmap_stage *stage, struct idmap_row *row, struct idmap_error *ret_error)
{
	struct idmap_views *views = &stage->views;
	const bool layer = row->flags & IDMAP_LAYER;
	idmap_closed int tree_fd = -1;
	bool folder;
	int result;

	if (needs_carried(views, row))
		idmap_carry_now(views);
	result = build(views, row, &tree_fd, &folder, ret_error);
	if (!result && !layer && !idmap_row_is_root(row))
		result = attach(views, tree_fd, row, folder, ret_error);
	if (result == IDMAP_BY_LINK) {
		row->flags |= IDMAP_IN_DISK_VIEW;
		return idmap_stage_add(stage, row, ret_error);
	}
	if (result)
		return result;
	idmap_userns_put(row->map);
	if (layer)
		return idmap_layers_add(views, tree_fd, row, ret_error);
	if (idmap_row_is_root(row))
		return attach_root(views, &tree_fd, row, ret_error);
	if (!idmap_is_new(views)) {
		row->placed_before = stage->placed;
		stage->placed = row;
	}
	return 0;
}

void idmap_stage_skip(struct idmap_row *row)
{
	row->flags |= IDMAP_SKIPPED;
	idmap_userns_put(row->map);
}

void idmap_stage_done(struct idmap_stage *stage)
{
	idmap_views_done(&stage->views);
}

void idmap_stage_carry(struct idmap_stage *stage, int old_fd)
{
	struct idmap_views *views = &stage->views;
	uint32_t i;

	for (i = 0; !views->carried && *views->carry[i]; i++)
		if (sys_move_mount(old_fd, views->carry[i] + 1, AT_FDCWD, views->carry[i],
				   MOVE_MOUNT_T_SYMLINKS))
			views->left |= 1u << i;
}

void idmap_stage_close(struct idmap_stage *stage)
{
	idmap_workshop_close(&stage->views);
}

void idmap_stage_drop(struct idmap_stage *stage)
{
	struct idmap_row *row;

	if (!idmap_is_new(&stage->views))
		for (row = stage->placed; row; row = row->placed_before)
			umount2(row->target, MNT_DETACH);
	stage->placed = NULL;
	idmap_views_drop(&stage->views);
}
