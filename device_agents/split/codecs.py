"""Codecs of activations: float16, 8, 4 and 2 bits within a calibrated range, and an entropy coder over them.

A codec's name is ``[delta:]BASE[.c][+ENTROPY]``. BASE: raw, fp16, q8, q4 or q2; ``.c`` for a range per channel (axis
1); zlib (in the standard library), zstd or lz4 where the package is there. Codes are ``round((x - low) / step)`` with
``step = (high - low) / (2^bits - 1)``, values outside of the range are clipped to it: the error of one inside is at
most half a step. Without an entropy coder codes of less than a byte are packed; with one they are not, because it does
better on those. ``delta:`` sends the difference to an earlier frame of a stream (delta.py).

Image inputs may also go as jpegQ or webpQ, with Q a quality from 1 to 100 (images.py): their codes of 8 bits are a
picture then, and how far off one is depends on the picture.
"""

import re
from functools import lru_cache
from typing import TYPE_CHECKING, Any, NamedTuple, Optional, Tuple

from device_agents.split import delta, entropy, images
from device_agents.split.frames import (
    DELTA,
    DTYPES,
    IMAGES,
    NUMPY_NAMES,
    PACKED,
    PER_CHANNEL,
    CodecError,
    Frame,
    pack,
    unpack,
)
from device_agents.split.quantise import Range, dequantise, measure, pack_codes, quantise, range_of, unpack_codes

if TYPE_CHECKING:
    from numpy.typing import NDArray

    Array = NDArray[Any]

__all__ = ["BITS", "Codec", "Range", "available", "decode", "encode", "measure", "parse"]

BITS = {"q8": 8, "q4": 4, "q2": 2}
DEFAULT_LIMIT_BYTES = 1 << 30
FLOATS = ("FP32", "FP16", "FP64")
_NAME = re.compile(r"(delta:)?(raw|fp16|q8|q4|q2|(?:jpeg|webp)(?=\d))([1-9]\d?|100)?(\.c)?(?:\+(zlib|zstd|lz4))?", re.A)


class Codec(NamedTuple):
    """A codec's name, taken apart. ``quality``: of a picture, else 0."""

    base: str
    per_channel: bool
    entropy: str
    quality: int = 0
    delta: bool = False

    @property
    def name(self) -> str:
        """The name again."""
        base = ("delta:" if self.delta else "") + self.base + (str(self.quality) if self.quality else "")
        return base + (".c" if self.per_channel else "") + ("+" + self.entropy if self.entropy else "")

    @property
    def lossless(self) -> bool:
        """Whether every bit comes back."""
        return self.base == "raw"


@lru_cache(maxsize=256)
def parse(name: str) -> Codec:
    """The codec of a name. CodecError when there is none of that name."""
    found = _NAME.fullmatch(name)
    if found is not None:
        prefix, base, quality, channel, coder = found.groups()
        picture = base in IMAGES
        whole = bool(quality) == picture and not (picture and coder)
        if whole and (base in BITS or picture or not channel) and (base in BITS or not prefix):
            return Codec(base, bool(channel), coder or "", int(quality or 0), bool(prefix))
    raise CodecError("no codec is called {!r}".format(name[:80]))


def available(name: str) -> Optional[str]:
    """None when this interpreter can use the codec, else the reason."""
    codec = parse(name)
    try:
        entropy.module_of(codec.entropy)
    except CodecError as error:
        return str(error)
    return images.unavailable(codec.base) if codec.quality else None


def encode(array: "Array", name: str, within: Optional[Range] = None, sender: Optional[delta.Sender] = None) -> bytes:
    """The array as a frame. ``within``: its calibrated range; without one it is that of the array itself.

    ``sender``: the stream that the frame is of; without one a difference is to nothing.
    CodecError when the codec does not fit the array (only floats are quantised; a picture may also be UINT8).
    """
    import numpy as np

    codec = parse(name)
    array = np.asarray(array, order="C")  # ascontiguousarray would make a vector of a scalar
    dtype = _dtype_of(array)
    if codec.base == "raw":
        return _packed(codec, 0, dtype, array.shape, None, _bytes(array))
    if dtype not in FLOATS and not (codec.quality and dtype == "UINT8"):
        raise CodecError("codec {} is for floating point, the tensor is {}".format(name, dtype))
    if codec.base == "fp16":
        with np.errstate(over="ignore"):  # beyond 65504 there is only infinity
            return _packed(codec, 0, dtype, array.shape, None, _bytes(array.astype(np.float16)))
    flags = PER_CHANNEL if codec.per_channel and array.ndim > 1 and array.size and dtype != "UINT8" else 0
    if codec.quality:
        found = None if dtype == "UINT8" else _range_for(array, codec, bool(flags), within, None)
        codes = array.reshape(-1) if found is None else quantise(array, found, 8)
        picture = images.compress(codes, array.shape, codec.base, codec.quality)
        return _packed(codec, flags, dtype, array.shape, found, memoryview(picture))
    found = _range_for(array, codec, bool(flags), within, sender)
    codes, mark = quantise(array, found, BITS[codec.base]), b""
    if codec.delta:
        flags |= DELTA
        known = delta.Known(codes, array.shape, _as_sent(found))
        told, codes = (sender or delta.Sender()).difference(known, (1 << BITS[codec.base]) - 1)
        mark = delta.MARK.pack(*told)
    if not codec.entropy and codec.base != "q8":
        codes, flags = pack_codes(codes, BITS[codec.base]), flags | PACKED
    return _packed(codec, flags, dtype, array.shape, found, _bytes(codes), mark)


