"""Whether the placement that a plan calls the best is the best: `python -m tests.soak.split --settings 20 --seed 1`

On the lab: a board that is slower by a known factor, behind a shaped link, and the edge server. The settings (model,
slow-down, rate and delay) are drawn from the seed and written to a file before anything is measured. Then once for each
model: a profile on the server's machine; once for each model and slow-down: a profile on the slowed board (one of the
plain board times the factor predicted 134 ms where 323 were measured: probably an inference after a pause is slower
than one in a row, and the factor makes more of that, too) and a package. In each setting
the link is measured, the package's table says what every placement
will take, and five placements are run one after the other, in random order, as `edgewise split bench` runs them: all on
the device, all on the server, the one that is predicted to be the best, and the two that are predicted to come next.
Nothing is tuned in between.

A setting is a hit when the median latency of the predicted best is at most 5 % above the least of the five. The error
is |measured - predicted| / measured of each placement that ran. One line of JSON for each setting, and at the end a
table with every miss.

Models: the example network with its test images; SqueezeNet 1.0 and AlexNet of the `onnx` package's own tests, whose
weights are not in it: random ones (He's normal) for SqueezeNet, constant ones for AlexNet, with made images. For times
that is enough, for accuracy not.
"""

from __future__ import annotations

import argparse
import json
import os
import random
import shutil
import sys
import tempfile
import time
from collections.abc import Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from statistics import median
from typing import Any

SPECS = ("board=ssh-amd64,disk=4G",)
MODELS = {  # slow-downs: so that the whole model takes about 20 ms to 1 s
    "fashion": (100.0, 400.0),
    "squeezenet": (2.0, 8.0),
    "alexnet": (2.0, 6.0),
}
# Constant weights make constant activations, of which an entropy coder leaves nothing: no network's are like that.
CODECS = {"alexnet": ("raw", "fp16", "q8", "q4", "q2")}
RATES = ("2mbit", "5mbit", "10mbit", "20mbit", "50mbit")
DELAYS = ("1ms", "5ms", "10ms", "20ms")  # one way
CUTS = 3  # measured ones of each profile
OTHERS = 2  # placements beside local, server and the best
NEAR = 1.05
LINK_S, RUN_S, FRAMES = 2.0, 1.0, 15
PROVISION_S = 300.0


@dataclass(frozen=True)
class Setting:
    """What is measured, drawn before anything is."""

    number: int
    model: str
    slow_down: float
    rate: str
    delay: str


def draw(count: int, seed: int) -> list[Setting]:
    """The settings of a seed: the models in turn, the rest at random."""
    source, models = random.Random(seed), list(MODELS)
    found = []
    for number in range(count):
        model = models[number % len(models)]
        found.append(
            Setting(number, model, source.choice(MODELS[model]), source.choice(RATES), source.choice(DELAYS))
        )  # fmt: skip
    return found


@dataclass
class Outcome:
    """What one setting gave: seconds by placement, predicted and measured (medians); the labels of the placements."""

    setting: Setting
    link: dict[str, float]
    predicted_s: dict[str, float]
    labels: dict[str, str]
    measured_s: dict[str, float] = field(default_factory=dict)
    stages_s: dict[str, dict[str, float]] = field(default_factory=dict)
    bytes_up: dict[str, float | None] = field(default_factory=dict)
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


