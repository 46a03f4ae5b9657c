"""TFLite models with LiteRT: ai_edge_litert where it is installed, else its predecessor tflite_runtime.

What an invocation is: ``interpreter.invoke()``, as in LiteRT's own benchmark_model; inputs are copied in before it,
outputs read after it. XNNPACK is on, as both packages have it by default.
"""

import os
from typing import Any, Dict, List, Optional, Tuple

from device_agents.failures import AgentFailure
from device_agents.runners.base import Runner, Shapes
from device_agents.runners.ort import top1
from device_agents.spec import AgentSpec

# In what the interpreter says: the model needs something that this runtime does not have.
UNSUPPORTED = (
    "unresolved custom op",
    "Didn't find op",
    "op version",
    "failed to reshape",
    "failed to prepare",
    "schema version",
)
NUMPY_ABI = ("_ARRAY_API", "CreateWrapperFromFile", "numpy.core.multiarray")
ERRORS = (ValueError, RuntimeError, TypeError, SystemError, AttributeError)


def import_interpreter() -> Tuple[Any, str, str]:
    """The class Interpreter, its package's name and version. AgentFailure "missing-runtime" when there is neither."""
    problems = []
    for package, distribution in (("ai_edge_litert", "ai-edge-litert"), ("tflite_runtime", "tflite-runtime")):
        try:
            return _import(package), distribution, _version(distribution)
        except ImportError as error:
            problems.append("{}: {}".format(distribution, error))
        except (AttributeError, SystemError) as error:
            raise _numpy_failure(distribution, error) from error
    raise AgentFailure("missing-runtime", "no LiteRT runtime can be imported ({})".format("; ".join(problems)))


def _import(package: str) -> Any:
    import numpy  # noqa: F401  (both packages need it)

    if package == "ai_edge_litert":
        from ai_edge_litert.interpreter import Interpreter
    else:
        from tflite_runtime.interpreter import Interpreter
    return Interpreter


def _version(distribution: str) -> str:
    from importlib import metadata

    try:
        return metadata.version(distribution)
    except metadata.PackageNotFoundError:
        return "unknown"


def _numpy_failure(distribution: str, error: BaseException) -> AgentFailure:
    import numpy

    return AgentFailure(
        "missing-runtime",
        "{} does not work with numpy {}: {}".format(distribution, numpy.__version__, error),
        "Install numpy<2 beside {}, or ai-edge-litert instead.".format(distribution),
    )


