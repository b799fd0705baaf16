# SPDX-License-Identifier: MIT
"""idmap(8), as people use it: what it prints, and with which exit code."""

from __future__ import annotations

import json
import os
import re
import struct
import subprocess
from pathlib import Path

import pytest

from running import BUILD, REPOSITORY, idmap

PROGRAM = (BUILD / "idmap").read_bytes()  # a static one, as a real init may be
HERE = Path(__file__).resolve().parent
ROOT_ONLY = pytest.mark.skipif(os.getuid() != 0, reason="only root can give files to other owners")


def unescape(text):
    """<09> is a byte, <a*255> a letter many times, <> nothing."""
    return re.sub(r"<(?:([0-9a-f]{2})|(.)\*(\d+))?>", lambda m: bytes.fromhex(m[1]).decode("latin-1") if m[1] else
                  m[2] * int(m[3]) if m[2] else "", text)


def cases():
    """Those of table.data whose command line can be written as one."""
    case = None
    for line in (HERE / "table.data").read_text(encoding="latin-1").splitlines():
        word, _, rest = line.partition(" ")
        if not line or line.startswith("#"):
            continue
        if word == "case":
            if case:
                yield case
            case = {"name": rest, "file": None, "line": [], "rows": [], "errors": [], "odd": False}
        elif word in ("file", "tail"):
            case["file"] = (case["file"] or "") + unescape(rest) + ("\n" if word == "file" else "")
        elif word == "word":
            value = unescape(rest)
            case["line"].append(f'idmap="{value}"')
            case["odd"] |= '"' in value or "\n" in value or not value
        elif word == "row":
            case["rows"].append(unescape(rest))
        elif word == "error":
            case["errors"].append(unescape(rest))
        elif word in ("bare", "more", "off"):
            case["odd"] = True
        else:
            case["line"].append(unescape(line))
    yield case


CASES = [case for case in cases() if not case["odd"]]


@pytest.mark.parametrize("case", CASES, ids=[case["name"] for case in CASES])
def test_very_lines_of_the_boot(case, tmp_path):
    conf = tmp_path / "conf"
    arguments = ["-k", " ".join(case["line"]).encode("latin-1")] if case["line"] else []
    if case["file"] is not None:
        conf.write_bytes(case["file"].encode("latin-1"))
        arguments += ["-c", conf]
    for command in ("check", "plan"):
        done = subprocess.run([BUILD / "idmap", command, *arguments], capture_output=True)
        said = done.stderr.decode("latin-1").replace(str(conf), "/etc/idmap.conf").splitlines()
        assert [line for line in said if line not in case["errors"]] == [] or not case["errors"]
        assert [line for line in said if line in case["errors"]] == case["errors"]
        assert done.returncode == (2 if case["errors"] else 0)
    if not case["errors"]:
        assert done.stdout.decode("latin-1").splitlines() == case["rows"]


def test_enough_cases():
    assert len(CASES) > 200


# ---- the table ----

CONF = "/dev/vda / erofs idmap=100000:0:65536\n/images/app /opt/app bind noexec,idmap=100000:5:10,identity\n"


@pytest.fixture
def conf(tmp_path):
    path = tmp_path / "idmap.conf"
    path.write_text(CONF)
    return path


def test_plan(conf):
    rows = json.loads(idmap("plan", "-c", conf, "--json").stdout)
    assert rows[0] == {"place": f"{conf}:1", "source": "/dev/vda", "target": "/", "type": "erofs",
                       "options": ["ro"],
                       "map": {"uids": [[100000, 0, 65536]], "gids": [[100000, 0, 65536]]}}
    assert rows[1]["options"] == ["ro", "nosuid", "nodev", "noexec"] and rows[1]["target"] == "/opt/app"
    text = idmap("plan", "-c", conf).stdout
    assert text.startswith("/dev/vda / erofs ro,idmap=100000:0:65536\n")
    conf.write_text(text)
    assert idmap("plan", "-c", conf).stdout == text


def test_command_line_stands_in_for_the_file(conf):
    assert idmap("plan", "-c", conf, "-k", "root=/dev/vdb rootfstype=ext4 rw idmap=0:5:1").stdout == (
        "/dev/vdb / ext4 rw,idmap=0:5:1\n")
    assert "/dev/vda / erofs" in idmap("plan", "-c", conf, "-k", "quiet").stdout


@pytest.mark.parametrize("row", [
    "/dev/root / auto rw,exec,relatime,idmap=0:0:10", "/dev/root / auto ro,suid,dev,strictatime,symfollow",
    "/dev/root / auto ro,diratime", "/a /b bind ro,nosuid,nodev,relatime,diratime", "/a /b bind ro,nosuid,nodev,noatime"])
def test_plan_says_what_a_row_takes_back(row, tmp_path):
    """Of what stands, so that the text means the same."""
    (tmp_path / "conf").write_text(row + "\n")
    assert idmap("plan", "-c", tmp_path / "conf", "--root", tmp_path).stdout == row + "\n"


