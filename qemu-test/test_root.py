# SPDX-License-Identifier: MIT
"""The main job: a guest boots from a read-only root whose owners are mapped.

The image's files belong to ids from 100000 up (images.busybox_root); what the guest sees of each
kind of owner is looked at from outside, through the probe that stands for the real init.
"""

from __future__ import annotations

import re

import pytest

import images
from common import MAPPED, NOBODY, OWNERS, last_words, log_lines, owners
from guest import Disk, parse_mountinfo
from images import File

# Each form, as (kernel command line, /etc/idmap.conf); FS stands for the filesystem.
FORMS = {
    "short form": ("root=/dev/vda rootfstype=FS ro idmap=100000:0:65536", None),
    "row on the command line": ("idmap=/dev/vda,/,FS,idmap=100000:0:65536", None),
    "row in the file": ("", "# SOURCE TARGET TYPE OPTIONS\n/dev/vda / FS ro,idmap=100000:0:65536\n"),
    "/dev/root in the file": ("root=/dev/vda rootfstype=FS ro",
                              "/dev/root\t/\tauto\tidmap=100000:0:65536\n"),
}


def fill(text, fs):
    return text and text.replace("FS", fs)


@pytest.mark.parametrize("form", [pytest.param(form, marks=[pytest.mark.every_kernel] * (form == "short form"))
                                  for form in FORMS])
@pytest.mark.parametrize("fs", ["erofs", "ext4"])
@pytest.mark.parametrize("kernel", MAPPED, indirect=True)
def test_root(kernel, fs, form, root_tree, image, initramfs, boot):
    append, conf = (fill(text, fs) for text in FORMS[form])
    with boot(kernel, initramfs(kernel, conf), append, [Disk(image(root_tree(), fs))]) as guest:
        report = guest.report()
        assert report["pid"] == 1
        assert report["argv"] == ["/sbin/init"]
        assert not [word for word in report["environ"] if word.startswith("idmap")]

        assert owners(guest) == OWNERS
        # A write is refused by the filesystem, not by the owner.
        assert guest.ask("open /etc/new wc") == {"error": "EROFS"}
        assert guest.ask("open /etc/hostname w") == {"error": "EROFS"}
        # Root reads what it is seen to own, and only that.
        assert guest.ask("read /owners/root-private")["content"] == "base+0, 0600\n"
        assert guest.ask("read /owners/outside-private") == {"error": "EACCES"}
        # A setuid program runs as its mapped owner; of an unmapped one the bit is ignored.
        assert guest.run("/bin/suid", uid=1000, gid=1000) == "1000 0 1000 0\n"
        assert guest.run("/bin/suid-user", uid=7, gid=7) == "7 1000 7 1000\n"
        assert guest.run("/bin/suid-outside", uid=7, gid=7) == "7 7 7 7\n"

        root = [m for m in parse_mountinfo(report["mountinfo"]) if m.target == "/"]
        assert [m.type for m in root] == [fs]
        assert "idmapped" in root[0].options and "ro" in root[0].options
        assert "ro" in root[0].super_options
        assert not [m for m in guest.mounts() if ".idmap" in m.target]

        # One line of the log a row, and the whole table.
        source = "/dev/vda"
        type_ = fs
        line = f"{source} / {type_} ro,idmap=100000:0:65536"
        rows = [text for text in log_lines(guest) if " in " in text]
        assert [re.sub(r"\d+ us$", "N us", text) for text in rows] == [
            f"idmap-init: {line} in N us"]
        table = guest.ask("read /run/idmap/table")["content"]
        assert re.fullmatch(rf"# mount \d+ \d+, \d+ us\n{re.escape(line)}\n# init=/sbin/init\n", table)


# name: (options, {file in /owners: what is seen})
MAPS = {
    "uids only": ("uidmap=100000:0:65536", {
        "root": (0, 100000), "user": (1000, 101000), "outside": (65534, 170000),
        "zero": (65534, 0), "mixed": (1000, 100000)}),
    "gids only": ("gidmap=100000:0:65536", {
        "root": (100000, 0), "user": (101000, 1000), "outside": (170000, 65534),
        "zero": (0, 65534), "mixed": (101000, 0)}),
    "three extents": ("idmap=100000:0:1,101000:500:1,165535:65535:1", {
        "root": (0, 0), "user": (500, 500), "last": (65535, 65535), "outside": NOBODY,
        "zero": NOBODY, "mixed": (500, 0), "dir": (500, 500)}),
    "identity": ("idmap=100000:0:1,identity", {
        "root": (0, 0), "user": (101000, 101000), "last": (165535, 165535),
        "outside": (170000, 170000), "zero": NOBODY, "mixed": (101000, 0)}),
    "uids and gids apart": ("idmap=u:100000:0:65536,g:100000:70000:1,g:101000:71000:1", {
        "root": (0, 70000), "user": (1000, 71000), "outside": NOBODY, "zero": NOBODY,
        "mixed": (1000, 70000), "last": (65535, 65534)}),
    "X-mount.idmap": (r"X-mount.idmap=u:100000:0:65536\040g:100000:0:65536,nosuid", {
        "root": (0, 0), "user": (1000, 1000), "outside": NOBODY}),
}


