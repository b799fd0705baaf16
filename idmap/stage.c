// SPDX-License-Identifier: MIT
/*
 * Trees -> a whole root, or nothing. The new root is put together on folders of the initramfs,
 * attached from the start (before 7.x nothing can be attached to a detached mount), private, and
 * seen by nobody but us. Targets and the sources of binds come from a table but lead through an
 * image that may be hostile, so every one is resolved as a chrooted process would see it.
 */
#define _GNU_SOURCE
#include <errno.h>
#include <limits.h>
#include <string.h>
#include <sys/mount.h>

#include "explain.h"
#include "idmap.h"
#include "sys.h"

/* One of the two views: where it is mounted and the root of what is mounted there. */
struct view {
	const char *path;
	int *root_fd;
};

int idmap_open_in_root(int root_fd, const char *path, int flags)
{
	struct sys_open_how how = {
		.flags = (uint64_t)flags | O_CLOEXEC,
		.resolve = RESOLVE_IN_ROOT,
	};

	return sys_openat2(root_fd, path, &how);
}

static int make_folder(const char *path)
{
	int result = sys_mkdirat(AT_FDCWD, path, 0700);

	return result == -EEXIST ? 0 : result;
}

int idmap_stage_open(struct idmap_stage *stage, const struct idmap_plan *plan,
		     struct idmap_error *ret_error)
{
	int result;

	stage->seen_fd = stage->disk_fd = -1;
	stage->with_disk = plan->disk_view;
	result = make_folder("/.idmap");
	if (!result)
		result = make_folder(IDMAP_STAGE_SEEN);
	if (!result && plan->disk_view)
		result = make_folder(IDMAP_STAGE_DISK);
	if (result)
		return idmap_fail(
			ret_error, IDMAP_BAD_SYSTEM, -result,
			"no folder for the stage below /.idmap (%s); start from a writable initramfs",
			idmap_errno_text(-result));
	/* A shared parent would refuse the move of the root, and show our mounts elsewhere. */
	result = sys_mount(NULL, "/", NULL, MS_REC | MS_PRIVATE, NULL);
	if (result)
		return idmap_fail(ret_error, IDMAP_BAD_SYSTEM, -result,
				  "/ cannot be made private (%s); run as root in the first mount"
				  " namespace",
				  idmap_errno_text(-result));
	return 0;
}

/* Makes what is missing of the path, a component at a time, inside the view. */
static int make_folders(int root_fd, const char *path, uint32_t mode)
{
	char prefix[PATH_MAX];
	size_t length = strlen(path), i, name = 1;
	int parent_fd, result = 0;
	unsigned int umask_before = sys_umask(0);

	if (length >= sizeof(prefix)) {
		sys_umask(umask_before);
		return -ENAMETOOLONG;
	}
	parent_fd = idmap_open_in_root(root_fd, "/", O_PATH);
	for (i = 1; i <= length && parent_fd >= 0 && !result; i++) {
		int fd;

		if (path[i] && path[i] != '/')
			continue;
		memcpy(prefix, path, i);
		prefix[i] = 0;
		fd = idmap_open_in_root(root_fd, prefix, O_PATH | O_DIRECTORY);
		if (fd == -ENOENT) {
			result = sys_mkdirat(parent_fd, prefix + name, mode);
			if (!result)
				fd = idmap_open_in_root(root_fd, prefix, O_PATH | O_DIRECTORY);
		}
		idmap_close(&parent_fd);
		parent_fd = fd;
		name = i + 1;
	}
	if (!result && parent_fd < 0)
		result = parent_fd;
	idmap_close(&parent_fd);
	sys_umask(umask_before);
	return result;
}

static int target_failed(const struct idmap_row *row, int error, struct idmap_error *ret_error)
{
	const char *remedy;

	switch (error) {
	case ENOENT:
		remedy = "make it in the image, or add X-mount.mkdir where that can be written";
		break;
	case EROFS:
		remedy = "make it in the image, what holds it is read-only";
		break;
	case EOVERFLOW:
		remedy =
			"make it in the image, or map some disk id to seen 0 where it is to be made";
		break;
	case ENOTDIR:
	case EINVAL: /* move_mount(2) says so of a file on a folder and of a folder on a file */
		remedy = "a folder goes on a folder and a file on a file";
		break;
	case ELOOP:
		remedy = "its symbolic links lead in a circle";
		break;
	default:
		remedy = "look at it in the image";
	}
	return idmap_row_fail(ret_error, row, IDMAP_NO_TARGET, error,
			      "the target cannot be used in the new root (%s); %s",
			      idmap_errno_text(error), remedy);
}

/*
 * Makes the row's target where that is asked for. Through the seen view, so that what is made
 * belongs to what root is seen as.
 */
