"""Every family of compressed weights as it arrives: file, load, memory, speed. `python -m benchmarks.families`.

Eight matrix products of 2048 x 2048 with random codes, one thread, each model in a process of its own: size of the
file, seconds to load, resident memory added, what of it is held once the C library has given freed memory back
(malloc_trim), and its peak (MB), fastest of many runs at 1, 16 and 128 rows (ms), and how
many times float32 that is. Lines that begin with "naive" are what an exporter writes that does not know the traps:
weights unpacked by bit operations, bit planes, a shared weight through DequantizeLinear, pruned blocks by ScatterND.

`--only TEXT,...` takes the families that begin so; `--target` lowers for an older release; `--python` measures with
another interpreter, which has that release.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import onnx_ir as ir
from onnx import TensorProto, helper, numpy_helper

from exporters.carriers.base import Wishes
from exporters.carriers.packing import pack
from exporters.compress import tensors as families
from exporters.lowering import lower
from exporters.targets import Target, parse_target

LAYERS, SIDE = 8, 2048
ROWS = (1, 16, 128)
MEASURE = """
import ctypes, json, os, sys, time
os.environ["ORT_DISABLE_TELEMETRY"] = "1"
import numpy as np, onnxruntime as ort
ort.set_default_logger_severity(4)
def status(key):
    with open("/proc/self/status") as stream:
        return next(int(line.split()[1]) / 1000 for line in stream if line.startswith(key))
options = ort.SessionOptions()
options.intra_op_num_threads, options.log_severity_level = 1, 4
before, start = status("VmRSS"), time.perf_counter()
session = ort.InferenceSession(sys.argv[1], options, providers=["CPUExecutionProvider"])
load, after, peak = time.perf_counter() - start, status("VmRSS"), status("VmHWM")
ctypes.CDLL(None).malloc_trim(0)
held = status("VmRSS")
times = []
for rows in map(int, sys.argv[2].split(",")):
    x = np.random.default_rng(1).standard_normal((rows, int(sys.argv[3])), dtype=np.float32)
    session.run(None, {"x": x})
    taken, end = [], time.perf_counter() + 0.5
    while time.perf_counter() < end or len(taken) < 3:
        begin = time.perf_counter()
        session.run(None, {"x": x})
        taken.append(time.perf_counter() - begin)
    times.append(min(taken) * 1e3)
