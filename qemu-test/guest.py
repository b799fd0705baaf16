# SPDX-License-Identifier: MIT
"""Boots one guest under QEMU and talks to the probe in it.

The probe (probe.c) stands for the real init and reports over a serial port of its own, so what a
test learns never depends on what else is printed. No report is a failure: a guest that hangs,
panics or runs something else than the probe ends in GuestFailed, with the end of its console.

    with Guest(vmlinuz, initrd, "root=/dev/vda ro", [Disk(image)]) as guest:
        report = guest.report()
        assert guest.ask("stat /etc")["uid"] == 0

Strings that come from the guest are bytes in Latin-1: s.encode("latin-1") is what was there.
"""

from __future__ import annotations

import contextlib
import ctypes
import dataclasses
import fcntl
import json
import os
import platform
import re
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any, Iterator, Sequence

from arch import GUEST

GUESTS_AT_ONCE = 2
PR_SET_PDEATHSIG = 1
HEAD = f"console={GUEST.console} panic=-1"  # of every command line


class GuestFailed(Exception):
    """The guest did not do what it must; the message ends with its console's last lines."""


@dataclasses.dataclass(frozen=True)
class Disk:
    """A virtio disk: the first is /dev/vda in the guest. With snapshot, writes are thrown away."""

    path: Path
    readonly: bool = True
    serial: str | None = None
    format: str = "raw"
    snapshot: bool = False


@dataclasses.dataclass(frozen=True)
class Mount:
    """A line of mountinfo, see proc_pid_mountinfo(5). Octal escapes are decoded."""

    id: int
    parent: int
    device: str
    root: str
    target: str
    options: list[str]
    tags: list[str]
    type: str
    source: str
    super_options: list[str]


def parse_mountinfo(text: str) -> list[Mount]:
    mounts = []
    for line in text.splitlines():
        left, _, right = line.partition(" - ")
        mount_id, parent, device, root, target, options, *tags = left.split(" ")
        fs_type, source, super_options = right.split(" ", 2)
        mounts.append(Mount(int(mount_id), int(parent), device, _unescape(root), _unescape(target),
                            options.split(","), tags, fs_type, _unescape(source),
                            super_options.split(",")))
    return mounts


def escape(word: str) -> str:
    """One word of a probe command, whatever bytes it has. The guest sees it in UTF-8."""
    return "".join(chr(byte) if 0x21 <= byte < 0x7f and byte != 0x5c else f"\\{byte:03o}"
                   for byte in os.fsencode(word))


def _unescape(word: str) -> str:
    return re.sub(r"\\([0-7]{3})", lambda match: chr(int(match[1], 8)), word)


def have_kvm() -> bool:
    """A /dev/kvm that opens is not enough: nested in some hosts it is a trap without vmx or svm."""
    if platform.machine() != GUEST.name:
        return False
    try:
        flags = re.search(r"^flags\s*:.*$", Path("/proc/cpuinfo").read_text(), re.MULTILINE)
        if not flags or not {"vmx", "svm"} & set(flags[0].split()):
            return False
        os.close(os.open("/dev/kvm", os.O_RDWR | os.O_CLOEXEC))
    except OSError:
        return False
    return True


@contextlib.contextmanager
def _slot() -> Iterator[None]:
    """Waits until fewer than GUESTS_AT_ONCE guests of this user run, in whatever process."""
    with contextlib.ExitStack() as stack:
        files = _slot_files(stack)
        while not any(_try_lock(file) for file in files):
            time.sleep(0.1)
        yield


@contextlib.contextmanager
def all_slots() -> Iterator[None]:
    """Waits until no other guest of this user runs, and keeps new ones waiting: for a test that
    boots many at once, with Guest(…, slot=False)."""
    with contextlib.ExitStack() as stack:
        for file in _slot_files(stack):  # always in this order, so that two such tests cannot block
            fcntl.flock(file, fcntl.LOCK_EX)
        yield


def _slot_files(stack: contextlib.ExitStack) -> list[Any]:
    folder = Path(tempfile.gettempdir()) / f"idmap-init-guests-{os.getuid()}"
    folder.mkdir(mode=0o700, exist_ok=True)
    return [stack.enter_context(open(folder / f"slot{i}", "w")) for i in range(GUESTS_AT_ONCE)]


