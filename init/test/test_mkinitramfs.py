# SPDX-License-Identifier: MIT
"""Runs init/mkinitramfs as an image builder does.

What is looked at: the bytes (alike whatever the surroundings), each header and content, the order
of modules, every message, and that nothing is ever left behind.
"""

import gzip
import lzma
import os
import re
import shutil
import signal
import stat
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import pytest

SCRIPT = Path(__file__).resolve().parents[1] / "mkinitramfs"
ROOT = os.getuid() == 0
NOBODY = 65534
VERSION = "6.1.0-1-test"
STATIC = b"\x7fELF" + bytes(14) + Path("/bin/true").read_bytes()[18:20] + bytes(180)


# Where idmap(8) has been built.
BUILT = {"O": os.environ.get("O", "build")}
MACHINE = int.from_bytes(STATIC[18:20], sys.byteorder)


def parse(archive):
    """{name: (mode, data)} of a newc archive, after buffer-format.rst, each field checked."""
    at, found = 0, {}
    while True:
        assert archive[at:at + 6] == b"070701"
        (inode, mode, uid, gid, links, mtime, size, major, minor, rmajor, rminor, length,
         check) = (int(archive[at + 6 + 8 * i:at + 14 + 8 * i], 16) for i in range(13))
        name = archive[at + 110:at + 110 + length]
        start = (at + 110 + length + 3) & ~3
        at = (start + size + 3) & ~3
        assert name[-1:] == b"\0" and b"\0" not in name[:-1]
        if name == b"TRAILER!!!\0":
            assert not any(archive[at:]) and len(archive) % 512 == 0
            return found
        name = os.fsdecode(name[:-1].rstrip(b"/"))
        # Counted, so neither from the source's file system nor ever taken for a hard link.
        assert (inode, links, major, minor) == (len(found) + 1, 0, 0, 1)
        assert (uid, gid, mtime, rmajor, rminor, check) == (0,) * 6
        parent = os.path.dirname(name)
        assert name not in found and (not parent or stat.S_ISDIR(found[parent][0]))
        found[name] = (mode, archive[start:start + size])


def listing(archive):
    return [f"{stat.filemode(mode)} {name}" + (f" -> {data.decode()}" if stat.S_ISLNK(mode) else "")
            for name, (mode, data) in parse(archive).items() if name != "."]


def content(archive, name):
    return parse(archive)[name][1]


class Bench:
    """A folder with an init to pack, an empty TMPDIR, and the way to run the script in it."""

    def __init__(self, path):
        self.path = path
        self.tmp = path / "tmp"
        self.tmp.mkdir()
        (path / "static-init").write_bytes(STATIC)
        for folder in (path, self.tmp):
            folder.chmod(0o777)

    def run(self, *args, out="out.cpio", init="static-init", env=None, cwd=None, prefix=(),
            script=SCRIPT, **kwargs):
        command = [*prefix, script, *(("-o", out) if out else ()), *(("-i", init) if init else ())]
        kwargs = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE, **kwargs}
        environment = {"PATH": os.environ["PATH"], "TMPDIR": str(self.tmp), **(env or {})}
        result = subprocess.run([*command, *args], cwd=cwd or self.path, env=environment,
                                stdin=subprocess.DEVNULL, **kwargs)
        assert list(self.tmp.iterdir()) == []
        assert list(self.path.rglob(".mkinitramfs.*")) == []
        return result

    def build(self, *args, out="out.cpio", **kwargs):
        """Runs it, insists on success and silence, gives the archive."""
        result = self.run(*args, out=out, **kwargs)
        assert (result.stderr.decode(), result.returncode) == ("", 0)
        return result.stdout if out == "-" else Path(kwargs.get("cwd") or self.path, out).read_bytes()

    def fails(self, message, *args, code=1, **kwargs):
        """Runs it, insists on this one line, this code and no output."""
        before = set(self.path.rglob("*"))
        result = self.run(*args, **kwargs)
        assert result.stderr.decode() == f"mkinitramfs: {message}\n"
        assert (result.returncode, result.stdout or b"") == (code, b"")
        assert set(self.path.rglob("*")) == before

    def fake(self, name, text):
        """A PATH on which a tool is a script."""
        folder = self.path / "fake"
        folder.mkdir()
        (folder / name).write_text("#!/bin/sh\n" + text)
        (folder / name).chmod(0o755)
        return {"PATH": f"{folder}:{os.environ['PATH']}"}


@pytest.fixture
def bench():
    # Not tmp_path: nobody (the user) has to get through to it.
    path = Path(tempfile.mkdtemp(prefix="mkinitramfs-test-"))
    yield Bench(path)
    for folder, below, _ in os.walk(path):
        for name in below:
            if not os.path.islink(f"{folder}/{name}"):
                os.chmod(f"{folder}/{name}", 0o700)
    shutil.rmtree(path)


def as_nobody(bench):
    """Someone to whom modes matter, with what they call within their reach."""
    if not ROOT:
        return {}
    shutil.copy(Path(BUILT["O"]) / "idmap", bench.path)
    return {"prefix": ("runuser", "-u", "nobody", "--"), "script": shutil.copy(SCRIPT, bench.path)}


