// SPDX-License-Identifier: MIT
/*
 * idmap suggest: a map from what is there, for a person to look at: the owners below a folder, the
 * names of two systems, or the ids that a user has been given.
 */
#include <string.h>

#include "suggestion.h"

static int run(int argc, char **argv)
{
	struct suggestion of[IDMAP_KINDS] = {0};
	const char *rest = "";
	int code;

	if (argc == 2 && *argv[1] != '-') {
		code = suggest_ranges(argv[1], of);
	} else if (argc == 3 && !strcmp(argv[1], "--subuid")) {
		code = suggest_subids(argv[2], of);
	} else if (argc == 5 && !strcmp(argv[1], "--from") && !strcmp(argv[3], "--to")) {
		code = suggest_names(argv[2], argv[4], of);
		rest = "identity";
	} else {
		return bad_use(&command_suggest, argc > 1 ? argv[1] : "what",
			       argc > 1 ? "not used like that"
					: "missing: a folder, --from and --to, or --subuid");
	}
	return code ? code : suggestion_print(of, rest);
}

const struct command command_suggest = {
	"suggest",
	"DIR | --from OLD --to NEW | --subuid USER",
	"Prints a map as an option text; on stderr, what it is made from.\n\n"
	"  DIR                  that shows the files below DIR from 0 on\n"
	"  --from OLD --to NEW  from the numbers of names in OLD/etc/passwd and group to those in NEW's\n"
	"  --subuid USER        of the ids that /etc/subuid and /etc/subgid give the user, who is root\n",
	run,
};
