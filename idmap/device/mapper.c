// SPDX-License-Identifier: MIT
/*
 * dm-verity stands between a row's device and its filesystem, made by the device mapper's own
 * ioctls (linux/dm-ioctl.h). It is removed as soon as nobody has it open, like a loop device: what
 * is mounted holds it, and after a failure nothing is left of it.
 */
#define _GNU_SOURCE
#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/mount.h> /* BLKGETSIZE64 */
#include <sys/stat.h>
#include <sys/sysmacros.h>
#include <unistd.h>

#include "device/device.h"

/* linux/dm-ioctl.h: the device mapper's own numbers begin at 0xc138fd00, _IOWR(0xfd, …) */
#define DM_VERSION_MAJOR 4
#define DM_UUID_LEN 129
enum { DM_READONLY_FLAG = 1, DM_STATUS_TABLE_FLAG = 1 << 4, DM_DEFERRED_REMOVE = 1 << 17 };
struct dm_ioctl {
	uint32_t version[3], data_size, data_start, target_count;
	int32_t open_count;
	uint32_t flags, event_nr, padding;
	uint64_t dev;
	char name[128], uuid[DM_UUID_LEN], data[7];
};
struct dm_target_spec {
	uint64_t sector_start, length;
	int32_t status;
	uint32_t next;
	char target_type[16];
};
struct dm_name_list {
	uint64_t dev;
	uint32_t next;
	char name[];
};
#define DM_LIST_DEVICES 0xc138fd02ul
#define DM_DEV_CREATE 0xc138fd03ul
#define DM_DEV_REMOVE 0xc138fd04ul
#define DM_DEV_SUSPEND 0xc138fd06ul
#define DM_TABLE_LOAD 0xc138fd09ul
#define DM_TABLE_STATUS 0xc138fd0cul

#define CONTROL "/dev/mapper/control"
#define VERITY "verity"
#define WAIT_MS 10
#define WAITS 200 /* for a device that is on its way out */
#define GOING 30  /* of them for one that only seems to be */

/* A request, and room for what one table says. */
struct request {
	struct dm_ioctl ioctl;
	struct dm_target_spec target;
	char line[HASHTREE_LINE_SIZE];
};

/* A device in the making. */
struct making {
	const struct idmap_row *row;
	bool is_used;  /* another row of ours has that name, and stands */
	bool is_taken; /* somebody has it */
	int control_fd;
	char data[16], hash[16]; /* MAJOR:MINOR */
	struct idmap_hashtree tree;
	char line[HASHTREE_LINE_SIZE];
};

static int ask(int control_fd, const char *name, unsigned long command, uint32_t flags,
	       struct request *request)
{
	struct dm_ioctl *ioctl_ = &request->ioctl;

	ioctl_->version[0] = DM_VERSION_MAJOR;
	ioctl_->data_size = sizeof(*request);
	ioctl_->data_start = sizeof(*ioctl_);
	ioctl_->flags = flags;
	idmap_print(ioctl_->name, sizeof(ioctl_->name), "%s", name);
	return or_errno(ioctl(control_fd, (int)command, ioctl_));
}

static const char *mapper_path(const struct idmap_row *row, char path[IDMAP_MAPPED_SIZE])
{
	return idmap_print(path, IDMAP_MAPPED_SIZE, "/dev/dm-%u", row->verity->minor);
}

/* The node of a device of the mapper, held open. The kernel makes it by itself (devtmpfs). */
static int open_node(struct making *making, uint64_t number)
{
	/* huge_encode_dev() of linux/kdev_t.h */
	const uint32_t minor = (uint32_t)((number & 0xff) | (number >> 12 & 0xfff00));

	char path[IDMAP_MAPPED_SIZE];

	making->row->verity->minor = minor;
	return idmap_open(mapper_path(making->row, path), O_RDONLY);
}

/*
 * The one that is there by that name, if it verifies the same by the same. -EEXIST: it does not.
 * -EAGAIN: nor does it, and may be about to go.
 */
static int open_same(struct making *making)
{
	struct request request = {0};
	int result = ask(making->control_fd, making->row->verity->name, DM_TABLE_STATUS,
			 DM_STATUS_TABLE_FLAG, &request);

	if (result)
		return result;
	if (request.ioctl.target_count != 1 || strcmp(request.target.target_type, VERITY) ||
	    strcmp(request.line, making->line))
		return request.ioctl.flags & DM_DEFERRED_REMOVE && !making->is_used ? -EAGAIN
										    : -EEXIST;
	return open_node(making, request.ioctl.dev);
}

static int load(const struct making *making)
{
	struct request request = {.ioctl.target_count = 1};

	request.target.length = making->tree.size / 512;
	idmap_print(request.target.target_type, sizeof(request.target.target_type), VERITY);
	idmap_print(request.line, sizeof(request.line), "%s", making->line);
	return ask(making->control_fd, making->row->verity->name, DM_TABLE_LOAD, DM_READONLY_FLAG,
		   &request);
}

/*
 * It is to go with its last user before its table is in use: whoever is killed before leaves one
 * that has none, and after leaves nothing.
 */
