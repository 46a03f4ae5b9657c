"""Python files of the user's: imported, called, and whatever they raise told in one line."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType
from typing import Any

from exporters.runtime import quiet
from mobile.errors import ExportError
from mobile.user_code import function_of, guarded, program


@contextlib.contextmanager
def given_by(path: Path, function: str) -> Iterator[tuple[ModuleType, Any]]:
    """(the file as a module, what its function gave); the module is forgotten when the block is left.

    ModelError or UsageError when there is no such file or function, ExportError when they fail.
    """
    with program(path, ExportError) as module:
        make = function_of(module, path, function)
        with foreign(f"{path}:{function}()"):
            given = make()
        yield module, given


@contextlib.contextmanager
def foreign(what: str) -> Iterator[None]:
    """Runs the user's code: whatever it raises becomes an ExportError, prints go to stderr, torch gives no advice."""
    with quiet("torch.onnx"), guarded(what, ExportError):
        yield
