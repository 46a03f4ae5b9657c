"""The arrays of safetensors files, read one by one by their byte range: no file is ever loaded whole.

Format: https://github.com/huggingface/safetensors#format (8 bytes little-endian header length, a JSON header, the
bytes). The safetensors package has no numpy types for BF16 and F8_*, whose bit patterns are just what is needed here.
"""

from __future__ import annotations

import json
import math
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from mobile.errors import ModelError

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

INDEX = "model.safetensors.index.json"
MAX_HEADER = 100_000_000  # bytes; the format's own limit
MAX_JSON = 64 << 20  # bytes of an index or a config
# Bit patterns stand for the types that numpy lacks.
DTYPES = {
    "F64": "<f8", "F32": "<f4", "F16": "<f2", "BF16": "<u2", "F8_E4M3": "|u1", "F8_E5M2": "|u1", "F8_E8M0": "|u1",
    "I64": "<i8", "I32": "<i4", "I16": "<i2", "I8": "|i1", "U64": "<u8", "U32": "<u4", "U16": "<u2", "U8": "|u1",
    "BOOL": "|b1",
}  # fmt: skip
FLOATS = ("F64", "F32", "F16", "BF16")


@dataclass(frozen=True)
class Place:
    """Where an array lies: its type as the header has it, its shape, the file, the first byte."""

    dtype: str
    shape: tuple[int, ...]
    path: Path
    offset: int

    @property
    def size_bytes(self) -> int:
        """How many bytes it takes."""
        import numpy as np

        return math.prod(self.shape) * np.dtype(DTYPES[self.dtype]).itemsize


@dataclass(frozen=True)
class Stored(Mapping[str, Place]):
    """The arrays of a checkpoint by name, and the metadata of its files. Nothing but headers has been read."""

    path: Path
    places: dict[str, Place]
    metadata: dict[str, str]

    def __getitem__(self, name: str) -> Place:
        return self.places[name]

    def __iter__(self) -> Iterator[str]:
        return iter(self.places)

    def __len__(self) -> int:
        return len(self.places)

    def read(self, name: str) -> NDArray[Any]:
        """The array as it is stored; bit patterns (uint16, uint8) of BF16 and F8."""
        import numpy as np

        place = self.places[name]
        count = math.prod(place.shape)
        try:
            found = np.fromfile(place.path, DTYPES[place.dtype], count=count, offset=place.offset)
        except OSError as error:
            raise ModelError(f"{place.path}: cannot be read: {error.strerror or error}") from error
        if found.size != count:
            raise ModelError(f"{place.path}: {name} ends early", "Copy the file again.")
        return found.reshape(place.shape)

    def floats(self, name: str) -> NDArray[np.float32]:
        """A real array as float32: exact from F32, F16 and BF16. ModelError for whole numbers, NaN and infinity."""
        import numpy as np

        place = self.places[name]
        if place.dtype not in FLOATS:
            raise self.wrong(name, f"is {place.dtype}, expected one of {', '.join(FLOATS)}")
        array = self.read(name)
        if place.dtype == "BF16":
            wide = (array.astype(np.uint32) << np.uint32(16)).view(np.float32)
        else:
            wide = array.astype(np.float32)
        if not np.isfinite(wide).all():
            raise self.wrong(name, "holds NaN or infinity")
        return wide

    def need(self, name: str, dtypes: tuple[str, ...], what: str) -> Place:
        """The place of an array that must be there, of one of the types. ModelError says what it is for."""
        place = self.places.get(name)
        if place is None:
            raise self.wrong(name, f"is missing: {what}")
        if place.dtype not in dtypes:
            raise self.wrong(name, f"is {place.dtype}, expected {' or '.join(dtypes)}: {what}")
        return place

    def wrong(self, name: str, what: str) -> ModelError:
        """The error that names the checkpoint and one of its arrays."""
        return ModelError(f"{self.path}: {name} {what}")


def open_stored(path: Path) -> Stored:
    """The arrays of a .safetensors file, or of a folder with one or with shards. ModelError says what is damaged."""
    if not path.is_dir():
        return _open_file(path)
    return _joined(path, [path / name for name in _shards(path)])


