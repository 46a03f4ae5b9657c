"""NVIDIA's tegrastats, where the files give less: no power rails, no temperatures or no GPU that this user may read.

One long-lived process, ``tegrastats --interval MS``; its latest line is what the sensors show, the *now* of each rail
and never its average. 100 ms is the shortest interval that it keeps (telemetry reports), and against an external meter
it follows load steps worse than the files (PMT with PowerSensor3): so it is the second choice. Where the files give
everything it is not started at all.
"""

import time
from typing import Dict, List, Optional

from device_agents.sensors import devfreq, ina238, ina3221, ina3221x, jetson, thermal
from device_agents.sensors.base import Findings, Reading, Source, SourceSensor, descriptor
from device_agents.sensors.files import SensorError
from device_agents.sensors.lines import LineProgram
from device_agents.sensors.programs import find_program
from device_agents.sensors.tegrastats_text import Line, is_sample, parse

PROGRAM = "tegrastats"
INTERVAL_S = 0.1
WAIT_S = 3.0  # for a line: the first may take a second on a busy board
RESTART_S = 5.0  # a program that ends at once is not started again and again
NEVER = float("-inf")
OFF = "the sensor is switched off (tegrastats shows -256 degC)"
NOTE = "the latest line of tegrastats, up to {:g} s old".format(INTERVAL_S)


class Tegrastats(Source):
    """The values of the latest line: ``power.RAIL`` W, ``temperature.NAME`` degC, ``frequency.gpu``, ``load.gpu``..."""

    def __init__(self, path: str) -> None:
        super().__init__(PROGRAM, INTERVAL_S)
        self._path = path
        self._program: Optional[LineProgram] = None
        self._started = NEVER

    def fetch(self) -> Dict[str, Reading]:
        """The readings of the newest line. SensorError when there is none, or the program does not run."""
        return readings(self.line())

    def line(self) -> Line:
        """The newest line; waits for one that is whole and a sample, not a message."""
        deadline = time.monotonic() + WAIT_S
        program = self._running()
        while True:
            try:
                said = program.lines(max(0.0, deadline - time.monotonic()))
            except SensorError:
                self._end()
                raise
            samples = [text for text in said if is_sample(text)]
            if samples:
                return parse(samples[-1])

    def _running(self) -> LineProgram:
        if self._program is None:
            if time.monotonic() - self._started < RESTART_S:
                raise SensorError("tegrastats ended; it is started again in a moment")
            self._started = time.monotonic()
            self._program = LineProgram([self._path, "--interval", str(round(INTERVAL_S * 1e3))])
        return self._program

    def close(self) -> None:
        """Ends the program; a later refresh starts it again, at once."""
        self._end()
        self._started = NEVER

    def _end(self) -> None:
        program, self._program = self._program, None
        if program is not None:
            program.close()
            self.cpu_s += program.cpu_s


def readings(line: Line) -> Dict[str, Reading]:
    """What one line says, by sensor name: values in SI, or the reason why a sensor shows none."""
    found: Dict[str, Reading] = {"power." + name: rail.now_w for name, rail in line.rails.items()}
    for name, degc in line.temperatures.items():
        found["temperature." + name] = OFF if degc is None else degc
    if line.gpu_hz:
        found["frequency.gpu"] = max(line.gpu_hz)
    if line.gpu_load is not None:
        found["load.gpu"] = line.gpu_load
    if line.emc_hz is not None:
        found["frequency.emc"] = line.emc_hz
    return found


def find(root: str) -> Findings:
    """Sensors for what no file gives; a reason when tegrastats is not there, is not needed, or does not tell either."""
    path = find_program(root, PROGRAM)
    if path is None:
        return _absent(jetson.why_no_monitor(root, "there is no program tegrastats"))
    needed = _needed(root)
    if not needed:
        return _absent("tegrastats is not needed: files give power, temperatures and the GPU")
    source = Tegrastats(path)
    try:
        line = source.line()
    except SensorError as error:
        return _absent(error.reason, "failed")
    finally:
        source.close()
        source.cpu_s = 0.0  # the cost of the run begins with the run
    findings = _sensors(root, source, line, needed)
    if not findings.sensors and not findings.missing:
        return _absent("tegrastats does not show {} either".format(" or ".join(needed)))
    return findings


def _absent(reason: str, state: str = "absent") -> Findings:
    return Findings([], [descriptor("power.tegrastats", "power", "power rails", PROGRAM, state, reason)])


def _needed(root: str) -> List[str]:
    """Which of power, temperature and GPU no file gives to this user."""
    power = [sensor for kind in (ina3221, ina3221x, ina238) for sensor in kind.find(root).sensors]
    files = {
        "power": [sensor for sensor in power if sensor.descriptor["quantity"] == "power"],
        "temperature": thermal.find(root).sensors,
        "the GPU": [sensor for sensor in devfreq.find(root).sensors if sensor.name in ("frequency.gpu", "load.gpu")],
    }
    for sensors in files.values():
        for sensor in sensors:
            sensor.close()
    return [what for what, sensors in files.items() if not sensors]


def _sensors(root: str, source: Tegrastats, line: Line, needed: List[str]) -> Findings:
    findings = Findings([], [])
    module = jetson.module(root)
    if "power" in needed:
        for rail in line.rails:
            _add_rail(findings, source, rail, module)
    if "temperature" in needed:
        for name, degc in line.temperatures.items():
            _add_temperature(findings, source, name, degc)
    if "the GPU" in needed:
        shown = {key: reading for key, reading in readings(line).items() if key in ("frequency.gpu", "load.gpu")}
        for key in shown:
            quantity, resolution = ("frequency", 1e6) if key.startswith("frequency") else ("ratio", 0.01)
            _add(findings, source, descriptor(key, quantity, "GPU", PROGRAM, resolution=resolution))
    return findings


def _add_rail(findings: Findings, source: Tegrastats, rail: str, module: jetson.Module) -> None:
    about = descriptor("power." + rail, "power", ina3221.scope(rail), PROGRAM)
    if rail != ina238.RAIL:  # that one is not an INA3221's
        volts = jetson.rail_v(module, rail)
        about["resolution"], about["accuracy"] = ina3221.quality(volts, ina3221.module_shunt(module))
    _add(findings, source, about)


def _add_temperature(findings: Findings, source: Tegrastats, name: str, degc: Optional[float]) -> None:
    about = descriptor("temperature." + name, "temperature", thermal.scope(name), PROGRAM, resolution=1e-3)
    if degc is not None and thermal.is_dummy(name, round(degc / thermal.DEGC_PER_UNIT)):
        about.update(state="absent", reason=thermal.dummy_reason(degc))
        findings.missing.append(about)
        return
    _add(findings, source, about)


def _add(findings: Findings, source: Tegrastats, about: Dict[str, object]) -> None:
    about.update(period_s=INTERVAL_S, note=NOTE)
    findings.sensors.append(SourceSensor(about, source, str(about["name"])))
