"""Raspberry Pi: the firmware's own values, asked for with `vcgencmd`.

A call waits about 23 ms for the firmware, by the program or without it (zeus, tests/device/machine/test_rpi.py; 10 ms
for the simpler questions), and starting the program takes some milliseconds of CPU. So the source is asked five times a
second: the power of the rails and the throttle flags each time, the real ARM clock every second, the others every 5 s.
Together that is 12 calls or 0.3 s of the firmware's time in a second; their CPU time stands in every run's overhead.

What /sys has for less is not asked for here: the temperature is that of the thermal zone.
"""

import os
from typing import Any, Callable, Dict, List, NamedTuple, Optional, Tuple, Union

from device_agents.sensors import rpi_volt, thermal
from device_agents.sensors import vcgencmd_text as text
from device_agents.sensors.base import Findings, Reading, Source, SourceSensor, accuracy, add, descriptor
from device_agents.sensors.files import SensorError, read_label, under
from device_agents.sensors.programs import find_program, run_program

PROGRAM = "vcgencmd"
PERIOD_S = 0.2
CALL_LIMIT_S = 2.0  # a firmware that hangs must not hold up the end of a run
SECOND, SELDOM = 5, 25  # ticks between two calls

PMIC_SCOPE = "PMIC rails (without what hangs on 5 V, and converter losses)"
BOARD_SCOPE = "board 5 V input, estimated"
# sbc-bench on a Pi 5 at a constant load: 15.0, 14.6, 15.7, 14.9 W (github.com/geerlingguy/sbc-reviews issue 21). Four
# readings do not tell a standard deviation well: this is their range, rounded.
NOISE_W = 1.0

_DEVICES = ("/dev/vcio", "/dev/vcio_gencmd", "/dev/vchiq")
_CLOSED = ("Can't open device file", "VCHI initialization failed")
_MODELS = ("/proc/device-tree/model", "/sys/firmware/devicetree/base/model")

Parse = Callable[[str], Dict[str, Reading]]


class Question(NamedTuple):
    """One call: its arguments, the keys that it answers, how, and at every how many ticks it is asked."""

    arguments: Tuple[str, ...]
    keys: Tuple[str, ...]
    parse: Parse
    ticks: int


class Firmware(Source):
    """The answers to all questions; an answer is as old as its question's ticks allow."""

    def __init__(self, path: str, root: str, questions: List[Question]) -> None:
        super().__init__(PROGRAM, PERIOD_S)
        self._path = path
        self._root = root
        self._questions = questions
        self._tick = 0
        self._known: Dict[str, Reading] = {}

    def fetch(self) -> Dict[str, Reading]:
        """Every key with its newest answer, or the reason why there was none. The first time all are asked."""
        for place, question in enumerate(self._questions):
            if self._tick == 0 or self._tick % question.ticks == place % question.ticks:
                self._known.update(self._answers(question))
        self._tick += 1
        return dict(self._known)

    def _answers(self, question: Question) -> Dict[str, Reading]:
        try:
            found = question.parse(self.ask(*question.arguments))
        except SensorError as error:
            return dict.fromkeys(question.keys, error.reason)
        return {key: found.get(key, "{} did not show it".format(question.arguments[0])) for key in question.keys}

    def ask(self, *arguments: str) -> str:
        """What the program prints. SensorError with the reason and, where it is the user's right, the remedy."""
        try:
            output = run_program([self._path, *arguments], limit_s=CALL_LIMIT_S)
        except SensorError as error:
            raise SensorError(_explained(error.reason, self._root)) from error
        self.cpu_s += output.cpu_s
        if any(words in output.text for words in _CLOSED):  # some versions exit with 0 all the same
            raise SensorError(_explained(output.text, self._root))
        return output.text


def _explained(reason: str, root: str) -> str:
    if not any(words in reason for words in _CLOSED):
        return reason
    if root == "/" and not any(map(os.path.exists, _DEVICES)):
        return "this kernel has no /dev/vcio to ask the firmware through (Raspberry Pi OS's own has)"
    return "permission denied: /dev/vcio is for the group video (sudo usermod -aG video USER, then log in again)"


def find(root: str) -> Findings:
    """Flags, clocks and requested voltage of any Pi; ``power.pmic...``, ``power.board-estimate`` and ``voltage.EXT5V``
    of a Pi 5; and what the kernel knows without vcgencmd (rpi_volt.py).
    """
    findings = Findings([], [])
    model = _model(root)
    path = find_program(root, PROGRAM)
    if path is None and not model.startswith("Raspberry Pi"):
        _miss(findings, "throttle.now", "flag", "throttling of a Raspberry Pi", "absent", "this is no Raspberry Pi")
        return findings
    why = _why_no_answer(path, root)
    if path is not None and why is None:
        _add_answers(findings, path, root)
    else:
        state = "absent" if path is None else "failed"
        _miss(findings, "throttle.now", "flag", "throttling", state, why)
        _miss(findings, "power.pmic", "power", PMIC_SCOPE, state, why)
    rpi_volt.add_kernel_flags(findings, root, vcgencmd_answers=why is None)
    return findings


def _model(root: str) -> str:
    return next(filter(None, (read_label(under(root, path)) for path in _MODELS)), "")


def _why_no_answer(path: Optional[str], root: str) -> Optional[str]:
    if path is None:
        return "vcgencmd is not installed (package raspi-utils, on older systems libraspberrypi-bin)"
    try:
        word = text.throttled_word(Firmware(path, root, []).ask("get_throttled"))
    except SensorError as error:
        return error.reason
    return word if isinstance(word, str) else None


