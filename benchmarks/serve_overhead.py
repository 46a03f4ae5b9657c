"""`edgewise serve` against a hand-written raw HTTP server and raw TCP: `python -m benchmarks.serve_overhead`.

One client, keep-alive, loopback. 4 KB or 1 MB go up, 4 KB come back. All servers are processes of their own and take
turns within each round; a ratio is the median of the rounds' ratios, so a machine that is busy with something else
slows both sides of it. "transport" is the server's HTTP alone (POST /edgewise/link), "inference" the whole way: JSON
header, onnxruntime (a Slice), JSON header; "raw OIP" does that by hand, in the connection's own thread. Beside them,
where they are installed: the same server over gRPC, and a tritonserver (nvidia-pytriton, `make pytriton`, or what
EDGEWISE_PYTRITON_PYTHON names) that runs the same model in its Python backend.
"""

from __future__ import annotations

import http.client
import json
import socket
import statistics
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from importlib.util import find_spec
from pathlib import Path

import numpy as np
from onnx import ModelProto, TensorProto, helper, numpy_helper

from benchmarks.table import Line, show
from exporters.runtime import Session
from tests.support.cli import start_edgewise
from tests.support.onnx_models import model
from tests.support.pytriton import PYTHON, tritonserver
from tests.support.served_packages import server_package

SIZES = (4 << 10, 1 << 20)
ANSWER = bytes(4096)
ROUNDS, REQUESTS = 60, 15
GOAL = 1.5
PAIRS = (("transport", "raw HTTP"), ("inference", "raw OIP"), ("inference", "raw HTTP"), ("transport", "raw TCP"))
OTHERS = ("gRPC", "pytriton")  # "inference" is shown against each
RAW_HEAD = b"HTTP/1.1 200 OK\r\nContent-Type: application/octet-stream\r\nContent-Length: 4096\r\n\r\n"


def raw_http(peer: socket.socket) -> None:
    """The least that is HTTP: finds the length, receives the body into its memory, answers."""
    data = b""
    while True:
        while b"\r\n\r\n" not in data:
            part = peer.recv(65536)
            if not part:
                return
            data += part
        head, _, rest = data.partition(b"\r\n\r\n")
        length = next(int(line[15:]) for line in head.split(b"\r\n") if line.lower().startswith(b"content-length:"))
        body = memoryview(bytearray(length))
        body[: len(rest)], at, data = rest, len(rest), b""
        while at < length:
            at += peer.recv_into(body[at:])
        peer.sendall(RAW_HEAD + ANSWER)


def raw_oip(peer: socket.socket) -> None:
    """The same, with what any server of the protocol must do: JSON, the model's run in place, JSON."""
    session, data, name = Session(Path(sys.argv[2]), "cut"), b"", b"inference-header-content-length:"
    while True:
        while b"\r\n\r\n" not in data:
            part = peer.recv(65536)
            if not part:
                return
            data += part
        head, _, rest = data.partition(b"\r\n\r\n")
        told = {line.partition(b":")[0].lower() + b":": line.partition(b":")[2] for line in head.split(b"\r\n")}
        body, at, data = memoryview(bytearray(int(told[b"content-length:"]))), len(rest), b""
        body[:at] = rest
        while at < len(body):
            at += peer.recv_into(body[at:])
        asked = json.loads(bytes(body[: int(told[name])]))["inputs"][0]
        array = np.frombuffer(body, np.uint8, offset=int(told[name])).reshape(asked["shape"])
        found = session.run({asked["name"]: array})[0]
        tensor = {"name": "y", "datatype": "UINT8", "shape": [4096], "parameters": {"binary_data_size": found.nbytes}}
        told_json = json.dumps({"model_name": "cut", "model_version": "1", "outputs": [tensor]}).encode()
        peer.sendall(
            b"HTTP/1.1 200 OK\r\nContent-Type: application/octet-stream\r\nContent-Length: %d\r\n"
            b"Inference-Header-Content-Length: %d\r\n\r\n"
            % (len(told_json) + found.nbytes, len(told_json))
            + told_json
            + found.tobytes()
        )


