// SPDX-License-Identifier: MIT
/*
 * A superblock may name further devices, by path or by number, and the kernel opens them, whatever
 * the row says: files of a stranger's image would show another disk, or be written to it, and what
 * dm-verity checks of the row's device would not be all. Only the table names devices.
 */
#include <errno.h>
#include <string.h>
#include <sys/stat.h>

#include "mount/further.h"

#define NAME_SIZE 64 /* of a path in a superblock, without a NUL where it is full */

/* The row's device, whose superblock is looked at. */
struct look {
	const struct idmap_row *row;
	int fd;
};

static bool read_at(const struct look *look, char *bytes, size_t size, uint64_t at)
{
	return pread(look->fd, bytes, size, (off_t)at) == (ssize_t)size;
}

/* A number of the superblock; 0 where there is none. */
static uint64_t number_at(const struct look *look, uint64_t at, size_t size)
{
	char bytes[8];

	return read_at(look, bytes, size, at) ? idmap_little(bytes, size) : 0;
}

bool idmap_row_says(const struct idmap_row *row, const char *begins)
{
	const char *first = row->root_data, *second = row->data, *item, *begin;
	size_t length;

	while (*(item = idmap_next_option(&first, &second)))
		for (begin = begins; *begin; begin += length + 1) {
			length = strcspn(begin, ",");
			if (!strncmp(item, begin, length))
				return true;
		}
	return false;
}

static bool is_same_disk(const char *path, const struct stat *other)
{
	struct stat st;

	return !stat(path, &st) && S_ISBLK(st.st_mode) && st.st_rdev == other->st_rdev;
}

/* Whether an option of the row names the device that this path leads to, or it is the row's own. */
static bool names(const struct idmap_row *row, const char *path)
{
	const char *first = row->root_data, *second = row->data, *item, *name;
	struct stat meant;

	if (stat(path, &meant))
		return false;
	while (*(item = idmap_next_option(&first, &second))) {
		name = idmap_device_option(item);
		if (name && is_same_disk(idmap_device_found(row, name), &meant))
			return true;
	}
	return is_same_disk(row->device, &meant);
}

bool idmap_is_further_alone(const char *type, const char *item)
{
	return !strcmp(type, "f2fs") && !strncmp(item, "device=", 7);
}

/* --- erofs ----------------------------------------------------------------------------------- */

static bool has_device_table(const struct look *look)
{
	/* EROFS_FEATURE_INCOMPAT_DEVICE_TABLE */
	return number_at(look, 1024 + 80, 4) & 0x8;
}

/*
 * struct erofs_super_block and erofs_deviceslot of fs/erofs/erofs_fs.h. Without device= a kernel
 * before 6.4 opens what a slot has for a name; later ones take the parts as if they stood behind
 * each other on the row's device, which is so where somebody has put them there.
 */
static int check_erofs(const struct look *look, struct idmap_error *ret_error)
{
	enum { SUPER = 1024, SLOT_SIZE = 128, MAPPED_AT = 68, BLOCKS_AT = 64 };
	const uint64_t count = number_at(look, SUPER + 86, 2);
	const uint64_t at = number_at(look, SUPER + 88, 2) * SLOT_SIZE;
	const uint64_t own_blocks = number_at(look, SUPER + 36, 4);
	const uint64_t block_bits = number_at(look, SUPER + 12, 1) & 31;
	const uint64_t blocks = (uint64_t)lseek(look->fd, 0, SEEK_END) >> block_bits;
	bool here = true;
	uint64_t i;

	if (!count || idmap_row_says(look->row, "device=,"))
		return 0;
	for (i = 0; i < count && here; i++) {
		char slot[SLOT_SIZE], name[NAME_SIZE + 1];
		uint64_t part_at, part;
		struct stat st;

		here = read_at(look, slot, sizeof(slot), at + i * SLOT_SIZE);
		idmap_print(name, sizeof(name), "%.*s", NAME_SIZE, slot);
		part_at = idmap_little(slot + MAPPED_AT, 4);
		part = idmap_little(slot + BLOCKS_AT, 4); /* 0: mkfs.erofs 1.5 */
		here = here && part_at >= own_blocks && part && part_at + part <= blocks &&
		       !strchr(name, '/') && (!*name || stat(name, &st));
	}
	return here ? 0
		    : idmap_fail(ret_error, look->row, IDMAP_NO_MOUNT, EINVAL,
				 "a part of its files lies on %u further devices, and the row names"
				 " none; %s",
				 (uint32_t)count,
				 look->row->verity ? "put all of it on one for dm-verity"
						   : "add device= for each, in their order");
}

/* --- f2fs ------------------------------------------------------------------------------------ */

/*
 * The next path in struct f2fs_super_block of linux/f2fs_fs.h, or in its copy in the next block;
 * false: there are no more. *at counts from 0.
 */
