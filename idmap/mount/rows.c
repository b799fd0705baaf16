// SPDX-License-Identifier: MIT
/*
 * What rows besides the root need of a stage: their trees unmapped in the disk view, if others are
 * cloned from them, and mapped in the seen view.
 */
#include <errno.h>
#include <limits.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/sysmacros.h>

#include "mount/announced.h"
#include "mount/bind.h"
#include "mount/layers.h"

int idmap_rows_keep(struct idmap_stage *stage, int *tree_fd, const struct idmap_row *row,
		    struct idmap_error *ret_error)
{
	int clone_fd, result;

	if (idmap_row_is_root(row)) {
		result = idmap_attach_at(stage, IDMAP_DISK, tree_fd);
		if (result)
			return idmap_workshop_failed(-result, ret_error);
		clone_fd = idmap_clone(stage->disk_fd, false);
	} else {
		idmap_parents_close(stage);
		result = idmap_attach_inside(stage->disk_fd, *tree_fd, row, ret_error);
		if (result)
			return result;
		clone_fd = idmap_clone(*tree_fd, row->flags & IDMAP_RBIND);
		idmap_close(tree_fd);
	}
	*tree_fd = clone_fd;
	return clone_fd < 0 ? idmap_fail(ret_error, row, IDMAP_NO_MOUNT, -clone_fd,
					 "the mount cannot be cloned (%m); report it")
			    : 0;
}

static int attach(struct idmap_stage *stage, int tree_fd, const struct idmap_row *row, bool folder,
		  struct idmap_error *ret_error)
{
	if (folder && !idmap_attach_in_folder(stage, tree_fd, row))
		return 0;
	idmap_parents_close(stage);
	return idmap_attach_inside(stage->seen_fd, tree_fd, row, ret_error);
}

int idmap_rows_add(struct idmap_stage *stage, struct idmap_row *row, struct idmap_error *ret_error)
{
	const bool layer = row->flags & IDMAP_LAYER, kept = idmap_in_disk_view(stage, row);
	idmap_closed int tree_fd = -1;
	struct stat st = {0};
	bool folder;
	int result;

	result = idmap_carry_for(stage, row, ret_error);
	if (result)
		return result;
	tree_fd = idmap_tree_build(stage, row, &folder, ret_error);
	if (tree_fd < 0)
		return tree_fd;
	if (row->map)
		fstat(tree_fd, &st); /* by the ids on disk */
	if (!layer) {
		idmap_copies_note(stage, row);
		result = idmap_make_target(stage, row, ret_error);
	}
	/* What others are cloned from has all that they are to keep. */
	if (!result && kept && row->flags & IDMAP_CLONE)
		result = idmap_tree_attributes(tree_fd, row, ret_error);
	if (!result && kept)
		result = idmap_rows_keep(stage, &tree_fd, row, ret_error);
	/* Without a map it shows what its source shows, whatever maps that has. */
	if (!result && kept && row->flags & IDMAP_CLONE && !row->map) {
		idmap_close(&tree_fd);
		tree_fd = idmap_clone_source(stage, row, true, &folder, ret_error);
		result = tree_fd < 0 ? tree_fd : 0;
	}
	if (!result && row->map && row->flags & IDMAP_CLONE)
		result = idmap_refuse_inside(stage, row, ret_error);
	/* With a map of its own root may not be allowed to; one that it shows is there already. */
	if (!result)
		result = idmap_refuse_announced(stage, tree_fd, row, row->target, ret_error);
	if (!result && (row->map || row->flags & (IDMAP_CLONE | IDMAP_OWN_ROOT))) {
		result = idmap_tree_map(tree_fd, row, ret_error);
		if (result && ret_error->class == IDMAP_NO_MAP)
			idmap_submount_note(stage, row, ret_error);
	}
	if (!result)
		idmap_note_found(tree_fd, row);
	if (!result && row->flags & IDMAP_UPPER && row->attr & IDMAP_RDONLY)
		result = idmap_fail(ret_error, row, IDMAP_NO_MOUNT, EROFS,
				    "the upper layer needs what can be written, and this is ro by"
				    " itself; use another filesystem, such as ext4");
	if (!result && row->map)
		idmap_owners_look(stage->notes, row, &st);
	if (!result && !layer)
		result = idmap_ask_place(stage, row, tree_fd, ret_error);
	if (!result)
		result = layer ? idmap_layers_add(stage, tree_fd, row, ret_error)
			       : attach(stage, tree_fd, row, folder, ret_error);
	if (result)
		return result;
	idmap_trace(stage->notes, "%s is in place", row->target);
	row->flags |= IDMAP_PLACED;
	if (layer)
		return 0;
	row->placed_before = stage->placed;
	stage->placed = row;
	return 0;
}

/* --- once all are in place ------------------------------------------------------------------- */

/*
 * Whether no other path of the root's can lead there: some filesystems hold upper and lower case
 * equal, or have short names, or pass over a dot or a blank at a name's end.
 */
static bool has_one_name(const char *path)
{
	for (;; path++) {
		path += strspn(path, "abcdefghijklmnopqrstuvwxyz0123456789/_-");
		if (*path != '.' || !path[1] || path[1] == '/')
			return !*path;
	}
}

