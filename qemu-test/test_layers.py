# SPDX-License-Identifier: MIT
"""Layers: rows with lower, merged by an overlay that is read-only, forgets, or keeps."""

from __future__ import annotations

import re
import shutil
from pathlib import Path

import pytest

from common import MAPPED, NOBODY, OWNERS, ROOT, last_words, log_lines, options, owners, seen
from guest import Disk
from images import Dir, File, Link, Node, debugfs

MODULES = "virtio_pci,virtio_blk,erofs,squashfs,ext4,overlay"
BASE = "/dev/vda / erofs lower,idmap=100000:0:65536\n"
AT_ODDS = ("; what its row does not say is redirect_dir=nofollow, metacopy=off and index=off here: say on of the one that is"
           " named, too, or take the other out")
PATCH = "/dev/vdb / erofs lower,idmap=200000:0:65536\n"


@pytest.fixture
def patch(image):
    """A layer over busybox_root, of other ids: it adds, replaces and removes, and its root looks
    like no other."""
    owner = {"uid": 200000, "gid": 200000}
    user = {"uid": 201000, "gid": 201000}
    tree = {
        "/": Dir(200007, 200008, 0o711, {"trusted.looks": b"of the patch"}),
        "/etc/hostname": File("patched\n", **owner), "/home/user/note": Node("c", 0, 0, **owner),
        "/patch": Dir(**user), "/patch/file": File("new\n", **user),
        "/patch/stranger": File("x\n", 5, 5), "/deep": Dir(**owner), "/deep/er": Dir(**user),
        "/deep/er/file": File("deep\n", **user), "/deep/link": Link("/patch", **owner),
    }
    return image(tree, "erofs")


def overlays(guest):
    return [m for m in guest.mounts() if m.type == "overlay"]


@pytest.mark.every_kernel
@pytest.mark.every_machine
@pytest.mark.parametrize("kernel", MAPPED, indirect=True)
def test_volatile_root_and_others(kernel, root_tree, patch, image, initramfs, boot):
    """Two layers with a map each below a tmpfs at /, others elsewhere, in one guest."""
    conf = (
        "none /opt/app overlay noexec\n"  # one layer alone
        "/dev/vdb /opt/app erofs lower,X-mount.subdir=deep,idmap=200000:30:1,201000:31:1\n"
        "tmpfs / overlay size=16m,mode=0751\n" + BASE + PATCH +
        "tmpfs /srv overlay size=1m\n"
        "/images/app /srv bind lower\n"
        "/dev/vdb /srv erofs lower,idmap=200000:0:65536\n"
        "/dev/vdb /mnt erofs X-mount.subdir=/deep/link,idmap=201000:9:1\n"
        "/patch /tmp bind\n")
    disks = [Disk(image(root_tree(), "erofs")), Disk(patch)]
    with boot(kernel, initramfs(kernel, conf, modules=MODULES), "", disks) as guest:
        report = guest.report()
        assert [fd["fd"] for fd in report["fds"]] == [0, 1, 2]
        # The base through its map, the patch through its own.
        assert owners(guest) == OWNERS
        assert seen(guest, "/patch/file") == (1000, 1000)
        assert seen(guest, "/patch/stranger") == NOBODY
        assert guest.ask("read /etc/hostname")["content"] == "patched\n"
        assert guest.ask("stat /home/user/note") == {"error": "ENOENT"}
        assert guest.run("/bin/suid", uid=1000, gid=1000) == "1000 0 1000 0\n"
        # The root has the owner of the highest layer's, and the mode that the row says.
        root = guest.ask("stat /")
        assert (root["uid"], root["gid"], root["mode"] & 0o7777) == (7, 8, 0o751)
        # Volatile: it takes what is written, of anyone.
        assert "error" not in guest.ask("write /etc/new text")
        assert seen(guest, "/etc/new") == (0, 0)
        assert "error" not in guest.ask("chown /owners/user 5 6")
        assert seen(guest, "/owners/user") == (5, 6)
        assert 15 << 20 <= statfs_size(guest, "/") <= 16 << 20
        # Elsewhere, with the patch on top of a folder of the root.
        srv = guest.ask("stat /srv")
        assert (srv["uid"], srv["gid"], srv["mode"] & 0o7777) == (7, 8, 0o711)
        assert guest.ask("xattrs /srv")["xattrs"]["trusted.looks"] == "of the patch"
        assert seen(guest, "/srv/data") == (1000, 1000)
        assert seen(guest, "/srv/patch") == (1000, 1000)
        assert "error" not in guest.ask("write /srv/new text")
        assert statfs_size(guest, "/srv") == 1 << 20
        # Read-only, of a single layer, a folder of its filesystem.
        assert guest.ask("ls /opt/app")["entries"].keys() == {"er", "link"}
        assert seen(guest, "/opt/app") == (30, 30) and seen(guest, "/opt/app/er") == (31, 31)
        assert guest.ask("open /opt/app/new wc") == {"error": "EROFS"}
        # A folder of a filesystem, through a link that leads inside it.
        assert seen(guest, "/mnt/file") == (9, 9)
        # A bind of what the overlay shows.
        assert seen(guest, "/tmp/file") == (1000, 1000)

        assert options(guest, "/srv") == ("overlay", {"rw", "nosuid", "nodev", "relatime"})
        assert options(guest, "/opt/app") == ("overlay",
                                              {"ro", "nosuid", "nodev", "noexec", "relatime"})
        assert options(guest, "/")[1] == {"rw", "relatime"}
        super_options = [m for m in overlays(guest) if m.target == "/"][0].super_options
        assert not [word for word in super_options
                    if re.match("(redirect_dir|metacopy|index)=(on|follow)", word)]
        # The layers themselves are nowhere.
        assert sorted(m.target for m in guest.mounts()
                      if m.type in ("overlay", "erofs", "tmpfs") and m.target != "/run") == [
            "/", "/mnt", "/opt/app", "/srv", "/tmp"]
        lines = [re.sub(r" in \d+ us$", "", line) for line in log_lines(guest) if " in " in line]
        assert [line.split()[1:4] for line in lines][:3] == [
            ["/dev/vda", "/", "erofs"], ["/dev/vdb", "/", "erofs"], ["tmpfs", "/", "overlay"]]