def make_tree(root):
    """Files, links, modes and names that go wrong easily."""
    for folder in ("bin", "private", "sticky"):
        (root / folder).mkdir(parents=True)
    (root / "bin/tool").write_bytes(b"#!/bin/sh\n")
    os.link(root / "bin/tool", root / "bin/same-tool")
    (root / "bin/sh").symlink_to("tool")
    (root / "private/key").write_text("secret")
    for name in ("a", "a b", "a-b", "-n", "tab\there", "new\nline", "\x01low", "colon:x", "#", "=",
                 "\u00fcml\u00e4ut", "byte\udcff", "*", "back\\slash", "q'uo\"te", "end ", "@x"):
        (root / name).mkdir()
        (root / name / "f").write_text(repr(name))
    (root / "empty").touch()
    (root / "big").write_bytes(bytes(range(256)) * 9001)
    (root / "wide").symlink_to("x/" * 150)
    (root / ("long" * 40)).symlink_to("ends with blank\n")
    if ROOT:
        for path in {root, *root.rglob("*")} - {root / "bin/tool", root / "bin/same-tool"}:
            os.chown(path, NOBODY, NOBODY, follow_symlinks=False)
    for name, mode in (("private/key", 0o400), ("private", 0o500), ("sticky", 0o1777),
                       ("bin", 0o755), ("bin/tool", 0o4755 if ROOT else 0o755)):  # of others it is told
        (root / name).chmod(mode)


TOOL = "-rwsr-xr-x" if ROOT else "-rwxr-xr-x"


def test_listing(bench):
    make_tree(bench.path / "tree")
    (bench.path / "table").write_text("/dev/vda / erofs\n")
    (bench.path / "table").chmod(0o600)
    (bench.path / "static-init").chmod(0o600)
    archive = bench.build("-c", "table", "-a", "tree/bin:/usr/bin", "-a", "tree/sticky:/tmp",
                          "-a", "tree/private:/p")
    assert listing(archive) == [
        "drwxr-xr-x etc", "-rw-r--r-- etc/idmap.conf", "-rwxr-xr-x init", "dr-x------ p",
        "-r-------- p/key", "drwxrwxrwt tmp", "drwxr-xr-x usr", "drwxr-xr-x usr/bin",
        f"{TOOL} usr/bin/same-tool", "lrwxrwxrwx usr/bin/sh -> tool", f"{TOOL} usr/bin/tool"]
    assert (content(archive, "init"), content(archive, "etc/idmap.conf")) == (STATIC, b"/dev/vda / erofs\n")
    assert parse(archive)["."] == (stat.S_IFDIR | 0o755, b"")


def test_content_and_odd_names(bench):
    """As cpio(1) unpacks it, for that is not ours."""
    tree, result = bench.path / "tree", bench.path / "result"
    make_tree(tree)
    result.mkdir()
    subprocess.run(["cpio", "-id", "--quiet"], input=bench.build("-a", "tree:/x y\\#"), cwd=result,
                   check=True)
    result = result / "x y\\#"
    relative = sorted(p.relative_to(tree) for p in tree.rglob("*"))
    assert sorted(p.relative_to(result) for p in result.rglob("*")) == relative
    for a, b in ((tree / path, result / path) for path in relative):
        assert os.lstat(a).st_mode == os.lstat(b).st_mode
        if a.is_symlink():
            assert os.readlink(a) == os.readlink(b)
        elif a.is_file():
            assert a.read_bytes() == b.read_bytes()


@pytest.mark.parametrize("args, expected", (
    ((), []),
    (("a:b c:/deep/er/x y", "-dash:/-d", "link:/l"),
     ["-rw-r--r-- -d", "drwxr-xr-x deep", "drwxr-xr-x deep/er", "-rw-r--r-- deep/er/x y",
      "lrwxrwxrwx l -> /nowhere/at all"]),
    (("one:/x:/y",), ["-rw-r--r-- y"]),  # divided at the last
    (("d:/e",), ["lrwxrwxrwx e -> one"]),
    (("d/:/e",), ["drwx------ e", "drwx------ e/d", "-rw-r--r-- e/d/one"]),
    (("one:/", "two//:///"), ["drwx------ d", "-rw-r--r-- d/one", "-rw-r--r-- d/two"]),
    (("-dash:/d/f", "one/d:/d"), ["drwx------ d", "-rw-r--r-- d/f", "-rw-r--r-- d/one"]),
    # Names that the work folder of the script has, too.
    (("one:/none", "one:/root", "-dash:/spec", "link:/list", "link:/1"),
     ["lrwxrwxrwx 1 -> /nowhere/at all", "lrwxrwxrwx list -> /nowhere/at all", "drwx------ none",
      "drwx------ none/d", "-rw-r--r-- none/d/one", "drwx------ root", "drwx------ root/d",
      "-rw-r--r-- root/d/one", "-rw-r--r-- spec"]),
))
def test_extras(bench, args, expected):
    for name, mode in (("one", 0o700), ("two", 0o775)):
        (bench.path / name / "d").mkdir(parents=True)
        (bench.path / name / "d" / name).touch()
        for folder in (name, f"{name}/d"):
            (bench.path / folder).chmod(mode)
    for name in ("a:b c", "-dash"):
        (bench.path / name).touch()
    (bench.path / "link").symlink_to("/nowhere/at all")
    (bench.path / "d").symlink_to("one")
    (bench.path / "one:").mkdir()
    (bench.path / "one:/x").touch()
    archive = bench.build(*(part for arg in args for part in ("-a", arg)))
    assert listing(archive) == sorted(expected + ["-rwxr-xr-x init"], key=lambda s: s.split()[1:])


