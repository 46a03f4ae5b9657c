"""`--fail-if slower:3%`: when a comparison is to end a pipeline with 1."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from mobile.compare.verdict import EQUIVALENT, UNDECIDED, Comparison
from mobile.errors import UsageError

_MORE, _LESS, _ANY = ("slower", "more"), ("faster", "less"), "different"


@dataclass(frozen=True)
class Limit:
    """A verdict, and by how much at least (a share)."""

    word: str
    share: float = 0.0

    def broken_by(self, found: Comparison) -> bool:
        """True when the verdict is that one and the estimated ratio is at least so far from 1."""
        if self.word == UNDECIDED:
            return found.verdict == UNDECIDED
        if found.verdict in (UNDECIDED, EQUIVALENT) or found.value is None:
            return False
        change = found.value - 1
        if self.word in _MORE:
            return change >= self.share and change > 0
        if self.word in _LESS:
            return -change >= self.share and change < 0
        return abs(change) >= self.share


def limit(text: str) -> Limit:
    """The limit of a text such as "slower:3%" or "undecided". UsageError when it is none.

    >>> limit("slower:3%")
    Limit(word='slower', share=0.03)
    """
    word, colon, amount = text.strip().partition(":")
    if word not in (*_MORE, *_LESS, _ANY, UNDECIDED) or (colon and word == UNDECIDED):
        raise UsageError(f"--fail-if {text!r} is not understood", _FORMS)
    if not colon:
        return Limit(word)
    number, percent = amount.strip().removesuffix("%"), amount.strip().endswith("%")
    try:
        share = float(number) / (100 if percent else 1)
    except ValueError as error:
        raise UsageError(f"--fail-if {text!r}: {amount!r} is no share", _FORMS) from error
    if not 0.0 <= share < 100.0:
        raise UsageError(f"--fail-if {text!r}: {amount!r} is out of range", _FORMS)
    return Limit(word, share)


_FORMS = "slower:3%, faster:3%, different:3% (for joules and bytes more and less), or undecided."


def broken(limits: Sequence[Limit], found: Sequence[Comparison]) -> list[str]:
    """The limits that comparisons broke, in words."""
    return [
        f"{one.b} is {one.verdict} against {one.a}"
        + (f" (x{one.value:.4g})" if one.value is not None else "")
        + f": --fail-if {each.word}" + (f":{each.share:.3g}" if each.share else "")
        for each in limits
        for one in found
        if each.broken_by(one)
    ]  # fmt: skip
