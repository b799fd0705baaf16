# SPDX-License-Identifier: MIT
"""Fixtures for tests that boot: kernels, programs, images, guests.

Everything that is made is made once a run and shared between the workers of pytest-xdist, and lies
in the run's temporary folder, of which pytest keeps the last three.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
import re
import socket
import subprocess
import sys
import tempfile
import zlib
from pathlib import Path
from typing import Any, Callable, Iterator, Sequence

sys.dont_write_bytecode = True  # the work tree stays clean

import pytest

# Helpers' asserts, too, show what they compared.
pytest.register_assert_rewrite("common")

import common
import guest
import host
import images
from arch import GUEST


@pytest.fixture(scope="session")
def run_folder(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The temporary folder of the whole run, the same in all workers."""
    base = tmp_path_factory.getbasetemp()
    return base.parent if hasattr(request.config, "workerinput") else base


@pytest.fixture(scope="session")
def programs() -> host.Programs:
    try:
        return host.build_programs()
    except host.CompilerMissing as missing:
        pytest.skip(f"no guest for {GUEST.name}: {missing}")


@pytest.fixture(scope="session")
def defconfig(programs: host.Programs) -> Callable[[str], Path]:
    """defconfig("tiny"): idmap-init as that defconfig builds it."""

    def build(name: str) -> Path:
        folder = programs.guest_folder / "size" / name
        sources = [host.REPOSITORY / "configs" / f"{name}_defconfig",
                   *host.REPOSITORY.glob("**/Kconfig")]
        config = folder / ".config"
        if not config.exists() or config.stat().st_mtime < max(s.stat().st_mtime for s in sources):
            host.make(folder, f"{name}_defconfig")
        host.make_for_guest(folder, "all")
        return folder / "idmap-init"

    return build


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption("--in-turn", action="store_true",
                     help="boot a case that names several kernels on one of them, unless it is marked every_kernel")


def takes_turns(config: pytest.Config) -> bool:
    """Not with a guest of another architecture, of which some kernels are not there."""
    return config.getoption("in_turn", False) and GUEST.is_usual


def pytest_terminal_summary(terminalreporter: Any, config: pytest.Config) -> None:
    if takes_turns(config):
        terminalreporter.write_line("Of the kernels that a case names it was booted on one, in turn, unless it is "
                                    "marked every_kernel: make check-kernels boots it on each")


def left_to_check_kernels(items: list[pytest.Item]) -> list[pytest.Item]:
    """Those of a case's kernels whose turn it is not, which is the same whatever other cases there are."""
    cases: dict[tuple, list[pytest.Item]] = {}
    for item in items:
        parameters = dict(item.callspec.params) if hasattr(item, "callspec") else {}
        if parameters.pop("kernel", "own") != "own" and not item.get_closest_marker("every_kernel"):
            cases.setdefault((item.path, item.originalname, *map(repr, parameters.items())), []).append(item)
    return [item for case in cases.values() for place, item in enumerate(case)
            if place != zlib.crc32(case[0].name.encode()) % len(case)]


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """What takes whole roots of Debian's, or a kernel's build, is left to goals of its own."""
    if takes_turns(config):
        left = left_to_check_kernels(items)
        items[:] = [item for item in items if item not in left]
        config.hook.pytest_deselected(items=left)
    for item in items:
        for name in ("tools", "systems"):
            mark = item.get_closest_marker(name)
            if mark and os.environ.get("TOOLS") != "all" and not mark.kwargs.get("always"):
                item.add_marker(pytest.mark.skip(reason=f"make check-{name} does this"))


@pytest.fixture(scope="session")
def kernels() -> Callable[[str], host.Kernel]:
    """kernels("6.12"): fetched if need be; skips the test where it cannot be."""

    def find(name: str) -> host.Kernel:
        try:
            return host.find_kernel(name)
        except host.KernelMissing as missing:
            pytest.skip(f"no kernel {name}: {missing}")

    return find


@pytest.fixture
def kernel(request: pytest.FixtureRequest, kernels: Callable[[str], host.Kernel]) -> host.Kernel:
    """6.1, or what @pytest.mark.parametrize("kernel", KERNELS, indirect=True) names."""
    return kernels(getattr(request, "param", "6.1"))


