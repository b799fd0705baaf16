# SPDX-License-Identifier: MIT
"""hooks/: the initramfs that people already have, made by Debian's own tools and booted, with a right
table and with a wrong one, at which it stops in its own way and with our line. `make check-tools`."""

from __future__ import annotations

import os
import subprocess
from pathlib import Path

import pytest

import debian
import host
import tools
from common import of_x86_64, seen, wait_for_line
from guest import Disk, Guest
from images import Dir, File, debugfs, make_image

pytestmark = of_x86_64("the tools are unpacked for x86-64")

HOOKS = host.REPOSITORY / "hooks"
TABLE = "/dev/root / auto idmap=100000:0:65536\n/dev/vdb /srv ext4 idmap=5000:0:10\n"
WRONG = "/dev/root / auto idmap=100000:0:65536\n/dev/vdb /no/such ext4 idmap=5000:0:10\n"
LINE = "idmap apply: /etc/idmap.conf:2: /dev/vdb on /no/such: the target cannot be used in the new root (not there)"
DRIVERS = ["virtio_pci", "virtio_blk", "erofs", "ext4"]

INITRAMFS_TOOLS = """set -e
cp -r /etc/initramfs-tools /tmp/conf
sed -i s/MODULES=most/MODULES=list/ /tmp/conf/initramfs.conf
printf '%s\\n' DRIVERS >>/tmp/conf/modules
mkinitramfs -c gzip -d /tmp/conf -o /tmp/initramfs VERSION >&2
cat /tmp/initramfs
"""

DRACUT = """set -e
dracut --quiet --no-hostonly --gzip --modules "MODULES" --drivers "DRIVERS" --kver VERSION /tmp/initramfs >&2
cat /tmp/initramfs
"""

# name: the suite, its packages, how the initramfs is made, whether systemd is in it.
TOOLS = {
    "initramfs-tools-bookworm": ("bookworm", ["initramfs-tools", "busybox"], INITRAMFS_TOOLS),
    "initramfs-tools-trixie": ("trixie", ["initramfs-tools", "busybox"], INITRAMFS_TOOLS),
    # switch_root has moved in forky, and is not among what dracut depends on.
    **{f"dracut-{suite}": (suite, ["dracut", "systemd-sysv", *more],
                           DRACUT.replace("MODULES", "base rootfs-block usrmount kernel-modules udev-rules idmap"))
       for suite, more in (("trixie", []), ("forky", ["util-linux-extra"]))},
    **{f"dracut-systemd-{suite}": (suite, ["dracut", "systemd-sysv"], DRACUT.replace(
        "MODULES", "base systemd systemd-initrd dracut-systemd rootfs-block kernel-modules udev-rules idmap"))
       for suite in ("trixie", "forky")},
}


def files_for(name, programs, table):
    files = {"/usr/sbin/idmap": programs.folder / "idmap"}
    if table is not None:
        files["/etc/idmap.conf"] = table
    if name.startswith("initramfs-tools"):
        files["/etc/initramfs-tools/hooks/idmap"] = HOOKS / "initramfs-tools/hooks/idmap"
        files["/etc/initramfs-tools/scripts/local-bottom/idmap"] = HOOKS / "initramfs-tools/scripts/local-bottom/idmap"
        files["/etc/initramfs-tools/scripts/init-bottom/idmap"] = HOOKS / "initramfs-tools/scripts/init-bottom/idmap"
    else:
        files["/usr/lib/dracut/modules.d/90idmap"] = HOOKS / "dracut/90idmap"
    return files


def only_root():
    if os.getuid():
        pytest.skip("only root can lay our files over the root that a tool runs in")


def root_with(suite, *packages):
    """A root with these packages, in which tools of theirs are run."""
    try:
        return tools.unpacked("--root", suite, *packages)
    except host.PeerMissing as missing:
        pytest.skip(f"no {packages[0]} of {suite}: {missing}")


def run_tool(root, kernel, command, drivers, files):
    """What the command prints in that root, for this kernel and with these drivers."""
    command = command.replace("VERSION", kernel.version).replace("DRIVERS", " ".join(drivers))
    return tools.in_root(root, kernel.modules, command,
                         files | {f"/boot/config-{kernel.version}": kernel.vmlinuz.parent / "config"})


