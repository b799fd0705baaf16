/* SPDX-License-Identifier: MIT */
/*
 * idmap.h - read this first.
 *
 * The words, used alike in the grammar, the structs, the messages and the manual:
 *
 *   extent    DISK:SEEN:COUNT, ids DISK … as stored in the image appear as SEEN … through the mount
 *   map       the extents of one mount, for uids and for gids
 *   row       one line of the table: a source, a target, a type, options
 *   table     all rows, from the kernel command line or from a file
 *   plan      the table after checking: ordered, with equal maps shared
 *   tree      a mount made from a row: built, idmapped, not yet in place
 *   view      a root as it is put together: the seen view, and the disk view without maps
 *   stage     a private place where the whole new root is put together, seen by nobody else
 *
 * Data flows one way, and a folder knows only those before it:
 *
 *   table/    text -> table -> plan     memory and nothing else: unit tests and fuzzers run it
 *   device/   a SOURCE -> a device that opens
 *   mount/    plan -> trees -> a root
 *
 * This header is what a user of the library calls, in the order of a boot; each folder has one more
 * for its own files. Nothing in the library prints or exits. A function returns 0 or a file
 * descriptor, or -errno and then fills its struct idmap_error with one line for a person: place,
 * cause and remedy. What it only warns of becomes a note on a list that the caller hands in.
 * Memory comes from arenas that the caller hands in; nothing is freed one by one.
 */
#ifndef IDMAP_H
#define IDMAP_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/* 4294967295 is the kernel's "no id" (include/linux/uidgid.h, uid_valid()). */
#define IDMAP_ID_MAX 4294967294u
/* What one uid_map or gid_map takes (UID_GID_MAP_MAX_EXTENTS in linux/user_namespace.h). */
#define IDMAP_EXTENTS_MAX 340
/* A line of an error or of the log; /dev/kmsg refuses more than 1,024 bytes with its prefix. */
#define IDMAP_LINE_SIZE 900

#define IDMAP_PRINTF(string, first) __attribute__((format(printf, string, first)))

/* --- text and memory ------------------------------------------------------------------------ */

/* A buffer being filled. What does not fit is dropped and `cut` set; always NUL-terminated. */
struct idmap_text {
	char *start, *at, *end;
	size_t most; /* strings put in by %s or %.*s become messages of so many bytes; 0: as is */
	int error;   /* the errno that %m puts in, in words */
	bool cut;
};

/* Starts filling `buffer` of `size` bytes (at least 1). */
void idmap_text_init(struct idmap_text *text, char *buffer, size_t size);
/* Knows %s %.*s %u %lu %o %m %% and nothing else. */
void idmap_text_add(struct idmap_text *text, const char *format, ...) IDMAP_PRINTF(2, 3);
/* The same into a buffer alone, which it gives back; what does not fit is dropped. */
const char *idmap_print(char *buffer, size_t size, const char *format, ...) IDMAP_PRINTF(3, 4);

/* Memory between `at` and `end`; what is kept grows up from `at`, scratch down from `end`. */
struct idmap_arena {
	char *at, *end;
};

/* `size` zeroed bytes, aligned for any struct here, or NULL when the arena is full. */
void *idmap_alloc(struct idmap_arena *arena, size_t size);
/* How much an arena must hold so that a table of `text_size` bytes never fills it. */
size_t idmap_arena_size(size_t text_size);

/* --- errors and notes ----------------------------------------------------------------------- */

/* Where in a table something stands; columns are bytes, from 1. */
struct idmap_place {
	const char *name; /* a file's path, or a parameter with its `=` */
	uint32_t line;	  /* of the file, from 1; of a parameter which one of that name, or 0 */
	bool parameter;	  /* on the kernel command line */
};

