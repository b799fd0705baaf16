# SPDX-License-Identifier: MIT
"""Tests of the test harness itself: what a boot test sees must be true, and silence must fail.

Here the kernel starts the probe, with no idmap-init, so whatever is wrong lies in the harness.
"""

from __future__ import annotations

import re
import time
from pathlib import Path

import pytest

from common import SLOT, plug
from guest import Disk, Guest, GuestFailed, parse_mountinfo
from host import KERNELS
from images import Dir, File, Link, Node, Tree, kernel_modules, make_image, plain_initramfs

VIRTIO_DISKS = ["virtio_pci_modern_dev", "virtio_pci_legacy_dev", "virtio_pci", "virtio_blk"]


def script(text: str) -> File:
    return File("#!/bin/sh\n" + text, mode=0o755)


@pytest.fixture
def plain(programs, image):
    """The initramfs whose /init is the probe."""
    return image(plain_initramfs(programs.probe), "cpio")


@pytest.mark.every_kernel
@pytest.mark.every_machine
@pytest.mark.parametrize("kernel", KERNELS, indirect=True)
def test_every_kernel_boots_the_probe(kernel, plain, boot):
    with boot(kernel, plain, "foo=bar a.b=c myflag -- alpha") as guest:
        report = guest.report()
        assert report["kernel"] == kernel.version
        assert report["pid"] == 1
        assert report["argv"] == ["/init", "myflag", "alpha"]
        assert report["environ"] == ["HOME=/", "TERM=linux", "foo=bar"]
        assert [fd["fd"] for fd in report["fds"]] == [0, 1, 2]
        assert {fd["target"] for fd in report["fds"]} == {"/dev/console"}
        assert report["children"] == []
        assert report["signals"] == {"blocked": [], "pending": [], "ignored": [], "caught": []}
        assert not report["proc_mounted"]
        assert report["namespaces"]["user"] == "user:[4026531837]"
        assert [mount.target for mount in parse_mountinfo(report["mountinfo"])] == ["/"]
        guest.poweroff()


def test_the_probe_answers(kernel, plain, boot):
    with boot(kernel, plain) as guest:
        stat = guest.ask("stat /init")
        assert (stat["uid"], stat["mode"], stat["type"]) == (0, 0o755, "file")
        assert guest.ask("stat /none") == {"error": "ENOENT"}
        assert guest.ask("stat") == {"error": "too few words"}
        assert guest.ask("what") == {"error": "unknown command"}
        assert guest.ask("ls /")["entries"]["bin"]["type"] == "dir"
        assert guest.ask("ls /bin")["entries"]["sh"]["link"] == "busybox"

        name = "/odd \\ \t\"ä"
        assert guest.ask("write", name, "a\nä\n") == {"written": 5}
        assert guest.ask("read", name)["content"].encode("latin-1") == "a\nä\n".encode()
        assert name[1:].encode().decode("latin-1") in guest.ask("ls /")["entries"]
        assert guest.ask("chown", name, "7", "8") == {"ok": True}
        assert guest.ask("chmod", name, "4640") == {"ok": True}
        stat = guest.ask("stat", name)
        assert (stat["uid"], stat["gid"], stat["mode"], stat["size"]) == (7, 8, 0o4640, 5)
        assert guest.ask("open", name, "r") == {"ok": True}
        assert guest.ask("open", name, "wcx") == {"error": "EEXIST"}
        assert guest.ask("open / w") == {"error": "EISDIR"}
        assert guest.ask("unlink", name) == {"ok": True}
        assert guest.ask("mkdir /mnt") == {"error": "EEXIST"}
        assert guest.ask("xattrs /mnt") == {"xattrs": {}}

        assert guest.ask("meminfo")["kb"]["MemTotal"] > 400_000
        assert guest.ask("statfs /")["type"] in (0x01021994, 0x858458f6)  # tmpfs, ramfs
        guest.run("/bin/mount", "-t", "proc", "-o", "nosuid", "proc", "/proc")
        assert guest.ask("statfs /proc")["flags"] & 2
        mount = guest.mounts()[-1]
        assert (mount.target, mount.type, "nosuid" in mount.options) == ("/proc", "proc", True)

        records = guest.kmsg()
        assert any("Linux version" in record["text"] for record in records[:2])
        assert all(0 <= record["prio"] <= 7 for record in records)
        assert "reboot: Power down" in guest.poweroff()


