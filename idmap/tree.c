// SPDX-License-Identifier: MIT
/*
 * Row -> tree, by the mount API of 5.2: a mount is made detached, mapped while nobody can see it,
 * and attached last. That order is the kernel's, not a taste: a mount that was ever attached
 * cannot be idmapped any more (fs/namespace.c, can_idmap_mount()). mount_setattr(2) answers four
 * causes with one EINVAL, so a failure is looked into before it is told.
 */
#include <errno.h>
#include <string.h>
#include <sys/statfs.h>
#include <sys/utsname.h>

#include "explain.h"
#include "idmap.h"
#include "sys.h"

/* --- a filesystem ---------------------------------------------------------------------------- */

/* The kernel's own words, from a file of fsopen(2): one message a read, its kind in front. */
static void kernel_words(int fs_fd, struct idmap_text *text)
{
	char line[256];
	long n;

	while ((n = sys_read(fs_fd, line, sizeof(line))) > 2) {
		if (line[n - 1] == '\n')
			n--;
		if (*line == 'e' || *line == 'w')
			idmap_text_add(text, "%s%.*s", text->at == text->start ? "" : ", ",
				       (int)n - 2, line + 2);
	}
}

/* What failed, for the line that a person reads. */
struct attempt {
	const char *option; /* the refused option, or NULL */
	int error;
	char words[256]; /* the kernel's */
};

static int configure(int fs_fd, const struct idmap_row *row, struct attempt *attempt)
{
	char key[IDMAP_OPTION_MAX + 1];
	const bool tmpfs = IS_ENABLED(CONFIG_TMPFS) && row->map && !strcmp(row->type, "tmpfs");
	const char *item, *equals;
	uint32_t id, kind;
	int result;

	result = sys_fsconfig(fs_fd, FSCONFIG_SET_STRING, "source", row->device);
	/*
	 * The superblock's own ro: as an attribute of the mount alone it would let ext4 replay its
	 * journal onto the disk.
	 */
	if (!result && row->attr & IDMAP_RDONLY)
		result = sys_fsconfig(fs_fd, FSCONFIG_SET_FLAG, "ro", NULL);
	/* A new tmpfs belongs to disk id 0; root of the guest must own it for what it is seen as.
	 */
	for (kind = 0; !result && tmpfs && kind < IDMAP_KINDS; kind++) {
		struct idmap_text text;

		idmap_text_init(&text, key, sizeof(key));
		if (!idmap_map_disk(row->map, (enum idmap_kind)kind, 0, &id))
			continue;
		idmap_text_add(&text, "%u", id);
		result = sys_fsconfig(fs_fd, FSCONFIG_SET_STRING, kind == IDMAP_UID ? "uid" : "gid",
				      key);
	}
	for (item = row->data; !result && *item; item += strlen(item) + 1) {
		size_t length;

		attempt->option = item;
		equals = strchr(item, '=');
		length = equals ? (size_t)(equals - item) : strlen(item);
		memcpy(key, item, length);
		key[length] = 0;
		result = equals ? sys_fsconfig(fs_fd, FSCONFIG_SET_STRING, key, equals + 1)
				: sys_fsconfig(fs_fd, FSCONFIG_SET_FLAG, key, NULL);
	}
	if (result)
		return result;
	attempt->option = NULL;
	return sys_fsconfig(fs_fd, FSCONFIG_CMD_CREATE, NULL, NULL);
}

/* The numbers of linux/mount.h: ours, and one that would not fit a small table. */
static uint32_t kernel_attr(uint32_t attr)
{
	return attr & IDMAP_NOSYMFOLLOW
		       ? (attr & ~(uint32_t)IDMAP_NOSYMFOLLOW) | MOUNT_ATTR_NOSYMFOLLOW
		       : attr;
}

/* A detached mount of the row's source as `type`, or -errno with the attempt's story. */
static int try_type(const struct idmap_row *row, const char *type, uint32_t attr,
		    struct attempt *attempt)
{
	idmap_closed int fs_fd = sys_fsopen(type, FSOPEN_CLOEXEC);
	struct idmap_text words;
	int result;

	attempt->option = NULL;
	*attempt->words = 0;
	if (fs_fd < 0)
		return attempt->error = fs_fd;
	result = configure(fs_fd, row, attempt);
	if (!result)
		result = sys_fsmount(fs_fd, FSMOUNT_CLOEXEC, kernel_attr(attr));
	if (result >= 0)
		return result;
	idmap_text_init(&words, attempt->words, sizeof(attempt->words));
	if (IS_ENABLED(CONFIG_EXPLAIN))
		kernel_words(fs_fd, &words);
	return attempt->error = result;
}

