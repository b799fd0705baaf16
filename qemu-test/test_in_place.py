# SPDX-License-Identifier: MIT
"""Without a row for /: trees go into place in the root that is there. And a map for a root that the
kernel booted itself.

Debian's kernels have no driver built in, so a stage 0 that loads drivers, mounts the root and
switches to it stands in for a kernel that boots root= by itself.
"""

from __future__ import annotations

import pytest

from common import EVERY, INIT, OWNERS, PRE, last_words, log_lines, options, owners, seen
from guest import Disk
from images import Dir, File, Link

KERNELS = ["6.1", "7.x"]


@pytest.fixture
def plain_root(stage0, plain_tree, image):
    """plain_root(kernel, conf): an initramfs that is stage 0, and a root with idmap-init in it."""

    def make(kernel, conf=None, fs="erofs", change=lambda tree: None, init=INIT, modules=()):
        initrd, root = stage0(kernel, fs, init=init, modules=modules), plain_tree(conf, init)
        change(root)
        return initrd, Disk(image(root, fs))

    return make


@pytest.mark.parametrize("kernel", ["6.1", "newest"], indirect=True)
@pytest.mark.parametrize("there", [False, True])
def test_row_that_covers_what_the_kernel_has_started(there, kernel, plain_root, programs, image, boot):
    """init= is we all the same, and not what is seen by its name once the rows stand."""
    probe = File(programs.probe, mode=0o755)
    tree = {"/": Dir(), "/init": probe} | ({"/idmap-init": probe} if there else {})
    initrd, root = plain_root(kernel, "/dev/vdb /sbin erofs\n")
    with boot(kernel, initrd, f"root=/dev/vda ro init={INIT}", [root, Disk(image(tree, "erofs"))]) as guest:
        assert guest.report()["argv"] == ["/sbin/init"]


@pytest.mark.every_kernel
@pytest.mark.parametrize("kernel", KERNELS, indirect=True)
def test_rows_in_place(kernel, plain_root, second, boot):
    conf = ("/images/app /mnt/deep/er bind idmap=100000:30:1\n"
            "/dev/vdb /mnt erofs idmap=5000:20:10\n"
            "/images/app /opt/app bind idmap=100000:40:1,101000:41:1\n"
            "/images/app/run /etc/hostname bind\n"
            "scratch /run/scratch/a tmpfs size=1m,X-mount.mkdir=0700\n")
    initrd, root = plain_root(kernel, conf)
    with boot(kernel, initrd, f"root=/dev/vda ro init={INIT} -- a b", [root, Disk(second())]) as guest:
        assert guest.report()["argv"] == ["/sbin/init", "a", "b"]
        assert guest.report()["pid"] == 1
        assert seen(guest, "/owners/root") == (100000, 100000)
        assert seen(guest, "/mnt") == (20, 20)
        assert seen(guest, "/mnt/deep/er/run") == (30, 30)
        assert seen(guest, "/opt/app/data") == (41, 41)
        assert guest.ask("read /etc/hostname")["content"] == "#!/bin/sh\necho app\n"
        assert options(guest, "/run/scratch/a")[0] == "tmpfs"
        assert guest.ask("stat /run/scratch")["mode"] == 0o700
        # Nothing of ours is left: no view of the stage, no folder.
        assert not [m for m in guest.mounts() if ".idmap" in m.target]
        assert guest.ask("stat /run/.idmap") == {"error": "ENOENT"}
        assert len([m for m in guest.mounts() if m.target == "/"]) == 1


@pytest.mark.parametrize("fs", [pytest.param("erofs", marks=pytest.mark.every_kernel), "ext4"])
@pytest.mark.parametrize("kernel", KERNELS, indirect=True)
def test_booted_root_mapped(kernel, fs, plain_root, boot):
    """A map for /, no initramfs: the booted root is cloned, mapped and pivoted to."""
    initrd, root = plain_root(kernel, fs=fs)
    append = f"root=/dev/vda ro init={INIT} idmap=100000:0:65536"
    with boot(kernel, initrd, append, [root]) as guest:
        found = owners(guest)
        assert {name: found[name] for name in OWNERS} == OWNERS
        mount, = [m for m in guest.mounts() if m.target == "/"]
        assert (mount.type, "idmapped" in mount.options) == (fs, True)
        # The old root is gone, and the four have come along, each once.
        targets = [m.target for m in guest.mounts()]
        assert sorted(targets) == ["/", "/dev", "/proc", "/run", "/sys"]
        assert guest.run("/bin/suid", uid=1000, gid=1000) == "1000 0 1000 0\n"
        table = guest.ask("read /run/idmap/table")["content"].splitlines()[1]
        assert table == "/dev/root / auto ro,idmap=100000:0:65536"