@pytest.fixture
def made(programs, tmp_path):
    """made(name, kernel, table or None, *drivers): an initramfs by that tool, with our hooks in it, further
    packages and files, and where its command says the one word the other one in its stead."""
    def make(name, kernel, table, *drivers, more=(), files={}, word="", instead=""):
        only_root()
        suite, packages, command = TOOLS[name]
        path = tmp_path / "initramfs"
        path.write_bytes(run_tool(root_with(suite, *packages, *more), kernel,
                                  command.replace(word, instead, 1) if word else command, [*DRIVERS, *drivers],
                                  files_for(name, programs, table) | files))
        return path
    return make


@pytest.fixture
def disks(root_tree, image, second):
    tree = root_tree()
    tree["/etc/os-release"] = File("ID=test\n", 100000, 100000)  # or systemd takes it for no root
    return [Disk(image(tree, "erofs")), Disk(second("ext4"))]


def check_root(guest):
    below = [(m.target, m.type) for m in guest.mounts() if "idmapped" in m.options]
    assert below == [("/", "erofs"), ("/srv", "ext4")]
    assert seen(guest, "/owners/user") == (1000, 1000) and seen(guest, "/srv/file") == (7, 7)
    # Nothing lies underneath, and nothing is left of what it was made with.
    assert [m.type for m in guest.mounts() if m.target == "/"] in (["erofs"], ["rootfs", "erofs"])
    assert "run-.idmap" not in guest.ask("ls /run")["entries"]


# `make check` takes one of them.
NAMES = [pytest.param(name, marks=pytest.mark.tools(always=name == "dracut-systemd-trixie")) for name in TOOLS]
OF_DRACUT = [name for name in NAMES if name.values[0].startswith("dracut")]
KERNELS = {"bookworm": "6.1", "trixie": "6.12", "forky": "newest"}


@pytest.mark.parametrize("name,hostonly", [*[pytest.param(*name.values, False, marks=name.marks) for name in NAMES],
                                           *[pytest.param(*name.values, True, marks=name.marks) for name in OF_DRACUT]])
def test_right_table(name, hostonly, kernels, made, disks, image, seal, boot, ran):
    """The hooks bring what the rows need, dm-verity's module among it."""
    kernel = kernels(KERNELS[TOOLS[name][0]])
    append = "root=/dev/vda rootfstype=erofs ro"
    sealed = seal(image({"/": Dir(), "/sealed": File("")}, "erofs"))
    table = TABLE + f"/dev/vdc /mnt erofs verity.hashdevice=/dev/vdd,verity.roothash={sealed.root_hash}\n"
    how = {"word": "--no-hostonly", "instead": "--hostonly"} if hostonly else {}
    with boot(kernel, made(name, kernel, table, **how), append, [*disks, *sealed.disks]) as guest:
        check_root(guest)
        assert "sealed" in guest.ask("ls /mnt")["entries"]
        assert [m.source for m in guest.mounts() if m.target == "/mnt"] == ["/dev/dm-0"]
    tool, _, suite = name.rpartition("-")
    ran(f"{tool.removesuffix('-systemd')} of {suite}", kernel.name, "with systemd in it" if "systemd" in tool else "alone")


@pytest.mark.parametrize("name", NAMES)
def test_wrong_table(name, kernels, made, disks, boot):
    kernel = kernels(KERNELS[TOOLS[name][0]])
    append = "root=/dev/vda rootfstype=erofs ro panic=5 rd.shell=0 rd.emergency=poweroff"
    with boot(kernel, made(name, kernel, WRONG), append, disks) as guest:
        wait_for_line(guest, LINE)
        console = guest.wait_exit()
        assert "/sbin/init" not in console.rpartition(LINE)[2] or "Attempted to kill init" in console


