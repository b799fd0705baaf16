# SPDX-License-Identifier: MIT
"""Trees besides the root: a second disk, binds and tmpfs, each with a map and options of its own."""

from __future__ import annotations

import re

import pytest

from common import EVERY, MAPPED, NOBODY, PRE, ROOT, last_words, log_lines, options, seen
from guest import Disk
from images import Dir, File, Link


@pytest.mark.every_kernel
@pytest.mark.parametrize("kernel", MAPPED, indirect=True)
def test_disk_and_bind(kernel, root_tree, second, image, initramfs, boot):
    """The issue of a second disk at /srv, and of a folder of the root at /opt/app with a map of its
    own: DISK is what the image has, not what another row shows."""
    conf = ROOT + (
        "/images/app /opt/app bind uidmap=100000:2000:1,101000:3000:1,gidmap=100000:7:1,noexec\n"
        "/dev/vdb /srv erofs idmap=5000:0:1000\n")
    disks = [Disk(image(root_tree(), "erofs")), Disk(second())]
    with boot(kernel, initramfs(kernel, conf), "", disks) as guest:
        assert seen(guest, "/images/app/run") == (0, 0)
        assert seen(guest, "/opt/app/run") == (2000, 7)
        assert seen(guest, "/opt/app/data") == (3000, 65534)
        assert seen(guest, "/srv") == (0, 0)
        assert seen(guest, "/srv/file") == (7, 7)
        assert seen(guest, "/srv/stranger") == NOBODY

        assert options(guest, "/opt/app") == (
            "erofs", {"ro", "nosuid", "nodev", "noexec", "relatime", "idmapped"})
        assert options(guest, "/srv") == ("erofs", {"ro", "nosuid", "nodev", "relatime", "idmapped"})
        assert options(guest, "/") == ("erofs", {"ro", "relatime", "idmapped"})
        # noexec counts, and so do the others' absence.
        assert guest.ask("run 0 0 /opt/app/run") == {"error": "EACCES"}
        assert guest.run("/images/app/run") == "app\n"
        assert not [m for m in guest.mounts() if ".idmap" in m.target]

        table = guest.ask("read /run/idmap/table")["content"]
        assert [line for line in table.splitlines() if not line.startswith("#")] == [
            "/dev/vda / erofs ro,idmap=100000:0:65536",
            "/images/app /opt/app bind ro,nosuid,nodev,noexec,"
            "uidmap=100000:2000:1,101000:3000:1,gidmap=100000:7:1",
            "/dev/vdb /srv erofs ro,nosuid,nodev,idmap=5000:0:1000",
        ]
        assert len([line for line in log_lines(guest) if re.search(r" in \d+ us$", line)]) == 3


def test_options(kernel, root_tree, second, image, initramfs, boot):
    """Each word of the VFS, seen in the guest; suid and dev take the defaults back."""
    conf = ROOT + (
        "/dev/vdb /srv erofs suid,dev,noatime,nodiratime,nosymfollow\n"
        "/images /mnt bind strictatime,suid\n"
        "/images/app/run /etc/hostname bind\n"
        "tmp /tmp tmpfs size=64k,mode=1777,nr_inodes=9\n")
    disks = [Disk(image(root_tree(), "erofs")), Disk(second())]
    with boot(kernel, initramfs(kernel, conf), "", disks) as guest:
        assert options(guest, "/srv") == ("erofs", {"ro", "noatime", "nodiratime", "nosymfollow"})
        assert seen(guest, "/srv/file") == (5007, 5007)
        assert options(guest, "/mnt") == ("erofs", {"ro", "nodev", "idmapped"})
        assert seen(guest, "/mnt/app/run") == (0, 0)
        # A file goes on a file.
        assert guest.ask("read /etc/hostname")["content"] == "#!/bin/sh\necho app\n"
        assert options(guest, "/tmp")[1] >= {"rw", "nosuid", "nodev"}
        assert guest.ask("stat /tmp")["mode"] == 0o1777
        assert guest.ask("write /tmp/x y") == {"written": 1}
        tmp, = [m for m in guest.mounts() if m.target == "/tmp"]
        assert "size=64k" in tmp.super_options and "nr_inodes=9" in tmp.super_options


