# SPDX-License-Identifier: MIT
"""What would be wrong without a word: owners that are not those that were meant, trees that are not
those that were named, and things left behind. Each is an error, a warning, or right."""

from __future__ import annotations

import re
import struct

import pytest

from arch import GUEST
from common import EVERY, PRE, QUICK, ROOT, last_words, log_lines, options, owners, seen
from guest import HEAD, Disk
from images import Dir, File, Link, debugfs, give_xfs_acl

SHORT = "root=/dev/vda rootfstype=erofs ro"


# ---- the command line ----


def padded(line, length):
    """The line behind so much padding that it has `length` bytes with what the tests put before it."""
    return "pad=" + "x" * (length - len(f"{HEAD} {QUICK} pad= {line}")) + " " + line


@pytest.mark.every_machine
@pytest.mark.parametrize("kernel", ["6.12"], indirect=True)
@pytest.mark.parametrize("cut", ["100000:0:65", "", SHORT + " idmap=100000:0:65536"],
                         ids=["in a map", "before it", "nothing"])
def test_line_that_was_cut(cut, kernel, root_tree, image, initramfs, boot_fails):
    """The last digits of a map, or a whole row, may be lost where a line ends that is cut; so does
    one of this very length that is whole. (QEMU itself does not start a kernel with a longer one.)"""
    line = f"{SHORT} idmap={cut}" if cut != "" and " " not in cut else cut or SHORT
    console = boot_fails(kernel, initramfs(kernel), padded(line, GUEST.line),
                         [Disk(image(root_tree(), "erofs"))])
    assert last_words(console) == (
        PRE + f"cmdline: the line: it has {GUEST.line} bytes, and a longer one is cut to these without a word;"
        " write rows and maps into /etc/idmap.conf (mkinitramfs -c)", "0x00000200")


@pytest.mark.every_machine
@pytest.mark.parametrize("kernel", ["6.1", "7.x"], indirect=True)
def test_line_that_just_fits(kernel, root_tree, image, initramfs, boot):
    append = padded(f"quiet {SHORT} idmap=100000:0:65536", GUEST.line - 1)
    with boot(kernel, initramfs(kernel), append, [Disk(image(root_tree(), "erofs"))]) as guest:
        assert seen(guest, "/owners/user") == (1000, 1000)


def test_off_keeps_the_other_errors(kernel, root_tree, image, initramfs, boot_fails):
    console = boot_fails(kernel, initramfs(kernel), f"{SHORT} idmap=nonsense,/,, idmap=off"
                         " idmap.init=sbin/other idmap.onfail=nonsense",
                         [Disk(image(root_tree(), "erofs"))])
    assert PRE + "cmdline: idmap.init=: it needs an absolute path; write idmap.init=/PATH" in console
    assert last_words(console) == (
        PRE + "cmdline: idmap.onfail=: it is none of panic, reboot, poweroff, shell, halt; write one of them",
        "0x00000200")
    assert "nonsense,/" not in console.partition("Unknown kernel command line")[0].rpartition("\n")[2]


# ---- / of nobody ----

HAS = PRE + "cmdline: idmap= #1: /dev/vda on /: its root folder has the "
OUT = " on disk, which the map leaves out: it is nobody's (65534); "

# name: (owner of /, options, what is said)
NOBODYS = {
    "mkfs": ((0, 0), "100000:0:65536", [
        f"{HAS}{kind} 0{OUT}give it to 100000 in the image, which is seen as 0"
        for kind in ("uid", "gid")]),
    "reversed": ((231072, 231072), "0:231072:65536", [
        f"{HAS}{kind} 231072{OUT}DISK comes first; did you mean 231072:0:65536?" for kind in ("uid", "gid")]),
    "another range": ((231072, 231072), "100000:0:65536", [
        f"{HAS}{kind} 231072{OUT}did you mean 231072:0:65536?" for kind in ("uid", "gid")]),
    "a kind forgotten": ((100000, 100000), "u:100000:0:65536", [
        f"{HAS}gid 100000 on disk, and only uids are mapped; map gids, too"]),
    "one kind wrong": ((100000, 200000), "100000:0:65536", [
        f"{HAS}gid 200000{OUT}did you mean 200000:0:65536?"]),
    "right": ((100000, 100000), "100000:0:65536", []),
    "identity": ((0, 0), "100000:5:1,identity", []),
}


@pytest.mark.parametrize("name", NOBODYS)
def test_root_of_nobody(name, kernel, root_tree, image, initramfs, boot):
    """Said under `quiet`, and the boot goes on."""
    (uid, gid), map_, said = NOBODYS[name]
    tree = root_tree()
    tree["/"] = Dir(uid, gid)
    with boot(kernel, initramfs(kernel), f"quiet {SHORT} idmap={map_}",
              [Disk(image(tree, "erofs"))]) as guest:
        assert [line for line in log_lines(guest) if "root folder" in line] == said
        guest.poweroff()
        console = guest.console()
    assert all(line in console for line in said)


def test_root_of_nobody_where_none_are_kept(root_tree, image, initramfs, kernels, boot):
    """A vfat belongs to whom its options name: they are the remedy, and it is one."""
    kernel = kernels("6.1")
    modules = "virtio_pci,virtio_blk,erofs,vfat,nls_cp437,nls_iso8859-1,nls_ascii"
    conf = ROOT + ("/dev/vdb /srv auto idmap=100000:0:65536\n"
                   "/dev/vdc /mnt vfat uid=100000,gid=100000,idmap=100000:0:65536\n")
    disks = [Disk(image(root_tree(), "erofs")), *[Disk(image({"/": Dir(), "/file": File("x")}, "vfat"))] * 2]
    with boot(kernel, initramfs(kernel, conf, modules=modules), "", disks) as guest:
        assert [line for line in log_lines(guest) if "root folder" in line] == [
            PRE + f"/etc/idmap.conf:2: /dev/vdb on /srv: its root folder has the {kind} 0{OUT}write {kind}=100000, which is"
            " seen as 0" for kind in ("uid", "gid")]
        assert seen(guest, "/mnt/file") == (0, 0)


def test_nothing_is_seen_as_root(kernel, root_tree, image, initramfs, boot):
    conf = ROOT + "/dev/vdb /srv ext4 rw,idmap=5000:7:10\n"
    disks = [Disk(image(root_tree(), "erofs")),
             Disk(image({"/": Dir(5000, 5000)}, "ext4"), readonly=False, snapshot=True)]
    with boot(kernel, initramfs(kernel, conf), "quiet", disks) as guest:
        assert [line for line in log_lines(guest) if "seen as 0" in line] == [
            PRE + f"/etc/idmap.conf:2: /dev/vdb on /srv: it is rw, and no {kind} on disk is seen as 0: root"
            " cannot make a file there; add DISK:0:1" for kind in ("uid", "gid")]
        assert guest.ask("open /srv/new wc") == {"error": "EOVERFLOW"}