@pytest.mark.parametrize("name", OF_DRACUT)
def test_command_line_that_dracut_has_been_given(name, kernels, made, disks, boot):
    """dracut.cmdline(7): root= and all else count from there, and so does idmap=."""
    kernel = kernels(KERNELS[TOOLS[name][0]])
    initramfs = made(name, kernel, None, word="dracut ", instead="dracut --kernel-cmdline"
                     " 'ro idmap=100000:0:65536 idmap=/dev/vdb,/srv,ext4,idmap=5000:0:10' ")
    with boot(kernel, initramfs, "root=/dev/vda rootfstype=erofs", disks) as guest:
        check_root(guest)


@pytest.mark.tools(always=True)
@pytest.mark.parametrize("volatile", ["overlay", "yes"])
def test_volatile_root(volatile, kernels, programs, made, root_tree, image, boot):
    """systemd makes another root of the mapped one, and not the other way round."""
    kernel, own = kernels("6.12"), {"uid": 100000, "gid": 100000}
    tree = root_tree()
    tree.update({path: Dir(**own) for path in ("/usr", "/usr/lib", "/usr/lib/systemd", "/usr/bin")})
    tree["/usr/lib/os-release"] = File("ID=test\n", **own)
    tree["/usr/lib/systemd/systemd"] = File(programs.probe, **own, mode=0o755)
    tree["/usr/bin/user"] = File("user's\n", 101000, 101000)
    table = "/dev/root / auto idmap=100000:0:65536\n"
    with boot(kernel, made("dracut-systemd-trixie", kernel, table, "overlay"),
              f"root=/dev/vda rootfstype=erofs ro systemd.volatile={volatile}", [Disk(image(tree, "erofs"))]) as guest:
        assert [m for m in guest.mounts() if m.target == "/"][-1].type == {"overlay": "overlay", "yes": "tmpfs"}[volatile]
        assert seen(guest, "/usr") == (0, 0) and seen(guest, "/usr/bin/user") == (1000, 1000)


@pytest.mark.parametrize("name", OF_DRACUT)
@pytest.mark.parametrize("row", ["/usr/data", "/usr"])
def test_row_that_the_roots_fstab_covers(row, name, kernels, made, root_tree, image, second, boot):
    """dracut mounts that /usr later: what is not seen any more stops the boot, or it is seen."""
    kernel, own = kernels(KERNELS[TOOLS[name][0]]), {"uid": 100000, "gid": 100000}
    tree = root_tree()
    tree.update({"/etc/os-release": File("ID=test\n", **own), "/etc/fstab": File("/dev/vdc /usr ext4 ro 0 0\n", **own),
                 "/usr": Dir(**own), "/usr/data": Dir(**own)})
    usr = image({"/": Dir(**own), "/data": Dir(**own), "/data/file": File("x", **own)}, "ext4")
    disk = "/dev/vdb" if row == "/usr/data" else "/dev/vdc"
    table = f"/dev/root / auto idmap=100000:0:65536\n{disk} {row} ext4 idmap={'5000:0:10' if row == '/usr/data' else '100000:0:65536'}\n"
    append = "root=/dev/vda rootfstype=erofs ro panic=5 rd.shell=0 rd.emergency=poweroff"
    with boot(kernel, made(name, kernel, table), append, [Disk(image(tree, "erofs")), Disk(second("ext4")), Disk(usr)]) as guest:
        if row == "/usr" and "systemd" in name:  # which takes its unit for mounted
            assert seen(guest, "/usr/data/file") == (0, 0)
            return
        wait_for_line(guest, f"idmap apply: the row on /sysroot{row} is not seen there any more: another mount covers it")
        guest.wait_exit()


@pytest.mark.tools
def test_row_that_a_volatile_root_has_not(kernels, made, disks, boot):
    kernel = kernels("6.12")
    append = "root=/dev/vda rootfstype=erofs ro systemd.volatile=overlay panic=5 rd.shell=0 rd.emergency=poweroff"
    with boot(kernel, made("dracut-systemd-trixie", kernel, TABLE, "overlay"), append, disks) as guest:
        wait_for_line(guest, "idmap apply: the row on /sysroot/srv is not seen there any more: another mount covers it, or another"
                             " root was made of this one, as systemd.volatile=, ")
        guest.wait_exit()


