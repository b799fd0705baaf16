# SPDX-License-Identifier: MIT
"""Counts the guest's instructions from the exec of a stage 1 to the first one of the real init.

QEMU's -icount makes one instruction one nanosecond, so the figures do not depend on the machine or
on what else it does. The disk is in the guest's memory (an NVDIMM), since a wait for a virtio disk
is as long as the host makes it. stage0.c loads the drivers, waits until the kernel is at rest, and
stamps; arrive.c stands for the real init and stamps first of all. Between them is the contestant
alone: its exec, its work, and the kernel's work for it.
"""

from __future__ import annotations

import dataclasses
import os
import re
import shlex
import statistics
import struct
import subprocess
import sys
import tempfile
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any, Sequence

HERE = Path(__file__).resolve().parent
sys.path.insert(0, str(HERE.parent))
sys.dont_write_bytecode = True  # the work tree stays clean

import guest
import host
import images
import tools

WARNINGS = ["-Wall", "-Wextra", "-Wshadow", "-Wmissing-prototypes", "-Wconversion", "-Werror"]
DRIVERS = ["nfit", "nd_pmem", "erofs", "overlay"]
BASE = 100000
MAP = f"{BASE}:0:65536"
DEVICE = "/dev/pmem0"
MERGED = "/images/app"  # where layers go
MIB = 1024 * 1024
ALIGN = 128 * MIB  # of an NVDIMM
OWN_CODE, OWN_EXEC, LAST_EXEC = -1, -2, -3  # what Bench.calls() tells besides system calls
EVENT = re.compile(r"-1 +\[\d+\] \S+ +(\d+): sys_(enter|exit): NR (\d+)")  # of PID 1, in a trace's text


@dataclasses.dataclass(frozen=True)
class Row:
    target: str
    source: str = ""  # "": a tmpfs
    map: int | None = None  # an index into the case's maps


@dataclasses.dataclass(frozen=True)
class Case:
    """What is to be mounted. A map is a list of (disk, seen, count); the root has the first one."""

    kind: str = "erofs"
    maps: Sequence[Sequence[tuple[int, int, int]]] = (((BASE, 0, 65536),),)
    rows: Sequence[Row] = ()
    layers: Sequence[str] = ()  # folders of the root, each mapped as the root is
    device: str = DEVICE

    @property
    def in_file(self) -> bool:
        """Else the command line has it all."""
        return bool(self.rows or self.layers)

    def table(self) -> str:
        """The case as /etc/idmap.conf."""
        lines = [f"{self.device} / {self.kind} ro,{self._option(0)}"]
        for row in self.rows:
            options = self._option(row.map) if row.map is not None else "defaults"
            lines.append(f"{row.source} {row.target} bind {options}" if row.source else
                         f"tmpfs {row.target} tmpfs {options}")
        if self.layers:
            lines.append(f"none {MERGED} overlay")
        lines += [f"{folder} {MERGED} bind lower,{self._option(0)}" for folder in self.layers]
        return "\n".join(lines) + "\n"

    def _option(self, number: int) -> str:
        return "idmap=" + ",".join(":".join(map(str, extent)) for extent in self.maps[number])

    def header(self) -> str:
        """The case as case.h of floor.c."""
        texts = ["".join(f"{disk} {seen} {count}\\n" for disk, seen, count in extents)
                 for extents in self.maps]
        rows = [(row.source.lstrip("/"), row.target.lstrip("/"),
                 -1 if row.map is None else row.map) for row in self.rows] + [("", "", -1)]
        # The last one is on top; without a top of its own overlayfs wants two.
        lower = ":".join([str(i) for i in range(len(self.layers))][::-1] + ["empty"] * (len(self.layers) == 1))
        return "\n".join(
            [f'#define ROOT_TYPE "{self.kind}"', f'#define ROOT_DEVICE "{self.device}"', "#define ROOT_MAP 0",
             f"#define DISK_VIEW {int(any(row.source for row in self.rows) or bool(self.layers))}",
             f'#define MERGED "{MERGED}"', f'#define LOWERDIR "lowerdir={lower}"',
             "static const char *const layers[][2] = {"] +
            [f'\t{{"{folder.lstrip("/")}", "{i}"}},' for i, folder in enumerate(self.layers)] +
            ["\t{0},", "};",
             "static const char *const maps[][2] = {"] +
            [f'\t{{"{text}", "{text}"}},' for text in texts] +
            ["};", "static const struct row rows[] = {"] +
            [f'\t{{"{source}", "{target}", {number}}},' for source, target, number in rows] +
            ["};", ""])


