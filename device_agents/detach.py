"""``start``: runs that go on when the connection is gone. One process measures them, one after another.

The process that was called forks; what it leaves behind is in a session of its own, child of nobody, and holds no
descriptor of the connection. It keeps the device's lock until its last run is over.
"""

import contextlib
import os
import signal
import threading
import traceback
from typing import Any, Callable, Dict, List, NamedTuple, Optional, Tuple

from device_agents.conditions.journal import journal_of
from device_agents.conditions.run import Series
from device_agents.crowd import Crowd
from device_agents.failures import AgentFailure
from device_agents.folder import LOG, STREAM, RunFolder
from device_agents.lock import DeviceLock
from device_agents.processes import Identity, identity
from device_agents.spec import AgentSpec
from device_agents.stream import Stream
from device_agents.supervisor import EXIT_CODES, Supervisor

MAX_RUNS = 1000
GUARD_PERIOD_S = 1.0
MAX_ANSWER_BYTES = 1024 * 1024


class Job(NamedTuple):
    """One run that was asked for."""

    folder: RunFolder
    spec: AgentSpec
    about: Dict[str, Any]


class Order(NamedTuple):
    """What `start` was asked: runs in their order, whose they are, how long they go on unread (None: for ever).

    ``together``: all runs at once, each in a process of its own.
    """

    jobs: List[Job]
    owner: Dict[str, Any]
    grace_s: Optional[float]
    break_lock: bool
    together: bool = False

    @classmethod
    def from_json(cls, runs: str, document: Any) -> "Order":
        """The order of a JSON object. AgentFailure "bad-spec" names what is wrong with it."""
        if not isinstance(document, dict) or not isinstance(document.get("runs"), list):
            raise AgentFailure("bad-spec", "the order is no object with a list of runs")
        if not 1 <= len(document["runs"]) <= MAX_RUNS:
            raise AgentFailure("bad-spec", "{} runs, expected 1 to {}".format(len(document["runs"]), MAX_RUNS))
        grace_s = document.get("grace_s")
        if grace_s is not None and (isinstance(grace_s, bool) or not isinstance(grace_s, (int, float))):
            raise AgentFailure("bad-spec", "grace_s is {!r}, expected seconds or null".format(grace_s))
        jobs = [_job(runs, entry) for entry in document["runs"]]
        if len({job.folder.id for job in jobs}) != len(jobs):
            raise AgentFailure("bad-spec", "a run id stands twice in the order")
        owner = document.get("owner")
        together = document.get("together") is True
        if together and any(job.spec.terms.pins.wanted for job in jobs):
            raise AgentFailure("bad-spec", "runs beside each other cannot each hold settings of the device")
        owner = owner if isinstance(owner, dict) else {}
        return cls(jobs, owner, grace_s, document.get("break_lock") is True, together)


def _job(runs: str, entry: Any) -> Job:
    if not isinstance(entry, dict):
        raise AgentFailure("bad-spec", "a run is {}, expected an object".format(type(entry).__name__))
    about = entry.get("about")
    spec = AgentSpec.from_json(entry.get("spec"))
    return Job(RunFolder(runs, entry.get("id", "")), spec, about if isinstance(about, dict) else {})


def start(
    runs: str,
    order: Order,
    stream_fd: Optional[int],
    agent_sha256: Optional[str],
    worker_argv: Optional[List[str]] = None,
) -> None:
    """Nothing, once the process that will measure has the lock and its run folders. AgentFailure when it has not."""
    answer_read, answer_write = os.pipe()
    child = os.fork()
    if child == 0:
        os.close(answer_read)
        _leave(lambda: _measure(runs, order, answer_write, agent_sha256, worker_argv), stream_fd)
    os.close(answer_write)
    with open(answer_read, "rb") as pipe:
        answer = pipe.read(MAX_ANSWER_BYTES).decode("utf-8", "replace")
    os.waitpid(child, 0)
    if answer == "started\n":
        return
    code, _, message = answer.rstrip("\n").partition(" ")
    raise AgentFailure(*((code, message) if message else ("internal", "the agent's process ended at once")))


