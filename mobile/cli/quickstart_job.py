"""What `edgewise quickstart` does, step by step, without printing: export, push, bench, evaluate on this machine."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from mobile import example
from mobile.benchmark import BenchOptions, BenchResult, Evaluation, evaluate, iter_bench
from mobile.benchmark.outcomes import Failure, Left, Progress
from mobile.cli.progress import WORDS
from mobile.errors import RunFailure, UsageError

if TYPE_CHECKING:
    from exporters import ExportResult
    from mobile.inventory import Inventory
    from mobile.results.run import Run
    from mobile.results.store import RunStore

Say = Callable[[str], None]
DEVICE = "local"
SCHEMES: tuple[str | None, ...] = (None, "int8")
BATCH_OF_EVALUATION = 50


@dataclass(frozen=True)
class Variant:
    """One artifact of the example: how it was exported, what it costs, how often it is right."""

    scheme: str
    export: ExportResult
    run: Run
    evaluation: Evaluation


@dataclass(frozen=True)
class Quickstart:
    """Everything that the quickstart found out. ``dataset`` names the labelled items of the accuracy."""

    variants: list[Variant]
    dataset: str
    store: Path

    def accuracy_difference(self) -> dict[str, Any]:
        """Accuracy of the second variant minus the first, with its 95 % paired interval, shares from -1 to 1."""
        from mobile.results.accuracy import paired_accuracy_difference

        first, second = self.variants[0].evaluation, self.variants[1].evaluation
        found = paired_accuracy_difference(second.correct, first.correct)
        return {"difference": found.difference, "low": found.low, "high": found.high, "method": found.method}

    def to_json(self) -> dict[str, Any]:
        """The document of `edgewise quickstart --json`: the bench contract, with accuracy beside it."""
        document = BenchResult(runs=[variant.run for variant in self.variants]).to_json()
        for row, variant in zip(document["runs"], self.variants, strict=True):
            row["scheme"] = variant.scheme
            row["accuracy"] = {
                "top1": variant.evaluation.accuracy,
                "items": len(variant.evaluation.labels),
                "run": variant.evaluation.run.id,
                "dataset": self.dataset,
            }
            row["artifact"] = str(variant.export.path)
        return {**document, "accuracy_difference": self.accuracy_difference(), "store": str(self.store)}


def quickstart(folder: Path, inventory: Inventory, store: RunStore, duration_s: float, say: Say) -> Quickstart:
    """The finished quickstart; artifacts are left in ``folder``, runs in ``store``. ``say`` is told each step."""
    import exporters

    _make_folder(folder)
    exported: list[ExportResult] = []
    for scheme in SCHEMES:
        name = f"fashion_mnist.{scheme}.onnx" if scheme else "fashion_mnist.onnx"
        say(f"exporting {name}")
        exported.append(
            exporters.export(
                example.model_path(),
                folder / name,
                scheme=scheme,
                scale=example.INPUT_SCALE,
                calibration=example.calibration_path() if scheme else None,
                inputs=example.calibration_path(),
            )
        )
    options = BenchOptions(duration_s=duration_s, inputs=example.evaluation_path(), input_scale=example.INPUT_SCALE)
    runs = bench_all([result.path for result in exported], options, inventory, store, say)
    dataset = example.full_test_set(folder) or example.evaluation_path()
    variants = []
    for scheme, result, run in zip(SCHEMES, exported, runs, strict=True):
        say(f"checking the answers of {result.path.name} on {dataset.name}")
        found = evaluate(
            result.path,
            dataset,
            inventory.device(DEVICE),
            BenchOptions(batch=(BATCH_OF_EVALUATION,), input_scale=example.INPUT_SCALE),
        )
        store.add(found.run)
        variants.append(Variant(scheme or "fp32", result, run, found))
    return Quickstart(variants, dataset.name, store.path)


def _make_folder(folder: Path) -> None:
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise UsageError(f"{folder}: {error.strerror}", hint="choose another folder with --output") from error


def bench_all(paths: list[Path], options: BenchOptions, inventory: Inventory, store: RunStore, say: Say) -> list[Run]:
    """The runs of the models on this machine, in order, each in ``store``. RunFailure when one failed."""
    runs: list[Run] = []

    def on_progress(progress: Progress) -> None:
        if progress.state in WORDS:
            say(f"{progress.model}: {WORDS[progress.state]} on {DEVICE}")

    outcomes = iter_bench(paths, [DEVICE], options, inventory=inventory, store=store, on_progress=on_progress)
    for outcome in outcomes:
        if isinstance(outcome, Failure):
            raise RunFailure(outcome.code, f"{outcome.model} on {outcome.device}: {outcome.message}", outcome.hint)
        if not isinstance(outcome, Left):
            runs.append(outcome)
    return runs
