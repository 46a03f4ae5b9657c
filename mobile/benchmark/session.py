"""One device during a benchmark: connection, agent, models, and the runs in its run folders."""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from device_agents import records
from device_agents.records import decode
from mobile.benchmark.agent import DeviceAgent, names, owner
from mobile.benchmark.follow import RECONNECT_S, Follower, Interrupted, OnRecord, Patience
from mobile.benchmark.lines import LineReader
from mobile.benchmark.metering import metered_idle_s, metering
from mobile.benchmark.models import Model
from mobile.benchmark.options import BenchOptions
from mobile.benchmark.remote_run import RemoteRun, checked, collector_of
from mobile.deadline import Deadline
from mobile.errors import AgentError, EdgewiseError, LinkLost, RunFailure, StoreError, TransportError
from mobile.results import new_run_id
from mobile.results.run import Run

if TYPE_CHECKING:
    from mobile.inventory import Device
    from mobile.push import DeviceStore
    from mobile.transports.base import Transport

# What a run may take beyond its own limits: starting two interpreters and importing a runtime on a slow board.
START_ALLOWANCE_S = 120.0
STOP_WAIT_S = 8.0  # for a run to end after it was asked to: the supervisor gives its worker two seconds
LOCAL_GRACE_S = 4.0  # this machine has no link that could come back: who reads no more is dead
GRACE_MARGIN_S = 30.0  # for a device that notices a broken link before we do

_log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Plan:
    """One run that is to be started: its id, its model, and its (single) options.

    ``remarks`` become part of the run's environment: a label, the place in an interleaved measurement.
    """

    run_id: str
    created_utc: str
    model: Model
    options: BenchOptions
    remarks: Mapping[str, Any] = field(default_factory=dict)


def new_plan(model: Model, options: BenchOptions, remarks: Mapping[str, Any] | None = None) -> Plan:
    """A plan with a new run id, dated now."""
    dated = time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime())
    return Plan(new_run_id(), dated, model, options, dict(remarks or {}))


