// SPDX-License-Identifier: MIT
/*
 * The story of a boot, a verb a line, and the only place that decides to fail. All that a person
 * wrote is read and checked before anything is mounted; the new root is whole before anything is
 * switched; and what fails is told in one line, the last before the kernel's own.
 */
#define _GNU_SOURCE
#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <sys/reboot.h>
#include <unistd.h>

#include "device/device.h"
#include "init.h"

#define FEW_MAPS 64 /* so many fit any limit */
#define INIT_S 60   /* for what asks one file, or none */

/* For a usual command line; beside the program's data no page table has to be made for it. */
static char memory[512 * 1024] __attribute__((aligned(sizeof(void *))));
#define NOTES_SIZE (64 * sizeof(struct idmap_note)) /* of it; those of all rows, with links */

/*
 * Where something hangs in the kernel, neither sync(2) nor the orderly end of all devices may ever
 * come back. Then a reboot is the emergency's, by sysrq, halt is to stay as we are, and for a
 * poweroff there is the kernel's panic alone: sysrq's asks all devices, too, and was seen to hang.
 */
static void end_machine(const struct boot *boot, int how)
{
	idmap_closed int fd = -1;

	if (!boot->hangs) {
		sync();
		reboot(how);
		return;
	}
	while (how == (int)RB_HALT_SYSTEM)
		pause();
	fd = how == RB_AUTOBOOT ? idmap_open("/proc/sysrq-trigger", O_WRONLY) : -1;
	write(fd, "b", 1);
}

/* A seal has to name it, be it read yet or not, whatever this build's policy is. */
static bool may_have_shell(const struct boot *boot)
{
	if (boot->cmdline.sealed)
		return idmap_seal_allows(&boot->cmdline, "shell", 5);
	return !CONFIG_ALWAYS_SEALED &&
	       faccessat(AT_FDCWD, IDMAP_SEALED, F_OK, AT_SYMLINK_NOFOLLOW);
}

/* What follows when nothing more can be done. */
static void fail(struct boot *boot) __attribute__((noreturn));

static void fail(struct boot *boot)
{
	char shell[] = "/bin/sh", *shell_argv[] = {shell, NULL};

	msg_notes(&boot->notes);
	msg(MSG_ERROR, "%s", boot->error.text);
	switch (boot->cmdline.onfail) {
	case IDMAP_ONFAIL_REBOOT:
		end_machine(boot, RB_AUTOBOOT);
		break;
	case IDMAP_ONFAIL_POWEROFF:
		end_machine(boot, RB_POWER_OFF);
		break;
	case IDMAP_ONFAIL_HALT:
		end_machine(boot, (int)RB_HALT_SYSTEM);
		break;
	case IDMAP_ONFAIL_SHELL:
		/* The initramfs' own only: a half-made root is nobody's. */
		if (boot->no_way_back || boot->cmdline.root.booted || !may_have_shell(boot))
			break;
		if (!boot->has_console)
			dev_console();
		msg_restore_level();
		execve(shell, shell_argv, boot->envp);
		break;
	case IDMAP_ONFAIL_PANIC:
		break;
	}
	/* The exit of PID 1 is the kernel's panic, so that its panic= decides what comes next. */
	_exit((int)boot->error.class);
}

/* Typed at a prompt it would mount over what is there, so it does nothing at all. */
static void refuse_to_be_a_command(void)
{
	static const char command[] =
		"idmap-init: it is no command; the kernel starts it as PID 1, as"
		" /init of an initramfs or by init=\n",
			  child[] =
				  "idmap-init: it is to be PID 1 and was started as a child of it;"
				  " write exec in front of it\n";

	if (getpid() == 1)
		return;
	if (getppid() == 1)
		write(STDERR_FILENO, child, sizeof(child) - 1);
	else
		write(STDERR_FILENO, command, sizeof(command) - 1);
	_exit(IDMAP_BAD_SYSTEM);
}

/* All but the last step, by the helper. 1: it failed, and boot->error says why. */
static int prepare(void *arg)
{
	struct boot *boot = arg;

	if (table_read(boot, &boot->error))
		return 1;
	modules_load(boot);
	if (!boot->has_console)
		boot->has_console = dev_console();
	if (boot->cmdline.root_delay_s)
		step_begin(boot, STEP_DELAY, NULL, "rootdelay=", UINT32_MAX);
	for (; boot->cmdline.root_delay_s; boot->cmdline.root_delay_s--)
		poll(NULL, 0, 1000);
	step_begin(boot, STEP_INIT, NULL, "the real init", INIT_S);
	boot->build.row_us = boot->build.devices.start_us = idmap_now_us();
	boot->record_fd = tell_open_record(boot);
	if (realinit_begin(boot, &boot->error))
		return 1;
	if (boot->build.plan.maps_at_once > FEW_MAPS)
		idmap_raise_files();
	if (idmap_build(&boot->build, &boot->error)) {
		table_errors(&boot->table,
			     &boot->error); /* of the plan, where links led elsewhere */
		return 1;
	}
	step_begin(boot, STEP_INIT, NULL, "the real init", INIT_S);
	if (realinit_find(boot, &boot->error)) {
		idmap_stage_drop(&boot->build.stage);
		return 1;
	}
	idmap_stage_done(&boot->build.stage);
	idmap_mapper_link(&boot->build.plan);
	msg_notes(&boot->notes);
	tell_rows(boot);
	return 0;
}

int main(int argc, char **argv, char **envp)
{
	/* Once, and a fixed address is shorter to name than a place on the stack. */
	static struct boot boot;
	static struct idmap_arena arena, notes_arena;

	(void)argc;
	refuse_to_be_a_command();
	boot.argv = argv;
	boot.envp = envp;
	boot.cmdline.onfail = CONFIG_ONFAIL;
	boot.build.devices.uevent_fd = boot.build.devices.stop_fd = boot.record_fd = -1;
	notes_arena.at = memory + sizeof(memory) - NOTES_SIZE;
	notes_arena.end = memory + sizeof(memory);
	idmap_notes_init(&boot.notes, &notes_arena);
	boot.build.table = &boot.table;
	boot.build.notes = &boot.notes;
	boot.build.step = step_of_row;
	boot.build.tell = tell_notes;
	boot.arena = boot.build.devices.arena = &arena;
	arena.at = memory;
	arena.end = notes_arena.at;
	if (early_mounts(&boot, &boot.error))
		fail(&boot);
	step_begin(&boot, STEP_START, NULL, "the table", INIT_S);
	if (watch_run(&boot, prepare, &boot.error))
		fail(&boot);
	boot.no_way_back = true;
	if (boot.build.plan.new_root && handoff_switch(&boot, &boot.error))
		fail(&boot);
	tell_left(&boot);
	if (!boot.has_console)
		dev_console();
	msg_trace(&boot.notes, "next is", boot.init);
	msg_restore_level();
	handoff_exec(&boot, &boot.error);
	fail(&boot);
}
