/* SPDX-License-Identifier: MIT */
/*
 * What the kernel runs: what format.c gives to program.c, to idmap check, to the tests and to the
 * fuzzers, without the rest of mount/.
 */
#ifndef FORMAT_H
#define FORMAT_H

#include <errno.h>

#include "table/table.h"

#define FORMAT_LINE_SIZE 256 /* BINPRM_BUF_SIZE of linux/binfmts.h, as seen from programs */
#define FORMAT_ELF_SIZE 64   /* the longer of both headers */
/* What is read of a program: its #! line, or its headers and, as a rule, the loader's name. */
#define FORMAT_HEAD_SIZE 2048
#define FORMAT_DEPTH_MOST 5 /* scripts that run scripts (fs/exec.c, exec_binprm()) */

#define FORMAT_INITS 4

/* The real init where none is named is the first that can be run (init/main.c, kernel_init()). */
extern const char *const idmap_format_inits[FORMAT_INITS];

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