@pytest.mark.parametrize("kernel", KERNELS, indirect=True)
def test_booted_root_mapped_with_rows(kernel, plain_root, second, boot):
    conf = ("/dev/root / auto idmap=100000:0:65536\n"
            "/dev/vdb /srv erofs idmap=5000:0:10\n"
            "/images/app /opt/app bind idmap=100000:9:1\n")
    initrd, root = plain_root(kernel, conf)
    with boot(kernel, initrd, f"root=/dev/vda init={INIT}", [root, Disk(second())]) as guest:
        assert seen(guest, "/owners/user") == (1000, 1000)
        assert seen(guest, "/srv/file") == (7, 7)
        assert seen(guest, "/opt/app/run") == (9, 9)
        assert options(guest, "/opt/app")[1] >= {"ro", "nosuid", "nodev", "idmapped"}
        assert_no_workshop(guest)


def assert_no_workshop(guest):
    """Nothing of ours is left, neither a mount nor a folder."""
    assert not [m for m in guest.mounts() if ".idmap" in m.target]
    assert guest.ask("stat /run/.idmap") == {"error": "ENOENT"}
    assert guest.ask("stat /dev/.idmap") == {"error": "ENOENT"}


@pytest.mark.every_machine
@pytest.mark.parametrize("kernel", EVERY, indirect=True)
def test_images_of_booted_root(kernel, plain_root, second, boot):
    """No folder of the root that the kernel booted is covered while the new one is put together: an
    image file in any of them is found."""
    def change(tree):
        for folder in ("/mnt", "/etc", "/tmp", "/usr", "/bin", "/sbin", "/run"):
            tree[f"{folder}/data.erofs"] = File(second(), 100000, 100000)
        for number in range(6):
            tree[f"/srv/{number}"] = Dir(100000, 100000)

    folders = ["/mnt", "/etc", "/tmp", "/usr", "/bin", "/sbin"]
    conf = "/dev/root / auto idmap=100000:0:65536\n" + "".join(
        f"{folder}/data.erofs /srv/{number} erofs idmap=5000:{number}:10\n"
        for number, folder in enumerate(folders)) + "/images/app /opt/app bind idmap=100000:9:1\n"
    initrd, root = plain_root(kernel, conf, change=change, modules=["loop"])
    with boot(kernel, initrd, f"root=/dev/vda init={INIT}", [root]) as guest:
        for number in range(6):
            assert seen(guest, f"/srv/{number}/file") == (7 + number, 7 + number)
        assert seen(guest, "/opt/app/run") == (9, 9)
        assert_no_workshop(guest)


@pytest.mark.parametrize("kernel", EVERY, indirect=True)
@pytest.mark.parametrize("without", [("/sbin", "/mnt"), ("/run",), ("/sbin", "/mnt", "/run", "/tmp", "/usr")],
                         ids=lambda folders: "".join(folders))
def test_booted_root_without(kernel, without, plain_root, second, boot):
    """The folders that a booted root lacks are not missed; without /run the workshop is in /dev."""
    def change(tree):
        tree["/bin/init"] = tree["/sbin/init"]
        for path in list(tree):
            if path.startswith(without):
                del tree[path]

    conf = ("/dev/root / auto idmap=100000:0:65536\n"
            "/dev/vdb /srv erofs lower,idmap=5000:0:10\n"
            "tmpfs /srv overlay\n"
            "/images/app /opt/app bind idmap=100000:9:1\n")
    initrd, root = plain_root(kernel, conf, change=change, init="/bin/idmap-init", modules=["overlay"])
    with boot(kernel, initrd, "root=/dev/vda init=/bin/idmap-init", [root, Disk(second())]) as guest:
        entries = guest.ask("ls /")["entries"]
        assert not {folder[1:] for folder in without} & set(entries)
        assert seen(guest, "/owners/user") == (1000, 1000)
        assert seen(guest, "/srv/file") == (7, 7)
        assert guest.ask("write /srv/file new") == {"written": 3}
        assert seen(guest, "/opt/app/run") == (9, 9)
        assert_no_workshop(guest)
        assert sorted(m.target for m in guest.mounts()) == sorted(
            ["/", "/dev", "/opt/app", "/proc", "/srv", "/sys"] + ["/run"] * ("/run" not in without))


