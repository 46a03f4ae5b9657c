"""Decoding as a part of the model: a tail for a server that knows nothing of codecs takes the frames as they are.

A frame's size and the place of its codes in it follow from the tensor's shape, and in a package the range is
calibrated. So the bytes of a frame are a tensor of fixed size; its codes are sliced out, and each byte is looked up in
a table of what it stands for (of two bytes for float16): bit for bit what `device_agents.split.codecs.decode` gives,
but for the check sum, which nobody looks at then. Codecs with an entropy coder, with ranges of their own in each frame
(.c), of pictures and of differences cannot be decoded that way.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from device_agents.split.codecs import BITS, encode, parse
from device_agents.split.frames import DTYPES, NUMPY_NAMES, CodecError, Frame, unpack
from device_agents.split.package import Package, Part, Placement, Value
from device_agents.split.quantise import Range, dequantise, unpack_codes
from mobile.errors import ExportError

if TYPE_CHECKING:
    from numpy.typing import NDArray

PREFIX = "edgewise_decode"


@dataclass(frozen=True)
class CodedInput:
    """An input that comes as a frame: the value that it is of, its codec, its calibrated range, and its bytes."""

    value: Value
    codec: str
    within: Range | None
    frame_bytes: int


def coded_inputs(package: Package, placement: Placement, part: Part) -> dict[str, CodedInput]:
    """The inputs of a server's part that come as frames in this placement. ExportError where no model decodes one."""
    known = {**{value.name: value for value in package.inputs}, **package.values}
    found = {}
    for name in part.inputs:
        codec = placement.codec(name, up=True)
        if codec != "raw":
            found[name] = _coded(known[name], codec, package.ranges.get(name))
    return found


def _coded(value: Value, codec: str, within: Range | None) -> CodedInput:
    import numpy as np

    about = parse(codec)
    plain = about.base in (*BITS, "fp16") and not (about.entropy or about.per_channel or about.delta)
    if not plain or any(dim < 0 for dim in value.shape) or (about.base in BITS and within is None):
        raise ExportError(
            f"{value.name} crosses as {codec}, which a model cannot decode",
            "Plan with `--codecs raw,fp16,q8,q4` for a server without codecs.",
        )
    zeros = np.zeros(value.shape, NUMPY_NAMES[DTYPES.index(value.dtype)])
    try:
        return CodedInput(value, codec, within, len(encode(zeros, codec, within)))
    except CodecError as error:
        raise ExportError(f"{value.name} crosses as {codec}: {error}") from error


def with_decoding(model: Any, coded: Mapping[str, CodedInput]) -> Any:
    """A copy of an ONNX model whose inputs of these names are frames, UINT8 of one dimension."""
    import onnx

    made = onnx.ModelProto()
    made.CopyFrom(model)
    graph = made.graph
    first: list[Any] = []
    for number, (name, one) in enumerate(coded.items()):
        decoded = f"{PREFIX}_{number}"
        _rename(graph, name, decoded)
        first += _nodes(graph, decoded, name, one)
        declared = next(value for value in graph.input if value.name == name)
        declared.CopyFrom(onnx.helper.make_tensor_value_info(name, onnx.TensorProto.UINT8, [one.frame_bytes]))
    rest = list(graph.node)
    del graph.node[:]
    graph.node.extend([*first, *rest])
    return made


def _rename(graph: Any, name: str, new: str) -> None:
    """Nothing; what takes the value, also inside of branches and loops, takes the new one."""
    for node in graph.node:
        for at, taken in enumerate(node.input):
            if taken == name:
                node.input[at] = new
        for attribute in node.attribute:
            for inner in (*([attribute.g] if attribute.HasField("g") else ()), *attribute.graphs):
                own = {value.name for value in (*inner.input, *inner.initializer)}
                if name not in own.union(*(set(one.output) for one in inner.node)):
                    _rename(inner, name, new)


def _nodes(graph: Any, decoded: str, name: str, one: CodedInput) -> list[Any]:
    """The nodes from a frame to its tensor, whose constants are in the graph then."""
    import numpy as np
    import onnx

    frame, table = _example(one), _table(one)
    start = one.frame_bytes - 4 - len(frame.payload)  # the check sum is behind the payload
    items, shape = frame.items, one.value.shape

    def constant(what: str, content: Any) -> str:
        made = onnx.numpy_helper.from_array(np.asarray(content), f"{decoded}/{what}")
        graph.initializer.append(made)
        return str(made.name)

    def node(kind: str, takes: list[str], gives: str, **more: Any) -> Any:
        return onnx.helper.make_node(kind, takes, [gives], name=f"{gives}/{kind}", **more)

    at = [constant("start", np.array([start])), constant("end", np.array([start + len(frame.payload)]))]
    found = [
        node("Slice", [name, *at], f"{decoded}/payload"),
        node("Cast", [f"{decoded}/payload"], f"{decoded}/bytes", to=onnx.TensorProto.INT32),
    ]
    index = f"{decoded}/bytes"
    if one.codec == "fp16":  # low byte first
        pairs, index = f"{decoded}/pairs", f"{decoded}/halves"
        found += [
            node("Reshape", [f"{decoded}/bytes", constant("two", np.array([-1, 2]))], pairs),
            node("MatMul", [pairs, constant("weights", np.array([[1], [256]], np.int32))], index),
        ]
    flat = [f"{decoded}/looked-up", f"{decoded}/flat", f"{decoded}/items"]
    found += [
        node("Gather", [constant("table", table), index], flat[0]),
        node("Reshape", [flat[0], constant("one", np.array([-1]))], flat[1]),
        node("Slice", [flat[1], constant("zero", np.array([0])), constant("count", np.array([items]))], flat[2]),
        node("Reshape", [flat[2], constant("shape", np.array(shape, np.int64))], decoded),
    ]
    return found


def _example(one: CodedInput) -> Frame:
    """A frame of zeros, which says where everything is."""
    import numpy as np

    dtype = NUMPY_NAMES[DTYPES.index(one.value.dtype)]
    return unpack(encode(np.zeros(one.value.shape, dtype), one.codec, one.within), 1 << 40)


def _table(one: CodedInput) -> NDArray[Any]:
    """What each byte stands for, [256, numbers in a byte]; for float16 what each pair stands for, [65536]."""
    import numpy as np

    dtype = NUMPY_NAMES[DTYPES.index(one.value.dtype)]
    if one.codec == "fp16":
        return np.arange(1 << 16, dtype=np.uint16).view(np.float16).astype(dtype)
    bits = BITS[one.codec]
    codes = np.arange(256, dtype=np.uint8)
    if bits != 8:
        codes = unpack_codes(codes, bits, 256 * 8 // bits)
    frame = _example(one)._replace(dims=(len(codes),))
    return dequantise(codes, frame, bits).astype(dtype).reshape(256, 8 // bits)
