# SPDX-License-Identifier: MIT
"""Trees that are folders of the host: virtiofs, which new kernels and servers let us map, and 9p,
which can never be."""

from __future__ import annotations

import contextlib
import os
import re
import signal
import subprocess
import time

import pytest

from common import OWN, OWNERS, ROOT, last_words, log_lines, options, owners, seen, wait_for_line
from guest import Disk, parse_mountinfo
from images import Dir, File

# The drivers of both; Debian's kernels for clouds have no 9p.
VIRTIOFS = "virtio_pci,virtio_blk,erofs,virtiofs"
NINEP = "virtio_pci,virtio_blk,erofs,9p"
NINEP_OPTIONS = "trans=virtio,version=9p2000.L"
WORK = {"/": Dir(1000, 1000), "/mine": File("mine\n", 1000, 1000, 0o600),
        "/other": File("other\n", 1001, 1001), "/roots": File("root's\n", 0, 0),
        "/deep": Dir(1000, 1000), "/deep/er": Dir(1001, 1001),
        "/deep/er/file": File("x\n", 1002, 1002)}
WORK_ROW = "hostshare /srv virtiofs rw,idmap=1000:0:1,identity\n"


def ninep(folder):
    return ["-virtfs", f"local,path={folder},mount_tag=hostshare,security_model=none"]


@pytest.mark.every_kernel
@pytest.mark.parametrize("kernel", ["6.12", "7.x", OWN], indirect=True)
def test_virtiofs_root(kernel, root_tree, initramfs, host_tree, virtiofs, boot):
    append = "root=hostroot rootfstype=virtiofs ro idmap=100000:0:65536"
    with boot(kernel, initramfs(kernel, modules=VIRTIOFS), append,
              qemu_args=virtiofs(host_tree(root_tree()), "hostroot")) as guest:
        assert owners(guest) == OWNERS
        assert guest.ask("open /etc/new wc") == {"error": "EROFS"}
        assert guest.ask("read /owners/root-private")["content"] == "base+0, 0600\n"
        assert guest.ask("read /owners/outside-private") == {"error": "EACCES"}
        assert guest.run("/bin/suid", uid=1000, gid=1000) == "1000 0 1000 0\n"
        assert guest.run("/bin/suid-outside", uid=7, gid=7) == "7 7 7 7\n"
        root, = [m for m in parse_mountinfo(guest.report()["mountinfo"]) if m.target == "/"]
        assert (root.type, root.source) == ("virtiofs", "hostroot")
        assert {"idmapped", "ro"} <= set(root.options)
        table = guest.ask("read /run/idmap/table")["content"]
        assert re.search(r"^hostroot / virtiofs ro,idmap=100000:0:65536$", table, re.M)


@pytest.mark.parametrize("kernel", ["6.1", "newest"], indirect=True)
def test_upper_that_is_a_share(kernel, root_tree, image, initramfs, host_tree, virtiofs, boot_fails):
    """A server that keeps no attributes of overlayfs."""
    conf = ROOT + "upper /srv overlay\n/dev/vda /srv erofs lower,X-mount.subdir=etc\nhostshare /srv virtiofs upper\n"
    line, code = last_words(boot_fails(kernel, initramfs(kernel, conf, modules=VIRTIOFS + ",overlay"), "",
                                       [Disk(image(root_tree(), "erofs"))], qemu_args=virtiofs(host_tree({"/": Dir()}), "hostshare")))
    assert line.endswith("missing required features.); its filesystem cannot be an upper; use ext4, xfs or btrfs for it"), line
    assert code == "0x00000400"


@pytest.mark.parametrize("kernel,words", [("6.12", ["ro", "rw"]), ("newest", ["rw", "ro"])], indirect=["kernel"])
def test_one_share_in_two_rows(words, kernel, root_tree, image, initramfs, host_tree, virtiofs, boot):
    """It has one superblock, and whether a row is ro is its own affair."""
    rows = dict(zip(("/mnt", "/srv"), words))
    conf = ROOT + "".join(f"hostshare {target} virtiofs {word}\n" for target, word in rows.items())
    with boot(kernel, initramfs(kernel, conf, modules=VIRTIOFS), "", [Disk(image(root_tree(), "erofs"))],
              qemu_args=virtiofs(host_tree({"/": Dir()}), "hostshare")) as guest:
        for target, word in rows.items():
            assert guest.ask(f"open {target}/new wc") == ({"error": "EROFS"} if word == "ro" else {"ok": True})