# ---- a map on an overlay ----


@pytest.mark.parametrize("kernel", EVERY, indirect=True)
def test_map_on_an_overlay_is_its_layers(kernel, root_tree, image, initramfs, boot):
    """On every kernel alike, those that could map the overlay itself among them."""
    patch = {"/": Dir(100000, 100000), "/patch": File("p", 100005, 100005)}
    conf = ("tmpfs / overlay size=16m,idmap=100000:0:65536\n/dev/vda / erofs lower\n"
            "/dev/vdb / erofs lower,idmap=100000:1000:65536\n")
    disks = [Disk(image(root_tree(), "erofs")), Disk(image(patch, "erofs"))]
    modules = "virtio_pci,virtio_blk,erofs,overlay"
    with boot(kernel, initramfs(kernel, conf, modules=modules), "", disks) as guest:
        assert owners(guest)["user"] == (1000, 1000)
        assert seen(guest, "/patch") == (1005, 1005)
        assert "error" not in guest.ask("write /etc/new text")
        assert seen(guest, "/etc/new") == (0, 0)
        assert options(guest, "/") == ("overlay", {"rw", "relatime"})


# ---- ids inside values ----


def acl(*entries):
    """A POSIX ACL as xattrs have it: (tag, permissions, id)."""
    return struct.pack("<I", 2) + b"".join(struct.pack("<HHI", *entry) for entry in entries)


NO_ID = 0xffffffff


def acl_for_group(gid):
    return acl((1, 7, NO_ID), (4, 0, NO_ID), (8, 5, gid), (0x10, 5, NO_ID), (0x20, 0, NO_ID))


# How the top of the overlay is written, and the row of an upper.
TOPS = {
    "tmpfs": ("tmpfs / overlay\n", ""),
    "upper": ("upper / overlay\n", "/dev/vdb / ext4 upper\n"),
    "mapped upper": ("upper / overlay\n", "/dev/vdb / ext4 upper,idmap=300000:0:65536\n"),
}


@pytest.mark.every_kernel
@pytest.mark.parametrize("top", TOPS)
@pytest.mark.parametrize("kernel", EVERY, indirect=True)
def test_acl_of_a_layer(top, kernel, root_tree, image, initramfs, tmp_path, boot):
    """The merged root lets those in whom the layer's root does, whatever the kernel's getxattr gives."""
    tree = root_tree()
    tree["/"] = Dir(100000, 100000, 0o750, xattrs={"system.posix_acl_access": acl_for_group(100004)})
    # A long attribute, which fakeroot does not take.
    disk, value = tmp_path / "disk", tmp_path / "value"
    disk.write_bytes(image(tree, "ext4").read_bytes())
    value.write_text("x" * 1500)
    debugfs(disk, f"ea_set / trusted.long -f {value}", write=True)
    overlay, upper = TOPS[top]
    own = 300000 if "mapped" in top else 0
    disks = [Disk(disk), Disk(image({"/": Dir(own, own)}, "ext4"), readonly=False, snapshot=True)]
    modules = "virtio_pci,virtio_blk,ext4,overlay"
    conf = overlay + "/dev/vda / ext4 lower,noload,idmap=100000:0:65536\n" + upper
    with boot(kernel, initramfs(kernel, conf, modules=modules), "", disks) as guest:
        # A layer is mounted once more for that, which is nobody else's mount.
        assert not [line for line in log_lines(guest) if "stands on" in line]
        assert guest.ask("run 7 4 /bin/true")["exit"] == 0
        assert guest.ask("run 7 100004 /bin/true") == {"error": "EACCES"}
        assert guest.ask("run 7 7 /bin/true") == {"error": "EACCES"}
        assert guest.ask("xattrs /")["xattrs"]["trusted.long"] == "x" * 1500
        assert not [m for m in guest.mounts() if ".idmap" in m.target]


DENIED = acl((1, 7, NO_ID), (2, 0, 200012), (4, 5, NO_ID), (8, 0, 200013), (0x10, 5, NO_ID), (0x20, 5, NO_ID))


@pytest.fixture
def of_layers(root_tree, image, initramfs):
    """of_layers(kernel, rows): an initramfs and disks. /dev/vdb has layers whose root folders have ACLs, or none;
    /dev/vdc has folders for an upper, of which `handing` hands an ACL down."""
    own = {"uid": 200000, "gid": 200000}
    handed = acl((1, 7, NO_ID), (2, 7, 13), (4, 5, NO_ID), (8, 5, 14), (0x10, 7, NO_ID), (0x20, 0, NO_ID))
    layers = {"/": Dir(**own), "/denied": Dir(**own, xattrs={"system.posix_acl_access": DENIED}),
              "/let": Dir(**own, mode=0o750, xattrs={"system.posix_acl_access": acl_for_group(200004)}),
              "/plain": Dir(**own, mode=0o750)}
    layers.update({f"{folder}/in": File("secret", **own) for folder in list(layers)[1:]})
    uppers = {"/": Dir(), "/plain": Dir(), "/handing": Dir(xattrs={"system.posix_acl_default": handed}),
              "/some": Dir(300000, 300000)}

    def make(kernel, rows):
        return (initramfs(kernel, ROOT + rows, modules="virtio_pci,virtio_blk,erofs,ext4,overlay"),
                [Disk(image(root_tree(), "erofs")), Disk(image(layers, "ext4")),
                 Disk(image(uppers, "ext4"), readonly=False, snapshot=True)])
    return make


def layer(target, folder):
    return f"/dev/vdb {target} ext4 lower,X-mount.subdir={folder},idmap=200000:0:65536\n"


@pytest.mark.parametrize("kernel", ["6.1", "newest"], indirect=True)
def test_acl_that_the_top_cannot_store(kernel, of_layers, boot, boot_fails):
    """An entry may deny, so that none is dropped of an id that is seen."""
    def upper(map_):
        return (f"upper /srv overlay\n{layer('/srv', 'denied')}"
                f"/dev/vdc /srv ext4 upper,X-mount.subdir=some,idmap={map_}\n")

    initrd, disks = of_layers(kernel, upper("300000:0:12"))
    line, code = last_words(boot_fails(kernel, initrd, "quiet", disks))
    assert line == (PRE + "/etc/idmap.conf:4: /dev/vdc on /srv: the folders upper and work cannot be made in the top (an id that"
                    " cannot be stored); its map must know the ids of seen 0, and of the layers' root folder and its ACLs")
    assert code == "0x00000400"
    initrd, disks = of_layers(kernel, upper("300000:0:14"))
    with boot(kernel, initrd, "", disks) as guest:
        for uid, gid, result in ((12, 70, None), (70, 13, None), (70, 70, "secret")):
            assert guest.ask("run", str(uid), str(gid), "/bin/cat", "/srv/in").get("stdout", "") == (result or "")


