#!/usr/bin/python3
# SPDX-License-Identifier: MIT
"""make bench: stage 1 against a floor and against peers, growth, sizes.

Writes text, JSON and SVG to the folder bench in the build folder. Parts: stage1, chown, calls, growth, sizes;
without arguments all of them.
"""

from __future__ import annotations

import gzip
import json
import os
import re
import subprocess
import sys
from pathlib import Path
from typing import Any, Callable, Iterator

import chown
import stage1
from stage1 import Bench, Case, Result, Row, host, images

# ours / floor, and how many times fewer instructions above the floor than the shell
GOALS = {"root": 1.05, "100 binds": 1.10, "100 tmpfs": 1.10, "shell": 10}


def line(name: str, result: Result, floor: Result, goal: str = "") -> str:
    mapped = "mapped" if result.root_uid == 0 else "no map"
    return (f"{name:26} {result.instructions:12,} {result.spread:9,} "
            f"{result.instructions / floor.instructions:7.2f} {result.memory_kib:6} KiB  "
            f"{mapped:7} {goal}").rstrip()


def measure_stage1(bench: Bench, programs: host.Programs) -> Iterator[tuple[str, Any]]:
    yield "Guest instructions from the exec of stage 1 to the real init's first, median of 3", None
    yield f"{'':26} {'instructions':>12} {'spread':>9} {'x floor':>7} {'peak memory':>10}", None
    floors = {}
    for name, case in stage1.cases().items():
        floors[name] = bench.measure(bench.floor(case), case)
        yield line(f"{name}: floor in C", floors[name], floors[name]), (f"{name}/floor", floors[name])
        ours = bench.measure(bench.ours(programs.init, case), case)
        yield (line(f"{name}: idmap-init", ours, floors[name], f"goal {GOALS[name]:.2f}"),
               (f"{name}/idmap-init", ours))
        if name == "root":
            above = ours.instructions - floors[name].instructions
    for name, peer in (("tiny-initramfs", stage1.tiny_initramfs), ("klibc kinit", stage1.kinit),
                       ("busybox sh + util-linux", stage1.shell)):
        result = bench.measure(peer())
        goal = ""
        if peer is stage1.shell:
            times = (result.instructions - floors["root"].instructions) / above
            goal = f"{times:.1f} x ours above the floor, goal {GOALS['shell']}"
        yield line(name, result, floors["root"], goal), (f"root/{name}", result)


def many_maps(count: int) -> Case:
    maps = [((stage1.BASE, 0, 65536),)] + [((stage1.BASE, 1000 + i, 65536),) for i in range(count - 1)]
    return Case(maps=maps, rows=[Row(f"/t/{i}", "/images/app", i + 1) for i in range(count - 1)])


def many_extents(count: int) -> Case:
    # The first one is root's; short numbers, as the text must be less than a page.
    return Case(maps=[((stage1.BASE, 0, 1),), tuple((2 * i, 2 * i, 1) for i in range(count))],
                rows=[Row("/t/0", "/images/app", 1)])


GROWTH: dict[str, tuple[Callable[[int], Case], list[int]]] = {
    "binds": (lambda n: Case(rows=[Row(f"/t/{i}", "/images/app", 0) for i in range(n)]),
              [1, 10, 100, 300, 1000]),
    "maps": (many_maps, [2, 20, 200]),
    "extents": (many_extents, [1, 100, 340]),
}


def measure_growth(bench: Bench, programs: host.Programs) -> Iterator[tuple[str, Any]]:
    yield "Growth: guest instructions by number, one boot each", None
    for name, (make, numbers) in GROWTH.items():
        points = []
        for number in numbers:
            case = make(number)
            pair = [bench.measure(tree, case, boots=1).instructions
                    for tree in (bench.floor(case), bench.ours(programs.init, case))]
            points.append(pair)
            yield (f"{name:10} {number:5} floor {pair[0]:13,} idmap-init {pair[1]:13,} "
                   f"{pair[1] / pair[0]:6.2f}", (f"{name}/{number}", pair))
        steps = numbers[-1] - numbers[0]
        slopes = [(points[-1][i] - points[0][i]) / steps for i in (0, 1)]
        yield (f"{name:10} each  floor {slopes[0]:13,.0f} idmap-init {slopes[1]:13,.0f} "
               f"{slopes[1] / slopes[0]:6.2f}", (f"{name}/each", slopes))


def switches() -> list[str]:
    """Kconfig's bool switches that are on by default and stand alone."""
    text = "".join((host.REPOSITORY / folder / "Kconfig").read_text() for folder in ("idmap", "init"))
    return re.findall(r"^config (\w+)\n\tbool .*\n\tdefault y$", text, re.M)


