// SPDX-License-Identifier: MIT
/*
 * Names of disks: what a table may call them, and what is read off their first blocks. The blocks
 * are built here byte by byte from the formats' descriptions; that real tools write the same is
 * what the boots in qemu-test/test_names.py show.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>
#include <string.h>

#include "device/device.h"

#define COUNT_OF(array) (sizeof(array) / sizeof(*(array)))
#define UUID "1d3a9abc-00ef-4000-8000-0000000001Fe"

/* --- sources --------------------------------------------------------------------------------- */

static const struct {
	const char *source;
	enum idmap_source_kind kind;
	const char *value;
	int32_t offset;
	const char *wrong; /* how what is wrong begins */
} sources[] = {
	{"/dev/vda", IDMAP_SOURCE_DEVICE, "", 0, NULL},
	{"/dev/disk", IDMAP_SOURCE_DEVICE, "", 0, NULL},
	{"/images/a", IDMAP_SOURCE_OTHER, "", 0, NULL},
	{"root:/images/a", IDMAP_SOURCE_OTHER, "", 0, NULL},
	{"hostshare", IDMAP_SOURCE_OTHER, "", 0, NULL},
	{"server:/path", IDMAP_SOURCE_OTHER, "", 0, NULL},
	/* numbers */
	{"254:18", IDMAP_SOURCE_NUMBER, "254:18", 0, NULL},
	{"0008:01", IDMAP_SOURCE_NUMBER, "8:1", 0, NULL},
	{"4095:1048575", IDMAP_SOURCE_NUMBER, "4095:1048575", 0, NULL},
	{"4096:0", IDMAP_SOURCE_OTHER, "", 0, "is no device number"},
	{"0:1048576", IDMAP_SOURCE_OTHER, "", 0, "is no device number"},
	{"8:99999999999999999999999999", IDMAP_SOURCE_OTHER, "", 0, "is no device number"},
	{":", IDMAP_SOURCE_OTHER, "", 0, NULL},
	{"8:", IDMAP_SOURCE_OTHER, "", 0, NULL},
	{":1", IDMAP_SOURCE_OTHER, "", 0, NULL},
	{"8:1:", IDMAP_SOURCE_OTHER, "", 0, NULL},
	{"8:+1", IDMAP_SOURCE_OTHER, "", 0, NULL},
	{"fe12", IDMAP_SOURCE_NUMBER, "254:18", 0, NULL},
	{"0xFE12", IDMAP_SOURCE_NUMBER, "254:18", 0, NULL},
	{"801", IDMAP_SOURCE_NUMBER, "8:1", 0, NULL},
	/* major in bits 8 to 19, the high part of minor above them */
	{"fffabcde", IDMAP_SOURCE_NUMBER, "2748:1048542", 0, NULL},
	{"123fe012", IDMAP_SOURCE_NUMBER, "4064:74514", 0, NULL},
	{"100000000", IDMAP_SOURCE_OTHER, "", 0, NULL},
	{"0x", IDMAP_SOURCE_OTHER, "", 0, NULL},
	{"fe1g", IDMAP_SOURCE_OTHER, "", 0, NULL},
	/* names */
	{"UUID=" UUID, IDMAP_SOURCE_UUID, UUID, 0, NULL},
	{"UUID=1234-ABCD", IDMAP_SOURCE_UUID, "1234-ABCD", 0, "is no UUID of erofs"},
	{"UUID=" UUID "0", IDMAP_SOURCE_UUID, UUID "0", 0, "is no UUID of erofs"},
	{"UUID=1d3a9abc-00ef-4000-80000-000000001Fe", IDMAP_SOURCE_UUID,
	 "1d3a9abc-00ef-4000-80000-000000001Fe", 0, "is no UUID"},
	{"UUID=1d3a9abc-00ef-4000-8000_0000000001Fe", IDMAP_SOURCE_UUID,
	 "1d3a9abc-00ef-4000-8000_0000000001Fe", 0, "is no UUID"},
	{"UUID=", IDMAP_SOURCE_UUID, "", 0, "is no UUID"},
	{"UUID=\"" UUID "\"", IDMAP_SOURCE_UUID, UUID, 0, NULL},
	{"LABEL='my root'", IDMAP_SOURCE_LABEL, "my root", 0, NULL},
	{"LABEL=\"my root'", IDMAP_SOURCE_LABEL, "\"my root'", 0, NULL},
	{"LABEL=\"", IDMAP_SOURCE_LABEL, "\"", 0, NULL},
	{"LABEL=''", IDMAP_SOURCE_LABEL, "", 0, "is a name that is empty"},
	{"UUID", IDMAP_SOURCE_OTHER, "", 0, NULL},
	{"uuid=" UUID, IDMAP_SOURCE_OTHER, "", 0, NULL},
	{"LABEL=a b", IDMAP_SOURCE_LABEL, "a b", 0, NULL},
	{"LABEL=a\\x20b", IDMAP_SOURCE_LABEL, "a\\x20b", 0, NULL},
	{"LABEL=", IDMAP_SOURCE_LABEL, "", 0, "is a name that is empty"},
	{"PARTLABEL=a/PARTNROFF=1", IDMAP_SOURCE_PARTLABEL, "a/PARTNROFF=1", 0, NULL},
	{"PARTUUID=" UUID, IDMAP_SOURCE_PARTUUID, UUID, 0, NULL},
	{"PARTUUID=abcd12EF-0a", IDMAP_SOURCE_PARTUUID, "abcd12EF-0a", 0, NULL},
	{"PARTUUID=abcd12EF-1", IDMAP_SOURCE_PARTUUID, "abcd12EF-1", 0, "is no PARTUUID"},
	{"PARTUUID=" UUID "/PARTNROFF=1", IDMAP_SOURCE_PARTUUID, UUID, 1, NULL},
	{"PARTUUID=" UUID "/PARTNROFF=-65535", IDMAP_SOURCE_PARTUUID, UUID, -65535, NULL},
	{"PARTUUID=" UUID "/PARTNROFF=65536", IDMAP_SOURCE_PARTUUID, UUID "/PARTNROFF=65536", 0,
	 "is no PARTUUID"},
	{"PARTUUID=" UUID "/PARTNROFF=", IDMAP_SOURCE_PARTUUID, UUID "/PARTNROFF=", 0,
	 "is no PARTUUID"},
	{"PARTUUID=" UUID "/PARTNROFF=-", IDMAP_SOURCE_PARTUUID, UUID "/PARTNROFF=-", 0,
	 "is no PARTUUID"},
	{"PARTUUID=" UUID "/PARTNROFF=1x", IDMAP_SOURCE_PARTUUID, UUID "/PARTNROFF=1x", 0,
	 "is no PARTUUID"},
	{"PARTUUID=" UUID "/", IDMAP_SOURCE_PARTUUID, UUID "/", 0, "is no PARTUUID"},
	{"SERIAL=a/b", IDMAP_SOURCE_SERIAL, "a/b", 0, NULL},
	{"SERIAL=a/b/PARTNROFF=3", IDMAP_SOURCE_SERIAL, "a/b", 3, NULL},
	{"SERIAL=a/PARTNROFF=x", IDMAP_SOURCE_SERIAL, "a/PARTNROFF=x", 0, "has no number"},
	{"SERIAL=a-part1", IDMAP_SOURCE_SERIAL, "a-part1", 0, NULL},
	{"SERIAL=/PARTNROFF=1", IDMAP_SOURCE_SERIAL, "", 1, "is a name that is empty"},
	/* udev's links */
	{"/dev/disk/by-uuid/" UUID, IDMAP_SOURCE_UUID, UUID, 0, NULL},
	{"/dev/disk/by-uuid/1234-ABCD", IDMAP_SOURCE_UUID, "1234-ABCD", 0, "is no UUID"},
	{"/dev/disk/by-partuuid/abcd12ef-01", IDMAP_SOURCE_PARTUUID, "abcd12ef-01", 0, NULL},
	{"/dev/disk/by-label/a\\x20b\\x5cc\\x2fd", IDMAP_SOURCE_LABEL, "a b\\c/d", 0, NULL},
	{"/dev/disk/by-label/a\\x2\\x00\\xg0\\", IDMAP_SOURCE_LABEL, "a\\x2\\x00\\xg0\\", 0, NULL},
	{"/dev/disk/by-label/", IDMAP_SOURCE_LABEL, "", 0, "is a name that is empty"},
	{"/dev/disk/by-partlabel/x", IDMAP_SOURCE_PARTLABEL, "x", 0, NULL},
	{"/dev/disk/by-id/virtio-disk0", IDMAP_SOURCE_SERIAL, "disk0", 0, NULL},
	{"/dev/disk/by-id/virtio-disk-part0-part12", IDMAP_SOURCE_SERIAL, "disk-part0", 12, NULL},
	{"/dev/disk/by-id/virtio-disk-part", IDMAP_SOURCE_SERIAL, "disk-part", 0, NULL},
	{"/dev/disk/by-id/virtio-disk-part-1", IDMAP_SOURCE_SERIAL, "disk-part-1", 0, NULL},
	{"/dev/disk/by-id/ata-x", IDMAP_SOURCE_DEVICE, "", 0, "is a link that udev makes"},
	{"/dev/disk/by-path/pci-0", IDMAP_SOURCE_DEVICE, "", 0, "is a link that udev makes"},
	{"/dev/disk/by-diskseq/1", IDMAP_SOURCE_DEVICE, "", 0, "is a link that udev makes"},
	{"/dev/disk/", IDMAP_SOURCE_DEVICE, "", 0, "is a link that udev makes"},
};

