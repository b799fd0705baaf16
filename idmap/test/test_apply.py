# SPDX-License-Identifier: MIT
"""idmap apply, undo and mount on this machine's kernel, in a mount namespace of their own: what stands
afterwards, and that nothing does where something was wrong. Other kernels: qemu-test/test_apply.py."""

from __future__ import annotations

import os
import shutil
import subprocess

import pytest

from running import BUILD, IDMAP, MAP, REPOSITORY, can_map, idmap, script

pytestmark = pytest.mark.skipif(os.getuid() != 0, reason="only root can mount")

def test_rows():
    done = script(f"""
        table '/images/app /opt/app bind {MAP}\\nt /srv tmpfs mode=0700\\n'
        idmap apply -c /run/table --root /run/r
        owners /run/r/opt/app/file; mounts; left; records
        idmap apply -c /run/table --root /run/r
        idmap show --json >/run/shown
        echo 'u /mnt tmpfs' >>/run/table
        idmap apply -c /run/table --root /run/r
        idmap undo --root /run/r; mounts; records
        idmap undo --root /run/r""")
    assert done.out == [
        "rc 0", "/run/r/opt/app/file 0:0", "/run/r / rw,relatime tmpfs",
        "/run/r/opt/app /images/app ro,nosuid,nodev,relatime,idmapped tmpfs",
        "/run/r/srv / rw,nosuid,nodev,relatime tmpfs", "idmap", "r", "table", "run-r",
        "rc 0", "rc 1", "rc 0", "/run/r / rw,relatime tmpfs", "rc 1"]
    assert done.err == [
        "idmap apply: the rows stand in /run/r already, nothing is changed",
        "idmap apply: 2 mounts of an earlier apply stand in /run/r, of another table; take them back with idmap undo"
        " --root /run/r",
        "idmap undo: no idmap apply is recorded for /run/r; those that are stand in /run/idmap/apply"]


@pytest.mark.parametrize("shared", [False, True])
def test_the_folder_itself(shared):
    done = script(f"""
        {"mount --make-rshared /" if shared else ":"}
        mount -t tmpfs below /run/r/mnt; mkdir /run/r/mnt/sub; mount -t tmpfs deep /run/r/mnt/sub
        table '/dev/root / auto rw,{MAP}\\n/images/app /opt/app bind idmap=100000:7:1\\nt /mnt/sub tmpfs nofail\\n'
        idmap apply -c /run/table --root /run/r
        owners /run/r /run/r/opt/app/file /run/r/mnt; mounts; touch /run/r/new; owners /run/r/new
        idmap apply -c /run/table --root /run/r
        idmap undo --root /run/r
        mounts; owners /run/r
        umount -R /run/r; mounts; left""")
    assert done.out == [
        "rc 0", "/run/r 0:0", "/run/r/opt/app/file 7:7", "/run/r/mnt 0:0",
        "/run/r / rw,relatime,idmapped tmpfs", "/run/r/mnt / rw,relatime tmpfs", "/run/r/mnt/sub / rw,relatime tmpfs",
        "/run/r/mnt/sub / rw,nosuid,nodev,relatime tmpfs",
        "/run/r/opt/app /images/app ro,nosuid,nodev,relatime,idmapped tmpfs", "/run/r/new 0:0", "rc 0", "rc 0",
        "/run/r / rw,relatime tmpfs", "/run/r/mnt / rw,relatime tmpfs", "/run/r/mnt/sub / rw,relatime tmpfs",
        "/run/r 100000:100000", "idmap", "r", "table"]
    assert done.err == ["idmap apply: the rows stand in /run/r already, nothing is changed"]


def test_copies_in_a_top():
    """A failure takes back what overlayfs has copied for a folder that was made, and no more."""
    done = script("""
        mkdir -p /run/r/up/a /run/r/up/b/upper/mine /run/r/low/opt/deep; chown 33:34 /run/r/low/opt
        rows() { echo "upper /srv overlay index=on\n/low /srv bind lower\n/up/$1 /srv bind rw,upper"; }
        table "$(rows a)\nt /srv/opt/deep/new tmpfs X-mount.mkdir\n/srv/opt /mnt bind rw\nt /mnt/else tmpfs X-mount.mkdir\n/none /opt bind\n"
        idmap apply -c /run/table --root /run/r; find /run/r/up -mindepth 1 | sort
        table "$(rows b)\nt /srv/opt/deep/new tmpfs X-mount.mkdir\nt /srv/mine/x tmpfs X-mount.mkdir\n/none /opt bind\n"
        idmap apply -c /run/table --root /run/r; find /run/r/up -mindepth 1 | sort""")
    there = ["/run/r/up/a", "/run/r/up/b", "/run/r/up/b/upper", "/run/r/up/b/upper/mine"]
    assert done.out == ["rc 3", *there, "rc 3", *there], done.err


@pytest.mark.parametrize("folder", ["//run/r", "///run//r/", "/run/link", "/run/r/../r"])
def test_folder_by_another_name(folder):
    """It is the same one, and what shows its mounts writes it so."""
    done = script(f"""
        ln -s //run/r /run/link; table 't /srv tmpfs\n/images/app /opt/app bind {MAP}\n'
        idmap apply -c /run/table --root {folder}; records
        idmap apply -c /run/table --root /run/r; idmap apply -c /run/table --root {folder}
        idmap undo --root {folder}; mounts; records
        idmap mount t {folder}/srv -t tmpfs; mounts
        umount /run/r/srv; table '/dev/root / auto {MAP}\n'; idmap apply -c /run/table --root {folder}; idmap undo --root {folder}""")
    root = "/run/r / rw,relatime tmpfs"
    assert done.out == ["rc 0", "run-r", "rc 0", "rc 0", "rc 0", root, "rc 0", root,
                        "/run/r/srv / rw,nosuid,nodev,relatime tmpfs", "rc 0", "rc 0"]
    assert done.err == 2 * ["idmap apply: the rows stand in /run/r already, nothing is changed"]


def test_nothing_is_left():
    """Of a table whose last row fails; folders that it made go, too."""
    done = script(f"""
        table '/images/app /opt/app bind {MAP}\\nt /etc/a/b tmpfs X-mount.mkdir\\nv /no/such tmpfs\\n'
        idmap apply -c /run/table --root /run/r
        mounts; left; ls /run/r/etc /run/idmap/apply
        table '/dev/root / auto {MAP}\\n/images/app /opt/app bind {MAP}\\nv /no/such tmpfs\\n'
        idmap apply -c /run/table --root /run/r
        mounts; owners /run/r""")
    assert done.out == [
        "rc 6", "/run/r / rw,relatime tmpfs", "idmap", "r", "table", "/run/idmap/apply:", "",
        "/run/r/etc:", "rc 6", "/run/r / rw,relatime tmpfs", "/run/r 100000:100000"]
    assert done.err == 2 * [
        "idmap apply: /run/table:3: v on /no/such: the target cannot be used in the new root (not there); make it in"
        " the image, or add X-mount.mkdir where that can be written"]


def test_no_folder_of_a_row_that_another_shows():
    """It stands in the disk view, too, when its map is refused."""
    done = script("""
        table 'proc /srv/x/q proc X-mount.mkdir,idmap=0:0:1\n/srv /mnt rbind\n'
        idmap apply -c /run/table --root /run/r; ls /run/r/srv; mounts""")
    assert done.out == ["rc 5", "/run/r / rw,relatime tmpfs"]


def test_links_of_the_folder():
    """An absolute one leads inside it, as it will for those who enter it."""
    done = script("""
        ln -s /mnt /run/r/var
        table 't /var tmpfs\\n'
        idmap apply -c /run/table --root /run/r
        mounts | tail -n 1
        idmap undo --root /run/r; mounts""")
    assert done.out == ["rc 0", "/run/r/mnt / rw,nosuid,nodev,relatime tmpfs", "rc 0", "/run/r / rw,relatime tmpfs"]
    assert not done.err


def test_wrong_places():
    done = script(f"""
        table '/dev/root / auto {MAP}\\n'
        idmap apply -c /run/table
        idmap apply -c /run/table --root /run/r/etc
        idmap apply -c /run/table --root /run/none
        idmap apply -c /run/table --root /run/table
        table '/dev/vda / auto {MAP}\\n'
        idmap apply -c /run/table --root /run/r
        table 'nonsense\\n'
        idmap apply -c /run/table --root /run/r
        idmap apply -c /run/none --root /run/r
        mounts""")
    assert done.out == ["rc 2", "rc 6", "rc 6", "rc 6", "rc 2", "rc 2", "rc 2", "/run/r / rw,relatime tmpfs"]
    assert done.err[:5] == [
        "/run/table:1:11: the root of a running system is not replaced; boot with idmap-init,"
        " or name another root with --root",
        "idmap apply: /run/table:1: /dev/root on /: nothing is mounted on /run/r/etc, which a row for / replaces; name"
        " the folder that the root is mounted on",
        "idmap apply: /run/none cannot be used (not there); name a folder",
        "idmap apply: /run/table cannot be used (not a folder); name a folder",
        "/run/table:1:1: only what is mounted on /run/r already can be its root; write"
        " /dev/root as SOURCE"]


def test_two_at_once():
    done = script("""
        table 't /srv tmpfs\\n'
        mkdir -p /run/idmap/apply
        flock /run/idmap/apply/.lock sleep 1 &
        sleep 0.3
        idmap apply -c /run/table --root /run/r
        wait; mounts | tail -n 1""")
    assert done.out == ["rc 0", "/run/r/srv / rw,nosuid,nodev,relatime tmpfs"]
    assert done.err == ["idmap apply: another idmap is at work; waiting for it"]