@pytest.mark.parametrize("length", [2046, 2047, 2048, 2049, 5000])
def test_length_of_the_line(length):
    """What a boot would say of 2,047 bytes; a longer line would reach it as so many."""
    line = "root=/dev/vda rootfstype=erofs idmap=0:5:1 "
    for end in ("", "\n"):
        done = idmap("check", "-k", line.ljust(length, "x") + end, code=0 if length < 2047 else 2)
        words = {2046: "", 2047: "it has 2047 bytes, and a longer one is cut to these without a word"}.get(
            length, f"it has {length} bytes, and is cut to 2047 without a word")
        assert words in done.stderr and done.stderr.count("without a word") == bool(words)
    # /proc/cmdline of a system that runs has what bootconfig adds.
    if length != 2047:
        said = idmap("check", "--root", "/sysroot", "-k", line.ljust(length, "x")).stderr
        assert "without a word" not in said
        assert (f"the line has {length} bytes, as bootconfig adds to it, and whether the loader's own were cut to 2047"
                in said) == (length > 2047)


@pytest.mark.parametrize("length", [1024, 2046, 2047, 2048])
def test_lines_in_front(length):
    """Of several the kernel's own is the last, and that alone is cut."""
    own = "idmap=t,/srv,tmpfs ".ljust(length, "x")
    lines = ["-k", "x" * 1022, "-k", "idmap=u,/opt,tmpfs", "-k", own]
    done = idmap("plan", "--root", "/sysroot", *lines, code=2 if length == 2047 else 0)
    assert ("2047 bytes, and a longer one is cut" in done.stderr) == (length == 2047)
    assert ("as bootconfig adds to it" in done.stderr) == (length == 2048)
    assert done.stdout == ("" if length == 2047 else "u /opt tmpfs rw,nosuid,nodev\nt /srv tmpfs rw,nosuid,nodev\n")


def test_check_says_it_as_json(conf):
    conf.write_text("/dev/vda / erofs idmap=5:7\n")
    done = idmap("check", "-c", conf, "-k", "idmpa=1", "--json", code=2)
    assert json.loads(done.stdout) == {
        "errors": [f"{conf}:1:24: '5:7' is no extent of three numbers; write DISK:SEEN:COUNT"],
        "warnings": ["cmdline: 'idmpa' means nothing here; did you mean idmap?"]}


def test_odd_bytes_in_json(tmp_path):
    conf = tmp_path / "conf"
    conf.write_bytes('/dev/vda /\u00fc\\"\\001\\377 tmpfs\n'.encode())
    row, = json.loads(idmap("plan", "-c", conf, "--json").stdout)
    assert row["target"] == '/\u00fc\\"\x01\udcff'


def test_escapes_of_options_in_json(tmp_path):
    """As those of the other fields: what is meant, not how a table writes it."""
    conf = tmp_path / "conf"
    conf.write_text("/dev/vda\\040x /a\\040b ext4 X-mount.subdir=/a\\040b\\054c,errors=a\\134040\\054b,quota\n")
    row, = json.loads(idmap("plan", "-c", conf, "--json").stdout)
    assert (row["source"], row["target"]) == ("/dev/vda x", "/a b")
    assert row["options"][-3:] == ["X-mount.subdir=/a b,c", "errors=a\\040,b", "quota"]


def test_check_for_an_initramfs(tmp_path):
    """What it moves into the root covers such a row; on a system that runs it is one as others are."""
    (tmp_path / "conf").write_text("t /run/data tmpfs X-mount.mkdir\nt /srv tmpfs\nt /proc/x tmpfs mode=0755\n")
    said = "the initramfs moves its {} over that when the root is entered; leave this row to the real init"
    assert idmap("check", "-c", tmp_path / "conf", "--root", "/", "--initramfs", code=2).stderr.splitlines() == [
        f"{tmp_path}/conf:1:3: {said.format('/run')}", f"{tmp_path}/conf:3:3: {said.format('/proc')}"]
    assert idmap("check", "-c", tmp_path / "conf", "--root", "/").stderr == ""


def test_seal(tmp_path):
    """Its words as they come from any editor; what a refusal leaves out is not missing once more."""
    (tmp_path / "conf").write_text("/dev/root / auto idmap=0:0:10\n")
    line = ["-c", tmp_path / "conf", "-k", "root=/dev/vda rootfstype=erofs"]
    for command in ("check", "plan"):
        idmap(command, *line, "--sealed", "root\r\nrootfstype\r\n")
        assert idmap(command, *line, "--sealed", "rootfstype", code=2).stderr == (
            "cmdline: root=: the initramfs is sealed, and the command line may not say that; take it out, write it into the"
            " table there, or the word root into /etc/idmap.sealed\n")
    # off counts wherever it stands, and nothing is left then.
    for line in ("idmap=/dev/vda,/,erofs idmap=off", "idmap=off idmap=/dev/vda,/,erofs"):
        assert "the command line leaves it no row for /" in idmap("check", "-k", line, "--sealed", "idmap", code=2).stderr


