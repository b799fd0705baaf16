// SPDX-License-Identifier: MIT
/*
 * A filesystem on a device becomes a tree, by the mount API of 5.2: a mount is made detached,
 * mapped while nobody can see it, and attached last. That order is the kernel's, not a taste: a
 * mount that was ever attached cannot be idmapped any more (fs/namespace.c, can_idmap_mount()).
 */
#include <errno.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/mount.h> /* BLKROGET */

#include "mount/mount.h"

/* The kernel's own words, from a file of fsopen(2): one message a read, its kind in front. */
static void kernel_words(int fs_fd, struct idmap_text *text)
{
	char line[256];
	long n;

	while ((n = read(fs_fd, line, sizeof(line))) > 2) {
		if (line[n - 1] == '\n')
			n--;
		if (*line == 'e' || *line == 'w')
			idmap_text_add(text, "%s%.*s", text->at == text->start ? "" : ", ",
				       (int)n - 2, line + 2);
	}
}

static int set_option(int fs_fd, int command, const char *key, const char *value)
{
	return or_errno(sys_fsconfig(fs_fd, command, key, value));
}

/* What failed, for the line that a person reads. */
struct attempt {
	const char *option; /* the refused option, or NULL */
	int error;
	char words[256]; /* the kernel's */
};

/* Options of the table, one after the other. */
static int set_options(int fs_fd, const char *item, struct attempt *attempt)
{
	char key[IDMAP_OPTION_MAX + 1];
	int result = 0;

	for (; !result && *item; item += strlen(item) + 1) {
		const char *equals = strchr(item, '=');
		size_t length = equals ? (size_t)(equals - item) : strlen(item);

		attempt->option = item;
		memcpy(key, item, length);
		key[length] = 0;
		result = equals ? set_option(fs_fd, FSCONFIG_SET_STRING, key, equals + 1)
				: set_option(fs_fd, FSCONFIG_SET_FLAG, key, NULL);
	}
	return result;
}

static int configure(int fs_fd, const struct idmap_row *row, struct attempt *attempt)
{
	char id_text[12];
	const bool tmpfs = row->map && !strcmp(row->type, "tmpfs");
	uint32_t id, kind;
	int result;

	result = set_option(fs_fd, FSCONFIG_SET_STRING, "source", row->device);
	/*
	 * The superblock's own ro: as an attribute of the mount alone it would let ext4 replay its
	 * journal onto the disk.
	 */
	if (!result && row->attr & IDMAP_RDONLY)
		result = set_option(fs_fd, FSCONFIG_SET_FLAG, "ro", NULL);
	/* A new tmpfs belongs to disk id 0; root of the guest must own it for what it is seen as.
	 */
	for (kind = 0; !result && tmpfs && kind < IDMAP_KINDS; kind++) {
		if (!idmap_map_disk(row->map, (enum idmap_kind)kind, 0, &id))
			continue;
		result = set_option(fs_fd, FSCONFIG_SET_STRING, kind == IDMAP_UID ? "uid" : "gid",
				    idmap_print(id_text, sizeof(id_text), "%u", id));
	}
	if (!result)
		result = set_options(fs_fd, row->root_data, attempt);
	if (!result)
		result = set_options(fs_fd, row->data, attempt);
	if (result)
		return result;
	attempt->option = NULL;
	return set_option(fs_fd, FSCONFIG_CMD_CREATE, NULL, NULL);
}

/* A detached mount of the row's source as `type`, or -errno with the attempt's story. */
static int try_type(const struct idmap_row *row, const char *type, uint32_t attr,
		    struct attempt *attempt)
{
	idmap_closed int fs_fd = or_errno(sys_fsopen(type, FSOPEN_CLOEXEC));
	struct idmap_text words;
	int result;

	attempt->option = NULL;
	*attempt->words = 0;
	if (fs_fd < 0)
		return attempt->error = fs_fd;
	result = configure(fs_fd, row, attempt);
	if (!result)
		result = or_errno(sys_fsmount(fs_fd, FSMOUNT_CLOEXEC, attr));
	if (result >= 0)
		return result;
	idmap_text_init(&words, attempt->words, sizeof(attempt->words));
	kernel_words(fs_fd, &words);
	return attempt->error = result;
}

/*
 * Whether mounting it writes to the device though the row says ro: a journal that a crash has left
 * is replayed, by ext4 and by btrfs alike, and then the image is another one for all who share it.
 */
