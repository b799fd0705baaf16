# SPDX-License-Identifier: MIT
"""Tables and images that are odd, or a stranger's: what is seen is what was named, with the attributes
that it has, or there is an error; and what was there before stays as it was."""

from __future__ import annotations

import pytest

from common import EVERY, INIT, PRE, ROOT, last_words, log_lines, options, seen
from guest import Disk
from images import Dir, File, Link, Node, debugfs

OWN = {"uid": 100000, "gid": 100000}
TWO = pytest.mark.parametrize("kernel", ["6.1", "newest"], indirect=True)
OVERLAY = "virtio_pci,virtio_blk,erofs,ext4,overlay"
MAPPED = "100000:0:65536"


# ---- links of a stranger ----


@TWO
@pytest.mark.parametrize("target", ["/run", "/run/idmap"])
def test_table_through_a_link(target, stage0, plain_tree, kernel, image, boot):
    """What PID 1 writes goes where it is meant to go, whatever a row has put there."""
    mkdir = ",X-mount.mkdir" if target == "/run/idmap" else ""
    name = "/table" if mkdir else "/idmap/table"
    stranger = {"/": Dir(5000, 5000), name: Link("/etc/passwd", 5000, 5000)}
    tree = plain_tree(f"/dev/vdb {target} erofs idmap=5000:1000:10{mkdir}\n")
    disks = [Disk(image(tree, "ext4"), readonly=False, snapshot=True), Disk(image(stranger, "erofs"))]
    with boot(kernel, stage0(kernel, "ext4", "rw", modules=["erofs"]), f"root=/dev/vda init={INIT}", disks) as guest:
        assert guest.ask("read /etc/passwd")["content"].startswith("root:x:0:0")
        assert any("/run/idmap/table cannot be written" in line for line in log_lines(guest))


@TWO
def test_links_while_something_is_renamed(stage0, plain_tree, programs, kernel, image, boot):
    """The kernel gives up on .. then (EAGAIN): that is neither "not there" nor "cannot be run"."""
    tree = plain_tree("")
    for name, program in (("renames", programs.renames), ("idmap", programs.command)):
        tree[f"/bin/{name}"] = File(program, **OWN, mode=0o755)
    tree["/lib"], tree["/lib/init"] = Dir(**OWN), tree["/sbin/init"]
    tree["/sbin/init"] = Link("../lib/init", **OWN)
    data = {"/": Dir(5000, 5000), "/a": Dir(5000, 5000), "/a/l": Link("../b", 5000, 5000), "/b": Dir(5000, 5000),
            "/b/x": File("x", 5000, 5000)}
    initrd = stage0(kernel, then="/root/bin/renames /root/dev & while ! ls /root/dev/renames.?; do :; done")
    disks = [Disk(image(tree, "erofs")), Disk(image(data, "erofs"))]
    with boot(kernel, initrd, f"root=/dev/vda init={INIT} idmap.init=/sbin/init", disks, smp=2) as guest:
        mount = "idmap mount /dev/vdb /mnt -t erofs -o X-mount.subdir=a/l,idmap=5000:1000:1"
        said = guest.run("/bin/sh", "-c", f"for i in $(seq 40); do {mount} && ls -n /mnt && umount /mnt; done 2>&1")
        assert said.count("1000     1000") == 40, said[:500]
        assert "renames /root/dev" in guest.run("/bin/ps")


@TWO
def test_image_behind_a_row_in_place(stage0, plain_tree, kernel, image, second, boot, boot_fails):
    """A SOURCE by its path is one of the root that the rows make, and a stranger's link decides nothing."""
    secret = image({"/": Dir(0, 0), "/secret": File("secret", 5, 5)}, "erofs")
    own = image({"/": Dir(0, 0), "/own": File("x", 5, 5)}, "erofs")
    conf = "/dev/vdb /mnt erofs\n/mnt/app.erofs /srv erofs\n/mnt/app.erofs /home erofs\n"
    tree = plain_tree(conf)
    tree["/etc/secret.erofs"] = File(secret, **OWN)
    tree["/mnt/app.erofs"] = File(second(), **OWN)
    append = f"root=/dev/vda init={INIT}"
    there = image({"/": Dir(5000, 5000), "/app.erofs": File(own, 5000, 5000)}, "erofs")
    with boot(kernel, stage0(kernel, modules=["loop"]), append, [Disk(image(tree, "erofs")), Disk(there)]) as guest:
        for folder in ("/srv", "/home"):
            assert guest.ask(f"ls {folder}")["entries"].keys() == {"own"}
    link = image({"/": Dir(5000, 5000), "/app.erofs": Link("/etc/secret.erofs", 5000, 5000)}, "erofs")
    line, code = last_words(boot_fails(kernel, stage0(kernel, modules=["loop"]), append,
                                       [Disk(image(tree, "erofs")), Disk(link)]))
    assert "there is a link in its way, in the tree of the row for /mnt" in line and code == "0x00000200"


@TWO
@pytest.mark.parametrize("more", ["", "t /lib/x tmpfs X-mount.mkdir,nofail\n"])
def test_skipped_row_behind_a_link(more, kernel, root_tree, image, initramfs, boot_fails, boot):
    """Rows on it, and binds from it, are known by where the link leads."""
    tree = root_tree()
    tree["/lib"] = Link("usr/lib", **OWN)
    for path in ("/usr", "/usr/lib", "/usr/lib/data", "/usr/lib/data/keys", "/usr/lib/data/sub", "/usr/lib/x"):
        tree[path] = Dir(**OWN)
    tree["/usr/lib/data/keys/stale"] = File("x", **OWN)
    conf = ROOT + "/dev/vdz /lib/data erofs nofail,wait=0\nt /usr/lib/data/sub tmpfs\n" + more
    disks = [Disk(image(tree, "erofs"))]
    with boot(kernel, initramfs(kernel, conf), "", disks) as guest:
        assert not [m for m in guest.mounts() if m.target.startswith("/usr/lib/data")]
    conf += "/usr/lib/data/keys /opt/app bind idmap=100000:5:1\n"
    line, _ = last_words(boot_fails(kernel, initramfs(kernel, conf), "quiet", disks))
    assert line.endswith("the row for /usr/lib/data, which /usr/lib/data/keys lies on, is absent; say nofail here,"
                         " too")


# ---- a shared root ----

SHARED = ("mount -t proc proc /root/proc; mount -t sysfs sys /root/sys; mount -t tmpfs run /root/run;"
          " mkdir /root/run/lock; mount -t tmpfs lock /root/run/lock; mount --make-rshared /root")


@TWO
def test_shared_in_place(stage0, plain_tree, kernel, image, second, boot):
    """What the views are made of goes without taking its peers along."""
    tree = plain_tree("/dev/vdb /mnt erofs\n/mnt/deep /opt/app bind idmap=5000:7:10\n")
    disks = [Disk(image(tree, "erofs")), Disk(second())]
    with boot(kernel, stage0(kernel, then=SHARED), f"root=/dev/vda init={INIT}", disks) as guest:
        assert {m.target for m in guest.mounts()} >= {"/", "/dev", "/proc", "/sys", "/run", "/run/lock", "/mnt",
                                                     "/opt/app"}
        assert not [m for m in guest.mounts() if ".idmap" in m.target]
        assert seen(guest, "/opt/app/er") == (7, 7)


@TWO
def test_row_on_proc_in_place(stage0, plain_tree, kernel, image, boot_fails):
    """What comes after it would be neither mapped nor told."""
    tree = plain_tree("t /proc tmpfs rw\n")
    console = boot_fails(kernel, stage0(kernel), f"root=/dev/vda init={INIT}", [Disk(image(tree, "erofs"))])
    assert last_words(console) == (PRE + "/etc/idmap.conf:1:3: that would cover /proc, by way of which rows are mounted;"
                                   " name another folder", "0x00000200")


