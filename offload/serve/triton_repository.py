"""The same models for a tritonserver: a model repository of ONNX files with their configurations.

A tritonserver knows nothing of codecs: where a placement has one, decoding is put in front of the tail as a part of the
model (offload.package.prologue), for the codecs that can be decoded so; the others are for the built-in server. Each
request runs alone (``max_batch_size: 0``): whether rows may be put together is not told by their shapes. Layout and
fields: triton-inference-server/common, protobuf/model_config.proto; server, docs/user_guide/model_repository.md.
"""

from __future__ import annotations

import http.client
import json
import shutil
import signal
import subprocess
import time
from collections.abc import Callable, Mapping
from pathlib import Path

from device_agents.split.package import SERVER, Placement, Value
from mobile.errors import EdgewiseError, ExportError, UsageError
from offload.package.prologue import CodedInput, coded_inputs, with_decoding
from offload.serve.messages import Refused
from offload.serve.models import Model
from offload.serve.server import Options

READY_S = 120.0
STOP_S = 40.0


def config(model: Model, frames: Mapping[str, int] | None = None) -> str:
    """The config.pbtxt of a model. ``frames``: the sizes of inputs that come as a codec's frames."""
    sizes = frames or {}
    inputs = [Value(v.name, "UINT8", (sizes[v.name],)) if v.name in sizes else v for v in model.inputs]
    lines = [
        f"name: {_text(model.name)}",
        'platform: "onnxruntime_onnx"',
        "max_batch_size: 0",
        *(line for value in inputs for line in _value("input", value)),
        *(line for value in model.outputs for line in _value("output", value)),
        f'parameters {{ key: "edgewise_package" value {{ string_value: {_text(model.package.id)} }} }}',
    ]
    return "\n".join(lines) + "\n"


def write(folder: Path, models: Mapping[str, Model]) -> list[str]:
    """Models that clients of this repository must send uncoded though their placements name a codec.

    ``folder`` is the repository afterwards; it must be new or empty. ExportError when it is not, or cannot be written;
    Refused when a part is not the file that its manifest names.
    """
    uncoded = []
    try:
        folder.mkdir(parents=True, exist_ok=True)
        if any(folder.iterdir()):
            raise ExportError(f"{folder}: is not empty", "Name a new folder for the model repository.")
        for model in models.values():
            try:
                coded = coded_inputs(model.package, placement_of(model), model.part)
            except ExportError:
                coded = {}
                uncoded.append(model.name)
            version = folder / model.name / "1"
            version.mkdir(parents=True)
            _write_model(version / "model.onnx", model, coded)
            sizes = {name: one.frame_bytes for name, one in coded.items()}
            (folder / model.name / "config.pbtxt").write_text(config(model, sizes), encoding="utf-8")
    except OSError as error:
        raise ExportError(f"{error.filename or folder}: {error.strerror}") from error
    except Refused as error:
        raise ExportError(error.message) from error
    return uncoded


def _write_model(path: Path, model: Model, coded: Mapping[str, CodedInput]) -> None:
    if not coded:
        shutil.copyfile(model.checked_part(), path)
        return
    import onnx

    path.write_bytes(with_decoding(onnx.load(model.checked_part()), coded).SerializeToString(deterministic=True))


def placement_of(model: Model) -> Placement:
    """The placement that a model is of."""
    package = model.package
    return next(
        placement
        for placement in package.placements.values()
        for part in placement.parts
        if part.place == SERVER and package.model_name(placement, part) == model.name
    )


def run(folder: Path, options: Options, ready: Callable[[str], None]) -> int:
    """The signal that ended the tritonserver, which had the repository until then. EdgewiseError when it fails."""
    if options.token or options.cert or not options.port or options.grpc_port == 0:
        raise UsageError(
            "a tritonserver here has no token and no TLS, and needs a port of its own",
            "Put a proxy in front of it, or use --engine builtin.",
        )
    program = shutil.which("tritonserver")
    if program is None:
        raise UsageError(
            "there is no tritonserver on this machine's PATH",
            "Its container (nvcr.io/nvidia/tritonserver) has one; `edgewise serve` without --engine needs none.",
        )
    arguments = ["--model-repository", str(folder), "--http-address", options.host, "--http-port", str(options.port)]
    grpc = ["--allow-grpc", "false"]
    if options.grpc_port:
        grpc = ["--grpc-address", options.host, "--grpc-port", str(options.grpc_port)]
    process = subprocess.Popen([program, *arguments, *grpc, "--exit-on-error", "true"])
    caught: list[int] = []

    def end(number: int, frame: object) -> None:
        caught.append(number)
        process.send_signal(signal.SIGTERM)

    before = {number: signal.signal(number, end) for number in (signal.SIGTERM, signal.SIGINT)}
    try:
        _wait_until_ready(process, options)
        ready(f"http://{options.host}:{options.port}")
        code = process.wait()
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
        if process.poll() is None:
            process.terminate()
            try:
                process.wait(STOP_S)
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait()
    if not caught:
        raise EdgewiseError(f"the tritonserver ended with code {code}", "Its own messages are above.")
    return caught[0]


def _wait_until_ready(process: subprocess.Popen[bytes], options: Options) -> None:
    end = time.monotonic() + READY_S
    while process.poll() is None and time.monotonic() < end:
        connection = http.client.HTTPConnection(options.host, options.port, timeout=2.0)
        try:
            connection.request("GET", "/v2/health/ready")
            if connection.getresponse().status == 200:
                return
        except (OSError, http.client.HTTPException):
            pass  # not yet
        finally:
            connection.close()
        time.sleep(0.1)
    if process.poll() is None:
        raise EdgewiseError(f"the tritonserver was not ready within {READY_S:.0f} s")


def _value(kind: str, value: Value) -> list[str]:
    dims = ", ".join(str(dim) for dim in value.shape)
    reshape = "" if value.shape else " reshape { shape: [ ] }"  # a scalar is a vector of one for Triton
    shape = f"dims: [ {dims or '1'} ]{reshape}"
    return [f"{kind} [ {{ name: {_text(value.name)} data_type: TYPE_{value.dtype} {shape} }} ]"]


def _text(text: str) -> str:
    """A string of protobuf's text format."""
    return json.dumps(text.encode("utf-8").decode("latin-1"), ensure_ascii=True).replace("\\u00", "\\x")
