"""Walks an ONNX ModelProto and collects what `ModelIndex` holds, without onnx and without reading a
weight.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Sized
from dataclasses import dataclass, field, replace

from mobile.formats import protowire as wire
from mobile.formats.dtypes import ONNX_TYPES
from mobile.formats.model_index import Dim, TensorBytes, TensorInfo
from mobile.formats.onnx_tensor import MAX_RANK, read_entry, read_tensor

# Far above any real model; they bound memory (about 300 bytes an entry) and the stack on a hostile one.
MAX_TENSORS = 1_000_000
MAX_VALUES = 100_000
MAX_DISTINCT = 10_000
MAX_DEPTH = 24


@dataclass
class OnnxScan:
    """What one walk over a ModelProto found."""

    ir_version: int | None = None
    producer: str = ""
    opsets: dict[str, int] = field(default_factory=dict)
    inputs: list[TensorInfo] = field(default_factory=list)
    outputs: list[TensorInfo] = field(default_factory=list)
    tensors: list[TensorBytes] = field(default_factory=list)
    operators: Counter[str] = field(default_factory=Counter)
    metadata: dict[str, str] = field(default_factory=dict)
    functions: list[str] = field(default_factory=list)
    graphs: int = 0


def scan_onnx(buffer: wire.Buffer, size_bytes: int) -> OnnxScan:
    """The scan of a whole ModelProto. WireError when the bytes are not one, or it has no graph."""
    scan = OnnxScan()
    for item in wire.fields(buffer, 0, size_bytes):
        take = _MODEL.get(item.number)
        if take is not None:
            take(buffer, item, scan)
    if not scan.graphs:
        raise wire.WireError("there is no graph in it")
    named = {tensor.name for tensor in scan.tensors if tensor.role != "constant"}
    scan.inputs = [value for value in scan.inputs if value.name not in named]  # IR < 4 lists the weights as inputs too
    return scan


def _ir_version(_: wire.Buffer, item: wire.Field, scan: OnnxScan) -> None:
    scan.ir_version = wire.signed(item.value)


def _producer(buffer: wire.Buffer, item: wire.Field, scan: OnnxScan) -> None:
    scan.producer = f"{scan.producer} {wire.text(buffer, item)}".strip()[:200]


def _main_graph(buffer: wire.Buffer, item: wire.Field, scan: OnnxScan) -> None:
    _need_bytes(item)
    scan.graphs += 1
    _graph(buffer, item.start, item.end, scan, depth=0)


def _opset(buffer: wire.Buffer, item: wire.Field, scan: OnnxScan) -> None:
    _need_bytes(item)
    domain, version = "", 0
    for part in wire.fields(buffer, item.start, item.end):
        if part.number == 1:
            domain = wire.text(buffer, part)
        elif part.number == 2:
            version = wire.signed(part.value)
    _bounded(scan.opsets, "opset imports")
    scan.opsets["" if domain == "ai.onnx" else domain] = version


def _metadata(buffer: wire.Buffer, item: wire.Field, scan: OnnxScan) -> None:
    _need_bytes(item)
    key, value = read_entry(buffer, item)
    _bounded(scan.metadata, "metadata entries")
    scan.metadata[key] = value


def _function(buffer: wire.Buffer, item: wire.Field, scan: OnnxScan) -> None:
    _need_bytes(item)
    name = domain = ""
    for part in wire.fields(buffer, item.start, item.end):
        if part.number == 1:
            name = wire.text(buffer, part)
        elif part.number == 10:
            domain = wire.text(buffer, part)
        elif part.number == 7:
            _node(buffer, part, scan, depth=0)
        elif part.number == 9:
            _function_opset(buffer, part, scan)
    _bounded(scan.functions, "functions")
    scan.functions.append(operator_name(domain, name))


def _function_opset(buffer: wire.Buffer, item: wire.Field, scan: OnnxScan) -> None:
    """A function's import counts as the model's when that has none, or an older one: both must be there to
    run it.
    """
    own = OnnxScan()
    _opset(buffer, item, own)
    for domain, version in own.opsets.items():
        _bounded(scan.opsets, "opset imports")
        scan.opsets[domain] = max(version, scan.opsets.get(domain, 0))


_Take = Callable[[wire.Buffer, wire.Field, OnnxScan], None]
_MODEL: dict[int, _Take] = {
    1: _ir_version, 2: _producer, 3: _producer, 7: _main_graph, 8: _opset, 14: _metadata, 25: _function,
}  # fmt: skip


def _graph(buffer: wire.Buffer, start: int, end: int, scan: OnnxScan, depth: int) -> None:
    if depth > MAX_DEPTH:
        raise wire.WireError(f"graphs are nested more than {MAX_DEPTH} deep")
    for item in wire.fields(buffer, start, end):
        if item.number == 1:
            _node(buffer, item, scan, depth)
        elif item.number == 5:
            _need_bytes(item)
            _add(scan, read_tensor(buffer, item.start, item.end, "initializer"))
        elif item.number == 15:
            _sparse(buffer, item, scan)
        elif item.number in (11, 12) and depth == 0:
            values = scan.inputs if item.number == 11 else scan.outputs
            _bounded(values, "inputs or outputs", MAX_VALUES)
            values.append(_value_info(buffer, item))


def _node(buffer: wire.Buffer, item: wire.Field, scan: OnnxScan, depth: int) -> None:
    _need_bytes(item)
    name = domain = output = ""
    attributes: list[wire.Field] = []
    for part in wire.fields(buffer, item.start, item.end):
        if part.number == 4:
            name = wire.text(buffer, part)
        elif part.number == 7:
            domain = wire.text(buffer, part)
        elif part.number == 2 and not output:
            output = wire.text(buffer, part)
        elif part.number == 5:
            _bounded(attributes, "attributes of one node")
            attributes.append(part)
    operator = operator_name(domain, name)
    if operator not in scan.operators:
        _bounded(scan.operators, "different operators")
    scan.operators[operator] += 1
    for attribute in attributes:
        _attribute(buffer, attribute, scan, depth, output)


def _attribute(buffer: wire.Buffer, item: wire.Field, scan: OnnxScan, depth: int, output: str) -> None:
    """Tensors and graphs in an attribute; a tensor without a name gets that of the node's first output."""
    _need_bytes(item)
    for part in wire.fields(buffer, item.start, item.end):
        if part.number in (5, 10):
            _need_bytes(part)
            tensor = read_tensor(buffer, part.start, part.end, "constant")
            _add(scan, tensor if tensor.name else replace(tensor, name=output))
        elif part.number in (6, 11):
            _need_bytes(part)
            _graph(buffer, part.start, part.end, scan, depth + 1)
        elif part.number in (22, 23):
            _sparse(buffer, part, scan)


