"""Reads FlatBuffers tables from a buffer, every offset and length checked against the bytes that are
there.
"""

from __future__ import annotations

import mmap
import struct

Buffer = bytes | mmap.mmap

MAX_STRING_BYTES = 1 << 20


class FlatError(ValueError):
    """The bytes are not the flatbuffer they claim to be; the message says where and why."""


class _Source:
    """The bytes, and how many may still be copied out of them.

    Offsets of a flatbuffer may share their targets, so a small hostile file can describe an endless number of
    things; a real one holds each about once. The allowance of 16 times the file's size keeps memory and time
    in proportion to it.
    """

    def __init__(self, buffer: Buffer, size: int) -> None:
        self.buffer = buffer
        self.size = size
        self._left_bytes = 16 * size + (1 << 20)

    def spend(self, size_bytes: int) -> None:
        """Counts a copy. FlatError when the allowance is used up."""
        self._left_bytes -= size_bytes + 8
        if self._left_bytes < 0:
            raise FlatError("its offsets describe far more than the file holds")

    def number(self, code: str, at: int) -> int:
        """The integer at a position."""
        if not 0 <= at <= self.size - struct.calcsize(code):
            raise FlatError(f"an offset points to byte {at} of {self.size}")
        value: int = struct.unpack_from(code, self.buffer, at)[0]
        return value


class Table:
    """A table at ``position``. Scalars are read with a struct code ("<i" and the like) and have a default
    when absent.
    """

    def __init__(self, source: _Source, position: int) -> None:
        source.spend(0)
        self._source = source
        self._size = source.size
        self._number = source.number
        self.position = position
        self._vtable = position - self._number("<i", position)
        self._vtable_bytes = self._number("<H", self._vtable)

    @classmethod
    def root(cls, buffer: Buffer, size: int) -> Table:
        """The root table of the buffer."""
        source = _Source(buffer, size)
        return cls(source, source.number("<I", 0))

    def scalar(self, slot: int, code: str, default: int = 0) -> int:
        """The integer in the field of that number, or its default."""
        at = self._field(slot)
        return default if at is None else self._number(code, at)

    def text(self, slot: int) -> str:
        """The string of a field, "" when absent."""
        at = self._target(slot)
        if at is None:
            return ""
        length = self._number("<I", at)
        if length > min(MAX_STRING_BYTES, self._size - at - 4):
            raise FlatError(f"a string at byte {at} claims {length} bytes")
        self._source.spend(length)
        return self._source.buffer[at + 4 : at + 4 + length].decode("utf-8", "replace")

    def table(self, slot: int) -> Table | None:
        """The table of a field, None when absent."""
        at = self._target(slot)
        return None if at is None else Table(self._source, at)

    def vector(self, slot: int, item_bytes: int) -> tuple[int, int]:
        """Position of the first item and number of items of a vector; (0, 0) when absent."""
        at = self._target(slot)
        if at is None:
            return 0, 0
        count = self._number("<I", at)
        if count * item_bytes > self._size - at - 4:
            raise FlatError(f"a vector at byte {at} claims {count} items of {item_bytes} bytes")
        return at + 4, count

    def numbers(self, slot: int, limit: int, code: str = "<i") -> tuple[int, ...]:
        """The integers of a vector. FlatError when there are more than ``limit``."""
        width = struct.calcsize(code)
        start, count = self.vector(slot, width)
        if count > limit:
            raise FlatError(f"a vector at byte {start} has {count} items, the limit is {limit}")
        self._source.spend(count * width)
        return struct.unpack(f"<{count}{code[-1]}", self._source.buffer[start : start + count * width])

    def tables(self, slot: int, limit: int) -> list[Table]:
        """The tables of a vector. FlatError when there are more than ``limit``."""
        start, count = self.vector(slot, 4)
        if count > limit:
            raise FlatError(f"a vector at byte {start} has {count} items, the limit is {limit}")
        positions = range(start, start + 4 * count, 4)
        return [Table(self._source, at + self._number("<I", at)) for at in positions]

    def _field(self, slot: int) -> int | None:
        """Position of the field's value, None when it is absent."""
        entry = 4 + 2 * slot
        if entry + 2 > self._vtable_bytes:
            return None
        offset = self._number("<H", self._vtable + entry)
        return self.position + offset if offset else None

    def _target(self, slot: int) -> int | None:
        at = self._field(slot)
        return None if at is None else at + self._number("<I", at)
