"""A recording as a tree that stands for the board: files, folders, links, and scripts for its programs.

The agent's readers take such a tree as their root, and find the sensors of the board with the values it had. Nothing
that a recording says leads out of the tree; an archive from anybody may be unpacked.
"""

from __future__ import annotations

import os
import posixpath
import stat
import threading
from collections.abc import Iterator
from dataclasses import dataclass, field
from itertools import pairwise
from pathlib import Path

from mobile.errors import InputError
from mobile.record.archive import read_archive
from mobile.record.document import Content, RecordedFile, Recording
from mobile.record.scripts import program_files

# Where the agent looks for programs below a root (device_agents/sensors/programs.py).
PROGRAM_FOLDERS = (
    "/usr/local/bin", "/usr/bin", "/bin", "/usr/local/sbin", "/usr/sbin", "/sbin", "/system/bin", "/vendor/bin",
    "/opt/vc/bin",
)  # fmt: skip
_NEVER_ANSWERS = "/proc/self/mem"  # reading its first page is an input/output error, for everybody, for ever
_GONE = ("ENOENT",)
_NO_DEVICE = ("ENXIO", "ENODEV")
_DENIED = ("EACCES", "EPERM")


@dataclass(frozen=True)
class Replay:
    """A tree under ``root``. ``notes`` says what a tree of plain files cannot give as the board gave it."""

    root: Path
    recording: Recording
    notes: tuple[str, ...]
    _moving: tuple[RecordedFile, ...] = field(repr=False)

    @property
    def turns(self) -> int:
        """How many passes were recorded."""
        return max(1, len(self.recording.times_s))

    def turn(self, number: int) -> None:
        """Nothing; the files that moved have the values of that pass. Each is replaced whole, as a driver would."""
        for file in self._moving:
            _put(self.root, file, file.at(number % self.turns))

    def play(self, stop: threading.Event) -> None:
        """Nothing, once ``stop`` is set; until then the values move as they did, over and over."""
        times_s = self.recording.times_s or (0.0,)
        rests = [later - earlier for earlier, later in pairwise(times_s)]
        rests.append(rests[-1] if rests else 1.0)
        number = 0
        while not stop.wait(max(0.01, rests[number % self.turns])):
            number += 1
            self.turn(number)


def replay_archive(path: Path, target: Path) -> Replay:
    """The replay of an archive in the folder ``target``, which must be empty or not there. InputError for a bad one."""
    return replay(read_archive(path), target)


def replay(recording: Recording, target: Path) -> Replay:
    """The tree of a recording in the folder ``target``, which must be empty or not there."""
    target.mkdir(parents=True, exist_ok=True)
    if any(target.iterdir()):
        raise InputError(f"{target} is not empty", "Name a new folder for the tree.")
    builder = _Builder(recording, target.resolve())
    try:
        builder.build()
    except (FileExistsError, NotADirectoryError, IsADirectoryError) as error:
        raise InputError(f"the recording is damaged: {error.filename} is both a file and a folder") from error
    moving = tuple(file for file in builder.files if len(file.contents) > 1)
    return Replay(builder.root, recording, tuple(dict.fromkeys(builder.notes)), moving)


