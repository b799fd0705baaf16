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

#include <errno.h>
#include <sys/resource.h>

#include "generated/autoconf.h"
#include "idmap.h"

#define EARLY_MOUNTS 4 /* /dev, /proc, /sys, /run */

/* What the kernel gave us, what its command line says, and how far the boot has come. */
struct boot {
	char **argv, **envp;
	struct idmap_cmdline cmdline;
	struct idmap_table table;
	struct idmap_devices devices;
	struct idmap_notes notes; /* in an arena of their own */
	uint64_t row_us;	  /* when the row at hand was begun, or its device came */
	bool pivots;		  /* pivot_root(2) may work from here */
	bool no_way_back;	  /* for what a failure can do */
	bool skips;		  /* a row was skipped, by nofail */
	bool files_raised;
	struct rlimit files; /* as it was, where it was raised */
	/* The early mounts that are there; "" ends the list. */
	char carry[EARLY_MOUNTS + 1][IDMAP_CARRIED_SIZE];
	struct idmap_arena *arena; /* with room to spare, for what lives as long as the process */
};

/* --- msg.c ----------------------------------------------------------------------------------- */

enum { MSG_ERROR = 3, MSG_WARNING = 4, MSG_INFO = 6 };

/* One line to the kernel log, or to the console where there is no /dev/kmsg. */
void msg(int level, const char *format, ...) IDMAP_PRINTF(2, 3);
/* Many lines of one level, which go out together, as many as the log takes at once. */
struct lines {
	struct idmap_text text;
	long prefixes; /* bytes that the kernel may put in front of them */
	long until;    /* with so many they are written */
	int level;
	bool open; /* a line has been begun */
	char record[IDMAP_LINE_SIZE + 40];
};

/* There will be `count` of them, more or less. */
void lines_begin(struct lines *lines, int level, uint32_t count);
/* Begins the next line; what it says is added to the text that this gives. */
struct idmap_text *lines_next(struct lines *lines);
void lines_end(struct lines *lines);
/* Tells what the library noted, so that it is seen under `quiet`, and empties the list. */
void msg_notes(struct idmap_notes *notes);

/* --- early.c --------------------------------------------------------------------------------- */

/*
 * Mounts /dev, /proc, /sys and /run unless they are there, opens the console, and fills in what
 * *boot and its root say of the mounts that were here before.
 */
int early_mounts(struct boot *boot, struct idmap_error *ret_error);

/* --- conf.c ---------------------------------------------------------------------------------- */

#ifdef CONFIG_TABLE_FILE
/* Reads the table from its file, unless the command line has a table of its own. */
int conf_read(const struct idmap_cmdline *cmdline, struct idmap_table *table,
	      struct idmap_arena *arena, struct idmap_error *ret_error);
#else
static inline int conf_read(const struct idmap_cmdline *cmdline, struct idmap_table *table,
			    struct idmap_arena *arena, struct idmap_error *ret_error)
{
	(void)table;
	(void)arena;
	return cmdline->conf && !cmdline->words
		       ? idmap_fail(ret_error, NULL, IDMAP_BAD_TABLE, EINVAL,
				    "cmdline: idmap.conf=: files are not built into this"
				    " idmap-init; write idmap= on the kernel command line")
		       : 0;
}
#endif

/* --- modules.c ------------------------------------------------------------------------------- */

#ifdef CONFIG_MODULES
/* Loads the modules that mkinitramfs listed, in its order; none where there is no list. */
void modules_load(const struct boot *boot);
#else
static inline void modules_load(const struct boot *boot)
{
	(void)boot;
}
#endif

/* --- realinit.c ------------------------------------------------------------------------------ */

/*
 * Which init to run: idmap.init=, else init=, else the kernel's list, looked up in the new root.
 * What was passed over has been told.
 */
int realinit_find(const struct idmap_cmdline *cmdline, struct idmap_stage *stage,
		  const char **ret_init, struct idmap_error *ret_error);

/* --- handoff.c ------------------------------------------------------------------------------- */

/* Makes the new root / and frees the initramfs. There is no way back from here. */
int handoff_switch(const struct boot *boot, struct idmap_stage *stage,
		   struct idmap_error *ret_error);
/* Becomes the real init. Returns only when that fails. */
int handoff_exec(const struct boot *boot, const char *init, struct idmap_error *ret_error);

#endif
