"""Differences between frames: bit for bit what the codec gives without them, whatever is lost on the way."""

from __future__ import annotations

import random

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from device_agents.split.codecs import Range, decode, encode, measure
from device_agents.split.delta import KEPT, MARK, Resync, Sender, Streams
from device_agents.split.frames import CodecError, pack, unpack

NAMES = ["delta:q8+zlib", "delta:q4+zlib", "delta:q2", "delta:q8.c+zlib", "delta:q8"]
WITHIN = Range((0.0,), (1.0,))


def still(count: int, seed: int = 0, moving: float = 0.02) -> list[np.ndarray]:
    """Frames of which a small part changes from one to the next."""
    rng = np.random.default_rng(seed)
    frame = rng.random((1, 4, 24, 24)).astype(np.float32)
    found = []
    for _ in range(count):
        where = rng.random(frame.shape) < moving
        frame = np.where(where, rng.random(frame.shape), frame).astype(np.float32)
        found.append(frame)
    return found


@pytest.mark.parametrize("name", NAMES)
def test_a_stream_gives_what_the_codec_gives_without_differences(name: str) -> None:
    sender, streams, plain = Sender(), Streams(), name.partition(":")[2]
    within = None if ".c" in name else WITHIN
    for frame in still(8):
        sent = encode(frame, name, within, sender)
        sender.accepted(sender.number)
        expected = decode(encode(frame, plain, within or measure(frame, True)))
        step = 1 / 255 if ".c" in name else 0.0  # ranges of its own: that of the reference is a little wider
        np.testing.assert_allclose(decode(sent, 1 << 20, streams), expected, atol=step + 1e-7)


def test_a_still_picture_costs_next_to_nothing() -> None:
    sender, first, *others = Sender(), *still(4)
    sizes = []
    for frame in (first, *others):
        sizes.append(len(encode(frame, "delta:q8+zlib", WITHIN, sender)))
        sender.accepted(sender.number)
    assert max(sizes[1:]) < sizes[0] / 5
    assert sizes[0] < len(encode(first, "q8+zlib", WITHIN)) + 2 * MARK.size


@settings(max_examples=60, deadline=None)
@given(st.lists(st.sampled_from(["arrives", "lost", "unheard", "late"]), max_size=12), st.integers(0, 9))
def test_no_frame_is_wrong_whatever_was_lost(fates: list[str], seed: int) -> None:
    """lost: before the server; unheard: the server has it, its answer is lost; late: the answer comes one frame on."""
    sender, streams, late = Sender(), Streams(), 0
    for frame, fate in zip(still(len(fates), seed), fates, strict=True):
        sent = encode(frame, "delta:q8+zlib", WITHIN, sender)
        if fate != "lost":
            back = decode(sent, 1 << 20, streams)
            np.testing.assert_array_equal(back, decode(encode(frame, "q8", WITHIN)))
        if late:
            sender.accepted(late)
        late = sender.number if fate == "late" else 0
        if fate == "arrives":
            sender.accepted(sender.number)


def test_a_receiver_that_was_started_again_says_so_and_the_frame_stands_on_its_own() -> None:
    sender, frames = Sender(), still(3)
    decode(encode(frames[0], "delta:q8", WITHIN, sender), 1 << 20, Streams())
    sender.accepted(sender.number)
    sent = encode(frames[1], "delta:q8", WITHIN, sender)
    again = Streams()
    with pytest.raises(Resync, match="not known here"):
        decode(sent, 1 << 20, again)
    with pytest.raises(Resync):
        decode(sent)  # nobody remembers anything
    sender.forget()
    back = decode(encode(frames[1], "delta:q8", WITHIN, sender), 1 << 20, again)
    np.testing.assert_array_equal(back, decode(encode(frames[1], "q8", WITHIN)))


def test_the_same_frame_may_come_twice() -> None:
    sender, streams, frames = Sender(), Streams(), still(2)
    for frame in frames:
        sent = encode(frame, "delta:q8", WITHIN, sender)
        np.testing.assert_array_equal(decode(sent, 1 << 20, streams), decode(sent, 1 << 20, streams))
        sender.accepted(sender.number)


def test_a_frame_of_another_shape_or_range_begins_anew() -> None:
    sender, streams = Sender(), Streams()
    for frame in (np.zeros((1, 4), np.float32), np.ones((1, 5), np.float32), np.full((1, 5), 9, np.float32)):
        sent = encode(frame, "delta:q8", None, sender)
        np.testing.assert_array_equal(decode(sent, 1 << 20, streams), frame)
        sender.accepted(sender.number)


def test_what_is_remembered_is_bounded() -> None:
    streams = Streams(limit_bytes=5000)
    for _ in range(50):
        sender = Sender()
        for frame in np.zeros((KEPT + 3, 100), np.float32):
            decode(encode(frame, "delta:q8", WITHIN, sender), 1 << 20, streams)
        assert streams.size_bytes <= 5000
    held = sum(one.codes.nbytes for frames in streams._known.values() for one in frames.values())
    assert held == streams.size_bytes
    assert all(len(frames) <= KEPT for frames in streams._known.values())


def test_a_hostile_frame_is_refused_and_not_remembered() -> None:
    streams, frame = Streams(), encode(np.zeros(8, np.float32), "delta:q4+zlib", WITHIN, Sender())
    found = unpack(frame, 1 << 20)
    short = pack(found._replace(payload=memoryview(b"123")))
    above = encode(np.zeros(8, np.float32), "delta:q8", WITHIN, Sender())
    above = pack(unpack(above, 1 << 20)._replace(base="q4", payload=memoryview(bytes(MARK.size) + b"\xff" * 8)))
    for hostile in (short, above):
        with pytest.raises(CodecError):
            decode(hostile, 1 << 20, streams)
    assert streams.size_bytes == 0


def test_threads_may_use_a_receiver_together() -> None:
    import threading

    streams, wrong = Streams(limit_bytes=20_000), []

    def one(seed: int) -> None:
        sender, random_ = Sender(), random.Random(seed)
        for frame in still(30, seed):
            try:
                back = decode(encode(frame, "delta:q8", WITHIN, sender), 1 << 20, streams)
            except Resync:
                sender.forget()
                continue
            if not np.array_equal(back, decode(encode(frame, "q8", WITHIN))):
                wrong.append(seed)
            if random_.random() < 0.7:
                sender.accepted(sender.number)

    threads = [threading.Thread(target=one, args=(seed,)) for seed in range(6)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert not wrong
