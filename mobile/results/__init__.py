"""Runs: what was observed (run.py, collect.py), where it is kept (store.py), and what follows from it (figures.py)."""

from __future__ import annotations

import secrets
import time

_ALPHABET = "0123456789abcdefghjkmnpqrstvwxyz"  # Crockford's base 32: no i, l, o, u to confuse


def new_run_id() -> str:
    """A run id that sorts by time and is unique: the UTC day, and 8 random characters of base 32 (40 bits).

    >>> len(new_run_id()), new_run_id()[8]
    (17, '-')
    """
    random = "".join(secrets.choice(_ALPHABET) for _ in range(8))
    return f"{time.strftime('%Y%m%d', time.gmtime())}-{random}"
