"""Inputs of three shapes for each real model, seeded: as many batches, widths and lengths as the model leaves free."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np

# Sizes of the free dimensions by model and input (the first that matches): {dimension's place: three sizes}.
_IMAGES = {0: (1, 2, 1), 2: (160, 96, 224), 3: (160, 224, 128)}
_LINES = {0: (1, 2, 3), 1: (3, 3, 3), 2: (48, 48, 48), 3: (160, 96, 320)}
_LABELS = {0: (1, 2, 5), 1: (3, 3, 3), 2: (48, 48, 48), 3: (192, 192, 192)}
_SIZES: dict[str, dict[int, tuple[int, int, int]]] = {
    "nudenet-320n": {0: (1, 1, 2), 2: (320, 256, 160), 3: (320, 192, 160)},
    "ppocr-cls": _LABELS,
    "ppocr-v5-cls": _LABELS,
    "ppocr-v4-rec": _LINES,
    "ppocr-v6-tiny-rec": _LINES,
    "orientation": {0: (1, 2, 3), 2: (224, 224, 224), 3: (224, 224, 224)},
    "oww-melspectrogram": {0: (1, 2, 1), 1: (12640, 16000, 8000)},
    "oww-embedding": {0: (1, 3, 7), 1: (76, 76, 76), 2: (32, 32, 32), 3: (1, 1, 1)},
    "silero-16k-sequence": {0: (1, 3, 8)},
    "silero-ifless": {0: (1, 2, 3), 1: (576, 576, 576)},
    "minilm": {0: (1, 2, 3), 1: (7, 32, 16)},
}
SHAPES = 3


def session(path: Path, optimised: bool = True) -> Any:
    """onnxruntime's session of a model, one thread, quiet; as the graph stands when not ``optimised``."""
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.log_severity_level = 4
    options.intra_op_num_threads = 1
    if not optimised:
        options.graph_optimization_level = onnxruntime.GraphOptimizationLevel.ORT_DISABLE_ALL
    return onnxruntime.InferenceSession(str(path), options, providers=["CPUExecutionProvider"])


def feeds(name: str, inputs: list[Any], which: int) -> dict[str, np.ndarray]:
    """The model's inputs at its ``which``-th shape. ``inputs`` are onnxruntime's descriptions."""
    random = np.random.default_rng([which, len(name)])
    return {entry.name: _values(entry, _shape(name, entry, which), random) for entry in inputs}


def is_free(inputs: list[Any]) -> bool:
    """Whether any dimension of any input is free."""
    return any(not isinstance(size, int) for entry in inputs for size in entry.shape)


def _shape(name: str, entry: Any, which: int) -> list[int]:
    if entry.name == "state":
        return [2, (1, 2, 3)[which], 128]
    sizes = _SIZES.get(name, _IMAGES if len(entry.shape) == 4 else {0: (1, 2, 3)})
    return [size if isinstance(size, int) else sizes[place][which] for place, size in enumerate(entry.shape)]


def _values(entry: Any, shape: list[int], random: np.random.Generator) -> np.ndarray:
    if entry.name == "mask":
        values = np.ones(shape, np.int64)
        values[:, shape[1] - shape[1] // 4 :] = 0
        return values
    if entry.name == "sr":
        return np.array(16000, np.int64)
    if entry.type == "tensor(int64)":
        return random.integers(0, 1000, shape).astype(np.int64)
    if entry.type == "tensor(int32)":
        return random.integers(0, 256, shape).astype(np.int32)
    if len(shape) == 4 and shape[1] == 3:
        return _page(shape, random)
    return random.normal(size=shape).astype(np.float32)


def _page(shape: list[int], random: np.random.Generator) -> np.ndarray:
    """Dark strokes in lines on light paper, with some noise: on noise alone, detectors answer nothing but rounding."""
    page = np.full(shape, 2.0, np.float32)
    for top in range(12, shape[2] - 14, 26):
        for left in range(10, shape[3] - 14, 9):
            height, width = random.integers(3, 14), random.integers(2, 7)
            page[:, :, top : top + height, left : left + width] = -2.0
    return page + random.normal(scale=0.1, size=shape).astype(np.float32)
