"""The doctor names each fault of a board before a run meets it. One board of the lab, broken in several places."""

from __future__ import annotations

import subprocess

import pytest

from mobile.deadline import Deadline
from mobile.inventory import load_inventory
from mobile.provision.doctor import examine

pytest_plugins = ["tests.lab.fixtures"]
pytestmark = [pytest.mark.lab, pytest.mark.timeout(200, func_only=True)]

BREAK = """
set -e
cd /home/edge
echo 'echo Welcome aboard' >>.bashrc
mkdir ro full noexec
mount -t tmpfs -o ro tmpfs ro
mount -t tmpfs -o size=16k,mode=777 tmpfs full
mount -t tmpfs -o noexec,mode=777 tmpfs noexec
head -c 16384 /dev/zero >full/all || true
"""


@pytest.fixture
def sick(make_lab, tmp_path):
    """A function: fields of the inventory -> (check -> finding, exit code) of a broken board."""
    lab = make_lab("sick=ssh-amd64,disk=256M")
    lab.run_in("sick", ["sh", "-c", BREAK], check=True)
    node = lab.devices["sick"]

    def ask(**fields):
        known = {
            "host": node.address,
            "user": "edge",
            "key_file": lab.ssh_key_path,
            "known_hosts": lab.known_hosts_path,
        }
        entry = {**known, "provenance": "emulated", **fields}
        text = "\n".join(f"    {key}: {value}" for key, value in entry.items() if value is not None)
        (tmp_path / "devices.yaml").write_text(f"devices:\n  sick:\n{text}\n")
        with lab.inside("ctl"):
            seen = examine(load_inventory(tmp_path / "devices.yaml").device("sick"), Deadline(60))
        return {finding.check: finding for finding in reversed(seen.findings)}, seen.exit_code

    ask.lab = lab
    return ask


def test_each_place_that_cannot_be_used_is_named(sick):
    for folder, words in (
        ("ro", "Read-only file system"),
        ("full", "No space left on device"),
        ("../../root", "denied"),
    ):
        found, code = sick(workdir=f"/home/edge/{folder}/w")
        assert (found["working folder"].state, code) == ("problem", 1), folder
        assert words in found["working folder"].message
        assert found["agent"].state == "skipped"
        assert found["login shell"].state == "warning"
        assert "Welcome aboard" in found["login shell"].message
    found, code = sick(workdir="/home/edge/noexec/w")
    assert (found["working folder"].state, "noexec" in found["working folder"].message) == ("warning", True)
    assert found["agent"].state == "ok"
    assert (found["runtime"].state, found["runtime"].hint, code) == ("problem", "edgewise setup sick", 1)
    # Nothing was left in the places that it looked at.
    left = sick.lab.run_in("sick", ["sh", "-c", "ls -A /home/edge/full /root"], check=True).stdout
    assert "w" not in left.split()


def test_each_way_that_does_not_lead_there_is_named(sick, tmp_path):
    subprocess.run(["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", tmp_path / "key"], check=True, timeout=20)
    (tmp_path / "none").write_text("")
    _, blob = (tmp_path / "key.pub").read_text().split()[:2]
    (tmp_path / "changed").write_text(f"{sick.lab.devices['sick'].address} ssh-ed25519 {blob}\n")
    cases = [
        ({"port": 2222}, "port", "refuses connections"),
        ({"host": "no-such-board.invalid"}, "name", "does not resolve"),
        ({"known_hosts": tmp_path / "none"}, "host key", "is not known: ssh-ed25519 SHA256:"),
        ({"known_hosts": tmp_path / "changed"}, "host key", "HAS CHANGED"),
        ({"key_file": tmp_path / "key"}, "login", "does not let us in"),
        ({"user": "nobody"}, "login", "nobody@"),
    ]
    for fields, check, words in cases:
        found, code = sick(**fields)
        assert (found[check].state, code) == ("problem", 3), (fields, found)
        assert words in found[check].message
        assert found[check].hint


def test_a_phone_that_does_not_know_us_and_a_port_that_is_no_adbd(lab, tmp_path):
    """The tests' own home has no key that the phone accepts. The transport says how to let it in."""
    hosts = {"phone": lab.devices["phone"].address, "board": lab.devices["board86"].address}
    (tmp_path / "devices.yaml").write_text(
        "devices:\n"
        f"  phone: {{kind: android, host: {hosts['phone']}}}\n"
        f"  other: {{kind: android, host: {hosts['board']}, port: 22}}\n"
    )
    inventory = load_inventory(tmp_path / "devices.yaml")
    with lab.inside("ctl"):
        unknown = examine(inventory.device("phone"), Deadline(60))
        other = examine(inventory.device("other"), Deadline(60))
    for seen in (unknown, other):
        assert (seen.findings[-1].state, seen.exit_code) == ("problem", 3), seen.to_json()
        assert seen.findings[-1].hint
    assert unknown.findings[-1].check == "login"
    assert "Allow USB debugging" in unknown.findings[-1].hint
    assert "something else than ADB" in other.findings[-1].message
