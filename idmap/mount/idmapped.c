// SPDX-License-Identifier: MIT
/*
 * A map for a tree: one call of mount_setattr(2). It answers four causes with one EINVAL, so a
 * refusal is looked into before it is told: is it the kernel, the filesystem, or the map?
 */
#define _GNU_SOURCE
#include <errno.h>
#include <string.h>
#include <sys/statfs.h>
#include <sys/statvfs.h>
#include <sys/utsname.h>

#include "mount/mount.h"

#define MAGIC_FUSE 0x65735546 /* linux/magic.h, as the rest of them */
#define MAGIC_9P 0x01021997
#define MAGIC_OVERLAYFS 0x794c7630
#define MAGIC_EXT4 0xef53

static int set_attributes(int tree_fd, const struct idmap_row *row, int userns_fd)
{
	/*
	 * A clone keeps what it shows, as mount --bind does, and adds its own, but for the times of
	 * reading, which are those that its row says; so does the root that we are in, whose row
	 * may take all back. All other trees have been made with their attributes. NOSYMFOLLOW is
	 * of 5.14, so it is touched only where it is said.
	 */
	const uint32_t clearable = IDMAP_RDONLY | IDMAP_NOSUID | IDMAP_NODEV | IDMAP_NOEXEC |
				   IDMAP_NODIRATIME | IDMAP_NOSYMFOLLOW;
	const uint32_t said = row->flags & IDMAP_OWN_ROOT ? row->attr_said
			      : row->flags & IDMAP_CLONE  ? row->attr_said & IDMAP_NODIRATIME
							  : 0;
	const bool keeps =
		row->flags & (IDMAP_CLONE | IDMAP_OWN_ROOT) && !(row->attr_said & IDMAP_ATIME_MASK);
	struct sys_mount_attr attr = {
		.attr_set = row->attr & ~(keeps ? (uint32_t)IDMAP_ATIME_MASK : 0),
		.attr_clr =
			(clearable & ~row->attr & said) | (keeps ? 0 : (uint32_t)IDMAP_ATIME_MASK),
	};
	int result;

	if (userns_fd >= 0) {
		attr.attr_set |= MOUNT_ATTR_IDMAP;
		attr.userns_fd = (uint64_t)userns_fd;
	}
	/* A kernel that lacks the call has nothing to do, either. */
	if (!attr.attr_set && !attr.attr_clr)
		return 0;
	result = or_errno(sys_mount_setattr(
		tree_fd, "", AT_EMPTY_PATH | (row->flags & IDMAP_RBIND ? AT_RECURSIVE : 0), &attr));
	/* Of a layer nothing but the map has an effect. */
	return result == -ENOSYS && row->flags & IDMAP_LAYER && userns_fd < 0 ? 0 : result;
}

/* Whether the tree takes a map that no kernel refuses. The tree is lost to us afterwards. */
static bool takes_any_map(int tree_fd, const struct idmap_row *row)
{
	struct idmap_extent extent = {.count = 1};
	struct idmap_map good = {
		.extent = {&extent, &extent}, .extents = {1, 1}, .userns_fd = -1, .users = 1};
	struct idmap_error unused;
	bool taken;

	if (idmap_userns(&good, row, &unused))
		return false;
	taken = !set_attributes(tree_fd, row, good.userns_fd);
	idmap_userns_put(&good);
	return taken;
}

bool idmap_kernel_before(uint32_t major, uint32_t minor)
{
	uint64_t part[2] = {0};
	struct utsname uts; /* such as 6.12.117+deb13-amd64 */
	const char *end;

	if (uname(&uts))
		return false;
	end = idmap_read_digits(uts.release, 10, &part[0]);
	if (*end == '.')
		idmap_read_digits(end + 1, 10, &part[1]);
	return part[0] < major || (part[0] == major && part[1] < minor);
}

/*
 * By statfs(2)'s f_type: a filesystem's name, and since which Linux it can be idmapped; 0: none
 * that is known of. The numbers are linux/magic.h's.
 */
