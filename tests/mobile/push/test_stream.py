"""What crosses the link: packed where that is sooner there, by what was measured."""

from __future__ import annotations

import gzip
import random

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from mobile.errors import TransportError
from mobile.push import stream
from mobile.push.content import content
from mobile.push.plan import Send
from mobile.push.stream import STORED, Judge, Meter, pieces, squeeze, worth_packing
from tests.support.weights import random_weights

MIB = 1024 * 1024
RANDOM = random.Random(1).randbytes(MIB)
TEXT = bytes(random.Random(2).choices(b"0123456789", k=MIB))
WEIGHTS = random_weights((MIB // 4,))[0].tobytes()


class Clock:
    """A clock that a test sets."""

    def __init__(self, step=0.0):
        self.now_s = 0.0
        self.step = step

    def __call__(self):
        self.now_s += self.step
        return self.now_s


def streamed(data, packed, meter=None):
    file = content(data, "m")
    told = []
    sent = list(pieces(file, Send(file.chunks), packed=packed, meter=meter or Meter(), on_bytes=told.append))
    assert sum(told) == len(data)
    return b"".join(sent)


@settings(max_examples=30, deadline=None)
@given(st.lists(st.sampled_from([RANDOM, TEXT, WEIGHTS, bytes(MIB)]), max_size=6), st.integers(0, 300_000))
def test_a_packed_stream_unpacks_to_the_file(parts, more):
    data = b"".join(parts) + RANDOM[:more]
    packed = streamed(data, True)
    assert gzip.decompress(packed) == data
    assert streamed(data, False) == data
    assert len(packed) <= len(data) + len(data) // 5000 + 2000


def test_without_a_known_rate_only_what_shrinks_much_is_packed():
    assert squeeze(RANDOM, None) == STORED
    assert squeeze(WEIGHTS, None) == STORED
    assert squeeze(TEXT, None) != STORED


def test_a_slow_link_gets_weights_packed_and_a_fast_one_nothing():
    # Each look at this clock takes a millisecond: a sample is compressed at 65 MB/s.
    for rate, packs in ((1e5, True), (1e7, True), (60e6, True), (70e6, False), (1e9, False)):
        assert (squeeze(WEIGHTS, rate, Clock(0.001)) != STORED) is packs, rate
    assert squeeze(RANDOM, 1e5) == STORED


def test_a_stream_is_packed_only_where_something_shrinks():
    for data, worth in ((RANDOM * 3, False), (RANDOM * 3 + TEXT, True), (WEIGHTS, True), (b"", False)):
        file = content(data, "m")
        assert worth_packing(file, Send(file.chunks)) is worth


def test_the_meter_waits_until_the_buffers_are_full():
    clock = Clock()
    meter = Meter(clock)
    assert (meter.rate(), meter.piece_bytes()) == (None, stream.PIECE_BYTES)
    meter.sent(4 * MIB)
    assert meter.rate() is None
    clock.now_s = 1.0
    meter.sent(2_000_000)
    assert meter.rate() == 2_000_000
    assert meter.piece_bytes() == 200_000
    assert meter.sent_bytes == 4 * MIB + 2_000_000


@pytest.mark.parametrize(("rate", "size"), [(1e3, stream.LEAST_PIECE_BYTES), (1e9, stream.MOST_PIECE_BYTES)])
def test_pieces_have_bounds(rate, size):
    clock = Clock()
    meter = Meter(clock)
    meter.sent(4 * MIB)
    clock.now_s = 1.0
    meter.sent(int(rate))
    assert meter.piece_bytes() == size


@pytest.mark.parametrize(("seconds", "packs"), [(0.05, True), (0.2, False)])
def test_packing_ends_where_the_device_is_slower_by_it(seconds, packs):
    clock = Clock()
    judge = Judge(clock)
    for _ in range(60):
        clock.now_s += seconds
        judge.packed(MIB, 10 * MIB)
    assert judge.packs is packs


def test_without_a_rate_to_compare_with_packing_goes_on():
    clock = Clock()
    judge = Judge(clock)
    for _ in range(60):
        clock.now_s += 1.0
        judge.packed(MIB, None)
    assert judge.packs


@pytest.mark.parametrize("packed", [False, True])
def test_a_file_that_became_shorter_is_an_error(tmp_path, packed):
    path = tmp_path / "m"
    path.write_bytes(RANDOM * 2)
    file = content(path, "m")
    path.write_bytes(RANDOM)
    with pytest.raises(TransportError, match="shorter"):
        list(pieces(file, Send(file.chunks), packed=packed, meter=Meter(), on_bytes=lambda count: None))
