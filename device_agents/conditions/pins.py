"""Holding settings for a run: checked first, journalled, set, read back; put back however the run ends.

Nothing is begun that cannot be done whole: every file is tried for writing and every name looked up before the first
change, and when a later one fails all the same, those before it are put back.
"""

import contextlib
import os
import select
import subprocess
import sys
from typing import Any, Callable, Dict, List, Optional

from device_agents.child import code_path
from device_agents.conditions import events
from device_agents.conditions.journal import Book, Journal
from device_agents.conditions.knobs import TEXT_BYTES, Entry, Knob, KnobError, knob, query_mode
from device_agents.conditions.terms import Pins
from device_agents.facts import power_mode
from device_agents.failures import AgentFailure
from device_agents.processes import Identity
from device_agents.sensors import cpufreq, devfreq
from device_agents.sensors.files import read_label, read_text, reason_of, under
from device_agents.sensors.programs import find_program

Tell = Callable[..., None]  # (event's name, **detail)
WATCHDOG_S = 20.0  # for an interpreter to start on a slow board, and to end


class Holding:
    """The settings of one run. ``hold``, and in any case ``release``; both may be called from one thread only."""

    def __init__(self, pins: Pins, root: str, journal: Journal, process: Identity, tell: Tell) -> None:
        self._pins = pins
        self._root = root
        self._journal = journal
        self._process = process
        self._tell = tell
        self._book: Optional[Book] = None
        self._watchdog: Optional["subprocess.Popen[bytes]"] = None

    def hold(self) -> None:
        """Nothing, once all is set and read back. AgentFailure "pin-failed": then all is as it was."""
        if not self._pins.wanted:
            return
        try:
            self._check()
            self._book = self._journal.new_book(self._process, self._root)
            self._watchdog = _start_watchdog(self._journal.folder, self._book.path)
            with self._journal.changing() as held:
                for entries in (self._mode, self._governors, self._clocks, self._sustained):
                    self._change(self._book, entries(), held)
        except KnobError as error:
            self.release()
            raise AgentFailure("pin-failed", str(error)) from error
        except AgentFailure as error:
            self.release()
            raise AgentFailure("pin-failed", error.message, error.hint) from error

    def release(self) -> None:
        """Nothing, once all is put back, or the stream says what is not; a second call does nothing."""
        book, self._book = self._book, None
        if book is not None and book.entries:
            try:
                with self._journal.changing() as held:
                    results = book.put_back(held)
            except AgentFailure as error:  # the watchdog and the next start have their turns
                self._tell(events.RESTORED, what="all settings", to=None, ok=False, why=error.message, left_over=False)
            else:
                for result in results:
                    self._tell(events.RESTORED, **result.to_json(), left_over=False)
        self._end_watchdog()

    def _change(self, book: Book, entries: List[Entry], held: List[int]) -> None:
        if not entries:
            return
        knobs = [knob(entry, held) for entry in entries]
        try:
            book.add([one.entry for one in knobs if not _as_wanted(one)])
        except OSError as error:
            raise KnobError("the journal cannot be written: {}".format(reason_of(error))) from error
        for one in knobs:
            verified = _as_wanted(one) or one.set()
            if "before" in one.entry:
                one.entry["after"] = _texts(one.entry["before"])
                book.save()
            self._tell(events.PINNED, what=one.what, was=one.was, now=one.now, verified=verified)

    def _check(self) -> None:
        """Nothing, or KnobError for what could not be done."""
        paths = [entry["path"] for entry in self._governors() + self._clocks()]
        for path in paths:
            _check_writable(path)
        self._mode()
        self._sustained()

    def _governors(self) -> List[Entry]:
        wanted = self._pins.governor
        if wanted is None:
            return []
        entries = []
        for policy in self._policies():
            offered = (read_text(os.path.join(policy, "scaling_available_governors")) or "").split()
            if offered and wanted not in offered:
                raise KnobError(
                    "{}: there is no governor {!r}, only {}".format(
                        os.path.join(policy, "scaling_governor"), wanted, ", ".join(offered)
                    )
                )
            entries.append(_file("governor of " + os.path.basename(policy), policy, "scaling_governor", wanted))
        if not entries:
            raise KnobError("{}: this device shows no governors".format(under(self._root, cpufreq.FOLDER)))
        return entries

    def _policies(self) -> List[str]:
        """The cpufreq policies with a core that is on line: the files of the others only say that they are busy."""
        found = []
        for policy in cpufreq.policies(self._root):
            cores = os.path.join(policy, "affected_cpus")
            if read_text(cores) or not os.path.lexists(cores):
                found.append(policy)
        return found

    def _clocks(self) -> List[Entry]:
        """The lowest clock of each CPU policy and of the GPU becomes the highest that is allowed now."""
        if not self._pins.clocks_locked:
            return []
        entries = [
            _locked("lowest clock of " + os.path.basename(policy), policy, "scaling_min_freq", "scaling_max_freq")
            for policy in self._policies()
        ]
        for gpu in devfreq.gpus(self._root):
            entries.append(_locked("lowest clock of " + os.path.basename(gpu), gpu, "min_freq", "max_freq"))
        if not entries:
            raise KnobError("{}: this device shows no clocks to lock".format(under(self._root, cpufreq.FOLDER)))
        return entries

    def _mode(self) -> List[Entry]:
        wanted = self._pins.power_mode
        if wanted is None:
            return []
        program = find_program(self._root, "nvpmodel")
        if program is None:
            raise KnobError("there is no nvpmodel on this device: only Jetsons have power modes")
        now, modes = query_mode(program), power_mode.power_modes(self._root).modes
        mode = next((mode for mode in [*modes, now] if wanted in (str(mode.id), mode.name)), None)
        if mode is None and modes:
            known = ", ".join("{} ({})".format(mode.id, mode.name) for mode in modes)
            raise KnobError("nvpmodel has no mode {!r}, only {}".format(wanted, known))
        if mode is None and not wanted.isdigit():
            raise KnobError("{} names no modes: give the mode by its id".format(power_mode.CONF))
        number, was = wanted if mode is None else str(mode.id), str(now.id)
        if self._root == "/" and number != was and os.geteuid() != 0:
            raise KnobError("nvpmodel -m {}: only root may set the power mode".format(number))
        before = _texts(dict.fromkeys(self._clock_files(), ""))
        entry = {"kind": "nvpmodel", "what": "power mode", "program": program, "was": was, "now": number}
        return [{**entry, "before": before}]

    def _clock_files(self) -> List[str]:
        """What nvpmodel sets too."""
        paths = []
        for policy in self._policies():
            paths += [
                os.path.join(policy, name) for name in ("scaling_governor", "scaling_max_freq", "scaling_min_freq")
            ]
        for gpu in devfreq.gpus(self._root):
            paths += [os.path.join(gpu, name) for name in ("max_freq", "min_freq")]
        return paths

    def _sustained(self) -> List[Entry]:
        if not self._pins.sustained:
            return []
        program = find_program(self._root, "cmd")
        if program is None or not program.endswith("/system/bin/cmd"):  # elsewhere it is something else
            raise KnobError("there is no `cmd` on this device: only Android 11 and newer have a sustained mode")
        about = {"kind": "fixed-performance", "what": "fixed performance mode", "program": program}
        return [{**about, "was": "false", "now": "true"}]

    def _end_watchdog(self) -> None:
        child, self._watchdog = self._watchdog, None
        if child is None:
            return
        assert child.stdin is not None and child.stdout is not None  # pipes were asked for
        child.stdin.close()
        with contextlib.suppress(subprocess.TimeoutExpired):  # it works on what we could not put back: it goes on alone
            child.wait(WATCHDOG_S)
        child.stdout.close()


