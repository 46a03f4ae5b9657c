"""Faster, slower, equivalent or undecided: what the runs of two groups bear.

The exact test (exact.py) decides, the ratio with its interval (interval.py) describes. "Equivalent": it is refused that
B is slower, and that B is faster, by the margin or more (two one-sided tests: D. J. Schuirmann, Journal of
Pharmacokinetics and Biopharmaceutics 15, 1987), each at half of alpha, and the interval lies inside of the margin.
A difference that is real but surely smaller than the margin is equivalent too.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from statistics import NormalDist
from typing import TYPE_CHECKING, Any

from mobile.compare.exact import tails
from mobile.compare.interval import CONFIDENCE, blocks_between, ratio, spread
from mobile.compare.metrics import Metric
from mobile.compare.sensor import with_sensor
from mobile.compare.units import Group, blocks_of, side_of
from mobile.errors import UsageError

if TYPE_CHECKING:
    from mobile.compare.interval import Side

ALPHA = 0.05
MARGIN = 0.02
POWER = 0.8  # of the number of further runs that is told
EQUIVALENT, UNDECIDED = "equivalent", "undecided"
MOST_RUNS = 10_000  # further runs that are told: more is "never, at this spread"


@dataclass(frozen=True)
class Terms:
    """What is asked: ``margin`` is the smallest change that matters, a share; ``alpha`` the rate of false verdicts."""

    metric: Metric
    margin: float = MARGIN
    alpha: float = ALPHA

    def __post_init__(self) -> None:
        """Nothing, or UsageError that names the option."""
        if not 0.0 < self.margin < 1.0:
            raise UsageError(f"--margin is {self.margin:g}, expected more than 0 and less than 1")
        if not 1e-6 < self.alpha < 0.5:
            raise UsageError(f"--alpha is {self.alpha:g}, expected 0.000001 to 0.5")


@dataclass(frozen=True)
class Comparison:
    """B against A. ``value`` with ``low`` and ``high``: the ratio of B to A, the interval of ``confidence``.

    ``p``: exact, two-sided; ``p_adjusted``: Holm's where several were compared. ``p_margin``: of the two tests against
    the margin, doubled. ``spread``: standard deviation from run to run, a share. ``further``: runs of each side that a
    verdict likely takes (80 %), None where there is one, or where nobody can tell. ``interleaved``: blocks were used.
    ``looks``: how often it was looked at with `--until-decided`; ``p`` and the interval then hold at every look.
    ``sensor``: of joules, how far the sensor alone may move the logarithm of the ratio (k = 2); the interval has it.
    """

    a: str
    b: str
    count_a: int
    count_b: int
    value: float | None
    low: float | None
    high: float | None
    p: float
    p_margin: float
    p_adjusted: float
    verdict: str
    spread: float | None
    further: int | None
    interleaved: bool
    notes: tuple[str, ...] = ()
    confidence: float = CONFIDENCE
    looks: int | None = None
    sensor: float | None = None

    def to_json(self) -> dict[str, Any]:
        """The comparison as `edgewise compare --json` has it."""
        return {
            "a": self.a, "b": self.b, "runs": [self.count_a, self.count_b], "ratio": self.value,
            "low": self.low, "high": self.high, "confidence": self.confidence, "p": self.p,
            "p_adjusted": self.p_adjusted, "p_margin": self.p_margin, "verdict": self.verdict,
            "run_spread": self.spread, "further_runs": self.further, "interleaved": self.interleaved,
            "looks": self.looks, "sensor_share": self.sensor, "notes": list(self.notes),
        }  # fmt: skip


def compare(groups: Sequence[Group], terms: Terms) -> list[Comparison]:
    """Every other group against the first, corrected for their number (Holm); of joules with the sensor's part.

    UsageError for an empty group.
    """
    found = compare_runs(groups, terms)
    return [with_sensor(one, groups[0], other, terms) for one, other in zip(found, groups[1:], strict=True)]


def compare_runs(groups: Sequence[Group], terms: Terms) -> list[Comparison]:
    """The same of what the runs alone say."""
    for group in groups:
        if not group.units:
            raise UsageError(f"{group.name}: there is no run to compare{_apart(group)}", _NEXT)
    drafts = [_draft(groups[0], other, terms) for other in groups[1:]]
    differ = holm([draft.p for draft in drafts])
    alike = holm([draft.p_margin for draft in drafts])
    return [
        _decided(replace(draft, p_adjusted=p, p_margin=p_margin), terms, len(drafts))
        for draft, p, p_margin in zip(drafts, differ, alike, strict=True)
    ]


def holm(p_values: Sequence[float]) -> list[float]:
    """The p-values corrected for their number: S. Holm, Scandinavian Journal of Statistics 6 (1979).

    >>> holm([0.01, 0.04, 0.03])
    [0.03, 0.06, 0.06]
    """
    order = sorted(range(len(p_values)), key=lambda place: p_values[place])
    adjusted, largest = [1.0] * len(p_values), 0.0
    for rank, place in enumerate(order):
        largest = max(largest, (len(p_values) - rank) * p_values[place])
        adjusted[place] = min(1.0, largest)
    return adjusted


_NEXT = "Measure more (`edgewise bench FILE --repeat 10`), or take the invalid ones in with --include-invalid."


def _apart(group: Group) -> str:
    if not group.excluded:
        return ""
    first = group.excluded[0]
    return f": {len(group.excluded)} left out, {first.run}: {first.reason}"


def _draft(a: Group, b: Group, terms: Terms) -> Comparison:
    """The figures of a pair; the verdict is still to come."""
    places = blocks_of(a, b)
    side_a, side_b = side_of(a, places[0] if places else None), side_of(b, places[1] if places else None)
    shared = _shared(side_a, side_b) if places else True
    blocks = blocks_between(side_a, side_b)
    margin = math.log1p(terms.margin)
    p_margin = min(1.0, 2 * max(tails(blocks, margin).lower, tails(blocks, -margin).upper))
    found = ratio(side_a, side_b) if shared else None
    return Comparison(
        a=a.name,
        b=b.name,
        count_a=len(a.units),
        count_b=len(b.units),
        value=found.value if found else None,
        low=found.low if found else None,
        high=found.high if found else None,
        p=tails(blocks).two_sided,
        p_margin=p_margin,
        p_adjusted=1.0,
        verdict=UNDECIDED,
        spread=spread(side_a, side_b),
        further=None,
        interleaved=places is not None,
        notes=tuple(_notes(a, b, places is not None)),
    )


def _shared(a: Side, b: Side) -> bool:
    return bool(set(a.blocks.tolist()) & set(b.blocks.tolist()))


def _decided(draft: Comparison, terms: Terms, count: int) -> Comparison:
    inside = (
        draft.low is not None
        and draft.high is not None
        and 1 / (1 + terms.margin) < draft.low
        and draft.high < 1 + terms.margin
    )
    if inside and draft.p_margin <= terms.alpha:
        return replace(draft, verdict=EQUIVALENT)
    if draft.p_adjusted <= terms.alpha and draft.value is not None and draft.value != 1.0:
        return replace(draft, verdict=terms.metric.more if draft.value > 1 else terms.metric.less)
    return replace(draft, further=further_runs(draft, terms, count))


def further_runs(draft: Comparison, terms: Terms, count: int) -> int | None:
    """How many runs of each side are still missing for a verdict with POWER, if the estimates are right.

    Normal approximation of two groups (two-sided alpha for a difference, half of it on each side for
    equivalence); never fewer than the exact test can decide with. None where that is more than MOST_RUNS.
    """
    alpha = terms.alpha / count
    least = fewest_runs(alpha)
    have = min(draft.count_a, draft.count_b)
    if draft.spread is None or draft.value is None:
        return max(1, least - have)
    normal = NormalDist()
    away, margin = abs(math.log(draft.value)), math.log1p(terms.margin)
    reach = normal.inv_cdf(1 - alpha / 2)
    # Equivalence of a difference near 0 has to be seen from both sides.
    both = normal.inv_cdf(1 - (1 - POWER) / 2 * (2 if away > margin / 4 else 1))
    wanted = []
    if away > 0:
        wanted.append(((reach + normal.inv_cdf(POWER)) * draft.spread / away) ** 2)
    if away < margin:
        wanted.append(((reach + both) * draft.spread / (margin - away)) ** 2)
    needed = 2 * min(wanted) + reach**2 / 4
    if needed > MOST_RUNS:
        return None
    return max(1, max(least, math.ceil(needed)) - have)


def fewest_runs(alpha: float) -> int:
    """Runs of each side of which the exact test can show a difference at all: 2 / C(2n, n) <= alpha.

    >>> fewest_runs(0.05), fewest_runs(0.01)
    (4, 5)
    """
    runs = 2
    while 2 / math.comb(2 * runs, runs) > alpha:
        runs += 1
    return runs


def _notes(a: Group, b: Group, interleaved: bool) -> list[str]:
    notes = []
    for group in (a, b):
        if len(group.units) > 1 and len(set(group.values)) == 1:
            notes.append(f"{group.name}: all {len(group.units)} runs gave the same figure, to the last digit")
    times_a, times_b = ([unit.created_utc for unit in group.units] for group in (a, b))
    if not interleaved and (max(times_a) < min(times_b) or max(times_b) < min(times_a)):
        notes.append(
            "not interleaved: all runs of one were measured before those of the other, so what changed in between (heat"
            " or load) counts as a difference; `edgewise bench A B --compare` measures in turns"
        )
    return notes
