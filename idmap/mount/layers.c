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
#include <sys/statfs.h>
#include <sys/statvfs.h>

#include "mount/layers.h"

#define OPTIONS_SIZE 4096 /* what mount(2) copies, on the smallest of pages */
#define MERGED "merged"	  /* where an overlay is mounted until it is cloned */
#define EMPTY "empty"

int idmap_layers_add(struct idmap_stage *stage, int tree_fd, struct idmap_row *row,
		     struct idmap_error *ret_error)
{
	int result = idmap_area_put(stage, tree_fd, &row->slot);
	struct stat st;

	if (!result && !(row->flags & IDMAP_UPPER) && !fstat(tree_fd, &st)) {
		row->device_number = st.st_dev;
		row->inode = st.st_ino;
	}
	if (!result)
		return 0;
	if (!fstat(tree_fd, &st) && !S_ISDIR(st.st_mode))
		return idmap_fail(ret_error, row, IDMAP_NO_SOURCE, ENOTDIR,
				  "a layer is a folder, and this is none; name one");
	return idmap_area_failed(row, -result, ret_error);
}

/* --- the overlay ----------------------------------------------------------------------------- */

/* Whether a layer leads to others, which show nothing by themselves. */
static bool leads(const struct idmap_row *row)
{
	const struct idmap_row *layer = row->below;

	while (layer && !(layer->flags & IDMAP_DATA_ONLY))
		layer = layer->below;
	return layer;
}

/* `words`: the kernel's, or "". */
static int merge_failed(const struct idmap_stage *stage, const struct idmap_row *row, int error,
			const char *words, struct idmap_error *ret_error)
{
	static const struct idmap_words remedies[] = {
		{E2BIG, "write fewer options"},
		{EINVAL, "correct the overlay's options"},
		{EROFS,
		 "the kernel made it read-only: the top must have room, and the map must know the"
		 " owners of its folders upper and work"},
		{ESTALE,
		 "the upper disk belongs to other layers; empty its folders upper and work"},
		{ELOOP, "name folders of which none lies inside another"},
		{EBUSY, "the upper disk is in use by another overlay; give this one its own"},
		{ENOSPC, "the top has none for overlayfs' own folders: make room on the upper disk,"
			 " inodes too, or raise size= and nr_inodes=, or the limit of mounts,"
			 " sysctl.fs.mount-max="},
		{0, "look at the layers' images"},
	};
	const char *remedy = idmap_words_for(remedies, (uint32_t)error);

	if (idmap_contains(words, "stacking depth"))
		remedy = "an overlay goes on an overlay once; write their layers in one";
	else if (idmap_contains(words, "'volatile'"))
		remedy = "what a volatile overlay wrote may not be whole after its boot; take"
			 " volatile out, and delete the folder work of the upper disk";
	else if (idmap_contains(words, "conflicting options"))
		remedy = "what its row does not say is redirect_dir=nofollow, metacopy=off and"
			 " index=off here: say on of the one that is named, too, or take the other"
			 " out";
	else if (idmap_contains(words, "missing required features"))
		remedy = "its filesystem cannot be an upper; use ext4, xfs or btrfs for it";
	else if (idmap_contains(words, "filesystem on"))
		remedy = "a layer's filesystem cannot be one, such as vfat; use ext4, xfs, btrfs or"
			 " erofs";
	else if (error == EINVAL && leads(row) && idmap_kernel_before(6, 5))
		remedy = "boot a newer kernel: data-only layers need Linux 6.5";
	else if (error == EINVAL && idmap_kernel_before(5, 19))
		remedy = "correct the overlay's options, or boot a newer kernel: mapped layers need"
			 " Linux 5.19";
	else if (error == EINVAL && !*row->data)
		remedy = "look at the layers' images";
	if (error == ENODEV)
		remedy = stage->modules_cause ? stage->modules_cause
					      : "load the module overlay (mkinitramfs -m overlay)";
	/* The errno of symbolic links is overlayfs' own for this. */
	idmap_fail(ret_error, row, IDMAP_NO_MOUNT, error,
		   error == ELOOP ? "the layers do not merge (one lies inside another%s"
				  : "the layers do not merge (%m%s",
		   *words ? "; kernel: " : "");
	idmap_fail_more(ret_error, "%s); %s", words, remedy);
	return -error;
}

