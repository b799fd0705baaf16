# SPDX-License-Identifier: MIT
"""The figures of a part as an SVG: the same figures give the same bytes."""

from __future__ import annotations

import statistics
from pathlib import Path
from typing import Any, Callable, Sequence

import matplotlib

matplotlib.use("svg")
from matplotlib import pyplot
from matplotlib.axes import Axes

OURS, OTHERS, FLOOR = "tab:blue", "tab:gray", "tab:green"


def colour(name: str) -> str:
    if "floor" in name:
        return FLOOR
    return OURS if name.startswith("idmap") else OTHERS


def bars(axes: Axes, names: Sequence[str], values: Sequence[float], label: str, *, form: str = "{:,.0f}",
         spreads: Sequence[Sequence[float]] | None = None, colours: Sequence[str] | None = None,
         log: bool = False) -> None:
    """Bars from the top down, each with its value; spreads are (below, above)."""
    at = range(len(names))
    axes.barh(at, values, color=colours or [colour(name) for name in names],
              xerr=list(zip(*spreads)) if spreads else None, error_kw={"capsize": 3})
    most = max(values)
    for i, value in enumerate(values):
        end = value + (spreads[i][1] if spreads else 0)
        axes.text(end * 1.15 if log else end + most * 0.01, i, form.format(value), va="center", fontsize=8)
    axes.set_yticks(at, names)
    axes.invert_yaxis()
    axes.set_xlabel(label)
    if log:
        axes.set_xscale("log")
    axes.set_xlim(min(values) / 4 if log else 0, axes.get_xlim()[1] * (4 if log else 1.15))


def stage1(figures: dict[str, Any]) -> None:
    cases = list(dict.fromkeys(name.partition("/")[0] for name in figures))
    counts = [sum(name.startswith(case + "/") for name in figures) for case in cases]
    _, every = pyplot.subplots(len(cases), figsize=(8, 5), height_ratios=counts)
    for case, axes in zip(cases, every):
        chosen = {name.partition("/")[2]: value for name, value in figures.items()
                  if name.startswith(case + "/")}
        axes.set_title(case, loc="left", fontsize=10)
        half = [[value["spread"] / 2] * 2 for value in chosen.values()]
        bars(axes, list(chosen), [value["instructions"] for value in chosen.values()],
             "guest instructions" if case == cases[-1] else "", spreads=half)


def wall(figures: dict[str, Any]) -> None:
    _, (left, right) = pyplot.subplots(1, 2, figsize=(11, 4), sharey=True)
    names = [f"{name}{'' if value['maps'] else ' (no map)'}" for name, value in figures.items()]
    medians = [statistics.median(value["seconds"]) for value in figures.values()]
    bars(left, names, medians, "seconds from QEMU's start to the real init", form="{:.1f}",
         spreads=[(median - min(value["seconds"]), max(value["seconds"]) - median)
                  for median, value in zip(medians, figures.values())])
    bars(right, names, [value["bytes"] / 1024 for value in figures.values()],
         "KiB of the initramfs, gzip -9 (logarithmic)", log=True)
    left.invert_yaxis()  # shared, so turned over twice


def chown(figures: dict[str, Any]) -> None:
    _, every = pyplot.subplots(1, 3, figsize=(13, 4.5))
    trees = sorted(figures.values(), key=lambda tree: tree["entries"])
    whats = list(dict.fromkeys(what for tree in trees for what, value in tree.items()
                               if isinstance(value, dict)))
    for axes, key, label, scale in zip(every, ("seconds", "bytes", "kib"),
                                       ("seconds", "MiB written", "MiB of memory that stay taken"),
                                       (1, 2**-20, 2**-10)):
        for what in whats:
            points = [(tree["entries"], statistics.median(value) * scale if key == "seconds" else value * scale)
                      for tree in trees if what in tree for value in [tree[what][key]]]
            axes.plot(*zip(*points), marker="o", label=what)
        axes.set_xscale("log")
        if key == "seconds":
            axes.set_yscale("log")
        else:
            axes.set_yscale("symlog", linthresh=1)
            axes.set_ylim(0, 2 * max(max(line.get_ydata()) for line in axes.lines))
        axes.set_xlabel("files and folders in the tree")
        axes.set_ylabel(label)
        axes.grid(alpha=0.3)
    every[0].legend(fontsize=8)


def guests(figures: dict[str, Any]) -> None:
    _, every = pyplot.subplots(1, 2, figsize=(11, 3.5), sharey=True)
    names = [name.replace("/", " guests, ") for name in figures]
    for axes, key, label in zip(every, ("disk", "cache"), ("MiB on the host's disk", "MiB in the host's page cache")):
        bars(axes, names, [value[key] / 2**20 for value in figures.values()], label,
             colours=[OURS if "one image" in name else OTHERS for name in figures])
    every[0].invert_yaxis()  # shared, so turned over twice


def growth(figures: dict[str, Any]) -> None:
    _, every = pyplot.subplots(2, 3, figsize=(12, 7))
    for axes, (name, value) in zip(every.flat, figures.items()):
        for who in ("idmap-init", "floor"):
            axes.plot(value["numbers"], [count / 1e6 for count in value[who]], marker="o", label=who,
                      color=colour(who))
        axes.set_xlabel(name)
        axes.set_ylabel("million guest instructions")
        axes.set_xlim(left=0)
        axes.set_ylim(bottom=0)
        axes.grid(alpha=0.3)
        axes.legend(fontsize=8)


def sizes(figures: dict[str, Any]) -> None:
    groups = {"program": "bytes of the stripped program",
              "files": "bytes of stage 1's files, without drivers (logarithmic)",
              "initramfs": "bytes of the whole initramfs, gzip -9 (logarithmic)"}
    chosen = {group: {name.partition("/")[2]: value for name, value in figures.items()
                      if name.startswith(group + "/")} for group in groups}
    _, every = pyplot.subplots(3, figsize=(9, 9), height_ratios=[len(part) for part in chosen.values()])
    for axes, (group, label) in zip(every, groups.items()):
        names = [name.replace("-", "default without ", 1) if name.startswith("-") else name
                 for name in chosen[group]]
        ours = [OURS] * len(names) if group == "program" else None
        bars(axes, names, list(chosen[group].values()), label, log=group != "program", colours=ours)


def calls(figures: dict[str, Any]) -> None:
    cases = list(dict.fromkeys(name.partition("/")[0] for name in figures))
    _, every = pyplot.subplots(1, len(cases), figsize=(14, 5))
    for case, axes in zip(cases, every):
        chosen = {name.partition("/")[2]: value / 1000 for name, value in figures.items()
                  if name.startswith(case + "/")}
        most = dict(sorted(chosen.items(), key=lambda item: -item[1])[:15])
        bars(axes, list(most), list(most.values()), f"{case}: thousand guest instructions", form="{:,.0f}",
             colours=[OURS] * len(most))


def draw(folder: Path, part: str, figures: dict[str, Any]) -> None:
    matplotlib.rcParams["svg.hashsalt"] = part
    make: Callable[[dict[str, Any]], None] = globals()[part]
    make(figures)
    pyplot.gcf().tight_layout()
    pyplot.savefig(folder / f"{part}.svg", metadata={"Date": None})
    pyplot.close()