static int create(struct making *making, struct idmap_text *ret_words)
{
	const char *name = making->row->verity->name;
	const int control_fd = making->control_fd;
	struct request request = {0};
	idmap_closed int log_fd = -1;
	struct idmap_text uuid;
	int result, fd = -1;

	/* As libcryptsetup has it, so that veritysetup(8) knows it. */
	idmap_text_init(&uuid, request.ioctl.uuid, sizeof(request.ioctl.uuid));
	idmap_text_add(&uuid, "CRYPT-VERITY-");
	idmap_hashtree_hex(&uuid, making->tree.uuid, 16);
	idmap_text_add(&uuid, "-%s", name);
	result = ask(control_fd, name, DM_DEV_CREATE, 0, &request);
	making->is_taken = result == -EBUSY;
	if (result)
		return result;
	result = load(making);
	if (result) { /* the kernel says why in its log alone */
		log_fd = idmap_klog_begin();
		result = load(making);
		idmap_klog_read(log_fd, ret_words);
	}
	if (!result)
		result = fd = open_node(making, request.ioctl.dev);
	memset(&request, 0, sizeof(request));
	ask(control_fd, name, DM_DEV_REMOVE, DM_DEFERRED_REMOVE, &request);
	memset(&request, 0, sizeof(request));
	if (result >= 0)
		result = ask(control_fd, name, DM_DEV_SUSPEND, 0, &request); /* resumes it */
	if (result < 0)
		idmap_close(&fd);
	return result < 0 ? result : fd;
}

/*
 * The root of a guest has systemd's name for it, any other tree its hash. Where somebody else has
 * that name, such as another row with the same hash on another device, a number follows.
 */
static void set_name(const struct making *making, uint32_t number)
{
	const struct idmap_row *row = making->row;
	struct idmap_text text;

	idmap_text_init(&text, row->verity->name, sizeof(row->verity->name));
	if (idmap_row_is_root(row) && !(row->flags & IDMAP_LAYER))
		idmap_text_add(&text, "root");
	else
		idmap_text_add(&text, "%.*s-verity", 64, row->verity->root_hash);
	if (number > 1)
		idmap_text_add(&text, "-%u", number);
}

static bool is_used(const struct idmap_plan *plan, const struct idmap_row *row)
{
	uint32_t i;

	for (i = 0; i < plan->rows; i++) {
		const struct idmap_row *other = plan->row[i];

		if (other != row && other->verity && other->flags & IDMAP_PLACED &&
		    !strcmp(other->verity->name, row->verity->name))
			return true;
	}
	return false;
}

static int make(struct making *making, const struct idmap_plan *plan, struct idmap_text *ret_words)
{
	uint32_t number = 1;
	int tries, fd;

	for (tries = 0; tries < WAITS; tries++) {
		set_name(making, number);
		making->is_used = is_used(plan, making->row);
		fd = create(making, ret_words);
		if (!making->is_taken)
			return fd;
		fd = open_same(making);
		if (fd >= 0)
			return fd;
		if (fd == -EEXIST || (fd == -EAGAIN && tries > GOING))
			number++;
		else /* it was dropped a moment ago, and goes */
			poll(NULL, 0, WAIT_MS);
	}
	return -EBUSY;
}

/* By what the kernel's dm-verity finds it. */
static int number_of(int fd, char ret[16])
{
	struct stat st;

	if (fstat(fd, &st))
		return -errno;
	if (!S_ISBLK(st.st_mode))
		return -ENOTBLK;
	idmap_print(ret, 16, "%u:%u", major(st.st_rdev), minor(st.st_rdev));
	return 0;
}

/* Reads the tree's superblock, and sees to it that both devices are what it is about. */
static int read_tree(struct making *making, const char *hash_path, char block[HASHTREE_SIZE],
		     struct idmap_error *ret_error)
{
	const struct idmap_row *row = making->row;
	const struct idmap_verity *verity = row->verity;
	idmap_closed int hash_fd = idmap_open(hash_path, O_RDONLY);
	idmap_closed int data_fd = idmap_open(row->device, O_RDONLY);
	const char *wrong = "no superblock of veritysetup(8) is there", *name;
	uint64_t size = 0;
	int result;

	name = verity->hash_device ? verity->hash_device : row->source;
	result = hash_fd < 0 ? hash_fd : number_of(hash_fd, making->hash);
	if (!result)
		result = data_fd < 0 ? data_fd : number_of(data_fd, making->data);
	if (result)
		return idmap_fail(ret_error, row, IDMAP_NO_SOURCE, -result,
				  "the hash tree in %s, or its data, is on no block device (%m);"
				  " correct verity.hashdevice=",
				  name);
	if (pread(hash_fd, block, HASHTREE_SIZE, (off_t)verity->hash_offset) == HASHTREE_SIZE)
		wrong = idmap_hashtree_read(block, verity->hash_offset, &making->tree);
	if (wrong)
		return idmap_fail(ret_error, row, IDMAP_NO_SOURCE, EINVAL,
				  "the hash tree in %s, at byte %lu: %s; correct"
				  " verity.hashdevice= and verity.hashoffset=",
				  name, verity->hash_offset, wrong);
	if (ioctl(data_fd, (int)BLKGETSIZE64, &size) || size < making->tree.size)
		return idmap_fail(ret_error, row, IDMAP_NO_SOURCE, EINVAL,
				  "the hash tree in %s is of %lu bytes, and the device has %lu;"
				  " attach the image that it was made of",
				  name, making->tree.size, size);
	return 0;
}