def statfs_size(guest, path):
    answer = guest.ask("statfs", path)
    return answer["blocks"] * answer["bsize"]


@pytest.mark.every_kernel
@pytest.mark.parametrize("kernel", MAPPED, indirect=True)
def test_read_only_root(kernel, root_tree, patch, image, initramfs, boot):
    """On the command line, where root= names the lowest layer."""
    append = ("root=/dev/vda rootfstype=erofs rw idmap=none,/,overlay,noatime"
              " idmap=/dev/root,/,auto,lower,100000:0:65536"
              " idmap=/dev/vdb,/,erofs,lower,200000:0:65536")
    disks = [Disk(image(root_tree(), "erofs")), Disk(patch)]
    with boot(kernel, initramfs(kernel, modules=MODULES), append, disks) as guest:
        assert owners(guest) == OWNERS
        assert seen(guest, "/patch/file") == (1000, 1000)
        assert guest.ask("stat /home/user/note") == {"error": "ENOENT"}
        root = guest.ask("stat /")
        assert (root["uid"], root["gid"], root["mode"] & 0o7777) == (7, 8, 0o711)
        assert guest.ask("open /etc/new wc") == {"error": "EROFS"}
        assert options(guest, "/") == ("overlay", {"ro", "noatime"})


@pytest.mark.every_kernel
@pytest.mark.parametrize("kernel", MAPPED, indirect=True)
def test_persistent_root(kernel, root_tree, patch, image, initramfs, boot, tmp_path):
    """What the first guest writes, the second sees; on the disk it has the upper row's ids."""
    top = shutil.copy(image({"/": Dir(300000, 300000)}, "ext4"), tmp_path / "top")
    conf = ("upper / overlay\n" + BASE + PATCH +
            "/dev/vdc / ext4 upper,idmap=300000:0:65536\n")
    disks = [Disk(image(root_tree(), "erofs")), Disk(patch), Disk(top, readonly=False)]
    initrd = initramfs(kernel, conf, modules=MODULES)
    with boot(kernel, initrd, "", disks) as guest:
        root = guest.ask("stat /")
        assert (root["uid"], root["gid"], root["mode"] & 0o7777) == (7, 8, 0o711)
        assert "error" not in guest.ask("write /etc/new text")
        assert "error" not in guest.ask("chown /etc/new 1000 1001")
        assert "error" not in guest.ask("chown /owners/user 5 6")
        assert "error" not in guest.ask("chmod / 0755")
        guest.run("/bin/sync")
        guest.poweroff()
    with boot(kernel, initrd, "", disks) as guest:
        assert guest.ask("read /etc/new")["content"] == "text"
        assert owners(guest) == OWNERS | {"user": (5, 6)}
        # What the guest has made of its root stays.
        assert guest.ask("stat /")["mode"] & 0o7777 == 0o755
        guest.poweroff()
    found = debugfs(top, "stat /upper/etc/new")
    assert re.search(r"User: *301000 +Group: *301001", found)