@pytest.mark.skipif(not ROOT, reason="needs root to give files away")
@pytest.mark.parametrize("mode, owner, told", [(0o4755, (1000, 0), True), (0o2755, (0, 5), True), (0o6755, (0, 0), False),
                                               (0o755, (1000, 5), False)])
def test_setuid_of_others(bench, mode, owner, told):
    """All is root's in the archive, whatever it was."""
    (bench.path / "x").mkdir()
    tool = bench.path / "x" / "to\nol"
    tool.touch()
    os.chown(tool, *owner)
    tool.chmod(mode)
    done = bench.run("-a", "x:/x")
    assert (done.returncode, done.stderr.decode()) == (
        0, "mkinitramfs: x/to?ol: setuid or setgid, and not root's, as which it would run there; take that off where it is"
           " not meant (chmod u-s,g-s)\n" * told)


@pytest.mark.skipif(not ROOT or not shutil.which("setcap"), reason="needs root and setcap")
def test_file_capabilities(bench):
    (bench.path / "tool").write_bytes(STATIC)
    subprocess.run(["setcap", "cap_net_raw+ep", bench.path / "tool"], check=True)
    assert bench.run("-a", "tool:/tool").stderr.decode().endswith(
        ": an initramfs holds no file capabilities; let root start it, or put it into an image\n")


def test_links_that_lead_up(bench):
    """/ has nothing above it, whoever unpacks the archive."""
    (bench.path / "tree").mkdir()
    (bench.path / "one").touch()
    for link, target in (("lib", "../usr/./lib"), ("self", "."), ("up", "../../usr/../usr/lib/.")):
        (bench.path / "tree" / link).symlink_to(target)
    archive = bench.build("-a", "tree:/", "-a", "one:/lib/a", "-a", "one:/self/usr/lib/b", "-a", "one:/up/c", init="none")
    assert [name for name in parse(archive) if "/" in name] == ["usr/lib", "usr/lib/a", "usr/lib/b", "usr/lib/c"]


def test_nothing_at_all(bench):
    bench.fails("-i none: nothing goes in; name a table with -c, or files with -a", init="none")


@pytest.fixture
def full(bench, kernel):
    """Arguments that use all there is, relative to the bench, and the archive they give."""
    make_tree(bench.path / "tree")
    (bench.path / "table").write_text("/dev/vda / erofs\n")
    args = ("-c", "table", "-k", f"lib/modules/{VERSION}", "-m", "top,packed-xz", "-m", "soft",
            "-a", "tree:/t")
    return args, bench.build(*args)


def test_same_bytes(bench, full):
    args, expected = full
    for case in (*({"umask": mask, "out": "-"} for mask in (0o000, 0o022, 0o077, 0o777)),
                 *({"prefix": shell} for shell in (["dash"], ["bash", "--posix"])),
                 *({"env": {"LC_ALL": locale, "TZ": "Asia/Kathmandu"}}
                   for locale in ("C", "C.UTF-8", "tr_TR.UTF-8")),
                 {"env": {"TMPDIR": "tmp", "CDPATH": "/", "MODPROBE_OPTIONS": "--bogus",
                          "TAR_READER_OPTIONS": "x", "TAR_WRITER_OPTIONS": "x"}}):
        assert bench.build(*args, **case) == expected, case


@pytest.mark.skipif(not ROOT, reason="needs root to become someone else")
def test_same_bytes_for_another_user(bench, full):
    args, expected = full
    for mask in (0o022, 0o777):
        assert bench.build(*args, out=f"out-{mask}", umask=mask, **as_nobody(bench)) == expected
        assert (bench.path / f"out-{mask}").stat().st_uid == NOBODY


@pytest.mark.parametrize("place", ("/dev/shm", "/var/tmp"))
def test_same_bytes_from_a_copy_elsewhere(bench, full, place):
    """It has other inodes, another device, other times, order of entries and absolute names."""
    args, expected = full
    with tempfile.TemporaryDirectory(dir=place) as other:
        subprocess.run("find static-init table lib tree -depth -print0 | tac -s '' |"
                       f" cpio -0pd --quiet {other}", shell=True, cwd=bench.path, check=True)
        for path in Path(other).rglob("*"):
            os.utime(path, (1, 86400 * len(path.name)), follow_symlinks=False)
        assert bench.build(*args, cwd=other) == expected
        absolute = [f"{other}/{a}" if a.startswith(("lib/", "table", "tree")) else a for a in args]
        assert bench.build(*absolute, out=bench.path / "abs", init=f"{other}/static-init",
                           cwd="/") == expected


