// SPDX-License-Identifier: MIT
/*
 * What a map makes of the owner of a tree's root folder. Where it leaves that one out, a whole
 * system goes wrong without a word: systemd's tools refuse a / of nobody. So the map is looked at
 * with the ids on disk in hand, and what it was meant to be is guessed. The boot goes on.
 */
#define _GNU_SOURCE
#include <string.h>
#include <sys/stat.h>

#include "mount/mount.h"

#define HINT_SIZE 160

static const char *const kind_names[] = {[IDMAP_UID] = "uid", [IDMAP_GID] = "gid"};

/* What is mounted for it, or NULL: it is not, or not told from here. */
static const char *type_of(const struct idmap_row *row)
{
	if (strcmp(row->type, "auto") && !strchr(row->type, ':'))
		return row->type;
	return row->device_number && !row->inside ? idmap_disks_type(row->device) : NULL;
}

/* How its root folder gets another owner, where it is that folder that the row shows. */
static void add_owner(const struct idmap_row *row, bool folder, enum idmap_kind kind, uint32_t id,
		      struct idmap_text *text)
{
	const char *type = type_of(row);

	/* All of it belongs to those that its options name. */
	if (type && idmap_type_has("vfat:msdos:exfat:ntfs3:tmpfs", type))
		idmap_text_add(text, "write %s=%u", kind_names[kind], id);
	else
		idmap_text_add(text, "give it to %u in the image%s", id,
			       folder && !row->subdir && type && idmap_type_has(type, "ext4")
				       ? " (mkfs.ext4 -E root_owner=)"
				       : "");
	idmap_text_add(text, ", which is seen as 0");
}

/* An extent for `disk`, which the row's map leaves out, from what the map has. */
static void suggest(const struct idmap_row *row, bool folder, enum idmap_kind kind, uint32_t disk,
		    struct idmap_text *text)
{
	const struct idmap_map *map = row->map;
	const struct idmap_extent *first = map->extent[kind];
	uint32_t seen, root;

	/* mkfs leaves / to root, whoever else owns the files: it is the image that is to be mended.
	 */
	if (!disk && idmap_map_disk(map, kind, 0, &root))
		add_owner(row, folder, kind, root, text);
	else if (idmap_map_disk(map, kind, disk, &seen) && first->disk < first->seen)
		idmap_text_add(text, "DISK comes first; did you mean %u:%u:%u?", first->seen,
			       first->disk, first->count);
	else if (map->extents[kind] == 1)
		idmap_text_add(text, "did you mean %u:%u:%u?", disk, first->seen,
			       first->count - 1 > IDMAP_ID_MAX - disk ? IDMAP_ID_MAX - disk + 1
								      : first->count);
	else
		idmap_text_add(text, "add %u:SEEN:1", disk);
}

/* Whether the map leaves out the id on disk; then `hint` says how to get it in. */
static bool is_left_out(const struct idmap_row *row, bool folder, enum idmap_kind kind,
			uint32_t disk, char hint[HINT_SIZE])
{
	struct idmap_text text;
	uint32_t unused;

	if (idmap_map_seen(row->map, kind, disk, &unused))
		return false;
	idmap_text_init(&text, hint, HINT_SIZE);
	suggest(row, folder, kind, disk, &text);
	return true;
}

/* A kind that was forgotten: the map leaves its ids as they are, and the other kind's it shifts. */
static bool is_forgotten(const struct idmap_map *map, enum idmap_kind kind, uint32_t disk)
{
	const enum idmap_kind other = kind == IDMAP_UID ? IDMAP_GID : IDMAP_UID;
	const struct idmap_extent *all = map->extent[kind];
	uint32_t seen;

	return map->extents[kind] == 1 && !all->disk && !all->seen &&
	       all->count == IDMAP_ID_MAX + 1 && idmap_map_seen(map, other, disk, &seen) &&
	       seen != disk;
}

