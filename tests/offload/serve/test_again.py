"""A request that is sent again is not computed again."""

from __future__ import annotations

import threading
import time

import numpy as np

from device_agents.split.package import Package
from device_agents.split.wire import Answer, array_of
from offload.serve.answers import Answers
from offload.serve.messages import Answer as Reply
from tests.support.gate import Gate
from tests.support.serving import ask, serving


def send(url: str, package: Package, value: float, request_id: str, named: bool = True) -> Answer:
    parameters = {"edgewise_package": package.id} if named else {}
    feeds = {"x": np.full(3, value, np.float32)}
    return ask(url, "echo.p1", feeds, ["y"], parameters=parameters, request_id=request_id)


def test_the_second_request_of_an_id_gets_the_first_ones_answer(echo: Package) -> None:
    gate = Gate(closed=False)
    with serving(echo.path, engine=gate) as served:
        first, second = (send(served.url, echo, 1.0, "a") for _ in range(2))
        assert gate.runs == 1
        assert array_of(second.tensors["y"]).tolist() == array_of(first.tensors["y"]).tolist()
        assert served.metric("answered_again_total") == 1
        send(served.url, echo, 1.0, "b")
        send(served.url, echo, 2.0, "a")  # the same id with other tensors is another request
        assert gate.runs == 3


def test_a_request_that_comes_again_while_the_first_is_computed_waits_for_it(echo: Package) -> None:
    gate, found = Gate(), []
    with serving(echo.path, engine=gate) as served:
        threads = [
            threading.Thread(target=lambda: found.append(send(served.url, echo, 1.0, "a").tensors["y"]))
            for _ in range(3)
        ]
        for thread in threads:
            thread.start()
        gate.wait_for(1)
        while served.metric("answered_again_total") < 2:
            time.sleep(0.005)
        gate.open()
        for thread in threads:
            thread.join()
    assert gate.runs == 1
    assert [array_of(tensor).tolist() for tensor in found] == [[1.0] * 3] * 3


def test_ids_of_clients_that_name_no_package_promise_nothing(echo: Package) -> None:
    gate = Gate(closed=False)
    with serving(echo.path, engine=gate) as served:
        for _ in range(2):
            send(served.url, echo, 1.0, "1", named=False)
    assert gate.runs == 2


def test_what_went_wrong_is_told_to_all_that_wait_and_then_forgotten() -> None:
    answers, told = Answers(), []
    assert answers.claim(("k",), told.append)
    assert not answers.claim(("k",), told.append)
    answers.settle(("k",), Reply(503))
    assert [one.status for one in told] == [503]
    assert answers.claim(("k",), told.append)


def test_the_memory_of_answers_is_bounded_in_number_size_and_time() -> None:
    few = Answers(most=3, limit_bytes=100, keep_s=60.0)
    for number in range(50):
        assert few.claim((number,), lambda answer: None)
        few.settle((number,), Reply(200, (bytes(10),)))
        assert len(few) <= 4
    small = Answers(most=1000, limit_bytes=100, keep_s=60.0)
    for number in range(50):
        assert small.claim((number,), lambda answer: None)
        small.settle((number,), Reply(200, (bytes(30),)))
        assert small._bytes <= 100
    assert small.claim(("large",), lambda answer: None)
    small.settle(("large",), Reply(200, (bytes(101),)))
    assert small.claim(("large",), lambda answer: None)
    old = Answers(keep_s=0.0)
    assert old.claim((1,), lambda answer: None)
    old.settle((1,), Reply(200))
    assert old.claim((1,), lambda answer: None)


def test_what_is_being_computed_is_never_forgotten() -> None:
    answers, told = Answers(most=1, keep_s=0.0), []
    assert answers.claim(("slow",), told.append)
    for number in range(20):
        answers.claim((number,), told.append)
        answers.settle((number,), Reply(200))
    assert not answers.claim(("slow",), told.append)
    answers.settle(("slow",), Reply(200))
    assert len(told) == 1