@pytest.mark.parametrize("row, words, said", [
    ("/dev/vda / erofs", "--root /none", "1:1: only what is mounted on /none already can be its root; write /dev/root as SOURCE"),
    ("/dev/vda / erofs", "--root / --initramfs",
     "1:1: only what is mounted on / already can be its root; write /dev/root as SOURCE"),
    ("tmpfs / overlay", "--root / --initramfs",
     "2:1: only what is mounted on / already can be its root; write /dev/root as SOURCE"),
    ("/dev/root / auto", "--root /",
     "1:11: the root of a running system is not replaced; boot with idmap-init, or name another root with --root"),
    ("t /proc tmpfs", "--root /", "1:3: that would cover /proc, by way of which rows are mounted; name another folder"),
    ("t /run/idmap tmpfs", "--root /", "1:3: that would cover /run/idmap/apply, where it is recorded; name another folder"),
    ("t /idmap tmpfs", "--root /run", "1:3: that would cover /idmap/apply, where it is recorded; name another folder"),
    ("/dev/root / auto", "--root / --initramfs", None), ("/dev/root / auto", "--root /none", None),
    ("t /proc tmpfs", "--root /none", None), ("t /run/idmap tmpfs", "--root /none", None),
])
def test_check_as_apply_would_take_it(row, words, said, tmp_path):
    """By the folder that it is for; in an initramfs that is still to come."""
    conf = tmp_path / "conf"
    lower = "/dev/vda / erofs lower\n" if "overlay" in row else ""
    conf.write_text(f"{row}\n{lower}")
    for command in "check", "plan":
        assert idmap(command, "-c", conf, *words.split(), code=2 if said else 0).stderr == (
            f"{conf}:{said}\n" if said else "")


@pytest.mark.parametrize("arguments,said", [
    (["plan", "-x"], "idmap plan: -x: no option, one without its value, or one that is given twice; see idmap plan --help"),
    (["check", "-c", "/x", "-c", "/y"], "idmap check: -c: no option, one without its value, or one that is given twice; see idmap check --help"),
    (["plan", "-c"], "idmap plan: -c: no option, one without its value, or one that is given twice; see idmap plan --help"),
    (["check", "--tree", "/dev/vda=/no/such"],
     "idmap check: /dev/vda=/no/such: no SOURCE=DIR with a folder that is there; see idmap check --help"),
    (["check", "-c", "/no/such"], "idmap check: /no/such cannot be read (not there); name the table with -c, or rows"
                                  " with -k"),
    (["id"], "idmap id: MAP: missing; see idmap id --help"),
    (["id", "0:0:1"], "idmap id: ID: missing; see idmap id --help"),
    (["id", "0:0", "1"], "cmdline: MAP, column 1: '0:0' is no extent of three numbers; write DISK:SEEN:COUNT"),
    (["id", "noexec", "1"], "idmap id: noexec: no extent in it; write DISK:SEEN:COUNT; see idmap id --help"),
    (["id", "0:0:1", "-1"], "idmap id: -1: no id; write a number up to 4294967294; see idmap id --help"),
    (["show", "-x"], "idmap show: -x: no option, or one path too many; see idmap show --help"),
    (["suggest"], "idmap suggest: what: missing: a folder, --from and --to, or --subuid; see idmap suggest --help"),
    (["suggest", "--from", "/x"], "idmap suggest: --from: not used like that; see idmap suggest --help"),
])
def test_bad_use(arguments, said):
    assert idmap(*arguments, code=2).stderr == said + "\n"


def test_table_through_a_pipe(tmp_path):
    table = "/dev/vda / erofs idmap=1:2:3\n" + "# long\n" * 20000 + "/dev/vdb /b erofs 1:2\n"
    done = subprocess.run([BUILD / "idmap", "check", "-c", "/dev/stdin"], input=table, capture_output=True, text=True)
    assert (done.returncode, done.stderr) == (
        2, "/dev/stdin:20002:19: '1:2' is no extent of three numbers; write DISK:SEEN:COUNT\n")
    done = subprocess.run(["bash", "-c", '"$0" plan -c <(echo "/dev/vda / erofs")', BUILD / "idmap"], capture_output=True, text=True)
    assert (done.returncode, done.stdout) == (0, "/dev/vda / erofs ro\n")


def test_links_that_lead_nowhere(tmp_path):
    """No file at all, and one that was meant to be there, differ."""
    (tmp_path / "table").symlink_to("no/where")
    (tmp_path / "folder").symlink_to("no/where")
    for name in ("table", "folder/table"):
        done = idmap("check", "-c", tmp_path / name, code=2)
        assert done.stderr == (f"idmap check: {tmp_path / name} cannot be read (a link that leads nowhere); name the table with -c,"
                               " or rows with -k\n")
    assert "(not there)" in idmap("check", "-c", tmp_path / "absent", code=2).stderr
    # Whose name comes from the kernel command line is corrected there.
    assert idmap("check", "-k", f"idmap.conf={tmp_path}/absent", code=2).stderr == (
        f"idmap check: {tmp_path}/absent cannot be read (not there); correct idmap.conf=, or name the table with -c\n")


