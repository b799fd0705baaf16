# SPDX-License-Identifier: MIT
"""What mount(8) says of typical mistakes, and what idmap-init says. The table in BENCHMARKS.md is what these
boots showed last, and each of them compares; `make mistakes-table` writes it anew."""

from __future__ import annotations

import os
import re
from pathlib import Path

import pytest

import host
import mistakes
from common import PRE, last_words, of_x86_64
from guest import Disk
from images import Dir, File
from mistakes import MISTAKES

pytestmark = of_x86_64("the table is of one machine, and so is its mount(8)")

ROW = "/dev/vda / erofs\n"


@pytest.fixture
def disks(root_tree, image, dirty):
    """disks(tree): the root, and those that the mistakes are made with."""
    data = {"/": Dir(0, 0), "/file": File("x", 7, 7)}

    def make(tree=None):
        return [Disk(image(tree or root_tree(), "erofs")), Disk(image(data, "erofs")), Disk(dirty(data)),
                Disk(image(data, "ext4"), readonly=False, snapshot=True), Disk(image(data, "squashfs"))]

    return make


@pytest.fixture(scope="session")
def mount8():
    try:
        return host.find_mount8()
    except host.ServerMissing as missing:
        pytest.skip(f"no mount(8): {missing}")


def by_mount(mistake, kernel, mount8, root_tree, disks, initramfs, boot):
    tree = root_tree()
    for file in mount8.rglob("*"):
        if file.is_file():
            tree[f"/opt/mount8/{file.relative_to(mount8)}"] = File(file, 100000, 100000,
                                                                   file.stat().st_mode & 0o777)
    with boot(kernel, initramfs(kernel, ROW), "", disks(tree)) as guest:
        answer = guest.ask("run", "0", "0", "/opt/mount8/mount", *mistake.mount)
        version = guest.run("/opt/mount8/mount", "--version")
    words = " ".join(answer["stderr"].split())
    return words, re.search(r"util-linux ([0-9.]+)", version)[1]


@pytest.mark.parametrize("name", MISTAKES)
def test_mistake(name, kernels, mount8, root_tree, disks, initramfs, boot, boot_fails):
    mistake, kernel = MISTAKES[name], kernels(mistakes.KERNEL)
    modules = "virtio_pci,virtio_blk,erofs,ext4,squashfs"
    console = boot_fails(kernel, initramfs(kernel, ROW + mistake.rows + "\n", modules=modules), "quiet",
                         disks())
    ours = last_words(console)[0].removeprefix(PRE).replace(kernel.version, mistakes.KERNEL)
    theirs, version = by_mount(mistake, kernel, mount8, root_tree, disks, initramfs, boot)
    if "MISTAKES_TABLE" in os.environ:
        folder = Path(os.environ["MISTAKES_TABLE"])
        folder.mkdir(parents=True, exist_ok=True)
        (folder / name).write_text(f"{theirs}\n{ours}")
        (folder / "version").write_text(version)
    else:
        assert mistakes.read_readme()[name] == (theirs, ours)