static const struct support {
	uint32_t magic;
	char name[10];
	uint8_t major, minor;
} supports[] = {
	{MAGIC_EXT4, "ext4", 5, 12},
	{0x58465342, "xfs", 5, 12},
	{0x4d44, "vfat", 5, 12},
	{0x9123683e, "btrfs", 5, 15},
	{0x7366746e, "ntfs3", 5, 15},
	{0xf2f52010, "f2fs", 5, 18},
	{0xe0f5e1e2, "erofs", 5, 19},
	{0x73717368, "squashfs", 6, 2},
	{0x01021994, "tmpfs", 6, 3},
	{0x00c36400, "cephfs", 6, 7},
	{0x958458f6, "hugetlbfs", 6, 9},
	{MAGIC_FUSE, "virtiofs", 6, 12},
	{MAGIC_OVERLAYFS, "overlay", 7, 3},
	{0x858458f6, "ramfs", 0, 0},
	{0x9fa0, "proc", 0, 0},
	{0x62656572, "sysfs", 0, 0},
	{MAGIC_9P, "9p", 0, 0},
	{0x6969, "nfs", 0, 0},
	{0xff534d42, "cifs", 0, 0},
	{0x9660, "iso9660", 0, 0},
	{0x15013346, "udf", 0, 0},
	{0x28cd3d45, "cramfs", 0, 0},
	{0x7275, "romfs", 0, 0},
};

static const struct support *support_of(uint32_t magic)
{
	size_t i;

	for (i = 0; i < COUNT_OF(supports); i++)
		if (supports[i].magic == magic)
			return &supports[i];
	return NULL;
}

static int explain_filesystem(int tree_fd, const struct idmap_row *row, const char *release,
			      struct idmap_error *ret_error)
{
	/* Of several only the kernel knows which one it was. */
	const bool one = strcmp(row->type, "auto") && !strchr(row->type, ':');
	struct statfs fs = {0};
	const struct support *support;
	uint32_t magic;

	fstatfs(tree_fd, &fs);
	/* 9p tells what the server's own folder lies on (fs/9p/vfs_super.c, v9fs_statfs()). */
	magic = strcmp(row->type, "9p") ? (uint32_t)fs.f_type : MAGIC_9P;
	support = support_of(magic);
	if (support && !support->major)
		return idmap_fail(ret_error, row, IDMAP_NO_MAP, EINVAL,
				  "%s cannot be idmapped on this kernel (%s); %s", support->name,
				  release,
				  magic == MAGIC_9P ? "use virtiofs for a mapped folder of the host"
						    : "use erofs, ext4 or xfs for a mapped tree");
	if (magic == MAGIC_EXT4 &&
	    (idmap_type_has(row->type, "ext2") || idmap_type_has(row->type, "ext3")))
		return idmap_fail(
			ret_error, row, IDMAP_NO_MAP, EINVAL,
			"the type %s cannot be idmapped, ext4 mounts the same image and can; write"
			" ext4",
			row->type);
	if (support && idmap_kernel_before(support->major, support->minor))
		return idmap_fail(
			ret_error, row, IDMAP_NO_MAP, EINVAL,
			"%s can be idmapped since Linux %u.%u, and this is %s; boot a newer kernel"
			" or use another filesystem",
			support->name, support->major, support->minor, release);
	/* The kernel's part is there, and clears SB_I_NOIDMAP only where the server agrees. */
	if (magic == MAGIC_FUSE)
		return idmap_fail(
			ret_error, row, IDMAP_NO_MAP, EINVAL,
			"its server on the host allows no map, this kernel (%s) would; use"
			" virtiofsd 1.13 or newer, with --no-announce-submounts",
			release);
	return idmap_fail(ret_error, row, IDMAP_NO_MAP, EINVAL,
			  "%s cannot be idmapped on this kernel (%s); use erofs, ext4 or xfs",
			  row->flags & IDMAP_CLONE ? "its source"
			  : one			   ? row->type
						   : "its filesystem",
			  release);
}

int idmap_nosymfollow_failed(const struct idmap_row *row, int error, struct idmap_error *ret_error)
{
	struct utsname uts;

	if (error != -EINVAL || !(row->attr & IDMAP_NOSYMFOLLOW) || uname(&uts) ||
	    !idmap_kernel_before(5, 14))
		return 0;
	return idmap_fail(ret_error, row, IDMAP_NO_MOUNT, -error,
			  "nosymfollow needs Linux 5.14 or newer, and this is %s; leave it out or"
			  " boot a newer kernel",
			  uts.release);
}

