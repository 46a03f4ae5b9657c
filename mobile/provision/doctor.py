"""`edgewise doctor`: everything that could go wrong on a device, checked in order, before a run meets it."""

from __future__ import annotations

import json
import time
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from mobile.deadline import Deadline
from mobile.errors import EdgewiseError, SetupError
from mobile.provision import scripts
from mobile.provision.findings import Examination, Finding
from mobile.provision.plan import explain, megabytes
from mobile.provision.probe import DeviceProbe, probe
from mobile.provision.reach import check_way
from mobile.provision.runtime import DEFAULT_PYTHON, DeviceRuntime, read, runtime_for
from mobile.provision.senses import check_energy, check_journal, check_meter, check_power, check_sensors

if TYPE_CHECKING:
    from mobile.inventory import Device
    from mobile.push import DeviceStore
    from mobile.transports.base import Transport

DOCTOR_LIMIT_S = 300.0
_NO_CLOCK_S = 1_600_000_000  # September 2020: a clock before it was never set
_CLOCK_WARNING_S = 120.0
_LITTLE_DISK_BYTES = 100_000_000
_NO_DISK_BYTES = 2_000_000  # the agent takes less than one
_LITTLE_MEMORY_BYTES = 150_000_000
_NO_MEMORY_BYTES = 64_000_000  # agent, interpreter and a runtime need more than this in any case
_SETUP = "edgewise setup {}"


def examine(
    device: Device, deadline: Deadline, on_finding: Callable[[Finding], None] = lambda finding: None
) -> Examination:
    """All findings about the device. Never raises for what is wrong with it: that is a finding."""
    from mobile.push import DeviceStore
    from mobile.transports import open_transport

    seen = Examination(device.name, on_finding=on_finding)
    transport = open_transport(device)
    try:
        if check_way(seen, device, transport):
            _Doctor(device, transport, DeviceStore(transport, device.workdir), seen, deadline).examine()
    except EdgewiseError as error:
        seen.unreachable = error.exit_code == 3
        seen.problem("connection", error.message, error.hint)
    finally:
        transport.close()
    return seen


class _Doctor:
    """The checks on a device that lets us in."""

    def __init__(
        self, device: Device, transport: Transport, store: DeviceStore, seen: Examination, deadline: Deadline
    ) -> None:
        self._device = device
        self._transport = transport
        self._store = store
        self._seen = seen
        self._deadline = deadline

    def examine(self) -> None:
        self._noise()
        try:
            folder = self._store.folder(self._deadline)
            found = probe(self._transport, folder, self._device.python, self._deadline)
        except (SetupError, ValueError) as error:
            self._seen.problem("shell", str(error), getattr(error, "hint", None))
            return
        check_system(self._seen, found, time.time())
        usable = check_place(self._seen, found, folder)
        check_memory(self._seen, found)
        runtime = self._runtime(found)
        if not usable:
            self._seen.skipped("agent", "nothing can be put on the device")
        elif runtime is not None:
            self._agent(runtime)

    def _noise(self) -> None:
        if self._device.transport != "ssh":
            return
        done = self._transport.run(["sh", "-c", scripts.NOISE], deadline=self._deadline.sooner(30))
        if done.stdout:
            first = (done.stdout.decode("utf-8", "replace").strip().splitlines() or [""])[0][:80]
            self._seen.warning(
                "login shell",
                f"prints {first!r} before every command: edgewise passes over it, scp may not",
                "let the shell's start-up file print only where [ -t 1 ]",
            )
        else:
            self._seen.ok("login shell", "prints nothing of its own")

    def _runtime(self, found: DeviceProbe) -> DeviceRuntime | None:
        """What a run would use, None when it could not start."""
        runtime = runtime_for(self._transport, self._store, self._device, self._deadline)
        left = read(self._transport, self._store, self._deadline)
        next_step = _SETUP.format(self._device.name)
        if left.problem is not None:
            self._seen.warning("set-up", f"runtime.json cannot be read ({left.problem}): it is passed over", next_step)
        elif left.missing:
            self._seen.warning("set-up", f"{len(left.missing)} of its folders are gone: it is passed over", next_step)
        elif left.record is not None and left.record.asked_python != self._device.python:
            asked = left.record.asked_python
            self._seen.warning("set-up", f"was made for python: {asked}, devices.yaml has another now", next_step)
        elif left.record is not None:
            self._seen.ok("set-up", f"{left.record.kind}, {', '.join(sorted(left.record.runtimes))}")
        else:
            self._seen.ok("set-up", "none: the device's own Python is used")
        if left.record is not None and runtime == left.record.runtime:
            return runtime
        return runtime if check_python(self._seen, found, self._device) else None

    def _agent(self, runtime: DeviceRuntime) -> None:
        try:
            agent = self._store.ensure_agent(deadline=self._deadline)
            hello = self._hello(runtime, agent)
        except EdgewiseError as error:
            self._seen.problem("agent", error.message, error.hint)
            return
        if hello is None:
            return
        self._seen.ok("agent", f"starts, Python {hello['device'].get('python', {}).get('version', 'unknown')}")
        check_runtimes(self._seen, hello["device"].get("runtimes") or [], self._device.name)
        self._senses(hello)
        self._runs(runtime, agent)

    def _senses(self, hello: dict[str, Any]) -> None:
        sensors = hello.get("sensors") or []
        check_sensors(self._seen, sensors)
        check_meter(self._seen, self._device)
        check_energy(self._seen, sensors, self._device.meter is not None)
        check_power(self._seen, hello["device"])

    def _hello(self, runtime: DeviceRuntime, agent: str) -> dict[str, Any] | None:
        done = self._call(runtime, agent, "facts", "--root", self._device.replay or "/")
        for line in done.stdout.splitlines():
            record = _json_object(line)
            if record is not None and record.get("type") == "hello":
                return record
        gone = done.exit_code in (126, 127)  # the shell's words for a program that is not there, or may not start
        look = f"look at it on the device: {runtime.python[0]} --version"
        hint = _SETUP.format(self._device.name) if gone else look
        self._seen.problem("agent", f"does not start: {explain(done.why())}", hint)
        return None

    def _runs(self, runtime: DeviceRuntime, agent: str) -> None:
        """Runs that were left on the device, and who holds its lock."""
        folder = f"{self._store.folder(self._deadline)}/runs"
        answer = _json_object(self._call(runtime, agent, "runs", "--runs", folder).stdout.strip())
        if answer is None:
            self._seen.skipped("runs", "the agent there does not list them")
            return
        check_runs(self._seen, answer)
        check_journal(self._seen, answer)

    def _call(self, runtime: DeviceRuntime, agent: str, *verb: str) -> Any:
        env = {"ORT_DISABLE_TELEMETRY": "1", **runtime.environment(), **dict(self._device.env)}
        return self._transport.run(
            [*runtime.python, "-u", agent, *verb], env=env, deadline=self._deadline, output_limit_bytes=8 * 1024 * 1024
        )


