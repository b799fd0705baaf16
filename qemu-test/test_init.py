# SPDX-License-Identifier: MIT
"""Which program becomes the real init, where rows land, and what follows a failure."""

from __future__ import annotations

import pytest

from arch import GUEST
from common import PRE, last_words, log_lines, options, seen
from guest import Disk
from images import Dir, File, Link

KERNELS = ["6.1", "7.x"]
OWN = (100000, 100000)
APPEND = "root=/dev/vda rootfstype=erofs ro idmap=100000:0:65536"


@pytest.mark.parametrize("kernel", KERNELS, indirect=True)
@pytest.mark.parametrize("init", ["/etc/absolute", "/etc/relative", "/etc/chain", "/etc/script"])
def test_named(init, kernel, root_tree, image, initramfs, boot):
    """Links are the new root's, absolute ones too; a script runs by its interpreter's link."""
    tree = root_tree()
    tree["/etc/absolute"] = Link("/bin/probe", *OWN)
    tree["/etc/relative"] = Link("../bin/probe", *OWN)
    tree["/etc/chain"] = Link("/etc/folder/relative", *OWN)
    tree["/etc/folder"] = Link("../etc", *OWN)
    tree["/etc/script"] = File("#! /bin/interpreter word\n", *OWN, 0o755)
    tree["/bin/interpreter"] = Link("/bin/../bin/probe", *OWN)
    with boot(kernel, initramfs(kernel), f"{APPEND} init={init} one -- two",
              [Disk(image(tree, "erofs"))]) as guest:
        argv = guest.report()["argv"]
        if init == "/etc/script":
            assert argv == ["/bin/interpreter", "word", init, "one", "two"]
        else:
            assert argv == [init, "one", "two"]


# What is wrong with init=/etc/x: (the file, the cause, the remedy).
RUN = "name a program of the new root"
WRONG = {
    "a folder": (Dir(*OWN), "a folder", RUN),
    "not executable": (File("#!/bin/sh\n", *OWN, 0o644), "permission denied",
                       "check its mode, noexec, and that the map covers its owner"),
    "no format": (File("echo hello\n", *OWN, 0o755), "not a format that can be run",
                  "name a program for this machine, or a script that begins with #!"),
    "no interpreter": (File("#!/no/such -x\n", *OWN, 0o755), "/no/such, its interpreter: not there",
                       RUN + ", links and all"),
    "dangling": (Link("/no/such", *OWN), "not there", RUN + ", links and all"),
    "a circle": (Link("x", *OWN), "too many symbolic links", RUN),
}


@pytest.mark.parametrize("name", WRONG)
def test_named_wrong(name, kernel, root_tree, image, initramfs, boot_fails):
    """init= that fails is a failure, never a fallback."""
    entry, cause, remedy = WRONG[name]
    tree = root_tree()
    tree["/etc/x"] = entry
    console = boot_fails(kernel, initramfs(kernel), f"quiet {APPEND} init=/etc/x",
                         [Disk(image(tree, "erofs"))])
    assert last_words(console) == (
        PRE + f"cmdline: init=/etc/x: it cannot be run in the new root ({cause}); {remedy}",
        "0x00000700")


def elf_with_loader(path):
    """A dynamically linked program: 64-bit headers with a PT_INTERP, enough to be looked at."""
    import struct

    header = struct.pack("<16sHHIQQQIHHHHHH", b"\x7fELF\2\1\1", 2, GUEST.elf, 1, 0x400000, 64, 0, 0, 64, 56,
                         1, 0, 0, 0)
    name = path.encode() + b"\0"
    return header + struct.pack("<IIQQQQQQ", 3, 4, 120, 0, 0, len(name), len(name), 1) + name + \
        bytes(64)