static void test_sources(void **state)
{
	size_t i;

	(void)state;
	for (i = 0; i < COUNT_OF(sources); i++) {
		struct idmap_row row = {.source = sources[i].source, .type = "auto"};
		struct idmap_source source;
		const char *wrong = idmap_source_read(&row, &source), *expected = sources[i].wrong;

		if (!wrong != !expected || (wrong && strncmp(wrong, expected, strlen(expected))) ||
		    source.kind != sources[i].kind || strcmp(source.value, sources[i].value) ||
		    source.offset != sources[i].offset)
			fail_msg("%s: kind %d, '%s' + %d, wrong: %s", row.source, (int)source.kind,
				 source.value, source.offset, wrong ? wrong : "nothing");
	}
}

/* What has no device has no name of one either. */
static void test_sources_apart(void **state)
{
	static const struct idmap_row rows[] = {
		{.source = "cafe", .type = "virtiofs"},
		{.source = "UUID=x", .type = "9p"},
		{.source = "/dev/disk/by-path/x", .type = "tmpfs"},
		{.source = "cafe", .type = "cgroup2"},
		{.source = "d", .type = "devtmpfs"},
		{.source = "8:1", .type = "overlay"},
		{.source = "/dev/disk/by-path/x", .type = "bind", .flags = IDMAP_BIND},
		{.source = "/cafe", .type = "rbind", .flags = IDMAP_RBIND},
	};
	size_t i;

	(void)state;
	for (i = 0; i < COUNT_OF(rows); i++) {
		struct idmap_source source;

		assert_null(idmap_source_read(&rows[i], &source));
		assert_int_equal(source.kind, IDMAP_SOURCE_OTHER);
	}
}

