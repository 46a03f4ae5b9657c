"""Other makers of TFLite files, each in an environment of its own, made once beside the downloaded models."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
import tempfile
from dataclasses import dataclass
from pathlib import Path

from tests.support.real_models import folder

ONNX2TF = ("onnx2tf==2.6.9",)  # needs Python 3.12 at least
QUANTIZER = ("ai-edge-quantizer==0.10.0",)
_QUANTIZE = """
import sys, numpy as np
from ai_edge_quantizer import quantizer, recipe
from ai_edge_litert.interpreter import Interpreter
source, images, output = sys.argv[1:]
interpreter = Interpreter(model_path=source)
signatures = interpreter.get_signature_list()
key = next(iter(signatures))
name = signatures[key]["inputs"][0]
channels_last = interpreter.get_input_details()[0]["shape"][-1] == 3
images = np.load(images)
images = np.ascontiguousarray(images.transpose(0, 2, 3, 1)) if channels_last else images
data = [{name: image[None]} for image in images]
work = quantizer.Quantizer(source, recipe.static_wi8_ai8())
result = work.quantize(work.calibrate({key: data}))
open(output, "wb").write(result.quantized_model)
"""

_LITERT_TORCH = """
import sys
code, weights, output = sys.argv[1:]
sys.path.insert(0, code)
import torch, litert_torch
from efficientnet_lite_pytorch import EfficientNet
model = EfficientNet.from_name("efficientnet-lite0")
model.load_state_dict(torch.load(weights, map_location="cpu", weights_only=True))
litert_torch.convert(model.eval(), (torch.zeros(1, 3, 224, 224),)).export(output)
"""

_LAUNCH = """
import json, os, subprocess, sys, time
found, limit_s, command = sys.argv[1], float(sys.argv[2]), sys.argv[3:]
start, status = time.perf_counter(), None
process = subprocess.Popen(command)
while True:
    pid, ended, usage = os.wait4(process.pid, os.WNOHANG)
    if pid:
        status = os.waitstatus_to_exitcode(ended)
        break
    if time.perf_counter() - start > limit_s:
        process.kill()
        _, _, usage = os.wait4(process.pid, 0)
        break
    time.sleep(0.01)
cost = {"status": status, "seconds": time.perf_counter() - start, "peak_bytes": usage.ru_maxrss * 1024}
with open(found, "w") as stream:
    json.dump(cost, stream)
"""


class Missing(Exception):
    """A peer cannot be had here; the message says why."""


@dataclass(frozen=True)
class Cost:
    """What a process took: wall time, and its peak resident memory."""

    seconds: float
    peak_bytes: int


def environment(name: str, requirements: tuple[str, ...], newest_python: bool = False) -> Path:
    """The Python of a peer's environment. EDGEWISE_PEER_<NAME> names one that exists already."""
    given = os.environ.get(f"EDGEWISE_PEER_{name.upper()}")
    if given:
        return Path(given)
    place = folder() / f"peer-{name}"
    if not (place / ".installed").is_file():
        python = _python_312() if newest_python else sys.executable
        subprocess.run([python, "-m", "venv", place], check=True, timeout=120)
        command = [place / "bin/python", "-m", "pip", "install", "--quiet", *requirements]
        done = subprocess.run(command, capture_output=True, text=True, timeout=900)
        if done.returncode:
            raise Missing(f"{' '.join(requirements)} cannot be installed: {done.stderr.strip().splitlines()[-1]}")
        (place / ".installed").touch()
    return place / "bin/python"


def _python_312() -> str:
    for name in ("python3.12", "python3.13"):
        found = shutil.which(name)
        if found and not subprocess.run([found, "--version"], capture_output=True, timeout=30).returncode:
            return found
    raise Missing("onnx2tf needs Python 3.12 or 3.13, and there is none here")


def measured(command: list[str | Path], limit_s: float, cwd: Path | None = None) -> Cost:
    """Runs a command: what it took. Missing with its last words when it fails or takes too long.

    A small process starts it: Linux counts what the starting process held before into a program's peak (execve keeps
    ru_maxrss), and a benchmark holds much.
    """
    with tempfile.TemporaryDirectory() as name:
        found, words = Path(name) / "cost.json", Path(name) / "log"
        with words.open("w") as log:
            launched = [sys.executable, "-I", "-S", "-c", _LAUNCH, found, str(limit_s), *command]
            subprocess.run(launched, stdout=log, stderr=subprocess.STDOUT, cwd=cwd, timeout=limit_s + 60, check=False)
        lines = [line for line in words.read_text(errors="replace").splitlines() if line.strip()]
        if not found.is_file():
            raise Missing(f"could not be started: {(lines or [''])[-1][:160]}")
        cost = json.loads(found.read_text())
    if cost["status"] is None:
        raise Missing(f"took longer than {limit_s:.0f} s")
    if cost["status"]:
        raise Missing(f"exit status {cost['status']}: {(lines or [''])[-1][:160]}")
    return Cost(cost["seconds"], cost["peak_bytes"])


def onnx2tf(source: Path, work: Path, shapes: dict[str, tuple[int, ...]] | None = None) -> tuple[Path, Cost]:
    """The float32 file that onnx2tf makes of a copy of the model, since it rewrites what it is given.

    ``shapes`` fixes the inputs' shapes. Missing when it makes none.
    """
    python = environment("onnx2tf", ONNX2TF, newest_python=True)
    work.mkdir(parents=True, exist_ok=True)
    copy = work / source.name
    shutil.copyfile(source, copy)
    command = [python.parent / "onnx2tf", "-i", copy, "-o", work / "out", "-tb", "flatbuffer_direct", "-n"]
    if shapes:
        command += ["-ois", *(f"{name}:{','.join(map(str, shape))}" for name, shape in shapes.items())]
    cost = measured(command, 300, work)
    found = sorted((work / "out").glob("*float32.tflite"))
    if not found:
        raise Missing("made no float32 file")
    return found[0], cost


def quantizer(source: Path, images: Path, output: Path) -> Cost:
    """ai-edge-quantizer's static int8 of a float file, calibrated with an .npy of images [n, 3, height, width]."""
    python = environment("quantizer", QUANTIZER)
    return measured([python, "-c", _QUANTIZE, source, images, output], 300, output.parent)


def litert_torch(code: Path, weights: Path, output: Path) -> Cost:
    """litert-torch's float file of EfficientNet-Lite0, its batch 1. Its environment (2 GB) is never made here."""
    given = os.environ.get("EDGEWISE_PEER_LITERT_TORCH")
    if not given:
        raise Missing("EDGEWISE_PEER_LITERT_TORCH names no Python with litert-torch")
    return measured([given, "-c", _LITERT_TORCH, code, weights, output], 600, output.parent)
