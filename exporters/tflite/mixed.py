"""Static int8 that keeps the model's answers: operators stay float32 where int8 would cost too much, by measurement.

A network of convolutions takes int8 everywhere. A transformer does not: single channels of what its feed-forward layers
add are many times larger than all others (up to 184, against 2.5 the other way, in MiniLM's first layer; five such
tensors make up 84 % of its loss), and a mask of -10000 leaves attention scores no resolution.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING, Any

from exporters.tflite import flat
from exporters.tflite.calibrate import Ranges, calibrate
from exporters.tflite.int8_choice import Choice, Scales
from exporters.tflite.quantise_static import StaticReport, quantise_static
from exporters.tflite.running import LiteSession
from exporters.tflite.sensitivity import Nearness, losses
from mobile.errors import ExportError

if TYPE_CHECKING:
    from exporters.tflite.ir import Program
    from exporters.tflite.rules import Runtime
    from exporters.tflite.running import Feeds

LEAST_COSINE = 0.99  # below it, int8 everywhere is not taken as it is
_GOAL = 0.995  # of what is mixed then: calibration inputs flatter the model that was fitted to them
_SHARES = (1 / 2, 1 / 4, 1 / 8, 1 / 16)  # of the loss that the goal allows, tried in turn: weights lose some of it, too


def static_int8(
    program: Program, feeds: Iterable[Feeds], runtime: Runtime, *, integer_io: bool = False
) -> tuple[Program, StaticReport]:
    """The program in static int8, and what became of its operators.

    The result runs on the first calibration inputs. When the cosine of its worst output to the float model's is below
    LEAST_COSINE, the tensors that lose most stay float32, until it is _GOAL; the nearest that was found is taken.
    ``integer_io`` as of `quantise_static`. InputError for unusable feeds; ExportError when nothing can be quantised.
    """
    ranges = calibrate(program, feeds)
    small, report = quantise_static(program, ranges, runtime)
    if not report.int8:
        raise ExportError("int8 found nothing that it could quantise", "Export it without --scheme.")
    barred: set[int] = set()
    report.cosine = report.cosine_plain = _cosine(program, small, ranges.examples)
    if report.cosine is not None and report.cosine < LEAST_COSINE:
        small, report, barred = _mixed(program, ranges, runtime, small, report)
    if integer_io:
        whole, again = quantise_static(program, ranges, runtime, integer_io=True, barred=barred)
        again.kept, again.cosine, again.cosine_plain = report.kept, report.cosine, report.cosine_plain
        return whole, again
    return small, report


def _cosine(program: Program, small: Program, feeds: Sequence[Feeds]) -> float | None:
    source, made = (LiteSession(flat.to_bytes(each), "the model") for each in (program, small))
    near = Nearness()
    for feed in feeds:
        near.add(source.run(feed), made.run(feed))
    return near.cosine()


def _mixed(
    program: Program, ranges: Ranges, runtime: Runtime, small: Program, plain: StaticReport
) -> tuple[Program, StaticReport, set[int]]:
    chosen = Choice(program.main, ranges).made()
    groups = Scales(program.main, ranges, chosen).groups(chosen)
    costs = losses(program, groups, chosen, ranges.examples)
    best: tuple[Program, StaticReport, set[int]] = small, plain, set()
    for share in _SHARES:
        left = affordable(costs, 2 * (1 - _GOAL) * share)  # ||e||^2 / ||y||^2 of a cosine near 1 is 2 (1 - cosine)
        barred = {tensor for at, group in enumerate(groups) if at not in left for tensor in group.tensors}
        made, report = quantise_static(program, ranges, runtime, barred=barred)
        if not report.int8:
            break
        report.cosine, report.cosine_plain = _cosine(program, made, ranges.examples), plain.cosine
        report.kept = plain.int8 - report.int8
        if (report.cosine or 0.0) > (best[1].cosine or 0.0):
            best = made, report, barred
        if (report.cosine or 0.0) >= _GOAL:
            break
    return best


def affordable(costs: Sequence[float], allowed: float) -> set[int]:
    """The places of the costs that fit into the allowed sum, the least first."""
    spent, found = 0.0, set()
    for place in sorted(range(len(costs)), key=costs.__getitem__):
        spent += costs[place]
        if spent > allowed:
            break
        found.add(place)
    return found


def accuracy(report: StaticReport) -> dict[str, Any]:
    """What the manifest says of it: cosines to the float model on calibration inputs, what was kept in float32."""
    return {"cosine": report.cosine, "cosine_all_int8": report.cosine_plain, "kept_float32": dict(report.kept)}


def remarks(report: StaticReport) -> list[str]:
    """What a user should know of it, in sentences: what was kept in float32, and a loss that remains."""
    found = []
    if report.kept and report.cosine is not None and report.cosine_plain is not None:
        names = ", ".join(f"{count} {op}" for op, count in report.kept.most_common())
        found.append(
            f"stays float32, since in int8 the cosine to the source would be {report.cosine_plain:.3f} instead of"
            f" {report.cosine:.3f} on calibration inputs: {names}"
        )
    if report.cosine is not None and report.cosine < LEAST_COSINE:
        found.append(
            f"INT8 LOSES MUCH HERE: the cosine to the source is {report.cosine:.3f} on calibration inputs;"
            " --scheme int8-dynamic needs no ranges and is nearer"
        )
    return found
