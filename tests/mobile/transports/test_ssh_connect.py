"""Getting into an ssh device, and every way of not getting in: one clear line each."""

from __future__ import annotations

import os
import socket
import subprocess
import threading
from pathlib import Path

import paramiko
import pytest

from mobile.deadline import Deadline
from mobile.errors import AuthenticationFailed, ConfigError, DeadlineExceeded, DeviceUnreachable, EdgewiseError
from mobile.transports import sockets
from mobile.transports.ssh import SshTransport
from mobile.transports.ssh_connect import open_connection
from mobile.transports.ssh_settings import settings_of
from tests.contracts.transport import sh
from tests.support.sshd import Sshd, find_sshd, make_key

pytestmark = pytest.mark.skipif(find_sshd() is None, reason="sshd is not installed")


@pytest.fixture(scope="module")
def sshd(tmp_path_factory):
    server = Sshd(tmp_path_factory.mktemp("sshd"))
    yield server
    server.stop()


@pytest.fixture(autouse=True)
def no_agent(monkeypatch):
    monkeypatch.delenv("SSH_AUTH_SOCK", raising=False)


def answer(device, limit_s=20.0):
    """What a command on the device says."""
    transport = SshTransport(device)
    try:
        return sh(transport, "echo in", limit_s=limit_s).stdout
    finally:
        transport.close()


def refusal(device, kind, limit_s=20.0):
    """The error that connecting ends with; one line."""
    with pytest.raises(kind) as caught:
        answer(device, limit_s)
    assert type(caught.value) is kind
    assert caught.value.message.startswith("board")
    assert "\n" not in caught.value.message
    return caught.value


# -- host keys


def test_an_unknown_host_key_is_refused_and_the_hint_accepts_it(sshd, tmp_path):
    device = sshd.device(known_hosts=str(tmp_path / "known hosts"))
    error = refusal(device, AuthenticationFailed)
    shown = subprocess.run(
        ["ssh-keygen", "-lf", f"{sshd.host_key}.pub"], capture_output=True, text=True, timeout=20, check=True
    )
    assert shown.stdout.split()[1] in error.message
    command = error.hint.split("to accept it: ")[1]
    subprocess.run(["sh", "-c", command], check=True, timeout=20)
    assert answer(device) == b"in\n"


def test_a_changed_host_key_is_refused_loudly_and_the_hint_forgets_it(sshd, tmp_path):
    other = make_key(tmp_path / "other")
    kind, blob = Path(f"{other}.pub").read_text().split()[:2]
    known = tmp_path / "known_hosts"
    known.write_text(f"[127.0.0.1]:{sshd.port} {kind} {blob}\n")
    for policy in ("strict", "accept-new"):
        device = sshd.device(known_hosts=str(known), host_key_policy=policy)
        error = refusal(device, AuthenticationFailed)
        assert "HAS CHANGED" in error.message
    command = error.hint.split(": ", 1)[1].removesuffix(", then try again")
    subprocess.run(["sh", "-c", command], check=True, timeout=20, capture_output=True)
    assert "is not known" in refusal(sshd.device(known_hosts=str(known)), AuthenticationFailed).message


def test_a_key_of_another_type_is_a_changed_key(sshd, tmp_path):
    other = make_key(tmp_path / "other", kind="rsa")
    kind, blob = Path(f"{other}.pub").read_text().split()[:2]
    known = tmp_path / "known_hosts"
    known.write_text(f"[127.0.0.1]:{sshd.port} {kind} {blob}\n")
    assert "HAS CHANGED" in refusal(sshd.device(known_hosts=str(known)), AuthenticationFailed).message


def test_a_known_type_is_asked_for_when_the_host_has_several(tmp_path):
    server = Sshd(tmp_path / "sshd", f"HostKey {make_key(tmp_path / 'rsa_host', kind='rsa')}")
    try:
        kind, blob = (tmp_path / "rsa_host.pub").read_text().split()[:2]
        server.known_hosts.write_text(f"[127.0.0.1]:{server.port} {kind} {blob}\n")
        assert answer(server.device()) == b"in\n"
    finally:
        server.stop()


def test_accept_new_takes_a_new_key_once(sshd, tmp_path):
    known = tmp_path / "new" / "known_hosts"
    device = sshd.device(known_hosts=str(known), host_key_policy="accept-new")
    assert answer(device) == answer(device) == b"in\n"
    assert len(known.read_text().splitlines()) == 1
    assert answer(sshd.device(known_hosts=str(known))) == b"in\n"