def _shards(folder: Path) -> list[str]:
    """Names of the files in the folder that make up the checkpoint."""
    if (folder / INDEX).is_file():
        weight_map = read_json(folder / INDEX).get("weight_map")
        if not isinstance(weight_map, dict) or not weight_map:
            raise ModelError(f"{folder / INDEX}: has no weight_map")
        names = sorted({str(name) for name in weight_map.values()})
        for name in names:
            if Path(name).name != name:
                raise ModelError(f"{folder / INDEX}: names {name!r}, which is not in the folder")
        return names
    found = sorted(entry.name for entry in folder.glob("*.safetensors"))
    for usual in ("model.safetensors", "adapter_model.safetensors"):
        if usual in found:
            return [usual]
    if not found:
        raise ModelError(f"{folder}: has no .safetensors file in it", "Give the folder that holds the checkpoint.")
    return found


def _joined(folder: Path, files: list[Path]) -> Stored:
    places: dict[str, Place] = {}
    metadata: dict[str, str] = {}
    for file in files:
        part = _open_file(file)
        twice = next((name for name in part if name in places), None)
        if twice is not None:
            raise ModelError(f"{folder}: {twice} is in {places[twice].path.name} and in {file.name}")
        places.update(part.places)
        metadata.update(part.metadata)
    return Stored(folder, places, metadata)


def _open_file(path: Path) -> Stored:
    try:
        size = path.stat().st_size
        with path.open("rb") as stream:
            length = int.from_bytes(stream.read(8), "little")
            if not 2 <= length <= min(MAX_HEADER, size - 8):
                raise ModelError(f"{path}: is no safetensors file: its header would be {length} bytes")
            header = _parsed(path, stream.read(length))
    except OSError as error:
        raise ModelError(f"{path}: cannot be read: {error.strerror or error}") from error
    metadata = header.pop("__metadata__", None)
    texts = metadata if isinstance(metadata, dict) else {}
    places = {name: _place(path, name, entry, 8 + length, size) for name, entry in header.items()}
    return Stored(path, places, {str(key): str(value) for key, value in texts.items()})


def _place(path: Path, name: str, entry: object, start: int, size: int) -> Place:
    """The place that a header entry names, within the file and of the size that its shape needs."""
    fields = entry if isinstance(entry, dict) else {}
    dtype, shape, offsets = fields.get("dtype"), fields.get("shape"), fields.get("data_offsets")
    numbers = [*shape, *offsets] if isinstance(shape, list) and isinstance(offsets, list) else [-1]
    if any(type(number) is not int or number < 0 for number in numbers) or len(offsets or ()) != 2:
        raise ModelError(f"{path}: the header's entry of {name!r:.80} is damaged")
    if not isinstance(dtype, str) or dtype not in DTYPES:
        raise ModelError(f"{path}: {name} is of the unknown type {dtype!r:.40}", f"Known: {', '.join(DTYPES)}.")
    place = Place(dtype, tuple(shape or ()), path, start + (offsets or [0])[0])
    first, last = offsets or (0, 0)
    if last - first != place.size_bytes or start + last > size:
        raise ModelError(f"{path}: {name} does not lie within the file", "The file is damaged; copy it again.")
    return place


def read_json(path: Path) -> dict[str, Any]:
    """The JSON object in a file of bounded size. ModelError when it is none."""
    try:
        if path.stat().st_size > MAX_JSON:
            raise ModelError(f"{path}: more than {MAX_JSON} bytes of JSON")
        return _parsed(path, path.read_bytes())
    except OSError as error:
        raise ModelError(f"{path}: cannot be read: {error.strerror or error}") from error


def _parsed(path: Path, text: bytes) -> dict[str, Any]:
    try:
        document = json.loads(text)
    except (ValueError, RecursionError) as error:
        raise ModelError(f"{path}: is no JSON where it should be: {' '.join(str(error).split())[:120]}") from error
    if not isinstance(document, dict):
        raise ModelError(f"{path}: holds no JSON object where it should")
    return document