def test_time(bench):
    headers = [bench.build(env={"SOURCE_DATE_EPOCH": when})[:110] for when in ("0", "1700000000", "")]
    assert headers[0] == headers[2] and bench.build()[:110] == headers[0]
    assert headers[1] == headers[0][:46] + b"6553f100" + headers[0][54:] != headers[0]


def test_output_is_replaced_at_once_and_its_mode_follows_umask(bench):
    (bench.path / "out.cpio").write_text("old")
    os.link(bench.path / "out.cpio", bench.path / "kept")
    bench.fails("gone: no regular file that can be read; check the path given with -c", "-c", "gone")
    assert (bench.path / "out.cpio").read_text() == "old"
    for mask, mode in ((0o022, 0o644), (0o077, 0o600), (0o002, 0o664)):
        bench.build(umask=mask)
        assert stat.S_IMODE((bench.path / "out.cpio").stat().st_mode) == mode
    assert (bench.path / "kept").read_text() == "old"


def test_init(bench):
    file = bench.path / "-i"
    file.write_bytes(b"#!/bin/sh\n")
    assert content(bench.build(init="-i"), "init") == b"#!/bin/sh\n"
    for flags in (["-static"], ["-static-pie"], []):
        subprocess.run(["gcc", *flags, "-x", "c", "-", "-o", file], check=True,
                       input=b"int main(void) { return 0; }")
        if flags:
            assert content(bench.build(init="-i"), "init") == file.read_bytes()
    (bench.path / "out.cpio").unlink()
    for change in (bytes, lambda data: data.replace(b"/ld-linux", b"/ld-musl-")):
        file.write_bytes(change(file.read_bytes()))
        bench.fails("-i: dynamically linked, and the initramfs has no loader; link it with -static",
                    init="-i")
    for data in (b"", b"#", b"hello\n"):
        file.write_bytes(data)
        bench.fails("-i: neither an ELF program nor a script; name a static program with -i", init="-i")


def test_default_init(bench):
    """Beside the script when installed, else in the build folder of its source tree."""
    here = bench.path / "source/init"
    here.mkdir(parents=True)
    script = shutil.copy(SCRIPT, here)
    bench.fails(f"idmap-init: neither in {here} nor in {here.parent}/build; "
                "run make, or name it with -i", script=script, init=None)
    far = bench.path / "far"
    for number, (folder, env) in enumerate(((here.parent / "build", {}), (far, {"O": str(far)}),
                                            (here.parent / "o", {"O": "o"}), (here, {}))):
        folder.mkdir(exist_ok=True)
        (folder / "idmap-init").write_bytes(STATIC + bytes([number]))
        assert content(bench.build(script=script, init=None, env=env), "init")[-1] == number
    (bench.path / "link").symlink_to(script)
    assert content(bench.build(script=bench.path / "link", init=None), "init")[-1] == 3


# Name: what it calls, and its .modinfo.
MODULES = {
    "dm-verity": ("", "license=GPL"),
    "base": ("", ""), "mid-dle": ("base", ""), "top": ("mid-dle", "alias=fs-top"),
    "packed_zst": ("", ""), "packed_gz": ("packed_zst", ""), "packed-xz": ("packed_gz base", ""),
    "sum-fast": ("", "alias=sum"), "other": ("base", ""),
    "before_lib": ("", ""), "soft_lib": ("", "softdep=pre: before-lib"),
    "soft": ("soft_lib", "softdep=pre: sum no_such_module\\0softdep=pre: other post: top"),
    "fat": ("", ""), "vfat": ("fat", ""), "nls_cp437": ("", ""), "nls_ascii": ("", ""), "nls_koi8-r": ("", ""),
    "lost": ("", ""), "broken": ("", ""),
}
PACK = {"packed-xz": ("xz", ".xz"), "packed_gz": ("xz", ".xz"), "packed_zst": ("zstd", ".zst"),
        "broken": ("xz", ".xz")}


