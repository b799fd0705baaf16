# SPDX-License-Identifier: MIT
"""The architectures whose guests are booted: the one place in the tests that knows one from another.
The program has no such place.

GUEST=aarch64 in the environment chooses, for a whole run of the tests; x86_64 is the default. A
machine of another architecture than the host's is emulated.
"""

from __future__ import annotations

import dataclasses
import os
import sys


@dataclasses.dataclass(frozen=True)
class Architecture:
    name: str  # as compilers and QEMU have it
    debian: str
    machine: str  # QEMU's, and its processor under TCG
    cpu: str
    console: str
    probe_tty: str  # where the probe finds its serial port, and which device that is
    probe_device: str
    elf: int  # e_machine of its programs
    line: int  # bytes of a kernel command line that is not cut (COMMAND_LINE_SIZE - 1)
    # Debian's flavour of a kernel by what follows the version in its name here; "" is the usual one.
    flavours: dict[str, str]
    kernels: tuple[str, ...] = ()  # the versions that are booted, by their name here; none: all
    quick: str = ""  # on the command lines of the tests' guests
    hotplug: bool = True  # those kernels see a disk that is plugged into PCI Express later

    @property
    def qemu(self) -> str:
        return f"qemu-system-{self.name}"

    @property
    def is_usual(self) -> bool:
        return self.name == USUAL


USUAL = "x86_64"
ARCHITECTURES = {architecture.name: architecture for architecture in (
    # Without cx16 because QEMU 7.2 under TCG corrupts cmpxchg16b: random oopses in the guest.
    Architecture("x86_64", "amd64", "q35", "max,-cx16", "ttyS0", "ttyS1", "isa-serial,index=1", 62, 2047,
                 {"": "cloud-amd64", "plain": "amd64"},
                 # Where both processors are busy the emulated timer is late now and then: a panic at 0.03 s.
                 quick="no_timer_check"),
    # Signing pointers as the hardware does makes a boot last two to four times as long.
    Architecture("aarch64", "arm64", "virt", "max,pauth-impdef=on", "ttyAMA0", "ttyS0", "pci-serial", 183,
                 2047, {"": "cloud-arm64", "plain": "arm64", "16k": "arm64-16k"}),
    # A port of Debian's since 13; of its backports the lists were broken when this was written.
    Architecture("riscv64", "riscv64", "virt", "rv64", "ttyS0", "ttyS1", "pci-serial", 243, 1023,
                 {"": "riscv64", "plain": "riscv64"}, kernels=("6.12", "7.x"), hotplug=False),
)}


def _chosen() -> Architecture:
    name = os.environ.get("GUEST") or USUAL
    if name not in ARCHITECTURES:
        sys.exit(f"GUEST={name}: no guest of that architecture is booted here; use {', '.join(ARCHITECTURES)}")
    return ARCHITECTURES[name]


GUEST = _chosen()
