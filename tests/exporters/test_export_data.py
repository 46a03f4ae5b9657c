"""Input data is read with every size checked first, and refused with what was found and what was expected."""

import io
import pickle
import struct
import zipfile

import numpy as np
import pytest

from exporters.data import read_samples
from mobile.errors import InputError
from mobile.formats import TensorInfo

IMAGE = TensorInfo("image", "float32", ("batch", 1, 4, 4))
STATE = TensorInfo("state", "float32", (2, 3))
RATE = TensorInfo("rate", "int64", ())


def _npz(tmp_path, **arrays):
    path = tmp_path / "data.npz"
    np.savez(path, **arrays)
    return path


def test_items_come_in_batches_and_other_keys_are_ignored(tmp_path):
    images = np.arange(20 * 16, dtype=np.float32).reshape(20, 1, 4, 4)
    samples = read_samples(_npz(tmp_path, image=images, label=np.arange(20)), [IMAGE], {}, {})
    batches = list(samples.batches())
    assert [len(batch["image"]) for batch in batches] == [16, 4]
    assert np.array_equal(np.concatenate([batch["image"] for batch in batches]), images)
    assert samples.items == 20 and [len(batch["image"]) for batch in samples.batches(5)] == [16][:1]


def test_whole_numbers_are_scaled(tmp_path):
    pixels = np.full((2, 1, 4, 4), 255, np.uint8)
    (batch,) = read_samples(_npz(tmp_path, image=pixels), [IMAGE], {"image": 1 / 255}, {}).batches()
    assert batch["image"].dtype == np.float32 and np.allclose(batch["image"], 1.0)


def test_a_fixed_batch_is_kept_and_states_go_whole(tmp_path):
    fixed = TensorInfo("image", "float32", (2, 1, 4, 4))
    path = _npz(
        tmp_path, image=np.ones((6, 1, 4, 4), np.float32), state=np.ones((2, 3), np.float32), rate=np.int64(16000)
    )
    batches = list(read_samples(path, [fixed, STATE, RATE], {}, {}).batches())
    assert len(batches) == 3
    assert all(batch["image"].shape == (2, 1, 4, 4) and batch["state"].shape == (2, 3) for batch in batches)
    assert batches[0]["rate"] == 16000


def test_bound_dimensions_are_checked(tmp_path):
    path = _npz(tmp_path, image=np.ones((6, 1, 4, 4), np.float32))
    with pytest.raises(InputError, match="shape"):
        read_samples(path, [TensorInfo("image", "float32", ("n", 1, "h", 4))], {}, {"h": 5})


def test_a_folder_of_items(tmp_path):
    for number in range(3):
        np.save(tmp_path / f"{number}.npy", np.full((1, 4, 4), number, np.float32))
    (batch,) = read_samples(tmp_path, [IMAGE], {}, {}).batches()
    assert batch["image"][:, 0, 0, 0].tolist() == [0, 1, 2]


def test_a_folder_of_npz_for_several_inputs(tmp_path):
    for number in range(2):
        np.savez(tmp_path / f"{number}.npz", image=np.ones((1, 1, 4, 4), np.float32), x=np.ones((1, 2), np.float32))
    inputs = [IMAGE, TensorInfo("x", "float32", ("batch", 2))]
    (batch,) = read_samples(tmp_path, inputs, {}, {}).batches()
    assert (len(batch["image"]), len(batch["x"])) == (2, 2)


@pytest.mark.parametrize(
    ("arrays", "said"),
    [
        ({"picture": np.ones((1, 1, 4, 4), np.float32)}, "no array for the input 'image'; it holds picture"),
        ({"image": np.ones((1, 1, 4, 5), np.float32)}, r"shape \[1, 1, 4, 5\], expected \[any, 1, 4, 4\]"),
        ({"image": np.ones((1, 4, 4), np.float32)}, "shape"),
        ({"image": np.ones((0, 1, 4, 4), np.float32)}, "shape"),
        ({"image": np.ones((1, 1, 4, 4))}, "float64, expected float32"),
        ({"image": np.ones((1, 1, 4, 4), np.uint8)}, "uint8, expected float32"),
    ],
)
def test_what_does_not_fit_is_told(tmp_path, arrays, said):
    with pytest.raises(InputError, match=said):
        read_samples(_npz(tmp_path, **arrays), [IMAGE], {}, {})


def test_different_numbers_of_items(tmp_path):
    path = _npz(tmp_path, image=np.ones((3, 1, 4, 4), np.float32), x=np.ones((2, 2), np.float32))
    with pytest.raises(InputError, match="image 3, x 2"):
        read_samples(path, [IMAGE, TensorInfo("x", "float32", ("batch", 2))], {}, {})


def test_a_scale_for_no_input(tmp_path):
    with pytest.raises(InputError, match="'img', which is no input; the inputs are image"):
        read_samples(_npz(tmp_path, image=np.ones((1, 1, 4, 4), np.float32)), [IMAGE], {"img": 2.0}, {})


class _Evil:
    def __reduce__(self):
        return (pytest.fail, ("a pickle was run",))


def test_pickled_objects_are_refused_and_never_loaded(tmp_path):
    np.save(tmp_path / "a.npy", np.array([_Evil()], dtype=object), allow_pickle=True)
    with pytest.raises(InputError, match="pickled"):
        read_samples(tmp_path, [IMAGE], {}, {})
    path = tmp_path / "evil.npz"
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("image.npy", pickle.dumps(_Evil()))
    with pytest.raises(InputError):
        read_samples(path, [IMAGE], {}, {})


def test_a_head_that_claims_more_than_is_there_allocates_nothing(tmp_path):
    head = b"{'descr': '<f4', 'fortran_order': False, 'shape': (1099511627776, 1, 4, 4), }"
    member = b"\x93NUMPY\x01\x00" + struct.pack("<H", len(head)) + head
    path = tmp_path / "bomb.npz"
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("image.npy", member)
    with pytest.raises(InputError, match="needs"):
        read_samples(path, [IMAGE], {}, {})


@pytest.mark.parametrize("content", [b"", b"PK\x03\x04", b"random", b"\x93NUMPY"])
def test_files_that_are_no_npz(tmp_path, content):
    (tmp_path / "x.npz").write_bytes(content)
    with pytest.raises(InputError):
        read_samples(tmp_path / "x.npz", [IMAGE], {}, {})


def test_every_truncation_of_an_npz(tmp_path):
    buffer = io.BytesIO()
    np.savez_compressed(buffer, image=np.random.default_rng(0).random((2, 1, 4, 4), np.float32))
    path = tmp_path / "cut.npz"
    for size in range(0, len(buffer.getvalue()), 7):
        path.write_bytes(buffer.getvalue()[:size])
        with pytest.raises(InputError):
            read_samples(path, [IMAGE], {}, {})


def test_missing_data(tmp_path):
    with pytest.raises(InputError, match="no such file"):
        read_samples(tmp_path / "none.npz", [IMAGE], {}, {})
    with pytest.raises(InputError, match=r"no \.npz or \.npy"):
        read_samples(tmp_path, [IMAGE], {}, {})