@pytest.mark.parametrize("kernel", ["6.1", "newest"], indirect=True)
def test_acl_that_a_folder_hands_down(kernel, of_layers, boot):
    """The merged root has the layer's ACL, which may be none, and not that of the folder on the upper's disk."""
    rows = f"upper /srv overlay\n{layer('/srv', 'plain')}/dev/vdc /srv ext4 upper,X-mount.subdir=handing\n"
    initrd, disks = of_layers(kernel, rows)
    with boot(kernel, initrd, "", disks) as guest:
        assert guest.ask("stat /srv")["mode"] == 0o750
        assert not [name for name in guest.ask("xattrs /srv")["xattrs"] if "acl" in name]
        for uid, gid in ((13, 70), (70, 14)):
            assert guest.ask("run", str(uid), str(gid), "/bin/cat", "/srv/in").get("stdout", "") == ""


@pytest.mark.parametrize("kernel", ["6.1", "newest"], indirect=True)
def test_mode_of_a_top_and_an_acl(kernel, of_layers, boot):
    initrd, disks = of_layers(kernel, f"tmpfs /srv overlay mode=0700\n{layer('/srv', 'let')}")
    with boot(kernel, initrd, "", disks) as guest:
        assert guest.ask("stat /srv")["mode"] == 0o700
        assert guest.ask("run", "70", "4", "/bin/cat", "/srv/in").get("stdout", "") == ""


@pytest.mark.parametrize("kernel", EVERY, indirect=True)
@pytest.mark.parametrize("acls, map_, told", [(True, "", True), (True, ",idmap=100000:0:65536", False), (False, "", False)],
                         ids=["acls", "one map", "none"])
def test_acls_from_xfs_to_xfs(acls, map_, told, kernel, root_tree, image, initramfs, tmp_path, boot):
    """xfs tells an ACL's ids on disk once more, for whoever copies all attributes. We do not; overlayfs does."""
    own = {"uid": 100000, "gid": 100000}
    lower = tmp_path / "lower"
    lower.write_bytes(image({"/": Dir(**own, mode=0o750), "/in": File("x\n", **own, mode=0o640)}, "xfs").read_bytes())
    for path in ("/in", "/") if acls else ():
        give_xfs_acl(lower, path, [(1, 7, NO_ID), (4, 0, NO_ID), (8, 5, 100004), (0x10, 5, NO_ID), (0x20, 0, NO_ID)])
    upper = image({"/": Dir(*[100000] * 2 if map_ else [0] * 2)}, "xfs", uuid="9a4bdd2f-1a34-4d9e-8f9d-2c3fd0a4a7b1")
    conf = ROOT + (f"upper /srv overlay\n/dev/vdb /srv xfs lower,norecovery,idmap=100000:0:65536\n/dev/vdc /srv xfs upper{map_}\n")
    disks = [Disk(image(root_tree(), "erofs")), Disk(lower), Disk(upper, readonly=False, snapshot=True)]
    with boot(kernel, initramfs(kernel, conf, modules="virtio_pci,virtio_blk,erofs,xfs,overlay"), "quiet", disks) as guest:
        def reads(gid):
            return guest.ask("run", "7", str(gid), "/bin/cat", "/srv/in").get("stdout", "") == "x\n"

        assert (reads(4), reads(100004)) == (acls, False)
        guest.run("/bin/sh", "-c", "echo x >/srv/in")
        assert (reads(4), reads(100004)) == (acls and not told, False)  # once more the kernel's fault
        guest.poweroff()
        assert ("/dev/vdb on /srv: where a file has an ACL, the kernel copies it with the ids on disk to an upper of xfs"
                in guest.console()) == told


@pytest.mark.every_kernel
@pytest.mark.parametrize("conf", [ROOT, "tmpfs / overlay\n" + ROOT.replace(" idmap", " lower,idmap")], ids=["map", "overlay"])
@pytest.mark.parametrize("kernel", ["6.1", "newest"], indirect=True)
def test_acl_through_a_map_of_others(kernel, conf, root_tree, image, initramfs, boot):
    """apply, in a root that PID 1 has mapped. Where the kernel does not tell the ids that are seen, nothing is made."""
    tree = root_tree(command=True)
    own = {"uid": 100000, "gid": 100000}
    tree["/acl"] = Dir(**own, mode=0o750, xattrs={"system.posix_acl_access": acl_for_group(100004)})
    tree["/acl/in"] = File("secret", **own)
    tree["/etc/table"] = File("tmpfs /srv overlay\n/acl /srv bind lower\n", **own)
    with boot(kernel, initramfs(kernel, conf, modules="virtio_pci,virtio_blk,erofs,overlay"), "",
              [Disk(image(tree, "erofs"))]) as guest:
        done = guest.ask("run", "0", "0", "/bin/idmap", "apply", "-c", "/etc/table")
        if kernel.name == "6.1":
            assert done["exit"] == 4 and "nobody tells the ids in the ACL of the layers' root folder before Linux 6.2" in done["stderr"]
            assert not [m for m in guest.mounts() if m.type == "overlay" and m.target != "/"]
        else:
            assert done["exit"] == 0, done["stderr"]
            assert guest.ask("run 70 4 /bin/cat /srv/in")["stdout"] == "secret"
            assert guest.ask("run 70 100004 /bin/cat /srv/in")["stdout"] == ""


def test_acl_of_an_image_file_that_is_mounted_once(kernel, root_tree, image, initramfs, boot):
    """btrfs, and xfs, take no second loop device of the same file, which the ids in an ACL would ask for."""
    own = {"uid": 200000, "gid": 200000}
    layer = {"/": Dir(**own), "/let": Dir(**own, mode=0o750, xattrs={"system.posix_acl_access": acl_for_group(200004)}),
             "/let/in": File("secret", **own)}
    tree = root_tree()
    tree["/images/layer"] = File(image(layer, "btrfs"), 100000, 100000)
    rows = "tmpfs /srv overlay\nroot:/images/layer /srv btrfs lower,X-mount.subdir=let,idmap=200000:0:65536\n"
    conf = "/dev/vda / ext4 idmap=100000:0:65536\n" + rows
    with boot(kernel, initramfs(kernel, conf, modules="virtio_pci,virtio_blk,ext4,btrfs,loop,overlay"), "",
              [Disk(image(tree, "ext4"))]) as guest:
        assert guest.ask("run 70 4 /bin/cat /srv/in")["stdout"] == "secret"
        assert guest.ask("run 70 5 /bin/cat /srv/in")["stdout"] == ""


