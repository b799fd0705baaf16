#!/usr/bin/python3
# SPDX-License-Identifier: MIT
"""The table in README.md of which filesystem can be mapped on which kernel.

Here stands which filesystems these are, and how each is asked for. test_filesystems.py finds out, a
boot a cell. `make support-table` has it keep what it finds in a folder, a file a cell, of which this
script then makes the table.
"""

from __future__ import annotations

import dataclasses
import re
import sys
from pathlib import Path

sys.dont_write_bytecode = True

from host import BACKPORTS, KERNELS, REPOSITORY
from made import Made

TABLE = Made(REPOSITORY / "README.md",
             "<!-- Made by `make support-table` from boots; every `make check` compares. -->\n",
             "<!-- The end of what is made. -->\n")
MAPPED = "mapped"
VERSIONS = [*KERNELS[:-1], *BACKPORTS, KERNELS[-1]]  # the columns

# Below 65536, because sload.f2fs (1.15) cuts owners to 16 bits.
MAP = "idmap=20000:0:10000"


@dataclasses.dataclass(frozen=True)
class Filesystem:
    """A row for /srv that is of this type, and what it takes."""

    row: str = "/dev/vdb /srv TYPE ro," + MAP
    more: str = ""  # further rows
    module: str | None = None  # other than the type's own name; "": none
    image: str | None = None  # what is on /dev/vdb, if not of that type; "": nothing
    plain: bool = False  # not in Debian's kernels for clouds
    flag: str = "idmapped"
    outside: bool = True  # it can hold a file whose owner the map leaves out


# To add one is an entry here, and `make support-table`.
FILESYSTEMS = {
    "ext4": Filesystem(),
    "xfs": Filesystem(),
    "btrfs": Filesystem(),
    "f2fs": Filesystem(plain=True),
    # No owners of its own: uid= and gid= are what is on its disk.
    "vfat": Filesystem(f"/dev/vdb /srv vfat ro,uid=20007,gid=20008,{MAP}", outside=False),
    "erofs": Filesystem(),
    "squashfs": Filesystem(),
    "tmpfs": Filesystem(f"scratch /srv tmpfs {MAP}", module="", image=""),
    # Its layers are what is mapped.
    "overlay": Filesystem(f"/dev/vdb /srv erofs lower,{MAP}", more="none /srv overlay\n",
                          module="overlay", image="erofs", flag="ro"),
}

Cells = dict[tuple[str, str], str]  # (filesystem, kernel): MAPPED, or the line that says why not


def save(folder: Path, name: str, version: str, found: str) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    (folder / f"{name}@{version}").write_text(found)


def load(folder: Path) -> Cells:
    return {(name, version): path.read_text() for path in folder.iterdir()
            for name, _, version in [path.name.partition("@")]}


def render(cells: Cells) -> str:
    """Filesystems and kernels in the order of the cells; each line that says why not once, below."""
    names = list(dict.fromkeys(name for name, _ in cells))
    versions = list(dict.fromkeys(version for _, version in cells))
    reasons = list(dict.fromkeys(found for found in cells.values() if found != MAPPED))

    def cell(found: str) -> str:
        return found if found == MAPPED else f"no [{reasons.index(found) + 1}]"

    lines = [["filesystem", *versions], ["---"] * (len(versions) + 1)]
    lines += [[name, *(cell(cells[name, version]) for version in versions)] for name in names]
    text = "".join(f"| {' | '.join(line)} |\n" for line in lines).replace(" --- ", "---")
    text += "\nWhy not, in the program's own words:\n\n"
    return text + "".join(f"- [{number}] `{reason}`\n" for number, reason in enumerate(reasons, 1))


def read_readme() -> Cells:
    block = TABLE.read()
    rows = [[word.strip() for word in line.strip("|\n ").split("|")]
            for line in block.splitlines() if line.startswith("| ")]
    reasons = dict(re.findall(r"^- \[(\d+)\] `(.*)`$", block, re.M))

    def found(cell: str) -> str:
        number = re.fullmatch(r"no \[(\d+)\]", cell)
        return reasons[number[1]] if number else cell

    return {(row[0], version): found(cell) for row in rows[1:]
            for version, cell in zip(rows[0][1:], row[1:])}


def main() -> None:
    saved = load(Path(sys.argv[1]))
    wanted = [(name, version) for name in FILESYSTEMS for version in VERSIONS]
    # What was found on a kernel that Debian has thrown away since stays true of it.
    for version in BACKPORTS:
        if not any(key[1] == version for key in saved):
            print(f"support: no boot with Linux {version}, so its column stays; see above why")
            saved |= {key: found for key, found in read_readme().items() if key[1] == version}
    if missing := [f"{name} on {version}" for name, version in wanted if (name, version) not in saved]:
        sys.exit(f"support: no result for {', '.join(missing)}; see above why those boots failed")
    TABLE.write(render({key: saved[key] for key in wanted}))
    print(f"support: {len(wanted)} cells written to {TABLE.path.name}")


if __name__ == "__main__":
    main()
