"""Settings of a device that can be held: how each is read, set, checked, and put back.

A knob is made of a journal entry, plain data: kind, what (for people), was, now, and what its kind needs. So whoever
finds the journal, in another process or after a restart, can put it back.
"""

import os
from typing import Any, Callable, Dict, List, NamedTuple, Optional, Sequence, Tuple, Type

from device_agents.facts import jetson_text
from device_agents.facts.jetson_text import PowerMode
from device_agents.sensors.files import SensorError, read_text, reason_of
from device_agents.sensors.programs import Ended, call_program

Entry = Dict[str, Any]
PROGRAM_LIMIT_S = 30.0  # nvpmodel takes up to a few seconds when it takes cores off line
TEXT_BYTES = 4096


class KnobError(RuntimeError):
    """A setting cannot be read or set; the text says why."""


class NotThere(KnobError):
    """The device does not have the setting."""


class PutBack(NamedTuple):
    """What became of an entry: ``keep`` is True when it must be tried again."""

    what: str
    to: Optional[str]
    ok: bool
    why: Optional[str]
    keep: bool = False

    def to_json(self) -> Dict[str, Any]:
        """The detail of an event "restored"."""
        return {"what": self.what, "to": self.to, "ok": self.ok, "why": self.why}


class Knob:
    """One setting. ``persistent``: it outlives a restart of the device."""

    persistent = False

    def __init__(self, entry: Entry, held_fds: Sequence[int] = ()) -> None:
        self.entry = entry
        self.what: str = entry["what"]
        self.was: Optional[str] = entry["was"]
        self.now: str = entry["now"]
        self._held_fds = held_fds  # programs that are started hold these too: see journal.py

    def read(self) -> Optional[str]:
        """The value now; None when the device has no way to tell. KnobError when it cannot be read."""
        raise NotImplementedError

    def write(self, value: str) -> None:
        """Nothing, once it was asked for. KnobError when that is refused."""
        raise NotImplementedError

    def same(self, found: str, wanted: str) -> bool:
        """True when ``found`` is what ``wanted`` gives."""
        return found == wanted

    def set(self) -> bool:
        """True once the value is set and read back, False when it cannot be read back. KnobError when it is not."""
        self.write(self.now)
        found = self.read()
        if found is not None and not self.same(found, self.now):
            raise KnobError("{}: {!r} was written, it still is {!r}".format(self.what, self.now, found))
        return found is not None

    def put_back(self, same_boot: Optional[bool], save: Callable[[], None]) -> PutBack:
        """What became of it. Only a value that is ours is changed; doing it twice is doing it once.

        ``save`` writes the entry into the journal anew, for kinds that need several steps.
        """
        if same_boot is False and not self.persistent:
            return PutBack(self.what, self.was, True, "the device has restarted since: it went with that")
        try:
            return self._put_back(same_boot, save)
        except KnobError as error:
            return PutBack(self.what, self.was, False, str(error), keep=True)

    def _put_back(self, same_boot: Optional[bool], save: Callable[[], None]) -> PutBack:
        found = self.read()
        if self.was is None or (found is not None and self.same(found, self.was)):
            return PutBack(self.what, self.was, True, None)
        if found is not None and not self.same(found, self.now):
            why = "somebody else has set it to {!r} meanwhile: left as it is".format(found)
            return PutBack(self.what, self.was, False, why)
        self.write(self.was)
        found = self.read()
        if found is not None and not self.same(found, self.was):
            raise KnobError("{}: {!r} was written, it still is {!r}".format(self.what, self.was, found))
        return PutBack(self.what, self.was, True, None if found is not None else "the device cannot confirm it")


class FileKnob(Knob):
    """A file of sysfs. With ``cap``, the kernel may show less than was written: the value of that file."""

    def read(self) -> Optional[str]:
        """The file's text."""
        text = read_text(self.entry["path"], TEXT_BYTES)
        if text is None:
            raise KnobError("{} cannot be read".format(self.entry["path"]))
        return text

    def write(self, value: str) -> None:
        """Nothing; the text is written at once, as sysfs wants it."""
        try:
            descriptor = os.open(self.entry["path"], os.O_WRONLY | os.O_CLOEXEC | os.O_TRUNC)
            try:
                os.write(descriptor, value.encode("ascii", "replace") + b"\n")
            finally:
                os.close(descriptor)
        except OSError as error:
            raise KnobError("{}: {}".format(self.entry["path"], reason_of(error))) from error

    def same(self, found: str, wanted: str) -> bool:
        """True for the same text, or for the cap while that lies below: a lowest clock is shown no higher than it."""
        if found == wanted:
            return True
        cap = read_text(self.entry["cap"], TEXT_BYTES) if self.entry.get("cap") else None
        try:
            return cap is not None and found == cap and int(cap) < int(wanted)
        except ValueError:
            return False