def _sparse(buffer: wire.Buffer, item: wire.Field, scan: OnnxScan) -> None:
    _need_bytes(item)
    name = ""
    for part in wire.fields(buffer, item.start, item.end):
        if part.number in (1, 2):
            _need_bytes(part)
            tensor = read_tensor(buffer, part.start, part.end, "sparse")
            name = tensor.name or name
            _add(scan, tensor if tensor.name else replace(tensor, name=f"{name}.indices"))


def _add(scan: OnnxScan, tensor: TensorBytes) -> None:
    _bounded(scan.tensors, "stored tensors", MAX_TENSORS)
    scan.tensors.append(tensor)


def _value_info(buffer: wire.Buffer, item: wire.Field) -> TensorInfo:
    _need_bytes(item)
    name, dtype, shape = "", "unknown", None
    for part in wire.fields(buffer, item.start, item.end):
        if part.number == 1:
            name = wire.text(buffer, part)
        elif part.number == 2:
            _need_bytes(part)
            dtype, shape = _type(buffer, part.start, part.end, 0)
    return TensorInfo(name, dtype, shape)


def _type(buffer: wire.Buffer, start: int, end: int, depth: int) -> tuple[str, tuple[Dim, ...] | None]:
    """Type name and shape of a TypeProto; a sequence, map or optional has the shape None and says so in its
    name.
    """
    if depth > MAX_DEPTH:
        raise wire.WireError(f"types are nested more than {MAX_DEPTH} deep")
    for item in wire.fields(buffer, start, end):
        if item.number in (1, 8):
            _need_bytes(item)
            dtype, shape = _tensor_type(buffer, item)
            return (dtype, shape) if item.number == 1 else (f"sparse({dtype})", shape)
        if item.number in (4, 9):
            _need_bytes(item)
            inner = next((part for part in wire.fields(buffer, item.start, item.end) if part.number == 1), None)
            name = _type(buffer, inner.start, inner.end, depth + 1)[0] if inner else "unknown"
            return f"{'sequence' if item.number == 4 else 'optional'}({name})", None
        if item.number == 5:
            return "map", None
    return "unknown", None


def _tensor_type(buffer: wire.Buffer, item: wire.Field) -> tuple[str, tuple[Dim, ...] | None]:
    dtype, shape = "unknown", None
    for part in wire.fields(buffer, item.start, item.end):
        if part.number == 1:
            dtype = ONNX_TYPES.get(part.value, (f"type{part.value}", 0))[0]
        elif part.number == 2:
            _need_bytes(part)
            shape = _shape(buffer, part)
    return dtype, shape


def _shape(buffer: wire.Buffer, item: wire.Field) -> tuple[Dim, ...]:
    dims: list[Dim] = []
    for part in wire.fields(buffer, item.start, item.end):
        if part.number != 1:
            continue
        _need_bytes(part)
        dims.append(_dim(buffer, part))
        if len(dims) > MAX_RANK:
            raise wire.WireError(f"a shape of more than {MAX_RANK} dimensions at byte {item.start}")
    return tuple(dims)


def _dim(buffer: wire.Buffer, item: wire.Field) -> Dim:
    value: Dim = None
    for part in wire.fields(buffer, item.start, item.end):
        if part.number == 1:
            number = wire.signed(part.value)
            value = number if number >= 0 else None  # some exporters write -1 for "any"
        elif part.number == 2:
            name = wire.text(buffer, part)
            value = None if name in ("", "?") else name  # Paddle writes "?" for every unknown one
    return value


def operator_name(domain: str, name: str) -> str:
    """``Name`` in the default domain, else ``domain.Name``.

    >>> operator_name("com.microsoft", "MatMulNBits"), operator_name("ai.onnx", "Conv")
    ('com.microsoft.MatMulNBits', 'Conv')
    """
    return name if domain in ("", "ai.onnx") else f"{domain}.{name}"


def _need_bytes(item: wire.Field) -> None:
    if item.wire_type != wire.BYTES:
        raise wire.WireError(f"field {item.number} before byte {item.end} is a number, a message was expected")


def _bounded(collection: Sized, what: str, limit: int = MAX_DISTINCT) -> None:
    if len(collection) >= limit:
        raise wire.WireError(f"more than {limit} {what}")
