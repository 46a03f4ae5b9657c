"""The one door to onnxruntime: telemetry off before the import, sessions on the CPU, its exceptions mapped here."""

from __future__ import annotations

import logging
import os
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

from mobile.errors import ExportError

if TYPE_CHECKING:
    from numpy.typing import NDArray

Feeds = Mapping[str, "NDArray[Any]"]


def onnxruntime() -> Any:
    """The onnxruntime module. ORT_DISABLE_TELEMETRY=1 is set first, since the library reads it when it starts."""
    os.environ["ORT_DISABLE_TELEMETRY"] = "1"
    import onnxruntime

    onnxruntime.set_default_logger_severity(4)  # it writes to stderr by itself; what it raises is enough
    return onnxruntime


def runtime_errors() -> tuple[type[Exception], ...]:
    """What onnxruntime raises when a model or an input is wrong: its status codes share no base of their own."""
    onnxruntime()
    from onnxruntime.capi import onnxruntime_pybind11_state as state

    own = [kind for kind in vars(state).values() if isinstance(kind, type) and issubclass(kind, Exception)]
    return (*own, RuntimeError, ValueError, TypeError)


class Session:
    """A model loaded on the CPU. ``name`` is what messages call it. ExportError when it cannot be loaded or run."""

    def __init__(self, path: Path, name: str) -> None:
        ort = onnxruntime()
        options = ort.SessionOptions()
        options.log_severity_level = 4  # warnings about the model go to stderr otherwise; errors are raised
        self.name = name
        self._errors = runtime_errors()
        try:
            # Without its own fallback, which would print on stdout and try the same provider again.
            self._session = ort.InferenceSession(
                str(path), options, providers=["CPUExecutionProvider"], enable_fallback=0
            )
        except self._errors as error:
            raise ExportError(
                f"{name}: onnxruntime {ort.__version__} cannot load it: {one_line(error)}",
                "`edgewise inspect FILE` lists its operators and who can run them.",
            ) from error

    @property
    def outputs(self) -> list[str]:
        """The names of the outputs, in order."""
        return [value.name for value in self._session.get_outputs()]

    def run(self, feeds: Feeds) -> list[NDArray[Any]]:
        """The outputs in order. ExportError when the model refuses the inputs."""
        try:
            found: Sequence[Any] = self._session.run(None, dict(feeds))
        except self._errors as error:
            shapes = ", ".join(f"{key} {value.dtype} {list(value.shape)}" for key, value in feeds.items())
            raise ExportError(f"{self.name}: refuses the inputs {shapes}: {one_line(error)}") from error
        return list(found)


def decode_error() -> type[Exception]:
    """What protobuf raises on bytes that are no message; protobuf has no types of its own, so it is looked up."""
    import importlib

    kind: type[Exception] = importlib.import_module("google.protobuf.message").DecodeError
    return kind


def onnx_errors() -> tuple[type[Exception], ...]:
    """What onnx raises on a model that it cannot read, check, convert or infer."""
    import onnx

    own = (onnx.checker.ValidationError, onnx.shape_inference.InferenceError, decode_error())
    return (*own, RuntimeError, ValueError, TypeError)


@contextmanager
def quiet(name: str) -> Iterator[None]:
    """Mutes a library's logger of that name ("" for the root): what matters is raised, advice would look like ours."""
    logger = logging.getLogger(name or None)
    before = logger.level
    logger.setLevel(logging.CRITICAL)
    try:
        yield
    finally:
        logger.setLevel(before)


def one_line(error: BaseException, limit: int = 300) -> str:
    """The exception's message as one line of at most ``limit`` characters, its type when it has none."""
    text = " ".join(str(error).split())
    return (text[: limit - 3] + "...") if len(text) > limit else text or type(error).__name__
