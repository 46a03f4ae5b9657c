"""Placement tables for simulations: real topologies, MADE-UP costs. Nothing here was measured on a device or a server.

A piece costs its multiply-adds (convolutions, matrix products) and its output elements (all else) over a speed that is
chosen so that the whole model takes LOCAL_S on the device; the server is SPEED_UP times as fast. Codecs have round
ratios from the middle of what was seen on real activations (q8+zlib 6x, q4+zlib 16x), and costs per input byte.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import onnx

from device_agents.split.table import Conditions, Table
from offload.model.pieces import PieceGraph, pieces_of
from offload.plan.costs import CodedAs, Costs, Link, Power, ValueCosts
from offload.plan.problem import DEVICE
from offload.plan.table import LEVELS, compile_table

LOCAL_S, SPEED_UP, REQUEST_S = 0.12, 10.0, 0.001
EXAMPLE = Path(__file__).resolve().parents[1] / "mobile/example/fashion_mnist.onnx"
LIGHT = Path(onnx.__file__).parent / "backend/test/data/light"
# name: (file, whether the input may travel as JPEG of 2 bits per pixel)
MODELS = {
    "example": (EXAMPLE, False),
    "resnet50": (LIGHT / "light_resnet50.onnx", True),
    "densenet121": (LIGHT / "light_densenet121.onnx", False),
}
# (codec, ratio to float32, seconds per float32 byte on the device, the same on the server)
CODECS = (("raw", 1.0, 0.0, 0.0), ("q8+zlib", 6.0, 8e-9, 1e-9), ("q4+zlib", 16.0, 4e-9, 1e-9))
POWER = Power(5.0, 2.0, 0.28, 0.13, 0.14, 0.13, source="made up, of the order of a small board with Wi-Fi")
RANGE_BPS = (1e4, 1e10)


def table(name: str, rtt_s: float = 0.02, switch_s: float = 0.0) -> Table:
    """The table of one of MODELS."""
    costs = costs_of(name)
    link = Link(2e7, 4e7, rtt_s)
    document, _ = compile_table(costs, link, LEVELS, RANGE_BPS, POWER, switch_s=switch_s)
    return Table.from_json(document)


def break_even_bps(found: Table, rtt_s: float = 0.02, down_ratio: float = 2.0) -> float:
    """The uplink at which the best placement that uses the server is as fast as the device alone."""
    low, high = 1e2, 1e12
    for _ in range(80):
        middle = (low * high) ** 0.5
        now = Conditions(middle, middle * down_ratio, rtt_s)
        best = min(found.placements.values(), key=lambda placement: placement.latency_s(now))
        low, high = (middle, high) if best.label == DEVICE_LABEL else (low, middle)
    return high


DEVICE_LABEL = "device"


def costs_of(name: str) -> Costs:
    """Made-up costs of one of MODELS."""
    path, jpeg = MODELS[name]
    model = onnx.shape_inference.infer_shapes(onnx.load(path), data_prop=True)
    graph, shapes = pieces_of(model.graph), _shapes(model.graph)
    work = np.array([sum(_work(model.graph.node[n], shapes) for n in piece.nodes) for piece in graph.pieces])
    device = work / work.sum() * LOCAL_S
    values = tuple(_value(graph, value, shapes, jpeg) for value in graph.values)
    return Costs(
        tuple(piece.name for piece in graph.pieces),
        tuple(float(s) for s in device),
        tuple(float(s) for s in device / SPEED_UP),
        values,
        request_s=REQUEST_S,
        how={"device_s": "assumed", "server_s": "assumed"},
    )


def _shapes(graph: Any) -> dict[str, tuple[int, ...]]:
    known = {tensor.name: tuple(tensor.dims) for tensor in graph.initializer}
    for value in (*graph.input, *graph.value_info, *graph.output):
        dims = tuple(max(dim.dim_value, 1) for dim in value.type.tensor_type.shape.dim)
        known.setdefault(value.name, dims)
    return known


def _work(node: Any, shapes: dict[str, tuple[int, ...]]) -> float:
    made = float(np.prod(shapes.get(node.output[0], (1,))))
    if node.op_type == "Conv":
        return made * float(np.prod(shapes[node.input[1]][1:]))
    if node.op_type in ("Gemm", "MatMul"):
        return made * float(shapes[node.input[0]][-1])
    return made


def _value(graph: PieceGraph, name: str, shapes: dict[str, tuple[int, ...]], jpeg: bool) -> ValueCosts:
    shape = shapes.get(name, (1,))
    size = 4.0 * float(np.prod(shape))
    ways = [CodedAs(codec, size * own, size * theirs, size * 8 / ratio) for codec, ratio, own, theirs in CODECS]
    producer = graph.producer.get(name, DEVICE)
    if producer == DEVICE:
        ways = ways[:2]  # four bits are too few for an image
    if producer == DEVICE and jpeg:
        ways.append(CodedAs("jpeg", size * 4e-9, size * 4e-9, 2.0 * shape[-1] * shape[-2]))
    return ValueCosts(name, producer, graph.consumers(name), tuple(ways), tuple(ways[:1]), name in graph.outputs)