def _start_watchdog(journal: str, book: str) -> "subprocess.Popen[bytes]":
    """A process that puts the book's settings back when this one is gone, whatever ended it: its input then ends.

    It is there before anything is changed. AgentFailure when it does not start.
    """
    environment = dict(os.environ, PYTHONPATH=code_path(), PYTHONSAFEPATH="1", PYTHONDONTWRITEBYTECODE="1")
    try:
        child = subprocess.Popen(
            [sys.executable, "-m", "device_agents", "watchdog", journal, book],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            env=environment,
            start_new_session=True,  # what ends our process group must not end it too
            cwd="/",  # before Python 3.11 the working folder is looked in for modules
        )
    except OSError as error:
        raise AgentFailure("pin-failed", "the watchdog cannot be started: {}".format(reason_of(error))) from error
    assert child.stdin is not None and child.stdout is not None  # pipes were asked for
    if select.select([child.stdout], [], [], WATCHDOG_S)[0] and child.stdout.readline() == b"ready\n":
        return child
    child.kill()
    child.stdin.close()
    child.stdout.close()
    child.wait()
    raise AgentFailure("pin-failed", "the watchdog ended with {}".format(child.returncode))


def _file(what: str, place: str, name: str, now: str, cap: Optional[str] = None) -> Entry:
    path = os.path.join(place, name)
    was = read_text(path, TEXT_BYTES)
    if not was:
        raise KnobError("{} cannot be read".format(path))
    return {"kind": "file", "what": what, "path": path, "was": was, "now": now, "cap": cap}


def _locked(what: str, place: str, lowest: str, highest: str) -> Entry:
    cap = os.path.join(place, highest)
    allowed = read_label(cap)
    if allowed is None or not allowed.isdigit():
        raise KnobError("{} cannot be read".format(cap))
    return _file(what, place, lowest, allowed, cap)


def _check_writable(path: str) -> None:
    try:
        os.close(os.open(path, os.O_WRONLY | os.O_CLOEXEC))
    except OSError as error:
        raise KnobError("{}: {}; setting it needs root".format(path, reason_of(error))) from error


def _as_wanted(one: Knob) -> bool:
    """True when the setting has the value already, so that nothing is to be changed nor put back."""
    return one.was is not None and one.same(one.was, one.now)


def _texts(paths: Dict[str, Any]) -> Dict[str, str]:
    """The files that can be read, with their texts."""
    found = ((path, read_text(path, TEXT_BYTES)) for path in paths)
    return {path: text for path, text in found if text is not None}
