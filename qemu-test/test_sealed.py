# SPDX-License-Identifier: MIT
"""A sealed initramfs: ways out of it, each tried, and what its seal may leave open."""

from __future__ import annotations

import subprocess

import pytest

import host
from common import OWNERS, PRE, ROOT, last_words, log_lines, owners, seen
from guest import Disk
from images import Dir, File, make_image

SEAL = "the initramfs is sealed, and the command line may not say that; take it out, write it into the table there," \
       " or the word {} into /etc/idmap.sealed"
HARMLESS = "quiet ro rootwait=5 rootdelay=0 idmap.debug=0 idmap.onfail=panic other=1 a.b=c"


@pytest.fixture
def sealed(programs, tmp_path):
    """sealed(kernel, words, conf): made by mkinitramfs --sealed=words."""

    def make(kernel, words="", conf=ROOT, *more, modules="virtio_pci,virtio_blk,erofs,ext4"):
        (tmp_path / "conf").write_text(conf)
        subprocess.run([host.REPOSITORY / "init" / "mkinitramfs", "-o", tmp_path / "initramfs", "-i", programs.init,
                        "-c", tmp_path / "conf", "-k", kernel.modules, "-m", modules,
                        f"--sealed={words}" if words else "--sealed", *more], check=True)
        return tmp_path / "initramfs"

    return make


def errors(console: str) -> list[str]:
    return [line.partition(PRE)[2] for line in console.splitlines() if PRE in line]


def test_what_is_no_ones_business(kernel, root_tree, image, sealed, boot):
    with boot(kernel, sealed(kernel), HARMLESS, [Disk(image(root_tree(), "erofs"))]) as guest:
        assert owners(guest) == OWNERS


# parameter: the word that would allow it
WAYS = {
    "root=/dev/vdb": "root", "rootfstype=ext4": "rootfstype", "rootflags=device=/dev/vdb": "rootflags", "rw": "rw",
    "init=/bin/sh": "init", "idmap=off": "idmap", "idmap=/dev/vdb,/,erofs,0:0:1": "idmap",
    "idmap.conf=/etc/other": "idmap.conf", "idmap.init=/bin/sh": "idmap.init",
    "idmap.onfail=shell": "shell", "roothash=" + 64 * "0": "roothash",
    "systemd.verity-root-data=/dev/vdb": "systemd.verity-root-data",
}


def test_ways_out(kernel, root_tree, image, sealed, boot_fails):
    """All at once, and each is told; with quotes, too."""
    line = " ".join(WAYS) + ' "idmap=0:0:1" root="/dev/vdc"'
    console = boot_fails(kernel, sealed(kernel), line, [Disk(image(root_tree(), "erofs"))])
    told = errors(console)
    for parameter, word in WAYS.items():
        name = parameter.partition("=")[0] + "=" * ("=" in parameter)
        assert f"cmdline: {name}: " + SEAL.format(word) in told, name
    assert len([line for line in told if "the initramfs is sealed" in line]) == len(WAYS) + 2
    assert last_words(console)[1].startswith("0x00000200")


@pytest.mark.parametrize("way", ["idmap.onfail=shell idmap.init=/none", "init=/bin/sh", "idmap=off root=/dev/vda"])
def test_one_way_is_enough(way, kernel, root_tree, image, sealed, boot_fails):
    """No shell, and no other root: PID 1 ends with its code."""
    initrd = sealed(kernel, "", ROOT, "-a", "/bin/busybox:/bin/sh")
    line, code = last_words(boot_fails(kernel, initrd, way, [Disk(image(root_tree(), "erofs"))]))
    assert "the initramfs is sealed" in line and code.startswith("0x00000200")


@pytest.mark.parametrize("way", ["idmap=off", "idmap=t,/mnt,tmpfs", "idmap=noauto"])
def test_no_root(way, kernel, root_tree, image, sealed, boot_fails):
    """A table of the command line's, without a root: the initramfs' own shell would be the real init."""
    initrd = sealed(kernel, "idmap", ROOT, "-a", "/bin/busybox:/bin/sh")
    line, code = last_words(boot_fails(kernel, initrd, way, [Disk(image(root_tree(), "erofs"))]))
    assert line.endswith("cmdline: idmap=: the initramfs is sealed, and the command line leaves it no row for /; write"
                         " one, or take idmap= out") and code.startswith("0x00000200")


