// SPDX-License-Identifier: MIT
/*
 * Waits for disks. The kernel tells of each new device over a netlink socket; we look again
 * whenever it does. A device node is there some time before its driver is ready and then answers
 * ENXIO, so what counts is that the device opens.
 */
#include <errno.h>
#include <poll.h>
#include <string.h>
#include <sys/socket.h>

#include "explain.h"
#include "init.h"
#include "sys.h"

#define NETLINK_KOBJECT_UEVENT 15 /* linux/netlink.h */
#define POLL_MS 50		  /* without networking there are no events, only looking again */
#define TELL_AFTER_US 1000000	  /* the first line about a device that does not come */

/* struct sockaddr_nl of linux/netlink.h */
struct netlink_address {
	uint16_t family, pad;
	uint32_t pid, groups;
};

/* Opens the kernel's event socket; -1 without networking. */
static int listen_events(void)
{
	const struct netlink_address address = {.family = AF_NETLINK, .groups = 1};
	int fd;

	if (!IS_ENABLED(CONFIG_UEVENT))
		return -1;
	fd = sys_socket(AF_NETLINK, SOCK_DGRAM | SOCK_CLOEXEC | SOCK_NONBLOCK,
			NETLINK_KOBJECT_UEVENT);
	if (fd >= 0 && sys_bind(fd, &address, sizeof(address)))
		idmap_close(&fd);
	return fd;
}

/* Sleeps until an event or for `timeout_ms`; events are forgotten, the caller looks itself. */
static void wait_event(int uevent_fd, int timeout_ms)
{
	const bool events = IS_ENABLED(CONFIG_UEVENT) && uevent_fd >= 0;
	struct pollfd pollfd = {.fd = uevent_fd, .events = POLLIN};
	struct timespec timeout;
	char event[64];

	if (!events && timeout_ms > POLL_MS)
		timeout_ms = POLL_MS;
	timeout = (struct timespec){.tv_sec = timeout_ms / 1000,
				    .tv_nsec = timeout_ms % 1000 * 1000000};
	sys_ppoll(&pollfd, events, &timeout);
	while (events && sys_read(uevent_fd, event, sizeof(event)) >= 0)
		;
}

/* The names in /proc/partitions, which is a table with two lines of heading. */
static void list_disks(struct idmap_text *list)
{
	char buffer[4096], *line = buffer, *end;
	idmap_closed int fd = sys_open("/proc/partitions", O_RDONLY | O_CLOEXEC, 0);
	long n = fd < 0 ? 0 : sys_read(fd, buffer, sizeof(buffer) - 1);

	buffer[n > 0 ? n : 0] = 0;
	for (; (end = strchr(line, '\n')); line = end + 1) {
		char *name;

		*end = 0;
		name = strrchr(line, ' ');
		if (name && strncmp(line, "major", 5))
			idmap_text_add(list, "%s%s", list->at > list->start ? ", " : "", name + 1);
	}
}

/* 0: it opens, or fails in a way that waiting does not mend. */
static int look(const char *path)
{
	idmap_closed int fd = sys_open(path, O_RDONLY | O_CLOEXEC | O_NONBLOCK, 0);

	return fd == -ENOENT || fd == -ENXIO || fd == -ENODEV ? fd : 0;
}

/*
 * Looks for the row's device once: 0, or -ENOTUNIQ, or another -errno that waiting may mend. `list`
 * is then all disks that are there.
 */
static int find(const struct boot *boot, struct idmap_row *row, const struct idmap_source *source,
		struct idmap_text *list, struct idmap_error *ret_error)
{
	int result = source->kind == IDMAP_SOURCE_DEVICE ? look(row->device) : -ENODEV;
	struct idmap_text text;
	uint32_t found;
	char *paths;

	if (!result)
		return 0;
	if (!IS_ENABLED(CONFIG_NAMES)) {
		if (IS_ENABLED(CONFIG_EXPLAIN))
			list_disks(list);
		return result;
	}
	/* The row keeps it, unless there is nothing to keep. */
	paths = idmap_alloc(boot->arena, DEVICE_PATHS_SIZE);
	if (!paths)
		return -ENODEV;
	idmap_text_init(&text, paths, DEVICE_PATHS_SIZE);
	found = disks_look(boot, source, &text, list);
	if (found > 1)
		return idmap_row_fail(ret_error, row, IDMAP_NO_SOURCE, ENOTUNIQ,
				      "%s have this name; detach all but one, or write the"
				      " device's path",
				      paths);
	if (found && !look(paths)) {
		row->device = paths;
		return 0;
	}
	boot->arena->at = paths;
	return -ENODEV;
}

int device_wait(struct boot *boot, struct idmap_row *row, struct idmap_error *ret_error)
{
	const bool forever = row->wait_s == IDMAP_WAIT_FOREVER;
	const uint64_t until_us = boot->start_us + row->wait_s * UINT64_C(1000000);
	struct idmap_source source;
	struct idmap_text list;
	uint64_t began_us = 0;
	bool listening = false, told = false;
	char disks[256];
	int result;

	idmap_source_read(row, &source);
	if (source.kind == IDMAP_SOURCE_OTHER)
		return 0;
	for (;;) {
		uint64_t now_us;

		idmap_text_init(&list, disks, sizeof(disks));
		list.most = sizeof(disks); /* a name may hold anything */
		result = find(boot, row, &source, &list, ret_error);
		if (!result || result == -ENOTUNIQ) {
			if (listening)
				boot->row_us = idmap_now_us();
			return result;
		}
		if (!listening) { /* and look again, for what came before we listened */
			listening = true;
			began_us = idmap_now_us();
			if (boot->uevent_fd < 0)
				boot->uevent_fd = listen_events();
			continue;
		}
		if (IS_ENABLED(CONFIG_EXPLAIN) && !*disks)
			idmap_text_add(&list, "none");
		now_us = idmap_now_us();
		if (!forever && now_us >= until_us)
			return idmap_row_fail(
				ret_error, row, IDMAP_NO_SOURCE, ENODEV,
				"the device did not come within %u s (disks here: %s); check its"
				" name%s, load its driver (mkinitramfs -m), or raise wait=",
				row->wait_s, disks,
				source.kind == IDMAP_SOURCE_UUID ||
						source.kind == IDMAP_SOURCE_LABEL
					? MESSAGE(" and that it is " IDMAP_SOURCE_KNOWN)
					: "");
		if (!told && now_us >= began_us + TELL_AFTER_US) {
			if (IS_ENABLED(CONFIG_EXPLAIN))
				msg(MSG_WARNING, "waiting for %s (disks here: %s)", row->source,
				    disks);
			else
				msg(MSG_WARNING, "waiting for %s", row->source);
			told = true;
		}
		now_us = (told && forever) ? UINT64_MAX
					   : (told ? until_us : began_us + TELL_AFTER_US) - now_us;
		wait_event(boot->uevent_fd, now_us < 1000000 ? (int)(now_us / 1000) + 1 : 1000);
	}
}