class LitertRunner(Runner):
    """One LiteRT interpreter."""

    name = "litert"

    def __init__(self) -> None:
        super().__init__()
        self._interpreter: Any = None
        self._make: Any = None
        self._runtime = {"name": "", "version": ""}
        self._path = ""
        self._indices: Dict[str, int] = {}

    def start(self, spec: AgentSpec) -> None:
        """Nothing, once a LiteRT package is imported. Delegates other than the CPU's are not loaded by this runner."""
        if spec.provider is not None and spec.provider.lower() not in ("cpu", "xnnpack"):
            raise AgentFailure(
                "unsupported-provider",
                "provider {!r} is not one of the litert runner, which has: cpu".format(spec.provider),
            )
        self._make, self._runtime["name"], self._runtime["version"] = import_interpreter()

    def load(self, spec: AgentSpec) -> Dict[str, Any]:
        """The ``loaded`` detail. The model's tensors are allocated in ``bind``, once their shapes are known."""
        self._path = str(spec.model_path)
        try:
            with open(self._path, "rb"):
                pass
        except OSError as error:
            raise AgentFailure("bad-model", "{}: {}".format(self._path, error.strerror)) from error
        threads = spec.threads or (len(spec.cpus) if spec.cpus else None)
        try:
            self._interpreter = self._make(model_path=self._path, num_threads=threads)
        except ERRORS as error:
            raise self._failure(error, "bad-model") from error
        inputs = self._interpreter.get_input_details()
        self._indices = {detail["name"]: detail["index"] for detail in inputs}
        return {
            "runtime": dict(self._runtime),
            "provider": "cpu",
            "providers": ["cpu"],
            "node_share": None,
            "inputs": self.inputs(),
            "outputs": describe(self._interpreter.get_output_details()),
            "model_bytes": os.path.getsize(self._path),
        }

    def inputs(self) -> List[Dict[str, Any]]:
        """The interpreter's inputs; a free dimension is None (the format has no names for them)."""
        return describe(self._interpreter.get_input_details())

    def bind(self, shapes: Shapes) -> None:
        """Nothing, once the inputs have these shapes and every tensor is allocated."""
        try:
            for detail in self._interpreter.get_input_details():
                if tuple(int(size) for size in detail["shape"]) != shapes[detail["name"]]:
                    self._interpreter.resize_tensor_input(detail["index"], list(shapes[detail["name"]]))
            self._interpreter.allocate_tensors()
        except ERRORS as error:
            raise self._failure(error, "unsupported-model") from error

    def prepare(self, arrays: Dict[str, Any]) -> None:
        """Nothing, once the arrays are copied into the interpreter's input tensors."""
        try:
            for name, array in arrays.items():
                self._interpreter.set_tensor(self._indices[name], array)
        except ERRORS as error:
            raise self._failure(error, "bad-input") from error

    def invoke(self) -> None:
        """Nothing, once the interpreter has run."""
        try:
            self._interpreter.invoke()
        except ERRORS as error:
            raise self._failure(error, "unsupported-model") from error

    def output_top1(self) -> List[int]:
        """The arg-max over the last axis of the first output; a quantised output needs no scale for that."""
        return top1(self._interpreter.get_tensor(self._interpreter.get_output_details()[0]["index"]))

    def output_arrays(self) -> Dict[str, Any]:
        """The interpreter's outputs by name, as copies; quantised ones as they are (``loaded`` has their scales)."""
        details = self._interpreter.get_output_details()
        return {detail["name"]: self._interpreter.get_tensor(detail["index"]) for detail in details}

    def close(self) -> None:
        """Nothing, once the interpreter is given back."""
        self._interpreter = None

    def _failure(self, error: BaseException, otherwise: str) -> AgentFailure:
        """The one place where the interpreter's exceptions become failures; ``otherwise``: the code of unknown ones."""
        text = " ".join(str(error).split())[:400]
        if any(word in text for word in NUMPY_ABI):
            return _numpy_failure(self._runtime["name"], error)
        if any(word in text for word in UNSUPPORTED):
            otherwise = "unsupported-model"
        runtime = "{name} {version}".format(**self._runtime)
        return AgentFailure(otherwise, "{}: {} says: {}".format(self._path, runtime, text))


def describe(details: List[Dict[str, Any]]) -> List[Dict[str, Any]]:
    """Inputs or outputs of an interpreter as [{name, dtype, shape, quantization}]; a free dimension is None.

    quantization: [scale, zero point] of a per-tensor quantised tensor, else None.
    """
    return [
        {
            "name": detail["name"],
            "dtype": dtype_name(detail["dtype"]),
            "shape": _shape(detail),
            "quantization": _quantization(detail),
        }
        for detail in details
    ]


def dtype_name(dtype: Any) -> str:
    """numpy's name of a dtype; "string" for the types that numpy keeps as bytes or objects.

    >>> import numpy
    >>> dtype_name(numpy.float32)
    'float32'
    """
    import numpy

    kind = numpy.dtype(dtype)
    return "string" if kind.kind in "SUO" else kind.name


def _shape(detail: Dict[str, Any]) -> List[Optional[int]]:
    signature = detail.get("shape_signature")
    sizes = signature if signature is not None and len(signature) else detail["shape"]
    return [int(size) if size > 0 else None for size in sizes]


def _quantization(detail: Dict[str, Any]) -> Optional[List[float]]:
    scale, zero_point = detail.get("quantization", (0.0, 0))
    return [float(scale), int(zero_point)] if scale else None
