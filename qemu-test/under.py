#!/usr/bin/python3
# SPDX-License-Identifier: MIT
"""The table in README.md of what runs under what, from what the tests of these goals have found: a file
each, by the fixture `ran`. under.py FOLDER looks whether all of it stands there; --write writes it."""

from __future__ import annotations

import json
import sys
from pathlib import Path

sys.dont_write_bytecode = True

from host import REPOSITORY
from made import Made

GOALS = "make check-tools check-systems check-machines WRITE=1"
TABLE = Made(REPOSITORY / "README.md", f"<!-- Made by `{GOALS}` from boots. -->\n",
             "<!-- The end of what runs. -->\n")


def render(found: list[list[str]]) -> str:
    """[what, kernel, how]: a line for each that runs, with all kernels and ways in which it was tried."""
    lines = ["| what | kernels | how |\n", "|---|---|---|\n"]
    for what in sorted({entry[0] for entry in found}):
        kernels = sorted({kernel for name, kernel, _ in found if name == what},
                         key=lambda name: [int(part) if part.isdigit() else 99 for part in name.split(".")])
        ways = sorted({how for name, _, how in found if name == what})
        lines.append(f"| {what} | {', '.join(kernels)} | {', '.join(ways)} |\n")
    return "".join(lines)


def main() -> None:
    found = [json.loads(path.read_text()) for path in Path(sys.argv[1]).iterdir()]
    if "--write" in sys.argv:
        TABLE.write(render(found))
        print(f"under: written to {TABLE.path.name}")
        return
    rows = {cells[0]: cells[1:] for line in TABLE.read().splitlines()
            for cells in [[cell.strip() for cell in line.strip("| ").split("|")]]}
    missing = [entry for entry in found if entry[0] not in rows or entry[1] not in rows[entry[0]][0].split(", ")
               or entry[2] not in rows[entry[0]][1].split(", ")]
    if missing:
        sys.exit(f"under: README.md's table does not have {missing}; say {GOALS}")


if __name__ == "__main__":
    main()
