# SPDX-License-Identifier: MIT
"""Image files: in the initramfs and in the new root, by the kernel itself or by a loop device."""

from __future__ import annotations

import pytest

from common import MAPPED, OWNERS, ROOT, last_words, log_lines, options, owners, seen
from guest import Disk
from images import Dir, File, Link

MODULES = "virtio_pci,virtio_blk,erofs,squashfs,ext4,loop,overlay"


@pytest.fixture
def data(image):
    """Of any type, with a file of 5007."""
    return lambda fs: image({"/": Dir(5000, 5000), "/file": File("data\n", 5007, 5007)}, fs)


def loops(guest):
    """What the kernel's loop devices show, by number: the file, and whether they go by themselves."""
    found = {}
    for name in guest.ask("ls /sys/block")["entries"]:
        if name.startswith("loop") and "error" not in guest.ask("stat", f"/sys/block/{name}/loop"):
            found[name] = tuple(
                guest.ask("read", f"/sys/block/{name}/{file}")["content"].strip()
                for file in ("loop/backing_file", "loop/autoclear", "ro"))
    return found


@pytest.mark.every_kernel
@pytest.mark.every_machine
@pytest.mark.parametrize("append,file_backed", [
    # With root= the kernel's initramfs is a ramfs, else a tmpfs, on which erofs takes no file.
    ("root=/images/root rootfstype=erofs ro idmap=100000:0:65536", True),
    ("idmap=tmpfs,/,overlay idmap=/images/root,/,erofs,lower,100000:0:65536", False),
], ids=["root", "layer"])
@pytest.mark.parametrize("kernel", MAPPED, indirect=True)
def test_root_in_the_initramfs(kernel, append, file_backed, root_tree, image, initramfs, boot):
    """No disk at all. erofs is mounted by the kernel itself where that can be."""
    initrd = initramfs(kernel, modules=MODULES, add=[(image(root_tree(), "erofs"), "/images/root")])
    with boot(kernel, initrd, append) as guest:
        assert owners(guest) == OWNERS
        # The file lives on although the initramfs has gone.
        assert guest.run("/bin/suid", uid=1000, gid=1000) == "1000 0 1000 0\n"
        if file_backed:
            assert guest.ask("open /etc/new wc") == {"error": "EROFS"}
        else:
            assert "error" not in guest.ask("write /etc/new text")
        if file_backed and kernel.name != "6.1":
            assert loops(guest) == {}
            assert [m.source for m in guest.mounts() if m.target == "/"] == ["/images/root"]
        else:
            assert loops(guest) == {"loop0": ("/images/root (deleted)", "1", "1")}


@pytest.mark.every_kernel
@pytest.mark.parametrize("kernel", MAPPED, indirect=True)
def test_trees(kernel, root_tree, data, image, initramfs, boot):
    """In the initramfs and in the new root, which is asked through its links, all in one guest."""
    squashfs = "squashfs" if kernel.name != "6.1" else "erofs"
    tree = root_tree()
    tree["/images/erofs"] = File(data("erofs"), 100000, 100000, 0o600)
    # Of an owner whom the map of the root does not know: nobody could read it there.
    tree["/images/private"] = File(data("ext4"), 7, 7, 0o600)
    tree["/images/link"] = Link("/../images/erofs", 100000, 100000)
    conf = (ROOT +
            f"/images/first /srv {squashfs} rw,idmap=5000:0:10\n"
            "root:/images/link /mnt erofs:squashfs idmap=5000:10:10\n"
            "root:/images/private /home ext4 idmap=5000:20:10\n"
            "/images/first /opt/app auto idmap=5000:30:10\n"
            "root:/images/erofs /tmp erofs\n"
            "/images/none /root erofs nofail\n"
            "root:/images/none /root/deep erofs nofail\n")
    initrd = initramfs(kernel, conf, modules=MODULES, add=[(data(squashfs), "/images/first")])
    with boot(kernel, initrd, "", [Disk(image(tree, "erofs"))]) as guest:
        assert seen(guest, "/srv/file") == (7, 7)
        assert seen(guest, "/mnt/file") == (17, 17)
        assert seen(guest, "/home/file") == (27, 27)
        assert seen(guest, "/opt/app/file") == (37, 37)
        assert seen(guest, "/tmp/file") == (5007, 5007)
        assert guest.ask("read /home/file")["content"] == "data\n"
        assert options(guest, "/home") == ("ext4", {"ro", "nosuid", "nodev", "relatime", "idmapped"})
        assert "ro" in [m for m in guest.mounts() if m.target == "/home"][0].super_options
        shown = loops(guest)
        # Read-only, and gone with the mount.
        assert {show[1:] for show in shown.values()} == {("1", "1")}
        assert len(shown) == (5 if kernel.name == "6.1" else 3)
        guest.run("/bin/umount", "/home")
        assert len(loops(guest)) == len(shown) - 1
        assert [(fd["fd"], fd["target"]) for fd in guest.report()["fds"]] == [(n, "/dev/console") for n in range(3)]
        log = log_lines(guest)
        assert ("idmap-init: /etc/idmap.conf:7: /images/none on /root: the image file cannot be opened"
                " (not there); a path is one of the initramfs, root:/PATH one of the new root") in log
        assert "idmap-init: /images/first is an image file, so it is ro on /srv, and not rw" in log
        assert "idmap-init: /root is skipped, its row says nofail" in log
        assert "idmap-init: /root/deep is skipped, what it stands on is absent" in log


