# SPDX-License-Identifier: MIT
"""Folders that have two names, as upper and lower case are one on vfat: rows that mean the same one, or
one where something is mounted already, are told of, and what stands there is taken back."""

from __future__ import annotations

import pytest

from common import PRE, ROOT, last_words, options
from guest import Disk
from images import Dir, File, debugfs

MODULES = "virtio_pci,virtio_blk,erofs,vfat,nls_cp437,nls_iso8859-1,nls_ascii"
VFAT = ROOT + "/dev/vdb /srv vfat rw\n"
BY_NAME = ("by another name (in upper and lower case, say); write both alike, or mend the image or the share where two folders"
           " are one")
UNSEEN = f"it is not seen there: another row has this folder, or one above it, {BY_NAME}"
ALONG = f"or has it inside, {BY_NAME}"


@pytest.fixture
def disks(root_tree, image):
    root, tree = root_tree(command=True), {"/": Dir()}
    tree |= {f"/{folder}": Dir() for folder in ("DATA", "DATA/SUB", "LONG FOLDER")}
    return [Disk(image(root, "erofs")), Disk(image(tree, "vfat"), readonly=False, snapshot=True)]


@pytest.mark.parametrize("kernel", ["6.1", "newest"], indirect=True)
@pytest.mark.parametrize("rows, line", [
    ("t /srv/data tmpfs\n/images/app /srv/DATA bind\n", f"/images/app on /srv/DATA: {UNSEEN}"),
    ("t /srv/data tmpfs\n/images/app /srv/DATA/sub bind\n", f"/images/app on /srv/DATA/sub: {UNSEEN}"),
    ("t /srv/longfo~1 tmpfs\n/images/app /srv/long\\040folder bind\n", UNSEEN),
    ("/images/app /srv/data bind\n/srv/DATA /mnt bind\n",
     f"/srv/DATA on /mnt: /srv/DATA lies in the row for /srv/data, {BY_NAME}"),
    ("t /srv/data tmpfs\n/srv/DATA/SUB /mnt bind rw,idmap=0:5:1\n",  # the tmpfs has no such folder, the disk beneath has
     f"/srv/DATA/SUB on /mnt: /srv/DATA/SUB lies in the row for /srv/data, {BY_NAME}"),
    pytest.param("t /srv/data tmpfs\nu /srv/data/SUB/x tmpfs X-mount.mkdir\n/srv/DATA/SUB /mnt bind\n",  # below the row's root
                 "/srv/DATA/SUB on /mnt: /srv/DATA/SUB lies in the row for /srv/data, by another name", marks=pytest.mark.every_kernel),
])
def test_rows_of_one_folder(rows, line, kernel, disks, initramfs, boot_fails):
    said, code = last_words(boot_fails(kernel, initramfs(kernel, VFAT + rows, modules=MODULES), "quiet", disks))
    assert said.startswith(PRE) and line in said and code == "0x00000600"


@pytest.mark.parametrize("kernel", ["6.1", "newest"], indirect=True)
@pytest.mark.parametrize("rows, line", [
    ("t /srv/data tmpfs\n/images/app /srv/cache bind\n", UNSEEN),
    ("t /srv/data tmpfs\n/images/app /srv/cache/run bind\n", UNSEEN),
    ("/images/app /srv/data bind\n/srv/cache /mnt bind\n", "/srv/cache on /mnt: /srv/cache lies in the row for /srv/data, by"),
    ("t /srv/data tmpfs\n/srv/cache /mnt bind idmap=0:300:1\n",
     "/srv/cache on /mnt: /srv/cache lies in the row for /srv/data, by"),
], ids=["rows", "below", "bind", "map"])
def test_folder_with_two_names(rows, line, kernel, root_tree, image, initramfs, tmp_path, boot_fails):
    """No sound image has one; a damaged or a stranger's may, and then no name is sure."""
    folder = tmp_path / "folder"
    folder.write_bytes(image({"/": Dir(), "/data": Dir(), "/data/run": Dir()}, "ext4").read_bytes())
    debugfs(folder, "ln data cache", write=True)
    initrd = initramfs(kernel, ROOT + "/dev/vdb /srv ext4\n" + rows, modules="virtio_pci,virtio_blk,erofs,ext4")
    said, code = last_words(boot_fails(kernel, initrd, "quiet", [Disk(image(root_tree(), "erofs")), Disk(folder)]))
    assert said.startswith(PRE) and line in said and code == "0x00000600"


