/* SPDX-License-Identifier: MIT */
/*
 * Between the files of mount/, which carry out a plan: userns, idmapped, view, owners, area,
 * standing, refusal, written, filesystem, verified, clone, behind, inside, bind, image, looks, top,
 * layers, tree, rows, links, stage, build, replace, format, program, each in need of those before
 * it. Of the rest of the library they know table/ and device/. What Kconfig takes out leaves an
 * inline stub here.
 *
 * A tree is a descriptor of a detached mount; who has it closes it.
 */
#ifndef MOUNT_H
#define MOUNT_H

#include <limits.h>
#include <sys/stat.h>

#include "device/device.h"
#include "mount/sys.h"

/* --- userns.c: a map becomes a user namespace ------------------------------------------------ */

/*
 * Makes the map's user namespace once and keeps it in map->userns_fd. Needs /proc, CAP_SYS_ADMIN
 * and that nobody chroot'ed us (user_namespaces(7)). The helper process is gone on return. The row
 * is the one that is told in an error.
 */
int idmap_userns(struct idmap_map *map, const struct idmap_row *row, struct idmap_error *ret_error);
/* One row less waits for the map: closes the namespace after the last. */
void idmap_userns_put(struct idmap_map *map);

/* --- idmapped.c: mount_setattr with a map, and why it was refused ---------------------------- */

/* Whether this kernel is of an earlier version, by its own word. */
bool idmap_kernel_before(uint32_t major, uint32_t minor);
/*
 * Gives a detached mount the row's map and attributes in one call (mount_setattr(2)). On failure
 * it finds out whether the kernel, the filesystem or the map is to blame.
 */
int idmap_tree_map(int tree_fd, const struct idmap_row *row, struct idmap_error *ret_error);
/* The same without the map. */
int idmap_tree_attributes(int tree_fd, const struct idmap_row *row, struct idmap_error *ret_error);
/* Where nosymfollow is why a kernel before 5.14 gives this -errno: fills the error. Else 0. */
int idmap_nosymfollow_failed(const struct idmap_row *row, int error, struct idmap_error *ret_error);
/*
 * Gives a row what its tree has and it does not say: ro where that cannot be written, which the
 * caller tells, and of a bind what it keeps of its source.
 */
void idmap_note_found(int tree_fd, struct idmap_row *row);

/* --- view.c: what hangs where while the root is put together --------------------------------- */

/* Opens the root that we are in, or work on: O_PATH, or -errno. */
int idmap_open_root(const struct idmap_plan *plan);
/* A detached clone of what `dir_fd` shows; with what stands on it if asked. open_tree(2). */
int idmap_clone(int dir_fd, bool recursive);
/* As peers of what it was cloned from, a tree and that would take each other along when they go. */
int idmap_leave_peers(const struct idmap_plan *plan, int tree_fd);
/* The same, whatever the plan: mount_setattr(2). */
int idmap_make_private(int tree_fd);
/* What a failure of it is told as. */
int idmap_peers_failed(const struct idmap_row *row, int error, struct idmap_error *ret_error);

/* The spots of the workshop. */
enum idmap_spot { IDMAP_SEEN, IDMAP_DISK, IDMAP_AREA };

/* Whether the row's unmapped tree stays for others to be cloned from. */
bool idmap_in_disk_view(const struct idmap_stage *stage, const struct idmap_row *row);

/* Forgets the folders of rows: a mount by way of a link may have covered them. */
void idmap_parents_close(struct idmap_stage *stage);

/*
 * Attaches a detached mount at a spot of the workshop; from then on its descriptor is the stage's.
 * -errno, of making the workshop too: then the tree is still the caller's.
 */
int idmap_attach_at(struct idmap_stage *stage, enum idmap_spot spot, int *tree_fd);
/* Unmounts what hangs at a spot, with all that stands on it. */
void idmap_detach_from(const struct idmap_stage *stage, enum idmap_spot spot);
/* Whether both descriptors are of one file. */
bool idmap_same_file(int one_fd, int other_fd);
/*
 * Where in a root it comes to stand: opens that. Links of the root count, and they have been
 * followed; where it stands alone they are now. -errno.
 */