def _try_lock(file: Any) -> bool:
    try:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True


def die_with_parent() -> None:
    """Runs in the child: no QEMU (or server) outlives a test run that was killed."""
    ctypes.CDLL(None).prctl(PR_SET_PDEATHSIG, signal.SIGKILL)


def qemu_command(kernel: Path | None, initrd: Path | None, append: str, disks: Sequence[Disk] = (), *,
                 machine: str = GUEST.machine, memory: int = 512, smp: int = 1,
                 icount: bool = False) -> list[str]:
    """QEMU with this machine and nothing else: no serial port, no monitor, no display.

    On "microvm", which has no PCI, the disks are on virtio-mmio. With icount an instruction of the
    guest takes one nanosecond of its time, wherever it runs, and KVM is not used.
    """
    microvm = machine.partition(",")[0] == "microvm"
    if microvm and not have_kvm():
        append += " tsc_early_khz=1000000"  # measuring the TSC hangs there now and then
        machine += ",pit=off"  # a tick before the kernel has told the PIC its vectors: a divide error (QEMU 10)
    command = [GUEST.qemu, "-nodefaults", "-no-user-config", "-display", "none",
               "-no-reboot", "-machine", machine, "-m", str(memory), "-smp", str(smp)]
    command += (["-accel", "kvm", "-cpu", "host"] if have_kvm() and not icount else
                ["-accel", "tcg", "-cpu", GUEST.cpu])
    command += ["-icount", "shift=0,sleep=off"] if icount else []
    if kernel:
        command += ["-kernel", str(kernel), "-append", append]
    if initrd:
        command += ["-initrd", str(initrd)]
    for number, disk in enumerate(disks):
        path = str(disk.path).replace(",", ",,")
        drive = f"if=none,id=disk{number},file={path},format={disk.format}"
        drive += ",readonly=on" if disk.readonly else ""
        drive += ",snapshot=on" if disk.snapshot else ""
        # The kernel finds the disks on virtio-mmio from the last slot on. Slot 0 is left empty: its
        # interrupt does not come (QEMU 7.2 under TCG).
        device = (f"virtio-blk-device,bus=virtio-mmio-bus.{len(disks) - number}" if microvm else
                  "virtio-blk-pci") + f",drive=disk{number}"
        device += f",serial={disk.serial}" if disk.serial else ""
        command += ["-drive", drive, "-device", device]
    return command


