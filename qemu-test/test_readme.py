# SPDX-License-Identifier: MIT
"""README.md is tested: its commands are run, its tables and command lines parsed, its figures
compared. A block is marked by its language: sh, conf, cmdline."""

from __future__ import annotations

import os
import re
import shutil
import subprocess

import pytest

import host
import images
from common import of_x86_64

pytestmark = of_x86_64("its commands are of x86-64")

README = (host.REPOSITORY / "README.md").read_text()
BLOCKS = re.findall(r"^```(\w+)(?: recipe=(\w+))?\n(.*?)^```$", README, re.M | re.S)


def blocks(language):
    return [text for kind, _, text in BLOCKS if kind == language]


def recipe(name):
    text, = [text for kind, label, text in BLOCKS if label == name]
    return text


@pytest.fixture(scope="module")
def print_plan(programs):
    """print_plan(file or "-", command line): rows, or the errors, as idmap/test/print_plan.c has it."""
    folder = programs.folder
    host.make(folder, str(folder / "test" / "print_plan"))

    def run(file, cmdline=""):
        return subprocess.run([folder / "test" / "print_plan", file, cmdline], text=True,
                              stdout=subprocess.PIPE, stderr=subprocess.STDOUT)

    return run


def test_it_is_short():
    lines = README.splitlines()
    assert len(lines) <= 250 and max(map(len, lines)) <= 120


def test_every_block_is_known():
    assert {kind for kind, _, _ in BLOCKS} == {"sh", "conf", "cmdline"}
    # Each sh block is one of the two commands or a recipe with a test below.
    assert {label for kind, label, _ in BLOCKS if kind == "sh"} == {
        "", "first", "microvm", "layers", "hostshare", "cross", "command"}
    assert blocks("sh")[0] == "make run\nmake check\n"


@pytest.mark.parametrize("text", blocks("conf"))
def test_conf(text, print_plan, tmp_path):
    """A table without a root of its own is for the root that the next command line names."""
    file = tmp_path / "idmap.conf"
    file.write_text(text)
    done = print_plan(file, "root=/dev/vda rootfstype=erofs ro")
    assert done.returncode == 0, done.stdout
    rows = [line for line in text.splitlines() if line.strip() and not line.startswith("#")]
    assert len(done.stdout.splitlines()) == len(rows)


@pytest.mark.parametrize("text", blocks("cmdline"))
def test_cmdline(text, print_plan):
    done = print_plan("-", text.strip())
    assert done.returncode == 0, done.stdout


def test_error_lines(print_plan, tmp_path):
    """The line that the README quotes, from the program itself."""
    file = tmp_path / "idmap.conf"
    file.write_text("\n\n/dev/vda / erofs ro,idmap=100000:0\n")
    said = print_plan(file).stdout.replace(str(file), "/etc/idmap.conf")
    assert f"    idmap-init: {said}" in README


def test_sizes(defconfig):
    """The figures are Debian 12's compiler's; another one may differ by a little."""
    line = re.search(r"tiny ([\d,]+), default ([\d,]+), full ([\d,]+) bytes; after gzip -9, as in an initramfs,"
                     r" ([\d,]+), ([\d,]+) and ([\d,]+)\.", " ".join(README.split()))
    said = [int(figure.replace(",", "")) for figure in line.groups()]
    for name, size, packed in zip(("tiny", "default", "full"), said[:3], said[3:]):
        for found, figure in zip(host.sizes(defconfig(name)), (size, packed)):
            assert abs(found - figure) <= figure * 0.03, name


def test_exit_codes():
    header = (host.REPOSITORY / "idmap" / "idmap.h").read_text()
    codes = [int(code) for code in re.findall(r"\bIDMAP_(?:BAD|NO)_\w+ = (\d)", header)]
    manual = (host.REPOSITORY / "man" / "idmap-init.8").read_text()
    assert codes == [int(code) for code in re.findall(r"^(\d): ", manual, re.M)]


# What guest.qemu_command() does for the tests' own guests, whose QEMU may be an emulation.
WRAPPER = """#!/bin/sh
for argument do
	shift
	case $argument in
	virtio-blk-device,*) argument=$argument,bus=virtio-mmio-bus.1 ;;
	console=ttyS0*) argument="$argument tsc_early_khz=1000000" ;;
	esac
	set -- "$@" "$argument"
done
exec REAL -cpu max,-cx16 "$@"
"""


