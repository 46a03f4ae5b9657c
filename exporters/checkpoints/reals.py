"""The arrays of a checkpoint that stayed real numbers."""

from __future__ import annotations

from collections.abc import Collection
from functools import partial

from exporters.checkpoints.entries import RealEntry
from exporters.checkpoints.stored import FLOATS, Stored


def real_entries(stored: Stored, used: Collection[str]) -> dict[str, RealEntry]:
    """Every real array that is not among ``used``, by name; whole numbers and masks are not weights and left out."""
    return {
        name: RealEntry(place.shape, partial(stored.floats, name))
        for name, place in stored.items()
        if name not in used and place.dtype in FLOATS
    }
