/* SPDX-License-Identifier: MIT */
/*
 * command.h - idmap(8): the table for people, on the machine where an image is built and on one
 * that runs. Each command is a file; all of them read a table in the same way, with the words of a
 * boot.
 */
#ifndef COMMAND_H
#define COMMAND_H

#include <limits.h>
#include <stdio.h>

#include "device/device.h"
#include "mount/mount.h"

/* Exit codes are PID 1's classes; wrong use is that of a wrong table. */
enum { EXIT_DONE = 0, EXIT_FAILED = IDMAP_BAD_SYSTEM, EXIT_BAD_USE = IDMAP_BAD_TABLE };

/* What a table says, and where it says it. */
struct input {
	const char *conf, *cmdline; /* -c and -k; NULL: not given */
	const char *sealed;	    /* --sealed: the words of a seal; NULL: there is none */
	const char *folder;	    /* --root, below which it is carried out; NULL: by a boot */
	bool json;
	struct idmap_arena arena[2], notes_arena;
	struct idmap_notes notes;
	struct idmap_cmdline parameters;
	struct idmap_table table;
	struct idmap_plan plan;
};

struct command {
	const char *name, *usage, *help;
	int (*run)(int argc, char **argv); /* argv[0] is the command's name; gives the exit code */
};

extern const struct command command_apply, command_check, command_id, command_mount, command_plan,
	command_show, command_suggest, command_undo;

/* --- input.c --------------------------------------------------------------------------------- */

/* A string from outside as a message has it, control characters escaped. */
const char *one_line(const char *string);
/* Wrong use: says `words` about `what`, and how to see what is right. */
int bad_use(const struct command *command, const char *what, const char *words);
/*
 * realpath(3), with one / at the front, as the kernel has it in mountinfo: musl's leaves two there.
 * NULL, and errno.
 */
char *real_path(const char *path, char real[PATH_MAX]);
/* The folder that --root names, absolute and real; NULL, and *ret_code: it is none. */
const char *real_folder(const struct command *command, const char *folder, int *ret_code);
/* Tells why the command failed, and gives the exit code. */
int tell_failed(const struct command *command, const struct idmap_error *error);
/* Of what take_input() does not take. */
#define NO_OPTION "no option, one without its value, or one that is given twice"
/*
 * Takes an option that all tables are named with: -c, -k, --root, --sealed, --json; true: it was
 * one. `at` is the index of the option, and becomes that of its value.
 */
bool take_input(struct input *input, int argc, char **argv, int *at);
/* A map as an option text, and what is wrong with it. */
struct option_map {
	struct idmap_row row; /* its place is what errors begin with; the caller's */
	struct idmap_arena arena;
	struct idmap_table table;
};

/* Reads it as a row's options; map->row.map is NULL where they say none, or there are errors. */
int read_map(struct option_map *map, const char *text, struct idmap_error *ret_error);
/* An empty table, with memory for one. */
int read_nothing(struct input *input, struct idmap_error *ret_error);
/*
 * The root is what stands on that folder, absolute and without links. root.entered is set before,
 * where that is an initramfs' root, whose place is not known yet.
 */
void set_root(struct input *input, const char *folder);
/*
 * Reads the table and makes the plan. -errno: it cannot be read, *ret_error says why. What is wrong
 * with it stands in input->table, what is odd in input->notes.
 */
int read_input(struct input *input, struct idmap_error *ret_error);
/* Prints notes on stderr, and empties the list. */
void print_notes(struct idmap_notes *notes);
/* Tells what read_input() has found, on stderr; gives the exit code so far. */
int tell_input(struct input *input);

/* --- mounts.c -------------------------------------------------------------------------------- */

/* What is mounted, by /proc/self/mountinfo. */
struct mounts {
	struct idmap_arena arena;
	char *start;
	struct idmap_mountinfo *mount;
	size_t count;
};

/* The mount that a path leads to, or with an empty one the descriptor. */
static inline struct idmap_mount_id mount_id_of(int dir_fd, const char *path)
{
	return idmap_mount_id(dir_fd, path, true);
}

static inline bool mount_same(struct idmap_mount_id a, struct idmap_mount_id b)
{
	return a.number == b.number && a.unique == b.unique;
}

/*
 * By what both have. PID 1 notes the unique number alone, where there is one, and one that is
 * covered has the other alone.
 */
static inline bool mount_alike(struct idmap_mount_id a, struct idmap_mount_id b)
{
	const bool numbers = a.number && b.number, unique = a.unique && b.unique;

	return (numbers || unique) && (!numbers || a.number == b.number) &&
	       (!unique || a.unique == b.unique);
}

#define WORKSHOP_NAME "/.idmap" /* in /run: the library's, mounted while it works */

