"""Profiles, packages, and the runs of a setting on the lab."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import asdict, replace
from pathlib import Path
from statistics import median
from typing import Any

from tests.soak.split.models import SUBJECTS, inputs_of
from tests.soak.split.settings import FACTORS, Outcome, Setting, chosen

SPECS = ("board=ssh-amd64,disk=4G",)
CUTS = 10  # measured ones of each profile
CODECS = ("raw", "fp16", "q8", "q8+zlib")  # fewer bits would not keep these networks' answers
PROFILE_S, LINK_S = 0.5, 2.0
LAPS, FRAMES_BEFORE = 15, 8  # frames of each placement, and of each end for the conditions
PROVISION_S = 300.0
NO_LINK = "none", "0"


class Experiment:
    """One lab and one folder, in which profiles and packages are kept. The thread is on `ctl` throughout."""

    def __init__(self, lab: Any, folder: Path) -> None:
        from mobile.inventory import load_inventory
        from mobile.results.store import RunStore
        from tests.support.split_lab import edge_url

        self._lab, self._folder = lab, folder
        board = lab.devices["board"]
        where = f"host: {board.address}, user: edge, key_file: {lab.ssh_key_path}"
        where += f", known_hosts: {lab.known_hosts_path}, workdir: ~/.edgewise-split"
        rows = ["devices:", f"  plain: {{{where}}}"]
        rows += [f"  {device_of(factor)}: {{{where}, slow_down: {factor:g}}}" for factor in FACTORS]
        rows += ["servers:", f'  edge: {{url: "{edge_url(lab)}"}}', ""]
        (folder / "devices.yaml").write_text("\n".join(rows), encoding="utf-8")
        self._inventory = load_inventory(folder / "devices.yaml")
        self._store = RunStore(folder / "runs.sqlite3")
        self._sent: set[Path] = set()

    def set_up(self) -> None:
        """Nothing, once the board has its runtime."""
        from mobile.deadline import Deadline
        from mobile.provision.setup import SetupOptions, setup_device

        plain = self._inventory.device("plain")
        setup_device(plain, SetupOptions(("onnxruntime",)), lambda text: None, Deadline(PROVISION_S))

    def prepare(self, model: str) -> None:
        """Nothing, once the model has its two profiles and, for each factor, its package."""
        device, server = self._profile(model, "plain"), self._profile(model, "local")
        first = self._package(model, FACTORS[0], device, server, 0.0, ".first.split")
        request_s = self._request_s(model, first)
        for factor in FACTORS:
            self._calibrate(model, factor, self._package(model, factor, device, server, request_s, ".split"))

    def _profile(self, model: str, place: str) -> Any:
        """The profile; the board with one thread, the server with as many as `edgewise serve` takes."""
        from mobile.benchmark import BenchOptions
        from offload.costs.measure import Asked, profile
        from offload.costs.profile import read_profile, write_profile
        from offload.costs.subject import open_subject

        kept = self._folder / f"{model}.{place}.json"
        if not kept.exists():
            subject = open_subject(SUBJECTS[model].path, inputs=inputs_of(model, self._folder))
            options = BenchOptions(
                runner="ort",
                threads=(None if place == "local" else 1,),
                warmup_duration_s=0.2,
                duration_s=PROFILE_S,
                min_count=15,
            )
            made = profile(subject, self._inventory.device(place), Asked(options, CUTS, codecs=CODECS), self._store)
            write_profile(kept, made)
        return read_profile(kept)

    def _package(self, model: str, factor: float, device: Any, server: Any, request_s: float, suffix: str) -> Path:
        from offload.plan.costs import Link
        from offload.planning import Planner, Request

        target = self._folder / f"{model}.{factor:g}{suffix}"
        if not target.exists():
            request = Request(
                SUBJECTS[model].path,
                slowed(device, factor),
                server,
                Link(10e6, 10e6, 0.02),
                calibration=inputs_of(model, self._folder),
                codecs=CODECS,
                request_s=request_s,
                with_split=True,
                min_agreement=0.0,  # made pictures show no class: what is asked here is the time
            )
            Planner(request).package(target)
        return target

    def _request_s(self, model: str, package: Path) -> float:
        """What the server takes for a request beside the inference."""
        import numpy as np

        from device_agents.split.package import read
        from device_agents.split.wire import Endpoint
        from offload.costs.tails import measure_tails, request_s
        from tests.support.split_lab import EdgeServer, edge_url

        made = read(package)
        whole = [name for name, placement in made.placements.items() if placement.label == "server"]
        with np.load(inputs_of(model, self._folder)) as arrays:
            sample = {name: arrays[name][:1] for name in arrays.files}
        with EdgeServer(self._lab, [package], self._folder):
            return request_s(measure_tails(made, Endpoint(edge_url(self._lab)), sample, only=whole))

    def _calibrate(self, model: str, factor: float, path: Path) -> None:
        """What `edgewise split calibrate` does, once; the board's link is as fast as it gets."""
        from device_agents.split.package import read
        from mobile.benchmark import BenchOptions, bench
        from offload.calibrate import apply, calibrated, options_for
        from offload.plan.costs import Link
        from tests.support.split_lab import EdgeServer

        done = path.with_suffix(".calibrated")
        if done.exists():
            return
        made = read(str(path))
        options = BenchOptions(threads=(1,), inputs=inputs_of(model, self._folder))
        options = options_for(made, options, self._inventory.server("edge"), Link(1e9, 1e9, 1e-3))
        with EdgeServer(self._lab, [path], self._folder):
            found = bench([path], [device_of(factor)], options, inventory=self._inventory, store=self._store)
        if found.failures:
            raise SystemExit(f"{path.name}: {found.failures[0].message}")
        apply(made, calibrated(made, found.runs[0]), found.runs[0])
        done.touch()

    def package_of(self, setting: Setting) -> Path:
        """The package of the setting's model and factor."""
        return self._folder / f"{setting.model}.{setting.slow_down:g}.split"

    def run(self, setting: Setting) -> Outcome:
        """The setting's outcome."""
        from device_agents.split.package import read
        from device_agents.split.table import Conditions
        from offload.costs.link import measure_link
        from tests.support.split_lab import EdgeServer

        table = read(self.package_of(setting)).table
        assert table is not None
        labels = {name: row.label for name, row in table.placements.items()}
        with EdgeServer(self._lab, [self.package_of(setting)], self._folder):
            self._send(setting)
            with self._shaped(setting):
                link = measure_link(self._device(setting), self._inventory.server("edge"), LINK_S).link
                now = Conditions(link.uplink_bps, link.downlink_bps, link.rtt_s)
                by_profile = {name: row.latency_s(now) for name, row in table.placements.items()}
                ends = chosen(by_profile, labels)[:2]
                before = self._tour(setting, ends, FRAMES_BEFORE, link)
                now = now._replace(**_speeds(before, [table.placements[name] for name in ends]))
                predicted = {name: row.latency_s(now) for name, row in table.placements.items()}
                told = asdict(link), now.device_scale, now.slow_down
                outcome = Outcome(setting, *told, predicted, by_profile, labels)
                order = chosen(predicted, labels)
                outcome.parts = {name: dict(table.placements[name]._asdict()) for name in order}
                self._take(outcome, self._tour(setting, order, LAPS, link))
        return outcome

    def _device(self, setting: Setting) -> Any:
        return self._inventory.device(device_of(setting.slow_down))

    @contextmanager
    def _shaped(self, setting: Setting) -> Iterator[None]:
        self._lab.link("board", rate=f"{setting.rate_mbps:g}mbit", delay=f"{setting.delay_ms:g}ms")
        try:
            yield
        finally:
            self._lab.link("board", rate=NO_LINK[0], delay=NO_LINK[1])

    def _send(self, setting: Setting) -> None:
        """Nothing, once the board has the package and the inputs: a short run was there, before the link is slow."""
        path = self.package_of(setting)
        if path not in self._sent:
            self._tour(setting, ["p0"], 1, None)
            self._sent.add(path)

    def _take(self, outcome: Outcome, found: Mapping[str, dict[str, list[float]]]) -> None:
        for name, columns in found.items():
            if name.startswith("wrong"):
                outcome.wrong += list(columns)
                continue
            outcome.stages_s[name] = {stage: median(values) for stage, values in columns.items()}
            outcome.measured_s[name] = outcome.stages_s[name].pop("latency")

    def _tour(self, setting: Setting, order: Sequence[str], laps: int, link: Any) -> dict[str, dict[str, list[float]]]:
        """Seconds by placement and stage ("latency": the frame's), of a run in which the placements come in turn.

        What went wrong is in "wrong".
        """
        from device_agents.split.decide import Policy
        from mobile.benchmark import BenchOptions, bench
        from offload.running import in_turn
        from offload.running import outcome as told_by
        from offload.running import settings as split_settings

        policy = Policy("tour", tour=tuple(order))
        options = BenchOptions(
            threads=(1,),
            inputs=inputs_of(setting.model, self._folder),
            warmup_count=2 * len(order) - 1,  # with the first inference two laps
            warmup_duration_s=0.0,
            duration_s=0.0,
            min_count=laps * len(order),
            split=split_settings(policy, self._inventory.server("edge"), link),
        )
        on = [device_of(setting.slow_down)]
        found = bench([self.package_of(setting)], on, options, inventory=self._inventory, store=self._store)
        if found.failures:
            return {"wrong": {failure.message: [] for failure in found.failures}}
        told = told_by("tour", found.runs[0], None)
        if told.fallbacks or told.refused:
            return {"wrong": {f"fallbacks {dict(told.fallbacks)}, refused {told.refused}": []}}
        return in_turn(found.runs[0], order)


def _speeds(found: Mapping[str, dict[str, list[float]]], ends: Sequence[Any]) -> dict[str, float]:
    """``device_scale`` and ``slow_down`` by the frames of both ends; 1 where a run failed."""
    if "wrong" in found:
        return {}
    here, there = ends
    work_s = there.server_s + there.server_codec_s + there.request_s
    return {
        "device_scale": median(found[here.id]["head"]) / here.device_s,
        "slow_down": median(found[there.id]["server"]) / work_s,
    }


def slowed(profile: Any, factor: float) -> Any:
    """The profile of a device on which every inference takes ``factor`` times as long. Coding is as fast as it was."""
    pieces = tuple(replace(one, head_s=one.head_s * factor, tail_s=one.tail_s * factor) for one in profile.pieces)
    whole = replace(profile.whole, seconds=profile.whole.seconds * factor)
    return replace(profile, pieces=pieces, whole=whole, place=replace(profile.place, slow_down=factor))


def device_of(slow_down: float) -> str:
    """The inventory's name of the board with this factor."""
    return f"slow{slow_down:g}"
