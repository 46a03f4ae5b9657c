"""TFLite's schema as ai-edge-litert ships it: names of operators, options and types to numbers, and back.

Source: schema.fbs of LiteRT, through `ai_edge_litert.schema_py_generated`.
"""

from __future__ import annotations

import functools
import re
from typing import Any

from mobile.errors import ExportError

# Operators whose options have another name than their own.
_SHARED_OPTIONS = {
    **dict.fromkeys(("AVERAGE_POOL_2D", "MAX_POOL_2D", "L2_POOL_2D"), "Pool2DOptions"),
    **dict.fromkeys(
        ("MEAN", "SUM", "REDUCE_PROD", "REDUCE_MAX", "REDUCE_MIN", "REDUCE_ANY", "REDUCE_ALL"), "ReducerOptions"
    ),
    **dict.fromkeys(("MAXIMUM", "MINIMUM"), "MaximumMinimumOptions"),
    "L2_NORMALIZATION": "L2NormOptions",
    "CONV_3D_TRANSPOSE": "Conv3DOptions",
    **dict.fromkeys(("RANDOM_STANDARD_NORMAL", "RANDOM_UNIFORM", "MULTINOMIAL"), "RandomOptions"),
}
# Fields that hold a member of an enumeration, by the schema's name of the field.
_ENUM_FIELDS = {
    "padding": "Padding",
    "fused_activation_function": "ActivationFunctionType",
    "weights_format": "FullyConnectedOptionsWeightsFormat",
    "mode": "MirrorPadMode",
    "kernel_type": "LSTMKernelType",
    "combiner": "CombinerType",
}
_TYPE_FIELDS = (
    "out_type", "in_data_type", "out_data_type", "idx_out_type", "output_type", "quantized_bias_type",
)  # fmt: skip


def library() -> Any:
    """The generated module, imported on the first use."""
    from ai_edge_litert import schema_py_generated

    return schema_py_generated


def members(enumeration: str) -> dict[str, int]:
    """An enumeration of the schema: member name to number."""
    return {name: value for name, value in vars(getattr(library(), enumeration)).items() if isinstance(value, int)}


@functools.cache
def _names(enumeration: str) -> dict[int, str]:
    return {value: name for name, value in members(enumeration).items()}


def type_code(dtype: str) -> int:
    """TensorType's number of a numpy dtype's name, "int4" or "int2". ExportError for what TFLite does not have."""
    try:
        return members("TensorType")[dtype.upper()]
    except KeyError:
        raise ExportError(f"TFLite has no tensors of type {dtype}") from None


def type_name(code: int) -> str:
    """The numpy dtype's name of a TensorType's number."""
    return _names("TensorType")[code].lower()


@functools.cache
def operator_code(op: str) -> int:
    """BuiltinOperator's number."""
    try:
        return members("BuiltinOperator")[op]
    except KeyError:
        raise ExportError(f"TFLite has no operator {op}") from None


def operator_name(code: int) -> str:
    """BuiltinOperator's name of a number."""
    return _names("BuiltinOperator")[code]


@functools.cache
def options_of(op: str) -> tuple[str, int, bool] | None:
    """An operator's options: (class name, number in its union, whether that is the second union); None without."""
    wanted = _SHARED_OPTIONS.get(op, op.replace("_", "") + "OPTIONS").lower()
    for union, second in (("BuiltinOptions", False), ("BuiltinOptions2", True)):
        for name, number in members(union).items():
            if name.lower() == wanted:
                return name, number, second
    return None


def pack_options(op: str, options: dict[str, Any]) -> tuple[Any, int, bool] | None:
    """The options' object with its number in the union. ExportError names an option that the operator has not."""
    kind = options_of(op)
    if kind is None:
        if options:
            raise ExportError(f"{op} has no options in TFLite, so no {', '.join(sorted(options))}")
        return None
    name, number, second = kind
    packed = getattr(library(), f"{name}T")()
    for key, value in options.items():
        attribute = _camel(key)
        if not hasattr(packed, attribute):
            raise ExportError(f"{op} has no option {key} in TFLite")
        setattr(packed, attribute, _encoded(op, key, value))
    return packed, number, second


def unpack_options(packed: Any) -> dict[str, Any]:
    """The options under the schema's names, enumerations by their members' names."""
    if packed is None:
        return {}
    return {_snake(key): _decoded(_snake(key), value) for key, value in vars(packed).items() if value is not None}


def _encoded(op: str, key: str, value: Any) -> Any:
    if not isinstance(value, str):
        return value
    if key in _TYPE_FIELDS:
        return type_code(value)
    try:
        return members(_ENUM_FIELDS[key])[value]
    except KeyError:
        raise ExportError(f"{op}: {value!r} is no value of {key}") from None


def _decoded(key: str, value: Any) -> Any:
    if key in _ENUM_FIELDS:
        return _names(_ENUM_FIELDS[key])[value]
    if key in _TYPE_FIELDS:
        return type_name(value)
    return value.tolist() if hasattr(value, "tolist") else value


def _camel(key: str) -> str:
    """The Python object's attribute of a schema field: stride_w is strideW."""
    first, *rest = key.split("_")
    return first + "".join(part.capitalize() for part in rest)


def _snake(attribute: str) -> str:
    """The schema's field of a Python object's attribute."""
    return re.sub(r"(?<!^)([A-Z])", lambda found: "_" + found[1].lower(), attribute)
