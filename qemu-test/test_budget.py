# SPDX-License-Identifier: MIT
"""What must not grow without somebody's saying so: bytes by defconfig, and stage 1's instructions.

The limits stand in budget.json: bytes of the stripped program and of it as gzip -9 makes it, with
Debian 12's compiler (another one may take 5 % more), and the share of the floor's instructions (qemu-test/bench/floor.c) that a boot
takes. Those of bytes are goals, changed by hand; write_budget.py writes the shares after a growth
that is wanted.
"""

from __future__ import annotations

import json
import subprocess
import sys

import pytest

import host
from common import of_x86_64

sys.path.insert(0, str(host.HERE / "bench"))
import stage1

pytestmark = of_x86_64("the budget is of x86-64's instructions")

BUDGET = json.loads(host.BUDGET.read_text())


@pytest.mark.parametrize("name", ["tiny", "default", "full"])
def test_bytes(name, defconfig):
    size, packed = host.sizes(defconfig(name))
    limit, packed_limit = BUDGET["bytes"][name], BUDGET["gzip"][name]
    if subprocess.check_output(["musl-gcc", "-dumpversion"], text=True).partition(".")[0].strip() != "12":
        limit, packed_limit = limit * 105 // 100, packed_limit * 105 // 100
    assert size <= limit, f"{name} has {size:,} bytes, its limit is {limit:,}"
    assert packed <= packed_limit, f"{name} has {packed:,} bytes after gzip -9, its limit is {packed_limit:,}"


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