@pytest.mark.parametrize("kernel", EVERY, indirect=True)
def test_links_in_place(kernel, plain_root, second, boot):
    """The paths that links lead to decide here, too."""
    def change(tree):
        tree["/usr"] = Dir(100000, 100000)
        tree["/lib"] = Link("usr/deep", 100000, 100000)
        tree["/usr/deep"] = tree["/usr/deep/er"] = Dir(100000, 100000)

    conf = ("/dev/vdb /usr erofs idmap=5000:0:10\n/images/app /lib/er bind idmap=100000:4:1\n"
            "/lib/er/run /etc/hostname bind\n")
    initrd, root = plain_root(kernel, conf, change=change)
    with boot(kernel, initrd, f"root=/dev/vda init={INIT}", [root, Disk(second())]) as guest:
        assert seen(guest, "/usr/file") == (7, 7)
        assert seen(guest, "/usr/deep/er/run") == (4, 4) == seen(guest, "/lib/er/run")
        assert guest.ask("read /etc/hostname")["content"] == "#!/bin/sh\necho app\n"
        assert_no_workshop(guest)


@pytest.mark.parametrize("kernel", EVERY, indirect=True)
def test_row_on_the_workshop(kernel, plain_root, second, boot):
    """A row on /run covers the workshop, which is needed once more after it."""
    conf = ("own /run tmpfs size=64k\n/images/app /opt/app bind\n"
            "/dev/vdb /srv erofs X-mount.subdir=deep\n")
    initrd, root = plain_root(kernel, conf)
    with boot(kernel, initrd, f"root=/dev/vda init={INIT}", [root, Disk(second())]) as guest:
        assert guest.ask("ls /srv")["entries"].keys() == {"er"}
        assert options(guest, "/opt/app")[0] == "erofs"
        assert_no_workshop(guest)
        # Below the row, too.
        assert guest.run("/bin/umount", "/run") == ""
        assert guest.ask("stat /run/.idmap") == {"error": "ENOENT"}


@pytest.mark.parametrize("kernel", EVERY, indirect=True)
def test_rbind_leaves_the_workshop_out(kernel, plain_root, boot):
    conf = "/run /mnt rbind rw\nscratch /run/a tmpfs size=1m,X-mount.mkdir\n"
    initrd, root = plain_root(kernel, conf)
    with boot(kernel, initrd, f"root=/dev/vda init={INIT}", [root]) as guest:
        assert_no_workshop(guest)
        assert [m.target for m in guest.mounts() if m.target.startswith("/mnt")] == ["/mnt", "/mnt/a"]
        assert guest.ask("ls /mnt")["entries"].keys() == guest.ask("ls /run")["entries"].keys()


def test_real_init_by_name(kernel, plain_root, boot):
    def change(tree):
        tree["/bin/real"] = Link("/bin/probe", 100000, 100000)

    initrd, root = plain_root(kernel, change=change)
    append = f"root=/dev/vda init={INIT} idmap.init=/bin/real idmap=100000:0:65536 -- x"
    with boot(kernel, initrd, append, [root]) as guest:
        assert guest.report()["argv"] == ["/bin/real", "x"]