def test_words(kernel, root_tree, image, second, sealed, boot, boot_fails):
    """What the seal names is open, and no more: the type is said, and no option is a path."""
    disks = [Disk(image(root_tree(), "erofs")), Disk(second("ext4"))]
    words = "idmap,root,rootfstype,init"
    initrd = sealed(kernel, words, "/dev/root / auto\n")
    good = "root=/dev/vda rootfstype=erofs init=/sbin/init idmap=100000:0:65536 idmap=/dev/vdb,/srv,ext4,5000:0:10"
    with boot(kernel, initrd, good, disks) as guest:
        assert owners(guest) == OWNERS and seen(guest, "/srv/file") == (7, 7)
    told = errors(boot_fails(kernel, initrd, "root=/dev/vda idmap=100000:0:65536"
                             " idmap=/dev/vdb,/srv,ext4,journal_path=/dev/vdc idmap=/dev/vdb,/mnt,ext4,X-mount.subdir=etc"
                             f" idmap=/dev/vdb,/opt/app,ext4,verity.roothash={64 * '0'},verity.hashdevice=/dev/vdc", disks))
    assert [line.partition(": ")[2].partition(": ")[2][:83] for line in told] == [
        "the initramfs is sealed, and the command line may not leave the type to whatever is",
        "the initramfs is sealed, and the command line may not name a path in an option (jou",
        "the initramfs is sealed, and the command line may not name a path in an option (/et",
        "the initramfs is sealed, and the command line may not name a path in an option (/de"]
    more = sealed(kernel, words + ",auto,paths", "/dev/root / auto\n")
    with boot(kernel, more, "root=/dev/vda idmap=100000:0:65536,X-mount.subdir=/", disks) as guest:
        assert owners(guest) == OWNERS


def test_options_of_modules(kernel, root_tree, image, sealed, boot):
    for words, given in (("", False), ("modules", True)):
        initrd = sealed(kernel, words, modules="virtio_pci,virtio_blk,erofs,loop")
        with boot(kernel, initrd, "loop.max_loop=3", [Disk(image(root_tree(), "erofs"))]) as guest:
            loops = [name for name in guest.ask("ls /sys/block")["entries"] if name.startswith("loop")]
            assert (len(loops) == 3) == given
            assert any("module loop.ko gets no options" in line for line in log_lines(guest)) != given


@pytest.mark.parametrize("uid,mode", [(0, 0o664), (0, 0o646), (7, 0o644)])
def test_tables_of_others(uid, mode, kernel, root_tree, image, sealed, initramfs, boot, boot_fails, tmp_path):
    """Whoever may write the table needs no command line. Without the seal that is the builder's business."""
    tree = {"/": Dir(), "/etc": Dir(), "/etc/idmap.conf": File(ROOT, uid, 0, mode)}
    table = make_image(tree, "cpio", tmp_path / "table")
    disks = [Disk(image(root_tree(), "erofs"))]
    both = tmp_path / "both"
    both.write_bytes(sealed(kernel).read_bytes() + table.read_bytes())
    line, code = last_words(boot_fails(kernel, both, "", disks))
    assert line == ("idmap-init: /etc/idmap.conf can be written by others than root, and the initramfs is sealed; give it"
                    " to root, with the mode 0644") and code.startswith("0x00000200")
    both.write_bytes(initramfs(kernel).read_bytes() + table.read_bytes())
    with boot(kernel, both, "", disks) as guest:
        assert owners(guest) == OWNERS


def test_always(kernel, root_tree, image, programs, initramfs, boot, boot_fails, tmp_path):
    """Kconfig's SEALED: without a file, too. Nor does ONFAIL_SHELL open the shell where no seal says so."""
    folder = programs.guest_folder / "size" / "sealed"
    host.make_for_guest(folder, "default_defconfig")
    config = folder / ".config"
    config.write_text(config.read_text().replace("# CONFIG_SEALED is not set", "CONFIG_SEALED=y").replace(
        "CONFIG_ONFAIL_PANIC=y", "CONFIG_ONFAIL_SHELL=y"))
    host.make_for_guest(folder, "all")
    shell = (programs.probe, "/bin/sh")
    initrd = initramfs(kernel, ROOT, init=folder / "idmap-init", add=[shell])
    disks = [Disk(image(root_tree(), "erofs"))]
    line, _ = last_words(boot_fails(kernel, initrd, "init=/bin/sh", disks))
    assert line.endswith(SEAL.format("init"))
    with boot(kernel, initrd, HARMLESS, disks) as guest:
        assert owners(guest) == OWNERS
    (tmp_path / "seal").write_text("shell\n")
    opened = initramfs(kernel, ROOT, init=folder / "idmap-init", add=[shell, (tmp_path / "seal", "/etc/idmap.sealed")])
    with boot(kernel, opened, "init=/bin/sh", disks) as guest:
        assert guest.report()["argv"] == ["/bin/sh"] and guest.mounts()[0].type == "rootfs"
