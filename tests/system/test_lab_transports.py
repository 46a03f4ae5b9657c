"""The transport contract on the lab's devices: real sshd and real adbd across a network."""

from __future__ import annotations

import secrets
import shutil
import subprocess
from types import SimpleNamespace

import pytest

from mobile.deadline import Deadline
from mobile.errors import AuthenticationFailed, DeadlineExceeded, DeviceUnreachable, RemoteFileError, TransportError
from mobile.push import DeviceStore
from mobile.transports import open_transport
from tests.contracts.transport import MIB, Board, Brief, TransportContract, read, sh

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


@pytest.fixture(scope="module")
def connections(lab):
    opened = {}
    yield opened
    for transport in opened.values():
        transport.close()


@pytest.fixture(scope="module")
def odd_places(lab):
    """Folders on board86 that are full, or cannot be written to."""
    script = """
    mkdir -p /home/edge/small /home/edge/fixed
    mount -t tmpfs -o size=4m,mode=777 tmpfs /home/edge/small
    mount -t tmpfs -o ro tmpfs /home/edge/fixed
    """
    lab.run_in("board86", ["sh", "-c", script], check=True)
    yield "/home/edge/small", "/home/edge/fixed"
    lab.run_in("board86", ["umount", "/home/edge/small", "/home/edge/fixed"])


class OneConnection:
    """The tests of a class share a connection, as those of one user do."""

    @pytest.fixture
    def transport(self, board, connections):
        if type(self) not in connections:
            connections[type(self)] = board.open()
        return connections[type(self)]


class TestBoard86(OneConnection, TransportContract):
    @pytest.fixture
    def board(self, in_ctl, odd_places):
        device = ssh_device(in_ctl, "board86")
        return Board(
            open=lambda: open_transport(device),
            folder=f"edgewise test {secrets.token_hex(4)}",
            small_folder=odd_places[0],
        )


class TestBoard64(OneConnection, Brief):
    # The host's side of these is seen on board86; here they are only slow.
    test_calls_leave_no_descriptor_and_no_thread = None
    test_twenty_calls_run_side_by_side = None
    test_puts_to_one_target_side_by_side_leave_one_of_them = None
    test_a_large_input_goes_round = None

    @pytest.fixture
    def board(self, in_ctl):
        device = ssh_device(in_ctl, "board64")
        return Board(open=lambda: open_transport(device), folder=f"/home/edge/{secrets.token_hex(4)}", pace_s=3.0)


class TestPhone(OneConnection, Brief):
    @pytest.fixture
    def board(self, in_ctl, own_user_folders):
        device = adb_device(in_ctl, own_user_folders)
        return Board(
            open=lambda: open_transport(device),
            folder=f"/data/local/tmp/{secrets.token_hex(4)}",
            pace_s=3.0,
            tells_signals=False,
        )


# -- through a real adb server


@pytest.fixture
def adb_server(in_ctl, own_user_folders, monkeypatch):
    """A function that runs the real adb, whose server is this test's own and knows the phone."""
    device = adb_device(in_ctl, own_user_folders)
    monkeypatch.setenv("ANDROID_ADB_SERVER_PORT", "15037")

    def adb(*words):
        command = ["adb", *words]
        return subprocess.run(command, capture_output=True, text=True, timeout=30, check=False).stdout

    assert "connected" in adb("connect", f"{device.host}:{device.port}")
    yield adb
    adb("kill-server")


def test_a_phone_of_a_real_adb_server(adb_server, in_ctl, own_user_folders):
    address = in_ctl.devices["phone"].address
    device = adb_device(in_ctl, own_user_folders, host=None, port=None, serial=f"{address}:5555")
    transport = open_transport(device)
    folder = f"/data/local/tmp/{secrets.token_hex(4)}"
    done = sh(transport, "cat; echo err >&2; exit 3", stdin=b"through the server")
    assert (done.stdout, done.stderr, done.exit_code) == (b"through the server", b"err\n", 3)
    data = secrets.token_bytes(5 * MIB + 1)
    transport.put(data, f"{folder}/file", deadline=Deadline(30))
    assert read(transport, f"{folder}/file") == data
    with pytest.raises(RemoteFileError):
        transport.put(b"x", "/system/file", deadline=Deadline(30))
    with pytest.raises(DeadlineExceeded):
        sh(transport, "exec sleep 300", limit_s=2.0)
    transport.close()
    unknown = open_transport(adb_device(in_ctl, own_user_folders, host=None, port=None, serial="nobody"))
    with pytest.raises(DeviceUnreachable, match="knows no device nobody"):
        sh(unknown, "true")


def test_a_server_whose_phone_is_gone_says_so(adb_server, in_ctl, own_user_folders):
    address = in_ctl.devices["phone"].address
    adb_server("disconnect", f"{address}:5555")
    transport = open_transport(adb_device(in_ctl, own_user_folders, host=None, serial=f"{address}:5555"))
    with pytest.raises(DeviceUnreachable, match="knows no device"):
        sh(transport, "true")


# -- what goes wrong


