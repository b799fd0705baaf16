/* SPDX-License-Identifier: MIT */
/*
 * init.h - PID 1: what happens once, from the kernel's exec of /init to the exec of the real init.
 *
 * main.c tells the story and alone decides to fail. Below it nothing exits: a function returns 0
 * (or a file descriptor) or -errno with a filled struct idmap_error. What it only warns of goes
 * through msg().
 */
#ifndef INIT_H
#define INIT_H

#include "explain.h"
#include "idmap.h"

/* What to do when nothing more can be done. */
enum onfail { ONFAIL_PANIC, ONFAIL_REBOOT, ONFAIL_POWEROFF, ONFAIL_SHELL };

#define EARLY_MOUNTS 4 /* /dev, /proc, /sys, /run */

/* What the kernel gave us and its command line says. Strings live as long as the process. */
struct boot {
	char **argv, **envp;
	const char *cmdline;	/* as the kernel shows it, NUL-terminated */
	struct idmap_root root; /* root= and its kin */
	const char *init;	/* init=, or NULL */
	const char *own_init;	/* idmap.init=, or NULL */
	enum onfail onfail;	/* idmap.onfail= */
	const char *conf;	/* idmap.conf=, or NULL */
	uint32_t words;		/* how many idmap= there were */
	uint32_t root_delay_s;	/* rootdelay= */
	uint64_t start_us;	/* since when rows wait for their devices */
	uint64_t row_us;	/* when the row at hand was begun, or its device came */
	int uevent_fd;		/* kernel events, or -1 */
	bool pivots;		/* pivot_root(2) may work from here */
	bool no_way_back;	/* how far the boot has come, for what a failure can do */
	bool skips;		/* a row was skipped, by nofail */
	/* The early mounts that are there; "" ends the list. */
	char carry[EARLY_MOUNTS + 1][IDMAP_CARRIED_SIZE];
	struct idmap_arena *arena; /* with room to spare, for what lives as long as the process */
};

/* --- msg.c --- */

enum { MSG_ERROR = 3, MSG_WARNING = 4, MSG_INFO = 6 };

/* One line to the kernel log, or to the console where there is no /dev/kmsg. */
void msg(int level, const char *format, ...) IDMAP_PRINTF(2, 3);
/* Many lines of one level, which go out together, as many as the log takes at once. */
struct lines {
	struct idmap_text text;
	long prefixes; /* bytes that the kernel may put in front of them */
	long until;    /* with so many they are written */
	int level;
	char record[IDMAP_LINE_SIZE + 40];
};

/* There will be `count` of them, more or less. */
void lines_begin(struct lines *lines, int level, uint32_t count);
void lines_add(struct lines *lines, const char *format, ...) IDMAP_PRINTF(2, 3);
void lines_end(struct lines *lines);
#define msg(level, format, ...) msg(level, MESSAGE_FORMAT(format, ##__VA_ARGS__), ##__VA_ARGS__)

/* --- early.c --- */

/*
 * Mounts /dev, /proc, /sys and /run unless they are there, opens the console, and fills in what
 * boot->root and *boot say of the mounts that were here before.
 */
int early_mounts(struct boot *boot, struct idmap_error *ret_error);

/* --- cmdline.c: pure --- */

/* A parameter as the kernel cuts it; `value` is NULL where there is no `=`. Not terminated. */
struct parameter {
	const char *name, *value;
	size_t name_length, value_length;
	bool quoted; /* the word began with a quote, which is not in `name` */
};

/*
 * Cuts the next parameter off *text, by the rules of next_arg() in lib/cmdline.c. false: the end,
 * or a bare `--`, after which everything is for the real init.
 */
bool cmdline_next(const char **text, struct parameter *ret);
/* Reads boot->cmdline: the root's parameters into *boot, idmap= into the table. */
void cmdline_read(struct boot *boot, struct idmap_table *table);
/* The options of module `name` (as in its file name): `a=1 b="x y"` from name.a=1 name.b=… */
void cmdline_module_options(const char *cmdline, const char *name, size_t name_length,
			    struct idmap_text *ret_options);

