"""Set-up of the lab's devices, and an inference on each with what it was given.

The lab has no internet: what devices are given is prepared on this host before, in the cache beside the lab's images.
"""

from __future__ import annotations

import io
import json
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import numpy as np
import pytest

from mobile import example
from mobile.deadline import Deadline
from mobile.inventory import load_inventory
from mobile.provision import runtime_for
from mobile.push import DeviceStore
from mobile.transports import open_transport
from tests.lab import Lab
from tests.lab.process import wait_until
from tests.support.cli import edgewise, edgewise_json, start_edgewise
from tests.support.provision import cache_at, lab_cache, prefill

pytest_plugins = ["tests.lab.fixtures"]
pytestmark = [pytest.mark.lab, pytest.mark.timeout(300, func_only=True)]

ITEMS = 4  # one takes half a second on a translated processor
LIMIT_S = 120.0
INVENTORY = """\
defaults: {{user: edge, key_file: {key}, known_hosts: {known_hosts}}}
devices:
"""
BOARD = "  {name}: {{host: {address}, provenance: emulated, workdir: {workdir}}}\n"
PHONE = BOARD.replace("host:", "kind: android, env: {{QEMU_CPU: cortex-a72}}, host:")
# Computes the model's outputs on the device: the inputs come on stdin, the outputs go back the same way.
COMPUTE = """
import io, sys
import numpy, onnxruntime
images = numpy.load(io.BytesIO(sys.stdin.buffer.read()), allow_pickle=False)
session = onnxruntime.InferenceSession(sys.argv[1], providers=["CPUExecutionProvider"])
file = io.BytesIO()
numpy.save(file, session.run(None, {session.get_inputs()[0].name: images})[0])
sys.stdout.buffer.write(file.getvalue())
"""


class Desk:
    """The developer's machine in the lab: an inventory, a cache, and the command `edgewise`."""

    def __init__(self, lab: Lab, folder: Path) -> None:
        self.lab = lab
        self.folder = folder
        self.env = {"EDGEWISE_CACHE": str(lab_cache()), "ADB_VENDOR_KEYS": str(lab.adb_key_path)}
        text = INVENTORY.format(key=lab.ssh_key_path, known_hosts=lab.known_hosts_path)
        for name, node in lab.devices.items():
            board = node.transport == "ssh"
            workdir = "~/.edgewise-setup" if board else "/data/local/tmp/edgewise-setup"
            text += (BOARD if board else PHONE).format(name=name, address=node.address, workdir=workdir)
        self.inventory = folder / "devices.yaml"
        self.inventory.write_text(text, encoding="utf-8")

    def json(self, *arguments: str) -> dict:
        """The document of a command that must succeed."""
        with self.lab.inside("ctl"):
            return edgewise_json(*arguments, cwd=self.folder, **self.env)

    def run(self, *arguments: str):
        """The finished command."""
        with self.lab.inside("ctl"):
            return edgewise(*arguments, cwd=self.folder, **self.env)

    @contextmanager
    def on(self, name: str) -> Iterator[tuple]:
        """(transport, store, runtime) of a device."""
        device = load_inventory(self.inventory).device(name)
        with self.lab.inside("ctl"):
            transport = open_transport(device)
            try:
                store = DeviceStore(transport, device.workdir)
                yield transport, store, runtime_for(transport, store, device, Deadline(LIMIT_S))
            finally:
                transport.close()


@pytest.fixture(scope="module", autouse=True)
def prepared():
    """The layers for the lab's devices; downloads and builds them once for all runs on this machine."""
    with cache_at(lab_cache()):
        prefill("aarch64", "x86_64", phone=True)


@pytest.fixture
def desk(lab, tmp_path, monkeypatch):
    made = Desk(lab, tmp_path)
    for name, value in made.env.items():
        monkeypatch.setenv(name, value)
    return made


def images():
    with np.load(example.evaluation_path(), allow_pickle=False) as data:
        return data["image"][:ITEMS].astype(np.float32) * np.float32(example.INPUT_SCALE["image"])


def host_outputs():
    import onnxruntime

    session = onnxruntime.InferenceSession(example.model_path(), providers=["CPUExecutionProvider"])
    return session.run(None, {session.get_inputs()[0].name: images()})[0]


def device_outputs(transport, store, runtime, env):
    model = store.put_file(Path(example.model_path()), "model.onnx", deadline=Deadline(LIMIT_S))
    file = io.BytesIO()
    np.save(file, images())
    done = transport.run(
        [*runtime.python, "-c", COMPUTE, model], stdin=file.getvalue(), deadline=Deadline(LIMIT_S), env=env
    )
    assert done.ok, done.stderr.decode()
    return np.load(io.BytesIO(done.stdout), allow_pickle=False)


def agent_records(transport, store, runtime, env, verb, spec=None):
    agent = store.ensure_agent(deadline=Deadline(LIMIT_S))
    stdin = b"" if spec is None else json.dumps(spec).encode() + b"\n"
    done = transport.run([*runtime.python, "-u", agent, verb], stdin=stdin, deadline=Deadline(LIMIT_S), env=env)
    assert done.ok, done.stdout[-2000:] + done.stderr
    return [json.loads(line) for line in done.stdout.splitlines()]


