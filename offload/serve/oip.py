"""The Open Inference Protocol, version 2, as the server has it: requests taken apart, answers put together.

Protocol: kserve/open-inference-protocol, specification/protocol/inference_rest.md, and Triton's binary tensor data
extension. Nothing here believes a size before it was held against the bytes that are there.
"""

from __future__ import annotations

import json
import math
from collections.abc import Mapping, Sequence
from functools import lru_cache
from typing import TYPE_CHECKING, Any, NamedTuple

from device_agents.split.codecs import parse as parse_codec
from device_agents.split.frames import DTYPES, ITEM_BYTES, NUMPY_NAMES, CodecError, count, span
from offload.serve.messages import Answer, Bytes, Refused, compact, document

if TYPE_CHECKING:
    from numpy.typing import NDArray

    Array = NDArray[Any]

MAX_HEADER_BYTES = 1 << 20  # of the JSON in front of binary tensors
MAX_JSON_BYTES = 4 << 20  # of a request that is JSON altogether: parsed, it takes sixteen times that
MAX_TENSORS, MAX_DIMS, MAX_ID = 4096, 16, 256
MAX_DIM, MAX_ITEMS = 1 << 40, 1 << 48
MAX_DEADLINE_MS = 86_400_000.0
CODEC = "edgewise_codec"
VERSIONS = ("1",)


class TensorIn(NamedTuple):
    """An input as it came: bytes (binary) or numbers (JSON). ``codec``: the bytes are a frame; "" for the tensor."""

    name: str
    datatype: str
    shape: tuple[int, ...]
    data: memoryview | None
    listed: Any
    codec: str


class Wanted(NamedTuple):
    """An output that is asked for: as bytes or as numbers, and its codec ("" for none)."""

    name: str
    binary: bool
    codec: str


class InferRequest(NamedTuple):
    """A request. ``outputs`` None: all, and ``binary`` says how. ``deadline_ms``: from its arrival, None for none."""

    id: str
    inputs: tuple[TensorIn, ...]
    outputs: tuple[Wanted, ...] | None
    binary: bool
    package: str
    deadline_ms: float | None

    def wanted(self, names: Sequence[str]) -> tuple[Wanted, ...]:
        """The outputs that are asked for, of those that there are. Refused when there is no such output."""
        if self.outputs is None:
            return tuple(Wanted(name, self.binary, "") for name in names)
        for output in self.outputs:
            if output.name not in names:
                raise Refused(400, f"there is no output {_shown(output.name)}")
        return self.outputs


def parse_request(body: memoryview, header_length: int | None) -> InferRequest:
    """The request in a body. Refused(400, 413) says what is wrong with it."""
    if header_length is not None and header_length > len(body):
        raise Refused(400, "Inference-Header-Content-Length is more than the body has")
    length = len(body) if header_length is None else header_length
    if length > (MAX_JSON_BYTES if header_length is None else MAX_HEADER_BYTES):
        raise Refused(413, f"{length} bytes of JSON are too many")
    content = _json(bytes(body[:length]))
    options = _object(content, "parameters")
    binary = _flag(options, "binary_data_output", False)
    inputs, at = _inputs(_items(content, "inputs"), body, length)
    if at != len(body):
        raise Refused(400, f"{len(body) - at} bytes are behind the last tensor")
    outputs = None
    if content.get("outputs"):
        outputs = tuple(_wanted(item, binary) for item in _items(content, "outputs"))
        once("output", [output.name for output in outputs])
    return InferRequest(
        id_of(content.get("id")),
        inputs,
        outputs,
        binary,
        package_of(options),
        deadline_of(options.get("edgewise_deadline_ms")),
    )


def _json(text: bytes) -> dict[str, Any]:
    try:
        content = json.loads(text.decode("utf-8"))
    except (ValueError, RecursionError) as error:
        raise Refused(400, "the request is not JSON") from error
    if not isinstance(content, dict):
        raise Refused(400, "the request is not a JSON object")
    return content


def _items(content: Mapping[str, Any], key: str) -> list[dict[str, Any]]:
    items = content.get(key)
    if not isinstance(items, list) or len(items) > MAX_TENSORS or not all(isinstance(item, dict) for item in items):
        raise Refused(400, f"{key}: a list of at most {MAX_TENSORS} objects is wanted")
    return items


def _object(content: Mapping[str, Any], key: str) -> dict[str, Any]:
    found = content.get(key)
    if found is None:
        return {}
    if not isinstance(found, dict):
        raise Refused(400, f"{key}: an object is wanted")
    return found


