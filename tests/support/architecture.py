"""The rules of the house as functions over a source tree: each returns the places that break it, in words."""

from __future__ import annotations

import ast
import sys
from collections.abc import Iterator
from pathlib import Path

PACKAGES = ("device_agents", "mobile", "exporters", "offload")
MAX_MODULE_LINES = 500
MAX_FUNCTION_LINES = 70

# Floors, lowest first. A package may import its own floor and those below.
FLOORS = ["device_agents", "mobile", "exporters", "offload", "mobile.cli"]

# Of device_agents, the host takes the contract of the stream, and what it computes alike on both sides; the rest of the
# folder it ships as files.
SHARED = ("records", "spec", "failures", "split", "calibration", "redaction")

# In the standard library of every Python from 3.8 to 3.13.
NOT_IN_ALL = {
    "tomllib",
    "zoneinfo",
    "graphlib",
    "distutils",
    "asynchat",
    "asyncore",
    "imp",
    "smtpd",
    "cgi",
    "crypt",
    "pipes",
}
LAZY_ON_DEVICE = {"numpy", "onnxruntime", "ai_edge_litert", "tflite_runtime", "zstandard", "lz4", "PIL"}


def modules(root: Path) -> Iterator[tuple[str, Path, ast.Module]]:
    """(dotted name, file, syntax tree) of every module of the packages under ``root``."""
    for package in PACKAGES:
        for path in sorted((root / package).rglob("*.py")):
            name = ".".join(path.relative_to(root).with_suffix("").parts).removesuffix(".__init__")
            yield name, path, ast.parse(path.read_text(encoding="utf-8"), filename=str(path))


def imports(tree: ast.Module) -> Iterator[tuple[str, int, bool]]:
    """(dotted name, line, at module level) of every import, also those inside functions."""
    top = {id(node) for node in _module_level(tree)}
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            for alias in node.names:
                yield alias.name, node.lineno, id(node) in top
        elif isinstance(node, ast.ImportFrom):
            for alias in node.names:
                yield f"{node.module}.{alias.name}" if node.module else alias.name, node.lineno, id(node) in top


def _module_level(tree: ast.Module) -> Iterator[ast.stmt]:
    """Statements that run on import: not those under functions or `if TYPE_CHECKING`."""
    pending: list[ast.stmt] = list(tree.body)
    while pending:
        node = pending.pop()
        yield node
        if isinstance(node, ast.If) and "TYPE_CHECKING" in ast.dump(node.test):
            pending.extend(node.orelse)
            continue
        for field in ("body", "orelse", "finalbody"):
            if not isinstance(node, (ast.FunctionDef, ast.AsyncFunctionDef)):
                pending.extend(child for child in getattr(node, field, []) if isinstance(child, ast.stmt))


def floor(name: str) -> int | None:
    """The floor of a module, None for a foreign one."""
    if name == "mobile.cli" or name.startswith("mobile.cli."):
        return FLOORS.index("mobile.cli")
    package = name.split(".")[0]
    return FLOORS.index(package) if package in FLOORS else None


def upward_imports(root: Path) -> list[str]:
    """Imports that run against the direction."""
    found = []
    for name, path, tree in modules(root):
        own = floor(name)
        for target, line, _ in imports(tree):
            there = floor(target)
            if there is not None and own is not None and there > own:
                found.append(f"{path.relative_to(root)}:{line}: {name} may not import {target}")
    return found


def contract_leaks(root: Path) -> list[str]:
    """Imports of device_agents by host code beyond the records of the stream."""
    found = []
    for name, path, tree in modules(root):
        if name.startswith("device_agents"):
            continue
        for target, line, _ in imports(tree):
            package, _, rest = target.partition(".")
            inside = rest.split(".")[0]  # "": the folder itself, to ship it; A_CONSTANT: of the package
            if package == "device_agents" and inside and not inside.isupper() and inside not in SHARED:
                found.append(f"{path.relative_to(root)}:{line}: {name} takes {target}; only the records are shared")
    return found


def foreign_imports_of_the_agent(root: Path) -> list[str]:
    """Imports in device_agents that are not the standard library of Python 3.8, nor a lazy runtime."""
    found = []
    for name, path, tree in modules(root):
        if not name.startswith("device_agents"):
            continue
        for target, line, at_top in imports(tree):
            package = target.split(".")[0]
            standard = package in sys.stdlib_module_names and package not in NOT_IN_ALL
            lazy = package in LAZY_ON_DEVICE and not at_top
            if not (standard or lazy or package == "device_agents"):
                found.append(f"{path.relative_to(root)}:{line}: {name} imports {target}")
    return found


def newer_syntax_in_the_agent(root: Path) -> list[str]:
    """Files of device_agents that Python 3.8 could not parse."""
    found = []
    for path in sorted((root / "device_agents").rglob("*.py")):
        try:
            ast.parse(path.read_text(encoding="utf-8"), feature_version=(3, 8))
        except SyntaxError as error:
            found.append(f"{path.relative_to(root)}:{error.lineno}: {error.msg}")
    return found


def outgrown(root: Path) -> list[str]:
    """Modules and functions over the limits."""
    found = []
    for _, path, tree in modules(root):
        lines = path.read_text(encoding="utf-8").count("\n")
        if lines > MAX_MODULE_LINES:
            found.append(f"{path.relative_to(root)}: {lines} lines")
        for node in ast.walk(tree):
            if isinstance(node, (ast.FunctionDef, ast.AsyncFunctionDef)):
                size = (node.end_lineno or node.lineno) - node.lineno + 1
                if size > MAX_FUNCTION_LINES:
                    found.append(f"{path.relative_to(root)}:{node.lineno}: {node.name} has {size} lines")
    return found


def bare_excepts(root: Path) -> list[str]:
    """Broad excepts that neither raise again nor carry a `noqa: BLE001` with its reason."""
    found = []
    for _, path, tree in modules(root):
        lines = path.read_text(encoding="utf-8").splitlines()
        for node in ast.walk(tree):
            if not isinstance(node, ast.ExceptHandler):
                continue
            broad = node.type is None or (
                isinstance(node.type, ast.Name) and node.type.id in ("Exception", "BaseException")
            )
            raises = any(isinstance(inner, ast.Raise) for statement in node.body for inner in ast.walk(statement))
            if broad and not raises and "noqa: BLE001 - " not in lines[node.lineno - 1]:
                found.append(f"{path.relative_to(root)}:{node.lineno}: a bare except without its reason")
    return found


def undocumented(root: Path) -> list[str]:
    """Public modules, classes and functions without a docstring."""
    found = []
    for _, path, tree in modules(root):
        text = path.read_text(encoding="utf-8")
        if text.strip() and not ast.get_docstring(tree):
            found.append(f"{path.relative_to(root)}:1: the module has no docstring")
        for node in tree.body:
            if (
                isinstance(node, (ast.FunctionDef, ast.ClassDef))
                and not node.name.startswith("_")
                and not ast.get_docstring(node)
            ):
                found.append(f"{path.relative_to(root)}:{node.lineno}: {node.name} has no docstring")
    return found


RULES = [
    upward_imports,
    contract_leaks,
    foreign_imports_of_the_agent,
    newer_syntax_in_the_agent,
    outgrown,
    bare_excepts,
    undocumented,
]
