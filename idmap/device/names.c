// SPDX-License-Identifier: MIT
/*
 * What disks say of themselves, from bytes that were read off them: superblocks, GPT and MBR. A
 * disk may be junk or worse, so nothing here goes by a number of the disk's without its bound. The
 * kernel's own words in sysfs are left alone: only late ones tell a PARTUUID. Pure.
 */
#include <string.h>

#include "device/device.h"

/* --- /proc/partitions ------------------------------------------------------------------------ */

/* Blanks, then digits; *text stands behind them. */
static uint32_t number(char **text)
{
	uint32_t value = 0;

	while (**text == ' ')
		++*text;
	while (idmap_is_digit(**text))
		value = value * 10 + (uint32_t)(*(*text)++ - '0');
	return value;
}

/* vda1 is vda's, nvme0n1p1 is nvme0n1's: a p stands behind a digit (the kernel's bdevname()). */
static uint32_t part_of(char *name, const char *whole)
{
	size_t length = strlen(whole);
	uint32_t part;

	if (strncmp(name, whole, length))
		return 0;
	name += length;
	if (idmap_is_digit(whole[length - 1]) && *name++ != 'p')
		return 0;
	part = number(&name);
	return *name ? 0 : part;
}

void idmap_names_disks(char *text, struct idmap_disk *ret_disks)
{
	const struct idmap_disk *whole = NULL;
	struct idmap_disk *disk = ret_disks;
	char *end;

	for (; (end = strchr(text, '\n')); text = end + 1) {
		*end = 0;
		disk->major = number(&text);
		disk->minor = number(&text);
		number(&text);
		/* The heading has no numbers. */
		if (*text++ != ' ' || !*text)
			continue;
		disk->name = text;
		disk->part = whole ? part_of(text, whole->name) : 0;
		if (!disk->part)
			whole = disk;
		disk->whole = whole;
		disk++;
	}
	*disk = (struct idmap_disk){.part = 0};
}

/* --- names ----------------------------------------------------------------------------------- */

/* Hex digits of the bytes that `order` names by letters, from a on; a dash stays a dash. */
static bool put_hex(char *out, const char *bytes, const char *order)
{
	for (; *order; order++) {
		if (*order == '-')
			*out++ = '-';
		else
			out = idmap_put_hex(out, bytes[*order - 'a']);
	}
	*out = 0;
	return true;
}

bool idmap_names_equal(enum idmap_source_kind kind, const char *a, const char *b)
{
	/* Of digits and dashes this bit is set anyway. */
	const char fold = kind == IDMAP_SOURCE_UUID || kind == IDMAP_SOURCE_PARTUUID ? ' ' : 0;

	while (*a && (*a | fold) == (*b | fold)) {
		a++;
		b++;
	}
	return *a == *b;
}

/* --- filesystems ----------------------------------------------------------------------------- */

/*
 * Offsets in the blocks. ext4's magic is so short that another's UUID may look like it; mkfs.ext4
 * may leave an old btrfs behind, and many leave a boot sector.
 */
static const struct known {
	uint16_t magic_at, uuid_at, label_at, label_size; /* 0: names of it are not read */
	char magic[9], type[9];
} known[] = {
	/* struct xfs_dsb of fs/xfs/libxfs/xfs_format.h */
	{0, 32, 108, 12, "XFSB", "xfs"},
	/* struct squashfs_super_block of fs/squashfs/squashfs_fs.h */
	{0, 0, 0, 0, "hsqs", "squashfs"},
	/* struct erofs_super_block of fs/erofs/erofs_fs.h */
	{1024, 1024 + 48, 1024 + 64, 16, "\xe2\xe1\xf5\xe0", "erofs"},
	/* struct f2fs_super_block of linux/f2fs_fs.h */
	{1024, 0, 0, 0, "\x10\x20\xf5\xf2", "f2fs"},
	/* struct ext4_super_block of fs/ext4/ext4.h */
	{1024 + 56, 1024 + 104, 1024 + 120, 16, "\x53\xef", "ext4"},
	/* struct btrfs_super_block of linux/btrfs_tree.h */
	{NAMES_FRONT_SIZE + 64, NAMES_FRONT_SIZE + 32, NAMES_FRONT_SIZE + 299, 256, "_BHRfS_M",
	 "btrfs"},
	/* struct fat_boot_sector of linux/msdos_fs.h */
	{54, 0, 0, 0, "FAT1", "vfat"},
	{82, 0, 0, 0, "FAT32", "vfat"},
	/* struct boot_sector of fs/exfat/exfat_raw.h */
	{3, 0, 0, 0, "EXFAT   ", "exfat"},
	/* struct iso_volume_descriptor of linux/iso_fs.h */
	{NAMES_FRONT_SIZE + NAMES_BTRFS_SIZE + 1, 0, 0, 0, "CD001", "iso9660"},
};

