"""The command runner: any native program as a benchmark.

Without a preset each launch of the program is one invocation. A preset is a program that loops and times itself
(benchmark_model, trtexec): it is launched once, and what it prints becomes the run's summary.

Words of ``spec.command["argv"]`` may hold {model}, {threads}, {batch}, {provider} and the names of ``spec.dims`` in
braces. What a spec asks for and the program would not be told is refused: a row must not claim what was not done.
"""

import os
import re
import resource
import shutil
import sys
from typing import Any, Dict, List, Optional, Sequence

from device_agents.failures import AgentFailure
from device_agents.runners.base import Runner
from device_agents.runners.launch import launch, missing
from device_agents.runners.presets import PRESETS, Preset, complete
from device_agents.spec import AgentSpec

# What the worker needs to find its own code; a program that is itself Python must not get it.
_WORKERS_OWN = ("PYTHONPATH", "PYTHONSAFEPATH", "PYTHONDONTWRITEBYTECODE")

_PLACEHOLDER = re.compile(r"\{([^{}]*)\}")
MAXRSS_BYTES = 1 if sys.platform == "darwin" else 1024  # getrusage(2): kilobytes on Linux, bytes on macOS


class CommandRunner(Runner):
    """Launches ``spec.command["argv"]``; ``summary_only`` with a preset."""

    name = "command"

    def __init__(self) -> None:
        super().__init__()
        self._preset: Optional[Preset] = None
        self._argv: List[str] = []
        self._environment: Dict[str, str] = {}

    def start(self, spec: AgentSpec) -> None:
        """Nothing, once the program is found and the spec asks for nothing that it would not be told."""
        self._preset = _preset(spec)
        self.summary_only = self._preset is not None
        self._argv = command_line(spec, self._preset)
        found = shutil.which(self._argv[0], path=spec.env.get("PATH", os.environ.get("PATH", os.defpath)))
        if found is None and not os.path.exists(self._argv[0]):
            raise missing(self._argv[0])
        self._argv[0] = found or self._argv[0]
        self._environment = {key: value for key, value in os.environ.items() if key not in _WORKERS_OWN}
        self._environment.update({str(key): str(value) for key, value in spec.env.items()})
        self._environment["ORT_DISABLE_TELEMETRY"] = "1"

    def load(self, spec: AgentSpec) -> Dict[str, Any]:
        """The ``loaded`` detail; the program loads the model itself, in its own time."""
        return {
            "runtime": {"name": os.path.basename(self._argv[0]), "version": None},
            "provider": spec.provider,
            "providers": [],
            "node_share": None,
            "inputs": [],
            "outputs": [],
            "model_bytes": _model_bytes(spec),
            "argv": list(self._argv),
        }

    def invoke(self) -> None:
        """Nothing, once the program has run through; with a preset its figures are then in ``summary``."""
        output = launch(self._argv, self._environment)
        if self._preset is not None:
            # Logs go to either stream, by version; each is in order by itself.
            summary = self._preset.parse(output.stdout + "\n" + output.stderr)
            summary["peak_rss_bytes"] = peak_rss_bytes()
            if summary["peak_rss_bytes"] is None:
                summary["missing"]["peak_rss_bytes"] = "it was not above that of the process that started the program"
            self.summary = summary


def command_line(spec: AgentSpec, preset: Optional[Preset]) -> List[str]:
    """The program and its arguments for a spec. AgentFailure "bad-spec" names what does not fit."""
    argv = _words(spec)
    if preset is not None and (not argv or argv[0].startswith("-")):
        argv = [_first_found(preset.programs), *argv]
    if not argv:
        raise AgentFailure("bad-spec", "the command is empty, expected a program and its arguments")
    values = _values(spec)
    used = {name for word in argv for name in _PLACEHOLDER.findall(word)}
    _check_asked(spec, used, preset)
    if "model" in used and not spec.model_path:
        raise AgentFailure("bad-spec", "the command uses {model}, but the spec names no model")
    argv = [_PLACEHOLDER.sub(lambda match: values.get(match.group(1), match.group(0)), word) for word in argv]
    argv[0] = os.path.expanduser(argv[0])
    return argv if preset is None else complete(argv, [pair for pair in preset.options(spec) if pair[1] != ""])


def _words(spec: AgentSpec) -> List[str]:
    argv = spec.command.get("argv") or []
    if not isinstance(argv, list) or not all(isinstance(word, str) for word in argv):
        raise AgentFailure("bad-spec", "command.argv is {!r}, expected a list of strings".format(argv))
    return list(argv)


def _preset(spec: AgentSpec) -> Optional[Preset]:
    name = spec.command.get("preset")
    if name is None:
        return None
    if not isinstance(name, str) or name not in PRESETS:
        known = ", ".join(sorted(PRESETS))
        raise AgentFailure("bad-spec", "command.preset is {!r}, expected one of {} or null".format(name, known))
    return PRESETS[name]


def _first_found(programs: Sequence[str]) -> str:
    return next((program for program in programs if shutil.which(program)), programs[0])


def _values(spec: AgentSpec) -> Dict[str, str]:
    values = {name: str(size) for name, size in spec.dims.items()}
    values["batch"] = str(spec.batch)
    for name, value in (("model", spec.model_path), ("threads", spec.threads), ("provider", spec.provider)):
        if value is not None:
            values[name] = str(value)
    return values


def _check_asked(spec: AgentSpec, used: "set[str]", preset: Optional[Preset]) -> None:
    """AgentFailure "bad-spec" when the spec asks for something that the program would not be told."""
    if spec.task != "bench":
        raise AgentFailure("bad-spec", "a command has no outputs to evaluate: task {!r}".format(spec.task))
    if spec.inputs.get("kind") != "random":
        kind = spec.inputs.get("kind")
        raise AgentFailure("bad-spec", "a command makes its own inputs: inputs of kind {!r}".format(kind))
    takes = preset.takes if preset is not None else ()
    asked = {"threads": spec.threads, "provider": spec.provider, "batch": None if spec.batch == 1 else spec.batch}
    asked.update(spec.dims)
    for name, value in asked.items():
        if value is not None and name not in used and name not in takes:
            raise AgentFailure(
                "bad-spec",
                "{} is {!r}, but the command would not be told".format(name, value),
                "Write {{{0}}} where the command takes it, or leave {0} out.".format(name),
            )


def _model_bytes(spec: AgentSpec) -> Optional[int]:
    if not spec.model_path:
        return None
    try:
        return os.stat(spec.model_path).st_size
    except OSError as error:
        reason = error.strerror or str(error)
        raise AgentFailure("bad-model", "{} cannot be read: {}".format(spec.model_path, reason)) from error


def peak_rss_bytes() -> Optional[int]:
    """The largest resident memory of the programs launched so far; None when it cannot be told from our own.

    A launched program begins as a copy of this process, whose size is then the least that the kernel reports for it.
    """
    children = resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss
    ours = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return children * MAXRSS_BYTES if children > ours else None
