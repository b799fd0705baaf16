# SPDX-License-Identifier: MIT
"""What tests that boot have in common: what is seen of the usual image, idmap-init's lines in the log
and on the console, a disk that comes late.

Here and not in one of the test modules, so that each of these stands alone: none imports another.
"""

from __future__ import annotations

import dataclasses
import re
import time
from pathlib import Path

import pytest

from arch import GUEST
from guest import Disk, Guest, GuestFailed

MAPPED = ["6.1", "6.12", "7.x"]  # kernels that idmap erofs and ext4
EVERY = ["6.1", "6.12", "newest"]  # stable, and the newest that Debian has, backports included
OWN = pytest.param("own", marks=pytest.mark.tools)  # of ../kernel.config alone, by own-kernel
INIT = "/sbin/idmap-init"  # where a root that the kernel boots has it
NOBODY = (65534, 65534)
PRE = "idmap-init: "  # what each of its lines begins with
# On the command lines of the tests' guests alone, since what is measured, shown to people or started by a
# firmware boots as it is. Under emulation nearly half of a boot are the kernel's tests of its own ciphers, and
# a fifth of the rest what these calls begin: noise for random numbers, the tracers' enums, IPv6, and the
# certificates of modules, each of which is proved with them (without, the kernel notes that it was not).
QUICK = ("cryptomgr.notests initcall_blacklist=jent_mod_init,trace_eval_init,inet6_init,load_system_certificate_list "
         f"{GUEST.quick}").rstrip()
ROOT = "/dev/vda / erofs idmap=100000:0:65536\n"  # the usual first row of a table

# uid and gid seen in /owners under 100000:0:65536, by name in images.busybox_root.
OWNERS = {
    "root": (0, 0), "user": (1000, 1000), "last": (65535, 65535), "outside": NOBODY, "zero": NOBODY,
    "mixed": (1000, 0), "root-private": (0, 0), "user-private": (1000, 1000),
    "outside-private": NOBODY, "dir": (1000, 1000), "link": (1000, 1000),
}

# QEMU's arguments for a guest into which plug() can put a disk.
SLOT = ["-device", "pcie-root-port,id=hotplug-slot,chassis=1"]

# idmap-init wakes once a second at the least; the disk is plugged so that this comes 0.7 s later.
FOUND_MOST_US = 400_000


def in_turn(*cases: tuple) -> list[tuple]:
    """Each case on one of two kernels, for what does not depend on them: ("6.1", …), ("newest", …) and so on."""
    return [(("6.1", "newest")[number % 2], *case) for number, case in enumerate(cases)]


def of_x86_64(why: str) -> pytest.MarkDecorator:
    """For a test, or as the pytestmark of a module, that is not run with a guest of another architecture."""
    return pytest.mark.skipif(not GUEST.is_usual, reason=f"not with a guest of {GUEST.name}: {why}")


@dataclasses.dataclass(frozen=True)
class Sealed:
    """An image with the hash tree that veritysetup(8) has made of it."""

    data: Path
    hashes: Path  # the same, where the tree stands behind the data
    root_hash: str
    offset: int  # of the tree

    @property
    def disks(self) -> list[Disk]:
        return [Disk(self.data)] + [Disk(self.hashes)] * (self.hashes != self.data)


def owners(guest: Guest, folder: str = "/owners") -> dict[str, tuple[int, int]]:
    entries = guest.ask("ls", folder)["entries"]
    return {name: (entry["uid"], entry["gid"]) for name, entry in entries.items()}


def seen(guest: Guest, path: str) -> tuple[int, int]:
    entry = guest.ask("stat", path)
    return entry["uid"], entry["gid"]


def options(guest: Guest, target: str) -> tuple[str, set[str]]:
    """What is mounted there last: its type and its own options."""
    mount = [m for m in guest.mounts() if m.target == target][-1]
    return mount.type, set(mount.options)


def log_lines(guest: Guest) -> list[str]:
    return [record["text"] for record in guest.kmsg(programs=True) if record["text"].startswith(PRE)]


def last_words(console: str) -> tuple[str, str]:
    """The last line of idmap-init and the exit code that the kernel's panic behind it tells. What the
    kernel writes by a timer (the TSC's calibration, at 1.3 s) may come in between."""
    lines = [line.partition("] ")[2] for line in console.splitlines()]
    ours = max(i for i, line in enumerate(lines) if line.startswith(PRE))
    panic = [line for line in lines[ours:] if line.startswith("Kernel panic - not syncing: Attempted to kill init!")]
    assert panic, lines[ours:]
    return lines[ours], panic[0].partition("exitcode=")[2]


def wait_for_line(guest: Guest, text: str) -> None:
    """Until the text stands on the console."""
    deadline = time.monotonic() + 120
    while text not in guest.console():
        if time.monotonic() > deadline:
            raise GuestFailed(f"'{text}' did not come on the console: {guest.console()[-2000:]}")
        time.sleep(0.02)


def plug(guest: Guest, disk: Path) -> None:
    if not GUEST.hotplug:
        pytest.skip(f"Debian's kernels for {GUEST.name} see no disk that comes later (CONFIG_HOTPLUG_PCI_PCIE)")
    guest.qmp("blockdev-add", driver="raw", node_name="late", read_only=True,
              file={"driver": "file", "filename": str(disk)})
    guest.qmp("device_add", driver="virtio-blk-pci", drive="late", bus="hotplug-slot")


def time_of(guest: Guest, pattern: str) -> int:
    """When the one line of the log that matches came, in microseconds."""
    found = [record["us"] for record in guest.kmsg() if re.search(pattern, record["text"])]
    assert len(found) == 1, (pattern, found)
    return found[0]


def us(console: str, text: str) -> int:
    """The time of the one line of the console that has the text, in microseconds."""
    line, = [line for line in console.splitlines() if text in line]
    seconds, micros = re.match(r"\[ *(\d+)\.(\d{6})\]", line).groups()
    return int(seconds) * 1_000_000 + int(micros)
