// SPDX-License-Identifier: MIT
/*
 * Why a filesystem does not mount, in words that whoever reads them can act on: what the kernel
 * says of it, what is on the device in truth, and what to change. Nothing is advised that the row
 * has.
 */
#include <errno.h>
#include <string.h>
#include <sys/auxv.h>
#include <sys/ioctl.h>
#include <sys/mount.h> /* BLKROGET */
#include <sys/stat.h>
#include <sys/sysmacros.h>
#include <sys/utsname.h>
#include <unistd.h>

#include "mount/further.h"
#include "mount/held.h"

#define REMEDY_SIZE 500
#define PARTITIONS_MOST 128

/* virtiofs and 9p name a share of the host by a tag; theirs is an error of their own. */
static bool no_such_tag(const char *type, const struct idmap_attempt *attempt)
{
	/* virtio_fs_get_tree() gives EINVAL for more than that, and then says something else. */
	const bool found = *attempt->words && !idmap_contains(attempt->words, "not found");

	return !attempt->option &&
	       ((attempt->error == -EINVAL && !found && !strcmp(type, "virtiofs")) ||
		(attempt->error == -ENOENT && !strcmp(type, "9p")));
}

/* Whether it is because the device cannot be written. */
static bool is_denied(const struct idmap_row *row, const struct idmap_attempt *attempt)
{
	idmap_closed int fd = -1;
	int read_only = 0;

	if (attempt->error != -EBUSY)
		return attempt->error == -EACCES || attempt->error == -EROFS;
	/* A row before has it, and ro. */
	fd = idmap_open(row->device, O_RDONLY);
	return !ioctl(fd, BLKROGET, &read_only) && read_only;
}

/* Of its parts, where it has several, one may be another one's. */
static void add_damage(const struct idmap_row *row, const char *type, struct idmap_text *text)
{
	const char *part = idmap_row_part(row);

	idmap_text_add(text, "it is %s, and ", type);
	if (part)
		idmap_text_add(text, "%s is not its own, or one of them is damaged; correct that, ",
			       part);
	else
		idmap_text_add(text, "damaged; ");
	idmap_text_add(text, "write the image anew, or repair it with fsck");
}

/* Of btrfs: its devices are here, and what an option of the row has of it is not. */
static bool lacks_subvolume(const struct idmap_row *row, int fd,
			    const struct idmap_attempt *attempt)
{
	if (idmap_contains(attempt->words, "is not a valid subvolume"))
		return true;
	if (attempt->error != -ENOENT || !idmap_row_says(row, "subvol=,subvolid=,"))
		return false;
	return *attempt->words ? !idmap_contains(attempt->words, "open_ctree")
			       : !idmap_has_further(fd, "btrfs");
}

/* Of a type that the superblock is of. */
static void add_feature(const struct idmap_stage *stage, const struct idmap_row *row,
			const char *type, const struct idmap_attempt *attempt,
			struct idmap_text *text)
{
	struct utsname uts = {.release = "an unknown one"};
	idmap_closed int fd = idmap_open(row->device, O_RDONLY);

	uname(&uts);
	if (idmap_contains(attempt->words, "uplicate UUID"))
		idmap_held_add_clone(stage, row, "add nouuid here", text);
	else if (attempt->error == -EEXIST)
		idmap_held_add_clone(
			stage, row,
			"give one a UUID of its own (btrfstune -u), or boot Linux 6.7 or newer",
			text);
	else if (idmap_contains(attempt->words, "specify logdev"))
		idmap_text_add(text, "its log lies on another device; add logdev=DEVICE");
	else if (idmap_contains(attempt->words, "rtdev") && !idmap_row_says(row, "rtdev=,"))
		idmap_text_add(text,
			       "a part of its files lies on another device; add rtdev=DEVICE");
	else if (idmap_contains(attempt->words, "hash for checksum"))
		idmap_text_add(text,
			       "the kernel lacks the checksum that it was made with (crc32c,"
			       " xxhash64, sha256, blake2b); load its module (mkinitramfs -m)");
	else if (idmap_is_journal(fd, type))
		idmap_text_add(text, "it is the journal of another ext4; name that one as SOURCE");
	else if (idmap_is_cut_short(fd, type))
		idmap_text_add(text,
			       "it is %s, and larger than what is here: a copy of it broke off, or"
			       " the device is too small; write the image anew",
			       type);
	else if (attempt->error == -EUCLEAN || attempt->error == -EIO ||
		 attempt->error == -EBADMSG ||
		 idmap_contains(attempt->words, "checksum mismatch") ||
		 idmap_contains(attempt->words, "external journal") ||
		 idmap_contains(attempt->words, "journal UUID"))
		add_damage(row, type, text);
	else if (lacks_subvolume(row, fd, attempt))
		idmap_text_add(text,
			       "it has no such subvolume; correct subvol= or subvolid=, or write"
			       " X-mount.subdir= for a folder");
	else if (attempt->error == -ENOENT || attempt->error == -ENODEV ||
		 idmap_has_further(fd, type))
		idmap_text_add(text,
			       idmap_row_part(row)
				       ? "it is %s, and lies on several devices, of which one"
					 " is not here or not named; check each device="
				       : "it is %s, and lies on further devices; name each"
					 " with device=",
			       type);
	else
		idmap_text_add(text,
			       "it is %s, with something that this kernel (%s) does not take;"
			       " %s%sboot a newer one, or make the image with fewer features",
			       type, uts.release,
			       *row->data || *row->root_data ? "check the options, " : "",
			       row->attr & IDMAP_RDONLY ? "" : "try ro, ");
}