static bool next_path(const struct look *look, uint32_t *at, char path[NAME_SIZE + 1])
{
	enum { SUPER = 1024, COPY = 4096, DEVICES_AT = 2201, DEVICES = 8 };
	char bytes[NAME_SIZE];

	while (*at < 2 * DEVICES) {
		const uint32_t number = (*at)++;
		const uint32_t super = SUPER + (number < DEVICES ? 0 : COPY);

		if (!read_at(look, bytes, sizeof(bytes),
			     super + DEVICES_AT + number % DEVICES * (NAME_SIZE + 4)))
			return false;
		/* The first one is what is mounted, but by its path, too, in earlier kernels. */
		if (!*bytes || (number % DEVICES == 0 && !idmap_kernel_before(6, 5)))
			continue;
		idmap_print(path, NAME_SIZE + 1, "%.*s", NAME_SIZE, bytes);
		return true;
	}
	return false;
}

/* Whether it is one that the superblock names. */
static bool is_of_it(const struct look *look, const char *device)
{
	char path[NAME_SIZE + 1];
	uint32_t at = 0;
	struct stat st;

	if (stat(device, &st))
		return false;
	while (next_path(look, &at, path))
		if (is_same_disk(path, &st))
			return true;
	return false;
}

static int check_f2fs(const struct look *look, struct idmap_error *ret_error)
{
	const struct idmap_row *row = look->row;
	const char *first = row->root_data, *second = row->data, *item;
	char path[NAME_SIZE + 1];
	uint32_t at = 0;

	while (next_path(look, &at, path)) {
		if (row->verity)
			return idmap_fail(ret_error, row, IDMAP_NO_MOUNT, EINVAL,
					  "a part of its files lies on %s, which dm-verity does not"
					  " check; put all of it on one device",
					  path);
		if (!names(row, path))
			return idmap_fail(ret_error, row, IDMAP_NO_MOUNT, EINVAL,
					  "a part of its files lies on %s, and the row does not"
					  " name that; add device=%s if it is meant",
					  path, path);
	}
	/* The driver never hears of them. */
	while (*(item = idmap_next_option(&first, &second)))
		if (idmap_is_further_alone("f2fs", item) &&
		    !is_of_it(look, idmap_device_found(row, strchr(item, '=') + 1)))
			return idmap_fail(ret_error, row, IDMAP_NO_MOUNT, EINVAL,
					  "its superblock does not name %s; take that out", item);
	return 0;
}

/* --- journals -------------------------------------------------------------------------------- */

/* When a superblock says that the journal lies on another device. */
static const struct journal {
	const char *type;
	const char *options; /* that name it, or leave it alone; each with a comma */
	struct {
		uint32_t at, mask;
		bool set; /* whether one of these bits is, or none */
	} when[2];	  /* all of it */
	bool by_writing;  /* a row that is ro does not open it */
	const char *remedy;
} journals[] = {
	/*
	 * struct ext4_super_block of fs/ext4/ext4.h: a journal, and s_journal_inum. The device is
	 * s_journal_dev, or what s_mount_opts says.
	 */
	{"ext4",
	 "journal_path=,journal_dev=,noload,norecovery,",
	 {{1024 + 92, 0x4, true}, {1024 + 224, ~0u, false}},
	 false,
	 "add journal_path=DEVICE"},
	/* struct jfs_superblock of fs/jfs/jfs_superblock.h: s_flag, JFS_INLINELOG */
	{"jfs",
	 "",
	 {{32768 + 36, 0x800, false}, {32768 + 36, 0x800, false}},
	 true,
	 "write ro, as no option names it, or make it with the log inside"},
	/* struct reiserfs_super_block of fs/reiserfs/reiserfs.h: jp_journal_dev */
	{"reiserfs",
	 "jdev=,",
	 {{65536 + 16, ~0u, true}, {65536 + 16, ~0u, true}},
	 false,
	 "add jdev=DEVICE"},
};

/* Whether the superblock has options that name a journal's device, which win over the row's. */
static bool says_itself(const struct look *look)
{
	enum { OPTIONS_AT = 1024 + 512 }; /* s_mount_opts of struct ext4_super_block */
	char bytes[NAME_SIZE], options[NAME_SIZE + 2];

	if (!read_at(look, bytes, sizeof(bytes), OPTIONS_AT))
		return false;
	idmap_print(options, sizeof(options), ",%.*s", NAME_SIZE, bytes);
	return idmap_contains(options, ",journal_path=") ||
	       idmap_contains(options, ",journal_dev=");
}

static int check_journal(const struct look *look, const struct journal *journal,
			 struct idmap_error *ret_error)
{
	const struct idmap_row *row = look->row;
	size_t i;

	if (!strcmp(journal->type, "ext4") && says_itself(look))
		return idmap_fail(
			ret_error, row, IDMAP_NO_MOUNT, EINVAL,
			"its superblock has an option that names its journal's device,"
			" whatever the row does; take it out with tune2fs -E mount_opts=");
	for (i = 0; i < COUNT_OF(journal->when); i++)
		if (!(number_at(look, journal->when[i].at, 4) & journal->when[i].mask) ==
		    journal->when[i].set)
			return 0;
	if ((journal->by_writing && row->attr & IDMAP_RDONLY) ||
	    idmap_row_says(row, journal->options))
		return 0;
	return idmap_fail(ret_error, row, IDMAP_NO_MOUNT, EINVAL,
			  "its journal lies on another device, and the row does not name that; %s",
			  row->verity ? "put it inside for dm-verity" : journal->remedy);
}

