"""How a file is built on a device: ranges of files that are there already, and what has to be sent."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

from mobile.push.content import Chunk, Content
from mobile.push.index import Key, Place, key

# Operations of one pass become arguments of one command, which ssh limits to 128 KiB in all.
_ARGUMENTS_BYTES = 48 * 1024


@dataclass(frozen=True)
class Copy:
    """A range of a file on the device."""

    path: str
    offset: int
    length: int


@dataclass(frozen=True)
class Send:
    """Chunks that follow each other, to be sent."""

    chunks: tuple[Chunk, ...]

    @property
    def length(self) -> int:
        """The number of bytes that the file gets."""
        return sum(chunk.length for chunk in self.chunks)


Operation = Copy | Send
Known = Mapping[Key, Sequence[Place]]


@dataclass(frozen=True)
class Pass:
    """What one command does: any number of copies, and at most one thing sent, as a pipe can only be read to its end.

    ``start`` is how much of the file is there before, ``end`` how much after it.
    """

    operations: tuple[Operation, ...]
    start: int
    end: int

    @property
    def send(self) -> Send | None:
        """What is sent, if anything is."""
        return next((step for step in self.operations if isinstance(step, Send)), None)

    @property
    def copied_bytes(self) -> int:
        """How much of the file is not sent."""
        return sum(step.length for step in self.operations if isinstance(step, Copy))


def known_places(found: Iterable[tuple[Key, Place]]) -> dict[Key, list[Place]]:
    """The places of each chunk."""
    places: dict[Key, list[Place]] = {}
    for chunk, place in found:
        places.setdefault(chunk, []).append(place)
    return places


def plan(content: Content, kept_bytes: int, known: Known) -> list[Pass]:
    """The passes that complete a file of which the first ``kept_bytes``, up to a chunk's end, are there.

    At least one, also when all is there or the file is empty: the last one verifies the file and names it.
    """
    passes: list[Pass] = []
    steps: list[Operation] = []
    start = at = kept_bytes
    spent_bytes, sends = 0, False
    for step in _operations(content, kept_bytes, known):
        cost_bytes = len(step.path.encode("utf-8", "surrogateescape")) + 48 if isinstance(step, Copy) else 0
        if steps and ((isinstance(step, Send) and sends) or spent_bytes + cost_bytes > _ARGUMENTS_BYTES):
            passes.append(Pass(tuple(steps), start, at))
            steps, start, spent_bytes, sends = [], at, 0, False
        steps.append(step)
        spent_bytes += cost_bytes
        sends = sends or isinstance(step, Send)
        at += step.length
    return [*passes, Pass(tuple(steps), start, at)]


def _operations(content: Content, kept_bytes: int, known: Known) -> list[Operation]:
    """Copies and sends in the file's order, neighbours joined."""
    steps: list[Operation] = []
    for chunk in content.chunks:
        if chunk.offset < kept_bytes:
            continue
        last = steps[-1] if steps else None
        place = _place(known.get(key(chunk.length, chunk.sha256), ()), last)
        if place is None:
            steps[-1:] = [Send((*last.chunks, chunk))] if isinstance(last, Send) else [*steps[-1:], Send((chunk,))]
        elif isinstance(last, Copy) and _follows(place, last):
            steps[-1] = Copy(last.path, last.offset, last.length + chunk.length)
        else:
            steps.append(Copy(place.path, place.offset, chunk.length))
    return steps


def _place(places: Sequence[Place], last: Operation | None) -> Place | None:
    """The place to copy from, that behind the last copy if there is one."""
    if isinstance(last, Copy):
        for place in places:
            if _follows(place, last):
                return place
    return places[0] if places else None


def _follows(place: Place, last: Copy) -> bool:
    return place.path == last.path and place.offset == last.offset + last.length
