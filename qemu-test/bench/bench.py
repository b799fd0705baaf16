#!/usr/bin/python3
# SPDX-License-Identifier: MIT
"""make bench: idmap-init against a floor, against peers, and against chown.

Each part writes Markdown, JSON and an SVG to the folder bench in the build folder, and summaries of
all that is there follow. Without arguments every part runs; --write puts the Markdown of those that
ran, and the summaries, into BENCHMARKS.md, and the plots beside this file.
"""

from __future__ import annotations

import gzip
import json
import re
import shutil
import statistics
import subprocess
import sys
from pathlib import Path
from typing import Any, Callable

import chown
import guests
import stage1
import wall
from stage1 import Bench, Case, Result, Row, host, images
from table import Shown, head, row

PEERS = {"tiny-initramfs": stage1.tiny_initramfs, "klibc kinit": stage1.kinit,
         "busybox sh + util-linux": stage1.shell}
TELLING = "floor that reads and tells"
WITH_TABLE = "idmap-init with a table, no drivers"


def measure_stage1(bench: Bench, programs: host.Programs) -> Shown:
    yield head("", "instructions, median of 3", "spread", "x floor", "peak memory of PID 1", "maps"), None
    for name, case in stage1.cases().items():
        every = {"floor in C": bench.floor(case), TELLING: bench.floor(case, tells=True),
                 "idmap-init": bench.ours(programs.init, case)}
        if name == "root":
            every |= {peer: make() for peer, make in PEERS.items()}
        for who, tree in every.items():
            result = bench.measure(tree, case)
            if who == "floor in C":
                floor = result
            yield (row(f"{name}: {who}", f"{result.instructions:,}", f"{result.spread:,}",
                       f"{result.instructions / floor.instructions:.2f}", f"{result.memory_kib:,} KiB",
                       "no" if result.root_uid else "yes"), (f"{name}/{who}", vars(result)))


def many_maps(count: int) -> Case:
    maps = [((stage1.BASE, 0, 65536),)] + [((stage1.BASE, 1000 + i, 65536),) for i in range(count - 1)]
    return Case(maps=maps, rows=[Row(f"/t/{i}", "/images/app", i + 1) for i in range(count - 1)])


def many_extents(count: int) -> Case:
    # The first one is root's; short numbers, as the text must be less than a page.
    return Case(maps=[((stage1.BASE, 0, 1),), tuple((2 * i, 2 * i, 1) for i in range(count))],
                rows=[Row("/t/0", "/images/app", 1)])


def many_files(count: int) -> images.Tree:
    return {f"/content/{i // 100}/{i}": images.File() for i in range(count)}


# What grows: (the case, what else is in the initramfs) of a number, and the numbers.
GROWTH: dict[str, tuple[Callable[[int], tuple[Case, images.Tree]], list[int]]] = {
    "binds": (lambda n: (Case(rows=[Row(f"/t/{i}", "/images/app", 0) for i in range(n)]), {}),
              [1, 10, 100, 300, 1000]),
    "maps, with a bind each": (lambda n: (many_maps(n), {}), [2, 20, 200]),
    "extents": (lambda n: (many_extents(n), {}), [1, 100, 340]),
    "layers": (lambda n: (Case(layers=[f"/t/{i}" for i in range(n)]), {}), [1, 20, 200]),
    "MiB in the initramfs": (
        lambda n: (Case(), {"/content": images.File(bytes(n * stage1.MIB))} if n else {}), [0, 16, 64]),
    "files in the initramfs": (lambda n: (Case(), many_files(n)), [0, 1000, 10000]),
}


def measure_growth(bench: Bench, programs: host.Programs) -> Shown:
    yield head("", "number", "floor", "idmap-init", "x floor"), None
    slopes = []
    for name, (make, numbers) in GROWTH.items():
        points = []
        for number in numbers:
            case, content = make(number)
            pair = [bench.measure(tree | content, case, boots=1).instructions
                    for tree in (bench.floor(case), bench.ours(programs.init, case))]
            points.append(pair)
            yield row(name, f"{number:,}", f"{pair[0]:,}", f"{pair[1]:,}", f"{pair[1] / pair[0]:.2f}"), None
        each = [(points[-1][i] - points[0][i]) / (numbers[-1] - numbers[0]) for i in (0, 1)]
        slopes.append(row(name, f"{each[0]:,.0f}", f"{each[1]:,.0f}", f"{each[1] / each[0]:.2f}"))
        yield "", (name, {"numbers": numbers, "floor": [pair[0] for pair in points],
                          "idmap-init": [pair[1] for pair in points], "each": each})
    yield head("each, from the least to the most", "floor", "idmap-init", "x floor"), None
    for line in slopes:
        yield line, None