int idmap_open_carried(const struct idmap_stage *stage, int root_fd,
		       const struct idmap_carried *carried);
/* Puts a clone of what comes along into the views; -errno. */
int idmap_carry_clone(const struct idmap_stage *stage, struct idmap_carried *carried);
/* Whether a mount could not come along since the new root has no such folder. */
static inline bool idmap_no_folder(int result)
{
	return result == -ENOENT || result == -ENOTDIR || result == -ELOOP;
}
/* What another failure of it is told as. */
int idmap_carry_failed(const char *path, int error, struct idmap_error *ret_error);
/* What a workshop that cannot be made is told as: not the image's fault, but of the root we are in.
 */
int idmap_workshop_failed(int error, struct idmap_error *ret_error);
/* What a failed target is told as. */
int idmap_target_failed(const struct idmap_row *row, int error, struct idmap_error *ret_error);

/* --- owners.c: what a map makes of the owner of a tree ---------------------------------------- */

#define NOBODY 65534 /* what an id is seen as that the map leaves out */

/* Notes what is odd about the map of a tree whose root, a folder or a file, has these ids on disk.
 */
void idmap_owners_look(struct idmap_notes *notes, const struct idmap_row *row,
		       const struct stat *st);
/* Notes where root could make no file in a folder of the row, which is mapped. */
void idmap_owners_look_for_root(struct idmap_notes *notes, const struct idmap_row *row);
/* Whether one of these ids, as seen, is nobody's (65534) since the map leaves it out. */
bool idmap_owners_left_out(const struct idmap_map *map, uint32_t uid, uint32_t gid);
/* idmap_owners_look() of a program; true: there was something. */
bool idmap_owners_look_file(struct idmap_notes *notes, const struct idmap_row *row, uint32_t uid,
			    uint32_t gid, const char *path);
/* The same of a file of the row's tree, opened without the map; true: there was something. */
bool idmap_owners_note_file(const struct idmap_stage *stage, const struct idmap_row *row,
			    int file_fd, const char *path);

/* --- mounted.c: which mount it is ------------------------------------------------------------ */

/*
 * The kernel's numbers of a mount: that of mountinfo, and one that is never given again. Before
 * Linux 6.8, which has none of the latter, a number made of how the root of the mount looks: what
 * it is, and whose it is seen as.
 */
struct idmap_mount_id {
	uint64_t number, unique;
	bool looks; /* unique is that */
};

/*
 * The mount that a path leads to, or with an empty one the descriptor. Where there is a unique
 * number the other one is asked for if both are wanted, and else 0.
 */
struct idmap_mount_id idmap_mount_id(int dir_fd, const char *path, bool both);
/* What is at `rest`, "" or a path, of the folder. Gives `path`. */
const char *idmap_path_join(char path[PATH_MAX], const char *folder, const char *rest);
/* `path` without `folder`, which it is inside of: "" or one that begins with a slash. */
const char *idmap_path_behind(const char *path, const char *folder);
/* Whether the path leads to what a mount shows, and not to something in it. */
bool idmap_is_mount_root(int dir_fd, const char *path);
/* Whether both are there, and one folder, or file without hard links, of one mount. */
bool idmap_same_place(int dir_fd, const char *one, const char *other);

/* --- area.c: a place for trees that have to be attached -------------------------------------- */

/* "7" or, with a folder in it, "7/upper". */
struct idmap_slot_name {
	char text[24];
};
struct idmap_slot_name idmap_slot_name(uint32_t slot, const char *folder);
/* Attaches a tree in a new folder of the area. */
int idmap_area_put(struct idmap_stage *stage, int tree_fd, uint32_t *ret_slot);
/* What a failure of it is told as. */
int idmap_area_failed(const struct idmap_row *row, int error, struct idmap_error *ret_error);

/* --- refusal.c: why a filesystem does not mount ----------------------------------------------- */

struct idmap_attempt {
	const char *option; /* the refused option, or NULL */
	int error;	    /* -errno */
	bool unknown;	    /* the kernel has no such type */
	char words[300];    /* the kernel's */
};

/* The error of a type. `holds`: what the device holds by its superblock, or NULL. */
int idmap_mount_failed(const struct idmap_stage *stage, const struct idmap_row *row,
		       const char *type, const char *holds, const struct idmap_attempt *attempt,
		       struct idmap_error *ret_error);