def _leave(measure: Callable[[], int], stream_fd: Optional[int]) -> None:
    """Does not return: this process, a fork, becomes one that nobody waits for, and measures."""
    code = 1
    try:
        os.setsid()
        if os.fork() != 0:
            os._exit(0)
        if stream_fd is not None:
            os.close(stream_fd)
        nothing = os.open(os.devnull, os.O_RDWR)
        for standard in (0, 1, 2):
            os.dup2(nothing, standard)
        if nothing > 2:
            os.close(nothing)
        code = measure()
    except BaseException:
        traceback.print_exc()  # into the run's log
        raise
    finally:
        os._exit(code)


def _measure(
    runs: str, order: Order, answer_fd: int, agent_sha256: Optional[str], worker_argv: Optional[List[str]]
) -> int:
    lock, queue = DeviceLock(runs), None
    try:
        process = identity()
        lock.acquire(process, order.owner, order.jobs[0].folder.id, order.break_lock)
        queue = _Queue(runs, order, lock, agent_sha256, worker_argv)
        queue.create_folders(process)
    except AgentFailure as error:
        lock.release()
        os.write(answer_fd, "{} {}\n".format(error.code, error.message).encode("utf-8", "replace"))
        return 1
    os.write(answer_fd, b"started\n")
    os.close(answer_fd)
    try:
        return queue.run()
    finally:
        lock.release()


class _Queue:
    """The runs of one order. SIGINT and SIGTERM end all of them; SIGUSR1 says that a run's ``stop`` file has come."""

    def __init__(
        self,
        runs: str,
        order: Order,
        lock: DeviceLock,
        agent_sha256: Optional[str],
        worker_argv: Optional[List[str]],
    ) -> None:
        self._runs = runs
        self._order = order
        self._series = Series()
        self._lock = lock
        self._agent_sha256 = agent_sha256
        self._worker_argv = worker_argv
        self._current: Optional[Supervisor] = None
        self._folder: Optional[RunFolder] = None
        self._told: Optional[RunFolder] = None
        self._ended_by: Optional[str] = None
        self._waiting = list(order.jobs)
        self._crowd = Crowd(lambda: self._ended_by is not None)

    def create_folders(self, process: Identity) -> None:
        """Nothing, once each run has its folder. AgentFailure, and no folder is left, when one cannot be made."""
        # Before the first folder is seen by anybody: a signal without a handler would end us without a word.
        signal.signal(signal.SIGHUP, signal.SIG_IGN)
        signal.signal(signal.SIGUSR1, lambda number, frame: self._look())
        for number in (signal.SIGINT, signal.SIGTERM):
            signal.signal(number, lambda number, frame: self._end_all(signal.Signals(number).name))
        made: List[RunFolder] = []
        try:
            for job in self._order.jobs:
                job.folder.create(process, job.spec.to_json(), job.about, self._order.owner, self._order.grace_s)
                made.append(job.folder)
        except AgentFailure:
            for folder in made:
                with contextlib.suppress(OSError):
                    folder.remove()
            raise

    def run(self) -> int:
        """The exit code of the last run, once all are over and the lock is free."""
        if self._order.together:
            jobs, self._waiting = self._waiting, []
            return self._crowd.run(len(jobs), lambda place, barrier: self._beside(jobs[place], barrier))
        code = 0
        while self._waiting:
            job = self._waiting.pop(0)
            code = EXIT_CODES[self._one(job)]
        return code

    def _one(self, job: Job) -> str:
        outcome, problem = "stopped", None
        if not job.folder.exists():  # somebody took it away
            return outcome
        if self._ended_by is None and not job.folder.stop_asked():
            self._lock.now_at(job.folder.id)
            outcome, problem = self._supervise(job)
        if not self._waiting:
            self._lock.release()  # before the word: who reads it may start the next run at once
        job.folder.finish(outcome, EXIT_CODES[outcome], problem)
        return outcome

    def _beside(self, job: Job, barrier: Dict[str, Any]) -> int:
        """The exit code of a run that goes on beside others; called in a process of its own, the lock is another's."""
        outcome, problem = "stopped", None
        if self._ended_by is None and job.folder.exists() and not job.folder.stop_asked():
            outcome, problem = self._supervise(job._replace(spec=job.spec._replace(barrier=barrier)))
        job.folder.finish(outcome, EXIT_CODES[outcome], problem)
        return EXIT_CODES[outcome]

    def _supervise(self, job: Job) -> Tuple[str, Optional[str]]:
        """The outcome, and why the stream could not be kept, if so."""
        _print_into(job.folder.file(LOG))
        try:
            stream = Stream(None, job.folder.file(STREAM))
        except AgentFailure as error:  # the folder is gone, or the disk is full
            return "failed", error.message
        supervisor = Supervisor(
            job.spec, stream, self._agent_sha256, self._worker_argv, journal_of(self._runs), self._series
        )
        self._current, self._folder = supervisor, job.folder
        if self._ended_by is not None:
            supervisor.stop(self._ended_by)
        guard = _Guard(job.folder, self._lock, self._order.grace_s, supervisor.stop)
        guard.start()
        try:
            self._look()
            outcome = supervisor.run()
        finally:
            self._current = self._folder = None
            guard.end()
            stream.close()
        return outcome, stream.file_error.strerror if stream.file_error is not None else None

    def _look(self) -> None:
        self._crowd.signal(signal.SIGUSR1)
        supervisor, folder = self._current, self._folder
        if supervisor is not None and folder is not None and folder.stop_asked() and self._told is not folder:
            self._told = folder  # a second stop would not wait for the invocation in hand
            supervisor.stop("a stop was asked for")
        for job in list(self._waiting):
            if job.folder.stop_asked():
                with contextlib.suppress(ValueError):  # a second signal, in the midst of the first, was faster
                    self._waiting.remove(job)
                job.folder.finish("stopped", EXIT_CODES["stopped"])

    def _end_all(self, name: str) -> None:
        self._ended_by = name
        self._crowd.signal(signal.SIGTERM)
        if self._current is not None:
            self._current.stop(name)


