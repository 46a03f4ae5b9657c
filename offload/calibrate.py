"""What a package's placements take as they really run, put into its table in place of what profiles say.

A profile measures parts one after the other, each in a row; in a split run a head begins after a pause, the server's
caches are cold, and framing, queue and coding come along. So all placements of the table run in turn, frame by frame
(what drifts hits all alike), over the link that there is: what the device and the server took is kept, what the link
took is not, and the table can price any link as before.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from statistics import median
from typing import TYPE_CHECKING, Any

from device_agents.split.decide import Policy
from device_agents.split.package import Package
from device_agents.split.table import DEVICE, Conditions, Level, Placement, Table
from mobile.errors import EdgewiseError, UsageError
from offload.package.write import rewrite_costs
from offload.plan.costs import MEASURED
from offload.running import in_turn
from offload.running import settings as split_settings

if TYPE_CHECKING:
    from mobile.benchmark import BenchOptions
    from mobile.inventory import Server
    from mobile.results.run import Run
    from offload.plan.costs import Link

MOST = 64  # placements in a tour
LAPS = 10
WARM_LAPS = 2


@dataclass(frozen=True)
class Calibrated:
    """One placement: seconds as the table had them and as they were measured (medians of ``count`` frames).

    ``server_s`` is the server's whole time for the request.
    """

    placement: str
    label: str
    device_s: float
    codec_s: float
    server_s: float
    table_device_s: float
    table_codec_s: float
    table_server_s: float
    count: int


def options_for(package: Package, options: BenchOptions, server: Server, link: Link, laps: int = LAPS) -> BenchOptions:
    """The options of the run that calibrates a package. UsageError for one without a table, or with too many rows."""
    from dataclasses import replace

    tour = tour_of(package)
    policy = Policy("tour", tour=tour)
    return replace(
        options,
        warmup_count=WARM_LAPS * len(tour) - 1,  # with the first inference whole laps
        warmup_duration_s=0.0,
        duration_s=0.0,
        min_count=laps * len(tour),
        split=split_settings(policy, server, link),
    )


def tour_of(package: Package) -> tuple[str, ...]:
    """The placements of the package's table. UsageError when there are none, or more than a run can take in turn."""
    if package.table is None:
        raise UsageError("the package has no table of costs", "`edgewise split package` makes it with one.")
    names = tuple(package.table.placements)
    if len(names) > MOST:
        raise UsageError(f"the package has {len(names)} placements, {MOST} can be calibrated")
    return names


def calibrated(package: Package, run: Run) -> list[Calibrated]:
    """What a run by ``options_for`` says of each placement. EdgewiseError when frames of it went another way."""
    table = package.table
    assert table is not None  # tour_of has seen it
    told = ((run.done or {}).get("summary") or {}).get("split") or {}
    if told.get("fallbacks") or told.get("refused"):
        raise EdgewiseError(
            f"frames did not run as they were placed: fallbacks {told.get('fallbacks')}, refused {told.get('refused')}",
            "Is the server up, with this package? `edgewise serve` takes its folder.",
        )
    return [_of(table.placements[name], columns) for name, columns in in_turn(run, tuple(table.placements)).items()]


def _of(row: Placement, columns: Mapping[str, Sequence[float]]) -> Calibrated:
    middle = {stage: median(values) for stage, values in columns.items()}
    return Calibrated(
        placement=row.id,
        label=row.label,
        device_s=middle["head"] + middle["tail"],
        codec_s=middle["encode"] + middle["decode"],
        server_s=middle["server"],
        table_device_s=row.device_s,
        table_codec_s=row.device_codec_s,
        table_server_s=row.server_s + row.server_codec_s + row.request_s,
        count=len(columns["latency"]),
    )


def apply(package: Package, found: Sequence[Calibrated], run: Run) -> Package:
    """The package whose table has what was measured, in the same folder and with the same id."""
    about = {
        "run": run.id,
        "device": run.spec.device,
        "provenance": run.provenance,
        "created_utc": run.created_utc,
        "how": MEASURED,
        "placements": [asdict(one) for one in found],
    }

    def change(document: dict[str, Any]) -> dict[str, Any]:
        table = Table.from_json(document)
        rows = [_row(table.placements[one.placement], one) for one in found]
        down_bps, rtt_s = float(document["downlink_bps"]), float(document["rtt_s"])
        levels = [_level(rows, level, down_bps, rtt_s) for level in table.levels]
        return {**document, **Table(rows, levels, table.power).to_json()}

    return rewrite_costs(Path(package.path), change, about)


def _row(row: Placement, found: Calibrated) -> Placement:
    if row.label == DEVICE:
        return row._replace(device_s=found.device_s, device_codec_s=0.0)
    return row._replace(
        device_s=found.device_s,
        device_codec_s=found.codec_s,
        server_s=found.server_s,
        server_codec_s=0.0,
        request_s=0.0,
    )


def _level(rows: Sequence[Placement], level: Level, down_bps: float, rtt_s: float) -> Level:
    """The envelope of the rows at a level of server slow-down, over the range of bandwidths that the level had."""
    import numpy as np

    from offload.plan.envelope import lower_envelope
    from offload.plan.problem import Line

    nothing = np.zeros(0, dtype=bool)

    def line_of(row: Placement) -> Line:
        far = Conditions(math.inf, down_bps, rtt_s, level.slow_down)
        return Line(row.latency_s(far), row.up_bits, nothing)

    lines = {row.id: line_of(row) for row in rows}
    found = lower_envelope(
        lambda x: min(lines.values(), key=lambda line: (line.at(x), line.slope)), level.bounds[0], level.bounds[-1]
    )
    names = {id(line): name for name, line in lines.items()}
    return Level(level.slow_down, found.bounds, tuple(names[id(line)] for line in found.lines))
