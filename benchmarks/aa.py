"""Real comparisons on this machine: the same model against itself, and fp32 against int8.

An A/A comparison that ends with "faster" or "slower" is a false verdict. Of 40, a 5 % test may give 5 (the binomial's
own 95 % bound). Each has six launches of each side, in blocks of four in an order drawn by lot: `bench A A --compare`.
"""

from __future__ import annotations

import sys
import tempfile
import time
from pathlib import Path

import exporters
from benchmarks.table import Line, show
from mobile import example
from mobile.benchmark import BenchOptions
from mobile.benchmark.interleave import InTurns, Request, Turns
from mobile.compare.answer import Answer, answer
from mobile.compare.metrics import metric
from mobile.compare.units import group_of
from mobile.compare.until import decided, until
from mobile.compare.verdict import Comparison, Terms
from mobile.results.store import RunStore

COMPARISONS, RUNS = 40, 6
MOST_DIFFERENCES = 5
OPTIONS = BenchOptions(duration_s=0.15, warmup_duration_s=0.05, min_count=50)
TERMS = Terms(metric("p50"))


def measured(models: list[Path], store: RunStore, turns: Turns) -> tuple[InTurns, Answer]:
    """The variants measured in turns on this machine, and the answer."""
    request = Request.of(models, ["local"], OPTIONS, store=store)
    interleaved = InTurns(request, turns)
    for _ in interleaved.outcomes():
        pass
    names = [variant.name for variant in interleaved.variants]
    groups = [group_of(name, runs, TERMS.metric) for name, runs in zip(names, interleaved.runs("local"), strict=True)]
    return interleaved, answer(groups, TERMS)


def until_decided(models: list[Path], store: RunStore, turns: Turns) -> Comparison:
    """The verdict of `bench A B --compare --until-decided`."""

    def enough(runs: object) -> bool:
        a, b = (group_of(name, side, TERMS.metric) for name, side in zip("ab", runs, strict=True))  # type: ignore[call-overload]
        return decided(a, b, TERMS, turns.blocks)

    _, found = measured(models, store, Turns(turns.runs, None, enough))
    return until(found.groups[0], found.groups[1], TERMS, turns.blocks)


def words(one: Comparison) -> str:
    """A comparison in a line."""
    interval = "-" if one.low is None or one.high is None else f"{one.low:.3f} to {one.high:.3f}"
    return f"{one.verdict}, ratio {one.value:.3f} ({interval}), p {one.p:.2g}, {one.count_a} runs each"


def main() -> None:
    """Prints each verdict as it comes (stderr), and the count."""
    count = int(sys.argv[1]) if len(sys.argv) > 1 else COMPARISONS
    model = example.model_path()
    with tempfile.TemporaryDirectory() as folder:
        store = RunStore(Path(folder) / "runs.sqlite3")
        verdicts, covered, began = [], 0, time.monotonic()
        for number in range(count):
            (one,) = measured([model, model], store, Turns(RUNS))[1].comparisons
            verdicts.append(one.verdict)
            covered += one.low is not None and one.high is not None and one.low <= 1 <= one.high
            print(f"{number + 1}: {words(one)}", file=sys.stderr, flush=True)
        took_s = time.monotonic() - began
        int8 = Path(folder) / "int8.onnx"
        exporters.export(
            model, int8, scheme="int8", calibration=example.calibration_path(), inputs=example.calibration_path(),
            scale=example.INPUT_SCALE,
        )  # fmt: skip
        ab = until_decided([model, int8], store, Turns(30))
    differ = sum(verdict in ("faster", "slower") for verdict in verdicts)
    show(
        f"Real comparisons on this machine, {took_s / max(1, count):.0f} s each",
        [
            Line(f"{count} times the same model: verdict 'faster' or 'slower'", str(differ),
                 f"{MOST_DIFFERENCES} (limit)", differ / MOST_DIFFERENCES, "<= 1"),
            Line("the same: interval holds 1", f"{covered} of {count}", "95 %", covered / count / 0.95, "about 1"),
            Line(f"int8 against fp32, until decided: {words(ab)}", ab.verdict, "a verdict", 1.0, "a verdict"),
        ],
    )  # fmt: skip


if __name__ == "__main__":
    main()