@pytest.mark.tools
@pytest.mark.parametrize("name", ["dracut-forky", "dracut-systemd-forky"])
def test_overlay_of_dracuts(name, kernels, made, disks, boot):
    """The overlay that its own module makes is one of the mapped root."""
    kernel = kernels(KERNELS[TOOLS[name][0]])
    initramfs = made(name, kernel, "/dev/root / auto idmap=100000:0:65536\n", "overlay",
                     word="udev-rules idmap", instead="udev-rules idmap overlayfs")
    with boot(kernel, initramfs, "root=/dev/vda rootfstype=erofs ro rd.overlay=1", disks) as guest:
        assert [m for m in guest.mounts() if m.target == "/"][-1].type == "overlay"
        assert seen(guest, "/owners/user") == (1000, 1000) and guest.ask("write /etc/new x") == {"written": 1}


@pytest.mark.parametrize("name", NAMES)
def test_row_that_is_moved_over(name, kernels, made, disks, boot):
    """Where the initramfs puts its own /run. As it is made a table is told of it, too."""
    kernel = kernels(KERNELS[TOOLS[name][0]])
    append = ("root=/dev/vda rootfstype=erofs ro idmap=100000:0:65536 idmap=/dev/vdb,/run/data,ext4,X-mount.mkdir,idmap=5000:0:10"
              " panic=5 rd.shell=0 rd.emergency=poweroff")
    with boot(kernel, made(name, kernel, None), append, disks) as guest:
        wait_for_line(guest, "the initramfs moves its /run over that when the root is entered; leave this row to the real init")
        guest.wait_exit()


# A way of its own to a root, as live-boot has one: of local's scripts it runs none.
MINE = """mountroot()
{
	modprobe erofs
	wait_for_udev 10
	mount -r -t erofs /dev/vda "$rootmnt"
}
mount_top() { :; }
mount_premount() { :; }
mount_bottom() { :; }
"""


@pytest.mark.tools
@pytest.mark.parametrize("table", [TABLE, None], ids=["table", "none"])
def test_root_of_another_boot_script(table, kernels, made, disks, boot):
    """It is as its table says, or the boot stops; without a table it is nobody's business."""
    kernel = kernels("6.12")
    initramfs = made("initramfs-tools-trixie", kernel, table, files={"/etc/initramfs-tools/scripts/mine": MINE})
    with boot(kernel, initramfs, "boot=mine panic=5 root=/dev/vda", disks) as guest:
        if table is None:
            assert seen(guest, "/owners/user") == (101000, 101000)
            return
        wait_for_line(guest, "boot=mine has mounted the root and left scripts/local-bottom/idmap out")
        assert "/sbin/init" not in guest.wait_exit()


@pytest.mark.tools
@pytest.mark.parametrize("suite", ["bookworm", "trixie"])
@pytest.mark.parametrize("table", ["root", "more"])
def test_overlay_of_another_script(table, suite, kernels, made, disks, boot):
    """overlayroot, as others do, makes another root of the mapped one, in which no row but / is seen."""
    kernel = kernels(KERNELS[suite])
    rows = TABLE if table == "more" else TABLE.splitlines()[0] + "\n"
    initramfs = made(f"initramfs-tools-{suite}", kernel, rows, "overlay", more=["e2fsprogs", "overlayroot"])
    with boot(kernel, initramfs, "root=/dev/vda rootfstype=erofs ro panic=5 overlayroot=tmpfs", disks) as guest:
        if table == "more":
            wait_for_line(guest, "idmap apply: the row on /root/srv is not seen there any more: another mount covers it")
            assert "/sbin/init" not in guest.wait_exit()
            return
        assert [m for m in guest.mounts() if m.target == "/"][-1].type == "overlay"
        assert seen(guest, "/owners/user") == (1000, 1000)


