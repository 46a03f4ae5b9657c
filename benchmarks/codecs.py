"""Codecs on real activations: `python -m benchmarks.codecs [MODEL.onnx ...] [--image FILE]`.

Speed in GB of float32 a second on one core, there and back, beside a plain copy of the same memory; and the size of
what is sent, beside zstd on the float32 bytes. Networks: the example, and the ONNX files that are named (nudenet's
320n.onnx and rapidocr's detector were used for the figures in benchmarks/README.md, on scikit-learn's china.jpg).
Activations are those of three depths of a network, of one real input, in the range that they have.
"""

from __future__ import annotations

import argparse
import os
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import zstandard

from benchmarks.table import Line, show
from device_agents.split.codecs import BITS, Range, available, decode, encode, measure, parse
from offload.model.pieces import pieces_of
from offload.model.values import Watcher

EXAMPLE = Path(__file__).resolve().parents[1] / "mobile/example"
BARE, CODED = ("q8", "q4"), ("q8+zlib", "q8+zstd", "q8+lz4", "q4+zlib", "q4+zstd", "q4+lz4")
DEPTHS, SIDE = (0.15, 0.45, 0.8), 320
SHORTEST_S, ROUNDS = 0.05, 7
GOAL = 1e9  # bytes of float32 a second, of the bare codecs


def seconds(act: Callable[[], Any]) -> float:
    """The least seconds of a call, over rounds of at least SHORTEST_S."""
    best = float("inf")
    for _ in range(ROUNDS):
        count, began = 0, time.perf_counter()
        while (taken := time.perf_counter() - began) < SHORTEST_S or not count:
            act()
            count += 1
        best = min(best, taken / count)
    return best


def picture(path: Path, shape: list[int]) -> np.ndarray:
    """A photograph as an image input takes it, from 0 to 1."""
    from PIL import Image

    last = shape[-1] in (1, 3)
    channels = shape[-1] if last else shape[1]
    height, width = shape[1:3] if last else shape[2:4]
    opened = Image.open(path).convert("RGB" if channels == 3 else "L").resize((width, height))
    pixels = np.asarray(opened, np.float32).reshape(height, width, channels) / 255
    return np.ascontiguousarray(pixels if last else pixels.transpose(2, 0, 1))[None]


def feeds_of(model: Any, image: Path | None) -> dict[str, np.ndarray]:
    """One real input: the photograph, or the bytes of this file for a network that reads bytes."""
    inside = {value.name for value in model.graph.initializer}
    (value,) = [value for value in model.graph.input if value.name not in inside]
    dims = [dim.dim_value or 0 for dim in value.type.tensor_type.shape.dim]
    if len(dims) == 2:
        data = Path(__file__).read_bytes()[: dims[1]].ljust(dims[1], b" ")
        kind = onnx.helper.tensor_dtype_to_np_dtype(value.type.tensor_type.elem_type)
        return {value.name: np.frombuffer(data, np.uint8).astype(kind)[None]}
    dims = [1] + [dim or SIDE for dim in dims[1:]]
    if image is None:
        raise SystemExit("an image input needs --image")
    return {value.name: picture(image, dims)}


def example_feeds() -> dict[str, np.ndarray]:
    """Thirty-two test images of the example at once, so that its values are not all tiny."""
    with np.load(EXAMPLE / "fashion_mnist_test_1000.npz") as file:
        found = next(file[name] for name in file.files if file[name].ndim > 1)
    return {"image": (found[:32].reshape(32, 1, 28, 28) / np.float32(255)).astype(np.float32)}


def activations(path: Path, feeds: dict[str, np.ndarray] | None, image: Path | None) -> Iterator[np.ndarray]:
    """The largest float32 value near each of the DEPTHS of a network."""
    model = onnx.load(path)
    graph = pieces_of(model.graph)
    with Watcher(model, graph, path.name) as watcher:
        found = watcher.run(feeds if feeds is not None else feeds_of(model, image))
    order = [name for piece in graph.pieces for name in piece.outputs]
    made = [found[name] for name in order if name in found and found[name].dtype == np.float32 and found[name].size]
    for depth in DEPTHS:
        at = int(depth * len(made))
        yield max(made[max(at - 2, 0) : at + 3], key=lambda array: array.nbytes)


def line_of(network: str, arrays: list[np.ndarray], codec: str, copy_s: float, zstd: tuple[float, int]) -> list[Line]:
    """Lines of one codec: its speed against a copy, and its size and speed against zstd on the plain bytes."""
    size = sum(array.nbytes for array in arrays)
    ranges: list[Range] = [measure(array) for array in arrays]
    frames = [encode(array, codec, found) for array, found in zip(arrays, ranges, strict=True)]
    encode_s = seconds(lambda: [encode(array, codec, found) for array, found in zip(arrays, ranges, strict=True)])
    decode_s = seconds(lambda: [decode(frame) for frame in frames])
    shown = f"{size / encode_s / 1e9:.2f} and {size / decode_s / 1e9:.2f} GB/s"
    bare = not parse(codec).entropy and parse(codec).base in BITS
    speed = Line(
        f"{network}: {codec}, encode and decode",
        shown,
        f"{size / copy_s / 1e9:.1f} GB/s (copy)",
        encode_s / copy_s,
        f">= {GOAL / 1e9:g} GB/s" if bare else "shown",
    )
    if bare:
        return [speed]
    coded = sum(map(len, frames))
    against = f"{size / zstd[1]:.2f}x at {size / zstd[0] / 1e9:.2f} GB/s (zstd alone)"
    return [speed, Line(f"{network}: {codec}, size", f"{size / coded:.1f}x", against, coded / zstd[1], "shown")]


def lines_of(network: str, arrays: list[np.ndarray]) -> list[Line]:
    """The lines of one network."""
    copies = [np.empty_like(array) for array in arrays]
    copy_s = seconds(lambda: [np.copyto(copy, array) for copy, array in zip(copies, arrays, strict=True)])
    packer = zstandard.ZstdCompressor(level=3)
    plain = [array.tobytes() for array in arrays]
    packed = sum(len(packer.compress(data)) for data in plain)
    zstd = (seconds(lambda: [packer.compress(data) for data in plain]), packed)
    found: list[Line] = []
    for codec in (*BARE, *CODED):
        if available(codec) is None:
            found += line_of(network, arrays, codec, copy_s, zstd)
    return found


def main() -> None:
    """Prints the speeds and sizes."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("models", nargs="*", type=Path)
    parser.add_argument("--image", type=Path)
    asked = parser.parse_args()
    if hasattr(os, "sched_setaffinity"):
        os.sched_setaffinity(0, {max(os.sched_getaffinity(0))})
    networks = [("example", EXAMPLE / "fashion_mnist.onnx", example_feeds())]
    networks += [(path.stem, path, None) for path in asked.models]
    lines: list[Line] = []
    for name, path, feeds in networks:
        arrays = list(activations(path, feeds, asked.image))
        lines += lines_of(f"{name} ({sum(array.nbytes for array in arrays) >> 10} KiB)", arrays)
    show("Codecs of activations, one core", lines)


if __name__ == "__main__":
    main()