@pytest.mark.parametrize("conf,line,code", [
    ("/images/none / erofs\n",
     "/images/none on /: the image file cannot be opened (not there); a path is one of the"
     " initramfs, root:/PATH one of the new root", 3),
    ("/images / erofs\n",
     "/images on /: it is neither a block device nor an image file; correct SOURCE, or write the"
     " type bind for a folder of the new root", 3),
    ("/images/data / ext4 upper\nupper / overlay\n/images/data / ext4 lower\n",
     "/images/data on /: an image file is mounted read-only; write ro, or put a layer of tmpfs on it",
     4),
    ("/images/data / ext4\n",
     "/images/data on /: the image file gets no loop device (not there); load the module loop"
     " (mkinitramfs -m loop)", 4),
    ("/images/junk / erofs\n",
     "/images/junk on /: erofs does not mount (invalid argument); check TYPE and what is on the"
     " device", 4),
], ids=["absent", "folder", "upper", "no loop", "junk"])
@pytest.mark.parametrize("kernel", ["6.1", "7.x"], indirect=True)
def test_failures(conf, line, code, kernel, data, initramfs, boot_fails, tmp_path):
    junk = tmp_path / "junk"
    junk.write_bytes(b"\xa5" * 65536)
    modules = "erofs,ext4" + (",loop" if "junk" in conf else "")
    console = boot_fails(kernel, initramfs(kernel, conf, modules=modules,
                                           add=[(data("ext4"), "/images/data"),
                                                (junk, "/images/junk")]), "")
    last, exit_code = last_words(console)
    assert last.partition(" (invalid argument; kernel:")[0] in f"idmap-init: /etc/idmap.conf:1: {line}"
    assert exit_code == f"0x00000{code}00"


OWN_FOLDER = "mount it on a folder of its own, and bind that in both"


@pytest.mark.parametrize("fs, options, remedy, works", [
    ("xfs", ("ro", "ro"), "bind /mnt", "root:/images/file /mnt xfs\n/mnt /srv bind idmap=0:5:10\n"),
    ("btrfs", ("ro", "X-mount.subdir=home"), OWN_FOLDER,
     "root:/images/file /opt/app btrfs\n/opt/app /mnt bind\n/opt/app/home /srv bind idmap=0:5:10\n"),
    ("btrfs", ("subvol=/", "subvolid=5"), None, None)])
def test_image_that_is_a_clone_of_itself(fs, options, remedy, works, kernel, root_tree, image, initramfs, boot, boot_fails):
    """These two are known by their UUID, whichever loop device they lie on."""
    tree = root_tree(0)
    tree["/images/file"] = File(image({"/": Dir(0, 0), "/home": Dir(0, 0)}, fs))
    disks = [Disk(image(tree, "squashfs"))]
    modules = f"virtio_pci,virtio_blk,loop,squashfs,{fs}"
    root = "/dev/vda / squashfs\n"
    conf = root + f"root:/images/file /mnt {fs} {options[0]}\nroot:/images/file /srv {fs} {options[1]},idmap=0:5:10\n"
    line, code = last_words(boot_fails(kernel, initramfs(kernel, conf, modules=modules), "", disks))
    assert code == "0x00000400" and line.endswith(
        "; the row for /mnt (/etc/idmap.conf:2) has the same image file, and it can be mounted once only: " + remedy
        if remedy else "or boot Linux 6.7 or newer"), line
    if works:
        with boot(kernel, initramfs(kernel, root + works, modules=modules), "", disks) as guest:
            assert (seen(guest, "/mnt"), seen(guest, "/srv")) == ((0, 0), (5, 5))


@pytest.mark.parametrize("kernel", ["6.1", "7.x"], indirect=True)
def test_link_out_of_the_root(kernel, root_tree, data, image, initramfs, boot_fails):
    """A link in the root's image leads no further than that root, whatever the initramfs has."""
    tree = root_tree()
    tree["/images/link"] = Link("/secret", 100000, 100000)
    conf = ROOT + "root:/images/link /srv ext4\n"
    initrd = initramfs(kernel, conf, modules=MODULES, add=[(data("ext4"), "/secret")])
    console = boot_fails(kernel, initrd, "", [Disk(image(tree, "erofs"))])
    assert last_words(console) == (
        "idmap-init: /etc/idmap.conf:2: root:/images/link on /srv: the image file cannot be opened"
        " (not there); a path is one of the new root's", "0x00000300")


@pytest.mark.parametrize("kernel", ["6.12", "newest"], indirect=True)
def test_file_of_no_whole_sectors(kernel, root_tree, image, initramfs, boot_fails, tmp_path):
    """mksquashfs -nopad: the loop device has whole sectors, and the image's tables stand at its end."""
    tree = {"/": Dir(5000, 5000), "/file": File(bytes(range(256)) * 20, 5007, 5007)}
    bare = image(tree, "squashfs").read_bytes().rstrip(b"\0")
    files = {"/cut": bare, "/pointer": b"version https://git-lfs.github.com/spec/v1\n" * 2}
    for name, content in files.items():
        (tmp_path / name[1:]).write_bytes(content)
    assert len(bare) > 512 and len(bare) % 512
    for name, told in (("/cut", f"the image file's last {len(bare) % 512} bytes are missing on the loop device, which has sectors"
                        " of 512; pad the file to a multiple of that"),
                       ("/pointer", "check TYPE and what is on the device")):
        initrd = initramfs(kernel, ROOT + f"{name} /srv squashfs idmap=5000:0:10\n", modules=MODULES,
                           add=[(tmp_path / name[1:], name)])
        line, code = last_words(boot_fails(kernel, initrd, "quiet", [Disk(image(root_tree(), "erofs"))]))
        assert line.startswith(f"idmap-init: /etc/idmap.conf:2: {name} on /srv: ") and line.endswith(told) and code == "0x00000400"