/*
 * Blocks of another size than is taken here. In turn: xfs; xfs since Linux 6.12; btrfs; erofs. Then
 * ext4, of both kinds. Then xfs, vfat and exfat, iso9660.
 */
static bool add_blocks(const char *words, struct idmap_text *text)
{
	const char *size = idmap_after(words, "bad block size ");
	uint64_t bytes = 0;

	if (size)
		idmap_read_digits(size, 10, &bytes);
	if (idmap_contains(words, "Only pagesize") || idmap_contains(words, "Only block size") ||
	    idmap_contains(words, "for page size") || idmap_contains(words, "blkszbits") ||
	    bytes > getauxval(AT_PAGESZ))
		idmap_text_add(
			text, "its blocks are larger than this kernel takes; make it with 4096 (-b,"
			      " of xfs -b size=, of btrfs -s), or boot a newer one");
	else if (size || idmap_contains(words, "byte sectors") ||
		 idmap_contains(words, "too small for device") ||
		 idmap_contains(words, "hardware sector size"))
		idmap_text_add(text,
			       "its blocks are smaller than the device's sectors, or than"
			       " dm-verity's blocks; attach it with smaller ones, or make it with"
			       " 4096 (mke2fs -b, mkfs.xfs -s size=, mkfs.vfat -S)");
	else
		return false;
	return true;
}

/* Where a disk with partitions is named as a whole: the first of them, as sysfs has it. */
static bool add_partition(const char *disk, struct idmap_text *text)
{
	char link[64], target[256], path[sizeof(link) + sizeof(target) + 32];
	const char *name, *between;
	struct stat st;
	uint32_t i;
	long n;

	if (stat(disk, &st) || !S_ISBLK(st.st_mode))
		return false;
	idmap_print(link, sizeof(link), "/sys/dev/block/%u:%u", major(st.st_rdev),
		    minor(st.st_rdev));
	n = readlink(link, target, sizeof(target) - 1);
	if (n <= 0)
		return false;
	target[n] = 0;
	name = strrchr(target, '/');
	if (!name++ || !*name)
		return false;
	between = idmap_is_digit(target[n - 1]) ? "p" : "";
	for (i = 1; i <= PARTITIONS_MOST; i++) {
		idmap_print(path, sizeof(path), "%s/%s%s%u/partition", link, name, between, i);
		if (access(path, F_OK))
			continue;
		idmap_text_add(text, "it has partitions: name one, such as /dev/%s%s%u", name,
			       between, i);
		return true;
	}
	return false;
}

/* Which mount(8) would look up. */
static bool is_named_id(const char *option)
{
	return (!strncmp(option, "uid=", 4) || !strncmp(option, "gid=", 4)) &&
	       !idmap_is_digit(option[4]);
}

static void add_remedy(const struct idmap_stage *stage, const struct idmap_row *row,
		       const char *type, const char *holds, const struct idmap_attempt *attempt,
		       struct idmap_text *text)
{
	const bool read_only = row->attr & IDMAP_RDONLY;
	const char *cause = stage->modules_cause;
	const bool fits = holds && idmap_type_fits(holds, type);
	const char *near;

