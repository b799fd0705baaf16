# SPDX-License-Identifier: MIT
"""Disks that come late, or never: how long idmap-init waits, and how soon it sees that they came.

Times are those of the kernel log, so of the guest, which under TCG runs a little slower than the host.
"""

from __future__ import annotations

import re
import time

import pytest

from common import FOUND_MOST_US, PRE, ROOT, SLOT, last_words, owners, plug, time_of, us, wait_for_line
from guest import Disk
from images import Dir, File, partitions

MAP = "100000:0:65536"

DISK_READY = r"\[vda\] \d+ 512-byte logical blocks"
ROW_BUILT = rf"^{PRE}/dev/vda / .* in \d+ us$"
WAITING = f"{PRE}waiting for /dev/vda (disks here: none)"


@pytest.mark.parametrize("kernel", ["6.1", "7.x"], indirect=True)
def test_late_disk_is_found_at_once(kernel, root_tree, image, initramfs, boot):
    """From the driver's line about the disk to the row's: the kernel's event, the open, the mount of
    the root, and the hand-off's checks, but no sleep until the next look."""
    disk = image(root_tree(), "erofs")
    append = f"root=/dev/vda rootfstype=erofs idmap={MAP}"
    with boot(kernel, initramfs(kernel), append, qemu_args=SLOT) as guest:
        wait_for_line(guest, WAITING)  # said after one second
        time.sleep(1)
        plug(guest, disk)
        assert owners(guest)["user"] == (1000, 1000)
        assert 0 < time_of(guest, ROW_BUILT) - time_of(guest, DISK_READY) < FOUND_MOST_US


@pytest.mark.parametrize("kernel", ["7.x"], indirect=True)
def test_rootwait_waits_for_ever(kernel, root_tree, image, initramfs, boot):
    """Longer than the 10 seconds that a row waits by itself."""
    disk = image(root_tree(), "erofs")
    append = f"root=/dev/vda rootfstype=erofs rootwait idmap={MAP}"
    with boot(kernel, initramfs(kernel), append, qemu_args=SLOT) as guest:
        wait_for_line(guest, WAITING)
        time.sleep(12)
        plug(guest, disk)
        assert owners(guest)["user"] == (1000, 1000)
        assert time_of(guest, re.escape(WAITING)) + 10_500_000 < time_of(guest, ROW_BUILT)


@pytest.mark.parametrize("append,place", [
    (f"root=/dev/vdb rootfstype=erofs rootwait=1 idmap={MAP}", "idmap= #1"),
    ("root=/dev/vdb rootfstype=erofs rootwait=1", "root="),
    (f"idmap=/dev/vdb,/,erofs,wait=1,{MAP}", "idmap= #1"),
], ids=["rootwait with a map", "rootwait", "wait"])
def test_gives_up_after_one_second(append, place, kernel, root_tree, image, initramfs, boot_fails):
    console = boot_fails(kernel, initramfs(kernel), append, [Disk(image(root_tree(), "erofs"))])
    line = (f"{PRE}cmdline: {place}: /dev/vdb on /: the device did not come within 1 s (disks here:"
            " vda); check its name, load its driver (mkinitramfs -m), or raise wait=")
    assert last_words(console) == (line, "0x00000300")
    # The drivers are loaded when the waiting begins; the last of them tells of the disk there is.
    waited = us(console, line) - us(console, "[vda] ")
    assert 1_000_000 <= waited < 2_000_000


@pytest.mark.parametrize("kernel", ["7.x"], indirect=True)
def test_rootdelay(kernel, root_tree, image, initramfs, boot):
    """Sleeps first, although the disk is there, and no longer than that."""
    times = {}
    for delay in ("", "rootdelay=2"):
        append = f"root=/dev/vda rootfstype=erofs {delay} idmap={MAP}"
        with boot(kernel, initramfs(kernel), append, [Disk(image(root_tree(), "erofs"))]) as guest:
            times[delay] = time_of(guest, ROW_BUILT) - time_of(guest, DISK_READY)
    assert times[""] < 1_000_000
    assert 2_000_000 <= times["rootdelay=2"] < 3_500_000


@pytest.mark.parametrize("kernel", ["6.1", "7.x"], indirect=True)
def test_rows_wait_together(kernel, root_tree, image, initramfs, boot):
    """Three rows whose disks never come cost the time of one; nofail goes on without them."""
    conf = (f"/dev/vda / erofs idmap={MAP}\n"
            "/dev/vdx /srv erofs nofail,wait=3\n/dev/vdy /mnt erofs nofail,wait=3\n"
            "/dev/vdz /home erofs nofail,wait=3\n/images/app /opt/app bind\n")
    with boot(kernel, initramfs(kernel, conf), "", [Disk(image(root_tree(), "erofs"))]) as guest:
        assert owners(guest)["user"] == (1000, 1000)
        skipped = [time_of(guest, f"{PRE}{target} is skipped, its row says nofail")
                   for target in ("/home", "/mnt", "/srv")]
        ready = time_of(guest, DISK_READY)
        assert 3_000_000 <= min(skipped) - ready and max(skipped) - ready < 4_500_000
        assert [m.target for m in guest.mounts() if m.type == "erofs"] == ["/", "/opt/app"]