@pytest.mark.parametrize("kernel", MAPPED, indirect=True)
def test_order_and_rbind(kernel, root_tree, second, image, initramfs, boot):
    """Rows in the wrong order, targets inside targets, and rbind with what is mounted below."""
    tree = root_tree()
    conf = (
        "/mnt /opt/app rbind idmap=5000:40:10,100000:0:1\n"
        "/images/app /mnt/deep/er bind idmap=100000:30:1\n"
        "/dev/vdb /mnt erofs idmap=5000:20:10\n" + ROOT)
    disks = [Disk(image(tree, "erofs")), Disk(second())]
    with boot(kernel, initramfs(kernel, conf), "", disks) as guest:
        assert seen(guest, "/mnt") == (20, 20)
        assert seen(guest, "/mnt/deep/er") == (30, 30) == seen(guest, "/mnt/deep/er/run")
        assert seen(guest, "/opt/app") == (40, 40)
        # The clone below is mapped from what the image has, too.
        assert seen(guest, "/opt/app/deep/er/run") == (0, 0)
        for target in ("/opt/app", "/opt/app/deep/er"):
            assert options(guest, target)[1] >= {"ro", "nosuid", "nodev", "idmapped"}


@pytest.mark.parametrize("kernel", ["6.12", "7.x"], indirect=True)
def test_mapped_tmpfs(kernel, root_tree, image, initramfs, boot):
    """A mapped tmpfs belongs to root as root is seen, and can be built upon."""
    conf = ROOT + (
        "scratch /srv tmpfs idmap=7000:0:1,8000:1000:1,size=1m\n"
        "/dev/vdb /srv/a/b erofs idmap=100000:0:1,X-mount.mkdir=0750\n"
        "/images/app /srv/c bind X-mount.mkdir\n")
    disks = [Disk(image(root_tree(), "erofs"))] * 2
    with boot(kernel, initramfs(kernel, conf), "", disks) as guest:
        assert seen(guest, "/srv") == (0, 0)
        assert guest.ask("write /srv/x y") == {"written": 1}
        assert seen(guest, "/srv/x") == (0, 0)
        assert (seen(guest, "/srv/a"), guest.ask("stat /srv/a")["mode"]) == ((0, 0), 0o750)
        assert seen(guest, "/srv/a/b") == (0, 0)
        assert seen(guest, "/srv/c/run") == (0, 0)
        assert guest.ask("chown /srv/x 5 5") == {"error": "EOVERFLOW"}


def test_tmpfs_before_6_3(kernel, root_tree, image, initramfs, boot_fails):
    conf = ROOT + "t /srv tmpfs idmap=7000:0:1\n"
    console = boot_fails(kernel, initramfs(kernel, conf), "quiet", [Disk(image(root_tree(), "erofs"))])
    assert last_words(console)[0] == (
        "idmap-init: /etc/idmap.conf:2: t on /srv: tmpfs can be idmapped since Linux 6.3, and this is"
        f" {kernel.version}; boot a newer kernel or use another filesystem")


@pytest.mark.parametrize("limit", [1, 2])
def test_one_namespace_a_map(limit, kernel, root_tree, second, image, initramfs, boot, boot_fails):
    """Five rows with two maps need two user namespaces: the kernel is told to allow no more, and
    on 6.1 a mount keeps its namespace alive. With one it cannot work, which shows that it counts."""
    conf = ROOT + (
        "/dev/vdb /srv erofs idmap=5000:0:10\n"
        "/images/app /opt/app bind idmap=100000:0:65536\n"
        "/images /mnt bind idmap=5000:0:10\n"
        # The same map in other words: sorted and merged it is equal.
        "/owners /home bind idmap=132768:32768:32768,100000:0:32768\n")
    disks = [Disk(image(root_tree(), "erofs")), Disk(second())]
    append = f"sysctl.user.max_user_namespaces={limit} quiet"
    if limit == 1:
        console = boot_fails(kernel, initramfs(kernel, conf), append, disks)
        assert last_words(console) == (
            "idmap-init: /etc/idmap.conf:4: /images on /mnt: no user namespace for a map (no room left); raise"
            " sysctl.user.max_user_namespaces= on the kernel command line, or take it out", "0x00000500")
        return
    with boot(kernel, initramfs(kernel, conf), append, disks) as guest:
        assert seen(guest, "/home/root") == (0, 0)
        assert len([m for m in guest.mounts() if "idmapped" in m.options]) == 5


