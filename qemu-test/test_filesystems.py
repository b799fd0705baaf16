# SPDX-License-Identifier: MIT
"""Which filesystem can be mapped on which kernel, and the exact line that says why not.

The table in README.md is what these boots showed last, and each of them compares. `make
support-table` boots them all and writes it anew.
"""

from __future__ import annotations

import os
from pathlib import Path

import pytest

import support
from common import last_words, log_lines, options, seen
from guest import Disk, GuestFailed
from host import KERNELS
from images import Dir, File
from support import FILESYSTEMS

TREE = {"/": Dir(20000, 20000), "/file": File("data\n", 20007, 20008), "/zero": File("0\n", 0, 0)}


def check_mapped(guest, name, filesystem):
    """Owners, flags and the words of the log and of /run/idmap/table."""
    type_, flags = options(guest, "/srv")
    assert type_ == name
    assert flags >= {"rw" if name == "tmpfs" else "ro", "nosuid", "nodev", filesystem.flag}
    if filesystem.image != "":
        assert seen(guest, "/srv/file") == (7, 8)
        assert guest.ask("read /srv/file")["content"] == "data\n"
        assert guest.ask("open /srv/new wc") == {"error": "EROFS"}
    else:
        assert seen(guest, "/srv") == (0, 0)
        assert guest.ask("write /srv/file x") == {"written": 1}
        assert guest.ask("chown /srv/file 9999 8") == {"ok": True}
        assert seen(guest, "/srv/file") == (9999, 8)
        assert guest.ask("chown /srv/file 10000 8") == {"error": "EOVERFLOW"}
    if filesystem.image != "" and filesystem.outside:
        assert seen(guest, "/srv/zero") == (65534, 65534)
    row = " ".join(filesystem.row.replace("TYPE", name).split()[:3])
    assert f"\n{row} " in guest.ask("read /run/idmap/table")["content"]
    assert [line for line in log_lines(guest) if f": {row} " in line]


@pytest.mark.parametrize("version", KERNELS)
@pytest.mark.parametrize("name", FILESYSTEMS)
def test_support(name, version, kernels, root_tree, image, initramfs, boot):
    filesystem = FILESYSTEMS[name]
    kernel = kernels(version + ("-plain" if filesystem.plain else ""))
    # The root has no map, so that a refusal is this row's.
    conf = f"/dev/vda / erofs\n{filesystem.row.replace('TYPE', name)}\n{filesystem.more}"
    modules = ["virtio_pci,virtio_blk,erofs", name if filesystem.module is None else filesystem.module]
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
            found = support.MAPPED
    if "SUPPORT_TABLE" in os.environ:
        support.save(Path(os.environ["SUPPORT_TABLE"]), name, version, found)
    else:
        assert found == support.read_readme()[name, version]


def test_the_table_is_whole():
    """Every cell is of a boot above, and the table is as the program that makes it would write it."""
    cells = support.read_readme()
    assert list(cells) == [(name, version) for name in FILESYSTEMS for version in KERNELS]
    assert support.TABLE.read() == support.render(cells)