/* Reads anew what is mounted. */
int mounts_read(struct mounts *mounts, struct idmap_error *ret_error);
/* Whether something else is mounted in the folder, or on it, by now. */
bool mounts_changed(const struct mounts *before, const char *folder);
/* That of a mount on the list; without the unique one where another covers it. */
struct idmap_mount_id mount_id_listed(const struct idmap_mountinfo *mount);
/* The mount on top at that very path; its numbers are 0: nothing is mounted there. */
struct idmap_mount_id mount_id_on(const char *path);
/* The same as it is listed, or NULL. */
const struct idmap_mountinfo *mounts_at(const struct mounts *mounts, const char *path);
/* What it is mounted on; NULL: that is not to be seen. */
const struct idmap_mountinfo *mounts_parent(const struct mounts *mounts,
					    const struct idmap_mountinfo *mount);
/* Whether it is mounted inside the mount of that number. */
bool mounts_inside(const struct mounts *mounts, const struct idmap_mountinfo *mount,
		   uint64_t number);
/* Whether it is still there, wherever; where numbers are given anew, at that path. */
bool mounts_have(const struct mounts *mounts, struct idmap_mount_id id, const char *path);

/* --- realinit.c ------------------------------------------------------------------------------ */

/* Notes what is wrong with the real init in a folder that is to become what the row, of /, shows.
 */
void init_look(struct input *input, const struct idmap_row *row, const char *folder);

/* --- late.c: what does not answer is told ------------------------------------------------------
 */

void late_begin(void);
/* A step of idmap_build(), which is told of once it takes longer than that. */
void late_step(enum idmap_step step, const struct idmap_row *row, uint32_t limit_s);
void late_end(void);

/* --- lock.c ---------------------------------------------------------------------------------- */

/* One idmap works at a time: a descriptor that is the lock, or -errno. Waits, and says so. */
int record_lock(const struct command *command, struct idmap_error *ret_error);
/*
 * From now on no signal that can be caught ends us. Gives a descriptor that can be read once there
 * is one, open until the program ends, or -1.
 */
int hold_signals(void);

/* --- record.c: what was put in place ---------------------------------------------------------- */

#define RECORDS "/run/idmap/apply"
#define ROW_SIZE (1 << 20) /* of a row's text, with its NUL */

struct recorded {
	const struct idmap_row *row;
	struct idmap_mount_id id; /* 0: it has no mount of its own */
};

/* A mount that is no row, on a row's tree. */
struct inner_mount {
	struct idmap_mount_id id;
	bool along; /* it was in the folder before; false: a row shows it with its tree */
};

/* What stands in the record of a folder. */
struct record {
	const char *folder; /* absolute and real */
	FILE *out;	    /* while it is written */
	long start;	    /* where in it rows by hand begin */
	struct idmap_arena arena;
	struct idmap_table table;
	struct recorded *row;
	size_t count;
	struct inner_mount *inner;
	size_t inner_count;
	uint64_t plan; /* a number for the table as it was written; 0: rows by hand */
	const char
		*before; /* the options of the folder's mount, where that was replaced; or NULL */
	struct idmap_mount_id replaces; /* that mount */
	uint64_t stood_on; /* the number of what the root stood on when an undo began; or 0 */
	bool done;	   /* it was not interrupted */
	bool halfway;	   /* an undo has stopped, and these rows are left */
};

struct records {
	struct record *record;
	size_t count;
	struct record boot; /* PID 1's; without rows: there is none */
};

/* A new record of the folder, row by row. */
int record_begin(struct record *record, const char *folder, uint64_t plan, const char *before,
		 struct idmap_mount_id replaces, struct idmap_error *ret_error);
/* The one of rows by hand goes on, without those that are not there any more. */
int record_go_on(struct record *record, const struct mounts *mounts, struct idmap_error *ret_error);
/* Before the row's mount is in place. -errno: it cannot be written. */
int record_row(struct record *record, const struct idmap_row *row, struct idmap_mount_id id,
	       struct idmap_error *ret_error);
/* Once all rows are in place. */
void record_inner(struct record *record, struct inner_mount inner);
int record_end(struct record *record, bool done, struct idmap_error *ret_error);
/*
 * Before an undo, where the folder's mount stands on the one of that number: for the next one, if
 * this is killed. An undo does not need the room that there may not be.
 */
void record_goes(struct record *record, uint64_t stood_on);
/* Nothing of it stands. */
void record_drop(struct record *record);
void record_remove(const char *folder);
/* Reads the record of a folder; false: there is none. */
bool record_read(struct record *record, const char *folder);
/* The row as a table has it, to be freed; NULL: there is no memory. */
char *row_line(const struct idmap_row *row);
/* All that are readable. */
void records_read(struct records *records);
/* Where the row is mounted. Gives `path`. */
const char *record_target(const struct record *record, const struct idmap_row *row,
			  char path[PATH_MAX]);