/* What kind of thing went wrong. The numbers are idmap-init's exit codes. */
enum idmap_class {
	IDMAP_BAD_SYSTEM = 1, /* the surroundings: /proc, memory, a module */
	IDMAP_BAD_TABLE = 2,  /* what a person wrote: a table, the command line */
	IDMAP_NO_SOURCE = 3,  /* a source is not there */
	IDMAP_NO_MOUNT = 4,   /* a filesystem does not mount */
	IDMAP_NO_MAP = 5,     /* the kernel or the filesystem refuses the map */
	IDMAP_NO_TARGET = 6,  /* a target cannot be used */
	IDMAP_NO_INIT = 7,    /* the real init cannot be started */
};

struct idmap_row;
struct idmap_error {
	struct idmap_error *next; /* in a list of all that is wrong with a table */
	enum idmap_class class;
	bool absent; /* a source is not there at all, which nofail forgives */
	char text[IDMAP_LINE_SIZE];
};

/*
 * Fills `ret_error` and returns -`error`, an errno, for which %m puts in words. The line begins
 * with the row, unless that is NULL: its place, source and target.
 */
int idmap_fail(struct idmap_error *ret_error, const struct idmap_row *row, enum idmap_class class,
	       int error, const char *format, ...) IDMAP_PRINTF(5, 6);
/* What an errno means, in words; static memory. */
const char *idmap_errno_text(int error);

/* What does not stop anything and should be known. */
struct idmap_note {
	struct idmap_note *next;
	bool mild; /* somebody has asked for it, so that it need not be seen under quiet */
	char text[IDMAP_LINE_SIZE];
};

/* Who has told them begins anew by idmap_notes_forget(). */
struct idmap_notes {
	struct idmap_arena *arena;
	struct idmap_note *first, **tail;
	uint64_t traced_us; /* the caller's: since when steps become notes, too; or 0 */
};

void idmap_notes_init(struct idmap_notes *notes, struct idmap_arena *arena);
void idmap_notes_forget(struct idmap_notes *notes); /* as if none had been added */
/* Adds one; where the arena has no room left it is lost. */
void idmap_note(struct idmap_notes *notes, const char *format, ...) IDMAP_PRINTF(2, 3);
void idmap_note_mild(struct idmap_notes *notes, const char *format, ...) IDMAP_PRINTF(2, 3);

/* --- maps ----------------------------------------------------------------------------------- */

enum idmap_kind { IDMAP_UID, IDMAP_GID, IDMAP_KINDS };

struct idmap_extent {
	uint32_t disk, seen, count;
};

/* Sorted by disk id, merged, free of overlaps and within the kernel's limits. */
struct idmap_map {
	struct idmap_map *next;
	struct idmap_extent *extent[IDMAP_KINDS];
	uint32_t extents[IDMAP_KINDS];
	uint32_t number; /* from 1, in the order of the table */
	uint32_t users;	 /* rows that wait to be built with it */
	uint32_t rows;	 /* the plan's own */
	int userns_fd;	 /* -1, or the user namespace; closed when the last user is built */
};

/* The map as options of a table: idmap=…, or uidmap=…,gidmap=… where they differ. */
void idmap_map_options(const struct idmap_map *map, struct idmap_text *text);

/* --- the table ------------------------------------------------------------------------------ */

/* Attributes of a mount, with the kernel's numbers (MOUNT_ATTR_*, linux/mount.h). */
enum idmap_attr {
	IDMAP_RDONLY = 0x1,
	IDMAP_NOSUID = 0x2,
	IDMAP_NODEV = 0x4,
	IDMAP_NOEXEC = 0x8,
	IDMAP_NOATIME = 0x10,
	IDMAP_STRICTATIME = 0x20,
	IDMAP_ATIME_MASK = 0x70,
	IDMAP_NODIRATIME = 0x80,
	IDMAP_NOSYMFOLLOW = 0x200000, /* 5.14 */
};