@pytest.fixture
def workshop(tmp_path, programs, kernel):
    """A copy of the sources with what the recipes speak of, and a QEMU that behaves under TCG."""
    copy = tmp_path / "idmap-init"
    shutil.copytree(host.REPOSITORY, copy,
                    ignore=shutil.ignore_patterns(".git", "build", "build-*", "__pycache__"))
    tools = tmp_path / "tools"
    tools.mkdir()
    wrapper = tools / "qemu-system-x86_64"
    real = shutil.which("qemu-system-x86_64")
    wrapper.write_text(WRAPPER.replace("REAL", real))
    wrapper.chmod(0o755)
    environment = {key: value for key, value in os.environ.items()
                   if key not in ("MAKEFLAGS", "MAKELEVEL", "MFLAGS", "MAKEOVERRIDES", "O")}
    environment.update(PATH=f"{tools}:{os.environ['PATH']}", KERNEL=str(kernel.vmlinuz),
                       MODULES=str(kernel.modules))

    def run(text, timeout=120):
        done = subprocess.run(["sh", "-eu"], input=text, cwd=copy, env=environment, text=True,
                              stdout=subprocess.PIPE, stderr=subprocess.STDOUT, timeout=timeout)
        assert done.returncode == 0, done.stdout
        return done.stdout

    run.folder = copy
    return run


def real_init(*lines, base=100000):
    """A script whose lines' output is read from the console: the kernel, which has no `quiet` in
    these command lines, would write lines of its own into the middle of one."""
    script = ["#!/bin/sh", "echo 1 >/proc/sys/kernel/printk", *lines, "poweroff -f", ""]
    return images.File("\n".join(script), base, base, 0o755)


@pytest.mark.parametrize("name,source", [("first", "/dev/vda"), ("microvm", "/dev/vda")])
def test_first(name, source, workshop, programs):
    tree = images.busybox_root(programs.probe, programs.ids)
    tree["/sbin/init"] = real_init("ls -ln /")
    images.make_image(tree, "erofs", workshop.folder / "root.erofs")
    out = workshop("make\n" + recipe(name))
    assert re.search(rf"idmap-init: {source} / erofs ro,idmap=100000:0:65536 in \d+ us", out)
    assert re.search(r"^drwxr-xr-x +\d+ 0 +0 .* bin\r?$", out, re.M)


def test_layers(workshop, programs):
    """The table before the recipe, two images of different ids."""
    tree = images.busybox_root(programs.probe, programs.ids)
    patch = {"/": images.Dir(200000, 200000), "/patch": images.Dir(200001, 200002),
             "/sbin/init": real_init("touch /new", "ls -ln /", base=200000)}
    images.make_image(tree, "erofs", workshop.folder / "root.erofs")
    images.make_image(patch, "erofs", workshop.folder / "patch.erofs")
    table, = [text for text in blocks("conf") if text.startswith("tmpfs ")]
    (workshop.folder / "idmap.conf").write_text(table)
    out = workshop("make\n" + recipe("layers"))
    assert re.search(r"idmap-init: tmpfs / overlay rw,size=64m in \d+ us", out)
    assert re.search(r"^drwxr-xr-x +\d+ 0 +0 .* bin\r?$", out, re.M)
    assert re.search(r"^drwxr-xr-x +\d+ 1 +2 .* patch\r?$", out, re.M)
    assert re.search(r"^-rw-r--r-- +1 0 +0 .* new\r?$", out, re.M)


@pytest.mark.parametrize("kernel", ["6.12"], indirect=True)
def test_hostshare(workshop, programs, virtiofsd, host_tree):
    tree = images.busybox_root(programs.probe, programs.ids)
    tree["/srv/work"] = images.Dir(100000, 100000)
    tree["/sbin/init"] = real_init("ls -ln /srv/work", "cd /srv/work", "echo new >new")
    images.make_image(tree, "erofs", workshop.folder / "root.erofs")
    (workshop.folder / "idmap.conf").write_text(
        next(text for text in blocks("conf") if "hostshare" in text))
    share = host_tree({"/": images.Dir(1000, 1000), "/mine": images.File("x", 1000, 1000)})
    share.rename(workshop.folder / "work")
    wrapper = workshop.folder.parent / "tools" / "virtiofsd"
    wrapper.write_text(f"#!/bin/sh\nexec {virtiofsd('new')} \"$@\"\n")
    wrapper.chmod(0o755)
    out = workshop("make\n" + recipe("hostshare"))
    assert re.search(r"^-rw-r--r-- +\d+ 0 +0 .* mine\r?$", out, re.M), out
    assert (workshop.folder / "work" / "new").stat().st_uid == 1000


