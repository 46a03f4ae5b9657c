"""The physics of a device of the lab: a process of this machine beside the device, for as long as it has power."""

from __future__ import annotations

import os
import signal
import subprocess
from contextlib import suppress
from pathlib import Path

from tests.lab import cgroups
from tests.lab.personalities import personality
from tests.lab.physics import Truth
from tests.lab.physics.boards import board
from tests.lab.physics.handle import command, order
from tests.lab.places import REPOSITORY
from tests.lab.process import LabError, is_alive, start_ticks_of, wait_until
from tests.lab.state import Node, State


def folder(state: State, node: Node) -> Path:
    """Where the physics of a device keeps its log and takes its orders."""
    return state.device_folder(node.name) / "physics"


def begin(state: State, node: Node) -> None:
    """Nothing, once the physics of a device that has any are running; its load is the device's CPU time."""
    name = _name(node)
    if name is None:
        return
    own = folder(state, node)
    groups = cgroups.accounts(state.namespace(node.name))
    argv = command(state.device_folder(node.name), name, own, seed=_seed(node), groups=groups)
    with (own / "log").open("wb") as log:
        process = subprocess.Popen(
            argv, cwd=REPOSITORY, stdin=subprocess.DEVNULL, stdout=log, stderr=log, start_new_session=True
        )
    (own / "pid").write_text(f"{process.pid} {start_ticks_of(process.pid) or 0}")
    process.returncode = 0  # it outlives this process; whoever ends it goes by its pid

    def begun() -> bool:
        return (own / "truth").exists() and (own / "truth").stat().st_size > 0

    wait_until(begun, 20, lambda: f"{node.name}: no physics: {(own / 'log').read_text(errors='replace')[-500:]}")


def end(state: State, node: Node) -> None:
    """Nothing; the process is gone, and its log whole."""
    own = folder(state, node)
    try:
        pid, ticks = (int(word) for word in (own / "pid").read_text().split())
    except (OSError, ValueError):
        return
    if is_alive(pid, ticks):
        order(own, stop=True)
        try:
            wait_until(lambda: not is_alive(pid, ticks), 5, "")
        except LabError:
            with suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)
    with suppress(ChildProcessError):
        os.waitpid(pid, os.WNOHANG)
    (own / "pid").unlink(missing_ok=True)


def inject(state: State, node: Node, fault: str, for_s: float | None) -> None:
    """Nothing; the device suffers from the fault for so long (None: until its power is cut)."""
    name = _name(node)
    found = None if name is None else board(name)
    if found is None:
        raise LabError(f"{node.name} has no physics: give it a personality (as=...)")
    if fault not in found.faults:
        raise LabError(f"{name} shows no fault {fault!r} (it shows: {', '.join(found.faults)})")
    order(folder(state, node), inject=fault, for_s=for_s)


def truth(state: State, node: Node) -> Truth:
    """What has really happened on the device since its power came, up to 0.2 s ago."""
    path = folder(state, node) / "truth"
    if not path.exists():
        raise LabError(f"{node.name} has no physics, or was never on")
    return Truth(path)


def _name(node: Node) -> str | None:
    if node.personality is None:
        return None
    name = personality(node.personality).name
    return name if board(name) is not None else None


def _seed(node: Node) -> int:
    return sum(node.name.encode())
