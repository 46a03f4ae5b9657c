"""Differences between the frames of a stream: of a camera that stands still most codes are those of the frame before.

What is sent are codes minus those of an earlier frame (modulo the codes' number), so nothing is lost beyond the
quantisation, and errors do not add up. In front of the payload: the stream's id (8 bytes), the frame's number and that
of the frame it refers to (4 bytes each, little-endian); 0 for none.

The rule that keeps both ends in step: a sender refers only to a frame of which it knows that the other end has decoded
it, so a lost frame harms no later one. Where the other end does not know that frame (it was started again, or has
forgotten it) it says so, and the same frame is sent once more without a reference.
"""

import os
import struct
import threading
from collections import OrderedDict
from typing import TYPE_CHECKING, Any, Dict, NamedTuple, Optional, Tuple

from device_agents.split.frames import CodecError
from device_agents.split.quantise import Range

if TYPE_CHECKING:
    from numpy.typing import NDArray

    Array = NDArray[Any]

MARK = struct.Struct("<8sII")
KEPT = 4  # frames of a stream at either end: more are never under way
LIMIT_BYTES = 64 << 20  # of all streams that are remembered
MAX_STREAMS = 1024


class Resync(CodecError):
    """A difference to a frame that is not known here: the sender has to send it again without a reference."""


class Mark(NamedTuple):
    """Which frame of which stream, and to which one it refers (0: to none)."""

    stream: bytes
    number: int
    reference: int


class Known(NamedTuple):
    """The codes of a frame, its shape, and the range in which they were quantised."""

    codes: "Array"
    dims: Tuple[int, ...]
    within: Range


def split_mark(payload: memoryview) -> Tuple[Mark, memoryview]:
    """The mark in front of a payload, and what is behind it. CodecError when it is too short."""
    if len(payload) < MARK.size:
        raise CodecError("the frame has no mark of its stream")
    return Mark(*MARK.unpack_from(payload)), payload[MARK.size :]


class Streams:
    """What a receiver remembers of its streams: a few frames of each, bounded in all. Thread-safe."""

    def __init__(self, limit_bytes: int = LIMIT_BYTES) -> None:
        self._limit_bytes = limit_bytes
        self._lock = threading.Lock()
        self._known: "OrderedDict[bytes, OrderedDict[int, Known]]" = OrderedDict()
        self.size_bytes = 0

    def restored(self, codes: "Array", mark: Mark, dims: Tuple[int, ...], within: Range, top: int) -> "Array":
        """The codes themselves, from differences; they are remembered. Resync when the reference is not known."""
        import numpy as np

        if mark.reference:
            with self._lock:
                frames = self._known.get(mark.stream)
                known = frames.get(mark.reference) if frames is not None else None
                if frames is not None and known is not None:
                    frames.move_to_end(mark.reference)  # in use: it stays however many answers are lost
            if known is None or known.dims != dims or known.within != within:
                raise Resync("the frame refers to one that is not known here")
            codes = np.bitwise_and(np.add(codes, known.codes), np.uint8(top))
        self._keep(mark, Known(codes, dims, within))
        return codes

    def _keep(self, mark: Mark, known: Known) -> None:
        with self._lock:
            frames = self._known.setdefault(mark.stream, OrderedDict())
            self._known.move_to_end(mark.stream)
            before = frames.pop(mark.number, None)
            self.size_bytes += known.codes.nbytes - (before.codes.nbytes if before is not None else 0)
            frames[mark.number] = known
            while len(frames) > KEPT:
                self.size_bytes -= frames.popitem(last=False)[1].codes.nbytes
            while len(self._known) > MAX_STREAMS or (self.size_bytes > self._limit_bytes and self._known):
                gone = self._known.popitem(last=False)[1]
                self.size_bytes -= sum(one.codes.nbytes for one in gone.values())


class Sender:
    """One value's stream at the end that sends. Thread-safe: frames are accepted while the next one is coded."""

    def __init__(self) -> None:
        self._stream = os.urandom(8)
        self._lock = threading.Lock()
        self._number = 0
        self._under_way: "OrderedDict[int, Known]" = OrderedDict()
        self._reference: Optional[Tuple[int, Known]] = None

    def range_for(self, measured: Range) -> Range:
        """The range to quantise in: that of the reference while it is wide enough, so that differences stay small."""
        with self._lock:
            before = self._reference[1].within if self._reference is not None else None
        if before is None or len(before.low) != len(measured.low):
            return measured
        wide = all(a <= b for a, b in zip(before.low, measured.low)) and all(
            a >= b for a, b in zip(before.high, measured.high)
        )
        return before if wide else measured

    def difference(self, known: Known, top: int) -> Tuple[Mark, "Array"]:
        """The mark of the next frame, and what is to be sent of its codes."""
        import numpy as np

        with self._lock:
            self._number += 1
            self._under_way[self._number] = known
            while len(self._under_way) > KEPT:
                self._under_way.popitem(last=False)
            reference = self._reference
            number = self._number
        if reference is None or reference[1].dims != known.dims or reference[1].within != known.within:
            return Mark(self._stream, number, 0), known.codes
        codes = np.bitwise_and(np.subtract(known.codes, reference[1].codes), np.uint8(top))
        return Mark(self._stream, number, reference[0]), codes

    @property
    def number(self) -> int:
        """The number of the newest frame."""
        return self._number

    def accepted(self, number: int) -> None:
        """Nothing; the other end has decoded that frame."""
        with self._lock:
            known = self._under_way.pop(number, None)
            if known is not None and (self._reference is None or self._reference[0] < number):
                self._reference = (number, known)
                for older in [other for other in self._under_way if other < number]:
                    del self._under_way[older]

    def forget(self) -> None:
        """Nothing; the other end has nothing to refer to, so the next frame stands on its own."""
        with self._lock:
            self._reference = None


class Senders:
    """The streams of one client, by what they are of."""

    def __init__(self) -> None:
        self._senders: Dict[Tuple[str, ...], Sender] = {}

    def of(self, *key: str) -> Sender:
        """The stream of that key."""
        return self._senders.setdefault(key, Sender())
