// SPDX-License-Identifier: MIT
/*
 * Waits for disks. The kernel tells of each new device over a netlink socket; we look again
 * whenever it does. A device node is there some time before its driver is ready and then answers
 * ENXIO, so what counts is that it can be read.
 */
#define _GNU_SOURCE
#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "device/device.h"

#define NETLINK_KOBJECT_UEVENT 15 /* linux/netlink.h */
#define POLL_MS 50		  /* without networking there are no events, only looking again */
#define LOOK_MS 1000		  /* with events too, should one be lost */
#define DEVICES_SIZE (64 * 1024)
#define DEVICE_SIZE 128	      /* for the path that a row's device is found at */
#define TELL_AFTER_US 1000000 /* the note about a device that does not come */

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

/*
 * Sleeps until an event or for `timeout_us`; events are forgotten, the caller looks itself. true:
 * the caller wants no more of it.
 */
static bool wait_event(const struct idmap_devices *devices, uint64_t timeout_us)
{
	const uint64_t most_ms = devices->uevent_fd >= 0 ? LOOK_MS : POLL_MS;
	struct pollfd pollfd[] = {{.fd = devices->uevent_fd, .events = POLLIN},
				  {.fd = devices->stop_fd, .events = POLLIN}};
	char event[64];

	poll(pollfd, COUNT_OF(pollfd),
	     timeout_us / 1000 < most_ms ? (int)(timeout_us / 1000) + 1 : (int)most_ms);
	while (devices->uevent_fd >= 0 && read(devices->uevent_fd, event, sizeof(event)) >= 0)
		;
	return pollfd[1].revents;
}

/* A device that a row wants. */
struct wanted {
	struct idmap_row *row;
	const char *option; /* that names it, or NULL: it is SOURCE */
	const char *name;   /* as it is written */
	const char *device; /* its path, as far as it is known */
	struct idmap_source source;
};

/* 0: it can be read, or fails in a way that waiting does not mend. */
static int look(const char *path)
{
	idmap_closed int fd = idmap_open(path, O_RDONLY);
	char first[512];

	if (fd == -ENOENT || fd == -ENXIO || fd == -ENODEV)
		return fd;
	/* Whoever mounts it wants that block, too; if a disk hangs it hangs here. */
	pread(fd, first, sizeof(first), 0);
	return 0;
}

/* The row keeps the path that was found. */
static int keep(const struct idmap_devices *devices, const struct wanted *wanted, const char *path)
{
	struct idmap_found *found;

	if (!wanted->option) {
		wanted->row->device = path;
		return 0;
	}
	found = idmap_alloc(devices->arena, sizeof(*found));
	if (!found)
		return -ENODEV;
	*found = (struct idmap_found){wanted->row->found, wanted->name, path};
	wanted->row->found = found;
	return 0;
}

/*
 * Looks for the device once: 0, or -ENOTUNIQ, or another -errno that waiting may mend. `list` is
 * then all disks that are there.
 */
static int find(struct idmap_devices *devices, const struct wanted *wanted, struct idmap_text *list,
		struct idmap_error *ret_error)
{
	int result = -ENODEV;
	struct idmap_text text;
	uint32_t found;
	char *paths;

	devices->looked_us = idmap_now_us();
	if (wanted->source.kind == IDMAP_SOURCE_DEVICE)
		result = look(wanted->device);
	if (!result)
		return 0;
	/* The row keeps it, unless there is nothing to keep. */
	paths = idmap_alloc(devices->arena, DEVICE_SIZE);
	if (!paths)
		return -ENODEV;
	idmap_text_init(&text, paths, DEVICE_SIZE);
	found = idmap_disks_look(devices->arena, &wanted->source, &text, list);
	if (found > 1)
		return idmap_fail(ret_error, wanted->row, IDMAP_NO_SOURCE, ENOTUNIQ,
				  "%s%s%s have this name; detach all but one, or write the"
				  " device's path",
				  wanted->option ? wanted->option : "", wanted->option ? ": " : "",
				  paths);
	if (found && !look(paths))
		return keep(devices, wanted, paths);
	devices->arena->at = paths;
	return -ENODEV;
}

static int did_not_come(const struct idmap_devices *devices, const struct wanted *wanted,
			const char *disks, struct idmap_error *ret_error)
{
	static const char *const kinds[IDMAP_SOURCE_OTHER + 1] = {
		[IDMAP_SOURCE_UUID] = " and that it is " IDMAP_SOURCE_KNOWN,
		[IDMAP_SOURCE_LABEL] = " and that it is " IDMAP_SOURCE_KNOWN,
		[IDMAP_SOURCE_SERIAL] = " and that it is a virtio disk's, 20 bytes at most",
	};
	const char *kind = kinds[wanted->source.kind];

	idmap_fail(ret_error, wanted->row, IDMAP_NO_SOURCE, ENODEV,
		   "%s%sthe device did not come within %u s (disks here: %s); ",
		   wanted->option ? wanted->option : "", wanted->option ? ": " : "",
		   wanted->row->wait_s, disks);
	if (devices->modules_cause) /* that comes first */
		idmap_fail_more(ret_error, "%s", devices->modules_cause);
	else
		idmap_fail_more(
			ret_error,
			"check its name%s, load its driver (mkinitramfs -m), or raise wait=",
			kind ? kind : "");
	ret_error->absent = true;
	return -ENODEV;
}

