// SPDX-License-Identifier: MIT
/*
 * A folder or file of the root becomes a tree: bind and rbind. For a map it is cloned from the disk
 * view, where nothing is mapped yet; without one it shows what the seen view shows.
 */
#define _GNU_SOURCE
#include <errno.h>
#include <limits.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>

#include "mount/announced.h"
#include "mount/bind.h"

int idmap_open_source(const struct idmap_stage *stage, const struct idmap_row *row, bool seen,
		      bool *ret_folder)
{
	const int root_fd = seen ? stage->seen_fd : stage->disk_fd;
	int fd = idmap_open_inside(root_fd, row->inside, O_PATH | O_DIRECTORY, RESOLVE_NO_SYMLINKS);

	*ret_folder = fd >= 0;
	if (fd == -ENOTDIR)
		fd = idmap_open_inside(root_fd, row->inside, O_PATH, RESOLVE_NO_SYMLINKS);
	return fd == -ELOOP ? IDMAP_BY_LINK : fd;
}

/* A clone of the row's source by the folder that holds it, if no link is in the way. */
static int clone_in_folder(struct idmap_stage *stage, const struct idmap_row *row, bool seen,
			   bool *ret_folder)
{
	const char *name;
	const int folder_fd =
		seen ? idmap_parent_of(&stage->target, stage->seen_fd, row->inside, &name)
		     : idmap_parent_of(&stage->source, stage->disk_fd, row->inside, &name);
	struct stat st;
	int fd;

	if (folder_fd < 0)
		return folder_fd;
	fd = or_errno(sys_open_tree(folder_fd, name,
				    OPEN_TREE_CLONE | OPEN_TREE_CLOEXEC | AT_SYMLINK_NOFOLLOW |
					    (row->flags & IDMAP_RBIND ? AT_RECURSIVE : 0)));
	if (fd < 0)
		return fd;
	if (fstat(fd, &st) || S_ISLNK(st.st_mode))
		idmap_close(&fd);
	else
		*ret_folder = S_ISDIR(st.st_mode);
	return fd;
}

static int fail_unbindable(const struct idmap_row *row, struct idmap_error *ret_error)
{
	return idmap_fail(ret_error, row, IDMAP_NO_SOURCE, EINVAL,
			  "SOURCE lies on a mount that is unbindable, which cannot be cloned; make"
			  " that private (mount --make-private)");
}

int idmap_check_same(const struct idmap_stage *stage, const struct idmap_row *row, int fd,
		     struct idmap_error *ret_error)
{
	idmap_closed int seen_fd = -1;
	bool folder;

	if (stage->plan->new_root)
		return 0;
	seen_fd = idmap_open_source(stage, row, true, &folder);
	if (seen_fd < 0 || (fd >= 0 && idmap_same_file(seen_fd, fd)))
		return 0;
	return fail_unbindable(row, ret_error);
}

static int clone_source(struct idmap_stage *stage, const struct idmap_row *row, bool seen,
			bool *ret_folder, struct idmap_error *ret_error)
{
	int fd = row->inside[1] ? clone_in_folder(stage, row, seen, ret_folder) : -1;
	idmap_closed int source_fd = -1;

	if (fd >= 0)
		return fd;
	source_fd = idmap_open_source(stage, row, seen, ret_folder);
	if (source_fd == IDMAP_BY_LINK)
		return IDMAP_BY_LINK;
	if (source_fd == -ENOENT && !seen && idmap_check_same(stage, row, -1, ret_error))
		return -EINVAL;
	fd = source_fd < 0 ? source_fd : idmap_clone(source_fd, row->flags & IDMAP_RBIND);
	if (source_fd == -ENOENT && row->said_inside && strcmp(row->said_inside, row->inside))
		idmap_fail(ret_error, row, IDMAP_NO_SOURCE, ENOENT,
			   "SOURCE is a link, or behind one, and that leads to %s (%m); make that"
			   " in the image, or correct the link",
			   row->inside);
	else if (source_fd >= 0 && fd == -EINVAL)
		fail_unbindable(row, ret_error);
	else if (fd < 0)
		idmap_fail(
			ret_error, row, source_fd < 0 ? IDMAP_NO_SOURCE : IDMAP_NO_MOUNT, -fd,
			"%s in the new root cannot be cloned (%m); a bind's SOURCE is a path in the new"
			" root%s",
			row->subdir ? row->inside : row->source,
			row->subdir ? ", and X-mount.subdir= a folder in it" : "");
	ret_error->absent = source_fd == -ENOENT;
	return fd;
}

int idmap_clone_source(struct idmap_stage *stage, const struct idmap_row *row, bool seen,
		       bool *ret_folder, struct idmap_error *ret_error)
{
	int fd = clone_source(stage, row, seen, ret_folder, ret_error), result;

	if (fd < 0)
		return fd;
	result = idmap_leave_peers(stage->plan, fd);
	if (result)
		idmap_peers_failed(row, -result, ret_error);
	else if (!seen)
		result = idmap_check_same(stage, row, fd, ret_error);
	if (!result)
		return fd;
	idmap_close(&fd);
	return result;
}