/* Whether the row's mount is still there. */
bool record_stands(const struct record *record, const struct recorded *recorded,
		   const struct mounts *mounts);
/* How many of the rows that have mounts are still there, or are not any more. */
size_t record_count(const struct record *record, const struct mounts *mounts, bool standing);
/* The row whose mount it is; NULL: it is none's. */
const struct recorded *record_row_of(const struct record *record,
				     const struct idmap_mountinfo *mount);
/* What the record says of a mount that is no row; NULL: it is somebody's since. */
const struct inner_mount *record_inner_of(const struct record *record,
					  const struct idmap_mountinfo *mount);
/* It is the folder itself. */
bool recorded_is_root(const struct recorded *recorded);
/* One of its rows has given the folder itself a map. */
bool record_maps_root(const struct record *record);
/* The row that apply, mount or PID 1 has recorded for that mount, and its record; or NULL. */
const struct idmap_row *records_row(const struct records *records,
				    const struct idmap_mountinfo *mount,
				    const struct record **ret_record);

/* --- root.c: the folder itself ---------------------------------------------------------------- */

/*
 * What is mounted in the folder, which comes along where that is replaced: to build->carry. -errno:
 * it cannot be replaced; `row`, or NULL, is the one that wants it. Rows of `but`, or NULL, will be
 * gone by then.
 */
int read_carried(struct idmap_build *build, const struct mounts *mounts, struct idmap_arena *arena,
		 const char *folder, const struct record *but, const struct idmap_row *row,
		 struct idmap_error *ret_error);
/*
 * Carries out the plan; where it has a row for / that takes the folder's place. `before`: what was
 * mounted when it was looked at; an error, and nothing is done, if others have changed that.
 */
int replace_folder(struct idmap_build *build, const struct mounts *before,
		   struct idmap_error *ret_error);
/*
 * The folder's mount gives its place to its clone without the map, and with the options that it had
 * before the record's apply; rows that stand go with it. `asks`: tells only what would stand in the
 * way.
 */
int unmap_folder(const struct record *record, bool asks, struct idmap_error *ret_error);
/* Takes down what an interrupted idmap has left. Only under the lock. */
void take_down_stale(const struct command *command, const struct mounts *mounts);
/* The new root stands beneath the old one still: that alone stays. */
int put_back_folder(const char *folder, struct idmap_error *ret_error);

/* --- inner.c --------------------------------------------------------------------------------- */

/*
 * Records the mounts on the rows of what was built; `mounts` is read anew, and is none whose paths
 * build->carry has.
 */
int record_all_inner(struct record *record, const struct idmap_build *build, struct mounts *mounts,
		     struct idmap_error *ret_error);

/* --- peers.c --------------------------------------------------------------------------------- */

/*
 * Before the row's mount is in place, one in a folder that is not replaced or the one that replaces
 * it: notes where else it will be seen, by the mounts of before the first row. -errno: that is a
 * place of the table's.
 */
int peers_look(const struct record *record, const struct idmap_plan *plan,
	       const struct mounts *mounts, const struct idmap_row *row, struct idmap_notes *notes,
	       struct idmap_error *ret_error);

/* --- undo.c ---------------------------------------------------------------------------------- */

/* Takes back what stands of a record, all or what an error leaves, which is recorded then. */
int take_back(struct record *record, struct mounts *mounts, struct idmap_error *ret_error);

/* --- earlier.c ------------------------------------------------------------------------------- */

/*
 * What has been put in place in the folder already, for an apply of a plan with that number.
 * 1: all of it. 0: nothing that stands in the way, or no more. -errno: something does. `mounts` are
 * of now, and after it.
 */
int look_earlier(const struct idmap_plan *plan, uint64_t number, const char *folder,
		 struct mounts *mounts, struct idmap_error *ret_error);
/*
 * Whether each row that an apply to the folder has put in place is what is seen there, but the one
 * of / itself, of which others may make another root. -errno: one is not.
 */
int verify_earlier(const char *folder, struct idmap_error *ret_error);

/* --- apply.c --------------------------------------------------------------------------------- */

/*
 * Carries out what `read` gives, below that folder, and records it: as a row by hand if `record` is
 * false. An exit code.
 */
int apply_input(const struct command *command, struct input *input, const char *folder, bool record,
		int (*read)(struct input *input, struct idmap_error *ret_error));

/* --- json.c ---------------------------------------------------------------------------------- */

/* A string with its quotes. Bytes that are no UTF-8 become \udcXX, as Python's surrogateescape. */
void json_string(FILE *out, const char *string);
/* `[[disk, seen, count], …]` */
void json_extents(FILE *out, const struct idmap_map *map, enum idmap_kind kind);
/* `{"uids": …, "gids": …}` or null. */
void json_map(FILE *out, const struct idmap_map *map);

#endif
