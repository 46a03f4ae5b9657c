"""Files on a device by their content: sent once, checked there, visible whole or not at all.

::

    WORKDIR/store/<sha256[:2]>/<sha256>/<name>     models and inputs
    WORKDIR/agents/<name of the zip>               the agent, named by its hash
    WORKDIR/incoming/<random>                      a push under way

Names in the store never change their content, so a file that is there with the right size is taken for whole: it was
hashed on the device before it got its name.
"""

from __future__ import annotations

import contextlib
import logging
import secrets
import threading
from collections.abc import Collection, Sequence
from dataclasses import dataclass
from pathlib import Path

from mobile.deadline import Deadline
from mobile.errors import ConfigError, NoSpaceOnDevice, RemoteFileError, TransportError
from mobile.push import scripts
from mobile.push.content import Content, address, content, contents
from mobile.transports.base import Completed, Progress, Transport
from mobile.transports.refusals import refusal

_ATTEMPTS = 3  # another push, or a prune, may take a file away between our steps
_TIDY_S = 5.0

_log = logging.getLogger(__name__)


@dataclass(frozen=True)
class StoredFile:
    """A file in a device's store."""

    path: str
    address: str  # SHA-256 of the file, or of the set it belongs to
    name: str
    size_bytes: int


class DeviceStore:
    """The store of one device. Thread-safe; several stores, also of several hosts, may use one device."""

    def __init__(self, transport: Transport, workdir: str) -> None:
        self._transport = transport
        self._workdir = workdir
        self._expanded: str | None = None
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
        return self._stored([content(source, name)], deadline, progress, recheck)

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
        return self._stored(contents(paths), deadline, progress, recheck)

    def ensure_agent(self, *, deadline: Deadline) -> str:
        """The path on the device of this edgewise's agent; hashed there each time, as it is run."""
        from mobile.agent_zip import agent_zip

        agent = agent_zip()
        files = [Content(agent.data, agent.name, len(agent.data), agent.sha256)]
        return self._placed(files, f"{self.folder(deadline)}/agents", deadline, None, recheck=True)

    def stored(self, *, deadline: Deadline) -> list[StoredFile]:
        """What lies in the store, in the order of its paths."""
        root = f"{self.folder(deadline)}/store"
        output = self._sh(scripts.LIST, [root], deadline).stdout.decode("utf-8", "surrogateescape")
        found = []
        for entry in output.split("\0")[:-1]:
            size, _, path = entry.partition(" ")
            place = path[len(root) + 1 :].split("/", 2)
            if len(place) == 3:
                found.append(StoredFile(path, place[1], place[2], int(size)))
        return sorted(found, key=lambda file: file.path)

    def prune(self, *, deadline: Deadline, keep: Collection[str] = ()) -> int:
        """The number of bytes freed by removing all stored files but those whose path or address is in ``keep``.

        What is left of pushes that were cut more than a day ago goes too.
        """
        listed = self.stored(deadline=deadline)
        gone = [file for file in listed if file.path not in keep and file.address not in keep]
        folder = self.folder(deadline)
        for start in range(0, max(1, len(gone)), 200):  # an argument list has its limit
            paths = [file.path for file in gone[start : start + 200]]
            self._sh(scripts.PRUNE, [f"{folder}/incoming", f"{folder}/store", *paths], deadline)
        return sum(file.size_bytes for file in gone)

    def remove_all(self, *, deadline: Deadline) -> None:
        """Nothing, once no trace of edgewise is left on the device. Other files in the working folder stay."""
        folder = self.folder(deadline)
        owned = [f"{folder}/{name}" for name in ("store", "agents", "incoming", "runs")]
        self._sh(scripts.REMOVE_FOLDERS, owned, deadline)

    def folder(self, deadline: Deadline) -> str:
        """The working folder on the device, with "~" replaced by the home folder there."""
        with self._lock:
            if self._expanded is None:
                self._expanded = self._expand(deadline)
            return self._expanded

    def _expand(self, deadline: Deadline) -> str:
        workdir = self._workdir.rstrip("/")
        if workdir == "~" or workdir.startswith("~/"):
            home = self._sh(scripts.HOME, [], deadline).stdout.decode("utf-8", "surrogateescape").rstrip("/")
            workdir = home + workdir[1:]
        if not workdir.startswith("/"):
            raise ConfigError(
                f"{self._transport.name}: workdir is {self._workdir!r}, which is {workdir!r} there",
                hint="set `workdir` to a folder that starts with / or ~/",
            )
        return workdir

    def _stored(self, files: list[Content], deadline: Deadline, progress: Progress | None, recheck: bool) -> str:
        place = address(files)
        return self._placed(
            files, f"{self.folder(deadline)}/store/{place[:2]}/{place}", deadline, progress, recheck=recheck
        )

    def _placed(
        self, files: list[Content], folder: str, deadline: Deadline, progress: Progress | None, *, recheck: bool
    ) -> str:
        for _ in range(_ATTEMPTS):
            needed = self._needed(files, folder, deadline, recheck)
            if not needed:
                total_bytes = sum(file.size_bytes for file in files)
                if progress is not None:
                    progress(total_bytes, total_bytes)
                return f"{folder}/{files[0].name}"
            self._send(needed, folder, deadline, progress)
            recheck = False
        raise RemoteFileError(f"{self._transport.name}: {folder} loses its files as soon as they are there", folder)

    def _needed(self, files: list[Content], folder: str, deadline: Deadline, recheck: bool) -> list[Content]:
        incoming = f"{self.folder(deadline)}/incoming"
        asked = [incoming, "1" if recheck else "0"]
        for file in files:
            asked += [f"{folder}/{file.name}", str(file.size_bytes), file.sha256]
        lines = self._sh(scripts.PREPARE, asked, deadline).stdout.decode("utf-8", "replace").splitlines()
        answers, df = lines[: len(files)], lines[len(files) :]
        if len(answers) != len(files) or not set(answers) <= {"have", "need"}:
            raise TransportError(f"{self._transport.name}: not an answer of the store: {lines[:3]!r}")
        needed = [file for file, answer in zip(files, answers, strict=True) if answer == "need"]
        self._check_space(needed, available_bytes(df), incoming)
        return needed

    def _check_space(self, needed: list[Content], free_bytes: int | None, folder: str) -> None:
        wanted_bytes = sum(file.size_bytes for file in needed)
        if needed and free_bytes is not None and wanted_bytes > free_bytes:
            raise NoSpaceOnDevice(
                f"{self._transport.name}: {needed[0].name} needs {wanted_bytes} bytes,"
                f" {folder} has {free_bytes} bytes free",
                folder,
                hint=f"`edgewise store {self._transport.name} prune` frees what edgewise stored",
            )

    def _send(self, files: list[Content], folder: str, deadline: Deadline, progress: Progress | None) -> None:
        incoming = f"{self.folder(deadline)}/incoming"
        temporaries = [f"{incoming}/{secrets.token_hex(8)}" for _ in files]
        total_bytes = sum(file.size_bytes for file in files)
        before_bytes = 0
        try:
            for file, temporary in zip(files, temporaries, strict=True):
                part = _part(progress, before_bytes, total_bytes)
                self._transport.put(file.source, temporary, deadline=deadline, progress=part)
                before_bytes += file.size_bytes
            self._finish(files, temporaries, folder, deadline)
        except BaseException:
            self._tidy(temporaries)
            raise

    def _tidy(self, temporaries: list[str]) -> None:
        with contextlib.suppress(TransportError):
            self._transport.run(["sh", "-c", scripts.REMOVE, "sh", *temporaries], deadline=Deadline(_TIDY_S))

    def _finish(self, files: list[Content], temporaries: list[str], folder: str, deadline: Deadline) -> None:
        """Checks and names what has arrived, the main file last: it is not visible before those that belong to it."""
        arguments: list[str] = []
        for file, temporary in reversed(list(zip(files, temporaries, strict=True))):
            arguments += [temporary, f"{folder}/{file.name}", file.sha256]
        done = self._transport.run(
            ["sh", "-c", scripts.FINISH, "sh", *arguments], deadline=deadline, env={"LC_ALL": "C"}
        )
        if done.exit_code == scripts.GONE:
            _log.info("%s: a file of the push was taken away, trying again", self._transport.name)
            self._tidy(temporaries)
        elif done.exit_code == scripts.DAMAGED:
            raise RemoteFileError(
                f"{self._transport.name}: {files[0].name} did not arrive as it was: {_last_line(done)}",
                folder,
                hint="try again; if it stays so, the file changes while it is sent, or the device's storage is bad",
            )
        elif not done.ok:
            raise refusal(self._transport.name, folder, done)

    def _sh(self, script: str, arguments: Sequence[str], deadline: Deadline) -> Completed:
        done = self._transport.run(["sh", "-c", script, "sh", *arguments], deadline=deadline, env={"LC_ALL": "C"})
        if not done.ok:
            raise refusal(self._transport.name, arguments[0] if arguments else "~", done)
        return done


def available_bytes(df_lines: Sequence[str]) -> int | None:
    """The free bytes in an answer of ``df -Pk``, None when it cannot be read.

    >>> available_bytes(["Filesystem 1024-blocks Used Available Capacity Mounted on", "/dev/a b 100 60 40 60% /"])
    40960
    """
    words = df_lines[-1].split() if len(df_lines) > 1 else []
    for index, word in enumerate(words):
        if index and word.endswith("%") and words[index - 1].isdigit():
            return int(words[index - 1]) * 1024
    return None


def _part(progress: Progress | None, before_bytes: int, total_bytes: int) -> Progress | None:
    if progress is None:
        return None
    return lambda done_bytes, _: progress(before_bytes + done_bytes, total_bytes)


def _last_line(done: Completed) -> str:
    lines = done.stderr.decode("utf-8", "replace").strip().splitlines()
    return lines[-1] if lines else done.why()
