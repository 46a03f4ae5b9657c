"""Runs whose true energy is known: a law of power over time, read by a simulated sensor with the real one's defects.

A law is a grid of watts over time, made with a seeded generator; its integral is the truth. Sensors read it as theirs
do: late, averaged, quantised, with an offset and a gain inside of what the data sheet allows. Windows begin and end
between readings, the work goes on before (warm-up) and stops after.
"""

from __future__ import annotations

from array import array
from typing import Any, NamedTuple

import numpy as np

from mobile.results.run import Invocations, ModelRef, Run, RunSpec, Samples
from tests.support.runs import sensor

LEAD_S = 3.0  # idle, then warm-up, before the window
IDLE_S = 1.5
TAIL_S = 1.5
OFFSET_NS = 10_000_000_000


class Law(NamedTuple):
    """True power ``watts`` [n] on a grid of ``step_s`` from 0 s; the window, the inferences and the idle power."""

    watts: np.ndarray
    step_s: float
    window_s: tuple[float, float]
    starts_s: np.ndarray
    durations_s: np.ndarray
    idle_w: float

    def energy_j(self, start_s: float, end_s: float) -> float:
        """The true energy between two times."""
        return float(self._cumulative_j(end_s) - self._cumulative_j(start_s))

    def cumulative_j(self) -> np.ndarray:
        """The energy up to each point of the grid [n + 1]."""
        return np.concatenate(([0.0], np.cumsum(self.watts))) * self.step_s

    def _cumulative_j(self, at_s: float) -> float:
        total = self.cumulative_j()
        return float(np.interp(at_s, np.arange(len(total)) * self.step_s, total))

    @property
    def total_j(self) -> float:
        """The truth of the window."""
        return self.energy_j(*self.window_s)

    def at(self, t_s: np.ndarray) -> np.ndarray:
        """The power at each of the times."""
        return self.watts[np.clip((t_s / self.step_s).astype(int), 0, len(self.watts) - 1)]


KINDS = ("steady", "square", "bursts", "ramp", "steps")


def law(
    rng: np.random.Generator, kind: str, duration_s: float, step_s: float = 5e-4, scale: float = 1.0, swing: float = 1.0
) -> Law:
    """A law of one of KINDS with a measured window of about ``duration_s``; ``scale`` times a board of 3 to 15 W.

    ``swing`` scales what a loop of inferences adds to and takes from its mean.
    """
    total_s = LEAD_S + duration_s + TAIL_S
    t = np.arange(int(total_s / step_s)) * step_s
    mean_w = rng.uniform(3, 15)
    idle_w = mean_w * rng.uniform(0.2, 0.6)
    starts, durations = _inferences(rng, kind, total_s)
    if kind == "bursts":
        busy = np.zeros(len(t), dtype=bool)
        for begin, length in zip(starts, durations, strict=True):
            busy[int(begin / step_s) : int((begin + length) / step_s)] = True
        watts = np.where(busy, mean_w * rng.uniform(1.2, 1.6), idle_w)
    else:
        watts = mean_w * _shape(rng, kind, t, starts, durations, swing)
    inside = np.flatnonzero((starts >= LEAD_S) & (starts + durations <= LEAD_S + duration_s))
    if not len(inside):  # one inference is longer than what was asked for
        inside = np.flatnonzero(starts >= LEAD_S)[:1]
    window = (starts[inside[0]], starts[inside[-1]] + durations[inside[-1]])
    watts = watts * (1 + 0.01 * rng.standard_normal(len(t)))
    watts[(t < IDLE_S) | (t >= window[1])] = idle_w
    return Law(watts * scale, step_s, window, starts[inside], durations[inside], idle_w * scale)


def _inferences(rng: np.random.Generator, kind: str, total_s: float) -> tuple[np.ndarray, np.ndarray]:
    cycle_s = np.exp(rng.uniform(np.log(3e-3), np.log(0.3)))
    count = int(total_s / cycle_s) + 20
    if kind == "bursts":
        durations = rng.uniform(0.02, 0.2) * rng.uniform(0.9, 1.1, count)
        lengths = durations + rng.exponential(durations.mean() * rng.uniform(0.3, 2.0), count)
    else:
        durations = lengths = cycle_s * (1 + 0.02 * np.abs(rng.standard_normal(count)))
    starts = IDLE_S + np.concatenate(([0.0], np.cumsum(lengths)[:-1]))
    kept = starts + durations < total_s - TAIL_S / 2
    return starts[kept], durations[kept]


