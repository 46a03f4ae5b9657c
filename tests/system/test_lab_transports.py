"""The transport contract on the lab's devices: real sshd and real adbd across a network.

The contract's parts that only move much data, or that the host's side alone decides, run once, on the fast board.
"""

from __future__ import annotations

import secrets
import shutil
from types import SimpleNamespace

import pytest

from mobile.transports import open_transport
from tests.contracts.transport import Board, TransportContract

pytestmark = [pytest.mark.lab, pytest.mark.timeout(60)]
pytest_plugins = ["tests.lab.fixtures"]


def ssh_device(lab, name, **fields):
    """A board of the lab as the inventory would describe it."""
    board = lab.devices[name]
    given = {
        "name": name, "transport": "ssh", "provenance": board.provenance, "host": board.address, "port": board.port,
        "serial": None, "user": board.user, "key_file": str(lab.ssh_key_path), "passphrase_env": None,
        "password_env": None, "known_hosts": str(lab.known_hosts_path), "host_key_policy": "strict",
        "proxy_jump": None, "ssh_alias": None,
    }  # fmt: skip
    return SimpleNamespace(**{**given, **fields})


def adb_device(lab, home, **fields):
    """The phone, and the key that it knows put in place."""
    phone = lab.devices["phone"]
    (home / ".android").mkdir(exist_ok=True)
    for name in ("adbkey", "adbkey.pub"):
        shutil.copy(lab.adb_key_path.with_name(name), home / ".android" / name)
    given = {
        "name": "phone", "transport": "adb", "provenance": phone.provenance, "host": phone.address, "port": phone.port,
        "serial": None,
    }  # fmt: skip
    return SimpleNamespace(**{**given, **fields})


class TestBoard86(TransportContract):
    @pytest.fixture
    def board(self, in_ctl):
        device = ssh_device(in_ctl, "board86")
        return Board(open=lambda: open_transport(device), folder=f"edgewise test {secrets.token_hex(4)}")


class TestBoard64(TransportContract):
    @pytest.fixture
    def board(self, in_ctl):
        device = ssh_device(in_ctl, "board64")
        return Board(open=lambda: open_transport(device), folder=f"/home/edge/{secrets.token_hex(4)}", pace_s=3.0)


class TestPhone(TransportContract):
    @pytest.fixture
    def board(self, in_ctl, own_user_folders):
        device = adb_device(in_ctl, own_user_folders)
        return Board(
            open=lambda: open_transport(device),
            folder=f"/data/local/tmp/{secrets.token_hex(4)}",
            pace_s=3.0,
            tells_signals=False,
        )