def cases(count: int = 100) -> dict[str, Case]:
    """The cases of the goals: one root, and `count` rows besides it."""
    targets = [f"/t/{i}" for i in range(count)]
    return {
        "root": Case(),
        f"{count} binds": Case(rows=[Row(t, "/images/app", 0) for t in targets]),
        f"{count} tmpfs": Case(rows=[Row(t) for t in targets]),
    }


@dataclasses.dataclass(frozen=True)
class Result:
    instructions: int  # the median of the boots
    spread: int  # between the least and the most
    memory_kib: int  # the most that PID 1 had resident
    root_uid: int  # seen by the real init: 0 where the root is mapped
    mounts: int


def nvdimm(image: Path, memory_mib: int = 512) -> list[str]:
    """QEMU's arguments for an image in the guest's memory, /dev/pmem0; it is padded for that."""
    size = -(-image.stat().st_size // ALIGN) * ALIGN
    os.truncate(image, size)
    return ["-m", f"{memory_mib}M,slots=1,maxmem={memory_mib + size // MIB}M",
            "-object", f"memory-backend-file,id=image,mem-path={image},size={size},share=on,readonly=on",
            "-device", "nvdimm,memdev=image,unarmed=on"]


class Bench:
    """Boots contestants; `folder` keeps what is compiled and made."""

    def __init__(self, folder: Path, kernel: host.Kernel) -> None:
        self.folder = folder
        self.kernel = kernel
        folder.mkdir(parents=True, exist_ok=True)
        self.stage0 = self._compile("stage0", HERE / "stage0.c")
        self.arrive = self._compile("arrive", HERE / "arrive.c", "-nostdlib", "-DTELLS_TRACE=0")
        self._tracing = self._compile("tracing", HERE / "arrive.c", "-nostdlib", "-DTELLS_TRACE=1")
        self._modules, self._order = images.kernel_modules(kernel.modules, DRIVERS)
        self._images: dict[tuple[str, Path], Path] = {}

    def _compile(self, name: str, source: Path, *args: str) -> Path:
        output = self.folder / name
        subprocess.run([*shlex.split(os.environ.get("CC", "musl-gcc")), "-std=gnu11", "-Os", "-static", "-s",
                        *WARNINGS, *args, "-o", output, source], check=True)
        return output

    def entry(self) -> Path:
        """What stands for a kernel, see entry.S."""
        output = self.folder / "entry"
        subprocess.run(["gcc", "-m16", "-c", "-o", f"{output}.o", HERE / "entry.S"], check=True)
        subprocess.run(["ld", "-m", "elf_i386", "-Ttext=0", "--oformat", "binary", "-o", output, f"{output}.o"],
                       check=True)
        return output

    def floor(self, case: Case, tells: bool = False) -> images.Tree:
        with tempfile.TemporaryDirectory(dir=self.folder) as folder:
            (Path(folder) / "case.h").write_text(case.header())
            floor = self._compile("floor", HERE / "floor.c", f"-I{folder}", f"-DTELLS={int(tells)}")
            return {"/stage1": images.File(floor.read_bytes(), mode=0o755)}

    def ours(self, init: Path, case: Case) -> images.Tree:
        tree: images.Tree = {"/stage1": images.File(init, mode=0o755)}
        if case.in_file:
            tree["/etc/idmap.conf"] = images.File(case.table())
        return tree

    def image(self, kind: str, init: Path | None = None) -> Path:
        """The root: the real init, and folders for rows to stand on."""
        init = init or self.arrive
        if (kind, init) not in self._images:
            own = {"uid": BASE, "gid": BASE}
            tree: images.Tree = {"/": images.Dir(**own),
                                 "/sbin/init": images.File(init, **own, mode=0o755)}
            for name in ["dev", "proc", "sys", "run", "tmp", "root", "usr", "var", "images/app", "t"]:
                tree[f"/{name}"] = images.Dir(**own)
            tree["/etc/os-release"] = images.File("ID=bench\n", **own)  # systemd asks for one
            tree["/dev/console"] = images.Node("c", 5, 1, **own)
            tree.update({f"/t/{i}": images.Dir(**own) for i in range(1000)})
            self._images[kind, init] = images.make_image(tree, kind, self.folder / f"{init.name}.{kind}")
        return self._images[kind, init]

    def initramfs(self, contestant: images.Tree, trace: bool = False) -> Path:
        tree: images.Tree = {"/": images.Dir(), "/dev/console": images.Node("c", 5, 1),
                             "/init": images.File(self.stage0, mode=0o755), **self._modules,
                             "/stage0": images.File("\n".join([*self._order, "/devices/pmem0",
                                                               *["trace"] * trace, "rest", ""])),
                             **{f"/{name}": images.Dir() for name in ("proc", "sys", "run")},
                             **contestant}
        path = self.folder / f"{images.image_key(tree, 'cpio')}.cpio"
        return path if path.exists() else images.make_image(tree, "cpio", path)

    def _told(self, contestant: images.Tree, case: Case, image: Path, *, trace: bool = False,
              timeout: float = 180) -> tuple[list[int], str]:
        """One boot: stage 0's stamp and the four words of arrive.c, and the trace."""
        initramfs = self.initramfs(contestant, trace)
        with tempfile.NamedTemporaryFile(dir=self.folder) as told:
            idmap = "" if case.in_file else f" idmap={MAP}"
            with guest.Guest(self.kernel.vmlinuz, initramfs,
                             f"quiet root={DEVICE} rootfstype={case.kind} ro{idmap}",
                             icount=True, timeout=timeout, machine="q35,nvdimm=on",
                             qemu_args=["-debugcon", f"file:{told.name}", *nvdimm(image)]) as machine:
                console = machine.wait_exit(timeout)
            data = Path(told.name).read_bytes()
        if len(data) < 5 * 8:
            raise guest.GuestFailed(f"the real init was not reached:\n{console[-4000:]}")
        return list(struct.unpack("<5Q", data[:5 * 8])), data[5 * 8:].decode()

    def boot(self, contestant: images.Tree, case: Case = Case(), *, image: Path | None = None,
             **options: Any) -> tuple[int, int, int, int]:
        """One boot: instructions, KiB, uid of /, mounts."""
        (start, end, memory, uid, mounts), _ = self._told(contestant, case, image or self.image(case.kind),
                                                          **options)
        return end - start, memory, uid, mounts

    def measure(self, contestant: images.Tree, case: Case = Case(), boots: int = 3,
                **options: Any) -> Result:
        with ThreadPoolExecutor(guest.GUESTS_AT_ONCE) as pool:
            runs = list(pool.map(lambda _: self.boot(contestant, case, **options), range(boots)))
        counts = [run[0] for run in runs]
        return Result(int(statistics.median(counts)), max(counts) - min(counts),
                      max(run[1] for run in runs), *runs[0][2:])

    def calls(self, contestant: images.Tree, case: Case) -> list[tuple[int, int, int]]:
        """One boot: (the number of a system call or OWN_CODE and so on, times, instructions).

        The guest's kernel traces PID 1, with the counter of the stamps as the clock of its trace. A
        call lasts from its entry's event to that of its exit; what is between an exit and the next
        entry is the program's own code, with the kernel's way out and in. To write an event down
        takes some 600 instructions: those of an entry count for the call, those of an exit for the
        code after it.
        """
        (start, end, *_), trace = self._told(contestant, case, self.image(case.kind, self._tracing), trace=True)
        # What ends at each event, and when.
        marks = [(OWN_CODE if way == "enter" else int(number), int(at))
                 for at, way, number in EVENT.findall(trace) if start < int(at) < end]
        if len(marks) < 4:
            raise guest.GuestFailed(f"the kernel has traced no system calls:\n{trace[-4000:]}")
        marks[:2] = [(OWN_EXEC, marks[1][1])]
        marks[-1] = (LAST_EXEC, end)
        sums: dict[int, list[int]] = {}
        for (_, before), (key, after) in zip([(0, start), *marks], marks):
            entry = sums.setdefault(key, [0, 0])
            entry[0] += 1
            entry[1] += after - before
        return sorted(((key, *entry) for key, entry in sums.items()), key=lambda item: -item[2])


# ---- the peers, from Debian's packages ----

SHELL = """#!/bin/busybox sh
PATH=/bin
busybox mount -t devtmpfs -o nosuid,mode=0755 devtmpfs /dev
busybox mount -t proc -o nosuid,nodev,noexec proc /proc
busybox mount -t sysfs -o nosuid,nodev,noexec sysfs /sys
busybox mount -t tmpfs -o nosuid,nodev,mode=0755 tmpfs /run
%sbusybox mkdir /new
/bin/mount -t erofs -o ro,X-mount.idmap=b:%s %s /new
exec /bin/switch_root /new /sbin/init
"""


def shell(device: str = DEVICE, prepare: str = "") -> images.Tree:
    """busybox sh with util-linux's mount, of a suite whose mount knows X-mount.idmap (2.39)."""
    root = tools.unpacked("trixie", "mount", "util-linux", "libmount1", "libblkid1", "libselinux1",
                    "libpcre2-8-0", "libc6")
    tree: images.Tree = {"/stage1": images.File(SHELL % (prepare, MAP, device), mode=0o755),
                         "/bin/busybox": images.busybox()["/bin/busybox"],
                         "/bin/mount": images.File(root / "usr/bin/mount", mode=0o755),
                         "/bin/switch_root": images.File(root / "usr/sbin/switch_root", mode=0o755),
                         "/lib64": images.Dir(), "/lib": images.Dir()}
    for name in ("libmount.so.1", "libblkid.so.1", "libselinux.so.1", "libpcre2-8.so.0", "libc.so.6"):
        tree[f"/lib/{name}"] = images.File(
            (root / "usr/lib/x86_64-linux-gnu" / name).read_bytes(), mode=0o755)
    tree["/lib64/ld-linux-x86-64.so.2"] = images.File(
        (root / "usr/lib/x86_64-linux-gnu/ld-linux-x86-64.so.2").read_bytes(), mode=0o755)
    return tree


def tiny_initramfs() -> images.Tree:
    root = tools.unpacked("bookworm", "tiny-initramfs-core")
    return {"/stage1": images.File(root / "usr/lib/x86_64-linux-gnu/tiny-initramfs/init-static",
                                   mode=0o755), "/target": images.Dir()}


def kinit() -> images.Tree:
    root = tools.unpacked("bookworm", "klibc-utils", "libklibc")
    library, = (root / "lib").glob("klibc-*.so")
    return {"/stage1": images.File(root / "usr/lib/klibc/bin/kinit", mode=0o755),
            f"/lib/{library.name}": images.File(library, mode=0o755), "/root": images.Dir(),
            "/tmp": images.Dir()}
