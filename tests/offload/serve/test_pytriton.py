"""Clients of edgewise and a real tritonserver: they speak the Open Inference Protocol with it as with our own server.

What it is: NVIDIA's own tritonserver out of nvidia-pytriton's wheel, started by pytriton. That wheel has the Python
backend only, so what is tested is the protocol and the client, not Triton's ONNX backend.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from typing import Any

import numpy as np
import pytest

from device_agents.split.client import SplitClient
from device_agents.split.decide import Policy
from device_agents.split.package import Package
from device_agents.split.wire import Endpoint, Wire, WireError, array_of, plain
from exporters.runtime import Session
from offload.serve import models, triton_repository
from tests.support.pytriton import PYTHON, tritonserver
from tests.support.serving import serving
from tests.support.split_packages import EXAMPLE, images, package

pytestmark = [pytest.mark.slow, pytest.mark.timeout(200)]


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Package:
    """The example: cut in the middle, uncoded, and all on the server."""
    return package(tmp_path_factory.mktemp("raw") / "plain.split", codec="raw")


@pytest.fixture(scope="module")
def coded(tmp_path_factory: pytest.TempPathFactory) -> Package:
    """The same with a codec, under another name."""
    from tests.support.served_packages import example_package

    return example_package(tmp_path_factory.mktemp("coded") / "coded.split", "coded", codec="q8+zlib")


@pytest.fixture(scope="module")
def bare(tmp_path_factory: pytest.TempPathFactory) -> Package:
    """The same with a codec that a model can decode."""
    from offload.package.write import write
    from tests.support.split_packages import placements, source

    found = replace(source(), name="bare.onnx")
    return write(tmp_path_factory.mktemp("bare") / "bare.split", found, placements(found, "q8"))


@pytest.fixture(scope="module")
def ports(
    made: Package, coded: Package, bare: Package, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[dict[str, int]]:
    """A tritonserver with all three, the last one from its model repository."""
    if not PYTHON.is_file():
        pytest.skip(f"no environment with nvidia-pytriton at {PYTHON}: `make pytriton` makes it")
    folder = tmp_path_factory.mktemp("triton")
    assert triton_repository.write(folder / "models", models.load([bare.path])) == []
    with tritonserver(made.path, coded.path, folder / "models", log=folder / "log") as found:
        yield found


def whole(count: int) -> list[Any]:
    session = Session(EXAMPLE / "fashion_mnist.onnx", "whole")
    return [session.run({"image": image[None]})[0] for image in images(count)]


def frames_of(which: Package, ports: dict[str, int], placement: str, count: int) -> list[Any]:
    client = SplitClient(
        which, Endpoint(f"http://127.0.0.1:{ports['http']}"), Policy(policy="fixed", placement=placement)
    )
    try:
        return list(client.run({which.inputs[0].name: image[None]} for image in images(count)))
    finally:
        client.close()


@pytest.mark.parametrize("placement", ["p1", "p2"])
def test_frames_split_over_a_tritonserver_give_what_the_whole_model_gives(
    made: Package, ports: dict[str, int], placement: str
) -> None:
    results = frames_of(made, ports, placement, 12)
    assert [(result.placement, result.fallback) for result in results] == [(placement, None)] * 12
    for result, expected in zip(results, whole(12), strict=True):
        found = result.outputs[made.outputs[0].name]
        np.testing.assert_allclose(found, expected, atol=1e-4 * np.abs(expected).max())


def test_coded_frames_reach_a_python_backend_that_decodes_them(coded: Package, ports: dict[str, int]) -> None:
    results = frames_of(coded, ports, "p1", 6)
    assert [result.fallback for result in results] == [None] * 6
    for result, expected in zip(results, whole(6), strict=True):
        found = result.outputs[coded.outputs[0].name]
        np.testing.assert_allclose(found, expected, atol=0.2 * np.abs(expected).max())


def test_the_models_of_a_repository_decode_the_frames_themselves(bare: Package, ports: dict[str, int]) -> None:
    with serving(bare.path) as served:
        own = frames_of(bare, {"http": served.address[1]}, "p1", 4)
    results = frames_of(bare, ports, "p1", 4)
    for result, expected in zip(results, own, strict=True):
        assert (result.fallback, result.bytes_up) == (None, expected.bytes_up)
        name = bare.outputs[0].name
        np.testing.assert_allclose(result.outputs[name], expected.outputs[name], rtol=1e-4, atol=1e-5)


def test_the_wire_understands_what_a_tritonserver_refuses(made: Package, ports: dict[str, int]) -> None:
    wire = Wire(Endpoint(f"http://127.0.0.1:{ports['http']}"))
    name, image = made.inputs[0].name, images(1)
    try:
        with pytest.raises(WireError) as unknown:
            wire.infer("nothing.p1", [plain(name, image)], [made.outputs[0].name], 20.0)
        with pytest.raises(WireError) as wrong:
            wire.infer(f"{made.name}.p2", [plain(name, image[:, :, :5])], [made.outputs[0].name], 20.0)
        right = wire.infer(f"{made.name}.p2", [plain(name, image)], [made.outputs[0].name], 20.0, request_id="abc")
    finally:
        wire.close()
    assert (unknown.value.kind, wrong.value.kind) == ("unknown-model", "refused")
    np.testing.assert_allclose(array_of(right.tensors[made.outputs[0].name]), whole(1)[0], rtol=1e-3, atol=1e-4)


def test_the_clients_of_triton_are_answered_alike(made: Package, ports: dict[str, int]) -> None:
    import tritonclient.http as triton

    client = triton.InferenceServerClient(f"127.0.0.1:{ports['http']}")
    try:
        assert client.get_server_metadata()["name"] == "triton"  # a real one, not ours
        given = triton.InferInput(made.inputs[0].name, [1, 1, 28, 28], "FP32")
        given.set_data_from_numpy(images(1))
        found = client.infer(f"{made.name}.p2", [given]).as_numpy(made.outputs[0].name)
    finally:
        client.close()
    np.testing.assert_allclose(found, whole(1)[0], rtol=1e-3, atol=1e-4)
