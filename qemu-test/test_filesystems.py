# SPDX-License-Identifier: MIT
"""Which filesystem can be mapped on which kernel, and the exact line that says why not.

The table in README.md is what these boots showed last, and each of them compares. `make
support-table` boots them all and writes it anew.
"""

from __future__ import annotations

import os
import re
from pathlib import Path

import pytest

import support
from common import ROOT, last_words, log_lines, options, seen
from guest import Disk, GuestFailed
from host import BACKPORTS, KERNELS, REPOSITORY
from images import Dir, File
from support import FILESYSTEMS, MAPPED

TREE = {"/": Dir(20000, 20000), "/file": File("data\n", 20007, 20008), "/zero": File("0\n", 0, 0)}

WRITING = "SUPPORT_TABLE" in os.environ
TABLE = support.read_readme()
# Each by itself, where the table has it that it is refused or is to be written anew; the others share a boot.
ALONE = [(name, version) for name in FILESYSTEMS for version in (KERNELS if WRITING else [*KERNELS, *BACKPORTS])
         if WRITING or TABLE.get((name, version)) != MAPPED]


def check_mapped(guest, name, filesystem, device="/dev/vdb", folder="/srv"):
    """Owners, flags and the words of the log and of /run/idmap/table."""
    type_, flags = options(guest, folder)
    assert type_ == name
    assert flags >= {"rw" if name == "tmpfs" else "ro", "nosuid", "nodev", filesystem.flag}
    if filesystem.image != "":
        assert seen(guest, f"{folder}/file") == (7, 8)
        assert guest.ask(f"read {folder}/file")["content"] == "data\n"
        assert guest.ask(f"open {folder}/new wc") == {"error": "EROFS"}
    else:
        assert seen(guest, folder) == (0, 0)
        assert guest.ask(f"write {folder}/file x") == {"written": 1}
        assert guest.ask(f"chown {folder}/file 9999 8") == {"ok": True}
        assert seen(guest, f"{folder}/file") == (9999, 8)
        assert guest.ask(f"chown {folder}/file 10000 8") == {"error": "EOVERFLOW"}
    if filesystem.image != "" and filesystem.outside:
        assert seen(guest, f"{folder}/zero") == (65534, 65534)
    row = " ".join(rows(name, filesystem, device, folder).split()[:3])
    assert f"\n{row} " in guest.ask("read /run/idmap/table")["content"]
    assert [line for line in log_lines(guest) if f": {row} " in line]


def rows(name, filesystem, device="/dev/vdb", folder="/srv"):
    text = f"{filesystem.row.replace('TYPE', name)}\n{filesystem.more}"
    return text.replace("/dev/vdb ", f"{device} ").replace(" /srv ", f" {folder} ")


def module(name, filesystem):
    return name if filesystem.module is None else filesystem.module


def note(name, version, found):
    """It is what the table says, or is kept for a new one."""
    if WRITING:
        support.save(Path(os.environ["SUPPORT_TABLE"]), name, version, found)
    else:
        assert found == TABLE.get((name, version))


def mapped_on(version, plain):
    return {name: filesystem for name, filesystem in FILESYSTEMS.items()
            if filesystem.plain == plain and (WRITING or TABLE.get((name, version)) == MAPPED)}


@pytest.mark.parametrize("name,version", ALONE)
def test_support(name, version, kernels, root_tree, image, initramfs, boot):
    filesystem = FILESYSTEMS[name]
    kernel = kernels(version + ("-plain" if filesystem.plain else ""))
    # The root has no map, so that a refusal is this row's.
    conf = f"/dev/vda / erofs\n{rows(name, filesystem)}"
    modules = ["virtio_pci,virtio_blk,erofs", module(name, filesystem)]
    disks = [Disk(image(root_tree(), "erofs"))]
    if filesystem.image != "":
        disks.append(Disk(image(TREE, filesystem.image or name)))
    with boot(kernel, initramfs(kernel, conf, modules=",".join(filter(None, modules))), "quiet",
              disks) as guest:
        try:
            guest.report()
        except GuestFailed as failure:
            if "the guest has ended" not in str(failure):
                raise
            line, code = last_words(guest.console())
            place = f"idmap-init: /etc/idmap.conf:2: {filesystem.row.split()[0]} on /srv: "
            assert line.startswith(place) and kernel.version in line, line
            assert code == "0x00000500", line
            found = line[len(place):].replace(kernel.version, version)
        else:
            check_mapped(guest, name, filesystem)
            found = MAPPED
    note(name, version, found)


