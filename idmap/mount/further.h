/* SPDX-License-Identifier: MIT */
/*
 * Devices that an image names: what further.c gives to filesystem.c.
 */
#ifndef FURTHER_H
#define FURTHER_H

#include <string.h>

#include "mount/mount.h"

/* The next option of two lists, one after the other, such as a row's; "": there are no more. */
static inline const char *idmap_next_option(const char **first, const char **second)
{
	const char **list = **first ? first : second;
	const char *option = *list;

	*list += strlen(option) + (*option != 0);
	return option;
}

/* Whether an option of the row begins with one of these, each with its comma. */
bool idmap_row_says(const struct idmap_row *row, const char *begins);

/* Of btrfs: what of the filesystem is shown. */
static inline bool idmap_names_subvolume(const char *option)
{
	return !strncmp(option, "subvol=", 7) || !strncmp(option, "subvolid=", 9);
}

/*
 * Opens what the checks read, to be closed after the mounting: with its last user gone the kernel
 * would forget the block, and read it once more. -1: there is nothing to check.
 */
int idmap_further_open(const struct idmap_row *row);
/*
 * Asked before the row's device is mounted as `type`: -EINVAL where the kernel would read or write
 * another device because the superblock says so, and the row does not; or where the superblock says
 * that there are others, and the row names none. 0: not, or it is none of that type.
 */
int idmap_further_check(int fd, const struct idmap_row *row, const char *type,
			struct idmap_error *ret_error);
/*
 * Of a device, or a file, that is open, with a superblock of that type: whether this says that
 * there are further devices, for a refusal's line, or that it is the journal of another one, or
 * that the filesystem is larger than what is here.
 */
bool idmap_has_further(int fd, const char *type);
bool idmap_is_journal(int fd, const char *type);
bool idmap_is_cut_short(int fd, const char *type);
/* Whether the option is there for that check alone, and nothing that the filesystem takes. */
bool idmap_is_further_alone(const char *type, const char *item);

#endif
