// SPDX-License-Identifier: MIT
/*
 * What stands where while the root is put together: opening paths inside it, attaching, taking
 * down. Targets and the sources of binds come from a table but lead through an image that may be
 * hostile, so every one is resolved as a chrooted process would see it.
 *
 * What hangs somewhere meanwhile hangs in a workshop. In an initramfs, which goes away, that is a
 * plain folder. Elsewhere it is a folder of /run, or of /dev, mounted on itself and unbindable: so
 * no folder of the root that stays is covered, and what is cloned recursively leaves it out.
 */
#define _GNU_SOURCE
#include <errno.h>
#include <limits.h>
#include <string.h>
#include <sys/mount.h>
#include <sys/stat.h>

#include "mount/mount.h"

#define WORKSHOP ".idmap"

/* --- paths ----------------------------------------------------------------------------------- */

int idmap_open_inside(int root_fd, const char *path, int flags, uint64_t resolve)
{
	struct sys_open_how how = {
		.flags = (uint64_t)flags | O_CLOEXEC,
		.resolve = RESOLVE_IN_ROOT | resolve,
	};

	return or_errno(sys_openat2(root_fd, path, &how));
}

int idmap_open_in_root(int root_fd, const char *path, int flags)
{
	return idmap_open_inside(root_fd, path, flags, 0);
}

int idmap_open_own_root(void)
{
	return idmap_open("/", O_PATH | O_DIRECTORY);
}

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

