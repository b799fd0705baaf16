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
#include <sys/stat.h>
#include <sys/statfs.h>

#include "explain.h"
#include "idmap.h"
#include "stage.h"
#include "sys.h"

#define WITH_DISK (IS_ENABLED(CONFIG_BIND) || IS_ENABLED(CONFIG_IMAGES))

static int open_inside(int root_fd, const char *path, int flags, uint64_t resolve)
{
	struct sys_open_how how = {
		.flags = (uint64_t)flags | O_CLOEXEC,
		.resolve = RESOLVE_IN_ROOT | resolve,
	};

	return sys_openat2(root_fd, path, &how);
}

int idmap_open_in_root(int root_fd, const char *path, int flags)
{
	return open_inside(root_fd, path, flags, 0);
}

static int open_root(void)
{
	return sys_open("/", O_PATH | O_DIRECTORY | O_CLOEXEC, 0);
}

static bool is_new(const struct idmap_stage *stage)
{
	return !IS_ENABLED(CONFIG_IN_PLACE) || stage->plan->new_root;
}

static bool with_disk(const struct idmap_stage *stage)
{
	return WITH_DISK && stage->plan->disk_view;
}

static bool is_root(const struct idmap_row *row)
{
	return !IS_ENABLED(CONFIG_ROWS) || !row->target[1];
}

/*
 * Where the views hang while the stage is up: in an initramfs, which goes away, on folders that are
 * made for them; in place the same in /run. A root that the kernel booted, and that a new root
 * leaves behind, gets no folder of ours: any of its own will do, of those that hold nothing which
 * is still needed.
 *
 * Not on top of /: there the kernel would call us chroot'ed and give no user namespace for the
 * rows that follow (fs/namespace.c, current_chrooted()).
 */
static const struct {
	char made[20];
	char spare[2][6];
} places[] = {
	[IDMAP_SEEN_VIEW] = {"/run/.idmap.seen", {"/sbin", "/mnt"}},
	[IDMAP_DISK_VIEW] = {"/run/.idmap.disk", {"/etc", "/tmp"}},
	[IDMAP_AREA] = {"/run/.idmap.area", {"/bin", "/usr"}},
};

static const char *made_place(const struct idmap_stage *stage, enum idmap_view view)
{
	return places[view].made + (is_new(stage) ? strlen("/run") : 0);
}

static int attach_at(int tree_fd, const char *path)
{
	return sys_move_mount(tree_fd, "", AT_FDCWD, path, MOVE_MOUNT_F_EMPTY_PATH);
}

int idmap_stage_attach(const struct idmap_stage *stage, enum idmap_view view, int tree_fd)
{
	int result;

	if (IS_ENABLED(CONFIG_IN_PLACE) && stage->plan->new_root && stage->plan->booted) {
		result = attach_at(tree_fd, places[view].spare[0]);
		return result ? attach_at(tree_fd, places[view].spare[1]) : 0;
	}
	sys_mkdirat(AT_FDCWD, made_place(stage, view), 0700);
	return attach_at(tree_fd, made_place(stage, view));
}

/* Attaches the tree inside the view, where links lead in it. */
static int attach_inside(int root_fd, int tree_fd, const char *path)
{
	idmap_closed int target_fd = idmap_open_in_root(root_fd, path, O_PATH);

	return target_fd < 0 ? target_fd
			     : sys_move_mount(tree_fd, "", target_fd, "",
					      MOVE_MOUNT_F_EMPTY_PATH | MOVE_MOUNT_T_EMPTY_PATH);
}

/* In place the disk view is a clone of all that stands. */
static int clone_standing(struct idmap_stage *stage)
{
	int result, tree_fd = idmap_tree_clone(stage->seen_fd, true);

	if (tree_fd < 0)
		return tree_fd;
	result = idmap_stage_attach(stage, IDMAP_DISK_VIEW, tree_fd);
	if (result)
		idmap_close(&tree_fd);
	stage->disk_fd = tree_fd;
	return result;
}

