"""The unit of a comparison is a gated process launch: one figure of each, in groups that are compared."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from mobile.compare.metrics import Metric, NoFigureError, draws_of, durations_s, value_of
from mobile.errors import EdgewiseError

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    from mobile.compare.interval import Side
    from mobile.results.run import Run
    from mobile.results.steady import Steady
    from mobile.results.store import RunStore

    Floats = NDArray[np.float64]

SEED = 19_460_101
MARK = "comparison"  # in a run's environment: {"id", "variant", "block"} of an interleaved measurement


@dataclass(frozen=True)
class Unit:
    """One run. ``value``: its figure, SI. ``within`` [k]: draws of inner.py. ``row``: its figures.

    ``steady``: what its own data say of a steady state, None where the metric is not one of latency.
    """

    run: str
    created_utc: str
    value: float
    within: Floats
    row: Mapping[str, Any]
    steady: Steady | None = None

    @property
    def mark(self) -> Mapping[str, Any]:
        """The place in an interleaved measurement, {} where it was none."""
        found = (self.row.get("environment") or {}).get(MARK)
        return found if isinstance(found, Mapping) else {}


@dataclass(frozen=True)
class Excluded:
    """A run that does not enter, and why."""

    run: str
    reason: str


@dataclass(frozen=True)
class Group:
    """The runs of one thing that is compared. What is in ``excluded`` is shown apart and counts for nothing."""

    name: str
    units: tuple[Unit, ...]
    excluded: tuple[Excluded, ...] = field(default=())

    @property
    def values(self) -> list[float]:
        """The figures of the runs, SI."""
        return [unit.value for unit in self.units]


@dataclass(frozen=True)
class Manner:
    """How runs become units: invalid ones too, or not; only the part of each from which on it was steady, or all."""

    include_invalid: bool = False
    steady: bool = False


def group_of(name: str, runs: Iterable[Run], what: Metric, manner: Manner | None = None) -> Group:
    """The group of these runs; what does not enter is in ``excluded`` with its reason."""
    manner = manner or Manner()
    units: list[Unit] = []
    excluded: list[Excluded] = []
    for run in runs:
        taken = unit_of(run, what, manner)
        if isinstance(taken, Unit):
            units.append(taken)
        else:
            excluded.append(taken)
    return Group(name, tuple(units), tuple(excluded))


def stored_group(name: str, store: RunStore, ids: Sequence[str], what: Metric, manner: Manner | None = None) -> Group:
    """The group of stored runs. One that cannot be read is among the excluded."""
    damaged: list[Excluded] = []

    def read() -> Iterable[Run]:
        for run_id in ids:
            try:
                yield store.get(run_id)
            except EdgewiseError as error:
                damaged.append(Excluded(run_id, error.message))

    found = group_of(name, read(), what, manner)
    return Group(name, found.units, (*found.excluded, *damaged))


def unit_of(run: Run, what: Metric, manner: Manner) -> Unit | Excluded:
    """The run as a unit, or why it is none."""
    import numpy as np

    from mobile.results.figures import figures
    from mobile.results.steady import steady

    row = figures(run)
    if row["verdict"] != "valid" and not manner.include_invalid:
        return Excluded(run.id, f"invalid: {'; '.join(row['reasons'])}")
    if row["task"] == "evaluate":
        return Excluded(run.id, "it was an evaluation, no measurement of time")
    values_s = durations_s(run)
    found = steady(run) if what.path[0] == "latency_s" else None
    try:
        if manner.steady:
            values_s, row = _steady_part(run, row, found or steady(run))
        value = value_of(row, what)
    except NoFigureError as error:
        return Excluded(run.id, str(error))
    rng = np.random.default_rng((SEED, len(values_s)))
    return Unit(run.id, run.created_utc, value, draws_of(values_s, what, rng), row, found)


def _steady_part(run: Run, row: dict[str, Any], found: Steady) -> tuple[Floats, dict[str, Any]]:
    """The durations from which on the run was steady, and its figures with their latencies."""
    from mobile.results.stats import describe_ns

    if found.first is None:
        raise NoFigureError(f"no steady state: {found.why}")
    latency = describe_ns(run.phase("measure").duration_ns[found.first :])
    return durations_s(run)[found.first :], {**row, "latency_s": latency}


def side_of(group: Group, blocks: Sequence[int] | None) -> Side:
    """The group as the interval wants it."""
    import numpy as np

    from mobile.compare.interval import Side

    most = max(len(unit.within) for unit in group.units)
    within = np.stack(
        [unit.within if len(unit.within) == most else np.resize(unit.within, most) for unit in group.units]
    )
    places = np.zeros(len(group.units), dtype=np.int64) if blocks is None else np.asarray(blocks, dtype=np.int64)
    return Side(np.log(np.asarray(group.values)), within, places)


def blocks_of(a: Group, b: Group) -> tuple[list[int], list[int]] | None:
    """The blocks of the runs, where all of both groups are of one interleaved measurement; else None."""
    marks = [unit.mark for unit in (*a.units, *b.units)]
    if not marks or not all(mark.get("id") and isinstance(mark.get("block"), int) for mark in marks):
        return None
    if len({str(mark["id"]) for mark in marks}) > 1:
        return None
    return [int(unit.mark["block"]) for unit in a.units], [int(unit.mark["block"]) for unit in b.units]
