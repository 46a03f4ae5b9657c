"""One artifact on its way into a device's store, through broken links, other pushes and damaged leftovers."""

from __future__ import annotations

import contextlib
import logging
import threading
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from mobile.deadline import Deadline
from mobile.errors import (
    AuthenticationFailed,
    DeadlineExceeded,
    NoSpaceOnDevice,
    RemoteFileError,
    TransportError,
)
from mobile.formats.chunks import MIN_BYTES
from mobile.push.content import Content
from mobile.push.device import Answer, DeviceShell, Part, Prepared, Received
from mobile.push.index import encode
from mobile.push.plan import Known, Pass, known_places, plan
from mobile.push.scripts import PART
from mobile.push.stream import Meter, pieces, worth_packing
from mobile.transports.base import Progress
from mobile.transports.refusals import refusal

INDEXES = 8  # how many of the newest artifacts are looked through for what need not be sent
INDEX_ARGUMENT_BYTES = 24 * 1024  # a larger chunk index does not fit into a command
STALL_S = 15.0  # another push of the same file that has not moved for so long is taken for dead
_ATTEMPTS = 4  # other pushes and prunes may take a file away between our steps; a copy or a pipe may disappoint
_PAUSES_S = (0.5, 1.0, 2.0, 4.0, 8.0)

_log = logging.getLogger(__name__)


@dataclass
class Pushed:
    """What a push did. Bytes of the artifact: sent, copied from other artifacts on the device, and kept by the last try
    of what the tries before it, also those of earlier pushes, had brought.

    ``wire_bytes`` is what crossed the link, compressed where that paid; ``resumes`` counts broken links.
    """

    path: str
    size_bytes: int
    sent_bytes: int = 0
    wire_bytes: int = 0
    copied_bytes: int = 0
    kept_bytes: int = 0
    resumes: int = 0
    duration_s: float = 0.0


