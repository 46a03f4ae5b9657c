"""NVIDIA's boards: Orin Nano, AGX Orin, Thor, and the Nano of 2019 with the power monitor in its old place.

From tests/data/telemetry/jetson (SOURCES.md there says where each was recorded): labels, rail voltages, zone names and
lines of tegrastats as recorded; folder numbers are arbitrary, as they are on the boards.
"""

from __future__ import annotations

from pathlib import Path

from tests.lab.personalities.base import (
    DEVICE_TREE_LINK,
    Personality,
    Program,
    cpu_links,
    cpus,
    device_tree,
    zones,
)

TELEMETRY = Path(__file__).resolve().parents[2] / "data/telemetry"

_GOVERNORS = "interactive conservative ondemand userspace powersave performance schedutil"

# Prints a line at every interval (milliseconds) until it is ended, as the real one does.
_TEGRASTATS = """\
interval=1000
while [ $# -gt 0 ]; do
  case "$1" in
  --interval) interval=$2; shift ;;
  --stop) exit 0 ;;
  esac
  shift
done
while :; do
  cat "$said/line" || exit 1
  sleep "$((interval / 1000)).$(printf %03d "$((interval % 1000))")"
done
"""

# -q tells the mode, -m sets it (root only, and a mode of the list only), -p lists them.
_NVPMODEL = """\
case "$1" in
-q) cat "$said/q" ;;
-m)
  [ "$(id -u)" = 0 ] || { echo "NVPM ERROR: Permission denied" >&2; exit 1; }
  name=$(sed -n "s/.*POWER_MODEL: ID=$2 NAME=//p" "$said/p")
  [ -n "$name" ] || { echo "NVPM ERROR: Invalid power mode $2" >&2; exit 1; }
  printf 'NV Power Mode: %s\\n%s\\n' "$name" "$2" >"$said/q"
  ;;
-p) cat "$said/p" ;;
*) echo "NVPM ERROR: unknown option $1" >&2; exit 1 ;;
esac
"""

_JETSON_CLOCKS = """\
[ "$(id -u)" = 0 ] || { echo "Error: Run this script(/usr/bin/jetson_clocks) as a root user"; exit 1; }
case "$1" in
--show) cat "$said/show" ;;
--store | --restore | "") ;;
*) echo "Unknown option $1"; exit 1 ;;
esac
"""


def _modes(*names: str) -> str:
    """What `nvpmodel -p --verbose` prints of its modes, the first one being number 0."""
    lines = [f"NVPM VERB: PM_CONFIG: DEFAULT={names[0]}(0)\n"]
    lines += [f"NVPM VERB: POWER_MODEL: ID={number} NAME={name}\n" for number, name in enumerate(names)]
    return "".join(lines)


def _programs(tegrastats: str, mode: tuple[str, int], modes: str, show: str) -> dict[str, Program]:
    line = (TELEMETRY / "jetson/tegrastats" / tegrastats).read_text()
    query = f"NV Power Mode: {mode[0]}\n{mode[1]}\n"
    return {
        "tegrastats": Program(body=_TEGRASTATS, texts={"line": line}),
        "nvpmodel": Program(body=_NVPMODEL, texts={"q": query, "p": modes}),
        "jetson_clocks": Program(body=_JETSON_CLOCKS, texts={"show": show}),
    }


def _show(count: int, lowest: int, highest: int, gpu: tuple[int, int]) -> str:
    """What `jetson_clocks --show` prints (format of the recorded agx_orin_jp5_show_truncated.txt)."""
    lines = ["SOC family:tegra234  Machine:Jetson", f"Online CPUs: 0-{count - 1}"]
    for cpu in range(count):
        clocks = f"MinFreq={lowest} MaxFreq={highest} CurrentFreq={highest}"
        lines.append(f"cpu{cpu}: Online=1 Governor=schedutil {clocks} IdleStates: WFI=1 c7=1 ")
    lines.append(f"GPU MinFreq={gpu[0]} MaxFreq={gpu[1]} CurrentFreq={gpu[0]}")
    return "\n".join(lines) + "\n"


def _ina3221(hwmon: int, address: str, rails: dict[int, tuple[str, int, int]]) -> dict[str, str]:
    """Channels 1 to 3 -> (label, mV, mA) of a power monitor; "NC" for a channel that is not connected."""
    folder = f"/sys/class/hwmon/hwmon{hwmon}"
    files = {f"{folder}/name": "ina3221", f"{folder}/samples": "1", f"{folder}/update_interval": "7"}
    files |= {f"{folder}/in7_label": "sum of shunt voltages", f"{folder}/in7_input": "19000"}
    files[f"{folder}/curr4_input"] = str(sum(milliamps for _, _, milliamps in rails.values()))
    for channel, (label, millivolts, milliamps) in rails.items():
        files |= {
            f"{folder}/in{channel}_label": label,
            f"{folder}/in{channel}_enable": "1",
            f"{folder}/in{channel}_input": str(millivolts),
            f"{folder}/curr{channel}_input": str(milliamps),
            f"{folder}/curr{channel}_max": "7784",
            f"{folder}/curr{channel}_crit": "7784",
            f"{folder}/curr{channel}_max_alarm": "0",
            f"{folder}/curr{channel}_crit_alarm": "0",
        }
    driver = f"/sys/bus/i2c/drivers/ina3221/{address}"
    return files | {f"{driver}/name": "ina3221"}


