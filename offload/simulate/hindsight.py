"""What could have been reached by somebody who knows the whole trace, for the frames that a run had.

The clairvoyant: for each frame of the run, at the moment at which it began, the least latency of all placements under
the true link, server and device from then on; a switch costs nothing. No policy can be faster on these frames, since
frames do not share the link (one begins after the other has ended), so the regret against it is an upper bound of the
regret against any policy that could exist.

A fixed placement: the same frames all in one placement, with the same deadline and the same local rest.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from device_agents.split.decide import patience_s, rest_s
from device_agents.split.table import Placement, Table
from offload.simulate.run import Run
from offload.simulate.world import NEVER_S, World, outcome


@dataclass(frozen=True)
class Hindsight:
    """Seconds for each frame: the clairvoyant's, whose placement each time, and each fixed placement's."""

    best_s: tuple[float, ...]
    best: tuple[str, ...]
    fixed_s: dict[str, tuple[float, ...]]


def hindsight(table: Table, world: World, run: Run, deadline_s: float | None, *, rescue: bool = True) -> Hindsight:
    """The clairvoyant and each fixed placement on the frames of a run."""
    begins = [frame.begin_s for frame in run.frames]
    fixed = {name: _fixed(table, world, row, begins, deadline_s, rescue) for name, row in table.placements.items()}
    best = [_clairvoyant(table, world, begin_s, rescue) for begin_s in begins]
    return Hindsight(tuple(latency_s for latency_s, _ in best), tuple(name for _, name in best), fixed)


def _clairvoyant(table: Table, world: World, begin_s: float, rescue: bool) -> tuple[float, str]:
    """It waits as long as it must: whatever that gives, the device alone is among what it may take."""
    rows = table.placements.items()
    return min((outcome(world, table, row, begin_s, NEVER_S, rescue=rescue).latency_s, name) for name, row in rows)


def _fixed(
    table: Table, world: World, row: Placement, begins: Sequence[float], deadline_s: float | None, rescue: bool
) -> tuple[float, ...]:
    """The better on average of two ways to wait: so that the rest can still be done in time, or until the deadline."""

    def waiting(rescued: bool) -> tuple[float, ...]:
        found = []
        for begin_s in begins:
            wait_s = NEVER_S
            if deadline_s is not None:
                here_s = rest_s(table, row, world.device_scale.at(begin_s)) if rescued else 0.0
                wait_s = patience_s(deadline_s, here_s)
            found.append(outcome(world, table, row, begin_s, wait_s, rescue=rescue).latency_s)
        return tuple(found)

    return min(waiting(rescue), waiting(False), key=mean)


def mean(values: Sequence[float]) -> float:
    """The arithmetic mean."""
    return sum(values) / len(values)