def _miss(findings: Findings, name: str, quantity: str, scope: str, state: str, reason: Optional[str]) -> None:
    findings.missing.append(descriptor(name, quantity, scope, PROGRAM, state, reason))


def _add_answers(findings: Findings, path: str, root: str) -> None:
    rails = _rails(Firmware(path, root, []))
    questions = [_FLAGS, *_CLOCKS]
    if isinstance(rails, str):
        reason = "this board measures no currents (a Pi 4 and older cannot): its power needs a meter; " + rails
        _miss(findings, "power.pmic", "power", PMIC_SCOPE, "absent", reason)
        questions.append(_VOLTAGE)
    else:
        keys = tuple(["power.pmic", "power.board-estimate", "voltage.EXT5V"] + ["power.pmic." + name for name in rails])
        questions.insert(0, Question(("pmic_read_adc",), keys, _pmic, 1))
    if not thermal.zones(root):
        questions.append(_TEMPERATURE)
    source = Firmware(path, root, questions)
    source.refresh()
    for question in questions:
        for key in question.keys:
            asked = "{} {}".format(PROGRAM, " ".join(question.arguments))
            about = descriptor(key, source=asked, period_s=question.ticks * PERIOD_S, **_about(key))
            add(findings, SourceSensor(about, source, key))


def _rails(firmware: Firmware) -> Union[List[str], str]:
    try:
        found = text.pmic(firmware.ask("pmic_read_adc"))
    except SensorError as error:
        return error.reason
    return found.reason or list(found.power_w)


def _pmic(answer: str) -> Dict[str, Reading]:
    found = text.pmic(answer)
    whole = text.pmic_sum_w(found)
    readings: Dict[str, Reading] = {"power.pmic." + name: watts for name, watts in found.power_w.items()}
    readings["power.pmic"] = whole
    readings["power.board-estimate"] = whole if isinstance(whole, str) else text.board_estimate_w(whole)
    readings["voltage.EXT5V"] = found.voltage_v.get("EXT5V", "the PMIC shows no EXT5V_V")
    return readings


def _flags(answer: str) -> Dict[str, Reading]:
    readings = text.flags(text.throttled_word(answer), "since-boot")
    return {"throttle." + key: reading for key, reading in readings.items()}


def _single(key: str, parse: Callable[[str], Reading]) -> Parse:
    return lambda answer: {key: parse(answer)}


def _question(key: str, parse: Callable[[str], Reading], ticks: int, *arguments: str) -> Question:
    return Question(arguments, (key,), _single(key, parse), ticks)


_FLAGS = Question(("get_throttled",), tuple(_flags("")), _flags, 1)
_CLOCKS = (
    _question("frequency.arm", text.clock_hz, SECOND, "measure_clock", "arm"),
    _question("frequency.core", text.clock_hz, SELDOM, "measure_clock", "core"),
    _question("frequency.v3d", text.clock_hz, SELDOM, "measure_clock", "v3d"),
)
_VOLTAGE = _question("voltage.core-requested", text.volts, SELDOM, "measure_volts", "core")
_TEMPERATURE = _question("temperature.soc", text.temperature_degc, SECOND, "measure_temp")

_SINGLE: Dict[str, Dict[str, Any]] = {
    "power.pmic": {
        "quantity": "power",
        "scope": PMIC_SCOPE,
        "note": "sum of volts times amperes over 12 rails",
        "accuracy": accuracy("sbc-bench, four readings at a constant load; the PMIC's own is not known", noise=NOISE_W),
    },
    "power.board-estimate": {
        "quantity": "power",
        "scope": BOARD_SCOPE,
        "note": "estimated: {:g} times the PMIC's sum plus {:g} W, the fit of one board with nothing on its 5 V "
        "(jfikar/RPi5-power)".format(text.BOARD_FACTOR, text.BOARD_OFFSET_W),
        "accuracy": accuracy(
            "the scatter of the PMIC's sum times the factor; how well the fit holds for another board is not known",
            noise=text.BOARD_FACTOR * NOISE_W,
        ),
    },
    "voltage.EXT5V": {"quantity": "voltage", "scope": "board 5 V input", "note": "measured by the PMIC"},
    "voltage.core-requested": {
        "quantity": "voltage",
        "scope": "SoC core, requested",
        "note": "what the firmware asks the regulator for, not a measurement",
    },
    "temperature.soc": {"quantity": "temperature", "scope": "SoC", "resolution": 0.1},
    "frequency.arm": {"quantity": "frequency", "scope": "CPUs, real clock", "note": "counted by the firmware"},
    "frequency.core": {"quantity": "frequency", "scope": "VideoCore", "note": "counted by the firmware"},
    "frequency.v3d": {
        "quantity": "frequency",
        "scope": "3D unit",
        "note": "counted by the firmware; 0 while it is switched off",
    },
}


def _about(key: str) -> Dict[str, Any]:
    """What the descriptor of a key says beside its name, source and period."""
    if key in _SINGLE:
        return _SINGLE[key]
    if key.startswith("power.pmic."):
        return {"quantity": "power", "scope": "PMIC rail {}, a part of power.pmic".format(key[len("power.pmic.") :])}
    _, kind, name = key.split(".")
    note = "now" if kind == "now" else "at any moment since the board was started: only a rise within a run means it"
    return {"quantity": "flag", "scope": text.FLAGS[name][1], "resolution": 1.0, "note": note}