def test_insecure_takes_any_key_and_writes_none(sshd, tmp_path):
    known = tmp_path / "known_hosts"
    assert answer(sshd.device(known_hosts=str(known), host_key_policy="insecure")) == b"in\n"
    assert not known.exists()


# -- who we are


@pytest.mark.parametrize("kind", ["ed25519", "rsa", "ecdsa"])
def test_each_kind_of_key_lets_us_in(sshd, tmp_path, kind):
    key = make_key(tmp_path / "key", kind)
    with sshd.authorized.open("a") as stream:
        stream.write(Path(f"{key}.pub").read_text())
    assert answer(sshd.device(key_file=str(key))) == b"in\n"


def test_a_wrong_key_is_refused_with_what_was_offered(sshd, tmp_path):
    key = make_key(tmp_path / "wrong")
    error = refusal(sshd.device(key_file=str(key)), AuthenticationFailed)
    assert str(key) in error.message
    assert "it takes: publickey" in error.message
    assert "ssh-copy-id" in error.hint


def test_a_wrong_user_is_refused(sshd):
    error = refusal(sshd.device(user="no-such-user"), AuthenticationFailed)
    assert "no-such-user@127.0.0.1" in error.message


def test_no_key_at_all_is_said(sshd):
    assert "there was no key to offer" in refusal(sshd.device(key_file=None), AuthenticationFailed).message


@pytest.mark.parametrize("pem", [False, True])
def test_a_passphrase_comes_from_the_environment(sshd, tmp_path, monkeypatch, pem):
    key = make_key(tmp_path / "key", "rsa", passphrase="sésame")
    if pem:
        convert = ["ssh-keygen", "-q", "-p", "-m", "PEM", "-P", "sésame", "-N", "sésame", "-f", str(key)]
        subprocess.run(convert, check=True, timeout=60, capture_output=True)
    with sshd.authorized.open("a") as stream:
        stream.write(Path(f"{key}.pub").read_text())
    without = refusal(sshd.device(key_file=str(key)), AuthenticationFailed)
    assert "needs a passphrase" in without.message
    device = sshd.device(key_file=str(key), passphrase_env="KEY_PASSPHRASE")
    assert "KEY_PASSPHRASE" in refusal(device, ConfigError).message
    monkeypatch.setenv("KEY_PASSPHRASE", "wrong")
    error = refusal(device, AuthenticationFailed)
    assert "does not open it" in error.message
    assert "wrong" not in error.message
    monkeypatch.setenv("KEY_PASSPHRASE", "sésame")
    assert answer(device) == b"in\n"


def test_a_missing_key_file_is_a_config_error(sshd, tmp_path):
    assert "is not there" in refusal(sshd.device(key_file=str(tmp_path / "none")), ConfigError).message


@pytest.mark.parametrize("content", [b"", b"no key", os.urandom(300)])
def test_a_file_that_is_no_key_is_unusable(sshd, tmp_path, content):
    path = tmp_path / "key"
    path.write_bytes(content)
    assert f"unusable: {path}" in refusal(sshd.device(key_file=str(path)), AuthenticationFailed).message


def test_a_public_key_is_unusable(sshd):
    assert "unusable" in refusal(sshd.device(key_file=f"{sshd.key}.pub"), AuthenticationFailed).message