@pytest.mark.parametrize("kernel", ["6.1", "newest"], indirect=True)
@pytest.mark.parametrize("row, path, mount", [("t /RUN tmpfs", "/RUN", "/run"), ("/Dev /mnt bind", "/Dev", "/dev"),
                                              ("t /Run/x tmpfs X-mount.mkdir", "/Run/x", "/run")])
def test_what_comes_along_into_the_root(row, path, mount, kernel, image, programs, initramfs, boot_fails):
    tree = {f"/{folder}": Dir() for folder in ("", "dev", "proc", "sys", "run", "mnt", "sbin")}
    disk = Disk(image(tree | {"/sbin/init": File(programs.probe, mode=0o755)}, "vfat"))
    boot = boot_fails(kernel, initramfs(kernel, f"/dev/vda / vfat\n{row}\n", modules=MODULES), "quiet", [disk])
    assert f"{path} leads to what is mounted on {mount}, {ALONG}" in last_words(boot)[0]


@pytest.mark.parametrize("kernel", ["6.1", "newest"], indirect=True)
def test_what_others_have_mounted(kernel, disks, initramfs, boot):
    """It comes along into the mapped root by the name that they have written."""
    with boot(kernel, initramfs(kernel, VFAT, modules=MODULES), "", disks) as guest:
        guest.run("/bin/sh", "-c", "mount -t tmpfs theirs /srv/DATA && mkdir /srv/DATA/sub")
        before = guest.mounts()
        for row, path in (("t /data/sub tmpfs", "/data/sub"), ("t /data tmpfs", "/data"),
                          ("/data/sub /longfo~1 bind", "/data/sub"), ("/data/sub /longfo~1 bind rw,idmap=0:5:1", "/data/sub")):
            guest.ask("write", "/run/table", f"/dev/root / auto rw\n{row}\n")
            done = guest.ask("run", "0", "0", "/bin/idmap", "apply", "-c", "/run/table", "--root", "/srv")
            assert f"{path} leads to what is mounted on /DATA, {ALONG}" in done["stderr"] and done["exit"] == 6, row
            assert guest.mounts() == before
        guest.ask("write", "/run/table", "/dev/root / auto rw\nt /DATA/sub tmpfs\n")
        assert guest.run("/bin/idmap", "apply", "-c", "/run/table", "--root", "/srv") == ""
        assert options(guest, "/srv/DATA/sub")[0] == "tmpfs"


@pytest.mark.parametrize("kernel", ["6.1", "newest"], indirect=True)
def test_folders_that_are_two(kernel, disks, initramfs, boot):
    """Where case counts they have nothing to do with each other."""
    conf = ROOT + "t /srv tmpfs mode=0755\nt /srv/data tmpfs X-mount.mkdir\n/images/app /srv/DATA bind X-mount.mkdir\n" \
                  "/srv/DATA /mnt bind\n"
    with boot(kernel, initramfs(kernel, conf, modules=MODULES), "", disks[:1]) as guest:
        assert (options(guest, "/srv/data")[0], options(guest, "/srv/DATA")[0], options(guest, "/mnt")[0]) == (
            "tmpfs", "erofs", "erofs")
        assert "run" in guest.ask("ls /mnt")["entries"]


@pytest.mark.parametrize("kernel", ["6.1", "6.12", "newest"], indirect=True)
def test_undo_by_another_name(kernel, disks, initramfs, boot):
    """The kernel lists the mount by the name that it knew first."""
    with boot(kernel, initramfs(kernel, VFAT, modules=MODULES), "", disks) as guest:
        before = guest.mounts()
        assert guest.run("/bin/sh", "-c", """
            ls /srv/DATA; echo 't /srv/data tmpfs' >/run/table
            for words in 'apply -c /run/table' 'apply -c /run/table' 'apply --verify' undo; do idmap $words 2>&1; echo "rc $?"; done
            """).splitlines() == ["SUB", "rc 0", "idmap apply: the rows stand in / already, nothing is changed",
                                  "rc 0", "rc 0", "rc 0"]
        assert guest.mounts() == before
        assert guest.run("/bin/sh", "-c", """
            printf 't /srv/data tmpfs\\n/images/app /srv/DATA bind\\n' >/run/table
            idmap apply -c /run/table 2>&1; echo "rc $?" """).splitlines()[1:] == ["rc 6"]
        assert guest.mounts() == before
