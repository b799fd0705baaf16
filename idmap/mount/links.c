// SPDX-License-Identifier: MIT
/*
 * Real paths. A TARGET, or the SOURCE of a bind, may lead through links of the tree that stands at
 * /. Which row stands on which is decided on the paths that they lead to, so those are read off
 * before anything is built on them. Only that one tree is asked: where a path enters another row's
 * target, or another mount, the rest is taken as it is written: a link in a stranger's tree decides
 * nothing.
 */
#define _GNU_SOURCE
#include <errno.h>
#include <limits.h>
#include <string.h>

#include "mount/mount.h"

#define LINKS_MOST 40  /* as the kernel has it (MAXSYMLINKS) */
#define ROUNDS_MOST 16 /* one row's path may wait for another's */

/* A path on its way: what has been resolved, and what is still to be. */
struct walk {
	char done[PATH_MAX];
	char rest[2 * PATH_MAX];
	size_t base; /* links and .. do not lead above so many bytes of `done` */
};

/*
 * Whether another tree stands at `path`: that of a row other than `row`, or what comes along. NULL:
 * it is looked where that comes to stand itself.
 */
static bool is_target(const struct idmap_stage *stage, const struct idmap_row *row,
		      const char *path)
{
	const struct idmap_plan *plan = stage->plan;
	const struct idmap_carried *carried;
	uint32_t i;

	for (carried = stage->carry; plan->new_root && row && carried; carried = carried->next)
		if (!strcmp(carried->real, path))
			return true;
	for (i = 0; i < plan->rows; i++)
		if (plan->row[i] != row && !idmap_row_is_root(plan->row[i]) &&
		    (!row || strcmp(plan->row[i]->target, row->target)) &&
		    !strcmp(plan->row[i]->target, path))
			return true;
	return false;
}

/* Puts a link's text in front of what is still to be resolved. */
static int follow(struct walk *walk, const char *link)
{
	char rest[sizeof(walk->rest)];
	struct idmap_text text;

	idmap_text_init(&text, rest, sizeof(rest));
	idmap_text_add(&text, "%s%s", link, walk->rest);
	if (text.cut)
		return -ENAMETOOLONG;
	memcpy(walk->rest, rest, sizeof(rest));
	if (*link == '/')
		walk->done[walk->base] = 0;
	return 0;
}

/* What the path done so far is, which has no links any more; -EXDEV as below. */
static int open_done(const struct idmap_stage *stage, const char *path, int flags)
{
	return idmap_open_inside(stage->seen_fd, path, flags,
				 RESOLVE_NO_SYMLINKS |
					 (stage->plan->root->follows ? 0 : RESOLVE_NO_XDEV));
}

/*
 * The link that the path done so far is, in `buffer`; 0: it is none, or nothing is there. -EXDEV:
 * it lies in what is mounted in the root that we are in.
 */
static long read_link(const struct idmap_stage *stage, const char *path, char *buffer, size_t size)
{
	idmap_closed int fd = open_done(stage, path, O_PATH | O_NOFOLLOW);
	long n = fd < 0 ? 0 : readlinkat(fd, "", buffer, size - 1);

	buffer[n > 0 ? n : 0] = 0;
	return fd == -EXDEV ? fd : n > 0 ? n : 0;
}

/* Takes the next name off what is still to be resolved. -ENAMETOOLONG: it does not fit. */
static int take_name(struct walk *walk)
{
	char *name = walk->rest, *slash;
	size_t length, done = strlen(walk->done);

	while (*name == '/')
		name++;
	slash = strchr(name, '/');
	length = slash ? (size_t)(slash - name) : strlen(name);
	if (length == 2 && !memcmp(name, "..", 2)) {
		slash = strrchr(walk->done + walk->base, '/');
		if (slash)
			*slash = 0;
	} else if (length && !(length == 1 && *name == '.')) {
		if (done + 1 + length >= sizeof(walk->done))
			return -ENAMETOOLONG;
		walk->done[done] = '/';
		memcpy(walk->done + done + 1, name, length);
		walk->done[done + 1 + length] = 0;
	}
	memmove(walk->rest, name + length, strlen(name + length) + 1);
	return 0;
}

