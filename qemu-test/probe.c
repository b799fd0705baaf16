/* SPDX-License-Identifier: MIT
 *
 * Stands for the real init in the test guests: PID 1 that tells what world it was started in.
 *
 * It first records everything that a program inherits, before it opens or changes anything, and
 * sends that as one line of JSON over a serial port of its own. Then it answers questions, one
 * line of JSON each, until it is told to power off. It never judges: the test on the host does,
 * and a probe that stays silent is a failed test.
 *
 * It mounts nothing into the tree it reports on: where /proc or /dev are missing it uses a procfs
 * or devtmpfs of its own that is never attached (fsopen(2), fsmount(2)).
 *
 * Strings in the JSON are bytes: every byte from 0x80 on is written as \u00XX, so decoding as
 * Latin-1 gives the bytes back, whatever a hostile image holds.
 */
#define _GNU_SOURCE
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <grp.h>
#include <poll.h>
#include <sched.h>
#include <signal.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/personality.h>
#include <sys/prctl.h>
#include <sys/reboot.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <sys/statfs.h>
#include <sys/syscall.h>
#include <sys/sysmacros.h>
#include <sys/utsname.h>
#include <sys/wait.h>
#include <sys/xattr.h>
#include <termios.h>
#include <time.h>
#include <unistd.h>

#define ARRAY_SIZE(a) (sizeof(a) / sizeof((a)[0]))

/* Not in musl's headers. include/uapi/linux/{magic,mount}.h, since 5.2. */
#define PROC_MAGIC 0x9fa0
#define FSMOUNT_CLOEXEC 1u
#define FSOPEN_CLOEXEC 1u
#define FSCONFIG_CMD_CREATE 6u

enum {
	CONTENT_MAX = 64 * 1024,    /* of a file, or of each of a program's outputs */
	LINE_MAX_BYTES = 64 * 1024, /* of a command */
	WORDS_MAX = 64,
	FDS_MAX = 1024,
	SIGNALS = 64,
};

/* What could not be known any more once the probe has opened its own files. */
struct inherited {
	int64_t time_ns; /* CLOCK_MONOTONIC */
	bool fd_open[FDS_MAX];
	uint64_t blocked;
	uint64_t pending;
	struct {
		void *handler;
		unsigned long flags;
		void *restorer;
		uint64_t mask;
	} action[SIGNALS + 1]; /* the kernel's struct, 1 … SIGNALS in use */
	mode_t umask;
};

/* Output that grows: an answer is written at once, when it is whole. */
struct text {
	char *data;
	size_t len;
	size_t size;
};

static int proc_fd = -1;

static int open_dev(const char *name, int flags);

/* PID 1 ends, the kernel panics, the test fails: with a reason on the console. */
__attribute__((noreturn)) static void die(const char *step)
{
	char line[256];
	int error = errno;
	int fd = open_dev("kmsg", O_WRONLY);

	snprintf(line, sizeof(line), "<3>probe: %s: %s\n", step, strerror(error));
	if (fd < 0 || write(fd, line, strlen(line)) < 0)
		_exit(101);
	_exit(100);
}

static void text_add(struct text *t, const char *data, size_t len)
{
	if (t->len + len > t->size) {
		t->size = (t->len + len) * 2 + 256;
		t->data = realloc(t->data, t->size);
		if (!t->data)
			die("memory");
	}
	memcpy(t->data + t->len, data, len);
	t->len += len;
}

static void text_puts(struct text *t, const char *s)
{
	text_add(t, s, strlen(s));
}

__attribute__((format(printf, 2, 3))) static void text_printf(struct text *t, const char *format,
							      ...)
{
	char buf[512];
	va_list args;

	va_start(args, format);
	vsnprintf(buf, sizeof(buf), format, args);
	va_end(args);
	text_puts(t, buf);
}

static void json_bytes(struct text *t, const char *data, size_t len)
{
	text_puts(t, "\"");
	for (size_t i = 0; i < len; i++) {
		unsigned char c = (unsigned char)data[i];

		if (c == '"' || c == '\\')
			text_printf(t, "\\%c", c);
		else if (c < 0x20 || c >= 0x7f)
			text_printf(t, "\\u%04x", c);
		else
			text_add(t, &data[i], 1);
	}
	text_puts(t, "\"");
}

static void json_string(struct text *t, const char *s)
{
	json_bytes(t, s, strlen(s));
}

/* "key": — with the comma that separates it from what came before, if anything did. */
static void json_key(struct text *t, const char *key)
{
	if (t->len > 0 && !strchr("{[", t->data[t->len - 1]))
		text_puts(t, ",");
	json_string(t, key);
	text_puts(t, ":");
}

static void json_item(struct text *t)
{
	if (t->len > 0 && t->data[t->len - 1] != '[')
		text_puts(t, ",");
}

static void json_key_number(struct text *t, const char *key, long long value)
{
	json_key(t, key);
	text_printf(t, "%lld", value);
}

