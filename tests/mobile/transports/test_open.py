"""open_transport chooses by the inventory."""

from __future__ import annotations

import subprocess
import sys
from types import SimpleNamespace

import pytest

from mobile.deadline import Deadline
from mobile.errors import UsageError
from mobile.transports import open_transport


def test_local_is_this_machine():
    transport = open_transport(SimpleNamespace(name="here", transport="local", provenance="slowed"))
    assert (transport.name, transport.provenance) == ("here", "slowed")
    assert transport.run(["echo", "hi"], deadline=Deadline(20)).stdout == b"hi\n"


@pytest.mark.parametrize(("transport", "kind"), [("ssh", "SshTransport"), ("adb", "AdbTransport")])
def test_a_remote_device_is_not_connected_yet(transport, kind, tmp_path):
    from mobile.inventory import load_inventory

    (tmp_path / "devices.yaml").write_text(
        f"devices:\n  board:\n    transport: {transport}\n    host: no-such-host.invalid\n"
    )
    device = load_inventory(tmp_path / "devices.yaml").device("board")
    opened = open_transport(device)
    assert type(opened).__name__ == kind
    assert (opened.name, opened.provenance) == ("board", "real")
    opened.close()


def test_an_unknown_transport_is_named():
    with pytest.raises(UsageError, match="pigeon"):
        open_transport(SimpleNamespace(name="x", transport="pigeon", provenance="real"))


def test_opening_local_loads_no_foreign_library():
    program = """
import sys
from types import SimpleNamespace
import mobile.push
from mobile.transports import open_transport
open_transport(SimpleNamespace(name="x", transport="local", provenance="real"))
print([name for name in ("paramiko", "adb_shell", "cryptography", "pydantic", "numpy") if name in sys.modules])
"""
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, timeout=60, check=True)
    assert done.stdout == "[]\n"
