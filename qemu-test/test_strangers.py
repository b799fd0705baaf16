# SPDX-License-Identifier: MIT
"""What stands there already, and is nobody's row: mounts that come along, links in them and beneath
them, a root whose /run or /dev is a link, and a real init that starts us again."""

from __future__ import annotations

import re

import pytest

from common import INIT, PRE, QUICK, ROOT, in_turn, last_words, log_lines
from guest import HEAD, Disk
from images import Dir, File, Link, busybox

BOTH = pytest.mark.parametrize("kernel", ["6.1", "newest"], indirect=True)
OWN = (100000, 100000)
MAP = "/dev/root / auto idmap=100000:0:65536\n"
IN_PLACE = f"root=/dev/vda init={INIT}"


def standing(guest) -> dict[str, str]:
    return {mount.target: mount.type for mount in guest.mounts()}


@pytest.fixture
def stranger(image):
    """A disk with links that lead out of it, and folders."""
    return image({"/": Dir(5000, 5000), "/to-etc": Link("/etc", 5000, 5000), "/to-root": Link("/root", 5000, 5000),
                  "/folder": Dir(5000, 5000), "/folder/file": File("of the stranger\n", 5000, 5000)}, "erofs")


@BOTH
def test_links_beneath_what_comes_along(kernel, root_tree, image, initramfs, boot):
    """One row has the root's links followed; those beneath /dev and /run decide nothing then, either."""
    tree = root_tree()
    tree["/var/run"] = Link("/run", *OWN)
    tree["/dev/shm"], tree["/run/foo"] = Link("/run/shm", *OWN), Link("/etc", *OWN)
    conf = (ROOT + "t /dev/shm tmpfs size=1m,mode=0700,X-mount.mkdir\nt /run/foo tmpfs size=1m,mode=0711,X-mount.mkdir\n"
            "t /var/run/x tmpfs X-mount.mkdir\n")
    with boot(kernel, initramfs(kernel, conf), "", [Disk(image(tree, "erofs"))]) as guest:
        mounts = standing(guest)
        assert [mounts[target] for target in ("/dev/shm", "/run/foo", "/run/x")] == ["tmpfs"] * 3
        assert "/etc" not in mounts and "/run/shm" not in mounts


@BOTH
def test_links_beneath_mounts_of_a_booted_root(kernel, plain_tree, image, stage0, stranger, boot):
    tree = plain_tree(MAP + "t /srv/folder tmpfs\nt /var/run/z tmpfs X-mount.mkdir\n")
    tree["/var/run"], tree["/srv/folder"] = Link("/run", *OWN), Link("/etc", *OWN)
    initrd = stage0(kernel, then="mount -t erofs -o ro /root/dev/vdb /root/srv")
    with boot(kernel, initrd, IN_PLACE, [Disk(image(tree, "erofs")), Disk(stranger)]) as guest:
        assert standing(guest)["/srv/folder"] == "tmpfs" and "/etc" not in standing(guest)


@pytest.mark.parametrize("kernel,row", [("6.1", "t /srv/to-etc tmpfs"), ("newest", "/srv/to-root /mnt bind rw")],
                         indirect=["kernel"], ids=["target", "source"])
def test_links_in_a_mount_that_stands(row, kernel, plain_tree, image, stage0, stranger, boot_fails):
    initrd = stage0(kernel, then="mount -t erofs -o ro /root/dev/vdb /root/srv")
    console = boot_fails(kernel, initrd, IN_PLACE, [Disk(image(plain_tree(row + "\n"), "erofs")), Disk(stranger)])
    assert "there is a link in its way, in another mount such as /proc" in last_words(console)[0]


