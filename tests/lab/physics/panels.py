"""What else moves on a board: temperatures, clocks, flags, counters of events, and the texts of its programs."""

from __future__ import annotations

import random
import re
from collections.abc import Mapping, Sequence
from pathlib import Path

from tests.lab.physics.instruments import Gauge, Instrument, Moment
from tests.lab.physics.livefile import LiveFile

# Bits of get_throttled (Raspberry Pi documentation, os/config): now; the same 16 places higher: since boot.
_PI_BITS = {"undervoltage": 0, "cap": 1, "thermal": 2, "hot": 2}
_SOFT_LIMIT_BIT, _SINCE_BOOT = 3, 16


class Zones(Instrument):
    """Temperatures in m°C: file -> how far above the board's it is (K), in whole steps of the sensor (K)."""

    every_ns = 50_000_000

    def __init__(self, files: Mapping[Path, float], step_k: float) -> None:
        self._files = {LiveFile(path): above for path, above in files.items()}
        self._step_k = step_k

    def show(self, now: Moment) -> None:
        """Nothing; each zone shows the board's temperature in its steps."""
        for file, above in self._files.items():
            steps = round((now.temperature_c + above) / self._step_k)
            file.set(str(round(steps * self._step_k * 1e3)))


class Clocks(Instrument):
    """cpufreq: the clock and its cap of each policy (folder -> highest kHz)."""

    every_ns = 50_000_000

    def __init__(self, policies: Mapping[Path, int], shows_cap: bool = True) -> None:
        self._clocks = [(LiveFile(path / "scaling_cur_freq"), khz) for path, khz in policies.items()]
        self._caps = [(LiveFile(path / "scaling_max_freq"), khz) for path, khz in policies.items() if shows_cap]

    def show(self, now: Moment) -> None:
        """Nothing; clocks are at their caps."""
        for file, highest_khz in (*self._clocks, *self._caps):
            file.set(str(round(highest_khz * now.cap)))


class Cooling(Instrument):
    """Cooling devices of the clocks: state 0, or 3 while heat holds them down."""

    every_ns = 50_000_000

    def __init__(self, files: Sequence[Path]) -> None:
        self._files = [LiveFile(path) for path in files]

    def show(self, now: Moment) -> None:
        """Nothing; the states are shown."""
        for file in self._files:
            file.set("3" if now.ailing & {"hot", "thermal"} else "0")


class Events(Instrument):
    """Counters that rise by one at every moment of a fault: file -> the faults that it counts."""

    def __init__(self, files: Mapping[Path, frozenset[str]]) -> None:
        self._files = {LiveFile(path): faults for path, faults in files.items()}
        self._counts = {file: int(file.path.read_text()) for file in self._files}

    def show(self, now: Moment) -> None:
        """Nothing; the counters are shown."""
        for file, faults in self._files.items():
            if now.ailing & faults:
                self._counts[file] += 1
                file.set(str(self._counts[file]))


class PiFirmware(Instrument):
    """What vcgencmd tells of heat, clock and throttling, and rpi_volt's alarm."""

    every_ns = 50_000_000

    def __init__(self, said: Path, alarm: Path, clock: tuple[int, int], sysfs: Path | None = None) -> None:
        self._temperature = LiveFile(said / "measure_temp")
        self._clock_file, self._clock = LiveFile(said / "measure_clock_arm"), clock
        self._throttled, self._alarm = LiveFile(said / "get_throttled"), LiveFile(alarm)
        self._sysfs = LiveFile(sysfs) if sysfs else None
        self._bits = int(self._throttled.path.read_text().strip().partition("=")[2], 16) & ~0xFFFF

    def show(self, now: Moment) -> None:
        """Nothing; the firmware's answers are as of now, sticky bits kept."""
        bits = 0
        for name, bit in _PI_BITS.items():
            bits |= (name in now.ailing) << bit
        bits |= bool(now.ailing & {"hot", "thermal"}) << _SOFT_LIMIT_BIT
        self._bits = self._bits & ~0xFFFF | bits << _SINCE_BOOT | bits
        self._throttled.set(f"throttled=0x{self._bits:x}")
        if self._sysfs:
            self._sysfs.set(f"{self._bits:x}")
        self._alarm.set(str(int("undervoltage" in now.ailing)))
        self._temperature.set(f"temp={now.temperature_c:.1f}'C")
        self._clock_file.set(f"frequency({self._clock[0]})={round(self._clock[1] * now.cap)}")


