# SPDX-License-Identifier: MIT
"""What must hold of the build and of the sources themselves."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import tempfile
from pathlib import Path

import pytest

REPOSITORY = Path(__file__).resolve().parents[2]
DEFCONFIGS = ["tiny", "default", "full"]
# What a pure file may include, directly or not: the language's own headers (those with bits/ and so
# on are the C library's way to them), and ours, which hold types and declarations only.
PURE_HEADERS = re.compile(
    r".*/(errno|limits|stdarg|stdbool|stddef|stdint|string|strings|features|alltypes|stdc-predef)\.h"
    r"|.*/bits/(errno|alltypes|stdint|limits)\.h"
    r"|idmap/(idmap|table/table|table/verity|device/device|mount/format)\.h|.*/generated/autoconf\.h")
# And what it may call.
PURE_CALLS = {"memcpy", "memmove", "memset", "memcmp", "memchr", "strlen", "strnlen", "strchr", "strrchr",
              "strcmp", "strncmp", "strspn", "strcspn"}


def run(*command, cwd=REPOSITORY, check=True, **options):
    environment = {key: value for key, value in os.environ.items()
                   if key not in ("MAKEFLAGS", "MAKELEVEL", "MFLAGS", "MAKEOVERRIDES", "O")}
    return subprocess.run([str(word) for word in command], cwd=cwd, check=check, text=True,
                          stdin=subprocess.DEVNULL, stdout=subprocess.PIPE,
                          stderr=subprocess.STDOUT, env=environment, **options).stdout


def tracked(*patterns):
    """Files of the work tree, by the patterns of git, or all of a source archive without git."""
    return [REPOSITORY / name for pattern in patterns
            for name in sorted(str(p.relative_to(REPOSITORY)) for p in REPOSITORY.glob(pattern))
            if not name.startswith("build/")]


@pytest.fixture(scope="module")
def built(tmp_path_factory):
    """built("tiny"): the folder of a build of that defconfig."""
    done = {}

    def build(name):
        if name not in done:
            folder = tmp_path_factory.mktemp(name)
            run("make", "-s", f"O={folder}", f"{name}_defconfig")
            run("make", "-s", f"O={folder}", "all")
            done[name] = folder
        return done[name]

    return build


@pytest.mark.parametrize("name", DEFCONFIGS)
def test_defconfig_round_trip(name, tmp_path):
    """kconfig drops what it does not know without a word; nothing of ours is dropped."""
    run("make", "-s", f"O={tmp_path}", f"{name}_defconfig")
    run("make", "-s", f"O={tmp_path}", "savedefconfig")
    assert (tmp_path / "defconfig").read_text() == \
        (REPOSITORY / "configs" / f"{name}_defconfig").read_text()


@pytest.mark.parametrize("name", ["default", "full"])
def test_reproducible(name, tmp_path, built):
    """Another folder of sources and of output, the same bytes; and what nobody has configured is default."""
    copy = tmp_path / "a folder with another name".replace(" ", "-")
    shutil.copytree(REPOSITORY, copy, ignore=shutil.ignore_patterns(".git", "build", "__pycache__"))
    out = tmp_path / "out"
    if name != "default":
        run("make", "-s", f"O={out}", f"{name}_defconfig", cwd=copy)
    run("make", "-s", f"O={out}", "all", cwd=copy)
    for output in ("idmap-init", "libidmap.a"):
        assert (out / output).read_bytes() == (built(name) / output).read_bytes(), output


@pytest.mark.parametrize("name", DEFCONFIGS)
def test_binary(name, built):
    """Static, without a loader; hardened: at any address, relocated by itself, relro after that."""
    folder = built(name)
    headers = run("readelf", "-lW", folder / "idmap-init")
    full = name == "full"
    assert "INTERP" not in headers
    assert ("DYN (" in headers) == full
    assert ("GNU_RELRO" in headers) == full
    assert ("R_X86_64_RELATIVE" in run("readelf", "-rW", folder / "idmap-init.debug")) == full
    assert re.search(r"GNU_STACK.* RW ", headers)
    # Functions with buffers guard their stack in a hardened build; those of musl never do.
    calls = run("objdump", "-d", "--no-show-raw-insn", folder / "idmap-init.debug")
    guarded = set(re.findall(r"^[0-9a-f]+ <(idmap_\w+)>:(?:\n .*)*?\n .*<__stack_chk_fail>", calls, re.M))
    assert ("idmap_file_read" in guarded or len(guarded) > 5) == full
    # musl is used as it is.
    symbols = run("nm", folder / "idmap-init.debug")
    for symbol in ("memcpy", "clone", "__libc_start_main", "_start_c"):
        assert re.search(rf" [TtW] {symbol}$", symbols, re.M), symbol
    assert "not stripped" not in run("file", folder / "idmap-init") if shutil.which("file") else True


@pytest.mark.parametrize("name", DEFCONFIGS)
def test_is_no_command(name, built, tmp_path):
    """Typed at a prompt, by whomever, it says what it is and makes no other system call than musl's
    start-up."""
    trace = tmp_path / "trace"
    done = subprocess.run(["strace", "-o", trace, built(name) / "idmap-init"], text=True,
                          stdin=subprocess.DEVNULL, capture_output=True)
    assert (done.returncode, done.stdout) == (1, "")
    assert done.stderr == ("idmap-init: it is no command; the kernel starts it as PID 1, as /init of"
                           " an initramfs or by init=\n")
    assert re.findall(r"^(\w+)\(", trace.read_text(), re.M) == [
        "execve", "arch_prctl", "set_tid_address", "getpid", "getppid", "write",
        "exit_group"]


@pytest.mark.parametrize("name", ["tiny", "full"])
def test_clang(name, built, tmp_path):
    """clang finds nothing either, with all the warnings; gcc's are errors in every build. It builds default below."""
    include = run("musl-gcc", "-print-file-name=include").strip()
    musl = re.search(r"-isystem (\S+musl\S*)", run("musl-gcc", "-v", "-E", "-xc", "/dev/null")) \
        or re.search(r"^ (\S*musl\S*)$", run("musl-gcc", "-v", "-E", "-xc", "/dev/null"), re.M)
    assert musl and include
    for source in sources_of(name):
        said = run("clang", "--target=x86_64-linux-musl", "-nostdinc", "-isystem", musl[1],
                   "-std=gnu11", "-Os", "-Wall", "-Wextra", "-Wshadow", "-Wmissing-prototypes",
                   "-Wconversion", "-Werror", f"-I{built(name)}/include", "-Iidmap",
                   "-c", source, "-o", tmp_path / "object.o", check=False)
        assert said == "", source


