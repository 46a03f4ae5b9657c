"""What a model answered during an evaluation, as the agent sends it: whole outputs, or the best classes and scores.

Read as from a stranger: sizes are known and bounded before anything is unpacked.
"""

from __future__ import annotations

import base64
import binascii
import math
import zlib
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

from mobile.bounded import inflate
from mobile.errors import AgentError

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from mobile.results.run import Run

MAX_BYTES = 512 * 1024 * 1024  # of one run's answers together
MAX_AXES = 32
TEXT = "text"
TOP = ("top.classes", "top.scores")  # the best classes of the first output, and their scores
# What an agent may send, with the bytes of one value.
DTYPES = {
    "bool": 1, "int8": 1, "uint8": 1, "int16": 2, "uint16": 2, "float16": 2, "int32": 4, "uint32": 4, "float32": 4,
    "int64": 8, "uint64": 8, "float64": 8,
}  # fmt: skip


class Answer(NamedTuple):
    """One output of one batch: ``number`` is the batch's, ``data`` its values, little-endian, or UTF-8 for "text"."""

    number: int
    dtype: str
    shape: tuple[int, ...]
    data: bytes

    def value(self) -> NDArray[Any] | str:
        """The array [shape], or the text."""
        import numpy as np

        if self.dtype == TEXT:
            return self.data.decode("utf-8", "replace")
        return np.frombuffer(self.data, dtype=np.dtype(self.dtype).newbyteorder("<")).reshape(self.shape)


class AnswerTaker:
    """Makes answers of ``tensors`` records, of which those of several parts follow each other."""

    def __init__(self) -> None:
        self._parts: list[bytes] = []
        self._total = 0

    def take(self, record: Mapping[str, Any]) -> tuple[str, list[Answer]]:
        """(name of the output, the answers that are whole now). AgentError when the record contradicts itself."""
        name, dtype = str(record.get("name")), str(record.get("dtype"))
        numbers, sizes = _counts("numbers", record.get("numbers")), _counts("sizes", record.get("sizes"))
        shapes = record.get("shapes")
        if not isinstance(shapes, list) or not len(numbers) == len(sizes) == len(shapes):
            raise AgentError(f"the answers of output {name!r} are not equally many as their shapes and sizes")
        known = [_shape(shape, size, dtype, name) for shape, size in zip(shapes, sizes, strict=True)]
        part, parts = record.get("part"), record.get("parts")
        if part != len(self._parts) or not isinstance(parts, int) or not 0 < parts <= 4096:
            raise AgentError(f"part {part!r} of {parts!r} of output {name!r}, expected part {len(self._parts)}")
        self._parts.append(_decoded(record.get("data"), name))
        if len(self._parts) < parts:
            return name, []
        packed, self._parts = b"".join(self._parts), []
        self._total += sum(sizes)
        if self._total > MAX_BYTES:
            raise AgentError(f"the answers of the run take more than {MAX_BYTES} bytes", "Evaluate fewer items.")
        data, at, found = _inflate(packed, sum(sizes), name), 0, []
        for number, shape, size in zip(numbers, known, sizes, strict=True):
            found.append(Answer(number, dtype, shape, data[at : at + size]))
            at += size
        return name, found


def _counts(name: str, values: Any) -> list[int]:
    whole = isinstance(values, list) and all(isinstance(one, int) and not isinstance(one, bool) for one in values)
    if not whole or any(one < 0 for one in values):
        raise AgentError(f"tensors.{name} is no list of whole numbers")
    return list(values)


def _shape(shape: Any, size: int, dtype: str, name: str) -> tuple[int, ...]:
    """The shape, once it and the dtype are of values that take ``size`` bytes."""
    sizes = _counts("shapes", shape)
    if len(sizes) > MAX_AXES or (dtype != TEXT and dtype not in DTYPES):
        raise AgentError(f"output {name!r} has dtype {dtype!r} and {len(sizes)} axes")
    if dtype != TEXT and math.prod(sizes) * DTYPES[dtype] != size:
        raise AgentError(f"output {name!r}: {dtype} {sizes} does not take {size} bytes")
    return tuple(sizes)


def _decoded(data: Any, name: str) -> bytes:
    try:
        return base64.b64decode(data, validate=True)
    except (TypeError, ValueError, binascii.Error) as error:
        raise AgentError(f"the answers of output {name!r} are damaged: {error}") from error


def _inflate(packed: bytes, size_bytes: int, name: str) -> bytes:
    """Exactly ``size_bytes``; never makes more than that, whatever the data says."""
    if size_bytes > MAX_BYTES:
        raise AgentError(f"output {name!r}: answers of {size_bytes} bytes, the limit is {MAX_BYTES}")
    try:
        data, whole = inflate(packed, size_bytes)
    except zlib.error as error:
        raise AgentError(f"the answers of output {name!r} are damaged: {error}") from error
    if not whole:
        raise AgentError(f"the answers of output {name!r} are {len(data)} bytes or more, expected {size_bytes}")
    return data


def by_item(
    answers: Sequence[Answer], items: int, batch_size: int, batched: bool = True
) -> list[NDArray[Any] | str | None]:
    """The value of one output for each item, without the batch's axis (``batched``); None where there was no answer.

    AgentError when batches of several items cannot be told apart.
    """
    found: list[NDArray[Any] | str | None] = [None] * items
    for answer in answers:
        value, first = answer.value(), answer.number * batch_size
        if isinstance(value, str) or not batched or not value.ndim or value.shape[0] != batch_size:
            if batch_size != 1:
                raise AgentError(
                    f"an output of shape {list(answer.shape)} has no axis of the batch's {batch_size} items",
                    "Evaluate with --batch 1.",
                )
            rows: list[Any] = [value]
        else:
            rows = list(value)
        for place, row in enumerate(rows[: max(0, items - first)]):
            found[first + place] = row
    return found


def outputs_by_item(run: Run) -> dict[str, list[NDArray[Any] | str | None]]:
    """Each output's value for each item of an evaluated run, as ``by_item``. AgentError when it kept no outputs."""
    told = run.event("evaluated")
    if told is None or not run.answers:
        raise AgentError(f"run {run.id} kept no outputs", "Ask for them: keep='all'.")
    items, batch_size, batched = told["items"], told["batch_size"], told.get("batched", True)
    return {name: by_item(found, items, batch_size, batched or name in TOP) for name, found in run.answers.items()}


def write_npz(run: Run, path: Path) -> None:
    """Writes the outputs of an evaluated run: one array [items, ...] for each output.

    Values of different shapes, or with gaps, become one array for each item that has one, as "NAME.7". OSError when the
    file cannot be written.
    """
    import numpy as np

    arrays: dict[str, NDArray[Any]] = {}
    for name, values in outputs_by_item(run).items():
        there = {place: np.asarray(value) for place, value in enumerate(values) if value is not None}
        alike = len({(value.shape, value.dtype.name) for value in there.values()}) == 1
        if alike and len(there) == len(values):
            arrays[name] = np.stack(list(there.values()))
        else:
            arrays.update({f"{name}.{place}": value for place, value in there.items()})
    with path.open("wb") as file:
        np.savez_compressed(file, **arrays)  # type: ignore[arg-type]