@pytest.fixture
def root_tree(programs: host.Programs) -> Callable[..., images.Tree]:
    """root_tree(base=100000, init=None, command=False): a new tree of images.busybox_root, free to be changed."""

    def make(base: int = 100000, init: Path | None = None, command: bool = False) -> images.Tree:
        tree = images.busybox_root(programs.probe, programs.ids, base, init=init)
        if command:
            tree["/bin/idmap"] = images.File(programs.command, base, base, 0o755)
        return tree

    return make


@pytest.fixture
def image(run_folder: Path) -> Callable[..., Path]:
    """image(tree, kind, **options of make_image): a file that other tests use too.

    Boot it read-only, or with snapshot=True.
    """

    def make(tree: images.Tree, kind: str, **options: Any) -> Path:
        folder = run_folder / "images"
        folder.mkdir(exist_ok=True)
        path = folder / f"{images.image_key(tree, kind, **options)}.{kind}"
        with host.locked(path.with_suffix(".lock")):
            if not path.exists():
                images.make_image(tree, kind, path, **options)
        return path

    return make


@pytest.fixture
def dirty(image: Callable[..., Path], tmp_path: Path) -> Callable[[images.Tree], Path]:
    """dirty(tree): an ext4 whose journal was left by a crash."""

    def make(tree: images.Tree) -> Path:
        disk = tmp_path / "dirty"
        disk.write_bytes(image(tree, "ext4").read_bytes())
        images.debugfs(disk, "feature needs_recovery", write=True)
        return disk

    return make


@pytest.fixture
def seal(tmp_path: Path) -> Callable[..., common.Sealed]:
    """seal(image, behind=False): veritysetup(8) makes the tree, on a device of its own or behind it."""

    def make(image: Path, behind: bool = False, *more: str) -> common.Sealed:
        data = tmp_path / f"data-{len(list(tmp_path.iterdir()))}"
        content = image.read_bytes()
        data.write_bytes(content + bytes(-len(content) % 4096))
        size = data.stat().st_size
        hashes = data if behind else data.with_suffix(".hashes")
        place = [f"--hash-offset={size}", f"--data-blocks={size // 4096}"] if behind else []
        out = subprocess.run(["veritysetup", "format", *place, *more, data, hashes], check=True, text=True,
                             stdout=subprocess.PIPE).stdout
        return common.Sealed(data, hashes, re.search(r"^Root hash:\s+([0-9a-f]+)$", out, re.M)[1], size * behind)

    return make


@pytest.fixture
def second(image: Callable[..., Path]) -> Callable[..., Path]:
    """second(fs="erofs"): a data disk, owned by ids that the root's map does not know."""
    tree = {
        "/": images.Dir(5000, 5000), "/file": images.File("data\n", 5007, 5007),
        "/deep": images.Dir(5000, 5000), "/deep/er": images.Dir(5000, 5000),
        "/stranger": images.File("x\n", 1, 1),
    }
    return lambda fs="erofs": image(tree, fs)


# The table of each initramfs with the program under test; it may not be there.
TABLES: dict[Path, Path] = {}


@pytest.fixture
def initramfs(run_folder: Path, programs: host.Programs, tmp_path: Path) -> Callable[..., Path]:
    """initramfs(kernel, conf=text): made by init/mkinitramfs, with the drivers that roots need.

    What many tests have alike is made once, and what is a test's own stands behind it in an archive of its own,
    as the manual has it for guests that share one initramfs: to look for modules takes a third of a boot's time.
    """
    tool = host.REPOSITORY / "init" / "mkinitramfs"

    def base(kernel: host.Kernel, init: Path, modules: str) -> bytes:
        folder = run_folder / "initramfs"
        folder.mkdir(exist_ok=True)
        key = f"{kernel.modules} {init} {init.stat().st_mtime_ns} {modules}"
        path = folder / hashlib.sha256(key.encode()).hexdigest()[:20]
        with host.locked(path.with_suffix(".lock")):
            if not path.exists():
                subprocess.run([tool, "-o", path, "-i", init, "-k", kernel.modules, "-m", modules], check=True)
        return path.read_bytes()

    def make(kernel: host.Kernel, conf: str | bytes | None = None, *, init: Path | None = None,
             modules: str = "virtio_pci,virtio_blk,erofs,squashfs,ext4",
             add: Sequence[tuple[Path, str]] = ()) -> Path:
        out = tmp_path / f"initramfs-{kernel.name}-{len(list(tmp_path.iterdir()))}"
        own: list[str] = []
        file = out.with_name(out.name + ".conf")
        if init is None:
            TABLES[out] = file
        if conf is not None:
            file.write_bytes(conf if isinstance(conf, bytes) else conf.encode())
            own += ["-a", f"{file}:/etc/idmap.conf"]  # wrong ones, too, which -c does not take
        for source, target in add:
            own += ["-a", f"{source}:{target}"]
        if own:
            subprocess.run([tool, "-o", out, "-i", "none", *own], check=True)
        out.write_bytes(base(kernel, init or programs.init, modules) + (out.read_bytes() if own else b""))
        return out

    return make


