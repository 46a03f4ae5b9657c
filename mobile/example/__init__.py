"""The example model and its test images: a small Fashion-MNIST classifier, trained by `train.py` beside it.

Input `image` is float32 [batch, 1, 28, 28] in 0..1, output `logits` is float32 [batch, 10]. Where the
files come from is in PROVENANCE.md.
"""

from __future__ import annotations

import gzip
import hashlib
import io
import math
import os
import struct
import tempfile
import zipfile
import zlib
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

__all__ = [
    "CLASS_NAMES",
    "INPUT_SCALE",
    "calibration_path",
    "evaluation_path",
    "full_test_set",
    "model_path",
    "read_split",
]

CLASS_NAMES: tuple[str, ...] = (
    "T-shirt/top",
    "Trouser",
    "Pullover",
    "Dress",
    "Coat",
    "Sandal",
    "Shirt",
    "Sneaker",
    "Bag",
    "Ankle boot",
)
"""Name of each class, in the order of the logits."""

INPUT_SCALE: dict[str, float] = {"image": 1 / 255}
"""What a stored uint8 value is multiplied by to become the model's float32 input."""

_DEBIAN_FOLDER = Path("/usr/share/datasets/fashion-mnist")
_FOLDER_VARIABLE = "EDGEWISE_FASHION_MNIST"
_TEST_COUNT = 10_000
_SIDE = 28


def model_path() -> Path:
    """Return the trained ONNX model that ships with edgewise."""
    return Path(__file__).with_name("fashion_mnist.onnx")


def evaluation_path() -> Path:
    """Return an .npz with 1,000 labelled test images, 100 of each class.

    `image`: uint8 [1000, 1, 28, 28]; `label`: uint8 [1000]; `index`: uint16 [1000], places in the test file.
    """
    return Path(__file__).with_name("fashion_mnist_test_1000.npz")


def calibration_path() -> Path:
    """Return an .npz with 200 unlabelled training images, 20 of each class: what quantisation is calibrated with.

    `image`: uint8 [200, 1, 28, 28]. None of them is a test image, so that accuracy is not flattered by calibration.
    """
    return Path(__file__).with_name("fashion_mnist_calibration_200.npz")


def full_test_set(cache_dir: Path) -> Path | None:
    """Return an .npz with all 10,000 test images, or None where the data set is not installed.

    It has the keys of `evaluation_path()`. The source is Debian's package `dataset-fashion-mnist`, or the
    folder that EDGEWISE_FASHION_MNIST names (empty: look nowhere). The file is made once in `cache_dir` and
    used again while it is whole.
    Raises ValueError when the data set is there but damaged, OSError when `cache_dir` cannot be written.
    """
    return _cached_test_set(cache_dir, _TEST_COUNT)


def read_split(folder: Path, split: str, count: int) -> tuple[NDArray[np.uint8], NDArray[np.uint8]]:
    """Return images, uint8 [count, 1, 28, 28], and labels, uint8 [count], of the split "train" or "t10k".

    Raises ValueError when a file in `folder` is missing or damaged, or does not hold exactly `count` entries.
    """
    image_file, label_file = _split_files(folder, split)
    images = _read_idx(image_file, (count, _SIDE, _SIDE)).reshape(count, 1, _SIDE, _SIDE)
    labels = _read_idx(label_file, (count,))
    if labels.max(initial=0) >= len(CLASS_NAMES):
        raise ValueError(f"{label_file}: label {labels.max()} is not below {len(CLASS_NAMES)}")
    return images, labels


def _split_files(folder: Path, split: str) -> tuple[Path, Path]:
    return folder / f"{split}-images-idx3-ubyte.gz", folder / f"{split}-labels-idx1-ubyte.gz"


def _read_idx(path: Path, shape: tuple[int, ...]) -> NDArray[np.uint8]:
    """The uint8 array in a gzipped idx file of known shape; never reads more than that shape needs."""
    import numpy as np

    header = struct.pack(f">I{len(shape)}I", 0x0800 | len(shape), *shape)
    size_bytes = math.prod(shape)
    try:
        with gzip.open(path) as stream:
            found = stream.read(len(header))
            body = stream.read(size_bytes + 1) if found == header else b""
    except (OSError, EOFError, zlib.error) as error:
        raise ValueError(f"{path}: cannot be read ({error}); reinstall dataset-fashion-mnist") from error
    if found != header:
        raise ValueError(f"{path}: header {found.hex()} is not that of uint8 {list(shape)}")
    if len(body) != size_bytes:
        less_or_more = "less" if len(body) < size_bytes else "more"
        raise ValueError(f"{path}: holds {less_or_more} than the {size_bytes} bytes its header says")
    return np.frombuffer(body, dtype=np.uint8).reshape(shape)


def _cached_test_set(cache_dir: Path, count: int) -> Path | None:
    import numpy as np

    folder = _source_folder()
    if folder is None:
        return None
    images, labels = read_split(folder, "t10k", count)
    digest = hashlib.sha256(images.tobytes() + labels.tobytes()).hexdigest()
    target = cache_dir / f"fashion_mnist_test_{count}_{digest[:12]}.npz"
    index = np.arange(count, dtype=np.uint16)
    arrays: dict[str, NDArray[Any]] = {"image": images, "label": labels, "index": index}
    if not _holds(target, arrays):
        _write_npz(target, arrays)
    return target


def _source_folder() -> Path | None:
    """The folder with the test files, None when neither of the two is there."""
    named = os.environ.get(_FOLDER_VARIABLE)
    if named == "":
        return None
    folder = _DEBIAN_FOLDER if named is None else Path(named)
    return folder if any(path.is_file() for path in _split_files(folder, "t10k")) else None


def _holds(path: Path, arrays: dict[str, NDArray[Any]]) -> bool:
    """Whether the .npz holds exactly these arrays; compares sizes before it reads any content."""
    members = {f"{name}.npy": _npy_bytes(array) for name, array in arrays.items()}
    try:
        with zipfile.ZipFile(path) as archive:
            sizes = {entry.filename: entry.file_size for entry in archive.infolist()}
            if sizes != {name: len(content) for name, content in members.items()}:
                return False
            return all(archive.read(name) == content for name, content in members.items())
    except (OSError, ValueError, EOFError, RuntimeError, zipfile.BadZipFile, zlib.error):
        return False


def _npy_bytes(array: NDArray[Any]) -> bytes:
    from numpy.lib import format as npy

    buffer = io.BytesIO()
    npy.write_array(buffer, array, allow_pickle=False)
    return buffer.getvalue()


def _write_npz(target: Path, arrays: dict[str, Any]) -> None:
    """Write whole or not at all: under another name in the same folder, then renamed."""
    import numpy as np

    target.parent.mkdir(parents=True, exist_ok=True)
    handle, name = tempfile.mkstemp(prefix=f".{target.stem}.", suffix=".part", dir=target.parent)
    try:
        with os.fdopen(handle, "wb") as stream:
            np.savez_compressed(stream, **arrays)
        Path(name).replace(target)
    except BaseException:
        Path(name).unlink()
        raise