def test_names_with_newlines(tmp_path):
    """A message is one line, and has the right cause."""
    folder = tmp_path / "a\nb"
    folder.mkdir()
    shown = f"{tmp_path}/a\\012b"
    for command in ("apply", "undo"):
        assert idmap(command, "--root", folder, code=6).stderr == (
            f"idmap {command}: {shown} cannot be used (a line of the record ends where its name has a newline);"
            " name a folder\n")
    (tmp_path / "a").mkdir()
    assert "(not there); name a folder\n" in idmap("apply", "--root", f"{folder}/none", code=6).stderr
    long = tmp_path / ("x" * 200) / ("y" * 200)
    long.mkdir(parents=True)
    assert "(too long a name); name a folder\n" in idmap("apply", "--root", long, code=6).stderr
    conf = folder / "conf"
    conf.write_text("/dev/vda / erofs idmap=5:7\n")
    assert idmap("check", "-c", conf, code=2).stderr == (
        f"{shown}/conf:1:24: '5:7' is no extent of three numbers; write DISK:SEEN:COUNT\n")
    conf.write_text("/dev/vda / erofs X-mount.subdir=/x,subdir=/y\n")
    for line in idmap("check", "-c", conf, "-k", "idmpa=1").stderr.splitlines():
        assert line.startswith((shown, "cmdline: "))
    assert idmap("check", "-c", "/no\nsuch", code=2).stderr.startswith("idmap check: /no\\012such cannot be read")
    assert idmap("plan", "a\nb", code=2).stderr.startswith("idmap plan: a\\012b: no option")
    assert idmap("a\nb", code=2).stderr.startswith("idmap: a\\012b: no such command\n")


def test_no_such_command():
    assert idmap("sugest", code=2).stderr.startswith("idmap: sugest: no such command\n\nusage: idmap COMMAND")
    assert idmap(code=2).stderr.startswith("usage: idmap COMMAND")


@pytest.mark.parametrize("command", ["check", "plan", "id", "show", "suggest"])
def test_help(command):
    text = idmap(command, "--help").stdout
    assert text.startswith(f"usage: idmap {command} ")
    assert f"  idmap {command} " in idmap("--help").stdout


def test_output_that_cannot_be_written(conf):
    with open("/dev/full", "w") as full:
        done = subprocess.run([BUILD / "idmap", "plan", "-c", conf], stdout=full, stderr=subprocess.PIPE, text=True)
    assert (done.returncode, done.stderr) == (1, "idmap: the output cannot be written\n")


# ---- ids ----


def test_id():
    assert idmap("id", "u:1000:0:1,231072:1:65535", "1000", "0").stdout == (
        "uid 1000 on disk is seen as 0\nuid 1000 seen is 232071 on disk\n"
        "gid 1000 on disk is seen as 65534, the map leaves it out\ngid 1000 seen is 232071 on disk\n"
        "uid 0 on disk is seen as 65534, the map leaves it out\nuid 0 seen is 1000 on disk\n"
        "gid 0 on disk is seen as 65534, the map leaves it out\ngid 0 seen is nothing on disk\n")


# ---- owners of a folder ----


def capability(version, root=0):
    magic = {2: 0x02000000, 3: 0x03000000}[version] | 1
    return struct.pack("<IIIII", magic, 1 << 13, 0, 0, 0) + (struct.pack("<I", root) if version == 3 else b"")


@pytest.fixture
def tree(tmp_path):
    """tree(base): a small Debian, owned from `base` on."""
    folder = tmp_path / "tree"

    def make(base, root=None, shift=0):
        for path, uid, gid, mode in (
                ("", 0, 0, 0o755), ("sbin", 0, 0, 0o755), ("etc", 0, 0, 0o755), ("home", 0, 0, 0o755),
                ("home/user", 1000, 1000, 0o700), ("var", 0, 0, 0o755), ("var/mail", 0, 8, 0o2775)):
            (folder / path).mkdir(exist_ok=True)
            own(folder / path, uid, gid, base, root, shift)
            (folder / path).chmod(mode)
        for path, uid, gid, mode in (
                ("sbin/init", 0, 0, 0o755), ("etc/shadow", 0, 42, 0o640), ("sbin/su", 0, 0, 0o4755),
                ("sbin/nobody", 65534, 65534, 0o644), ("home/user/note", 1000, 1000, 0o600)):
            (folder / path).write_bytes(PROGRAM if path == "sbin/init" else b"x")
            own(folder / path, uid, gid, base, root, shift)
            (folder / path).chmod(mode)
        return folder

    return make


def own(path, uid, gid, base, root, shift):
    """With `root` the owner 0 is that one and the others follow from `base` on, as rootless containers have it."""
    def one(number):
        return root if root is not None and not number else base + number - shift

    os.chown(path, one(uid), one(gid))


SHIFTS = {"nspawn": (524288, None, 0), "user": (100000, None, 0), "subuid": (231072, None, 0),
          "rootless": (231072, 1000, 1), "none": (0, None, 0)}