@pytest.mark.every_kernel
@pytest.mark.parametrize("kernel,server_options", [
    ("6.12", []), ("6.12", ["--posix-acl"]), ("7.x", ["--posix-acl"])], indirect=["kernel"])
def test_virtiofs_row(kernel, server_options, root_tree, image, initramfs, host_tree, virtiofs, boot):
    """The user 1000 of the host is root in the guest, and what root writes is that user's. A folder
    of the same share is one more tree, with another map."""
    folder = host_tree(WORK)
    conf = ROOT + WORK_ROW + "hostshare /mnt virtiofs rw,X-mount.subdir=deep/er,idmap=1001:5:2\n"
    with boot(kernel, initramfs(kernel, conf, modules=VIRTIOFS), "",
              [Disk(image(root_tree(), "erofs"))],
              qemu_args=virtiofs(folder, "hostshare", *server_options)) as guest:
        assert seen(guest, "/srv") == (0, 0) == seen(guest, "/srv/mine")
        assert seen(guest, "/srv/other") == (1001, 1001)
        assert seen(guest, "/srv/roots") == (65534, 65534)
        assert seen(guest, "/mnt") == (5, 5) and seen(guest, "/mnt/file") == (6, 6)
        assert options(guest, "/srv") == (
            "virtiofs", {"rw", "nosuid", "nodev", "relatime", "idmapped"})
        assert guest.ask("write /srv/new x") == {"written": 1}
        assert seen(guest, "/srv/new") == (0, 0)
        assert guest.ask("chown /srv/new 1001 1001") == {"ok": True}
        assert guest.ask("mkdir /srv/folder") == {"ok": True}
    new = (folder / "new").stat()
    assert (new.st_uid, new.st_gid) == (1001, 1001)
    assert (folder / "folder").stat().st_uid == 1000


def test_slow_server(kernels, root_tree, image, initramfs, host_tree, virtiofs, boot):
    """Mounting does not wait for the server's answer, of which it is a part whether it allows maps:
    the server stands still from when its driver is loaded until the row has long been mounted."""
    kernel = kernels("6.12")
    arguments = virtiofs(host_tree(WORK), "hostshare", "--sandbox=chroot")
    with boot(kernel, initramfs(kernel, ROOT + WORK_ROW, modules=VIRTIOFS), "rootdelay=4",
              [Disk(image(root_tree(), "erofs"))], qemu_args=arguments) as guest:
        wait_for_line(guest, "[vda]")
        time.sleep(2)
        server, = virtiofs.processes
        server.send_signal(signal.SIGSTOP)
        wait_for_line(guest, "erofs: (device vda): mounted")
        time.sleep(1)
        server.send_signal(signal.SIGCONT)
        assert seen(guest, "/srv/mine") == (0, 0)


HOSTS_MOUNT = ("mount -t tmpfs -o uid=1000,gid=1000,mode=0755 another deep; echo y >deep/file; chown 1000:1000 deep/file;"
               " echo y >deep/roots; chmod 600 deep/roots")
IN_SHARE = ("idmap-init: /etc/idmap.conf:2: hostshare on /srv: /srv/deep is another mount of the host, which the kernel would"
            " show there without the map; start virtiofsd with --no-announce-submounts, or cover it by a row")