def test_killed():
    """While it waits for a device of its second row. The first one is known, and its workshop is."""
    done = script(f"""
        table 't /mnt tmpfs\\n/images/app /opt/app bind {MAP}\\n/dev/none /srv ext4 wait=30\\n'
        {IDMAP} apply -c /run/table --root /run/r &
        while ! grep -q ' /opt/app bind' /run/idmap/apply/run-r@* 2>/dev/null; do sleep 0.1; done
        kill -9 $!; wait
        mounts | grep -c idmap
        table 't /etc tmpfs\\n'
        idmap apply -c /run/table --root /run/r
        mounts; left""")
    assert done.out == ["3", "rc 0", "/run/r / rw,relatime tmpfs", "/run/r/etc / rw,nosuid,nodev,relatime tmpfs", "idmap",
                        "r", "table"]
    assert [line for line in done.err if line.startswith("idmap")] == [
        "idmap apply: what an interrupted one has left on /run/.idmap is taken down",
        "idmap apply: an interrupted one has left rows in place; they are taken back"]


def test_undo_of_what_is_in_use():
    done = script("""
        table 't /srv tmpfs\\nu /mnt tmpfs\\n'
        idmap apply -c /run/table --root /run/r
        (cd /run/r/mnt && exec sleep 60) & user=$!
        sleep 0.3
        idmap undo --root /run/r; mounts
        kill $user; wait
        idmap undo --root /run/r; mounts
        idmap apply -c /run/table --root /run/r
        mount -t tmpfs other /run/r/srv
        idmap undo --root /run/r
        umount /run/r/srv /run/r/srv
        mount -t tmpfs other /run/r/srv
        idmap undo --root /run/r; mounts""")
    here = "/run/r / rw,relatime tmpfs"
    assert done.out == ["rc 0", "rc 1", here, "/run/r/mnt / rw,nosuid,nodev,relatime tmpfs", "rc 0", here, "rc 0", "rc 1",
                        "rc 0", here, "/run/r/srv / rw,relatime tmpfs"]
    assert [line for line in done.err if line.startswith("idmap")] == [
        "idmap undo: /run/r/mnt cannot be unmounted (busy); end what uses it (fuser -m /run/r/mnt), or unmount"
        " what was mounted in it, and say idmap undo again",
        "idmap undo: what was put on /run/r/srv is covered by another mount by now, or was moved; unmount that first",
        "idmap undo: 1 mounts of it are not there any more"]


def test_mount():
    done = script(f"""
        idmap mount /run/r/images/app /run/r/srv -o rw,{MAP}
        owners /run/r/srv/file; mounts | tail -n 1
        cd /run/r; idmap mount scratch mnt -t tmpfs -o size=64k; mounts | tail -n 1
        idmap mount /run/r/images /run/r/none -o {MAP}
        idmap mount /run/r/none /run/r/etc
        idmap mount /run/r/images /run/r/etc -o idmap=1:2
        cd /; umount /run/r/srv /run/r/mnt; mounts""")
    assert done.out == [
        "rc 0", "/run/r/srv/file 0:0", "/run/r/srv /images/app rw,nosuid,nodev,relatime,idmapped tmpfs", "rc 0",
        "/run/r/mnt / rw,nosuid,nodev,relatime tmpfs", "rc 6", "rc 3", "rc 2", "/run/r / rw,relatime tmpfs"]
    assert done.err[0] == ("idmap mount: mount:1: /run/r/images on /run/r/none: the target cannot be used in the new root"
                           " (not there); add X-mount.mkdir, as what is in /dev and /run is no image's")


def test_mount_that_fails_forgets_no_other():
    """Each is in the same record; an apply goes by it."""
    done = script("""
        table 't /srv tmpfs\n'
        cd /run/r; idmap mount t /run/r/srv -t tmpfs; idmap mount /run/r/none /run/r/etc
        grep -c tmpfs /run/idmap/apply/.by-hand@*; idmap mount u /run/r/mnt -t tmpfs; grep -c tmpfs /run/idmap/apply/.by-hand@*""")
    assert done.out == ["rc 0", "rc 3", "1", "rc 0", "2"]


def test_record_by_hand_does_not_grow():
    """What was unmounted since is forgotten, and nothing else; another mount namespace has its own."""
    done = script(f"""
        idmap mount first /run/r/srv -t tmpfs; {IDMAP} show /run/r/srv
        for i in 1 2 3 4 5; do {IDMAP} mount t /run/r/mnt -t tmpfs; umount /run/r/mnt; done
        idmap mount last /run/r/mnt -t tmpfs
        unshare --mount --propagation unchanged {IDMAP} mount other /run/r/opt -t tmpfs
        cd /run/idmap/apply; ls -A | wc -l; grep -h tmpfs .by-hand@* | sort; ls -A | grep new""")
    assert [line for line in done.out if "tmpfs" in line][-3:] == [
        "first /run/r/srv tmpfs rw,nosuid,nodev", "last /run/r/mnt tmpfs rw,nosuid,nodev", "other /run/r/opt tmpfs rw,nosuid,nodev"], done
    assert done.out[-4] == "3" and not done.err


def test_records_under_any_umask():
    """An undo goes by them, so nobody but root writes them."""
    done = script("""
        umask 0; table 't /srv tmpfs\nu /mnt tmpfs\n'; idmap apply -c /run/table --root /run/r; idmap mount v /run/r/opt -t tmpfs
        mount -t tmpfs more /run/r/mnt; idmap undo --root /run/r; stat -c %a /run/idmap /run/idmap/apply/* /run/idmap/apply/.by*""")
    assert done.out == ["rc 0", "rc 0", "rc 1", "755", "644", "644"], done


def test_empty_table_over_what_is_gone():
    """Nothing is recorded then, and --verify has nothing to miss."""
    done = script("""
        table 't /srv tmpfs\n'; idmap apply -c /run/table --root /run/r; umount /run/r/srv
        table '# none\n'; idmap apply -c /run/table --root /run/r; records; idmap apply --verify --root /run/r""")
    assert done.out == ["rc 0", "rc 0", "rc 0"] and not done.err


def test_record_that_has_no_room():
    """A row of more bytes than are left for it; nothing stands then, as nothing would be known of it."""
    extents = ",".join(f"{kind}:{100000 + 2 * i}:{(1 + (kind == 'g')) * i}:1" for i in range(300) for kind in "ug")
    done = script(f"""
        mount -o remount,size=1m /run; head -c 4096 /dev/zero >/run/one
        table '/images/app /mnt bind idmap={extents}\nu /srv tmpfs\n'
        dd if=/dev/zero of=/run/all bs=4096 2>/run/r/said; rm /run/one
        idmap apply -c /run/table --root /run/r; mounts; ls /run/idmap/apply""")
    assert done.out == ["rc 1", "/run/r / rw,relatime tmpfs"], done
    assert "cannot be written (" in done.err[0] and "; make room on /run, or mount a tmpfs there" in done.err[0]


def test_nofail_is_no_excuse_after_a_row_that_was_skipped():
    """What a row that is absent has left is not the next one's reason."""
    done = script("""
        ln -s ../etc /run/r/images/app/link; before=$(mounts)
        table '/dev/none /etc ext4 nofail,wait=0\n/images/app /opt/app bind\nt /opt/app/link/x tmpfs nofail\n'
        idmap apply -c /run/table --root /run/r; [ "$before" = "$(mounts)" ] || mounts""")
    assert done.out == ["rc 2"] and "in the tree of the row for /opt/app, where links decide nothing" in done.err[-1], done


@pytest.mark.parametrize("subdir", ["/", ".", "./"])
def test_rbind_of_all_of_its_source(subdir):
    """What stands in there is a row before it, however that is written."""
    done = script(f"""
        table '/images /etc rbind X-mount.subdir={subdir}\nt /images/app tmpfs\n'
        idmap apply -c /run/table --root /run/r; mounts | cut -d' ' -f1,4""")
    assert done.out == ["rc 0", "/run/r tmpfs", "/run/r/images/app tmpfs", "/run/r/etc tmpfs", "/run/r/etc/app tmpfs"], done


# ---- shared mounts, and what others have mounted ----


def test_peers_stay():
    """What a row was cloned from is not unmounted with it, neither after a failure nor when a link is met."""
    done = script("""
        mount --make-rshared /; mount -t tmpfs sub /run/r/images/app; touch /run/r/images/app/kept; ln -s srv /run/r/zlib
        table '/images /mnt rbind\\nt /no/such tmpfs\\n'
        idmap apply -c /run/table --root /run/r; ls /run/r/images/app
        mkdir /run/r/srv/x; table '/images /mnt rbind\\nt /zlib/x tmpfs\\n'
        idmap apply -c /run/table --root /run/r; ls /run/r/images/app /run/r/mnt/app
        idmap undo --root /run/r; ls /run/r/images/app; mounts""")
    assert done.out == ["rc 6", "kept", "rc 0", "/run/r/images/app:", "kept", "", "/run/r/mnt/app:", "kept", "rc 0", "kept",
                        "/run/r / rw,relatime tmpfs", "/run/r/images/app / rw,relatime tmpfs"]


@pytest.mark.parametrize("prepare, rows, said", [
    ("mount --bind /run/r/srv /run/r/mnt", "/srv /mnt bind\\n",
     "the mount on /run/r/mnt is shared with that on /run/r, so this would appear on /run/r/srv, too"),
    ("mount --bind /run/r/opt /run/r/opt/app", "a /opt/app tmpfs\\n",
     "the mount on /run/r/opt/app is shared with that on /run/r, so this would appear on /run/r/opt, too"),
    ("mount --bind /run/r/srv /run/r/mnt", "a /srv/x tmpfs\\nb /mnt/x tmpfs X-mount.mkdir\\n",
     "the mount on /run/r/mnt is shared with that on /run/r, so this would appear on /run/r/srv/x, too"),
], ids=["its source", "around it", "another row"])
def test_rows_that_would_cover_each_other_by_their_peers(prepare, rows, said):
    """As a bind of fstab's has them on a machine whose / is shared."""
    done = script(f"""
        mount --make-rshared /; {prepare}; before=$(mounts); table '{rows}'
        idmap apply -c /run/table --root /run/r; [ "$before" = "$(mounts)" ] || mounts; ls /run/r/srv
        for m in $(mounts | cut -d' ' -f1 | sort -r); do mount --make-private $m; done
        idmap apply -c /run/table --root /run/r; idmap undo --root /run/r; [ "$before" = "$(mounts)" ] || mounts""")
    assert said in done.err[0] and "--make-private" in done.err[0], done.err
    assert done.out[0] == "rc 6" and done.out[-2:] == ["rc 0", "rc 0"] and len(done.err) == 1, done