class DeviceSession:
    """An open device. Use as a context manager; one run at a time."""

    def __init__(
        self,
        device: Device,
        transport: Transport,
        store: DeviceStore,
        *,
        reconnect_s: float = RECONNECT_S,
        break_lock: bool = False,
        stopping: threading.Event | None = None,
    ) -> None:
        self.device = device
        self.agent = DeviceAgent(device, transport, store)
        self._transport = transport
        self._store = store
        self._reconnect_s = reconnect_s
        self._break_lock = break_lock
        self._stopping = stopping

    @classmethod
    def open(cls, device: Device, **options: Any) -> DeviceSession:
        """The session of a device; ``options`` are those of the constructor. The first call connects."""
        from mobile.push import DeviceStore
        from mobile.transports import open_transport

        transport = open_transport(device)
        return cls(device, transport, DeviceStore(transport, device.workdir), **options)

    def __enter__(self) -> DeviceSession:
        return self

    def __exit__(self, *exception: object) -> None:
        self._transport.close()

    def push(self, model: Model, deadline: Deadline, *, recheck: bool = False) -> str | None:
        """The model's path on the device, None for a runner without a model. ``recheck``: hashed there again."""
        if model.path is None:
            return None
        return self._store.put_files(model.files, deadline=deadline, progress=self._check, recheck=recheck)

    def push_file(self, path: Path, deadline: Deadline) -> str:
        """The path on the device of any file that a run needs, stored by its content."""
        return self._store.put_file(path, path.name, deadline=deadline, progress=self._check)

    def _check(self, done_bytes: int, size_bytes: int) -> None:
        """Nothing, or Interrupted: what is being sent is then taken back."""
        if self._stopping is not None and self._stopping.is_set():
            raise Interrupted

    def facts(self, deadline: Deadline) -> dict[str, Any]:
        """The agent's hello: device facts and sensors, runtimes with their providers."""
        found: list[dict[str, Any]] = []
        reader = LineReader(lambda line: found.append(decode(line)))
        root = self.device.replay or "/"
        completed = self.agent.call("facts", "--root", root, deadline=deadline, on_stdout=reader.feed)
        if completed.exit_code not in (0, 1):
            raise self.agent.not_started(completed)
        hello = next((record for record in found if record["type"] == "hello"), None)
        if hello is None:
            raise AgentError(f"{self.device.name}: the agent sent no hello")
        return hello

    def run(
        self,
        model: Model,
        options: BenchOptions,
        deadline: Deadline,
        on_record: OnRecord,
        *,
        keep: Callable[[Run], None] | None = None,
        plan: Plan | None = None,
    ) -> Run:
        """The finished run. RunFailure when it ended in a failure record, AgentError when its stream broke.

        ``on_record`` sees every record as it arrives, for progress. ``keep`` is called with the run before the device
        forgets it: what it raises leaves the run on the device. LinkLost too leaves it there, for `attach`.
        """
        plan = plan or new_plan(model, options)
        spec = Patience(self._reconnect_s, self._stopping).insist(lambda: self._spec(plan, deadline), deadline)
        remote = RemoteRun.planned(plan.run_id, plan.created_utc, self.device, model.ref, spec, plan.remarks)
        order = self._order([remote], f"bench {model.ref.name}", self._grace_s())
        limit_s = options.load_timeout_s + options.max_duration_s + options.hang_timeout_s + START_ALLOWANCE_S
        limit_s += options.conditions.longest_s()
        try:
            run = self._follow(remote, on_record, deadline.sooner(limit_s + self._reconnect_s), order)
            if keep is not None:
                keep(run)
        except (LinkLost, StoreError):
            raise
        except RunFailure:
            self.forget(plan.run_id)
            raise
        except BaseException:
            self.abandon(plan.run_id)
            raise
        self.forget(plan.run_id)
        return run

    def start(self, plans: Sequence[Plan], deadline: Deadline, purpose: str, *, together: bool = False) -> None:
        """Nothing, once the device measures these runs, one after another or at once, and needs nobody any more.

        RunFailure when the agent refuses (code "busy": the lock), TransportError when it is not known.
        """
        remotes = [
            RemoteRun.planned(
                plan.run_id, plan.created_utc, self.device, plan.model.ref, self._spec(plan, deadline), plan.remarks
            )
            for plan in plans
        ]
        order = {**self._order(remotes, purpose, None), "together": together}
        follower = Follower(
            self.agent, plans[0].run_id, lambda record: None, reconnect_s=self._reconnect_s, stopping=self._stopping
        )
        follower.start(order, deadline)

    def runs(self, ids: Sequence[str] = (), deadline: Deadline | None = None) -> list[RemoteRun]:
        """The runs that are kept on the device, oldest first."""
        answer = self.agent.ask("runs", *ids, deadline=deadline)
        return [RemoteRun.from_json(entry) for entry in answer.get("runs", []) if isinstance(entry, dict)]

    def collect(self, remote: RemoteRun, on_record: OnRecord, keep: Callable[[Run], None]) -> Run:
        """The run, whole, once it is over and ``keep`` has taken it; the device then forgets it.

        RunFailure when it ended in a failure record: forgotten too. Whatever else is raised leaves it there.
        """
        try:
            run = self._follow(remote, on_record, Deadline.never(), None)
            keep(run)
        except RunFailure:
            self.forget(remote.id)
            raise
        self.forget(remote.id)
        return run

    def stop(self, *run_ids: str) -> None:
        """Nothing, once the runs have ended; what they have measured stays there. AgentError when one does not."""
        limit = Deadline(STOP_WAIT_S * (1 + len(run_ids)) + 30.0)
        answer = self.agent.ask("stop", "--wait", f"{STOP_WAIT_S:g}", *run_ids, deadline=limit)
        self._check_problems(answer)

    def remove(self, *run_ids: str) -> None:
        """Nothing, once the device has nothing of these runs. AgentError when one is still going on."""
        self._check_problems(self.agent.ask("remove", *run_ids))

    def forget(self, run_id: str) -> None:
        """Nothing; the device has nothing of the run any more, or lists it as left behind when it cannot be reached."""
        try:
            self.remove(run_id)
        except (TransportError, AgentError) as error:
            _log.info("%s: run %s stays there: %s", self.device.name, run_id, error)

    def abandon(self, *run_ids: str) -> None:
        """Nothing; after an interrupt or a broken stream the runs end, and leave nothing where the device answers."""
        try:
            self.stop(*run_ids)
            self.remove(*run_ids)
        except EdgewiseError as error:
            _log.info("%s: run %s may go on there: %s", self.device.name, names(run_ids), error)

    def _follow(self, remote: RemoteRun, on_record: OnRecord, deadline: Deadline, order: dict[str, Any] | None) -> Run:
        collector = collector_of(remote, self.device)

        with metering(self.device, collector.run, following=order is not None) as hear:

            def take(record: dict[str, Any]) -> None:
                hear(record)  # first: it notes when the record came
                collector.feed(record)
                on_record(record)

            follower = Follower(self.agent, remote.id, take, reconnect_s=self._reconnect_s, stopping=self._stopping)
            code = follower.follow(deadline, order)
        if code == records.NO_SUCH_RUN:
            raise RunFailure(
                "gone", f"{self.device.name}: run {remote.id} is no more on the device", "Another host collected it."
            )
        if collector.run.done is None:  # the device knows why: a crash, a full disk
            remote = next(iter(self.runs([remote.id])), remote)
        return checked(collector.run, remote, self.device.name)

    def _spec(self, plan: Plan, deadline: Deadline) -> dict[str, Any]:
        path = self.push(plan.model, deadline)
        inputs = self.push_file(plan.options.inputs, deadline) if plan.options.inputs is not None else None
        conditions = plan.options.conditions.within(self.device.limits.max_temperature_c)
        options = replace(plan.options, conditions=conditions)
        spec = options.agent_spec(plan.model.runner(options), path, inputs)
        if plan.options.stages is not None:
            spec["stages"] = self.push_file(plan.options.stages, deadline)
        spec["python_path"] = [*self.agent.runtime(deadline).python_path]
        spec["slow_down"] = self.device.slow_down
        spec["root"] = self.device.replay or "/"
        spec["idle_s"] = metered_idle_s(self.device, spec["idle_s"])
        return spec

    def _order(self, remotes: Sequence[RemoteRun], purpose: str, grace_s: float | None) -> dict[str, Any]:
        return {
            "runs": [{"id": remote.id, "spec": remote.spec, "about": remote.about} for remote in remotes],
            "owner": owner(purpose),
            "grace_s": grace_s,
            "break_lock": self._break_lock,
        }

    def _grace_s(self) -> float:
        return LOCAL_GRACE_S if self.device.transport == "local" else self._reconnect_s + GRACE_MARGIN_S

    def _check_problems(self, answer: dict[str, Any]) -> None:
        problems = {run: why for run, why in (answer.get("problems") or {}).items() if why is not None}
        for run, why in problems.items():
            raise AgentError(f"{self.device.name}: run {run}: {why}", hint=f"`edgewise attach {run} --stop` ends it")
