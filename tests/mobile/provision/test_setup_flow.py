"""A whole set-up on a device that is a folder of this machine, with wheels made for it; the agent's Python is real."""

from __future__ import annotations

import json
import sys
from dataclasses import replace

import pytest

from mobile.deadline import Deadline
from mobile.errors import SetupError
from mobile.inventory.models import Device
from mobile.provision import runtime_for
from mobile.provision.setup import SetupOptions, _Setup
from mobile.push import DeviceStore
from mobile.transports.fake import FakeTransport, run_locally
from tests.support.cli import edgewise, edgewise_json
from tests.support.provision import make_wheel

ORT = "def get_available_providers():\n    return ['FakeExecutionProvider']\n__version__ = '9.9'\n"
NUMPY = "__version__ = '9.1'\n"


@pytest.fixture
def board(tmp_path, monkeypatch):
    monkeypatch.setenv("EDGEWISE_CACHE", str(tmp_path / "cache"))
    monkeypatch.setenv("PIP_NO_INDEX", "1")
    with FakeTransport(run_locally, root=tmp_path / "device", name="pi") as fake:
        fake.root.mkdir()
        # A Python without any package, as on a fresh board.
        python = fake.root / "python3"
        python.write_text(f'#!/bin/sh\nexec {sys.executable} -S "$@"\n')
        python.chmod(0o755)
        yield fake


@pytest.fixture
def wheels(tmp_path):
    folder = tmp_path / "wheels"
    folder.mkdir()
    make_wheel(folder, "numpy", "9.1", "py3-none-any", {"numpy/__init__.py": NUMPY})
    make_wheel(folder, "onnxruntime", "9.9", "py3-none-any", {"onnxruntime/__init__.py": ORT}, needs=["numpy"])
    return folder


def run(board, wheels, limit_s=60, **options):
    fields = {"name": "pi", "host": "pi.local", "python": str(board.root / "python3"),
              "workdir": str(board.root / "work"), **options.pop("device", {})}  # fmt: skip
    device = Device(**fields)
    said = []
    store = DeviceStore(board, device.workdir)
    chosen = SetupOptions(**{"runtimes": ("onnxruntime",), "wheels": wheels, **options})
    result = _Setup(device, board, store, chosen, said.append, Deadline(limit_s)).run()
    return result, runtime_for(board, store, device, Deadline(20)), said


def test_a_board_without_a_runtime_is_given_one(board, wheels):
    result, runtime, said = run(board, wheels)
    assert (result.state, result.kind) == ("done", "wheels")
    assert result.runtimes == {"numpy": "9.1", "onnxruntime": "9.9"}
    assert result.sent_bytes == sum(layer.archive_bytes for layer in result.layers) > 0
    assert runtime.python == [str(board.root / "python3")]
    assert runtime.python_path == [f"{board.root}/work/runtimes/{result.layers[0].address}"]
    assert any(line.startswith("sending wheels-") for line in said)


def test_a_second_setup_changes_and_sends_nothing(board, wheels):
    run(board, wheels)
    record = (board.root / "work/runtime.json").stat().st_mtime_ns
    result, _, said = run(board, wheels)
    assert (result.state, result.sent_bytes) == ("nothing-to-do", 0)
    assert (board.root / "work/runtime.json").stat().st_mtime_ns == record
    assert not any(line.startswith("sending") for line in said)


def test_certificates_to_trust_go_along_once(board, wheels):
    run(board, wheels)
    first, _, _ = run(board, wheels, certificates={"edge": b"PEM"})
    assert (first.state, first.sent_bytes) == ("done", 3)
    assert (board.root / "work/certificates/edge.pem").read_bytes() == b"PEM"
    assert f"certificates to trust of server edge: {board.root}/work/certificates/edge.pem" in first.notes
    again, _, _ = run(board, wheels, certificates={"edge": b"PEM"})
    assert (again.state, again.sent_bytes) == ("nothing-to-do", 0)
    changed, _, _ = run(board, wheels, certificates={"edge": b"other"}, dry_run=True)
    assert (board.root / "work/certificates/edge.pem").read_bytes() == b"PEM"
    assert changed.sent_bytes == 0


def test_a_dry_run_puts_nothing_there(board, wheels):
    result, runtime, _ = run(board, wheels, dry_run=True)
    assert (result.state, result.kind) == ("planned", "wheels")
    assert result.layers[0].archive_bytes > 0
    assert not (board.root / "work").exists()
    assert runtime.python_path == []


def test_a_runtime_that_does_not_load_there_is_not_switched_to(board, wheels):
    run(board, wheels)
    before = (board.root / "work/runtime.json").read_bytes()
    for path in wheels.glob("onnxruntime*"):
        path.unlink()
    make_wheel(wheels, "onnxruntime", "9.10", "py3-none-any",
               {"onnxruntime/__init__.py": "raise ImportError('libx.so: cannot open')"}, needs=["numpy"])  # fmt: skip
    with pytest.raises(SetupError, match=r"pi: what was set up does not load there: onnxruntime: .*libx\.so"):
        run(board, wheels)
    assert (board.root / "work/runtime.json").read_bytes() == before