def test_where_else_a_row_appears_by_a_name_with_a_blank():
    done = script(r"""
        mount --make-rshared /; mkdir "/run/r/my data"; mount --bind "/run/r/my data" /run/r/mnt
        table 't /my\\040data/x tmpfs X-mount.mkdir\n'; idmap apply -c /run/table --root /run/r; idmap undo --root /run/r
        table 't /my\\040data/x tmpfs\n/mnt/x /srv bind\n'; idmap apply -c /run/table --root /run/r""")
    assert done.out == ["rc 0", "rc 0", "rc 6"], done
    assert done.err[0].startswith("/run/r/my data/x appears on /run/r/mnt/x, too") and "which the table names" in done.err[1]


def test_table_of_what_stands_with_other_words():
    """What a row takes back of the folder's mount is a part of it."""
    done = script("""
        mount -o remount,bind,noexec,noatime /run/r; table '/dev/root / auto rw\n'; idmap apply -c /run/table --root /run/r
        table '/dev/root / auto rw,exec,relatime\n'; idmap apply -c /run/table --root /run/r; idmap undo --root /run/r
        idmap apply -c /run/table --root /run/r; mounts""")
    assert done.out == ["rc 0", "rc 1", "rc 0", "rc 0", "/run/r / rw,relatime tmpfs"], done


@pytest.fixture
def btrfs_on_loops(tmp_path, monkeypatch):
    """Two loop devices with one btrfs that has the subvolumes a and b."""
    monkeypatch.setenv("PATH", os.environ["PATH"] + ":/usr/sbin:/sbin")
    folder, devices = tmp_path / "mounted", []
    folder.mkdir()

    def run(*command):
        done = subprocess.run(command, capture_output=True, text=True)
        if done.returncode:
            pytest.skip(f"no btrfs on loop devices: {done.stderr.strip()}")
        return done.stdout.strip()

    try:
        for name in ("one", "two"):
            (tmp_path / name).touch()
            os.truncate(tmp_path / name, 128 << 20)
            devices.append(run("losetup", "--find", "--show", tmp_path / name))
        run("mkfs.btrfs", "-q", *devices)
        run("mount", "-t", "btrfs", "-o", f"device={devices[1]}", devices[0], folder)
        try:
            run("btrfs", "subvolume", "create", folder / "a")
            run("btrfs", "subvolume", "create", folder / "b")
        finally:
            run("umount", folder)
        yield devices
    finally:
        for device in devices:
            subprocess.run(["losetup", "--detach", device], check=True)


@pytest.mark.parametrize("other", ["/dev/shm/alias", "the second device"])
def test_btrfs_by_two_names(other, btrfs_on_loops):
    """Its options are those of the first row, whichever subvolume another one shows, and however that names the disk."""
    one, two = btrfs_on_loops
    both = f"rw,device={one},device={two}"
    done = script(f"""
        mount -t tmpfs names /dev/shm; ln -s {one} /dev/shm/alias
        table '{one} /mnt btrfs {both},subvol=a,compress=zstd\\n{other if other[0] == "/" else two} /srv btrfs {both},subvol=b,'
        printf 'compress=lzo\\n' >>/run/table
        idmap apply -c /run/table --root /run/r; mount -t btrfs -o {both},compress=zstd,subvol=a /dev/shm/alias /run/r/mnt
        idmap mount {one} /run/r/srv -t btrfs -o {both},subvol=b,compress=lzo""")
    assert done.out == ["rc 2", "rc 0"], done
    assert "the row for /mnt has the same filesystem with other options" in done.err[0]
    assert " stands on /run/r/mnt already" in done.err[1]


@pytest.mark.skipif(not shutil.which("strace"), reason="no strace: install it")
def test_node_that_is_not_opened():
    """To open it may have effects: it starts a watchdog."""
    done = script("""
        mknod /run/r/srv/node c 1 3; touch /run/r/mnt/node; chmod 600 /run/r/srv/node
        table '/srv/node /mnt/node bind rw,dev\n'
        strace -f -e trace=open,openat,openat2 -o /run/calls """ + f"{IDMAP} apply -c /run/table --root /run/r; echo rc $?" + """
        grep 'srv/node' /run/calls | grep -v O_PATH
        cp /run/table /run/check; sed -i 's,/srv/node,/run/r/srv/node,' /run/check
        strace -f -e trace=open,openat,openat2 -o /run/calls """ + f"{IDMAP} check -c /run/check; echo rc $?" + """
        grep 'srv/node' /run/calls | grep -v O_PATH""")
    assert done.out == ["rc 0", "rc 0"], done


@pytest.mark.parametrize("how", ["--bind", "--rbind"])
@pytest.mark.parametrize("root", ["", "/dev/root / auto rw\\n"], ids=["rows", "root"])
def test_run_of_the_machine_in_a_root(root, how):
    """As whoever prepares a chroot binds it: what is mounted there meanwhile is seen in it, and does not stay."""
    done = script(f"""
        mount --make-rshared /; mount {how} /run /run/r/mnt; mkdir /run/r/mnt/below; mount -t tmpfs below /run/below
        before=$(mounts | sort); table '{root}/mnt /srv rbind\\nt /opt/app tmpfs\\n'
        idmap apply -c /run/table --root /run/r; mounts | grep -c idmap; ls -A /run /run/r/mnt | grep idmap
        idmap undo --root /run/r; [ "$before" = "$(mounts | sort)" ] || mounts""")
    assert done.out == ["rc 0", "0", "idmap", "idmap", "rc 0"], done


OF_OTHERS = "mount -t tmpfs s /run/s; mkdir /run/s/in; mount -t tmpfs in /run/s/in; touch /run/s/in/kept; "


@pytest.mark.parametrize("prepare, kept", [
    ("mount --rbind /run /run/peer; mount --make-rslave /run/peer; mount -t tmpfs own /run/peer/r/mnt; touch /run/peer/r/mnt/kept",
     "/run/peer/r/mnt/kept"),
    ("mount --rbind /run/s /run/r/etc; mount --rbind /run/r/etc /run/r/mnt; mount --make-rslave /run/r/mnt;"
     " mount --make-rshared /run/r/mnt; mount --rbind /run/r/mnt /run/else; mount --make-rslave /run/else", "/run/else/in/kept"),
    ("mount -t tmpfs m /run/r/mnt; mkdir -p /run/r/mnt/d/etc; mount --rbind /run/s /run/r/mnt/d/etc;"
     " mount -t tmpfs over /run/r/mnt/d; mount --rbind /run /run/peer", "/run/s/in/kept"),
    ("mount -t tmpfs m /run/r/mnt; mkdir -p /run/r/mnt/d/etc; mount --rbind /run/s /run/r/mnt/d/etc;"
     " mount -t tmpfs over /run/r/mnt/d", "/run/s/in/kept"),
], ids=["in a copy", "slave of a slave", "hidden, with a copy", "hidden"])
@pytest.mark.skipif(os.getuid() == 0 and not can_map(), reason="this kernel maps no tmpfs")
def test_peers_of_others_stay(prepare, kept):
    """What a mount in the folder shares with them is not unmounted there."""
    done = script(f"""
        mount --make-rshared /; mkdir /run/peer /run/s /run/else; {OF_OTHERS}{prepare}
        ls {kept}; table '/dev/root / auto idmap=100000:0:65536\\nt /srv tmpfs\\n'
        idmap apply -c /run/table --root /run/r; ls {kept}; owners /run/r/images/app; idmap undo --root /run/r; ls {kept}
        owners /run/r/images/app; ls /run/s/in""")
    assert done.out == [kept, "rc 0", kept, "/run/r/images/app 0:0", "rc 0", kept, "/run/r/images/app 100000:100000", "kept"], done


ROOT_AND_ROWS = "/dev/root / auto idmap=100000:0:65536\\nt /srv tmpfs\\n/images/app /opt/app bind\\n"


@pytest.mark.parametrize("prepare, folder", [
    ("mount --bind /run/r /run/r/mnt", "/run/r/mnt"),
    ("mount -t tmpfs sub /run/r/etc; mount --rbind /run/r /run/r/mnt", "/run/r/mnt"),
    ("mount --bind /run/r /run/r/mnt; mount --make-private /run/r/mnt; mount --bind /run/r /run/r/mnt/etc", "/run/r/mnt"),
    ("mount --bind /run /run/peer", "/run/r"), ("mount --rbind /run /run/peer", "/run/r"),
    ("mount --make-private /run/r; mount --bind /run /run/peer", "/run/r"),
    ("mount --bind /run /run/peer; mount --make-slave /run/peer", "/run/r"),
    ("mount -t tmpfs sub /run/r/etc; mount --bind /run /run/peer", "/run/r"),
    ("mount -t tmpfs sub /run/r/etc; mount --rbind /run /run/peer", "/run/r"),
    ("mount -t tmpfs sub /run/r/etc; mount --rbind /run /run/peer; mount --make-rslave /run/peer", "/run/r"),
    ("mkdir /run/s; mount -t tmpfs s /run/s; mkdir /run/s/in; mount -t tmpfs in /run/s/in; mount --rbind /run/s /run/r/etc;"
     " mount --rbind /run /run/peer", "/run/r"),
], ids=["of its own parent", "and what is in it", "something in it is", "parent elsewhere", "with all", "private", "slave",
        "more in it", "more in it, with all", "more in it, slaves", "bound into it, with all"])