def test_the_probe_runs_programs(kernel, programs, image, boot):
    ids = {"mode": 0o755, "content": programs.ids}
    initramfs = image(plain_initramfs(programs.probe, {
        "/bin/ids": File(**ids),
        "/bin/suid": File(programs.ids, 5, 6, 0o6755),
        "/bin/both": script("echo out; echo err >&2; read line || echo nothing to read; exit 7"),
        "/bin/much": script("i=0; while [ $i -lt 3000 ]; do echo 0123456789012345678901234567890; "
                            "i=$((i+1)); done"),
        "/bin/left": script("sleep 1000 & echo done")}), "cpio")
    with boot(kernel, initramfs) as guest:
        assert guest.run("/bin/ids", uid=1000, gid=1001) == "1000 1000 1001 1001\n"
        assert guest.run("/bin/suid", uid=1000, gid=1001) == "1000 5 1001 6\n"
        assert guest.ask("run 0 0 /bin/both") == {
            "exit": 7, "stdout": "out\nnothing to read\n", "stderr": "err\n"}
        assert guest.ask("run", "0", "0", "/bin/sh", "-c", "kill -9 $$")["signal"] == 9
        assert guest.ask("run 0 0 /bin/none") == {"error": "ENOENT"}
        assert guest.ask("run 0 0 /dev") == {"error": "EACCES"}
        assert len(guest.ask("run 0 0 /bin/much")["stdout"]) == 64 * 1024
        assert guest.ask("run 0 0 /bin/left", timeout=20)["stdout"] == "done\n"


def test_the_probe_sees_what_a_careless_init_leaves(kernel, programs, image, boot):
    initramfs = image(plain_initramfs(programs.probe, {
        "/bin/probe": File(programs.probe, mode=0o755),
        "/dev/null": Node("c", 1, 3, mode=0o666),  # the shell's background processes read it
        "/init": script("""
            mount -t proc proc /proc
            cd /bin
            umask 027
            trap '' USR1
            sleep 1000 &
            exec /bin/probe careless 7</init <&- >&- 2>&-
        """)}), "cpio")
    with boot(kernel, initramfs) as guest:
        report = guest.report()
        assert report["argv"] == ["/bin/probe", "careless"]
        assert report["proc_mounted"]
        assert report["cwd"] == "/bin"
        assert report["umask"] == 0o027
        assert 10 in report["signals"]["ignored"]
        assert [fd["target"] for fd in report["fds"] if fd["fd"] == 7] == ["/init"]
        assert not {0, 1, 2} & {fd["fd"] for fd in report["fds"]}
        assert [child["stat"].split(" ", 1)[1] for child in report["children"]] == ["(sleep) S"]
        assert guest.run("/bin/echo", "x") == "x\n"


def test_images_show_the_owners_of_their_tree(kernel, programs, root_tree, image, boot):
    tree: Tree = root_tree(base=100000)
    tree["/capable"] = File("x", xattrs={"security.capability": bytes.fromhex(
        "01000003" "00200000" "00000000" "00000000" "00000000" "a0860100")})
    kinds = ["erofs", "squashfs", "ext4"]
    modules, order = kernel_modules(kernel.modules, VIRTIO_DISKS + kinds)
    initramfs = image(plain_initramfs(programs.probe, modules), "cpio")
    disks = [Disk(image(tree, kind), serial=f"disk-{kind}") for kind in kinds]
    with boot(kernel, initramfs, disks=disks) as guest:
        guest.run("/bin/mount", "-t", "devtmpfs", "dev", "/dev")
        guest.run("/bin/mount", "-t", "sysfs", "sys", "/sys")
        for module in order:
            guest.run("/bin/insmod", module)
        for letter, kind in zip("abc", kinds):
            wait_for(guest, f"/dev/vd{letter}")
            assert guest.ask(f"read /sys/block/vd{letter}/serial")["content"] == f"disk-{kind}"
            guest.run("/bin/mount", "-t", kind, "-o", "ro", f"/dev/vd{letter}", "/mnt")
            for path, entry in tree.items():
                seen = guest.ask("stat", f"/mnt{path}")
                assert (seen["uid"], seen["gid"]) == (entry.uid, entry.gid), (kind, path)
                if isinstance(entry, Link):
                    assert seen["link"] == entry.target, (kind, path)
                else:
                    assert seen["mode"] == entry.mode, (kind, path)
                    assert seen["type"] == ("dir" if isinstance(entry, Dir) else "file"), (kind, path)
            assert guest.ask("xattrs /mnt/capable")["xattrs"]["security.capability"].encode(
                "latin-1") == tree["/capable"].xattrs["security.capability"]
            assert guest.run("/mnt/bin/suid", uid=7, gid=7) == "7 100000 7 100000\n"
            guest.run("/bin/umount", "/mnt")


