"""Damaged and foreign checkpoints end in one line; what is large is not read before it is needed."""

import json
import struct
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from safetensors.numpy import load_file, save_file

from exporters.checkpoints import open_checkpoint, read_checkpoint
from exporters.checkpoints.stored import open_stored
from mobile.errors import ModelError

DATA = Path(__file__).parents[2] / "data/checkpoints"


def write(folder, arrays, config):
    save_file(arrays, folder / "model.safetensors")
    (folder / "config.json").write_text(json.dumps({"quantization_config": config}))
    return folder


def gptq(folder, **changes):
    """The GPTQ checkpoint with arrays replaced (None: left out)."""
    arrays = {**load_file(DATA / "gptq4/model.safetensors"), **changes}
    config = json.loads((DATA / "gptq4/config.json").read_text())["quantization_config"]
    return write(folder, {key: value for key, value in arrays.items() if value is not None}, config)


@pytest.mark.parametrize(
    ("changes", "message"),
    [({"up.scales": None}, "up.scales is missing: the scales"), ({"up.qzeros": None}, "up.qzeros is missing"),
     ({"up.scales": np.ones((2, 64), np.float16)}, r"up.scales is \[2, 64\], expected \[3, 64\]"),
     ({"up.scales": np.ones((3, 64), np.int32)}, "up.scales is I32, expected F64 or"),
     ({"up.qweight": np.zeros((12, 64), np.float32)}, "up.qweight is F32, expected I32")],
)  # fmt: skip
def test_a_part_that_is_missing_or_wrong_is_named(changes, message, tmp_path):
    with pytest.raises(ModelError, match=message) as caught:
        open_checkpoint(gptq(tmp_path, **changes))
    assert "\n" not in caught.value.message


@pytest.mark.parametrize("value", [np.nan, np.inf])
def test_scales_that_are_no_numbers_are_refused(value, tmp_path):
    scales = load_file(DATA / "gptq4/model.safetensors")["up.scales"].copy()
    scales[1, 5] = value
    checkpoint = open_checkpoint(gptq(tmp_path, **{"up.scales": scales}))
    with pytest.raises(ModelError, match=r"up.scales holds NaN or infinity"):
        checkpoint.entries["up.weight"].load()


@pytest.mark.parametrize(
    ("config", "message"),
    [({"quant_method": "gptq", "bits": 5}, "bits 5"), ({"quant_method": "gguf"}, "the method 'gguf' cannot be read"),
     ({"quant_method": "gptq", "bits": 4, "checkpoint_format": "marlin"}, "layout 'marlin'"),
     ({"quant_method": "gptq", "bits": 4, "dynamic": {"a": {}}}, "per module"),
     ({"quant_method": "awq", "bits": 4, "version": "gemv"}, "AWQ of version gemv"),
     ({"quant_method": "bitnet"}, "no weight in it is packed so")],
)  # fmt: skip
def test_what_cannot_be_read_says_what_it_is(config, message, tmp_path):
    arrays = load_file(DATA / "gptq4/model.safetensors")
    with pytest.raises(ModelError, match=message):
        open_checkpoint(write(tmp_path, arrays, config))


def test_without_a_configuration_nothing_is_guessed(tmp_path):
    save_file(load_file(DATA / "gptq4/model.safetensors"), tmp_path / "model.safetensors")
    with pytest.raises(ModelError, match="nothing says how its weights are packed"):
        open_checkpoint(tmp_path)


def test_a_shard_outside_the_folder_is_refused(tmp_path):
    (tmp_path / "model.safetensors.index.json").write_text(json.dumps({"weight_map": {"a": "../b.safetensors"}}))
    with pytest.raises(ModelError, match="not in the folder"):
        open_checkpoint(tmp_path)


def test_a_name_that_is_not_there_cannot_be_renamed():
    with pytest.raises(ModelError, match=r"has no weight 'over.weight'; it has"):
        read_checkpoint(DATA / "gptq4", {"over.weight": "x"})


def test_a_checkpoint_of_gigabytes_is_opened_by_its_header(tmp_path):
    """3 GB with a hole in it: one read of the whole would be seen in the test's time limit and memory."""
    rows, columns = 40_000, 80_000
    header = {
        "up.weight": {"dtype": "I8", "shape": [rows, columns], "data_offsets": [0, rows * columns]},
        "up.weight_scale": {
            "dtype": "F32", "shape": [rows, 1], "data_offsets": [rows * columns, rows * columns + 4 * rows],
        },
    }  # fmt: skip
    text = json.dumps(header).encode()
    with (tmp_path / "model.safetensors").open("wb") as file:
        file.write(struct.pack("<Q", len(text)) + text)
        file.truncate(8 + len(text) + rows * columns + 4 * rows)
    weights = {"num_bits": 8, "type": "int", "symmetric": True, "strategy": "channel"}
    config = {"quant_method": "compressed-tensors", "config_groups": {"g": {"targets": ["Linear"], "weights": weights}}}
    (tmp_path / "config.json").write_text(json.dumps({"quantization_config": config}))
    checkpoint = open_checkpoint(tmp_path)
    assert checkpoint.entries["up.weight"].shape == (rows, columns)


