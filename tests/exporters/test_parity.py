"""The comparison of an artifact with its source."""

import numpy as np
import pytest

from exporters.parity import compare, compare_tensor


@pytest.mark.parametrize(
    ("dtype", "change", "ok"),
    [
        ("float32", 5e-5, True),
        ("float32", 5e-4, False),
        ("float16", 4e-3, True),
        ("float16", 2e-2, False),
        ("float64", 1e-10, True),
        ("float64", 1e-8, False),
    ],
)
def test_each_dtype_has_its_tolerance(dtype, change, ok):
    want = np.array([1.0, 1e-9, -0.5], dtype)
    have = want.copy()
    have[1] = np.asarray(change, dtype)
    assert compare_tensor("y", want, have).ok is ok


def test_the_error_is_a_share_of_the_largest_magnitude():
    found = compare_tensor("y", np.array([0.0, 1000.0], np.float32), np.array([0.05, 1000.0], np.float32))
    assert found.error == pytest.approx(5e-5) and found.ok


@pytest.mark.parametrize("dtype", ["int64", "uint8", "bool"])
def test_whole_numbers_must_be_equal(dtype):
    want = np.array([0, 1, 1], dtype)
    assert compare_tensor("y", want, want).ok
    found = compare_tensor("y", want, np.array([0, 1, 0], dtype))
    assert not found.ok and "1 of 3 values differ" in found.why


def test_nan_and_infinity_must_stand_at_the_same_places():
    want = np.array([np.nan, np.inf, 1.0], np.float32)
    assert compare_tensor("y", want, want.copy()).ok
    for have in ([np.nan, -np.inf, 1.0], [0.0, np.inf, 1.0], [np.nan, np.inf, np.nan]):
        assert not compare_tensor("y", want, np.array(have, np.float32)).ok


@pytest.mark.parametrize("have", [np.zeros((2, 1), np.float32), np.zeros(2, np.float64)])
def test_another_shape_or_dtype_is_a_difference(have):
    assert not compare_tensor("y", np.zeros(2, np.float32), have).ok


def test_zero_and_empty_sources():
    zero = np.zeros(3, np.float32)
    assert compare_tensor("y", zero, zero).ok and not compare_tensor("y", zero, zero + 1).ok
    assert compare_tensor("y", np.zeros(0, np.float32), np.zeros(0, np.float32)).ok


def test_the_worst_output_over_all_inputs_is_named():
    feeds = [{"x": np.float32(1)}, {"x": np.float32(2)}]

    def source(feed):
        return [np.ones(2, np.float32), np.ones(2, np.float32)]

    def artifact(feed):
        return [np.ones(2, np.float32), np.ones(2, np.float32) * (1 + (feed["x"] == 2) * np.float32(0.25))]

    found = compare(source, artifact, feeds, ["good", "bad"], "given")
    assert not found.ok and found.worst.name == "bad" and found.worst.error == pytest.approx(0.25)
    assert found.to_json()["worst"] == "bad"


def test_a_missing_output_is_a_difference():
    found = compare(lambda feed: [1, 2], lambda feed: [1], [{}], ["a", "b"], "given")
    assert not found.ok and "2 outputs" in found.worst.why