@pytest.mark.parametrize("name", MAPS)
def test_map(name, kernel, root_tree, image, initramfs, boot):
    options, expected = MAPS[name]
    tree = root_tree()
    # Whatever the map shows of it, the real init can be run.
    tree["/sbin/init"] = File(tree["/sbin/init"].content, uid=100000, gid=100000, mode=0o755)
    conf = f"/dev/vda / erofs {options}\n"
    with boot(kernel, initramfs(kernel, conf), "", [Disk(image(tree, "erofs"))]) as guest:
        seen = owners(guest)
        assert {file: seen[file] for file in expected} == expected


@pytest.mark.every_machine
@pytest.mark.parametrize("kernel", ["6.12", "7.x"], indirect=True)
def test_squashfs(kernel, root_tree, image, initramfs, boot):
    append = "root=/dev/vda rootfstype=squashfs idmap=100000:0:65536"
    with boot(kernel, initramfs(kernel), append, [Disk(image(root_tree(), "squashfs"))]) as guest:
        assert owners(guest) == OWNERS


def test_squashfs_before_6_2(kernel, root_tree, image, initramfs, boot_fails):
    append = "root=/dev/vda rootfstype=squashfs idmap=100000:0:65536 quiet"
    console = boot_fails(kernel, initramfs(kernel), append,
                         [Disk(image(root_tree(), "squashfs"))])
    assert last_words(console) == (
        "idmap-init: cmdline: idmap= #1: /dev/vda on /: squashfs can be idmapped since Linux 6.2,"
        f" and this is {kernel.version}; boot a newer kernel or use another filesystem",
        "0x00000500")


@pytest.mark.every_machine
@pytest.mark.parametrize("kernel", ["5.10"], indirect=True)
@pytest.mark.parametrize("fs", ["erofs", "ext4"])
def test_before_5_12(kernel, fs, root_tree, image, initramfs, boot_fails):
    append = f"root=/dev/vda rootfstype={fs} idmap=100000:0:65536 quiet"
    console = boot_fails(kernel, initramfs(kernel), append, [Disk(image(root_tree(), fs))])
    assert last_words(console) == (
        "idmap-init: cmdline: idmap= #1: /dev/vda on /: idmapped mounts need Linux 5.12 or newer,"
        f" and this is {kernel.version}; boot a newer kernel",
        "0x00000500")


@pytest.mark.every_kernel
@pytest.mark.parametrize("kernel", ["5.10", "6.1", "7.x"], indirect=True)
def test_without_a_map(kernel, root_tree, image, initramfs, boot):
    """root= alone boots as the kernel would, on kernels that know no idmapped mounts too."""
    append = "root=/dev/vda rootfstype=squashfs:erofs rootflags=noatime,user_xattr ro foo=bar -- a b"
    with boot(kernel, initramfs(kernel), append, [Disk(image(root_tree(), "erofs"))]) as guest:
        assert guest.report()["argv"] == ["/sbin/init", "a", "b"]
        assert "foo=bar" in guest.report()["environ"]
        seen = owners(guest)
        assert (seen["root"], seen["zero"]) == ((100000, 100000), (0, 0))
        root, = [m for m in guest.mounts() if m.target == "/"]
        assert "noatime" in root.options and "user_xattr" in root.super_options


@pytest.mark.parametrize("kernel", ["6.1", "7.x"], indirect=True)
def test_off(kernel, root_tree, image, initramfs, boot):
    """idmap=off wins over every other idmap= and over the file, whatever they hold."""
    append = "root=/dev/vda rootfstype=erofs idmap=1:2 idmap=off idmap=100000:0:65536"
    with boot(kernel, initramfs(kernel, "nonsense\n"), append,
              [Disk(image(root_tree(), "erofs"))]) as guest:
        assert owners(guest)["root"] == (100000, 100000)


