"""What int8 leaves of a transformer's answers: `python -m benchmarks.tflite_transformer`.

MiniLM (all-MiniLM-L6-v2, published weights) in four forms of TFLite for LiteRT 2.3: file, the cosine of its states to
onnxruntime's on inputs that were not calibrated on, and the latency, one thread. Its inputs are token numbers drawn at
random, the last quarter of them masked, not sentences.
"""

from __future__ import annotations

import platform
import statistics
import time
from collections.abc import Callable

import numpy as np

from exporters.tflite import flat
from exporters.tflite.calibrate import calibrate
from exporters.tflite.ir import Program
from exporters.tflite.mixed import remarks, static_int8
from exporters.tflite.quantise_static import quantise_static
from exporters.tflite.quantise_weights import quantise_weights
from exporters.tflite.rules import LITERT_2_3
from exporters.tflite.running import LiteSession
from exporters.tflite.sensitivity import Nearness
from tests.exporters.tflite.test_real_models import converted
from tests.support import real_feeds
from tests.support.real_models import minilm

TOKENS, CALIBRATION, QUESTIONS, _RUNS = 32, 16, 32, 30
Feeds = list[dict[str, np.ndarray]]


def main() -> None:
    """Prints one row for each form."""
    path = minilm()
    program = converted(path)
    feeds = sentences(CALIBRATION + QUESTIONS)
    given, asked = feeds[:CALIBRATION], feeds[CALIBRATION:]
    source = real_feeds.session(path)
    want = [source.run(None, feed) for feed in asked]
    print(f"## MiniLM, {TOKENS} tokens, {CALIBRATION} inputs to calibrate on, {QUESTIONS} others\n")
    print(f"{platform.machine()}, {platform.system()} {platform.release()}, Python {platform.python_version()}\n")
    print("| form | made in | file | cosine | LiteRT, one thread |\n|---|--:|--:|--:|--:|")
    notes: list[str] = []

    def mixed() -> Program:
        small, report = static_int8(program, given, LITERT_2_3)
        notes.extend(remarks(report))
        return small

    forms: dict[str, Callable[[], Program]] = {
        "float32": lambda: program,
        "int8 wherever there is a kernel": lambda: quantise_static(program, calibrate(program, given), LITERT_2_3)[0],
        "int8": mixed,
        "int8-dynamic": lambda: quantise_weights(program, "int8-dynamic", LITERT_2_3)[0],
    }
    for name, make in forms.items():
        start = time.perf_counter()
        content = flat.to_bytes(make())
        taken_s = time.perf_counter() - start
        print(
            f"| {name} | {taken_s:.1f} s | {len(content) / 1e6:.1f} MB | {judged(content, asked, want)} |", flush=True
        )
    print("\n" + "\n".join(notes))


def sentences(count: int) -> Feeds:
    """Token numbers and masks [1, TOKENS], seeded."""
    random = np.random.default_rng(0)
    mask = np.ones((1, TOKENS), np.int64)
    mask[:, TOKENS - TOKENS // 4 :] = 0
    return [{"ids": random.integers(0, 30000, (1, TOKENS)), "mask": mask} for _ in range(count)]


def judged(content: bytes, feeds: Feeds, want: list[list[np.ndarray]]) -> str:
    """Cells: the cosine over all feeds, and the median latency."""
    session, near = LiteSession(content, "the file"), Nearness()
    for feed, answer in zip(feeds, want, strict=True):
        near.add(answer, session.run(feed))
    times = []
    for _ in range(_RUNS):
        start = time.perf_counter()
        session.run(feeds[0])
        times.append(time.perf_counter() - start)
    return f"{near.cosine():.4f} | {statistics.median(times) * 1e3:.1f} ms"


if __name__ == "__main__":
    main()
