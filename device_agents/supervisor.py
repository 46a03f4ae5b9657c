"""The supervisor: starts the worker, samples sensors, relays records, and always ends the stream with ``done``.

It loads no runtime and no numpy. Whatever the worker does (a segfault, a kill for memory, a hang, nonsense on its pipe)
becomes one ``failure`` record; whatever the host does (Ctrl-C, a closed connection) stops the worker, keeps what was
measured, and leaves no process behind. Settings that the run holds are set before the stream begins, so that its facts
are those of the measurement, and put back before it ends.
"""

import contextlib
import os
import select
import tempfile
import time
from typing import Any, ContextManager, Dict, List, Optional, Sequence

from device_agents import endings
from device_agents.child import Child, worker_command, worker_environment
from device_agents.conditions.run import Conditions, Series
from device_agents.facts import device_facts
from device_agents.failures import AgentFailure
from device_agents.records import done, encode, event, failure, hello
from device_agents.sampler import Sampling
from device_agents.sensors import find_sensors
from device_agents.session import EXIT_GRACE_S, LONGEST_WAIT_S, Session, check_stream
from device_agents.spec import AgentSpec
from device_agents.stream import Stream
from device_agents.watch import Watch

EXIT_CODES = {"completed": 0, "failed": 1, "stopped": 130}


class Supervisor:
    """One run of one spec. ``worker_argv`` replaces the worker's command line (tests start one that misbehaves).

    ``journal``: the folder for settings that are changed. ``series``: what the runs of one order hand on.
    """

    def __init__(
        self,
        spec: AgentSpec,
        stream: Stream,
        agent_sha256: Optional[str] = None,
        worker_argv: Optional[Sequence[str]] = None,
        journal: Optional[str] = None,
        series: Optional[Series] = None,
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
        self._conditions = Conditions(spec, stream.emit, journal, series)
        stream.on_trouble = self._wake

    def stop(self, reason: str) -> None:
        """Nothing; the run ends soon. May be called from a signal handler; a second call waits no longer."""
        self._stop_reasons.append(reason)
        self._stream.stopping = True
        self._wake()

    def run(self) -> str:
        """The outcome: "completed", "stopped" or "failed", once the stream is ended and no process is left."""
        spec, began_cpu_s, conditions = self._spec, time.process_time(), self._conditions
        problem: Optional[AgentFailure] = None
        sampler: Optional[Sampling] = None
        try:
            try:
                conditions.hold()
            except AgentFailure as error:
                problem = error
            sensors, descriptors = find_sensors(spec.root)
            self._stream.emit(hello(device_facts(spec.root), descriptors, spec.to_json(), self._agent_sha256))
            on_readings = conditions.begin(sensors, descriptors)
            sampler = Sampling(sensors, spec.sample_period_s, self._stream.emit, on_readings)
            sampler.start()
            problem = problem or self._prepare_and_measure()
        finally:
            conditions.release()
            overhead = dict(sampler.stop()) if sampler is not None else {}
            self._close_wake()
        return self._end(problem, overhead, began_cpu_s)

    def _prepare_and_measure(self) -> Optional[AgentFailure]:
        """What went wrong; None when nothing did, or a stop was asked for before the worker was there."""
        conditions = self._conditions
        try:
            conditions.prepare(self._pause, self.stop)
        except AgentFailure as error:
            return error
        problem = check_stream(self._stream, self._stop_reasons)
        if problem is not None:
            return problem
        if self._stop_reasons and conditions.problem is None:
            self._stream.emit(event("stopping", reason=self._stop_reasons[0]))
            return None
        self._watch.phase = "load"
        problem = self._supervise()
        conditions.conclude()
        return problem

    def _end(self, problem: Optional[AgentFailure], overhead: Dict[str, Any], began_cpu_s: float) -> str:
        watch, guarded = self._watch, self._conditions.problem
        stopped = guarded is None and (bool(self._stop_reasons) or watch.stopped)
        problem = guarded or problem
        if problem is not None and not stopped:
            self._stream.emit(failure(problem.code, problem.message, problem.hint, watch.phase))
        outcome = watch.outcome(problem, stopped)
        overhead["supervisor_cpu_s"] = time.process_time() - began_cpu_s
        self._stream.emit(done(outcome, watch.measured, watch.memory, overhead, watch.summary))
        return outcome

    def _pause(self, seconds: float) -> bool:
        """True after the time; False at once when the run is to stop, or its stream is in trouble."""
        end_s = time.monotonic() + seconds
        while check_stream(self._stream, self._stop_reasons) is None and not self._stop_reasons:
            left_s = end_s - time.monotonic()
            if left_s <= 0.0:
                return True
            if select.select([self._wake_read], [], [], min(left_s, LONGEST_WAIT_S))[0]:
                os.read(self._wake_read, 4096)
        return False

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

    def _tripped(self) -> bool:
        return self._conditions.problem is not None

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
                problem, words = Session(
                    child, self._stream, self._watch, self._wake_read, self._stop_reasons, self._tripped
                ).run()
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