/*
 * The row whose mount the path leads to, as far as there is something; NULL: it is none's, or the
 * root's.
 */
static const struct idmap_row *row_at(const struct idmap_stage *stage, const char *path)
{
	const struct idmap_row *row = stage->placed;
	struct idmap_mount_id id;
	char there[PATH_MAX];

	idmap_print(there, sizeof(there), "%s", path);
	for (;; *strrchr(there, '/') = 0) {
		id = idmap_mount_id(stage->seen_fd, *there ? there + 1 : there, row && row->mount);
		if (id.number || id.unique || !*there)
			break;
	}
	/* The other number may be one of looks, which are those of the mount's root alone. */
	while (row && (id.number ? row->mount != id.number : row->mount_unique != id.unique))
		row = row->placed_before;
	return row;
}

/* How much of the path its first names are, up to the end of the one that begins at `from`. */
static size_t next_name(const char *path, size_t from)
{
	return from + 1 + strcspn(path + from + 1, "/");
}

/*
 * Whether one path leads to the other or into it, and not by the same names. Those of an image may
 * all be two of one folder, whatever they are.
 */
static bool meet(const struct idmap_stage *stage, const char *one, const char *other, bool of_image)
{
	size_t at = 0, other_at = 0;
	bool differ = false;

	while (one[at] && other[other_at]) {
		char path[PATH_MAX], other_path[PATH_MAX];
		const size_t end = next_name(one, at), other_end = next_name(other, other_at);

		idmap_print(path, sizeof(path), "%.*s", (int)end, one);
		idmap_print(other_path, sizeof(other_path), "%.*s", (int)other_end, other);
		if (strcmp(path + at, other_path + other_at)) {
			if (!of_image && has_one_name(path + at) &&
			    has_one_name(other_path + other_at))
				return false;
			differ = true;
		}
		if (differ && !idmap_same_place(stage->seen_fd, path + 1, other_path + 1))
			return false;
		at = end;
		other_at = other_end;
	}
	return differ;
}

static const char by_another_name[] =
	"by another name (in upper and lower case, say); write both alike, or mend the image or the"
	" share where two folders are one";

/* What comes along into the root is looked for by its names, too. */
static int look_at_carried(const struct idmap_stage *stage, const struct idmap_carried *carried,
			   const struct idmap_row *row, bool of_image,
			   struct idmap_error *ret_error)
{
	const char *path = NULL;

	if (!(row->flags & IDMAP_LAYER) && meet(stage, row->target, carried->real, of_image))
		path = row->target;
	else if (row->inside && meet(stage, row->inside, carried->real, of_image))
		path = row->inside;
	return path ? idmap_fail(ret_error, row, IDMAP_NO_TARGET, EINVAL,
				 "%s leads to what is mounted on %s, or has it inside, %s", path,
				 carried->path, by_another_name)
		    : 0;
}

static int look_at(const struct idmap_stage *stage, const struct idmap_row *row,
		   struct idmap_error *ret_error)
{
	const struct idmap_row *other = row->inside ? row_at(stage, row->inside) : NULL;

	if (!(row->flags & IDMAP_LAYER) && row_at(stage, row->target) != row)
		return idmap_fail(ret_error, row, IDMAP_NO_TARGET, EEXIST,
				  "it is not seen there: another row has this folder, or one above"
				  " it, %s",
				  by_another_name);
	if (other && !idmap_path_inside(row->inside, other->target))
		return idmap_fail(ret_error, row, IDMAP_NO_TARGET, EINVAL,
				  "%s lies in the row for %s, %s", row->inside, other->target,
				  by_another_name);
	return 0;
}

/* Whether the row is in place and has to be asked; `sure`: its own names need not be. */
static bool is_asked(const struct idmap_row *row, bool sure)
{
	return row->flags & IDMAP_PLACED && !idmap_row_is_root(row) &&
	       (!sure || row->flags & IDMAP_IN_ROW);
}

/*
 * What is on no disk may be served: two filesystems of the host have folders of one number, which
 * are one for a guest that caches them.
 */
static bool is_on_disk(int root_fd)
{
	struct stat st;

	return !fstat(root_fd, &st) && major(st.st_dev);
}

int idmap_rows_look(const struct idmap_stage *stage, struct idmap_error *ret_error)
{
	const struct idmap_plan *plan = stage->plan;
	const struct idmap_carried *carried;
	const bool on_disk = is_on_disk(stage->seen_fd);
	bool sure = on_disk;
	uint32_t i;
	int result = 0;

	for (i = 0; i < plan->rows && sure; i++)
		sure = has_one_name(plan->row[i]->target) &&
		       (!plan->row[i]->inside || has_one_name(plan->row[i]->inside));
	for (i = 0; i < plan->rows && !result; i++)
		if (is_asked(plan->row[i], sure))
			result = look_at(stage, plan->row[i], ret_error);
	for (carried = stage->carry; plan->new_root && carried; carried = carried->next)
		for (i = 0; i < plan->rows && !result; i++)
			if (is_asked(plan->row[i], sure && has_one_name(carried->real)))
				result = look_at_carried(
					stage, carried, plan->row[i],
					!on_disk || plan->row[i]->flags & IDMAP_IN_ROW, ret_error);
	return result;
}
