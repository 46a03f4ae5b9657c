"""The client: frames run split over a real socket; each is answered or refused in words, whatever the server does."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from device_agents.split.client import SplitClient
from device_agents.split.decide import Policy
from device_agents.split.estimate import LinkEstimate
from device_agents.split.local import LocalParts
from device_agents.split.package import Package
from device_agents.split.wire import Endpoint
from exporters.runtime import Session
from tests.support.split_packages import EXAMPLE, TABLE, images, package
from tests.support.split_server import EdgeServer, edge_server
from tests.support.wire_server import reply


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Package:
    """The example with a table."""
    return package(tmp_path_factory.mktemp("client") / "net.split", table=TABLE)


@pytest.fixture
def edge(made: Package) -> Iterator[EdgeServer]:
    """Its server."""
    with edge_server(made) as running:
        yield running


def frames(count: int) -> list[dict[str, Any]]:
    return [{"image": image[None]} for image in images(count)]


def whole(count: int) -> list[np.ndarray]:
    session = Session(EXAMPLE / "fashion_mnist.onnx", "whole")
    return [session.run(feeds)[0] for feeds in frames(count)]


def fixed(name: str, **more: Any) -> Policy:
    return Policy("fixed", placement=name, **more)


@pytest.mark.parametrize(("name", "tolerance"), [("p0", 1e-5), ("p1", 0.2), ("p2", 1e-5)])
def test_every_placement_answers_as_the_whole_model_does(
    made: Package, edge: EdgeServer, name: str, tolerance: float
) -> None:
    client = SplitClient(made, Endpoint(edge.url), fixed(name))
    results = list(client.run(frames(6)))
    client.close()
    for result, want in zip(results, whole(6), strict=True):
        assert result.outputs is not None
        assert (result.placement, result.fallback) == (name, None)
        np.testing.assert_allclose(result.outputs["logits"], want, atol=tolerance * float(np.abs(want).max()))
    assert edge.served == ([] if name == "p0" else [f"fashion_mnist.{name}"] * 6)
    stages = results[-1].stages_ns
    assert (stages["head"] > 0, stages["link"] > 0) == {"p0": (True, False), "p1": (True, True), "p2": (False, True)}[
        name
    ]
    assert (results[-1].bytes_up > 0) == (name != "p0")


def test_results_come_in_order_and_frames_overlap_on_their_way(made: Package, edge: EdgeServer) -> None:
    edge.delay_s = 0.02
    client = SplitClient(made, Endpoint(edge.url), fixed("p1"))
    results = list(client.run(frames(8), depth=3))
    client.close()
    top = [int(result.outputs["logits"].argmax()) for result in results if result.outputs is not None]
    assert top == [int(want.argmax()) for want in whole(8)]


def test_the_package_and_the_deadline_travel_with_each_request(made: Package, edge: EdgeServer) -> None:
    client = SplitClient(made, Endpoint(edge.url), fixed("p2"), deadline_s=5.0)
    client.infer(frames(1)[0])
    client.close()
    sent = edge.parameters[0]
    assert sent["edgewise_package"] == made.id
    assert 3000 < sent["edgewise_deadline_ms"] <= 5000


def told(shape: str, data: str) -> bytes:
    return reply(f'{{"outputs":[{{"name":"logits","datatype":"FP32","shape":{shape},"data":{data}}}]}}'.encode())


MISDEEDS = {
    "garbage": lambda model, tensors: b"\x00\x01garbage\r\n\r\n",
    "closed": lambda model, tensors: b"",
    "foreign": lambda model, tensors: reply(b'{"error": "another package"}', "409 Conflict"),
    "busy": lambda model, tensors: reply(b"", "503 Busy"),
    "truncated": lambda model, tensors: b"HTTP/1.1 200 OK\r\nContent-Length: 400\r\n\r\n{",
    "hostile": lambda model, tensors: told("[1, 99999999]", "[0]"),
    "wrong shape": lambda model, tensors: told("[1, 2]", "[0, 1]"),
}  # fmt: skip


@pytest.mark.parametrize("name", ["p1", "p2"])
@pytest.mark.parametrize("misdeed", MISDEEDS)
def test_whatever_the_server_does_the_answer_comes_from_here(
    made: Package, edge: EdgeServer, misdeed: str, name: str
) -> None:
    edge.misbehave = MISDEEDS[misdeed]
    client = SplitClient(made, Endpoint(edge.url), fixed(name), deadline_s=5.0)
    results = list(client.run(frames(5)))
    client.close()
    for result, want in zip(results, whole(5), strict=True):
        assert result.outputs is not None
        np.testing.assert_allclose(result.outputs["logits"], want, rtol=1e-4, atol=1e-4)
    assert results[0].fallback is not None
    assert len({id(result.outputs) for result in results}) == 5


def test_without_a_local_way_a_frame_is_refused_in_words(made: Package, edge: EdgeServer) -> None:
    edge.misbehave = MISDEEDS["busy"]
    client = SplitClient(made, Endpoint(edge.url), fixed("p2", fallback="refuse"), deadline_s=5.0)
    result = client.infer(frames(1)[0])
    client.close()
    assert (result.outputs, result.fallback) == (None, "busy")
    assert result.why.startswith("refused: the server answers 503")


def test_a_server_that_hangs_costs_no_more_than_the_deadline_and_its_late_answer_is_dropped(
    made: Package, edge: EdgeServer
) -> None:
    release = threading.Event()
    edge.misbehave = lambda model, tensors: (release.wait(30), None)[1]
    client = SplitClient(made, Endpoint(edge.url), fixed("p1"), deadline_s=0.4)
    client.warm("p0")
    began = time.monotonic()
    result = client.infer(frames(1)[0])
    waited = time.monotonic() - began
    release.set()
    edge.misbehave = None
    again = client.infer(frames(2)[1])
    client.close()
    assert result.fallback == "late"
    assert result.outputs is not None
    assert waited < 10
    assert again.outputs is not None
    assert int(again.outputs["logits"].argmax()) == int(whole(2)[1].argmax())


def test_an_answer_that_comes_while_the_device_does_the_rest_is_taken(made: Package, edge: EdgeServer) -> None:
    edge.misbehave = lambda model, tensors: (time.sleep(0.6), None)[1]
    parts = LocalParts(made, threads=1, slow_down=3e5)  # a minute and more for what is wanted of the server
    client = SplitClient(made, Endpoint(edge.url), fixed("p2"), deadline_s=0.4, parts=parts)
    client.warm("p0")
    client._pilot.rest_s = lambda row: 30.0  # type: ignore[method-assign]
    result = client.infer(frames(1)[0])
    edge.misbehave = None
    again = client.infer(frames(2)[1])
    client.close()
    assert (result.fallback, result.placement) == (None, "p2")
    assert result.outputs is not None
    np.testing.assert_allclose(result.outputs["logits"], whole(1)[0], rtol=1e-4, atol=1e-4)
    assert again.outputs is not None


def test_a_dead_server_is_left_alone_and_found_again(made: Package) -> None:
    with edge_server(made) as running:
        client = SplitClient(made, Endpoint(running.url), fixed("p2"), deadline_s=2.0)
        assert client.infer(frames(1)[0]).fallback is None
        running.misbehave = MISDEEDS["closed"]
        kinds = [client.infer(feeds).fallback for feeds in frames(6)]
        assert kinds[:3] == ["unreachable"] * 3
        assert kinds[-1] is None  # the breaker is open: the decision itself is local now
        running.misbehave = None
        until = time.monotonic() + 20
        while client.infer(frames(1)[0]).placement != "p2" and time.monotonic() < until:
            time.sleep(0.05)
        assert client.infer(frames(1)[0]).placement == "p2"
        client.close()


def test_the_client_learns_the_link_and_the_server_from_its_traffic(made: Package, edge: EdgeServer) -> None:
    client = SplitClient(made, Endpoint(edge.url), fixed("p2"), link=LinkEstimate(1e5, 1e5, 0.5))
    for feeds in frames(12):
        client.infer(feeds)
    now = client.conditions()
    client.close()
    assert now.uplink_bps > 1e6
    assert now.rtt_s < 0.3
    assert now.slow_down != 1.0
    assert now.server_up


def test_the_policy_sees_what_the_board_senses(made: Package, edge: EdgeServer) -> None:
    policy = Policy.from_json(
        {"policy": "fixed", "placement": "p0", "when": [{"if": {"temperature_c": {"above": 80}}, "use": "p2"}]}
    )
    known = {"temperature_c": 50.0}
    client = SplitClient(made, Endpoint(edge.url), policy, sense=lambda: known)
    cool = client.infer(frames(1)[0])
    known["temperature_c"] = 85.0
    hot = client.infer(frames(1)[0])
    client.close()
    assert (cool.placement, hot.placement, hot.why) == ("p0", "p2", "rule 1")


def test_without_a_server_everything_runs_here(made: Package) -> None:
    client = SplitClient(made)
    result = client.infer(frames(1)[0])
    client.close()
    assert (result.placement, result.fallback) == ("p0", None)
    assert result.outputs is not None


def test_a_package_without_costs_runs_on_the_server(tmp_path: Path) -> None:
    plain = package(tmp_path / "plain")
    with edge_server(plain) as running:
        client = SplitClient(plain, Endpoint(running.url))
        result = client.infer(frames(1)[0])
        client.close()
    assert (result.placement, result.fallback) == ("p2", None)
