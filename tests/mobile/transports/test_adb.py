"""The adb transport against a small adbd and a small adb server; the lab has the real ones."""

from __future__ import annotations

import io
import os
import secrets
import socket
import threading
from types import SimpleNamespace

import pytest

from mobile.deadline import Deadline
from mobile.errors import (
    AuthenticationFailed,
    ConfigError,
    DeadlineExceeded,
    DeviceUnreachable,
    NoSpaceOnDevice,
    RemoteFileError,
    TransportError,
)
from mobile.transports import adb_direct
from mobile.transports.adb import AdbTransport
from mobile.transports.adb_keys import adb_keys
from mobile.transports.adb_server import server_address
from mobile.transports.adb_shell_session import Closing
from mobile.transports.adb_sync import Sync
from tests.contracts.transport import MIB, Board, Brief, TransportContract, names, read, sh
from tests.support.adbd import Adbd, AdbServer, Listener


def phone(**fields):
    """A phone of the inventory."""
    given = {"name": "phone", "transport": "adb", "provenance": "emulated", "host": None, "port": None, "serial": None}
    return SimpleNamespace(**{**given, **fields})


@pytest.fixture
def adbd(request):
    made = []

    def make(**options):
        made.append(Adbd(**options))
        return made[-1], phone(host="127.0.0.1", port=made[-1].port)

    yield make
    for one in made:
        one.close()


@pytest.fixture
def server(monkeypatch):
    made = []

    def make(**options):
        made.append(AdbServer(**options))
        monkeypatch.setenv("ANDROID_ADB_SERVER_PORT", str(made[-1].port))
        return made[-1], phone(serial="SERIAL")

    yield make
    for one in made:
        one.close()


@pytest.fixture
def scratch(monkeypatch, tmp_path):
    """Where shell version 1 keeps its files; a phone's own folder is not on this machine."""
    monkeypatch.setattr("mobile.transports.adb._SCRATCH", str(tmp_path))


class TestDirect(TransportContract):
    test_calls_leave_no_descriptor_and_no_thread = None  # the device's are in this process too; the lab looks

    @pytest.fixture
    def board(self, adbd, tmp_path):
        _, device = adbd()
        return Board(
            open=lambda: AdbTransport(device, kill_grace_s=0.5), folder=str(tmp_path / "phone"), tells_signals=False
        )


class TestShellV1(Brief):
    test_calls_leave_no_descriptor_and_no_thread = None

    @pytest.fixture
    def board(self, adbd, scratch, tmp_path):
        _, device = adbd(features=("cmd",))
        return Board(
            open=lambda: AdbTransport(device, kill_grace_s=0.5), folder=str(tmp_path / "phone"), tells_signals=False
        )


class TestServer(Brief):
    test_calls_leave_no_descriptor_and_no_thread = None

    @pytest.fixture
    def board(self, server, tmp_path):
        _, device = server()
        return Board(
            open=lambda: AdbTransport(device, kill_grace_s=0.5), folder=str(tmp_path / "phone"), tells_signals=False
        )


def refusal(device, kind, limit_s=20.0):
    """The error that connecting ends with; one line."""
    transport = AdbTransport(device)
    try:
        with pytest.raises(kind) as caught:
            sh(transport, "true", limit_s=limit_s)
    finally:
        transport.close()
    assert type(caught.value) is kind
    assert caught.value.message.startswith("phone: ")
    assert "\n" not in caught.value.message
    return caught.value


# -- getting in


@pytest.mark.parametrize("auth", ["signature", "screen"])
def test_a_phone_that_knows_the_key_or_asks_lets_us_in(adbd, auth, own_user_folders):
    _, device = adbd(auth=auth)
    transport = AdbTransport(device)
    assert sh(transport, "echo in").stdout == b"in\n"
    transport.close()


def test_an_unauthorized_phone_says_what_to_do(adbd):
    _, device = adbd(auth="never")
    error = refusal(device, AuthenticationFailed)
    assert "unauthorized" in error.message
    assert "screen" in error.hint


def test_a_phone_that_waits_for_an_answer_on_its_screen_is_unauthorized(monkeypatch):
    monkeypatch.setattr(adb_direct, "CONNECT_LIMIT_S", 1.0)

    class Waiting(Adbd):
        def serve(self, connected):
            connected.sendall(message(b"AUTH", 1, bytes(20)) * 2)
            while connected.recv(65536):
                pass

    waiting = Waiting()
    try:
        assert "unauthorized" in refusal(phone(host="127.0.0.1", port=waiting.port), AuthenticationFailed).message
    finally:
        waiting.close()


