"""What an export takes beside onnxruntime's own need: memory and time. `python -m benchmarks.export_memory`.

A model with external data is made (2.7 GB: 40 layers of 4096 x 4096, float32) and exported by the command line, each
scheme in a process of its own. The runtime's own need is the peak of a bare process that loads the same file, or the
artifact, whichever takes more, and runs it once. The ratio is what the export had above that need, over the largest
tensor. Peaks are resident set sizes, the kernel's high-water mark (VmHWM, Linux), mapped pages of files included.

Then a graph of 2,000 nodes is exported, with and without a scheme. `--gigabytes`, `--side`, `--schemes` and `--folder`
change what is made and where; everything made is removed.
"""

from __future__ import annotations

import argparse
import shutil
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper

BARE = """
import os
os.environ["ORT_DISABLE_TELEMETRY"] = "1"
import numpy as np, onnxruntime as ort
ort.set_default_logger_severity(4)
session = ort.InferenceSession(sys.argv[2], providers=["CPUExecutionProvider"])
session.run(None, {"x": np.ones((2, int(sys.argv[3])), np.float32)})
"""
EXPORT = """
sys.argv[:2] = ["edgewise"]
from mobile.cli.main import entry
entry()
"""
PEAK = """
import atexit, sys
def peak(path):
    with open("/proc/self/status") as stream, open(path, "w") as file:
        file.write(next(line.split()[1] for line in stream if line.startswith("VmHWM")))
atexit.register(peak, sys.argv[1])
"""
GOAL = 1.2


def main() -> None:
    """Prints both tables."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--gigabytes", type=float, default=2.7)
    parser.add_argument("--side", type=int, default=4096)
    parser.add_argument("--schemes", default="none,int4,ternary,fp16", help="separated by commas; none: as it is")
    parser.add_argument("--folder", default=None, help="where the files are made; three times the model's size")
    asked = parser.parse_args()
    with tempfile.TemporaryDirectory(dir=asked.folder) as folder:
        _large(Path(folder), asked.gigabytes, asked.side, asked.schemes.split(","))
        _long(Path(folder))


def _large(folder: Path, gigabytes: float, side: int, schemes: list[str]) -> None:
    source = folder / "large.onnx"
    layers = max(1, round(gigabytes * 1e9 / (4 * side * side)))
    large_model(source, layers, side)
    largest = 4 * side * side / 1e6
    own = _run(BARE, folder, source, side)[0]
    print(
        f"{layers} layers of {side} x {side}, {layers * largest / 1e3:.2f} GB; the largest tensor has {largest:.0f} MB"
    )
    print(f"onnxruntime alone, source: {own:.0f} MB\n")
    print("| scheme | artifact MB | runtime alone, artifact MB | export peak MB | above / largest | goal | s |")
    print("|---|--:|--:|--:|--:|--:|--:|")
    for scheme in schemes:
        output = folder / "out" / "small.onnx"
        output.parent.mkdir()
        peak, took = _run(EXPORT, folder, *_arguments(source, output, scheme))
        size = sum(path.stat().st_size for path in output.parent.iterdir() if path.suffix != ".json") / 1e6
        alone = _run(BARE, folder, output, side)[0]
        ratio = (peak - max(own, alone)) / largest
        print(
            f"| {scheme} | {size:.0f} | {alone:.0f} | {peak:.0f} | {ratio:.2f} | <= {GOAL} | {took:.0f} |", flush=True
        )
        shutil.rmtree(output.parent)
    for path in folder.glob("large.*"):
        path.unlink()


def _long(folder: Path) -> None:
    source, output = folder / "long.onnx", folder / "short.onnx"
    long_model(source, 2000)
    print("\n| 2,000 nodes | peak MB | s |")
    print("|---|--:|--:|")
    for scheme in ("none", "int4:g=32"):
        peak, took = _run(EXPORT, folder, *_arguments(source, output, scheme))
        print(f"| {scheme} | {peak:.0f} | {took:.1f} |", flush=True)


def _arguments(source: Path, output: Path, scheme: str) -> list[str]:
    found = ["export", str(source), "-o", str(output)]
    return found if scheme == "none" else [*found, "--scheme", scheme]


def _run(program: str, folder: Path, *arguments: object) -> tuple[float, float]:
    """(peak MB, seconds) of a Python program. SystemExit when it fails."""
    start, seen = time.perf_counter(), folder / "peak"
    command = [sys.executable, "-c", PEAK + program, str(seen), *map(str, arguments)]
    done = subprocess.run(command, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True, check=False)
    if done.returncode:
        raise SystemExit(f"it ended with {done.returncode}: {done.stderr[-2000:]}")
    return int(seen.read_text()) * 1024 / 1e6, time.perf_counter() - start


def large_model(path: Path, layers: int, side: int) -> None:
    """Writes a chain of products with external data, one layer at a time in memory."""
    random, data = np.random.default_rng(0), path.with_suffix(".data")
    nodes, stored = [], []
    with data.open("wb") as stream:
        for layer in range(layers):
            offset = stream.tell()
            (random.standard_normal((side, side), dtype=np.float32) / np.float32(side**0.5)).tofile(stream)
            tensor = TensorProto(name=f"w{layer}", data_type=TensorProto.FLOAT, dims=[side, side])
            tensor.data_location = TensorProto.EXTERNAL
            for key, value in (("location", data.name), ("offset", offset), ("length", 4 * side * side)):
                tensor.external_data.add(key=key, value=str(value))
            stored.append(tensor)
            ends = ("x" if layer == 0 else f"h{layer}", "y" if layer == layers - 1 else f"h{layer + 1}")
            nodes.append(helper.make_node("MatMul", [ends[0], f"w{layer}"], [ends[1]], name=f"layer{layer}"))
    _save(nodes, stored, side, path)


def long_model(path: Path, count: int) -> None:
    """Writes a chain of ``count`` nodes: products of 64 x 64, sums and activations in turn."""
    random, side = np.random.default_rng(0), 64
    nodes, stored, value = [], [], "x"
    for number in range(count):
        result = "y" if number == count - 1 else f"v{number}"
        kind, inputs = ("MatMul", "Add", "Tanh", "Mul")[number % 4], [value]
        if kind != "Tanh":
            shape = (side, side) if kind == "MatMul" else (side,)
            weight = random.standard_normal(shape, dtype=np.float32) / np.float32(8)
            stored.append(numpy_helper.from_array(weight, f"w{number}"))
            inputs.append(f"w{number}")
        nodes.append(helper.make_node(kind, inputs, [result], name=f"n{number}"))
        value = result
    _save(nodes, stored, side, path)


def _save(nodes: list[onnx.NodeProto], stored: list[TensorProto], side: int, path: Path) -> None:
    ends = [helper.make_tensor_value_info(name, TensorProto.FLOAT, ["m", side]) for name in "xy"]
    graph = helper.make_graph(nodes, "memory", ends[:1], ends[1:], stored)
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)], ir_version=8)
    path.write_bytes(model.SerializeToString())


if __name__ == "__main__":
    main()
