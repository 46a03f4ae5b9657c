"""Shapes that onnx cannot tell, from onnxruntime: it evaluates at load what depends on shapes alone."""

from __future__ import annotations

import tempfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from exporters.inspection.graph import Graph
from exporters.inspection.onnx_graph import bind, read_body
from exporters.runtime import onnx_errors, onnxruntime, runtime_errors
from mobile.formats import ModelIndex

MAX_BYTES = 256 << 20  # the model is loaded for this, so a large one is left as it is


def folded_graph(path: Path, found: ModelIndex, batch: int, dims: Mapping[str, int]) -> Graph | None:
    """The graph after onnxruntime's basic optimisation with these sizes, None when the model is large or is refused.

    Constants folded, normalisations fused into convolutions; multiply-accumulates are those of the model as it runs.
    """
    if found.size_bytes > MAX_BYTES:
        return None
    import onnx

    ort = onnxruntime()
    with tempfile.TemporaryDirectory(prefix="edgewise-inspect-") as folder:
        bound, optimised = Path(folder) / "bound.onnx", Path(folder) / "optimised.onnx"
        model = onnx.load(path)
        bind(model.graph, batch, dims)
        del model.graph.value_info[:]
        onnx.save(model, bound)
        options = ort.SessionOptions()
        options.graph_optimization_level = ort.GraphOptimizationLevel.ORT_ENABLE_BASIC
        options.optimized_model_filepath = str(optimised)
        options.log_severity_level = 4
        try:
            ort.InferenceSession(str(bound), options, providers=["CPUExecutionProvider"], enable_fallback=0)
            return _graph(onnx.load(optimised))
        except (*runtime_errors(), *onnx_errors()):  # it cannot run here; what onnx could tell is then all there is
            return None


def _graph(model: Any) -> Graph:
    import onnx

    weights = {tensor.name for tensor in model.graph.initializer}
    inferred = onnx.shape_inference.infer_shapes(model, strict_mode=False, data_prop=True)
    graph = Graph(
        inputs=tuple(value.name for value in model.graph.input if value.name not in weights),
        outputs=tuple(value.name for value in model.graph.output),
    )
    read_body(graph, model.graph, inferred.graph)
    return graph
