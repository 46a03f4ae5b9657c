"""CPU clocks: /sys/devices/system/cpu/cpufreq/policy*, in kHz (kernel Documentation/admin-guide/pm/cpufreq.rst).

Two sensors per policy: the clock, and the cap as a share: scaling_max_freq / cpuinfo_max_freq. Thermal governors and
power modes act through the cap, so a cap below 1 that falls during a run is throttling that no status flag may show.
"""

import os
from typing import Callable, List

from device_agents.sensors.base import Findings, Sensor, add, descriptor, scaled
from device_agents.sensors.files import SensorError, folder, read_label, read_number, under

FOLDER = "/sys/devices/system/cpu/cpufreq"
HZ_PER_UNIT = 1e3  # cpufreq ABI: kHz
MAX_POLICIES = 32  # x86 has a policy per CPU: on a large server reading all of them would cost more than it tells


def policies(root: str) -> List[str]:
    """The folders of all policies, in natural order. A policy is named after its first CPU: a stable name."""
    base = under(root, FOLDER)
    return [os.path.join(base, name) for name in folder(base) if name.startswith("policy")]


def find(root: str) -> Findings:
    """``frequency.policyN`` (Hz) and ``cap.policyN`` (share of the hardware's maximum) for each policy."""
    findings = Findings([], [])
    found = policies(root)
    for path in found[:MAX_POLICIES]:
        _add_clock(findings, path)
        _add_cap(findings, path)
    if len(found) > MAX_POLICIES:
        reason = "not sampled: only the first {} of {} policies are".format(MAX_POLICIES, len(found))
        findings.missing.append(descriptor("frequency.others", "frequency", "CPU clocks", FOLDER, "absent", reason))
    if not found:
        reason = "the kernel shows no CPU clocks (no cpufreq driver: usual in virtual machines)"
        for name, quantity in (("frequency", "frequency"), ("cap", "ratio")):
            findings.missing.append(descriptor(name, quantity, "CPU clocks", FOLDER, "absent", reason))
    return findings


def _add_clock(findings: Findings, path: str) -> None:
    source = os.path.join(path, "scaling_cur_freq")
    about = descriptor(
        "frequency." + os.path.basename(path),
        "frequency",
        _scope(path),
        source,
        resolution=HZ_PER_UNIT,
        note="on many boards the clock that was asked for; firmware may hold the real one lower",
    )
    add(findings, Sensor(about, [source], scaled(HZ_PER_UNIT)))


def _add_cap(findings: Findings, path: str) -> None:
    source = os.path.join(path, "scaling_max_freq")
    about = descriptor("cap." + os.path.basename(path), "ratio", _scope(path), source)
    try:
        highest_khz = read_number(os.path.join(path, "cpuinfo_max_freq"))
    except SensorError as error:
        highest_khz, why = 0, error.reason
    else:
        why = "it is {}".format(highest_khz)
    if highest_khz <= 0:
        about.update(state="absent", reason="the hardware's maximum is not known: cpuinfo_max_freq: " + why)
        findings.missing.append(about)
        return
    about["resolution"] = 1.0 / highest_khz
    about["note"] = "scaling_max_freq as a share of cpuinfo_max_freq ({:g} Hz)".format(highest_khz * HZ_PER_UNIT)
    add(findings, Sensor(about, [source], _share_of(highest_khz)))


def _share_of(highest_khz: int) -> Callable[[List[int]], float]:
    def share(numbers: List[int]) -> float:
        return numbers[0] / highest_khz

    return share


def _scope(path: str) -> str:
    cpus = read_label(os.path.join(path, "related_cpus")) or read_label(os.path.join(path, "affected_cpus"))
    return "CPUs {}".format(cpus) if cpus else "CPUs of " + os.path.basename(path)