enum idmap_row_flag {
	IDMAP_NOFAIL = 1 << 0,
	IDMAP_NOAUTO = 1 << 1,
	IDMAP_LOWER = 1 << 2,
	IDMAP_UPPER = 1 << 3,
	IDMAP_MKDIR = 1 << 4,
	IDMAP_BIND = 1 << 5,
	IDMAP_RBIND = 1 << 6,
	IDMAP_OVERLAY = 1 << 7,
	IDMAP_WAIT = 1 << 8,	      /* wait= was said */
	IDMAP_OWN_ROOT = 1 << 9,      /* the root that we are in, cloned instead of mounted */
	IDMAP_IMAGE = 1 << 10,	      /* a file of the new root holds the filesystem */
	IDMAP_IN_DISK_VIEW = 1 << 11, /* another row's source is in this one */
	IDMAP_SKIPPED = 1 << 12,      /* passed over: its source, or what it stands on, is absent */
	IDMAP_PLACED = 1 << 13,	      /* the stage's own: it is in place, or kept as a layer */
	IDMAP_TURNED_RO = 1 << 14, /* its device cannot be written, so it is ro though it says rw */
	IDMAP_MADE_UPPER = 1 << 15, /* the stage's own: its folder upper is new */
	IDMAP_MADE_WORK = 1 << 16,  /* the same: its folder work */
	IDMAP_DATA_ONLY = 1 << 17,  /* a lower layer that another one leads to */
	IDMAP_WROTE = 1 << 18,	    /* the same: it is ro, and mounting it wrote to its disk */
	IDMAP_ON_WRITTEN = 1 << 19, /* the same: it is ro, and another row writes to its disk */
	IDMAP_DENIED = 1 << 20, /* the same: its disk cannot be written, as mounting it has shown */
	IDMAP_WROTE_LOG = 1 << 21,  /* the same: it is ro, and xfs wrote what it writes each time */
	IDMAP_FIRST_WORK = 1 << 22, /* the same: what overlayfs makes in work is new */
	IDMAP_IN_ROW = 1 << 23,	    /* target or source lies in another row, and not the root's */
	IDMAP_CLONE = IDMAP_BIND | IDMAP_RBIND,
	IDMAP_LAYER = IDMAP_LOWER | IDMAP_UPPER,
};

#define IDMAP_WAIT_S 10
#define IDMAP_WAIT_FOREVER UINT32_MAX
struct idmap_found;
struct idmap_verity;
struct idmap_row {
	struct idmap_place place;
	struct idmap_row *next;
	const char *source;
	const char *device;  /* what is mounted: the source, or the device found for its name */
	const char *target;  /* absolute, without // . or a final / */
	const char *type;    /* a name or a list `erofs:squashfs` */
	const char *inside;  /* NULL, or the path in the new root that is cloned, or the image */
	size_t base;	     /* so many bytes of it are SOURCE, which the links of subdir stay in */
	uint32_t flags;	     /* enum idmap_row_flag */
	uint32_t attr;	     /* enum idmap_attr; after the plan all of them, before it those said */
	uint32_t attr_said;  /* which of them the row speaks of */
	uint32_t found_attr; /* the stage's own: those that were found, whatever the row says */
	uint32_t target_column, source_column, type_column, left_out_column;
	uint32_t wait_s, mkdir_mode;
	struct idmap_map *map;
	/* For the filesystem: strings one after the other, an empty one last. */
	const char *root_data;	     /* those of rootflags=, or none */
	const char *data;	     /* those of the row, which come after them and win */
	struct idmap_found *found;   /* devices that were found for names in them */
	const char *subdir;	     /* NULL or X-mount.subdir= */
	struct idmap_verity *verity; /* NULL, or what it is verified by */
	struct idmap_row *below;     /* of a layer the next one down, of an overlay its highest */
	struct idmap_row *upper;     /* of an overlay the row that takes what is written, or NULL */
	uint32_t took_us;	     /* to look for, build and place, for the log */
	struct idmap_row *placed_before; /* the stage's own */
	uint32_t slot, copied; /* the same: which folder holds the layer; see idmap_copies_note() */
	uint64_t mount, mount_unique;  /* the same: see idmap_mount_id; 0: it has none of its own */
	uint64_t device_number, inode; /* the same: of its filesystem; of an upper, its folder */
	const char *said_target, *said_inside; /* the same: as written, where links were followed */
	uint32_t made, loop; /* the same: where a name made stands in target; its loop, and 1 */
};

