"""Phones: a Samsung whose sysfs is closed to the shell, a Pixel whose battery may be read, and the same with ODPM open.

Texts of dumpsys from tests/data/telemetry/android, changed only where a phone that runs on its battery says something
else than the recorded one, which was plugged in. A call of dumpsys takes 30 ms.
"""

from __future__ import annotations

import re
from pathlib import Path

from tests.lab.personalities.base import Answer, Personality, Program, cpu_links, cpus, device_tree

TELEMETRY = Path(__file__).resolve().parents[2] / "data/telemetry/android"
CALL_S = 0.03
BATTERY = "/sys/class/power_supply/battery"

# getprop NAME [DEFAULT], or all of them, from the file where init reads them.
_GETPROP = """\
while IFS="=" read -r key value; do
  [ -z "$1" ] && echo "[$key]: [$value]"
  [ "$key" = "$1" ] && { echo "$value"; exit 0; }
done <"$root/system/build.prop"
[ -z "$1" ] || echo "$2"
"""
_GOVERNORS = "walt conservative powersave performance schedutil"


def _recorded(name: str) -> str:
    return (TELEMETRY / name).read_text()


def unplugged(text: str, status: int = 3) -> str:
    """A text of `dumpsys battery` as the same phone prints it on its battery (status 3: discharging)."""
    text = re.sub(r"(?m)^(  (?:AC|USB|Wireless|Dock) powered): true$", r"\1: false", text)
    return re.sub(r"(?m)^  status: \d+$", f"  status: {status}", text)


def with_fields(text: str, **fields: object) -> str:
    """The text with other values of the fields "  NAME: VALUE" (an underscore in a name stands for a blank)."""
    for name, value in fields.items():
        text = re.sub(rf"(?m)^(  {re.escape(name.replace('_', ' '))}): .*$", rf"\g<1>: {value}", text)
    return text


def _dumpsys(battery: str, thermal: str, **more: str) -> Program:
    answers = {"battery": battery, "thermalservice": thermal, **more}
    known = {words: Answer(text, delay_s=CALL_S) for words, text in answers.items()}
    return Program({**known, "*": Answer("Can't find service\n", status=1, delay_s=CALL_S)})


def _properties(maker: str, model: str, device: str, release: str, sdk: int, hardware: str) -> str:
    values = {
        "ro.product.manufacturer": maker,
        "ro.product.brand": maker.lower(),
        "ro.product.model": model,
        "ro.product.device": device,
        "ro.product.cpu.abi": "arm64-v8a",
        "ro.product.cpu.abilist": "arm64-v8a",
        "ro.build.version.sdk": str(sdk),
        "ro.build.version.release": release,
        "ro.hardware": hardware,
        "ro.soc.model": hardware,
    }
    return "\n".join(f"{key}={value}" for key, value in values.items())


def _supply(**values: object) -> dict[str, str]:
    battery = {"type": "Battery", "present": "1", "scope": "System", "health": "Good", **values}
    files = {f"{BATTERY}/{name}": str(value) for name, value in battery.items()}
    names = {f"POWER_SUPPLY_{name.upper()}": value for name, value in battery.items()}
    files[f"{BATTERY}/uevent"] = "\n".join(
        f"{key}={value}" for key, value in {"POWER_SUPPLY_NAME": "battery", **names}.items()
    )
    usb = "/sys/class/power_supply/usb"
    return files | {f"{usb}/type": "USB", f"{usb}/online": "0"}  # fmt: skip


_S23_POLICIES = {0: (3, 307200, 2016000), 3: (4, 499200, 2803200), 7: (1, 595200, 3360000)}
_S23_BATTERY = with_fields(
    unplugged(_recorded("battery/samsung_s23_usb.txt")),
    current_now=-412, LED_Charging="false", mSecPlugTypeSummary=0,
)  # fmt: skip

