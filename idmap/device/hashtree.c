// SPDX-License-Identifier: MIT
/*
 * The hash tree of an image: the superblock that veritysetup(8) writes in front of it becomes the
 * line by which the kernel's dm-verity is asked for (admin-guide/device-mapper/verity.rst). Pure.
 */
#include <string.h>

#include "device/device.h"

/* struct verity_sb of cryptsetup's lib/verity/verity.c: where its fields begin. */
enum {
	VERSION = 8,
	TYPE = 12,
	UUID = 16,
	ALGORITHM = 32,
	DATA_BLOCK = 64,
	HASH_BLOCK = 68,
	DATA_BLOCKS = 72,
	SALT_SIZE = 80,
	SALT = 88
};
#define ALGORITHM_SIZE 32
#define SALT_MOST 256
#define BLOCK_MOST (512 * 1024)

/* It gets into a line of words. */
static bool is_word(const char *text, size_t size)
{
	const size_t length = strnlen(text, size);
	size_t i;

	for (i = 0; i < length; i++)
		if (text[i] <= ' ' || text[i] > '~')
			return false;
	return length && length < size;
}

static bool is_block_size(uint64_t size)
{
	return size >= 512 && size <= BLOCK_MOST && !(size & (size - 1));
}

const char *idmap_hashtree_read(const char *block, uint64_t offset, struct idmap_hashtree *ret)
{
	const uint64_t version = idmap_little(block + VERSION, 4),
		       type = idmap_little(block + TYPE, 4);
	const uint64_t data_block = idmap_little(block + DATA_BLOCK, 4),
		       hash_block = idmap_little(block + HASH_BLOCK, 4),
		       data_blocks = idmap_little(block + DATA_BLOCKS, 8),
		       salt_size = idmap_little(block + SALT_SIZE, 2);

	if (memcmp(block, "verity\0", 8))
		return "no superblock of veritysetup(8) is there";
	if (version != 1 || type > 1)
		return "its superblock is of a version that is not known";
	if (!is_block_size(data_block) || !is_block_size(hash_block) || !data_blocks ||
	    data_blocks > INT64_MAX / data_block || salt_size > SALT_MOST ||
	    !is_word(block + ALGORITHM, ALGORITHM_SIZE))
		return "its superblock is damaged";
	*ret = (struct idmap_hashtree){
		.type = (uint32_t)type,
		.data_block = (uint32_t)data_block,
		.hash_block = (uint32_t)hash_block,
		.size = data_block * data_blocks,
		.start = (offset + HASHTREE_SIZE + hash_block - 1) / hash_block,
		.algorithm = block + ALGORITHM,
		.salt = block + SALT,
		.salt_size = (uint32_t)salt_size,
		.uuid = block + UUID,
	};
	return NULL;
}

void idmap_hashtree_hex(struct idmap_text *text, const char *bytes, size_t size)
{
	size_t i;

	for (i = 0; i < size; i++) {
		char digits[2];

		idmap_put_hex(digits, bytes[i]);
		idmap_text_add(text, "%.*s", (int)sizeof(digits), digits);
	}
}

void idmap_hashtree_line(const struct idmap_hashtree *tree, const struct idmap_verity *verity,
			 const char *data, const char *hash, struct idmap_text *text)
{
	idmap_text_add(text, "%u %s %s %u %u %lu %lu %s %s ", tree->type, data, hash,
		       tree->data_block, tree->hash_block, tree->size / tree->data_block,
		       tree->start, tree->algorithm, verity->root_hash);
	if (tree->salt_size)
		idmap_hashtree_hex(text, tree->salt, tree->salt_size);
	else
		idmap_text_add(text, "-");
	if (verity->corruption)
		idmap_text_add(text, " 1 %s", verity->corruption);
}
