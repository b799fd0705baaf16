// SPDX-License-Identifier: MIT
/*
 * The top of an overlay: its folders upper and work, and what a new upper looks like, which becomes
 * the looks of the merged root.
 */
#define _GNU_SOURCE
#include <errno.h>
#include <stdio.h> /* renameat() */
#include <string.h>
#include <sys/stat.h>

#include "mount/behind.h"
#include "mount/layers.h"
#include "mount/standing.h"

#define NEW_UPPER "upper.new"
#define WORK "work"
#define VOLATILE WORK "/" WORK "/incompat" /* overlayfs makes one more of that name in it */

/* A folder of the upper filesystem; a link there would lead elsewhere and is refused. */
static int open_folder(int top_fd, const char *name, bool *ret_made)
{
	int fd;

	*ret_made = !mkdirat(top_fd, name, 0700);
	if (!*ret_made && errno != EEXIST)
		return -errno;
	fd = or_errno(openat(top_fd, name, O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC));
	if (fd < 0 && *ret_made)
		unlinkat(top_fd, name, AT_REMOVEDIR);
	return fd;
}

/* Whether another overlay of the plan writes to the same folder; the kernel does not say so. */
static bool is_used(const struct idmap_stage *stage, const struct idmap_row *row)
{
	const struct idmap_row *other;
	uint32_t i;

	for (i = 0; i < stage->plan->rows && (other = stage->plan->row[i]) != row; i++)
		if (other->flags & IDMAP_OVERLAY && other->flags & IDMAP_PLACED &&
		    other->inode == row->inode && other->device_number == row->device_number)
			return true;
	return false;
}

void idmap_layers_unmake(const struct idmap_stage *stage, struct idmap_row *row)
{
	idmap_closed int top_fd = -1;

	if (!row->upper ||
	    !(row->flags & (IDMAP_MADE_UPPER | IDMAP_MADE_WORK | IDMAP_FIRST_WORK | IDMAP_PLACED)))
		return;
	top_fd = idmap_slot_open(stage, row->upper->slot);
	/*
	 * What a volatile one of ours has left (ovl_create_volatile_dirty() in
	 * fs/overlayfs/super.c), so that there can be another one.
	 */
	if (row->flags & IDMAP_PLACED && !unlinkat(top_fd, VOLATILE "/volatile/dirty", 0)) {
		unlinkat(top_fd, VOLATILE "/volatile", AT_REMOVEDIR);
		unlinkat(top_fd, VOLATILE, AT_REMOVEDIR);
	}
	/* Only while nothing has been written to them; overlayfs has made folders in work. */
	if (row->flags & IDMAP_MADE_UPPER)
		unlinkat(top_fd, "upper", AT_REMOVEDIR);
	if (row->flags & IDMAP_FIRST_WORK) {
		unlinkat(top_fd, WORK "/work", AT_REMOVEDIR);
		unlinkat(top_fd, WORK "/index", AT_REMOVEDIR);
	}
	if (row->flags & IDMAP_MADE_WORK)
		unlinkat(top_fd, WORK, AT_REMOVEDIR);
	row->flags &= ~(uint32_t)(IDMAP_MADE_UPPER | IDMAP_MADE_WORK | IDMAP_FIRST_WORK);
}

/* --- what is copied to it -------------------------------------------------------------------- */

/*
 * The folder upper of the overlay that the row's target lies on, and the path that it has there.
 * -ENOENT: it lies on none that writes to a disk.
 */
static int open_copies(const struct idmap_stage *stage, const struct idmap_row *row,
		       char path[PATH_MAX])
{
	const struct idmap_plan *plan = stage->plan;
	idmap_closed int top_fd = -1;
	struct idmap_row *holding;
	uint32_t before = 0;

	while (plan->row[before] != row)
		before++;
	idmap_print(path, PATH_MAX, "%s", row->target);
	holding = idmap_row_holding(plan, path, before, &before);
	if (holding)
		holding = idmap_row_behind(plan, holding, path);
	if (!holding || !holding->upper)
		return -ENOENT;
	if (!idmap_row_is_root(holding))
		memmove(path, path + strlen(holding->target),
			strlen(path + strlen(holding->target)) + 1);
	top_fd = idmap_slot_open(stage, holding->upper->slot);
	return or_errno(openat(top_fd, "upper", O_PATH | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC));
}

void idmap_copies_note(const struct idmap_stage *stage, struct idmap_row *row)
{
	char path[PATH_MAX];
	idmap_closed int upper_fd = row->flags & IDMAP_MKDIR ? open_copies(stage, row, path) : -1;

	while (upper_fd >= 0 && *path) {
		idmap_closed int fd =
			idmap_open_inside(upper_fd, path, O_PATH, RESOLVE_NO_SYMLINKS);

		if (fd != -ENOENT)
			break;
		row->copied++;
		*strrchr(path, '/') = 0;
	}
}