int idmap_stage_open(struct idmap_stage *stage, const struct idmap_plan *plan,
		     const char (*carry)[IDMAP_CARRIED_SIZE], struct idmap_error *ret_error)
{
	int result;

	*stage = (struct idmap_stage){.seen_fd = -1,
				      .disk_fd = -1,
				      .area_fd = -1,
				      .target.fd = -1,
				      .source.fd = -1,
				      .plan = plan,
				      .carry = carry};
	if (is_new(stage)) {
		/* A shared parent would show our mounts elsewhere. */
		result = plan->shared ? sys_mount(NULL, "/", NULL, MS_REC | MS_PRIVATE, NULL) : 0;
	} else {
		stage->seen_fd = open_root();
		result = stage->seen_fd < 0 ? stage->seen_fd : 0;
		if (!result && with_disk(stage))
			result = clone_standing(stage);
	}
	if (!result)
		return 0;
	return idmap_fail(ret_error, IDMAP_BAD_SYSTEM, -result,
			  "/ cannot be made ready for mounts (%s); run as root in the first mount"
			  " namespace, with /run writable",
			  idmap_errno_text(-result));
}

/*
 * Puts a clone of one of the mounts that come along into a view. The mount itself stays where it
 * is: rows are built with /proc and /dev, and a failure must find its way to the console.
 */
static int carry_clone(int root_fd, const char *path)
{
	idmap_closed int clone_fd = sys_open_tree(
		AT_FDCWD, path, OPEN_TREE_CLONE | OPEN_TREE_CLOEXEC | SYS_AT_RECURSIVE);

	return attach_inside(root_fd, clone_fd, path);
}

/* From here on the new root shows them, as any process that is chroot'ed to it would expect. */
static void carry_now(struct idmap_stage *stage)
{
	uint32_t i;

	if (stage->carried || !is_new(stage) || stage->seen_fd < 0)
		return;
	stage->carried = true;
	for (i = 0; *stage->carry[i]; i++) {
		if (carry_clone(stage->seen_fd, stage->carry[i]))
			stage->left |= 1u << i;
		else if (with_disk(stage))
			carry_clone(stage->disk_fd, stage->carry[i]);
	}
}

/*
 * Whether the row, as it is written, has to do with what comes along. Where a link leads there is
 * found when it is met.
 */
static bool needs_carried(const struct idmap_stage *stage, const struct idmap_row *row)
{
	uint32_t i;

	if (row->flags & (IDMAP_MKDIR | IDMAP_IMAGE | IDMAP_SHOWN) && !is_root(row))
		return true;
	/* They stand in / itself. */
	if (row->subdir && row->inside && !row->inside[1])
		return true;
	for (i = 0; *stage->carry[i]; i++)
		if (idmap_path_inside(row->target, stage->carry[i]) ||
		    (row->inside && (idmap_path_inside(row->inside, stage->carry[i]) ||
				     (row->flags & IDMAP_RBIND &&
				      idmap_path_inside(stage->carry[i], row->inside)))))
			return true;
	return false;
}

