"""ONNX to TFLite without TensorFlow: conversion, quantisation, and reading and writing of the file.

::

    from exporters.tflite import export_tflite
    from exporters.tflite.flat import to_bytes
    data = to_bytes(export_tflite(onnx_ir.load("model.onnx")))
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import onnx_ir as ir

    from exporters.tflite.ir import Program

__all__ = ["export_tflite"]


def export_tflite(
    model: ir.Model,
    dims: Mapping[str, int] | None = None,
    sample: Mapping[str, Sequence[int]] | None = None,
    keep_weights: bool = False,
) -> Program:
    """The model as a float TFLite program with the same inputs and outputs, to be quantised or written.

    ``dims`` fixes free dimensions by name for good; the others can be resized. ``sample`` are the shapes, by input,
    that free dimensions stand at until an interpreter resizes them (a batch of 1, 64 pixels, 16 steps where not given).
    ``keep_weights``: no factor is folded into a weight, so that compressed ones are found again by their values.
    ExportError lists every node that TFLite cannot compute. The model is not changed.
    """
    from exporters.tflite.convert import convert

    return convert(model, dims, sample, keep_weights)