@pytest.fixture(scope="session")
def indexed_modules(tmp_path_factory):
    """Small relocatable files that depmod has seen, some compressed."""
    base = tmp_path_factory.mktemp("modules")
    folder = base / "lib/modules" / VERSION
    (folder / "kernel").mkdir(parents=True)
    (folder / "modules.builtin").write_text("kernel/fs/ext4/ext4.ko\nkernel/drivers/virtio-core.ko\n")
    (folder / "modules.builtin.modinfo").write_bytes(b"ext4.alias=fs-ext4\0ext4.license=GPL\0")
    for name, (needs, info) in MODULES.items():
        needs = ["f_" + need.replace("-", "_") for need in needs.split()]
        export = "f_" + name.replace("-", "_")
        code = "".join(f"void {f}(void);" for f in needs)
        code += f"void {export}(void) {{ {''.join(f'{f}();' for f in needs)} }}"
        for section, text in (("__ksymtab_strings", export), (".modinfo", info)):
            code += f'char {section[-4:]}[] __attribute__((section("{section}"))) = "{text}";'
        subprocess.run(["gcc", "-c", "-fno-pic", "-x", "c", "-", "-o", folder / f"kernel/{name}.ko"],
                       input=code.encode(), check=True)
    for name, (tool, suffix) in PACK.items():
        file = folder / f"kernel/{name}.ko"
        with open(f"{file}{suffix}", "wb") as output:
            subprocess.run([tool, "-c", file, *(["-Ccrc32"] if tool == "xz" else [])], stdout=output,
                           stderr=subprocess.DEVNULL, check=True)
        file.unlink()
    subprocess.run(["depmod", "-b", base, VERSION], check=True, env={"PATH": "/usr/sbin:/sbin"})
    (folder / "kernel/broken.ko.xz").write_bytes(b"not xz at all")
    (folder / "kernel/lost.ko").unlink()
    # Debian's depmod is built without zlib, so this suffix comes in after it.
    old, new = (folder / f"kernel/packed_gz.ko.{suffix}" for suffix in ("xz", "gz"))
    new.write_bytes(gzip.compress(lzma.decompress(old.read_bytes())))
    old.unlink()
    index = folder / "modules.dep.bin"
    index.write_bytes(index.read_bytes().replace(b"packed_gz.ko.xz", b"packed_gz.ko.gz"))
    return folder


@pytest.fixture
def kernel(bench, indexed_modules):
    folder = bench.path / "lib/modules" / VERSION
    shutil.copytree(indexed_modules, folder)
    return folder


def order(archive):
    """The load order, as bare names; each path is checked against the archive."""
    found = parse(archive)
    lines = found.get("etc/idmap.modules", (0, b""))[1].decode().splitlines()
    assert sorted(lines) == ["/" + name for name in found if name.endswith(".ko")]
    return [Path(line).stem for line in lines]


@pytest.mark.parametrize("wanted, expected", (
    ("base", "base"),
    ("top", "base mid-dle top"),
    ("mid-dle,top -m fat", "base mid-dle top fat"),
    ("packed_xz", "packed_zst packed_gz base packed-xz"),
    ("fs-top", "base mid-dle top"),
    # All soft ones, also those of what is needed.
    ("soft", "before_lib soft_lib sum-fast base other soft mid-dle top"),
    ("vfat", "fat vfat nls_cp437 nls_ascii"),
    ("ext4,virtio_core,base,fs-ext4", "base"),
))
def test_module_order(bench, kernel, wanted, expected):
    assert order(bench.build("-k", kernel, "-m", *wanted.split())) == expected.split()


def test_no_list_without_modules(bench, kernel):
    for args in ((), ("-m", "ext4")):
        assert list(parse(bench.build("-k", kernel, *args))) == [".", "init"]


def test_module_content(bench, kernel):
    archive = bench.build("-k", kernel, "-m", "packed_xz")
    for name, read in (("base", bytes), ("packed-xz", lzma.decompress), ("packed_gz", gzip.decompress)):
        source, = (kernel / "kernel").glob(f"{name}.ko*")
        assert content(archive, f"lib/modules/{VERSION}/kernel/{name}.ko") == read(source.read_bytes())
    assert content(archive, f"lib/modules/{VERSION}/kernel/packed_zst.ko")[:4] == b"\x7fELF"
    assert "-rw-r--r-- etc/idmap.modules" in listing(archive)


def test_modules_folder_by_other_names(bench, kernel):
    """The version is the real folder's name, however it is reached, also an odd one."""
    expected = bench.build("-k", kernel, "-m", "top")
    (bench.path / "current").symlink_to(kernel)
    for name, cwd in (("current", bench.path), (".", kernel), (f"{kernel}//", "/")):
        assert bench.build("-k", name, "-m", "top", cwd=cwd, init=bench.path / "static-init",
                           out=bench.path / "x") == expected
    kernel.rename(bench.path / "b a#re")
    archive = bench.build("-k", "b a#re", "-m", "base")
    assert content(archive, "etc/idmap.modules") == b"/lib/modules/b a#re/kernel/base.ko\n"
    assert "lib/modules/b a#re/kernel/base.ko" in parse(archive)


SEAL = ("root,rootfstype,rootflags,rw,init,idmap,idmap.conf,idmap.init,roothash,systemd.verity_root_data,"
        "systemd.verity_root_hash,systemd.verity_root_options,auto,paths,modules,shell")


def test_words_of_a_seal(bench):
    """They are the parameters that PID 1 knows to close, and what concerns no parameter."""
    archive = bench.build(f"--sealed={SEAL},systemd.verity-root-data,")
    assert content(archive, "etc/idmap.sealed").split(b"\n")[:2] == [b"root", b"rootfstype"]
    source = (Path(__file__).parents[2] / "idmap/table/cmdline.c").read_text()
    closed = re.findall(r'\[\w+\] = \{"([a-z._]+)", true\}', source)
    assert sorted(SEAL.split(",")) == sorted([*closed, "auto", "paths", "modules", "shell"])


