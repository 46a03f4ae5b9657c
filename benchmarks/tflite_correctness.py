"""Real models as TFLite, ours beside onnx2tf's, against onnxruntime: `python -m benchmarks.tflite_correctness`.

With names: only those models. Each is compared at three shapes where its shapes are free. "right" is within 1e-4 of the
largest magnitude, or within thrice of what onnxruntime differs from itself with its optimisations off; "at one shape"
is right only with that shape fixed. Latency: LiteRT, one thread, the median at the first shape.
"""

from __future__ import annotations

import itertools
import platform
import statistics
import sys
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks.tflite_peers import Missing, onnx2tf
from exporters.tflite import flat
from exporters.tflite.running import LiteSession
from mobile.errors import ExportError
from tests.exporters.tflite.test_real_models import MODELS, TOLERANCE, converted, off, path_of
from tests.support import real_feeds

_RUNS = 20


@dataclass
class Verdict:
    """How a file did: the word, its worst error over the shapes, and the median latency."""

    word: str
    error: float | None = None
    seconds: float | None = None
    why: str = ""

    def cells(self) -> str:
        """Three cells of a table."""
        error = f"{self.error:.1e}" if self.error is not None else ""
        taken = f"{self.seconds * 1e3:.2f}" if self.seconds is not None else ""
        return f"{self.word}{f' ({self.why})' if self.why else ''} | {error} | {taken}"


@dataclass
class Case:
    """What a model is asked and what onnxruntime answers."""

    feeds: list[dict[str, np.ndarray]]
    answers: list[list[np.ndarray]]
    allowed: list[float]


def main(names: list[str]) -> None:
    """Prints the table row by row, then the counts."""
    print("## Real models as TFLite\n")
    print(f"{platform.machine()}, {platform.system()} {platform.release()}, Python {platform.python_version()}\n")
    print("| model | edgewise | worst error | ms | onnx2tf 2.6.9 | worst error | ms |\n|---|---|--:|--:|---|--:|--:|")
    counts: dict[str, list[str]] = {"edgewise": [], "onnx2tf": []}
    for name in names or MODELS:
        path = path_of(name)
        asked = case(name, path)
        ours, theirs = edgewise(path, asked), peer(path, asked)
        print(f"| {name} | {ours.cells()} | {theirs.cells()} |", flush=True)
        counts["edgewise"].append(ours.word)
        counts["onnx2tf"].append(theirs.word)
    print()
    for maker, words in counts.items():
        tally = {word: words.count(word) for word in dict.fromkeys(words)}
        print(f"{maker}: " + ", ".join(f"{count} {word}" for word, count in tally.items()))


def case(name: str, path: Path) -> Case:
    """The model's questions and answers."""
    source, plain = real_feeds.session(path), real_feeds.session(path, optimised=False)
    inputs = source.get_inputs()
    count = real_feeds.SHAPES if real_feeds.is_free(inputs) else 1
    feeds = [real_feeds.feeds(name, inputs, which) for which in range(count)]
    answers = [source.run(None, feed) for feed in feeds]
    allowed = [
        max(TOLERANCE, 3 * off(answer, plain.run(None, feed))) for feed, answer in zip(feeds, answers, strict=True)
    ]
    return Case(feeds, answers, allowed)


def edgewise(path: Path, asked: Case) -> Verdict:
    """Ours."""
    try:
        content = flat.to_bytes(converted(path))
    except ExportError as error:
        return Verdict("refused", why=str(error)[:80])
    return judged(content, asked, "right")


def peer(path: Path, asked: Case) -> Verdict:
    """onnx2tf's with free shapes, and where that is not right, with the first shape fixed."""
    with tempfile.TemporaryDirectory() as work:
        free = _made(path, Path(work) / "free", asked, None)
        if free.word == "right" or len(asked.feeds) == 1:
            return free
        shapes = {name: array.shape for name, array in asked.feeds[0].items()}
        first = Case(asked.feeds[:1], asked.answers[:1], asked.allowed[:1])
        fixed = _made(path, Path(work) / "fixed", first, shapes)
    if fixed.word != "right":
        return free
    return Verdict("at one shape", fixed.error, fixed.seconds, f"free: {free.word}")


def _made(path: Path, work: Path, asked: Case, shapes: dict[str, tuple[int, ...]] | None) -> Verdict:
    try:
        found, _ = onnx2tf(path, work, shapes)
    except Missing as error:
        return Verdict("refused", why=str(error)[:80])
    return judged(found.read_bytes(), asked, "right")


def judged(content: bytes, asked: Case, word: str) -> Verdict:
    """Runs a file on every question. Inputs and outputs may have their dimensions in another order."""
    try:
        session = LiteSession(content, "the file")
    except ExportError as error:
        return Verdict("does not load", why=str(error).split(": ")[-1][:60])
    worst, right = 0.0, True
    for feed, answer, allowed in zip(asked.feeds, asked.answers, asked.allowed, strict=True):
        try:
            given = _fitted(session, feed)
            error = _nearest(answer, session.run(given))
        except (ExportError, ValueError) as problem:
            return Verdict("does not run", why=str(problem).split(": ")[-1][:60])
        worst, right = max(worst, error), right and error < allowed
    return Verdict(word if right else "wrong", worst, _latency(session, _fitted(session, asked.feeds[0])))


def _fitted(session: LiteSession, feed: dict[str, np.ndarray]) -> dict[str, np.ndarray]:
    """The feed under the file's names, in its order of dimensions and its integer types."""
    details = session.details()
    by_name = {name.split(":")[0]: (name, dims, dtype) for name, dims, dtype in details}
    given = [by_name.get(name, details[at]) for at, name in enumerate(feed)]
    return {
        name: _ordered(array, dims).astype(dtype)
        for array, (name, dims, dtype) in zip(feed.values(), given, strict=True)
    }


def _ordered(array: np.ndarray, dims: list[int]) -> np.ndarray:
    """The array with its dimensions in the order that fits ``dims`` (-1: any size)."""
    for order in itertools.permutations(range(array.ndim)):
        if len(dims) == array.ndim and all(want in (-1, array.shape[at]) for want, at in zip(dims, order, strict=True)):
            return np.ascontiguousarray(array.transpose(order))
    return array


def _nearest(answer: list[np.ndarray], found: list[np.ndarray]) -> float:
    """The error with each output's dimensions in the order that is nearest."""
    worst = 0.0
    for want, have in zip(answer, found, strict=True):
        orders = itertools.permutations(range(have.ndim))
        turned = (have.transpose(order) for order in orders)
        worst = max(worst, min((off([want], [each]) for each in turned if each.shape == want.shape), default=np.inf))
    return worst


def _latency(session: LiteSession, feed: dict[str, Any]) -> float:
    times = []
    for _ in range(_RUNS):
        start = time.perf_counter()
        session.run(feed)
        times.append(time.perf_counter() - start)
    return statistics.median(times)


if __name__ == "__main__":
    main(sys.argv[1:])
