"""A percentile with one-sided confidence from few queries: MLPerf's early stopping.

Source: MLCommons inference_policies, inference_rules.adoc, appendix "Early Stopping". With n queries of which t are
"overlatency" (above a bound), the bound holds for the p-th percentile with confidence c when a binomial of n queries,
each above with probability 1 - p + d, has at most t of them with a probability of at most 1 - c (d: tolerance, here 0).
For SingleStream and MultiStream the largest t is looked for; the t - 1 highest latencies are discarded, and the largest
of the rest is an upper bound of the percentile. LoadGen does the same (mlcommons/inference, loadgen/early_stopping.cc).
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from functools import lru_cache
from typing import NamedTuple

from mobile.errors import UsageError

CONFIDENCE = 0.99


class EarlyStopping(NamedTuple):
    """``bound``: one-sided upper bound of the percentile, in the unit of the latencies; None for too few queries.

    ``discarded``: how many of the highest were left out for it. ``needed``: the least number of queries with a bound.
    """

    bound: float | None
    discarded: int | None
    needed: int


def percentile_bound(latencies: Sequence[float], share: float, confidence: float = CONFIDENCE) -> EarlyStopping:
    """The bound of the percentile at ``share`` (0.9 for p90) that holds with ``confidence``."""
    out = discarded(len(latencies), share, confidence)
    needed = least_queries(share, confidence)
    if out is None:
        return EarlyStopping(None, None, needed)
    return EarlyStopping(float(sorted(latencies)[len(latencies) - 1 - out]), out, needed)


def discarded(queries: int, share: float, confidence: float = CONFIDENCE) -> int | None:
    """How many of the highest latencies of ``queries`` are left out; None where no bound has that confidence.

    >>> discarded(2048, 0.9), discarded(2145, 0.9), discarded(64, 0.9), discarded(63, 0.9)
    (172, 181, 0, None)
    """
    overlatency = _most_above(queries, share, confidence)
    return overlatency - 1 if overlatency >= 1 else None


def least_queries(share: float, confidence: float = CONFIDENCE) -> int:
    """The smallest number of queries that give a bound.

    >>> [least_queries(share) for share in (0.9, 0.95, 0.97, 0.99, 0.999)]
    [64, 130, 219, 662, 6636]
    """
    low, high = 1, 2
    while discarded(high, share, confidence) is None:
        low, high = high, high * 2
    while low + 1 < high:
        middle = (low + high) // 2
        low, high = (middle, high) if discarded(middle, share, confidence) is None else (low, middle)
    return high


def holds(queries: int, over: int, share: float, confidence: float = CONFIDENCE) -> bool:
    """True when a bound that ``over`` of ``queries`` were above holds for the percentile: LoadGen's rule for Server.

    >>> holds(459, 0, 0.99), holds(458, 0, 0.99), holds(1000, 2, 0.99), holds(1000, 4, 0.99)
    (True, False, True, False)
    """
    return over <= _most_above(queries, share, confidence)


def most_over(queries: int, share: float, confidence: float = CONFIDENCE) -> int:
    """How many of the queries may be above a bound that holds for the percentile; -1: it cannot be told of so few."""
    return _most_above(queries, share, confidence)


def needed_for(over: int, share: float, confidence: float = CONFIDENCE) -> int:
    """The smallest number of queries in which ``over`` above a bound still let it hold for the percentile."""
    low, high = 0, 2
    while not holds(high, over, share, confidence):
        low, high = high, high * 2
    while low + 1 < high:
        middle = (low + high) // 2
        low, high = (low, middle) if holds(middle, over, share, confidence) else (middle, high)
    return high


@lru_cache(maxsize=4096)
def _most_above(queries: int, share: float, confidence: float) -> int:
    """The largest t of which a binomial has at most that many with probability 1 - ``confidence``; -1 for none."""
    if not 0.0 < share < 1.0 or not 0.0 < confidence < 1.0:
        raise UsageError(f"a percentile at {share!r} with confidence {confidence!r}: both lie between 0 and 1")
    if queries < 1:
        return -1
    odds = math.log1p(-share) - math.log(share)
    term, below, count = queries * math.log(share), 0.0, 0
    while count <= queries:
        below += math.exp(term)
        if below > 1.0 - confidence:
            return count - 1
        if count < queries:
            term += math.log((queries - count) / (count + 1)) + odds
        count += 1
    return queries
