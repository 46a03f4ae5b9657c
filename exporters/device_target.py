"""A target by the name of a device: the release of the runtime that is there, asked on the device itself."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from exporters.targets import parse_target
from mobile.errors import ExportError, UsageError

if TYPE_CHECKING:
    from mobile.inventory import Inventory

_RUNTIMES = {
    "onnx": {"onnxruntime": "onnxruntime"},
    "tflite": {
        "ai-edge-litert": "litert",
        "ai_edge_litert": "litert",
        "tflite-runtime": "tflite",
        "tflite_runtime": "tflite",
    },
}


def target_text(text: str, form: str, inventory: Inventory) -> str:
    """A release as it is written ("ort:1.19"); for the name of a device, the release of its runtime for that format.

    UsageError when it is neither, ExportError when the device has no such runtime, TransportError when it is not
    reached.
    """
    try:
        parse_target(text)
    except UsageError as error:
        if text not in inventory.devices:
            names = ", ".join(sorted(inventory.devices))
            raise UsageError(f"{error.message}, nor is it a device of the inventory ({names})", error.hint) from error
        return _of_device(text, form, inventory)
    return text


def _of_device(name: str, form: str, inventory: Inventory) -> str:
    from mobile.probe import probe_all

    (found,) = probe_all([inventory.device(name)])
    if found.error is not None:
        raise found.error
    return release_of(name, form, found.facts.get("runtimes") or [])


def release_of(name: str, form: str, runtimes: list[dict[str, Any]]) -> str:
    """The target of the first runtime in the device's own list that loads the format. ExportError when none does."""
    for runtime in runtimes:
        known = _RUNTIMES[form].get(str(runtime.get("name")))
        if known is not None and runtime.get("version"):
            return f"{known}=={runtime['version']}"
    have = ", ".join(f"{runtime.get('name')} {runtime.get('version') or 'unusable'}" for runtime in runtimes) or "none"
    raise ExportError(
        f"{name} has no runtime for {form} files (it has {have})", f"Put one there: edgewise setup {name}"
    )
