"""ONNX models that are little more than their weights, for tests of what is sent of them."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper


def random_weights(sizes, seed=0):
    """Arrays of float32 with so many values each."""
    random = np.random.default_rng(seed)
    return [random.standard_normal((size,), dtype=np.float32) for size in sizes]


def save_weights(path: Path, weights, external=False) -> Path:
    """The path of a valid model: x of float32 [1], plus the first value of each weight."""
    values = [numpy_helper.from_array(np.zeros(1, np.int64), "first")]
    nodes, last = [], "x"
    for number, weight in enumerate(weights):
        values.append(numpy_helper.from_array(weight, f"w{number}"))
        nodes.append(helper.make_node("Gather", [f"w{number}", "first"], [f"g{number}"]))
        nodes.append(helper.make_node("Add", [last, f"g{number}"], [f"s{number}"]))
        last = f"s{number}"
    graph = helper.make_graph(
        nodes,
        "weights",
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, [1])],
        [helper.make_tensor_value_info(last, TensorProto.FLOAT, [1])],
        values,
    )
    proto = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)
    options = (
        {"save_as_external_data": True, "location": f"{path.name}.data", "size_threshold": 100} if external else {}
    )
    onnx.save(proto, str(path), **options)
    return path
