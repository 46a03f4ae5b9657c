"""Which version of an operator a use needs: the smallest one, so that old runtimes load the file.

Source: the rules of LiteRT's tools/versioning/op_version.cc. A runtime refuses a version above those it registered.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from exporters.tflite.ir import Graph, Operator, Tensor

_Rule = tuple[int, dict[str, int]]


def _rule(ops: str, at: int = 0, **versions: int) -> dict[str, _Rule]:
    return dict.fromkeys(ops.split(), (at, versions))


# Version by the type of one input (its place, then type to version); anything else is version 1.
_BY_TYPE: dict[str, _Rule] = {
    **_rule("MAX_POOL_2D AVERAGE_POOL_2D TANH LOGISTIC SOFTMAX MEAN MIRROR_PAD REDUCE_MAX REDUCE_MIN RELU6 RSQRT"
            " BATCH_MATMUL CONCATENATION PACK LESS GREATER_EQUAL", int8=2, int16=3),
    **_rule("RELU", int8=2, uint8=2, int16=3),
    **_rule("SPACE_TO_DEPTH SPLIT_V SUM LOG_SOFTMAX GREATER LESS_EQUAL SQUARED_DIFFERENCE DEPTH_TO_SPACE"
            " L2_NORMALIZATION", int8=2),
    **_rule("SPLIT", at=1, int8=2, int32=3, int16=4),
    **_rule("EXP LOG REDUCE_PROD", int8=2, int16=2),
    **_rule("GELU", int8=2, uint8=2),
    **_rule("ABS", int8=2, uint8=2, int16=3, int32=5),
    **_rule("ARG_MAX ARG_MIN", int8=2, bool=3),
    **_rule("EQUAL", int8=2, string=3, int16=4),
    **_rule("NOT_EQUAL", int8=2, string=3),
    **_rule("GATHER_ND", string=2, int16=3, bool=5),
    **_rule("TILE", string=2, int8=3),
    **_rule("SQUEEZE", string=2),
    **_rule("TOPK_V2", int8=2, int16=3),
    **_rule("UNPACK", int8=2, uint8=2, bool=3, int16=4),
    **_rule("REVERSE_V2", bool=2, int8=3),
    **_rule("LEAKY_RELU", int16=2),
    **_rule("RANGE", int64=2),
    **_rule("SELECT_V2", uint32=2),
    **_rule("SIGN", int32=2),
    **_rule("FLOOR_DIV", float32=2, int8=3, int16=3),
    **_rule("FLOOR_MOD", int8=2, int16=2),
    **_rule("FILL", at=1, bool=2, string=2, int8=3, int16=3, float16=4),
    **_rule("SPARSE_TO_DENSE", at=2, int64=2, int8=3, uint8=3),
    **_rule("SVDF", int8=3),
}  # fmt: skip


def version_of(graph: Graph, operator: Operator) -> int:
    """The version of a use: the one that the operator states, else the smallest that covers its types and options."""
    if operator.version is not None:
        return operator.version
    inputs = [graph.tensors[index] if index >= 0 else None for index in operator.inputs]
    outputs = [graph.tensors[index] for index in operator.outputs]
    special = _SPECIAL.get(operator.op)
    if special is not None:
        return int(special(operator, inputs, outputs))
    place, versions = _BY_TYPE.get(operator.op, (0, {}))
    return versions.get(_dtype(inputs, place), 1)


def _dtype(tensors: list[Tensor | None], place: int) -> str:
    tensor = tensors[place] if place < len(tensors) else None
    return tensor.dtype if tensor is not None else ""


def _rank(inputs: list[Tensor | None]) -> int:
    return max((tensor.rank for tensor in inputs if tensor is not None), default=0)


def _per_channel(tensor: Tensor | None) -> bool:
    return tensor is not None and tensor.quant is not None and len(tensor.quant.scales) > 1


def _broadcasts(inputs: list[Tensor | None]) -> bool:
    first, second = inputs[0], inputs[1]
    return first is not None and second is not None and first.shape != second.shape


def _conv(operator: Operator, inputs: list[Tensor | None], outputs: list[Tensor]) -> int:
    data, weight = _dtype(inputs, 0), _dtype(inputs, 1)
    first, second = inputs[0], inputs[1]
    grouped = first is not None and second is not None and first.shape[-1] != second.shape[-1]
    if grouped:
        return 6
    if data == "int16":
        return 4
    if data == "int8":
        return 7 if weight == "int4" else 3
    if weight in ("int8", "int4", "int2"):
        return 5 if _per_channel(second) else 2
    return 1


def _depthwise(operator: Operator, inputs: list[Tensor | None], outputs: list[Tensor]) -> int:
    data, weight = _dtype(inputs, 0), _dtype(inputs, 1)
    if data == "int16":
        return 5
    if data == "int8":
        return 7 if weight == "int4" else 3
    if weight in ("int8", "int4", "int2"):
        return 6 if _per_channel(inputs[1]) else 4
    dilated = operator.options.get("dilation_w_factor", 1) != 1 or operator.options.get("dilation_h_factor", 1) != 1
    return 2 if dilated else 1


def _fully_connected(operator: Operator, inputs: list[Tensor | None], outputs: list[Tensor]) -> int:
    data, weight = _dtype(inputs, 0), _dtype(inputs, 1)
    found = [1]
    sparse = inputs[1] is not None and inputs[1].sparsity is not None
    found += [8] if sparse else []
    found += [7] if data == "int16" else []
    found += [6] if len(inputs) == 2 else []
    found += [5] if operator.options.get("keep_num_dims") else []
    found += [4] if data == weight == "int8" else []
    found += [10] if data == "int8" and weight == "int4" else []
    found += [14] if weight == "int2" else []
    if data == "float32" and weight in ("int8", "int4"):
        found += [12 if _per_channel(inputs[1]) and weight == "int8" else 3]
        found += [9] if operator.options.get("asymmetric_quantize_inputs") else []
        found += [13] if inputs[1] is not None and inputs[1].quant is not None and inputs[1].quant.block else []
    return max(found)


def _transpose_conv(operator: Operator, inputs: list[Tensor | None], outputs: list[Tensor]) -> int:
    if operator.options.get("fused_activation_function", "NONE") != "NONE":
        return 4
    if len(inputs) == 4 and inputs[3] is not None:
        return 3
    return 2 if _dtype(inputs, 1) == "int8" else 1


def _gather(operator: Operator, inputs: list[Tensor | None], outputs: list[Tensor]) -> int:
    if _dtype(inputs, 0) == "int4":
        return 7
    if _dtype(inputs, 1) == "int16":
        return 6
    if operator.options.get("batch_dims", 0):
        return 5
    return {"int16": 4, "bool": 3, "int8": 2}.get(_dtype(inputs, 0), 1)


def _mul(operator: Operator, inputs: list[Tensor | None], outputs: list[Tensor]) -> int:
    quants = [tensor.quant for tensor in (*inputs, outputs[0]) if tensor is not None and tensor.quant is not None]
    dtype = _dtype(inputs, 0)
    fixed = {"complex64": 6, "int64": 5, "uint32": 7}.get(dtype)
    if fixed:
        return fixed
    if dtype == "int16":
        return 4 if quants else 7
    if len(quants) == 3 and quants[0].scales[0] * quants[1].scales[0] / quants[2].scales[0] >= 1.0:
        return 3
    return 2 if dtype == "int8" else 1


def _add(operator: Operator, inputs: list[Tensor | None], outputs: list[Tensor]) -> int:
    first = inputs[0]
    if _dtype(inputs, 0) == "int16":
        return 3 if first is not None and first.quant is not None else 5
    return {"int64": 4, "int8": 2}.get(_dtype(inputs, 0), 1)


def _sub(operator: Operator, inputs: list[Tensor | None], outputs: list[Tensor]) -> int:
    fixed = {"int16": 5, "int64": 4}.get(_dtype(inputs, 0))
    if fixed:
        return fixed
    if _broadcasts(inputs) and _rank(inputs) > 4:
        return 3
    return 2 if _dtype(inputs, 0) == "int8" else 1


def _div(operator: Operator, inputs: list[Tensor | None], outputs: list[Tensor]) -> int:
    return 2 if _broadcasts(inputs) and _rank(inputs) > 4 else 1


def _extreme(operator: Operator, inputs: list[Tensor | None], outputs: list[Tensor]) -> int:
    if _dtype(inputs, 0) == "int16":
        return 4
    if _broadcasts(inputs) and _rank(inputs) > 4:
        return 3
    return 2 if _dtype(inputs, 0) == "int8" else 1


def _transpose(operator: Operator, inputs: list[Tensor | None], outputs: list[Tensor]) -> int:
    rank = _rank(inputs[:1])
    if rank > 5:
        return 6
    if _dtype(inputs, 0) == "int16":
        return 5
    return 4 if rank > 4 else {"bool": 3, "int8": 2}.get(_dtype(inputs, 0), 1)


def _slice(operator: Operator, inputs: list[Tensor | None], outputs: list[Tensor]) -> int:
    if _dtype(inputs, 0) == "uint32":
        return 6
    if _rank(inputs[:1]) > 4:
        return 5
    return {"int16": 4, "string": 3, "int8": 2}.get(_dtype(inputs, 0), 1)


def _strided_slice(operator: Operator, inputs: list[Tensor | None], outputs: list[Tensor]) -> int:
    if operator.options.get("offset"):
        return 8
    if _dtype(inputs, 0) == "uint32":
        return 7
    if operator.options.get("ellipsis_mask") or operator.options.get("new_axis_mask"):
        return 6
    if _dtype(inputs, 0) == "string":
        return 5
    return 4 if _rank(inputs[:1]) > 4 else {"bool": 3, "int8": 2}.get(_dtype(inputs, 0), 1)


def _pad(operator: Operator, inputs: list[Tensor | None], outputs: list[Tensor]) -> int:
    return 4 if _rank(inputs[:1]) > 4 else {"int16": 3, "int8": 2}.get(_dtype(inputs, 0), 1)


def _resize(operator: Operator, inputs: list[Tensor | None], outputs: list[Tensor]) -> int:
    if _dtype(inputs, 0) == "int16":
        return 4
    aligned = operator.op == "RESIZE_NEAREST_NEIGHBOR" and operator.options.get("align_corners")
    if operator.options.get("half_pixel_centers") or aligned:
        return 3
    return 2 if _dtype(inputs, 0) == "int8" else 1


def _batch_space(operator: Operator, inputs: list[Tensor | None], outputs: list[Tensor]) -> int:
    if _dtype(inputs, 0) == "int16":
        return 4
    if _rank(inputs[:1]) != 4:
        return 3
    return 2 if _dtype(inputs, 0) == "int8" else 1


def _select(operator: Operator, inputs: list[Tensor | None], outputs: list[Tensor]) -> int:
    return 3 if _rank(inputs) == 5 else 2 if _dtype(inputs, 0) == "int8" else 1


def _batch_matmul(operator: Operator, inputs: list[Tensor | None], outputs: list[Tensor]) -> int:
    if operator.options.get("asymmetric_quantize_inputs"):
        return 4
    return {"int16": 3, "int8": 2}.get(_dtype(inputs, 0), 1)


def _dequantize(operator: Operator, inputs: list[Tensor | None], outputs: list[Tensor]) -> int:
    dtype = _dtype(inputs, 0)
    if dtype == "int8":
        return 5 if _per_channel(inputs[0]) else 2
    return {"int4": 6, "int16": 3, "float16": 3}.get(dtype, 1)


def _quantize(operator: Operator, inputs: list[Tensor | None], outputs: list[Tensor]) -> int:
    if "int4" in (_dtype(inputs, 0), outputs[0].dtype):
        return 4
    if _per_channel(outputs[0]):
        return 3
    return 2 if outputs[0].dtype == "int16" else 1


def _cast(operator: Operator, inputs: list[Tensor | None], outputs: list[Tensor]) -> int:
    types = {_dtype(inputs, 0), outputs[0].dtype}
    if "bfloat16" in types:
        return 7
    if _dtype(inputs, 0) == "int4":
        return 6
    for version, names in ((5, {"float64", "float16"}), (4, {"uint16"}), (3, {"int8"}), (2, {"uint32"})):
        if types & names:
            return version
    return 1


def _broadcast_to(operator: Operator, inputs: list[Tensor | None], outputs: list[Tensor]) -> int:
    return 3 if _dtype(inputs, 0) in ("int8", "int16") else 2


def _where(operator: Operator, inputs: list[Tensor | None], outputs: list[Tensor]) -> int:
    return 1 if _dtype(inputs, 0) == "bool" else 2


def _embedding(operator: Operator, inputs: list[Tensor | None], outputs: list[Tensor]) -> int:
    return {"int8": 3, "uint8": 2, "int4": 4, "int2": 5}.get(_dtype(inputs, 1), 1)


_SPECIAL = {
    "CONV_2D": _conv, "DEPTHWISE_CONV_2D": _depthwise, "FULLY_CONNECTED": _fully_connected,
    "TRANSPOSE_CONV": _transpose_conv, "GATHER": _gather, "MUL": _mul, "ADD": _add, "SUB": _sub, "DIV": _div,
    "MAXIMUM": _extreme, "MINIMUM": _extreme, "TRANSPOSE": _transpose, "SLICE": _slice,
    "STRIDED_SLICE": _strided_slice, "PAD": _pad, "PADV2": _pad, "RESIZE_BILINEAR": _resize,
    "RESIZE_NEAREST_NEIGHBOR": _resize, "SPACE_TO_BATCH_ND": _batch_space, "BATCH_TO_SPACE_ND": _batch_space,
    "SELECT": _select, "BATCH_MATMUL": _batch_matmul, "DEQUANTIZE": _dequantize, "QUANTIZE": _quantize,
    "CAST": _cast, "BROADCAST_TO": _broadcast_to, "WHERE": _where, "EMBEDDING_LOOKUP": _embedding,
}  # fmt: skip
