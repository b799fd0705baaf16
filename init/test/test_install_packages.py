# SPDX-License-Identifier: MIT
"""Runs install-packages with a dpkg-query, an apt-get and an id that only pretend."""

import os
import re
import shutil
import subprocess
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
SCRIPT = ROOT / "install-packages"
LIST = """\
# a comment
[build]
cc
# why make
make
[run]
emulator

make
[check]
tester
"""
APT = "-q -o DPkg::Lock::Timeout=300"


class Machine:
    """A source tree with its own list, and a PATH of pretended commands."""

    def __init__(self, path):
        self.path = path
        self.bin = path / "bin"
        self.bin.mkdir()
        for tool in ("awk", "cat", "dirname", "mktemp", "rm", "sh"):
            (self.bin / tool).symlink_to(shutil.which(tool))
        shutil.copy(SCRIPT, path)
        (path / "packages.debian").write_text(LIST)
        self.log = path / "apt.log"
        self.log.touch()
        (path / "tmp").mkdir()
        self.root(True)
        self.installed()
        self.apt("exit 0")

    def command(self, name, body):
        (self.bin / name).write_text(f"#!/bin/sh\n{body}\n")
        (self.bin / name).chmod(0o755)

    def root(self, yes):
        self.command("id", f"echo {0 if yes else 1000}")

    def installed(self, *names, removed=()):
        """dpkg-query knows these; `removed` are those of which only the configuration is left."""
        lines = [f"echo '{n} installed'" for n in names]
        lines += [f"echo '{n} config-files'" for n in removed]
        self.command("dpkg-query", "\n".join([*lines, "exit 1"]))

    def apt(self, body):
        self.command("apt-get", f'echo "$DEBIAN_FRONTEND $*" >>{self.log}\n{body}')

    def run(self, *groups):
        result = subprocess.run([self.path / "install-packages", *groups], capture_output=True,
                                text=True, cwd="/", stdin=subprocess.DEVNULL,
                                env={"PATH": str(self.bin), "TMPDIR": str(self.path / "tmp")})
        assert not list((self.path / "tmp").iterdir())
        return result.returncode, result.stdout, result.stderr

    def calls(self):
        return self.log.read_text().splitlines()


@pytest.fixture
def machine(tmp_path):
    return Machine(tmp_path)


def install(names):
    return f"noninteractive {APT} install -y --no-install-recommends {names}"


UPDATE = f"noninteractive {APT} update"


def test_nothing_missing(machine):
    machine.installed("cc", "make")
    assert machine.run("build") == (0, "", "")
    assert machine.calls() == []


@pytest.mark.parametrize("groups, names", (
    (("build",), "cc make"), (("run",), "emulator make"), (("check",), "tester"),
    (("run", "build"), "cc make emulator"), (("all",), "cc make emulator tester"),
    (("all", "check"), "cc make emulator tester"),
))
def test_groups(machine, groups, names):
    assert machine.run(*groups) == (0, f"idmap-init: installing {names}\n", "")
    assert machine.calls() == [install(names)]


def test_only_what_is_missing(machine):
    machine.installed("cc", "emulator", removed=("make",))
    assert machine.run("build", "run") == (0, "idmap-init: installing make\n", "")
    assert machine.calls() == [install("make")]


def test_part_of_a_name_is_not_the_name(machine):
    machine.installed("cc-doc", "gcc", "make")
    assert machine.run("build") == (0, "idmap-init: installing cc\n", "")


def test_update_only_after_a_failed_install(machine):
    fresh = machine.path / "fresh"
    machine.apt(f'case "$*" in *update) : >{fresh};; *) [ -e {fresh} ];; esac')
    assert machine.run("check") == (0, "idmap-init: installing tester\n", "")
    assert machine.calls() == [install("tester"), UPDATE, install("tester")]


@pytest.mark.parametrize("update_works", (True, False))
def test_failure_shows_the_log(machine, update_works):
    machine.apt(f'case "$*" in *update) exit {0 if update_works else 1};; esac\n'
                'echo "E: no such thing" >&2; exit 100')
    code, out, errors = machine.run("check")
    assert (code, out) == (1, "idmap-init: installing tester\n")
    assert "E: no such thing\n" in errors
    assert errors.endswith("\nidmap-init: cannot install tester; the log of apt-get is above\n")
    assert machine.calls() == [install("tester"), UPDATE] + [install("tester")] * update_works


@pytest.mark.parametrize("reason", ("user", "no apt"))
def test_who_may_not_install(machine, reason):
    if reason == "user":
        machine.root(False)
    else:
        (machine.bin / "apt-get").unlink()
    assert machine.run("build", "check") == (
        1, "", "idmap-init: missing packages; run: sudo apt-get update && "
               "sudo apt-get install --no-install-recommends cc make tester\n")
    assert machine.calls() == []


def test_no_dpkg(machine):
    (machine.bin / "dpkg-query").unlink()
    assert machine.run("build") == (
        0, "", "idmap-init: no dpkg here, so nothing was checked or installed; "
               f"{machine.path}/packages.debian names what is needed: cc make\n")
    assert machine.calls() == []


@pytest.mark.parametrize("groups", ((), ("tool",), ("build", "")))
def test_misuse(machine, groups):
    code, out, errors = machine.run(*groups)
    assert (code, out) == (2, "")
    assert errors == "usage: install-packages GROUP...   (GROUP: build, run, check, deb, bench, tools, all)\n"
    assert machine.calls() == []


def test_help(machine):
    assert machine.run("-h") == (
        0, "usage: install-packages GROUP...   (GROUP: build, run, check, deb, bench, tools, all)\n", "")


def test_no_list(machine):
    (machine.path / "packages.debian").unlink()
    assert machine.run("build") == (
        1, "", f"idmap-init: {machine.path}/packages.debian: cannot be read; "
               "run install-packages from the source tree\n")


def test_the_list_itself():
    """Comments, the groups and package names; no name twice, none with a version in it."""
    groups, names = [], []
    for line in (ROOT / "packages.debian").read_text().splitlines():
        if re.fullmatch(r"\[[a-z]+\]", line):
            groups.append(line)
        elif line and not line.startswith("#"):
            assert re.fullmatch(r"[a-z0-9][a-z0-9+.-]+", line)
            assert groups
            names.append(line)
    assert groups == ["[build]", "[run]", "[check]", "[deb]", "[bench]", "[tools]"]
    assert len(names) == len(set(names))
    assert not [name for name in names if re.search(r"-\d+(-|$)", name)]


def test_real_dpkg_knows_the_format():
    """The format string means what the script takes it for."""
    if not shutil.which("dpkg-query"):
        pytest.skip("no dpkg")
    shown = subprocess.run(["dpkg-query", "-W", "-f", "${Package} ${db:Status-Status}\n", "dpkg"],
                           capture_output=True, text=True, check=True).stdout
    assert shown == "dpkg installed\n"


def test_shellcheck():
    if not shutil.which("shellcheck"):
        pytest.skip("no shellcheck")
    subprocess.run(["shellcheck", SCRIPT], check=True, env=os.environ)
