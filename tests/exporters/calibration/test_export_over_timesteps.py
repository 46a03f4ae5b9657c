"""A small denoiser from the command's own door: calibrated over its timesteps, the branches of its shortcut apart."""

from __future__ import annotations

import numpy as np
import pytest
from onnx import TensorProto, helper, numpy_helper, save

from exporters import export
from mobile.errors import UsageError

FEEDS = """
import numpy as np

def feeds():
    random = np.random.default_rng(0)
    for step in range(0, 1000, 50):
        for _ in range(3):
            x = random.normal(size=(1, 3, 8, 8)) * (step / 1000 + 0.05)
            yield {"x": x.astype(np.float32), "t": np.array([step], np.float32)}
"""


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """denoiser.onnx, whose Concat joins branches 30 times apart in range, and feeds.py."""
    path = tmp_path_factory.mktemp("denoiser")
    random = np.random.default_rng(1)
    weights = {
        "a": random.normal(size=(8, 3, 3, 3)) * 0.2, "b": random.normal(size=(8, 8, 3, 3)) * 3,
        "c": random.normal(size=(3, 16, 3, 3)) * np.repeat([0.01, 0.3], 8)[None, :, None, None],
        "s": np.array([0.001]), "shape": np.array([-1, 1, 1, 1]),
    }  # fmt: skip
    pads = {"pads": [1, 1, 1, 1]}
    nodes = [
        helper.make_node("Conv", ["x", "a"], ["h"], **pads), helper.make_node("Relu", ["h"], ["r"]),
        helper.make_node("Mul", ["t", "s"], ["e1"]), helper.make_node("Reshape", ["e1", "shape"], ["e"]),
        helper.make_node("Add", ["r", "e"], ["he"]), helper.make_node("Conv", ["he", "b"], ["deep"], **pads),
        helper.make_node("Concat", ["deep", "r"], ["both"], axis=1),
        helper.make_node("Conv", ["both", "c"], ["noise"], **pads),
    ]  # fmt: skip
    floats = {"x": ["n", 3, 8, 8], "t": ["n"]}
    graph = helper.make_graph(
        nodes, "denoiser",
        [helper.make_tensor_value_info(name, TensorProto.FLOAT, shape) for name, shape in floats.items()],
        [helper.make_tensor_value_info("noise", TensorProto.FLOAT, ["n", 3, 8, 8])],
        [numpy_helper.from_array(array.astype(np.int64 if name == "shape" else np.float32), name)
         for name, array in weights.items()],
    )  # fmt: skip
    save(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8), path / "denoiser.onnx")
    (path / "feeds.py").write_text(FEEDS)
    return path


def exported(folder, name, **options):
    feeds = f"{folder / 'feeds.py'}:feeds"
    return export(
        folder / "denoiser.onnx", folder / name, scheme="int8", calibration=feeds, inputs=everything(folder), **options
    )


def everything(folder):
    """The feeds as one .npz, to measure on."""
    scope: dict = {}
    exec(FEEDS, scope)
    feeds = list(scope["feeds"]())
    np.savez(folder / "all.npz", **{key: np.concatenate([feed[key] for feed in feeds]) for key in ("x", "t")})
    return folder / "all.npz"


@pytest.fixture(scope="module")
def apart(folder):
    return exported(folder, "apart.onnx", timesteps="t:5:2", split_shortcuts=True)


def error(result):
    return result.quantization.tensors[0].relative_error


def test_the_manifest_says_what_was_calibrated_with(apart):
    notes = "\n".join(apart.manifest.notes)
    assert "calibrated at 5 of 20 values of t, 0 to 950: 10 of 60 items" in notes
    assert "1 Convs behind a Concat were split" in notes


def test_branches_quantised_apart_are_closer_than_together(folder, apart):
    assert error(apart) < 0.7 * error(exported(folder, "together.onnx", timesteps="t:5:2"))


def test_one_timestep_alone_gives_ranges_that_clip_the_others(folder, apart):
    """Why all are needed: the first step's inputs are a twentieth of the last's."""
    assert error(exported(folder, "few.onnx", timesteps="t:1:3", split_shortcuts=True)) > 3 * error(apart)


def test_timesteps_without_data_are_refused(folder):
    with pytest.raises(UsageError, match="timesteps are taken from calibration data"):
        export(folder / "denoiser.onnx", folder / "x.onnx", scheme="int8", timesteps="t")
