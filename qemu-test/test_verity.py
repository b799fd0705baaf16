# SPDX-License-Identifier: MIT
"""dm-verity under a row: devices, image files, the root by systemd's parameters, and what is told of
anything that is not what its hash says."""

from __future__ import annotations

import re
import time
from pathlib import Path

import pytest

from common import INIT, OWNERS, ROOT, Sealed, in_turn, last_words, log_lines, owners, seen
from guest import Disk
from images import Dir, File, Link, partitions

MODULES = "virtio_pci,virtio_blk,erofs,squashfs,ext4,loop,overlay,dm_verity"
BLOCK = 4096
MIB = 1024 * 1024


def by_mapper(guest, least: int = 0) -> dict[str, str]:
    """What the device mapper has: the device by its name. One that is not in use any more goes a moment
    later, so that no more than `least` are waited for."""
    for _ in range(50):
        found = {guest.ask("read", f"/sys/block/{name}/dm/name").get("content", "").strip(): name
                 for name in guest.ask("ls /sys/block")["entries"] if name.startswith("dm-")}
        if len(found) <= least:
            break
        time.sleep(0.1)
    return found


UUID = "c0ffee00-1111-2222-3333-444444444444"


@pytest.mark.parametrize("kernel,rows", in_turn(
    ("tmpfs /link/app tmpfs\n",), ("tmpfs /link/app tmpfs\n/images/app /srv bind idmap=100000:0:1\n",),
    (f"UUID={UUID} /srv ext4 X-mount.subdir=etc,VERITY\n",), (f"UUID={UUID} /srv ext4 X-mount.subdir=etc\n",)),
    indirect=["kernel"], ids=["link", "link and bind", "two sealed", "one sealed"])
def test_device_by_uuid(rows, kernel, root_tree, image, seal, initramfs, boot):
    """The device that verifies has the same UUID as what it verifies, and is not the same: the row that is verified
    means the disk, another one what is made of it, as mount(8) does."""
    tree = root_tree()
    tree["/link"] = Link("opt", 100000, 100000)
    sealed = seal(image(tree, "ext4", uuid=UUID), True)
    words = f"verity.roothash={sealed.root_hash},verity.hashoffset={sealed.offset}"
    conf = f"UUID={UUID} / ext4 idmap=100000:0:65536,{words}\n{rows.replace('VERITY', words)}"
    with boot(kernel, initramfs(kernel, conf, modules=MODULES), "", [Disk(sealed.data)]) as guest:
        assert owners(guest) == OWNERS
        root, = [m for m in guest.mounts() if m.target == "/"]
        assert root.source.startswith("/dev/dm-")
        if "UUID" in rows:
            assert guest.ask("read /srv/passwd") == guest.ask("read /etc/passwd")
            below, = [m for m in guest.mounts() if m.target == "/srv"]
            assert below.source.startswith("/dev/dm-")


@pytest.mark.parametrize("kernel", ["6.12"], indirect=True)
def test_roothash_and_two_rows(kernel, root_tree, image, seal, initramfs, boot):
    sealed = seal(image(root_tree(), "erofs"), True)
    conf = "/dev/root / auto idmap=100000:0:65536\n/dev/root /srv auto X-mount.subdir=etc\n"
    append = (f"roothash={sealed.root_hash} systemd.verity_root_data=/dev/vda systemd.verity_root_hash=/dev/vda"
              f" systemd.verity_root_options=hash-offset={sealed.offset}")
    with boot(kernel, initramfs(kernel, conf, modules=MODULES), append, [Disk(sealed.data)]) as guest:
        devices = by_mapper(guest, 2)
        assert devices.keys() == {"root", f"{sealed.root_hash}-verity"}
        assert {"control", *devices} == guest.ask("ls /dev/mapper")["entries"].keys()


