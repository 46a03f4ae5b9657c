"""Each family's algorithm does what its source says: checked against the formula, a brute force, or the optimum."""

from __future__ import annotations

import itertools
import tracemalloc

import numpy as np
import pytest

from exporters.compress import fit
from exporters.compress.families import structure, tables
from exporters.compress.families.source import FloatRows
from exporters.compress.schemes import FAMILIES, compress, parse_scheme
from exporters.compress.tensors import Affine, Dense, Shared
from mobile.errors import ModelError, UsageError

RNG = np.random.default_rng(0)
WEIGHT = (RNG.standard_t(5, size=(96, 40)) * 0.02).astype(np.float32)  # a MatMul's [K, N]
CONV = RNG.normal(size=(24, 8, 3, 3)).astype(np.float32)


def one(text, weight=WEIGHT, axis=1):
    return compress({"w": (weight, "matmul", axis)}, parse_scheme(text)).tensors["w"]


def error(text, weight=WEIGHT, axis=1):
    return float(np.linalg.norm(one(text, weight, axis).dequantise() - weight) / np.linalg.norm(weight))


EVERY = [name for name in FAMILIES if name not in ("float", "shared")]


@pytest.mark.parametrize("name", [*EVERY, "int1", "int3", "int5", "e5m4", "int4:g=tensor", "int8:asym", "binary:g=32"])
def test_every_family_keeps_shape_and_is_closer_than_zero(name):
    for weight, axis in ((WEIGHT, 1), (WEIGHT.T, 0), (CONV, 0), (CONV.transpose(1, 0, 2, 3), 1)):
        scheme = name + (":block=4" if name == "block-pruned" else "")
        found = one(scheme, weight, axis)
        assert found.shape == weight.shape
        assert found.dequantise().shape == weight.shape
        assert found.bits < 32
        assert error(scheme, weight, axis) < 1


@pytest.mark.parametrize("name", EVERY)
def test_a_weight_of_zeros_and_one_of_a_single_column_are_no_trouble(name):
    zero = np.zeros((64, 8), np.float32)
    found = one(name + (":block=4" if name == "block-pruned" else ""), zero)
    assert np.isfinite(found.dequantise()).all()
    assert np.abs(found.dequantise()).max() == 0
    left = compress({"a": (WEIGHT, "gemm", 1), "w": (WEIGHT[:1], "matmul", 1)}, parse_scheme(name))
    assert "w" in left.tensors or "w" in left.origin["left_float"]


def test_more_bits_are_closer():
    errors = [error(f"nbit:b={bits}:g=32") for bits in range(1, 9)]
    assert errors == sorted(errors, reverse=True)
    assert errors[7] < 0.01


@pytest.mark.parametrize("text", ["int4:g=32", "int2:g=16", "int3:g=row", "int4:g=tensor"])
def test_the_search_for_the_clipping_never_makes_it_worse(text):
    assert error(text) <= error(f"{text}:no-search")


def test_round_to_nearest_is_within_half_a_step():
    for text in ("int8", "int8:asym", "int4:no-search"):
        found = one(text)
        step = found.spread(found.scales)
        assert (np.abs(found.dequantise_rows() - WEIGHT.T) <= step * 0.5001).all()


def test_the_scale_of_a_sign_is_the_mean_magnitude():
    found = one("binary:g=row")
    assert np.allclose(found.scales[:, 0], np.abs(WEIGHT).mean(0), rtol=1e-6)
    with_mean = one("binary:g=row:offset")
    assert np.allclose(with_mean.offsets[:, 0], WEIGHT.mean(0), rtol=1e-4, atol=1e-8)
    assert error("binary:offset") <= error("binary")


def test_ternary_is_absmean_rounding_or_the_threshold_of_twn():
    found = one("ternary")
    scale = np.abs(WEIGHT.astype(np.float64)).mean()
    assert found.scales == pytest.approx(scale)
    assert np.array_equal(found.codes, np.clip(np.rint(WEIGHT.T / np.float32(scale)), -1, 1))
    other = one("ternary:fit=twn")
    kept = np.abs(WEIGHT.T) > 0.7 * scale
    assert np.array_equal(other.codes != 0, kept)
    assert other.scales == pytest.approx(np.abs(WEIGHT.T[kept]).mean())
    assert error("ternary:fit=twn") < error("ternary")


