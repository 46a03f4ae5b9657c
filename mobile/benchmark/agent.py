"""The agent on one device, as the host calls it: a verb and its arguments in, records or a document out."""

from __future__ import annotations

import contextlib
import getpass
import importlib
import json
import os
import socket
import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from device_agents import records
from mobile.deadline import Deadline
from mobile.errors import AgentError

if TYPE_CHECKING:
    from mobile.inventory import Device
    from mobile.push import DeviceStore
    from mobile.transports.base import BytesSink, Completed, Transport

ANSWER_LIMIT_S = 60.0
NOT_FOUND = 127
# What the verbs about runs exit with; anything else is an agent that did not start, or was ended.
KNOWN_EXIT_CODES = (
    0,
    1,
    records.STREAM_GOES_ON,
    records.STREAM_CRASHED,
    records.NO_SUCH_RUN,
    records.NOT_STARTED,
)


@dataclass(frozen=True)
class Runtime:
    """What starts the agent on a device: the command of its Python, folders for its import path, variables."""

    python: list[str]
    python_path: list[str] = field(default_factory=list)
    env: dict[str, str] = field(default_factory=dict)


class DeviceAgent:
    """The agent of one device. Thread-safe once it is ready."""

    def __init__(self, device: Device, transport: Transport, store: DeviceStore) -> None:
        self.device = device
        self._transport = transport
        self._store = store
        self._runtime: Runtime | None = None
        self._zip: str | None = None
        self._runs: str | None = None

    def make_ready(self, deadline: Deadline) -> None:
        """Nothing, once the device answers and has the agent. TransportError when it does not."""
        if self._zip is None:
            self._runs = f"{self._store.folder(deadline)}/runs"
            self._runtime = runtime_of(self.device, self._transport, self._store, deadline)
            self._zip = self._store.ensure_agent(deadline=deadline)

    def runtime(self, deadline: Deadline) -> Runtime:
        """What the agent is started with there."""
        self.make_ready(deadline)
        assert self._runtime is not None  # make_ready() found it
        return self._runtime

    def call(
        self,
        verb: str,
        *arguments: str,
        deadline: Deadline,
        stdin: bytes = b"",
        on_stdout: BytesSink | None = None,
    ) -> Completed:
        """How the agent ended. Its verbs about runs are told where runs are kept."""
        runtime = self.runtime(deadline)
        assert self._zip is not None
        about_runs = [] if verb in ("run", "facts", "record") else ["--runs", self._runs or ""]
        return self._transport.run(
            [*runtime.python, "-u", self._zip, verb, *arguments, *about_runs],
            deadline=deadline,
            stdin=stdin,
            on_stdout=on_stdout,
            env=self._environment(runtime),
        )

    def ask(self, verb: str, *arguments: str, deadline: Deadline | None = None, stdin: bytes = b"") -> dict[str, Any]:
        """The one JSON object that the verb answers. AgentError when it is something else."""
        limit = deadline or Deadline(ANSWER_LIMIT_S)
        completed = self.call(verb, *arguments, deadline=limit, stdin=stdin)
        lines = [line for line in completed.stdout.splitlines() if line.strip()]
        if completed.exit_code not in (0, 1) or len(lines) != 1:
            raise self.not_started(completed)
        try:
            document = json.loads(lines[0])
        except ValueError as error:
            raise AgentError(f"{self.device.name}: the agent answered {lines[0][:80]!r}") from error
        if not isinstance(document, dict):
            raise AgentError(f"{self.device.name}: the agent answered {lines[0][:80]!r}")
        return document

    def not_started(self, completed: Completed) -> AgentError:
        """The error of an agent that did not start, or was ended from outside."""
        hint = "try `edgewise devices NAME`"
        if completed.exit_code == NOT_FOUND and self._runtime is not None:
            hint = f"there is no {self._runtime.python[0]!r} on the device: set `python:` in devices.yaml"
        return AgentError(f"{self.device.name}: the agent ended with {completed.why()}", hint=hint)

    def _environment(self, runtime: Runtime) -> dict[str, str]:
        # ONNX Runtime 1.32 writes a device id and a database to the home folder when it is imported; this stops it.
        fixed = {"ORT_DISABLE_TELEMETRY": "1"}
        path = {"PYTHONPATH": os.pathsep.join(runtime.python_path)} if runtime.python_path else {}
        return {**fixed, **path, **runtime.env, **dict(self.device.env)}


def runtime_of(device: Device, transport: Transport, store: DeviceStore, deadline: Deadline) -> Runtime:
    """What `edgewise setup` left on the device, else the plain Python that the inventory names."""
    find = _provisioned()
    if find is not None:
        found = find(transport, store, device, deadline)
        return Runtime(list(found.python), list(found.python_path), dict(found.env))
    return Runtime(plain_python(device))


def plain_python(device: Device) -> list[str]:
    """The command that starts Python there; on this machine the one that runs edgewise, which has the runtimes."""
    if device.transport == "local" and device.python in (None, "python3"):
        return [sys.executable]
    return [device.python or "python3"]


def _provisioned() -> Callable[..., Any] | None:
    try:
        found: Callable[..., Any] = importlib.import_module("mobile.provision").runtime_for
    except ModuleNotFoundError as error:
        if error.name != "mobile.provision":
            raise
        return None
    return found


def owner(purpose: str) -> dict[str, Any]:
    """Who we are, for the lock on a device and for those who find our runs there: host, user, pid, purpose."""
    user = None
    with contextlib.suppress(OSError, KeyError, ImportError):
        user = getpass.getuser()
    return {"host": socket.gethostname(), "user": user, "pid": os.getpid(), "purpose": purpose}


def names(items: Sequence[str]) -> str:
    """The names as words, the first few of many."""
    return ", ".join(items[:3]) + (f" and {len(items) - 3} more" if len(items) > 3 else "")
