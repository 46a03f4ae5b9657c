"""Small TFLite programs for tests, and the older runtime in its own environment."""

from __future__ import annotations

import os
import subprocess
from pathlib import Path

import numpy as np
import pytest

from exporters.tflite import flat
from exporters.tflite.ir import NO_TENSOR, Graph, Operator, Program, Tensor
from exporters.tflite.running import LiteSession

ROOT = Path(__file__).resolve().parents[2]
# Read once, since the tests' fixtures clear the environment of edgewise's variables.
OLD_PYTHON = Path(os.environ.get("EDGEWISE_TFLITE_PYTHON", ROOT / ".venv-tflite/bin/python"))
_RUN = """
import sys, numpy as np
from tflite_runtime.interpreter import Interpreter
feeds = np.load(sys.argv[2])
interpreter = Interpreter(model_path=sys.argv[1], num_threads=1)
for entry in interpreter.get_input_details():
    interpreter.resize_tensor_input(entry["index"], feeds[entry["name"]].shape, strict=False)
interpreter.allocate_tensors()
for entry in interpreter.get_input_details():
    interpreter.set_tensor(entry["index"], feeds[entry["name"]])
interpreter.invoke()
np.savez(sys.argv[3], *[interpreter.get_tensor(entry["index"]) for entry in interpreter.get_output_details()])
"""


class Refused(Exception):
    """The older runtime refuses a model, or ends with it."""


class OldRuntime:
    """tflite-runtime 2.14 in the environment that `make tflite` makes. Inputs are fed by tensor name."""

    def __init__(self, python: Path, folder: Path) -> None:
        self._python, self._folder = python, folder

    def run(self, content: bytes, feeds: dict[str, np.ndarray]) -> list[np.ndarray]:
        model, given, found = (self._folder / name for name in ("model.tflite", "in.npz", "out.npz"))
        model.write_bytes(content)
        np.savez(given, **feeds)
        found.unlink(missing_ok=True)
        command = [self._python, "-c", _RUN, model, given, found]
        done = subprocess.run(command, capture_output=True, text=True, timeout=110)
        if done.returncode:
            last = (done.stderr.strip().splitlines() or [""])[-1]
            raise Refused(f"exit status {done.returncode}: {last}")
        with np.load(found) as arrays:
            return [arrays[name] for name in arrays.files]


def old_runtime(folder: Path) -> OldRuntime:
    """The older runtime, or a skip that says how to get it."""
    if not OLD_PYTHON.is_file():
        pytest.skip(f"no environment with tflite-runtime at {OLD_PYTHON}: `make test` makes it (Python 3.11 at most)")
    return OldRuntime(OLD_PYTHON, folder)


def run_new(program: Program, feeds: dict[str, np.ndarray]) -> list[np.ndarray]:
    """The outputs in LiteRT."""
    return LiteSession(flat.to_bytes(program), "the model").run(feeds)


class Net:
    """Builds a program: tensors by their numbers, "x0", "x1" as inputs."""

    def __init__(self) -> None:
        self.graph = Graph()
        self.random = np.random.default_rng(0)

    def input(self, *shape: int, dtype: str = "float32", signature: tuple[int, ...] | None = None) -> int:
        place = self._tensor(Tensor(f"x{len(self.graph.inputs)}", shape, dtype, signature))
        self.graph.inputs.append(place)
        return place

    def tensor(self, name: str, shape: tuple[int, ...], dtype: str = "float32") -> int:
        """A computed tensor, such as an operator's second output."""
        return self._tensor(Tensor(name, shape, dtype))

    def _tensor(self, tensor: Tensor) -> int:
        self.graph.tensors.append(tensor)
        return len(self.graph.tensors) - 1

    def const(self, values: np.ndarray, **more: object) -> int:
        values = np.asarray(values)
        name = f"c{len(self.graph.tensors)}"
        return self._tensor(Tensor(name, values.shape, str(values.dtype), data=values, **more))  # type: ignore[arg-type]

    def weights(self, *shape: int, spread: float = 1.0) -> int:
        """Normal weights whose rows differ in size, so that scales per row matter."""
        values = self.random.normal(size=shape) * spread
        values *= np.linspace(0.2, 2.0, shape[0]).reshape(-1, *[1] * (len(shape) - 1))
        return self.const(values.astype(np.float32))

    def op(
        self, name: str, inputs: list[int], shape: tuple[int, ...], dtype: str = "float32", **options: object
    ) -> int:
        place = self._tensor(Tensor(f"t{len(self.graph.tensors)}", shape, dtype))
        self.graph.operators.append(Operator(name, inputs, [place], options))
        return place

    def conv(self, x: int, out: int, stride: int = 1, activation: str = "RELU6") -> int:
        batch, height, width, channels = self.graph.tensors[x].shape
        inputs = [x, self.weights(out, 3, 3, channels, spread=0.3), self.const(np.ones(out, np.float32))]
        shape = (batch, -(-height // stride), -(-width // stride), out)
        return self.op(
            "CONV_2D", inputs, shape, padding="SAME", stride_w=stride, stride_h=stride,
            fused_activation_function=activation,
        )  # fmt: skip

    def dense(self, x: int, out: int, bias: bool = True) -> int:
        shape = self.graph.tensors[x].shape
        inputs = [x, self.weights(out, shape[-1], spread=0.2)]
        inputs.append(self.const(self.random.normal(size=out).astype(np.float32)) if bias else NO_TENSOR)
        return self.op("FULLY_CONNECTED", inputs, (*shape[:-1], out), keep_num_dims=len(shape) > 2)

    def program(self, *outputs: int) -> Program:
        self.graph.outputs = list(outputs)
        names = [self.graph.tensors[place].name for place in self.graph.inputs]
        return Program([self.graph], input_names=names, output_names=[f"y{at}" for at in range(len(outputs))])

    def feeds(self) -> dict[str, np.ndarray]:
        found = {}
        for place in self.graph.inputs:
            tensor = self.graph.tensors[place]
            found[tensor.name] = self.random.normal(size=tensor.shape).astype(tensor.dtype)
        return found


def error(want: np.ndarray, have: np.ndarray) -> float:
    """||have - want|| / ||want||."""
    return float(np.linalg.norm(have.astype(np.float64) - want) / np.linalg.norm(want))