# ---- attributes ----


@pytest.mark.parametrize("kernel", EVERY, indirect=True)
def test_bind_of_a_bind(kernel, root_tree, image, initramfs, boot):
    conf = ("/dev/vda / ext4 rw,idmap=100000:0:65536\n"
            "/images/app /opt/app bind noexec,nosymfollow,noatime\n"
            "/opt/app /mnt bind rw,suid,dev,exec,idmap=100000:0:65536\n"
            "/opt /srv rbind rw,suid,dev\n")
    with boot(kernel, initramfs(kernel, conf), "",
              [Disk(image(root_tree(), "ext4"), readonly=False, snapshot=True)]) as guest:
        kept = {"ro", "nosuid", "nodev", "noexec", "noatime", "nosymfollow"}
        for target in ("/opt/app", "/mnt", "/srv/app"):
            assert options(guest, target)[1] == kept | {"idmapped"}
        assert guest.ask("run 0 0 /mnt/run") == {"error": "EACCES"}


@TWO
def test_attributes_of_a_booted_root(stage0, plain_tree, kernel, image, boot):
    initrd = stage0(kernel, mount="ro,nodev,nosuid,noatime,nodiratime,nosymfollow")
    with boot(kernel, initrd, f"root=/dev/vda ro init={INIT} idmap={MAPPED}",
              [Disk(image(plain_tree(), "erofs"))]) as guest:
        assert options(guest, "/")[1] == {"ro", "nosuid", "nodev", "noatime", "nodiratime", "nosymfollow",
                                          "idmapped"}


@TWO
def test_own_root_and_bind(stage0, plain_tree, kernel, image, boot):
    """A bind keeps what the row of the booted root says."""
    conf = f"/dev/root / auto nosuid,nodev,idmap={MAPPED}\n/bin /srv bind suid,dev,idmap={MAPPED}\n"
    with boot(kernel, stage0(kernel), f"root=/dev/vda ro init={INIT}",
              [Disk(image(plain_tree(conf), "erofs"))]) as guest:
        assert {"nosuid", "nodev"} <= options(guest, "/srv")[1]
        assert guest.run("/srv/suid", uid=1000, gid=1000) == "1000 1000 1000 1000\n"


@TWO
def test_other_mounts_of_a_booted_root(stage0, plain_tree, kernel, image, second, boot):
    """With a map for / they come along, as they are."""
    initrd = stage0(kernel, then="mount -t erofs -o ro /root/dev/vdb /root/srv; mount -t tmpfs x /root/tmp;"
                         " mkdir '/root/tmp/a b'; mount -t tmpfs y '/root/tmp/a b'")
    with boot(kernel, initrd, f"root=/dev/vda init={INIT} idmap={MAPPED}",
              [Disk(image(plain_tree(), "erofs")), Disk(second())]) as guest:
        assert seen(guest, "/owners/user") == (1000, 1000)
        assert seen(guest, "/srv/file") == (5007, 5007)
        assert {m.target for m in guest.mounts()} >= {"/srv", "/tmp", "/tmp/a b", "/dev", "/run"}


def test_read_only_in_spite_of_rw(kernel, root_tree, image, second, initramfs, boot):
    conf = ROOT + "/dev/vdb /srv erofs rw,idmap=5000:0:10\n"
    with boot(kernel, initramfs(kernel, conf), "", [Disk(image(root_tree(), "erofs")), Disk(second())]) as guest:
        assert PRE + "/dev/vdb is read-only, so it is ro on /srv, and not rw" in log_lines(guest)
        assert "/dev/vdb /srv erofs ro," in guest.ask("read /run/idmap/table")["content"]


@pytest.mark.parametrize("kernel", EVERY, indirect=True)
def test_two_rw_rows_of_a_read_only_disk(kernel, root_tree, image, initramfs, boot):
    conf = ROOT + "/dev/vdb /srv ext4 rw\n/dev/vdb /mnt ext4 rw\n"
    disks = [Disk(image(root_tree(), "erofs")), Disk(image({"/": Dir(0, 0)}, "ext4"))]
    with boot(kernel, initramfs(kernel, conf), "", disks) as guest:
        assert {line for line in log_lines(guest) if "read-only" in line} == {
            PRE + f"/dev/vdb is read-only, so it is ro on {target}, and not rw" for target in ("/srv", "/mnt")}


@pytest.mark.parametrize("kernel", EVERY, indirect=True)
@pytest.mark.parametrize("own", [False, True], ids=["disk", "root"])
def test_ro_rows_and_a_rw_one_of_a_read_only_disk(own, kernel, root_tree, image, initramfs, boot):
    """The first ro one is tried as one that is written to elsewhere, and finds that it is not; the others go by that."""
    disk = Disk(image(root_tree() if own else {"/": Dir(0, 0)}, "ext4"))
    rows = ("/dev/vda / ext4 ro,idmap=100000:0:65536\n/dev/vda /home ext4 ro,X-mount.subdir=opt\n/dev/vda /srv ext4 rw,X-mount.subdir=opt\n"
            if own else ROOT + "/dev/vdb /home ext4 ro\n/dev/vdb /mnt ext4 ro\n/dev/vdb /srv ext4 rw\n")
    with boot(kernel, initramfs(kernel, rows), "", [disk] if own else [Disk(image(root_tree(), "erofs")), disk]) as guest:
        assert [line for line in log_lines(guest) if "read-only" in line] == [
            PRE + f"/dev/vd{'a' if own else 'b'} is read-only, so it is ro on /srv, and not rw"]
        assert {"/home", "/srv"} <= {m.target for m in guest.mounts() if "ro" in m.options}


# ---- all or nothing ----


@TWO
def test_only_what_was_made_is_unmade(kernel, root_tree, image, programs, initramfs, boot, tmp_path):
    """A folder that X-mount.mkdir made in another row's tree, and one of that name in the root."""
    tree = root_tree()
    tree["/srv/new"] = Dir(**OWN)
    tree["/zlib"] = Link("opt", **OWN)
    root, data = tmp_path / "root", tmp_path / "data"
    root.write_bytes(image(tree, "ext4").read_bytes())
    data.write_bytes(image({"/": Dir(0, 0)}, "ext4").read_bytes())
    disks = [Disk(root, readonly=False), Disk(data, readonly=False)]
    base = f"/dev/vda / ext4 rw,idmap={MAPPED}\n"
    conf = base + "/dev/vdb /srv ext4 rw\nt /srv/new tmpfs X-mount.mkdir\n"
    with boot(kernel, initramfs(kernel, conf + "t /xx/no tmpfs\n", add=[(programs.probe, "/bin/sh")]),
              "idmap.onfail=shell", disks) as guest:
        assert guest.report()["argv"] == ["/bin/sh"]
        guest.poweroff()
    look = initramfs(kernel, base + "/dev/vdb /mnt ext4 rw\n")
    with boot(kernel, look, "", disks) as guest:
        assert "new" in guest.ask("ls /srv")["entries"] and "new" not in guest.ask("ls /mnt")["entries"]
        guest.poweroff()
    # Where links are followed all of it is taken down once, in a boot that succeeds.
    with boot(kernel, initramfs(kernel, conf + "t /zlib/app tmpfs\n"), "", disks) as guest:
        assert {"/srv/new", "/opt/app"} <= {m.target for m in guest.mounts()}
        guest.poweroff()
    with boot(kernel, look, "", disks) as guest:
        assert "new" in guest.ask("ls /srv")["entries"] and "new" in guest.ask("ls /mnt")["entries"]


