# SPDX-License-Identifier: MIT
"""Superblocks that name further devices: only the table does. What is on a disk that no row names is neither shown nor
written."""

from __future__ import annotations

import hashlib
import os
import struct
import subprocess

import pytest

from common import PRE, ROOT, last_words, seen
from guest import Disk
from images import Dir, File, make_image

CONF = PRE + "/etc/idmap.conf:2: /dev/vdb on /srv: "
TREE = {"/": Dir(5000, 5000), "/d": Dir(5000, 5000), "/d/f": File(b"theirs" * 3000, 5007, 5000)}
NAMES_NONE = "a part of its files lies on 1 further devices, and the row names none; "
SECRET = b"secret" * 20000


@pytest.fixture
def disks(root_tree, image):
    return [Disk(image(root_tree(), "erofs"))]


@pytest.fixture
def secret(tmp_path):
    """A disk that no row names."""
    path = tmp_path / "secret"
    path.write_bytes(SECRET.ljust(64 << 10, b"\0"))
    return path


# ---- erofs ----

SLOT = struct.Struct("<64s2I")  # tag, blocks, where they are mapped


@pytest.fixture
def parted(tmp_path):
    """parted(tag, mapped): an erofs whose data are on a second disk, and that disk."""

    def make(tag=b"", mapped=0):
        meta, blob = tmp_path / "meta", tmp_path / "blob"
        blob.touch()  # mkfs.erofs 1.8 makes none
        make_image(TREE, "erofs", meta, args=[f"--blobdev={blob}", "--chunksize=4096"])
        data = bytearray(meta.read_bytes().ljust(-(-meta.stat().st_size // 4096) * 4096, b"\0"))
        data[1024 + 8] &= ~1  # without a checksum
        at = struct.unpack_from("<H", data, 1024 + 88)[0] * 128
        SLOT.pack_into(data, at, tag, blob.stat().st_size // 4096, mapped)
        meta.write_bytes(data)
        return meta, blob

    return make


@pytest.mark.parametrize("kernel", ["6.1", "6.12", "newest"], indirect=True)
@pytest.mark.parametrize("tag", [b"/dev/vdc", b"dev/vdc", b""], ids=["path", "relative", "none"])
def test_erofs_without_its_device(tag, kernel, disks, parted, secret, initramfs, boot_fails):
    """6.1 opens what the slot names, and shows it as files of the image; later ones show bytes of the row's device."""
    meta, _ = parted(tag)
    console = boot_fails(kernel, initramfs(kernel, ROOT + "/dev/vdb /srv erofs idmap=5000:0:10\n"), "quiet",
                         [*disks, Disk(meta), Disk(secret)])
    assert last_words(console) == (CONF + NAMES_NONE + "add device= for each, in their order", "0x00000400")


@pytest.mark.parametrize("kernel", ["6.1", "newest"], indirect=True)
def test_erofs_with_its_device(kernel, disks, parted, secret, initramfs, boot):
    """The row's word is what counts, whatever the slot has."""
    meta, blob = parted(b"/dev/vdc")
    conf = ROOT + "/dev/vdb /srv erofs device=/dev/vdd,idmap=5000:0:10\n"
    with boot(kernel, initramfs(kernel, conf), "quiet", [*disks, Disk(meta), Disk(secret), Disk(blob)]) as guest:
        assert seen(guest, "/srv/d/f") == (7, 0)
        assert guest.ask("read /srv/d/f")["content"].startswith("theirs")


@pytest.mark.parametrize("kernel", ["6.1", "newest"], indirect=True)
def test_verified_erofs_of_two_devices(kernel, disks, parted, secret, seal, initramfs, boot_fails):
    meta, _ = parted(b"/dev/vdc")
    sealed = seal(meta, True)
    conf = ROOT + f"/dev/vdb /srv erofs verity.roothash={sealed.root_hash},verity.hashoffset={sealed.offset}\n"
    initrd = initramfs(kernel, conf, modules="virtio_pci,virtio_blk,erofs,dm_verity")
    assert last_words(boot_fails(kernel, initrd, "quiet", [*disks, Disk(sealed.data), Disk(secret)])) == (
        CONF + NAMES_NONE + "put all of it on one for dm-verity", "0x00000400")


@pytest.mark.every_kernel
@pytest.mark.parametrize("kernel", ["6.1", "6.12", "newest"], indirect=True)
def test_erofs_of_parts_behind_each_other(kernel, disks, parted, tmp_path, initramfs, boot, boot_fails):
    """Linux 6.4 and later take them so; 6.1 says that it does not."""
    blocks = parted()[0].stat().st_size // 4096
    meta, blob = parted(mapped=blocks)
    whole = tmp_path / "whole"
    whole.write_bytes(meta.read_bytes() + blob.read_bytes())
    initrd = initramfs(kernel, ROOT + "/dev/vdb /srv erofs idmap=5000:0:10\n")
    if kernel.version.startswith("6.1."):
        assert "empty device tag" in last_words(boot_fails(kernel, initrd, "quiet", [*disks, Disk(whole)]))[0]
    else:
        with boot(kernel, initrd, "quiet", [*disks, Disk(whole)]) as guest:
            assert seen(guest, "/srv/d/f") == (7, 0)
            assert guest.ask("read /srv/d/f")["content"].startswith("theirs")
        # Cut, it would show zeros.
        whole.write_bytes(meta.read_bytes())
        assert last_words(boot_fails(kernel, initrd, "quiet", [*disks, Disk(whole)]))[0].startswith(CONF + NAMES_NONE)


# ---- f2fs ----


@pytest.fixture
def striped(tmp_path):
    """striped(first): a f2fs on two disks, with a file that is on both; by their superblocks they are `first` and /dev/vdc."""

    def make(first="/dev/vdb"):
        one, two, tree = tmp_path / "zz/dev11", tmp_path / "zz/dev14", tmp_path / "striped"
        two.parent.mkdir()
        tree.mkdir()
        (tree / "small").write_text("small\n")
        (tree / "big").write_bytes(b"BIG!" * (9 << 20))
        for path in (one, two):
            path.touch()
            os.truncate(path, 60 << 20)
        environment = os.environ | {"PATH": os.environ["PATH"] + ":/usr/sbin:/sbin"}
        for command in (["mkfs.f2fs", "-q", "-f", "-c", "zz/dev14", "zz/dev11"], ["sload.f2fs", "-P", "-f", "striped", "zz/dev11"]):
            subprocess.run(command, cwd=tmp_path, env=environment, check=True, stdout=subprocess.DEVNULL)
        for path in (one, two):
            path.write_bytes(path.read_bytes().replace(b"zz/dev14", b"/dev/vdc").replace(b"zz/dev11", first.encode()))
        return one, two

    return make


F2FS = "virtio_pci,virtio_blk,erofs,f2fs,crc32_generic,dm_verity"


@pytest.mark.parametrize("kernel", ["6.12-plain"], indirect=True)
def test_f2fs_of_two_devices(kernel, disks, striped, secret, seal, initramfs, boot, boot_fails):
    one, two = striped()
    before = hashlib.sha1(two.read_bytes()).digest()
    for words in ("rw", "ro", "rw,device=/dev/vdd"):
        conf = ROOT + f"/dev/vdb /srv f2fs {words},idmap=0:0:60000\n"
        console = boot_fails(kernel, initramfs(kernel, conf, modules=F2FS), "quiet",
                             [*disks, Disk(one, readonly=False, snapshot=True), Disk(two, readonly=False), Disk(secret)])
        assert last_words(console) == (CONF + "a part of its files lies on /dev/vdc, and the row does not name that; add"
                                       " device=/dev/vdc if it is meant", "0x00000400")
    assert hashlib.sha1(two.read_bytes()).digest() == before
    sealed = seal(one, True)
    conf = ROOT + f"/dev/vdb /srv f2fs verity.roothash={sealed.root_hash},verity.hashoffset={sealed.offset}\n"
    assert last_words(boot_fails(kernel, initramfs(kernel, conf, modules=F2FS), "quiet",
                                 [*disks, Disk(sealed.data), Disk(two)]))[0] == (
        CONF + "a part of its files lies on /dev/vdc, which dm-verity does not check; put all of it on one device")
    conf = ROOT + "/dev/vdb /srv f2fs rw,device=SERIAL=two,idmap=0:0:60000\n"
    with boot(kernel, initramfs(kernel, conf, modules=F2FS), "quiet",
              [*disks, Disk(one, readonly=False, snapshot=True), Disk(two, readonly=False, snapshot=True, serial="two")]) as guest:
        assert guest.ask("read /srv/small")["content"] == "small\n"
        assert guest.run("/bin/dd", "if=/srv/big", "bs=1M", "skip=30", "count=1").startswith("BIG!")
        assert guest.ask("write /srv/new x") == {"written": 1}
        assert "device=SERIAL=two" in guest.ask("read /run/idmap/table")["content"]


@pytest.mark.parametrize("kernel", ["6.1-plain", "6.12-plain"], indirect=True)
@pytest.mark.parametrize("first", ["/dev/vdb", "/dev/vdd"])
def test_f2fs_whose_first_device_is_named(first, kernel, disks, striped, secret, initramfs, boot, boot_fails):
    """Before 6.5 the kernel opens that, too, by its path."""
    one, two = striped(first)
    initrd = initramfs(kernel, ROOT + "/dev/vdb /srv f2fs rw,device=/dev/vdc,idmap=0:0:60000\n", modules=F2FS)
    more = [*disks, Disk(one, readonly=False, snapshot=True), Disk(two, readonly=False, snapshot=True), Disk(secret)]
    if first == "/dev/vdb" or kernel.name != "6.1-plain":
        with boot(kernel, initrd, "quiet", more) as guest:
            assert guest.ask("read /srv/small")["content"] == "small\n"
    else:
        assert last_words(boot_fails(kernel, initrd, "quiet", more))[0] == (
            CONF + "a part of its files lies on /dev/vdd, and the row does not name that; add device=/dev/vdd if it is meant")


@pytest.mark.parametrize("kernel", ["6.12-plain"], indirect=True)
@pytest.mark.parametrize("words,told", [
    ("device=/dev/vdc", "its superblock does not name device=/dev/vdc; take that out"),
    ("logdev=/dev/vdc", "f2fs does not mount (invalid argument; kernel: ")])
def test_f2fs_of_one_device(words, told, kernel, disks, secret, image, initramfs, boot, boot_fails):
    for row in (f"ro,{words},", "ro,"):
        more = [*disks, Disk(image(TREE, "f2fs")), Disk(secret)]
        initrd = initramfs(kernel, ROOT + f"/dev/vdb /srv f2fs {row}idmap=5000:0:10\n", modules=F2FS)
        if words in row:
            assert last_words(boot_fails(kernel, initrd, "quiet", more))[0].startswith(CONF + told)
        else:
            with boot(kernel, initrd, "quiet", more) as guest:
                assert seen(guest, "/srv/d/f") == (7, 0)


# ---- journals ----

NUMBER = struct.pack("<I", 254 << 8 | 32)  # of /dev/vdc in a guest, as it happens


@pytest.mark.parametrize("words,fields,told", [
    ("ext4 rw", {1024 + 56: b"\x53\xef", 1024 + 92: b"\x04", 1024 + 228: NUMBER}, "add journal_path=DEVICE"),
    ("ext2 ro", {1024 + 56: b"\x53\xef", 1024 + 92: b"\x04", 1024 + 228: NUMBER}, "add journal_path=DEVICE"),
    ("jfs rw", {32768: b"JFS1", 32768 + 64: NUMBER}, "write ro, as no option names it, or make it with the log inside"),
    ("reiserfs ro", {65536 + 52: b"ReIsEr2Fs", 65536 + 16: NUMBER}, "add jdev=DEVICE")],
    ids=["ext4", "ext2", "jfs", "reiserfs"])
def test_journal_elsewhere(words, fields, told, kernel, disks, tmp_path, secret, initramfs, boot_fails):
    disk = tmp_path / "disk"
    disk.write_bytes(bytes(1 << 20))
    with disk.open("r+b") as out:
        for at, value in fields.items():
            out.seek(at)
            out.write(value)
    console = boot_fails(kernel, initramfs(kernel, ROOT + f"/dev/vdb /srv {words}\n"), "quiet",
                         [*disks, Disk(disk, readonly=False), Disk(secret)])
    assert last_words(console) == (CONF + "its journal lies on another device, and the row does not name that; " + told,
                                   "0x00000400")


@pytest.mark.parametrize("words", ["ro", "rw,journal_path=/dev/vdd", "rw,noload"])
def test_journal_by_the_images_own_options(words, kernel, disks, image, tmp_path, secret, initramfs, boot, boot_fails):
    """By tune2fs -E mount_opts=: the kernel takes it, and it wins over the row's."""
    disk = tmp_path / "disk"
    for options, fails in (("journal_path=/dev/vdc", True), ("nodelalloc", False)):
        disk.write_bytes(image(TREE, "ext4").read_bytes())
        subprocess.run(["tune2fs", "-E", f"mount_opts={options}", disk], check=True, stdout=subprocess.DEVNULL,
                       env=os.environ | {"PATH": os.environ["PATH"] + ":/usr/sbin:/sbin"})
        row = words if fails else words.replace(",journal_path=/dev/vdd", "").replace("rw,noload", "ro,noload")
        initrd = initramfs(kernel, ROOT + f"/dev/vdb /srv ext4 {row},idmap=5000:0:10\n")
        more = [*disks, Disk(disk, readonly=False, snapshot=True), Disk(secret), Disk(secret)]
        if fails:
            assert last_words(boot_fails(kernel, initrd, "quiet", more)) == (
                CONF + "its superblock has an option that names its journal's device, whatever the row does; take it out with"
                " tune2fs -E mount_opts=", "0x00000400")
        else:
            with boot(kernel, initrd, "quiet", more) as guest:
                assert seen(guest, "/srv/d/f") == (7, 0)
