"""Files on a device by their content: sent once, checked there, visible whole or not at all.

::

    WORKDIR/store/<sha256[:2]>/<sha256>/<name>                  models and inputs
    WORKDIR/store/<sha256[:2]>/<sha256>/.edgewise-chunks        what they hold, for variants of them
    WORKDIR/agents/<name of the zip>                            the agent, named by its hash
    WORKDIR/incoming/<sha256>.<owner>                           a push under way
    WORKDIR/incoming/<sha256>.part                              one that was cut, to be gone on with
    WORKDIR/current/<name>                                      a link to the model in use, see mobile.push.current
    WORKDIR/journal/                                            settings that a run holds, see device_agents.conditions

Names in the store never change their content, so a file that is there with the right size is taken for whole: it was
hashed on the device before it got its name.
"""

from __future__ import annotations

import threading
from collections.abc import Collection, Sequence
from dataclasses import dataclass
from pathlib import Path

from mobile.deadline import Deadline
from mobile.errors import ConfigError
from mobile.push import scripts
from mobile.push.content import Content, address, content, contents
from mobile.push.device import DeviceShell
from mobile.push.transfer import Pushed, Transfer
from mobile.transports.base import Progress, Transport

PATIENCE_S = 60.0  # for a link that broke under a push to come back
OWNED = ("store", "agents", "incoming", "runs", "runtimes", "current", "runtime.json", "journal")


@dataclass(frozen=True)
class StoredFile:
    """A file in a device's store."""

    path: str
    address: str  # SHA-256 of the file, or of the set it belongs to
    name: str
    size_bytes: int


class DeviceStore:
    """The store of one device. Thread-safe; several stores, also of several hosts, may use one device.

    A push whose link breaks is gone on with when it is back within ``patience_s``; ``stop`` ends that early.
    """

    def __init__(
        self,
        transport: Transport,
        workdir: str,
        *,
        patience_s: float = PATIENCE_S,
        stop: threading.Event | None = None,
    ) -> None:
        self._transport = transport
        self._workdir = workdir
        self._patience_s = patience_s
        self._stop = stop
        self._shell: DeviceShell | None = None
        self._home: str | None = None
        self._lock = threading.Lock()

    def put_file(
        self,
        source: Path | bytes,
        name: str,
        *,
        deadline: Deadline,
        progress: Progress | None = None,
        recheck: bool = False,
    ) -> str:
        """The path on the device of a file with these bytes and this name, sent there if need be.

        With ``recheck``, one that is there already is hashed again. NoSpaceOnDevice, RemoteFileError, TransportError.
        """
        return self.push([content(source, name)], deadline=deadline, progress=progress, recheck=recheck).path

    def put_files(
        self,
        paths: Sequence[Path],
        *,
        deadline: Deadline,
        progress: Progress | None = None,
        recheck: bool = False,
    ) -> str:
        """The path on the device of the first file, once it and those that belong to it are there.

        The others (a model's external data) keep their names relative to the first one's folder.
        """
        return self.push(contents(paths), deadline=deadline, progress=progress, recheck=recheck).path

    def push(
        self, files: Sequence[Content], *, deadline: Deadline, progress: Progress | None = None, recheck: bool = False
    ) -> Pushed:
        """What was done to have the files there; :func:`mobile.push.content.contents` finds them, once for all devices.

        Only what the device has nowhere in its newest artifacts is sent.
        """
        place = address(files)
        folder = f"{self.folder(deadline)}/store/{place[:2]}/{place}"
        return self._transfer(files, folder, deadline, progress, recheck=recheck)

    def ensure_agent(self, *, deadline: Deadline) -> str:
        """The path on the device of this edgewise's agent; hashed there each time, as it is run."""
        from mobile.agent_zip import agent_zip

        agent = agent_zip()
        files = [content(agent.data, agent.name)]
        folder = f"{self.folder(deadline)}/agents"
        return self._transfer(files, folder, deadline, None, recheck=True, indexed=False).path

    def stored(self, *, deadline: Deadline) -> list[StoredFile]:
        """What lies in the store, in the order of its paths."""
        root = f"{self.folder(deadline)}/store"
        output = self.shell(deadline).ask(scripts.LIST, [root], deadline).stdout.decode("utf-8", "surrogateescape")
        found = []
        for entry in output.split("\0")[:-1]:
            size, _, path = entry.partition(" ")
            place = path[len(root) + 1 :].split("/", 2)
            if len(place) == 3 and not place[2].startswith(scripts.INDEX_NAME):
                found.append(StoredFile(path, place[1], place[2], int(size)))
        return sorted(found, key=lambda file: file.path)

    def prune(self, *, deadline: Deadline, keep: Collection[str] = (), incoming: bool = False) -> int:
        """The number of bytes freed by removing all stored files but those whose path or address is in ``keep``.

        What is left of pushes that were cut goes too: after a day, or with ``incoming`` at once.
        """
        listed = self.stored(deadline=deadline)
        gone = [file for file in listed if file.path not in keep and file.address not in keep]
        folder = self.folder(deadline)
        first = [f"{folder}/incoming", "1" if incoming else "0", f"{folder}/store"]
        for start in range(0, max(1, len(gone)), 200):  # an argument list has its limit
            paths = [file.path for file in gone[start : start + 200]]
            self.shell(deadline).ask(scripts.PRUNE, [*first, *paths], deadline)
        return sum(file.size_bytes for file in gone)

    def remove_all(self, *, deadline: Deadline) -> None:
        """Nothing, once no trace of edgewise is left on the device. Other files in the working folder stay."""
        folder = self.folder(deadline)
        self.shell(deadline).ask(scripts.REMOVE, [f"{folder}/{name}" for name in OWNED], deadline)

    def reach(self, deadline: Deadline) -> None:
        """Nothing, once the device has answered: for who has something else to do while it is connected to."""
        self._home = self._ask_home(deadline)

    def folder(self, deadline: Deadline) -> str:
        """The working folder on the device, with "~" replaced by the home folder there."""
        return self.shell(deadline).folder

    def shell(self, deadline: Deadline) -> DeviceShell:
        """The store's scripts on this device."""
        with self._lock:
            if self._shell is None:
                self._shell = DeviceShell(self._transport, self._expand(deadline))
            return self._shell

    def _expand(self, deadline: Deadline) -> str:
        workdir = self._workdir.rstrip("/")
        if workdir == "~" or workdir.startswith("~/"):
            workdir = (self._home or self._ask_home(deadline)) + workdir[1:]
        if not workdir.startswith("/"):
            raise ConfigError(
                f"{self._transport.name}: workdir is {self._workdir!r}, which is {workdir!r} there",
                hint="set `workdir` to a folder that starts with / or ~/",
            )
        return workdir

    def _ask_home(self, deadline: Deadline) -> str:
        asked = DeviceShell(self._transport, "").ask(scripts.HOME, [], deadline)
        return asked.stdout.decode("utf-8", "surrogateescape").rstrip("/")

    def _transfer(
        self,
        files: Sequence[Content],
        folder: str,
        deadline: Deadline,
        progress: Progress | None,
        *,
        recheck: bool,
        indexed: bool = True,
    ) -> Pushed:
        transfer = Transfer(
            self.shell(deadline),
            files,
            folder,
            deadline=deadline,
            progress=progress,
            recheck=recheck,
            indexed=indexed,
            patience_s=self._patience_s,
            stop=self._stop,
        )
        return transfer.run()
