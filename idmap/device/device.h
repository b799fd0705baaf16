/* SPDX-License-Identifier: MIT */
/*
 * Between the files of device/, which find the device that a SOURCE means: file, proc, klog, names,
 * disks, hashtree, loop, mapper, wait, each in need of those before it. Of the rest of the library
 * they know table/.
 */
#ifndef DEVICE_H
#define DEVICE_H

#include <errno.h>

#include "table/verity.h"

/* --- file.c ---------------------------------------------------------------------------------- */

/* Closes at the end of a scope: `idmap_closed int fd = …`. */
#define idmap_closed __attribute__((cleanup(idmap_close)))
/* Closes *fd unless it is negative, keeps errno, makes it -1. */
void idmap_close(int *fd);
/*
 * The size of a regular file for a read to come, or -errno. Where open(2) says ENOENT of a link on
 * the way that leads nowhere, this and idmap_file_read() say -ENOLINK: somebody has meant a file
 * there.
 */
int64_t idmap_file_size(const char *path);
/*
 * Reads a file to its end into the arena (files of /proc too, whose size is unknown); NUL follows.
 * The text lives as long as the arena. -errno of open(2) and read(2), or -ENOLINK.
 */
int idmap_file_read(const char *path, struct idmap_arena *arena, char **ret_text, size_t *ret_size);
/*
 * The text of a table's file, in an arena made for it that has room for the table. -errno: of what
 * is to be done about it the caller knows.
 */
int idmap_table_text(const char *path, const char *remedy, struct idmap_arena *arena,
		     char **ret_text, size_t *ret_size, struct idmap_error *ret_error);
/* Microseconds since boot. */
uint64_t idmap_now_us(void);
/* What a call gave, or -errno where that is -1. */
int or_errno(int result);
/*
 * open(2) of what is there, with O_CLOEXEC, and without waiting, whatever it is: -errno. By
 * openat(2), since musl's open() makes a second call for that flag.
 */
int idmap_open(const char *path, int flags);
/*
 * The same of the character device of that number, by its name in a folder. -ENODEV: the name is
 * something else's.
 */
int idmap_open_device(int dir_fd, const char *name, int flags, uint32_t major, uint32_t minor);

/* Sees to it that the arena has so much room; new memory if need be, the old stays. -ENOMEM. */
int idmap_arena_room(struct idmap_arena *arena, size_t size, struct idmap_error *ret_error);
/*
 * Every map that waits is an open file: as many as there may be. By prlimit(2), since musl's
 * setrlimit() is made for programs of many threads.
 */
void idmap_raise_files(void);
/* Adds a step that is done, where that is asked for. */
void idmap_trace(struct idmap_notes *notes, const char *format, ...) IDMAP_PRINTF(2, 3);

/* --- proc.c: pure ---------------------------------------------------------------------------- */

/* A line of /proc/self/mountinfo; proc_pid_mountinfo(5). */
struct idmap_mountinfo {
	const char *id, *parent;
	const char *number; /* of the device: major:minor */
	const char *root;   /* what of the filesystem stands there */
	const char *target;
	const char *options; /* the mount's own */
	const char *type, *source;
	const char *data;	    /* options of the filesystem */
	const char *peers, *master; /* numbers of peer groups, or NULL */
	bool unbindable;
};
/* For the text of a list of all mounts; costs what is touched. */
#define IDMAP_MOUNTS_MEMORY (64 << 20)
/* Whether what is mounted on the other one appears on it: as on a peer, or on a slave. */
bool idmap_mount_gets(const struct idmap_mountinfo *mount, const struct idmap_mountinfo *other);
/* Cuts the next line off *text, in place; false: there is none. */
bool idmap_mountinfo_next(char **text, struct idmap_mountinfo *ret);

/*
 * Of all mounts, each with its parent's id as ->real, leaves those that stand on the mount
 * `root_id` itself and are seen there: they take along what stands on them.
 */
void idmap_mounts_on(struct idmap_carried **list, const char *root_id);

/*
 * What a record of /dev/kmsg says, in place, and whether that is a warning or worse; NULL: it is
 * none, not the kernel's own, or of a clock.
 */
const char *idmap_klog_words(char *record, bool *ret_grave);

/* --- klog.c ---------------------------------------------------------------------------------- */

