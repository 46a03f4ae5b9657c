"""The adaptive policy on the lab, over the bandwidths of seeded traces: `python -m tests.soak.policy_live --traces 3`

The cable of the edge server follows the trace (`lab.link`, anew every STEP_S) while a slowed board runs the example
network split, frame after frame: first by the adaptive policy, then in each fixed placement, over the same trace. Time
in the trace is the board's clock, which is this machine's on the lab. What a frame of the adaptive run would have
taken in a fixed placement is taken to be what the frame of that run took that began nearest to it in the trace; the
clairvoyant takes the least of these, the device's included. Beside it stand the simulated figures of the same trace.

The traces are the first of the evaluation's (benchmarks/policy_regret.py). Their mean uplink is twice the bandwidth at
which server and device are as fast; server and device have no noise but their own.
"""

from __future__ import annotations

import argparse
import json
import os
import sys
import tempfile
import threading
import time
from bisect import bisect_left
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path
from statistics import mean
from typing import Any

from benchmarks.policy_regret import EVALUATION, KINDS, MEAN_OVER_BREAK_EVEN
from benchmarks.policy_tables import break_even_bps
from device_agents.split.decide import Policy
from device_agents.split.table import Table
from offload.simulate.hindsight import hindsight
from offload.simulate.run import Stream, simulate
from offload.simulate.summary import figures
from offload.simulate.synthetic import world
from offload.simulate.trace import Steps, from_rates
from offload.simulate.world import World

SPECS = ("board=ssh-amd64,disk=4G",)
SLOW_DOWN = 150
DELAY, RTT_S = "10ms", 0.02
STEP_S = 0.5  # the cable is changed so often
LEAST_BPS = 20e3  # below this it is pulled out
PROVISION_S = 300.0


def rates_of(seed_index: int, mean_bps: float, seconds: float) -> list[float]:
    """The uplink of an evaluation trace as means over STEP_S, bit/s; 0: nothing passes."""
    kinds = list(KINDS)
    up = world(kinds[seed_index % len(kinds)], EVALUATION[seed_index], mean_bps=mean_bps).up
    times = [at * STEP_S for at in range(round(seconds / STEP_S) + 1)]
    means = [(up.carried(b) - up.carried(a)) / STEP_S for a, b in pairwise(times)]
    return [rate if rate >= LEAST_BPS else 0.0 for rate in means]


@contextmanager
def replayed(lab: Any, rates_bps: Sequence[float]) -> Iterator[int]:
    """A block in which the server's cable follows the rates, over and over; gives the begin, ns of the machine's clock.

    A change that comes late is not made up for: the next one is on time again.
    """
    ended, began_ns = threading.Event(), time.monotonic_ns()

    def play() -> None:
        turn = 0
        while not ended.wait(max(turn * STEP_S - (time.monotonic_ns() - began_ns) * 1e-9, 0.0)):
            rate = rates_bps[turn % len(rates_bps)]
            lab.link("edge", up=rate > 0, **({"rate": f"{round(rate / 1e3)}kbit"} if rate > 0 else {}))
            turn += 1

    lab.link("edge", up=True, rate=f"{round(max(rates_bps) / 1e3)}kbit", delay=DELAY)
    player = threading.Thread(target=play, daemon=True)
    player.start()
    try:
        yield began_ns
    finally:
        ended.set()
        player.join()
        lab.link("edge", up=True, rate="none", delay="0")


@dataclass(frozen=True)
class Frames:
    """The frames of one run in the order of their begin in the trace: seconds from the trace's begin, and latencies."""

    at_s: tuple[float, ...]
    latency_s: tuple[float, ...]

    def near(self, when_s: float) -> float:
        """What the frame took that began nearest to a time in the trace."""
        at = bisect_left(self.at_s, when_s)
        around = [index for index in (at - 1, at) if 0 <= index < len(self.at_s)]
        return self.latency_s[min(around, key=lambda index: abs(self.at_s[index] - when_s))]


