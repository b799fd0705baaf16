// SPDX-License-Identifier: MIT
/*
 * Layers -> one tree. Each layer is mapped by itself and waits in a folder of the area, named by a
 * number so that five hundred names fit the page that mount(2) takes; overlayfs clones them for
 * itself, so the area can go as soon as the root is whole.
 */
#define _GNU_SOURCE
#include <errno.h>
#include <string.h>
#include <sys/mount.h>
#include <sys/stat.h>

#include "explain.h"
#include "idmap.h"
#include "stage.h"
#include "sys.h"

#define OPTIONS_SIZE 4096 /* what mount(2) copies, on the smallest of pages */
#define MERGED "merged"	  /* where an overlay is mounted until it is cloned */
#define EMPTY "empty"

/* --- the area -------------------------------------------------------------------------------- */

static int open_area(struct idmap_stage *stage)
{
	idmap_closed int fs_fd = -1;
	int fd, result;

	if (stage->area_fd >= 0)
		return 0;
	fs_fd = sys_fsopen("tmpfs", FSOPEN_CLOEXEC);
	result = fs_fd < 0 ? fs_fd : sys_fsconfig(fs_fd, FSCONFIG_CMD_CREATE, NULL, NULL);
	if (result)
		return result;
	fd = sys_fsmount(fs_fd, FSMOUNT_CLOEXEC, 0);
	if (fd < 0)
		return fd;
	result = idmap_stage_attach(stage, IDMAP_AREA, fd);
	if (result)
		idmap_close(&fd);
	stage->area_fd = fd;
	return result;
}

/* "7" or, with a folder in it, "7/upper"; `name` has room for it. */
struct name {
	char text[24];
};

static struct name slot_name(uint32_t slot, const char *folder)
{
	struct idmap_text text;
	struct name name;

	idmap_text_init(&text, name.text, sizeof(name.text));
	idmap_text_add(&text, *folder ? "%u/%s" : "%u", slot, folder);
	return name;
}

/* Attaches a tree in a new folder of the area. */
static int put(struct idmap_stage *stage, int tree_fd, uint32_t *ret_slot)
{
	int result = open_area(stage);
	struct name name;

	if (result)
		return result;
	*ret_slot = stage->slots++;
	name = slot_name(*ret_slot, "");
	result = sys_mkdirat(stage->area_fd, name.text, 0700);
	if (result)
		return result;
	return sys_move_mount(tree_fd, "", stage->area_fd, name.text, MOVE_MOUNT_F_EMPTY_PATH);
}

int idmap_layers_subdir(struct idmap_stage *stage, int tree_fd, const struct idmap_row *row,
			struct idmap_error *ret_error)
{
	idmap_closed int folder_fd = -1;
	uint32_t slot;
	int fd, result = put(stage, tree_fd, &slot);

	folder_fd = result ? result : idmap_open_in_root(tree_fd, row->subdir, O_PATH);
	fd = folder_fd < 0 ? folder_fd : idmap_tree_clone(folder_fd, false);
	if (fd < 0)
		idmap_row_fail(ret_error, row, IDMAP_NO_MOUNT, -fd,
			       "it has no folder %s to show (%s); correct X-mount.subdir=",
			       row->subdir, idmap_errno_text(-fd));
	if (result)
		idmap_close(&tree_fd);
	else
		idmap_stage_detach(&tree_fd);
	return fd;
}

int idmap_layers_add(struct idmap_stage *stage, int tree_fd, struct idmap_row *row,
		     struct idmap_error *ret_error)
{
	int result = put(stage, tree_fd, &row->slot);

	if (!result)
		return 0;
	return idmap_row_fail(ret_error, row, IDMAP_BAD_SYSTEM, -result,
			      "there is no place to keep the layer (%s); build the kernel with"
			      " CONFIG_TMPFS, a layer is a folder",
			      idmap_errno_text(-result));
}

/* --- the top --------------------------------------------------------------------------------- */

