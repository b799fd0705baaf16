// SPDX-License-Identifier: MIT
/*
 * What the merged root of an overlay looks like: a new upper gets the owner, the mode and the
 * attributes of the highest layer's root folder, ACLs with ids among them.
 */
#define _GNU_SOURCE
#include <errno.h>
#include <limits.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/statfs.h>
#include <sys/xattr.h>

#include "mount/behind.h"
#include "mount/layers.h"
#include "mount/standing.h"

#define MAGIC_OVERLAYFS 0x794c7630 /* linux/magic.h */
#define MAGIC_XFS 0x58465342
#define RAW_ACL "trusted.SGI_ACL_" /* fs/xfs/libxfs/xfs_da_format.h: FILE and DEFAULT */

int idmap_slot_open(const struct idmap_stage *stage, uint32_t slot)
{
	return or_errno(openat(stage->area_fd, idmap_slot_name(slot, "").text,
			       O_RDONLY | O_DIRECTORY | O_CLOEXEC));
}

/* Whether it is of the filesystem that statfs(2) has this number for. */
static bool is_of(int fd, uint32_t magic)
{
	struct statfs fs;

	return !fstatfs(fd, &fs) && (uint32_t)fs.f_type == magic;
}

static bool has_folder(const struct idmap_stage *stage, uint32_t slot, const char *top,
		       const char *rest)
{
	idmap_closed int slot_fd = idmap_slot_open(stage, slot), fd = -1;
	char path[PATH_MAX];

	fd = idmap_open_inside(slot_fd, idmap_print(path, sizeof(path), "/%s%s", top, rest),
			       O_PATH | O_DIRECTORY, RESOLVE_NO_SYMLINKS);
	return fd >= 0;
}

/*
 * The map of the tree that holds what the layer's root folder really is. Where that lies in an
 * overlay, an ACL has the ids on its own disk before Linux 6.2, and no map of the overlay's.
 */
static void find_real(const struct idmap_stage *stage, struct idmap_row *row,
		      struct idmap_unmapped *ret)
{
	idmap_closed int fd = idmap_slot_open(stage, row->slot);
	char path[PATH_MAX];

	idmap_print(path, sizeof(path), "%s", row->target);
	for (row = idmap_row_behind(stage->plan, row, path); row && row->flags & IDMAP_OVERLAY;
	     row = idmap_row_behind(stage->plan, row, path)) {
		const char *rest = idmap_path_behind(path, row->target);
		const bool none = !strcmp(row->source, "none");
		struct idmap_row *layer = row->below;

		if (!none &&
		    has_folder(stage, row->upper ? row->upper->slot : row->slot, "upper", rest))
			row = row->upper;
		else {
			while (layer && !has_folder(stage, layer->slot, "", rest))
				layer = layer->below;
			row = layer;
		}
		if (!row)
			return; /* a tmpfs: as it is seen */
	}
	ret->layer_map = row ? row->map : NULL;
	ret->strange = !row && is_of(fd, MAGIC_OVERLAYFS);
}

bool idmap_layers_have_acl(const struct idmap_stage *stage, const struct idmap_row *row,
			   struct idmap_unmapped *ret)
{
	idmap_closed int fd = -1;

	if (!strcmp(row->source, "none"))
		return false;
	if (idmap_kernel_before(6, 2))
		find_real(stage, row->below, ret);
	else
		ret->layer_map = idmap_map_shown(stage->plan, row->below);
	ret->top_map = row->upper ? idmap_map_shown(stage->plan, row->upper) : NULL;
	if (!ret->layer_map && !ret->top_map)
		return false;
	fd = idmap_slot_open(stage, row->below->slot);
	return fgetxattr(fd, "system.posix_acl_access", NULL, 0) > 0 ||
	       fgetxattr(fd, "system.posix_acl_default", NULL, 0) > 0;
}

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

/*
 * Before Linux 6.2 the ids in an ACL are those on disk, whatever the mount's map, and of a map that
 * somebody else has made nobody tells what they are seen as; nor of the layers of his overlay.
 */
static bool is_hidden(const struct idmap_looks *looks)
{
	return idmap_kernel_before(6, 2) &&
	       ((!looks->unmapped->layer_map &&
		 (looks->unmapped->strange || idmap_is_mapped(looks->from_fd))) ||
		(!looks->unmapped->top_map && idmap_is_mapped(looks->to_fd)));
}

#define ATTRIBUTE_SIZE 65536 /* XATTR_SIZE_MAX and XATTR_LIST_MAX alike */

/* Copies an extended attribute of the root folder. -errno. */
static int copy_attribute(const struct idmap_looks *looks, const char *name)
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

int idmap_looks_copy(struct idmap_looks *looks, int mode_fd)
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

/* --- what overlayfs copies to it ------------------------------------------------------------- */

/* Whether files of this xfs have, or had, attributes; also where that cannot be seen. */
static bool may_have_attributes(const struct idmap_row *row)
{
	enum { LOW = 101, ATTR = 0x10 }; /* sb_versionnum and its bit: xfs_format.h */
	idmap_closed int fd = idmap_open(row->device, O_RDONLY);
	unsigned char low;

	return pread(fd, &low, 1, LOW) != 1 || low & ATTR;
}

void idmap_looks_warn(const struct idmap_stage *stage, const struct idmap_row *row, int top_fd)
{
	const struct idmap_map *top_map = idmap_map_shown(stage->plan, row->upper);
	struct idmap_row *layer;

	for (layer = is_of(top_fd, MAGIC_XFS) ? row->below : NULL; layer; layer = layer->below) {
		idmap_closed int fd = idmap_slot_open(stage, layer->slot);

		if (idmap_map_shown(stage->plan, layer) != top_map && is_of(fd, MAGIC_XFS) &&
		    may_have_attributes(layer))
			idmap_note_row(stage->notes, layer,
				       "where a file has an ACL, the kernel copies it with the ids"
				       " on disk to an upper of xfs when the file is written to;"
				       " use ext4 or btrfs for the upper, or give both one map");
	}
}
