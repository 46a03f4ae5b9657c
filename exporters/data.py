"""Input data for a model: read from .npz or .npy with every size checked first, or generated from a seed."""

from __future__ import annotations

import math
import zipfile
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import IO, TYPE_CHECKING, Any

from mobile.errors import InputError
from mobile.formats import TensorInfo

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

MAX_BYTES = 8 << 30  # of one array; more is a mistake or an attack
BATCH = 16  # items fed at once where the model's batch is free


@dataclass(frozen=True)
class Samples:
    """Items for the inputs of a model, fed batch by batch.

    ``stacked`` arrays hold one item (or fixed batch) after the other along axis 0; ``whole`` ones go to every batch as
    they are. ``step`` is how many rows of a stacked array make a batch; inputs in ``free`` take any number of rows.
    """

    stacked: dict[str, NDArray[Any]]
    step: dict[str, int]
    whole: dict[str, NDArray[Any]]
    dtypes: dict[str, str]
    scale: Mapping[str, float]
    items: int
    notes: list[str] = field(default_factory=list)
    free: tuple[str, ...] = ()

    def batches(self, limit: int | None = None) -> Iterator[dict[str, NDArray[Any]]]:
        """The feeds of each batch, of at most ``limit`` items altogether; scaled to the input's dtype."""
        fixed = {name: self._converted(name, array) for name, array in self.whole.items()}
        if not self.stacked:
            yield fixed
            return
        name = next(iter(self.stacked))
        rows = len(self.stacked[name]) if limit is None else min(len(self.stacked[name]), max(limit, self.step[name]))
        for number in range(math.ceil(rows / self.step[name])):
            feeds = dict(fixed)
            for key, array in self.stacked.items():
                step = self.step[key]
                feeds[key] = self._converted(key, array[number * step : (number + 1) * step])
            yield feeds

    def _converted(self, name: str, array: NDArray[Any]) -> NDArray[Any]:
        import numpy as np

        if name not in self.scale or str(array.dtype) == self.dtypes[name]:
            return np.ascontiguousarray(array)
        dtype = np.dtype(self.dtypes[name])
        return (array.astype(np.float64) * self.scale[name]).astype(dtype)


def read_samples(
    path: Path, inputs: Sequence[TensorInfo], scale: Mapping[str, float], dims: Mapping[str, int]
) -> Samples:
    """The samples in a .npz whose keys are the model's inputs, or in a folder of .npz or .npy files.

    An array is either exactly one input, or many along axis 0. Keys that are no input (labels) are ignored. dtypes must
    be the input's own; whole numbers are allowed where ``scale`` has a factor. A folder's files are joined in order of
    their names; .npy files serve a model of one input. InputError names file, array, what was found and what was
    expected. Pickled objects are refused.
    """
    unknown = sorted(set(scale) - {value.name for value in inputs})
    if unknown:
        names = ", ".join(value.name for value in inputs)
        raise InputError(f"--scale names {unknown[0]!r}, which is no input; the inputs are {names}")
    read = _read_folder if path.is_dir() else _read_npz
    return _arranged(path, read(path, inputs, scale, dims), inputs, scale, dims)


def _read_folder(
    folder: Path, inputs: Sequence[TensorInfo], scale: Mapping[str, float], dims: Mapping[str, int]
) -> dict[str, NDArray[Any]]:
    files = sorted(path for path in folder.iterdir() if path.suffix in (".npz", ".npy"))
    if not files:
        raise InputError(f"{folder}: no .npz or .npy file in it", "Put one file per item, or one .npz, there.")
    parts: dict[str, list[NDArray[Any]]] = {value.name: [] for value in inputs}
    total = 0
    for path in files:
        found = _read_npz(path, inputs, scale, dims) if path.suffix == ".npz" else _read_npy(path, inputs, scale, dims)
        for name, array in found.items():
            total += array.nbytes
            parts[name].append(array)
        if total > MAX_BYTES:
            raise InputError(f"{folder}: more than {MAX_BYTES} bytes of data", "Use fewer items.")
    return _joined(folder, parts)


