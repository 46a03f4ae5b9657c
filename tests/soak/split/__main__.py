"""See the package."""

from __future__ import annotations

import argparse
import fcntl
import json
import os
import sys
import time
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import asdict
from pathlib import Path
from typing import Any

from tests.soak.split import __doc__ as about
from tests.soak.split.experiment import SPECS, Experiment
from tests.soak.split.models import SUBJECTS
from tests.soak.split.settings import Outcome, Setting, draw, grid, summary, table

AT_ONCE = 5  # settings while the machine is held


@contextmanager
def alone(locks: Sequence[Path]) -> Iterator[None]:
    """Nothing; others who ask for these locks, in this order, do nothing meanwhile."""
    with ExitStack() as stack:
        for path in locks:
            fcntl.flock(stack.enter_context(path.open("w")), fcntl.LOCK_EX)
        yield


def kinds(folder: Path, models: Sequence[str]) -> dict[Setting, str]:
    """The predicted optimum's kind of every setting of the grid, by packages and links as they are set."""
    from device_agents.split.package import read
    from device_agents.split.table import Conditions

    found = {}
    for setting in grid(models):
        rows = read(folder / f"{setting.model}.{setting.slow_down:g}.split").table.placements  # type: ignore[union-attr]
        rate = setting.rate_mbps * 1e6
        now = Conditions(rate, rate, 2e-3 * setting.delay_ms)
        found[setting] = min(rows.values(), key=lambda row: row.latency_s(now)).label
    return found


def settings_of(folder: Path, models: Sequence[str], count: int, seed: int) -> list[Setting]:
    """The settings as they were drawn; the first time they are, and are written down."""
    path = folder / "settings.json"
    if not path.exists():
        drawn = draw(kinds(folder, models), count, seed)
        path.write_text(json.dumps({"seed": seed, "settings": [asdict(one) for one in drawn]}, indent=1))
    return [Setting(**one) for one in json.loads(path.read_text())["settings"]]


def outcomes_of(path: Path) -> list[Outcome]:
    """What has been measured so far."""
    lines = path.read_text().splitlines() if path.exists() else []
    return [Outcome.from_json(json.loads(line)) for line in lines]


def soak(arguments: argparse.Namespace, folder: Path) -> list[Outcome]:
    """The outcomes. What is in the folder already is not done again; no setting begins after the limit."""
    from tests.lab import Lab
    from tests.support.provision import cache_at, lab_cache, prefill

    until_s = time.monotonic() + arguments.limit_s
    path = folder / "outcomes.jsonl"
    with cache_at(lab_cache()):
        prefill("x86_64")
        lab = Lab.up(f"split{os.getpid()}"[:15], SPECS, owned=True)
        try:
            with lab.inside("ctl"):
                experiment = Experiment(lab, folder)
                experiment.set_up()
                for model in arguments.models:
                    with alone(arguments.lock):
                        experiment.prepare(model)
                left = settings_of(folder, arguments.models, arguments.settings, arguments.seed)
                done = {one.setting for one in outcomes_of(path)}
                left = [setting for setting in left if setting not in done]
                while left and time.monotonic() < until_s:
                    some, left = left[:AT_ONCE], left[AT_ONCE:]
                    with alone(arguments.lock):
                        _measure(experiment, some, path)
        finally:
            lab.down()
    return outcomes_of(path)


def _measure(experiment: Experiment, settings: Sequence[Setting], path: Path) -> None:
    for setting in settings:
        line = json.dumps(experiment.run(setting).to_json())
        print(line, flush=True)
        with path.open("a", encoding="utf-8") as lines:
            lines.write(line + "\n")


def main(argv: Any = None) -> int:
    """The exit code: 1 when a setting could not be measured."""
    parser = argparse.ArgumentParser(prog="python -m tests.soak.split", description=(about or "").splitlines()[0])
    parser.add_argument("--settings", type=int, default=60)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--models", nargs="+", default=list(SUBJECTS), choices=list(SUBJECTS))
    parser.add_argument("--limit-s", type=float, default=7200.0, help="no settings begin after so long")
    parser.add_argument("--keep", type=Path, required=True, help="folder for all of it; an experiment is gone on with")
    parser.add_argument("--lock", type=Path, action="append", default=[], help="held while something is measured")
    arguments = parser.parse_args(argv)
    arguments.keep.mkdir(parents=True, exist_ok=True)
    outcomes = soak(arguments, arguments.keep)
    print(table(outcomes))
    print(json.dumps(summary(outcomes), indent=1))
    return 1 if any(one.wrong for one in outcomes) else 0


if __name__ == "__main__":
    sys.exit(main())