/* --- /proc/partitions ------------------------------------------------------------------------ */

static void test_disks(void **state)
{
	char text[] = "major minor  #blocks  name\n"
		      "\n"
		      "   1        0       4096 ram0\n"
		      " 254        0     102400 vda\n"
		      " 254        1      51200 vda1\n"
		      " 254       12      51200 vda12\n"
		      " 254      416      10240 vdaa\n"
		      " 259        0 1234567890 nvme0n1\n"
		      " 259        1          1 nvme0n1p1\n"
		      " 259        2          1 nvme0n12\n"
		      " 179        0          1 mmcblk0\n"
		      " 179        8          1 mmcblk0boot0\n"
		      "   8        0          1 sda\n"
		      "   8       16          1 sdb1x\n"
		      "   8       32          1 cut off";
	static const struct {
		const char *name;
		uint32_t major, minor, part;
		const char *whole;
	} expected[] = {
		{"ram0", 1, 0, 0, "ram0"},
		{"vda", 254, 0, 0, "vda"},
		{"vda1", 254, 1, 1, "vda"},
		{"vda12", 254, 12, 12, "vda"},
		{"vdaa", 254, 416, 0, "vdaa"},
		{"nvme0n1", 259, 0, 0, "nvme0n1"},
		{"nvme0n1p1", 259, 1, 1, "nvme0n1"},
		{"nvme0n12", 259, 2, 0, "nvme0n12"},
		{"mmcblk0", 179, 0, 0, "mmcblk0"},
		{"mmcblk0boot0", 179, 8, 0, "mmcblk0boot0"},
		{"sda", 8, 0, 0, "sda"},
		{"sdb1x", 8, 16, 0, "sdb1x"},
	};
	struct idmap_disk disks[20];
	uint32_t i;

	(void)state;
	memset(disks, 'x', sizeof(disks));
	idmap_names_disks(text, disks);
	for (i = 0; i < COUNT_OF(expected); i++) {
		assert_string_equal(disks[i].name, expected[i].name);
		assert_string_equal(disks[i].whole->name, expected[i].whole);
		assert_int_equal(disks[i].major, expected[i].major);
		assert_int_equal(disks[i].minor, expected[i].minor);
		assert_int_equal(disks[i].part, expected[i].part);
	}
	assert_null(disks[i].name);
	assert_int_equal(disks[i].part, 0);
}