@pytest.mark.parametrize("kernel", ["6.1", "newest"], indirect=True)
def test_apply_after_the_boot(kernel, plain_root, image, boot):
    """What stands since the boot is not done a second time, over what has been written meanwhile."""
    conf = ("upper /srv overlay\n/images/app /srv bind lower,idmap=100000:0:65536\n/dev/vdb /srv ext4 upper\n"
            "t /mnt tmpfs\n/images/app /opt/app bind idmap=100000:7:1,101000:8:1\n")

    initrd, root = plain_root(kernel, conf, modules=["overlay", "ext4"])
    state = Disk(image({"/": Dir(0, 0)}, "ext4"), readonly=False, snapshot=True)
    with boot(kernel, initrd, f"root=/dev/vda init={INIT}", [root, state]) as guest:
        assert guest.ask("write /mnt/kept new") == {"written": 3}
        before = guest.mounts()
        done = guest.ask("run", "0", "0", "/bin/idmap", "apply")
        assert (done["exit"], done["stderr"]) == (0, "idmap apply: the rows stand in / already, nothing is changed\n")
        guest.ask("write", "/run/tab", "t /mnt tmpfs\nu /tmp tmpfs\n")
        done = guest.ask("run", "0", "0", "/bin/idmap", "apply", "-c", "/run/tab")
        assert (done["exit"], done["stderr"]) == (
            1, "idmap apply: /run/tab:1: t on /mnt: this row stands there already, since the boot or by another idmap; leave"
               " out what stands, or unmount it first\n")
        assert guest.mounts() == before and "kept" in guest.ask("ls /mnt")["entries"]
        # What somebody has put there instead, without the map, is not the row.
        guest.run("/bin/umount", "/opt/app")
        guest.run("/bin/mount", "--bind", "/images/app", "/opt/app")
        guest.ask("write", "/run/tab", "/images/app /opt/app bind idmap=100000:7:1,101000:8:1\n")
        done = guest.ask("run", "0", "0", "/bin/idmap", "apply", "-c", "/run/tab")
        assert (done["exit"], done["stderr"]) == (0, "") and seen(guest, "/opt/app/data") == (8, 8)


@pytest.mark.parametrize("kernel", ["6.1", "newest"], indirect=True)
def test_apply_of_other_rows_after_the_boot(kernel, plain_root, image, boot):
    """A row of the same SOURCE and map is another one where it shows another folder, has other layers or options, or where
    somebody has put another filesystem there since."""
    conf = ("/dev/vdb /srv erofs X-mount.subdir=a,idmap=5000:0:100\n"
            "none /opt overlay\n/dev/vdb /opt erofs lower,X-mount.subdir=a,idmap=5000:0:100\n/dev/vdb /mnt erofs\n")

    tree = {"/": Dir(5000, 5000), **{path: node for name in "ab" for path, node in (
        (f"/{name}", Dir(5000, 5000)), (f"/{name}/{name}", File(f"{name}\n", 5007, 5007)))}}
    initrd, root = plain_root(kernel, conf, modules=["overlay"])
    with boot(kernel, initrd, f"root=/dev/vda init={INIT}", [root, Disk(image(tree, "erofs"))]) as guest:
        def apply(table):
            guest.ask("write", "/run/tab", table)
            done = guest.ask("run", "0", "0", "/bin/idmap", "apply", "-c", "/run/tab")
            assert done["exit"] == 0
            taken = not done["stderr"]
            if taken:
                guest.ask("run", "0", "0", "/bin/idmap", "undo")
            return taken

        assert not apply(conf)
        assert not apply(conf.replace("idmap=", "nofail,wait=3,idmap=", 1))
        assert apply("/dev/vdb /srv erofs noexec,X-mount.subdir=a,idmap=5000:0:100\n")
        assert apply("none /opt overlay\n/dev/vdb /opt erofs lower,X-mount.subdir=a,idmap=5000:50:100\n")
        assert apply("/dev/vdb /mnt erofs X-mount.subdir=b\n")
        guest.run("/bin/umount", "/mnt")
        guest.run("/bin/mount", "-t", "tmpfs", "other", "/mnt")
        assert apply("/dev/vdb /mnt erofs\n")
        guest.ask("write", "/run/tab", "/dev/vdb /srv erofs X-mount.subdir=b,idmap=5000:0:100\n"
                  "none /opt overlay\n/dev/vdb /opt erofs lower,X-mount.subdir=b,idmap=5000:0:100\n")
        assert guest.ask("run", "0", "0", "/bin/idmap", "apply", "-c", "/run/tab")["stderr"] == ""
        assert seen(guest, "/srv/b") == (7, 7) == seen(guest, "/opt/b")