static int explain_refusal(int tree_fd, const struct idmap_row *row, int error,
			   struct idmap_error *ret_error)
{
	struct utsname uts = {.release = "an unknown one"};

	if (idmap_nosymfollow_failed(row, -error, ret_error))
		return -error;
	uname(&uts);
	switch (error) {
	case ENOSYS:
		return idmap_fail(ret_error, row, IDMAP_NO_MAP, error,
				  "%s Linux 5.12 or newer, and this is %s; boot a newer kernel",
				  row->map ? "idmapped mounts need" : "options of a bind need",
				  uts.release);
	case EPERM:
		return idmap_fail(
			ret_error, row, IDMAP_NO_MAP, error,
			"the kernel lets nobody map this mount (%m); it is mapped already, or its"
			" filesystem was mounted in another user namespace; leave the map out, or"
			" name its device as SOURCE");
	case EINVAL:
		if (row->map && !takes_any_map(tree_fd, row))
			return explain_filesystem(tree_fd, row, uts.release, ret_error);
		break;
	}
	return idmap_fail(
		ret_error, row, IDMAP_NO_MAP, error,
		"the kernel (%s) refuses this map or these options (%m), though it takes others;"
		" try with less of them and report it",
		uts.release);
}

int idmap_tree_attributes(int tree_fd, const struct idmap_row *row, struct idmap_error *ret_error)
{
	struct idmap_row plain = *row;
	int result;

	plain.map = NULL;
	result = set_attributes(tree_fd, row, -1);
	return result ? explain_refusal(tree_fd, &plain, -result, ret_error) : 0;
}

void idmap_note_found(int tree_fd, struct idmap_row *row)
{
	static const struct {
		uint32_t flag, attr;
	} kept[] = {{ST_RDONLY, IDMAP_RDONLY},
		    {ST_NOSUID, IDMAP_NOSUID},
		    {ST_NODEV, IDMAP_NODEV},
		    {ST_NOEXEC, IDMAP_NOEXEC},
		    {ST_NOSYMFOLLOW, IDMAP_NOSYMFOLLOW}};
	/* These keep what they show, as they should. */
	const bool keeps = row->flags & (IDMAP_CLONE | IDMAP_OWN_ROOT);
	struct statfs fs;
	uint32_t found = 0;
	size_t i;

	if (row->flags & IDMAP_OVERLAY || fstatfs(tree_fd, &fs))
		return;
	for (i = 0; i < COUNT_OF(kept); i++)
		if (fs.f_flags & kept[i].flag && !(row->attr & kept[i].attr))
			found |= kept[i].attr;
	if (!keeps)
		found &= IDMAP_RDONLY;
	row->attr |= found;
	row->found_attr |= found;
	if (found & IDMAP_RDONLY && !(row->flags & IDMAP_CLONE))
		row->flags |= IDMAP_TURNED_RO;
}

/*
 * Refuses a map on what is an overlay. Kernels from 7.3 on would take it, on top of its layers'
 * maps, so that DISK would be no id on disk.
 */
static int refuse_overlay(int tree_fd, const struct idmap_row *row, struct idmap_error *ret_error)
{
	struct statfs fs;

	if (fstatfs(tree_fd, &fs) || (uint32_t)fs.f_type != MAGIC_OVERLAYFS)
		return 0;
	return idmap_fail(ret_error, row, IDMAP_NO_MAP, EINVAL,
			  "what it shows is an overlay, whose ids are not those on disk; map the"
			  " layers, and let this row go without");
}

int idmap_tree_map(int tree_fd, const struct idmap_row *row, struct idmap_error *ret_error)
{
	int result = row->map ? refuse_overlay(tree_fd, row, ret_error) : 0;

	if (!result && row->map)
		result = idmap_userns(row->map, row, ret_error);
	if (result)
		return result;
	result = set_attributes(tree_fd, row, row->map ? row->map->userns_fd : -1);
	if (!result)
		return 0;
	return explain_refusal(tree_fd, row, -result, ret_error);
}
