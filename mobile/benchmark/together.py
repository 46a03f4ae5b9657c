"""Models measured at the same time on one device, each in a process of its own, from a common start to a common end.

The device starts all of them by one order (device_agents/crowd.py); each run remembers what went on beside it, so that
a comparison with a lone run is refused. External meters are not read: their energy would be of all models together.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from functools import partial
from typing import TYPE_CHECKING, Any

from mobile.benchmark.models import Model
from mobile.deadline import Deadline
from mobile.errors import EdgewiseError, RunFailure, UsageError

if TYPE_CHECKING:
    from mobile.benchmark.device_work import Slot
    from mobile.benchmark.options import BenchOptions
    from mobile.benchmark.session import DeviceSession, Plan
    from mobile.results.run import Run

Told = Callable[["Slot", "Run | EdgewiseError"], None]


def check_together(models: Sequence[Model], options: BenchOptions, *, detach: bool, resume: bool) -> None:
    """Nothing, or UsageError when these cannot be measured at the same time."""
    if len(models) < 2:
        raise UsageError("--together needs two models or more", "edgewise bench a.onnx b.onnx --together")
    for name in ("threads", "provider", "batch"):
        if len(getattr(options, name)) > 1:
            raise UsageError(f"--together takes one value of --{name}", "Measure each combination on its own.")
    if detach or resume:
        raise UsageError("--together goes with neither --detach nor --resume", "Leave them out.")
    if options.conditions.pins:
        raise UsageError("--together does not go with --pin", "Set the device by hand: each run would put it back.")
    if options.task != "bench" or options.command_preset is not None:
        raise UsageError("--together is for models whose single inferences are measured")


def groups(slots: Sequence[Slot]) -> list[list[Slot]]:
    """The slots that go on at the same time: the first of every model, the second of every model, and so on."""
    by_model: dict[int, list[Slot]] = {}
    for slot in slots:
        by_model.setdefault(id(slot.model), []).append(slot)
    return [list(group) for group in zip(*by_model.values(), strict=True)]


def beside(slots: Sequence[Slot], place: int) -> tuple[str, ...]:
    """The other models, by name and the start of their hashes."""
    others = [slot.model.ref for number, slot in enumerate(slots) if number != place]
    return tuple(f"{ref.name} {ref.sha256[:8]}".strip() for ref in others)


def plans_of(slots: Sequence[Slot]) -> list[Plan]:
    """A run for each slot that remembers the others."""
    from mobile.benchmark.session import new_plan

    return [
        new_plan(slot.model, replace(slot.options, beside=beside(slots, place)), slot.remarks)
        for place, slot in enumerate(slots)
    ]


def measure_together(
    session: DeviceSession,
    slots: Sequence[Slot],
    plans: Sequence[Plan],
    keep: Callable[[Run], None],
    on_record: Callable[[Slot, dict[str, Any]], None],
    tell: Told,
) -> None:
    """Nothing, once each slot's run, or the failure of it, is told; the device forgets them as they are kept.

    Whatever ends it before (Ctrl-C, a full disk) ends all of them.
    """
    ids = [plan.run_id for plan in plans]
    purpose = "bench " + ", ".join(slot.model.ref.name for slot in slots) + " together"
    try:
        session.start(plans, Deadline.never(), purpose, together=True)
        for slot, plan in zip(slots, plans, strict=True):
            remote = next(iter(session.runs([plan.run_id])), None)
            if remote is None:
                tell(slot, RunFailure("gone", f"run {plan.run_id} is no more on the device", "Start it again."))
                continue
            try:
                tell(slot, session.collect(remote, partial(on_record, slot), keep))
            except RunFailure as error:
                tell(slot, error)
    except BaseException:
        session.abandon(*ids)
        raise
