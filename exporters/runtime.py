"""The one door to onnxruntime: telemetry off before the import, sessions on the CPU, its exceptions mapped here."""

from __future__ import annotations

import gc
import logging
import os
import weakref
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
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


_alone: weakref.WeakSet[Session] = weakref.WeakSet()  # sessions of large models; one of them is open at a time


class Session:
    """A model loaded on the CPU. ``name`` is what messages call it. ExportError when it cannot be loaded or run.

    Of sessions that are ``alone`` one is in memory at a time: whichever is asked closes the one before, and is loaded
    again when it is asked later. They are loaded when they are asked first, so their files must stay where they are.
    """

    def __init__(self, path: Path, name: str, alone: bool = False) -> None:
        self.name, self.path = name, path
        self._is_alone = alone
        self._errors = runtime_errors()
        self._session: Any = None
        if not alone:
            self._opened()

    @property
    def outputs(self) -> list[str]:
        """The names of the outputs, in order."""
        return [value.name for value in self._opened().get_outputs()]

    def _opened(self) -> Any:
        if self._session is not None:
            return self._session
        if self._is_alone:
            close_sessions()
            _alone.add(self)
        ort = onnxruntime()
        options = ort.SessionOptions()
        options.log_severity_level = 4  # warnings about the model go to stderr otherwise; errors are raised
        try:
            # Without its own fallback, which would print on stdout and try the same provider again.
            self._session = ort.InferenceSession(
                str(self.path), options, providers=["CPUExecutionProvider"], enable_fallback=0
            )
        except self._errors as error:
            raise ExportError(
                f"{self.name}: onnxruntime {ort.__version__} cannot load it: {one_line(error)}",
                "`edgewise inspect FILE` lists its operators and who can run them.",
            ) from error
        return self._session

    def close(self) -> None:
        """Frees its memory."""
        self._session = None

    def run(self, feeds: Feeds, only: Sequence[str] | None = None) -> list[NDArray[Any]]:
        """The outputs in order, or ``only`` those of these names. ExportError when the model refuses the inputs."""
        session, options = self._opened(), None
        if only is not None:
            options = onnxruntime().RunOptions()
            options.only_execute_path_to_fetches = True
        try:
            found: Sequence[Any] = session.run(only, dict(feeds), options)
        except self._errors as error:
            shapes = ", ".join(f"{key} {value.dtype} {list(value.shape)}" for key, value in feeds.items())
            raise ExportError(f"{self.name}: refuses the inputs {shapes}: {one_line(error)}") from error
        return list(found)


def close_sessions() -> None:
    """Frees the memory of the large model that is open, if one is."""
    for session in list(_alone):
        session.close()
    gc.collect()  # graphs refer to themselves
    give_memory_back()


def give_memory_back() -> None:
    """Returns freed memory to the system where the C library keeps it (glibc); nothing elsewhere."""
    import ctypes

    with suppress(OSError, AttributeError):
        ctypes.CDLL(None).malloc_trim(0)


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