static void json_key_bool(struct text *t, const char *key, bool value)
{
	json_key(t, key);
	text_puts(t, value ? "true" : "false");
}

static void json_key_string(struct text *t, const char *key, const char *value)
{
	json_key(t, key);
	json_string(t, value);
}

/* ENOENT for 2: names are the same on all architectures, and tests read better with them. */
static void json_key_errno(struct text *t, const char *key, int error)
{
	static const struct {
		int number;
		const char *name;
	} names[] = {
#define NAME(e) {e, #e}
		NAME(EPERM),	  NAME(ENOENT), NAME(ESRCH),   NAME(EINTR),	   NAME(EIO),
		NAME(ENXIO),	  NAME(E2BIG),	NAME(ENOEXEC), NAME(EBADF),	   NAME(ECHILD),
		NAME(EAGAIN),	  NAME(ENOMEM), NAME(EACCES),  NAME(EFAULT),	   NAME(ENOTBLK),
		NAME(EBUSY),	  NAME(EEXIST), NAME(EXDEV),   NAME(ENODEV),	   NAME(ENOTDIR),
		NAME(EISDIR),	  NAME(EINVAL), NAME(ENFILE),  NAME(EMFILE),	   NAME(ENOTTY),
		NAME(ETXTBSY),	  NAME(EFBIG),	NAME(ENOSPC),  NAME(ESPIPE),	   NAME(EROFS),
		NAME(EMLINK),	  NAME(EPIPE),	NAME(ERANGE),  NAME(ENAMETOOLONG), NAME(ENOSYS),
		NAME(ENOTEMPTY),  NAME(ELOOP),	NAME(ENODATA), NAME(EOVERFLOW),	   NAME(ELIBBAD),
		NAME(EOPNOTSUPP), NAME(ESTALE), NAME(EUCLEAN), NAME(EDQUOT),	   NAME(EBADMSG),
#undef NAME
	};
	char number[32];

	for (size_t i = 0; i < ARRAY_SIZE(names); i++) {
		if (names[i].number == error) {
			json_key_string(t, key, names[i].name);
			return;
		}
	}
	snprintf(number, sizeof(number), "E%d", error);
	json_key_string(t, key, number);
}

static const char *type_name(mode_t mode)
{
	switch (mode & S_IFMT) {
	case S_IFREG:
		return "file";
	case S_IFDIR:
		return "dir";
	case S_IFLNK:
		return "link";
	case S_IFCHR:
		return "char";
	case S_IFBLK:
		return "block";
	case S_IFIFO:
		return "fifo";
	case S_IFSOCK:
		return "socket";
	default:
		return "unknown";
	}
}

static void json_stat(struct text *t, const struct stat *st)
{
	json_key_string(t, "type", type_name(st->st_mode));
	json_key_number(t, "uid", st->st_uid);
	json_key_number(t, "gid", st->st_gid);
	json_key_number(t, "mode", st->st_mode & 07777);
	json_key_number(t, "size", (long long)st->st_size);
	json_key_number(t, "nlink", (long long)st->st_nlink);
	json_key_number(t, "ino", (long long)st->st_ino);
	json_key(t, "dev");
	text_printf(t, "\"%u:%u\"", major(st->st_dev), minor(st->st_dev));
	json_key(t, "rdev");
	text_printf(t, "\"%u:%u\"", major(st->st_rdev), minor(st->st_rdev));
}

/* Of a link: where it leads. */
static void json_link(struct text *t, const char *key, int dir, const char *path)
{
	char target[4096];
	ssize_t len = readlinkat(dir, path, target, sizeof(target));

	if (len >= 0) {
		json_key(t, key);
		json_bytes(t, target, (size_t)len);
	}
}

/* Up to max bytes until the end of the file. Gives 0 or the errno. */
static int read_all(int fd, struct text *ret_content, size_t max)
{
	char buf[4096];

	while (ret_content->len < max) {
		size_t want = max - ret_content->len;
		ssize_t n = read(fd, buf, want < sizeof(buf) ? want : sizeof(buf));

		if (n < 0 && errno == EINTR)
			continue;
		if (n < 0)
			return errno;
		if (n == 0)
			break;
		text_add(ret_content, buf, (size_t)n);
	}
	return 0;
}

static int read_at(int dir, const char *path, struct text *ret_content, size_t max)
{
	int fd = openat(dir, path, O_RDONLY | O_CLOEXEC | O_NOCTTY | O_NONBLOCK);
	int error;

	if (fd < 0)
		return errno;
	error = read_all(fd, ret_content, max);
	close(fd);
	return error;
}

/* The content of a file of /proc without its last newline, as a string. */
static void json_proc(struct text *t, const char *key, const char *path)
{
	struct text content = {0};
	int error = read_at(proc_fd, path, &content, SIZE_MAX);

	if (!error) {
		if (content.len > 0 && content.data[content.len - 1] == '\n')
			content.len--;
		json_key(t, key);
		json_bytes(t, content.data, content.len);
	}
	free(content.data);
}

