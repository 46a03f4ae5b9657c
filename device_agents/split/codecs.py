"""Codecs of activations: float16, 8, 4 and 2 bits within a calibrated range, and an entropy coder over them.

A codec's name is ``BASE[.c][+ENTROPY]``: raw, fp16, q8, q4 or q2; ``.c`` for a range per channel (axis 1); zlib (in the
standard library), zstd or lz4 where the package is there. Codes are ``round((x - low) / step)`` with ``step = (high -
low) / (2^bits - 1)``, values outside of the range are clipped to it: the error of one inside is at most half a step.
Without an entropy coder codes of less than a byte are packed; with one they are not, because it does better on those.
"""

import zlib
from typing import TYPE_CHECKING, Any, Dict, List, NamedTuple, Optional, Tuple, Type

from device_agents.split.frames import (
    BASES,
    DTYPES,
    ENTROPIES,
    NUMPY_NAMES,
    PACKED,
    PER_CHANNEL,
    CodecError,
    Frame,
    pack,
    unpack,
)

if TYPE_CHECKING:
    from numpy.typing import NDArray

    Array = NDArray[Any]

BITS = {"q8": 8, "q4": 4, "q2": 2}
BLOCK = 32_768  # numbers at a time: input, buffer and codes stay in a core's own cache
DEFAULT_LIMIT_BYTES = 1 << 30
ZLIB_LEVEL, ZSTD_LEVEL = 1, 3
LARGEST = 1.7e38  # of a range's edges: their difference is still a float32


class Codec(NamedTuple):
    """A codec's name, taken apart."""

    base: str
    per_channel: bool
    entropy: str

    @property
    def name(self) -> str:
        """The name again."""
        return self.base + (".c" if self.per_channel else "") + ("+" + self.entropy if self.entropy else "")


class Range(NamedTuple):
    """The calibrated range of a value: one low and high, or one for each channel (axis 1)."""

    low: Tuple[float, ...]
    high: Tuple[float, ...]

    @classmethod
    def from_json(cls, document: Any) -> "Range":
        """The range of {"low": [...], "high": [...]}. CodecError when it is none."""
        try:
            low, high = (tuple(float(number) for number in document[key]) for key in ("low", "high"))
        except (KeyError, TypeError, ValueError) as error:
            raise CodecError("not a range of low and high: {!r}".format(document)) from error
        if len(low) != len(high) or not low or any(not -LARGEST <= lo <= hi <= LARGEST for lo, hi in zip(low, high)):
            raise CodecError("a range needs as many highs as lows, none below its low, all within a float32")
        return cls(low, high)

    def to_json(self) -> Dict[str, List[float]]:
        """The range as JSON."""
        return {"low": list(self.low), "high": list(self.high)}


def parse(name: str) -> Codec:
    """The codec of a name. CodecError when there is none of that name."""
    rest, _, entropy = name.partition("+")
    base, dot, channel = rest.partition(".")
    per_channel = dot == "." and channel == "c"
    if base not in BASES or entropy not in ENTROPIES or (dot and not per_channel) or (per_channel and base not in BITS):
        raise CodecError("no codec is called {!r}".format(name))
    return Codec(base, per_channel, entropy)


def available(name: str) -> Optional[str]:
    """None when this interpreter can use the codec, else the reason."""
    entropy = parse(name).entropy
    try:
        _entropy_module(entropy)
    except CodecError as error:
        return str(error)
    return None


def encode(array: "Array", name: str, within: Optional[Range] = None) -> bytes:
    """The array as a frame. ``within``: its calibrated range; without one it is that of the array itself.

    CodecError when the codec does not fit the array (only floats are quantised).
    """
    import numpy as np

    codec = parse(name)
    array = np.asarray(array, order="C")  # ascontiguousarray would make a vector of a scalar
    dtype = _dtype_of(array)
    ranges: Tuple[float, ...] = ()
    flags = PER_CHANNEL if codec.per_channel and array.ndim > 1 and array.size else 0
    if codec.base == "raw":
        coded = array
    elif dtype not in ("FP32", "FP16", "FP64"):
        raise CodecError("codec {} is for floating point, the tensor is {}".format(name, dtype))
    elif codec.base == "fp16":
        with np.errstate(over="ignore"):  # beyond 65504 there is only infinity
            coded = array.astype(np.float16)
    else:
        found = _range_for(array, codec, bool(flags), within)
        ranges = found.low + found.high
        coded = _quantise(array, found, BITS[codec.base])
        if not codec.entropy and codec.base != "q8":
            coded, flags = _pack_codes(coded, BITS[codec.base]), flags | PACKED
    payload = _compress(coded.reshape(-1).view(np.uint8).data, codec.entropy)
    return pack(Frame(codec.base, codec.entropy, flags, dtype, array.shape, ranges, payload))


