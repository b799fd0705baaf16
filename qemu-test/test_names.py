# SPDX-License-Identifier: MIT
"""Sources by name: the disks of a guest in any order, junk between them, and no udev.

Partition tables are sfdisk's. Each filesystem holds one file that says which it is, of an owner
that only the row's map makes 7.
"""

from __future__ import annotations

import json
import random
import struct
import subprocess
import uuid
import zlib

import pytest

import images
from common import (
    FOUND_MOST_US, OWNERS, PRE, SLOT, last_words, log_lines, owners, plug, seen, time_of, us,
    wait_for_line)
from guest import Disk
from images import Dir, File, MIB, partitions, tools_environment

MAP = "100000:0:65536"
MODULES = "virtio_pci,virtio_blk,erofs,ext4,xfs,btrfs"
BOTH = ["6.1", "7.x"]
EXT4, ROOT, XFS, BTRFS, EROFS, FIVE, LOGICAL, SECTORS = (
    f"1d3a9abc-00ef-4000-8000-00000000010{i}" for i in range(8))
TYPES = {"in gpt": "ext4", "in mbr": "ext4", "sectors": "ext4", "xfs": "xfs", "btrfs": "btrfs"}
PARTS = [f"5E1EC7ED-0102-4304-A506-0708090A0B0{i}" for i in range(6)]


def gpt_of_4096(path, image, name):
    """A GPT of one partition for sectors of 4096 bytes, which Debian 12's sfdisk cannot write."""
    size, sector = image.stat().st_size, 4096
    first, last = MIB // sector, (MIB + size) // sector - 1
    entry = struct.pack("<16s16sQQQ", uuid.uuid4().bytes, uuid.uuid4().bytes, first, last, 0)
    entries = (entry + name.encode("utf-16-le").ljust(72, b"\0")).ljust(sector, b"\0")

    def header(checksum):
        return struct.pack("<8sIIIIQQQQ16sQIII", b"EFI PART", 0x10000, 92, checksum, 0, 1, last + 9,
                           first, last, uuid.uuid5(uuid.NAMESPACE_URL, name).bytes, 2,
                           32, 128, zlib.crc32(entries))

    protective = struct.pack("<B3sB3sII", 0, b"\0\2\0", 0xee, b"\xff" * 3, 1, last + 9)
    path.write_bytes((b"\0" * 446 + protective + b"\0" * 48 + b"\x55\xaa").ljust(sector, b"\0") +
                     header(zlib.crc32(header(0))).ljust(sector, b"\0") + entries)
    with open(path, "r+b") as disk:
        disk.seek(MIB)
        disk.write(image.read_bytes())
        disk.truncate((last + 10) * sector)
    return path


@pytest.fixture
def small(image):
    """small("who", "ext4", uuid, label): a filesystem that says who it is."""

    def make(who, kind, fs_uuid=images.UUID, label=None):
        tree = {"/": Dir(5000, 5000), "/who": File(who, 5007, 5007)}
        if kind != "erofs":
            return image(tree, kind, uuid=fs_uuid, args=("-L", label) if label else ())
        # Debian 12's mkfs.erofs takes no label; without its checksum one can be written.
        made = image(tree, kind, uuid=fs_uuid, args=("-Enosbcrc", *([f"-U{fs_uuid}"] if label else ())))
        if label:
            with open(made, "r+b") as file:
                file.seek(1024 + 64)
                file.write(label.encode().ljust(16, b"\0"))
        return made

    return make


@pytest.fixture
def gpt(tmp_path, root_tree, image, small):
    """The root is the second partition; the first and the fifth have a file each."""
    tree = root_tree()
    for i in range(60):
        tree[f"/n/{i}"] = Dir(100000, 100000)
    return partitions(tmp_path / "gpt", ["label: gpt"], [
        (small("in gpt", "ext4", EXT4, "in-gpt"), f'1: uuid={PARTS[1]}, name="data one"'),
        (image(tree, "erofs", uuid=ROOT), f"2: uuid={PARTS[2]}, name=root"),
        (small("five", "erofs", FIVE), f"5: uuid={PARTS[5]}"),
    ])