@pytest.mark.parametrize("kernel", ["6.12", "newest"], indirect=True)
def test_mount_of_the_host_in_a_share(kernel, root_tree, image, initramfs, host_tree, virtiofs, boot, boot_fails):
    """The kernel mounts it by itself where the server announces it, and without the map."""
    share, disks = host_tree(WORK), [Disk(image(root_tree(), "erofs"))]
    conf = ROOT + "hostshare /srv virtiofs rw,idmap=1000:0:1\n"
    initrd = initramfs(kernel, conf, modules=VIRTIOFS)
    assert last_words(boot_fails(kernel, initrd, "quiet", disks, qemu_args=virtiofs(share, "hostshare", before=HOSTS_MOUNT))) == (
        IN_SHARE, "0x00000500")
    with boot(kernel, initrd, "quiet", disks,
              qemu_args=virtiofs(share, "hostshare", "--no-announce-submounts", before=HOSTS_MOUNT)) as guest:
        assert seen(guest, "/srv/deep/file") == (0, 0)
        assert guest.ask("read /srv/deep/roots") == {"error": "EACCES"}
    # By a row that may be left out, beside many other folders, and in a layer, where the overlay gives no answer.
    for number in range(1200):
        (share / f"folder{number}").mkdir()
    share.chmod(0o711)  # of an owner whom this map leaves out
    for row in ("", "/dev/vdz /srv/deep erofs nofail,wait=1\n", "tmpfs /srv overlay\nown /srv/deep tmpfs\n"):
        table = conf.replace("1000:0", "2000:0") if not row else conf.replace("rw,", "lower,") + row if "overlay" in row else conf + row
        assert last_words(boot_fails(kernel, initramfs(kernel, table, modules=VIRTIOFS + ",overlay"), "quiet", disks,
                                     qemu_args=virtiofs(share, "hostshare", before=HOSTS_MOUNT))) == (IN_SHARE, "0x00000500")
    rbind = ROOT + ("m /mnt tmpfs\nhostshare /mnt/s virtiofs rw,X-mount.mkdir\n/mnt /srv rbind rw,idmap=1000:0:1,identity\n")
    line, _ = last_words(boot_fails(kernel, initramfs(kernel, rbind, modules=VIRTIOFS), "quiet", disks,
                                    qemu_args=virtiofs(share, "hostshare", before=HOSTS_MOUNT)))
    assert "/etc/idmap.conf:4: /mnt on /srv: /srv/s/deep is another mount of the host, " in line
    # What covers it does not stand in a bind, which has the map of what it shows.
    bind = conf + "own /srv/deep tmpfs\n/srv /mnt bind rw\n"
    line, _ = last_words(boot_fails(kernel, initramfs(kernel, bind, modules=VIRTIOFS), "quiet", disks,
                                    qemu_args=virtiofs(share, "hostshare", before=HOSTS_MOUNT)))
    assert "/etc/idmap.conf:4: /srv on /mnt: /mnt/deep is another mount of the host, " in line
    # Covered, without a map, or of its own: nothing to be afraid of.
    covered = initramfs(kernel, conf + "own /srv/deep tmpfs\n", modules=VIRTIOFS)
    with boot(kernel, covered, "quiet", disks, qemu_args=virtiofs(share, "hostshare", before=HOSTS_MOUNT)) as guest:
        assert seen(guest, "/srv/mine") == (0, 0)
        assert guest.ask("ls /srv/deep") == {"entries": {}}
    plain = initramfs(kernel, ROOT + "hostshare /srv virtiofs\n", modules=VIRTIOFS)
    with boot(kernel, plain, "quiet", disks, qemu_args=virtiofs(share, "hostshare", before=HOSTS_MOUNT)) as guest:
        assert seen(guest, "/srv/deep/file") == (1000, 1000) == seen(guest, "/srv/mine")


@pytest.mark.parametrize("kernel", ["6.12", "newest"], indirect=True)
def test_root_of_the_host_with_mounts(kernel, root_tree, initramfs, host_tree, virtiofs, boot):
    """What comes along is seen where the host has its own /proc and the like."""
    before = "mount -t tmpfs other proc; mount -t tmpfs other dev; mount -t tmpfs other run"
    with boot(kernel, initramfs(kernel, modules=VIRTIOFS), "root=hostroot rootfstype=virtiofs ro idmap=100000:0:65536",
              qemu_args=virtiofs(host_tree(root_tree()), "hostroot", before=before)) as guest:
        assert owners(guest) == OWNERS
        assert {m.target: m.type for m in guest.mounts()}.items() >= {"/proc": "proc", "/dev": "devtmpfs"}.items()


REFUSED = {
    # The kernel is to blame, whatever the server.
    ("6.1", "new"): "virtiofs can be idmapped since Linux 6.12, and this is {}; boot a newer kernel"
                    " or use another filesystem",
    # The server is.
    ("6.12", "old"): "its server on the host allows no map, this kernel ({}) would; use virtiofsd"
                     " 1.13 or newer, with --no-announce-submounts",
    ("7.x", "old"): "its server on the host allows no map, this kernel ({}) would; use virtiofsd"
                    " 1.13 or newer, with --no-announce-submounts",
}


@pytest.mark.parametrize("kernel,server", REFUSED, indirect=["kernel"])
def test_virtiofs_refused(kernel, server, root_tree, image, initramfs, host_tree, virtiofs,
                          boot_fails):
    console = boot_fails(kernel, initramfs(kernel, ROOT + WORK_ROW, modules=VIRTIOFS), "quiet",
                         [Disk(image(root_tree(), "erofs"))],
                         qemu_args=virtiofs(host_tree(WORK), "hostshare", server=server))
    assert last_words(console) == (
        "idmap-init: /etc/idmap.conf:2: hostshare on /srv: "
        + REFUSED[kernel.name, server].format(kernel.version), "0x00000500")


