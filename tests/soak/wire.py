"""Hostile frames, requests and answers in numbers: `python -m tests.soak.wire --frames 1000000`.

Right ones of every kind are made, then damaged: bytes changed, cut, doubled, sizes and dimensions set to what they
cannot be, with and without a right check sum. What takes them - codecs, the server's parser of heads and bodies, its
compressed bodies, gRPC's messages, the device's parser of answers - must give a result or refuse in its own words. Any
other exception is a fault, and so is memory: nothing may be made that is larger than the limit, so the process may not
grow. A part of all requests goes to a server over a socket, which must still answer a right one at the end.
"""

from __future__ import annotations

import argparse
import gzip
import json
import random
import resource
import socket
import struct
import sys
import tempfile
import time
import zlib
from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np

from device_agents.split import wire
from device_agents.split.codecs import available, decode, encode
from device_agents.split.delta import Sender, Streams
from device_agents.split.frames import CodecError
from offload.serve import compressed, oip
from offload.serve.app import Limits
from offload.serve.messages import Refused, parse_head
from tests.support.onnx_models import identity
from tests.support.served_packages import server_package
from tests.support.serving import ask, post, serving

LIMIT_BYTES = 1 << 20  # of what one frame may become
GROWTH_BYTES = 64 << 20  # of the process, from its first thousand frames on
CODECS = (
    "raw", "raw+zlib", "raw+zstd", "raw+lz4", "fp16", "fp16+zlib", "q8", "q4", "q2", "q8.c", "q8+zlib", "q4+zstd",
    "q2+lz4", "q4.c+zlib", "delta:q8+zlib", "delta:q4", "jpeg90", "webp80",
)  # fmt: skip
NUMBERS = (0, 1, 2, 7, 127, 128, 255, 256, 65_535, 2**31 - 1, 2**31, 2**32 - 1, 2**63, 2**64 - 1)
EVERY = 400  # one of so many requests goes over a socket

Try = Callable[[bytes], Any]


def damaged(data: bytes, rng: random.Random) -> bytes:
    """The bytes with one to four things wrong."""
    made = bytearray(data)
    for _ in range(rng.choice((1, 1, 2, 4))):
        if not made:
            break
        at, kind = rng.randrange(len(made)), rng.randrange(7)
        if kind == 0:
            made[at] = rng.randrange(256)
        elif kind == 1:
            made[at] ^= 1 << rng.randrange(8)
        elif kind == 2:
            del made[at:]
        elif kind == 3:
            made[at:at] = made[at : at + rng.randrange(1, 40)]
        elif kind == 4:
            width = rng.choice((1, 2, 4, 8))
            made[at : at + width] = (rng.choice(NUMBERS) % (1 << 8 * width)).to_bytes(width, "little")
        elif kind == 5:
            del made[at : at + rng.randrange(1, 20)]
        else:
            made[at : at + 8] = rng.randbytes(8)
    return bytes(made)


def summed(data: bytes) -> bytes:
    """A frame with the check sum that its bytes have: else all that is damaged ends there."""
    return data[:-4] + struct.pack("<I", zlib.crc32(data[:-4])) if len(data) > 4 else data


def frames() -> list[bytes]:
    """Right frames of every codec that is installed here."""
    values = np.random.default_rng(0)
    arrays = [values.normal(size=shape).astype(np.float32) for shape in ((1, 3, 8, 12), (2, 1, 5, 4), (1, 3, 16, 16))]
    made = []
    for name in CODECS:
        if available(name) is None:
            sender = Sender() if name.startswith("delta") else None
            for array in arrays:
                made.append(encode(array, name, None, sender))
                if sender is not None:
                    sender.accepted(sender.number)
    return made


def request() -> tuple[bytes, int]:
    """A right request of the protocol and the length of its JSON."""
    tensors = [
        {"name": "x", "datatype": "FP32", "shape": [3, 4], "parameters": {"binary_data_size": 48}},
        {"name": "y", "datatype": "UINT8", "shape": [9], "parameters": {"binary_data_size": 9, "edgewise_codec": "q8"}},
    ]
    outputs = [{"name": "z", "parameters": {"binary_data": True, "edgewise_codec": "q8+zlib"}}]
    told = {"edgewise_package": "0" * 64, "edgewise_deadline_ms": 100}
    head = json.dumps({"id": "seven", "inputs": tensors, "outputs": outputs, "parameters": told}).encode()
    return head + bytes(range(57)), len(head)


def answer() -> tuple[bytes, int]:
    """A right answer of the protocol and the length of its JSON."""
    outputs = [
        {"name": "z", "datatype": "FP32", "shape": [2, 2], "parameters": {"binary_data_size": 16}},
        {"name": "w", "datatype": "INT64", "shape": [2], "data": [1, 2]},
    ]
    head = json.dumps({"model_name": "m", "outputs": outputs, "parameters": {"queue_ns": 5}}).encode()
    return head + bytes(16), len(head)


