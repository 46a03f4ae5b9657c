"""What a model answered to the items of an evaluation set: taken off the runner between invocations, sent as records.

``evaluation`` of the spec: {"keep": "top1" (classes alone), "top" (the k best classes of the first output with their
scores) or "all" (every output whole), "k": 5, "limit_bytes": ..., "repeats": how often the first ones are asked again}.
What went wrong with single items (not a number, infinite, another shape than the model declares, refused by the
runtime) is counted by its kind; an item that was refused has the class -1 and no tensors.
"""

import base64
import hashlib
import zlib
from typing import Any, Callable, Dict, Iterator, List, NamedTuple, Optional, Sequence, Tuple

from device_agents.failures import AgentFailure
from device_agents.inputs import Feed
from device_agents.records import Record, event, outputs, tensors
from device_agents.runners.base import Runner

LIMIT_BYTES = 64 * 1024 * 1024  # of all outputs of a run together
BUFFER_BYTES = 4 * 1024 * 1024  # sent once there is so much
PART_BYTES = 8 * 1024 * 1024  # of packed bytes in a record: as base64 they stay below records.MAX_LINE_BYTES
REPEATED = 8  # batches that are asked again
NUMBERS_LISTED = 20  # items that are named for each kind of error
NO_CLASS = -1
REFUSALS = ("bad-input", "unsupported-model")  # what a runtime says of one item; everything else ends the run
TOP_CLASSES, TOP_SCORES = "top.classes", "top.scores"


class Kept(NamedTuple):
    """A value as it is sent: numpy's name of its dtype ("text" for UTF-8), its shape, its bytes, little-endian."""

    dtype: str
    shape: List[int]
    data: bytes


