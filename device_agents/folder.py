"""A run's folder on the device: what it holds, in which state the run is, and how it appears and goes.

::

    RUNS/<run id>/spec.json       the agent's spec, and what the host says of itself and the request
                  process.json    supervisor's process id, start time and boot; when it began
                  stream.jsonl    the records, as the host reads them
                  exit.json       outcome; there once the stream is whole and on the disk
                  log             what supervisor and worker printed
                  reader          locked, shared, by whoever reads the stream
                  reserve         room for exit.json on a full disk
                  stop            there when somebody wants this run to end
    RUNS/lock                     who measures on this device now (lock.py)

A folder appears and goes under its name at once (rename): what is half made or half removed begins with a dot.
"""

import contextlib
import errno
import fcntl
import json
import os
import re
import shutil
from typing import Any, Dict, List, Optional

from device_agents.failures import AgentFailure
from device_agents.processes import Identity, age_s, is_alive, moment, same_boot

MAX_DOCUMENT_BYTES = 4 * 1024 * 1024
RUN_ID = re.compile(r"[A-Za-z0-9][A-Za-z0-9_-]{0,63}\Z")
SPEC, PROCESS, STREAM, EXIT, LOG, READER, STOP = (
    "spec.json",
    "process.json",
    "stream.jsonl",
    "exit.json",
    "log",
    "reader",
    "stop",
)
RESERVE = "reserve"
RESERVE_BYTES = 16_384  # given up at the end, so that a full disk still takes the word how the run ended

Document = Dict[str, Any]


class RunFolder:
    """One run's folder, there or not. Methods that read give None for what is missing or damaged."""

    def __init__(self, runs: str, run_id: str) -> None:
        if not isinstance(run_id, str) or not RUN_ID.match(run_id):
            raise AgentFailure("bad-spec", "run id is {!r}, expected letters, digits, - and _".format(run_id))
        self.id = run_id
        self.path = os.path.join(runs, run_id)
        self._runs = runs

    def create(
        self, process: Identity, spec: Document, about: Document, owner: Document, grace_s: Optional[float]
    ) -> None:
        """Nothing, once the folder is there with spec and process. AgentFailure when it is there already."""
        new = os.path.join(self._runs, ".{}.new".format(self.id))
        try:
            os.makedirs(self._runs, exist_ok=True)
            shutil.rmtree(new, ignore_errors=True)
            os.mkdir(new)
            write_document(os.path.join(new, SPEC), {"spec": spec, "about": about, "owner": owner, "grace_s": grace_s})
            write_document(os.path.join(new, PROCESS), {"process": process, "began": moment()})
            for name, size_bytes in ((READER, 0), (RESERVE, RESERVE_BYTES)):
                with open(os.path.join(new, name), "wb") as file:
                    file.write(bytes(size_bytes))
            if self.exists():
                raise FileExistsError(errno.EEXIST, os.strerror(errno.EEXIST))
            os.rename(new, self.path)
            sync_folder(self._runs)
        except OSError as error:
            shutil.rmtree(new, ignore_errors=True)
            code = "no-space" if error.errno in (errno.ENOSPC, errno.EDQUOT) else "bad-spec"
            raise AgentFailure(code, "cannot create {}: {}".format(self.path, error.strerror)) from error

    def exists(self) -> bool:
        """True while there is such a run."""
        return os.path.isdir(self.path)

    def file(self, name: str) -> str:
        """The path of one of its files."""
        return os.path.join(self.path, name)

    def read(self, name: str) -> Document:
        """One of its JSON files; empty when it is missing, damaged or no object."""
        return read_document(self.file(name))

    def finish(self, outcome: str, exit_code: int, problem: Optional[str] = None) -> None:
        """Nothing, once it is on the disk how the run ended, and why its stream could not be kept, if so."""
        document = {"outcome": outcome, "exit_code": exit_code, "problem": problem, "ended": moment()}
        with contextlib.suppress(OSError):
            os.unlink(self.file(RESERVE))
        with contextlib.suppress(OSError):  # without the word the run counts as crashed: its stream still stands
            write_document(self.file(EXIT), document)
            sync_folder(self.path)

    def alive(self) -> bool:
        """True while the process that was to measure it is there."""
        return is_alive(self.read(PROCESS).get("process"))

    def state(self) -> str:
        """ "queued", "running", "finished", or "crashed": its process is gone and left no word."""
        alive = self.alive()  # before the word is looked for: a process writes it before it ends
        if self.read(EXIT):
            return "finished"
        if not alive:
            return "crashed"
        return "running" if os.path.exists(self.file(STREAM)) else "queued"

    def began_s(self) -> float:
        """When it was asked for, by the device's wall clock: for an order only. 0.0 when it is not known."""
        began = self.read(PROCESS).get("began")
        wall_s = began.get("wall_s") if isinstance(began, dict) else None
        return float(wall_s) if isinstance(wall_s, (int, float)) else 0.0

    def why_crashed(self) -> str:
        """What is known of the end of a process that left no word."""
        if same_boot(self.read(PROCESS).get("process")) is False:
            return "the device restarted while the run was going on"
        return "the agent was ended from outside (killed, or the power was cut) while the run was going on"

    def has_reader(self) -> Optional[bool]:
        """True while somebody reads the stream; None where the file system cannot tell."""
        try:
            fd = os.open(self.file(READER), os.O_RDWR | os.O_CLOEXEC)
        except OSError:
            return False
        try:
            fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError as error:
            return True if error.errno in (errno.EWOULDBLOCK, errno.EACCES) else None
        finally:
            os.close(fd)
        return False

    def describe(self) -> Document:
        """The run as `runs` lists it."""
        spec, process, end = self.read(SPEC), self.read(PROCESS), self.read(EXIT)
        state = self.state()
        return {
            "id": self.id,
            "state": state,
            "reason": self.why_crashed() if state == "crashed" else None,
            "outcome": end.get("outcome"),
            "problem": end.get("problem"),
            "age_s": age_s(process.get("began")),
            "ended_s": age_s(end.get("ended")),
            "stream_bytes": _size(self.file(STREAM)),
            "detached": spec.get("grace_s") is None,
            "reader": self.has_reader(),
            "owner": spec.get("owner") or {},
            "about": spec.get("about") or {},
            "spec": spec.get("spec") or {},
        }

    def ask_to_stop(self) -> None:
        """Nothing; the run ends soon, or does not begin."""
        with open(self.file(STOP), "ab"):
            pass

    def stop_asked(self) -> bool:
        """True once somebody wants it to end."""
        return os.path.exists(self.file(STOP))

    def remove(self) -> None:
        """Nothing; there is no such run. OSError when that cannot be."""
        gone = os.path.join(self._runs, ".{}.gone".format(self.id))
        shutil.rmtree(gone, ignore_errors=True)
        try:
            os.rename(self.path, gone)
        except FileNotFoundError:
            return
        shutil.rmtree(gone, ignore_errors=True)