@ROOT_ONLY
@pytest.mark.parametrize("shift", SHIFTS)
def test_suggestion_is_clean(shift, tree, tmp_path):
    """What suggest prints is an option, and check finds nothing odd with it."""
    base, root, minus = SHIFTS[shift]
    folder = tree(base, root, minus)
    done = idmap("suggest", folder)
    assert done.stdout == {
        "nspawn": "idmap=524288:0:65536\n", "user": "idmap=100000:0:65536\n", "subuid": "idmap=231072:0:65536\n",
        "rootless": "idmap=1000:0:1,231072:1:65535\n", "none": "idmap=0:0:65536\n"}[shift]
    assert re.search(r"^\d+ files have uids from \d+ to \d+$", done.stderr, re.M)
    conf = tmp_path / "conf"
    conf.write_text(f"/dev/vda / erofs {done.stdout}")
    done = idmap("check", "-c", conf, "--tree", f"/dev/vda={folder}")
    assert (done.stdout, done.stderr) == ("", "")
    assert idmap("id", conf.read_text().split()[3], str(root or base)).stdout.startswith(
        f"uid {root or base} on disk is seen as 0\n")


@pytest.fixture(scope="module")
def debian_root(tmp_path_factory):
    """This machine's essential packages, as they are installed: a root as Debian makes it."""
    if not Path("/usr/bin/dpkg-query").exists():
        pytest.skip("this machine is no Debian, whose essential packages are copied")
    folder = tmp_path_factory.mktemp("debian") / "root"
    folder.mkdir()
    names = [line.split()[0] for line in subprocess.run(
        ["dpkg-query", "-Wf", "${binary:Package} ${Essential}\n"], capture_output=True, text=True).stdout.splitlines()
        if line.endswith(" yes")]
    files = subprocess.run(["dpkg-query", "-L", *names, "passwd", "login", "libc6"], capture_output=True,
                           text=True).stdout.splitlines()
    # /bin and its like are links by now.
    real = {os.path.join(os.path.realpath(os.path.dirname(name)), os.path.basename(name)) for name in files
            if name.startswith("/") and name != "/."}
    kept = "".join(f".{name}\n" for name in sorted(real) if os.path.lexists(name)
                   and not name.startswith(("/usr/share/", "/dev", "/proc", "/sys")))
    tar = subprocess.run(["tar", "-C", "/", "--no-recursion", "-c", "-T", "-"], input=kept.encode(), capture_output=True)
    subprocess.run(["tar", "-C", folder, "-xp", "--numeric-owner"], input=tar.stdout, check=True)
    return folder


@ROOT_ONLY
def test_suggestion_for_a_debian_root(debian_root, tmp_path):
    """Shifted four ways, one after the other; its setuid programs and groups with it."""
    files = [(debian_root, os.lstat(debian_root))] + [(path, os.lstat(path)) for path in debian_root.rglob("*")]
    assert len(files) > 1000 and any(st.st_mode & 0o4000 for _, st in files) and any(st.st_gid == 42 for _, st in files)
    for suggested, disk in {
            "idmap=100000:0:65536": lambda i: 100000 + i, "idmap=524288:0:65536": lambda i: 524288 + i,
            "idmap=1000:0:1,231072:1:65535": lambda i: 231071 + i if i else 1000,
            "idmap=0:0:65536": lambda i: i}.items():
        for path, st in files:
            os.lchown(path, disk(st.st_uid), disk(st.st_gid))
            if st.st_mode & 0o6000 and not path.is_symlink():
                path.chmod(st.st_mode & 0o7777)  # which a change of the owner clears
        assert idmap("suggest", debian_root).stdout == suggested + "\n"
        conf = tmp_path / "conf"
        conf.write_text(f"/dev/vda / erofs {suggested}\n")
        done = idmap("check", "-c", conf, "--tree", f"/dev/vda={debian_root}")
        # These packages alone bring no init, and what is told is nothing else.
        assert done.stdout == "" and [line for line in done.stderr.splitlines() if "it has no /sbin/init" not in line] == []