class Answers:
    """Takes the answers of one runner to one feed, batch by batch. ``flush`` sends what has come together."""

    def __init__(
        self,
        runner: Runner,
        feed: Feed,
        emit: Callable[[Record], None],
        asked: Optional[Dict[str, Any]] = None,
        declared: Sequence[Dict[str, Any]] = (),
    ) -> None:
        asked = asked or {}
        self._runner = runner
        self._feed = feed
        self._emit = emit
        self._whole = bool(asked)  # without a word only the classes are looked at
        self._keep = asked.get("keep", "top1")
        self._k = int(asked.get("k", 5))
        self._limit = int(asked.get("limit_bytes", LIMIT_BYTES))
        self._repeats = int(asked.get("repeats", 0))
        self._declared = {entry["name"]: entry["shape"] for entry in declared}
        self._classes: List[int] = []
        self._sent_classes = 0
        self._no_classes = False
        self._waiting: Dict[str, List[Tuple[int, Kept]]] = {}
        self._waiting_bytes = self._kept_bytes = 0
        self._digest = hashlib.sha256()
        self._errors: Dict[str, List[int]] = {}
        self._why: Dict[str, str] = {}
        self._first: List[Tuple[int, Dict[str, Any]]] = []  # batches that will be asked again, with their answers
        self._answered = 0

    def take(self, number: int) -> None:
        """Nothing, once the answers to a batch are taken. AgentFailure when they pass the limit or have no classes."""
        self._answered += 1
        if not self._whole:
            self._classes += self._top1(number, required=True)
            return
        arrays = self._runner.output_arrays()
        self._look_at(number, arrays)
        if self._repeats and len(self._first) < REPEATED:
            self._first.append((number, {name: _copy(value) for name, value in arrays.items()}))
        self._classes += self._top1(number, required=self._keep != "all")
        if self._keep == "all":
            self._put(number, arrays)
        elif self._keep == "top":
            self._put(number, top(next(iter(arrays.values())), self._k, self._feed.batch_size))
        if self._waiting_bytes >= BUFFER_BYTES:
            self.flush()

    def refuse(self, number: int, error: AgentFailure) -> None:
        """Nothing, once it is counted that a batch was refused. ``error`` again when it is no fault of an item's."""
        if not self._whole or error.code not in REFUSALS:
            raise error
        items = self._items(number)
        self._count("refused", items, error.message)
        if not self._no_classes:
            self._classes += [NO_CLASS] * len(items)

    def flush(self) -> None:
        """Nothing, once what has come together is sent."""
        if self._classes:
            self._emit(outputs(self._sent_classes, self._classes))
            self._sent_classes, self._classes = self._sent_classes + len(self._classes), []
        for name, entries in self._waiting.items():
            for record in _records(name, entries):
                self._emit(record)
        self._waiting, self._waiting_bytes = {}, 0

    def conclude(self) -> None:
        """Nothing, once everything is sent and an event says what to know of it. AgentFailure when all was refused."""
        self.flush()
        if not self._whole:
            return
        if not self._answered and "refused" in self._errors:
            raise AgentFailure("bad-input", "every item was refused: {}".format(self._why["refused"]))
        errors = {
            kind: {"count": len(items), "items": items[:NUMBERS_LISTED], "why": self._why[kind]}
            for kind, items in self._errors.items()
        }
        self._emit(
            event(
                "evaluated",
                items=self._feed.items,
                batch_size=self._feed.batch_size,
                batched=self._runner.batched,
                errors=errors,
                sha256=self._digest.hexdigest(),
                repeats=self._again() if self._first else None,
            )
        )

    def _items(self, number: int) -> List[int]:
        begin = number * self._feed.batch_size
        return list(range(begin, min(begin + self._feed.batch_size, self._feed.items)))

    def _top1(self, number: int, required: bool) -> List[int]:
        if self._no_classes:
            return []
        problem: Optional[AgentFailure] = None
        try:
            top1 = self._runner.output_top1()
        except AgentFailure as error:
            problem, top1 = error, []
        if problem is None and len(top1) != self._feed.batch_size:
            problem = AgentFailure("unsupported-model", _no_classes(len(top1), self._feed.batch_size))
        if problem is None:
            return top1[: self._feed.items - number * self._feed.batch_size]
        if required:
            raise problem
        self._no_classes, self._classes = True, []
        return []

    def _look_at(self, number: int, arrays: Dict[str, Any]) -> None:
        """Counts what is wrong with the answers to a batch, and makes their bytes part of the digest."""
        import numpy

        items = self._items(number)
        for name, value in arrays.items():
            kept = pack(name, value)
            self._digest.update(kept.data)
            if not isinstance(value, str) and value.dtype.kind == "f" and not numpy.isfinite(value).all():
                for kind, test in (("nan", numpy.isnan), ("inf", numpy.isinf)):
                    hit = _rows(test(value), len(items), self._feed.batch_size)
                    self._count(kind, [items[row] for row in hit], "in output {!r}".format(name))
            declared = self._declared.get(name)
            if declared is not None and not _fits(kept.shape, declared):
                words = "output {!r} has shape {}, the model declares {}".format(name, kept.shape, declared)
                self._count("shape", items, words)

    def _count(self, kind: str, items: List[int], why: str) -> None:
        if items:
            known = self._errors.setdefault(kind, [])
            known += [item for item in items if item not in known[-len(items) :]]
            self._why.setdefault(kind, why[:400])

    def _put(self, number: int, arrays: Dict[str, Any]) -> None:
        packed = {name: pack(name, value) for name, value in arrays.items()}
        size = sum(len(kept.data) for kept in packed.values())
        self._kept_bytes += size
        likely = max(self._kept_bytes, size * self._feed.batches if self._answered == 1 else 0)
        if likely > self._limit:
            raise AgentFailure(
                "bad-input",
                "the outputs of {} items take about {} bytes, the limit is {}".format(
                    self._feed.items, likely, self._limit
                ),
                "Evaluate fewer items, or let `postprocess` of --stages return what the metric needs.",
            )
        for name, kept in packed.items():
            self._waiting.setdefault(name, []).append((number, kept))
        self._waiting_bytes += size

    def _again(self) -> Dict[str, Any]:
        """What the same inputs gave when they were asked again: {items, repeats, equal, max_difference}."""
        equal, largest = True, 0.0
        for number, before in self._first:
            for _ in range(self._repeats):
                self._runner.prepare(self._feed.batch(number))
                self._runner.invoke()
                same, difference = differ(before, self._runner.output_arrays())
                equal = equal and same
                largest = float("inf") if difference is None else max(largest, difference)
        items = sum(len(self._items(number)) for number, _ in self._first)
        finite = largest if largest != float("inf") else None
        return {"items": items, "repeats": self._repeats, "equal": equal, "max_difference": finite}


