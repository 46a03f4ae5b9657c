"""Small float models of which every family of compressed weights can be made."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper


def two_products(size: int = 128) -> onnx.ModelProto:
    """x [batch, size] times two weights, a Relu between them."""
    random = np.random.default_rng(1)
    weights = {name: random.standard_normal((size, size)).astype(np.float32) / 8 for name in ("up", "down")}
    nodes = [
        helper.make_node("MatMul", ["x", "up"], ["u"], name="up"),
        helper.make_node("Relu", ["u"], ["r"]),
        helper.make_node("MatMul", ["r", "down"], ["y"], name="down"),
    ]
    return _model(nodes, weights, ["y"], size)


def side_by_side(names: Sequence[str], size: int = 128) -> onnx.ModelProto:
    """x [batch, size] times the weight "w.NAME", once for each name: its result is the output NAME."""
    random = np.random.default_rng(2)
    weights = {f"w.{name}": random.standard_normal((size, size)).astype(np.float32) / 8 for name in names}
    nodes = [helper.make_node("MatMul", ["x", f"w.{name}"], [name], name=f"product.{name}") for name in names]
    return _model(nodes, weights, names, size)


def _model(
    nodes: list[onnx.NodeProto], weights: dict[str, np.ndarray], outputs: Sequence[str], size: int
) -> onnx.ModelProto:
    ends = [
        [helper.make_tensor_value_info(name, TensorProto.FLOAT, ["batch", size]) for name in side]
        for side in (["x"], outputs)
    ]
    stored = [numpy_helper.from_array(array, name) for name, array in weights.items()]
    made = helper.make_graph(nodes, "products", *ends, stored)
    return helper.make_model(made, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)