@pytest.mark.parametrize("kernel", KERNELS, indirect=True)
def test_usual(kernel, root_tree, image, initramfs, boot):
    """The kernel's list: what is there and cannot be run is told, under quiet too, and the next is
    tried."""
    tree = root_tree()
    tree["/sbin/init"] = File(elf_with_loader("/lib/ld-none.so"), *OWN, 0o755)
    tree["/etc/init"] = File("no script\n", *OWN, 0o755)
    tree["/bin/init"] = File("#!/bin/gone\n", *OWN, 0o755)
    del tree["/bin/sh"]
    tree["/bin/sh"] = Link("probe", *OWN)
    with boot(kernel, initramfs(kernel), APPEND + " quiet", [Disk(image(tree, "erofs"))]) as guest:
        assert guest.report()["argv"] == ["/bin/sh"]
        for line in ("/sbin/init of the new root is passed over (/lib/ld-none.so, its interpreter:"
                     " not there)",
                     "/etc/init of the new root is passed over (not a format that can be run)",
                     "/bin/init of the new root is passed over (/bin/gone, its interpreter: not"
                     " there)"):
            assert PRE + line in guest.console()


@pytest.mark.parametrize("kernel", KERNELS, indirect=True)
def test_targets_in_what_comes_along(kernel, root_tree, second, image, initramfs, boot):
    """Targets under /run and /dev, and behind a link such as /var/run, land where the real init
    sees them."""
    tree = root_tree()
    tree["/var/run"] = Link("/run", *OWN)
    conf = ("/dev/vda / erofs idmap=100000:0:65536\n"
            "/dev/vdb /var/run/data erofs idmap=5000:0:10,X-mount.mkdir\n"
            "shm /dev/shm tmpfs X-mount.mkdir,size=1m\n"
            "/images/app /run/app bind idmap=100000:5:1,X-mount.mkdir\n")
    with boot(kernel, initramfs(kernel, conf), "", [Disk(image(tree, "erofs")),
                                                    Disk(second())]) as guest:
        assert seen(guest, "/run/data/file") == (7, 7)
        assert seen(guest, "/run/app/run") == (5, 5)
        assert options(guest, "/dev/shm")[0] == "tmpfs"
        assert [fd["target"] for fd in guest.report()["fds"]] == ["/dev/console"] * 3
        assert [m.target for m in guest.mounts()].count("/run") == 1
        assert guest.ask("read /run/idmap/table")["content"].count("\n") == 9  # the last one is the real init


@pytest.mark.parametrize("row, file", [
    ("/etc/kernel /srv bind", "/srv/ostype"),
    ("/proc/sys/kernel /srv bind", "/srv/ostype"),
    ("/etc/kernel/ostype /etc/hostname bind", "/etc/hostname"),
    ("/ /mnt rbind", "/mnt/proc/sys/kernel/ostype"),
    ("/ /srv bind X-mount.subdir=proc/sys", "/srv/kernel/ostype"),
], ids=["link", "path", "file", "rbind", "subdir"])
def test_sources_in_what_comes_along(row, file, kernel, root_tree, image, initramfs, boot):
    """What comes along can be shown once more, each time by the only row that asks for it."""
    tree = root_tree()
    tree["/etc/kernel"] = Link("/proc/sys/kernel", *OWN)
    conf = f"/dev/vda / erofs idmap=100000:0:65536\n{row}\n"
    with boot(kernel, initramfs(kernel, conf), "", [Disk(image(tree, "erofs"))]) as guest:
        assert guest.ask("read", file)["content"] == "Linux\n"
        assert [m.target for m in guest.mounts()].count("/proc") == 1


@pytest.mark.parametrize("kernel", ["6.1", "7.x"], indirect=True)
def test_tmpfs_on_a_link_to_run(kernel, root_tree, image, initramfs, boot):
    """A target that is a link to /run covers what came along there, as it would later on."""
    tree = root_tree()
    tree["/var/run"] = Link("/run", *OWN)
    conf = "/dev/vda / erofs idmap=100000:0:65536\nown /var/run tmpfs size=64k\n"
    with boot(kernel, initramfs(kernel, conf), "", [Disk(image(tree, "erofs"))]) as guest:
        ours, = [m for m in guest.mounts() if "size=64k" in m.super_options]
        carried, = [m for m in guest.mounts() if m.target == "/run" and m != ours]
        assert (ours.target, ours.parent) == ("/run", carried.id)


