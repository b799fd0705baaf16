// SPDX-License-Identifier: MIT
/*
 * Where the kernel enters. The C library's own start-up would set up threads, locales and errno,
 * none of which is used here, at the price of 3 KiB and of instructions before main(). A hardened
 * build needs it (it relocates itself, and the stack protector lives in thread-local storage) and
 * leaves this file out.
 */
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

/* The stack at entry: argc, argv, NULL, envp, NULL (System V ABI, "Initial Stack"). */
void start(long *stack)
{
	char **argv = (char **)(stack + 1);

	sys_exit(main((int)*stack, argv, argv + *stack + 1));
}