	if (attempt->option) {
		near = idmap_option_near(attempt->option);
		idmap_text_add(text,
			       near ? "did you mean %s?"
			       : idmap_device_option(attempt->option)
				       ? "look at what that device holds"
			       : is_named_id(attempt->option)
				       ? "write that id as a number"
				       : "see the filesystem's manual for the options it takes",
			       near);
	} else if (no_such_tag(type, attempt)) {
		idmap_text_add(text, "give the host's share this tag, or %s",
			       cause && idmap_contains(cause, "virtio")
				       ? cause
				       : "load the driver that brings it (mkinitramfs"
					 " -m virtio_pci)");
	} else if (idmap_contains(attempt->words, "no-recovery mounts must")) {
		idmap_text_add(text,
			       read_only ? "this kernel's xfs asks for ro before it can be said;"
					   " mount it once where it can be written, take"
					   " norecovery out, or boot Linux 6.8 or newer"
					 : "write ro");
	} else if (idmap_contains(attempt->words, "dax can't be enabled")) {
		idmap_text_add(text, "take dax out, which the host's server does not have");
	} else if (!fits && (holds || attempt->error == -EINVAL) &&
		   add_partition(row->device, text)) {
		return;
	} else if (holds && (!fits || (strcmp(holds, type) && attempt->error == -EINVAL))) {
		idmap_text_add(text, "the device holds %s: write that as TYPE", holds);
	} else if (attempt->unknown) {
		idmap_text_add(text, "%s%s", cause ? cause : "load its module (mkinitramfs -m)",
			       fits ? "" : ", or name another type");
	} else if ((attempt->error == -EROFS && read_only) ||
		   idmap_contains(attempt->words, "log replay required")) {
		idmap_text_add(
			text,
			"a crash has left its journal, which cannot be replayed there: mount it"
			" once where it can be written, or add noload (ext4), norecovery (xfs),"
			" rescue=nologreplay (btrfs)");
	} else if (!read_only && is_denied(row, attempt)) {
		idmap_text_add(text,
			       row->flags & IDMAP_UPPER
				       ? "the upper layer needs a device and a filesystem that"
					 " can be written"
				       : "the device is read-only; write ro");
	} else if (attempt->error == -EBUSY) {
		idmap_held_add_holder(stage, row, text);
	} else if (attempt->error == -ENOSPC) {
		idmap_text_add(text, "raise the limit that is reached: sysctl.fs.mount-max= or"
				     " sysctl.user.max_mnt_namespaces=");
	} else if (fits && add_blocks(attempt->words, text)) {
		return;
	} else if (attempt->error == -ENOSYS) {
		idmap_text_add(text, "Linux 5.12 or newer is needed");
	} else if (fits) {
		add_feature(stage, row, type, attempt, text);
	} else if (attempt->error == -ENOMEDIUM) {
		idmap_text_add(text, "put one in");
	} else if (attempt->error == -ENOENT || attempt->error == -ENOTBLK ||
		   attempt->error == -ENXIO) {
		idmap_text_add(text, "name a block device as SOURCE");
	} else {
		idmap_text_add(text, "check TYPE and what is on the device%s",
			       read_only ? "" : ", or try ro");
	}
}

int idmap_mount_failed(const struct idmap_stage *stage, const struct idmap_row *row,
		       const char *type, const char *holds, const struct idmap_attempt *attempt,
		       struct idmap_error *ret_error)
{
	const bool tag = no_such_tag(type, attempt);
	const bool absent = tag || attempt->error == -ENOMEDIUM;
	const char *what = attempt->option    ? "does not take the option "
			   : tag	      ? "finds no share of that tag"
			   : attempt->unknown ? "is no filesystem of this kernel"
					      : "does not mount";
	char remedy[REMEDY_SIZE];
	struct idmap_text text;

	if (!attempt->option && idmap_nosymfollow_failed(row, attempt->error, ret_error))
		return attempt->error;
	idmap_text_init(&text, remedy, sizeof(remedy));
	add_remedy(stage, row, type, holds, attempt, &text);
	idmap_fail(ret_error, row, absent ? IDMAP_NO_SOURCE : IDMAP_NO_MOUNT, -attempt->error,
		   "%s %s%s (%m%s", type, what, attempt->option ? attempt->option : "",
		   *attempt->words ? "; kernel: " : "");
	idmap_fail_more(ret_error, "%s); %s", attempt->words, remedy);
	ret_error->absent = absent;
	return attempt->error;
}

int idmap_no_type_mounts(const struct idmap_stage *stage, const struct idmap_row *row, int error,
			 const char *tried, const char *holds, struct idmap_error *ret_error)
{
	const char *cause = stage->modules_cause;
	char remedy[REMEDY_SIZE];
	struct idmap_text text;

	idmap_text_init(&text, remedy, sizeof(remedy));
	idmap_fail(ret_error, row, IDMAP_NO_MOUNT, -error,
		   *tried ? "no type mounts (" : "the kernel knows no filesystem to try; ");
	if (*tried)
		idmap_fail_more(ret_error, "%s); ", tried);
	if (*tried && add_partition(row->device, &text)) {
		idmap_fail_more(ret_error, "%s", remedy);
		return error;
	}
	if (holds)
		idmap_fail_more(ret_error, "the device holds %s: ", holds);
	else if (*tried)
		idmap_fail_more(ret_error, "what is on the device is none that is known here: ");
	idmap_fail_more(ret_error, "%s",
			cause		   ? cause
			: *tried && !holds ? "look at what was written there, or name its TYPE and"
					     " load its module (mkinitramfs -m)"
			: !*tried || !strcmp(row->type, "auto") ? "load its module (mkinitramfs -m)"
								: "write that as TYPE");
	return error;
}
