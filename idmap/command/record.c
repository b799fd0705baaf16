// SPDX-License-Identifier: MIT
/*
 * What idmap(8) has put in place, in files of /run/idmap/apply: a table of each folder, with the
 * kernel's number of each mount in front of its row, so that only what is still the same mount is
 * taken for it. PID 1's own record is another one, and nobody's to change.
 */
#define _GNU_SOURCE
#include <dirent.h>
#include <errno.h>
#include <inttypes.h>
#include <limits.h>
#include <stdlib.h>
#include <string.h>
#include <sys/file.h>
#include <sys/mount.h>
#include <sys/stat.h>

#include "command.h"

#define LOCK RECORDS "/.lock"
/* STATX_MNT_ID_UNIQUE of linux/stat.h, 6.8, and where struct statx has it, in 64 bits each */
#define MNT_ID_UNIQUE 0x4000
#ifndef SYS_statmount
#define SYS_statmount 457 /* 6.8 */
#endif
#define MNT_ID_AT 18
#define BY_HAND RECORDS "/.by-hand"
#define FIRST_LINE "# idmap apply --root "
#define PLAN_LINE "# plan "
#define BEFORE_LINE "# before "
#define MOUNT_LINE "# mount "
#define DONE_LINE "# done"
#define ROW_SIZE (1 << 20)
#define MOUNTS_MEMORY (64 << 20) /* costs what is touched */

int record_lock(const struct command *command, struct idmap_error *ret_error)
{
	int fd;

	if (geteuid())
		return idmap_fail(ret_error, NULL, IDMAP_BAD_SYSTEM, EPERM,
				  "only root can mount; say sudo idmap %s", command->name);
	mkdir("/run", 0755);
	mkdir("/run/idmap", 0755);
	mkdir(RECORDS, 0755);
	fd = open(LOCK, O_RDWR | O_CREAT | O_CLOEXEC | O_NOFOLLOW, 0600);
	if (fd < 0)
		return idmap_fail(ret_error, NULL, IDMAP_BAD_SYSTEM, errno,
				  LOCK " cannot be made (%m); mount a tmpfs on /run");
	if (!flock(fd, LOCK_EX | LOCK_NB))
		return fd;
	fprintf(stderr, "idmap %s: another idmap is at work; waiting for it\n", command->name);
	while (flock(fd, LOCK_EX))
		if (errno != EINTR)
			return idmap_fail(ret_error, NULL, IDMAP_BAD_SYSTEM, errno,
					  LOCK " cannot be locked (%m); mount a tmpfs on /run");
	return fd;
}

/* --- what is mounted ------------------------------------------------------------------------- */

int mounts_read(struct mounts *mounts, struct idmap_error *ret_error)
{
	struct idmap_mountinfo mount;
	char *text;
	size_t size;
	int result =
		mounts->arena.at ? 0 : idmap_arena_map(&mounts->arena, MOUNTS_MEMORY, ret_error);

	if (result)
		return result;
	if (!mounts->start)
		mounts->start = mounts->arena.at;
	mounts->arena.at = mounts->start;
	mounts->count = 0;
	result = idmap_file_read("/proc/self/mountinfo", &mounts->arena, &text, &size);
	if (result)
		return idmap_fail(ret_error, NULL, IDMAP_BAD_SYSTEM, -result,
				  "/proc/self/mountinfo cannot be read (%m); mount /proc");
	while (idmap_mountinfo_next(&text, &mount)) {
		struct idmap_mountinfo *more =
			realloc(mounts->mount, (mounts->count + 1) * sizeof(*more));

		if (!more)
			return idmap_fail(ret_error, NULL, IDMAP_BAD_SYSTEM, ENOMEM, "%m");
		mounts->mount = more;
		more[mounts->count++] = mount;
	}
	return 0;
}

const struct idmap_mountinfo *mounts_at(const struct mounts *mounts, const char *path)
{
	size_t i = mounts->count;

	/* The last one stands on top. */
	while (i--)
		if (!strcmp(mounts->mount[i].target, path))
			return &mounts->mount[i];
	return NULL;
}

/* `number` as mountinfo has it, of what is mounted there. */
static struct mount_id id_of(const char *number, const char *path)
{
	uint64_t answer[32] = {0}; /* struct statx, whose mask comes first */
	struct mount_id id = {strtoull(number, NULL, 10), 0};

	if (!syscall(SYS_statx, AT_FDCWD, path, AT_SYMLINK_NOFOLLOW, MNT_ID_UNIQUE, answer) &&
	    answer[0] & MNT_ID_UNIQUE)
		id.unique = answer[MNT_ID_AT];
	return id;
}

struct mount_id mounts_id(const struct mounts *mounts, const char *path)
{
	const struct idmap_mountinfo *mount = mounts_at(mounts, path);

	return mount ? id_of(mount->id, path) : (struct mount_id){0, 0};
}

/* --- the record ------------------------------------------------------------------------------ */

