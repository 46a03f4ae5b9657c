"""The last step of `edgewise quickstart`: the example split between this machine and a server that is this machine too.

It is planned for an assumed link and run over loopback. The two are never one figure: what was predicted for the
assumed link stands beside what was measured over loopback, each under its own word.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from mobile import example
from mobile.cli.output import plain_table
from mobile.cli.quickstart_job import DEVICE, Say, bench_all

if TYPE_CHECKING:
    from device_agents.split.package import Package
    from mobile.benchmark import Progress
    from mobile.inventory import Inventory, Server
    from mobile.results.store import RunStore
    from offload.costs.link import LinkMeasured
    from offload.costs.profile import Profile
    from offload.package.verify import Evidence
    from offload.plan.costs import Link
    from offload.planning import Plan
    from offload.running import Outcome, Variant

ASSUMED_BPS, ASSUMED_RTT_S = 20e6, 0.020
CUTS = 1
PROFILE_S, LINK_S, RUN_S, WARMUP_S = 0.2, 0.6, 0.5, 0.1
MIN_COUNT = 20
CODECS = ("raw", "q8")  # few: each takes time to measure, and whatever changes the answers has all planned anew
DRAIN_S = 1.0
WHERE = {"device": "all on the device", "server": "all on the server", "split": "one part on each"}
NEEDED = {
    "OR-tools": "ortools.graph.python.max_flow",
    "httptools": "httptools",
    "prometheus_client": "prometheus_client",
}
HOW_TO_GET_IT = "the extra `split` brings it: pip install 'edgewise[split]', or `make install` in a checkout"


@dataclass(frozen=True)
class Way:
    """One way of running the package: what its run over loopback gave, and its latency as predicted for the assumed
    link (of the adaptive way: that of the placement which is best there).
    """

    outcome: Outcome
    predicted_s: float


@dataclass(frozen=True)
class SplitStep:
    """What the split step found out. ``assumed``: the link of the plan; ``measured``: loopback, as it was run over."""

    plan: Plan
    package: Package
    evidence: list[Evidence]
    assumed: Link
    measured: LinkMeasured
    ways: list[Way]

    def to_json(self) -> dict[str, Any]:
        """What `edgewise quickstart --json` has under "split"; `variants` as in `edgewise split bench --json`."""
        from mobile.cli.split import package_json, plan_json
        from mobile.results.figures import figures

        variants = []
        for way in self.ways:
            found = figures(way.outcome.run)
            variants.append(
                {
                    **way.outcome.to_json(),
                    "figures": found,
                    "predicted": {"link": "assumed", "latency_s": way.predicted_s},
                    "measured": {"link": "loopback", "latency_s": found["latency_s"]["p50"]},
                }
            )
        return {
            "variants": variants,
            "plan": plan_json(self.plan),
            "package": package_json(self.package, self.evidence),
            "link_assumed": asdict(self.assumed),
            "link_measured": self.measured.to_json(),
        }


def missing() -> str | None:
    """Why there can be no split step, and how to get what is missing; None when all is there."""
    from importlib import import_module

    for name, module in NEEDED.items():
        try:
            import_module(module)
        except ImportError as error:
            return f"{name} cannot be imported ({' '.join(str(error).split())}); {HOW_TO_GET_IT}"
    return None


def split_step(model: Path, folder: Path, inventory: Inventory, store: RunStore, say: Say) -> SplitStep:
    """The finished step for an exported model; the package is left in ``folder``, runs are added to ``store``.

    The best split is packed even where it is best nowhere: the table shows what it would cost.

    EdgewiseError when a part of it failed. The server is a thread of this process: it has ended in any case.
    """
    from mobile.inventory import Server
    from offload.costs.link import measure_link
    from offload.plan.costs import Link
    from offload.planning import Planner, Request
    from offload.running import variants
    from offload.serve.background import serving
    from offload.serve.server import Options

    assumed = Link(ASSUMED_BPS, ASSUMED_BPS, ASSUMED_RTT_S)
    profile = _profile(model, inventory, store, say)
    say(f"planning {model.name} for an assumed link and packing it")
    request = Request(
        model=model,
        device=profile,
        server=profile,
        link=assumed,
        calibration=example.calibration_path(),
        scale=example.INPUT_SCALE,
        codecs=CODECS,
        with_split=True,
    )
    package, plan, evidence = Planner(request).package(folder / f"{model.stem}.split")
    with serving([package.path], Options(port=0, drain_s=DRAIN_S)) as url:
        server = Server(name=DEVICE, url=url)
        say("measuring loopback")
        measured = measure_link(inventory.device(DEVICE), server, LINK_S)
        bench = _Bench(package, server, measured.link, inventory, store, say)
        ways = [
            Way(bench.run(variant), predicted_s(package, variant, assumed)) for variant in variants(package, assumed)
        ]
    return SplitStep(plan, package, evidence, assumed, measured, ways)


def _profile(model: Path, inventory: Inventory, store: RunStore, say: Say) -> Profile:
    from mobile.benchmark import BenchOptions
    from offload.costs.measure import Asked, profile
    from offload.costs.subject import open_subject

    options = BenchOptions(runner="ort", warmup_duration_s=WARMUP_S, min_count=MIN_COUNT, duration_s=PROFILE_S)
    subject = open_subject(model, inputs=example.calibration_path(), scale=example.INPUT_SCALE)
    return profile(subject, inventory.device(DEVICE), Asked(options, cuts=CUTS, codecs=CODECS), store, _teller(say))


def _teller(say: Say) -> Callable[[Progress], None]:
    def on_progress(progress: Progress) -> None:
        say(f"profiling {progress.model} on {DEVICE}")

    return on_progress


@dataclass(frozen=True)
class _Bench:
    """Runs the package. The device is told the link as it was measured: that is the one it runs over."""

    package: Package
    server: Server
    link: Link
    inventory: Inventory
    store: RunStore
    say: Say

    def run(self, variant: Variant) -> Outcome:
        """What the variant's run gave. RunFailure when it failed."""
        from mobile.benchmark import BenchOptions
        from offload.running import LOCAL, outcome, settings

        options = BenchOptions(
            inputs=example.evaluation_path(),
            input_scale=example.INPUT_SCALE,
            warmup_duration_s=WARMUP_S,
            min_count=MIN_COUNT,
            duration_s=RUN_S,
            split=settings(variant.policy, None if variant.name == LOCAL else self.server, self.link),
        )
        path = Path(self.package.path)
        self.say(f"running {path.name} over loopback: {variant.name}")
        (run,) = bench_all([path], options, self.inventory, self.store, lambda _: None)
        return outcome(variant.name, run, None)


