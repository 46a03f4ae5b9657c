"""What a model answered: classes, best classes or whole outputs, errors by kind, and the way to the host."""

from __future__ import annotations

import numpy as np
import pytest

from device_agents.answers import Answers, differ, top
from device_agents.failures import AgentFailure
from device_agents.inputs import Feed
from device_agents.loop import Loop, StopFlag
from device_agents.runners.base import Runner
from device_agents.runners.ort import top1
from mobile.results.answers import AnswerTaker, by_item


class Echo(Runner):
    """Its output is its input, changed by ``act``; ``calls`` counts."""

    def __init__(self, act=lambda x, call: x):
        super().__init__()
        self._act, self.calls = act, 0

    def prepare(self, arrays):
        self._given = arrays["x"]

    def invoke(self):
        self._out = self._act(self._given, self.calls)
        self.calls += 1

    def output_arrays(self):
        return {"y": self._out}

    def output_top1(self):
        return top1(self._out)


def evaluated(items, batch, asked, act=lambda x, call: x, declared=()):
    """(the records, the values of output by name and item) of an evaluation of ``items`` [n, classes]."""
    feed = Feed({"x": items}, {"x": (batch, *items.shape[1:])})
    runner, records = Echo(act), []
    answers = Answers(runner, feed, records.append, asked, declared)
    Loop(runner, feed, records.append, StopFlag()).evaluate(answers)
    taker, found = AnswerTaker(), {}
    for record in records:
        if record["type"] == "tensors":
            name, values = taker.take(record)
            found.setdefault(name, []).extend(values)
    return records, {name: by_item(values, len(items), batch) for name, values in found.items()}


def event(records):
    (one,) = [record["detail"] for record in records if record.get("name") == "evaluated"]
    return one


SCORES = np.random.default_rng(3).normal(size=(7, 5)).astype(np.float32)


@pytest.mark.parametrize("batch", [1, 2, 7])
def test_whole_outputs_arrive_bit_for_bit(batch):
    records, found = evaluated(SCORES, batch, {"keep": "all"})
    assert np.array_equal(np.stack(found["y"]), SCORES)
    assert event(records)["errors"] == {}
    classes = [value for record in records if record["type"] == "outputs" for value in record["top1"]]
    assert classes == SCORES.argmax(-1).tolist()


@pytest.mark.parametrize("dtype", ["float16", "float64", "int8", "uint8", "int64", "bool"])
def test_every_dtype_arrives(dtype):
    items = (SCORES * 10).astype(dtype)
    _, found = evaluated(items, 2, {"keep": "all"})
    assert np.stack(found["y"]).dtype == dtype
    assert np.array_equal(np.stack(found["y"]), items)


def test_the_best_classes_come_best_first_and_of_equal_ones_the_first():
    found = top(np.array([[1.0, 3.0, 3.0, 0.0]], dtype=np.float32), 3, 1)
    assert found["top.classes"].tolist() == [[1, 2, 0]]
    assert found["top.scores"].tolist() == [[3.0, 3.0, 1.0]]


def test_a_class_that_the_model_chose_itself_is_taken_as_it_is():
    assert top(np.array([4, 2], dtype=np.int64), 5, 2)["top.classes"].tolist() == [[4], [2]]


def test_the_best_unsigned_scores_are_no_negative_ones():
    assert top(np.array([[1, 255, 0]], dtype=np.uint8), 2, 1)["top.classes"].tolist() == [[1, 0]]


def test_errors_are_counted_by_item_and_kind():
    items = np.arange(12, dtype=np.float32).reshape(6, 2)

    def act(x, call):
        x = x.copy()
        x[x == 2.0] = np.nan  # item 1
        x[x == 7.0] = np.inf  # item 3
        return x

    records, _ = evaluated(items, 2, {"keep": "top"}, act, [{"name": "y", "shape": ["n", 3]}])
    errors = event(records)["errors"]
    assert errors["nan"]["items"] == [1]
    assert errors["inf"]["items"] == [3]
    assert errors["shape"]["count"] == 6
    assert "[2, 2], the model declares ['n', 3]" in errors["shape"]["why"]


