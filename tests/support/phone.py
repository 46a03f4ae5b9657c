"""A phone as a tree: files of /sys, and the programs getprop and dumpsys that print recorded texts."""

from __future__ import annotations

import stat
from pathlib import Path

from tests.support.sysfs import make_tree

TELEMETRY = Path(__file__).parent.parent / "data" / "telemetry"

_GETPROP = """#!/bin/sh
while IFS="=" read -r key value; do [ "$key" = "$1" ] && echo "$value"; done <"$(dirname "$0")/../build.prop"
exit 0
"""
_DUMPSYS = """#!/bin/sh
file="$(dirname "$0")/../reports/$(echo "$*" | tr '/ ' '__')"
[ -f "$file" ] && exec cat "$file"
echo "Can't find service: $1" >&2
exit 1
"""


def recorded(path: str) -> str:
    """The text of a recorded file, by its path below tests/data/telemetry."""
    return (TELEMETRY / path).read_text(encoding="utf-8")


def make_phone(
    root: Path,
    reports: dict[str, str] | None = None,
    files: dict[str, str | bytes] | None = None,
    **properties: str,
) -> str:
    """The root of a phone. ``reports``: {the arguments of dumpsys: what it prints}; ``properties``: getprop's, with
    "_" for the dots.
    """
    programs = root / "system/bin"
    programs.mkdir(parents=True)
    (root / "system/reports").mkdir()
    for name, text in (("getprop", _GETPROP), ("dumpsys", _DUMPSYS)):
        (programs / name).write_text(text)
        (programs / name).chmod((programs / name).stat().st_mode | stat.S_IXUSR | stat.S_IXGRP | stat.S_IXOTH)
    lines = [f"{key.replace('_', '.')}={value}\n" for key, value in properties.items()]
    (root / "system/build.prop").write_text("".join(lines))
    for arguments, text in (reports or {}).items():
        set_report(str(root), arguments, text)
    return make_tree(root, files or {})


def set_report(root: str, arguments: str, text: str) -> None:
    """Replaces what dumpsys prints for its arguments."""
    name = arguments.replace("/", "_").replace(" ", "_")
    (Path(root) / "system/reports" / name).write_text(text, encoding="utf-8")
