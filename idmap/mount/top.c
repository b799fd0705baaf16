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
#include <sys/statfs.h>
#include <sys/xattr.h>

#include "mount/behind.h"
#include "mount/layers.h"
#include "mount/standing.h"

#define MAGIC_XFS 0x58465342	   /* linux/magic.h */
#define RAW_ACL "trusted.SGI_ACL_" /* fs/xfs/libxfs/xfs_da_format.h: FILE and DEFAULT */
#define NEW_UPPER "upper.new"
#define WORK "work"
#define VOLATILE WORK "/" WORK "/incompat" /* overlayfs makes one more of that name in it */

/* linux/posix_acl_xattr.h: an entry, little-endian, behind a version of four bytes. */
enum { ACL_HEADER = 4, ACL_ENTRY = 8, ACL_USER = 2, ACL_GROUP = 8 };

static bool is_acl(const char *name)
{
	return !strncmp(name, "system.posix_acl_", 17);
}

/*
 * The ids in an ACL of the layer, from those on disk to those that the top's filesystem stores, or
 * to those that are seen there. An id that is not seen has no rights to keep, nor to lose. Gives
 * the new size, or -EOVERFLOW: one is seen, and the top cannot store it.
 */
static ssize_t shift_acl(char *acl, size_t size, const struct idmap_unmapped *unmapped)
{
	const struct idmap_map *layer = unmapped->layer_map, *top = unmapped->top_map;
	const bool to_disk = unmapped->top_fd >= 0;
	char *to = acl + ACL_HEADER;
	size_t at;

	for (at = ACL_HEADER; at + ACL_ENTRY <= size; at += ACL_ENTRY) {
		const uint64_t tag = idmap_little(acl + at, 2);
		const enum idmap_kind kind = tag == ACL_USER ? IDMAP_UID : IDMAP_GID;
		uint32_t id = (uint32_t)idmap_little(acl + at + 4, 4), disk;
		size_t i;

		if (tag == ACL_USER || tag == ACL_GROUP) {
			if (layer && !idmap_map_seen(layer, kind, id, &id))
				continue;
			if (top && !idmap_map_disk(top, kind, id, &disk))
				return -EOVERFLOW;
			if (top && to_disk)
				id = disk;
		}
		memmove(to, acl + at, ACL_ENTRY);
		for (i = 0; i < 4; i++)
			to[4 + i] = (char)(id >> 8 * i);
		to += ACL_ENTRY;
	}
	return to - acl;
}

/* What a top gets its looks from, and where its folder is. */
struct looks {
	const struct idmap_stage *stage;
	const struct idmap_row *row; /* the overlay's */
	int from_fd, to_fd;
	/*
	 * Without any map, for ACLs: what getxattr(2) gives through a mapped mount, and what
	 * setxattr(2) takes, is the id on disk on one kernel and the one seen on another.
	 */
	int unmapped_from_fd, unmapped_to_fd;
	const struct idmap_unmapped *unmapped;
	char *value; /* XATTR_SIZE_MAX bytes, xattr(7) */
};

/*
 * Before Linux 6.2 the ids in an ACL are those on disk, whatever the mount's map, and of a map that
 * somebody else has made nobody tells what they are seen as.
 */
static bool is_hidden(const struct looks *looks)
{
	return idmap_kernel_before(6, 2) &&
	       ((!looks->unmapped->layer_map && idmap_is_mapped(looks->from_fd)) ||
		(!looks->unmapped->top_map && idmap_is_mapped(looks->to_fd)));
}

#define ATTRIBUTE_SIZE 65536 /* XATTR_SIZE_MAX and XATTR_LIST_MAX alike */

/* Copies an extended attribute of the root folder. -errno. */
static int copy_attribute(const struct looks *looks, const char *name)
{
	const bool acl = is_acl(name);
	char *value = looks->value;
	ssize_t size = fgetxattr(acl ? looks->unmapped_from_fd : looks->from_fd, name, value,
				 ATTRIBUTE_SIZE);

	if (size < 0)
		return -errno;
	if (acl && is_hidden(looks))
		return -ENOSYS;
	if (acl)
		size = shift_acl(value, (size_t)size, looks->unmapped);
	if (size < 0)
		return (int)size;
	if (!fsetxattr(acl ? looks->unmapped_to_fd : looks->to_fd, name, value, (size_t)size, 0))
		return 0;
	/* Through a map of somebody else's: an id that it leaves out. */
	return acl && errno == EINVAL ? -EOVERFLOW : -errno;
}

/* What the folder that it was made in has handed down to a new top by a default ACL. */
static void drop_acl(int fd)
{
	fremovexattr(fd, "system.posix_acl_access");
	fremovexattr(fd, "system.posix_acl_default");
}

/*
 * Gives a new top the looks of the layer below: owner, attributes such as ACLs, and then the mode,
 * which may be another one than the layer's, and which an ACL would set.
 */
