"""Writes a measured link into devices.yaml, and leaves everything else in the file as it stands, comments too.

YAML that was read and written again loses its comments, so the file's lines are changed: one line for the link is put
in the place of the old one, or behind the last. The result is read as an inventory before it takes the file's place.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

from mobile.errors import ConfigError
from mobile.formats.atomic import write_atomically
from mobile.inventory.inventory import load_inventory
from mobile.inventory.models import Link

SECTION = "links"


def line_of_link(link: Link) -> str:
    """The link as one item of the list ``links``, whole bits and six digits of a second."""
    fields = [f"device: {link.device}", f"server: {link.server}", f"uplink_bps: {round(link.uplink_bps)}"]
    fields += [f"downlink_bps: {round(link.downlink_bps)}", f"rtt_s: {link.rtt_s:.6f}"]
    if link.loss is not None:
        fields.append(f"loss: {link.loss:.6f}")
    return f"- {{{', '.join(fields)}, assumed: {'true' if link.assumed else 'false'}}}"


def save_link(path: Path, link: Link) -> None:
    """Nothing, once the file has the link. ConfigError when its list of links is written in a way that cannot be
    changed line by line; the file is then as it was.
    """
    try:
        text = path.read_text(encoding="utf-8")
    except OSError as error:
        raise ConfigError(f"{path}: {error.strerror or error}") from error
    changed = with_link(text, link)
    if changed is None:
        raise _by_hand(path, link)
    candidate = path.with_name(f".{path.name}.new")
    try:
        candidate.write_text(changed, encoding="utf-8")
        try:
            found = load_inventory(candidate).link(link.device, link.server)
        except ConfigError as error:
            raise _by_hand(path, link) from error
        if (found.device, found.server, found.assumed) != (link.device, link.server, link.assumed):
            raise _by_hand(path, link)
        write_atomically(path, changed.encode("utf-8"))
    except OSError as error:
        raise ConfigError(f"{path}: {error.strerror or error}") from error
    finally:
        candidate.unlink(missing_ok=True)


def _by_hand(path: Path, link: Link) -> ConfigError:
    return ConfigError(
        f"{path}: its links cannot be changed without rewriting the file", f"Put there: {line_of_link(link)}"
    )


def with_link(text: str, link: Link) -> str | None:
    """The text of an inventory with the link in it; None when it has to be done by hand."""
    import yaml

    try:
        root = yaml.compose(text)
    except yaml.YAMLError:
        return None
    lines = text.splitlines()
    if root is None:
        return _joined([*lines, f"{SECTION}:", f"  {line_of_link(link)}"])
    if not isinstance(root, yaml.MappingNode) or root.flow_style:
        return None
    section = next(((key, value) for key, value in root.value if key.value == SECTION), None)
    if section is None:
        return _joined([*lines, "", f"{SECTION}:", f"  {line_of_link(link)}"])
    key, value = section
    if isinstance(value, yaml.ScalarNode) and value.value in ("", "~", "null"):
        at = key.start_mark.line
        lines[at] = lines[at][: key.end_mark.column] + ":"
        return _joined([*lines[: at + 1], f"  {line_of_link(link)}", *lines[at + 1 :]])
    if not isinstance(value, yaml.SequenceNode) or value.flow_style or not value.value:
        return None
    return _in_list(lines, value, link)


def _in_list(lines: list[str], items: Any, link: Link) -> str | None:
    indent = " " * items.start_mark.column
    for item in items.value:
        if _names(item) == (link.device, link.server):
            first, last = item.start_mark.line, _last_line(item)
            if "#" in "".join(lines[first : last + 1]):
                return None  # a comment beside the old figures: whoever wrote it decides
            return _joined([*lines[:first], indent + line_of_link(link), *lines[last + 1 :]])
    end = _last_line(items.value[-1])
    return _joined([*lines[: end + 1], indent + line_of_link(link), *lines[end + 1 :]])


def _names(item: Any) -> tuple[str, str] | None:
    fields = {key.value: value.value for key, value in item.value} if hasattr(item, "value") else {}
    return (str(fields.get("device")), str(fields.get("server"))) if fields else None


def _last_line(item: Any) -> int:
    """The last line on which something of an item stands: a block's end mark is behind its comments."""
    pairs = [node for pair in item.value for node in pair] if isinstance(item.value, list) else []
    if item.flow_style or not pairs:
        return int(item.end_mark.line)
    return max(_end(node) for node in pairs)


def _end(node: Any) -> int:
    return int(node.end_mark.line)


def _joined(lines: list[str]) -> str:
    return "\n".join(lines) + "\n"
