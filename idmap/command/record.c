// SPDX-License-Identifier: MIT
/*
 * What idmap(8) has put in place, in files of /run/idmap/apply: a table of each folder, with the
 * kernel's number of each mount in front of its row, so that only what is still the same mount is
 * taken for it. A row is written before its mount is in place: whenever one is killed, what stands
 * is known. PID 1's own record is another one, and nobody's to change.
 */
#define _GNU_SOURCE
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <limits.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

#include "command.h"

#define BOOT "/run/idmap/table"	    /* PID 1's */
#define BY_HAND RECORDS "/.by-hand" /* of one mount namespace, as each is */
#define FIRST_LINE "# idmap apply --root "
#define PLAN_LINE "# plan "
#define BEFORE_LINE "# before "
#define REPLACES_LINE "# replaces "
#define INSIDE_LINE "# inside "
#define ALONG_LINE "# along "
#define DONE_LINE "# done"
#define HALFWAY_LINE "# halfway"
#define STOOD_ON_LINE "# stood on "

/* --- the record ------------------------------------------------------------------------------ */

/* What is mounted is of one mount namespace, and others may have the same /run. */
static void add_namespace(struct idmap_text *text)
{
	struct stat space;

	if (!stat("/proc/self/ns/mnt", &space))
		idmap_text_add(text, "@%lu", (unsigned long)space.st_ino);
}

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
	add_namespace(&text);
}

const char *record_target(const struct record *record, const struct idmap_row *row,
			  char path[PATH_MAX])
{
	return idmap_path_join(path, record->folder, row->target);
}

/* To be written anew, or at its end; whatever the umask is, by nobody else. NULL: errno says why.
 */
static FILE *open_to_write(const char *path, int how)
{
	int fd = open(path, O_WRONLY | O_CREAT | O_CLOEXEC | how, 0644);
	FILE *out = fd < 0 ? NULL : fdopen(fd, how & O_APPEND ? "a" : "w");

	if (!out)
		idmap_close(&fd);
	return out;
}

/* What was written is there, or the line says why not. */
static int flush(const struct record *record, const char *path, struct idmap_error *ret_error)
{
	return record->out && !fflush(record->out) && !ferror(record->out)
		       ? 0
		       : idmap_fail(ret_error, NULL, IDMAP_BAD_SYSTEM, errno,
				    "%s cannot be written (%m); make room on /run, or mount a tmpfs"
				    " there",
				    path);
}

int record_begin(struct record *record, const char *folder, uint64_t plan, const char *before,
		 struct idmap_mount_id replaces, struct idmap_error *ret_error)
{
	char path[PATH_MAX];

	*record = (struct record){.folder = folder, .plan = plan};
	record_path(folder, path);
	record->out = open_to_write(path, O_TRUNC);
	if (record->out) {
		fprintf(record->out, FIRST_LINE "%s\n" PLAN_LINE "%" PRIx64 "\n", folder, plan);
		if (before)
			fprintf(record->out, BEFORE_LINE "%s\n", before);
		if (replaces.number)
			fprintf(record->out, REPLACES_LINE "%" PRIu64 " %" PRIu64 "\n",
				replaces.number, replaces.unique);
	}
	return flush(record, path, ret_error);
}

char *row_line(const struct idmap_row *row)
{
	char *line = malloc(ROW_SIZE);
	struct idmap_text text;

	if (!line)
		return NULL;
	idmap_text_init(&text, line, ROW_SIZE);
	idmap_row_text(row, &text);
	return line;
}

int record_row(struct record *record, const struct idmap_row *row, struct idmap_mount_id id,
	       struct idmap_error *ret_error)
{
	char *line = row_line(row);

	if (!line)
		return idmap_fail(ret_error, NULL, IDMAP_BAD_SYSTEM, ENOMEM, "%m");
	if (row->found_attr)
		fprintf(record->out, IDMAP_FOUND_LINE "%u\n", row->found_attr);
	if (id.number)
		fprintf(record->out, IDMAP_MOUNT_LINE "%" PRIu64 " %" PRIu64 "\n", id.number,
			id.unique);
	fprintf(record->out, "%s\n", line);
	free(line);
	return flush(record, RECORDS, ret_error);
}

void record_inner(struct record *record, struct inner_mount inner)
{
	fprintf(record->out, "%s%" PRIu64 " %" PRIu64 "\n", inner.along ? ALONG_LINE : INSIDE_LINE,
		inner.id.number, inner.id.unique);
}