class Experiment:
    """Profiles, packages and a server in one lab; ``run`` measures a setting."""

    def __init__(self, lab: Any, folder: Path, settings: Sequence[Setting], seed: int) -> None:
        from mobile.inventory import load_inventory
        from mobile.results.store import RunStore
        from tests.support.split_lab import edge_url

        self._lab, self._folder, self._source = lab, folder, random.Random(seed)
        self._wanted = sorted({(one.model, one.slow_down) for one in settings})
        board = lab.devices["board"]
        where = f"host: {board.address}, user: edge, key_file: {lab.ssh_key_path}"
        where += f", known_hosts: {lab.known_hosts_path}, workdir: ~/.edgewise-split"
        rows = ["devices:"]
        factors = sorted({factor for _, factor in self._wanted})
        rows += [f"  {device_of(factor)}: {{{where}, slow_down: {factor:g}}}" for factor in factors]
        rows += ["servers:", f'  edge: {{url: "{edge_url(lab)}"}}', ""]
        (folder / "devices.yaml").write_text("\n".join(rows), encoding="utf-8")
        self._inventory = load_inventory(folder / "devices.yaml")
        self._store = RunStore(folder / "runs.sqlite3")
        self._sent: set[Path] = set()

    def prepare(self) -> None:
        """Nothing, once the board has its runtime and everything is profiled and packed. The thread is on `ctl`."""
        from mobile.deadline import Deadline
        from mobile.provision.setup import SetupOptions, setup_device

        options = SetupOptions(("onnxruntime",))
        device = self._inventory.device(device_of(self._wanted[0][1]))
        setup_device(device, options, lambda text: None, Deadline(PROVISION_S))
        for name in dict.fromkeys(model for model, _ in self._wanted):
            path = model_file(name, self._folder)
            server = self._profile(path, name, "local")
            for factor in (factor for model, factor in self._wanted if model == name):
                self._package(path, name, factor, self._profile(path, name, device_of(factor)), server)

    def _profile(self, path: Path, name: str, place: str) -> Any:
        """The model's profile; the board with one thread, the server with as many as `edgewise serve` takes.

        One that is in the folder already is taken as it is, and so are packages.
        """
        from mobile.benchmark import BenchOptions
        from offload.costs.measure import Asked, profile
        from offload.costs.profile import read_profile, write_profile
        from offload.costs.subject import open_subject
        from offload.model.coding import DEFAULT

        kept = self._folder / f"{name}.{place}.json"
        if kept.exists():
            return read_profile(kept)
        inputs, scale = data_of(name, self._folder)
        subject = open_subject(path, inputs=inputs, scale=scale)
        threads = None if place == "local" else 1
        options = BenchOptions(
            runner="ort", threads=(threads,), warmup_duration_s=0.2, duration_s=0.5, min_count=10
        )  # fmt: skip
        asked = Asked(options, CUTS, codecs=CODECS.get(name, DEFAULT))
        made = profile(subject, self._inventory.device(place), asked, self._store)
        write_profile(kept, made)
        return made

    def _package(self, path: Path, name: str, factor: float, device: Any, server: Any) -> None:
        """Nothing, once the package of a model for a board of this factor is there."""
        from offload.model.coding import DEFAULT
        from offload.plan.costs import Link
        from offload.planning import Planner, Request

        inputs, scale = data_of(name, self._folder)
        request = Request(
            path,
            device,
            server,
            Link(10e6, 10e6, 0.02),
            calibration=inputs,
            scale=scale,
            codecs=CODECS.get(name, DEFAULT),
            min_agreement=0.99 if name == "fashion" else 0.0,  # random weights have no classes to keep
        )
        target = self._folder / f"{name}{factor:g}.split"
        if not target.exists():
            Planner(request).package(target)

    def run(self, setting: Setting) -> Outcome:
        """The setting's outcome. The thread is on `ctl`."""
        from device_agents.split.package import read
        from device_agents.split.table import Conditions
        from offload.costs.link import measure_link

        device = self._inventory.device(device_of(setting.slow_down))
        package = read(self.package_of(setting))
        self._send(package, setting)  # before the link becomes slow
        self._lab.link("board", rate=setting.rate, delay=setting.delay)
        link = measure_link(device, self._inventory.server("edge"), LINK_S).link
        assert package.table is not None
        rows = package.table.placements
        now = Conditions(link.uplink_bps, link.downlink_bps, link.rtt_s)
        predicted = {name: row.latency_s(now) for name, row in rows.items()}
        outcome = Outcome(setting, asdict(link), predicted, {name: row.label for name, row in rows.items()})
        order = chosen(predicted, outcome.labels)
        outcome.parts = {name: dict(rows[name]._asdict()) for name in order}
        self._source.shuffle(order)
        for name in order:
            self._measure(outcome, name, link)
        self._lab.link("board", rate="none", delay="0")
        return outcome

    def package_of(self, setting: Setting) -> Path:
        """The package of the setting's model and slow-down."""
        return self._folder / f"{setting.model}{setting.slow_down:g}.split"

    def _send(self, package: Any, setting: Setting) -> None:
        """Nothing, once the board has the package and the inputs: a short run of the whole model was there."""
        path = self.package_of(setting)
        if path not in self._sent:
            self._bench(setting, next(iter(package.placements)), None, 0.0, 1)
            self._sent.add(path)

    def _measure(self, outcome: Outcome, placement: str, link: Any) -> None:
        from mobile.results.figures import figures
        from offload.running import outcome as told_by

        found = self._bench(outcome.setting, placement, link, RUN_S, FRAMES)
        for failure in found.failures:
            outcome.wrong.append(f"{placement}: {failure.message}")
        for run in found.runs:
            told, seen = told_by(placement, run, None), figures(run)
            if told.fallbacks or told.refused:
                outcome.wrong.append(f"{placement}: fallbacks {dict(told.fallbacks)}, refused {told.refused}")
            outcome.measured_s[placement] = seen["latency_s"]["p50"]
            outcome.bytes_up[placement] = told.bytes_up_per_frame
            outcome.stages_s[placement] = {n: s["p50"] for n, s in (seen.get("stages_s") or {}).items()}

    def _bench(self, setting: Setting, placement: str, link: Any, duration_s: float, count: int) -> Any:
        """What `edgewise split bench` does for one placement."""
        from device_agents.split.decide import Policy
        from mobile.benchmark import BenchOptions, bench
        from offload.running import settings as split_settings

        inputs, scale = data_of(setting.model, self._folder)
        policy = Policy("fixed", placement=placement)
        options = BenchOptions(
            threads=(1,),
            inputs=inputs,
            input_scale=scale,
            warmup_duration_s=0.0,
            duration_s=duration_s,
            min_count=count,
            split=split_settings(policy, self._inventory.server("edge"), link),
        )
        on = [device_of(setting.slow_down)]
        return bench([self.package_of(setting)], on, options, inventory=self._inventory, store=self._store)


