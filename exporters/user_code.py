"""Python files of the user's: imported, called, and whatever they raise told in one line."""

from __future__ import annotations

import contextlib
import hashlib
import importlib.util
import sys
import warnings
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType
from typing import Any

from exporters.runtime import one_line, quiet
from mobile.errors import ExportError, ModelError, UsageError

_MODULE_PREFIX = "_edgewise_program_"


@contextlib.contextmanager
def given_by(path: Path, function: str) -> Iterator[tuple[ModuleType, Any]]:
    """(the file as a module, what its function gave); the module is forgotten when the block is left.

    ModelError or UsageError when there is no such file or function, ExportError when they fail.
    """
    if not path.is_file():
        raise ModelError(f"{path}: there is no such file", "Check the path.")
    with _program(path) as program:
        make = getattr(program, function, None)
        if not callable(make):
            raise UsageError(f"{path} has no function {function!r}", _known(program))
        with foreign(f"{path}:{function}()"):
            given = make()
        yield program, given


@contextlib.contextmanager
def foreign(what: str) -> Iterator[None]:
    """Runs the user's code: whatever it raises becomes one line, prints go to stderr, warnings stay unheard."""
    try:
        with contextlib.redirect_stdout(sys.stderr), warnings.catch_warnings(), quiet("torch.onnx"):
            warnings.simplefilter("ignore")
            yield
    except (Exception, SystemExit) as error:  # foreign code may raise anything; only an interrupt is ours
        if isinstance(error, ExportError):
            raise
        raise ExportError(f"{what} failed: {type(error).__name__}: {one_line(error)}{_where(error)}") from error


def _where(error: BaseException) -> str:
    """The last line of the user's program in the traceback, as " (file.py:12)"."""
    place, trace = "", error.__traceback__
    while trace is not None:
        if trace.tb_frame.f_globals.get("__name__", "").startswith(_MODULE_PREFIX):
            place = f" ({Path(trace.tb_frame.f_code.co_filename).name}:{trace.tb_lineno})"
        trace = trace.tb_next
    return place


@contextlib.contextmanager
def _program(path: Path) -> Iterator[ModuleType]:
    """The file as a module of a unique name, importable files beside it included; both are forgotten afterwards."""
    name = _MODULE_PREFIX + hashlib.sha256(str(path.resolve()).encode()).hexdigest()[:16]
    spec = importlib.util.spec_from_file_location(name, path)
    if spec is None or spec.loader is None:
        raise ModelError(f"{path}: cannot be imported as Python", "Name a .py file.")
    module = importlib.util.module_from_spec(spec)
    folder, bytecode = str(path.resolve().parent), sys.dont_write_bytecode
    sys.modules[name] = module
    sys.path.insert(0, folder)
    sys.dont_write_bytecode = True  # leave no __pycache__ beside the user's file
    try:
        with foreign(f"importing {path}"):
            spec.loader.exec_module(module)
        yield module
    finally:
        sys.dont_write_bytecode = bytecode
        sys.modules.pop(name, None)
        with contextlib.suppress(ValueError):
            sys.path.remove(folder)


def _known(program: ModuleType) -> str:
    own = [
        name
        for name, value in vars(program).items()
        if callable(value) and getattr(value, "__module__", "") == program.__name__ and not name.startswith("_")
    ]
    return f"It has {', '.join(own)}." if own else "It defines no function."
