"""Runs whose truth is known: launches with a spread between them, inferences with a spread inside, drift, throttling.

A session is a list of launches in the order of time. The logarithm of a launch's level is what its side says, plus
what the launch brings with it (`World.cv`), plus what the session does (drift, a slow AR(1)), plus a slow-down of the
launches that were throttled. Inferences inside of a launch are an AR(1) series around that level.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from mobile.compare.inner import percentile_draws
from mobile.compare.metrics import metric
from mobile.compare.units import Group, Unit
from mobile.compare.verdict import Terms

P50 = Terms(metric("p50"))
TIME = "2026-01-02T03:{:02d}:{:02d}Z"


@dataclass(frozen=True)
class World:
    """How launches scatter: every number is a share (standard deviation of the logarithm).

    ``cv`` between launches, ``within`` between inferences, with an autocorrelation of ``phi``; ``tails``: "normal" or
    "t3" (Student's t with 3 degrees of freedom, of the same standard deviation) between launches; ``drift`` over the
    whole session; ``session_phi``: autocorrelation of neighbouring launches; ``throttled``: share of launches that are
    slowed by 5 to 30 %, on whichever side.
    """

    name: str
    cv: float = 0.02
    within: float = 0.05
    phi: float = 0.5
    tails: str = "normal"
    drift: float = 0.0
    session_phi: float = 0.0
    throttled: float = 0.0
    inferences: int = 150


WORLDS = (
    World("CV 0.5 %", cv=0.005),
    World("CV 2 %"),
    World("CV 5 %", cv=0.05),
    World("heavy tails", tails="t3"),
    World("drift of 10 %", drift=0.10),
    World("launches depend on their neighbours (AR 0.6)", session_phi=0.6),
    World("one launch in ten throttled", throttled=0.1),
    World("inferences hang together (AR 0.9)", cv=0.01, phi=0.9),
)


def ar1(rng: np.random.Generator, shape: tuple[int, int], phi: float) -> np.ndarray:
    """Rows [k, n] of an AR(1) process of variance 1."""
    steps = rng.standard_normal(shape) * np.sqrt(1 - phi**2)
    steps[:, 0] /= np.sqrt(1 - phi**2)
    for place in range(1, shape[1]):
        steps[:, place] += phi * steps[:, place - 1]
    return steps


def launches(rng: np.random.Generator, world: World, sides: Sequence[int], effect: float) -> np.ndarray:
    """Durations [launches, inferences] in seconds; ``sides[i]`` is 1 where launch i is of B, which takes 1 + effect."""
    count = len(sides)
    own = ar1(rng, (1, count), world.session_phi)[0]
    if world.tails == "t3":
        own = rng.standard_t(3, count) / np.sqrt(3)
    level = np.log(0.010) + world.cv * own + np.asarray(sides) * np.log1p(effect)
    level += world.drift * np.linspace(0, 1, count)
    level += np.where(rng.random(count) < world.throttled, np.log1p(rng.uniform(0.05, 0.3, count)), 0.0)
    return np.exp(level[:, None] + world.within * ar1(rng, (count, world.inferences), world.phi))


def order(rng: np.random.Generator, blocks: int) -> list[int]:
    """The sides of launches in blocks of two and two, each in an order drawn by lot."""
    return [int(side) for _ in range(blocks) for side in rng.permutation([0, 0, 1, 1])]


def units(rng: np.random.Generator, durations: np.ndarray, sides: Sequence[int], blocked: bool) -> tuple[Group, Group]:
    """The launches as the two groups that are compared, with their marks where they were measured in turns."""
    groups: tuple[list[Unit], list[Unit]] = ([], [])
    for place, (row, side) in enumerate(zip(durations, sides, strict=True)):
        mark: dict[str, Any] = {"comparison": {"id": "simulated", "block": place // 4}} if blocked else {}
        taken = {"environment": mark, "device": "simulated", "provenance": "real"}
        at = TIME.format(place // 60, place % 60)
        groups[side].append(Unit(f"run{place}", at, float(np.median(row)), percentile_draws(row, 0.5, rng), taken))
    return Group("a", tuple(groups[0])), Group("b", tuple(groups[1]))


def session(
    rng: np.random.Generator, world: World, runs: int, effect: float = 0.0, *, blocked: bool = True
) -> tuple[Group, Group, np.ndarray, list[int]]:
    """(A, B, durations, sides) of ``runs`` launches of each side; not ``blocked``: drawn over the session by lot."""
    sides = order(rng, runs // 2) if blocked else [int(side) for side in rng.permutation([0, 1] * runs)]
    durations = launches(rng, world, sides, effect)
    return (*units(rng, durations, sides, blocked), durations, sides)
