"""A recording of a board: every file, folder and program that the readers use, several times over, with its timing.

The readers themselves say what they use (files.observe), so a new reader is recorded without a line here. Nothing else
is touched, nothing is written, and what identifies somebody is taken out before the document leaves (redaction.py).
"""

import errno
import os
import stat
import threading
import time
from typing import Any, Dict, List, Optional, Set, Tuple

from device_agents import AGENT_VERSION
from device_agents.redaction import Redactor, own_names
from device_agents.sensors import SensorError, find_sensors
from device_agents.sensors.base import Descriptor, Sensor
from device_agents.sensors.files import MAX_TEXT_BYTES, folder, natural, observe, under
from device_agents.sensors.lines import LineProgram
from device_agents.sensors.programs import LIMIT_BYTES, LIMIT_S, call_program, find_program

SCHEMA = "1.0"
PASSES = 6
PAUSE_S = 0.5
LINES_S = 3.0  # how long a program that runs on is listened to
MAX_LINES = 256
LIMIT_TIME_S = 60.0
LIMIT_TOTAL_BYTES = 8 * 1024 * 1024
MAX_ENTRIES = 8192  # files, and names in one folder
MAX_LINKS = 40  # the kernel's own limit on links in one path (MAXSYMLINKS)
_LEFT_OUT_FACTS = ("python", "runtimes", "clock_utc")  # they tell of this machine's user, and replay needs them not

Entry = Dict[str, Any]


class Places:
    """Where paths lead below a root: real paths (absolute, without the root), and every link on the way."""

    def __init__(self, root: str) -> None:
        self.links: Dict[str, str] = {}
        self._root = root
        self._targets: Dict[str, Optional[str]] = {}

    def virtual(self, path: str) -> str:
        """The path without the root."""
        if self._root != "/" and path.startswith(self._root.rstrip("/") + "/"):
            path = path[len(self._root.rstrip("/")) :]
        return path if path.startswith("/") else "/" + path

    def real(self, path: str) -> Optional[str]:
        """The path without the root and without links; None when its links go in circles."""
        at, waiting = "", self.virtual(path).split("/")[::-1]
        hops = 0
        while waiting:
            part = waiting.pop()
            if part in ("", "."):
                continue
            if part == "..":
                at = at.rpartition("/")[0]
                continue
            target = self._target(at + "/" + part)
            if target is None:
                at += "/" + part
                continue
            hops += 1
            if hops > MAX_LINKS:
                return None
            if target.startswith("/"):
                at, target = "", self.virtual(target)
            waiting += target.split("/")[::-1]
        return at or "/"

    def _target(self, path: str) -> Optional[str]:
        if path not in self._targets:
            try:
                self._targets[path] = target = os.readlink(under(self._root, path))
                self.links[path] = target
            except OSError:
                self._targets[path] = None
        return self._targets[path]