class _Guard:
    """A thread that beats the lock once a second, and ends a run that nobody has read for ``grace_s`` seconds."""

    def __init__(
        self, folder: RunFolder, lock: DeviceLock, grace_s: Optional[float], stop: Callable[[str], None]
    ) -> None:
        self._folder = folder
        self._lock = lock
        self._left_s = grace_s
        self._grace_s = grace_s
        self._stop = stop
        self._ending = threading.Event()
        self._thread = threading.Thread(target=self._watch, name="edgewise-guard", daemon=True)

    def start(self) -> None:
        """Nothing; the thread runs."""
        self._thread.start()

    def end(self) -> None:
        """Nothing, once the thread has ended."""
        self._ending.set()
        self._thread.join(10.0 * GUARD_PERIOD_S)

    def _watch(self) -> None:
        while not self._ending.wait(GUARD_PERIOD_S):
            self._lock.beat()
            if self._left_s is None or self._grace_s is None:
                continue
            # Counted in own ticks, not by a clock: a device that was asleep has not been left alone meanwhile.
            read = self._folder.has_reader() is not False
            self._left_s = self._grace_s if read else self._left_s - GUARD_PERIOD_S
            if self._left_s <= 0.0:
                self._stop("nobody has read the stream for {:g} s".format(self._grace_s))
                return


def _print_into(path: str) -> None:
    """Nothing; descriptors 1 and 2 are the log from now on. Without one, what is printed is lost, not the run."""
    try:
        log = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_APPEND | os.O_CLOEXEC, 0o644)
    except OSError:
        return
    for standard in (1, 2):
        os.dup2(log, standard)
    os.close(log)
