"""The scripts of the store as calls: arguments in, answers and errors of ours out."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field

from mobile.deadline import Deadline
from mobile.errors import TransportError
from mobile.push import scripts
from mobile.push.content import Content
from mobile.push.index import Key, Place, decode
from mobile.push.plan import Copy, Pass
from mobile.transports.base import Completed, Transport
from mobile.transports.refusals import refusal

_PLACE = re.compile(r"\./([0-9a-f]{2}/[0-9a-f]{64})/\Z")
_SHA256 = re.compile(r"[0-9a-f]{64}\Z")
_OWNER = re.compile(r"[a-z0-9-]+\Z")


@dataclass(frozen=True)
class Part:
    """An incoming file. ``state``: nobody works on it ("free"), its owner has gone ("dead") or is there ("alive")."""

    owner: str
    size_bytes: int
    state: str


@dataclass
class Answer:
    """What PREPARE found of one file."""

    have: bool
    parts: list[Part] = field(default_factory=list)


@dataclass
class Prepared:
    """What PREPARE found on the device."""

    answers: list[Answer] = field(default_factory=list)
    unpacks: bool = False
    free_bytes: int | None = None
    chunks: list[tuple[Key, Place]] = field(default_factory=list)


@dataclass(frozen=True)
class Received:
    """How a pass ended: "stored", "kept", "gone", "damaged", "copy" (a range could not be read) or "stream"."""

    state: str
    owner: str | None
    done: Completed


class DeviceShell:
    """The scripts on one device, under one working folder."""

    def __init__(self, transport: Transport, folder: str) -> None:
        self.name = transport.name
        self.folder = folder
        self.incoming = f"{folder}/incoming"
        self._transport = transport

    def run(self, script: str, arguments: Sequence[str], deadline: Deadline) -> Completed:
        """How a script ended, whatever it said."""
        return self._transport.run(["sh", "-c", script, "sh", *arguments], deadline=deadline, env={"LC_ALL": "C"})

    def ask(self, script: str, arguments: Sequence[str], deadline: Deadline) -> Completed:
        """How a script ended that must succeed. RemoteFileError or NoSpaceOnDevice otherwise."""
        done = self.run(script, arguments, deadline)
        if not done.ok:
            raise refusal(self.name, arguments[0] if arguments else "~", done)
        return done

    def prepare(
        self, files: Sequence[Content], target: str, *, recheck: bool, indexes: int, deadline: Deadline
    ) -> Prepared:
        """What is there of the files that are to lie under ``target``, and what else can be used."""
        store = f"{self.folder}/store"
        asked = [self.incoming, store, "1" if recheck else "0", str(indexes)]
        for file in files:
            asked += [f"{target}/{file.name}", str(file.size_bytes), file.sha256]
        found = _prepared(self.ask(scripts.PREPARE, asked, deadline).stdout, store)
        if len(found.answers) != len(files):
            raise TransportError(f"{self.name}: not an answer of the store, {len(found.answers)} of {len(files)} files")
        return found

    def claim(self, file: Content, owner: str, count: int, deadline: Deadline) -> str | None:
        """The SHA-256 of the first ``count`` bytes ("" for none) of an incoming file that is nobody's any more.

        None when it has gone, or its owner cannot be ended.
        """
        done = self.run(scripts.CLAIM, [self.incoming, file.sha256, owner, str(count)], deadline)
        if done.exit_code in (scripts.GONE, scripts.BUSY):
            return None
        digest = done.stdout.decode("ascii", "replace").strip()
        if not done.ok or (count and not _SHA256.match(digest)):
            raise refusal(self.name, self.incoming, done)
        return digest

    def receive(
        self,
        file: Content,
        step: Pass,
        target: str,
        *,
        claim: bool,
        packed: bool,
        index: str,
        stdin: Iterable[bytes],
        on_owner: Callable[[str], None],
        deadline: Deadline,
    ) -> Received:
        """How a pass ended; ``on_owner`` learns at once under which name the file is written."""
        final = step.end == file.size_bytes
        arguments = [
            self.incoming, file.sha256, "1" if claim else "0", str(step.start), str(file.size_bytes), target,
            "packed" if packed else "raw", "1" if final else "0", index if final else "",
        ]  # fmt: skip
        end = step.start
        for operation in step.operations:
            end += operation.length
            path, offset = (operation.path, operation.offset) if isinstance(operation, Copy) else ("-", 0)
            arguments += [path, str(offset), str(offset + 1), str(operation.length), str(end)]
        lines = _Lines(on_owner)
        done = self._transport.run(
            ["sh", "-c", scripts.RECEIVE, "sh", *arguments],
            deadline=deadline,
            stdin=stdin,
            env={"LC_ALL": "C"},
            on_stdout=lines.feed,
        )
        return Received(_state(lines.words, done), lines.owner, done)

    def put_index(self, folder: str, index: str, deadline: Deadline) -> None:
        """Nothing, once a chunk index that is too long for a command lies beside its files."""
        self._transport.put(index.encode("ascii"), f"{folder}/{scripts.INDEX_NAME}", deadline=deadline)

    def forget(self, file: Content, deadline: Deadline) -> None:
        """Nothing, once nothing is left of the file that nobody works on."""
        self.run(scripts.FORGET, [self.incoming, file.sha256], deadline)


class _Lines:
    """The few lines that RECEIVE answers, as they come."""

    def __init__(self, on_owner: Callable[[str], None]) -> None:
        self.words: list[str] = []
        self.owner: str | None = None
        self._rest = b""
        self._on_owner = on_owner

    def feed(self, data: bytes) -> None:
        """Nothing; takes what the device has written."""
        *lines, self._rest = (self._rest + data).split(b"\n")
        if len(self._rest) > 4096 or len(self.words) > 100:
            raise TransportError("the device answers what the store does not ask for")
        for line in lines:
            self.words = line.decode("ascii", "replace").split()
            if self.words[:1] == ["owner"] and len(self.words) == 2 and _OWNER.match(self.words[1]):
                self.owner = self.words[1]
                self._on_owner(self.owner)


def _state(words: Sequence[str], done: Completed) -> str:
    if done.ok and words[:1] in (["stored"], ["kept"]):
        return words[0]
    if done.exit_code == scripts.GONE:
        return "gone"
    if done.exit_code == scripts.DAMAGED:
        return "damaged"
    return words[1] if words[:1] == ["failed"] and len(words) == 3 and words[1] in ("copy", "stream") else "failed"


def _prepared(stdout: bytes, store: str) -> Prepared:
    found = Prepared()
    df: list[str] = []
    for line in stdout.decode("utf-8", "surrogateescape").split("\n"):
        kind, _, rest = line.partition(" ")
        if kind in ("have", "need") and not rest:
            found.answers.append(Answer(kind == "have"))
        elif kind == "part" and found.answers:
            words = rest.split()
            if len(words) == 3 and _OWNER.match(words[0]) and words[1].isdigit():
                found.answers[-1].parts.append(Part(words[0], int(words[1]), words[2]))
        elif kind == "unpack":
            found.unpacks = True
        elif kind == "df":
            df.append(rest)
        elif kind == "index":
            place, _, text = rest.partition(" ")
            match = _PLACE.match(place)
            if match:
                found.chunks += decode(text, f"{store}/{match[1]}")
    found.free_bytes = available_bytes(df)
    return found


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
