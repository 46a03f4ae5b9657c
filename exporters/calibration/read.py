"""Calibration inputs by their name: ``feeds.npz``, a folder of .npz or .npy files, or ``feeds.py:function``."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from exporters.calibration.timesteps import Timesteps, over_timesteps
from exporters.data import Samples, read_samples, samples_of
from exporters.user_code import foreign, given_by
from mobile.errors import InputError
from mobile.formats import TensorInfo

if TYPE_CHECKING:
    from numpy.typing import NDArray

MAX_FEEDS = 1_000_000  # of a function that never ends
_FUNCTION = re.compile(r"(?P<file>.+\.py):(?P<function>[A-Za-z_][A-Za-z_0-9]*)")


def calibration_samples(
    source: str | Path,
    inputs: Sequence[TensorInfo],
    scale: Mapping[str, float],
    dims: Mapping[str, int],
    timesteps: Timesteps | None = None,
    seed: int = 0,
) -> Samples:
    """The samples to calibrate with; those of ``timesteps`` only, where it is given.

    InputError for data that does not fit the inputs, is empty or holds NaN; UsageError for a function that is not
    there; ExportError for what the function itself raises.
    """
    found = _FUNCTION.fullmatch(str(source))
    if found is not None and not Path(source).exists():
        samples = _of_function(Path(found["file"]), found["function"], inputs, scale, dims)
    else:
        samples = read_samples(Path(source), inputs, scale, dims)
    _check_numbers(source, samples)
    return samples if timesteps is None else over_timesteps(samples, timesteps, seed)


def _check_numbers(source: str | Path, samples: Samples) -> None:
    """A range with NaN in it is none."""
    import numpy as np

    for name, array in {**samples.whole, **samples.stacked}.items():
        if array.dtype.kind == "f" and np.isnan(array).any():
            raise InputError(f"{source}: {name} holds NaN: no ranges come of it", "Leave such items out.")


def _of_function(
    path: Path, function: str, inputs: Sequence[TensorInfo], scale: Mapping[str, float], dims: Mapping[str, int]
) -> Samples:
    """The samples that the file's function gives: an iterable of {input: array}, each an item or a batch."""
    name = f"{path}:{function}"
    with given_by(path, function) as (_, given):
        if not isinstance(given, Iterable) or isinstance(given, (str, bytes, Mapping)):
            raise InputError(f"{name}() gave {type(given).__name__}, an iterable of {{input: array}} was expected")
        return samples_of(name, _feeds(name, given), inputs, scale, dims)


def _feeds(name: str, given: Iterable[Any]) -> Iterator[dict[str, NDArray[Any]]]:
    """What the function yields, as arrays; torch tensors become arrays too."""
    import numpy as np

    items = iter(given)
    for number in range(MAX_FEEDS):
        with foreign(f"{name}()"):
            feed = next(items, None)
            if feed is None:
                return
            arrays = {str(key): np.asarray(value) for key, value in dict(feed).items()}
        bad = next((key for key, array in arrays.items() if array.dtype.hasobject), None)
        if bad is not None:
            raise InputError(f"{name}: item {number}: {bad} is no array of numbers")
        yield arrays
    raise InputError(f"{name}: more than {MAX_FEEDS} items", "Let the function end.")
