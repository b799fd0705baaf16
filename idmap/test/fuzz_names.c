// SPDX-License-Identifier: MIT
/*
 * Any bytes as the blocks of a disk, as /proc/partitions and as a SOURCE. Nothing is read outside
 * of the blocks, whatever they say of themselves, and a name always fits and ends.
 */
#include "check.h"
#include "device/device.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

/* A copy of exactly `wanted` bytes, zeros behind the input, so that the sanitizer sees a step out.
 */
static char *blocks_of(const uint8_t *data, size_t size, size_t wanted)
{
	char *blocks = calloc(1, wanted ? wanted : 1);

	CHECK(blocks, "no memory for the test");
	if (size)
		memcpy(blocks, data, size < wanted ? size : wanted);
	return blocks;
}

static void check_name(bool there, const char *name)
{
	CHECK(!there || (*name && memchr(name, 0, NAMES_SIZE)), "a name that is empty or open");
}

static void check_disk(const uint8_t *data, size_t size)
{
	const uint32_t part = size ? data[size - 1] + 1u : 1;
	char *name = malloc(NAMES_SIZE), *blocks;
	uint32_t sector_size;
	size_t n;

	blocks = blocks_of(data, size, NAMES_BLOCKS_SIZE);
	check_name(idmap_names_filesystem(blocks, IDMAP_SOURCE_UUID, name), name);
	check_name(idmap_names_filesystem(blocks, IDMAP_SOURCE_LABEL, name), name);
	idmap_names_type(blocks);
	for (n = 0; n < NAMES_MARKS; n++) {
		const uint64_t at = idmap_names_mark_at(n, size);

		if (at < size)
			idmap_names_mark(n, blocks + (at < NAMES_FRONT_SIZE ? at : 0));
	}
	free(blocks);
	for (sector_size = 512; sector_size <= 4096; sector_size *= 8) {
		uint64_t at;

		blocks = blocks_of(data, size, 2 * sector_size);
		at = idmap_names_gpt_offset(blocks, sector_size, part);
		CHECK(at < UINT64_C(1) << 45, "entry at %llu", (unsigned long long)at);
		check_name(idmap_names_mbr(blocks, part, name), name);
		free(blocks);
	}
	blocks = blocks_of(data, size, NAMES_GPT_ENTRY_SIZE);
	check_name(idmap_names_gpt(blocks, IDMAP_SOURCE_PARTUUID, name), name);
	check_name(idmap_names_gpt(blocks, IDMAP_SOURCE_PARTLABEL, name), name);
	free(blocks);
	free(name);
}

/* A line of words, whatever the superblock says. */
static void check_hashtree(const uint8_t *data, size_t size)
{
	const struct idmap_verity verity = {.root_hash = "00ff"};
	char *block = blocks_of(data, size, HASHTREE_SIZE), *line = malloc(HASHTREE_LINE_SIZE);
	struct idmap_hashtree tree;
	struct idmap_text text;

	if (!idmap_hashtree_read(block, size, &tree)) {
		idmap_text_init(&text, line, HASHTREE_LINE_SIZE);
		idmap_hashtree_line(&tree, &verity, "1:2", "3:4", &text);
		CHECK(!text.cut && !strchr(line, '\n'), "line <%s>", line);
		CHECK(tree.size && tree.size <= INT64_MAX, "size %lu", (unsigned long)tree.size);
	}
	free(block);
	free(line);
}

static void check_partitions(const uint8_t *data, size_t size)
{
	char *text = blocks_of(data, size, size + 1);
	struct idmap_disk *disks = malloc((size / NAMES_LINE_LEAST + 1) * sizeof(*disks));
	uint32_t i;

	CHECK(disks, "no memory for the test");
	idmap_names_disks(text, disks);
	for (i = 0; disks[i].name; i++) {
		CHECK(disks[i].name >= text && disks[i].name <= text + size, "a name outside");
		CHECK(disks[i].whole >= disks && disks[i].whole <= &disks[i], "a disk outside");
		CHECK(!disks[i].whole->part, "a part of a part");
		CHECK((disks[i].whole == &disks[i]) == !disks[i].part, "part %u", disks[i].part);
	}
	free(disks);
	free(text);
}

static void check_source(const uint8_t *data, size_t size)
{
	char *text = blocks_of(data, size, size + 1);
	struct idmap_row row = {.source = text, .type = "auto"};
	struct idmap_source source;
	const char *wrong = idmap_source_read(&row, &source);

	CHECK(memchr(source.value, 0, sizeof(source.value)), "an open value");
	CHECK(wrong || source.kind > IDMAP_SOURCE_NUMBER || *source.value, "an empty name: %s",
	      text);
	CHECK(wrong || source.kind <= IDMAP_SOURCE_NUMBER || !*source.value, "a name: %s", text);
	CHECK(source.offset >= -65535 && source.offset <= 65535, "offset %d", source.offset);
	CHECK(idmap_names_equal(source.kind, source.value, source.value), "%s", source.value);
	free(text);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	check_disk(data, size);
	check_partitions(data, size);
	check_hashtree(data, size);
	check_source(data, size);
	return 0;
}