def ways() -> dict[str, tuple[list[bytes], Try, tuple[type[BaseException], ...]]]:
    """{name: (right examples, what takes them, what it may raise)}."""
    listed = json.dumps(
        {"inputs": [{"name": "x", "datatype": "INT8", "shape": [2, 2], "data": [[1, 2], [3, 4]]}]}
    ).encode()
    streams, (asked, asked_head), (told, told_head) = Streams(LIMIT_BYTES), request(), answer()
    http = post("/v2/models/echo.p1/infer", b"", f"Inference-Header-Content-Length: {asked_head}", "Expect: x")
    found: dict[str, tuple[list[bytes], Try, tuple[type[BaseException], ...]]] = {
        "frames": (frames(), lambda data: decode(data, LIMIT_BYTES, streams), (CodecError,)),
        "bodies": ([asked], lambda data: oip.parse_request(memoryview(data), min(asked_head, len(data))), (Refused,)),
        "JSON": ([listed], lambda data: oip.parse_request(memoryview(data), None), (Refused,)),
        "heads": ([http], parse_head, (Refused,)),
        "answers": ([told], lambda data: wire._parse(data, str(told_head)), (wire.WireError,)),
    }
    for coding, pack in (("gzip", gzip.compress), ("deflate", zlib.compress), ("zstd", _zstd)):
        bomb = pack(bytes(8 * LIMIT_BYTES))
        taker = _opener(coding)
        found[coding] = ([pack(asked), bomb], taker, (Refused,))
    found.update(_grpc())
    return found


def _zstd(data: bytes) -> bytes:
    import zstandard

    packed: bytes = zstandard.ZstdCompressor().compress(data)
    return packed


def _opener(coding: str) -> Try:
    return lambda data: compressed.opened(memoryview(data), coding, LIMIT_BYTES)


def _grpc() -> dict[str, tuple[list[bytes], Try, tuple[type[BaseException], ...]]]:
    from exporters.runtime import decode_error
    from offload.serve.grpc_messages import classes
    from offload.serve.grpc_server import request_of

    message = classes()["ModelInferRequest"]
    right = message(model_name="echo.p1", id="seven", raw_input_contents=[bytes(48)])
    right.inputs.add(name="x", datatype="FP32", shape=[3, 4]).parameters["edgewise_codec"].string_param = ""
    right.parameters["edgewise_deadline_ms"].int64_param = 100

    def take(data: bytes) -> Any:
        asked = message()
        asked.ParseFromString(data)
        return request_of(asked, 1.0)

    return {"gRPC": ([right.SerializeToString()], take, (Refused, decode_error()))}


def resident_bytes() -> int:
    """Memory of this process now."""
    pages = int(Path("/proc/self/statm").read_text().split()[1])
    return pages * resource.getpagesize()


def attempts(count: int, seed: int) -> Iterator[tuple[str, bytes, Try, tuple[type[BaseException], ...]]]:
    """So many damaged ones, most of them frames."""
    rng, known = random.Random(seed), ways()
    names = list(known)
    weights = [6 if name == "frames" else 1 for name in names]
    for _ in range(count):
        (name,) = rng.choices(names, weights)
        examples, take, errors = known[name]
        data = damaged(rng.choice(examples), rng)
        if name == "frames" and rng.random() < 0.8:
            data = summed(data)
        yield name, data, take, errors


def over_a_socket(address: tuple[str, int], data: bytes) -> None:
    """Sends what there is and takes whatever comes."""
    with socket.create_connection(address, timeout=20) as peer:
        try:
            peer.sendall(data)
            peer.shutdown(socket.SHUT_WR)
            while peer.recv(65_536):
                pass
        except ConnectionError:
            return


def main() -> int:
    """Prints what was tried and what is wrong; 1 when anything is."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--frames", type=int, default=1_000_000)
    parser.add_argument("--seed", type=int, default=1)
    asked = parser.parse_args()
    body, head_length = request()
    right = post("/v2/models/echo.p1/infer", body, f"Inference-Header-Content-Length: {head_length}")
    tried: Counter[str] = Counter()
    refused: Counter[str] = Counter()
    faults, before, most, sent = 0, 0, 0, 0
    began, rng = time.monotonic(), random.Random(asked.seed)
    with tempfile.TemporaryDirectory() as folder:
        server_package(Path(folder) / "echo.split", identity(1, ["n"]), "echo")
        with serving(Path(folder) / "echo.split", limits=Limits(max_body=LIMIT_BYTES)) as served:
            served.log.clear()
            for number, (name, data, take, errors) in enumerate(attempts(asked.frames, asked.seed)):
                tried[name] += 1
                try:
                    take(data)
                except errors:
                    refused[name] += 1
                except Exception as error:  # noqa: BLE001 - any other is what is looked for
                    faults += 1
                    print(f"{name}: {type(error).__name__}: {error}; {data[:200]!r}", flush=True)
                if number % EVERY == 0:
                    over_a_socket(served.address, damaged(right, rng))
                    sent += 1
                    served.log.clear()
                if number % 1000 == 999:
                    most = max(most, resident_bytes())
                    before = before or most
            array = np.arange(5, dtype=np.float32)
            answered = wire.array_of(ask(served.url, "echo.p1", {"x": array}, ["y"]).tensors["y"])
            counted = [one for family in served.metrics.registry.collect() for one in family.samples]
            own_faults = sum(one.value for one in counted if one.name == "edgewise_serve_faults_total")
            alive = np.array_equal(answered, array) and not own_faults
    grown = most - before
    print(f"{asked.frames} in {time.monotonic() - began:.0f} s; {sent} damaged requests over a socket")
    for name, count in tried.items():
        print(f"  {name}: {count}, {refused[name]} refused")
    print(f"memory grew by {grown / 2**20:.1f} MiB from {before / 2**20:.0f}; {faults} faults; server answers: {alive}")
    return 0 if alive and not faults and grown < GROWTH_BYTES else 1


if __name__ == "__main__":
    sys.exit(main())