def compared(adaptive: Frames, fixed: dict[str, Frames]) -> dict[str, Any]:
    """Means in seconds, the regret against the clairvoyant, and the loss to the best fixed placement, as shares."""
    own = mean(adaptive.latency_s)
    told = {name: mean(frames.near(when_s) for when_s in adaptive.at_s) for name, frames in fixed.items()}
    least = mean(min(frames.near(when_s) for frames in fixed.values()) for when_s in adaptive.at_s)
    best = min(told, key=lambda name: told[name])
    return {
        "frames": len(adaptive.at_s),
        "adaptive_s": own,
        "fixed_s": told,
        "best_fixed": best,
        "regret": own / least - 1,
        "against_best_fixed": own / told[best] - 1,
    }


class Stage:
    """One lab, one folder with package and runs. The thread is on `ctl` throughout."""

    def __init__(self, lab: Any, folder: Path) -> None:
        from mobile.inventory import load_inventory
        from mobile.results.store import RunStore
        from tests.support.split_lab import edge_url

        board = lab.devices["board"]
        where = f"host: {board.address}, user: edge, key_file: {lab.ssh_key_path}, slow_down: {SLOW_DOWN}"
        where += f", known_hosts: {lab.known_hosts_path}, workdir: ~/.edgewise-split"
        text = f'devices:\n  board: {{{where}}}\nservers:\n  edge: {{url: "{edge_url(lab)}"}}\n'
        (folder / "devices.yaml").write_text(text, encoding="utf-8")
        self._lab, self.package = lab, folder / "example.split"
        self._folder, self._inventory = folder, load_inventory(folder / "devices.yaml")
        self._store = RunStore(folder / "runs.sqlite3")

    def prepare(self) -> None:
        """Nothing, once the board has its runtime and there is a package, whose costs were measured."""
        from mobile import example
        from mobile.benchmark import BenchOptions
        from mobile.deadline import Deadline
        from mobile.provision.setup import SetupOptions, setup_device
        from offload.costs.measure import Asked, profile
        from offload.costs.subject import open_subject
        from offload.plan.costs import Link
        from offload.planning import Planner, Request

        board = self._inventory.device("board")
        setup_device(board, SetupOptions(("onnxruntime",)), lambda text: None, Deadline(PROVISION_S))
        if self.package.exists():
            return
        images, scale = example.calibration_path(), {"image": 1 / 255}
        subject = open_subject(example.model_path(), inputs=images, scale=scale)
        options = BenchOptions(runner="ort", threads=(1,), warmup_duration_s=0.2, duration_s=0.5, min_count=10)
        places = [board, self._inventory.device("local")]
        made = [profile(subject, place, Asked(options, 1, codecs=("raw",)), self._store) for place in places]
        link = Link(1e6, 1e6, RTT_S)
        request = Request(
            example.model_path(), made[0], made[1], link, calibration=images, scale=scale, codecs=("raw",)
        )  # fmt: skip
        Planner(request).package(self.package)

    def table(self) -> Table:
        """The package's."""
        from device_agents.split.package import read

        found = read(str(self.package)).table
        assert found is not None  # prepare() gave it costs
        return found

    def run(self, policy: Policy, rates_bps: Sequence[float], believed: Any, seconds: float) -> Frames:
        """The frames of one length of the trace. The run must not fail, and no frame be refused."""
        from mobile import example
        from mobile.benchmark import BenchOptions, bench
        from offload.running import settings

        options = BenchOptions(
            threads=(1,),
            inputs=example.calibration_path(),
            input_scale={"image": 1 / 255},
            warmup_count=1,
            warmup_duration_s=0.0,
            duration_s=seconds,
            min_count=1,
            split=settings(policy, self._inventory.server("edge"), believed),
        )
        with replayed(self._lab, rates_bps) as began_ns:
            found = bench([self.package], ["board"], options, inventory=self._inventory, store=self._store)
        assert not found.failures, found.failures
        measured = found.runs[0].phase("measure")
        span_s = len(rates_bps) * STEP_S
        pairs = sorted(
            ((int(start) - began_ns) * 1e-9 % span_s, int(took) * 1e-9)
            for start, took in zip(measured.start_ns, measured.duration_ns, strict=True)
        )
        return Frames(tuple(at for at, _ in pairs), tuple(took for _, took in pairs))


