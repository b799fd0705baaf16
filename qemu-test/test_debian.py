# SPDX-License-Identifier: MIT
"""A whole Debian on trees owned from 100000 on, each against the same without any map: what systemd makes
of it, who owns what, who may do what, and what a poweroff leaves. `make check-systems`."""

from __future__ import annotations

import base64
import dataclasses
import gzip
import os
import re
import shutil
import subprocess

import pytest

import debian
import host
from common import of_x86_64
from guest import Disk, Guest
from images import Dir, debugfs

pytestmark = [of_x86_64("the whole systems are installed for x86-64"),
              pytest.mark.systems]

PACKAGES = ["systemd-sysv", "udev", "dbus", "libpam-systemd", "openssh-server", "cron", "sudo", "acl",
            "libcap2-bin", "iproute2", "procps"]
OPENRC = ["sysvinit-core", "openrc", "udev", "openssh-server", "cron", "sudo", "acl",
          "libcap2-bin", "procps", "busybox"]
BASE = 100000
MAP = f"idmap={BASE}:0:65536"
HOOKS = host.REPOSITORY / "hooks"
MODULES = "virtio_pci,virtio_blk,erofs,ext4,overlay"

# name: the kernel, what kind of image / is, the rows, which further disks are written to.
GUESTS = {
    "read-only": ("6.1", "erofs", "/dev/vda / erofs {map}\ntmpfs /var overlay\n/var /var bind lower\n", []),
    "tmpfs": ("6.12", "erofs", "tmpfs / overlay {map}\n/dev/vda / erofs lower\n"
              "/dev/vdb /home ext4 rw,nosuid,nodev,{map}\n", ["home"]),
    "upper": ("newest", "erofs", "upper / overlay\n/dev/vda / erofs lower,{map}\n/dev/vdb / ext4 upper\n", ["upper"]),
    "ext4": ("6.12", "ext4", "/dev/vda / ext4 rw,{map}\n", []),
}


WAYS = {"read-only": "read-only", "tmpfs": "below a tmpfs", "upper": "below a disk", "ext4": "writable"}


@dataclasses.dataclass
class State:
    """What is compared."""

    running: str
    failed: str
    warnings: set[str]
    owners: list[str]
    rights: list[str]


def text(guest: Guest, command: str, timeout: float = 120) -> str:
    """What the command prints, however much that is."""
    guest.ask("run", "0", "0", "/bin/sh", "-c", f"({command}) 2>&1 | gzip | base64 -w 0 >/run/text", timeout=timeout)
    pieces = []
    while piece := guest.run("/bin/dd", "if=/run/text", "bs=60000", "count=1", f"skip={len(pieces)}", "status=none"):
        pieces.append(piece)
    return gzip.decompress(base64.b64decode("".join(pieces))).decode(errors="replace")


RIGHTS = r"""
su user -c 'id -u; cat /srv/acl'; su other -c 'cat /srv/acl'
su user -c 'sudo -n id -u'; su other -c 'sudo -n id -u 2>&1 | tail -n 1'
su other -c 'cat /etc/shadow'; su other -c 'cat-all /etc/shadow | grep -c ^root:'
getcap -n /usr/local/bin/cat-all; getfacl -np /srv/acl
su user -c 'touch ~/new && stat -c %u:%g ~/new'; stat -c '%u:%g %a' / /root /home/user /usr/bin/sudo /var/lib
"""
# Some names are others in each boot; lost+found is mkfs', who gives it to 0 on disk.
OWNERS = r"""find / \( -path /proc -o -path /sys -o -path /dev -o -path /run -o -name lost+found \) -prune -o -printf '%M %U:%G %p\n' |
sed -E 's/systemd-private-[^/]*-([a-z.]*)-[A-Za-z0-9]*/systemd-private-\1/; s/[0-9a-f]{32}/ID/' | sort -u"""


def state(guest: Guest, openrc: bool = False) -> State:
    if openrc:
        running, warnings = re.sub(r"[0-9]{2}:[0-9]{2}:[0-9]{2}", "", text(guest, "rc-status sysinit; rc-status default")), ""
        failed = text(guest, "rc-status --crashed")
    else:
        running = text(guest, "systemctl is-system-running --wait", 300).strip()
        failed = text(guest, "systemctl --failed --plain --no-legend")
        warnings = text(guest, "journalctl -b -p warning -o cat --no-pager _TRANSPORT=journal + _TRANSPORT=stdout"
                        " + _TRANSPORT=syslog")
    return State(running, failed, {re.sub(r"[0-9]+", "N", line) for line in warnings.splitlines()},
                 text(guest, OWNERS).splitlines(), text(guest, RIGHTS).splitlines())


@pytest.fixture(scope="session")
def trees(programs, tmp_path_factory):
    """trees(packages, base): the folder of a Debian that is owned from there on."""
    if os.getuid():
        pytest.skip("only root can make trees with others' owners")
    folder, made = tmp_path_factory.mktemp("debian"), {}

    def make(packages, base):
        if (packages[0], base) not in made:
            try:
                tar = debian.root_tar("trixie", *packages)
            except host.PeerMissing as missing:
                pytest.skip(f"no Debian: {missing}")
            files = {"/usr/local/sbin/probe": programs.probe, "/etc/init.d/idmap": HOOKS / "openrc/idmap",
                     "/usr/lib/systemd/system-shutdown/idmap": HOOKS / "systemd-shutdown/idmap"}
            made[packages[0], base] = debian.make_tree(tar, files, base, folder / f"{packages[0]}-{base}")
        return made[packages[0], base]
    yield make
    shutil.rmtree(folder)


