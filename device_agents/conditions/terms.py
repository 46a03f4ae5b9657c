"""What a spec asks of the conditions, checked field by field."""

from typing import Any, Dict, NamedTuple, Optional, Tuple

from device_agents.failures import AgentFailure

INTRUDERS = ("warn", "refuse", "ignore")
GATE_TIMEOUT_S = 300.0
HOTTEST_C = 200.0  # no board works above; a larger number is a slip (Fahrenheit, millidegrees)


class Pins(NamedTuple):
    """The settings to hold during the run; None and False: left alone."""

    governor: Optional[str] = None  # of every cpufreq policy
    power_mode: Optional[str] = None  # nvpmodel's id or name
    clocks_locked: bool = False  # lowest clock = highest allowed clock, CPU and GPU
    sustained: bool = False  # Android's fixed performance mode

    @property
    def wanted(self) -> bool:
        """True when anything is to be held."""
        return self.governor is not None or self.power_mode is not None or self.clocks_locked or self.sustained


class Terms(NamedTuple):
    """The conditions of one run."""

    cool_below_c: Optional[float] = None
    cool_back: bool = False  # wait until it is as cool as at the first run of the series
    cool_back_to: Optional[Dict[str, Any]] = None  # {"sensor", "temperature_c"} of that run; None: this is the first
    gate_timeout_s: float = GATE_TIMEOUT_S
    max_temperature_c: Optional[float] = None
    pins: Pins = Pins()
    probe: Optional[bool] = None  # None: where the device has no other sign of throttling
    intruders: str = "warn"
    marker_s: Optional[float] = None  # length of one burst of the marker load (marker.py); None: no marker

    @classmethod
    def of(cls, document: Any) -> "Terms":
        """The terms of a spec's ``conditions``. AgentFailure "bad-spec" names the field and its value."""
        if not isinstance(document, dict):
            raise AgentFailure("bad-spec", "conditions is {!r}, expected an object".format(document))
        known = {key: value for key, value in document.items() if key in cls._fields and value is not None}
        _check(known)
        if "pins" in known:
            known["pins"] = _pins(known["pins"])
        return cls(**known)


def _check(known: Dict[str, Any]) -> None:
    for name in ("cool_below_c", "max_temperature_c"):
        if name in known:
            _number(name, known[name], -50.0, HOTTEST_C)
    if "marker_s" in known:
        _number("marker_s", known["marker_s"], 0.05, 60.0)
    if "gate_timeout_s" in known:
        _number("gate_timeout_s", known["gate_timeout_s"], 0.0, 86_400.0)
    for name in ("cool_back", "probe"):
        if name in known and not isinstance(known[name], bool):
            raise _wrong(name, known[name], "true or false")
    if "intruders" in known and known["intruders"] not in INTRUDERS:
        raise _wrong("intruders", known["intruders"], "one of " + ", ".join(INTRUDERS))
    if "cool_back_to" in known:
        back = known["cool_back_to"]
        if not isinstance(back, dict) or not isinstance(back.get("sensor"), str):
            raise _wrong("cool_back_to", back, "an object with sensor and temperature_c")
        _number("cool_back_to.temperature_c", back.get("temperature_c"), -100.0, 300.0)


def _pins(document: Any) -> Pins:
    if not isinstance(document, dict):
        raise _wrong("pins", document, "an object")
    known = {key: value for key, value in document.items() if value is not None}
    unknown = sorted(set(known) - set(Pins._fields))
    if unknown:  # a setting that would silently not be held
        raise _wrong("pins", unknown[0], "one of " + ", ".join(Pins._fields))
    if "power_mode" in known and isinstance(known["power_mode"], int) and not isinstance(known["power_mode"], bool):
        known["power_mode"] = str(known["power_mode"])
    kinds: Tuple[Tuple[str, type, str], ...] = (
        ("governor", str, "a name"),
        ("power_mode", str, "an id or a name"),
        ("clocks_locked", bool, "true or false"),
        ("sustained", bool, "true or false"),
    )
    for name, kind, expected in kinds:
        if name in known and (not isinstance(known[name], kind) or known[name] == ""):
            raise _wrong("pins." + name, known[name], expected)
    return Pins(**known)


def _number(name: str, value: Any, least: float, most: float) -> None:
    if isinstance(value, bool) or not isinstance(value, (int, float)) or not least <= value <= most:
        raise _wrong(name, value, "a number from {:g} to {:g}".format(least, most))


def _wrong(name: str, value: Any, expected: str) -> AgentFailure:
    return AgentFailure("bad-spec", "conditions.{} is {!r}, expected {}".format(name, value, expected))
