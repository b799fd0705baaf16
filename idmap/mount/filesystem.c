// SPDX-License-Identifier: MIT
/*
 * A filesystem on a device becomes a tree, by the mount API of 5.2: a mount is made detached,
 * mapped while nobody can see it, and attached last. That order is the kernel's, not a taste: a
 * mount that was ever attached cannot be idmapped any more (fs/namespace.c, can_idmap_mount()).
 */
#include <errno.h>
#include <string.h>
#include <strings.h>
#include <sys/statfs.h>

#include "mount/further.h"
#include "mount/standing.h"

#define TYPE_SIZE 64

/* The kernel's own words, from a file of fsopen(2): one message a read, its kind in front. */
static void kernel_words(int fs_fd, struct idmap_text *text)
{
	char line[512];
	long n;

	/* One that is longer is lost, and what stands behind it is not. */
	while ((n = read(fs_fd, line, sizeof(line))) > 2 || (n < 0 && errno == EMSGSIZE)) {
		if (n < 0)
			continue;
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

/*
 * Before Linux 6.8 xfs asks for the options of every filesystem when it is begun, before they can
 * be said (fs/xfs/xfs_super.c, xfs_init_fs_context()); this one of its own means them both.
 */
static bool is_wsync(const char *type, const char *item)
{
	return !strcmp(type, "xfs") && (!strcmp(item, "sync") || !strcmp(item, "dirsync")) &&
	       idmap_kernel_before(6, 8);
}

/* Options of the table, one after the other. */
static int set_options(int fs_fd, const struct idmap_row *row, const char *type, const char *item,
		       struct idmap_attempt *attempt)
{
	char key[IDMAP_OPTION_MAX + 1];
	int result = 0;

	for (; !result && *item; item += strlen(item) + 1) {
		const char *equals = strchr(item, '=');
		size_t length = equals ? (size_t)(equals - item) : strlen(item);

		if (idmap_is_further_alone(type, item))
			continue;
		attempt->option = item;
		memcpy(key, item, length);
		key[length] = 0;
		result = equals ? set_option(fs_fd, FSCONFIG_SET_STRING, key,
					     idmap_device_found(row, equals + 1))
				: set_option(fs_fd, FSCONFIG_SET_FLAG, key, NULL);
		if (!result && is_wsync(type, item))
			result = set_option(fs_fd, FSCONFIG_SET_FLAG, "wsync", NULL);
	}
	return result;
}

/*
 * The superblock's own ro: as an attribute of the mount alone it would let ext4 replay its journal
 * onto the disk. A server's share has none, and may be rw in another row; what is written to anyway
 * has one superblock, which is rw; and what the kernel makes up has one for all, so that the
 * machine's own /dev or /sys/fs/cgroup would be ro with it.
 */
static bool has_own_ro(const struct idmap_row *row, const char *type)
{
	return row->attr & IDMAP_RDONLY && !(row->flags & IDMAP_ON_WRITTEN) &&
	       (!idmap_has_no_device(type) || idmap_type_has("tmpfs:ramfs", type));
}

static int configure(int fs_fd, const struct idmap_row *row, const char *type,
		     struct idmap_attempt *attempt)
{
	char id_text[12];
	const bool tmpfs = row->map && !strcmp(row->type, "tmpfs");
	uint32_t id, kind;
	int result;

	result = set_option(fs_fd, FSCONFIG_SET_STRING, "source", row->device);
	if (!result && has_own_ro(row, type))
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
		result = set_options(fs_fd, row, type, row->root_data, attempt);
	if (!result)
		result = set_options(fs_fd, row, type, row->data, attempt);
	if (result)
		return result;
	attempt->option = NULL;
	return set_option(fs_fd, FSCONFIG_CMD_CREATE, NULL, NULL);
}

static bool has_options(const struct idmap_row *row)
{
	return *row->root_data || *row->data;
}

/*
 * A detached mount of the row's source as `type`, or -errno; and what the kernel says of it, which
 * of a mount that it makes is about the row's options.
 */
static int try_type(const struct idmap_row *row, const char *type, uint32_t attr,
		    struct idmap_attempt *attempt)
{
	idmap_closed int fs_fd = or_errno(sys_fsopen(type, FSOPEN_CLOEXEC));
	struct idmap_text words;
	int result;

	attempt->option = NULL;
	*attempt->words = 0;
	attempt->unknown = fs_fd == -ENODEV;
	if (fs_fd < 0)
		return attempt->error = fs_fd;
	result = configure(fs_fd, row, type, attempt);
	if (!result)
		result = or_errno(sys_fsmount(fs_fd, FSMOUNT_CLOEXEC, attr));
	if (result >= 0 && !has_options(row))
		return result;
	idmap_text_init(&words, attempt->words, sizeof(attempt->words));
	kernel_words(fs_fd, &words);
	return result >= 0 ? result : (attempt->error = result);
}

/* The same once more, for what the kernel's log says of it. Should it succeed now, so be it. */
static int try_again(const struct idmap_row *row, const char *type, uint32_t attr,
		     struct idmap_attempt *attempt)
{
	idmap_closed int log_fd = -1;
	struct idmap_text words;
	int fd;

	/* Where there is no such type no word is left. */
	if (*attempt->words || attempt->unknown)
		return attempt->error;
	log_fd = idmap_klog_begin();
	fd = try_type(row, type, attr, attempt);
	idmap_text_init(&words, attempt->words, sizeof(attempt->words));
	if (fd < 0)
		idmap_klog_read(log_fd, &words);
	return fd;
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

/* The next name of a list of types, and what follows it. */
static const char *next_type(const char *list, char type[TYPE_SIZE])
{
	const size_t length = strcspn(list, ":");

	idmap_print(type, TYPE_SIZE, "%.*s", (int)length, list);
	return list + length + (list[length] == ':');
}

static bool is_of_word(char c)
{
	return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9') ||
	       c == '_';
}

/* Whether the text has that word, in whichever case. */
static bool has_word(const char *text, const char *word, size_t length)
{
	const char *at;

	for (at = text; *at; at++)
		if (!strncasecmp(at, word, length) && !is_of_word(at[length]) &&
		    (at == text || !is_of_word(at[-1])))
			return true;
	return false;
}

/* Whether it is about an option of the row. */
static bool names_option(const char *text, const struct idmap_row *row)
{
	const char *first = row->root_data, *second = row->data, *option;

	while (*(option = idmap_next_option(&first, &second)))
		if (has_word(text, option, strcspn(option, "=")))
			return true;
	return false;
}

/* Whether it is about the device, or what is on it, as a filesystem's driver begins. */
static bool is_about(const char *text, const struct idmap_row *row, const char *type)
{
	const char *slash = strrchr(row->device, '/'), *name = slash ? slash + 1 : row->device;

	return has_word(text, type, strlen(type)) || has_word(text, name, strlen(name));
}

/* Whether the kernel says of something that it goes on without, at whatever level it does. */
static bool tells_of_lack(const char *text)
{
	/* Some begin a sentence, and some do not. */
	static const char *const words[] = {"nsupported", "not support", "gnor", "urning off"};
	size_t i;

	for (i = 0; i < COUNT_OF(words); i++)
		if (idmap_contains(text, words[i]))
			return true;
	return false;
}

/*
 * Options that a filesystem takes and goes on without: it says so by what it was mounted with, or
 * in the kernel's log, among what others say there.
 */
static void note_dropped(const struct idmap_stage *stage, const struct idmap_row *row,
			 const char *type, const char *said, int log_fd)
{
	char record[IDMAP_KLOG_RECORD], words[300];
	struct idmap_text text;
	const char *line;
	bool grave;

	idmap_text_init(&text, words, sizeof(words));
	if (tells_of_lack(said))
		idmap_text_add(&text, "%s", said);
	while ((line = idmap_klog_next(log_fd, record, &grave)))
		if (tells_of_lack(line) && is_about(line, row, type) && names_option(line, row))
			idmap_text_add(&text, "%s%s", *words ? ", " : "", line);
	if (*words)
		idmap_note_row(
			stage->notes, row,
			"mounted, though without all that the row asks for (kernel: %s); take"
			" out what has no effect",
			words);
}

/* One type of the row's; what the kernel's driver writes to the disk on the way is told. */
static int mount_type(const struct idmap_stage *stage, struct idmap_row *row, const char *type,
		      uint32_t attr, struct idmap_attempt *attempt)
{
	struct idmap_written written = idmap_written_begin(row, type);
	idmap_closed int log_fd = has_options(row) ? idmap_klog_begin() : -1;
	struct statfs unused;
	int fd = try_type(row, type, attr, attempt);

	/* It cannot be written, as that row will say. */
	if ((fd == -EACCES || fd == -EROFS) && row->flags & IDMAP_ON_WRITTEN) {
		row->flags &= ~(uint32_t)IDMAP_ON_WRITTEN;
		row->flags |= IDMAP_DENIED;
		fd = try_type(row, type, attr, attempt);
	}
	idmap_written_end(&written, row, fd >= 0);
	if (fd < 0)
		return fd;
	note_dropped(stage, row, type, attempt->words, log_fd);
	/*
	 * A server says whether it allows a map in an answer that mounting does not wait for
	 * (fs/fuse/inode.c, process_init_reply()); every other question does. And one that never
	 * answers is to hang here.
	 */
	if (idmap_is_served(type))
		fstatfs(fd, &unused);
	idmap_trace(stage->notes, "%s is mounted as %s, for %s", row->source, type, row->target);
	return fd;
}

static int mount_some_type(const struct idmap_stage *stage, struct idmap_row *row, uint32_t attr,
			   struct idmap_error *ret_error)
{
	char types[1024], type[TYPE_SIZE], tried[512];
	const char *list = row->type, *holds = NULL;
	const bool any = !strcmp(list, "auto");
	idmap_closed int further_fd = idmap_further_open(row);
	struct idmap_attempt attempt;
	struct idmap_text text;
	int fd = -ENODEV, denied = 0, count = 0;
	bool all = true;

	row->flags &= ~(uint32_t)IDMAP_ON_WRITTEN;
	if (idmap_is_on_written(stage->plan, row))
		row->flags |= IDMAP_ON_WRITTEN;
	if (any) {
		kernel_types(types, sizeof(types));
		list = types;
	}
	idmap_text_init(&text, tried, sizeof(tried));
	while (*list && all) {
		list = next_type(list, type);
		/* Their drivers cannot be idmapped, and ext4's reads what they read. */
		if (any && (!strcmp(type, "ext2") || !strcmp(type, "ext3")) &&
		    idmap_type_has(types, "ext4"))
			continue;
		fd = idmap_further_check(further_fd, row, type, ret_error);
		if (fd)
			return fd;
		fd = mount_type(stage, row, type, attr, &attempt);
		/* That the kernel mounts, and what lies behind the end cannot be read. */
		if (fd >= 0 && !strcmp(type, "erofs") && idmap_is_cut_short(further_fd, type))
			idmap_note_row(
				stage->notes, row,
				"it is erofs, and larger than what is here, so that files of it"
				" cannot be read: a copy of it broke off, or the device is too"
				" small; write the image anew");
		if (fd >= 0)
			return fd;
		count++;
		if (fd == -EACCES || fd == -EROFS)
			denied = fd; /* it is of this type, and the device is read-only */
		idmap_text_add(&text, "%s%s: %s", count > 1 ? ", " : "", type,
			       *attempt.words ? attempt.words : idmap_errno_text(-fd));
		/* So does the kernel for a list in rootfstype=, ENODEV apart (init/do_mounts.c). */
		all = fd == -EINVAL || fd == -EACCES || fd == -ENODEV;
		/* Nor does a driver have the last word on what is none of its own, but for that it
		 * takes no file. */
		if (!all && fd != -ENOTBLK) {
			holds = idmap_disks_type(row->device);
			all = holds && !idmap_type_fits(holds, type);
		}
	}
	if (!holds)
		holds = idmap_disks_type(row->device);
	if (count != 1 && all) {
		/* Of many only the one that fits is of interest. */
		if (!holds || !idmap_type_has(any ? types : row->type, holds))
			return idmap_no_type_mounts(stage, row, denied ? denied : fd, tried, holds,
						    ret_error);
		idmap_print(type, sizeof(type), "%s", holds);
		fd = mount_type(stage, row, type, attr, &attempt);
	}
	if (fd < 0)
		fd = try_again(row, type, attr, &attempt);
	return fd < 0 ? idmap_mount_failed(stage, row, type, holds, &attempt, ret_error) : fd;
}

int idmap_filesystem_mount(const struct idmap_stage *stage, struct idmap_row *row, uint32_t attr,
			   struct idmap_error *ret_error)
{
	int fd = mount_some_type(stage, row, attr, ret_error);
	int result = fd < 0 ? fd : idmap_once_check(stage, row, fd, ret_error);

	if (result < 0)
		idmap_close(&fd);
	return result < 0 ? result : fd;
}
