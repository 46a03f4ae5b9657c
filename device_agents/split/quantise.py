"""Numbers as codes of 8, 4 or 2 bits within a range, and back; codes packed into bytes."""

from typing import TYPE_CHECKING, Any, Dict, List, NamedTuple, Tuple

from device_agents.split.frames import PER_CHANNEL, CodecError, Frame

if TYPE_CHECKING:
    from numpy.typing import NDArray

    Array = NDArray[Any]

BLOCK = 32_768  # numbers at a time: input, buffer and codes stay in a core's own cache
LARGEST = 1.7e38  # of a range's edges: their difference is still a float32


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


def quantise(array: "Array", found: Range, bits: int) -> "Array":
    """The codes (uint8, flat) of an array within a range; what is not a number has the lowest."""
    import numpy as np

    top = (1 << bits) - 1
    codes = np.empty(array.size, np.uint8)
    flat = array.reshape(-1)
    buffer = np.empty(min(BLOCK, max(array.size, 1)), np.float32)
    for start, stop, channel in _runs(array.shape, len(found.low)):
        low, high = found.low[channel], found.high[channel]
        if high <= low:  # a constant: its one code gives it back
            codes[start:stop] = 0
            continue
        scale = top / (high - low)
        half_below = low - 0.5 / scale  # so that what is cut off below rounds
        for at in range(start, stop, BLOCK):
            part = flat[at : min(at + BLOCK, stop)]
            work = buffer[: len(part)]
            with np.errstate(over="ignore", invalid="ignore"):  # what is infinite is clipped below
                np.subtract(part, half_below, out=work, casting="same_kind")
                np.multiply(work, scale, out=work)
            np.fmax(work, 0.0, out=work)  # a NaN becomes the lowest code
            np.minimum(work, top + 0.49, out=work)
            codes[at : at + len(part)] = work
    return codes


def range_of(frame: Frame) -> Range:
    """The range of a frame. Only for one whose numbers of ranges were checked."""
    half = len(frame.ranges) // 2
    return Range(frame.ranges[:half], frame.ranges[half:])


def dequantise(codes: "Array", frame: Frame, bits: int) -> "Array":
    """The float32 numbers of codes, in the frame's shape. CodecError for ranges or codes that cannot be."""
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


def pack_codes(codes: "Array", bits: int) -> "Array":
    """Codes of 4 or 2 bits, as many as fit into a byte, the first lowest."""
    import numpy as np

    per_byte = 8 // bits
    padded = codes if not len(codes) % per_byte else np.pad(codes, (0, -len(codes) % per_byte))
    packed = padded[0::per_byte].copy()
    for place in range(1, per_byte):
        packed |= padded[place::per_byte] << (bits * place)
    return packed


def unpack_codes(packed: "Array", bits: int, items: int) -> "Array":
    """The codes again, of which the last byte may hold too many."""
    import numpy as np

    per_byte, top = 8 // bits, (1 << bits) - 1
    codes = np.empty(len(packed) * per_byte, np.uint8)
    for place in range(per_byte):
        np.bitwise_and(packed >> (bits * place), top, out=codes[place::per_byte])
    return codes[:items]
