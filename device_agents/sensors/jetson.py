"""What is known of NVIDIA's Jetson modules and stands in no file: the shunts of their power monitors. Data, not code.

A new module is one line in MODULES. It is found by words in the device tree: the board's model, or the part number of
the module among the compatible names ("nvidia,p3701-0005" is an AGX Orin on any carrier).
"""

from typing import NamedTuple, Tuple

from device_agents.sensors.files import read_text, under

DEVICE_TREES = ("/proc/device-tree", "/sys/firmware/devicetree/base")
NO_MONITOR = "this device has no power monitor of a Jetson (INA3221, INA238)"


class Module(NamedTuple):
    """A kind of module: its name, the words that tell it, its shunts, and the volts of its high-voltage rails."""

    name: str
    words: Tuple[str, ...]
    shunt_ohm: float
    input_v: float


# Shunts: the modules' device trees (tegra234-p3701: 2000 µΩ on each channel), and the steps of recorded readings:
# 155 mW at 19.4 V on AGX Xavier and 19 mW at 4.8 V on TX2 are 8 mA and 4 mA, thus 5 mΩ and 10 mΩ (the larger step of
# 5 mΩ is kept for TX1 and TX2, whose VDD_IN has it), 392 mW at 19.6 V on Thor are 20 mA, thus 2 mΩ.
MODULES = (
    Module("AGX Xavier", ("agx xavier", "p2888"), 5e-3, 20.0),
    Module("AGX Orin", ("agx orin", "p3701"), 2e-3, 20.0),
    Module("Thor", ("thor", "p3834", "tegra264"), 2e-3, 20.0),
    Module("TX1 or TX2", ("jetson-tx", "jetson tx", "jetson_tx", "quill", "p2180", "p3310", "p3489"), 5e-3, 20.0),
)
OTHER = Module("Nano, NX and other small modules", (), 5e-3, 5.0)


def words(root: str) -> str:
    """The device tree's model and compatible names in lower case; "" where there is no device tree."""
    for tree in DEVICE_TREES:
        found = [read_text(under(root, "{}/{}".format(tree, name)), 4096) for name in ("model", "compatible")]
        if any(found):
            return " ".join(text for text in found if text).lower()
    return ""


def module(root: str) -> Module:
    """The module of this board; OTHER where the device tree names none of MODULES."""
    said = words(root)
    return next((known for known in MODULES if any(word in said for word in known.words)), OTHER)


def why_no_monitor(root: str, on_a_jetson: str) -> str:
    """The reason for a missing power monitor: one for all that are no Jetson, ``on_a_jetson`` for one that is."""
    said = words(root)
    return on_a_jetson if "nvidia" in said or "tegra" in said else NO_MONITOR


def rail_v(known: Module, rail: str) -> float:
    """The nominal volts of a rail that does not show its own: 5 V by its name, else the module's input."""
    return 5.0 if "5V" in rail.upper() else known.input_v
