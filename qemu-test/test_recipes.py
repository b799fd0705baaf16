# SPDX-License-Identifier: MIT
"""The recipes of idmap-init(8) for images: what stands there is run, and its image booted."""

from __future__ import annotations

import os
import re
import subprocess

import pytest

import host
from common import seen
from guest import Disk
from images import File, Tree, unpack

MANUAL = (host.REPOSITORY / "man" / "idmap-init.8").read_text()

# In an /etc of its own, as the recipe gives ids to root.
IN_FOLDER = """set -e
cd "$1"
mkdir etc
mount -t tmpfs tmpfs etc
mkdir etc/upper etc/work
mount -t overlay -o lowerdir=/etc,upperdir="$1/etc/upper",workdir="$1/etc/work" overlay /etc
eval "$2"
"""


def recipe(word: str) -> str:
    block, = (block for block in MANUAL.split(".Bd -literal -offset indent\n") if block.startswith(word))
    return block.partition("\n.Ed")[0].replace("\\e", "\\")


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
    subprocess.run(["unshare", "--mount", "sh", "-c", IN_FOLDER, "sh", tmp_path, text], check=True,
                   stdout=subprocess.PIPE)
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


@pytest.mark.parametrize("where", ["row", "parameters"])
def test_sealed_image(where, kernel, root_tree, image, initramfs, boot, tmp_path):
    (tmp_path / "root.erofs").write_bytes(image(root_tree(), "erofs").read_bytes())
    size = (tmp_path / "root.erofs").stat().st_size
    told = subprocess.run(["sh", "-ec", recipe("size=")], cwd=tmp_path, check=True, text=True,
                          stdout=subprocess.PIPE).stdout
    root_hash = re.search(r"^Root hash:\s+(\S+)$", told, re.M)[1]
    options = "verity.roothash=HASH,verity.hashoffset=SIZE"
    assert options in MANUAL and "-m dm_verity" in MANUAL
    append = f"idmap=/dev/vda,/,erofs,100000:0:65536,{options}" if where == "row" else (
        "idmap=100000:0:65536 roothash=HASH systemd.verity_root_data=/dev/vda"
        " systemd.verity_root_options=hash-offset=SIZE")
    with boot(kernel, initramfs(kernel, modules="virtio_pci,virtio_blk,erofs,dm_verity"),
              append.replace("HASH", root_hash).replace("SIZE", str(size)),
              [Disk(tmp_path / "root.erofs")]) as guest:
        assert seen(guest, "/home/user") == (1000, 1000)
        assert guest.ask("ls /dev/mapper")["entries"]["root"]["link"] == "../dm-0"
