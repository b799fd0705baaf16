// SPDX-License-Identifier: MIT
/*
 * idmap show: which mounts are idmapped, and how. The kernel tells by statmount(2) since 6.15;
 * before, it tells which ones, and their maps stand in what PID 1 has recorded.
 */
#define _GNU_SOURCE
#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "command.h"

#define IDS_AT_ONCE 512
#define MEMORY (64 << 20) /* costs what is touched */

/* linux/mount.h, 6.8; the maps 6.15 */
#ifndef SYS_statmount
#define SYS_statmount 457
#endif
#ifndef SYS_listmount
#define SYS_listmount 458
#endif
#define LSMT_ROOT UINT64_MAX
enum {
	WANT_BASIC = 0x2,
	WANT_POINT = 0x10,
	WANT_TYPE = 0x20,
	WANT_SOURCE = 0x200,
	WANT_UIDMAP = 0x2000,
	WANT_GIDMAP = 0x4000,
};

struct request { /* struct mnt_id_req */
	uint32_t size, spare;
	uint64_t id, param, ns_id;
};

struct answer { /* struct statmount */
	uint32_t size, options;
	uint64_t mask;
	uint32_t major, minor;
	uint64_t magic;
	uint32_t sb_flags, type;
	uint64_t id, parent_id;
	uint32_t id_old, parent_id_old;
	uint64_t attr, propagation, peer_group, master, propagate_from;
	uint32_t root, point;
	uint64_t ns_id;
	uint32_t subtype, source, opt_num, opt_array, opt_sec_num, opt_sec_array;
	uint64_t supported;
	uint32_t map_num[IDMAP_KINDS * 2]; /* uidmap_num, uidmap, gidmap_num, gidmap */
	uint64_t spare[43];
	char strings[65536];
};

/* What is printed of a mount. */
struct mount {
	const char *source, *target, *type;
	const struct idmap_map *map; /* NULL: it is not known */
};

struct show {
	struct idmap_arena arena;
	const char *path;	      /* only the mount that holds it; or NULL */
	struct idmap_mount_id holder; /* that mount */
	bool held; /* it is a mount of this namespace, so what is told is true of it */
	bool json;
	struct mount *mount;
	size_t count;
};

static char *copy(struct show *show, const char *string)
{
	return idmap_copy(&show->arena, string, strlen(string));
}

static void add(struct show *show, const char *source, const char *target, const char *type,
		const struct idmap_map *map)
{
	struct mount *mount = realloc(show->mount, (show->count + 1) * sizeof(*mount));

	if (!mount)
		return;
	show->mount = mount;
	mount[show->count++] =
		(struct mount){copy(show, source), copy(show, target), copy(show, type), map};
}

/* --- by the kernel --------------------------------------------------------------------------- */

/* "DISK SEEN COUNT", so many times, each with a NUL. */
static bool read_extents(struct show *show, const char *text, uint32_t count, struct idmap_map *map,
			 enum idmap_kind kind)
{
	uint32_t i;

	map->extent[kind] = idmap_alloc(&show->arena, (count + 1) * sizeof(struct idmap_extent));
	if (!map->extent[kind])
		return false;
	map->extents[kind] = count;
	for (i = 0; i < count; i++, text += strlen(text) + 1) {
		struct idmap_extent *extent = &map->extent[kind][i];

		if (sscanf(text, "%u %u %u", &extent->disk, &extent->seen, &extent->count) != 3)
			return false;
	}
	return true;
}

static void show_one(struct show *show, uint64_t id, struct answer *answer)
{
	struct request request = {
		.size = sizeof(request),
		.id = id,
		.param = WANT_BASIC | WANT_POINT | WANT_TYPE | WANT_SOURCE | WANT_UIDMAP |
			 WANT_GIDMAP,
	};
	struct idmap_map *map;

	if (syscall(SYS_statmount, &request, answer, sizeof(*answer), 0) ||
	    !(answer->attr & MOUNT_ATTR_IDMAP))
		return;
	map = idmap_alloc(&show->arena, sizeof(*map));
	if (map && !(read_extents(show, answer->strings + answer->map_num[1], answer->map_num[0],
				  map, IDMAP_UID) &&
		     read_extents(show, answer->strings + answer->map_num[3], answer->map_num[2],
				  map, IDMAP_GID)))
		map = NULL;
	add(show, answer->mask & WANT_SOURCE ? answer->strings + answer->source : "none",
	    answer->strings + answer->point, answer->strings + answer->type, map);
}