/* --------------------------------------------------------------------------------------------- */

/* How a type is known. */
static const struct {
	const char *type;
	uint32_t at, size;
	const char *magic;
} magics[] = {
	{"erofs", 1024, 4, "\xe2\xe1\xf5\xe0"},
	{"f2fs", 1024, 4, "\x10\x20\xf5\xf2"},
	{"f2fs", 4096 + 1024, 4, "\x10\x20\xf5\xf2"}, /* the copy */
	{"ext4", 1024 + 56, 2, "\x53\xef"},
	{"ext3", 1024 + 56, 2, "\x53\xef"}, /* ext4's driver, of this and the next one */
	{"ext2", 1024 + 56, 2, "\x53\xef"},
	{"jfs", 32768, 4, "JFS1"},
	{"reiserfs", 65536 + 52, 6, "ReIsEr"},
};

static bool is_type(const struct look *look, const char *type)
{
	char bytes[8];
	size_t i;

	for (i = 0; i < COUNT_OF(magics); i++)
		if (!strcmp(magics[i].type, type) &&
		    read_at(look, bytes, magics[i].size, magics[i].at) &&
		    !memcmp(bytes, magics[i].magic, magics[i].size))
			return true;
	return false;
}

int idmap_further_open(const struct idmap_row *row)
{
	bool any = !strcmp(row->type, "auto");
	size_t i;

	if (*row->device != '/')
		return -1; /* a tag, or a word */
	for (i = 0; !any && i < COUNT_OF(magics); i++)
		any = idmap_type_has(row->type, magics[i].type);
	return any ? idmap_open(row->device, O_RDONLY) : -1;
}

bool idmap_has_further(int fd, const char *type)
{
	const struct look look = {NULL, fd};

	/* struct btrfs_super_block of linux/btrfs_tree.h: num_devices */
	return !strcmp(type, "btrfs") && number_at(&look, 65536 + 136, 8) > 1;
}

bool idmap_is_journal(int fd, const char *type)
{
	const struct look look = {NULL, fd};

	/* EXT4_FEATURE_INCOMPAT_JOURNAL_DEV of fs/ext4/ext4.h */
	return !strncmp(type, "ext", 3) && number_at(&look, 1024 + 96, 4) & 0x8;
}

bool idmap_is_cut_short(int fd, const char *type)
{
	/*
	 * In units, doubled as often as another field says. struct ext4_super_block of
	 * fs/ext4/ext4.h, erofs_super_block of fs/erofs/erofs_fs.h, squashfs_super_block of
	 * fs/squashfs/squashfs_fs.h, and of linux/btrfs_tree.h the btrfs_dev_item in
	 * btrfs_super_block: of this device alone.
	 */
	static const struct {
		const char *type;
		uint32_t at, size, unit, doublings_at;
	} sizes[] = {
		{"ext2", 1028, 4, 1024, 1048}, {"ext3", 1028, 4, 1024, 1048},
		{"ext4", 1028, 4, 1024, 1048}, {"erofs", 1060, 4, 1, 1036},
		{"squashfs", 40, 8, 1, 0},     {"btrfs", 65536 + 209, 8, 1, 0},
	};
	const struct look look = {NULL, fd};
	const off_t here = lseek(fd, 0, SEEK_END);
	size_t i;

	for (i = 0; i < COUNT_OF(sizes); i++) {
		uint64_t size;

		if (strcmp(sizes[i].type, type))
			continue;
		size = number_at(&look, sizes[i].at, sizes[i].size) * sizes[i].unit;
		if (sizes[i].doublings_at)
			size <<= number_at(&look, sizes[i].doublings_at, 1) & 31;
		/* Of an erofs with further devices it may be that of all. */
		return here >= 0 && size > (uint64_t)here &&
		       !(!strcmp(type, "erofs") && has_device_table(&look));
	}
	return false;
}

int idmap_further_check(int fd, const struct idmap_row *row, const char *type,
			struct idmap_error *ret_error)
{
	const struct look look = {row, fd};
	size_t i;

	if (fd < 0 || !is_type(&look, type))
		return 0;
	if (!strcmp(type, "erofs"))
		return has_device_table(&look) ? check_erofs(&look, ret_error) : 0;
	if (!strcmp(type, "f2fs"))
		return check_f2fs(&look, ret_error);
	if (!strcmp(type, "ext3") || !strcmp(type, "ext2"))
		type = "ext4"; /* its driver, and the same superblock */
	for (i = 0; i < COUNT_OF(journals); i++)
		if (!strcmp(journals[i].type, type))
			return check_journal(&look, &journals[i], ret_error);
	return 0;
}