@pytest.mark.parametrize("kernel", ["6.12"], indirect=True)
def test_device_that_is_in_use(kernel, root_tree, image, seal, initramfs, boot_fails):
    sealed = seal(image(root_tree(), "erofs"), True)
    conf = ("/dev/vda / erofs idmap=100000:0:65536\n/dev/vda /srv erofs X-mount.subdir=etc,"
            f"verity.roothash={sealed.root_hash},verity.hashoffset={sealed.offset}\n")
    line, code = last_words(boot_fails(kernel, initramfs(kernel, conf, modules=MODULES), "", [Disk(sealed.data)]))
    assert line.endswith("; something here has it already, such as another row or a mount: let that go, or have it"
                         " verified there") and "busy" in line and code == "0x00000400"
    assert line.count("lookup failed") == 1  # it is not tried again and again


def flip(path: Path, at: int) -> None:
    with open(path, "r+b") as file:
        file.seek(at)
        byte, = file.read(1)
        file.seek(at)
        file.write(bytes([byte ^ 1]))


def row(sealed: Sealed, where: str = "verity.hashdevice=/dev/vdb") -> str:
    return f"/dev/vda / erofs idmap=100000:0:65536,verity.roothash={sealed.root_hash},{where}\n"


@pytest.mark.every_kernel
@pytest.mark.parametrize("kernel,behind", [
    ("6.1", False), ("6.12", True), ("7.x", False), ("newest", True), ("newest", False),
    pytest.param("own", True, marks=pytest.mark.tools),
], indirect=["kernel"])
def test_root(kernel, behind, root_tree, image, seal, initramfs, boot):
    sealed = seal(image(root_tree(), "erofs"), behind)
    where = f"verity.hashoffset={sealed.offset}" if behind else "verity.hashdevice=/dev/vdb"
    initrd = initramfs(kernel, row(sealed, where), modules=MODULES)
    with boot(kernel, initrd, "", sealed.disks) as guest:
        assert owners(guest) == OWNERS
        assert by_mapper(guest, 1) == {"root": "dm-0"}
        # By its name, too, which no udev has made.
        assert guest.ask("ls /dev/mapper")["entries"]["root"]["link"] == "../dm-0"
        root, = [m for m in guest.mounts() if m.target == "/"]
        assert root.source == "/dev/dm-0" and "ro" in root.options
        assert guest.ask("open /etc/new wc") == {"error": "EROFS"}
        assert [fd["fd"] for fd in guest.report()["fds"]] == [0, 1, 2]
        assert f"verity.roothash={sealed.root_hash}" in guest.ask("read /run/idmap/table")["content"]


def test_without_a_map(kernels, root_tree, image, seal, initramfs, boot):
    kernel = kernels("5.10")
    sealed = seal(image(root_tree(0), "squashfs"))
    initrd = initramfs(kernel, row(sealed).replace("erofs idmap=100000:0:65536,", "squashfs "), modules=MODULES)
    with boot(kernel, initrd, "", sealed.disks) as guest:
        assert owners(guest)["root"] == (0, 0) and by_mapper(guest, 1) == {"root": "dm-0"}


@pytest.mark.every_machine
@pytest.mark.parametrize("how", ["named", "offset", "found"])
def test_roots_of_systemds_parameters(how, kernel, root_tree, image, seal, initramfs, boot, tmp_path):
    """By its parameters, or as mkosi makes them: two partitions, whose UUIDs are the ends of the hash."""
    sealed = seal(image(root_tree(), "ext4"), how == "offset")
    append = f"roothash={sealed.root_hash.upper()} root=/dev/mapper/root rw idmap=100000:0:65536"
    disks = sealed.disks
    if how == "named":
        append += " systemd.verity_root_data=/dev/vda systemd.verity-root-hash=/dev/vdb"
    elif how == "offset":
        append += f" systemd.verity_root_data=/dev/vda systemd.verity_root_options=hash-offset={sealed.offset}"
    else:
        ends = [re.sub("(.{8})(.{4})(.{4})(.{4})", r"\1-\2-\3-\4-", half)
                for half in (sealed.root_hash[:32], sealed.root_hash[-32:])]
        disks = [Disk(partitions(tmp_path / "gpt", ["label: gpt"],
                                 [(sealed.data, f"1: uuid={ends[0]}"), (sealed.hashes, f"2: uuid={ends[1]}")]))]
    with boot(kernel, initramfs(kernel, modules=MODULES), append, disks) as guest:
        assert owners(guest) == OWNERS and by_mapper(guest, 1) == {"root": "dm-0"}
        assert any("is read-only, so it is ro on /, and not rw" in line for line in log_lines(guest))


