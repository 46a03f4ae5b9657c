"""What loading a model costs: time and memory, measured in a process of its own.

Memory is resident set size (Linux: VmRSS and VmHWM of /proc/self/status) before and after the session is made, so that
the interpreter and the runtime's library do not count. On systems without /proc only the peak is known. A TFLite model
counts as loaded once its tensors are allocated: weights that its operators unpack are unpacked then.
"""

from __future__ import annotations

import json
import subprocess
import sys
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from mobile.errors import ExportError
from mobile.formats import sniff

_LIMIT_S = 300.0
_ONNX = """
os.environ["ORT_DISABLE_TELEMETRY"] = "1"
import onnxruntime as ort
ort.set_default_logger_severity(4)
runtime = "onnxruntime " + ort.__version__
options = ort.SessionOptions()
options.log_severity_level = 4
options.intra_op_num_threads = 1

def load(path):
    return ort.InferenceSession(path, options, providers=["CPUExecutionProvider"])
"""
_TFLITE = """
from importlib.metadata import version
from ai_edge_litert.interpreter import Interpreter
runtime = "LiteRT " + version("ai-edge-litert")

def load(path):
    interpreter = Interpreter(model_path=path, num_threads=1)
    interpreter.allocate_tensors()
    return interpreter
"""
_MEASURE = """
def status(key):
    try:
        with open("/proc/self/status") as stream:
            return next((int(line.split()[1]) * 1024 for line in stream if line.startswith(key)), None)
    except OSError:
        return None

before, start = status("VmRSS"), time.perf_counter()
loaded = load(sys.argv[1])
took, after, peak = time.perf_counter() - start, status("VmRSS"), status("VmHWM")
def less(value):
    return None if value is None or before is None else value - before
try:
    ctypes.CDLL(None).malloc_trim(0)
    held = less(status("VmRSS"))
except (OSError, AttributeError, TypeError):
    held = None
print(json.dumps({"runtime": runtime, "load_s": took, "rss_bytes": less(after), "peak_rss_bytes": less(peak),
                  "held_bytes": held}))
"""
_IMPORTS = "import ctypes, json, os, sys, time\n"
PROGRAM = _IMPORTS + _ONNX + _MEASURE
PROGRAM_TFLITE = _IMPORTS + _TFLITE + _MEASURE


@dataclass(frozen=True)
class Loading:
    """``load_s`` seconds to a session; ``rss_bytes`` and ``peak_rss_bytes`` added to the process, None: not known.

    ``held_bytes`` is what is left of the former once the C library has given freed memory back (glibc: malloc_trim).
    """

    runtime: str
    load_s: float
    rss_bytes: int | None
    peak_rss_bytes: int | None
    held_bytes: int | None = None

    def to_json(self) -> dict[str, Any]:
        """The evidence for a manifest."""
        return {"kind": "loading", "statement": "one load on the machine that exported, one thread", **asdict(self)}

    def said(self) -> str:
        """The figures in words."""
        memory = "memory unknown" if self.rss_bytes is None else f"{self.rss_bytes / 1e6:.1f} MB resident"
        held = "" if self.held_bytes is None else f" ({self.held_bytes / 1e6:.1f} MB without what is freed)"
        peak = "" if self.peak_rss_bytes is None else f", peak {self.peak_rss_bytes / 1e6:.1f} MB"
        return f"loads in {self.load_s:.3f} s with {self.runtime}: {memory}{held}{peak}"


def measure_loading(model: Path, python: str = sys.executable) -> Loading:
    """One load by a Python that has the runtime for the file: onnxruntime, or LiteRT for a .tflite file.

    ExportError with its last words when that fails.
    """
    program = PROGRAM_TFLITE if sniff(model) == "tflite" else PROGRAM
    try:
        done = subprocess.run(
            [python, "-c", program, str(model)], capture_output=True, text=True, timeout=_LIMIT_S, check=False
        )
    except (OSError, subprocess.TimeoutExpired) as error:
        raise ExportError(f"{model.name}: loading could not be measured: {error}") from error
    if done.returncode:
        last = (done.stderr.strip().splitlines() or ["no message"])[-1]
        raise ExportError(f"{model.name}: cannot be loaded in a process of its own: {last[:300]}")
    return Loading(**json.loads(done.stdout.strip().splitlines()[-1]))
