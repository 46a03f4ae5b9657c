"""Reads one YAML file as plain values, and remembers the line of each of them.

The rules are those of YAML 1.2 (what editors check with the schema): only ``true`` and ``false`` are
booleans, ``1e6`` is a number, ``22:30`` and dates are text. Duplicate keys are refused, and what anchors can
expand to is bounded.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml
from yaml.composer import ComposerError
from yaml.nodes import MappingNode, Node, ScalarNode, SequenceNode

from mobile.bounded import read_bounded
from mobile.errors import ConfigError

MAX_FILE_BYTES = 256 * 1024  # PyYAML reads some 50 kB a second: a larger file would take seconds on each command
MAX_VALUES = 100_000
MAX_DEPTH = 20
_MAX_DIGITS = 20

KeyPath = tuple[str | int, ...]

_TAG = "tag:yaml.org,2002:"
_MERGE = "<<"
_BOOL = re.compile(r"^(?:true|True|TRUE|false|False|FALSE)$")
_NULL = re.compile(r"^(?:~|null|Null|NULL|)$")
_INT = re.compile(r"^[-+]?[0-9]+$")
_FLOAT = re.compile(r"^[-+]?(?:\.[0-9]+|[0-9]+(?:\.[0-9]*)?)(?:[eE][-+]?[0-9]+)?$")


@dataclass(frozen=True)
class Located:
    """The plain value of a file, and where each part of it stands.

    ``value``: dict, tuple, str, int, float, bool or None. ``lines`` gives the line (from 1) of the value at a
    path, ``key_lines`` that of its key.
    """

    file: str
    value: Any
    lines: dict[KeyPath, int]
    key_lines: dict[KeyPath, int]


class _Loader(yaml.SafeLoader):
    """PyYAML's safe loader with YAML 1.2 scalars and a bound on nesting (its composer is recursive)."""

    yaml_implicit_resolvers = {}  # noqa: RUF012 - PyYAML's own name; empty so that YAML 1.1's rules do not apply
    _depth = 0

    def compose_node(self, parent: Node | None, index: Any) -> Node | None:
        self._depth += 1
        if self._depth > MAX_DEPTH:
            mark = self.peek_event().start_mark  # type: ignore[no-untyped-call]
            raise ComposerError(None, None, f"nested more than {MAX_DEPTH} levels deep", mark)
        node = super().compose_node(parent, index)
        self._depth -= 1
        return node


# First match wins: an int also looks like a float.
for _name, _pattern in (
    ("bool", _BOOL),
    ("int", _INT),
    ("float", _FLOAT),
    ("null", _NULL),
    ("merge", re.compile("^<<$")),
):
    _Loader.add_implicit_resolver(_TAG + _name, _pattern, None)


def read_yaml(path: Path) -> Located:
    """The file's value with its lines. ConfigError names file, line and what is wrong."""
    data = read_bounded(path, MAX_FILE_BYTES, ConfigError)
    try:
        text = data.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        line = data.count(b"\n", 0, error.start) + 1
        raise ConfigError(f"{path}:{line}: byte 0x{data[error.start]:02x} is not UTF-8", "Save it as UTF-8.") from error
    return parse_yaml(text, str(path))


def parse_yaml(text: str, file: str) -> Located:
    """The value of ``text`` with its lines; ``file`` is the name that errors carry."""
    try:
        loader = _Loader(text)
        try:
            node = loader.get_single_node()
        finally:
            loader.dispose()
    except yaml.YAMLError as error:
        raise _config_error(error, text, file) from error
    builder = _Builder(file)
    value = None if node is None else builder.build(node, ())
    return Located(file, value, builder.lines, builder.key_lines)


def _config_error(error: yaml.YAMLError, text: str, file: str) -> ConfigError:
    """PyYAML's error in our words: the one place where they are mapped."""
    if isinstance(error, yaml.reader.ReaderError):
        line = text.count("\n", 0, error.position) + 1
        return ConfigError(f"{file}:{line}: the character {error.character!r} is not allowed in YAML")
    mark = getattr(error, "problem_mark", None) or getattr(error, "context_mark", None)
    if mark is None:
        return ConfigError(f"{file}: {' '.join(str(error).split())}")
    line = mark.line + 1
    lines = text.split("\n")
    source = lines[mark.line] if mark.line < len(lines) else ""
    if "\t" in source[: len(source) - len(source.lstrip())]:
        return ConfigError(f"{file}:{line}: the line is indented with a tab", "YAML allows only spaces there.")
    problem = getattr(error, "problem", None) or "not valid YAML"
    context = getattr(error, "context", None)
    return ConfigError(f"{file}:{line}: {problem}" + (f" ({context})" if context else ""))


