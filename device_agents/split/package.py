"""A split package as the device and the server read it: a manifest, and the parts it names by their hash.

A package is a folder: ``manifest.json`` and ``parts/*.onnx``. Its id is the SHA-256 over the manifest without the id
and the table of costs, in canonical JSON; the manifest names every part by its SHA-256. So head and tail of two
packages cannot be mixed up: both ends compare the id, and a part that was changed is refused. What the placements cost
may be measured anew without making another package of it; the table has a hash of its own.
"""

import hashlib
import json
import os
from typing import Any, Dict, List, NamedTuple, Optional, Tuple

from device_agents.split.codecs import Range, parse
from device_agents.split.frames import DTYPES
from device_agents.split.table import Table

SCHEMA = 1
KIND = "edgewise-split"
MANIFEST = "manifest.json"
PARTS = "parts"
MAX_MANIFEST_BYTES = 64 << 20
MAX_PLACEMENTS, MAX_PARTS = 4096, 64
DEVICE, SERVER = "device", "server"
COSTS = ("table", "table_sha256", "calibration")  # of the manifest; not in its id


class PackageError(ValueError):
    """A package is damaged, incomplete, or of another version; the message names the field or file."""


class Value(NamedTuple):
    """A tensor that a part takes or gives. A dimension is -1 where it is free."""

    name: str
    dtype: str  # of the Open Inference Protocol
    shape: Tuple[int, ...]


class Part(NamedTuple):
    """One part of a placement: where it runs, its file, the values it takes and gives."""

    number: int
    place: str
    file: str
    sha256: str
    size_bytes: int
    inputs: Tuple[str, ...]
    outputs: Tuple[str, ...]


class Crossing(NamedTuple):
    """A value that crosses the link in a placement, and its codec."""

    value: str
    up: bool
    codec: str


class Placement(NamedTuple):
    """One placement: its parts in the order of their running, and what crosses."""

    id: str
    label: str
    parts: Tuple[Part, ...]
    crossings: Tuple[Crossing, ...]

    def codec(self, value: str, up: bool) -> str:
        """The codec in which a value crosses; "raw" when none was said."""
        return next((c.codec for c in self.crossings if c.value == value and c.up == up), "raw")


class Package(NamedTuple):
    """A package that was read and found in order. ``table`` is None when it was made without costs."""

    path: str
    id: str
    name: str
    inputs: Tuple[Value, ...]
    outputs: Tuple[Value, ...]
    values: Dict[str, Value]
    ranges: Dict[str, Range]
    placements: Dict[str, Placement]
    table: Optional[Table]

    def file_of(self, part: Part) -> str:
        """The path of a part's file."""
        return os.path.join(self.path, *part.file.split("/"))

    def model_name(self, placement: Placement, part: Part) -> str:
        """What a part is called on a server: NAME.PLACEMENT, and with the part's number behind the first one."""
        first = next(other.number for other in placement.parts if other.place == SERVER)
        name = "{}.{}".format(self.name, placement.id)
        return name if part.number == first else "{}.{}".format(name, part.number)


def read(path: str) -> Package:
    """The package in a folder. PackageError when it is not in order; the parts are checked when they are loaded."""
    try:
        with open(os.path.join(path, MANIFEST), "rb") as file:
            data = file.read(MAX_MANIFEST_BYTES + 1)
    except OSError as error:
        raise PackageError("{}: {}".format(os.path.join(path, MANIFEST), error.strerror)) from error
    if len(data) > MAX_MANIFEST_BYTES:
        raise PackageError("{}: larger than {} bytes".format(MANIFEST, MAX_MANIFEST_BYTES))
    try:
        document = json.loads(data.decode("utf-8"))
    except (ValueError, RecursionError) as error:
        raise PackageError("{}: not JSON: {}".format(MANIFEST, error)) from error
    return from_json(document, path)


def from_json(document: Any, path: str = "") -> Package:
    """The package of a manifest. PackageError names the field that is wrong."""
    if not isinstance(document, dict) or document.get("kind") != KIND or document.get("schema") != SCHEMA:
        raise PackageError("not a split package of schema {}".format(SCHEMA))
    if document.get("id") != identity(document):
        raise PackageError("the manifest was changed: its id is not that of its content")
    if document.get("table") is not None and document.get("table_sha256") != costs_identity(document):
        raise PackageError("the manifest was changed: its table of costs is not the one that was hashed")
    try:
        placements = [_placement(item) for item in _list(document, "placements", MAX_PLACEMENTS)]
        values = {str(name): _value(str(name), about) for name, about in document["values"].items()}
        ranges = {str(name): Range.from_json(about) for name, about in (document.get("ranges") or {}).items()}
        made = Package(
            path=path,
            id=str(document["id"]),
            name=_safe_name(document["name"]),
            inputs=tuple(_value(str(item["name"]), item) for item in _list(document, "inputs", 4096)),
            outputs=tuple(_value(str(item["name"]), item) for item in _list(document, "outputs", 4096)),
            values=values,
            ranges=ranges,
            placements={placement.id: placement for placement in placements},
            table=None if document.get("table") is None else Table.from_json(document["table"]),
        )
    except PackageError:
        raise
    except (KeyError, TypeError, AttributeError, ValueError, OverflowError) as error:  # of codecs and table, too
        raise PackageError("the manifest is damaged: {}".format(error)) from error
    _check(made, placements)
    return made