@pytest.mark.every_kernel
@pytest.mark.parametrize("kernel", ["6.1", "newest"], indirect=True)
def test_image_files_and_layers(kernel, root_tree, image, seal, initramfs, boot):
    """A file with its tree behind it, one with its tree in another file, one in the new root, twice; and
    layers of an overlay, each with a hash and a map of its own."""
    tree = root_tree()
    data = image({"/": Dir(5000, 5000), "/file": File("data\n", 5007, 5007)}, "erofs")
    upper = image({"/": Dir(7000, 7000), "/top": File("data\n", 7001, 7001)}, "squashfs")
    behind, apart, layer = seal(data, True), seal(data), seal(upper)
    tree["/images/sealed"] = File(behind.data, 100000, 100000, 0o600)
    sealed = seal(image(tree, "erofs"))
    of = f"verity.roothash={behind.root_hash},verity.hashoffset={behind.offset}"
    conf = (row(sealed) +
            f"/images/behind /mnt erofs idmap=5000:10:10,{of}\n"
            f"/images/apart /srv erofs idmap=5000:20:10,verity.roothash={apart.root_hash}"
            ",verity.hashdevice=/images/hashes,verity.oncorruption=restart\n"
            f"root:/images/sealed /home erofs idmap=5000:30:10,{of}\n"
            "none /opt/app overlay\n"
            f"root:/images/sealed /opt/app erofs lower,idmap=5000:40:10,{of}\n"
            f"/dev/vdc /opt/app squashfs:erofs lower,idmap=7000:50:10,verity.roothash={layer.root_hash},"
            "verity.hashdevice=SERIAL=hashes\n")
    if kernel.name == "6.1":  # whose squashfs cannot be mapped
        conf = conf.replace(",idmap=7000:50:10", "")
    initrd = initramfs(kernel, conf, modules=MODULES, add=[
        (behind.data, "/images/behind"), (apart.data, "/images/apart"), (apart.hashes, "/images/hashes")])
    disks = [*sealed.disks, Disk(layer.data), Disk(layer.hashes, serial="hashes")]
    with boot(kernel, initrd, "", disks) as guest:
        assert owners(guest) == OWNERS
        assert seen(guest, "/mnt/file") == (17, 17) and seen(guest, "/srv/file") == (27, 27)
        assert seen(guest, "/home/file") == (37, 37) and seen(guest, "/opt/app/file") == (47, 47)
        assert seen(guest, "/opt/app/top") == ((7001, 7001) if kernel.name == "6.1" else (51, 51))
        assert guest.ask("read /srv/file")["content"] == "data\n"
        # One hash, on three loop devices.
        names = {"root", f"{apart.root_hash}-verity", f"{layer.root_hash}-verity",
                 *(behind.root_hash + end for end in ("-verity", "-verity-2", "-verity-3"))}
        assert set(by_mapper(guest, 6)) == names == set(guest.ask("ls /dev/mapper")["entries"]) - {"control"}
        # Gone with the mount.
        guest.run("/bin/umount", "/srv")
        assert set(by_mapper(guest, 5)) == names - {f"{apart.root_hash}-verity"}


def told(console: str) -> tuple[str, int]:
    line, code = last_words(console)
    return line, int(code.strip(), 16) >> 8


OTHER = "0123456789abcdef" * 4


