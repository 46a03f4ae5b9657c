"""Energy against known truth: short runs of the real agent on boards with physics, and what their figures claim.

    python -m tests.soak.energy --count 200

Each round draws a board, a load and a duration, runs `python -m device_agents run` on the board's tree, and compares
the host's figure with the joules that really went through what its sensor covers in the measured window. Lost is a
round whose stated interval does not cover the truth; `coverage` is the share of the others. A round that gets no figure
because it was too short is run again for the time that was said to be needed, and must then have one. The loads are
written ones (steady, square waves, ramps, noise), which begin after the idle baseline, and real ones: the CPU time of
the program that the agent launches.

A round in which the physics stood still for longer than 20 ms, because the machine had no processor for it, is drawn
again: files that nobody renews are no sensor.
"""

from __future__ import annotations

import argparse
import json
import random
import sys
import tempfile
import threading
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tests.lab.physics import BOARDS, Physics, Truth

NEEDED_COVERAGE = 0.93
LONGEST_PAUSE_S = 0.02
SHORT = ("orin-nano", "agx-orin", "thor", "nano", "x86")
FAULTS = tuple((board, fault) for board, about in BOARDS.items() for fault in about.faults)
AT_ONCE = 4
BUSY = "i=0; while [ $i -lt 30000 ]; do i=$((i+1)); done"  # 20 to 60 ms of one core

Steps = tuple[tuple[float, float], ...]


@dataclass(frozen=True)
class Round:
    """One round, drawn before it begins. ``load``: its kind; ``profile`` and ``period_s`` as Physics takes them."""

    number: int
    board: str
    seed: int
    duration_s: float
    load: str
    profile: Steps | None
    period_s: float | None


@dataclass(frozen=True)
class Measured:
    """What came of one run on a board with physics."""

    figures: dict[str, Any]
    run: Any
    truth: Truth

    @property
    def window_ns(self) -> tuple[int, int]:
        """From the start of the first measured invocation to the end of the last one."""
        from mobile.results.window import measured_window

        window = measured_window(self.run)
        assert window is not None, self.figures["failure"] or self.figures["reasons"]
        return window.start_ns, window.end_ns

    @property
    def true_j(self) -> float:
        """What really went through what the figure's sensor covers."""
        return self.truth.energy_j(self.figures["energy"]["sensor"], *self.window_ns)

    @property
    def throttled(self) -> str:
        """The verdict: "yes", "no", "unknown"."""
        return str(self.figures["thermal"]["throttled"])

    @property
    def pause_s(self) -> float:
        """How long the physics stood still, at worst."""
        return self.truth.longest_pause_s(*self.window_ns)


def draw(count: int, seed: int) -> Iterator[Round]:
    """The rounds of a seed: every board in turn, loads as they come."""
    source = random.Random(seed)
    for number in range(count):
        board = SHORT[number % len(SHORT)]
        kind = source.choice(("steady", "square", "ramp", "noise", "program"))
        profile, period_s = written_load(kind, BOARDS[board].law.cores, source)
        yield Round(number, board, source.randrange(2**31), source.uniform(2.0, 4.0), kind, profile, period_s)


def written_load(kind: str, cores: int, source: random.Random) -> tuple[Steps | None, float | None]:
    """(steps, period in s) of a load of this kind; (None, None) for one that a program makes."""
    most = min(cores, 6)
    if kind == "steady":
        return ((0.0, source.uniform(0.2, most)),), None
    if kind == "square":
        period_s = source.uniform(0.3, 2.5)
        low, high = source.uniform(0.0, 1.0), source.uniform(1.0, most)
        return ((0.0, high), (period_s * source.uniform(0.2, 0.8), low)), period_s
    if kind == "ramp":
        period_s = source.uniform(1.0, 4.0)
        return tuple((i * period_s / 40, most * i / 40) for i in range(40)), period_s
    if kind == "noise":
        period_s = 10.0
        return tuple((i * 0.1, source.uniform(0.0, most)) for i in range(100)), period_s
    return None, None


def measure(
    folder: Path,
    board: str,
    seed: int,
    duration_s: float,
    profile: Sequence[tuple[float, float]] | None = None,
    period_s: float | None = None,
    argv: Sequence[str] = ("sleep", "0.05"),
    on_record: Callable[[Physics, dict[str, Any]], None] | None = None,
    **spec: Any,
) -> Measured:
    """One run of the agent on a board with physics in ``folder``. The written load begins with the worker.

    ``on_record`` sees each record as it comes (to inject a fault in the middle of the measurement).
    """
    from mobile.results.figures import figures

    document = {
        "runner": "command", "command": {"argv": list(argv)}, "warmup_count": 1, "warmup_duration_s": 0.0,
        "min_count": 5, "min_duration_s": duration_s, "max_duration_s": duration_s * 3 + 10.0, **spec,
    }  # fmt: skip
    with Physics(folder, board, seed) as physics:

        def see(record: dict[str, Any]) -> None:
            if record["type"] == "event" and record["name"] == "load-started" and profile is not None:
                physics.load(profile, period_s)
            if on_record is not None:
                on_record(physics, record)

        run = _run_agent({**document, "root": physics.root}, physics, see, profile is None)
    return Measured(figures(run), run, physics.truth)