def _flag(options: Mapping[str, Any], key: str, default: bool) -> bool:
    found = options.get(key, default)
    if not isinstance(found, bool):
        raise Refused(400, f"{key} is true or false")
    return found


def id_of(found: Any) -> str:
    """A request's id, "" for none. Refused when it is none."""
    if found is None:
        return ""
    if not isinstance(found, str) or len(found) > MAX_ID:
        raise Refused(400, f"id: a string of at most {MAX_ID} characters is wanted")
    return found


def package_of(options: Mapping[str, Any]) -> str:
    """The package that the request is for, "" for any."""
    found = options.get("edgewise_package", "")
    if not isinstance(found, str):
        raise Refused(400, "edgewise_package is the id of a package")
    return found


def deadline_of(found: Any) -> float | None:
    """Milliseconds from the request's arrival, None for none."""
    if found is None:
        return None
    if (
        isinstance(found, bool)
        or not isinstance(found, (int, float))
        or not -MAX_DEADLINE_MS <= found <= MAX_DEADLINE_MS
    ):
        raise Refused(400, "edgewise_deadline_ms is a number of milliseconds, at most a day")
    return float(found)


def _inputs(items: list[dict[str, Any]], body: memoryview, at: int) -> tuple[tuple[TensorIn, ...], int]:
    inputs = []
    for item in items:
        tensor, at = _input(item, body, at)
        inputs.append(tensor)
    once("input", [tensor.name for tensor in inputs])
    return tuple(inputs), at


def _input(item: dict[str, Any], body: memoryview, at: int) -> tuple[TensorIn, int]:
    name, datatype = _name(item), item.get("datatype")
    if datatype not in DTYPES:
        raise Refused(400, f"input {_shown(name)}: datatype {_shown(datatype)} is not supported")
    shape, options = _shape(item.get("shape"), name), _object(item, "parameters")
    codec, size = codec_of(options), options.get("binary_data_size")
    if size is None:
        if codec or "data" not in item:
            raise Refused(400, f"input {_shown(name)} has neither data nor binary_data_size")
        return TensorIn(name, datatype, shape, None, item["data"], ""), at
    want = count(shape) * ITEM_BYTES[DTYPES.index(datatype)]
    if isinstance(size, bool) or not isinstance(size, int) or size != want or "data" in item:
        raise Refused(400, f"input {_shown(name)}: {datatype} of shape {list(shape)} takes {want} bytes")
    if codec and (datatype != "UINT8" or len(shape) != 1):
        raise Refused(400, f"input {_shown(name)}: what is coded travels as UINT8 of one dimension")
    if at + size > len(body):
        raise Refused(400, f"input {_shown(name)}: the body ends before its {size} bytes")
    return TensorIn(name, datatype, shape, body[at : at + size], None, codec), at + size


def _name(item: Mapping[str, Any]) -> str:
    name = item.get("name")
    if not isinstance(name, str) or not name:
        raise Refused(400, "a tensor has no name")
    return name


def _shape(found: Any, name: str) -> tuple[int, ...]:
    if not isinstance(found, list) or len(found) > MAX_DIMS:
        raise _no_shape(name)
    for dim in found:  # not all(...): this is done for every tensor of every request
        if type(dim) is not int or not 0 <= dim < MAX_DIM:
            raise _no_shape(name)
    return within_size(tuple(found), name)


def _no_shape(name: str) -> Refused:
    return Refused(400, f"input {_shown(name)}: its shape is a list of at most {MAX_DIMS} whole numbers")


def within_size(shape: tuple[int, ...], name: str) -> tuple[int, ...]:
    """The shape. Refused for one that no array can have, even without content."""
    if len(shape) > 1 and span(shape) > MAX_ITEMS:
        raise Refused(400, f"input {_shown(name)}: no tensor has the shape {list(shape)}")
    return shape


def codec_of(options: Mapping[str, Any]) -> str:
    """The codec in a tensor's parameters, "" for none. Refused when there is none of that name."""
    if CODEC not in options:
        return ""
    found = options[CODEC]
    try:
        return parse_codec(found).name if found != "" and isinstance(found, str) else _none(found)
    except CodecError as error:
        raise Refused(400, str(error)[:200]) from error


def _none(found: Any) -> str:
    if found != "":
        raise Refused(400, f"{CODEC} is the name of a codec")
    return ""


def _wanted(item: Mapping[str, Any], binary: bool) -> Wanted:
    options = _object(item, "parameters")
    if "classification" in options:
        raise Refused(400, "the classification extension is not supported")
    codec = codec_of(options)
    return Wanted(_name(item), bool(codec) or _flag(options, "binary_data", binary), codec)


