"""Names that a mistyped name may have meant."""

from __future__ import annotations

import difflib
from collections.abc import Iterable

_MOST_LISTED = 12


def did_you_mean(name: str, known: Iterable[str], what: str) -> str:
    """Words that follow an unknown name: the nearest of ``known``, or all of them when none is near.

    >>> did_you_mean("prot", ["host", "port"], "keys")
    'did you mean port?'
    >>> did_you_mean("zzz", ["host", "port"], "keys")
    'keys: host, port'
    >>> did_you_mean("zzz", [], "groups")
    'there are no groups'
    """
    names = sorted(known)
    lowered = {candidate.lower(): candidate for candidate in names}
    near = [lowered[match] for match in difflib.get_close_matches(name.lower(), lowered, n=3, cutoff=0.6)]
    if near:
        return f"did you mean {' or '.join(near)}?"
    if not names:
        return f"there are no {what}"
    rest = f" and {len(names) - _MOST_LISTED} more" if len(names) > _MOST_LISTED else ""
    return f"{what}: {', '.join(names[:_MOST_LISTED])}{rest}"