# A soft dependency of filesystems, which is a module of its own in Debian's plain kernels.
CHECKSUMS = ["crc32c_generic"]


@pytest.fixture
def stage0(tmp_path: Path) -> Callable[..., Path]:
    """stage0(kernel, fs, then=command): an initramfs of somebody else's, which mounts /dev/vda, does
    what is asked for in it, and starts idmap-init there, as a kernel without an initramfs would."""

    def make(kernel: host.Kernel, fs: str = "erofs", mount: str = "ro", *, modules: Sequence[str] = (),
             then: str = "", init: str = common.INIT) -> Path:
        drivers, order = images.kernel_modules(kernel.modules, ["virtio_pci", "virtio_blk", *CHECKSUMS, fs, *modules])
        tree = {"/": images.Dir(), **images.busybox(), **drivers,
                **{f"/{name}": images.Dir() for name in ("root", "dev", "proc", "sys")},
                "/dev/null": images.Node("c", 1, 3, mode=0o666)}  # the shell's background processes read it
        script = ["#!/bin/sh", "mount -t devtmpfs dev /dev", *[f"/bin/insmod {path}" for path in order],
                  "while ! [ -b /dev/vda ]; do :; done", f"mount -t {fs} -o {mount} /dev/vda /root",
                  "mount --move /dev /root/dev", then,
                  f'exec /bin/busybox switch_root /root {init} "$@" </root/dev/console >/root/dev/console 2>&1']
        tree["/init"] = images.File("\n".join(script) + "\n", mode=0o755)
        return images.make_image(tree, "cpio", tmp_path / "stage0")

    return make


@pytest.fixture
def plain_tree(root_tree: Callable[..., images.Tree],
               programs: host.Programs) -> Callable[..., images.Tree]:
    """plain_tree(conf): a root with both programs in it, and a table."""

    def make(conf: str | None = None, init: str = common.INIT) -> images.Tree:
        tree = root_tree(command=True)
        tree[init] = images.File(programs.init, 100000, 100000, 0o755)
        if conf is not None:
            tree["/etc/idmap.conf"] = images.File(conf, 100000, 100000)
        return tree

    return make


@pytest.fixture
def host_tree(tmp_path: Path) -> Callable[..., Path]:
    """host_tree(tree): a folder of this machine, with the tree's owners."""

    def make(tree: images.Tree) -> Path:
        if os.getuid() != 0:
            pytest.skip("only root can give files to other owners on the host, as shares need it")
        return images.unpack(tree, tmp_path / "host_tree")

    return make


@pytest.fixture(scope="session")
def virtiofsd() -> Callable[[str], Path]:
    """virtiofsd("new"), a program; fetched if need be; skips the test where it cannot be."""

    def find(name: str) -> Path:
        try:
            return host.find_virtiofsd(name)
        except host.ServerMissing as missing:
            pytest.skip(f"no virtiofsd: {missing}")

    return find