@ROOT_ONLY
def test_check_of_a_tree(tree, tmp_path):
    folder = tree(100000)
    os.chown(folder / "sbin/su", 7, 100000)
    (folder / "sbin/su").chmod(0o4755)
    os.chown(folder / "home/user", 5, 5)
    (folder / "sbin/ping").write_text("x")
    os.chown(folder / "sbin/ping", 100000, 100000)
    acl = struct.pack("<I", 2) + b"".join(struct.pack("<HHI", *entry) for entry in (
        (1, 6, 0xffffffff), (2, 4, 1000), (4, 4, 0xffffffff), (0x10, 4, 0xffffffff), (0x20, 0, 0xffffffff)))
    try:
        os.setxattr(folder / "sbin/ping", "security.capability", capability(2))
        os.setxattr(folder / "etc/shadow", "system.posix_acl_access", acl)
    except OSError as error:
        pytest.skip(f"no attributes on the file system of {tmp_path}: {error}")
    conf = tmp_path / "conf"
    conf.write_text("PARTLABEL=root / erofs idmap=100000:0:65536\n")
    row = f"{conf}:1: PARTLABEL=root on /: "
    said = idmap("check", "-c", conf, "--tree", f"PARTLABEL=root={folder}").stderr.splitlines()
    assert said == [row + line for line in (
        "1 files have the uid 5, which the map leaves out, such as /home/user: they are nobody's (65534)",
        "1 files have the uid 7, which the map leaves out, such as /sbin/su: they are nobody's (65534)",
        "1 files have the gid 5, which the map leaves out, such as /home/user: they are nobody's (65534)",
        "1 entries of ACLs name the uid 1000, which the map leaves out, such as /etc/shadow: they let nobody in",
        "1 setuid or setgid files belong to ids that the map leaves out, such as /sbin/su: nobody can use them; extend"
        " the map, or take the bit off",
        "1 files have capabilities that are not for the id seen as 0, such as /sbin/ping: they have no effect, and on"
        " an overlay the program cannot be run; set them again for that id (setcap -n ID)")]
    os.setxattr(folder / "sbin/ping", "security.capability", capability(3, 100000))
    assert "capabilities" not in idmap("check", "-c", conf, "--tree", f"PARTLABEL=root={folder}").stderr


def test_modules_of_a_plan(conf):
    """What whoever makes an initramfs puts in; hooks/ take it."""
    def words(table):
        conf.write_text(table)
        return idmap("plan", "--modules", "-c", conf).stdout.split()

    assert words("/dev/vda / auto idmap=0:5:1\nt /tmp tmpfs\n/x /y bind\n") == []
    assert words("/dev/vda / erofs:squashfs\nnone /etc overlay\n/etc /etc bind lower\n/dev/vdb /b erofs\n") == [
        "erofs", "squashfs", "overlay"]
    assert words("/dev/vda / ext4\n/dev/vdb /b vfat\ntag /c 9p\n/dev/vdc /d msdos iocharset=utf8,codepage=850\n") == [
        "ext4", "vfat", "nls_cp437", "nls_iso8859-1", "nls_ascii", "9p", "9pnet_virtio", "msdos", "nls_utf8", "nls_cp850"]
    assert words(f"/dev/vda / erofs verity.roothash={'0' * 64},verity.hashoffset=512\nroot:/i /i erofs\n") == [
        "erofs", "dm_verity", "loop"]
    assert words("/i / squashfs\n") == ["squashfs", "loop"]
    idmap("plan", "--modules", "--json", "-c", conf, code=2)


@ROOT_ONLY
def test_check_of_what_a_row_shows(tree, tmp_path):
    """Of a tree with several guests each row's own, of an upper what is to be seen of it; and setuid in a
    layer as its overlay shows it."""
    folder = tree(100000)
    web = folder / "guests/web"
    web.mkdir(parents=True)
    (folder / "sbin").rename(web / "sbin")
    (folder / "guests/db").write_text("")
    for path, owner in (("guests", 300000), ("guests/db", 300000), ("guests/web", 100000)):
        os.chown(folder / path, owner, owner)
    conf = tmp_path / "conf"
    conf.write_text("/dev/vda / erofs X-mount.subdir=guests/web,idmap=100000:0:65536\n"
                    "/dev/vda /home erofs X-mount.subdir=home,idmap=100000:0:65536\n")
    check = lambda source="/dev/vda": idmap("check", "-c", conf, "--tree", f"{source}={folder}")
    assert check().stderr == ""
    os.chown(web / "sbin/init", 5, 100000)
    assert "such as /sbin/init: they are nobody's" in check().stderr
    conf.write_text("/dev/vda / erofs X-mount.subdir=guests/no,idmap=100000:0:65536\n")
    said = idmap("check", "-c", conf, "--tree", f"/dev/vda={folder}", code=3).stderr
    assert said == f"idmap check: {conf}:1: /dev/vda on /: {folder} has no folder /guests/no to show (not there); correct X-mount.subdir=\n"
    os.chown(web / "sbin/su", 101000, 100000)
    (web / "sbin/su").chmod(0o4755)
    table = ("/dev/vda / erofs\nnone /srv overlay {}\n"
             "/dev/vdb /srv erofs lower,X-mount.subdir=guests/web,idmap=u:101000:0:1,u:5:5:1,u:100000:9:999,u:165534:7:1,g:100000:0:65536\n")
    conf.write_text(table.format("nodev"))
    assert check("/dev/vdb").stderr == ""
    conf.write_text(table.format("suid"))
    assert check("/dev/vdb").stderr.endswith(
        "1 setuid or setgid files are seen as root's, and have another owner on disk than the tree, such as /sbin/su; say"
        " nosuid in the row of the overlay, or take the bit off\n")
    os.chown(web / "sbin/su", 100000, 101000)
    (web / "sbin/su").chmod(0o2755)
    conf.write_text(table.format("suid").replace("g:100000:0:65536", "g:101000:0:1,g:100000:9:999,g:165534:7:1"))
    assert "1 setuid or setgid files are seen as root's" in check("/dev/vdb").stderr
    conf.write_text("/dev/vda / erofs\nupper /etc overlay\n/etc /etc bind lower\n/dev/vdb /etc ext4 upper,idmap=100000:0:1\n")
    assert check("/dev/vdb").stderr == ""
    (folder / "upper").mkdir()
    os.chown(folder / "upper", 7, 100000)
    assert "such as /: they are nobody's" in check("/dev/vdb").stderr


