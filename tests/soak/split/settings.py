"""What is measured, drawn before anything is; what it gave; and what all of it says."""

from __future__ import annotations

import random
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from itertools import product
from statistics import median
from typing import Any

KINDS = ("device", "server", "split")
FACTORS = (2.0, 4.0, 8.0, 16.0)
RATES_MBPS = (1.0, 2.0, 5.0, 10.0, 20.0, 50.0, 100.0)
DELAYS_MS = (1.0, 5.0, 10.0, 20.0)  # one way
OTHERS = 2  # placements beside local, server and the best
NEAR = 1.05


@dataclass(frozen=True)
class Setting:
    """One combination. ``slow_down``: of the device; ``delay_ms``: one way."""

    model: str
    slow_down: float
    rate_mbps: float
    delay_ms: float


def grid(models: Sequence[str]) -> list[Setting]:
    """All combinations."""
    return [Setting(*one) for one in product(models, FACTORS, RATES_MBPS, DELAYS_MS)]


def draw(kinds: Mapping[Setting, str], count: int, seed: int) -> list[Setting]:
    """``count`` settings of those whose predicted optimum is known, the kinds in turn while there are some, in random
    order; within a kind the models in turn as far as they go.
    """
    source = random.Random(seed)
    pools = {kind: _models_in_turn([s for s, k in kinds.items() if k == kind], source) for kind in KINDS}
    found: list[Setting] = []
    while len(found) < count and any(pools.values()):
        found += [pools[kind].pop() for kind in KINDS if pools[kind]][: count - len(found)]
    source.shuffle(found)
    return found


def _models_in_turn(settings: Sequence[Setting], source: random.Random) -> list[Setting]:
    """The settings, shuffled, so that from the end on each model comes in turn."""
    by_model: dict[str, list[Setting]] = {}
    for setting in settings:
        by_model.setdefault(setting.model, []).append(setting)
    for some in by_model.values():
        source.shuffle(some)
    ordered: list[Setting] = []
    while any(by_model.values()):
        ordered += [some.pop() for some in by_model.values() if some]
    return ordered[::-1]


@dataclass
class Outcome:
    """What one setting gave. Seconds by placement: as predicted under the conditions that were measured then, as the
    profiles alone say (device and server as fast as they were), and as measured (medians).
    """

    setting: Setting
    link: dict[str, float]
    device_scale: float
    slow_down: float  # of the server
    predicted_s: dict[str, float]
    by_profile_s: dict[str, float]
    labels: dict[str, str]
    measured_s: dict[str, float] = field(default_factory=dict)
    stages_s: dict[str, dict[str, float]] = field(default_factory=dict)
    parts: dict[str, dict[str, Any]] = field(default_factory=dict)  # what the prediction is made of
    wrong: list[str] = field(default_factory=list)

    @property
    def predicted_best(self) -> str:
        """The placement with the least predicted latency."""
        return min(self.predicted_s, key=self.predicted_s.__getitem__)

    @property
    def measured_best(self) -> str:
        """The placement with the least measured latency."""
        return min(self.measured_s, key=self.measured_s.__getitem__)

    @property
    def excess(self) -> float:
        """By which share the predicted best is slower than the measured best."""
        return self.measured_s[self.predicted_best] / self.measured_s[self.measured_best] - 1.0

    @property
    def errors(self) -> dict[str, float]:
        """(predicted - measured) / measured of each placement."""
        return {name: self.predicted_s[name] / seconds - 1.0 for name, seconds in self.measured_s.items()}

    def to_json(self) -> dict[str, Any]:
        """The outcome as one line."""
        told = {"best": self.predicted_best, "fastest": self.measured_best, "excess": self.excess}
        return {**asdict(self), **told, "errors": self.errors}

    @classmethod
    def from_json(cls, document: dict[str, Any]) -> Outcome:
        """The outcome of a line."""
        known = {name: document[name] for name in cls.__dataclass_fields__}
        return cls(**{**known, "setting": Setting(**document["setting"])})


def chosen(predicted_s: Mapping[str, float], labels: Mapping[str, str]) -> list[str]:
    """What is run: local, the better server, the predicted best, and the OTHERS that come next."""
    order = sorted(predicted_s, key=predicted_s.__getitem__)
    ends = [next(name for name in order if labels[name] == kind) for kind in KINDS[:2]]
    found = list(dict.fromkeys([*ends, order[0]]))
    return found + [name for name in order if name not in found][:OTHERS]


def summary(outcomes: Sequence[Outcome]) -> dict[str, Any]:
    """Hits with their 95 % Wilson interval, errors, and how often each kind of placement was the fastest."""
    from mobile.results.accuracy import accuracy

    whole = [one for one in outcomes if one.measured_s and not one.wrong]
    if not whole:
        return {"settings": len(outcomes), "whole": 0}
    hits = accuracy([one.excess < NEAR - 1.0 for one in whole])
    splits = [abs(e) for one in whole for name, e in one.errors.items() if one.labels[name] == "split"]
    errors = sorted(abs(error) for one in whole for error in one.errors.values())
    bare = [abs(one.by_profile_s[name] / s - 1.0) for one in whole for name, s in one.measured_s.items()]
    fastest = [one.labels[one.measured_best] for one in whole]
    return {
        "settings": len(outcomes),
        "whole": len(whole),
        "hits": hits.correct,
        "share": hits.accuracy,
        "interval": [hits.low, hits.high],
        "exactly": sum(one.excess <= 0 for one in whole),
        "predictions": len(errors),
        "error_median": median(errors),
        "error_p90": errors[int(0.9 * (len(errors) - 1))],
        "error_median_of_best": median(abs(one.errors[one.predicted_best]) for one in whole),
        "error_median_of_splits": median(splits) if splits else None,
        "error_median_by_profiles_alone": median(bare),
        "fastest": {kind: fastest.count(kind) for kind in KINDS},
    }


def table(outcomes: Sequence[Outcome]) -> str:
    """One line for each setting, the misses marked."""
    lines = [
        "| model | slower | link, one way | local | server | best split | predicted | fastest | above it | error |",
        "|---|---|---|---|---|---|---|---|---|---|",
    ]
    for one in outcomes:
        setting = one.setting
        head = f"| {setting.model} | {setting.slow_down:g} x | {setting.rate_mbps:g} Mbit/s, {setting.delay_ms:g} ms"
        if one.wrong or not one.measured_s:
            lines.append(f"{head} | {'; '.join(one.wrong)} |")
            continue
        miss = " **miss**" if one.excess >= NEAR - 1.0 else ""
        best, fastest = (f"{one.labels[name]} {name}" for name in (one.predicted_best, one.measured_best))
        kinds = " | ".join(_least(one, kind) for kind in KINDS)
        lines.append(
            f"{head} | {kinds} | {best} | {fastest} | {one.excess:.1%}{miss} | {one.errors[one.predicted_best]:+.1%} |"
        )
    return "\n".join(lines)


def _least(outcome: Outcome, kind: str) -> str:
    """The least measured latency of a kind of placement, ms."""
    known = [seconds for name, seconds in outcome.measured_s.items() if outcome.labels[name] == kind]
    return f"{min(known) * 1e3:.0f} ms" if known else "-"