def test_dual_binary_finds_the_four_levels_that_made_the_weight():
    b1, b2 = RNG.integers(0, 2, (2, 8, 64))
    exact = (0.31 * b1 - 0.12 * b2).astype(np.float32)
    assert error("dual-binary:g=row", exact, 0) < 1e-6
    assert error("dual-binary:g=row") < error("ternary:g=row:fit=twn") < error("binary")


def test_dual_binary_codes_are_the_nearest_levels():
    found = one("dual-binary:g=row")
    levels = np.stack([np.zeros_like(found.a1), found.a2, found.a1, found.a1 + found.a2], axis=2)[:, 0]
    best = np.abs(WEIGHT.T[:, :, None].astype(np.float64) - levels[:, None, :]).min(axis=2)
    assert np.allclose(np.abs(found.dequantise_rows() - WEIGHT.T), best, atol=1e-7)


@pytest.mark.parametrize("exponents", [2, 7, 8])
def test_powers_of_two_are_zero_free_nearest_and_within_their_exponents(exponents):
    found = one(f"power-of-two:e={exponents}")
    assert found.largest_exponent == exponents - 1
    assert (found.dequantise() != 0).all()
    levels = found.scales * 2.0 ** np.arange(exponents)
    best = np.abs(np.abs(WEIGHT.T)[:, :, None] - levels[:, None, :]).min(axis=2)
    assert np.allclose(np.abs(found.dequantise_rows() - WEIGHT.T), best, atol=1e-7)


def test_k_means_equals_the_best_split_of_a_small_set():
    values = RNG.normal(size=12).astype(np.float32)
    points = np.sort(values)
    best = min(
        sum(float(((part - part.mean()) ** 2).sum()) for part in np.split(points, cuts))
        for cuts in map(list, itertools.combinations(range(1, 12), 3))
    )
    table = tables.k_means(values, 4)
    have = float(np.square(values[:, None] - table[None]).min(1).sum())
    assert have <= best * 1.25
    assert list(table) == sorted(table)


def test_codebooks_beat_an_even_grid_of_as_many_levels():
    assert error("codebook:b=4") < error("nbit:b=4:g=tensor:no-search")
    assert error("codebook:b=8") < error("nbit:b=8:g=tensor")
    assert error("codebook:per=row") < error("codebook")


def test_a_codebook_of_few_values_is_exact():
    few = RNG.choice(np.array([-1.5, 0.25, 3.0], np.float32), (64, 64))
    assert error("codebook", few) == 0


def test_pruned_blocks_are_those_of_least_norm_and_even_over_rows():
    found = one("block-pruned:block=8x16:zero=0.5", WEIGHT.T, 0)
    assert list(found.mask.sum(1)) == [3] * 5
    norms = np.square(WEIGHT.T.reshape(5, 8, 6, 16)).sum(axis=(1, 3))
    for row, kept in zip(norms, found.mask, strict=True):
        assert row[kept].min() >= row[~kept].max()
    uneven = one("block-pruned:block=8x16:zero=0.5:uneven", WEIGHT.T, 0)
    assert norms[uneven.mask].min() >= norms[~uneven.mask].max()
    small = one("block-pruned:block=8:values=int4")
    assert isinstance(small.values, Affine)
    assert small.bits < found.bits / 4


def test_sparse_keeps_the_largest_and_2_of_4_two_of_each_four():
    found = one("sparse:zero=0.75")
    magnitudes = np.abs(WEIGHT.T)
    assert found.mask.sum() == WEIGHT.size // 4
    assert magnitudes[found.mask].min() >= magnitudes[~found.mask].max()
    pairs = one("2:4", WEIGHT[:94]).mask
    assert (pairs[:, :92].reshape(40, -1, 4).sum(2) == 2).all()
    assert pairs[:, 92:].all()


@pytest.mark.parametrize("limit", [1024, 8])
@pytest.mark.parametrize("rank", [1, 3])
def test_low_rank_is_as_near_as_the_singular_values_allow(rank, limit, monkeypatch):
    """By all singular values, by the Gram matrix and by random probes."""
    monkeypatch.setattr(structure, "_EXACT_SIDE", limit)
    monkeypatch.setattr(structure, "_EXTRA", 1 if rank == 3 else 16)
    for weight in (WEIGHT, WEIGHT.T):
        found = one(f"low-rank:r={rank}", weight)
        best = np.sqrt(np.square(np.linalg.svd(weight, compute_uv=False)[rank:]).sum())
        assert found.rank == rank
        assert np.linalg.norm(found.dequantise() - weight) == pytest.approx(best, rel=2e-2)