def test_links_and_apply(kernels, root_tree, image, stranger, initramfs, boot):
    """The same two, by idmap apply: below a folder, and on the system that runs."""
    tree = root_tree(command=True)
    other = root_tree()
    other["/var/run"], other["/srv/folder"] = Link("/run", *OWN), Link("/root", *OWN)
    kernel = kernels("newest")
    disks = [Disk(image(tree, "erofs")), Disk(stranger), Disk(image(other, "erofs"))]
    with boot(kernel, initramfs(kernel, ROOT), "", disks) as guest:
        def apply(table: str, *words: str) -> tuple[int, str]:
            guest.ask("write", "/run/table", table)
            answer = guest.ask("run", "0", "0", "/bin/idmap", "apply", "-c", "/run/table", *words)
            return answer["exit"], answer["stderr"]

        guest.run("/bin/sh", "-c", "mount -t erofs -o ro /dev/vdb /srv; mount -t erofs -o ro /dev/vdc /mnt;"
                  " mount -t erofs -o ro /dev/vdb /mnt/srv")
        before = guest.mounts()
        for row in ("t /srv/to-etc tmpfs\n", "/srv/to-root /home bind\n"):
            code, line = apply(row)
            assert code == 2 and "there is a link in its way, in another mount" in line, line
        assert guest.mounts() == before
        assert apply(MAP + "/srv/folder /opt bind\nt /var/run tmpfs\n", "--root", "/mnt") == (0, "")
        assert list(guest.ask("ls /mnt/opt")["entries"]) == ["file"] and standing(guest)["/mnt/run"] == "tmpfs"


@pytest.mark.parametrize("kernel,conf,name", [
    ("newest", "", "run"), ("newest", MAP, "run"), ("6.1", MAP, "run"), ("6.1", MAP + "t /srv tmpfs\n", "run"),
    ("newest", MAP + "t /run/x tmpfs X-mount.mkdir\n", "run"), ("newest", MAP, "dev"),
    ("newest", MAP + "t /srv tmpfs\n", "run" + 80 * "g"),
], indirect=["kernel"], ids=["nothing", "map", "map-6.1", "row-6.1", "inside", "dev", "long"])
def test_roots_with_links_for_what_comes_along(kernel, conf, name, plain_tree, image, stage0, boot):
    """What a script had mounted behind the link is what the real init finds there."""
    tree = plain_tree(conf)
    behind, name = f"var/{name}", name[:3]
    tree[f"/{behind}"] = tree.pop(f"/{name}")
    tree[f"/{name}"] = Link(behind, *OWN)
    then = f"mount -t tmpfs script /root/{behind}; echo x >/root/{behind}/of-script" if name == "run" else ":"
    with boot(kernel, stage0(kernel, then=then), IN_PLACE, [Disk(image(tree, "erofs"))]) as guest:
        assert "console" in guest.ask("ls /dev/")["entries"] and len(guest.ask("ls /dev/")["entries"]) > 20
        if name == "run":
            assert "of-script" in guest.ask("ls /run/")["entries"]
            assert "cannot be written" not in "".join(log_lines(guest))
            assert guest.ask("read /run/idmap/table")["content"].count("\n") == 2 * conf.count("\n") + 1
        assert ("idmapped" in [m for m in guest.mounts() if m.target == "/"][0].options) == bool(conf)


@pytest.mark.parametrize("first", ["init=", "init= on a mapped root", "/sbin/init", "/sbin/init on a mapped root"])
def test_scripts_that_start_us_again(first, kernels, root_tree, plain_tree, image, initramfs, stage0, boot_fails):
    """For ever, once. What is mapped already cannot be mapped again, and that is not what is wrong."""
    kernel = kernels("newest")
    script = File("#!/bin/sh\nexec /sbin/idmap-init\n", *OWN, mode=0o755)
    tree = plain_tree("t /srv tmpfs\n")
    mapped = " idmap=100000:0:65536" if "mapped" in first else ""
    if first.startswith("init="):
        tree["/sbin/start"] = script
        console = boot_fails(kernel, stage0(kernel, init="/sbin/start"), f"root=/dev/vda init=/sbin/start{mapped}",
                             [Disk(image(tree, "erofs"))])
    elif mapped:
        tree["/sbin/init"] = script
        console = boot_fails(kernel, stage0(kernel, init="/sbin/init"), f"root=/dev/vda{mapped}", [Disk(image(tree, "erofs"))])
    else:
        tree["/sbin/init"] = script
        console = boot_fails(kernel, initramfs(kernel, ROOT), "", [Disk(image(tree, "erofs"))])
    line, code = last_words(console)
    assert code.startswith("0x00000700") and "was started before, and has started idmap-init again" in line
    assert len(re.findall("idmap-init: version", console)) <= 2


