"""The writer: a `Program` as a TFLite flatbuffer.

Constants lie 16-byte aligned, equal ones once. Nothing is allocated for a model beyond what a flatbuffer can address.
"""

from __future__ import annotations

import hashlib
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from exporters.tflite import packing, schema
from exporters.tflite.ir import Graph, Operator, Program, Quant, Sparsity, Tensor
from exporters.tflite.rules import TFLITE_2_14, refused
from exporters.tflite.versions import version_of
from mobile.errors import ExportError

if TYPE_CHECKING:
    from collections.abc import Iterator

MAX_BYTES = 2**31 - 1  # offsets in a flatbuffer are 32 bits, and runtimes read them as signed
_ALIGNMENT = 16  # schema.fbs: Buffer.data is force_align: 16
_SCHEMA_VERSION = 3
_PLACEHOLDER = 127  # the old 8-bit field of operator codes: all that is newer says this there
_OVERHEAD_BYTES = 1 << 16  # of a file beside what is counted per tensor and operator
_PER_ENTRY_BYTES = 512


def to_bytes(program: Program) -> bytes:
    """The model's file. ExportError when it does not fit into one, before anything of its size is allocated."""
    return bytes(_built(program))


def write(program: Program, path: Path) -> None:
    """Writes the model's file without a second copy of it in memory. ExportError as for `to_bytes`, OSError."""
    with path.open("wb") as stream:
        stream.write(_built(program))


def constant_bytes(program: Program) -> int:
    """How many bytes the constants take at most, tensors that share a buffer counted once."""
    seen: set[str] = set()
    total = sum(len(entry) for entry in program.metadata.values())
    for tensor in _constants(program):
        if tensor.buffer_key is None or tensor.buffer_key not in seen:
            total += _stored(tensor)
        seen.update([tensor.buffer_key] if tensor.buffer_key else [])
    return total


def _stored(tensor: Tensor) -> int:
    assert tensor.data is not None
    if tensor.sparsity is None:
        return packing.stored_bytes(tensor.dtype, tensor.shape)
    return packing.stored_bytes(tensor.dtype, (tensor.data.size,))


def _constants(program: Program) -> Iterator[Tensor]:
    return (tensor for graph in program.graphs for tensor in graph.tensors if tensor.data is not None)


def _built(program: Program) -> memoryview:
    entries = sum(len(graph.tensors) + len(graph.operators) for graph in program.graphs)
    size = constant_bytes(program) + _OVERHEAD_BYTES + entries * _PER_ENTRY_BYTES
    if size > MAX_BYTES:
        raise ExportError(
            f"the model takes {size / 1e9:.2f} GB: a TFLite file holds 2 GB at most",
            "Compress its weights (--scheme int8), or export ONNX, which keeps large weights in a file beside.",
        )
    model = _Writer().model(program)
    builder = schema.library().flatbuffers.Builder(size)
    builder.Finish(model.Pack(builder), file_identifier=b"TFL3")
    return memoryview(builder.Bytes)[builder.Head() :]


class _Buffer:
    """A buffer that packs itself aligned, in one copy; the generated class does neither."""

    def __init__(self, data: bytes | memoryview | None) -> None:
        self._data = data

    def Pack(self, builder: Any) -> Any:  # noqa: N802 - the generated classes call it so
        library = schema.library()
        place = None
        if self._data is not None:
            count = len(self._data)
            builder.StartVector(1, count, _ALIGNMENT)
            head = builder.Head() - count
            builder.head = head
            builder.Bytes[head : head + count] = self._data
            place = builder.EndVector()
        library.BufferStart(builder)
        if place is not None:
            library.BufferAddData(builder, place)
        return library.BufferEnd(builder)


