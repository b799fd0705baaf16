# SPDX-License-Identifier: MIT
"""What a part of the benchmarks shows: lines of Markdown, each with the figure it shows, if any.

The same lines go to the terminal, to a file of the part, and into BENCHMARKS.md.
"""

from __future__ import annotations

from typing import Any, Iterator

Shown = Iterator[tuple[str, Any]]  # (line, None or (name, figure) for the JSON)


def row(*cells: Any) -> str:
    return f"| {' | '.join(map(str, cells))} |"


def head(*cells: str) -> str:
    return f"\n{row(*cells)}\n|{'---|' * len(cells)}"


def spread(values: list[float], form: str = ",.0f") -> str:
    """The least and the most."""
    return f"{format(min(values), form)} to {format(max(values), form)}"