@pytest.mark.parametrize("kernel", ["6.1", "7.x"], indirect=True)
def test_run_is_a_link(kernel, root_tree, image, initramfs, boot):
    """The other way round: a row stands on what came along where the image has /run elsewhere."""
    tree = root_tree()
    del tree["/run"]
    tree["/run"] = Link("/var/run", *OWN)
    tree["/var"] = Dir(*OWN)
    tree["/var/run"] = Dir(*OWN)
    conf = "/dev/vda / erofs idmap=100000:0:65536\nown /var/run tmpfs size=64k\n"
    with boot(kernel, initramfs(kernel, conf), "", [Disk(image(tree, "erofs"))]) as guest:
        ours, = [m for m in guest.mounts() if "size=64k" in m.super_options]
        carried, = [m for m in guest.mounts() if m.target == "/var/run" and m != ours]
        assert (ours.target, ours.parent) == ("/var/run", carried.id)


def test_skipping_is_not_the_next_ones_time(kernel, root_tree, image, initramfs, boot):
    conf = ("/dev/vda / erofs idmap=100000:0:65536\n/dev/vdx /mnt erofs nofail,wait=2\n"
            "/images/app /opt/app bind\n")
    with boot(kernel, initramfs(kernel, conf), "", [Disk(image(root_tree(), "erofs"))]) as guest:
        table = guest.ask("read /run/idmap/table")["content"].splitlines()
        assert table[3].startswith("/images/app /opt/app ")
        assert int(table[2].split()[-2]) < 1000000  # "# mount …, … us"


@pytest.mark.parametrize("kernel", ["5.10", "6.1", "7.x"], indirect=True)
def test_rw_falls_back(kernel, root_tree, image, initramfs, boot):
    """rw on a disk that cannot be written: ro, and a line says so. The kernel does the same."""
    append = "root=/dev/vda rootfstype=squashfs:ext4 rw"
    with boot(kernel, initramfs(kernel), append, [Disk(image(root_tree(), "ext4"))]) as guest:
        assert PRE + "/dev/vda is read-only, so it is ro on /, and not rw" in log_lines(guest)
        mount, = [m for m in guest.mounts() if m.target == "/"]
        assert "ro" in mount.options and "ro" in mount.super_options


@pytest.mark.every_machine
@pytest.mark.parametrize("policy,words", [("reboot", "reboot: Restarting system"),
                                          ("poweroff", "reboot: Power down")])
def test_onfail(policy, words, kernel, initramfs, boot_fails):
    console = boot_fails(kernel, initramfs(kernel), f"quiet loglevel=6 idmap.onfail={policy}"
                         " root=/dev/vda idmap=1:2")
    lines = [line.partition("] ")[2] for line in console.splitlines()]
    ours, = [i for i, line in enumerate(lines) if line.startswith(PRE)]
    assert lines[ours] == (PRE + "cmdline: idmap= #1, column 1: '1:2' is no extent of three numbers;"
                           " write DISK:SEEN:COUNT")
    assert any(words in line for line in lines[ours:])
    assert "panic" not in console.split(PRE)[1]


def test_onfail_shell_without_one(kernel, initramfs, boot_fails):
    console = boot_fails(kernel, initramfs(kernel), "quiet idmap.onfail=shell idmap=1:2")
    assert last_words(console)[1] == "0x00000200"


def test_onfail_wrong(kernel, initramfs, boot_fails):
    console = boot_fails(kernel, initramfs(kernel), "quiet idmap.onfail=explode")
    assert last_words(console) == (
        PRE + "cmdline: idmap.onfail=: it is none of panic, reboot, poweroff, shell, halt; write one of"
        " them", "0x00000200")


def test_panic_of_the_kernel(kernel, initramfs, boot):
    """panic=0 keeps the machine standing, as the kernel's own word says."""
    with boot(kernel, initramfs(kernel), "quiet panic=0 idmap=1:2", timeout=20) as guest:
        import time

        deadline = time.monotonic() + 20
        while "end Kernel panic" not in guest.console() and time.monotonic() < deadline:
            time.sleep(0.2)
        assert "end Kernel panic" in guest.console()
        time.sleep(1)
        assert guest._qemu.poll() is None
