"""Coming back to runs that devices measure, or have measured, on their own: found, waited for, stored, removed there.

A run is stored before its device forgets it, so a collection that is cut anywhere is simply repeated.
"""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Generator, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from mobile.benchmark.fleet import Line, side_by_side
from mobile.benchmark.follow import RECONNECT_S
from mobile.benchmark.outcomes import BenchResult, Failure, Left, Progress, state_of
from mobile.benchmark.remote_run import RemoteRun
from mobile.benchmark.session import DeviceSession
from mobile.deadline import Deadline
from mobile.errors import EdgewiseError, RunFailure, StoreError, UsageError
from mobile.results.run import Run
from mobile.results.started import Started, StartedRuns

if TYPE_CHECKING:
    from mobile.inventory import Device, Inventory
    from mobile.results.store import RunStore

CONNECT_S = 120.0
Outcome = Run | Failure | Left
OnProgress = Callable[[Progress], None]


@dataclass(frozen=True)
class Collecting:
    """How runs are collected.

    ``wait``: until they are over; else those that go on are listed and left. ``stop``: they are ended first, and what
    they have measured is kept.
    """

    wait: bool = True
    stop: bool = False
    reconnect_s: float = RECONNECT_S


def attach(
    runs: Sequence[str] = (),
    on: Sequence[str] = (),
    *,
    inventory: Inventory | None = None,
    store: RunStore | None = None,
    on_progress: OnProgress | None = None,
    manner: Collecting | None = None,
) -> BenchResult:
    """The result of ``iter_attach``, in the order of the run ids."""
    told = iter_attach(runs, on, inventory=inventory, store=store, on_progress=on_progress, manner=manner)
    with contextlib.closing(told) as outcomes:
        return BenchResult.of(outcomes)


def iter_attach(
    runs: Sequence[str] = (),
    on: Sequence[str] = (),
    *,
    inventory: Inventory | None = None,
    store: RunStore | None = None,
    on_progress: OnProgress | None = None,
    manner: Collecting | None = None,
) -> Generator[Outcome, None, None]:
    """The outcome of each run that was found, as it comes; what is yielded as a Run is stored.

    ``runs`` are ids or beginnings of them; without any, all that this host has started and not collected, or, on the
    devices named with ``on`` (names, groups, tags), all that nobody reads. A run that this host did not start is looked
    for on all devices of the inventory, or on those of ``on``. UsageError when nothing fits.
    """
    if store is None:
        from mobile.results.store import RunStore as Store

        store = Store()
    if inventory is None:
        from mobile.inventory import load_inventory

        inventory = load_inventory(None)
    started = StartedRuns(store)
    search = _Search(tuple(runs), started.pending(), everything=bool(on) and not runs)
    devices = search.devices(inventory, on)
    if not devices:
        return
    works = {
        device.name: _DeviceCollection(device, search, store, started, manner or Collecting()) for device in devices
    }
    with contextlib.closing(side_by_side({name: work.run for name, work in works.items()})) as told:
        for item in told:
            if not isinstance(item, Progress):
                yield item
            elif on_progress is not None:
                on_progress(item)
    missing = search.not_found(works.values())
    if missing:
        raise UsageError(
            f"no device has a run {missing[0]!r}", hint="`edgewise devices` lists the runs that devices keep"
        )


@dataclass(frozen=True)
class _Search:
    """Which runs are wanted: beginnings of ids (none: all of ours), and what this host knows of."""

    wanted: tuple[str, ...]
    pending: list[Started]
    everything: bool

    def devices(self, inventory: Inventory, on: Sequence[str]) -> list[Device]:
        """Where to look."""
        if on:
            return inventory.select(list(on))
        known = [run for run in self.pending if not self.wanted or run.run.startswith(self.wanted)]
        elsewhere = [word for word in self.wanted if not any(run.run.startswith(word) for run in known)]
        if elsewhere:
            return list(inventory.devices.values())
        return inventory.select(list(dict.fromkeys(run.device for run in known))) if known else []

    def fits(self, remote: RemoteRun) -> bool:
        """True when the run is wanted. Without a word, none that somebody reads at this moment, here or elsewhere."""
        if self.wanted:
            return remote.id.startswith(self.wanted)
        if not remote.left_behind():
            return False
        return self.everything or any(run.run == remote.id for run in self.pending)

    def expected(self, device: str) -> list[Started]:
        """What this host has started there and wants now."""
        ours = [run for run in self.pending if run.device == device]
        return [run for run in ours if not self.wanted or run.run.startswith(self.wanted)]

    def not_found(self, works: Any) -> list[str]:
        """The words that no run begins with; [] when a device did not answer, for it may have it."""
        works = list(works)
        if any(work.unreached for work in works):
            return []
        found = [run_id for work in works for run_id in work.found]
        return [word for word in self.wanted if not any(run_id.startswith(word) for run_id in found)]