class Recorder:
    """Looks at a board through its readers, and takes down what they looked at. ``document`` is good at any time."""

    def __init__(self, root: str = "/", passes: int = PASSES, pause_s: float = PAUSE_S) -> None:
        self._root = root
        self._passes = passes
        self._pause_s = pause_s
        self._places = Places(root)
        self._paths: Dict[str, str] = {}  # real path -> the path as a reader wrote it
        self._folders: Dict[str, str] = {}
        self._calls: Dict[Tuple[str, ...], None] = {}
        self._lines: Dict[Tuple[str, ...], None] = {}  # programs that run on
        self._looked_for: Set[str] = set()
        self._files: Dict[str, Entry] = {}
        self._runs: Dict[Tuple[str, ...], List[Entry]] = {}
        self._listed: List[Entry] = []
        self._times_s: List[float] = []
        self._facts: Dict[str, Any] = {}
        self._sensors: List[Descriptor] = []
        self._readings: Dict[str, Any] = {}
        self._notes: List[str] = []
        self._left_bytes = LIMIT_TOTAL_BYTES
        self._now = "finding the sensors"

    def record(self, limit_s: float = LIMIT_TIME_S) -> Entry:
        """The document, after at most ``limit_s`` seconds; what was not reached by then is noted in it."""
        began = time.monotonic()
        # In a thread: a read that hangs in a driver must not keep the rest from being told.
        worker = threading.Thread(target=self._work, args=(began + limit_s,), name="edgewise-recorder", daemon=True)
        worker.start()
        worker.join(limit_s + LIMIT_S)
        if worker.is_alive():
            self._note("not ended after {:g} s: {}".format(limit_s, self._now))
        return self.document()

    def _work(self, end: float) -> None:
        observe(self._notice)
        try:
            self._look()
        finally:
            observe(None)
        began = time.monotonic()
        for number in range(self._passes):
            if number and time.monotonic() > end:
                self._note("stopped after {} of {} passes: the time was over".format(number, self._passes))
                break
            self._times_s.append(round(time.monotonic() - began, 6))
            self._pass(number, end)
            if number + 1 < self._passes:
                time.sleep(max(0.0, self._times_s[-1] + self._pause_s - (time.monotonic() - began)))
        for call in self._lines:
            self._now = "running " + " ".join(call)
            self._runs.setdefault(call, []).append(self._run_on(call))
        for path, written in sorted(self._folders.items(), key=lambda item: natural(item[0])):
            self._listed.append(self._list(path, written))

    def _look(self) -> None:
        from device_agents.facts import device_facts

        sensors, self._sensors = find_sensors(self._root)
        for sensor in sensors:
            self._now = "reading " + sensor.name
            self._readings[sensor.name] = _reading(sensor, sensors)
        for sensor in sensors:
            sensor.close()
            if sensor.source is not None:
                sensor.source.close()
        facts = device_facts(self._root)
        self._facts = {key: value for key, value in facts.items() if key not in _LEFT_OUT_FACTS}

    def _notice(self, kind: str, words: Tuple[str, ...]) -> None:
        if kind in ("program", "line-program"):
            (self._calls if kind == "program" else self._lines).setdefault(words)
        elif kind == "looked-for":
            self._looked_for.add(words[0])
        else:
            real = self._places.real(words[0])
            noted = self._paths if kind == "file" else self._folders
            if real is None:
                self._note("its links go in circles: " + words[0])
            elif len(noted) < MAX_ENTRIES:
                noted.setdefault(real, words[0])

    def _pass(self, number: int, end: float) -> None:
        for path, written in sorted(self._paths.items(), key=lambda item: natural(item[0])):
            self._now = "reading " + path
            self._read(number, path, written)
        for call in self._calls:
            if number and time.monotonic() > end:
                return
            self._now = "running " + " ".join(call)
            self._call(call)

    def _read(self, number: int, path: str, written: str) -> None:
        began = time.perf_counter()
        content, mode = _content(written)
        took_us = (time.perf_counter() - began) * 1e6
        entry = self._files.setdefault(path, {"path": path, "mode": mode, "contents": [], "turns": [], "took_us": []})
        if content not in entry["contents"]:
            self._left_bytes -= len(content.get("text", ""))
            if self._left_bytes < 0:
                self._note("left out, the recording is full: " + path)
                if not entry["contents"]:
                    del self._files[path]
                return
            entry["contents"].append(content)
        entry["turns"].append([number, entry["contents"].index(content)])
        entry["took_us"].append(round(took_us, 1))

    def _call(self, call: Tuple[str, ...]) -> None:
        began = time.perf_counter()
        run: Entry = {"t_s": self._times_s[-1]}
        try:
            ended = call_program(call, LIMIT_S, LIMIT_BYTES)
        except SensorError as error:
            run.update(exit=None, error=error.reason, stdout="", stderr="", late=False)
        else:
            stdout = ended.stdout.decode("utf-8", "replace")
            stderr = ended.stderr.decode("utf-8", "replace")
            run.update(exit=ended.code, error=None, stdout=stdout, stderr=stderr, late=ended.late)
        run["took_s"] = round(time.perf_counter() - began, 6)
        self._left_bytes -= len(run["stdout"]) + len(run["stderr"])
        if self._left_bytes < 0:
            self._note("left out, the recording is full: " + " ".join(call))
            return
        self._runs.setdefault(call, []).append(run)

    def _run_on(self, call: Tuple[str, ...]) -> Entry:
        """The first lines of a program that runs on; ``line_s``: when each came."""
        began = time.perf_counter()
        run: Entry = {"t_s": 0.0, "exit": None, "error": None, "stdout": "", "stderr": "", "late": False, "line_s": []}
        try:
            program = LineProgram(call)
            try:
                while len(run["line_s"]) < MAX_LINES and time.perf_counter() - began < LINES_S:
                    for line in program.lines(LINES_S):
                        run["stdout"] += line + "\n"
                        run["line_s"].append(round(time.perf_counter() - began, 6))
            finally:
                program.close()
        except SensorError as error:
            run["error"] = error.reason
        run["took_s"] = round(time.perf_counter() - began, 6)
        return run

    def _list(self, path: str, written: str) -> Entry:
        try:
            os.listdir(written)
        except OSError as error:
            return {"path": path, "error": errno.errorcode.get(error.errno or 0, "EIO"), "entries": {}}
        names = folder(written)
        if len(names) > MAX_ENTRIES:
            self._note("only {} of {} names listed: {}".format(MAX_ENTRIES, len(names), path))
        entries = {}
        for name in names[:MAX_ENTRIES]:
            self._places.real(path.rstrip("/") + "/" + name)  # remembers where the links lead
            entries[name] = _kind(os.path.join(written, name))
        return {"path": path, "error": None, "entries": entries}

    def _note(self, text: str) -> None:
        if text not in self._notes and len(self._notes) < 256:
            self._notes.append(text)

    def document(self) -> Entry:
        """The recording as one JSON object, redacted."""
        redactor = Redactor(own_names())
        files = [dict(entry) for entry in list(self._files.values())]
        for entry in files:
            entry["contents"] = [
                {"text": redactor.content(entry["path"], content["text"])} if "text" in content else content
                for content in entry["contents"]
            ]
        body = {
            "files": sorted(files, key=lambda entry: natural(entry["path"])),
            "folders": list(self._listed),
            "links": dict(sorted(self._places.links.items(), key=lambda item: natural(item[0]))),
            "programs": [self._program(call, runs) for call, runs in list(self._runs.items())],
            "looked_for": {name: self._found(name) for name in sorted(self._looked_for)},
            "facts": self._facts,
            "sensors": self._sensors,
            "readings": dict(self._readings),
            "notes": list(self._notes),
        }
        if self._root != "/":
            body["sensors"] = [dict(about, source=_without(self._places, about)) for about in self._sensors]
        redacted = redactor.document(body)
        return {
            "type": "recording",
            "schema": SCHEMA,
            "date": time.strftime("%Y-%m-%d", time.gmtime()),
            "agent": AGENT_VERSION,
            "as_root": os.geteuid() == 0,
            "times_s": list(self._times_s),
            **redacted,
            "redacted": dict(sorted(redactor.counts.items())),
        }

    def _found(self, name: str) -> Optional[str]:
        path = find_program(self._root, name)
        return None if path is None else self._places.virtual(path)

    def _program(self, call: Tuple[str, ...], runs: List[Entry]) -> Entry:
        path = self._places.virtual(call[0])
        return {"name": os.path.basename(path), "path": path, "arguments": list(call[1:]), "runs": list(runs)}


