#!/usr/bin/python3
# SPDX-License-Identifier: MIT
"""Writes budget.json, which test_budget.py holds the build to: what is now, plus 1 % for bytes and
2 % for instructions. To be run after a growth that is wanted, with O as make has it."""

from __future__ import annotations

import json
import sys
import tempfile
from pathlib import Path

import host

sys.path.insert(0, str(host.HERE / "bench"))
import stage1

budget = {"bytes": {}, "times_floor": {}, "objects": {}}
programs = host.build_programs()


for name in ("tiny", "default", "full"):
    folder = programs.folder / "size" / name
    host.make(folder, f"{name}_defconfig")
    host.make(folder, "all")
    budget["bytes"][name] = (folder / "idmap-init").stat().st_size * 101 // 100
    budget["objects"][name] = host.object_sizes(folder)
with tempfile.TemporaryDirectory() as folder:
    bench = stage1.Bench(Path(folder), host.find_kernel("6.1"))
    for name, case in stage1.cases().items():
        times = (bench.measure(bench.ours(programs.init, case), case).instructions /
                 bench.measure(bench.floor(case), case).instructions)
        budget["times_floor"][name] = round(times * 1.05, 3)  # two boots differ by 1 %
(host.HERE / "budget.json").write_text(json.dumps(budget, indent="\t", sort_keys=True) + "\n")
