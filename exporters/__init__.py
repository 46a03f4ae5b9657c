"""A model in, a verified artifact out; and what is in a model file.

::

    from exporters import export, inspect_model
    result = export("model.onnx", "model.int8.onnx", scheme="int8", calibration="images.npz")
    print(result.quantization.tensors[0].argmax_agreement)
    print(inspect_model("model.int8.onnx").macs)

Nothing heavy is imported until a function needs it.
"""

from exporters.inspection import Inspection, inspect_model
from exporters.pipeline import export
from exporters.result import ExportResult
from exporters.targets import TARGETS, Target, parse_target

__all__ = ["TARGETS", "ExportResult", "Inspection", "Target", "export", "inspect_model", "parse_target"]
