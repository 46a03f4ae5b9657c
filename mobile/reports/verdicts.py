"""The words of a comparison: the same in the terminal and in a page."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from mobile.compare.verdict import Comparison


def verdict_words(one: Comparison) -> str:
    """The verdict, with how many more runs it likely takes."""
    if one.verdict != "undecided":
        return one.verdict
    if one.further is None:
        return "undecided; at this spread more runs will not tell"
    how = "at least" if one.spread is None else "about"
    return f"undecided; {how} {one.further} more {'run' if one.further == 1 else 'runs'} of each may tell"


def ratio_words(one: Comparison) -> str:
    """The ratio, or "-"."""
    return "-" if one.value is None else f"{one.value:.3f}"


def interval_words(one: Comparison) -> str:
    """The interval of the ratio, or "-"."""
    return "-" if one.low is None or one.high is None else f"{one.low:.3f} to {one.high:.3f}"


def p_words(value: float) -> str:
    """A p-value to two digits.

    >>> p_words(0.0312), p_words(1e-6)
    ('0.031', '< 0.0001')
    """
    return f"{value:.2g}" if value >= 1e-4 else "< 0.0001"
