"""The worker process: one model, one runner, one loop. Its records go through a pipe to the supervisor.

It has one thread of its own, the main thread: nothing here competes with the runtime for a core. Beside the records of
the stream it sends two that the supervisor keeps for itself: ``memory`` once the model is loaded, and ``finished``.
"""

import argparse
import contextlib
import gc
import json
import os
import signal
import sys
import time
from typing import Any, Callable, Dict, Iterator, List, Optional, Sequence

from device_agents import memory, npz, surroundings
from device_agents.answers import Answers
from device_agents.failures import AgentFailure
from device_agents.inputs import Feed, bind_shapes, make_feed
from device_agents.lifeline import die_with_parent
from device_agents.loop import PhaseResult, StopFlag
from device_agents.records import Record, encode, event, failure
from device_agents.runners import make_runner
from device_agents.runners.base import Runner
from device_agents.scenario_loop import ScenarioLoop
from device_agents.scenarios import Scenario
from device_agents.spec import AgentSpec
from device_agents.together import DONE, READY, Barrier

RunnerFactory = Callable[[str], Runner]


def main(argv: Sequence[str], runner_factory: RunnerFactory = make_runner) -> int:
    """The worker's exit code: 0 done or stopped, 1 after a failure record."""
    parser = argparse.ArgumentParser(prog="device_agents worker")
    parser.add_argument("--records-fd", type=int, required=True)
    parser.add_argument("--parent", type=int, required=True)
    options = parser.parse_args(argv)
    die_with_parent(options.parent)
    os.set_inheritable(options.records_fd, False)  # what the runner starts must not hold the supervisor's pipe open
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # the supervisor decides
    stop = StopFlag()
    signal.signal(signal.SIGTERM, lambda number, frame: stop.request())
    _leave_working_folder_out()
    worker = Worker(RecordPipe(options.records_fd).emit, stop, runner_factory)
    return worker.run(AgentSpec.from_json(json.loads(sys.stdin.buffer.readline().decode("utf-8"))))


def _leave_working_folder_out() -> None:
    """``python -m`` puts the working folder first on the path where PYTHONSAFEPATH is unknown (before Python 3.11)."""
    if sys.version_info < (3, 11) and sys.path and sys.path[0] in ("", os.getcwd()):
        del sys.path[0]


class RecordPipe:
    """Writes records to the supervisor. A supervisor that is gone ends the process at once: nobody would read on."""

    def __init__(self, descriptor: int) -> None:
        self._descriptor = descriptor

    def emit(self, record: Record) -> None:
        """Nothing, once the record is in the pipe."""
        view = memoryview(encode(record))
        try:
            while view:
                view = view[os.write(self._descriptor, view) :]
        except BrokenPipeError:
            os._exit(1)


