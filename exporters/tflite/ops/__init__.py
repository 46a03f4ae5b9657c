"""The conversions of ONNX operators, one module per kind; importing this package registers them."""

from exporters.tflite.ops import (
    arithmetic,
    branching,
    convolution,
    indexing,
    logic,
    matrix,
    normalization,
    pooling,
    recurrent,
    reduction,
    resizing,
    shapes,
)

__all__ = [
    "arithmetic", "branching", "convolution", "indexing", "logic", "matrix", "normalization", "pooling", "recurrent",
    "reduction", "resizing", "shapes",
]  # fmt: skip
