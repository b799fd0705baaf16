// SPDX-License-Identifier: MIT
/*
 * Finds the disk that has a name, by looking at those that are there: the partition table for a
 * partition's names, the superblock for a filesystem's, sysfs for a serial. Nothing is remembered
 * from one look to the next, because the next look is there since something has changed.
 */
#define _GNU_SOURCE
#include <fcntl.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/mount.h> /* BLKSSZGET, BLKGETSIZE64 */
#include <sys/stat.h>
#include <unistd.h>

#include "device/device.h"

/* linux/major.h: RAM disks and loops have no name of their own, and a floppy drive takes its time.
 */
enum { RAMDISK_MAJOR = 1, FLOPPY_MAJOR = 2, LOOP_MAJOR = 7 };

static int open_of(const char *format, const char *name)
{
	char path[96];

	return idmap_open(idmap_print(path, sizeof(path), format, name), O_RDONLY | O_NONBLOCK);
}

static bool read_serial(const struct idmap_disk *disk, char ret[NAMES_SIZE])
{
	idmap_closed int fd = open_of("/sys/block/%s/serial", disk->name);
	long n = read(fd, ret, NAMES_SIZE - 1);

	if (n <= 0)
		return false;
	ret[n - (ret[n - 1] == '\n')] = 0;
	return true;
}

/* The partition's entry in the table of its disk. */
static bool read_partition(const struct idmap_disk *disk, enum idmap_source_kind kind,
			   char ret[NAMES_SIZE])
{
	idmap_closed int fd = open_of("/dev/%s", disk->whole->name);
	char sectors[2 * NAMES_SECTOR_MOST];
	uint32_t sector_size = 512;
	uint64_t at;

	ioctl(fd, BLKSSZGET, &sector_size);
	if (sector_size > NAMES_SECTOR_MOST ||
	    pread(fd, sectors, 2 * sector_size, 0) != (long)(2 * sector_size))
		return false;
	at = idmap_names_gpt_offset(sectors, sector_size, disk->part);
	if (!at)
		return kind == IDMAP_SOURCE_PARTUUID && idmap_names_mbr(sectors, disk->part, ret);
	return pread(fd, sectors, NAMES_GPT_ENTRY_SIZE, (int64_t)at) == NAMES_GPT_ENTRY_SIZE &&
	       idmap_names_gpt(sectors, kind, ret);
}

/* What cannot be read stays zero and has no name. */
static void read_blocks(int fd, char blocks[NAMES_BLOCKS_SIZE])
{
	memset(blocks, 0, NAMES_BLOCKS_SIZE);
	pread(fd, blocks, NAMES_FRONT_SIZE, 0);
	pread(fd, blocks + NAMES_FRONT_SIZE, NAMES_BTRFS_SIZE, NAMES_BTRFS);
	pread(fd, blocks + NAMES_FRONT_SIZE + NAMES_BTRFS_SIZE, NAMES_ISO_SIZE, NAMES_ISO);
}

static void read_disk(const struct idmap_disk *disk, char blocks[NAMES_BLOCKS_SIZE])
{
	idmap_closed int fd = open_of("/dev/%s", disk->name);

	read_blocks(fd, blocks);
}

static bool read_filesystem(const struct idmap_disk *disk, enum idmap_source_kind kind,
			    char ret[NAMES_SIZE])
{
	char blocks[NAMES_BLOCKS_SIZE];

	read_disk(disk, blocks);
	return idmap_names_filesystem(blocks, kind, ret);
}

/* To open another node may have effects, such as a watchdog that starts. */
static int open_to_read(const char *path)
{
	struct stat st;

	return !stat(path, &st) && (S_ISBLK(st.st_mode) || S_ISREG(st.st_mode))
		       ? idmap_open(path, O_RDONLY)
		       : -1;
}

const char *idmap_disks_mark(const char *path)
{
	idmap_closed int fd = open_to_read(path);
	const char *owner = NULL;
	uint64_t size = 0;
	size_t n;

	if (fd < 0 || ioctl(fd, (int)BLKGETSIZE64, &size))
		return NULL;
	for (n = 0; !owner && n < NAMES_MARKS; n++) {
		const uint64_t at = idmap_names_mark_at(n, size);
		char bytes[NAMES_MARK_SIZE] = "";

		if (at < size && pread(fd, bytes, sizeof(bytes), (int64_t)at) > 0)
			owner = idmap_names_mark(n, bytes);
	}
	return owner;
}

const char *idmap_disks_type(const char *path)
{
	idmap_closed int fd = open_to_read(path);
	char blocks[NAMES_BLOCKS_SIZE];

	if (fd < 0)
		return NULL;
	read_blocks(fd, blocks);
	return idmap_names_type(blocks);
}

/* The disk's name of that kind; false where it has none. */
static bool name_of(const struct idmap_disk *disk, enum idmap_source_kind kind,
		    char ret[NAMES_SIZE])
{
	if (kind == IDMAP_SOURCE_NUMBER) {
		idmap_print(ret, NAMES_SIZE, "%u:%u", disk->major, disk->minor);
		return true;
	}
	if (disk->major == RAMDISK_MAJOR || disk->major == FLOPPY_MAJOR ||
	    disk->major == LOOP_MAJOR || kind == IDMAP_SOURCE_DEVICE)
		return false;
	if (kind == IDMAP_SOURCE_SERIAL)
		return !disk->part && read_serial(disk, ret);
	if (kind == IDMAP_SOURCE_PARTUUID || kind == IDMAP_SOURCE_PARTLABEL)
		return disk->part && read_partition(disk, kind, ret);
	/*
	 * Where a disk has partitions, what looks like a filesystem on the whole of it is what was
	 * there before, or begins where a partition does.
	 */
	return (disk->part || !disk[1].part) && read_filesystem(disk, kind, ret);
}

