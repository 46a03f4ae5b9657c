"""`inspect_model`: reads a model's structure and works out what it holds and needs. No weight is loaded."""

from __future__ import annotations

import json
import math
from collections import Counter
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path

from exporters.carriers.packing import packed_bytes
from exporters.carriers.trits import BITS
from exporters.inspection.compatibility import compatibility
from exporters.inspection.graph import Graph, uncounted
from exporters.inspection.memory import predict
from exporters.inspection.report import Inspection, Macs, Shared
from exporters.lowering import METADATA
from mobile.errors import UsageError
from mobile.formats import ModelIndex, TensorBytes, index
from mobile.formats.read import opened

# Counted as parameters: numbers that can be weights. Whole numbers of 64 bits are shapes and indices.
_NO_PARAMETERS = ("int64", "bool", "string")


def inspect_model(path: str | Path, *, batch: int = 1, dims: Mapping[str, int] | None = None) -> Inspection:
    """What is in a model file. ModelError when it is not one; UsageError on a size below 1.

    ``batch`` binds the free first dimension of each input, ``dims`` symbolic dimensions by name. Where a shape stays
    unknown, multiply-accumulates and memory are None with the reason.
    """
    dims = dict(dims or {})
    if batch < 1 or any(size < 1 for size in dims.values()):
        raise UsageError(f"batch {batch} and dimensions {dims} must be at least 1")
    path = Path(path)
    found = index(path)
    graph, notes = _graph(path, found, batch, dims)
    widths = _packed_widths(path, found)
    by_bits, parameters = _weights(found, widths)
    weight_bytes = sum(by_bits.values())
    loaded, resident_bytes = _loaded(graph, weight_bytes) if METADATA in found.metadata else (graph, weight_bytes)
    macs = _macs(graph)
    return Inspection(
        index=found, parameters=parameters, weight_bytes=weight_bytes, weight_bytes_by_bits=by_bits, macs_detail=macs,
        memory=predict(loaded, resident_bytes, found.format),
        compatibility=compatibility(found, _kernel_widths(path, found)), shared=_shared(graph, found),
        memory_access_bytes=_memory_access(graph),
        batch=batch, dims=dims, notes=tuple(notes),
    )  # fmt: skip


def _graph(path: Path, found: ModelIndex, batch: int, dims: Mapping[str, int]) -> tuple[Graph, list[str]]:
    from exporters.inspection.onnx_graph import read_onnx
    from exporters.inspection.tflite_graph import read_tflite

    with opened(path) as (buffer, size):
        if found.format == "tflite":
            return read_tflite(buffer, size, batch)
        graph, notes = read_onnx(buffer, size, str(path), batch, dims)
    if _complete(graph):
        return graph, notes
    from exporters.inspection.folded import folded_graph

    folded = folded_graph(path, found, batch, dims)
    if folded is None or len(uncounted(folded.steps)) > len(uncounted(graph.steps)):
        return graph, notes
    return folded, [*notes, "work and memory are those of the graph after onnxruntime's constant folding"]


def _complete(graph: Graph) -> bool:
    """Whether every operator's work and every tensor's size is known."""
    sized = all(graph.bytes(name) is not None for step in graph.steps for name in step.inputs if name)
    return sized and not uncounted(graph.steps)


def _packed_widths(path: Path, found: ModelIndex) -> dict[str, tuple[float, int]]:
    """Weights that hold several values a byte though their dtype says uint8: name -> (bits, number of values)."""
    stated = _stated_widths(found)
    if "com.microsoft.MatMulNBits" not in found.operators:
        return stated
    import onnx

    from exporters.inspection.skeleton import skeleton

    with opened(path) as (buffer, size):
        model = onnx.ModelProto.FromString(skeleton(buffer, size))
    widths = dict(stated)
    for node in model.graph.node:
        if node.op_type == "MatMulNBits" and len(node.input) > 1:
            sizes = {attribute.name: attribute.i for attribute in node.attribute}
            widths[node.input[1]] = (sizes.get("bits", 4), sizes.get("K", 0) * sizes.get("N", 0))
    stored = {tensor.name for tensor in found.tensors}
    return {name: width for name, width in widths.items() if name in stored}


def _kernel_widths(path: Path, found: ModelIndex) -> set[int]:
    """The widths of the model's MatMulNBits, whatever their weights are stored as."""
    if "com.microsoft.MatMulNBits" not in found.operators:
        return set()
    import onnx

    from exporters.inspection.skeleton import skeleton

    with opened(path) as (buffer, size):
        model = onnx.ModelProto.FromString(skeleton(buffer, size))
    nodes = [node for node in model.graph.node if node.op_type == "MatMulNBits"]
    return {next((attribute.i for attribute in node.attribute if attribute.name == "bits"), 4) for node in nodes}