def once(kind: str, names: list[str]) -> None:
    """Nothing; Refused when a tensor is named twice."""
    if len(set(names)) != len(names):
        raise Refused(400, f"an {kind} is named twice")


def _shown(text: Any) -> str:
    return repr(text)[:80]


def array_of(tensor: TensorIn) -> Array:
    """The array of an input that travels as itself. Refused when its numbers do not fit its type and shape."""
    import numpy as np

    dtype = np.dtype(NUMPY_NAMES[DTYPES.index(tensor.datatype)])
    if tensor.data is None:
        return _from_list(tensor, dtype)
    if tensor.datatype == "BOOL" and len(tensor.data) and max(tensor.data) > 1:
        raise Refused(400, f"input {_shown(tensor.name)}: a BOOL is a byte of 0 or 1")
    array = np.frombuffer(tensor.data, dtype).reshape(tensor.shape)
    return array if array.flags.aligned else array.copy()


def _from_list(tensor: TensorIn, dtype: Any) -> Array:
    import numpy as np

    try:
        found = np.array(tensor.listed)
        if found.size != count(tensor.shape) or found.dtype.kind not in "biuf":
            raise ValueError("other numbers")
        if not _taken(found, dtype):
            raise ValueError("another type")
        with np.errstate(over="ignore"):
            return found.astype(dtype).reshape(tensor.shape)
    except (ValueError, TypeError, OverflowError, RecursionError, MemoryError) as error:
        words = f"its data is not {count(tensor.shape)} numbers of {tensor.datatype}"
        raise Refused(400, f"input {_shown(tensor.name)}: {words}") from error


def _taken(found: Array, dtype: Any) -> bool:
    """Whether every number is one of the type: no fractions for integers, nothing beyond their range."""
    import numpy as np

    if not found.size:
        return True
    if dtype.kind == "b" or found.dtype.kind == "b":
        return bool(dtype.kind == found.dtype.kind)
    if dtype.kind == "f":
        return True
    limits = np.iinfo(dtype)
    return found.dtype.kind in "iu" and limits.min <= int(found.min()) and int(found.max()) <= limits.max


def answer(
    model: str, request: InferRequest, tensors: Sequence[tuple[Wanted, Array | bytes]], parameters: Mapping[str, Any]
) -> Answer:
    """The answer to a request: a tensor is an array, or the bytes of a frame where a codec was asked for.

    Refused when a number cannot be written as JSON (not a number, infinite).
    """
    import numpy as np

    outputs: list[dict[str, Any]] = []
    pieces: list[Bytes] = []
    for wanted, value in tensors:
        if isinstance(value, bytes):
            about: dict[str, Any] = {"binary_data_size": len(value), CODEC: wanted.codec}
            outputs.append({"name": wanted.name, "datatype": "UINT8", "shape": [len(value)], "parameters": about})
            pieces.append(value)
            continue
        array = np.asarray(value, order="C")
        output: dict[str, Any] = {
            "name": wanted.name,
            "datatype": datatype_of(array),
            "shape": list(array.shape),
        }
        if wanted.binary:
            output["parameters"] = {"binary_data_size": array.nbytes}
            pieces.append(array.reshape(-1).view(np.uint8).data)
        else:
            output["data"] = _listed(wanted.name, array)
        outputs.append(output)
    content: dict[str, Any] = {"model_name": model, "model_version": VERSIONS[0]}
    if request.id:
        content["id"] = request.id
    content["parameters"], content["outputs"] = parameters, outputs
    if not pieces:
        return document(content)
    head = compact(content)
    length = ("Inference-Header-Content-Length", str(len(head)))
    return Answer(200, (head, *pieces), "application/octet-stream", (length,))


def datatype_of(array: Array) -> str:
    """The protocol's name of an array's type. Refused for a type that it does not have."""
    found = _datatypes().get(array.dtype)
    if found is None:
        raise Refused(500, f"the model gives {array.dtype}, which cannot be sent")
    return found


@lru_cache(maxsize=1)
def _datatypes() -> dict[Any, str]:
    import numpy as np

    return {np.dtype(name): datatype for name, datatype in zip(NUMPY_NAMES, DTYPES, strict=True)}


def _listed(name: str, array: Array) -> list[Any]:
    values: list[Any] = array.reshape(-1).tolist()
    if array.dtype.kind == "f" and not all(map(math.isfinite, values)):
        raise Refused(400, f"output {_shown(name)} has values that JSON cannot say: ask for it as binary data")
    return values
