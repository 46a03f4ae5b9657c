"""What clients and disks do wrong: every request is answered or refused in words, and memory stays bounded."""

from __future__ import annotations

import contextlib
import json
import os
import socket
import struct
import sys
import threading
import time
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from onnx import TensorProto

from device_agents.split.codecs import encode
from device_agents.split.package import Package
from device_agents.split.wire import Endpoint, Wire, WireError, array_of, coded, plain
from mobile.errors import ModelError
from offload.serve import models
from offload.serve.app import Limits
from offload.serve.connection import Patience
from tests.support.gate import Gate
from tests.support.onnx_models import identity
from tests.support.served_packages import server_package
from tests.support.serving import ask, error_of, exchange, get, post, read_answer, serving

ONE = {"x": np.ones(3, np.float32)}
INFER = "/v2/models/echo.p1/infer"


def resident_kib() -> int:
    return int(next(line for line in Path("/proc/self/status").read_text().splitlines() if "VmRSS" in line).split()[1])


@pytest.mark.parametrize(
    ("data", "status"),
    [(b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03\r\n\r\n", 400), (b"GET / HTTP/9.9\r\n\r\n", 400),
     (b"GET /v2 HTTP/1.1\r\nno colon\r\n\r\n", 400), (b"X" * 40_000, 431), (b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n", 400),
     (post(INFER, b"").replace(b"Content-Length: 0", b"Content-Length: -1"), 400),
     (post(INFER, b"").replace(b"Content-Length: 0", b"Content-Length: 1e3"), 400),
     (post(INFER, b"", "Content-Length: 7"), 400), (post(INFER, b"", "Transfer-Encoding: chunked"), 400),
     (post(INFER, b"", "Inference-Header-Content-Length: x"), 400),
     (post(INFER, b"{}", "Inference-Header-Content-Length: 3"), 400),
     (get("/v2", *(f"h{i}: x" for i in range(200))), 431), (post(INFER, b"\xff\xfe{}"), 400),
     (post(INFER, b"[" * 100_000), 400), (post(INFER, b'{"inputs":[{"name":"x"}]}'), 400)],
)  # fmt: skip
def test_garbage_is_refused_in_words_and_the_server_goes_on(echo: Package, data: bytes, status: int) -> None:
    with serving(echo.path) as served:
        found, _, body = exchange(served, data)
        assert found == status
        assert error_of(body)
        assert array_of(ask(served.url, "echo.p1", ONE, ["y"]).tensors["y"]).tolist() == [1, 1, 1]


def test_a_request_that_is_cut_anywhere_disturbs_nobody(echo: Package) -> None:
    head = json.dumps(
        {"inputs": [{"name": "x", "datatype": "FP32", "shape": [3], "parameters": {"binary_data_size": 12}}]}
    ).encode()
    data = post(INFER, head + bytes(12), f"Inference-Header-Content-Length: {len(head)}")
    with serving(echo.path) as served:
        for end in range(0, len(data), 7):
            with served.connect() as peer:
                peer.sendall(data[:end])
        for _ in range(20):  # and with a reset instead of an orderly end
            with served.connect() as peer:
                peer.sendall(data[:-1])
                peer.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        assert exchange(served, data)[0] == 200
        end = time.monotonic() + 10
        while served.server._connections and time.monotonic() < end:
            time.sleep(0.01)
        assert not served.server._connections
        assert served.server.app._bodies == 0


def test_a_slow_client_is_let_go_and_others_are_served_meanwhile(echo: Package) -> None:
    patience = Patience(idle_s=0.5, head_s=0.5, body_s=0.5, linger_s=0.5)
    with serving(echo.path, patience=patience) as served:
        idle, head, body = served.connect(), served.connect(), served.connect()
        head.sendall(b"GET /v2 HT")
        body.sendall(post(INFER, b"").replace(b"Content-Length: 0", b"Content-Length: 1000000") + b"{")
        assert ask(served.url, "echo.p1", ONE, ["y"])
        assert read_answer(head)[0] == 408
        assert read_answer(body)[0] == 408
        assert idle.recv(1) == b""
        for peer in (idle, head, body):
            peer.close()


def test_too_large_a_body_is_refused_before_it_is_in_memory_and_the_client_sees_why(echo: Package) -> None:
    with serving(echo.path, limits=Limits(max_body=1 << 20, bodies=4 << 20)) as served:
        before = resident_kib()
        wire = Wire(Endpoint(served.url))
        with pytest.raises(WireError) as caught:
            wire.infer("echo.p1", [plain("x", np.zeros(8 << 20, np.float32))], ["y"], 30.0)
        assert caught.value.kind == "too-large"
        assert resident_kib() - before < 16_000 + 32_000  # the array of this test, and not once more
        # The refused body was read past, so the same connection goes on.
        assert wire.infer("echo.p1", [plain("x", ONE["x"])], ["y"], 30.0)
        wire.close()
        huge = post(INFER, b"").replace(b"Content-Length: 0", b"Content-Length: 999999999999")
        status, headers, _ = exchange(served, huge)
        assert (status, headers["connection"]) == (413, "close")


def test_a_body_in_chunks_is_taken_and_bounded(echo: Package) -> None:
    body = json.dumps({"inputs": [{"name": "x", "datatype": "FP32", "shape": [2], "data": [1, 2]}]}).encode()
    start = f"POST {INFER} HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n".encode()
    chunked = b"".join(b"%x\r\n%s\r\n" % (len(part), part) for part in (body[:10], body[10:])) + b"0\r\n\r\n"
    with serving(echo.path, limits=Limits(max_body=1 << 20, bodies=4 << 20)) as served:
        status, _, answer = exchange(served, start + chunked)
        assert (status, json.loads(answer)["outputs"][0]["data"]) == (200, [1.0, 2.0])
        assert exchange(served, start, chunked)[0] == 200
        assert exchange(served, start + b"zz\r\n")[0] == 400
        flood = b"%x\r\n%s\r\n" % (1 << 18, bytes(1 << 18))
        assert exchange(served, start, flood * 5)[0] == 413


def test_a_client_that_waits_for_leave_to_send_gets_it_or_the_refusal(echo: Package) -> None:
    body = json.dumps({"inputs": [{"name": "x", "datatype": "FP32", "shape": [1], "data": [1]}]}).encode()
    asking = post(INFER, b"", "Expect: 100-continue").replace(b"Length: 0", b"Length: %d" % len(body))
    with serving(echo.path) as served:
        with served.connect() as peer:
            peer.sendall(asking)
            assert peer.recv(100) == b"HTTP/1.1 100 Continue\r\n\r\n"
            peer.sendall(body)
            assert read_answer(peer)[0] == 200
        assert exchange(served, asking.replace(b"echo.p1", b"nothing"))[0] == 404


def test_requests_in_one_packet_are_answered_in_order(echo: Package) -> None:
    many = 1500
    with serving(echo.path) as served, served.connect() as peer:
        sender = threading.Thread(target=peer.sendall, args=(get("/v2/health/live") * many,))
        sender.start()
        data = b""
        while data.count(b"HTTP/1.1 200") < many:
            part = peer.recv(1 << 20)
            assert part
            data += part
        sender.join()


@pytest.mark.parametrize("given", ["", "Bearer wrong", "Basic s3cret", "Bearer", "Bearer s3cret2", "bearer s3cre"])
def test_without_the_right_token_nothing_is_told_but_health(echo: Package, given: str) -> None:
    header = [f"Authorization: {given}"] if given else []
    with serving(echo.path, token="s3cret") as served:
        for path in ("/v2", "/v2/models/echo.p1", "/v2/models/nothing", "/metrics"):
            status, headers, body = exchange(served, get(path, *header))
            assert (status, headers["www-authenticate"]) == (401, "Bearer")
            assert "s3cret" not in error_of(body)
        assert exchange(served, post(INFER, bytes(1_000_000), *header))[0] == 401
        assert exchange(served, get("/v2/health/live"))[0] == 200
        assert exchange(served, get("/v2", "Authorization: Bearer s3cret"))[0] == 200
        assert ask(served.url, "echo.p1", ONE, ["y"], token="s3cret")
        assert "s3cret" not in json.dumps(served.log)


def test_the_half_of_another_package_is_refused(echo: Package) -> None:
    with serving(echo.path) as served:
        with pytest.raises(WireError) as caught:
            ask(served.url, "echo.p1", ONE, ["y"], parameters={"edgewise_package": "0" * 64})
        assert caught.value.kind == "foreign"
        with pytest.raises(WireError) as caught:
            ask(served.url, "other.p1", ONE, ["y"])
        assert caught.value.kind == "unknown-model"


def hostile(array: np.ndarray, codec: str, at: int, value: bytes) -> bytes:
    import zlib

    frame = bytearray(encode(array, codec))
    frame[at : at + len(value)] = value
    return bytes(frame[:-4]) + struct.pack("<I", zlib.crc32(bytes(frame[:-4])))


def test_hostile_frames_are_refused_before_they_take_memory(echo: Package, fashion: Package) -> None:
    picture = np.zeros((1, 1, 28, 28), np.float32)
    bomb = np.zeros(200_000_000, np.uint8)
    frames = [
        b"",
        b"EWC1" + os.urandom(60),
        encode(picture, "q8")[:-9],
        hostile(picture, "q8+zlib", 12, struct.pack("<4I", 2**31, 2**31, 2, 2)),
        encode(bomb, "raw+zlib"),
    ]
    with serving(echo.path, fashion.path, limits=Limits(max_body=8 << 20, bodies=64 << 20)) as served:
        del bomb
        before = resident_kib()
        for model, name in (("fashion.p3", fashion.inputs[0].name), ("echo.p1", "x")):
            for frame in frames:
                wire = Wire(Endpoint(served.url))
                with pytest.raises(WireError, match="400"):
                    wire.infer(model, [coded(name, frame, "q8+zlib")], ["y"], 30.0)
                wire.close()
        assert resident_kib() - before < 64_000
        assert ask(served.url, "echo.p1", ONE, ["y"])


def test_a_model_file_that_is_gone_or_changed_is_not_run(folder: Path) -> None:
    package = server_package(folder, identity(TensorProto.FLOAT, ["n"]), "own")
    file = Path(package.file_of(package.placements["p1"].parts[0]))
    content = file.read_bytes()
    with serving(folder) as served:
        for damaged in (None, content[:-1], content[:-1] + b"!"):
            file.unlink() if damaged is None else file.write_bytes(damaged)
            status, _, body = exchange(
                served,
                post("/v2/models/own.p1/infer", b'{"inputs":[{"name":"x","datatype":"FP32","shape":[1],"data":[1]}]}'),
            )
            assert (status, "cannot be loaded" in error_of(body)) == (500, True)
        file.write_bytes(content)
        assert ask(served.url, "own.p1", ONE, ["y"])


def test_a_file_that_is_no_model_is_refused_by_its_own_request_only(folder: Path, echo: Package) -> None:
    import hashlib

    from device_agents.split import package as reading

    server_package(folder, identity(TensorProto.FLOAT, ["n"]), "own")
    manifest = json.loads((folder / "manifest.json").read_text())
    rubbish = b"not a model"
    part = manifest["placements"][1]["parts"][0]
    part["sha256"] = hashlib.sha256(rubbish).hexdigest()
    part["file"], part["size_bytes"] = f"parts/{part['sha256'][:16]}.onnx", len(rubbish)
    (folder / part["file"]).write_bytes(rubbish)
    manifest["id"] = reading.identity(manifest)
    (folder / "manifest.json").write_text(json.dumps(manifest))
    with serving(folder, echo.path) as served:
        with pytest.raises(WireError, match="500"):
            ask(served.url, "own.p1", ONE, ["y"])
        assert ask(served.url, "echo.p1", ONE, ["y"])


def test_packages_that_are_damaged_or_of_one_name_are_refused_at_the_start(echo: Package, tmp_path: Path) -> None:
    with pytest.raises(ModelError, match=r"manifest\.json"):
        models.load([str(tmp_path)])
    other = server_package(tmp_path / "other.split", identity(TensorProto.FLOAT, [7]), "echo")
    with pytest.raises(ModelError, match=r"echo\.p1 is also in"):
        models.load([echo.path, other.path])


def test_a_full_queue_answers_busy_and_serves_again_later(echo: Package) -> None:
    gate = Gate()
    with serving(echo.path, engine=gate, limits=Limits(queue=2)) as served:
        threads = [threading.Thread(target=ask, args=(served.url, "echo.p1", ONE, ["y"])) for _ in range(2)]
        for thread in threads:
            thread.start()
        gate.wait_for(1)
        while served.server.app.load < 2:
            time.sleep(0.01)
        status, headers, body = exchange(served, post(INFER, bytes(1000)))
        assert (status, headers["retry-after"], error_of(body)) == (503, "1", "the server is busy")
        gate.open()
        for thread in threads:
            thread.join()
        assert ask(served.url, "echo.p1", ONE, ["y"])
        assert served.server.app.load == 0


def test_bodies_that_do_not_fit_into_memory_together_have_to_come_later(echo: Package) -> None:
    with serving(echo.path, limits=Limits(max_body=1 << 20, bodies=3 << 19)) as served:
        with served.connect() as first:
            head = b"Inference-Header-Content-Length: 2\r\nContent-Length: 1000000"
            first.sendall(post(INFER, b"").replace(b"Content-Length: 0", head) + b"{}")
            end = time.monotonic() + 20
            while served.server.app._bodies != 1_000_000 and time.monotonic() < end:
                time.sleep(0.01)
            data = post(INFER, bytes(1_000_000), "Inference-Header-Content-Length: 2")
            assert exchange(served, data)[0] == 503
        end = time.monotonic() + 20
        while served.server.app._bodies and time.monotonic() < end:
            time.sleep(0.01)
        assert exchange(served, data)[0] == 400


def test_frames_that_decode_to_too_much_together_have_to_come_later(echo: Package) -> None:
    gate, frame = Gate(), encode(np.zeros(200_000, np.float32), "q8+zlib")
    with serving(echo.path, engine=gate, limits=Limits(max_body=1 << 20, bodies=1 << 20)) as served:
        wires = [Wire(Endpoint(served.url)) for _ in range(2)]
        tensors = [coded("x", frame, "q8+zlib")]
        first = threading.Thread(target=wires[0].infer, args=("echo.p1", tensors, ["y"], 60.0))
        first.start()
        gate.wait_for(1)
        with pytest.raises(WireError) as caught:
            wires[1].infer("echo.p1", tensors, ["y"], 60.0)
        assert caught.value.kind == "busy"
        gate.open()
        first.join()
        assert wires[1].infer("echo.p1", tensors, ["y"], 60.0)
        for wire in wires:
            wire.close()


def test_the_same_on_the_standard_library_s_event_loop(echo: Package, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "uvloop", None)
    big = np.arange(1 << 20, dtype=np.float32)
    with serving(echo.path, limits=Limits(max_body=8 << 20)) as served:
        assert type(served.loop).__module__.startswith("asyncio")
        for _ in range(3):
            np.testing.assert_array_equal(array_of(ask(served.url, "echo.p1", {"x": big}, ["y"]).tensors["y"]), big)
        assert exchange(served, post(INFER, bytes(9 << 20)))[0] == 413
        assert exchange(served, b"nonsense\r\n\r\n")[0] == 400


@pytest.mark.parametrize("deadline_ms", [0, -5])
def test_what_is_late_is_not_run(echo: Package, deadline_ms: int) -> None:
    gate = Gate(closed=False)
    with serving(echo.path, engine=gate) as served, pytest.raises(WireError) as caught:
        ask(served.url, "echo.p1", ONE, ["y"], parameters={"edgewise_deadline_ms": deadline_ms})
    assert caught.value.kind == "late"
    assert gate.runs == 0


def test_a_request_whose_deadline_passes_in_the_queue_is_not_run(echo: Package) -> None:
    gate, caught = Gate(), []

    def late() -> None:
        try:
            ask(served.url, "echo.p1", ONE, ["y"], parameters={"edgewise_deadline_ms": 50})
        except WireError as error:
            caught.append(error.kind)

    with serving(echo.path, engine=gate) as served:
        first = threading.Thread(target=ask, args=(served.url, "echo.p1", ONE, ["y"]))
        first.start()
        gate.wait_for(1)
        second = threading.Thread(target=late)
        second.start()
        while served.server.app.load < 2:
            time.sleep(0.01)
        time.sleep(0.1)
        gate.open()
        first.join()
        second.join()
    assert caught == ["late"]
    assert gate.runs == 1


def test_a_request_of_a_client_that_has_gone_is_not_run(echo: Package) -> None:
    gate = Gate()
    with serving(echo.path, engine=gate) as served:
        first = threading.Thread(target=ask, args=(served.url, "echo.p1", ONE, ["y"]))
        first.start()
        gate.wait_for(1)
        with served.connect() as peer:
            peer.sendall(post(INFER, b'{"inputs":[{"name":"x","datatype":"FP32","shape":[1],"data":[1]}]}'))
            while served.server.app.load < 2:
                time.sleep(0.01)
        while len(served.server._connections) > 1:
            time.sleep(0.01)
        gate.open()
        first.join()
        while served.server.app.load:
            time.sleep(0.01)
    assert gate.runs == 1


def test_a_model_that_raises_what_nobody_expects_answers_500_and_the_lane_goes_on(echo: Package) -> None:
    gate = Gate(closed=False, error=KeyError("secret detail"))
    with serving(echo.path, engine=gate) as served:
        for _ in range(2):
            status, _, body = exchange(
                served, post(INFER, b'{"inputs":[{"name":"x","datatype":"FP32","shape":[1],"data":[1]}]}')
            )
            assert (status, error_of(body)) == (500, "internal error: KeyError")


def test_memory_stays_bounded_under_a_mixture_of_good_and_bad_requests(echo: Package) -> None:
    big = np.zeros(1 << 18, np.float32)

    def many(seed: int) -> None:
        random = np.random.default_rng(seed)
        for _ in range(25):
            with contextlib.suppress(WireError, ConnectionError, OSError):
                choice = random.integers(4)
                if choice == 0:
                    exchange(served, bytes(random.integers(0, 256, 3000, dtype=np.uint8)) + b"\r\n\r\n")
                elif choice == 1:
                    with served.connect() as peer:
                        peer.sendall(post(INFER, b"").replace(b"Length: 0", b"Length: 1000000") + bytes(500_000))
                else:
                    ask(served.url, "echo.p1", {"x": big}, ["y"])

    with serving(echo.path, limits=Limits(max_body=2 << 20, bodies=16 << 20, queue=8)) as served:
        for round_number in range(4):
            threads = [threading.Thread(target=many, args=(seed,)) for seed in range(4)]
            for thread in threads:
                thread.start()
            for thread in threads:
                thread.join()
            if round_number == 0:
                before = resident_kib()
        assert resident_kib() - before < 48_000
        assert ask(served.url, "echo.p1", ONE, ["y"])


def test_tls_keeps_strangers_out_and_serves_who_trusts_its_certificate(echo: Package, tmp_path: Path) -> None:
    from tests.support.certificates import self_signed

    cert, key = self_signed(tmp_path)
    with serving(echo.path, cert=cert, key=key) as served:
        assert served.url.startswith("https://")
        assert ask(served.url, "echo.p1", {"x": np.ones(1 << 18, np.float32)}, ["y"], ca_file=str(cert))
        with pytest.raises(WireError):
            ask(served.url, "echo.p1", ONE, ["y"])
        with served.connect() as peer:
            peer.sendall(get("/v2"))
            with contextlib.suppress(ConnectionError):
                assert b"200" not in peer.recv(1000)
        assert ask(served.url, "echo.p1", ONE, ["y"], ca_file=str(cert))


def test_a_foreign_frame_name_is_told(echo: Package) -> None:
    tensor: dict[str, Any] = {"name": "x", "datatype": "UINT8", "shape": [4]}
    tensor["parameters"] = {"binary_data_size": 4, "edgewise_codec": "magic"}
    head = json.dumps({"inputs": [tensor]}).encode()
    with serving(echo.path) as served:
        data = post(INFER, head + bytes(4), f"Inference-Header-Content-Length: {len(head)}")
        status, _, body = exchange(served, data)
    assert (status, "magic" in error_of(body)) == (400, True)
