"""Split packages for tests: of the example network, and of small networks made for one purpose."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import onnx

from device_agents.split import package as reading
from device_agents.split.frames import DTYPES, NUMPY_NAMES
from offload.model.halves import SERVER, part_model, parts_of
from offload.model.pieces import pieces_of

EXAMPLE = Path(__file__).parents[2] / "mobile/example/fashion_mnist.onnx"


def write_package(
    folder: Path,
    model: Any,
    placements: Mapping[str, Sequence[bool]],
    name: str = "net",
    ranges: Mapping[str, Any] | None = None,
    codec: str = "raw",
) -> reading.Package:
    """The package of a model with these placements ({id: which pieces are on the server}), in ``folder``."""
    graph = pieces_of(model.graph)
    inferred = onnx.shape_inference.infer_shapes(model, data_prop=True).graph
    infos = {value.name: value for value in (*inferred.value_info, *inferred.input, *inferred.output)}
    (folder / reading.PARTS).mkdir(parents=True)
    made = [_placement(folder, model, graph, key, sides, infos, codec) for key, sides in placements.items()]
    crossing = {name for one in made for part in one["parts"] for name in (*part["inputs"], *part["outputs"])}
    document: dict[str, Any] = {
        "schema": reading.SCHEMA,
        "kind": reading.KIND,
        "name": name,
        "model": {"name": name},
        "inputs": [{"name": key, **_typed(infos[key])} for key in graph.inputs],
        "outputs": [{"name": key, **_typed(infos[key])} for key in graph.outputs],
        "values": {key: _typed(infos[key]) for key in sorted(crossing)},
        "ranges": dict(ranges or {}),
        "placements": made,
        "table": None,
    }
    document["id"] = reading.identity(document)
    (folder / reading.MANIFEST).write_text(json.dumps(document))
    return reading.read(str(folder))


def example_package(folder: Path, name: str = "fashion", **more: Any) -> reading.Package:
    """The example network: p0 on the device, p1 cut in the middle, p2 before its last piece, p3 on the server."""
    model = onnx.load(EXAMPLE)
    count = len(pieces_of(model.graph).pieces)
    sides = {
        "p0": [False] * count,
        "p1": [index >= count // 2 for index in range(count)],
        "p2": [index >= count - 1 for index in range(count)],
        "p3": [True] * count,
    }
    return write_package(folder, model, sides, name, **more)


def server_package(folder: Path, model: Any, name: str = "net", **more: Any) -> reading.Package:
    """A model that runs on the server as a whole, as placement p1."""
    count = len(pieces_of(model.graph).pieces)
    return write_package(folder, model, {"p0": [False] * count, "p1": [True] * count}, name, **more)


def _placement(
    folder: Path, model: Any, graph: Any, key: str, sides: Sequence[bool], infos: Mapping[str, Any], codec: str
) -> dict[str, Any]:
    parts = []
    for part in parts_of(graph, sides):
        content = part_model(model, graph, part, infos).SerializeToString(deterministic=True)
        digest = hashlib.sha256(content).hexdigest()
        file = f"{reading.PARTS}/{digest[:16]}.onnx"
        (folder / file).write_bytes(content)
        parts.append(
            {
                "number": part.number,
                "place": part.place,
                "file": file,
                "sha256": digest,
                "size_bytes": len(content),
                "inputs": list(part.inputs),
                "outputs": list(part.outputs),
            }
        )
    crossings = [
        {"value": name, "up": True, "codec": codec}
        for part in parts
        if part["place"] == SERVER
        for name in part["inputs"]
    ]
    label = "split" if 0 < sum(sides) < len(sides) else ("server" if all(sides) else "device")
    return {"id": key, "label": label, "server": [], "parts": parts, "crossings": crossings}


def _typed(info: Any) -> dict[str, Any]:
    tensor = info.type.tensor_type
    dtype = onnx.helper.tensor_dtype_to_np_dtype(tensor.elem_type).name
    shape = [dim.dim_value if dim.HasField("dim_value") else -1 for dim in tensor.shape.dim]
    return {"dtype": DTYPES[NUMPY_NAMES.index(dtype)], "shape": shape}