@given(st.binary(max_size=60), st.integers(0, 200), st.integers(0, 1 << 40))
def test_any_bytes_are_a_checkpoint_or_one_line(tmp_path_factory, noise, cut, length):
    whole = (DATA / "gptq4/model.safetensors").read_bytes()
    path = tmp_path_factory.mktemp("noise") / "x.safetensors"
    for text in (noise, struct.pack("<Q", length) + noise, whole[:cut], whole[:8] + noise + whole[8 + len(noise) :]):
        path.write_bytes(text)
        try:
            open_stored(path)
        except ModelError as error:
            assert "\n" not in error.message


_JSON = st.recursive(
    st.none() | st.booleans() | st.integers(-3, 1 << 70) | st.text(max_size=4),
    lambda inner: (
        st.lists(inner, max_size=3) | st.dictionaries(st.sampled_from(["dtype", "shape", "a"]), inner, max_size=3)
    ),
    max_leaves=8,
)


@given(_JSON)
def test_any_header_is_read_or_refused(tmp_path_factory, value):
    path = tmp_path_factory.mktemp("header") / "x.safetensors"
    for document in (value, {"a": value}, {"a": {"dtype": "I8", "shape": value, "data_offsets": [0, 1]}},
                     {"a": {"dtype": value, "shape": [1], "data_offsets": [0, 1]}},
                     {"a": {"dtype": "I8", "shape": [1], "data_offsets": value}}):  # fmt: skip
        text = json.dumps(document).encode()
        path.write_bytes(struct.pack("<Q", len(text)) + text + b"\0\0")
        try:
            open_stored(path)
        except ModelError as error:
            assert "\n" not in error.message


@given(_JSON)
def test_any_configuration_is_read_or_refused(tmp_path_factory, value):
    folder = tmp_path_factory.mktemp("config")
    (folder / "model.safetensors").write_bytes((DATA / "pack4_group_sym/model.safetensors").read_bytes())
    weights = {"num_bits": 4, "type": "int", "strategy": "group", "group_size": 32}
    group = {"targets": ["Linear"], "weights": weights}
    method = {"quant_method": "compressed-tensors"}
    for config in (
        value, {"quant_method": value}, {"quant_method": "gptq", "bits": value},
        {"quant_method": "gptq", "bits": 4, "checkpoint_format": value, "meta": value},
        {"quant_method": "awq", "bits": 4, "group_size": value, "version": value},
        {**method, "config_groups": value}, {**method, "config_groups": {"a": {**group, "targets": value}}},
        {**method, "config_groups": {"a": {**group, "weights": value}}},
        {**method, "config_groups": {"a": {**group, "weights": {**weights, "group_size": value}}}},
        {**method, "config_groups": {"a": {**group, "weights": {**weights, "strategy": value, "num_bits": value}}}},
    ):  # fmt: skip
        (folder / "config.json").write_text(json.dumps({"quantization_config": config}))
        try:
            open_checkpoint(folder)
        except ModelError as error:
            assert "\n" not in error.message


@given(_JSON)
def test_any_adapter_configuration_is_read_or_refused(tmp_path_factory, value):
    folder = tmp_path_factory.mktemp("lora")
    (folder / "adapter_model.safetensors").write_bytes((DATA / "lora_rs/adapter_model.safetensors").read_bytes())
    whole = json.loads((DATA / "lora_rs/adapter_config.json").read_text())
    for key in ("r", "lora_alpha", "rank_pattern", "alpha_pattern", "use_rslora", "fan_in_fan_out", "peft_type"):
        (folder / "adapter_config.json").write_text(json.dumps({**whole, key: value}))
        try:
            for entry in open_checkpoint(folder).entries.values():
                entry.load()
        except ModelError as error:
            assert "\n" not in error.message


@given(_JSON)
def test_any_metadata_of_torchao_is_read_or_refused(tmp_path_factory, value):
    arrays = {"m._weight_qdata": np.ones((4, 8), np.int8), "m._weight_scale": np.ones((4, 1), np.float32)}
    folder = tmp_path_factory.mktemp("ao")
    entry = {"_type": "Int8Tensor", "_data": {"block_size": [1, 8]}}
    for about in (value, {**entry, "_type": value}, {**entry, "_data": value},
                  {**entry, "_data": {"block_size": value}},
                  {**entry, "_data": {"block_size": [1, 8], "target_dtype": value}}):  # fmt: skip
        metadata = {"tensor_names": json.dumps(["m.weight"]), "m.weight": json.dumps(about)}
        save_file(arrays, folder / "model.safetensors", metadata)
        try:
            for found in open_checkpoint(folder).entries.values():
                found.load()
        except ModelError as error:
            assert "\n" not in error.message
