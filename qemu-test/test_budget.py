# SPDX-License-Identifier: MIT
"""What must not grow without somebody's saying so: bytes by defconfig, and stage 1's instructions.

The limits stand in budget.json: bytes of the stripped program with Debian 12's compiler (another
one may take 5 % more), the share of the floor's instructions (qemu-test/bench/floor.c) that a boot
takes, and, to say what has grown, the bytes of each object. After a growth that is wanted, write_budget.py writes it anew.
"""

from __future__ import annotations

import json
import subprocess
import sys

import pytest

import host

sys.path.insert(0, str(host.HERE / "bench"))
import stage1

BUDGET = json.loads((host.HERE / "budget.json").read_text())


@pytest.mark.parametrize("name", ["tiny", "default", "full"])
def test_bytes(name, defconfig):
    size, limit = defconfig(name).stat().st_size, BUDGET["bytes"][name]
    compiler = subprocess.run(["musl-gcc", "-dumpversion"], check=True, text=True,
                              stdout=subprocess.PIPE).stdout
    if compiler.partition(".")[0].strip() != "12":
        limit = limit * 105 // 100
    if size <= limit:
        return
    now, then = host.object_sizes(defconfig(name).parent), BUDGET["objects"][name]
    grown = sorted(((now[o] - then.get(o, 0), o) for o in now if now[o] > then.get(o, 0)), reverse=True)
    pytest.fail(f"{name} has {size} bytes, its limit is {limit}. Grown: " +
                ", ".join(f"{o} +{by}" for by, o in grown), pytrace=False)


@pytest.mark.parametrize("name", sorted(BUDGET["times_floor"]))
def test_instructions(name, programs, kernel, run_folder, tmp_path):
    case = stage1.cases()[name]
    bench = stage1.Bench(tmp_path, kernel)
    floor = bench.boot(bench.floor(case), case)
    ours = bench.boot(bench.ours(programs.init, case), case)
    assert ours[2:] == floor[2:]  # the same owner of / and as many mounts
    times, limit = ours[0] / floor[0], BUDGET["times_floor"][name]
    assert times <= limit, (f"{name}: {ours[0]:,} instructions, {times:.3f} times the floor's {floor[0]:,};"
                            f" make bench PARTS=calls shows which call takes them")
