"""The device's client against the real server: frames split over a socket give what the whole model gives."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from device_agents.split.client import SplitClient
from device_agents.split.decide import Policy
from device_agents.split.package import Package
from device_agents.split.wire import Endpoint
from exporters.runtime import Session
from tests.support.serving import serving
from tests.support.split_packages import EXAMPLE, images, package


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