/* The name of the folder's record: slashes become dashes, as in the units of systemd. */
static void record_path(const char *folder, char path[PATH_MAX])
{
	struct idmap_text text;
	const char *c;

	idmap_text_init(&text, path, PATH_MAX);
	idmap_text_add(&text, RECORDS "/%s", folder[1] ? "" : "-");
	for (c = folder + 1; *c; c++)
		idmap_text_add(&text,
			       *c == '/'    ? "-"
			       : *c == '-'  ? "\\x2d"
			       : *c == '\\' ? "\\x5c"
					    : "%.*s",
			       1, c);
}

/* The path of the row's mount, in the folder that it was applied to. */
char *record_target(const struct record *record, const struct idmap_row *row, char path[PATH_MAX])
{
	const char *folder = strcmp(record->folder, "/") ? record->folder : "";

	snprintf(path, PATH_MAX, "%s%s", folder,
		 idmap_row_is_root(row) && *folder ? "" : row->target);
	return path;
}

int record_begin(struct record *record, const char *folder, uint64_t plan, const char *before,
		 struct idmap_error *ret_error)
{
	char path[PATH_MAX];

	*record = (struct record){.folder = folder, .plan = plan};
	record_path(folder, path);
	record->out = fopen(path, "we");
	if (!record->out) {
		record->error = errno;
		return idmap_fail(ret_error, NULL, IDMAP_BAD_SYSTEM, errno,
				  "%s cannot be written (%m); mount a tmpfs on /run", path);
	}
	fprintf(record->out, FIRST_LINE "%s\n" PLAN_LINE "%" PRIx64 "\n", folder, plan);
	if (before)
		fprintf(record->out, BEFORE_LINE "%s\n", before);
	return 0;
}

int record_go_on(struct record *record, struct idmap_error *ret_error)
{
	*record = (struct record){.folder = "/", .out = fopen(BY_HAND, "ae")};
	return record->out ? 0
			   : idmap_fail(ret_error, NULL, IDMAP_BAD_SYSTEM, errno,
					BY_HAND " cannot be written (%m); mount a tmpfs on /run");
}

void record_row(struct record *record, const struct idmap_row *row, struct mount_id id)
{
	char *line = malloc(ROW_SIZE);
	struct idmap_text text;

	if (!line)
		return;
	idmap_text_init(&text, line, ROW_SIZE);
	idmap_row_text(row, &text);
	if (id.number)
		fprintf(record->out, MOUNT_LINE "%" PRIu64 " %" PRIu64 "\n", id.number, id.unique);
	fprintf(record->out, "%s\n", line);
	fflush(record->out);
	free(line);
}

int record_end(struct record *record, struct idmap_error *ret_error)
{
	/* The one of rows by hand has no end. */
	const bool failed = !record->out ||
			    (record->plan && fputs(DONE_LINE "\n", record->out) < 0) ||
			    fclose(record->out);

	const int error = record->out ? errno : record->error;

	record->out = NULL;
	return failed ? idmap_fail(ret_error, NULL, IDMAP_BAD_SYSTEM, error,
				   "what was done cannot be recorded in " RECORDS " (%m)")
		      : 0;
}

void record_remove(const char *folder)
{
	char path[PATH_MAX];

	record_path(folder, path);
	unlink(path);
}

static bool take_line(const char *text, const char *name)
{
	return !strncmp(text, name, strlen(name));
}

/* The number in front of each line that is a row. */
static void read_ids(struct record *record, const char *text)
{
	const struct idmap_row *row = record->table.first;
	struct mount_id id = {0, 0};
	uint32_t line;

	for (line = 1; row && *text; line++, text = strchrnul(text, '\n') + 1) {
		if (take_line(text, PLAN_LINE))
			record->plan = strtoull(text + strlen(PLAN_LINE), NULL, 16);
		if (take_line(text, BEFORE_LINE))
			record->before = strndup(text + strlen(BEFORE_LINE),
						 strcspn(text + strlen(BEFORE_LINE), "\n"));
		if (take_line(text, MOUNT_LINE))
			sscanf(text + strlen(MOUNT_LINE), "%" SCNu64 " %" SCNu64, &id.number,
			       &id.unique);
		if (row->place.line != line)
			continue;
		record->row[record->count++] = (struct recorded){row, id};
		row = row->next;
		id = (struct mount_id){0, 0};
	}
}

static bool read_record(struct record *record, const char *path)
{
	struct idmap_error unused;
	char *text;
	size_t size;

	if (idmap_table_text(path, "", &record->arena, &text, &size, &unused))
		return false;
	idmap_table_init(&record->table, &record->arena);
	idmap_table_file(&record->table, path, text, size);
	record->row = calloc(record->table.row_count + 1, sizeof(*record->row));
	if (!record->row)
		return false;
	read_ids(record, text);
	record->done = strstr(text, "\n" DONE_LINE "\n");
	return true;
}

bool record_read(struct record *record, const char *folder)
{
	char path[PATH_MAX];

	*record = (struct record){.folder = folder};
	record_path(folder, path);
	return read_record(record, path);
}

