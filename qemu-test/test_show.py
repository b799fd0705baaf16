# SPDX-License-Identifier: MIT
"""idmap(8) in a guest: what it shows of mounts, by the kernel or by what PID 1 has recorded."""

from __future__ import annotations

import json

import pytest

from common import EVERY, ROOT
from guest import Disk
from images import Dir, File, Link


@pytest.mark.every_kernel
@pytest.mark.every_machine
@pytest.mark.parametrize("kernel", EVERY, indirect=True)
def test_show(kernel, root_tree, image, initramfs, boot):
    tree = root_tree(command=True)
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


@pytest.mark.every_kernel
@pytest.mark.parametrize("kernel", ["6.12", "newest"], indirect=True)
def test_show_of_binds(kernel, root_tree, image, second, initramfs, boot):
    """Without a map of their own they have that of what they show, and before Linux 6.15 no record says so."""
    tree = root_tree(command=True)
    conf = ROOT + "/dev/vdb /srv erofs idmap=5000:0:10\n/srv /mnt bind\n/srv/deep /opt bind\n/srv/deep /images bind idmap=5000:9:1\n"
    disks = [Disk(image(tree, "erofs")), Disk(second())]
    with boot(kernel, initramfs(kernel, conf), "", disks) as guest:
        guest.run("/bin/idmap", "mount", "/srv", "/owners")
        maps = {mount["target"]: mount["map"] and mount["map"]["uids"]
                for mount in json.loads(guest.run("/bin/idmap", "show", "--json"))}
        told = [[5000, 0, 10]]
        # Two that show the folder have other maps, so that of a bind cannot be told there.
        deep = told if kernel.name == "newest" else None
        assert maps == {"/": [[100000, 0, 65536]], "/srv": told, "/mnt": told, "/owners": told, "/opt": deep,
                        "/images": [[5000, 9, 1]]}
        assert guest.run("/bin/idmap", "show", "/mnt").split() == ["/mnt", "erofs", "idmap=5000:0:10"]


@pytest.mark.parametrize("kernel", EVERY, indirect=True)
def test_other_commands(kernel, root_tree, image, initramfs, boot):
    """They ask nothing of the kernel but files, in a guest as on the machine where an image is made."""
    tree = root_tree(command=True)
    with boot(kernel, initramfs(kernel, ROOT), "", [Disk(image(tree, "erofs"))]) as guest:
        assert guest.run("/bin/idmap", "suggest", "/home") == "idmap=0:0:65536\n"
        assert guest.run("/bin/idmap", "id", "100000:0:10", "100004").startswith("uid 100004 on disk is seen as 4\n")
        assert guest.run("/bin/idmap", "plan", "-k", f"idmap={ROOT.strip().replace(' ', ',')}") == (
            "/dev/vda / erofs ro,idmap=100000:0:65536\n")
        answer = guest.ask("run", "0", "0", "/bin/idmap", "check", "-k", "root=/dev/vda idmap=100000:0")
        assert answer["exit"] == 2 and answer["stdout"] == ""
        # The table of this boot is one.
        assert guest.run("/bin/idmap", "plan", "-c", "/run/idmap/table") == "/dev/vda / erofs ro,idmap=100000:0:65536\n"


@pytest.mark.parametrize("kernel", EVERY, indirect=True)
def test_show_of_a_path(kernel, root_tree, image, initramfs, boot):
    """Of the mount that holds it alone: not of one around it, not of one below it."""
    tree = root_tree(command=True)
    conf = ROOT + "/dev/vdb /srv erofs\n/images/app /opt/app bind idmap=100000:5:10\n"
    plain = {"/": Dir(), "/file": File("plain\n"), "/app": Link("/opt/app/run")}
    with boot(kernel, initramfs(kernel, conf), "",
              [Disk(image(tree, "erofs")), Disk(image(plain, "erofs"))]) as guest:
        def show(path):
            return json.loads(guest.run("/bin/idmap", "show", "--json", path))

        app = [{"target": "/opt/app", "source": "/dev/vda", "type": "erofs",
                "map": {"uids": [[100000, 5, 10]], "gids": [[100000, 5, 10]]}}]
        for path in ("/srv", "/srv/file", "/proc", "/run/idmap/table"):
            assert show(path) == [] and guest.run("/bin/idmap", "show", path) == "", path
        assert show("/opt/app/run") == show("/srv/app") == app
        assert [mount["target"] for mount in show("/home")] == ["/"]
        missing = guest.ask("run", "0", "0", "/bin/idmap", "show", "/nothere")
        assert (missing["exit"], missing["stdout"]) == (3, "")
        # One more on top, of which nothing is recorded any more, has not the map of what it covers.
        guest.run("/bin/idmap", "mount", "/dev/vdb", "/opt/app", "-t", "erofs", "-o", "idmap=0:7:1")
        seven = {"uids": [[0, 7, 1]], "gids": [[0, 7, 1]]}
        assert [mount["map"] for mount in show("/opt/app/file")] == [seven]
        guest.run("/bin/rm", "-r", "/run/idmap/apply")
        known = kernel.name not in ("6.1", "6.12")
        assert [mount["map"] for mount in show("/opt/app/file")] == [seven if known else None]
        guest.run("/bin/umount", "/opt/app")
        assert show("/opt/app") == app
