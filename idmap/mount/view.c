// SPDX-License-Identifier: MIT
/*
 * The views of a root while it is put together, and where they hang meanwhile: in a workshop. In an
 * initramfs, which goes away, those are plain folders. Elsewhere it is a folder of /run, or of
 * /dev, mounted on itself and unbindable: so no folder of the root that stays is covered, and what
 * is cloned recursively leaves it out.
 */
#define _GNU_SOURCE
#include <errno.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/mount.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <sys/sysmacros.h>

#include "mount/mount.h"

#define WORKSHOP ".idmap"
#define OTHER_FILES 24 /* that are open meanwhile */
#define OPENS_MOST 1000

/* --- paths and clones ------------------------------------------------------------------------ */

int idmap_open_inside(int root_fd, const char *path, int flags, uint64_t resolve)
{
	struct sys_open_how how = {
		.mode = flags & O_CREAT ? 0644 : 0,
		.flags = (uint64_t)flags | O_CLOEXEC | (flags & O_PATH ? 0 : O_NONBLOCK),
		.resolve = RESOLVE_IN_ROOT | resolve,
	};

	int fd, opens = 0;

	/*
	 * openat2(2) gives up on ".." when something is renamed or mounted anywhere meanwhile, as
	 * udevd does without end.
	 */
	do
		fd = or_errno(sys_openat2(root_fd, path, &how));
	while (fd == -EAGAIN && ++opens < OPENS_MOST);
	return fd;
}

int idmap_open_root(const struct idmap_plan *plan)
{
	return idmap_open(plan->root->folder ? plan->root->folder : "/", O_PATH | O_DIRECTORY);
}

int idmap_clone(int dir_fd, bool recursive)
{
	return or_errno(sys_open_tree(dir_fd, "",
				      OPEN_TREE_CLONE | OPEN_TREE_CLOEXEC | AT_EMPTY_PATH |
					      (recursive ? AT_RECURSIVE : 0)));
}

int idmap_make_private(int tree_fd)
{
	struct sys_mount_attr private = {.propagation = MS_PRIVATE};

	return or_errno(sys_mount_setattr(tree_fd, "", AT_EMPTY_PATH | AT_RECURSIVE, &private));
}

int idmap_leave_peers(const struct idmap_plan *plan, int tree_fd)
{
	return plan->root->shared ? idmap_make_private(tree_fd) : 0;
}

int idmap_peers_failed(const struct idmap_row *row, int error, struct idmap_error *ret_error)
{
	return idmap_fail(ret_error, row, IDMAP_NO_MOUNT, error,
			  "its clone cannot be made private (%m); %s",
			  error == ENOSYS ? "that needs Linux 5.12 or newer; boot a newer kernel"
					  : "report it");
}

/* --- the workshop ---------------------------------------------------------------------------- */

static const char *const spots[] = {
	[IDMAP_SEEN] = "seen",
	[IDMAP_DISK] = "disk",
	[IDMAP_AREA] = "area",
};

/* The path of a spot, from workshop_fd on. */
static const char *spot_path(const struct idmap_stage *stage, enum idmap_spot spot, char buffer[32])
{
	return idmap_print(buffer, 32, "%s%s", stage->workshop, spots[spot]);
}

/* Whether a mount stands on the folder `path`, one of those that come along. */
static bool stands(const struct idmap_stage *stage, const char *path)
{
	const struct idmap_carried *carried = stage->carry;

	while (carried && strcmp(carried->path, path))
		carried = carried->next;
	return carried;
}

/* Where /run is shared it appears on the peers of that, too; a clone of one would keep it. */
static void hide_copies(const struct idmap_stage *stage)
{
	struct idmap_mountinfo there;
	struct idmap_arena arena;
	struct idmap_error unused;
	char number[24], id[24], *memory, *text;
	const char *name;
	struct stat st;
	size_t size;

	if (!stage->plan->root->shared || stat(WORKSHOP, &st) ||
	    idmap_arena_map(&arena, IDMAP_MOUNTS_MEMORY, &unused))
		return;
	idmap_print(number, sizeof(number), "%u:%u", major(st.st_dev), minor(st.st_dev));
	memory = text = arena.at;
	if (idmap_file_read("/proc/self/mountinfo", &arena, &text, &size))
		*text = 0;
	while (idmap_mountinfo_next(&text, &there)) {
		name = strrchr(there.root, '/');
		if (strcmp(there.number, number) || !name || strcmp(name + 1, WORKSHOP))
			continue;
		idmap_print(id, sizeof(id), "%lu",
			    (unsigned long)idmap_mount_id(AT_FDCWD, there.target, true).number);
		if (!strcmp(id, there.id))
			mount(NULL, there.target, NULL, MS_UNBINDABLE, NULL);
	}
	munmap(memory, IDMAP_MOUNTS_MEMORY);
}