# A layer that is a bind has the map of what it lies on.
MAPPED_UPPER = "/dev/vdb /mnt ext4 upper,idmap=300000:0:65536\n"
COPIED = "t /mnt/sub/new tmpfs X-mount.mkdir\n"  # the folder that it is made in goes to the top
BINDS = {
    "tmpfs": "tmpfs /srv overlay\n/etc /srv bind lower\n",
    "bind of a bind": "/etc /mnt bind\ntmpfs /srv overlay\n/mnt /srv bind lower\n",
    "in an rbind": "/dev/vdc /opt/app erofs idmap=200000:0:65536\n/opt /mnt rbind\ntmpfs /srv overlay\n"
                   "/mnt/app /srv bind lower\n",
    "upper": "/dev/vdb /mnt ext4 rw\nupper /srv overlay\n/etc /srv bind lower\n/mnt/etc /srv bind rw,upper\n",
    "mapped upper": "upper /srv overlay\n/etc /srv bind lower\n/dev/vdb /srv ext4 upper,idmap=300000:0:65536\n",
    "bind of a mapped upper": "/dev/vdb /mnt ext4 rw,idmap=300000:0:65536\nupper /srv overlay\n"
                              "/dev/vdc /srv erofs lower,idmap=200000:0:65536\n/mnt/etc /srv bind rw,upper\n",
    "mapped tmpfs": "upper /srv overlay\n/etc /srv bind lower\nt /srv tmpfs upper,idmap=0:0:65536\n",
    "of an overlay": "tmpfs /mnt overlay\n/dev/vdc /mnt erofs lower,idmap=200000:0:65536\n"
                     "tmpfs /srv overlay\n/mnt /srv bind lower\n",
    **{f"in an overlay{how}": f"{top} /mnt overlay\n/dev/vdc /mnt erofs lower,idmap=200000:0:65536\n{more}"
                              "tmpfs /srv overlay\n/mnt/sub /srv bind lower\n"
       for how, top, more in (("", "tmpfs", ""), (" without a top", "none", ""), (", copied", "tmpfs", COPIED),
                              (", copied to a mapped upper", "upper", MAPPED_UPPER + COPIED),
                              (" with a mapped upper", "upper", MAPPED_UPPER))},
    "in an overlay, mapped upper": "none /mnt overlay\n/dev/vdc /mnt erofs lower,idmap=200000:0:65536\nupper /srv overlay\n"
                                   "/mnt/sub /srv bind lower\n" + MAPPED_UPPER.replace("/mnt", "/srv"),
}


@pytest.mark.every_kernel
@pytest.mark.parametrize("kernel,how", [*(("6.1", how) for how in BINDS if how != "mapped tmpfs"),
                                        ("newest", "tmpfs"), ("6.12", "mapped tmpfs"), ("newest", "mapped tmpfs"),
                                        ("newest", "bind of a mapped upper"), ("newest", "in an overlay"),
                                        ("newest", "in an overlay, mapped upper")], indirect=["kernel"])
def test_acl_of_a_bind(how, kernel, root_tree, image, initramfs, boot):
    def folder(base, **more):
        return Dir(base, base, 0o750, xattrs={"system.posix_acl_access": acl_for_group(base + 4)}, **more)

    tree = root_tree()
    tree["/etc"] = folder(100000)
    own = 300000 if "mapped upper" in how else 0
    disks = [Disk(image(tree, "erofs")),
             Disk(image({"/": Dir(own, own), "/etc": Dir(own, own)}, "ext4"), readonly=False, snapshot=True),
             Disk(image({"/": folder(200000), "/sub": folder(200000)}, "erofs"))]
    modules = "virtio_pci,virtio_blk,erofs,ext4,overlay"
    with boot(kernel, initramfs(kernel, ROOT + BINDS[how], modules=modules), "", disks) as guest:
        assert [guest.ask(f"run 7 {gid} /bin/ls /srv")["exit"] for gid in (4, 100004, 200004, 300004, 7)] == [
            0, 1, 1, 1, 1]


# ---- all at once ----


@pytest.mark.every_kernel
@pytest.mark.parametrize("kernel", EVERY, indirect=True)
def test_all_at_once(kernel, root_tree, image, initramfs, boot, boot_fails):
    """ACLs of a layer, a row behind a link, what lies on an absent row: right; with a link of a stranger
    as well: refused."""
    own = {"uid": 100000, "gid": 100000}
    tree = root_tree()
    tree["/"] = Dir(**own, mode=0o750, xattrs={"system.posix_acl_access": acl_for_group(100004)})
    tree["/usr"] = tree["/usr/lib"] = tree["/usr/lib/modules"] = tree["/srv/x"] = Dir(**own)
    tree["/lib"] = Link("usr/lib", **own)
    usr = {"/": Dir(6000, 6000), "/lib": Dir(6000, 6000), "/lib/modules": Dir(6000, 6000)}
    stranger = {"/": Dir(5000, 5000), "/file": File("x", 5007, 5007), "/keys": Link("/etc", 5000, 5000)}
    disks = [Disk(image(one, "erofs")) for one in (tree, usr, stranger)]
    conf = ("tmpfs / overlay\n/dev/vda / erofs lower,idmap=100000:0:65536\n"
            "/dev/vdb /usr erofs idmap=6000:0:10\n/dev/vdc /lib/modules erofs idmap=5000:0:10\n"
            "/dev/vdz /srv erofs nofail,wait=0\n/srv/x /mnt bind nofail,rw,idmap=0:1000:1\n")
    modules = "virtio_pci,virtio_blk,erofs,overlay"
    with boot(kernel, initramfs(kernel, conf, modules=modules), "quiet", disks) as guest:
        assert guest.ask("run 7 4 /bin/true")["exit"] == 0
        assert guest.ask("run 7 100004 /bin/true") == {"error": "EACCES"}
        assert seen(guest, "/usr/lib/modules/file") == (7, 7)
        assert {m.target for m in guest.mounts()} == {
            "/", "/usr", "/usr/lib/modules", "/dev", "/proc", "/sys", "/run"}
    console = boot_fails(kernel, initramfs(kernel, conf + "own /lib/modules/keys tmpfs\n", modules=modules),
                         "quiet", disks)
    last, code = last_words(console)
    assert "there is a link in its way, in the tree of the row for /usr/lib/modules" in last
    assert code == "0x00000200"


