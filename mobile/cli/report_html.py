"""`edgewise report --html`: the report of stored runs as one file."""

from __future__ import annotations

import os
import time
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import click

from mobile.cli.output import print_json

if TYPE_CHECKING:
    from mobile.results.run import Run
    from mobile.results.store import RunStore


def selected(store: RunStore, words: Sequence[str]) -> tuple[str, ...]:
    """The ids that the words mean, each once: the start of an id, "last" (also for no word), or a selector."""
    from mobile.compare.select import find, parse

    found: dict[str, None] = {}
    for word in words or ("last",):
        is_selector = any(sign in word for sign in "=@,")
        found.update(dict.fromkeys(find(store, parse(word)) if is_selector else [word]))
    return tuple(found)


def write_html(runs: Sequence[Run], path: Path, allowed: Sequence[str], as_json: bool) -> int:
    """The exit code, once the file is there, whole. UsageError when it cannot be written."""
    from mobile.reports.html import document

    text = document(runs, time.strftime("%Y-%m-%d %H:%M:%S UTC", time.gmtime()), allowed)
    size_bytes = _write(path, text.encode("utf-8", "replace"))  # a store may hold half of a surrogate pair
    if as_json:
        print_json({"html": str(path), "size_bytes": size_bytes, "runs": [run.id for run in runs]})
    else:
        count = f"{len(runs)} {'run' if len(runs) == 1 else 'runs'}"
        click.echo(f"{path}: {count}, {size_bytes / 1e6:.1f} MB, opens offline in any browser")
    return 0


def _write(path: Path, data: bytes) -> int:
    """How many bytes were written: all, or UsageError and nothing."""
    from mobile.errors import UsageError

    part = path.with_name(f".{path.name}.{os.getpid()}.part")
    try:
        part.write_bytes(data)
        part.replace(path)
    except OSError as error:
        part.unlink(missing_ok=True)
        raise UsageError(
            f"{path}: {error.strerror or error}", "Name a file in a folder that may be written."
        ) from error
    return len(data)
