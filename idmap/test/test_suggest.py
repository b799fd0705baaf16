# SPDX-License-Identifier: MIT
"""What idmap suggest prints is a map that a table takes, which leaves out nothing without a word; else nothing is
printed, and why."""

from __future__ import annotations

import os
import random
import re
import struct
import subprocess

import pytest

from running import BUILD, idmap

ROOT_ONLY = pytest.mark.skipif(os.getuid() != 0, reason="only root can give files to other owners")


# ---- of a user ----

def test_user_that_is_none():
    assert idmap("suggest", "--subuid", "no such", code=3).stderr == (
        "idmap suggest: no such is no user of /etc/passwd; name one\n")


@pytest.fixture
def subids(tmp_path):
    """In a mount namespace with files of its own; alice has the uid 1000 and the gid 1001."""
    def run(subuid, subgid, code=0):
        for name, text in ("passwd", "alice:x:1000:1001::/:\n"), ("subuid", subuid), ("subgid", subgid):
            (tmp_path / name).write_text(text)
        script = " && ".join(f"touch /etc/{name} && mount --bind {tmp_path}/{name} /etc/{name}"
                             for name in ("passwd", "subuid", "subgid"))
        done = subprocess.run(["unshare", "--mount", "sh", "-c",
                               f"{script} && exec {BUILD}/idmap suggest --subuid alice"], capture_output=True, text=True)
        assert done.returncode == code, (done.stdout, done.stderr)
        assert code or idmap("id", done.stdout.strip(), "0")
        return done
    return run


@ROOT_ONLY
def test_subuid(subids):
    done = subids("bob:100000:65536\nalice:231072:65536\n", "1000:300000:65536\n")
    assert done.stdout == "uidmap=1000:0:1,231072:1:65536,gidmap=1001:0:1,300000:1:65536\n", done.stderr


@ROOT_ONLY
def test_all_ranges_of_a_user(subids):
    """The lowest first, as containers have them, by the user's name or his number, each once."""
    done = subids("alice:500000:1000\nbob:1:5\n1000:300000:10\nalice:300000:10\nalice:501000:1\n",
                  "1000:300000:65536\nalice:100000:65536\n")
    assert done.stdout == ("uidmap=1000:0:1,300000:1:10,500000:11:1001,"
                           "gidmap=1001:0:1,100000:1:65536,300000:65537:65536\n")
    assert not done.stderr


@ROOT_ONLY
@pytest.mark.parametrize("lines,said", [
    ("alice:100000:4294967295\n", "suggestion:1:17: extent '100000:1:4294967295' reaches disk id 4295067294; the last id"
                                  " is 4294967294"),
    ("alice:5000:4000000000\nalice:4100000000:100000000\nalice:4210000000:1\nalice:1:2000\n",
     "suggestion:1:17: extents 1000:0:1 and 1:1:2000 overlap on the disk side for uids (id 1000); let each id stand in"
     " one extent only"),
    ("alice:500:1000\n", "suggestion:1:17: extents 1000:0:1 and 500:1:1000 overlap on the disk side for uids (id 1000);"
                         " let each id stand in one extent only"),
    ("alice:5000:4000000000\nalice:2000000000:2000000000\n", "suggestion:1:35: extent"
     " '2000000000:4000000001:2000000000' reaches seen id 6000000000; the last id is 4294967294"),
    ("".join(f"alice:{10000 + 10 * i}:1\n" for i in range(340)),
     "suggestion:1:1: the uid map has 341 extents, 1 more than the kernel's limit of 340; map wider ranges")],
    ids=["too far", "of two", "his own", "too many", "extents"])
def test_no_map_of_a_user(lines, said, subids):
    done = subids(lines, "alice:100000:65536\n", code=5)
    assert done.stdout == "" and said in done.stderr
    assert all(line.startswith("idmap suggest: suggestion:1:") for line in done.stderr.splitlines())


@ROOT_ONLY
def test_lines_that_are_no_ranges(subids):
    done = subids("alice:x:5\nalice:100000:65536\nalice:7:0\nalice:8\nbob:y:z\n", "alice:100000:65536\n")
    assert done.stdout == "uidmap=1000:0:1,100000:1:65536,gidmap=1001:0:1,100000:1:65536\n"
    assert done.stderr.splitlines() == [f"/etc/subuid: '{text}' of alice is no range FIRST:COUNT; it is left out"
                                        for text in ("x:5", "7:0", "8")]


