# SPDX-License-Identifier: MIT
"""What idmap mount makes of its arguments: which of them is a path, and from where it counts."""

from __future__ import annotations

import os

import pytest

from running import MAP, script

pytestmark = pytest.mark.skipif(os.getuid() != 0, reason="only root can mount")


@pytest.mark.parametrize("arguments,name", [
    ("/srv ''", "TARGET"), ("'' /run/r/mnt", "SOURCE"), ("'' /run/r/mnt -t tmpfs", "SOURCE"),
    ("t /run/r/mnt -t ''", "TYPE")])
def test_empty(arguments, name):
    """An empty TARGET is not where we are, and no field stands in for the one before it."""
    done = script(f"cd /run/r/etc; idmap mount {arguments}; mounts")
    assert done.out == ["rc 2", "/run/r / rw,relatime tmpfs"]
    assert done.err == [f"idmap mount: {name}: empty; write it out; see idmap mount --help"]


def test_no_options():
    """As mount(8) takes it."""
    done = script("idmap mount t /run/r/mnt -t tmpfs -o ''; mounts | tail -n 1")
    assert done.out == ["rc 0", "/run/r/mnt / rw,nosuid,nodev,relatime tmpfs"]


def test_words():
    """For a filesystem without a device SOURCE is a word, whatever has that name where we are."""
    done = script("""
        source() { awk '$5 == "/run/r/mnt" { print $(NF - 1) }' /proc/self/mountinfo; umount /run/r/mnt; }
        cd /run/r; mkdir tmp
        idmap mount tmp mnt -t tmpfs; source
        idmap mount tmp mnt -t ramfs; source
        idmap mount "$(printf '\\357\\273\\277')" mnt -t tmpfs; source""")
    assert done.out == ["rc 0", "tmp", "rc 0", "tmp", "rc 0", "\ufeff"]


@pytest.mark.parametrize("source", ["none", "./none", "sub/none", "../r/none", "/run/r/none", "dangling"])
@pytest.mark.parametrize("type_", ["", "-t ext4", "-t erofs:squashfs", "-t bind"])
def test_missing_source(source, type_):
    """Class 3 and the place where it was looked for, however it is written."""
    done = script(f"cd /run/r; ln -s none dangling; idmap mount {source} /run/r/mnt {type_} -o ro,wait=0")
    assert done.out == ["rc 3"]
    assert "(not there)" in done.err[-1] and " /run/r/" in done.err[-1]


@pytest.mark.parametrize("source", ["LABEL=none", "254:254", "root:/run/r/none"])
def test_no_paths(source):
    done = script(f"cd /run/r; idmap mount {source} mnt -t ext4 -o ro,wait=0")
    assert done.out == ["rc 3"] and f"mount:1: {source} on /run/r/mnt: " in done.err[-1]


def test_folders_with_names_like_numbers():
    done = script(f"""
        cd /run/r; mkdir cafe; idmap mount cafe mnt -o {MAP}; mounts | tail -n 1
        idmap mount beef mnt -t bind""")
    assert done.out == ["rc 0", "/run/r/mnt /cafe ro,nosuid,nodev,relatime,idmapped tmpfs", "rc 3"]


def test_targets():
    """Some of it, or nothing, may be there."""
    done = script("""
        mkdir /run/w; cd /run/w; ln -s /run/r/mnt link; ln -s /run/r out
        for target in link ../r/etc/a/b out/srv/x; do idmap mount t $target -t tmpfs -o X-mount.mkdir; done
        mounts | tail -n 3""")
    assert done.out == 3 * ["rc 0"] + [f"/run/r/{name} / rw,nosuid,nodev,relatime tmpfs"
                                       for name in ("mnt", "etc/a/b", "srv/x")]


def test_what_ends_a_field():
    """A tab in OPTIONS is not the end of them, and none in TYPE begins them."""
    done = script("""
        idmap mount t /run/r/mnt -t tmpfs -o "$(printf 'noexec,X-mount.idmap=0:0:1\\t5:5:1')"; mounts | tail -n 1
        idmap mount t /run/r/mnt -t "$(printf 'tmpfs\\tnoexec')\"""")
    assert done.out[:2] == ["rc 0", "/run/r/mnt / rw,nosuid,nodev,noexec,relatime,idmapped tmpfs"]
    assert done.out[2] != "rc 0"