@pytest.mark.parametrize("kernel", ["6.1", "newest"], indirect=True)
def test_volatile_upper(kernel, root_tree, image, initramfs, boot, boot_fails, tmp_path):
    """The option of overlayfs makes an upper disk that is for one boot; what is advised then helps."""
    top = shutil.copy(image({"/": Dir()}, "ext4"), tmp_path / "top")
    conf = "upper / overlay WORD\n" + BASE + "/dev/vdb / ext4 upper\n"
    disks = [Disk(image(root_tree(), "erofs")), Disk(top, readonly=False)]
    initrds = [initramfs(kernel, conf.replace("WORD", word), modules=MODULES) for word in ("volatile", "rw")]
    with boot(kernel, initrds[0], "", disks) as guest:
        assert guest.ask("write /etc/new text") == {"written": 4}
        guest.poweroff()
    for initrd in initrds:
        last, code = last_words(boot_fails(kernel, initrd, "", disks))
        assert last.endswith("; what a volatile overlay wrote may not be whole after its boot; take volatile out, and"
                             " delete the folder work of the upper disk") and code == "0x00000400"
    path = Path("/", "work", "work", "incompat", "volatile")
    debugfs(top, f"rm {path / 'dirty'}", write=True)
    for folder in (path, *list(path.parents)[:-1]):
        debugfs(top, f"rmdir {folder}", write=True)
    with boot(kernel, initrds[1], "", disks) as guest:
        assert owners(guest) == OWNERS


@pytest.mark.parametrize("kernel", MAPPED, indirect=True)
def test_as_many_as_the_kernel_takes(kernel, root_tree, image, initramfs, boot):
    """500 layers of one share, each with a file of its own; the last one declared is on top."""
    count = 500
    tree = {"/": Dir(5000, 5000)}
    for i in range(count):
        tree[f"/l{i}"] = Dir(5000 + i % 3, 5000)
        tree[f"/l{i}/file{i}"] = File(b"", 5000, 5000)
        tree[f"/l{i}/same"] = File(f"{i}\n", 5000, 5000)
    conf = ("/dev/vda / erofs idmap=100000:0:65536\nnone /srv overlay\n" + "".join(
        f"/dev/vdb /srv erofs lower,X-mount.subdir=l{i},idmap=5000:{i % 2}:10\n"
        for i in range(count)))
    disks = [Disk(image(root_tree(), "erofs")), Disk(image(tree, "erofs"))]
    with boot(kernel, initramfs(kernel, conf, modules=MODULES), "", disks) as guest:
        entries = guest.ask("ls /srv")["entries"]
        assert len(entries) == count + 1
        assert {i: entries[f"file{i}"]["uid"] for i in range(count)} == {
            i: i % 2 for i in range(count)}
        assert guest.ask("read /srv/same")["content"] == f"{count - 1}\n"
        assert seen(guest, "/srv") == ((count - 1) % 3 + (count - 1) % 2, (count - 1) % 2)
        assert [m.target for m in guest.mounts() if m.type in ("erofs", "overlay")] == ["/", "/srv"]
        assert [fd["fd"] for fd in guest.report()["fds"]] == [0, 1, 2]


def test_one_layer_too_many(kernel, initramfs, boot_fails):
    conf = "".join(f"/dev/vda / erofs lower,X-mount.subdir=l{i}\n" for i in range(501))
    console = boot_fails(kernel, initramfs(kernel, conf + "none / overlay\n"), "")
    assert last_words(console) == (
        "idmap-init: /etc/idmap.conf:502:6: / has 501 layers, and the kernel merges 500; make 1"
        " fewer", "0x00000200")


