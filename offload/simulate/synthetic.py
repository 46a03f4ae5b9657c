"""Synthetic worlds, made by a kind and a seed. Invented laws, not recordings: what each is like stands beside it.

Bandwidths are those of the uplink; the downlink is ``DOWN_RATIO`` times as fast. Rates hold for ``STEP_S``. The same
kind and seed give the same world on every machine (Python's own Mersenne Twister). The round trip and the server's
times have 15 % of noise that is new at each step, the device's 3 %.
"""

from __future__ import annotations

import math
import random
from collections.abc import Callable

from offload.simulate.trace import Steps, TraceError, from_rates
from offload.simulate.world import World

STEP_S = 0.1
DOWN_RATIO = 2.0
LENGTH_S = 180.0
MEAN_BPS = 6e6
LEAST_BPS, MOST_BPS = 1e4, 1e9

Rates = Callable[[random.Random, int, float], list[float]]
Factors = Callable[[random.Random, int], list[float]]


def world(kind: str, seed: int, length_s: float = LENGTH_S, mean_bps: float = MEAN_BPS) -> World:
    """The world of a kind. TraceError for an unknown kind or a length that makes no trace."""
    if kind not in KINDS:
        raise TraceError(f"there is no synthetic trace {kind!r}; there are: {', '.join(KINDS)}")
    if not STEP_S <= length_s <= 86_400 or not LEAST_BPS <= mean_bps <= MOST_BPS:
        raise TraceError(f"a trace of {length_s} s and {mean_bps} bit/s is out of range")
    rates, rtt_s, slow_down, heat = KINDS[kind]
    count = round(length_s / STEP_S)
    rng = random.Random(f"{kind}:{seed}")  # noqa: S311 - a simulation, no secret
    bounded = [rate and min(max(rate, LEAST_BPS), MOST_BPS) for rate in rates(rng, count, mean_bps)]
    up = from_rates([at * STEP_S for at in range(count + 1)], bounded)
    return World(
        up,
        up.scaled(DOWN_RATIO),
        _noisy(rng, [rtt_s] * count, 0.15),
        _noisy(rng, slow_down(rng, count), 0.15),
        device_scale=_noisy(rng, heat(rng, count), 0.03),
    )


def _noisy(rng: random.Random, values: list[float], share: float) -> Steps[float]:
    """The values times noise that is new at each step."""
    times_s = tuple(at * STEP_S for at in range(len(values)))
    return Steps(tuple(value * math.exp(rng.gauss(0, share)) for value in values), times_s)


def constant(rng: random.Random, count: int) -> list[float]:
    """1 all the time."""
    return [1.0] * count


def load(rng: random.Random, count: int) -> list[float]:
    """A server that others use too: 1, 2, 6 or 20 times slower, each kept for 12 s on average."""
    levels, values, level, left = (1.0, 2.0, 6.0, 20.0), list[float](), 0, rng.expovariate(1 / 12.0)
    for _ in range(count):
        if left <= 0:
            level, left = (level + rng.randrange(1, 4)) % 4, rng.expovariate(1 / 12.0)
        values.append(levels[level])
        left -= STEP_S
    return values


def heat(rng: random.Random, count: int) -> list[float]:
    """A device that becomes up to 2.5 times slower and recovers, in waves of 60 to 120 s."""
    period_s, phase = rng.uniform(60, 120), rng.uniform(0, 1)
    waves = [math.sin(math.pi * (at * STEP_S / period_s + phase)) ** 2 for at in range(count)]
    return [1.0 + 1.5 * wave for wave in waves]


def markov(rng: random.Random, count: int, mean_bps: float) -> list[float]:
    """Four regimes of 0.1, 0.4, 1 and 2.5 times the mean, each kept for 10 s on average (exponential), the next one any
    other; within a regime 10 % of noise that is new at each step.
    """
    levels, rates, level, left = (0.1, 0.4, 1.0, 2.5), list[float](), rng.randrange(4), 0.0
    while len(rates) < count:
        if left <= 0:
            level = (level + rng.randrange(1, 4)) % 4
            left = rng.expovariate(1 / 10.0)
        rates.append(mean_bps * levels[level] * math.exp(rng.gauss(0, 0.1)))
        left -= STEP_S
    return rates