static int make_target(const struct idmap_stage *stage, const struct idmap_row *row,
		       struct idmap_error *ret_error)
{
	idmap_closed int target_fd = -1;
	int result;

	if (!IS_ENABLED(CONFIG_ROWS) || !(row->flags & IDMAP_MKDIR) || !row->target[1])
		return 0;
	target_fd = idmap_open_in_root(stage->seen_fd, row->target, O_PATH);
	if (target_fd != -ENOENT)
		return 0;
	result = make_folders(stage->seen_fd, row->target, row->mkdir_mode);
	return result ? target_failed(row, -result, ret_error) : 0;
}

/* Attaches the tree at the row's target in the view. */
static int place(const struct view *view, int tree_fd, const struct idmap_row *row,
		 struct idmap_error *ret_error)
{
	idmap_closed int target_fd = -1;
	int result;

	if (!IS_ENABLED(CONFIG_ROWS) || !row->target[1]) {
		result = sys_move_mount(tree_fd, "", AT_FDCWD, view->path, MOVE_MOUNT_F_EMPTY_PATH);
		if (!result)
			result = *view->root_fd =
				sys_open(view->path, O_PATH | O_DIRECTORY | O_CLOEXEC, 0);
	} else {
		result = target_fd = idmap_open_in_root(*view->root_fd, row->target, O_PATH);
		if (result >= 0)
			result = sys_move_mount(tree_fd, "", target_fd, "",
						MOVE_MOUNT_F_EMPTY_PATH | MOVE_MOUNT_T_EMPTY_PATH);
	}
	return result < 0 ? target_failed(row, -result, ret_error) : 0;
}

/* A clone of the row's source, unmapped: from the disk view. */
static int clone_source(struct idmap_stage *stage, const struct idmap_row *row,
			struct idmap_error *ret_error)
{
	idmap_closed int source_fd = idmap_open_in_root(stage->disk_fd, row->source, O_PATH);
	int fd = source_fd < 0 ? source_fd : idmap_tree_clone(source_fd, row->flags & IDMAP_RBIND);

	if (fd < 0)
		idmap_row_fail(
			ret_error, row, source_fd < 0 ? IDMAP_NO_SOURCE : IDMAP_NO_MOUNT, -fd,
			"%s in the new root cannot be cloned (%s); a bind's SOURCE is a path in the new"
			" root",
			row->source, idmap_errno_text(-fd));
	return fd;
}

int idmap_stage_add(struct idmap_stage *stage, const struct idmap_row *row,
		    struct idmap_error *ret_error)
{
	const struct view disk = {IDMAP_STAGE_DISK, &stage->disk_fd};
	const struct view seen = {IDMAP_STAGE_SEEN, &stage->seen_fd};
	bool bind = IS_ENABLED(CONFIG_BIND) && row->flags & (IDMAP_BIND | IDMAP_RBIND);
	bool both = IS_ENABLED(CONFIG_BIND) && stage->with_disk;
	idmap_closed int tree_fd = -1;
	int result;

	/* In the disk view a mount has no attributes that a clone would have to lose again. */
	tree_fd = bind ? clone_source(stage, row, ret_error)
		       : idmap_tree_mount(row, both ? 0 : row->attr, ret_error);
	if (tree_fd < 0)
		return tree_fd;
	result = make_target(stage, row, ret_error);
	if (result)
		return result;
	if (both) {
		int clone_fd;

		result = place(&disk, tree_fd, row, ret_error);
		if (result)
			return result;
		clone_fd = idmap_tree_clone(tree_fd, row->flags & IDMAP_RBIND);
		if (clone_fd < 0)
			return idmap_row_fail(ret_error, row, IDMAP_NO_MOUNT, -clone_fd,
					      "the mount cannot be cloned (%s); report it",
					      idmap_errno_text(-clone_fd));
		idmap_close(&tree_fd);
		tree_fd = clone_fd;
	}
	if (both || row->map) {
		result = idmap_tree_map(tree_fd, row, ret_error);
		if (result)
			return result;
	}
	idmap_userns_put(row->map);
	return place(&seen, tree_fd, row, ret_error);
}

static void drop(const char *path, int *root_fd)
{
	idmap_close(root_fd);
	sys_umount2(path, MNT_DETACH | UMOUNT_NOFOLLOW);
}

void idmap_stage_done(struct idmap_stage *stage)
{
	if (IS_ENABLED(CONFIG_BIND) && stage->with_disk)
		drop(IDMAP_STAGE_DISK, &stage->disk_fd);
}

void idmap_stage_drop(struct idmap_stage *stage)
{
	idmap_stage_done(stage);
	drop(IDMAP_STAGE_SEEN, &stage->seen_fd);
}
