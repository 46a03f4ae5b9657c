"""Small requests for a quick model are done without a thread, and only those."""

from __future__ import annotations

import threading
from typing import Any

import numpy as np

from device_agents.split.package import Package
from device_agents.split.wire import Endpoint, Wire, array_of, plain
from offload.serve.models import Model
from offload.serve.pipeline import QUICK_BYTES
from offload.serve.tails import TailCache
from tests.support.serving import serving


class Noting(TailCache):
    """Notes in which thread each run was; ``loaded``: what it says of its models."""

    loaded = True

    def __init__(self) -> None:
        super().__init__(1 << 30)
        self.threads: list[str] = []

    def run(self, model: Model, feeds: Any) -> Any:
        """The run."""
        self.threads.append(threading.current_thread().name)
        return super().run(model, feeds)

    def at_hand(self, model: Model) -> bool:
        """As was said, if it is so."""
        return self.loaded and super().at_hand(model)


def asked(served: Any, sizes: list[int]) -> list[np.ndarray]:
    wire, found = Wire(Endpoint(served.url)), []
    try:
        for size in sizes:
            sent = np.arange(size, dtype=np.float32)
            answer = wire.infer("echo.p1", [plain("x", sent)], ["y"], 30.0)
            found.append(array_of(answer.tensors["y"]))
    finally:
        wire.close()
    return found


def believe(served: Any, size: int, usual_s: float) -> None:
    """What the server believes of requests with so many numbers: whatever this machine is busy with just now."""
    usual = served.server.app._pipeline._lanes["echo.p1"].usual_s
    usual.update({(4 * size + more).bit_length(): usual_s for more in range(0, 300, 20)})


def test_a_quick_model_runs_on_the_event_loop(echo: Package) -> None:
    engine = Noting()
    with serving(echo.path, engine=engine) as served:
        asked(served, [4])
        believe(served, 8, 1e-4)
        assert [len(array) for array in asked(served, [8])] == [8]
        asked(served, [20_000])  # of which nothing is known
        believe(served, QUICK_BYTES, 1e-4)
        asked(served, [QUICK_BYTES])
        believe(served, 4, 1.0)
        asked(served, [4])
        believe(served, 4, 1e-4)
        engine.loaded = False
        asked(served, [4])
    assert [name.startswith("edgewise-serve") for name in engine.threads] == [True, False, True, True, True, True]


def test_a_model_that_was_slow_once_is_not_believed_at_once(echo: Package) -> None:
    with serving(echo.path) as served:
        believe(served, 4, 1.0)
        asked(served, [4])
        usual = served.server.app._pipeline._lanes["echo.p1"].usual_s
        assert 0.5 < min(usual.values()) < 1.0
        assert served.metric("requests_total", model="echo.p1", status="200") == 1
