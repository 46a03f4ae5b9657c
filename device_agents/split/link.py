"""Measures the link from this device to an edge server: empty requests, then bodies of several sizes each way.

Every exchange is told as it was; what round trip and bandwidth follow from them is the host's to say. One connection is
kept, as requests keep theirs, so that TCP has found its window. Times are of this device's clock alone.
"""

import os
import socket
import struct
import tempfile
import time
from typing import Any, Dict, List, NamedTuple, Optional, Tuple

from device_agents.split.wire import Endpoint, Wire, WireError

PATH = "/edgewise/link"
FIRST_BYTES, GROWTH = 4096, 4
EMPTY_FIRST = 8  # empty requests before the others, and one before each
DEFAULT_DURATION_S, MAX_DURATION_S = 6.0, 600.0
MAX_BYTES = 16 << 20  # of one body
MAX_SAMPLES = 20_000
SHARE = 0.1  # of the duration: a body that takes longer is the largest one
REQUEST_S = 30.0
TCP_INFO_BYTES = 160
RETRANSMITTED_AT, SEGMENTS_AT = 100, 136  # tcpi_total_retrans and tcpi_segs_out in linux/tcp.h, struct tcp_info
UP, DOWN, EMPTY = "up", "down", "empty"


class Sample(NamedTuple):
    """One exchange: its kind, the bytes of the body that counts, and how long it took in all."""

    kind: str
    size_bytes: int
    duration_ns: int


class Asked(NamedTuple):
    """What is to be measured."""

    endpoint: Endpoint
    duration_s: float
    max_bytes: int


def measure(asked: Asked) -> Dict[str, Any]:
    """{connect_ns, samples: [[kind, bytes, ns]], tcp: {segments, retransmitted} or null, problem: null or why it ended
    early}. WireError when the server does not answer at all.
    """
    wire = Wire(asked.endpoint)
    try:
        began = time.monotonic_ns()
        _exchange(wire, EMPTY, 0)
        connect_ns = time.monotonic_ns() - began
        samples, problem = _rounds(wire, asked)
        return {
            "connect_ns": connect_ns,
            "samples": [list(sample) for sample in samples],
            "tcp": tcp_counters(wire.tcp_socket),
            "problem": problem,
        }
    finally:
        wire.close()


def _rounds(wire: Wire, asked: Asked) -> Tuple[List[Sample], Optional[str]]:
    """The samples of all rounds until the time is over, and why they ended before."""
    samples: List[Sample] = []
    end_s = time.monotonic() + asked.duration_s
    try:
        samples += [_exchange(wire, EMPTY, 0) for _ in range(EMPTY_FIRST)]
        sizes = {kind: _sizes(wire, kind, asked, samples) for kind in (UP, DOWN)}
        while time.monotonic() < end_s and len(samples) < MAX_SAMPLES:
            for kind in (UP, DOWN):
                for size in sizes[kind]:
                    if time.monotonic() < end_s:
                        samples += [_exchange(wire, EMPTY, 0), _exchange(wire, kind, size)]
    except WireError as error:
        return samples, str(error)
    return samples, None


def _sizes(wire: Wire, kind: str, asked: Asked, samples: List[Sample]) -> List[int]:
    """The sizes that are worth sending, found by growing them until one takes a good part of the time."""
    sizes, size = [], FIRST_BYTES
    while size <= asked.max_bytes:
        sample = _exchange(wire, kind, size)
        samples.append(sample)
        sizes.append(size)
        if sample.duration_ns > asked.duration_s * SHARE * 1e9:
            break
        size *= GROWTH
    return sizes


def _exchange(wire: Wire, kind: str, size: int) -> Sample:
    body = _filling(size) if kind == UP else b""
    path = PATH + "?down={}".format(size) if kind == DOWN else PATH
    began = time.monotonic_ns()
    answer, _, _ = wire.request("POST", path, body, REQUEST_S)
    duration_ns = time.monotonic_ns() - began
    if kind == DOWN and len(answer) != size:
        raise WireError("garbage", "the server sent {} bytes where {} were asked for".format(len(answer), size), True)
    return Sample(kind, size, duration_ns)


_RANDOM = bytearray()


def _filling(size: int) -> memoryview:
    """Bytes that no proxy or radio can compress."""
    if len(_RANDOM) < size:
        _RANDOM.extend(os.urandom(size - len(_RANDOM)))
    return memoryview(_RANDOM)[:size]


def tcp_counters(sock: Optional[socket.socket]) -> Optional[Dict[str, int]]:
    """{segments, retransmitted} that this end has sent on a connection; None where the system does not tell."""
    option = getattr(socket, "TCP_INFO", None)
    if sock is None or option is None:
        return None
    try:
        info = sock.getsockopt(socket.IPPROTO_TCP, option, TCP_INFO_BYTES)
    except OSError:
        return None
    if len(info) < SEGMENTS_AT + 4:  # a kernel before 4.2
        return None
    (retransmitted,) = struct.unpack_from("=I", info, RETRANSMITTED_AT)
    (segments,) = struct.unpack_from("=I", info, SEGMENTS_AT)
    return {"segments": segments, "retransmitted": retransmitted}


def answer_to(document: Any) -> Dict[str, Any]:
    """The answer to the host's order: that of ``measure``, or {"error": {kind, message}}. The token comes in the order,
    on standard input, and is in no answer. Certificates come as text and are put into a file for as long as it takes.
    """
    order = document if isinstance(document, dict) else {}
    certificates = order.get("certificates")
    try:
        if not isinstance(certificates, str):
            return measure(_asked(order, None))
        with tempfile.NamedTemporaryFile("w", suffix=".pem", encoding="ascii", errors="replace") as file:
            file.write(certificates)
            file.flush()
            return measure(_asked(order, file.name))
    except WireError as error:
        return {"error": {"kind": error.kind, "message": str(error)}}
    except OSError as error:
        return {"error": {"kind": "refused", "message": "certificates: {}".format(error.strerror or error)}}


def _asked(order: Dict[str, Any], ca_file: Optional[str]) -> Asked:
    url, token = order.get("url"), order.get("token")
    duration_s, max_bytes = order.get("duration_s", DEFAULT_DURATION_S), order.get("max_bytes", MAX_BYTES)
    if not isinstance(url, str) or not isinstance(token, (str, type(None))):
        raise WireError("refused", "the order names no server")
    if not isinstance(duration_s, (int, float)) or not 0 < duration_s <= MAX_DURATION_S:
        raise WireError("refused", "duration_s is {!r}, expected up to {:g}".format(duration_s, MAX_DURATION_S))
    if not isinstance(max_bytes, int) or not FIRST_BYTES <= max_bytes <= MAX_BYTES:
        raise WireError("refused", "max_bytes is {!r}, expected {} to {}".format(max_bytes, FIRST_BYTES, MAX_BYTES))
    return Asked(Endpoint(url, token, ca_file), float(duration_s), max_bytes)