def one_trace(stage: Stage, index: int, seconds: float) -> dict[str, Any]:
    """One trace live, and simulated."""
    from device_agents.split.package import read
    from offload.plan.costs import Link
    from offload.running import ADAPTIVE, variants

    table = stage.table()
    even_bps = break_even_bps(table, RTT_S, 1.0)
    mean_bps = MEAN_OVER_BREAK_EVEN * even_bps
    rates = rates_of(index, mean_bps, seconds)
    believed = Link(2 * even_bps, 2 * even_bps, RTT_S)
    live = {
        one.name: stage.run(one.policy, rates, believed, seconds)
        for one in variants(read(str(stage.package)), believed)
    }
    told = compared(live.pop(ADAPTIVE), live)
    up = from_rates([at * STEP_S for at in range(len(rates) + 1)], rates)
    there = World(up, up, Steps((RTT_S,)))
    run = simulate(table, Policy(), there, Stream(seconds, None, None, (2 * even_bps, 2 * even_bps, RTT_S)))
    simulated = figures(run, hindsight(table, there, run, None), None)
    kinds = list(KINDS)
    return {
        "trace": f"{kinds[index % len(kinds)]}:{EVALUATION[index]}",
        "mean_bps": mean(rates),
        "live": told,
        "simulated": {
            key: simulated[key] for key in ("frames", "regret", "against_best_fixed", "best_fixed", "fixed_s")
        },
        "simulated_s": simulated["latency_s"]["mean"],
    }


def shown(found: Sequence[dict[str, Any]]) -> str:
    """A table in Markdown; a loss has its sign."""
    lines = ["| trace | mean uplink | | adaptive | regret | to the best fixed |", "|---|--:|---|--:|--:|--:|"]
    for one in found:
        live, simulated = one["live"], one["simulated"]
        for name, own_s, about in (("live", live["adaptive_s"], live), ("simulated", one["simulated_s"], simulated)):
            lines.append(
                f"| {one['trace']} | {one['mean_bps'] / 1e6:.2f} Mbit/s | {name} | {own_s * 1e3:.1f} ms"
                f" | {about['regret']:.1%} | {about['against_best_fixed']:+.1%} ({about['best_fixed']}) |"
            )
    return "\n".join(lines)


def soak(indices: Sequence[int], folder: Path, seconds: float) -> Iterator[dict[str, Any]]:
    """Each trace's figures, in a lab of its own."""
    from tests.lab import Lab
    from tests.support.provision import cache_at, lab_cache, prefill
    from tests.support.split_lab import EdgeServer

    with cache_at(lab_cache()):
        prefill("x86_64")
        lab = Lab.up(f"policy{os.getpid()}"[:15], SPECS, owned=True)
        try:
            with lab.inside("ctl"):
                stage = Stage(lab, folder)
                stage.prepare()
                with EdgeServer(lab, [stage.package], folder):
                    for index in indices:
                        yield one_trace(stage, index, seconds)
        finally:
            lab.down()


def main() -> int:
    """The exit code."""
    parser = argparse.ArgumentParser(prog="python -m tests.soak.policy_live", description=__doc__.splitlines()[0])
    parser.add_argument("--traces", type=int, default=3, help="how many of the evaluation's")
    parser.add_argument("--first", type=int, default=0, help="from which on")
    parser.add_argument("--seconds", type=float, default=45.0, help="of each trace, for each run")
    parser.add_argument("--keep", type=Path, help="folder of package and runs")
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="edgewise-policy-") as made:
        folder = arguments.keep or Path(made)
        folder.mkdir(parents=True, exist_ok=True)
        found = []
        for one in soak(range(arguments.first, arguments.first + arguments.traces), folder, arguments.seconds):
            found.append(one)
            print(json.dumps(one), flush=True)
    print(shown(found))
    return 0


if __name__ == "__main__":
    sys.exit(main())