def test_the_agents_keys_let_us_in(sshd, tmp_path, monkeypatch):
    place = f"/tmp/edgewise-agent-{os.getpid()}"  # a socket's path is short
    agent = subprocess.Popen(["ssh-agent", "-D", "-a", place], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    try:
        end = Deadline(20)
        while not os.path.exists(place):
            end.check("the agent")
        monkeypatch.setenv("SSH_AUTH_SOCK", place)
        subprocess.run(["ssh-add", "-q", str(sshd.key)], check=True, timeout=20)
        assert answer(sshd.device(key_file=None)) == b"in\n"
    finally:
        agent.terminate()
        agent.wait(20)
        Path(place).unlink(missing_ok=True)


def test_an_agent_that_is_gone_does_not_matter(sshd, monkeypatch):
    monkeypatch.setenv("SSH_AUTH_SOCK", "/nonexistent/agent")
    assert answer(sshd.device()) == b"in\n"


class PasswordServer(paramiko.ServerInterface):
    """Lets "user" in with a password, by whichever of the two methods it is told to offer."""

    def __init__(self, methods):
        self._methods = methods

    def get_allowed_auths(self, username):
        return self._methods

    def check_auth_password(self, username, password):
        good = "password" in self._methods and (username, password) == ("user", "pässword")
        return paramiko.AUTH_SUCCESSFUL if good else paramiko.AUTH_FAILED

    def check_auth_interactive(self, username, submethods):
        return paramiko.InteractiveQuery("", "", ("Password: ", False))

    def check_auth_interactive_response(self, responses):
        return paramiko.AUTH_SUCCESSFUL if responses == ["pässword"] else paramiko.AUTH_FAILED


@pytest.mark.parametrize("methods", ["password", "keyboard-interactive"])
def test_a_password_comes_from_the_environment(sshd, monkeypatch, methods):
    started = []

    def talk(connected):
        server = paramiko.Transport(connected)
        server.set_log_channel("test")
        server.add_server_key(paramiko.Ed25519Key.from_private_key_file(str(sshd.host_key)))
        server.start_server(server=PasswordServer(methods), event=threading.Event())
        started.append(server)

    server = Server(talk)
    device = sshd.device(port=server.port, user="user", key_file=None, password_env="PW", host_key_policy="insecure")
    try:
        assert "$PW, which is not set" in refusal(device, ConfigError).message
        monkeypatch.setenv("PW", "wrong")
        error = refusal(device, AuthenticationFailed)
        assert "password from $PW" in error.message
        assert "wrong" not in error.message
        monkeypatch.setenv("PW", "pässword")
        open_connection(settings_of(device), Deadline(20), 20.0).close()
    finally:
        for one in started:
            one.close()
            one.join(10)
        server.close()


# -- where it is


def test_a_name_that_does_not_resolve(sshd):
    error = refusal(sshd.device(host="no-such-host.invalid", key_file=None), DeviceUnreachable)
    assert "does not resolve" in error.message


def test_a_refused_port(sshd):
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        error = refusal(sshd.device(port=free.getsockname()[1]), DeviceUnreachable)
    assert "refuses connections" in error.message


class Server:
    """Accepts connections on loopback and hands each to ``talk`` in a thread."""

    def __init__(self, talk):
        self.socket = socket.create_server(("127.0.0.1", 0))
        self.port = self.socket.getsockname()[1]
        self._talk = talk
        self._open = []
        self._thread = threading.Thread(target=self._accept, daemon=True)
        self._thread.start()

    def _accept(self):
        while True:
            try:
                connected, _ = self.socket.accept()
            except OSError:
                return
            self._open.append(connected)
            self._talk(connected)

    def close(self):
        self.socket.shutdown(socket.SHUT_RDWR)
        self.socket.close()
        self._thread.join(10)
        for connected in self._open:
            connected.close()


@pytest.mark.parametrize(
    ("talk", "words"),
    [
        (lambda connected: None, "does not finish the ssh handshake"),
        (lambda connected: connected.sendall(b"SSH-2.0-x\r\n"), "does not finish the ssh handshake"),
        (lambda connected: connected.close(), "closes the connection"),
        (lambda connected: connected.sendall(b"HTTP/1.1 400 Bad Request\r\n\r\n" * 100), "ssh port"),
        (lambda connected: (connected.sendall(os.urandom(4000)), connected.close()), ""),
    ],
    ids=["silent", "half", "closing", "http", "garbage"],
)
def test_a_port_that_speaks_something_else_ends_in_time(sshd, monkeypatch, talk, words):
    monkeypatch.setattr("mobile.transports.ssh_connect.CONNECT_LIMIT_S", 1.0)
    server = Server(talk)
    try:
        error = refusal(sshd.device(port=server.port), DeviceUnreachable, limit_s=30.0)
    finally:
        server.close()
    assert words in error.message + str(error.hint)


def test_a_silent_port_ends_at_the_deadline(sshd):
    server = Server(lambda connected: None)
    try:
        refusal(sshd.device(port=server.port), DeadlineExceeded, limit_s=0.5)
    finally:
        server.close()


def test_a_resolver_that_hangs_ends_in_time(sshd, monkeypatch):
    release = threading.Event()
    monkeypatch.setattr(socket, "getaddrinfo", lambda *_, **__: release.wait(60))
    monkeypatch.setattr(sockets, "CONNECT_LIMIT_S", 0.3)
    try:
        assert "does not resolve" in refusal(sshd.device(host="slow.invalid"), DeviceUnreachable).message
    finally:
        release.set()


# -- ~/.ssh/config and jumps


def config(home, text):
    """Writes ~/.ssh/config."""
    folder = home / ".ssh"
    folder.mkdir(exist_ok=True)
    (folder / "config").write_text(text)


def test_an_alias_gives_what_the_inventory_leaves_out(sshd, own_user_folders):
    config(
        own_user_folders,
        f"Host pi\n HostName 127.0.0.1\n Port {sshd.port}\n User {sshd.device().user}\n"
        f" IdentityFile {sshd.key}\n UserKnownHostsFile {sshd.known_hosts}\n",
    )
    device = sshd.device(ssh_alias="pi", host=None, port=None, user=None, key_file=None, known_hosts=None)
    assert answer(device) == b"in\n"
    assert settings_of(sshd.device(ssh_alias="pi", host=None, user="other", port=1)).where == "other@127.0.0.1:1"


def test_includes_are_followed(sshd, own_user_folders):
    config(own_user_folders, "Include conf.d/*\nHost b\n User last\n")
    (own_user_folders / ".ssh" / "conf.d").mkdir()
    (own_user_folders / ".ssh" / "conf.d" / "one").write_text("Host a\n User included\n")
    assert settings_of(sshd.device(host="a", user=None)).user == "included"
    assert settings_of(sshd.device(host="b", user=None)).user == "last"


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("Host board-x\n ProxyCommand nc %h %p\n", "ProxyCommand"),
        ("Host board-x\n Port twenty\n", "Port"),
        ("garbage\n", "cannot read"),
        ("Include config\n", "deeper"),
    ],
)
def test_a_config_that_cannot_be_used_is_a_config_error(sshd, own_user_folders, text, words):
    config(own_user_folders, text)
    with pytest.raises(ConfigError, match=words):
        settings_of(sshd.device(host="board-x", port=None))


