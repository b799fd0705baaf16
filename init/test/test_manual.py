# SPDX-License-Identifier: MIT
"""The manual: clean for mandoc, and its table of messages is that of the sources."""

import importlib.machinery
import importlib.util
import os
import re
import subprocess
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
PAGES = sorted((ROOT / "man").glob("*.[0-9]"))


@pytest.fixture(scope="module")
def messages():
    loader = importlib.machinery.SourceFileLoader("messages", str(ROOT / "man" / "messages"))
    module = importlib.util.module_from_spec(importlib.util.spec_from_loader("messages", loader))
    loader.exec_module(module)
    return module


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_lint(page):
    result = subprocess.run(["mandoc", "-T", "lint", "-W", "warning", page], capture_output=True, text=True)
    assert (result.stdout, result.stderr, result.returncode) == ("", "", 0)


def test_messages_are_those_of_the_sources(messages):
    """`make messages` writes them."""
    assert messages.TABLE.read() == messages.render()


def test_every_call_is_found(messages):
    """Each call that tells something has its words in the table, cut off at what varies."""
    table = " ".join(" ".join(found) for found in messages.collect().values())
    calls = 0
    for path in messages.sources():
        text = messages.without_comments(path.read_text())
        for match in re.finditer(r"\b(idmap_fail|idmap_note|idmap_note_row|idmap_note_mild|idmap_table_error|idmap_item_error|msg)\(", text):
            for words in messages.literals(messages.balanced(text, match.end() - 1)):
                if messages.is_message(words):
                    assert messages.readable(words) in table
                    calls += 1
    assert calls > 100


def test_every_parameter_is_told():
    page = (ROOT / "man" / "idmap-init.8").read_text()
    source = (ROOT / "idmap/table/cmdline.c").read_text()
    names = dict(re.findall(r'\[\w+\] = \{"([a-z._]+)", (true|false)\}', source))
    policies = re.findall(r'\[IDMAP_ONFAIL_\w+\] = "(\w+)"', source)
    assert len(names) == 17 and len(policies) == 5
    for name in [*names, *policies]:
        assert re.search(rf"^\.(It )?Cm (.* )?{re.escape(name)}(=| |$)", page, re.M), name
    sealed = page[page.index(".Sh SEALED INITRAMFS"):page.index("\nand its kin, and no\n")]
    said = re.findall(r"[a-z.]+(?==?(?: ,|$))", re.search(r"none of\n\.Cm (.*)", sealed)[1])
    assert sorted(said) == sorted(name for name in names if names[name] == "true" and "verity" not in name)


def examples(page):
    """What stands between .Bd -literal and .Ed."""
    return re.findall(r"^\.Bd -literal[^\n]*\n(.*?)^\.Ed$", (ROOT / "man" / page).read_text(), re.M | re.S)


@pytest.mark.parametrize("page,arguments", [("idmap.conf.5", []), ("idmap-init.8", ["-k"])])
def test_examples_of_tables(page, arguments, tmp_path):
    """Tables and command lines: each is one."""
    build = Path(os.environ.get("O", ROOT / "build"))
    # What stands with its commands is run by qemu-test/test_recipes.py.
    found = [example for example in examples(page) if not example.startswith(("usermod", "size=", "n=0"))]
    assert len(found) > 3
    for example in found:
        table = tmp_path / "idmap.conf"
        table.write_text(example)
        words = ["-k", example.strip()] if arguments else ["-c", table, "-k", "root=/dev/vda rootfstype=erofs ro"]
        done = subprocess.run([build / "idmap", "plan", *words], capture_output=True, text=True)
        assert done.returncode == 0 and not done.stderr, (example, done.stderr)
        rows = [line for line in example.splitlines() if not line.startswith("#")] if not arguments else [""]
        assert len(done.stdout.splitlines()) >= len(rows)


@pytest.mark.parametrize("page", ["idmap.8", "idmap-mkinitramfs.8"])
def test_examples(page, tmp_path):
    """Each is run, in a folder that has what it names."""
    build = Path(os.environ.get("O", ROOT / "build"))
    (tmp_path / "bin").mkdir()
    (tmp_path / "bin" / "idmap").symlink_to(build / "idmap")
    (tmp_path / "bin" / "idmap-mkinitramfs").symlink_to(ROOT / "init" / "mkinitramfs")
    (tmp_path / "tree" / "sbin").mkdir(parents=True)
    (tmp_path / "tree" / "sbin" / "init").write_text("x")
    (tmp_path / "tree" / "sbin" / "init").chmod(0o755)
    uid, gid = os.getuid(), os.getgid()
    (tmp_path / "idmap.conf").write_text(f"/dev/vda / erofs uidmap={uid}:0:1,gidmap={gid}:0:1\n")
    (tmp_path / "tree" / "mnt").mkdir()
    environment = os.environ | {"PATH": f"{tmp_path}/bin:{os.environ['PATH']}", "O": str(build),
                                "rootmnt": f"{tmp_path}/tree"}
    found = examples(page)
    assert found
    for example in found:
        alone = []
        if re.search("^idmap (apply|mount)", example, re.M):
            if uid:
                continue  # only root can mount
            alone = ["unshare", "--mount"]
            example = ("for folder in /run /etc /srv; do mount -t tmpfs t $folder; done\nmkdir /srv/data\n"
                       "echo 't /mnt tmpfs' >/etc/idmap.conf\n") + example
        done = subprocess.run([*alone, "sh", "-eu", "-c", example], cwd=tmp_path, env=environment, capture_output=True, text=True)
        assert done.returncode == 0, (example, done.stderr)


def test_synopsis_is_the_help():
    """Every option that a manual has the program's help has, too."""
    build = Path(os.environ.get("O", ROOT / "build"))
    page = (ROOT / "man" / "idmap.8").read_text()
    usage = subprocess.run([build / "idmap", "--help"], capture_output=True, text=True).stdout
    for command in re.findall(r"^  idmap (\w+)", usage, re.M):
        assert f".It Cm {command}\n" in page
    flags = subprocess.run([ROOT / "init" / "mkinitramfs", "-h"], capture_output=True, text=True).stdout
    assert set(re.findall(r"^  (-\w) ", flags, re.M)) == {
        f"-{flag}" for flag in re.findall(r"^\.It Fl (\w) ", (ROOT / "man" / "idmap-mkinitramfs.8").read_text(), re.M)}
