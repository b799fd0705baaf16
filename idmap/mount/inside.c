// SPDX-License-Identifier: MIT
/*
 * Rows inside a view: where their targets are, what comes along into the root, and links. Targets
 * and the sources of binds come from a table but lead through an image that may be hostile, so
 * every one is resolved as a chrooted process would see it.
 */
#define _GNU_SOURCE
#include <errno.h>
#include <limits.h>
#include <string.h>
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

/* Where in the view the descriptor leads to, as a path from its root; "/" if unknown. */
static const char *path_of(int root_fd, int fd, char *buffer, size_t size)
{
	static const char format[] = "/proc/self/fd/%u";
	char name[32];
	size_t above;
	long n;

	n = readlink(idmap_print(name, sizeof(name), format, root_fd), buffer, size - 1);
	above = n > 0 ? (size_t)n : 0;
	n = readlink(idmap_print(name, sizeof(name), format, fd), buffer, size - 1);
	buffer[n > 0 ? n : 0] = 0;
	return n > (long)above ? buffer + above : "/";
}

/* --- links between rows ---------------------------------------------------------------------- */

static int link_failed(const struct idmap_row *row, const char *link, const char *field,
		       const char *path, const struct idmap_row *other,
		       struct idmap_error *ret_error)
{
	idmap_fail(ret_error, row, IDMAP_BAD_TABLE, EINVAL,
		   "%s leads to %s, where the row for %s stands; write that path as %s", link, path,
		   other->target, field);
	return IDMAP_TOLD;
}

/* Whether the row stands, as a whole, and is another one. */
static bool is_other(const struct idmap_row *other, const struct idmap_row *row)
{
	return other != row && !(other->flags & (IDMAP_SKIPPED | IDMAP_LAYER));
}

/*
 * The disk view holds the rows that the plan saw in a source's path. A link, or subdir, may lead to
 * yet another one, which is not there, and would have to be built first.
 */
int idmap_check_source_link(const struct idmap_stage *stage, const struct idmap_row *row, int fd,
			    struct idmap_error *ret_error)
{
	char buffer[PATH_MAX];
	const char *path = path_of(stage->disk_fd, fd, buffer, sizeof(buffer));
	uint32_t i;

	for (i = 0; i < stage->plan->rows; i++) {
		const struct idmap_row *other = stage->plan->row[i];
		const bool held = idmap_path_inside(path, other->target) &&
				  !idmap_path_inside(row->inside, other->target);
		const bool holds = row->flags & IDMAP_RBIND &&
				   idmap_path_inside(other->target, path) &&
				   !idmap_path_inside(other->target, row->inside);

		if (is_other(other, row) && (held || holds))
			return link_failed(row, row->source, "SOURCE", path, other, ret_error);
	}
	return 0;
}

/*
 * By its other name such a row may be a source, which no path in the table told, so it has to stand
 * in the disk view too: IDMAP_BY_LINK.
 */
int idmap_check_target_link(const struct idmap_stage *stage, const struct idmap_row *row,
			    struct idmap_error *ret_error)
{
	idmap_closed int fd =
		idmap_open_inside(stage->seen_fd, row->target, O_PATH, RESOLVE_NO_SYMLINKS);
	char buffer[PATH_MAX];
	const char *path;
	uint32_t i;