def test_init_beneath_what_comes_along(kernel, root_tree, image, initramfs, boot, boot_fails):
    """It is told while there is a way back; and one that comes along itself is started."""
    tree = root_tree()
    tree["/run/init"] = tree["/sbin/init"]
    disks = [Disk(image(tree, "erofs"))]
    line, _ = last_words(boot_fails(kernel, initramfs(kernel, ROOT), "init=/run/init", disks))
    assert "cmdline: init=/run/init: it cannot be run in the new root" in line


@BOTH
def test_ways_that_are_closed(kernel, plain_tree, image, stage0, boot_fails):
    """A mount below a folder of 0700 whose owner the map leaves out: told before there is no way back."""
    tree = plain_tree(MAP)
    tree["/keep"], tree["/keep/x"] = Dir(7, 7, 0o700), Dir(7, 7)
    console = boot_fails(kernel, stage0(kernel, then="mount -t tmpfs t /root/keep/x"), IN_PLACE,
                         [Disk(image(tree, "erofs"))])
    assert "/keep/x cannot come along into the new root (permission denied)" in last_words(console)[0]
    assert "idmap-init: version" not in console  # the rows are told when nothing more can fail


@BOTH
def test_record_of_a_stranger(kernel, stage0, plain_tree, image, boot):
    """An image on /run that says who was started: it is none of ours."""
    stranger = {"/": Dir(5000, 5000), "/idmap": Dir(5000, 5000),
                "/idmap/table": File("x\n# init=/sbin/init\n", 5000, 5000)}
    disks = [Disk(image(plain_tree("/dev/vdb /run erofs idmap=5000:1000:10\n"), "erofs")), Disk(image(stranger, "erofs"))]
    with boot(kernel, stage0(kernel), IN_PLACE, disks) as guest:
        assert guest.report()["argv"] == ["/sbin/init"]


@BOTH
def test_what_would_cover_proc(kernel, root_tree, image, initramfs, boot):
    """All rows or none, and nothing by hand either."""
    tree = root_tree(command=True)
    with boot(kernel, initramfs(kernel, ROOT), "", [Disk(image(tree, "erofs"))]) as guest:
        before = guest.mounts()
        guest.ask("write", "/run/table", "t /proc tmpfs\n/images/app /srv bind\n")
        for words in (["apply", "-c", "/run/table"], ["mount", "x", "/proc", "-t", "tmpfs"]):
            answer = guest.ask("run", "0", "0", "/bin/idmap", *words)
            assert answer["exit"] == 2 and "that would cover /proc, by way of which rows are mounted" in answer["stderr"]
        assert guest.mounts() == before


@pytest.mark.parametrize("append,said", [
    ("", "/dev/root was mounted ro, so it is ro on /, and not rw; write rw on the kernel command line, too"),
    (" rw", None)], ids=["ro", "rw"])
def test_root_that_was_mounted_ro(append, said, kernels, stage0, plain_tree, image, boot):
    tree = plain_tree("/dev/root / auto rw,idmap=100000:0:65536\n")
    kernel = kernels("6.12")
    options = append.strip() or "ro"
    with boot(kernel, stage0(kernel, "ext4", options), IN_PLACE + append,
              [Disk(image(tree, "ext4"), readonly=False, snapshot=True)]) as guest:
        assert [line for line in log_lines(guest) if "was mounted ro" in line] == ([f"idmap-init: {said}"] if said else [])
        assert ("error" in guest.ask("write /etc/new text")) == bool(said)


@BOTH
def test_somebody_elses_mount_on_the_workshop(kernel, root_tree, image, initramfs, boot):
    tree = root_tree(command=True)
    with boot(kernel, initramfs(kernel, ROOT), "", [Disk(image(tree, "erofs"))]) as guest:
        guest.ask("write", "/run/table", "/images/app /srv bind\n")
        guest.run("/bin/sh", "-c", "mkdir /run/.idmap; mount -t tmpfs theirs /run/.idmap")
        answer = guest.ask("run", "0", "0", "/bin/idmap", "apply", "-c", "/run/table")
        assert (answer["exit"], answer["stderr"]) == (0, "")
        assert [m.source for m in guest.mounts() if m.target == "/run/.idmap"] == ["theirs"]
        assert standing(guest)["/srv"] == "erofs"