@pytest.mark.parametrize("kernel", ["6.1", "newest"], indirect=True)
def test_apply_of_rows_that_say_otherwise(kernel, plain_root, image, boot):
    """What a row has found does not make another one of it, and what it has said does, also where that took something away.
    A bind of what is mapped is so, too."""
    rows = ("/dev/vdb /srv ext4 idmap=5000:0:100\nt /tmp tmpfs ro,mode=755\n"
            "/tmp /mnt bind rw\n/images/app /opt/app bind noexec\n")

    initrd, root = plain_root(kernel, "/dev/root / auto rw,idmap=100000:0:65536\n" + rows, modules=["ext4"])
    disk = Disk(image({"/": Dir(5000, 5000)}, "ext4"), readonly=False, snapshot=True)
    with boot(kernel, initrd, f"root=/dev/vda rw init={INIT}", [root, disk]) as guest:
        def apply(table):
            guest.ask("write", "/run/tab", table)
            done = guest.ask("run", "0", "0", "/bin/idmap", "apply", "-c", "/run/tab")
            return done["exit"], done["stderr"].removeprefix("idmap apply: ").removesuffix("\n")

        stand = (0, "the rows stand in / already, nothing is changed")
        before = guest.mounts()
        assert apply(rows) == stand and apply("/images/app /opt/app bind noexec\n") == stand and apply("/tmp /mnt bind rw\n") == stand
        assert guest.mounts() == before
        code, line = apply("/dev/vdb /srv ext4 rw,idmap=5000:0:100\n")
        assert code == 4 and "ro, and this row is rw" in line, line
        for row in ("t /tmp tmpfs mode=755\n", "/images/app /opt/app bind exec\n", "/tmp /mnt bind\n"):
            assert apply(row) == (0, ""), row
            assert guest.ask("run", "0", "0", "/bin/idmap", "undo")["exit"] == 0


@pytest.mark.parametrize("kernel", ["6.1", "newest"], indirect=True)
def test_apply_where_others_have_mounted_since(kernel, plain_root, image, boot):
    """What looks like the boot's row by its type, source and lack of a map is not that mount."""
    conf = "/images/app /opt/app bind\n/dev/vdb /srv ext4 ro,X-mount.subdir=deep,noexec\n/dev/vdc /mnt ext4 nodev\n"

    initrd, root = plain_root(kernel, conf, modules=["ext4"])
    disks = [Disk(image({"/": Dir(), "/deep": Dir(), "/deep/in": File("")}, "ext4"), readonly=False, snapshot=True) for _ in range(2)]
    with boot(kernel, initrd, f"root=/dev/vda init={INIT}", [root, *disks]) as guest:
        def apply():
            return guest.ask("run", "0", "0", "/bin/idmap", "apply")

        stood = {mount.target: mount for mount in guest.mounts()}
        assert apply()["stderr"] == "idmap apply: the rows stand in / already, nothing is changed\n"
        for target, *words in (("/opt/app", "-t", "tmpfs", "theirs"), ("/opt/app", "--bind", "/home"),
                               ("/srv", "-t", "ext4", "-o", "rw", "/dev/vdb"),
                               *([("/mnt", "-t", "ext4", "-o", "rw,dev", "/dev/vdc")] if kernel.name != "6.1" else [])):
            guest.run("/bin/umount", target)
            guest.run("/bin/mount", *words, target)
            done = apply()
            # Of the others' rows each stands, so the table is no new one.
            assert done["exit"] == 1 and "this row stands there already" in done["stderr"], target
            row, = [line for line in conf.splitlines() if f" {target} " in line]
            guest.ask("write", "/run/tab", row + "\n")
            done = guest.ask("run", "0", "0", "/bin/idmap", "apply", "-c", "/run/tab")
            if "rw" in words or "rw,dev" in words:  # one disk is written to or it is not
                assert done["exit"] == 4 and "already, rw, and this row is ro" in done["stderr"], target
            else:
                assert (done["exit"], done["stderr"]) == (0, ""), target
                is_now = [mount for mount in guest.mounts() if mount.target == target][-1]
                assert (is_now.root, is_now.options) == (stood[target].root, stood[target].options)
                guest.run("/bin/idmap", "undo")
            guest.run("/bin/umount", target)
            guest.run("/bin/idmap", "mount", *row.split()[:2], "-t", row.split()[2], "-o", (row.split() + ["defaults"])[3])
            assert apply()["stderr"] == "idmap apply: the rows stand in / already, nothing is changed\n"


@pytest.mark.parametrize("kernel", ["6.1", "newest"], indirect=True)
def test_two_overlays_on_one_top(kernel, plain_root, image, boot):
    """One in the work folder of the other: the kernel takes that, and its log alone tells."""
    conf = ("upper /srv overlay\n/images/app /srv bind lower,idmap=100000:0:65536\n"
            "/dev/vdb /srv ext4 upper,X-mount.subdir=a/work\n"
            "upper /mnt overlay\n/images/app /mnt bind lower,idmap=100000:0:65536\n"
            "/dev/vdb /mnt ext4 upper,X-mount.subdir=a\n")
    initrd, root = plain_root(kernel, conf, modules=["overlay", "ext4"])
    state = image({"/": Dir(0, 0), "/a": Dir(0, 0), "/a/work": Dir(0, 0)}, "ext4")
    with boot(kernel, initrd, f"root=/dev/vda init={INIT}", [root, Disk(state, readonly=False, snapshot=True)]) as guest:
        told = [line for line in log_lines(guest) if "another overlay writes to the same upper or work" in line]
        assert len(told) == 1, log_lines(guest)


