// SPDX-License-Identifier: MIT
/*
 * What is written to the disk of a row that says ro: by its filesystem's driver while it is
 * mounted, as it does for mount(8), or by another row. The image is another one then for all who
 * share it, which is told.
 */
#include <string.h>
#include <sys/ioctl.h>
#include <sys/mount.h> /* BLKROGET */
#include <sys/stat.h>
#include <sys/sysmacros.h>

#include "mount/standing.h"
#include "mount/sys.h"

static bool has_option(const char *item, const char *option)
{
	while (*item && strcmp(item, option))
		item += strlen(item) + 1;
	return *item;
}

/* Whether the row says that no journal is to be replayed. */
static bool is_without_replay(const struct idmap_row *row)
{
	static const char *const words[] = {"noload", "norecovery", "nologreplay",
					    "rescue=nologreplay", "rescue=all"};
	size_t i;

	for (i = 0; i < COUNT_OF(words); i++)
		if (has_option(row->root_data, words[i]) || has_option(row->data, words[i]))
			return true;
	return false;
}

/*
 * Whether mounting it is to write to the device though the row says ro, as the superblock tells: a
 * journal that a crash has left is replayed, and files that were deleted while they were open are
 * given up (fs/ext4/orphan.c), the latter also without the journal.
 */
static bool is_to_be_written(const struct idmap_row *row, const char *type)
{
	static const struct {
		const char *type;
		uint32_t at, mask; /* of a little-endian number in the superblock */
		bool replay;	   /* "noload" and its kin leave it out */
	} dirty[] = {
		{"ext4", 1024 + 96, 0x4, true},	      /* s_feature_incompat, INCOMPAT_RECOVER */
		{"ext4", 1024 + 232, ~0u, false},     /* s_last_orphan */
		{"ext4", 1024 + 100, 0x10000, false}, /* s_feature_ro_compat, ORPHAN_PRESENT */
		{"btrfs", 65536 + 96, ~0u, true},     /* log_root: linux/btrfs_tree.h */
	};
	idmap_closed int fd = idmap_open(row->device, O_RDONLY);
	const bool replay = !is_without_replay(row);
	bool found = false;
	int read_only = 0;
	char bytes[4];
	size_t i;

	if (!strcmp(type, "ext3"))
		type = "ext4"; /* its driver, and the same superblock */
	for (i = 0; i < COUNT_OF(dirty); i++)
		found |= !strcmp(dirty[i].type, type) && (replay || !dirty[i].replay) &&
			 pread(fd, bytes, sizeof(bytes), dirty[i].at) == sizeof(bytes) &&
			 idmap_little(bytes, sizeof(bytes)) & dirty[i].mask;
	return found && !ioctl(fd, BLKROGET, &read_only) && !read_only;
}

/* Formats that no driver writes. */
#define NEVER_WRITTEN "erofs:squashfs:iso9660:cramfs:romfs"

/* How many sectors have been written to the device so far, by sysfs; 0 where that is not there. */
static uint64_t sectors_written(const struct idmap_row *row)
{
	enum { WRITTEN = 6 }; /* Documentation/block/stat.rst, from 0 */
	char path[48], line[256];
	const char *at = line;
	idmap_closed int fd = -1;
	uint64_t value = 0;
	struct stat st;
	int field;
	long n;

	if (stat(row->device, &st) || !S_ISBLK(st.st_mode))
		return 0;
	idmap_print(path, sizeof(path), "/sys/dev/block/%u:%u/stat", major(st.st_rdev),
		    minor(st.st_rdev));
	fd = idmap_open(path, O_RDONLY);
	n = read(fd, line, sizeof(line) - 1);
	line[n > 0 ? n : 0] = 0;
	for (field = 0; *at && field <= WRITTEN; field++)
		at = idmap_read_digits(at + strspn(at, " "), 10, &value);
	return field > WRITTEN ? value : 0;
}

struct idmap_written idmap_written_begin(const struct idmap_row *row, const char *type)
{
	struct idmap_written written = {.log_fd = -1};