@pytest.mark.parametrize("args, message", (
    ([], "-o: missing; name the file to write with -o OUT"),
    (["-o"], "-o: needs a value; see mkinitramfs -h"),
    (["-o", ""], "-o: an empty value; see mkinitramfs -h"),
    (["-x"], "-x: no such option; see mkinitramfs -h"),
    (["stray"], "stray: no option; see mkinitramfs -h"),
    (["-o", "o", "-m", "erofs"], "-m: needs -k; name a lib/modules/VERSION folder with -k"),
    *((["-a", value], f"-a {value}: no source with an absolute target; write -a SRC:/DST")
      for value in ("x", "x:y", ":/y")),
    (["-a", "x\ny:/z"], "-a: a value with a newline; use other names"),
    *((["-o", "o", f"--sealed=,{other},{word}"], f"--sealed: '{word}' opens nothing; write words of {SEAL}")
      for other, word in (("root", "rot"), ("idmap", "idmap.onfail"), ("init", "Init"), ("auto", "a b"), ("", "*"))),
))
def test_misuse(bench, args, message):
    bench.fails(message, *args, out=None, init=None, code=2)
    assert bench.run("-h", out=None, init=None).stdout.startswith(b"usage: mkinitramfs -o OUT ")


FILE = "no regular file that can be read; check the path given with"
TREE = "no file, folder or link that can be read; change its mode or leave it out"
TWICE = "wanted twice; choose another DST for one"
BOTH = "wanted as a folder and as another thing; choose another DST for one"
ELSEWHERE = "not a regular file; name another file, or use -o - and redirect"
AGAIN = "install the kernel's modules again and run depmod"
TIME = "is no time in seconds; unset it or give decimal digits"


@pytest.mark.parametrize("args, message", (
    ("-i gone", f"gone: {FILE} -i"),
    ("-i tmp", f"tmp: {FILE} -i"),
    ("-i shut", f"shut: {FILE} -i"),
    ("-c gone", f"gone: {FILE} -c"),
    ("-c shut", f"shut: {FILE} -c"),
    ("-a gone:/gone", "gone: no such file or folder; check the path given with -a"),
    ("-a shut:/f", f"shut: {TREE}"),
    ("-a s:/f", f"s/shut: {TREE}"),
    ("-a e:/f", f"e/inner: {TREE}"),
    ("-a p:/p", f"p: {TREE}"),
    ("-a q:/q", f"q/new?line: {TREE}"),
    ("-a a:/x -a a:/x", f"/x: {TWICE}"),
    ("-a d:/ -a a:/f", f"/f: {TWICE}"),
    ("-a d:/init", f"/init: {BOTH}"),
    ("-a a:/init/x", f"/init: {BOTH}"),
    ("-a l:/lib -a a:/lib/a -a d:/usr/lib -a a:/usr/lib/a", f"/usr/lib/a: {TWICE}"),
    ("-i foreign -k K -m base", f"foreign: a program for another machine (4660 in ELF's numbers) than the"
                                f" modules ({MACHINE}); name the one that is built for them with -i"),
    ("-a a:/x/../y", "/x/../y: a target with . or ..; write the target's own path"),
    ("-a a:/y/.", "/y/.: a target with . or ..; write the target's own path"),
    ("-a a:/y/", "/y/: a folder's name, but a is none; write DST with its last name"),
    ("-k tmp", "tmp: has no modules.dep.bin; run depmod, or name a lib/modules/VERSION folder with -k"),
    ("-k K -m base,x-y", "x-y: no such module in K (modprobe: WARNING: Module x-y not found in directory K);"
                         " see modules.dep there for the names"),
    ("-k K -m lost", f"K/kernel/lost.ko: no regular file that can be read; {AGAIN}"),
    ("-k K -m broken", "K/kernel/broken.ko.xz: xz: (stdin): File format not recognized; "
                       "install that module again, or set TMPDIR to make room"),
    ("-k K -m base -a a:/etc/idmap.modules", f"/etc/idmap.modules: {TWICE}"),
    ("-o gone/o", "gone/o: its folder does not exist; make the folder first"),
    ("-o tmp", f"tmp: {ELSEWHERE}"),
    ("-o /dev/null", f"/dev/null: {ELSEWHERE}"),
    ("-o closed/o", "closed/o: its folder cannot be written; change its mode or name another folder"),
    ("TMPDIR=/none", "/none: no temporary folder can be made there; make room or set TMPDIR"),
    ("SOURCE_DATE_EPOCH=4294967296", "SOURCE_DATE_EPOCH: 4294967296 is more than a cpio archive has room for, 4294967295;"
                                     " give an earlier time"),
    *((f"SOURCE_DATE_EPOCH={when}", f"SOURCE_DATE_EPOCH: {when} {TIME}")
      for when in ("soon", "-1", "1700000000000")),
))
def test_failures(bench, kernel, args, message):
    for folder in ("d", "s", "q", "e/inner", "closed"):
        (bench.path / folder).mkdir(parents=True)
    for file in ("a", "d/f", "shut", "s/shut"):
        (bench.path / file).write_bytes(STATIC)
    for name, mode in (("shut", 0), ("s/shut", 0), ("e/inner", 0o311), ("closed", 0o555)):
        (bench.path / name).chmod(mode)
    (bench.path / "foreign").write_bytes(STATIC[:18] + (4660).to_bytes(2, sys.byteorder) + STATIC[20:])
    (bench.path / "l").symlink_to("usr/lib")
    os.mkfifo(bench.path / "p")
    os.mkfifo(bench.path / "q/new\nline")
    words = args.replace("K", str(kernel)).split() if args[0] == "-" else []
    env = {} if words else dict([args.split("=")])
    bench.fails(message.replace("K", str(kernel)), *words, env=env, **as_nobody(bench))