@pytest.mark.skipif(os.getuid() == 0 and not can_map(), reason="this kernel maps no tmpfs")
def test_root_whose_mounts_have_peers(prepare, folder):
    """What is unmounted with the old one is nothing of the new one, which may appear elsewhere; that is told."""
    done = script(f"""
        mount --make-rshared /; mkdir /run/peer; {prepare}
        before=$(mounts | grep -v ^/run/peer | sort); table '{ROOT_AND_ROWS}'
        idmap apply -c /run/table --root {folder}
        mounts | awk '$1 ~ "^{folder}(/|$)" {{ print $1, $3 }}' | sort; owners {folder}/images/app
        idmap apply --verify --root {folder}; owners /run/peer/r/images/app 2>/dev/null >/run/seen
        idmap undo --root {folder}; [ "$before" = "$(mounts | grep -v ^/run/peer | sort)" ] || mounts
        owners /run/peer/r/images/app 2>/dev/null >>/run/seen; cat /run/seen; many=$(mounts | wc -l)
        idmap apply -c /run/table --root {folder} 2>/dev/null; idmap undo --root {folder}; [ $many = $(mounts | wc -l) ] || mounts""")
    new = [f"{folder} ro,relatime,idmapped", *[f"{folder}/etc rw,relatime"] * ("/etc" in prepare),
           *[f"{folder}/etc/in rw,relatime"] * ("/in;" in prepare),
           f"{folder}/opt/app ro,nosuid,nodev,relatime,idmapped", f"{folder}/srv rw,nosuid,nodev,relatime"]
    peer = [f"/run/peer/r/images/app {owner}" for owner in ("0:0", "100000:100000")] if folder == "/run/r" else []
    assert done.out == ["rc 0", *new, f"{folder}/images/app 0:0", "rc 0", "rc 0", *peer, "rc 0", "rc 0"], done
    place = " (in place of what is there)" if "--rbind /run /run/peer" in prepare else ""
    assert done.err == [f"/run/r appears on /run/peer/r, too{place}, since the mounts on /run and /run/peer are shared; make one private"
                        " before where that is not meant (mount --make-private)"] * (folder == "/run/r"), done


def test_where_else_a_row_appears():
    """On the peers of the mount that it is on, which is as the kernel's mounts are; but not on what is hidden, and not on what
    shows another folder. What stands on a row appears with it, which is said once."""
    done = script("""
        mount --make-rshared /; mount --bind /run/r/srv /run/r/srv; mount --bind /run/r/srv /run/r/mnt
        mount --bind /run/r/srv /run/r/opt; mount --make-slave /run/r/opt; mkdir /run/r/srv/other /run/other
        mount --bind /run/r/srv/other /run/other; before=$(mounts)
        table 'a /srv/x tmpfs X-mount.mkdir\n/images /srv/x/y bind X-mount.mkdir\n'
        idmap apply -c /run/table --root /run/r; mounts | grep -c /x; idmap undo --root /run/r
        [ "$before" = "$(mounts)" ] || mounts""")
    assert done.out == ["rc 0", "8", "rc 0"]
    assert done.err == [f"/run/r/srv/x appears on /run/r/{other}/x, too, since the mounts on /run/r/srv and /run/r/{other} are"
                        " shared; make one private before where that is not meant (mount --make-private)"
                        for other in ("mnt", "opt")]


@pytest.mark.parametrize("root", ["", "/dev/root / auto rw\n"], ids=["rows", "root"])
@pytest.mark.parametrize("rows", ["/images/app /images bind", "tmpfs /images overlay\n/images/app /images bind lower",
                                  "none /images overlay\n/images/app/deep /images bind lower"])
def test_source_that_its_own_row_covers(rows, root):
    """It is what is mounted there, and not the root's folder below that."""
    done = script(f"""
        mkdir -p /run/r/images/app/deep; mount -t tmpfs theirs /run/r/images/app
        mkdir /run/r/images/app/deep; touch /run/r/images/app/theirs /run/r/images/app/deep/theirs; mounts >/run/was
        table '{root}{rows}\n'; idmap apply -c /run/table --root /run/r; ls /run/r/images | grep theirs
        idmap undo --root /run/r; mounts | diff /run/was -""")
    assert done.out == ["rc 0", "theirs", "rc 0"], done.err


def test_undo_of_what_a_row_hides():
    """A mount came along onto the row, so that goes with the folder, and no path leads to the one below it."""
    done = script("""
        mkdir -p /run/r/opt/app /run/r/opt/x; mount -t tmpfs x /run/r/opt/x; mount -t tmpfs app /run/r/opt/app
        mkdir -p /run/r/opt/app/app /run/r/opt/app/x; mounts >/run/was
        table '/dev/root / auto rw\n/opt/app /opt bind\n'; idmap apply -c /run/table --root /run/r; mounts >/run/applied
        idmap undo --root /run/r; mounts | diff /run/applied -
        umount /run/r/opt/x; idmap undo --root /run/r; mounts | diff /run/was - | grep -c '^[<>]'""")
    assert done.out == ["rc 0", "rc 1", "rc 0", "1"], done
    assert done.err == [
        "idmap undo: the row on /run/r/opt covers the mount on /run/r/opt/app, and that on /run/r/opt/x stands on it;"
        " nothing is changed: unmount /run/r/opt/x, and say this again"]


def test_what_cannot_come_along_is_not_lost():
    done = script(f"""
        mkdir /run/r/srv/data; mount -t tmpfs data /run/r/srv/data; touch /run/r/srv/data/kept; before=$(mounts)
        table '/dev/root / auto rw,{MAP}\\n/opt/app /srv bind\\n'
        idmap apply -c /run/table --root /run/r; ls /run/r/srv/data; [ "$before" = "$(mounts)" ] || mounts""")
    if "cannot be idmapped" not in "".join(done.err):
        assert done.out == ["rc 6", "kept"]
        assert done.err == ["idmap apply: what is mounted on /run/r/srv/data cannot come along, since the new root has no such"
                            " folder (not there); unmount it first, or make the folder there"]


def test_mounts_of_others_stay():
    """/dev and its like, which are bound into a root, when that is replaced."""
    done = script(f"""
        mount --make-rshared /; mkdir -p /run/dev/pts /run/r/dev; mount -t tmpfs dev /run/dev; mkdir /run/dev/pts
        mount -t tmpfs pts /run/dev/pts; mount --rbind /run/dev /run/r/dev
        table '/dev/root / auto rw,{MAP}\\n'
        idmap apply -c /run/table --root /run/r; mounts
        idmap undo --root /run/r; mounts | wc -l""")
    assert done.out == [
        "rc 0", "/run/dev / rw,relatime tmpfs", "/run/dev/pts / rw,relatime tmpfs", "/run/r / rw,relatime,idmapped tmpfs",
        "/run/r/dev / rw,relatime tmpfs", "/run/r/dev/pts / rw,relatime tmpfs", "rc 0", "5"]


@pytest.mark.parametrize("kind", ["slave", "unchanged"])
@pytest.mark.parametrize("inside", ["", "mount -t tmpfs in /run/r/srv; mkdir /run/r/srv/in; mount -t tmpfs in /run/r/srv/in"])
def test_copies_in_other_namespaces(inside, kind):
    """As services have them on a machine whose / is shared: they see what is seen here, and nothing lies beneath."""
    done = script(f"""
        mount --make-shared /run
        umount /run/r; mount -t tmpfs root /run/r; mkdir /run/r/srv; touch /run/r/file; chown 1000:1000 /run/r/file; {inside}
        unshare --mount --propagation {kind} sleep 50 & sleep 0.3
        theirs() {{ nsenter --mount=/proc/$!/ns/mnt awk '$5 ~ "^/run/r" {{ print $5, $6 }}' /proc/$!/mountinfo | sort; }}
        before=$(theirs); table '/dev/root / auto rw,idmap=1000:0:1\\n'
        for i in 1 2; do
            idmap apply -c /run/table --root /run/r; theirs | grep -c idmapped; theirs | wc -l
            nsenter --mount=/proc/$!/ns/mnt stat -c %u /run/r/file; idmap undo --root /run/r
            [ "$before" = "$(theirs)" ] || theirs
        done; kill $!""")
    if "needs Linux 6.15" not in "".join(done.err):
        assert done.out == ["rc 0", "1", "3" if inside else "1", "0", "rc 0"] * 2


def test_links_to_the_root():
    done = script(f"""
        ln -s / /run/r/sl; touch /run/r/mine
        table 't /sl tmpfs\\n'; idmap apply -c /run/table --root /run/r
        ls /run/r/mine; mounts""")
    assert done.out == ["rc 2", "/run/r/mine", "/run/r / rw,relatime tmpfs"]
    assert "/sl is a link to /, and no row for / is meant; name another folder" in done.err[0]


def test_unbindable():
    """What is below is not what was named, and nothing is lost without a word."""
    done = script(f"""
        mount -t tmpfs hidden /run/r/srv; mount --make-unbindable /run/r/srv
        table '/srv /mnt bind {MAP}\\n'; idmap apply -c /run/table --root /run/r
        table '/dev/root / auto {MAP}\\n'; idmap apply -c /run/table --root /run/r
        mounts""")
    assert done.out == ["rc 3", "rc 6", "/run/r / rw,relatime tmpfs", "/run/r/srv / rw,relatime tmpfs"]
    assert "SOURCE lies on a mount that is unbindable" in done.err[0]
    assert "the mount on /run/r/srv in it is unbindable, so it cannot come along" in done.err[1]


def test_undo_says_what_it_cannot_do():
    done = script(f"""
        table 't /opt/app tmpfs\\n'; idmap apply -c /run/table --root /run/r
        mount -t tmpfs over /run/r/opt; idmap undo --root /run/r; umount /run/r/opt
        idmap undo --root /run/r; mounts
        mkdir /run/r/sub
        table '/dev/root / auto X-mount.subdir=sub,{MAP}\\n'; idmap apply -c /run/table --root /run/r
        idmap undo --root /run/r""")
    assert done.out == ["rc 0", "rc 1", "rc 0", "/run/r / rw,relatime tmpfs", "rc 0", "rc 1"]
    assert "/run/r/opt/app is covered by another mount by now, or was moved" in done.err[0]
    assert "is an overlay or a folder of what was mounted there, which cannot come back" in done.err[-1]


