"""Writes a graph of any size, and checks that its inputs and outputs are those of its source."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from exporters import quantize
from exporters.runtime import one_line
from exporters.sources import check_onnx
from exporters.streaming import write_one_file
from mobile.errors import ExportError
from mobile.formats import ModelIndex

if TYPE_CHECKING:
    import onnx_ir as ir

STREAM_BYTES = 64 << 20  # of weights: from here on a file is written tensor by tensor


def save(model: ir.Model, path: Path, location: str, apart: bool = False) -> None:
    """Writes the graph: one file, or with external data when its weights pass what one protobuf message holds.

    ``apart``: with external data whatever their size, which can be read weight by weight.
    """
    import onnx_ir as ir

    try:
        write(model, path, location, apart)
    except ir.serde.SerdeError as error:
        raise ExportError(f"the graph cannot be written back: {one_line(error)}", "Export the source again.") from error
    check_onnx(path)


def write(model: ir.Model, path: Path, location: str, apart: bool = False) -> None:
    """Writes the graph without a check; weights beyond 1.8 GB, or ``apart``, go into a file ``location`` beside it."""
    import onnx_ir as ir

    weights = [value.const_value for graph in model.graphs() for value in graph.initializers.values()]
    size = sum(tensor.nbytes for tensor in weights if tensor is not None)
    if apart or size > quantize.EXTERNAL_BYTES:
        ir.save(model, path, external_data=location)
    elif size > STREAM_BYTES:
        write_one_file(model, path)
    else:
        ir.external_data.load_to_model(model)
        ir.save(model, path)


def check_interface(before: ModelIndex, after: ModelIndex, name: str) -> None:
    """ExportError unless inputs and outputs have their names, dtypes and shapes, free dimensions included."""
    for kind in ("inputs", "outputs"):
        want, have = getattr(before, kind), getattr(after, kind)
        if want != have:
            changed = next((pair for pair in zip(want, have, strict=False) if pair[0] != pair[1]), (want, have))
            raise ExportError(
                f"{name}: the {kind} changed on the way, from {changed[0]} to {changed[1]}", "Please report it."
            )
