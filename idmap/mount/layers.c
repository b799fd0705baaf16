// SPDX-License-Identifier: MIT
/*
 * Layers -> one tree. Each layer is mapped by itself and waits in a folder of the area, named by a
 * number so that five hundred names fit the page that mount(2) takes; overlayfs clones them for
 * itself, so the area can go as soon as the root is whole.
 */
#define _GNU_SOURCE
#include <errno.h>
#include <stdio.h> /* renameat() */
#include <string.h>
#include <sys/mount.h>
#include <sys/stat.h>
#include <sys/statfs.h>
#include <sys/xattr.h>

#include "mount/mount.h"

/* ST_RDONLY, ST_NOEXEC, ST_NOSYMFOLLOW of statfs(2) */
enum { READ_ONLY = 1, NO_EXEC = 8, NO_SYMFOLLOW = 0x2000 };

#define NOBODY 65534
#define OPTIONS_SIZE 4096 /* what mount(2) copies, on the smallest of pages */
#define MERGED "merged"	  /* where an overlay is mounted until it is cloned */
#define EMPTY "empty"
#define NEW_UPPER "upper.new"

int idmap_layers_add(struct idmap_stage *stage, int tree_fd, struct idmap_row *row,
		     struct idmap_error *ret_error)
{
	int result = idmap_area_put(stage, tree_fd, &row->slot);
	struct statfs fs;

	if (!result && row->flags & IDMAP_CLONE && !fstatfs(tree_fd, &fs) &&
	    fs.f_flags & (NO_EXEC | NO_SYMFOLLOW))
		idmap_note(
			stage->notes,
			"%s on %s: what it shows is noexec or nosymfollow, which has no effect on a"
			" layer; write that in the row of the overlay, too",
			row->source, row->target);
	if (!result)
		return 0;
	return idmap_fail(ret_error, row, IDMAP_BAD_SYSTEM, -result,
			  "there is no place to keep the layer (%m); build the kernel with"
			  " CONFIG_TMPFS, and give the machine memory");
}

/* --- the top --------------------------------------------------------------------------------- */

/* linux/posix_acl_xattr.h: an entry, little-endian, behind a version of four bytes. */
enum { ACL_HEADER = 4, ACL_ENTRY = 8, ACL_USER = 2, ACL_GROUP = 8 };

static bool is_acl(const char *name)
{
	return !strncmp(name, "system.posix_acl_", 17);
}

/*
 * The ids in an ACL of the layer, from those on disk to those that the top's filesystem stores. An
 * id that is not seen has no rights to keep. Gives the new size.
 */
static size_t shift_acl(char *acl, size_t size, const struct idmap_map *layer,
			const struct idmap_map *top)
{
	char *to = acl + ACL_HEADER;
	size_t at;

	for (at = ACL_HEADER; at + ACL_ENTRY <= size; at += ACL_ENTRY) {
		const uint64_t tag = idmap_little(acl + at, 2);
		const enum idmap_kind kind = tag == ACL_USER ? IDMAP_UID : IDMAP_GID;
		uint32_t id = (uint32_t)idmap_little(acl + at + 4, 4);
		size_t i;

		if (tag == ACL_USER || tag == ACL_GROUP) {
			if ((layer && !idmap_map_seen(layer, kind, id, &id)) ||
			    (top && !idmap_map_disk(top, kind, id, &id)))
				continue;
		}
		memmove(to, acl + at, ACL_ENTRY);
		for (i = 0; i < 4; i++)
			to[4 + i] = (char)(id >> 8 * i);
		to += ACL_ENTRY;
	}
	return (size_t)(to - acl);
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
	char *value; /* XATTR_SIZE_MAX bytes, xattr(7) */
};

#define ATTRIBUTE_SIZE 65536 /* XATTR_SIZE_MAX and XATTR_LIST_MAX alike */

/* Copies an extended attribute of the root folder. -errno. */
static int copy_attribute(const struct looks *looks, const char *name)
{
	const struct idmap_row *row = looks->row;
	const bool acl = is_acl(name);
	char *value = looks->value;
	ssize_t size = fgetxattr(acl ? looks->unmapped_from_fd : looks->from_fd, name, value,
				 ATTRIBUTE_SIZE);

	if (size < 0)
		return -errno;
	if (acl)
		size = (ssize_t)shift_acl(value, (size_t)size, row->below->map,
					  row->upper ? row->upper->map : NULL);
	return or_errno(fsetxattr(acl ? looks->unmapped_to_fd : looks->to_fd, name, value,
				  (size_t)size, 0));
}

