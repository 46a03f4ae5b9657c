"""The command line that measures a run once more, as far as a run says how it was asked for."""

from __future__ import annotations

import shlex
from collections.abc import Mapping
from typing import Any

from mobile.results.run import Run

_RUNNERS = {"onnx": "ort", "tflite": "litert", "none": "null"}
# Of the agent's spec: option of `edgewise bench`, given where the value is not the usual one.
_OPTIONS = (
    ("threads", "--threads"),
    ("provider", "--provider"),
    ("batch", "--batch"),
    ("min_duration_s", "--duration"),
    ("min_count", "--min-count"),
    ("max_duration_s", "--max-duration"),
    ("warmup_count", "--warmup"),
    ("warmup_duration_s", "--warmup-duration"),
    ("sample_period_s", "--sample-period"),
    ("load_timeout_s", "--load-timeout"),
    ("hang_timeout_s", "--hang-timeout"),
)
_CONDITIONS = (
    ("cool_below_c", "--cool-below"),
    ("gate_timeout_s", "--cool-timeout"),
    ("max_temperature_c", "--max-temp"),
    ("intruders", "--intruders"),
    ("marker_s", "--marker"),
)
_PINS = (("governor", "governor"), ("power_mode", "mode"))
_SWITCHES = (("clocks_locked", "clocks=locked"), ("sustained", "sustained=on"))
# What has no option, or goes by another way: not missed in the command line.
_ELSEWHERE = {
    *(
        "schema",
        "runner",
        "task",
        "model_path",
        "inputs",
        "cpus",
        "dims",
        "command",
        "idle_s",
        "conditions",
        "slow_down",
    ),
    *("run_dir", "root", "python_path", "env", "barrier"),
    *(name for name, _ in _OPTIONS),
}


def command_line(run: Run) -> str:
    """`edgewise bench ...` that asks for the same once more; files by their names."""
    spec, model = run.spec.agent_spec, run.spec.model
    words = ["edgewise", "bench"]
    if model.format != "none":
        words.append(model.name)
    words += ["--on", run.spec.device]
    words += _runner(spec, model.format)
    usual = _usual()
    for name, option in _OPTIONS:
        value = spec.get(name, usual.get(name))
        if value is not None and value != usual.get(name):
            words += [option, _text(value)]
    if spec.get("cpus"):
        words += ["--cpus", ",".join(map(str, spec["cpus"]))]
    for name, size in (spec.get("dims") or {}).items():
        words += ["--dim", f"{name}={size}"]
    words += [*_inputs(spec), *_conditions(spec)]
    label = run.environment.get("label")
    if isinstance(label, str):
        words += ["--label", label]
    return shlex.join(map(str, words))


def not_told(run: Run) -> list[str]:
    """What was asked of the run and is not in its command line: names of the spec's fields."""
    usual = _usual()
    found = [
        name
        for name, value in run.spec.agent_spec.items()
        if name not in _ELSEWHERE and value not in (None, {}, [], usual.get(name))
    ]
    if run.spec.agent_spec.get("slow_down"):
        found.append("slow_down")
    if run.spec.agent_spec.get("task") == "evaluate":
        found.append("task")
    return found


def _usual() -> dict[str, Any]:
    from device_agents.spec import AgentSpec

    return AgentSpec(runner="null")._asdict()


def _runner(spec: Mapping[str, Any], form: str) -> list[str]:
    runner, command = spec.get("runner"), spec.get("command") or {}
    words = [] if runner in (_RUNNERS.get(form), "split", None) and form != "none" else ["--runner", str(runner)]
    if runner == "command":
        if command.get("argv"):
            words += ["--command", shlex.join(map(str, command["argv"]))]
        if command.get("preset"):
            words += ["--preset", str(command["preset"])]
    return words


def _inputs(spec: Mapping[str, Any]) -> list[str]:
    inputs = spec.get("inputs") or {}
    if inputs.get("kind") != "npz":
        return ["--seed", str(inputs["seed"])] if inputs.get("seed") else []
    words = ["--inputs", str(inputs.get("path", "")).rsplit("/", 1)[-1]]
    for name, factor in (inputs.get("scale") or {}).items():
        words += ["--scale", f"{name}={factor!r}"]
    return words


def _conditions(spec: Mapping[str, Any]) -> list[str]:
    asked, words = spec.get("conditions") or {}, []
    for name, option in _CONDITIONS:
        if asked.get(name) is not None:
            words += [option, _text(asked[name])]
    words += ["--cool-back"] if asked.get("cool_back") else []
    if asked.get("probe") is not None:
        words.append("--probe" if asked["probe"] else "--no-probe")
    pins = asked.get("pins") or {}
    for name, word in _PINS:
        words += ["--pin", f"{word}={pins[name]}"] if pins.get(name) is not None else []
    for name, text in _SWITCHES:
        words += ["--pin", text] if pins.get(name) else []
    if spec.get("idle_s") is not None:
        words += ["--idle", _text(spec["idle_s"])]
    return words


def _text(value: Any) -> str:
    return str(value)