/* The error of many types, or of none; `tried` says what each of them has met. */
int idmap_no_type_mounts(const struct idmap_stage *stage, const struct idmap_row *row, int error,
			 const char *tried, const char *holds, struct idmap_error *ret_error);

/* --- written.c: a ro row that writes ---------------------------------------------------------- */

struct idmap_written {
	int log_fd; /* or -1 */
	bool foretold, counts;
	uint64_t sectors; /* that were written to its device before */
};

/*
 * Before and after the row's filesystem is mounted as `type`, or was not. The row becomes
 * IDMAP_WROTE or IDMAP_WROTE_LOG.
 */
struct idmap_written idmap_written_begin(const struct idmap_row *row, const char *type);
void idmap_written_end(struct idmap_written *written, struct idmap_row *row, bool mounted);
/* Tells of it; in a second pass, too, to which nothing was left to write. */
void idmap_note_written(const struct idmap_row *row, struct idmap_notes *notes);

/* Whether a row before has the device, and has found that it cannot be written. */
bool idmap_was_denied(const struct idmap_plan *plan, const struct idmap_row *row);
/*
 * Whether the row is ro, and of a disk that another row writes to, such as the upper of a lower
 * layer.
 */
bool idmap_is_on_written(const struct idmap_plan *plan, const struct idmap_row *row);
/*
 * Once all rows are there: what is ro, and was mounted rw for a row that is skipped, becomes ro
 * itself, unless others may have it; that it was written to is noted.
 */
void idmap_written_settle(const struct idmap_stage *stage, struct idmap_row *row);

/* --- filesystem.c: a filesystem becomes a tree ----------------------------------------------- */

/*
 * Mounts the row's source: a new, detached, unmapped mount with the attributes `attr`. Errors are
 * those of fsopen(2), fsconfig(2), fsmount(2); the kernel's own words are in the message.
 */
int idmap_filesystem_mount(const struct idmap_stage *stage, struct idmap_row *row, uint32_t attr,
			   struct idmap_error *ret_error);

/* --- clone.c: what stands somewhere becomes a tree ------------------------------------------- */

/* A clone without the map that it has, which open_tree_attr(2) alone takes off, from 6.15 on. */
int idmap_clone_unmapped(int dir_fd);

/* --- verified.c: one whose blocks are verified ----------------------------------------------- */

#ifdef CONFIG_VERITY
/*
 * As idmap_filesystem_mount(), by way of dm-verity where the row asks for it. The device of that is
 * gone with its last user.
 */
int idmap_verified_mount(const struct idmap_stage *stage, struct idmap_row *row, uint32_t attr,
			 struct idmap_error *ret_error);
#else
static inline int idmap_verified_mount(const struct idmap_stage *stage, struct idmap_row *row,
				       uint32_t attr, struct idmap_error *ret_error)
{
	return idmap_filesystem_mount(stage, row, attr, ret_error);
}
#endif

/* --- replace.c: a mount gives its place to its clone ------------------------------------------ */

/*
 * Unmounts what stands on the folder, with all below it, and the copies of it that other mount
 * namespaces have. Peers elsewhere in this one, such as /dev of the machine, stay. -errno of what
 * reads mountinfo, of mount(2) and umount2(2).
 */
int idmap_take_down(const char *folder);
/* A clone of the root that we are in, or work on. */
int idmap_clone_own_root(const struct idmap_plan *plan, const struct idmap_row *row,
			 struct idmap_error *ret_error);
/* The folder row->subdir of a tree, as a tree. Takes tree_fd, also on failure. */
int idmap_clone_subdir(struct idmap_stage *stage, int tree_fd, const struct idmap_row *row,
		       struct idmap_error *ret_error);

/* --- inside.c: rows inside a view ------------------------------------------------------------ */

/*
 * The folder that holds `path`, which stays open for paths that follow, and its name there. Links
 * are not followed: -ELOOP.
 */
int idmap_parent_of(struct idmap_parent *parent, int root_fd, const char *path,
		    const char **ret_name);
