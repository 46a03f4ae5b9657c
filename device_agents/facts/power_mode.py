"""The power mode that a Jetson is in, and whether its clocks are locked (jetson_clocks): what explains its figures.

Modes cap clocks and cores; they are no power budgets, whatever their names say. Reading takes no root: nvpmodel is
asked, else its status file and /etc/nvpmodel.conf. Clocks are locked when the lowest and the highest clock that the
kernel may choose are one: that is what jetson_clocks does, and stands in files that all may read.
"""

import os
from typing import Any, Dict, List, Optional, Tuple

from device_agents.facts import jetson_text
from device_agents.facts.jetson_text import PowerMode, PowerModes
from device_agents.sensors import cpufreq, devfreq
from device_agents.sensors.files import SensorError, read_number, read_text, under
from device_agents.sensors.programs import find_program, run_program

CONF = "/etc/nvpmodel.conf"
STATUS = "/var/lib/nvpmodel/status"


def power_mode(root: str) -> Tuple[Optional[Dict[str, Any]], Optional[str]]:
    """{name, id} of nvpmodel's mode, either null when only the other is known; the mode of a Jetson."""
    asked, reason = _asked(root)
    if asked.name is None:
        asked = PowerMode(jetson_text.parse_status(read_text(under(root, STATUS)) or ""), None, {})
    if asked.id is None and asked.name is None:
        return None, reason
    if asked.name is None or asked.id is None:
        asked = _completed(asked, power_modes(root).modes)
    return {"name": asked.name, "id": asked.id}, None


def power_modes(root: str) -> PowerModes:
    """The modes that this module has, from nvpmodel.conf, else from nvpmodel; empty where neither tells."""
    found = jetson_text.parse_modes(read_text(under(root, CONF), jetson_text.MAX_TEXT_CHARS) or "")
    program = None if found.modes else find_program(root, "nvpmodel")
    if program is not None:
        try:
            found = jetson_text.parse_modes(run_program([program, "-p", "--verbose"]).text)
        except SensorError:
            return found
    return found


def clocks_locked(root: str) -> Tuple[Optional[bool], Optional[str]]:
    """True when every CPU policy and the GPU have one clock to choose from, False when one has more.

    Where the kernel shows no policies, jetson_clocks is asked, which answers root only.
    """
    ranges = [(path, "scaling_min_freq", "scaling_max_freq") for path in cpufreq.policies(root)]
    if not ranges:
        return _shown_by_jetson_clocks(root)
    ranges += [(path, "min_freq", "max_freq") for path in devfreq.gpus(root)[:1]]
    equal = True
    for path, lowest, highest in ranges:
        try:
            pair = [read_number(os.path.join(path, name)) for name in (lowest, highest)]
        except SensorError as error:
            return None, "{} of {}: {}".format(lowest, os.path.basename(path), error.reason)
        equal = equal and pair[0] == pair[1]
    return equal, None


def _asked(root: str) -> Tuple[PowerMode, str]:
    program = find_program(root, "nvpmodel")
    if program is None:
        return PowerMode(None, None, {}), "there is no nvpmodel here (only Jetson boards have power modes)"
    try:
        text = run_program([program, "-q"]).text
    except SensorError as error:
        return PowerMode(None, None, {}), error.reason
    said = jetson_text.warnings(text)
    return jetson_text.parse_query(text), "nvpmodel shows no mode" + (": " + "; ".join(said) if said else "")


def _shown_by_jetson_clocks(root: str) -> Tuple[Optional[bool], Optional[str]]:
    program = find_program(root, "jetson_clocks")
    if program is None:
        return None, "the kernel shows no CPU clocks"
    try:
        shown = jetson_text.locked(jetson_text.parse_clocks(run_program([program, "--show"]).text))
    except SensorError as error:
        return None, error.reason
    return shown, None if shown is not None else "neither the kernel nor jetson_clocks shows the clocks' limits"


def _completed(mode: PowerMode, known: List[PowerMode]) -> PowerMode:
    fits = [other for other in known if mode.id in (None, other.id) and mode.name in (None, other.name)]
    return fits[0] if len(fits) == 1 else mode