void idmap_parents_close(struct idmap_views *views)
{
	idmap_close(&views->target.fd);
	idmap_close(&views->source.fd);
	views->target.length = views->source.length = 0;
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

bool idmap_in_disk_view(const struct idmap_views *views, const struct idmap_row *row)
{
	return views->plan->disk_view && !(row->flags & IDMAP_LAYER) &&
	       (idmap_row_is_root(row) || row->flags & IDMAP_IN_DISK_VIEW);
}

static int link_failed(const struct idmap_row *row, const char *link, const char *field,
		       const char *path, const struct idmap_row *other,
		       struct idmap_error *ret_error)
{
	idmap_fail(ret_error, row, IDMAP_BAD_TABLE, EINVAL,
		   "%s leads to %s, where the row for %s stands; write that path as %s", link, path,
		   other->target, field);
	return IDMAP_TOLD;
}

/*
 * The disk view holds the rows that the plan saw in a source's path. A link, or subdir, may lead to
 * yet another one, which is not there, and would have to be built first.
 */
int idmap_check_source_link(const struct idmap_views *views, const struct idmap_row *row, int fd,
			    struct idmap_error *ret_error)
{
	char buffer[PATH_MAX];
	const char *path = path_of(views->disk_fd, fd, buffer, sizeof(buffer));
	uint32_t i;

	for (i = 0; i < views->plan->rows; i++) {
		const struct idmap_row *other = views->plan->row[i];
		const bool held = idmap_path_inside(path, other->target) &&
				  !idmap_path_inside(row->inside, other->target);
		const bool holds = row->flags & IDMAP_RBIND &&
				   idmap_path_inside(other->target, path) &&
				   !idmap_path_inside(other->target, row->inside);

		if (other != row && !(other->flags & (IDMAP_SKIPPED | IDMAP_LAYER)) &&
		    (held || holds))
			return link_failed(row, row->source, "SOURCE", path, other, ret_error);
	}
	return 0;
}

/*
 * By its other name such a row may be a source, which no path in the table told, so it has to stand
 * in the disk view too: IDMAP_BY_LINK.
 */
int idmap_check_target_link(const struct idmap_views *views, const struct idmap_row *row,
			    struct idmap_error *ret_error)
{
	idmap_closed int fd =
		idmap_open_inside(views->seen_fd, row->target, O_PATH, RESOLVE_NO_SYMLINKS);
	char buffer[PATH_MAX];
	const char *path;
	uint32_t i;

	if (fd != -ELOOP)
		return 0;
	fd = idmap_open_in_root(views->seen_fd, row->target, O_PATH);
	path = path_of(views->seen_fd, fd, buffer, sizeof(buffer));
	for (i = 0; i < views->plan->rows; i++) {
		const struct idmap_row *other = views->plan->row[i];

		if (other != row && !idmap_in_disk_view(views, other) &&
		    !(other->flags & (IDMAP_SKIPPED | IDMAP_LAYER)) &&
		    idmap_path_inside(path, other->target))
			return link_failed(row, row->target, "TARGET", path, other, ret_error);
	}
	return IDMAP_BY_LINK;
}

/* --- the workshop ---------------------------------------------------------------------------- */

static const char *const spots[] = {
	[IDMAP_SEEN] = "seen",
	[IDMAP_DISK] = "disk",
	[IDMAP_AREA] = "area",
};

/* Its path, with the spot's name behind it. */
static const char *spot_path(const struct idmap_views *views, enum idmap_spot spot, char buffer[32])
{
	return idmap_print(buffer, 32, "%s/%s", views->workshop, spots[spot]);
}

/* Whether a mount stands on the folder `path`, one of those that come along. */
static bool stands(const struct idmap_views *views, const char *path)
{
	size_t i;

	for (i = 0; *views->carry[i]; i++)
		if (!strcmp(views->carry[i], path))
			return true;
	return false;
}

static int make_folder(const char *path)
{
	return mkdir(path, 0700) && errno != EEXIST ? -errno : 0;
}

/* A folder of a filesystem in memory, mounted on itself; what is above it may be shared. */
static int open_mounted_workshop(struct idmap_views *views)
{
	const bool run = stands(views, "/run");
	const char *const path = run ? "/run/" WORKSHOP : "/dev/" WORKSHOP;
	int result;

	views->workshop_fd = idmap_open(run ? "/run" : "/dev", O_PATH | O_DIRECTORY);
	if (views->workshop_fd < 0)
		return views->workshop_fd;
	views->workshop = path;
	result = make_folder(path);
	if (!result)
		result = or_errno(mount(path, path, NULL, MS_BIND, NULL));
	/* Not before: an unbindable mount cannot be attached below a shared one. */
	if (!result)
		result = or_errno(mount(NULL, path, NULL, MS_UNBINDABLE, NULL));
	return result;
}

static int open_workshop(struct idmap_views *views)
{
	if (views->workshop)
		return 0;
	if (!idmap_is_new(views) || views->plan->root->booted)
		return open_mounted_workshop(views);
	views->workshop = "/" WORKSHOP;
	return make_folder(views->workshop);
}

void idmap_workshop_close(struct idmap_views *views)
{
	size_t i;

	if (views->workshop_fd < 0)
		return;
	/* By the folder that it is in, which may stand elsewhere by now, or nowhere. */
	if (!fchdir(views->workshop_fd))
		umount2(WORKSHOP, MNT_DETACH | UMOUNT_NOFOLLOW);
	for (i = 0; i < COUNT_OF(spots); i++) {
		char name[32];

		idmap_print(name, sizeof(name), WORKSHOP "/%s", spots[i]);
		unlinkat(views->workshop_fd, name, AT_REMOVEDIR);
	}
	unlinkat(views->workshop_fd, WORKSHOP, AT_REMOVEDIR);
	chdir("/");
	idmap_close(&views->workshop_fd);
	views->workshop = NULL;
}

/* --- attaching and taking down --------------------------------------------------------------- */

int idmap_attach_at(struct idmap_views *views, enum idmap_spot spot, int tree_fd)
{
	char buffer[32];
	const char *path;
	int result = open_workshop(views);

	if (result)
		return result;
	path = spot_path(views, spot, buffer);
	result = make_folder(path);
	if (result)
		return result;
	return or_errno(sys_move_mount(tree_fd, "", AT_FDCWD, path, MOVE_MOUNT_F_EMPTY_PATH));
}

void idmap_detach_from(const struct idmap_views *views, enum idmap_spot spot, int *fd)
{
	char buffer[32];

	if (*fd < 0)
		return;
	umount2(spot_path(views, spot, buffer), MNT_DETACH | UMOUNT_NOFOLLOW);
	idmap_close(fd);
}

int idmap_attach_in_folder(struct idmap_views *views, int tree_fd, const struct idmap_row *row)
{
	const char *name;
	const int fd = idmap_parent_of(&views->target, views->seen_fd, row->target, &name);

	/* The last name may be a link, but that is no folder and the kernel refuses it. */
	return fd < 0 ? fd
		      : or_errno(sys_move_mount(tree_fd, "", fd, name, MOVE_MOUNT_F_EMPTY_PATH));
}

/* Attaches the tree inside the view, where links lead in it. */
static int attach_inside(int root_fd, int tree_fd, const char *path)
{
	idmap_closed int target_fd = idmap_open_in_root(root_fd, path, O_PATH);

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

/* --- the area -------------------------------------------------------------------------------- */

static int open_area(struct idmap_views *views)
{
	idmap_closed int fs_fd = -1;
	int fd, result;

	if (views->area_fd >= 0)
		return 0;
	fs_fd = or_errno(sys_fsopen("tmpfs", FSOPEN_CLOEXEC));
	result = fs_fd < 0 ? fs_fd : or_errno(sys_fsconfig(fs_fd, FSCONFIG_CMD_CREATE, NULL, NULL));
	if (result)
		return result;
	fd = or_errno(sys_fsmount(fs_fd, FSMOUNT_CLOEXEC, 0));
	if (fd < 0)
		return fd;
	result = idmap_attach_at(views, IDMAP_AREA, fd);
	if (result)
		idmap_close(&fd);
	views->area_fd = fd;
	return result;
}

static const char *slot_name(uint32_t slot, char buffer[12])
{
	return idmap_print(buffer, 12, "%u", slot);
}

int idmap_area_put(struct idmap_views *views, int tree_fd, uint32_t *ret_slot)
{
	int result = open_area(views);
	char name[12];

	if (result)
		return result;
	*ret_slot = views->slots++;
	if (mkdirat(views->area_fd, slot_name(*ret_slot, name), 0700))
		return -errno;
	return or_errno(sys_move_mount(tree_fd, "", views->area_fd, name, MOVE_MOUNT_F_EMPTY_PATH));
}

void idmap_area_take(const struct idmap_views *views, uint32_t slot)
{
	char name[12];

	if (!fchdir(views->area_fd))
		umount2(slot_name(slot, name), MNT_DETACH | UMOUNT_NOFOLLOW);
	chdir("/");
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

void idmap_carry_now(struct idmap_views *views)
{
	uint32_t i;

	if (views->carried || !idmap_is_new(views) || views->seen_fd < 0)
		return;
	views->carried = true;
	for (i = 0; *views->carry[i]; i++) {
		if (carry_clone(views->seen_fd, views->carry[i]))
			views->left |= 1u << i;
		else if (views->plan->disk_view)
			carry_clone(views->disk_fd, views->carry[i]);
	}
}

/* --- targets --------------------------------------------------------------------------------- */

int idmap_target_failed(const struct idmap_row *row, int error, struct idmap_error *ret_error)
{
	static const struct idmap_words remedies[] = {
		{ENOENT, "make it in the image, or add X-mount.mkdir where that can be written"},
		{EROFS, "make it in the image, what holds it is read-only"},
		{EOVERFLOW,
		 "make it in the image, or map some disk id to seen 0 where it is to be made"},
		/* what move_mount(2) says of a file on a folder and of a folder on a file */
		{EINVAL, "a folder goes on a folder and a file on a file"},
		{ENOTDIR, "a folder goes on a folder and a file on a file"},
		{ELOOP, "its symbolic links lead in a circle"},
		{0, "look at it in the image"},
	};

	return idmap_fail(ret_error, row, IDMAP_NO_TARGET, error,
			  "the target cannot be used in the new root (%m); %s",
			  idmap_words_for(remedies, (uint32_t)error));
}

/* Makes the folder where it is missing, and opens it. */
static int open_or_make(int root_fd, int parent_fd, const char *path, const char *name,
			uint32_t mode)
{
	int fd = idmap_open_in_root(root_fd, path, O_PATH | O_DIRECTORY);

	if (fd != -ENOENT)
		return fd;
	if (mkdirat(parent_fd, name, mode))
		return -errno;
	return idmap_open_in_root(root_fd, path, O_PATH | O_DIRECTORY);
}

/* Makes what is missing of the path, a component at a time, inside the view. */
static int make_folders(int root_fd, const char *path, uint32_t mode)
{
	char prefix[PATH_MAX];
	size_t length = strlen(path), i, name = 1;
	idmap_closed int parent_fd = idmap_open_in_root(root_fd, "/", O_PATH);

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

int idmap_make_target(const struct idmap_views *views, const struct idmap_row *row,
		      struct idmap_error *ret_error)
{
	idmap_closed int target_fd = -1;
	mode_t umask_before;
	int result;

	if (!(row->flags & IDMAP_MKDIR) || idmap_row_is_root(row))
		return 0;
	target_fd = idmap_open_in_root(views->seen_fd, row->target, O_PATH);
	if (target_fd != -ENOENT)
		return 0;
	umask_before = umask(0);
	result = make_folders(views->seen_fd, row->target, row->mkdir_mode);
	umask(umask_before);
	return result ? idmap_target_failed(row, -result, ret_error) : 0;
}

/* --- the views ------------------------------------------------------------------------------- */

/* In place the disk view is a clone of all that stands. */
static int clone_standing(struct idmap_views *views)
{
	int result, tree_fd = or_errno(sys_open_tree(views->seen_fd, "",
						     OPEN_TREE_CLONE | OPEN_TREE_CLOEXEC |
							     AT_EMPTY_PATH | AT_RECURSIVE));

	if (tree_fd < 0)
		return tree_fd;
	result = idmap_attach_at(views, IDMAP_DISK, tree_fd);
	if (result)
		idmap_close(&tree_fd);
	views->disk_fd = tree_fd;
	return result;
}

int idmap_views_open(struct idmap_views *views, const struct idmap_plan *plan,
		     const char (*carry)[IDMAP_CARRIED_SIZE], struct idmap_error *ret_error)
{
	int result = 0;

	*views = (struct idmap_views){
		.plan = plan,
		.seen_fd = -1,
		.disk_fd = -1,
		.area_fd = -1,
		.workshop_fd = -1,
		.target.fd = -1,
		.source.fd = -1,
		.carry = carry,
	};
	if (idmap_is_new(views)) {
		/* A shared parent would show our mounts elsewhere. */
		if (plan->root->shared)
			result = or_errno(mount(NULL, "/", NULL, MS_REC | MS_PRIVATE, NULL));
	} else {
		views->seen_fd = idmap_open_own_root();
		result = views->seen_fd < 0 ? views->seen_fd : 0;
		if (!result && plan->disk_view)
			result = clone_standing(views);
	}
	if (!result)
		return 0;
	return idmap_fail(ret_error, NULL, IDMAP_BAD_SYSTEM, -result,
			  "/ cannot be made ready for mounts (%m); run as root in the first mount"
			  " namespace, with /run writable");
}

void idmap_views_done(struct idmap_views *views)
{
	idmap_parents_close(views);
	idmap_detach_from(views, IDMAP_DISK, &views->disk_fd);
	idmap_detach_from(views, IDMAP_AREA, &views->area_fd);
	if (!idmap_is_new(views))
		idmap_workshop_close(views);
}

void idmap_views_drop(struct idmap_views *views)
{
	idmap_views_done(views);
	if (idmap_is_new(views))
		idmap_detach_from(views, IDMAP_SEEN, &views->seen_fd);
	idmap_workshop_close(views);
	idmap_close(&views->seen_fd);
}