static bool is_next_up(const struct walk *walk)
{
	const char *name = walk->rest + strspn(walk->rest, "/");

	return !strncmp(name, "..", 2) && (!name[2] || name[2] == '/');
}

/*
 * Whether ".." may be taken for the folder above: the kernel goes there by way of the folder
 * itself. In another tree, `entered` bytes of the path lead to it, a name may be a link. -ENOENT,
 * -ENOTDIR; -EXDEV: it is in another tree.
 */
static int check_up(const struct idmap_stage *stage, const struct walk *walk, size_t entered)
{
	idmap_closed int fd = -1;

	if (entered)
		return strlen(walk->done) > entered ? -EXDEV : 0;
	if (!*walk->done)
		return 0;
	fd = open_done(stage, walk->done, O_PATH | O_DIRECTORY);
	return fd == -ENOENT || fd == -ENOTDIR ? fd : 0;
}

/* Adds what could not be resolved, as it is written. */
static void add_rest(struct walk *walk, const char *rest)
{
	const size_t done = strlen(walk->done);

	rest += strspn(rest, "/");
	if (*rest)
		idmap_print(walk->done + done, sizeof(walk->done) - done, "/%s", rest);
}

/*
 * Resolves what is left of the path, as far as no other row's tree is entered. -ENOENT, -ENOTDIR:
 * it does not lead on, and what is left stands behind the rest as it is written.
 */
static int resolve_rest(const struct idmap_stage *stage, const struct idmap_row *row,
			struct walk *walk)
{
	char link[PATH_MAX], before[PATH_MAX];
	int links = 0, result = 0;
	size_t entered = 0;
	long length;

	while (walk->rest[strspn(walk->rest, "/")]) {
		if (is_next_up(walk))
			result = check_up(stage, walk, entered);
		if (result) {
			add_rest(walk, walk->rest);
			return result;
		}
		memcpy(before, walk->done, sizeof(before));
		result = take_name(walk);
		if (result)
			return result;
		if (strlen(walk->done) < entered)
			entered = 0;
		if (entered || !strcmp(before, walk->done))
			continue;
		length = is_target(stage, row, walk->done)
				 ? -EXDEV
				 : read_link(stage, walk->done, link, sizeof(link));
		if (length == -EXDEV)
			entered = strlen(walk->done); /* another tree stands here */
		if (length <= 0)
			continue;
		if (++links > LINKS_MOST)
			return -ELOOP;
		memcpy(walk->done, before, sizeof(before));
		result = follow(walk, link);
		if (result)
			return result;
	}
	return 0;
}

/*
 * Where `path` leads in the root, in walk->done. The first `base` bytes of it are a folder whose
 * inner links do not lead out of it.
 */
static int resolve(const struct idmap_stage *stage, const struct idmap_row *row, const char *path,
		   size_t base, struct walk *walk)
{
	int result;

	*walk->done = 0;
	walk->base = 0;
	idmap_print(walk->rest, sizeof(walk->rest), "%.*s", (int)base, path);
	result = resolve_rest(stage, row, walk);
	if (result) {
		add_rest(walk, path + base);
		return result;
	}
	walk->base = strlen(walk->done);
	idmap_print(walk->rest, sizeof(walk->rest), "%s", path + base);
	result = resolve_rest(stage, row, walk);
	if (!*walk->done)
		memcpy(walk->done, "/", 2);
	return result;
}

int idmap_path_real(const struct idmap_stage *stage, const char *path, char real[PATH_MAX])
{
	struct walk walk;
	const int result = resolve(stage, NULL, path, 0, &walk);

	idmap_print(real, PATH_MAX, "%s", walk.done);
	return result;
}

/* Gives the field the path that it leads to. 1: it is another one. */
static int take_path(struct idmap_arena *arena, const struct walk *walk, const char **path)
{
	struct idmap_error unused;

	if (!strcmp(walk->done, *path))
		return 0;
	if (idmap_arena_room(arena, 2 * PATH_MAX, &unused))
		return -ENOMEM;
	*path = idmap_copy(arena, walk->done, strlen(walk->done));
	return 1;
}

