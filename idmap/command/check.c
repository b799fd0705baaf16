// SPDX-License-Identifier: MIT
/*
 * idmap check: what a boot would say of a table, and what a map makes of the owners in a folder
 * that is to become the image.
 */
#define _GNU_SOURCE
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/xattr.h>

#include "mount/behind.h"
#include "walk.h"

#define TREES_MOST 64
#define IDS_TOLD 10

/* What is found of one row's tree. */
struct tree {
	struct input *input;
	const struct idmap_row *row;
	const char *folder; /* what the row shows of it */
	struct owners owners;
	bool nosuid;
	struct owners acl;     /* ids in ACLs that the map leaves out */
	uint64_t strangers;    /* setuid or setgid files of ids that it leaves out */
	uint64_t roots;	       /* setuid files that become root's, and were another's */
	uint64_t capabilities; /* of files, that lose their meaning */
	char stranger[256], root[256], capability[256];
	const char *path; /* of what is looked at */
};

static bool seen(const struct idmap_row *row, enum idmap_kind kind, uint32_t id, uint32_t *ret)
{
	return idmap_map_seen(row->map, kind, id, ret);
}

static void count(uint64_t *counter, char example[256], const char *path)
{
	if (!(*counter)++)
		idmap_print(example, 256, "%s", path);
}

/* Whether it is seen without setuid: of a layer the overlay's row says that. */
static bool is_nosuid(const struct tree *tree)
{
	const struct idmap_plan *plan = &tree->input->plan;
	const struct idmap_row *row = tree->row;
	uint32_t i;

	for (i = 0; tree->row->flags & IDMAP_LAYER && i < plan->rows; i++)
		if (plan->row[i]->flags & IDMAP_OVERLAY &&
		    !strcmp(plan->row[i]->target, tree->row->target))
			row = plan->row[i];
	return row->attr & IDMAP_NOSUID;
}

/* Whether the bit makes it a program of root's, which it was not for whoever owns the folder. */
static bool becomes_root(const struct tree *tree, enum idmap_kind kind, bool bit, uint32_t id,
			 uint32_t own)
{
	uint32_t shown;

	return bit && id != own && seen(tree->row, kind, id, &shown) && !shown;
}

/* setuid and setgid: whom a program runs as that anybody may start. */
static void look_at_mode(struct tree *tree, const char *path, const struct stat *st)
{
	const bool uid = st->st_mode & S_ISUID, gid = st->st_mode & S_ISGID;
	uint32_t id;

	if (!S_ISREG(st->st_mode) || !(uid || gid) || tree->nosuid)
		return;
	if ((uid && !seen(tree->row, IDMAP_UID, st->st_uid, &id)) ||
	    (gid && !seen(tree->row, IDMAP_GID, st->st_gid, &id)))
		count(&tree->strangers, tree->stranger, path);
	else if (becomes_root(tree, IDMAP_UID, uid, st->st_uid, tree->owners.root.st_uid) ||
		 becomes_root(tree, IDMAP_GID, gid, st->st_gid, tree->owners.root.st_gid))
		count(&tree->roots, tree->root, path);
}

/* capabilities(7): version 2 is for the root of the disk, version 3 says for whom it is. */
static void look_at_capability(struct tree *tree, const char *path, const char *file)
{
	char value[24];
	ssize_t size = lgetxattr(file, "security.capability", value, sizeof(value));
	uint32_t root = 0, id;

	if (size < 20)
		return;
	if (size >= 24 && idmap_little(value, 4) >> 24 == 3)
		root = (uint32_t)idmap_little(value + 20, 4);
	if (!seen(tree->row, IDMAP_UID, root, &id) || id)
		count(&tree->capabilities, tree->capability, path);
}

static void look_at_entry(void *arg, enum idmap_kind kind, uint32_t id)
{
	struct tree *tree = arg;
	uint32_t unused;

	if (!seen(tree->row, kind, id, &unused))
		owners_add(&tree->acl, kind, id, tree->path);
}

static void look(void *arg, const char *path, const char *file, const struct stat *st)
{
	struct tree *tree = arg;

	tree->path = path;
	look_at_mode(tree, path, st);
	if (S_ISREG(st->st_mode))
		look_at_capability(tree, path, file);
	if (!S_ISLNK(st->st_mode))
		walk_acl(file, "system.posix_acl_access", look_at_entry, tree);
	if (S_ISDIR(st->st_mode))
		walk_acl(file, "system.posix_acl_default", look_at_entry, tree);
}

static const char *const names[] = {[IDMAP_UID] = "uid", [IDMAP_GID] = "gid"};

