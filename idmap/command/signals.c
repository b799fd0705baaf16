// SPDX-License-Identifier: MIT
/*
 * Half a table is nobody's wish: whoever puts one in place, or takes it back, ends when that is
 * done.
 */
#define _GNU_SOURCE
#include <signal.h>
#include <string.h>
#include <sys/signalfd.h>

#include "command.h"

int hold_signals(void)
{
	/* A fault's cannot wait; the others end nothing. */
	static const int let[] = {SIGSEGV, SIGBUS,  SIGFPE,  SIGILL,  SIGABRT, SIGTRAP, SIGSYS,
				  SIGTSTP, SIGTTIN, SIGTTOU, SIGCONT, SIGCHLD, SIGURG,	SIGWINCH};
	sigset_t set;
	size_t i;

	/* Those that musl keeps for itself are others' to send; sigfillset(3) leaves them out. */
	memset(&set, 0xff, sizeof(set));
	for (i = 0; i < COUNT_OF(let); i++)
		sigdelset(&set, let[i]);
	/* What cannot be written is told, and whoever reads what is told may go. */
	signal(SIGPIPE, SIG_IGN);
	signal(SIGXFSZ, SIG_IGN);
	sigprocmask(SIG_BLOCK, &set, NULL);
	return signalfd(-1, &set, SFD_CLOEXEC);
}