/* Whether there is a mount of that unique number, wherever it may be by now. */
static bool exists(uint64_t unique)
{
	uint64_t answer[64],
		request[3] = {24, unique, 0x2}; /* struct mnt_id_req, STATMOUNT_MNT_BASIC */

	return !syscall(SYS_statmount, request, answer, sizeof(answer), 0);
}

bool record_stands(const struct record *record, const struct recorded *recorded,
		   const struct mounts *mounts)
{
	char path[PATH_MAX];
	size_t i;

	if (!recorded->id.number)
		return false;
	/* A number is given anew when its mount is gone, a unique one (6.8) is not. */
	if (recorded->id.unique)
		return exists(recorded->id.unique);
	record_target(record, recorded->row, path);
	for (i = 0; i < mounts->count; i++)
		if (strtoull(mounts->mount[i].id, NULL, 10) == recorded->id.number &&
		    !strcmp(mounts->mount[i].target, path))
			return true;
	return false;
}

size_t record_gone(const struct record *record, const struct mounts *mounts)
{
	size_t i, gone = 0;

	for (i = 0; i < record->count; i++)
		gone += record->row[i].id.number && !record_stands(record, &record->row[i], mounts);
	return gone;
}

/* --- taking it back ----------------------------------------------------------------------------
 */

bool recorded_is_root(const struct recorded *recorded)
{
	return idmap_row_is_root(recorded->row) && !(recorded->row->flags & IDMAP_LAYER);
}

/* Writes anew what is left of it: the rows before `count`. */
static void record_rest(const struct record *record, size_t count)
{
	struct record rest;
	struct idmap_error unused;
	size_t i;

	if (!count || record_begin(&rest, record->folder, record->plan, record->before, &unused))
		return;
	for (i = 0; i < count; i++)
		record_row(&rest, record->row[i].row, record->row[i].id);
	record_end(&rest, &unused);
}

/* Unmounts what came along with a row that shows it, too. */
static int unmount_inside(const struct mounts *mounts, const char *path)
{
	size_t i = mounts->count;

	while (i--)
		if (idmap_path_inside(mounts->mount[i].target, path) &&
		    strcmp(mounts->mount[i].target, path) &&
		    umount2(mounts->mount[i].target, UMOUNT_NOFOLLOW))
			return -errno;
	return 0;
}

/* Unmounts one row that stands. */
static int undo_row(const struct record *record, const struct recorded *recorded,
		    const struct mounts *mounts, struct idmap_error *ret_error)
{
	char path[PATH_MAX];
	struct mount_id top = mounts_id(mounts, record_target(record, recorded->row, path));
	int result = 0;

	if (top.number != recorded->id.number || top.unique != recorded->id.unique)
		return idmap_fail(ret_error, NULL, IDMAP_BAD_SYSTEM, EBUSY,
				  "what was put on %s is covered by another mount by now, or was"
				  " moved; unmount that first",
				  path);
	if (recorded->row->flags & IDMAP_RBIND)
		result = unmount_inside(mounts, path);
	if (!result)
		result = or_errno(umount2(path, UMOUNT_NOFOLLOW));
	return result ? idmap_fail(ret_error, NULL, IDMAP_BAD_SYSTEM, -result,
				   "%s cannot be unmounted (%m); end what uses it (fuser -m %s), or"
				   " unmount what was mounted in it, and say idmap undo again",
				   path, path)
		      : 0;
}

int undo_rows(struct record *record, struct mounts *mounts, struct idmap_error *ret_error)
{
	size_t i;
	int result;

	for (i = record->count; i--;) {
		const struct recorded *recorded = &record->row[i];

		if (recorded_is_root(recorded) || !record_stands(record, recorded, mounts))
			continue;
		result = undo_row(record, recorded, mounts, ret_error);
		if (!result)
			result = mounts_read(mounts, ret_error);
		if (result) {
			record_rest(record, i + 1);
			return result;
		}
	}
	return 0;
}

/* --- the maps of all records ----------------------------------------------------------------- */

/* Whether the path ends in the row's target: the folder may be / by now. */
static bool ends_in(const char *path, const char *target)
{
	const size_t length = strlen(path), end = strlen(target);

	return !strcmp(target, "/") || (length >= end && !strcmp(path + length - end, target));
}

const struct idmap_map *records_map(const struct idmap_mountinfo *mount)
{
	const struct mount_id id = id_of(mount->id, mount->target);
	DIR *folder = opendir(RECORDS);
	const struct idmap_map *map = NULL;
	struct dirent *entry;

	while (folder && !map && (entry = readdir(folder))) {
		struct record record = {.folder = ""};
		char path[PATH_MAX];
		size_t i;

		snprintf(path, sizeof(path), RECORDS "/%s", entry->d_name);
		if (!read_record(&record, path))
			continue;
		for (i = 0; i < record.count; i++)
			if (record.row[i].id.number == id.number &&
			    record.row[i].id.unique == id.unique &&
			    ends_in(mount->target, record.row[i].row->target))
				map = record.row[i].row->map;
	}
	if (folder)
		closedir(folder);
	return map;
}