@pytest.fixture
def virtiofs(virtiofsd: Callable[[str], Path]) -> Iterator[Callable[..., list[str]]]:
    """virtiofs(folder, tag, *options): virtiofsd serves the folder; gives QEMU's arguments for it.

    options      further ones of virtiofsd
    server       "new", which allows maps, or "old"
    memory       MiB, as of the guest: the server and the guest share it
    before       what a shell does in the folder, in a mount namespace of the server's own
    """
    with contextlib.ExitStack() as stack:
        def serve(folder: Path, tag: str, *options: str, server: str = "new",
                  memory: int = 512, before: str = "") -> list[str]:
            program = virtiofsd(server)
            # A short path: a socket's name has 108 bytes. It listens before QEMU starts.
            path = stack.enter_context(tempfile.TemporaryDirectory(prefix="vfs-")) + "/socket"
            listener = stack.enter_context(socket.socket(socket.AF_UNIX))
            listener.bind(path)
            listener.listen()
            namespace = ["unshare", "--mount", "sh", "-ec", f'cd "$1"; {before}; cd /; shift; exec "$@"', "sh",
                         folder] if before else []
            process = subprocess.Popen(
                [*namespace, program, f"--fd={listener.fileno()}", "-o", f"source={folder}", *options],
                pass_fds=[listener.fileno()], preexec_fn=guest.die_with_parent,
                stdin=subprocess.DEVNULL)
            stack.callback(process.wait)
            stack.callback(process.kill)
            serve.processes.append(process)
            return ["-object", f"memory-backend-memfd,id=shared,size={memory}M,share=on",
                    "-machine", "memory-backend=shared",
                    "-chardev", f"socket,id={tag},path={path}",
                    "-device", f"vhost-user-fs-pci,chardev={tag},tag={tag}"]

        serve.processes = []
        yield serve


def quick(append: str, *, manager: bool = False, **_: Any) -> str:
    """The command line of a guest that is booted for its claim alone; a manager's is as it stands."""
    return append if manager else f"{common.QUICK} {append}".rstrip()


@pytest.fixture
def boot(run_folder: Path) -> Callable[..., guest.Guest]:
    """boot(kernel, initrd, append, disks, **options of Guest), for a with statement."""

    def make(kernel: host.Kernel, initrd: Path | None, append: str = "",
             disks: Sequence[guest.Disk] = (), **options: Any) -> guest.Guest:
        return guest.Guest(kernel.image, initrd, quick(append, **options), disks,
                           log_dir=run_folder / "guests", **options)

    return make


@pytest.fixture
def ran() -> Callable[[str, str, str], None]:
    """ran(what, kernel, how): something of others' runs with us, for the table of README.md."""

    def note(what: str, kernel: str, how: str) -> None:
        if folder := os.environ.get("TOOLS_TABLE"):
            name = hashlib.sha256(f"{what} {kernel} {how}".encode()).hexdigest()[:16]
            Path(folder, name).write_text(json.dumps([what, kernel, how]))

    return note


# What only the root itself and its disks tell, or a machine whose lines are shorter than most.
BY_BOOT = re.compile("there is a link in its way|links of the root lead|is a link to /|is there without a row"
                     "|has a row already|what comes along|cannot be read|it is mounted once only"
                     "|it has 1023 bytes")


def check_as_command(programs: host.Programs, initrd: Path | None, append: str, console: str) -> None:
    """A boot that fails for its table, or its command line: idmap check gives the very line."""
    if "exitcode=0x00000200" not in console or initrd not in TABLES:
        return
    table, line = TABLES[initrd], common.last_words(console)[0].removeprefix(common.PRE)
    words = ["-c", table] if table.exists() else []
    done = subprocess.run([programs.folder / "idmap", "check", "-k", f"{guest.HEAD} {append}", *words],
                          stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, errors="surrogateescape")
    told = done.stderr.replace(str(table), "/etc/idmap.conf").splitlines()
    assert line in told or BY_BOOT.search(line), (line, told)


@pytest.fixture
def boot_fails(run_folder: Path, programs: host.Programs) -> Callable[..., str]:
    """Like boot, for a guest that must end without the real init: gives its console."""

    def run(kernel: host.Kernel, initrd: Path | None, append: str = "",
            disks: Sequence[guest.Disk] = (), **options: Any) -> str:
        line = quick(append, **options)
        console = guest.expect_no_init(kernel.image, initrd, line, disks,
                                       log_dir=run_folder / "guests", **options)
        check_as_command(programs, initrd, line, console)
        return console

    return run