/* Opens the kernel's log at its end, or -errno; its reader closes it. */
int idmap_klog_begin(void);
#define IDMAP_KLOG_RECORD 4096 /* a read gives a whole record or EINVAL */
/* What the kernel has said next since, as of idmap_klog_words(), in `record`; NULL: no more. */
const char *idmap_klog_next(int fd, char record[IDMAP_KLOG_RECORD], bool *ret_grave);
/*
 * What the kernel has said since, with a comma between: its warnings and worse first, as what it
 * chats about before may leave no room for the cause.
 */
void idmap_klog_read(int fd, struct idmap_text *ret_words);

/* --- names.c: pure --------------------------------------------------------------------------- */

/* A line of /proc/partitions: a disk or a partition. Partitions stand behind their disk. */
struct idmap_disk {
	const char *name;
	uint32_t major, minor;
	uint32_t part;			/* its number, 0 for a whole disk */
	const struct idmap_disk *whole; /* the disk it is a part of; a whole disk's is itself */
};

#define NAMES_LINE_LEAST 8
/*
 * Cuts the text of /proc/partitions into disks, whose names point into it; one without a name ends
 * them. There must be room for a disk each NAMES_LINE_LEAST bytes, and for the end.
 */
void idmap_names_disks(char *text, struct idmap_disk *ret_disks);

/* The functions below give a name of the kind, and false where there is none. */
#define NAMES_SIZE 257 /* the longest is the label of a btrfs */

/*
 * What a filesystem is known by: a device's bytes from 0 on, and behind them those from BTRFS and
 * from ISO on.
 */
#define NAMES_FRONT_SIZE 2048
#define NAMES_BTRFS 65536
#define NAMES_BTRFS_SIZE 1024
#define NAMES_ISO 32768
#define NAMES_ISO_SIZE 8
#define NAMES_BLOCKS_SIZE (NAMES_FRONT_SIZE + NAMES_BTRFS_SIZE + NAMES_ISO_SIZE)
/* The UUID or the LABEL in such blocks. */
bool idmap_names_filesystem(const char *blocks, enum idmap_source_kind kind, char ret[NAMES_SIZE]);

/* The type of the filesystem in such blocks, or NULL: none that is known here. */
const char *idmap_names_type(const char *blocks);

/*
 * A disk that belongs to something is marked so, and may still hold a filesystem, or one that was
 * there before. Where the `n`th mark is on a disk of `size` bytes; UINT64_MAX: that is too small.
 */
#define NAMES_MARKS 14
#define NAMES_MARK_SIZE 24
uint64_t idmap_names_mark_at(size_t n, uint64_t size);
/* What the disk belongs to with such bytes there, in words; NULL: to nothing. */
const char *idmap_names_mark(size_t n, const char bytes[NAMES_MARK_SIZE]);

#define NAMES_SECTOR_MOST 4096
#define NAMES_GPT_ENTRY_SIZE 128
/*
 * Where a GPT has the entry of a partition (from 1), by a disk's first two sectors; 0: it is no
 * GPT, or that entry is not in it.
 */
uint64_t idmap_names_gpt_offset(const char *sectors, uint32_t sector_size, uint32_t part);
/* The PARTUUID or the PARTLABEL in such an entry. */
bool idmap_names_gpt(const char *entry, enum idmap_source_kind kind, char ret[NAMES_SIZE]);
/* The PARTUUID of a partition in an MBR. */
bool idmap_names_mbr(const char *sector, uint32_t part, char ret[NAMES_SIZE]);
/* Whether a name as written is the one found: UUIDs in either case, all else to the byte. */
bool idmap_names_equal(enum idmap_source_kind kind, const char *a, const char *b);

/* --- disks.c --------------------------------------------------------------------------------- */

#ifdef CONFIG_NAMES
/*
 * Looks at all disks for what `source` names, in scratch memory. Gives how many there are, their
 * paths below /dev with " and " between, and a list of all disks, each with its name of that kind.
 */
uint32_t idmap_disks_look(const struct idmap_arena *arena, const struct idmap_source *source,
			  struct idmap_text *ret_paths, struct idmap_text *ret_list);
