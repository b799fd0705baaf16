// SPDX-License-Identifier: MIT
/*
 * The floor of the comparison: the same boot with everything known beforehand. It makes the mounts,
 * the maps, the moves and the exec that a contestant cannot do without, reads nothing, checks
 * nothing, tells nothing. case.h, which bench.py writes, holds the case as tables:
 *
 * - ROOT_TYPE, ROOT_DEVICE: the root's filesystem; ROOT_MAP: its map, or -1
 * - DISK_VIEW: 1 if rows are cloned from the root before it is mapped
 * - maps[][2]: texts for uid_map and gid_map
 * - rows[]: .source "" for a tmpfs, .target ("" ends the list), .map or -1
 * - layers[][2]: folders of the root and the names they get for LOWERDIR; NULL ends them
 * - MERGED, LOWERDIR: where the layers are merged, and overlayfs's option for it
 *
 * With TELLS=1 it also makes the calls by which idmap-init learns what to do, sees that there is a
 * real init, and says what it did. It understands nothing of what it reads: what idmap-init spends
 * beside this floor is its own thinking.
 */
#define _GNU_SOURCE
#include <dirent.h>
#include <fcntl.h>
#include <sched.h>
#include <signal.h>
#include <stdbool.h>
#include <string.h>
#include <sys/mount.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include "calls.h"

struct row {
	const char *source, *target;
	int map;
};

#include "case.h"

#define ATTR_NOSUID_NODEV (MOUNT_ATTR_NOSUID | MOUNT_ATTR_NODEV)

static int map_fds[sizeof(maps) / sizeof(*maps)];

/* "/proc/PID/" before `name`. */
static const char *proc_path(int pid, const char *name)
{
	static char path[40] = "/proc/";
	char digits[12], *d = digits + sizeof(digits), *p = path + 6;

	*--d = 0;
	*--d = '/';
	do
		*--d = (char)('0' + pid % 10);
	while (pid /= 10);
	p = stpcpy(p, d);
	strcpy(p, name);
	return path;
}

/* musl's open() makes a second call for O_CLOEXEC. */
static int open_file(const char *path, int flags)
{
	return openat(AT_FDCWD, path, flags, 0644);
}

static void write_text(const char *path, const char *text)
{
	int fd = open_file(path, O_WRONLY | O_CLOEXEC);

	write(fd, text, strlen(text));
	close(fd);
}

/* A child's, which holds a namespace until it is killed; only one at a time needs the stack. */
static int sleep_for_ever(void *unused)
{
	(void)unused;
	while (pause() < 0)
		;
	return 0;
}

static void make_map(int i)
{
	static _Alignas(16) char stack[1024];
	int pid = clone(sleep_for_ever, stack + sizeof(stack),
			CLONE_NEWUSER | CLONE_VM | CLONE_FILES | SIGCHLD, NULL);

	write_text(proc_path(pid, "uid_map"), maps[i][0]);
	write_text(proc_path(pid, "gid_map"), maps[i][1]);
	map_fds[i] = open_file(proc_path(pid, "ns/user"), O_RDONLY | O_CLOEXEC);
	kill(pid, SIGKILL);
	waitpid(pid, NULL, 0);
}

static void apply_map(int tree_fd, int map, uint64_t attributes)
{
	struct attributes attr = {.attr_set = attributes};

	if (map >= 0) {
		if (!map_fds[map])
			make_map(map);
		attr.attr_set |= MOUNT_ATTR_IDMAP;
		attr.userns_fd = (uint64_t)map_fds[map];
	}
	if (attr.attr_set)
		syscall(SYS_mount_setattr, tree_fd, "", AT_EMPTY_PATH, &attr, sizeof(attr));
}