@pytest.mark.tools
@pytest.mark.parametrize("script", ["local-bottom", "init-bottom"])
def test_shell_that_is_left(script):
    """With a panic that returns, as a shell does that is left: the same is tried again, and no boot goes on."""
    text = (HOOKS / "initramfs-tools/scripts" / script / "idmap").read_text()
    panics = {"local-bottom": 1, "init-bottom": 2}[script]
    assert text.count("until ") == panics and text.count("panic ") == panics
    run = """times=0; rootmnt=/no/such; BOOT=mine; idmap() { echo row; return 1; }
panic() { times=$((times + 1)); [ $times -lt 3 ] || { echo stopped; exit 7; }; }
"""
    done = subprocess.run(["sh", "-c", run + text.replace(". /scripts/functions", "")], capture_output=True, text=True)
    assert done.returncode == 7 and done.stdout.splitlines()[-1] == "stopped", done


# Metadata alone, so that no device mapper is needed here; the volume begins at 1 MiB.
LVM = """set -e
truncate -s 64M /disk
loop=$(losetup --find --show /disk)
trap 'losetup -d "$loop"' EXIT
lvm pvcreate --config devices/use_devicesfile=0 --driverloaded n -q "$loop" >&2
lvm vgcreate --config devices/use_devicesfile=0 --driverloaded n -q group "$loop" >&2
lvm lvcreate --config devices/use_devicesfile=0 --driverloaded n -q -an -Zn -Wn -l 100%FREE -n root group >&2
dd if=/root.erofs of="$loop" bs=1M seek=1 conv=notrunc,fsync status=none
cat /disk
"""


@pytest.mark.tools
def test_root_on_lvm(kernels, disks, programs, boot, tmp_path, ran):
    """What PID 1 alone cannot open."""
    only_root()
    kernel, disk = kernels("6.12"), tmp_path / "disk"
    root = root_with("trixie", "initramfs-tools", "busybox", "lvm2")
    disk.write_bytes(tools.in_root(root, kernel.modules, LVM, {"/root.erofs": disks[0].path}))
    initramfs = tmp_path / "initramfs"
    initramfs.write_bytes(run_tool(root, kernel, INITRAMFS_TOOLS, [*DRIVERS, "dm_mod"],
                                   files_for("initramfs-tools-trixie", programs, TABLE)))
    with boot(kernel, initramfs, "root=/dev/mapper/group-root rootfstype=erofs ro", [Disk(disk), disks[1]]) as guest:
        check_root(guest)
    ran("initramfs-tools of trixie", kernel.name, "on LVM")


# What opens the root has what makes it, too; and the probe, which is started in its stead then.
LUKS_FILES = {
    "/etc/crypttab": "open /dev/vda /etc/keys/root.key luks,initramfs\n",
    "/etc/keys/root.key": "secret",
    "/etc/cryptsetup-initramfs/conf-hook": "KEYFILE_PATTERN=/etc/keys/*.key\n",
    "/etc/initramfs-tools/hooks/probe": "#!/bin/sh\n[ \"$1\" != prereqs ] || exit 0\ncp /usr/sbin/probe \"$DESTDIR/probe\"\n",
}
LUKS = """set -e
mkdir -p /dev /proc /sys
mount -t proc proc /proc
mount -t sysfs sys /sys
mount -t devtmpfs dev /dev
modprobe -a virtio_pci virtio_blk dm_crypt
cryptsetup luksFormat -q --type luks2 --pbkdf pbkdf2 --pbkdf-force-iterations 1000 /dev/vda /cryptroot/keyfiles/open.key
cryptsetup open --key-file /cryptroot/keyfiles/open.key /dev/vda new
cat /dev/vdb >/dev/mapper/new
cryptsetup close new
"""