/*
 * A folder of a filesystem in memory, mounted on itself. From here on it is known by the folder
 * that it is in, since a row may cover that one.
 */
static int open_mounted_workshop(struct idmap_stage *stage)
{
	/* For the root of others it is in /run as it is here. */
	const bool run = stage->plan->root->folder || stands(stage, "/run");
	int result;

	stage->workshop_fd = idmap_open(run ? "/run" : "/dev", O_PATH | O_DIRECTORY);
	if (stage->workshop_fd < 0)
		return stage->workshop_fd;
	stage->workshop = WORKSHOP "/";
	result = or_errno(fchdir(stage->workshop_fd));
	if (!result && mkdir(WORKSHOP, 0700) && errno != EEXIST)
		result = -errno;
	if (!result)
		result = or_errno(mount(WORKSHOP, WORKSHOP, NULL, MS_BIND, NULL));
	/* Not before: an unbindable mount cannot be attached below a shared one. */
	if (!result)
		result = or_errno(mount(NULL, WORKSHOP, NULL, MS_UNBINDABLE, NULL));
	if (!result)
		hide_copies(stage);
	chdir("/");
	return result;
}

static int open_workshop(struct idmap_stage *stage)
{
	if (stage->workshop)
		return 0;
	if (!stage->plan->new_root || stage->plan->root->booted)
		return open_mounted_workshop(stage);
	/* Absolute, and a folder for each spot: one less to make and to delete. */
	stage->workshop = "/" WORKSHOP ".";
	return 0;
}

void idmap_stage_close(struct idmap_stage *stage)
{
	size_t i;

	if (stage->workshop_fd < 0)
		return;
	/* By the folder that it is in, which may stand elsewhere by now, or nowhere. */
	if (!fchdir(stage->workshop_fd))
		umount2(WORKSHOP, MNT_DETACH | UMOUNT_NOFOLLOW);
	for (i = 0; i < COUNT_OF(spots); i++) {
		char name[32];

		idmap_print(name, sizeof(name), WORKSHOP "/%s", spots[i]);
		unlinkat(stage->workshop_fd, name, AT_REMOVEDIR);
	}
	unlinkat(stage->workshop_fd, WORKSHOP, AT_REMOVEDIR);
	chdir("/");
	idmap_close(&stage->workshop_fd);
	stage->workshop = NULL;
}

/* --- attaching and taking down --------------------------------------------------------------- */

int idmap_attach_at(struct idmap_stage *stage, enum idmap_spot spot, int *tree_fd)
{
	int *const kept_fd[] = {
		[IDMAP_SEEN] = &stage->seen_fd,
		[IDMAP_DISK] = &stage->disk_fd,
		[IDMAP_AREA] = &stage->area_fd,
	};
	char buffer[32];
	const char *path;
	int result = open_workshop(stage);

	if (result)
		return result;
	path = spot_path(stage, spot, buffer);
	if (mkdirat(stage->workshop_fd, path, 0700) && errno != EEXIST)
		return -errno;
	result = or_errno(
		sys_move_mount(*tree_fd, "", stage->workshop_fd, path, MOVE_MOUNT_F_EMPTY_PATH));
	if (result)
		return result;
	*kept_fd[spot] = *tree_fd;
	*tree_fd = -1;
	return 0;
}

void idmap_detach_from(const struct idmap_stage *stage, enum idmap_spot spot)
{
	char buffer[32];

	if (stage->workshop_fd < 0 || !fchdir(stage->workshop_fd))
		umount2(spot_path(stage, spot, buffer), MNT_DETACH | UMOUNT_NOFOLLOW);
	chdir("/");
}

int idmap_carry_failed(const char *path, int error, struct idmap_error *ret_error)
{
	static const struct idmap_words remedies[] = {
		{ENOSPC, "raise the limit of mounts, sysctl.fs.mount-max="},
		{ENOMEM, "give the machine more memory"},
		{EACCES, "check that the map covers the owners of the folders on its way"},
		{0, "report it"},
	};

	return idmap_fail(ret_error, NULL, IDMAP_BAD_SYSTEM, error,
			  "%s cannot come along into the new root (%m); %s", path,
			  idmap_words_for(remedies, (uint32_t)error));
}

