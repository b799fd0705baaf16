# SPDX-License-Identifier: MIT
"""What is told when a boot fails, or hangs, or is about to go wrong: the line that one person reads at
night on a serial console. It is there under any loglevel=, and it names the cause and what to change.
Each situation is one that people have met; the line is compared as a whole."""

from __future__ import annotations

import contextlib
import dataclasses
import os
import re
import signal
import socket
import struct
import subprocess
import threading

import pytest

from arch import ARCHITECTURES, GUEST
from common import EVERY, PRE, ROOT, SLOT, last_words, log_lines, of_x86_64, owners, plug, seen, wait_for_line
from guest import Disk
from images import Dir, File, Link, Node, make_image, plain_initramfs

SHORT = "root=/dev/vda rootfstype=erofs ro idmap=100000:0:65536"
OWN = {"uid": 100000, "gid": 100000}
TWO = pytest.mark.parametrize("kernel", ["6.1", "newest"], indirect=True)


@pytest.fixture
def told(kernel, initramfs, boot_fails):
    """told(append, conf, disks, ...): the last line of a boot that must fail under quiet, and its code."""

    def run(append, conf=None, disks=(), modules="virtio_pci,virtio_blk,erofs,squashfs,ext4", add=(),
            on=kernel, **options):
        console = boot_fails(on, initramfs(on, conf, modules=modules, add=add), f"quiet {append}",
                             disks, **options)
        line, code = last_words(console)
        assert line.startswith(PRE)
        return line[len(PRE):], int(code, 16) >> 8

    return run


# ---- the last line is always seen ----


@pytest.mark.parametrize("kernel", EVERY, indirect=True)
@pytest.mark.parametrize("level", ["loglevel=3", "loglevel=0"])
def test_seen_under(level, kernel, told):
    assert told(f"{level} root=/dev/vdz rootfstype=erofs idmap=wait=1") == (
        "cmdline: idmap= #1: /dev/vdz on /: the device did not come within 1 s (disks here: none); check"
        " its name, load its driver (mkinitramfs -m), or raise wait=", 3)


@pytest.mark.parametrize("kernel", EVERY, indirect=True)
def test_waiting_is_seen(kernel, root_tree, image, initramfs, boot):
    """And the console has its level back afterwards."""
    disk = image(root_tree(), "erofs")
    with boot(kernel, initramfs(kernel), f"quiet loglevel=3 rootwait {SHORT}", qemu_args=SLOT) as guest:
        wait_for_line(guest, "waiting for /dev/vda (disks here: none)")
        plug(guest, disk)
        assert guest.ask("read /proc/sys/kernel/printk")["content"].split()[0] == "3"


@pytest.mark.parametrize("kernel", ["6.1", "newest"], indirect=True)
def test_halt(kernel, initramfs, boot):
    """The line stays on the screen, and no trace comes after it."""
    append = "quiet idmap.onfail=halt root=/dev/vdz idmap=wait=1"
    with boot(kernel, initramfs(kernel), append) as guest:
        wait_for_line(guest, "System halted")
        lines = [line.partition("] ")[2] for line in guest.console().splitlines()]
        at = next(i for i, line in enumerate(lines) if line.startswith(PRE))
        assert lines[at:] == [lines[at], "reboot: System halted"] and "/dev/vdz on /:" in lines[at]


# ---- hang-ups ----


class SilentNbd:
    """A disk by NBD (old style) that has a size and never answers a read."""

    def __init__(self, path, size):
        self.listener = socket.socket(socket.AF_UNIX)
        self.listener.bind(str(path))
        self.listener.listen()
        self.size = size
        threading.Thread(target=self.serve, daemon=True).start()

    def serve(self):
        with contextlib.suppress(OSError):
            self.connection, _ = self.listener.accept()
            self.connection.sendall(b"NBDMAGIC" + struct.pack(">QQI", 0x00420281861253, self.size, 1 | 2)
                                    + bytes(124))
            while self.connection.recv(65536):
                pass

    def close(self):
        self.listener.close()


@pytest.mark.parametrize("kernel,policy", [("6.1", "reboot"), ("newest", "halt")], indirect=["kernel"])
def test_disk_that_never_reads(policy, kernel, root_tree, image, initramfs, tmp_path, boot):
    """And the policy is carried out, though the disk's driver holds its device."""
    conf = ROOT + "/dev/vdb /srv erofs wait=20\n"
    append = f"quiet idmap.onfail={policy}"
    with contextlib.closing(SilentNbd(tmp_path / "nbd", 1 << 20)), \
            boot(kernel, initramfs(kernel, conf), append, [Disk(image(root_tree(), "erofs"))],
                 qemu_args=SLOT) as guest:
        wait_for_line(guest, "waiting for /dev/vdb")
        guest.qmp("blockdev-add", driver="raw", node_name="late", read_only=True,
                  file={"driver": "nbd", "server": {"type": "unix", "path": str(tmp_path / "nbd")}})
        # With a geometry, or QEMU itself reads a sector to guess one.
        guest.qmp("device_add", driver="virtio-blk-pci", drive="late", bus="hotplug-slot", cyls=2, heads=16,
                  secs=63)
        wait_for_line(guest, PRE + "/etc/idmap.conf:2: /dev/vdb on /srv: after 20 s it cannot be read: a disk"
                      " here does not answer; look at it on the host, or raise wait=")
        assert PRE + "/dev/vdb is looked for, for 10 s now" in guest.console()
        if policy == "reboot":
            wait_for_line(guest, "sysrq: Resetting")  # QEMU itself then waits for the disk


@pytest.mark.parametrize("kernel", ["newest"], indirect=True)
def test_server_that_never_answers(kernel, root_tree, image, initramfs, boot, virtiofs, host_tree):
    conf = ROOT + "/dev/vdz /mnt erofs nofail,wait=8\nshare /srv virtiofs wait=12,idmap=0:0:1\n"
    arguments = virtiofs(host_tree({"/": Dir(0, 0)}), "share", "--sandbox=none")
    modules = "virtio_pci,virtio_blk,erofs,virtiofs"
    with boot(kernel, initramfs(kernel, conf, modules=modules), "quiet panic=-1",
              [Disk(image(root_tree(), "erofs"))], qemu_args=arguments) as guest:
        wait_for_line(guest, "waiting for /dev/vdz")
        for server in virtiofs.processes:
            os.kill(server.pid, signal.SIGSTOP)
        wait_for_line(guest, "Kernel Offset")  # the end of the trace
        console = guest.console()
        for server in virtiofs.processes:  # QEMU asks it once more before it ends
            os.kill(server.pid, signal.SIGCONT)
    assert last_words(console) == (
        PRE + "/etc/idmap.conf:3: share on /srv: after 12 s it is not mounted: its server on the host does"
        " not answer; look at it there, or raise wait=", "0x00000300")
    assert PRE + "share is mounted, for 10 s now" in console