@pytest.mark.parametrize("version,plain", [
    (version, plain) for version in (BACKPORTS if WRITING else [*KERNELS, *BACKPORTS]) for plain in (False, True)
    if mapped_on(version, plain)])
def test_support_together(version, plain, kernels, root_tree, image, initramfs, boot):
    """Where all of them can be mapped they share a boot; the line of a failure names the one that cannot."""
    chosen = mapped_on(version, plain)
    check_together(kernels(version + ("-plain" if plain else "")), chosen, root_tree, image, initramfs, boot)
    for name in chosen:
        note(name, version, MAPPED)


@pytest.mark.tools
def test_own_kernel(kernels, root_tree, image, initramfs, boot):
    """What kernel.config asks for is enough."""
    config = (REPOSITORY / "kernel.config").read_text()
    chosen = {name: filesystem for name, filesystem in FILESYSTEMS.items()
              if re.search(rf"^CONFIG_{name.upper()}(_FS)?=y$", config, re.M)}
    assert len(chosen) == 7
    check_together(kernels("own"), chosen, root_tree, image, initramfs, boot)


def check_together(kernel, chosen, root_tree, image, initramfs, boot):
    tree, disks, places, conf = root_tree(), [], {}, "/dev/vda / erofs\n"
    for name, filesystem in chosen.items():
        tree[f"/srv/{name}"] = Dir(100000, 100000)
        if filesystem.image != "":
            disks.append(Disk(image(TREE, filesystem.image or name)))
        places[name] = f"/dev/vd{'abcdefghijk'[len(disks)]}", f"/srv/{name}"
        conf += rows(name, filesystem, *places[name])
    modules = ["virtio_pci,virtio_blk,erofs", *(module(*item) for item in chosen.items())]
    with boot(kernel, initramfs(kernel, conf, modules=",".join(filter(None, modules))), "quiet",
              [Disk(image(tree, "erofs")), *disks]) as guest:
        for name, filesystem in chosen.items():
            check_mapped(guest, name, filesystem, *places[name])


@pytest.mark.parametrize("kernel", ["6.1-plain"], indirect=True)
def test_word_of_a_driver_on_what_is_not_its_own(kernel, root_tree, image, initramfs, boot):
    """f2fs has EIO for what is too small for its superblock; what comes after it in a list is tried all the same."""
    disks = [Disk(image(root_tree(), "erofs")), Disk(image({"/": Dir(), "/file": File("data")}, "squashfs"))]
    assert disks[1].path.stat().st_size <= 4096
    conf = "/dev/vda / erofs\n/dev/vdb /srv auto\n/dev/vdb /mnt f2fs:squashfs\n"
    with boot(kernel, initramfs(kernel, conf, modules="virtio_pci,virtio_blk,erofs,f2fs,squashfs"), "", disks) as guest:
        assert [options(guest, folder)[0] for folder in ("/srv", "/mnt")] == ["squashfs"] * 2


def test_iso_by_the_name_of_its_module(kernel, root_tree, image, initramfs, boot_fails, tmp_path):
    disk = tmp_path / "iso"
    disk.write_bytes(bytes(32768) + b"\1CD001\1".ljust(32768, b"\0"))
    console = boot_fails(kernel, initramfs(kernel, ROOT + "/dev/vdb /srv isofs\n"), "quiet",
                         [Disk(image(root_tree(), "erofs")), Disk(disk)])
    assert last_words(console) == ("idmap-init: /etc/idmap.conf:2: /dev/vdb on /srv: isofs is no filesystem of this kernel"
                                   " (no such device); the device holds iso9660: write that as TYPE", "0x00000400")


def test_the_table_is_whole():
    """Every cell is of a boot above, and the table is as the program that makes it would write it."""
    cells = support.read_readme()
    assert list(cells) == [(name, version) for name in FILESYSTEMS for version in support.VERSIONS]
    assert support.TABLE.read() == support.render(cells)