	if (!(row->attr & IDMAP_RDONLY) || row->flags & IDMAP_ON_WRITTEN ||
	    idmap_type_has(NEVER_WRITTEN, type))
		return written;
	written.foretold = is_to_be_written(row, type);
	written.counts = true;
	written.sectors = sectors_written(row);
	/* xfs clears old blocks of its log each time; that it replays it stands in the kernel's. */
	if (!strcmp(type, "xfs"))
		written.log_fd = idmap_klog_begin();
	return written;
}

void idmap_written_end(struct idmap_written *written, struct idmap_row *row, bool mounted)
{
	const bool logs = written->log_fd >= 0;
	struct idmap_text words;
	char said[500];

	idmap_text_init(&words, said, sizeof(said));
	if (mounted)
		idmap_klog_read(written->log_fd, &words);
	idmap_close(&written->log_fd);
	if (mounted && (written->foretold || idmap_contains(said, "Starting recovery")))
		row->flags |= IDMAP_WROTE;
	else if (mounted && written->counts && sectors_written(row) != written->sectors)
		row->flags |= logs ? IDMAP_WROTE_LOG : IDMAP_WROTE;
}

void idmap_note_written(const struct idmap_row *row, struct idmap_notes *notes)
{
	if (row->flags & IDMAP_WROTE)
		idmap_note(notes,
			   "%s on %s: ro, and yet the disk was written to, %s; attach it read-only"
			   " where others use it too",
			   row->source, row->target,
			   row->flags & IDMAP_ON_WRITTEN
				   ? "as it was mounted for a row that is skipped"
				   : "to replay a journal or to give up deleted files");
	else if (row->flags & IDMAP_WROTE_LOG)
		idmap_note_mild(notes,
				"%s on %s: ro, and yet xfs has written to its log, as it does each"
				" time; attach it read-only where others use it too",
				row->source, row->target);
}

/* --- rows of one disk ------------------------------------------------------------------------ */

bool idmap_was_denied(const struct idmap_plan *plan, const struct idmap_row *row)
{
	const struct idmap_row *other;
	uint32_t i;

	for (i = 0; i < plan->rows && (other = plan->row[i]) != row; i++)
		if (other->flags & IDMAP_DENIED && idmap_same_device(other->device, row->device))
			return true;
	return false;
}

bool idmap_is_on_written(const struct idmap_plan *plan, const struct idmap_row *row)
{
	const struct idmap_row *other;
	uint32_t i;

	for (i = 0; row->attr & IDMAP_RDONLY && !row->verity && i < plan->rows; i++) {
		other = plan->row[i];
		if (!(other->attr & IDMAP_RDONLY || other->inside || other->verity) &&
		    !(other->flags & (IDMAP_OVERLAY | IDMAP_SKIPPED)) &&
		    !strcmp(other->source, row->source))
			return !idmap_was_denied(plan, row);
	}
	return false;
}

/* Whether a row that is in place writes to the disk of this one, by whichever name. */
static bool is_written(const struct idmap_plan *plan, const struct idmap_row *row)
{
	const struct idmap_row *other;
	uint32_t i;

	for (i = 0; i < plan->rows; i++) {
		other = plan->row[i];
		if (other->flags & IDMAP_PLACED && !(other->attr & IDMAP_RDONLY) && other->device &&
		    idmap_same_device(other->device, row->device))
			return true;
	}
	return false;
}

void idmap_written_settle(const struct idmap_stage *stage, struct idmap_row *row)
{
	const uint32_t placed = IDMAP_PLACED | IDMAP_ON_WRITTEN;
	idmap_closed int fs_fd = -1, fd = -1;

	if ((row->flags & placed) != placed || is_written(stage->plan, row))
		return;
	row->flags |= IDMAP_WROTE;
	idmap_note_written(row, stage->notes);
	/*
	 * Whoever else has it mounted may write to it. A layer is nowhere to be seen; no mount but
	 * that of its overlay has it, which is no row's.
	 */
	if (idmap_may_stand(stage) || row->flags & IDMAP_LAYER)
		return;
	fd = idmap_open_inside(stage->seen_fd, row->target, O_PATH, 0);
	fs_fd = sys_fspick(fd, "", FSPICK_EMPTY_PATH);
	if (!sys_fsconfig(fs_fd, FSCONFIG_SET_FLAG, "ro", NULL))
		sys_fsconfig(fs_fd, FSCONFIG_CMD_RECONFIGURE, NULL, NULL);
}
