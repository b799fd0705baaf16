// SPDX-License-Identifier: MIT
/*
 * Trees -> a whole root, or nothing. The new root is put together where nobody but us sees it,
 * attached from the start (before 7.x nothing can be attached to a detached mount) and private.
 * Where the root that we are in is to be the root, each row that is in place can be taken back.
 */
#include <sys/mount.h>
#include <sys/stat.h>

#include "mount/mount.h"

/* The new root itself. */
static int attach_root(struct idmap_stage *stage, int *tree_fd, struct idmap_error *ret_error)
{
	int result = idmap_attach_at(stage, IDMAP_SEEN, tree_fd);
	struct stat st;
	uint32_t i;

	if (result)
		return idmap_workshop_failed(-result, ret_error);
	/* Where such a folder is a link, rows may land in it by another name. */
	for (i = 0; !result && stage->plan->rows > 1 && *stage->carry[i]; i++)
		if (!fstatat(stage->seen_fd, stage->carry[i] + 1, &st, AT_SYMLINK_NOFOLLOW) &&
		    S_ISLNK(st.st_mode))
			result = idmap_carry_now(stage, ret_error);
	return result;
}

static int add_root(struct idmap_stage *stage, struct idmap_row *row, struct idmap_error *ret_error)
{
	bool folder;
	idmap_closed int tree_fd = idmap_tree_build(stage, row, &folder, ret_error);
	int result = tree_fd < 0 ? tree_fd : 0;

	if (!result)
		idmap_owners_note(stage, tree_fd, row);
	if (!result && stage->plan->disk_view)
		result = idmap_rows_keep(stage, &tree_fd, row, ret_error);
	if (!result && (stage->plan->disk_view || row->map || row->flags & IDMAP_OWN_ROOT))
		result = idmap_tree_map(tree_fd, row, ret_error);
	if (!result)
		result = attach_root(stage, &tree_fd, ret_error);
	if (!result)
		idmap_trace(stage->notes, "/ is in place");
	return result;
}

int idmap_stage_add(struct idmap_stage *stage, struct idmap_row *row, struct idmap_error *ret_error)
{
	/* A layer of / is a row like others, and what merges them is the root. */
	int result = idmap_row_is_root(row) && !(row->flags & IDMAP_LAYER)
			     ? add_root(stage, row, ret_error)
			     : idmap_rows_add(stage, row, ret_error);

	if (!result)
		idmap_userns_put(row->map);
	return result;
}

int idmap_stage_resolve(const struct idmap_stage *stage, struct idmap_arena *arena,
			struct idmap_error *ret_error)
{
	return idmap_links_resolve(stage, arena, ret_error);
}

int idmap_stage_link_failed(const struct idmap_stage *stage, const struct idmap_row *row,
			    struct idmap_error *ret_error)
{
	return idmap_link_failed(stage->plan, row, ret_error);
}

void idmap_stage_note_program(struct idmap_stage *stage, const char *path)
{
	struct idmap_row *root = NULL;
	struct idmap_error unused;
	uint32_t i;
	bool folder;

	/* The last one: an overlay comes after its layers. */
	for (i = 0; i < stage->plan->rows; i++)
		if (idmap_row_is_root(stage->plan->row[i]))
			root = stage->plan->row[i];
	if (root && root->map) {
		/* The same once more, without its map: who else could tell the ids on disk? */
		idmap_closed int tree_fd = idmap_tree_build(stage, root, &folder, &unused);
		idmap_closed int file_fd = idmap_open_inside(tree_fd, path, O_PATH, 0);

		idmap_owners_note_file(stage, root, file_fd, path);
	}
}

void idmap_stage_skip(struct idmap_row *row)
{
	row->flags |= IDMAP_SKIPPED;
	idmap_userns_put(row->map);
}

int idmap_stage_carry(struct idmap_stage *stage, int old_fd, struct idmap_error *ret_error)
{
	uint32_t i;

	for (i = 0; !stage->carried && *stage->carry[i]; i++) {
		int result = or_errno(sys_move_mount(old_fd, stage->carry[i] + 1, AT_FDCWD,
						     stage->carry[i], MOVE_MOUNT_T_SYMLINKS));

		if (idmap_no_folder(result))
			stage->left |= 1u << i;
		else if (result)
			return idmap_carry_failed(stage->carry[i], -result, ret_error);
	}
	return 0;
}

void idmap_stage_drop(struct idmap_stage *stage)
{
	struct idmap_row *row;

	for (row = stage->placed; row; row = row->placed_before)
		umount2(row->target, MNT_DETACH);
	stage->placed = NULL;
	idmap_stage_done(stage);
	if (stage->plan->new_root && stage->seen_fd >= 0)
		idmap_detach_from(stage, IDMAP_SEEN);
	idmap_targets_unmake(stage);
	idmap_stage_close(stage);
	idmap_close(&stage->seen_fd);
}