# ---- by names ----

def test_by_names(tmp_path):
    for name, passwd, group in (
            ("old", "root:x:0:0::/:\nwww:x:33:33::/:\nsync:x:101:65534::/:\ngone:x:5:5::/:\n", "root:x:0:\nwww:x:33:\n"),
            ("new", "root:x:0:0::/:\nwww:x:80:80::/:\nsync:x:102:65534::/:\n", "root:x:0:\nwww:x:33:\n")):
        (tmp_path / name / "etc").mkdir(parents=True)
        (tmp_path / name / "etc/passwd").write_text(passwd)
        (tmp_path / name / "etc/group").write_text(group)
    done = idmap("suggest", "--from", tmp_path / "old", "--to", tmp_path / "new")
    assert done.stdout == "uidmap=33:80:1,101:102:1,identity,gidmap=identity\n"
    assert "gone (5) has no namesake in the new one\n" in done.stderr
    assert "33 on disk is seen as 80" in idmap("id", done.stdout.strip(), "33").stdout
    done = idmap("suggest", "--from", tmp_path / "old", "--to", tmp_path, code=3)
    assert done.stderr.endswith("etc/passwd cannot be read (not there); name a folder that has it\n")


@pytest.mark.parametrize("kind", ["link", "fifo", "zero"])
def test_names_stay_in_the_tree(kind, tmp_path):
    """Its links are followed as a process that lives there sees them, and nothing is waited for."""
    for name, uid in ("old", 555), ("new", 100):
        (tmp_path / name / "etc").mkdir(parents=True)
        (tmp_path / name / "etc/passwd").write_text(f"alice:x:{uid}:0::/:\n")
        (tmp_path / name / "etc/group").write_text("root:x:0:\n")
    passwd = tmp_path / "old/etc/passwd"
    if kind == "link":
        outside = tmp_path / "passwd"  # which the link leads to in the tree, and on this machine
        outside.write_text("alice:x:777:0::/:\n")
        inside = tmp_path / "old" / str(outside)[1:]
        inside.parent.mkdir(parents=True)
        passwd.rename(inside)
        passwd.symlink_to(outside)
        assert idmap("suggest", "--from", tmp_path / "old", "--to", tmp_path / "new").stdout.startswith("uidmap=555:100:1,")
        return
    passwd.unlink()
    os.mkfifo(passwd) if kind == "fifo" else passwd.symlink_to("/dev/zero")
    said = "invalid argument" if kind == "fifo" else "not there"
    assert f"etc/passwd cannot be read ({said})" in idmap(
        "suggest", "--from", tmp_path / "old", "--to", tmp_path / "new", code=3).stderr


@pytest.fixture
def by_names(tmp_path):
    def run(old, new, code=0):
        for name, ids in ("old", old), ("new", new):
            (tmp_path / name / "etc").mkdir(parents=True)
            (tmp_path / name / "etc/passwd").write_text("".join(f"{user}:x:{uid}:0::/:\n" for user, uid in ids))
            (tmp_path / name / "etc/group").write_text("root:x:0:\n")
        done = idmap("suggest", "--from", tmp_path / "old", "--to", tmp_path / "new", code=code)
        assert code or idmap("id", done.stdout.strip(), "0")
        return done
    return run


def test_many_names(by_names):
    users = [(f"user{i}", 10000 + i) for i in range(20000)]
    done = by_names(users, [(name, 40000 if uid == 29000 else uid) for name, uid in users])
    assert done.stdout == "uidmap=29000:40000:1,identity,gidmap=identity\n" and not done.stderr


def test_names_that_share_a_number(by_names):
    """On either side. The first one counts, and where nothing is lost nothing is told."""
    done = by_names([("root", 0), ("toor", 0), ("www", 33), ("web", 33), ("ftp", 34), ("mail", 8), ("two", 5), ("two", 6)],
                    [("mail", 9), ("root", 0), ("toor", 0), ("web", 81), ("www", 80), ("ftp", 80), ("two", 7)])
    assert done.stdout == "uidmap=5:7:1,8:9:1,33:80:1,identity,gidmap=identity\n"
    assert done.stderr.splitlines() == [
        "two has two numbers, 5 and 6: the first counts",
        "web (uid 33, in the new one 81) shares a number with www (33, 80) and is left out",
        "ftp (uid 34, in the new one 80) shares a number with www (33, 80) and is left out"]


