"""What the host asks of the agent: one JSON object, checked field by field before anything is started."""

from typing import Any, Dict, List, NamedTuple, Optional

from device_agents.conditions.terms import Terms
from device_agents.failures import AgentFailure
from device_agents.records import SCHEMA, SCHEMA_MAJOR
from device_agents.scenarios import Scenario
from device_agents.together import Barrier

TASKS = ("bench", "evaluate", "profile")  # profile: bench, and what each node takes
RUNNERS = ("ort", "litert", "command", "null", "split")
INPUT_KINDS = ("random", "npz")
KEEPS = ("top1", "top", "all")  # of what a model answers: see answers.py
STAGED = ("ort", "litert")  # runners that take the user's stages around them


class AgentSpec(NamedTuple):
    """One fully determined measurement, as the agent sees it. Paths are on the device, times in seconds."""

    runner: str
    task: str = "bench"
    model_path: Optional[str] = None
    threads: Optional[int] = None  # intra-operator threads; None: the runtime's default
    cpus: Optional[List[int]] = None  # CPU affinity of the worker; None: wherever the system puts it
    provider: Optional[str] = None  # execution provider or delegate; None: the CPU
    batch: int = 1  # binds the first dimension of each input where it is free
    dims: Dict[str, int] = {}  # binds free dimensions by their name, or as "INPUT:AXIS"
    inputs: Dict[str, Any] = {"kind": "random", "seed": 0}  # or {"kind": "npz", "path": ..., "scale": {input: factor}}
    warmup_count: int = 3
    warmup_duration_s: float = 0.5
    min_count: int = 50
    min_duration_s: float = 3.0
    max_duration_s: float = 120.0
    sample_period_s: float = 0.1
    load_timeout_s: float = 120.0
    hang_timeout_s: float = 60.0  # longest time without a finished invocation
    command: Dict[str, Any] = {}  # command runner: {"argv": [...], "preset": "benchmark_model" | "trtexec" | null}
    # Runner split: {"server": {"url", "token_env"?, "certificates"?}?, "policy": {}?, "deadline_s"?, "link": {}?}; the
    # model is the package's manifest.
    split: Dict[str, Any] = {}
    evaluation: Dict[str, Any] = {}  # task evaluate: what of the answers is sent, see answers.py; {}: classes alone
    stages: Optional[str] = None  # a Python file with preprocess(item) and postprocess(outputs), see runners/staged.py
    env: Dict[str, str] = {}  # extra environment of the worker
    python_path: List[str] = []  # folders put before the worker's import path (wheels pushed by edgewise)
    idle_s: Optional[float] = None  # idle baseline before the worker starts; None: by the sensors, 0 without any
    conditions: Dict[str, Any] = {}  # fields: see conditions/terms.py
    slow_down: Optional[float] = None  # every inference takes so many times its own time; None: as fast as it is
    run_dir: Optional[str] = None  # the stream is also kept in RUN_DIR/stream.jsonl
    root: str = "/"  # where sensors and facts are looked for (tests use a recorded tree)
    scenario: Dict[str, Any] = {}  # how queries come, see scenarios.py; {}: one inference behind the other
    beside: List[str] = []  # the models that are measured at the same time on this device
    barrier: Dict[str, Any] = {}  # where their workers meet, see together.py; filled in on the device

    @property
    def terms(self) -> Terms:
        """What ``conditions`` asks for. AgentFailure "bad-spec" when it is wrong."""
        return Terms.of(self.conditions)

    @classmethod
    def from_json(cls, document: Any) -> "AgentSpec":
        """The spec of a JSON object. AgentFailure "bad-spec" names the field, its value and what was expected."""
        if not isinstance(document, dict):
            raise AgentFailure("bad-spec", "the spec is {}, expected an object".format(type(document).__name__))
        major = str(document.get("schema", SCHEMA)).split(".")[0]
        if major != str(SCHEMA_MAJOR):
            raise AgentFailure(
                "bad-spec", "the spec has schema {!r}, this agent reads {}.x".format(document["schema"], SCHEMA_MAJOR)
            )
        known = {key: value for key, value in document.items() if key in cls._fields}
        if "runner" not in known:
            raise AgentFailure("bad-spec", "the spec names no runner, expected one of {}".format(", ".join(RUNNERS)))
        spec = cls(**known)
        _check(spec)
        return spec

    def to_json(self) -> Dict[str, Any]:
        """The spec as a JSON object with its schema."""
        document = dict(self._asdict())
        document["schema"] = SCHEMA
        return document