static const struct known *known_of(const char *blocks)
{
	size_t i;

	for (i = 0; i < COUNT_OF(known); i++)
		if (!memcmp(blocks + known[i].magic_at, known[i].magic, strlen(known[i].magic)))
			return &known[i];
	return NULL;
}

const char *idmap_names_type(const char *blocks)
{
	const struct known *of = known_of(blocks);

	return of ? of->type : NULL;
}

bool idmap_names_filesystem(const char *blocks, enum idmap_source_kind kind, char ret[NAMES_SIZE])
{
	const struct known *of = known_of(blocks);

	if (!of || !of->label_size)
		return false;
	if (kind == IDMAP_SOURCE_UUID)
		return put_hex(ret, blocks + of->uuid_at, "abcd-ef-gh-ij-klmnop");
	memcpy(ret, blocks + of->label_at, of->label_size);
	ret[of->label_size] = 0;
	return *ret;
}

/* --- marks ----------------------------------------------------------------------------------- */

/*
 * Of what has more disks than one, or makes another disk of one. Each is `back` bytes before the
 * end, which is rounded down to `unit`, or without a unit so many from the front; then `at` bytes.
 */
static const struct mark {
	uint32_t unit, back;
	uint16_t at, length;
	char bytes[NAMES_MARK_SIZE], owner[16];
} marks[NAMES_MARKS] = {
	/* struct mdp_superblock_1 of linux/raid/md_p.h: versions 1.0, 1.1 and 1.2 */
	{4096, 8192, 0, 8, "\xfc\x4e\x2b\xa9\1", "a RAID array"},
	{0, 0, 0, 8, "\xfc\x4e\x2b\xa9\1", "a RAID array"},
	{0, 4096, 0, 8, "\xfc\x4e\x2b\xa9\1", "a RAID array"},
	/* mdp_super_t there: version 0.90, of a machine of either byte order */
	{65536, 65536, 0, 12, "\xfc\x4e\x2b\xa9\0\0\0\0\x5a", "a RAID array"},
	{65536, 65536, 0, 12, "\xa9\x2b\x4e\xfc\0\0\0\0\0\0\0\x5a", "a RAID array"},
	/* Those of firmware: Intel's, and DDF in the last sector, by either byte order */
	{512, 1024, 0, 24, "Intel Raid ISM Cfg Sig. ", "a RAID array"},
	{512, 512, 0, 4, "\xde\x11\xde\x11", "a RAID array"},
	{512, 512, 0, 4, "\x11\xde\x11\xde", "a RAID array"},
	/* struct md_on_disk_08 and meta_data_on_disk_9 of DRBD's drbdmeta.c */
	{512, 4096, 60, 4, "\x83\x74\x02\x6b", "a DRBD device"},
	{512, 4096, 60, 4, "\x83\x74\x02\x6c", "a DRBD device"},
	{512, 4096, 60, 4, "\x83\x74\x02\x6d", "a DRBD device"},
	/* LUKS: docs/on-disk-format.pdf of cryptsetup; LVM: lib/format_text/layout.h of LVM2 */
	{0, 0, 0, 6, "LUKS\xba\xbe", "a LUKS volume"},
	{0, 512, 0, 8, "LABELONE", "an LVM group"},
	/* struct cache_sb_disk of drivers/md/bcache/bcache_ondisk.h */
	{0, 4096, 24, 16, "\xc6\x85\x73\xf6\x4e\x1a\x45\xca\x82\x65\xf5\x7f\x48\xba\x6d\x81",
	 "bcache"},
};

