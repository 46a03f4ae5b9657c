"""The part of a request that one device does, in its own thread."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from functools import partial
from typing import TYPE_CHECKING, Any

from mobile.benchmark.conditions import Series
from mobile.benchmark.fleet import Line
from mobile.benchmark.models import Model
from mobile.benchmark.options import BenchOptions
from mobile.benchmark.outcomes import Failure, Left, Progress, state_of
from mobile.benchmark.session import DeviceSession, Plan, new_plan
from mobile.benchmark.together import groups, measure_together, plans_of
from mobile.deadline import Deadline
from mobile.errors import AuthenticationFailed, DeviceUnreachable, EdgewiseError, LinkLost, StoreError
from mobile.results.run import Run
from mobile.results.started import Started, StartedRuns

if TYPE_CHECKING:
    from mobile.benchmark.assessing import Assessor
    from mobile.benchmark.orchestrate import Manner
    from mobile.inventory import Device
    from mobile.results.store import RunStore

Numbered = tuple[int, Run | Failure | Left]
CONNECT_S = 120.0  # for connecting and for putting the agent there over a slow link
NOT_THERE = (DeviceUnreachable, AuthenticationFailed)


@dataclass(frozen=True)
class Slot:
    """One measurement of a request: its number, its model, its single options, and what the run is to remember."""

    number: int
    model: Model
    options: BenchOptions
    remarks: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True)
class Terms:
    """What all devices of a request have in common."""

    store: RunStore
    started: StartedRuns
    request: str
    total: int
    manner: Manner


# The slots and runs that are over -> the slots to come, [] when there are to be none.
More = Callable[[list[tuple[Slot, Run]]], list[Slot]]


class DeviceWork:
    """The measurements on one device, one after another; ``more`` names further ones once those before are over."""

    def __init__(self, device: Device, slots: list[Slot], terms: Terms, more: More | None = None) -> None:
        self._device = device
        self._slots = slots
        self._terms = terms
        self._more = more
        self._series = Series()
        self._assessor: Assessor | None = None

    def run(self, line: Line[Progress | Numbered]) -> None:
        """Nothing, once the outcome of every slot is told. When the device cannot be reached, each one is a failure."""
        manner = self._terms.manner
        self._tell(line, self._slots[0], "connect")
        try:
            session = DeviceSession.open(
                self._device, reconnect_s=manner.reconnect_s, break_lock=manner.break_lock, stopping=line.stopping
            )
        except EdgewiseError as error:
            self._fail(line, self._slots, error)
            return
        with session:
            try:
                session.agent.make_ready(Deadline(CONNECT_S))
            except EdgewiseError as error:
                self._fail(line, self._slots, error)
                return
            if manner.together:
                self._together(line, session)
            elif manner.detach:
                self._detach(line, session)
            else:
                self._measure(line, session)

    def _measure(self, line: Line[Progress | Numbered], session: DeviceSession) -> None:
        waiting, finished = list(self._slots), []
        while waiting:
            line.check()
            slot = waiting.pop(0)
            try:
                run = self._one(line, session, slot)
                finished.append((slot, run))
                line.tell((slot.number, run))
            except NOT_THERE as error:  # it has gone away: the rest would wait for it in vain, one by one
                self._fail(line, [slot, *waiting], error)
                return
            except StoreError:
                raise  # nothing further could be kept either: stop all
            except EdgewiseError as error:
                self._fail(line, [slot], error)
            if not waiting and self._more is not None:
                waiting = self._more(finished)

    def _one(self, line: Line[Progress | Numbered], session: DeviceSession, slot: Slot) -> Run:
        self._tell(line, slot, "push")

        def on_record(record: dict[str, Any]) -> None:
            self._series.hear(record)
            state = state_of(record)
            if state is not None:
                self._tell(line, slot, state, record)

        remarks = {**slot.remarks, **self._quality(line, session, slot)}
        options = replace(slot.options, conditions=self._series.next(slot.options.conditions))
        plan = new_plan(slot.model, options, remarks)
        started = self._terms.started
        started.add([self._started(slot, plan, detached=False)])
        try:
            run = session.run(slot.model, options, Deadline.never(), on_record, keep=self._terms.store.add, plan=plan)
        except LinkLost:
            raise  # still to be collected
        except BaseException:
            started.end(plan.run_id)
            raise
        started.end(plan.run_id)
        self._tell(line, slot, "done")
        return run

    def _quality(self, line: Line[Progress | Numbered], session: DeviceSession, slot: Slot) -> dict[str, Any]:
        """What the run is to remember of the model's quality; nothing where nobody asked."""
        if slot.options.assess is None:
            return {}
        if self._assessor is None:
            from mobile.benchmark.assessing import Assessor

            self._assessor = Assessor(session, self._terms.store.add)
        evaluating = partial(self._tell, line, slot, "evaluate")
        return {"quality": self._assessor.quality(slot.model, slot.options, evaluating)}

    def _together(self, line: Line[Progress | Numbered], session: DeviceSession) -> None:
        """Every model at the same time; each group of runs once the one before is over."""
        for group in groups(self._slots):
            line.check()
            plans = plans_of(group)
            ids = [plan.run_id for plan in plans]
            told: set[int] = set()

            def tell(slot: Slot, outcome: Run | EdgewiseError, told: set[int] = told) -> None:
                told.add(slot.number)
                if isinstance(outcome, EdgewiseError):
                    self._fail(line, [slot], outcome)
                    return
                self._tell(line, slot, "done")
                line.tell((slot.number, outcome))

            def on_record(slot: Slot, record: dict[str, Any]) -> None:
                state = state_of(record)
                if state is not None:
                    self._tell(line, slot, state, record)

            self._tell(line, group[0], "push")
            self._terms.started.add(
                [self._started(slot, plan, detached=False) for slot, plan in zip(group, plans, strict=True)]
            )
            try:
                measure_together(session, group, plans, self._terms.store.add, on_record, tell)
            except StoreError:
                raise
            except EdgewiseError as error:
                self._fail(line, [slot for slot in group if slot.number not in told], error)
            finally:
                self._terms.started.end(*ids)

    def _detach(self, line: Line[Progress | Numbered], session: DeviceSession) -> None:
        plans = [new_plan(slot.model, slot.options, slot.remarks) for slot in self._slots]
        started = self._terms.started
        self._tell(line, self._slots[0], "push")
        started.add([self._started(slot, plan, detached=True) for slot, plan in zip(self._slots, plans, strict=True)])
        purpose = "bench " + ", ".join(dict.fromkeys(slot.model.ref.name for slot in self._slots))
        try:
            session.start(plans, Deadline.never(), purpose)
        except EdgewiseError as error:
            if not isinstance(error, LinkLost):  # else the device may have begun
                started.end(*(plan.run_id for plan in plans))
            self._fail(line, self._slots, error)
            return
        except BaseException:
            session.abandon(*(plan.run_id for plan in plans))
            started.end(*(plan.run_id for plan in plans))
            raise
        for index, (slot, plan) in enumerate(zip(self._slots, plans, strict=True)):
            self._tell(line, slot, "left")
            state = "queued" if index else "running"
            line.tell((slot.number, Left(plan.run_id, self._device.name, slot.model.ref.name, state)))

    def _started(self, slot: Slot, plan: Plan, *, detached: bool) -> Started:
        return Started(
            run=plan.run_id,
            created_utc=plan.created_utc,
            device=self._device.name,
            model=slot.model.ref.name,
            request=self._terms.request,
            slot=slot.number,
            detached=detached,
        )

    def _fail(self, line: Line[Progress | Numbered], slots: list[Slot], error: EdgewiseError) -> None:
        for slot in slots:
            name = slot.model.ref.name
            self._tell(line, slot, "failed", {"message": error.message})
            self._terms.store.record_failure(self._device.name, name, error.code, error.message, error.hint)
            line.tell((slot.number, Failure.of(self._device.name, name, error)))

    def _tell(
        self, line: Line[Progress | Numbered], slot: Slot, state: str, detail: Mapping[str, Any] | None = None
    ) -> None:
        line.tell(Progress(self._device.name, slot.model.ref.name, slot.number, self._terms.total, state, detail or {}))
