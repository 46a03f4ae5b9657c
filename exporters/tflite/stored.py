"""How a weight lies in the file and reaches its operator: a hybrid kernel, DEQUANTIZE or DENSIFY, what is right there.

A weight keeps its codes and scales exactly; only its width may grow where a runtime has no narrower form.
"""

from __future__ import annotations

import math
from collections import Counter
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any

import numpy as np

from exporters.tflite.ir import Operator, Quant, Sparsity, Tensor

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from exporters.tflite.edit import Editor
    from exporters.tflite.rules import Runtime

_KERNEL_SHARE = 0.3  # of values kept, up to which the sparse kernel is the faster one
_WIDER = {"int2": ("int2", "int4", "int8"), "int4": ("int4", "int8"), "int8": ("int8",), "float16": ("float16",)}


@dataclass
class Stored:
    """A weight as codes: value = code * scale, of the operand's own shape. ``quant`` None: float16 or float32 values.

    Groups along the last dimension have ``quant.block`` set and scales [rows, groups].
    """

    codes: NDArray[Any]
    dtype: str
    quant: Quant | None
    sparsity: Sparsity | None = None

    @property
    def per_tensor(self) -> bool:
        """Whether one scale serves all."""
        return self.quant is not None and not self.quant.block and len(self.quant.scales) == 1


@dataclass
class StoredReport:
    """How many weights were stored in which way, such as "int4, hybrid kernel"."""

    ways: Counter[str] = field(default_factory=Counter)


def operand(
    edit: Editor, operator: Operator, place: int, stored: Stored, runtime: Runtime, report: StoredReport
) -> Operator:
    """The operator with its constant input ``place`` stored so; operators that it needs before go into ``edit``."""
    old = edit.graph.tensors[operator.inputs[place]]
    if stored.sparsity is not None:
        return _sparse(edit, operator, place, stored, report)
    for dtype in _WIDER[stored.dtype]:
        if place == 1 and hybrid(operator.op, dtype, stored, runtime):
            report.ways[f"{dtype}, hybrid kernel"] += 1
            number = edit.constant(old, stored.codes, dtype, stored.quant)
            options = {**operator.options, "asymmetric_quantize_inputs": True}
            return _with_input(operator, place, number, options)
        if dtype in runtime.dequantize:
            report.ways[f"{dtype}, unpacked at load"] += 1
            return _with_input(operator, place, _dequantised(edit, old, stored, dtype))
    raise AssertionError(f"{runtime.name} takes no {stored.dtype}")  # every runtime unpacks int8 and float16


def hybrid(op: str, dtype: str, stored: Stored, runtime: Runtime) -> bool:
    """Whether the runtime multiplies float data by such weights itself, and rightly.

    What is right but slower than unpacking at load is left out. Convolutions have hybrid kernels, but slow ones:
    measured on EfficientNet-Lite0, 14 ms against 9 ms unpacked at load in LiteRT 2.3, and 115 ms against 9 ms in
    tflite-runtime 2.14. There, that of a fully connected layer with one scale is slower, too: MiniLM took 316 ms
    against 183 ms, with a cosine of 0.89 to the float answer against 0.999.
    """
    if op != "FULLY_CONNECTED" or stored.quant is None:
        return False
    if dtype == "int8":
        return not stored.quant.block and runtime.fc_channels
    if op not in (runtime.int4 if dtype == "int4" else runtime.int2):
        return False
    if stored.quant.block:
        return dtype == "int4" and runtime.blocks and stored.quant.block in (32, 64, 128, 256)
    return stored.per_tensor or runtime.fc_channels


def _with_input(operator: Operator, place: int, number: int, options: dict[str, Any] | None = None) -> Operator:
    inputs = list(operator.inputs)
    inputs[place] = number
    return replace(operator, inputs=inputs, options=options or operator.options, version=None)


def _dequantised(edit: Editor, old: Tensor, stored: Stored, dtype: str) -> int:
    """A DEQUANTIZE of the constant, which runtimes compute once; groups become rows of their own before a RESHAPE."""
    quant = stored.quant
    if quant is None or not quant.block:
        source = edit.constant(old, stored.codes, dtype, quant)
        plain = edit.tensor(replace(old, name=f"{old.name}_float", data=None, buffer_key=None))
        edit.add(Operator("DEQUANTIZE", [source], [plain]))
        return plain
    rows = stored.codes.reshape(-1, quant.block)
    each = Quant(quant.scales.reshape(-1), np.zeros(len(rows), np.int64), 0)
    source = edit.tensor(replace(old, shape=rows.shape, dtype=dtype, data=rows, quant=each, buffer_key=None))
    plain = edit.tensor(Tensor(f"{old.name}_groups", rows.shape, "float32"))
    edit.add(Operator("DEQUANTIZE", [source], [plain]))
    shape = np.array(old.shape, np.int32)
    wanted = edit.tensor(Tensor(f"{old.name}_shape", shape.shape, "int32", data=shape))
    whole = edit.tensor(replace(old, name=f"{old.name}_float", data=None, buffer_key=None))
    edit.add(Operator("RESHAPE", [plain, wanted], [whole], {"new_shape": [int(size) for size in old.shape]}))
    return whole


def _sparse(edit: Editor, operator: Operator, place: int, stored: Stored, report: StoredReport) -> Operator:
    """A fully connected layer on one row of data computes on the kept blocks; others get a DENSIFY before.

    Measured with 1024 x 1024 weights in LiteRT, 75 % and 50 % zero: 0.16 and 0.27 ms against 0.24 dense for one row,
    but 1.0 and 11.6 ms against 0.7 for 16 rows. DENSIFY, which runtimes compute once, is as fast as dense.
    """
    old = edit.graph.tensors[operator.inputs[place]]
    source = edit.tensor(
        replace(old, dtype=stored.dtype, data=stored.codes, quant=None, sparsity=stored.sparsity, buffer_key=None)
    )
    rows = math.prod(edit.graph.tensors[operator.inputs[0]].shape[:-1])
    kernel = operator.op == "FULLY_CONNECTED" and place == 1 and bool(stored.sparsity and stored.sparsity.block_map)
    if kernel and rows == 1 and stored.codes.size <= _KERNEL_SHARE * math.prod(old.shape):
        report.ways["sparse, kernel on kept blocks"] += 1
        return _with_input(operator, place, source)
    report.ways["sparse, unpacked at load"] += 1
    plain = edit.tensor(replace(old, name=f"{old.name}_dense", data=None, buffer_key=None))
    edit.add(Operator("DENSIFY", [source], [plain]))
    return _with_input(operator, place, plain)