def _run_agent(spec: dict[str, Any], physics: Physics, see: Callable[[dict[str, Any]], None], watched: bool) -> Any:
    from mobile.results import new_run_id
    from mobile.results.collect import Collector
    from mobile.results.run import ModelRef, RunSpec
    from tests.support.agents import start

    collector = Collector(
        new_run_id(), "2026-01-02T03:04:05Z", "emulated",
        RunSpec(physics.name, ModelRef("none", "", "none", 0), spec),
    )  # fmt: skip
    process, _ = start(spec)
    limit = threading.Timer(spec["max_duration_s"] + 60.0, process.kill)
    limit.start()
    if watched:
        physics.watch(process.pid)
    try:
        for line in process.stdout or ():
            record = json.loads(line)
            collector.feed(record)
            see(record)
    finally:
        limit.cancel()
        process.kill()
        process.communicate()
    return collector.run


@dataclass(frozen=True)
class Outcome:
    """What came of a round. ``lost``: why it does not count as covered, None when it does.

    ``asked_s``: how long a first run said that it should have been; None when the first was long enough.
    ``above_covered``: whether the interval of the energy above idle covers the truth; None without that figure.
    ``throttled``: what the run was called, on which nothing was wrong.
    """

    lost: str | None
    asked_s: float | None = None
    true_j: float = 0.0
    stated_j: float = 0.0
    uncertainty_j: float = 0.0
    above_covered: bool | None = None
    throttled: str = "unknown"


def run_round(one: Round, folder: Path) -> Outcome:
    """What came of this round."""
    measured = _undisturbed(one, folder / f"{one.number}", one.duration_s)
    asked_s = None
    if measured.figures["energy"] is None:
        asked_s = needed_s(measured)
        if asked_s is None:
            return Outcome(f"no figure: {measured.figures['energy_missing']}", throttled=measured.throttled)
        measured = _undisturbed(one, folder / f"{one.number}-longer", asked_s)
    found = measured.figures["energy"]
    if found is None:
        why = f"no figure after {asked_s:.3g} s either: {measured.figures['energy_missing']}"
        return Outcome(why, asked_s, throttled=measured.throttled)
    error_j = abs(found["total_j"] - measured.true_j)
    lost = None
    if error_j > found["uncertainty_j"]:
        lost = f"off by {error_j:.3g} J, stated {found['uncertainty_j']:.3g} J"
    if measured.throttled != "no":
        lost = f"throttled: {measured.figures['thermal']['throttled_why']}"
    above = above_covered(measured)
    told_j, open_j = found["total_j"], found["uncertainty_j"]
    return Outcome(lost, asked_s, measured.true_j, told_j, open_j, above, measured.throttled)


def above_covered(measured: Measured) -> bool | None:
    """Whether the stated interval of the energy above idle covers what really flowed above the true idle power."""
    found = measured.figures["energy"]
    if found["above_idle_j"] is None:
        return None
    stamps = {event["name"]: event["t_ns"] for event in measured.run.events}
    start_ns, end_ns = stamps["idle-started"], stamps["idle-done"]
    idle_w = measured.truth.energy_j(found["sensor"], start_ns, end_ns) / (end_ns - start_ns) * 1e9
    error_j = found["above_idle_j"] - (measured.true_j - idle_w * found["window_s"])
    return bool(abs(error_j) <= found["above_idle_uncertainty_j"])


def needed_s(measured: Measured) -> float | None:
    """How long the run should have been for the widest total's figure."""
    from mobile.results.energy import energies

    return next((entry["needed_s"] for entry in energies(measured.run, None) if entry["needed_s"]), None)


def _undisturbed(one: Round, folder: Path, duration_s: float) -> Measured:
    """The run, again (three times at most) while the physics had to stand still in it."""
    argv = ("sh", "-c", BUSY) if one.load == "program" else ("sleep", "0.05")
    for attempt in range(3):
        own = folder / str(attempt)
        measured = measure(own, one.board, one.seed, duration_s, one.profile, one.period_s, argv)
        if measured.pause_s <= LONGEST_PAUSE_S:
            break
    return measured


def soak(folder: Path, count: int, seed: int, say: Callable[[str], None] = print) -> list[tuple[Round, Outcome]]:
    """Every round with what came of it, in their order."""
    rounds = list(draw(count, seed))
    with ThreadPoolExecutor(AT_ONCE) as pool:
        outcomes = pool.map(lambda one: run_round(one, folder), rounds)
        result = []
        for one, outcome in zip(rounds, outcomes, strict=True):
            say(json.dumps({"round": one.number, "board": one.board, "load": one.load, **vars(outcome)}))
            result.append((one, outcome))
    return result


def coverage(found: Sequence[tuple[Round, Outcome]]) -> float:
    """The share of rounds whose interval covers the truth."""
    return sum(outcome.lost is None for _, outcome in found) / len(found)


