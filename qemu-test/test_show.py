# SPDX-License-Identifier: MIT
"""idmap(8) in a guest: what it shows of mounts, by the kernel or by what PID 1 has recorded."""

from __future__ import annotations

import json

import pytest

from common import EVERY, ROOT
from guest import Disk
from images import File


@pytest.mark.parametrize("kernel", EVERY, indirect=True)
def test_show(kernel, root_tree, image, initramfs, programs, boot):
    tree = root_tree()
    tree["/bin/idmap"] = File(programs.folder / "idmap", 100000, 100000, 0o755)
    conf = ROOT + "/images/app /opt/app bind uidmap=100000:5:10,101000:0:1,gidmap=100000:7:1\nt /srv tmpfs\n"
    with boot(kernel, initramfs(kernel, conf), "", [Disk(image(tree, "erofs"))]) as guest:
        found = json.loads(guest.run("/bin/idmap", "show", "--json"))
        maps = {mount["target"]: mount["map"] for mount in found}
        assert maps == {
            "/": {"uids": [[100000, 0, 65536]], "gids": [[100000, 0, 65536]]},
            "/opt/app": {"uids": [[100000, 5, 10], [101000, 0, 1]], "gids": [[100000, 7, 1]]}}
        assert {mount["type"] for mount in found} == {"erofs"}
        assert guest.run("/bin/idmap", "show", "/opt/app/run").split() == [
            "/opt/app", "erofs", "uidmap=100000:5:10,101000:0:1,gidmap=100000:7:1"]
        assert guest.run("/bin/idmap", "show", "/bin").split() == ["/", "erofs", "idmap=100000:0:65536"]
        # Without the record the kernel still tells, where it can.
        guest.run("/bin/rm", "/run/idmap/table")
        found = json.loads(guest.run("/bin/idmap", "show", "--json"))
        assert len(found) == 2
        if kernel.name in ("6.1", "6.12"):
            assert [mount["map"] for mount in found] == [None, None]
            assert "idmapped, by nothing that is recorded" in guest.run("/bin/idmap", "show")
        else:
            assert {mount["target"]: mount["map"] for mount in found} == maps


@pytest.mark.parametrize("kernel", EVERY, indirect=True)
def test_other_commands(kernel, root_tree, image, initramfs, programs, boot):
    """They ask nothing of the kernel but files, in a guest as on the machine where an image is made."""
    tree = root_tree()
    tree["/bin/idmap"] = File(programs.folder / "idmap", 100000, 100000, 0o755)
    with boot(kernel, initramfs(kernel, ROOT), "", [Disk(image(tree, "erofs"))]) as guest:
        assert guest.run("/bin/idmap", "suggest", "/home") == "idmap=0:0:65536\n"
        assert guest.run("/bin/idmap", "id", "100000:0:10", "100004").startswith("uid 100004 on disk is seen as 4\n")
        assert guest.run("/bin/idmap", "plan", "-k", f"idmap={ROOT.strip().replace(' ', ',')}") == (
            "/dev/vda / erofs ro,idmap=100000:0:65536\n")
        answer = guest.ask("run", "0", "0", "/bin/idmap", "check", "-k", "root=/dev/vda idmap=100000:0")
        assert answer["exit"] == 2 and answer["stdout"] == ""
        # The table of this boot is one.
        assert guest.run("/bin/idmap", "plan", "-c", "/run/idmap/table") == "/dev/vda / erofs ro,idmap=100000:0:65536\n"
