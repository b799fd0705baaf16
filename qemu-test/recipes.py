# SPDX-License-Identifier: MIT
"""The recipes of the manual, as they stand there."""

from __future__ import annotations

import subprocess
from pathlib import Path

import host

TABLES = (host.REPOSITORY / "man" / "idmap.conf.5").read_text()
MANUAL = (host.REPOSITORY / "man" / "idmap-init.8").read_text()

# In an /etc of its own, as the recipe gives ids to root.
IN_FOLDER = """set -e
cd "$1"
mkdir -p etc
mount -t tmpfs tmpfs etc
mkdir etc/upper etc/work
mount -t overlay -o lowerdir=/etc,upperdir="$1/etc/upper",workdir="$1/etc/work" overlay /etc
eval "$2"
"""


def recipe(word: str) -> str:
    """That of idmap-init(8) which begins so."""
    block, = (block for block in MANUAL.split(".Bd -literal -offset indent\n") if block.startswith(word))
    return block.partition("\n.Ed")[0].replace("\\e", "\\")


def follow(text: str, folder: Path) -> str:
    """Does what it says, there, as root; what it prints."""
    return subprocess.run(["unshare", "--mount", "sh", "-c", IN_FOLDER, "sh", folder, text], check=True, text=True,
                          stdout=subprocess.PIPE).stdout