/* --- filesystems ----------------------------------------------------------------------------- */

static const char raw_uuid[16] = "\x1d\x3a\x9a\xbc\x00\xef\x40\x00\x80\x00\x00\x00\x00\x00\x01\xfe";

static void test_filesystems(void **state)
{
	static const struct {
		size_t magic_at, uuid_at, label_at, label_size;
		const char *magic;
	} known[] = {
		{0, 32, 108, 12, "XFSB"},
		{1024 + 0x38, 1024 + 0x68, 1024 + 0x78, 16, "\x53\xef"},
		{1024, 1024 + 48, 1024 + 64, 16, "\xe2\xe1\xf5\xe0"},
		{2048 + 0x40, 2048 + 0x20, 2048 + 0x12b, 256, "_BHRfS_M"},
	};
	char blocks[NAMES_BLOCKS_SIZE], name[NAMES_SIZE];
	size_t i;

	(void)state;
	memset(blocks, 0, sizeof(blocks));
	assert_false(idmap_names_filesystem(blocks, IDMAP_SOURCE_UUID, name));
	for (i = 0; i < COUNT_OF(known); i++) {
		memset(blocks, 0, sizeof(blocks));
		memcpy(blocks + known[i].magic_at, known[i].magic, strlen(known[i].magic));
		memcpy(blocks + known[i].uuid_at, raw_uuid, 16);
		assert_true(idmap_names_filesystem(blocks, IDMAP_SOURCE_UUID, name));
		assert_string_equal(name, "1d3a9abc-00ef-4000-8000-0000000001fe");
		assert_false(idmap_names_filesystem(blocks, IDMAP_SOURCE_LABEL, name));
		/* The longest label has no end, and what follows it is not of it. */
		memset(blocks + known[i].label_at, 'x', known[i].label_size + 1);
		assert_true(idmap_names_filesystem(blocks, IDMAP_SOURCE_LABEL, name));
		assert_int_equal(strlen(name), known[i].label_size);
	}
}