@pytest.mark.parametrize("kernel", ["6.1", "7.x"], indirect=True)
def test_auto(kernel, root_tree, image, initramfs, boot):
    """Without a type the kernel's list is tried; ext2 and ext3 are not, they cannot be mapped."""
    append = "root=/dev/vda idmap=100000:0:65536"
    modules = "virtio_pci,virtio_blk,squashfs,erofs,ext4"
    with boot(kernel, initramfs(kernel, modules=modules), append,
              [Disk(image(root_tree(), "ext4"))]) as guest:
        assert [m.type for m in guest.mounts() if m.target == "/"] == ["ext4"]
        assert owners(guest) == OWNERS


@pytest.mark.parametrize("last", ['root="/dev/vda', 'idmap="100000:0:65536', 'init="/bin/probe', 'rootfstype="erofs'])
def test_quote_that_is_left_open(last, kernel, root_tree, image, initramfs, boot):
    """It goes on to the line's end, and not into the newline that /proc/cmdline ends with."""
    words = {word.partition("=")[0]: word for word in ("root=/dev/vda", "rootfstype=erofs", "idmap=100000:0:65536", last)}
    del words[last.partition("=")[0]]
    with boot(kernel, initramfs(kernel), " ".join([*words.values(), last]), [Disk(image(root_tree(), "erofs"))]) as guest:
        assert owners(guest) == OWNERS
        assert guest.report()["argv"][0] == ("/bin/probe" if "init" in last else "/sbin/init")


@pytest.mark.every_machine
def test_writable_root(kernel, root_tree, image, initramfs, boot):
    """What root writes through the map belongs, on disk, to the id that root is there."""
    append = "root=/dev/vda rootfstype=ext4 rw idmap=100000:0:65536"
    with boot(kernel, initramfs(kernel), append,
              [Disk(image(root_tree(), "ext4", size_mib=32), readonly=False, snapshot=True)]) as guest:
        assert guest.ask("write /etc/new text") == {"written": 4}
        assert (guest.ask("stat /etc/new")["uid"], guest.ask("stat /etc/new")["gid"]) == (0, 0)
        # An id outside the map cannot be stored.
        assert guest.ask("chown /etc/new 70000 0") == {"error": "EOVERFLOW"}


def stage_0(tmp_path, kernel, programs):
    """An initramfs whose /init loads drivers from a script and then becomes idmap-init: what a
    kernel with its drivers built in is to a build without CONFIG_MODULES."""
    drivers, order = images.kernel_modules(kernel.modules, ["virtio_pci", "virtio_blk", "erofs"])
    tree = {"/": images.Dir(), **images.busybox(), **drivers}
    for folder in ("/dev", "/proc", "/sys", "/run"):
        tree[folder] = images.Dir()
    lines = "".join(f"/bin/insmod {path}\n" for path in order)
    tree["/init"] = File(f"#!/bin/sh\n{lines}exec /idmap-init \"$@\"\n", mode=0o755)
    tree["/idmap-init"] = File(programs, mode=0o755)
    out = tmp_path / "stage0"
    images.make_image(tree, "cpio", out)
    return out


@pytest.mark.every_machine
@pytest.mark.parametrize("kernel", ["6.1", "7.x"], indirect=True)
def test_tiny(kernel, defconfig, root_tree, image, tmp_path, boot):
    append = "root=/dev/vda rootfstype=erofs ro idmap=100000:0:65536 -- word"
    with boot(kernel, stage_0(tmp_path, kernel, defconfig("tiny")), append,
              [Disk(image(root_tree(), "erofs"))]) as guest:
        assert guest.report()["argv"] == ["/sbin/init", "word"]
        assert owners(guest) == OWNERS
        assert guest.ask("read /run/idmap/table")["content"].endswith(
            "/dev/vda / erofs ro,idmap=100000:0:65536\n# init=/sbin/init\n")


@pytest.mark.every_machine
@pytest.mark.parametrize("kernel", ["6.1", "7.x"], indirect=True)
def test_full(kernel, defconfig, root_tree, image, initramfs, boot):
    append = "root=/dev/vda rootfstype=erofs ro idmap=100000:0:65536"
    with boot(kernel, initramfs(kernel, init=defconfig("full")), append,
              [Disk(image(root_tree(), "erofs"))]) as guest:
        assert owners(guest) == OWNERS
