// SPDX-License-Identifier: MIT
/*
 * Stands for a kernel: its first instruction takes the time, so that what a firmware takes can be
 * left out. No more of the boot protocol (Documentation/arch/x86/boot.rst) than QEMU and its
 * firmware ask for. Told as arrive.c does, to the port of -debugcon.
 */
	.code16
	.globl _start
_start:
	.org 0x1f1
	.byte 1			// setup_sects
	.org 0x1fe
	.word 0xaa55		// boot_flag
	jmp 1f			// 0x200: where the firmware enters
	.ascii "HdrS"
	.word 0x0206		// version
	.org 0x211
	.byte 1			// loadflags: the rest, of which there is none, is loaded high
	.org 0x22c
	.long 0x7fffffff	// initrd_addr_max
	.org 0x268
1:	rdtsc
	mov %edx, %ecx
	mov $0xe9, %dx
	call tell
	mov %ecx, %eax
	call tell
	mov $0x604, %dx		// the power management of QEMU's q35: off
	mov $0x2000, %ax
	outw %ax, %dx
	jmp .

tell:	mov $4, %bx
2:	outb %al, %dx
	shr $8, %eax
	dec %bx
	jnz 2b
	ret
	.org 0x400
	.fill 512, 1, 0
