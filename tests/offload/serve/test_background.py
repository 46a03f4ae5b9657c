"""A server in a thread of a program: it is there within the block, and gone behind it, however that was left."""

from __future__ import annotations

import socket
import threading
from pathlib import Path
from urllib.parse import urlsplit

import pytest

from device_agents.split.wire import Endpoint, Wire
from mobile.errors import EdgewiseError, ModelError
from offload.serve.background import serving
from offload.serve.server import Options
from tests.support.split_packages import package


def named() -> list[threading.Thread]:
    return [thread for thread in threading.enumerate() if thread.name == "edgewise-serve"]


def answers(url: str) -> bool:
    parts = urlsplit(url)
    try:
        socket.create_connection((parts.hostname, parts.port), timeout=5).close()
    except OSError:
        return False
    return True


@pytest.mark.parametrize("kind", [None, RuntimeError, KeyboardInterrupt])
def test_it_serves_within_the_block_and_is_gone_behind_it(tmp_path: Path, kind: type[BaseException] | None) -> None:
    made = package(tmp_path / "net.split")
    try:
        with serving([made.path], Options(port=0, drain_s=1.0)) as url:
            wire = Wire(Endpoint(url))
            answer, _, _ = wire.request("POST", "/edgewise/link", b"x" * 1000, 20.0)
            wire.close()
            assert answer == b""
            assert named()
            if kind is not None:
                raise kind
    except (RuntimeError, KeyboardInterrupt) as error:
        assert type(error) is kind
    assert not named()
    assert not answers(url)


def test_a_device_that_stays_connected_does_not_keep_it(tmp_path: Path) -> None:
    made = package(tmp_path / "net.split")
    with serving([made.path], Options(port=0, drain_s=0.2)) as url:
        wire = Wire(Endpoint(url))
        wire.request("POST", "/edgewise/link", b"", 20.0)
    assert not named()
    wire.close()


def test_what_keeps_it_from_serving_is_raised_where_it_was_wanted(tmp_path: Path) -> None:
    made = package(tmp_path / "net.split")
    with pytest.raises(ModelError), serving([tmp_path / "nothing.split"], Options(port=0)):
        raise AssertionError("never reached")
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        with (
            pytest.raises(EdgewiseError, match=f"cannot listen on 127.0.0.1 port {port}"),
            serving([made.path], Options(port=port)),
        ):
            raise AssertionError("never reached")
    assert not named()