def test_undo_brings_the_options_back():
    done = script(f"""
        table '/dev/root / auto rw,nosuid,nodev,noexec,noatime,nosymfollow,{MAP}\\n'
        idmap apply -c /run/table --root /run/r; mounts
        idmap undo --root /run/r; mounts""")
    assert done.out == ["rc 0", "/run/r / rw,nosuid,nodev,noexec,noatime,nosymfollow,idmapped tmpfs", "rc 0",
                        "/run/r / rw,relatime tmpfs"]


def test_skipped_rows_are_no_rows_that_stand():
    done = script("""
        table '/dev/none /mnt ext4 nofail,wait=0\\nt /srv tmpfs\\n'
        idmap apply -c /run/table --root /run/r; idmap apply -c /run/table --root /run/r""")
    assert done.out == ["rc 0", "rc 0"] and done.err[-2:] == [
        "idmap apply: 1 rows were skipped then; take the others back with idmap undo to try them again",
        "idmap apply: the rows stand in /run/r already, nothing is changed"]


def test_where_it_is_recorded():
    done = script(f"""
        table 't /run tmpfs\\n'; idmap apply -c /run/table
        ln -s /idmap /run/link; table 't /link tmpfs\\n'; idmap apply -c /run/table --root /run
        table '/dev/root / auto {MAP}\\n'; idmap apply -c /run/table --root /run; mounts""")
    assert done.out == ["rc 2", "rc 2", "rc 6", "/run/r / rw,relatime tmpfs"]
    assert "that would cover /run/idmap/apply, where it is recorded" in done.err[0]
    assert done.err[1].startswith("/run/table:1:3: that would cover /idmap/apply, where it is recorded")
    assert "/run holds /run, where the work is done" in done.err[2]


def test_signal_while_it_waits():
    done = script("""
        table 't /srv tmpfs\\n/dev/none /mnt ext4 nofail,wait=40\\n'; idmap apply -c /run/table --root /run/r &
        sleep 2; pkill -INT -P $! idmap || kill -INT $!; wait; mounts; left""")
    assert done.out == ["rc 3", "/run/r / rw,relatime tmpfs", "idmap", "r", "table"]
    assert done.err[-1] == ("idmap apply: /run/table:2: /dev/none on /mnt: /dev/none has not come, and a signal ended"
                            " the waiting for it")


@pytest.mark.parametrize("root", [f"/dev/root / auto {MAP}\\n", ""])
@pytest.mark.parametrize("others", [
    "mount -t tmpfs other /run/r", "mkdir /run/o /run/o/u /run/o/w; mount -t overlay other -o"
    " lowerdir=/run/r,upperdir=/run/o/u,workdir=/run/o/w /run/r", "mount -t tmpfs other /run/r/opt", "umount /run/r/old"])
def test_mounts_of_others_while_it_waits(others, root):
    """The folder is another one by then, or what comes along is: nothing of theirs is lost, and nothing hidden."""
    done = script(f"""
        theirs() {{ mounts | grep -v /run/.idmap; }}; mkdir /run/r/old; mount -t tmpfs old /run/r/old
        table '{root}t /srv tmpfs\\n/dev/none /mnt ext4 nofail,wait=2\\n'; (sleep 1; {others}; theirs >/run/before) &
        idmap apply -c /run/table --root /run/r; wait; theirs >/run/after; cmp /run/before /run/after || echo differ; records""")
    if not root and "/run/r/o" in others.rpartition(" ")[2]:  # where rows are alone that is none of their business
        assert done.out[0] == "rc 0" and "run-r" in done.out
        return
    assert done.out == ["rc 1"], done
    assert done.err[-1] == ("idmap apply: others have mounted or unmounted in /run/r meanwhile, and that would be lost; say this"
                            " again when they are done")


def test_signal_while_it_works():
    """It waits for the end of the table, whichever it is, but for SIGKILL."""
    rows = "".join(f"t /m{i} tmpfs X-mount.mkdir\n" for i in range(400))
    done = script(f"""
        table '{rows}'; {IDMAP} apply -c /run/table --root /run/r & until ls /run/idmap/apply/*r* 2>/dev/null; do :; done
        for s in QUIT USR1 USR2 ALRM XCPU HUP 32 33 34 64 TERM; do kill -$s $!; done; wait $!; echo rc $?; mounts | grep -c /run/r/
        {IDMAP} undo --root /run/r & until grep -q halfway /run/idmap/apply/*r*; do :; done
        for s in INT HUP PIPE TERM; do kill -$s $!; done; wait $!; echo rc $?; ulimit -f 1; idmap apply -c /run/table --root /run/r; mounts | wc -l; left""")
    assert done.out[1:4] == ["rc 0", "400", "rc 0"] and done.out[4:] == ["rc 1", "1", "idmap", "r", "table"]
    assert "cannot be written (too large); make room" in done.err[-1], done.err


def test_top_that_is_lost_and_read_only():
    """ro is said of the overlay, and not of the tmpfs that it has for its top."""
    done = script("""
        table 'tmpfs /srv overlay ro\n/images/app /srv bind lower\n'; idmap apply -c /run/table --root /run/r
        mounts | grep srv; ls /run/r/srv""")
    assert done.out == ["rc 0", "/run/r/srv / ro,nosuid,nodev,relatime overlay", "file"] and not done.err


def test_what_a_person_types():
    done = script(f"""
        cd /run/r; idmap mount t new/er -t tmpfs -o X-mount.mkdir; mounts | tail -n 1
        idmap mount /run/r/images /run/r/srv -o 'X-mount.idmap=u:100000:0:10 g:100000:5:10'; owners srv
        idmap mount /run/r/images /run/r/etc -o 'idmap=100000:0:1 5'""")
    assert done.out == ["rc 0", "/run/r/new/er / rw,nosuid,nodev,relatime tmpfs", "rc 0", "srv 0:5", "rc 2"]


def test_not_root():
    # Where others may run it, too, as in the folder of root's own they may not.
    done = script(f"cp {IDMAP} /run/idmap; setpriv --reuid 65534 --clear-groups sh -c '/run/idmap apply --root /run/r; echo rc $?'")
    assert done.out == ["rc 1"] and done.err == ["idmap apply: only root can mount; say sudo idmap apply"]


@pytest.mark.parametrize("arguments,words", [
    (["apply", "--root"], "--root: no option, one without its value, or one that is given twice; see idmap apply --help"),
    (["apply", "--json"], "--json: no option"), (["apply", "x"], "x: no option"),
    (["undo", "x"], "x: no option"), (["undo", "-c", "x"], "-c: no option"),
    (["mount", "a"], "a: SOURCE and TARGET are needed"), (["mount"], "nothing: SOURCE and TARGET are needed"),
    (["mount", "a", "b", "c"], "c: no option"), (["mount", "a", "b", "-o"], "-o: no option")])
def test_bad_use(arguments, words):
    assert f"idmap {arguments[0]}: {words}" in idmap(*arguments, code=2).stderr


KILLED = """
        table '{rows}'
        mount -t tmpfs below /run/r/mnt; mkdir /run/r/mnt/in; mount -t tmpfs in /run/r/mnt/in; {prepare}
        before=$(mounts | sort)
        for n in $(seq 40); do
            strace -f -o /dev/null -e 'inject={call}:signal=SIGKILL:when='$n {idmap} apply -c /run/table --root /run/r
            [ $? -ne 0 ] || break
            timeout 20 {idmap} undo --root /run/r >/run/told 2>&1 || grep -q 'no idmap apply is recorded' /run/told ||
                cat /run/told >&2
            [ "$(mounts | sort)" = "$before" ] || {{ echo "after $n:"; mounts; }}
            {idmap} apply -c /run/table --root /run/r && {idmap} undo --root /run/r
            [ "$(mounts | sort)" = "$before" ] || {{ echo "and $n:"; mounts; }}
        done
        echo "killed $((n - 1)) times"; left"""


@pytest.mark.skipif(not shutil.which("strace"), reason="no strace: install it")
@pytest.mark.parametrize("prepare, rows", [
    (":", "t /srv tmpfs\\n/images /opt rbind\\nu /opt/app tmpfs\\n/mnt /etc rbind\\n/images/app /srv/new bind X-mount.mkdir,idmap=100000:0:65536\\n"),
    (":", "/dev/root / auto idmap=100000:0:65536\\n/images/app /opt/app bind\\nt /srv tmpfs\\n"),
    ("mount --make-rshared /", "/dev/root / auto idmap=100000:0:65536\\n/images/app /opt/app bind\\nt /srv tmpfs\\n"),
], ids=["rows", "root", "shared root"])
@pytest.mark.parametrize("call", ["move_mount", "open_tree", "mount_setattr", "clone", "writev", "umount2", "mount"])
def test_killed_anywhere(call, prepare, rows):
    """In that system call, the first one, the second one and so on: undo takes back what stands."""
    done = script(KILLED.format(prepare=prepare, rows=rows, call=call, idmap=IDMAP), timeout=300)
    assert done.out[0].startswith("killed ") and done.out[0] != "killed 0 times", (done.out, done.err)
    assert done.out[1:] == ["idmap", "r", "table", "told"] and set(done.err) == {"Killed"}, (done.out, done.err)


UNDO_KILLED = """
        {prepare}; table '/dev/root / auto {map}\\nt /srv tmpfs\\n'; before=$(mounts | sort)
        for n in $(seq 40); do
            {idmap} apply -c /run/table --root /run/r 2>/dev/null || echo "$n: no apply"
            strace -f -o /dev/null -e 'inject={call}:when='$n {idmap} undo --root /run/r 2>/dev/null && break
            {idmap} {again} --root /run/r >/run/told 2>&1 || grep -q 'no idmap apply is recorded' /run/told || cat /run/told
            [ '{again}' = undo ] || {idmap} undo --root /run/r
            [ "$(mounts | sort)" = "$before" ] || {{ echo "after $n:"; mounts; }}
        done
        echo "killed $((n - 1)) times" """


@pytest.mark.skipif(not shutil.which("strace"), reason="no strace: install it")
@pytest.mark.parametrize("prepare", [":", "mount --make-rshared /; mount -t tmpfs below /run/r/mnt; mkdir /run/peer; mount --rbind /run /run/peer"],
                         ids=["alone", "shared"])