/* Whether this kernel tells of maps: of any mount it says whether it could. */
static bool kernel_tells(struct answer *answer, uint64_t id)
{
	struct request request = {.size = sizeof(request), .id = id, .param = 0x1000};

	return !syscall(SYS_statmount, &request, answer, sizeof(*answer), 0) &&
	       answer->mask & 0x1000 && answer->supported & WANT_UIDMAP;
}

static bool show_all(struct show *show, struct answer *answer)
{
	struct request request = {.size = sizeof(request), .id = LSMT_ROOT};
	uint64_t ids[IDS_AT_ONCE];
	bool told = false;
	long count, i;

	do {
		count = syscall(SYS_listmount, &request, ids, IDS_AT_ONCE, 0);
		if (count > 0 && !told)
			told = kernel_tells(answer, ids[0]);
		for (i = 0; told && i < count; i++)
			show_one(show, ids[i], answer);
		if (count > 0)
			request.param = ids[count - 1];
	} while (told && count == IDS_AT_ONCE);
	return told;
}

static bool show_holder(struct show *show, struct answer *answer)
{
	show->held = kernel_tells(answer, show->holder.unique);
	if (show->held)
		show_one(show, show->holder.unique, answer);
	return show->held;
}

/* false: it does not, and nothing has been found. */
static bool show_by_kernel(struct show *show)
{
	struct answer *answer = calloc(1, sizeof(*answer));
	bool told = answer && (show->path ? show_holder : show_all)(show, answer);

	free(answer);
	return told;
}

/* --- by what was recorded -------------------------------------------------------------------- */

/* An idmapped mount, and what is known of it. */
struct listed {
	const struct idmap_mountinfo *mount;
	const struct idmap_map *map; /* NULL: it is not known */
	bool bind;		     /* a row without a map has made it, by what it shows */
};

/*
 * By what PID 1 has recorded: of a target's rows that have a map the one after so many `others`
 * that are idmapped. What stands above those of PID 1 is not its own, and nothing is known of it.
 */
static void look_up(const struct record *boot, uint32_t others, struct listed *listed)
{
	const char *target = listed->mount->target;
	size_t i;

	for (i = 0; i < boot->count; i++) {
		const struct idmap_row *row = boot->row[i].row;
		const bool same = row->target && !strcmp(row->target, target);

		if (same && row->map && !(row->flags & IDMAP_LAYER) && !others--) {
			listed->map = row->map;
			return;
		}
		listed->bind |= row->target && row->flags & IDMAP_CLONE && !row->map &&
				(same || (row->flags & IDMAP_RBIND &&
					  idmap_path_inside(target, row->target)));
	}
}

/* Whether both have the same extents, in the same order. */
static bool same_map(const struct idmap_map *a, const struct idmap_map *b)
{
	int kind;

	for (kind = 0; kind < IDMAP_KINDS; kind++)
		if (a->extents[kind] != b->extents[kind] ||
		    memcmp(a->extent[kind], b->extent[kind],
			   a->extents[kind] * sizeof(*a->extent[kind])))
			return false;
	return true;
}

/*
 * A bind of what is mapped has that one's map. It is the one of all mounts whose map is known and
 * that show the same files; NULL: they differ.
 */
static const struct idmap_map *map_behind(const struct listed *all, size_t count,
					  const struct idmap_mountinfo *mount)
{
	const struct idmap_map *map = NULL;
	size_t i;

	for (i = 0; i < count; i++) {
		if (!all[i].map || strcmp(all[i].mount->number, mount->number) ||
		    !idmap_path_inside(mount->root, all[i].mount->root))
			continue;
		if (map && !same_map(map, all[i].map))
			return NULL;
		map = all[i].map;
	}
	return map;
}

static uint32_t count_at(const struct idmap_mountinfo *mounts, size_t count, const char *target)
{
	uint32_t found = 0;

	while (count--)
		found += idmap_contains(mounts[count].options, ",idmapped") &&
			 !strcmp(mounts[count].target, target);
	return found;
}

static bool is_asked(const struct show *show, const struct idmap_mountinfo *mount)
{
	return !show->path || strtoull(mount->id, NULL, 10) == show->holder.number;
}