def test_numbers_that_are_none(by_names, tmp_path):
    done = by_names([("none", 4294967295), ("a", 5), ("big", 4294967296), ("minus", "-1"), ("+", "")],
                    [("none", 7), ("a", 6), ("big", 8)])
    assert done.stdout == "uidmap=5:6:1,identity,gidmap=identity\n"
    assert done.stderr.splitlines() == [
        f"{tmp_path}/old/etc/passwd:{line}: {name} has the number {number}, which is no id: left out"
        for line, name, number in ((1, "none", 4294967295), (3, "big", 4294967296), (4, "minus", -1))]
    assert idmap("id", done.stdout.strip(), "7")


@pytest.mark.parametrize("step,count", [(1, 341), (2, 171)])
def test_more_names_than_extents(step, count, by_names):
    """What identity adds between them counts, too."""
    users = [(f"user{i}", 10000 + step * i) for i in range(count)]
    done = by_names(users, [(name, 60000 - uid) for name, uid in users], code=5)
    assert done.stdout == ""
    assert re.search(r"the uid map has \d+ extents, \d+ more than the kernel's limit of 340", done.stderr)


# ---- of a folder ----

def suggested(folder, ids):
    """ids: those of the folder itself first. Gives what suggest and check have to say."""
    folder.mkdir()
    for i, uid in enumerate(ids[1:]):
        (folder / str(i)).write_text("")
        os.chown(folder / str(i), uid, uid)
    os.chown(folder, ids[0], ids[0])
    done = idmap("suggest", folder)
    conf = folder.parent / "conf"
    conf.write_text(f"/dev/vda /srv erofs {done.stdout}")
    return done, idmap("check", "-c", conf, "--tree", f"/dev/vda={folder}").stderr.splitlines()


@ROOT_ONLY
@pytest.mark.parametrize("ids,option", [
    ((110000, 110000, 110500, 180000), "idmap=110000:0:131072"),
    ((0, 66000, 140000), "idmap=0:0:196608"),
    ((1000, 231072 + 98, 231072 + 32), "idmap=1000:0:1,231072:1:65535"),
    ((1234567, 231072 + 98, 231072 + 32), "idmap=1234567:0:1,231072:1:65535"),  # a user of a directory
    ((1000, 1000, 1000, 231072, 231072), "idmap=1000:0:1,231072:1:65535"),
    ((0, 100033, 100033), "idmap=0:0:65536,100000:65536:65536"),
    ((100000, 4294967294), "idmap=100000:0:65536,4294936224:65536:31071"),
    ((4294967294,), "idmap=4294967294:0:1"),
    ((100000, 0, 100000, 100007), "idmap=100000:0:65536,0:65536:65536"),  # as lost+found is root's on disk
    ((100000, 100000, 100000, 0), "idmap=100000:0:65536,0:65536:65536"),
    ((100000, 100000, 100000, 33), "idmap=100000:0:65536,0:65536:65536"),
    ((5242880, 5242880, 33), "idmap=5242880:0:65536,0:65536:65536"),
    ((100000, 100001, 165534, 65534), "idmap=100000:0:65536,0:65536:65536"),  # nobody's, of this machine
    ((100000, 101000, 40000), "idmap=100000:0:65536,0:65536:65536"),
    ((165600, 99000), "idmap=165600:0:65536,65536:65536:65536")])
def test_ranges(ids, option, tmp_path):
    done, said = suggested(tmp_path / "tree", ids)
    assert (done.stdout, said) == (option + "\n", [])


@ROOT_ONLY
@pytest.mark.parametrize("ids,option", [
    ((0, 100000, 100033), "idmap=100000:0:65536"),
    ((0, 100000, 165535), "idmap=100000:0:65536"),
    ((0, 0, 5242880, 5242880, 5242913), "idmap=5242880:0:65536"),
    ((0, 165536, 165536), "idmap=165536:0:65536"),
    ((1000, 100000, 100008, 300000), "idmap=100000:0:65536,296608:65536:65536"),
    ((1234567, 100000, 100008), "idmap=100000:0:65536")])
