"""Checkpoints whose bytes the upstream packages wrote are read as those packages expand them."""

from pathlib import Path

import ml_dtypes
import numpy as np
import pytest

from exporters.checkpoints import open_checkpoint, read_checkpoint
from exporters.checkpoints.stored import open_stored
from exporters.compress.spec import read_spec, write_spec
from exporters.compress.tensors import CompressedModel

DATA = Path(__file__).parents[2] / "data/checkpoints"
FAMILIES = {
    "int8_channel": "int8", "int8_tensor_asym": "int8", "pack4_group_asym": "int4", "pack4_group_sym": "int4",
    "pack8_channel": "int8", "pack3_group": "nbit", "pack3_older": "nbit", "fp8_tensor": "fp8e4m3",
    "fp8_channel": "fp8e4m3",
    "fp8_block": "fp8e4m3", "sparse24_bf16": "2:4", "sparse24_fp8": "fp8e4m3", "gptq4": "int4",
    "gptq4_asym_order": "int4", "gptq3": "nbit", "gptq2": "int2", "gptq8": "int8", "gptq4_v2": "int4",
    "gptq3_v2": "nbit", "gptq4_carries": "int4", "awq4": "int4", "bitnet_bitlinear": "ternary",
    "bitnet_autobitlinear": "ternary",
    "torchao_int8": "int8", "torchao_int4_group": "int4", "torchao_int3_channel": "nbit",
}  # fmt: skip


def expected(name):
    """What upstream's own expansion gave: by weight, in its dtype."""
    stored = open_stored(DATA / name / "expected.safetensors")
    return {key: (stored.floats(key), stored[key].dtype) for key in stored}


def rounded(values, dtype):
    """The exact values in the dtype that upstream computes in: the one rounding that it makes."""
    kind = {"F32": np.float32, "F16": np.float16, "BF16": ml_dtypes.bfloat16}[dtype]
    return values.astype(kind).astype(np.float32)


@pytest.mark.parametrize("name", FAMILIES)
def test_every_value_is_upstreams_own(name):
    model = read_checkpoint(DATA / name)
    wanted = expected(name)
    assert set(model.tensors) == set(wanted)
    for key, (values, dtype) in wanted.items():
        tensor = model.tensors[key]
        assert tensor.family == FAMILIES[name]
        np.testing.assert_array_equal(rounded(tensor.dequantise(), dtype), values)


@pytest.mark.parametrize("name", FAMILIES)
def test_the_arrays_that_stayed_real_are_found(name):
    checkpoint = open_checkpoint(DATA / name)
    assert "down.bias" in checkpoint.reals
    assert not set(checkpoint.entries) & set(checkpoint.reals)
    assert all(np.isfinite(entry.load()).all() for entry in checkpoint.reals.values())


def test_a_program_of_pt2e_gives_its_integers():
    pytest.importorskip("torch")
    pytest.importorskip("onnxscript")
    model = read_checkpoint(DATA / "pt2e_int8/model.pt2")
    for key, (values, dtype) in expected("pt2e_int8").items():
        assert model.tensors[key].family == "int8"
        np.testing.assert_array_equal(rounded(model.tensors[key].dequantise(), dtype), values)


def test_the_order_of_gptqs_columns_is_kept():
    tensor = read_checkpoint(DATA / "gptq4_asym_order").tensors["up.weight"]
    assert tensor.group_index is not None
    assert not np.array_equal(tensor.group_index, np.sort(tensor.group_index))
    assert read_checkpoint(DATA / "gptq4").tensors["up.weight"].group_index is None


def test_zero_points_of_zero_occur_in_version_2_and_in_awq():
    for name in ("gptq4_v2", "awq4"):
        zeros = read_checkpoint(DATA / name).tensors["up.weight"].zero_points
        assert zeros.min() == 0
    assert read_checkpoint(DATA / "awq4").tensors["up.weight"].zero_points.max() == 15


@pytest.mark.parametrize("name", FAMILIES)
def test_it_becomes_a_compressed_spec_and_back(name, tmp_path):
    model = read_checkpoint(DATA / name)
    write_spec(CompressedModel(dict(model.tensors), model.origin), tmp_path / "x.safetensors")
    again = read_spec(tmp_path / "x.safetensors")
    for key, tensor in model.tensors.items():
        np.testing.assert_array_equal(again.tensors[key].dequantise(), tensor.dequantise())
        assert again.tensors[key].family == tensor.family


@pytest.mark.parametrize("name", ["lora", "lora_rs"])
def test_an_adapter_merges_as_peft_does(name):
    checkpoint = open_checkpoint(DATA / name)
    base = open_stored(DATA / name / "base.safetensors")
    merged = open_stored(DATA / name / "expected.safetensors")
    assert set(checkpoint.entries) == set(merged)
    for key, entry in checkpoint.entries.items():
        values = entry.load().merged(base.floats(key))
        np.testing.assert_allclose(values, merged.floats(key), rtol=2e-6, atol=2e-7)
        assert np.abs(values - base.floats(key)).max() > 1e-3