void idmap_copies_remove(const struct idmap_stage *stage, struct idmap_row *row)
{
	char path[PATH_MAX];
	idmap_closed int upper_fd = row->copied ? open_copies(stage, row, path) : -1;

	for (; upper_fd >= 0 && row->copied; row->copied--) {
		const char *name;
		idmap_closed int parent_fd = idmap_cut_name(upper_fd, path, &name);

		unlinkat(parent_fd, name, AT_REMOVEDIR);
	}
	row->copied = 0;
}

/* --- its folders ----------------------------------------------------------------------------- */

static int make_folders(const struct idmap_stage *stage, struct idmap_row *row, int top_fd,
			int below_fd, bool own_mode, const struct idmap_unmapped *unmapped)
{
	idmap_closed int upper_fd = -1, work_fd = -1, from_fd = -1, to_fd = -1;
	struct idmap_looks looks = {.stage = stage, .row = row, .unmapped = unmapped};
	struct stat st;
	bool made;
	int result;

	work_fd = open_folder(top_fd, "work", &made);
	if (work_fd < 0)
		return work_fd;
	if (made)
		row->flags |= IDMAP_MADE_WORK;
	if (faccessat(work_fd, "work", F_OK, 0))
		row->flags |= IDMAP_FIRST_WORK;
	upper_fd = or_errno(openat(top_fd, "upper", O_PATH | O_NOFOLLOW | O_CLOEXEC));
	if (upper_fd >= 0 && fstat(upper_fd, &st))
		return -errno;
	if (upper_fd >= 0 && !S_ISDIR(st.st_mode))
		return -ENOTDIR;
	if (upper_fd >= 0) {
		row->device_number = st.st_dev;
		row->inode = st.st_ino;
		return is_used(stage, row) ? -EADDRINUSE : 0;
	}
	/* It gets its name when it has its looks, whatever happens until then. */
	upper_fd = open_folder(top_fd, NEW_UPPER, &made);
	if (upper_fd < 0)
		return upper_fd;
	if (unmapped->layer_fd >= 0)
		from_fd = openat(unmapped->layer_fd, ".", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	if (unmapped->top_fd >= 0)
		to_fd = openat(unmapped->top_fd, NEW_UPPER,
			       O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
	looks.from_fd = below_fd;
	looks.to_fd = upper_fd;
	looks.unmapped_from_fd = unmapped->layer_fd >= 0 ? from_fd : below_fd;
	looks.unmapped_to_fd = unmapped->top_fd >= 0 ? to_fd : upper_fd;
	result = idmap_looks_copy(&looks, own_mode ? top_fd : below_fd);
	if (!result)
		result = or_errno(fstat(upper_fd, &st));
	if (!result)
		result = or_errno(renameat(top_fd, NEW_UPPER, top_fd, "upper"));
	if (result) {
		unlinkat(top_fd, NEW_UPPER, AT_REMOVEDIR);
		return result;
	}
	row->device_number = st.st_dev;
	row->inode = st.st_ino;
	row->flags |= IDMAP_MADE_UPPER;
	return 0;
}

static int cannot_make(const struct idmap_row *row, int error, struct idmap_error *ret_error)
{
	static const struct idmap_words remedies[] = {
		{EROFS, "it takes a filesystem that can be written"},
		{EACCES, "its map must know the owner of its root folder"},
		{ENOSPC, "make room on it"},
		{EPERM,
		 "use ext4, xfs or btrfs for it, as some filesystems keep no owners, and chattr"
		 " -i, where it is immutable"},
		{EOVERFLOW,
		 "its map must know the ids of seen 0, and of the layers' root folder and its ACLs"},
		{EINVAL,
		 "its map must know the ids of seen 0, and of the layers' root folder and its ACLs"},
		{ENOSYS,
		 "nobody tells the ids in the ACL of the layers' root folder before Linux 6.2,"
		 " where a mount of somebody else's has a map or is an overlay; boot a newer one,"
		 " or take the ACL out"},
		{EADDRINUSE, "another overlay of this table writes there; give each its own with"
			     " X-mount.subdir="},
		{ENOTDIR, "they are to be folders, not files or links"},
		{ELOOP, "they are to be folders, not files or links"},
		{0, "look at it"},
	};

	return idmap_fail(ret_error, row, IDMAP_NO_MOUNT, -error,
			  "the folders upper and work cannot be made in the top (%m); %s",
			  idmap_words_for(remedies, (uint32_t)-error));
}

int idmap_top_make(const struct idmap_stage *stage, struct idmap_row *row, uint32_t slot,
		   bool own_mode, const struct idmap_unmapped *unmapped,
		   struct idmap_error *ret_error)
{
	idmap_closed int top_fd = idmap_slot_open(stage, slot);
	idmap_closed int below_fd = idmap_slot_open(stage, row->below->slot);
	int result;

	if (below_fd < 0)
		return idmap_fail(
			ret_error, row->below, IDMAP_NO_MOUNT, -below_fd,
			"its root folder, whose looks the merged one has, cannot be opened"
			" (%m); check that the map covers its owner");
	if (row->upper)
		idmap_looks_warn(stage, row, top_fd);
	result = top_fd < 0 ? top_fd
			    : make_folders(stage, row, top_fd, below_fd, own_mode, unmapped);
	return result ? cannot_make(row->upper ? row->upper : row, result, ret_error) : 0;
}
