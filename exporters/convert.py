"""Brings a graph to what a target loads: operator sets and IR version, down where it works, else a clear refusal."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from exporters import streaming
from exporters.runtime import one_line, onnx_errors
from exporters.targets import MIN_OPSET, Target
from mobile.errors import ExportError
from mobile.formats import ModelIndex

if TYPE_CHECKING:
    import onnx_ir as ir

# The IR version that brought each element type (onnx's IR.md and release notes): a lower number would not be honest.
_TYPE_NEEDS_IR = {
    "float8_e4m3fn": 9, "float8_e4m3fnuz": 9, "float8_e5m2": 9, "float8_e5m2fnuz": 9, "int4": 10, "uint4": 10,
    "float4_e2m1": 11, "float8_e8m0": 12, "int2": 13, "uint2": 13, "float6_e2m3": 14, "float6_e3m2": 14,
}  # fmt: skip
_FUNCTIONS_NEED_IR = 8
_CONVERTER_LIMIT_BYTES = 1_900_000_000  # the converter works on one protobuf message, which ends at 2 GB
_WEIGHT_BYTES = 1 << 16  # of an initialiser that the converter does not see
_RELABEL_FROM = 13
PER_CHANNEL_OPSET = 13  # DequantizeLinear's axis came with it


def fit(
    model: ir.Model, found: ModelIndex, target: Target | None, least_opset: int = 0, verified: bool = True
) -> tuple[ir.Model, list[str]]:
    """The model within the target's limits and of at least ``least_opset``, and notes on what was changed.

    ``verified`` says that the result will be compared with the source before it is used.

    ExportError names the operator set, IR version or type that the target has not got and that could not be converted.
    """
    notes: list[str] = []
    have = model.opset_imports.get("", 0)
    if 0 < have < MIN_OPSET:
        raise ExportError(
            f"opset {have} is older than {MIN_OPSET}, the oldest that onnxruntime reads", "Export it anew."
        )
    want = max(have, least_opset) if have else have
    if target is not None:
        want = min(want, target.opset)
        if least_opset > target.opset:
            raise ExportError(f"this needs opset {least_opset}, {target.name} ends at {target.opset}", _NEWER)
        _check_ml(model, target)
    if have and want != have:
        model = convert_opset(model, want, target, verified)
        notes.append(f"opset {have} was converted to {want}")
    if target is not None and (model.ir_version or 0) > target.ir_version:
        _check_types(model, found, target)
        notes.append(f"IR version {model.ir_version} was lowered to {target.ir_version}")
        model.ir_version = target.ir_version
    return model, notes


_NEWER = "Choose a newer --target, or an older opset where the model is made."


def _check_ml(model: ir.Model, target: Target) -> None:
    version = model.opset_imports.get("ai.onnx.ml", 0)
    if version > target.ml_opset:
        raise ExportError(f"it uses ai.onnx.ml opset {version}, {target.name} ends at {target.ml_opset}", _NEWER)


def _check_types(model: ir.Model, found: ModelIndex, target: Target) -> None:
    used = {tensor.dtype for tensor in found.tensors} | {value.dtype for value in (*found.inputs, *found.outputs)}
    for dtype in sorted(used):
        if _TYPE_NEEDS_IR.get(dtype, 0) > target.ir_version:
            needed = _TYPE_NEEDS_IR[dtype]
            raise ExportError(
                f"it holds {dtype} (IR version {needed}), {target.name} ends at {target.ir_version}", _NEWER
            )
    if model.functions and target.ir_version < _FUNCTIONS_NEED_IR:
        raise ExportError(f"it has model-local functions (IR version 8), {target.name} has not", _NEWER)


def convert_opset(model: ir.Model, version: int, target: Target | None, verified: bool) -> ir.Model:
    """The model in another opset, by onnx's version converter. ExportError when that cannot.

    ``verified`` says that the result will be compared with the source, which `_relabelled` needs.
    """
    import onnx
    import onnx_ir as ir

    have = model.opset_imports.get("", 0)
    goal = f"opset {have} to {version}" + (f" for {target.name}" if target else "")
    if model.functions:
        raise ExportError(f"{goal}: the converter does not convert model-local functions", _NEWER)
    _drop_new_defaults(model)
    proto, weights = _without_weights(model)
    if proto.ByteSize() > _CONVERTER_LIMIT_BYTES:
        raise ExportError(f"{goal}: the converter ends at 2 GB, the graph has {proto.ByteSize()} bytes", _NEWER)
    try:
        converted = onnx.version_converter.convert_version(proto, version)
        onnx.checker.check_model(converted)
    except onnx_errors() as error:
        relabelled = _relabelled(proto, version) if verified else None
        if relabelled is None:
            raise ExportError(f"{goal}: cannot be converted: {_reason(error)}", _NEWER) from error
        converted = relabelled
    result: ir.Model = ir.from_proto(converted)
    result.ir_version = model.ir_version
    _with_weights(result, weights)
    restore_shapes(result, model)
    return result


def _without_weights(model: ir.Model) -> tuple[Any, dict[str, Any]]:
    """The model as a message in which big initialisers are inputs, and these by name, true where they were inputs too.

    The converter looks at small constants (axes, shapes) and copies the rest, of which external data loses its place.
    """
    import onnx
    import onnx_ir as ir

    big = [value for value in model.graph.initializers.values() if streaming.is_big(value.const_value, _WEIGHT_BYTES)]
    with streaming.emptied(big) as weights:
        streaming.embed_external(model)
        proto = ir.to_proto(model)
    inputs = {value.name for value in proto.graph.input}
    small = [stored for stored in proto.graph.initializer if stored.name not in weights]
    for stored in proto.graph.initializer:
        if stored.name in weights and stored.name not in inputs:
            proto.graph.input.append(onnx.helper.make_tensor_value_info(stored.name, stored.data_type, stored.dims))
    del proto.graph.initializer[:]
    proto.graph.initializer.extend(small)
    return proto, {name: (tensor, name in inputs) for name, tensor in weights.items()}


def _with_weights(model: ir.Model, weights: dict[str, tuple[Any, bool]]) -> None:
    """Makes the inputs that stood for weights initialisers again."""
    for value in list(model.graph.inputs):
        if value.name in weights:
            value.const_value, stays = weights[value.name]
            if not stays:
                model.graph.inputs.remove(value)
            model.graph.register_initializer(value)


def restore_shapes(model: ir.Model, before: ir.Model) -> None:
    """Gives inputs and outputs their declared shapes back: tools that infer shapes on the way replace free
    dimensions.
    """
    declared = {value.name: value for value in (*before.graph.inputs, *before.graph.outputs)}
    for value in (*model.graph.inputs, *model.graph.outputs):
        if value.name in declared:
            value.shape = declared[value.name].shape


def _drop_new_defaults(model: ir.Model) -> None:
    """Attributes that a newer operator version added and that hold their default, at which the converter stumbles."""
    import onnx_ir as ir

    for node in ir.traversal.RecursiveGraphIterator(model.graph):
        attribute = node.attributes.get("noop_with_empty_axes")
        if attribute is not None and attribute.value == 0:
            del node.attributes["noop_with_empty_axes"]


def _relabelled(proto: Any, version: int) -> Any:
    """The graph as it is under the older opset's number, when it is valid there too; None when it is not.

    Since opset 13 most new operator versions only add types or optional parts (Pad 18's axes), and the converter has no
    way back for many of them. The checker decides whether the old schemas hold, and the comparison with the source
    whether it still computes the same.
    """
    import onnx

    if version < _RELABEL_FROM:
        return None
    copy = onnx.ModelProto()
    copy.CopyFrom(proto)
    for entry in copy.opset_import:
        if entry.domain in ("", "ai.onnx"):
            entry.version = version
    try:
        onnx.checker.check_model(copy, full_check=True)
    except onnx_errors():
        return None
    return copy


def _reason(error: Exception) -> str:
    """What the converter says, without the place in its source: ``file:line: function: Assertion `x` failed:
    reason``.
    """
    return one_line(error).rpartition("` failed: ")[2]
