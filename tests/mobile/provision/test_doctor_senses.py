"""The doctor names a board's sensors with what they cover, what joules will be made of, and what spoils them."""

from __future__ import annotations

import json

import pytest

from mobile.inventory.models import Device
from mobile.provision.findings import Examination
from mobile.provision.senses import check_energy, check_journal, check_meter, check_power, check_sensors
from tests.mobile.meters.test_meter_texts import SWITCH
from tests.support.cli import edgewise
from tests.support.meters import by_path, meter_server
from tests.support.recordings import archive_of
from tests.support.runs import sensor
from tests.support.sysfs import make_tree, read_tsv


def told(check, *arguments):
    seen = Examination("board")
    check(seen, *arguments)
    return [(finding.state, finding.message) for finding in seen.findings]


def test_sensors_are_listed_by_quantity_with_what_they_cover():
    sensors = [sensor("power.VDD_IN", "power", scope="module input"), sensor("temperature.tj", "temperature")]
    assert told(check_sensors, sensors) == [
        ("ok", "power: power.VDD_IN (module input)"),
        ("ok", "temperature: temperature.tj (scope of temperature.tj)"),
    ]


def test_what_root_would_add_is_one_line():
    denied = [
        sensor(
            f"energy.rapl.package-{n}", "energy", "failed", reason="permission denied: the counters are ... root only"
        )
        for n in (0, 1)
    ]
    found = told(check_sensors, denied)
    assert ("warning", "root would add energy.rapl.package-0, energy.rapl.package-1") in found
    assert len([message for _, message in found if message.startswith("energy.rapl")]) == 1


def test_the_rule_for_the_total_is_named_with_what_it_leaves_out():
    (found,) = told(check_energy, [sensor("power.VDD_IN", "power")], False)
    assert found[0] == "ok"
    assert found[1].startswith("power.VDD_IN: module input; without the carrier board")


def test_a_slow_source_says_how_long_to_measure():
    sensors = [sensor("charge.battery", "charge", period_s=10.0), sensor("voltage.battery", "voltage")]
    seen = Examination("phone")
    check_energy(seen, sensors, False)
    slow = seen.findings[-1]
    assert (slow.state, slow.hint) == ("warning", "measure for 100 s or longer: --duration 100")


def test_no_total_says_why_and_what_helps():
    absent = sensor("power.rails", "power", "absent", reason="this device has no INA3221 power monitor")
    seen = Examination("pi4")
    check_energy(seen, [absent], False)
    assert seen.findings[0].message == "no figure in joules: this device has no INA3221 power monitor"
    assert "docs/meters.md" in str(seen.findings[0].hint)
    assert told(check_energy, [absent], True) == []  # it has a meter


def test_a_charger_a_power_mode_and_locked_clocks_are_told():
    facts = {
        "power_supply": {"source": "external", "battery": "Charging"},
        "power_mode": {"name": "25W", "id": 1},
        "clocks_locked": True,
    }
    (charger, mode, clocks) = told(check_power, facts)
    assert charger[0] == "warning" and "not the consumption" in charger[1]
    assert mode == ("ok", "25W (1)")
    assert clocks[1].startswith("locked")
    assert told(check_power, {"power_supply": None, "clocks_locked": False, "governor": "ondemand"}) == [
        ("ok", "free, governor ondemand")
    ]


def test_settings_that_a_run_left_changed_are_told():
    left = {"what": "governor of policy0", "was": "ondemand", "now": "performance", "held": False, "age_s": 60.0}
    restored = {"what": "nvpmodel", "to": "25W", "ok": True, "why": None}
    refused = {"what": "nvpmodel", "to": "25W", "ok": False, "why": "it needs a reboot"}
    found = told(check_journal, {"journal": [left, {**left, "held": True}], "restored": [restored, refused]})
    assert [state for state, _ in found] == ["warning", "warning", "ok", "warning"]
    assert "could not be put back" in found[0][1]
    assert "is going on" in found[1][1]
    assert "it needs a reboot" in found[3][1]
    assert told(check_journal, {}) == told(check_journal, {"journal": "x", "restored": [7]}) == []


def device(**meter):
    return Device.model_validate({"name": "board", "transport": "local", "meter": meter})


def test_a_meter_is_asked_once(monkeypatch):
    answers = {"/shelly": {"gen": 2}, "/rpc/Switch.GetStatus?id=0": SWITCH}
    with meter_server(by_path(answers)) as server:
        board = device(kind="shelly", url=server.url, component="switch")
        assert told(check_meter, board) == [("ok", "8.9 W, wall (with the losses of the power supply)")]
    ((state, message),) = told(check_meter, board)
    assert (state, "does not answer" in message) == ("warning", True)
    ((state, message),) = told(check_meter, device(kind="command", argv=("printf", "0")))
    assert (state, "0 W" in message) == ("warning", True)
    ((state, message),) = told(check_meter, device(kind="shelly", url="http://h", password_env="NO_SUCH_VARIABLE"))
    assert state == "problem"


@pytest.mark.slow
def test_a_recording_is_made_by_the_doctor_and_becomes_a_device(tmp_path):
    done = edgewise("doctor", "local", "--record", "me.zip", "--json", cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    about = json.loads(done.stdout)
    assert about["counts"]["files"] > 0 and set(about) == {
        "archive", "board", "date", "counts", "redacted", "notes",
    }  # fmt: skip
    again = edgewise("doctor", "local", "--record", "me.zip", cwd=tmp_path)
    assert (again.returncode, "is there already" in again.stderr) == (2, True)

    from mobile.record.replay import replay_archive

    board = make_tree(tmp_path / "board", read_tsv("constructed_orin_nano_hwmon.tsv"))
    replay_archive(archive_of(board, tmp_path / "orin.zip"), tmp_path / "orin")
    (tmp_path / "devices.yaml").write_text("devices:\n  orin:\n    transport: local\n    replay: orin\n")
    benched = edgewise(
        "bench", "--runner", "null", "--on", "orin", "--duration", "2", "--json", cwd=tmp_path,
        EDGEWISE_STORE=str(tmp_path / "runs.sqlite3"),
    )  # fmt: skip
    assert benched.returncode == 0, benched.stderr
    (run,) = json.loads(benched.stdout)["runs"]
    assert run["provenance"] == "replayed"
    assert run["energy_all"][0]["sensor"] == "power.VDD_IN"