SAMSUNG = Personality(
    "samsung-s23",
    files={
        **device_tree("Qualcomm Technologies, Inc. Kalama DM1Q EUR OPEN", "qcom,kalama"),
        **cpus(_S23_POLICIES, "walt", _GOVERNORS),
        **_supply(status="Discharging", capacity=44, voltage_now=3_908_000, current_now=-412, temp=422),
        **{f"/sys/class/thermal/thermal_zone{number}/temp": "40000" for number in range(22)},
        **{f"/sys/class/thermal/thermal_zone{number}/type": f"zone{number}" for number in range(22)},
        "/system/build.prop": _properties("samsung", "SM-S911B", "dm1q", "14", 34, "qcom"),
    },
    programs={
        "getprop": Program(body=_GETPROP),
        "dumpsys": _dumpsys(_S23_BATTERY, _recorded("thermalservice/samsung_sm-a155m_android16.txt")),
    },
    links=cpu_links(_S23_POLICIES),
    # SELinux: the shell may list these folders and read nothing in them.
    modes={f"{BATTERY}/*": 0o000, "/sys/class/thermal/thermal_zone*": 0o600},
    android=True,
    cores=8,
)

SAMSUNG_PLUGGED = SAMSUNG.changed(
    "samsung-s23-usb",
    files={f"{BATTERY}/status": "Charging", "/sys/class/power_supply/usb/online": "1"},
    programs={
        "dumpsys": _dumpsys(
            _recorded("battery/samsung_s23_usb.txt"), _recorded("thermalservice/samsung_sm-a155m_android16.txt")
        )
    },
)

_PIXEL_POLICIES = {0: (4, 300000, 1803000), 4: (2, 400000, 2253000), 6: (2, 500000, 2802000)}


def _odpm() -> dict[str, str]:
    """The two energy meters of a Pixel 6: the second block of the recorded dump and the first, each with its rails."""
    first, second = re.split(r"(?m)^(?=t=)", _recorded("power_rails/pixel6_odpm_energy_value_both.txt"))[1:]
    files = {}
    for number, text in enumerate((second, first)):
        folder = f"/sys/bus/iio/devices/iio:device{number}"
        rails = re.findall(r"(?m)^CH(\d+)\(T=\d+\)\[(\w+)\]", text)
        files |= {
            f"{folder}/name": f"s2mpg1{number}-odpm",
            f"{folder}/energy_value": text.rstrip("\n"),
            f"{folder}/enabled_rails": "\n".join(f"CH{channel}[{rail}]:Rail" for channel, rail in rails),
        }
    return files


_PIXEL_BATTERY = with_fields(
    unplugged(_recorded("battery/pixel11pro_sysfs_and_dumpsys.txt").split("#dumpsys\n")[1]),
    level=82, voltage=4102, Charging_state=0, Charging_policy=0, Max_charging_current=0, Max_charging_voltage=0,
    Charge_counter=3_962_500,
)  # fmt: skip

PIXEL = Personality(
    "pixel6",
    files={
        **device_tree("Google Oriole MP 1.0", "google,gs101-oriole", "google,gs101"),
        **cpus(_PIXEL_POLICIES, "sched_pixel", f"sched_pixel {_GOVERNORS}"),
        **_supply(
            status="Discharging",
            capacity=82,
            voltage_now=4_102_187,
            current_now=-211_718,
            charge_counter=3_962_500,
            temp=300,
        ),
        **_odpm(),
        **{f"/sys/class/thermal/thermal_zone{n}/type": kind for n, kind in enumerate(("BIG", "MID", "LITTLE"))},
        **{f"/sys/class/thermal/thermal_zone{n}/temp": "31000" for n in range(3)},
        "/system/build.prop": _properties("Google", "Pixel 6", "oriole", "14", 34, "oriole"),
    },
    programs={
        "getprop": Program(body=_GETPROP),
        "dumpsys": _dumpsys(
            _PIXEL_BATTERY,
            _recorded("thermalservice/snapdragon_pixel_android10.txt"),
            powerstats=_recorded("power_rails/pixel6_dumpsys_powerstats_channels_excerpt.txt"),
        ),
    },
    links=cpu_links(_PIXEL_POLICIES),
    modes={"/sys/bus/iio/devices/iio:device*/energy_value": 0o400, "/sys/class/thermal/thermal_zone*/temp": 0o444},
    android=True,
    cores=8,
)

# A userdebug build, where the shell may become root: its energy meters are open.
PIXEL_USERDEBUG = Personality(
    "pixel6-userdebug", PIXEL.files, PIXEL.programs, PIXEL.links, android=True, cores=PIXEL.cores
)

PERSONALITIES = (SAMSUNG, SAMSUNG_PLUGGED, PIXEL, PIXEL_USERDEBUG)