def test_a_jump_host_is_gone_through(sshd, tmp_path):
    jump = Sshd(tmp_path / "jump")
    try:
        known = tmp_path / "known"
        known.write_text(sshd.known_hosts.read_text() + jump.known_hosts.read_text())
        jump.authorized.write_text(Path(f"{sshd.key}.pub").read_text())
        user = sshd.device().user
        device = sshd.device(known_hosts=str(known), proxy_jump=f"{user}@127.0.0.1:{jump.port}")
        assert answer(device) == b"in\n"
        twice = sshd.device(known_hosts=str(known), proxy_jump=",".join([f"{user}@127.0.0.1:{jump.port}"] * 2))
        assert answer(twice) == b"in\n"
        error = refusal(sshd.device(known_hosts=str(known), proxy_jump=device.proxy_jump, port=1), DeviceUnreachable)
        assert "jump host cannot reach" in error.message
    finally:
        jump.stop()
    error = refusal(sshd.device(proxy_jump=f"127.0.0.1:{jump.port}"), DeviceUnreachable)
    assert "refuses connections" in error.message


@pytest.mark.parametrize(
    ("hop", "expected"),
    [
        ("bastion", ("bastion", 22, None)),
        ("me@bastion:2200", ("bastion", 2200, "me")),
        ("[fe80::1]:2200", ("fe80::1", 2200, None)),
        ("fe80::1", ("fe80::1", 22, None)),
    ],
)
def test_hops_are_read_as_ssh_reads_them(sshd, hop, expected):
    jump = settings_of(sshd.device(proxy_jump=hop)).jump
    assert (jump.host, jump.port) == expected[:2]
    assert expected[2] in (None, jump.user)
    assert jump.password_env is None


def test_jumps_in_a_circle_are_a_config_error(sshd, own_user_folders):
    config(own_user_folders, "Host a\n ProxyJump b\nHost b\n ProxyJump a\n")
    with pytest.raises(ConfigError, match="circle"):
        settings_of(sshd.device(host="a"))


def test_nothing_of_this_is_printed(sshd, capfd):
    for device in (sshd.device(), sshd.device(known_hosts="/dev/null"), sshd.device(port=1)):
        try:
            answer(device)
        except EdgewiseError:
            continue
    assert capfd.readouterr() == ("", "")


def test_a_silent_host_is_unreachable_and_not_a_deadline(monkeypatch, tmp_path):
    """The connect limit is ours: exit code 3, while a caller's shorter deadline is exit code 1."""
    from mobile.deadline import Deadline
    from mobile.transports import sockets

    monkeypatch.setattr(sockets, "CONNECT_LIMIT_S", 0.3)
    with socket.socket() as full:  # a listener whose queue is full drops what knocks
        full.bind(("127.0.0.1", 0))
        full.listen(0)
        address = full.getsockname()
        knocking = [socket.socket() for _ in range(3)]
        try:
            for one in knocking:
                one.setblocking(False)
                one.connect_ex(address)
            with pytest.raises(DeviceUnreachable, match="does not answer"):
                sockets.connect("board", *address, Deadline(0.3), 1.0)
            with pytest.raises(DeadlineExceeded):
                sockets.connect("board", *address, Deadline(0.1), 1.0)
        finally:
            for one in knocking:
                one.close()
