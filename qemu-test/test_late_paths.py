# SPDX-License-Identifier: MIT
"""Paths that are there only once something else stands: what a row brings that is named by a link, and folders
that are made for a row where something comes along."""

from __future__ import annotations

import pytest

from common import ROOT, in_turn, log_lines, seen
from guest import Disk
from images import Dir, File, Link

BOTH = pytest.mark.parametrize("kernel", ["6.1", "newest"], indirect=True)
MODULES = "virtio_pci,virtio_blk,erofs,ext4,overlay,loop"
OWN = (100000, 100000)
LIB = "/dev/vdb /lib/data erofs idmap=5000:0:10\n"
Z = "/dev/vdb /z/data erofs idmap=5000:0:10\n"


@pytest.mark.parametrize("kernel,rows,target", in_turn(
    (LIB + "/usr/lib/data/keys /aaa bind\n", "/aaa"),
    (LIB + "/usr/lib/data/keys /aaa bind nofail\n", "/aaa"),
    (LIB + "root:/usr/lib/data/image /aaa erofs\n", "/aaa"),
    (LIB + "root:/usr/lib/data/image /aaa erofs nofail\n", "/aaa"),
    (LIB + "none /aaa overlay\n/usr/lib/data/keys /aaa bind lower\n", "/aaa"),
    (Z + "t /usr/lib/data/sub tmpfs\n", "/usr/lib/data/sub"),
    (Z + "t /usr/lib/data/sub tmpfs X-mount.mkdir\n", "/usr/lib/data/sub"),
), indirect=["kernel"], ids=["bind", "bind nofail", "image", "image nofail", "layer", "target", "target mkdir"])
def test_behind_a_link(rows, target, kernel, root_tree, image, initramfs, boot):
    """Rows may stand in any order, and the path that a link leads to is what counts: nothing is absent before all
    links are known."""
    tree = root_tree()
    tree["/lib"], tree["/z"] = Link("usr/lib", *OWN), Link("usr/lib", *OWN)
    for path in ("/usr", "/usr/lib", "/usr/lib/data", "/aaa"):
        tree[path] = Dir(*OWN)
    inner = image({"/": Dir(7, 7), "/in": File("x", 7, 7)}, "erofs")
    data = {"/": Dir(5000, 5000), "/keys": Dir(5000, 5000), "/keys/k": File("x", 5001, 5001), "/sub": Dir(5000, 5000),
            "/image": File(inner, 5000, 5000)}
    disks = [Disk(image(tree, "erofs")), Disk(image(data, "erofs"))]
    with boot(kernel, initramfs(kernel, ROOT + rows, modules=MODULES), "", disks) as guest:
        assert {"/usr/lib/data", target} <= {mount.target for mount in guest.mounts()}
        assert seen(guest, "/usr/lib/data/keys/k") == (1, 1)
        assert not [line for line in log_lines(guest) if "skipped" in line]


@pytest.mark.parametrize("kernel,more", in_turn(("",), (",idmap=5000:0:10",)), indirect=["kernel"], ids=["plain", "mapped"])
def test_what_lay_there_before(more, kernel, root_tree, image, initramfs, boot):
    """The folder beneath, which is ro and has another owner, decides nothing and is not told of."""
    tree = root_tree()
    tree["/lib"] = Link("usr/lib", *OWN)
    for path in ("/usr", "/usr/lib", "/usr/lib/data", "/usr/lib/data/sub", "/aaa"):
        tree[path] = Dir(*OWN)
    data = image({"/": Dir(5000, 5000), "/sub": Dir(5000, 5000)}, "ext4")
    conf = ROOT + f"/dev/vdb /lib/data ext4 rw,idmap=5000:0:10\n/usr/lib/data/sub /aaa bind rw{more}\n"
    disks = [Disk(image(tree, "erofs")), Disk(data, readonly=False, snapshot=True)]
    with boot(kernel, initramfs(kernel, conf, modules=MODULES), "", disks) as guest:
        assert guest.ask("open /aaa/new wc") == {"ok": True}
        assert not [line for line in log_lines(guest) if "leaves out" in line]


