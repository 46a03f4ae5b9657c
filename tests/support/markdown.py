"""The commands and examples of a page of the documentation."""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path

FENCE = re.compile(r"^```(\w*)[^\n]*\n(.*?)^```", re.MULTILINE | re.DOTALL)


@dataclass(frozen=True)
class Command:
    """One `$ ...` line of a console block; ``exit_code`` is 0 unless the page says `# exit N`."""

    line: str
    exit_code: int


def blocks(page: Path, language: str) -> list[str]:
    """The bodies of the page's fenced blocks of a language."""
    return [body for found, body in FENCE.findall(page.read_text(encoding="utf-8")) if found == language]


def commands(page: Path) -> list[Command]:
    """The commands of the page's console blocks, in order; a line that ends in a backslash goes on."""
    found = []
    for body in blocks(page, "console"):
        for line in body.replace("\\\n", " ").splitlines():
            if line.startswith("$ "):
                text, _, note = line[2:].partition("  # exit ")
                found.append(Command(text.strip(), int(note or 0)))
    return found
