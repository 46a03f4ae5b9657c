"""A PC with RAPL counters: zones and ranges as in tests/data/telemetry/x86; readable by all, or by root only."""

from __future__ import annotations

from tests.lab.personalities.base import Personality, cpu_links, cpus

RAPL = "/sys/class/powercap"
RANGE_UJ = 262_143_328_850

_POLICIES = {0: (1, 800000, 3400000), 1: (1, 800000, 3400000)}


def _zone(path: str, name: str, energy_uj: int) -> dict[str, str]:
    folder = f"{RAPL}/{path}"
    return {
        f"{folder}/name": name,
        f"{folder}/energy_uj": str(energy_uj),
        f"{folder}/max_energy_range_uj": str(RANGE_UJ),
        f"{folder}/enabled": "1",
    }


def _throttle_counts() -> dict[str, str]:
    base = "/sys/devices/system/cpu"
    return {
        f"{base}/cpu{cpu}/thermal_throttle/{name}_throttle_count": "0" for cpu in (0, 1) for name in ("core", "package")
    }


X86 = Personality(
    "x86",
    files={
        "/sys/class/dmi/id/sys_vendor": "Edgewise",
        "/sys/class/dmi/id/product_name": "Mini PC",
        **cpus(_POLICIES, "powersave", "performance powersave"),
        "/sys/class/thermal/thermal_zone0/type": "x86_pkg_temp",
        "/sys/class/thermal/thermal_zone0/temp": "42000",
        "/sys/class/hwmon/hwmon2/name": "coretemp",
        "/sys/class/hwmon/hwmon2/temp1_label": "Package id 0",
        "/sys/class/hwmon/hwmon2/temp1_input": "42000",
        "/sys/class/hwmon/hwmon2/temp2_label": "Core 0",
        "/sys/class/hwmon/hwmon2/temp2_input": "41000",
        **_zone("intel-rapl:0", "package-0", 2_469_474_853),
        **_zone("intel-rapl:0:0", "core", 1_469_474_853),
        **_zone("intel-rapl:0:1", "dram", 469_474_853),
        **_throttle_counts(),
    },
    links=cpu_links(_POLICIES),
    cores=2,
)

# Since Linux 5.10 the counters are root's alone (CVE-2020-8694): what a user meets on a PC that nobody has prepared.
X86_LOCKED = Personality(
    "x86-locked",
    X86.files,
    links=X86.links,
    modes={f"{RAPL}/*/energy_uj": 0o400, f"{RAPL}/*/max_energy_range_uj": 0o400},
    cores=2,
)

PERSONALITIES = (X86, X86_LOCKED)
