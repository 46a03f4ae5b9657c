"""`edgewise serve` as a user starts and ends it."""

from __future__ import annotations

import contextlib
import json
import signal
import socket
import subprocess
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from onnx import TensorProto, helper, numpy_helper

from device_agents.split.package import Package
from device_agents.split.wire import Endpoint, Wire, WireError, array_of
from tests.support.cli import edgewise, start_edgewise
from tests.support.onnx_models import model
from tests.support.served_packages import server_package
from tests.support.serving import ask

ONE = {"x": np.ones(3, np.float32)}


@contextmanager
def started(*arguments: Any, cwd: Path, **env: str) -> Iterator[tuple[subprocess.Popen[str], str]]:
    process = start_edgewise("serve", *arguments, "--port", "0", cwd=cwd, **env)
    try:
        yield process, process.stdout.readline().strip()
    finally:
        process.kill()
        process.communicate()


def slow(folder: Path) -> Package:
    """A model that takes about a second or two: products of large matrices."""
    weights = numpy_helper.from_array(np.zeros((700, 700), np.float32), "w")
    nodes = [helper.make_node("MatMul", ["x" if n == 0 else f"m{n}", "w"], [f"m{n + 1}"]) for n in range(60)]
    last = nodes[-1].output[0]
    made = model(nodes, [("x", TensorProto.FLOAT, [700, 700])], [(last, TensorProto.FLOAT, [700, 700])], [weights])
    return server_package(folder, made, "slow")


@pytest.mark.parametrize(("number", "code"), [(signal.SIGTERM, 0), (signal.SIGINT, 130)], ids=["TERM", "INT"])
def test_it_prints_its_address_serves_and_ends_with_a_signal(
    echo: Package, tmp_path: Path, number: int, code: int
) -> None:
    with started(echo.path, cwd=tmp_path) as (process, url):
        assert url.startswith("http://127.0.0.1:")
        assert array_of(ask(url, "echo.p1", ONE, ["y"]).tensors["y"]).tolist() == [1, 1, 1]
        idle = Wire(Endpoint(url))
        idle.request("GET", "/v2", b"", 10.0)  # a kept connection does not hold the end up
        process.send_signal(number)
        assert process.wait(30) == code
        idle.close()
        assert process.stderr.read() == "1 models: echo.p1\n"


def test_what_was_begun_is_answered_and_nobody_new_is_let_in(tmp_path: Path) -> None:
    package, found = slow(tmp_path / "slow.split"), []
    wanted = package.outputs[0].name
    with started(package.path, cwd=tmp_path) as (process, url):
        feeds = {"x": np.ones((700, 700), np.float32)}
        caller = threading.Thread(target=lambda: found.append(ask(url, "slow.p1", feeds, [wanted], deadline_s=100.0)))
        caller.start()
        end = time.monotonic() + 30
        while time.monotonic() < end:
            wire = Wire(Endpoint(url))
            text = wire.request("GET", "/metrics", b"", 10.0)[0].decode()
            wire.close()
            if "edgewise_serve_load 1.0" in text:
                break
        process.send_signal(signal.SIGTERM)
        assert process.wait(60) == 0
        caller.join()
        assert len(found) == 1
        with pytest.raises(WireError):
            ask(url, "slow.p1", feeds, [wanted], deadline_s=5.0)


def test_a_second_signal_ends_it_at_once(echo: Package, tmp_path: Path) -> None:
    with started(echo.path, cwd=tmp_path) as (process, url):
        host, port = url.split("//")[1].split(":")
        with socket.create_connection((host, int(port))) as stuck:
            stuck.sendall(b"POST /v2/models/echo.p1/infer HTTP/1.1\r\nContent-Length: 100\r\n\r\n{")
            time.sleep(0.3)
            process.send_signal(signal.SIGTERM)
            time.sleep(0.5)
            assert process.poll() is None
            process.send_signal(signal.SIGTERM)
            assert process.wait(20) == 0


def test_the_log_has_a_line_for_each_request_and_no_secret(echo: Package, tmp_path: Path) -> None:
    arguments = (echo.path, "--json-log", "--token-env", "EDGE_TOKEN")
    with started(*arguments, cwd=tmp_path, EDGE_TOKEN="s3cret") as (process, url):
        ask(url, "echo.p1", ONE, ["y"], token="s3cret", request_id="seven")
        with contextlib.suppress(WireError):
            ask(url, "echo.p1", ONE, ["y"], token="wr0ng")
        process.send_signal(signal.SIGTERM)
        assert process.wait(30) == 0
        text = process.stderr.read()
    lines = [json.loads(line) for line in text.splitlines()]
    assert [(line["event"], line.get("status")) for line in lines] == [
        ("listening", None), ("request", 200), ("request", 401),
    ]  # fmt: skip
    assert lines[1]["id"] == "seven"
    assert lines[1]["inference_ns"] > 0
    assert "s3cret" not in text
    assert "wr0ng" not in text


def test_an_open_address_without_token_or_tls_is_warned_of(echo: Package, tmp_path: Path) -> None:
    with started(echo.path, "--host", "0.0.0.0", cwd=tmp_path) as (process, _):
        process.send_signal(signal.SIGTERM)
        process.wait(30)
        assert "warning: 0.0.0.0 can be reached by others, and there is no token and no TLS" in process.stderr.read()


@pytest.mark.parametrize(
    ("arguments", "words"),
    [(["--token-env", "NOTHING"], "no NOTHING"), (["--cert", "c.pem"], "belong together"),
     (["--max-body", "x"], "size"),
     (["--cert", "c.pem", "--key", "k.pem"], "c.pem"), (["--max-batch", "0"], "max-batch")],
)  # fmt: skip
def test_a_wrong_option_is_told_before_anything_is_served(
    echo: Package, tmp_path: Path, arguments: list[str], words: str
) -> None:
    done = edgewise("serve", echo.path, "--port", "0", *arguments, cwd=tmp_path)
    assert (done.returncode, done.stdout) == (2, "")
    assert words in done.stderr


def test_a_port_that_is_taken_is_told(echo: Package, tmp_path: Path) -> None:
    with started(echo.path, cwd=tmp_path) as (_, url):
        done = edgewise("serve", echo.path, "--port", url.rsplit(":", 1)[1], cwd=tmp_path)
    assert done.returncode == 1
    assert "cannot listen on 127.0.0.1" in done.stderr


@pytest.mark.parametrize(("text", "found"), [("64MiB", 64 << 20), ("10 MB", 10**7), ("4096", 4096), ("1g", 10**9)])
def test_sizes_are_read_as_people_write_them(text: str, found: int) -> None:
    from mobile.cli.serve import size

    assert size(None, None, text) == found