def samples_of(
    where: str,
    feeds: Iterable[Mapping[str, NDArray[Any]]],
    inputs: Sequence[TensorInfo],
    scale: Mapping[str, float],
    dims: Mapping[str, int],
) -> Samples:
    """The samples in ``feeds``, one dict of arrays for each item or batch; checked as those of a file are."""
    parts: dict[str, list[NDArray[Any]]] = {value.name: [] for value in inputs}
    total = 0
    for number, feed in enumerate(feeds):
        for value in inputs:
            place = f"{where}: item {number}: {value.name}"
            if value.name not in feed:
                raise InputError(f"{place} is missing; it has {', '.join(map(str, feed)) or 'nothing'}")
            array = feed[value.name]
            _check_dtype(place, array.dtype, value, scale)
            _check_shape(place, array.shape, _bound_shape(value, dims))
            total += array.nbytes
            parts[value.name].append(array)
        if total > MAX_BYTES:
            raise InputError(f"{where}: more than {MAX_BYTES} bytes of data", "Use fewer items.")
    if not all(parts.values()):
        raise InputError(f"{where}: no items")
    return _arranged(where, _joined(where, parts), inputs, scale, dims)


def _joined(where: Path | str, parts: Mapping[str, list[NDArray[Any]]]) -> dict[str, NDArray[Any]]:
    import numpy as np

    try:
        return {name: np.concatenate(arrays) if arrays[0].ndim else arrays[0] for name, arrays in parts.items()}
    except ValueError as error:
        raise InputError(f"{where}: its items are arrays of different shapes: {error}") from error


def _read_npy(
    path: Path, inputs: Sequence[TensorInfo], scale: Mapping[str, float], dims: Mapping[str, int]
) -> dict[str, NDArray[Any]]:
    if len(inputs) != 1:
        raise InputError(
            f"{path}: a .npy file serves a model of one input, this one has {len(inputs)}", "Use .npz files."
        )
    (value,) = inputs
    with _Opening(path), path.open("rb") as stream:
        array = _read_array(stream, path.stat().st_size, f"{path}", value, scale, dims, item_allowed=True)
    return {value.name: array}


def _read_npz(
    path: Path, inputs: Sequence[TensorInfo], scale: Mapping[str, float], dims: Mapping[str, int]
) -> dict[str, NDArray[Any]]:
    arrays = {}
    with _Opening(path), zipfile.ZipFile(path) as archive:
        members = {name.removesuffix(".npy"): name for name in archive.namelist()}
        for value in inputs:
            if value.name not in members:
                known = ", ".join(sorted(members)[:20]) or "nothing"
                raise InputError(f"{path}: no array for the input {value.name!r}; it holds {known}", _KEYS_HINT)
            size = archive.getinfo(members[value.name]).file_size
            with archive.open(members[value.name]) as stream:
                arrays[value.name] = _read_array(stream, size, f"{path}: {value.name}", value, scale, dims)
    return arrays


_KEYS_HINT = "Save it with np.savez(FILE, **{input name: array}); `edgewise inspect FILE` lists the inputs."


class _Opening:
    """Maps what reading a data file raises to InputError, in one place."""

    def __init__(self, path: Path) -> None:
        self._path = path

    def __enter__(self) -> None:
        pass

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: object) -> None:
        import zlib

        if isinstance(error, FileNotFoundError):
            raise InputError(f"{self._path}: there is no such file", "Check the path.") from error
        if isinstance(error, (zipfile.BadZipFile, zlib.error, EOFError, NotImplementedError)):
            raise InputError(f"{self._path}: not a whole .npz file ({error})", _KEYS_HINT) from error
        if isinstance(error, OSError):
            raise InputError(f"{self._path}: cannot be read ({error.strerror or error})") from error
        if isinstance(error, (ValueError, RuntimeError)) and not isinstance(error, InputError):
            raise InputError(f"{self._path}: cannot be read ({error})") from error


