"""Answers as a stranger sends them: whole ones arrive, damaged ones are named, nothing is unpacked beyond its size."""

from __future__ import annotations

import base64
import zlib

import numpy as np
import pytest

from mobile.errors import AgentError
from mobile.results.answers import Answer, AnswerTaker, by_item, outputs_by_item, write_npz
from tests.support.runs import simple_run


def record(**changes):
    """A sound record of two values, with changes."""
    data = np.arange(6, dtype="<f4").tobytes()
    sound = {
        "type": "tensors", "name": "y", "dtype": "float32", "numbers": [0, 1], "shapes": [[1, 3], [1, 3]],
        "sizes": [12, 12], "data": base64.b64encode(zlib.compress(data)).decode(), "part": 0, "parts": 1,
    }  # fmt: skip
    return {**sound, **changes}


def test_a_sound_record_gives_its_values():
    name, (first, second) = AnswerTaker().take(record())
    assert name == "y"
    assert first.value().tolist() == [[0.0, 1.0, 2.0]]
    assert second.number == 1 and second.value().tolist() == [[3.0, 4.0, 5.0]]


BOMB = base64.b64encode(zlib.compress(bytes(10_000_000))).decode()


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"shapes": [[1, 3]]}, "not equally many"),
        ({"sizes": [12, 13]}, "does not take 13 bytes"),
        ({"sizes": [12, -12]}, "no list of whole numbers"),
        ({"dtype": "object"}, "dtype 'object'"),
        ({"dtype": "float64"}, "does not take 12 bytes"),
        ({"data": BOMB}, "are 25 bytes or more, expected 24"),
        ({"data": "%%%"}, "damaged"),
        ({"data": base64.b64encode(b"no zlib").decode()}, "damaged"),
        ({"data": None}, "damaged"),
        ({"part": 1}, "expected part 0"),
        ({"parts": 0}, "part 0 of 0"),
        ({"numbers": "01"}, "no list"),
        ({"shapes": [[2**40, 2**40], [1, 3]], "sizes": [2**82, 12]}, "take more than"),
    ],
)
def test_a_damaged_record_is_named(changes, message):
    with pytest.raises(AgentError, match=message):
        AnswerTaker().take(record(**changes))


def test_values_of_several_items_become_one_each_and_the_filling_is_dropped():
    answers = [Answer(0, "int32", (2, 1), np.array([1, 2], "<i4").tobytes()),
               Answer(1, "int32", (2, 1), np.array([3, 1], "<i4").tobytes())]  # fmt: skip
    assert [value.tolist() for value in by_item(answers, 3, 2)] == [[1], [2], [3]]


def test_an_output_without_the_axis_of_the_batch_cannot_be_told_apart():
    with pytest.raises(AgentError, match="no axis of the batch's 2 items"):
        by_item([Answer(0, "float32", (), np.float32(1).tobytes())], 2, 2)


@pytest.fixture
def run():
    made = simple_run([1_000_000])
    made.events.append({"t_ns": 0, "name": "evaluated", "detail": {"items": 3, "batch_size": 1, "batched": True}})
    return made


def values(*arrays):
    return [
        Answer(number, array.dtype.name, array.shape, array.tobytes())
        for number, array in enumerate(arrays)
        if array is not None
    ]


def test_outputs_become_one_array_in_a_file(run, tmp_path):
    run.answers = {"y": values(*(np.full((1, 2), value, np.float32) for value in (1, 2, 3)))}
    write_npz(run, tmp_path / "out.npz")
    with np.load(tmp_path / "out.npz") as found:
        assert found["y"].tolist() == [[1, 1], [2, 2], [3, 3]]


def test_outputs_of_different_shapes_and_gaps_become_one_array_each(run, tmp_path):
    run.answers = {"boxes": values(np.ones((2, 4)), None, np.ones((3, 4)))}
    assert outputs_by_item(run)["boxes"][1] is None
    write_npz(run, tmp_path / "out.npz")
    with np.load(tmp_path / "out.npz") as found:
        assert {name: found[name].shape for name in found} == {"boxes.0": (2, 4), "boxes.2": (3, 4)}


def test_a_run_without_outputs_says_so(run):
    with pytest.raises(AgentError, match="kept no outputs"):
        outputs_by_item(run)