static void look_at(struct idmap_notes *notes, const struct idmap_row *row, enum idmap_kind kind,
		    const struct stat *st)
{
	const char *what = S_ISDIR(st->st_mode) ? "its root folder" : "what it shows";
	const uint32_t disk = kind == IDMAP_UID ? st->st_uid : st->st_gid;
	const char *name = kind_names[kind], *other = kind_names[1 - kind];
	char hint[HINT_SIZE];

	if (is_left_out(row, S_ISDIR(st->st_mode), kind, disk, hint))
		idmap_note_row(notes, row,
			       "%s has the %s %u on disk, which the map leaves out: it is nobody's"
			       " (65534); %s",
			       what, name, disk, hint);
	else if (is_forgotten(row->map, kind, disk))
		idmap_note_row(notes, row,
			       "%s has the %s %u on disk, and only %ss are mapped; map %ss, too",
			       what, name, disk, other, name);
}

static void look_for_root(struct idmap_notes *notes, const struct idmap_row *row,
			  enum idmap_kind kind)
{
	uint32_t unused;

	if (!(row->attr & IDMAP_RDONLY) && !idmap_map_disk(row->map, kind, 0, &unused))
		idmap_note_row(
			notes, row,
			"it is rw, and no %s on disk is seen as 0: root cannot make a file there;"
			" add DISK:0:1",
			kind_names[kind]);
}

void idmap_owners_look_for_root(struct idmap_notes *notes, const struct idmap_row *row)
{
	look_for_root(notes, row, IDMAP_UID);
	look_for_root(notes, row, IDMAP_GID);
}

bool idmap_owners_left_out(const struct idmap_map *map, uint32_t uid, uint32_t gid)
{
	uint32_t unused;

	/* A map may show an id of the disk as that number, and then it is as good as any. */
	return map && ((uid == NOBODY && !idmap_map_disk(map, IDMAP_UID, NOBODY, &unused)) ||
		       (gid == NOBODY && !idmap_map_disk(map, IDMAP_GID, NOBODY, &unused)));
}

bool idmap_owners_look_file(struct idmap_notes *notes, const struct idmap_row *row, uint32_t uid,
			    uint32_t gid, const char *path)
{
	const uint32_t ids[IDMAP_KINDS] = {[IDMAP_UID] = uid, [IDMAP_GID] = gid};
	uint32_t kind;
	bool noted = false;

	for (kind = 0; kind < IDMAP_KINDS; kind++) {
		char hint[HINT_SIZE];

		if (!is_left_out(row, false, (enum idmap_kind)kind, ids[kind], hint))
			continue;
		noted = true;
		idmap_note(
			notes,
			"%s of the new root has the %s %u on disk, which the map leaves out: it is"
			" nobody's (65534); %s",
			path, kind_names[kind], ids[kind], hint);
	}
	return noted;
}

bool idmap_owners_note_file(const struct idmap_stage *stage, const struct idmap_row *row,
			    int file_fd, const char *path)
{
	struct stat st;

	return !fstat(file_fd, &st) &&
	       idmap_owners_look_file(stage->notes, row, st.st_uid, st.st_gid, path);
}

/* Whether an option says whom a tmpfs belongs to. */
static bool says_owner(const struct idmap_row *row)
{
	const char *item = row->data;

	while (*item && strncmp(item, "uid=", 4) && strncmp(item, "gid=", 4))
		item += strlen(item) + 1;
	return *item;
}

void idmap_owners_look(struct idmap_notes *notes, const struct idmap_row *row,
		       const struct stat *st)
{
	/* A tmpfs gets its owner from the map, unless an option says another one. */
	if (strcmp(row->type, "tmpfs") || says_owner(row)) {
		look_at(notes, row, IDMAP_UID, st);
		look_at(notes, row, IDMAP_GID, st);
	}
	if (S_ISDIR(st->st_mode))
		idmap_owners_look_for_root(notes, row);
}