int idmap_workshop_failed(int error, struct idmap_error *ret_error)
{
	static const struct idmap_words remedies[] = {
		{ENOSPC, "raise the limit of mounts, sysctl.fs.mount-max="},
		{ENOSYS, "that needs Linux 5.12 or newer; boot a newer kernel"},
		{0, "run as root in the first mount namespace, with /run writable"},
	};

	return idmap_fail(ret_error, NULL, IDMAP_BAD_SYSTEM, error,
			  "/ cannot be made ready for mounts (%m); %s",
			  idmap_words_for(remedies, (uint32_t)error));
}

int idmap_target_failed(const struct idmap_row *row, int error, struct idmap_error *ret_error)
{
	static const struct idmap_words remedies[] = {
		{ENOENT, "make it in the image, or add X-mount.mkdir where that can be written"},
		{EROFS, "make it in the image, what holds it is read-only"},
		{ENOSPC, "make room there, or raise the limit of mounts, sysctl.fs.mount-max="},
		{EOVERFLOW,
		 "make it in the image, or map some disk id to seen 0 where it is to be made"},
		/* what move_mount(2) says of a file on a folder and of a folder on a file */
		{EINVAL, "a folder goes on a folder and a file on a file"},
		{ENOTDIR, "a folder goes on a folder and a file on a file"},
		{ELOOP, "its symbolic links lead in a circle"},
		{EACCES,
		 "a folder on its way belongs to an id that the map leaves out; extend the map"},
		{EXDEV, "it leads through a link of /proc; write the path that is meant"},
		{EMFILE, "let rows of one map follow each other, or use fewer maps"},
		{0, "look at it in the image"},
	};
	static const char mkdir[] = "add X-mount.mkdir, as what is in /dev and /run is no image's";
	const bool link = row->said_target && strcmp(row->said_target, row->target);
	const bool no_image =
		idmap_path_inside(row->target, "/dev") || idmap_path_inside(row->target, "/run");

	/* The last of the links, or a folder that it needs. */
	if (link && error == ENOENT)
		return idmap_fail(
			ret_error, row, IDMAP_NO_TARGET, error,
			"the target %s is a link, or behind one, and that leads to %s (%m); %s",
			row->said_target, row->target,
			no_image ? mkdir : "make that in the image, or correct the link");
	return idmap_fail(ret_error, row, IDMAP_NO_TARGET, error,
			  "the target cannot be used in the new root (%m); %s",
			  error == ENOENT && no_image ? mkdir
						      : idmap_words_for(remedies, (uint32_t)error));
}

/* --- what comes along ------------------------------------------------------------------------ */

bool idmap_same_file(int one_fd, int other_fd)
{
	struct stat one, other;

	return !fstat(one_fd, &one) && !fstat(other_fd, &other) && one.st_dev == other.st_dev &&
	       one.st_ino == other.st_ino;
}

int idmap_open_carried(const struct idmap_stage *stage, int root_fd,
		       const struct idmap_carried *carried)
{
	const bool by_links = stage->plan->rows == 1 && carried->real == carried->path;
	int fd = idmap_open_inside(root_fd, carried->real, O_PATH,
				   !by_links		       ? RESOLVE_NO_SYMLINKS
				   : stage->plan->root->booted ? 0
							       : RESOLVE_NO_XDEV);

	/* What stands on / for a while is the old root, and ".." there leads into that. */
	return fd == -EXDEV ? -ENOENT : fd;
}

/*
 * Puts a clone of one of the mounts that come along into a view. The mount itself stays where it
 * is: rows are built with /proc and /dev, and a failure must find its way to the console.
 */
static int carry_clone(const struct idmap_stage *stage, int view_fd,
		       const struct idmap_carried *carried)
{
	idmap_closed int root_fd = idmap_open_root(stage->plan);
	idmap_closed int clone_fd = or_errno(sys_open_tree(
		root_fd, carried->path + 1, OPEN_TREE_CLONE | OPEN_TREE_CLOEXEC | AT_RECURSIVE));
	idmap_closed int target_fd = idmap_open_carried(stage, view_fd, carried);
	int result = clone_fd < 0 ? clone_fd : idmap_leave_peers(stage->plan, clone_fd);

	if (!result && target_fd < 0)
		result = target_fd;
	/* A link to / is no folder for it. */
	if (!result && idmap_same_file(view_fd, target_fd))
		result = -ENOTDIR;
	return result ? result
		      : or_errno(sys_move_mount(clone_fd, "", target_fd, "",
						MOVE_MOUNT_F_EMPTY_PATH | MOVE_MOUNT_T_EMPTY_PATH));
}