static int show_by_record(struct show *show, struct idmap_error *ret_error)
{
	struct mounts mounts = {0};
	struct listed *all;
	struct records records;
	size_t i, count = 0;
	int result = mounts_read(&mounts, ret_error);

	if (result)
		return result;
	records_read(&records);
	all = calloc(mounts.count + 1, sizeof(*all));
	if (!all)
		return idmap_fail(ret_error, NULL, IDMAP_BAD_SYSTEM, ENOMEM, "%m");
	for (i = 0; i < mounts.count; i++) {
		const struct idmap_mountinfo *mount = &mounts.mount[i];
		const struct record *unused;
		const struct idmap_row *row;
		struct idmap_mount_id id;

		show->held |= is_asked(show, mount);
		if (!idmap_contains(mount->options, ",idmapped"))
			continue;
		row = records_row(&records, mount, &unused);
		all[count] = (struct listed){mount, row ? row->map : NULL, row};
		/* What has a number that is never given anew, and another one, is not PID 1's. */
		id = mount_id_listed(mount);
		if (!row && (!id.unique || id.looks))
			look_up(&records.boot, count_at(mounts.mount, i, mount->target),
				&all[count]);
		count++;
	}
	for (i = 0; i < count; i++)
		if (is_asked(show, all[i].mount))
			add(show, all[i].mount->source, all[i].mount->target, all[i].mount->type,
			    all[i].map || !all[i].bind ? all[i].map
						       : map_behind(all, count, all[i].mount));
	free(all);
	return 0;
}

/* --- which mount ----------------------------------------------------------------------------- */

/*
 * Which mount holds the path, told by the kernel, which follows links and knows what covers what:
 * the paths of mountinfo say neither.
 */
static int find_holder(struct show *show, struct idmap_error *ret_error)
{
	idmap_closed int fd = idmap_open(show->path, O_PATH);

	if (fd < 0)
		return idmap_fail(ret_error, NULL, IDMAP_NO_SOURCE, -fd,
				  "'%s' cannot be looked at (%m); name a path that is there",
				  show->path);
	show->holder = mount_id_of(fd, "");
	if (!show->holder.number)
		return idmap_fail(ret_error, NULL, IDMAP_BAD_SYSTEM, ENOSYS,
				  "the kernel does not tell which mount holds %s; boot Linux 5.8 or"
				  " newer, or leave the path out",
				  show->path);
	return 0;
}

static int find_mounts(struct show *show, struct idmap_error *ret_error)
{
	int result = idmap_arena_map(&show->arena, MEMORY, ret_error);

	if (!result && show->path)
		result = find_holder(show, ret_error);
	if (!result && !show_by_kernel(show))
		result = show_by_record(show, ret_error);
	if (!result && show->path && !show->held)
		result = idmap_fail(ret_error, NULL, IDMAP_NO_SOURCE, EXDEV,
				    "the mount that holds %s is not to be seen from here; enter its"
				    " namespace first (nsenter --mount)",
				    show->path);
	return result;
}

/* --- printing -------------------------------------------------------------------------------- */

static void print_mount(const struct mount *mount)
{
	char *buffer = malloc(1 << 16);
	struct idmap_text text;

	if (!buffer)
		return;
	idmap_text_init(&text, buffer, 1 << 16);
	if (mount->map)
		idmap_map_options(mount->map, &text);
	printf("%-24s %-10s %s\n", one_line(mount->target), mount->type,
	       mount->map ? buffer : "idmapped, by nothing that is recorded");
	free(buffer);
}

static void print_json(const struct mount *mount, bool last)
{
	fputs("  {\"target\": ", stdout);
	json_string(stdout, mount->target);
	fputs(", \"source\": ", stdout);
	json_string(stdout, mount->source);
	fputs(", \"type\": ", stdout);
	json_string(stdout, mount->type);
	fputs(", \"map\": ", stdout);
	json_map(stdout, mount->map);
	printf("}%s\n", last ? "" : ",");
}

static void print_list(const struct show *show)
{
	size_t i;

	puts("[");
	for (i = 0; i < show->count; i++)
		print_json(&show->mount[i], i + 1 == show->count);
	puts("]");
}

static int run(int argc, char **argv)
{
	struct show show = {0};
	struct idmap_error error;
	size_t i;
	int at;

	for (at = 1; at < argc; at++) {
		if (!strcmp(argv[at], "--json"))
			show.json = true;
		else if (*argv[at] == '-' || show.path)
			return bad_use(&command_show, argv[at], "no option, or one path too many");
		else
			show.path = argv[at];
	}
	if (find_mounts(&show, &error))
		return tell_failed(&command_show, &error);
	if (show.json)
		print_list(&show);
	for (i = 0; !show.json && i < show.count; i++)
		print_mount(&show.mount[i]);
	return EXIT_DONE;
}

const struct command command_show = {
	"show",
	"[PATH] [--json]",
	"Prints which mounts are idmapped, with their maps: a line a mount. Since Linux 6.15 the kernel tells\n"
	"the maps; before, they are what idmap-init and idmap have recorded in /run/idmap.\n\n"
	"  PATH    only the mount that holds it, links followed; nothing where that is not idmapped\n"
	"  --json  a list of objects: target, source, type, map; a map that is not known is null\n",
	run,
};
