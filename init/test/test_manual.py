# SPDX-License-Identifier: MIT
"""The manual: clean for mandoc, and its table of messages is that of the sources."""

import importlib.machinery
import importlib.util
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
    block = messages.PAGE.read_text().partition(messages.BEGIN)[2].partition(messages.END)[0]
    assert block == messages.render()


def test_every_call_is_found(messages):
    """Each call that tells something has its words in the table, cut off at what varies."""
    table = " ".join(" ".join(found) for found in messages.collect().values())
    calls = 0
    for path in [*ROOT.glob("idmap/*/*.c"), *ROOT.glob("init/*.c")]:
        if "test" in path.parts:
            continue
        text = messages.without_comments(path.read_text())
        for match in re.finditer(r"\b(idmap_fail|idmap_note|idmap_table_error|idmap_item_error|msg)\(", text):
            for words in messages.literals(messages.balanced(text, match.end() - 1)):
                if messages.is_message(words):
                    assert messages.readable(words) in table
                    calls += 1
    assert calls > 100


def test_every_parameter_is_told():
    page = (ROOT / "man" / "idmap-init.8").read_text()
    names = re.findall(r'\[OWN\w*\] = "([a-z.]+)"', (ROOT / "idmap/table/cmdline.c").read_text())
    policies = re.findall(r'\[IDMAP_ONFAIL_\w+\] = "(\w+)"', (ROOT / "idmap/table/cmdline.c").read_text())
    assert len(names) == 5 and len(policies) == 5
    for name in names + policies:
        assert re.search(rf"^\.(It )?Cm {re.escape(name)}=?", page, re.M), name