/*
 * Lines "Name: value" of a file of /proc as an object of strings, or of numbers for "123 kB".
 */
static void json_proc_table(struct text *t, const char *key, const char *path, bool numbers)
{
	struct text content = {0};
	char *save, *line;

	json_key(t, key);
	text_puts(t, "{");
	read_at(proc_fd, path, &content, SIZE_MAX);
	text_add(&content, "", 1);
	for (line = strtok_r(content.data, "\n", &save); line; line = strtok_r(NULL, "\n", &save)) {
		char *value = strchr(line, ':');

		if (!value)
			continue;
		*value++ = '\0';
		value += strspn(value, " \t");
		if (numbers)
			json_key_number(t, line, strtoll(value, NULL, 10));
		else
			json_key_string(t, line, value);
	}
	text_puts(t, "}");
	free(content.data);
}

/* A filesystem that is mounted nowhere: a folder fd, or -1. */
static int detached(const char *type)
{
	int fs, mount;

	fs = (int)syscall(SYS_fsopen, type, FSOPEN_CLOEXEC);
	if (fs < 0)
		return -1;
	if (syscall(SYS_fsconfig, fs, FSCONFIG_CMD_CREATE, NULL, NULL, 0)) {
		close(fs);
		return -1;
	}
	mount = (int)syscall(SYS_fsmount, fs, FSMOUNT_CLOEXEC, 0);
	close(fs);
	return mount;
}

/* Opens /dev/NAME, from a devtmpfs of our own where the world has none. */
static int open_dev(const char *name, int flags)
{
	char path[256];
	int fd, dir;

	snprintf(path, sizeof(path), "/dev/%s", name);
	fd = open(path, flags | O_CLOEXEC | O_NOCTTY);
	if (fd >= 0)
		return fd;
	dir = detached("devtmpfs");
	if (dir < 0)
		return -1;
	fd = openat(dir, name, flags | O_CLOEXEC | O_NOCTTY);
	close(dir);
	return fd;
}

static void record_inherited(struct inherited *ret)
{
	struct timespec now;

	clock_gettime(CLOCK_MONOTONIC, &now);
	ret->time_ns = now.tv_sec * INT64_C(1000000000) + now.tv_nsec;
	for (int fd = 0; fd < FDS_MAX; fd++)
		ret->fd_open[fd] = fcntl(fd, F_GETFD) >= 0;
	/* The system calls themselves: musl hides the signals that it uses for threads. */
	syscall(SYS_rt_sigprocmask, SIG_BLOCK, NULL, &ret->blocked, sizeof(ret->blocked));
	syscall(SYS_rt_sigpending, &ret->pending, sizeof(ret->pending));
	for (int sig = 1; sig <= SIGNALS; sig++)
		syscall(SYS_rt_sigaction, sig, NULL, &ret->action[sig], sizeof(uint64_t));
	ret->umask = umask(0);
	umask(ret->umask);
}

static void report_fds(struct text *t, const struct inherited *inherited)
{
	json_key(t, "fds");
	text_puts(t, "[");
	for (int fd = 0; fd < FDS_MAX; fd++) {
		char path[64];
		struct stat st;

		if (!inherited->fd_open[fd])
			continue;
		json_item(t);
		text_puts(t, "{");
		json_key_number(t, "fd", fd);
		snprintf(path, sizeof(path), "self/fd/%d", fd);
		json_link(t, "target", proc_fd, path);
		json_key_number(t, "flags", fcntl(fd, F_GETFL) & ~O_LARGEFILE);
		json_key_bool(t, "cloexec", fcntl(fd, F_GETFD) & FD_CLOEXEC);
		if (!fstat(fd, &st)) {
			json_key_string(t, "type", type_name(st.st_mode));
			json_key(t, "rdev");
			text_printf(t, "\"%u:%u\"", major(st.st_rdev), minor(st.st_rdev));
		}
		text_puts(t, "}");
	}
	text_puts(t, "]");
}

static void report_mask(struct text *t, const char *key, uint64_t mask)
{
	json_key(t, key);
	text_puts(t, "[");
	for (int sig = 1; sig <= SIGNALS; sig++) {
		if (mask >> (sig - 1) & 1) {
			json_item(t);
			text_printf(t, "%d", sig);
		}
	}
	text_puts(t, "]");
}

static void report_signals(struct text *t, const struct inherited *inherited)
{
	uint64_t ignored = 0, caught = 0;

	for (int sig = 1; sig <= SIGNALS; sig++) {
		void *handler = inherited->action[sig].handler;
		uint64_t bit = UINT64_C(1) << (sig - 1);

		if (handler == (void *)SIG_IGN)
			ignored |= bit;
		else if (handler != (void *)SIG_DFL)
			caught |= bit;
	}
	json_key(t, "signals");
	text_puts(t, "{");
	report_mask(t, "blocked", inherited->blocked);
	report_mask(t, "pending", inherited->pending);
	report_mask(t, "ignored", ignored);
	report_mask(t, "caught", caught);
	text_puts(t, "}");
}

