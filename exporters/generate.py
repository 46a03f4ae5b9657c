"""Generated inputs for a model: seeded, by dtype, never all zero, in shapes that the model accepts."""

from __future__ import annotations

import itertools
import math
import zlib
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Any

from mobile.errors import ExportError, InputError
from mobile.formats import TensorInfo

if TYPE_CHECKING:
    from numpy.typing import NDArray

Feeds = dict[str, "NDArray[Any]"]

MAX_ELEMENTS = 1 << 28  # of one generated input
# What a free dimension is tried with: images first where the rank says image, sequences else. Many models accept only
# multiples of 32 (five halvings), or sizes above that of their receptive field.
_IMAGE_SIZES = (64, 224, 320, 32)
_OTHER_SIZES = (16, 1, 128, 512, 2)
_MAX_COMBINATIONS, _MAX_ATTEMPTS = 5000, 60
_INTEGER_LIMITS = (100, 2)  # ids below a vocabulary's size, then flags; a model refuses ids that it has no row for


def generate(
    inputs: Sequence[TensorInfo], seed: int, dims: Mapping[str, int], count: int, accepts: Callable[[Feeds], None]
) -> list[Feeds]:
    """``count`` feeds that the model accepts, which ``accepts`` decides by raising ExportError or not.

    The first free dimension of an input is its batch: 1, and 2 in the last feed where the model accepts that. Other
    free dimensions are tried in turn. InputError, with what the model said last, when nothing is accepted.
    """
    last: ExportError | None = None
    for sizes, limit in _attempts(inputs, dims):
        try:
            first = make_feeds(inputs, seed, {**sizes, **dims}, 1, limit)
            accepts(first)
        except ExportError as error:
            last = error
            continue
        feeds = [first]
        feeds += [make_feeds(inputs, seed + n, {**sizes, **dims}, 1, limit) for n in range(1, count)]
        return _with_a_batch(feeds, make_feeds(inputs, seed + count - 1, {**sizes, **dims}, 2, limit), accepts)
    message = last.message if last else "the model has an input of a kind that cannot be generated"
    raise InputError(f"no generated input is accepted; {message}", _HINT) from last


_HINT = "Give real inputs with --inputs FILE.npz, or the sizes of its free dimensions with --dim NAME=N."


def _with_a_batch(feeds: list[Feeds], batch: Feeds, accepts: Callable[[Feeds], None]) -> list[Feeds]:
    """The last feed replaced by one of two items, where there is a batch to vary and the model takes it."""
    if len(feeds) < 2 or all(batch[name].shape == array.shape for name, array in feeds[-1].items()):
        return feeds
    try:
        accepts(batch)
    except ExportError:
        return feeds
    return [*feeds[:-1], batch]


def _attempts(inputs: Sequence[TensorInfo], dims: Mapping[str, int]) -> Iterator[tuple[dict[str, int], int]]:
    """Sizes of free dimensions (by `_key`) and the limit of integers, most likely first."""
    choices: dict[str, tuple[int, ...]] = {}
    for value in inputs:
        for axis, size in enumerate(value.shape or ()):
            if axis and not isinstance(size, int) and size not in dims:
                image = len(value.shape or ()) == 4
                choices.setdefault(_key(value, axis), _IMAGE_SIZES if image else _OTHER_SIZES)
    whole = any(value.dtype in ("int32", "int64") for value in inputs)
    ranks = itertools.product(*(range(len(sizes)) for sizes in choices.values()))
    likely = sorted(itertools.islice(ranks, _MAX_COMBINATIONS), key=lambda rank: (len(set(rank)), sum(rank)))
    for limit in _INTEGER_LIMITS if whole else _INTEGER_LIMITS[:1]:
        for rank in likely[:_MAX_ATTEMPTS]:
            yield {key: choices[key][place] for key, place in zip(choices, rank, strict=True)}, limit


def _key(value: TensorInfo, axis: int) -> str:
    """The symbolic name of a dimension, or one of its own where it has none."""
    size = (value.shape or ())[axis]
    return size if isinstance(size, str) else f"{value.name}:{axis}"


def make_feeds(
    inputs: Sequence[TensorInfo], seed: int, dims: Mapping[str, int], batch: int, integer_limit: int = 100
) -> Feeds:
    """One array per input. A free first dimension is ``batch`` unless ``dims`` binds it; others must be in ``dims``."""
    return {value.name: _array(value, seed, dims, batch, integer_limit) for value in inputs}


def _array(value: TensorInfo, seed: int, dims: Mapping[str, int], batch: int, integer_limit: int) -> NDArray[Any]:
    import numpy as np

    if value.shape is None:
        raise InputError(
            f"input {value.name!r} is of type {value.dtype} or of unknown rank and cannot be generated", _HINT
        )
    shape = []
    for axis, size in enumerate(value.shape):
        free = dims.get(_key(value, axis), batch if axis == 0 else 1)
        shape.append(size if isinstance(size, int) else free)
    if math.prod(shape) > MAX_ELEMENTS:
        raise InputError(f"input {value.name!r} of shape {shape} is too large to generate", _HINT)
    random = np.random.default_rng([seed & 0xFFFFFFFF, zlib.crc32(value.name.encode())])
    if value.dtype.startswith(("float", "bfloat")):
        return _floats(value, random.standard_normal(shape))
    if value.dtype == "bool":
        array = random.integers(0, 2, shape).astype(bool)
        array.flat[:1] = True
        return array
    if value.dtype == "string":
        return np.array([f"word{number}" for number in range(math.prod(shape))], dtype=object).reshape(shape)
    return _integers(value, shape, random, integer_limit)


def _floats(value: TensorInfo, numbers: NDArray[Any]) -> NDArray[Any]:
    import ml_dtypes
    import numpy as np

    if value.dtype in ("float16", "float32", "float64"):
        return numbers.astype(np.dtype(value.dtype))
    return numbers.astype(np.dtype(getattr(ml_dtypes, value.dtype)))


def _integers(value: TensorInfo, shape: list[int], random: Any, integer_limit: int) -> NDArray[Any]:
    """Bytes over their whole range (pixels, audio), wider ones below the limit (ids); the first is never zero."""
    import numpy as np

    known = ("uint8", "int8", "uint16", "int16", "int32", "int64", "uint32", "uint64")
    if value.dtype not in known:
        raise InputError(f"input {value.name!r} has the dtype {value.dtype}, which cannot be generated", _HINT)
    dtype = np.dtype(value.dtype)
    info = np.iinfo(dtype)
    low, high = (int(info.min), int(info.max) + 1) if dtype.itemsize == 1 else (0, integer_limit)
    array = random.integers(low, high, shape).astype(dtype)
    if array.size and not array.any():
        array.flat[0] = 1
    return np.asarray(array)