@pytest.mark.parametrize("again", ["undo", "apply -c /run/table"], ids=["undo", "apply"])
@pytest.mark.parametrize("call", ["move_mount:signal=SIGKILL", "umount2:signal=SIGKILL", "writev:signal=SIGKILL", "umount2:error=ENOMEM"])
@pytest.mark.skipif(os.getuid() == 0 and not can_map(), reason="this kernel maps no tmpfs")
def test_undo_that_is_killed(call, again, prepare):
    """Or fails in its last steps: the next one goes on with it, or an apply does so before it begins."""
    done = script(UNDO_KILLED.format(prepare=prepare, call=call, again=again, idmap=IDMAP, map=MAP), timeout=300)
    assert done.out[0].startswith("killed ") and done.out[0] != "killed 0 times" and len(done.out) == 1, (done.out, done.err)


@pytest.mark.skipif(os.getuid() == 0 and not can_map(), reason="this kernel maps no tmpfs")
@pytest.mark.parametrize("row", ["", "t /srv tmpfs\\n"], ids=["root", "more"])
@pytest.mark.parametrize("kill", ["", "strace -f -o /dev/null -e inject=umount2:signal=SIGKILL"], ids=["whole", "killed"])
def test_undo_of_a_root_that_is_covered(row, kill):
    """What somebody has mounted on the folder since is not what is taken back."""
    if kill and not shutil.which("strace"):
        pytest.skip("no strace: install it")
    done = script(f"""
        table '/dev/root / auto {MAP}\\n{row}'; idmap apply -c /run/table --root /run/r
        [ -z '{kill}' ] || {kill} {IDMAP} undo --root /run/r
        mount -t tmpfs theirs /run/r; touch /run/r/theirs
        idmap undo --root /run/r; ls /run/r; records
        umount /run/r; idmap undo --root /run/r; mounts; owners /run/r/opt""")
    assert done.out == ["rc 0", "rc 1", "theirs", "run-r", "rc 0", "/run/r / rw,relatime tmpfs", "/run/r/opt 100000:100000"]
    assert any("is covered by another mount by now, or was moved" in line for line in done.err), done.err


def test_whoever_reads_goes():
    done = script(f"""
        table 't /srv tmpfs noauto\\n/dev/none /mnt ext4 nofail,wait=0\\nt /srv tmpfs\\nu /opt tmpfs\\n'
        ({IDMAP} apply -c /run/table --root /run/r 2>&1; echo $? >/run/code) | true
        cat /run/code; mounts; idmap undo --root /run/r; mounts""")
    root = "/run/r / rw,relatime tmpfs"
    assert done.out == ["0", root, "/run/r/opt / rw,nosuid,nodev,relatime tmpfs",
                        "/run/r/srv / rw,nosuid,nodev,relatime tmpfs", "rc 0", root]


def test_record_that_cannot_be_written():
    done = script("""
        table 't /srv tmpfs\\nu /opt tmpfs\\n'
        mkdir -p /run/idmap/apply; mount -t tmpfs -o size=4k,nr_inodes=4 full /run/idmap/apply
        head -c 4096 /dev/zero >/run/idmap/apply/x
        idmap apply -c /run/table --root /run/r; mounts | grep -v ' /run/idmap'""")
    assert done.out == ["rc 1", "/run/r / rw,relatime tmpfs", "/run/idmap/apply / rw,relatime tmpfs"]
    assert "cannot be written (no room left); make room on /run" in done.err[-1]


def test_mounts_of_others_inside_an_rbind():
    done = script("""
        mount -t tmpfs in /run/r/images/app
        mkdir /run/r/images/app/more
        mount -t tmpfs c /run/r/mnt; mkdir /run/r/mnt/a; mount -t tmpfs ca /run/r/mnt/a
        table '/images /mnt rbind\\n'
        idmap apply -c /run/table --root /run/r
        mount -t tmpfs users /run/r/mnt/app/more; touch /run/r/mnt/app/more/file
        idmap undo --root /run/r; ls /run/r/mnt/app/more
        umount /run/r/mnt/app/more
        idmap undo --root /run/r; mounts""")
    assert done.out[:3] == ["rc 0", "rc 1", "file"] and done.out[3] == "rc 0"
    assert [line.split()[0] for line in done.out[4:]] == ["/run/r", "/run/r/images/app", "/run/r/mnt", "/run/r/mnt/a"]
    assert "unmount what was mounted in it" in done.err[0]


def test_folder_that_was_moved():
    """Mountinfo has what was mounted first above what was moved onto it."""
    done = script(f"""
        mkdir /run/a /run/b; mount -t tmpfs a /run/a; mkdir /run/a/sub; mount -t tmpfs b /run/b; mkdir /run/b/sub
        mount --move /run/a /run/b; mount -t tmpfs sub /run/b/sub; touch /run/b/sub/file
        table '/dev/root / auto rw,{MAP}\\n'
        idmap apply -c /run/table --root /run/b; ls /run/b/sub; idmap undo --root /run/b; ls /run/b/sub""")
    assert done.out == ["rc 0", "file", "rc 0", "file"]


def test_undo_asks_first():
    done = script(f"""
        table '/dev/root / auto rw,{MAP}\\nt /srv tmpfs\\n'; idmap apply -c /run/table --root /run/r
        mkdir -p /run/r/mnt/in; mount -t tmpfs in /run/r/mnt; mount --make-unbindable /run/r/mnt
        idmap undo --root /run/r; mounts | grep -c srv""")
    assert done.out == ["rc 0", "rc 6", "1"]
    assert done.err == ["idmap undo: the mount on /run/r/mnt in it is unbindable, so it cannot come along; make that"
                        " private (mount --make-private)"]


def test_records_of_folders_inside():
    done = script(f"""
        mkdir /run/r/sub; mount -t tmpfs sub /run/r/sub; mkdir /run/r/sub/t
        table 't /t tmpfs\\n'; idmap apply -c /run/table --root /run/r/sub
        table '/dev/root / auto rw,{MAP}\\n'; idmap apply -c /run/table --root /run/r
        idmap undo --root /run/r/sub; idmap apply -c /run/table --root /run/r
        table 't /idmap tmpfs X-mount.mkdir\\n'; idmap apply -c /run/table --root /run""")
    assert done.out == ["rc 0", "rc 1", "rc 0", "rc 0", "rc 2"]
    assert done.err[0].startswith("idmap apply: rows of an earlier apply to /run/r/sub stand in it, such as the one on /run/r/sub")
    assert "that would cover /idmap/apply, where it is recorded" in done.err[1]


def test_top_in_another_overlay_after_a_failure():
    """overlayfs takes none; what was made for both goes, and what stands in the one goes before that one's."""
    done = script("""
        mkdir -p /run/r/a/b /run/r/c /run/r/e
        table 'upper /a/b overlay\\n/srv /a/b bind lower\\n/mnt /a/b bind rw,upper\\nupper /c overlay\\n/e /c bind lower\\n/a/b /c bind rw,upper\\n'
        idmap apply -c /run/table --root /run/r; ls /run/r/mnt; mounts""")
    assert done.out == ["rc 4", "/run/r / rw,relatime tmpfs"] and len(done.err) == 1


@pytest.mark.parametrize("before,rows", [
    ("/b/b/b", "/a /b/b/b rbind\\n/a/a /b/b bind\\n"), ("/b/b", "/a /b/b/b rbind\\n/a /b bind\\n"),
    ("/b/b/b", "/a /b/b/b rbind\\n"), ("/b/b/b", "/a/a /b/b bind\\n"), ("/b/b", "/a /b rbind\\n")])
def test_undo_of_an_rbind_among_what_came_along(before, rows):
    """What it shows with its tree is its own, wherever it stands."""
    if not can_map():
        pytest.skip("this kernel cannot map a clone of a tmpfs")
    done = script(f"""
        mkdir -p /run/r/a/a/b /run/r/a/b/b/b /run/r/b/b/b; mount --make-rprivate /run
        mount -t tmpfs theirs /run/r{before}; mkdir -p /run/r{before}/b/b /run/r{before}/a; touch /run/r{before}/mine
        before=$(mounts | sort)
        table '/dev/root / auto rw\nt /a/b tmpfs\n{rows}'; idmap apply -c /run/table --root /run/r; idmap undo --root /run/r
        [ "$(mounts | sort)" = "$before" ] && echo same || mounts; ls -d /run/r{before}/mine""")
    assert done.out == ["rc 0", "rc 0", "same", f"/run/r{before}/mine"], done


@pytest.mark.parametrize("mounts", [
    "mkdir -p /run/r/mnt/b/c; mount -t tmpfs inner /run/r/mnt/b/c; mount -t tmpfs outer /run/r/mnt/b",
    "mkdir -p /run/r/mnt/b; mount -t tmpfs one /run/r/mnt/b; mount -t tmpfs two /run/r/mnt/b; mkdir /run/r/mnt/b/c; mount -t tmpfs in /run/r/mnt/b/c"])
def test_undo_of_mounts_that_hide_others(mounts):
    done = script(f"""
        {mounts}; before=$(mounts)
        table '/mnt /srv rbind\n'; idmap apply -c /run/table --root /run/r; mounts | grep -c /run/r/srv
        idmap undo --root /run/r; [ "$(mounts)" = "$before" ] && echo same""")
    assert done.out == ["rc 0", str(2 + mounts.count("mount -t") - 1), "rc 0", "same"] and not done.err


@pytest.mark.parametrize("first,second", [
    ("table '/images/app /opt/app bind\\n'; idmap apply -c /run/table --root /run/r", "/images/app /r/opt/app bind"),
    ("table 'none /opt/app overlay\\n/images/app /opt/app bind lower\\n/mnt /opt/app bind lower\\n'; idmap apply -c /run/table --root /run/r",
     "none /r/opt/app overlay\\n/images/app /r/opt/app bind lower\\n/mnt /r/opt/app bind lower"),
    ("idmap mount /run/r/images/app /run/r/opt/app -o bind", "/r/images/app /r/opt/app bind")])