def switches() -> list[str]:
    """Kconfig's bool switches that are on by default and stand alone."""
    text = "".join((host.REPOSITORY / folder / "Kconfig").read_text() for folder in ("idmap", "init"))
    return re.findall(r"^config (\w+)\n\tbool .*\n\tdefault y$", text, re.M)


def size_of(folder: Path, defconfig: str, without: str = "") -> tuple[int, int]:
    """Bytes of a program, and as gzip -9 makes them."""
    host.make(folder, f"{defconfig}_defconfig")
    if without:
        config = folder / ".config"
        config.write_text(re.sub(rf"^CONFIG_{without}=y$", f"# CONFIG_{without} is not set",
                                 config.read_text(), flags=re.M))
    host.make(folder, "all")
    return host.sizes(folder / "idmap-init")


def measure_sizes(bench: Bench, programs: host.Programs) -> Shown:
    folder = bench.folder / "size"
    yield head("program, stripped", "bytes", "gzip -9", "bytes against default"), None
    for name in ("tiny", "default", "full"):
        size, packed = size_of(folder, name)
        yield row(name, f"{size:,}", f"{packed:,}", ""), (f"program/{name}", size)
        yield "", (f"gzip/{name}", packed)
        if name == "default":
            default = size
    for switch in switches():
        size, packed = size_of(folder, "default", switch)
        yield (row(f"default without {switch}", f"{size:,}", f"{packed:,}", f"{size - default:+,}"),
               (f"program/-{switch}", size))
    yield head("files of stage 1 alone", "bytes"), None
    yield row("idmap-init", f"{default:,}"), ("files/idmap-init", default)
    for name, make in PEERS.items():
        size = sum(len(entry.data()) for entry in make().values() if isinstance(entry, images.File))
        yield row(name, f"{size:,}"), (f"files/{name}", size)
    yield head("whole initramfs, with drivers", "bytes, gzip -9"), None
    conf = bench.folder / "idmap.conf"
    conf.write_text(Case().table())
    size_of(folder, "default")
    archive = subprocess.run([host.REPOSITORY / "init" / "mkinitramfs", "-o", "-", "-c", conf,
                              "-i", folder / "idmap-init"], check=True, stdout=subprocess.PIPE).stdout
    size = len(gzip.compress(archive, 9, mtime=0))
    yield row(WITH_TABLE, f"{size:,}"), (f"initramfs/{WITH_TABLE}", size)
    for contestant in wall.contestants(bench, programs):
        size = contestant.archive.stat().st_size
        yield row(contestant.name, f"{size:,}"), (f"initramfs/{contestant.name}", size)


def measure_calls(bench: Bench, programs: host.Programs) -> Shown:
    header = Path("/usr/include/x86_64-linux-gnu/asm/unistd_64.h").read_text()
    names = {int(number): name for name, number in re.findall(r"__NR_(\w+) (\d+)", header)}
    names |= {stage1.OWN_CODE: "(the program's own code)", stage1.OWN_EXEC: "(the exec of idmap-init)",
              stage1.LAST_EXEC: "(the exec of the real init)"}
    for name, case in stage1.cases().items():
        yield head(f"{name}: call of idmap-init", "times", "instructions"), None
        for number, count, took in bench.calls(bench.ours(programs.init, case), case):
            yield row(names[number], count, f"{took:,}"), (f"{name}/{names[number]}", took)


PARTS = {"stage1": measure_stage1, "wall": wall.measure, "chown": chown.measure, "guests": guests.measure, "calls": measure_calls,
         "growth": measure_growth, "sizes": measure_sizes}


def summary(found: dict[str, Any]) -> Shown:
    """The goals, as far as their parts have been measured, and figures that have none."""
    yield head("", "idmap-init", "goal", ""), None

    def goal(name: str, value: float, limit: float, form: str, least: bool = False) -> str:
        reached = value >= limit if least else value <= limit
        return row(name, form.format(value), ("at least " if least else "at most ") + form.format(limit),
                   "reached" if reached else "not reached")

    if stage := found.get("stage1"):
        count = {name: figures["instructions"] for name, figures in stage.items()}
        for name in stage1.cases():
            for floor, what in (("floor in C", "a C floor's"), (TELLING, "a floor that reads and tells")):
                yield row(f"{name}: instructions beside {what}",
                          f"{count[f'{name}/idmap-init'] / count[f'{name}/{floor}']:.2f} times", "", ""), None
        base = count["root/floor in C"]
        yield goal("busybox sh + util-linux: instructions above the floor, beside ours",
                   (count["root/busybox sh + util-linux"] - base) / (count["root/idmap-init"] - base),
                   10, "{:.1f} times", least=True), None
        yield goal("peak memory of PID 1, with 100 rows too",
                   max(figures["memory_kib"] for name, figures in stage.items() if "idmap-init" in name),
                   128, "{:,} KiB"), None
    if sizes := found.get("sizes"):
        for name in ("default", "tiny"):
            for form, what in (("program", ""), ("gzip", ", gzip -9")):
                yield row(f"program, {name}{what}", f"{sizes[f'{form}/{name}']:,} bytes", "", ""), None
        yield row("initramfs with a table, no drivers, gzip -9", f"{sizes[f'initramfs/{WITH_TABLE}']:,} bytes",
                  "", ""), None


