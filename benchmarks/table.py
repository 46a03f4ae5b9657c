"""The one form in which a benchmark prints: ours, the peer or limit, the ratio, and what was asked for."""

from __future__ import annotations

import platform
from dataclasses import dataclass


@dataclass(frozen=True)
class Line:
    """One comparison. ``ratio`` is ours over the peer's or the limit; ``goal`` is in words."""

    what: str
    ours: str
    against: str
    ratio: float
    goal: str


def show(title: str, lines: list[Line]) -> None:
    """Prints the comparisons as a markdown table, with the machine they were made on."""
    print(f"## {title}")
    print(f"{platform.machine()}, {platform.system()} {platform.release()}, Python {platform.python_version()}\n")
    print("| what | ours | peer or limit | ratio | goal |")
    print("|---|--:|--:|--:|---|")
    for line in lines:
        print(f"| {line.what} | {line.ours} | {line.against} | {line.ratio:.3g} | {line.goal} |")
    print()