/* virtiofs and 9p name a share of the host by a tag; theirs is an error of their own. */
static bool no_such_tag(const char *type, const struct attempt *attempt)
{
	return !attempt->option && ((attempt->error == -EINVAL && !strcmp(type, "virtiofs")) ||
				    (attempt->error == -ENOENT && !strcmp(type, "9p")));
}

static const char *mount_remedy(const struct idmap_row *row, const char *type,
				const struct attempt *attempt)
{
	const char *words;

	if (attempt->option)
		return MESSAGE("see the filesystem's manual for the options it takes");
	if (no_such_tag(type, attempt))
		return MESSAGE("give the host's share this tag, or load the driver that brings it"
			       " (mkinitramfs -m virtio_pci)");
	if (attempt->error == -EACCES || attempt->error == -EROFS)
		return row->flags & IDMAP_UPPER
			       ? MESSAGE("the upper layer needs a device that can be written")
			       : MESSAGE("the device is read-only; write ro");
	words = idmap_choose(
		CHOICES(ON(ENODEV, "load its module (mkinitramfs -m) or name another type"),
			ON3(ENOENT, ENOTBLK, ENXIO, "name a block device as SOURCE"),
			ON(EBUSY,
			   "it is mounted already, ro here and rw there; use the same in both rows"),
			ON(ENOSYS, "Linux 5.12 or newer is needed")),
		-attempt->error);
	if (*words)
		return words;
	return row->attr & IDMAP_RDONLY
		       ? MESSAGE("check TYPE and what is on the device")
		       : MESSAGE("check TYPE and what is on the device, or try ro");
}

static int mount_failed(const struct idmap_row *row, const char *type,
			const struct attempt *attempt, struct idmap_error *ret_error)
{
	const bool words = *attempt->words, tag = no_such_tag(type, attempt);
	const char *what = tag			       ? MESSAGE("finds no share of that tag")
			   : attempt->error == -ENODEV ? MESSAGE("is no filesystem of this kernel")
						       : MESSAGE("does not mount");

	if (attempt->option)
		return idmap_row_fail(ret_error, row, IDMAP_NO_MOUNT, -attempt->error,
				      "%s does not take the option %s (%s%s%s); %s", type,
				      attempt->option, idmap_errno_text(-attempt->error),
				      words ? "; kernel: " : "", attempt->words,
				      mount_remedy(row, type, attempt));
	return idmap_row_fail(ret_error, row, tag ? IDMAP_NO_SOURCE : IDMAP_NO_MOUNT,
			      -attempt->error, "%s %s (%s%s%s); %s", type, what,
			      idmap_errno_text(-attempt->error), words ? "; kernel: " : "",
			      attempt->words, mount_remedy(row, type, attempt));
}

/*
 * All filesystems on devices that this kernel has, in its order, as a list of types. On its own
 * stack: most rows name a type, and each page of stack costs a page fault.
 */
static noinline void kernel_types(char *list, size_t size)
{
	char buffer[4096], *line = buffer, *end;
	idmap_closed int fd = sys_open("/proc/filesystems", O_RDONLY | O_CLOEXEC, 0);
	long n = fd < 0 ? fd : sys_read(fd, buffer, sizeof(buffer) - 1);
	struct idmap_text text;

	idmap_text_init(&text, list, size);
	if (n <= 0)
		return;
	buffer[n] = 0;
	for (; (end = strchr(line, '\n')); line = end + 1) {
		*end = 0;
		if (*line == '\t')
			idmap_text_add(&text, "%s%s", text.at == text.start ? "" : ":", line + 1);
	}
}

int idmap_tree_mount(const struct idmap_row *row, uint32_t attr, struct idmap_error *ret_error)
{
	char types[1024], type[64], tried[512];
	const char *list = row->type, *end = list;
	struct attempt attempt;
	bool no_ext23 = false;
	struct idmap_text text;
	int fd = -ENODEV, denied = 0, count = 0;

	if (IS_ENABLED(CONFIG_TYPE_AUTO) && !strcmp(list, "auto")) {
		kernel_types(types, sizeof(types));
		list = types;
		/* Their drivers cannot be idmapped, and ext4's reads what they read. */
		no_ext23 = idmap_type_has(types, "ext4");
	}
	idmap_text_init(&text, tried, sizeof(tried));
	for (; *list; list = end + (*end == ':')) {
		struct idmap_text name;

		end = strchr(list, ':');
		if (!end)
			end = list + strlen(list);
		idmap_text_init(&name, type, sizeof(type));
		idmap_text_add(&name, "%.*s", (int)(end - list), list);
		if (no_ext23 && (!strcmp(type, "ext2") || !strcmp(type, "ext3")))
			continue;
		fd = try_type(row, type, attr, &attempt);
		if (fd >= 0)
			return fd;
		count++;
		if (fd == -EACCES || fd == -EROFS)
			denied = fd; /* it is of this type, and the device is read-only */
		if (IS_ENABLED(CONFIG_EXPLAIN))
			idmap_text_add(&text, "%s%s: %s", count > 1 ? ", " : "", type,
				       *attempt.words ? attempt.words : idmap_errno_text(-fd));
		/* So does the kernel for a list in rootfstype=, ENODEV apart (init/do_mounts.c). */
		if (fd != -EINVAL && fd != -EACCES && fd != -ENODEV)
			break;
	}
	if (count > 1 && !*end)
		return idmap_row_fail(
			ret_error, row, IDMAP_NO_MOUNT, denied ? -denied : -fd,
			"no type mounts (%s); name the right TYPE and load its module", tried);
	if (!count)
		return idmap_row_fail(
			ret_error, row, IDMAP_NO_MOUNT, ENODEV,
			"the kernel knows no filesystem to try; load a filesystem's module"
			" (mkinitramfs -m) or name TYPE");
	return mount_failed(row, type, &attempt, ret_error);
}

