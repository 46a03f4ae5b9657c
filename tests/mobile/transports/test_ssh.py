"""The ssh transport against a real sshd on loopback."""

from __future__ import annotations

import os
import signal
import socket
import time
from concurrent.futures import ThreadPoolExecutor

import pytest

from mobile.deadline import Deadline
from mobile.errors import AuthenticationFailed, DeadlineExceeded, TransportError, UsageError
from mobile.transports.ssh import SshTransport
from tests.contracts.transport import MIB, Board, TransportContract, names, read, sh
from tests.support.sshd import Sshd, find_sshd

pytestmark = pytest.mark.skipif(find_sshd() is None, reason="sshd is not installed")


@pytest.fixture(scope="module")
def sshd(tmp_path_factory):
    server = Sshd(tmp_path_factory.mktemp("sshd"))
    yield server
    server.stop()


class TestSsh(TransportContract):
    @pytest.fixture
    def board(self, sshd, tmp_path):
        return Board(open=lambda: SshTransport(sshd.device()), folder=str(tmp_path / "device"))


@pytest.fixture
def transport(sshd):
    transport = SshTransport(sshd.device(), kill_grace_s=0.5)
    yield transport
    transport.close()


def test_a_login_shell_that_prints_a_banner_does_not_matter(tmp_path):
    banner = tmp_path / "banner"
    banner.write_text('#!/bin/sh\necho "WELCOME to $(date)"\nprintf "no newline"\nexec sh -c "$SSH_ORIGINAL_COMMAND"\n')
    banner.chmod(0o755)
    server = Sshd(tmp_path / "sshd", f"ForceCommand {banner}")
    try:
        transport = SshTransport(server.device())
        assert sh(transport, "echo out; exit 4").stdout == b"out\n"
        transport.put(b"data", f"{tmp_path}/file", deadline=Deadline(20))
        assert read(transport, f"{tmp_path}/file") == b"data"
        transport.close()
    finally:
        server.stop()


def test_a_login_shell_that_runs_nothing_is_a_clear_error(tmp_path):
    server = Sshd(tmp_path / "sshd", 'ForceCommand echo "This account is not available"; exit 1')
    try:
        transport = SshTransport(server.device())
        with pytest.raises(TransportError, match=r"did not run the command.*This account is not available"):
            sh(transport, "true")
        transport.close()
    finally:
        server.stop()


def test_a_device_with_few_sessions_is_used_within_its_limit(tmp_path):
    server = Sshd(tmp_path / "sshd", "MaxSessions 2")
    try:
        transport = SshTransport(server.device())
        with ThreadPoolExecutor(max_workers=12) as pool:
            codes = pool.map(lambda number: sh(transport, f"sleep 0.1; exit {number}", limit_s=60).exit_code, range(12))
            assert list(codes) == list(range(12))
        transport.close()
    finally:
        server.stop()


def test_a_broken_connection_is_told_and_the_next_call_connects_again(sshd, transport):
    def on_stdout(data):
        for pid in sshd.children():
            os.kill(pid, signal.SIGKILL)

    with pytest.raises(TransportError, match="connection broke") as caught:
        sh(transport, "echo first; exec sleep 300", on_stdout=on_stdout)
    assert not isinstance(caught.value, DeadlineExceeded)
    assert sh(transport, "echo again").stdout == b"again\n"


def test_a_put_that_is_cut_leaves_the_old_file_and_nothing_else(sshd, transport, tmp_path):
    folder = tmp_path / "device"
    transport.put(b"old", f"{folder}/file", deadline=Deadline(20))

    def progress(done_bytes, size_bytes):
        if done_bytes >= 2 * MIB:
            for pid in sshd.children():
                os.kill(pid, signal.SIGKILL)

    with pytest.raises(TransportError):
        transport.put(bytes(64 * MIB), f"{folder}/file", deadline=Deadline(30), progress=progress)
    end = Deadline(20)
    while names(transport, str(folder)) != ["file"]:
        end.check("the device's own tidying up")
        time.sleep(0.05)
    assert read(transport, f"{folder}/file") == b"old"


def test_a_device_that_stops_answering_ends_at_the_deadline(sshd, transport, monkeypatch):
    """Its kernel still acknowledges, so only the deadline can end it: sshd is stopped, as on a board out of memory."""
    monkeypatch.setattr("mobile.transports.remote._KILL_S", 1.0)
    stopped = []

    def on_stdout(data):
        for pid in sshd.children():
            os.kill(pid, signal.SIGSTOP)
            stopped.append(pid)

    try:
        with pytest.raises(DeadlineExceeded):
            sh(transport, "echo first; exec sleep 300", on_stdout=on_stdout, limit_s=1.0)
        with pytest.raises(DeadlineExceeded):
            transport.put(bytes(64 * MIB), "/tmp/edgewise-never", deadline=Deadline(1.0))
    finally:
        for pid in stopped:
            os.kill(pid, signal.SIGKILL)


def test_a_command_that_is_too_long_is_a_usage_error(transport):
    with pytest.raises(UsageError, match="200077 bytes"):
        transport.run(["echo", "x" * 200_000], deadline=Deadline(20))


def test_signals_have_the_devices_numbers(transport):
    """Linux's USR1, also when the host is a Mac."""
    assert sh(transport, "kill -USR1 $$; sleep 5").signal == 10


def test_opening_does_not_connect(sshd):
    SshTransport(sshd.device(host="no-such-host.invalid")).close()


def test_a_failed_connection_is_shared_by_those_who_wait(sshd):
    transport = SshTransport(sshd.device(known_hosts="/dev/null"))

    def call(number):
        with pytest.raises(AuthenticationFailed):
            sh(transport, "true")
        return True

    with ThreadPoolExecutor(max_workers=10) as pool:
        assert all(pool.map(call, range(10)))
    transport.close()


@pytest.mark.parametrize("side", ["device", "host"])
def test_keys_are_exchanged_in_the_middle(tmp_path, monkeypatch, side):
    """Each command's end falls into a key exchange, which paramiko alone does not survive."""
    if side == "host":
        monkeypatch.setattr("mobile.transports.ssh_wire._REKEY_BYTES", 200_000)
    server = Sshd(tmp_path / "sshd", *(["RekeyLimit 200K"] if side == "device" else []))
    try:
        transport = SshTransport(server.device())
        data = bytes(range(256)) * 1000
        for _ in range(12):
            assert transport.run(["cat"], stdin=data, deadline=Deadline(20)).stdout == data
            transport.put(data, f"{tmp_path}/file", deadline=Deadline(20))
            assert read(transport, f"{tmp_path}/file") == data
        transport.close()
    finally:
        server.stop()


def test_a_connection_takes_the_fast_ciphers_and_says_that_it_lives(transport):
    """AES-GCM goes first, a rekeying stall comes after 64 GiB and not 512 MiB, and an idle link is still asked."""
    assert sh(transport, "true").ok
    (slot,) = transport._pool._slots
    wire = slot.connection.wire
    assert "gcm" in wire.local_cipher
    assert "gcm" in wire.remote_cipher
    assert wire.packetizer.REKEY_BYTES >= 2**36
    assert wire.packetizer._Packetizer__keepalive_interval == 5
    assert slot.connection.root.getsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY)
