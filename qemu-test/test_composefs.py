# SPDX-License-Identifier: MIT
"""composefs: an erofs of names, owners and links to what the files hold, in objects by their digest; made by
forky's mkcomposefs, merged by overlayfs' data-only layers, mapped, as the root."""

from __future__ import annotations

import subprocess

import pytest

import host
import tools
from common import OWNERS, ROOT, last_words, owners, seen
from guest import Disk
from images import Dir, File, unpack

MODULES = "virtio_pci,virtio_blk,erofs,overlay,loop,dm_verity"
TABLE = """none      /  overlay
/dev/vda  /  erofs  lower,data-only
{meta}    /  erofs  lower,idmap=100000:0:65536
"""


LARGE = bytes(range(256)) * 64


@pytest.fixture
def composed(root_tree, tmp_path):
    """The image of names, and the folder of objects; what is small is in the first."""
    tree = root_tree()
    tree["/etc/large"] = File(LARGE, 100000, 100000)
    files = unpack(tree, tmp_path / "tree")
    try:
        root = tools.unpacked("--root", "forky", "composefs")
    except host.PeerMissing as missing:
        pytest.skip(f"no composefs: {missing}")
    libraries = root / "usr/lib/x86_64-linux-gnu"
    objects = tmp_path / "of" / "objects"
    objects.parent.mkdir()
    subprocess.run([libraries / "ld-linux-x86-64.so.2", "--library-path", libraries, root / "usr/bin/mkcomposefs",
                    f"--digest-store={objects}", files, tmp_path / "meta"], check=True)
    return tmp_path / "meta", objects


@pytest.fixture
def disk(composed, tmp_path):
    """The objects as an erofs."""
    subprocess.run(["mkfs.erofs", "--quiet", "-T0", tmp_path / "objects.erofs", composed[1]], check=True)
    return tmp_path / "objects.erofs"


@pytest.mark.every_kernel
@pytest.mark.parametrize("kernel", ["6.12", "newest"], indirect=True)
@pytest.mark.parametrize("sealed", [False, True])
def test_root(sealed, kernel, composed, disk, seal, initramfs, boot):
    """The names in the initramfs, the objects on a disk; and both on disks with a hash."""
    meta = composed[0]
    conf, disks, add = TABLE.format(meta="/meta"), [Disk(disk)], [(meta, "/meta")]
    if sealed:
        names, data = seal(meta), seal(disk)
        conf = (TABLE.format(meta="/dev/vdc").replace("data-only", "data-only,verity.hashdevice=/dev/vdb,verity.roothash="
                                                       + data.root_hash)
                .replace("lower,idmap", f"lower,verity.hashdevice=/dev/vdd,verity.roothash={names.root_hash},idmap"))
        disks, add = [*data.disks, *names.disks], []
    with boot(kernel, initramfs(kernel, conf, modules=MODULES, add=add), "", disks) as guest:
        assert owners(guest) == OWNERS and seen(guest, "/etc/large") == (0, 0)
        assert not [name for name in guest.ask("ls /")["entries"] if len(name) == 2]  # no object is seen
        assert guest.ask("read /etc/large")["content"].encode("latin-1") == LARGE
        assert guest.run("/bin/suid", uid=1000, gid=1000) == "1000 0 1000 0\n"


@pytest.mark.parametrize("kernel", ["6.12", "newest"], indirect=True)
@pytest.mark.parametrize("upper", [False, True])
def test_top(upper, kernel, composed, disk, image, initramfs, boot):
    """What is written stands in it, beside what the image leads to."""
    conf = TABLE.format(meta="/meta").replace("none ", "upper" if upper else "tmpfs")
    disks = [Disk(disk)]
    if upper:
        conf += "/dev/vdb / ext4 upper\n"
        disks.append(Disk(image({"/": Dir(0, 0)}, "ext4", size_mib=32), readonly=False, snapshot=True))
    with boot(kernel, initramfs(kernel, conf, modules=MODULES + ",ext4", add=[(composed[0], "/meta")]), "", disks) as guest:
        assert owners(guest) == OWNERS and guest.ask("read /etc/large")["content"].encode("latin-1") == LARGE
        assert guest.ask("chown /etc/large 5 6") == {"ok": True} and seen(guest, "/etc/large") == (5, 6)
        assert guest.ask("read /etc/large")["content"].encode("latin-1") == LARGE
        guest.run("/bin/sh", "-c", "mv /owners /moved && echo more >>/etc/large && echo new >/etc/new")
        assert guest.ask("read /etc/large")["content"].encode("latin-1") == LARGE + b"more\n"
        assert seen(guest, "/moved/user") == (1000, 1000)


def test_kernels_that_cannot(kernel, composed, disk, initramfs, boot_fails):
    meta = composed[0]
    line, code = last_words(boot_fails(kernel, initramfs(kernel, TABLE.format(meta="/meta"), modules=MODULES,
                                                         add=[(meta, "/meta")]), "", [Disk(disk)]))
    assert line.endswith("; boot a newer kernel: data-only layers need Linux 6.5") and code.startswith("0x00000400")


@pytest.mark.parametrize("swapped", [False, True])
def test_digests(swapped, kernels, composed, root_tree, image, initramfs, boot, tmp_path):
    """fs-verity on each object, which a first guest puts there; the image has their digests, and the kernel
    asks for them. An object of another content and a bit that was flipped are errors for whoever reads them."""
    kernel = kernels("newest")
    meta, objects = composed
    large, = (path for path in objects.glob("*/*") if path.read_bytes() == LARGE)
    if swapped:
        large.chmod(0o644)
        large.write_bytes(LARGE[::-1])
    ext4 = tmp_path / "objects.ext4"
    subprocess.run(["mkfs.ext4", "-q", "-b", "4096", "-O", "verity", "-d", objects.parent, ext4, "64M"], check=True)
    conf = ROOT + "/dev/vdb /srv ext4 rw\n"
    disks = [Disk(image(root_tree(), "erofs")), Disk(ext4, readonly=False)]
    with boot(kernel, initramfs(kernel, conf), "", disks) as guest:
        for path in objects.glob("*/*"):
            assert guest.ask("verity", f"/srv/objects/{path.relative_to(objects)}") == {"ok": True}
        # What lies in an initramfs has no fs-verity, so the image of names has its hash by dm-verity (test_root).
        guest.run("/bin/touch", "/run/image")
        assert guest.ask("verity", "/run/image") == {"error": "ENOTTY"}
        guest.run("/bin/umount", "/srv")
        guest.poweroff()
    conf = ("none / overlay verity=require\n/dev/vda / ext4 lower,data-only,X-mount.subdir=objects\n"
            "/meta / erofs lower,idmap=100000:0:65536\n")
    initrd = initramfs(kernel, conf, modules="virtio_pci,virtio_blk,erofs,ext4,overlay,loop", add=[(meta, "/meta")])
    for flipped in (False, True) if not swapped else (False,):
        if flipped:
            content = ext4.read_bytes()
            at = content.index(LARGE) + 5000
            ext4.write_bytes(content[:at] + bytes([content[at] ^ 1]) + content[at + 1:])
        with boot(kernel, initrd, "", [Disk(ext4)]) as guest:
            assert owners(guest) == OWNERS
            answer = guest.ask("read /etc/large")
            assert answer == {"error": "EIO"} if swapped or flipped else answer["content"].encode("latin-1") == LARGE
