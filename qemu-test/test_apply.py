# SPDX-License-Identifier: MIT
"""idmap apply, undo and mount in guests: filesystems on disks, and what each kernel can do. Everything
else about them: idmap/test/test_apply.py."""

from __future__ import annotations

import json

import pytest

from common import EVERY, ROOT, seen
from guest import Disk
from images import Dir

MODULES = "virtio_pci,virtio_blk,erofs,ext4"
TABLE = """/dev/root / auto idmap=100000:0:65536
/images/app /opt/app bind idmap=100000:5:1,101000:6:1
/dev/vdc /srv ext4 rw,idmap=5000:0:10
/dev/vdz /etc erofs nofail,wait=0
"""
IDS = [[100000, 0, 65536]]


@pytest.fixture
def guest_with_idmap(root_tree, image, second, initramfs, boot):
    def make(kernel, conf=ROOT):
        tree = root_tree(command=True)
        disks = [Disk(image(tree, "erofs")), Disk(image(root_tree(), "erofs")),
                 Disk(second("ext4"), readonly=False, snapshot=True)]
        return boot(kernel, initramfs(kernel, conf, modules=MODULES), "", disks)
    return make


def sh(guest, text):
    """What the commands print, and how each idmap has ended."""
    return guest.run("/bin/sh", "-c", 'idmap() { /bin/idmap "$@" 2>&1; echo "rc $?"; }\n' + text).splitlines()


def below(guest):
    return sorted((m.target, m.type, "idmapped" in m.options) for m in guest.mounts() if m.target.startswith("/mnt"))


@pytest.mark.every_kernel
@pytest.mark.parametrize("kernel", EVERY, indirect=True)
@pytest.mark.parametrize("shared", [False, True])
def test_a_root_for_others(shared, kernel, guest_with_idmap):
    with guest_with_idmap(kernel) as guest:
        guest.run("/bin/sh", "-c", f"printf '{TABLE}' >/run/table; mount -t erofs /dev/vdb /mnt;"
                  " mount -t tmpfs below /mnt/var; touch /mnt/var/file")
        if shared:
            # The mount that it stands on is seen elsewhere, too, and as a part of what is replaced.
            guest.run("/bin/sh", "-c", "mount --make-rshared /; mkdir /run/peer; mount --bind / /run/peer;"
                      " mount --bind / /mnt/home")
        before = below(guest)
        home = [("/mnt/home", "erofs", True)] * shared
        assert before == [("/mnt", "erofs", False), *home, ("/mnt/var", "tmpfs", False)]
        done = sh(guest, "idmap apply -c /run/table --root /mnt")
        assert done[-1] == "rc 0" and len(done) == 3 + shared
        assert any("the device did not come within 0 s" in line for line in done)
        assert any("/mnt appears on /run/peer/mnt, too" in line for line in done) == shared
        assert below(guest) == [("/mnt", "erofs", True), *home, ("/mnt/opt/app", "erofs", True), ("/mnt/srv", "ext4", True),
                                ("/mnt/var", "tmpfs", False)]
        assert seen(guest, "/mnt/owners/user") == (1000, 1000) and seen(guest, "/mnt/opt/app/data") == (6, 6)
        assert seen(guest, "/mnt/srv/file") == (7, 7) and "file" in guest.ask("ls /mnt/var")["entries"]
        assert ".idmap" not in guest.ask("ls /run")["entries"]
        shown = {m["target"]: m["map"] for m in json.loads(guest.run("/bin/idmap", "show", "--json"))}
        assert shown["/mnt"] == {"uids": IDS, "gids": IDS} and shown["/mnt/srv"]["uids"] == [[5000, 0, 10]]
        assert sh(guest, "idmap apply -c /run/table --root /mnt") == [
            "idmap apply: 1 rows were skipped then; take the others back with idmap undo to try them again",
            "idmap apply: the rows stand in /mnt already, nothing is changed", "rc 0"]
        undone = sh(guest, "idmap undo --root /mnt")
        if kernel.name in ("6.1", "6.12"):
            assert undone[-1] == "rc 5" and "that needs Linux 6.15 or newer; nothing is changed" in undone[0]
            assert len(below(guest)) == 4 + shared
        else:
            assert undone == ["rc 0"] and below(guest) == before and seen(guest, "/mnt") == (100000, 100000)


