"""Tensors of a graph, one at a time: read from external data, hashed, and written into one file.

onnx-ir maps external data into memory and keeps the mapping, and protobuf holds a whole message three times while it is
written. Here memory stays at one tensor.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any, BinaryIO

if TYPE_CHECKING:
    import onnx_ir as ir
    from numpy.typing import NDArray

BIG_BYTES = 1 << 20  # of a tensor: smaller ones are written with the graph
# Field numbers of onnx.proto, each with the wire type 2 (length-delimited): protobuf's encoding page.
_GRAPH_OF_MODEL, _INITIALIZER_OF_GRAPH, _RAW_DATA_OF_TENSOR = (7 << 3 | 2, 5 << 3 | 2, 9 << 3 | 2)
_MARK = "edgewise-streamed"


class _Digest:
    """Takes bytes as a file does."""

    def __init__(self) -> None:
        self.sha256 = hashlib.sha256()

    def write(self, data: Any) -> None:
        """Adds them to the hash."""
        self.sha256.update(data)


class _Memory:
    """Takes so many bytes as a file does, into one array."""

    def __init__(self, size: int) -> None:
        import numpy as np

        self.array = np.empty(size, np.uint8)
        self._at = 0

    def write(self, data: Any) -> None:
        """Puts them behind those before."""
        import numpy as np

        self.array[self._at : self._at + len(data)] = np.frombuffer(data, np.uint8)
        self._at += len(data)


def digest(tensor: Any) -> bytes:
    """SHA-256 of the tensor's bytes."""
    found = _Digest()
    tensor.tofile(found)
    return found.sha256.digest()


def values(tensor: Any) -> NDArray[Any]:
    """The tensor as an array. Of external data it is a copy that ends with the array; other tensors share theirs."""
    import numpy as np
    import onnx_ir as ir

    if not isinstance(tensor, ir.ExternalTensor) or tensor.dtype.bitwidth < 8 or not tensor.size:
        found: NDArray[Any] = np.asarray(tensor.numpy())
        return found
    memory = _Memory(tensor.nbytes)
    tensor.tofile(memory)
    kind = np.dtype(tensor.dtype.numpy())
    kind = kind.newbyteorder("<") if kind.isbuiltin == 1 else kind
    return memory.array.view(kind).reshape(tensor.shape.numpy())


def write_one_file(model: ir.Model, path: Path) -> None:
    """Writes the model into one file (below 2 GB, as protobuf allows), its big tensors one after the other.

    The bytes are those of one ModelProto; its initialisers stand behind the rest of the graph.
    """
    import onnx_ir as ir

    big = [value for value in model.graph.initializers.values() if is_big(value.const_value, BIG_BYTES)]
    with emptied(big) as tensors:
        embed_external(model)
        proto = ir.to_proto(model)
    heads = [(_head(stored), tensors[stored.name]) for stored in proto.graph.initializer if stored.name in tensors]
    small = [stored for stored in proto.graph.initializer if stored.name not in tensors]
    del proto.graph.initializer[:]
    proto.graph.initializer.extend(small)
    graph = proto.graph.SerializeToString()
    proto.ClearField("graph")
    with path.open("wb") as stream:
        stream.write(proto.SerializeToString())
        sizes = [len(head) + 1 + len(_varint(tensor.nbytes)) + tensor.nbytes for head, tensor in heads]
        total = len(graph) + sum(1 + len(_varint(size)) + size for size in sizes)
        stream.write(bytes([_GRAPH_OF_MODEL]) + _varint(total) + graph)
        for (head, tensor), size in zip(heads, sizes, strict=True):
            _write_tensor(stream, head, tensor, size)


def _write_tensor(stream: BinaryIO, head: bytes, tensor: Any, size: int) -> None:
    stream.write(bytes([_INITIALIZER_OF_GRAPH]) + _varint(size) + head)
    stream.write(bytes([_RAW_DATA_OF_TENSOR]) + _varint(tensor.nbytes))
    tensor.tofile(stream)


def is_big(tensor: Any, least_bytes: int) -> bool:
    """Whether the tensor has so many bytes, and is of numbers."""
    return tensor is not None and tensor.dtype.name != "STRING" and tensor.nbytes >= least_bytes


@contextmanager
def emptied(initialisers: Sequence[ir.Value]) -> Iterator[dict[str, Any]]:
    """Their tensors by name; meanwhile they hold placeholders of the same type and shape, whose bytes are nowhere."""
    tensors = {str(value.name): value.const_value for value in initialisers}
    for value in initialisers:
        value.const_value = _placeholder(value)
    try:
        yield tensors
    finally:
        for value in initialisers:
            value.const_value = tensors[str(value.name)]


def _placeholder(value: ir.Value) -> ir.ExternalTensor:
    import onnx_ir as ir

    tensor = value.const_value
    assert tensor is not None and value.name is not None
    shape = ir.Shape(tensor.shape.numpy())
    return ir.ExternalTensor(_MARK, 0, 0, tensor.dtype, shape=shape, name=value.name)


def _head(stored: Any) -> bytes:
    """The TensorProto without its bytes, and without the reference to a file."""
    stored.ClearField("external_data")
    stored.ClearField("data_location")
    head: bytes = stored.SerializeToString()
    return head


def embed_external(model: ir.Model) -> None:
    """Initialisers of external data go into memory, except those that are `emptied`."""
    import onnx_ir as ir

    for graph in model.graphs():
        for value in graph.initializers.values():
            tensor = value.const_value
            if isinstance(tensor, ir.ExternalTensor) and tensor.location != _MARK:
                value.const_value = ir.tensor(tensor.numpy().copy(), dtype=tensor.dtype, name=value.name)
                tensor.release()


def _varint(number: int) -> bytes:
    """Protobuf's base-128 number."""
    found = bytearray()
    for byte in _sevens(number):
        found.append(byte)
    return bytes(found)


def _sevens(number: int) -> Iterator[int]:
    while number > 127:
        yield number & 127 | 128
        number >>= 7
    yield number