def wait_for(guest: Guest, path: str) -> None:
    for _ in range(100):
        if "error" not in guest.ask("stat", path):
            return
        time.sleep(0.05)
    raise AssertionError(f"{path} never appeared")


@pytest.mark.parametrize("kind", ["erofs", "squashfs", "ext4", "cpio"])
def test_the_same_tree_gives_the_same_image(kind, root_tree, tmp_path):
    tree = root_tree()
    first = make_image(tree, kind, tmp_path / "first").read_bytes()
    time.sleep(1.1)  # a time of seconds that got in would differ
    assert first == make_image(tree, kind, tmp_path / "second").read_bytes()


def test_a_disk_can_come_late(kernel, programs, root_tree, image, boot):
    modules, order = kernel_modules(kernel.modules, VIRTIO_DISKS)
    initramfs = image(plain_initramfs(programs.probe, modules), "cpio")
    disk = image(root_tree(), "erofs")
    with boot(kernel, initramfs, qemu_args=SLOT) as guest:
        guest.run("/bin/mount", "-t", "devtmpfs", "dev", "/dev")
        for module in order:
            guest.run("/bin/insmod", module)
        assert guest.ask("stat /dev/vda") == {"error": "ENOENT"}
        plug(guest, disk)
        wait_for(guest, "/dev/vda")


def test_silence_is_a_failure(kernel, programs, image, boot):
    initramfs = image(plain_initramfs(programs.probe, {
        "/init": script("echo silent init; exec sleep 1000")}), "cpio")
    started = time.monotonic()
    with pytest.raises(GuestFailed, match="no report of the probe came") as failure:
        with boot(kernel, initramfs, timeout=12) as guest:
            started = time.monotonic()  # without the wait for another guest's end
            guest.report()
    assert 11 < time.monotonic() - started < 16
    assert "  | silent init" in str(failure.value)
    log = Path(re.search(r"\(console: (.*?)\)", str(failure.value))[1])
    assert "silent init" in log.read_text()


def test_a_probe_that_reports_is_no_failed_boot(kernel, plain, boot_fails):
    with pytest.raises(GuestFailed, match="the probe runs in a boot that is meant to fail"):
        boot_fails(kernel, plain)


def test_a_panic_ends_the_guest(kernel, programs, image, boot, boot_fails):
    initramfs = image(plain_initramfs(programs.probe, {"/init": script("exit 3")}), "cpio")
    console = boot_fails(kernel, initramfs)
    assert "Attempted to kill init! exitcode=0x00000300" in console
    with pytest.raises(GuestFailed, match="the guest has ended, and no report(.|\n)*kill init"):
        with boot(kernel, initramfs) as guest:
            guest.report()


def test_the_exit_of_the_real_init_is_a_panic(kernel, plain, boot):
    with boot(kernel, plain) as guest:
        guest.ask("exit 5")
        assert "exitcode=0x00000500" in guest.wait_exit()
        assert guest.console_log.exists()
    assert not guest.console_log.exists()


def test_a_wrong_qemu_argument_is_told(kernel, plain, boot):
    with pytest.raises(GuestFailed, match="QEMU: .*invalid option"):
        with boot(kernel, plain, qemu_args=["--no-such-option"]) as guest:
            guest.report()
