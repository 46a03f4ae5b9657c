"""From ONNX to int8 TFLite, ours beside onnx2tf and ai-edge-quantizer: `python -m benchmarks.tflite_speed`.

EfficientNet-Lite0 with its published weights, smooth noise as images: 12 to calibrate on, 100 others to answer. Printed
are the time and peak memory of the conversion, the file, its latency in LiteRT on one thread, and how many answers are
those of the float model. The peer's file takes and gives int8, which is converted outside of the time.
"""

from __future__ import annotations

import statistics
import sys
import tempfile
import time
from pathlib import Path

import numpy as np

from benchmarks.table import Line, show
from benchmarks.tflite_peers import Cost, measured, onnx2tf, quantizer
from exporters.tflite.running import LiteSession
from tests.support import real_feeds
from tests.support.real_models import efficientnet_lite0

CALIBRATION, QUESTIONS = 12, 100
SHAPE = (3, 224, 224)


def main() -> None:
    """Prints the table."""
    if sys.argv[1:2] == ["--ours"]:
        ours(*map(Path, sys.argv[2:]))
        return
    source = efficientnet_lite0()
    images = noise(CALIBRATION + QUESTIONS)
    with tempfile.TemporaryDirectory() as name:
        work = Path(name)
        given = work / "images.npy"
        np.save(given, images[:CALIBRATION])
        command = [sys.executable, "-m", "benchmarks.tflite_speed", "--ours", source, given, work / "ours.tflite"]
        cost = measured(command, 300)
        floats, first = onnx2tf(source, work / "peer", {"image": (1, *SHAPE)})
        second = quantizer(floats, given, work / "theirs.tflite")
        peer = Cost(first.seconds + second.seconds, max(first.peak_bytes, second.peak_bytes))
        answers = expected(source, images[CALIBRATION:])
        files = work / "ours.tflite", work / "theirs.tflite"
        results = [judged(path.read_bytes(), images[CALIBRATION:], answers) for path in files]
        sizes = [path.stat().st_size for path in files]
    mine, theirs = results
    show(
        "EfficientNet-Lite0, ONNX to static int8 TFLite; peer: onnx2tf 2.6.9 and ai-edge-quantizer 0.10",
        [
            Line("time", f"{cost.seconds:.1f} s", f"{peer.seconds:.1f} s", cost.seconds / peer.seconds, "<= 1"),
            Line("peak memory", _mb(cost.peak_bytes), _mb(peer.peak_bytes), cost.peak_bytes / peer.peak_bytes, "<= 1"),
            Line("file", _mb(sizes[0]), "5.4 MB (limit)", sizes[0] / 5.4e6, "<= 1"),
            Line("file, peer", _mb(sizes[0]), _mb(sizes[1]), sizes[0] / sizes[1], "shown"),
            Line("latency", f"{mine[0] * 1e3:.1f} ms", f"{theirs[0] * 1e3:.1f} ms", mine[0] / theirs[0], "<= 1"),
            Line(f"answers as float, of {QUESTIONS}", str(mine[1]), str(theirs[1]), mine[1] / theirs[1], ">= 1"),
            Line("relative error", f"{mine[2]:.3f}", f"{theirs[2]:.3f}", mine[2] / theirs[2], "<= 1"),
        ],
    )


def _mb(size: float) -> str:
    return f"{size / 1e6:.2f} MB"


def noise(count: int) -> np.ndarray:
    """Images [n, 3, 224, 224] of smooth noise within -2..2, seeded."""
    random = np.random.default_rng(0)
    found = random.normal(size=(count, *SHAPE))
    for axis in (1, 2, 3):
        for _ in range(8):
            found = (found + np.roll(found, 1, axis) + np.roll(found, -1, axis)) / 3
    found *= 2 / np.abs(found).max(axis=(1, 2, 3), keepdims=True)
    return found.astype(np.float32)


def ours(source: Path, images: Path, output: Path) -> None:
    """The conversion and quantisation, in a process of its own so that its memory is its own."""
    import onnx_ir as ir

    from exporters.tflite import export_tflite, flat
    from exporters.tflite.quantise import quantise
    from exporters.tflite.rules import LITERT_2_3

    program = export_tflite(ir.load(source), None, {"image": (1, *SHAPE)})
    feeds = ({"image": image[None]} for image in np.load(images))
    flat.write(quantise(program, "int8", LITERT_2_3, feeds).program, output)


def expected(source: Path, images: np.ndarray) -> np.ndarray:
    """The float model's answers, by onnxruntime."""
    return real_feeds.session(source).run(None, {"image": images})[0]


def judged(content: bytes, images: np.ndarray, answers: np.ndarray) -> tuple[float, int, float]:
    """Median latency in seconds, answers that are the float model's, and the mean relative error."""
    session = LiteSession(content, "the file")
    name, dims, _ = session.details()[0]
    source, sink = session.scales()
    times, right, errors = [], 0, []
    for image, want in zip(images, answers, strict=True):
        given = image[None] if dims[1] == SHAPE[0] else np.ascontiguousarray(image[None].transpose(0, 2, 3, 1))
        if source:
            given = np.clip(np.rint(given / source[0]) + source[1], -128, 127).astype(np.int8)
        start = time.perf_counter()
        (found,) = session.run({name: given})
        times.append(time.perf_counter() - start)
        logits = (found[0].astype(np.float32) - sink[1]) * sink[0] if sink else found[0]
        right += int(logits.argmax() == want.argmax())
        errors.append(float(np.linalg.norm(logits - want) / np.linalg.norm(want)))
    return statistics.median(times), right, statistics.mean(errors)


if __name__ == "__main__":
    main()