/* Cuts the last name off a path below the root of a view, and opens what holds it. -errno. */
int idmap_cut_name(int root_fd, char *path, const char **ret_name);
/* Attaches a folder's tree at the row's target by the folder that holds it, without a link. */
int idmap_attach_in_folder(struct idmap_stage *stage, int tree_fd, const struct idmap_row *row);
/* Attaches the tree at the row's target below the root of a view. IDMAP_BY_LINK is not told. */
int idmap_attach_inside(int root_fd, int tree_fd, const struct idmap_row *row,
			struct idmap_error *ret_error);
/*
 * Makes the row's target where that is asked for. Through the seen view, so that what is made
 * belongs to what root is seen as.
 */
int idmap_make_target(const struct idmap_stage *stage, struct idmap_row *row,
		      struct idmap_error *ret_error);
#ifdef CONFIG_ROWS
/*
 * From here on the new root shows what comes along and has to do with the row, as a chrooted
 * process would expect.
 */
int idmap_carry_for(struct idmap_stage *stage, const struct idmap_row *row,
		    struct idmap_error *ret_error);
/* Removes the folders that were made for the row, by the seen view, when it does not stand any
 * more. */
void idmap_target_unmake(const struct idmap_stage *stage, struct idmap_row *row);
#else
static inline void idmap_target_unmake(const struct idmap_stage *stage, struct idmap_row *row)
{
	(void)stage, (void)row;
}
#endif

/* --- image.c: a file becomes a tree ---------------------------------------------------------- */

#ifdef CONFIG_IMAGES
/*
 * As idmap_filesystem_mount(), but the source may be an image file: of the old root, or where the
 * row says so of the new one. IDMAP_NO_SOURCE: there is no such file.
 */
int idmap_image_mount(struct idmap_stage *stage, struct idmap_row *row, uint32_t attr,
		      struct idmap_error *ret_error);
#else
static inline int idmap_image_mount(struct idmap_stage *stage, struct idmap_row *row, uint32_t attr,
				    struct idmap_error *ret_error)
{
	const bool is_file =
		row->inside || (*row->device == '/' && !idmap_has_no_device(row->type) &&
				!idmap_path_inside(row->device, "/dev"));

	return is_file ? idmap_fail(
				 ret_error, row, IDMAP_BAD_TABLE, EINVAL,
				 "image files are not built into this idmap-init; write a device,"
				 " as in /dev/vda")
		       : idmap_verified_mount(stage, row, attr, ret_error);
}
#endif

/* --- tree.c: a row becomes a tree, by one of them -------------------------------------------- */

/* The row's tree, detached and unmapped; and whether it surely is a folder. */
int idmap_tree_build(struct idmap_stage *stage, struct idmap_row *row, bool *ret_folder,
		     struct idmap_error *ret_error);

/* --- build.c: who has the table carried out --------------------------------------------------- */

/* Notes which mount the row's tree is, and asks before it goes into place. */
static inline int idmap_ask_place(const struct idmap_stage *stage, struct idmap_row *row,
				  int tree_fd, struct idmap_error *ret_error)
{
	const bool asks = stage->build && stage->build->place;
	const struct idmap_mount_id id = idmap_mount_id(tree_fd, "", asks);

	row->mount = id.number;
	row->mount_unique = id.unique;
	return asks ? stage->build->place(stage->build, row, ret_error) : 0;
}

/* --- rows.c: rows besides the root ----------------------------------------------------------- */

#ifdef CONFIG_ROWS
/* Puts the unmapped tree into the disk view, and gives a clone of it to be mapped. */
int idmap_rows_keep(struct idmap_stage *stage, int *tree_fd, const struct idmap_row *row,
		    struct idmap_error *ret_error);
/* Builds the row's tree and puts it in place, or keeps a layer. */
int idmap_rows_add(struct idmap_stage *stage, struct idmap_row *row, struct idmap_error *ret_error);
/*
 * Once all are in place: -errno, two of them mean one folder by two names, or one of them and what
 * comes along.
 */
