// SPDX-License-Identifier: MIT
/*
 * The work is done by a helper that shares all that we have, and PID 1 watches it. A disk that
 * never reads, or a server that never answers, holds whoever asked it in the kernel, where no
 * signal and no timer reach; then there is still somebody to say so and to do what the policy says.
 * The same where the helper dies of a fault of ours, which would else be a panic without a word.
 */
#define _GNU_SOURCE
#include <errno.h>
#include <poll.h>
#include <sched.h>
#include <signal.h>
#include <sys/wait.h>

#include "device/device.h"
#include "init.h"

#define TICK_MS 1000
#define TELL_S 10
#define STACK_SIZE (128 * 1024)

#ifndef CLONE_PIDFD
#define CLONE_PIDFD 0x1000 /* linux/sched.h, 5.2 */
#endif

/* What is said of a step that does not end. */
static const struct {
	const char *now, *late;
	enum idmap_class class;
} words[] = {
	[STEP_START] = {"starts", "is not done; report it", IDMAP_BAD_SYSTEM},
	[STEP_DELAY] = {"is waited for", "", IDMAP_BAD_SYSTEM},
	[STEP_MODULE] = {"is loaded",
			 "is not loaded; what it drives does not answer, look at that on the host",
			 IDMAP_BAD_SYSTEM},
	[STEP_OF_ROW(IDMAP_STEP_DEVICE)] =
		{"is looked for",
		 "cannot be read: a disk here does not answer; look at it on the host, or raise"
		 " wait=",
		 IDMAP_NO_SOURCE},
	[STEP_OF_ROW(IDMAP_STEP_SERVER)] =
		{"is mounted",
		 "is not mounted: its server on the host does not answer; look at it there, or"
		 " raise wait=",
		 IDMAP_NO_SOURCE},
	[STEP_OF_ROW(IDMAP_STEP_PLACE)] =
		{"is put into place",
		 "is not in place; look at the disk on the host, and into the kernel's lines"
		 " above",
		 IDMAP_NO_MOUNT},
	[STEP_INIT] =
		{"is looked at in the new root",
		 "cannot be read: what the root lies on does not answer; look at it on the host",
		 IDMAP_NO_INIT},
};

void step_begin(struct boot *boot, enum step_kind kind, const struct idmap_row *row,
		const char *path, uint32_t limit_s)
{
	boot->step = (struct step){
		.kind = kind,
		.row = row,
		.path = path,
		.limit_s = limit_s,
		.since_us = idmap_now_us(),
	};
}

void step_of_row(struct idmap_build *build, enum idmap_step step, const struct idmap_row *row,
		 uint32_t limit_s)
{
	struct boot *boot = (struct boot *)((char *)build - offsetof(struct boot, build));

	step_begin(boot, STEP_OF_ROW(step), row, NULL, limit_s);
}

/* True where the step at hand has taken longer than it may. */
static bool is_late(struct boot *boot, struct idmap_error *ret_error)
{
	struct step *step = &boot->step;
	const char *what = step->row ? step->row->source : step->path;
	uint64_t since_us = step->since_us;
	uint32_t s;

	/* Waiting for what has not come yet is not hanging. */
	if (step->kind == STEP_OF_ROW(IDMAP_STEP_DEVICE) &&
	    boot->build.devices.looked_us > since_us)
		since_us = boot->build.devices.looked_us;
	s = (uint32_t)((idmap_now_us() - since_us) / 1000000);
	if (s >= step->limit_s) {
		if (step->row)
			idmap_fail(ret_error, step->row, words[step->kind].class, ETIMEDOUT,
				   "after %u s it %s", s, words[step->kind].late);
		else
			idmap_fail(ret_error, NULL, words[step->kind].class, ETIMEDOUT,
				   "after %u s %s %s", s, what, words[step->kind].late);
		return true;
	}
	if (s >= TELL_S && !step->told && step->kind != STEP_DELAY) {
		step->told = true;
		msg(MSG_ERROR, "%s %s, for %u s now", what, words[step->kind].now, s);
	}
	return false;
}

/* The helper's work, and whether it came to its end. */
struct work {
	struct boot *boot;
	int (*work)(void *boot);
	int result;
	bool ended;
};

static int do_work(void *arg)
{
	struct work *work = arg;

	/* PID 1 is spared it: there what a limit cuts is an error of the call. */
	signal(SIGXFSZ, SIG_IGN);
	work->result = work->work(work->boot);
	work->ended = true;
	return 0;
}

int watch_run(struct boot *boot, int (*work_function)(void *boot), struct idmap_error *ret_error)
{
	static char stack[STACK_SIZE] __attribute__((aligned(16))); /* it grows down */
	struct work work = {.boot = boot, .work = work_function};
	int pidfd = -1;
	const int pid =
		clone(do_work, stack + sizeof(stack),
		      CLONE_VM | CLONE_FILES | CLONE_FS | CLONE_PIDFD | SIGCHLD, &work, &pidfd);
	struct pollfd pollfd = {.fd = pidfd, .events = POLLIN};

	if (pid < 0)
		return work_function(boot); /* unwatched, then */
	/* Nothing that it took is to be counted as a child's of the real init. */
	signal(SIGCHLD, SIG_IGN);
	while (pidfd >= 0 && !poll(&pollfd, 1, TICK_MS)) {
		if (!is_late(boot, ret_error))
			continue;
		kill(pid, SIGKILL); /* what may be left of it in the kernel runs no code of ours */
		signal(SIGCHLD, SIG_DFL);
		idmap_close(&pidfd);
		boot->hangs = true;
		return -ETIMEDOUT;
	}
	while (waitpid(pid, NULL, 0) < 0 && errno == EINTR)
		;
	signal(SIGCHLD, SIG_DFL);
	idmap_close(&pidfd);
	if (work.ended)
		return work.result;
	return idmap_fail(
		ret_error, NULL, IDMAP_BAD_SYSTEM, EIO,
		"idmap-init itself has failed while %s %s; give the machine more memory if"
		" the kernel has killed it for want of that, and else report it",
		boot->step.row	  ? boot->step.row->source
		: boot->step.path ? boot->step.path
				  : "it",
		words[boot->step.kind].now);
}
