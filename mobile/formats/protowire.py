"""Reads the protobuf wire format from a buffer, every number and length checked against the bytes that are
there.

Only what ONNX needs: varints, fixed-width values and length-delimited fields. Nothing is copied or allocated
beyond one field's head, so a hostile file costs no more than the time to walk it.
"""

from __future__ import annotations

import mmap
from collections.abc import Iterator
from typing import NamedTuple

Buffer = bytes | mmap.mmap

VARINT, FIXED64, BYTES, FIXED32 = 0, 1, 2, 5
MAX_STRING_BYTES = 1 << 20  # a longer name or metadata value is not one


class WireError(ValueError):
    """The bytes are not a protobuf message; the message says where and why."""


class Field(NamedTuple):
    """One field. For BYTES, ``start`` and ``end`` bound its content; for the others ``value`` holds the
    number.
    """

    number: int
    wire_type: int
    value: int
    start: int
    end: int


def varint(buffer: Buffer, position: int, end: int) -> tuple[int, int]:
    """The unsigned value at ``position`` and the position behind it. WireError when it is longer than 64 bits
    or cut short.
    """
    value = 0
    for shift in range(0, 70, 7):
        if position >= end:
            raise WireError(f"a number at byte {position} is cut short")
        byte = buffer[position]
        position += 1
        value |= (byte & 0x7F) << shift
        if byte < 0x80:
            if value >> 64:
                break
            return value, position
    raise WireError(f"a number that ends at byte {position} is longer than 64 bits")


def signed(value: int) -> int:
    """An unsigned 64-bit varint read as protobuf's int64."""
    return value - (1 << 64) if value >> 63 else value


def fields(buffer: Buffer, start: int, end: int) -> Iterator[Field]:
    """The fields of the message in ``buffer[start:end]``, in file order. WireError when it is not one."""
    position = start
    while position < end:
        at = position
        key, position = varint(buffer, position, end)
        number, wire_type = key >> 3, key & 7
        if not 0 < number < 1 << 29:
            raise WireError(f"field number {number} at byte {at}")
        if wire_type == VARINT:
            value, position = varint(buffer, position, end)
            yield Field(number, wire_type, value, at, position)
        elif wire_type == BYTES:
            length, position = varint(buffer, position, end)
            if length > end - position:
                raise WireError(f"field {number} at byte {at} claims {length} bytes, {end - position} are there")
            yield Field(number, wire_type, 0, position, position + length)
            position += length
        elif wire_type in (FIXED64, FIXED32):
            width = 8 if wire_type == FIXED64 else 4
            if width > end - position:
                raise WireError(f"field {number} at byte {at} is cut short")
            value = int.from_bytes(buffer[position : position + width], "little")
            yield Field(number, wire_type, value, position, position + width)
            position += width
        else:
            raise WireError(f"wire type {wire_type} at byte {at}")


def text(buffer: Buffer, field: Field) -> str:
    """A string field's content, undecodable bytes replaced. WireError over `MAX_STRING_BYTES`."""
    if field.wire_type != BYTES:
        raise WireError(f"field {field.number} before byte {field.end} is a number, a string was expected")
    if field.end - field.start > MAX_STRING_BYTES:
        raise WireError(f"a string of {field.end - field.start} bytes at byte {field.start}")
    return buffer[field.start : field.end].decode("utf-8", "replace")


def repeated_varints(buffer: Buffer, field: Field, limit: int) -> list[int]:
    """The signed values of one occurrence of a repeated int64 field, packed or not. WireError over ``limit``
    values.
    """
    if field.wire_type == VARINT:
        return [signed(field.value)]
    if field.wire_type != BYTES:
        raise WireError(f"field {field.number} before byte {field.end} is not a list of numbers")
    values: list[int] = []
    position = field.start
    while position < field.end:
        value, position = varint(buffer, position, field.end)
        values.append(signed(value))
        if len(values) > limit:
            raise WireError(f"more than {limit} values at byte {field.start}")
    return values