void idmap_stage_carry(struct idmap_stage *stage, int old_fd)
{
	uint32_t i;

	if (IS_ENABLED(CONFIG_ROWS) && stage->carried)
		return;
	for (i = 0; *stage->carry[i]; i++)
		if (sys_move_mount(old_fd, stage->carry[i] + 1, AT_FDCWD, stage->carry[i],
				   MOVE_MOUNT_T_SYMLINKS))
			stage->left |= 1u << i;
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
	/* EINVAL is what move_mount(2) says of a file on a folder and of a folder on a file. */
	const char *remedy = idmap_choose(
		CHOICES(ON(ENOENT,
			   "make it in the image, or add X-mount.mkdir where that can be written"),
			ON(EROFS, "make it in the image, what holds it is read-only"),
			ON(EOVERFLOW,
			   "make it in the image, or map some disk id to seen 0 where it is to be made"),
			ON2(ENOTDIR, EINVAL, "a folder goes on a folder and a file on a file"),
			ON(ELOOP, "its symbolic links lead in a circle"),
			"look at it in the image"),
		error);

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

/*
 * The folder that holds `path`, which stays open for paths that follow, and its name there. Links
 * are not followed: -ELOOP.
 */
static int open_holder(struct idmap_holder *holder, int root_fd, const char *path,
		       const char **ret_name)
{
	const size_t length = (size_t)(strrchr(path, '/') + 1 - path);
	char folder[256];

	*ret_name = path + length;
	if (length >= sizeof(folder))
		return -ENAMETOOLONG;
	if (length != holder->length || strncmp(path, holder->path, length)) {
		idmap_close(&holder->fd);
		memcpy(folder, path, length);
		folder[length] = 0;
		holder->fd =
			open_inside(root_fd, folder, O_PATH | O_DIRECTORY, RESOLVE_NO_SYMLINKS);
		holder->path = path;
		holder->length = length;
	}
	return holder->fd;
}

/* A mount by way of a link may have covered them. */
static void close_holders(struct idmap_stage *stage)
{
	idmap_close(&stage->target.fd);
	idmap_close(&stage->source.fd);
	stage->target.length = stage->source.length = 0;
}

/*
 * Attaches a folder's tree at the row's target. The last name may be a link, but that is no folder
 * and the kernel refuses it.
 */
static int place_in_folder(struct idmap_stage *stage, int tree_fd, const struct idmap_row *row)
{
	const char *name;
	const int fd = open_holder(&stage->target, stage->seen_fd, row->target, &name);

	return fd < 0 ? fd : sys_move_mount(tree_fd, "", fd, name, MOVE_MOUNT_F_EMPTY_PATH);
}

/* Attaches the tree at the row's target below the root of a view. */
static int place(int root_fd, int tree_fd, const struct idmap_row *row,
		 struct idmap_error *ret_error)
{
	int result = attach_inside(root_fd, tree_fd, row->target);

	return result ? target_failed(row, -result, ret_error) : 0;
}

/* The new root itself: its descriptor becomes the stage's. */
static int place_root(struct idmap_stage *stage, int *tree_fd, const struct idmap_row *row,
		      struct idmap_error *ret_error)
{
	int result = idmap_stage_attach(stage, IDMAP_SEEN_VIEW, *tree_fd);
	struct stat st;
	uint32_t i;

	if (result)
		return target_failed(row, -result, ret_error);
	stage->seen_fd = *tree_fd;
	*tree_fd = -1;
	/* Where such a folder is a link, rows may land in it by another name. */
	for (i = 0; IS_ENABLED(CONFIG_ROWS) && stage->plan->rows > 1 && *stage->carry[i]; i++)
		if (!sys_fstatat(stage->seen_fd, stage->carry[i] + 1, &st, AT_SYMLINK_NOFOLLOW) &&
		    S_ISLNK(st.st_mode))
			carry_now(stage);
	return 0;
}

/* Whether the row's unmapped tree stays for others to be cloned from. */
static bool in_disk(const struct idmap_stage *stage, const struct idmap_row *row)
{
	return with_disk(stage) && !(row->flags & IDMAP_LAYER) &&
	       (is_root(row) || row->flags & IDMAP_SHOWN);
}

/* Puts the unmapped tree into the disk view, and gives a clone of it to be mapped. */
static int place_disk(struct idmap_stage *stage, int *tree_fd, const struct idmap_row *row,
		      struct idmap_error *ret_error)
{
	int clone_fd, result;

	if (is_root(row)) {
		result = idmap_stage_attach(stage, IDMAP_DISK_VIEW, *tree_fd);
		if (result)
			return target_failed(row, -result, ret_error);
	} else {
		close_holders(stage);
		result = place(stage->disk_fd, *tree_fd, row, ret_error);
		if (result)
			return result;
	}
	clone_fd = idmap_tree_clone(*tree_fd, row->flags & IDMAP_RBIND);
	if (clone_fd < 0)
		return idmap_row_fail(ret_error, row, IDMAP_NO_MOUNT, -clone_fd,
				      "the mount cannot be cloned (%s); report it",
				      idmap_errno_text(-clone_fd));
	if (is_root(row))
		stage->disk_fd = *tree_fd;
	else
		idmap_close(tree_fd);
	*tree_fd = clone_fd;
	return 0;
}

/* Where in the view the descriptor leads to, as a path from its root; "/" if unknown. */
static const char *path_of(int root_fd, int fd, char *buffer, size_t size)
{
	struct idmap_text text;
	char name[32];
	size_t above;
	long n;

	idmap_text_init(&text, name, sizeof(name));
	idmap_text_add(&text, "/proc/self/fd/%u", root_fd);
	n = sys_readlink(name, buffer, size - 1);
	above = n > 0 ? (size_t)n : 0;
	idmap_text_init(&text, name, sizeof(name));
	idmap_text_add(&text, "/proc/self/fd/%u", fd);
	n = sys_readlink(name, buffer, size - 1);
	buffer[n > 0 ? n : 0] = 0;
	return n > (long)above ? buffer + above : "/";
}

static int link_failed(const struct idmap_row *row, const char *link, const char *field,
		       const char *path, const struct idmap_row *other,
		       struct idmap_error *ret_error)
{
	idmap_row_fail(ret_error, row, IDMAP_BAD_TABLE, EINVAL,
		       "%s leads to %s, where the row for %s stands; write that path as %s", link,
		       path, other->target, field);
	return IDMAP_TOLD;
}

/*
 * The disk view holds the rows that the plan saw in a source's path. A link, or subdir, may lead to
 * yet another one, which is not there, and would have to be built first.
 */
static int check_source(const struct idmap_stage *stage, const struct idmap_row *row, int fd,
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

		if (other != row && !(other->flags & (IDMAP_NOAUTO | IDMAP_LAYER)) &&
		    (held || holds))
			return link_failed(row, row->source, "SOURCE", path, other, ret_error);
	}
	return 0;
}

