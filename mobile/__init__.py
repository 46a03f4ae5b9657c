"""edgewise on the host: inventory, transports, push, benchmarks, results, reports, command line.

The names below are the Python API; they are loaded when first used, so that `import mobile` starts no runtime::

    from mobile import bench, load_inventory
    result = bench(["model.onnx"], on=["local"])
    print(result.to_json()["runs"][0]["latency_s"]["p50"])
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from mobile.benchmark import BenchOptions, BenchResult, ConditionOptions, bench, evaluate
    from mobile.errors import EdgewiseError
    from mobile.inventory import Device, Inventory, load_inventory
    from mobile.results.figures import figures
    from mobile.results.run import Run
    from mobile.results.store import RunStore
    from mobile.transports import open_transport
    from mobile.transports.fake import FakeTransport

__version__ = "0.1.0"

_HOMES = {
    "BenchOptions": "mobile.benchmark",
    "BenchResult": "mobile.benchmark",
    "ConditionOptions": "mobile.benchmark",
    "Device": "mobile.inventory",
    "EdgewiseError": "mobile.errors",
    "FakeTransport": "mobile.transports.fake",
    "Inventory": "mobile.inventory",
    "Run": "mobile.results.run",
    "RunStore": "mobile.results.store",
    "bench": "mobile.benchmark",
    "evaluate": "mobile.benchmark",
    "figures": "mobile.results.figures",
    "load_inventory": "mobile.inventory",
    "open_transport": "mobile.transports",
}

__all__ = [
    "BenchOptions", "BenchResult", "ConditionOptions", "Device", "EdgewiseError", "FakeTransport", "Inventory", "Run",
    "RunStore", "__version__", "bench", "evaluate", "figures", "load_inventory", "open_transport",
]  # fmt: skip


def __getattr__(name: str) -> Any:
    home = _HOMES.get(name)
    if home is None:
        raise AttributeError(f"module 'mobile' has no attribute {name!r}")
    return getattr(importlib.import_module(home), name)