@pytest.mark.tools
def test_root_on_luks(kernels, disks, programs, boot, tmp_path, ran):
    """What PID 1 alone cannot open."""
    only_root()
    kernel, disk = kernels("6.12"), tmp_path / "disk"
    root = root_with("trixie", "initramfs-tools", "busybox", "cryptsetup-initramfs")
    initramfs = tmp_path / "initramfs"
    initramfs.write_bytes(run_tool(
        root, kernel, "chmod +x /etc/initramfs-tools/hooks/probe\n" + INITRAMFS_TOOLS, [*DRIVERS, "dm_crypt"],
        files_for("initramfs-tools-trixie", programs, TABLE) | LUKS_FILES | {"/usr/sbin/probe": programs.probe}))
    with open(disk, "wb") as file:
        file.truncate(64 << 20)
    with boot(kernel, initramfs, "rdinit=/probe", [Disk(disk, readonly=False), disks[0]]) as guest:
        guest.run("/bin/sh", "-c", LUKS)
        guest.poweroff()
    assert disk.read_bytes()[:6] == b"LUKS\xba\xbe" and b"base+1000" not in disk.read_bytes()
    with boot(kernel, initramfs, "root=/dev/mapper/open rootfstype=erofs ro", [Disk(disk), disks[1]]) as guest:
        check_root(guest)
    ran("initramfs-tools of trixie", kernel.name, "on LUKS")


UKI = """ukify build --linux /boot/vmlinuz --initrd /boot/initramfs --cmdline @/boot/cmdline --os-release ID=test \\
	--output /tmp/uki.efi >&2
cat /tmp/uki.efi
"""
FIRMWARE = "/usr/share/ovmf/OVMF.fd"


@pytest.mark.tools
@pytest.mark.parametrize("right", [True, False])
def test_uki(right, kernels, disks, initramfs, image, run_folder, ran):
    """Kernel, initramfs and command line in one file, which a firmware starts. What the table is stands in it."""
    kernel = kernels("6.12")
    root = root_with("trixie", "systemd-ukify", "systemd-boot-efi", "python3", "python3-pefile")
    extents = "100000:0:65536" if right else "100000:0"
    uki = tools.in_root(root, kernel.modules, UKI, {
        "/boot/vmlinuz": kernel.vmlinuz, "/boot/initramfs": initramfs(kernel),
        "/boot/cmdline": f"console=ttyS0 panic=-1 root=/dev/vda rootfstype=erofs ro idmap={extents}"})
    esp = image({"/": Dir(), "/EFI/BOOT/BOOTX64.EFI": File(uki)}, "vfat")
    with Guest(None, None, "", [disks[0], Disk(esp)], qemu_args=["-bios", FIRMWARE],
               timeout=180, log_dir=run_folder / "guests") as guest:
        if right:
            assert seen(guest, "/owners/user") == (1000, 1000)
            ran("a UKI by ukify of trixie", kernel.name, "under OVMF")
        else:
            assert "'100000:0' is no extent of three numbers; write DISK:SEEN:COUNT" in guest.wait_no_init()


MKOSI_PACKAGES = ["mkosi", "systemd-container", "erofs-utils", "apt", "dpkg-dev", "python3", "bubblewrap", "kmod",
                  "libarchive-tools", "xz-utils", "systemd-ukify", "systemd-boot-efi", "python3-pefile"]
# The mirror of this machine may have no debugging symbols, which mkosi's own list asks for.
SOURCES = """Types: deb
URIs: {}
Suites: trixie
Components: main
Signed-By: /usr/share/keyrings/debian-archive-keyring.gpg
"""