def decode(data: bytes, limit_bytes: int = DEFAULT_LIMIT_BYTES, streams: Optional[delta.Streams] = None) -> "Array":
    """The array of a frame, of the shape and type that was encoded. CodecError when the frame is not in order.

    Nothing larger than ``limit_bytes`` is allocated, whatever the frame says. ``streams``: what is remembered of
    streams; delta.Resync when a difference is to a frame that is not known there.
    """
    import numpy as np

    frame = unpack(data, limit_bytes)
    bits = BITS.get(frame.base)
    numpy_type = np.dtype(NUMPY_NAMES[DTYPES.index(frame.dtype)])
    if frame.base in IMAGES:
        codes = images.expand(frame.payload, frame.dims, frame.base)
        return codes.reshape(frame.dims) if frame.dtype == "UINT8" else _values(codes, frame, 8, numpy_type)
    payload, mark = frame.payload, None
    if frame.flags & DELTA:
        mark, payload = delta.split_mark(payload)
    content = entropy.decompress(payload, frame.entropy, _wanted(frame, bits))
    if len(content) != _wanted(frame, bits):
        words = "the frame has {} bytes for a tensor that takes {}"
        raise CodecError(words.format(len(content), _wanted(frame, bits)))
    if frame.base == "raw":
        return np.frombuffer(content, numpy_type).reshape(frame.dims).copy()
    if bits is None:
        return np.frombuffer(content, np.float16).reshape(frame.dims).astype(numpy_type)
    codes = np.frombuffer(content, np.uint8)
    if frame.flags & PACKED:
        codes = unpack_codes(codes, bits, frame.items)
    if mark is not None:
        # Differences are below the top as codes are: checked first, so that no stream remembers what is not in order.
        values = _values(codes, frame, bits, numpy_type)
        known = (streams or delta.Streams()).restored(codes, mark, frame.dims, range_of(frame), (1 << bits) - 1)
        return values if known is codes else _values(known, frame, bits, numpy_type)
    return _values(codes, frame, bits, numpy_type)


def _wanted(frame: Frame, bits: Optional[int]) -> int:
    """How many bytes the frame's content must have."""
    if frame.base == "raw":
        return frame.size_bytes
    if bits is None:
        return frame.items * 2
    return (frame.items * bits + 7) // 8 if frame.flags & PACKED else frame.items


def _values(codes: "Array", frame: Frame, bits: int, numpy_type: Any) -> "Array":
    return dequantise(codes, frame, bits).astype(numpy_type, copy=False)


def _bytes(array: "Array") -> memoryview:
    import numpy as np

    return array.reshape(-1).view(np.uint8).data


def _packed(
    codec: Codec,
    flags: int,
    dtype: str,
    dims: Tuple[int, ...],
    found: Optional[Range],
    content: memoryview,
    mark: bytes = b"",
) -> bytes:
    ranges = found.low + found.high if found is not None else ()
    payload = entropy.compress(content, codec.entropy)
    if mark:
        payload = memoryview(mark + bytes(payload))
    return pack(Frame(codec.base, codec.entropy, flags, dtype, dims, ranges, payload))


def _as_sent(found: Range) -> Range:
    """A range as it comes back out of a frame: its edges are float32 there."""
    import numpy as np

    return Range(*(tuple(float(np.float32(edge)) for edge in side) for side in found))


def _dtype_of(array: "Array") -> str:
    try:
        return DTYPES[NUMPY_NAMES.index(array.dtype.name)]
    except ValueError:
        raise CodecError("tensors of {} cannot be sent".format(array.dtype)) from None


def _range_for(
    array: "Array", codec: Codec, apart: bool, within: Optional[Range], sender: Optional[delta.Sender]
) -> Range:
    channels = array.shape[1] if apart else 1
    if within is not None and array.size:
        found = within
    else:
        found = measure(array, apart)
        if sender is not None:
            found = sender.range_for(_as_sent(found))
    if len(found.low) != channels:
        raise CodecError(
            "codec {} wants {} ranges for a tensor of shape {}, there are {}".format(
                codec.name, channels, list(array.shape), len(found.low)
            )
        )
    return found