/* Options that an overlay's row has for its tmpfs; everything else is for overlayfs. */
static bool is_tmpfs_option(const char *item)
{
	static const char *const names[] = {"size", "mode", "nr_inodes", "nr_blocks", "huge"};
	const char *equals = strchr(item, '=');
	size_t i;

	for (i = 0; equals && i < COUNT_OF(names); i++)
		if (idmap_same(names[i], item, (size_t)(equals - item)))
			return true;
	return false;
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
			return merge_failed(stage, row, E2BIG, "", ret_error);
		memcpy(end, item, size);
		end += size;
		*ret_own_mode |= *item == 'm';
	}
	top.type = "tmpfs";
	top.attr &= ~(uint32_t)IDMAP_RDONLY; /* of the overlay alone */
	top.data = data;
	top.map = NULL;
	fd = idmap_filesystem_mount(stage, &top, 0, ret_error);
	if (fd < 0)
		return fd;
	result = idmap_layers_add(stage, fd, &top, ret_error);
	*ret_slot = top.slot;
	return result;
}

/* The numbers of mount(2) for what enum idmap_attr has from fsmount(2). */
static unsigned long mount_flags(uint32_t attr)
{
	return (attr & IDMAP_RDONLY ? MS_RDONLY : 0ul) | (attr & IDMAP_NOSUID ? MS_NOSUID : 0ul) |
	       (attr & IDMAP_NODEV ? MS_NODEV : 0ul) | (attr & IDMAP_NOEXEC ? MS_NOEXEC : 0ul) |
	       (attr & IDMAP_NOATIME ? MS_NOATIME : 0ul) |
	       (attr & IDMAP_STRICTATIME ? MS_STRICTATIME : 0ul) |
	       (attr & IDMAP_NODIRATIME ? MS_NODIRATIME : 0ul) |
	       (attr & IDMAP_NOSYMFOLLOW ? MS_NOSYMFOLLOW : 0ul);
}

/* Mounts the overlay in the area, and gives a clone of it. */
static int mount_overlay(const struct idmap_stage *stage, const struct idmap_row *row,
			 const char *options)
{
	struct statfs fs;
	int fd;

	mkdirat(stage->area_fd, MERGED, 0700);
	if (fchdir(stage->area_fd))
		return -errno;
	fd = or_errno(mount("overlay", MERGED, "overlay", mount_flags(row->attr), options));
	if (!fd) {
		fd = or_errno(sys_open_tree(AT_FDCWD, MERGED, OPEN_TREE_CLONE | OPEN_TREE_CLOEXEC));
		umount2(MERGED, MNT_DETACH);
	}
	/* Where it cannot make its own folder in work, overlayfs goes on read-only. */
	if (fd >= 0 && !(row->attr & IDMAP_RDONLY) && !fstatfs(fd, &fs) && fs.f_flags & ST_RDONLY) {
		idmap_close(&fd);
		fd = -EROFS;
	}
	chdir("/");
	return fd;
}

/* Whether the kernel's words say that it goes on without an option of the row's own. */
static bool is_dropped(const char *item, const char *words)
{
	const char *instead = idmap_after(words, "falling back to");
	struct idmap_text text;
	char part[64];

	idmap_text_init(&text, part, sizeof(part));
	idmap_text_add(&text, "\"%s\" is ", item); /* ... useless, or meaningless, here */
	if (idmap_contains(words, part))
		return true;
	idmap_text_init(&text, part, sizeof(part));
	idmap_text_add(&text, "%.*s=", (int)strcspn(item, "="), item);
	return instead && idmap_contains(instead, part) && !idmap_contains(instead, item);
}

/*
 * An overlay, if any, of the table, of which a layer is what this one writes to. Where that overlay
 * comes after this one, the kernel says so.
 */
static const struct idmap_row *reader_of(const struct idmap_stage *stage,
					 const struct idmap_row *row)
{
	const struct idmap_row *other, *layer;
	uint32_t i;

	for (i = 0; row->upper && i < stage->plan->rows; i++) {
		other = stage->plan->row[i];
		if (!(other->flags & IDMAP_OVERLAY) || !(other->flags & IDMAP_PLACED))
			continue;
		for (layer = other->below; layer; layer = layer->below)
			if (layer->inode == row->inode &&
			    layer->device_number == row->device_number)
				return other;
	}
	return NULL;
}

/* Tells what the overlay is without of that which the mount a layer shows keeps people safe by. */
static void note_lost(const struct idmap_stage *stage, const struct idmap_row *row,
		      const struct idmap_row *layer)
{
	const uint32_t safe = IDMAP_NOSUID | IDMAP_NODEV | IDMAP_NOEXEC | IDMAP_NOSYMFOLLOW;
	const uint32_t lost = safe & layer->found_attr & ~row->attr & ~row->attr_said;
	struct idmap_text text;
	char words[64];

	if (!lost)
		return;
	idmap_text_init(&text, words, sizeof(words));
	idmap_attr_text(lost, 0, &text);
	idmap_note_row(stage->notes, layer,
		       "what it shows is %s, which has no effect on a layer; write that in the row"
		       " of the overlay, too",
		       words);
}

