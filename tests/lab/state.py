"""What is known about one lab: its nodes, their links and how to log in. Kept as JSON in the lab's folder."""

from __future__ import annotations

import json
import os
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from tests.lab import places
from tests.lab.process import LabError, is_alive, start_ticks_of

PROVENANCE = "emulated"


@dataclass
class Link:
    """One node's cable: the same in both directions. `rate` is as tc writes it, or "none" for unlimited."""

    rate: str = "none"
    delay_ms: float = 0.0
    jitter_ms: float = 0.0
    loss_percent: float = 0.0
    up: bool = True

    @property
    def needs_relay(self) -> bool:
        """True when frames must pass through the user-space relay, which alone can delay or drop them."""
        return bool(self.delay_ms or self.jitter_ms or self.loss_percent)


@dataclass
class Node:
    """A machine of the lab. Kind "host" is a bare network namespace; the others are devices.

    ``personality``: the name of a board that the device looks like from inside, or the path of a recording.
    """

    name: str
    kind: str
    address: str
    link: Link = field(default_factory=Link)
    mem_mb: int | None = None
    cpu_percent: int | None = None
    disk_mb: int = 1024
    host_key: str | None = None
    personality: str | None = None
    provenance: str = PROVENANCE

    @property
    def is_device(self) -> bool:
        """False for the developer's machine and the edge server."""
        return self.kind != "host"

    @property
    def transport(self) -> str:
        """ "ssh", "adb" or "host"."""
        return self.kind.partition("-")[0]

    @property
    def arch(self) -> str:
        """ "arm64" or "amd64" in Debian's words; empty for a host."""
        return self.kind.partition("-")[2]

    @property
    def port(self) -> int:
        """The TCP port of sshd or adbd."""
        return 22 if self.transport == "ssh" else 5555

    @property
    def user(self) -> str:
        """Who one is after logging in."""
        return "edge" if self.transport == "ssh" else "shell"


@dataclass
class State:
    """One lab. `owner`: pid and start time of the process whose end ends it; None for a lab made by hand."""

    lab: str
    nodes: dict[str, Node]
    owner: tuple[int, int] | None = None

    @property
    def folder(self) -> Path:
        """The lab's own folder."""
        return folder_of(self.lab)

    @property
    def keys(self) -> Path:
        """The folder with the developer's keys: id_ed25519 and adbkey, each with its .pub."""
        return self.folder / "keys"

    @property
    def devices(self) -> dict[str, Node]:
        """The nodes that are devices, by name."""
        return {name: node for name, node in self.nodes.items() if node.is_device}

    def node(self, name: str) -> Node:
        """The node called `name`; LabError, with the names there are, when there is none."""
        if name not in self.nodes:
            raise LabError(f"no node {name!r} in lab {self.lab!r} (there are: {', '.join(self.nodes)})")
        return self.nodes[name]

    def device(self, name: str) -> Node:
        """The device called `name`; LabError when there is none or it is a mere host."""
        node = self.node(name)
        if not node.is_device:
            raise LabError(f"{name} is not a device (devices: {', '.join(self.devices) or 'none'})")
        return node

    def namespace(self, node: str) -> str:
        """The name of a node's network namespace."""
        return f"{places.prefix()}-{self.lab}-{node}"

    def device_folder(self, name: str) -> Path:
        """The folder with a device's disk, /sys and console log."""
        return self.folder / "dev" / name

    def save(self) -> None:
        """Nothing; the state file is replaced in one step."""
        self.folder.mkdir(parents=True, exist_ok=True)
        write_atomically(self.folder / "state.json", json.dumps(asdict(self), indent=1))


def folder_of(lab: str) -> Path:
    """The folder of the lab of this name, whether it exists or not."""
    return places.labs_dir() / lab


def load(lab: str) -> State | None:
    """The state of a lab, None when it is not up (or its state cannot be read)."""
    try:
        document: dict[str, Any] = json.loads((folder_of(lab) / "state.json").read_text())
        nodes = {name: Node(**{**node, "link": Link(**node["link"])}) for name, node in document["nodes"].items()}
        owner = document["owner"]
        return State(document["lab"], nodes, (owner[0], owner[1]) if owner else None)
    except (OSError, ValueError, TypeError, KeyError):
        return None


def this_process() -> tuple[int, int]:
    """(pid, start time) of the calling process, to be an owner."""
    return os.getpid(), start_ticks_of(os.getpid()) or 0


def is_abandoned(state: State) -> bool:
    """True when the lab had an owner and that process is gone."""
    return state.owner is not None and not is_alive(*state.owner)


def write_atomically(path: Path, text: str) -> None:
    """Nothing; readers see the old content or the new, never a part."""
    temporary = path.with_name(path.name + ".tmp")
    temporary.write_text(text)
    temporary.replace(path)