def test_same_words_of_another_root(first, second):
    """SOURCE is a path in the root that each is for; what is the same one stands already."""
    done = script(f"""
        mkdir -p /run/images/app /run/mnt; echo other >/run/images/app/file; mount --make-private /run; mount --make-private /run/r
        {first}; cat /run/r/opt/app/file
        table '{second}\n'; idmap apply -c /run/table --root /run; cat /run/r/opt/app/file""")
    assert done.out == ["rc 0", "data", "rc 0", "data" if "mount" in first else "other"] and not done.err


def test_rows_of_a_folder_around():
    """They would come along as clones, and nobody would know them any more."""
    done = script(f"""
        table '/images/app /srv bind\\n'; mkdir /run/o; mount -t tmpfs o /run/o; mkdir -p /run/o/in /run/o/images/app
        mount -t tmpfs in /run/o/in; mkdir /run/o/in/srv
        table '/images/app /in/srv bind\\n'; idmap apply -c /run/table --root /run/o
        table '/dev/root / auto rw,{MAP}\\n'; idmap apply -c /run/table --root /run/o/in
        idmap undo --root /run/o; mounts | grep -c /run/o/in/srv""")
    assert done.out == ["rc 0", "rc 1", "rc 0", "0"]
    assert done.err == ["idmap apply: rows of an earlier apply to /run/o stand in it, such as the one on /run/o/in/srv;"
                        " take them back with idmap undo --root /run/o"]


@pytest.mark.parametrize("change", ["mount -t tmpfs over /run/r/srv", "mount --move /run/r/srv /run/r/mnt"])
def test_rows_that_are_not_seen(change):
    done = script(f"""
        mount --make-private /run/r
        table '/images/app /srv bind\\n'; idmap apply -c /run/table --root /run/r
        {change}; idmap apply -c /run/table --root /run/r""")
    said = "the rows stand in /run/r, but the one on /run/r/srv is not seen there"
    # Before Linux 6.8 one that was moved is none of ours any more.
    assert done.out == ["rc 0", "rc 1"] and said in done.err[0] or ("move" in change and done.out == ["rc 0", "rc 0"])


@pytest.mark.parametrize("change,unseen", [
    ("true", False), ("mount -t tmpfs over /run/r/mnt", False), ("mount -t tmpfs over /run/r/srv", True),
    ("umount /run/r/srv", True), ("mkdir /run/low && mount --move /run/r /run/low && mount --bind /run/low /run/r", True)])
def test_verify(change, unseen):
    """Whether what was applied is seen, whatever the table says by now; but the root's own row, of which others may make
    another root."""
    done = script(f"""
        mount --make-private /run; mount --make-private /run/r
        idmap apply --verify --root /run/r
        table '/images/app /srv bind\n'; idmap apply -c /run/table --root /run/r
        {change}; idmap apply --verify --root /run/r; mounts | wc -l; rm /run/table; idmap apply --verify --root /run/r
        idmap apply --verify -k '' --root /run/r""")
    assert done.out[:2] == ["rc 0", "rc 0"] and done.out[2] == done.out[4] == f"rc {int(unseen)}" and done.out[5] == "rc 2"
    said = ["idmap apply: the row on /run/r/srv is not seen there any more: another mount covers it, or another root was made of"
            " this one, as systemd.volatile=, rd.overlay= and overlayroot= do; leave out one of the two"]
    assert done.err == (2 * said if unseen else []) + ["idmap apply: --verify: of what was applied, and of no table; see idmap apply --help"]


def test_verify_a_root():
    if not can_map():
        pytest.skip("this kernel cannot map a clone of a tmpfs")
    done = script(f"""
        mount --make-private /run; mount --make-private /run/r
        table '/dev/root / auto rw,{MAP}\n'; idmap apply -c /run/table --root /run/r
        mount -t tmpfs over /run/r; idmap apply --verify --root /run/r""")
    assert done.out == ["rc 0", "rc 0"] and not done.err


def test_mounts_on_one_folder():
    done = script(f"""
        mount -t tmpfs one /run/r/srv; mount -t tmpfs two /run/r/srv
        table '/dev/root / auto rw,{MAP}\\n'; idmap apply -c /run/table --root /run/r; mounts | grep -c /run/r/srv
        umount /run/r/srv; umount /run/r/srv; mount -t tmpfs under /run/r/opt/app; mount -t tmpfs over /run/r/opt
        idmap apply -c /run/table --root /run/r""")
    assert done.out == ["rc 6", "2", "rc 6"]
    assert done.err == [f"idmap apply: /run/table:1: /dev/root on /: the mount on /run/r/{name} in it covers another one, which cannot"
                        " come along; unmount one of the two" for name in ("srv", "opt")]


def test_undo_of_a_row_that_covers_a_mount():
    """The row goes before the folder is asked, so it stands in no way."""
    done = script(f"""
        mount -t tmpfs old /run/r/mnt
        table '/dev/root / auto rw,{MAP}\\nnew /mnt tmpfs\\n'; idmap apply -c /run/table --root /run/r
        mounts | grep -c mnt; idmap undo --root /run/r; mounts | grep -c mnt""")
    assert done.out == ["rc 0", "2", "rc 0", "1"] or "needs Linux 6.15" in done.err[0]


@pytest.mark.parametrize("kind", ["bind", "rbind"])
def test_undo_of_a_row_onto_which_mounts_came_along(kind):
    """They go back to where they were, what came with the row itself goes with it, and what somebody has
    mounted there since is never taken down."""
    done = script(f"""
        mkdir -p /run/r/srv/data /run/r/x/data /run/r/x/in; mount -t tmpfs old /run/r/srv/data
        mkdir /run/r/srv/data/more; mount -t tmpfs more /run/r/srv/data/more; touch /run/r/srv/data/more/file
        mount -t tmpfs in /run/r/x/in
        table '/dev/root / auto rw,idmap=0:0:65536\n/x /srv {kind}\nt /etc tmpfs\n'; before=$(mounts | sort)
        idmap apply -c /run/table --root /run/r; ls /run/r/srv/data/more
        mount -t tmpfs users /run/r/srv/in; touch /run/r/srv/in/users
        idmap undo --root /run/r; ls /run/r/srv/in; umount /run/r/srv/in; idmap undo --root /run/r; ls /run/r/srv/data/more
        [ "$before" = "$(mounts | sort)" ] || mounts; ls -A /run/idmap/apply""")
    if done.out[0] == "rc 0" and "needs Linux 6.15" not in "".join(done.err):
        assert done.out == ["rc 0", "file", "rc 1", "users", "rc 0", "file", ".lock"]


def test_undo_of_a_row_on_what_another_shows():
    """Two mounts of one path then, and only the upper one can be looked at by it."""
    done = script("""
        table 't /srv tmpfs X-mount.mkdir\n/srv /opt rbind\n/images /mnt bind\n'
        mkdir /run/r/srv/data; table 't /srv/data tmpfs\n/srv /opt rbind\n/images /opt/data bind\n'
        idmap apply -c /run/table --root /run/r; mounts | grep -c /run/r/opt/data
        idmap undo --root /run/r; mounts | grep -c /run/r/""")
    assert done.out == ["rc 0", "2", "rc 0", "0"] and not done.err


def test_apply_after_an_undo_that_has_stopped():
    """What was taken back is put in place once more, and all of it is when that is done."""
    done = script("""
        table 't /etc tmpfs\n/images/app /srv bind idmap=100000:0:1\n'; idmap apply -c /run/table --root /run/r
        cd /run/r/etc; idmap undo --root /run/r; idmap apply -c /run/table --root /run/r
        cd /; idmap apply -c /run/table --root /run/r; owners /run/r/srv; idmap undo --root /run/r; mounts | grep -c /run/r/""")
    assert done.out == ["rc 0", "rc 1", "rc 1", "rc 0", "/run/r/srv 0:0", "rc 0", "0"]
    assert [line.partition(";")[0] for line in done.err] == [
        "idmap undo: /run/r/etc cannot be unmounted (busy)",
        "idmap apply: an interrupted idmap undo has left rows in place",
        "idmap apply: /run/r/etc cannot be unmounted (busy)",
        "idmap apply: an interrupted idmap undo has left rows in place"]


def test_apply_where_a_row_is_gone():
    done = script("""
        table 't /etc tmpfs\n/images/app /srv bind\n'; idmap apply -c /run/table --root /run/r; umount /run/r/srv
        idmap apply -c /run/table --root /run/r; table 't /etc tmpfs\n'; idmap apply -c /run/table --root /run/r""")
    assert done.out == ["rc 0", "rc 1", "rc 1"]
    assert done.err == [f"idmap apply: 1 mounts of an earlier apply stand in /run/r, {why}; take them back with idmap"
                        " undo --root /run/r" for why in ("and others of it are not there any more", "of another table")]


@pytest.mark.parametrize("table", ["# t /etc tmpfs", "t /etc tmpfs noauto"])
def test_apply_of_no_rows(table):
    """It is another table like any other; with nothing in place there is nothing to say."""
    done = script(f"""
        table '{table}\\n'; idmap apply -c /run/table --root /run/r; ls /run/idmap/apply
        table 't /etc tmpfs\\n'; idmap apply -c /run/table --root /run/r
        table '{table}\\n'; idmap apply -c /run/table --root /run/r; idmap undo --root /run/r
        idmap apply -c /run/table --root /run/r; mounts""")
    assert done.out == ["rc 0", "rc 0", "rc 1", "rc 0", "rc 0", "/run/r / rw,relatime tmpfs"]
    assert done.err == ["idmap apply: 1 mounts of an earlier apply stand in /run/r, of another table; take them back with"
                        " idmap undo --root /run/r"]


@pytest.mark.parametrize("options,seen", [("-o idmap=100000:0:1 -o rw", "rw 0:0"), ("-o rw,noauto", "rw 100000:100000"),
                                          ("-o noexec -o nosymfollow", "ro,noexec,nosymfollow 100000:100000"),
                                          ("", "ro 100000:100000")])