def test_damage(kernels, root_tree, image, seal, initramfs, boot_fails, boot):
    """Each is one line, and no boot, wherever it is met before the real init runs."""
    kernel = kernels("newest")
    tree = root_tree()
    tree["/late"] = File(b"".join(bytes([i]) * BLOCK for i in range(16)), 100000, 100000)
    picture = image(tree, "erofs")
    # The hash, of other data.
    wrong = seal(picture)
    line, code = told(boot_fails(kernel, initramfs(
        kernel, row(wrong).replace(wrong.root_hash, OTHER), modules=MODULES), "", wrong.disks))
    assert code == 4 and "it is not what the root hash was made of, or damaged" in line
    assert "metadata block 1 is corrupted" in line
    # One that is cut.
    line, code = told(boot_fails(kernel, initramfs(
        kernel, row(wrong).replace(wrong.root_hash, wrong.root_hash[:-2]), modules=MODULES), "", wrong.disks))
    assert code == 4 and line.endswith(": its root hash is not as long as one of sha256, which the hash tree is made of;"
                                       " correct the root hash"), line
    # A bit of the superblock, and one of the tree.
    data = seal(picture)
    initrd = initramfs(kernel, row(data), modules=MODULES)
    flip(data.data, 1024)
    line, code = told(boot_fails(kernel, initrd, "", data.disks))
    assert code == 4 and "data block 0 is corrupted" in line
    flip(data.data, 1024)
    flip(data.hashes, 2 * BLOCK + 5)
    line, code = told(boot_fails(kernel, initrd, "", data.disks))
    assert code == 4 and re.search("metadata block [0-9]+ is corrupted", line)
    flip(data.hashes, 2 * BLOCK + 5)
    # One that nobody reads in time: an error for whoever reads it then, and never its bytes.
    flip(data.data, data.data.read_bytes().index(bytes([7]) * BLOCK) + 5)
    with boot(kernel, initrd, "", data.disks) as guest:
        assert owners(guest) == OWNERS
        assert "error" in guest.ask("read /late") and "error" not in guest.ask("read /etc/passwd")


def test_devices_that_do_not_fit(kernel, root_tree, image, seal, initramfs, boot_fails):
    sealed, other = seal(image(root_tree(), "erofs")), seal(image({"/": Dir(), "/big": File(bytes(MIB))}, "ext4"))
    initrd = initramfs(kernel, row(sealed, "verity.hashdevice=/dev/vdb,wait=1"), modules=MODULES)
    for disks, code, text in [
            ([Disk(sealed.data)], 3, "the hash tree: the device did not come within 1 s (disks here: vda"),
            ([Disk(sealed.data), Disk(sealed.data)], 3,
             "the hash tree in /dev/vdb, at byte 0: no superblock of veritysetup(8) is there; correct"
             " verity.hashdevice= and verity.hashoffset="),
            ([Disk(sealed.data), Disk(other.hashes)], 3, "bytes, and the device has"),
            ([Disk(other.data), Disk(sealed.hashes)], 4, "data block 0 is corrupted")]:
        line, found = told(boot_fails(kernel, initrd, "", disks))
        assert (found, text in line) == (code, True), line


@pytest.mark.parametrize("kernel", ["newest"], indirect=True)
def test_kernels_that_cannot(kernel, root_tree, image, seal, initramfs, boot_fails):
    """Without the device mapper; with it and without its dm-verity; and with a hash that is no module here."""
    sealed = seal(image(root_tree(), "erofs"))
    for modules, text in [("", "the kernel has no device mapper (/dev/mapper/control: "),
                          (",dm_mod", "unknown target type")]:
        line, code = told(boot_fails(kernel, initramfs(
            kernel, row(sealed), modules=MODULES.replace(",dm_verity", modules)), "", sealed.disks))
        assert code == 1 and text in line and line.endswith("(mkinitramfs -m dm_verity)"), line
    odd = seal(image(root_tree(), "erofs"), False, "--hash=whirlpool")
    line, code = told(boot_fails(kernel, initramfs(kernel, row(odd), modules=MODULES), "", odd.disks))
    assert code == 1 and "of the hash whirlpool" in line, line


