"""Inputs: shapes bound by the spec, arrays that are never all zero, items cut into batches."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from device_agents import inputs as inputs_module
from device_agents.failures import AgentFailure
from device_agents.inputs import DTYPES, Feed, bind_shapes, make_feed, random_array
from device_agents.spec import AgentSpec


def declared(*entries):
    return [{"name": name, "dtype": dtype, "shape": list(shape)} for name, dtype, shape in entries]


def spec(**inputs):
    return AgentSpec(runner="ort", model_path="m", inputs={"kind": "random", "seed": 0, **inputs})


X = declared(("x", "float32", ["n", 3, "h", None]))


@pytest.mark.parametrize(
    ("batch", "dims", "data", "shape", "assumed"),
    [
        (1, {}, None, (1, 3, 1, 1), ["h", None]),
        (4, {}, None, (4, 3, 1, 1), ["h", None]),
        (4, {"h": 8, "x:3": 9}, None, (4, 3, 8, 9), []),
        (1, {"n": 6}, None, (6, 3, 1, 1), ["h", None]),
        (2, {}, {"x": (100, 3, 5, 6)}, (2, 3, 5, 6), []),
        (2, {"h": 7}, {"x": (100, 3, 5, 6)}, (2, 3, 7, 6), []),
    ],
)
def test_dimensions(batch, dims, data, shape, assumed):
    binding = bind_shapes(X, batch, dims, data)
    assert binding.shapes == {"x": shape}
    assert [entry["dim"] for entry in binding.assumed] == assumed


def test_a_name_has_one_size_in_every_input():
    two = declared(("state", "float32", [2, "batch"]), ("x", "float32", ["batch", "t"]), ("y", "int64", ["t"]))
    binding = bind_shapes(two, 3, {"t": 5})
    assert binding.shapes == {"state": (2, 3), "x": (3, 5), "y": (5,)}
    assert binding.assumed == []


@pytest.mark.parametrize(
    ("entries", "batch", "dims", "says"),
    [
        (declared(("x", "float32", [1, 3])), 2, {}, "batch 2"),
        (X, 1, {"w": 3}, "h, n, x:0, x:2, x:3"),
        (declared(("x", "float32", [1])), 1, {"w": 3}, "none"),
    ],
)
def test_sizes_that_do_not_fit_the_model(entries, batch, dims, says):
    with pytest.raises(AgentFailure, match=says) as caught:
        bind_shapes(entries, batch, dims)
    assert caught.value.code == "bad-input"


@given(
    dtype=st.sampled_from(DTYPES),
    shape=st.lists(st.integers(1, 4), max_size=3).map(tuple),
    seed=st.integers(0, 2**32),
)
def test_random_arrays_are_of_their_dtype_and_never_all_zero(dtype, shape, seed):
    array = random_array(np, np.random.default_rng(seed), dtype, shape)
    assert array.dtype == dtype
    assert array.shape == shape
    assert array.any()
    if dtype in inputs_module.SMALL_RANGE:
        assert set(array.reshape(-1).tolist()) <= {0, 1}


def test_random_inputs_repeat_with_their_seed():
    entries = declared(("x", "float32", [64]), ("y", "int8", [64]))
    binding = bind_shapes(entries, 64, {})

    def feed(seed):
        return make_feed(entries, binding, spec(seed=seed), None).batch(0)

    assert all((feed(1)[name] == feed(1)[name]).all() for name in "xy")
    assert (feed(1)["x"] != feed(2)["x"]).any()
    assert feed(1)["y"].min() < -64  # the whole range of int8
    assert feed(1)["y"].max() > 63


def test_inputs_that_would_fill_the_memory_are_refused_before():
    entries = declared(("x", "float32", ["n", 1024, 1024]))
    with pytest.raises(AgentFailure, match="the limit") as caught:
        make_feed(entries, bind_shapes(entries, 10**6, {}), spec(), None)
    assert caught.value.code == "bad-input"


def test_dtypes_without_an_array():
    entries = declared(("x", "bfloat16", [1]))
    with pytest.raises(AgentFailure, match="bfloat16"):
        make_feed(entries, bind_shapes(entries, 1, {}), spec(), None)


@given(items=st.integers(1, 20), batch=st.integers(1, 7))
def test_every_item_is_in_the_batches_once_and_the_last_one_wraps(items, batch):
    array = np.arange(items, dtype=np.float32).reshape(items, 1)
    feed = Feed({"x": array}, {"x": (batch, 1)})
    cut = np.concatenate([feed.batch(number)["x"] for number in range(feed.batches)]).reshape(-1)
    assert all(feed.batch(number)["x"].shape == (batch, 1) for number in range(feed.batches))
    assert cut[:items].tolist() == list(range(items))
    assert cut[items:].tolist() == [index % items for index in range(len(cut) - items)]


def test_an_array_of_the_models_own_shape_goes_whole_into_every_batch():
    feed = Feed(
        {"x": np.ones((6, 3), np.float32), "state": np.arange(4.0).reshape(2, 2)}, {"x": (3, 3), "state": (2, 2)}
    )
    assert (feed.batches, feed.items, feed.batch_size) == (2, 6, 3)
    assert (feed.batch(1)["state"] == feed.batch(0)["state"]).all()


def test_arrays_with_different_numbers_of_items():
    with pytest.raises(AgentFailure, match="x 4, y 6"):
        Feed({"x": np.ones((4, 1)), "y": np.ones((6, 1))}, {"x": (1, 1), "y": (1, 1)})


@pytest.mark.parametrize("keep", [True, False])
@pytest.mark.parametrize("dtype", ["float32", "float16", "float64"])
def test_scaled_data_is_converted_as_float32(monkeypatch, dtype, keep):
    monkeypatch.setattr(inputs_module, "KEEP_BYTES", 10**6 if keep else 0)
    entries = declared(("x", dtype, ["n", 2]))
    data = np.arange(256, dtype=np.uint8).reshape(128, 2)
    binding = bind_shapes(entries, 5, {}, {"x": data.shape})
    feed = make_feed(entries, binding, spec(scale={"x": 1 / 255}), {"x": data})
    expected = (data[5:10].astype(np.float32) * np.float32(1 / 255)).astype(dtype)
    for _ in range(2):
        assert feed.batch(1)["x"].dtype == dtype
        assert (feed.batch(1)["x"] == expected).all()
