/* SPDX-License-Identifier: MIT
 *
 * renames FOLDER: renames a file of its own there to and fro without end, as udevd and others do
 * now and then. Meanwhile openat2(2) of a path with ".." may give EAGAIN.
 */
#include <fcntl.h>
#include <stdio.h>
#include <unistd.h>

int main(int argc, char **argv)
{
	if (argc != 2 || chdir(argv[1]) || close(open("renames.a", O_CREAT | O_WRONLY, 0600)))
		return 1;
	while (!rename("renames.a", "renames.b") && !rename("renames.b", "renames.a"))
		;
	return 1;
}