def check_system(seen: Examination, found: DeviceProbe, now_s: float) -> None:
    """Notes what the system, its locale and its clock are; ``now_s`` is the host's clock."""
    libc = "glibc {}.{}".format(*found.glibc) if found.glibc else "musl" if found.musl else "no glibc"
    what = found.model or f"{found.system} {found.kernel}"
    android = f", Android {found.android}" if found.android else ""
    seen.ok("system", f"{what}{android}, {found.machine}, {libc}")
    if found.charmap is not None and found.charmap.upper().replace("-", "") != "UTF8":
        seen.warning(
            "locale", f"its character set is {found.charmap}, not UTF-8: names of files may be shown wrongly",
            "on the device: export LANG=C.UTF-8",
        )  # fmt: skip
    else:
        seen.ok("locale", found.charmap or "it names no character set; bytes pass unchanged")
    if found.clock_s is None:
        seen.warning("clock", "the device does not tell its time")
    elif found.clock_s < _NO_CLOCK_S:
        year = time.gmtime(found.clock_s).tm_year
        seen.warning("clock", f"says {year}: it was never set; durations are right, dates are not", "set it: date -s")
    elif abs(found.clock_s - now_s) > _CLOCK_WARNING_S:
        seen.warning(
            "clock", f"is {abs(found.clock_s - now_s):.0f} s off this machine's; durations are right, dates are not",
            "switch on time synchronisation there",
        )  # fmt: skip
    else:
        seen.ok("clock", "agrees with this machine's")


def check_place(seen: Examination, found: DeviceProbe, folder: str) -> bool:
    """Whether the working folder can be used; notes what is wrong with it and its disk."""
    if found.write_error is not None:
        full = "no space" in found.write_error.lower() or (found.free_bytes or 1) <= 0
        hint = "set `workdir` in devices.yaml to a folder that the user there may write to"
        seen.problem(
            "working folder", f"{folder} cannot be written to: {found.write_error}",
            f"free some space, or `edgewise store {seen.device} prune`" if full else hint,
        )  # fmt: skip
        return False
    if found.exec_error is not None:
        seen.warning(
            "working folder", f"{folder} is on a file system mounted noexec ({found.exec_error}):"
            " neither programs nor runtimes that edgewise brings load from there",
            "set `workdir` to a folder on another one, unless the device has its own runtime",
        )  # fmt: skip
    else:
        seen.ok("working folder", f"{folder} can be written to and executed from")
    if found.free_bytes is None:
        seen.warning("disk", "the device does not tell its free space")
    elif found.free_bytes < _NO_DISK_BYTES:
        seen.problem("disk", f"{megabytes(found.free_bytes)} free", f"`edgewise store {seen.device} prune`")
        return False
    elif found.free_bytes < _LITTLE_DISK_BYTES:
        seen.warning("disk", f"only {megabytes(found.free_bytes)} free", f"`edgewise store {seen.device} prune`")
    else:
        seen.ok("disk", f"{megabytes(found.free_bytes)} free")
    return True


