"""What sampling costs on a device: `python -m benchmarks.sampler_cost`.

The sampler at 10 Hz on a tree with as many files as a Jetson Orin Nano shows (constructed values in plain files, which
are opened anew at each read; the kernel's own cost of an I2C read is not in it), and on this machine's own sensors. The
limit is 0.3 % of a core, what `top` costs.
"""

from __future__ import annotations

import tempfile
import time
from pathlib import Path

from benchmarks.table import Line, show
from device_agents.sampler import Sampler
from device_agents.sensors import find_sensors

PERIOD_S = 0.1
DURATION_S = 20.0
LIMIT = 0.003


def write_tree(root: Path) -> None:
    """Eight thermal zones, two cpufreq policies with their caps, an INA3221 with three rails: 20 files a tick."""
    for number in range(8):
        zone = root / f"sys/class/thermal/thermal_zone{number}"
        zone.mkdir(parents=True)
        (zone / "type").write_text(f"zone{number}-thermal\n")
        (zone / "temp").write_text(f"{45000 + 250 * number}\n")
    for number in range(2):
        policy = root / f"sys/devices/system/cpu/cpufreq/policy{number}"
        policy.mkdir(parents=True)
        for name, value in (
            ("scaling_cur_freq", 1510400),
            ("scaling_max_freq", 1510400),
            ("cpuinfo_max_freq", 1510400),
        ):
            (policy / name).write_text(f"{value}\n")
    monitor = root / "sys/class/hwmon/hwmon1"
    monitor.mkdir(parents=True)
    (monitor / "name").write_text("ina3221\n")
    for number, label in enumerate(("VDD_IN", "VDD_CPU_GPU_CV", "VDD_SOC"), 1):
        (monitor / f"in{number}_label").write_text(f"{label}\n")
        (monitor / f"in{number}_input").write_text("5000\n")
        (monitor / f"curr{number}_input").write_text("960\n")


def share(root: str) -> tuple[int, float]:
    """(sensors that are read, share of a core that sampling them takes)."""
    sensors, _ = find_sensors(root)
    sampler = Sampler(sensors, PERIOD_S, lambda record: None)
    sampler.start()
    time.sleep(DURATION_S)
    return len(sensors), float(sampler.stop()["sampler_cpu_share"])


def main() -> None:
    """Prints both shares beside the limit."""
    with tempfile.TemporaryDirectory() as name:
        write_tree(Path(name))
        count, recorded = share(name)
    here, own = share("/")
    show(
        "Sampler at 10 Hz, share of one core",
        [
            Line(
                f"{count} sensors of a written tree",
                f"{recorded:.3%}",
                f"{LIMIT:.1%} (limit)",
                recorded / LIMIT,
                "<= 1",
            ),
            Line(f"this machine's {here} sensors", f"{own:.3%}", f"{LIMIT:.1%} (limit)", own / LIMIT, "<= 1"),
        ],
    )


if __name__ == "__main__":
    main()
