# SPDX-License-Identifier: MIT
"""The recipes of idmap-init(8) for images: what stands there is run, and its image booted."""

from __future__ import annotations

import os
import re
import subprocess

import pytest

import host
from common import ROOT, seen
from guest import Disk
from images import Dir, File, Tree, unpack
from recipes import MANUAL, TABLES, follow, recipe


def set_capability(path):
    """cap_dac_read_search, effective, in an attribute of version 2 (linux/capability.h)."""
    os.setxattr(path, "security.capability", bytes.fromhex("01000002 04000000 00000000 00000000 00000000"))


def set_acl(path, uid):
    """That user may read it, beside the owner."""
    entries = [(1, 6, 0xffffffff), (2, 4, uid), (4, 0, 0xffffffff), (0x10, 4, 0xffffffff), (0x20, 0, 0xffffffff)]
    os.setxattr(path, "system.posix_acl_access", b"\2\0\0\0" + b"".join(
        tag.to_bytes(2, "little") + mode.to_bytes(2, "little") + who.to_bytes(4, "little") for tag, mode, who in entries))


@pytest.fixture(params=[100000, 2147352576], ids=["100000", "foreign"])
def made(request, root_tree, tmp_path):
    """The folder where the recipe was followed, for ids from there on, and these."""
    if os.getuid():
        pytest.skip("the recipe is root's")
    base = request.param
    tree: Tree = root_tree(base=0)
    tree["/opt/busybox"] = tree["/bin/busybox"]
    tree["/srv/acl"] = File("for user\n", mode=0o600)
    plain = unpack(tree, tmp_path / "plain")
    set_capability(plain / "opt/busybox")
    set_acl(plain / "srv/acl", 1000)
    subprocess.run(["tar", "-C", plain, "-cpf", tmp_path / "root.tar", "--xattrs", "--xattrs-include=*", "--acls",
                    "--exclude=./owners/outside*", "--exclude=./bin/suid-outside", "."], check=True)
    text = recipe("usermod").replace("100000", str(base)).replace("165535", str(base + 65535))
    follow(text, tmp_path)
    return tmp_path, base


@pytest.mark.parametrize("kind", ["erofs", "ext4"])
def test_image(kind, made, kernels, initramfs, programs, boot):
    folder, base = made
    kernel = kernels("6.12")
    told = subprocess.run([programs.folder / "idmap", "suggest", folder / "tree"], check=True, text=True,
                          stdout=subprocess.PIPE).stdout
    assert told.splitlines()[-1] == f"idmap={base}:0:65536"
    if base != 100000:
        assert f".Ql idmap={base}:0:65536" in MANUAL
    conf = f"/dev/vda / {kind} idmap={base}:0:65536\n"
    with boot(kernel, initramfs(kernel, conf), "", [Disk(folder / f"root.{kind}")]) as guest:
        assert seen(guest, "/") == (0, 0) and seen(guest, "/home/user") == (1000, 1000)
        shown = {name: guest.ask("run", "7", "7", f"/{name}/busybox", "cat", "/owners/root-private")["exit"]
                 for name in ("opt", "bin")}
        assert shown == {"opt": 0, "bin": 1}
        readers = {uid: guest.ask("run", uid, uid, "/bin/cat", "/srv/acl")["exit"] for uid in ("1000", "1001")}
        assert readers == {"1000": 0, "1001": 1}


def seal(image, folder):
    """The recipe: the image with its tree behind it, the hash, and where the tree begins."""
    sealed = folder / "root.erofs"
    sealed.write_bytes(image.read_bytes())
    size = sealed.stat().st_size
    told = subprocess.run(["sh", "-ec", recipe("size=")], cwd=folder, check=True, text=True,
                          stdout=subprocess.PIPE).stdout
    return sealed, re.search(r"^Root hash:\s+(\S+)$", told, re.M)[1], size


