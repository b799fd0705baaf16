// SPDX-License-Identifier: MIT
/*
 * Who has a device or an image file already, in a way that a row cannot share, and how both can
 * have it.
 */
#include <string.h>
#include <sys/stat.h>

#include "mount/further.h"
#include "mount/held.h"
#include "mount/standing.h"

static const char *state_word(bool read_only)
{
	return read_only ? "ro" : "rw";
}

/* A mount of somebody else's, or of the kernel's, which has the device in the other state. */
static bool add_standing(const struct idmap_row *row, struct idmap_text *text)
{
	const bool read_only = row->attr & IDMAP_RDONLY;
	const char *its = state_word(!read_only);
	struct idmap_standing standing;
	struct stat st;
	bool found;

	if (stat(row->device, &st) || !idmap_standing(row->device, st.st_rdev, &standing))
		return false;
	found = !strncmp(standing.mount.data, its, 2);
	if (found)
		idmap_text_add(
			text,
			"it is mounted on %s already, %s, and this row is %s: say %s here, too",
			standing.mount.target, its, state_word(read_only), its);
	idmap_standing_done(&standing);
	return found;
}

/* How a row has its device, for one that has it in another way. */
static const char *has_it(const struct idmap_row *row, const struct idmap_row *other)
{
	if (!row->verity != !other->verity)
		return row->verity ? "by dm-verity" : "by itself";
	return state_word(row->attr & IDMAP_RDONLY);
}

/* How both rows can have what is mounted for the other one alone. A bind is ro where that is. */
static void add_once(const struct idmap_row *row, const struct idmap_row *other,
		     struct idmap_text *text)
{
	const bool denied = other->attr & ~row->attr & IDMAP_RDONLY;
	const bool whole =
		!((row->flags | other->flags) & IDMAP_LAYER || row->subdir || other->subdir);

	idmap_text_add(text, ", and it can be mounted once only: ");
	if (whole && (!denied || idmap_row_is_root(other)))
		idmap_text_add(text, "%sbind %s", denied ? "say rw there, and " : "",
			       other->target);
	else
		idmap_text_add(text, "mount it on a folder of its own%s, and bind that in both",
			       denied ? ", rw" : "");
}

void idmap_held_add_holder(const struct idmap_stage *stage, const struct idmap_row *row,
			   struct idmap_text *text)
{
	const char *its, *ours, *part = idmap_row_part(row);
	const struct idmap_row *other;
	uint32_t i;

	for (i = 0; i < stage->plan->rows; i++) {
		other = stage->plan->row[i];
		if (other == row)
			break;
		if (!other->device || !idmap_same_device(other->device, row->device))
			continue;
		idmap_text_add(text, "the row for %s (", other->target);
		idmap_place_text(text, &other->place, 0);
		its = has_it(other, row);
		ours = has_it(row, other);
		/* As a channel of 9p is one mount's. */
		if (idmap_is_served(row->type) || !strcmp(its, ours)) {
			idmap_text_add(text, ") has it");
			add_once(row, other, text);
		} else {
			idmap_text_add(
				text, ") has it %s, and this one %s: say the same%s in both", its,
				ours, strcmp(other->source, row->source) ? ", by one SOURCE," : "");
		}
		return;
	}
	if (add_standing(row, text))
		return;
	idmap_text_add(text,
		       "something else here holds it%s%s, such as a mount that a script made or a"
		       " device on top of it; name that, or let go of it before",
		       part ? ", or what is named by " : "", part ? part : "");
}

static bool names_subvolume(const struct idmap_row *row)
{
	return idmap_row_says(row, "subvol=,subvolid=,");
}

/* Whether a row that is in place has the image file, all of it as it is. */
static bool has_file(const struct idmap_row *other, const struct idmap_row *row)
{
	return other->flags & IDMAP_PLACED && !(other->flags & (IDMAP_CLONE | IDMAP_OVERLAY)) &&
	       !other->inside == !row->inside && !strcmp(other->source, row->source) &&
	       !other->verity && !row->verity && !names_subvolume(other) && !names_subvolume(row);
}

void idmap_held_add_clone(const struct idmap_stage *stage, const struct idmap_row *row,
			  const char *clones, struct idmap_text *text)
{
	const struct idmap_row *other;
	uint32_t i;

	for (i = 0; i < stage->plan->rows && (other = stage->plan->row[i]) != row; i++) {
		if (!has_file(other, row))
			continue;
		idmap_text_add(text, "the row for %s (", other->target);
		idmap_place_text(text, &other->place, 0);
		idmap_text_add(text, ") has the same image file");
		add_once(row, other, text);
		return;
	}
	idmap_text_add(text, "another row has a clone of it; %s", clones);
}