def test_mount_options(options, seen):
    """Several -o are one list, and noauto is no word for whoever mounts by hand: as with mount(8)."""
    done = script(f"""
        idmap mount /run/r/images/app /run/r/srv {options}; stat -c %u:%g /run/r/srv/file
        mounts | grep srv""")
    words = [word for word in done.out[2].split()[2].split(",") if word in ("ro", "rw", "noexec", "nosymfollow")]
    assert done.out[:2] == ["rc 0", seen.split()[1]] and ",".join(words) == seen.split()[0] and not done.err


def test_what_is_told_of_what_is_absent_or_full():
    """The remedy is one that the row has not got already, and is about what is at fault."""
    done = script("""
        table '/dev/nope /srv ext4 nofail,wait=0\\n/srv /mnt bind nofail\\n'; idmap apply -c /run/table --root /run/r
        table 'tmpfs /srv overlay nr_inodes=4\\n/images /srv bind lower\\n'; idmap apply -c /run/table --root /run/r
        mount -t tmpfs c /run/r/mnt; mkdir /run/r/mnt/c; mount --make-unbindable /run/r/mnt
        for map in "" idmap=0:5:1; do table "/mnt/c /srv bind $map\\n"; idmap apply -c /run/table --root /run/r; done""")
    assert done.out == ["rc 0", "rc 4", "rc 3", "rc 3"]
    assert "/srv on /mnt: the row for /srv, which /srv lies on, is absent" == done.err[2].partition(":2: ")[2]
    assert "raise size= and nr_inodes=" in done.err[4]
    assert [line.partition("/srv: ")[2] for line in done.err[5:]] == 2 * [
        "SOURCE lies on a mount that is unbindable, which cannot be cloned; make that private (mount --make-private)"]


def test_two_mount_namespaces():
    """As a service with PrivateMounts= has one, with the same /run."""
    done = script("""
        table 't /etc tmpfs\\n'; idmap apply -c /run/table --root /run/r
        unshare --mount --propagation private sh -c "umount /run/r/etc; $IDMAP apply -c /run/table --root /run/r; echo $?; \\
            $IDMAP apply -c /run/table --root /run/r"
        records; idmap undo --root /run/r; mounts; idmap undo --root /run/r""".replace("$IDMAP", str(IDMAP)))
    assert done.out == ["rc 0", "0", "run-r", "run-r", "rc 0", "/run/r / rw,relatime tmpfs", "rc 1"]
    assert len(done.err) == 2 and "the rows stand in /run/r already" in done.err[0]


def test_closed_standard_files():
    """What is told goes nowhere then, and into no file of ours."""
    done = script(f"""
        mkdir /run/r/x; chown 5:5 /run/r/x; table '/x /srv bind {MAP}\\n'
        ({IDMAP} apply -c /run/table --root /run/r <&- >&- 2>&-); echo $?; grep -v '^#' /run/idmap/apply/run-r@*
        ({IDMAP} plan -c /run/table --root /run/r >&-); echo $?""")
    assert done.out == ["0", f"/x /srv bind ro,nosuid,nodev,{MAP}", "1"]
    assert done.err[-1] == "idmap: the output cannot be written"


def test_many_rows():
    """The time is not the cube of their number."""
    done = script("""
        cd /run/r; mkdir $(seq 1500); for i in *[0-9]; do echo "/images /$i bind idmap=100000:$i:1"; done >/run/table
        idmap apply -c /run/table --root /run/r; idmap undo --root /run/r; mounts | wc -l""", timeout=30)
    assert done.out == ["rc 0", "rc 0", "1"]


def test_record_of_a_second_pass():
    """Links of the root have all rows placed twice; recorded is what stands."""
    done = script(f"""
        mkdir -p /run/r/home /run/r/y /run/r/var /run/r/usr/lib/x; ln -s /etc /run/r/var/etc; ln -s usr/lib /run/r/lib
        table 't /home tmpfs\\n/lib/x /mnt bind\\ntmpfs /var/etc overlay\\n/y /var/etc bind lower\\n'
        idmap apply -c /run/table --root /run/r; grep -c 'home' /run/idmap/apply/*
        idmap apply -c /run/table --root /run/r; idmap undo --root /run/r; mounts""")
    assert done.out[:4] == ["rc 0", "1", "rc 0", "rc 0"] and len(done.out) == 5
    assert done.err == ["idmap apply: the rows stand in /run/r already, nothing is changed"]


def test_record_of_a_second_pass_without_rows():
    done = script("""
        mkdir -p /run/r/a/x; ln -s a /run/r/l; table '/dev/nope /a erofs nofail,wait=0\\nt /l/x tmpfs\\n'
        idmap apply -c /run/table --root /run/r; grep -c 'mount\\|tmpfs' /run/idmap/apply/run-r@*
        idmap undo --root /run/r""")
    assert done.out == ["rc 0", "0", "rc 0"] and len(done.err) == 3 and "is skipped" in done.err[1] + done.err[2]


def test_rbind_of_a_folder_on_itself():
    """What is mounted in it is shown by the row's map and options, and stays when the row goes."""
    done = script(f"""
        mkdir -p /run/r/b/a; mount -t tmpfs theirs /run/r/b/a
        table '/dev/root / auto rw,idmap=0:0:65536\\n/b /b rbind idmap=0:0:65536\\n'
        idmap apply -c /run/table --root /run/r; mounts | grep /run/r/b; idmap undo --root /run/r; mounts | grep /run/r/b""")
    if done.out != ["rc 5"] and "needs Linux 6.15" not in "".join(done.err):
        assert done.out == [
            "rc 0", "/run/r/b/a / rw,relatime tmpfs", "/run/r/b /b ro,nosuid,nodev,relatime,idmapped tmpfs",
            "/run/r/b/a / ro,nosuid,nodev,relatime,idmapped tmpfs", "rc 0", "/run/r/b/a / rw,relatime tmpfs"]


def test_map_of_a_user_namespace():
    done = script(f"unshare --user --map-root-user --mount {IDMAP} mount /run/r/images /run/r/srv -o {MAP}; echo rc $?")
    assert done.out == ["rc 1"] or (done.out == ["rc 5"] and "the ids are not all of the user namespace" in done.err[-1])


def test_what_was_made_for_what_others_are_cloned_from():
    done = script(f"""
        table '/images/app /srv/new/deep bind X-mount.mkdir\\n/srv/new/deep /mnt bind {MAP}\\n/no /etc bind\\n'
        idmap apply -c /run/table --root /run/r; ls /run/r/srv; mounts""")
    assert done.out == ["rc 3", "/run/r / rw,relatime tmpfs"]


def test_line_without_rows_and_the_file():
    """As in a boot: the file is read, unless the line has rows; with a line it may be missing."""
    done = script("""
        mkdir /run/up /run/work; mount -t overlay -o lowerdir=/etc,upperdir=/run/up,workdir=/run/work etc /etc
        idmap apply -k 'quiet ro' --root /run/r; mounts | tail -n 1
        echo 't /srv tmpfs' >/etc/idmap.conf
        idmap apply -k 'quiet ro' --root /run/r; mounts | tail -n 1
        echo wrong >/etc/idmap.conf; idmap check -k quiet; idmap check -k 'quiet idmap=a,/,erofs'""")
    assert done.out[:4] == ["rc 0", "/run/r / rw,relatime tmpfs", "rc 0", "/run/r/srv / rw,nosuid,nodev,relatime tmpfs"]
    assert done.out[4:] == ["rc 2", "rc 0"]


def test_run_that_fills_up():
    """At any byte of the record: all rows stand, or none does."""
    done = script("""
        long=$(printf '%0190d' 0); mkdir -p /run/idmap/apply /run/r/$long
        mount -t tmpfs -o size=4k,nr_inodes=9 full /run/idmap/apply
        for i in $(seq 10); do echo "t /$long/$i tmpfs X-mount.mkdir"; done >/run/rows
        for pad in $(seq 1 220); do
            { cat /run/rows; for i in 1 2 3; do echo "t /$(printf "%0${pad}d" $i)$i tmpfs X-mount.mkdir"; done
              for i in 1 2 3; do echo "t /$long/$i$i tmpfs X-mount.mkdir"; done; } >/run/table
            idmap apply -c /run/table --root /run/r 2>/run/told; echo "$(mounts | grep -c ' t$\\|/run/r/.* tmpfs')"
            idmap undo --root /run/r 2>/dev/null
        done""", timeout=120)
    found = {(done.out[i], done.out[i + 1]) for i in range(0, len(done.out), 3)}
    assert found == {("rc 0", "16"), ("rc 1", "0")}, found


@pytest.mark.parametrize("given, line, end", [
    ("", 2047, "x"),
    ("", 2047, " "),
    ("x" * 1000, 1046, "x"),
    ("idmap=t,/srv,tmpfs", 9, "x"),
], ids=["cut", "cut at a blank", "both are as long", "row of dracut's"])
def test_line_of_dracut(given, line, end):
    """What it was given stands in front of the kernel's line, and has nothing to do with that one's length."""
    cut = line == 2047
    line = (("" if "idmap" in given else "idmap=t,/srv,tmpfs ") + "x").ljust(line - 1) + end
    done = script(f"""
        printf '%s\\n' '{line}' >/run/line; mount --bind /run/line /proc/cmdline
        mount -t tmpfs etc /etc; mkdir /etc/cmdline.d; echo '{given}' >/etc/cmdline.d/own.conf
        PATH={IDMAP.parent}:$PATH {REPOSITORY}/hooks/dracut/90idmap/idmap-apply /run/r; echo "rc $?"; umount /etc; mounts""")
    root = "/run/r / rw,relatime tmpfs"
    if cut:
        assert done.out == ["rc 2", root] and "it has 2047 bytes, and a longer one is cut" in done.err[-1], (done.out, done.err)
    else:
        assert done.out == ["rc 0", root, "/run/r/srv / rw,nosuid,nodev,relatime tmpfs"] and not done.err