def sources_of(name):
    """The sources of that defconfig, in the Makefile's order."""
    with tempfile.TemporaryDirectory() as folder:
        run("make", "-s", f"O={folder}", f"{name}_defconfig")
        return run("make", "-s", f"O={folder}", "list-sources").split()


PURE = run("make", "-s", "list-pure").split()


@pytest.mark.parametrize("source", PURE)
def test_pure(source, built):
    """A pure file includes nothing that can touch the system, not even by way of another."""
    rule = run("musl-gcc", "-M", "-std=gnu11", f"-I{built('default')}/include", "-Iidmap", source)
    headers = rule.replace("\\\n", " ").split()[2:]
    assert headers
    assert [name for name in headers if not PURE_HEADERS.fullmatch(name)] == []


def symbols_of(file):
    """What an object defines, and what it needs."""
    defined, needed = set(), set()
    for line in run("nm", "-g", file).splitlines():
        kind, name = line.split()[-2:]
        (needed if kind == "U" else defined).add(name)
    return defined, needed


def test_pure_calls_nothing(built):
    """And what the pure files need from elsewhere is a handful of string functions."""
    both = [symbols_of(built("default") / "obj" / source.replace(".c", ".o")) for source in PURE]
    assert set.union(*(n for _, n in both)) - set.union(*(d for d, _ in both)) <= PURE_CALLS


