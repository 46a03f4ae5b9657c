"""Small ONNX models for tests, made in memory."""

from __future__ import annotations

import numpy as np
from onnx import ModelProto, TensorProto, helper, numpy_helper


def model(nodes, inputs, outputs, initializers=(), opset: int = 17, ir_version: int = 8, domains=()) -> ModelProto:
    """A model of these nodes; inputs and outputs are (name, element type, shape)."""
    graph = helper.make_graph(
        nodes,
        "test",
        [helper.make_tensor_value_info(*entry) for entry in inputs],
        [helper.make_tensor_value_info(*entry) for entry in outputs],
        list(initializers),
    )
    imports = [helper.make_opsetid("", opset), *(helper.make_opsetid(name, 1) for name in domains)]
    return helper.make_model(graph, opset_imports=imports, ir_version=ir_version)


def classifier(batch="batch", features: int = 4, classes: int = 3) -> ModelProto:
    """x float32 [batch, features] -> logits [batch, classes]: item i of the identity has class i (for i < classes)."""
    weights = numpy_helper.from_array(np.eye(features, classes, dtype=np.float32), "w")
    return model(
        [helper.make_node("MatMul", ["x", "w"], ["logits"])],
        [("x", TensorProto.FLOAT, [batch, features])],
        [("logits", TensorProto.FLOAT, [batch, classes])],
        [weights],
    )


def identity(dtype: int, shape, name: str = "x") -> ModelProto:
    """One Identity on an input of that type and shape."""
    return model([helper.make_node("Identity", [name], ["y"])], [(name, dtype, shape)], [("y", dtype, shape)])


def save(path, proto: ModelProto):
    """The path, once the model is there."""
    path.write_bytes(proto.SerializeToString())
    return path