class _DeviceCollection:
    """What one device has of the runs that are wanted."""

    def __init__(
        self, device: Device, search: _Search, store: RunStore, started: StartedRuns, manner: Collecting
    ) -> None:
        self.found: list[str] = []
        self.unreached = False
        self._device = device
        self._search = search
        self._store = store
        self._started = started
        self._manner = manner
        self._total = 0

    def run(self, line: Line[Progress | Outcome]) -> None:
        """Nothing, once each run that is wanted of this device is told of."""
        expected = self._search.expected(self._device.name)
        try:
            with DeviceSession.open(
                self._device, reconnect_s=self._manner.reconnect_s, stopping=line.stopping
            ) as session:
                session.agent.make_ready(Deadline(CONNECT_S))
                remotes = [remote for remote in session.runs() if self._search.fits(remote)]
                self.found = [remote.id for remote in remotes] + [run.run for run in expected]
                self._tell_gone(line, [run for run in expected if run.run not in {remote.id for remote in remotes}])
                self._collect_all(line, session, remotes)
        except StoreError:
            raise
        except EdgewiseError as error:
            self.unreached = True
            for run in expected:
                line.tell(Failure.of(self._device.name, run.model, error))
            if not expected and self._search.everything:
                line.tell(Failure.of(self._device.name, "", error))

    def _tell_gone(self, line: Line[Progress | Outcome], gone: list[Started]) -> None:
        for run in gone:
            stored = self._store.has(run.run)
            if not stored and not self._search.wanted and not run.detached:
                self._started.end(run.run)  # an attached run whose host was killed before it had begun
                continue
            self._started.end(run.run)
            if stored:
                line.tell(self._store.get(run.run))
                continue
            line.tell(
                Failure(
                    self._device.name,
                    run.model,
                    "gone",
                    f"{self._device.name} has no run {run.run} any more",
                    "It was removed there, or collected by another host; measure it again.",
                )
            )

    def _collect_all(self, line: Line[Progress | Outcome], session: DeviceSession, remotes: list[RemoteRun]) -> None:
        self._total = len(remotes)
        going_on = [remote.id for remote in remotes if not remote.over]
        if self._manner.stop and going_on:
            session.stop(*going_on)
        for index, remote in enumerate(remotes):
            line.check()
            if not remote.over and not self._manner.wait and not self._manner.stop:
                line.tell(Left(remote.id, self._device.name, remote.model.name, remote.state, remote.age_s))
                continue
            try:
                line.tell(self._collect(line, session, remote, index))
            except RunFailure as error:
                self._keep_failure(remote, error)
                self._tell(line, remote, index, "failed", {"message": error.message})
                line.tell(Failure.of(self._device.name, remote.model.name, error))

    def _collect(self, line: Line[Progress | Outcome], session: DeviceSession, remote: RemoteRun, index: int) -> Run:
        if self._store.has(remote.id):  # stored before, and cut before the device could forget it
            session.forget(remote.id)
            self._started.end(remote.id)
            return self._store.get(remote.id)

        def on_record(record: dict[str, Any]) -> None:
            state = state_of(record)
            if state is not None:
                self._tell(line, remote, index, state, record)

        run = session.collect(remote, on_record, self._store.add)
        self._started.end(remote.id)
        self._tell(line, remote, index, "done", {})
        return run

    def _keep_failure(self, remote: RemoteRun, error: RunFailure) -> None:
        self._store.record_failure(self._device.name, remote.model.name, error.code, error.message, error.hint)
        self._started.end(remote.id)

    def _tell(
        self, line: Line[Progress | Outcome], remote: RemoteRun, index: int, state: str, detail: dict[str, Any]
    ) -> None:
        line.tell(Progress(self._device.name, remote.model.name, index, self._total, state, detail))