def test_tree_whose_lib_is_a_link(bench, kernel):
    """What lands in a folder that is a link lands where that leads, however it is written."""
    for folder in ("usr/lib", "usr/bin", "etc"):
        (bench.path / "tree" / folder).mkdir(parents=True)
    for link, target in (("lib", "usr/lib"), ("bin", "./usr/bin"), ("usr/sbin", "../bin"), ("conf", "/etc/")):
        (bench.path / "tree" / link).symlink_to(target)
    (bench.path / "tool").write_bytes(STATIC)
    (bench.path / "tool").chmod(0o755)
    (bench.path / "table").write_text("/dev/vda / tmpfs\n")
    archive = bench.build("-a", "tree:/", "-k", kernel, "-m", "base", "-a", "tool:/usr/sbin/tool", "-a",
                          "tool:/conf/deep/tool", "-c", "table")
    names = set(parse(archive))
    assert {f"usr/lib/modules/{VERSION}/kernel/base.ko", "usr/bin/tool", "etc/deep/tool", "etc/idmap.conf"} <= names
    assert stat.S_ISLNK(parse(archive)["lib"][0])
    assert content(archive, "etc/idmap.modules").decode() == f"/lib/modules/{VERSION}/kernel/base.ko\n"


def test_table_is_checked(bench):
    """With the words of a boot, by idmap(8); a table for /dev/root is one for whatever root= will name."""
    (bench.path / "table").write_text("/dev/root / erofs idmap=0:5\nx y\n")
    before = set(bench.path.iterdir())
    result = bench.run("-c", "table", env=BUILT)
    assert result.stderr.decode() == (
        "mkinitramfs: table:1:25: '0:5' is no extent of three numbers; write DISK:SEEN:COUNT\n"
        "mkinitramfs: table: not a table that boots (table:2:4: the row ends too soon; write SOURCE TARGET TYPE"
        " [OPTIONS]); correct it; idmap check -c table tells the same\n")
    assert result.returncode == 1 and set(bench.path.iterdir()) == before
    (bench.path / "table").write_text("/dev/root / erofs idmap=0:5:1\n")
    bench.build("-c", "table", env=BUILT)


@pytest.mark.parametrize("foreign", [True, False])
def test_table_that_is_not_checked(bench, foreign):
    """It goes in as it is, and that is told: idmap is missing, or one for another machine."""
    folder = bench.path / "build"
    folder.mkdir()
    why = "there is no idmap beside mkinitramfs"
    if foreign:
        (folder / "idmap").write_bytes(b"\x7fELF" + bytes(60))
        (folder / "idmap").chmod(0o755)
        why = f"{folder}/idmap does not run here"
    (bench.path / "table").write_text("/dev/root / erofs idmap=0:5\n")
    result = bench.run("-c", "table", env={"O": str(folder)})
    assert (result.returncode, result.stderr.decode()) == (0, (
        f"mkinitramfs: table: not checked, since {why}; build one for this machine and say idmap check -c table\n"))


def test_driver_that_the_table_needs(bench, kernel):
    (bench.path / "table").write_text("/dev/vda / base:ext4\n/dev/vdb /b top,fat nofail\nt /t tmpfs\n")
    result = bench.run("-c", "table", "-k", kernel, "-m", "top", env=BUILT)
    assert (result.stderr.decode(), result.returncode) == (
        "mkinitramfs: table: it has the type fat, and no driver for it goes in; add -m fat\n", 0)
    bench.build("-c", "table", "-k", kernel, "-m", "top,fat", env=BUILT)
    (bench.path / "table").write_text(f"/dev/vda / base verity.roothash={'0' * 64},verity.hashoffset=512\n")
    result = bench.run("-c", "table", "-k", kernel, "-m", "top", env=BUILT)
    assert result.stderr.decode() == (
        "mkinitramfs: table: it has verity.roothash=, and no driver for it goes in; add -m dm_verity\n")
    bench.build("-c", "table", "-k", kernel, "-m", "top,dm_verity", env=BUILT)
    (bench.path / "table").write_text("/dev/vda / vfat iocharset=koi8-r\n")
    result = bench.run("-c", "table", "-k", kernel, "-m", "vfat", env=BUILT)
    assert result.stderr.decode() == (
        "mkinitramfs: table: it has a codepage=, iocharset= or nls= that takes nls_koi8-r, and no driver for it goes in;"
        " add -m nls_koi8-r\n")
    bench.build("-c", "table", "-k", kernel, "-m", "vfat,nls_koi8-r", env=BUILT)