def ar1(rng: random.Random, count: int, mean_bps: float, spread: float = 0.7, memory_s: float = 15.0) -> list[float]:
    """The logarithm of bandwidth as a first-order autoregression: standard deviation 0.7 (a factor of 2), forgotten
    with a time constant of 15 s.
    """
    keep = math.exp(-STEP_S / memory_s)
    state, rates = rng.gauss(0, spread), list[float]()
    for _ in range(count):
        rates.append(mean_bps * math.exp(state - spread**2 / 2))
        state = keep * state + math.sqrt(1 - keep**2) * rng.gauss(0, spread)
    return rates


def outages(rng: random.Random, count: int, mean_bps: float) -> list[float]:
    """A link with 10 % of slow noise that carries nothing for 1 to 20 s, every 30 s on average."""
    rates = ar1(rng, count, mean_bps * 1.5, 0.1, 5.0)
    at_s = rng.expovariate(1 / 30.0)
    while at_s < count * STEP_S:
        gone_s = rng.uniform(1.0, 20.0)
        for step in range(round(at_s / STEP_S), min(round((at_s + gone_s) / STEP_S), count)):
            rates[step] = 0.0
        at_s += gone_s + rng.expovariate(1 / 30.0)
    return rates


def steps(rng: random.Random, count: int, mean_bps: float) -> list[float]:
    """Twice the mean; every 20 s on average it falls to a tenth of that within a second, or comes back as fast."""
    rates, state, want, left = list[float](), 0.0, 0.0, rng.expovariate(1 / 20.0)
    fall = math.log(10.0)
    for _ in range(count):
        rates.append(mean_bps * 2 * math.exp(-fall * state))
        if left <= 0:
            want, left = 1.0 - want, rng.expovariate(1 / 20.0)
        state += min(max(want - state, -STEP_S), STEP_S)
        left -= STEP_S
    return rates


def lte(rng: random.Random, count: int, mean_bps: float) -> list[float]:
    """A drive: slow shadowing (a factor of 2 over 20 s), fast fading (30 % over 0.5 s), and every 40 s on average a
    hand-over that carries nothing for 0.1 to 1 s and begins another cell, up to 4 times better or worse.
    """
    slow, fast = ar1(rng, count, mean_bps, 0.6, 20.0), ar1(rng, count, 1.0, 0.3, 0.5)
    cell, gone_s, left = 1.0, 0.0, rng.expovariate(1 / 40.0)
    rates = list[float]()
    for step in range(count):
        if left <= 0:
            cell, gone_s, left = math.exp(rng.uniform(-1.4, 1.4)), rng.uniform(0.1, 1.0), rng.expovariate(1 / 40.0)
        rates.append(0.0 if gone_s > 0 else slow[step] * fast[step] * cell)
        gone_s, left = gone_s - STEP_S, left - STEP_S
    return rates


def wifi(rng: random.Random, count: int, mean_bps: float) -> list[float]:
    """Three times the mean when alone; others on the air take up to nine tenths of it in bursts (exponential, 2 s,
    every 8 s); 15 % of noise over 1 s.
    """
    noise = ar1(rng, count, mean_bps * 3, 0.15, 1.0)
    taken, left, busy = 0.0, rng.expovariate(1 / 8.0), False
    rates = list[float]()
    for step in range(count):
        if left <= 0:
            busy = not busy
            taken, left = (rng.uniform(0.3, 0.9), rng.expovariate(1 / 2.0)) if busy else (0.0, rng.expovariate(1 / 8.0))
        rates.append(noise[step] * (1 - taken))
        left -= STEP_S
    return rates


def steady(rng: random.Random, count: int, mean_bps: float) -> list[float]:
    """One bandwidth all the time, drawn between a tenth of the mean and ten times it."""
    return [mean_bps * 10 ** rng.uniform(-1, 1)] * count


KINDS: dict[str, tuple[Rates, float, Factors, Factors]] = {  # rates, round trip, server, device
    "markov": (markov, 0.02, constant, constant),
    "ar1": (ar1, 0.03, constant, constant),
    "outages": (outages, 0.02, constant, constant),
    "steps": (steps, 0.02, constant, constant),
    "lte": (lte, 0.05, constant, constant),
    "wifi": (wifi, 0.005, constant, constant),
    "steady": (steady, 0.02, constant, constant),
    "load": (ar1, 0.02, load, constant),
    "heat": (ar1, 0.02, constant, heat),
}