def test_a_runtime_that_crashes_when_loaded_is_told(board, wheels):
    for path in wheels.glob("onnxruntime*"):
        path.unlink()
    body = "import os, signal\nos.kill(os.getpid(), signal.SIGSEGV)\n"
    make_wheel(wheels, "onnxruntime", "1.0", "py3-none-any", {"onnxruntime/__init__.py": body}, needs=["numpy"])
    with pytest.raises(SetupError, match="SIGSEGV"):
        run(board, wheels)


def test_a_board_with_its_own_runtime_is_left_alone(board, wheels, tmp_path):
    site = tmp_path / "site"
    for name, body in (("numpy", NUMPY), ("onnxruntime", ORT)):
        (site / name).mkdir(parents=True)
        (site / name / "__init__.py").write_text(body)
    result, runtime, said = run(board, None, device={"env": {"PYTHONPATH": str(site)}})
    assert (result.state, result.kind, result.layers) == ("done", "installed", [])
    assert result.notes == ["onnxruntime there offers FakeExecutionProvider"]
    assert runtime.python_path == []
    assert not any(line.startswith("sending") for line in said)
    assert run(board, None, device={"env": {"PYTHONPATH": str(site)}})[0].state == "nothing-to-do"


def test_of_all_runtimes_one_that_the_board_has_is_enough(board, wheels, tmp_path):
    """As on a Jetson with its own onnxruntime, on a host without internet."""
    site = tmp_path / "site"
    for name, body in (("numpy", NUMPY), ("onnxruntime", ORT)):
        (site / name).mkdir(parents=True)
        (site / name / "__init__.py").write_text(body)
    env = {"env": {"PYTHONPATH": str(site)}}
    result, _, _ = run(board, None, device=env, runtimes=("onnxruntime", "litert"), any_will_do=True)
    assert (result.state, result.kind) == ("done", "installed")
    assert result.notes[0].startswith("litert cannot be brought:")
    with pytest.raises(SetupError):
        run(board, None, device=env, runtimes=("onnxruntime", "litert"), any_will_do=False)


def test_of_all_runtimes_one_that_exists_is_enough(board, wheels):
    result, _, said = run(board, wheels, runtimes=("onnxruntime", "litert"), any_will_do=True)
    assert result.state == "done"
    assert any(line.startswith("only onnxruntime: no registry has") for line in said)


def test_a_runtime_asked_for_by_name_must_exist(board, wheels):
    with pytest.raises(SetupError, match="no registry has litert"):
        run(board, wheels, runtimes=("litert",), any_will_do=False)
    assert not (board.root / "work").exists()


def test_an_interrupted_setup_leaves_nothing_half(board, wheels):
    """Ctrl-C in the middle of sending, then once more from the beginning."""
    put = board.put

    def interrupted(*arguments, **options):
        raise KeyboardInterrupt

    board.put = interrupted
    with pytest.raises(KeyboardInterrupt):
        run(board, wheels)
    board.put = put
    assert not (board.root / "work/runtime.json").exists()
    assert not list((board.root / "work").rglob(".new-*"))
    assert run(board, wheels)[0].state == "done"


def test_a_board_that_is_full_is_refused_before_anything_is_sent(board, wheels):
    with pytest.raises(SetupError, match="on the disk"):
        run(board, wheels, device={"limits": {"disk_bytes": 5000}})
    assert not (board.root / "work").exists()


def test_the_options_are_plain_values():
    assert replace(SetupOptions(), dry_run=True) == SetupOptions(dry_run=True)


def test_a_layer_that_was_damaged_since_is_put_anew(board, wheels):
    first, runtime, _ = run(board, wheels)
    folder = board.root / "work/runtimes" / first.layers[0].address
    (folder / "onnxruntime/__init__.py").write_text("import what_is_gone\n")
    result, after, said = run(board, wheels)
    assert result.state == "done"
    assert any("again" in line for line in said)
    assert after == runtime
    assert (folder / "onnxruntime/__init__.py").read_text() == ORT
    assert run(board, wheels)[0].state == "nothing-to-do"


def test_this_machine_needs_no_setup(tmp_path):
    document = edgewise_json("setup", "local", cwd=tmp_path)
    (done,) = document["devices"]
    assert (done["state"], done["kind"], done["layers"]) == ("nothing-to-do", "installed", [])
    assert "onnxruntime" in done["runtimes"]


def test_the_command_lists_what_failed_beside_what_did_not(tmp_path):
    (tmp_path / "devices.yaml").write_text("devices: {gone: {host: no-such-host.invalid}}\n")
    done = edgewise("setup", "gone", "local", "--json", cwd=tmp_path)
    assert done.returncode == 3
    gone, local = json.loads(done.stdout)["devices"]
    assert (gone["state"], local["state"]) == ("failed", "nothing-to-do")
    assert "does not resolve" in gone["error"]["message"]
    table = edgewise("setup", "gone", cwd=tmp_path)
    assert table.returncode == 3
    assert "does not resolve" in table.stdout
