/* SPDX-License-Identifier: MIT */
/*
 * How the front of a program is read: what format.c gives to program.c, to the tests and to the
 * fuzzers, without the rest of mount/.
 */
#ifndef FORMAT_H
#define FORMAT_H

#include <errno.h>

#include "table/table.h"

#define FORMAT_LINE_SIZE 256 /* BINPRM_BUF_SIZE of linux/binfmts.h, as seen from programs */
#define FORMAT_ELF_SIZE 64   /* the longer of both headers */

struct idmap_format {
	char interpreter[256]; /* of a script, or the loader of an ELF program; "": it needs none */
	uint32_t machine;      /* of an ELF program: e_machine, else 0 */
	const char *fault;     /* what is odd about it and what to do, or NULL */
};

/*
 * Reads the first `size` bytes of a program. -ENOEXEC: the kernel would not run it. A fault may be
 * told without it, as the reason why the interpreter will not be found.
 */
int idmap_format_read(const char *head, size_t size, struct idmap_format *ret);

#endif
