# SPDX-License-Identifier: MIT
"""kernel.config beside Debian's kernels, which the tests boot: what it asks for is what they have."""

from __future__ import annotations

import re

import pytest

import host

TEXT = (host.REPOSITORY / "kernel.config").read_text()
OPTIONS = re.findall(r"^CONFIG_(\w+)=y$", TEXT, re.M)
LATER = {"EROFS_FS_BACKED_BY_FILE": ["5.10", "6.1"]}  # not in these yet
NO_DEBIAN = ["VIRTIO_MMIO_CMDLINE_DEVICES"]  # which is why a kernel of one's own is built
NO_CLOUD = ["NET_9P", "NET_9P_VIRTIO", "9P_FS"]  # left out of Debian's kernels for clouds


@pytest.mark.every_kernel
@pytest.mark.parametrize("kernel", [*host.KERNELS, "newest", "6.12-plain"], indirect=True)
def test_debian_has_it(kernel):
    config = dict(re.findall(r"^CONFIG_(\w+)=([ym])$", (kernel.vmlinuz.parent / "config").read_text(), re.M))
    missing = {name for name in OPTIONS if name not in config and kernel.name not in LATER.get(name, [])}
    assert missing == {*NO_DEBIAN, *([] if kernel.name.endswith("-plain") else NO_CLOUD)}
    # What must be there before the first program is no module.
    always = TEXT.partition("# --- always ---")[2].partition("# --- for what")[0]
    assert {config[name] for name in re.findall(r"^CONFIG_(\w+)=y$", always, re.M)} == {"y"}


def test_what_is_advised_is_in_it():
    """An option that some message asks for is one of these."""
    asked = set()
    for path in [*host.REPOSITORY.glob("idmap/*/*.c"), *host.REPOSITORY.glob("init/*.c")]:
        asked |= set(re.findall(r"\bCONFIG_(\w+)", " ".join(re.findall(r'"[^"]*with[^"]*"', path.read_text()))))
    assert {"TMPFS", "PROC_FS"} <= asked <= set(OPTIONS)


def test_each_has_a_reason():
    """A comment stands above each group."""
    for block in re.findall(r"(?:^CONFIG_\w+=y\n)+", TEXT, re.M):
        before = TEXT[:TEXT.index(block)].rstrip().splitlines()[-1]
        assert before.startswith("# ") and not before.startswith("# ---")