class _Builder:
    """Turns nodes into values. Counts what it makes, so that aliases cannot expand without end."""

    def __init__(self, file: str) -> None:
        self.file = file
        self.lines: dict[KeyPath, int] = {}
        self.key_lines: dict[KeyPath, int] = {}
        self._count = 0

    def build(self, node: Node, path: KeyPath) -> Any:
        self._count += 1
        if self._count > MAX_VALUES:
            raise self._error(node, f"more than {MAX_VALUES} values once its anchors are expanded")
        if len(path) > MAX_DEPTH:
            raise self._error(node, f"nested more than {MAX_DEPTH} levels deep once its anchors are expanded")
        self.lines[path] = _line(node)
        if isinstance(node, MappingNode):
            self._check_tag(node, "map")
            return self._mapping(node, path)
        if isinstance(node, SequenceNode):
            self._check_tag(node, "seq")
            return tuple(self.build(item, (*path, index)) for index, item in enumerate(node.value))
        return self._scalar(node)

    def _mapping(self, node: MappingNode, path: KeyPath) -> dict[str, Any]:
        pairs = self._unique_keys(node, path)
        values: dict[str, Any] = {}
        merge = pairs.pop(_MERGE, None)
        if merge is not None:  # first, so that the lines of the mapping's own keys win, as its values do
            values = self._merged(merge[1], path)
            self.lines[path] = _line(node)
        for key, (key_node, value_node) in pairs.items():
            self.key_lines[(*path, key)] = _line(key_node)
            values[key] = self.build(value_node, (*path, key))
        return values

    def _unique_keys(self, node: MappingNode, path: KeyPath) -> dict[str, tuple[Node, Node]]:
        pairs: dict[str, tuple[Node, Node]] = {}
        for key_node, value_node in node.value:
            key = self._key(key_node)
            if key in pairs:
                where = ".".join(map(str, (*path, key)))
                raise self._error(key_node, f"{where} is given twice, first in line {_line(pairs[key][0])}")
            pairs[key] = (key_node, value_node)
        return pairs

    def _merged(self, node: Node, path: KeyPath) -> dict[str, Any]:
        """The values of ``<<``: one mapping, or several of which the first wins."""
        parts = node.value if isinstance(node, SequenceNode) else [node]
        result: dict[str, Any] = {}
        for part in parts:
            if not isinstance(part, MappingNode):
                raise self._error(part, "`<<` takes a mapping, or a list of mappings")
            result = {**self.build(part, path), **result}
        return result

    def _key(self, node: Node) -> str:
        if not isinstance(node, ScalarNode):
            raise self._error(node, "a key is a list or a mapping, expected a name")
        return _MERGE if node.tag == _TAG + "merge" else str(node.value)

    def _scalar(self, node: Node) -> Any:
        text = str(node.value)
        kind = node.tag.removeprefix(_TAG)
        if kind in ("str", "merge"):
            return text
        if kind == "null":
            return None
        if kind == "bool" and _BOOL.match(text):
            return text.lower() == "true"
        if kind == "int" and _INT.match(text) and len(text) <= _MAX_DIGITS:
            return int(text)
        if kind == "float" and _FLOAT.match(text):
            return float(text)
        if kind in ("int", "float", "bool"):
            raise self._error(node, f"{text[:40]!r} is not a number or truth value that can be used here")
        raise self._error(node, f"the tag {node.tag!r} is not used in this file")

    def _check_tag(self, node: Node, kind: str) -> None:
        if node.tag != _TAG + kind:
            raise self._error(node, f"the tag {node.tag!r} is not used in this file")

    def _error(self, node: Node, message: str) -> ConfigError:
        return ConfigError(f"{self.file}:{_line(node)}: {message}")


def _line(node: Node) -> int:
    return int(node.start_mark.line) + 1