static bool is_replayed(const struct idmap_row *row, const char *type)
{
	static const struct {
		const char *type;
		uint32_t at, mask; /* of a little-endian number in the superblock */
	} dirty[] = {
		{"ext4", 1024 + 96, 0x4},   /* s_feature_incompat, INCOMPAT_RECOVER */
		{"ext3", 1024 + 96, 0x4},   /* fs/ext4/ext4.h */
		{"btrfs", 65536 + 96, ~0u}, /* log_root: linux/btrfs_tree.h */
	};
	idmap_closed int fd = -1;
	char bytes[4] = {0};
	int read_only = 0;
	size_t i;

	for (i = 0; i < COUNT_OF(dirty) && strcmp(dirty[i].type, type); i++)
		;
	if (i == COUNT_OF(dirty) || !(row->attr & IDMAP_RDONLY))
		return false;
	fd = idmap_open(row->device, O_RDONLY);
	return !ioctl(fd, BLKROGET, &read_only) && !read_only &&
	       pread(fd, bytes, sizeof(bytes), dirty[i].at) == sizeof(bytes) &&
	       idmap_little(bytes, sizeof(bytes)) & dirty[i].mask;
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
	static const struct idmap_words remedies[] = {
		{ENODEV, "load its module (mkinitramfs -m) or name another type"},
		{ENOENT, "name a block device as SOURCE"},
		{ENOTBLK, "name a block device as SOURCE"},
		{ENXIO, "name a block device as SOURCE"},
		{EBUSY, "it is mounted already, ro here and rw there; use the same in both rows"},
		{ENOSYS, "Linux 5.12 or newer is needed"},
		{0, NULL},
	};
	const char *words;

	if (attempt->option)
		return "see the filesystem's manual for the options it takes";
	if (no_such_tag(type, attempt))
		return "give the host's share this tag, or load the driver that brings it"
		       " (mkinitramfs -m virtio_pci)";
	if (attempt->error == -EROFS && row->attr & IDMAP_RDONLY)
		return "a crash has left its journal, which cannot be replayed there: mount it once where"
		       " it can be written, or add noload (ext4), norecovery (xfs), nologreplay (btrfs)";
	if (attempt->error == -EACCES || attempt->error == -EROFS)
		return row->flags & IDMAP_UPPER
			       ? "the upper layer needs a device that can be written"
			       : "the device is read-only; write ro";
	words = idmap_words_for(remedies, (uint32_t)-attempt->error);
	if (words)
		return words;
	return row->attr & IDMAP_RDONLY ? "check TYPE and what is on the device"
					: "check TYPE and what is on the device, or try ro";
}

static int mount_failed(const struct idmap_row *row, const char *type,
			const struct attempt *attempt, struct idmap_error *ret_error)
{
	const bool words = *attempt->words, tag = no_such_tag(type, attempt);
	const char *what = tag			       ? "finds no share of that tag"
			   : attempt->error == -ENODEV ? "is no filesystem of this kernel"
						       : "does not mount";

	if (attempt->option)
		return idmap_fail(ret_error, row, IDMAP_NO_MOUNT, -attempt->error,
				  "%s does not take the option %s (%m%s%s); %s", type,
				  attempt->option, words ? "; kernel: " : "", attempt->words,
				  mount_remedy(row, type, attempt));
	return idmap_fail(ret_error, row, tag ? IDMAP_NO_SOURCE : IDMAP_NO_MOUNT, -attempt->error,
			  "%s %s (%m%s%s); %s", type, what, words ? "; kernel: " : "",
			  attempt->words, mount_remedy(row, type, attempt));
}

/* All filesystems on devices that this kernel has, in its order, as a list of types. */
static void kernel_types(char *list, size_t size)
{
	char buffer[4096], *line = buffer, *end;
	idmap_closed int fd = idmap_open("/proc/filesystems", O_RDONLY);
	long n = read(fd, buffer, sizeof(buffer) - 1);
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

int idmap_filesystem_mount(const struct idmap_stage *stage, const struct idmap_row *row,
			   uint32_t attr, struct idmap_error *ret_error)
{
	char types[1024], type[64], tried[512];
	const char *list = row->type, *end = list;
	struct attempt attempt;
	bool no_ext23 = false, replayed;
	struct idmap_text text;
	int fd = -ENODEV, denied = 0, count = 0;

	if (!strcmp(list, "auto")) {
		kernel_types(types, sizeof(types));
		list = types;
		/* Their drivers cannot be idmapped, and ext4's reads what they read. */
		no_ext23 = idmap_type_has(types, "ext4");
	}
	idmap_text_init(&text, tried, sizeof(tried));
	for (; *list; list = end + (*end == ':')) {
		end = strchr(list, ':');
		if (!end)
			end = list + strlen(list);
		idmap_print(type, sizeof(type), "%.*s", (int)(end - list), list);
		if (no_ext23 && (!strcmp(type, "ext2") || !strcmp(type, "ext3")))
			continue;
		replayed = is_replayed(row, type);
		fd = try_type(row, type, attr, &attempt);
		if (fd >= 0 && replayed)
			idmap_note(
				stage->notes,
				"%s on %s: ro, and yet its journal was replayed: the disk has been"
				" written to; attach it read-only where others use it too",
				row->source, row->target);
		if (fd >= 0)
			return fd;
		count++;
		if (fd == -EACCES || fd == -EROFS)
			denied = fd; /* it is of this type, and the device is read-only */
		idmap_text_add(&text, "%s%s: %s", count > 1 ? ", " : "", type,
			       *attempt.words ? attempt.words : idmap_errno_text(-fd));
		/* So does the kernel for a list in rootfstype=, ENODEV apart (init/do_mounts.c). */
		if (fd != -EINVAL && fd != -EACCES && fd != -ENODEV)
			break;
	}
	if (count > 1 && !*end)
		return idmap_fail(ret_error, row, IDMAP_NO_MOUNT, denied ? -denied : -fd,
				  "no type mounts (%s); name the right TYPE and load its module",
				  tried);
	if (!count)
		return idmap_fail(
			ret_error, row, IDMAP_NO_MOUNT, ENODEV,
			"the kernel knows no filesystem to try; load a filesystem's module"
			" (mkinitramfs -m) or name TYPE");
	return mount_failed(row, type, &attempt, ret_error);
}
