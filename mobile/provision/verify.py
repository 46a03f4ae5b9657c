"""Whether runtimes load on a device: a process there imports them."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

from mobile.deadline import Deadline
from mobile.provision.plan import Installed

if TYPE_CHECKING:
    from mobile.transports.base import Transport

MODULES = ("numpy", "onnxruntime", "ai_edge_litert.interpreter", "tflite_runtime.interpreter")
VERIFY_LIMIT_S = 180.0  # a first import from an SD card takes tens of seconds

# Python 3.8. Each module in a process of its own: a runtime may crash on import. Bytecode is written here, and only
# here, into the layer's own folder: so the agent, which writes none, starts fast.
SCRIPT = """
import json, os, subprocess, sys
one = '''
import importlib, json, sys
module = importlib.import_module(sys.argv[1])
package = sys.modules[sys.argv[1].split(".")[0]]
providers = getattr(module, "get_available_providers", None)
version = getattr(package, "__version__", None)
if not isinstance(version, str):
    from importlib import metadata
    version = metadata.version(sys.argv[1].split(".")[0])
sys.stdout.write("@edgewise " + json.dumps([version, list(providers()) if providers else []]) + chr(10))
'''
import importlib.util, signal
answers = {}
for name in sys.argv[1:]:
    if importlib.util.find_spec(name.split(".")[0]) is None:
        continue
    done = subprocess.run([sys.executable, "-c", one, name], stdin=subprocess.DEVNULL, stdout=subprocess.PIPE,
        stderr=subprocess.PIPE, cwd="/")
    told = [line for line in done.stdout.decode("utf-8", "replace").splitlines() if line.startswith("@edgewise ")]
    if done.returncode == 0 and told:
        answers[name] = json.loads(told[-1][10:])
    elif done.returncode < 0:
        answers[name] = "ended by " + signal.Signals(-done.returncode).name
    else:
        said = done.stderr.decode("utf-8", "replace").strip().splitlines() or ["exit code %d" % done.returncode]
        answers[name] = next((line for line in reversed(said) if "Error" in line), said[-1])[:300]
sys.stdout.write("@edgewise-all " + json.dumps(answers) + chr(10))
"""


def installed(
    transport: Transport,
    python: Sequence[str],
    deadline: Deadline,
    *,
    env: Mapping[str, str] | None = None,
    modules: Sequence[str] = MODULES,
) -> Installed:
    """What this Python of the device imports; one that does not start has it as the error of "python"."""
    environment = {"ORT_DISABLE_TELEMETRY": "1", **(env or {})}
    done = transport.run(
        [*python, "-", *modules],
        stdin=SCRIPT.encode("utf-8"),
        env=environment,
        deadline=deadline.sooner(VERIFY_LIMIT_S),
        output_limit_bytes=4 * 1024 * 1024,
    )
    return parse(done.stdout, done.why())


def parse(answer: bytes, why: str) -> Installed:
    """What an answer of SCRIPT says; ``why`` is told when it is none."""
    lines = answer.decode("utf-8", "replace").splitlines()
    told = next((line for line in reversed(lines) if line.startswith("@edgewise-all ")), None)
    try:
        answers = json.loads(told.removeprefix("@edgewise-all ")) if told is not None else None
    except ValueError:
        answers = None
    if not isinstance(answers, dict):
        return Installed(errors={"python": why})
    versions, errors, providers = {}, {}, []
    for name, said in answers.items():
        if isinstance(said, list) and len(said) == 2 and isinstance(said[0], str):
            versions[name] = said[0]
            providers += [str(item) for item in said[1]]
        else:
            errors[name] = str(said)
    return Installed(versions, errors, tuple(providers))