def test_image_that_is_mounted_rw(kernel, stage0, plain_tree, image, boot_fails):
    """A second loop device of it would show what was in it before, as mount(8) knows, too."""
    tree = plain_tree("/mnt/im /srv ext4\n")
    tree["/images/im"] = File(image({"/": Dir(0, 0), "/d": Dir(0, 0)}, "ext4").read_bytes(), 0, 0)
    then = ("mount -t tmpfs t /root/mnt; cp /root/images/im /root/mnt/im; mount -t ext4 -o loop /root/mnt/im /root/home;"
            " rmdir /root/home/d")
    line, code = last_words(boot_fails(kernel, stage0(kernel, modules=["loop", "ext4"], then=then),
                                       f"root=/dev/vda init={INIT}", [Disk(image(tree, "erofs"))]))
    assert (line, code) == (PRE + "/etc/idmap.conf:1: /mnt/im on /srv: the image file is mounted on /home already, rw; name"
                            " /dev/loop0 as SOURCE, or unmount it first", "0x00000400")


@pytest.mark.parametrize("other", [None, b"#!/bin/sh\necho the wrong one >/dev/console\n"], ids=["none", "another"])
def test_init_is_what_the_kernel_started(other, kernel, plain_root, root_tree, boot):
    """init= has named idmap-init in the root that the kernel booted: it says nothing of the new root, which has no such file
    or another one."""
    def change(tree):
        guest = {f"/guest{path}".rstrip("/"): node for path, node in root_tree().items()}
        if other:
            guest[f"/guest{INIT}"] = File(other, 100000, 100000, 0o755)
        tree.update({"/guest": Dir(100000, 100000), **guest})

    initrd, root = plain_root(kernel, "/dev/root / auto X-mount.subdir=guest,idmap=100000:0:65536\n", change=change)
    with boot(kernel, initrd, f"root=/dev/vda init={INIT}", [root]) as guest:
        assert guest.report()["argv"] == ["/sbin/init"]
        assert seen(guest, "/owners/user") == (1000, 1000)


def test_disk_of_the_root_in_the_other_state(kernel, stage0, plain_tree, image, boot_fails):
    """The root holds it, which cannot be let go."""
    conf = "/dev/vda /srv ext4 X-mount.subdir=etc\n"
    disk = Disk(image(plain_tree(conf), "ext4"), readonly=False, snapshot=True)
    line, code = last_words(boot_fails(kernel, stage0(kernel, "ext4", "rw"), f"root=/dev/vda rw init={INIT}", [disk]))
    assert line.startswith(PRE + "/etc/idmap.conf:1: /dev/vda on /srv: ext4 does not mount (busy; ") and code == "0x00000400"
    assert line.endswith("); it is mounted on / already, rw, and this row is ro: say rw here, too")


def test_exec_loop(kernel, plain_root, boot_fails):
    """idmap.init= that names us; and a usual init that is a link to us is passed over."""
    def change(tree):
        tree["/sbin/init"] = Link("idmap-init", 100000, 100000)
        tree["/etc/init"] = Link("/sbin/idmap-init", 100000, 100000)
        tree["/bin/init"] = Dir(100000, 100000)
        del tree["/bin/sh"]

    initrd, root = plain_root(kernel, change=change)
    console = boot_fails(kernel, initrd, f"quiet root=/dev/vda init={INIT} idmap.init=/etc/init",
                         [root])
    assert last_words(console)[0] == (
        PRE + "cmdline: idmap.init=/etc/init: that is idmap-init itself and would start for ever; name"
        " the real init with idmap.init=")
    console = boot_fails(kernel, initrd, f"quiet root=/dev/vda init={INIT}", [root])
    assert PRE + "/sbin/init of the new root is passed over (idmap-init itself)" in console
    assert PRE + "/etc/init of the new root is passed over (idmap-init itself)" in console
    assert PRE + "/bin/init of the new root is passed over (a folder)" in console
    assert last_words(console)[1] == "0x00000700"


