# SPDX-License-Identifier: MIT
"""Takes the host's time from QEMU's start to the first instruction of the real init, with the whole
initramfs that each contestant needs: for virtio_pci, virtio_blk and erofs, packed by one compressor.
One more boot of each counts the guest's instructions from the kernel's first one to the same place.

Whoever cannot load drivers by itself has stage0.c do it. Debian's dracut and initramfs-tools run in
a root of their own, which is unpacked and not installed, and make their initramfs there: as Debian
makes it, for any machine, and as lean as their options allow for this one.
"""

from __future__ import annotations

import dataclasses
import functools
import gzip
import os
import select
import statistics
import subprocess
import tempfile
import time
from pathlib import Path
from typing import Any, Iterator

import stage1
import tools
from stage1 import Bench, Case, guest, host, images
from table import Shown, head, row, spread

DRIVERS = ["virtio_pci", "virtio_blk", "erofs"]
DISK = "/dev/vda"
BOOTS = 5

INITRAMFS_TOOLS = """set -e
cp -r /etc/initramfs-tools /tmp/conf
printf '%%s\\n' virtio_pci virtio_blk erofs >>/tmp/conf/modules # erofs is not one of "most"
%s
mkinitramfs -c gzip -d /tmp/conf -o /tmp/initramfs %s >&2
zcat /tmp/initramfs
"""
LIST = "sed -i s/MODULES=most/MODULES=list/ /tmp/conf/initramfs.conf"

DRACUT = """set -e
dracut --quiet --no-hostonly --no-compress %s --kver %s /tmp/initramfs >&2
cat /tmp/initramfs
"""
LEAN = f"--modules 'base rootfs-block kernel-modules udev-rules' --drivers '{' '.join(DRIVERS)}'"


@dataclasses.dataclass(frozen=True)
class Contestant:
    name: str
    archive: Path
    append: str = ""


@functools.cache
def contestants(bench: Bench, programs: host.Programs) -> list[Contestant]:
    return list(make_contestants(bench, programs))


def make_contestants(bench: Bench, programs: host.Programs) -> Iterator[Contestant]:
    """Each with its initramfs, made anew."""
    own = f"idmap={stage1.MAP},wait=600"  # under icount a guest's clock runs ahead of the host's disks
    flags = f"rootflags=X-mount.idmap=b:{stage1.MAP}"
    drivers, order = images.kernel_modules(bench.kernel.modules, DRIVERS)

    def packed(name: str, archive: bytes, append: str = "") -> Contestant:
        path = bench.folder / f"{name.replace(' ', '-')}.cpio.gz"
        path.write_bytes(gzip.compress(archive, 9, mtime=0))
        return Contestant(name, path, append)

    def from_tree(name: str, tree: images.Tree, append: str = "") -> Contestant:
        folders = {f"/{folder}": images.Dir() for folder in ("dev", "proc", "sys", "run")}
        path = images.make_image({"/": images.Dir(), "/dev/console": images.Node("c", 5, 1), **folders,
                                  **drivers, **tree}, "cpio", bench.folder / "tree.cpio")
        return packed(name, path.read_bytes(), append)

    def staged(tree: images.Tree) -> images.Tree:
        return {"/init": images.File(bench.stage0, mode=0o755),
                "/stage0": images.File("\n".join([*order, "/devices/vda", ""])), **tree}

    def renamed(tree: images.Tree) -> images.Tree:
        return {"/init" if path == "/stage1" else path: entry for path, entry in tree.items()}

    def in_root(name: str, root: Path, command: str, append: str = "") -> Contestant:
        return packed(name, tools.in_root(root, bench.kernel.modules, command), append)

    yield from_tree("floor in C", staged(bench.floor(Case(device=DISK))))
    yield packed("idmap-init", subprocess.run(
        [host.REPOSITORY / "init" / "mkinitramfs", "-o", "-", "-i", programs.init,
         "-k", bench.kernel.modules, "-m", ",".join(DRIVERS)],
        check=True, stdout=subprocess.PIPE).stdout, own)
    yield from_tree("tiny-initramfs", {**renamed(stage1.tiny_initramfs()),
                                       "/modules": images.File("".join(path + "\n" for path in order))})
    yield from_tree("klibc kinit", staged(stage1.kinit()))
    load = "".join(f"busybox insmod {path}\n" for path in order)
    load += f"while ! [ -b {DISK} ]; do busybox usleep 10000; done\n"
    yield from_tree("busybox sh + util-linux", renamed(stage1.shell(DISK, load)))
    version = bench.kernel.version
    root = tools.unpacked("--root", "trixie", "initramfs-tools", "busybox")
    yield in_root("initramfs-tools, lean", root, INITRAMFS_TOOLS % (LIST, version))
    yield in_root("initramfs-tools", root, INITRAMFS_TOOLS % ("", version))
    root = tools.unpacked("--root", "trixie", "dracut", "systemd-sysv")
    yield in_root("dracut, lean", root, DRACUT % (LEAN, version), flags)
    yield in_root("dracut", root, DRACUT % ("", version), flags)


