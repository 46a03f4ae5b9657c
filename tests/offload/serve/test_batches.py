"""Requests of several clients run as one where that changes nothing, and only there."""

from __future__ import annotations

import threading
import time
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
import pytest
from onnx import TensorProto, helper, numpy_helper

from device_agents.split.package import Package
from device_agents.split.wire import WireError, array_of
from offload.serve import models
from offload.serve.app import Limits
from offload.serve.tails import TailCache, apart, rows_of, together
from tests.support.gate import Gate
from tests.support.onnx_models import classifier, identity, model
from tests.support.served_packages import server_package
from tests.support.serving import ask, serving

FREE = [("x", TensorProto.FLOAT, ["n", 4])]


def batches(found: models.Model, feeds: dict[str, Any]) -> bool:
    """Whether a loaded model is run for several requests at once."""
    cache = TailCache(1 << 30)
    assert not cache.batches(found, feeds)  # before it is loaded
    cache.run(found, feeds)
    return cache.batches(found, feeds)


def only(package: Package) -> models.Model:
    return models.load([package.path])[f"{package.name}.p1"]


def test_clients_that_come_while_the_model_is_busy_run_together_and_get_their_own(echo: Package) -> None:
    gate, found = Gate(batches=True), {}

    def one(number: int) -> None:
        values = np.full(number + 1, number, np.float32)
        found[number] = array_of(ask(served.url, "echo.p1", {"x": values}, ["y"]).tensors["y"]).tolist()

    with serving(echo.path, engine=gate, limits=Limits(max_batch=4)) as served:
        threads = [threading.Thread(target=one, args=(number,)) for number in range(8)]
        threads[0].start()
        gate.wait_for(1)
        for thread in threads[1:]:
            thread.start()
        while (
            served.server.app.load < 8 or sum(len(x.waiting) for x in served.server.app._pipeline._lanes.values()) < 7
        ):
            time.sleep(0.005)
        gate.open()
        for thread in threads:
            thread.join()
        assert served.metric("batch_requests_count") == gate.runs == 3
    assert found == {number: [float(number)] * (number + 1) for number in range(8)}
    assert gate.rows[0] == 1
    assert sum(gate.rows) == sum(range(1, 9))


def test_rows_are_put_together_and_taken_apart() -> None:
    several = [{"a": np.arange(2.0), "b": np.zeros((2, 3))}, {"a": np.arange(5.0), "b": np.ones((5, 3))}]
    assert [rows_of(feeds) for feeds in several] == [2, 5]
    whole = together(several)
    parts = apart([whole["a"], whole["b"]], [2, 5])
    for feeds, part in zip(several, parts, strict=True):
        np.testing.assert_array_equal(part[0], feeds["a"])
        np.testing.assert_array_equal(part[1], feeds["b"])


@pytest.mark.parametrize("feeds", [{"a": np.zeros(2), "b": np.zeros(3)}, {"a": np.zeros(0)}, {}])
def test_a_request_without_rows_of_one_number_runs_alone(feeds: dict[str, Any]) -> None:
    assert rows_of(feeds) is None


def test_a_model_whose_rows_are_independent_is_batched(folder: Path) -> None:
    found = only(server_package(folder, classifier(), "own"))
    feeds = {"x": np.random.default_rng(0).random((3, 4)).astype(np.float32)}
    assert found.free_rows
    assert batches(found, feeds)


def over_rows() -> Any:
    return model([helper.make_node("Softmax", ["x"], ["y"], axis=0)], FREE, [("y", TensorProto.FLOAT, ["n", 4])])


def summed() -> Any:
    axis = numpy_helper.from_array(np.array(0, np.int64), "axis")
    return model([helper.make_node("CumSum", ["x", "axis"], ["y"])], FREE, [("y", TensorProto.FLOAT, ["n", 4])], [axis])


@pytest.mark.parametrize("make", [over_rows, summed], ids=["softmax-over-rows", "sum-over-rows"])
def test_a_model_that_mixes_its_rows_is_not_batched_though_its_first_dimension_is_free(make: Any, folder: Path) -> None:
    found = only(server_package(folder, make(), "own"))
    feeds = {"x": np.random.default_rng(0).random((3, 4)).astype(np.float32)}
    assert found.free_rows
    assert not batches(found, feeds)


def test_a_model_that_mixes_its_rows_is_not_batched_though_a_client_sends_nothing_but_zeros(folder: Path) -> None:
    found = only(server_package(folder, summed(), "own"))
    assert not batches(found, {"x": np.zeros((2, 4), np.float32)})