# ---- the real init of nobody ----


def test_init_of_nobody(kernel, root_tree, image, initramfs, boot):
    tree = root_tree()
    tree["/sbin/init"] = File(tree["/sbin/init"].content, 5, 100000, 0o755)
    with boot(kernel, initramfs(kernel), f"quiet {SHORT} idmap=100000:0:65536",
              [Disk(image(tree, "erofs"))]) as guest:
        assert seen(guest, "/sbin/init") == (65534, 0)
        assert [line for line in log_lines(guest) if "nobody's" in line] == [
            PRE + "/sbin/init of the new root has the uid 5 on disk, which the map leaves out: it is nobody's"
            " (65534); did you mean 5:0:65536?"]
        assert not [m for m in guest.mounts() if ".idmap" in m.target]
        assert [fd["fd"] for fd in guest.report()["fds"]] == [0, 1, 2]


@pytest.mark.parametrize("append,owner,where", [
    (SHORT, 65534, "/sbin"), (f"{SHORT} idmap=100000:0:65536", 165534, "/sbin"),
    (f"{SHORT} idmap=100000:0:65536", 165534, "/mnt")], ids=["no map", "mapped", "another row"])
def test_init_that_is_seen_as_65534(append, owner, where, kernel, root_tree, image, initramfs, boot):
    """By its map or without any: as good an owner as another, of which nothing is said."""
    tree = root_tree(0 if owner == 65534 else 100000)
    init = File(tree["/sbin/init"].content, owner, owner, 0o755)
    tree["/sbin/init"] = init if where == "/sbin" else Link("../mnt/init")
    disks = [Disk(image(tree, "erofs")), Disk(image({"/": Dir(100000, 100000), "/init": init}, "erofs"))]
    more = " idmap=/dev/vdb,/mnt,erofs,100000:0:65536" if where == "/mnt" else ""
    with boot(kernel, initramfs(kernel), f"quiet {append}{more}", disks) as guest:
        assert seen(guest, "/sbin/init") == (65534, 65534)
        assert not [line for line in log_lines(guest) if "nobody" in line]


@pytest.mark.parametrize("rows,said", [
    ("/dev/vdb /mnt erofs idmap=100000:0:65536\n", " of the new root has the uid 5 on disk, which the map leaves"
     " out: it is nobody's (65534); did you mean 5:0:65536?"),
    ("none /mnt overlay\n/dev/vdb /mnt erofs lower,idmap=100000:0:65536\n", " of the new root has the uid 5 on disk,"
     " which the map leaves out: it is nobody's (65534); did you mean 5:0:65536?"),
    ("/dev/vdb /srv erofs idmap=100000:0:65536\n/srv /mnt bind\n", " of the new root has the uid 5 on disk,"
     " which the map leaves out: it is nobody's (65534); did you mean 5:0:65536?"),
    ("/dev/vdb /srv erofs\n/srv /mnt bind idmap=100000:0:65534\n", " of the new root has the uid 5 on disk,"
     " which the map leaves out: it is nobody's (65534); did you mean 5:0:65534?"),
], ids=["row", "layer", "bind", "mapped bind"])
def test_init_of_nobody_in_another_row(rows, said, kernel, root_tree, image, initramfs, boot):
    tree = root_tree()
    init = File(tree["/sbin/init"].content, 5, 100000, 0o755)
    tree["/sbin/init"] = Link("../mnt/init")
    disks = [Disk(image(tree, "erofs")), Disk(image({"/": Dir(100000, 100000), "/init": init}, "erofs"))]
    conf = ROOT + rows
    with boot(kernel, initramfs(kernel, conf, modules="virtio_pci,virtio_blk,erofs,overlay"), "quiet", disks) as guest:
        assert [line for line in log_lines(guest) if "nobody's" in line] == [f"{PRE}/sbin/init{said}"]


def test_init_of_nobody_in_an_overlay_on_its_own_layer(kernel, root_tree, image, initramfs, boot):
    tree = root_tree()
    tree["/sbin/init"] = File(tree["/sbin/init"].content, 5, 100000, 0o755)
    conf = ROOT + "tmpfs /sbin overlay\n/sbin /sbin bind lower\n"
    initrd = initramfs(kernel, conf, modules="virtio_pci,virtio_blk,erofs,overlay")
    with boot(kernel, initrd, "quiet", [Disk(image(tree, "erofs"))]) as guest:
        assert [line for line in log_lines(guest) if "nobody's" in line] == [
            PRE + "/sbin/init of the new root has the uid 5 on disk, which the map leaves out: it is nobody's"
            " (65534); did you mean 5:0:65536?"]


@pytest.mark.parametrize("owner,said", [(0, True), (165534, False), (100000, False)])
def test_upper_of_nobody(owner, said, kernel, root_tree, image, initramfs, boot):
    """A folder upper that was there: its owner is told where the map leaves it out, and only there."""
    top = image({"/": Dir(100000, 100000), "/upper": Dir(owner, owner), "/work": Dir(100000, 100000)}, "ext4")
    conf = ("upper / overlay\n/dev/vda / erofs lower,idmap=100000:0:65536\n"
            "/dev/vdb / ext4 upper,idmap=100000:0:65536\n")
    disks = [Disk(image(root_tree(), "erofs")), Disk(top, readonly=False, snapshot=True)]
    initrd = initramfs(kernel, conf, modules="virtio_pci,virtio_blk,erofs,ext4,overlay")
    with boot(kernel, initrd, "quiet", disks) as guest:
        assert [line for line in log_lines(guest) if "nobody" in line] == ([
            PRE + "/: the folder upper of /dev/vdb has an owner that the map leaves out, so its root folder is nobody's"
            " (65534); give it to the id that is seen as 0"] if said else [])


# ---- attributes ----


@pytest.mark.parametrize("kernel", EVERY, indirect=True)
def test_bind_keeps_what_it_shows(kernel, root_tree, second, image, initramfs, boot):
    conf = ROOT + ("/dev/vdb /srv erofs noexec,nosymfollow,noatime,nodiratime\n"
                   "/srv /opt/app bind suid,dev,exec,idmap=5000:3:10\n"
                   "/srv/deep /mnt rbind strictatime,diratime\n")
    disks = [Disk(image(root_tree(), "erofs")), Disk(second())]
    with boot(kernel, initramfs(kernel, conf), "", disks) as guest:
        kept = {"ro", "nosuid", "nodev", "noexec", "nosymfollow"}
        assert options(guest, "/srv")[1] == kept | {"noatime", "nodiratime"}
        assert options(guest, "/opt/app")[1] == kept | {"noatime", "nodiratime", "idmapped"}
        assert options(guest, "/mnt")[1] == kept
        assert seen(guest, "/opt/app/file") == (10, 10)
        # What was done is recorded, not what was asked for.
        assert "\n/srv /opt/app bind ro,nosuid,nodev,noexec,nosymfollow,idmap=5000:3:10\n" in guest.ask(
            "read /run/idmap/table")["content"]