def test_a_filled_up_batch_counts_no_item_twice():
    items = np.array([[np.nan], [1.0], [2.0]], dtype=np.float32)
    records, _ = evaluated(items, 2, {"keep": "all"})  # the second batch is filled up with item 0
    assert event(records)["errors"]["nan"] == {"count": 1, "items": [0], "why": "in output 'y'"}


def refusing(x, call):
    if call == 1:
        raise AgentFailure("bad-input", "index 9 is out of range")
    return x


def test_a_refused_item_is_counted_and_the_others_are_answered():
    records, found = evaluated(SCORES[:3], 1, {"keep": "all"}, refusing_once())
    assert found["y"][1] is None and np.array_equal(found["y"][2], SCORES[2])
    assert event(records)["errors"]["refused"] == {"count": 1, "items": [1], "why": "index 9 is out of range"}
    classes = [value for record in records if record["type"] == "outputs" for value in record["top1"]]
    assert classes[1] == -1


def refusing_once():
    seen = []

    def act(x, call):
        seen.append(0)
        return refusing(x, len(seen) - 1)

    return act


def test_without_a_word_a_refused_item_ends_the_run():
    with pytest.raises(AgentFailure, match="index 9"):
        evaluated(SCORES[:3], 1, {}, refusing_once())


def test_when_every_item_is_refused_the_run_fails():
    def never(x, call):
        raise AgentFailure("bad-input", "no")

    with pytest.raises(AgentFailure, match="every item was refused: no"):
        evaluated(SCORES[:3], 1, {"keep": "all"}, never)


def test_outputs_over_the_limit_are_refused_at_the_first_batch():
    runner_calls = []

    def act(x, call):
        runner_calls.append(call)
        return x

    with pytest.raises(AgentFailure, match="about 140 bytes, the limit is 100"):
        evaluated(SCORES, 1, {"keep": "all", "limit_bytes": 100}, act)
    assert runner_calls == [0]


def test_a_stable_model_is_equal_when_it_is_asked_again():
    records, _ = evaluated(SCORES, 2, {"keep": "all", "repeats": 2})
    assert event(records)["repeats"] == {"items": 7, "repeats": 2, "equal": True, "max_difference": 0.0}


def test_an_unstable_model_is_seen_with_its_difference():
    records, _ = evaluated(SCORES, 7, {"keep": "top", "repeats": 1}, lambda x, call: x + np.float32(call))
    told = event(records)["repeats"]
    assert not told["equal"]
    assert told["max_difference"] == pytest.approx(1.0, abs=1e-5)


def test_differences_where_there_is_no_number():
    nan = {"y": np.array([np.nan, 1.0])}
    assert differ(nan, {"y": np.array([np.nan, 1.0])}) == (True, 0.0)
    assert differ(nan, {"y": np.array([2.0, 1.0])}) == (False, None)
    assert differ(nan, {"y": np.array([1.0])}) == (False, None)
    assert differ({"y": "a"}, {"y": "b"}) == (False, None)


def test_equal_answers_have_equal_digests_and_others_not():
    first, second = (event(evaluated(SCORES, batch, {"keep": "top"})[0])["sha256"] for batch in (1, 1))
    other = event(evaluated(SCORES + 1, 1, {"keep": "top"})[0])["sha256"]
    assert first == second != other


def test_a_large_output_comes_in_parts(monkeypatch):
    monkeypatch.setattr("device_agents.answers.PART_BYTES", 64)
    noise = np.random.default_rng(1).normal(size=(3, 100)).astype(np.float32)
    records, found = evaluated(noise, 1, {"keep": "all"})
    assert max(record["parts"] for record in records if record["type"] == "tensors") > 3
    assert np.array_equal(np.stack(found["y"]), noise)