struct idmap_table {
	struct idmap_arena *arena;
	struct idmap_row *first, **tail;
	struct idmap_map *maps, **maps_tail;
	struct idmap_error *errors, **errors_tail;
	uint32_t row_count, map_count, error_count;
	struct idmap_row *rootflags; /* what rootflags= says, once it has been read */
	const char *rootfstype;	     /* the same */
	bool unread; /* some row could not be read at all; it may have been the one for / */
	bool off;    /* idmap=off was said, and no other idmap= counts */
};

/* An empty table whose rows, maps and errors live in `arena`. */
void idmap_table_init(struct idmap_table *table, struct idmap_arena *arena);
/* Adds a file's rows. `name` is kept, and the text not; errors go to the list, and it reads on. */
void idmap_table_file(struct idmap_table *table, const char *name, const char *text, size_t size);
/* Adds what the `number`th idmap= of the command line says; NULL: it has no value. */
void idmap_table_word(struct idmap_table *table, const char *value, uint32_t number);
#define IDMAP_ERRORS_MAX 32
/* Puts an error on the list; so many are kept, all are counted. */
void idmap_table_error(struct idmap_table *table, const struct idmap_place *place, uint32_t column,
		       const char *format, ...) IDMAP_PRINTF(4, 5);
/* A row as a line of a table that says the same (no newline). */
void idmap_row_text(const struct idmap_row *row, struct idmap_text *text);

/* --- the kernel command line and the plan ---------------------------------------------------- */

/* What the kernel's own parameters say of the root (kernel-parameters.txt); NULL: not there. */
struct idmap_root {
	const char *source;	     /* root= */
	const char *type;	     /* rootfstype=, a comma list */
	const char *flags;	     /* rootflags= */
	struct idmap_verity *verity; /* roothash= and its kin, or NULL */
	bool writable;		     /* rw came after ro */
	bool booted;		     /* it stands already, we are in it and not in an initramfs */
	bool others;		     /* somebody has mounted more than that before us */
	const char *folder; /* the caller's: where it stands, absolute and real; NULL: it is / */
	const char *keeps;  /* the same: a path that no row may cover; or NULL */
	bool follows;	    /* the same: links of what is mounted in it count, too */
	bool unmaps;	    /* the same: the map that it has is taken off (6.15) */
	bool shared;	    /* some mount here is shared (mount_namespaces(7)) */
	bool entered;	    /* the same: an initramfs moves its /dev, /proc, /sys, /run into it */
	bool waits;	    /* rootwait was said */
	uint32_t wait_s;    /* then: so long */
};

/* What follows when nothing more can be done. */
enum idmap_onfail {
	IDMAP_ONFAIL_PANIC,
	IDMAP_ONFAIL_REBOOT,
	IDMAP_ONFAIL_POWEROFF,
	IDMAP_ONFAIL_SHELL,
	IDMAP_ONFAIL_HALT,
};

/* What a kernel command line says, but for its rows. Strings live as long as the table. */
struct idmap_cmdline {
	const char *text;   /* as the kernel shows it, NUL-terminated; the caller's */
	const char *sealed; /* the same: what a sealed initramfs lets it say; NULL: it is none */
	size_t cut;	    /* the same: a longer line is cut to so many bytes; or 0 */
	size_t before;	    /* the same: so many of the text are another's, in front of that line */
	struct idmap_notes *notes; /* the same: what is odd and no error; or NULL */
	struct idmap_root root;	   /* root= and its kin */
	const char *init;	   /* init=, or NULL */
	const char *own_init;	   /* idmap.init=, or NULL */
	const char *conf;	   /* idmap.conf=, or NULL */
	enum idmap_onfail onfail;  /* idmap.onfail= */
	uint32_t words;		   /* how many idmap= there were */
	uint32_t root_delay_s;	   /* rootdelay= */
	bool debug;		   /* idmap.debug */
};

