// SPDX-License-Identifier: MIT
/*
 * What a SOURCE means: a device by its path, by its number or by a name that a disk carries. Links
 * below /dev/disk are udev's work, and where they only spell such a name they are read as it. What
 * is wrong with a name is found here, before anything waits for a disk that cannot come. Pure.
 */
#include <string.h>

#include "table/table.h"

#define LINKS "/dev/disk/"
#define OFFSET "/PARTNROFF="
#define OFFSET_MOST 65535 /* partitions of a disk; the kernel knows fewer */
#define MAJOR_MOST 0xfffu /* linux/kdev_t.h */
#define MINOR_MOST 0xfffffu

const char idmap_source_word[][11] = {
	[IDMAP_SOURCE_PARTUUID] = "PARTUUID=", [IDMAP_SOURCE_PARTLABEL] = "PARTLABEL=",
	[IDMAP_SOURCE_UUID] = "UUID=",	       [IDMAP_SOURCE_LABEL] = "LABEL=",
	[IDMAP_SOURCE_SERIAL] = "SERIAL=",     [IDMAP_SOURCE_NUMBER] = "",
};

/* What stands behind /dev/disk/by- in links that spell the same. */
static const char links[][11] = {
	[IDMAP_SOURCE_PARTUUID] = "partuuid/", [IDMAP_SOURCE_PARTLABEL] = "partlabel/",
	[IDMAP_SOURCE_UUID] = "uuid/",	       [IDMAP_SOURCE_LABEL] = "label/",
	[IDMAP_SOURCE_SERIAL] = "id/virtio-",
};

/* How many hex digits stand in each group of a UUID, with a dash between; 0 ends them. */
static const unsigned char uuid_groups[] = {8, 4, 4, 4, 12, 0};
static const unsigned char mbr_groups[] = {8, 2, 0}; /* of a PARTUUID that an MBR gives */

static bool has_groups(const char *text, const unsigned char *lengths)
{
	uint64_t value;

	for (; *lengths; lengths++) {
		const char *end = idmap_read_digits(text, 16, &value);

		if (end - text != *lengths || *end != (lengths[1] ? '-' : 0))
			return false;
		text = end + 1;
	}
	return true;
}

/* The part of `text` behind `prefix`, or NULL. */
static const char *behind(const char *text, const char *prefix)
{
	size_t length = strlen(prefix);

	return strncmp(text, prefix, length) ? NULL : text + length;
}

/* udev spells a byte that a path should not have as \xHH (systemd's encode_devnode_name()). */
static void copy_value(char value[IDMAP_OPTION_MAX + 1], const char *text, bool link)
{
	char *end = value + IDMAP_OPTION_MAX;

	while (*text && value < end) {
		uint32_t high = 16, low = 16;

		if (link && text[0] == '\\' && text[1] == 'x' && (high = idmap_hex(text[2])) < 16)
			low = idmap_hex(text[3]);
		if (low < 16 && high + low) {
			*value++ = (char)(high << 4 | low);
			text += 4;
		} else {
			*value++ = *text++;
		}
	}
}

/* Takes /PARTNROFF=N, or -partN of a link, off the value. false: it has one that is no number. */
static bool take_offset(struct idmap_source *source, const char *word)
{
	char *end = NULL, *p;
	const char *digits;
	uint64_t number;
	bool negative;

	for (p = source->value; (p = strchr(p, *word)); p++)
		if (behind(p, word))
			end = p;
	if (!end)
		return true;
	digits = end + strlen(word);
	negative = *digits == '-' && *word == '/';
	digits += negative;
	if (!*digits || *idmap_read_digits(digits, 10, &number) || number > OFFSET_MOST)
		return false;
	*end = 0;
	source->offset = negative ? -(int32_t)number : (int32_t)number;
	return true;
}

/* As blkid(8) prints them and fstab(5) may have them. */
static void take_quotes(char *value)
{
	const size_t length = strlen(value);

	if (length < 2 || (*value != '"' && *value != '\'') || value[length - 1] != *value)
		return;
	memmove(value, value + 1, length - 2);
	value[length - 2] = 0;
}

