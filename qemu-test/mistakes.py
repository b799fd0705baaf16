#!/usr/bin/python3
# SPDX-License-Identifier: MIT
"""The table in BENCHMARKS.md of typical mistakes: what mount(8) says of each, and what idmap-init says.

Here stands which mistakes these are. test_mistakes.py makes them, in guests of one kernel. `make
mistakes-table` has it keep what was said in a folder, a file a mistake, of which this script then makes
the table.
"""

from __future__ import annotations

import dataclasses
import sys
from pathlib import Path

sys.dont_write_bytecode = True

from host import REPOSITORY
from made import Made

TABLE = Made(REPOSITORY / "BENCHMARKS.md",
             "<!-- Made by `make mistakes-table` from boots; every `make check` compares. -->\n",
             "<!-- The end of what is made of mistakes. -->\n")
KERNEL = "6.1"


@dataclasses.dataclass(frozen=True)
class Mistake:
    """Rows of a table behind that for /, and how mount(8) is asked for the same."""

    rows: str
    mount: tuple[str, ...]  # of the last row


# Disks: vdb an erofs, vdc an ext4 whose journal a crash has left, vdd an ext4 that can be written, vde a
# squashfs. All but vdd are read-only.
MISTAKES = {
    "a wrong type": Mistake("/dev/vdb /srv ext4", ("-t", "ext4", "-o", "ro", "/dev/vdb", "/srv")),
    "a word misspelt": Mistake("/dev/vdb /srv erofs nosiud",
                               ("-t", "erofs", "-o", "ro,nosiud", "/dev/vdb", "/srv")),
    "extents that overlap": Mistake(
        "/dev/vdb /srv erofs idmap=0:0:10,5:100:1",
        ("-t", "erofs", "-o", "ro,X-mount.idmap=b:0:0:10 b:5:100:1", "/dev/vdb", "/srv")),
    "an extent of two numbers": Mistake(
        "/dev/vdb /srv erofs idmap=100000:0",
        ("-t", "erofs", "-o", "ro,X-mount.idmap=b:100000:0", "/dev/vdb", "/srv")),
    "an id of more than 32 bits": Mistake(
        "/dev/vdb /srv erofs idmap=4294967296:0:1",
        ("-t", "erofs", "-o", "ro,X-mount.idmap=b:4294967296:0:1", "/dev/vdb", "/srv")),
    "no such device": Mistake("/dev/vdz /srv erofs wait=1",
                              ("-t", "erofs", "-o", "ro", "/dev/vdz", "/srv")),
    "a crashed ext4 on a read-only disk": Mistake("/dev/vdc /srv ext4",
                                                  ("-t", "ext4", "-o", "ro", "/dev/vdc", "/srv")),
    "a filesystem that this kernel cannot map": Mistake(
        "/dev/vde /srv squashfs idmap=0:1000:1",
        ("-t", "squashfs", "-o", "ro,X-mount.idmap=b:0:1000:1", "/dev/vde", "/srv")),
    "a target that is not there": Mistake("/dev/vdb /srv/no/such erofs",
                                          ("-t", "erofs", "-o", "ro", "/dev/vdb", "/srv/no/such")),
}

Said = dict[str, tuple[str, str]]  # of a mistake: by mount(8), by idmap-init


def render(said: Said, version: str) -> str:
    lines = [f"| mistake | mount(8) of util-linux {version} | idmap-init |", "|---|---|---|"]
    lines += [f"| {name} | {cell(theirs)} | {cell(ours)} |" for name, (theirs, ours) in said.items()]
    return "\n".join(lines) + "\n"


def cell(text: str) -> str:
    return f"`{text}`" if text else "nothing, and mounts it"


def read_readme() -> Said:
    rows = [[word.strip() for word in line.strip("|").split(" | ")]
            for line in TABLE.read().splitlines()[2:] if line.startswith("| ")]
    return {row[0]: tuple(part.strip("`") if part.startswith("`") else "" for part in row[1:])
            for row in rows}


def main() -> None:
    folder = Path(sys.argv[1])
    said = {}
    for name in MISTAKES:
        if not (folder / name).exists():
            sys.exit(f"mistakes: no result for '{name}'; see above why that failed")
        said[name] = tuple((folder / name).read_text().split("\n"))
    TABLE.write(render(said, (folder / "version").read_text()))
    print(f"mistakes: {len(said)} rows written to {TABLE.path.name}")


if __name__ == "__main__":
    main()
