# SPDX-License-Identifier: MIT
"""What a person can get wrong: one line with place, cause and remedy, the last before the kernel's
own; nothing half-done; the real init does not run. The exit code tells the class."""

from __future__ import annotations

import re

import pytest

from common import PRE, last_words, owners
from guest import Disk
from images import File

# name: (kernel command line, /etc/idmap.conf, the line, exit code)
CASES = {
    "no root at all": (
        "", None,
        "the root has no /sbin/init, /etc/init, /bin/init or /bin/sh that can be run; name it with"
        " init=, or another root with root= or a row for /", 7),
    "device that never comes": (
        "idmap=/dev/vdz,/,erofs,wait=1,100000:0:65536", None,
        "cmdline: idmap= #1: /dev/vdz on /: the device did not come within 1 s (disks here: vda);"
        " check its name, load its driver (mkinitramfs -m), or raise wait=", 3),
    "wrong type": (
        "root=/dev/vda rootfstype=ext4 idmap=100000:0:65536", None,
        "cmdline: idmap= #1: /dev/vda on /: ext4 does not mount (invalid argument; kernel: EXT4-fs"
        " (vda): VFS: Can't find ext4 filesystem); the device holds erofs: write that as TYPE", 4),
    "wrong types": (
        "root=/dev/vda rootfstype=squashfs:ext4 idmap=100000:0:65536", None,
        "cmdline: idmap= #1: /dev/vda on /: no type mounts (squashfs: Can't find a SQUASHFS"
        " superblock on vda, ext4: invalid argument); the device holds erofs: write that as TYPE", 4),
    "type of no kernel": (
        "root=/dev/vda rootfstype=nosuchfs", None,
        "cmdline: root=: /dev/vda on /: nosuchfs is no filesystem of this kernel (no such device);"
        " the device holds erofs: write that as TYPE", 4),
    "unknown option": (
        "root=/dev/vda rootfstype=erofs idmap=100000:0:65536,sugar=1", None,
        "cmdline: idmap= #1: /dev/vda on /: erofs does not take the option sugar=1 (invalid argument;"
        " kernel: erofs: Unknown parameter 'sugar'); see the filesystem's manual for the options it"
        " takes", 4),
    "no such target": (
        "", "/dev/vda / erofs idmap=100000:0:65536\nt /no/such tmpfs\n",
        "/etc/idmap.conf:2: t on /no/such: the target cannot be used in the new root (not there);"
        " make it in the image, or add X-mount.mkdir where that can be written", 6),
    "mkdir on read-only": (
        "", "/dev/vda / erofs idmap=100000:0:65536\nt /no/such tmpfs X-mount.mkdir\n",
        "/etc/idmap.conf:2: t on /no/such: the target cannot be used in the new root (read-only);"
        " make it in the image, what holds it is read-only", 6),
    "folder on a file": (
        "", "/dev/vda / erofs idmap=100000:0:65536\nt /etc/hostname tmpfs\n",
        "/etc/idmap.conf:2: t on /etc/hostname: the target cannot be used in the new root"
        " (invalid argument); a folder goes on a folder and a file on a file", 6),
    "no such source": (
        "", "/dev/vda / erofs idmap=100000:0:65536\n/no/such /srv bind\n",
        "/etc/idmap.conf:2: /no/such on /srv: /no/such in the new root cannot be cloned (not there);"
        " a bind's SOURCE is a path in the new root", 3),
    "init that is not there": (
        "root=/dev/vda rootfstype=erofs idmap=100000:0:65536 init=/no/such", None,
        "cmdline: init=/no/such: it cannot be run in the new root (not there); name a program of the"
        " new root, links and all", 7),
    "conf that is not there": (
        "idmap.conf=/no/such", None,
        "/no/such cannot be read (not there); put it into the initramfs (mkinitramfs -c) or correct"
        " idmap.conf=", 2),
}


@pytest.mark.parametrize("kernel", ["6.1", "7.x"], indirect=True)
@pytest.mark.parametrize("name", CASES)
def test_line(name, kernel, root_tree, image, initramfs, boot_fails):
    append, conf, line, code = CASES[name]
    console = boot_fails(kernel, initramfs(kernel, conf), f"quiet {append}",
                         [Disk(image(root_tree(), "erofs"))])
    assert last_words(console) == (PRE + line, f"0x{code << 8:08x}")


def test_unmapped_init(kernel, root_tree, image, initramfs, boot_fails):
    """A reversed map makes all of / nobody's; an init of mode 0700 then cannot be run."""
    tree = root_tree()
    for path in ("/sbin/init", "/bin/sh", "/bin/busybox"):
        if isinstance(tree[path], File):
            tree[path] = File(tree[path].content, 100000, 100000, 0o700)
    append = "root=/dev/vda rootfstype=erofs idmap=0:100000:65536 quiet"
    console = boot_fails(kernel, initramfs(kernel), append, [Disk(image(tree, "erofs"))])
    assert last_words(console) == (
        PRE + "the root has no /sbin/init, /etc/init, /bin/init or /bin/sh that can be run; name it"
        " with init=, check that the map covers its owner", "0x00000700")
    assert PRE + "/sbin/init of the new root is passed over (permission denied)" in console