static const char *read_name(struct idmap_source *source, const char *text, bool link)
{
	copy_value(source->value, text, link);
	if (!link)
		take_quotes(source->value);
	switch (source->kind) {
	case IDMAP_SOURCE_PARTUUID:
		if (take_offset(source, OFFSET) && (has_groups(source->value, uuid_groups) ||
						    has_groups(source->value, mbr_groups)))
			return NULL;
		return "is no PARTUUID; write 8-4-4-4-12 hex digits for a GPT, 8-2 for an MBR,"
		       " and " OFFSET "NUMBER behind it for another partition of that disk";
	case IDMAP_SOURCE_UUID:
		if (has_groups(source->value, uuid_groups))
			return NULL;
		return "is no UUID of " IDMAP_SOURCE_KNOWN ", the filesystems that are known by"
		       " name; write 8-4-4-4-12 hex digits, or the partition's PARTUUID=";
	case IDMAP_SOURCE_SERIAL:
		/* A link's end that is no number is a part of the serial. */
		if (!take_offset(source, link ? "-part" : OFFSET) && !link)
			return "has no number behind " OFFSET "; write one";
		/* fall through */
	default:
		return *source->value ? NULL : "is a name that is empty; write it out";
	}
}

/*
 * As devt_from_devnum() of the kernel takes root=: MAJOR:MINOR, or both in hex (new_decode_dev() of
 * linux/kdev_t.h).
 */
static const char *read_number(struct idmap_source *source, const char *text)
{
	uint64_t major, minor;
	const char *end = idmap_read_digits(text, 10, &major), *more;

	if (end > text && *end == ':') {
		more = end + 1;
		end = idmap_read_digits(more, 10, &minor);
		if (*end || end == more)
			return NULL;
		if (major > MAJOR_MOST || minor > MINOR_MOST)
			return "is no device number; write MAJOR:MINOR, at most 4095:1048575";
	} else {
		text += behind(text, "0x") ? 2 : 0;
		end = idmap_read_digits(text, 16, &minor);
		if (*end || end == text || minor > UINT32_MAX)
			return NULL;
		major = minor >> 8 & MAJOR_MOST;
		minor = (minor & 0xff) | (minor >> 12 & 0xfff00);
	}
	source->kind = IDMAP_SOURCE_NUMBER;
	idmap_print(source->value, sizeof(source->value), "%u:%u", (uint32_t)major,
		    (uint32_t)minor);
	return NULL;
}

const char *idmap_source_of(const char *text, struct idmap_source *ret)
{
	const char *link = behind(text, LINKS), *rest;
	size_t i;

	ret->kind = IDMAP_SOURCE_OTHER;
	ret->offset = 0;
	memset(ret->value, 0, sizeof(ret->value));
	if (behind(text, "/dev/"))
		ret->kind = IDMAP_SOURCE_DEVICE;
	for (i = 0; i < IDMAP_SOURCE_NUMBER; i++) {
		rest = behind(text, idmap_source_word[i]);
		if (link && behind(link, "by-"))
			rest = behind(link + 3, links[i]);
		if (!rest)
			continue;
		ret->kind = (enum idmap_source_kind)i;
		return read_name(ret, rest, link);
	}
	if (link)
		return "is a link that udev makes, and udev does not run here; write PARTUUID=,"
		       " PARTLABEL=, UUID=, LABEL=, or the device as in /dev/vda";
	return read_number(ret, text);
}

/* What other tools understand by root=, and what it is here. */
static const char *is_others(const char *text)
{
	if (behind(text, "virtiofs:"))
		return "is dracut's way to write it; write the tag alone, and the type virtiofs"
		       " (rootfstype=virtiofs)";
	if (!strcmp(text, "gpt-auto") || !strcmp(text, "fstab"))
		return "is a word of systemd's, which does not run here; write PARTUUID=, or the"
		       " device as in /dev/vda";
	if (behind(text, "nbd:") || behind(text, "nfs:") || behind(text, "live:") ||
	    behind(text, "zfs:") || behind(text, "ZFS="))
		return "is for dracut, which does not run here; write the device that it leads to";
	return NULL;
}

const char *idmap_source_read(const struct idmap_row *row, struct idmap_source *ret)
{
	const char *wrong;

	ret->kind = IDMAP_SOURCE_OTHER;
	if (row->flags & IDMAP_CLONE || idmap_type_has("tmpfs:overlay", row->type))
		return NULL;
	wrong = is_others(row->source);
	return wrong				? wrong
	       : idmap_has_no_device(row->type) ? NULL
						: idmap_source_of(row->source, ret);
}