@pytest.mark.parametrize("kernel", ["6.1", "7.x"], indirect=True)
def test_links_stay_inside(kernel, root_tree, second, image, initramfs, boot):
    """Links of the image are followed as in a chroot, for targets and for sources of binds."""
    tree = root_tree()
    tree["/etc/link"] = Link("/../../../srv", 100000, 100000)
    tree["/home/app"] = Link("/images/../images/app", 100000, 100000)
    conf = ROOT + ("/dev/vdb /etc/link erofs idmap=5000:0:10\n"
                   "/home/app /opt/app bind idmap=100000:9:1\n")
    disks = [Disk(image(tree, "erofs")), Disk(second())]
    with boot(kernel, initramfs(kernel, conf), "", disks) as guest:
        assert seen(guest, "/srv/file") == (7, 7)
        assert seen(guest, "/opt/app/run") == (9, 9)


@pytest.mark.parametrize("row, shown", [
    ("/etc/link/deep /opt/app bind", "er"),
    ("/etc/link /opt/app rbind", "file"),
    ("/ /opt/app bind X-mount.subdir=/srv/deep", "er"),
    ("/etc /opt/app bind X-mount.subdir=alink/deep", "er"),
    ("/to-etc /opt/app bind X-mount.subdir=alink/deep", "er"),
])
def test_link_to_another_row(row, shown, kernel, root_tree, second, image, initramfs, boot):
    """Which row a source needs is read off the path that it leads to, whichever is built first; the
    links of X-mount.subdir stay in the folder that it is of."""
    for target in ("/home", "/opt/app"):
        tree = root_tree()
        tree["/srv/deep"] = Dir(100000, 100000)
        tree["/etc/srv/deep"] = Dir(100000, 100000)
        tree["/etc/srv/deep/er"] = File("in /etc", 100000, 100000)
        tree["/etc/link"] = Link("/srv", 100000, 100000)
        tree["/etc/alink"] = Link("/srv", 100000, 100000)
        tree["/to-etc"] = Link("etc", 100000, 100000)
        conf = ROOT + row.replace("/opt/app", target) + "\n/dev/vdb /srv erofs idmap=5000:0:10\n"
        disks = [Disk(image(tree, "erofs")), Disk(second())]
        with boot(kernel, initramfs(kernel, conf), "", disks) as guest:
            entry = guest.ask("ls", target)["entries"][shown]
            assert entry["type"] == ("file" if shown == "file" or "alink" in row else "dir")
            assert seen(guest, "/srv/file") == (7, 7)


def test_target_by_a_link(kernel, root_tree, second, image, initramfs, boot):
    """What stands where a link leads is a source by the path it leads to."""
    tree = root_tree()
    tree["/var"] = Dir(100000, 100000)
    tree["/var/home"] = Dir(100000, 100000)
    tree["/var/home/deep"] = Dir(100000, 100000)
    tree["/etc/link"] = Link("/var/home", 100000, 100000)
    conf = (ROOT + "/dev/vdb /etc/link/deep erofs idmap=5000:0:10\n"
            "/var/home/deep /opt/app bind idmap=5000:7:1\n/var /srv rbind\n")
    disks = [Disk(image(tree, "erofs")), Disk(second())]
    with boot(kernel, initramfs(kernel, conf), "", disks) as guest:
        assert [seen(guest, path) for path in ("/var/home/deep", "/opt/app", "/srv/home/deep")] == [
            (0, 0), (7, 7), (0, 0)]