@pytest.mark.tools
def test_mkosi(kernels, programs, image, run_folder, tmp_path, ran):
    """examples/mkosi: its image, booted by its UKI under a firmware."""
    only_root()
    root = root_with("trixie", *MKOSI_PACKAGES)
    files = {"/mkosi": host.REPOSITORY / "examples/mkosi", "/usr/sbin/idmap": programs.folder / "idmap",
             "/usr/sbin/idmap-init": programs.init, "/usr/sbin/idmap-mkinitramfs": host.REPOSITORY / "init/mkinitramfs",
             "/usr/local/sbin/probe": programs.probe, "/etc/resolv.conf": Path("/etc/resolv.conf"),
             "/mkosi/mkosi.extra/usr/local/sbin/probe": programs.probe,
             "/mkosi/mkosi.extra/etc/systemd/system/probe.service": debian.SERVICE,
             "/mkosi/mkosi.extra/etc/systemd/system-preset/00-probe.preset": "enable probe.service\n",
             "/mkosi/mkosi.sandbox/etc/apt/sources.list.d/mkosi.sources": SOURCES.format(tools.mirror())}
    archive = tools.in_root(root, kernels("6.12").modules, "cd /mkosi && mkdir -p out && mkosi build >&2 &&"
                            " tar -C out -c root.erofs root.efi", files)
    subprocess.run(["tar", "-C", tmp_path, "-x"], input=archive, check=True)
    esp = image({"/": Dir(), "/EFI/BOOT/BOOTX64.EFI": File(tmp_path / "root.efi")}, "vfat")
    with Guest(None, None, "", [Disk(tmp_path / "root.erofs"), Disk(esp)], qemu_args=["-bios", FIRMWARE], memory=1024,
               timeout=300, log_dir=run_folder / "guests") as guest:
        assert seen(guest, "/") == seen(guest, "/usr/bin/su") == (0, 0)
        running = guest.ask("run", "0", "0", "/bin/systemctl", "is-system-running", "--wait", timeout=300)
        assert running["stdout"] == "running\n"
    ran("mkosi of trixie", "6.12", "examples/mkosi")
    # Another table behind its initramfs, which mkosi itself would not have let pass.
    for section in ("linux", "initrd"):
        subprocess.run(["objcopy", "-O", "binary", f"--only-section=.{section}", tmp_path / "root.efi",
                        tmp_path / section], check=True)
    wrong = make_image({"/": Dir(), "/etc": Dir(), "/etc/idmap.conf": File("/dev/root / auto idmap=100000:0\n")},
                              "cpio", tmp_path / "wrong")
    initramfs = tmp_path / "both"
    content = (tmp_path / "initrd").read_bytes()
    initramfs.write_bytes(content + bytes(-len(content) % 4) + wrong.read_bytes())
    with Guest(tmp_path / "linux", initramfs, "root=/dev/vda rootfstype=erofs ro", [Disk(tmp_path / "root.erofs")],
               memory=1024, timeout=180, log_dir=run_folder / "guests") as guest:
        assert "/etc/idmap.conf:1:24: '100000:0' is no extent of three numbers" in guest.wait_no_init()


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("table, line", [
    ("/dev/root / auto idmap=100000:0\n", "/etc/idmap.conf:1:24: '100000:0' is no extent"),
    ("/dev/vda / erofs idmap=100000:0:65536\n", "/etc/idmap.conf:1:1: only what is mounted on / already can be its root")])
def test_table_that_is_wrong_when_it_is_made(table, line, name, kernels, made):
    kernel = kernels(KERNELS[TOOLS[name][0]])
    with pytest.raises(Exception, match=line):
        made(name, kernel, table)


@pytest.mark.parametrize("kernel", ["6.1", "newest"], indirect=True)
@pytest.mark.parametrize("script", [True, False])
def test_shutdown(script, kernel, root_tree, image, initramfs, boot, tmp_path):
    """What systemd leaves dirty: a mapped root that is written to, and the disk below an overlay's top. With
    the script both are clean; without it they are not, or the test would say nothing."""
    disks = []
    for name, tree in (("root", root_tree()), ("upper", {"/": Dir(0, 0)})):
        path = tmp_path / name
        path.write_bytes(image(tree, "ext4", size_mib=64).read_bytes())
        disks.append(Disk(path, readonly=False))
    conf = ("/dev/vda / ext4 rw,idmap=100000:0:65536\nupper /srv overlay\n/images /srv bind lower\n"
            "/dev/vdb /srv ext4 upper\n")
    with boot(kernel, initramfs(kernel, conf, modules="virtio_pci,virtio_blk,ext4,overlay"), "", disks) as guest:
        guest.run("/bin/sh", "-c", "echo new >/etc/new; echo new >/srv/new; sync")
        if script:
            text = (HOOKS / "systemd-shutdown/idmap").read_text()
            guest.run("/bin/sh", "-c", text)
            assert "Read-only" in guest.ask("run", "0", "0", "/bin/sh", "-c", "echo x >/etc/new")["stderr"]
        guest.poweroff()
    dirty = ["needs_recovery" in debugfs(disk.path, "features") for disk in disks]
    assert dirty == [not script, not script]
