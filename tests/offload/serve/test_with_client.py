"""The device's client against the real server: frames split over a socket give what the whole model gives."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from device_agents.split.client import SplitClient
from device_agents.split.decide import Policy
from device_agents.split.delta import Streams
from device_agents.split.package import Package
from device_agents.split.wire import Endpoint
from exporters.runtime import Session
from offload.package.write import write
from tests.support.serving import serving
from tests.support.split_packages import EXAMPLE, images, package, placements, source


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Package:
    """The example: cut in the middle with q8+zlib, and all on the server."""
    return package(tmp_path_factory.mktemp("client") / "net.split")


def frames(count: int) -> list[dict[str, Any]]:
    return [{"image": image[None]} for image in images(count)]


@pytest.mark.parametrize(("placement", "tolerance"), [("p1", 0.2), ("p2", 1e-4)])
def test_frames_give_what_the_whole_model_gives(made: Package, placement: str, tolerance: float) -> None:
    session = Session(Path(EXAMPLE) / "fashion_mnist.onnx", "whole")
    with serving(made.path, token="s3cret") as served:
        client = SplitClient(made, Endpoint(served.url, "s3cret"), Policy(policy="fixed", placement=placement))
        try:
            results = list(client.run(frames(12)))
        finally:
            client.close()
        assert served.metric("requests_total", model=f"{made.name}.{placement}", status="200") == 12
    for feeds, result in zip(frames(12), results, strict=True):
        assert (result.placement, result.fallback) == (placement, None)
        expected = session.run(feeds)[0]
        found = result.outputs[made.outputs[0].name]
        np.testing.assert_allclose(found, expected, atol=tolerance * np.abs(expected).max())


def test_when_the_server_has_another_package_the_frames_are_answered_here(made: Package, tmp_path: Path) -> None:
    from tests.support.served_packages import example_package

    other = example_package(tmp_path / "other.split", name=made.name)
    with serving(other.path) as served:
        client = SplitClient(made, Endpoint(served.url), Policy(policy="fixed", placement="p2"), deadline_s=20.0)
        try:
            results = [client.infer(feeds) for feeds in frames(2)]
        finally:
            client.close()
    assert all(result.outputs is not None for result in results)
    assert results[0].fallback == "foreign"


def test_a_stream_of_differences_survives_a_server_that_forgets(tmp_path: Path) -> None:
    """Every frame is right; after the first one little is sent; a server without memory gets the next one whole."""
    plain = package(tmp_path / "plain.split", codec="q8+zlib")
    streamed = package(tmp_path / "net.split", codec="delta:q8+zlib")
    (feeds,) = frames(1)
    policy = Policy(policy="fixed", placement="p1")
    with serving(plain.path) as served:
        client = SplitClient(plain, Endpoint(served.url), policy)
        expected = client.infer(feeds)
        client.close()
    with serving(streamed.path) as served:
        client = SplitClient(streamed, Endpoint(served.url), policy)
        try:
            results = [client.infer(feeds) for _ in range(3)]
            served.server.app._pipeline._streams = Streams()
            results += [client.infer(feeds) for _ in range(3)]
        finally:
            client.close()
        assert served.metric("requests_total", model=f"{streamed.name}.p1", status="412") == 1
    name = streamed.outputs[0].name
    for result in results:
        assert result.fallback is None
        np.testing.assert_array_equal(result.outputs[name], expected.outputs[name])
    whole, small = results[0].bytes_up, results[1].bytes_up
    assert small < whole / 2
    assert [result.bytes_up > whole / 2 for result in results] == [True, False, False, True, False, False]


@pytest.mark.parametrize("codec", ["jpeg95", "webp95"])
def test_an_image_input_goes_as_a_picture(codec: str, tmp_path: Path) -> None:
    found = source()
    made = placements(found)
    pictured = replace(made[2], crossings=tuple((value, True, codec) for value in found.graph.inputs))
    packed = write(tmp_path / "net.split", found, [made[0], pictured])
    session = Session(Path(EXAMPLE) / "fashion_mnist.onnx", "whole")
    with serving(packed.path) as served:
        client = SplitClient(packed, Endpoint(served.url), Policy(policy="fixed", placement="p2"))
        try:
            results = list(client.run(frames(20)))
        finally:
            client.close()
    raw_bytes = 4 * 28 * 28
    assert all(result.fallback is None and result.bytes_up < raw_bytes / 2 for result in results)
    name = packed.outputs[0].name
    same = [
        result.outputs[name].argmax() == session.run(feeds)[0].argmax()
        for feeds, result in zip(frames(20), results, strict=True)
    ]
    assert np.mean(same) >= 0.9