@pytest.mark.parametrize("kernel", EVERY, indirect=True)
def test_target_into_another_row(kernel, root_tree, second, image, initramfs, boot):
    tree = root_tree()
    tree["/etc/link"] = Link("/srv", 100000, 100000)
    conf = ROOT + ("/dev/vdb /srv erofs idmap=5000:0:10\n/images/app /opt/app bind\n"
                   "/images/app /xlink/deep bind\n")
    tree["/xlink"] = Link("/srv", 100000, 100000)
    disks = [Disk(image(tree, "erofs")), Disk(second())]
    with boot(kernel, initramfs(kernel, conf), "", disks) as guest:
        assert {"run", "data"} <= set(guest.ask("ls /srv/deep")["entries"])
        assert seen(guest, "/srv/file") == (7, 7)


USR = {"/": Dir(6000, 6000), "/lib": Dir(6000, 6000), "/lib/modules": Dir(6000, 6000),
       "/of-usr": File("x", 6000, 6000)}


@pytest.mark.parametrize("kernel", EVERY, indirect=True)
def test_rows_behind_a_link_are_not_covered(kernel, root_tree, second, image, initramfs, boot):
    """/lib is a link to usr/lib: by its name /lib/modules would come before /usr, which covers it."""
    tree = root_tree()
    tree["/usr"] = tree["/usr/lib"] = Dir(100000, 100000)
    tree["/usr/lib/modules"] = Dir(100000, 100000)
    tree["/lib"] = Link("usr/lib", 100000, 100000)
    conf = ROOT + ("/dev/vdb /usr erofs idmap=6000:0:10\n"
                   "/dev/vdc /lib/modules erofs idmap=5000:0:10\n"
                   "/lib/modules/deep /opt/app bind idmap=5000:3:1\n")
    disks = [Disk(image(tree, "erofs")), Disk(image(USR, "erofs")), Disk(second())]
    with boot(kernel, initramfs(kernel, conf), "", disks) as guest:
        assert seen(guest, "/usr/of-usr") == (0, 0)
        assert seen(guest, "/usr/lib/modules/file") == (7, 7) == seen(guest, "/lib/modules/file")
        assert seen(guest, "/opt/app/er") == (3, 3)
        assert not [m for m in guest.mounts() if ".idmap" in m.target]


@pytest.mark.parametrize("row", [
    "own /srv/keys tmpfs", "own /srv/keys/deep tmpfs X-mount.mkdir", "/srv/keys /opt/app bind rw,idmap=0:1000:1",
    "/srv/keys /opt/app rbind"])
@pytest.mark.parametrize("kernel", EVERY, indirect=True)
def test_links_of_a_stranger(row, kernel, root_tree, image, initramfs, boot_fails):
    """A link in a tree that does not stand at / decides neither where a row lands nor what it shows."""
    stranger = {"/": Dir(5000, 5000), "/keys": Link("/etc", 5000, 5000)}
    conf = ROOT + f"/dev/vdb /srv erofs idmap=5000:0:10\n{row}\n"
    disks = [Disk(image(root_tree(), "erofs")), Disk(image(stranger, "erofs"))]
    console = boot_fails(kernel, initramfs(kernel, conf), "quiet", disks)
    source, target = row.split()[:2]
    assert last_words(console) == (
        f"idmap-init: /etc/idmap.conf:3: {source} on {target}: there is a link in its way, in the tree of"
        " the row for /srv, where links decide nothing; write the path that is meant", "0x00000200")


UP = {"/q": "nowhere/../x", "/r": "etc/hostname/../../x", "/o": "/srv/in/../bob", "/w": "/srv/../x", "/v": "etc/../x"}


@pytest.mark.parametrize("row,words", [
    ("/q /var bind", "SOURCE is a link, or behind one, and that leads to /nowhere/../x (not there)"),
    ("/r /var bind", "/r in the new root cannot be cloned (not a folder)"),
    ("t /q tmpfs", "the target cannot be used in the new root (not there)"),
    ("t /r tmpfs X-mount.mkdir", "the target cannot be used in the new root (not a folder)"),
    ("/o /var bind", "there is a link in its way with .. behind a name in another tree"),
    ("t /o tmpfs", "there is a link in its way with .. behind a name in another tree")])