def _shape(
    rng: np.random.Generator, kind: str, t: np.ndarray, starts: np.ndarray, durations: np.ndarray, swing: float
) -> np.ndarray:
    """Power over its mean, about 1."""
    if kind == "square":
        cycle = np.clip(np.searchsorted(starts, t, side="right") - 1, 0, len(starts) - 1)
        place = (t - starts[cycle]) / durations[cycle]
        duty, low = rng.uniform(0.3, 0.9), 1 - swing * rng.uniform(0.1, 0.6)
        high = (1 - low * (1 - duty)) / duty
        return np.where((place + rng.uniform()) % 1.0 < duty, high, low)
    if kind == "ramp":
        return 1 + rng.uniform(-0.4, 0.4) * (t / t[-1] - 0.5) * 2
    if kind == "steps":
        shape = np.ones(len(t))
        for _ in range(rng.integers(1, 4)):
            shape[t > rng.uniform(LEAD_S, t[-1])] *= rng.uniform(0.65, 0.95)
        return shape
    return np.ones(len(t))


def ticks(rng: np.random.Generator, truth: Law, period_s: float) -> np.ndarray:
    """The times at which a sampler reads: even ones, each up to a millisecond late."""
    even = np.arange(rng.uniform(0, period_s), len(truth.watts) * truth.step_s - period_s, period_s)
    return even + rng.uniform(0, min(1e-3, period_s / 10), len(even))


def run_of(
    truth: Law, t_s: np.ndarray, columns: dict[str, np.ndarray], sensors: list[dict[str, Any]], period_s: float
) -> Run:
    """The run that the agent would have recorded."""
    made = Run(
        "20260101-00000000",
        "2026-01-01T00:00:00Z",
        "real",
        RunSpec("board", ModelRef("m", "0", "onnx", 1), {"sample_period_s": period_s}),
    )
    made.sensors = sensors
    made.samples = Samples(
        array("q", _ns(t_s)),
        {name: column.tolist() for name, column in columns.items()},
        {},
        array("q", [0] * len(t_s)),
    )
    starts, durations = _ns(truth.starts_s), (truth.durations_s * 1e9).astype(np.int64).tolist()
    made.phases["measure"] = Invocations(array("q", starts), array("q", durations))
    idle = [("idle-started", 0.05), ("idle-done", IDLE_S - 0.05)]
    made.events = [{"t_ns": _ns(np.array([at]))[0], "name": name, "detail": {}} for name, at in idle]
    return made


def _ns(t_s: np.ndarray) -> list[int]:
    return ((t_s * 1e9).astype(np.int64) + OFFSET_NS).tolist()


def ina3221(rng: np.random.Generator, truth: Law) -> Run:
    """VDD_IN of a small module: 5 V, 5 mOhm, read at 10 Hz."""
    t = ticks(rng, truth, 0.1)
    watts, about = _rail(rng, "VDD_IN", truth, t, np.ones(len(t)), 5.0, 5e-3, rng.uniform(0, 6.6e-3))
    return run_of(truth, t, {"power.VDD_IN": watts}, [about], 0.1)


def agx_orin(rng: np.random.Generator, truth: Law) -> Run:
    """The three rails of an AGX Orin, 2 mOhm, of which one monitor converts one after another."""
    t = ticks(rng, truth, 0.1)
    shares = rng.dirichlet((4, 3, 3))
    phase_s = rng.uniform(0, 6.6e-3)
    columns, sensors = {}, []
    names = ("VDD_GPU_SOC", "VDD_CPU_CV", "VIN_SYS_5V0")
    for i, (name, volts) in enumerate(zip(names, (19.6, 19.6, 5.0), strict=True)):
        watts, about = _rail(rng, name, truth, t, np.full(len(t), shares[i]), volts, 2e-3, phase_s + i * 2.2e-3)
        columns["power." + name] = watts
        sensors.append(about)
    return run_of(truth, t, columns, sensors, 0.1)