@TWO
def test_upper_of_a_boot_that_failed(kernel, root_tree, image, initramfs, boot, boot_fails, tmp_path):
    """The corrected boot finds no upper that has not got its looks."""
    top = tmp_path / "top"
    top.write_bytes(image({"/": Dir(300000, 300000)}, "ext4").read_bytes())
    tree = root_tree()
    tree["/"] = Dir(101000, 101000, 0o755)
    conf = "upper / overlay\n/dev/vda / erofs lower,idmap=100000:0:65536\n/dev/vdb / ext4 upper,idmap=300000:0:"
    disks = [Disk(image(tree, "erofs")), Disk(top, readonly=False)]
    line, _ = last_words(boot_fails(kernel, initramfs(kernel, conf + "1000\n", modules=OVERLAY), "quiet", disks))
    assert "the folders upper and work cannot be made in the top" in line
    with boot(kernel, initramfs(kernel, conf + "65536\n", modules=OVERLAY), "", disks) as guest:
        entry = guest.ask("stat /")
        assert (entry["uid"], entry["gid"], entry["mode"] & 0o7777) == (1000, 1000, 0o755)


@TWO
def test_upper_of_a_boot_without_an_init(kernel, root_tree, image, initramfs, boot, boot_fails, tmp_path):
    """Nothing of it stays: neither a folder with the looks of a wrong map, nor the mark of a volatile one."""
    top = tmp_path / "top"
    top.write_bytes(image({"/": Dir()}, "ext4").read_bytes())
    conf = "upper / overlay volatile\n/dev/vda / erofs lower,idmap={}:0:65536\n/dev/vdb / ext4 upper\n"
    disks = [Disk(image(root_tree(), "erofs")), Disk(top, readonly=False)]
    line, code = last_words(boot_fails(kernel, initramfs(kernel, conf.format(1000), modules=OVERLAY), "init=/no", disks))
    assert "init=/no: it cannot be run" in line and code == "0x00000700"
    with boot(kernel, initramfs(kernel, conf.format(100000), modules=OVERLAY), "", disks) as guest:
        assert seen(guest, "/") == (0, 0) and not [line for line in log_lines(guest) if "nobody" in line or "65534" in line]


@TWO
def test_upper_that_says_no_types(kernel, root_tree, image, initramfs, boot):
    """The kernel takes it, and tells in its log alone that nothing can be deleted."""
    top = image({"/": Dir()}, "ext4", args=("-O", "^filetype"))
    conf = ROOT + "upper /opt/app overlay\n/images/app /opt/app bind lower\n/dev/vdb /opt/app ext4 rw,upper\n"
    with boot(kernel, initramfs(kernel, conf, modules=OVERLAY), "quiet",
              [Disk(image(root_tree(), "erofs")), Disk(top, readonly=False, snapshot=True)]) as guest:
        line, = [line for line in log_lines(guest) if "do not say" in line]
        assert "upper on /opt/app: folders of the upper's filesystem do not say what is a file" in line
        assert "mkfs.ext4 -O filetype" in line


@pytest.mark.every_kernel
@TWO
def test_top_without_attributes(kernel, root_tree, image, initramfs, boot):
    """Before Linux 6.6 a tmpfs has none that userxattr asks for, and the kernel goes on."""
    conf = ROOT.replace("erofs ", "erofs lower,") + "tmpfs / overlay userxattr\n"
    with boot(kernel, initramfs(kernel, conf, modules=OVERLAY), "quiet", [Disk(image(root_tree(), "erofs"))]) as guest:
        said = [line for line in log_lines(guest) if "keeps no attributes" in line]
        deleted = guest.ask("run", "0", "0", "/bin/sh", "-c", "rm -r /home/user")["exit"] == 0
        assert (len(said), deleted) == ((1, False) if kernel.name == "6.1" else (0, True))
        assert all("tmpfs on /: the top keeps no attributes of overlayfs' own, so that no folder of a layer can be"
                   " deleted" in line and "take userxattr out, boot Linux 6.6 or newer" in line for line in said)


@TWO
def test_options_that_an_overlay_cannot_have(kernel, root_tree, image, second, initramfs, boot):
    """The kernel turns them off, and says so in its log alone."""
    conf = (ROOT + "tmpfs /srv overlay index=on,redirect_dir=on\n/dev/vdb /srv squashfs lower\n/dev/vdc /srv squashfs lower\n"
            "none /mnt overlay index=on\n/dev/vdb /mnt squashfs lower\n/dev/vdc /mnt squashfs lower\n"
            "tmpfs /tmp overlay index=on,xino=off\n/dev/vdb /tmp squashfs lower\n")
    disks = [Disk(image(root_tree(), "erofs")), Disk(second("squashfs")), Disk(image({"/": Dir()}, "squashfs"))]
    with boot(kernel, initramfs(kernel, conf, modules="virtio_pci,virtio_blk,erofs,squashfs,overlay"), "quiet", disks) as guest:
        said = [line for line in log_lines(guest) if "has no effect" in line]
        on = [m.target for m in guest.mounts() if "index=on" in m.super_options]
    assert on == ["/tmp"] and len(said) == 2, said
    assert "tmpfs on /srv: index=on has no effect with these layers (kernel: overlayfs: " in said[1]
    assert "falling back to " in said[1] and said[1].endswith("); take it out")
    assert 'none on /mnt: index=on has no effect with these layers (kernel: overlayfs: option "index=on" is useless' in said[0]


@TWO
@pytest.mark.parametrize("overlay,more", [("none", ""), ("upper", "/dev/vdd {} ext4 upper\n")], ids=["none", "upper"])
@pytest.mark.parametrize("writer,reader", [("/mnt", "/srv"), ("/srv", "/mnt")])
def test_layer_that_another_overlay_writes_to(writer, reader, overlay, more, kernel, root_tree, image, second, initramfs, boot):
    """Of the reader that comes first the kernel does not know."""
    conf = (ROOT + f"upper {writer} overlay\n/dev/vdb {writer} erofs lower\n/dev/vdc {writer} ext4 upper\n"
            f"{overlay} {reader} overlay\n/dev/vdb {reader} erofs lower\n"
            f"/dev/vdc {reader} ext4 lower,X-mount.subdir=upper\n{more.format(reader)}")
    tops = [Disk(image({"/": Dir(), "/upper": Dir(), "/work": Dir()}, "ext4"), readonly=False, snapshot=True)] * 2
    with boot(kernel, initramfs(kernel, conf, modules=OVERLAY), "quiet",
              [Disk(image(root_tree(), "erofs")), Disk(second("erofs")), *tops]) as guest:
        said = [line for line in log_lines(guest) if "another overlay" in line]
        assert said == [PRE + f"/etc/idmap.conf:5: {overlay} on {reader}: another overlay writes to what is a layer of this one,"
                        " which may show old and new at once; take a copy for the layer"]


@pytest.mark.every_kernel
@pytest.mark.parametrize("kernel", ["6.1", "6.12", "newest"], indirect=True)
def test_options_that_a_filesystem_goes_without(kernel, root_tree, image, second, initramfs, boot):
    """One says so by what it was mounted with, and nowhere else; another in the kernel's log."""
    conf = ROOT + "/dev/vdb /srv erofs dax\n/dev/vdc /mnt ext4 rw,discard\nt /tmp tmpfs size=1m\n"
    disks = [Disk(image(root_tree(), "erofs")), Disk(second("erofs")), Disk(second("ext4"), readonly=False, snapshot=True)]
    with boot(kernel, initramfs(kernel, conf), "quiet", disks, qemu_args=["-global", "virtio-blk-pci.discard=off"]) as guest:
        said = [line for line in log_lines(guest) if "though without all" in line]
        assert not [m for m in guest.mounts() if m.target == "/srv" and "dax" in ",".join(m.super_options)]
    assert len(said) == 2, said
    assert "/dev/vdc on /mnt: mounted, though without all that the row asks for (kernel: EXT4-fs (vdc): " in said[0]
    assert 'mounting with "discard" option, but the device does not support discard' in said[0]
    assert "/dev/vdb on /srv: mounted, though without" in said[1] and "DAX" in said[1]
    assert said[1].endswith("; take out what has no effect")