class Transfer:
    """Puts files into a folder of the device, the first one last; use once."""

    def __init__(
        self,
        shell: DeviceShell,
        files: Sequence[Content],
        folder: str,
        *,
        deadline: Deadline,
        progress: Progress | None = None,
        recheck: bool = False,
        indexed: bool = True,
        patience_s: float = 0.0,
        stop: threading.Event | None = None,
    ) -> None:
        self._shell = shell
        self._files = files
        self._folder = folder
        self._deadline = deadline
        self._recheck = recheck
        self._patience_s = patience_s
        self._stop = stop or threading.Event()
        size_bytes = sum(file.size_bytes for file in files)
        self._large = size_bytes >= MIN_BYTES
        self._index = encode(files) if indexed and self._large else ""
        self._steps = _Steps(size_bytes, progress)
        self._pushed = Pushed(f"{folder}/{files[0].name}", size_bytes)
        self._ours: set[str] = set()  # owners of incoming files that were ours, or may be treated so
        self._others: dict[str, tuple[int, float]] = {}
        self._trusts = True  # in copies and in compression, until one of them disappoints
        self._meter = Meter()

    def run(self) -> Pushed:
        """What was done. Any TransportError; one of the link comes only after ``patience_s`` without progress."""
        start_s = moved_s = time.monotonic()
        reached, failures, left = False, 0, _ATTEMPTS
        while True:
            before = self._pushed.sent_bytes
            try:
                prepared = self._prepare()
                reached = True
                if prepared is None:
                    self._pause(0.5)
                    continue
                if self._try(prepared):
                    self._pushed.duration_s = time.monotonic() - start_s
                    return self._pushed
                left -= 1
                if not left:
                    raise self._given_up()
            except TransportError as error:
                if self._pushed.sent_bytes > before:
                    moved_s, failures = time.monotonic(), 0
                if not reached or not _passes(error) or time.monotonic() - moved_s >= self._patience_s:
                    raise
                _log.info("%s: %s; going on in a moment", self._shell.name, error)
                self._pushed.resumes += 1
                self._pause(_PAUSES_S[min(failures, len(_PAUSES_S) - 1)])
                failures += 1

    def _prepare(self) -> Prepared | None:
        """What is on the device; None while another push of one of the files goes on."""
        prepared = self._shell.prepare(
            self._files,
            self._folder,
            recheck=self._recheck,
            indexes=INDEXES if self._trusts and self._large else 0,
            deadline=self._deadline,
        )
        busy = [part for answer in prepared.answers if not answer.have for part in answer.parts if self._works(part)]
        return None if busy else prepared

    def _works(self, part: Part) -> bool:
        """True while somebody else works on an incoming file; who does not move is not waited for for ever."""
        if part.state != "alive" or part.owner in self._ours:
            return False
        size_bytes, since_s = self._others.get(part.owner, (-1, 0.0))
        if part.size_bytes != size_bytes:
            self._others[part.owner] = (part.size_bytes, time.monotonic())
        elif time.monotonic() - since_s > STALL_S:
            self._ours.add(part.owner)
            return False
        return True

    def _try(self, prepared: Prepared) -> bool:
        """True once all files are there."""
        needed = [(file, answer) for file, answer in zip(self._files, prepared.answers, strict=True) if not answer.have]
        self._steps.begin(sum(file.size_bytes for file, _ in needed))
        self._check_space(needed, prepared.free_bytes)
        self._recheck = False
        self._pushed.kept_bytes = 0
        known = known_places(prepared.chunks) if self._trusts else {}
        for file, answer in reversed(needed):
            if not self._place(file, answer, known, prepared.unpacks and self._trusts):
                return False
        return True

    def _check_space(self, needed: Sequence[tuple[Content, Answer]], free_bytes: int | None) -> None:
        wanted_bytes = sum(
            max(0, file.size_bytes - max((part.size_bytes for part in answer.parts), default=0))
            for file, answer in needed
        )
        if free_bytes is not None and wanted_bytes > free_bytes:
            raise NoSpaceOnDevice(
                f"{self._shell.name}: {needed[0][0].name} needs {wanted_bytes} bytes,"
                f" {self._shell.incoming} has {free_bytes} bytes free",
                self._shell.incoming,
                hint=f"`edgewise store {self._shell.name} prune` frees what edgewise stored",
            )

    def _place(self, file: Content, answer: Answer, known: Known, may_pack: bool) -> bool:
        """True once the file is under its name; False when all must be looked at again."""
        kept_bytes, claim = self._kept(file, answer.parts)
        self._pushed.kept_bytes += kept_bytes
        self._steps.done(kept_bytes)
        for step in plan(file, kept_bytes, known):
            received = self._receive(file, step, claim, may_pack)
            if received.state not in ("stored", "kept"):
                return self._disappointed(file, received)
            self._pushed.copied_bytes += step.copied_bytes
            self._steps.done(step.copied_bytes)
            claim = True
        if file is self._files[0] and len(self._index) > INDEX_ARGUMENT_BYTES:
            self._shell.put_index(self._folder, self._index, self._deadline)
        return True

    def _receive(self, file: Content, step: Pass, claim: bool, may_pack: bool) -> Received:
        packed = may_pack and step.send is not None and worth_packing(file, step.send)
        small = file is self._files[0] and len(self._index) <= INDEX_ARGUMENT_BYTES

        def handed(count: int) -> None:
            if self._stop.is_set():
                raise TransportError(f"{self._shell.name}: stopped")
            self._pushed.sent_bytes += count
            self._pushed.wire_bytes = self._meter.sent_bytes
            self._steps.done(count)

        stream = step.send and pieces(file, step.send, packed=packed, meter=self._meter, on_bytes=handed)
        with contextlib.closing(stream) if stream else contextlib.nullcontext(()) as stdin:
            return self._shell.receive(
                file,
                step,
                f"{self._folder}/{file.name}",
                claim=claim,
                packed=packed,
                index=self._index if small else "",
                stdin=stdin,
                on_owner=self._ours.add,
                deadline=self._deadline,
            )

    def _disappointed(self, file: Content, received: Received) -> bool:
        """False when the file is to be tried again, with less trust."""
        if received.state in ("gone", "copy", "damaged"):
            _log.info("%s: %s: %s, trying again", self._shell.name, file.name, received.state)
            if received.state == "damaged" and not self._trusts:
                self._shell.forget(file, self._deadline)
                raise RemoteFileError(
                    f"{self._shell.name}: {file.name} did not arrive as it was: {received.done.why()}",
                    self._folder,
                    hint="try again; if it stays so, the file changes while it is sent, or the device's storage is bad",
                )
            self._trusts = self._trusts and received.state == "gone"
            return False
        error = refusal(self._shell.name, self._shell.incoming, received.done)
        if received.state == "stream" and not isinstance(error, NoSpaceOnDevice) and self._trusts:
            self._trusts = False  # the device's gunzip, perhaps
            return False
        raise error

    def _kept(self, file: Content, parts: Sequence[Part]) -> tuple[int, bool]:
        """How many bytes of an earlier push can be kept, verified there, and whether there is such a file at all."""
        free = [part for part in parts if part.state != "alive" or part.owner in self._ours]
        for part in sorted(free, key=lambda part: part.size_bytes, reverse=True):
            ends = [0, *(chunk.offset + chunk.length for chunk in file.chunks)]
            prefixes = ["", *(chunk.prefix_sha256 for chunk in file.chunks)]
            last = max(number for number, end in enumerate(ends) if end <= part.size_bytes)
            digest = self._shell.claim(file, part.owner, ends[last], self._deadline)
            if digest is None:
                continue
            if digest == prefixes[last]:
                return ends[last], True
            return self._longest(file, ends[:last], prefixes), True
        return 0, False

    def _longest(self, file: Content, ends: Sequence[int], prefixes: Sequence[str]) -> int:
        """The longest prefix that is as it should be: a power cut leaves good bytes first, then bad ones."""
        good, bad = 0, len(ends)
        while bad - good > 1:
            middle = (good + bad) // 2
            if self._shell.claim(file, PART, ends[middle], self._deadline) == prefixes[middle]:
                good = middle
            else:
                bad = middle
        return ends[good]

    def _pause(self, seconds: float) -> None:
        self._deadline.check(f"{self._shell.name}: pushing {self._files[0].name}")
        if self._stop.wait(min(seconds, self._deadline.remaining_s())):
            raise TransportError(f"{self._shell.name}: stopped")

    def _given_up(self) -> RemoteFileError:
        return RemoteFileError(
            f"{self._shell.name}: {self._folder} loses its files as soon as they are there", self._folder
        )


class _Steps:
    """Progress over all files, which never goes back."""

    def __init__(self, size_bytes: int, progress: Callable[[int, int], None] | None) -> None:
        self._size_bytes = size_bytes
        self._progress = progress
        self._done_bytes = 0
        self._told_bytes = -1

    def begin(self, needed_bytes: int) -> None:
        """Nothing; an attempt begins with so much to do."""
        self._done_bytes = self._size_bytes - needed_bytes
        self.done(0)

    def done(self, count: int) -> None:
        """Nothing; so many bytes more are done."""
        self._done_bytes += count
        if self._progress is not None and self._done_bytes > self._told_bytes:
            self._told_bytes = self._done_bytes
            self._progress(self._told_bytes, self._size_bytes)


def _passes(error: TransportError) -> bool:
    """True for an error that may be over in a moment."""
    return not isinstance(error, (RemoteFileError, AuthenticationFailed, DeadlineExceeded))