def chosen(predicted_s: dict[str, float], labels: dict[str, str]) -> list[str]:
    """What is run: local, server, the predicted best, and the OTHERS that come next."""
    order = sorted(predicted_s, key=predicted_s.__getitem__)
    ends = [name for label in ("device", "server") for name in order if labels[name] == label][:1]
    ends += [name for name in order if labels[name] == "server"][:1]
    found = list(dict.fromkeys([*ends, order[0]]))
    return found + [name for name in order if name not in found][:OTHERS]


def device_of(slow_down: float) -> str:
    """The inventory's name of the board with this factor."""
    return f"slow{slow_down:g}"


def data_of(model: str, folder: Path) -> tuple[Path, dict[str, float]]:
    """(inputs, scale) of a model: the example's test images, or made ones: coarse squares with noise on them."""
    import numpy as np

    from mobile import example

    if model == "fashion":
        return example.calibration_path(), {"image": 1 / 255}
    path = folder / "images.npz"
    if not path.exists():
        source = np.random.default_rng(0)
        coarse = source.random((2, 3, 14, 14), dtype=np.float32).repeat(16, axis=2).repeat(16, axis=3)
        np.savez(path, data_0=coarse + 0.05 * source.standard_normal(coarse.shape, dtype=np.float32))
    return path, {}


def model_file(name: str, folder: Path) -> Path:
    """The model's file in ``folder``."""
    import onnx.backend.test

    from mobile import example

    path = folder / f"{name}.onnx"
    kept = Path(onnx.backend.test.__file__).parent / "data" / "light"
    if name == "fashion":
        shutil.copy(example.model_path(), path)
    elif name == "alexnet":
        shutil.copy(kept / "light_bvlc_alexnet.onnx", path)
    else:
        onnx.save(with_random_weights(onnx.load(kept / f"light_{name}.onnx"), 0), path)
    return path


def with_random_weights(model: Any, seed: int) -> Any:
    """The model whose constant weights are random ones: normal, of variance 2 / fan-in (He et al., Delving deep into
    rectifiers, 2015), biases 0.
    """
    import numpy as np
    from onnx import numpy_helper

    graph, source = model.graph, np.random.default_rng(seed)
    known = {value.name: numpy_helper.to_array(value) for value in graph.initializer}
    kept = []
    for node in graph.node:
        if node.op_type != "ConstantOfShape":
            kept.append(node)
            continue
        shape = [int(size) for size in known[node.input[0]]]
        scale = np.sqrt(2.0 / np.prod(shape[1:])) if len(shape) > 1 else 0.0
        weights = (source.standard_normal(shape) * scale).astype(np.float32)
        graph.initializer.append(numpy_helper.from_array(weights, node.output[0]))
    used = {name for node in kept for name in node.input}
    weights = [value for value in graph.initializer if value.name in used]
    given = {value.name for value in weights}
    inputs = [value for value in graph.input if value.name in used - given]
    for field_, content in ((graph.node, kept), (graph.initializer, weights), (graph.input, inputs)):
        del field_[:]
        field_.extend(content)
    return model


