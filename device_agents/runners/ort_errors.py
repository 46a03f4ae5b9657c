"""onnxruntime's exceptions, mapped to failures in one place. There is one class per status, derived from Exception."""

import re
from typing import Any, Tuple, Type

from device_agents.failures import AgentFailure

# In what onnxruntime says (seen with 1.19 to 1.32). A model that needs something newer or other than this runtime has:
UNSUPPORTED = (
    "No Op registered for",
    "is not a registered function/op",
    "Could not find an implementation",
    "Unsupported model IR",
    "Current official support for domain",
    "is under development",
    "NOT_IMPLEMENTED",
)
MEMORY = ("bad allocation", "bad_alloc", "Failed to allocate memory", "out of memory", "BFCArena", "OOM")
EXTERNAL_DATA = ("External data path", "external data", "External data", "GetFileLength", "open file")
NOISE = (
    re.compile(r"^\[ONNXRuntimeError\] : \d+ : \w+ : "),
    re.compile(r"Load model from .*? failed:\s*"),
    re.compile(r"\S*/onnxruntime/\S+:\d+ .*?\) (?=[A-Z*])"),  # the C++ place, and the signature of the function there
)


def ort_exceptions() -> Tuple[Type[BaseException], ...]:
    """Every exception that a session raises for what it was given."""
    from onnxruntime.capi import onnxruntime_pybind11_state as state

    own = [
        value
        for value in vars(state).values()
        if isinstance(value, type) and issubclass(value, Exception) and value.__module__.startswith("onnxruntime")
    ]
    return (*own, RuntimeError, ValueError, TypeError)


def load_failure(error: BaseException, path: str, version: str) -> AgentFailure:
    """The failure of a session that could not be made of the model at ``path``."""
    text = str(error)
    said = shorten(text)
    if any(word in text for word in MEMORY):
        return AgentFailure("out-of-memory", "{}: {}".format(path, said))
    if any(word in text for word in UNSUPPORTED):
        return AgentFailure("unsupported-model", "{}: onnxruntime {} cannot run it: {}".format(path, version, said))
    if any(word in text for word in EXTERNAL_DATA):
        return AgentFailure(
            "bad-model",
            "{}: its external data is missing or damaged: {}".format(path, said),
            "Put the data file beside the model, under the name that the model gives.",
        )
    return AgentFailure("bad-model", "{}: onnxruntime cannot load it: {}".format(path, said))


def run_failure(error: BaseException, shapes: Any) -> AgentFailure:
    """The failure of an invocation with inputs of ``shapes``."""
    text = str(error)
    said = shorten(text)
    if any(word in text for word in MEMORY):
        return AgentFailure("out-of-memory", "the model ran out of memory: {}".format(said))
    if "NOT_IMPLEMENTED" in text:
        return AgentFailure("unsupported-model", "onnxruntime cannot run it: {}".format(said))
    return AgentFailure(
        "bad-input",
        "the model fails on inputs of shape {}: {}".format(shapes, said),
        "Bind the model's free dimensions to sizes it can work with; `edgewise inspect FILE` lists them.",
    )


def shorten(text: str) -> str:
    """What onnxruntime says without its status prefix and C++ signatures, on one line, 400 characters at most.

    >>> shorten("[ONNXRuntimeError] : 7 : INVALID_PROTOBUF : Load model from a.onnx failed:Protobuf parsing failed.")
    'Protobuf parsing failed.'
    """
    for pattern in NOISE:
        text = pattern.sub("", text)
    return " ".join(text.split())[:400]
