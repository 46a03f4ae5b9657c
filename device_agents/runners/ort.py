"""ONNX models with onnxruntime.

What an invocation is: ``session.run(None, feed)``, as users call it; with a provider that is not the CPU it includes
the copies to and from its memory. Telemetry is off: child.py sets ORT_DISABLE_TELEMETRY=1 in the worker.
"""

import os
from typing import Any, Dict, List, Optional, Sequence, Tuple

from device_agents.failures import AgentFailure
from device_agents.runners import ort_errors
from device_agents.runners.base import Runner
from device_agents.spec import AgentSpec

CPU = "CPUExecutionProvider"
LOG_ERRORS = 3  # onnxruntime: 0 verbose, 1 info, 2 warning, 3 error, 4 fatal; a warning per node floods stderr
DTYPES = {  # ONNX's names of tensor types where they differ from numpy's
    "float": "float32",
    "double": "float64",
}


def import_onnxruntime() -> Any:
    """The module onnxruntime. AgentFailure "missing-runtime" when it, or the numpy it needs, cannot be imported."""
    try:
        import numpy  # noqa: F401  (its absence would be reported as a fault of onnxruntime)
        import onnxruntime
    except ImportError as error:
        raise AgentFailure("missing-runtime", "onnxruntime cannot be imported: {}".format(error)) from error
    return onnxruntime


def provider_name(asked: Optional[str], available: Sequence[str]) -> str:
    """The provider's full name: None and "cpu" are the CPU, "cuda" is CUDAExecutionProvider.

    >>> provider_name("cpu", ["AzureExecutionProvider", "CPUExecutionProvider"])
    'CPUExecutionProvider'
    """
    if asked is None:
        return CPU
    for name in available:
        if asked.lower() in (name.lower(), name.lower().replace("executionprovider", "")):
            return name
    raise AgentFailure(
        "unsupported-provider",
        "provider {!r} is not in this onnxruntime, which has: {}".format(asked, ", ".join(available)),
    )


def session_options(onnxruntime: Any, spec: AgentSpec) -> Any:
    """The options of every session of this spec: threads as asked, one operator at a time (onnxruntime's default).

    With an affinity and no thread count there are as many threads as CPUs: its own default counts the machine's.
    """
    options = onnxruntime.SessionOptions()
    options.log_severity_level = LOG_ERRORS
    threads = spec.threads or (len(spec.cpus) if spec.cpus else None)
    if threads is not None:
        options.intra_op_num_threads = threads
        options.inter_op_num_threads = 1
    return options


def make_session(onnxruntime: Any, path: str, options: Any, provider: str) -> Any:
    """A session with the provider, and the CPU for the nodes that the provider does not take."""
    providers = [provider] if provider == CPU else [provider, CPU]
    try:
        with open(path, "rb"):
            pass
    except OSError as error:
        raise AgentFailure("bad-model", "{}: {}".format(path, error.strerror)) from error
    try:
        return onnxruntime.InferenceSession(path, options, providers=providers)
    except ort_errors.ort_exceptions() as error:
        raise ort_errors.load_failure(error, path, onnxruntime.__version__) from error


def describe(nodes: Sequence[Any]) -> List[Dict[str, Any]]:
    """Inputs or outputs of a session as [{name, dtype, shape}]; numpy's dtype names."""
    described = []
    for node in nodes:
        kind = node.type[len("tensor(") : -1] if node.type.startswith("tensor(") else node.type
        described.append({"name": node.name, "dtype": DTYPES.get(kind, kind), "shape": list(node.shape)})
    return described


class OrtRunner(Runner):
    """One onnxruntime session."""

    name = "ort"

    def __init__(self) -> None:
        super().__init__()
        self._ort: Any = None
        self._session: Any = None
        self._run: Any = None
        self._feed: Dict[str, Any] = {}
        self._outputs: Any = None
        self._node_share: Optional[Dict[str, Any]] = None
        self._errors: Tuple[Any, ...] = ()

    def start(self, spec: AgentSpec) -> None:
        """Nothing, once onnxruntime is imported and, for a provider other than the CPU, its share is known.

        For the task "profile" also what each node takes.
        """
        self._ort = import_onnxruntime()
        self._errors = ort_errors.ort_exceptions()
        provider = provider_name(spec.provider, self._ort.get_available_providers())
        if provider != CPU or spec.task == "profile":
            from device_agents.runners.ort_nodes import node_share_elsewhere

            self._node_share = node_share_elsewhere(spec)

    def load(self, spec: AgentSpec) -> Dict[str, Any]:
        """The ``loaded`` detail. node_share and node_time_share: {provider: share 0..1}, None where all is the CPU."""
        available = self._ort.get_available_providers()
        provider = provider_name(spec.provider, available)
        path = str(spec.model_path)
        self._session = make_session(self._ort, path, session_options(self._ort, spec), provider)
        self._run = self._session.run
        share = self._node_share or {}
        detail = {
            "runtime": {"name": "onnxruntime", "version": self._ort.__version__},
            "provider": provider,
            "providers": available,
            "session_providers": self._session.get_providers(),
            "node_share": share.get("nodes"),
            "node_time_share": share.get("time"),
            "node_share_error": share.get("error"),
            **({"node_times": share.get("times")} if spec.task == "profile" else {}),
            "inputs": self.inputs(),
            "outputs": describe(self._session.get_outputs()),
            "model_bytes": os.path.getsize(path),
        }
        if provider not in detail["session_providers"]:
            raise AgentFailure(
                "unsupported-provider",
                "{} is in this onnxruntime but could not be started; the session has: {}".format(
                    provider, ", ".join(detail["session_providers"])
                ),
            )
        return detail

    def inputs(self) -> List[Dict[str, Any]]:
        """The session's inputs; "string" and "seq(...)" types are listed by onnxruntime's name."""
        return describe(self._session.get_inputs())

    def prepare(self, arrays: Dict[str, Any]) -> None:
        """Nothing; onnxruntime reads the arrays in place, without a copy, where the provider is the CPU."""
        self._feed = arrays

    def invoke(self) -> None:
        """Nothing, once the session has run; the outputs are kept for ``output_top1``."""
        try:
            self._outputs = self._run(None, self._feed)
        except self._errors as error:
            shapes = {name: list(array.shape) for name, array in self._feed.items()}
            raise ort_errors.run_failure(error, shapes) from error

    def output_top1(self) -> List[int]:
        """The arg-max over the last axis of the first output, flattened."""
        return top1(self._outputs[0])

    def output_arrays(self) -> Dict[str, Any]:
        """The session's outputs by name. AgentFailure for one that is no tensor (a sequence, a map)."""
        found = {node.name: value for node, value in zip(self._session.get_outputs(), self._outputs)}
        for name, value in found.items():
            if not hasattr(value, "ndim"):
                raise AgentFailure("unsupported-model", "output {!r} is no tensor".format(name))
        return found

    def close(self) -> None:
        """Nothing, once the session is given back."""
        self._session = self._run = self._outputs = None
        self._feed = {}


def top1(output: Any) -> List[int]:
    """The arg-max over the last axis of an array, flattened; one number for an array without axes."""
    if not getattr(output, "ndim", 0):
        raise AgentFailure("unsupported-model", "the first output is no tensor of classes: an evaluation needs one")
    return [int(value) for value in output.argmax(axis=-1).reshape(-1)]
