"""A split package on a device: the ways of running it that are compared, and what each run gave."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any

from device_agents.split.decide import Policy
from device_agents.split.package import Package
from mobile.errors import UsageError
from offload.costs.link import certificates_of

if TYPE_CHECKING:
    from mobile.inventory import Server
    from mobile.results.run import Run
    from offload.plan.costs import Link

LOCAL, REMOTE, BEST, ADAPTIVE = "local", "server", "best split", "adaptive"


@dataclass(frozen=True)
class Variant:
    """One way of running a package: its name in the table, and the policy that does it."""

    name: str
    policy: Policy


def variants(package: Package, link: Link) -> list[Variant]:
    """All on the device, all on the server, the best split on this link, and adaptive; what does not exist is left out.

    UsageError for a package without costs, of which nothing is best.
    """
    table = package.table
    if table is None:
        raise UsageError("the package has no table of costs", "`edgewise split package` makes it with one.")
    found = []
    for name, label in ((LOCAL, "device"), (REMOTE, "server")):
        ids = [placement.id for placement in package.placements.values() if placement.label == label]
        found += [Variant(name, Policy("fixed", placement=_cheapest(package, ids, link)))] if ids else []
    splits = [placement.id for placement in package.placements.values() if placement.label == "split"]
    if splits:
        found.append(Variant(BEST, Policy("fixed", placement=_cheapest(package, splits, link))))
    return [*found, Variant(ADAPTIVE, Policy("latency"))]


def _cheapest(package: Package, ids: list[str], link: Link) -> str:
    from device_agents.split.table import Conditions

    assert package.table is not None  # the caller has seen it
    now = Conditions(link.uplink_bps, link.downlink_bps, link.rtt_s)
    rows = package.table.placements
    return min(ids, key=lambda name: rows[name].latency_s(now))


def settings(
    policy: Policy, server: Server | None, link: Link | None, deadline_s: float | None = None
) -> dict[str, Any]:
    """What the agent's spec has under ``split``. The token's variable is named, its value stays where it is;
    certificates travel as text. ConfigError when their file cannot be read.
    """
    found: dict[str, Any] = {"policy": policy.to_json()}
    if server is not None:
        certificates = certificates_of(server)
        found["server"] = {"url": server.url, "token_env": server.token_env, "certificates": certificates}
    if link is not None:
        found["link"] = {"uplink_bps": link.uplink_bps, "downlink_bps": link.downlink_bps, "rtt_s": link.rtt_s}
    if deadline_s is not None:
        found["deadline_s"] = deadline_s
        found["policy"] = policy._replace(deadline_s=policy.deadline_s or deadline_s).to_json()
    return found


@dataclass(frozen=True)
class Quality:
    """How often the arg-max of the first output was right: ``measure`` is "accuracy" (against labels) or "agreement"
    (with the whole model on the device, where there are no labels); a share with its 95 % Wilson interval.
    """

    measure: str
    share: float
    low: float
    high: float
    items: int


def quality(top1: Sequence[int], labels: Sequence[int] | None, whole: Sequence[int] | None) -> Quality | None:
    """The quality of a variant's classes; None without labels and without the whole model's classes.

    Classes and labels belong to the same items in the same order.
    """
    from mobile.results.accuracy import accuracy

    told = labels if labels is not None else whole
    if told is None or not len(told) or len(top1) != len(told):
        return None
    found = accuracy([int(one) == int(other) for one, other in zip(top1, told, strict=True)])
    measure = "accuracy" if labels is not None else "agreement"
    return Quality(measure, found.accuracy, found.low, found.high, found.items)


@dataclass(frozen=True)
class Outcome:
    """What one variant's run gave. ``missed``: share of frames that took longer than the deadline, None without one.

    ``predicted_ratio``: measured over predicted latency of the frames that ran as they were planned. ``quality``: of
    the variant's answers, None where there were no items to try.
    """

    name: str
    run: Run
    placements: Mapping[str, int]
    fallbacks: Mapping[str, int]
    refused: int
    bytes_up_per_frame: float | None
    missed: float | None
    predicted_ratio: float | None
    quality: Quality | None = None

    def to_json(self) -> dict[str, Any]:
        """The variant beside its run's figures."""
        return {
            "variant": self.name,
            "run": self.run.id,
            "placements": dict(self.placements),
            "fallbacks": dict(self.fallbacks),
            "refused": self.refused,
            "bytes_up_per_frame": self.bytes_up_per_frame,
            "deadline_missed_share": self.missed,
            "measured_over_predicted": self.predicted_ratio,
            "quality": None if self.quality is None else asdict(self.quality),
        }


def outcome(name: str, run: Run, deadline_s: float | None) -> Outcome:
    """What a run of a package tells beside its latencies."""
    told = ((run.done or {}).get("summary") or {}).get("split") or {}
    frames = int(told.get("frames") or 0)
    durations = run.phase("measure").duration_ns
    missed = None
    if deadline_s is not None and len(durations):
        missed = sum(duration > deadline_s * 1e9 for duration in durations) / len(durations)
    predicted, measured = told.get("predicted_s"), told.get("measured_s")
    return Outcome(
        name,
        run,
        told.get("placements") or {},
        told.get("fallbacks") or {},
        int(told.get("refused") or 0),
        told.get("bytes_up", 0) / frames if frames else None,
        missed,
        measured / predicted if predicted and measured else None,
    )


def in_turn(run: Run, tour: Sequence[str]) -> dict[str, dict[str, list[float]]]:
    """The measured frames of a run by the policy "tour": seconds by placement and stage, "latency" that of the frame.

    The tour begins with the run's first inference, not with the first measured one.
    """
    from device_agents.split.decide import at_turn

    before, phase = len(run.phase("first")) + len(run.phase("warmup")), run.phase("measure")
    columns = {"latency": phase.duration_ns, **phase.stages}
    found: dict[str, dict[str, list[float]]] = {name: {stage: [] for stage in columns} for name in tour}
    for frame in range(len(phase)):
        name = at_turn(tour, before + frame)
        for stage, values in columns.items():
            found[name][stage].append(values[frame] * 1e-9)
    return found