def _rail(
    rng: np.random.Generator,
    name: str,
    truth: Law,
    t: np.ndarray,
    share: np.ndarray,
    volts: float,
    ohm: float,
    phase_s: float,
) -> tuple[np.ndarray, dict[str, Any]]:
    """One channel of an INA3221 (TI SBOS576): 40 uV and 8 mV steps, offset 80 uV and gain at most, 6.6 ms per cycle.

    A reading is the last conversion that was done, of the mean of 1.1 ms.
    """
    gain_limit = 0.0175
    taken = t - (t - phase_s) % 6.6e-3
    mean_w = np.mean([truth.at(taken - part * 1.1e-3 / 3) for part in range(3)], axis=0) * share
    bus_v = volts * (1 + 0.002 * rng.standard_normal(len(t)))
    amperes = mean_w / bus_v * (1 + rng.uniform(-gain_limit, gain_limit)) + rng.uniform(-80e-6, 80e-6) / ohm
    step_a = 40e-6 / ohm
    watts = np.round(amperes / step_a) * step_a * np.round(bus_v / 8e-3) * 8e-3
    accuracy = {"offset": 80e-6 / ohm * volts, "gain": gain_limit, "noise": None, "source": "data sheet"}
    return watts, sensor("power." + name, "power", period_s=6.6e-3, resolution=step_a * volts, accuracy=accuracy)


def pmic(rng: np.random.Generator, truth: Law) -> Run:
    """A Pi 5's PMIC by vcgencmd: each reading scatters by 1 W, at 10 Hz."""
    t = ticks(rng, truth, 0.1)
    watts = truth.at(t - 0.02) + rng.standard_normal(len(t))
    accuracy = {"offset": None, "gain": None, "noise": 1.0, "source": "sbc-bench"}
    about = sensor("power.pmic", "power", period_s=0.1, accuracy=accuracy)
    return run_of(truth, t, {"power.pmic": watts}, [about], 0.1)


def plug(rng: np.random.Generator, truth: Law) -> Run:
    """A plug asked over HTTP at 2 Hz: the mean of its last whole second, in steps of 0.1 W, 1 % and 0.2 W at most."""
    t = ticks(rng, truth, 0.5)
    phase_s = rng.uniform(0, 1)
    second = np.floor(t - phase_s) + phase_s
    total, grid = truth.cumulative_j(), np.arange(len(truth.watts) + 1) * truth.step_s
    mean_w = np.interp(second, grid, total) - np.interp(second - 1, grid, total)
    watts = np.round((mean_w * (1 + rng.uniform(-0.01, 0.01)) + rng.uniform(-0.2, 0.2)) / 0.1) * 0.1
    accuracy = {"offset": 0.2, "gain": 0.01, "noise": None, "source": "data sheet"}
    about = sensor("power.meter.plug", "power", period_s=1.0, resolution=0.1, accuracy=accuracy)
    return run_of(truth, t, {"power.meter.plug": watts}, [about], 0.5)


def rapl(rng: np.random.Generator, truth: Law) -> Run:
    """A package's counter: 61 uJ, new every millisecond, wrapping during the run, read at 10 Hz."""
    t = ticks(rng, truth, 0.1)
    counted = np.floor(_energy_at(truth, np.floor(t * 1e3) / 1e3) / 61e-6) * 61e-6
    wraps_at = 65_532.61
    column = (counted + wraps_at - rng.uniform(0, counted[-1])) % wraps_at
    about = sensor("energy.rapl.package-0", "energy", period_s=1e-3, resolution=61e-6, wraps_at=wraps_at)
    return run_of(truth, t, {"energy.rapl.package-0": column}, [about], 0.1)


def gauge(rng: np.random.Generator, truth: Law) -> Run:
    """A phone's charge counter: steps of 0.1 % of 3700 mAh, new every 1 to 10 s, read each second."""
    t = ticks(rng, truth, 1.0)
    update_s = rng.uniform(1, 10)
    volts = rng.uniform(3.6, 4.2)
    seen = np.maximum(np.floor(t / update_s) * update_s, 0)
    left_c = 10_000 - _energy_at(truth, seen) / volts
    step_c = 13.32
    column = np.floor(left_c / step_c + rng.uniform()) * step_c
    sensors = [sensor("charge.battery", "charge"), sensor("voltage.battery", "voltage")]
    columns = {"charge.battery": column, "voltage.battery": np.round(np.full(len(t), volts), 3)}
    return run_of(truth, t, columns, sensors, 1.0)


def _energy_at(truth: Law, at_s: np.ndarray) -> np.ndarray:
    total = truth.cumulative_j()
    return np.interp(at_s, np.arange(len(total)) * truth.step_s, total)
