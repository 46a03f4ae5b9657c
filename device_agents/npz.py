"""Reads inputs from an .npz as from a stranger: no pickles, sizes known and bounded before anything is allocated."""

import struct
import tokenize
import zipfile
import zlib
from typing import Any, Dict, NamedTuple, Optional, Tuple

from device_agents.failures import AgentFailure
from device_agents.inputs import DTYPES, MAX_INPUT_BYTES, Declared, check_dtype, is_free

# What zipfile, zlib and numpy raise on damaged or hostile files.
BROKEN = (
    zipfile.BadZipFile,
    zlib.error,
    struct.error,
    EOFError,
    ValueError,
    SyntaxError,
    tokenize.TokenError,
    RuntimeError,
    OSError,
)


class Header(NamedTuple):
    """What an array says of itself before it is read."""

    shape: Tuple[int, ...]
    dtype: Any  # numpy.dtype


def read_npz(path: str, declared: Declared, scale: Optional[Dict[str, float]] = None) -> Dict[str, Any]:
    """The array of each declared input. The file's other arrays (labels) are left alone.

    uint8 data fits a float input for which ``scale`` has a factor. AgentFailure "bad-input" when the file cannot be
    read, has pickled objects, lacks an input, or an array's shape or dtype does not fit; it names what was expected.
    """
    scale = scale or {}
    _check_scale(declared, scale)
    try:
        with zipfile.ZipFile(path) as archive:
            headers = _headers(archive, declared)
            total = 0
            for entry in declared:
                _check(entry, headers[entry["name"]], scale)
                total += _bytes(headers[entry["name"]])
            if total > MAX_INPUT_BYTES:
                raise AgentFailure(
                    "bad-input", "{}: the arrays take {} bytes, the limit is {}".format(path, total, MAX_INPUT_BYTES)
                )
            return {entry["name"]: _read(archive, entry["name"]) for entry in declared}
    except BROKEN as error:
        if isinstance(error, AgentFailure):
            raise
        raise AgentFailure("bad-input", "{}: not a readable .npz: {}".format(path, error)) from error


def _headers(archive: zipfile.ZipFile, declared: Declared) -> Dict[str, Header]:
    there = {name[:-4] for name in archive.namelist() if name.endswith(".npy")}
    missing = [entry["name"] for entry in declared if entry["name"] not in there]
    if missing:
        raise AgentFailure(
            "bad-input",
            "the .npz has no array {}; it has {}; the model expects {}".format(
                ", ".join(missing), ", ".join(sorted(there)) or "none", ", ".join(map(describe, declared))
            ),
        )
    return {entry["name"]: _header(archive, entry["name"]) for entry in declared}


def _header(archive: zipfile.ZipFile, name: str) -> Header:
    from numpy.lib import format as npy

    with archive.open(name + ".npy") as file:
        version = npy.read_magic(file)
        # numpy writes 1.0 for every plain array; its header is at most 64 KiB, that of later versions may be 4 GiB.
        if version != (1, 0):
            raise AgentFailure("bad-input", "array {!r} is .npy version {}, expected 1.0".format(name, version))
        shape, _, dtype = npy.read_array_header_1_0(file)
    if dtype.hasobject:
        raise AgentFailure("bad-input", "array {!r} holds pickled objects, which are never read".format(name))
    return Header(tuple(int(dimension) for dimension in shape), dtype)


def _read(archive: zipfile.ZipFile, name: str) -> Any:
    from numpy.lib import format as npy

    # numpy allocates what the header says (bounded above) and reads exactly that, however much the archive unpacks to.
    with archive.open(name + ".npy") as file:
        array = npy.read_array(file, allow_pickle=False)
    return array.copy() if not array.flags.c_contiguous else array


def _check(entry: Dict[str, Any], header: Header, scale: Dict[str, float]) -> None:
    check_dtype(entry)
    expected = describe(entry)
    scaled = entry["name"] in scale and header.dtype == "uint8"
    if header.dtype != entry["dtype"] and not scaled:
        hint = None
        if header.dtype == "uint8" and entry["dtype"].startswith("float"):
            hint = "Give a scale for input {!r} (for example 1/255) to feed uint8 data.".format(entry["name"])
        raise AgentFailure(
            "bad-input",
            "array {!r} has dtype {}, the model expects {}".format(entry["name"], header.dtype, expected),
            hint,
        )
    shape = entry["shape"]
    rest = shape[1:]
    fits = len(header.shape) == len(shape) and all(
        is_free(size) or size == header.shape[axis] for axis, size in enumerate(rest, start=1)
    )
    if not fits or 0 in header.shape:
        raise AgentFailure(
            "bad-input",
            "array {!r} has shape {}, the model expects {} (items along the first axis)".format(
                entry["name"], list(header.shape), expected
            ),
        )


def _check_scale(declared: Declared, scale: Dict[str, float]) -> None:
    floats = [entry["name"] for entry in declared if str(entry["dtype"]).startswith("float")]
    unknown = sorted(set(scale) - set(floats))
    if unknown:
        raise AgentFailure(
            "bad-input",
            "scale names {}, the model's float inputs are: {}".format(", ".join(unknown), ", ".join(floats) or "none"),
        )


def describe(entry: Dict[str, Any]) -> str:
    """An input in words: "x float32 [batch, 3, ?]"."""
    shape = ", ".join("?" if dimension is None else str(dimension) for dimension in entry["shape"])
    return "{} {} [{}]".format(entry["name"], entry["dtype"], shape)


def _bytes(header: Header) -> int:
    count = int(header.dtype.itemsize)
    for dimension in header.shape:
        count *= dimension
    return count


def data_shapes(arrays: Dict[str, Any]) -> Dict[str, Tuple[int, ...]]:
    """The shapes of arrays by name."""
    return {name: tuple(array.shape) for name, array in arrays.items()}


def file_arrays(path: str) -> Declared:
    """The arrays of a file as inputs would be declared: name, dtype, [free, rest of the shape]; nothing is read.

    Texts and other arrays that no model takes are left out. AgentFailure "bad-input" when there is none.
    """
    found: Declared = []
    try:
        with zipfile.ZipFile(path) as archive:
            for name in sorted(name[:-4] for name in archive.namelist() if name.endswith(".npy")):
                header = _header(archive, name)
                if header.dtype.name in DTYPES and header.shape:
                    found.append({"name": name, "dtype": header.dtype.name, "shape": [None, *header.shape[1:]]})
    except BROKEN as error:
        if isinstance(error, AgentFailure):
            raise
        raise AgentFailure("bad-input", "{}: not a readable .npz: {}".format(path, error)) from error
    if not found:
        raise AgentFailure("bad-input", "{}: it has no array with items along a first axis".format(path))
    return found
