"""An .npz is read as from a stranger: no pickles, nothing allocated that was not bounded before."""

from __future__ import annotations

import io
import struct
import tracemalloc
import zipfile

import numpy as np
import pytest

from device_agents import npz as npz_module
from device_agents.failures import AgentFailure
from device_agents.npz import read_npz

DECLARED = [{"name": "x", "dtype": "float32", "shape": ["n", 3]}]


def refused(path, declared=DECLARED, scale=None):
    with pytest.raises(AgentFailure) as caught:
        read_npz(str(path), declared, scale)
    assert caught.value.code == "bad-input"
    return caught.value


def with_header(path, header, body=b"", version=(1, 0)):
    """An .npz whose array x has this header and this body."""
    text = repr(header).encode() + b"\n"
    size = struct.pack("<H" if version == (1, 0) else "<I", len(text))
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("x.npy", b"\x93NUMPY" + bytes(version) + size + text + body)
    return path


def test_what_is_declared_is_read_and_labels_are_left(tmp_path):
    x = np.arange(12, dtype=np.float32).reshape(4, 3)
    np.savez_compressed(tmp_path / "d.npz", x=np.asfortranarray(x), label=np.array([object()], dtype=object))
    arrays = read_npz(str(tmp_path / "d.npz"), DECLARED)
    assert list(arrays) == ["x"]
    assert (arrays["x"] == x).all()
    assert arrays["x"].flags.c_contiguous


@pytest.mark.parametrize(
    ("array", "says"),
    [
        (np.ones((2, 3), np.float64), "float64, the model expects x float32 [n, 3]"),
        (np.ones((2, 3), ">f4"), ">f4"),
        (np.ones((2, 4), np.float32), "[2, 4], the model expects x float32 [n, 3]"),
        (np.ones((2, 3, 1), np.float32), "[2, 3, 1]"),
        (np.ones((0, 3), np.float32), "[0, 3]"),
        (np.float32(1), "[]"),
        (np.array([["a", "b", "c"]]), "<U1"),
    ],
)
def test_arrays_that_do_not_fit(tmp_path, array, says):
    np.savez(tmp_path / "d.npz", x=array)
    assert says in refused(tmp_path / "d.npz").message


def test_pickled_objects_are_never_read(tmp_path):
    class Trap:
        def __reduce__(self):
            return (pytest.fail, ("a pickle was loaded",))

    np.savez(tmp_path / "d.npz", x=np.array([[Trap()] * 3], dtype=object))
    assert "pickled" in refused(tmp_path / "d.npz").message


def test_a_missing_array_names_what_is_there_and_what_is_expected(tmp_path):
    np.savez(tmp_path / "d.npz", image=np.ones(3))
    message = refused(tmp_path / "d.npz").message
    assert "no array x" in message
    assert "it has image" in message
    assert "x float32 [n, 3]" in message


def test_uint8_data_needs_a_scale(tmp_path):
    np.savez(tmp_path / "d.npz", x=np.ones((2, 3), np.uint8))
    assert "scale" in refused(tmp_path / "d.npz").hint
    assert read_npz(str(tmp_path / "d.npz"), DECLARED, {"x": 0.5})["x"].dtype == np.uint8
    assert "y" in refused(tmp_path / "d.npz", scale={"y": 0.5}).message


def test_files_that_are_no_npz(tmp_path):
    np.save(tmp_path / "d.npy", np.ones(3))
    (tmp_path / "empty.npz").write_bytes(b"")
    (tmp_path / "random.npz").write_bytes(np.random.default_rng(0).bytes(3000))
    for name in ("d.npy", "empty.npz", "random.npz", "missing.npz", "."):
        assert name in refused(tmp_path / name).message


def test_damaged_files(tmp_path):
    whole = io.BytesIO()
    np.savez_compressed(whole, x=np.random.default_rng(0).random((50, 3), dtype=np.float32))
    data = bytearray(whole.getvalue())
    (tmp_path / "cut.npz").write_bytes(data[: len(data) // 2])
    data[200:230] = bytes(30)
    (tmp_path / "flipped.npz").write_bytes(data)
    for name in ("cut.npz", "flipped.npz"):
        assert name in refused(tmp_path / name).message


@pytest.mark.parametrize(
    ("header", "says"),
    [
        ({"descr": "<f4", "fortran_order": False, "shape": (10**12, 3)}, "the limit"),
        ({"descr": "<f4", "fortran_order": False, "shape": (100, 3)}, "d.npz"),  # longer than the body
        ({"descr": "<f4", "fortran_order": False, "shape": (-1, 3)}, "d.npz"),
        ({"descr": "<f4", "fortran_order": False}, "d.npz"),
        ({"descr": "no type", "fortran_order": False, "shape": (1, 3)}, "d.npz"),
        ("not a dictionary", "d.npz"),
    ],
)
def test_headers_that_lie(tmp_path, header, says):
    tracemalloc.start()
    try:
        assert says in refused(with_header(tmp_path / "d.npz", header, b"\0" * 40)).message
        assert tracemalloc.get_traced_memory()[1] < 20e6
    finally:
        tracemalloc.stop()


def test_later_versions_of_the_header_are_refused_before_they_are_read(tmp_path):
    path = with_header(tmp_path / "d.npz", {}, version=(2, 0))
    assert "version" in refused(path).message


def test_an_archive_that_unpacks_to_far_more_than_it_says(tmp_path):
    header = {"descr": "<f4", "fortran_order": False, "shape": (1, 3)}
    path = with_header(tmp_path / "d.npz", header, b"\0" * 50_000_000)
    assert path.stat().st_size < 100_000
    tracemalloc.start()
    try:
        assert read_npz(str(path), DECLARED)["x"].shape == (1, 3)
        assert tracemalloc.get_traced_memory()[1] < 20e6
    finally:
        tracemalloc.stop()


def test_the_limit_is_on_all_arrays_together(tmp_path, monkeypatch):
    monkeypatch.setattr(npz_module, "MAX_INPUT_BYTES", 100)
    two = [*DECLARED, {"name": "y", "dtype": "float32", "shape": ["n", 3]}]
    np.savez(tmp_path / "d.npz", x=np.ones((5, 3), np.float32), y=np.ones((5, 3), np.float32))
    read_npz(str(tmp_path / "d.npz"), DECLARED)
    assert "120 bytes" in refused(tmp_path / "d.npz", two).message
