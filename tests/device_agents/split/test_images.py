"""Image inputs as JPEG and WebP: how near they come, and that no picture is opened that is larger than the tensor."""

from __future__ import annotations

import io
import struct
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from device_agents.split import images
from device_agents.split.codecs import Range, available, decode, encode, parse
from device_agents.split.frames import CodecError, pack, unpack

NAMES = ["jpeg90", "webp90", "jpeg100", "webp50", "jpeg90.c"]


def picture(shape: tuple[int, ...] = (2, 3, 40, 56)) -> np.ndarray:
    """Smooth, as photographs are, from 0 to 1."""
    count, channels, height, width = shape
    y, x = np.mgrid[0:height, 0:width] / np.float32(40)
    one = np.stack([np.sin(x + c) * np.cos(y * (c + 1) / 2) for c in range(channels)])
    return (np.stack([one] * count) * 0.5 + 0.5).astype(np.float32)


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("channels", [1, 3])
@pytest.mark.parametrize("last", [False, True])
def test_a_picture_comes_back_nearly_and_smaller(name: str, channels: int, last: bool) -> None:
    array = picture((2, channels, 40, 56))
    array = np.ascontiguousarray(array.transpose(0, 2, 3, 1)) if last else array
    if name.endswith(".c") and last:
        return  # the ranges of axis 1 would be those of lines
    frame = encode(array, name)
    back = decode(frame)
    assert (back.shape, back.dtype) == (array.shape, array.dtype)
    assert np.abs(back - array).mean() < 0.02
    assert len(frame) < array.nbytes / 12


def test_the_range_is_calibrated_or_the_array_s_own() -> None:
    array = picture() * 4 - 2
    assert np.abs(decode(encode(array, "jpeg95")) - array).mean() < 0.05
    clipped = decode(encode(array, "jpeg95", Range((0.0,), (1.0,))))
    assert 0 <= clipped.min() <= clipped.max() <= 1


def test_pixels_of_bytes_have_no_range() -> None:
    array = (picture() * 255).astype(np.uint8)
    frame = encode(array, "webp95")
    back = decode(frame)
    assert back.dtype == np.uint8
    assert np.abs(back.astype(int) - array).mean() < 3
    assert unpack(frame, 1 << 20).ranges == ()


@pytest.mark.parametrize("shape", [(3,), (2, 3), (1, 4, 8, 8), (0, 3, 8, 8), (1, 3, 8, 0)])
def test_what_is_no_image_is_not_coded_as_one(shape: tuple[int, ...]) -> None:
    with pytest.raises(CodecError, match="no image"):
        encode(np.zeros(shape, np.float32), "jpeg90")


def test_names_have_a_quality_and_nothing_else() -> None:
    assert parse("webp80").name == "webp80"
    assert (parse("jpeg100.c").quality, parse("jpeg100.c").lossless) == (100, False)
    for wrong in ("jpeg", "jpeg0", "jpeg101", "jpeg90+zlib", "jpeg09", "q890", "delta:jpeg90", "raw90", "jpeg90.d"):
        with pytest.raises(CodecError, match="no codec"):
            parse(wrong)


def test_integers_are_no_picture() -> None:
    with pytest.raises(CodecError, match="floating point"):
        encode(np.zeros((1, 3, 8, 8), np.int32), "jpeg90")


def replaced(frame: bytes, payload: bytes) -> bytes:
    return pack(unpack(frame, 1 << 30)._replace(payload=memoryview(payload)))


def saved(size: tuple[int, int], kind: str, mode: str = "RGB", **more: object) -> bytes:
    buffer = io.BytesIO()
    Image.new(mode, size).save(buffer, kind, **more)
    return buffer.getvalue()


@pytest.mark.parametrize("base", ["jpeg", "webp"])
def test_a_picture_of_another_size_is_never_opened(base: str, monkeypatch: pytest.MonkeyPatch) -> None:
    frame = encode(picture((1, 3, 40, 56)), base + "90")
    large = saved((4000, 4000), base.upper())
    assert len(large) < 300_000
    monkeypatch.setattr(Image, "open", lambda *args, **more: pytest.fail("it was opened"))
    with pytest.raises(CodecError, match="the frame's tensor"):
        decode(replaced(frame, large))
    lie = bytearray(saved((56, 40), base.upper()))
    if base == "jpeg":
        at = lie.index(b"\xff\xc0")
        lie[at + 5 : at + 9] = struct.pack(">HH", 65_000, 65_000)
    else:
        lie[26:30] = struct.pack("<HH", 16_383, 16_383)
    with pytest.raises(CodecError, match="the frame's tensor"):
        decode(replaced(frame, bytes(lie)))


def test_other_pictures_are_refused() -> None:
    frame = encode(picture((1, 3, 40, 56)), "webp90")
    moving = saved((56, 40), "WEBP", save_all=True, append_images=[Image.new("RGB", (56, 40), "red")])
    for payload in (moving, saved((56, 40), "PNG"), saved((56, 40), "JPEG"), b"", b"RIFF"):
        with pytest.raises(CodecError, match="no plain WebP"):
            decode(replaced(frame, payload))
    jpeg = encode(picture((1, 3, 40, 56)), "jpeg90")
    twice = saved((56, 40), "JPEG")
    at = twice.index(b"\xff\xc0")
    length = struct.unpack_from(">H", twice, at + 2)[0]
    twice = twice[: at + 2 + length] + twice[at : at + 2 + length] + twice[at + 2 + length :]
    with pytest.raises(CodecError, match="no JPEG"):
        decode(replaced(jpeg, twice))


@settings(max_examples=80, deadline=None)
@given(st.sampled_from(["jpeg90", "webp90"]), st.data())
def test_a_damaged_picture_is_decoded_or_refused(name: str, data: st.DataObject) -> None:
    frame = encode(picture((1, 3, 16, 16)), name)
    payload = bytearray(unpack(frame, 1 << 20).payload)
    for _ in range(data.draw(st.integers(1, 6))):
        payload[data.draw(st.integers(0, len(payload) - 1))] = data.draw(st.integers(0, 255))
    payload = payload[: data.draw(st.integers(0, len(payload)))] if data.draw(st.booleans()) else payload
    try:
        assert decode(replaced(frame, bytes(payload))).shape == (1, 3, 16, 16)
    except CodecError:
        return


def test_without_pillow_it_is_said(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr(images, "unavailable", lambda base: "Pillow is not installed here")
    assert available("jpeg90") == "Pillow is not installed here"
    with pytest.raises(CodecError, match="Pillow"):
        encode(picture(), "jpeg90")