@BOTH
def test_volatile_overlay_and_a_link(kernel, root_tree, image, initramfs, boot):
    """It is mounted twice then, and the first one leaves nothing that the second one minds."""
    tree = root_tree()
    tree["/link"] = Link("opt", *OWN)
    conf = ("upper / overlay volatile\n/dev/vda / erofs lower,idmap=100000:0:65536\n/dev/vdb / ext4 upper\n"
            "t /link/app tmpfs\n")
    disks = [Disk(image(tree, "erofs")), Disk(image({"/": Dir()}, "ext4"), readonly=False, snapshot=True)]
    with boot(kernel, initramfs(kernel, conf, modules=MODULES), "", disks) as guest:
        assert "/opt/app" in {mount.target for mount in guest.mounts()}


@BOTH
def test_sealed_image_file_and_a_link(kernel, root_tree, image, seal, initramfs, boot):
    """The same of the device that verifies, by its name."""
    tree = root_tree()
    tree["/link"] = Link("opt", *OWN)
    sealed = seal(image(tree, "erofs"), True)
    conf = (f"/images/root / erofs idmap=100000:0:65536,verity.roothash={sealed.root_hash},"
            f"verity.hashoffset={sealed.offset}\nt /link/app tmpfs\n")
    initrd = initramfs(kernel, conf, modules=MODULES + ",dm_verity", add=[(sealed.data, "/images/root")])
    with boot(kernel, initrd, "", []) as guest:
        assert guest.ask("ls /dev/mapper")["entries"].keys() == {"control", "root"}


@BOTH
def test_absent_row_beside_a_link(kernel, root_tree, image, initramfs, boot):
    """What is skipped is told once, whatever the number of passes."""
    tree = root_tree()
    tree["/link"] = Link("opt", *OWN)
    conf = ROOT + "/dev/vdx /home ext4 nofail,wait=1\nt /home/in tmpfs\nt /link/app tmpfs\n"
    with boot(kernel, initramfs(kernel, conf), "", [Disk(image(tree, "erofs"))]) as guest:
        log = log_lines(guest)
        for words in ("the device did not come within 1 s", "/home is skipped, its row says nofail",
                      "/home/in is skipped, what it stands on is absent"):
            assert len([line for line in log if words in line]) == 1, words
        assert "/opt/app" in {mount.target for mount in guest.mounts()}


@BOTH
def test_odd_root_beside_a_link(kernel, root_tree, image, initramfs, boot):
    """The root is built more than once then, and told of once."""
    tree = root_tree()
    tree["/"], tree["/link"] = Dir(5, 5), Link("opt", *OWN)
    with boot(kernel, initramfs(kernel, ROOT + "t /link/app tmpfs\n"), "quiet", [Disk(image(tree, "erofs"))]) as guest:
        assert len([line for line in log_lines(guest) if "has the uid 5 on disk" in line]) == 1


@BOTH
def test_many_notes(kernel, root_tree, image, initramfs, boot):
    """They wait until all paths are known, and none is lost for that."""
    tree = root_tree()
    tree |= {f"/mnt/{number}": Dir(*OWN) for number in range(50)}
    conf = ROOT + "".join(f"/dev/vdx{number} /mnt/{number} ext4 nofail,wait=0\n" for number in range(50))
    with boot(kernel, initramfs(kernel, conf), "quiet", [Disk(image(tree, "erofs"))]) as guest:
        log = log_lines(guest)
        assert len([line for line in log if "did not come" in line]) == 50
        assert len([line for line in log if "is skipped" in line]) == 50


@BOTH
def test_absent_all_the_same(kernel, root_tree, image, initramfs, boot, boot_fails):
    disks = [Disk(image(root_tree(), "erofs"))]
    conf = ROOT + "t /opt/app tmpfs\n/no/such /srv bind WORD\n"
    with boot(kernel, initramfs(kernel, conf.replace("WORD", "nofail"), modules=MODULES), "", disks) as guest:
        assert len([line for line in log_lines(guest) if "/srv is skipped" in line]) == 1
    console = boot_fails(kernel, initramfs(kernel, conf.replace("WORD", "ro"), modules=MODULES), "", disks)
    assert "/no/such in the new root cannot be cloned (not there)" in console