static int way_closed(const struct idmap_row *row, struct idmap_error *ret_error)
{
	return idmap_fail(ret_error, row, IDMAP_BAD_TABLE, ELOOP,
			  "there is a link in its way with .. behind a name in another tree, where"
			  " links decide nothing; write the path that is meant");
}

/* One round: 1 if any path has changed. */
static int resolve_rows(const struct idmap_stage *stage, struct idmap_arena *arena,
			struct idmap_error *ret_error)
{
	const struct idmap_plan *plan = stage->plan;
	struct walk walk;
	bool changed = false;
	uint32_t i;

	for (i = 0; i < plan->rows; i++) {
		struct idmap_row *row = plan->row[i];
		int result = 0;

		/* Each time from what was written: other rows' targets may be others by now. */
		if (!row->said_target) {
			row->said_target = row->target;
			row->said_inside = row->inside;
		}
		if (!idmap_row_is_root(row)) {
			result = resolve(stage, row, row->said_target, 0, &walk);
			if (!result)
				result = take_path(arena, &walk, &row->target);
		}
		if (result == -EXDEV)
			return way_closed(row, ret_error);
		if (result < 0)
			return idmap_target_failed(row, -result, ret_error);
		changed |= result;
		if (!row->inside)
			continue;
		result = resolve(stage, row, row->said_inside, row->base, &walk);
		/* As absent as any other, where it is looked for. */
		if (!result || result == -ENOENT || result == -ENOTDIR)
			result = take_path(arena, &walk, &row->inside);
		if (result == -EXDEV)
			return way_closed(row, ret_error);
		if (result < 0)
			return idmap_fail(ret_error, row, IDMAP_NO_SOURCE, -result,
					  "%s cannot be followed in the new root (%m); correct its"
					  " links in the image",
					  row->source);
		changed |= result;
	}
	return changed;
}

int idmap_links_resolve(const struct idmap_stage *stage, struct idmap_arena *arena,
			struct idmap_error *ret_error)
{
	int rounds, result = 1;

	for (rounds = 0; result > 0 && rounds < ROUNDS_MOST; rounds++)
		result = resolve_rows(stage, arena, ret_error);
	if (!result)
		return rounds > 1; /* the last one changes nothing */
	return result > 0
		       ? idmap_fail(ret_error, NULL, IDMAP_BAD_TABLE, ELOOP,
				    "links of the root lead the rows in a circle; write the paths"
				    " that they lead to")
		       : result;
}

int idmap_link_failed(const struct idmap_plan *plan, const struct idmap_row *row,
		      struct idmap_error *ret_error)
{
	const struct idmap_row *around = row;
	uint32_t i;

	for (i = 0; i < plan->rows; i++) {
		const struct idmap_row *other = plan->row[i];

		/* What a layer is on has its own target. */
		if (other != row && !idmap_row_is_root(other) &&
		    strcmp(other->target, row->target) &&
		    (idmap_path_inside(row->target, other->target) ||
		     (row->inside && idmap_path_inside(row->inside, other->target))))
			around = other;
	}
	if (around == row)
		return idmap_fail(
			ret_error, row, IDMAP_BAD_TABLE, ELOOP,
			"there is a link in its way, in another mount such as /proc, where links"
			" decide nothing; write the path that is meant");
	return idmap_fail(
		ret_error, row, IDMAP_BAD_TABLE, ELOOP,
		"there is a link in its way, in the tree of the row for %s, where links decide"
		" nothing; write the path that is meant",
		around->target);
}

void idmap_carry_resolve(struct idmap_stage *stage)
{
	struct idmap_carried *carried;
	struct walk walk;

	/* As a TARGET is: the root's own links count, and where another row stands no other does.
	 */
	for (carried = stage->carry; carried; carried = carried->next) {
		if (resolve(stage, NULL, carried->path, 0, &walk) ||
		    !strcmp(walk.done, carried->path) ||
		    strlen(walk.done) >= sizeof(carried->behind_link))
			continue;
		idmap_print(carried->behind_link, sizeof(carried->behind_link), "%s", walk.done);
		carried->real = carried->behind_link;
	}
}
