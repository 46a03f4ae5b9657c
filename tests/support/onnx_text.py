"""Small ONNX models written as text, with seeded weights."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import onnx
from onnx import numpy_helper

SMALL = """
<ir_version: 8, opset_import: ["" : OPSET]>
small (float[batch, 3, 8, 8] image) => (float[batch, 5] logits) <float[4, 3, 3, 3] w, float[4] b, float[4, 5] g>
{
    c = Conv <pads = [1, 1, 1, 1]> (image, w, b)
    r = Relu (c)
    p = GlobalAveragePool (r)
    f = Flatten (p)
    logits = Gemm (f, g)
}
"""


def parse(text: str, opset: int = 17) -> onnx.ModelProto:
    """The model of a text; ``OPSET`` in it is replaced, and tensors that no node makes get seeded numbers."""
    model = onnx.parser.parse_model(text.replace("OPSET", str(opset)))
    random = np.random.default_rng(3)
    made = {name for node in model.graph.node for name in node.output}
    for value in list(model.graph.value_info):
        if value.name not in made:
            kind = value.type.tensor_type
            shape = [axis.dim_value for axis in kind.shape.dim]
            values = random.standard_normal(shape).astype(onnx.helper.tensor_dtype_to_np_dtype(kind.elem_type))
            model.graph.initializer.append(numpy_helper.from_array(values, value.name))
            model.graph.value_info.remove(value)
    return model


def saved(path: Path, text: str = SMALL, opset: int = 17, **options: object) -> Path:
    """The file of a model text; Options are those of onnx.save."""
    onnx.save(parse(text, opset), path, **options)
    return path


def listing(folder: Path) -> list[str]:
    """The names of everything in a folder, hidden ones too, sorted."""
    return sorted(entry.name for entry in folder.iterdir())
