"""The compressed spec: comes back bit for bit, is small, is readable with numpy alone, and damage is one clear line."""

from __future__ import annotations

import json
import random
from dataclasses import fields, replace

import ml_dtypes
import numpy as np
import pytest
from safetensors.numpy import load_file, save_file

from exporters.compress.entries import describe
from exporters.compress.spec import KEY, is_spec, read_spec, write_spec
from exporters.compress.tensors import Adapter, Blocks, CompressedModel, CompressedTensor, Shared, Ternary
from mobile.errors import EdgewiseError, ExportError, ModelError
from tests.exporters.compress.cases import N, all_tensors, floats

TENSORS = all_tensors()


def same(one, two):
    """Every field equal, arrays bit by bit and of one type."""
    assert type(one) is type(two)
    for field in fields(one):
        first, second = getattr(one, field.name), getattr(two, field.name)
        if isinstance(first, np.ndarray):
            assert first.dtype == second.dtype
            assert first.tobytes() == second.tobytes()
            assert first.shape == second.shape
        elif isinstance(first, CompressedTensor):
            assert first.shape == second.shape
            assert np.array_equal(first.dequantise(), second.dequantise())
        else:
            assert first == second


@pytest.fixture(scope="module")
def written(tmp_path_factory):
    path = tmp_path_factory.mktemp("spec") / "all.safetensors"
    write_spec(CompressedModel(TENSORS, {"tool": "a test", "sha256": "00"}), path)
    return path


def test_every_family_comes_back_bit_for_bit_in_its_order(written):
    found = read_spec(written)
    assert list(found.tensors) == list(TENSORS)
    assert found.origin == {"tool": "a test", "sha256": "00"}
    for name, tensor in TENSORS.items():
        same(found.tensors[name], tensor)
        assert found.tensors[name].bits == tensor.bits


def test_what_is_shared_is_one_object_and_stored_once(written):
    found = read_spec(written).tensors
    assert found["tied"].source is found["codebook-16"]
    assert not [key for key in load_file(written) if key.startswith("tied.")]


@pytest.mark.parametrize("name", [name for name in TENSORS if name != "tied"])
def test_the_stored_arrays_have_the_bytes_that_bits_counts(name):
    _, arrays = describe(TENSORS[name])
    assert sum(array.nbytes for array in arrays.values()) == TENSORS[name].packed_bytes


def test_ternary_codes_take_1_6_bits_when_asked(tmp_path):
    codes = np.random.default_rng(0).integers(-1, 2, (64, 1000)).astype(np.int8)
    tensor = Ternary("w", (64, 1000), 0, codes, floats(1, 1, 1), 1000)
    write_spec(CompressedModel({"w": tensor}), tmp_path / "t.safetensors", trits=True)
    assert load_file(tmp_path / "t.safetensors")["w.codes"].nbytes * 8 == 1.6 * codes.size
    same(read_spec(tmp_path / "t.safetensors").tensors["w"], replace(tensor, trits=True))


def custom(path, entry, arrays, name="w", **document):
    whole = {"schema": 1, "tensors": {name: entry}, **document}
    save_file({f"{name}.{part}": array for part, array in arrays.items()}, path, metadata={KEY: json.dumps(whole)})
    return path


INT4 = {"family": "int4", "shape": [3, 5], "axis": 0}
GOOD = {"codes": np.full((3, 5), 7, np.uint8), "scales": np.ones((3, 1), np.float32)}


def test_unpacked_codes_and_half_scales_are_read_too(tmp_path):
    for kind in (np.float16, ml_dtypes.bfloat16):
        path = custom(tmp_path / "a", {**INT4, "packing": "none"}, {**GOOD, "scales": np.full((3, 1), 0.5, kind)})
        assert (read_spec(path).tensors["w"].dequantise() == 3.5).all()


def test_what_is_not_a_spec_is_told_from_one(tmp_path, written):
    save_file({"a": np.ones(3)}, tmp_path / "plain")
    (tmp_path / "text").write_bytes(b"hello, this is text")
    assert is_spec(written)
    assert not any(map(is_spec, (tmp_path / "plain", tmp_path / "text", tmp_path / "none", tmp_path)))


