// SPDX-License-Identifier: MIT
/*
 * Finds the disk that has a name, by looking at those that are there: the partition table for a
 * partition's names, the superblock for a filesystem's, sysfs for a serial. Nothing is remembered
 * from one look to the next, because the next look is there since something has changed.
 */
#include <string.h>
#include <sys/mount.h> /* BLKSSZGET */

#include "init.h"
#include "sys.h"

/* linux/major.h: RAM disks and loops have no name of their own, and a floppy drive takes its time.
 */
enum { RAMDISK_MAJOR = 1, FLOPPY_MAJOR = 2, LOOP_MAJOR = 7 };

static int open_of(const char *format, const char *name)
{
	struct idmap_text text;
	char path[96];

	idmap_text_init(&text, path, sizeof(path));
	idmap_text_add(&text, format, name);
	return sys_open(path, O_RDONLY | O_CLOEXEC | O_NONBLOCK, 0);
}

static bool read_serial(const struct disk *disk, char ret[NAMES_SIZE])
{
	idmap_closed int fd = open_of("/sys/block/%s/serial", disk->name);
	long n = sys_read(fd, ret, NAMES_SIZE - 1);

	if (n <= 0)
		return false;
	ret[n - (ret[n - 1] == '\n')] = 0;
	return true;
}

/* The partition's entry in the table of its disk. */
static bool read_partition(const struct disk *disk, enum idmap_source_kind kind,
			   char ret[NAMES_SIZE])
{
	idmap_closed int fd = open_of("/dev/%s", disk->whole->name);
	char sectors[2 * NAMES_SECTOR_MOST];
	uint32_t sector_size = 512;
	uint64_t at;

	sys_ioctl(fd, BLKSSZGET, &sector_size);
	if (sector_size > NAMES_SECTOR_MOST ||
	    sys_pread(fd, sectors, 2 * sector_size, 0) != (long)(2 * sector_size))
		return false;
	at = names_gpt_offset(sectors, sector_size, disk->part);
	if (!at)
		return kind == IDMAP_SOURCE_PARTUUID && names_mbr(sectors, disk->part, ret);
	return sys_pread(fd, sectors, NAMES_GPT_ENTRY_SIZE, (int64_t)at) == NAMES_GPT_ENTRY_SIZE &&
	       names_gpt(sectors, kind, ret);
}

static bool read_filesystem(const struct disk *disk, enum idmap_source_kind kind,
			    char ret[NAMES_SIZE])
{
	idmap_closed int fd = open_of("/dev/%s", disk->name);
	char blocks[NAMES_FRONT_SIZE + NAMES_BTRFS_SIZE];

	/* What cannot be read stays zero and has no name. */
	memset(blocks, 0, sizeof(blocks));
	sys_pread(fd, blocks, NAMES_FRONT_SIZE, 0);
	sys_pread(fd, blocks + NAMES_FRONT_SIZE, NAMES_BTRFS_SIZE, NAMES_BTRFS);
	return names_filesystem(blocks, kind, ret);
}

/* The disk's name of that kind; false where it has none. */
static bool name_of(const struct disk *disk, enum idmap_source_kind kind, char ret[NAMES_SIZE])
{
	struct idmap_text text;

	if (kind == IDMAP_SOURCE_NUMBER) {
		idmap_text_init(&text, ret, NAMES_SIZE);
		idmap_text_add(&text, "%u:%u", disk->major, disk->minor);
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

uint32_t disks_look(const struct boot *boot, const struct idmap_source *source,
		    struct idmap_text *ret_paths, struct idmap_text *ret_list)
{
	struct idmap_arena scratch = *boot->arena;
	const struct disk *disk, *other;
	uint32_t found = 0;
	char name[NAMES_SIZE];
	struct disk *disks;
	size_t size;
	char *text;

	if (idmap_file_read("/proc/partitions", &scratch, &text, &size))
		return 0;
	disks = idmap_alloc(&scratch, (size / NAMES_LINE_LEAST + 1) * sizeof(*disks));
	if (!disks)
		return 0;
	names_disks(text, disks);
	for (disk = disks; disk->name; disk++) {
		idmap_text_add(ret_list, disk > disks ? ", %s" : "%s", disk->name);
		if (!name_of(disk, source->kind, name))
			continue;
		idmap_text_add(ret_list, " %s%s", idmap_source_word[source->kind], name);
		if (!names_equal(source->kind, name, source->value))
			continue;
		for (other = disks; other->name; other++)
			if (other->whole == disk->whole &&
			    other->part == disk->part + (uint32_t)source->offset)
				idmap_text_add(ret_paths, found++ ? " and /dev/%s" : "/dev/%s",
					       other->name);
	}
	return found;
}