def test_a_paired_phone_is_sent_to_the_adb_server(adbd):
    _, device = adbd(auth="tls")
    assert "adb pair" in refusal(device, AuthenticationFailed).hint


def message(command, arg0=0, payload=b""):
    code = int.from_bytes(command, "little")
    return adb_direct._HEADER.pack(code, arg0, 0, len(payload), 0, code ^ 0xFFFFFFFF) + payload


class Talk(Listener):
    """Says something and waits."""

    def __init__(self, words, stay):
        self._words, self._stay = words, stay
        super().__init__()

    def serve(self, connected):
        connected.sendall(self._words)
        while self._stay and connected.recv(65536):
            pass


@pytest.mark.parametrize(
    ("words", "stay", "said"),
    [
        (b"", True, "does not answer ADB"),
        (b"", False, "closes the connection"),
        (message(b"CNXN")[:10], True, "does not answer ADB"),
        (b"SSH-2.0-OpenSSH_9.2p1 Debian-2\r\n", True, "something else than ADB"),
        (b"HTTP/1.1 400 Bad Request\r\nServer: x\r\n\r\n", False, "something else than ADB"),
        (adb_direct._HEADER.pack(1, 0, 0, 2**31, 0, 1 ^ 0xFFFFFFFF), True, "something else than ADB"),
        (os.urandom(10_000), False, ""),
    ],
    ids=["silent", "closing", "half", "ssh", "http", "huge", "garbage"],
)
def test_a_port_that_is_not_adb_ends_in_time(monkeypatch, words, stay, said):
    monkeypatch.setattr(adb_direct, "CONNECT_LIMIT_S", 1.0)
    talk = Talk(words, stay)
    try:
        error = refusal(phone(host="127.0.0.1", port=talk.port), DeviceUnreachable)
    finally:
        talk.close()
    assert said in error.message
    assert error.hint


def test_a_silent_port_ends_at_the_deadline():
    talk = Talk(b"", True)
    try:
        refusal(phone(host="127.0.0.1", port=talk.port), DeadlineExceeded, limit_s=0.3)
    finally:
        talk.close()


def test_a_refused_port_and_an_unknown_name():
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        assert "refuses" in refusal(phone(host="127.0.0.1", port=free.getsockname()[1]), DeviceUnreachable).message
    assert "resolve" in refusal(phone(host="no-such-phone.invalid"), DeviceUnreachable).message


# -- keys


def test_a_key_is_made_once_and_kept(own_user_folders, monkeypatch):
    monkeypatch.delenv("ADB_VENDOR_KEYS", raising=False)
    first, again = adb_keys(), adb_keys()
    assert first == again
    assert first[0].path.stat().st_mode & 0o077 == 0
    assert len(first[0].sign(bytes(20))) == 256
    assert not (own_user_folders / ".android").exists()