static int make_tree(const char *type, const char *source, unsigned int attributes)
{
	int fs_fd = (int)syscall(SYS_fsopen, type, FSOPEN_CLOEXEC), tree_fd;

	syscall(SYS_fsconfig, fs_fd, FSCONFIG_SET_STRING, "source", source, 0);
	if (attributes & MOUNT_ATTR_RDONLY)
		syscall(SYS_fsconfig, fs_fd, FSCONFIG_SET_FLAG, "ro", NULL, 0);
	syscall(SYS_fsconfig, fs_fd, FSCONFIG_CMD_CREATE, NULL, NULL, 0);
	tree_fd = (int)syscall(SYS_fsmount, fs_fd, FSMOUNT_CLOEXEC, attributes);
	close(fs_fd);
	return tree_fd;
}

static int clone_tree(int fd, const char *path)
{
	return (int)syscall(SYS_open_tree, fd, path,
			    OPEN_TREE_CLONE | OPEN_TREE_CLOEXEC | AT_EMPTY_PATH);
}

static void attach(int tree_fd, int dir_fd, const char *path)
{
	syscall(SYS_move_mount, tree_fd, "", dir_fd, path, MOVE_MOUNT_F_EMPTY_PATH);
}

static void early(void)
{
	int fd;

	mount("devtmpfs", "/dev", "devtmpfs", MS_NOSUID, "mode=0755");
	mount("proc", "/proc", "proc", MS_NOSUID | MS_NODEV | MS_NOEXEC, "");
	mount("sysfs", "/sys", "sysfs", MS_NOSUID | MS_NODEV | MS_NOEXEC, "");
	mount("tmpfs", "/run", "tmpfs", MS_NOSUID | MS_NODEV, "mode=0755");
	fd = open_file("/dev/console", O_RDWR | O_NOCTTY);
	dup2(fd, 0);
	dup2(fd, 1);
	dup2(fd, 2);
	close(fd);
}

/* All wait in one mount for overlayfs, which clones them, and go with it. */
static void merge_layers(int disk_fd)
{
	size_t i;
	int fd;

	mkdirat(AT_FDCWD, "/layers", 0700);
	fd = make_tree("tmpfs", "tmpfs", 0);
	attach(fd, AT_FDCWD, "/layers");
	fchdir(fd);
	close(fd);
	mkdirat(AT_FDCWD, "empty", 0755);
	for (i = 0; layers[i][0]; i++) {
		fd = clone_tree(disk_fd, layers[i][0]);
		apply_map(fd, 0, 0);
		mkdirat(AT_FDCWD, layers[i][1], 0700);
		attach(fd, AT_FDCWD, layers[i][1]);
		close(fd);
	}
	mount("overlay", "/new" MERGED, "overlay", MS_RDONLY | MS_NOSUID | MS_NODEV, LOWERDIR);
	chdir("/");
	umount2("/layers", MNT_DETACH);
}

static void read_all(int dir_fd, const char *path)
{
	char buffer[4096];
	int fd = openat(dir_fd, path, O_RDONLY | O_CLOEXEC);

	while (read(fd, buffer, sizeof(buffer)) == sizeof(buffer))
		;
	close(fd);
}

static void look_around(void)
{
	read_all(AT_FDCWD, "/proc/self/mountinfo");
	read_all(AT_FDCWD, "/proc/cmdline");
	read_all(AT_FDCWD, "/etc/idmap.conf");
}

static void look_at_init(int root_fd)
{
	char buffer[2048];
	int fd = openat(root_fd, "sbin/init", O_RDONLY | O_CLOEXEC);

	faccessat(fd, "", X_OK, AT_EMPTY_PATH);
	read(fd, buffer, sizeof(buffer));
	close(fd);
}

static char *add_line(char *p, const char *source, const char *target)
{
	p = stpcpy(p, "idmap-init: ");
	p = stpcpy(p, source);
	p = stpcpy(p, " /");
	p = stpcpy(p, target);
	return stpcpy(p, " bind ro,nosuid,nodev,idmap=100000:0:65536 in 100 us\n");
}

/*
 * A line a row: in the kernel's log five to a record, and nine records to an opening, as it would
 * drop more; and in the table.
 */
