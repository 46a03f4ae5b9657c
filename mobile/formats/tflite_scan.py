"""Walks a TFLite flatbuffer and collects what `ModelIndex` holds, without a TFLite library and without
reading a weight.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field

from mobile.formats.dtypes import TFLITE_TYPES
from mobile.formats.flatbuffer import Buffer, FlatError, Table
from mobile.formats.model_index import Dim, TensorBytes, TensorInfo
from mobile.formats.tflite_operators import NAMES

# Far above any real model; they bound memory and time on a hostile one, whose offsets may all point to one
# big table.
MAX_TENSORS = 1_000_000
MAX_NODES = 2_000_000
MAX_SUBGRAPHS = 10_000
MAX_RANK = 64
MAX_NODE_TENSORS = 100_000
MAX_METADATA_BYTES = 4096  # longer metadata is a packed file (labels, a second model), not a value to show


@dataclass(frozen=True)
class TfliteTensor:
    """A tensor of a subgraph: ``data`` is where its constant bytes lie (offset, length), None when it is
    computed.
    """

    name: str
    dtype: str
    bits: int
    shape: tuple[int, ...]
    signature: tuple[Dim, ...] | None
    data: tuple[int, int] | None
    is_variable: bool
    is_sparse: bool


@dataclass(frozen=True)
class TfliteNode:
    """One operator of a subgraph: tensor numbers in and out (-1: an optional one left out)."""

    operator: str
    inputs: tuple[int, ...]
    outputs: tuple[int, ...]
    options: Table | None


@dataclass(frozen=True)
class TfliteGraph:
    """One subgraph; the first is the one that runs."""

    tensors: tuple[TfliteTensor, ...]
    inputs: tuple[int, ...]
    outputs: tuple[int, ...]
    nodes: tuple[TfliteNode, ...]


@dataclass
class TfliteScan:
    """What one walk over a model found."""

    version: int
    producer: str
    graphs: list[TfliteGraph] = field(default_factory=list)
    operator_versions: dict[str, int] = field(default_factory=dict)
    metadata: dict[str, str] = field(default_factory=dict)

    @property
    def operators(self) -> Counter[str]:
        """How often each operator occurs, over all subgraphs."""
        return Counter(node.operator for graph in self.graphs for node in graph.nodes)

    def values(self, numbers: tuple[int, ...]) -> list[TensorInfo]:
        """The main graph's tensors of these numbers, as inputs or outputs."""
        found = (self.graphs[0].tensors[number] for number in numbers)
        return [TensorInfo(tensor.name, tensor.dtype, tensor.signature) for tensor in found]

    def stored(self) -> Iterator[TensorBytes]:
        """The constant tensors of all subgraphs; one that shares another's buffer appears with the same
        offset.
        """
        for graph in self.graphs:
            for tensor in graph.tensors:
                if tensor.data is not None:
                    role = "sparse" if tensor.is_sparse else "initializer"
                    offset, length = tensor.data
                    yield TensorBytes(
                        tensor.name,
                        tensor.dtype,
                        tensor.shape,
                        offset,
                        length,
                        None,
                        "raw",
                        role,
                        tensor.bits,
                    )


def scan_tflite(buffer: Buffer, size_bytes: int) -> TfliteScan:
    """The scan of a whole model. FlatError when the bytes are not one."""
    if buffer[4:8] != b"TFL3":
        raise FlatError("the identifier TFL3 is missing")
    model = Table.root(buffer, size_bytes)
    scan = TfliteScan(model.scalar(0, "<I"), model.text(3)[:200])
    codes = _operator_codes(model, scan)
    buffers = _buffers(model, size_bytes)
    budget = [MAX_TENSORS, MAX_NODES]
    for subgraph in model.tables(2, MAX_SUBGRAPHS):
        scan.graphs.append(_subgraph(subgraph, codes, buffers, budget))
    if not scan.graphs:
        raise FlatError("there is no subgraph in it")
    _metadata(model, buffer, buffers, scan)
    return scan