def list_runs(runs: str) -> List[RunFolder]:
    """The runs in a folder, in the order of their ids; what a cut left half made or half removed is cleared away."""
    try:
        names = sorted(os.listdir(runs))
    except OSError:
        return []
    for name in names:
        half_made = name.startswith(".") and name.endswith(".new") and not _in_the_making(os.path.join(runs, name))
        if half_made or (name.startswith(".") and name.endswith(".gone")):
            shutil.rmtree(os.path.join(runs, name), ignore_errors=True)
    return [RunFolder(runs, name) for name in names if RUN_ID.match(name) and os.path.isdir(os.path.join(runs, name))]


def _in_the_making(path: str) -> bool:
    process = read_document(os.path.join(path, PROCESS)).get("process")
    if process is None:
        age = age_s({"wall_s": os.stat(path).st_mtime}) if os.path.exists(path) else None
        return age is None or age < 60.0
    return is_alive(process)


def write_document(path: str, document: Document) -> None:
    """The document, whole and on the disk under its name, or not at all."""
    temporary = path + ".part"
    with open(temporary, "wb") as file:
        file.write(json.dumps(document, allow_nan=False).encode("ascii"))
        file.flush()
        os.fsync(file.fileno())
    os.rename(temporary, path)


def read_document(path: str) -> Document:
    """The JSON object in a file; empty when it is missing, damaged or no object."""
    try:
        with open(path, "rb") as file:
            document = json.loads(file.read(MAX_DOCUMENT_BYTES).decode("utf-8"))
    except (OSError, ValueError, RecursionError):
        return {}
    return document if isinstance(document, dict) else {}


def _size(path: str) -> int:
    try:
        return os.stat(path).st_size
    except OSError:
        return 0


def sync_folder(folder: str) -> None:
    """Nothing, once the names in the folder are on the disk, where its file system can say so."""
    fd = os.open(folder, os.O_RDONLY | os.O_CLOEXEC)
    try:
        os.fsync(fd)
    except OSError:  # some file systems cannot sync a folder
        return
    finally:
        os.close(fd)
