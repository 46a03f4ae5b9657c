"""The supervisor: starts the worker, samples sensors, relays records, and always ends the stream with ``done``.

It loads no runtime and no numpy. Whatever the worker does (a segfault, a kill for memory, a hang, nonsense on its pipe)
becomes one ``failure`` record; whatever the host does (Ctrl-C, a closed connection) stops the worker, keeps what was
measured, and leaves no process behind.
"""

import contextlib
import os
import tempfile
import time
from typing import ContextManager, List, Optional, Sequence

from device_agents import endings
from device_agents.child import Child, worker_command, worker_environment
from device_agents.facts import device_facts
from device_agents.failures import AgentFailure
from device_agents.records import done, encode, failure, hello
from device_agents.sampler import Sampling
from device_agents.sensors import find_sensors
from device_agents.session import EXIT_GRACE_S, Session
from device_agents.spec import AgentSpec
from device_agents.stream import Stream
from device_agents.watch import Watch

EXIT_CODES = {"completed": 0, "failed": 1, "stopped": 130}


class Supervisor:
    """One run of one spec. ``worker_argv`` replaces the worker's command line (tests start one that misbehaves)."""

    def __init__(
        self,
        spec: AgentSpec,
        stream: Stream,
        agent_sha256: Optional[str] = None,
        worker_argv: Optional[Sequence[str]] = None,
    ) -> None:
        self._spec = spec
        self._stream = stream
        self._agent_sha256 = agent_sha256
        self._worker_argv = list(worker_argv or worker_command())
        self._wake_read, wake_write = os.pipe()
        os.set_blocking(wake_write, False)
        self._wake_write: Optional[int] = wake_write
        self._stop_reasons: List[str] = []
        self._watch = Watch(spec)
        stream.on_trouble = self._wake

    def stop(self, reason: str) -> None:
        """Nothing; the run ends soon. May be called from a signal handler; a second call waits no longer."""
        self._stop_reasons.append(reason)
        self._stream.stopping = True
        self._wake()

    def run(self) -> str:
        """The outcome: "completed", "stopped" or "failed", once the stream is ended and no process is left."""
        spec, began_cpu_s = self._spec, time.process_time()
        sensors, descriptors = find_sensors(spec.root)
        self._stream.emit(hello(device_facts(spec.root), descriptors, spec.to_json(), self._agent_sha256))
        sampler = Sampling(sensors, spec.sample_period_s, self._stream.emit)
        sampler.start()
        problem: Optional[AgentFailure] = None
        try:
            problem = self._supervise()
        finally:
            overhead = dict(sampler.stop())
            self._close_wake()
        watch = self._watch
        stopped = bool(self._stop_reasons) or watch.stopped
        if problem is not None and not stopped:
            self._stream.emit(failure(problem.code, problem.message, problem.hint, watch.phase))
        outcome = watch.outcome(problem, stopped)
        overhead["supervisor_cpu_s"] = time.process_time() - began_cpu_s
        self._stream.emit(done(outcome, watch.measured, watch.memory, overhead, watch.summary))
        return outcome

    def _wake(self) -> None:
        if self._wake_write is None:  # nothing waits any more
            return
        try:
            os.write(self._wake_write, b"x")
        except BlockingIOError:  # full: then it wakes anyway
            return

    def _close_wake(self) -> None:
        # Forgotten before it is closed: a signal may come in between, and the number may soon be another file's.
        write, self._wake_write = self._wake_write, None
        os.close(self._wake_read)
        if write is not None:
            os.close(write)

    def _supervise(self) -> Optional[AgentFailure]:
        """What went wrong, None when nothing did or the worker said it itself."""
        oom_before = endings.oom_kills()
        with _scratch(self._spec) as scratch:
            try:
                child = Child(self._worker_argv, worker_environment(self._spec, scratch))
            except OSError as error:
                return AgentFailure("internal", "the worker cannot be started: {}".format(error))
            try:
                child.send_spec(encode(self._spec.to_json()))
                problem, words = Session(child, self._stream, self._watch, self._wake_read, self._stop_reasons).run()
                code = child.wait(EXIT_GRACE_S if problem is None and not self._stop_reasons else 0.0)
                self._watch.read_peak(child.pid if code is None else None)
            finally:
                child.close()
        if problem is not None or self._watch.ended_itself:
            return problem
        if code is None:
            return AgentFailure("hung", "the worker closed its pipe and did not end")
        return endings.explain(code, self._watch.phase, words, oom_before, endings.oom_kills())


def _scratch(spec: AgentSpec) -> "ContextManager[Optional[str]]":
    """A context with a folder for what the runner writes while it works, removed at the end, however the worker ended.

    None for the runners that write nothing, so that not even a killed supervisor leaves an empty folder for those.
    """
    if spec.runner == "command" or spec.provider is not None:
        return tempfile.TemporaryDirectory(prefix="edgewise-")
    return contextlib.nullcontext()
