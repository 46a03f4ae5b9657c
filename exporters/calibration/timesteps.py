"""Calibration that sees all timesteps of a diffusion network alike.

Source: Li et al., "Q-Diffusion: Quantizing Diffusion Models" (ICCV 2023, arXiv 2302.04304), time step-aware
calibration: activations change from step to step, so a few inputs are drawn at even intervals over all of them.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

from exporters.data import Samples
from mobile.errors import InputError, UsageError

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

STEPS, EACH = 20, 8
_MOST = 100_000


@dataclass(frozen=True)
class Timesteps:
    """``steps`` values of the input ``name``, evenly spaced over those that occur, and up to ``each`` items of each."""

    name: str
    steps: int = STEPS
    each: int = EACH


def parse_timesteps(text: str) -> Timesteps:
    """The meaning of "t", "t:20" or "t:20:8". UsageError when it has none.

    >>> parse_timesteps("t:50")
    Timesteps(name='t', steps=50, each=8)
    """
    name, *numbers = text.rsplit(":", 2) if text.count(":") else [text]
    try:
        counts = [int(number) for number in numbers]
    except ValueError as error:
        raise UsageError(f"timesteps {text!r} is not NAME, NAME:STEPS or NAME:STEPS:EACH") from error
    if not name or any(not 1 <= count <= _MOST for count in counts):
        raise UsageError(f"timesteps {text!r}: a name and numbers of 1 to {_MOST} were expected, as t:20:8")
    return Timesteps(name, *counts)


def over_timesteps(samples: Samples, wanted: Timesteps, seed: int) -> Samples:
    """The items at evenly spaced timesteps, in their order; which ones of a timestep is drawn with ``seed``.

    A model of a fixed batch is taken batch by batch, by the first timestep in each. InputError when the input is none
    of many items.
    """
    import numpy as np

    values = _values(samples, wanted.name)
    occurring = np.unique(values)
    places = np.unique(np.rint(np.linspace(0, len(occurring) - 1, min(wanted.steps, len(occurring)))).astype(int))
    random = np.random.default_rng(seed)
    chosen: list[int] = []
    for value in occurring[places]:
        at = np.flatnonzero(values == value)
        chosen += sorted(random.choice(at, wanted.each, replace=False) if len(at) > wanted.each else at)
    stacked = {name: _taken(array, chosen, _size(samples, name)) for name, array in samples.stacked.items()}
    note = (
        f"calibrated at {len(places)} of {len(occurring)} values of {wanted.name}, "
        f"{occurring[0]:g} to {occurring[-1]:g}: {len(chosen)} of {len(values)} items"
    )
    items = max(len(array) for array in stacked.values())
    return replace(samples, stacked=stacked, items=items, notes=[*samples.notes, note])


def _size(samples: Samples, name: str) -> int:
    """Rows of an input that belong together: those of a fixed batch."""
    return 1 if name in samples.free else samples.step[name]


def _values(samples: Samples, name: str) -> NDArray[np.float64]:
    """The timestep of each item (or fixed batch)."""
    import numpy as np

    array = samples.stacked.get(name)
    if array is None or array.dtype.kind not in "iuf" or array[0].size != 1:
        many = ", ".join(key for key, found in samples.stacked.items() if found[0].size == 1) or "none"
        raise InputError(
            f"timesteps: the data has not one number {name!r} for each of many items",
            f"Inputs that have: {many}.",
        )
    return array.reshape(len(array))[:: _size(samples, name)].astype(np.float64)


def _taken(array: NDArray[Any], chosen: list[int], size: int) -> NDArray[Any]:
    import numpy as np

    rows = (np.asarray(chosen)[:, None] * size + np.arange(size)).ravel()
    taken: NDArray[Any] = array[rows[rows < len(array)]]
    return taken
