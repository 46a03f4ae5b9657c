"""The predicted peak memory beside the measured one: `python -m benchmarks.memory_prediction [FILE...]`.

Predicted by `edgewise inspect` from the graph alone; measured as the worker's peak resident memory in a run on this
machine. Without files: the example model, and two multi-layer perceptrons made here (17 and 134 MB), where the weights
dominate.
"""

from __future__ import annotations

import argparse
import tempfile
from pathlib import Path

import exporters
from benchmarks.table import Line, show
from mobile import BenchOptions, RunStore, bench, example, figures


def measured_bytes(path: Path, store: RunStore) -> int:
    """Peak resident memory of the worker, bytes."""
    options = BenchOptions(duration_s=0.3, min_count=5, warmup_duration_s=0.0, threads=(1,))
    result = bench([path], ["local"], options, store=store)
    if result.failures:
        raise SystemExit(f"{path}: {result.failures[0].message}")
    return int(figures(result.runs[0])["memory_bytes"]["peak_rss"])


def write_perceptron(path: Path, width: int, layers: int) -> None:
    """A model of ``layers`` multiplications by ``width`` x ``width``."""
    import numpy as np
    import onnx
    from onnx import TensorProto, helper, numpy_helper

    generator = np.random.default_rng(0)
    weights = [
        numpy_helper.from_array(generator.standard_normal((width, width), dtype=np.float32) / width, f"w{i}")
        for i in range(layers)
    ]
    names = ["x", *(f"h{i}" for i in range(layers - 1)), "y"]
    nodes = [helper.make_node("MatMul", [names[i], f"w{i}"], [names[i + 1]]) for i in range(layers)]
    value = helper.make_tensor_value_info
    graph = helper.make_graph(
        nodes,
        "mlp",
        [value("x", TensorProto.FLOAT, [1, width])],
        [value("y", TensorProto.FLOAT, [1, width])],
        weights,
    )
    onnx.save(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8), path)


def main() -> None:
    """Prints predicted, measured and their ratio for each model."""
    parser = argparse.ArgumentParser()
    parser.add_argument("files", nargs="*", type=Path)
    asked: list[Path] = parser.parse_args().files
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        if not asked:
            asked = [example.model_path(), folder / "mlp_17mb.onnx", folder / "mlp_134mb.onnx"]
            write_perceptron(asked[1], 1024, 4)
            write_perceptron(asked[2], 2048, 8)
        store = RunStore(folder / "runs.sqlite3")
        lines = []
        for path in asked:
            predicted = exporters.inspect_model(path).to_json()["memory_predicted"]["peak_bytes"]
            peak = measured_bytes(path, store)
            text = (f"{predicted / 2**20:.1f} MiB predicted", f"{peak / 2**20:.1f} MiB measured")
            lines.append(Line(path.name, *text, predicted / peak, "near 1"))
    show("Peak memory, predicted against measured", lines)


if __name__ == "__main__":
    main()
