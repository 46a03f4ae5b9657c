"""Weights of a graph are found by what reads them, with the axis of their outputs; the rest is left, with why."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import onnx_ir as ir
import pytest
from onnx import TensorProto, helper, numpy_helper

from exporters.compress.weights import find_weights, left_out

EXAMPLE = Path(__file__).resolve().parents[3] / "mobile" / "example" / "fashion_mnist.onnx"
F = np.float32


def model(nodes, weights, x=("x", [2, 16]), outputs=("y",)):
    graph = helper.make_graph(
        nodes, "g", [helper.make_tensor_value_info(x[0], TensorProto.FLOAT, x[1])],
        [helper.make_tensor_value_info(name, TensorProto.FLOAT, None) for name in outputs],
        [numpy_helper.from_array(array, name) for name, array in weights.items()],
    )  # fmt: skip
    proto = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)
    return ir.serde.deserialize_model(proto)


def ones(*shape, kind=F):
    return np.ones(shape, kind)


def node(kind, inputs, output, **attributes):
    return helper.make_node(kind, inputs.split(), [output], **attributes)


def found(graph):
    return {weight.name: (weight.kind, weight.axis) for weight in find_weights(graph)}


READERS = {
    "MatMul": ([node("MatMul", "x w", "y")], (16, 8), ("matmul", 1)),
    "MatMul from the left": ([node("Transpose", "x", "t", perm=[1, 0]), node("MatMul", "w t", "y")], (8, 16),
                             ("matmul", 0)),
    "MatMul behind Transpose": ([node("Transpose", "w", "t", perm=[1, 0]), node("MatMul", "x t", "y")], (8, 16),
                                ("matmul", 0)),
    "Gemm": ([node("Gemm", "x w", "y")], (16, 8), ("gemm", 1)),
    "Gemm transB": ([node("Gemm", "x w", "y", transB=1)], (8, 16), ("gemm", 0)),
    "Gemm transB behind Transpose": ([node("Transpose", "w", "t"), node("Gemm", "x t", "y", transB=1)], (16, 8),
                                     ("gemm", 1)),
}  # fmt: skip


@pytest.mark.parametrize("what", READERS)
def test_the_axis_is_that_of_the_outputs(what):
    nodes, shape, want = READERS[what]
    assert found(model(nodes, {"w": ones(*shape)})) == {"w": want}


def test_convolutions_and_embeddings_are_found():
    graph = model([node("Conv", "x a", "c"), node("ConvTranspose", "c b", "y")],
                  {"a": ones(8, 3, 3, 3), "b": ones(8, 4, 3, 3)}, ("x", [1, 3, 9, 9]))  # fmt: skip
    assert found(graph) == {"a": ("conv", 0), "b": ("conv-transpose", 1)}
    ids = np.zeros((1, 4), np.int64)
    assert found(model([node("Gather", "e i", "y")], {"e": ones(20, 8), "i": ids})) == {"e": ("gather", 0)}
    assert found(model([node("Gather", "e i", "y", axis=1)], {"e": ones(20, 8), "i": ids})) == {}


def test_a_tied_embedding_is_one_weight_with_two_uses():
    nodes = [node("Gather", "e i", "g"), node("Transpose", "e", "t", perm=[1, 0]), node("MatMul", "g t", "y")]
    (weight,) = find_weights(model(nodes, {"e": ones(20, 8), "i": np.zeros(4, np.int64)}))
    assert (weight.kind, weight.axis, weight.shape) == ("matmul", 0, (20, 8))
    assert sorted((use.node.op_type, use.index, use.transpose is not None) for use in weight.uses) == [
        ("Gather", 0, False), ("MatMul", 1, True)]  # fmt: skip
    assert weight.array().dtype == F


LEFT = {
    "another reader": ([node("MatMul", "x w", "a"), node("Add", "a w", "y")], ones(16, 16), "Add reads it"),
    "two axes": ([node("MatMul", "x w", "a"), node("Gemm", "a w", "y", transB=1)], ones(16, 16), "different axes"),
    "few values": ([node("MatMul", "x w", "y")], ones(16, 2), "fewer than 64 values"),
    "a batch of matrices": ([node("MatMul", "x w", "y")], ones(2, 16, 8), "MatMul reads it"),
    "nothing": ([node("Relu", "x", "y")], ones(16, 8), "nothing reads it"),
    "a bias": ([node("Add", "x w", "y")], ones(5, 2, 16), "Add reads it"),
    "an output": ([node("MatMul", "x w", "y")], ones(16, 8), "input or output"),
}


@pytest.mark.parametrize("what", LEFT)
def test_what_is_no_weight_is_left_with_its_reason(what):
    nodes, weight, words = LEFT[what]
    graph = model(nodes, {"w": weight}, outputs=("y", "w") if what == "an output" else ("y",))
    assert find_weights(graph) == []
    assert words in left_out(graph)["w"]


def test_integers_and_vectors_are_not_even_asked_about():
    nodes = [node("Gather", "v i", "g"), node("MatMul", "x w", "a"), node("Add", "a g", "y")]
    graph = model(nodes, {"v": ones(8), "i": np.zeros(1, np.int64), "w": ones(16, 8)})
    assert found(graph) == {"w": ("matmul", 1)}
    assert left_out(graph) == {}


def test_weights_inside_the_branches_of_an_if_are_found_and_doubled_names_left():
    def branch(name, scale):
        out = helper.make_tensor_value_info(f"{name}_y", TensorProto.FLOAT, None)
        weights = [numpy_helper.from_array(ones(16, 8) * F(scale), key) for key in (f"{name}_w", "same")]
        nodes = [node("MatMul", f"x {name}_w", f"{name}_a"), node("MatMul", "x same", f"{name}_b"),
                 node("Add", f"{name}_a {name}_b", f"{name}_y")]  # fmt: skip
        return helper.make_graph(nodes, name, [], [out], weights)

    nodes = [node("If", "c", "y", then_branch=branch("one", 1), else_branch=branch("two", 2))]
    graph = model(nodes, {"c": np.array(True)})
    assert found(graph) == {"one_w": ("matmul", 1), "two_w": ("matmul", 1)}
    assert "several subgraphs" in left_out(graph)["same"]


def test_the_example_has_its_five_convolutions_and_its_classifier():
    kinds = [weight.kind for weight in find_weights(ir.load(EXAMPLE))]
    assert kinds == ["conv"] * 5 + ["gemm"]