/*
 * A target that a link leads to: by its other name the row may be a source, which no path in the
 * table told, so it has to stand in the disk view too: -ELOOP.
 */
static int check_target(const struct idmap_stage *stage, const struct idmap_row *row,
			struct idmap_error *ret_error)
{
	idmap_closed int fd = open_inside(stage->seen_fd, row->target, O_PATH, RESOLVE_NO_SYMLINKS);
	char buffer[PATH_MAX];
	const char *path;
	uint32_t i;

	if (fd != -ELOOP)
		return 0;
	fd = idmap_open_in_root(stage->seen_fd, row->target, O_PATH);
	path = path_of(stage->seen_fd, fd, buffer, sizeof(buffer));
	for (i = 0; i < stage->plan->rows; i++) {
		const struct idmap_row *other = stage->plan->row[i];

		if (other != row && !in_disk(stage, other) &&
		    !(other->flags & (IDMAP_NOAUTO | IDMAP_LAYER)) &&
		    idmap_path_inside(path, other->target))
			return link_failed(row, row->target, "TARGET", path, other, ret_error);
	}
	return -ELOOP;
}

int idmap_stage_source(struct idmap_stage *stage, const struct idmap_row *row, bool *ret_folder,
		       struct idmap_error *ret_error)
{
	const int root_fd = stage->disk_fd;
	int fd = open_inside(root_fd, row->inside, O_PATH | O_DIRECTORY, RESOLVE_NO_SYMLINKS);

	*ret_folder = fd >= 0;
	if (fd == -ENOTDIR)
		fd = open_inside(root_fd, row->inside, O_PATH, RESOLVE_NO_SYMLINKS);
	if (fd != -ELOOP)
		return fd;
	carry_now(stage);
	fd = idmap_open_in_root(root_fd, row->inside, O_PATH);
	if (fd >= 0 && check_source(stage, row, fd, ret_error)) {
		idmap_close(&fd);
		return IDMAP_TOLD;
	}
	return fd;
}

