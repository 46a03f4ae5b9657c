"""An ONNX model without its weights: the same message with every large tensor's values left out.

Works on the bytes, so that a model of any size is looked into without loading it.
"""

from __future__ import annotations

from mobile.formats import protowire as wire

KEEP_BYTES = 1024  # shapes, axes and scales stay, since shape inference reads them
_MAX_DEPTH = 24
_VALUES = (
    4,
    5,
    6,
    7,
    9,
    10,
    11,
)  # TensorProto's float_data, int32_data, string_data, int64_data, raw_data, double, uint64
_ENTRY = b"\x0a\x08location\x12\x04gone"  # external_data {key: "location", value: "gone"}
_EXTERNAL = bytes([14 << 3, 1, 13 << 3 | 2, len(_ENTRY)]) + _ENTRY  # data_location = EXTERNAL, and the entry

_Rules = dict[int, str]
_RULES: dict[str, _Rules] = {
    "model": {7: "graph", 25: "function"},
    "function": {7: "node"},
    "graph": {1: "node", 5: "tensor"},
    "node": {5: "attribute"},
    "attribute": {5: "tensor", 10: "tensor", 6: "graph", 11: "graph"},
}


def skeleton(buffer: wire.Buffer, size: int) -> bytes:
    """The ModelProto in ``buffer`` without large values; such tensors are marked external. WireError when it is
    none.
    """
    return _copy(buffer, 0, size, "model", 0)


def _copy(buffer: wire.Buffer, start: int, end: int, kind: str, depth: int) -> bytes:
    if depth > 4 * _MAX_DEPTH:
        raise wire.WireError(f"graphs are nested more than {_MAX_DEPTH} deep")
    if kind == "tensor":
        return _tensor(buffer, start, end)
    parts: list[bytes] = []
    rules, position = _RULES[kind], start
    for item in wire.fields(buffer, start, end):
        inner = rules.get(item.number)
        if inner is None or item.wire_type != wire.BYTES:
            parts.append(bytes(buffer[position : item.end]))
        else:
            content = _copy(buffer, item.start, item.end, inner, depth + 1)
            parts += [_varint(item.number << 3 | wire.BYTES), _varint(len(content)), content]
        position = item.end
    return b"".join(parts)


def _tensor(buffer: wire.Buffer, start: int, end: int) -> bytes:
    if end - start <= KEEP_BYTES:
        return bytes(buffer[start:end])
    parts: list[bytes] = []
    position = start
    for item in wire.fields(buffer, start, end):
        if item.number not in (*_VALUES, 13, 14):
            parts.append(bytes(buffer[position : item.end]))
        position = item.end
    return b"".join([*parts, _EXTERNAL])


def _varint(value: int) -> bytes:
    out = bytearray()
    while value > 127:
        out.append(value & 127 | 128)
        value >>= 7
    return bytes([*out, value])
