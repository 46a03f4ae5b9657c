"""Recording a board: the agent there takes down what its readers use, and this host writes it into one archive."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from mobile.deadline import Deadline
from mobile.errors import AgentError, StoreError, UsageError
from mobile.formats.atomic import write_atomically
from mobile.record.archive import write_archive
from mobile.record.document import Recording, recording_of

if TYPE_CHECKING:
    from mobile.inventory import Device

LIMIT_S = 60.0  # for the looking itself
ALLOWANCE_S = 180.0  # for connecting, sending the agent, and starting Python on a slow board


def check_target(path: Path) -> None:
    """Nothing, or UsageError when an archive cannot be written there. Nothing is ever overwritten."""
    if path.exists():
        raise UsageError(f"{path} is there already", "Name another file, or remove it.")
    if not path.parent.is_dir():
        raise UsageError(f"{path.parent} is no folder", "Make it, or name another file.")


def capture(device: Device, path: Path, deadline: Deadline | None = None) -> Recording:
    """The recording of a device, once it is in the archive ``path``, which must not be there yet.

    The device needs a Python that starts the agent: its own, or the one of `edgewise setup`. AgentError when it has
    none, TransportError when it is not reached.
    """
    from mobile.benchmark.agent import DeviceAgent
    from mobile.push import DeviceStore
    from mobile.transports import open_transport

    check_target(path)
    limit = deadline or Deadline(LIMIT_S + ALLOWANCE_S)
    transport = open_transport(device)
    try:
        agent = DeviceAgent(device, transport, DeviceStore(transport, device.workdir))
        arguments = ["--limit", f"{LIMIT_S:g}", "--root", device.replay or "/"]
        answer = agent.ask("record", *arguments, deadline=limit)
    except AgentError as error:
        hint = f"a recording needs the agent running there: `edgewise setup {device.name}` brings a Python"
        raise AgentError(error.message, hint) from error
    finally:
        transport.close()
    recording = recording_of(answer, device.name)
    try:
        write_atomically(path, write_archive(answer))
    except OSError as error:
        raise StoreError(f"{path}: {error.strerror or error}", "Name another file.") from error
    return recording
