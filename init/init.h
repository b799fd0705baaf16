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
#include <unistd.h>
#include "generated/autoconf.h"
#include "idmap.h"
#include "device/device.h"

#define EARLY_MOUNTS 4			  /* /dev, /proc, /sys, /run */
#define MODULES_LIST "/etc/idmap.modules" /* of mkinitramfs */

/* What the helper is at, for PID 1, which watches it. */
enum step_kind {
	STEP_START,
	STEP_DELAY,  /* rootdelay= */
	STEP_MODULE, /* a module is loaded */
	STEP_ROW,    /* what is done for a row, as enum idmap_step has it */
	STEP_ROW_LAST = STEP_ROW + (int)IDMAP_STEP_PLACE,
	STEP_INIT, /* the real init is looked at */
};
#define STEP_OF_ROW(step) ((enum step_kind)((int)STEP_ROW + (int)(step)))

struct step {
	enum step_kind kind;
	const struct idmap_row *row; /* or NULL: then `path` says what it is about */
	const char *path;
	uint64_t since_us;
	uint32_t limit_s; /* taken for a hang after so long */
	bool told;	  /* that it takes long */
};

/* What the kernel gave us, what its command line says, and how far the boot has come. */
struct boot {
	char **argv, **envp;
	struct idmap_cmdline cmdline;
	struct idmap_table table;
	struct idmap_build build;
	struct idmap_error error; /* why it fails, if it does */
	const char *init;	  /* the real one, once it has been found */
	struct step step;
	struct idmap_notes notes; /* in an arena of their own */
	bool pivots;		  /* pivot_root(2) may work from here */
	bool no_way_back;	  /* for what a failure can do */
	int record_fd;		  /* of an earlier start of us, before a row covers it; or -1 */
	bool init_is_us;       /* the same: init= names what the kernel has started; no real init */
	bool hangs;	       /* something does not answer */
	bool has_console;      /* fds 0 to 2 are the console, not /dev/null */
	const char *dev, *run; /* where they are, behind links of a root that stands */
	struct idmap_arena *arena; /* with room to spare, for what lives as long as the process */
};

/* Opens what an earlier start of us in this boot has told, or -errno: this is the first. */
int tell_open_record(const struct boot *boot);
/* Whether a program of that path was started before in this boot, and has started us again. */
bool tell_was_started(const struct boot *boot, const char *path);

/* --- dev.c ----------------------------------------------------------------------------------- */

/* From here on /dev is where the folder is that has this name now. */
void dev_begin(void);
/*
 * Opens the character device of that number by its name there, without waiting: a descriptor that
 * is closed by an exec, or -errno; -ENODEV: the name is something else's.
 */
int dev_open(const char *name, int flags, uint32_t major, uint32_t minor);
/* Makes the console the file descriptors 0 to 2; false: there is none yet, it is /dev/null. */
bool dev_console(void);
/*
 * /dev is a clone of what it was: the console is opened there once more, since what was opened in a
 * mount that is gone has no name for the real init.
 */
void dev_follow(void);

/* --- msg.c ----------------------------------------------------------------------------------- */

enum { MSG_ERROR = 3, MSG_WARNING = 4, MSG_INFO = 6 };

/*
 * One line to the kernel log, or to the console where there is no /dev/kmsg. An error is seen on
 * the console whatever quiet and loglevel= say.
 */
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
/* A step for idmap.debug, told at once. */
void msg_trace(struct idmap_notes *notes, const char *words, const char *string);
/* Gives the console back the level that it had before an error was told. */
void msg_restore_level(void);

/* --- early.c --------------------------------------------------------------------------------- */

/*
 * Mounts /dev, /proc, /sys and /run unless they are there, opens the console, and fills in what
 * *boot and its root say of the mounts that were here before. What comes along are these four and,
 * of a booted root, all.
 */
int early_mounts(struct boot *boot, struct idmap_error *ret_error);

/* --- watch.c --------------------------------------------------------------------------------- */

/* The helper begins a step, which is a hang after `limit_s`. One of `row` and `path` is NULL. */
void step_begin(struct boot *boot, enum step_kind kind, const struct idmap_row *row,
		const char *path, uint32_t limit_s);
/* The same for the builder of the root. */
void step_of_row(struct idmap_build *build, enum idmap_step step, const struct idmap_row *row,
		 uint32_t limit_s);
/*
 * Lets a helper do the work, which gives 0 or 1, and watches it: 0, or else *ret_error is filled,
 * by the work or for it.
 */
int watch_run(struct boot *boot, int (*work)(void *boot), struct idmap_error *ret_error);

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
	/* What it says of owners is not passed over. */
	if (cmdline->words || (!cmdline->conf && access(IDMAP_CONF, F_OK) && errno == ENOENT))
		return 0;
	return idmap_fail(ret_error, NULL, IDMAP_BAD_TABLE, EINVAL,
			  "%s: files are not built into this idmap-init; write idmap= on the kernel"
			  " command line, or build it with CONFIG_TABLE_FILE",
			  cmdline->conf ? "cmdline: idmap.conf=" : IDMAP_CONF);
}
#endif

/* --- table.c --------------------------------------------------------------------------------- */

/* Reads the command line and the table's file, and makes the plan. */
int table_read(struct boot *boot, struct idmap_error *ret_error);
/* Tells every error of the table but the last, which goes to *ret_error: -EINVAL, or 0 for none. */
int table_errors(const struct idmap_table *table, struct idmap_error *ret_error);

/* --- modules.c ------------------------------------------------------------------------------- */

#ifdef CONFIG_MODULES
/* Loads the modules that mkinitramfs listed, in its order; none where there is no list. */
void modules_load(struct boot *boot);
#else
static inline void modules_load(struct boot *boot)
{
	static const char cause[] = "modules are not built into this idmap-init, and " MODULES_LIST
				    " is passed over; build it with CONFIG_MODULES";

	if (access(MODULES_LIST, F_OK))
		return;
	msg(MSG_WARNING, "%s", cause);
	boot->build.devices.modules_cause = cause;
}
#endif

/* --- tell.c ---------------------------------------------------------------------------------- */

/* Tells the builder's notes. */
void tell_notes(struct idmap_build *build);
/* Tells which rows are in place, in the log and in /run/idmap/table. */
void tell_rows(const struct boot *boot);
/* Tells what did not come along into the new root. */
void tell_left(const struct boot *boot);

/* --- realinit.c ------------------------------------------------------------------------------ */

/*
 * In place, before a row can cover what is there: fills boot->init_is_us. An error where what would
 * be run has been run before, and has started us; for then the rows are in place.
 */
int realinit_begin(struct boot *boot, struct idmap_error *ret_error);
/*
 * Which init to run, in boot->init: idmap.init=, else init=, else one of the kernel's list, looked
 * up in the new root. What was passed over has been told.
 */
int realinit_find(struct boot *boot, struct idmap_error *ret_error);

/* --- handoff.c ------------------------------------------------------------------------------- */

/* Makes the new root / and frees the initramfs. There is no way back from here. */
int handoff_switch(struct boot *boot, struct idmap_error *ret_error);
/* Becomes the real init. Returns only when that fails. */
int handoff_exec(const struct boot *boot, struct idmap_error *ret_error);

#endif