class Worker:
    """One measurement from spec to ``finished``; ``phase`` is what a failure is filed under."""

    def __init__(self, emit: Callable[[Record], None], stop: StopFlag, runner_factory: RunnerFactory) -> None:
        self.phase = "spec"
        self._emit = emit
        self._stop = stop
        self._make_runner = runner_factory
        self._memory: Dict[str, Optional[int]] = {"before_load": None, "after_load": None}
        self._declared: List[Dict[str, Any]] = []  # the model's outputs

    def run(self, spec: AgentSpec) -> int:
        """0 done or stopped, 1 after a failure record."""
        try:
            set_affinity(spec.cpus)
            self.phase = "load"
            runner = staged(self._make_runner(spec.runner), spec)
            try:
                self._measure(runner, spec)
            finally:
                runner.close()
        except AgentFailure as error:
            return self._fail(error)
        except MemoryError as error:
            return self._fail(AgentFailure("out-of-memory", "an allocation failed: {}".format(error or "no details")))
        return 0

    def _fail(self, error: AgentFailure) -> int:
        self._emit(failure(error.code, error.message, error.hint, self.phase))
        return 1

    def _measure(self, runner: Runner, spec: AgentSpec) -> None:
        runner.start(spec)
        feed = self._load(runner, spec)
        slow_down = None if runner.slows_itself else spec.slow_down
        loop = ScenarioLoop(runner, feed, self._emit, self._stop, slow_down)
        if runner.summary_only:
            self.phase = "measure"
            begin = time.monotonic_ns()
            runner.invoke()
            duration_s = (time.monotonic_ns() - begin) / 1e9
            self._emit(event("measured", count=None, duration_s=duration_s, reason="summary"))
            self._finish(runner)
            return
        with _collector_off():
            if spec.task == "evaluate":
                self._evaluate(loop, Answers(runner, feed, self._emit, spec.evaluation, self._declared))
            else:
                self._bench(loop, spec)
        self._finish(runner)

    def _load(self, runner: Runner, spec: AgentSpec) -> Feed:
        """Loads the model and makes its inputs. Load time is the runner's load and bind, not the making of inputs."""
        gc.collect()
        self._memory["before_load"] = memory.rss_bytes()
        peak_is_ours = memory.reset_peak()
        self._emit(event("load-started", peak_reset=peak_is_ours))
        begin = time.monotonic_ns()
        detail = runner.load(spec)
        load_ns = time.monotonic_ns() - begin
        declared = runner.inputs()
        arrays = self._read_inputs(declared, spec)
        binding = bind_shapes(declared, spec.batch, spec.dims, None if arrays is None else npz.data_shapes(arrays))
        for assumed in binding.assumed:
            self._emit(event("dimension-assumed", **assumed))
        begin = time.monotonic_ns()
        runner.bind(binding.shapes)
        load_ns += time.monotonic_ns() - begin
        self._memory["after_load"] = memory.rss_bytes()
        self._emit({"type": "memory", "memory": self._with_peak()})
        self._declared = [] if spec.stages else detail["outputs"]
        detail["load_s"] = load_ns / 1e9
        detail["shapes"] = {name: list(shape) for name, shape in binding.shapes.items()}
        self._emit(event("loaded", **detail))
        self.phase = "first"
        return make_feed(declared, binding, spec, arrays)

    def _read_inputs(self, declared: List[Dict[str, Any]], spec: AgentSpec) -> Optional[Dict[str, Any]]:
        if spec.inputs["kind"] == "npz":
            return npz.read_npz(spec.inputs["path"], declared, spec.inputs.get("scale"))
        if spec.task == "evaluate":
            raise AgentFailure("bad-spec", "task 'evaluate' needs inputs of kind 'npz'")
        return None

    def _bench(self, loop: ScenarioLoop, spec: AgentSpec) -> None:
        self._emit(event("first-done", first_s=loop.first()))
        self.phase = "warmup"
        warm = loop.phase("warmup", spec.warmup_count, spec.warmup_duration_s, spec.max_duration_s)
        barrier = Barrier.of(spec.barrier)
        if barrier is not None:
            self._wait_for_the_others(loop, barrier, spec)
        self._emit(event("warmup-done", count=warm.invocations, duration_s=warm.duration_s))
        self.phase = "measure"
        if not self._stop.requested:
            self._measure_phase(loop, spec)
        if barrier is not None:
            self._keep_the_others_company(loop, barrier, spec)

    def _measure_phase(self, loop: ScenarioLoop, spec: AgentSpec) -> None:
        scenario = Scenario.of(spec.scenario, spec.batch)
        told: Dict[str, Any] = {}
        before = surroundings.look(spec.root)
        if scenario is None:
            result = loop.phase("measure", spec.min_count, spec.min_duration_s, spec.max_duration_s)
        else:
            limits = (spec.min_count, spec.min_duration_s, spec.max_duration_s)
            result, told = loop.scenario(scenario, spec.batch, *limits)
        around = surroundings.between(before, surroundings.look(spec.root))
        self._emit(_measured(result, around=around, **told))

    def _wait_for_the_others(self, loop: ScenarioLoop, barrier: Barrier, spec: AgentSpec) -> None:
        barrier.mark(READY)
        waited = loop.linger(lambda: barrier.all_at(READY), spec.load_timeout_s + spec.hang_timeout_s)
        missing = barrier.missing() + ([] if barrier.all_at(READY) else [-1])  # -1: somebody did not come in time
        self._emit(event("together-started", waited_s=waited.duration_s, missing=missing))

    def _keep_the_others_company(self, loop: ScenarioLoop, barrier: Barrier, spec: AgentSpec) -> None:
        missing = barrier.missing()
        if not self._stop.requested:  # one that was stopped has not gone on to the end
            barrier.mark(DONE)
        stayed = loop.linger(lambda: barrier.all_at(DONE), spec.max_duration_s + spec.hang_timeout_s)
        self._emit(event("together-done", stayed_s=stayed.duration_s, missing=missing))

    def _evaluate(self, loop: ScenarioLoop, answers: Answers) -> None:
        self.phase = "evaluate"
        result = loop.evaluate(answers)
        self._emit(_measured(result))

    def _finish(self, runner: Runner) -> None:
        self.phase = "finish"
        runner.finish()
        self._emit(
            {
                "type": "finished",
                "memory": self._with_peak(),
                "summary": runner.summary,
                "stopped": self._stop.requested,
            }
        )

    def _with_peak(self) -> Dict[str, Optional[int]]:
        return dict(self._memory, peak_rss=memory.peak_rss_bytes())


def staged(runner: Runner, spec: AgentSpec) -> Runner:
    """The runner, with the user's stages around it where there are some."""
    if spec.stages is None:
        return runner
    from device_agents.runners.staged import StagedRunner

    return StagedRunner(runner)


def _measured(result: PhaseResult, **more: Any) -> Record:
    return event("measured", count=result.invocations, duration_s=result.duration_s, reason=result.reason, **more)


@contextlib.contextmanager
def _collector_off() -> Iterator[None]:
    """No garbage collection inside: a collection that falls into an invocation would be measured as the model's time.

    What exists is frozen first, so that the collection afterwards does not walk the runtime's objects. The loop itself
    makes no cycles, so nothing piles up meanwhile.
    """
    gc.collect()
    gc.freeze()
    gc.disable()
    try:
        yield
    finally:
        gc.enable()
        gc.unfreeze()


def set_affinity(cpus: Optional[List[int]]) -> None:
    """Nothing, once this process runs on ``cpus`` alone (before the runtime is loaded, whose threads inherit it).

    AgentFailure "bad-spec" names the CPUs that are allowed.
    """
    if cpus is None:
        return
    if not hasattr(os, "sched_setaffinity"):
        raise AgentFailure("bad-spec", "cpus {}: this system has no CPU affinity".format(cpus))
    allowed = sorted(os.sched_getaffinity(0))
    unknown = sorted(set(cpus) - set(allowed))
    if unknown or not cpus:
        raise AgentFailure(
            "bad-spec",
            "cpus {}: not all of them are there, allowed: {}".format(cpus, ", ".join(map(str, allowed))),
            "Name CPUs out of the allowed ones with --cpus.",
        )
    try:
        os.sched_setaffinity(0, cpus)
    except OSError as error:
        raise AgentFailure("bad-spec", "cpus {}: {}".format(cpus, error.strerror)) from error
