"""Image inputs as JPEG or WebP: codes of 8 bits as a picture, and back. Lossy; Pillow does it, where it is installed.

A tensor [N, C, H, W] or [N, H, W, C] of one or three channels becomes one picture, its N images below each other. How
large a picture is stands in its first bytes, and is held against the frame before Pillow sees it: a few hundred bytes
can claim to be gigapixels. JPEG: ITU-T T.81, B.2.2 (frame header); WebP: RFC 9649 and RFC 6386, 9.1.
"""

import io
import struct
from typing import TYPE_CHECKING, Any, Optional, Tuple

from device_agents.split.frames import CodecError

if TYPE_CHECKING:
    from numpy.typing import NDArray

    Array = NDArray[Any]

LARGEST_SIDE = {"jpeg": 65_535, "webp": 16_383}
_FRAMES = frozenset(range(0xC0, 0xD0)) - {0xC4, 0xC8, 0xCC}  # the markers that begin a JPEG's frame


def unavailable(base: str) -> Optional[str]:
    """None when this interpreter can make and read such pictures, else the reason."""
    try:
        from PIL import features
    except ImportError:
        return "Pillow is not installed here"
    return None if features.check({"jpeg": "jpg"}.get(base, base)) else "this Pillow has no {}".format(base)


def channels_last(dims: Tuple[int, ...]) -> bool:
    """Whether the channels of an image tensor are its last axis. CodecError when it is no image tensor."""
    if len(dims) == 4 and dims[1] in (1, 3) and min(dims) > 0:
        return False
    if len(dims) == 4 and dims[3] in (1, 3) and min(dims) > 0:
        return True
    raise CodecError("a tensor of shape {} is no image: [N, C, H, W] or [N, H, W, C] is".format(list(dims)))


def is_image(dims: Tuple[int, ...]) -> bool:
    """Whether a tensor of that shape is an image."""
    try:
        channels_last(dims)
    except CodecError:
        return False
    return True


def compress(codes: "Array", dims: Tuple[int, ...], base: str, quality: int) -> bytes:
    """The picture of a tensor's codes (uint8, flat)."""
    import numpy as np

    image = _pillow(base)
    last = channels_last(dims)
    tensor = codes.reshape(dims) if last else codes.reshape(dims).transpose(0, 2, 3, 1)
    count, height, width, channels = tensor.shape
    if max(count * height, width) > LARGEST_SIDE[base]:
        raise CodecError("a {} has no side of more than {} pixels".format(base, LARGEST_SIDE[base]))
    picture = np.ascontiguousarray(tensor).reshape(count * height, width, channels)
    made = image.fromarray(picture if channels == 3 else picture[:, :, 0])
    if base == "webp":
        made = made.convert("RGB")
    buffer = io.BytesIO()
    made.save(buffer, format=base.upper(), quality=quality)
    return buffer.getvalue()


def expand(payload: memoryview, dims: Tuple[int, ...], base: str) -> "Array":
    """The codes (uint8, flat) of a picture that must have the tensor's size. CodecError when it has not."""
    import numpy as np

    image = _pillow(base)
    last = channels_last(dims)
    count, channels = dims[0], dims[3] if last else dims[1]
    height, width = (dims[1], dims[2]) if last else (dims[2], dims[3])
    data = bytes(payload)
    size = jpeg_size(data) if base == "jpeg" else webp_size(data)
    if size != (width, count * height):
        raise CodecError("the picture is {}, the frame's tensor {}".format(size, (width, count * height)))
    try:
        with image.open(io.BytesIO(data), formats=[base.upper()]) as opened:
            if opened.size != size:
                raise CodecError("the picture has two sizes")
            made = np.asarray(opened.convert("RGB" if channels == 3 else "L"))
    except (OSError, ValueError, SyntaxError, EOFError, struct.error, MemoryError) as error:
        if isinstance(error, CodecError):
            raise
        raise CodecError("the picture is damaged: {}".format(type(error).__name__)) from error
    pixels = made.reshape(count, height, width, channels)
    return np.ascontiguousarray(pixels if last else pixels.transpose(0, 3, 1, 2)).reshape(-1)


def jpeg_size(data: bytes) -> Tuple[int, int]:
    """(width, height) in a JPEG's frame header, of which there must be one before its data. CodecError without."""
    found: Optional[Tuple[int, int]] = None
    at = 2
    while data[:2] == b"\xff\xd8" and at + 9 <= len(data) and data[at] == 0xFF:
        marker, length = data[at + 1], struct.unpack_from(">H", data, at + 2)[0]
        if marker == 0xFF:  # filling
            at += 1
            continue
        if marker == 0xDA and found is not None:
            return found
        if marker in _FRAMES:
            if found is not None:
                break
            height, width = struct.unpack_from(">HH", data, at + 5)
            found = (width, height)
        at += 2 + length
    raise CodecError("the picture is no JPEG")


def webp_size(data: bytes) -> Tuple[int, int]:
    """(width, height) of a plain WebP, lossy or lossless. CodecError for others (moving, transparent)."""
    if len(data) >= 30 and data[:4] == b"RIFF" and data[8:12] == b"WEBP":
        if data[12:16] == b"VP8 " and data[23:26] == b"\x9d\x01\x2a":
            width, height = struct.unpack_from("<HH", data, 26)
            return width & 0x3FFF, height & 0x3FFF
        if data[12:16] == b"VP8L" and data[20] == 0x2F:
            (bits,) = struct.unpack_from("<I", data, 21)
            return (bits & 0x3FFF) + 1, ((bits >> 14) & 0x3FFF) + 1
    raise CodecError("the picture is no plain WebP")


def _pillow(base: str) -> Any:
    reason = unavailable(base)
    if reason is not None:
        raise CodecError(reason)
    from PIL import Image

    return Image