@pytest.fixture
def mbr(tmp_path, small):
    """Two partitions, one of them logical, and a superblock on the whole disk from before it had a
    table, with the very label of the partition."""
    first = small("in mbr", "ext4", images.UUID, "in mbr")
    path = partitions(tmp_path / "mbr", ["label: dos", "label-id: 0xABCD12EF"], [
        (first, "1: type=83"), (None, "4: type=5"),
        (small("logical", "erofs", LOGICAL), "5: type=83"),
    ])
    with open(path, "r+b") as disk:
        disk.seek(1024)
        disk.write(first.read_bytes()[1024:2048])
    return path


@pytest.fixture
def junk(tmp_path, gpt):
    """Disks of random bytes (with the signature of an MBR), of zeros, and of a GPT cut short."""
    noise = bytearray(random.Random(1).randbytes(MIB))
    noise[510:512] = b"\x55\xaa"
    noise[512:520] = b"EFI PART"
    for name, data in ("noise", bytes(noise)), ("zeros", bytes(1024)), \
            ("short", gpt.read_bytes()[:1536]):
        (tmp_path / name).write_bytes(data)
    return [tmp_path / name for name in ("noise", "zeros", "short")]


def further(number, path, device="", bad=False):
    """QEMU's arguments for a disk that Disk cannot describe; a bad one cannot be read."""
    node = {"driver": "file", "filename": str(path)}
    if bad:
        node = {"driver": "blkdebug", "image": node, "inject-error": [{"event": "read_aio", "errno": 5}]}
        node = {"driver": "raw", "file": node}
    return ["-blockdev", json.dumps(node | {"node-name": f"further{number}", "read-only": True}),
            "-device", f"virtio-blk-pci,drive=further{number}{device}"]


def number_of(guest, name):
    """(major, minor) in the guest; that of virtio disks is not a constant."""
    for line in guest.run("/bin/cat", "/proc/partitions").splitlines():
        if line.endswith(f" {name}"):
            major, minor, *_ = line.split()
            return int(major), int(minor)
    raise AssertionError(name)


@pytest.mark.parametrize("kernel", ["6.1", "newest"], indirect=True)
@pytest.mark.parametrize("name", [f"UUID={BTRFS}", "LABEL=both"])
def test_btrfs_of_two_disks(name, kernel, tmp_path, root_tree, image, initramfs, boot, boot_fails):
    """Both have its names, and either will do with the other one named; of a copy there are two."""
    halves = [tmp_path / half for half in "ab"]
    for half in halves:
        half.write_bytes(bytes(128 * MIB))
    subprocess.run(["/sbin/mkfs.btrfs", "-q", "-d", "raid1", "-m", "raid1", "-L", "both", "-U", BTRFS, *halves], check=True,
                   env=tools_environment())
    disks = [Disk(image(root_tree(), "erofs")), *map(Disk, halves)]
    conf = f"/dev/vda / erofs idmap=100000:0:65536\n{name} /srv btrfs {{}}idmap=0:5:10\n"
    for devices in ("device=/dev/vdc,", "device=/dev/vdb,device=/dev/vdc,"):
        with boot(kernel, initramfs(kernel, conf.format(devices), modules=MODULES), "", disks) as guest:
            assert seen(guest, "/srv") == (5, 5)
    line, _ = last_words(boot_fails(kernel, initramfs(kernel, conf.format(""), modules=MODULES), "", disks))
    assert "device=" in line and "btrfs does not mount" in line, line
    line, _ = last_words(boot_fails(kernel, initramfs(kernel, conf.format("device=/dev/vdc,"), modules=MODULES), "", [*disks, Disk(halves[0])]))
    assert "/dev/vdb and /dev/vdd have this name" in line, line