@pytest.mark.parametrize("kernel", ["6.1", "7.x"], indirect=True)
@pytest.mark.parametrize("conf,line", [
    (BASE + "none / overlay no_such=1\n",
     "/etc/idmap.conf:2: none on /: the layers do not merge (invalid argument; kernel: overlay: Unknown"
     " parameter 'no_such'); correct the overlay's options"),
    (BASE + "tmpfs / overlay metacopy=on\n",
     "/etc/idmap.conf:2: tmpfs on /: the layers do not merge (invalid argument; kernel: overlayfs: conflicting"
     " options: metacopy=on,redirect_dir=nofollow)" + AT_ODDS),
    (BASE + "tmpfs / overlay nfs_export=on\n",
     "/etc/idmap.conf:2: tmpfs on /: the layers do not merge (invalid argument; kernel: overlayfs: conflicting"
     " options: nfs_export=on,index=off)" + AT_ODDS),
    (BASE + "tmpfs / overlay size=much\n",
     "/etc/idmap.conf:2: tmpfs on /: tmpfs does not take the option size=much (invalid argument;"
     " kernel: tmpfs: Bad value for 'size'); see the filesystem's manual for the options it takes"),
    (BASE + "/dev/vdd / ext4 upper\nupper / overlay\n",
     "/etc/idmap.conf:2: /dev/vdd on /: ext4 does not mount (permission denied; kernel: /dev/vdd:"
     " Can't open blockdev); the upper layer needs a device and a filesystem that can be written"),
    (BASE + "/dev/vdc / ext4 upper\nupper / overlay\n",
     "/etc/idmap.conf:2: /dev/vdc on /: the folders upper and work cannot be made in the top (not a"
     " folder); they are to be folders, not files or links"),
    (BASE + "/dev/vdb / erofs lower,X-mount.subdir=none\nnone / overlay\n",
     "/etc/idmap.conf:2: /dev/vdb on /: it has no folder /none to show (not there); correct"
     " X-mount.subdir="),
    (BASE + "tmpfs / overlay " + ",".join(["size=1000000"] * 50) + "\n",
     "/etc/idmap.conf:2: tmpfs on /: the layers do not merge (too long a list); write fewer options"),
    (ROOT + "/images /mnt bind lower\nnone /mnt overlay\n/mnt /srv bind lower\nnone /srv overlay\n"
     "/srv /tmp bind lower\nnone /tmp overlay\n",
     "/etc/idmap.conf:7: none on /tmp: the layers do not merge (invalid argument; kernel: overlayfs: maximum fs stacking"
     " depth exceeded); an overlay goes on an overlay once; write their layers in one"),
], ids=["option", "options at odds", "more at odds", "tmpfs option", "upper read-only", "upper a link", "no folder", "too many options",
        "too deep"])
def test_failures(conf, line, kernel, root_tree, patch, image, initramfs, boot_fails):
    hostile = image({"/": Dir(), "/upper": Link("/etc"), "/etc": Dir()}, "ext4")
    disks = [Disk(image(root_tree(), "erofs")), Disk(patch),
             Disk(hostile, readonly=False, snapshot=True), Disk(hostile)]
    console = boot_fails(kernel, initramfs(kernel, conf, modules=MODULES), "", disks)
    # Newer kernels say less of why.
    last, code = last_words(console)
    assert (last, code) in [(f"idmap-init: {text}", "0x00000400") for text in (
        line, line.replace("; kernel: /dev/vdd: Can't open blockdev", ""),
        line.replace("overlay: Unknown parameter 'no_such'",
                     'overlayfs: unrecognized mount option "no_such=1" or missing value'))]


def test_without_the_module(kernel, root_tree, image, initramfs, boot_fails):
    console = boot_fails(kernel, initramfs(kernel, BASE + "none / overlay\n"), "",
                         [Disk(image(root_tree(), "erofs"))])
    assert last_words(console) == (
        "idmap-init: /etc/idmap.conf:2: none on /: the layers do not merge (no such device); load"
        " the module overlay (mkinitramfs -m overlay)", "0x00000400")


@pytest.mark.parametrize("kernel", ["5.10"], indirect=True)
def test_unmapped_before_5_12(kernel, root_tree, image, initramfs, boot):
    """Where nothing is mapped, nothing of 5.12 is asked for; nor for the folders that are layers."""
    conf = "/dev/vda / ext4 lower\ntmpfs / overlay noatime\n/etc /srv bind lower\n/images /srv bind lower\nnone /srv overlay\n"
    with boot(kernel, initramfs(kernel, conf, modules=MODULES), "",
              [Disk(image(root_tree(), "ext4"))]) as guest:
        assert seen(guest, "/owners/user") == (101000, 101000)
        assert "error" not in guest.ask("write /etc/new text")
        assert options(guest, "/") == ("overlay", {"rw", "noatime"})
        names = {*guest.ask("ls /etc")["entries"], *guest.ask("ls /images")["entries"]}
        assert names - {".", ".."} and {*guest.ask("ls /srv")["entries"]} == names
