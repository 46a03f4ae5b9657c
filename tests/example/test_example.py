"""The example model and its data: what they promise, and what a damaged source or cache does."""

import gzip
import hashlib
import os
import re
import struct
import subprocess
import sys
import tracemalloc
import warnings
import zipfile
from pathlib import Path

import numpy as np
import pytest

os.environ.setdefault("ORT_DISABLE_TELEMETRY", "1")

import onnx
import onnxruntime

from mobile import example

COUNT = 20
FOLDER = Path(example.__file__).parent
SHIPPED = (example.model_path(), example.evaluation_path(), example.calibration_path())


def _session(path=None):
    return onnxruntime.InferenceSession(path or example.model_path(), providers=["CPUExecutionProvider"])


def _accuracy(npz):
    with np.load(npz, allow_pickle=False) as data:
        images = data["image"].astype(np.float32) * np.float32(example.INPUT_SCALE["image"])
        labels = data["label"]
    session = _session()
    parts = [session.run(None, {"image": part})[0] for part in np.split(images, len(images) // 500)]
    return (np.concatenate(parts).argmax(axis=1) == labels).mean()


# The files that ship


def test_accuracy_on_the_thousand_images_that_ship():
    assert _accuracy(example.evaluation_path()) >= 0.91


def test_accuracy_on_the_full_test_set_where_it_is_installed(tmp_path):
    path = example.full_test_set(tmp_path)
    if path is None:
        pytest.skip("dataset-fashion-mnist is not installed")
    assert _accuracy(path) >= 0.91
    with np.load(path) as full, np.load(example.evaluation_path()) as sample:
        assert np.array_equal(full["image"][sample["index"]], sample["image"])
        assert np.array_equal(full["label"][sample["index"]], sample["label"])


def test_sample_has_a_hundred_different_images_of_each_class():
    with np.load(example.evaluation_path(), allow_pickle=False) as data:
        assert sorted(data) == ["image", "index", "label"]
        image, label, index = data["image"], data["label"], data["index"]
    assert (image.shape, image.dtype) == ((1000, 1, 28, 28), np.uint8)
    assert (label.dtype, index.dtype) == (np.uint8, np.uint16)
    assert np.bincount(label).tolist() == [100] * len(example.CLASS_NAMES)
    assert np.all(np.diff(index.astype(int)) > 0)
    assert index.max() < 10_000
    assert image.max() == 255


def test_model_takes_any_batch_and_names_the_dimension():
    session = _session()
    (image,), (logits,) = session.get_inputs(), session.get_outputs()
    assert (image.name, image.type, image.shape) == ("image", "tensor(float)", ["batch", 1, 28, 28])
    assert (logits.name, logits.type, logits.shape) == ("logits", "tensor(float)", ["batch", 10])
    images = np.random.default_rng(0).random((7, 1, 28, 28), dtype=np.float32)
    together = session.run(None, {"image": images})[0]
    alone = np.concatenate([session.run(None, {"image": images[i : i + 1]})[0] for i in range(7)])
    np.testing.assert_allclose(together, alone, rtol=1e-4, atol=1e-4)


def test_model_loads_on_old_runtimes_and_is_one_folded_file():
    model = onnx.load(example.model_path(), load_external_data=False)
    onnx.checker.check_model(model, full_check=True)
    assert model.ir_version <= 10
    assert [(entry.domain, entry.version) for entry in model.opset_import] == [("", 18)]
    assert not any(tensor.external_data for tensor in model.graph.initializer)
    operators = {node.op_type for node in model.graph.node}
    assert operators == {"Conv", "Relu", "MaxPool", "AveragePool", "Reshape", "Gemm"}


def test_model_says_who_made_it_but_not_on_which_machine():
    model = onnx.load(example.model_path())
    assert model.producer_name == "mobile.example.train"
    assert model.doc_string
    _assert_no_traces(model)


def _assert_no_traces(model):
    parts = (model, model.graph, *model.graph.node, *model.graph.value_info, *model.graph.initializer)
    assert not any(part.metadata_props for part in parts)
    assert not any(part.doc_string for part in parts[1:])
    for tensor in model.graph.initializer:
        tensor.ClearField("raw_data")  # so that no weight spells it by chance
    assert b".py" not in model.SerializeToString()


def test_files_are_small():
    assert example.model_path().stat().st_size < 1_200_000
    assert example.evaluation_path().stat().st_size < 700_000


@pytest.mark.parametrize("path", SHIPPED, ids=lambda path: path.name)
def test_provenance_names_the_hash_of_the_file(path):
    text = (FOLDER / "PROVENANCE.md").read_text(encoding="utf-8")
    (stated,) = re.findall(rf"`{re.escape(path.name)}` \|.*`([0-9a-f]{{64}})`", text)
    assert stated == hashlib.sha256(path.read_bytes()).hexdigest()


def test_module_needs_only_the_standard_library():
    code = (
        "import importlib.util, sys\n"
        f"spec = importlib.util.spec_from_file_location('example', {str(FOLDER / '__init__.py')!r})\n"
        "module = importlib.util.module_from_spec(spec); spec.loader.exec_module(module)\n"
        "assert module.model_path().is_file() and module.evaluation_path().is_file()\n"
        "assert not {'numpy', 'torch', 'onnx', 'onnxruntime'} & set(sys.modules)\n"
    )
    subprocess.run([sys.executable, "-I", "-S", "-c", code], check=True)


# The full test set, from a tiny source


@pytest.fixture
def source(tmp_path, monkeypatch):
    folder = tmp_path / "source"
    folder.mkdir()
    _write_images(folder, _pixels())
    _write_labels(folder, _labels())
    monkeypatch.setenv("EDGEWISE_FASHION_MNIST", str(folder))
    return folder


def _pixels(count=COUNT):
    return np.random.default_rng(1).integers(0, 256, (count, 28, 28), dtype=np.uint8)


def _labels(count=COUNT):
    return (np.arange(count) % 10).astype(np.uint8)


def _write_images(folder, pixels, extra=b"", claimed=None):
    header = struct.pack(">4I", 0x803, len(pixels) if claimed is None else claimed, *pixels.shape[1:])
    (folder / "t10k-images-idx3-ubyte.gz").write_bytes(gzip.compress(header + pixels.tobytes() + extra))


def _write_labels(folder, labels):
    header = struct.pack(">2I", 0x801, *labels.shape)
    (folder / "t10k-labels-idx1-ubyte.gz").write_bytes(gzip.compress(header + labels.tobytes()))


def _make(cache):
    return example._cached_test_set(cache, COUNT)


def test_full_test_set_has_the_keys_of_the_sample(source, tmp_path):
    cache = tmp_path / "not" / "there"
    path = _make(cache)
    with np.load(path, allow_pickle=False) as data:
        assert np.array_equal(data["image"], _pixels()[:, None])
        assert np.array_equal(data["label"], _labels())
        assert np.array_equal(data["index"], np.arange(COUNT))
        assert [data[key].dtype for key in ("image", "label", "index")] == [np.uint8, np.uint8, np.uint16]
    assert list(cache.iterdir()) == [path]


def test_whole_cache_is_used_again(source, tmp_path):
    inode = _make(tmp_path / "cache").stat().st_ino
    assert _make(tmp_path / "cache").stat().st_ino == inode


def test_another_source_is_another_cache_file(source, tmp_path):
    first = _make(tmp_path)
    _write_labels(source, 9 - _labels())
    second = _make(tmp_path)
    assert first != second
    with np.load(second) as data:
        assert np.array_equal(data["label"], 9 - _labels())


def _truncate(path):
    path.write_bytes(path.read_bytes()[:-40])


def _flip_bit(path):
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 4
    path.write_bytes(content)


def _spoil_stream(path, start):
    """Make the first deflate block one of the type that does not exist."""
    content = bytearray(path.read_bytes())
    content[start] = 0b111
    path.write_bytes(content)


def _spoil_archive(path):
    with zipfile.ZipFile(path) as archive:
        first = archive.infolist()[0].header_offset
    name_bytes, extra_bytes = struct.unpack_from("<2H", path.read_bytes(), first + 26)
    _spoil_stream(path, first + 30 + name_bytes + extra_bytes)


def _save(path, **changes):
    arrays = {
        "image": _pixels()[:, None],
        "label": _labels(),
        "index": np.arange(COUNT, dtype=np.uint16),
    }
    with path.open("wb") as stream:
        np.savez_compressed(stream, **{**arrays, **changes})


CACHE_DAMAGE = {
    "empty": lambda path: path.write_bytes(b""),
    "not a zip": lambda path: path.write_bytes(b"nothing useful" * 100),
    "truncated": _truncate,
    "flipped bit": _flip_bit,
    "impossible block": _spoil_archive,
    "too few images": lambda path: _save(path, image=_pixels(3)[:, None]),
    "other pixels": lambda path: _save(path, image=255 - _pixels()[:, None]),
    "wrong dtype": lambda path: _save(path, label=_labels().astype(np.int64)),
    "one array too many": lambda path: _save(path, extra=_labels()),
    "pickled objects": lambda path: _save(path, label=np.array([{}] * COUNT, dtype=object)),
}


@pytest.mark.parametrize("damage", CACHE_DAMAGE.values(), ids=CACHE_DAMAGE)
def test_damaged_cache_is_made_again(source, tmp_path, damage):
    path = _make(tmp_path / "cache")
    content = path.read_bytes()
    damage(path)
    assert _make(tmp_path / "cache") == path
    assert path.read_bytes() == content


def test_failed_write_leaves_nothing_behind(source, tmp_path, monkeypatch):
    def full_disk(stream, **arrays):
        stream.write(b"some")
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(np, "savez_compressed", full_disk)
    with pytest.raises(OSError, match="No space left"):
        _make(tmp_path / "cache")
    assert list((tmp_path / "cache").iterdir()) == []


@pytest.mark.parametrize("value", ["", "/nowhere/at/all"])
def test_absent_source_gives_none(tmp_path, monkeypatch, value):
    monkeypatch.setenv("EDGEWISE_FASHION_MNIST", value)
    assert example.full_test_set(tmp_path / "cache") is None
    assert not (tmp_path / "cache").exists()


def test_empty_variable_does_not_mean_the_working_folder(source, tmp_path, monkeypatch):
    monkeypatch.setenv("EDGEWISE_FASHION_MNIST", "")
    monkeypatch.chdir(source)
    assert _make(tmp_path / "cache") is None


def _images(folder):
    return folder / "t10k-images-idx3-ubyte.gz"


SOURCE_DAMAGE = {
    "one file of two": (lambda folder: _images(folder).unlink(), "cannot be read.*reinstall"),
    "empty": (lambda folder: _images(folder).write_bytes(b""), "is not that of uint8"),
    "not gzip": (lambda folder: _images(folder).write_bytes(b"plain bytes"), "cannot be read"),
    "a folder": (
        lambda folder: (_images(folder).unlink(), _images(folder).mkdir()),
        "cannot be read",
    ),
    "truncated": (lambda folder: _truncate(_images(folder)), "cannot be read"),
    "flipped bit": (lambda folder: _flip_bit(_images(folder)), "cannot be read"),
    "impossible block": (lambda folder: _spoil_stream(_images(folder), 10), "cannot be read"),
    "other count": (lambda folder: _write_images(folder, _pixels(COUNT + 1)), "is not that of uint8"),
    "other size": (lambda folder: _write_images(folder, _pixels()[:, :27]), "is not that of uint8"),
    "more than the header says": (lambda folder: _write_images(folder, _pixels(), b"x"), "holds more than"),
    "less than the header says": (
        lambda folder: _write_images(folder, _pixels(0), claimed=COUNT),
        "holds less than",
    ),
    "swapped files": (
        lambda folder: _images(folder).write_bytes((folder / "t10k-labels-idx1-ubyte.gz").read_bytes()),
        "is not that of uint8",
    ),
    "label out of range": (lambda folder: _write_labels(folder, _labels() + 1), "label 10 is not below 10"),
}


@pytest.mark.parametrize(("damage", "message"), SOURCE_DAMAGE.values(), ids=SOURCE_DAMAGE)
def test_damaged_source_is_a_clear_error(source, tmp_path, damage, message):
    damage(source)
    with pytest.raises(ValueError, match=message) as caught:
        _make(tmp_path / "cache")
    assert str(source) in str(caught.value)
    assert not (tmp_path / "cache").exists()


def test_full_test_set_wants_ten_thousand(source, tmp_path):
    with pytest.raises(ValueError, match=r"is not that of uint8 \[10000, 28, 28\]"):
        example.full_test_set(tmp_path)


def test_source_that_unpacks_to_far_more_is_not_unpacked(source, tmp_path):
    _write_images(source, _pixels(), bytes(64_000_000))
    tracemalloc.start()
    try:
        with pytest.raises(ValueError, match="holds more than"):
            _make(tmp_path / "cache")
        peak_bytes = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert peak_bytes < 2_000_000


# The training program


@pytest.fixture(scope="module")
def torch():
    return pytest.importorskip("torch")


@pytest.fixture
def train(torch):
    from mobile.example import train

    return train


def test_factory_gives_the_same_weights_and_leaves_the_generator_alone(torch, train):
    before = torch.get_rng_state()
    first, second = train.factory().state_dict(), train.factory().state_dict()
    assert torch.equal(before, torch.get_rng_state())
    assert first.keys() == second.keys()
    assert all(torch.equal(first[key], second[key]) for key in first)


def test_example_inputs_fit_the_factory(torch, train):
    model, inputs = train.factory(), train.example_inputs()
    assert not model.training
    assert model(*inputs).shape == (2, 10)
    assert torch.equal(inputs[0], train.example_inputs()[0])


def test_augmented_images_are_shifted_or_mirrored_in_range(torch, train):
    images = torch.zeros((64, 1, 28, 28), dtype=torch.uint8)
    images[:, :, 14, 14] = 255
    augmented = train._augment(images, torch.Generator().manual_seed(0))
    assert augmented.shape == images.shape
    assert augmented.sum(dim=(1, 2, 3)).tolist() == [1.0] * 64
    _, _, rows, columns = augmented.nonzero(as_tuple=True)
    assert set(rows.tolist()) == {12, 13, 14, 15, 16}
    assert set(columns.tolist()) == {11, 12, 13, 14, 15, 16}


def test_sample_is_the_one_that_the_script_chooses(train, tmp_path):
    path = example.full_test_set(tmp_path)
    if path is None:
        pytest.skip("dataset-fashion-mnist is not installed")
    with np.load(path) as full, np.load(example.evaluation_path()) as sample:
        assert np.array_equal(train.balanced_sample(full["label"]), sample["index"])


def test_calibration_images_are_balanced_and_of_the_training_split(train):
    folder = Path("/usr/share/datasets/fashion-mnist")
    if not folder.is_dir():
        pytest.skip("dataset-fashion-mnist is not installed")
    images, labels = example.read_split(folder, "train", 60_000)
    places = train.balanced_sample(labels, train.CALIBRATION_PER_CLASS)
    assert np.bincount(labels[places]).tolist() == [20] * 10
    with np.load(example.calibration_path()) as arrays:
        assert arrays.files == ["image"]
        assert np.array_equal(arrays["image"], images[places])


def test_trained_model_is_exported_as_it_is(torch, train, tmp_path):
    pytest.importorskip("onnxscript")
    model = train.factory()
    images = torch.tensor(_pixels()[:, None])
    labels = torch.tensor(_labels(), dtype=torch.long)
    train.train(model, images, labels, epochs=3)
    path = tmp_path / "model.onnx"
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        train.export(model, path)
    _assert_no_traces(onnx.load(path))
    image = torch.rand(5, 1, 28, 28)
    with torch.no_grad():
        expected = model(image).numpy()
    found = _session(path).run(None, {"image": image.numpy()})[0]
    np.testing.assert_allclose(found, expected, rtol=1e-3, atol=1e-4)