def _check(spec: AgentSpec) -> None:
    _one_of("task", spec.task, TASKS)
    _one_of("runner", spec.runner, RUNNERS)
    _one_of("inputs.kind", spec.inputs.get("kind") if isinstance(spec.inputs, dict) else None, INPUT_KINDS)
    for name in ("model_path", "provider", "run_dir", "stages"):
        _typed(name, getattr(spec, name), (str, type(None)), "a string or null")
    _typed("root", spec.root, (str,), "a string")
    for name in ("dims", "command", "split", "env", "evaluation"):
        _typed(name, getattr(spec, name), (dict,), "an object")
    for name in ("batch", "min_count"):
        _number(name, getattr(spec, name), 1, whole=True)
    _number("warmup_count", spec.warmup_count, 0, whole=True)
    if spec.threads is not None:
        _number("threads", spec.threads, 1, whole=True)
    for name, least in (
        ("warmup_duration_s", 0.0),
        ("min_duration_s", 0.0),
        ("max_duration_s", 0.001),
        ("sample_period_s", 0.001),
        ("load_timeout_s", 0.001),
        ("hang_timeout_s", 0.001),
    ):
        _number(name, getattr(spec, name), least)
    if spec.slow_down is not None:
        _number("slow_down", spec.slow_down, 1)
    if spec.idle_s is not None:
        _number("idle_s", spec.idle_s, 0)
    Terms.of(spec.conditions)
    for name, value in spec.dims.items():
        _number("dims." + str(name), value, 1, whole=True)
    if spec.cpus is not None:
        _typed("cpus", spec.cpus, (list,), "a list of CPU numbers")
        for value in spec.cpus:
            _number("cpus", value, 0, whole=True)
    if spec.runner in ("ort", "litert", "split") and not spec.model_path:
        raise AgentFailure("bad-spec", "runner {!r} needs model_path".format(spec.runner))
    if spec.task == "profile" and spec.runner != "ort":
        raise AgentFailure("bad-spec", "task 'profile' is for the runner 'ort' alone, not {!r}".format(spec.runner))
    _check_scenario(spec)
    _check_inputs(spec.inputs)
    _check_evaluation(spec)
    _check_environment(spec)


def _check_scenario(spec: AgentSpec) -> None:
    for name in ("scenario", "barrier"):
        _typed(name, getattr(spec, name), (dict,), "an object")
    _typed("beside", spec.beside, (list,), "a list of names")
    for model in spec.beside:
        _typed("beside", model, (str,), "a list of names")
    Barrier.of(spec.barrier)
    if Scenario.of(spec.scenario, spec.batch) is None:
        return
    if spec.task != "bench":
        raise AgentFailure("bad-spec", "a scenario is for the task 'bench', not {!r}".format(spec.task))
    if spec.runner == "command" and spec.command.get("preset"):
        raise AgentFailure("bad-spec", "a scenario needs single inferences: this program times itself")


def _check_inputs(inputs: Dict[str, Any]) -> None:
    if inputs["kind"] == "npz":
        _typed("inputs.path", inputs.get("path"), (str,), "a string")
    _number("inputs.seed", inputs.get("seed", 0), 0, whole=True)
    scale = inputs.get("scale") or {}
    _typed("inputs.scale", scale, (dict,), "an object")
    for name, factor in scale.items():
        _number("inputs.scale." + name, factor, float("-inf"))


def _check_evaluation(spec: AgentSpec) -> None:
    asked = spec.evaluation
    if asked:
        _one_of("evaluation.keep", asked.get("keep", "top1"), KEEPS)
        for name, least in (("k", 1), ("limit_bytes", 1), ("repeats", 0)):
            _number("evaluation." + name, asked.get(name, least), least, whole=True)
    if spec.stages is not None and spec.runner not in STAGED:
        raise AgentFailure("bad-spec", "stages are for the runners {}, not {!r}".format(", ".join(STAGED), spec.runner))
    if spec.stages is not None and spec.batch != 1:
        raise AgentFailure("bad-spec", "stages take one item at a time, batch is {}".format(spec.batch))


def _check_environment(spec: AgentSpec) -> None:
    for name, value in spec.env.items():
        if not isinstance(value, str) or "\0" in name + value or "=" in name or not name:
            raise AgentFailure("bad-spec", "env.{} is not a variable with a string".format(name))  # it may be a secret
    _typed("python_path", spec.python_path, (list,), "a list of folders")
    for folder in spec.python_path:
        _typed("python_path", folder, (str,), "a list of folders")
        if "\0" in folder:
            raise AgentFailure("bad-spec", "python_path has a folder with a NUL character")


def _one_of(name: str, value: object, allowed: Any) -> None:
    if value not in allowed:
        raise AgentFailure("bad-spec", "{} is {!r}, expected one of {}".format(name, value, ", ".join(allowed)))


def _typed(name: str, value: object, kinds: Any, expected: str) -> None:
    if not isinstance(value, kinds):
        raise AgentFailure("bad-spec", "{} is {!r}, expected {}".format(name, value, expected))


def _number(name: str, value: Any, least: float, whole: bool = False) -> None:
    kinds = (int,) if whole else (int, float)
    infinite = value in (float("inf"), -float("inf"))
    if isinstance(value, bool) or not isinstance(value, kinds) or infinite or not value >= least:
        what = "a whole number" if whole else "a number"
        raise AgentFailure("bad-spec", "{} is {!r}, expected {} of at least {}".format(name, value, what, least))
