"""Python files of the user's on this machine: imported, and whatever they raise told in one line."""

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

from mobile.errors import EdgewiseError, ModelError, UsageError

_MODULE_PREFIX = "_edgewise_program_"
_MOST_CHARACTERS = 300


@contextlib.contextmanager
def program(path: Path, failing: type[EdgewiseError]) -> Iterator[ModuleType]:
    """The file as a module of a unique name, importable files beside it included; both are forgotten afterwards.

    ModelError when there is no such file, ``failing`` when it cannot be imported.
    """
    if not path.is_file():
        raise ModelError(f"{path}: there is no such file", "Check the path.")
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
        with guarded(f"importing {path}", failing):
            spec.loader.exec_module(module)
        yield module
    finally:
        sys.dont_write_bytecode = bytecode
        sys.modules.pop(name, None)
        with contextlib.suppress(ValueError):
            sys.path.remove(folder)


def function_of(module: ModuleType, path: Path, name: str) -> Any:
    """The file's function of that name. UsageError lists those that it has."""
    found = getattr(module, name, None)
    if not callable(found):
        raise UsageError(f"{path} has no function {name!r}", _known(module))
    return found


@contextlib.contextmanager
def guarded(what: str, failing: type[EdgewiseError]) -> Iterator[None]:
    """Runs the user's code: whatever it raises becomes ``failing``, prints go to stderr, warnings stay unheard."""
    try:
        with contextlib.redirect_stdout(sys.stderr), warnings.catch_warnings():
            warnings.simplefilter("ignore")
            yield
    except (Exception, SystemExit) as error:  # foreign code may raise anything; only an interrupt is ours
        if isinstance(error, failing):
            raise
        text = " ".join(str(error).split())[:_MOST_CHARACTERS]
        words = ": ".join(word for word in (type(error).__name__, text) if word)
        raise failing(f"{what} failed: {words}{_where(error)}") from error


def _where(error: BaseException) -> str:
    """The last line of the user's program in the traceback, as " (file.py:12)"."""
    place, trace = "", error.__traceback__
    while trace is not None:
        if trace.tb_frame.f_globals.get("__name__", "").startswith(_MODULE_PREFIX):
            place = f" ({Path(trace.tb_frame.f_code.co_filename).name}:{trace.tb_lineno})"
        trace = trace.tb_next
    return place


def _known(module: ModuleType) -> str:
    own = [
        name
        for name, value in vars(module).items()
        if callable(value) and getattr(value, "__module__", "") == module.__name__ and not name.startswith("_")
    ]
    return f"It has {', '.join(own)}." if own else "It defines no function."