print(json.dumps([load, after - before, held - before, peak - before, times]))
"""


def float_model(weights: list[np.ndarray] | None = None) -> onnx.ModelProto:
    """The chain of products; weights are seeded numbers where none are given."""
    random = np.random.default_rng(0)
    arrays = weights or [random.standard_normal((SIDE, SIDE), dtype=np.float32) / 45 for _ in range(LAYERS)]
    names = ["x", *(f"h{number}" for number in range(LAYERS - 1)), "y"]
    nodes = [helper.make_node("MatMul", [names[n], f"w{n % len(arrays)}"], [names[n + 1]]) for n in range(LAYERS)]
    return graph_of(nodes, [numpy_helper.from_array(array, f"w{n}") for n, array in enumerate(arrays)], 18)


def graph_of(nodes: list[Any], stored: list[Any], opset: int) -> onnx.ModelProto:
    """A model of these nodes from x [m, SIDE] to y."""
    ends = [helper.make_tensor_value_info(name, TensorProto.FLOAT, ["m", SIDE]) for name in "xy"]
    graph = helper.make_graph(nodes, "families", ends[:1], ends[1:], stored)
    imports = [helper.make_opsetid("", opset), helper.make_opsetid("com.microsoft", 1)]
    return helper.make_model(graph, opset_imports=imports, ir_version=8 if opset < 21 else 10)


def _scale(random: np.random.Generator, groups: int = 1) -> np.ndarray:
    return ((random.random((SIDE, groups), dtype=np.float32) + 0.5) / 45).astype(np.float32)


def _codes(random: np.random.Generator, low: int, high: int, kind: type) -> np.ndarray:
    return random.integers(low, high, (SIDE, SIDE)).astype(kind)


Maker = Callable[[str, np.random.Generator], families.CompressedTensor]


def _affine(width: int, group: int) -> Maker:
    half = 1 << (width - 1)

    def make(name: str, random: np.random.Generator) -> families.CompressedTensor:
        codes = _codes(random, -half, half, np.int8)
        scales = _scale(random, SIDE // group) / max(1, half // 2)
        return families.Affine(name, (SIDE, SIDE), 1, codes, scales.astype(np.float32), group, width, True)

    return make


def _blocks(uneven: bool) -> Maker:
    def make(name: str, random: np.random.Generator) -> families.CompressedTensor:
        side = SIDE // 64
        mask = random.random((side, side)) < 0.25
        if not uneven:
            mask = np.argsort(np.argsort(random.random((side, side)), 1), 1) < side // 4
        values = random.standard_normal((int(mask.sum()), 64, 64), dtype=np.float32) / 22
        return families.Blocks(name, (SIDE, SIDE), 1, (64, 64), mask, values)

    return make


def _sparse(name: str, random: np.random.Generator) -> families.CompressedTensor:
    order = np.argsort(random.random((SIDE, SIDE // 4, 4)), 2) < 2
    mask = order.reshape(SIDE, SIDE)
    return families.Sparse(
        name, (SIDE, SIDE), 1, mask, random.standard_normal(int(mask.sum()), dtype=np.float32) / 32, (2, 4)
    )


def _emulated(form: str) -> Maker:
    def make(name: str, random: np.random.Generator) -> families.CompressedTensor:
        values = random.standard_normal((SIDE, SIDE), dtype=np.float32) / 45
        scales = None
        if form.startswith("mx"):
            scales = np.full((SIDE, SIDE // 32), 2.0**-6, np.float32)
            values = values * 64
        codes = families.float_format(form).encode(values)
        return families.Emulated(name, (SIDE, SIDE), 1, codes, form, scales)

    return make


def _with(kind: Any, *arrays: Callable[[np.random.Generator], Any]) -> Maker:
    return lambda name, random: kind(name, (SIDE, SIDE), 1, *(make(random) for make in arrays))


MAKERS: dict[str, Maker] = {
    "int8": _affine(8, SIDE), "int8 g128": _affine(8, 128), "int4 g128": _affine(4, 128), "int2 g128": _affine(2, 128),
    "1-bit": _with(families.Binary, lambda r: _codes(r, 0, 2, np.uint8), _scale, lambda r: SIDE),
    "ternary": _with(families.Ternary, lambda r: _codes(r, -1, 2, np.int8), _scale, lambda r: SIDE),
    "ternary, trits": _with(
        families.Ternary, lambda r: _codes(r, -1, 2, np.int8), _scale, lambda r: SIDE, lambda r: True
    ),
    "dual binary": _with(
        families.DualBinary, lambda r: _codes(r, 0, 2, np.uint8), lambda r: _codes(r, 0, 2, np.uint8), _scale, _scale,
        lambda r: SIDE,
    ),
    "power of two": _with(
        families.PowerOfTwo, lambda r: _codes(r, 0, 4, np.uint8) + 8 * _codes(r, 0, 2, np.uint8), _scale, lambda r: SIDE
    ),
    "power of two e8": _with(families.PowerOfTwo, lambda r: _codes(r, 0, 16, np.uint8), _scale, lambda r: SIDE),
    "3-bit": _affine(3, 128), "5-bit": _affine(5, 128), "6-bit": _affine(6, 128), "7-bit": _affine(7, 128),
    "codebook 16": _with(
        families.Codebook, lambda r: _codes(r, 0, 16, np.uint8), lambda r: r.standard_normal(16).astype(np.float32) / 45
    ),
    "codebook 256": _with(
        families.Codebook, lambda r: _codes(r, 0, 256, np.uint8),
        lambda r: r.standard_normal(256).astype(np.float32) / 45,
    ),
    "block-pruned 75 %": _blocks(False), "block-pruned 75 % uneven": _blocks(True), "2:4": _sparse,
    "low rank 256": _with(
        families.LowRank, lambda r: r.standard_normal((SIDE, 256)).astype(np.float32) / 16,
        lambda r: r.standard_normal((256, SIDE)).astype(np.float32) / 45,
    ),
    "fp16": _emulated("fp16"), "bf16": _emulated("bf16"), "fp8e4m3": _emulated("fp8e4m3"), "mxfp4": _emulated("mxfp4"),
    "mxfp6e3m2": _emulated("mxfp6e3m2"),
}  # fmt: skip


def carried(maker: Maker, target: Target | None, dynamic: bool = False, shared: bool = False) -> onnx.ModelProto:
    """The chain with every weight in its carrier; ``shared``: one weight for all layers."""
    zero = np.zeros((SIDE, SIDE), np.float32)
    model = ir.from_proto(float_model([zero + number for number in range(1 if shared else LAYERS)]))
    random = np.random.default_rng(2)
    made = {f"w{n}": maker(f"w{n}", random) for n in range(1 if shared else LAYERS)}
    lower(model, families.CompressedModel(made), target, Wishes(dynamic=dynamic))
    return ir.to_proto(model)


def models(target: Target | None) -> Iterator[tuple[str, Callable[[], onnx.ModelProto]]]:
    """(label, maker of the model) of every line of the table."""
    yield "float32", float_model
    yield "int8 MatMulInteger", lambda: carried(MAKERS["int8"], target, True)
    for name, maker in MAKERS.items():
        yield name, lambda maker=maker: carried(maker, target)  # type: ignore[misc]
    yield "1-bit for many rows", lambda: carried(MAKERS["1-bit"], target, True)
    yield (
        "shared float32",
        lambda: float_model([np.random.default_rng(0).standard_normal((SIDE, SIDE), np.float32) / 45]),
    )
    yield "shared int4 g128", lambda: carried(MAKERS["int4 g128"], target, shared=True)
    yield "naive 1-bit, bit operations", lambda: naive_bits(1)
    yield "naive 5-bit, bit planes", lambda: naive_bits(5)
    yield "naive shared int4, DequantizeLinear", naive_shared
    yield "naive block-pruned, ScatterND", naive_blocks


def naive_bits(bits: int) -> onnx.ModelProto:
    """Bit planes, shifted out one weight at a time, summed, scaled: float32 for 1 bit, int8 otherwise."""
    random, nodes = np.random.default_rng(3), []
    stored = [numpy_helper.from_array(np.arange(8, dtype=np.uint8).reshape(1, 1, 8), "shifts")]
    stored += [numpy_helper.from_array(np.array(1, np.uint8), "one")]
    stored += [numpy_helper.from_array(np.array([SIDE, SIDE]), "shape")]
    for layer in range(LAYERS):
        total = ""
        for plane in range(bits):
            key = f"{layer}.{plane}"
            packed = pack(_codes(random, 0, 2, np.uint8), 1)[:, :, None]
            stored.append(numpy_helper.from_array(packed, f"packed{key}"))
            stored.append(numpy_helper.from_array(np.array((1 << plane) / 45, np.float32), f"weight{key}"))
            nodes += [
                helper.make_node("BitShift", [f"packed{key}", "shifts"], [f"shifted{key}"], direction="RIGHT"),
                helper.make_node("BitwiseAnd", [f"shifted{key}", "one"], [f"bit{key}"]),
                helper.make_node("Cast", [f"bit{key}"], [f"float{key}"], to=TensorProto.FLOAT),
                helper.make_node("Mul", [f"float{key}", f"weight{key}"], [f"part{key}"]),
            ]
            if total:
                nodes.append(helper.make_node("Add", [total, f"part{key}"], [f"sum{key}"]))
            total = f"sum{key}" if total else f"part{key}"
        nodes.append(helper.make_node("Reshape", [total, "shape"], [f"full{layer}"]))
        nodes.append(helper.make_node("MatMul", [_name(layer), f"full{layer}"], [_name(layer + 1)]))
    return graph_of(nodes, stored, 18)


def _name(layer: int) -> str:
    return "x" if layer == 0 else "y" if layer == LAYERS else f"h{layer}"


def naive_shared() -> onnx.ModelProto:
    """One int4 initialiser and one of scales, a DequantizeLinear for each layer."""
    random = np.random.default_rng(4)
    codes = pack(_codes(random, 0, 16, np.uint8), 4)
    weight = onnx.TensorProto(name="w", data_type=TensorProto.INT4, dims=[SIDE, SIDE], raw_data=codes.tobytes())
    scale = numpy_helper.from_array(np.full((SIDE // 128, SIDE), 1 / 180, np.float32), "s")
    nodes = []
    for layer in range(LAYERS):
        nodes.append(helper.make_node("DequantizeLinear", ["w", "s"], [f"w{layer}"], axis=0, block_size=128))
        nodes.append(helper.make_node("MatMul", [_name(layer), f"w{layer}"], [_name(layer + 1)]))
    return graph_of(nodes, [weight, scale], 21)


def naive_blocks() -> onnx.ModelProto:
    """Kept blocks scattered into zeros."""
    random, nodes, side = np.random.default_rng(5), [], SIDE // 64
    stored = [numpy_helper.from_array(np.array([side, side, 64, 64]), "grid")]
    stored.append(numpy_helper.from_array(np.array([SIDE, SIDE]), "shape"))
    zero = numpy_helper.from_array(np.zeros(1, np.float32))
    for layer in range(LAYERS):
        places = np.argwhere(random.random((side, side)) < 0.25)
        values = random.standard_normal((len(places), 64, 64), dtype=np.float32) / 22
        stored += [numpy_helper.from_array(places, f"places{layer}"), numpy_helper.from_array(values, f"blocks{layer}")]
        nodes += [
            helper.make_node("ConstantOfShape", ["grid"], [f"zeros{layer}"], value=zero),
            helper.make_node("ScatterND", [f"zeros{layer}", f"places{layer}", f"blocks{layer}"], [f"full{layer}"]),
            helper.make_node("Transpose", [f"full{layer}"], [f"turned{layer}"], perm=[0, 2, 1, 3]),
            helper.make_node("Reshape", [f"turned{layer}", "shape"], [f"w{layer}"]),
            helper.make_node("MatMul", [_name(layer), f"w{layer}"], [_name(layer + 1)]),
        ]
    return graph_of(nodes, stored, 18)


def measured(path: Path, python: str) -> tuple[float, float, float, float, list[float]] | str:
    """(load s, RSS MB, held MB, peak MB, ms by rows), or the last words of the runtime."""
    command = [python, "-c", MEASURE, str(path), ",".join(map(str, ROWS)), str(SIDE)]
    done = subprocess.run(command, capture_output=True, text=True, timeout=300, check=False)
    if done.returncode:
        return (done.stderr.strip().splitlines() or ["it was killed"])[-1][-100:]
    load, rss, held, peak, times = json.loads(done.stdout)
    return load, rss, held, peak, times


def main() -> None:
    """Prints the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--only", default="", help="families, comma separated")
    parser.add_argument("--target", default="ort:1.32")
    parser.add_argument("--python", default=sys.executable)
    asked = parser.parse_args()
    wanted = tuple(part.strip() for part in asked.only.split(",") if part.strip())
    print(f"lowered for {asked.target}; {LAYERS} products of {SIDE} x {SIDE}, one thread\n")
    print("| family | file MB | load s | RSS+ MB | held MB | peak+ MB | M=1 ms | M=16 ms | M=128 ms | times float32 |")
    print("|---|--:|--:|--:|--:|--:|--:|--:|--:|---|")
    base: list[float] | None = None
    with tempfile.TemporaryDirectory() as folder:
        for label, make in models(parse_target(asked.target)):
            if wanted and label != "float32" and not label.startswith(wanted):
                continue
            path = Path(folder) / "model.onnx"
            onnx.save(make(), path)
            found = measured(path, asked.python)
            size = path.stat().st_size / 1e6
            if isinstance(found, str):
                print(f"| {label} | {size:.2f} | refused: {found} |", flush=True)
                continue
            load, rss, held, peak, times = found
            base = base or times
            faster = " / ".join(f"{first / own:.2f}" for first, own in zip(base, times, strict=True))
            shown = " | ".join(f"{time:.2f}" for time in times)
            print(
                f"| {label} | {size:.2f} | {load:.3f} | {rss:.0f} | {held:.0f} | {peak:.0f} | {shown} | {faster} |",
                flush=True,
            )


if __name__ == "__main__":
    main()