uint64_t idmap_names_mark_at(size_t n, uint64_t size)
{
	const struct mark *mark = &marks[n];
	const uint64_t end = mark->unit ? size - size % mark->unit : 0;

	if (!mark->unit)
		return mark->back + mark->at;
	return end < mark->back ? UINT64_MAX : end - mark->back + mark->at;
}

const char *idmap_names_mark(size_t n, const char bytes[NAMES_MARK_SIZE])
{
	return memcmp(bytes, marks[n].bytes, marks[n].length) ? NULL : marks[n].owner;
}

/* --- partitions ------------------------------------------------------------------------------ */

static bool is_mbr(const char *sector)
{
	return sector[510] == '\x55' && sector[511] == '\xaa';
}

uint64_t idmap_names_gpt_offset(const char *sectors, uint32_t sector_size, uint32_t part)
{
	const char *header = sectors + sector_size;
	const uint64_t entries_at = idmap_little(header + 72, 8);
	bool protective = false;
	size_t i;

	for (i = 446 + 4; i < 510; i += 16)
		protective |= sectors[i] == '\xee';
	/*
	 * Without a protective MBR the kernel takes no GPT (block/partitions/efi.c). Its sums have
	 * been checked, or there would be no partition to ask for.
	 */
	if (!protective || !is_mbr(sectors) || memcmp(header, "EFI PART", 8) ||
	    idmap_little(header + 84, 4) != NAMES_GPT_ENTRY_SIZE ||
	    part > idmap_little(header + 80, 4) || entries_at > UINT32_MAX)
		return 0;
	return entries_at * sector_size + (uint64_t)(part - 1) * NAMES_GPT_ENTRY_SIZE;
}

bool idmap_names_gpt(const char *entry, enum idmap_source_kind kind, char ret[NAMES_SIZE])
{
	char *out = ret;
	size_t i;

	if (kind == IDMAP_SOURCE_PARTUUID)
		/* A GUID's first three numbers are little-endian (UEFI, appendix A). */
		return put_hex(ret, entry + 16, "dcba-fe-hg-ij-klmnop");
	/* UTF-16 becomes UTF-8, as blkid has it. */
	for (i = 56; i < NAMES_GPT_ENTRY_SIZE; i += 2) {
		uint32_t c = (uint32_t)idmap_little(entry + i, 2);

		if (!c)
			break;
		if ((c & 0xfc00) == 0xd800 && i + 2 < NAMES_GPT_ENTRY_SIZE) {
			/* The first half of a pair: two bits more than fit, and 0x10000 to add. */
			i += 2;
			c = (c << 10) + (uint32_t)idmap_little(entry + i, 2) - 0x35fdc00;
		}
		if (c >= 0x10000) {
			*out++ = (char)(0xf0 | c >> 18);
			*out++ = (char)(0x80 | (c >> 12 & 0x3f));
		} else if (c >= 0x800) {
			*out++ = (char)(0xe0 | c >> 12);
		}
		if (c >= 0x800)
			*out++ = (char)(0x80 | (c >> 6 & 0x3f));
		else if (c >= 0x80)
			*out++ = (char)(0xc0 | c >> 6);
		*out++ = (char)(c < 0x80 ? c : 0x80 | (c & 0x3f));
	}
	*out = 0;
	return *ret;
}

bool idmap_names_mbr(const char *sector, uint32_t part, char ret[NAMES_SIZE])
{
	char id[5];

	memcpy(id, sector + 440, 4);
	id[4] = (char)part;
	put_hex(ret, id, "dcba-e");
	return is_mbr(sector);
}
