"""A model onto many devices: sent, checked, in use; each device on its own, and one that fails spoils nothing."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from mobile.deadline import Deadline
from mobile.errors import EdgewiseError, RunFailure, TransportError
from mobile.push.content import Content, contents
from mobile.push.current import switch
from mobile.push.loadcheck import FAILED, NOT_ASKED, LoadCheck, load_check
from mobile.push.store import DeviceStore
from mobile.push.transfer import Pushed

if TYPE_CHECKING:
    from mobile.benchmark.fleet import Line
    from mobile.benchmark.models import Model
    from mobile.inventory import Device


@dataclass
class Deployed:
    """What became of one device. ``current`` is the name under which the model is in use there now."""

    device: str
    pushed: Pushed | None = None
    check: LoadCheck | None = None
    current: str | None = None
    error: EdgewiseError | None = None

    def to_json(self) -> dict[str, Any]:
        """The outcome for --json."""
        error = self.error
        pushed = self.pushed
        return {
            "device": self.device,
            "path": pushed.path if pushed else None,
            "current": self.current,
            "size_bytes": pushed.size_bytes if pushed else None,
            "sent_bytes": pushed.sent_bytes if pushed else None,
            "wire_bytes": pushed.wire_bytes if pushed else None,
            "copied_bytes": pushed.copied_bytes if pushed else None,
            "resumed_bytes": pushed.kept_bytes if pushed else None,
            "duration_s": pushed.duration_s if pushed else None,
            "check": self.check.to_json() if self.check else None,
            "error": {"code": error.code, "message": error.message, "hint": error.hint} if error else None,
        }


@dataclass(frozen=True)
class Step:
    """Where a device is: "connect", "push" (with bytes), "check", "done" or "failed" (with the outcome)."""

    device: str
    state: str
    done_bytes: int = 0
    size_bytes: int = 0
    outcome: Deployed | None = None


def deploy(
    devices: Sequence[Device], model: Model, *, check: bool = True, use: bool = True, limit_s: float = 3600.0
) -> Iterator[Step]:
    """Every step of every device as it comes; each device ends with "done" or "failed".

    With ``check`` the model is loaded and run once where there is a runtime; with ``use`` it comes into use after that.
    """
    from mobile.benchmark.fleet import side_by_side

    files = _Files(model.files)
    work = {device.name: _Work(device, model, files, check, use, limit_s) for device in devices}
    return side_by_side({name: one.run for name, one in work.items()})


class _Files:
    """The model's files, hashed once for all devices, while the first of them is being connected to."""

    def __init__(self, paths: Sequence[Path]) -> None:
        self._paths = paths
        self._found: list[Content] = []
        self._error: EdgewiseError | None = None
        self._thread = threading.Thread(target=self._find, name="hash", daemon=True)
        self._thread.start()

    def _find(self) -> None:
        try:
            self._found = contents(self._paths)
        except EdgewiseError as error:
            self._error = error

    def get(self) -> Sequence[Content]:
        """The files. UsageError when one cannot be read."""
        self._thread.join()
        if self._error is not None:
            raise self._error
        return self._found


@dataclass
class _Work:
    """What is to be done on one device."""

    device: Device
    model: Model
    files: _Files
    check: bool
    use: bool
    limit_s: float

    def run(self, line: Line[Step]) -> None:
        """Nothing; tells the steps. Interrupted when everything is to stop."""
        outcome = Deployed(self.device.name)
        line.tell(Step(self.device.name, "connect"))
        try:
            self._do(line, outcome)
        except EdgewiseError as error:
            line.check()
            outcome.error = error
        state = "failed" if outcome.error else "done"
        line.tell(Step(self.device.name, state, outcome=outcome))

    def _do(self, line: Line[Step], outcome: Deployed) -> None:
        from mobile.benchmark.session import DeviceSession
        from mobile.transports import open_transport

        deadline = Deadline(self.limit_s)
        transport = open_transport(self.device)
        store = DeviceStore(transport, self.device.workdir, stop=line.stopping)
        with DeviceSession(self.device, transport, store, stopping=line.stopping) as session:
            store.reach(deadline)
            outcome.pushed = store.push(self.files.get(), deadline=deadline, progress=self._progress(line))
            outcome.check = NOT_ASKED
            if self.check:
                line.tell(Step(self.device.name, "check"))
                outcome.check = load_check(session, self.model, deadline)
            if outcome.check.state == FAILED:
                outcome.error = _refused(self.device.name, self.model, outcome.check)
            elif self.use:
                outcome.current = switch(store, outcome.pushed.path, deadline=deadline)

    def _progress(self, line: Line[Step]) -> Callable[[int, int], None]:
        def progress(done_bytes: int, size_bytes: int) -> None:
            if line.stopping.is_set():
                raise TransportError(f"{self.device.name}: stopped")
            line.tell(Step(self.device.name, "push", done_bytes, size_bytes))

        return progress


def _refused(device: str, model: Model, check: LoadCheck) -> RunFailure:
    return RunFailure(
        check.code or "internal",
        f"{device}: {model.ref.name} is stored, but does not run there and is not in use: {check.reason}",
        check.hint,
    )
