#!/usr/bin/python3
# SPDX-License-Identifier: MIT
"""The table in README.md of which filesystem can be mapped on which kernel.

test_filesystems.py finds that out, a boot a cell. `make support-table` has it keep what it finds in
a folder, a file a cell, of which this script then makes the table.
"""

from __future__ import annotations

import re
import sys
from pathlib import Path

sys.dont_write_bytecode = True

README = Path(__file__).resolve().parents[1] / "README.md"
BEGIN = "<!-- Made by `make support-table` from boots; every `make check` compares. -->\n"
END = "<!-- The end of what is made. -->\n"
MAPPED = "mapped"

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
    block = README.read_text().partition(BEGIN)[2].partition(END)[0]
    rows = [[word.strip() for word in line.strip("|\n ").split("|")]
            for line in block.splitlines() if line.startswith("| ")]
    reasons = dict(re.findall(r"^- \[(\d+)\] `(.*)`$", block, re.M))

    def found(cell: str) -> str:
        number = re.fullmatch(r"no \[(\d+)\]", cell)
        return reasons[number[1]] if number else cell

    return {(row[0], version): found(cell) for row in rows[1:]
            for version, cell in zip(rows[0][1:], row[1:])}


def main() -> None:
    from host import KERNELS
    from test_filesystems import FILESYSTEMS

    saved = load(Path(sys.argv[1]))
    wanted = [(name, version) for name in FILESYSTEMS for version in KERNELS]
    if missing := [f"{name} on {version}" for name, version in wanted if (name, version) not in saved]:
        sys.exit(f"support: no result for {', '.join(missing)}; see above why those boots failed")
    before, begin, rest = README.read_text().partition(BEGIN)
    _, end, after = rest.partition(END)
    if not begin or not end:
        sys.exit(f"support: {README} has lost the marks of the table; put {BEGIN.strip()} and"
                 f" {END.strip()} where it is to stand")
    README.write_text(before + begin + render({key: saved[key] for key in wanted}) + end + after)
    print(f"support: {len(wanted)} cells written to {README.name}")


if __name__ == "__main__":
    main()