# ---- a ro row that writes ----

WRITTEN = ("{} on {}: ro, and yet the disk was written to, to replay a journal or to give up deleted files; attach it"
           " read-only where others use it too")


@pytest.mark.parametrize("rows", ["", "tmpfs /link tmpfs\n"], ids=["once", "twice"])
@pytest.mark.parametrize("kernel", EVERY, indirect=True)
def test_replayed_journal(kernel, rows, root_tree, dirty, initramfs, boot):
    """As mount(8)'s ro does; and it is told, also where links have all of it built twice."""
    tree = root_tree()
    tree["/link"] = Link("srv", 100000, 100000)
    conf = "/dev/vda / ext4 ro,idmap=100000:0:65536\n" + rows
    with boot(kernel, initramfs(kernel, conf), "quiet",
              [Disk(dirty(tree), readonly=False, snapshot=True)]) as guest:
        assert [line for line in log_lines(guest) if "written" in line] == [PRE + WRITTEN.format("/dev/vda", "/")]
        assert "ro" in options(guest, "/")[1]


@pytest.mark.parametrize("row,last", [
    ("/dev/vdz /srv erofs wait=1\n", "the device did not come within 1 s"),
    ("tmpfs /no/such tmpfs\n", "the target cannot be used in the new root (not there)"),
    ("/dev/vdz /link erofs wait=1\n", "the device did not come within 1 s"),
    ("/nowhere /srv bind nofail\ntmpfs /no/such tmpfs\n", "the target cannot be used in the new root (not there)"),
], ids=["device", "target", "link", "after a row that is skipped"])
def test_what_was_odd_before_a_failure(row, last, kernel, root_tree, dirty, initramfs, boot_fails):
    """It may be its reason, or what it has left behind: each once, and before the error."""
    tree = root_tree()
    tree["/link"] = Link("srv", 100000, 100000)
    conf = "/dev/vda / ext4 ro,idmap=0:100000:65536\n" + row
    console = boot_fails(kernel, initramfs(kernel, conf), "quiet",
                         [Disk(dirty(tree), readonly=False, snapshot=True)])
    lines = [line.partition("] ")[2] for line in console.splitlines() if PRE in line]
    for words in ("its root folder has the uid 100000 on disk", "yet the disk was written to", last):
        assert sum(words in line for line in lines) == 1, words
    assert last in lines[-1]


@pytest.mark.parametrize("place", ["/srv/new", "/link/new"])
def test_read_only_before_a_failure(place, kernel, root_tree, image, second, initramfs, boot_fails):
    """It is the reason."""
    tree = root_tree()
    tree["/link"] = Link("srv", 100000, 100000)
    conf = f"/dev/vda / erofs idmap=100000:0:65536\n/dev/vdb /srv ext4 rw\ntmpfs {place} tmpfs X-mount.mkdir\n"
    console = boot_fails(kernel, initramfs(kernel, conf), "", [Disk(image(tree, "erofs")), Disk(second("ext4"))])
    lines = [line.partition("] ")[2] for line in console.splitlines() if PRE in line]
    assert lines.count(PRE + "/dev/vdb is read-only, so it is ro on /srv, and not rw") == 1
    assert "so it is ro" in lines[-2] and "(read-only)" in lines[-1]


@pytest.mark.parametrize("more", ["", ",noload"])
@pytest.mark.parametrize("kernel", ["6.1", "newest"], indirect=True)
def test_deleted_files(more, kernel, root_tree, image, tmp_path, initramfs, boot):
    """As a snapshot of a running machine has them: they are given up, with or without the journal."""
    disk = tmp_path / "disk"
    disk.write_bytes(image(root_tree(), "ext4").read_bytes())
    inode = debugfs(disk, "stat /etc/hostname").split()[1]
    debugfs(disk, f"ssv last_orphan {inode}", write=True)
    append = f"quiet root=/dev/vda rootfstype=ext4 ro idmap=100000:0:65536{more}"
    with boot(kernel, initramfs(kernel), append, [Disk(disk, readonly=False, snapshot=True)]) as guest:
        assert [line for line in log_lines(guest) if "written" in line] == [PRE + WRITTEN.format("/dev/vda", "/")]
    with boot(kernel, initramfs(kernel), append, [Disk(disk)]) as guest:
        assert not [line for line in log_lines(guest) if "written" in line]


@pytest.mark.parametrize("fs", ["xfs", "f2fs"])
@pytest.mark.parametrize("kernel", ["6.12-plain"], indirect=True)
def test_replay_that_no_superblock_tells(fs, kernel, root_tree, image, second, tmp_path, initramfs, boot):
    """What was synced and not unmounted."""
    disk = tmp_path / "disk"
    disk.write_bytes(second(fs).read_bytes())
    disks = [Disk(image(root_tree(), "erofs")), Disk(disk, readonly=False)]
    modules = f"virtio_pci,virtio_blk,erofs,{fs},crc32_generic"
    conf = ROOT + f"/dev/vdb /srv {fs} "
    each_time = [f"{PRE}/dev/vdb on /srv: ro, and yet xfs has written to its log, as it does each time; attach it"
                 " read-only where others use it too"] if fs == "xfs" else []
    for append in "", "quiet":
        with boot(kernel, initramfs(kernel, conf + "ro,idmap=5000:0:10\n", modules=modules), append, disks) as guest:
            assert [line for line in log_lines(guest) if "written" in line] == each_time
            assert ("has written to its log" in guest.console()) == (fs == "xfs" and not append)
    with boot(kernel, initramfs(kernel, conf + "rw,idmap=5000:0:10\n", modules=modules), "", disks) as guest:
        guest.run("/bin/dd", "if=/sbin/init", "of=/srv/new", "bs=4096", "conv=fsync")
    with boot(kernel, initramfs(kernel, conf + "ro,idmap=5000:0:10\n", modules=modules), "", disks) as guest:
        assert [line for line in log_lines(guest) if "written" in line] == [PRE + WRITTEN.format("/dev/vdb", "/srv")]


