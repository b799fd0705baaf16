/* SPDX-License-Identifier: MIT */
/*
 * The kernel, called directly: every sys_…() gives what the kernel gives, 0 or more or -errno.
 * musl's wrappers would each need an errno in thread-local storage and so the C runtime's start-up,
 * and some are larger than the code that calls them. Debian's musl-gcc comes without linux/ headers
 * too, so the few constants stand here, each with its source and the first Linux that has it. The
 * numbers of the calls are musl's own SYS_*.
 */
#ifndef IDMAP_SYS_H
#define IDMAP_SYS_H

#include <fcntl.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/syscall.h>
#include <time.h>

struct stat;
struct statfs;
struct utsname;
struct pollfd;

/* --- registers: syscall(2), "Architecture calling conventions" -------------------------------- */

#if defined(__x86_64__)

static inline long sys_call1(long number, long a)
{
	long result;

	__asm__ volatile("syscall" : "=a"(result) : "0"(number), "D"(a) : "rcx", "r11", "memory");
	return result;
}

static inline long sys_call2(long number, long a, long b)
{
	long result;

	__asm__ volatile("syscall"
			 : "=a"(result)
			 : "0"(number), "D"(a), "S"(b)
			 : "rcx", "r11", "memory");
	return result;
}

static inline long sys_call3(long number, long a, long b, long c)
{
	long result;

	__asm__ volatile("syscall"
			 : "=a"(result)
			 : "0"(number), "D"(a), "S"(b), "d"(c)
			 : "rcx", "r11", "memory");
	return result;
}

static inline long sys_call4(long number, long a, long b, long c, long d)
{
	long result;
	register long r10 __asm__("r10") = d;

	__asm__ volatile("syscall"
			 : "=a"(result)
			 : "0"(number), "D"(a), "S"(b), "d"(c), "r"(r10)
			 : "rcx", "r11", "memory");
	return result;
}

static inline long sys_call5(long number, long a, long b, long c, long d, long e)
{
	long result;
	register long r10 __asm__("r10") = d;
	register long r8 __asm__("r8") = e;

	__asm__ volatile("syscall"
			 : "=a"(result)
			 : "0"(number), "D"(a), "S"(b), "d"(c), "r"(r10), "r"(r8)
			 : "rcx", "r11", "memory");
	return result;
}

static inline long sys_call6(long number, long a, long b, long c, long d, long e, long f)
{
	long result;
	register long r10 __asm__("r10") = d;
	register long r8 __asm__("r8") = e;
	register long r9 __asm__("r9") = f;

	__asm__ volatile("syscall"
			 : "=a"(result)
			 : "0"(number), "D"(a), "S"(b), "d"(c), "r"(r10), "r"(r8), "r"(r9)
			 : "rcx", "r11", "memory");
	return result;
}

/*
 * clone(2) of a child that shares our memory and sleeps for ever without touching it, so that it
 * needs no stack. ppoll(2) on nothing does not end; only a signal that kills does.
 */
static inline int sys_clone_idle(unsigned long flags)
{
	register long r10 __asm__("r10") = 0;
	register long r8 __asm__("r8") = 0;
	long result;

	__asm__ volatile("syscall\n\t"
			 "test %%eax, %%eax\n\t"
			 "jnz 2f\n"
			 "1:\txor %%edi, %%edi\n\t"
			 "mov %[ppoll], %%eax\n\t"
			 "syscall\n\t"
			 "jmp 1b\n"
			 "2:"
			 : "=a"(result)
			 : "0"(SYS_clone), "D"(flags), "S"(0), "d"(0), "r"(r10),
			   "r"(r8), [ppoll] "i"(SYS_ppoll)
			 : "rcx", "r11", "memory");
	return (int)result;
}

#elif defined(__aarch64__)

static inline long sys_call1(long number, long a)
{
	register long x8 __asm__("x8") = number;
	register long x0 __asm__("x0") = a;

	__asm__ volatile("svc 0" : "+r"(x0) : "r"(x8) : "memory");
	return x0;
}

static inline long sys_call2(long number, long a, long b)
{
	register long x8 __asm__("x8") = number;
	register long x0 __asm__("x0") = a;
	register long x1 __asm__("x1") = b;

	__asm__ volatile("svc 0" : "+r"(x0) : "r"(x8), "r"(x1) : "memory");
	return x0;
}

