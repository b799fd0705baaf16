// SPDX-License-Identifier: MIT
/*
 * Half a table is nobody's wish: one works at a time, and whoever puts one in place, or takes it
 * back, ends when that is done.
 */
#define _GNU_SOURCE
#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <string.h>
#include <sys/file.h>
#include <sys/signalfd.h>
#include <sys/stat.h>

#include "command.h"

#define LOCK RECORDS "/.lock"

int record_lock(const struct command *command, struct idmap_error *ret_error)
{
	int fd;

	if (geteuid())
		return idmap_fail(ret_error, NULL, IDMAP_BAD_SYSTEM, EPERM,
				  "only root can mount; say sudo idmap %s", command->name);
	mkdir("/run", 0755);
	mkdir("/run/idmap", 0755);
	mkdir(RECORDS, 0755);
	fd = open(LOCK, O_RDWR | O_CREAT | O_CLOEXEC | O_NOFOLLOW, 0600);
	if (fd < 0)
		return idmap_fail(ret_error, NULL, IDMAP_BAD_SYSTEM, errno,
				  LOCK " cannot be made (%m); mount a tmpfs on /run");
	if (!flock(fd, LOCK_EX | LOCK_NB))
		return fd;
	fprintf(stderr, "idmap %s: another idmap is at work; waiting for it\n", command->name);
	while (flock(fd, LOCK_EX))
		if (errno != EINTR)
			return idmap_fail(ret_error, NULL, IDMAP_BAD_SYSTEM, errno,
					  LOCK " cannot be locked (%m); mount a tmpfs on /run");
	return fd;
}

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