@pytest.mark.parametrize("name", ["default", "full"])
def test_order(name, built):
    """No file needs one that stands after it in the Makefile's list; main.c is the last."""
    sources = sources_of(name)
    assert sources[-1] == "init/main.c" and set(PURE) <= set(sources)
    folders = [source.rpartition("/")[0] for source in sources]
    assert sorted(set(folders), key=folders.index) == ["idmap/table", "idmap/device", "idmap/mount",
                                                      "idmap/command", "init"]
    both = [symbols_of(built(name) / "obj" / source.replace(".c", ".o")) for source in sources]
    for number, (_, needed) in enumerate(both):
        for other in range(number + 1, len(both)):
            assert not needed & both[other][0], (sources[number], sources[other])


def test_every_source_is_in_the_list():
    assert sorted(sources_of("default")) == sorted(
        str(path.relative_to(REPOSITORY)) for path in tracked("idmap/[!t]*/*.c", "idmap/table/*.c", "init/*.c"))


def test_features_are_files():
    """No switch in the middle of a function: Kconfig takes files, and a header has the stubs."""
    for source in tracked("idmap/*/*.[ch]", "init/*.[ch]"):
        assert "IS_ENABLED" not in source.read_text(), source


def test_no_assembly_and_no_masked_function():
    for source in tracked("idmap/*.h", "idmap/[!t]*/*.[ch]", "idmap/table/*.[ch]", "init/*.[ch]"):
        text = source.read_text()
        assert "__asm__" not in text and "asm(" not in text, source
        assert not re.search(r"^#define (msg|idmap_[a-z_]+)\(", text, re.M), source
        assert text.count("\n") <= 450, f"{source}: is there a second job in it?"


def test_no_ifdef_config():
    for source in tracked("idmap/*/*.c", "init/*.c"):
        assert not re.search(r"^\s*#\s*if.*CONFIG_", source.read_text(), re.M), source


def test_kconfig_symbols_are_used():
    symbols = {name for file in tracked("Kconfig", "*/Kconfig")
               for name in re.findall(r"^config (\w+)", file.read_text(), re.M)}
    text = "".join(p.read_text() for p in tracked("Makefile", "*/*.[ch]", "*/*/*.[ch]"))
    kconfig = "".join(p.read_text() for p in tracked("*/Kconfig"))  # a choice has a number
    assert symbols and [s for s in sorted(symbols) if f"CONFIG_{s}" not in text and f" if {s}\n" not in kconfig
                        and s != "ONFAIL_PANIC"] == []
    used = re.findall(r"(?:\$\(|#ifdef )CONFIG_([A-Z_]+)", text)
    assert used and [s for s in sorted(set(used)) if s not in symbols] == []


def test_format():
    version = re.search(r"version (\d+)", run("clang-format", "--version"))[1]
    if version != "14":
        pytest.skip(f"clang-format {version} formats otherwise than Debian 12's 14, which is the rule")
    sources = tracked("idmap/*.h", "idmap/*/*.[ch]", "init/*.[ch]", "qemu-test/*.c", "qemu-test/bench/*.[ch]")
    assert run("clang-format", "--dry-run", "-Werror", *sources, check=False) == ""


def test_shell():
    assert run("shellcheck", "-x", "init/mkinitramfs", "install-packages", "qemu-test/debian.sh",
               "qemu-test/kernels", "qemu-test/virtiofsd", "qemu-test/cross", "qemu-test/busybox",
               "qemu-test/musl-clang", ".ci/run", check=False) == ""
    # Parts of other tools, whose own files and variables are not here.
    hooks = [path for path in tracked("hooks/**/*") if path.is_file() and path.read_bytes().startswith(b"#!")]
    assert len(hooks) == 9
    assert run("shellcheck", "-x", "-e", "SC1091,SC2154", *hooks, check=False) == ""


def test_headers():
    """Every source says its licence and why it exists."""
    for source in tracked("*/*.[ch]", "*/test/*.[ch]", "*/*.py", "*/test/*.py", "init/mkinitramfs",
                          "qemu-test/bench/*.[ch]", "qemu-test/bench/*.py", "qemu-test/bench/peers",
                          "qemu-test/kernels", "qemu-test/virtiofsd", "qemu-test/debian.sh",
                          "qemu-test/cross", "qemu-test/busybox", "qemu-test/musl-clang", "qemu-test/run",
                          "install-packages"):
        head = "".join(source.read_text().splitlines(keepends=True)[:3])
        assert "SPDX-License-Identifier: MIT" in head, source