SCRIPT = """#!/bin/sh
mkdir -p /proc /sys /dev /run
mount -t proc proc /proc; mount -t sysfs sys /sys; mount -t devtmpfs dev /dev; mount -t tmpfs run /run
for module in $(cat /etc/idmap.modules); do insmod $module 2>/dev/null; done
while ! [ -b /dev/vdb ]; do sleep 0.1; done
"""


@pytest.fixture
def scripted(initramfs, programs, tmp_path):
    """scripted(kernel, conf, commands, modules): an initramfs whose /init is a script that execs us."""

    def make(kernel, conf, commands, modules):
        script = tmp_path / "init"
        script.write_text(f"{SCRIPT}{commands}\nexec /sbin/idmap-init\n")
        script.chmod(0o755)
        program = busybox()["/bin/busybox"].content
        add = [(programs.init, "/sbin/idmap-init"), (programs.command, "/bin/idmap"),
               *((program, f"/bin/{name}") for name in ("sh", "mkdir", "mount", "cat", "insmod", "sleep", "["))]
        return initramfs(kernel, conf, init=script, add=add, modules=f"virtio_pci,virtio_blk,erofs,{modules}")

    return make


def test_line_that_bootconfig_adds_to(kernel, root_tree, image, scripted, boot):
    """Debian's kernels have none of it: a script adds what it would, before a line that may have been cut."""
    initrd = scripted(kernel, None, """{ echo -n 'foo="bar baz" '; cat /proc/cmdline; } >/run/line
        mount --bind /run/line /proc/cmdline""", "")
    line = "root=/dev/vda rootfstype=erofs ro idmap=100000:0:65"
    pad = "x" * (2047 - len(f"{HEAD} {QUICK} pad= {line}"))
    with boot(kernel, initrd, f"pad={pad} {line}", [Disk(image(root_tree(), "erofs"))] * 2) as guest:
        said, = (line for line in log_lines(guest) if "bootconfig" in line)
        assert said == (PRE + "cmdline: the line has 2061 bytes, as bootconfig adds to it, and whether the loader's own were cut"
                        " to 2047 cannot be told; write rows and maps into /etc/idmap.conf (mkinitramfs -c)")


def test_record_that_is_cut(kernel, root_tree, image, scripted, boot):
    """A write that takes less than all of it is no error, and what was written no table: neither stays."""
    conf = ROOT + "".join(f"tmpfs /run/t{number} tmpfs X-mount.mkdir,size=64k\n" for number in range(9))
    initrd = scripted(kernel, conf, "ulimit -f 1", "")
    with boot(kernel, initrd, "", [Disk(image(root_tree(), "erofs"))] * 2) as guest:
        assert guest.ask("read /run/idmap/table")["content"] == ""
        assert PRE + "/run/idmap/table cannot be written (too large), going on without" in log_lines(guest)


@BOTH
def test_map_on_a_bind_of_a_scripts_overlay(kernel, root_tree, image, scripted, boot_fails):
    """Its ids are those that its layers show, and not those on disk."""
    initrd = scripted(kernel, ROOT + "/run/merged /srv bind idmap=1000:0:100\n", """
        mkdir -p /run/low /run/empty /run/merged
        idmap mount /dev/vdb /run/low -t erofs -o idmap=100000:1000:65536
        mount -t overlay -o lowerdir=/run/low:/run/empty merged /run/merged""", "overlay")
    disks = [Disk(image(root_tree(), "erofs")), Disk(image({"/": Dir(100000, 100000)}, "erofs"))]
    line, code = last_words(boot_fails(kernel, initrd, "", disks))
    assert "what it shows is an overlay, whose ids are not those on disk" in line and code == "0x00000500"