def summary(outcomes: Sequence[Outcome]) -> dict[str, Any]:
    """Hits with their 95 % Wilson interval, errors, and how often each kind of placement was the fastest."""
    from mobile.results.accuracy import accuracy

    whole = [one for one in outcomes if one.measured_s and not one.wrong]
    if not whole:
        return {"settings": len(outcomes), "whole": 0}
    hits = accuracy([one.excess < NEAR - 1.0 for one in whole])
    errors = sorted(abs(error) for one in whole for error in one.errors.values())
    best = sorted(abs(one.errors[one.predicted_best]) for one in whole)
    fastest = [one.labels[one.measured_best] for one in whole]
    return {
        "settings": len(outcomes),
        "whole": len(whole),
        "hits": hits.correct,
        "share": hits.accuracy,
        "interval": [hits.low, hits.high],
        "exactly": sum(one.excess <= 0 for one in whole),
        "error_median": median(errors),
        "error_p90": errors[int(0.9 * (len(errors) - 1))],
        "error_median_of_best": median(best),
        "fastest": {label: fastest.count(label) for label in ("device", "server", "split")},
    }


def table(outcomes: Sequence[Outcome]) -> str:
    """One line for each setting, the misses marked."""
    lines = ["| model | slower | link | predicted best | fastest | above it | error |", "|---|---|---|---|---|---|---|"]
    for one in outcomes:
        setting = one.setting
        if one.wrong or not one.measured_s:
            lines.append(f"| {setting.model} | {setting.slow_down:g} x | {'; '.join(one.wrong)} |")
            continue
        best, fastest = (f"{name} {one.labels[name]}" for name in (one.predicted_best, one.measured_best))
        predicted, measured = (times[one.predicted_best] * 1e3 for times in (one.predicted_s, one.measured_s))
        miss = " **miss**" if one.excess >= NEAR - 1.0 else ""
        lines.append(
            f"| {setting.model} | {setting.slow_down:g} x | {setting.rate}, {setting.delay}"
            f" | {best}: {predicted:.1f} ms, was {measured:.1f}"
            f" | {fastest}: {one.measured_s[one.measured_best] * 1e3:.1f} ms"
            f" | {one.excess:.1%}{miss} | {one.errors[one.predicted_best]:+.1%} |"
        )
    return "\n".join(lines)


def soak(settings: Sequence[Setting], seed: int, folder: Path, until_s: float, say: Any = print) -> list[Outcome]:
    """The outcomes, in a lab of its own; settings that would begin after ``until_s`` (monotonic) are left out."""
    from tests.lab import Lab
    from tests.support.provision import cache_at, lab_cache, prefill
    from tests.support.split_lab import EdgeServer

    outcomes: list[Outcome] = []
    with cache_at(lab_cache()):
        prefill("x86_64")
        lab = Lab.up(f"split{os.getpid()}"[:15], SPECS, owned=True)
        try:
            experiment = Experiment(lab, folder, settings, seed)
            with lab.inside("ctl"):
                experiment.prepare()
                for setting in settings:
                    if time.monotonic() > until_s:
                        break
                    with EdgeServer(lab, [experiment.package_of(setting)], folder):
                        outcomes.append(experiment.run(setting))
                    say(json.dumps(outcomes[-1].to_json()), flush=True)
        finally:
            lab.down()
    return outcomes


def main() -> int:
    """The exit code: 1 when a setting could not be measured."""
    parser = argparse.ArgumentParser(prog="python -m tests.soak.split", description=__doc__.splitlines()[0])
    parser.add_argument("--settings", type=int, default=60)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--limit-s", type=float, default=7200.0, help="no setting begins after so long")
    parser.add_argument("--keep", type=Path, help="folder for settings, profiles, packages, runs")
    arguments = parser.parse_args()
    settings = draw(arguments.settings, arguments.seed)
    with tempfile.TemporaryDirectory(prefix="edgewise-split-") as made:
        folder = arguments.keep or Path(made)
        folder.mkdir(parents=True, exist_ok=True)
        (folder / "settings.json").write_text(json.dumps([asdict(one) for one in settings], indent=1))
        outcomes = soak(settings, arguments.seed, folder, time.monotonic() + arguments.limit_s)
    print(table(outcomes))
    print(json.dumps(summary(outcomes), indent=1))
    return 1 if any(one.wrong for one in outcomes) else 0


if __name__ == "__main__":
    sys.exit(main())