/* Begins to wait for it; true: nobody has before. Then what came until now is looked at. */
static bool begin(struct idmap_devices *devices, const struct wanted *wanted)
{
	if (devices->name == wanted->name)
		return false;
	devices->name = wanted->name;
	devices->began_us = idmap_now_us();
	devices->told = false;
	if (devices->uevent_fd < 0)
		devices->uevent_fd = listen_events();
	return true;
}

static int wait_for(struct idmap_devices *devices, const struct wanted *wanted,
		    struct idmap_notes *notes, struct idmap_error *ret_error)
{
	const uint32_t wait_s = wanted->row->wait_s;
	const bool forever = wait_s == IDMAP_WAIT_FOREVER;
	const uint64_t until_us = devices->start_us + wait_s * UINT64_C(1000000);
	struct idmap_text list;
	char disks[256];
	/* For what is found, and for all disks' names while one is sought. */
	int result = idmap_arena_room(devices->arena, DEVICES_SIZE, ret_error);

	if (result)
		return result;
	for (;;) {
		uint64_t tell_us, now_us, next_us;

		idmap_text_init(&list, disks, sizeof(disks));
		list.most = sizeof(disks); /* a name may hold anything */
		result = find(devices, wanted, &list, ret_error);
		if (!result || result == -ENOTUNIQ) {
			if (devices->name == wanted->name)
				devices->came_us = idmap_now_us();
			return result;
		}
		if (begin(devices, wanted))
			continue;
		if (!*disks)
			idmap_text_add(&list, "none");
		now_us = idmap_now_us();
		tell_us = devices->began_us + TELL_AFTER_US;
		if (!forever && now_us >= until_us)
			return did_not_come(devices, wanted, disks, ret_error);
		if (!devices->told && now_us >= tell_us) {
			devices->told = true;
			idmap_note(notes, "waiting for %s (disks here: %s)",
				   wanted->option ? wanted->option : wanted->name, disks);
			return -EAGAIN;
		}
		next_us = !devices->told ? tell_us : forever ? UINT64_MAX : until_us;
		if (wait_event(devices, next_us - now_us))
			return idmap_fail(ret_error, wanted->row, IDMAP_NO_SOURCE, EINTR,
					  "%s has not come, and a signal ended the waiting for it",
					  wanted->option ? wanted->option : wanted->name);
	}
}

const char *idmap_device_found(const struct idmap_row *row, const char *name)
{
	const struct idmap_found *found;

	for (found = row->found; found; found = found->next)
		if (found->name == name)
			return found->device;
	return name;
}

/* One that an option names. */
static int wait_for_option(struct idmap_devices *devices, struct wanted *wanted,
			   struct idmap_notes *notes, struct idmap_error *ret_error)
{
	idmap_source_of(wanted->name, &wanted->source);
	wanted->device = idmap_device_found(wanted->row, wanted->name);
	if (wanted->device != wanted->name)
		wanted->source.kind = IDMAP_SOURCE_DEVICE;
	if (wanted->source.kind == IDMAP_SOURCE_OTHER)
		return 0;
	return wait_for(devices, wanted, notes, ret_error);
}

/* Those that options name. */
static int wait_for_options(struct idmap_devices *devices, struct idmap_row *row, const char *item,
			    struct idmap_notes *notes, struct idmap_error *ret_error)
{
	int result = 0;

	for (; !result && *item; item += strlen(item) + 1) {
		struct wanted wanted = {
			.row = row, .option = item, .name = idmap_device_option(item)};

		if (!wanted.name)
			continue;
		result = wait_for_option(devices, &wanted, notes, ret_error);
	}
	return result;
}

/* That of its hash tree. */
static int wait_for_hashes(struct idmap_devices *devices, struct idmap_row *row,
			   struct idmap_notes *notes, struct idmap_error *ret_error)
{
	struct wanted wanted = {.row = row, .option = "the hash tree", .source.raw = true};

	wanted.name = row->verity ? row->verity->hash_device : NULL;
	return wanted.name ? wait_for_option(devices, &wanted, notes, ret_error) : 0;
}

int idmap_device_wait(struct idmap_devices *devices, struct idmap_row *row,
		      struct idmap_notes *notes, struct idmap_error *ret_error)
{
	struct wanted wanted = {.row = row, .name = row->source, .device = row->device};
	int result = 0;

	devices->came_us = 0;
	idmap_source_read(row, &wanted.source);
	wanted.source.raw = row->verity;
	if (wanted.source.kind != IDMAP_SOURCE_OTHER)
		result = wait_for(devices, &wanted, notes, ret_error);
	if (!result)
		result = wait_for_options(devices, row, row->root_data, notes, ret_error);
	if (!result)
		result = wait_for_options(devices, row, row->data, notes, ret_error);
	if (!result)
		result = wait_for_hashes(devices, row, notes, ret_error);
	if (!result && wanted.source.kind != IDMAP_SOURCE_OTHER)
		idmap_trace(notes, "%s is there, for %s", row->device, row->target);
	return result;
}
