"""Reads one ONNX TensorProto: its type, shape, and where its bytes lie."""

from __future__ import annotations

import math
from dataclasses import dataclass, field

from mobile.formats import protowire as wire
from mobile.formats.dtypes import ONNX_TYPES, packed_bytes
from mobile.formats.model_index import TensorBytes

MAX_RANK = 64
_FLOAT_DATA, _DOUBLE_DATA, _STRING_DATA = 4, 10, 6


@dataclass
class _Draft:
    name: str = ""
    data_type: int = 0
    dims: list[int] = field(default_factory=list)
    raw: tuple[int, int] | None = None
    typed: dict[int, list[tuple[int, int]]] = field(default_factory=dict)  # field number -> byte ranges, as they come
    typed_bytes: int = 0
    strings_bytes: int = 0
    external: bool = False
    entries: dict[str, str] = field(default_factory=dict)


def read_tensor(buffer: wire.Buffer, start: int, end: int, role: str) -> TensorBytes:
    """The tensor in ``buffer[start:end]``. WireError when it is no TensorProto or holds too few bytes for its
    shape.
    """
    draft = _Draft()
    for item in wire.fields(buffer, start, end):
        _take(buffer, item, draft)
    name, bits = ONNX_TYPES.get(draft.data_type, ("", 0))
    if not name:
        raise wire.WireError(f"tensor {draft.name!r} has the unknown data type {draft.data_type}")
    if any(size < 0 for size in draft.dims):
        raise wire.WireError(f"tensor {draft.name!r} has the shape {draft.dims}")
    length = draft.strings_bytes if name == "string" else packed_bytes(math.prod(draft.dims), bits)
    offset, stored, location = _place(draft, length, bits)
    return TensorBytes(draft.name, name, tuple(draft.dims), offset, length, location, stored, role, bits)


def _take(buffer: wire.Buffer, item: wire.Field, draft: _Draft) -> None:
    if item.number == 1:
        draft.dims += wire.repeated_varints(buffer, item, MAX_RANK)
        if len(draft.dims) > MAX_RANK:
            raise wire.WireError(f"a tensor of more than {MAX_RANK} dimensions before byte {item.end}")
    elif item.number == 2 and item.wire_type == wire.VARINT:
        draft.data_type = item.value
    elif item.number == 8:
        draft.name = wire.text(buffer, item)
    elif item.number == 9 and item.wire_type == wire.BYTES:
        draft.raw = (item.start, item.end)
    elif item.number == 13 and item.wire_type == wire.BYTES:
        key, value = read_entry(buffer, item)
        if len(draft.entries) >= 16:
            raise wire.WireError(f"tensor {draft.name!r} has too many external_data entries")
        draft.entries[key] = value
    elif item.number == 14:
        draft.external = item.value == 1
    elif item.number == _STRING_DATA:
        draft.strings_bytes += item.end - item.start
    elif item.number in (_FLOAT_DATA, 5, 7, _DOUBLE_DATA, 11):
        draft.typed_bytes += item.end - item.start
        ranges = draft.typed.setdefault(item.number, [])
        if len(ranges) < 2:  # one run has a byte range; of more, it is enough to know that there are more
            ranges.append((item.start, item.end))


def read_entry(buffer: wire.Buffer, item: wire.Field) -> tuple[str, str]:
    """Key and value of a StringStringEntryProto."""
    key = value = ""
    for part in wire.fields(buffer, item.start, item.end):
        if part.number == 1:
            key = wire.text(buffer, part)
        elif part.number == 2:
            value = wire.text(buffer, part)
    return key, value


def _place(draft: _Draft, length: int, bits: int) -> tuple[int | None, str, str | None]:
    """Offset, how it is stored, and the external location. WireError when fewer bytes are there than the
    shape needs.
    """
    if draft.external:
        return _external_place(draft, length)
    if draft.raw is not None and (
        draft.raw[0] < draft.raw[1] or not draft.typed
    ):  # an empty one may stand beside typed values
        start, end = draft.raw
        if end - start != length:
            raise wire.WireError(
                f"tensor {draft.name!r} of shape {draft.dims} needs {length} bytes, {end - start} are stored"
            )
        return start, "raw", None
    ranges = draft.typed.get(_FLOAT_DATA) or draft.typed.get(_DOUBLE_DATA) or []
    if len(ranges) == 1 and ranges[0][1] - ranges[0][0] == length:  # packed floats are the raw bytes
        return ranges[0][0], "raw", None
    # A number takes at least one byte there; those below eight bits are packed into bytes first.
    least = packed_bytes(math.prod(draft.dims), min(bits, 8))
    if least > draft.typed_bytes:
        raise wire.WireError(
            f"tensor {draft.name!r} of shape {draft.dims} needs {least} bytes or more, {draft.typed_bytes} are stored"
        )
    return None, "typed", None


def _external_place(draft: _Draft, length: int) -> tuple[int, str, str]:
    location = draft.entries.get("location", "")
    if not location:
        raise wire.WireError(f"tensor {draft.name!r} is external but names no file")
    offset = _whole(draft, "offset", 0)
    stored = _whole(draft, "length", length)
    if stored != length:
        raise wire.WireError(
            f"tensor {draft.name!r} of shape {draft.dims} needs {length} bytes, external_data says {stored}"
        )
    return offset, "external", location


def _whole(draft: _Draft, key: str, default: int) -> int:
    value = draft.entries.get(key, "")
    if not value:
        return default
    if not (value.isascii() and value.isdigit() and len(value) <= 19):
        raise wire.WireError(f"tensor {draft.name!r} has the external {key} {value[:40]!r}")
    return int(value)