/* --- clones ---------------------------------------------------------------------------------- */

int idmap_tree_clone(int dir_fd, bool recursive)
{
	return sys_open_tree(dir_fd, "",
			     OPEN_TREE_CLONE | OPEN_TREE_CLOEXEC | SYS_AT_EMPTY_PATH |
				     (recursive ? SYS_AT_RECURSIVE : 0));
}

/* --- the map --------------------------------------------------------------------------------- */

#define MAGIC_FUSE 0x65735546 /* linux/magic.h, as the rest of them */
#define MAGIC_9P 0x01021997
#define MAGIC_OVERLAYFS 0x794c7630
#define MAGIC_EXT4 0xef53

static int set_attributes(int tree_fd, const struct idmap_row *row, int userns_fd)
{
	/* NOSYMFOLLOW is of 5.14, so it is set where it is said and never cleared. */
	const uint32_t clearable =
		IDMAP_RDONLY | IDMAP_NOSUID | IDMAP_NODEV | IDMAP_NOEXEC | IDMAP_NODIRATIME;
	struct sys_mount_attr attr = {
		.attr_set = kernel_attr(row->attr),
		.attr_clr = (clearable & ~row->attr) | IDMAP_ATIME_MASK,
	};

	if (userns_fd >= 0) {
		attr.attr_set |= MOUNT_ATTR_IDMAP;
		attr.userns_fd = (uint64_t)userns_fd;
	}
	return sys_mount_setattr(
		tree_fd, "", SYS_AT_EMPTY_PATH | (row->flags & IDMAP_RBIND ? SYS_AT_RECURSIVE : 0),
		&attr);
}

/* Whether the tree takes a map that no kernel refuses. The tree is lost to us afterwards. */
static bool takes_any_map(int tree_fd, const struct idmap_row *row)
{
	struct idmap_extent extent = {.count = 1};
	struct idmap_map good = {
		.extent = {&extent, &extent}, .extents = {1, 1}, .userns_fd = -1, .users = 1};
	struct idmap_error unused;
	bool taken;

	if (idmap_userns(&good, &unused))
		return false;
	taken = !set_attributes(tree_fd, row, good.userns_fd);
	idmap_userns_put(&good);
	return taken;
}

/* 6.12 of "6.12.117+deb13-amd64", as 6012. */
static uint32_t version(const char *text)
{
	uint32_t part[2] = {0}, i;

	for (i = 0; i < 2; i++) {
		for (; *text >= '0' && *text <= '9'; text++)
			part[i] = part[i] * 10 + (uint32_t)(*text - '0');
		text += *text == '.';
	}
	return part[0] * 1000 + part[1];
}

/*
 * A filesystem's name, and behind it since which Linux it can be idmapped; nothing where that can
 * never be. By statfs(2)'s f_type.
 */
static const char *support_of(uint32_t magic)
{
	return idmap_choose(
		CHOICES(CHOICES(ON(MAGIC_EXT4, "ext4 5.12"), ON(0x58465342, "xfs 5.12"),
				ON(0x4d44, "vfat 5.12"), ON(0x9123683e, "btrfs 5.15"),
				ON(0x7366746e, "ntfs3 5.15"), ON(0xf2f52010, "f2fs 5.18"),
				ON(0xe0f5e1e2, "erofs 5.19"), ON(0x73717368, "squashfs 6.2")),
			CHOICES(ON(0x01021994, "tmpfs 6.3"), ON(0x00c36400, "cephfs 6.7"),
				ON(0x958458f6, "hugetlbfs 6.9"), ON(MAGIC_FUSE, "virtiofs 6.12"),
				ON(MAGIC_OVERLAYFS, "overlay"), ON(0x858458f6, "ramfs"),
				ON(0x9fa0, "proc"), ON(0x62656572, "sysfs")),
			CHOICES(ON(MAGIC_9P, "9p"), ON(0x6969, "nfs"), ON(0xff534d42, "cifs"),
				ON(0x9660, "isofs"), ON(0x15013346, "udf"),
				ON(0x28cd3d45, "cramfs"), ON(0x7275, "romfs"))),
		magic);
}