@pytest.fixture
def disks(trees, image, tmp_path):
    def make(name, base, packages=PACKAGES):
        _, kind, _, others = GUESTS[name]
        root = debian.make_image(trees(packages, base), kind, base, tmp_path / f"root-{base}")
        made = [Disk(root, readonly=kind == "erofs")]
        for other in others:
            tree = {"/": Dir()}
            if other == "home":
                tree = {"/": Dir(base, base), **{f"/{name}": Dir(base + uid, base + uid, 0o700)
                                                 for name, uid in (("user", 1000), ("other", 1001))}}
            path = tmp_path / f"{other}-{base}"
            shutil.copy(image(tree, "ext4", size_mib=256), path)
            made.append(Disk(path, readonly=False))
        return made
    return make


@pytest.fixture
def start(kernels, initramfs, disks, boot):
    """start(name, base, disks): that guest, mapped unless its images are owned from 0 on."""
    def begin(name, base, disks):
        kernel, _, rows, _ = GUESTS[name]
        rows = rows.format(map=MAP) if base else re.sub(r"[ ,]{map}", "", rows)
        return boot(kernels(kernel), initramfs(kernels(kernel), rows, modules=MODULES), "quiet", disks,
                    memory=1024, timeout=300)
    return begin


def power_off(guest, disks, *program):
    """As a person does; whether all that is written to is clean."""
    guest.ask("run", "0", "0", *(program or ("/bin/systemctl", "poweroff", "--no-block")))
    guest.wait_exit(180)
    return not [disk.path for disk in disks if not disk.readonly and
                ("needs_recovery" in debugfs(disk.path, "features") or
                 subprocess.run(["/sbin/e2fsck", "-fn", disk.path], stdout=subprocess.DEVNULL).returncode)]


@pytest.mark.parametrize("name", GUESTS)
def test_debian(name, start, disks, ran):
    found = []
    for base in (0, BASE):
        made = disks(name, base)
        with start(name, base, made) as guest:
            found.append(state(guest))
            assert power_off(guest, made)
    control, mapped = found
    assert (mapped.running, mapped.failed) == (control.running, control.failed)
    assert mapped.warnings <= control.warnings
    assert mapped.owners == control.owners and mapped.rights == control.rights
    assert mapped.rights[:2] == ["1000", "for user"] and {"0", "1"} <= set(mapped.rights)
    if name == "upper":  # the last one's disk, once more
        with start(name, BASE, made) as guest:
            assert guest.run("/bin/stat", "-c", "%u:%g", "/home/user/new") == "1000:1000\n"
            assert state(guest).failed == mapped.failed
            assert power_off(guest, made)
    ran("Debian 13 with systemd", GUESTS[name][0], f"/ {WAYS[name]}")


# Ways to remount /, by idmap-init(8), and whether they can do it where that is mapped.
REMOUNTS = {"mount -n -o remount,ro": False, "busybox mount -o remount,ro": False,
            "mount --options-mode ignore -o remount,ro": True, "mount -n -o remount,ro dummydev": True,
            "busybox mount -o remount,ro none": True, "busybox umount -r": True}


def test_openrc(start, disks, ran):
    found = []
    for base in (0, BASE):
        made = disks("ext4", base, OPENRC)
        with start("ext4", base, made) as guest:
            found.append(state(guest, openrc=True))
            for remount, can in REMOUNTS.items():
                done = guest.ask("run", "0", "0", "/bin/sh", "-c", f"{remount} /")
                assert (done["exit"] == 0) == (can or not base), done
                guest.run("/bin/mount", "-o", "remount,rw", "dummydev", "/")
            assert power_off(guest, made, "/sbin/poweroff")
    control, mapped = found
    assert dataclasses.replace(mapped, running="") == dataclasses.replace(control, running="")
    assert set(mapped.running.splitlines()) == set(control.running.splitlines())
    ran("Debian 13 with OpenRC", "6.12", "/ writable")


@pytest.mark.parametrize("script", [True, False])
def test_openrc_without_sysvinits_script(script, start, disks):
    """As where OpenRC stands alone, whose own service cannot do it."""
    made = disks("ext4", BASE, OPENRC)
    with start("ext4", BASE, made) as guest:
        guest.run("/bin/sh", "-c", "for name in umountroot umountfs; do echo '#!/bin/sh' >/etc/init.d/$name; done")
        if script:
            guest.run("/bin/ln", "-s", "/etc/init.d/idmap", "/etc/runlevels/shutdown/")
        assert power_off(guest, made, "/sbin/poweroff") == script


def test_debian_without_the_script(start, disks):
    """What systemd alone leaves of a mapped root that is written to."""
    made = disks("ext4", BASE)
    with start("ext4", BASE, made) as guest:
        guest.run("/bin/rm", "/usr/lib/systemd/system-shutdown/idmap")
        assert not power_off(guest, made)