/* The type is known where the names are not read, too, by the first that fits. */
static void test_types(void **state)
{
	static const struct {
		size_t at;
		const char *magic, *type;
	} known[] = {
		{2048 + 1024 + 1, "CD001", "iso9660"},
		{3, "EXFAT   ", "exfat"},
		{82, "FAT32   ", "vfat"},
		{54, "FAT16   ", "vfat"},
		{0, "hsqs", "squashfs"},
		{1024, "\x10\x20\xf5\xf2", "f2fs"},
		{1024 + 0x38, "\x53\xef", "ext4"},
	};
	char blocks[NAMES_BLOCKS_SIZE];
	size_t i;

	(void)state;
	memset(blocks, 0, sizeof(blocks));
	assert_null(idmap_names_type(blocks));
	for (i = 0; i < COUNT_OF(known); i++) {
		memset(blocks, 0, sizeof(blocks));
		memcpy(blocks + known[i].at, known[i].magic, strlen(known[i].magic));
		assert_string_equal(idmap_names_type(blocks), known[i].type);
	}
	/* An image that is an ISO as well as what it was made from. */
	memcpy(blocks + known[0].at, known[0].magic, 5);
	assert_string_equal(idmap_names_type(blocks), "ext4");
	assert_true(idmap_type_fits("iso9660", "udf"));
	assert_false(idmap_type_fits("iso9660", "erofs"));
}

/* --- partitions ------------------------------------------------------------------------------ */

static void put_little(char *p, uint64_t value, size_t size)
{
	for (; size--; value >>= 8)
		*p++ = (char)value;
}

static void make_gpt(char *sectors, uint32_t sector_size)
{
	char *header = sectors + sector_size;

	memset(sectors, 0, 2 * sector_size);
	memcpy(sectors + 510, "\x55\xaa", 2);
	sectors[446 + 4] = '\xee';
	memcpy(header, "EFI PART", 8);
	put_little(header + 72, 2, 8);
	put_little(header + 80, 128, 4);
	put_little(header + 84, 128, 4);
}

static void test_gpt_offset(void **state)
{
	char sectors[2 * NAMES_SECTOR_MOST];
	uint32_t size;

	(void)state;
	for (size = 512; size <= 4096; size *= 8) {
		make_gpt(sectors, size);
		assert_int_equal(idmap_names_gpt_offset(sectors, size, 1), 2 * size);
		assert_int_equal(idmap_names_gpt_offset(sectors, size, 128), 2 * size + 127 * 128);
		assert_int_equal(idmap_names_gpt_offset(sectors, size, 129), 0);
		sectors[446 + 4] = 0;
		assert_int_equal(idmap_names_gpt_offset(sectors, size, 1), 0);
		sectors[446 + 3 * 16 + 4] = '\xee';
		assert_int_equal(idmap_names_gpt_offset(sectors, size, 1), 2 * size);
		sectors[511] = 0;
		assert_int_equal(idmap_names_gpt_offset(sectors, size, 1), 0);
		make_gpt(sectors, size);
		sectors[size] = 'e';
		assert_int_equal(idmap_names_gpt_offset(sectors, size, 1), 0);
		make_gpt(sectors, size);
		put_little(sectors + size + 84, 256, 4);
		assert_int_equal(idmap_names_gpt_offset(sectors, size, 1), 0);
		/* Far outside, but without going round. */
		make_gpt(sectors, size);
		put_little(sectors + size + 72, UINT32_MAX, 8);
		put_little(sectors + size + 80, UINT32_MAX, 4);
		assert_true(idmap_names_gpt_offset(sectors, size, UINT32_MAX) ==
			    UINT64_C(4294967295) * size + UINT64_C(4294967294) * 128);
		put_little(sectors + size + 72, UINT64_C(1) << 32, 8);
		assert_int_equal(idmap_names_gpt_offset(sectors, size, 1), 0);
	}
}

static void put_utf16(char *p, const uint16_t *units, size_t count)
{
	size_t i;

	for (i = 0; i < count; i++)
		put_little(p + 2 * i, units[i], 2);
}

