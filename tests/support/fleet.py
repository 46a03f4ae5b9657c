"""The lab's boards, and a board made of this machine, as devices of an inventory."""

from __future__ import annotations

import shutil
from contextlib import contextmanager
from pathlib import Path

from mobile.benchmark.session import DeviceSession
from mobile.inventory import Device, Inventory, load_inventory
from mobile.push import DeviceStore
from mobile.transports.fake import FakeTransport, run_locally

# One launch of a program is one invocation: a run that needs no runtime on the board, with a stream that is not large.
SLEEPER = {"runner": "command", "command": ("sleep", "0.02"), "warmup_count": 1, "warmup_duration_s": 0.0}


def lab_inventory(lab, folder: Path, names=None, **fields) -> Inventory:
    """An inventory with the lab's devices, written to ``folder``; ``fields`` are set for each SSH board."""
    lines = ["devices:"]
    for name, node in lab.devices.items():
        if names is not None and name not in names:
            continue
        entry = {"transport": node.transport, "host": node.address, "port": node.port, "provenance": node.provenance}
        if node.transport == "ssh":
            entry |= {"user": node.user, "key_file": lab.ssh_key_path, "known_hosts": lab.known_hosts_path, **fields}
        lines.append(f"  {name}: {{{', '.join(f'{key}: {value}' for key, value in entry.items())}}}")
    path = folder / "devices.yaml"
    path.write_text("\n".join(lines) + "\n")
    return load_inventory(path)


def know_the_phone(lab, home: Path) -> None:
    """Puts the key that the lab's phones accept where adb looks for it."""
    (home / ".android").mkdir(exist_ok=True)
    for name in ("adbkey", "adbkey.pub"):
        shutil.copy(lab.adb_key_path.with_name(name), home / ".android" / name)


class FakeBoards:
    """Boards that are folders of this machine, with the real agent and the faults of a link."""

    def __init__(self, root: Path, *names: str) -> None:
        self.root = root
        self.transports: list[FakeTransport] = []
        self.faults = dict.fromkeys(names)
        self.inventory = Inventory(
            path=None,
            devices={
                name: Device(
                    name=name, transport="ssh", host="board.invalid", python=self._python(), workdir="~/.edgewise"
                )
                for name in names
            },
            groups={},
            servers={},
            links=(),
        )

    @staticmethod
    def _python() -> str:
        import sys

        return sys.executable

    def folder(self, name: str) -> Path:
        """A board's home folder."""
        found = self.root / name
        found.mkdir(parents=True, exist_ok=True)
        return found

    def runs(self, name: str) -> Path:
        """Where a board keeps its runs."""
        return self.folder(name) / ".edgewise" / "runs"

    def open(self, device, **options) -> DeviceSession:
        """A session, in place of DeviceSession.open."""
        transport = FakeTransport(run_locally, name=device.name, root=self.folder(device.name))
        if self.faults.get(device.name) is not None:
            transport.faults = self.faults[device.name]
        self.transports.append(transport)
        return DeviceSession(device, transport, DeviceStore(transport, device.workdir), **options)

    @contextmanager
    def in_place(self, monkeypatch):
        """A block in which every session is one of these boards."""
        monkeypatch.setattr(
            DeviceSession, "open", classmethod(lambda cls, device, **options: self.open(device, **options))
        )
        yield self
