"""Proof that a package's parts give what the whole model gives, uncoded and as coded, on many inputs.

A cut disables what a runtime fuses across it, so uncoded parts may differ in the last bits; what a codec adds comes on
top. Both are reported, and how often the first output's arg-max is the same.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from device_agents.split.codecs import decode, encode
from device_agents.split.package import Package, Placement, check_part
from exporters.runtime import Session

if TYPE_CHECKING:
    from numpy.typing import NDArray

    Values = dict[str, NDArray[Any]]

FLOAT_TOLERANCE = 1e-5  # relative to the largest value of the output: fusion and another order of additions


@dataclass(frozen=True)
class Evidence:
    """How far one placement is from the whole model over all samples: the largest difference of any output, relative
    to that output's largest magnitude; and the share of rows of the first output whose arg-max agrees.
    """

    placement: str
    samples: int
    uncoded: float
    coded: float
    top1_agreement: float

    @property
    def equivalent(self) -> bool:
        """Whether the uncoded parts are the whole, as far as floating point tells."""
        return self.uncoded <= FLOAT_TOLERANCE

    def to_json(self) -> dict[str, Any]:
        """As the manifest has it."""
        return {
            "placement": self.placement,
            "samples": self.samples,
            "uncoded_max_relative": self.uncoded,
            "coded_max_relative": self.coded,
            "top1_agreement": self.top1_agreement,
            "equivalent": self.equivalent,
        }


class Runner:
    """Runs the placements of one package on this machine, both sides of them; sessions are kept."""

    def __init__(self, package: Package) -> None:
        self._package = package
        self._sessions: dict[str, Session] = {}

    def run(self, placement: Placement, feeds: Mapping[str, NDArray[Any]], *, coded: bool) -> Values:
        """Every value that a placement gives, crossings coded and decoded or as they are."""
        known: Values = dict(feeds)
        made_on: dict[str, str] = dict.fromkeys(feeds, "device")
        crossed: dict[tuple[str, str], NDArray[Any]] = {}
        for part in placement.parts:
            taken = {}
            for name in part.inputs:
                up = part.place == "server"
                if coded and made_on[name] != part.place:
                    key = (name, part.place)
                    if key not in crossed:
                        codec = placement.codec(name, up)
                        crossed[key] = decode(encode(known[name], codec, self._range(name, codec)))
                    taken[name] = crossed[key]
                else:
                    taken[name] = known[name]
            session = self._session(part.file, part)
            for name, value in zip(session.outputs, session.run(taken), strict=True):
                known[name], made_on[name] = value, part.place
        return known

    def _range(self, name: str, codec: str) -> Any:
        return None if ".c" in codec else self._package.ranges.get(name)

    def _session(self, file: str, part: Any) -> Session:
        if file not in self._sessions:
            check_part(self._package, part)
            self._sessions[file] = Session(Path(self._package.file_of(part)), file)
        return self._sessions[file]


def verify(
    package: Package, whole: Session, samples: Iterable[Mapping[str, NDArray[Any]]], only: Iterable[str] | None = None
) -> list[Evidence]:
    """The evidence of each placement (or of ``only`` these), against the whole model's session."""
    import numpy as np

    runner = Runner(package)
    chosen = [package.placements[name] for name in (only if only is not None else package.placements)]
    worst = {placement.id: [0.0, 0.0] for placement in chosen}
    agreed: dict[str, list[float]] = {placement.id: [] for placement in chosen}
    count = 0
    for feeds in samples:
        count += 1
        want = dict(zip(whole.outputs, whole.run(feeds), strict=True))
        for placement in chosen:
            for index, coded in enumerate((False, True)):
                have = runner.run(placement, feeds, coded=coded)
                differences = [_relative(want[name], have[name]) for name in want]
                worst[placement.id][index] = max(worst[placement.id][index], *differences)
                if coded:
                    first = next(iter(want))
                    agreed[placement.id].append(_agreement(want[first], have[first]))
    return [
        Evidence(
            placement.id, count, worst[placement.id][0], worst[placement.id][1], float(np.mean(agreed[placement.id]))
        )
        for placement in chosen
        if count
    ]


def _relative(want: NDArray[Any], have: NDArray[Any]) -> float:
    """The largest difference, relative to the largest magnitude wanted; infinite for another shape or a lost NaN."""
    import numpy as np

    if want.shape != have.shape:
        return float("inf")
    if not want.size:
        return 0.0
    if want.dtype.kind != "f":
        return float((want != have).mean())
    if not np.array_equal(np.isnan(want), np.isnan(have)):
        return float("inf")
    with np.errstate(invalid="ignore"):
        difference = np.nanmax(np.abs(np.where(want == have, 0.0, want - have)), initial=0.0)
    return float(difference) / max(float(np.nanmax(np.abs(want), initial=0.0)), 1e-30)


def _agreement(want: NDArray[Any], have: NDArray[Any]) -> float:
    import numpy as np

    if want.ndim < 1 or want.shape != have.shape or not want.size:
        return 1.0
    return float(np.mean(want.argmax(axis=-1) == have.argmax(axis=-1)))