def test_journal_on_a_disk_that_cannot_be_written(kernel, root_tree, dirty, initramfs, boot, boot_fails):
    append = "quiet root=/dev/vda rootfstype=ext4 ro idmap=100000:0:65536"
    disk = Disk(dirty(root_tree()))
    last, code = last_words(boot_fails(kernel, initramfs(kernel), append, [disk]))
    assert last.startswith(PRE + "cmdline: idmap= #1: /dev/vda on /: ext4 does not mount (read-only") and last.endswith(
        "; a crash has left its journal, which cannot be replayed there: mount it once where it can be"
        " written, or add noload (ext4), norecovery (xfs), rescue=nologreplay (btrfs)")
    assert code == "0x00000400"
    with boot(kernel, initramfs(kernel), append + ",noload", [disk]) as guest:
        assert owners(guest)["user"] == (1000, 1000)


# ---- nofail ----


def test_what_lies_on_a_skipped_row(kernel, root_tree, image, initramfs, boot, boot_fails):
    """What lies below the row that is absent is not what is meant."""
    tree = root_tree()
    tree["/srv/keys"] = Dir(100000, 100000)
    conf = ROOT + "/dev/vdz /srv erofs nofail,wait=0\n/srv/keys /opt/app bind idmap=0:1000:1"
    disk = Disk(image(tree, "erofs"))
    with boot(kernel, initramfs(kernel, conf + ",nofail\n"), "", [disk]) as guest:
        assert not [m for m in guest.mounts() if m.target == "/opt/app"]
        assert PRE + "/opt/app is skipped, its row says nofail" in log_lines(guest)
    console = boot_fails(kernel, initramfs(kernel, conf + "\n"), "quiet", [disk])
    assert last_words(console) == (
        PRE + "/etc/idmap.conf:3: /srv/keys on /opt/app: the row for /srv, which /srv/keys lies on, is"
        " absent; say nofail here, too", "0x00000300")


@pytest.mark.parametrize("source", ["/images", "/dev/zero", "/circle"])
def test_only_absence_is_forgiven(source, kernel, root_tree, image, initramfs, tmp_path, boot_fails):
    """A SOURCE that is there and wrong is not absent."""
    extra = tmp_path / "extra"
    (extra / "images").mkdir(parents=True)
    (extra / "circle").symlink_to("circle")
    conf = ROOT + f"{source} /srv erofs nofail\n"
    console = boot_fails(kernel, initramfs(kernel, conf, add=[(extra, "/")]), "quiet",
                         [Disk(image(root_tree(), "erofs"))])
    last, code = last_words(console)
    assert last.startswith(PRE + f"/etc/idmap.conf:2: {source} on /srv: ") and code == "0x00000300"


@pytest.mark.every_kernel
@pytest.mark.parametrize("kernel", ["6.1", "newest"], indirect=True)
def test_what_the_kernel_makes_is_one_for_all(kernel, root_tree, image, initramfs, boot):
    """A row of it is ro, and not the machine's own."""
    conf = ROOT + "udev /mnt devtmpfs\ncgroup2 /srv cgroup2\n"
    with boot(kernel, initramfs(kernel, conf), "", [Disk(image(root_tree(), "erofs"))]) as guest:
        guest.run("/bin/sh", "-ec", "touch /dev/x; mount -t cgroup2 c /sys/fs/cgroup; mkdir /sys/fs/cgroup/x; ls /mnt/x /srv/x;"
                  " ! touch /mnt/y; ! mkdir /srv/y")
        assert "ro" in options(guest, "/mnt")[1] and "ro" in options(guest, "/srv")[1]
        assert not [line for line in log_lines(guest) if "the machine has one" in line]


@pytest.mark.parametrize("kernel", ["6.1", "newest"], indirect=True)
def test_options_of_what_the_kernel_makes(kernel, root_tree, image, initramfs, boot):
    """They are the machine's, or nobody's."""
    conf = ROOT + "udev /mnt devtmpfs mode=700\nt /srv tmpfs mode=700\n"
    with boot(kernel, initramfs(kernel, conf), "quiet", [Disk(image(root_tree(command=True), "erofs"))]) as guest:
        said = [line for line in log_lines(guest) if "the machine has one" in line]
        assert said == [PRE + "/etc/idmap.conf:2: udev on /mnt: the machine has one devtmpfs, on /dev, too, and what the row says"
                        " of it has an effect there as well, or none; write /dev /mnt bind"]
        guest.run("/bin/sh", "-ec", "mount -t cgroup2 -o nsdelegate c /sys/fs/cgroup; echo 'c /tmp cgroup2' >/run/table")
        told = guest.run("/bin/sh", "-c", "/bin/idmap apply -c /run/table 2>&1")
        assert "c on /tmp: the machine has one cgroup2, on /sys/fs/cgroup, too" in told


@pytest.mark.every_kernel
@pytest.mark.parametrize("kernel", ["6.1", "newest"], indirect=True)
def test_mount_inside_an_rbind_of_nobody(kernel, root_tree, image, initramfs, boot):
    """The map is the row's own, and may know the owners of the folder and not of what stands in it."""
    trees = [image({"/": Dir(owner, owner), "/deep": Dir(owner, owner)}, "ext4") for owner in (5000, 6000, 5001)]
    conf = ROOT + ("/dev/vdb /srv ext4 idmap=5000:0:100\n/dev/vdc /srv/deep ext4 idmap=6000:0:100\n"
                   "/dev/vdd /srv/deep/deep ext4 idmap=5000:0:100\n/srv /mnt rbind idmap=5000:0:100\n")
    with boot(kernel, initramfs(kernel, conf), "quiet", [Disk(image(root_tree(), "erofs")), *map(Disk, trees)]) as guest:
        assert [seen(guest, path) for path in ("/mnt", "/mnt/deep", "/mnt/deep/deep")] == [(0, 0), (65534, 65534), (1, 1)]
        assert [line for line in log_lines(guest) if "on disk" in line] == [
            PRE + f"/mnt/deep of the new root has the {kind} 6000 on disk, which the map leaves out: it is nobody's (65534);"
            " did you mean 6000:0:100?" for kind in ("uid", "gid")]


# ---- all or nothing ----


@pytest.fixture
def fails_to_shell(programs, initramfs, boot):
    """fails_to_shell(kernel, conf, disks): the probe as the initramfs' /bin/sh looks at what is left."""

    def make(kernel, conf, disks, append="", modules="virtio_pci,virtio_blk,erofs,ext4"):
        initrd = initramfs(kernel, conf, add=[(programs.probe, "/bin/sh")], modules=modules)
        return boot(kernel, initrd, f"idmap.onfail=shell {append}", disks)

    return make


OWN_FOUR = ["/dev", "/proc", "/run", "/sys"]


