"""`edgewise verify`: does an artifact answer on a device as its dequantised reference does?"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import click

from mobile.cli.output import json_option, open_inventory, plain_table, print_json, stderr_console

if TYPE_CHECKING:
    from mobile.benchmark.verifying import Verified


@click.command("verify", short_help="Compare artifacts with their exact reference, on devices.")
@click.argument("files", nargs=-1, required=True, type=click.Path())
@click.option("--on", multiple=True, metavar="NAMES", help="Device, group or tag; repeated or a list; else local.")
@json_option
@click.pass_context
def command(ctx: click.Context, files: tuple[str, ...], on: tuple[str, ...], as_json: bool) -> int:
    """Compare artifacts with their exact reference, on devices.

    Each FILE was exported with --keep-reference. It is pushed, hashed on the device, and answers the kept inputs there
    with the device's own runtime; every output must lie within the tolerance that the manifest states. The memory that
    it took is told beside. Exit code 1 when one differs or could not be run.
    """
    from mobile.benchmark.verifying import EQUAL, promise, verify

    names = [name for item in on for name in item.split(",") if name] or ["local"]
    devices = open_inventory(ctx).select(names)
    promises = [promise(Path(file)) for file in files]
    with stderr_console().status("verifying") as status:
        rows = verify(promises, devices, lambda step: status.update(f"verifying {step}"))
    if as_json:
        print_json({"verified": [row.to_json() for row in rows]})
    else:
        _show(rows)
    return 0 if all(row.state == EQUAL for row in rows) else 1


def _show(rows: list[Verified]) -> None:
    columns = [
        "device",
        "model",
        "answers",
        "of the tolerance",
        "weights",
        "peak RSS",
        "of it model",
        "load",
        "runtime",
    ]
    notes = [f"{row.device}: {row.model}: {row.reason}" for row in rows if row.reason]
    notes += [f"{row.device}: next: {row.hint}" for row in rows if row.hint]
    for provenance in sorted({row.provenance for row in rows} - {"real"}):
        which = ", ".join(dict.fromkeys(row.device for row in rows if row.provenance == provenance))
        notes.append(f"{which}: {provenance}; memory and times there are not those of a real board")
    plain_table(columns, [_cells(row) for row in rows], notes)


def _cells(row: Verified) -> list[str]:
    worst = row.worst
    peak, before = row.peak_rss_bytes, row.before_load_bytes
    return [
        row.device,
        row.model,
        row.state,
        "" if worst is None else f"{worst:.2g}",
        _bytes(row.packed.get("initialiser_bytes")) + _bits(row),
        _bytes(peak),
        _bytes(peak - before if peak is not None and before is not None else None),
        "" if row.load_s is None else f"{row.load_s:.3g} s",
        row.runtime or "",
    ]


def _bits(row: Verified) -> str:
    """The narrow widths among the weights, such as " (2, 32 bit)"."""
    widths = row.packed.get("bytes_by_bits") or {}
    return f" ({', '.join(sorted(widths, key=float))} bit)" if widths else ""


def _bytes(count: int | None) -> str:
    if count is None:
        return ""
    return f"{count / 1e6:.1f} MB" if count >= 1e6 else f"{count / 1e3:.1f} kB"
