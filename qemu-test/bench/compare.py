#!/usr/bin/python3
# SPDX-License-Identifier: MIT
"""compare.py OLD NEW [BOOTS]: the instructions of stage 1 with two builds of idmap-init, in one run.

The two boot by turns, so that what changes while it runs falls on both. Each is booted BOOTS times
(5) for each of the cases that have goals; the spread is between the least and the most.
"""

from __future__ import annotations

import statistics
import sys
import tempfile
from pathlib import Path

import stage1
from stage1 import Bench, host
from table import head, row


def main(old: Path, new: Path, boots: int) -> None:
    print(head("", "old, median", "spread", "new, median", "spread", "new / old").strip())
    with tempfile.TemporaryDirectory() as folder:
        bench = Bench(Path(folder), host.find_kernel("6.1"))
        for name, case in stage1.cases().items():
            trees = [bench.ours(init, case) for init in (old, new)]
            runs = [[bench.boot(tree, case) for tree in trees] for _ in range(boots)]
            if len({run[2:] for pair in runs for run in pair}) != 1:
                sys.exit(f"compare.py: {name}: not the same owner of / and number of mounts in all boots")
            counts = [[run[0] for run in each] for each in zip(*runs)]
            medians = [statistics.median(each) for each in counts]
            cells = [f"{value:,.0f}" for median, each in zip(medians, counts)
                     for value in (median, max(each) - min(each))]
            print(row(name, *cells, f"{medians[1] / medians[0]:.3f}"), flush=True)


if __name__ == "__main__":
    if len(sys.argv) not in (3, 4):
        sys.exit("usage: compare.py OLD NEW [BOOTS]")
    main(Path(sys.argv[1]), Path(sys.argv[2]), int(sys.argv[3]) if len(sys.argv) == 4 else 5)