def test_install(tmp_path, built):
    out = run("make", "-s", f"O={built('default')}", "install", f"DESTDIR={tmp_path}", "PREFIX=/usr")
    assert "error" not in out
    assert {str(p.relative_to(tmp_path)): oct(p.stat().st_mode & 0o777)
            for p in tmp_path.rglob("*") if p.is_file()} == {
        "usr/sbin/idmap-init": "0o755", "usr/sbin/idmap-mkinitramfs": "0o755",
        "usr/lib/libidmap.a": "0o644", "usr/include/idmap.h": "0o644", "usr/lib/pkgconfig/idmap.pc": "0o644",
        "usr/share/man/man5/idmap.conf.5": "0o644",
        "usr/sbin/idmap": "0o755", **{f"usr/share/man/man8/{page}.8": "0o644"
                                      for page in ("idmap", "idmap-init", "idmap-mkinitramfs")}}
    # The installed script finds the installed program.
    run(tmp_path / "usr/sbin/idmap-mkinitramfs", "-o", tmp_path / "initramfs")


def test_public_header_stands_alone(tmp_path):
    source = tmp_path / "use.c"
    source.write_text('#include "idmap.h"\nint main(void)\n{\n\treturn IDMAP_EXTENTS_MAX != 340;\n}\n')
    run("gcc", "-Wall", "-Wextra", "-Werror", f"-I{REPOSITORY}/idmap", source, "-o", tmp_path / "use")
    run(tmp_path / "use")


def test_help():
    out = run("make", "help")
    for goal in ("run", "check", "size", "install", "menuconfig", "savedefconfig"):
        assert re.search(rf"\b{goal}\b", out)


@pytest.fixture(scope="module")
def cross():
    """cross("aarch64"): the compiler with musl that qemu-test/cross makes; skips the test where what
    it needs cannot be fetched."""
    found = {}

    def find(name):
        if name not in found:  # a try without network is slow
            found[name] = subprocess.run([REPOSITORY / "qemu-test/cross", name], text=True,
                                         stdin=subprocess.DEVNULL, capture_output=True)
        if found[name].returncode:
            pytest.skip(f"no compiler for {name}: {found[name].stderr.strip()}")
        return Path(found[name].stdout.strip())

    return find


# As readelf calls the machine.
MACHINES = {"aarch64": "AArch64", "riscv64": "RISC-V"}

# Wants the headers, a child on a stack of its own, errno, and for its float libgcc's arithmetic, where
# a long double has 16 bytes.
PROGRAM = r"""
#define _GNU_SOURCE
#include <errno.h>
#include <sched.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

static int child(void *number)
{
	return *(int *)number;
}

int main(void)
{
	static char stack[65536] __attribute__((aligned(16)));
	int number = 7, status;
	pid_t pid = clone(child, stack + sizeof(stack), SIGCHLD, &number);

	if (pid < 0 || waitpid(pid, &status, 0) != pid)
		return 1;
	errno = 0;
	close(-1);
	printf("%d %s %.1f\n", WEXITSTATUS(status), strerror(errno), 1.5);
	return 0;
}
"""


@pytest.mark.parametrize("flags", [
    "-static", "-static-pie -fPIE",
    "-static -fPIE -nostartfiles -l:rcrt1.o -Wl,-pie,--no-dynamic-linker"])
@pytest.mark.parametrize("name", [*MACHINES, "clang"])
def test_cross_compiler(name, flags, cross, tmp_path):
    """What it links stands alone, for the machine it is for."""
    (tmp_path / "program.c").write_text(PROGRAM)
    said = run(cross(name), "-Wall", "-Wextra", "-Werror", "-O1", *flags.split(), "program.c", "-o",
               "program", cwd=tmp_path, check=False)
    assert said == ""
    header = run("readelf", "-hlW", tmp_path / "program")
    assert "INTERP" not in header
    assert ("DYN (" in header) == ("pie" in flags)
    if name in MACHINES:
        assert re.search(rf"Machine: +{MACHINES[name]}$", header, re.M)
    else:
        assert run(tmp_path / "program") == "7 Bad file descriptor 1.5\n"