def test_death_of_the_helper(programs):
    """A fault of ours is told, too. As PID 1 of a namespace of this machine, whose helper gets a signal."""
    if os.getuid():
        pytest.skip("only root can start a PID 1 of its own on this machine")
    script = ("mount --make-rprivate / && mount -t tmpfs t /dev && mount -t tmpfs t /run && exec strace -D -f"
              " -qqq -o /run/trace -e trace=uname -e inject=uname:signal=SEGV \"$0\"")
    result = subprocess.run(["unshare", "--mount", "--pid", "--fork", "--mount-proc", "sh", "-c", script,
                             programs.folder / "idmap-init"], capture_output=True, text=True, timeout=60)
    assert result.stderr.splitlines() == [
        PRE + "idmap-init itself has failed while the table starts; give the machine more memory if the kernel has killed it for"
              " want of that, and else report it"]
    assert result.returncode == 1


# ---- what can be run ----


def elf(machine, kind=2, wide=True):
    """An ELF header and one program header, which nothing runs."""
    head = b"\x7fELF" + bytes([2 if wide else 1, 1, 1]) + bytes(9) + struct.pack("<HHI", kind, machine, 1)
    head += (struct.pack("<QQQIHHHHHH", 0x400078, 64, 0, 0, 64, 56, 1, 0, 0, 0) if wide else
             struct.pack("<IIIIHHHHHH", 0x8074, 52, 0, 0, 52, 32, 1, 0, 0, 0))
    segment = struct.pack("<IIQQQQQQ", 1, 5, 0, 0x400000, 0x400000, 200, 200, 4096)
    return head + segment + bytes(200)


ANOTHER = next(other.elf for other in ARCHITECTURES.values() if other != GUEST)

# content: what is told of it, between "(" and the end.
PROGRAMS = {
    "carriage return": (
        b"#!/bin/sh\r\nexit\r\n", "/bin/sh\\015, its interpreter: not there); its #! line ends in a carriage return;"
        " save the file with Unix line ends"),
    "long line": (
        b"#!/bin/" + b"x" * 300 + b"\n", "not a format that can be run); its #! line is longer than the 255 bytes"
        " that the kernel reads; make it shorter"),
    "no interpreter": (
        b"#! \n/bin/sh", "not a format that can be run); its #! line names no interpreter; write one"),
    "another machine": (
        elf(ANOTHER), f"not a format that can be run); it is for another machine ({ANOTHER} in ELF's numbers, and this"
        f" is {GUEST.elf}: see readelf -h); name a program for this one"),
    "32 bits": (
        elf(8, wide=False), "not a format that can be run); it is for another machine (8 in ELF's numbers, and"
        f" this is {GUEST.elf}: see readelf -h); name a program for this one"),
    "object": (
        elf(GUEST.elf, kind=1), "not a format that can be run); it is an ELF file but no program, such as an object"
        " that was not linked; name a program"),
    "empty": (b"", "not a format that can be run); it is empty; write the file anew"),
    "text": (b"exit\n", "not a format that can be run); name a program for this machine, or a script that begins"
             " with #!"),
}


@pytest.mark.parametrize("name", PROGRAMS)
def test_program(name, root_tree, image, told):
    content, words = PROGRAMS[name]
    tree = root_tree()
    tree["/bin/odd"] = File(content, **OWN, mode=0o755)
    assert told(f"{SHORT} init=/bin/odd", None, [Disk(image(tree, "erofs"))]) == (
        f"cmdline: init=/bin/odd: it cannot be run in the new root ({words}", 7)


@pytest.mark.parametrize("name", ["carriage return", "long line", "another machine", "object"])
def test_next_of_the_list(name, kernel, root_tree, image, initramfs, boot):
    """As the kernel does, which tries them one after the other."""
    content, words = PROGRAMS[name]
    tree = root_tree()
    tree["/etc/init"] = tree["/sbin/init"]
    tree["/sbin/init"] = File(content, **OWN, mode=0o755)
    with boot(kernel, initramfs(kernel), f"quiet {SHORT}", [Disk(image(tree, "erofs"))]) as guest:
        assert guest.report()["argv"] == ["/etc/init"]
        line, = [line for line in log_lines(guest) if "passed over" in line]
        assert line == PRE + f"/sbin/init of the new root is passed over ({words.replace('); ', '; ', 1)})".replace("\\015", "\\x5c015")


@of_x86_64("the program is i386's")
def test_32_bit_program(kernel, root_tree, image, initramfs, tmp_path, boot):
    """The kernel alone knows what it runs beside its own; an i386 program is one of that."""
    tree = root_tree()
    # exit(0), as a child of the probe's.
    code = bytes.fromhex("b80100000031dbcd80")
    head = elf(3, wide=False)[:52] + struct.pack("<IIIIIIII", 1, 0, 0x8000, 0x8000, 200, 200, 5, 4096)
    program = bytearray(head + bytes(0x74 - len(head)) + code + bytes(100))
    tree["/bin/i386"] = File(bytes(program), **OWN, mode=0o755)
    with boot(kernel, initramfs(kernel), f"quiet {SHORT}", [Disk(image(tree, "erofs"))]) as guest:
        if "error" in guest.ask("run 0 0 /bin/i386"):
            pytest.skip("this kernel runs no 32-bit programs")
    with boot(kernel, initramfs(kernel), f"quiet idmap.onfail=halt init=/bin/i386 {SHORT}",
              [Disk(image(tree, "erofs"))]) as guest:
        wait_for_line(guest, "Attempted to kill init! exitcode=0x00000000")  # it ran, and ended
        assert "cannot be run" not in guest.console()


# ---- names and devices ----


def test_uuid_with_the_magic_of_another(kernel, root_tree, image, initramfs, boot):
    uuid = "1d3a9000-0000-4000-53ef-000000000001"  # where ext4's magic stands
    disk = Disk(image(root_tree(), "erofs", uuid=uuid))
    with boot(kernel, initramfs(kernel), f"quiet root=UUID={uuid} rootfstype=erofs idmap=100000:0:65536",
              [disk]) as guest:
        assert owners(guest)["user"] == (1000, 1000)