def test_cross(workshop):
    """A port is a compiler. Where that one cannot be fetched the test is skipped."""
    try:
        host.find_cross("aarch64")
    except host.CompilerMissing as missing:
        pytest.skip(f"no compiler for aarch64: {missing}")
    workshop(recipe("cross"))
    header = (workshop.folder / "build-arm64" / "idmap-init").read_bytes()[:20]
    assert header[:4] == b"\177ELF" and header[18] == 183  # EM_AARCH64


def test_command(workshop):
    (workshop.folder / "tree" / "sbin").mkdir(parents=True)
    (workshop.folder / "idmap.conf").write_text(blocks("conf")[0])
    out = workshop(recipe("command"))
    assert re.search(r"^idmap=\d+:0:65536$", out, re.M) and "it has no /sbin/init" in out
    assert out.endswith("/dev/vda / erofs ro,idmap=100000:0:65536\n"
                        "/images/app /opt/app bind ro,nosuid,nodev,idmap=100000:2000:10\n"
                        "/dev/vdb /srv ext4 ro,nosuid,nodev,idmap=0:1000:1,1000:0:1\n")


@pytest.mark.parametrize("compiler", ["musl-gcc", "gcc"])
def test_library(compiler, tmp_path, programs):
    """examples/library.c, by what is installed, with either C library."""
    host.make(programs.folder, "install", f"DESTDIR={tmp_path}", "PREFIX=/usr")
    shutil.copy(host.REPOSITORY / "examples/library.c", tmp_path / "example.c")
    flags = subprocess.run(
        ["pkg-config", "--static", "--cflags", "--libs", "idmap"], check=True, stdout=subprocess.PIPE, text=True,
        env={**os.environ, "PKG_CONFIG_PATH": f"{tmp_path}/usr/lib/pkgconfig", "PKG_CONFIG_SYSROOT_DIR": str(tmp_path),
             "PKG_CONFIG_ALLOW_SYSTEM_CFLAGS": "1", "PKG_CONFIG_ALLOW_SYSTEM_LIBS": "1"}).stdout
    subprocess.run(f"{compiler} -Wall -Werror -o example example.c {flags}", shell=True, check=True, cwd=tmp_path)
    assert subprocess.run([tmp_path / "example"], stdout=subprocess.PIPE, text=True).stdout == "1 rows, 0 errors\n"


def test_version(programs):
    """It is one number."""
    version = re.search(r'"(.*)"', (host.REPOSITORY / "idmap" / "version.h").read_text())[1]
    said = subprocess.run([programs.folder / "idmap", "--version"], stdout=subprocess.PIPE, text=True).stdout
    assert said == f"idmap {version}\n"
    assert re.search(r"^## (.*)$", (host.REPOSITORY / "CHANGELOG.md").read_text(), re.M)[1] == version


def test_diagram():
    """`make diagram` writes it."""
    drawn = subprocess.run(["/usr/bin/python3", "-B", host.REPOSITORY / "man" / "diagram"], check=True,
                           stdout=subprocess.PIPE, text=True).stdout
    assert (host.REPOSITORY / "man" / "idmap.svg").read_text() == drawn
    assert "](man/idmap.svg)" in README


def test_make_run(programs):
    """make run without a terminal: says what it does, prints the listing and powers off."""
    environment = {key: value for key, value in os.environ.items()
                   if key not in ("MAKEFLAGS", "MAKELEVEL", "MFLAGS", "MAKEOVERRIDES")}
    done = subprocess.run(["make", "-s", "run", f"O={programs.folder}"], cwd=host.REPOSITORY, text=True,
                          stdin=subprocess.DEVNULL, stdout=subprocess.PIPE,
                          stderr=subprocess.STDOUT, timeout=180, env=environment)
    assert done.returncode == 0, done.stdout
    assert "  100000   100000  /bin/busybox" in done.stdout
    assert "root=/dev/vda rootfstype=erofs ro idmap=100000:0:65536" in done.stdout
    assert re.search(r"^drwxr-xr-x +\d+ 0 +0 .* bin$", done.stdout, re.M)


