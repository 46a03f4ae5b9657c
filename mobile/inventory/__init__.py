"""Named devices, servers and links: devices.yaml, its models and its JSON Schema.

Names are loaded when they are asked for: ``import mobile.inventory`` alone loads neither pydantic nor YAML.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from mobile.inventory.inventory import Inventory, find_inventory, load_inventory
    from mobile.inventory.models import Device, Limits, Link, Server

__all__ = ["Device", "Inventory", "Limits", "Link", "Server", "find_inventory", "load_inventory"]

_MODELS = ("Device", "Limits", "Link", "Server")


def __getattr__(name: str) -> Any:
    if name not in __all__:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    from importlib import import_module

    return getattr(import_module(f"{__name__}.{'models' if name in _MODELS else 'inventory'}"), name)
