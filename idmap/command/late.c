// SPDX-License-Identifier: MIT
/*
 * A server that never answers, or a disk that never reads, holds whoever asked it in the kernel,
 * where no signal and no timer reach. A child tells of it, so that whoever waits knows what for.
 */
#define _GNU_SOURCE
#include <errno.h>
#include <poll.h>
#include <signal.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include "command.h"

#define TICK_MS 500
#ifndef SYS_close_range
#define SYS_close_range 436 /* 5.9 */
#endif

/* The step at hand, as both see it. While it changes `number` is 0. */
struct late {
	uint64_t since_us;
	uint32_t number, limit_s;
	bool served;
	char row[IDMAP_LINE_SIZE];
};

static struct late *late;
static pid_t child;

static void watch(pid_t parent)
{
	uint32_t told = 0;

	/* Nothing of the parent's stays open for it, such as the lock. */
	syscall(SYS_close_range, STDERR_FILENO + 1, ~0u, 0);
	prctl(PR_SET_PDEATHSIG, SIGKILL);
	while (getppid() == parent) {
		const uint32_t number = late->number;
		const uint64_t now_us = idmap_now_us(), since_us = late->since_us;

		if (number && told != number && now_us > since_us &&
		    (now_us - since_us) / 1000000 >= late->limit_s) {
			told = number;
			fprintf(stderr,
				"idmap: %s: after %u s it is not mounted, as %s does not answer;"
				" look at it on the host\n",
				late->row, late->limit_s,
				late->served ? "its server" : "what it lies on");
		}
		poll(NULL, 0, TICK_MS);
	}
	_exit(0);
}

void late_begin(void)
{
	const pid_t parent = getpid();

	late = mmap(NULL, sizeof(*late), PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
	if (late == MAP_FAILED)
		late = NULL;
	child = late ? fork() : -1;
	if (!child)
		watch(parent);
}

void late_step(enum idmap_step step, const struct idmap_row *row, uint32_t limit_s)
{
	static uint32_t number;

	if (!late)
		return;
	late->number = 0;
	idmap_print(late->row, sizeof(late->row), "%s on %s", row->source, row->target);
	late->served = step == IDMAP_STEP_SERVER;
	/* A device may take its time to come, and is told of by whoever waits for it. */
	late->limit_s = limit_s + (step == IDMAP_STEP_DEVICE ? row->wait_s : 0);
	late->since_us = idmap_now_us();
	__atomic_store_n(&late->number, ++number, __ATOMIC_RELEASE);
}

void late_end(void)
{
	if (child <= 0)
		return;
	kill(child, SIGKILL);
	while (waitpid(child, NULL, 0) < 0 && errno == EINTR)
		;
	child = -1;
}