def test_every_error_is_told(kernel, root_tree, image, initramfs, boot_fails):
    """All errors of a table, each with its place, before anything is mounted."""
    conf = ("/dev/vda / erofs idmap=100000:0:65536,5:7\n"
            "/dev/vdb srv erofs\n"
            "/dev/vdc /c\n"
            "x /t tmpfs wait=ever,idmap=0:0:10,5:100:1\n")
    console = boot_fails(kernel, initramfs(kernel, conf), "quiet",
                         [Disk(image(root_tree(), "erofs"))])
    lines = [line.partition("] ")[2] for line in console.splitlines() if PRE in line]
    assert lines == [PRE + "/etc/idmap.conf:" + line for line in [
        "1:39: '5:7' is no extent of three numbers; write DISK:SEEN:COUNT",
        "2:10: TARGET 'srv' is no absolute path; begin it with /, or write the field that is missing: SOURCE TARGET"
        " TYPE [OPTIONS]",
        "3:12: the row ends too soon; write SOURCE TARGET TYPE [OPTIONS]",
        "4:17: 'wait=ever' is no time to wait; write whole seconds, at most 86400",
        "4:35: extents 0:0:10 and 5:100:1 overlap on the disk side for uids and gids (id 5);"
        " let each id stand in one extent only",
    ]]
    assert last_words(console)[1] == "0x00000200"


def extents(count, start=100000):
    """So many extents that nothing merges."""
    return ",".join(f"{start + 2 * i}:{2 * i}:1" for i in range(count))


def extents_of_size(size):
    """Extents whose text for uid_map, a line of three numbers each, has so many bytes."""
    lines = ["100000 0 1\n"]
    while (left := size - sum(map(len, lines))) >= 24:
        number = 200000 + 2 * len(lines)
        lines.append(f"{number} {number} 1\n")
    digits = left - len("  1\n")
    disk, seen = "3" * (digits // 2), "3" * (digits - digits // 2)
    lines.append(f"{disk} {seen} 1\n")
    assert len("".join(lines)) == size
    return ",".join(line.strip().replace(" ", ":") for line in lines)


@pytest.mark.every_machine
@pytest.mark.parametrize("kernel", ["6.1", "7.x"], indirect=True)
def test_most_extents(kernel, root_tree, image, initramfs, boot):
    """340 extents of uids, 4,095 bytes of text for gids: both limits of the kernel at once."""
    uidmap = "100000:0:1," + ",".join(f"{i}:{i}:1" for i in range(2, 680, 2))
    assert uidmap.count(",") == 339
    conf = f"/dev/vda / erofs uidmap={uidmap},gidmap={extents_of_size(4095)}\n"
    tree = root_tree()
    tree["/owners/far"] = File("x", 678, 200002)
    with boot(kernel, initramfs(kernel, conf), "", [Disk(image(tree, "erofs"))]) as guest:
        seen = owners(guest)
        assert seen["root"] == (0, 0)
        assert seen["far"] == (678, 200002)
        assert seen["user"] == (65534, 65534)
        # A long map is cut in the log and whole in the table.
        line, = [r["text"] for r in guest.kmsg(programs=True) if "idmap-init: /dev/vda" in r["text"]]
        assert len(line) < 300 and "... in " in line
        extent = r"\d+:\d+:1"
        row = guest.ask("read /run/idmap/table")["content"].splitlines()[1]
        uids, gids = re.fullmatch(f"/dev/vda / erofs ro,uidmap=({extent}(?:,{extent})*),"
                                  f"gidmap=({extent}(?:,{extent})*)", row).groups()
        assert set(uids.split(",")) == set(uidmap.split(","))
        assert set(gids.split(",")) == set(extents_of_size(4095).split(","))


@pytest.mark.parametrize("name,extent_list,line", [
    ("341 extents", extents(341),
     "1:18: the map has 341 extents, 1 more than the kernel's limit of 340; map wider ranges"),
    ("a page of text", extents_of_size(4096),
     "1:18: the map is 4096 bytes as text, 1 more than the kernel's limit of 4095; map wider"
     " ranges"),
])
def test_too_much(name, extent_list, line, kernel, root_tree, image, initramfs, boot_fails):
    """Never reaches the kernel: with no user namespace allowed it would fail otherwise."""
    conf = f"/dev/vda / erofs idmap={extent_list}\n"
    console = boot_fails(kernel, initramfs(kernel, conf),
                         "quiet sysctl.user.max_user_namespaces=0",
                         [Disk(image(root_tree(), "erofs"))])
    lines = [text.partition("] ")[2] for text in console.splitlines() if PRE in text]
    assert lines == [PRE + "/etc/idmap.conf:" + line]
    assert last_words(console)[1] == "0x00000200"


def test_no_user_namespaces(kernel, root_tree, image, initramfs, boot_fails):
    console = boot_fails(kernel, initramfs(kernel),
                         "quiet root=/dev/vda rootfstype=erofs idmap=100000:0:65536"
                         " sysctl.user.max_user_namespaces=0", [Disk(image(root_tree(), "erofs"))])
    assert last_words(console) == (
        PRE + "cmdline: idmap= #1: /dev/vda on /: no user namespace for a map (no room left); raise"
        " sysctl.user.max_user_namespaces= on the kernel command line, or take it out",
        "0x00000500")