class Pmic(Instrument):
    """`vcgencmd pmic_read_adc` of a Pi 5: currents in whole steps of the converter, single readings far apart.

    ``scatter``: standard deviation of one reading of the core's current, as a share (sbc-bench shows 14.6 to 15.7 W at
    a constant load). ``rails``: name -> (part, volts, step of the current in A).
    """

    every_ns = 20_000_000

    def __init__(
        self, file: Path, rails: Mapping[str, tuple[str, float, float]], scatter: float, draw: random.Random
    ) -> None:
        self._file = LiveFile(file)
        self._rails, self._scatter, self._draw = rails, scatter, draw

    def show(self, now: Moment) -> None:
        """Nothing; a new conversion of all rails is shown."""
        lines = []
        for number, (rail, (part, volts, step_a)) in enumerate(self._rails.items()):
            scatter = self._scatter if rail == "VDD_CORE" else self._scatter / 4
            amps = now.watts[part] / volts * (1.0 + self._draw.gauss(0.0, scatter))
            lines.append(f"{rail + '_A':>12} current({number})={max(0, round(amps / step_a)) * step_a:.8f}A")
        for number, (rail, (_, volts, _)) in enumerate(self._rails.items(), len(self._rails)):
            lines.append(f"{rail + '_V':>12} volt({number})={volts:.8f}V")
        lines.append(f"{'EXT5V_V':>12} volt(24)=5.09066000V")
        lines.append(f"{'BATT_V':>12} volt(25)=0.00000000V")
        self._file.set("\n".join(lines))


class Tegrastats(Instrument):
    """The line of tegrastats: rails and temperatures of now; its own averages stay what they were."""

    every_ns = 100_000_000

    def __init__(self, file: Path, rails: Mapping[str, str]) -> None:
        self._file, self._rails = LiveFile(file), rails
        self._line = file.read_text().rstrip("\n")

    def show(self, now: Moment) -> None:
        """Nothing; the line is renewed."""
        line = self._line
        for label, part in self._rails.items():
            shown = round(now.watts[part] * 1e3)
            line = re.sub(rf"\b{label} -?\d+((?:mW)?)/", rf"{label} {shown}\1/", line)
        line = re.sub(r"\b((?:cpu|CPU|tj)@)[\d.]+C", rf"\g<1>{now.temperature_c:.3f}C", line)
        self._file.set(line)


class PhoneGauge(Gauge):
    """A fuel gauge as `dumpsys battery` tells it, and in sysfs where the phone has it open."""

    def __init__(
        self, dumpsys: Path, supply: Path, part: str, volts: float, charge_uah: float, step_uah: float,
        period_s: float, unit_a: float | None,
    ) -> None:  # fmt: skip
        super().__init__(part, volts, charge_uah, step_uah, period_s)
        self._dumpsys = LiveFile(dumpsys)
        self._text = dumpsys.read_text().rstrip("\n")
        names = ("current_now", "voltage_now", "charge_counter", "temp")
        self._supply = {name: LiveFile(supply / name) for name in names}
        self._unit_a = unit_a  # None: this phone's dumpsys tells mA and its sysfs is closed

    def tell(self, now: Moment) -> None:
        """Nothing; both ways to ask the gauge show it."""
        celsius = round(now.temperature_c * 0.6 + 12.0)  # the battery is cooler than the chip
        values = {
            "voltage": round(self.voltage_v * 1e3),
            "temperature": celsius * 10,
            "current now": round(self.current_a * 1e3),
        }
        values |= {"Charge counter": self.counter_uah, "charge counter": self.counter_uah}
        text = self._text
        for name, value in values.items():
            text = re.sub(rf"(?m)^(  {name}): .*$", rf"\g<1>: {value}", text)
        self._dumpsys.set(text)
        unit_a = self._unit_a or 1e-6
        microamps = round(round(self.current_a / unit_a) * unit_a * 1e6)
        shown = {
            "current_now": microamps,
            "voltage_now": round(self.voltage_v * 1e6),
            "charge_counter": self.counter_uah,
        }
        for name, value in {**shown, "temp": celsius * 10}.items():
            self._supply[name].set(str(value))


class ThermalService(Instrument):
    """`dumpsys thermalservice`: the status, and the HAL's temperatures of the processor."""

    every_ns = 100_000_000

    def __init__(self, file: Path, names: Sequence[str]) -> None:
        self._file, self._names = LiveFile(file), names
        cached, mark, live = file.read_text().rstrip("\n").partition("Current temperatures from HAL:")
        self._cached, self._live = cached + mark, live

    def show(self, now: Moment) -> None:
        """Nothing; cached temperatures stay what they were."""
        level = 3 if now.ailing & {"status", "thermal", "hot"} else 0
        live = self._live
        for name in self._names:
            live = re.sub(
                rf"mValue=[-\d.]+, mType=(\d+), mName={name}, mStatus=\d",
                rf"mValue={now.temperature_c:.1f}, mType=\1, mName={name}, mStatus={level}",
                live,
            )
        self._file.set(re.sub(r"Thermal Status: \d", f"Thermal Status: {level}", self._cached) + live)