/* Gives a new top the looks of the layer below: owner, mode, and attributes such as ACLs. */
static noinline int copy_looks(int from_fd, int to_fd, int mode_fd)
{
	char names[1024], value[1024], *name;
	struct stat st, mode;
	long size, left;
	int result = sys_fstat(from_fd, &st);

	if (!result)
		result = sys_fstat(mode_fd, &mode);
	if (!result)
		result = sys_fchown(to_fd, st.st_uid, st.st_gid);
	if (!result)
		result = sys_fchmod(to_fd, mode.st_mode & 07777);
	left = sys_flistxattr(from_fd, names, sizeof(names));
	for (name = names; !result && left > 0; name += strlen(name) + 1) {
		left -= (long)strlen(name) + 1;
		/* overlayfs keeps its own notes there. */
		if (!strncmp(name, "trusted.overlay.", 16))
			continue;
		size = sys_fgetxattr(from_fd, name, value, sizeof(value));
		if (size >= 0)
			sys_fsetxattr(to_fd, name, value, (size_t)size);
	}
	return result;
}

/* A folder of the upper filesystem; a link there would lead elsewhere and is refused. */
static noinline int open_folder(int top_fd, const char *name, int *ret_made)
{
	*ret_made = sys_mkdirat(top_fd, name, 0700);
	if (*ret_made && *ret_made != -EEXIST)
		return *ret_made;
	return sys_openat(top_fd, name, O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
}

/* Makes the folders upper and work of the top in `slot`, where they are missing. */
static int make_top(const struct idmap_stage *stage, const struct idmap_row *row, uint32_t slot,
		    bool own_mode)
{
	const struct name top = slot_name(slot, ""), below = slot_name(row->below->slot, "");
	idmap_closed int top_fd = sys_openat(stage->area_fd, top.text, O_RDONLY | O_CLOEXEC);
	idmap_closed int below_fd = sys_openat(stage->area_fd, below.text, O_RDONLY | O_CLOEXEC);
	idmap_closed int upper_fd = -1, work_fd = -1;
	int made;

	if (top_fd < 0 || below_fd < 0)
		return top_fd < 0 ? top_fd : below_fd;
	work_fd = open_folder(top_fd, "work", &made);
	if (work_fd < 0)
		return work_fd;
	upper_fd = open_folder(top_fd, "upper", &made);
	if (upper_fd < 0)
		return upper_fd;
	return made ? 0 : copy_looks(below_fd, upper_fd, own_mode ? top_fd : below_fd);
}

static int top_failed(const struct idmap_row *row, int error, struct idmap_error *ret_error)
{
	const char *remedy = idmap_choose(
		CHOICES(ON(EROFS, "it takes a filesystem that can be written"),
			ON2(EOVERFLOW, EINVAL,
			    "its map must know the ids of seen 0 and of the layers' root"),
			ON2(ENOTDIR, ELOOP, "they are to be folders, not files or links"),
			"look at it"),
		error);

	return idmap_row_fail(ret_error, row, IDMAP_NO_MOUNT, error,
			      "the folders upper and work cannot be made in the top (%s); %s",
			      idmap_errno_text(error), remedy);
}

/* --- the overlay ----------------------------------------------------------------------------- */

static int merge_failed(const struct idmap_row *row, int error, struct idmap_error *ret_error)
{
	const struct idmap_row *layer = row->below;

	while (layer && !layer->map)
		layer = layer->below;
	return idmap_row_fail(
		ret_error, row, IDMAP_NO_MOUNT, error, "the layers do not merge (%s); %s%s",
		idmap_errno_text(error),
		idmap_choose(
			CHOICES(ON(ENODEV, "load the module overlay (mkinitramfs -m overlay)"),
				ON(E2BIG, "write fewer options"),
				"the kernel says why in its lines above, by the name overlayfs"),
			error),
		error == EINVAL && layer ? MESSAGE("; mapped layers need Linux 5.19") : "");
}

/* Options that an overlay's row has for its tmpfs; everything else is for overlayfs. */
static bool is_tmpfs_option(const char *item)
{
	const char *equals = strchr(item, '=');

	return equals && idmap_word_index("size\0mode\0nr_inodes\0nr_blocks\0huge\0", item,
					  (size_t)(equals - item)) != IDMAP_NO_WORD;
}

/* Puts a tmpfs, of the row's options for it, into the area. */
static int add_volatile(struct idmap_stage *stage, const struct idmap_row *row, uint32_t *ret_slot,
			bool *ret_own_mode, struct idmap_error *ret_error)
{
	char data[512] = {0}, *end = data;
	struct idmap_row top = *row;
	idmap_closed int fd = -1;
	const char *item;
	int result;

	*ret_own_mode = false;
	for (item = row->data; *item; item += strlen(item) + 1) {
		size_t size = strlen(item) + 1;

		if (!is_tmpfs_option(item))
			continue;
		/* One byte stays 0, the empty string that ends them. */
		if (size >= (size_t)(data + sizeof(data) - end))
			return merge_failed(row, E2BIG, ret_error);
		memcpy(end, item, size);
		end += size;
		*ret_own_mode |= *item == 'm';
	}
	top.type = "tmpfs";
	top.data = data;
	top.map = NULL;
	fd = idmap_tree_mount(&top, 0, ret_error);
	if (fd < 0)
		return fd;
	result = idmap_layers_add(stage, fd, &top, ret_error);
	*ret_slot = top.slot;
	return result;
}

/* The numbers of mount(2) for what enum idmap_attr has from fsmount(2). */
static unsigned long mount_flags(uint32_t attr)
{
	unsigned long flags = attr & (IDMAP_RDONLY | IDMAP_NOSUID | IDMAP_NODEV | IDMAP_NOEXEC |
				      IDMAP_NOSYMFOLLOW);

	flags |= attr & IDMAP_NOATIME ? MS_NOATIME : 0;
	flags |= attr & IDMAP_STRICTATIME ? MS_STRICTATIME : 0;
	flags |= attr & IDMAP_NODIRATIME ? MS_NODIRATIME : 0;
	return flags;
}

int idmap_layers_merge(struct idmap_stage *stage, const struct idmap_row *row,
		       struct idmap_error *ret_error)
{
	char buffer[OPTIONS_SIZE];
	const bool none = !strcmp(row->source, "none"), upper = row->upper;
	bool own_mode = false;
	const struct idmap_row *layer;
	struct idmap_text options;
	const char *item;
	uint32_t slot = upper ? row->upper->slot : 0;
	int fd, result;

	if (!none && !upper) {
		result = add_volatile(stage, row, &slot, &own_mode, ret_error);
		if (result)
			return result;
	}
	if (!none) {
		result = make_top(stage, row, slot, own_mode);
		if (result)
			return top_failed(upper ? row->upper : row, -result, ret_error);
	}
	idmap_text_init(&options, buffer, sizeof(buffer));
	for (layer = row->below; layer; layer = layer->below)
		idmap_text_add(&options, "%s%u", layer == row->below ? "lowerdir=" : ":",
			       layer->slot);
	sys_mkdirat(stage->area_fd, MERGED, 0700);
	sys_mkdirat(stage->area_fd, EMPTY, 0755);
	/* Without a top the kernel wants two layers. */
	if (none && !row->below->below)
		idmap_text_add(&options, ":" EMPTY);
	if (!none)
		idmap_text_add(&options, ",upperdir=%s,workdir=%s", slot_name(slot, "upper").text,
			       slot_name(slot, "work").text);
	/* What one layer may say of another stays what every overlayfs can read. */
	idmap_text_add(&options, ",redirect_dir=off,metacopy=off,index=off");
	for (item = row->data; *item; item += strlen(item) + 1)
		if (none || upper || !is_tmpfs_option(item))
			idmap_text_add(&options, ",%s", item);
	result = options.cut ? -E2BIG : sys_fchdir(stage->area_fd);
	if (!result)
		result = sys_mount("overlay", MERGED, "overlay", mount_flags(row->attr), buffer);
	fd = result ? result : sys_open_tree(AT_FDCWD, MERGED, OPEN_TREE_CLONE | OPEN_TREE_CLOEXEC);
	sys_umount2(MERGED, MNT_DETACH);
	sys_chdir("/");
	return fd < 0 ? merge_failed(row, -fd, ret_error) : fd;
}