@pytest.mark.parametrize("upper, options, said", [
    (None, "", None),
    (None, ",X-mount.subdir=there", None),
    (None, ",X-mount.subdir=missing", "has no folder /missing to show (not there); correct X-mount.subdir="),
    ("link", "", "cannot be opened (too many symbolic links); upper and work are to be folders"),
    ("file", "", "cannot be opened (not a folder); upper and work are to be folders, not files or links"),
])
def test_check_of_an_upper(tmp_path, upper, options, said):
    """One that was not used has nothing to look at; one that no boot can use is told."""
    conf, folder = tmp_path / "conf", tmp_path / "tree"
    (folder / "there").mkdir(parents=True)
    if upper == "link":
        (folder / "upper").symlink_to("there")
    elif upper:
        (folder / "upper").write_text("")
    conf.write_text(f"/dev/vda / erofs\nupper /etc overlay\n/etc /etc bind lower\n"
                    f"/dev/vdb /etc ext4 rw,upper,idmap=0:0:9{options}\n")
    done = idmap("check", "-c", conf, "--tree", f"/dev/vdb={folder}", code=4 if upper else 3 if said else 0)
    assert said in done.stderr if said else not done.stderr, done.stderr


@pytest.mark.parametrize("row, parameters, source", [
    ("/dev/root / auto", "root=/dev/vda ro", "/dev/root"),
    ("/dev/root / auto", "root=/dev/vda ro", "/dev/vda"),
    ("my\\040tag / virtiofs", "quiet", "my\\040tag"),
    ("my\\040tag / virtiofs", "quiet", "my tag"),
])
def test_check_of_a_tree_by_its_source(tmp_path, row, parameters, source):
    """As the table has it, or as what that stands for."""
    conf = tmp_path / "conf"
    conf.write_text(f"{row} idmap=100000:0:65536\n")
    done = idmap("check", "-c", conf, "-k", parameters, "--tree", f"{source}={tmp_path}")
    assert "no row has the SOURCE" not in done.stderr and "its root folder has the uid" in done.stderr


@ROOT_ONLY
def test_check_of_root_and_init(tree, tmp_path):
    """The words of the boot."""
    folder = tree(231072)
    conf = tmp_path / "conf"
    conf.write_text("/dev/vda / erofs idmap=0:231072:65536\n")
    said = idmap("check", "-c", conf, "--tree", f"/dev/vda={folder}").stderr
    assert (f"{conf}:1: /dev/vda on /: its root folder has the uid 231072 on disk, which the map leaves out: it is"
            " nobody's (65534); DISK comes first; did you mean 231072:0:65536?\n") in said
    assert ("/sbin/init of the new root has the uid 231072 on disk, which the map leaves out: it is nobody's (65534);"
            " DISK comes first; did you mean 231072:0:65536?\n") in said
    (folder / "sbin/init").unlink()
    said = idmap("check", "-c", conf, "--tree", f"/dev/vda={folder}").stderr
    assert "it has no /sbin/init, /etc/init, /bin/init or /bin/sh; name the real init with init=" in said


WHOLE = "/dev/vda / erofs idmap=0:0:65536\n"
LAYERS = "/dev/vda / erofs lower,idmap=0:0:65536\n{}none / overlay\n"
NONE = "/dev/vda on /: it has no /sbin/init, /etc/init, /bin/init or /bin/sh; name the real init with init="
NO_LOADER = "/dev/vda on /: /sbin/init cannot be run, its interpreter /lib64/ld.so is not there; put that into the image"