/* Gives a new top the looks of the layer below: owner, mode, and attributes such as ACLs. */
static int copy_looks(struct looks *looks, int mode_fd)
{
	struct idmap_error unused;
	struct idmap_arena arena; /* on the side: hardly any root folder has attributes */
	struct stat st, mode;
	ssize_t left;
	char *name;

	if (fstat(looks->from_fd, &st) || fstat(mode_fd, &mode) ||
	    fchown(looks->to_fd, st.st_uid, st.st_gid) ||
	    fchmod(looks->to_fd, mode.st_mode & 07777))
		return -errno;
	left = flistxattr(looks->from_fd, NULL, 0);
	if (left <= 0)
		return 0;
	if (idmap_arena_map(&arena, 2 * ATTRIBUTE_SIZE, &unused))
		return -ENOMEM;
	looks->value = arena.at + ATTRIBUTE_SIZE;
	left = flistxattr(looks->from_fd, arena.at, ATTRIBUTE_SIZE);
	for (name = arena.at; left > 0; name += strlen(name) + 1) {
		int result;

		left -= (ssize_t)strlen(name) + 1;
		/* overlayfs keeps its own notes there. */
		if (!strncmp(name, "trusted.overlay.", 16))
			continue;
		result = copy_attribute(looks, name);
		if (result)
			idmap_note(
				looks->stage->notes,
				"%s: the attribute %s of the layers' root folder is not there any"
				" more (%s), the top takes none of its kind",
				looks->row->target, name, idmap_errno_text(-result));
	}
	return 0;
}

/* A folder of the upper filesystem; a link there would lead elsewhere and is refused. */
static int open_folder(int top_fd, const char *name, bool *ret_made)
{
	*ret_made = !mkdirat(top_fd, name, 0700);
	if (!*ret_made && errno != EEXIST)
		return -errno;
	return or_errno(openat(top_fd, name, O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC));
}

static int open_slot(const struct idmap_stage *stage, uint32_t slot)
{
	return or_errno(openat(stage->area_fd, idmap_slot_name(slot, "").text,
			       O_RDONLY | O_DIRECTORY | O_CLOEXEC));
}

bool idmap_layers_have_acl(const struct idmap_stage *stage, const struct idmap_row *row)
{
	idmap_closed int fd = -1;

	if (!strcmp(row->source, "none") || !(row->below->map || (row->upper && row->upper->map)))
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

	if (!(row->flags & IDMAP_MADE_UPPER) || !row->upper)
		return;
	/* Only while nothing has been written to it. */
	top_fd = open_slot(stage, row->upper->slot);
	unlinkat(top_fd, "upper", AT_REMOVEDIR);
	row->flags &= ~(uint32_t)IDMAP_MADE_UPPER;
}

/* Makes the folders upper and work of the top in `slot`, where they are missing. */
static int make_top(const struct idmap_stage *stage, struct idmap_row *row, uint32_t slot,
		    bool own_mode, const struct idmap_unmapped *unmapped)
{
	idmap_closed int top_fd = open_slot(stage, slot), upper_fd = -1, work_fd = -1;
	idmap_closed int below_fd = open_slot(stage, row->below->slot), from_fd = -1, to_fd = -1;
	struct looks looks = {.stage = stage, .row = row};
	struct stat st;
	bool made;
	int result;

	if (top_fd < 0 || below_fd < 0)
		return top_fd < 0 ? top_fd : below_fd;
	work_fd = open_folder(top_fd, "work", &made);
	if (work_fd < 0)
		return work_fd;
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
	if (!result && !fstat(upper_fd, &st)) {
		row->device_number = st.st_dev;
		row->inode = st.st_ino;
		row->flags |= IDMAP_MADE_UPPER;
		return or_errno(renameat(top_fd, NEW_UPPER, top_fd, "upper"));
	}
	unlinkat(top_fd, NEW_UPPER, AT_REMOVEDIR);
	return result;
}