def test_nothing_is_left(kernels, root_tree, image, seal, initramfs, boot):
    """A row that fails after one that is verified, one that is taken back, one that others have by then."""
    kernel = kernels("6.12")
    tree = root_tree(command=True)
    data = seal(image({"/": Dir(5000, 5000), "/file": File("data\n", 5007, 5007)}, "erofs"))
    good = f"/dev/vdb /srv erofs idmap=5000:0:10,verity.roothash={data.root_hash},verity.hashdevice=/dev/vdc\n"
    bad = f"/dev/vdb /mnt erofs verity.roothash={OTHER},verity.hashdevice=/dev/vdc\n"
    initrd = initramfs(kernel, ROOT, modules=MODULES)
    with boot(kernel, initrd, "", [Disk(image(tree, "erofs")), *data.disks]) as guest:
        def idmap(*words: str, table: str = "") -> tuple[int, str]:
            guest.ask("write", "/run/table", table)
            answer = guest.ask("run", "0", "0", "/bin/idmap", *words, "-c", "/run/table")
            return answer["exit"], answer["stderr"]

        before = guest.mounts()
        code, line = idmap("apply", table=good + bad)
        assert code == 4 and "it is not what the root hash was made of" in line, line
        assert guest.mounts() == before and by_mapper(guest) == {}
        assert idmap("apply", table=good) == (0, "") and seen(guest, "/srv/file") == (7, 7)
        assert by_mapper(guest, 1) == {f"{data.root_hash}-verity": "dm-0"}
        assert guest.run("/bin/idmap", "undo") == "" and by_mapper(guest) == {}
        assert guest.mounts() == before


def test_roots_that_stand(kernel, plain_tree, image, stage0, boot_fails):
    """What has been read of them by then nobody knows."""
    console = boot_fails(kernel, stage0(kernel), f"root=/dev/vda init={INIT} idmap=100000:0:65536 roothash={OTHER}",
                         [Disk(image(plain_tree(), "erofs"))])
    line, code = last_words(console)
    assert line == ("idmap-init: cmdline: roothash=: the kernel has mounted the root, and nothing has verified it; boot"
                    " with an initramfs, or take it out") and code.startswith("0x00000200")


KILLS = """cd /run; printf '%s\\n' "$1" >tab; i=0
while [ $i -lt 50 ]; do
	idmap apply -c tab >/dev/null 2>&1 & usleep $((i * 700)); kill -9 $!; wait $!
	idmap undo >/dev/null 2>&1; i=$((i + 1))
done"""


@pytest.mark.parametrize("kernel", ["6.1", "6.12", "newest"], indirect=True)
def test_killed_apply(kernel, root_tree, image, second, seal, initramfs, boot):
    """What it leaves of the device mapper goes with it, or is taken down by the next one, and the disk is free."""
    tree = root_tree(command=True)
    sealed = seal(second(), True)
    row = f"/dev/vdb /srv erofs idmap=5000:0:10,verity.roothash={sealed.root_hash},verity.hashoffset={sealed.offset}"
    disks = [Disk(image(tree, "erofs")), Disk(sealed.data)]
    with boot(kernel, initramfs(kernel, ROOT, modules=MODULES), "", disks) as guest:
        guest.run("/bin/sh", "-c", KILLS, "sh", row)
        assert by_mapper(guest) == {} and not [m for m in guest.mounts() if m.target == "/srv"]
        assert guest.run("/bin/sh", "-c", "idmap apply -c /run/tab && stat -c %u:%g /srv/file && idmap undo") == "7:7\n"
        assert by_mapper(guest) == {}  # the kernel drops it by a work of its own
        guest.run("/bin/mount", "-t", "erofs", "-o", "ro", "/dev/vdb", "/mnt")
        assert [m.target for m in guest.mounts() if m.source == "/dev/vdb"] == ["/mnt"]