@pytest.mark.every_kernel
@pytest.mark.every_machine
@pytest.mark.parametrize("kernel", ["6.1", "6.12", "7.x"], indirect=True)
def test_names(kernel, tmp_path, gpt, mbr, junk, small, initramfs, boot):
    """Every name of every disk, in a boot where junk lies between the disks."""
    sectors = gpt_of_4096(tmp_path / "sectors", small("sectors", "ext4", SECTORS), "größe \U0001f4be")
    disks = [Disk(path) for path in (
        junk[0], junk[1], gpt, small("xfs", "xfs", XFS, "xfs disk"), junk[2],
        small("erofs", "erofs", EROFS, "erofs label"), small("btrfs", "btrfs", BTRFS, "btrfs"))]
    disks += [Disk(mbr, serial="mbr-disk"), Disk(small("serial", "erofs"), serial="disk0/7")]
    rows = {
        f"PARTUUID={PARTS[1]}": "in gpt",
        f"PARTUUID={PARTS[1].lower()}": "in gpt",
        f"PARTUUID={PARTS[2]}/PARTNROFF=-1": "in gpt",
        f"PARTUUID={PARTS[2]}/PARTNROFF=3": "five",
        r"PARTLABEL=data\040one": "in gpt",
        f"UUID={EXT4}": "in gpt",
        "LABEL=in-gpt": "in gpt",
        f"UUID={FIVE}": "five",
        "PARTUUID=abcd12ef-01": "in mbr",
        "PARTUUID=ABCD12EF-05": "logical",
        "PARTUUID=abcd12ef-01/PARTNROFF=4": "logical",
        r"LABEL=in\040mbr": "in mbr",
        f"UUID={XFS.upper()}": "xfs",
        r"LABEL=xfs\040disk": "xfs",
        f"UUID={BTRFS}": "btrfs",
        'LABEL="btrfs"': "btrfs",
        f"UUID={EROFS}": "erofs",
        r"LABEL=erofs\040label": "erofs",
        "SERIAL=disk0/7": "serial",
        "SERIAL=mbr-disk/PARTNROFF=1": "in mbr",
        r"PARTLABEL=gr\303\266\303\237e\040" "\U0001f4be": "sectors",
        f"UUID={SECTORS}": "sectors",
        f"/dev/disk/by-partuuid/{PARTS[1].lower()}": "in gpt",
        r"/dev/disk/by-partlabel/data\x20one": "in gpt",
        f"/dev/disk/by-uuid/{XFS}": "xfs",
        r"/dev/disk/by-label/erofs\x20label": "erofs",
        "/dev/disk/by-id/virtio-disk0/7": "serial",
        "/dev/disk/by-id/virtio-mbr-disk-part5": "logical",
        "/dev/vdc1": "in gpt",
    }
    conf = f"/dev/root / erofs idmap={MAP}\n" + "".join(
        f"{source} /n/{i} {TYPES.get(who, 'erofs')} idmap=5000:0:1000\n"
        for i, (source, who) in enumerate(rows.items()))
    args = further(1, sectors, ",logical_block_size=4096,physical_block_size=4096")
    args += further(2, sectors, bad=True)
    with boot(kernel, initramfs(kernel, conf, modules=MODULES), f"root=PARTUUID={PARTS[2]} ro", disks,
              qemu_args=args) as guest:
        assert owners(guest) == OWNERS
        for i, (source, who) in enumerate(rows.items()):
            assert guest.ask(f"read /n/{i}/who").get("content") == who, source
            entry = guest.ask(f"stat /n/{i}/who")
            assert (entry["uid"], entry["gid"]) == (7, 7), source
        assert {m.source for m in guest.mounts() if m.target == "/"} == {"/dev/vdc2"}
        # The table says what was written, not what was found.
        assert f"\nPARTUUID={PARTS[2]} / erofs" in guest.ask("read /run/idmap/table")["content"]
        # The bad disk was there and was asked.
        assert number_of(guest, "vdk") and [r for r in guest.kmsg() if "I/O error" in r["text"]
                                            and "vdk" in r["text"]]


ROOTS = {
    "PARTLABEL": ("root=PARTLABEL=root", "vdb2"),
    "UUID": (f"root=UUID={ROOT.upper()}", "vdb2"),
    "LABEL": ('root="LABEL=my root"', "vdc"),
    "MAJ:MIN": ("root=254:18", "vdb2"),
    "hex": ("root=fe12", "vdb2"),
    "by-label": (r"root=/dev/disk/by-label/my\x20root", "vdc"),
}