def test_upper_that_is_nobodys(kernel, root_tree, image, initramfs, boot):
    top = image({"/": Dir(), "/upper": Dir(65534, 65534), "/work": Dir()}, "ext4")
    conf = ROOT.replace("erofs ", "erofs lower,") + "upper / overlay\n/dev/vdb / ext4 upper\n"
    disks = [Disk(image(root_tree(), "erofs")), Disk(top, readonly=False, snapshot=True)]
    with boot(kernel, initramfs(kernel, conf, modules=OVERLAY), "", disks) as guest:
        assert seen(guest, "/") == (65534, 65534)
        assert (PRE + "/: the folder upper of /dev/vdb belongs to 65534 on disk, and so does the root folder here; give it to"
                " root, or delete it while nothing is in it") in log_lines(guest)


@TWO
def test_long_links(kernel, root_tree, image, initramfs, boot):
    """Paths that links lead to take all memory that was there at first."""
    folder = ("/" + "p" * 199) * 19
    tree = root_tree()
    for i in range(1, 20):
        tree["/".join(folder.split("/")[:i + 1])] = Dir(**OWN)
    tree["/l"] = Link(folder, **OWN)
    big = ("uidmap=" + ",".join(f"{100000000 + 2 * i}:{200000000 + 2 * i}:1" for i in range(180)) +
           ",gidmap=" + ",".join(f"{300000000 + 2 * i}:{400000000 + 2 * i}:1" for i in range(180)))
    conf = ROOT
    for i in range(135):
        tree[f"{folder}/{i:03}"] = Dir(**OWN)
        conf += f"/images/app /l/{i:03} bind {big}\n" if i > 115 else f"t /l/{i:03} tmpfs size=4k\n"
    with boot(kernel, initramfs(kernel, conf), "", [Disk(image(tree, "erofs"))]) as guest:
        assert len(guest.mounts()) == 135 + 5
        assert guest.ask("stat /run/idmap/table")["size"] > 135 * 3800


# ---- what comes along ----


def led_into_var(tree, name):
    """The tree with /NAME as a link into /var, as many a distribution has /run."""
    tree[f"/{name}"] = Link(f"var/{name}", **OWN)
    return tree


@TWO
@pytest.mark.parametrize("own", ["run", "dev"])
def test_what_comes_along_is_not_covered(own, kernel, root_tree, image, initramfs, boot):
    """/run is a link into a folder that a row covers; so does many a distribution have it."""
    tree = led_into_var(root_tree(), own)
    tree["/var/" + own] = Dir(**OWN)
    var = image({"/": Dir(5000, 5000), f"/{own}": Dir(5000, 5000), "/of-var": File("x", 5000, 5000)}, "erofs")
    conf = ROOT + f"/dev/vdb /var erofs idmap=5000:0:10\nt /{own}/x tmpfs X-mount.mkdir\n"
    with boot(kernel, initramfs(kernel, conf), "", [Disk(image(tree, "erofs")), Disk(var)]) as guest:
        assert {"/var", f"/var/{own}", f"/var/{own}/x"} <= {m.target for m in guest.mounts()}
        assert guest.ask("ls /var")["entries"].keys() == {own, "of-var"}
        assert "error" not in guest.ask({"run": "read /run/idmap/table", "dev": "stat /dev/console"}[own])


@TWO
def test_table_on_a_row(kernel, root_tree, image, initramfs, boot):
    with boot(kernel, initramfs(kernel, ROOT + "t /run tmpfs\n"), "", [Disk(image(root_tree(), "erofs"))]) as guest:
        assert "t /run tmpfs " in guest.ask("read /run/idmap/table")["content"]


# ---- layers ----


@TWO
def test_redirect_of_a_stranger(kernel, root_tree, image, initramfs, boot):
    """A layer says nothing of another one's folders."""
    own = (200000, 200000)
    patch = {"/": Dir(*own, 0o755, {"trusted.overlay.redirect": b"/etc"}),
             "/stolen": Dir(*own, 0o755, {"trusted.overlay.redirect": b"/root"}),
             "/meta": File("", *own, 0o644, {"trusted.overlay.metacopy": b"",
                                             "trusted.overlay.redirect": b"/etc/passwd"})}
    conf = ("tmpfs / overlay\n/dev/vda / erofs lower,idmap=100000:0:65536\n"
            "/dev/vdb / erofs lower,idmap=200000:0:65536\n")
    disks = [Disk(image(root_tree(), "erofs")), Disk(image(patch, "erofs"))]
    with boot(kernel, initramfs(kernel, conf, modules=OVERLAY), "", disks) as guest:
        assert guest.ask("ls /stolen").get("entries", {}) == {}
        assert "root:x" not in guest.ask("read /meta").get("content", "")


@TWO
def test_subdir_of_an_overlay(kernel, root_tree, image, initramfs, boot, second):
    conf = ROOT + ("none /srv overlay X-mount.subdir=deep\n/dev/vdb /srv erofs lower,idmap=5000:0:10\n"
                   "tmpfs /mnt overlay X-mount.subdir=deep\n/dev/vdb /mnt erofs lower,idmap=5000:0:10\n")
    with boot(kernel, initramfs(kernel, conf, modules=OVERLAY), "",
              [Disk(image(root_tree(), "erofs")), Disk(second())]) as guest:
        for folder in ("/srv", "/mnt"):
            assert guest.ask(f"ls {folder}")["entries"].keys() == {"er"}


@pytest.mark.parametrize("kernel", EVERY, indirect=True)
def test_map_on_a_bind_of_an_overlay(kernel, root_tree, image, initramfs, boot_fails):
    """DISK is an id on disk, or it is an error: on a kernel that could map an overlay, too."""
    conf = ("tmpfs / overlay\n/dev/vda / erofs lower,idmap=100000:0:65536\n"
            "/images/app /opt/app bind idmap=100000:7:1,identity\n")
    line, code = last_words(boot_fails(kernel, initramfs(kernel, conf, modules=OVERLAY), "quiet",
                                       [Disk(image(root_tree(), "erofs"))]))
    assert line == (PRE + "/etc/idmap.conf:3: /images/app on /opt/app: what it shows is an overlay, whose ids are"
                    " not those on disk; map the layers, and let this row go without")
    assert code == "0x00000500"


# ---- owners ----


def test_init_of_nobody_behind(kernel, root_tree, image, initramfs, boot):
    """In a layer, and in another row's tree."""
    tree = root_tree()
    tree["/sbin/init"] = File(tree["/sbin/init"].content, 5, 100000, 0o755)
    conf = "tmpfs / overlay\n/dev/vda / erofs lower,idmap=100000:0:65536\n"
    with boot(kernel, initramfs(kernel, conf, modules=OVERLAY), "quiet", [Disk(image(tree, "erofs"))]) as guest:
        assert PRE + ("/sbin/init of the new root has the uid 5 on disk, which the map leaves out: it is nobody's"
                      " (65534); did you mean 5:0:65536?") in log_lines(guest)
    usr = {"/": Dir(5000, 5000), "/init": File(tree["/sbin/init"].content, 7, 7, 0o755)}
    conf = ROOT + "/dev/vdb /srv erofs idmap=5000:0:10\n"
    with boot(kernel, initramfs(kernel, conf), "quiet init=/srv/init",
              [Disk(image(root_tree(), "erofs")), Disk(image(usr, "erofs"))]) as guest:
        assert PRE + ("/srv/init of the new root has the uid 7 on disk, which the map leaves out: it is nobody's"
                      " (65534); did you mean 7:0:10?") in log_lines(guest)


