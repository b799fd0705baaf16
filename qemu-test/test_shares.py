# SPDX-License-Identifier: MIT
"""Trees that are folders of the host: virtiofs, which some kernels and servers let us map, and 9p,
which none does."""

from __future__ import annotations

import re

import pytest

import images
from guest import Disk, parse_mountinfo
from images import Dir, File
from test_root import OWNERS, last_words, owners
from test_trees import ROOT, options, seen

MODULES = "virtio_pci,virtio_blk,erofs,virtiofs"
WORK = {"/": Dir(1000, 1000), "/mine": File("mine\n", 1000, 1000, 0o600),
        "/other": File("other\n", 1001, 1001), "/roots": File("root's\n", 0, 0)}


@pytest.mark.parametrize("kernel", ["6.12", "7.x"], indirect=True)
def test_virtiofs_root(kernel, root_tree, initramfs, share, boot, tmp_path):
    folder = images.unpack(root_tree(), tmp_path / "root")
    append = "root=hostroot rootfstype=virtiofs ro idmap=100000:0:65536"
    with boot(kernel, initramfs(kernel, modules=MODULES), append,
              qemu_args=share(folder, "hostroot", "--posix-acl")) as guest:
        assert owners(guest) == OWNERS
        assert guest.ask("open /etc/new wc") == {"error": "EROFS"}
        assert guest.ask("read /owners/root-private")["content"] == "base+0, 0600\n"
        assert guest.run("/bin/suid", uid=1000, gid=1000) == "1000 0 1000 0\n"
        assert guest.run("/bin/suid-outside", uid=7, gid=7) == "7 7 7 7\n"
        root, = [m for m in parse_mountinfo(guest.report()["mountinfo"]) if m.target == "/"]
        assert (root.type, root.source) == ("virtiofs", "hostroot")
        assert {"idmapped", "ro"} <= set(root.options)
        table = guest.ask("read /run/idmap/table")["content"]
        assert re.search(r"^hostroot / virtiofs ro,idmap=100000:0:65536$", table, re.M)


@pytest.mark.parametrize("kernel", ["6.12", "7.x"], indirect=True)
def test_virtiofs_row(kernel, root_tree, image, initramfs, share, boot, tmp_path):
    """The user 1000 of the host is root in the guest, and what root writes is that user's."""
    folder = images.unpack(WORK, tmp_path / "work")
    conf = ROOT + "hostshare /srv virtiofs rw,idmap=1000:0:1,identity\n"
    with boot(kernel, initramfs(kernel, conf, modules=MODULES), "",
              [Disk(image(root_tree(), "erofs"))],
              qemu_args=share(folder, "hostshare", "--posix-acl")) as guest:
        assert seen(guest, "/srv") == (0, 0) == seen(guest, "/srv/mine")
        assert seen(guest, "/srv/other") == (1001, 1001)
        assert seen(guest, "/srv/roots") == (65534, 65534)
        assert options(guest, "/srv") == (
            "virtiofs", {"rw", "nosuid", "nodev", "relatime", "idmapped"})
        assert guest.ask("write /srv/new x") == {"written": 1}
        assert seen(guest, "/srv/new") == (0, 0)
        assert guest.ask("chown /srv/new 1001 1001") == {"ok": True}
        assert guest.ask("mkdir /srv/folder 755") == {"ok": True}
    new = (folder / "new").stat()
    assert (new.st_uid, new.st_gid) == (1001, 1001)
    assert (folder / "folder").stat().st_uid == 1000