@pytest.mark.parametrize("kernel,form", [
    (kernel, form) for kernel in BOTH for form in ROOTS if (kernel, form) != ("7.x", "by-label")],
    indirect=["kernel"])
def test_root_names(kernel, form, root_tree, image, gpt, junk, initramfs, boot):
    root, target = ROOTS[form]
    disks = [Disk(junk[0]), Disk(gpt), Disk(image(root_tree(), "ext4", args=("-L", "my root")))]
    with boot(kernel, initramfs(kernel), f"{root} ro idmap={MAP}", disks) as guest:
        assert owners(guest) == OWNERS
        assert number_of(guest, "vdb2") == (254, 18)
        assert {m.source for m in guest.mounts() if m.target == "/"} == {f"/dev/{target}"}


@pytest.mark.parametrize("source,claims", [
    ("LABEL=in-gpt", "/dev/vda1 and /dev/vdc"),
    (f"PARTUUID={PARTS[2]}/PARTNROFF=-1", "/dev/vda1 and /dev/vdb1")])
@pytest.mark.parametrize("kernel", BOTH, indirect=True)
def test_two_claim_one_name(kernel, source, claims, gpt, small, initramfs, boot_fails):
    """Neither is taken, and nofail does not forgive it. The second disk is the first one's clone
    but for the label."""
    clone = gpt.with_name("clone")
    data = gpt.read_bytes()
    assert data.count(b"in-gpt\0") >= 1
    clone.write_bytes(data.replace(b"in-gpt\0", b"other!\0"))
    disks = [Disk(gpt), Disk(clone), Disk(small("late", "ext4", label="in-gpt"))]
    conf = f"/dev/vda2 / erofs idmap={MAP}\n{source} /n/1 ext4 nofail\n"
    console = boot_fails(kernel, initramfs(kernel, conf), "", disks)
    assert last_words(console) == (
        f"{PRE}/etc/idmap.conf:2: {source} on /n/1: {claims} have this name; detach all but one, or"
        " write the device's path", "0x00000300")


