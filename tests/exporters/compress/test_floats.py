"""Small number formats equal ml_dtypes bit by bit, round as they say, and saturate instead of overflowing."""

from __future__ import annotations

from pathlib import Path

import ml_dtypes
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from exporters.compress.families.source import FloatRows
from exporters.compress.families.tables import emulated
from exporters.compress.floats import float_format, power_of_two_scale
from mobile.errors import UsageError

THEIRS = {
    "fp16": np.float16, "bf16": ml_dtypes.bfloat16, "fp8e4m3": ml_dtypes.float8_e4m3fn,
    "fp8e5m2": ml_dtypes.float8_e5m2, "fp6e3m2": ml_dtypes.float6_e3m2fn, "fp6e2m3": ml_dtypes.float6_e2m3fn,
    "fp4e2m1": ml_dtypes.float4_e2m1fn,
}  # fmt: skip


@pytest.mark.parametrize("name", THEIRS)
def test_every_code_has_the_value_that_ml_dtypes_gives_it(name):
    ours = float_format(name).values()
    kind = np.uint16 if len(ours) > 256 else np.uint8
    theirs = np.arange(len(ours)).astype(kind).view(THEIRS[name]).astype(np.float32)
    assert np.array_equal(ours, theirs, equal_nan=True)


@pytest.mark.parametrize("name", THEIRS)
def test_nearest_rounding_equals_ml_dtypes_within_the_range(name):
    form = float_format(name)
    values = np.random.default_rng(0).normal(size=5000).astype(np.float32) * np.float32(min(form.largest, 1e4) / 4)
    middles = np.sort(form.values()[np.isfinite(form.values())].astype(np.float64))
    ties = ((middles[1:] + middles[:-1]) / 2).astype(np.float32)  # half-way points: to even
    values = np.clip(np.concatenate([values, ties, [0.0, -0.0]]).astype(np.float32), -form.largest, form.largest)
    assert np.array_equal(form.values()[form.encode(values)], values.astype(THEIRS[name]).astype(np.float32))


@pytest.mark.parametrize("name", [*THEIRS, "e4m3", "mxint8"])
def test_too_large_values_become_the_largest_finite_one(name):
    """Pychop 0.6.2 turned 500 into 0.0 in a format of 4 and 3 bits; here nothing overflows."""
    form = float_format(name)
    beyond = np.array([form.largest * 1.5, -form.largest * 1.5, np.inf])
    assert list(form.values()[form.encode(beyond)]) == [form.largest, -form.largest, form.largest]


@given(st.lists(st.floats(-60, 60, width=32), min_size=1, max_size=30), st.sampled_from(["e3m2", "e5m4", "fp4e2m1"]))
@settings(max_examples=80, deadline=None)
def test_directed_rounding_goes_where_it_says_and_to_a_neighbour(values, name):
    form = float_format(name)
    exact = np.clip(np.array(values, np.float32), -form.largest, form.largest)
    table = form.values()[np.isfinite(form.values())]
    up, down = (form.values()[form.encode(exact, mode)] for mode in ("up", "down"))
    zero, luck = (form.values()[form.encode(exact, mode)] for mode in ("zero", "stochastic"))
    assert (up >= exact).all()
    assert (down <= exact).all()
    assert (np.abs(zero) <= np.abs(exact)).all()
    for above, below, either, value in zip(up, down, luck, exact, strict=True):
        assert not ((table > below) & (table < above)).any()
        assert either in (above, below)
        assert above == below or below < value < above


PYCHOP = np.load(Path(__file__).resolve().parents[2] / "data" / "pychop" / "formats.npz")


@pytest.mark.parametrize("key", [key for key in PYCHOP.files if " " in key])
def test_every_rounding_mode_equals_pychop(key):
    """Values that Pychop 0.6.2 rounded; tests/data/pychop says how."""
    name, mode = key.split()
    form = float_format(name)
    assert np.array_equal(form.values()[form.encode(PYCHOP[name], mode)], PYCHOP[key])


@pytest.mark.parametrize("name", [key for key in PYCHOP.files if key.startswith("mx") and key != "mx"])
def test_mx_blocks_equal_pychop(name):
    weight = FloatRows("w", PYCHOP["mx"].shape, 0, PYCHOP["mx"])
    assert np.array_equal(emulated(weight, name, "none", "nearest", 0).dequantise(), PYCHOP[name])


def test_stochastic_rounding_keeps_the_mean_and_repeats_with_its_seed():
    form = float_format("e4m2")
    values = np.full(20_000, 1.1, np.float32)
    first, again, other = (form.encode(values, "stochastic", seed) for seed in (1, 1, 2))
    assert np.array_equal(first, again)
    assert not np.array_equal(first, other)
    assert abs(form.values()[first].mean() - 1.1) < 0.005


def test_the_shared_scale_of_mx_puts_the_largest_in_the_top_binade():
    form = float_format("mxfp4")
    scales = power_of_two_scale(np.array([[6.0, 7.9, 8.0, 0.0, 1e-45, 3e38]], np.float32), form)
    assert list(scales[0]) == [1.0, 1.0, 2.0, 2.0**-127, 2.0**-127, 2.0**125]


@pytest.mark.parametrize("name", ["fp7", "e9m1", "e8m8", "", "mxfp5", "int8"])
def test_an_unknown_format_lists_the_known_ones(name):
    with pytest.raises(UsageError, match="is not known") as caught:
        float_format(name)
    assert "fp8e4m3" in str(caught.value.hint)