@pytest.mark.parametrize("kernel", KERNELS, indirect=True)
def test_exec_loop_from_initramfs(kernel, programs, root_tree, image, initramfs, boot_fails):
    tree = root_tree()
    tree["/sbin/again"] = File(programs.init, 100000, 100000, 0o755)
    console = boot_fails(kernel, initramfs(kernel), "quiet root=/dev/vda rootfstype=erofs"
                         " init=/sbin/again idmap=100000:0:65536", [Disk(image(tree, "erofs"))])
    assert last_words(console) == (
        PRE + "cmdline: init=/sbin/again: that is idmap-init itself and would start for ever; name the"
        " real init with idmap.init=", "0x00000700")


@pytest.fixture
def whole_initramfs(programs, initramfs, tmp_path):
    """whole_initramfs(kernel, conf): a system that is all in its initramfs, the probe its /sbin/init
    and, for idmap.onfail=shell, its /bin/sh."""

    def make(kernel, conf=None, init="/sbin/init"):
        for folder in ("srv", "a/b", "c"):
            (tmp_path / "tree" / folder).mkdir(parents=True, exist_ok=True)
        (tmp_path / "tree/file").write_text("of the initramfs\n")
        return initramfs(kernel, conf, add=[(programs.probe, init), (programs.probe, "/bin/sh"),
                                            (tmp_path / "tree", "/")])

    return make


@pytest.mark.parametrize("kernel", KERNELS, indirect=True)
def test_all_in_initramfs(kernel, whole_initramfs, second, boot):
    conf = "/dev/vda /srv erofs idmap=5000:0:10\n/a /c bind\n/dev/vda /a/b erofs\n"
    with boot(kernel, whole_initramfs(kernel, conf), "", [Disk(second())]) as guest:
        assert guest.report()["argv"] == ["/sbin/init"]
        assert seen(guest, "/srv/file") == (7, 7)
        assert seen(guest, "/a/b/file") == (5007, 5007)
        assert options(guest, "/c")[1] >= {"ro", "nosuid", "nodev"}
        assert guest.ask("read /file")["content"] == "of the initramfs\n"
        assert guest.ask("stat /")["mode"] == 0o755
        assert not [m for m in guest.mounts() if ".idmap" in m.target]


FIVE = ("/dev/vda /srv erofs idmap=5000:0:10\n"
        "/dev/vda /a erofs\n"
        "/a /c bind\n"
        "t /mnt tmpfs X-mount.mkdir\n"
        "t /no/such tmpfs\n")


@pytest.mark.every_kernel
@pytest.mark.parametrize("kernel", KERNELS, indirect=True)
def test_all_or_nothing_in_place(kernel, whole_initramfs, second, boot):
    """A bad last row of five leaves none of the five; the shell that looks is the probe."""
    initrd = whole_initramfs(kernel, FIVE)
    with boot(kernel, initrd, "idmap.onfail=shell", [Disk(second())]) as guest:
        assert guest.report()["argv"] == ["/bin/sh"]
        assert sorted(m.target for m in guest.mounts() if m.target != "/") == [
            "/dev", "/proc", "/run", "/sys"]
        assert guest.ask("ls /srv")["entries"] == {}
        assert log_lines(guest)[-1] == (
            PRE + "/etc/idmap.conf:5: t on /no/such: the target cannot be used in the new root (not there); make it in the"
            " image, or add X-mount.mkdir where that can be written, or name a root with root= or a row for /")


@pytest.mark.every_kernel
@pytest.mark.parametrize("kernel", KERNELS, indirect=True)
def test_all_or_nothing_new_root(kernel, whole_initramfs, second, boot):
    """The same for a new root: the stage is gone, the disk can be mounted again."""
    initrd = whole_initramfs(kernel, "/dev/vda / erofs idmap=5000:0:10\n" +
                             "t /deep tmpfs\n/deep/x /file bind\n")
    with boot(kernel, initrd, "idmap.onfail=shell", [Disk(second())]) as guest:
        assert guest.report()["argv"] == ["/bin/sh"]
        assert sorted(m.target for m in guest.mounts() if m.target != "/") == [
            "/dev", "/proc", "/run", "/sys"]
        assert guest.ask("read /file")["content"] == "of the initramfs\n"
        assert guest.ask("stat /run/idmap") == {"error": "ENOENT"}
