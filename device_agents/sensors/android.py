"""Android's own programs: getprop for what the phone is, dumpsys for what its services report.

The agent runs on the phone as the shell's user, so these are started there. dumpsys forks a process and asks the
system's server through binder: 20-50 ms a call, which is why its sources are asked once in seconds.
"""

from typing import List, Optional, Tuple

from device_agents.sensors.base import Source
from device_agents.sensors.files import SensorError
from device_agents.sensors.programs import find_program, run_program

GETPROP_LIMIT_S = 5.0
EMULATORS = ("goldfish", "ranchu", "cutf")  # ro.hardware of the SDK's emulators and of Cuttlefish (cutf_cvm...)


def getprop(root: str, name: str, limit_s: float = GETPROP_LIMIT_S) -> Optional[str]:
    """One Android property, at most 64 characters; None when it is empty or this is no Android."""
    program = find_program(root, "getprop")
    if program is None:
        return None
    try:
        text = run_program([program, name], limit_s).text
    except SensorError:
        return None
    return " ".join("".join(char if char.isprintable() else " " for char in text).split())[:64] or None


def is_android(root: str) -> bool:
    """True when this is a phone, or the recording of one."""
    return find_program(root, "getprop") is not None


def is_emulator(root: str) -> bool:
    """True on Android's emulators, whose battery and thermal values are made up."""
    return (getprop(root, "ro.hardware") or "").startswith(EMULATORS)


class Dumpsys(Source):
    """A source that is one service's report; subclasses make values of it in ``fetch``."""

    def __init__(self, root: str, arguments: List[str], period_s: float) -> None:
        super().__init__("dumpsys " + " ".join(arguments), period_s)
        self._root = root
        self._arguments = arguments

    def report(self) -> str:
        """The report's text now. SensorError with the reason when the service gives none."""
        program = find_program(self._root, "dumpsys")
        if program is None:
            raise SensorError("dumpsys is not here: this is no Android")
        output = run_program([program, *self._arguments])
        self.cpu_s += output.cpu_s
        if output.text.startswith(("Can't find service", "Permission Denial")):
            raise SensorError("{}: {}".format(self.name, output.text.splitlines()[0][:120]))
        return output.text


def try_report(source: Dumpsys) -> Tuple[Optional[str], str]:
    """(the text, "") or (None, why there is none)."""
    try:
        return source.report(), ""
    except SensorError as error:
        return None, error.reason