@pytest.mark.parametrize("kernel", ["6.12", "newest"], indirect=True)
def test_tmpfs_without_root(kernel, root_tree, image, initramfs, boot):
    with boot(kernel, initramfs(kernel, ROOT + "t /srv tmpfs idmap=1000:1000:1\n"), "quiet",
              [Disk(image(root_tree(), "erofs"))]) as guest:
        assert [line for line in log_lines(guest) if "seen as 0" in line] == [
            PRE + f"/etc/idmap.conf:2: t on /srv: it is rw, and no {kind} on disk is seen as 0: root cannot make a"
            " file there; add DISK:0:1" for kind in ("uid", "gid")]


# ---- found by a second look ----


@TWO
def test_subvolumes(kernel, root_tree, image, initramfs, tmp_path, boot, boot_fails):
    """Of one btrfs, each with its option: filesystems of their own, as far as a row goes."""
    tree = {"/": Dir(0, 0)}
    for path, entry in root_tree().items():
        tree["/@" + (path if path != "/" else "")] = entry
    tree["/@home"] = Dir(**OWN)
    tree["/@home/file"] = File("x", 101000, 101000)
    disk = image(tree, "btrfs")
    conf = ("/dev/vda / btrfs X-mount.subdir=@,subvolid=5,idmap=100000:0:65536\n"
            "/dev/vda /home btrfs X-mount.subdir=@home,subvolid=5,idmap=100000:0:65536\n")
    modules = "virtio_pci,virtio_blk,btrfs"
    with boot(kernel, initramfs(kernel, conf, modules=modules), "", [Disk(disk)]) as guest:
        assert seen(guest, "/home/file") == (1000, 1000)
    line, _ = last_words(boot_fails(kernel, initramfs(kernel, conf.rstrip() + ",compress=zstd\n", modules=modules),
                                    "quiet", [Disk(disk)]))
    assert "the row for / has the same filesystem with other options" in line


@TWO
def test_one_filesystem_with_two_options(kernel, root_tree, image, initramfs, boot_fails, boot):
    """Whatever name the rows have for it; the same options, wherever they are said, are no two."""
    data = Disk(image({"/": Dir(), "/file": File("x")}, "vfat"), serial="abc")
    disks = [Disk(image(root_tree(), "erofs")), data]
    modules = "virtio_pci,virtio_blk,erofs,vfat,nls_cp437,nls_iso8859-1,nls_ascii"
    conf = ROOT + "/dev/vdb /srv vfat uid=1000\nSERIAL=abc /mnt auto uid=2000\n"
    line, code = last_words(boot_fails(kernel, initramfs(kernel, conf, modules=modules), "quiet", disks))
    assert line.endswith(" has the same filesystem with other options, and it is mounted once only; write the same in"
                         " both") and code == "0x00000200"
    conf = ROOT + "/dev/vdb /srv vfat uid=1000\nSERIAL=abc /mnt auto uid=1000\nr /home ramfs mode=0700\nr /opt ramfs\n"
    with boot(kernel, initramfs(kernel, conf, modules=modules), "", disks) as guest:
        assert seen(guest, "/mnt/file") == seen(guest, "/srv/file") == (1000, 0)


@pytest.mark.parametrize("kernel", EVERY, indirect=True)
def test_bind_without_a_map(kernel, root_tree, image, second, initramfs, boot):
    """It shows what its source shows; one with a map has ids on disk, also below it."""
    conf = ROOT + ("/dev/vdb /srv erofs idmap=5000:0:10\n/srv /mnt bind\n/owners /opt/app rbind\n"
                   "/mnt /home bind idmap=5000:3:10\n")
    with boot(kernel, initramfs(kernel, conf), "", [Disk(image(root_tree(), "erofs")), Disk(second())]) as guest:
        assert seen(guest, "/srv/file") == seen(guest, "/mnt/file") == (7, 7)
        assert seen(guest, "/opt/app/user") == (1000, 1000)
        assert seen(guest, "/home/file") == (10, 10)


@TWO
def test_two_overlays_on_one_upper(kernel, root_tree, image, second, initramfs, boot, boot_fails):
    disks = [Disk(image(root_tree(), "erofs")), Disk(image({"/": Dir(0, 0), "/r": Dir(0, 0), "/s": Dir(0, 0)}, "ext4"),
                                                     readonly=False, snapshot=True), Disk(second())]
    conf = ("upper / overlay\n/dev/vda / erofs lower,idmap=100000:0:65536\n/dev/vdb / ext4 upper{}\n"
            "upper /srv overlay\n/dev/vdc /srv erofs lower\n/dev/vdb /srv ext4 upper{}\n")
    line, _ = last_words(boot_fails(kernel, initramfs(kernel, conf.format("", ""), modules=OVERLAY), "quiet", disks))
    assert line.endswith("another overlay of this table writes there; give each its own with X-mount.subdir=")
    with boot(kernel, initramfs(kernel, conf.format(",X-mount.subdir=r", ",X-mount.subdir=s"), modules=OVERLAY), "",
              disks) as guest:
        assert guest.ask("mkdir /srv/new 0755").get("ok") and "new" not in guest.ask("ls /")["entries"]


@TWO
def test_overlay_that_is_made_read_only(kernel, root_tree, image, initramfs, boot_fails):
    """work belongs to an id that the map leaves out."""
    upper = image({"/": Dir(300000, 300000), "/upper": Dir(300000, 300000), "/work": Dir(7, 7)}, "ext4")
    conf = ("upper / overlay\n/dev/vda / erofs lower,idmap=100000:0:65536\n"
            "/dev/vdb / ext4 upper,idmap=300000:0:65536\n")
    line, code = last_words(boot_fails(kernel, initramfs(kernel, conf, modules=OVERLAY), "quiet",
                                       [Disk(image(root_tree(), "erofs")), Disk(upper, readonly=False, snapshot=True)]))
    assert "the layers do not merge (read-only" in line and code == "0x00000400"


@pytest.mark.parametrize("top", ["tmpfs / overlay\n", "upper / overlay\n/dev/vdb / ext4 upper\n"])
def test_layer_whose_root_nobody_may_open(top, kernel, root_tree, image, initramfs, boot_fails):
    """The row at fault is its own, and not that of the top."""
    tree = root_tree()
    tree["/"] = Dir(5, 5, 0o700)
    conf = top + "/dev/vda / erofs lower,idmap=100000:0:65536\n"
    line, code = last_words(boot_fails(kernel, initramfs(kernel, conf, modules=OVERLAY), "quiet", [
        Disk(image(tree, "erofs")), Disk(image({"/": Dir()}, "ext4"), readonly=False, snapshot=True)]))
    assert (line, code) == (f"idmap-init: /etc/idmap.conf:{conf.count(chr(10))}: /dev/vda on /: its root folder, whose looks the"
                            " merged one has, cannot be opened (permission denied); check that the map covers its owner", "0x00000400")


@TWO
def test_upper_of_a_later_failure(kernel, root_tree, image, initramfs, boot, boot_fails, tmp_path):
    top = tmp_path / "top"
    top.write_bytes(image({"/": Dir(0, 0)}, "ext4").read_bytes())
    conf = "upper / overlay\n/dev/vda / erofs lower,idmap=100000:{}\n/dev/vdb / ext4 upper\n"
    disks = [Disk(image(root_tree(), "erofs")), Disk(top, readonly=False)]
    boot_fails(kernel, initramfs(kernel, conf.format("10:60000") + "t /no/such tmpfs\n", modules=OVERLAY), "quiet", disks)
    left = debugfs(top, "ls /")
    assert "lost+found" in left and "upper" not in left and "work" not in left
    with boot(kernel, initramfs(kernel, conf.format("0:65536"), modules=OVERLAY), "", disks) as guest:
        assert seen(guest, "/") == (0, 0)