@pytest.mark.parametrize("name", DEFCONFIGS)
@pytest.mark.parametrize("arch", MACHINES)
def test_cross_build(arch, name, cross, tmp_path):
    """For another architecture, with the warnings and the checks of every build."""
    compiler = cross(arch)
    run("make", "-s", f"O={tmp_path}", f"{name}_defconfig")
    assert run("make", "-s", f"O={tmp_path}", f"CROSS_COMPILE={arch}-linux-gnu-", f"CC={compiler}",
               "all", check=False) == ""
    assert re.search(rf"Machine: +{MACHINES[arch]}$",
                     run("readelf", "-hW", tmp_path / "idmap-init"), re.M)


def test_clang_build(cross, tmp_path):
    compiler = cross("clang")
    run("make", "-s", f"O={tmp_path}", "default_defconfig")
    assert run("make", "-s", f"O={tmp_path}", f"CC={compiler}", "all", check=False) == ""
    done = subprocess.run([tmp_path / "idmap-init"], stdin=subprocess.DEVNULL, capture_output=True,
                          text=True)
    assert (done.returncode, done.stdout) == (1, "")
    assert done.stderr.startswith("idmap-init: it is no command")


@pytest.mark.parametrize("words", ["help", "-n clean", "-n distclean", "-n packages"])
def test_bare_machine(words, tmp_path):
    """Where there is no compiler yet, nor anything else to build with, nothing complains of that."""
    for tool in "make sh cat dirname echo id mkdir printf rm stat test touch uname".split():
        (tmp_path / tool).symlink_to(shutil.which(tool))
    done = subprocess.run([tmp_path / "make", *words.split(), f"O={tmp_path}/out"], cwd=REPOSITORY,
                          env={"PATH": str(tmp_path)}, text=True, stdin=subprocess.DEVNULL,
                          capture_output=True)
    assert (done.returncode, done.stderr) == (0, "")
    last = {"help": "Variables: O=build", "-n packages": "./install-packages all"}
    assert done.stdout.splitlines()[-1].startswith(last.get(words, f"rm -rf {tmp_path}/out"))


@pytest.mark.parametrize("goal,groups", [
    ("all", None), ("size", None), ("help", None), ("run", "build run"), ("check", "build run check deb"),
    ("check-unit", "build check"), ("check-fuzz", "build check"), ("check-build", "build run check"),
    ("check-boot", "build run check deb"), ("check-tools", "build run check tools"), ("deb", "build deb"),
    ("check-kernels", "build run check deb"), ("check-systems", "build run check tools"),
    ("check-machines", "build run check"), ("support-table", "build run check"),
    ("bench", "build run bench"), ("check-unit bench", "build run check bench"),
])
def test_goals_install_what_they_need(goal, groups, tmp_path):
    """Each by itself, as `make check` does."""
    shutil.copytree(REPOSITORY, tmp_path / "copy",
                    ignore=shutil.ignore_patterns(".git", "build", "__pycache__"))
    (tmp_path / "copy/install-packages").write_text(f'#!/bin/sh\necho "$*" >>{tmp_path}/asked\n')
    run("make", "-n", f"O={tmp_path}/out", *goal.split(), cwd=tmp_path / "copy")
    # Twice, where make has begun anew after it had made its configuration.
    asked = tmp_path / "asked"
    assert asked.exists() == bool(groups)
    assert not groups or set(asked.read_text().splitlines()) == {groups}


def test_no_test_module_imports_another():
    """What they share lies in helpers, so that each can be changed or taken away by itself."""
    modules = {path.stem for path in tracked("qemu-test/test_*.py", "init/test/test_*.py")}
    for path in tracked("qemu-test/*.py", "qemu-test/bench/*.py", "init/test/*.py"):
        imported = set(re.findall(r"^\s*(?:from|import) (\w+)", path.read_text(), re.M))
        assert not imported & modules, path
