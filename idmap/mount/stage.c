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
		result = idmap_rows_keep(views, ret_fd, row, ret_error);
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

	idmap_rows_prepare(views, row);
	result = build(views, row, &tree_fd, &folder, ret_error);
	if (!result && !layer && !idmap_row_is_root(row))
		result = idmap_rows_attach(views, tree_fd, row, folder, ret_error);
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
