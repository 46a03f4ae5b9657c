"""A file cut into chunks along its tensors, so that what two variants of a model have in common has common chunks.

Sizes lie between MIN_BYTES and MAX_BYTES; a file smaller than MIN_BYTES is one chunk. A tensor is cut by its own length
alone: it gives the same chunks wherever it lies. What is smaller than MIN_BYTES shares a chunk with its neighbours.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from mobile.errors import ModelError

MIN_BYTES = 256 * 1024
TARGET_BYTES = 1024 * 1024
MAX_BYTES = 4 * 1024 * 1024


@dataclass(frozen=True)
class Span:
    """A range of a file."""

    offset: int
    length: int

    @property
    def end(self) -> int:
        """The offset behind it."""
        return self.offset + self.length


def spans(size_bytes: int, tensors: Iterable[Span] = ()) -> list[Span]:
    """Spans that cover a file of that size once, in order; none for an empty file.

    ``tensors`` may come in any order, overlap, and reach beyond the file.

    >>> [span.length for span in spans(3 * 1024 * 1024, [Span(100, 2 * 1024 * 1024)])]
    [1048676, 1048576, 1048476]
    """
    found: list[Span] = []
    start = 0
    for cut in _cuts(size_bytes, tensors):
        if cut - start >= MIN_BYTES:
            found.append(Span(start, cut - start))
            start = cut
    if start < size_bytes:
        if found:  # the rest is shorter than the least: the last chunk takes it in
            start = found.pop().offset
        found.append(Span(start, size_bytes - start))
    return found


def model_spans(files: Sequence[Path]) -> list[list[Span]]:
    """The spans of each file of a model, the model file first; files that are no model are cut by size alone.

    OSError when a file cannot be looked at.
    """
    tensors = _tensors(files[0])
    folder = files[0].parent
    places = {folder / location: found for location, found in tensors.items() if location}
    places[files[0]] = tensors.get("", [])
    return [spans(path.stat().st_size, places.get(path, ())) for path in files]


def _cuts(size_bytes: int, tensors: Iterable[Span]) -> Iterator[int]:
    """Where the file may be cut, in order, its end last. No two are further apart than 1.5 times TARGET_BYTES."""
    wanted = {size_bytes}
    for tensor in tensors:
        if tensor.length >= MIN_BYTES and tensor.offset >= 0:
            wanted.update(cut for cut in _parts(tensor) if 0 < cut < size_bytes)
    before = 0
    for cut in sorted(wanted):
        if cut - before > TARGET_BYTES * 3 // 2:
            yield from range(before + TARGET_BYTES, cut - TARGET_BYTES // 2, TARGET_BYTES)
        yield cut
        before = cut


def _parts(tensor: Span) -> Iterator[int]:
    count = max(1, round(tensor.length / TARGET_BYTES))
    for number in range(count):
        yield tensor.offset + tensor.length * number // count
    yield tensor.end


def _tensors(model: Path) -> dict[str, list[Span]]:
    """The tensors' ranges by the file they lie in ("": the model file); empty when it is no model or a damaged one."""
    from mobile.formats.flatbuffer import FlatError
    from mobile.formats.onnx_scan import scan_onnx
    from mobile.formats.protowire import WireError
    from mobile.formats.read import opened, sniff
    from mobile.formats.tflite_scan import scan_tflite

    found: dict[str, list[Span]] = {}
    try:
        tflite = sniff(model) == "tflite"
        with opened(model) as (buffer, size):
            stored = scan_tflite(buffer, size).stored() if tflite else scan_onnx(buffer, size).tensors
            for tensor in stored:
                if tensor.offset is not None:
                    found.setdefault(tensor.file or "", []).append(Span(tensor.offset, tensor.length))
    except (ModelError, FlatError, WireError):
        return {}
    return found