def _without(places: Places, about: Descriptor) -> str:
    return places.virtual(about["source"]) if "/" in about["source"] else about["source"]


def _reading(sensor: Sensor, sensors: List[Sensor]) -> Any:
    """The value in SI, or {"reason": why there is none}. The first sensor of a source lets it fetch."""
    try:
        if sensor.source is not None and next(one for one in sensors if one.source is sensor.source) is sensor:
            sensor.source.refresh()
        return sensor.read()
    except SensorError as error:
        return {"reason": error.reason}


def _content(path: str) -> Tuple[Entry, Optional[str]]:
    """What one reading of a file gives, {"text": ...} or {"error": "EIO"}, and its mode in octal."""
    try:
        mode: Optional[str] = "{:04o}".format(stat.S_IMODE(os.stat(path).st_mode))
    except (OSError, ValueError):
        mode = None
    try:
        descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC | os.O_NONBLOCK)
        try:
            parts: List[bytes] = []
            while sum(map(len, parts)) < MAX_TEXT_BYTES:
                part = os.read(descriptor, MAX_TEXT_BYTES)
                if not part:
                    break
                parts.append(part)
        finally:
            os.close(descriptor)
    except (OSError, ValueError) as error:
        return {"error": errno.errorcode.get(getattr(error, "errno", None) or 0, "EINVAL")}, mode
    data = b"".join(parts)[:MAX_TEXT_BYTES]
    content: Entry = {"text": data.decode("utf-8", "replace")}
    return content, mode


def _kind(path: str) -> str:
    """ "file", "folder", "link to file", "link to folder" or "dead link"."""
    if os.path.islink(path):
        if not os.path.exists(path):
            return "dead link"
        return "link to folder" if os.path.isdir(path) else "link to file"
    return "folder" if os.path.isdir(path) else "file"
