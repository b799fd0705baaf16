// SPDX-License-Identifier: MIT
/*
 * The real init that a boot would find, as far as a folder tells that is to become the image of /:
 * what lies in another row's tree, or in another layer, is not known.
 */
#include <errno.h>
#include <sys/stat.h>

#include "command.h"
#include "mount/format.h"
#include "mount/mount.h"

/* What is looked at, and for whom. */
struct look {
	struct input *input;
	const struct idmap_row *row;
	int root_fd;
};

enum found { FOUND, MISSING, UNKNOWN };

/* Whether another layer than the row may have what it has not. */
static bool has_other_layers(const struct look *look)
{
	const struct idmap_plan *plan = &look->input->plan;
	uint32_t i;

	for (i = 0; look->row->flags & IDMAP_LAYER && i < plan->rows; i++)
		if (plan->row[i] != look->row && plan->row[i]->flags & IDMAP_LOWER &&
		    idmap_row_is_root(plan->row[i]))
			return true;
	return false;
}

static enum found find(const struct look *look, const char *path)
{
	const struct idmap_plan *plan = &look->input->plan;
	const struct idmap_stage stage = {.plan = plan, .seen_fd = look->root_fd};
	char real[PATH_MAX];
	idmap_closed int fd = -1;
	uint32_t i;

	if (idmap_path_real(&stage, path, real))
		return MISSING;
	for (i = 0; i < plan->rows; i++)
		if (!idmap_row_is_root(plan->row[i]) &&
		    idmap_path_inside(real, plan->row[i]->target))
			return UNKNOWN;
	fd = idmap_open_inside(look->root_fd, path, O_PATH, 0);
	return fd >= 0 ? FOUND : has_other_layers(look) ? UNKNOWN : MISSING;
}

/* Its format, and that of what runs it. */
static void look_at_format(const struct look *look, const char *path, int depth)
{
	idmap_closed int fd = idmap_open_inside(look->root_fd, path, O_RDONLY | O_NONBLOCK, 0);
	struct idmap_notes *notes = &look->input->notes;
	struct idmap_format format;
	char head[FORMAT_HEAD_SIZE + 1] = "";
	const long size = fd < 0 ? -1 : read(fd, head, FORMAT_HEAD_SIZE);

	/* One that cannot be read may be run all the same. */
	if (size < 0)
		return;
	if (idmap_format_read(head, (size_t)size, &format)) {
		idmap_note_row(notes, look->row, "%s cannot be run; %s", path,
			       format.fault ? format.fault
					    : "it is neither ELF nor has it a #! line");
		return;
	}
	if (!*format.interpreter || depth == FORMAT_DEPTH_MOST)
		return;
	switch (find(look, format.interpreter)) {
	case FOUND:
		look_at_format(look, format.interpreter, depth + 1);
		break;
	case MISSING:
		idmap_note_row(notes, look->row,
			       "%s cannot be run, its interpreter %s is not there; %s", path,
			       format.interpreter,
			       format.fault ? format.fault : "put that into the image");
		break;
	case UNKNOWN:
		break;
	}
}

static void look_at(const struct look *look, const char *path)
{
	idmap_closed int fd = idmap_open_inside(look->root_fd, path, O_PATH, 0);
	struct stat st;

	if (fd < 0 || fstat(fd, &st))
		return;
	if (!S_ISREG(st.st_mode) || !(st.st_mode & 0111))
		idmap_note_row(&look->input->notes, look->row,
			       "%s is no program that can be run; give it the mode 0755, or name"
			       " another one with init=",
			       path);
	else
		look_at_format(look, path, 0);
	idmap_owners_look_file(&look->input->notes, look->row, st.st_uid, st.st_gid, path);
}

void init_look(struct input *input, const struct idmap_row *row, const char *folder)
{
	const struct idmap_cmdline *cmdline = &input->parameters;
	const char *named = cmdline->own_init ? cmdline->own_init : cmdline->init;
	idmap_closed int root_fd = idmap_open(folder, O_PATH | O_DIRECTORY);
	const struct look look = {input, row, root_fd};
	enum found found = MISSING;
	size_t i;

	for (i = 0; found == MISSING && i < (named ? 1 : FORMAT_INITS); i++) {
		const char *path = named ? named : idmap_format_inits[i];

		found = find(&look, path);
		if (found == FOUND)
			look_at(&look, path);
	}
	if (found == MISSING && !(row->flags & IDMAP_UPPER))
		idmap_note_row(&input->notes, row, "it has no %s; name the real init with init=",
			       named ? named : "/sbin/init, /etc/init, /bin/init or /bin/sh");
}
