"""The user's preprocess and postprocess around a runner: stages of their own, and every fault named."""

from __future__ import annotations

import numpy as np
import pytest

from device_agents.failures import AgentFailure
from device_agents.runners.base import Runner
from device_agents.runners.staged import StagedRunner
from device_agents.spec import AgentSpec


class Doubling(Runner):
    """x float32 [1, 2] -> y = 2 x; remembers the shapes that it was bound to."""

    def __init__(self):
        super().__init__()
        self.bound = []

    def load(self, spec):
        return {"outputs": []}

    def inputs(self):
        return [{"name": "x", "dtype": "float32", "shape": [1, 2]}]

    def bind(self, shapes):
        self.bound.append(shapes)

    def prepare(self, arrays):
        self._x = arrays["x"]

    def invoke(self):
        self._y = 2 * self._x

    def output_arrays(self):
        return {"y": self._y}


BOTH = """
import numpy as np

def preprocess(item):
    return {"x": item["pixels"].astype(np.float32)[None] / 10}

def postprocess(outputs):
    return {"sum": outputs["y"].sum(), "text": "é" * int(outputs["y"].sum())}
"""


@pytest.fixture
def staged(tmp_path):
    """A started runner of a text of stages, on two items of ``pixels`` with labels."""

    def make(text, inner=None, kind="npz"):
        (tmp_path / "stages.py").write_text(text, encoding="utf-8")
        items = tmp_path / "items.npz"
        np.savez(items, pixels=np.array([[10, 20], [30, 40]], np.uint8), label=np.array([0, 1]))
        runner = StagedRunner(inner or Doubling())
        spec = AgentSpec(
            "ort", model_path="m", stages=str(tmp_path / "stages.py"), inputs={"kind": kind, "path": str(items)}
        )
        runner.start(spec)
        runner.load(spec)
        return runner

    return make


ITEM = {"pixels": np.array([[10, 20]], np.uint8), "label": np.array([0])}


def test_an_item_goes_through_all_stages(staged):
    inner = Doubling()
    runner = staged(BOTH, inner)
    assert runner.stages == ("preprocess", "inference", "postprocess")
    assert runner.inputs() == [
        {"name": "label", "dtype": "int64", "shape": [None]},
        {"name": "pixels", "dtype": "uint8", "shape": [None, 2]},
    ]
    runner.prepare(ITEM)
    runner.invoke()
    found = runner.output_arrays()
    assert float(found["sum"]) == 6.0 and found["text"] == "é" * 6
    assert set(runner.last_stages) == set(runner.stages) and all(ns > 0 for ns in runner.last_stages.values())
    assert inner.bound == [{"x": (1, 2)}]


def test_postprocess_alone_leaves_the_inputs_to_the_model(staged):
    runner = staged("def postprocess(outputs):\n    return int(outputs['y'].argmax())\n", kind="random")
    assert runner.stages == ("inference", "postprocess")
    runner.prepare({"x": np.array([[1.0, 3.0]], np.float32)})
    runner.invoke()
    assert runner.output_top1() == [1]


def test_preprocess_alone_gives_the_models_own_outputs(staged):
    runner = staged(BOTH.partition("def postprocess")[0])
    assert runner.stages == ("preprocess", "inference")
    runner.prepare(ITEM)
    runner.invoke()
    assert runner.output_arrays()["y"].tolist() == [[2.0, 4.0]]


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("x = 1\n", "neither preprocess nor postprocess"),
        ("def preprocess(item)\n", "importing stages.py: SyntaxError"),
        ("import no_such_library\n", "importing stages.py: ModuleNotFoundError"),
        ("def preprocess(item):\n    return {}\n", "preprocess returned nothing, the model's inputs are x"),
        ("def preprocess(item):\n    return item['pixels']\n", "preprocess returned ndarray"),
        ("def preprocess(item):\n    return {'x': item['pixels'][None]}\n", "x as uint8, the model expects float32"),
        ("def preprocess(item):\n    return {}['a']\n", r"preprocess: KeyError: 'a' \(line 2\)"),
        ("def preprocess(item):\n    item['pixels'] += 1\n", "preprocess: ValueError: .*read-only"),
        ("def preprocess(item):\n    raise SystemExit(3)\n", "preprocess: SystemExit"),
        ("def postprocess(outputs):\n    return {}\n", "postprocess returned nothing"),
        ("def postprocess(outputs):\n    return {'a': [object()]}\n", "'a' as object, expected numbers or text"),
    ],
)
def test_a_fault_of_the_users_code_is_a_failure_that_names_it(staged, text, message):
    with pytest.raises(AgentFailure, match=message) as caught:
        runner = staged(text)
        runner.prepare(ITEM if "def preprocess" in text else {"x": np.ones((1, 2), np.float32)})
        runner.invoke()
    assert caught.value.code == "stages-failed"


def test_preprocess_without_items_is_refused(staged):
    with pytest.raises(AgentFailure, match="not random ones"):
        staged(BOTH, kind="random")


@pytest.mark.parametrize(("field", "message"), [({"runner": "null"}, "stages are for"), ({"batch": 2}, "batch is 2")])
def test_a_spec_that_stages_do_not_fit_is_refused(field, message):
    with pytest.raises(AgentFailure, match=message):
        AgentSpec.from_json({"runner": "ort", "model_path": "m", "stages": "s.py", **field})