def test_keys_made_at_once_are_one_key(own_user_folders):
    made = []
    threads = [threading.Thread(target=lambda: made.append(adb_keys()[0].public)) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(60)
    assert len(made) == 4
    assert len(set(made)) == 1


def test_adbs_own_key_goes_first_and_vendor_keys_follow(own_user_folders, tmp_path, monkeypatch):
    own = adb_keys()[0]
    (own_user_folders / ".android").mkdir()
    (own_user_folders / ".android" / "adbkey").write_bytes(own.path.read_bytes())
    (tmp_path / "v.adb_key").write_bytes(own.path.read_bytes())
    monkeypatch.setenv("ADB_VENDOR_KEYS", f"{tmp_path}{os.pathsep}/nonexistent")
    assert [key.path.name for key in adb_keys()] == ["adbkey", "v.adb_key"]
    assert adb_keys()[0].public.split()[0] == own.public.split()[0]


def test_a_damaged_key_is_a_config_error(own_user_folders):
    (own_user_folders / ".android").mkdir()
    (own_user_folders / ".android" / "adbkey").write_bytes(b"no key")
    with pytest.raises(ConfigError, match="adbkey"):
        adb_keys()


# -- while connected


def test_a_broken_connection_is_told_and_the_next_call_connects_again(adbd):
    device, address = adbd()
    transport = AdbTransport(address)
    with pytest.raises(TransportError, match="connection broke") as caught:
        sh(transport, "echo first; exec sleep 300", on_stdout=lambda data: device.cut())
    assert not isinstance(caught.value, DeadlineExceeded)
    assert sh(transport, "echo again").stdout == b"again\n"
    transport.close()


def test_a_put_that_is_cut_leaves_the_old_file(adbd, tmp_path):
    device, address = adbd()
    transport = AdbTransport(address)
    transport.put(b"old", f"{tmp_path}/phone/file", deadline=Deadline(20))

    def progress(done_bytes, size_bytes):
        if done_bytes >= 2 * MIB:
            device.cut()

    with pytest.raises(TransportError):
        transport.put(bytes(64 * MIB), f"{tmp_path}/phone/file", deadline=Deadline(30), progress=progress)
    end = Deadline(20)
    while names(transport, f"{tmp_path}/phone") != ["file"]:
        end.check("the device's own tidying up")
    assert read(transport, f"{tmp_path}/phone/file") == b"old"
    transport.close()


@pytest.mark.parametrize("max_payload_bytes", [4096, 262144])
def test_older_devices_take_smaller_packets(adbd, tmp_path, max_payload_bytes):
    _, address = adbd(max_payload_bytes=max_payload_bytes)
    transport = AdbTransport(address)
    data = secrets.token_bytes(MIB)
    transport.put(data, f"{tmp_path}/file", deadline=Deadline(30))
    assert read(transport, f"{tmp_path}/file") == data
    assert transport.run(["cat"], stdin=data, deadline=Deadline(30)).stdout == data
    transport.close()


def test_every_byte_is_sent_though_the_socket_takes_few(adbd, tmp_path):
    """The socket's buffer is tiny and the device slow to read: each send takes a part only."""
    _, address = adbd()
    transport = AdbTransport(address)
    sh(transport, "true")
    transport._open_link._socket.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, 4096)
    data = secrets.token_bytes(3 * MIB)
    transport.put(data, f"{tmp_path}/file", deadline=Deadline(60))
    assert read(transport, f"{tmp_path}/file") == data
    transport.close()


@pytest.mark.parametrize(("version", "checksum"), [(0x01000000, 3 * 255), (0x01000001, 0)])
def test_header_and_payload_leave_together_and_checksums_only_where_an_old_device_wants_them(version, checksum):
    sent = []

    class Taking:
        def send(self, view):
            sent.append(bytes(view))
            return len(view)

    pipe = adb_direct._Pipe(Taking(), 1.0)
    pipe.version = version
    pipe.send(adb_direct._WRTE, 1, 2, b"\xff" * 3)
    (packet,) = sent
    assert packet[24:] == b"\xff" * 3
    assert adb_direct._HEADER.unpack(packet[:24])[3:5] == (3, checksum)


def test_no_request_for_files_has_a_size_of_32_bits_in_it():
    """Files of 4 GiB and more pass: the whole file's size is never said, only that of each piece."""

    class Stream:
        def __init__(self, *answers):
            self.sent, self._answers = b"", list(answers)

        def send(self, data, timeout_s):
            self.sent += data
            return len(data)

        def receive(self, timeout_s):
            return self._answers.pop(0) if timeout_s and self._answers else None

    word = adb_direct.struct.Struct("<4sI").pack
    up = Stream(word(b"OKAY", 0))
    Sync("phone", up, Deadline(5), "push").push("/f", 0o644, iter([b"ab", b"c"]))
    assert up.sent == word(b"SEND", 8) + b"/f,33188" + word(b"DATA", 2) + b"ab" + word(b"DATA", 1) + b"c" + word(
        b"DONE", 0
    )
    down, got = Stream(word(b"DATA", 2) + b"ab", word(b"DONE", 0)), []
    Sync("phone", down, Deadline(5), "pull").pull("/f", got.append)
    assert (down.sent, got) == (word(b"RECV", 2) + b"/f", [b"ab"])


def test_a_full_file_system_is_told_by_its_words(adbd, tmp_path, monkeypatch):
    import errno

    def full(self, path, mode):
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr("tests.support.adbd.Sync._take", full)
    _, address = adbd()
    transport = AdbTransport(address)
    with pytest.raises(NoSpaceOnDevice):
        transport.put(bytes(MIB), f"{tmp_path}/file", deadline=Deadline(20))
    transport.close()


def test_a_path_too_long_for_adb_is_said(adbd):
    _, address = adbd()
    transport = AdbTransport(address)
    with pytest.raises(RemoteFileError):
        transport.put(b"x", "/tmp/" + "d/" * 600 + "file", deadline=Deadline(20))
    with pytest.raises(RemoteFileError):
        transport.get("/tmp/" + "x" * 3000, io.BytesIO(), deadline=Deadline(20))
    transport.close()


# -- the adb server