def decode(data: bytes, limit_bytes: int = DEFAULT_LIMIT_BYTES) -> "Array":
    """The array of a frame, of the shape and type that was encoded. CodecError when the frame is not in order.

    Nothing larger than ``limit_bytes`` is allocated, whatever the frame says.
    """
    import numpy as np

    frame = unpack(data, limit_bytes)
    bits = BITS.get(frame.base)
    numpy_type = np.dtype(NUMPY_NAMES[DTYPES.index(frame.dtype)])
    if frame.base == "raw":
        want = frame.size_bytes
    elif bits is None:
        want = frame.items * 2
    else:
        want = (frame.items * bits + 7) // 8 if frame.flags & PACKED else frame.items
    content = _decompress(frame.payload, frame.entropy, want)
    if len(content) != want:
        raise CodecError("the frame has {} bytes for a tensor that takes {}".format(len(content), want))
    if frame.base == "raw":
        return np.frombuffer(content, numpy_type).reshape(frame.dims).copy()
    if bits is None:
        return np.frombuffer(content, np.float16).reshape(frame.dims).astype(numpy_type)
    codes = np.frombuffer(content, np.uint8)
    if frame.flags & PACKED:
        codes = _unpack_codes(codes, bits, frame.items)
    return _dequantise(codes, frame, bits).astype(numpy_type, copy=False)


def _dtype_of(array: "Array") -> str:
    try:
        return DTYPES[NUMPY_NAMES.index(array.dtype.name)]
    except ValueError:
        raise CodecError("tensors of {} cannot be sent".format(array.dtype)) from None


def _range_for(array: "Array", codec: Codec, apart: bool, within: Optional[Range]) -> Range:
    channels = array.shape[1] if apart else 1
    found = within if within is not None and array.size else measure(array, apart)
    if len(found.low) != channels:
        raise CodecError(
            "codec {} wants {} ranges for a tensor of shape {}, there are {}".format(
                codec.name, channels, list(array.shape), len(found.low)
            )
        )
    return found


def measure(array: "Array", per_channel: bool = False) -> Range:
    """The least and the largest finite value of an array, or of each of its channels (axis 1); 0 to 0 without any."""
    import numpy as np

    apart = per_channel and array.ndim > 1 and array.size > 0
    rows = np.moveaxis(array, 1, 0).reshape(array.shape[1], -1) if apart else array.reshape(1, -1)
    if not rows.shape[1]:
        return Range((0.0,) * len(rows), (0.0,) * len(rows))
    low, high = rows.min(axis=1), rows.max(axis=1)
    if not (np.isfinite(low).all() and np.isfinite(high).all()):  # rare: only then is the longer way gone
        finite = np.isfinite(rows)
        low = np.where(finite, rows, np.inf).min(axis=1)
        high = np.where(finite, rows, -np.inf).max(axis=1)
        low, high = (np.where(np.isfinite(edge), edge, 0.0) for edge in (low, high))
    edges = (tuple(float(edge) for edge in np.clip(side, -LARGEST, LARGEST)) for side in (low, high))
    return Range(*edges)


def _quantise(array: "Array", found: Range, bits: int) -> "Array":
    import numpy as np

    top = (1 << bits) - 1
    codes = np.empty(array.size, np.uint8)
    flat = array.reshape(-1)
    buffer = np.empty(min(BLOCK, max(array.size, 1)), np.float32)
    for start, stop, channel in _runs(array.shape, len(found.low)):
        low, high = found.low[channel], found.high[channel]
        scale = top / (high - low) if high > low else 0.0
        for at in range(start, stop, BLOCK):
            part = flat[at : min(at + BLOCK, stop)]
            work = buffer[: len(part)]
            with np.errstate(over="ignore", invalid="ignore"):  # what is infinite is clipped below
                np.subtract(part, low, out=work, casting="same_kind")
                np.multiply(work, scale, out=work)
            np.add(work, 0.5, out=work)  # and cut off below: that rounds
            np.fmax(work, 0.0, out=work)  # a NaN becomes the lowest code
            np.fmin(work, top + 0.49, out=work)
            codes[at : at + len(part)] = work
    return codes