/* Reads cmdline->text: the kernel's and our parameters into *cmdline, idmap= into the table. */
void idmap_cmdline_read(struct idmap_cmdline *cmdline, struct idmap_table *table);
/* The options of module `name` (as in its file name): `a=1 b="x y"` from name.a=1 name.b=… */
void idmap_cmdline_module_options(const char *cmdline, const char *name, size_t name_length,
				  struct idmap_text *ret_options);

struct idmap_plan {
	struct idmap_row **row; /* the root, behind its layers; each after what it stands on */
	uint32_t rows;
	uint32_t maps;
	uint32_t maps_at_once;	       /* so many wait for a row at some time, each in a file */
	const struct idmap_root *root; /* the caller's */
	bool new_root;		       /* there is a row for / */
	bool disk_view;		       /* a row clones from another: unmapped trees must be kept */
};

/*
 * Orders the table's rows, fills in what `root` and the defaults say. 0, or -EINVAL with the
 * reasons on the table's list.
 */
int idmap_plan_make(struct idmap_table *table, const struct idmap_root *root,
		    struct idmap_plan *ret_plan);
/* Whether `path` is `folder` or inside it, both as the table keeps them. */
bool idmap_path_inside(const char *path, const char *folder);

/* Maps zeroed memory that costs only what is touched. -errno: ENOMEM. */
int idmap_arena_map(struct idmap_arena *ret_arena, size_t size, struct idmap_error *ret_error);

/* --- devices -------------------------------------------------------------------------------- */

/* Zero but for what is said; the descriptors are closed by the caller. */
struct idmap_devices {
	struct idmap_arena *arena; /* for what is found, and for all disks while one is sought */
	uint64_t start_us;	   /* since when rows wait */
	uint64_t came_us;	   /* when the device came that was waited for; 0: it was there */
	uint64_t looked_us;	   /* when it was looked for the last time */
	const char *modules_cause; /* the caller's: which module did not load, and why; or NULL */
	int uevent_fd;		   /* -1 at first: the kernel's events */
	int stop_fd;		   /* the caller's: waiting ends when it can be read; or -1 */
	const char *name;	   /* of what is waited for, as what follows */
	uint64_t began_us;
	bool told;
};

/*
 * Waits until the row's device can be read, then those that its options name, and finds them where
 * they are named. -EAGAIN: a note says what it waits for; tell it and call again. -ENODEV: it did
 * not come in the row's time. -ENOTUNIQ: two have the name. -EINTR: stop_fd can be read.
 */
int idmap_device_wait(struct idmap_devices *devices, struct idmap_row *row,
		      struct idmap_notes *notes, struct idmap_error *ret_error);

/* --- the stage ------------------------------------------------------------------------------ */

#define IDMAP_BEHIND_SIZE 256 /* of the path behind a link; a longer one is not followed */
/* A mount that stands where we were started and comes along into a new root. */
struct idmap_carried {
	struct idmap_carried *next;
	const char *path; /* absolute, without links */
	/* the stage's own */
	const char *real; /* where that leads in the new root */
	char behind_link[IDMAP_BEHIND_SIZE];
	bool cloned;	 /* a clone of it is there */
	bool left;	 /* the new root has no such folder */
	bool unbindable; /* the caller's: it is, or one in it, so that no clone has it */
	bool stacked;	 /* the same: it covers another mount, which cannot come along */
};

struct idmap_build;