def test_table_alone(bench):
    """For one guest more, behind an initramfs that others have, too."""
    (bench.path / "table").write_text("/dev/vda / erofs\n")
    archive = bench.build("-c", "table", init="none")
    assert listing(archive) == ["drwxr-xr-x etc", "-rw-r--r-- etc/idmap.conf"] and "." not in parse(archive)
    assert len(archive) == 512


@pytest.mark.parametrize("tool,unpack", [("gzip", gzip.decompress), ("xz", lzma.decompress), ("zstd", None)])
def test_compression(bench, tool, unpack):
    plain, packed = bench.build(), bench.build("-z", tool, out="packed")
    assert packed == bench.build("-z", tool, out="-") and len(packed) < len(plain)
    if not unpack:  # which takes the padding for another frame
        packed = subprocess.run(["zstd", "-dcq"], input=packed, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL).stdout
    assert (unpack(packed) if unpack else packed) == plain


@pytest.mark.parametrize("tool", ["gzip", "xz", "zstd"])
def test_what_stands_behind_a_compressed_one(bench, tool):
    """It must begin at a multiple of 4 bytes (init/initramfs.c)."""
    for size in range(8):
        (bench.path / "file").write_bytes(os.urandom(size))
        assert len(bench.build("-z", tool, "-a", f"{bench.path / 'file'}:/file")) % 4 == 0


def test_modprobe_of_busybox(bench, kernel):
    bench.fails("modprobe: not the one of kmod, which alone lists what a module needs; install the package kmod,"
                " and let it come before others in PATH", "-k", kernel, "-m", "base",
                env=bench.fake("modprobe", "echo modprobe: unrecognized option >&2; exit 1"))


def test_missing_tool(bench, kernel):
    script, tools = bench.path / "script", bench.path / "tools"
    script.write_text(SCRIPT.read_text().replace(":/usr/sbin:/sbin", ""))
    script.chmod(0o755)
    tools.mkdir()
    for name in ("awk bsdtar cat dirname find grep gzip head ln mkdir mktemp modprobe mv od readlink rm"
                 " sed sh sort tail tr xz zstd").split():
        (tools / name).symlink_to(shutil.which(name, path=os.environ["PATH"] + ":/usr/sbin"))
    for tool, package in (("zstd", "zstd"), ("modprobe", "kmod"), ("bsdtar", "libarchive-tools")):
        (tools / tool).unlink()
        bench.fails(f"{tool}: not found; install the package {package}", "-k", kernel, "-m",
                    "packed_gz", env={"PATH": str(tools)}, script=script)


def test_archive_that_cannot_be_written(bench):
    with open("/dev/full", "wb") as full_device:
        bench.fails("-: cannot be written; make room and try again", out="-", stdout=full_device)
    controller, terminal = os.openpty()
    bench.fails("-: a terminal; redirect it or name a file with -o", out="-", stdout=terminal)
    os.close(controller)
    os.close(terminal)
    # Some failures of libarchive end with code 0.
    bench.fails("out.cpio: bsdtar: Too large; correct that or make room, and try again",
                env=bench.fake("bsdtar", "echo bsdtar: Too large >&2; exit 0"))


@pytest.mark.parametrize("number", (signal.SIGTERM, signal.SIGINT, signal.SIGHUP))
@pytest.mark.parametrize("tool", ("xz", "mv"))
def test_signal(bench, kernel, number, tool):
    """Stopped while decompressing, or when OUT is written."""
    env = bench.fake(tool, ": >$STARTED\nexec sleep 60\n")
    started = bench.path / "started"
    process = subprocess.Popen(
        [SCRIPT, "-o", "out.cpio", "-i", "static-init", "-k", kernel, "-m", "packed_xz"],
        cwd=bench.path, start_new_session=True, stderr=subprocess.PIPE,
        # What was ignored when the tests were started (nohup, & in a script) a shell cannot trap.
        preexec_fn=lambda: signal.signal(number, signal.SIG_DFL),
        env={**env, "TMPDIR": str(bench.tmp), "STARTED": str(started)})
    deadline = time.monotonic() + 20
    while not started.exists() and time.monotonic() < deadline:
        time.sleep(0.01)
    assert started.exists() and len(list(bench.tmp.iterdir())) == 1
    assert bool(list(bench.path.glob(".mkinitramfs.*"))) == (tool == "mv")
    os.killpg(process.pid, number)
    process.communicate(timeout=20)
    assert process.returncode == 1
    assert list(bench.tmp.iterdir()) == []
    assert not list(bench.path.glob(".mkinitramfs.*")) and not (bench.path / "out.cpio").exists()


def test_shellcheck():
    subprocess.run(["shellcheck", SCRIPT], check=True)