def _read_array(
    stream: IO[bytes],
    size: int,
    where: str,
    value: TensorInfo,
    scale: Mapping[str, float],
    dims: Mapping[str, int],
    item_allowed: bool = False,
) -> NDArray[Any]:
    """One array; its head is checked against the input and against the size of the data before anything is read."""
    import numpy as np
    from numpy.lib import format as npy

    version = npy.read_magic(stream)
    head = npy.read_array_header_1_0 if version == (1, 0) else npy.read_array_header_2_0
    shape, fortran, dtype = head(stream)
    if dtype.hasobject:
        raise InputError(f"{where}: holds pickled objects, which edgewise does not load", "Save plain numbers.")
    body = math.prod(shape) * dtype.itemsize
    if body > MAX_BYTES or body != size - stream.tell():
        raise InputError(f"{where}: {dtype} {list(shape)} needs {body} bytes, {size - stream.tell()} are there")
    _check_dtype(where, dtype, value, scale)
    wanted = _bound_shape(value, dims)
    if item_allowed and wanted is not None and len(shape) == len(wanted) - 1:
        shape = (1, *shape)
    _check_shape(where, shape, wanted)
    content = stream.read(body)
    if len(content) != body:
        raise InputError(f"{where}: is cut short")
    array = np.frombuffer(content, dtype=dtype)
    return array.reshape(shape, order="F" if fortran else "C")


def _check_dtype(where: str, dtype: np.dtype[Any], value: TensorInfo, scale: Mapping[str, float]) -> None:
    if str(dtype) == value.dtype or (value.dtype == "string" and dtype.kind in "US"):
        return
    if value.name in scale and dtype.kind in "iu" and value.dtype.startswith("float"):
        return
    hint = f'Convert it: array.astype("{value.dtype}").'
    if dtype.kind in "iu" and value.dtype.startswith("float"):
        hint += f" Or, for whole numbers that stand for fractions, --scale {value.name}=FACTOR."
    raise InputError(f"{where}: {dtype}, expected {value.dtype}", hint)


def _bound_shape(value: TensorInfo, dims: Mapping[str, int]) -> tuple[int | None, ...] | None:
    """The input's shape with symbolic names replaced by their bound sizes; None for each that stays free."""
    if value.shape is None:
        return None
    return tuple(dims.get(size) if isinstance(size, str) else size for size in value.shape)


def _check_shape(where: str, shape: tuple[int, ...], wanted: tuple[int | None, ...] | None) -> None:
    if wanted is None:
        return
    fits = len(shape) == len(wanted) and all(
        want in (None, size) for size, want in zip(shape[1:], wanted[1:], strict=True)
    )
    if fits and shape:
        fits = shape[0] > 0 and (wanted[0] is None or shape[0] % wanted[0] == 0)
    if not fits:
        words = ", ".join("any" if size is None else str(size) for size in wanted)
        raise InputError(f"{where}: shape {list(shape)}, expected [{words}], or several of them along the first axis")


def _arranged(
    path: Path | str,
    arrays: dict[str, NDArray[Any]],
    inputs: Sequence[TensorInfo],
    scale: Mapping[str, float],
    dims: Mapping[str, int],
) -> Samples:
    """Which arrays are cut into batches and which go whole. InputError when their numbers of items differ."""
    stacked, step, whole = {}, {}, {}
    free: list[str] = []
    for value in inputs:
        array, wanted = arrays[value.name], _bound_shape(value, dims)
        if not array.ndim or wanted is None or (wanted[0] is not None and len(array) == wanted[0]):
            whole[value.name] = array
            continue
        stacked[value.name] = array
        if wanted[0] is None:
            free.append(value.name)
        else:
            step[value.name] = wanted[0]
    together = 1 if step else BATCH  # beside a fixed batch, a free one gets an item at a time
    step.update(dict.fromkeys(free, together))
    counts = {name: math.ceil(len(array) / step[name]) for name, array in stacked.items()}
    rows = {len(stacked[name]) for name in free}
    if len(set(counts.values())) > 1 or len(rows) > 1:
        words = ", ".join(f"{name} {len(array)}" for name, array in stacked.items())
        raise InputError(f"{path}: the inputs have different numbers of items: {words}")
    items = max((len(array) for array in stacked.values()), default=1)
    dtypes = {value.name: value.dtype for value in inputs}
    return Samples(stacked, step, whole, dtypes, scale, items, free=tuple(free))
