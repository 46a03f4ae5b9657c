"""What can be asked of a benchmark, and how list-valued options become single measurements."""

from __future__ import annotations

import itertools
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from mobile.benchmark.conditions import ConditionOptions
from mobile.benchmark.scenario import check_scenario
from mobile.errors import UsageError

if TYPE_CHECKING:
    from mobile.benchmark.assessing import Assessment

RUNNER_OF_FORMAT = {"onnx": "ort", "tflite": "litert", "split": "split"}


@dataclass(frozen=True)
class BenchOptions:
    """One request. ``threads``, ``provider``, ``batch`` are lists: every combination is measured, ``repeat`` times.

    A run lasts until both ``min_count`` invocations and ``duration_s`` seconds are reached, and never longer than
    ``max_duration_s``. Defaults give a usable figure on a board in about five seconds.
    """

    runner: str | None = None  # None: by the model's format
    threads: tuple[int | None, ...] = (None,)
    provider: tuple[str | None, ...] = (None,)
    batch: tuple[int, ...] = (1,)
    cpus: tuple[int, ...] | None = None
    dims: Mapping[str, int] = field(default_factory=dict)
    inputs: Path | None = None
    input_scale: Mapping[str, float] = field(default_factory=dict)
    seed: int = 0
    warmup_count: int = 3
    warmup_duration_s: float = 0.5
    min_count: int = 50
    duration_s: float = 3.0
    max_duration_s: float = 120.0
    sample_period_s: float = 0.1
    load_timeout_s: float = 120.0
    hang_timeout_s: float = 60.0
    repeat: int = 1
    command: tuple[str, ...] = ()
    command_preset: str | None = None
    split: Mapping[str, Any] = field(default_factory=dict)  # of a split package: server, policy, deadline_s, link
    task: str = "bench"
    evaluation: Mapping[str, Any] = field(default_factory=dict)  # of task "evaluate": see device_agents/answers.py
    stages: Path | None = None  # the user's preprocess and postprocess, run on the device
    assess: Assessment | None = None  # what the model is worth, told beside every run; see assessing.py
    scenario: Mapping[str, Any] = field(default_factory=dict)  # how queries come: mobile.benchmark.scenario.scenario()
    beside: tuple[str, ...] = ()  # the models that are measured at the same time; filled in by Manner.together
    conditions: ConditionOptions = field(default_factory=ConditionOptions)

    def __post_init__(self) -> None:
        """Nothing, or UsageError that names the option."""
        for name in ("threads", "provider", "batch"):
            if not getattr(self, name):
                raise UsageError(f"--{name} is empty, expected at least one value")
        if self.repeat < 1:
            raise UsageError(f"--repeat is {self.repeat}, expected at least 1")
        check_scenario(self.scenario, self.batch, self.command_preset)
        if self.duration_s > self.max_duration_s:
            raise UsageError(
                f"--duration {self.duration_s:g} s is longer than --max-duration {self.max_duration_s:g} s",
                hint="raise --max-duration",
            )

    def expand(self) -> list[BenchOptions]:
        """The product of the list-valued options, each with single values, repeats last."""
        product = itertools.product(self.threads, self.provider, self.batch)
        single = [
            replace(self, threads=(threads,), provider=(provider,), batch=(batch,), repeat=1)
            for threads, provider, batch in product
        ]
        return [options for options in single for _ in range(self.repeat)]

    def agent_spec(self, runner: str, model_path: str | None, inputs_path: str | None) -> dict[str, Any]:
        """The agent's spec of a single (expanded) request; paths are on the device."""
        from device_agents.spec import AgentSpec

        inputs: dict[str, Any] = {"kind": "random", "seed": self.seed}
        if inputs_path is not None:
            inputs = {"kind": "npz", "path": inputs_path, "scale": dict(self.input_scale)}
        command: dict[str, Any] = {}
        if runner == "command":
            command = {"argv": list(self.command), "preset": self.command_preset}
        return AgentSpec(
            runner=runner,
            task=self.task,
            model_path=model_path,
            threads=self.threads[0],
            provider=self.provider[0],
            batch=self.batch[0],
            cpus=list(self.cpus) if self.cpus is not None else None,
            dims=dict(self.dims),
            inputs=inputs,
            warmup_count=self.warmup_count,
            warmup_duration_s=self.warmup_duration_s,
            min_count=self.min_count,
            min_duration_s=self.duration_s,
            max_duration_s=self.max_duration_s,
            sample_period_s=self.sample_period_s,
            load_timeout_s=self.load_timeout_s,
            hang_timeout_s=self.hang_timeout_s,
            command=command,
            split=dict(self.split),
            evaluation=dict(self.evaluation),
            scenario=dict(self.scenario) if self.task == "bench" else {},
            beside=list(self.beside),
            **self.conditions.agent_fields(),
        ).to_json()


def unmeasured(limit_s: float, **more: Any) -> BenchOptions:
    """What asks a device for answers and for no time: as little as it can do, without waiting for anything before.

    ``limit_s``: for loading, for one invocation, and for all; ``more``: further fields of BenchOptions.
    """
    return BenchOptions(
        warmup_count=0,
        warmup_duration_s=0.0,
        min_count=1,
        duration_s=0.0,
        max_duration_s=limit_s,
        load_timeout_s=limit_s,
        hang_timeout_s=limit_s,
        conditions=ConditionOptions(idle_s=0.0, probe=False, intruders="ignore"),
        **more,
    )
