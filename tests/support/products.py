"""A small float model of which every family of compressed weights can be made."""

from __future__ import annotations

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
    ends = [[helper.make_tensor_value_info(name, TensorProto.FLOAT, ["batch", size])] for name in "xy"]
    stored = [numpy_helper.from_array(array, name) for name, array in weights.items()]
    made = helper.make_graph(nodes, "products", *ends, stored)
    return helper.make_model(made, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)