static int top_failed(const struct idmap_row *row, int error, struct idmap_error *ret_error)
{
	static const struct idmap_words remedies[] = {
		{EROFS, "it takes a filesystem that can be written"},
		{EACCES, "its map must know the owner of its root folder"},
		{ENOSPC, "make room on it"},
		{EOVERFLOW, "its map must know the ids of seen 0 and of the layers' root"},
		{EINVAL, "its map must know the ids of seen 0 and of the layers' root"},
		{EADDRINUSE, "another overlay of this table writes there; give each its own with"
			     " X-mount.subdir="},
		{ENOTDIR, "they are to be folders, not files or links"},
		{ELOOP, "they are to be folders, not files or links"},
		{0, "look at it"},
	};

	return idmap_fail(ret_error, row, IDMAP_NO_MOUNT, error,
			  "the folders upper and work cannot be made in the top (%m); %s",
			  idmap_words_for(remedies, (uint32_t)error));
}

/* --- the overlay ----------------------------------------------------------------------------- */

/* `words`: the kernel's, or "". */
static int merge_failed(const struct idmap_stage *stage, const struct idmap_row *row, int error,
			const char *words, struct idmap_error *ret_error)
{
	static const struct idmap_words remedies[] = {
		{E2BIG, "write fewer options"},
		{EINVAL, "correct the overlay's options, or boot a newer kernel: mapped layers need"
			 " Linux 5.19"},
		{EROFS,
		 "the kernel made it read-only: the top must have room, and the map must know the"
		 " owners of its folders upper and work"},
		{ESTALE,
		 "the upper disk belongs to other layers; empty its folders upper and work"},
		{EBUSY, "the upper disk is in use by another overlay; give this one its own"},
		{0, "look at the layers' images"},
	};
	const char *remedy = idmap_words_for(remedies, (uint32_t)error);

	if (error == ENODEV)
		remedy = stage->modules_cause ? stage->modules_cause
					      : "load the module overlay (mkinitramfs -m overlay)";
	idmap_fail(ret_error, row, IDMAP_NO_MOUNT, error, "the layers do not merge (%m%s",
		   *words ? "; kernel: " : "");
	idmap_fail_more(ret_error, "%s); %s", words, remedy);
	return -error;
}

/* Options that an overlay's row has for its tmpfs; everything else is for overlayfs. */
static bool is_tmpfs_option(const char *item)
{
	static const char *const names[] = {"size", "mode", "nr_inodes", "nr_blocks", "huge"};
	const char *equals = strchr(item, '=');
	size_t i;

	for (i = 0; equals && i < COUNT_OF(names); i++)
		if (idmap_same(names[i], item, (size_t)(equals - item)))
			return true;
	return false;
}

/* Puts a tmpfs, of the row's options for it, into the area. */
static int add_volatile(struct idmap_stage *stage, const struct idmap_row *row, uint32_t *ret_slot,
			bool *ret_own_mode, struct idmap_error *ret_error)
{
	char data[512] = {0}, *end = data;
	struct idmap_row top = *row;
	idmap_closed int fd = -1;
	const char *item;
	int result;

	*ret_own_mode = false;
	for (item = row->data; *item; item += strlen(item) + 1) {
		size_t size = strlen(item) + 1;

		if (!is_tmpfs_option(item))
			continue;
		/* One byte stays 0, the empty string that ends them. */
		if (size >= (size_t)(data + sizeof(data) - end))
			return merge_failed(stage, row, E2BIG, "", ret_error);
		memcpy(end, item, size);
		end += size;
		*ret_own_mode |= *item == 'm';
	}
	top.type = "tmpfs";
	top.data = data;
	top.map = NULL;
	fd = idmap_filesystem_mount(stage, &top, 0, ret_error);
	if (fd < 0)
		return fd;
	result = idmap_layers_add(stage, fd, &top, ret_error);
	*ret_slot = top.slot;
	return result;
}

/* The numbers of mount(2) for what enum idmap_attr has from fsmount(2). */
static unsigned long mount_flags(uint32_t attr)
{
	return (attr & IDMAP_RDONLY ? MS_RDONLY : 0ul) | (attr & IDMAP_NOSUID ? MS_NOSUID : 0ul) |
	       (attr & IDMAP_NODEV ? MS_NODEV : 0ul) | (attr & IDMAP_NOEXEC ? MS_NOEXEC : 0ul) |
	       (attr & IDMAP_NOATIME ? MS_NOATIME : 0ul) |
	       (attr & IDMAP_STRICTATIME ? MS_STRICTATIME : 0ul) |
	       (attr & IDMAP_NODIRATIME ? MS_NODIRATIME : 0ul) |
	       (attr & IDMAP_NOSYMFOLLOW ? MS_NOSYMFOLLOW : 0ul);
}