def test_equal_weights_are_shared_and_others_are_not():
    weights = {"a": (WEIGHT, "matmul", 1), "b": (WEIGHT.copy(), "matmul", 1), "c": (WEIGHT * 2, "matmul", 1)}
    model = compress(weights, parse_scheme("shared"))
    assert isinstance(model.tensors["a"], Dense)
    assert isinstance(model.tensors["b"], Shared)
    assert model.tensors["b"].source is model.tensors["a"]
    assert np.array_equal(model.tensors["b"].dequantise(), WEIGHT)
    assert model.origin["left_float"] == {"c": "no other weight of its pattern is equal"}


def test_sharing_by_the_mean_and_quantised_makes_one_of_all():
    weights = {name: (WEIGHT + shift, "matmul", 1) for name, shift in (("a", 0), ("b", 0.01), ("c", 0.02))}
    weights["other"] = (WEIGHT[:48], "matmul", 1)
    model = compress(weights, parse_scheme("shared:merge=mean:of=int8"))
    assert model.tensors["a"].family == "int8"
    assert model.tensors["c"].source is model.tensors["b"].source is model.tensors["a"]
    assert np.allclose(model.tensors["c"].dequantise(), WEIGHT + 0.01, atol=0.002)
    assert model.packed_bytes < 1.3 * 96 * 40 + 1.3 * 48 * 40


def test_a_tied_embedding_is_shared_through_another_axis():
    weights = {"embed": (WEIGHT.T, "gather", 0), "head": (WEIGHT, "matmul", 1)}
    model = compress(weights, parse_scheme("shared:of=int4"))
    assert isinstance(model.tensors["head"], Shared)
    assert np.array_equal(model.tensors["head"].dequantise(), model.tensors["embed"].dequantise().T)


@pytest.mark.parametrize("text", ["int4:g=16", "int3:g=row", "binary:offset", "dual-binary", "power-of-two",
                                  "ternary:g=32", "mxfp4", "fp8:scale=row"])  # fmt: skip
def test_bands_of_rows_give_what_the_whole_gives(text, monkeypatch):
    whole = one(text).dequantise()
    monkeypatch.setattr(fit, "_BAND", 300)
    assert np.array_equal(one(text).dequantise(), whole)


def test_temporary_memory_stays_below_the_weight_itself():
    large = np.zeros((2048, 4096), np.float32)
    large[:, ::3] = 1
    tracemalloc.start()
    one("int4:no-search", large, 0)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < 6 * large.size  # codes take 1 byte a weight, the bands' temporary arrays the rest


def test_bad_weights_are_refused_by_name():
    broken = WEIGHT.copy()
    broken[3, 4] = np.nan
    broken[5, 6] = np.inf
    with pytest.raises(ModelError, match=r"weight 'w': 2 of 3840 values are NaN or infinite"):
        one("int8", broken)
    with pytest.raises(ModelError, match="is no float weight"):
        one("int8", np.ones((8, 8), np.int64))


def test_what_would_not_become_smaller_stays_float_and_says_so():
    weights = {"tiny": (WEIGHT[:, :2][:2], "matmul", 1), "w": (WEIGHT, "matmul", 1)}
    model = compress(weights, parse_scheme("codebook:b=8"))
    assert "tiny" in model.origin["left_float"]
    assert "float 16" in model.origin["left_float"]["tiny"]
    with pytest.raises(UsageError, match="compresses none of 1 weights") as caught:
        compress({"fc": (WEIGHT, "gemm", 1)}, parse_scheme("*.conv=int8"))
    assert "fc" in str(caught.value.hint)


def test_a_format_that_rounds_every_weight_to_zero_is_refused():
    with pytest.raises(UsageError, match="every value rounds to zero in fp4e2m1") as caught:
        one("fp4e2m1:scale=none", WEIGHT / 100)
    assert "scale=row" in str(caught.value.hint)


def test_half_precision_and_bfloat16_weights_are_taken():
    import ml_dtypes

    for kind in (np.float16, ml_dtypes.bfloat16):
        array = WEIGHT.astype(kind)
        found = fit.float_rows("w", array, 1)
        assert isinstance(found, FloatRows)
        assert np.array_equal(found.values.T, array.astype(np.float32))
