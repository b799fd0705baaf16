// SPDX-License-Identifier: MIT
/*
 * Waits for disks. The kernel tells of each new device over a netlink socket; we look again
 * whenever it does. A device node is there some time before its driver is ready and then answers
 * ENXIO, so what counts is that the device opens.
 */
#define _GNU_SOURCE
#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <sys/socket.h>
#include <unistd.h>

#include "device/device.h"

#define NETLINK_KOBJECT_UEVENT 15 /* linux/netlink.h */
#define POLL_MS 50		  /* without networking there are no events, only looking again */
#define LOOK_MS 1000		  /* with events too, should one be lost */
#define TELL_AFTER_US 1000000	  /* the note about a device that does not come */

/* struct sockaddr_nl of linux/netlink.h */
struct netlink_address {
	uint16_t family, pad;
	uint32_t pid, groups;
};

/* Opens the kernel's event socket; -1 without networking. */
static int listen_events(void)
{
	const struct netlink_address address = {.family = AF_NETLINK, .groups = 1};
	int fd = socket(AF_NETLINK, SOCK_DGRAM | SOCK_CLOEXEC | SOCK_NONBLOCK,
			NETLINK_KOBJECT_UEVENT);

	if (fd >= 0 && bind(fd, (const struct sockaddr *)&address, sizeof(address)))
		idmap_close(&fd);
	return fd;
}

/* Sleeps until an event or for `timeout_us`; events are forgotten, the caller looks itself. */
static void wait_event(int uevent_fd, uint64_t timeout_us)
{
	const uint64_t most_ms = uevent_fd >= 0 ? LOOK_MS : POLL_MS;
	struct pollfd pollfd = {.fd = uevent_fd, .events = POLLIN};
	char event[64];

	poll(&pollfd, 1, timeout_us / 1000 < most_ms ? (int)(timeout_us / 1000) + 1 : (int)most_ms);
	while (uevent_fd >= 0 && read(uevent_fd, event, sizeof(event)) >= 0)
		;
}

/* 0: it opens, or fails in a way that waiting does not mend. */
static int look(const char *path)
{
	idmap_closed int fd = idmap_open(path, O_RDONLY | O_NONBLOCK);

	return fd == -ENOENT || fd == -ENXIO || fd == -ENODEV ? fd : 0;
}

/*
 * Looks for the row's device once: 0, or -ENOTUNIQ, or another -errno that waiting may mend. `list`
 * is then all disks that are there.
 */
static int find(const struct idmap_devices *devices, struct idmap_row *row,
		const struct idmap_source *source, struct idmap_text *list,
		struct idmap_error *ret_error)
{
	int result = source->kind == IDMAP_SOURCE_DEVICE ? look(row->device) : -ENODEV;
	struct idmap_text text;
	uint32_t found;
	char *paths;

	if (!result)
		return 0;
	/* The row keeps it, unless there is nothing to keep. */
	paths = idmap_alloc(devices->arena, IDMAP_DEVICE_SIZE);
	if (!paths)
		return -ENODEV;
	idmap_text_init(&text, paths, IDMAP_DEVICE_SIZE);
	found = idmap_disks_look(devices->arena, source, &text, list);
	if (found > 1)
		return idmap_fail(ret_error, row, IDMAP_NO_SOURCE, ENOTUNIQ,
				  "%s have this name; detach all but one, or write the"
				  " device's path",
				  paths);
	if (found && !look(paths)) {
		row->device = paths;
		return 0;
	}
	devices->arena->at = paths;
	return -ENODEV;
}

static int did_not_come(const struct idmap_row *row, const struct idmap_source *source,
			const char *disks, struct idmap_error *ret_error)
{
	return idmap_fail(ret_error, row, IDMAP_NO_SOURCE, ENODEV,
			  "the device did not come within %u s (disks here: %s); check its"
			  " name%s, load its driver (mkinitramfs -m), or raise wait=",
			  row->wait_s, disks,
			  source->kind == IDMAP_SOURCE_UUID || source->kind == IDMAP_SOURCE_LABEL
				  ? " and that it is " IDMAP_SOURCE_KNOWN
				  : "");
}

/* The row begins to wait; true: it has not waited before. Then what came until now is looked at. */
static bool begin(struct idmap_devices *devices, const struct idmap_row *row)
{
	if (devices->row == row)
		return false;
	devices->row = row;
	devices->began_us = idmap_now_us();
	devices->told = false;
	if (devices->uevent_fd < 0)
		devices->uevent_fd = listen_events();
	return true;
}

int idmap_device_wait(struct idmap_devices *devices, struct idmap_row *row,
		      struct idmap_notes *notes, struct idmap_error *ret_error)
{
	const bool forever = row->wait_s == IDMAP_WAIT_FOREVER;
	const uint64_t until_us = devices->start_us + row->wait_s * UINT64_C(1000000);
	struct idmap_source source;
	struct idmap_text list;
	char disks[256];

	devices->came_us = 0;
	idmap_source_read(row, &source);
	if (source.kind == IDMAP_SOURCE_OTHER)
		return 0;
	for (;;) {
		uint64_t tell_us, now_us, next_us;
		int result;

		idmap_text_init(&list, disks, sizeof(disks));
		list.most = sizeof(disks); /* a name may hold anything */
		result = find(devices, row, &source, &list, ret_error);
		if (!result || result == -ENOTUNIQ) {
			if (devices->row == row)
				devices->came_us = idmap_now_us();
			return result;
		}
		if (begin(devices, row))
			continue;
		if (!*disks)
			idmap_text_add(&list, "none");
		now_us = idmap_now_us();
		tell_us = devices->began_us + TELL_AFTER_US;
		if (!forever && now_us >= until_us)
			return did_not_come(row, &source, disks, ret_error);
		if (!devices->told && now_us >= tell_us) {
			devices->told = true;
			idmap_note(notes, "waiting for %s (disks here: %s)", row->source, disks);
			return -EAGAIN;
		}
		next_us = !devices->told ? tell_us : forever ? UINT64_MAX : until_us;
		wait_event(devices->uevent_fd, next_us - now_us);
	}
}