@TWO
@pytest.mark.parametrize("said, has, lost", [("overlay", [], "nosuid,nodev"), ("overlay nosuid", ["nosuid"], "nodev"),
                                             ("overlay suid,nodev", ["nodev"], "")], ids=["nothing", "nosuid", "both"])
def test_layer_of_a_safe_mount(said, has, lost, kernel, stage0, plain_tree, image, boot):
    """An overlay is a mount of its own: what keeps people safe of a layer does not come along, and that is told."""
    tree = plain_tree(f"tmpfs / {said}\n/dev/root / auto lower,idmap={MAPPED}\n"
                      "/dev/vdb /srv erofs noexec,nosymfollow\nnone /mnt overlay\n/srv /mnt bind lower\n")
    disks = [Disk(image(tree, "erofs")), Disk(image({"/": Dir(5, 5)}, "erofs"))]
    initrd = stage0(kernel, mount="ro,nosuid,nodev", modules=["overlay"])
    with boot(kernel, initrd, f"root=/dev/vda quiet init={INIT}", disks) as guest:
        assert options(guest, "/")[1] & {"nosuid", "nodev"} == set(has)
        guest.poweroff()
        told = [line.partition("what it shows is ")[2] for line in guest.console().splitlines() if "what it shows is" in line]
        end = ", which has no effect on a layer; write that in the row of the overlay, too"
        assert told == [one + end for one in (lost, "noexec,nosymfollow") if one]


@TWO
@pytest.mark.parametrize("kind", ["ext4", "xfs", "btrfs"])
def test_layers_of_one_disk(kind, kernel, root_tree, image, initramfs, boot, boot_fails):
    """The lower is ro, and its disk is not: no row can say so, and there is nothing to say."""
    tree = {"/": Dir(), "/state": Dir(), **{f"/img{path}".rstrip("/"): entry for path, entry in root_tree().items()}}
    modules = f"virtio_pci,virtio_blk,{kind},overlay"
    conf = ("upper / overlay\n/dev/vda / {0} lower,X-mount.subdir=img,idmap=100000:0:65536\n"
            "/dev/vda / {0} upper,X-mount.subdir=state\n/dev/vda /mnt {0} rw\n/dev/vda /srv {0} ro\n/dev/vda /opt {0}\n"
            ).format(kind)
    disk = image(tree, kind)
    with boot(kernel, initramfs(kernel, conf, modules=modules), "", [Disk(disk, readonly=False, snapshot=True)]) as guest:
        assert guest.ask("write /etc/new x") == {"written": 1} and seen(guest, "/etc/hostname") == (0, 0)
        assert "new" not in guest.ask("ls /mnt/img/etc")["entries"] and "new" in guest.ask("ls /mnt/state/upper/etc")["entries"]
        assert not [line for line in log_lines(guest) if "written to" in line]
        assert all(guest.ask(f"open {folder}/new wc") == {"error": "EROFS"} for folder in ("/srv", "/opt"))
    line, code = last_words(boot_fails(kernel, initramfs(kernel, conf, modules=modules), "", [Disk(disk)]))
    assert "/etc/idmap.conf:3: " in line and code == "0x00000400" and "the upper layer needs a device and a filesystem that can be written" in line
    lower = conf.splitlines()[1]
    conf = conf.replace(lower, lower + "\n" + lower.replace("=img,", "=img/etc,"))
    line, code = last_words(boot_fails(kernel, initramfs(kernel, conf, modules=modules), "", [Disk(disk)]))
    assert "/etc/idmap.conf:4: " in line and code == "0x00000400" and "the upper layer needs a device and a filesystem that can be written" in line


@TWO
@pytest.mark.parametrize("top", ["/dev/vdb /srv erofs upper\n", "/dev/vdb /mnt erofs\n/mnt /srv bind rw,upper\n"])
def test_upper_that_can_never_be_written(top, kernel, root_tree, image, second, initramfs, boot_fails):
    """It is no read-only device that is to be told of."""
    conf = ROOT + "upper /srv overlay\n/images/app /srv bind lower\n" + top
    console = boot_fails(kernel, initramfs(kernel, conf, modules=OVERLAY), "quiet",
                         [Disk(image(root_tree(), "erofs")), Disk(second("erofs"), readonly=False, snapshot=True)])
    assert "is read-only" not in console and last_words(console)[0] == (
        PRE + f"/etc/idmap.conf:{3 + top.count(chr(10))}: {top.splitlines()[-1].split()[0]} on /srv: the upper layer needs what can be"
              " written, and this is ro by itself; use another filesystem, such as ext4")


@TWO
@pytest.mark.parametrize("kind", ["ext4", "xfs"])
@pytest.mark.parametrize("writer", ["/dev/vdb /srv/deep {0} rw,idmap=5000:0:10\n",
                                    "upper /srv/deep overlay\n/images/app /srv/deep bind lower\n/dev/vdb /srv/deep {0} upper\n"])
def test_ro_row_whose_writer_is_skipped(writer, kind, kernel, root_tree, image, initramfs, boot):
    """Its disk was mounted to be written to by then: it is not any more, and the line says that it was."""
    conf = ROOT + f"/dev/vdb /mnt {kind} ro,idmap=5000:0:10\n/dev/vdz /srv ext4 nofail,wait=0\n" + writer.format(kind)
    disk = Disk(image({"/": Dir(5000, 5000)}, kind), readonly=False, snapshot=True)
    with boot(kernel, initramfs(kernel, conf, modules=f"virtio_pci,virtio_blk,erofs,overlay,ext4,{kind}"), "quiet",
              [Disk(image(root_tree(), "erofs")), disk]) as guest:
        below = [line for line in guest.ask("read /proc/self/mountinfo")["content"].splitlines() if " /mnt " in line]
        assert len(below) == 1 and f" - {kind} /dev/vdb ro" in below[0], below
        assert [line for line in log_lines(guest) if "written to" in line] == [
            PRE + "/dev/vdb on /mnt: ro, and yet the disk was written to, as it was mounted for a row that is"
                  " skipped; attach it read-only where others use it too"]


@TWO
def test_ro_row_whose_other_writer_is_there(kernel, root_tree, image, initramfs, boot):
    """By another name, too: it goes on writing."""
    conf = ROOT + ("/dev/vdb /mnt ext4 ro\n/dev/vdz /srv ext4 nofail,wait=0\n/dev/vdb /srv/deep ext4 rw\n"
                   "SERIAL=state /tmp ext4 rw\n")
    disk = Disk(image({"/": Dir(0, 0)}, "ext4"), readonly=False, snapshot=True, serial="state")
    with boot(kernel, initramfs(kernel, conf), "", [Disk(image(root_tree(), "erofs")), disk]) as guest:
        assert guest.ask("write /tmp/new x") == {"written": 1} and "new" in guest.ask("ls /mnt")["entries"]
        assert guest.ask("open /mnt/new wc") == {"error": "EROFS"}
        assert not [line for line in log_lines(guest) if "written to" in line]


def names_on(disk, folder):
    lines = debugfs(disk, f"ls -p {folder}").splitlines()
    return {line.split("/")[5] for line in lines if "/" in line} - {".", ".."}


COPYING = ("t /images/app/x/y tmpfs X-mount.mkdir\n/home /mnt bind rw\nt /mnt/user/sub tmpfs X-mount.mkdir\n"
           "u /srv/old/new tmpfs X-mount.mkdir\nt /srv/old/more tmpfs X-mount.mkdir\n")