def short(found: dict[str, Any]) -> Shown:
    """What a newcomer wants to see."""
    if not {"stage1", "wall", "chown"} <= found.keys():
        return
    yield head("one root", "stage 1, instructions", "the kernel's first instruction to the real init's",
               "initramfs, gzip -9", "peak memory of PID 1", "maps"), None
    for name, figures in found["wall"].items():
        stage = found["stage1"].get(f"root/{name}")
        yield row(name, f"{stage['instructions'] / 1e6:.2f} million" if stage else "",
                  f"{figures['instructions'] / 1e6:,.0f} million", f"{figures['bytes'] / 1024:,.0f} KiB", f"{figures['kib']:,} KiB",
                  "yes" if figures["maps"] else "no"), None
    yield head("one tree for another owner", "seconds, idmapped mount",
               *(f"seconds, {what}" for what in chown.NAMES.values())), None
    for name, figures in found["chown"].items():
        yield row(f"{figures['entries']:,} files and folders",
                  *(f"{statistics.median(figures[what]['seconds']):.3g}" if what in figures else "not run"
                    for what in ("idmapped mount", *chown.NAMES.values()))), None


def paste(document: str, texts: dict[str, str]) -> None:
    """Puts Markdown between the marks of a document."""
    path = host.REPOSITORY / document
    document = path.read_text()
    for name, text in texts.items():
        document, count = re.subn(rf"(<!-- {name}: made by `make bench WRITE=1` -->\n).*?(<!-- end -->\n)",
                                  lambda match: match[1] + text + match[2], document, flags=re.S)
        if count != 1:
            sys.exit(f"bench.py: {path.name} has no place for {name}; write its two marks again")
    path.write_text(document)


def run(folder: Path, name: str, lines: Shown) -> dict[str, Any]:
    """Shows a part as it goes, and keeps it."""
    figures: dict[str, Any] = {}
    shown = []
    for line, figure in lines:
        if line:
            print(line, flush=True)
            shown.append(line)
        if figure:
            figures[figure[0]] = figure[1]
    (folder / f"{name}.md").write_text("\n".join(shown).strip() + "\n")
    if figures:
        (folder / f"{name}.json").write_text(json.dumps(figures, indent=1) + "\n")
    return figures


def main(parts: list[str], write: bool) -> None:
    import draw  # asks for matplotlib, which only the benchmarks need
    programs = host.build_programs()
    bench = Bench(programs.folder / "bench", host.find_kernel("6.1"))
    for name in parts:
        print(f"\n## {name}", flush=True)
        draw.draw(bench.folder, name, run(bench.folder, name, PARTS[name](bench, programs)))
    found = {path.stem: json.loads(path.read_text()) for path in bench.folder.glob("*.json")}
    print("\n## summary")
    run(bench.folder, "summary", summary(found))
    run(bench.folder, "short", short(found))
    if write:
        texts = {path.stem: path.read_text() for path in bench.folder.glob("*.md")}
        # What was measured in another run, maybe of another build, stays as it is.
        names = [name for name in parts if name != "calls"]  # which are too long to read there
        names += ["summary"] if {"stage1", "sizes"} & set(parts) else []
        names += ["short"] if {"stage1", "wall", "chown"} & set(parts) and texts["short"].strip() else []
        paste("BENCHMARKS.md", {name: texts[name] for name in names})
        for name in parts:
            shutil.copy(bench.folder / f"{name}.svg", host.HERE / "bench" / "plots")


if __name__ == "__main__":
    chosen = [word for word in sys.argv[1:] if word != "--write"]
    if set(chosen) - set(PARTS):
        sys.exit(f"bench.py: the parts are {', '.join(PARTS)}")
    main(chosen or list(PARTS), "--write" in sys.argv[1:])
