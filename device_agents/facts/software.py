"""The software that can run models here: this Python, its C library, and the runtimes it can import."""

import glob
import json
import os
import signal
import struct
import subprocess
import sys
from typing import Any, Dict, List, Optional, Sequence, Tuple

# name -> (distributions that carry it, module to import)
RUNTIMES = {
    "onnxruntime": (
        (
            "onnxruntime",
            "onnxruntime-gpu",
            "onnxruntime-openvino",
            "onnxruntime-qnn",
            "onnxruntime-directml",
            "onnxruntime-training",
        ),
        "onnxruntime",
    ),
    "ai_edge_litert": (("ai-edge-litert", "ai-edge-litert-nightly"), "ai_edge_litert.interpreter"),
    "tflite_runtime": (("tflite-runtime", "tflite-runtime-nightly"), "tflite_runtime.interpreter"),
    "numpy": (("numpy",), "numpy"),
}

PROBE_TIMEOUT_S = 60.0  # a first import from an SD card takes tens of seconds

# Runs in a process of its own: a runtime may crash on import, and it must not live in the supervisor.
_PROBE = """
import importlib, json, sys
sys.path[:] = json.loads(sys.argv[2]) + [folder for folder in sys.path if folder]  # not the working folder
try:
    module = importlib.import_module(sys.argv[1])
except BaseException as error:
    answer = {"error": "{}: {}".format(type(error).__name__, error)}
else:
    listed = getattr(module, "get_available_providers", None)
    version = getattr(sys.modules[sys.argv[1].split(".")[0]], "__version__", None)
    answer = {"version": version if isinstance(version, str) else None, "providers": list(listed()) if listed else []}
sys.stdout.write("\\n@edgewise " + json.dumps(answer) + "\\n")
"""


def python() -> Dict[str, Any]:
    """This interpreter: {version, executable, bits}."""
    return {
        "version": "{}.{}.{}".format(*sys.version_info[:3]),
        "executable": sys.executable or None,
        "bits": struct.calcsize("P") * 8,
    }


def libc(root: str) -> Tuple[Optional[str], Optional[str]]:
    """The C library this interpreter was started with ("glibc 2.36", "musl", "bionic")."""
    try:
        version = os.confstr("CS_GNU_LIBC_VERSION")
    except (AttributeError, ValueError, OSError):
        version = None
    if version:
        return version, None
    if hasattr(sys, "getandroidapilevel") or os.path.exists("/system/bin/linker64"):
        return "bionic", None
    if glob.glob("/lib/ld-musl-*"):
        return "musl", None
    return None, "the C library does not say its name"


def runtimes(python_path: Sequence[str] = (), probe: bool = False) -> List[Dict[str, Any]]:
    """The runtimes found: [{name, version, providers, python_path, error}].

    ``python_path`` of an entry is the folder it was found in when that is one of the given ones, else null. Without
    ``probe`` nothing is imported: providers are empty and error is null.
    """
    found = []
    for name, (distributions, module) in RUNTIMES.items():
        version, folder = _installed(distributions, module.split(".")[0], python_path)
        if folder is None:
            continue
        entry: Dict[str, Any] = {
            "name": name,
            "version": version,
            "providers": [],
            "python_path": folder if folder in python_path else None,
            "error": None,
        }
        if probe:
            answer = _probe(module, python_path)
            entry["providers"] = answer.get("providers", [])
            entry["error"] = answer.get("error")
            entry["version"] = version or answer.get("version")
        found.append(entry)
    return found


def _installed(
    distributions: Sequence[str], package: str, python_path: Sequence[str]
) -> Tuple[Optional[str], Optional[str]]:
    """(version or None, folder or None): the first folder of the import path that holds the package."""
    import importlib.metadata  # here: it costs 30 ms, and a run without facts does not need it

    for folder in list(python_path) + sys.path:
        if not folder or not os.path.isdir(os.path.join(folder, package)):
            continue
        for name in distributions:
            for distribution in importlib.metadata.distributions(name=name, path=[folder]):
                version = _version(distribution)
                if version:
                    return version, folder
        return None, folder
    return None, None


def _version(distribution: Any) -> Optional[str]:
    # A damaged METADATA file gives no version, or (before Python 3.10) none of the expected headers.
    try:
        version = distribution.version
    except (KeyError, ValueError, OSError):
        return None
    return version if isinstance(version, str) else None


def _probe(module: str, python_path: Sequence[str]) -> Dict[str, Any]:
    command = [sys.executable, "-c", _PROBE, module, json.dumps(list(python_path))]
    environment = dict(os.environ, ORT_DISABLE_TELEMETRY="1")
    try:
        result = subprocess.run(
            command,
            env=environment,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            timeout=PROBE_TIMEOUT_S,
            check=False,
        )
    except subprocess.TimeoutExpired:
        return {"error": "importing {} took longer than {:g} s".format(module, PROBE_TIMEOUT_S)}
    except OSError as error:
        return {"error": "a process for importing {} could not be started: {}".format(module, error)}
    return _answer(module, result.returncode, result.stdout, result.stderr)


def _answer(module: str, code: int, stdout: bytes, stderr: bytes) -> Dict[str, Any]:
    for line in stdout.decode("utf-8", "replace").splitlines():
        if line.startswith("@edgewise "):
            answer = json.loads(line[len("@edgewise ") :])
            return dict(answer) if isinstance(answer, dict) else {}
    if code < 0:
        try:
            name = signal.Signals(-code).name
        except ValueError:
            name = "signal {}".format(-code)
        return {"error": "importing {} was ended by {}".format(module, name)}
    last = (stderr.decode("utf-8", "replace").strip().splitlines() or ["no message"])[-1]
    return {"error": "importing {} failed with exit code {}: {}".format(module, code, last[:200])}
