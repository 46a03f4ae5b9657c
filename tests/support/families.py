"""A small graph with every kind of weight, and the schemes that it is compressed with in tests."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import onnx_ir as ir
import pytest
from onnx import TensorProto, helper, numpy_helper

from exporters.carriers.base import Wishes
from exporters.compress.schemes import compress, parse_scheme
from exporters.compress.tensors import CompressedModel
from exporters.compress.weights import find_weights
from exporters.lowering import Lowered, lower
from exporters.runtime import onnxruntime
from exporters.targets import Target

SCHEMES = (
    "int8", "int8:g=32:asym", "int4:g=32", "int4:g=32:asym", "int2:g=32", "int1", "int3:g=32", "int3:g=row:asym",
    "int5:g=32", "int5:g=row", "int6:g=16", "int7:g=32:asym", "binary", "binary:g=32:offset", "ternary", "ternary:g=16",
    "ternary:trits",
    "dual-binary:g=32", "power-of-two", "power-of-two:e=8", "codebook", "codebook:b=8", "codebook:per=row",
    "block-pruned:block=8", "block-pruned:block=8:uneven", "block-pruned:block=16:values=int8", "sparse", "2:4",
    "low-rank", "fp16", "bf16", "fp8e4m3", "fp6e3m2", "mxfp4", "mxfp6", "mxint8", "e5m4",
)  # fmt: skip
K, N, VOCABULARY = 96, 80, 50


@cache
def graph() -> onnx.ModelProto:
    """Embedding, MatMul, Gemm with bias, a weight behind a Transpose, Conv; opset 18."""
    random = np.random.default_rng(0)
    shapes = {"emb": (VOCABULARY, K), "w": (K, N), "g": (64, N), "gb": (64,), "t": (72, 64), "cw": (8, 3, 3, 3)}
    stored = [numpy_helper.from_array(random.standard_normal(s).astype(np.float32), k) for k, s in shapes.items()]
    stored.append(numpy_helper.from_array(np.array([-1, N]), "flat"))
    make = helper.make_node
    nodes = [
        make("Gather", ["emb", "ids"], ["e"]), make("MatMul", ["e", "w"], ["m"]), make("Relu", ["m"], ["r"]),
        make("Reshape", ["r", "flat"], ["f"]), make("Gemm", ["f", "g", "gb"], ["q"], transB=1),
        make("Transpose", ["t"], ["tt"], perm=[1, 0]), make("MatMul", ["q", "tt"], ["o"]),
        make("Conv", ["image", "cw"], ["c"]),
    ]  # fmt: skip
    value = helper.make_tensor_value_info
    ends = [value("ids", TensorProto.INT64, ["b", "l"]), value("image", TensorProto.FLOAT, ["b", 3, 8, 8])]
    outputs = [
        value("o", TensorProto.FLOAT, ["n", 72]), value("c", TensorProto.FLOAT, ["b", 8, 6, 6]),
        value("e", TensorProto.FLOAT, ["b", "l", K]),
    ]  # fmt: skip
    made = helper.make_graph(nodes, "families", ends, outputs, stored)
    return helper.make_model(made, opset_imports=[helper.make_opsetid("", 18)], ir_version=8)


def feeds(batch: int = 2, length: int = 3) -> dict[str, Any]:
    """Seeded inputs."""
    random = np.random.default_rng(batch)
    image = random.standard_normal((batch, 3, 8, 8)).astype(np.float32)
    return {"ids": random.integers(0, VOCABULARY, (batch, length)), "image": image}


@cache
def compressed(scheme: str) -> CompressedModel:
    """The graph's weights by a scheme."""
    weights = find_weights(ir.from_proto(graph()))
    return compress(
        {weight.name: (weight.array(), weight.kind, weight.axis) for weight in weights}, parse_scheme(scheme)
    )


def lowered(scheme: str, target: Target | None = None, wishes: Wishes | None = None) -> tuple[onnx.ModelProto, Lowered]:
    """The graph in its carriers."""
    done = lower(ir.from_proto(graph()), compressed(scheme), target, wishes)
    return ir.to_proto(done.model), done


def reference(scheme: str) -> onnx.ModelProto:
    """The float graph with the dequantised weights."""
    copy = onnx.ModelProto()
    copy.CopyFrom(graph())
    for stored in copy.graph.initializer:
        if stored.name in compressed(scheme).tensors:
            stored.CopyFrom(numpy_helper.from_array(compressed(scheme).tensors[stored.name].dequantise(), stored.name))
    return copy


def run(model: onnx.ModelProto, feed: dict[str, Any]) -> list[Any]:
    """The outputs by the installed onnxruntime."""
    session = onnxruntime().InferenceSession(model.SerializeToString(), providers=["CPUExecutionProvider"])
    return list(session.run(None, feed))


_RUN_ALL = """
import os, sys
os.environ["ORT_DISABLE_TELEMETRY"] = "1"
import numpy as np, onnxruntime as ort
ort.set_default_logger_severity(4)
feed = dict(np.load(sys.argv[1]))
for path in sys.argv[2:]:
    try:
        session = ort.InferenceSession(path, providers=["CPUExecutionProvider"])
        np.savez(path + ".npz", *session.run(None, feed))
    except Exception as error:
        open(path + ".error", "w").write(str(error))
"""


def old_runtime(version: str) -> dict[str, str]:
    """The environment in which this Python imports that onnxruntime: pip puts it into a shared cache, else a skip."""
    cache_folder = os.environ.get("EDGEWISE_TEST_RUNTIMES", str(Path.home() / ".cache" / "edgewise-test-runtimes"))
    folder = Path(cache_folder) / f"onnxruntime-{version}-{sys.implementation.cache_tag}"
    if not (folder / "complete").exists():
        command = [sys.executable, "-m", "pip", "install", "--quiet", "--target", str(folder), "--upgrade"]
        packages = [f"onnxruntime=={version}", "numpy<2.3"]
        done = subprocess.run([*command, *packages], capture_output=True, text=True, timeout=300, check=False)
        if done.returncode:
            pytest.skip(f"pip cannot get onnxruntime {version} for this Python: {done.stderr.strip()[-200:]}")
        (folder / "complete").write_text("yes")
    return {**os.environ, "PYTHONPATH": str(folder)}


def run_with(environment: dict[str, str], feed: dict[str, Any], paths: list[Path], folder: Path) -> dict[Path, Any]:
    """The outputs of each model file, or the runtime's words where it refuses."""
    np.savez(folder / "feed.npz", **feed)
    command = [sys.executable, "-c", _RUN_ALL, str(folder / "feed.npz"), *map(str, paths)]
    done = subprocess.run(command, capture_output=True, text=True, timeout=110, env=environment, check=False)
    assert done.returncode == 0, done.stderr
    found: dict[Path, Any] = {}
    for path in paths:
        error, made = Path(f"{path}.error"), Path(f"{path}.npz")
        found[path] = error.read_text() if error.exists() else list(np.load(made).values())
    return found


def carriers(done: Lowered) -> dict[str, str]:
    """Carrier by weight."""
    return {use.weight: use.carried.carrier for use in done.uses}


def as_json(model: onnx.ModelProto, key: str) -> Any:
    """A metadata entry of the model."""
    return json.loads(next(entry.value for entry in model.metadata_props if entry.key == key))
