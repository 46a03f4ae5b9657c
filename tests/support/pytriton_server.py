"""A real tritonserver with the server's parts of split packages, by way of nvidia-pytriton: `SCRIPT PACKAGE...`.

It runs in an environment of its own (`make pytriton`), of which pytriton, onnxruntime and numpy 1 are all. The wheel's
tritonserver has the Python backend alone, so the parts run in onnxruntime here, and not in Triton's own ONNX backend.
An input whose placement names a codec is bound as bytes and decoded by the model: that is what a Python backend can do.
The ports of HTTP and gRPC are printed as one line of JSON when all models answer.
"""

from __future__ import annotations

import json
import socket
import sys
from typing import Any

import numpy as np
import onnxruntime
from pytriton.model_config import ModelConfig, Tensor
from pytriton.triton import Triton, TritonConfig

from device_agents.split.codecs import decode
from device_agents.split.frames import DTYPES, NUMPY_NAMES
from device_agents.split.package import SERVER, Package, Part, Placement, Value, read


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
        for package in map(read, sys.argv[1:]):
            for placement in package.placements.values():
                for part in placement.parts:
                    if part.place == SERVER:
                        bind(triton, package, placement, part)
        triton.run()
        print(json.dumps(ports), flush=True)
        sys.stdin.read()  # until whoever started it has gone


if __name__ == "__main__":
    main()