@pytest.mark.parametrize("kernel", ["6.1", "newest"], indirect=True)
@pytest.mark.parametrize("name", ["/dev/vdb", "SERIAL=blob"])
def test_device_of_an_option_comes_late(name, kernel, root_tree, initramfs, tmp_path, boot):
    disk, blob = blob_image(root_tree(), tmp_path)
    append = f"quiet root=/dev/vda rootfstype=erofs ro rootwait rootflags=device={name} idmap=100000:0:65536"
    with boot(kernel, initramfs(kernel), append, [Disk(disk)], qemu_args=SLOT) as guest:
        wait_for_line(guest, f"waiting for device={name} (disks here: vda")
        guest.qmp("blockdev-add", driver="raw", node_name="late", read_only=True,
                  file={"driver": "file", "filename": str(blob)})
        guest.qmp("device_add", driver="virtio-blk-pci", drive="late", bus="hotplug-slot", serial="blob")
        assert owners(guest)["user"] == (1000, 1000)


def blob_image(tree, folder):
    """An erofs of metadata, whose data are on a second disk."""
    disk, blob = folder / "disk", folder / "blob"
    blob.touch()  # mkfs.erofs 1.8 makes none
    make_image(tree, "erofs", disk, args=[f"--blobdev={blob}", "--chunksize=4096"])
    return disk, blob


def test_device_of_an_option_is_missing(root_tree, tmp_path, told):
    disk, _ = blob_image(root_tree(), tmp_path)
    assert told("", "/dev/vda / erofs wait=1,device=PARTLABEL=blob\n", [Disk(disk)]) == (
        "/etc/idmap.conf:1: /dev/vda on /: device=PARTLABEL=blob: the device did not come within 1 s (disks"
        " here: vda); check its name, load its driver (mkinitramfs -m), or raise wait=", 3)


@TWO
def test_device_of_an_option_of_an_image_file(kernel, root_tree, tmp_path, told, initramfs, boot):
    tree = root_tree()
    disk, blob = blob_image({"/": Dir(5000, 5000), "/f": File(b"data" * 5000, 5004, 5000)}, tmp_path)
    tree["/images/meta"] = File(disk.read_bytes())
    conf = ROOT + "root:/images/meta /srv erofs wait=1,device=SERIAL=blob,idmap=5000:0:10\n"
    modules = "virtio_pci,virtio_blk,erofs,loop"
    disks = [Disk(make_image(tree, "erofs", tmp_path / "root"))]
    assert told("", conf, disks, modules=modules) == (
        "/etc/idmap.conf:2: root:/images/meta on /srv: device=SERIAL=blob: the device did not come within 1 s (disks"
        " here: vda); check its name and that it is a virtio disk's, 20 bytes at most, load its driver (mkinitramfs -m), or raise wait=",
        3)
    with boot(kernel, initramfs(kernel, conf, modules=modules), "", disks + [Disk(blob, serial="blob")]) as guest:
        assert seen(guest, "/srv/f") == (4, 0) and guest.ask("read /srv/f")["content"].startswith("datadata")


@pytest.mark.parametrize("value,least,most", [("0", 0, 0.7), ("0x2", 2, 3.2)])
def test_rootwait(value, least, most, kernel, initramfs, boot_fails):
    console = boot_fails(kernel, initramfs(kernel), f"quiet rootwait={value} root=/dev/vdz idmap=0:0:1")
    line, _ = last_words(console)
    assert f"the device did not come within {int(value, 0)} s (disks here: none)" in line
    assert ("waiting for" in console) == (least > 1)


def test_rootwait_that_is_no_number(kernel, root_tree, image, initramfs, boot):
    disk = image(root_tree(), "erofs")
    with boot(kernel, initramfs(kernel), f"quiet rootwait=5s {SHORT}", qemu_args=SLOT) as guest:
        wait_for_line(guest, "waiting for /dev/vda")
        assert (PRE + "cmdline: rootwait=5s is no number of seconds, so the root is waited for for ever; write"
                " rootwait, or rootwait=SECONDS") in guest.console()
        plug(guest, disk)
        assert owners(guest)["user"] == (1000, 1000)


# ---- modules ----


def test_no_module_is_loaded(root_tree, image, told):
    assert told(f"nomodule {SHORT},wait=1", None, [Disk(image(root_tree(), "erofs"))]) == (
        "cmdline: idmap= #1: /dev/vda on /: the device did not come within 1 s (disks here: none); module"
        " virtio.ko does not load (operation not permitted; nomodule is on the kernel command line, take it"
        " out)", 3)
    line, code = told(f"sysctl.kernel.modules_disabled=1 {SHORT},wait=1", None, [Disk(image(root_tree(), "erofs"))])
    assert line.endswith("(operation not permitted; modules_disabled is on the kernel command line, take it out)") and code == 3


def test_damaged_module(kernel, root_tree, image, tmp_path, told):
    """The first that did not load is what the last line is about, with the kernel's words for it."""
    modules = tmp_path / kernel.modules.name
    subprocess.run(["cp", "-rs", kernel.modules, modules], check=True)
    erofs, = modules.glob("**/erofs.ko")
    content = erofs.read_bytes()
    erofs.unlink()
    erofs.write_bytes(content[:2000])
    assert told(SHORT, None, [Disk(image(root_tree(), "erofs"))], modules="virtio_pci,virtio_blk,erofs,ext4",
                on=dataclasses.replace(kernel, modules=modules)) == (
        "cmdline: idmap= #1: /dev/vda on /: erofs is no filesystem of this kernel (no such device); module erofs.ko"
        " does not load (not a format that can be run; Invalid ELF section header overflow)", 4)


def test_long_module_options(kernel, root_tree, image, initramfs, boot):
    append = f"quiet {SHORT} loop.pad={'x' * 1100} loop.max_loop=3"
    with boot(kernel, initramfs(kernel, modules="virtio_pci,virtio_blk,erofs,loop"), append,
              [Disk(image(root_tree(), "erofs"))]) as guest:
        assert guest.ask("read /sys/module/loop/parameters/max_loop")["content"] == "3\n"


@pytest.mark.parametrize("kernel", ["6.1"], indirect=True)
def test_console_comes_late(kernel, root_tree, image, initramfs, tmp_path, boot):
    log = tmp_path / "hvc0"
    arguments = ["-device", "virtio-serial-pci", "-chardev", f"file,id=hvc,path={log}", "-device",
                 "virtconsole,chardev=hvc"]
    modules = "virtio_pci,virtio_blk,erofs,virtio_console"
    with boot(kernel, initramfs(kernel, modules=modules), f"console=hvc0 {SHORT}",
              [Disk(image(root_tree(), "erofs"))], qemu_args=arguments) as guest:
        fds = guest.report()["fds"]
        assert [fd["target"] for fd in fds] == ["/dev/console"] * 3, fds


# ---- what hostile images have in /dev ----


