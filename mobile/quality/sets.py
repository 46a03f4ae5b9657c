"""Evaluation sets: the inputs that a device is asked, and what the right answers are.

Three forms. An .npz file: an array for each input, and ``label``, ``text`` or ``reference``. A folder: ``inputs.npz``
beside ``labels.json``, ``texts.json`` or ``annotations.json`` (COCO). A .json file that names them:
{"inputs": "inputs.npz", "texts": [...] or "texts.json", ..., "metric": "wer"}; paths are relative to it.
"""

from __future__ import annotations

import hashlib
import json
import zipfile
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from mobile.errors import InputError
from mobile.formats import file_sha256

if TYPE_CHECKING:
    from numpy.typing import NDArray

INPUTS = "inputs.npz"
TRUTHS = ("labels", "texts", "annotations")
LABEL_KEYS, TEXT_KEYS, REFERENCE = ("label", "labels"), ("text", "texts"), "reference"
MAX_JSON_BYTES = 512 * 1024 * 1024
_FORMS = "Give an .npz, a folder with inputs.npz, or a .json file that names them; see docs/quality.md."


@dataclass(frozen=True)
class EvaluationSet:
    """``inputs`` goes to the device. Of the right answers there is what the set has; ``sha256`` is of all of it.

    ``labels``: a class for each item. ``texts``: a text for each. ``reference``: arrays [items, ...] by output, "" for
    the first one. ``annotations``: a COCO document whose images are the items, in order; ``classes``: its category
    for each class number of the model (None: they are the same).
    """

    name: str
    inputs: Path
    sha256: str
    labels: list[int] | None = None
    texts: list[str] | None = None
    reference: Mapping[str, NDArray[Any]] = field(default_factory=dict)
    annotations: dict[str, Any] | None = None
    classes: list[int] | None = None
    metric: str | None = None

    def about(self) -> dict[str, str]:
        """What a run remembers of it."""
        return {"name": self.name, "sha256": self.sha256}


def open_set(path: Path, label_key: str | None = None) -> EvaluationSet:
    """The set in a file or folder. ``label_key`` names the array of labels of an .npz, else "label" or "labels".

    InputError when it is missing, damaged, or not one of the forms.
    """
    if path.is_dir():
        return _from_folder(path, label_key)
    if not path.is_file():
        raise InputError(f"{path}: there is no such evaluation set", _FORMS)
    if path.suffix == ".json":
        return _from_document(path, label_key)
    return _with_arrays(EvaluationSet(path.name, path, _digest(path)), label_key)


def _from_folder(folder: Path, label_key: str | None) -> EvaluationSet:
    inputs = folder / INPUTS
    if not inputs.is_file():
        raise InputError(f"{folder}: an evaluation set, but without {INPUTS}", _FORMS)
    document = {name: f"{name}.json" for name in TRUTHS if (folder / f"{name}.json").is_file()}
    return _of({"inputs": INPUTS, **document}, folder, folder.name, label_key, [])


def _from_document(path: Path, label_key: str | None) -> EvaluationSet:
    document = _json(path)
    if not isinstance(document, dict) or not isinstance(document.get("inputs"), str):
        raise InputError(f"{path}: it names no inputs", _FORMS)
    return _of(document, path.parent, path.name, label_key, [path])


def _of(
    document: Mapping[str, Any], folder: Path, name: str, label_key: str | None, files: list[Path]
) -> EvaluationSet:
    inputs = folder / document["inputs"]
    if not inputs.is_file():
        raise InputError(f"{name}: its inputs {inputs} are not there", _FORMS)
    found: dict[str, Any] = {}
    files = [*files, inputs]
    for key in (*TRUTHS, "classes"):
        value = document.get(key)
        if isinstance(value, str):
            files.append(folder / value)
            value = _json(folder / value)
        found[key] = _checked(name, key, value)
    metric = document.get("metric")
    made = EvaluationSet(name, inputs, _digest(*files), metric=str(metric) if metric else None, **found)
    return _with_arrays(made, label_key)


def _checked(name: str, key: str, value: Any) -> Any:
    """The value, once it is what its key says. InputError else."""
    if value is None:
        return None
    if key == "annotations":
        lists = isinstance(value, dict) and all(isinstance(value.get(one), list) for one in ("images", "annotations"))
        if not lists:
            raise InputError(f"{name}: annotations are no COCO document with images and annotations")
        return value
    kind: type = str if key == "texts" else int
    if not isinstance(value, list) or not all(type(one) is kind for one in value):
        raise InputError(f"{name}: {key} is no list of {'texts' if kind is str else 'whole numbers'}")
    return value


def _with_arrays(found: EvaluationSet, label_key: str | None) -> EvaluationSet:
    """The set with the right answers that its .npz holds."""
    from dataclasses import replace

    import numpy as np

    try:
        with found.inputs.open("rb") as file, np.load(file, allow_pickle=False) as arrays:
            there = list(arrays.files)
            if label_key is not None and label_key not in there:
                raise InputError(f"{found.inputs}: no labels {label_key!r}; it holds {', '.join(there)}")
            labels = _first(arrays, (label_key,) if label_key else LABEL_KEYS)
            texts = _first(arrays, TEXT_KEYS)
            reference = {
                key.removeprefix(REFERENCE).removeprefix("."): arrays[key]
                for key in there
                if key == REFERENCE or key.startswith(REFERENCE + ".")
            }
    except (OSError, ValueError, EOFError, zipfile.BadZipFile) as error:
        if isinstance(error, InputError):
            raise
        raise InputError(f"{found.inputs}: cannot be read as .npz: {error}") from error
    changed: dict[str, Any] = {"reference": reference}
    if labels is not None and found.labels is None:
        changed["labels"] = _label_list(found, labels, label_key)
    if texts is not None and texts.dtype.kind == "U" and found.texts is None:
        changed["texts"] = [str(text) for text in texts.reshape(-1)]
    return replace(found, **changed)


def _first(arrays: Any, keys: tuple[str, ...]) -> NDArray[Any] | None:
    return next((arrays[key] for key in keys if key in arrays.files), None)


def _label_list(found: EvaluationSet, labels: NDArray[Any], label_key: str | None) -> list[int] | None:
    if labels.dtype.kind not in "iu" or not labels.ndim or not labels.size or labels.size != labels.shape[0]:
        if label_key is None:
            return None  # another array that happens to have that name
        raise InputError(
            f"{found.inputs}: {label_key} is {labels.dtype} {list(labels.shape)}, expected whole numbers [items]"
        )
    return [int(label) for label in labels.reshape(-1)]


def _json(path: Path) -> Any:
    try:
        if path.stat().st_size > MAX_JSON_BYTES:
            raise InputError(f"{path}: {path.stat().st_size} bytes, the limit is {MAX_JSON_BYTES}")
        return json.loads(path.read_bytes())
    except OSError as error:
        raise InputError(f"{path}: cannot be read ({error.strerror})", _FORMS) from error
    except (ValueError, RecursionError) as error:
        if isinstance(error, InputError):
            raise
        raise InputError(f"{path}: is not JSON: {error}") from error


def _digest(*paths: Path) -> str:
    """The SHA-256 of a file; of several, that of their hashes in order."""
    single = [file_sha256(path) for path in paths]
    return single[0] if len(single) == 1 else hashlib.sha256("".join(single).encode()).hexdigest()