def check_memory(seen: Examination, found: DeviceProbe) -> None:
    """Notes how much memory there is."""
    if found.memory_bytes is None:
        seen.warning("memory", "the device does not tell its memory")
        return
    have = found.memory_available_bytes if found.memory_available_bytes is not None else found.memory_bytes
    words = f"{megabytes(have)} free of {megabytes(found.memory_bytes)}"
    if found.memory_bytes < _NO_MEMORY_BYTES:
        seen.problem("memory", f"{words}: the agent and a runtime need more", "edgewise needs a larger board")
    elif have < _LITTLE_MEMORY_BYTES:
        seen.warning("memory", f"{words}: a runtime needs some 70 MB before a model is loaded", "end other programs")
    else:
        seen.ok("memory", words)


def check_python(seen: Examination, found: DeviceProbe, device: Device) -> bool:
    """Whether the inventory's Python can start the agent; for devices that were not set up."""
    next_step = _SETUP.format(device.name)
    if device.transport == "local" and device.python == DEFAULT_PYTHON:
        seen.ok("python", "the one that runs edgewise")
        return True
    asked = next((python for python in found.pythons if _is(python.path, device.python)), None)
    if asked is None:
        seen.problem("python", f"there is no {device.python} on the device", next_step)
        return False
    if not asked.usable:
        others = [python.path for python in found.pythons if python.usable]
        hint = f"`python: {others[0]}` in devices.yaml, or `{next_step}`" if others else next_step
        seen.problem("python", f"{asked.path} {asked.text}: the agent needs CPython 3.8 or newer", hint)
        return False
    seen.ok("python", f"{asked.path} {asked.text}")
    return True


def _is(path: str, asked: str) -> bool:
    return path == asked or ("/" not in asked and path.rpartition("/")[2] == asked)


def check_runtimes(seen: Examination, runtimes: list[dict[str, Any]], name: str) -> None:
    """Notes which runtimes load; a problem when none does."""
    engines = [entry for entry in runtimes if entry.get("name") != "numpy"]
    broken_numpy = next((str(e["error"]) for e in runtimes if e.get("name") == "numpy" and e.get("error")), None)
    loaded = [entry for entry in engines if not entry.get("error")]
    for entry in loaded:
        offers = f", offers {', '.join(map(str, entry['providers']))}" if entry.get("providers") else ""
        seen.ok("runtime", f"{entry['name']} {entry.get('version')} loads{offers}")
    for entry in engines:
        if entry.get("error"):
            note = seen.warning if loaded else seen.problem
            note("runtime", f"{entry['name']} does not load: {explain(str(entry['error']))}", _SETUP.format(name))
    if not engines:
        seen.problem("runtime", "there is none for this Python", _SETUP.format(name))
    if broken_numpy is not None or not any(entry.get("name") == "numpy" for entry in runtimes):
        why = explain(broken_numpy) if broken_numpy is not None else "is not installed"
        seen.problem("numpy", f"does not load: {why}" if broken_numpy is not None else why, _SETUP.format(name))


def check_runs(seen: Examination, answer: dict[str, Any]) -> None:
    """Notes runs left on the device, and the holder of its lock."""
    lock = answer.get("lock")
    if isinstance(lock, dict):
        owner = lock.get("owner")
        words = ", ".join(f"{key} {value}" for key, value in (owner if isinstance(owner, dict) else lock).items())
        seen.warning("lock", f"somebody measures there now: {words}", "wait, or break it when it is stale")
    else:
        seen.ok("lock", "nobody measures there")
    runs = answer.get("runs") or []
    ids = [str(run.get("id")) for run in runs if isinstance(run, dict)]
    if ids:
        more = f" and {len(ids) - 3} more" if len(ids) > 3 else ""
        seen.warning("runs", f"{len(ids)} left there: {', '.join(ids[:3])}{more}", f"edgewise attach {ids[0]}")
    else:
        seen.ok("runs", "none left there")


def _json_object(line: bytes) -> dict[str, Any] | None:
    try:
        document = json.loads(line)
    except ValueError:
        return None
    return document if isinstance(document, dict) else None
