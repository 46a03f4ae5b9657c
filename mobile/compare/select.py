"""Which stored runs are meant: by their ids, or by what they are.

A selector is a list with commas; each part is the start of a run's id, KEY=VALUE, or MODEL or MODEL@DEVICE. Keys are
`model`, `device`, `label`, `sha256` (its start), `last` (only the newest so many), and every condition (conditions.py).
"""

from __future__ import annotations

import json
import sqlite3
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from mobile.compare.conditions import conditions_of
from mobile.errors import UsageError

if TYPE_CHECKING:
    from mobile.results.store import RunStore

LAST_KEY = "last"
LABEL = "label"  # in a run's environment


@dataclass(frozen=True)
class Selector:
    """A parsed selector; ``text`` is what was given."""

    text: str
    ids: tuple[str, ...] = ()
    keys: Mapping[str, str] = field(default_factory=dict)
    last: int | None = None


def parse(text: str) -> Selector:
    """The selector of a text. UsageError when it is none.

    >>> parse("net.onnx@pi5,threads=2,last=10").keys
    {'model': 'net.onnx', 'device': 'pi5', 'threads': '2'}
    """
    ids: list[str] = []
    keys: dict[str, str] = {}
    last: int | None = None
    for part in text.split(","):
        key, equals, value = (word.strip() for word in part.partition("="))
        if not key or (equals and not value):
            raise UsageError(f"{text!r} selects nothing", _FORMS)
        if equals and key == LAST_KEY:
            last = _count(text, value)
        elif equals:
            keys[key] = value
        elif "@" in key:
            keys["model"], _, keys["device"] = key.rpartition("@")
        else:
            ids.append(key)
    return Selector(text, tuple(ids), keys, last)


_FORMS = "Give run ids (a,b,c), MODEL@DEVICE, or KEY=VALUE, such as label=before or model=net.onnx,threads=2."


def _count(text: str, value: str) -> int:
    if not value.isdigit() or int(value) < 1:
        raise UsageError(f"{text!r}: last={value} is no number of runs", "For example last=10.")
    return int(value)


def find(store: RunStore, selector: Selector) -> list[str]:
    """The ids of the runs that a selector means, oldest first. UsageError when there are none."""
    keys = dict(selector.keys)
    ids = list(selector.ids)
    # A part that is no id may be a model's name: `edgewise compare a.onnx b.onnx`.
    if len(ids) == 1 and not _known(store, ids[0]) and "model" not in keys:
        keys["model"] = ids.pop()
    found = [store.id_of(run_id) for run_id in ids]
    if keys or not ids:
        found += [run_id for run_id in _matching(store, keys) if run_id not in found]
    if not found:
        raise UsageError(f"{selector.text}: there is no such run in {store.path}", "`edgewise runs` lists them.")
    return found[-selector.last :] if selector.last else found


def _known(store: RunStore, start: str) -> bool:
    with store.transaction() as connection:
        row = connection.execute("SELECT 1 FROM runs WHERE substr(id, 1, length(:id)) = :id", {"id": start}).fetchone()
    return row is not None or start == "last"


def _matching(store: RunStore, keys: Mapping[str, str]) -> Iterator[str]:
    for run_id, about in _documents(store, keys.get("model"), keys.get("device")):
        if all(_fits(about, key, value) for key, value in keys.items()):
            yield run_id


def _documents(store: RunStore, model: str | None, device: str | None) -> list[tuple[str, dict[str, Any]]]:
    """(id, what a selector may ask for) of the runs of a model on a device, oldest first; damaged ones without."""
    with store.transaction() as connection:
        rows = connection.execute(
            "SELECT id, device, document FROM runs WHERE (:model IS NULL OR model = :model)"
            " AND (:device IS NULL OR device = :device) ORDER BY number",
            {"model": model, "device": device},
        ).fetchall()
    return [(str(run_id), {"device": str(place), **_about(text)}) for run_id, place, text in rows]


def _about(text: str | bytes | sqlite3.Binary | None) -> dict[str, Any]:
    """The document's parts that conditions are made of; what cannot be read matches by model and device alone."""
    try:
        document = json.loads(str(text))
        spec = document["spec"]
        return {
            "model": spec["model"],
            "provenance": document.get("provenance"),
            "environment": document.get("environment") or {},
            "spec": spec["agent_spec"],
            "device": spec["device"],
        }
    except (ValueError, KeyError, TypeError, AttributeError, RecursionError):
        return {}


def _fits(about: Mapping[str, Any], key: str, value: str) -> bool:
    if key in ("model", "device"):
        return True  # the query has looked at both
    if key == LABEL:
        return str((about.get("environment") or {}).get(LABEL)) == value
    if key == "sha256":
        return str((about.get("model") or {}).get("sha256", "")).startswith(value)
    if not about.get("spec"):
        return False
    found = conditions_of(about)
    if key not in found:
        raise UsageError(f"runs have no {key!r} to select by", f"Known are model, device, label, {', '.join(found)}.")
    return found[key] == value