def test_folder_that_was_made_to_unpack_in(ids, option, tmp_path):
    """By root or by a user, and an archive without an entry for it: none of the others is shifted by one for that."""
    done, said = suggested(tmp_path / "tree", ids)
    made, base = ids.count(ids[0]), option[6:].split(":")[0]
    assert done.stdout == option + "\n"
    for kind in ("uid", "gid"):
        assert (f"{made} files have the {kind} {ids[0]}, such as /: left out, as whoever unpacked the others has made them;"
                f" give them to {base} (chown), or they are nobody's") in done.stderr.splitlines()
        assert sum(f"its root folder has the {kind} {ids[0]} on disk" in line for line in said) == 1
    assert len(said) == 4, said


@ROOT_ONLY
def test_any_ids(tmp_path):
    """Whatever owners there are, no file is nobody's under what is suggested but those that it says, and the folder's is root
    or in root's range."""
    numbers = random.Random(1)
    strangers = 0
    for run in range(120):
        near = [numbers.choice((0, 1000, 65536, 99999, 100000, 165536, 4294900000)) for _ in range(3)]
        ids = [min(numbers.choice(near) + numbers.choice((0, 1, 500, 65535, 65536, 70000, 131073)), 4294967294)
               for _ in range(numbers.randint(1, 8))]
        done, said = suggested(tmp_path / str(run), ids)
        left_out = f"the uid {ids[0]}, such as /: left out" in done.stderr
        strangers += left_out
        assert [line for line in said if not (left_out and re.search(rf"the [ug]id {ids[0]}\b", line))] == [], (ids, done)
        disk, _, count = map(int, re.search(r"=([^,]*)", done.stdout)[1].split(":"))
        assert left_out or disk <= ids[0] < disk + count, (ids, done)
    assert 0 < strangers < 20


@ROOT_ONLY
def test_more_ranges_than_extents(tmp_path):
    tree = tmp_path / "tree"
    tree.mkdir()
    for i in range(341):
        (tree / str(i)).write_text("")
        os.chown(tree / str(i), 1000000 + i * 200000, 0)
    done = idmap("suggest", tree, code=5)
    assert done.stdout == "" and "than the kernel's limit of 340" in done.stderr


@ROOT_ONLY
def test_deep_folders(tmp_path):
    """More of them than nftw(3) is asked to keep open, and than a process may have open at first."""
    tree, deepest = f"{tmp_path}/tree", f"{tmp_path}/tree" + 1100 * "/d"
    sh = lambda *words: subprocess.run(words, check=True)
    sh("mkdir", "-p", deepest)
    sh("chown", "-R", "100000:100000", tree)
    sh("chown", "100005", f"{tree}/d")
    sh("chown", "300000", deepest)
    conf = tmp_path / "conf"
    conf.write_text("/dev/vda /srv erofs idmap=100000:0:65536\n")
    try:
        suggestion = idmap("suggest", tree).stdout
        told = idmap("check", "-c", conf, "--tree", f"/dev/vda={tree}").stderr
    finally:
        sh("rm", "-r", tree)  # pytest goes down by itself, and not so far
    assert suggestion == "idmap=100000:0:65536,296608:65536:65536\n" and "1 files have the uid 300000" in told


@ROOT_ONLY
def test_ids_that_acls_name(tmp_path):
    tree = tmp_path / "tree"
    tree.mkdir()
    os.chown(tree, 100000, 100000)
    acl = struct.pack("<I", 2) + b"".join(struct.pack("<HHI", *entry) for entry in (
        (1, 7, 0xffffffff), (2, 5, 300000), (4, 5, 0xffffffff), (8, 5, 400000), (0x10, 5, 0xffffffff), (0x20, 0, 0xffffffff)))
    try:
        os.setxattr(tree, "system.posix_acl_default", acl)
    except OSError:
        pytest.skip(f"no ACLs on the file system of {tmp_path}")
    (tmp_path / "conf").write_text("/dev/vda /srv erofs " + idmap("suggest", tree).stdout)
    assert idmap("check", "-c", tmp_path / "conf", "--tree", f"/dev/vda={tree}").stderr == ""
