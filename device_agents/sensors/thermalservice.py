"""A phone's temperatures and throttling level from Android's thermal service, where /sys does not show them.

The report is `dumpsys thermalservice`, or that of the thermal HAL itself (`dumpsys android.hardware.thermal.IThermal/
default`) where the first has no list from the HAL. The level is Android's for the skin; it is no proof of full speed: a
Galaxy S24+ had its fastest CPU capped to 1.82 of 3.2 GHz at level 0, which only the sensors ``cap.policyN`` show.
"""

from typing import Dict, List, Optional, Tuple

from device_agents.sensors import android, cooling, thermal
from device_agents.sensors.base import Findings, Reading, Sensor, SourceSensor, descriptor
from device_agents.sensors.files import SensorError
from device_agents.sensors.thermalservice_text import LEVELS, ThermalReport, parse_thermal

PERIOD_S = 2.0  # a call takes 20-50 ms of the phone: 1-3 % of one core at this rate; a case warms over many seconds
COMMANDS = (["thermalservice"], ["android.hardware.thermal.IThermal/default"])
STATUS, COOLING = "status", "cooling."
IN_FILES = "not read: the thermal zones in /sys show temperatures faster and cheaper"


class ThermalService(android.Dumpsys):
    """The values of one of the reports: temperatures by the HAL's names, "status" and "cooling.NAME"."""

    def __init__(self, root: str, arguments: List[str]) -> None:
        super().__init__(root, arguments, PERIOD_S)
        self.last: Optional[ThermalReport] = None

    def fetch(self) -> Dict[str, Reading]:
        """The values now; SensorError when the service does not answer."""
        self.last = report = parse_thermal(self.report())
        values: Dict[str, Reading] = {"temperature." + name: degc for name, degc in report.temperatures.items()}
        values.update({"temperature." + name: why for name, why in report.reasons.items() if name and why})
        values.update({COOLING + name: float(state) for name, state in report.cooling.items()})
        values[STATUS] = report.status_reason if report.status is None else float(report.status)
        if "" in report.reasons:
            values[""] = report.reasons[""]
        return values


def find(root: str) -> Findings:
    """``temperature.NAME`` °C by the HAL's names where no thermal zone is readable, ``throttle.status`` 0 to 6, and
    ``throttle.cooling.NAME`` of what slows computing.
    """
    findings = Findings([], [])
    source, why = _answering(root)
    if source is None or source.last is None:
        state = "failed" if android.is_android(root) else "absent"
        about = descriptor("throttle.status", "level", "Android thermal status", COMMANDS[0][0], state, why)
        findings.missing.append(about)
        return findings
    report = source.last
    _add_status(findings, source)
    if _has_sensors(thermal.find(root)):
        about = descriptor("temperature.hal", "temperature", "Android thermal HAL", source.name, "absent", IN_FILES)
        findings.missing.append(about)
    else:
        _add_temperatures(findings, source, report)
    if not _has_sensors(cooling.find(root)):
        for name in report.cooling:
            _add_cooling(findings, source, name)
    return findings


def _answering(root: str) -> Tuple[Optional[ThermalService], str]:
    """The first of the reports that has temperatures, else the first that answers; or (None, why)."""
    if not android.is_android(root):
        return None, "this is no Android"
    reasons: List[str] = []
    answered: List[ThermalService] = []
    for arguments in COMMANDS:
        source = ThermalService(root, list(arguments))
        source.refresh()
        if source.last is None:
            try:
                source.value(STATUS)
            except SensorError as error:
                reasons.append(error.reason)
        elif source.last.temperatures:
            return source, ""
        else:
            answered.append(source)
    return (answered[0], "") if answered else (None, reasons[0])


def _has_sensors(found: Findings) -> bool:
    for sensor in found.sensors:
        sensor.close()
    return bool(found.sensors)


def _add_status(findings: Findings, source: ThermalService) -> None:
    about = descriptor(
        "throttle.status",
        "level",
        "Android thermal status",
        source.name,
        period_s=PERIOD_S,
        resolution=1.0,
        note="{}; by the skin's temperature: caps of the CPUs may be in force at 0".format(
            ", ".join("{} {}".format(level, word.lower()) for level, word in enumerate(LEVELS))
        ),
    )
    _settle(findings, SourceSensor(about, source, STATUS))


def _add_temperatures(findings: Findings, source: ThermalService, report: ThermalReport) -> None:
    for name, kind in report.kinds.items():
        about = descriptor(
            "temperature." + name,
            "temperature",
            "Android thermal HAL {} ({})".format(name, kind),
            source.name,
            period_s=PERIOD_S,
            note=_limits(report.thresholds.get(name)),
        )
        _settle(findings, SourceSensor(about, source, "temperature." + name))
    if not report.kinds:
        why = report.reasons.get("", "no sensor has a value")
        about = descriptor("temperature.hal", "temperature", "Android thermal HAL", source.name, "absent", why)
        findings.missing.append(about)


def _limits(limits: Optional[List[Optional[float]]]) -> Optional[str]:
    known = [(word, limit) for word, limit in zip(LEVELS[1:], limits or []) if limit is not None]
    if not known:
        return None
    return "levels begin at " + ", ".join("{} {:g} °C".format(word.lower(), limit) for word, limit in known)


def _add_cooling(findings: Findings, source: ThermalService, name: str) -> None:
    scope = "thermal throttling by " + name
    about = descriptor("throttle.cooling." + name, "level", scope, source.name, period_s=PERIOD_S, resolution=1.0)
    _settle(findings, SourceSensor(about, source, COOLING + name))


def _settle(findings: Findings, sensor: Sensor) -> None:
    """Nothing; the sensor is among the findings: a value that is not there now is not there at all on these phones."""
    try:
        sensor.read()
    except SensorError as error:
        sensor.descriptor.update(state="absent", reason=error.reason)
        findings.missing.append(sensor.descriptor)
        return
    findings.sensors.append(sensor)