@pytest.mark.parametrize("kernel", EVERY, indirect=True)
def test_fifo_in_place_of_kmsg(kernel, root_tree, image, initramfs, boot):
    tree = root_tree()
    del tree["/dev"]
    tree["/dev"] = Link("/trap", **OWN)
    tree["/trap"] = Dir(**OWN)
    tree["/trap/kmsg"] = tree["/trap/console"] = Node("p", 0, 0, **OWN)
    tree.update({f"/t/{i}": Dir(**OWN) for i in range(8)})
    conf = ROOT + "".join(f"t /t/{i} tmpfs\n" for i in range(8))
    with boot(kernel, initramfs(kernel, conf), "quiet", [Disk(image(tree, "erofs"))]) as guest:
        assert len([m for m in guest.mounts() if m.target.startswith("/t/")]) == 8




# ---- the kernel's own words ----


def patched(disk, folder, at, data):
    """A copy of the image with other bytes at `at`."""
    path = folder / "patched"
    content = bytearray(disk.read_bytes())
    content[at:at + len(data)] = data
    path.write_bytes(content)
    return path


def test_feature_of_a_newer_ext4(kernel, root_tree, image, tmp_path, told):
    disk = image(root_tree(), "ext4", args=["-O", "^metadata_csum"])
    incompat = 1024 + 96
    disk = patched(disk, tmp_path, incompat + 3, b"\x40")
    assert told("root=/dev/vda rootfstype=ext4 ro", None, [Disk(disk)]) == (
        f"cmdline: root=: /dev/vda on /: ext4 does not mount (invalid argument; kernel: EXT4-fs (vda): Couldn't"
        f" mount because of unsupported optional features (40000000)); it is ext4, with something that this kernel"
        f" ({kernel.version}) does not take; boot a newer one, or make the image with fewer features", 4)


def test_feature_of_a_newer_erofs(kernel, root_tree, image, tmp_path, told):
    disk = patched(image(root_tree(), "erofs", args=["-Enosbcrc"]), tmp_path, 1024 + 80, b"\0\0\0\x40")
    line, code = told("root=/dev/vda rootfstype=auto ro", None, [Disk(disk)])
    assert (line, code) == (f"cmdline: root=: /dev/vda on /: erofs does not mount (invalid argument; kernel: erofs: (device vda):"
                            f" check_layout_compatibility: unidentified incompatible feature 40000000, please"
                            f" upgrade kernel version); it is erofs, with something that this kernel"
                            f" ({kernel.version}) does not take; boot a newer one, or make the image with fewer"
                            f" features", 4)


@pytest.mark.parametrize("kernel", ["6.1-plain"], indirect=True)
def test_no_filesystem_at_all(kernel, root_tree, image, told):
    """As where mkinitramfs was told of no module."""
    line, code = told("root=/dev/vda ro", None, [Disk(image(root_tree(), "erofs"))], modules="virtio_pci,virtio_blk")
    assert (line, code) == ("cmdline: root=: /dev/vda on /: the kernel knows no filesystem to try; the device holds erofs:"
                            " load its module (mkinitramfs -m)", 4)


def test_compression_that_the_kernel_lacks(kernel, root_tree, image, tmp_path, told):
    """squashfs names its compression in a field."""
    disk = patched(image(root_tree(), "squashfs"), tmp_path, 20, b"\x02\0")  # lzma
    line, code = told("root=/dev/vda rootfstype=squashfs ro", None, [Disk(disk)])
    assert (line, code) == (f"cmdline: root=: /dev/vda on /: squashfs does not mount (invalid argument; kernel: Filesystem uses"
                            f' "lzma" compression. This is not supported); it is squashfs, with something that'
                            f" this kernel ({kernel.version}) does not take; boot a newer one, or make the image"
                            f" with fewer features", 4)