class Guest:
    """A context manager: QEMU runs inside the with block and is killed at its end.

    kernel, initrd   files; initrd may be None for a kernel that boots from its root=, and both for
                     a firmware that finds a kernel itself
    append           kernel command line, after HEAD
    memory           MiB
    timeout          seconds from the start to the report, or to the exit of a guest that has none
    log_dir          where the logs of a failed guest stay; those of a good one are removed
    qemu_args        further arguments of QEMU
    manager          of virtual machines whose guest it is: append is then the whole command line, the
                     console is hvc0, and the probe is to talk over hvc1 (probe.tty=)
    slot             False: does not wait for other guests, as all_slots() has done so
    """

    def __init__(self, kernel: Path | None, initrd: Path | None, append: str = "",
                 disks: Sequence[Disk] = (), *, machine: str = GUEST.machine, memory: int = 512,
                 smp: int = 1, icount: bool = False, timeout: float = 90,
                 log_dir: Path | None = None,
                 qemu_args: Sequence[str] = (), slot: bool = True, manager: bool = False) -> None:
        self.kernel = kernel
        self.initrd = initrd
        self.append = append if manager else f"{HEAD} {append}".rstrip()
        self.manager = manager
        self.disks = disks
        self.machine = machine
        self.memory = memory
        self.smp = smp
        self.icount = icount
        self.timeout = timeout
        self.log_dir = log_dir
        self.qemu_args = qemu_args
        self.slot = slot
        self._cleanup = contextlib.ExitStack()
        self._received = b""
        self._report: dict[str, Any] | None = None

    def __enter__(self) -> Guest:
        with contextlib.ExitStack() as stack:
            if self.slot:
                stack.enter_context(_slot())
            if self.log_dir:
                self.log_dir.mkdir(parents=True, exist_ok=True)
            self._folder = Path(tempfile.mkdtemp(prefix="guest-", dir=self.log_dir))
            self.console_log = self._folder / "console.log"
            self._start(stack)
            self._cleanup = stack.pop_all()
        return self

    def __exit__(self, kind: Any, error: Any, traceback: Any) -> None:
        self._cleanup.close()
        if kind is None:
            shutil.rmtree(self._folder)
        elif not issubclass(kind, GuestFailed):
            print(f"The guest's console: {self.console_log}", file=sys.stderr)

    def _start(self, stack: contextlib.ExitStack) -> None:
        self._probe, probe_end = socket.socketpair()
        self._monitor, monitor_end = socket.socketpair()
        self._monitor_lines: Any = None
        stack.enter_context(self._probe)
        stack.enter_context(self._monitor)
        with probe_end, monitor_end, open(self._folder / "qemu.log", "wb") as log:
            self._qemu = subprocess.Popen(
                self._command(probe_end.fileno(), monitor_end.fileno()),
                stdin=subprocess.DEVNULL, stdout=log, stderr=log,
                pass_fds=(probe_end.fileno(), monitor_end.fileno()),
                preexec_fn=die_with_parent)
        stack.callback(self._kill)
        self._deadline = time.monotonic() + self.timeout

    def _command(self, probe_fd: int, monitor_fd: int) -> list[str]:
        command = qemu_command(self.kernel, self.initrd, self.append, self.disks,
                               machine=self.machine, memory=self.memory, smp=self.smp,
                               icount=self.icount)
        command += ["-chardev", f"socket,id=probe,fd={probe_fd}"]
        if self.manager:
            # Not in slot 0, see above.
            bus = (f"virtio-serial-device,bus=virtio-mmio-bus.{len(self.disks) + 1}"
                   if self.machine.startswith("microvm") else "virtio-serial-pci")
            command += ["-chardev", f"file,id=console,path={self.console_log}", "-device", bus,
                        "-device", "virtconsole,chardev=console", "-device", "virtconsole,chardev=probe"]
        else:
            command += ["-serial", f"file:{self.console_log}", "-device", f"{GUEST.probe_device},chardev=probe"]
        command += ["-chardev", f"socket,id=monitor,fd={monitor_fd}",
                    "-mon", "chardev=monitor,mode=control"]
        return command + list(self.qemu_args)

    def _kill(self) -> None:
        if self._qemu.poll() is None:
            self._qemu.kill()
        self._qemu.wait()

    def _fail(self, cause: str) -> GuestFailed:
        """Ends the guest, so that its console is whole, and makes the exception to raise."""
        self._kill()
        qemu = (self._folder / "qemu.log").read_text(errors="replace").strip()
        lines = self.console().splitlines()[-80:]  # a panic alone takes some 45
        return GuestFailed("\n".join(
            [f"{cause} (console: {self.console_log})"] + ([f"QEMU: {qemu}"] if qemu else []) +
            ["  | " + line for line in lines or ["(the console is empty)"]]))

    def _line(self, deadline: float, wanted: str) -> bytes:
        """The next line from the probe."""
        while b"\n" not in self._received:
            self._probe.settimeout(max(deadline - time.monotonic(), 0.001))
            try:
                data = self._probe.recv(65536)
            except TimeoutError:
                raise self._fail(f"the time is up, and no {wanted} came") from None
            except ConnectionError:
                data = b""
            if not data:
                raise self._fail(f"the guest has ended, and no {wanted} came")
            self._received += data
        line, _, self._received = self._received.partition(b"\n")
        return line

    def _json(self, deadline: float, wanted: str) -> dict[str, Any]:
        line = self._line(deadline, wanted)
        # A firmware prints on every serial port.
        while not self.kernel and b"{" not in line:
            line = self._line(deadline, wanted)
        try:
            return json.loads(line if self.kernel else line[line.index(b"{"):])
        except ValueError:
            raise self._fail(f"instead of a {wanted} came {line[:200]!r}") from None

    def report(self) -> dict[str, Any]:
        """What the probe was started with (see report() in probe.c); waits for it."""
        if self._report is None:
            self._report = self._json(self._deadline, "report of the probe")
        return self._report

    def ask(self, *words: str, timeout: float = 60) -> dict[str, Any]:
        """Sends a command of the probe, gives its answer; a failure in the guest is {"error": …}.

        A single word is a whole command line, as it stands: ask("stat /etc"). Of several each is
        one word of the command, whatever it holds: ask("stat", "/a name with blanks").
        """
        self.report()
        line = words[0] if len(words) == 1 else " ".join(escape(word) for word in words)
        try:
            self._probe.sendall(os.fsencode(line) + b"\n")
        except ConnectionError:
            raise self._fail(f"the guest has ended before it was asked: {line}") from None
        return self._json(time.monotonic() + timeout, f"answer to: {line}")

    def run(self, *program: str, uid: int = 0, gid: int = 0) -> str:
        """Runs a program in the guest, gives its stdout; it must succeed."""
        answer = self.ask("run", str(uid), str(gid), *program)
        if answer.get("exit") != 0:
            raise self._fail(f"{' '.join(program)} in the guest: {answer}")
        return answer["stdout"]

    def kmsg(self, programs: bool = False) -> list[dict[str, Any]]:
        """The kernel's log, or what programs have written into it alone, line by line, though a record
        may hold several: prio (0 to 7), facility, us, text."""
        return [{**record, "text": line} for record in self.ask("kmsg programs" if programs else "kmsg")["records"]
                for line in record["text"].split("\\x0a")]

    def mounts(self) -> list[Mount]:
        """What is mounted now; parse_mountinfo(report()["mountinfo"]) is what was at the start."""
        return parse_mountinfo(self.ask("mountinfo")["mountinfo"])

    def poweroff(self) -> str:
        """Ends the guest in order; gives the whole console."""
        self.ask("poweroff")
        return self.wait_exit()

    def wait_exit(self, timeout: float | None = None) -> str:
        """Waits until the guest has ended by itself; gives the whole console."""
        left = max(self._deadline - time.monotonic(), 30)
        try:
            status = self._qemu.wait(left if timeout is None else timeout)
        except subprocess.TimeoutExpired:
            raise self._fail("the time is up, and the guest runs on") from None
        if status:
            raise self._fail(f"QEMU ended with {status}")
        return self.console()

    def wait_no_init(self) -> str:
        """Waits until the guest has ended without a report of the probe; gives the console."""
        self._probe.settimeout(max(self._deadline - time.monotonic(), 0.001))
        try:
            data = self._probe.recv(1)
            while data and not self.kernel and data != b"{":  # the firmware's
                data = self._probe.recv(1)
        except TimeoutError:
            raise self._fail("the time is up: the guest neither ends nor starts the probe") from None
        except ConnectionError:
            data = b""
        if data:
            raise self._fail("the probe runs in a boot that is meant to fail")
        return self.wait_exit()

    def console(self) -> str:
        """The console so far."""
        with contextlib.suppress(FileNotFoundError):
            return self.console_log.read_bytes().decode(errors="replace").replace("\r", "")
        return ""

    def qmp(self, command: str, **arguments: Any) -> Any:
        """A command of QEMU's monitor: qmp("device_add", driver="virtio-blk-pci", drive="late")."""
        self._monitor.settimeout(60)
        if self._monitor_lines is None:
            self._monitor_lines = self._monitor.makefile("rb")
            self._monitor_lines.readline()  # the greeting
            self.qmp("qmp_capabilities")
        request = {"execute": command,
                   "arguments": {key.replace("_", "-"): value for key, value in arguments.items()}}
        self._monitor.sendall(json.dumps(request).encode() + b"\n")
        while line := self._monitor_lines.readline():
            answer = json.loads(line)
            if "error" in answer:
                raise self._fail(f"QMP {command}: {answer['error']['desc']}")
            if "return" in answer:
                return answer["return"]
        raise self._fail(f"QEMU has ended before it answered {command}")


def expect_no_init(*args: Any, **kwargs: Any) -> str:
    """Boots a guest (arguments as for Guest) that must end without the real init; its console."""
    with Guest(*args, **kwargs) as guest:
        return guest.wait_no_init()
