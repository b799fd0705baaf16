# SPDX-License-Identifier: MIT
"""idmap show PATH on this machine's kernel: of the mount that holds PATH, and of no other one. Other kernels:
qemu-test/test_show.py."""

from __future__ import annotations

import os

import pytest

from running import IDMAP, MAP, can_map, script

pytestmark = [pytest.mark.skipif(os.getuid() != 0, reason="only root can mount"),
              pytest.mark.skipif(os.getuid() == 0 and not can_map(), reason="this kernel maps no tmpfs")]

# /run/r is idmapped, /run/r/mnt on it is not, /run/r/opt/app is idmapped another way.
PLACE = f"""
        mkdir /run/r/srv/sub; mount -t tmpfs plain /run/r/mnt; touch /run/r/mnt/file
        table '/dev/root / auto rw,{MAP}\\n/images/app /opt/app bind idmap=100000:7:1\\n'
        idmap apply -c /run/table --root /run/r; cd /run/r
        show() {{ {IDMAP} show "$@" | tr -s ' '; }}
"""
ROOT = f"/run/r tmpfs {MAP}"
APP = "/run/r/opt/app tmpfs idmap=100000:7:1"


def test_of_that_mount_alone():
    done = script(PLACE + """
        show /run/r; show /run/r/srv/sub; show /run/r/opt/app/file
        show /run/r/mnt; show mnt/file; show /proc; show /; show mnt --json""")
    assert done.out == ["rc 0", ROOT, ROOT, APP, "[", "]"]
    assert not done.err


def test_a_path_that_is_not_there():
    done = script("""cd /run/r; idmap show /run/r/none; idmap show srv/none --json; ln -s none dangling
        idmap show dangling; idmap show ''; idmap show "$(printf '/a\\nb')" """)
    assert done.out == ["rc 3"] * 5
    assert done.err == [f"idmap show: '{path}' cannot be looked at (not there); name a path that is there"
                        for path in ("/run/r/none", "srv/none", "dangling", "", "/a\\012b")]


def test_relative_paths_and_links():
    done = script(PLACE + """
        show .; show srv/../opt/app; ln -s opt/app link; ln -s ../mnt srv/out; show link; show srv/out
        cd opt/app; show file; show ..""")
    assert done.out == ["rc 0", ROOT, APP, APP, APP, ROOT]


def test_mounts_on_top_of_one_another():
    done = script(PLACE + f"""
        idmap mount /run/r/mnt /run/r/srv -o rw,idmap=0:3:1; show srv
        mount -t tmpfs over /run/r/srv; show srv; show | grep -c srv
        umount /run/r/srv; show srv; umount /run/r/srv; show srv""")
    assert done.out == ["rc 0", "rc 0", "/run/r/srv tmpfs idmap=0:3:1", "1", "/run/r/srv tmpfs idmap=0:3:1", ROOT]


def test_a_mount_of_another_namespace():
    """Nothing is known of it, which is not the same as that it is not idmapped."""
    done = script("""
        unshare --mount sh -c 'mount -t tmpfs there /run/r/mnt; exec sleep 60' & other=$!
        while ! grep -q there /proc/$other/mountinfo; do sleep 0.1; done
        idmap show /proc/$other/root/run/r/mnt; kill $other""")
    assert done.out == ["rc 3"]
    assert done.err[0].endswith("/root/run/r/mnt is not to be seen from here; enter its namespace first (nsenter --mount)")
