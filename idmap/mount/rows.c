// SPDX-License-Identifier: MIT
/*
 * What rows besides the root need of a stage: their trees unmapped in the disk view, if others are
 * cloned from them, and mapped in the seen view.
 */
#include "mount/mount.h"

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

void idmap_rows_prepare(struct idmap_views *views, const struct idmap_row *row)
{
	if (needs_carried(views, row))
		idmap_carry_now(views);
}

int idmap_rows_keep(struct idmap_views *views, int *tree_fd, const struct idmap_row *row,
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

int idmap_rows_attach(struct idmap_views *views, int tree_fd, const struct idmap_row *row,
		      bool folder, struct idmap_error *ret_error)
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
