"""known_hosts is read and written as OpenSSH does."""

from __future__ import annotations

import base64
import subprocess

import pytest

from mobile.errors import AuthenticationFailed, ConfigError
from mobile.transports.ssh_hosts import HostKey, KnownHosts

KEY = HostKey("ssh-ed25519", b"\x00\x00\x00\x0bssh-ed25519 one")
OTHER = HostKey("ssh-ed25519", b"\x00\x00\x00\x0bssh-ed25519 two")


def text(key):
    return f"{key.kind} {base64.b64encode(key.blob).decode()}"


@pytest.fixture
def file(tmp_path):
    return tmp_path / "known_hosts"


def known(file, host="pi5.local", port=22):
    return KnownHosts([str(file)], host, port)


@pytest.mark.parametrize(
    "names",
    ["pi5.local", "other,pi5.local", "PI5.local", "pi?.local", "*.local", "*,!pi4.local"],
)
def test_a_known_key_is_taken(file, names):
    file.write_text(f"# comment\n\n{names} {text(KEY)} a comment\n")
    known(file).check("board", KEY, "strict")


@pytest.mark.parametrize("names", ["pi6.local", "*,!pi5.local", "[pi5.local]:2222", "pi[5].local"])
def test_a_key_of_another_host_is_not(file, names):
    file.write_text(f"{names} {text(KEY)}\n")
    with pytest.raises(AuthenticationFailed, match="not known"):
        known(file).check("board", KEY, "strict")


def test_a_port_of_its_own_has_a_name_of_its_own(file):
    file.write_text(f"[pi5.local]:2222 {text(KEY)}\n")
    known(file, port=2222).check("board", KEY, "strict")


def test_one_of_several_keys_will_do(file):
    file.write_text(f"pi5.local {text(OTHER)}\npi5.local {text(KEY)}\n")
    known(file).check("board", KEY, "strict")
    assert known(file).kinds == ["ssh-ed25519", "ssh-ed25519"]


def test_a_revoked_key_is_refused_though_known(file):
    file.write_text(f"pi5.local {text(KEY)}\n@revoked * {text(KEY)}\n@cert-authority * {text(OTHER)}\n")
    with pytest.raises(AuthenticationFailed, match="revoked"):
        known(file).check("board", KEY, "accept-new")


def test_hashed_names_are_understood(file):
    file.write_text(f"pi5.local {text(KEY)}\n")
    subprocess.run(["ssh-keygen", "-q", "-H", "-f", str(file)], check=True, timeout=20, capture_output=True)
    if "pi5" in file.read_text():
        pytest.skip("this ssh-keygen does not hash a key that it does not know")
    known(file).check("board", KEY, "strict")
    with pytest.raises(AuthenticationFailed):
        known(file, host="pi6.local").check("board", KEY, "strict")


def test_damaged_lines_are_passed_over(file):
    file.write_bytes(b"pi5.local\npi5.local ssh-ed25519\npi5.local ssh-ed25519 !!!\n|1|x pi5 AAAA\n\xff\xfe\n@x\n")
    assert known(file).kinds == []


def test_an_accepted_key_is_appended_on_a_line_of_its_own(file):
    file.write_text("no newline at the end")
    known(file).check("board", KEY, "accept-new")
    assert file.read_text() == f"no newline at the end\npi5.local {text(KEY)}\n"
    known(file).check("board", KEY, "strict")


def test_a_file_that_cannot_be_read_or_written_is_a_config_error(tmp_path):
    with pytest.raises(ConfigError):
        known(tmp_path)
    with pytest.raises(ConfigError):
        known("/dev/null/known_hosts")
    with pytest.raises(ConfigError):
        KnownHosts(["/proc/none/known_hosts"], "pi", 22).check("board", KEY, "accept-new")
