"""Calibration inputs from files and functions, and evenly over timesteps; what is unfit is named."""

from __future__ import annotations

from collections import Counter

import numpy as np
import pytest

from exporters.calibration.read import calibration_samples
from exporters.calibration.timesteps import Timesteps, over_timesteps, parse_timesteps
from mobile.errors import ExportError, InputError, ModelError, UsageError
from mobile.formats import TensorInfo

FREE = (TensorInfo("x", "float32", ("batch", 4)), TensorInfo("t", "int64", ("batch",)))
FIXED = (TensorInfo("x", "float32", (2, 4)), TensorInfo("t", "int64", (2,)))


def program(tmp_path, body):
    path = tmp_path / "feeds.py"
    path.write_text("import numpy as np\n" + body)
    return path


def of(source, inputs=FREE, **others):
    return calibration_samples(source, inputs, {}, {}, **others)


@pytest.fixture
def steps(tmp_path):
    """500 items of 50 timesteps; x[:, 0] numbers them."""
    x = np.zeros((500, 4), np.float32)
    x[:, 0] = np.arange(500)
    np.savez(tmp_path / "feeds.npz", x=x, t=np.arange(500) % 50 * 20)
    return tmp_path / "feeds.npz"


GOOD = """
def feeds():
    for number in range(5):
        yield {"x": np.full((3, 4), number, np.float32), "t": np.arange(3), "more": 1}
"""


def test_a_function_gives_items_or_batches(tmp_path):
    samples = of(f"{program(tmp_path, GOOD)}:feeds")
    assert samples.items == 15
    assert [len(batch["x"]) for batch in samples.batches()] == [15]
    fixed = of(f"{program(tmp_path, GOOD.replace('3, 4', '2, 4').replace('arange(3)', 'arange(2)'))}:feeds", FIXED)
    assert [batch["x"][0, 0] for batch in fixed.batches()] == [0, 1, 2, 3, 4]


def test_a_function_may_give_a_list_of_arrays_of_the_right_type(tmp_path):
    body = "def feeds():\n return [{'x': [[1.0, 2, 3, 4]], 't': [7]}]\n"
    with pytest.raises(InputError, match="item 0: x: float64, expected float32"):
        of(f"{program(tmp_path, body)}:feeds")
    body = "def feeds():\n return [{'x': np.ones((1, 4), np.float32), 't': np.array([7])}]\n"
    assert of(f"{program(tmp_path, body)}:feeds").items == 1


BAD = {
    "nothing": ("def feeds(): return []", InputError, "no items"),
    "no iterable": ("def feeds(): return 3", InputError, "gave int, an iterable"),
    "one dict": ("def feeds(): return {'x': 1}", InputError, "gave dict, an iterable"),
    "no dict": ("def feeds(): return [3]", ExportError, "failed: TypeError"),
    "its own error": ("def feeds():\n yield 1 / 0", ExportError, r"failed: ZeroDivisionError: .*\(feeds.py:3\)"),
    "no function": ("feeds = 3", UsageError, "has no function 'feeds'"),
    "an input missing": ("def feeds(): yield {'x': np.ones((1, 4), np.float32)}", InputError, "t is missing; it has x"),
    "another shape": ("def feeds(): yield {'x': np.ones((1, 5), np.float32), 't': np.ones(1, int)}", InputError,
                      r"item 0: x: shape \[1, 5\], expected \[any, 4\]"),
    "objects": ("def feeds(): yield {'x': np.array([{}]), 't': np.ones(1, int)}", InputError, "no array of numbers"),
    "NaN": ("def feeds(): yield {'x': np.full((1, 4), np.nan, np.float32), 't': np.ones(1, int)}", InputError,
            "x holds NaN"),
    "unequal": ("def feeds(): yield {'x': np.ones((2, 4), np.float32), 't': np.ones(3, int)}", InputError,
                "different numbers of items: x 2, t 3"),
}  # fmt: skip


@pytest.mark.parametrize("what", BAD)
def test_a_function_that_gives_something_unfit_is_told_so(what, tmp_path):
    body, kind, words = BAD[what]
    with pytest.raises(kind, match=words) as caught:
        of(f"{program(tmp_path, body)}:feeds")
    assert "\n" not in str(caught.value)


def test_a_file_that_is_not_there_is_named(tmp_path):
    with pytest.raises(ModelError, match=r"nothing\.py: there is no such file"):
        of(tmp_path / "nothing.py:feeds")


def test_a_function_without_an_end_is_stopped(tmp_path, monkeypatch):
    monkeypatch.setattr("exporters.calibration.read.MAX_FEEDS", 10)
    body = "def feeds():\n while True: yield {'x': np.ones((1, 4), np.float32), 't': np.ones(1, int)}\n"
    with pytest.raises(InputError, match="more than 10 items"):
        of(f"{program(tmp_path, body)}:feeds")


def test_timesteps_are_taken_evenly_and_the_same_again(steps):
    samples = of(steps, timesteps=Timesteps("t", 5, 3))
    times = Counter(samples.stacked["t"].tolist())
    assert list(times.values()) == [3] * 5
    assert min(times) == 0
    assert max(times) == 980
    gaps = np.diff(sorted(times))
    assert gaps.max() - gaps.min() <= 20
    assert samples.items == 15
    assert "5 of 50 values of t, 0 to 980: 15 of 500 items" in samples.notes[0]
    assert np.array_equal(samples.stacked["x"][:, 0] % 50 * 20, samples.stacked["t"])
    again = of(steps, timesteps=Timesteps("t", 5, 3))
    assert np.array_equal(samples.stacked["x"], again.stacked["x"])
    other = of(steps, timesteps=Timesteps("t", 5, 3), seed=1)
    assert not np.array_equal(samples.stacked["x"], other.stacked["x"])


def test_more_than_there_is_takes_everything(steps):
    samples = of(steps, timesteps=Timesteps("t", 1000, 1000))
    assert samples.items == 500


@pytest.mark.parametrize("size", [2, 16])
def test_fixed_batches_stay_whole(tmp_path, size):
    """Also of 16, as many as a free batch is fed at once."""
    inputs = (TensorInfo("x", "float32", (size, 4)), TensorInfo("t", "int64", (size,)))
    t = np.repeat(np.arange(10), size)
    np.savez(tmp_path / "a.npz", x=np.repeat(t[:, None], 4, 1).astype(np.float32), t=t)
    samples = of(tmp_path / "a.npz", inputs, timesteps=Timesteps("t", 4, 1))
    batches = list(samples.batches())
    assert [batch["t"].tolist() for batch in batches] == [[step] * size for step in (0, 3, 6, 9)]
    assert all((batch["x"] == batch["t"][:, None]).all() for batch in batches)


def test_an_input_that_is_no_timestep_is_refused_with_those_that_are(steps):
    for name in ("x", "nothing"):
        with pytest.raises(InputError, match=f"not one number '{name}'") as caught:
            over_timesteps(of(steps), Timesteps(name), 0)
        assert caught.value.hint == "Inputs that have: t."


def test_timesteps_are_written_short():
    assert parse_timesteps("t") == Timesteps("t", 20, 8)
    assert parse_timesteps("a/b:0:20:8") == Timesteps("a/b:0", 20, 8)
    for text in ("", ":3", "t:0", "t:x", "t:3:", "t:1:9999999"):
        with pytest.raises(UsageError, match="timesteps"):
            parse_timesteps(text)