def identity(document: Dict[str, Any]) -> str:
    """The id of a manifest: SHA-256 over its canonical JSON without ``id`` and what is said of costs."""
    return _digest({key: value for key, value in document.items() if key not in ("id", *COSTS)})


def costs_identity(document: Dict[str, Any]) -> str:
    """The hash of a manifest's table of costs."""
    return _digest(document.get("table"))


def _digest(content: Any) -> str:
    try:
        text = json.dumps(content, sort_keys=True, separators=(",", ":"), allow_nan=False, ensure_ascii=True)
    except (TypeError, ValueError) as error:
        raise PackageError("the manifest cannot be written as JSON: {}".format(error)) from error
    return hashlib.sha256(text.encode("ascii")).hexdigest()


def check_part(package: Package, part: Part) -> None:
    """Nothing. PackageError when the part's file is missing or is not the one that the manifest names."""
    digest, path = hashlib.sha256(), package.file_of(part)
    try:
        if os.path.getsize(path) != part.size_bytes:
            raise PackageError("{} has another size than the manifest says".format(part.file))
        with open(path, "rb") as file:
            for block in iter(lambda: file.read(1 << 20), b""):
                digest.update(block)
    except OSError as error:
        raise PackageError("{}: {}".format(part.file, error.strerror)) from error
    if digest.hexdigest() != part.sha256:
        raise PackageError("{} is not the file that the manifest names".format(part.file))


def _placement(item: Dict[str, Any]) -> Placement:
    parts = tuple(_part(one) for one in _list(item, "parts", MAX_PARTS))
    crossings = tuple(
        Crossing(str(one["value"]), bool(one["up"]), parse(str(one["codec"])).name)
        for one in _list(item, "crossings", 4096)
    )
    return Placement(str(item["id"]), str(item["label"]), parts, crossings)


def _part(item: Dict[str, Any]) -> Part:
    digest, place = str(item["sha256"]), str(item["place"])
    if len(digest) != 64 or set(digest) - set("0123456789abcdef"):
        raise PackageError("a part's sha256 is {!r}".format(digest[:80]))
    # The name follows from the hash, so that no manifest can lead out of the folder.
    file = "{}/{}.onnx".format(PARTS, digest[:16])
    if item["file"] != file or place not in (DEVICE, SERVER):
        raise PackageError("a part's file is {!r} and its place {!r}".format(item["file"], place))
    names = (tuple(str(name) for name in item[key]) for key in ("inputs", "outputs"))
    return Part(int(item["number"]), place, file, digest, int(item["size_bytes"]), *names)


def _value(name: str, about: Dict[str, Any]) -> Value:
    dtype = str(about["dtype"])
    if dtype not in DTYPES:
        raise PackageError("{} has dtype {!r}, which cannot cross".format(name, dtype))
    return Value(name, dtype, tuple(int(dim) for dim in about["shape"]))


def _list(document: Dict[str, Any], name: str, most: int) -> List[Any]:
    items = document.get(name)
    if not isinstance(items, list) or len(items) > most or not all(isinstance(item, dict) for item in items):
        raise PackageError("{}: a list of at most {} objects is wanted".format(name, most))
    return items


def _safe_name(name: Any) -> str:
    text = str(name)
    if not text or len(text) > 128 or not all(char.isalnum() or char in "._-" for char in text) or text[0] in ".-":
        raise PackageError("the package's name is {!r}: letters, digits, dots, dashes".format(text[:80]))
    return text


def _check(package: Package, placements: List[Placement]) -> None:
    """The parts of each placement fit together: what one takes is an input of the model or was given before."""
    if not placements or len(package.placements) != len(placements):
        raise PackageError("placements: there must be one, each with an id of its own")
    inputs = {value.name for value in package.inputs}
    for placement in placements:
        known = set(inputs)
        for part in placement.parts:
            missing = [name for name in part.inputs if name not in known]
            if missing:
                raise PackageError("placement {}: nothing gives {!r}".format(placement.id, missing[0]))
            known.update(part.outputs)
        for value in package.outputs:
            if value.name not in known:
                raise PackageError("placement {}: nothing gives the output {!r}".format(placement.id, value.name))
        for crossing in placement.crossings:
            if crossing.value not in package.values and crossing.value not in inputs:
                raise PackageError("placement {}: {!r} is no value".format(placement.id, crossing.value))
    for name in package.table.placements if package.table is not None else ():
        if name not in package.placements:
            raise PackageError("the table names placement {!r}, which is not there".format(name))
