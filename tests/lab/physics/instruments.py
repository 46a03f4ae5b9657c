"""The meters of real boards: what a true power becomes in the files that their drivers show.

Each draws its defects once per board from a seeded source, within the limits of its data sheet, and keeps them.
"""

from __future__ import annotations

import math
import random
from collections import deque
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from tests.lab.physics.livefile import LiveFile


@dataclass(frozen=True)
class Moment:
    """What a board is like from ``t_ns`` on, until the next moment."""

    t_ns: int
    watts: Mapping[str, float]
    temperature_c: float
    cap: float
    ailing: frozenset[str]


class Instrument:
    """Shows moments in the files of one sensor; at most every ``every_ns``, but at once when something ails it."""

    every_ns = 0

    def show(self, now: Moment) -> None:
        """Nothing; the files show this moment."""

    def between(self, t_ns: int) -> None:
        """Nothing; what grows between two moments (counters of energy) is shown as of ``t_ns``."""


@dataclass(frozen=True)
class Channel:
    """One channel of a monitor: its number in the file names, the part that flows through it, its nominal volts."""

    number: int
    part: str
    volts: float


SOURCE_OHM = 0.02  # of the supply: the more current, the lower the rail


class Ina3221(Instrument):
    """Three rails of an INA3221 (TI SBOS576): bus step 8 mV, shunt step 40 µV, offset at most ±80 µV, gain ±0.25 %.

    A conversion is a snapshot. Channels are converted in turn: the second is one moment behind the first, the third
    two. ``old``: the files of JetPack 4, which have power, mW, worked out by the driver.
    """

    BUS_STEP_V, SHUNT_STEP_V, OFFSET_V, GAIN = 8e-3, 40e-6, 80e-6, 0.0025

    def __init__(
        self, folder: Path, channels: Sequence[Channel], shunt_ohm: float, draw: random.Random, old: bool = False
    ) -> None:
        self._channels = channels
        self._shunt_ohm = shunt_ohm
        self.offset_v = {c.part: draw.uniform(-self.OFFSET_V, self.OFFSET_V) for c in channels}
        self.gain = {c.part: 1.0 + draw.uniform(-self.GAIN, self.GAIN) for c in channels}
        self._past: deque[Moment] = deque(maxlen=len(channels))
        names = (
            ("in_voltage{}_input", "in_current{}_input", "in_power{}_input") if old else ("in{}_input", "curr{}_input")
        )
        self._files = {c.part: [LiveFile(folder / name.format(c.number)) for name in names] for c in channels}
        alarms = () if old else ("curr{}_max_alarm", "curr{}_crit_alarm")
        self._alarms = [LiveFile(folder / name.format(channels[0].number)) for name in alarms]

    def reading(self, channel: Channel, watts: float) -> tuple[int, int]:
        """(mV, mA) that the driver shows of a true power."""
        amps = watts / channel.volts
        volts = channel.volts - SOURCE_OHM * amps
        amps = watts / volts
        shunt_v = amps * self._shunt_ohm * self.gain[channel.part] + self.offset_v[channel.part]
        steps = math.floor(shunt_v / self.SHUNT_STEP_V + 0.5)
        millivolts = round(math.floor(volts / self.BUS_STEP_V + 0.5) * self.BUS_STEP_V * 1e3)
        return millivolts, round(steps * self.SHUNT_STEP_V / self._shunt_ohm * 1e3)

    def show(self, now: Moment) -> None:
        """Nothing; each channel shows the moment of its last conversion."""
        self._past.appendleft(now)
        for behind, channel in enumerate(self._channels):
            then = self._past[min(behind, len(self._past) - 1)]
            millivolts, milliamps = self.reading(channel, then.watts[channel.part])
            values = (millivolts, milliamps, round(millivolts * milliamps / 1e3))
            for file, value in zip(self._files[channel.part], values, strict=False):
                file.set(str(value))
        for file in self._alarms:
            file.set(str(int("over-current" in now.ailing)))


class Ina238(Instrument):
    """A board input behind an INA238 (TI SBOSA20): 3.125 mV and 5 µV steps, offset ±5 µV, gain ±0.1 %, power in µW."""

    BUS_STEP_V, SHUNT_STEP_V, OFFSET_V, GAIN = 3.125e-3, 5e-6, 5e-6, 0.001

    def __init__(self, folder: Path, part: str, volts: float, shunt_ohm: float, draw: random.Random) -> None:
        self._channel = Channel(1, part, volts)
        self._shunt_ohm = shunt_ohm
        self.offset_v = draw.uniform(-self.OFFSET_V, self.OFFSET_V)
        self.gain = 1.0 + draw.uniform(-self.GAIN, self.GAIN)
        self._files = [LiveFile(folder / name) for name in ("in1_input", "curr1_input", "power1_input")]

    def show(self, now: Moment) -> None:
        """Nothing; volts, amperes and watts are shown."""
        watts = now.watts[self._channel.part]
        volts = self._channel.volts - SOURCE_OHM * watts / self._channel.volts
        shunt_v = watts / volts * self._shunt_ohm * self.gain + self.offset_v
        amps = math.floor(shunt_v / self.SHUNT_STEP_V + 0.5) * self.SHUNT_STEP_V / self._shunt_ohm
        shown_v = math.floor(volts / self.BUS_STEP_V + 0.5) * self.BUS_STEP_V
        for file, value in zip(self._files, (shown_v * 1e3, amps * 1e3, shown_v * amps * 1e6), strict=True):
            file.set(str(round(value)))


