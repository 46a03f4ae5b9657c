"""`edgewise setup`: looks at a device, decides, builds on the host, sends, checks there, and only then switches."""

from __future__ import annotations

import sys
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from mobile.deadline import Deadline
from mobile.errors import SetupError
from mobile.provision import bundle, debian, wheels
from mobile.provision.install import (
    check_loaded,
    needed_bytes,
    place,
    put_layer,
    put_record,
    put_where_it_differs,
)
from mobile.provision.layers import Layer, layer
from mobile.provision.plan import RUNTIMES, Installed, Plan, check_fit, decide, megabytes
from mobile.provision.probe import DeviceProbe, probe
from mobile.provision.runtime import DEFAULT_PYTHON, DeviceRuntime, Record, read
from mobile.provision.tags import Target, platform_tags, target_of
from mobile.provision.verify import installed

if TYPE_CHECKING:
    from mobile.inventory import Device
    from mobile.push import DeviceStore
    from mobile.transports.base import Transport

CERTIFICATES = "certificates"  # a folder beside the runtime
SETUP_LIMIT_S = 3600.0  # a bundle of 40 MB over 115 kbit/s
Say = Callable[[str], None]


@dataclass(frozen=True)
class SetupOptions:
    """What is asked for. ``runtimes``: all are wanted; with ``any_will_do`` one that exists nowhere is passed over.

    ``certificates``: what to trust, as PEM, by the names of servers; a device of a bundle has no such list of its own.
    """

    runtimes: tuple[str, ...] = RUNTIMES
    any_will_do: bool = True
    wheels: Path | None = None
    dry_run: bool = False
    renew: bool = False
    certificates: Mapping[str, bytes] = field(default_factory=dict)


@dataclass
class SetupResult:
    """What was done on one device, or, of a dry run, what would be. ``state``: "done", "nothing-to-do", "planned"."""

    device: str
    state: str
    kind: str
    reason: str
    python: list[str]
    runtimes: dict[str, str]
    layers: list[Layer] = field(default_factory=list)
    sent_bytes: int = 0
    duration_s: float = 0.0
    notes: list[str] = field(default_factory=list)

    def to_json(self) -> dict[str, Any]:
        """One entry of `edgewise setup --json`."""
        return {
            "device": self.device,
            "state": self.state,
            "kind": self.kind,
            "reason": self.reason,
            "python": self.python,
            "runtimes": self.runtimes,
            "layers": [layer.to_json() for layer in self.layers],
            "sent_bytes": self.sent_bytes,
            "duration_s": round(self.duration_s, 3),
            "notes": self.notes,
            "error": None,
        }


def setup_device(device: Device, options: SetupOptions, say: Say, deadline: Deadline) -> SetupResult:
    """What was done. SetupError, TransportError; on any of them the device uses what it used before."""
    from mobile.push import DeviceStore
    from mobile.transports import open_transport

    transport = open_transport(device)
    try:
        return _Setup(device, transport, DeviceStore(transport, device.workdir), options, say, deadline).run()
    finally:
        transport.close()


