"""Decoding as a part of the model gives bit for bit what the codec gives, and then what the tail gives."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper

from device_agents.split.codecs import Range, decode, encode
from device_agents.split.package import Value
from exporters.runtime import Session
from mobile.errors import ExportError
from offload.package.prologue import CodedInput, coded_inputs, with_decoding
from tests.support.onnx_models import identity, model
from tests.support.split_packages import package

WITHIN = Range((-0.7,), (2.9,))
SHAPES = [(1, 3, 5, 7), (4,), (1,), (2, 3)]


def run(made: onnx.ModelProto, path: Path, feeds: dict[str, np.ndarray]) -> list[np.ndarray]:
    onnx.checker.check_model(made)
    path.write_bytes(made.SerializeToString())
    return Session(path, "decoding").run(feeds)


def coded(name: str, codec: str, shape: tuple[int, ...], dtype: str = "FP32") -> CodedInput:
    kind = {"FP32": np.float32, "FP16": np.float16, "FP64": np.float64}[dtype]
    return CodedInput(Value(name, dtype, shape), codec, WITHIN, len(encode(np.zeros(shape, kind), codec, WITHIN)))


@pytest.mark.parametrize("codec", ["q8", "q4", "q2", "fp16"])
@pytest.mark.parametrize("shape", SHAPES)
def test_the_prologue_decodes_as_the_codec_does(codec: str, shape: tuple[int, ...], tmp_path: Path) -> None:
    array = np.random.default_rng(1).normal(size=shape).astype(np.float32) * 2
    frame = encode(array, codec, WITHIN)
    made = with_decoding(identity(TensorProto.FLOAT, list(shape)), {"x": coded("x", codec, shape)})
    assert [value.name for value in made.graph.input] == ["x"]
    (found,) = run(made, tmp_path / "m.onnx", {"x": np.frombuffer(frame, np.uint8)})
    expected = decode(frame)
    assert (found.dtype, found.tobytes()) == (np.float32, expected.tobytes())


@pytest.mark.parametrize("codec", ["q4", "fp16"])
def test_older_models_get_it_too(codec: str, tmp_path: Path) -> None:
    array = np.linspace(-1, 3, 12, dtype=np.float32).reshape(3, 4)
    frame = encode(array, codec, WITHIN)
    whole = identity(TensorProto.FLOAT, [3, 4])
    whole.opset_import[0].version, whole.ir_version = 11, 6
    (found,) = run(
        with_decoding(whole, {"x": coded("x", codec, (3, 4))}),
        tmp_path / "m.onnx",
        {"x": np.frombuffer(frame, np.uint8)},
    )
    assert found.tobytes() == decode(frame).tobytes()


@pytest.mark.parametrize(("dtype", "kind"), [("FP16", TensorProto.FLOAT16), ("FP64", TensorProto.DOUBLE)])
def test_other_floats_come_back_as_themselves(dtype: str, kind: int, tmp_path: Path) -> None:
    array = np.linspace(-1, 3, 12).reshape(3, 4).astype(helper.tensor_dtype_to_np_dtype(kind))
    for codec in ("q4", "fp16"):
        frame = encode(array, codec, WITHIN)
        made = with_decoding(identity(kind, [3, 4]), {"x": coded("x", codec, (3, 4), dtype)})
        (found,) = run(made, tmp_path / "m.onnx", {"x": np.frombuffer(frame, np.uint8)})
        assert found.tobytes() == decode(frame).tobytes()


def test_several_inputs_and_branches_take_the_decoded_values(tmp_path: Path) -> None:
    inner = helper.make_graph(
        [helper.make_node("Add", ["x", "y"], ["z"])], "both", [], [helper.make_tensor_value_info("z", 1, [2])]
    )
    other = helper.make_graph(
        [helper.make_node("Constant", [], ["w"], value_floats=[7.0, 8.0])],
        "own", [], [helper.make_tensor_value_info("w", 1, [2])],
    )  # fmt: skip
    whole = model(
        [helper.make_node("If", ["c"], ["out"], then_branch=inner, else_branch=other)],
        [("c", TensorProto.BOOL, []), ("x", TensorProto.FLOAT, [2]), ("y", TensorProto.FLOAT, [2])],
        [("out", TensorProto.FLOAT, [2])],
    )
    made = with_decoding(whole, {"x": coded("x", "q8", (2,)), "y": coded("y", "fp16", (2,))})
    x, y = np.array([0.5, 1.5], np.float32), np.array([0.25, 1.0], np.float32)
    frames = {name: np.frombuffer(encode(a, c, WITHIN), np.uint8) for name, a, c in (("x", x, "q8"), ("y", y, "fp16"))}
    (both,) = run(made, tmp_path / "m.onnx", {"c": np.array(True), **frames})
    np.testing.assert_array_equal(both, decode(frames["x"].tobytes()) + y)
    (own,) = run(made, tmp_path / "m.onnx", {"c": np.array(False), **frames})
    assert own.tolist() == [7.0, 8.0]


@pytest.mark.parametrize("codec", ["q8+zlib", "q8.c", "delta:q8"])
def test_what_a_model_cannot_decode_is_said(codec: str, tmp_path: Path) -> None:
    made = package(tmp_path / "net.split", codec=codec)
    placement = made.placements["p1"]
    with pytest.raises(ExportError, match="cannot decode"):
        coded_inputs(made, placement, next(part for part in placement.parts if part.place == "server"))


@pytest.mark.parametrize("codec", ["q8", "fp16"])
def test_the_tail_of_a_package_takes_its_frames(codec: str, tmp_path: Path) -> None:
    made = package(tmp_path / "net.split", codec=codec)
    placement = made.placements["p1"]
    part = next(part for part in placement.parts if part.place == "server")
    inputs = coded_inputs(made, placement, part)
    tail = onnx.load(made.file_of(part))
    feeds, plain = {}, {}
    for name, one in inputs.items():
        array = np.random.default_rng(0).normal(size=one.value.shape).astype(np.float32)
        frame = encode(array, codec, made.ranges.get(name))
        feeds[name], plain[name] = np.frombuffer(frame, np.uint8), decode(frame)
    found = run(with_decoding(tail, inputs), tmp_path / "m.onnx", feeds)
    expected = Session(Path(made.file_of(part)), "tail").run(plain)
    for ours, theirs in zip(found, expected, strict=True):
        np.testing.assert_array_equal(ours, theirs)
