// SPDX-License-Identifier: MIT
/*
 * What the kernel tells in text: its list of mounts, and records of its log. Pure.
 */
#include <string.h>

#include "device/device.h"

/* The next word of a line, terminated; its blank is gone, a newline stays. */
static char *next_word(char **line)
{
	char *word = *line, *end = strchr(word, ' ');

	*line = end ? end + 1 : strchr(word, 0);
	if (end)
		*end = 0;
	return word;
}

/* Blanks and the like stand as three octal digits behind a backslash (proc_pid_mountinfo(5)). */
static char *decode(char *word)
{
	char *from = word, *to = word;

	while (*from) {
		uint64_t byte;

		if (*from == '\\' && strspn(from + 1, "01234567") >= 3) {
			const char after = from[4];

			from[4] = 0;
			idmap_read_digits(from + 1, 8, &byte);
			from[4] = after;
			*to++ = (char)byte;
			from += 4;
		} else {
			*to++ = *from++;
		}
	}
	*to = 0;
	return word;
}

bool idmap_mountinfo_next(char **text, struct idmap_mountinfo *ret)
{
	char *line = idmap_next_line(text);
	const char *tag;

	if (!line || !*line)
		return false;
	*ret = (struct idmap_mountinfo){.id = next_word(&line)};
	ret->parent = next_word(&line);
	ret->number = next_word(&line);
	ret->root = decode(next_word(&line));
	ret->target = decode(next_word(&line));
	ret->options = next_word(&line);
	while (*(tag = next_word(&line)) && strcmp(tag, "-")) {
		if (!strncmp(tag, "shared:", 7))
			ret->peers = tag + 7;
		else if (!strncmp(tag, "master:", 7))
			ret->master = tag + 7;
		ret->unbindable |= !strcmp(tag, "unbindable");
	}
	ret->type = next_word(&line);
	ret->source = decode(next_word(&line));
	ret->data = next_word(&line);
	return true;
}

bool idmap_mount_gets(const struct idmap_mountinfo *mount, const struct idmap_mountinfo *other)
{
	return other->peers && ((mount->peers && !strcmp(mount->peers, other->peers)) ||
				(mount->master && !strcmp(mount->master, other->peers)));
}

/* Whether it stands on the root's own mount, somewhere else than the other, and covers that. */
static bool covers(const struct idmap_carried *mount, const struct idmap_carried *other,
		   const char *root_id)
{
	return mount != other && !strcmp(mount->real, root_id) && strcmp(mount->path, "/") &&
	       strcmp(mount->path, other->path) && idmap_path_inside(other->path, mount->path);
}

void idmap_mounts_on(struct idmap_carried **list, const char *root_id)
{
	struct idmap_carried *const all = *list, *mount, *other;

	for (mount = all; mount; mount = mount->next) {
		for (other = all; other; other = other->next) {
			mount->unbindable |=
				other->unbindable && idmap_path_inside(other->path, mount->path);
			mount->stacked |=
				mount != other && strcmp(mount->path, "/") &&
				(!strcmp(mount->path, other->path) ||
				 (!strcmp(other->real, root_id) && covers(mount, other, root_id)));
		}
	}
	while (*list) {
		bool covered = false;

		/* On the root itself, and another one above it, too: that came later. */
		for (other = all; other; other = other->next)
			covered |= covers(other, *list, root_id);
		if (!covered && !strcmp((*list)->real, root_id))
			list = &(*list)->next;
		else
			*list = (*list)->next;
	}
}

const char *idmap_klog_words(char *record, bool *ret_grave)
{
	uint64_t priority;
	const char *end = idmap_read_digits(record, 10, &priority);
	char *words = strchr(record, ';');

	/* The facility stands above the level's three bits; the kernel's own is 0. */
	if (end == record || *end != ',' || priority >> 3 || !words)
		return NULL;
	*ret_grave = priority <= 4; /* KERN_WARNING, and what is worse */
	words++;
	words[strcspn(words, "\n")] = 0;
	/* By a timer in the first seconds of each boot on x86, about nothing that was done. */
	return *words && strncmp(words, "tsc: ", 5) && strncmp(words, "clocksource: ", 13) ? words
											   : NULL;
}