def test_a_bad_request_does_not_spoil_those_that_it_runs_together_with(folder: Path) -> None:
    table = numpy_helper.from_array(np.arange(8, dtype=np.float32).reshape(4, 2), "table")
    made = model(
        [helper.make_node("Gather", ["table", "x"], ["y"])],
        [("x", TensorProto.INT64, ["n"])],
        [("y", TensorProto.FLOAT, ["n", 2])],
        [table],
    )
    package = server_package(folder, made, "own")
    found: dict[int, Any] = {}

    class Held(TailCache):
        gate = threading.Event()
        runs: ClassVar[list[int]] = []

        def at_hand(self, model: models.Model) -> bool:
            return False

        def run(self, model: models.Model, feeds: Any) -> Any:
            self.runs.append(len(feeds["x"]))
            assert self.gate.wait(60)
            return super().run(model, feeds)

    def one(number: int) -> None:
        try:
            answer = ask(served.url, "own.p1", {"x": np.array([number], np.int64)}, ["y"])
            found[number] = array_of(answer.tensors["y"]).tolist()
        except WireError as error:
            found[number] = str(error)[:22]

    engine = Held(1 << 30)
    engine.gate.set()
    with serving(package.path, engine=engine) as served:
        ask(served.url, "own.p1", {"x": np.array([0, 1], np.int64)}, ["y"])  # tells that rows are independent
        engine.batches(only(package), {"x": np.array([0, 1], np.int64)})
        engine.gate.clear()
        engine.runs.clear()
        threads = [threading.Thread(target=one, args=(number,)) for number in (0, 1, 99, 2)]
        threads[0].start()
        while not engine.runs:
            time.sleep(0.005)
        for thread in threads[1:]:
            thread.start()
        while sum(len(lane.waiting) for lane in served.server.app._pipeline._lanes.values()) < 3:
            time.sleep(0.005)
        engine.gate.set()
        for thread in threads:
            thread.join()
    assert engine.runs == [1, 3, 1, 1, 1]
    refused = "the server answers 400"
    assert found == {0: [[0.0, 1.0]], 1: [[2.0, 3.0]], 2: [[4.0, 5.0]], 99: refused}


def test_a_model_of_fixed_rows_is_not_batched(folder: Path) -> None:
    found = only(server_package(folder, classifier(batch=1), "own"))
    assert not found.free_rows
    assert not batches(found, {"x": np.zeros((1, 4), np.float32)})


def test_many_clients_at_once_get_what_they_would_get_alone(fashion: Package) -> None:
    source, wanted = fashion.inputs[0].name, fashion.outputs[0].name
    pictures = np.random.default_rng(1).random((24, 1, 1, 28, 28)).astype(np.float32)
    found: dict[int, np.ndarray] = {}

    def many(first: int) -> None:
        for number in range(first, len(pictures), 6):
            answer = ask(served.url, "fashion.p3", {source: pictures[number]}, [wanted])
            found[number] = array_of(answer.tensors[wanted])

    with serving(fashion.path) as served:
        alone = [array_of(ask(served.url, "fashion.p3", {source: x}, [wanted]).tensors[wanted]) for x in pictures]
        threads = [threading.Thread(target=many, args=(first,)) for first in range(6)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
    for number, values in enumerate(alone):
        np.testing.assert_allclose(found[number], values, rtol=1e-4, atol=1e-5)


def test_the_cache_lets_the_longest_unused_go_and_loads_it_again(tmp_path: Path) -> None:
    loaded: list[tuple[int, int]] = []
    found = [
        only(server_package(tmp_path / f"{n}.split", identity(TensorProto.FLOAT, [n]), f"n{n}")) for n in (1, 2, 3)
    ]
    size = found[0].part.size_bytes
    cache = TailCache(2 * size, lambda count, total: loaded.append((count, total)))

    def run(index: int) -> bool:
        _, loading_ns = cache.run(found[index], {"x": np.zeros(index + 1, np.float32)})
        return loading_ns > 0

    assert [run(index) for index in (0, 1, 0, 2, 0, 1)] == [True, True, False, True, False, True]
    assert max(total for _, total in loaded) <= 2 * size
    assert max(count for count, _ in loaded) == 2


def test_a_tail_larger_than_the_cache_is_served_alone(folder: Path) -> None:
    found = only(server_package(folder, identity(TensorProto.FLOAT, [1]), "own"))
    cache = TailCache(1)
    feeds = {"x": np.zeros(1, np.float32)}
    assert cache.run(found, feeds)[1] > 0
    assert cache.run(found, feeds)[1] == 0


def test_placements_that_share_a_part_share_its_session(tmp_path: Path) -> None:
    from tests.support.served_packages import write_package

    package = write_package(tmp_path / "two.split", classifier(), {"p1": [True], "p2": [True]}, "two")
    found = models.load([package.path])
    cache = TailCache(1 << 30)
    feeds = {"x": np.zeros((1, 4), np.float32)}
    assert cache.run(found["two.p1"], feeds)[1] > 0
    assert cache.run(found["two.p2"], feeds)[1] == 0