/* Tries the map on the mount at `path` of the disk view alone. 0, or -errno with the error filled.
 */
static int map_one(const struct idmap_stage *stage, const struct idmap_row *row, const char *path,
		   struct idmap_error *ret_error)
{
	struct idmap_row one = *row;
	idmap_closed int fd = idmap_open_inside(stage->disk_fd, path, O_PATH, RESOLVE_NO_SYMLINKS);
	idmap_closed int tree_fd = fd < 0 ? fd : idmap_clone(fd, false);

	one.flags &= ~(uint32_t)IDMAP_RBIND;
	one.flags |= IDMAP_BIND;
	return tree_fd < 0 ? 0 : idmap_tree_map(tree_fd, &one, ret_error);
}

/*
 * The mounts inside the row's source, one call after the other, by the paths that the disk view has
 * for them; false: there are no more. Begins with a zeroed walk.
 */
struct submounts {
	char *memory, *text, view[PATH_MAX];
	size_t length;
	int error; /* -errno: the list cannot be read */
};

static void begin_submounts(const struct idmap_stage *stage, struct submounts *walk)
{
	struct idmap_arena arena;
	struct idmap_error unused;
	char link[32];
	size_t size;
	long n;

	idmap_print(link, sizeof(link), "/proc/self/fd/%u", stage->disk_fd);
	n = readlink(link, walk->view, sizeof(walk->view) - 1);
	if (n < 0)
		walk->error = -errno;
	else
		walk->error = idmap_arena_map(&arena, IDMAP_MOUNTS_MEMORY, &unused);
	if (n < 0 || walk->error)
		return;
	walk->memory = arena.at;
	walk->view[n] = 0;
	walk->length = n == 1 ? 0 : (size_t)n;
	walk->error = idmap_file_read("/proc/self/mountinfo", &arena, &walk->text, &size);
}

static void end_submounts(struct submounts *walk)
{
	if (walk->memory)
		munmap(walk->memory, IDMAP_MOUNTS_MEMORY);
}

static bool next_submount(const struct idmap_stage *stage, const struct idmap_row *row,
			  struct submounts *walk, struct idmap_mountinfo *mount,
			  const char **ret_path)
{
	if (!(row->flags & IDMAP_RBIND))
		return false;
	if (!walk->memory && !walk->error)
		begin_submounts(stage, walk);
	while (!walk->error && idmap_mountinfo_next(&walk->text, mount)) {
		*ret_path = mount->target + walk->length;
		if (idmap_path_inside(mount->target, walk->view) &&
		    idmap_path_inside(*ret_path, row->inside) && strcmp(*ret_path, row->inside))
			return true;
	}
	return false;
}

void idmap_submount_note(const struct idmap_stage *stage, const struct idmap_row *row,
			 struct idmap_error *ret_error)
{
	struct submounts walk = {.text = NULL};
	struct idmap_mountinfo mount;
	struct idmap_error error;
	const char *path;

	while (next_submount(stage, row, &walk, &mount, &path)) {
		if (!map_one(stage, row, path, &error))
			continue;
		*ret_error = error;
		idmap_fail_more(ret_error, "; that is the mount on %s, which comes along", path);
		break;
	}
	end_submounts(&walk);
}

/*
 * The mount at `path` of the disk view, which comes along: whose it is under the map, and what the
 * host would have mounted in it, if it is a share.
 */
static int look_at_submount(const struct idmap_stage *stage, struct idmap_row *row,
			    const char *path, bool share, struct idmap_error *ret_error)
{
	idmap_closed int fd = idmap_open_inside(stage->disk_fd, path, O_PATH, RESOLVE_NO_SYMLINKS);
	char target[PATH_MAX];

	if (fd < 0)
		return 0;
	idmap_print(target, sizeof(target), "%s%s", row->target[1] ? row->target : "",
		    path + (row->inside[1] ? strlen(row->inside) : 0));
	idmap_owners_note_file(stage, row, fd, target);
	return share ? idmap_refuse_announced(stage, fd, row, target, ret_error) : 0;
}

int idmap_refuse_inside(const struct idmap_stage *stage, struct idmap_row *row,
			struct idmap_error *ret_error)
{
	struct submounts walk = {.text = NULL};
	struct idmap_mountinfo mount;
	const char *path;
	int result = 0;

	while (!result && next_submount(stage, row, &walk, &mount, &path)) {
		if (!strcmp(mount.type, "overlay"))
			result = idmap_fail(
				ret_error, row, IDMAP_NO_MAP, EINVAL,
				"the mount on %s, which comes along, is an overlay, whose"
				" ids are not those on disk; map its layers, and write bind"
				" here",
				path);
		else
			result = look_at_submount(stage, row, path, !strcmp(mount.type, "virtiofs"),
						  ret_error);
	}
	end_submounts(&walk);
	return walk.error ? idmap_fail(ret_error, row, IDMAP_BAD_SYSTEM, -walk.error,
				       "what is mounted in it cannot be read from"
				       " /proc/self/mountinfo (%m), and may be what the map is not"
				       " for; map the folders in it one by one")
			  : result;
}