#define VERITY "CRYPT-VERITY-" /* libcryptsetup's, and mapper.c's */
#define VERITY_SIZE (sizeof(VERITY) - 1)

/* How the device mapper's own name for it begins; 0 or less: it has none. */
static long read_mapper_name(const struct idmap_disk *disk, char ret[VERITY_SIZE])
{
	idmap_closed int fd = open_of("/sys/block/%s/dm/uuid", disk->name);

	return read(fd, ret, VERITY_SIZE);
}

static bool is_verity(const struct idmap_disk *disk)
{
	char name[VERITY_SIZE];

	return read_mapper_name(disk, name) == (long)VERITY_SIZE &&
	       !memcmp(name, VERITY, VERITY_SIZE);
}

/*
 * The device mapper has dropped it, and the kernel still lists it for a moment: it has lost its
 * name by then (drivers/md/dm-sysfs.c), and what it was made of is what is meant.
 */
static bool is_going(const struct idmap_disk *disk)
{
	char name[VERITY_SIZE];

	return !strncmp(disk->name, "dm-", 3) && !access("/sys/block", F_OK) &&
	       read_mapper_name(disk, name) <= 0;
}

/* Whether another disk of that name is made of this one, and so is what is meant: dm, md. */
static bool is_part_of(const struct idmap_disk *disk, const struct idmap_disk *disks,
		       const struct idmap_source *source)
{
	const struct idmap_disk *other;
	char path[128], name[NAMES_SIZE];

	for (other = disks; other->name; other++) {
		idmap_print(path, sizeof(path), "/sys/block/%s/slaves/%s", other->name, disk->name);
		if (!access(path, F_OK) && !(source->raw && is_verity(other)) && !is_going(other) &&
		    name_of(other, source->kind, name) &&
		    idmap_names_equal(source->kind, name, source->value))
			return true;
	}
	return false;
}

/* Whether both are disks of one btrfs, of which either will do; a copy of a disk is another one. */
static bool is_one_btrfs(const struct idmap_disk *a, const struct idmap_disk *b)
{
	/* struct btrfs_super_block of linux/btrfs_tree.h: fsid; uuid of dev_item */
	enum { FSID = NAMES_FRONT_SIZE + 32, UUID = NAMES_FRONT_SIZE + 267, SIZE = 16 };
	char of_a[NAMES_BLOCKS_SIZE], of_b[sizeof(of_a)];
	const char *type;

	read_disk(a, of_a);
	read_disk(b, of_b);
	type = idmap_names_type(of_a); /* NULL: it has gone meanwhile */
	return type && !strcmp(type, "btrfs") && !memcmp(&of_a[FSID], &of_b[FSID], SIZE) &&
	       memcmp(&of_a[UUID], &of_b[UUID], SIZE);
}

/* What a disk belongs to whose filesystem has the name, so that something else is meant. */
static const char *owner_of(const struct idmap_disk *disk)
{
	char path[96];

	return idmap_disks_mark(idmap_print(path, sizeof(path), "/dev/%s", disk->name));
}

uint32_t idmap_disks_look(const struct idmap_arena *arena, const struct idmap_source *source,
			  struct idmap_text *ret_paths, struct idmap_text *ret_list)
{
	struct idmap_arena scratch = *arena;
	const struct idmap_disk *disk, *other, *first = NULL;
	const bool by_superblock =
		source->kind == IDMAP_SOURCE_UUID || source->kind == IDMAP_SOURCE_LABEL;
	uint32_t found = 0;
	char name[NAMES_SIZE];
	const char *owner;
	struct idmap_disk *disks;
	size_t size;
	char *text;

	if (idmap_file_read("/proc/partitions", &scratch, &text, &size))
		return 0;
	disks = idmap_alloc(&scratch, (size / NAMES_LINE_LEAST + 1) * sizeof(*disks));
	if (!disks)
		return 0;
	idmap_names_disks(text, disks);
	for (disk = disks; disk->name; disk++) {
		idmap_text_add(ret_list, disk > disks ? ", %s" : "%s", disk->name);
		if (!name_of(disk, source->kind, name)) {
			if (disk->major == LOOP_MAJOR && source->kind != IDMAP_SOURCE_DEVICE)
				idmap_text_add(ret_list, " (by its path alone)");
			continue;
		}
		idmap_text_add(ret_list, " %s%s", idmap_source_word[source->kind], name);
		if (!idmap_names_equal(source->kind, name, source->value) ||
		    (source->raw && is_verity(disk)) || is_going(disk) ||
		    is_part_of(disk, disks, source))
			continue;
		owner = by_superblock ? owner_of(disk) : NULL;
		if (owner) {
			idmap_text_add(ret_list, " (belongs to %s)", owner);
			continue;
		}
		if (by_superblock && first && is_one_btrfs(first, disk))
			continue;
		first = disk;
		for (other = disks; other->name; other++)
			if (other->whole == disk->whole &&
			    other->part == disk->part + (uint32_t)source->offset)
				idmap_text_add(ret_paths, found++ ? " and /dev/%s" : "/dev/%s",
					       other->name);
	}
	return found;
}
