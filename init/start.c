// SPDX-License-Identifier: MIT
/*
 * Where the kernel enters. The C library's own start-up would set up threads, locales and errno,
 * none of which is used here, at the price of 3 KiB and of instructions before main(). A hardened
 * build can be loaded anywhere without it too: no table holds an address (the build checks that),
 * so there is nothing to relocate, and nothing that would have to be writable until it is.
 */
#include <elf.h>
#include <link.h> /* ElfW() */
#include <stdint.h>

#include "config.h"
#include "init.h"
#include "sys.h"

int main(int argc, char **argv, char **envp);
void start(long *stack) __attribute__((noreturn, used));

#if defined(__x86_64__)
__asm__(".globl _start\n"
	"_start:\txor %ebp, %ebp\n\t"
	"mov %rsp, %rdi\n\t"
	"and $-16, %rsp\n\t"
	"call start");
#elif defined(__aarch64__)
__asm__(".globl _start\n"
	"_start:\tmov x29, 0\n\t"
	"mov x0, sp\n\t"
	"b start");
#endif

/* The stack protector's, by the names that the compiler knows. */
extern uintptr_t __stack_chk_guard;
void __stack_chk_fail(void) __attribute__((noreturn));
uintptr_t __stack_chk_guard;

void __stack_chk_fail(void)
{
	msg(MSG_ERROR, "its stack was overwritten, by a bug or by an attack; report the table that"
		       " does it");
	sys_exit(IDMAP_BAD_SYSTEM);
}

/* The kernel gives every program sixteen random bytes; the first stays 0 and ends any string. */
static uintptr_t random_guard(char **envp)
{
	const ElfW(auxv_t) * auxiliary;

	while (*envp)
		envp++;
	for (auxiliary = (const ElfW(auxv_t) *)(envp + 1); auxiliary->a_type; auxiliary++)
		if (auxiliary->a_type == AT_RANDOM)
			return *(const uintptr_t *)auxiliary->a_un.a_val << 8;
	return 0;
}

/* The stack at entry: argc, argv, NULL, envp, NULL (System V ABI, "Initial Stack"). */
void start(long *stack)
{
	char **argv = (char **)(stack + 1), **envp = argv + *stack + 1;

	if (IS_ENABLED(CONFIG_HARDENING))
		__stack_chk_guard = random_guard(envp);
	sys_exit(main((int)*stack, argv, envp));
}