@TWO
@pytest.mark.parametrize("more", ["/none /opt bind\n", "t /proc/1/x tmpfs X-mount.mkdir\n"])
@pytest.mark.parametrize("before", [{}, {"/upper": Dir(100000, 100000), "/upper/srv": Dir(7, 7), "/work": Dir()}])
def test_copies_in_a_top_after_a_failure(before, more, kernel, root_tree, image, initramfs, boot_fails, tmp_path):
    """Folders on the way to one that is made are copied to the top: they go, and what was there stays."""
    top = tmp_path / "top"
    top.write_bytes(image({"/": Dir(0, 0), **before}, "ext4").read_bytes())
    tree = root_tree()
    tree["/srv/old"] = Dir(**OWN)
    conf = "upper / overlay\n/dev/vda / erofs lower,idmap=100000:0:65536\n/dev/vdb / ext4 upper\n" + COPYING + more
    boot_fails(kernel, initramfs(kernel, conf, modules=OVERLAY), "quiet",
               [Disk(image(tree, "erofs")), Disk(top, readonly=False)])
    assert names_on(top, "/") == {"lost+found"} | ({"upper", "work"} if before else set())
    assert names_on(top, "/upper") == ({"srv"} if before else set()) and names_on(top, "/upper/srv") == set()
    assert names_on(top, "/work") == set()


@TWO
@pytest.mark.parametrize("link", ["/etc", "/sbin"])
def test_link_of_a_stranger_for_run(link, kernel, root_tree, image, initramfs, boot):
    """The root's own link leads /run into a row, whose own one leads it no further."""
    tree = led_into_var(root_tree(), "run")
    var = image({"/": Dir(5000, 5000), "/run": Link(link, 5000, 5000)}, "erofs")
    conf = ROOT + "/dev/vdb /var erofs idmap=5000:0:10\n"
    with boot(kernel, initramfs(kernel, conf), "", [Disk(image(tree, "erofs")), Disk(var)]) as guest:
        assert "hostname" in guest.ask("ls /etc")["entries"] and "init" in guest.ask("ls /sbin")["entries"]
        assert PRE + "the new root has no folder /run, going on without it" in log_lines(guest)


@TWO
@pytest.mark.parametrize("more", ["t /run/x tmpfs\n", "s /mnt tmpfs\nt /mnt/data tmpfs X-mount.mkdir\n"])
def test_run_whose_folder_a_row_brings(more, kernel, root_tree, image, initramfs, boot):
    tree = led_into_var(root_tree(), "run")
    var = image({"/": Dir(5000, 5000), "/run": Dir(5000, 5000), "/run/x": Dir(5000, 5000)}, "erofs")
    more = more.replace("tmpfs\n", "tmpfs X-mount.mkdir\n", 1) if "/run/x" in more else more
    conf = ROOT + "/dev/vdb /var erofs idmap=5000:0:10\n" + more
    with boot(kernel, initramfs(kernel, conf), "", [Disk(image(tree, "erofs")), Disk(var)]) as guest:
        mounts = [m.target for m in guest.mounts()]
        assert "/var/run" in mounts and "error" not in guest.ask("read /run/idmap/table")
        if "/run/x" in more:
            assert mounts.index("/var/run/x") > mounts.index("/var/run")


@TWO
def test_covered_mount_of_a_booted_root(stage0, plain_tree, kernel, image, boot):
    then = "mount -t tmpfs a /root/images/app; mount -t tmpfs b /root/images; mkdir /root/images/app"
    with boot(kernel, stage0(kernel, then=then), f"root=/dev/vda init={INIT} idmap={MAPPED}",
              [Disk(image(plain_tree(), "erofs"))]) as guest:
        assert "/images" in {m.target for m in guest.mounts()}


def test_journal_that_is_not_replayed(kernel, root_tree, dirty, initramfs, boot):
    with boot(kernel, initramfs(kernel), f"root=/dev/vda rootfstype=ext4 ro idmap={MAPPED},noload",
              [Disk(dirty(root_tree()), readonly=False, snapshot=True)]) as guest:
        assert not [line for line in log_lines(guest) if "replayed" in line]


# ---- found by a third look ----


@TWO
def test_file_of_nobody(kernel, root_tree, image, initramfs, boot):
    tree = root_tree()
    tree["/images/key"] = File(b"secret", 7, 100000)
    tree["/opt/key"] = File(b"")
    conf = ROOT + "/images/key /opt/key bind idmap=100000:0:65536\n"
    with boot(kernel, initramfs(kernel, conf), "quiet", [Disk(image(tree, "erofs"))]) as guest:
        assert PRE + ("/etc/idmap.conf:2: /images/key on /opt/key: what it shows has the uid 7 on disk, which the"
                      " map leaves out: it is nobody's (65534); did you mean 7:0:65536?") in log_lines(guest)


@TWO
def test_layer_on_a_skipped_row(kernel, root_tree, image, initramfs, boot_fails):
    conf = ROOT + ("/dev/vdz /images erofs nofail,wait=0\n/images/app /srv bind lower\n"
                   "/opt /srv bind lower\nnone /srv overlay\n")
    line, code = last_words(boot_fails(kernel, initramfs(kernel, conf, modules=OVERLAY), "quiet",
                                       [Disk(image(root_tree(), "erofs"))]))
    assert line == PRE + ("/etc/idmap.conf:3: /images/app on /srv: the row for /images, which /images/app lies on, is"
                          " absent; take nofail from that row, as a layer cannot be left out")
    assert code == "0x00000300"


@TWO
def test_layers_that_overlap(kernel, root_tree, image, initramfs, boot_fails):
    conf = ROOT + "/images /srv bind lower\n/images/app /srv bind lower\nnone /srv overlay\n"
    line, code = last_words(boot_fails(kernel, initramfs(kernel, conf, modules=OVERLAY), "quiet",
                                       [Disk(image(root_tree(), "erofs"))]))
    assert line.startswith(PRE + "/etc/idmap.conf:4: none on /srv: the layers do not merge (one lies inside another"
                           "; kernel: overlay") and code == "0x00000400"
    assert line.endswith("); name folders of which none lies inside another")


@TWO
def test_peers_of_what_is_shown_recursively(stage0, plain_tree, kernel, image, second, boot):
    """A link has all rows taken down once; what the first of them was cloned from stays."""
    tree = plain_tree("/images /mnt rbind\nt /zlib/x tmpfs\n")
    tree["/zlib"] = Link("srv")
    tree["/srv/x"] = Dir()
    then = SHARED + "; mount -t erofs -o ro /root/dev/vdb /root/images/app"
    with boot(kernel, stage0(kernel, then=then), f"root=/dev/vda init={INIT}",
              [Disk(image(tree, "erofs")), Disk(second())]) as guest:
        for folder in ("/images/app", "/mnt/app"):
            assert guest.ask(f"ls {folder}")["entries"].keys() == {"deep", "file", "stranger"}
        assert "/srv/x" in {m.target for m in guest.mounts()}


@TWO
@pytest.mark.parametrize("link,row,words", [
    ("/", "t /sl tmpfs", "the target / has a row already (/etc/idmap.conf:1); keep one of them"),
    ("/dev", "t /sl tmpfs", "/dev is there without a row, and comes along into the new root; take the row out")])
def test_link_to_what_no_row_may_be(link, row, words, kernel, root_tree, image, initramfs, boot_fails):
    tree = root_tree()
    tree["/sl"] = Link(link)
    line, code = last_words(boot_fails(kernel, initramfs(kernel, ROOT + row + "\n"), "quiet", [Disk(image(tree, "erofs"))]))
    assert line.endswith(words) and code == "0x00000200"


@TWO
def test_link_to_the_root_in_place(stage0, plain_tree, kernel, image, second, boot_fails):
    tree = plain_tree("/dev/vdb /sl erofs idmap=5000:0:10\n")
    tree["/sl"] = Link("/")
    line, code = last_words(boot_fails(kernel, stage0(kernel), f"root=/dev/vda init={INIT} idmap.init=/sbin/init quiet",
                                       [Disk(image(tree, "erofs")), Disk(second())]))
    assert line.endswith("/sl is a link to /, and no row for / is meant; name another folder") and code == "0x00000200"