/* By the parent in /proc/PID/stat of every process: the list in task/PID/children needs an option.
 */
static void report_children(struct text *t)
{
	int fd = openat(proc_fd, ".", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	DIR *dir = fd < 0 ? NULL : fdopendir(fd);
	struct dirent *entry;

	json_key(t, "children");
	text_puts(t, "[");
	while (dir && (entry = readdir(dir))) {
		struct text stat = {0};
		char path[300], *end, state;
		int parent;

		if (entry->d_name[0] < '0' || entry->d_name[0] > '9')
			continue;
		snprintf(path, sizeof(path), "%s/stat", entry->d_name);
		if (!read_at(proc_fd, path, &stat, CONTENT_MAX)) {
			text_add(&stat, "", 1);
			/* PID (COMMAND) STATE PPID …; the command may itself hold a bracket */
			end = strrchr(stat.data, ')');
			if (end && sscanf(end, ") %c %d", &state, &parent) == 2 &&
			    parent == getpid()) {
				json_item(t);
				text_puts(t, "{");
				json_key_number(t, "pid", atoi(entry->d_name));
				json_key(t, "stat");
				json_bytes(t, stat.data, (size_t)(end + 3 - stat.data));
				text_puts(t, "}");
			}
		}
		free(stat.data);
	}
	text_puts(t, "]");
	if (dir)
		closedir(dir);
}

static void report_limits(struct text *t)
{
	static const struct {
		int resource;
		const char *name;
	} limits[] = {
		{RLIMIT_CPU, "cpu"},	       {RLIMIT_FSIZE, "fsize"},
		{RLIMIT_DATA, "data"},	       {RLIMIT_STACK, "stack"},
		{RLIMIT_CORE, "core"},	       {RLIMIT_RSS, "rss"},
		{RLIMIT_NPROC, "nproc"},       {RLIMIT_NOFILE, "nofile"},
		{RLIMIT_MEMLOCK, "memlock"},   {RLIMIT_AS, "as"},
		{RLIMIT_LOCKS, "locks"},       {RLIMIT_SIGPENDING, "sigpending"},
		{RLIMIT_MSGQUEUE, "msgqueue"}, {RLIMIT_NICE, "nice"},
		{RLIMIT_RTPRIO, "rtprio"},     {RLIMIT_RTTIME, "rttime"},
	};

	json_key(t, "rlimits"); /* [soft, hard], -1 is no limit */
	text_puts(t, "{");
	for (size_t i = 0; i < ARRAY_SIZE(limits); i++) {
		struct rlimit limit;

		getrlimit(limits[i].resource, &limit);
		json_key(t, limits[i].name);
		text_printf(t, "[%lld,%lld]", (long long)limit.rlim_cur, (long long)limit.rlim_max);
	}
	text_puts(t, "}");
}

static void report_ids(struct text *t)
{
	uid_t uid[3];
	gid_t gid[3], groups[256];
	int count;

	getresuid(&uid[0], &uid[1], &uid[2]);
	getresgid(&gid[0], &gid[1], &gid[2]);
	json_key(t, "uids");
	text_printf(t, "[%u,%u,%u]", uid[0], uid[1], uid[2]);
	json_key(t, "gids");
	text_printf(t, "[%u,%u,%u]", gid[0], gid[1], gid[2]);
	json_key(t, "groups");
	text_puts(t, "[");
	count = getgroups(ARRAY_SIZE(groups), groups);
	for (int i = 0; i < count; i++) {
		json_item(t);
		text_printf(t, "%u", groups[i]);
	}
	text_puts(t, "]");
}

static void report_namespaces(struct text *t)
{
	static const char *const names[] = {
		"cgroup", "ipc", "mnt", "net", "pid", "pid_for_children", "time", "user", "uts",
	};
	char path[64];

	json_key(t, "namespaces");
	text_puts(t, "{");
	for (size_t i = 0; i < ARRAY_SIZE(names); i++) {
		snprintf(path, sizeof(path), "self/ns/%s", names[i]);
		json_link(t, names[i], proc_fd, path);
	}
	text_puts(t, "}");
}

static void report_strings(struct text *t, const char *key, char **strings)
{
	json_key(t, key);
	text_puts(t, "[");
	for (; *strings; strings++) {
		json_item(t);
		json_string(t, *strings);
	}
	text_puts(t, "]");
}

static void report(struct text *t, char **argv, const struct inherited *inherited,
		   bool proc_mounted)
{
	struct utsname uts;
	int reaper = 0, death_signal = 0;

	text_puts(t, "{");
	json_key_number(t, "probe", 1);
	json_key_number(t, "time_ns", inherited->time_ns);
	json_key_bool(t, "proc_mounted", proc_mounted);
	json_key_number(t, "pid", getpid());
	json_key_number(t, "ppid", getppid());
	json_key_number(t, "pgid", getpgrp());
	json_key_number(t, "sid", getsid(0));
	report_strings(t, "argv", argv);
	report_strings(t, "environ", environ);
	json_link(t, "exe", proc_fd, "self/exe");
	json_link(t, "cwd", proc_fd, "self/cwd");
	json_link(t, "root", proc_fd, "self/root");
	json_key_number(t, "umask", inherited->umask);
	report_fds(t, inherited);
	report_signals(t, inherited);
	report_children(t);
	report_ids(t);
	report_limits(t);
	report_namespaces(t);
	json_proc_table(t, "status", "self/status", false);
	json_proc(t, "oom_score_adj", "self/oom_score_adj");
	json_proc(t, "stat", "self/stat");
	json_proc(t, "cgroup", "self/cgroup");
	json_key_number(t, "nice", getpriority(PRIO_PROCESS, 0));
	json_key_number(t, "scheduler", syscall(SYS_sched_getscheduler, 0));
	json_key_number(t, "personality", personality(0xffffffff));
	json_key_number(t, "timerslack_ns", prctl(PR_GET_TIMERSLACK));
	json_key_number(t, "securebits", prctl(PR_GET_SECUREBITS));
	json_key_number(t, "dumpable", prctl(PR_GET_DUMPABLE));
	prctl(PR_GET_CHILD_SUBREAPER, &reaper);
	json_key_number(t, "subreaper", reaper);
	prctl(PR_GET_PDEATHSIG, &death_signal);
	json_key_number(t, "pdeathsig", death_signal);
	uname(&uts);
	json_key_string(t, "kernel", uts.release);
	json_key_string(t, "hostname", uts.nodename);
	json_key_string(t, "domainname", uts.domainname);
	json_proc(t, "cmdline", "cmdline");
	json_proc(t, "mountinfo", "self/mountinfo");
	text_puts(t, "}");
}

/* ---- Commands: each fills an object; words[0] is the command's own name ---- */

static void do_stat(struct text *t, char **words)
{
	struct stat st;

	if (lstat(words[1], &st)) {
		json_key_errno(t, "error", errno);
		return;
	}
	json_stat(t, &st);
	json_link(t, "link", AT_FDCWD, words[1]);
}

static void do_ls(struct text *t, char **words)
{
	DIR *dir = opendir(words[1]);
	struct dirent *entry;
	struct stat st;

	if (!dir) {
		json_key_errno(t, "error", errno);
		return;
	}
	json_key(t, "entries");
	text_puts(t, "{");
	while ((entry = readdir(dir))) {
		if (!strcmp(entry->d_name, ".") || !strcmp(entry->d_name, ".."))
			continue;
		json_key(t, entry->d_name);
		text_puts(t, "{");
		if (fstatat(dirfd(dir), entry->d_name, &st, AT_SYMLINK_NOFOLLOW))
			json_key_errno(t, "error", errno);
		else
			json_stat(t, &st);
		json_link(t, "link", dirfd(dir), entry->d_name);
		text_puts(t, "}");
	}
	text_puts(t, "}");
	closedir(dir);
}

static void do_read(struct text *t, char **words)
{
	struct text content = {0};
	int error = read_at(AT_FDCWD, words[1], &content, CONTENT_MAX);

	if (error) {
		json_key_errno(t, "error", error);
	} else {
		json_key(t, "content");
		json_bytes(t, content.data, content.len);
	}
	free(content.data);
}

static void do_write(struct text *t, char **words)
{
	int fd = open(words[1], O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC | O_NOCTTY, 0644);
	ssize_t n;

	if (fd < 0) {
		json_key_errno(t, "error", errno);
		return;
	}
	n = write(fd, words[2], strlen(words[2]));
	if (n < 0)
		json_key_errno(t, "error", errno);
	else
		json_key_number(t, "written", n);
	close(fd);
}

static void do_mountinfo(struct text *t, char **words)
{
	(void)words;
	json_proc(t, "mountinfo", "self/mountinfo");
}

static void do_statfs(struct text *t, char **words)
{
	struct statfs fs;

	if (statfs(words[1], &fs)) {
		json_key_errno(t, "error", errno);
		return;
	}
	json_key_number(t, "type", (long long)fs.f_type);
	json_key_number(t, "flags", (long long)fs.f_flags);
	json_key_number(t, "bsize", (long long)fs.f_bsize);
	json_key_number(t, "blocks", (long long)fs.f_blocks);
	json_key_number(t, "bfree", (long long)fs.f_bfree);
}

/* Flags: r read, w write, c create, x exclusive, a append, t truncate, d directory, n nofollow. */
static void do_open(struct text *t, char **words)
{
	bool reads = strchr(words[2], 'r'), writes = strpbrk(words[2], "wcat");
	int flags = O_CLOEXEC | O_NOCTTY | O_NONBLOCK;
	int fd;

	flags |= reads && writes ? O_RDWR : writes ? O_WRONLY : O_RDONLY;
	flags |= strchr(words[2], 'c') ? O_CREAT : 0;
	flags |= strchr(words[2], 'x') ? O_EXCL : 0;
	flags |= strchr(words[2], 'a') ? O_APPEND : 0;
	flags |= strchr(words[2], 't') ? O_TRUNC : 0;
	flags |= strchr(words[2], 'd') ? O_DIRECTORY : 0;
	flags |= strchr(words[2], 'n') ? O_NOFOLLOW : 0;
	fd = open(words[1], flags, 0644);
	if (fd < 0) {
		json_key_errno(t, "error", errno);
		return;
	}
	json_key_bool(t, "ok", true);
	close(fd);
}

static void json_result(struct text *t, int result)
{
	if (result)
		json_key_errno(t, "error", errno);
	else
		json_key_bool(t, "ok", true);
}

static void do_mkdir(struct text *t, char **words)
{
	json_result(t, mkdir(words[1], 0755));
}

static void do_unlink(struct text *t, char **words)
{
	json_result(t, unlink(words[1]));
}

static void do_chmod(struct text *t, char **words)
{
	json_result(t, chmod(words[1], (mode_t)strtoul(words[2], NULL, 8)));
}

static void do_chown(struct text *t, char **words)
{
	json_result(t, lchown(words[1], (uid_t)strtoul(words[2], NULL, 10),
			      (gid_t)strtoul(words[3], NULL, 10)));
}

/* Seals a file by fs-verity: SHA-256 of blocks of 4 KiB (linux/fsverity.h, FS_IOC_ENABLE_VERITY).
 */
static void do_verity(struct text *t, char **words)
{
	const struct {
		uint32_t version, hash_algorithm, block_size, salt_size;
		uint64_t salt, sig_size, sig, reserved[11];
	} argument = {.version = 1, .hash_algorithm = 1, .block_size = 4096};
	int fd = open(words[1], O_RDONLY | O_CLOEXEC);

	json_result(t, fd < 0 ? -1 : ioctl(fd, 0x40806685, &argument));
	if (fd >= 0)
		close(fd);
}

static void do_xattrs(struct text *t, char **words)
{
	static char names[CONTENT_MAX], value[CONTENT_MAX];
	ssize_t len = llistxattr(words[1], names, sizeof(names));

	if (len < 0) {
		json_key_errno(t, "error", errno);
		return;
	}
	json_key(t, "xattrs");
	text_puts(t, "{");
	for (char *name = names; name < names + len; name += strlen(name) + 1) {
		ssize_t size = lgetxattr(words[1], name, value, sizeof(value));

		json_key(t, name);
		json_bytes(t, value, size < 0 ? 0 : (size_t)size);
	}
	text_puts(t, "}");
}

static void do_meminfo(struct text *t, char **words)
{
	(void)words;
	json_proc_table(t, "kb", "meminfo", true);
}

/* In the child: becomes the user and the program; only a failure comes back, through error_fd. */
__attribute__((noreturn)) static void become(char **words, int out, int err, int error_fd)
{
	uid_t uid = (uid_t)strtoul(words[1], NULL, 10);
	gid_t gid = (gid_t)strtoul(words[2], NULL, 10);
	int error;

	close(0);
	open_dev("null", O_RDONLY);
	if (fcntl(0, F_SETFD, 0) < 0 || dup2(out, 1) < 0 || dup2(err, 2) < 0 ||
	    setgroups(0, NULL) || setresgid(gid, gid, gid) || setresuid(uid, uid, uid) ||
	    execv(words[3], words + 3)) {
		error = errno;
		if (write(error_fd, &error, sizeof(error)) != sizeof(error))
			_exit(126);
	}
	_exit(127);
}

/* Reads what is there; more than CONTENT_MAX is thrown away. Closes at the end of the file. */
static void drain(struct pollfd *from, struct text *to)
{
	char buf[4096];
	ssize_t n = read(from->fd, buf, sizeof(buf));
	size_t room = CONTENT_MAX - to->len;

	if (n > 0) {
		text_add(to, buf, (size_t)n < room ? (size_t)n : room);
	} else if (n == 0 || (errno != EAGAIN && errno != EINTR)) {
		close(from->fd);
		from->fd = -1;
	}
}

/*
 * Gathers both outputs until the program has ended. A child that it has left behind may keep the
 * pipes open for ever, so the end of the program counts, not the end of the files.
 */
static int gather(pid_t child, int out_fd, int err_fd, struct text *out, struct text *err)
{
	struct pollfd fds[2] = {
		{.fd = out_fd, .events = POLLIN},
		{.fd = err_fd, .events = POLLIN},
	};
	int status = 0;
	bool ended = false;

	for (;;) {
		int ready;

		if (!ended && waitpid(child, &status, WNOHANG) == child)
			ended = true;
		ready = poll(fds, ARRAY_SIZE(fds), ended ? 0 : 10);
		if (ready <= 0 && ended)
			break;
		if (fds[0].fd >= 0 && fds[0].revents)
			drain(&fds[0], out);
		if (fds[1].fd >= 0 && fds[1].revents)
			drain(&fds[1], err);
	}
	for (size_t i = 0; i < ARRAY_SIZE(fds); i++) {
		if (fds[i].fd >= 0)
			close(fds[i].fd);
	}
	return status;
}

static void do_run(struct text *t, char **words)
{
	struct text out = {0}, err = {0};
	int out_pipe[2], err_pipe[2], error_pipe[2];
	int status, error = 0;
	pid_t child;

	if (pipe2(out_pipe, O_CLOEXEC) || pipe2(err_pipe, O_CLOEXEC) ||
	    pipe2(error_pipe, O_CLOEXEC)) {
		json_key_errno(t, "error", errno);
		return;
	}
	child = fork();
	if (child == 0)
		become(words, out_pipe[1], err_pipe[1], error_pipe[1]);
	close(out_pipe[1]);
	close(err_pipe[1]);
	close(error_pipe[1]);
	if (child < 0)
		error = errno;
	else if (read(error_pipe[0], &error, sizeof(error)) == sizeof(error))
		waitpid(child, NULL, 0);
	close(error_pipe[0]);
	if (error) {
		json_key_errno(t, "error", error);
		close(out_pipe[0]);
		close(err_pipe[0]);
		return;
	}
	status = gather(child, out_pipe[0], err_pipe[0], &out, &err);
	if (WIFEXITED(status))
		json_key_number(t, "exit", WEXITSTATUS(status));
	else
		json_key_number(t, "signal", WTERMSIG(status));
	json_key(t, "stdout");
	json_bytes(t, out.data, out.len);
	json_key(t, "stderr");
	json_bytes(t, err.data, err.len);
	free(out.data);
	free(err.data);
}

/*
 * One record: "PRIORITY,SEQUENCE,MICROSECONDS,FLAGS;TEXT\n KEY=VALUE\n…"
 * (Documentation/ABI/testing/dev-kmsg).
 */
static void kmsg_record(struct text *t, const char *record, size_t len, bool all)
{
	const char *text = memchr(record, ';', len);
	const char *end = memchr(record, '\n', len);
	unsigned int priority;
	long long us;

	if (!text || !end || end < text || sscanf(record, "%u,%*u,%lld", &priority, &us) != 2)
		return;
	if (!all && !(priority >> 3))
		return;
	json_item(t);
	text_puts(t, "{");
	json_key_number(t, "prio", priority & 7);
	json_key_number(t, "facility", priority >> 3);
	json_key_number(t, "us", us);
	json_key(t, "text");
	json_bytes(t, text + 1, (size_t)(end - text - 1));
	text_puts(t, "}");
}

static void do_kmsg(struct text *t, char **words)
{
	char record[8193];
	const bool all =
		!words[1]; /* or programs' lines alone: all take a tenth of a boot's time */
	int fd = open_dev("kmsg", O_RDONLY | O_NONBLOCK);

	if (fd < 0) {
		json_key_errno(t, "error", errno);
		return;
	}
	json_key(t, "records");
	text_puts(t, "[");
	for (;;) {
		ssize_t n = read(fd, record, sizeof(record) - 1);

		if (n < 0 && (errno == EPIPE || errno == EINTR))
			continue; /* overwritten meanwhile: the next read gives the oldest left */
		if (n <= 0)
			break;
		record[n] = '\0';
		kmsg_record(t, record, (size_t)n, all);
	}
	text_puts(t, "]");
	close(fd);
}

static const struct command {
	const char *name;
	int words; /* at least, with the name itself */
	void (*run)(struct text *t, char **words);
} commands[] = {
	{"stat", 2, do_stat},	    {"ls", 2, do_ls},	      {"read", 2, do_read},
	{"write", 3, do_write},	    {"open", 3, do_open},     {"mkdir", 2, do_mkdir},
	{"unlink", 2, do_unlink},   {"chmod", 3, do_chmod},   {"chown", 4, do_chown},
	{"xattrs", 2, do_xattrs},   {"statfs", 2, do_statfs}, {"mountinfo", 1, do_mountinfo},
	{"meminfo", 1, do_meminfo}, {"kmsg", 1, do_kmsg},     {"run", 4, do_run},
	{"verity", 2, do_verity},
};

/* Writes a whole line, newline included, and waits until it is out. */
static void send_line(int port, struct text *t)
{
	size_t done = 0;

	text_puts(t, "\n");
	while (done < t->len) {
		ssize_t n = write(port, t->data + done, t->len - done);

		if (n < 0 && errno != EINTR)
			die("writing to the port");
		if (n > 0)
			done += (size_t)n;
	}
	tcdrain(port);
	free(t->data);
	*t = (struct text){0};
}

/* The ways to end. They answer first, for nobody can afterwards. */
static void end(int port, char **words)
{
	struct text t = {0};

	text_puts(&t, "{\"ok\":true}");
	send_line(port, &t);
	if (!strcmp(words[0], "exit"))
		_exit(words[1] ? atoi(words[1]) : 0);
	sync();
	reboot(!strcmp(words[0], "poweroff") ? RB_POWER_OFF : RB_AUTOBOOT);
}

/* Splits at blanks, then decodes \ooo in each word, in place. Gives the number of words. */
static int split(char *line, char **ret_words)
{
	char *save, *word;
	int count = 0;

	for (word = strtok_r(line, " ", &save); word && count < WORDS_MAX - 1;
	     word = strtok_r(NULL, " ", &save)) {
		char *out = word;

		ret_words[count++] = word;
		for (char *in = word; *in; in++) {
			if (*in == '\\' && strspn(in + 1, "01234567") >= 3) {
				*out++ = (char)((in[1] - '0') << 6 | (in[2] - '0') << 3 |
						(in[3] - '0'));
				in += 3;
			} else {
				*out++ = *in;
			}
		}
		*out = '\0';
	}
	ret_words[count] = NULL;
	return count;
}

static void answer(int port, char *line)
{
	struct text t = {0};
	char *words[WORDS_MAX];
	int count = split(line, words);

	if (count == 0)
		return;
	if (!strcmp(words[0], "poweroff") || !strcmp(words[0], "reboot") ||
	    !strcmp(words[0], "exit")) {
		end(port, words);
		return;
	}
	text_puts(&t, "{");
	for (size_t i = 0; i < ARRAY_SIZE(commands); i++) {
		if (strcmp(words[0], commands[i].name))
			continue;
		if (count < commands[i].words)
			json_key_string(&t, "error", "too few words");
		else
			commands[i].run(&t, words);
		break;
	}
	if (t.len == 1)
		json_key_string(&t, "error", "unknown command");
	text_puts(&t, "}");
	send_line(port, &t);
}

#ifndef PROBE_TTY
#define PROBE_TTY "ttyS1"
#endif

/* The name below /dev of the port: PROBE_TTY, or what probe.tty= on the command line says. */
static void port_name(char *ret_name, size_t size)
{
	struct text cmdline = {0};
	char *word, *save;

	snprintf(ret_name, size, "%s", PROBE_TTY);
	read_at(proc_fd, "cmdline", &cmdline, CONTENT_MAX);
	text_add(&cmdline, "", 1);
	for (word = strtok_r(cmdline.data, " \n", &save); word;
	     word = strtok_r(NULL, " \n", &save)) {
		if (!strncmp(word, "probe.tty=/dev/", strlen("probe.tty=/dev/")))
			snprintf(ret_name, size, "%s", word + strlen("probe.tty=/dev/"));
		else if (!strncmp(word, "probe.tty=", strlen("probe.tty=")))
			snprintf(ret_name, size, "%s", word + strlen("probe.tty="));
	}
	free(cmdline.data);
}

static int open_port(void)
{
	struct termios tty;
	char name[128];
	int port;

	port_name(name, sizeof(name));
	port = open_dev(name, O_RDWR);
	if (port >= 0 && !tcgetattr(port, &tty)) {
		cfmakeraw(&tty);
		cfsetspeed(&tty, B115200);
		tcsetattr(port, TCSANOW, &tty);
	}
	return port;
}

/*
 * An init may leave us without a console. That is reported by now, and from here on no pipe of
 * ours may take the number of a standard file.
 */
static void fill_standard_fds(void)
{
	int fd;

	do
		fd = open_dev("null", O_RDWR);
	while (fd >= 0 && fd <= STDERR_FILENO);
	if (fd >= 0)
		close(fd);
}

static void serve(int port)
{
	static char line[LINE_MAX_BYTES];
	size_t len = 0;

	for (;;) {
		char *newline;
		ssize_t n = read(port, line + len, sizeof(line) - 1 - len);

		if (n < 0 && errno == EINTR)
			continue;
		if (n <= 0)
			die("reading from the port");
		len += (size_t)n;
		line[len] = '\0';
		newline = strchr(line, '\n');
		if (newline) { /* the host asks one question at a time, so nothing follows */
			*newline = '\0';
			answer(port, line);
			len = 0;
		} else if (len == sizeof(line) - 1) {
			errno = E2BIG;
			die("command");
		}
	}
}

int main(int argc, char **argv)
{
	static struct inherited inherited;
	struct text t = {0};
	struct statfs fs;
	bool proc_mounted;
	int port;

	(void)argc;
	record_inherited(&inherited);
	proc_mounted = !statfs("/proc", &fs) && fs.f_type == PROC_MAGIC;
	proc_fd = proc_mounted ? open("/proc", O_PATH | O_DIRECTORY | O_CLOEXEC) : detached("proc");
	report(&t, argv, &inherited, proc_mounted);
	port = open_port();
	if (port < 0)
		die("opening the port");
	fill_standard_fds();
	send_line(port, &t);
	serve(port);
}