def _stated_widths(found: ModelIndex) -> dict[str, tuple[float, int]]:
    """What the exporter wrote about packed weights, as far as the bytes agree with it."""
    try:
        stated = json.loads(found.metadata.get(METADATA, "{}"))
    except ValueError:
        return {}
    widths: dict[str, tuple[float, int]] = {}
    for tensor in found.tensors:
        entry = stated.get(tensor.name) if isinstance(stated, dict) else None
        if not (isinstance(entry, list) and len(entry) == 2 and all(isinstance(n, (int, float)) for n in entry)):
            continue
        bits, values = entry[0] if entry[0] == BITS else int(entry[0]), int(entry[1])
        rows = tensor.shape[0] if tensor.shape else 1
        if 0 < bits <= 8 and 0 <= tensor.length - packed_bytes(values, bits) <= rows:
            widths[tensor.name] = (bits, values)
    return widths


def _stored_once(found: ModelIndex) -> list[TensorBytes]:
    """The stored tensors, those that share one byte range (TFLite) once."""
    seen: set[tuple[str | None, int | None]] = set()
    kept = []
    for tensor in found.tensors:
        place = (tensor.file, tensor.offset)
        if tensor.offset is None or place not in seen:
            kept.append(tensor)
        seen.add(place)
    return kept


def _weights(found: ModelIndex, widths: Mapping[str, tuple[float, int]]) -> tuple[dict[float, int], int]:
    """Bytes by bit width, widest first, and the number of parameters."""
    by_bits: Counter[float] = Counter()
    parameters = 0
    for tensor in _stored_once(found):
        bits, values = widths.get(tensor.name, (tensor.bits, math.prod(tensor.shape)))
        by_bits[bits] += tensor.length
        if tensor.dtype not in _NO_PARAMETERS:
            parameters += values
    return dict(sorted(by_bits.items(), reverse=True)), parameters


def _loaded(graph: Graph, weight_bytes: int) -> tuple[Graph, int]:
    """The graph as it is after loading, packed weights decoded, and the bytes of its constants then."""
    constant, steps = set(graph.constants), []
    for step in graph.steps:
        if step.inputs and all(name in constant for name in step.inputs if name):
            constant.update(step.outputs)
        else:
            steps.append(step)
    read = {name for step in steps for name in step.inputs if name in constant}
    sizes = [graph.bytes(name) for name in read]
    if any(size is None for size in sizes):
        return graph, weight_bytes
    return replace(graph, steps=steps, constants=constant), sum(size or 0 for size in sizes)


def _memory_access(graph: Graph) -> int | None:
    """Bytes that one inference reads and writes: every step's inputs and outputs, what is constant only where used.

    Steps on constants alone are folded when the model is loaded and do not count. None where a size is unknown.
    Source of the measure: Ma et al., "ShuffleNet V2", ECCV 2018, section 2 (memory access cost).
    """
    constant, total = set(graph.constants), 0
    for step in graph.steps:
        names = [name for name in step.inputs if name]
        if names and all(name in constant for name in names):
            constant.update(step.outputs)
            continue
        for name in (*names, *(name for name in step.outputs if name)):
            size = graph.bytes(name)
            if size is None:
                return None
            total += size
    return total


def _macs(graph: Graph) -> Macs:
    by_operator: Counter[str] = Counter()
    for step in graph.steps:
        if step.macs:
            by_operator[step.operator] += step.macs
    missing = tuple(uncounted(graph.steps))
    counted = sum(by_operator.values())
    return Macs(None if missing else counted, counted, dict(by_operator.most_common()), missing)


def _shared(graph: Graph, found: ModelIndex) -> Shared:
    """Tensors that several steps read, and in TFLite also tensors that lie in the same bytes."""
    uses = Counter(name for step in graph.steps for name in set(step.inputs) if name in graph.constants)
    sizes = {tensor.name: tensor.length for tensor in found.tensors}
    if found.format == "tflite":
        places = Counter((tensor.offset, tensor.length) for tensor in found.tensors)
        repeated = [(length, count) for (_, length), count in places.items() if count > 1]
        return Shared(len(repeated), sum(length * (count - 1) for length, count in repeated))
    several = [(sizes[name], count) for name, count in uses.items() if count > 1 and sizes.get(name)]
    return Shared(len(several), sum(size * (count - 1) for size, count in several))