@pytest.mark.parametrize("kernel", ["6.1", "newest"], indirect=True)
def test_blocks_smaller_than_sectors(kernel, root_tree, image, initramfs, boot, boot_fails):
    """What was made for sectors of 512 bytes, on a disk whose sectors have 4096; made for those it mounts."""
    four_k = ["-device", "virtio-blk-pci,drive=disk1,logical_block_size=4096,physical_block_size=4096"]
    tree = {"/": Dir(5000, 5000), "/file": File("data\n", 5007, 5007)}

    def guest_of(fs, args, run):
        disk = image(tree, fs, args=args)
        drive = ["-drive", f"if=none,id=disk1,file={disk},format=raw,readonly=on"]
        initrd = initramfs(kernel, f"{ROOT}/dev/vdb /srv {fs}\n", modules=f"virtio_pci,virtio_blk,erofs,{fs},nls_ascii,nls_cp437")
        return run(kernel, initrd, "quiet", [Disk(image(root_tree(), "erofs"))], qemu_args=[*drive, *four_k])

    for fs, small in (("ext4", ["-b", "1024"]), ("xfs", ["-s", "size=512"]), ("vfat", ["-S", "512"])):
        line, _ = last_words(guest_of(fs, small, boot_fails))
        assert line.endswith("; its blocks are smaller than the device's sectors, or than dm-verity's blocks; attach it"
                             " with smaller ones, or make it with 4096 (mke2fs -b, mkfs.xfs -s size=, mkfs.vfat -S)")
    for fs, large in (("ext4", ["-b", "4096"]), ("xfs", ["-s", "size=4096"]), ("vfat", ["-S", "4096"])):
        with guest_of(fs, large, boot) as guest:
            assert guest.ask("read /srv/file")["content"] == "data\n"


def test_blocks_larger_than_pages(kernel, root_tree, image, initramfs, boot_fails):
    for fs, large in (("ext4", ["-b", "65536"]), ("xfs", ["-b", "size=16384"])):
        disks = [Disk(image(root_tree(), "erofs")), Disk(image({"/": Dir()}, fs, args=large, size_mib=400))]
        initrd = initramfs(kernel, f"{ROOT}/dev/vdb /srv {fs}\n", modules=f"virtio_pci,virtio_blk,erofs,{fs}")
        line, _ = last_words(boot_fails(kernel, initrd, "quiet", disks))
        assert line.endswith("; its blocks are larger than this kernel takes; make it with 4096 (-b, of xfs -b size=, of"
                             " btrfs -s), or boot a newer one")


@pytest.mark.parametrize("kernel", ["6.12", "newest"], indirect=True)
def test_drive_without_a_medium(kernel, root_tree, image, initramfs, boot, boot_fails):
    """A medium that is not there is as absent as a device, and nofail is for that, too."""
    drive = ["-device", "virtio-scsi-pci", "-device", "scsi-cd"]
    disks = [Disk(image(root_tree(), "erofs"))]

    def initrd(row):
        return initramfs(kernel, f"{ROOT}{row}\n", modules="virtio_pci,virtio_blk,erofs,virtio_scsi,sr_mod,ext4")

    for type_, first in (("erofs", "erofs"), ("auto", r"[a-z0-9]+")):
        line, code = last_words(boot_fails(kernel, initrd(f"/dev/sr0 /srv {type_}"), "quiet", disks, qemu_args=drive))
        assert re.fullmatch(rf"{PRE}/etc/idmap.conf:2: /dev/sr0 on /srv: {first} does not mount \(no medium in it"
                            r"(; kernel: [^)]*)?\); put one in", line), line
        assert code == "0x00000300"
    with boot(kernel, initrd("/dev/sr0 /srv auto nofail\n/dev/vda /mnt erofs"), "", disks, qemu_args=drive) as guest:
        assert {m.target for m in guest.mounts() if m.type == "erofs"} == {"/", "/mnt"}


@pytest.mark.parametrize("kernel", ["6.1", "newest"], indirect=True)
def test_disk_with_partitions_named_whole(kernel, root_tree, image, initramfs, boot_fails, tmp_path):
    root = image(root_tree(), "erofs")
    disk = partitions(tmp_path / "disk", ["label: gpt"], [(root, "name=root")])
    for type_ in ("erofs", "auto", "ext4:erofs"):
        initrd = initramfs(kernel, f"{ROOT}/dev/vdb /srv {type_}\n")
        line, code = last_words(boot_fails(kernel, initrd, "quiet", [Disk(root), Disk(disk)]))
        assert line.startswith(f"{PRE}/etc/idmap.conf:2: /dev/vdb on /srv: ") and code == "0x00000400"
        assert line.endswith("); it has partitions: name one, such as /dev/vdb1")


def test_source_where_there_is_no_device(kernel, root_tree, image, initramfs, boot):
    """It is any word, one that could be a device's number or a path among them."""
    conf = ROOT + "d /srv devtmpfs\ncafe /mnt cgroup2\n/proc /opt proc\n"
    with boot(kernel, initramfs(kernel, conf), "", [Disk(image(root_tree(), "erofs"))]) as guest:
        assert {(m.source, m.target, m.type) for m in guest.mounts()} >= {
            ("d", "/srv", "devtmpfs"), ("cafe", "/mnt", "cgroup2"), ("/proc", "/opt", "proc")}
