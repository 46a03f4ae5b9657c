"""One device during a benchmark: connection, agent, models, and the stream of each run."""

from __future__ import annotations

import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

from device_agents.records import MAX_LINE_BYTES, SchemaError, decode
from mobile.benchmark.models import Model
from mobile.benchmark.options import BenchOptions
from mobile.deadline import Deadline
from mobile.errors import AgentError, RunFailure
from mobile.results import new_run_id
from mobile.results.collect import Collector
from mobile.results.run import Run, RunSpec

if TYPE_CHECKING:
    from mobile.inventory import Device
    from mobile.push import DeviceStore
    from mobile.transports.base import Transport

OnRecord = Callable[[dict[str, Any]], None]
# What a run may take beyond its own limits: starting two interpreters and importing a runtime on a slow board.
START_ALLOWANCE_S = 120.0


class LineReader:
    """Cuts a byte stream into lines, bounded: a line without end must not fill the memory."""

    def __init__(self, on_line: Callable[[bytes], None]) -> None:
        self._on_line = on_line
        self._rest = bytearray()

    def feed(self, data: bytes) -> None:
        """Nothing; calls ``on_line`` for each whole line. AgentError for a line that is too long."""
        self._rest += data
        if b"\n" not in data:
            self._check_length()
            return
        *lines, rest = self._rest.split(b"\n")
        self._rest = bytearray(rest)
        for line in lines:
            if line.strip():
                self._on_line(bytes(line))
        self._check_length()

    def _check_length(self) -> None:
        if len(self._rest) > MAX_LINE_BYTES:
            raise AgentError(f"the agent sent a line of more than {MAX_LINE_BYTES} bytes")


class DeviceSession:
    """An open device. Use as a context manager; one run at a time."""

    def __init__(self, device: Device, transport: Transport, store: DeviceStore) -> None:
        self.device = device
        self._transport = transport
        self._store = store
        self._agent: str | None = None

    @classmethod
    def open(cls, device: Device) -> DeviceSession:
        """The session of a device that answers. TransportError when it does not."""
        from mobile.push import DeviceStore
        from mobile.transports import open_transport

        transport = open_transport(device)
        return cls(device, transport, DeviceStore(transport, device.workdir))

    def __enter__(self) -> DeviceSession:
        return self

    def __exit__(self, *exception: object) -> None:
        self._transport.close()

    @property
    def python(self) -> list[str]:
        """The command that starts Python there; on this machine the one that runs edgewise, which has the runtimes."""
        if self.device.transport == "local" and self.device.python in (None, "python3"):
            return [sys.executable]
        return [self.device.python or "python3"]

    def push(self, model: Model, deadline: Deadline) -> str | None:
        """The model's path on the device, None for a runner without a model."""
        if model.path is None:
            return None
        return self._store.put_files(model.files, deadline=deadline)

    def push_file(self, path: Path, deadline: Deadline) -> str:
        """The path on the device of any file that a run needs, stored by its content."""
        return self._store.put_file(path, path.name, deadline=deadline)

    def facts(self, deadline: Deadline) -> dict[str, Any]:
        """The agent's hello: device facts and sensors, runtimes with their providers."""
        records: list[dict[str, Any]] = []
        self._stream(["facts"], b"", records.append, deadline)
        hello = next((record for record in records if record["type"] == "hello"), None)
        if hello is None:
            raise AgentError(f"{self.device.name}: the agent sent no hello")
        return hello

    def run(self, model: Model, options: BenchOptions, deadline: Deadline, on_record: OnRecord) -> Run:
        """The finished run. RunFailure when it ended in a failure record, AgentError when its stream broke.

        ``on_record`` sees every record as it arrives, for progress.
        """
        path = self.push(model, deadline)
        inputs = self.push_file(options.inputs, deadline) if options.inputs is not None else None
        spec = options.agent_spec(model.runner(options), path, inputs)
        collector = Collector(
            new_run_id(),
            time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime()),
            self.device.provenance,
            RunSpec(device=self.device.name, model=model.ref, agent_spec=spec),
        )

        def take(record: dict[str, Any]) -> None:
            collector.feed(record)
            on_record(record)

        limit_s = options.load_timeout_s + options.max_duration_s + options.hang_timeout_s + START_ALLOWANCE_S
        self._stream(["run"], _encode(spec), take, deadline.sooner(limit_s))
        return _checked(collector.run, self.device.name)

    def _stream(self, verb: list[str], stdin: bytes, on_record: OnRecord, deadline: Deadline) -> None:
        if self._agent is None:
            self._agent = self._store.ensure_agent(deadline=deadline)
        broken: list[SchemaError] = []

        def on_line(line: bytes) -> None:
            try:
                record = decode(line)
            except SchemaError as error:
                broken.append(error)
                raise AgentError(f"{self.device.name}: {error}") from error
            on_record(record)

        reader = LineReader(on_line)
        completed = self._transport.run(
            [*self.python, "-u", self._agent, *verb],
            deadline=deadline,
            stdin=stdin,
            on_stdout=reader.feed,
            env=self._environment(),
        )
        # A failed run exits with 1 and says why in its records; only an agent that did not start is an error here.
        if completed.exit_code not in (0, 1):
            raise AgentError(
                f"{self.device.name}: the agent ended with {completed.why()}",
                hint=_start_hint(completed.exit_code, self.python[0]),
            )

    def _environment(self) -> dict[str, str]:
        # ONNX Runtime 1.32 writes a device id and a database to the home folder when it is imported; this stops it.
        return {"ORT_DISABLE_TELEMETRY": "1", **dict(self.device.env)}


def _encode(spec: dict[str, Any]) -> bytes:
    import json

    return json.dumps(spec, allow_nan=False).encode("utf-8") + b"\n"


def _checked(run: Run, device: str) -> Run:
    if run.failure is not None:
        raise RunFailure(run.failure["code"], run.failure["message"], run.failure["hint"])
    if run.done is None:
        raise AgentError(
            f"{device}: the agent's stream ended before the run was done", hint="see --debug for its last words"
        )
    return run


def _start_hint(exit_code: int | None, python: str) -> str:
    if exit_code == 127:
        return f"there is no {python!r} on the device: set `python:` in devices.yaml"
    return "try `edgewise devices NAME`"