/* A clone of the row's source by the folder that holds it, if no link is in the way. */
static int clone_in_folder(struct idmap_stage *stage, const struct idmap_row *row, bool *ret_folder)
{
	const char *name;
	const int folder_fd = open_holder(&stage->source, stage->disk_fd, row->inside, &name);
	struct stat st;
	int fd;

	if (folder_fd < 0)
		return folder_fd;
	fd = sys_open_tree(folder_fd, name,
			   OPEN_TREE_CLONE | OPEN_TREE_CLOEXEC | AT_SYMLINK_NOFOLLOW |
				   (row->flags & IDMAP_RBIND ? SYS_AT_RECURSIVE : 0));
	if (fd < 0)
		return fd;
	if (sys_fstat(fd, &st) || S_ISLNK(st.st_mode))
		idmap_close(&fd);
	else
		*ret_folder = S_ISDIR(st.st_mode);
	return fd;
}

/* A clone of the row's source, unmapped: from the disk view. */
static int clone_source(struct idmap_stage *stage, const struct idmap_row *row, bool *ret_folder,
			struct idmap_error *ret_error)
{
	idmap_closed int source_fd = -1, folder_fd = -1;
	int fd = row->subdir || !row->inside[1] ? -1 : clone_in_folder(stage, row, ret_folder);
	struct statfs unused;

	if (fd >= 0)
		return fd;
	fd = source_fd = idmap_stage_source(stage, row, ret_folder, ret_error);
	if (IS_ENABLED(CONFIG_SUBDIR) && fd >= 0 && row->subdir) {
		*ret_folder = false;
		fd = folder_fd = idmap_open_in_root(source_fd, row->subdir, O_PATH);
		if (fd >= 0 && check_source(stage, row, fd, ret_error))
			return IDMAP_TOLD;
	}
	if (fd == IDMAP_TOLD)
		return fd;
	if (fd >= 0)
		fd = idmap_tree_clone(fd, row->flags & IDMAP_RBIND);
	if (fd >= 0) /* as idmap_tree_map(): maybe nobody has asked its server yet */
		sys_fstatfs(fd, &unused);
	if (fd < 0)
		idmap_row_fail(
			ret_error, row, source_fd < 0 ? IDMAP_NO_SOURCE : IDMAP_NO_MOUNT, -fd,
			"%s in the new root cannot be cloned (%s); a bind's SOURCE is a path in the new"
			" root",
			row->source, idmap_errno_text(-fd));
	return fd;
}

/* A clone of the root that the kernel booted. */
static int clone_booted(const struct idmap_row *row, struct idmap_error *ret_error)
{
	idmap_closed int root_fd = open_root();
	int fd = root_fd < 0 ? root_fd : idmap_tree_clone(root_fd, false);

	if (fd < 0)
		idmap_row_fail(ret_error, row, IDMAP_NO_MOUNT, -fd,
			       "the root cannot be cloned (%s); boot with an initramfs",
			       idmap_errno_text(-fd));
	return fd;
}

/* The row's tree, detached and unmapped; and whether it surely is a folder. */
static int build(struct idmap_stage *stage, struct idmap_row *row, bool *ret_folder,
		 struct idmap_error *ret_error)
{
	/* In the disk view a mount has no attributes that a clone would have to lose again. */
	const uint32_t attr = in_disk(stage, row) ? 0 : row->attr;
	int fd;

