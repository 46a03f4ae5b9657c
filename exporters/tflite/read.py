"""The reader: a TFLite flatbuffer as a `Program`, to quantise it anew or to check what was written."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from exporters.tflite import packing, schema
from exporters.tflite.ir import Graph, Operator, Program, Quant, Sparsity, Tensor
from mobile.errors import ModelError
from mobile.formats.flatbuffer import FlatError
from mobile.formats.tflite_scan import scan_tflite

if TYPE_CHECKING:
    from numpy.typing import NDArray


def read(content: bytes, name: str = "the model") -> Program:
    """The program of a file's bytes. Constants are views of ``content``.

    ModelError when it is no TFLite file, or has what a `Program` does not hold: custom operators, weights beside it.
    """
    try:
        scan_tflite(content, len(content))  # bounds-checked; the library's own reader is not
    except FlatError as error:
        raise ModelError(f"{name}: not a TFLite model: {error}") from error
    model = schema.library().ModelT.InitFromPackedBuf(content)
    reader = _Reader(name, [_code(code, name) for code in model.operatorCodes or []], model.buffers or [])
    graphs = [reader.graph(graph, f"graph{place}") for place, graph in enumerate(model.subgraphs)]
    program = Program(graphs, description=_text(model.description))
    for entry in model.metadata or []:
        data = reader.buffers[entry.buffer].data
        program.metadata[_text(entry.name)] = bytes(data) if data is not None else b""
    _name_signature(program, model.signatureDefs or [])
    return program


def _text(value: Any) -> str:
    return value.decode("utf-8", "replace") if isinstance(value, bytes) else str(value or "")


def _code(code: Any, name: str) -> tuple[str, int]:
    op = schema.operator_name(max(code.builtinCode, code.deprecatedBuiltinCode))
    if op == "CUSTOM":
        raise ModelError(f"{name}: has the custom operator {_text(code.customCode)}", "Only builtin ones can be read.")
    return op, code.version


def _name_signature(program: Program, signatures: list[Any]) -> None:
    """The first signature's names, in the order of the main graph's inputs and outputs."""
    if not signatures:
        return
    first = signatures[0]
    program.signature = _text(first.signatureKey)
    for maps, places, names in (
        (first.inputs, program.main.inputs, program.input_names),
        (first.outputs, program.main.outputs, program.output_names),
    ):
        known = {entry.tensorIndex: _text(entry.name) for entry in maps or []}
        names.extend(known.get(place, program.main.tensors[place].name) for place in places)


class _Reader:
    def __init__(self, name: str, codes: list[tuple[str, int]], buffers: list[Any]) -> None:
        self.name, self.codes, self.buffers = name, codes, buffers

    def graph(self, packed: Any, name: str) -> Graph:
        tensors = [self._tensor(tensor) for tensor in packed.tensors or []]
        for tensor, raw in zip(tensors, packed.tensors or [], strict=True):
            self._block_scales(tensor, raw, packed.tensors)
        return Graph(
            _text(packed.name) or name,
            tensors,
            [self._operator(operator) for operator in packed.operators or []],
            _list(packed.inputs),
            _list(packed.outputs),
        )

    def _tensor(self, packed: Any) -> Tensor:
        shape, dtype = tuple(_list(packed.shape)), schema.type_name(packed.type)
        signature = tuple(_list(packed.shapeSignature)) if packed.shapeSignature is not None else None
        sparsity = _sparsity(packed.sparsity)
        buffer = self.buffers[packed.buffer]
        if buffer.offset or packed.externalBuffer:
            raise ModelError(f"{self.name}: keeps weights outside the flatbuffer, which is not supported")
        data = None
        if packed.buffer and buffer.data is not None and len(buffer.data):
            data = _values(dtype, shape if sparsity is None else None, buffer.data, self.name)
        return Tensor(
            _text(packed.name),
            shape,
            dtype,
            signature,
            data,
            _quant(packed.quantization),
            sparsity,
            f"{self.name} {packed.buffer}" if data is not None else None,
            bool(packed.isVariable),
        )

    def _block_scales(self, tensor: Tensor, packed: Any, tensors: list[Any]) -> None:
        """Blockwise scales stand in a tensor of their own."""
        if packed.quantization is None or packed.quantization.detailsType != _blockwise():
            return
        details = packed.quantization.details
        scales = self._tensor(tensors[details.scales])
        if scales.data is None:
            raise ModelError(f"{self.name}: {tensor.name} has no scales")
        values = scales.data.astype(np.float32)
        tensor.quant = Quant(values, np.zeros(values.shape, np.int64), 0, int(details.blockSize))

    def _operator(self, packed: Any) -> Operator:
        op, version = self.codes[packed.opcodeIndex]
        options = packed.builtinOptions if packed.builtinOptions is not None else packed.builtinOptions2
        return Operator(op, _list(packed.inputs), _list(packed.outputs), schema.unpack_options(options), version)


def _blockwise() -> int:
    return int(schema.library().QuantizationDetails.BlockwiseQuantization)


def _list(values: Any) -> list[int]:
    return [] if values is None else np.asarray(values).tolist()


def _values(dtype: str, shape: tuple[int, ...] | None, data: Any, name: str) -> NDArray[Any]:
    """A constant's values; those of a sparse one flat, as they are stored. Strings stay bytes."""
    raw = np.asarray(data)
    if dtype == "string":
        return raw
    if shape is None:
        each = packing.stored_bytes(dtype, (8,))
        shape = (len(raw) * 8 // each,)
    elif packing.stored_bytes(dtype, shape) != len(raw):
        raise ModelError(f"{name}: a {dtype} constant of shape {list(shape)} has {len(raw)} bytes")
    return packing.decode(dtype, raw, shape)


def _quant(packed: Any) -> Quant | None:
    if packed is None or packed.scale is None or not len(packed.scale):
        return None
    scales = np.asarray(packed.scale, np.float32)
    zeros = np.zeros(len(scales), np.int64) if packed.zeroPoint is None else np.asarray(packed.zeroPoint, np.int64)
    return Quant(scales, zeros, int(packed.quantizedDimension))


def _sparsity(packed: Any) -> Sparsity | None:
    if packed is None:
        return None
    dense = schema.library().DimensionType.DENSE
    levels: list[int | tuple[NDArray[Any], NDArray[Any]]] = []
    for level in packed.dimMetadata or []:
        if level.format == dense:
            levels.append(int(level.denseSize))
        else:
            levels.append((np.asarray(level.arraySegments.values), np.asarray(level.arrayIndices.values)))
    return Sparsity(_list(packed.traversalOrder), _list(packed.blockMap), levels)