def pack(name: str, value: Any) -> Kept:
    """The value's bytes. AgentFailure "unsupported-model" for one that is neither numbers nor text."""
    if isinstance(value, str):
        return Kept("text", [], value.encode("utf-8", "replace"))
    if getattr(value, "dtype", None) is None or value.dtype.kind not in "biuf":
        what = getattr(value, "dtype", type(value).__name__)
        raise AgentFailure("unsupported-model", "output {!r} is {}, neither numbers nor text".format(name, what))
    little = value.astype(value.dtype.newbyteorder("<"), copy=False)
    return Kept(value.dtype.name, [int(size) for size in value.shape], little.tobytes())


def top(output: Any, k: int, batch_size: int) -> Dict[str, Any]:
    """The ``k`` best classes [items, k] of an output, int32, best first (of equal ones the first), and their scores.

    Integer scores become float32, as quantised outputs are.
    """
    import numpy

    if isinstance(output, str):
        raise AgentFailure("unsupported-model", "the first output is a text, its best classes were asked for")
    if output.size % batch_size or not output.size:
        raise AgentFailure("unsupported-model", _no_classes(output.size, batch_size))
    rows = output.reshape(batch_size, -1)
    if rows.shape[1] == 1 and rows.dtype.name in ("int32", "int64"):  # the class itself
        return {TOP_CLASSES: rows.astype("int32"), TOP_SCORES: numpy.ones(rows.shape, "float32")}
    k = min(k, rows.shape[1])
    order = numpy.argsort(-rows.astype("float64"), axis=-1, kind="stable")[:, :k]
    scores = numpy.take_along_axis(rows, order, axis=-1).astype("float32")
    return {TOP_CLASSES: order.astype("int32"), TOP_SCORES: scores}


def differ(before: Dict[str, Any], after: Dict[str, Any]) -> Tuple[bool, Optional[float]]:
    """(bitwise equal, largest absolute difference); the difference is None where shapes, names or texts differ.

    Where both are not a number they are equal.
    """
    import numpy

    if before.keys() != after.keys():
        return False, None
    equal, largest = True, 0.0
    for name, old in before.items():
        new = after[name]
        one, other = pack(name, old), pack(name, new)
        if one == other:
            continue
        equal = False
        if isinstance(old, str) or one.shape != other.shape or one.dtype != other.dtype:
            return False, None
        gap = numpy.abs(old.astype("float64") - new.astype("float64"))
        gap = gap[~(numpy.isnan(old.astype("float64")) & numpy.isnan(new.astype("float64")))]
        worst = float(gap.max()) if gap.size else 0.0
        if worst != worst:
            return False, None
        largest = max(largest, worst)
    return equal, largest


def _copy(value: Any) -> Any:
    return value if isinstance(value, str) else value.copy()


def _rows(hits: Any, items: int, batch_size: int) -> List[int]:
    """The items of a batch that have a hit; all of them where the first axis is not the batch."""
    if not hits.any():
        return []
    if hits.ndim and hits.shape[0] == batch_size:
        return [row for row in range(items) if hits[row].any()]
    return list(range(items))


def _fits(shape: Sequence[int], declared: Sequence[Any]) -> bool:
    if not declared and shape:
        return True  # the model says nothing of the rank
    same_rank = len(shape) == len(declared)
    return same_rank and all(
        not isinstance(want, int) or want < 1 or want == size for size, want in zip(shape, declared)
    )


def _records(name: str, entries: List[Tuple[int, Kept]]) -> Iterator[Record]:
    """The records of one output's values; values of different dtypes do not share one."""
    for dtype in sorted({kept.dtype for _, kept in entries}):
        chosen = [(number, kept) for number, kept in entries if kept.dtype == dtype]
        packed = zlib.compress(b"".join(kept.data for _, kept in chosen), 1)
        parts = [packed[at : at + PART_BYTES] for at in range(0, len(packed), PART_BYTES)]
        sizes = [len(kept.data) for _, kept in chosen]
        for place, part in enumerate(parts):
            yield tensors(
                name,
                dtype,
                [number for number, _ in chosen],
                [kept.shape for _, kept in chosen],
                sizes,
                base64.b64encode(part).decode("ascii"),
                place,
                len(parts),
            )


def _no_classes(found: int, wanted: int) -> str:
    words = "the first output has {} classes for a batch of {}: an evaluation needs one arg-max per item"
    return words.format(found, wanted)