def evaluate(transport, store, runtime, env):
    """The classes that the agent's own worker finds."""
    file = io.BytesIO()
    np.savez(file, image=images(), label=np.zeros(ITEMS, np.int64))
    inputs = store.put_file(file.getvalue(), "images.npz", deadline=Deadline(LIMIT_S))
    model = store.put_file(Path(example.model_path()), "model.onnx", deadline=Deadline(LIMIT_S))
    spec = {"runner": "ort", "task": "evaluate", "model_path": model, "batch": 4, "python_path": runtime.python_path,
            "inputs": {"kind": "npz", "path": inputs}, "warmup_count": 0, "warmup_duration_s": 0.0}  # fmt: skip
    records = agent_records(transport, store, runtime, env, "run", spec)
    assert records[-1]["outcome"] == "completed"
    return [label for record in records if record["type"] == "outputs" for label in record["top1"]]


def use(desk, name):
    """The device runs the example model as the host does: facts, numbers, and through the agent."""
    with desk.on(name) as (transport, store, runtime):
        env = {"ORT_DISABLE_TELEMETRY": "1", "QEMU_CPU": "cortex-a72", **runtime.environment()}
        (hello,) = agent_records(transport, store, runtime, env, "facts")
        found = {entry["name"]: entry for entry in hello["device"]["runtimes"]}
        assert found["onnxruntime"]["error"] is None
        assert "CPUExecutionProvider" in found["onnxruntime"]["providers"]
        expected = host_outputs()
        assert np.abs(device_outputs(transport, store, runtime, env) - expected).max() <= 1e-5
        assert evaluate(transport, store, runtime, env) == expected.argmax(axis=-1).tolist()
        return runtime


@pytest.mark.parametrize(("name", "kind"), [("board86", "wheels"), ("board64", "wheels"), ("phone", "bundle")])
def test_a_device_is_set_up_and_computes_what_the_host_computes(desk, name, kind):
    (done,) = desk.json("setup", name, "--runtime", "onnxruntime")["devices"]
    assert (done["state"], done["kind"]) == ("done", kind)
    runtime = use(desk, name)
    assert all(path.endswith(done["layers"][-1]["address"]) for path in runtime.python_path)
    if name == "board86":  # each look costs many seconds on a translated processor
        (again,) = desk.json("setup", name, "--runtime", "onnxruntime")["devices"]
        assert (again["state"], again["sent_bytes"]) == ("nothing-to-do", 0)
        document = desk.json("doctor", name)
        assert document["ready"] is True, document
    with desk.on(name) as (transport, store, _):
        store.remove_all(deadline=Deadline(LIMIT_S))
        left = transport.run(["ls", "-A", store.folder(Deadline(LIMIT_S))], deadline=Deadline(LIMIT_S))
        assert left.stdout == b""


def test_a_board_without_the_cpp_library_is_explained_and_given_it(make_lab, tmp_path, monkeypatch):
    desk = Desk(make_lab("bare=ssh-amd64,disk=1G"), tmp_path)
    for name, value in desk.env.items():
        monkeypatch.setenv(name, value)
    with cache_at(lab_cache()):
        from mobile.provision.bundle import libraries_layer

        libraries_layer("x86_64", Deadline(100))
    desk.lab.run_in("bare", ["sh", "-c", "rm /usr/lib/x86_64-linux-gnu/libstdc++.so.6*"], check=True)
    (done,) = desk.json("setup", "bare", "--runtime", "onnxruntime")["devices"]
    assert [layer["name"] for layer in done["layers"]] == ["wheels-cp311-x86_64", "libstdc++-x86_64"]
    runtime = use(desk, "bare")
    assert "LD_LIBRARY_PATH" in runtime.env
    # The library is lost: the doctor says what is missing, and set-up puts it back.
    folder = runtime.env["LD_LIBRARY_PATH"]
    desk.lab.run_in("bare", ["rm", "-r", f"{folder}"], check=True)
    answer = desk.run("doctor", "bare", "--json")
    assert answer.returncode == 1
    problems = [finding for finding in json.loads(answer.stdout)["findings"] if finding["state"] == "problem"]
    assert "lacks the C++ library" in problems[0]["message"], problems
    assert problems[0]["hint"] == "edgewise setup bare"
    (repaired,) = desk.json("setup", "bare", "--runtime", "onnxruntime")["devices"]
    assert (repaired["state"], repaired["sent_bytes"] > 0) == ("done", True)
    assert desk.json("doctor", "bare")["ready"] is True


def test_a_board_that_restarts_during_a_setup_is_named_and_has_nothing_half(make_lab, tmp_path, monkeypatch):
    desk = Desk(make_lab("cut=ssh-amd64,disk=1G"), tmp_path)
    for name, value in desk.env.items():
        monkeypatch.setenv(name, value)
    with desk.lab.inside("ctl"):
        going = start_edgewise("setup", "cut", "--runtime", "onnxruntime", cwd=tmp_path, **desk.env)
    try:
        look = ["sh", "-c", "ls -d /home/edge/.edgewise-setup/runtimes/.new-*"]
        wait_until(lambda: desk.lab.run_in("cut", look).returncode == 0, 30, "it never began to unpack")
        desk.lab.power("cut", on=False)
        desk.lab.power("cut", on=True)
        shown, said = going.communicate(timeout=90)
    finally:
        going.kill()
        going.wait(timeout=10)
    assert going.returncode == 3
    assert (shown.count("cut: the connection broke"), "Traceback" in said) == (1, False), shown + said
    assert "cut: next: the device may be off, rebooting" in shown
    with desk.on("cut") as (_, _, runtime):
        assert runtime.python == ["python3"]
    (done,) = desk.json("setup", "cut", "--runtime", "onnxruntime")["devices"]
    assert done["state"] == "done"
    assert desk.lab.run_in("cut", look).returncode != 0
    use(desk, "cut")