class ModeKnob(Knob):
    """nvpmodel's power mode, by its id. It is kept over restarts, and resets caps, lowest clocks and governors.

    The entry has those files' texts ``before`` the change and ``after`` it, so that a user's own come back too.
    """

    persistent = True

    def read(self) -> Optional[str]:
        """The id that `nvpmodel -q` tells."""
        return str(query_mode(self.entry["program"], self._held_fds).id)

    def write(self, value: str) -> None:
        """Nothing. What `nvpmodel -m` says is not believed: ``read`` tells. A question of it is never answered."""
        self._last = self._call("-m", value)

    def set(self) -> bool:
        """True once the mode is there."""
        try:
            return super().set()
        except KnobError as error:
            raise KnobError("{}{}".format(error, _said(self._last) or RESTART_NEEDED)) from error

    def _put_back(self, same_boot: Optional[bool], save: Callable[[], None]) -> PutBack:
        if same_boot is not False and self.read() == self.now and "beside" not in self.entry:
            self.entry["beside"] = self._beside()  # on the disk before the mode goes: a cut in between loses nothing
            save()
        done = super()._put_back(same_boot, save)
        if not done.ok or same_boot is False:
            return done
        failed = [why for why in map(_write_beside, sorted(self.entry.get("beside", {}).items())) if why]
        return done._replace(ok=False, why="; ".join(failed)[:300]) if failed else done

    def _beside(self) -> Dict[str, str]:
        """The files that the mode has changed and nobody else since, with what was in them before."""
        before, after = self.entry.get("before") or {}, self.entry.get("after") or {}
        return {path: text for path, text in before.items() if after.get(path) in (None, read_text(path, TEXT_BYTES))}

    def _call(self, *arguments: str) -> Ended:
        return _call([self.entry["program"], *arguments], self._held_fds)


def _write_beside(file: Tuple[str, str]) -> Optional[str]:
    """None, once the file has its text; else why it has not (a core that is off line now has no clock to set)."""
    side = FileKnob({"what": file[0], "path": file[0], "was": file[1], "now": file[1]})
    try:
        if side.read() != file[1]:
            side.write(file[1])
    except KnobError as error:
        return str(error)
    return None


class SustainedKnob(Knob):
    """Android's fixed performance mode (Android 11): CPU and GPU clocks that the phone can hold for a while.

    https://developer.android.com/games/optimize/adpf/fixed-performance-mode. It ends with a restart; there is no way to
    ask for it, so what it was is taken as off: it is off unless somebody switched it on by this command.
    """

    def read(self) -> Optional[str]:
        """None: Android does not tell."""
        return None

    def write(self, value: str) -> None:
        """Nothing, once `cmd power` has taken it. It says "Failed to set" on phones that do not have the mode."""
        ended = _call([self.entry["program"], "power", "set-fixed-performance-mode-enabled", value], self._held_fds)
        if ended.code != 0 or b"Failed" in ended.stdout + ended.stderr or b"Unknown" in ended.stdout + ended.stderr:
            raise NotThere("the phone has no fixed performance mode" + _said(ended))

    def _put_back(self, same_boot: Optional[bool], save: Callable[[], None]) -> PutBack:
        try:
            return super()._put_back(same_boot, save)
        except NotThere as error:
            return PutBack(self.what, self.was, True, str(error))


KINDS: Dict[str, Type[Knob]] = {"file": FileKnob, "nvpmodel": ModeKnob, "fixed-performance": SustainedKnob}
RESTART_NEEDED = "; a mode that needs a restart of the board is refused without a word"


def knob(entry: Entry, held_fds: Sequence[int] = ()) -> Knob:
    """The knob of a journal entry. KnobError when the entry is none."""
    kind = KINDS.get(str(entry.get("kind")))
    texts = [entry.get(name) for name in ("what", "now")]
    place = entry.get("path" if entry.get("kind") == "file" else "program")
    if kind is None or not all(isinstance(text, str) for text in [*texts, place]) or "was" not in entry:
        raise KnobError("an entry of the journal is not understood: {!r}".format(str(entry)[:120]))
    return kind(entry, held_fds)


def query_mode(program: str, held_fds: Sequence[int] = ()) -> PowerMode:
    """The mode that `nvpmodel -q` tells, with an id. KnobError when it does not."""
    ended = _call([program, "-q"], held_fds)
    found = jetson_text.parse_query(ended.stdout.decode("utf-8", "replace"))
    if found.id is None:
        raise KnobError("nvpmodel -q does not tell the mode" + _said(ended))
    return found


def _call(argv: List[str], held_fds: Sequence[int]) -> Ended:
    name = os.path.basename(argv[0])
    try:
        ended = call_program(argv, PROGRAM_LIMIT_S, pass_fds=held_fds)
    except SensorError as error:
        raise KnobError("{}: {}".format(name, error.reason)) from error
    if ended.late:
        raise KnobError("{} did not answer within {:g} s".format(name, PROGRAM_LIMIT_S))
    return ended


def _said(ended: Ended) -> str:
    words = (ended.stderr + b"\n" + ended.stdout).decode("utf-8", "replace").splitlines()
    told = [line.strip() for line in words if line.strip() and "NV Power Mode" not in line and "fan mode" not in line]
    shown = "".join(char for char in " / ".join(told) if char.isprintable())[:200]
    return ": it says {!r}".format(shown) if shown else ""