RAID = b"\xfc\x4e\x2b\xa9"
# What blkid(8) makes of them, where the mark alone is enough for it; where they are, from the end or the front; and
# the mark.
MARKS = [
    ("linux_raid_member", -8192, RAID + struct.pack("<I136xQ", 1, (16 * MIB - 8192) // 512), "a RAID array"),
    (None, 4096, RAID + struct.pack("<I136xQ", 1, 8), "a RAID array"),
    ("linux_raid_member", -65536, RAID + struct.pack("<II", 0, 90), "a RAID array"),
    ("linux_raid_member", -65536, RAID[::-1] + struct.pack(">II", 0, 90), "a RAID array"),
    ("isw_raid_member", -1024, b"Intel Raid ISM Cfg Sig. 1.0.00", "a RAID array"),
    ("ddf_raid_member", -512, b"\xde\x11\xde\x11", "a RAID array"),
    ("drbd", -4096 + 60, b"\x83\x74\x02\x6b", "a DRBD device"),
    ("drbd", -4096 + 60, b"\x83\x74\x02\x6d", "a DRBD device"),
    (None, 0, b"LUKS\xba\xbe\0\1", "a LUKS volume"),
    (None, 512, b"LABELONE", "an LVM group"),
]


@pytest.fixture
def marked(small, tmp_path):
    """marked(n): an ext4 of the label "data" with that mark."""

    def make(number):
        type_, at, mark, _ = MARKS[number]
        path = tmp_path / f"marked{number}"
        path.write_bytes(small("marked", "ext4", FIVE, "data").read_bytes().ljust(16 * MIB, b"\0"))
        with open(path, "r+b") as file:
            file.seek(at, 0 if at >= 0 else 2)
            file.write(mark)
        said = subprocess.run(["/sbin/blkid", "-p", "-o", "value", "-s", "TYPE", path], stdout=subprocess.PIPE, text=True)
        assert not type_ or said.stdout.strip() == type_
        return Disk(path, readonly=False)

    return make


@pytest.mark.parametrize("kernel", ["6.1", "newest"], indirect=True)
@pytest.mark.parametrize("first", range(0, len(MARKS), 2))
def test_disks_that_belong_to_something(first, kernel, marked, small, root_tree, image, initramfs, boot):
    """As for blkid(8) the filesystem that is seen on them is not what has the name."""
    disks = [Disk(image(root_tree(), "erofs")), marked(first), marked(first + 1)]
    root = f"/dev/vda / erofs idmap={MAP}\n"
    with boot(kernel, initramfs(kernel, root + "LABEL=data /srv ext4 nofail,wait=1\n"), "", disks) as guest:
        log = "\n".join(log_lines(guest))
        for disk, (*_, owner) in zip("bc", MARKS[first:]):
            assert f"vd{disk} LABEL=data (belongs to {owner})" in log
    other = Disk(small("other", "ext4", FIVE, "data"))
    with boot(kernel, initramfs(kernel, root + f"UUID={FIVE} /srv ext4\n"), "", [*disks, other]) as guest:
        assert guest.ask("read /srv/who")["content"] == "other"


@pytest.mark.parametrize("kernel", ["6.1", "newest"], indirect=True)
def test_disk_that_belongs_to_something_by_its_path(kernel, marked, root_tree, image, initramfs, boot):
    """It is what was said; what is written to it alone is told."""
    conf = f"/dev/vda / erofs idmap={MAP}\n/dev/vdb /srv ext4 rw\n/dev/vdc /mnt ext4\n"
    disks = [Disk(image(root_tree(), "erofs")), marked(0), marked(2)]
    with boot(kernel, initramfs(kernel, conf), "quiet", disks) as guest:
        log = [line for line in log_lines(guest) if "belongs" in line]
        assert log == [PRE + "/etc/idmap.conf:2: /dev/vdb on /srv: the device belongs to a RAID array by a mark on it,"
                       " which will not have what is written here; mount what is made of it, or take the mark off (wipefs)"]


@pytest.mark.parametrize("kernel", BOTH, indirect=True)
def test_late_name(kernel, root_tree, image, gpt, initramfs, boot):
    """Looked for at each event: found as soon as the disk is there, and till then a line says which
    disks are there and what they are called."""
    disk = image(root_tree(), "ext4", args=("-L", "late"))
    append = f"root=LABEL=late rootfstype=ext4 idmap={MAP}"
    with boot(kernel, initramfs(kernel), append, [Disk(gpt)], qemu_args=SLOT) as guest:
        wait_for_line(guest, f"{PRE}waiting for LABEL=late (disks here: vda, vda1 LABEL=in-gpt,"
                             " vda2, vda5)")
        plug(guest, disk)
        assert owners(guest) == OWNERS
        built = time_of(guest, rf"^{PRE}LABEL=late / .* in \d+ us$")
        assert 0 < built - time_of(guest, r"\[vdb\] \d+ 512-byte logical blocks") < FOUND_MOST_US


# What is not there: which of its kind are, and what more there is to say.
ABSENT = {
    f"UUID={LOGICAL}": (f"vda, vda1 UUID={EXT4}, vda2 UUID={ROOT}, vda5 UUID={FIVE}",
                        " and that it is erofs, ext4, xfs or btrfs"),
    "PARTLABEL=Root": ("vda, vda1 PARTLABEL=data one, vda2 PARTLABEL=root, vda5", ""),
    "SERIAL=serial": ("vda SERIAL=Serial, vda1, vda2, vda5", " and that it is a virtio disk's, 20 bytes at most"),
    "1:2": ("vda 254:0, vda1 254:1, vda2 254:2, vda5 254:5", ""),
    f"PARTUUID={PARTS[2]}/PARTNROFF=1": (
        f"vda, vda1 PARTUUID={PARTS[1].lower()}, vda2 PARTUUID={PARTS[2].lower()}, vda5 PARTUUID="
        f"{PARTS[5].lower()}", ""),
    "/dev/vda3": ("vda, vda1, vda2, vda5", ""),
}


def absent_line(place, source, target):
    here, more = ABSENT[source]
    return (f"{PRE}{place}: {source} on {target}: the device did not come within 1 s (disks here:"
            f" {here}); check its name{more}, load its driver (mkinitramfs -m), or raise wait=")


@pytest.mark.parametrize("kernel", BOTH, indirect=True)
def test_absent_names(kernel, gpt, initramfs, boot):
    """Each is told in one line, with what is there of its kind; nofail goes on."""
    conf = f"/dev/vda2 / erofs idmap={MAP}\n" + "".join(
        f"{source} /n/{i} erofs nofail,wait=1\n" for i, source in enumerate(ABSENT))
    with boot(kernel, initramfs(kernel, conf), "", [Disk(gpt, serial="Serial")]) as guest:
        log = log_lines(guest)
        for i, source in enumerate(ABSENT):
            assert absent_line(f"/etc/idmap.conf:{2 + i}", source, f"/n/{i}") in log
            assert f"{PRE}/n/{i} is skipped, its row says nofail" in log


def test_absent_root(kernel, gpt, initramfs, boot_fails):
    """The line is the last, after the second that was to be waited."""
    source = f"UUID={LOGICAL}"
    console = boot_fails(kernel, initramfs(kernel), f"root={source} rootwait=1",
                         [Disk(gpt, serial="Serial")])
    line = absent_line("cmdline: root=", source, "/")
    assert last_words(console) == (line, "0x00000300")
    assert 1_000_000 <= us(console, line) - us(console, "vda: vda1") < 2_000_000


def test_needs_udev(kernel, initramfs, boot_fails):
    console = boot_fails(kernel, initramfs(kernel), "root=/dev/disk/by-path/pci-0000:00:02.0", [])
    assert last_words(console) == (
        f"{PRE}cmdline: root=: /dev/disk/by-path/pci-0000:00:02.0 is a link that udev makes, and udev"
        " does not run here; write PARTUUID=, PARTLABEL=, UUID=, LABEL=, or the device as in"
        " /dev/vda", "0x00000200")


def test_tiny_has_no_names(kernel, defconfig, initramfs, boot_fails):
    """Refused at once, not waited for, nor taken for a device."""
    initrd = initramfs(kernel, init=defconfig("tiny"))
    for name in ("LABEL=root", "/dev/disk/by-label/root"):
        assert last_words(boot_fails(kernel, initrd, f"root={name} rootfstype=erofs")) == (
            f"{PRE}cmdline: root=: {name} is a name, and names are not built into this idmap-init; write the"
            " device, as in /dev/vda", "0x00000200")
    assert last_words(boot_fails(kernel, initrd, "root=/images/root rootfstype=erofs")) == (
        f"{PRE}cmdline: root=: /images/root on /: image files are not built into this idmap-init; write a device, as in"
        " /dev/vda", "0x00000200")


def test_tiny_passes_over_no_file(kernel, defconfig, initramfs, boot_fails):
    """A table that says other owners, and modules that nobody loads."""
    tiny = defconfig("tiny")
    line = "root=/dev/vda rootfstype=erofs ro"
    assert last_words(boot_fails(kernel, initramfs(kernel, "/dev/root / erofs idmap=100000:0:65536\n", init=tiny), line)) == (
        f"{PRE}/etc/idmap.conf: files are not built into this idmap-init; write idmap= on the kernel command line, or build it"
        " with CONFIG_TABLE_FILE", "0x00000200")
    said, code = last_words(boot_fails(kernel, initramfs(kernel, init=tiny), f"{line} rootwait=1 idmap=100000:0:65536"))
    assert said.endswith("; modules are not built into this idmap-init, and /etc/idmap.modules is passed over; build it with"
                         " CONFIG_MODULES") and code == "0x00000300"


def test_tiny_has_one_row(kernel, defconfig, initramfs, boot_fails):
    """What a build of one row cannot do is told as that, not as a root without an init."""
    for option in ("lower", "upper"):
        console = boot_fails(kernel, initramfs(kernel, init=defconfig("tiny")),
                             f"root=/dev/vda rootfstype=erofs idmap=100000:0:65536,{option}")
        assert last_words(console) == (
            f"{PRE}cmdline: idmap= #1, column 1: this idmap-init is built for one row, the one for /; take"
            " this one out", "0x00000200")
