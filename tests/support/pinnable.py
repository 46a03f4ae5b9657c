"""A board below a folder whose settings can be held: cpufreq policies, a GPU, thermal zones, an nvpmodel, a boot id."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

CPU = "sys/devices/system/cpu/cpufreq"
GPU = "sys/class/devfreq/17000000.ga10b"
ZONE = "sys/class/thermal/thermal_zone0"
GOVERNORS = "ondemand performance powersave schedutil"

NVPMODEL = """\
#!/bin/sh
# As the real one: -q tells the mode; -m sets it, and with it caps, lowest clocks and governors. Mode 3 needs a restart:
# it asks, and without an answer nothing is changed and nothing is said that a program could rely on.
root='{root}'
state="$root/var/lib/nvpmodel/status"
case "$1" in
-q)
    id=$(sed 's/pmode:0*\\(.\\)/\\1/' "$state")
    echo "NVPM WARN: fan mode is not set!"
    echo "NV Power Mode: MODE_$id"
    echo "$id"
    ;;
-m)
    if [ "$2" = 3 ]; then
        echo "NVPM WARN: Reboot required for changing to this power mode: $2"
        echo "NVPM WARN: DO YOU WANT TO REBOOT NOW? enter YES/yes to confirm:"
        read -r answer && [ -n "$answer" ] && touch "$root/rebooted"
        exit 0
    fi
    {delay}
    echo "pmode:000$2" > "$state"
    for policy in "$root"/{cpu}/policy*; do
        echo schedutil > "$policy/scaling_governor"
        echo 115200 > "$policy/scaling_min_freq"
        [ "$2" = 1 ] && echo 1200000 > "$policy/scaling_max_freq" || echo 1510400 > "$policy/scaling_max_freq"
    done
    ;;
esac
"""

CMD = """\
#!/bin/sh
# Android's `cmd power`, as far as it is asked here.
echo "$@" >> '{root}/cmd.log'
[ "$2" = set-fixed-performance-mode-enabled ] || exit 255
{failing}
echo "$3" > '{root}/fixed'
"""


class Board:
    """The board: ``path`` is its root."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.policies = ("policy0", "policy4")

    def write(self, name: str, text: str, mode: int = 0o644) -> Path:
        """The file, with that text."""
        path = self.path / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
        path.chmod(mode)
        return path

    def read(self, name: str) -> str:
        """The text of a file."""
        return (self.path / name).read_text().strip()

    def clocks(self, governor: str = "ondemand") -> Board:
        """Two cpufreq policies and a GPU. The governors and lowest clocks are a user's own, not the mode's."""
        for policy in self.policies:
            place = f"{CPU}/{policy}"
            self.write(f"{place}/scaling_governor", f"{governor}\n")
            self.write(f"{place}/scaling_available_governors", f"{GOVERNORS}\n")
            self.write(f"{place}/affected_cpus", "0 1 2 3\n")
            self.write(f"{place}/scaling_min_freq", "729600\n")
            self.write(f"{place}/scaling_max_freq", "1510400\n")
            self.write(f"{place}/cpuinfo_max_freq", "1510400\n")
            self.write(f"{place}/scaling_cur_freq", "729600\n")
        self.write(f"{GPU}/min_freq", "306000000\n")
        self.write(f"{GPU}/max_freq", "624750000\n")
        self.write(f"{GPU}/cur_freq", "306000000\n")
        return self

    def nvpmodel(self, mode: int = 0, delay: str = ":") -> Board:
        """An nvpmodel in that mode; its modes are 0, 1, 2, and 3, which needs a restart."""
        self.write("var/lib/nvpmodel/status", f"pmode:000{mode}\n")
        names = "".join(f"< POWER_MODEL ID={number} NAME=MODE_{number} >\n" for number in range(4))
        self.write("etc/nvpmodel.conf", names + "< PM_CONFIG DEFAULT=2 >\n")
        text = NVPMODEL.format(root=self.path, cpu=CPU, delay=delay)
        self.write("usr/bin/nvpmodel", text, 0o755)
        return self

    def android(self, failing: str = ":") -> Board:
        """The `cmd` of an Android phone."""
        self.write("system/bin/cmd", CMD.format(root=self.path, failing=failing), 0o755)
        self.write("fixed", "false\n")
        return self

    def heat(self, celsius: float, kind: str = "cpu-thermal", zone: str = ZONE) -> Board:
        """A thermal zone at that temperature."""
        self.write(f"{zone}/type", f"{kind}\n")
        temporary = self.write(f"{zone}/temp.new", f"{round(celsius * 1000)}\n")
        os.replace(temporary, self.path / zone / "temp")
        return self

    def booted(self, name: str) -> Board:
        """The board's boot id."""
        self.write("proc/sys/kernel/random/boot_id", f"{name}\n")
        return self

    def state(self) -> dict[str, Any]:
        """What must be as it was found: every setting that a pin may change."""
        found = {}
        for place in (CPU, GPU, "var/lib/nvpmodel"):
            for path in sorted((self.path / place).rglob("*")):
                if path.is_file() and path.name != "scaling_cur_freq":
                    found[str(path.relative_to(self.path))] = path.read_text().strip()
        fixed = self.path / "fixed"
        return {**found, "fixed": fixed.read_text().strip() if fixed.exists() else "false"}