@TWO
@pytest.mark.parametrize("link", ["/", "..", "/../.."])
def test_run_that_is_a_link_to_the_root(link, kernel, root_tree, image, initramfs, boot):
    """The old root stands on the new one for a moment, where .. would lead into it."""
    tree = root_tree()
    tree["/run"] = Link(link)
    for conf in (ROOT, ROOT + "t /srv tmpfs\n"):
        with boot(kernel, initramfs(kernel, conf), "", [Disk(image(tree, "erofs"))]) as guest:
            assert [m.type for m in guest.mounts() if m.target == "/"] in (["erofs"], ["rootfs", "erofs"])
            assert PRE + "the new root has no folder /run, going on without it" in log_lines(guest)


def test_target_in_run_by_a_link(kernel, root_tree, image, initramfs, boot_fails):
    """What is in /run is no image's, so nobody could make it there."""
    tree = root_tree()
    tree["/var/run"] = Link("/run")
    line, code = last_words(boot_fails(kernel, initramfs(kernel, ROOT + "/etc /var/run/n bind\n"), "",
                                       [Disk(image(tree, "erofs"))]))
    assert line.endswith("the target /var/run/n is a link, or behind one, and that leads to /run/n (not there); add"
                         " X-mount.mkdir, as what is in /dev and /run is no image's"), line


@TWO
@pytest.mark.parametrize("link,end", [("var/../srv", "/srv"), ("../../srv", "/srv"),
                                      ("var/../../srv/" + "./" * 40, "/srv")])
def test_run_by_way_of_the_root(link, end, kernel, root_tree, image, initramfs, boot):
    tree = root_tree()
    tree["/run"] = Link(link)
    for conf in (ROOT, ROOT + "t /tmp tmpfs\n"):
        with boot(kernel, initramfs(kernel, conf), "", [Disk(image(tree, "erofs"))]) as guest:
            assert [m.target for m in guest.mounts() if m.source == "tmpfs"] == [end]
            assert "/dev/vda / erofs" in guest.ask("read /run/idmap/table")["content"]


@TWO
def test_file_mount_of_a_booted_root(stage0, plain_tree, kernel, image, boot):
    with boot(kernel, stage0(kernel, then="mount -o bind /root/etc/passwd /root/etc/hostname"),
              f"root=/dev/vda init={INIT} idmap={MAPPED}", [Disk(image(plain_tree(), "erofs"))]) as guest:
        assert guest.ask("read /etc/hostname")["content"].startswith("root:")


@TWO
@pytest.mark.parametrize("conf", ["/dev/root / auto idmap=100000:0:65536\n",
                                  "tmpfs / overlay\n/dev/root / auto lower,idmap=100000:0:65536\n"], ids=["root", "layer"])
def test_map_on_a_root_that_is_an_overlay(conf, stage0, plain_tree, kernel, image, boot_fails):
    then = ("mkdir /empty /low; mount --bind /root /low; mount -t overlay -o lowerdir=/low:/empty merged /root;"
            " mount -t devtmpfs dev /root/dev")
    line, code = last_words(boot_fails(kernel, stage0(kernel, modules=["overlay"], then=then), f"root=/dev/vda init={INIT}",
                                       [Disk(image(plain_tree(conf), "erofs"))]))
    assert "what it shows is an overlay, whose ids are not those on disk; map the layers" in line and code == "0x00000500"


@TWO
def test_overlay_inside_an_rbind(kernel, root_tree, image, second, initramfs, boot_fails):
    conf = ROOT + ("none /images/app overlay\n/dev/vdb /images/app erofs lower,idmap=5000:0:10\n"
                   "/images /mnt rbind idmap=0:90000:10,100000:0:65536\n")
    line, code = last_words(boot_fails(kernel, initramfs(kernel, conf, modules=OVERLAY), "quiet",
                                       [Disk(image(root_tree(), "erofs")), Disk(second())]))
    assert line == PRE + ("/etc/idmap.conf:4: /images on /mnt: the mount on /images/app, which comes along, is an overlay,"
                          " whose ids are not those on disk; map its layers, and write bind here")
    assert code == "0x00000500"


@TWO
def test_unbindable_source_in_place(stage0, plain_tree, kernel, image, second, boot_fails):
    then = "mount -t erofs -o ro /root/dev/vdb /root/srv; mount --make-unbindable /root/srv"
    line, code = last_words(boot_fails(
        kernel, stage0(kernel, then=then), f"root=/dev/vda init={INIT} quiet",
        [Disk(image(plain_tree("/srv /mnt bind idmap=5000:0:10\n"), "erofs")), Disk(second())]))
    assert line.endswith("SOURCE lies on a mount that is unbindable, which cannot be cloned; make that private (mount"
                         " --make-private)") and code == "0x00000300"


@TWO
@pytest.mark.parametrize("row,words", [
    ("/dev/vda /srv erofs X-mount.subdir=etc/hostname", "it has no folder /etc/hostname to show (not a folder)"),
    ("/images/app /srv rbind lower\nnone /srv overlay", "an overlay does not show what is mounted in a layer"),
    ("root:/images/node /srv erofs", "it is a device node of the new root, which may be anybody's making")])
def test_sources_that_are_not_what_they_seem(row, words, kernel, root_tree, image, initramfs, boot_fails):
    tree = root_tree()
    tree["/images/node"] = Node("b", 254, 0, 100000, 100000)
    line, _ = last_words(boot_fails(kernel, initramfs(kernel, ROOT + row + "\n", modules=OVERLAY), "quiet",
                                    [Disk(image(tree, "erofs"))]))
    assert words in line


@TWO
def test_range_that_would_not_fit(kernel, root_tree, image, initramfs, boot):
    tree = {"/": Dir(4294967290, 5000), "/f": File(b"", 5000, 5000)}
    conf = ROOT + "/dev/vdb /srv erofs uidmap=5000:0:65536,gidmap=5000:0:10\n"
    with boot(kernel, initramfs(kernel, conf), "quiet", [Disk(image(root_tree(), "erofs")), Disk(image(tree, "erofs"))]) as guest:
        assert [line for line in log_lines(guest) if "did you mean 4294967290:0:5?" in line]


@TWO
def test_unbindable_in_a_booted_root(stage0, plain_tree, kernel, image, boot_fails):
    tree = plain_tree("/dev/root / auto idmap=100000:0:65536\nt /tmp/b tmpfs\n")
    then = ("mount -t tmpfs a /root/tmp; mkdir /root/tmp/a /root/tmp/b; mount -t tmpfs b /root/tmp/a;"
            " mount --make-unbindable /root/tmp/a")
    line, code = last_words(boot_fails(kernel, stage0(kernel, then=then), f"root=/dev/vda init={INIT} quiet",
                                       [Disk(image(tree, "erofs"))]))
    assert "the mount on /tmp, or one in it, is unbindable, so the new root cannot have it before this row" in line
    assert code == "0x00000100"


@TWO
@pytest.mark.parametrize("init,row,words", [
    ("/etc/pipe", "", "it is a device, a FIFO or a socket; name a program"),
    ("/sbin/init", ",noexec", "what it lies on is noexec; take that out of the row"),
    ("/etc/sbin/init", ",nosymfollow", "a link on the way lies on what is nosymfollow; take that out of the row")])
def test_init_that_cannot_be_run(init, row, words, kernel, root_tree, image, initramfs, boot_fails):
    tree = root_tree()
    tree["/etc/pipe"] = Node("p", 0, 0, 100000, 100000)
    tree["/etc/sbin"] = Link("../sbin", 100000, 100000)
    console = boot_fails(kernel, initramfs(kernel, ROOT.strip() + row + "\n"), f"quiet init={init}",
                         [Disk(image(tree, "erofs"))])
    assert words in last_words(console)[0]
