"""A Raspberry Pi in a tree: vcgencmd is a script there that prints what real ones printed."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from device_agents.sensors import rpi_volt, vcgencmd
from device_agents.sensors.base import Findings, SourceSensor
from device_agents.sensors.files import SensorError
from tests.support.sysfs import make_tree, set_file

RECORDED = Path(__file__).parents[2] / "data" / "telemetry" / "raspberry_pi"
PI5 = {"/proc/device-tree/model": "Raspberry Pi 5 Model B Rev 1.0"}
PI4 = {"/proc/device-tree/model": "Raspberry Pi 4 Model B Rev 1.5"}
ALARM = {"/sys/class/hwmon/hwmon3/name": "rpi_volt", "/sys/class/hwmon/hwmon3/in0_lcrit_alarm": "0"}
ZONE = {"/sys/class/thermal/thermal_zone0/type": "cpu-thermal", "/sys/class/thermal/thermal_zone0/temp": "47200"}
WORD = "/sys/devices/platform/soc/soc:firmware/get_throttled"

# Answers lie in files beside the script, so that a test changes what the board says; each call is noted.
SCRIPT = """#!/bin/sh
here=$(dirname "$0")/../share/vc
echo "$*" >> "$here/calls"
file="$here/$(echo "$*" | tr ' ' '_')"
if [ -e "$file" ]; then cat "$file"; exit 0; fi
echo 'error=1 error_msg="Command not registered"'; exit 0
"""


def program(root: str, name: str, script: str) -> None:
    path = Path(root) / "usr/bin" / name
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(script)
    path.chmod(0o755)


def answer(root: str, command: str, printed: str) -> None:
    set_file(root, "/usr/share/vc/" + command.replace(" ", "_"), printed)


def calls(root: str) -> list[str]:
    return (Path(root) / "usr/share/vc/calls").read_text().splitlines()


def board(tmp_path: Path, files: dict[str, str], pmic: str | None = None) -> str:
    root = make_tree(tmp_path, {**files, "/usr/share/vc/calls": ""})
    program(root, "vcgencmd", SCRIPT)
    answer(root, "get_throttled", "throttled=0x0")
    for clock, hz in (("arm", 2400004352), ("core", 910007000), ("v3d", 0)):
        answer(root, "measure_clock " + clock, f"frequency(0)={hz}")
    answer(root, "measure_volts core", "volt=0.8800V")
    answer(root, "measure_temp", "temp=59.3'C")
    if pmic is not None:
        answer(root, "pmic_read_adc", (RECORDED / pmic).read_text())
    return root


def values(findings: Findings) -> dict[str, float]:
    return {sensor.name: sensor.read() for sensor in findings.sensors}


def reasons(findings: Findings) -> dict[str, tuple[str, str]]:
    return {about["name"]: (about["state"], about["reason"]) for about in findings.missing}


def refresh(findings: Findings, times: int = 1) -> None:
    sources = {sensor.source for sensor in findings.sensors if isinstance(sensor, SourceSensor)}
    for _ in range(times):
        for source in sources:
            assert source is not None
            source.refresh()


def test_a_pi5_with_everything(tmp_path: Path) -> None:
    findings = vcgencmd.find(board(tmp_path, {**PI5, **ALARM, **ZONE}, "pi5_pmic_read_adc_load.txt"))
    found = values(findings)
    assert found["power.pmic"] == pytest.approx(10.7999, abs=5e-5)
    assert found["power.board-estimate"] == pytest.approx(12.9549, abs=1e-4)
    assert found["power.pmic.VDD_CORE"] == pytest.approx(9.7614, abs=5e-5)
    assert found["voltage.EXT5V"] == 5.06788
    assert found["frequency.arm"] == 2400004352
    assert found["frequency.v3d"] == 0.0
    flags = {name for name in found if name.startswith("throttle.")}
    assert len(flags) == 9
    assert {found[name] for name in flags} == {0.0}
    assert {"throttle.now.undervoltage", "throttle.since-boot.undervoltage", "throttle.now.undervoltage-alarm"} <= flags
    assert "temperature.soc" not in found  # the thermal zone has it for less
    assert "voltage.core-requested" not in found  # the PMIC measures VDD_CORE
    assert findings.missing == []


def test_descriptors_say_what_a_figure_leaves_out(tmp_path: Path) -> None:
    findings = vcgencmd.find(board(tmp_path, {**PI5, **ZONE}, "pi5_pmic_read_adc_idle.txt"))
    about = {sensor.name: sensor.descriptor for sensor in findings.sensors}
    assert "without what hangs on 5 V" in about["power.pmic"]["scope"]
    assert about["power.board-estimate"]["scope"] == "board 5 V input, estimated"
    assert "one board" in about["power.board-estimate"]["note"]
    assert about["power.pmic"]["accuracy"]["noise"] == 1.0
    assert about["power.board-estimate"]["accuracy"]["noise"] == pytest.approx(1.1451)
    assert about["throttle.now.undervoltage"]["quantity"] == "flag"
    assert about["power.pmic"]["period_s"] == vcgencmd.PERIOD_S
    assert about["frequency.arm"]["period_s"] == pytest.approx(1.0)
    assert about["frequency.v3d"]["period_s"] == pytest.approx(5.0)
    assert about["power.pmic"]["source"] == "vcgencmd pmic_read_adc"


def test_a_pi4_has_no_power_but_says_why(tmp_path: Path) -> None:
    root = board(tmp_path, PI4)
    answer(root, "get_throttled", (RECORDED / "pi4_soft_temp_limit.txt").read_text())
    findings = vcgencmd.find(root)
    found = values(findings)
    assert found["throttle.now.soft-limit"] == found["throttle.since-boot.soft-limit"] == 1.0
    assert found["throttle.now.capped"] == 0.0
    assert found["voltage.core-requested"] == 0.88
    assert found["temperature.soc"] == 59.3  # this tree has no thermal zone
    about = {sensor.name: sensor.descriptor for sensor in findings.sensors}
    assert "not a measurement" in about["voltage.core-requested"]["note"]
    state, reason = reasons(findings)["power.pmic"]
    assert state == "absent"
    assert "needs a meter" in reason
    assert "Command not registered" in reason


def test_dear_questions_are_asked_seldom_and_none_is_asked_for_nothing(tmp_path: Path) -> None:
    root = board(tmp_path, {**PI5, **ZONE}, "pi5_pmic_read_adc_idle.txt")
    findings = vcgencmd.find(root)
    before = len(calls(root))
    refresh(findings, 50)  # 10 s
    asked = calls(root)[before:]
    counts = {command: asked.count(command) for command in set(asked)}
    assert counts == {
        "pmic_read_adc": 50, "get_throttled": 50, "measure_clock arm": 10, "measure_clock core": 2,
        "measure_clock v3d": 2,
    }  # fmt: skip
    assert len(asked) / (50 * vcgencmd.PERIOD_S) <= 12


def test_the_programs_cpu_time_is_counted(tmp_path: Path) -> None:
    findings = vcgencmd.find(board(tmp_path, {**PI5, **ZONE}, "pi5_pmic_read_adc_idle.txt"))
    source = findings.sensors[0].source
    assert source is not None
    before = source.cpu_s
    refresh(findings)
    assert source.cpu_s > before


def test_values_that_go_away_are_reasons_and_never_the_old_ones(tmp_path: Path) -> None:
    root = board(tmp_path, {**PI5, **ZONE}, "pi5_pmic_read_adc_idle.txt")
    findings = vcgencmd.find(root)
    sensors = {sensor.name: sensor for sensor in findings.sensors}
    answer(root, "pmic_read_adc", "\n".join((RECORDED / "pi5_pmic_read_adc_idle.txt").read_text().splitlines()[:20]))
    answer(root, "get_throttled", "throttled=?")
    refresh(findings)
    for name in ("power.pmic", "power.board-estimate", "power.pmic.HDMI", "throttle.now.capped", "voltage.EXT5V"):
        with pytest.raises(SensorError) as caught:
            sensors[name].read()
        assert caught.value.reason
    assert sensors["power.pmic.VDD_CORE"].read() == pytest.approx(0.6825, abs=5e-5)
    program(root, "vcgencmd", "#!/bin/sh\necho broken >&2\nexit 254\n")
    refresh(findings)
    with pytest.raises(SensorError, match="vcgencmd ended with 254: broken"):
        sensors["power.pmic.VDD_CORE"].read()


@pytest.mark.parametrize(
    "script",
    [
        "echo \"Can't open device file: /dev/vcio\"; echo 'Try creating a device file'; exit 255",
        'echo "Can\'t open device file: /dev/vcio_gencmd"',
        "echo 'VCHI initialization failed' >&2; exit 255",
    ],
)
def test_no_permission_tells_the_remedy_and_the_kernel_steps_in(tmp_path: Path, script: str) -> None:
    root = board(tmp_path, {**PI5, **ZONE, **ALARM})
    program(root, "vcgencmd", f"#!/bin/sh\n{script}\n")
    findings = vcgencmd.find(root)
    for name in ("throttle.now", "power.pmic"):
        state, reason = reasons(findings)[name]
        assert state == "failed"
        assert "sudo usermod -aG video" in reason
    assert values(findings) == {"throttle.now.undervoltage": 0.0}


def test_without_vcgencmd_the_alarm_is_what_there_is(tmp_path: Path) -> None:
    root = make_tree(tmp_path, {**PI5, **ALARM})
    findings = vcgencmd.find(root)
    assert reasons(findings)["throttle.now"] == (
        "absent", "vcgencmd is not installed (package raspi-utils, on older systems libraspberrypi-bin)",
    )  # fmt: skip
    assert values(findings) == {"throttle.now.undervoltage": 0.0}
    about = findings.sensors[0].descriptor
    assert (about["quantity"], about["period_s"]) == ("flag", 2.0)
    set_file(root, "/sys/class/hwmon/hwmon3/in0_lcrit_alarm", "1")
    assert values(findings) == {"throttle.now.undervoltage": 1.0}


def test_the_constructed_tree_of_a_pi5_has_the_alarm(tmp_path: Path) -> None:
    files = dict(
        line.split("\t", 1)
        for line in (RECORDED / "constructed_sysfs.tsv").read_text().splitlines()
        if not line.startswith("#")
    )
    assert values(vcgencmd.find(make_tree(tmp_path, files))) == {"throttle.now.undervoltage": 0.0}


def test_the_kernels_word_is_hexadecimal_and_stands_in_for_vcgencmd(tmp_path: Path) -> None:
    root = make_tree(tmp_path, {**PI4, **ALARM, WORD: "80008"})
    findings = vcgencmd.find(root)
    found = values(findings)
    assert {name for name, value in found.items() if value} == {
        "throttle.now.soft-limit", "throttle.since-poll.soft-limit",
    }  # fmt: skip
    assert len(found) == 8  # and no alarm: it is one of the bits
    set_file(root, WORD, "nothing")
    refresh(findings)
    with pytest.raises(SensorError, match="no throttle flags"):
        findings.sensors[0].read()
    os.remove(root + WORD)
    refresh(findings)
    with pytest.raises(SensorError, match="cannot be read"):
        findings.sensors[0].read()


def test_the_kernels_word_is_not_asked_where_vcgencmd_answers(tmp_path: Path) -> None:
    findings = vcgencmd.find(board(tmp_path, {**PI5, WORD: "50005", **ZONE}, "pi5_pmic_read_adc_idle.txt"))
    assert not any("since-poll" in sensor.name for sensor in findings.sensors)
    assert values(findings)["throttle.now.undervoltage"] == 0.0


@pytest.mark.parametrize(
    ("name", "count"), [("dmesg_undervoltage_old.txt", 2), ("dmesg_undervoltage_new_hwmon.txt", 4)]
)
def test_undervoltages_of_the_kernel_log_are_counted(tmp_path: Path, name: str, count: int) -> None:
    root = make_tree(tmp_path, PI4)
    # the rest of the log is nobody's business
    program(root, "dmesg", f'#!/bin/sh\n[ "$*" = "--level emerg,alert,crit" ] && cat {RECORDED / name}\n')
    assert values(vcgencmd.find(root)) == {"throttle.undervoltage-events": count}


def test_a_kernel_log_that_forgets_its_oldest_lines_does_not_count_down(tmp_path: Path) -> None:
    root = make_tree(tmp_path, {"/log": ""})
    program(root, "dmesg", f"#!/bin/sh\ncat {root}/log\n")
    source = rpi_volt.KernelLog(root + "/usr/bin/dmesg")
    counts = []
    for stamps in ([1, 2], [1, 2], [2, 3], [3], [], [7, 8]):
        set_file(root, "/log", "\n".join(f"[    {stamp}.5] Under-voltage detected! (0x00050005)" for stamp in stamps))
        counts.append(source.fetch()["events"])
    assert counts == [2, 2, 3, 3, 3, 5]


def test_a_kernel_log_that_may_not_be_read_is_a_reason(tmp_path: Path) -> None:
    root = make_tree(tmp_path, PI4)
    program(root, "dmesg", "#!/bin/sh\necho 'dmesg: read kernel buffer failed: Operation not permitted' >&2; exit 1\n")
    state, reason = reasons(vcgencmd.find(root))["throttle.undervoltage-events"]
    assert state == "failed"
    assert "Operation not permitted" in reason


def test_no_raspberry_pi(tmp_path: Path) -> None:
    root = make_tree(tmp_path, {"/proc/device-tree/model": "NVIDIA Jetson Nano"})
    findings = vcgencmd.find(root)
    assert findings.sensors == []
    assert reasons(findings) == {"throttle.now": ("absent", "this is no Raspberry Pi")}