struct idmap_stage {
	const struct idmap_plan *plan;
	struct idmap_notes *notes;
	const char *modules_cause; /* the caller's: which module did not load, and why; or NULL */
	int seen_fd, disk_fd;	   /* O_PATH of their roots, or -1 */
	int area_fd;		   /* of a tmpfs for layers, or -1 */
	uint32_t slots;		   /* how many folders that has */
	struct idmap_build *build; /* whose it is, or NULL */
	const char *workshop;	   /* what the paths begin with where all of it hangs, or NULL */
	int workshop_fd; /* of the folder that the workshop is made in, if it must go; or -1 */
	/* The folders of the last target and of the last source: many rows share them. */
	struct idmap_parent {
		int fd;		  /* or -errno */
		const char *path; /* what stands in it, of which the folder is the first bytes */
		size_t length;	  /* so many, with the last / */
	} target, source;
	struct idmap_carried *carry; /* mounts that come along, in the order in which they do */
	struct idmap_row *placed;    /* in place: the last one, and so on by ->placed_before */
};

/* What is done for a row; the last one may take long for good reasons. */
enum idmap_step {
	IDMAP_STEP_DEVICE, /* its device is looked for and read */
	IDMAP_STEP_SERVER, /* it is mounted, and a server on the host is asked */
	IDMAP_STEP_PLACE,  /* it is put into place, of any other kind */
};

/* Zero but for what is said. */
struct idmap_build {
	struct idmap_table *table;
	struct idmap_plan plan;	      /* by idmap_plan_make(); made anew where links are followed */
	struct idmap_devices devices; /* begun by the caller, who closes its socket */
	struct idmap_notes *notes;
	struct idmap_carried *carry; /* mounts that come along into a new root; or NULL */
	struct idmap_stage stage;    /* in the end it holds the root */
	/* The caller's, or NULL: a step begins, and is taken for a hang after so long. */
	void (*step)(struct idmap_build *build, enum idmap_step step, const struct idmap_row *row,
		     uint32_t limit_s);
	/*
	 * The same: the row's tree is whole, has its numbers, and goes into place next, unless that
	 * gives -errno, with the error filled.
	 */
	int (*place)(struct idmap_build *build, const struct idmap_row *row,
		     struct idmap_error *ret_error);
	/* The same: there are notes; whoever tells them empties the list. */
	void (*tell)(struct idmap_build *build);
	uint64_t row_us; /* when the row at hand was begun, or its device came */
	bool skips;	 /* a row was skipped, by nofail */
	bool followed;	 /* its own: all paths are those that links lead to */
};

/*
 * Carries the plan out: all rows stand, in place or, with a row for /, on the stage, until
 * idmap_stage_done() or _drop(); or nothing is left of any. Links of the root count: rows get the
 * paths that they lead to. Where the plan made anew has errors they are on the table's list alone.
 */
int idmap_build(struct idmap_build *build, struct idmap_error *ret_error);
/* The root is whole: drops all but the seen view. seen_fd leads to the new root. */
void idmap_stage_done(struct idmap_stage *stage);
/* The new root is / by now, `old_fd` leads to that before: moves what comes along uncloned. */
int idmap_stage_carry(struct idmap_stage *stage, int old_fd, struct idmap_error *ret_error);
/*
 * A new root of what stands in a folder takes its place there, with all that is mounted below it,
 * or everything stays as it was. The stage is gone then, in either case.
 */
int idmap_stage_replace(struct idmap_stage *stage, struct idmap_error *ret_error);
/* The old root is gone: takes down what it had of ours and has come along. */
void idmap_stage_close(struct idmap_stage *stage);
/* Takes everything back. */
void idmap_stage_drop(struct idmap_stage *stage);
/* openat2(2) as a process chroot'ed to `root_fd` would, with O_CLOEXEC and more RESOLVE_… flags. */
int idmap_open_inside(int root_fd, const char *path, int flags, uint64_t resolve);
/* Brings along what a path of the new root may lie on and has not come yet, if that can be. */
void idmap_stage_bring(struct idmap_stage *stage, const char *path);
/* Notes that the program at `path` of the new root is nobody's, and which map it needs. */
void idmap_stage_note_program(struct idmap_stage *stage, const char *path, uint32_t uid,
			      uint32_t gid);
#endif