def test_dax_that_the_server_has_not(kernel, root_tree, image, initramfs, host_tree, virtiofs, boot_fails):
    console = boot_fails(kernel, initramfs(kernel, ROOT + "hostshare /srv virtiofs dax=always\n", modules=VIRTIOFS), "quiet",
                         [Disk(image(root_tree(), "erofs"))], qemu_args=virtiofs(host_tree(WORK), "hostshare"))
    assert last_words(console)[0].endswith("; take dax out, which the host's server does not have")


def test_without_a_map(kernels, root_tree, image, initramfs, host_tree, virtiofs, boot):
    """9p, and virtiofs on a kernel and with a server that know no maps; a tag that is not there is
    an absent source."""
    kernel = kernels("6.1-plain")
    folder = host_tree(WORK)
    conf = ROOT + (f"hostshare /srv 9p {NINEP_OPTIONS}\nhostshare2 /mnt virtiofs noexec\n"
                   f"nosuch /home virtiofs nofail\nnosuch /opt 9p nofail,{NINEP_OPTIONS}\n")
    with boot(kernel, initramfs(kernel, conf, modules=f"{NINEP},virtiofs"), "",
              [Disk(image(root_tree(), "erofs"))],
              qemu_args=ninep(folder) + virtiofs(folder, "hostshare2", server="old")) as guest:
        for target, type_, more in (("/srv", "9p", set()), ("/mnt", "virtiofs", {"noexec"})):
            assert options(guest, target) == (type_, {"ro", "nosuid", "nodev", "relatime"} | more)
            assert seen(guest, f"{target}/mine") == (1000, 1000)
            assert guest.ask(f"read {target}/other")["content"] == "other\n"
        log = log_lines(guest)
        remedy = ("give the host's share this tag, or load the driver that brings it (mkinitramfs -m"
                  " virtio_pci)")
        assert ("idmap-init: /etc/idmap.conf:4: nosuch on /home: virtiofs finds no share of that tag"
                f" (invalid argument; kernel: virtio-fs: tag <nosuch> not found); {remedy}") in log
        assert ("idmap-init: /etc/idmap.conf:5: nosuch on /opt: 9p finds no share of that tag (not there; kernel:"
                f" 9pnet_virtio: no channels available for device nosuch); {remedy}") in log
        assert "idmap-init: /opt is skipped, its row says nofail" in log


@pytest.mark.parametrize("kernel", ["6.1-plain", "6.12-plain", OWN], indirect=True)
def test_9p_is_never_mapped(kernel, root_tree, image, initramfs, host_tree, boot_fails):
    conf = ROOT + f"hostshare /srv 9p {NINEP_OPTIONS},idmap=1000:0:1\n"
    console = boot_fails(kernel, initramfs(kernel, conf, modules=NINEP), "quiet printk.time=1",
                         [Disk(image(root_tree(), "erofs"))], qemu_args=ninep(host_tree(WORK)))
    assert last_words(console) == (
        f"idmap-init: /etc/idmap.conf:2: hostshare on /srv: 9p cannot be idmapped on this kernel"
        f" ({kernel.version}); use virtiofs for a mapped folder of the host", "0x00000500")


@pytest.mark.parametrize("kernel", ["6.12-plain"], indirect=True)
@pytest.mark.parametrize("first, second, remedy, source", [
    ("rw", "rw", "bind /mnt", "/mnt"), ("rw", "ro", "bind /mnt", "/mnt"),
    ("ro", "rw", "mount it on a folder of its own, rw, and bind that in both", "/opt/app")])