static void test_gpt_names(void **state)
{
	/* From 1 to 4 bytes of UTF-8, then what is no pair. */
	static const uint16_t text[] = {'a',   0x7f,   0x80,   0xe4,  0x7ff,
					0x800, 0xfffd, 0xd83d, 0xdcbe};
	char entry[NAMES_GPT_ENTRY_SIZE] = {0}, name[NAMES_SIZE];
	size_t i;

	(void)state;
	memcpy(entry + 16, raw_uuid, 16);
	assert_true(idmap_names_gpt(entry, IDMAP_SOURCE_PARTUUID, name));
	assert_string_equal(name, "bc9a3a1d-ef00-0040-8000-0000000001fe");
	assert_false(idmap_names_gpt(entry, IDMAP_SOURCE_PARTLABEL, name));
	put_utf16(entry + 56, text, COUNT_OF(text));
	assert_true(idmap_names_gpt(entry, IDMAP_SOURCE_PARTLABEL, name));
	assert_string_equal(name,
			    "a\x7f\xc2\x80\xc3\xa4\xdf\xbf\xe0\xa0\x80\xef\xbf\xbd\xf0\x9f\x92"
			    "\xbe");
	for (i = 0; i < 36; i++)
		put_utf16(entry + 56 + 2 * i, (const uint16_t[]){i & 1 ? 'x' : 0xffff}, 1);
	assert_true(idmap_names_gpt(entry, IDMAP_SOURCE_PARTLABEL, name));
	assert_int_equal(strlen(name), 18 * 4);
	/* The first half of a pair at the very end. */
	put_utf16(entry + 56 + 70, (const uint16_t[]){0xd800}, 1);
	assert_true(idmap_names_gpt(entry, IDMAP_SOURCE_PARTLABEL, name));
	assert_string_equal(name + 17 * 4 + 3, "\xed\xa0\x80");
}

static void test_mbr(void **state)
{
	char sector[512] = {0}, name[NAMES_SIZE];

	(void)state;
	memcpy(sector + 440, "\xef\x12\xcd\xab", 4);
	assert_false(idmap_names_mbr(sector, 1, name));
	memcpy(sector + 510, "\x55\xaa", 2);
	assert_true(idmap_names_mbr(sector, 1, name));
	assert_string_equal(name, "abcd12ef-01");
	assert_true(idmap_names_mbr(sector, 26, name));
	assert_string_equal(name, "abcd12ef-1a");
}

static void test_equal(void **state)
{
	(void)state;
	assert_true(idmap_names_equal(IDMAP_SOURCE_UUID, "aB-1", "Ab-1"));
	assert_true(idmap_names_equal(IDMAP_SOURCE_PARTUUID, "aB-1", "Ab-1"));
	assert_false(idmap_names_equal(IDMAP_SOURCE_UUID, "ab-1", "ab-12"));
	assert_false(idmap_names_equal(IDMAP_SOURCE_UUID, "ab-12", "ab-1"));
	assert_false(idmap_names_equal(IDMAP_SOURCE_LABEL, "a", "A"));
	assert_false(idmap_names_equal(IDMAP_SOURCE_PARTLABEL, "a", "A"));
	assert_false(idmap_names_equal(IDMAP_SOURCE_SERIAL, "a", "A"));
	assert_true(idmap_names_equal(IDMAP_SOURCE_LABEL, "\xc3\xa4", "\xc3\xa4"));
	assert_false(idmap_names_equal(IDMAP_SOURCE_LABEL, "x", ""));
}

/* --- hash trees ------------------------------------------------------------------------------ */

/* As lib/verity/verity.c of cryptsetup writes it. */
static void make_hashtree(char block[HASHTREE_SIZE])
{
	memset(block, 0, HASHTREE_SIZE);
	memcpy(block, "verity", 6);
	block[8] = 1;  /* version */
	block[12] = 1; /* type */
	memset(block + 16, 0xab, 16);
	strcpy(block + 32, "sha256");
	block[65] = 0x10; /* blocks of 4,096 bytes of data */
	block[69] = 0x04; /* and 1,024 of hashes */
	block[72] = 7;
	block[80] = 2;
	memcpy(block + 88, "\x0f\xf0", 2);
}