static void tell(void)
{
	static char text[256 * 1024];
	char *record = text, *p = add_line(stpcpy(text, "<6>"), ROOT_DEVICE, "");
	int fd = -1;
	size_t i, records = 0;

	for (i = 0;; i++) {
		const bool last = !*rows[i].target;

		if (last || i % 5 == 4) {
			if (records++ % 9 == 0) {
				close(fd);
				fd = open_file("/dev/kmsg", O_WRONLY | O_CLOEXEC);
			}
			write(fd, record, (size_t)(p - record));
			record = p;
			p = stpcpy(p, "<6>");
		}
		if (last)
			break;
		p = add_line(p, rows[i].source, rows[i].target);
	}
	close(fd);
	mkdirat(AT_FDCWD, "/run/idmap", 0755);
	fd = open_file("/run/idmap/table", O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC);
	write(fd, text, (size_t)(record - text));
	close(fd);
}

/* Gives the descriptor of the new root, where the rows stand. */
static int build(void)
{
	int disk_fd = -1, root_fd = make_tree(ROOT_TYPE, ROOT_DEVICE, MOUNT_ATTR_RDONLY);
	size_t i;

	if (DISK_VIEW) {
		disk_fd = root_fd;
		mkdirat(AT_FDCWD, "/disk", 0700);
		attach(disk_fd, AT_FDCWD, "/disk");
		root_fd = clone_tree(disk_fd, "");
	}
	apply_map(root_fd, ROOT_MAP, 0);
	mkdirat(AT_FDCWD, "/new", 0700);
	attach(root_fd, AT_FDCWD, "/new");
	for (i = 0; *rows[i].target; i++) {
		const bool bind = *rows[i].source;
		int fd = bind ? clone_tree(disk_fd, rows[i].source)
			      : make_tree("tmpfs", "tmpfs", ATTR_NOSUID_NODEV);

		apply_map(fd, rows[i].map, bind ? MOUNT_ATTR_RDONLY | ATTR_NOSUID_NODEV : 0);
		attach(fd, root_fd, rows[i].target);
		close(fd);
	}
	if (layers[0][0])
		merge_layers(disk_fd);
	if (DISK_VIEW)
		umount2("/disk", MNT_DETACH);
	return root_fd;
}

/* As rm -r of what is on the same filesystem; the mounts have been moved away. */
static void delete_contents(int dir_fd)
{
	char buffer[2048];
	long n, at;

	while ((n = getdents(dir_fd, (struct dirent *)buffer, sizeof(buffer))) > 0) {
		for (at = 0; at < n;) {
			struct dirent *entry = (struct dirent *)(buffer + at);
			int fd;

			at += entry->d_reclen;
			if (!strcmp(entry->d_name, ".") || !strcmp(entry->d_name, ".."))
				continue;
			if (entry->d_type != DT_DIR) {
				unlinkat(dir_fd, entry->d_name, 0);
				continue;
			}
			fd = openat(dir_fd, entry->d_name, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
			delete_contents(fd);
			close(fd);
			unlinkat(dir_fd, entry->d_name, AT_REMOVEDIR);
		}
	}
}

static void move(const char *from, const char *to)
{
	mount(from, to, NULL, MS_MOVE, NULL);
}

int main(int argc, char **argv, char **envp)
{
	static char init[] = "/sbin/init";
	int root_fd, old_fd;

	(void)argc;
	early();
	if (TELLS)
		look_around();
	root_fd = build();
	if (TELLS) {
		look_at_init(root_fd);
		tell();
	}
	fchdir(root_fd);
	move("/dev", "dev");
	move("/proc", "proc");
	move("/sys", "sys");
	move("/run", "run");
	old_fd = open_file("/", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	move(".", "/");
	chroot(".");
	chdir("/");
	delete_contents(old_fd);
	argv[0] = init;
	execve(init, argv, envp);
	return 1;
}