@pytest.mark.parametrize("kernel", ["6.1", "newest"], indirect=True)
def test_link_with_a_way_up_that_is_none(row, words, kernel, root_tree, image, initramfs, boot_fails):
    """The kernel goes by way of the folder whose .. it is: nobody finds another one by that name."""
    tree = root_tree() | {path: Link(to, 100000, 100000) for path, to in UP.items()} | {"/x": Dir(100000, 100000)}
    stranger = {"/": Dir(0, 0), "/in": Link("home/alice", 0, 0), **{
        path: Dir(0, 0) for path in ("/bob", "/home", "/home/bob", "/home/alice")}}
    disks = [Disk(image(tree, "erofs")), Disk(image(stranger, "erofs"))]
    line, _ = last_words(boot_fails(kernel, initramfs(kernel, ROOT + f"/dev/vdb /srv erofs\n{row}\n"), "quiet", disks))
    assert words in line, line


@pytest.mark.parametrize("kernel", ["6.1", "newest"], indirect=True)
def test_link_with_a_way_up(kernel, root_tree, image, initramfs, boot):
    """Out of a row's own folder, too; and an absent one is skipped where the row says so."""
    tree = root_tree() | {path: Link(to, 100000, 100000) for path, to in UP.items()}
    tree |= {"/x": Dir(100000, 100000), "/x/f": File("x", 100000, 100000), "/x/l": Link("../images", 100000, 100000)}
    rows = "/dev/vdb /srv erofs\n/w /var bind\n/v /mnt bind\nt /w/l tmpfs\n/q /opt/app bind nofail\n"
    disks = [Disk(image(tree, "erofs")), Disk(image({"/": Dir(0, 0)}, "erofs"))]
    with boot(kernel, initramfs(kernel, ROOT + rows), "", disks) as guest:
        assert seen(guest, "/var/f") == (0, 0) == seen(guest, "/mnt/f")
        assert [m.target for m in guest.mounts() if m.source == "t"] == ["/images"]
        assert "/opt/app" not in {m.target for m in guest.mounts()}


@pytest.mark.parametrize("name", ["/alink", "/zlink"])
def test_link_that_a_row_covers(name, kernel, root_tree, second, image, initramfs, boot):
    """A link of the root below another row's target is covered, by whatever name that row came."""
    tree = root_tree()
    tree[name] = Link("/srv", 100000, 100000)
    tree["/srv/deep"] = Link("/etc", 100000, 100000)
    conf = ROOT + f"/dev/vdb {name} erofs idmap=5000:0:10\nown /srv/deep tmpfs size=64k\n"
    disks = [Disk(image(tree, "erofs")), Disk(second())]
    with boot(kernel, initramfs(kernel, conf), "", disks) as guest:
        assert [m.target for m in guest.mounts() if "size=64k" in m.super_options] == ["/srv/deep"]
        assert seen(guest, "/etc/hostname") == (0, 0)
        assert seen(guest, "/srv/file") == (7, 7)


def test_collision_behind_a_link(kernel, root_tree, second, image, initramfs, boot_fails):
    """Two names of one folder are one target."""
    tree = root_tree()
    tree["/link"] = Link("srv", 100000, 100000)
    conf = ROOT + "/dev/vdb /srv erofs\n/images/app /link bind\n"
    disks = [Disk(image(tree, "erofs")), Disk(second())]
    console = boot_fails(kernel, initramfs(kernel, conf), "quiet", disks)
    assert last_words(console) == (
        "idmap-init: /etc/idmap.conf:3:13: the target /srv has a row already (/etc/idmap.conf:2); keep one"
        " of them", "0x00000200")


def test_map_in_place(kernel, root_tree, image, initramfs, boot):
    """A folder bound onto itself: seen with another map than what holds it."""
    conf = ROOT + "/images/app /images/app bind idmap=100000:70:1,101000:71:1\n"
    with boot(kernel, initramfs(kernel, conf), "", [Disk(image(root_tree(), "erofs"))]) as guest:
        assert seen(guest, "/images") == (0, 0)
        assert seen(guest, "/images/app") == (70, 70) == seen(guest, "/images/app/run")
        assert seen(guest, "/images/app/data") == (71, 71)