static inline long sys_call3(long number, long a, long b, long c)
{
	register long x8 __asm__("x8") = number;
	register long x0 __asm__("x0") = a;
	register long x1 __asm__("x1") = b;
	register long x2 __asm__("x2") = c;

	__asm__ volatile("svc 0" : "+r"(x0) : "r"(x8), "r"(x1), "r"(x2) : "memory");
	return x0;
}

static inline long sys_call4(long number, long a, long b, long c, long d)
{
	register long x8 __asm__("x8") = number;
	register long x0 __asm__("x0") = a;
	register long x1 __asm__("x1") = b;
	register long x2 __asm__("x2") = c;
	register long x3 __asm__("x3") = d;

	__asm__ volatile("svc 0" : "+r"(x0) : "r"(x8), "r"(x1), "r"(x2), "r"(x3) : "memory");
	return x0;
}

static inline long sys_call5(long number, long a, long b, long c, long d, long e)
{
	register long x8 __asm__("x8") = number;
	register long x0 __asm__("x0") = a;
	register long x1 __asm__("x1") = b;
	register long x2 __asm__("x2") = c;
	register long x3 __asm__("x3") = d;
	register long x4 __asm__("x4") = e;

	__asm__ volatile("svc 0"
			 : "+r"(x0)
			 : "r"(x8), "r"(x1), "r"(x2), "r"(x3), "r"(x4)
			 : "memory");
	return x0;
}

static inline long sys_call6(long number, long a, long b, long c, long d, long e, long f)
{
	register long x8 __asm__("x8") = number;
	register long x0 __asm__("x0") = a;
	register long x1 __asm__("x1") = b;
	register long x2 __asm__("x2") = c;
	register long x3 __asm__("x3") = d;
	register long x4 __asm__("x4") = e;
	register long x5 __asm__("x5") = f;

	__asm__ volatile("svc 0"
			 : "+r"(x0)
			 : "r"(x8), "r"(x1), "r"(x2), "r"(x3), "r"(x4), "r"(x5)
			 : "memory");
	return x0;
}

/* As above; x1 to x4 are 0 already. */
static inline int sys_clone_idle(unsigned long flags)
{
	register long x8 __asm__("x8") = SYS_clone;
	register long x0 __asm__("x0") = (long)flags;
	register long x1 __asm__("x1") = 0;
	register long x2 __asm__("x2") = 0;
	register long x3 __asm__("x3") = 0;
	register long x4 __asm__("x4") = 0;

	__asm__ volatile("svc 0\n\t"
			 "cbnz x0, 2f\n"
			 "1:\tmov x0, 0\n\t"
			 "mov x8, %[ppoll]\n\t"
			 "svc 0\n\t"
			 "b 1b\n"
			 "2:"
			 : "+r"(x0), "+r"(x8)
			 : "r"(x1), "r"(x2), "r"(x3), "r"(x4), [ppoll] "i"(SYS_ppoll)
			 : "memory");
	return (int)x0;
}

#else
#error "system calls are known here for x86-64 and aarch64 only"
#endif

/* Picks by the number of arguments; pointers and integers become registers. */
#define SYS_PICK(a, b, c, d, e, f, call, ...) call
#define SYS_L(x) ((long)(x))
#define SYS_1(n, a) sys_call1(n, SYS_L(a))
#define SYS_2(n, a, b) sys_call2(n, SYS_L(a), SYS_L(b))
#define SYS_3(n, a, b, c) sys_call3(n, SYS_L(a), SYS_L(b), SYS_L(c))
#define SYS_4(n, a, b, c, d) sys_call4(n, SYS_L(a), SYS_L(b), SYS_L(c), SYS_L(d))
#define SYS_5(n, a, b, c, d, e) sys_call5(n, SYS_L(a), SYS_L(b), SYS_L(c), SYS_L(d), SYS_L(e))
#define SYS_6(n, a, b, c, d, e, f) \
	sys_call6(n, SYS_L(a), SYS_L(b), SYS_L(c), SYS_L(d), SYS_L(e), SYS_L(f))
#define SYS(n, ...) \
	SYS_PICK(__VA_ARGS__, SYS_6, SYS_5, SYS_4, SYS_3, SYS_2, SYS_1, 0)(n, __VA_ARGS__)

/* --- constants -------------------------------------------------------------------------------- */