@pytest.mark.parametrize(
    ("says", "kind", "words"),
    [
        ("device unauthorized.\nThis adb server's $ADB_VENDOR_KEYS is not set", AuthenticationFailed, "unauthorized"),
        ("device offline", DeviceUnreachable, "offline"),
        ("device still authorizing", DeviceUnreachable, "offline"),
        ("device 'SERIAL' not found", DeviceUnreachable, "knows no device SERIAL"),
        ("no devices/emulators found", DeviceUnreachable, "knows no device"),
        ("more than one device/emulator", DeviceUnreachable, "several phones"),
        ("something new", TransportError, "something new"),
        ("", TransportError, "no reason"),
    ],
)
def test_the_servers_words_become_clear_ones(server, says, kind, words):
    _, device = server(says=says)
    assert words in refusal(device, kind).message


def test_the_only_phone_needs_no_serial(server):
    server()
    transport = AdbTransport(phone())
    assert sh(transport, "echo in").stdout == b"in\n"
    transport.close()


def test_no_adb_server_and_no_adb_program(monkeypatch, tmp_path):
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        monkeypatch.setenv("ANDROID_ADB_SERVER_PORT", str(free.getsockname()[1]))
        monkeypatch.setenv("PATH", str(tmp_path))
        error = refusal(phone(serial="SERIAL"), DeviceUnreachable)
    assert "no adb server answers" in error.message
    assert "start-server" in error.hint


@pytest.mark.parametrize("words", [b"HTTP/1.1 400 Bad Request\r\n\r\n", b"OKAYzzzz", b"OKAY", b""])
def test_a_port_that_is_no_adb_server(monkeypatch, words):
    talk = Talk(words, stay=False)
    monkeypatch.setenv("ANDROID_ADB_SERVER_PORT", str(talk.port))
    try:
        refusal(phone(serial="SERIAL"), DeviceUnreachable)
    finally:
        talk.close()


def test_an_adb_server_that_hangs_ends_at_the_deadline(monkeypatch):
    talk = Talk(b"", stay=True)
    monkeypatch.setenv("ANDROID_ADB_SERVER_PORT", str(talk.port))
    try:
        refusal(phone(serial="SERIAL"), DeadlineExceeded, limit_s=0.5)
    finally:
        talk.close()


@pytest.mark.parametrize(
    ("variables", "address"),
    [
        ({}, ("127.0.0.1", 5037)),
        ({"ADB_SERVER_SOCKET": "tcp:5038"}, ("127.0.0.1", 5038)),
        ({"ADB_SERVER_SOCKET": "tcp:host:5038", "ANDROID_ADB_SERVER_PORT": "1"}, ("host", 5038)),
        ({"ANDROID_ADB_SERVER_ADDRESS": "host", "ANDROID_ADB_SERVER_PORT": "5039"}, ("host", 5039)),
    ],
)
def test_the_server_is_where_adb_itself_would_look(monkeypatch, variables, address):
    for name in ("ADB_SERVER_SOCKET", "ANDROID_ADB_SERVER_ADDRESS", "ANDROID_ADB_SERVER_PORT"):
        monkeypatch.delenv(name, raising=False)
    for name, value in variables.items():
        monkeypatch.setenv(name, value)
    assert server_address() == address


def test_a_bad_server_port_is_a_config_error(monkeypatch):
    monkeypatch.delenv("ADB_SERVER_SOCKET", raising=False)
    monkeypatch.setenv("ANDROID_ADB_SERVER_PORT", "99999")
    with pytest.raises(ConfigError, match="99999"):
        server_address()


# -- the closing line


@pytest.mark.parametrize("step", [1, 2, 3, 7, 100])
@pytest.mark.parametrize(
    ("data", "before", "after", "code"),
    [
        (b"out\ntoken 3\nrest", b"out\n", b"rest", 3),
        (b"no newline token 0\n", b"no newline ", b"", 0),
        (b"tokentoken 12\n", b"token", b"", 12),
        (b"tok token tokentok", b"tok token tokentok", b"", None),
        (b"", b"", b"", None),
    ],
)
def test_the_closing_line_is_found_wherever_the_pieces_are_cut(step, data, before, after, code):
    closing = Closing("token")
    seen = [b"", b""]
    for start in range(0, len(data), step):
        for index, piece in enumerate(closing.feed(data[start : start + step])):
            seen[index] += piece
    seen[0] += closing.flush()
    if code is None:
        assert seen == [before, after]
    else:
        assert (*seen, closing.exit_code) == (before, after, code)
