"""Turns what pydantic found into our words: file, line, key, value and what was expected there.

What was expected is read from the JSON Schema of the same models, so a message never disagrees with the
check.
"""

from __future__ import annotations

from typing import Any

from pydantic import BaseModel, ValidationError
from pydantic_core import ErrorDetails

from mobile.errors import ConfigError
from mobile.inventory import models, units
from mobile.inventory.near import did_you_mean
from mobile.inventory.yamlfile import KeyPath, Located

_PATTERN_WORDS = {
    "^[A-Za-z0-9][A-Za-z0-9._-]{0,63}$": "a name of letters, digits, '.', '_' and '-'",
    "^[A-Za-z_][A-Za-z0-9_]{0,127}$": "the name of an environment variable",
    "^[^\\x00-\\x1f\\x7f]{1,1024}$": "text without control characters",
    "^(?:~|/)[^\\x00-\\x1f\\x7f]{0,1023}$": "an absolute path, or one that begins with ~",
    "^https?://[^\\s/?#@]+(?:/[^\\s?#@]*)?$": "a URL such as http://edge.local:8620, without credentials",
    "^http://[A-Za-z0-9_\\[][^\\s/?#@]*/?$": "the address of a meter, such as http://192.0.2.7, without credentials",
    units.SIZE_PATTERN: 'a size such as "512 MiB"',
    units.RATE_PATTERN: 'a rate such as "20 Mbit/s"',
}
_UNECHOED = ("url", "passphrase_env", "password_env", "token_env")  # a secret may stand here by mistake
_MAX_ECHO = 60


def config_error(
    error: ValidationError, located: Located, model: type[BaseModel] = models.InventoryFile
) -> ConfigError:
    """The first problem in the order of the file of ``model``; the hint counts the others and names the next."""
    schema = model.model_json_schema()
    found: dict[KeyPath, tuple[int, str]] = {}
    for detail in error.errors(include_url=False):
        path = tuple(detail["loc"])
        if path[:1] == ("devices",) and path not in located.lines and ("defaults", *path[2:]) in located.lines:
            path = ("defaults", *path[2:])
        found.setdefault(path, _problem(detail, path, located, schema))
    problems = sorted(found.values())
    texts = [f"{located.file}:{line}: {text}" for line, text in problems]
    if len(texts) == 1:
        return ConfigError(texts[0])
    more = f"and {len(texts) - 1} more problem{'s' if len(texts) > 2 else ''}; the next: {texts[1]}"
    return ConfigError(texts[0], more)


def _problem(detail: ErrorDetails, path: KeyPath, located: Located, schema: dict[str, Any]) -> tuple[int, str]:
    kind = detail["type"]
    context = detail.get("ctx", {})
    if kind == "conflict":
        at = (*path, context["field"])
        return line_of(located, at), f"{dotted(at)}: {context['words']}"
    if path and path[-1] == "[key]":
        at = path[:-1]
        return line_of(located, at), f"{dotted(at)}: {_echo(at[-1])} is not {_PATTERN_WORDS[models_name_pattern()]}"
    if kind == "extra_forbidden":
        known = _node(schema, path[:-1]).get("properties", {})
        return line_of(
            located, path
        ), f"{dotted(path)} is not a known key; {did_you_mean(str(path[-1]), known, 'keys')}"
    expected = context["expected"] if kind == "unit" else expectation(schema, path)
    if kind == "url":
        expected = detail["msg"]
    if kind == "missing":
        return line_of(located, path), f"{dotted(path)} is missing, expected {expected}"
    if path[-1] in _UNECHOED:
        return line_of(located, path), f"{dotted(path)} is not {expected}"
    value = detail["input"]
    quotes = "; put it in quotes" if kind == "string_type" and isinstance(value, (int, float)) else ""
    return line_of(located, path), f"{dotted(path)} is {_echo(value)}, expected {expected}{quotes}"


def models_name_pattern() -> str:
    """The pattern of names, which are the only constrained keys that users choose."""
    return next(iter(_PATTERN_WORDS))


def line_of(located: Located, path: KeyPath) -> int:
    """The line of the key at a path, else of its value, else of the nearest thing around it."""
    while path:
        line = located.key_lines.get(path) or located.lines.get(path)
        if line is not None:
            return line
        path = path[:-1]
    return located.lines.get((), 1)


def dotted(path: KeyPath) -> str:
    """The path as users read it.

    >>> dotted(("links", 0, "rtt_s"))
    'links[0].rtt_s'
    """
    text = ""
    for part in path:
        text += f"[{part}]" if isinstance(part, int) else f".{part}" if text else part
    return text


def expectation(schema: dict[str, Any], path: KeyPath) -> str:
    """What the schema allows at ``path``, in words: "a whole number from 1 to 65535"."""
    return _words(schema, _node(schema, path))


def _node(schema: dict[str, Any], path: KeyPath) -> dict[str, Any]:
    node = schema
    for part in path:
        node = _resolve(schema, node)
        if isinstance(part, int):
            node = node.get("items", {})
        elif part in node.get("properties", {}):
            node = node["properties"][part]
        else:
            # pydantic writes constrained keys as patternProperties, older releases as additionalProperties.
            values = list(node.get("patternProperties", {}).values()) or [node.get("additionalProperties")]
            node = values[0] if isinstance(values[0], dict) else {}
    return _resolve(schema, node)


def _resolve(schema: dict[str, Any], node: dict[str, Any]) -> dict[str, Any]:
    """The node without references and without "or null"."""
    options = [option for option in node.get("anyOf", []) if option != {"type": "null"}]
    if len(options) == 1:
        node = options[0]
    if "$ref" in node:
        node = schema["$defs"][node["$ref"].rsplit("/", 1)[1]]
    return node


def _words(schema: dict[str, Any], node: dict[str, Any]) -> str:
    node = _resolve(schema, node)
    if "anyOf" in node:
        return " or ".join(_words(schema, option) for option in node["anyOf"])
    if "enum" in node:
        return f"one of {', '.join(node['enum'])}"
    kind = node.get("type")
    if kind in ("integer", "number"):
        return _number_words(node)
    if kind == "string":
        return _PATTERN_WORDS.get(node.get("pattern", ""), "a host, user or serial number without special characters")
    return {"boolean": "true or false", "array": "a list", "object": "a mapping (key: value)"}.get(str(kind), "a value")


def _number_words(node: dict[str, Any]) -> str:
    what = "a whole number" if node["type"] == "integer" else "a number"
    if "minimum" in node and "maximum" in node:
        return f"{what} from {node['minimum']:g} to {node['maximum']:g}"
    bounds = {
        "minimum": "of at least {:g}",
        "exclusiveMinimum": "above {:g}",
        "maximum": "of at most {:g}",
        "exclusiveMaximum": "below {:g}",
    }
    words = [text.format(node[key]) for key, text in bounds.items() if key in node]
    return " ".join([what, " and ".join(words)]).strip()


def _echo(value: Any) -> str:
    if value is None:
        return "empty"
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, dict):
        return "a mapping"
    if isinstance(value, (list, tuple)):
        return "a list"
    text = repr(value)
    return text if len(text) <= _MAX_ECHO else f"{text[:_MAX_ECHO]}..."