	if (fd != -ELOOP)
		return 0;
	fd = idmap_open_inside(stage->seen_fd, row->target, O_PATH, 0);
	path = path_of(stage->seen_fd, fd, buffer, sizeof(buffer));
	for (i = 0; i < stage->plan->rows; i++) {
		const struct idmap_row *other = stage->plan->row[i];

		if (is_other(other, row) && !idmap_in_disk_view(stage, other) &&
		    idmap_path_inside(path, other->target))
			return link_failed(row, row->target, "TARGET", path, other, ret_error);
	}
	return IDMAP_BY_LINK;
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

/* Attaches the tree inside the view, where links lead in it. */
static int attach_inside(int root_fd, int tree_fd, const char *path)
{
	idmap_closed int target_fd = idmap_open_inside(root_fd, path, O_PATH, 0);

	return target_fd < 0 ? target_fd
			     : or_errno(sys_move_mount(tree_fd, "", target_fd, "",
						       MOVE_MOUNT_F_EMPTY_PATH |
							       MOVE_MOUNT_T_EMPTY_PATH));
}

int idmap_attach_inside(int root_fd, int tree_fd, const struct idmap_row *row,
			struct idmap_error *ret_error)
{
	int result = attach_inside(root_fd, tree_fd, row->target);

	return result ? idmap_target_failed(row, -result, ret_error) : 0;
}

/* --- what comes along ------------------------------------------------------------------------ */

/*
 * Puts a clone of one of the mounts that come along into a view. The mount itself stays where it
 * is: rows are built with /proc and /dev, and a failure must find its way to the console.
 */
static int carry_clone(int root_fd, const char *path)
{
	idmap_closed int clone_fd = or_errno(
		sys_open_tree(AT_FDCWD, path, OPEN_TREE_CLONE | OPEN_TREE_CLOEXEC | AT_RECURSIVE));

	return clone_fd < 0 ? clone_fd : attach_inside(root_fd, clone_fd, path);
}

void idmap_carry_now(struct idmap_stage *stage)
{
	uint32_t i;

	if (stage->carried || !stage->plan->new_root || stage->seen_fd < 0)
		return;
	stage->carried = true;
	for (i = 0; *stage->carry[i]; i++) {
		if (carry_clone(stage->seen_fd, stage->carry[i]))
			stage->left |= 1u << i;
		else if (stage->plan->disk_view)
			carry_clone(stage->disk_fd, stage->carry[i]);
	}
}

/* --- targets --------------------------------------------------------------------------------- */

/* Makes the folder where it is missing, and opens it. */
static int open_or_make(int root_fd, int parent_fd, const char *path, const char *name,
			uint32_t mode)
{
	int fd = idmap_open_inside(root_fd, path, O_PATH | O_DIRECTORY, 0);

	if (fd != -ENOENT)
		return fd;
	if (mkdirat(parent_fd, name, mode))
		return -errno;
	return idmap_open_inside(root_fd, path, O_PATH | O_DIRECTORY, 0);
}

/* Makes what is missing of the path, a component at a time, inside the view. */
static int make_folders(int root_fd, const char *path, uint32_t mode)
{
	char prefix[PATH_MAX];
	size_t length = strlen(path), i, name = 1;
	idmap_closed int parent_fd = idmap_open_inside(root_fd, "/", O_PATH, 0);

	if (length >= sizeof(prefix))
		return -ENAMETOOLONG;
	for (i = 1; i <= length && parent_fd >= 0; i++) {
		int fd;

		if (path[i] && path[i] != '/')
			continue;
		memcpy(prefix, path, i);
		prefix[i] = 0;
		fd = open_or_make(root_fd, parent_fd, prefix, prefix + name, mode);
		idmap_close(&parent_fd);
		parent_fd = fd;
		name = i + 1;
	}
	return parent_fd < 0 ? parent_fd : 0;
}

int idmap_make_target(const struct idmap_stage *stage, const struct idmap_row *row,
		      struct idmap_error *ret_error)
{
	idmap_closed int target_fd = -1;
	mode_t umask_before;
	int result;

	if (!(row->flags & IDMAP_MKDIR))
		return 0;
	target_fd = idmap_open_inside(stage->seen_fd, row->target, O_PATH, 0);
	if (target_fd != -ENOENT)
		return 0;
	umask_before = umask(0);
	result = make_folders(stage->seen_fd, row->target, row->mkdir_mode);
	umask(umask_before);
	return result ? idmap_target_failed(row, -result, ret_error) : 0;
}