def none(entry=INT4, **changes):
    return {**entry, "packing": "none", **changes}


PACKED = np.zeros((3, 3), np.uint8)
BAD = {
    "scales missing": (none(), {"codes": GOOD["codes"]}, "scales are missing: the file has no array 'w.scales'"),
    "codes missing": (INT4, {"scales": GOOD["scales"]}, "codes are missing"),
    "NaN scales": (none(), {**GOOD, "scales": np.full((3, 1), np.nan, np.float32)}, "scales hold NaN or infinity"),
    "overflowing scales": (none(), {**GOOD, "scales": np.full((3, 1), np.inf, np.float16)}, "NaN or infinity"),
    "integer scales": (none(), {**GOOD, "scales": np.ones((3, 1), np.int32)}, "F32 or F16 or BF16, not I32"),
    "scales of a wrong size": (none(), {**GOOD, "scales": np.ones((3, 2), np.float32)}, r"\[3, 1\], not \[3, 2\]"),
    "codes of a wrong size": (INT4, {**GOOD, "codes": np.zeros((3, 4), np.uint8)}, r"codes must be \[3, 3\], not"),
    "codes beyond": (none(), {**GOOD, "codes": np.full((3, 5), 16, np.uint8)}, r"within 0\.\.15"),
    "unknown family": ({**INT4, "family": "vq"}, GOOD, "family 'vq' is not known; known are int8"),
    "family of another kind": ({**INT4, "family": 4}, GOOD, "family must be a text, not 4"),
    "unknown packing": ({**INT4, "packing": "zip"}, GOOD, "packing 'zip' is not bits"),
    "trits of integers": ({**INT4, "packing": "trits"}, GOOD, "packing 'trits'"),
    "no shape": ({"family": "int4", "axis": 0}, GOOD, "shape must be a list of positive whole numbers, not None"),
    "negative shape": ({**INT4, "shape": [3, -5]}, GOOD, "positive whole numbers"),
    "huge shape": ({**INT4, "shape": [1 << 30, 1 << 30]}, GOOD, "has more than"),
    "shape the file does not hold": ({**INT4, "shape": [100_000, 50_000]}, GOOD, r"must be \[100000, 25000\], not"),
    "axis beyond": ({**INT4, "axis": 2}, GOOD, r"axis must be a whole number within 0\.\.1, not 2"),
    "axis true": ({**INT4, "axis": True}, GOOD, "not True"),
    "width of nine": ({**INT4, "family": "nbit", "width": 9}, GOOD, r"width must be a whole number within 1\.\.8"),
    "nbit without a width": ({**INT4, "family": "nbit"}, GOOD, "width must be"),
    "group of none": ({**INT4, "group": 0}, GOOD, "group must be"),
    "signed as text": ({**INT4, "signed": "yes"}, GOOD, "signed must be true or false"),
    "source unknown": ({**INT4, "family": "shared", "source": "nothing"}, {}, "its source 'nothing' is no weight"),
    "source itself": ({**INT4, "family": "shared", "source": "w"}, {}, "its source 'w'"),
    "alpha missing": ({**INT4, "family": "lora"}, {"left": floats(1, 3, 2), "right": floats(1, 2, 5)}, "alpha must be"),
    "factors that do not meet": ({**INT4, "family": "low-rank"}, {"left": floats(1, 3, 2), "right": floats(1, 3, 5)},
                                 r"right must be \[2, 5\], not \[3, 5\]"),
    "table of nothing": ({**INT4, "family": "codebook"}, {"codes": PACKED}, "table are missing"),
    "five of four": ({**INT4, "family": "5:4"}, {"mask": np.zeros((3, 1), np.uint8), "values": floats(1, 0)},
                     "5:4 is not a pattern"),
    "a value too many": ({**INT4, "family": "sparse"}, {"mask": np.zeros((3, 1), np.uint8), "values": floats(1, 9)},
                         r"values must be \[0\], not \[9\]"),
    "values that are no integers": ({**INT4, "family": "block-pruned", "block": [3, 5], "values": {"family": "binary"}},
                                    {"mask": np.ones((1, 1), np.uint8)}, "must be the entry of an integer family"),
    "exponent 255": ({**INT4, "family": "mxfp4", "group": 32}, {"codes": PACKED, "scale_exponents":
                     np.full((3, 1), 255, np.uint8)}, "scale_exponents hold NaN"),
    "digits beyond 242": ({**INT4, "family": "ternary", "packing": "trits"}, {"codes": np.full((3, 1), 250, np.uint8),
                          "scales": floats(1, 1, 1)}, "byte 250 is no five ternary digits"),
}  # fmt: skip


