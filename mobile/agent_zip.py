"""The agent as one zip file, the same bytes from the same sources wherever it is built.

The zip is named by its SHA-256, so a device that has it needs no second copy, and a result says by the hash exactly
which code measured it. Python runs it as it is: ``python3 edgewise-agent-<hash>.zip run``.
"""

from __future__ import annotations

import functools
import hashlib
import io
import zipfile
from dataclasses import dataclass
from pathlib import Path

from device_agents import records
from mobile.errors import AgentError

PACKAGE = "device_agents"
MAIN = b"import sys\n\nfrom device_agents.cli import main\n\nsys.exit(main())\n"
EPOCH = (1980, 1, 1, 0, 0, 0)  # the first moment that a zip can express
MODE = 0o100644  # a plain file, whatever the umask and the mode of the source
UNIX = 3  # zip's number of the system whose modes external_attr holds; else it would be the building system's


@dataclass(frozen=True)
class AgentZip:
    """The agent's bytes, their SHA-256 (hex), and the file name under which devices keep them."""

    data: bytes
    sha256: str
    name: str


def build_agent_zip(package: Path) -> AgentZip:
    """The zip of one ``device_agents`` folder: its .py files, sorted, and a ``__main__.py`` at the top.

    Stored, not compressed: the output of zlib differs between its versions. AgentError when there is nothing to pack.
    """
    try:
        sources = {
            f"{PACKAGE}/{path.relative_to(package).as_posix()}": path.read_bytes()
            for path in package.rglob("*.py")
            if path.is_file()
        }
    except OSError as error:
        raise AgentError(f"the agent's code cannot be read: {error}") from error
    if f"{PACKAGE}/__init__.py" not in sources:
        raise AgentError(f"{package} is not the agent's code", "Install edgewise again.")
    sources["__main__.py"] = MAIN
    target = io.BytesIO()
    with zipfile.ZipFile(target, "w", zipfile.ZIP_STORED) as archive:
        for name in sorted(sources):
            entry = zipfile.ZipInfo(name, EPOCH)
            entry.create_system = UNIX
            entry.external_attr = MODE << 16
            archive.writestr(entry, sources[name])
    data = target.getvalue()
    sha256 = hashlib.sha256(data).hexdigest()
    return AgentZip(data, sha256, f"edgewise-agent-{sha256[:12]}.zip")


@functools.cache
def agent_zip() -> AgentZip:
    """The zip of the agent that this edgewise was installed with; built once per process."""
    return build_agent_zip(Path(records.__file__).resolve().parent)