def any_device(lab, name, home):
    """A device of the lab by its name."""
    return adb_device(lab, home) if name == "phone" else ssh_device(lab, name)


def quick(device):
    """A transport that gives a dead link up after three seconds."""
    if device.transport == "adb":
        from mobile.transports.adb import AdbTransport

        return AdbTransport(device, link_timeout_s=3.0)
    from mobile.transports.ssh import SshTransport

    return SshTransport(device, link_timeout_s=3.0)


@pytest.mark.parametrize("name", ["board86", "phone"])
def test_a_command_on_a_dead_link_ends_long_before_its_deadline(in_ctl, own_user_folders, name):
    transport = quick(any_device(in_ctl, name, own_user_folders))

    def cut(data):
        in_ctl.link(name, up=False)

    with pytest.raises(TransportError, match="connection broke") as caught:
        sh(transport, "echo started; exec sleep 300", on_stdout=cut, limit_s=50.0)
    assert not isinstance(caught.value, DeadlineExceeded)
    in_ctl.link(name, up=True)
    assert sh(transport, "echo again").stdout == b"again\n"
    transport.close()


@pytest.mark.parametrize("name", ["board86", "phone"])
def test_a_put_on_a_dead_link_ends_and_the_old_file_stays(in_ctl, own_user_folders, name):
    transport = quick(any_device(in_ctl, name, own_user_folders))
    path = f"/data/local/tmp/{secrets.token_hex(4)}" if name == "phone" else f"/home/edge/{secrets.token_hex(4)}"
    transport.put(b"old", f"{path}/file", deadline=Deadline(30))
    in_ctl.link(name, rate="50mbit")

    def progress(done_bytes, size_bytes):
        if done_bytes >= 2 * MIB:
            in_ctl.link(name, up=False)

    with pytest.raises(TransportError) as caught:
        transport.put(bytes(64 * MIB), f"{path}/file", deadline=Deadline(50), progress=progress)
    assert not isinstance(caught.value, DeadlineExceeded)
    in_ctl.link(name, up=True, rate="none")
    assert read(transport, f"{path}/file") == b"old"
    transport.close()


def test_folders_that_cannot_be_written_are_clear_errors(in_ctl, own_user_folders, odd_places):
    board = open_transport(ssh_device(in_ctl, "board86"))
    for folder, words in ((odd_places[1], "Read-only file system"), ("/etc", "Permission denied")):
        with pytest.raises(RemoteFileError, match=words) as caught:
            board.put(b"x", f"{folder}/file", deadline=Deadline(20))
        assert "workdir" in caught.value.hint
    board.close()
    phone = open_transport(adb_device(in_ctl, own_user_folders))
    with pytest.raises(RemoteFileError, match=r"(Permission denied|Read-only)"):
        phone.put(b"x", "/system/file", deadline=Deadline(20))
    phone.close()


def test_a_phone_that_does_not_know_the_key_is_unauthorized(in_ctl, own_user_folders, monkeypatch):
    monkeypatch.setattr("mobile.transports.adb_direct.CONNECT_LIMIT_S", 2.0)
    device = adb_device(in_ctl, own_user_folders)
    (own_user_folders / ".android" / "adbkey").unlink()
    with pytest.raises(AuthenticationFailed, match="unauthorized") as caught:
        sh(open_transport(device), "true")
    assert "screen" in caught.value.hint


@pytest.mark.parametrize("name", ["board64", "phone"])
def test_the_store_needs_only_what_the_device_has(in_ctl, own_user_folders, tmp_path, name):
    transport = open_transport(any_device(in_ctl, name, own_user_folders))
    workdir = "~/.edgewise" if name == "board64" else "/data/local/tmp/edgewise"
    store = DeviceStore(transport, workdir)
    limit = Deadline(50)
    for name_, data in (("m.onnx", b"graph"), ("m.data", secrets.token_bytes(MIB))):
        (tmp_path / name_).write_bytes(data)
    main = store.put_files([tmp_path / "m.onnx", tmp_path / "m.data"], deadline=limit)
    assert main == store.put_files([tmp_path / "m.onnx", tmp_path / "m.data"], deadline=limit, recheck=True)
    assert read(transport, main) == b"graph"
    assert [file.name for file in store.stored(deadline=limit)] == ["m.data", "m.onnx"]
    assert store.ensure_agent(deadline=limit) == store.ensure_agent(deadline=limit)
    assert store.prune(deadline=limit) == MIB + 5
    store.remove_all(deadline=limit)
    assert not sh(transport, '[ -e "$1" ]', store.folder(limit)).ok
    transport.close()


# Last: what was mounted on the board is gone after it.
@pytest.mark.parametrize("name", ["board86", "phone"])
def test_a_device_without_power_does_not_answer(in_ctl, own_user_folders, monkeypatch, name):
    monkeypatch.setattr("mobile.transports.sockets.CONNECT_LIMIT_S", 1.0)
    in_ctl.power(name, on=False)
    with pytest.raises(DeviceUnreachable, match="does not answer within 1 s"):
        sh(open_transport(any_device(in_ctl, name, own_user_folders)), "true")