class _Builder:
    """Makes the tree, first the folders and links, then what is in them."""

    def __init__(self, recording: Recording, root: Path) -> None:
        self.root = root
        self.notes: list[str] = []
        self.files: list[RecordedFile] = []
        self._recording = recording
        self._links = {path: _leads_to(path, to) for path, to in recording.links.items()}

    def build(self) -> None:
        """Nothing, once the tree is there."""
        recorded = {file.path for file in self._recording.files}
        listed = dict(self._listed())
        for path, to in self._links.items():
            if self._place(path) and path not in recorded:
                _host(self.root, path).symlink_to(posixpath.relpath(to, posixpath.dirname(path)))
        for path, kind in listed.items():
            self._list(path, kind, recorded)
        for file in self._recording.files:
            self._file(file, file.path in listed)
        self._programs()
        self._locked()

    def _listed(self) -> Iterator[tuple[str, str]]:
        for folder in self._recording.folders:
            if folder.error not in _GONE:
                yield folder.path, "folder"
            for name, kind in folder.entries.items():
                yield posixpath.join(folder.path, name), kind

    def _list(self, path: str, kind: str, recorded: set[str]) -> None:
        if path in self._links:
            if kind == "link to folder":
                self._folder(self._final(path))
        elif kind == "folder":
            self._folder(path)
        elif path not in recorded and self._place(path):
            _host(self.root, path).touch()  # there on the board, and read by nobody then

    def _file(self, file: RecordedFile, listed: bool) -> None:
        first = file.at(0)
        if first.error in _GONE and not listed and len(file.contents) == 1:
            return
        if not self._place(file.path):
            return
        self.files.append(file)
        note = _put(self.root, file, first)
        if note is not None:
            self.notes.append(note)

    def _programs(self) -> None:
        # Those that were found and never run are there too: whether a board has a program decides what readers do.
        found = [(name, path) for name, path in self._recording.looked_for.items() if path is not None]
        by_path: dict[str, list[int]] = {_program_path(name, path): [] for name, path in found}
        programs = self._recording.programs
        for index, program in enumerate(programs):
            by_path.setdefault(_program_path(program.name, program.path), []).append(index)
        for path, indexes in by_path.items():
            for name, text in program_files(path, [programs[index] for index in indexes]).items():
                if self._place(name):
                    _host(self.root, name).unlink(missing_ok=True)  # it may have been listed
                    _write(_host(self.root, name), text, 0o755 if name == path else 0o644)

    def _locked(self) -> None:
        for folder in self._recording.folders:
            path = _host(self.root, folder.path)
            if folder.error in _DENIED and path.is_dir() and not path.is_symlink():
                path.chmod(0o311)
                self.notes.append(f"{folder.path}: may not be listed, but by root, who may always")

    def _folder(self, path: str) -> None:
        if self._place(path):
            _host(self.root, path).mkdir(exist_ok=True)

    def _place(self, path: str) -> bool:
        """True once the folder for a path is there; False when it would lie behind a link: real paths never do."""
        parts = path.split("/")[1:-1]
        at = ""
        for part in parts:
            at += "/" + part
            if at in self._links:
                self.notes.append(f"{path}: left out, it lies behind the link {at}")
                return False
        _host(self.root, at).mkdir(parents=True, exist_ok=True)
        return True

    def _final(self, path: str) -> str:
        """Where a path ends once its links are followed; the path where they go in circles."""
        at, waiting, hops = "", path.split("/")[:0:-1], 0
        while waiting:
            at = f"{at}/{waiting.pop()}"
            if at in self._links:
                hops += 1
                if hops > 40:
                    return path
                waiting += self._links[at].split("/")[:0:-1]
                at = ""
        return at or "/"


def _program_path(name: str, path: str) -> str:
    """Where a program goes: where it was, if that is a place in which the agent looks below a root.

    Under its name, which was checked: it becomes a part of the script's text.
    """
    folder = posixpath.dirname(path)
    return f"{folder if folder in PROGRAM_FOLDERS else '/usr/bin'}/{name}"


def _leads_to(path: str, target: str) -> str:
    """The absolute path (below the root) that a link leads to; what climbs above the root stays at it."""
    joined = posixpath.normpath(posixpath.join(posixpath.dirname(path), target.replace("\0", "")))
    return "/" + joined.lstrip("/")


def _host(root: Path, path: str) -> Path:
    return root / path.lstrip("/")


def _put(root: Path, file: RecordedFile, content: Content) -> str | None:
    """Puts a content or an error in a file's place; a note when a plain tree has nothing that gives this error."""
    path = _host(root, file.path)
    new = path.with_name(f".{path.name[:200]}.new")
    note = None
    new.unlink(missing_ok=True)
    if content.text is not None:
        _write(new, content.text, int(file.mode or "444", 8) & 0o777 | 0o444)
    elif content.error in _GONE:
        new.symlink_to("no-longer-there")
    elif content.error in _DENIED:
        _write(new, "", 0)
        if os.geteuid() == 0:
            note = f"{file.path}: permission was denied there; root reads it all the same, as an empty file"
    elif content.error in _NO_DEVICE and hasattr(os, "mknod"):
        os.mknod(new, stat.S_IFSOCK | 0o644)  # opening a socket's name: no such device
    else:
        new.symlink_to(_NEVER_ANSWERS)
        if content.error != "EIO":
            note = f"{file.path}: gave {content.error} there; in the tree it gives EIO"
    new.replace(path)
    return note


def _write(path: Path, text: str, mode: int) -> None:
    flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC
    with os.fdopen(os.open(path, flags, 0o600), "wb") as stream:
        stream.write(text.encode("utf-8", "replace"))
    path.chmod(mode)
