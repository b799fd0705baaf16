# SPDX-License-Identifier: MIT
"""What must not grow without somebody's saying so: stage 1's instructions. Bytes are README.md's, see test_readme.py.

The limits stand in budget.json: how many times the floor's instructions (qemu-test/bench/floor.c) a boot takes.
write_budget.py writes them after a growth that is wanted.
"""

from __future__ import annotations

import json
import sys

import pytest

import host
from common import of_x86_64

sys.path.insert(0, str(host.HERE / "bench"))
import stage1

pytestmark = of_x86_64("the budget is of x86-64's instructions")

BUDGET = json.loads(host.BUDGET.read_text())


@pytest.mark.parametrize("name", sorted(BUDGET["times_floor"]))
def test_instructions(name, programs, kernel, run_folder, tmp_path):
    case = stage1.cases()[name]
    bench = stage1.Bench(tmp_path, kernel)
    floor = bench.boot(bench.floor(case), case)
    ours = bench.boot(bench.ours(programs.init, case), case)
    assert ours[2:] == floor[2:]  # the same owner of / and as many mounts
    times, limit = ours[0] / floor[0], BUDGET["times_floor"][name]
    assert times <= limit, (f"{name}: {ours[0]:,} instructions, {times:.3f} times the floor's {floor[0]:,}, the"
                            f" limit is {limit}; make bench PARTS=calls shows which call takes them")