def _ina3221_link(hwmon: int, address: str) -> dict[str, str]:
    path = f"/sys/bus/i2c/drivers/ina3221/{address}/hwmon/hwmon{hwmon}"
    return {path: f"../../../../../../class/hwmon/hwmon{hwmon}"}


def _soctherm(hwmon: int) -> dict[str, str]:
    folder = f"/sys/class/hwmon/hwmon{hwmon}"
    files = {f"{folder}/name": "soctherm_oc"}
    for number in (1, 2, 3):
        files |= {f"{folder}/oc{number}_throt_en": "1", f"{folder}/oc{number}_event_cnt": "0"}
    return files


def _devfreq(name: str, lowest: int, highest: int) -> dict[str, str]:
    folder = f"/sys/class/devfreq/{name}"
    values = {"cur_freq": lowest, "min_freq": lowest, "max_freq": highest}
    files = {f"{folder}/{key}": str(value) for key, value in values.items()}
    steps = " ".join(str(lowest + (highest - lowest) * step // 4) for step in range(5))
    return files | {f"{folder}/governor": "nvhost_podgov", f"{folder}/available_frequencies": steps}


def _cooling(*kinds: str) -> dict[str, str]:
    files = {}
    for number, kind in enumerate(kinds):
        folder = f"/sys/class/thermal/cooling_device{number}"
        files |= {f"{folder}/type": kind, f"{folder}/cur_state": "0", f"{folder}/max_state": "10"}
    return files


def _release(number: int, revision: str) -> dict[str, str]:
    return {
        "/etc/nv_tegra_release": f"# R{number} (release), REVISION: {revision}, GCID: 0, BOARD: generic, EABI: aarch64"
    }


_ORIN_ZONES = {
    "cpu-thermal": "46125",
    "gpu-thermal": "45062",
    "cv0-thermal": "-256000",  # switched off with its block
    "cv1-thermal": "-256000",
    "cv2-thermal": "-256000",
    "soc0-thermal": "44156",
    "soc1-thermal": "46000",
    "soc2-thermal": "45843",
    "tj-thermal": "46125",
}
_NANO_POLICIES = {0: (4, 115200, 1510400), 4: (2, 115200, 1510400)}

ORIN_NANO = Personality(
    "orin-nano",
    files={
        **device_tree(
            "NVIDIA Jetson Orin Nano Engineering Reference Developer Kit Super",
            "nvidia,p3768-0000+p3767-0005-super",
            "nvidia,p3767-0005",
            "nvidia,tegra234",
        ),
        **cpus(_NANO_POLICIES, "schedutil", _GOVERNORS),
        **zones(_ORIN_ZONES),
        **_cooling("pwm-fan", "cpufreq-cpu0", "cpufreq-cpu4", "devfreq-17000000.gpu", "cpu-throttle-alert"),
        **_ina3221(
            1,
            "1-0040",
            {1: ("VDD_IN", 4968, 952), 2: ("VDD_CPU_GPU_CV", 4960, 96), 3: ("VDD_SOC", 4960, 288)},
        ),
        **_soctherm(3),
        **_devfreq("17000000.gpu", 306_000_000, 1_020_000_000),
        "/sys/devices/platform/gpu.0/load": "0",
        **_release(36, "4.3"),
    },
    programs=_programs(
        "orin_nano8_jp6_nosudo.txt",
        ("25W", 1),
        _modes("15W", "25W", "MAXN_SUPER"),
        _show(6, 115200, 1510400, (306_000_000, 1_020_000_000)),
    ),
    links={**_ina3221_link(1, "1-0040"), **cpu_links(_NANO_POLICIES), **DEVICE_TREE_LINK},
    cores=6,
)

_AGX_POLICIES = {0: (4, 115200, 2201600), 4: (4, 115200, 2201600), 8: (4, 115200, 2201600)}

AGX_ORIN = Personality(
    "agx-orin",
    files={
        **device_tree("NVIDIA Jetson AGX Orin Developer Kit", "nvidia,p3737-0000+p3701-0005", "nvidia,tegra234"),
        **cpus(_AGX_POLICIES, "schedutil", _GOVERNORS),
        **zones({**_ORIN_ZONES, "cpu-thermal": "42000", "tj-thermal": "42000"}),
        **_cooling("pwm-fan", "cpufreq-cpu0", "cpufreq-cpu4", "cpufreq-cpu8", "devfreq-17000000.gpu"),
        **_ina3221(
            2,
            "1-0040",
            {1: ("VDD_GPU_SOC", 19760, 240), 2: ("VDD_CPU_CV", 19760, 40), 3: ("VIN_SYS_5V0", 5048, 880)},
        ),
        **_ina3221(4, "1-0041", {1: ("NC", 0, 0), 2: ("VDDQ_VDD2_1V8AO", 5048, 120), 3: ("NC", 0, 0)}),
        **_soctherm(5),
        **_devfreq("17000000.gpu", 306_000_000, 1_300_500_000),
        "/sys/devices/platform/gpu.0/load": "0",
        **_release(36, "4.0"),
    },
    programs=_programs(
        "agx_orin64_jp6_nosudo.txt",
        ("MODE_30W", 2),
        _modes("MAXN", "MODE_15W", "MODE_30W", "MODE_50W"),
        _show(12, 115200, 2201600, (306_000_000, 1_300_500_000)),
    ),
    links={
        **_ina3221_link(2, "1-0040"),
        **_ina3221_link(4, "1-0041"),
        **cpu_links(_AGX_POLICIES),
        **DEVICE_TREE_LINK,
    },
    cores=12,
)

_THOR_POLICIES = dict.fromkeys(range(0, 14, 2), (2, 972000, 2601000))

THOR = Personality(
    "thor",
    files={
        **device_tree("NVIDIA Jetson AGX Thor Developer Kit", "nvidia,p4071-0000+p3834-0008", "nvidia,tegra264"),
        **cpus(_THOR_POLICIES, "schedutil", _GOVERNORS),
        **zones(
            {
                "cpu-thermal": "37343",
                "tj-thermal": "38875",
                "soc012-thermal": "37468",
                "gpu-thermal": "38875",
                "soc345-thermal": "37406",
            }
        ),
        **_cooling("pwm-fan", "cpufreq-cpu0", "devfreq-gpu-gpc-0"),
        **_ina3221(
            5,
            "2-0040",
            {1: ("VDD_GPU", 19624, 100), 2: ("VDD_CPU_SOC_MSS", 19624, 300), 3: ("VIN_SYS_5V0", 5032, 1120)},
        ),
        "/sys/class/hwmon/hwmon6/name": "ina238",
        "/sys/class/hwmon/hwmon6/in1_input": "19780",
        "/sys/class/hwmon/hwmon6/curr1_input": "1000",
        "/sys/class/hwmon/hwmon6/power1_input": "19780000",
        **_soctherm(7),
        **_devfreq("gpu-gpc-0", 315_000_000, 1_575_000_000),
        **_release(38, "2.0"),
    },
    programs=_programs(
        "thor_t5000_jp7_root.txt",
        ("120W", 1),
        _modes("MAXN", "120W", "90W", "70W"),
        _show(14, 972000, 2601000, (315_000_000, 1_575_000_000)),
    ),
    links={**_ina3221_link(5, "2-0040"), **cpu_links(_THOR_POLICIES), **DEVICE_TREE_LINK},
    cores=14,
)

_OLD_POLICIES = {0: (4, 102000, 1479000)}


def _ina3221x(rails: tuple[tuple[str, int, int, int], ...]) -> dict[str, str]:
    """(name, mV, mA, mW) of the channels in the layout of JetPack 4: one power file each, limits as text."""
    folder = "/sys/bus/i2c/drivers/ina3221x/6-0040"
    device = f"{folder}/iio:device0"
    files = {f"{folder}/name": "ina3221x", f"{device}/name": "ina3221x"}
    for channel, (name, millivolts, milliamps, milliwatts) in enumerate(rails):
        files |= {
            f"{device}/rail_name_{channel}": name,
            f"{device}/in_voltage{channel}_input": str(millivolts),
            f"{device}/in_current{channel}_input": str(milliamps),
            f"{device}/in_power{channel}_input": str(milliwatts),
            f"{device}/warn_current_limit_{channel}": "32760 ma",
            f"{device}/crit_current_limit_{channel}": "32760 ma",
        }
    return files


NANO = Personality(
    "nano",
    files={
        **device_tree("NVIDIA Jetson Nano Developer Kit", "nvidia,p3450-0000", "nvidia,jetson-nano", "nvidia,tegra210"),
        **cpus(_OLD_POLICIES, "schedutil", _GOVERNORS),
        **zones(
            {
                "AO-therm": "36000",
                "CPU-therm": "31500",
                "GPU-therm": "30500",
                "PLL-therm": "28000",
                "PMIC-Die": "100000",  # no sensor behind it
                "thermal-fan-est": "31250",
            }
        ),
        **_cooling("pwm-fan", "thermal-cpufreq-0", "gpu-balanced"),
        **_ina3221x(
            (("POM_5V_IN", 5096, 272, 1388), ("POM_5V_GPU", 5096, 24, 122), ("POM_5V_CPU", 5096, 32, 163)),
        ),
        **_devfreq("57000000.gpu", 76_800_000, 921_600_000),
        "/sys/devices/gpu.0/load": "0",
        **_release(32, "7.1"),
    },
    programs=_programs(
        "nano_jp4_nosudo.txt",
        ("MAXN", 0),
        (TELEMETRY / "jetson/nvpmodel/nano_p_verbose.txt").read_text(),
        _show(4, 102000, 1479000, (76_800_000, 921_600_000)),
    ),
    links={**cpu_links(_OLD_POLICIES), **DEVICE_TREE_LINK},
    cores=4,
)

PERSONALITIES = (ORIN_NANO, AGX_ORIN, THOR, NANO)
