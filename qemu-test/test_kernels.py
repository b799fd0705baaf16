# SPDX-License-Identifier: MIT
"""Kernels beside those that all other tests boot: what users of Debian 13 have had from its backports,
Debian's plain ones, those with pages of 16 KiB, and all of another architecture. On each one table with
every kind of row, and a root that the kernel booted.

What Debian has thrown away meanwhile is skipped by name, and so is what it has not for this architecture.
"""

from __future__ import annotations

import json
import re
import subprocess

import pytest

import host
from arch import ARCHITECTURES, GUEST, USUAL
from common import INIT, MAPPED, OWN, OWNERS, owners, seen
from guest import Disk
from images import Dir, File

PLAIN = ["6.1-plain", "6.12-plain", "7.x-plain"]
PAGES_OF_16K = ["6.12-16k", "7.x-16k"] if "16k" in GUEST.flavours else []
OF_EVERY_MACHINE = [pytest.param(name, marks=pytest.mark.every_machine)
                    for name in [*([] if GUEST.is_usual else [*MAPPED, "newest"]), *PAGES_OF_16K]]
OTHERS = [*host.BACKPORTS, *OF_EVERY_MACHINE]

TABLE = """\
tmpfs        /         overlay  size=16m
/dev/vda     /         erofs    lower,idmap=100000:0:65536
/dev/vdb     /srv      ext4     rw,idmap=5000:0:10,identity
/images/data /mnt      erofs    idmap=5000:10:10
scratch      /opt      tmpfs    size=64k,MAP
/srv/deep    /home     bind     idmap=5000:40:1
"""
DATA = {"/": Dir(5000, 5000), "/file": File("data\n", 5007, 5007), "/deep": Dir(5000, 5000),
        "/deep/file": File("deep\n", 5000, 5000)}


def page_kb(guest):
    return int(re.search(r"^KernelPageSize: *(\d+) kB$", guest.ask("read /proc/self/smaps")["content"], re.M)[1])


@pytest.mark.every_kernel
@pytest.mark.parametrize("kernel", [*OTHERS, *PLAIN, OWN], indirect=True)
def test_every_kind_of_row(kernel, root_tree, image, initramfs, boot, ran):
    maps_tmpfs = kernel.name.partition("-")[0] != "6.1"  # since 6.3
    conf = TABLE.replace("MAP", "idmap=7000:0:1" if maps_tmpfs else "uid=0")
    tree = root_tree(command=True)
    initrd = initramfs(kernel, conf, modules="virtio_pci,virtio_blk,erofs,ext4,overlay,loop",
                       add=[(image(DATA, "erofs"), "/images/data")])
    disks = [Disk(image(tree, "erofs")), Disk(image(DATA, "ext4"), readonly=False, snapshot=True)]
    with boot(kernel, initrd, "", disks) as guest:
        report = guest.report()
        assert (report["kernel"], report["pid"], report["argv"]) == (kernel.version, 1, ["/sbin/init"])
        page = page_kb(guest)
        assert page == (16 if kernel.name in PAGES_OF_16K else 4)
        assert owners(guest) == OWNERS
        assert guest.run("/bin/suid", uid=1000, gid=1000) == "1000 0 1000 0\n"
        assert guest.ask("write /etc/new text") == {"written": 4}
        assert seen(guest, "/srv/file") == (7, 7) and seen(guest, "/mnt/file") == (17, 17)
        assert guest.ask("write /srv/new text") == {"written": 4} and seen(guest, "/srv/new") == (0, 0)
        assert seen(guest, "/opt") == (0, 0) and seen(guest, "/home/file") == (40, 40)
        shown = {mount["target"]: mount["map"] for mount in json.loads(guest.run("/bin/idmap", "show", "--json"))}
        assert shown.keys() == {"/srv", "/mnt", "/home", *(["/opt"] if maps_tmpfs else [])}
        assert shown["/mnt"] == {"uids": [[5000, 10, 10]], "gids": [[5000, 10, 10]]}
        assert not [m for m in guest.mounts() if ".idmap" in m.target]
    if kernel.name == "own":
        ran("a kernel of kernel.config alone", "6.12", "built from Debian's sources")
    else:
        ran(f"guests of {GUEST.name}", kernel.name.partition("-")[0], f"pages of {page} KiB")


@pytest.mark.every_kernel
@pytest.mark.parametrize("kernel", [*OTHERS, OWN], indirect=True)
def test_in_place(kernel, stage0, plain_tree, image, boot):
    """The root that the kernel booted is cloned, mapped and pivoted to, and a row goes into it."""
    conf = "/dev/root / auto idmap=100000:0:65536\n/dev/vdb /srv ext4 idmap=5000:0:10\n"
    initrd = stage0(kernel, modules=["ext4"])
    disks = [Disk(image(plain_tree(conf), "erofs")), Disk(image(DATA, "ext4"))]
    with boot(kernel, initrd, f"root=/dev/vda init={INIT}", disks) as guest:
        assert owners(guest) == OWNERS
        assert seen(guest, "/srv/file") == (7, 7)


@pytest.mark.every_machine
@pytest.mark.skipif(GUEST.is_usual, reason="for guests of another architecture than this machine's")
def test_program_for_this_machine(kernels, programs, tmp_path):
    """Packed with the guest's modules it would be "Failed to execute /init"."""
    done = subprocess.run([host.REPOSITORY / "init" / "mkinitramfs", "-o", tmp_path / "out",
                           "-i", programs.folder / "idmap-init", "-k", kernels("6.12").modules, "-m", "erofs"],
                          stderr=subprocess.PIPE, text=True)
    assert done.stderr == (
        f"mkinitramfs: {programs.folder}/idmap-init: a program for another machine ({ARCHITECTURES[USUAL].elf} in"
        f" ELF's numbers) than the modules ({GUEST.elf}); name the one that is built for them with -i\n")
    assert done.returncode == 1 and not (tmp_path / "out").exists()