def predicted_s(package: Package, variant: Variant, link: Link) -> float:
    """The latency of a variant by the package's table on a link; without a fixed placement, that of the best one."""
    from device_agents.split.table import Conditions

    assert package.table is not None  # `variants` has refused a package without one
    rows, now = package.table.placements, Conditions(link.uplink_bps, link.downlink_bps, link.rtt_s)
    fixed = variant.policy.placement
    return min(rows[name].latency_s(now) for name in ([fixed] if fixed is not None else rows))


HEADERS = [
    "split",
    "placement",
    "predicted (assumed link)",
    "measured p50 (loopback)",
    "p99 (loopback)",
    "sent per item",
    "fallbacks",
    "verdict",
]


def show(step: SplitStep) -> None:
    """Prints the table of the split step, and under it what each column is of."""
    from mobile.reports.units import pretty_number, pretty_seconds
    from mobile.results.figures import figures

    told = [(way, figures(way.outcome.run)) for way in step.ways]
    plain_table(HEADERS, [_row(way, found) for way, found in told])
    link, found = step.assumed, step.measured
    click.echo(
        f"planned for an assumed link of {link.uplink_bps / 1e6:.4g} Mbit/s and {link.rtt_s * 1e3:.3g} ms; run over"
        f" loopback, measured at {pretty_number(found.up.bandwidth_bps / 1e6)} Mbit/s up,"
        f" {pretty_number(found.down.bandwidth_bps / 1e6)} down and {pretty_seconds(found.rtt_s)}"
    )
    best = WHERE[step.plan.found[0].label]
    click.echo(f"device and server are both `{DEVICE}`; on the assumed link it is best to run {best}")
    for way, figured in told:
        for reason in figured["reasons"]:
            click.echo(f"{way.outcome.name} is invalid: {reason}")


def _row(way: Way, found: dict[str, Any]) -> list[str]:
    from mobile.reports.units import pretty_bytes, pretty_seconds

    one = way.outcome
    return [
        one.name,
        ", ".join(f"{name} ({count})" for name, count in one.placements.items()) or "-",
        pretty_seconds(way.predicted_s),
        pretty_seconds(found["latency_s"]["p50"]),
        pretty_seconds(found["latency_s"]["p99"]),
        pretty_bytes(one.bytes_up_per_frame),
        ", ".join(f"{kind}: {count}" for kind, count in one.fallbacks.items()) or "none",
        found["verdict"],
    ]