static int explain_filesystem(int tree_fd, const struct idmap_row *row, const char *release,
			      struct idmap_error *ret_error)
{
	struct statfs fs = {0};
	const char *name, *since;
	uint32_t magic;

	sys_fstatfs(tree_fd, &fs);
	/* 9p tells what the server's own folder lies on (fs/9p/vfs_super.c, v9fs_statfs()). */
	magic = strcmp(row->type, "9p") ? (uint32_t)fs.f_type : MAGIC_9P;
	name = support_of(magic);
	since = strchr(name, ' ');
	if (*name && !since)
		return idmap_row_fail(
			ret_error, row, IDMAP_NO_MAP, EINVAL, "%s can never be idmapped; %s", name,
			magic == MAGIC_OVERLAYFS ? MESSAGE("map each of its layers")
			: magic == MAGIC_9P
				? MESSAGE("use virtiofs for a mapped folder of the host")
				: MESSAGE("use erofs, ext4 or xfs for a mapped tree"));
	if (magic == MAGIC_EXT4 &&
	    (idmap_type_has(row->type, "ext2") || idmap_type_has(row->type, "ext3")))
		return idmap_row_fail(
			ret_error, row, IDMAP_NO_MAP, EINVAL,
			"the type %s cannot be idmapped, ext4 mounts the same image and can; write"
			" ext4",
			row->type);
	if (since && version(release) < version(since + 1))
		return idmap_row_fail(
			ret_error, row, IDMAP_NO_MAP, EINVAL,
			"%.*s can be idmapped since Linux %s, and this is %s; boot a newer kernel"
			" or use another filesystem",
			(int)(since - name), name, since + 1, release);
	/* The kernel's part is there, and clears SB_I_NOIDMAP only where the server agrees. */
	if (magic == MAGIC_FUSE)
		return idmap_row_fail(
			ret_error, row, IDMAP_NO_MAP, EINVAL,
			"its server on the host allows no map, this kernel (%s) would; use"
			" virtiofsd 1.13 or newer",
			release);
	return idmap_row_fail(ret_error, row, IDMAP_NO_MAP, EINVAL,
			      "%s cannot be idmapped on this kernel (%s); use erofs, ext4 or xfs",
			      row->flags & (IDMAP_BIND | IDMAP_RBIND) ? MESSAGE("its source")
								      : row->type,
			      release);
}

static int explain_refusal(int tree_fd, const struct idmap_row *row, int error,
			   struct idmap_error *ret_error)
{
	struct utsname uts = {.release = "an unknown one"};

	sys_uname(&uts);
	switch (error) {
	case ENOSYS:
		return idmap_row_fail(ret_error, row, IDMAP_NO_MAP, error,
				      "%s Linux 5.12 or newer, and this is %s; boot a newer kernel",
				      row->map ? "idmapped mounts need" : "options of a bind need",
				      uts.release);
	case EPERM:
		return idmap_row_fail(
			ret_error, row, IDMAP_NO_MAP, error,
			"the kernel lets nobody map this mount (%s); it is mapped already, or its"
			" filesystem was mounted in another user namespace",
			idmap_errno_text(error));
	case EINVAL:
		if (row->map && !takes_any_map(tree_fd, row))
			return explain_filesystem(tree_fd, row, uts.release, ret_error);
		break;
	}
	return idmap_row_fail(
		ret_error, row, IDMAP_NO_MAP, error,
		"the kernel (%s) refuses this map or these options (%s), though it takes others;"
		" try with less of them and report it",
		uts.release, idmap_errno_text(error));
}

int idmap_tree_map(int tree_fd, const struct idmap_row *row, struct idmap_error *ret_error)
{
	struct statfs unused;
	int result = 0;

	if (row->map)
		result = idmap_userns(row->map, ret_error);
	if (result)
		return result;
	/*
	 * The server of a FUSE filesystem says whether it allows a map in an answer that mounting
	 * does not wait for (fs/fuse/inode.c, process_init_reply()); every other question does.
	 */
	if (row->map && !(row->flags & IDMAP_CLONE))
		sys_fstatfs(tree_fd, &unused);
	result = set_attributes(tree_fd, row, row->map ? row->map->userns_fd : -1);
	if (!result)
		return 0;
	if (IS_ENABLED(CONFIG_EXPLAIN))
		return explain_refusal(tree_fd, row, -result, ret_error);
	return idmap_row_fail(ret_error, row, IDMAP_NO_MAP, -result,
			      "it cannot be idmapped on this kernel (%s); try a newer one or erofs",
			      idmap_errno_text(-result));
}