def size_of(folder: Path, defconfig: str, without: str = "") -> int:
    host.make(folder, f"{defconfig}_defconfig")
    if without:
        config = folder / ".config"
        config.write_text(re.sub(rf"^CONFIG_{without}=y$", f"# CONFIG_{without} is not set",
                                 config.read_text(), flags=re.M))
    host.make(folder, "all")
    return (folder / "idmap-init").stat().st_size


def measure_sizes(bench: Bench, programs: host.Programs) -> Iterator[tuple[str, Any]]:
    yield "Bytes of the stripped program", None
    for name in ("tiny", "default", "full"):
        size = size_of(bench.folder / "size", name)
        yield f"{name:34} {size:9,}", (name, size)
        if name == "default":
            default = size
    for switch in switches():
        size = size_of(bench.folder / "size", "default", switch)
        yield f"default without {switch:18} {size:9,} {size - default:+8,}", (f"-{switch}", size)
    conf = bench.folder / "idmap.conf"
    conf.write_text(stage1.Case().table())
    size_of(bench.folder / "size", "default")
    archive = subprocess.run([host.REPOSITORY / "init" / "mkinitramfs", "-o", "-", "-c", conf,
                              "-i", bench.folder / "size" / "idmap-init"], check=True,
                             stdout=subprocess.PIPE).stdout
    packed = len(gzip.compress(archive, 9, mtime=0))
    yield f"{'initramfs with a table, gzip -9':34} {packed:9,}", ("initramfs.gz", packed)
    yield "What the peers bring, of files in the initramfs", None
    for name, peer in (("tiny-initramfs", stage1.tiny_initramfs), ("klibc kinit", stage1.kinit),
                       ("busybox sh + util-linux", stage1.shell)):
        size = sum(len(entry.data()) for entry in peer().values() if isinstance(entry, images.File))
        yield f"{name:34} {size:9,}", (name, size)


def measure_calls(bench: Bench, programs: host.Programs) -> Iterator[tuple[str, Any]]:
    header = Path("/usr/include/x86_64-linux-gnu/asm/unistd_64.h").read_text()
    names = {int(number): name for name, number in re.findall(r"__NR_(\w+) (\d+)", header)}
    names |= {-1: "(the program's own code)", -2: "(the exec of the real init)"}
    init = stage1.traced(bench.folder)
    for name, case in stage1.cases().items():
        yield f"{name}: where idmap-init's instructions go, by system call", None
        for number, count, took in stage1.calls(bench.words(bench.ours(init, case), case)):
            yield f"{names[number]:30} {count:6} {took:11,}", (f"{name}/{names[number]}", took)


def measure_chown(bench: Bench, programs: host.Programs) -> Iterator[tuple[str, Any]]:
    yield "One image for another owner: an idmapped mount, or chown; kernel 6.1, in the guest's time", None
    for count in os.environ.get("FILES", "400,10000").split(","):
        yield from chown.measure(bench, programs, int(count))


PARTS = {"stage1": measure_stage1, "chown": measure_chown, "calls": measure_calls, "growth": measure_growth, "sizes": measure_sizes}


def draw(folder: Path, part: str, figures: dict[str, Any]) -> None:
    import matplotlib
    matplotlib.use("svg")
    matplotlib.rcParams["svg.hashsalt"] = part  # the same figures, the same bytes
    from matplotlib import pyplot
    names, values = [], []
    for name, value in figures.items():
        if isinstance(value, Result):
            value = value.instructions
        for i, one in enumerate(value if isinstance(value, list) else [value]):
            names.append(name + ((" seconds", " bytes") if part == "chown" else
                                 (" floor", " idmap-init"))[i] if isinstance(value, list) else name)
            values.append(one)
    figure, axes = pyplot.subplots(figsize=(8, 0.25 * len(names) + 1))
    axes.barh(names[::-1], values[::-1])
    axes.set_xlabel({"sizes": "bytes", "chown": "microseconds of the mount; seconds and bytes of the others"}
                    .get(part, "guest instructions"))
    if part != "stage1":
        axes.set_xscale("log")
    figure.tight_layout()
    figure.savefig(folder / f"{part}.svg", metadata={"Date": None})
    pyplot.close(figure)


def main(parts: list[str]) -> None:
    programs = host.build_programs()
    bench = Bench(programs.folder / "bench", host.find_kernel("6.1"))
    for part in parts or PARTS:
        figures: dict[str, Any] = {}
        with open(bench.folder / f"{part}.txt", "w") as text:
            for shown, figure in PARTS[part](bench, programs):
                print(shown, flush=True)
                print(shown, file=text)
                if figure:
                    figures[figure[0]] = figure[1]
        (bench.folder / f"{part}.json").write_text(json.dumps(
            figures, indent=1, default=lambda result: result.__dict__) + "\n")
        draw(bench.folder, part, figures)


if __name__ == "__main__":
    if set(sys.argv[1:]) - set(PARTS):
        sys.exit(f"bench.py: the parts are {', '.join(PARTS)}")
    main(sys.argv[1:])
