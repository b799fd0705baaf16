# SPDX-License-Identifier: MIT
"""What is meant and would be dropped without a word, or kept for a reason that is none: a table behind a
link that leads nowhere, a map with noauto, a row that appears elsewhere, words that name no device."""

from __future__ import annotations

import pytest

from common import INIT, PRE, ROOT, in_turn, last_words, log_lines, options, seen
from guest import Disk
from images import Dir, Link, make_image

SHORT = "root=/dev/vda rootfstype=erofs ro"


@pytest.mark.parametrize("kernel, path, line", in_turn(
    ("/etc/idmap.conf", "/etc/idmap.conf cannot be read (a link that leads nowhere); put it into the initramfs"
                        " (mkinitramfs -c) or correct idmap.conf="),
    ("/etc/idmap.sealed", "/etc/idmap.sealed cannot be read (a link that leads nowhere); make it a file of words"),
), indirect=["kernel"])
def test_links_that_lead_nowhere(kernel, path, line, root_tree, image, initramfs, boot_fails, tmp_path):
    """The root would stand without its map, or without its seal."""
    (tmp_path / "link").symlink_to("/usr/share/none")
    initrd = initramfs(kernel, add=[(tmp_path / "link", path)])
    console = boot_fails(kernel, initrd, SHORT, [Disk(image(root_tree(), "erofs"))])
    assert last_words(console) == (PRE + line, "0x00000200")


def test_modules_behind_a_link(kernel, root_tree, image, initramfs, boot_fails, tmp_path):
    both = tmp_path / "both"
    tree = {"/": Dir(), "/etc": Dir(), "/etc/idmap.modules": Link("/usr/share/none")}
    link = make_image(tree, "cpio", tmp_path / "link")
    both.write_bytes(initramfs(kernel).read_bytes() + link.read_bytes())
    console = boot_fails(kernel, both, "idmap=/dev/vda,/,erofs,wait=1", [Disk(image(root_tree(), "erofs"))])
    assert PRE + "/etc/idmap.modules cannot be read (a link that leads nowhere), going on without modules" in console


@pytest.mark.parametrize("kernel, conf, append", in_turn(
    (None, SHORT + " idmap=100000:0:65536,noauto"),
    ("/dev/vda / erofs noauto,idmap=100000:0:65536\n", SHORT),
), indirect=["kernel"])
def test_root_that_is_left_out(kernel, conf, append, root_tree, image, initramfs, boot_fails):
    """What root= names would be there, without the map."""
    line, code = last_words(boot_fails(kernel, initramfs(kernel, conf), append, [Disk(image(root_tree(), "erofs"))]))
    assert line.endswith("noauto is not for /, nothing runs without it; take it out") and code == "0x00000200"


@pytest.mark.parametrize("kernel", ["6.1", "6.12", "newest"], indirect=True)
def test_words_that_name_no_device(kernel, root_tree, image, initramfs, boot):
    """Two rows of "none" are two filesystems, with the options of each."""
    conf = ROOT + ("none /dev/pts devpts rw,gid=5,mode=620,X-mount.mkdir\nnone /dev/mqueue mqueue rw,X-mount.mkdir\n"
                   "proc /mnt proc hidepid=2\nproc /srv proc\nnone /opt ramfs mode=700\n")
    with boot(kernel, initramfs(kernel, conf), "", [Disk(image(root_tree(), "erofs"))]) as guest:
        data = {mount.target: (mount.type, set(mount.super_options)) for mount in guest.mounts()}
        assert data["/dev/pts"][0] == "devpts" and {"gid=5", "mode=620"} <= data["/dev/pts"][1]
        assert data["/dev/mqueue"][0] == "mqueue"
        assert "hidepid=invisible" in data["/mnt"][1] and not any("hidepid" in word for word in data["/srv"][1])
        assert not any("stands on" in line for line in log_lines(guest))


@pytest.mark.parametrize("kernel", ["6.1", "newest"], indirect=True)
def test_rows_that_would_appear_elsewhere(kernel, stage0, plain_tree, image, boot):
    """A script has made the root's mounts shared, and bound a folder: a row on it is on that folder alone."""
    tree = plain_tree("/images/app /mnt bind idmap=100000:7:1\n")
    initrd = stage0(kernel, then="mount --make-rshared /root; mount --bind /root/images /root/mnt")
    with boot(kernel, initrd, f"root=/dev/vda init={INIT}", [Disk(image(tree, "erofs"))]) as guest:
        assert seen(guest, "/mnt/run") == (7, 7) and seen(guest, "/images/app/run") == (100000, 100000)
        assert guest.ask("stat /images/run") == {"error": "ENOENT"}


@pytest.mark.parametrize("kernel", ["6.12"], indirect=True)
def test_stacked_mounts_of_a_root_that_stays(kernel, stage0, plain_tree, image, boot):
    initrd = stage0(kernel, then="mount -t tmpfs one /root/srv; mount -t tmpfs two /root/srv")
    tree = plain_tree("/images/app /mnt bind\n")
    with boot(kernel, initrd, f"root=/dev/vda init={INIT}", [Disk(image(tree, "erofs"))]) as guest:
        assert [mount.source for mount in guest.mounts() if mount.target == "/srv"] == ["one", "two"]
        assert not any("uppermost" in line for line in log_lines(guest))


@pytest.mark.parametrize("kernel", ["5.10"], indirect=True)
@pytest.mark.parametrize("conf, said", [
    ("/dev/vda / ext4 nosymfollow\n", "1: /dev/vda on /: nosymfollow needs Linux 5.14 or newer"),
    ("/dev/vda / ext4\n/images /opt bind\n", "2: /images on /opt: options of a bind need Linux 5.12 or newer"),
    ("/dev/vda / ext4\n/images /opt bind rw,suid,dev\n", None),
], ids=["nosymfollow", "bind", "plain bind"])
def test_what_an_old_kernel_lacks(kernel, conf, said, root_tree, image, initramfs, boot, boot_fails):
    arguments = (kernel, initramfs(kernel, conf), "", [Disk(image(root_tree(), "ext4"))])
    if said:
        assert last_words(boot_fails(*arguments))[0].startswith(f"{PRE}/etc/idmap.conf:{said}, and this is 5.10")
        return
    with boot(*arguments) as guest:
        assert options(guest, "/opt")[0] == "ext4" and seen(guest, "/opt/app/run") == (100000, 100000)


def test_options_of_one_device_in_another_order(kernel, root_tree, image, second, initramfs, boot):
    conf = ROOT + "/dev/vdb /mnt ext4 errors=continue,commit=9\n/dev/vdb /srv ext4 commit=9,errors=continue\n"
    with boot(kernel, initramfs(kernel, conf), "", [Disk(image(root_tree(), "erofs")), Disk(second("ext4"))]) as guest:
        assert options(guest, "/mnt")[0] == options(guest, "/srv")[0] == "ext4"