def _dequantise(codes: "Array", frame: Frame, bits: int) -> "Array":
    import numpy as np

    top = (1 << bits) - 1
    half = len(frame.ranges) // 2
    channels = half if frame.flags & PER_CHANNEL else 1
    if not half or half != channels or (frame.flags & PER_CHANNEL and not _fits_channels(frame.dims, half)):
        raise CodecError("the frame has {} ranges for a tensor of shape {}".format(half, list(frame.dims)))
    if not all(abs(edge) <= 1.01 * LARGEST for edge in frame.ranges):  # also false for NaN
        raise CodecError("a range of the frame is no number")
    if codes.size and int(codes.max()) > top:
        raise CodecError("a code of the frame is above {}".format(top))
    values = np.empty(codes.size, np.float32)
    for start, stop, channel in _runs(frame.dims, half):
        low, high = frame.ranges[channel], frame.ranges[half + channel]
        step = np.float32((high - low) / top)
        for at in range(start, stop, BLOCK):
            part = values[at : min(at + BLOCK, stop)]
            np.multiply(codes[at : at + len(part)], step, out=part)
            np.add(part, np.float32(low), out=part)
    return values.reshape(frame.dims)


def _fits_channels(dims: Tuple[int, ...], channels: int) -> bool:
    return (dims[1] if len(dims) > 1 else 1) == channels


def _runs(dims: Tuple[int, ...], channels: int) -> List[Tuple[int, int, int]]:
    """(start, stop, channel) of the stretches of a flat tensor that have one range."""
    size = 1
    for dim in dims:
        size *= dim
    if channels == 1:
        return [(0, size, 0)]
    length = size // (dims[0] * dims[1]) if size else 0
    return [(row * length, (row + 1) * length, row % channels) for row in range(dims[0] * dims[1])] if size else []


def _pack_codes(codes: "Array", bits: int) -> "Array":
    """Codes of 4 or 2 bits, as many as fit into a byte, the first lowest."""
    import numpy as np

    per_byte = 8 // bits
    padded = codes if not len(codes) % per_byte else np.pad(codes, (0, -len(codes) % per_byte))
    packed = padded[0::per_byte].copy()
    for place in range(1, per_byte):
        packed |= padded[place::per_byte] << (bits * place)
    return packed


def _unpack_codes(packed: "Array", bits: int, items: int) -> "Array":
    import numpy as np

    per_byte, top = 8 // bits, (1 << bits) - 1
    codes = np.empty(len(packed) * per_byte, np.uint8)
    for place in range(per_byte):
        np.bitwise_and(packed >> (bits * place), top, out=codes[place::per_byte])
    return codes[:items]


def _entropy_module(entropy: str) -> Any:
    try:
        if entropy == "zstd":
            import zstandard

            return zstandard
        if entropy == "lz4":
            import lz4.block

            return lz4.block
    except ImportError as error:
        raise CodecError("{} is not installed here".format(entropy)) from error
    return zlib


def _compress(content: memoryview, entropy: str) -> memoryview:
    if not entropy:
        return content
    module = _entropy_module(entropy)
    if entropy == "zstd":
        return memoryview(module.ZstdCompressor(level=ZSTD_LEVEL).compress(content))
    if entropy == "lz4":
        return memoryview(module.compress(content, store_size=False))
    return memoryview(zlib.compress(content, ZLIB_LEVEL))


def _decompress(payload: memoryview, entropy: str, want: int) -> memoryview:
    """The content, of which at most ``want`` bytes (and one more, which tells that there is too much) are made."""
    if not entropy:
        return payload
    module = _entropy_module(entropy)
    try:
        if entropy == "zstd":
            reader = module.ZstdDecompressor(max_window_size=1 << 27).stream_reader(payload)
            return memoryview(reader.read(want + 1))
        if entropy == "lz4":
            return memoryview(module.decompress(payload, uncompressed_size=want)) if want else memoryview(b"")
        return memoryview(zlib.decompressobj().decompress(payload, want + 1))
    except _errors_of(module) as error:
        raise CodecError("the frame's payload is damaged: {}".format(error)) from error


def _errors_of(module: Any) -> Tuple[Type[BaseException], ...]:
    """What an entropy coder raises on a payload that is not its own."""
    own = getattr(module, "ZstdError", None) or getattr(module, "LZ4BlockError", None) or zlib.error
    return (own, ValueError, MemoryError)
