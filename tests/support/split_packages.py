"""Split packages of the example model, made as users' are."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import onnx

from device_agents.split.package import Package
from mobile.formats.hashing import file_sha256
from offload.model.pieces import pieces_of
from offload.model.values import Watcher, observe
from offload.package.write import Planned, Source, write

EXAMPLE = Path(__file__).parents[2] / "mobile/example"
# Made-up costs of the three placements below.
ROWS = [
    {"id": "p0", "label": "device", "device_s": 0.004},
    {"id": "p1", "label": "split", "device_s": 0.001, "server_s": 0.002, "up_bits": 2e4, "down_bits": 4e3},
    {"id": "p2", "label": "server", "server_s": 0.003, "up_bits": 3e4, "down_bits": 4e3},
]
COSTS = ("device_s", "server_s", "device_codec_s", "server_codec_s", "up_bits", "down_bits", "request_s")
TABLE = {
    "schema": 1,
    "placements": [{**dict.fromkeys(COSTS, 0.0), **row} for row in ROWS],
    "levels": [{"slow_down": 1.0, "bounds": [1e-9, 1e-7, 1e-3], "placements": ["p2", "p0"]}],
    "power": None,
}


def images(count: int) -> np.ndarray:
    """Test images as the example model takes them, float32 [count, 1, 28, 28]."""
    with np.load(EXAMPLE / "fashion_mnist_test_1000.npz") as file:
        found = next(file[name] for name in file.files if file[name].ndim > 1)
    return (found[:count].reshape(count, 1, 28, 28) / np.float32(255)).astype(np.float32)


def source(path: Path = EXAMPLE / "fashion_mnist.onnx", samples: int = 8) -> Source:
    """The model, opened and observed on a few samples."""
    model = onnx.load(path)
    graph = pieces_of(model.graph)
    with Watcher(model, graph, path.name) as watcher:
        observed = observe(watcher, ({graph.inputs[0]: images(samples)[i : i + 1]} for i in range(samples)))
    return Source(path.name, file_sha256(path), path.stat().st_size, model, graph, observed)


def placements(found: Source, codec: str = "q8+zlib") -> list[Planned]:
    """All on the device, a cut in the middle with that codec, all on the server."""
    count = len(found.graph.pieces)
    middle = count // 2
    sides = tuple(index >= middle for index in range(count))
    crossing = found.graph.pieces[middle].inputs
    return [
        Planned("p0", "device", (False,) * count),
        Planned("p1", "split", sides, tuple((value, True, codec) for value in crossing)),
        Planned("p2", "server", (True,) * count, tuple((value, True, "raw") for value in found.graph.inputs)),
    ]


def package(folder: Path, codec: str = "q8+zlib", **more: Any) -> Package:
    """The example as a package in ``folder``."""
    found = source()
    return write(folder, found, placements(found, codec), **more)
