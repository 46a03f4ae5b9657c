"""Opens a model file, tells its format from its content, and indexes it."""

from __future__ import annotations

import mmap
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from mobile.errors import ModelError
from mobile.formats.external import check_external
from mobile.formats.flatbuffer import Buffer, FlatError
from mobile.formats.hashing import content_sha256, file_sha256
from mobile.formats.model_index import FileInfo, ModelIndex, TensorBytes
from mobile.formats.onnx_scan import scan_onnx
from mobile.formats.protowire import BYTES, VARINT, WireError, fields
from mobile.formats.tflite_scan import scan_tflite

_HINT = "Edgewise reads .onnx and .tflite files; export the model again if this should be one."
_DAMAGED_HINT = "The file is damaged or cut short: copy or export it again."

# What people give by mistake: the first bytes, and what it is.
_OTHERS: tuple[tuple[bytes, str, str], ...] = (
    (
        b"version https://git-lfs",
        "a Git LFS pointer, not the model",
        "Fetch the model itself with `git lfs pull`.",
    ),
    (
        b"PK\x03\x04",
        "a zip archive",
        "A PyTorch .pt2 program is exported with `edgewise export FILE -o OUT.onnx`.",
    ),
    (
        b"\x80\x02",
        "a Python pickle",
        "Edgewise reads no pickles; export it with `edgewise export file.py:factory`.",
    ),
    (b"\x89HDF\r\n", "an HDF5 file (Keras)", "Convert it to TFLite or ONNX first."),
    (b"GGUF", "a GGUF file", _HINT),
    (b"<", "an HTML or XML page", "A failed download looks like this: fetch the model again."),
    (b"\x7fELF", "a program", _HINT),
)


def sniff(path: str | Path) -> str:
    """ "onnx" or "tflite", told from the content and never from the name.

    ModelError when the file is missing, empty, cut short, or something else; the message says what it seems
    to be.
    """
    path = Path(path)
    with opened(path) as (buffer, size):
        return _format(path, buffer, size)


def index(path: str | Path) -> ModelIndex:
    """The index of a model file, with the SHA-256 of all its files.

    External data must lie inside the model's folder and be long enough. ModelError says what is wrong and
    what to do; no other exception comes out of a bad file, and memory stays proportional to the number of
    tensors.
    """
    path = Path(path)
    with opened(path) as (buffer, size):
        if _format(path, buffer, size) == "tflite":
            return _tflite_index(path, buffer, size)
        return _onnx_index(path, buffer, size)


@contextmanager
def opened(path: Path) -> Iterator[tuple[Buffer, int]]:
    """The file's bytes, mapped and not read, and their number."""
    try:
        with path.open("rb") as stream:
            size = os.fstat(stream.fileno()).st_size
            if size == 0:
                raise ModelError(f"{path}: the file is empty", _DAMAGED_HINT)
            with mmap.mmap(stream.fileno(), 0, access=mmap.ACCESS_READ) as buffer:
                yield buffer, size
    except FileNotFoundError as error:
        raise ModelError(f"{path}: there is no such file", "Check the path.") from error
    except IsADirectoryError as error:
        raise ModelError(f"{path}: this is a folder, a model file was expected", "Name the file in it.") from error
    except (OSError, ValueError) as error:
        if isinstance(error, ModelError):
            raise
        reason = getattr(error, "strerror", None) or error
        raise ModelError(f"{path}: cannot be read ({reason})", "Check the path and its permissions.") from error


def _format(path: Path, buffer: Buffer, size: int) -> str:
    head = buffer[: min(size, 64)]
    if head[4:8] == b"TFL3":
        return "tflite"
    if head[4:8] == b"ORTM":
        raise ModelError(f"{path}: this is ONNX Runtime's own format (.ort)", "Give the .onnx it was made from.")
    for magic, what, hint in _OTHERS:
        if head.lstrip().startswith(magic):
            raise ModelError(f"{path}: this is {what}, not an ONNX or TFLite model", hint)
    return _onnx_or_error(path, buffer, size)


def _onnx_or_error(path: Path, buffer: Buffer, size: int) -> str:
    """ "onnx" when the top level reads as a ModelProto with a graph; its fields are few, so this costs
    nothing.
    """
    seen: set[int] = set()
    try:
        for item in fields(buffer, 0, size):
            expected = {1: VARINT, 7: BYTES, 8: BYTES}.get(item.number, item.wire_type)
            if item.number > 100 or item.wire_type != expected:
                raise WireError(f"field {item.number} of wire type {item.wire_type} is not one of a ModelProto")
            seen.add(item.number)
    except WireError as error:
        if 1 in seen:  # it began like one
            raise ModelError(f"{path}: damaged ONNX file, {error}", _DAMAGED_HINT) from error
        raise ModelError(f"{path}: neither ONNX nor TFLite by its content", _HINT) from error
    if {1, 7} <= seen and 8 not in seen:
        raise ModelError(f"{path}: cut short, it does not say which operator set it uses", _DAMAGED_HINT)
    if 7 not in seen:
        what = (
            "cut short or not a model: there is no graph in it"
            if 1 in seen
            else "neither ONNX nor TFLite by its content"
        )
        raise ModelError(f"{path}: {what}", _HINT)
    return "onnx"


def _onnx_index(path: Path, buffer: Buffer, size: int) -> ModelIndex:
    try:
        scan = scan_onnx(buffer, size)
    except WireError as error:
        raise ModelError(f"{path}: damaged ONNX file, {error}", _DAMAGED_HINT) from error
    files = [FileInfo("", size, file_sha256(path))]
    for location, external in sorted(check_external(path, scan.tensors).items()):
        files.append(FileInfo(location, external.stat().st_size, file_sha256(external)))
    return ModelIndex(
        path=path,
        format="onnx",
        sha256=content_sha256(files),
        size_bytes=sum(info.size_bytes for info in files),
        files=tuple(files),
        inputs=tuple(scan.inputs),
        outputs=tuple(scan.outputs),
        tensors=tuple(scan.tensors),
        operators=dict(scan.operators.most_common()),
        opsets=scan.opsets,
        ir_version=scan.ir_version,
        producer=scan.producer,
        metadata=scan.metadata,
        functions=tuple(scan.functions),
    )


def _tflite_index(path: Path, buffer: Buffer, size: int) -> ModelIndex:
    try:
        scan = scan_tflite(buffer, size)
        main = scan.graphs[0]
        inputs, outputs = scan.values(main.inputs), scan.values(main.outputs)
        tensors: tuple[TensorBytes, ...] = tuple(scan.stored())
    except FlatError as error:
        raise ModelError(f"{path}: damaged TFLite file, {error}", _DAMAGED_HINT) from error
    files = (FileInfo("", size, file_sha256(path)),)
    return ModelIndex(
        path=path,
        format="tflite",
        sha256=content_sha256(files),
        size_bytes=size,
        files=files,
        inputs=tuple(inputs),
        outputs=tuple(outputs),
        tensors=tensors,
        operators=dict(scan.operators.most_common()),
        operator_versions=scan.operator_versions,
        ir_version=scan.version,
        producer=scan.producer,
        metadata=scan.metadata,
    )