@pytest.mark.parametrize("kernel,words", in_turn(("uid=7,gid=7,umask=0077",), ("ro",)), indirect=["kernel"])
def test_filesystem_that_a_script_has_mounted(words, kernel, root_tree, image, scripted, boot):
    """It stands with the script's owners, and that is told."""
    initrd = scripted(kernel, ROOT + f"/dev/vdb /srv vfat {words}\n", """
        mkdir /run/other
        mount -t vfat -o ro,uid=5,gid=5,umask=022 /dev/vdb /run/other""", "vfat,nls_cp437,nls_iso8859-1,nls_ascii,nls_utf8")
    with boot(kernel, initrd, "", [Disk(image(root_tree(), "erofs")), Disk(image({"/": Dir(), "/file": File("x")}, "vfat"))]) as guest:
        assert guest.ask("stat /srv")["uid"] == 5
        assert [line for line in log_lines(guest) if "stands on /run/other already, and is as it is there" in line]


@pytest.mark.parametrize("kernel,how,only_there", in_turn(
    ("image", True), ("image", False), ("layer", False), ("bind", True), ("apply", False), ("apply", True)),
    indirect=["kernel"])
def test_file_on_an_unbindable_mount(only_there, how, kernel, stage0, plain_tree, image, boot, boot_fails):
    """No clone has that mount, and what lies beneath is another file."""
    other = image({"/": Dir(), "/beneath": File("x")}, "erofs")
    right = image({"/": Dir(), "/right": File("x")}, "erofs")
    row = "/srv/file /mnt bind idmap=5000:0:1\n" if how == "bind" else "root:/srv/file /mnt erofs\n"
    tree = plain_tree({"layer": "none /mnt overlay\nroot:/srv/file /mnt erofs lower\n", "apply": ""}.get(how, row))
    if not only_there:
        tree["/srv/file"] = File(other, *OWN)
    disks = [Disk(image(tree, "erofs")), Disk(image({"/": Dir(5000, 5000), "/file": File(right, 5000, 5000)}, "erofs"))]
    initrd = stage0(kernel, modules=["loop", "overlay"], then="mount -t erofs -o ro /root/dev/vdb /root/srv;"
                    " mount --make-unbindable /root/srv")
    cause = "SOURCE lies on a mount that is unbindable, which cannot be cloned; make that private"
    if how != "apply":
        assert cause in last_words(boot_fails(kernel, initrd, IN_PLACE, disks))[0]
        return
    with boot(kernel, initrd, IN_PLACE, disks) as guest:
        guest.ask("write", "/run/table", row)
        answer = guest.ask("run", "0", "0", "/bin/idmap", "apply", "-c", "/run/table")
        assert cause in answer["stderr"] and answer["exit"] == 3 and "/mnt" not in standing(guest)


@pytest.mark.parametrize("kernel,rows,links", in_turn(
    ("", {"/sbin/init": "/run/init"}), ("", {"/sbin": "/run"}),
    ("", {"/sbin/init": "/var/run/init", "/run": "/var/run"}), ("t /opt/app tmpfs\n", {"/sbin": "/run"})),
    indirect=["kernel"], ids=["file", "folder", "run", "rows"])
def test_init_behind_a_link_into_run(rows, links, kernel, root_tree, image, initramfs, boot_fails):
    """The image's own /run is covered by ours, where no init is; that is found before the switch."""
    tree = root_tree()
    init = tree["/sbin/init"]
    for path in [path for path in tree if path.startswith("/bin/sh") or path.startswith("/sbin")]:
        del tree[path]
    if "/run" in links:
        del tree["/run"]
        tree["/var/run"], tree["/var/run/init"] = Dir(*OWN), init
    else:
        tree["/run/init"] = init
    tree["/sbin"] = Dir(*OWN)
    tree |= {path: Link(link, *OWN) for path, link in links.items()}
    line, code = last_words(boot_fails(kernel, initramfs(kernel, ROOT + rows), "", [Disk(image(tree, "erofs"))]))
    assert "the root has no /sbin/init, /etc/init, /bin/init or /bin/sh that can be run" in line and code == "0x00000700"


