# SPDX-License-Identifier: MIT
"""Much of something: eight guests from one image, a thousand rows, hundreds of maps of hundreds of
extents."""

from __future__ import annotations

import contextlib
import hashlib

import pytest

import guest as guests
from common import NOBODY, owners, seen
from guest import Disk
from images import Dir, File

GUESTS = 8


def test_many_from_one(kernel, root_tree, image, initramfs, boot):
    """Eight guests run at once from one file, each sees the ids of its own range, and not a byte of
    the file has changed."""
    file = image(root_tree(), "erofs")
    before = hashlib.sha256(file.read_bytes()).hexdigest()
    initrd = initramfs(kernel)
    with guests.all_slots(), contextlib.ExitStack() as stack:
        # So many emulated guests wait long for a processor; one that misses its timer's first ticks
        # for that would panic.
        running = [stack.enter_context(boot(
            kernel, initrd, "no_timer_check root=/dev/vda rootfstype=erofs ro"
            f" idmap=100000:{n * 65536}:65536",
            [Disk(file)], memory=256, timeout=300, slot=False)) for n in range(GUESTS)]
        for guest in running:
            guest.report()
        for n, guest in enumerate(running):  # all of them run by now
            shown = owners(guest)
            for name, number in (("root", 0), ("user", 1000), ("last", 65535)):
                assert shown[name] == (n * 65536 + number,) * 2
            assert shown["outside"] == shown["zero"] == NOBODY
            assert guest.ask("open /etc/hostname w") == {"error": "EROFS"}
        for guest in running:
            guest.poweroff()
    assert hashlib.sha256(file.read_bytes()).hexdigest() == before


ROWS = 1100  # more than a process may have descriptors
MAPS = 200
EXTENTS = 300


def disk_id(extent):
    """Far enough apart that nothing merges; short, as a map's text must stay below a page."""
    return 1000 + 20 * extent


def seen_id(number, extent):
    return 1000 + 20 * ((extent + number) % EXTENTS)


def long_map(number):
    """No two numbers give the same."""
    return "idmap=" + ",".join(
        f"{disk_id(extent)}:{seen_id(number, extent)}:1" for extent in range(EXTENTS))


def rows(options):
    """Binds of a folder of the root, and every tenth row a disk or a tmpfs."""
    text = "/dev/vda / erofs\n"
    for row in range(ROWS):
        source = {3: "/dev/vdb {} erofs", 7: "scratch {} tmpfs"}.get(row % 10, "/data {} bind")
        if row % 10 == 7:
            text += source.format(f"/rows/{row}") + " size=64k\n"  # no map: 6.1 has none for it
        else:
            text += f"{source.format(f'/rows/{row}')} {options(row)}\n"
    return text


@pytest.mark.every_kernel
@pytest.mark.parametrize("kernel", ["6.1", "7.x"], indirect=True)
@pytest.mark.parametrize("maps", [1, MAPS])
def test_rows(maps, kernel, root_tree, image, initramfs, boot):
    data = {"/": Dir(1000, 1000), "/first": File("", disk_id(0), disk_id(1)),
            "/last": File("", disk_id(EXTENTS - 1), disk_id(2)), "/none": File("", 1001, 5)}
    tree = root_tree()
    tree.update({("/data" + path).rstrip("/"): entry for path, entry in data.items()})
    for row in range(ROWS):
        tree[f"/rows/{row}"] = Dir(100000, 100000)
    conf = rows(lambda row: long_map(row % maps))
    # Not one namespace more than there are maps: on 6.1 mounts keep theirs.
    append = f"quiet sysctl.user.max_user_namespaces={maps}" if kernel.name == "6.1" else "quiet"
    disks = [Disk(image(tree, "erofs")), Disk(image(data, "erofs"))]
    with boot(kernel, initramfs(kernel, conf), append, disks, timeout=240) as guest:
        report = guest.report()
        assert report["rlimits"]["nofile"][0] == 1024
        assert [fd["fd"] for fd in report["fds"]] == [0, 1, 2]
        mounts = [m for m in guest.mounts() if m.target.startswith("/rows/")]
        assert len(mounts) == ROWS
        assert {m.target for m in mounts if "idmapped" not in m.options} == {
            f"/rows/{row}" for row in range(ROWS) if row % 10 == 7}
        for row in (0, 1, 3, 199, 200, 503, 999, ROWS - 1):
            number = row % maps
            assert seen(guest, f"/rows/{row}/first") == (seen_id(number, 0), seen_id(number, 1))
            assert seen(guest, f"/rows/{row}/last") == (
                seen_id(number, EXTENTS - 1), seen_id(number, 2))
            assert seen(guest, f"/rows/{row}/none") == NOBODY
        assert guest.ask("write /rows/997/x y") == {"written": 1}
