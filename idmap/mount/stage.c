// SPDX-License-Identifier: MIT
/*
 * Trees -> a whole root, or nothing. The new root is put together where nobody but us sees it,
 * attached from the start (before 7.x nothing can be attached to a detached mount) and private.
 * Where the root that we are in is to be the root, each row that is in place can be taken back.
 */
#define _GNU_SOURCE
#include <errno.h>
#include <limits.h>
#include <string.h>
#include <sys/mount.h>

#include "mount/announced.h"
#include "mount/behind.h"
#include "mount/layers.h"

/* The new root itself. */
static int attach_root(struct idmap_stage *stage, int *tree_fd, struct idmap_error *ret_error)
{
	int result = idmap_attach_at(stage, IDMAP_SEEN, tree_fd);

	if (result)
		return idmap_workshop_failed(-result, ret_error);
	if (stage->plan->rows > 1)
		idmap_carry_resolve(stage);
	return 0;
}

static int add_root(struct idmap_stage *stage, struct idmap_row *row, struct idmap_error *ret_error)
{
	bool folder;
	idmap_closed int tree_fd = idmap_tree_build(stage, row, &folder, ret_error);
	int result = tree_fd < 0 ? tree_fd : 0;
	struct stat st = {0};

	if (row->map)
		fstat(tree_fd, &st); /* by the ids on disk */
	if (!result && row->flags & IDMAP_OWN_ROOT && stage->plan->disk_view)
		result = idmap_tree_attributes(tree_fd, row, ret_error);
	if (!result && stage->plan->disk_view)
		result = idmap_rows_keep(stage, &tree_fd, row, ret_error);
	/* With the map root may not be allowed to. */
	if (!result)
		result = idmap_refuse_announced(stage, tree_fd, row, row->target, ret_error);
	if (!result && (row->map || row->flags & IDMAP_OWN_ROOT))
		result = idmap_tree_map(tree_fd, row, ret_error);
	if (!result)
		idmap_note_found(tree_fd, row);
	if (!result && row->map)
		idmap_owners_look(stage->notes, row, &st);
	if (!result)
		result = idmap_ask_place(stage, row, tree_fd, ret_error);
	if (!result)
		result = attach_root(stage, &tree_fd, ret_error);
	if (!result) {
		row->flags |= IDMAP_PLACED;
		idmap_trace(stage->notes, "/ is in place");
	}
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

/* Where the path leads in the seen view, links and all; false: nowhere. */
static bool real_path(const struct idmap_stage *stage, const char *path, char ret[PATH_MAX])
{
	idmap_closed int fd = idmap_open_inside(stage->seen_fd, path, O_PATH, 0);
	char link[32], view[PATH_MAX];
	ssize_t length, start;

	length = readlink(idmap_print(link, sizeof(link), "/proc/self/fd/%u", fd), ret,
			  PATH_MAX - 1);
	start = readlink(idmap_print(link, sizeof(link), "/proc/self/fd/%u", stage->seen_fd), view,
			 sizeof(view));
	if (fd < 0 || start < 1 || length <= start)
		return false;
	ret[length] = 0;
	start = start == 1 ? 0 : start;
	memmove(ret, ret + start, (size_t)(length - start + 1));
	return true;
}

void idmap_stage_bring(struct idmap_stage *stage, const char *path)
{
	struct idmap_carried *carried;
	char linked[PATH_MAX];
	const char *real = path;
	bool there = true;
	idmap_closed int fd = idmap_open_inside(stage->seen_fd, path, O_PATH, RESOLVE_NO_SYMLINKS);

	if (fd < 0 || idmap_contains(path, "/.")) { /* there is a link, or nothing */
		there = real_path(stage, path, linked);
		real = linked;
		if (stage->plan->rows == 1)
			idmap_carry_resolve(stage);
	}
	for (carried = stage->carry; stage->plan->new_root && carried; carried = carried->next)
		if (!carried->cloned && !carried->unbindable &&
		    (!there || idmap_path_inside(real, carried->real)))
			idmap_carry_clone(stage, carried);
}

/* Notes it of a file of the layer, or whole row; -ENOENT: that has none by this path. */
static int note_file(struct idmap_stage *stage, struct idmap_row *layer, const char *inside,
		     const char *path, bool *ret_noted)
{
	idmap_closed int tree_fd = -1, file_fd = -1;
	struct idmap_error unused;
	char at[PATH_MAX];
	struct idmap_row *row;
	bool folder;

	idmap_print(at, sizeof(at), "%s%s%s", idmap_row_is_root(layer) ? "" : layer->target,
		    layer->flags & IDMAP_UPPER ? "/upper" : "", inside);
	row = idmap_row_behind(stage->plan, layer, at);
	if (!row || row->flags & IDMAP_OVERLAY)
		return 0;
	/* The same once more, without its map: who else could tell the ids on disk? */
	tree_fd = idmap_tree_build(stage, row, &folder, &unused);
	if (tree_fd < 0)
		return -EINVAL;
	inside = at + (idmap_row_is_root(row) ? 0 : strlen(row->target));
	file_fd = *inside ? idmap_open_inside(tree_fd, inside, O_PATH, 0) : dup(tree_fd);
	*ret_noted = file_fd >= 0 && row->map && idmap_owners_note_file(stage, row, file_fd, path);
	return file_fd < 0 ? file_fd : 0;
}

void idmap_stage_note_program(struct idmap_stage *stage, const char *path, uint32_t uid,
			      uint32_t gid)
{
	char real[PATH_MAX];
	const char *inside = real;
	struct idmap_row *row, *layer;
	uint32_t unused;
	bool noted = false;

	if (!real_path(stage, path, real))
		return;
	row = idmap_row_holding(stage->plan, real, stage->plan->rows, &unused);
	row = row ? idmap_row_behind(stage->plan, row, real) : NULL;
	if (row && !idmap_row_is_root(row))
		inside += strlen(row->target);
	layer = row;
	if (row && row->flags & IDMAP_OVERLAY)
		layer = row->upper ? row->upper : row->below;
	/* Of an overlay the highest layer that has the file. */
	while (layer && note_file(stage, layer, inside, path, &noted) == -ENOENT && layer != row)
		layer = layer == row->upper ? row->below : layer->below;
	/* Where it cannot be made once more. */
	if (layer && !noted && idmap_owners_left_out(idmap_map_shown(stage->plan, layer), uid, gid))
		idmap_note(stage->notes,
			   "%s of the new root is nobody's (65534): the map of what it lies on"
			   " leaves its owner out; extend that map",
			   path);
}

int idmap_stage_skip(const struct idmap_stage *stage, struct idmap_row *row)
{
	idmap_closed int fd = -1;

	/* What lies on it is known by its real path; once those are known, no link counts. */
	if (!row->said_target && stage->plan->rows > 1)
		fd = idmap_open_inside(stage->seen_fd, row->target, O_PATH, RESOLVE_NO_SYMLINKS);
	if (fd == -ELOOP)
		return IDMAP_BY_LINK;
	row->flags |= IDMAP_SKIPPED;
	idmap_userns_put(row->map);
	return 0;
}

int idmap_stage_look(struct idmap_stage *stage, struct idmap_error *ret_error)
{
	const struct idmap_carried *carried;

	for (carried = stage->carry; carried; carried = carried->next) {
		idmap_closed int fd = -1;

		if (carried->cloned)
			continue;
		fd = idmap_open_inside(stage->seen_fd, carried->real, O_PATH, RESOLVE_NO_SYMLINKS);
		if (fd == -ELOOP && stage->plan->rows == 1) {
			idmap_carry_resolve(stage);
			fd = idmap_open_carried(stage, stage->seen_fd, carried);
		}
		if (fd < 0 && !idmap_no_folder(fd))
			return idmap_carry_failed(carried->path, -fd, ret_error);
	}
	return 0;
}

int idmap_stage_carry(struct idmap_stage *stage, int old_fd, struct idmap_error *ret_error)
{
	idmap_closed int root_fd = idmap_open("/", O_PATH | O_DIRECTORY);
	struct idmap_carried *carried;
	struct stat target;
	int result;

	for (carried = stage->carry; carried; carried = carried->next) {
		idmap_closed int target_fd = -1;

		if (carried->cloned)
			continue;
		target_fd = idmap_open_carried(stage, root_fd, carried);
		result = target_fd;
		/* A link to / is no folder for it. */
		if (target_fd >= 0 && idmap_same_file(root_fd, target_fd))
			result = -ENOTDIR;
		if (result >= 0)
			result = or_errno(sys_move_mount(old_fd, carried->path + 1, target_fd, "",
							 MOVE_MOUNT_T_EMPTY_PATH));
		/* A folder goes on a folder, and a file on a file. */
		if (result == -EINVAL && !fstat(target_fd, &target) && !S_ISDIR(target.st_mode))
			result = -ENOTDIR;
		carried->left = idmap_no_folder(result);
		if (result && !carried->left)
			return idmap_carry_failed(carried->path, -result, ret_error);
	}
	return 0;
}

void idmap_stage_drop(struct idmap_stage *stage)
{
	const bool in_place = !stage->plan->new_root;
	struct idmap_row *row;
	bool made = false;
	uint32_t i;

	for (i = 0; i < stage->plan->rows; i++) {
		row = stage->plan->row[i];
		made |= row->made;
		/* What was found may have been another tree, before links were known. */
		row->attr &= ~row->found_attr;
		row->found_attr = 0;
		row->mount = row->mount_unique = 0;
		row->flags &= ~(uint32_t)(IDMAP_TURNED_RO | IDMAP_DENIED | IDMAP_SKIPPED);
	}
	/* What stands in the disk view would keep a folder that was made for it. */
	if (stage->disk_fd >= 0)
		idmap_detach_from(stage, IDMAP_DISK);
	idmap_close(&stage->disk_fd);
	for (i = 0; i < stage->plan->rows; i++)
		if (!(stage->plan->row[i]->flags & IDMAP_PLACED)) /* the last one, which failed */
			idmap_target_unmake(stage, stage->plan->row[i]);
	/*
	 * Each is taken down before what it stands on, so that what was made for it is still found
	 * where that was. A new root goes as a whole if nothing was.
	 */
	idmap_parents_close(stage);
	for (row = stage->placed; row && (in_place || made); row = row->placed_before) {
		if (!fchdir(stage->seen_fd))
			umount2(row->target + 1, MNT_DETACH | UMOUNT_NOFOLLOW);
		idmap_target_unmake(stage, row);
	}
	chdir("/");
	stage->placed = NULL;
	for (i = stage->plan->rows; stage->area_fd >= 0 && i > 0; i--)
		idmap_copies_remove(stage, stage->plan->row[i - 1]);
	/* A top may lie in an overlay before it, whose own top is empty only then. */
	for (i = stage->plan->rows; stage->area_fd >= 0 && i > 0; i--)
		idmap_layers_unmake(stage, stage->plan->row[i - 1]);
	idmap_stage_done(stage);
	if (!in_place && stage->seen_fd >= 0)
		idmap_detach_from(stage, IDMAP_SEEN);
	idmap_stage_close(stage);
	idmap_close(&stage->seen_fd);
}