@BOTH
def test_interpreter_behind_a_link_into_run(kernel, root_tree, image, initramfs, boot_fails):
    tree = root_tree()
    tree["/run/sh"], tree["/bin/rsh"] = tree["/bin/busybox"], Link("/run/sh", *OWN)
    tree["/etc/start"] = File("#!/bin/rsh\nexec /sbin/init\n", *OWN, 0o755)
    line, code = last_words(boot_fails(kernel, initramfs(kernel, ROOT), "init=/etc/start", [Disk(image(tree, "erofs"))]))
    assert "init=/etc/start: it cannot be run in the new root (/bin/rsh, its interpreter: not there)" in line
    assert code == "0x00000700"


@BOTH
def test_mounts_on_one_folder(kernel, stage0, plain_tree, image, boot):
    """Of which only the uppermost can come along."""
    initrd = stage0(kernel, then="mount -t tmpfs one /root/tmp; mount -t tmpfs two /root/tmp; mount -t tmpfs in /root/srv/folder;"
                    " mount -t tmpfs on /root/srv")
    tree = plain_tree(MAP)
    tree["/srv/folder"] = Dir(*OWN)
    with boot(kernel, initrd, IN_PLACE + " quiet", [Disk(image(tree, "erofs"))]) as guest:
        assert [line for line in log_lines(guest) if "uppermost" in line] == [
            f"idmap-init: of the mounts on {path} only the uppermost has come along; mount one of them elsewhere, or later"
            for path in ("/tmp", "/srv")]


@BOTH
def test_mount_of_others_where_a_folder_is_made(kernel, stage0, plain_tree, image, boot):
    """What a script has mounted lands on a folder that is made for a row: beneath the row."""
    tree = plain_tree("/dev/root / auto rw,X-mount.subdir=sub,idmap=100000:0:65536\n"
                      "t /srv/y tmpfs X-mount.mkdir,mode=0711\n")
    tree |= {f"/sub{path}": entry for path, entry in tree.items() if path != "/" and not path.startswith("/srv")}
    tree["/sub"] = Dir(*OWN)
    initrd = stage0(kernel, "ext4", "rw", then="mount -t tmpfs x /root/srv; echo >/root/srv/of-script")
    with boot(kernel, initrd, IN_PLACE + " rw", [Disk(image(tree, "ext4"), readonly=False, snapshot=True)]) as guest:
        assert guest.ask("stat /srv/y")["mode"] & 0o7777 == 0o711
        assert "of-script" in guest.ask("ls /srv")["entries"]


@pytest.mark.parametrize("kernel,booted", in_turn((True,), (False,)), indirect=["kernel"])
def test_unbindable_mount_in_run(booted, kernel, plain_tree, root_tree, image, stage0, scripted, boot_fails):
    """No clone of /run has it, and a row in /run needs one."""
    row = "t /run/y tmpfs X-mount.mkdir\n"
    if booted:
        initrd = stage0(kernel, then="mount -t tmpfs run /root/run; mkdir /root/run/x; mount -t tmpfs x /root/run/x;"
                        " mount --make-unbindable /root/run/x")
        disks = [Disk(image(plain_tree(MAP + row), "erofs"))]
    else:
        initrd = scripted(kernel, ROOT + row, "mkdir /run/x; mount -t tmpfs x /run/x; mount --make-unbindable /run/x",
                          "overlay")
        disks = [Disk(image(root_tree(), "erofs"))] * 2
    line, _ = last_words(boot_fails(kernel, initrd, IN_PLACE if booted else "", disks))
    assert "the mount on /run, or one in it, is unbindable, so the new root cannot have it before this row" in line


@BOTH
def test_unbindable_mount_and_another_init(kernel, plain_tree, image, stage0, boot):
    """Looking for an init that is not there takes nothing away."""
    tree = plain_tree(MAP)
    tree["/bin/init"] = tree.pop("/sbin/init")
    tree["/keep"] = Dir(*OWN)
    initrd = stage0(kernel, then="mount -t tmpfs keep /root/keep; mkdir /root/keep/x; mount -t tmpfs x /root/keep/x;"
                    " mount --make-unbindable /root/keep/x")
    with boot(kernel, initrd, IN_PLACE, [Disk(image(tree, "erofs"))]) as guest:
        assert {"/keep", "/keep/x"} <= standing(guest).keys()
