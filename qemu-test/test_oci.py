# SPDX-License-Identifier: MIT
"""The recipe of idmap-init(8) for an OCI image: made by umoci, read by skopeo, its layers a guest's root."""

from __future__ import annotations

import os
import shutil
import subprocess

import pytest

from common import OWNERS, owners, seen
from guest import Disk
from images import File, unpack
from recipes import follow, recipe

pytestmark = pytest.mark.tools


@pytest.fixture
def layers(root_tree, tmp_path):
    """Three layers: a root; a file less, one more, and a folder emptied; nothing but another file."""
    if os.getuid():
        pytest.skip("the recipe is root's")
    tree = {path: entry for path, entry in root_tree(base=0).items() if "outside" not in path}
    tree["/etc/of-first"], tree["/opt/app/old"] = File("first\n"), File("old\n")
    plain = unpack(tree, tmp_path / "plain")

    def umoci(*words: str) -> None:
        subprocess.run(["umoci", *words, "--image", "app:latest", *["bundle"] * (words[0] != "new")], cwd=tmp_path,
                       check=True, stdout=subprocess.PIPE, stderr=subprocess.PIPE)

    def change(commands: str) -> None:
        umoci("unpack")
        subprocess.run(["sh", "-ec", commands], cwd=tmp_path / "bundle" / "rootfs", check=True)
        umoci("repack")
        shutil.rmtree(tmp_path / "bundle")

    subprocess.run(["umoci", "init", "--layout", "app"], cwd=tmp_path, check=True)
    umoci("new")
    change(f"cp -a {plain}/. .")
    change("rm etc/of-first; echo second >etc/of-second; chown 1000:1000 etc/of-second; rm -r opt/app; mkdir opt/app;"
           " echo new >opt/app/new")
    change("echo third >etc/of-second")
    follow("usermod --add-subuids 100000-165535 --add-subgids 100000-165535 root\n" + recipe("n=0"), tmp_path)
    return [tmp_path / f"layer{n}.erofs" for n in (1, 2, 3)]


@pytest.mark.parametrize("kernel", ["6.1", "newest"], indirect=True)
def test_layers(kernel, layers, initramfs, boot, ran):
    conf = "tmpfs / overlay\n" + "".join(f"/dev/vd{letter} / erofs lower,idmap=100000:0:65536\n" for letter in "abc")
    with boot(kernel, initramfs(kernel, conf, modules="virtio_pci,virtio_blk,erofs,overlay"), "",
              [Disk(layer) for layer in layers]) as guest:
        assert "error" in guest.ask("stat /etc/of-first") and list(guest.ask("ls /opt/app")["entries"]) == ["new"]
        assert guest.ask("read /etc/of-second")["content"] == "third\n" and seen(guest, "/etc/of-second") == (1000, 1000)
        known = {name: ids for name, ids in OWNERS.items() if not name.startswith("outside") and name != "zero"}
        assert {name: ids for name, ids in owners(guest).items() if name in known} == known
        ran("an OCI image by umoci and skopeo", kernel.name, "its layers below a tmpfs")
