"""The same tails on a local Ray Serve: the client does not know the difference."""

from __future__ import annotations

import numpy as np
import pytest

from device_agents.split.package import Package
from device_agents.split.wire import WireError, array_of
from tests.support.serving import ask, serving

ray = pytest.importorskip("ray")


@pytest.mark.slow
@pytest.mark.timeout(240)
@pytest.mark.filterwarnings("ignore")  # Ray's own, of many kinds
def test_a_request_is_answered_by_a_replica_as_in_place(fashion: Package, rows: Package) -> None:
    from offload.serve.ray_engine import RayTails

    source, wanted = fashion.inputs[0].name, fashion.outputs[0].name
    picture = np.random.default_rng(0).random((1, 1, 28, 28)).astype(np.float32)
    with serving(fashion.path) as served:
        alone = array_of(ask(served.url, "fashion.p1", _head(fashion, picture), [wanted]).tensors[wanted])
    with serving(fashion.path, rows.path, engine=RayTails(1 << 30, replicas=(1, 2), cpus=0.5)) as served:
        first = ask(served.url, "fashion.p1", _head(fashion, picture), [wanted], deadline_s=120.0)
        second = ask(served.url, "rows.p1", {"x": np.eye(4, dtype=np.float32)}, ["logits"], deadline_s=60.0)
        with pytest.raises(WireError, match="400"):
            ask(served.url, "fashion.p3", {source: picture[:, :, :5]}, [wanted], deadline_s=60.0)
        assert served.metric("requests_total", model="fashion.p1", status="200") == 1
    np.testing.assert_allclose(array_of(first.tensors[wanted]), alone, rtol=1e-5, atol=1e-6)
    np.testing.assert_array_equal(array_of(second.tensors["logits"]), np.eye(4, 3))
    assert not ray.is_initialized()


def _head(package: Package, picture: np.ndarray) -> dict[str, np.ndarray]:
    from exporters.runtime import onnxruntime

    part = package.placements["p1"].parts[0]
    session = onnxruntime().InferenceSession(package.file_of(part), providers=["CPUExecutionProvider"])
    values = session.run(list(part.outputs), {package.inputs[0].name: picture})
    return dict(zip(part.outputs, values, strict=True))