int idmap_rows_look(const struct idmap_stage *stage, struct idmap_error *ret_error);
#else
static inline int idmap_rows_look(const struct idmap_stage *stage, struct idmap_error *ret_error)
{
	return (void)stage, (void)ret_error, 0;
}
static inline int idmap_rows_keep(struct idmap_stage *stage, int *tree_fd,
				  const struct idmap_row *row, struct idmap_error *ret_error)
{
	return (void)stage, (void)tree_fd, (void)row, (void)ret_error, 0;
}
static inline int idmap_rows_add(struct idmap_stage *stage, struct idmap_row *row,
				 struct idmap_error *ret_error)
{
	return (void)stage, (void)row, (void)ret_error, 0;
}
#endif

/* --- links.c: real paths --------------------------------------------------------------------- */

#ifdef CONFIG_ROWS
/*
 * Gives each row of the plan the paths that its target and its source lead to in the root, which
 * must stand on the stage with no other row. Then the stage is dropped, the plan is made anew from
 * the same table, and all rows are added once more. The paths live in `arena`. 1: some have
 * changed.
 */
int idmap_links_resolve(const struct idmap_stage *stage, struct idmap_arena *arena,
			struct idmap_error *ret_error);
/* The error of a link that is still in the way: it lies in another row's tree. */
int idmap_link_failed(const struct idmap_plan *plan, const struct idmap_row *row,
		      struct idmap_error *ret_error);
/*
 * Where a path leads in the root on the stage, as far as no row's tree is entered. -ELOOP,
 * -ENAMETOOLONG.
 */
int idmap_path_real(const struct idmap_stage *stage, const char *path, char real[PATH_MAX]);
/* Finds out where the new root's links, such as /run -> var/run, lead what comes along. */
void idmap_carry_resolve(struct idmap_stage *stage);
#else
static inline void idmap_carry_resolve(struct idmap_stage *stage)
{
	(void)stage;
}
static inline int idmap_links_resolve(const struct idmap_stage *stage, struct idmap_arena *arena,
				      struct idmap_error *ret_error)
{
	return (void)stage, (void)arena, (void)ret_error, 0;
}
static inline int idmap_link_failed(const struct idmap_plan *plan, const struct idmap_row *row,
				    struct idmap_error *ret_error)
{
	return (void)plan, (void)row, (void)ret_error, -ELOOP;
}
#endif

/* --- view.c, stage.c: a root in the making ---------------------------------------------------- */

/*
 * Two views of the root in the making. The seen view is what the real init gets. The disk view has
 * trees unmapped, because a mapped mount cannot be mapped again (EPERM): the root and those rows
 * that others are cloned from. It exists only where the plan asks for it.
 *
 *   image --mount--> tree --------------------------map--> seen view, /
 *                      \--> disk view, /                     |
 *                             | /images/app                   | /opt/app
 *                             +--clone--> tree -------map-----+
 *
 * With a row for /, both hang in a workshop of the root that is left behind, with the area where
 * layers stand until they are merged. Without such a row the root that we are in is the seen view,
 * trees go into place one by one, and each can be taken back.
 */

/*
 * Begins. `carry` names folders where mounts stand, such as /dev, that come along into a new root.
 * Where a row may land in one of them, or show it, they are cloned into the root, and what they
 * were cloned from stays behind for us. The plan and the notes are needed until the end.
 */
int idmap_stage_open(struct idmap_stage *stage, const struct idmap_plan *plan,
		     struct idmap_carried *carry, struct idmap_notes *notes,
		     struct idmap_error *ret_error);
/* Whether what comes along can, where the way there is closed, and where links of the root lead it.
 */
int idmap_stage_look(struct idmap_stage *stage, struct idmap_error *ret_error);
/* Beyond what the kernel gives, whose last is -4095. */
#define IDMAP_BY_LINK (-4096)
/*
 * Builds the row's tree and puts it in place on the stage. IDMAP_BY_LINK: a link is in the way of
 * its target or source, and *ret_error is not filled; begin again as idmap_build() has it.
 */
int idmap_stage_add(struct idmap_stage *stage, struct idmap_row *row,
		    struct idmap_error *ret_error);
/*
 * Marks the row as skipped: one less waits for its map, which is given up after the last.
 * IDMAP_BY_LINK: it is not, as a link is in the way of its target; begin again.
 */
int idmap_stage_skip(const struct idmap_stage *stage, struct idmap_row *row);

#endif