def test_make_run_own(programs, kernel, root_tree, image):
    """KERNEL, MODULES, IMAGE and APPEND of one's own."""
    tree = root_tree()
    tree["/sbin/init"] = real_init("ls -ln /")
    done = subprocess.run(
        ["make", "-s", "run", f"O={programs.folder}", f"KERNEL={kernel.vmlinuz}",
         f"MODULES={kernel.modules}", f"IMAGE={image(tree, 'ext4')}",
         "APPEND=root=/dev/vda ro idmap=100000:7:65536 -- x", "TIMEOUT=120"],
        cwd=host.REPOSITORY, text=True, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT, timeout=180,
        env={key: value for key, value in os.environ.items() if not key.startswith("MAKE")})
    assert done.returncode == 0, done.stdout
    assert re.search(r"^drwxr-xr-x +\d+ 7 +7 .* bin$", done.stdout, re.M)
    assert "--- the image's own init runs, and is ended after 120 s (TIMEOUT=SECONDS) ---" in done.stdout
    assert "are over" not in done.stdout  # it ended by itself


# What the image's own init does, and the root it is in: the exit code, what is shown last.
ENDS = {
    "runs on": ("echo 'it runs'; exec sleep 1000", "/dev/vda", 30, 0,
                ["it runs", "--- 30 s are over, the guest is ended ---"]),
    "silent": ("exec sleep 1000", "/dev/vda", 30, 0, ["--- 30 s are over, the guest is ended ---"]),
    "panics": ("exit 3", "/dev/vda", 100, 1, ["run: the kernel panicked, see above"]),
    "never starts": ("echo 'it runs'", "/dev/vdz rootwait", 20, 1, [
        "--- 20 s are over, the guest is ended ---",
        "run: the guest did not come as far as its real init, see above"]),
}


@pytest.mark.parametrize("name", ENDS)
def test_make_run_own_ends(name, programs, kernel, root_tree, image):
    """Without a terminal a guest from an image of one's own ends, whatever its init does, and says
    before that it will."""
    script, root, seconds, code, last = ENDS[name]
    tree = root_tree()
    tree["/sbin/init"] = images.File(f"#!/bin/sh\n{script}\n", 100000, 100000, 0o755)
    done = subprocess.run(
        [host.HERE / "run", "--kernel", kernel.vmlinuz, "--modules", kernel.modules,
         "--image", image(tree, "ext4"), "--append", f"root={root} ro idmap=100000:0:65536",
         "--timeout", str(seconds)], env={**os.environ, "O": str(programs.folder)}, text=True,
        stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, timeout=180)
    before, said, after = done.stdout.partition(
        f"--- the image's own init runs, and is ended after {seconds} s (TIMEOUT=SECONDS) ---\n")
    assert said and "[ " not in before, done.stdout
    lines = after.splitlines()
    assert (done.returncode, lines[-len(last):]) == (code, last), done.stdout
    built = re.search(r"idmap-init: /dev/vda / auto ro,.* in \d+ us", after)
    assert bool(built) == (name != "never starts")
    # The kernel's own start is no part of it.
    assert "Linux version" not in after
    if name == "never starts":
        assert "idmap-init: waiting for /dev/vdz (disks here: vda)" in after
    if name == "panics":
        assert "exitcode=0x00000300" in after


@pytest.mark.parametrize("words,said", [
    ("IMAGE=/no/such", "run: IMAGE=/no/such: no such file; give a filesystem's image"),
    ("TIMEOUT=soon", "argument --timeout: 'soon' is no time; give whole seconds, at least 1"),
])
def test_make_run_wrong(words, said, programs):
    done = subprocess.run(["make", "-s", "run", f"O={programs.folder}", words],
                          cwd=host.REPOSITORY, text=True, stdin=subprocess.DEVNULL,
                          stdout=subprocess.PIPE, stderr=subprocess.STDOUT)
    assert done.returncode != 0
    assert said in done.stdout