int record_end(struct record *record, bool done, struct idmap_error *ret_error)
{
	int result;

	/* The one of rows by hand has no end. */
	if (record->plan && done)
		fputs(DONE_LINE "\n", record->out);
	if (record->halfway)
		fprintf(record->out, HALFWAY_LINE "\n" STOOD_ON_LINE "%" PRIu64 "\n",
			record->stood_on);
	result = flush(record, RECORDS, ret_error);
	fclose(record->out);
	record->out = NULL;
	return result;
}

void record_goes(struct record *record, uint64_t stood_on)
{
	char path[PATH_MAX];
	FILE *out;

	record->stood_on = stood_on;
	record_path(record->folder, path);
	out = open_to_write(path, O_APPEND);
	if (!out)
		return;
	fprintf(out, HALFWAY_LINE "\n" STOOD_ON_LINE "%" PRIu64 "\n", stood_on);
	fclose(out);
}

void record_drop(struct record *record)
{
	char path[PATH_MAX];

	if (!record->out)
		return;
	if (!record->plan && ftruncate(fileno(record->out), record->start))
		fputs("idmap: " BY_HAND " keeps a row that does not stand\n", stderr);
	fclose(record->out);
	record->out = NULL;
	record_path(record->folder, path);
	if (record->plan)
		unlink(path);
}

void record_remove(const char *folder)
{
	char path[PATH_MAX];

	record_path(folder, path);
	unlink(path);
}

/* What stands behind the name that a line begins with; NULL: it begins otherwise. */
static const char *behind(const char *line, const char *name)
{
	return strncmp(line, name, strlen(name)) ? NULL : line + strlen(name);
}

static struct idmap_mount_id read_id(const char *numbers)
{
	struct idmap_mount_id id = {0};

	sscanf(numbers, "%" SCNu64 " %" SCNu64, &id.number, &id.unique);
	return id;
}

static char *copy_line(const char *text)
{
	return strndup(text, strcspn(text, "\n"));
}

static void add_inner(struct record *record, const char *numbers, bool along)
{
	struct inner_mount *more =
		realloc(record->inner, (record->inner_count + 1) * sizeof(*more));

	if (!more)
		return;
	record->inner = more;
	more[record->inner_count++] = (struct inner_mount){read_id(numbers), along};
}

