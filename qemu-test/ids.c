/* SPDX-License-Identifier: MIT
 *
 * Prints who it runs as: "RUID EUID RGID EGID". The test images carry setuid and setgid copies
 * of it, for what the kernel makes of their owners at exec is the sharpest question about an
 * idmapped mount: an owner without a mapping must lend nobody its rights.
 */
#include <stdio.h>
#include <unistd.h>

int main(void)
{
	return printf("%u %u %u %u\n", getuid(), geteuid(), getgid(), getegid()) < 0;
}