@pytest.mark.parametrize("rows, init, said", [
    (WHOLE, None, NONE),
    (WHOLE + "/dev/vdb /usr erofs\n", None, None),  # /sbin is a link into it
    (WHOLE + "/dev/vdb /usr/share erofs\n", None, NONE),
    (LAYERS.format(""), None, NONE),
    (LAYERS.format("/dev/vdc / ext4 upper\n").replace("none", "upper"), None, NONE),
    (LAYERS.format("/dev/vdb / erofs lower\n"), None, None),
    (WHOLE, "#!/lib64/ld.so\n", NO_LOADER),
    (WHOLE, "#! /usr/bin/script -x\n", NO_LOADER.replace("/sbin/init", "/usr/bin/script")),
    (WHOLE + "/dev/vdb /usr/lib64 erofs\n", "#!/lib64/ld.so\n", None),
    (LAYERS.format("/dev/vdb / erofs lower\n"), "#!/lib64/ld.so\n", None),
    (WHOLE, "#!/usr/bin/fine\n", None),
    (WHOLE, "#!/usr/bin/fine\r\n", "/dev/vda on /: /sbin/init cannot be run, its interpreter /usr/bin/fine\\015 is not there; its"
                                  " #! line ends in a carriage return; save the file with Unix line ends"),
    (WHOLE, "echo\n", "/dev/vda on /: /sbin/init cannot be run; it is neither ELF nor has it a #! line"),
    (WHOLE, "", "/dev/vda on /: /sbin/init cannot be run; it is empty; write the file anew"),
])
def test_check_of_what_the_real_init_needs(rows, init, said, tmp_path):
    """What is in another row's tree, or in another layer, is not known, and no fault is told of it."""
    folder, conf = tmp_path / "tree", tmp_path / "conf"
    for name in ("sbin", "bin", "share", "lib64"):
        (folder / "usr" / name).mkdir(parents=True)
        (folder / name).symlink_to(f"usr/{name}")
    (folder / "usr/bin/fine").write_bytes(PROGRAM)
    (folder / "usr/bin/script").write_text("#!/lib64/ld.so\n")
    if init is not None:
        (folder / "usr/sbin/init").write_bytes(init.encode())
    for program in folder.glob("usr/*bin/*"):
        program.chmod(0o755)
    conf.write_text(rows)
    told = idmap("check", "-c", conf, "--tree", f"/dev/vda={folder}").stderr.splitlines()
    assert [line.replace(f"{conf}:1: ", "") for line in told if "left out" not in line and "leaves out" not in line] == (
        [said] if said else [])


@ROOT_ONLY
def test_a_link_to_the_tree(tree, tmp_path):
    """It is the folder that is looked at, and not the link, which has an owner of its own."""
    folder = tree(100000)
    (folder / "sbin/init").chmod(0o644)
    link = tmp_path / "link"
    link.symlink_to("tree")
    assert idmap("suggest", link).stdout == idmap("suggest", f"{link}/").stdout == "idmap=100000:0:65536\n"
    conf = tmp_path / "conf"
    conf.write_text("/dev/vda / erofs idmap=100000:0:1000\n")
    said = idmap("check", "-c", conf, "--tree", f"/dev/vda={folder}").stderr
    assert "such as /home/user: " in said and "/sbin/init is no program" in said
    assert idmap("check", "-c", conf, "--tree", f"/dev/vda={link}").stderr == said


def test_rows_in_which_root_makes_no_file(tmp_path):
    """The table alone decides it, as a boot tells it. A bind's may be a file."""
    conf = tmp_path / "conf"
    conf.write_text("/dev/vda / erofs idmap=5:7:1\nt /srv tmpfs idmap=1000:1000:1\n/dev/vdb /mnt ext4 rw,idmap=u:0:5:1\n"
                    "/dev/vdc /opt ext4 ro,idmap=0:5:1\n/x /var bind rw,idmap=0:5:1\n/dev/vdd /home xfs rw,idmap=5:0:1\n")
    words = "it is rw, and no {} on disk is seen as 0: root cannot make a file there; add DISK:0:1\n"
    said = (f"{conf}:3: /dev/vdb on /mnt: {words.format('uid')}"
            f"{conf}:2: t on /srv: {words.format('uid')}{conf}:2: t on /srv: {words.format('gid')}")
    assert idmap("check", "-c", conf).stderr == said
    # Told once where the folder is looked at.
    tree = tmp_path / "tree"
    tree.mkdir()
    assert sorted(line for line in idmap("check", "-c", conf, "--tree", f"/dev/vdb={tree}").stderr.splitlines(True)
                  if "it is rw" in line) == sorted(said.splitlines(True))


def test_bind_of_what_is_left_out(tmp_path):
    conf = tmp_path / "conf"
    conf.write_text("/dev/vdb /srv ext4 noauto\n/srv/a /mnt bind\n/srv /opt bind noauto\n"
                    "/dev/vdc /home ext4 noauto\nt /home tmpfs\n/home /tmp bind\n")
    assert idmap("check", "-c", conf).stderr == (
        f"{conf}:2: /srv/a on /mnt: the row for /srv is noauto, so this shows what lies below that; say noauto in both, or in"
        " none\n")


def test_devices_that_nodev_closes(tmp_path):
    conf = tmp_path / "conf"
    conf.write_text("pts /srv devpts gid=5,mode=620\n/dev /mnt rbind\n/dev/shm /opt bind rw\n/dev /home bind nodev\n"
                    "/dev/console /tmp bind dev\n/devices /var bind\n/dev/fuse /usr bind\n")
    odd = "rows are nodev, so no device in it can be opened; write dev, or nodev if that is meant\n"
    assert idmap("check", "-c", conf).stderr == (
        f"{conf}:2: /dev on /mnt: {odd}{conf}:1: pts on /srv: {odd}{conf}:7: /dev/fuse on /usr: {odd}")


def test_tree_of_no_row(conf, tmp_path):
    assert idmap("check", "-c", conf, "--tree", f"/dev/vdz={tmp_path}", code=2).stderr == (
        "idmap check: no row has the SOURCE /dev/vdz; write it as in the table: --tree SOURCE=DIR\n")
