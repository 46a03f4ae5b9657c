"""The search: every scheme becomes an artifact, is asked on the same items as the source, and is judged.

The figures are of one scheme each. Where many are tried, one may look within by luck; the intervals do not know that.
"""

from __future__ import annotations

import tempfile
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from exporters.accuracy import read_labels
from exporters.auto.budget import OVER, WITHIN, Budget
from exporters.compressing import STATIC
from exporters.data import read_samples
from exporters.pipeline import export
from exporters.runtime import Session
from exporters.sources import Source, open_source
from exporters.targets import parse_target
from mobile.errors import ExportError, InputError, UsageError
from mobile.results.accuracy import PairedDifference, paired_accuracy_difference

if TYPE_CHECKING:
    from numpy.typing import NDArray

DEFAULT_SCHEMES = (
    "int8", "int8-dynamic", "*=int8", "int4:g=32", "int4:g=128", "codebook", "power-of-two", "int3:g=64", "int2:g=32",
    "ternary", "binary",
)  # fmt: skip
_FAILED = "failed"
_CALIBRATES = ("calibration", "timesteps")  # options of schemes that are calibrated


@dataclass(frozen=True)
class Trial:
    """A scheme that was tried. ``drop`` is the source's accuracy minus the artifact's on the same items."""

    scheme: str
    verdict: str  # within, over, undecided, failed
    size_bytes: int | None = None
    drop: PairedDifference | None = None
    why: str = ""
    pareto: bool = False

    def to_json(self) -> dict[str, Any]:
        """The trial as a JSON object."""
        return {**asdict(self), "drop": None if self.drop is None else self.drop._asdict()}


@dataclass(frozen=True)
class Trials:
    """All trials, smallest first. ``measure`` says what accuracy is of; ``items`` how many there were."""

    budget: Budget
    trials: tuple[Trial, ...]
    measure: str
    items: int

    @property
    def chosen(self) -> Trial | None:
        """The smallest that is within the budget, None when none is."""
        return next((trial for trial in self.trials if trial.verdict == WITHIN), None)

    def need_chosen(self) -> Trial:
        """The chosen one. ExportError tells why there is none, and what would decide."""
        if self.chosen is not None:
            return self.chosen
        open_ = [trial.scheme for trial in self.trials if trial.verdict not in (WITHIN, OVER, _FAILED)]
        raise ExportError(
            f"no scheme is within the budget ({self.budget.said()}) on {self.items} items"
            + (f"; undecided: {', '.join(open_)}" if open_ else ""),
            "Give more labelled items: the interval narrows with their number." if open_ else "Widen the budget.",
        )

    def to_json(self) -> dict[str, Any]:
        """The search as a JSON object."""
        chosen = self.chosen
        return {
            "budget": asdict(self.budget), "measure": self.measure, "items": self.items,
            "trials": [trial.to_json() for trial in self.trials], "chosen": chosen.scheme if chosen else None,
        }  # fmt: skip

    def table(self) -> tuple[list[str], list[list[str]]]:
        """Columns and rows for a reader; a star marks the Pareto set."""
        lines = []
        for trial in self.trials:
            drop = trial.drop
            cells = ["-", "-"] if drop is None else [
                f"{drop.difference:+.2%}", f"{drop.low:+.2%} to {drop.high:+.2%}"
            ]  # fmt: skip
            size = "-" if trial.size_bytes is None else f"{trial.size_bytes:,}"
            lines.append([trial.scheme + (" *" if trial.pareto else ""), size, *cells, trial.verdict, trial.why])
        return ["scheme", "bytes", "drop", "95 % interval", "verdict", "why"], lines


