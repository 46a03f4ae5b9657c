"""Models as pieces, and the parts that placements make of them: together they give what the whole gives."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper

from exporters.runtime import onnxruntime
from offload.model.halves import part_model, parts_of
from offload.model.pieces import GraphError, PieceGraph, pieces_of
from tests.support.onnx_models import model as make_model

EXAMPLE = Path(__file__).parents[2] / "mobile/example/fashion_mnist.onnx"
LIGHT = Path(onnx.__file__).parent / "backend/test/data/light"


def value_infos(model: Any) -> dict[str, Any]:
    inferred = onnx.shape_inference.infer_shapes(model, data_prop=True).graph
    return {value.name: value for value in (*inferred.value_info, *inferred.input, *inferred.output)}


def run(model: Any, feeds: dict[str, Any], outputs: list[str]) -> list[Any]:
    session = onnxruntime().InferenceSession(model.SerializeToString(), providers=["CPUExecutionProvider"])
    return list(session.run(outputs, feeds))


def run_split(model: Any, graph: PieceGraph, sides: list[bool], feeds: dict[str, Any]) -> dict[str, Any]:
    infos, known = value_infos(model), dict(feeds)
    for part in parts_of(graph, sides):
        made = part_model(model, graph, part, infos)
        onnx.checker.check_model(made)
        values = run(made, {name: known[name] for name in part.inputs}, list(part.outputs))
        known.update(zip(part.outputs, values, strict=True))
    return known


def feeds_for(model: Any, graph: PieceGraph, seed: int = 0) -> dict[str, Any]:
    rng, infos = np.random.default_rng(seed), value_infos(model)
    shapes = {name: [d.dim_value or 1 for d in infos[name].type.tensor_type.shape.dim] for name in graph.inputs}
    return {name: rng.random(shape).astype(np.float32) for name, shape in shapes.items()}


@pytest.mark.parametrize(
    "path", [EXAMPLE, LIGHT / "light_inception_v1.onnx", LIGHT / "light_shufflenet.onnx"], ids=lambda path: path.stem
)
def test_any_placement_of_a_real_network_gives_what_the_whole_gives(path: Path) -> None:
    model = onnx.load(path)
    graph = pieces_of(model.graph)
    feeds = feeds_for(model, graph)
    whole = run(model, feeds, list(graph.outputs))
    rng = np.random.default_rng(3)
    hops = set()
    for trial in range(4):
        cut = int(rng.integers(1, len(graph.pieces)))
        sides = [index >= cut for index in range(len(graph.pieces))]
        if trial % 2:  # anything goes: return hops too
            sides = [bool(side) for side in np.cumsum(rng.random(len(graph.pieces)) < 0.1) % 2]
        known = run_split(model, graph, sides, feeds)
        hops.add(len(parts_of(graph, sides)))
        for name, want in zip(graph.outputs, whole, strict=True):
            np.testing.assert_allclose(known[name], want, rtol=1e-5, atol=1e-6 * float(np.abs(want).max()))
    assert max(hops) >= 2


def test_every_node_is_in_one_piece_or_copied() -> None:
    model = onnx.load(LIGHT / "light_squeezenet.onnx")
    graph = pieces_of(model.graph)
    placed = [index for piece in graph.pieces for index in piece.nodes] + list(graph.copied)
    assert sorted(placed) == list(range(len(model.graph.node)))
    for index, piece in enumerate(graph.pieces):
        assert all(graph.producer.get(value, -1) < index for value in piece.inputs)


def test_an_activation_stays_with_its_convolution_unless_others_take_what_it_takes() -> None:
    weight = numpy_helper.from_array(np.ones((1, 1, 1, 1), np.float32), "w")
    nodes = [
        helper.make_node("Conv", ["x", "w"], ["c"]),
        helper.make_node("Relu", ["c"], ["r"]),
        helper.make_node("Conv", ["r", "w"], ["d"]),
        helper.make_node("Relu", ["d"], ["s"]),
        helper.make_node("Add", ["d", "s"], ["y"]),
    ]
    shape = [1, 1, 2, 2]
    model = make_model(nodes, [("x", TensorProto.FLOAT, shape)], [("y", TensorProto.FLOAT, shape)], [weight])
    graph = pieces_of(model.graph)
    assert [piece.operators for piece in graph.pieces] == [("Conv", "Relu"), ("Conv",), ("Relu",), ("Add",)]
    assert graph.pieces[3].inputs == ("d", "s")


def quantised() -> Any:
    """x -> Q -> DQ -> MatMul(DQ of int8 weights) -> Q -> DQ -> Relu -> y, as quantisers write it."""
    weights = [
        numpy_helper.from_array(np.float32(0.1), "s"),
        numpy_helper.from_array(np.int8(0), "z"),
        numpy_helper.from_array(np.arange(16, dtype=np.int8).reshape(4, 4), "w"),
    ]
    nodes = [
        helper.make_node("QuantizeLinear", ["x", "s", "z"], ["xq"]),
        helper.make_node("DequantizeLinear", ["xq", "s", "z"], ["xd"]),
        helper.make_node("DequantizeLinear", ["w", "s", "z"], ["wd"]),
        helper.make_node("MatMul", ["xd", "wd"], ["m"]),
        helper.make_node("QuantizeLinear", ["m", "s", "z"], ["mq"]),
        helper.make_node("DequantizeLinear", ["mq", "s", "z"], ["md"]),
        helper.make_node("Relu", ["md"], ["y"]),
    ]
    shape = [2, 4]
    return make_model(nodes, [("x", TensorProto.FLOAT, shape)], [("y", TensorProto.FLOAT, shape)], weights)


def test_a_cut_of_a_quantised_model_crosses_as_int8() -> None:
    model = quantised()
    graph = pieces_of(model.graph)
    assert [piece.operators for piece in graph.pieces] == [("QuantizeLinear",), ("MatMul", "QuantizeLinear"), ("Relu",)]
    assert [piece.inputs for piece in graph.pieces] == [("x",), ("xq",), ("mq",)]
    infos = value_infos(model)
    assert {infos[name].type.tensor_type.elem_type for name in ("xq", "mq")} == {TensorProto.INT8}
    feeds = {"x": np.linspace(-1, 1, 8, dtype=np.float32).reshape(2, 4)}
    for sides in ([False, True, True], [False, False, True], [False, True, False]):
        known = run_split(model, graph, sides, feeds)
        np.testing.assert_array_equal(known["y"], run(model, feeds, ["y"])[0])


def test_an_if_is_one_piece_with_what_its_bodies_take() -> None:
    def body(operator: str, name: str) -> Any:
        node = helper.make_node(operator, ["hidden", "hidden"], [name])
        return helper.make_graph([node], name, [], [helper.make_tensor_value_info(name, TensorProto.FLOAT, [2])])

    nodes = [
        helper.make_node("Neg", ["x"], ["hidden"]),
        helper.make_node("If", ["c"], ["y"], then_branch=body("Add", "a"), else_branch=body("Mul", "b")),
    ]
    model = make_model(
        nodes, [("x", TensorProto.FLOAT, [2]), ("c", TensorProto.BOOL, [])], [("y", TensorProto.FLOAT, [2])]
    )
    graph = pieces_of(model.graph)
    assert graph.pieces[1].inputs == ("c", "hidden")
    feeds = {"x": np.array([1, 2], np.float32), "c": np.array(False)}
    np.testing.assert_array_equal(run_split(model, graph, [False, True], feeds)["y"], [1, 4])


def test_shapes_that_are_computed_from_constants_are_copied_to_whoever_needs_them() -> None:
    shape = numpy_helper.from_array(np.array([4], np.int64), "n")
    nodes = [
        helper.make_node("ConstantOfShape", ["n"], ["zero"]),
        helper.make_node("Add", ["x", "zero"], ["a"]),
        helper.make_node("Sub", ["a", "zero"], ["y"]),
    ]
    model = make_model(nodes, [("x", TensorProto.FLOAT, [4])], [("y", TensorProto.FLOAT, [4])], [shape])
    graph = pieces_of(model.graph)
    assert graph.copied == (0,)
    assert [piece.inputs for piece in graph.pieces] == [("x",), ("a",)]
    feeds = {"x": np.arange(4, dtype=np.float32)}
    np.testing.assert_array_equal(run_split(model, graph, [False, True], feeds)["y"], np.arange(4))


def test_parts_are_numbered_by_turns_and_the_hops_are_the_fewest() -> None:
    nodes = [
        helper.make_node("Neg", ["x"], ["a"]),
        helper.make_node("Abs", ["a"], ["b"]),
        helper.make_node("Neg", ["b"], ["c"]),
        helper.make_node("Add", ["c", "a"], ["y"]),
    ]
    model = make_model(nodes, [("x", TensorProto.FLOAT, [1])], [("y", TensorProto.FLOAT, [1])])
    graph = pieces_of(model.graph)
    back = parts_of(graph, [False, True, False, False])
    assert [(part.number, part.place, part.inputs, part.outputs) for part in back] == [
        (0, "device", ("x",), ("a",)),
        (1, "server", ("a",), ("b",)),
        (2, "device", ("b", "a"), ("y",)),
    ]
    assert [(part.number, part.inputs) for part in parts_of(graph, [True] * 4)] == [(1, ("x",))]
    with pytest.raises(GraphError, match="the placement has 1 pieces, the model 4"):
        parts_of(graph, [True])


@pytest.mark.parametrize(
    ("nodes", "words"),
    [
        ([("Neg", "b", "y"), ("Neg", "x", "b")], r"\(Neg\) takes 'b' before it is made"),
        ([("Neg", "x", "b"), ("Neg", "x", "b"), ("Neg", "b", "y")], "value 'b' is made twice"),
        ([("Neg", "x", "b")], "the model's output 'y' is made by no node"),
    ],
)
def test_a_graph_that_is_not_in_order_is_refused(nodes: list[tuple[str, str, str]], words: str) -> None:
    made = [helper.make_node(operator, [taken], [given]) for operator, taken, given in nodes]
    model = make_model(made, [("x", TensorProto.FLOAT, [1])], [("y", TensorProto.FLOAT, [1])])
    with pytest.raises(GraphError, match=words):
        pieces_of(model.graph)
