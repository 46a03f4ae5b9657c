"""One request to the server for one part: coding, the wire, and what it cost."""

import os
import time
from typing import TYPE_CHECKING, Any, Dict, List, NamedTuple, Optional, Tuple

from device_agents.failures import AgentFailure
from device_agents.split import codecs, delta, wire
from device_agents.split.frames import DTYPES, ITEM_BYTES, CodecError, count
from device_agents.split.package import Package, Part, Placement
from device_agents.split.wire import Wire, WireError, WireTensor

if TYPE_CHECKING:
    from numpy.typing import NDArray

    Values = Dict[str, NDArray[Any]]


class Served(NamedTuple):
    """What the server gave, and where the time went (ns, on our clock but for ``service_ns``, which is its own)."""

    values: Dict[str, Any]
    encode_ns: int
    link_ns: int
    decode_ns: int
    service_ns: int
    inference_ns: int
    bytes_up: int
    bytes_down: int


class Stream(NamedTuple):
    """A tensor that is a difference: which of the tensors, its value and range, its stream and its number in that."""

    at: int
    array: Any
    within: Optional[codecs.Range]
    sender: delta.Sender
    number: int


class Coded(NamedTuple):
    """Tensors ready to be sent, what coding them took, and which of them are of a stream."""

    tensors: List[WireTensor]
    encode_ns: int
    streams: Tuple[Stream, ...] = ()


def code(
    package: Package,
    placement: Placement,
    part: Part,
    values: "Values",
    senders: Optional[delta.Senders] = None,
) -> Coded:
    """The inputs of a server's part as they travel in this placement. ``senders``: the client's streams; without them
    a difference is to nothing. AgentFailure when a codec is not installed here or does not fit.
    """
    began = time.monotonic_ns()
    tensors: List[WireTensor] = []
    streams: List[Stream] = []
    for name in part.inputs:
        codec = placement.codec(name, up=True)
        if codec == "raw":
            tensors.append(wire.plain(name, values[name]))
            continue
        about = codecs.parse(codec)
        within = None if about.per_channel else package.ranges.get(name)
        sender = senders.of(placement.id, name) if senders is not None and about.delta else None
        tensors.append(wire.coded(name, _encoded(name, values[name], codec, within, sender), codec))
        if sender is not None:
            streams.append(Stream(len(tensors) - 1, values[name], within, sender, sender.number))
    return Coded(tensors, time.monotonic_ns() - began, tuple(streams))


def _encoded(
    name: str, array: Any, codec: str, within: Optional[codecs.Range], sender: Optional[delta.Sender]
) -> bytes:
    try:
        return codecs.encode(array, codec, within, sender)
    except CodecError as error:
        kind = "bad-input" if codecs.available(codec) is None else "missing-runtime"
        raise AgentFailure(kind, "{} as {}: {}".format(name, codec, error)) from error


def serve(
    connection: Wire, package: Package, placement: Placement, part: Part, coded: Coded, deadline_s: float
) -> Served:
    """The server's values for coded inputs, within ``deadline_s``. WireError with its kind when there are none.

    Where the server does not know what a difference is to, the frame is sent once more as a whole, in the same time.
    """
    began = time.monotonic()
    try:
        served = _served(connection, package, placement, part, coded, deadline_s)
    except WireError as error:
        if error.kind != "resync" or not coded.streams:
            raise
        coded = _anew(coded)
        served = _served(connection, package, placement, part, coded, deadline_s - (time.monotonic() - began))
    for stream in coded.streams:
        stream.sender.accepted(stream.number)
    return served


def _anew(coded: Coded) -> Coded:
    """The same tensors without a reference to earlier ones."""
    began = time.monotonic_ns()
    tensors, streams = list(coded.tensors), []
    for stream in coded.streams:
        stream.sender.forget()
        before = tensors[stream.at]
        frame = codecs.encode(stream.array, before.codec, stream.within, stream.sender)
        tensors[stream.at] = wire.coded(before.name, frame, before.codec)
        streams.append(stream._replace(number=stream.sender.number))
    return Coded(tensors, coded.encode_ns + time.monotonic_ns() - began, tuple(streams))


def _served(
    connection: Wire, package: Package, placement: Placement, part: Part, coded: Coded, deadline_s: float
) -> Served:
    began = time.monotonic()
    parameters = {"edgewise_package": package.id, "edgewise_deadline_ms": max(1, int(deadline_s * 1000))}
    answer = connection.infer(
        package.model_name(placement, part),
        coded.tensors,
        part.outputs,
        deadline_s,
        parameters,
        request_id=os.urandom(12).hex(),
        codecs={name: codec for name in part.outputs for codec in [placement.codec(name, up=False)] if codec != "raw"},
    )
    told = answer.parameters.get("edgewise_package")
    if told is not None and told != package.id:
        raise WireError("foreign", "the server answers for another package", sent=True)
    decoding = time.monotonic_ns()
    values = {name: _value(package, answer.tensors[name]) for name in part.outputs}
    decode_ns = time.monotonic_ns() - decoding
    if time.monotonic() - began > deadline_s:
        raise WireError("late", "the answer came after its deadline", sent=True)
    return Served(
        values,
        coded.encode_ns,
        answer.send_ns + answer.wait_ns,
        decode_ns,
        _whole(answer.parameters.get("service_ns")),
        _whole(answer.parameters.get("inference_ns")),
        answer.sent_bytes,
        answer.received_bytes,
    )


def _value(package: Package, tensor: WireTensor) -> Any:
    """The array of an answered tensor; WireError when it is not what the package says."""
    expected = package.values.get(tensor.name) or next((v for v in package.outputs if v.name == tensor.name), None)
    try:
        if tensor.codec:
            limit = 1 << 30 if expected is None else _limit(expected.dtype, expected.shape)
            array = codecs.decode(bytes(tensor.data), limit)
        else:
            array = wire.array_of(tensor)
    except CodecError as error:
        raise WireError("garbage", "{}: {}".format(tensor.name, error), sent=True) from error
    if expected is not None and not _fits(expected.shape, array.shape):
        words = "{} has shape {}, the package says {}".format(tensor.name, list(array.shape), list(expected.shape))
        raise WireError("garbage", words, sent=True)
    return array


def _fits(expected: Any, shape: Any) -> bool:
    return len(expected) == len(shape) and all(want in (-1, have) for want, have in zip(expected, shape))


def _limit(dtype: str, shape: Any) -> int:
    if any(dim < 0 for dim in shape):
        return 1 << 30
    return count(tuple(shape)) * ITEM_BYTES[DTYPES.index(dtype)]


def _whole(value: Optional[Any]) -> int:
    return int(value) if isinstance(value, (int, float)) and not isinstance(value, bool) and 0 <= value < 1e18 else 0