def test_9p_is_mounted_once(first, second, remedy, source, kernel, root_tree, image, initramfs, host_tree, boot, boot_fails):
    """What its line advises to do is what works."""
    disks, args = [Disk(image(root_tree(), "erofs"))], ninep(host_tree(WORK))
    state = {"/mnt": first, "/srv": second}
    conf = ROOT + "".join(f"hostshare {target} 9p {state[target]},{NINEP_OPTIONS}\n" for target in state)
    line, code = last_words(boot_fails(kernel, initramfs(kernel, conf, modules=NINEP), "", disks, qemu_args=args))
    assert code == "0x00000400" and line.endswith(
        f"; the row for /mnt (/etc/idmap.conf:2) has it, and it can be mounted once only: {remedy}"), line
    conf = ROOT + f"hostshare {source} 9p {'rw' if 'rw' in state.values() else 'ro'},{NINEP_OPTIONS}\n" + "".join(
        f"{source} {target} bind {state[target]}\n" for target in state if target != source)
    with boot(kernel, initramfs(kernel, conf, modules=NINEP), "", disks, qemu_args=args) as guest:
        assert seen(guest, "/srv/mine") == (1000, 1000)
        for folder in state:
            assert ("error" in guest.ask(f"write {folder}/mine text")) == (state[folder] == "ro")


@pytest.mark.parametrize("kernel", ["6.1-plain", "6.12-plain"], indirect=True)
def test_9p_of_two_filesystems(kernel, root_tree, image, initramfs, boot_fails):
    """Their roots have one number here, and with a cache two such folders are one for the guest."""
    assert os.stat("/proc").st_ino == os.stat("/sys").st_ino
    conf = ROOT + f"hostshare /srv 9p {NINEP_OPTIONS},cache=loose\nt /srv/proc tmpfs\nt /srv/sys tmpfs\n"
    args = ["-virtfs", "local,path=/,mount_tag=hostshare,security_model=none,readonly=on"]
    console = boot_fails(kernel, initramfs(kernel, conf, modules=NINEP), "quiet", [Disk(image(root_tree(), "erofs"))], qemu_args=args)
    assert "it is not seen there: another row has this folder" in last_words(console)[0]


@pytest.fixture
def mounted():
    """mounted(folder): a tmpfs there, on this machine, until the test ends."""
    with contextlib.ExitStack() as stack:
        def mount(folder):
            done = subprocess.run(["mount", "-t", "tmpfs", "test", folder], capture_output=True, text=True)
            if done.returncode:
                pytest.skip(f"nothing can be mounted on this machine: {done.stderr}")
            stack.callback(subprocess.run, ["umount", folder], check=True)

        yield mount


@pytest.mark.parametrize("kernel", ["6.1-plain", "6.12-plain"], indirect=True)
@pytest.mark.parametrize("rows, line", [("t /srv/a tmpfs\nt /srv/b tmpfs\n", "it is not seen there: another row has this folder"),
                                        ("t /srv/a tmpfs\n/srv/b /mnt bind\n", "/srv/b lies in the row for /srv/a, by another name")])
def test_9p_root_of_two_filesystems(rows, line, kernel, root_tree, initramfs, host_tree, mounted, boot_fails):
    """Of a root's names, too, none is sure where it is served."""
    folder = host_tree(root_tree() | {"/srv/a": Dir(), "/srv/b": Dir()})
    for name in "ab":
        mounted(folder / "srv" / name)
    append = f"root=hostshare rootfstype=9p rootflags={NINEP_OPTIONS},cache=loose quiet"
    console = boot_fails(kernel, initramfs(kernel, rows, modules="virtio_pci,9p"), append, qemu_args=ninep(folder))
    assert line in last_words(console)[0]


def test_apply_and_a_server_that_stops(kernels, root_tree, image, initramfs, host_tree, virtiofs, boot):
    """Nobody can end it, but whoever waits is told for what; and it goes on when the server does."""
    kernel = kernels("newest")
    tree = root_tree(command=True)
    initrd = initramfs(kernel, ROOT, modules=VIRTIOFS)
    args = virtiofs(host_tree(WORK), "hostshare", "--sandbox=chroot")
    server, = virtiofs.processes
    with boot(kernel, initrd, "", [Disk(image(tree, "erofs"))], qemu_args=args) as guest:
        guest.report()
        server.send_signal(signal.SIGSTOP)
        guest.run("/bin/sh", "-c", "echo hostshare /srv virtiofs wait=2,idmap=1000:0:1 >/run/table;"
                  " (/bin/idmap apply -c /run/table; echo $?) >/run/told 2>&1 &")
        time.sleep(12)
        assert guest.ask("read /run/told")["content"] == (
            "idmap: hostshare on /srv: after 10 s it is not mounted, as its server does not answer; look at it"
            " on the host\n")
        server.send_signal(signal.SIGCONT)
        time.sleep(2)
        assert guest.ask("read /run/told")["content"].endswith("host\n0\n")
        assert seen(guest, "/srv/mine") == (0, 0)
