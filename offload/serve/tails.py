"""Tails in memory: sessions loaded when they are first asked for, the longest unused ones let go beyond a limit."""

from __future__ import annotations

import threading
import time
from collections import OrderedDict
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol

from mobile.errors import ExportError
from offload.serve.messages import Refused
from offload.serve.models import Model

if TYPE_CHECKING:
    from numpy.typing import NDArray

    Feeds = Mapping[str, NDArray[Any]]
    Outputs = list[NDArray[Any]]

TRIES = 4  # with values that tell nothing
RELATIVE_TOLERANCE = 1e-3  # between rows computed alone and together: other kernels, other order of sums


class Engine(Protocol):
    """What computes models. ``lanes``: how many runs of one model may go on at a time."""

    lanes: int

    def run(self, model: Model, feeds: Feeds) -> tuple[Outputs, int]:
        """The outputs in the model's order, and how long loading took before (ns, 0 when it was there)."""

    def batches(self, model: Model, feeds: Feeds) -> bool:
        """Whether several requests of this model may run as one."""

    def at_hand(self, model: Model) -> bool:
        """Whether the model is loaded in this process: a run does nothing but compute."""

    def close(self) -> None:
        """Nothing; lets everything go."""


class Tail:
    """A loaded model. ``batches`` is None until it was tried."""

    def __init__(self, model: Model) -> None:
        from exporters.runtime import Session

        try:
            self._session = Session(Path(model.checked_part()), model.name)
        except ExportError as error:
            raise Refused(500, error.message) from error
        order = {name: index for index, name in enumerate(self._session.outputs)}
        absent = [value.name for value in model.outputs if value.name not in order]
        if absent:
            raise Refused(500, f"model {model.name} has no output {absent[0]!r}, which the manifest names")
        self._picks = [order[value.name] for value in model.outputs]
        self.size_bytes = model.part.size_bytes
        self.batches: bool | None = None
        self.tries = 0

    def run(self, feeds: Feeds) -> Outputs:
        """The outputs in the model's order. Refused(400) when the model does not take the feeds."""
        try:
            found = self._session.run(feeds)
        except ExportError as error:
            raise Refused(400, error.message) from error
        return [found[pick] for pick in self._picks]


class TailCache:
    """The engine of this machine: sessions of at most ``limit_bytes`` of model files, and always the newest one."""

    lanes = 1  # a session has all cores

    def __init__(self, limit_bytes: int, changed: Callable[[int, int], None] = lambda count, size: None) -> None:
        self._limit_bytes = limit_bytes
        self._changed = changed
        self._tails: OrderedDict[str, Tail] = OrderedDict()
        self._lock = threading.Lock()

    def run(self, model: Model, feeds: Feeds) -> tuple[Outputs, int]:
        """The outputs in the model's order, and how long loading took (ns)."""
        tail, loading_ns = self._tail(model)
        return tail.run(feeds), loading_ns

    def batches(self, model: Model, feeds: Feeds) -> bool:
        """Whether rows computed together are what they are alone: tried with random values of the request's sizes.

        A free first dimension is not enough: a softmax over it, or one that is no batch, would mix the requests.
        """
        if not model.free_rows:
            return False
        with self._lock:
            tail = self._tails.get(model.part.sha256)
        if tail is None:  # the first run loads it, and is alone
            return False
        if tail.batches is None:
            tail.batches = _rows_are_independent(tail, feeds)
            tail.tries += 1
            if tail.batches is None and tail.tries >= TRIES:
                tail.batches = False
        return tail.batches is True

    def at_hand(self, model: Model) -> bool:
        """Whether the model is loaded now."""
        return model.part.sha256 in self._tails

    def close(self) -> None:
        """Nothing; all sessions are let go."""
        with self._lock:
            self._tails.clear()

    def _tail(self, model: Model) -> tuple[Tail, int]:
        key = model.part.sha256
        with self._lock:
            tail = self._tails.get(key)
            if tail is not None:
                self._tails.move_to_end(key)
                return tail, 0
        began = time.monotonic_ns()
        tail = Tail(model)
        with self._lock:
            self._tails[key] = tail
            self._tails.move_to_end(key)
            while len(self._tails) > 1 and self._size() > self._limit_bytes:
                self._tails.popitem(last=False)
            count, size = len(self._tails), self._size()
        self._changed(count, size)
        return tail, time.monotonic_ns() - began

    def _size(self) -> int:
        return sum(tail.size_bytes for tail in self._tails.values())


def rows_of(feeds: Feeds) -> int | None:
    """How many rows a request has; None when its inputs have different numbers of them, or none."""
    rows = {len(array) for array in feeds.values()}
    return rows.pop() if len(rows) == 1 and 0 not in rows else None


def together(several: Sequence[Feeds]) -> Feeds:
    """The feeds of several requests as one, row behind row."""
    import numpy as np

    return {name: np.concatenate([feeds[name] for feeds in several]) for name in several[0]}


def apart(outputs: Outputs, rows: Sequence[int]) -> list[Outputs]:
    """The outputs of each request of a batch, as views."""
    found, at = [], 0
    for count in rows:
        found.append([array[at : at + count] for array in outputs])
        at += count
    return found


def _rows_are_independent(tail: Tail, feeds: Feeds) -> bool | None:
    """Whether two requests give together what they give alone; None when both give the same, which tells nothing.

    Floats are random, since a client's may be all zero; other numbers are the client's own, turned round: they may be
    indices, of which only the client knows the range.
    """
    import numpy as np

    rows = rows_of(feeds)
    if rows is None:
        return False
    random = np.random.default_rng(0)
    one, two = {}, {}
    for name, array in feeds.items():
        if array.dtype.kind == "f":
            one[name], two[name] = (random.standard_normal(array.shape).astype(array.dtype) for _ in range(2))
        else:
            one[name], two[name] = array, np.ascontiguousarray(np.flip(array))
    try:
        alone = [tail.run(one), tail.run(two)]
        whole = tail.run(together([one, two]))
    except Refused:
        return False
    if any(len(array) != 2 * rows for array in whole):
        return False
    if any(np.array_equal(first, second) for first, second in zip(*alone, strict=True)):
        return None
    return all(
        _near(ours, theirs)
        for both, single in zip(apart(whole, [rows, rows]), alone, strict=True)
        for ours, theirs in zip(both, single, strict=True)
    )


def _near(one: NDArray[Any], two: NDArray[Any]) -> bool:
    import numpy as np

    if one.shape != two.shape:
        return False
    if one.dtype.kind != "f":
        return bool(np.array_equal(one, two))
    scale = float(np.max(np.abs(two), initial=0.0))
    return bool(np.allclose(one, two, rtol=RELATIVE_TOLERANCE, atol=RELATIVE_TOLERANCE * scale, equal_nan=True))