def beyond_accuracy(measured: Measured) -> float:
    """The share of the true energy by which a figure is wrong beyond its sensors' own stated offset and gain."""
    names = measured.figures["energy"]["sensor"].split(" + ")
    stated = [sensor.get("accuracy") or {} for sensor in measured.run.sensors if sensor["name"] in names]
    start_ns, end_ns = measured.window_ns
    offset_j = sum(one.get("offset") or 0.0 for one in stated) * (end_ns - start_ns) * 1e-9
    gain_j = max((one.get("gain") or 0.0 for one in stated), default=0.0) * measured.true_j
    error_j = abs(measured.figures["energy"]["total_j"] - measured.true_j)
    return max(0.0, error_j - offset_j - gain_j) / measured.true_j


def long_runs(folder: Path, duration_s: float = 30.0, boards: Sequence[str] = SHORT) -> dict[str, float]:
    """Board -> `beyond_accuracy` of a run of 30 s on it, all of them at once."""

    def one(board: str) -> float:
        profile, period_s = written_load("square", BOARDS[board].law.cores, random.Random(board))
        return beyond_accuracy(measure(folder / f"long-{board}", board, 11, duration_s, profile, period_s))

    with ThreadPoolExecutor(len(boards)) as pool:
        return dict(zip(boards, pool.map(one, boards), strict=True))


def short_runs(folder: Path, duration_s: float = 3.0) -> dict[str, Measured]:
    """Boards whose sensors are too slow or too coarse for a run this short, with that run."""
    boards = ("samsung-s23", "pi5", "pixel6-userdebug")

    def one(board: str) -> Measured:
        return measure(folder / f"short-{board}", board, 5, duration_s, ((0.0, 1.0),))

    with ThreadPoolExecutor(len(boards)) as pool:
        return dict(zip(boards, pool.map(one, boards), strict=True))


def after(folder: Path, board: str, duration_s: float) -> dict[str, float | None]:
    """What a run of this length states of its energy, and what is true; null where it states nothing."""
    measured = measure(folder / f"after-{board}", board, 5, duration_s, ((0.0, 1.0),))
    found = measured.figures["energy"]
    if found is None:
        return {"asked_s": duration_s, "total_j": None, "uncertainty_j": None, "true_j": None}
    told = {key: found[key] for key in ("total_j", "uncertainty_j")}
    return {"asked_s": duration_s, **told, "true_j": measured.true_j}


def throttled_run(folder: Path, board: str, fault: str) -> str:
    """The verdict ("yes", "no", "unknown") on a run in whose middle a fault began, and held for a second.

    Android's status is asked for every two seconds and leaves no trace when it has passed: it holds to the end.
    """
    for_s = None if fault == "status" else 1.0

    def on_record(physics: Physics, record: dict[str, Any]) -> None:
        if record["type"] == "event" and record["name"] == "warmup-done":
            physics.inject(fault, for_s)

    profile = ((0.0, 1.0),)
    measured = measure(folder / f"{board}-{fault}", board, 5, 3.0, profile, on_record=on_record)
    return measured.throttled


def throttles(folder: Path, wanted: Sequence[tuple[str, str]]) -> dict[tuple[str, str], str]:
    """(board, fault) -> the verdict."""
    with ThreadPoolExecutor(AT_ONCE) as pool:
        verdicts = pool.map(lambda pair: throttled_run(folder, *pair), wanted)
        return dict(zip(wanted, verdicts, strict=True))


def main() -> int:
    """The exit code: 0 when everything is as it must be."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--count", type=int, default=200)
    parser.add_argument("--seed", type=int, default=1)
    options = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="edgewise-energy-") as name:
        folder = Path(name)
        found = soak(folder, options.count, options.seed)
        long = long_runs(folder)
        short = {board: needed_s(measured) for board, measured in short_runs(folder).items()}
        later = {board: after(folder, board, asked_s) for board, asked_s in short.items() if asked_s and asked_s < 150}
        verdicts = throttles(folder, FAULTS)
    missed = [f"{board} {fault}: {verdict}" for (board, fault), verdict in verdicts.items() if verdict != "yes"]
    lost = [f"round {one.number} on {one.board}: {outcome.lost}" for one, outcome in found if outcome.lost]
    shares = sorted(outcome.uncertainty_j / outcome.true_j for _, outcome in found if outcome.true_j)
    above = [outcome.above_covered for _, outcome in found if outcome.above_covered is not None]
    summary = {
        "coverage": coverage(found),
        "above_idle_coverage": sum(above) / len(above) if above else None,
        "lost": lost,
        "median_uncertainty_share": shares[len(shares) // 2],
        "beyond_accuracy_30s": long,
        "needed_s_of_short_runs": short,
        "after_needed_s": later,
        "throttles_missed": missed,
    }
    print(json.dumps(summary))
    silent = [board for board, one in later.items() if one["total_j"] is None]
    return int(summary["coverage"] < NEEDED_COVERAGE or max(long.values()) > 0.01 or bool(missed) or bool(silent))


if __name__ == "__main__":
    sys.exit(main())