/* Ids that the map leaves out; `what` they are of, and what comes of it. */
static void tell_left_out(const struct tree *tree, const struct owners *owners, const char *what,
			  const char *comes)
{
	uint32_t told = 0, left = 0, unused;
	size_t i;

	for (i = 0; i < owners->count; i++) {
		const struct owner *owner = &owners->owner[i];

		if (seen(tree->row, owner->kind, owner->id, &unused))
			continue;
		if (told++ >= IDS_TOLD) {
			left++;
			continue;
		}
		idmap_note_row(&tree->input->notes, tree->row,
			       "%lu %s the %s %u, which the map leaves out, such as %s: %s",
			       (unsigned long)owner->files, what, names[owner->kind], owner->id,
			       owner->example ? owner->example : "?", comes);
	}
	if (left)
		idmap_note_row(&tree->input->notes, tree->row,
			       "%u more ids of that kind are not shown", left);
}

static void tell_all(const struct tree *tree)
{
	idmap_owners_look(&tree->input->notes, tree->row, &tree->owners.root);
	tell_left_out(tree, &tree->owners, "files have", "they are nobody's (65534)");
	tell_left_out(tree, &tree->acl, "entries of ACLs name", "they let nobody in");
	if (tree->strangers)
		idmap_note_row(
			&tree->input->notes, tree->row,
			"%lu setuid or setgid files belong to ids that the map leaves out, such as %s:"
			" nobody can use them; extend the map, or take the bit off",
			(unsigned long)tree->strangers, tree->stranger);
	if (tree->roots)
		idmap_note_row(
			&tree->input->notes, tree->row,
			"%lu setuid or setgid files are seen as root's, and have another owner on disk than"
			" the tree, such as %s; say nosuid%s, or take the bit off",
			(unsigned long)tree->roots, tree->root,
			tree->row->flags & IDMAP_LAYER ? " in the row of the overlay" : "");
	if (tree->capabilities)
		idmap_note_row(
			&tree->input->notes, tree->row,
			"%lu files have capabilities that are not for the id seen as 0, such as %s: they"
			" have no effect, and on an overlay the program cannot be run; set them again for"
			" that id (setcap -n ID)",
			(unsigned long)tree->capabilities, tree->capability);
	if (idmap_row_is_root(tree->row))
		init_look(tree->input, tree->row, tree->folder);
}

/*
 * The folder in the tree that the row shows. *ret_fd: it, -1 if there is none yet, which is an
 * upper that has not been used; the caller closes it.
 */
static int open_shown(const struct tree *tree, int *ret_fd, struct idmap_error *ret_error)
{
	idmap_closed int tree_fd = idmap_open(tree->folder, O_PATH | O_DIRECTORY);
	const char *subdir = tree->row->subdir ? tree->row->subdir : "/";
	idmap_closed int subdir_fd = idmap_open_inside(tree_fd, subdir, O_PATH | O_DIRECTORY, 0);

	*ret_fd = -1;
	if (subdir_fd < 0)
		return idmap_fail(ret_error, tree->row, IDMAP_NO_SOURCE, -subdir_fd,
				  "%s has no folder %s to show (%m); correct X-mount.subdir=",
				  tree->folder, subdir);
	if (!(tree->row->flags & IDMAP_UPPER)) {
		*ret_fd = subdir_fd;
		subdir_fd = -1;
		return 0;
	}
	*ret_fd = idmap_open_inside(subdir_fd, "/upper", O_PATH | O_DIRECTORY, RESOLVE_NO_SYMLINKS);
	if (*ret_fd >= 0 || *ret_fd == -ENOENT)
		return 0;
	return idmap_fail(ret_error, tree->row, IDMAP_NO_MOUNT, -*ret_fd,
			  "the folder upper in %s cannot be opened (%m); upper and work are to be"
			  " folders, not files or links",
			  tree->folder);
}

/* What the row makes of what is below `folder`, to the notes. */
static int check_row(struct input *input, const struct idmap_row *row, const char *folder,
		     struct idmap_error *ret_error)
{
	struct tree tree = {.input = input, .row = row, .folder = folder};
	char shown[32];
	idmap_closed int fd = -1;
	int result = open_shown(&tree, &fd, ret_error);

	if (fd < 0)
		return result;
	tree.folder = idmap_print(shown, sizeof(shown), "/proc/self/fd/%u", fd);
	tree.nosuid = is_nosuid(&tree);
	result = walk_folder(shown, look, &tree, &tree.owners, ret_error);
	if (!result)
		tell_all(&tree);
	owners_free(&tree.owners);
	owners_free(&tree.acl);
	return result;
}

/* Whether the row's SOURCE is that, which may be as the table has it: with its escapes, and with
 * /dev/root for what root= names. */
static bool has_source(const struct input *input, const struct idmap_row *row, const char *source)
{
	const char *named = input->parameters.root.source;
	struct idmap_text field;
	char text[PATH_MAX];

	idmap_text_init(&field, text, sizeof(text));
	idmap_text_field(&field, row->source, 0);
	return !strcmp(row->source, source) || !strcmp(text, source) ||
	       (named && !row->inside && !strcmp(row->source, named) &&
		!strcmp(source, "/dev/root"));
}