@pytest.mark.parametrize("what", BAD)
def test_a_part_that_is_wrong_is_named_in_one_line(what, tmp_path):
    entry, arrays, words = BAD[what]
    path = custom(tmp_path / "bad.safetensors", entry, {"": np.zeros(1), **arrays})
    with pytest.raises(ModelError, match=words) as caught:
        read_spec(path)
    message = str(caught.value)
    assert message.startswith(f"{path}: weight 'w'")
    assert "\n" not in message
    assert len(message) < 500


DOCUMENTS = {
    "[]": "has no object 'tensors'", "{": "is not JSON", "[" * 100_000: "is not JSON", '{"tensors": {}}': "schema None",
    '{"schema": 2, "tensors": {}}': "schema 2 is not 1", '{"schema": 1, "tensors": {"w": 3}}': "its entry is no object",
}  # fmt: skip


@pytest.mark.parametrize("text", DOCUMENTS, ids=lambda text: text[:20])
def test_a_description_of_another_kind_is_refused(text, tmp_path):
    save_file({"a": np.ones(1)}, tmp_path / "x", metadata={KEY: text})
    with pytest.raises(ModelError, match=DOCUMENTS[text]):
        read_spec(tmp_path / "x")


def test_files_that_are_none_are_refused(tmp_path):
    save_file({"a": np.ones(3)}, tmp_path / "plain")
    (tmp_path / "text").write_bytes(b"hello, this is text")
    (tmp_path / "empty").write_bytes(b"")
    with pytest.raises(ModelError, match="has no compressed spec in it"):
        read_spec(tmp_path / "plain")
    for name in ("text", "empty", "missing"):
        with pytest.raises(ModelError, match="no readable safetensors file"):
            read_spec(tmp_path / name)


def test_a_damaged_file_is_an_edgewise_error_or_still_valid(written, tmp_path):
    """Bytes changed or cut off anywhere: never another exception."""
    good = written.read_bytes()
    random.seed(7)
    refused = 0
    for number in range(150):
        data = bytearray(good)
        if number % 5 == 0:
            data = data[: random.randrange(len(data))]
        for _ in range(random.randrange(1, 6)):
            if data:
                data[random.randrange(len(data) if number % 2 else min(len(data), 12_000))] = random.randrange(256)
        path = tmp_path / "damaged"
        path.write_bytes(data)
        try:
            read_spec(path)
        except EdgewiseError as error:
            refused += 1
            assert "\n" not in str(error)
    assert refused > 50


def test_a_spec_is_written_whole_or_not_at_all(tmp_path, written):
    lonely = CompressedModel({"tied": TENSORS["tied"]})
    with pytest.raises(ExportError, match="which is not in the model"):
        write_spec(lonely, tmp_path / "a")
    with pytest.raises(ExportError, match="cannot be written"):
        write_spec(CompressedModel({"a": TENSORS["binary"]}), tmp_path / "no" / "folder")
    assert list(tmp_path.iterdir()) == []


def test_all_classes_are_covered_here():
    kinds = {type(tensor) for tensor in TENSORS.values()}
    assert kinds == set(CompressedTensor.__subclasses__())
    assert {Adapter, Blocks, Shared} <= kinds
    assert N == 6
