"""What the runtime tells becomes pieces; cuts are spread and cheap; features are what the graph says."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import onnx
import pytest

from offload.costs.cuts import choose_cuts, possible_cuts
from offload.costs.features import features_of
from offload.costs.nodes import named, piece_of, times_of
from offload.costs.profile import Cut
from offload.costs.subject import Subject, open_subject, save_arrays
from offload.model.halves import parts_of
from tests.support.onnx_text import saved

LIGHT = Path(onnx.__file__).parent / "backend/test/data/light"
TWO_WAYS = """
<ir_version: 8, opset_import: ["" : OPSET]>
net (float[1, 4] x) => (float[1, 4] y) <float[4, 4] w, float[4, 4] v>
{
    a = MatMul (x, w)
    b = Relu (a)
    c = MatMul (b, v)
    d = Sigmoid (c)
    e = Add (b, d)
    f = MatMul (e, w)
    y = Tanh (f)
}
"""


@pytest.fixture
def two_ways(tmp_path: Path) -> Subject:
    return open_subject(saved(tmp_path / "net.onnx", TWO_WAYS))


def test_what_the_runtime_names_is_found_again(two_ways: Subject) -> None:
    model = named(two_ways.model)
    first = model.graph.node[0].name
    told = [
        ["reorder in", "ReorderInput", "CPU", 0.5, 9],
        [f"fused {first}", "FusedMatMul", "CPU", 1.0, 9],
        ["d_nchwc", "Sigmoid", "CPU", 2.0, 9],
        ["something else", "ReorderOutput", "CPU", 0.25, 9],
        ["y", "Tanh", "CPU", 4.0, 9],
    ]
    found = times_of(two_ways.model, two_ways.graph, told)
    assert found.seconds == (1.5, 2.25, None, 4.0)  # what leads nowhere counts with the node before or after it
    assert found.lost_s == 0.75
    assert found.total_s == 7.75


def test_names_that_are_there_are_kept_and_missing_ones_made(two_ways: Subject) -> None:
    assert not any(node.name for node in two_ways.model.graph.node)
    copy = named(two_ways.model)
    names = [node.name for node in copy.graph.node]
    assert all(names)
    assert len(set(names)) == len(names)
    assert named(copy) is copy
    assert [list(node.output) for node in copy.graph.node] == [list(n.output) for n in two_ways.model.graph.node]


def test_the_longest_name_wins_and_only_whole_words_count() -> None:
    places = {"conv1": 1, "conv1_2": 2, "conv12": 3}
    assert piece_of("conv1_2_nchwc", places) == 2
    assert piece_of("conv12/token", places) == 3
    assert piece_of("conv123", places) is None
    assert piece_of("", places) is None


@pytest.mark.parametrize(
    "entry", [None, [], ["a"], ["a", 1, 2, "x"], ["a", 1, 2, -1.0], [1, 2, 3, 4], ["a", 1, 2, True]]
)
def test_entries_that_are_none_are_passed_over(two_ways: Subject, entry: object) -> None:
    assert times_of(two_ways.model, two_ways.graph, [entry]).total_s == 0


def test_what_crosses_a_cut_is_everything_that_is_needed_behind_it(two_ways: Subject) -> None:
    cuts = possible_cuts(two_ways.graph, two_ways.observed)
    assert [(cut.cut, cut.values, cut.size_bytes) for cut in cuts] == [
        (1, ("b",), 16),
        (2, ("b", "d"), 32),
        (3, ("e",), 16),
    ]


def test_cuts_are_spread_over_the_time_and_cheap_in_each_band() -> None:
    cuts = [Cut(k, ("v",), 10 if k % 2 else 100) for k in range(1, 10)]
    chosen = choose_cuts(cuts, [1.0] * 10, 3)
    assert [cut.cut for cut in chosen] == [1, 5, 9] or [cut.cut for cut in chosen] == [3, 5, 9]
    assert {cut.size_bytes for cut in chosen} == {10}
    assert choose_cuts(cuts, [1.0] * 10, 99) == cuts
    assert choose_cuts(cuts, [1.0] * 10, 0) == []
    late = choose_cuts(cuts, [0.0] * 8 + [1.0, 1.0], 2)
    assert late[-1].cut >= 8  # where the time is
    assert len(choose_cuts(cuts, [0.0] * 10, 4)) == 4


@pytest.mark.parametrize("name", ["light_squeezenet", "light_shufflenet", "light_inception_v1"])
def test_every_cut_of_a_real_topology_gives_two_parts_with_those_values_between_them(name: str) -> None:
    subject = open_subject(LIGHT / f"{name}.onnx")
    cuts = possible_cuts(subject.graph, subject.observed)
    assert len(cuts) > 20
    for cut in cuts:
        head, tail = parts_of(subject.graph, [i >= cut.cut for i in range(len(subject.graph.pieces))])
        assert set(tail.inputs) == set(cut.values)
        assert set(head.outputs) >= {value for value in cut.values if value in subject.graph.producer}
        assert cut.size_bytes == sum(subject.values[value].nbytes for value in cut.values)


def test_features_count_work_bytes_and_weights(two_ways: Subject) -> None:
    features = features_of(two_ways.model, two_ways.graph, two_ways.observed)
    assert [one.macs for one in features] == [16, 16, 0, 16]
    assert [one.weight_bytes for one in features] == [64, 64, 0, 64]
    assert [one.output_bytes for one in features] == [16, 16, 16, 16]
    assert features[2].input_bytes == 32
    assert features[0].kind == "MatMul"


def test_weights_that_a_graph_makes_itself_are_weights() -> None:
    subject = open_subject(LIGHT / "light_squeezenet.onnx")
    features = features_of(subject.model, subject.graph, subject.observed)
    convolutions = [one for one in features if one.kind == "Conv"]
    assert len(convolutions) == 26
    assert all(one.macs for one in convolutions)
    # 1.2 million parameters, Iandola et al., SqueezeNet, 2016
    assert sum(one.weight_bytes for one in convolutions) / 4 == pytest.approx(1.24e6, rel=0.02)


def test_arrays_are_saved_under_any_name(tmp_path: Path) -> None:
    arrays = {"file": np.arange(3), "a/b:0": np.float32(2.0), "T": np.asfortranarray(np.ones((2, 3)))}
    save_arrays(tmp_path / "x.npz", arrays, arrays)
    with np.load(tmp_path / "x.npz") as found:
        assert {name: found[name].tolist() for name in found.files} == {
            k: np.asarray(v).tolist() for k, v in arrays.items()
        }
