"""What values the tensors of a float model take on real inputs: the ranges of static quantisation."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import numpy as np

from exporters.tflite import flat
from exporters.tflite.running import Feeds, LiteSession
from mobile.errors import InputError

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from exporters.tflite.ir import Program


@dataclass
class Ranges:
    """The lowest and highest value seen of each float tensor of the main graph, by its number."""

    bounds: dict[int, tuple[float, float]] = field(default_factory=dict)
    items: int = 0

    def of(self, place: int) -> tuple[float, float] | None:
        """A tensor's bounds, widened to include 0; None when it never held finite values."""
        found = self.bounds.get(place)
        return None if found is None else (min(found[0], 0.0), max(found[1], 0.0))

    def add(self, place: int, values: NDArray[Any]) -> None:
        """Widens a tensor's bounds. Infinities are left out: a mask's -inf is no range."""
        finite = values[np.isfinite(values)]
        if not finite.size:
            return
        low, high = float(finite.min()), float(finite.max())
        before = self.bounds.get(place, (low, high))
        self.bounds[place] = min(low, before[0]), max(high, before[1])


def calibrate(program: Program, feeds: Iterable[Feeds], name: str = "the float model") -> Ranges:
    """The ranges over all feeds, by running the float model with every tensor kept.

    InputError without feeds or with NaN in one; ExportError when the model refuses a feed.
    """
    ranges = Ranges()
    session = LiteSession(flat.to_bytes(program), name, keep=True)
    main = program.main
    wanted = [place for place, tensor in enumerate(main.tensors) if tensor.dtype == "float32" and tensor.data is None]
    for feed in feeds:
        for key, array in feed.items():
            if array.dtype.kind == "f" and np.isnan(array).any():
                raise InputError(f"calibration input {key!r} contains NaN")
        session.run(feed)
        ranges.items += 1
        for place in wanted:
            values = session.value(place)
            if values is not None:
                ranges.add(place, values)
    if not ranges.items:
        raise InputError("there are no calibration inputs", "Give at least one; 16 or more are better.")
    return ranges