/* Looks at the folder for each row that has that source. */
static int check_tree(struct input *input, const char *source, const char *folder,
		      struct idmap_error *ret_error)
{
	bool found = false;
	int result = 0;
	uint32_t i;

	for (i = 0; !result && i < input->plan.rows; i++) {
		const struct idmap_row *row = input->plan.row[i];

		if (!has_source(input, row, source))
			continue;
		found = true;
		if (row->map)
			result = check_row(input, row, folder, ret_error);
	}
	if (result)
		return result;
	return found ? 0
		     : idmap_fail(
			       ret_error, NULL, IDMAP_BAD_TABLE, EINVAL,
			       "no row has the SOURCE %s; write it as in the table: --tree SOURCE=DIR",
			       source);
}

/*
 * What a boot tells of a row whatever its tree has in it. Not of a clone's map, as it may be a
 * file; what --tree has looked at has been told.
 */
static void check_rows(struct input *input, const char *const source[], size_t trees)
{
	uint32_t i;
	size_t j;

	for (i = 0; i < input->plan.rows; i++) {
		const struct idmap_row *row = input->plan.row[i];

		idmap_note_odd(&input->notes, &input->table, &input->plan, row);
		for (j = 0; j < trees && !has_source(input, row, source[j]);)
			j++;
		if (row->map && !(row->flags & IDMAP_CLONE) && j == trees)
			idmap_owners_look_for_root(&input->notes, row);
	}
}

static void print_json(const struct input *input)
{
	const struct idmap_error *error;
	const struct idmap_note *note;

	fputs("{\"errors\": [", stdout);
	for (error = input->table.errors; error; error = error->next) {
		json_string(stdout, error->text);
		fputs(error->next ? ", " : "", stdout);
	}
	fputs("], \"warnings\": [", stdout);
	for (note = input->notes.first; note; note = note->next) {
		json_string(stdout, note->text);
		fputs(note->next ? ", " : "", stdout);
	}
	puts("]}");
}

/* Cuts SOURCE=DIR at the last = whose rest is a folder, since a SOURCE may have one, too. */
static char *cut_tree(char *argument)
{
	char *equals;
	struct stat st;

	for (equals = strchr(argument, 0); equals > argument; equals--)
		if (*equals == '=' && !stat(equals + 1, &st) && S_ISDIR(st.st_mode))
			break;
	if (equals == argument)
		return NULL;
	*equals = 0;
	return equals + 1;
}

static int run(int argc, char **argv)
{
	struct input input = {0};
	struct idmap_error error;
	const char *source[TREES_MOST], *folder[TREES_MOST];
	size_t trees = 0, i;
	int at, code;

	for (at = 1; at < argc; at++) {
		if (!strcmp(argv[at], "--tree") && at + 1 < argc && trees < TREES_MOST) {
			source[trees] = argv[++at];
			folder[trees] = cut_tree(argv[at]);
			if (!folder[trees])
				return bad_use(&command_check, argv[at],
					       "no SOURCE=DIR with a folder that is there");
			trees++;
		} else if (!strcmp(argv[at], "--initramfs")) {
			input.parameters.root.entered = true;
		} else if (!take_input(&input, argc, argv, &at)) {
			return bad_use(&command_check, argv[at], NO_OPTION);
		}
	}
	if (read_input(&input, &error)) {
		fprintf(stderr, "idmap check: %s\n", error.text);
		return (int)error.class;
	}
	if (!input.table.error_count)
		check_rows(&input, source, trees);
	for (i = 0; !input.table.error_count && i < trees; i++) {
		if (check_tree(&input, source[i], folder[i], &error)) {
			fprintf(stderr, "idmap check: %s\n", error.text);
			return (int)error.class;
		}
	}
	if (!input.json)
		return tell_input(&input);
	print_json(&input);
	code = input.table.error_count ? EXIT_BAD_USE : EXIT_DONE;
	return code;
}

const struct command command_check = {
	"check",
	"[-c FILE] [-k CMDLINE]... [--root DIR [--initramfs]] [--sealed WORDS] [--tree SOURCE=DIR]... [--json]",
	"Tells every error and warning of a table that a boot would tell, with the same words and places.\n"
	"Ends with 0, also where there are warnings, or with 2 where there are errors.\n\n"
	"  -c FILE     the table's file; default: /etc/idmap.conf\n"
	"  -k CMDLINE  a kernel command line; rows in it stand in for the file\n"
	"  --initramfs the root is one that another initramfs has mounted and is to enter\n"
	"  --sealed WORDS  as in an initramfs whose /etc/idmap.sealed has these words\n"
	"  --tree SOURCE=DIR  what the map of the row with that SOURCE makes of the owners below DIR, which\n"
	"              has them as they are to be on disk: ids that it leaves out, setuid and setgid files,\n"
	"              file capabilities, ACLs, the folder itself and the real init; may be repeated\n"
	"  --json      an object with the lists errors and warnings\n",
	run,
};