def test_nofail(kernel, root_tree, image, initramfs, boot):
    """An absent source with nofail is skipped, and so is what would stand on it; nothing else."""
    conf = ROOT + ("/dev/vdx /mnt erofs nofail,wait=1\n"
                   "/images/app /mnt/deep bind\n"
                   "/no/such /home bind nofail\n"
                   "/dev/vdy /srv erofs noauto\n"
                   "/images/app /opt/app bind idmap=100000:1:1\n")
    with boot(kernel, initramfs(kernel, conf), "", [Disk(image(root_tree(), "erofs"))]) as guest:
        assert seen(guest, "/opt/app") == (1, 1)
        targets = [m.target for m in guest.mounts() if m.type == "erofs"]
        assert sorted(targets) == ["/", "/opt/app"]
        log = log_lines(guest)
        assert ("idmap-init: /etc/idmap.conf:2: /dev/vdx on /mnt: the device did not come within 1 s"
                " (disks here: vda); check its name, load its driver (mkinitramfs -m), or raise"
                " wait=") in log
        assert "idmap-init: /mnt is skipped, its row says nofail" in log
        assert "idmap-init: /mnt/deep is skipped, what it stands on is absent" in log
        assert "idmap-init: /home is skipped, its row says nofail" in log


def test_bind_of_what_is_left_out(kernel, root_tree, second, image, initramfs, boot):
    """What lies below the place of a row that is noauto is shown, as mount(8) does; here it is told."""
    conf = ROOT + ("/dev/vdb /images erofs noauto\n/images/app /opt/app bind idmap=100000:1:1\n"
                   "/dev/vdb /srv erofs noauto\n/dev/vdb /srv erofs idmap=5000:0:10\n/srv /mnt bind\n")
    with boot(kernel, initramfs(kernel, conf), "quiet", [Disk(image(root_tree(), "erofs")), Disk(second())]) as guest:
        assert seen(guest, "/opt/app") == (1, 1) and seen(guest, "/mnt/file") == (7, 7)
        assert [line for line in log_lines(guest) if "noauto" in line] == [
            PRE + "/etc/idmap.conf:3: /images/app on /opt/app: the row for /images is noauto, so this shows what lies below"
            " that; say noauto in both, or in none"]


def test_devices_that_nodev_closes(kernel, root_tree, image, initramfs, boot):
    conf = ROOT + "/dev /mnt bind\n/dev /home bind dev\n"
    with boot(kernel, initramfs(kernel, conf), "quiet", [Disk(image(root_tree(), "erofs"))]) as guest:
        assert guest.ask("open /mnt/null r") == {"error": "EACCES"} and "error" not in guest.ask("open /home/null r")
        assert [line for line in log_lines(guest) if "nodev if" in line] == [
            PRE + "/etc/idmap.conf:2: /dev on /mnt: rows are nodev, so no device in it can be opened; write dev, or nodev if"
            " that is meant"]


def test_two_carriers(kernel, root_tree, second, image, initramfs, boot):
    """Any idmap= on the command line replaces the file; several rows there, quotes as the kernel's."""
    append = ('idmap=/dev/vda,/,erofs,100000:0:65536 "idmap=/dev/vdb,/srv,erofs,X-mount.idmap=u:5000:0:9'
              ' g:5000:3:9" idmap=/images/app,/opt/app,bind,nosuid,uidmap=100000:5:1')
    disks = [Disk(image(root_tree(), "erofs")), Disk(second())]
    with boot(kernel, initramfs(kernel, "/dev/vdq /never erofs\n"), append, disks) as guest:
        assert seen(guest, "/srv/file") == (7, 10)
        assert seen(guest, "/opt/app/run") == (5, 100000)


def test_other_conf(kernel, root_tree, image, initramfs, boot, tmp_path):
    other = tmp_path / "other.conf"
    other.write_text("/dev/vda / erofs idmap=100000:1:65536\n")
    initrd = initramfs(kernel, ROOT, add=[(other, "/etc/other.conf")])
    with boot(kernel, initrd, "idmap.conf=/etc/other.conf",
              [Disk(image(root_tree(), "erofs"))]) as guest:
        assert seen(guest, "/owners/root") == (1, 1)
