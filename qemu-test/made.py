# SPDX-License-Identifier: MIT
"""A part of a document that a script makes, between two lines that mark it."""

from __future__ import annotations

import dataclasses
import sys
from pathlib import Path


@dataclasses.dataclass(frozen=True)
class Made:
    path: Path
    begin: str  # whole lines
    end: str

    def read(self) -> str:
        return self.path.read_text().partition(self.begin)[2].partition(self.end)[0]

    def write(self, text: str) -> None:
        before, begin, rest = self.path.read_text().partition(self.begin)
        _, end, after = rest.partition(self.end)
        if not begin or not end:
            sys.exit(f"{self.path} has lost the marks of what is made; put {self.begin.strip()} and"
                     f" {self.end.strip()} where it is to stand")
        self.path.write_text(before + begin + text + end + after)