def _operator_codes(model: Table, scan: TfliteScan) -> list[str]:
    names = []
    for code in model.tables(1, MAX_SUBGRAPHS):
        # The number moved to a wider field when 127 operators were not enough; the larger of the two counts
        # (schema.fbs).
        number = max(code.scalar(0, "<b"), code.scalar(3, "<i"))
        if not 0 <= number < len(NAMES):
            raise FlatError(f"operator number {number} is not in the schema that this edgewise knows")
        name = NAMES[number] if NAMES[number] != "CUSTOM" else f"custom:{code.text(1)}"
        names.append(name)
        scan.operator_versions[name] = max(code.scalar(2, "<i", 1), scan.operator_versions.get(name, 1))
    return names


def _buffers(model: Table, size_bytes: int) -> list[tuple[int, int]]:
    """(offset, length) of each buffer; big models keep the bytes behind the flatbuffer and give offset and
    size.
    """
    ranges = []
    for entry in model.tables(4, MAX_TENSORS):
        start, length = entry.vector(0, 1)
        far, far_length = entry.scalar(1, "<Q"), entry.scalar(2, "<Q")
        if far > 1:
            start, length = far, far_length
            if start + length > size_bytes:
                raise FlatError(f"a buffer ends at byte {start + length} of {size_bytes}")
        ranges.append((start, length))
    return ranges


def _subgraph(subgraph: Table, codes: list[str], buffers: list[tuple[int, int]], budget: list[int]) -> TfliteGraph:
    tables = subgraph.tables(0, budget[0])
    budget[0] -= len(tables)
    tensors = tuple(_tensor(table, buffers) for table in tables)
    operators = subgraph.tables(3, budget[1])
    budget[1] -= len(operators)
    nodes = tuple(_node(table, codes, len(tensors)) for table in operators)
    inputs = _tensor_numbers(subgraph, 1, len(tensors), 0)
    return TfliteGraph(tensors, inputs, _tensor_numbers(subgraph, 2, len(tensors), 0), nodes)


def _tensor(table: Table, buffers: list[tuple[int, int]]) -> TfliteTensor:
    number = table.scalar(1, "<b")
    dtype, bits = TFLITE_TYPES.get(number, (f"type{number}", 0))
    shape = table.numbers(0, MAX_RANK)
    if any(size < 0 for size in shape):
        raise FlatError(f"tensor {table.text(3)!r} has the shape {list(shape)}")
    wanted = table.scalar(2, "<I")
    if wanted >= max(len(buffers), 1):
        raise FlatError(f"tensor {table.text(3)!r} is in buffer {wanted} of {len(buffers)}")
    data = buffers[wanted] if buffers and buffers[wanted][1] else None
    signature = tuple(None if size < 0 else size for size in table.numbers(7, MAX_RANK) or shape)
    return TfliteTensor(
        table.text(3),
        dtype,
        bits,
        shape,
        signature,
        data,
        bool(table.scalar(5, "<B")),
        table.table(6) is not None,
    )


def _node(table: Table, codes: list[str], tensors: int) -> TfliteNode:
    code = table.scalar(0, "<I")
    if code >= len(codes):
        raise FlatError(f"an operator has code {code} of {len(codes)}")
    inputs = _tensor_numbers(table, 1, tensors, -1)
    return TfliteNode(codes[code], inputs, _tensor_numbers(table, 2, tensors, -1), table.table(4))


def _tensor_numbers(table: Table, slot: int, tensors: int, least: int) -> tuple[int, ...]:
    numbers = table.numbers(slot, MAX_NODE_TENSORS)
    for number in numbers:
        if not least <= number < tensors:
            raise FlatError(f"tensor number {number} of {tensors}")
    return numbers


def _metadata(model: Table, buffer: Buffer, buffers: list[tuple[int, int]], scan: TfliteScan) -> None:
    for entry in model.tables(6, MAX_SUBGRAPHS):
        number = entry.scalar(1, "<I")
        start, length = buffers[number] if number < len(buffers) else (0, 0)
        if 0 < length <= MAX_METADATA_BYTES:
            value = buffer[start : start + length].rstrip(b"\0").decode("utf-8", "replace")
            if value.isprintable():
                scan.metadata[entry.text(0)] = value