/* --- modules.c --- */

#define MODULES_LIST "/etc/idmap.modules"

/* Loads the modules of MODULES_LIST in its order; none where there is no list. */
void modules_load(const struct boot *boot, struct idmap_arena *arena);

/* --- names.c: pure --- */

/* A line of /proc/partitions: a disk or a partition. Partitions stand behind their disk. */
struct disk {
	const char *name;
	uint32_t major, minor;
	uint32_t part;		  /* its number, 0 for a whole disk */
	const struct disk *whole; /* the disk it is a part of; a whole disk's is itself */
};

#define NAMES_LINE_LEAST 8
/*
 * Cuts the text of /proc/partitions into disks, whose names point into it; one without a name ends
 * them. There must be room for a disk each NAMES_LINE_LEAST bytes, and for the end.
 */
void names_disks(char *text, struct disk *ret_disks);

/* The functions below give a name of the kind, and false where there is none. */
#define NAMES_SIZE 257 /* the longest is the label of a btrfs */

/* What a filesystem is known by: a device's bytes from 0 on, and behind them those from BTRFS on.
 */
#define NAMES_FRONT_SIZE 2048
#define NAMES_BTRFS 65536
#define NAMES_BTRFS_SIZE 1024
/* The UUID or the LABEL in such blocks. */
bool names_filesystem(const char *blocks, enum idmap_source_kind kind, char ret[NAMES_SIZE]);

#define NAMES_SECTOR_MOST 4096
#define NAMES_GPT_ENTRY_SIZE 128
/*
 * Where a GPT has the entry of a partition (from 1), by a disk's first two sectors; 0: it is no
 * GPT, or that entry is not in it.
 */
uint64_t names_gpt_offset(const char *sectors, uint32_t sector_size, uint32_t part);
/* The PARTUUID or the PARTLABEL in such an entry. */
bool names_gpt(const char *entry, enum idmap_source_kind kind, char ret[NAMES_SIZE]);
/* The PARTUUID of a partition in an MBR. */
bool names_mbr(const char *sector, uint32_t part, char ret[NAMES_SIZE]);
/* Whether a name as written is the one found: UUIDs in either case, all else to the byte. */
bool names_equal(enum idmap_source_kind kind, const char *a, const char *b);

/* --- disks.c --- */

/*
 * Looks at all disks for what `source` names. Gives how many there are, their paths below /dev with
 * " and " between, and a list of all disks, each with its name of that kind.
 */
uint32_t disks_look(const struct boot *boot, const struct idmap_source *source,
		    struct idmap_text *ret_paths, struct idmap_text *ret_list);

/* --- device.c --- */

#define DEVICE_PATHS_SIZE 128 /* of boot->arena, for the devices that have one name */

/*
 * Waits until the row's device can be opened, and finds it where the row has a name. -ENODEV: it
 * did not come in the row's time. -ENOTUNIQ: two devices have the name.
 */
int device_wait(struct boot *boot, struct idmap_row *row, struct idmap_error *ret_error);

/* --- realinit.c --- */

/*
 * Which init to run: idmap.init=, else init=, else the kernel's list, looked up in the new root.
 * Mode, format, interpreter and loader have been checked; what was passed over has been told.
 */
int realinit_find(const struct boot *boot, int root_fd, const char **ret_init,
		  struct idmap_error *ret_error);

/* --- handoff.c --- */

/* Makes the new root / and frees the initramfs. There is no way back from here. */
int handoff_switch(const struct boot *boot, struct idmap_stage *stage,
		   struct idmap_error *ret_error);
/* Becomes the real init. Returns only when that fails. */
int handoff_exec(const struct boot *boot, const char *init, struct idmap_error *ret_error);

#endif