class _Setup:
    """One device's set-up."""

    def __init__(
        self,
        device: Device,
        transport: Transport,
        store: DeviceStore,
        options: SetupOptions,
        say: Say,
        deadline: Deadline,
    ) -> None:
        self._device = device
        self._transport = transport
        self._store = store
        self._options = options
        self._say = say
        self._deadline = deadline
        self._began = time.monotonic()

    def run(self) -> SetupResult:
        self._say("looking at the device")
        if self._device.transport == "local" and self._device.python == DEFAULT_PYTHON:
            return self._own_machine()
        folder = self._store.folder(self._deadline)
        seen = probe(self._transport, folder, self._device.python, self._deadline)
        have = self._installed(seen)
        plan = decide(seen, have, self._options.runtimes, vendor_wheels=self._options.wheels is not None)
        plan, layers = self._prepare(seen, plan, have)
        before = read(self._transport, self._store, self._deadline)
        missing = [layer for layer in layers if layer.address not in before.layers]
        runtimes = plan.runtimes if plan.kind != "installed" else self._options.runtimes
        limits = self._device.limits
        warnings = check_fit(
            self._device.name, seen, runtimes, needed_bytes(missing),
            disk_limit_bytes=limits.disk_bytes, memory_limit_bytes=limits.memory_bytes,
        )  # fmt: skip
        record = self._record(seen, plan, layers, have)
        result = SetupResult(
            self._device.name, "planned", plan.kind, plan.reason, record.runtime.python, dict(record.runtimes), layers,
            notes=[*plan.notes, *warnings],
        )  # fmt: skip
        unchanged = not missing and before.record == record
        if not self._options.dry_run:
            self._apply(result, plan, record, missing, unchanged)
        elif unchanged:
            result.state = "nothing-to-do"
        result.duration_s = time.monotonic() - self._began
        return result

    def _own_machine(self) -> SetupResult:
        """This machine runs models with the Python that runs edgewise, which has the runtimes."""
        have = installed(self._transport, [sys.executable], self._deadline)
        return SetupResult(
            self._device.name, "nothing-to-do", "installed", "the Python that runs edgewise has them",
            [sys.executable], dict(have.versions), duration_s=time.monotonic() - self._began,
        )  # fmt: skip

    def _installed(self, seen: DeviceProbe) -> Installed:
        if seen.python is None:
            return Installed()
        return installed(self._transport, [seen.python.path], self._deadline, env=dict(self._device.env))

    def _prepare(self, seen: DeviceProbe, plan: Plan, have: Installed) -> tuple[Plan, list[Layer]]:
        """The plan and its layers; where "all" was asked and the device has one runtime of its own, that is enough."""
        try:
            return plan, self._build(seen, plan)
        except SetupError as error:
            own = [runtime for runtime in self._options.runtimes if have.has(runtime)]
            if plan.kind != "wheels" or not own or not self._options.any_will_do:
                raise
            note = f"{' and '.join(plan.runtimes)} cannot be brought: {error.message}"
            return Plan("installed", f"it has {' and '.join(own)}", plan.python, notes=(note,)), []

    def _build(self, seen: DeviceProbe, plan: Plan) -> list[Layer]:
        """The layers of the plan, from the host's cache or built into it; an interpreter first."""
        if plan.kind == "installed":
            return []
        options, deadline = self._options, self._deadline
        if plan.kind == "bundle" or plan.python is None:
            system = "android" if seen.android is not None else "linux"
            self._say("building a self-contained Python on this host")
            layers = [bundle.python_layer(seen.machine, system, deadline, renew=options.renew)]
            target = Target(debian.PYTHON, seen.machine, tuple(platform_tags(seen.machine, debian.GLIBC)))
            return [*layers, self._wheels(plan, target)]
        layers = [self._wheels(plan, target_of(seen, plan.python))]
        if plan.libraries:
            layers.append(bundle.libraries_layer(seen.machine, deadline, renew=options.renew))
        return layers

    def _wheels(self, plan: Plan, target: Target) -> Layer:
        self._say(f"choosing wheels for Python {target.python} on {target.machine}")
        try:
            return self._wheels_of(plan.runtimes, plan, target)
        except SetupError as error:
            if not self._options.any_will_do or len(plan.runtimes) == 1:
                raise
            for runtime in plan.runtimes:
                try:
                    found = self._wheels_of((runtime,), plan, target)
                except SetupError:
                    continue
                self._say(f"only {runtime}: {error.message}")
                return found
            raise

    def _wheels_of(self, runtimes: Sequence[str], plan: Plan, target: Target) -> Layer:
        request = wheels.Request(tuple(runtimes), target, plan.present, self._options.wheels)
        return layer(
            f"wheels-{target.label}",
            request.key(),
            lambda tree: wheels.build(request, tree, self._deadline),
            self._deadline,
            renew=self._options.renew,
        )

    def _record(self, seen: DeviceProbe, plan: Plan, layers: list[Layer], have: Installed) -> Record:
        """What runtime.json will say."""
        places = [place(self._store, layer, self._deadline) for layer in layers]
        env: dict[str, str] = {}
        if plan.kind == "bundle":
            python, path = [f"{places[0]}/bin/python3"], places[1:2]
        else:
            python, path = [plan.python.path if plan.python is not None else self._device.python], places[:1]
        if plan.libraries:
            env["LD_LIBRARY_PATH"] = ":".join(filter(None, [f"{places[1]}/lib", seen.ld_library_path]))
        if seen.tmp_error is not None:  # Android has no /tmp
            env["TMPDIR"] = self._store.folder(self._deadline)
        versions = dict(have.versions) if plan.kind == "installed" else {}
        for one in layers:
            versions.update(one.contents)
        runtime = DeviceRuntime(python, path, env)
        return Record(plan.kind, self._device.python, runtime, tuple(layer.address for layer in layers), versions)

    def _apply(self, result: SetupResult, plan: Plan, record: Record, missing: list[Layer], unchanged: bool) -> None:
        self._send(result, plan, missing)
        lost, errors = self._lost(record)
        kept = [layer for layer in result.layers if layer not in missing]
        if lost and kept:  # what lies there was damaged since: put it anew, once
            self._send(result, plan, kept, replace=True)
            lost, errors = self._lost(record)
        check_loaded(self._device.name, lost, errors)
        if not unchanged:
            put_record(self._transport, self._store, record, self._deadline)
        result.state = "done" if result.sent_bytes or not unchanged else "nothing-to-do"
        for name, content in sorted(self._options.certificates.items()):
            target = f"{self._store.folder(self._deadline)}/{CERTIFICATES}/{name}.pem"
            if put_where_it_differs(self._transport, content, target, self._deadline):
                result.notes.append(f"certificates to trust of server {name}: {target}")
                result.state, result.sent_bytes = "done", result.sent_bytes + len(content)

    def _send(self, result: SetupResult, plan: Plan, layers: list[Layer], *, replace: bool = False) -> None:
        interpreter = plan.python.path if plan.python is not None else None
        for one in layers:
            again = " again" if replace else ""
            self._say(f"sending {one.name}{again}, {megabytes(one.archive_bytes)}")
            put_layer(self._transport, self._store, one, interpreter, self._deadline, replace=replace)
            result.sent_bytes += one.archive_bytes

    def _lost(self, record: Record) -> tuple[list[str], dict[str, str]]:
        """The runtimes of the record that do not load there, and why."""
        self._say("checking that the runtimes load there")
        environment = {**record.runtime.environment(), **dict(self._device.env)}
        found = installed(self._transport, record.runtime.python, self._deadline, env=environment)
        lost = [name for name in self._options.runtimes if _carried(name, record) and not found.has(name)]
        return lost, dict(found.errors) if lost else {}


def _carried(runtime: str, record: Record) -> bool:
    """Whether what was set up has this runtime, by the names of its packages and modules."""
    names = {name.split(".")[0].replace("-", "_") for name in record.runtimes}
    return any(name.replace("-", "_") in names for name in wheels.PROVIDES[runtime])