def raw_tcp(peer: socket.socket) -> None:
    """Eight bytes of length, the body, 4 KB back."""
    head = bytearray(8)
    while peer.recv_into(head, 8, socket.MSG_WAITALL):
        body, at = memoryview(bytearray(int.from_bytes(head, "little"))), 0
        while at < len(body):
            at += peer.recv_into(body[at:])
        peer.sendall(ANSWER)


def listen(talk: Callable[[socket.socket], None]) -> None:
    """Serves on a free port, which it prints, with a thread for each client."""
    listener = socket.create_server(("127.0.0.1", 0))
    print(listener.getsockname()[1], flush=True)
    while True:
        peer, _ = listener.accept()
        peer.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        threading.Thread(target=talk, args=(peer,), daemon=True).start()


@contextmanager
def other(kind: str, *arguments: str) -> Iterator[int]:
    """The port of a server of that kind in a process of its own."""
    command = [sys.executable, "-m", "benchmarks.serve_overhead", kind, *arguments]
    process = subprocess.Popen(command, stdout=subprocess.PIPE)
    try:
        yield int(process.stdout.readline())
    finally:
        process.kill()
        process.wait()


def cut() -> ModelProto:
    """A model that gives back its first 4096 bytes."""
    bounds = [numpy_helper.from_array(np.array([value], np.int64), name) for name, value in (("a", 0), ("b", 4096))]
    return model(
        [helper.make_node("Slice", ["x", "a", "b"], ["y"])],
        [("x", TensorProto.UINT8, ["n"])],
        [("y", TensorProto.UINT8, [4096])],
        bounds,
    )


@contextmanager
def ours(folder: Path, *grpc: str) -> Iterator[int]:
    """The port of `edgewise serve` with that model: of HTTP, or of gRPC when that is asked for."""
    process = start_edgewise("serve", str(folder / "cut.split"), "--port", "0", *grpc, cwd=folder)
    try:
        for _ in grpc[:1]:
            process.stdout.readline()
        yield int(process.stdout.readline().rsplit(":", 1)[1])
    finally:
        process.kill()
        process.wait()


@contextmanager
def triton(folder: Path) -> Iterator[int | None]:
    """The port of a tritonserver with that model, None where there is none."""
    if not PYTHON.is_file():
        yield None
        return
    with tritonserver(folder / "cut.split", log=folder / "triton.log") as ports:
        yield ports["http"]


def over_grpc(port: int, size: int, stack: ExitStack) -> Callable[[], int]:
    """A request over gRPC, its message made anew each time."""
    import grpc

    from offload.serve.grpc_messages import SERVICE, classes

    channel = stack.enter_context(grpc.insecure_channel(f"127.0.0.1:{port}"))
    asked, data = classes()["ModelInferRequest"], bytes(size)
    infer = channel.unary_unary(
        f"/{SERVICE}/ModelInfer", lambda m: m.SerializeToString(), classes()["ModelInferResponse"].FromString
    )

    def once() -> int:
        message = asked(model_name="cut.p1", raw_input_contents=[data])
        message.inputs.add(name="x", datatype="UINT8", shape=[size])
        return len(infer(message).raw_output_contents[0])

    return once


def over_http(port: int, path: str, body: bytes, headers: dict[str, str]) -> Callable[[], int]:
    """Sends the body once more over a kept connection; gives the answer's size."""
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=60)
    connection.connect()
    connection.sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)

    def once() -> int:
        connection.request("POST", path, body, headers)
        answer = connection.getresponse()
        assert answer.status == 200
        return len(answer.read())

    return once


