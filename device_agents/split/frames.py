"""The frame around a coded tensor: what it is, how it was coded, and a check sum; bounded before anything is allocated.

Little-endian, in this order:

=======================  ============================================================================================
magic                    4 bytes, ``EWC1``
version, base, entropy   1 byte each; see BASES and ENTROPIES
flags                    1 byte; bit 0: ranges per channel (axis 1), 1: codes are packed into bytes, 2: differences
dtype, ndim              1 byte each; see DTYPES; ndim is at most 8
nothing                  2 bytes, 0
dims                     ndim of 4 bytes
ranges                   4 bytes: how many float32 follow the payload's size; half of them lows, half of them highs
payload                  8 bytes: its size
ranges, payload          as many as was said
crc32                    4 bytes, over everything before (zlib's)
=======================  ============================================================================================
"""

import struct
import zlib
from typing import List, NamedTuple, Tuple, Union

MAGIC = b"EWC1"
VERSION = 1
BASES = ("raw", "fp16", "q8", "q4", "q2", "jpeg", "webp")
IMAGES = ("jpeg", "webp")
ENTROPIES = ("", "zlib", "zstd", "lz4")
# The names of the Open Inference Protocol, and numpy's for each.
DTYPES = ("FP32", "FP16", "FP64", "INT8", "UINT8", "INT16", "UINT16", "INT32", "UINT32", "INT64", "UINT64", "BOOL")
NUMPY_NAMES = (
    "float32", "float16", "float64", "int8", "uint8", "int16", "uint16", "int32", "uint32", "int64", "uint64", "bool",
)  # fmt: skip
ITEM_BYTES = (4, 2, 8, 1, 1, 2, 2, 4, 4, 8, 8, 1)
PER_CHANNEL, PACKED, DELTA = 1, 2, 4
MAX_DIMS = 8
MAX_RANGES = 2 * 65_536

_HEAD = struct.Struct("<4sBBBBBBH")
_SIZES = struct.Struct("<IQ")
_CRC = struct.Struct("<I")


class CodecError(ValueError):
    """A frame is damaged, foreign or too large, or a tensor cannot be coded as asked; the message says which."""


class Frame(NamedTuple):
    """A frame without its payload's meaning. ``ranges``: lows, then highs. ``payload`` is a view of the bytes."""

    base: str
    entropy: str
    flags: int
    dtype: str
    dims: Tuple[int, ...]
    ranges: Tuple[float, ...]
    payload: memoryview

    @property
    def items(self) -> int:
        """How many numbers the tensor has."""
        return count(self.dims)

    @property
    def size_bytes(self) -> int:
        """How large the tensor is when decoded."""
        return self.items * ITEM_BYTES[DTYPES.index(self.dtype)]


def count(dims: Tuple[int, ...]) -> int:
    """The product of the dimensions."""
    total = 1
    for dim in dims:
        total *= dim
    return total


def span(dims: Tuple[int, ...]) -> int:
    """The product of the dimensions that are not 0: numpy wants it to be a size even where there is nothing."""
    return count(tuple(dim for dim in dims if dim))


def pack(frame: Frame) -> bytes:
    """The frame as bytes. CodecError when it does not fit the format."""
    if len(frame.dims) > MAX_DIMS or any(not 0 <= dim < 2**32 for dim in frame.dims):
        raise CodecError("a tensor of shape {} does not fit into a frame".format(list(frame.dims)))
    if len(frame.ranges) > MAX_RANGES:
        raise CodecError("{} channels, at most {} are coded apart".format(len(frame.ranges) // 2, MAX_RANGES // 2))
    head = _HEAD.pack(
        MAGIC,
        VERSION,
        BASES.index(frame.base),
        ENTROPIES.index(frame.entropy),
        frame.flags,
        DTYPES.index(frame.dtype),
        len(frame.dims),
        0,
    )
    parts: List[Union[bytes, memoryview]] = [
        head,
        struct.pack("<{}I".format(len(frame.dims)), *frame.dims),
        _SIZES.pack(len(frame.ranges), len(frame.payload)),
        struct.pack("<{}f".format(len(frame.ranges)), *frame.ranges),
        frame.payload,
    ]
    crc = 0
    for part in parts:
        crc = zlib.crc32(part, crc)
    return b"".join([*parts, _CRC.pack(crc)])


def unpack(data: bytes, limit_bytes: int) -> Frame:
    """The frame of the bytes. CodecError when it is damaged, of another version, or decodes to more than the limit."""
    view = memoryview(data)
    if len(view) < _HEAD.size + _SIZES.size + _CRC.size:
        raise CodecError("a frame of {} bytes is too short".format(len(view)))
    magic, version, base, entropy, flags, dtype, ndim, nothing = _HEAD.unpack_from(view)
    if magic != MAGIC or version != VERSION or nothing:
        raise CodecError("not a frame of version {}".format(VERSION))
    if base >= len(BASES) or entropy >= len(ENTROPIES) or dtype >= len(DTYPES) or flags > 7 or ndim > MAX_DIMS:
        raise CodecError("the frame is of a kind that is not known here")
    at = _HEAD.size
    if len(view) < at + 4 * ndim + _SIZES.size + _CRC.size:
        raise CodecError("the frame is cut in its dimensions")
    dims: Tuple[int, ...] = struct.unpack_from("<{}I".format(ndim), view, at)
    at += 4 * ndim
    ranges_count, payload_bytes = _SIZES.unpack_from(view, at)
    at += _SIZES.size
    if span(dims) * ITEM_BYTES[dtype] > limit_bytes:
        raise CodecError("a tensor of shape {} is larger than the limit of {} bytes".format(list(dims), limit_bytes))
    if ranges_count > MAX_RANGES or ranges_count % 2 or len(view) != at + 4 * ranges_count + payload_bytes + _CRC.size:
        raise CodecError("the frame's sizes do not fit its {} bytes".format(len(view)))
    if zlib.crc32(view[: -_CRC.size]) != _CRC.unpack_from(view, len(view) - _CRC.size)[0]:
        raise CodecError("the frame is damaged: its check sum is wrong")
    ranges: Tuple[float, ...] = struct.unpack_from("<{}f".format(ranges_count), view, at)
    at += 4 * ranges_count
    return Frame(BASES[base], ENTROPIES[entropy], flags, DTYPES[dtype], dims, ranges, view[at : at + payload_bytes])