@pytest.mark.parametrize("where", ["row", "parameters"])
def test_sealed_image(where, kernel, root_tree, image, initramfs, boot, tmp_path):
    sealed, root_hash, size = seal(image(root_tree(), "erofs"), tmp_path)
    options = "verity.roothash=HASH,verity.hashoffset=SIZE"
    assert options in MANUAL and "-m dm_verity" in MANUAL
    append = f"idmap=/dev/vda,/,erofs,100000:0:65536,{options}" if where == "row" else (
        "idmap=100000:0:65536 roothash=HASH systemd.verity_root_data=/dev/vda"
        " systemd.verity_root_options=hash-offset=SIZE")
    with boot(kernel, initramfs(kernel, modules="virtio_pci,virtio_blk,erofs,dm_verity"),
              append.replace("HASH", root_hash).replace("SIZE", str(size)),
              [Disk(sealed)]) as guest:
        assert seen(guest, "/home/user") == (1000, 1000)
        assert guest.ask("ls /dev/mapper")["entries"]["root"]["link"] == "../dm-0"


@pytest.mark.every_kernel
@pytest.mark.parametrize("kernel", ["6.1", "newest"], indirect=True)
def test_state_disk(kernel, root_tree, image, initramfs, boot, tmp_path):
    """Two boots: what is written to /etc and /var is on the state disk, and the root is as it was."""
    if os.getuid():
        pytest.skip("the recipe is root's")
    tree = root_tree()
    tree["/etc/own"], tree["/state"] = File("of the image\n", 100000, 100000), Dir(100000, 100000)
    sealed, root_hash, size = seal(image(tree, "erofs"), tmp_path)
    for folder in ("etc", "var"):
        (tmp_path / "state" / folder).mkdir(parents=True)
    command, = re.findall(r"Ql (mkfs.ext4 -d state .*) :", TABLES)
    subprocess.run(command.split(), cwd=tmp_path, check=True, stdout=subprocess.PIPE, stderr=subprocess.PIPE)
    conf, = (block for block in TABLES.split(".Bd -literal\n") if block.startswith("# a sealed root"))
    conf = conf.partition(".Ed")[0].replace("1048576", str(size)).replace("0123456789abcdef" * 4, root_hash)
    before = sealed.read_bytes()
    initrd = initramfs(kernel, conf, modules="virtio_pci,virtio_blk,erofs,ext4,overlay,dm_verity")
    for first in (True, False):
        with boot(kernel, initrd, "", [Disk(sealed), Disk(tmp_path / "state.ext4", readonly=False)]) as guest:
            assert guest.ask("read /etc/own")["content"] == ("of the image\n" if first else "mine\n")
            assert ("error" in guest.ask("read /var/log")) == first
            assert guest.ask("open /new wc") == {"error": "EROFS"}
            if first:
                guest.run("/bin/sh", "-c", "echo mine >/etc/own; echo log >/var/log; rm /etc/group; chown 7 /etc/own")
                assert seen(guest, "/etc/passwd") == (0, 0)
            assert "error" in guest.ask("stat /etc/group") and seen(guest, "/etc/own") == (7, 0)
            guest.run("/bin/sync")
            guest.poweroff()
    assert sealed.read_bytes() == before


@pytest.mark.parametrize("kernel,tool,odd", [("6.1", "gzip", 0), ("6.1", "gzip", 1), ("newest", "zstd", 0), ("newest", "zstd", 1)],
                         indirect=["kernel"])
def test_table_behind_a_compressed_initramfs(kernel, tool, odd, root_tree, image, programs, boot, tmp_path):
    """The last one counts, of whatever size the first one is."""
    def make(name, *words):
        subprocess.run([host.REPOSITORY / "init" / "mkinitramfs", "-o", tmp_path / name, *words], check=True)
        return (tmp_path / name).read_bytes()

    (tmp_path / "all.conf").write_text(ROOT)
    (tmp_path / "one.conf").write_text(ROOT.replace("100000:0:65536", "100000:7:1,101000:0:1"))
    (tmp_path / "odd").write_bytes(bytes(range(13 * odd)))
    everything = make("all", "-z", tool, "-i", programs.init, "-c", tmp_path / "all.conf", "-k", kernel.modules,
                      "-m", "virtio_pci,virtio_blk,erofs", "-a", f"{tmp_path / 'odd'}:/odd")
    (tmp_path / "both").write_bytes(everything + make("one", "-i", "none", "-c", tmp_path / "one.conf"))
    with boot(kernel, tmp_path / "both", "", [Disk(image(root_tree(), "erofs"))]) as guest:
        assert seen(guest, "/") == (7, 7) and seen(guest, "/home/user") == (0, 0)