@pytest.mark.parametrize("kernel", ["6.1", "newest"], indirect=True)
def test_a_root_without_a_map(kernel, guest_with_idmap):
    """Nothing is to be taken off it, so no kernel is too old for that."""
    with guest_with_idmap(kernel) as guest:
        guest.run("/bin/sh", "-c", "printf '/dev/root / auto noexec,nosuid\n' >/run/table; mount -t erofs /dev/vdb /mnt")
        before = below(guest)
        assert sh(guest, "idmap apply -c /run/table --root /mnt") == ["rc 0"]
        assert "noexec" in next(m.options for m in guest.mounts() if m.target == "/mnt")
        assert sh(guest, "idmap undo --root /mnt") == ["rc 0"] and below(guest) == before
        assert "noexec" not in next(m.options for m in guest.mounts() if m.target == "/mnt")


@pytest.mark.every_kernel
@pytest.mark.every_machine
@pytest.mark.parametrize("kernel", EVERY, indirect=True)
def test_rows_of_a_running_system(kernel, guest_with_idmap):
    with guest_with_idmap(kernel) as guest:
        before = guest.mounts()
        assert sh(guest, "printf '/dev/vdc /srv ext4 rw,idmap=5000:0:10\\nt /mnt tmpfs\\n' >/run/table;"
                  " idmap apply -c /run/table; touch /srv/new; idmap undo") == ["rc 0", "rc 0"]
        assert guest.mounts() == before
        assert sh(guest, "idmap mount /dev/vdc /srv -o idmap=5000:3:10") == ["rc 0"]
        assert seen(guest, "/srv") == (3, 3) and seen(guest, "/srv/new") == (3, 3)
        assert guest.run("/bin/idmap", "show", "/srv").split() == ["/srv", "ext4", "idmap=5000:3:10"]
        # Of the map that / has a bind has none, and a second one is no map of the disk.
        assert sh(guest, "idmap mount /dev/vdb /mnt -t squashfs; idmap mount /dev/vdy /mnt -o wait=0")[1::2] == [
            "rc 4", "rc 3"]
        assert sh(guest, "umount /srv") == [] and guest.mounts() == before


@pytest.mark.parametrize("kernel", ["6.1", "newest"], indirect=True)
def test_what_others_have_mounted(kernel, guest_with_idmap):
    """It is mounted once, so the options of a row count only if it has them."""
    with guest_with_idmap(kernel) as guest:
        guest.run("/bin/mount", "-t", "ext4", "-o", "commit=10", "/dev/vdc", "/mnt")
        *told, code = sh(guest, "idmap mount /dev/vdc /srv -t ext4 -o rw,commit=20,idmap=5000:0:10")
        assert ("/dev/vdc stands on /mnt already, and is as it is there (rw,commit=10) on /srv, too, whatever its row says;"
                " where that differs, unmount it first") in told[0] and code == "rc 0"
        assert sh(guest, "idmap mount /dev/vdc /opt -t ext4 -o rw,commit=10,idmap=5000:0:10") == ["rc 0"]


@pytest.mark.parametrize("kernel", ["5.10"], indirect=True)
def test_kernel_without_maps(kernel, guest_with_idmap):
    with guest_with_idmap(kernel, "/dev/vda / erofs\n") as guest:
        before = guest.mounts()
        done = sh(guest, "printf 't /opt tmpfs\\n/dev/vdc /srv ext4 idmap=5000:0:10\\n' >/run/table;"
                  " idmap apply -c /run/table")
        assert done[-1] == "rc 5" and "Linux 5.12" in done[0]
        assert guest.mounts() == before
        # What is cloned may be shared, which that kernel cannot undo for a clone.
        for row, words in (("/images/app /opt/app bind ro,suid,dev", ""), ("/dev/root / auto rw", "--root /srv"),
                           ("none /mnt overlay\\n/images/app /mnt bind lower", "")):
            done = sh(guest, f"mount -t ext4 /dev/vdc /srv; printf '{row}\\n' >/run/table; idmap apply -c /run/table {words};"
                      " umount /srv")
            assert "(not in this kernel); that needs Linux 5.12 or newer; boot a newer kernel" in done[0] and len(done) == 2
        assert guest.mounts() == before