/* open_tree(2), move_mount(2), fsopen(2), fsconfig(2), fsmount(2): linux/mount.h, 5.2 */
#define OPEN_TREE_CLONE 1u
#define OPEN_TREE_CLOEXEC 02000000u
#define MOVE_MOUNT_F_EMPTY_PATH 0x04u
#define MOVE_MOUNT_T_SYMLINKS 0x10u
#define MOVE_MOUNT_T_EMPTY_PATH 0x40u
#define FSOPEN_CLOEXEC 1u
#define FSMOUNT_CLOEXEC 1u
enum { FSCONFIG_SET_FLAG = 0, FSCONFIG_SET_STRING = 1, FSCONFIG_CMD_CREATE = 6 };

/* linux/fcntl.h; musl has them only under _GNU_SOURCE or not at all */
#define SYS_AT_EMPTY_PATH 0x1000u
#define SYS_AT_RECURSIVE 0x8000u

/* mount_setattr(2): linux/mount.h, 5.12 */
#define MOUNT_ATTR_IDMAP 0x100000u
#define MOUNT_ATTR_NOSYMFOLLOW 0x200000u /* 5.14 */
struct sys_mount_attr {
	uint64_t attr_set, attr_clr, propagation, userns_fd;
};

/* openat2(2): linux/openat2.h, 5.6 */
#define RESOLVE_NO_XDEV 0x01u
#define RESOLVE_NO_SYMLINKS 0x04
#define RESOLVE_IN_ROOT 0x10u
struct sys_open_how {
	uint64_t flags, mode, resolve;
};

/* loop(4): linux/loop.h, 5.8 */
#define LOOP_CONFIGURE 0x4c0au
#define LOOP_CTL_GET_FREE 0x4c82u
enum { LO_FLAGS_READ_ONLY = 1, LO_FLAGS_AUTOCLEAR = 4 };
struct sys_loop_config {
	uint32_t fd, block_size;
	uint64_t device, inode, rdevice, offset, size_limit;
	uint32_t number, encrypt_type, encrypt_key_size, flags;
	char file_name[64], crypt_name[64], encrypt_key[32];
	uint64_t init[2], reserved[8];
};

/* --- calls, in the order of their sections; those without a body are in sys.c ------------------
 */

int sys_open(const char *path, int flags, unsigned int mode);

static inline int sys_openat(int fd, const char *path, int flags)
{
	return (int)SYS(SYS_openat, fd, path, flags, 0);
}

static inline int sys_openat2(int fd, const char *path, struct sys_open_how *how)
{
	return (int)SYS(SYS_openat2, fd, path, how, sizeof(*how));
}

static inline int sys_close(int fd)
{
	return (int)SYS(SYS_close, fd);
}

static inline int sys_dup3(int fd, int target)
{
	return (int)SYS(SYS_dup3, fd, target, 0);
}

static inline long sys_read(int fd, void *buffer, size_t size)
{
	return (long)SYS(SYS_read, fd, buffer, size);
}

static inline long sys_pread(int fd, void *buffer, size_t size, int64_t offset)
{
	return (long)SYS(SYS_pread64, fd, buffer, size, offset);
}

long sys_write(int fd, const void *buffer, size_t size);

static inline int sys_fstatat(int fd, const char *path, struct stat *ret, unsigned int flags)
{
	return (int)SYS(SYS_newfstatat, fd, path, ret, flags);
}

/* What newfstatat() with an empty path gives, for a fraction: the path would be copied. */
static inline int sys_fstat(int fd, struct stat *ret)
{
	return (int)SYS(SYS_fstat, fd, ret);
}

static inline int sys_fchown(int fd, uint32_t uid, uint32_t gid)
{
	return (int)SYS(SYS_fchown, fd, uid, gid);
}

static inline int sys_fchmod(int fd, unsigned int mode)
{
	return (int)SYS(SYS_fchmod, fd, mode);
}

static inline long sys_flistxattr(int fd, char *list, size_t size)
{
	return (long)SYS(SYS_flistxattr, fd, list, size);
}

static inline long sys_fgetxattr(int fd, const char *name, void *value, size_t size)
{
	return (long)SYS(SYS_fgetxattr, fd, name, value, size);
}

static inline int sys_fsetxattr(int fd, const char *name, const void *value, size_t size)
{
	return (int)SYS(SYS_fsetxattr, fd, name, value, size, 0);
}

static inline int sys_ioctl(int fd, unsigned int request, void *argument)
{
	return (int)SYS(SYS_ioctl, fd, request, argument);
}

static inline int sys_fstatfs(int fd, struct statfs *ret)
{
	return (int)SYS(SYS_fstatfs, fd, ret);
}