static int copy_looks(struct looks *looks, int mode_fd)
{
	struct idmap_error unused;
	struct idmap_arena arena; /* on the side: hardly any root folder has attributes */
	struct stat st, mode;
	ssize_t left;
	char *name;

	if (fstat(looks->from_fd, &st) || fstat(mode_fd, &mode) ||
	    fchown(looks->to_fd, st.st_uid, st.st_gid))
		return -errno;
	drop_acl(looks->to_fd);
	left = flistxattr(looks->from_fd, NULL, 0);
	if (left <= 0)
		return or_errno(fchmod(looks->to_fd, mode.st_mode & 07777));
	if (idmap_arena_map(&arena, 2 * ATTRIBUTE_SIZE, &unused))
		return -ENOMEM;
	looks->value = arena.at + ATTRIBUTE_SIZE;
	left = flistxattr(looks->from_fd, arena.at, ATTRIBUTE_SIZE);
	for (name = arena.at; left > 0; name += strlen(name) + 1) {
		int result;

		left -= (ssize_t)strlen(name) + 1;
		/* overlayfs keeps its own notes there, and xfs an ACL's ids on disk once more. */
		if (!strncmp(name, "trusted.overlay.", 16) ||
		    !strncmp(name, RAW_ACL, strlen(RAW_ACL)))
			continue;
		result = copy_attribute(looks, name);
		/* What an ACL denies is not to be let in. */
		if (result == -EOVERFLOW || result == -ENOSYS)
			return result;
		if (result)
			idmap_note(
				looks->stage->notes,
				"%s: the attribute %s of the layers' root folder is not there any"
				" more (%s), the top takes none of its kind",
				looks->row->target, name, idmap_errno_text(-result));
	}
	return or_errno(fchmod(looks->to_fd, mode.st_mode & 07777));
}

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

static int open_slot(const struct idmap_stage *stage, uint32_t slot)
{
	return or_errno(openat(stage->area_fd, idmap_slot_name(slot, "").text,
			       O_RDONLY | O_DIRECTORY | O_CLOEXEC));
}

bool idmap_layers_have_acl(const struct idmap_stage *stage, const struct idmap_row *row,
			   struct idmap_unmapped *ret)
{
	idmap_closed int fd = -1;

	if (!strcmp(row->source, "none"))
		return false;
	ret->layer_map = idmap_map_shown(stage->plan, row->below);
	ret->top_map = row->upper ? idmap_map_shown(stage->plan, row->upper) : NULL;
	if (!ret->layer_map && !ret->top_map)
		return false;
	fd = open_slot(stage, row->below->slot);
	return fgetxattr(fd, "system.posix_acl_access", NULL, 0) > 0 ||
	       fgetxattr(fd, "system.posix_acl_default", NULL, 0) > 0;
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
	top_fd = open_slot(stage, row->upper->slot);
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
	top_fd = open_slot(stage, holding->upper->slot);
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
	struct looks looks = {.stage = stage, .row = row, .unmapped = unmapped};
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
	result = copy_looks(&looks, own_mode ? top_fd : below_fd);
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
		 " where a mount of somebody else's has a map; boot a newer one, or take the"
		 " ACL out"},
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

/* --- what overlayfs copies to it ------------------------------------------------------------- */

static bool is_xfs(int fd)
{
	struct statfs fs;

	return !fstatfs(fd, &fs) && (uint32_t)fs.f_type == MAGIC_XFS;
}

/* Whether files of this xfs have, or had, attributes; also where that cannot be seen. */
static bool may_have_attributes(const struct idmap_row *row)
{
	enum { LOW = 101, ATTR = 0x10 }; /* sb_versionnum and its bit: xfs_format.h */
	idmap_closed int fd = idmap_open(row->device, O_RDONLY);
	unsigned char low;

	return pread(fd, &low, 1, LOW) != 1 || low & ATTR;
}

/*
 * A file that is written to is copied with all its attributes, so from xfs to xfs with an ACL's ids
 * on disk once more, and those win.
 */
static void note_raw_acls(const struct idmap_stage *stage, const struct idmap_row *row, int top_fd)
{
	const struct idmap_map *top_map = idmap_map_shown(stage->plan, row->upper);
	struct idmap_row *layer;

	for (layer = is_xfs(top_fd) ? row->below : NULL; layer; layer = layer->below) {
		idmap_closed int fd = open_slot(stage, layer->slot);

		if (idmap_map_shown(stage->plan, layer) != top_map && is_xfs(fd) &&
		    may_have_attributes(layer))
			idmap_note_row(stage->notes, layer,
				       "where a file has an ACL, the kernel copies it with the ids"
				       " on disk to an upper of xfs when the file is written to;"
				       " use ext4 or btrfs for the upper, or give both one map");
	}
}

int idmap_top_make(const struct idmap_stage *stage, struct idmap_row *row, uint32_t slot,
		   bool own_mode, const struct idmap_unmapped *unmapped,
		   struct idmap_error *ret_error)
{
	idmap_closed int top_fd = open_slot(stage, slot);
	idmap_closed int below_fd = open_slot(stage, row->below->slot);
	int result;

	if (below_fd < 0)
		return idmap_fail(
			ret_error, row->below, IDMAP_NO_MOUNT, -below_fd,
			"its root folder, whose looks the merged one has, cannot be opened"
			" (%m); check that the map covers its owner");
	if (row->upper)
		note_raw_acls(stage, row, top_fd);
	result = top_fd < 0 ? top_fd
			    : make_folders(stage, row, top_fd, below_fd, own_mode, unmapped);
	return result ? cannot_make(row->upper ? row->upper : row, result, ret_error) : 0;
}
