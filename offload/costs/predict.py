"""Predicted profiles: a small linear model of each operator's time, fitted to what was measured at one place.

seconds = start + a * multiply-accumulates + b * bytes in + c * bytes out + d * bytes of weights, none negative, for
each kind of operator that was seen often enough, else for all together (after nn-Meter's kernels and Neurosurgeon's
regressions by layer). Rows are divided by their time, so that the relative error is the least. How wrong it is is found
by leaving out: whole models where there are several, else a part of the pieces.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from typing import TYPE_CHECKING, Any

from mobile.errors import InputError
from offload.costs.features import Features
from offload.costs.nnls import nonnegative_least_squares
from offload.costs.profile import PieceTime, Place, Profile
from offload.costs.subject import Subject
from offload.plan.costs import MEASURED, PREDICTED

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    Floats = NDArray[np.float64]

SCHEMA = 1
KIND = "edgewise-cost-model"
ANY = "*"  # all operators together
FEWEST = 8  # pieces of a kind; with fewer it has no line of its own
LEAST_S = 1e-7  # below the clock's tick of a profile: not a time that a relative error could be of
FOLDS = 5
COEFFICIENTS = ("start_s", "s_per_mac", "s_per_input_byte", "s_per_output_byte", "s_per_weight_byte")


@dataclass(frozen=True)
class Error:
    """How far predictions of what was left out were from the measured times, as shares of these."""

    pieces: int
    median: float
    p90: float
    models: int  # left out one by one; 1: parts of the one model's pieces were
    whole_median: float | None  # of whole models' times; None with one model


@dataclass(frozen=True)
class CostModel:
    """Coefficients by kind of operator, in the order of COEFFICIENTS; ``ANY`` is always there."""

    place: Place
    coefficients: Mapping[str, tuple[float, ...]]
    counts: Mapping[str, int]
    error: Error

    def seconds(self, features: Features) -> float:
        """The predicted seconds of a piece."""
        own = self.coefficients.get(features.kind, self.coefficients[ANY])
        return sum(c * x for c, x in zip(own, _row(features), strict=True))

    def to_json(self) -> dict[str, Any]:
        """The document of schema 1."""
        coefficients = {kind: dict(zip(COEFFICIENTS, own, strict=True)) for kind, own in self.coefficients.items()}
        return {
            "schema": SCHEMA,
            "kind": KIND,
            "place": asdict(self.place),
            "operators": coefficients,
            "pieces": dict(self.counts),
            "error": asdict(self.error),
        }


def fit(profiles: Sequence[Profile]) -> CostModel:
    """The model of what was measured at one place. InputError when the profiles are of several, or tell too little."""
    if not profiles:
        raise InputError("there is no measured profile to predict from", "`edgewise profile FILE --on NAME` of others.")
    places = {_set_up(profile.place) for profile in profiles}
    if len(places) > 1:
        names = ", ".join(sorted({profile.place.name for profile in profiles}))
        raise InputError(
            f"the profiles ({names}) are of different devices, runtimes, threads or slow-downs",
            "Predict from profiles of one place, set alike.",
        )
    rows = [_rows(profile) for profile in profiles]
    if sum(len(own) for own in rows) < FEWEST:
        raise InputError(f"fewer than {FEWEST} pieces were measured", "Profile a larger model on that device.")
    everything = [row for own in rows for row in own]
    coefficients, counts = _coefficients(everything)
    return CostModel(profiles[0].place, coefficients, counts, _error(rows))


def predicted(subject: Subject, features: Sequence[Features], model: CostModel) -> Profile:
    """The profile of a model that did not run at the place: all of it is predicted."""
    seconds = [model.seconds(one) for one in features]
    place = replace(model.place, start_temperature_c=None, end_temperature_c=None)
    error = model.error
    return Profile(
        model=subject.name,
        model_sha256=subject.sha256,
        place=place,
        pieces=tuple(
            PieceTime(
                piece.name, piece.operators, time_s, time_s, PREDICTED, None,
                one.macs, one.input_bytes, one.output_bytes, one.weight_bytes,
            )
            for piece, one, time_s in zip(subject.graph.pieces, features, seconds, strict=True)
        ),
        how=PREDICTED,
        notes=(f"error of pieces left out: median {error.median:.0%}, 90 % within {error.p90:.0%}",),
    )  # fmt: skip


Row = tuple[Features, float]


def _set_up(place: Place) -> str:
    keys = ("name", "provenance", "runtime", "runtime_version", "provider", "threads", "cpus", "slow_down")
    return json.dumps({key: getattr(place, key) for key in keys}, sort_keys=True)


def _rows(profile: Profile) -> list[Row]:
    """(features, seconds) of the pieces that were measured and are long enough to tell."""
    return [
        (Features(p.operators, p.macs, p.input_bytes, p.output_bytes, p.weight_bytes), p.head_s)
        for p in profile.pieces
        if p.how == MEASURED and p.head_s >= LEAST_S and p.operators
    ]


def _row(features: Features) -> tuple[float, ...]:
    return (1.0, features.macs or 0, features.input_bytes, features.output_bytes, features.weight_bytes)


def _coefficients(rows: Sequence[Row]) -> tuple[dict[str, tuple[float, ...]], dict[str, int]]:
    kinds: dict[str, list[Row]] = {ANY: list(rows)}
    for row in rows:
        kinds.setdefault(row[0].kind, []).append(row)
    counts = {kind: len(own) for kind, own in kinds.items()}
    return {kind: _solve(own) for kind, own in kinds.items() if kind == ANY or len(own) >= FEWEST}, counts


def _solve(rows: Sequence[Row]) -> tuple[float, ...]:
    import numpy as np

    times = np.array([seconds for _, seconds in rows])
    design = np.array([_row(features) for features, _ in rows], dtype=float) / times[:, None]
    return tuple(float(value) for value in nonnegative_least_squares(design, np.ones(len(rows))))


def _error(rows: Sequence[Sequence[Row]]) -> Error:
    """Found by leaving out one model after the other, or a fifth of the pieces of the only one."""
    import numpy as np

    alone = len(rows) == 1
    groups = [list(rows[0][fold::FOLDS]) for fold in range(FOLDS)] if alone else [list(own) for own in rows]
    groups = [group for group in groups if group]
    wrong: list[float] = []
    whole: list[float] = []
    for left_out in range(len(groups)):
        known = [row for number, group in enumerate(groups) if number != left_out for row in group]
        if not known:
            continue
        coefficients, _ = _coefficients(known)
        guessed = [_guess(coefficients, features) for features, _ in groups[left_out]]
        actual = [seconds for _, seconds in groups[left_out]]
        wrong += [abs(guess - seconds) / seconds for guess, seconds in zip(guessed, actual, strict=True)]
        whole.append(abs(sum(guessed) - sum(actual)) / sum(actual))
    return Error(
        pieces=len(wrong),
        median=float(np.median(wrong)),
        p90=float(np.percentile(wrong, 90)),
        models=len(rows),
        whole_median=None if alone else float(np.median(whole)),
    )


def _guess(coefficients: Mapping[str, tuple[float, ...]], features: Features) -> float:
    own = coefficients.get(features.kind, coefficients[ANY])
    return sum(c * x for c, x in zip(own, _row(features), strict=True))


def of_place(profiles: Iterable[Profile], place: str, model_sha256: str) -> list[Profile]:
    """The measured profiles of other models at a place."""
    return [
        profile
        for profile in profiles
        if profile.how == MEASURED and profile.place.name == place and profile.model_sha256 != model_sha256
    ]