def over_tcp(port: int, body: bytes) -> Callable[[], int]:
    """The same over raw TCP."""
    peer = socket.create_connection(("127.0.0.1", port), timeout=60)
    peer.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    answer = bytearray(len(ANSWER))

    def once() -> int:
        peer.sendall(len(body).to_bytes(8, "little"))
        peer.sendall(body)
        return peer.recv_into(answer, len(answer), socket.MSG_WAITALL)

    return once


def inference(size: int) -> tuple[bytes, dict[str, str]]:
    """The body and headers of a request of ``size`` bytes, as a client of the protocol sends it."""
    tensor = {"name": "x", "datatype": "UINT8", "shape": [size], "parameters": {"binary_data_size": size}}
    wanted = {"name": "y", "parameters": {"binary_data": True}}
    head = json.dumps({"inputs": [tensor], "outputs": [wanted]}, separators=(",", ":")).encode()
    return head + bytes(size), {"Inference-Header-Content-Length": str(len(head))}


def measure(ways: dict[str, Callable[[], int]]) -> dict[str, list[list[float]]]:
    """The seconds of each request, by round, for each way."""
    rounds: dict[str, list[list[float]]] = {name: [] for name in ways}
    for _ in range(ROUNDS):
        for name, once in ways.items():
            once()
            times = []
            for _ in range(REQUESTS):
                began = time.perf_counter()
                assert once() >= len(ANSWER)
                times.append(time.perf_counter() - began)
            rounds[name].append(sorted(times))
    return rounds


def compare(title: str, found: dict[str, list[list[float]]], what: str, peer: str, pick: int) -> Line:
    """One line: of each round the request of that rank, the median over the rounds."""
    own, others = ([times[pick] for times in found[name]] for name in (what, peer))
    ratio = statistics.median(a / b for a, b in zip(own, others, strict=True))
    shown = [f"{statistics.median(times) * 1e6:.0f} us" for times in (own, others)]
    goal = f"<= {GOAL}" if (what, peer) in PAIRS[:2] and pick else "shown"
    return Line(f"{title}: {what} against {peer}", shown[0], shown[1], ratio, goal)


def main() -> None:
    """Prints the ratios."""
    lines = []
    with ExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory()))
        path = folder / "cut.onnx"
        path.write_bytes(cut().SerializeToString())
        servers = (other("raw-http"), other("raw-oip", str(path)), other("raw-tcp"))
        server_package(folder / "cut.split", cut(), "cut")
        served = stack.enter_context(ours(folder))
        # A process of its own: gRPC's threads in it would cost each HTTP request a share of the interpreter.
        grpc_port = stack.enter_context(ours(folder, "--grpc", "0")) if find_spec("grpc") else None
        http_port, oip_port, tcp_port = map(stack.enter_context, servers)
        triton_port = stack.enter_context(triton(folder))
        for size in SIZES:
            body, headers = inference(size)
            ways = {
                "raw HTTP": over_http(http_port, "/", bytes(size), {}),
                "raw OIP": over_http(oip_port, "/", body, headers),
                "raw TCP": over_tcp(tcp_port, bytes(size)),
                "transport": over_http(served, "/edgewise/link?down=4096", bytes(size), {}),
                "inference": over_http(served, "/v2/models/cut.p1/infer", body, headers),
            }
            if grpc_port is not None:
                ways["gRPC"] = over_grpc(grpc_port, size, stack)
            if triton_port is not None:
                ways["pytriton"] = over_http(triton_port, "/v2/models/cut.p1/infer", body, headers)
            found = measure(ways)
            pairs = (*PAIRS, *(("inference", name) for name in OTHERS if name in found))
            for title, pick in (("p50", REQUESTS // 2), ("best of each round", 0)):
                lines += [compare(f"{size >> 10} KiB, {title}", found, what, peer, pick) for what, peer in pairs]
    show("Request overhead of `edgewise serve`, one client", lines)


if __name__ == "__main__":
    if len(sys.argv) > 1:
        listen({"raw-http": raw_http, "raw-oip": raw_oip, "raw-tcp": raw_tcp}[sys.argv[1]])
    main()
