"""A real tritonserver with the server's parts of split packages, by way of nvidia-pytriton: `SCRIPT FOLDER...`.

A folder is a package, or a model repository as `edgewise split package --triton` writes it.

It runs in an environment of its own (`make pytriton`), of which pytriton, onnxruntime and numpy 1 are all. The wheel's
tritonserver has the Python backend alone, so the parts run in onnxruntime here, and not in Triton's own ONNX backend.
An input whose placement names a codec is bound as bytes and decoded by the model: that is what a Python backend can do.
The ports of HTTP and gRPC are printed as one line of JSON when all models answer.
"""

from __future__ import annotations

import json
import socket
import sys
from pathlib import Path
from typing import Any

import numpy as np
import onnxruntime
from pytriton.model_config import ModelConfig, Tensor
from pytriton.triton import Triton, TritonConfig

from device_agents.split.codecs import decode
from device_agents.split.frames import DTYPES, NUMPY_NAMES
from device_agents.split.package import MANIFEST, SERVER, Package, Part, Placement, Value, read


def free_port() -> int:
    """A port of the loopback that nobody has just now."""
    with socket.create_server(("127.0.0.1", 0)) as taken:
        return int(taken.getsockname()[1])


def tensor(value: Value) -> Tensor:
    """A value as Triton is told of it."""
    return Tensor(name=value.name, dtype=np.dtype(NUMPY_NAMES[DTYPES.index(value.dtype)]).type, shape=value.shape)


def bind(triton: Triton, package: Package, placement: Placement, part: Part) -> None:
    """One server part as a model."""
    known = {**{value.name: value for value in package.outputs + package.inputs}, **package.values}
    coded = [name for name in part.inputs if placement.codec(name, up=True) != "raw"]
    session = onnxruntime.InferenceSession(package.file_of(part), providers=["CPUExecutionProvider"])

    def infer(requests: list[Any]) -> list[dict[str, Any]]:
        found = []
        for request in requests:
            feeds = {name: np.ascontiguousarray(array) for name, array in request.data.items()}
            feeds.update({name: decode(feeds[name].tobytes(), 64 << 20) for name in coded})
            found.append(dict(zip(part.outputs, session.run(list(part.outputs), feeds), strict=True)))
        return found

    triton.bind(
        model_name=package.model_name(placement, part),
        infer_func=infer,
        inputs=[Tensor(name=n, dtype=np.uint8, shape=(-1,)) if n in coded else tensor(known[n]) for n in part.inputs],
        outputs=[tensor(known[name]) for name in part.outputs],
        config=ModelConfig(batching=False),
    )


def bind_model(triton: Triton, path: Path) -> None:
    """A model of a repository, as its ONNX file describes itself."""
    session = onnxruntime.InferenceSession(str(path), providers=["CPUExecutionProvider"])
    kinds = {"tensor(float)": np.float32, "tensor(float16)": np.float16, "tensor(uint8)": np.uint8}
    names = [value.name for value in session.get_outputs()]

    def shaped(value: Any) -> Tensor:
        dims = tuple(dim if isinstance(dim, int) else -1 for dim in value.shape)
        return Tensor(name=value.name, dtype=kinds[value.type], shape=dims)

    def infer(requests: list[Any]) -> list[dict[str, Any]]:
        return [dict(zip(names, session.run(names, dict(request.data)), strict=True)) for request in requests]

    triton.bind(
        model_name=path.parents[1].name,
        infer_func=infer,
        inputs=[shaped(value) for value in session.get_inputs()],
        outputs=[shaped(value) for value in session.get_outputs()],
        config=ModelConfig(batching=False),
    )


def main() -> None:
    """Serves until it is told to end."""
    ports = {"http": free_port(), "grpc": free_port()}
    config = TritonConfig(
        http_address="127.0.0.1",
        http_port=ports["http"],
        grpc_port=ports["grpc"],
        allow_metrics=False,
        log_verbose=0,
    )
    with Triton(config=config) as triton:
        for folder in map(Path, sys.argv[1:]):
            for path in sorted(folder.glob("*/1/model.onnx")):
                bind_model(triton, path)
        for package in (read(folder) for folder in sys.argv[1:] if (Path(folder) / MANIFEST).is_file()):
            for placement in package.placements.values():
                for part in placement.parts:
                    if part.place == SERVER:
                        bind(triton, package, placement, part)
        triton.run()
        print(json.dumps(ports), flush=True)
        sys.stdin.read()  # until whoever started it has gone


if __name__ == "__main__":
    main()