@pytest.mark.parametrize("kernel,rows,path", in_turn(
    ("t /run/x tmpfs X-mount.mkdir,mode=0711\n", "/run/x"),
    ("t /run tmpfs X-mount.mkdir,mode=0711\n", "/run"),
    ("t /dev/shm tmpfs X-mount.mkdir,mode=0711\n", "/dev/shm"),
    ("t /run/x tmpfs X-mount.mkdir,mode=0711\nt /zz tmpfs X-mount.mkdir\n", "/run/x"),
    ("t /run/x/y/z tmpfs X-mount.mkdir,mode=0711\n", "/run/x/y/z"),
    ("LINK\nt /run/x tmpfs X-mount.mkdir,mode=0711\n", "/run/x"),
), indirect=["kernel"], ids=["in run", "run", "in dev", "two", "deep", "link"])
def test_root_without_folders(rows, path, kernel, root_tree, image, initramfs, boot):
    """A folder that is made for a row is where /run and the others land, too: before the row."""
    tree = {name: entry for name, entry in root_tree().items() if name.split("/")[1] not in ("run", "dev", "proc", "sys")}
    if "LINK" in rows:
        tree["/run"] = Link("/var/run", *OWN)
    conf = "tmpfs / overlay\n/dev/vda / erofs lower,idmap=100000:0:65536\n" + rows.replace("LINK\n", "")
    with boot(kernel, initramfs(kernel, conf, modules=MODULES), "", [Disk(image(tree, "erofs"))]) as guest:
        assert guest.ask(f"stat {path}")["mode"] & 0o7777 == 0o711
        assert [mount.type for mount in guest.mounts() if mount.target == "/run"] == (
            ["tmpfs"] * (1 + (path == "/run"))) or "LINK" in rows or "dev" in path


@BOTH
@pytest.mark.parametrize("rows, said", [
    ("t /run/x tmpfs X-mount.mkdir\n/no/such /srv bind\n", "not there"),
    # It stands in the disk view, since another shows it, when its map is refused.
    ("proc /srv/x/q proc X-mount.mkdir,idmap=0:0:1\n/srv /mnt rbind\n", "proc cannot be idmapped"),
], ids=["a later row", "itself"])
def test_nothing_is_left_of_made_folders(rows, said, kernel, root_tree, image, initramfs, boot_fails, boot, tmp_path):
    """A row fails: the disk is as it was."""
    tree = {name: entry for name, entry in root_tree().items() if name.split("/")[1] != "run"}
    disk = tmp_path / "disk"
    disk.write_bytes(image(tree, "ext4").read_bytes())
    conf = "/dev/vda / ext4 rw,idmap=100000:0:65536\n" + rows
    disks = [Disk(disk, readonly=False)]
    assert said in boot_fails(kernel, initramfs(kernel, conf, modules=MODULES), "", disks)
    with boot(kernel, initramfs(kernel, conf.splitlines()[0] + "\n", modules=MODULES), "", disks) as guest:
        assert guest.ask("stat /run") == {"error": "ENOENT"}
        assert guest.ask("ls /srv")["entries"] == {}


@pytest.mark.parametrize("kernel,last", in_turn(("/images/app /home bind idmap=100000:5:1\n",), ("",)),
                         indirect=["kernel"], ids=["disk view", "alone"])
def test_folder_that_another_row_brings(last, kernel, root_tree, image, initramfs, boot):
    tree = root_tree()
    tree["/run"], tree["/var"] = Link("var/run", *OWN), Dir(*OWN)
    disks = [Disk(image(tree, "erofs")), Disk(image({"/": Dir(5000, 5000), "/run": Dir(5000, 5000)}, "erofs"))]
    conf = (ROOT + "/dev/vdb /var erofs idmap=5000:0:10\nt /run/x tmpfs X-mount.mkdir,mode=0711\n" + last)
    with boot(kernel, initramfs(kernel, conf, modules=MODULES), "", disks) as guest:
        assert guest.ask("stat /run/x")["mode"] & 0o7777 == 0o711
        assert [mount.type for mount in guest.mounts() if mount.target == "/var/run"] == ["tmpfs"]