def boot(bench: Bench, kernel: Path, contestant: Contestant, words: int = 4,
         **options: Any) -> tuple[float, list[int]]:
    """Seconds to the first of the words that arrive.c tells (or `kernel`, if it stands for one), and these."""
    with tempfile.TemporaryDirectory(dir=bench.folder) as folder:
        told = Path(folder) / "told"
        os.mkfifo(told)
        reader = os.open(told, os.O_RDONLY | os.O_NONBLOCK)
        with open(reader, "rb"), guest.Guest(
                kernel, contestant.archive,
                f"quiet root={DISK} rootfstype=erofs ro {contestant.append}".strip(),
                [guest.Disk(bench.image("erofs"))], qemu_args=["-debugcon", f"file:{told}"], **options) as machine:
            start = time.monotonic()
            select.select([reader], [], [], machine.timeout)
            seconds = time.monotonic() - start
            console = machine.wait_exit()
            data = os.read(reader, 64)
    if len(data) != words * 8:
        raise guest.GuestFailed(f"{contestant.name}: the real init was not reached:\n{console[-4000:]}")
    return seconds, [int.from_bytes(data[at:at + 8], "little") for at in range(0, len(data), 8)]


def count(bench: Bench, entry: Path, contestant: Contestant) -> int:
    """The guest's instructions from the kernel's first one to the real init's.

    The firmware counts for nobody. An idle guest's clock goes on to its next timer at once (sleep=off),
    so that a disk as slow as the host makes it adds little: two boots differ by some 0.2 %.
    """
    options: dict[str, Any] = {"icount": True, "timeout": 300}
    stamps = [boot(bench, kernel, contestant, words, **options)[1][0]
              for kernel, words in ((entry, 1), (bench.kernel.vmlinuz, 4))]
    return stamps[1] - stamps[0]


def measure(bench: Bench, programs: host.Programs) -> Shown:
    """Rounds of one boot each, so that what else the machine does falls on all of them."""
    every = contestants(bench, programs)
    kernel = bench.kernel.vmlinuz
    boot(bench, kernel, every[0])  # QEMU and the kernel are read from the host's disk
    rounds = [[boot(bench, kernel, contestant) for contestant in every] for _ in range(BOOTS)]
    entry = bench.entry()
    own = [contestant.name for contestant in every].index("idmap-init")
    yield f"{'KVM' if guest.have_kvm() else 'TCG'}, {BOOTS} rounds.", None
    yield head("", "seconds, median", "least to most", "x idmap-init", "instructions from the kernel's first, millions",
               "x idmap-init", "initramfs, gzip -9", "peak memory of PID 1", "maps"), None
    counts = [count(bench, entry, contestant) for contestant in every]
    for i, contestant in enumerate(every):
        runs = [boots[i] for boots in rounds]
        seconds = [run[0] for run in runs]
        times = statistics.median(boots[i][0] / boots[own][0] for boots in rounds)
        kib, maps = max(run[1][1] for run in runs), {run[1][2] for run in runs} == {0}
        more = counts[i] / counts[own]
        size = contestant.archive.stat().st_size
        yield (row(contestant.name, f"{statistics.median(seconds):.2f}", spread(seconds, ".2f"),
                   f"{times:.2f}", f"{counts[i] / 1e6:,.0f}", f"{more:.2f}", f"{size:,}",
                   f"{kib:,} KiB", "yes" if maps else "no"),
               (contestant.name, {"seconds": seconds, "times": times, "instructions": counts[i],
                                  "bytes": size, "kib": kib, "maps": maps}))
