# SPDX-License-Identifier: MIT
"""composefs: an erofs of names, owners and links to what the files hold, in objects by their digest; made by
forky's mkcomposefs, merged by overlayfs' data-only layers, mapped, as the root."""

from __future__ import annotations

import subprocess

import pytest

import host
import tools
from common import OWNERS, last_words, owners, seen
from guest import Disk
from images import File, unpack

MODULES = "virtio_pci,virtio_blk,erofs,overlay,loop,dm_verity"
TABLE = """none      /  overlay
/dev/vda  /  erofs  lower,data-only
{meta}    /  erofs  lower,idmap=100000:0:65536
"""


@pytest.fixture
def composed(root_tree, image, tmp_path):
    """The image of names, and one of objects; what is small is in the first."""
    tree = root_tree()
    tree["/etc/large"] = File(bytes(range(256)) * 64, 100000, 100000)
    files = unpack(tree, tmp_path / "tree")
    try:
        root = tools.unpacked("--root", "forky", "composefs")
    except host.PeerMissing as missing:
        pytest.skip(f"no composefs: {missing}")
    libraries = root / "usr/lib/x86_64-linux-gnu"
    subprocess.run([libraries / "ld-linux-x86-64.so.2", "--library-path", libraries, root / "usr/bin/mkcomposefs",
                    f"--digest-store={tmp_path / 'objects'}", files, tmp_path / "meta"], check=True)
    objects = tmp_path / "objects.erofs"
    subprocess.run(["mkfs.erofs", "--quiet", "-T0", objects, tmp_path / "objects"], check=True)
    return tmp_path / "meta", objects


@pytest.mark.parametrize("kernel", ["6.12", "newest"], indirect=True)
@pytest.mark.parametrize("sealed", [False, True])
def test_root(sealed, kernel, composed, seal, initramfs, boot):
    """The names in the initramfs, the objects on a disk; and both on disks with a hash."""
    meta, objects = composed
    conf, disks, add = TABLE.format(meta="/meta"), [Disk(objects)], [(meta, "/meta")]
    if sealed:
        names, data = seal(meta), seal(objects)
        conf = (TABLE.format(meta="/dev/vdc").replace("data-only", "data-only,verity.hashdevice=/dev/vdb,verity.roothash="
                                                       + data.root_hash)
                .replace("lower,idmap", f"lower,verity.hashdevice=/dev/vdd,verity.roothash={names.root_hash},idmap"))
        disks, add = [*data.disks, *names.disks], []
    with boot(kernel, initramfs(kernel, conf, modules=MODULES, add=add), "", disks) as guest:
        assert owners(guest) == OWNERS and seen(guest, "/etc/large") == (0, 0)
        assert guest.ask("read /etc/large")["content"].encode("latin-1") == bytes(range(256)) * 64
        assert guest.run("/bin/suid", uid=1000, gid=1000) == "1000 0 1000 0\n"


def test_kernels_that_cannot(kernel, composed, initramfs, boot_fails):
    meta, objects = composed
    line, code = last_words(boot_fails(kernel, initramfs(kernel, TABLE.format(meta="/meta"), modules=MODULES,
                                                         add=[(meta, "/meta")]), "", [Disk(objects)]))
    assert line.endswith("or boot a newer kernel: data-only layers need Linux 6.5") and code.startswith("0x00000400")