class Counters(Instrument):
    """Energy since boot of some parts, exact at any time between two moments."""

    def __init__(self, parts: Sequence[str], start_j: Mapping[str, float]) -> None:
        self._parts = parts
        self._joules = {part: start_j.get(part, 0.0) for part in parts}
        self._now: Moment | None = None

    def joules(self, t_ns: int) -> dict[str, float]:
        """Joules since boot at a time not before the last moment."""
        now = self._now
        if now is None:
            return dict(self._joules)
        passed_s = (t_ns - now.t_ns) * 1e-9
        return {part: self._joules[part] + now.watts[part] * passed_s for part in self._parts}

    def show(self, now: Moment) -> None:
        """Nothing; what flowed since the last moment is counted."""
        self._joules = self.joules(now.t_ns)
        self._now = now
        self.between(now.t_ns)


class Rapl(Counters):
    """RAPL zones: steps of 61 µJ, a new value every millisecond, back to 0 at the range (Intel SDM volume 3).

    The first zone is renewed at every call of ``between``, the others at every fifth: a millisecond is dear.
    """

    STEP_J = 2.0**-14
    OTHERS = 5

    def __init__(self, zones: Mapping[str, Path], range_j: float, start_j: Mapping[str, float]) -> None:
        super().__init__(list(zones), start_j)
        self._range_j = range_j
        self._files = [(part, LiveFile(path / "energy_uj")) for part, path in zones.items()]
        self._calls = 0

    def between(self, t_ns: int) -> None:
        """Nothing; the counters show ``t_ns``."""
        now = self._now
        if now is None:
            return
        passed_s, step_j = (t_ns - now.t_ns) * 1e-9, self.STEP_J
        self._calls += 1
        for part, file in self._files if self._calls % self.OTHERS == 0 or passed_s == 0 else self._files[:1]:
            joules = self._joules[part] + now.watts[part] * passed_s
            file.set(str(round(joules // step_j * step_j % self._range_j * 1e6)))


class Odpm(Counters):
    """A Pixel's energy meters: µWs since boot with the millisecond at which they were read, one file a device."""

    def __init__(self, devices: Mapping[Path, Sequence[str]], start_j: Mapping[str, float]) -> None:
        super().__init__([part for parts in devices.values() for part in parts], start_j)
        self._devices = {LiveFile(path / "energy_value"): parts for path, parts in devices.items()}

    every_ns = 20_000_000

    def between(self, t_ns: int) -> None:
        """Nothing; the tables show the last whole millisecond."""
        stamp_ms = t_ns // 1_000_000
        joules = self.joules(max(stamp_ms * 1_000_000, self._now.t_ns if self._now else 0))
        for file, parts in self._devices.items():
            lines = [f"t={stamp_ms}"]
            lines += [
                f"CH{number}(T={stamp_ms})[{part.rpartition('.')[2]}], {math.floor(joules[part] * 1e6)}"
                for number, part in enumerate(parts)
            ]
            file.set("\n".join(lines))


class Gauge(Instrument):
    """A phone's fuel gauge: a counter in steps of 0.1 % of the capacity, a current averaged and told now and then.

    ``period_s``: how often a new current is told (its mean since the last time). ``step_uah``: of the counter.
    ``current_unit``: of the gauge's current, A.
    """

    def __init__(self, part: str, volts: float, charge_uah: float, step_uah: float, period_s: float) -> None:
        self._part, self._volts, self._step_uah = part, volts, step_uah
        self._period_ns = round(period_s * 1e9)
        self._charge_uah = charge_uah
        self._last: Moment | None = None
        self._told_ns = 0
        self._told_uah = charge_uah
        self.current_a = 0.0
        self.voltage_v = volts

    def show(self, now: Moment) -> None:
        """Nothing; charge is gone, and the files are told when it is time."""
        if self._last is not None:
            amps = self._last.watts[self._part] / self._volts
            self._charge_uah -= amps * (now.t_ns - self._last.t_ns) * 1e-9 / 3600.0 * 1e6
        self._last = now
        if now.t_ns - self._told_ns >= self._period_ns:
            passed_h = (now.t_ns - self._told_ns) * 1e-9 / 3600.0
            if self._told_ns:
                self.current_a = (self._charge_uah - self._told_uah) * 1e-6 / passed_h
            else:
                self.current_a = -now.watts[self._part] / self._volts
            self._told_ns, self._told_uah = now.t_ns, self._charge_uah
            self.tell(now)

    @property
    def counter_uah(self) -> int:
        """What the charge counter shows: whole steps."""
        return round(math.floor(self._charge_uah / self._step_uah) * self._step_uah)

    def tell(self, now: Moment) -> None:
        """Nothing; the phone's files and programs show the gauge."""
        raise NotImplementedError
