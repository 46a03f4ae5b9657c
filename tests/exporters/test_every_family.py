"""Every family, from float ONNX and from its compressed spec, to a file that each target runs as its reference says."""

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper

import exporters
from exporters import loading, stages
from exporters.compress.fit import compress_all
from exporters.compress.schemes import FAMILIES, parse_scheme
from exporters.compress.spec import read_spec, write_spec
from exporters.compress.weights import find_weights
from exporters.sources import load_ir
from tests.support import families

SCHEMES = (*families.SCHEMES, "shared:merge=mean", "shared:merge=mean:of=int4", "fp8e5m2", "fp6e2m3", "fp4e2m1",
           "mxfp8e4m3", "mxfp8e5m2", "mxfp6e2m3")  # fmt: skip
TARGETS = {"ort:1.19": "1.19.2", "ort:1.23": "1.23.2", "ort:1.32": None}
OLD = [pytest.param(target, marks=pytest.mark.slow) for target, version in TARGETS.items() if version]
SIDE = 64


@pytest.fixture(scope="module")
def source(tmp_path_factory):
    """Two products of one size, an embedding and a Conv."""
    random = np.random.default_rng(0)
    shapes = {"emb": (40, SIDE), "a": (SIDE, SIDE), "b": (SIDE, SIDE), "cw": (8, 3, 3, 3)}
    stored = [numpy_helper.from_array(random.standard_normal(s).astype(np.float32) / 8, k) for k, s in shapes.items()]
    make, value = helper.make_node, helper.make_tensor_value_info
    nodes = [
        make("Gather", ["emb", "ids"], ["e"]), make("MatMul", ["e", "a"], ["h"]), make("MatMul", ["h", "b"], ["o"]),
        make("Conv", ["image", "cw"], ["c"]),
    ]  # fmt: skip
    ends = [value("ids", TensorProto.INT64, ["n"]), value("image", TensorProto.FLOAT, ["n", 3, 6, 6])]
    outputs = [value("o", TensorProto.FLOAT, ["n", SIDE]), value("c", TensorProto.FLOAT, ["n", 8, 4, 4])]
    graph = helper.make_graph(nodes, "every", ends, outputs, stored)
    path = tmp_path_factory.mktemp("every") / "every.onnx"
    onnx.save(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)], ir_version=8), path)
    return path


@pytest.fixture(scope="module")
def specs(source, tmp_path_factory):
    """The file of compressed weights of each scheme."""
    folder = tmp_path_factory.mktemp("specs")
    weights = {weight.name: (weight.array(), weight.kind, weight.axis) for weight in find_weights(load_ir(source))}
    for number, scheme in enumerate(SCHEMES):
        write_spec(compress_all(weights, parse_scheme(scheme)), folder / f"{number}.safetensors")
    return {scheme: folder / f"{number}.safetensors" for number, scheme in enumerate(SCHEMES)}


def feed():
    random = np.random.default_rng(1)
    return {"ids": random.integers(0, 40, 5), "image": random.standard_normal((5, 3, 6, 6)).astype(np.float32)}


def reference(source, spec):
    """What the float graph with the dequantised weights answers."""
    model, tensors = onnx.load(source), read_spec(spec).tensors
    for stored in model.graph.initializer:
        if stored.name in tensors:
            stored.CopyFrom(numpy_helper.from_array(tensors[stored.name].dequantise(), stored.name))
    return families.run(model, feed())


def test_no_family_is_left_out():
    tried = {rule.family for scheme in SCHEMES for rule in parse_scheme(scheme).rules}
    assert set(FAMILIES) - tried == {"float"}


@pytest.mark.timeout(420)
@pytest.mark.parametrize("target", [*OLD, "ort:1.32"])
@pytest.mark.parametrize("kind", ["float", "spec"])
def test_every_family_arrives_and_answers_as_its_reference(source, specs, target, kind, tmp_path, monkeypatch):
    environment = None if TARGETS[target] is None else families.old_runtime(TARGETS[target])
    monkeypatch.setattr(stages, "measure_loading", lambda model: loading.Loading("not measured", 0.0, None, None))
    paths = {}
    for number, scheme in enumerate(SCHEMES):
        paths[scheme] = tmp_path / f"{number}.onnx"
        # "int8" alone is the static scheme, which quantises activations too
        named = "*=int8" if scheme == "int8" else scheme
        given = {"scheme": named} if kind == "float" else {"weights": specs[scheme]}
        exporters.export(source, paths[scheme], target=target, verify=False, **given)
    if environment is None:
        found = {path: families.run(onnx.load(path), feed()) for path in paths.values()}
    else:
        found = families.run_with(environment, feed(), list(paths.values()), tmp_path)
    for scheme, path in paths.items():
        assert not isinstance(found[path], str), (scheme, found[path])
        for number, (want, have) in enumerate(zip(reference(source, specs[scheme]), found[path], strict=True)):
            allowed = 0.03 if number == 0 else 1e-5  # activations as int8, or the same float32 weights
            assert np.linalg.norm(have - want) <= allowed * np.linalg.norm(want), (scheme, number)