static inline int sys_faccessat2(int fd, const char *path, int mode, unsigned int flags)
{
	return (int)SYS(SYS_faccessat2, fd, path, mode, flags);
}

static inline long sys_getdents64(int fd, void *buffer, size_t size)
{
	return (long)SYS(SYS_getdents64, fd, buffer, size);
}

static inline int sys_mkdirat(int fd, const char *path, unsigned int mode)
{
	return (int)SYS(SYS_mkdirat, fd, path, mode);
}

int sys_unlinkat(int fd, const char *path, int flags);

static inline unsigned int sys_umask(unsigned int mask)
{
	return (unsigned int)SYS(SYS_umask, mask);
}

static inline int sys_chdir(const char *path)
{
	return (int)SYS(SYS_chdir, path);
}

static inline int sys_fchdir(int fd)
{
	return (int)SYS(SYS_fchdir, fd);
}

static inline int sys_chroot(const char *path)
{
	return (int)SYS(SYS_chroot, path);
}

static inline int sys_mount(const char *source, const char *target, const char *type,
			    unsigned long flags, const void *data)
{
	return (int)SYS(SYS_mount, source, target, type, flags, data);
}

static inline long sys_readlink(const char *path, char *buffer, size_t size)
{
	return SYS(SYS_readlinkat, AT_FDCWD, path, buffer, size);
}

static inline int sys_umount2(const char *path, int flags)
{
	return (int)SYS(SYS_umount2, path, flags);
}

static inline int sys_pivot_root(const char *root, const char *old)
{
	return (int)SYS(SYS_pivot_root, root, old);
}

static inline int sys_open_tree(int fd, const char *path, unsigned int flags)
{
	return (int)SYS(SYS_open_tree, fd, path, flags);
}

int sys_move_mount(int from_fd, const char *from, int to_fd, const char *to, unsigned int flags);

static inline int sys_fsopen(const char *type, unsigned int flags)
{
	return (int)SYS(SYS_fsopen, type, flags);
}

int sys_fsconfig(int fd, int command, const char *key, const char *value);

static inline int sys_fsmount(int fd, unsigned int flags, unsigned int attr)
{
	return (int)SYS(SYS_fsmount, fd, flags, attr);
}

static inline int sys_mount_setattr(int fd, const char *path, unsigned int flags,
				    struct sys_mount_attr *attr)
{
	return (int)SYS(SYS_mount_setattr, fd, path, flags, attr, sizeof(*attr));
}

static inline int sys_finit_module(int fd, const char *options)
{
	return (int)SYS(SYS_finit_module, fd, options, 0);
}

static inline void *sys_mmap(size_t size, int protection, int flags)
{
	return (void *)SYS(SYS_mmap, 0, size, protection, flags, -1, 0);
}

static inline int sys_uname(struct utsname *ret)
{
	return (int)SYS(SYS_uname, ret);
}

static inline int sys_clock_gettime(clockid_t clock, struct timespec *ret)
{
	return (int)SYS(SYS_clock_gettime, clock, ret);
}

static inline int sys_nanosleep(const struct timespec *time)
{
	return (int)SYS(SYS_nanosleep, time, 0);
}

static inline int sys_ppoll(struct pollfd *fds, unsigned long count, const struct timespec *time)
{
	return (int)SYS(SYS_ppoll, fds, count, time, 0, 0);
}

static inline int sys_socket(int domain, int type, int protocol)
{
	return (int)SYS(SYS_socket, domain, type, protocol);
}

static inline int sys_bind(int fd, const void *address, unsigned int size)
{
	return (int)SYS(SYS_bind, fd, address, size);
}

static inline int sys_kill(int pid, int signal)
{
	return (int)SYS(SYS_kill, pid, signal);
}

static inline int sys_wait4(int pid, int options)
{
	return (int)SYS(SYS_wait4, pid, 0, options, 0);
}

static inline int sys_execve(const char *path, char **argv, char **envp)
{
	return (int)SYS(SYS_execve, path, argv, envp);
}

static inline int sys_getpid(void)
{
	return (int)SYS(SYS_getpid, 0);
}

static inline void sys_sync(void)
{
	SYS(SYS_sync, 0);
}

/* reboot(2): the two magic numbers are linux/reboot.h's */
static inline int sys_reboot(unsigned int command)
{
	return (int)SYS(SYS_reboot, 0xfee1dead, 672274793, command);
}

static inline void __attribute__((noreturn)) sys_exit(int code)
{
	for (;;)
		SYS(SYS_exit_group, code);
}

#endif