int idmap_carry_clone(const struct idmap_stage *stage, struct idmap_carried *carried)
{
	int result = carry_clone(stage, stage->seen_fd, carried);

	carried->cloned = !result;
	/* What brings its folder may not be in the disk view, as nothing is cloned from that. */
	if (!result && stage->disk_fd >= 0)
		result = carry_clone(stage, stage->disk_fd, carried);
	return carried->cloned && idmap_no_folder(result) ? 0 : result;
}

/* --- the views ------------------------------------------------------------------------------- */

bool idmap_in_disk_view(const struct idmap_stage *stage, const struct idmap_row *row)
{
	return stage->plan->disk_view && !(row->flags & IDMAP_LAYER) &&
	       (idmap_row_is_root(row) || row->flags & IDMAP_IN_DISK_VIEW);
}

/* In place the disk view is a clone of all that stands. */
static int clone_standing(struct idmap_stage *stage)
{
	idmap_closed int tree_fd = idmap_clone(stage->seen_fd, true);
	int result = tree_fd < 0 ? tree_fd : idmap_leave_peers(stage->plan, tree_fd);

	return result ? result : idmap_attach_at(stage, IDMAP_DISK, &tree_fd);
}

/* Each map that waits for a row is an open file; before anything is mounted that is seen to. */
static int check_files(const struct idmap_plan *plan, struct idmap_error *ret_error)
{
	struct rlimit limit;

	if (prlimit(0, RLIMIT_NOFILE, NULL, &limit) ||
	    plan->maps_at_once + OTHER_FILES <= limit.rlim_cur)
		return 0;
	return idmap_fail(
		ret_error, NULL, IDMAP_BAD_SYSTEM, EMFILE,
		"%u maps are in use at once, and %lu files can be open; let rows of one map"
		" follow each other, or use fewer maps",
		plan->maps_at_once, (unsigned long)limit.rlim_cur);
}

int idmap_stage_open(struct idmap_stage *stage, const struct idmap_plan *plan,
		     struct idmap_carried *carry, struct idmap_notes *notes,
		     struct idmap_error *ret_error)
{
	struct idmap_carried *carried;
	int result = 0;
	uint32_t i;

	for (i = 0; i < plan->rows; i++)
		plan->row[i]->flags &= ~(uint32_t)(IDMAP_PLACED | IDMAP_MADE_UPPER |
						   IDMAP_MADE_WORK | IDMAP_FIRST_WORK);
	for (carried = carry; carried; carried = carried->next) {
		carried->real = carried->path;
		carried->cloned = carried->left = false;
	}
	*stage = (struct idmap_stage){
		.plan = plan,
		.seen_fd = -1,
		.disk_fd = -1,
		.area_fd = -1,
		.workshop_fd = -1,
		.target.fd = -1,
		.source.fd = -1,
		.carry = carry,
		.notes = notes,
	};
	result = check_files(plan, ret_error);
	if (result)
		return result;
	/* A shared parent would show our mounts elsewhere, and pivot_root() refuses it. */
	if (plan->root->shared && !plan->root->folder)
		result = or_errno(mount(NULL, "/", NULL, MS_REC | MS_PRIVATE, NULL));
	if (!result && !plan->new_root) {
		stage->seen_fd = idmap_open_root(plan);
		result = stage->seen_fd < 0 ? stage->seen_fd : 0;
		if (!result && plan->disk_view)
			result = clone_standing(stage);
	}
	if (!result)
		return 0;
	return idmap_workshop_failed(-result, ret_error);
}

void idmap_parents_close(struct idmap_stage *stage)
{
	idmap_close(&stage->target.fd);
	idmap_close(&stage->source.fd);
	stage->target.length = stage->source.length = 0;
}

void idmap_stage_done(struct idmap_stage *stage)
{
	idmap_parents_close(stage);
	if (stage->disk_fd >= 0)
		idmap_detach_from(stage, IDMAP_DISK);
	if (stage->area_fd >= 0)
		idmap_detach_from(stage, IDMAP_AREA);
	idmap_close(&stage->disk_fd);
	idmap_close(&stage->area_fd);
	if (!stage->plan->new_root)
		idmap_stage_close(stage);
}
