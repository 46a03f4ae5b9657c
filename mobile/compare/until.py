"""The verdict of an interleaved measurement that looks after every block (`--until-decided`)."""

from __future__ import annotations

import math
from dataclasses import replace

from mobile.compare.interval import blocks_between
from mobile.compare.sensor import with_sensor
from mobile.compare.sequential import Looks
from mobile.compare.units import Group, blocks_of, side_of
from mobile.compare.verdict import EQUIVALENT, UNDECIDED, Comparison, Terms, compare_runs, further_runs
from mobile.errors import UsageError


def decided(a: Group, b: Group, terms: Terms, most_blocks: int) -> bool:
    """True when the looks up to now bear a verdict."""
    if not a.units or not b.units:
        return False
    return _verdict(_looks(a, b, terms, most_blocks), terms) != UNDECIDED


def until(a: Group, b: Group, terms: Terms, most_blocks: int) -> Comparison:
    """The comparison with the verdict, the interval and the p-value that hold at whichever look one stops.

    UsageError when a group is empty or the runs were not measured in blocks.
    """
    (draft,) = compare_runs([a, b], terms)
    looks = _looks(a, b, terms, most_blocks)
    found = _verdict(looks, terms)
    p = looks.p()
    low, high = (
        math.exp(edge) if math.isfinite(edge) else None for edge in looks.interval(math.log(draft.value or 1.0))
    )
    plain = replace(draft, verdict=found, low=low, high=high, p=p, p_adjusted=p, further=None, looks=looks.count)
    if found == UNDECIDED:
        plain = replace(plain, further=further_runs(plain, terms, 1))
    return with_sensor(plain, a, b, terms)


def _looks(a: Group, b: Group, terms: Terms, most_blocks: int) -> Looks:
    places = blocks_of(a, b)
    if places is None:
        raise UsageError("these runs were not measured in turns", "`edgewise bench A B --compare` does.")
    blocks = blocks_between(side_of(a, places[0]), side_of(b, places[1]))
    return Looks(blocks, most_blocks, alpha=terms.alpha)


def _verdict(looks: Looks, terms: Terms) -> str:
    margin = math.log1p(terms.margin)
    if looks.crossing(margin).below is not None and looks.crossing(-margin).above is not None:
        return EQUIVALENT
    plain = looks.crossing()
    if plain.above is None and plain.below is None:
        return UNDECIDED
    # Both can happen with data that turn around: the first one stands.
    first_above = plain.above if plain.above is not None else math.inf
    first_below = plain.below if plain.below is not None else math.inf
    return terms.metric.more if first_above < first_below else terms.metric.less