def search(
    source: str | Path,
    budget: Budget,
    inputs: str | Path,
    labels: str | None = None,
    schemes: Sequence[str] | None = None,
    progress: Callable[[str], None] | None = None,
    **options: Any,
) -> Trials:
    """Every scheme tried on the items of ``inputs`` (.npz), with the Pareto set of size and drop marked.

    Accuracy is the share of items whose arg-max of the first output is the label; without ``labels`` the source's own
    arg-max stands for it, and the drop is the share of items that change. ``options`` are those of ``export``. A scheme
    that does not apply or fails is listed with the reason. The artifacts are not kept. UsageError or InputError when
    the data does not fit.
    """
    say = progress or (lambda step: None)
    path = Path(inputs)
    with tempfile.TemporaryDirectory(prefix="edgewise-auto-") as text:
        folder = Path(text)
        (folder / "source").mkdir()
        target = parse_target(options["target"]) if options.get("target") else None
        say("reading the source")
        opened = open_source(
            source, folder / "source", target, options.get("dims") or {}, options.get("seed", 0),
            options.get("example") or (), need_feeds=False,
        )  # fmt: skip
        say("asking the source")
        answers = _answers(opened, path, options, opened.run)
        wanted = answers if labels is None else read_labels(path, labels)
        if len(wanted) != len(answers):
            raise InputError(f"{path}: {len(wanted)} labels {labels!r} for {len(answers)} answers of the model")
        tried = []
        for scheme in dict.fromkeys(schemes or DEFAULT_SCHEMES):
            say(f"trying {scheme}")
            tried.append(_tried(opened, scheme, source, folder, path, budget, (answers, wanted), options))
    measure = "agreement with the source's arg-max" if labels is None else f"arg-max of the first output is {labels!r}"
    return Trials(budget, _with_pareto(tried), measure, len(wanted))


def _answers(source: Source, path: Path, options: Mapping[str, Any], run: Callable[..., Any]) -> NDArray[Any]:
    """The arg-max of the first output for each item."""
    import numpy as np

    samples = read_samples(path, source.index.inputs, options.get("scale") or {}, options.get("dims") or {})
    found = [np.asarray(run(feed)[0]).argmax(-1).reshape(-1) for feed in samples.batches()]
    return np.concatenate(found)


def _tried(
    opened: Source,
    scheme: str,
    source: str | Path,
    folder: Path,
    inputs: Path,
    budget: Budget,
    known: tuple[NDArray[Any], NDArray[Any]],
    options: Mapping[str, Any],
) -> Trial:
    """One scheme: exported, asked, judged. What does not apply is a failed trial with its reason."""
    own = {key: value for key, value in options.items() if key not in _CALIBRATES or scheme in STATIC}
    if scheme in STATIC and options.get("calibration") is None:
        return Trial(scheme, _FAILED, why="needs --calibration")
    output = folder / "try.onnx"
    try:
        result = export(source, output, scheme=scheme, verify=False, **own)
        answers = _answers(opened, inputs, options, Session(output, scheme).run)
    except (ExportError, UsageError) as error:
        return Trial(scheme, _FAILED, why=error.message[:160])
    before, wanted = known
    drop = paired_accuracy_difference([bool(x) for x in before == wanted], [bool(x) for x in answers == wanted])
    size_bytes = result.manifest.size_bytes  # external files included
    return Trial(scheme, budget.judge(size_bytes, drop), size_bytes, drop)


def _with_pareto(tried: Sequence[Trial]) -> tuple[Trial, ...]:
    """Smallest first; marked are those that no other beats in size without being worse in drop, or the reverse."""
    from dataclasses import replace

    def beaten(trial: Trial) -> bool:
        if trial.size_bytes is None or trial.drop is None:
            return True
        own = (trial.size_bytes, trial.drop.difference)
        others = [(one.size_bytes, one.drop.difference) for one in tried if one.size_bytes and one.drop is not None]
        return any(one != own and one[0] <= own[0] and one[1] <= own[1] for one in others)

    ordered = sorted(tried, key=lambda trial: trial.size_bytes if trial.size_bytes is not None else float("inf"))
    return tuple(replace(trial, pareto=not beaten(trial)) for trial in ordered)