/* The type of the filesystem on a device or in a file, by its superblock; or NULL. */
const char *idmap_disks_type(const char *path);
/* What the device there belongs to by a mark, in words, or NULL. */
const char *idmap_disks_mark(const char *path);
#else
static inline const char *idmap_disks_type(const char *path)
{
	return (void)path, NULL;
}
static inline const char *idmap_disks_mark(const char *path)
{
	return (void)path, NULL;
}
static inline uint32_t idmap_disks_look(const struct idmap_arena *arena,
					const struct idmap_source *source,
					struct idmap_text *ret_paths, struct idmap_text *ret_list)
{
	idmap_text_add(ret_list, "not looked at");
	return (void)arena, (void)source, (void)ret_paths, 0;
}
#endif

/* --- hashtree.c: pure ------------------------------------------------------------------------ */

#define HASHTREE_SIZE 512 /* of the superblock */

/* What the superblock says; strings and bytes are in the block that was read. */
struct idmap_hashtree {
	uint32_t type, data_block, hash_block, salt_size;
	uint64_t size;	/* bytes of the data */
	uint64_t start; /* in blocks of the tree */
	const char *algorithm, *salt, *uuid;
};

/* Reads a superblock that lies at `offset`. NULL, or what is wrong with it. */
const char *idmap_hashtree_read(const char *block, uint64_t offset, struct idmap_hashtree *ret);
void idmap_hashtree_hex(struct idmap_text *text, const char *bytes, size_t size);
/* What the kernel's dm-verity is asked for by, its devices by their numbers. */
#define HASHTREE_LINE_SIZE 1024
void idmap_hashtree_line(const struct idmap_hashtree *tree, const struct idmap_verity *verity,
			 const char *data, const char *hash, struct idmap_text *text);

/* --- loop.c: a file becomes a block device ---------------------------------------------------- */

#define IDMAP_LOOP_SIZE 24
#ifdef CONFIG_IMAGES
/*
 * A free loop device that shows the file, read-only, and is gone with its last user: a descriptor
 * of it, and its path; -errno. `name` is what it is shown as.
 */
int idmap_loop(const char *file, const char *name, char ret_path[IDMAP_LOOP_SIZE]);
int idmap_loop_failed(const struct idmap_row *row, int error, struct idmap_error *ret_error);
/* Whether it is a loop device of that file. */
bool idmap_loop_has(const char *device, const char *file);
#else
static inline bool idmap_loop_has(const char *device, const char *file)
{
	return (void)device, (void)file, false;
}
static inline int idmap_loop(const char *file, const char *name, char ret_path[IDMAP_LOOP_SIZE])
{
	return (void)file, (void)name, (void)ret_path, -ENOTBLK;
}
static inline int idmap_loop_failed(const struct idmap_row *row, int error,
				    struct idmap_error *ret_error)
{
	return idmap_fail(ret_error, row, IDMAP_BAD_TABLE, -error,
			  "image files are not built into this idmap-init; write a device");
}
#endif

/* --- mapper.c -------------------------------------------------------------------------------- */

#ifdef CONFIG_VERITY
#define IDMAP_MAPPED_SIZE 24
/* A device of the mapper's, which goes with its last user. */
struct idmap_mapped {
	int fd, control_fd; /* or -1 */
	char path[IDMAP_MAPPED_SIZE];
};

/*
 * Makes a device that verifies the row's by the hash tree on another one, or takes the one that is
 * there and does the same. The descriptors are the caller's, also on failure.
 */
int idmap_mapper_verify(const struct idmap_plan *plan, const struct idmap_row *row,
			const char *hash_path, struct idmap_mapped *ret,
			struct idmap_error *ret_error);
/* Whether some block was not what its hash says, since the device was made. */
bool idmap_mapper_is_corrupted(const struct idmap_mapped *mapped, const struct idmap_row *row);
/* Links below /dev/mapper to the devices of a plan's rows, where no udev makes them. */
void idmap_mapper_link(const struct idmap_plan *plan);
/*
 * Removes what one that was killed has left: devices of our names that have no table in use, and
 * that nobody has open. Only where no other idmap is at work.
 */
void idmap_mapper_take_down_stale(void);
#else
static inline void idmap_mapper_take_down_stale(void)
{
}

static inline void idmap_mapper_link(const struct idmap_plan *plan)
{
	(void)plan;
}
#endif

/* --- wait.c ---------------------------------------------------------------------------------- */

/* The device that a name in one of the row's options has turned out to be; else the name itself. */
const char *idmap_device_found(const struct idmap_row *row, const char *name);

#endif