static int make_failed(const struct making *making, int error, const char *words,
		       struct idmap_error *ret_error)
{
	const struct idmap_row *row = making->row;

	if (error == -EBUSY)
		return idmap_fail(
			ret_error, row, IDMAP_NO_MOUNT, -error,
			"the kernel makes no dm-verity of it (%s%s%m); something here has"
			" it already, such as another row or a mount: let that go, or have"
			" it verified there",
			words, *words ? ": " : "");
	if (idmap_contains(words, "Invalid root digest"))
		return idmap_fail(ret_error, row, IDMAP_NO_MOUNT, -error,
				  "its root hash is not as long as one of %s, which the hash tree"
				  " is made of; correct the root hash",
				  making->tree.algorithm);
	return idmap_fail(ret_error, row, IDMAP_BAD_SYSTEM, -error,
			  "the kernel makes no dm-verity of it (%s%s%m); load its module, and that"
			  " of the hash %s (mkinitramfs -m dm_verity)",
			  words, *words ? ": " : "", making->tree.algorithm);
}

int idmap_mapper_verify(const struct idmap_plan *plan, const struct idmap_row *row,
			const char *hash_path, struct idmap_mapped *ret,
			struct idmap_error *ret_error)
{
	struct making making = {.row = row};
	char block[HASHTREE_SIZE], words[300];
	struct idmap_text text;
	int result;

	ret->control_fd = ret->fd = -1;
	result = read_tree(&making, hash_path, block, ret_error);
	if (result)
		return result;
	ret->control_fd = making.control_fd = idmap_open(CONTROL, O_RDWR);
	if (ret->control_fd < 0)
		return idmap_fail(ret_error, row, IDMAP_BAD_SYSTEM, -ret->control_fd,
				  "the kernel has no device mapper (" CONTROL
				  ": %m); load it (mkinitramfs -m dm_verity)");
	idmap_text_init(&text, making.line, sizeof(making.line));
	idmap_hashtree_line(&making.tree, row->verity, making.data, making.hash, &text);
	idmap_text_init(&text, words, sizeof(words));
	ret->fd = make(&making, plan, &text);
	if (ret->fd < 0)
		return make_failed(&making, ret->fd, words, ret_error);
	mapper_path(row, ret->path);
	return 0;
}

bool idmap_mapper_is_corrupted(const struct idmap_mapped *mapped, const struct idmap_row *row)
{
	struct request request = {0};

	return !ask(mapped->control_fd, row->verity->name, DM_TABLE_STATUS, 0, &request) &&
	       *request.line == 'C';
}

void idmap_mapper_link(const struct idmap_plan *plan)
{
	char target[24], path[96];
	uint32_t i;

	for (i = 0; i < plan->rows; i++) {
		const struct idmap_verity *verity = plan->row[i]->verity;

		if (!verity || !*verity->name || plan->row[i]->flags & IDMAP_SKIPPED)
			continue;
		idmap_print(target, sizeof(target), "../dm-%u", verity->minor);
		idmap_print(path, sizeof(path), "/dev/mapper/%s", verity->name);
		symlink(target, path);
	}
}

/* A name of set_name()'s for what is no root. */
static bool is_ours(const char *name)
{
	const size_t digits = strspn(name, "0123456789abcdef");

	return digits >= 32 && !strncmp(name + digits, "-verity", 7);
}

void idmap_mapper_take_down_stale(void)
{
	struct {
		struct dm_ioctl ioctl;
		char list[16384];
	} all = {.ioctl = {.version = {DM_VERSION_MAJOR},
			   .data_size = sizeof(all),
			   .data_start = sizeof(all.ioctl)}};
	const struct dm_name_list *device = (const void *)all.list;
	idmap_closed int control_fd = -1;

	/* Opening its node would load it. */
	if (!access("/sys/class/misc/device-mapper", F_OK))
		control_fd = idmap_open(CONTROL, O_RDWR);
	if (control_fd < 0 || ioctl(control_fd, (int)DM_LIST_DEVICES, &all))
		return;
	for (; device->dev; device = (const void *)((const char *)device + device->next)) {
		struct request request = {0};

		/* One that works has a table, and its users. */
		if (is_ours(device->name) &&
		    !ask(control_fd, device->name, DM_TABLE_STATUS, 0, &request) &&
		    !request.ioctl.target_count && !request.ioctl.open_count) {
			memset(&request, 0, sizeof(request));
			ask(control_fd, device->name, DM_DEV_REMOVE, 0, &request);
		}
		if (!device->next)
			break;
	}
}