def left(guest):
    return sorted(m.target for m in guest.mounts() if m.target != "/")


@pytest.mark.parametrize("kernel", EVERY, indirect=True)
def test_nothing_stays_mounted(kernel, root_tree, image, fails_to_shell):
    """A root of mode 0700 and of nobody lets nobody in, nor out; the stage goes all the same."""
    tree = root_tree()
    tree["/"] = Dir(5, 5, 0o700)
    conf = ROOT + "/images/app /opt/app bind\nt /no/such tmpfs\n"
    with fails_to_shell(kernel, conf, [Disk(image(tree, "erofs"))]) as guest:
        assert guest.report()["argv"] == ["/bin/sh"]
        assert left(guest) == OWN_FOUR
        assert [fd["fd"] for fd in guest.report()["fds"]] == [0, 1, 2]


@pytest.mark.parametrize("rows", [ROOT, ROOT + "t /opt tmpfs\n"], ids=["root", "rows"])
@pytest.mark.parametrize("kernel", ["6.1", "7.x"], indirect=True)
def test_what_comes_along_is_asked_before(kernel, rows, root_tree, image, fails_to_shell):
    """There is a way back until the root is switched."""
    tree = root_tree()
    del tree["/run"]
    tree["/run"] = Link("shut/run", 100000, 100000)
    tree["/shut"], tree["/shut/run"] = Dir(5, 5, 0o700), Dir(100000, 100000)
    with fails_to_shell(kernel, rows, [Disk(image(tree, "erofs"))]) as guest:
        assert guest.report()["argv"] == ["/bin/sh"]
        assert left(guest) == OWN_FOUR
        assert log_lines(guest)[-1] == (PRE + "/run cannot come along into the new root (permission denied); check that the"
                                        " map covers the owners of the folders on its way")


@pytest.mark.parametrize("kernel", ["6.1", "7.x"], indirect=True)
def test_no_folder_stays(kernel, root_tree, image, initramfs, boot, tmp_path, fails_to_shell):
    """Folders that X-mount.mkdir made on a disk are gone after a failure, and nothing else is."""
    tree = root_tree()
    tree["/srv/there"] = Dir(100000, 100000)
    disk = tmp_path / "disk"
    disk.write_bytes(image(tree, "ext4").read_bytes())
    root = "/dev/vda / ext4 rw,idmap=100000:0:65536\n"
    conf = root + ("t /srv/there/a/b tmpfs X-mount.mkdir\nt /srv/there/a/c tmpfs X-mount.mkdir\n"
                   "t /srv/there tmpfs\n/no/such /srv/new/x bind X-mount.mkdir\n"
                   "/images/app/run /mnt/deep/er bind X-mount.mkdir\n")
    with fails_to_shell(kernel, conf, [Disk(disk, readonly=False)]) as guest:
        assert left(guest) == OWN_FOUR
        assert log_lines(guest)[-1].startswith(PRE + "/etc/idmap.conf:")
        guest.poweroff()
    with boot(kernel, initramfs(kernel, root), "", [Disk(disk, readonly=False)]) as guest:
        assert guest.ask("ls /srv")["entries"].keys() == {"there"}
        assert guest.ask("ls /srv/there")["entries"] == {}
        assert guest.ask("ls /mnt")["entries"] == {}


def test_no_room_for_mounts(kernel, root_tree, image, initramfs, boot_fails):
    """Only a root without such a folder goes without what comes along; any other failure is one."""
    failed = set()
    for limit in range(6, 12):
        try:
            console = boot_fails(kernel, initramfs(kernel, ROOT + "/images/app /run/x bind X-mount.mkdir\n"),
                                 f"quiet sysctl.fs.mount-max={limit}", [Disk(image(root_tree(), "erofs"))])
        except Exception as error:  # with more room the boot is a good one
            assert "the probe runs in a boot that is meant to fail" in str(error)
            break
        assert "has no folder" not in console
        failed.add(last_words(console)[0].partition(" (no room left)")[0])
    assert any("cannot come along into the new root" in line for line in failed), failed


# ---- many ----


def many_maps(count):
    """So many maps that are all in use until the last row has been built."""
    rows = [f"/images/app /t/{i} bind idmap=100000:{i}:1" for i in range(count)]
    again = [f"/images/app /u/{i} bind idmap=100000:{i}:1" for i in range(count)]
    return ROOT + "\n".join(rows + again) + "\n"


def tree_for(root_tree, count):
    tree = root_tree()
    for folder in ("t", "u"):
        tree.update({f"/{folder}/{i}": Dir(100000, 100000) for i in range(count)})
    return tree


@pytest.mark.parametrize("kernel", ["6.1", "7.x"], indirect=True)
def test_more_maps_than_files(kernel, root_tree, image, initramfs, boot):
    """The limit of open files is raised for as long as it is needed."""
    tree = tree_for(root_tree, 1200)
    with boot(kernel, initramfs(kernel, many_maps(1200)), "", [Disk(image(tree, "erofs"))],
              timeout=240) as guest:
        assert seen(guest, "/u/1199/run") == (1199, 1199)
        limits = guest.ask("read /proc/self/limits")["content"]
        assert re.search(r"^Max open files +(\d+) +(\d+)", limits, re.M).groups() == ("1024", "4096")


def test_too_many_maps(kernel, root_tree, image, initramfs, boot_fails):
    """Said before anything is mounted."""
    tree = tree_for(root_tree, 2)
    console = boot_fails(kernel, initramfs(kernel, many_maps(4200)), "quiet",
                         [Disk(image(tree, "erofs"))], timeout=240)
    assert last_words(console) == (
        PRE + "4200 maps are in use at once, and 4096 files can be open; let rows of one map follow each"
        " other, or use fewer maps", "0x00000100")


def test_long_rootflags(kernel, root_tree, image, initramfs, boot):
    """Read once, whatever the number of rows of /dev/root."""
    count = 400
    tree = root_tree()
    tree.update({f"/d/{i}": Dir(100000, 100000) for i in range(count)})
    tree.update({f"/t/{i}": Dir(100000, 100000) for i in range(count)})
    flags = "user_xattr," * 140 + "nodev"
    conf = "/dev/root / auto idmap=100000:0:65536\n" + "".join(
        f"/dev/root /t/{i} auto X-mount.subdir=d/{i}\n" for i in range(count))
    with boot(kernel, initramfs(kernel, conf), f"root=/dev/vda rootfstype=erofs ro rootflags={flags}",
              [Disk(image(tree, "erofs"))], timeout=240) as guest:
        assert len(guest.mounts()) == 5 + count
        assert "nodev" in options(guest, "/")[1]
