# SPDX-License-Identifier: MIT
"""What the host gives to the tests: kernels, the built programs, a lock between test processes."""

from __future__ import annotations

import contextlib
import dataclasses
import fcntl
import functools
import gzip
import os
import shutil
import struct
import subprocess
from pathlib import Path
from typing import Iterator

from arch import GUEST

HERE = Path(__file__).resolve().parent
REPOSITORY = HERE.parent
BUDGET = HERE / "budget.json"

# Each can map more filesystems than the one before; 5.10 has no idmapped mounts at all.
KERNELS = ["5.10", "6.1", "6.12", "7.x"]
# Those of Debian 13's backports, as long as they lie there: a few tests boot them, too.
BACKPORTS = ["6.18", "7.2", "7.3"]

ZSTD = b"\x28\xb5\x2f\xfd"  # how a frame of it begins


@dataclasses.dataclass(frozen=True)
class Kernel:
    # One of KERNELS or BACKPORTS, "newest", such a name with a flavour of arch.py's, as -plain, or "own".
    name: str
    vmlinuz: Path
    image: Path  # the same for a guest, unpacked where it would take a third of a boot
    modules: Path  # lib/modules/VERSION
    version: str


class KernelMissing(Exception):
    """A kernel can be neither found nor fetched; the message says why."""


class ServerMissing(Exception):
    """The same for virtiofsd and mount(8)."""


class CompilerMissing(Exception):
    """The same for a compiler, QEMU, or busybox of another architecture."""


@dataclasses.dataclass(frozen=True)
class Programs:
    folder: Path  # $O, or build: what runs here
    guest_folder: Path  # the same for guests, of which are:
    init: Path  # idmap-init
    command: Path  # idmap(8)
    probe: Path
    ids: Path
    renames: Path


@contextlib.contextmanager
def locked(path: Path) -> Iterator[None]:
    """One process at a time; the lock ends with the process at the latest."""
    with open(path, "w") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        yield


@functools.lru_cache(maxsize=None)
def fetch(*command: str) -> Path | str:
    """The path that a script of this folder fetches, or why there is none: one attempt a process,
    for a try without network is slow."""
    result = subprocess.run([HERE / command[0], *command[1:]], stdin=subprocess.DEVNULL,
                            stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    return result.stderr.strip() if result.returncode else Path(result.stdout.strip())


def find_kernel(name: str) -> Kernel:
    version, _, kind = name.partition("-")
    if GUEST.kernels and version not in GUEST.kernels:
        raise KernelMissing(f"of those for {GUEST.name} {' and '.join(GUEST.kernels)} are booted")
    flavour = GUEST.flavours.get(kind)
    if not flavour:
        raise KernelMissing(f"Debian has none for {GUEST.name}")
    if version == "own" and not GUEST.is_usual:
        raise KernelMissing(f"it is built for this machine, not for {GUEST.name}")
    folder = fetch("own-kernel") if version == "own" else fetch("kernels", name, GUEST.debian, flavour)
    if isinstance(folder, str):
        raise KernelMissing(folder)
    modules, = (folder / "lib" / "modules").iterdir()
    image = folder / "vmlinuz"
    # Built of what is named alone, it has no way in but that of a bzImage.
    if GUEST.is_usual and version != "own":
        image = unpacked(image)
    return Kernel(name, folder / "vmlinuz", image, modules, modules.name)


def unpacked(vmlinuz: Path) -> Path:
    """The ELF file out of a bzImage that zstd has packed, beside it: QEMU starts that as well (PVH), and
    under TCG unpacking is dear. Another one as it is: lz4's costs little."""
    elf = vmlinuz.with_name("vmlinux")
    with locked(vmlinuz.with_name("vmlinux.lock")):
        if elf.exists():
            return elf
        bzimage = vmlinuz.read_bytes()
        # Documentation/arch/x86/boot.rst: setup_sects, payload_offset and payload_length
        start = ((bzimage[0x1f1] or 4) + 1) * 512
        offset, length = struct.unpack_from("<II", bzimage, 0x248)
        payload = bzimage[start + offset:start + offset + length]
        if payload[:4] != ZSTD:
            return vmlinuz
        new = elf.with_suffix(".new")
        with open(new, "wb") as out:  # the size stands behind it
            subprocess.run(["zstd", "-dcq"], input=payload[:-4], stdout=out, check=True)
        new.rename(elf)
    return elf


def find_virtiofsd(name: str) -> Path:
    """A virtiofsd that allows idmapped mounts: "new", or one that does not: "old"."""
    folder = fetch("virtiofsd", name)
    if isinstance(folder, str):
        raise ServerMissing(folder)
    return folder / "virtiofsd"


class PeerMissing(Exception):
    """What of Debian is compared with, or works with us, can be neither found nor fetched."""


def find_mount8() -> Path:
    """The folder of a mount(8) that maps, to be put at /opt/mount8 of a guest."""
    folder = fetch("mount8")
    if isinstance(folder, str):
        raise ServerMissing(folder)
    return folder


def find_cross(name: str) -> Path:
    """A compiler with musl for aarch64 or riscv64, or "clang" for this machine."""
    compiler = fetch("cross", name)
    if isinstance(compiler, str):
        raise CompilerMissing(compiler)
    return compiler


def find_busybox() -> Path:
    """The folder of a static busybox for guests of another architecture than this machine's."""
    folder = fetch("busybox", GUEST.debian)
    if isinstance(folder, str):
        raise CompilerMissing(folder)
    return folder


def make(folder: Path, *goals: str) -> None:
    """make in a build folder; what is up to date costs a tenth of a second."""
    folder.mkdir(parents=True, exist_ok=True)
    inherited = {"MAKEFLAGS", "MAKELEVEL", "MFLAGS", "MAKEOVERRIDES", "O"}
    with locked(folder / ".lock"):
        subprocess.run(["make", "-s", "-C", REPOSITORY, f"O={folder}", *goals], check=True,
                       stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL,
                       env={k: v for k, v in os.environ.items() if k not in inherited})


def make_for_guest(folder: Path, *goals: str) -> None:
    """The same by the compiler for the guest's architecture."""
    if GUEST.is_usual:
        make(folder, *goals)
        return
    if not shutil.which(GUEST.qemu):
        raise CompilerMissing(f"{GUEST.qemu} is missing: ./install-packages check")
    make(folder, f"CROSS_COMPILE={GUEST.name}-linux-gnu-", f"CC={find_cross(GUEST.name)}",
         f"PROBE_TTY={GUEST.probe_tty}", *goals)


def build_programs() -> Programs:
    """The program under test and the guest's own, in $O, and in a folder there for another architecture."""
    folder = Path(os.environ.get("O", REPOSITORY / "build")).absolute()
    make(folder, "all", "test-programs")
    guest = folder
    if not GUEST.is_usual:
        guest = folder / GUEST.name
        make_for_guest(guest, "all", "test-programs")
    return Programs(folder, guest, *(guest / name for name in ("idmap-init", "idmap", "probe", "ids", "renames")))


def sizes(file: Path) -> tuple[int, int]:
    """Bytes of a file, and as gzip -9 makes them."""
    data = file.read_bytes()
    return len(data), len(gzip.compress(data, 9, mtime=0))