/* The comments: the number in front of each line that is a row, and what concerns all of it. */
static void read_comments(struct record *record, const char *text)
{
	struct idmap_row *row = record->table.first;
	struct idmap_mount_id id = {0};
	uint32_t found = 0;
	uint32_t line;

	for (line = 1; *text; line++, text = strchrnul(text, '\n'), text += *text == '\n') {
		const char *value;

		if (row && row->place.line == line) {
			row->found_attr = found;
			record->row[record->count++] = (struct recorded){row, id};
			row = row->next;
			id = (struct idmap_mount_id){0};
			found = 0;
		} else if ((value = behind(text, FIRST_LINE))) {
			record->folder = copy_line(value);
		} else if ((value = behind(text, PLAN_LINE))) {
			record->plan = strtoull(value, NULL, 16);
		} else if ((value = behind(text, BEFORE_LINE))) {
			record->before = copy_line(value);
		} else if ((value = behind(text, REPLACES_LINE))) {
			record->replaces = read_id(value);
		} else if ((value = behind(text, IDMAP_MOUNT_LINE))) {
			id = read_id(value);
		} else if ((value = behind(text, IDMAP_FOUND_LINE))) {
			found = (uint32_t)strtoul(value, NULL, 10);
		} else if ((value = behind(text, INSIDE_LINE))) {
			add_inner(record, value, false);
		} else if ((value = behind(text, ALONG_LINE))) {
			add_inner(record, value, true);
		} else if (behind(text, DONE_LINE)) {
			record->done = true;
		} else if ((value = behind(text, STOOD_ON_LINE))) {
			record->stood_on = strtoull(value, NULL, 10);
		} else if (behind(text, HALFWAY_LINE)) {
			record->halfway = true;
		}
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
	read_comments(record, text);
	return true;
}

bool record_read(struct record *record, const char *folder)
{
	char path[PATH_MAX];

	*record = (struct record){.folder = folder};
	record_path(folder, path);
	return read_record(record, path);
}

void records_read(struct records *records)
{
	DIR *folder = opendir(RECORDS);
	struct dirent *entry;
	char path[PATH_MAX];

	*records = (struct records){.boot.folder = "/"};
	if (!read_record(&records->boot, BOOT))
		records->boot.count = 0;
	while (folder && (entry = readdir(folder))) {
		struct record *more =
			realloc(records->record, (records->count + 1) * sizeof(*more));

		if (!more)
			break;
		records->record = more;
		more[records->count] = (struct record){.folder = ""};
		snprintf(path, sizeof(path), RECORDS "/%s", entry->d_name);
		records->count += read_record(&more[records->count], path);
	}
	if (folder)
		closedir(folder);
}

bool record_stands(const struct record *record, const struct recorded *recorded,
		   const struct mounts *mounts)
{
	char path[PATH_MAX];

	return mounts_have(mounts, recorded->id, record_target(record, recorded->row, path));
}

size_t record_count(const struct record *record, const struct mounts *mounts, bool standing)
{
	size_t i, count = 0;

	for (i = 0; i < record->count; i++)
		count += record->row[i].id.number &&
			 record_stands(record, &record->row[i], mounts) == standing;
	return count;
}

/* What was unmounted since goes, so that the file does not grow for ever; or all stays. */
static void drop_gone(const char *path, const struct mounts *mounts)
{
	struct record record = {.folder = "/"}, rest = {.folder = "/"};
	struct idmap_error unused;
	char new[PATH_MAX];
	size_t i;
	int result;

	if (!read_record(&record, path) || !record_count(&record, mounts, false))
		return;
	idmap_print(new, sizeof(new), "%s.new", path);
	rest.out = open_to_write(new, O_TRUNC);
	for (i = 0; rest.out && i < record.count; i++)
		if (record_stands(&record, &record.row[i], mounts))
			record_row(&rest, record.row[i].row, record.row[i].id, &unused);
	result = flush(&rest, new, &unused);
	if (rest.out)
		fclose(rest.out);
	if (result || rename(new, path))
		unlink(new);
}

int record_go_on(struct record *record, const struct mounts *mounts, struct idmap_error *ret_error)
{
	char path[PATH_MAX];
	struct idmap_text text;

	idmap_text_init(&text, path, sizeof(path));
	idmap_text_add(&text, BY_HAND);
	add_namespace(&text);
	drop_gone(path, mounts);
	*record = (struct record){.folder = "/", .out = open_to_write(path, O_APPEND)};
	/* Where a stream that appends begins is not said before it has written. */
	if (record->out && !fseek(record->out, 0, SEEK_END))
		record->start = ftell(record->out);
	return flush(record, path, ret_error);
}

bool recorded_is_root(const struct recorded *recorded)
{
	return idmap_row_is_root(recorded->row) && !(recorded->row->flags & IDMAP_LAYER);
}

bool record_maps_root(const struct record *record)
{
	size_t i;

	for (i = 0; i < record->count; i++)
		if (recorded_is_root(&record->row[i]) && record->row[i].row->map)
			return true;
	return false;
}

const struct recorded *record_row_of(const struct record *record,
				     const struct idmap_mountinfo *mount)
{
	const struct idmap_mount_id id = mount_id_listed(mount);
	size_t i;

	for (i = 0; i < record->count; i++)
		if (mount_alike(record->row[i].id, id))
			return &record->row[i];
	return NULL;
}

const struct inner_mount *record_inner_of(const struct record *record,
					  const struct idmap_mountinfo *mount)
{
	const struct idmap_mount_id id = mount_id_listed(mount);
	size_t i;

	for (i = 0; i < record->inner_count; i++)
		if (mount_alike(record->inner[i].id, id))
			return &record->inner[i];
	return NULL;
}

/* --- the rows of all records ----------------------------------------------------------------- */

/* Whether the path ends in the row's target: the folder may be / by now. */
static bool ends_in(const char *path, const char *target)
{
	const size_t length = strlen(path), end = strlen(target);

	return !strcmp(target, "/") || (length >= end && !strcmp(path + length - end, target));
}

const struct idmap_row *records_row(const struct records *records,
				    const struct idmap_mountinfo *mount,
				    const struct record **ret_record)
{
	size_t i;

	/* PID 1's is the last. */
	for (i = 0; i <= records->count; i++) {
		const struct record *record =
			i < records->count ? &records->record[i] : &records->boot;
		const struct recorded *recorded = record_row_of(record, mount);

		if (recorded && ends_in(mount->target, recorded->row->target)) {
			*ret_record = record;
			return recorded->row;
		}
	}
	return NULL;
}