/*
 * What the kernel takes for an overlay all the same, and says in its log alone: a top that another
 * overlay writes to, whoever's that is, one with which nothing can be deleted, and options that
 * what it is made of does not let it have.
 */
static void note_oddities(const struct idmap_stage *stage, const struct idmap_row *row,
			  const char *words)
{
	const struct idmap_row *reader =
		idmap_contains(words, "lowerdir is in-use") ? row : reader_of(stage, row);
	const char *item;

	if (reader)
		idmap_note_row(stage->notes, reader,
			       "another overlay writes to what is a layer of this one, which may"
			       " show old and new at once; take a copy for the layer");
	if (reader != row && idmap_contains(words, "in-use"))
		idmap_note_row(stage->notes, row,
			       "another overlay writes to the same upper or work, and each damages"
			       " what the other has (kernel: %s); give each its own",
			       words);
	if (idmap_contains(words, "d_type"))
		idmap_note_row(
			stage->notes, row,
			"folders of the upper's filesystem do not say what is a file, so that"
			" deleted names of a layer stay in them (kernel: %s); make it anew with"
			" that (mkfs.ext4 -O filetype, mkfs.xfs -n ftype=1)",
			words);
	if (idmap_contains(words, "set xattr on upper"))
		idmap_note_row(
			stage->notes, row,
			"the top keeps no attributes of overlayfs' own, so that no folder of a"
			" layer can be deleted, nor made anew (kernel: %s); %s",
			words,
			row->upper ? "use ext4, xfs or btrfs for it"
				   : "take userxattr out, boot Linux 6.6 or newer, or add an upper"
				     " of ext4, xfs or btrfs");
	for (item = row->data; *item; item += strlen(item) + 1)
		if (is_dropped(item, words))
			idmap_note_row(
				stage->notes, row,
				"%s has no effect with these layers (kernel: %s); take it out",
				item, words);
}

int idmap_layers_merge(struct idmap_stage *stage, struct idmap_row *row,
		       const struct idmap_unmapped *unmapped, struct idmap_error *ret_error)
{
	char buffer[OPTIONS_SIZE];
	const bool none = !strcmp(row->source, "none"), upper = row->upper;
	bool own_mode = false;
	const struct idmap_row *layer;
	struct idmap_text options, said;
	const char *item;
	char words[500];
	uint32_t slot = upper ? row->upper->slot : 0;
	idmap_closed int log_fd = -1;
	int fd, result;

	if (!none && !upper) {
		result = add_volatile(stage, row, &slot, &own_mode, ret_error);
		if (result)
			return result;
		row->slot = slot;
	}
	if (!none) {
		result = idmap_top_make(stage, row, slot, own_mode, unmapped, ret_error);
		if (result)
			return result;
	}
	idmap_text_init(&options, buffer, sizeof(buffer));
	for (layer = row->below; layer; layer = layer->below)
		idmap_text_add(&options, "%s%u",
			       layer == row->below		? "lowerdir="
			       : layer->flags & IDMAP_DATA_ONLY ? "::"
								: ":",
			       layer->slot);
	/* Without a top the kernel wants two layers. */
	if (none && !row->below->below) {
		mkdirat(stage->area_fd, EMPTY, 0755);
		idmap_text_add(&options, ":" EMPTY);
	}
	if (!none)
		idmap_text_add(&options, ",upperdir=%s,workdir=%s",
			       idmap_slot_name(slot, "upper").text,
			       idmap_slot_name(slot, "work").text);
	/*
	 * What one layer may say of another stays what every overlayfs can read; and a layer of
	 * somebody's making says nothing of others (redirect_dir=off would follow it), unless there
	 * is one that shows nothing by itself. Beside a top metacopy wants redirects made, too.
	 */
	idmap_text_add(&options, !leads(row) ? ",redirect_dir=nofollow,metacopy=off,index=off"
				 : none	     ? ",redirect_dir=follow,metacopy=on,index=off"
					     : ",redirect_dir=on,metacopy=on,index=off");
	for (item = row->data; *item; item += strlen(item) + 1)
		if (none || upper || !is_tmpfs_option(item))
			idmap_text_add(&options, ",%s", item);
	if (options.cut)
		return merge_failed(stage, row, E2BIG, "", ret_error);
	log_fd = idmap_klog_begin();
	fd = mount_overlay(stage, row, buffer);
	idmap_text_init(&said, words, sizeof(words));
	idmap_klog_read(log_fd, &said);
	if (fd < 0)
		return merge_failed(stage, row, -fd, words, ret_error);
	note_oddities(stage, row, words);
	if (upper)
		note_lost(stage, row, row->upper);
	for (layer = row->below; layer; layer = layer->below)
		note_lost(stage, row, layer);
	idmap_trace(stage->notes, "the layers of %s are merged", row->target);
	return fd;
}