/* Mounts the overlay in the area, and gives a clone of it. */
static int mount_overlay(const struct idmap_stage *stage, const struct idmap_row *row,
			 const char *options)
{
	struct statfs fs;
	int fd;

	mkdirat(stage->area_fd, MERGED, 0700);
	if (fchdir(stage->area_fd))
		return -errno;
	fd = or_errno(mount("overlay", MERGED, "overlay", mount_flags(row->attr), options));
	if (!fd) {
		fd = or_errno(sys_open_tree(AT_FDCWD, MERGED, OPEN_TREE_CLONE | OPEN_TREE_CLOEXEC));
		umount2(MERGED, MNT_DETACH);
	}
	/* Where it cannot make its own folder in work, overlayfs goes on read-only. */
	if (fd >= 0 && !(row->attr & IDMAP_RDONLY) && !fstatfs(fd, &fs) && fs.f_flags & READ_ONLY) {
		idmap_close(&fd);
		fd = -EROFS;
	}
	chdir("/");
	return fd;
}

/* The same once more where it failed, for what the kernel's log says of it. */
static int mount_again(const struct idmap_stage *stage, const struct idmap_row *row,
		       const char *options, struct idmap_error *ret_error)
{
	idmap_closed int log_fd = idmap_klog_begin();
	int fd = mount_overlay(stage, row, options);
	struct idmap_text text;
	char words[300];

	if (fd >= 0)
		return fd;
	idmap_text_init(&text, words, sizeof(words));
	idmap_klog_read(log_fd, &text);
	return merge_failed(stage, row, -fd, words, ret_error);
}

/* An upper that was there may have an owner that nobody has looked at. */
static void note_owner(const struct idmap_stage *stage, const struct idmap_row *row, int tree_fd)
{
	struct stat st;

	if (!fstat(tree_fd, &st) && row->upper && row->upper->map &&
	    (st.st_uid == NOBODY || st.st_gid == NOBODY))
		idmap_note(stage->notes,
			   "%s: the folder upper of %s has an owner that the map leaves out, so its"
			   " root folder is nobody's (65534); give it to the id that is seen as 0",
			   row->target, row->upper->source);
}

int idmap_layers_merge(struct idmap_stage *stage, struct idmap_row *row,
		       const struct idmap_unmapped *unmapped, struct idmap_error *ret_error)
{
	char buffer[OPTIONS_SIZE];
	const bool none = !strcmp(row->source, "none"), upper = row->upper;
	bool own_mode = false;
	const struct idmap_row *layer;
	struct idmap_text options;
	const char *item;
	uint32_t slot = upper ? row->upper->slot : 0;
	int fd, result;

	if (!none && !upper) {
		result = add_volatile(stage, row, &slot, &own_mode, ret_error);
		if (result)
			return result;
	}
	if (!none) {
		result = make_top(stage, row, slot, own_mode, unmapped);
		if (result)
			return top_failed(upper ? row->upper : row, -result, ret_error);
	}
	idmap_text_init(&options, buffer, sizeof(buffer));
	for (layer = row->below; layer; layer = layer->below)
		idmap_text_add(&options, "%s%u", layer == row->below ? "lowerdir=" : ":",
			       layer->slot);
	/* Without a top the kernel wants two layers. */
	if (none && !row->below->below) {
		mkdirat(stage->area_fd, EMPTY, 0755);
		idmap_text_add(&options, ":" EMPTY);
	}
	if (!none)
		idmap_text_add(&options, ",upperdir=%s,workdir=%s",
			       idmap_slot_name(slot, "upper").text,
			       idmap_slot_name(slot, "work").text);
	/*
	 * What one layer may say of another stays what every overlayfs can read; and a layer of
	 * somebody's making says nothing of others (redirect_dir=off would follow it).
	 */
	idmap_text_add(&options, ",redirect_dir=nofollow,metacopy=off,index=off");
	for (item = row->data; *item; item += strlen(item) + 1)
		if (none || upper || !is_tmpfs_option(item))
			idmap_text_add(&options, ",%s", item);
	if (options.cut)
		return merge_failed(stage, row, E2BIG, "", ret_error);
	fd = mount_overlay(stage, row, buffer);
	if (fd < 0)
		fd = mount_again(stage, row, buffer, ret_error);
	if (fd >= 0)
		note_owner(stage, row, fd);
	if (fd >= 0)
		idmap_trace(stage->notes, "the layers of %s are merged", row->target);
	return fd;
}