@pytest.mark.parametrize("kernel", ["6.1", "newest"], indirect=True)
@pytest.mark.parametrize("fs", ["ext4", "squashfs", "btrfs"])
def test_image_that_was_cut(fs, kernel, root_tree, image, tmp_path, told):
    content = image(root_tree(), fs).read_bytes()
    cut = tmp_path / "cut"
    cut.write_bytes(content[:len(content) // 2 & ~4095])
    line, code = told("root=/dev/vda ro", None, [Disk(cut)], modules=f"virtio_pci,virtio_blk,{fs}")
    assert f": {fs} does not mount (" in line and code == 4
    assert line.endswith(f"; it is {fs}, and larger than what is here: a copy of it broke off, or the device is too small;"
                         " write the image anew")


@pytest.mark.parametrize("kernel", ["6.1", "newest"], indirect=True)
def test_erofs_that_was_cut(kernel, root_tree, image, initramfs, tmp_path, boot):
    """The kernel mounts it."""
    tree = {"/": Dir(), "/file": File("x" * 100000)}
    content = image(tree, "erofs").read_bytes()
    cut = tmp_path / "cut"
    cut.write_bytes(content[:-8192])
    disks = [Disk(image(root_tree(), "erofs")), Disk(cut)]
    line = ("/etc/idmap.conf:2: /dev/vdb on /srv: it is erofs, and larger than what is here, so that files of it cannot be"
            " read: a copy of it broke off, or the device is too small; write the image anew")
    for table in (ROOT + "/dev/vdb /srv erofs\n", ROOT + "/dev/vdb /srv auto\n"):
        with boot(kernel, initramfs(kernel, table), "quiet", disks) as guest:
            assert [said for said in log_lines(guest) if "larger" in said] == [PRE + line]
            guest.poweroff()
            assert guest.console().count(PRE + line) == 1
    with boot(kernel, initramfs(kernel, ROOT + "/dev/vdb /srv erofs\n"), "quiet", disks[:1] + [Disk(image(tree, "erofs"))]) as guest:
        assert not [said for said in log_lines(guest) if "larger" in said]


@pytest.mark.parametrize("kernel", ["6.1", "newest"], indirect=True)
@pytest.mark.parametrize("fs, label", [("ext4", 1024 + 120), ("erofs", 1024 + 64), ("btrfs", 65536 + 299)])
def test_superblock_that_is_damaged(fs, label, kernel, root_tree, image, tmp_path, told):
    disk = patched(image(root_tree(), fs), tmp_path, label, b"flipped")
    line, code = told("root=/dev/vda ro", None, [Disk(disk)], modules=f"virtio_pci,virtio_blk,{fs}")
    assert f": {fs} does not mount (" in line and code == 4
    assert line.endswith(f"; it is {fs}, and damaged; write the image anew, or repair it with fsck")


def test_two_clones_of_one_xfs(kernel, root_tree, image, told):
    disks = [Disk(image(root_tree(), "erofs")), *[Disk(image({"/": Dir(0, 0)}, "xfs", size_mib=300))] * 2]
    conf = ROOT + "/dev/vdb /srv xfs\n/dev/vdc /mnt xfs\n"
    line, code = told("", conf, disks, modules="virtio_pci,virtio_blk,erofs,xfs")
    assert (line, code) == ("/etc/idmap.conf:2: /dev/vdb on /srv: xfs does not mount (invalid argument; kernel: XFS (vdb):"
                            " Filesystem has duplicate UUID 1d3a9000-0000-4000-8000-000000000001 - can't mount);"
                            " another row has a clone of it; add nouuid here", 4)


@pytest.mark.parametrize("kernel", ["6.1", "newest"], indirect=True)
@pytest.mark.parametrize("option", ["subvol=nope", "subvolid=999", "subvol=owners"])
def test_subvolume_that_is_not_there(option, kernel, root_tree, image, told):
    """What the kernel chats about before, in half a dozen lines, does not push out why."""
    disks = [Disk(image(root_tree(), "erofs")), Disk(image(root_tree(), "btrfs"))]
    conf = ROOT + f"/dev/vdb /srv btrfs {option}\n"
    line, code = told("", conf, disks, modules="virtio_pci,virtio_blk,erofs,btrfs")
    folder = option == "subvol=owners"
    assert line.startswith("/etc/idmap.conf:2: /dev/vdb on /srv: btrfs does not mount ("
                           + ("invalid argument; kernel: BTRFS error (device vdb): 'owners' is not a valid subvolume"
                              if folder else "not there; kernel: ")) and code == 4
    assert line.endswith("; it has no such subvolume; correct subvol= or subvolid=, or write X-mount.subdir= for a folder")


@pytest.mark.parametrize("kernel", ["6.12-plain"], indirect=True)
@pytest.mark.parametrize("type_, name", [("minix", "minix"), ("auto", "its filesystem"), ("ext4:minix", "its filesystem")])
def test_filesystem_of_several_that_takes_no_map(type_, name, kernel, root_tree, image, tmp_path, told):
    """Neither the list nor the word auto is the one that cannot."""
    disk = tmp_path / "minix"
    disk.touch()
    os.truncate(disk, 1 << 20)
    subprocess.run(["/sbin/mkfs.minix", disk], check=True, stdout=subprocess.DEVNULL)
    line, code = told("", ROOT + f"/dev/vdb /srv {type_} idmap=0:1:1\n", [Disk(image(root_tree(), "erofs")), Disk(disk)],
                      modules="virtio_pci,virtio_blk,erofs,ext4,minix")
    assert (line, code) == (f"/etc/idmap.conf:2: /dev/vdb on /srv: {name} cannot be idmapped on this kernel"
                            f" ({kernel.version}); use erofs, ext4 or xfs", 5)


LAYER_OF_VFAT = "none /srv overlay\n/dev/vdb /srv vfat lower\n", (
    "; a layer's filesystem cannot be one, such as vfat; use ext4, xfs, btrfs or erofs")


def crc32c(data):
    """Castagnoli's, bit by bit."""
    crc = 0xffffffff
    for byte in data:
        crc ^= byte
        for _ in range(8):
            crc = crc >> 1 ^ (0x82f63b78 if crc & 1 else 0)
    return crc ^ 0xffffffff


def test_log_of_a_btrfs(kernel, root_tree, image, initramfs, boot, boot_fails, tmp_path):
    """A crash has left it, and the disk cannot be written: that is no damage, though the kernel's error is EIO."""
    disk = tmp_path / "disk"
    content = bytearray(image({"/": Dir(), "/file": File("data")}, "btrfs").read_bytes())
    start = 65536  # struct btrfs_super_block of linux/btrfs_tree.h: csum, and 96 bytes from its start log_root
    content[start + 96:start + 104] = struct.pack("<Q", 4096)
    content[start:start + 4] = struct.pack("<I", crc32c(content[start + 32:start + 4096]))
    disk.write_bytes(content)
    disks, modules = [Disk(image(root_tree(), "erofs")), Disk(disk)], "virtio_pci,virtio_blk,erofs,btrfs"
    line, _ = last_words(boot_fails(kernel, initramfs(kernel, ROOT + "/dev/vdb /srv btrfs\n", modules=modules), "quiet", disks))
    assert "log replay required on RO media" in line
    assert line.endswith("; a crash has left its journal, which cannot be replayed there: mount it once where it can be"
                         " written, or add noload (ext4), norecovery (xfs), rescue=nologreplay (btrfs)")
    rows = ROOT + "/dev/vdb /srv btrfs rescue=nologreplay\n"
    with boot(kernel, initramfs(kernel, rows, modules=modules), "", disks) as guest:
        assert guest.ask("read /srv/file")["content"] == "data"


@pytest.mark.every_kernel
@pytest.mark.parametrize("kernel", ["5.10", "6.1"], indirect=True)
def test_what_xfs_asks_too_early(kernel, root_tree, image, second, initramfs, boot, boot_fails):
    """Before Linux 6.8, without a fix, it asks for sync, dirsync and ro before they can be said."""
    modules = "virtio_pci,virtio_blk,erofs,xfs"
    disks = [Disk(image(root_tree(), "erofs")), *[Disk(second("xfs"), readonly=False, snapshot=True)] * 2]
    rows = "/dev/vda / erofs\n/dev/vdb /srv xfs rw,sync\n/dev/vdc /mnt xfs rw,dirsync,nouuid\n"
    with boot(kernel, initramfs(kernel, rows, modules=modules), "", disks) as guest:
        found = {m.target: m.super_options for m in guest.mounts() if m.type == "xfs"}
        assert "sync" in found["/srv"] and "wsync" in found["/srv"] and "wsync" in found["/mnt"], found
    rows = "/dev/vda / erofs\n/dev/vdb /srv xfs ro,norecovery\n"
    if kernel.name == "5.10":
        line, _ = last_words(boot_fails(kernel, initramfs(kernel, rows, modules=modules), "quiet", disks))
        assert line.endswith("no-recovery mounts must be read-only.); this kernel's xfs asks for ro before it can be said; mount"
                             " it once where it can be written, take norecovery out, or boot Linux 6.8 or newer")
    line, _ = last_words(boot_fails(kernel, initramfs(kernel, rows.replace("ro,", "rw,"), modules=modules), "quiet", disks))
    assert line.endswith("no-recovery mounts must be read-only.); write ro"), line


@pytest.mark.parametrize("kernel, rows, remedy", [
    ("6.1", *LAYER_OF_VFAT), ("newest", *LAYER_OF_VFAT),
    ("newest", "/dev/vdb /srv vfat uid=root\n", "; write that id as a number")], indirect=["kernel"])
def test_what_vfat_cannot(rows, remedy, kernel, root_tree, image, told):
    disks = [Disk(image(root_tree(), "erofs")), Disk(image({"/": Dir(), "/file": File("x")}, "vfat"))]
    line, code = told("", ROOT + rows, disks, modules="virtio_pci,virtio_blk,erofs,vfat,nls_ascii,nls_cp437,overlay")
    assert line.endswith(remedy) and code == 4, line


def test_two_clones_of_one_btrfs(kernel, root_tree, image, told):
    disks = [Disk(image(root_tree(), "erofs")), *[Disk(image({"/": Dir(0, 0)}, "btrfs"))] * 2]
    conf = ROOT + "/dev/vdb /srv btrfs\n/dev/vdc /mnt btrfs\n"
    line, code = told("", conf, disks, modules="virtio_pci,virtio_blk,erofs,btrfs")
    line = re.sub(r"(?<=generation )\d+ scanned by init \(\d+\)", "N", line)
    assert (line, code) == ("/etc/idmap.conf:2: /dev/vdb on /srv: btrfs does not mount (already there; kernel: BTRFS warning:"
                            " duplicate device /dev/vdb devid 1 generation N); another row has a clone of it; give one a"
                            " UUID of its own (btrfstune -u), or boot Linux 6.7 or newer", 4)


def test_upper_that_cannot_be_one(kernel, root_tree, image, told):
    disks = [Disk(image(root_tree(), "erofs")),
             Disk(image({"/": Dir(), "/f": File("x")}, "vfat"), readonly=False, snapshot=True)]
    conf = ROOT + "upper /srv overlay\n/dev/vda /srv erofs lower,X-mount.subdir=etc\n/dev/vdb /srv vfat upper\n"
    line, code = told("", conf, disks, modules="virtio_pci,virtio_blk,erofs,vfat,overlay")
    assert (line, code) == ("/etc/idmap.conf:4: /dev/vdb on /srv: the folders upper and work cannot be made in the top (operation not"
                            " permitted); use ext4, xfs or btrfs for it, as some filesystems keep no owners, and chattr -i, where"
                            " it is immutable", 4)


def test_two_rows_that_do_not_agree(kernel, root_tree, image, told):
    """Where it is not known before that both have one disk."""
    disks = [Disk(image(root_tree(), "erofs")),
             Disk(image({"/": Dir(0, 0)}, "ext4", args=("-L", "data")), readonly=False, snapshot=True)]
    line, code = told("", ROOT + "LABEL=data /srv ext4\n/dev/vdb /mnt ext4 rw\n", disks)
    assert (line, code) == ("/etc/idmap.conf:2: LABEL=data on /srv: ext4 does not mount (busy; kernel: vdb: Can't mount, would"
                            " change RO state); the row for /mnt (/etc/idmap.conf:3) has it rw, and this one ro:"
                            " say the same, by one SOURCE, in both", 4)


def test_row_that_is_not_verified(kernel, root_tree, image, seal, told):
    """And another one of that disk is: what differs is said."""
    sealed = seal(image({"/": Dir(0, 0)}, "erofs"), True)
    conf = ROOT + (f"/dev/vdb /mnt erofs verity.roothash={sealed.root_hash},verity.hashoffset={sealed.offset}\n"
                   "/dev/vdb /srv erofs\n")
    line, code = told("", conf, [Disk(image(root_tree(), "erofs")), Disk(sealed.data)],
                      modules="virtio_pci,virtio_blk,erofs,dm-verity")
    assert line.startswith("/etc/idmap.conf:3: /dev/vdb on /srv: erofs does not mount (busy") and code == 4
    assert line.endswith("); the row for /mnt (/etc/idmap.conf:2) has it by dm-verity, and this one by itself: say the same"
                         " in both")


@pytest.mark.parametrize("kernel", ["6.1", "newest"], indirect=True)
def test_loop_device_has_no_name(kernel, root_tree, image, told):
    """A LABEL= looks at none, and says so."""
    conf = ROOT + "/images/ext4 /mnt ext4\nLABEL=other /srv ext4 wait=1\n"
    line, code = told("", conf, [Disk(image(root_tree(), "erofs"))], modules="virtio_pci,virtio_blk,erofs,ext4,loop",
                      add=[(image({"/": Dir(0, 0)}, "ext4"), "/images/ext4")])
    assert (line, code) == ("/etc/idmap.conf:3: LABEL=other on /srv: the device did not come within 1 s (disks here: vda, loop0"
                            " (by its path alone)); check its name and that it is erofs, ext4, xfs or btrfs, load its driver"
                            " (mkinitramfs -m), or raise wait=", 3)


@pytest.mark.parametrize("append,said,codes", [
    ("sysctl.user.max_mnt_namespaces=0", "raise the limit that is reached: sysctl.fs.mount-max= or"
     " sysctl.user.max_mnt_namespaces=", {4}),
    ("sysctl.fs.mount-max=6", "raise the limit of mounts, sysctl.fs.mount-max=", {1, 6}),  # where it is met
])
@pytest.mark.parametrize("kernel", ["6.1", "newest"], indirect=True)
def test_limit_of_mounts(append, said, codes, kernel, root_tree, image, told):
    line, code = told(append, ROOT + "t /mnt tmpfs\n", [Disk(image(root_tree(), "erofs"))])
    assert "(no room left" in line and line.endswith(said) and code in codes


def test_layers_that_are_none(kernel, root_tree, image, told):
    tree = root_tree()
    tree["/srv/link"] = Link("/images/app", 100000, 100000)
    disks = [Disk(image(tree, "erofs")), Disk(image({"/": Dir(0, 0), "/link": Link("/images/app", 0, 0)}, "erofs"))]
    assert told("", ROOT + "none /srv overlay\n/etc/hostname /srv bind lower\n/images/app /srv bind lower\n", disks,
                modules="virtio_pci,virtio_blk,erofs,overlay") == (
        "/etc/idmap.conf:3: /etc/hostname on /srv: a layer is a folder, and this is none; name one", 3)
    line, code = told("", ROOT + "/dev/vdb /home erofs\nnone /srv overlay\n/home/link /srv bind lower\n/images/app /srv bind"
                      " lower\n", disks, modules="virtio_pci,virtio_blk,erofs,overlay")
    assert line.startswith("/etc/idmap.conf:4: /home/link on /srv: there is a link in its way, in the tree of the row for"
                           " /home, ") and code == 2


def test_ext3_of_an_ext4(root_tree, image, told):
    """No newer kernel takes that as ext3."""
    disks = [Disk(image(root_tree(), "erofs")), Disk(image({"/": Dir(0, 0)}, "ext4"))]
    assert told("", ROOT + "/dev/vdb /srv ext3\n", disks) == (
        "/etc/idmap.conf:2: /dev/vdb on /srv: ext3 does not mount (invalid argument; kernel: EXT4-fs (vdb): couldn't mount as"
        " ext3 due to feature incompatibilities); the device holds ext4: write that as TYPE", 4)


def test_nothing_known_on_the_disk(root_tree, image, tmp_path, told):
    line, code = told("root=/dev/vda ro", None, [Disk(patched(image(root_tree(), "erofs"), tmp_path, 1024, b"junk"))])
    assert line.startswith("cmdline: root=: /dev/vda on /: no type mounts (") and code == 4
    assert line.endswith("; what is on the device is none that is known here: look at what was written there, or name its TYPE and load its module (mkinitramfs -m)")


def test_type_of_a_list_that_fits(kernel, root_tree, image, tmp_path, told):
    """Of many types the one that the superblock is of is told."""
    disk = patched(image(root_tree(), "squashfs"), tmp_path, 20, b"\x02\0")
    line, code = told("root=/dev/vda rootfstype=ext4,squashfs,erofs ro", None, [Disk(disk)])
    assert (line, code) == (f"cmdline: root=: /dev/vda on /: squashfs does not mount (invalid argument; kernel: Filesystem uses"
                            f' "lzma" compression. This is not supported); it is squashfs, with something that'
                            f" this kernel ({kernel.version}) does not take; boot a newer one, or make the image"
                            f" with fewer features", 4)


@pytest.mark.parametrize("kernel,words", [
    ("6.1", 'overlayfs: unrecognized mount option "sugar=1" or missing value'),
    ("newest", "overlay: Unknown parameter 'sugar'")], indirect=["kernel"])
def test_merge(kernel, words, root_tree, image, told):
    conf = "none / overlay sugar=1\n/dev/vda / erofs lower\n/dev/vdb / erofs lower\n"
    disks = [Disk(image(root_tree(), "erofs")), Disk(image({"/": Dir(0, 0)}, "erofs"))]
    assert told("", conf, disks, modules="virtio_pci,virtio_blk,erofs,overlay") == (
        f"/etc/idmap.conf:1: none on /: the layers do not merge (invalid argument; kernel: {words}); correct the"
        " overlay's options", 4)


def test_upper_of_another(kernel, root_tree, image, told):
    """EACCES of upper's folders is not a disk that cannot be written."""
    conf = ("upper / overlay\n/dev/vda / erofs lower,idmap=100000:0:65536\n"
            "/dev/vdb / ext4 upper,idmap=5000:0:1\n")
    disks = [Disk(image(root_tree(), "erofs")),
             Disk(image({"/": Dir(7, 7, 0o700)}, "ext4"), readonly=False, snapshot=True)]
    line, code = told("", conf, disks, modules="virtio_pci,virtio_blk,erofs,ext4,overlay")
    assert (line, code) == ("/etc/idmap.conf:3: /dev/vdb on /: the folders upper and work cannot be made in the top (permission"
                            " denied); its map must know the owner of its root folder", 4)


# ---- whose failure it is ----


@pytest.mark.parametrize("kernel", EVERY, indirect=True)
def test_submount_that_cannot_be_mapped(kernel, root_tree, image, told):
    conf = ROOT + "t /srv tmpfs\n/proc /srv/proc rbind X-mount.mkdir\n/srv /mnt rbind idmap=0:5:1\n"
    line, code = told("", conf, [Disk(image(root_tree(), "erofs"))])
    assert (line, code) == (f"/etc/idmap.conf:4: /srv on /mnt: proc cannot be idmapped on this kernel ({kernel.version}); use"
                            " erofs, ext4 or xfs for a mapped tree; that is the mount on /srv/proc, which comes along", 5)


def test_target_that_is_a_dangling_link(kernel, root_tree, image, told):
    tree = root_tree()
    tree["/data"] = Link("/no/such", **OWN)
    line, code = told("", ROOT + "t /data/x tmpfs\n", [Disk(image(tree, "erofs"))])
    assert (line, code) == ("/etc/idmap.conf:2: t on /no/such/x: the target /data/x is a link, or behind one, and that leads"
                            " to /no/such/x (not there); make that in the image, or correct the link", 6)
    line, code = told("", ROOT + "/data/x /mnt bind\n", [Disk(image(tree, "erofs"))])
    assert (line, code) == ("/etc/idmap.conf:2: /data/x on /mnt: SOURCE is a link, or behind one, and that leads to /no/such/x"
                            " (not there); make that in the image, or correct the link", 3)


# ---- mistakes worth recognising ----


def test_carriage_returns(root_tree, image, told):
    assert told("", ROOT.replace("\n", "\r\n"), [Disk(image(root_tree(), "erofs"))]) == (
        "/etc/idmap.conf:1:38: the line ends in a carriage return; save the file with Unix line ends", 2)


def test_short_row(root_tree, image, told):
    assert told("idmap=/dev/vda,/,231072:0:65536", None, [Disk(image(root_tree(), "erofs"))]) == (
        "cmdline: idmap= #1, column 12: TYPE is missing, '231072:0:65536' is an extent; write it behind TYPE, with"
        " the OPTIONS", 2)


def test_near_misses(kernel, root_tree, image, initramfs, told, boot):
    disks = [Disk(image(root_tree(), "erofs"))]
    assert told(f"{SHORT},nosiud", None, disks) == (
        "cmdline: idmap= #1: /dev/vda on /: erofs does not take the option nosiud (invalid argument; kernel:"
        " erofs: Unknown parameter 'nosiud'); did you mean nosuid?", 4)
    with boot(kernel, initramfs(kernel), "quiet root=/dev/vda rootfstype=erofs ro idmpa=100000:0:65536",
              disks) as guest:
        assert PRE + "cmdline: 'idmpa' means nothing here; did you mean idmap?" in log_lines(guest)
        guest.poweroff()
        assert "did you mean idmap?" in guest.console()


def test_root_behind_dashes(told):
    line, code = told("-- root=/dev/vda")
    assert code == 7


@pytest.mark.parametrize("source", ["virtiofs:share", "gpt-auto", "/dev/disk/by-id/ata-DISK"])
def test_root_of_other_tools(source, told):
    line, code = told(f"root={source} idmap=0:0:1")
    assert code == 2 and source in line and "SERIAL=" not in line


def test_child_of_a_script(kernel, programs, image, tmp_path, boot_fails):
    """A script that is /init and forgets the exec."""
    script = tmp_path / "init"
    script.write_text("#!/bin/sh\n/sbin/idmap-init\necho it ended with $?\n")
    tree = plain_initramfs(script, {"/sbin": Dir(), "/sbin/idmap-init": File(programs.init, mode=0o755)})
    console = boot_fails(kernel, image(tree, "cpio"), "quiet")
    assert (PRE + "it is to be PID 1 and was started as a child of it; write exec in front of it\n"
            "it ended with 1\n") in console


# ---- idmap.debug ----


def test_debug(kernel, root_tree, image, initramfs, boot):
    conf = ROOT + "/images/app /opt/app bind idmap=100000:5:10\n"
    with boot(kernel, initramfs(kernel, conf), "quiet idmap.debug", [Disk(image(root_tree(), "erofs"))]) as guest:
        steps = [line for line in log_lines(guest) if line.startswith(PRE + "+")]
        guest.poweroff()
        assert all(step in guest.console() for step in steps)
    words = [re.fullmatch(PRE + r"\+\d+ us: (.*)", step)[1] for step in steps]
    modules = [word for word in words if word.startswith("loaded /lib/modules/")]
    assert modules and words == modules + [
        "/dev/vda is there, for /", "/dev/vda is mounted as erofs, for /", "/ is in place", "/opt/app is in place",
        "next is /sbin/init"]


@pytest.mark.parametrize("kernel", ["6.12-plain", "newest-plain"], indirect=True)
def test_realtime_part_that_is_not_named(kernel, root_tree, image, tmp_path, told):
    """The kernel says "no such device", as for a type that it does not have."""
    one, two = tmp_path / "one", tmp_path / "two"
    for path in (one, two):
        path.touch()
        os.truncate(path, 320 << 20)
    subprocess.run(["mkfs.xfs", "-q", "-r", f"rtdev={two}", one], check=True,
                   env=os.environ | {"PATH": os.environ["PATH"] + ":/usr/sbin:/sbin"})
    disks = [Disk(image(root_tree(), "erofs")), Disk(one, readonly=False, snapshot=True)]
    for name in ("xfs", "auto"):
        line, code = told("", ROOT + f"/dev/vdb /srv {name}\n", disks, modules="virtio_pci,virtio_blk,erofs,xfs")
        assert line.endswith("; a part of its files lies on another device; add rtdev=DEVICE") and code == 4, line


@pytest.mark.parametrize("kernel", ["6.1", "newest"], indirect=True)
@pytest.mark.parametrize("fs,option", [("btrfs", "device"), ("xfs", "logdev"), ("ext4", "journal_path")])
def test_filesystem_on_two_disks(fs, option, kernel, root_tree, image, initramfs, tmp_path, boot, told):
    """By a name, too; a missing one is not the SOURCE's fault."""
    one, two = tmp_path / "one", tmp_path / "two"
    for path in (one, two):
        path.touch()
        os.truncate(path, 320 << 20)
    environment = os.environ | {"PATH": os.environ["PATH"] + ":/usr/sbin:/sbin"}
    command = {"btrfs": ["mkfs.btrfs", "-q", one, two], "xfs": ["mkfs.xfs", "-q", "-l", f"logdev={two},size=64m", one],
               "ext4": ["mke2fs", "-q", "-F", "-b", "4096", "-O", "journal_dev", two]}
    subprocess.run(command[fs], check=True, env=environment)
    if fs == "ext4":
        # mke2fs takes no file for a journal.
        loop = subprocess.run(["losetup", "--find", "--show", two], capture_output=True, text=True, env=environment)
        if loop.returncode:
            pytest.skip(f"no loop device for an ext4 with its journal elsewhere: {loop.stderr.strip()}")
        device = loop.stdout.strip()
        try:
            subprocess.run(["mke2fs", "-q", "-F", "-t", "ext4", "-b", "4096", "-J", f"device={device}", one], check=True,
                           env=environment)
        finally:
            subprocess.run(["losetup", "--detach", device], check=True, env=environment)
    modules = f"virtio_pci,virtio_blk,erofs,{fs}"
    disks = [Disk(image(root_tree(), "erofs")), Disk(one, readonly=False, snapshot=True),
             Disk(two, readonly=False, snapshot=True, serial="two")]
    conf = ROOT + f"/dev/vdb /srv {fs} rw,wait=1,{option}=SERIAL=two\n"
    with boot(kernel, initramfs(kernel, conf, modules=modules), "quiet", disks) as guest:
        mount, = [m for m in guest.mounts() if m.target == "/srv"]
        assert mount.type == fs
        # As it was written.
        assert f"{option}=SERIAL=two" in guest.ask("read /run/idmap/table")["content"]
    # Forgotten, it is asked for.
    line, _ = told("", conf.replace(f"wait=1,{option}=SERIAL=two", "wait=1"), disks, modules=modules)
    assert {"btrfs": "name each with device=", "xfs": "its log lies on another device; add logdev=DEVICE",
            "ext4": "the row does not name that; add journal_path=DEVICE"}[fs] in line
    # Another one is not its fault, either.
    spare = [*disks, Disk(image({"/": Dir()}, "erofs"), readonly=False, snapshot=True)]
    line, _ = told("", conf.replace("SERIAL=two", "/dev/vdd"), spare, modules=modules)
    assert line.endswith(
        f"; it is {fs}, and {option}=/dev/vdd is not its own, or one of them is damaged; correct that, write the image anew,"
        " or repair it with fsck" if fs != "btrfs" else
        "; it is btrfs, and lies on several devices, of which one is not here or not named; check each device="
        if kernel.name == "6.1" else "(invalid argument); look at what that device holds")
    if fs == "xfs":
        line, _ = told("", conf.replace("SERIAL=two", "/dev/vda"), disks, modules=modules)
        assert "; something else here holds it, or what is named by logdev=/dev/vda, such as" in line
    if fs == "ext4":
        with boot(kernel, initramfs(kernel, conf, modules=modules), "", [*disks[:2], Disk(two, serial="two")]) as guest:
            assert (PRE + "/dev/vdb, or a device that its options name, is read-only, so it is ro on /srv, and not rw"
                    ) in log_lines(guest)
        line, _ = told("", ROOT + "/dev/vdc /srv ext4 rw\n", disks, modules=modules)
        assert line.endswith("; it is the journal of another ext4; name that one as SOURCE")
    line, code = told("", conf, disks[:2], modules=modules)
    assert line.startswith(f"/etc/idmap.conf:2: /dev/vdb on /srv: {option}=SERIAL=two: the device did not come within 1 s"
                           " (disks here: vda") and code == 3