@dataclass
class _Writer:
    """Collects what the whole file shares: buffers and operator codes."""

    buffers: list[_Buffer] = field(default_factory=lambda: [_Buffer(None)])  # the first is empty: what is computed
    keys: dict[str, int] = field(default_factory=dict)
    codes: dict[tuple[str, int], int] = field(default_factory=dict)

    def model(self, program: Program) -> Any:
        library = schema.library()
        graphs = [self._graph(graph) for graph in program.graphs]
        signatures = _signatures(program)
        metadata = []
        for name, content in {**_minimum(program), **program.metadata}.items():
            metadata.append(library.MetadataT(name=name, buffer=self._add(content)))
        return library.ModelT(
            version=_SCHEMA_VERSION,
            operatorCodes=[_operator_code(op, version) for op, version in self.codes],
            subgraphs=graphs,
            description=program.description or "edgewise",
            buffers=self.buffers,
            metadata=metadata,
            signatureDefs=signatures,
        )

    def _add(self, data: bytes | memoryview) -> int:
        """The number of the buffer with these bytes, an old one when there is one."""
        key = hashlib.sha256(data).hexdigest()
        if key not in self.keys:
            self.keys[key] = len(self.buffers)
            self.buffers.append(_Buffer(data))
        return self.keys[key]

    def _graph(self, graph: Graph) -> Any:
        extra: list[Any] = []
        names = _unique_names(graph)
        tensors = [
            self._tensor(tensor, name, len(graph.tensors), extra)
            for tensor, name in zip(graph.tensors, names, strict=True)
        ]
        return schema.library().SubGraphT(
            tensors=tensors + extra,
            inputs=_ints(graph.inputs),
            outputs=_ints(graph.outputs),
            operators=[self._operator(graph, operator) for operator in graph.operators],
            name=graph.name,
        )

    def _tensor(self, tensor: Tensor, name: str, count: int, extra: list[Any]) -> Any:
        packed = schema.library().TensorT(
            shape=_ints(tensor.shape),
            type=schema.type_code(tensor.dtype),
            buffer=self._buffer(tensor),
            name=name,
            isVariable=tensor.is_variable,
            shapeSignature=_ints(tensor.signature) if tensor.signature is not None else None,
            hasRank=True,
        )
        if tensor.quant is not None and tensor.quant.block:
            packed.quantization = _blocks(tensor.quant, count + len(extra))
            extra.append(self._scales(tensor))
        elif tensor.quant is not None:
            packed.quantization = _quantization(tensor.quant)
        if tensor.sparsity is not None:
            packed.sparsity = _sparsity(tensor.sparsity)
        return packed

    def _buffer(self, tensor: Tensor) -> int:
        if tensor.data is None:
            return 0
        key = f"key {tensor.buffer_key}"
        if tensor.buffer_key is not None and key in self.keys:
            return self.keys[key]
        number = self._add(packing.encode(tensor.dtype, tensor.data))
        if tensor.buffer_key is not None:
            self.keys[key] = number
        return number

    def _scales(self, tensor: Tensor) -> Any:
        """The tensor of a blockwise weight's scales: float16 [rows, blocks], as LiteRT's kernels read them."""
        assert tensor.quant is not None
        scales = np.asarray(tensor.quant.scales, np.float16)
        rows = (*tensor.shape[:-1], tensor.shape[-1] // tensor.quant.block)
        return schema.library().TensorT(
            shape=_ints(rows),
            type=schema.type_code("float16"),
            buffer=self._add(packing.encode("float16", scales)),
            name=f"{tensor.name}_scales",
            hasRank=True,
        )

    def _operator(self, graph: Graph, operator: Operator) -> Any:
        key = operator.op, version_of(graph, operator)
        packed = schema.library().OperatorT(
            opcodeIndex=self.codes.setdefault(key, len(self.codes)),
            inputs=_ints(operator.inputs),
            outputs=_ints(operator.outputs),
        )
        options = schema.pack_options(operator.op, operator.options)
        if options is not None and options[2]:
            packed.builtinOptions2, packed.builtinOptions2Type = options[:2]
        elif options is not None:
            packed.builtinOptions, packed.builtinOptionsType = options[:2]
        return packed


def _unique_names(graph: Graph) -> list[str]:
    """The tensors' names, a number behind those that were there before: tools look tensors up by name."""
    taken = {tensor.name for tensor in graph.tensors}
    seen: set[str] = set()
    names = []
    for tensor in graph.tensors:
        name, count = tensor.name, 0
        while name in seen or (count and name in taken):
            count += 1
            name = f"{tensor.name}_{count}"
        seen.add(name)
        names.append(name)
    return names


def _minimum(program: Program) -> dict[str, bytes]:
    """The metadata entry that names a release which loads the model, for the tools that show it.

    Only 2.14 is known by measurement; what that does not load has no entry, since LiteRT counts its releases anew.
    """
    return {} if refused(program, TFLITE_2_14) else {"min_runtime_version": b"2.14.0".ljust(16, b"\0")}


def _operator_code(op: str, version: int) -> Any:
    code = schema.operator_code(op)
    return schema.library().OperatorCodeT(
        builtinCode=code, deprecatedBuiltinCode=min(code, _PLACEHOLDER), version=version
    )


def _ints(values: Any) -> Any:
    return np.asarray(values, np.int32)


def _quantization(quant: Quant) -> Any:
    return schema.library().QuantizationParametersT(
        scale=np.asarray(quant.scales, np.float32).reshape(-1),
        zeroPoint=np.asarray(quant.zero_points, np.int64).reshape(-1),
        quantizedDimension=quant.axis,
    )


def _blocks(quant: Quant, scales: int) -> Any:
    library = schema.library()
    return library.QuantizationParametersT(
        detailsType=library.QuantizationDetails.BlockwiseQuantization,
        details=library.BlockwiseQuantizationT(scales=scales, zeroPoints=-1, blockSize=quant.block),
        quantizedDimension=quant.axis,
    )


def _sparsity(sparsity: Sparsity) -> Any:
    library = schema.library()
    levels = []
    for dimension in sparsity.dimensions:
        if isinstance(dimension, int):
            levels.append(library.DimensionMetadataT(format=library.DimensionType.DENSE, denseSize=dimension))
            continue
        segments, indices = (_vector(values) for values in dimension)
        levels.append(
            library.DimensionMetadataT(
                format=library.DimensionType.SPARSE_CSR,
                arraySegments=segments[0],
                arraySegmentsType=segments[1],
                arrayIndices=indices[0],
                arrayIndicesType=indices[1],
            )
        )
    return library.SparsityParametersT(
        traversalOrder=_ints(sparsity.traversal_order), blockMap=_ints(sparsity.block_map), dimMetadata=levels
    )


def _vector(values: Any) -> tuple[Any, int]:
    """The numbers in the smallest of the schema's three vectors."""
    library = schema.library()
    numbers = np.asarray(values)
    largest = int(numbers.max(initial=0))
    for name, limit, dtype in (("Uint8Vector", 255, np.uint8), ("Uint16Vector", 65535, np.uint16)):
        if largest <= limit:
            return getattr(library, f"{name}T")(values=numbers.astype(dtype)), getattr(library.SparseIndexVector, name)
    return library.Int32VectorT(values=numbers.astype(np.int32)), library.SparseIndexVector.Int32Vector


def _signatures(program: Program) -> list[Any]:
    if not program.input_names and not program.output_names:
        return []
    library = schema.library()
    main = program.main

    def maps(names: list[str], places: list[int]) -> list[Any]:
        return [library.TensorMapT(name=name, tensorIndex=at) for name, at in zip(names, places, strict=True)]

    return [
        library.SignatureDefT(
            inputs=maps(program.input_names, main.inputs),
            outputs=maps(program.output_names, main.outputs),
            signatureKey=program.signature,
            subgraphIndex=0,
        )
    ]