@pytest.mark.parametrize("kernel", ["6.1", "newest"], indirect=True)
def test_root_that_another_row_makes_writable(kernel, root_tree, image, initramfs, boot):
    """A btrfs stands ro in one place and rw in another."""
    disks = [Disk(image(root_tree(command=True), "erofs")),
             Disk(image({"/": Dir(0, 0), "/home": Dir(0, 0), "/srv": Dir(0, 0)}, "btrfs"), readonly=False, snapshot=True)]
    with boot(kernel, initramfs(kernel, ROOT, modules="virtio_pci,virtio_blk,erofs,btrfs"), "", disks) as guest:
        for more, said in (("/dev/vdb /home btrfs rw\\n", 0), ("", 1)):
            done = sh(guest, f"mount -t btrfs -o ro /dev/vdb /mnt; printf '/dev/root / auto rw\\n/home /srv bind rw\\n{more}'"
                             " >/run/table; idmap apply -c /run/table --root /mnt")
            assert done[-1] == "rc 0" and len([line for line in done if "was mounted ro, so it is ro on /" in line]) == said
            assert ("error" in guest.ask("write /mnt/srv/file text")) == bool(said)
            assert sh(guest, "idmap undo --root /mnt; umount /mnt") == ["rc 0"]


@pytest.mark.parametrize("kernel", ["6.1", "newest"], indirect=True)
def test_row_whose_folder_is_not_there_any_more(kernel, guest_with_idmap):
    """Another mount covers the folder above it: it stands, and is not forgotten."""
    with guest_with_idmap(kernel) as guest:
        done = sh(guest, "echo /dev/vdc /images/app ext4 rw,idmap=5000:0:10 >/run/table; idmap apply -c /run/table;"
                         "mount -t tmpfs over /images; idmap apply -c /run/table; idmap undo")
        assert (done[0], done[2], done[4]) == ("rc 0", "rc 1", "rc 1"), done
        assert "the rows stand in /, but the one on /images/app is not seen there" in done[1]
        assert "what was put on /images/app is covered by another mount by now" in done[3]
        assert sh(guest, "umount /images; idmap undo") == ["rc 0"]


@pytest.mark.parametrize("kernel,theirs", [
    ("6.1", "umount /srv; mount -t ext4 /dev/vdc /srv"),
    ("6.1", "umount /srv; idmap mount /dev/vdc /srv -t ext4 -o rw,idmap=5000:300:10"),
    ("6.1", "umount /srv; mount -t tmpfs own /srv; touch /srv/precious"),
    ("newest", "umount /srv; mount -t tmpfs own /srv; touch /srv/precious"),
], indirect=["kernel"], ids=["plain", "mapped", "tmpfs", "tmpfs-newest"])
def test_mounts_of_others_by_the_same_number(kernel, theirs, guest_with_idmap):
    """Before Linux 6.8 the number of a mount is given anew when that is gone."""
    with guest_with_idmap(kernel) as guest:
        done = sh(guest, "echo /dev/vdc /srv ext4 rw,idmap=5000:0:10 >/run/table; idmap apply -c /run/table;" + theirs)
        assert [line for line in done if line.startswith("rc")] in (["rc 0"], ["rc 0"] * 2)
        theirs = guest.mounts()
        undone = sh(guest, "cp /run/idmap/apply/-@* /run/copy; echo /run/idmap/apply/-@* >/run/name; idmap undo")
        assert undone == ["idmap undo: 1 mounts of it are not there any more", "rc 0"] and guest.mounts() == theirs
        # Whoever applies it once more gets what the table says.
        assert sh(guest, "cp /run/copy $(cat /run/name); idmap apply -c /run/table")[-1] == "rc 0"
        assert seen(guest, "/srv/file") == (7, 7)
