"""What the agent is started with on a device: what `edgewise setup` left there, else the inventory's Python."""

from __future__ import annotations

import json
import sys
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Protocol

from mobile.deadline import Deadline

if TYPE_CHECKING:
    from mobile.transports.base import Transport

FILE_NAME = "runtime.json"
FOLDER_NAME = "runtimes"
SCHEMA_MAJOR = 1
_LIMIT_BYTES = 256 * 1024
DEFAULT_PYTHON = "python3"

# Argument: the working folder. Answers the names of the layers that are there, a line "=", then runtime.json.
READ = """
cd "$1" 2>/dev/null || exit 0
[ ! -d runtimes ] || ls runtimes
echo =
[ ! -f runtime.json ] || cat runtime.json
exit 0
"""


class Board(Protocol):
    """What must be known of a device; :class:`mobile.inventory.Device` has it."""

    @property
    def name(self) -> str: ...
    @property
    def transport(self) -> str: ...
    @property
    def python(self) -> str: ...


class Store(Protocol):
    """What must be known of the store there; :class:`mobile.push.DeviceStore` has it."""

    def folder(self, deadline: Deadline) -> str: ...


@dataclass(frozen=True)
class DeviceRuntime:
    """How the agent is started: ``[*python, agent.zip, "run"]`` with ``env``; ``python_path`` is for its spec."""

    python: list[str]
    python_path: list[str] = field(default_factory=list)
    env: dict[str, str] = field(default_factory=dict)

    def environment(self) -> dict[str, str]:
        """``env`` with ``python_path`` as PYTHONPATH: for what takes no spec, such as the agent's ``facts``."""
        return {**({"PYTHONPATH": ":".join(self.python_path)} if self.python_path else {}), **self.env}


@dataclass(frozen=True)
class Record:
    """runtime.json: what was set up. ``layers`` are addresses (SHA-256), ``runtimes`` versions by package."""

    kind: str  # "installed", "wheels" or "bundle"
    asked_python: str  # the inventory's, when it was set up; another one since then wins over this record
    runtime: DeviceRuntime
    layers: tuple[str, ...] = ()
    runtimes: Mapping[str, str] = field(default_factory=dict)

    def to_json(self) -> bytes:
        """The bytes of the file."""
        document = {
            "schema": f"{SCHEMA_MAJOR}.0",
            "kind": self.kind,
            "asked_python": self.asked_python,
            "python": self.runtime.python,
            "python_path": self.runtime.python_path,
            "env": self.runtime.env,
            "layers": list(self.layers),
            "runtimes": dict(self.runtimes),
        }
        return json.dumps(document, indent=2, sort_keys=True).encode("utf-8") + b"\n"


@dataclass(frozen=True)
class Found:
    """What lies on a device: the record, None when there is none that can be read, why, and the layers there."""

    record: Record | None
    problem: str | None
    layers: frozenset[str]

    @property
    def missing(self) -> list[str]:
        """The layers that the record names and the device has not."""
        return [] if self.record is None else [name for name in self.record.layers if name not in self.layers]

    @property
    def usable(self) -> bool:
        """True when the record can be read and all its layers are there."""
        return self.record is not None and not self.missing


def runtime_for(transport: Transport, store: Store, device: Board, deadline: Deadline) -> DeviceRuntime:
    """What to start the agent with on this device. One short command; never an error for a damaged file.

    On this machine it is the Python that runs edgewise, which has the runtimes; unless the inventory names another.
    """
    if device.transport == "local" and device.python == DEFAULT_PYTHON:
        return DeviceRuntime([sys.executable])
    found = read(transport, store, deadline)
    record = found.record
    if record is None or not found.usable or record.asked_python != device.python:
        return DeviceRuntime([device.python])
    return record.runtime


def read(transport: Transport, store: Store, deadline: Deadline) -> Found:
    """What `edgewise setup` left on the device."""
    folder = store.folder(deadline)
    done = transport.run(["sh", "-c", READ, "sh", folder], deadline=deadline, output_limit_bytes=_LIMIT_BYTES)
    return parse(done.stdout)


def parse(answer: bytes) -> Found:
    """What an answer of READ says.

    >>> parse(b"").record is None
    True
    """
    listed, mark, body = answer.partition(b"=\n")
    names = frozenset(listed.decode("utf-8", "replace").split())
    if not mark or not body.strip():
        return Found(None, None, names)
    try:
        document = json.loads(body)
    except (ValueError, RecursionError) as error:
        return Found(None, f"it is not JSON: {error}", names)
    try:
        return Found(_record(document), None, names)
    except ValueError as error:
        return Found(None, str(error), names)


def _record(document: Any) -> Record:
    if not isinstance(document, dict):
        raise ValueError(f"it is {type(document).__name__}, not an object")
    major = str(document.get("schema", "")).split(".")[0]
    if major != str(SCHEMA_MAJOR):
        raise ValueError(f"it has schema {document.get('schema')!r}, this edgewise reads {SCHEMA_MAJOR}.x")
    python = _texts(document, "python")
    if not python:
        raise ValueError("it names no python")
    runtime = DeviceRuntime(python, _texts(document, "python_path"), _mapping(document, "env"))
    return Record(
        kind=_text(document, "kind"),
        asked_python=_text(document, "asked_python"),
        runtime=runtime,
        layers=tuple(_texts(document, "layers")),
        runtimes=_mapping(document, "runtimes"),
    )


def _text(document: dict[str, Any], key: str) -> str:
    value = document.get(key)
    if not isinstance(value, str) or not value or "\0" in value:
        raise ValueError(f"{key} is {value!r}, expected a text")
    return value


def _texts(document: dict[str, Any], key: str) -> list[str]:
    value = document.get(key)
    if not isinstance(value, list) or not all(isinstance(item, str) and item and "\0" not in item for item in value):
        raise ValueError(f"{key} is {value!r}, expected a list of texts")
    return value


def _mapping(document: dict[str, Any], key: str) -> dict[str, str]:
    value = document.get(key)
    if not isinstance(value, dict) or not all(
        isinstance(item, str) and "\0" not in name + item and name and "=" not in name for name, item in value.items()
    ):
        raise ValueError(f"{key} is {value!r}, expected texts by name")
    return value