	*ret_folder = !row->subdir;
	if (IS_ENABLED(CONFIG_BIND) && row->flags & IDMAP_CLONE)
		return clone_source(stage, row, ret_folder, ret_error);
	if (IS_ENABLED(CONFIG_LAYERS) && row->flags & IDMAP_OVERLAY)
		return idmap_layers_merge(stage, row, ret_error);
	if (IS_ENABLED(CONFIG_IN_PLACE) && row->flags & IDMAP_BOOTED)
		fd = clone_booted(row, ret_error);
	else if (IS_ENABLED(CONFIG_IMAGES))
		fd = idmap_image_mount(stage, row, attr, ret_error);
	else
		fd = idmap_tree_mount(row, attr, ret_error);
	if (IS_ENABLED(CONFIG_SUBDIR) && fd >= 0 && row->subdir)
		return idmap_layers_subdir(stage, fd, row, ret_error);
	return fd;
}

int idmap_stage_add(struct idmap_stage *stage, struct idmap_row *row, struct idmap_error *ret_error)
{
	const bool layer = IS_ENABLED(CONFIG_LAYERS) && row->flags & IDMAP_LAYER;
	const bool clone = in_disk(stage, row) || row->flags & (IDMAP_CLONE | IDMAP_BOOTED);
	idmap_closed int tree_fd = -1;
	bool folder;
	int result = 0;

	if (IS_ENABLED(CONFIG_ROWS) && needs_carried(stage, row))
		carry_now(stage);
	tree_fd = build(stage, row, &folder, ret_error);
	if (tree_fd < 0)
		return tree_fd;
	if (!layer)
		result = make_target(stage, row, ret_error);
	if (!result && in_disk(stage, row))
		result = place_disk(stage, &tree_fd, row, ret_error);
	if (!result && (clone || row->map))
		result = idmap_tree_map(tree_fd, row, ret_error);
	if (result)
		return result;
	if (IS_ENABLED(CONFIG_ROWS) && !layer && !is_root(row) &&
	    (!folder || place_in_folder(stage, tree_fd, row))) {
		carry_now(stage);
		close_holders(stage);
		if (with_disk(stage) && !in_disk(stage, row))
			result = check_target(stage, row, ret_error);
		if (result == -ELOOP) {
			row->flags |= IDMAP_SHOWN;
			idmap_close(&tree_fd);
			return idmap_stage_add(stage, row, ret_error);
		}
		if (!result)
			result = place(stage->seen_fd, tree_fd, row, ret_error);
		if (result)
			return result;
	}
	idmap_userns_put(row->map);
	if (layer)
		return idmap_layers_add(stage, tree_fd, row, ret_error);
	if (is_root(row))
		return place_root(stage, &tree_fd, row, ret_error);
	if (!is_new(stage)) {
		row->placed_before = stage->placed;
		stage->placed = row;
	}
	return result;
}

void idmap_stage_detach(int *fd)
{
	if (*fd >= 0 && !sys_fchdir(*fd))
		sys_umount2(".", MNT_DETACH);
	sys_chdir("/");
	idmap_close(fd);
}

/* A view, and in place the folder that was made for it. */
static void drop_view(const struct idmap_stage *stage, enum idmap_view view, int *fd)
{
	if (*fd < 0)
		return;
	idmap_stage_detach(fd);
	if (!is_new(stage))
		sys_unlinkat(AT_FDCWD, made_place(stage, view), AT_REMOVEDIR);
}

void idmap_stage_done(struct idmap_stage *stage)
{
	close_holders(stage);
	if (WITH_DISK)
		drop_view(stage, IDMAP_DISK_VIEW, &stage->disk_fd);
	if (IS_ENABLED(CONFIG_LAYERS) || IS_ENABLED(CONFIG_SUBDIR))
		drop_view(stage, IDMAP_AREA, &stage->area_fd);
}

void idmap_stage_drop(struct idmap_stage *stage)
{
	idmap_stage_done(stage);
	if (is_new(stage))
		idmap_stage_detach(&stage->seen_fd);
	for (; !is_new(stage) && stage->placed; stage->placed = stage->placed->placed_before)
		sys_umount2(stage->placed->target, MNT_DETACH);
	idmap_close(&stage->seen_fd);
}