static void test_hashtree(void **state)
{
	static const struct {
		int at; /* the byte that is wrong */
		char value;
		const char *wrong;
	} cases[] = {
		{0, 'V', "no superblock"},  {7, 1, "no superblock"},  {8, 2, "of a version"},
		{12, 2, "of a version"},    {32, 0, "is damaged"},    {33, ' ', "is damaged"},
		{34, '\xff', "is damaged"}, {65, 0x11, "is damaged"}, {65, 0, "is damaged"},
		{70, 0x10, "is damaged"},   {72, 0, "is damaged"},    {79, 0x7f, "is damaged"},
		{81, 2, "is damaged"},
	};
	const struct idmap_verity plain = {.root_hash = "00ff"};
	const struct idmap_verity stops = {.root_hash = "00ff",
					   .corruption = "panic_on_corruption"};
	char block[HASHTREE_SIZE], line[HASHTREE_LINE_SIZE];
	struct idmap_hashtree tree;
	struct idmap_text text;
	size_t i;

	(void)state;
	make_hashtree(block);
	assert_null(idmap_hashtree_read(block, 0, &tree));
	assert_int_equal(tree.size, 7 * 4096);
	idmap_text_init(&text, line, sizeof(line));
	idmap_hashtree_line(&tree, &plain, "254:0", "254:16", &text);
	assert_string_equal(line, "1 254:0 254:16 4096 1024 7 1 sha256 00ff 0ff0");
	/* The tree begins with the next of its blocks that is whole. */
	block[80] = 0;
	assert_null(idmap_hashtree_read(block, 7 * 4096 + 512, &tree));
	idmap_text_init(&text, line, sizeof(line));
	idmap_hashtree_line(&tree, &stops, "7:0", "7:0", &text);
	assert_string_equal(line, "1 7:0 7:0 4096 1024 7 29 sha256 00ff - 1 panic_on_corruption");
	idmap_text_init(&text, line, sizeof(line));
	idmap_hashtree_hex(&text, tree.uuid, 3);
	assert_string_equal(line, "ababab");
	for (i = 0; i < COUNT_OF(cases); i++) {
		const char *wrong;

		make_hashtree(block);
		block[cases[i].at] = cases[i].value;
		wrong = idmap_hashtree_read(block, 0, &tree);
		assert_non_null(wrong);
		assert_non_null(strstr(wrong, cases[i].wrong));
	}
	make_hashtree(block);
	memset(block + 32, 'a', 32); /* no end */
	assert_non_null(idmap_hashtree_read(block, 0, &tree));
}

static void test_klog_words(void **state)
{
	static const struct {
		const char *record, *words;
		bool grave;
	} cases[] = {
		{"3,512,2000000,-;EXT4-fs (vda): bad geometry\n SUBSYSTEM=block\n",
		 "EXT4-fs (vda): bad geometry", true},
		{"12,513,2000000,-;somebody's\n", NULL, false},
		{"6,514,2000000,-;tsc: Refined TSC clocksource calibration: 2400.000 MHz\n", NULL,
		 false},
		{"6,515,2000000,-;clocksource: Switched to clocksource tsc\n", NULL, false},
		{"6,516,2000000,-;tscfs: it is\n", "tscfs: it is", false},
		{"4,516,2000000,-;tscfs: it is\n", "tscfs: it is", true},
		{"5,516,2000000,-;tscfs: it is\n", "tscfs: it is", false},
		{"6,517,2000000,-;\n", NULL, false},
		{"6 518", NULL, false},
	};
	char record[128];
	size_t i;

	(void)state;
	for (i = 0; i < sizeof(cases) / sizeof(*cases); i++) {
		const char *words;
		bool grave;

		strcpy(record, cases[i].record);
		words = idmap_klog_words(record, &grave);
		if (!cases[i].words) {
			assert_null(words);
			continue;
		}
		assert_string_equal(words, cases[i].words);
		assert_int_equal(grave, cases[i].grave);
	}
}

int main(void)
{
	static const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_klog_words),    cmocka_unit_test(test_sources),
		cmocka_unit_test(test_sources_apart), cmocka_unit_test(test_disks),
		cmocka_unit_test(test_filesystems),   cmocka_unit_test(test_types),
		cmocka_unit_test(test_gpt_offset),    cmocka_unit_test(test_gpt_names),
		cmocka_unit_test(test_mbr),	      cmocka_unit_test(test_equal),
		cmocka_unit_test(test_hashtree),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
