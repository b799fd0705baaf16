# SPDX-License-Identifier: MIT
"""What guests of one image cost the host, each with a map of its own, beside as many images of which
each was made for its guest's ids: bytes on disk, and bytes of the host's memory, in its page cache and
of QEMU's processes, when every guest has read all of its root.
"""

from __future__ import annotations

import contextlib
import os
import re
import shutil
import subprocess
from pathlib import Path

import chown
import stage1
from stage1 import Bench, guest, host, images
from table import Shown, head, row

NUMBERS = [1, 4, 8]
MIB = 1024 * 1024
READ = "find / -xdev -type f -exec cat {} + >/dev/null"


def make_images(bench: Bench, programs: host.Programs, count: int, folder: Path) -> list[Path]:
    """Of Debian's required packages, owned by another range of ids in each."""
    tree = folder / "tree"
    made = []
    chown.fill("minbase", tree, programs.probe)
    (tree / "bin").mkdir()
    for path, entry in images.busybox().items():
        if isinstance(entry, images.Link):
            (tree / path[1:]).symlink_to(entry.target)
        else:
            shutil.copy(entry.content, tree / path[1:])
    for number in range(count):
        base = str(stage1.BASE + number * 65536)
        made.append(folder / f"image{number}")
        subprocess.run(["mkfs.erofs", "--quiet", "-T0", f"--force-uid={base}", f"--force-gid={base}", made[-1], tree],
                       check=True, env=images.tools_environment())
    shutil.rmtree(tree)
    return made


def cached(files: list[Path]) -> int:
    """Bytes of files in the host's page cache."""
    told = subprocess.run(["fincore", "--bytes", "--noheadings", "--output", "RES", *files], check=True,
                          stdout=subprocess.PIPE, text=True).stdout
    return sum(map(int, told.split()))


def drop(files: list[Path]) -> None:
    for file in files:
        with open(file, "rb") as opened:
            os.fsync(opened.fileno())
            os.posix_fadvise(opened.fileno(), 0, 0, os.POSIX_FADV_DONTNEED)


def processes(machines: list[guest.Guest]) -> int:
    """Bytes of QEMU's processes, where shared pages count by their share (PSS)."""
    total = 0
    for machine in machines:
        told = Path(f"/proc/{machine._qemu.pid}/smaps_rollup").read_text()
        total += int(re.search(r"^Pss:\s+(\d+) kB$", told, re.M)[1]) * 1024
    return total


def boot(bench: Bench, archives: list[Path], disks: list[Path]) -> tuple[int, int]:
    """Bytes in the page cache, and of processes, of guests with these."""
    drop(disks)
    with guest.all_slots(), contextlib.ExitStack() as stack:
        machines = [stack.enter_context(guest.Guest(bench.kernel.vmlinuz, archive, "quiet", [guest.Disk(disk)],
                                                    memory=384, timeout=300, slot=False))
                    for archive, disk in zip(archives, disks)]
        for machine in machines:
            if machine.ask("stat", "/")["uid"]:
                raise guest.GuestFailed("the root is not mapped")
            machine.run("/bin/sh", "-c", READ)
        return cached(sorted(set(disks))), processes(machines)


def measure(bench: Bench, programs: host.Programs) -> Shown:
    folder = bench.folder / "guests"
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True)
    files = make_images(bench, programs, max(NUMBERS), folder)
    archives = []
    for number in range(max(NUMBERS)):
        conf = folder / f"conf{number}"
        conf.write_text(f"/dev/vda / erofs idmap={stage1.BASE + number * 65536}:0:65536\n")
        archives.append(folder / f"initramfs{number}")
        subprocess.run([host.REPOSITORY / "init" / "mkinitramfs", "-o", archives[-1], "-c", conf, "-i", programs.init,
                        "-k", bench.kernel.modules, "-m", "virtio_pci,virtio_blk,erofs"], check=True)
    yield head("guests", "what", "MiB on disk", "MiB of it in the host's page cache", "MiB of QEMU's processes"), None
    for number in NUMBERS:
        for what, disks, tables in (("one image, a map each", files[:1] * number, archives[:1] * number),
                                    ("an image each", files[:number], archives[:number])):
            on_disk = sum(disk.stat().st_blocks * 512 for disk in set(disks))
            in_cache, in_processes = boot(bench, tables, disks)
            yield row(number, what, *(f"{value / MIB:,.0f}" for value in (on_disk, in_cache, in_processes))), (
                f"{number}/{what}", {"disk": on_disk, "cache": in_cache, "processes": in_processes})
    shutil.rmtree(folder)
