"""The doctor names each fault of a board before a run meets it. One board of the lab, broken in several places."""

from __future__ import annotations

import contextlib
import os
import subprocess

import pytest

from mobile.deadline import Deadline
from mobile.inventory import load_inventory
from mobile.provision.doctor import examine
from mobile.transports import open_transport
from tests.support.cli import edgewise_json
from tests.support.fleet import know_the_phone
from tests.support.single import SingleFile

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


# The lab's boards share this machine's clock, and no namespace has another date. What is asked for the date, `date` and
# Python, answers as on a board without a battery, soon after its start; what the kernel stamps files with does not.
NEVER_SET = r"""
set -e
mkdir -p /usr/local/bin
cat >/usr/local/bin/date <<'END'
#!/bin/sh
read -r up _ </proc/uptime
case "$*" in *+%s) echo "${up%.*}";; *) exec /bin/date -d "@${up%.*}" "$@";; esac
END
chmod 755 /usr/local/bin/date
rm -f /usr/lib/python3.11/sitecustomize.py
cat >/usr/lib/python3.11/sitecustomize.py <<'END'
import time
time.time, time.time_ns = time.monotonic, time.monotonic_ns
END
"""


def test_a_clock_in_1970_is_named_and_spoils_no_run(sick, tmp_path):
    sick.lab.run_in("sick", ["sh", "-c", NEVER_SET], check=True)
    found, _ = sick()
    assert found["clock"].state == "warning"
    assert "says 1970: it was never set" in found["clock"].message
    assert found["clock"].hint == "set it: date -s"
    command = ("--runner", "command", "--command", "sleep 0.05", "--min-count", "5", "--duration", "0.5")
    with sick.lab.inside("ctl"):
        edgewise_json("bench", "--on", "sick", *command, "--detach", cwd=tmp_path)
        (row,) = edgewise_json("attach", cwd=tmp_path)["runs"]
        assert edgewise_json("devices", "sick", cwd=tmp_path)["devices"][0]["runs"] == []
    assert row["verdict"] == "valid"
    assert row["created_utc"] > "2020"  # the host's date
    assert 0.04 < row["latency_s"]["p50"] < 5.0


@pytest.fixture
def adb(lab, own_user_folders, monkeypatch):
    """A function that runs the real adb in the lab, with a server and a key of this test's own."""
    know_the_phone(lab, own_user_folders)
    monkeypatch.setenv("ANDROID_ADB_SERVER_PORT", "15038")
    env = dict(os.environ)

    def call(*words):
        return lab.run_in_ctl(["adb", *words], timeout_s=30, env=env).stdout

    yield call
    call("kill-server")


def phone_of(folder, **fields):
    """A phone with these fields in the inventory."""
    entry = ", ".join(f"{key}: {value!r}" for key, value in fields.items())
    (folder / "devices.yaml").write_text(f"devices:\n  phone: {{kind: android, provenance: emulated, {entry}}}\n")
    return load_inventory(folder / "devices.yaml").device("phone")


def answers(folder, **fields):
    """Whether a command runs on that phone."""
    with contextlib.closing(open_transport(phone_of(folder, **fields))) as transport:
        return transport.run(["true"], deadline=Deadline(30)).ok


def test_a_phone_that_an_adb_server_has_too_is_reached_both_ways(lab, adb, tmp_path):
    """This adbd serves several connections side by side."""
    address = lab.devices["phone"].address
    assert "connected" in adb("connect", f"{address}:5555")
    with lab.inside("ctl"):
        assert answers(tmp_path, host=address)
        assert answers(tmp_path, serial=f"{address}:5555")
    assert f"{address}:5555\tdevice" in adb("devices")


def test_a_phone_whose_only_connection_an_adb_server_holds_is_named_and_reached_through_it(
    lab, adb, tmp_path, monkeypatch
):
    with lab.inside("ctl"), SingleFile(lab.devices["phone"].address, 5555) as door:
        where = f"127.0.0.1:{door.port}"
        assert "connected" in adb("connect", where)
        with monkeypatch.context() as impatient:
            impatient.setattr("mobile.transports.adb_direct.CONNECT_LIMIT_S", 2.0)
            seen = examine(phone_of(tmp_path, host="127.0.0.1", port=door.port), Deadline(60))
        (problem,) = [finding for finding in seen.findings if finding.state == "problem"]
        assert (problem.check, seen.exit_code) == ("service", 3)
        assert "does not answer ADB within 2 s" in problem.message
        assert f"`adb disconnect {where}`" in problem.hint
        assert answers(tmp_path, serial=where)
        adb("disconnect", where)  # as the hint says
        assert answers(tmp_path, host="127.0.0.1", port=door.port)
