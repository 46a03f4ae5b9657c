"""The whole job on a drawer of boards that edgewise has never seen, by its commands alone: an aarch64 SSH board, an
amd64 SSH board, and an aarch64 phone without Python.
"""

from __future__ import annotations

import json
import shutil
import sys
from pathlib import Path

import numpy as np
import pytest

from mobile import example
from tests.support.cli import START, environment
from tests.support.fleet import know_the_phone
from tests.support.provision import cache_at, lab_cache, prefill

pytestmark = [pytest.mark.lab, pytest.mark.timeout(600)]
pytest_plugins = ["tests.lab.fixtures"]
BOARDS = ("board64", "board86", "phone")
INVENTORY_HEAD = "defaults: {{user: edge, key_file: {key}, known_hosts: {known_hosts}}}\ndevices:\n"
BOARD = "  {name}: {{host: {address}, provenance: emulated, workdir: ~/.edgewise-drawer}}\n"
PHONE = (
    "  {name}: {{kind: android, host: {address}, provenance: emulated, workdir: /data/local/tmp/edgewise-drawer,"
    " env: {{QEMU_CPU: cortex-a72}}}}\n"  # the emulator's default processor makes a runtime pick slow kernels
)
QUICK = ("--duration", "0.3", "--min-count", "5", "--warmup", "1", "--warmup-duration", "0")


class Bench:
    """A developer's folder and home in the lab's network; the commands are run there as a user would type them."""

    def __init__(self, lab, folder: Path) -> None:
        self.lab, self.folder = lab, folder
        self.home = folder / "home"
        self.home.mkdir()
        know_the_phone(lab, self.home)
        rows = [
            INVENTORY_HEAD.format(key=lab.ssh_key_path, known_hosts=lab.known_hosts_path),
            *(
                (PHONE if name == "phone" else BOARD).format(name=name, address=lab.devices[name].address)
                for name in BOARDS
            ),
        ]
        (folder / "devices.yaml").write_text("".join(rows), encoding="utf-8")
        shutil.copy(example.model_path(), folder / "model.onnx")

    def edgewise(self, *arguments, code=0, timeout_s=240):
        """The finished command, which must exit with ``code``."""
        env = environment(HOME=str(self.home), EDGEWISE_CACHE=str(lab_cache()))
        done = self.lab.run_in_ctl(
            [*START, *map(str, arguments)], timeout_s=timeout_s, env=env, cwd=self.folder, check=False
        )
        assert done.returncode == code, f"{arguments}\n{done.stdout[-2000:]}\n{done.stderr[-2000:]}"
        return done

    def json(self, *arguments, **options):
        """The JSON document of a command."""
        return json.loads(self.edgewise(*arguments, "--json", **options).stdout)


@pytest.fixture(scope="module")
def bench(lab, tmp_path_factory):
    # The lab has no internet: what the boards are given is prepared before, once for all runs on this machine.
    with cache_at(lab_cache()):
        prefill("aarch64", "x86_64", phone=True)
    return Bench(lab, tmp_path_factory.mktemp("drawer"))


@pytest.fixture(scope="module")
def ready(bench):
    """The three boards after `edgewise setup`."""
    return bench, bench.json("setup", *BOARDS, timeout_s=500)


def test_set_up_gives_each_board_a_runtime(ready):
    bench, _ = ready
    devices = bench.json("devices", *BOARDS)["devices"]
    assert [device["name"] for device in devices] == list(BOARDS)
    for device in devices:
        assert device["provenance"] == "emulated"
        runtimes = {entry["name"]: entry for entry in device["facts"]["runtimes"]}
        assert runtimes["onnxruntime"]["version"], device["name"]
    assert devices[2]["facts"]["arch"] == "aarch64"


def test_a_bench_on_all_three_has_one_schema_and_says_emulated(ready):
    bench, _ = ready
    document = bench.json("bench", "model.onnx", "--on", ",".join(BOARDS), *QUICK)
    assert document["failures"] == []
    assert [run["device"] for run in document["runs"]] == list(BOARDS)
    first, *others = document["runs"]
    assert [differences(first, other) for other in others] == [[], []]
    assert {run["provenance"] for run in document["runs"]} == {"emulated"}
    table = bench.edgewise("report", *(run["id"] for run in document["runs"]))
    assert table.stdout.count("emulated") >= 3 or "provenance emulated" in table.stdout


def differences(one, other, place="run"):
    """Where two runs have other keys; not in what hangs on the board: its facts, its sensors, and what may be null."""
    if not isinstance(one, dict) or not isinstance(other, dict):
        return []
    if one.keys() != other.keys():
        return [f"{place}: {sorted(one.keys() ^ other.keys())}"]
    inner = [key for key in one if key not in ("environment", "spec")]
    return [found for key in inner for found in differences(one[key], other[key], f"{place}.{key}")]


def test_the_answers_are_the_hosts(ready, tmp_path):
    """Classes of 60 images on each board, by its own runtime, against this machine's."""
    import onnxruntime

    bench, _ = ready
    with np.load(example.evaluation_path()) as arrays:
        images, labels = arrays["image"][:60], arrays["label"][:60]
    np.savez(bench.folder / "some.npz", image=images, label=labels)
    session = onnxruntime.InferenceSession(example.model_path(), providers=["CPUExecutionProvider"])
    expected = session.run(None, {"image": images.astype(np.float32) * np.float32(1 / 255)})[0].argmax(axis=1)
    code = (
        "import json, sys; from pathlib import Path; from mobile import BenchOptions, evaluate, load_inventory\n"
        "options = BenchOptions(batch=(10,), input_scale={'image': 1 / 255})\n"
        "found = {name: evaluate('model.onnx', Path('some.npz'), load_inventory().device(name), options)\n"
        "         for name in sys.argv[1:]}\n"
        "print(json.dumps({name: list(one.top1) for name, one in found.items()}))"
    )
    done = bench.lab.run_in_ctl(
        [sys.executable, "-c", code, *BOARDS],
        timeout_s=300,
        env=environment(HOME=str(bench.home)),
        cwd=bench.folder,
        check=False,
    )
    assert done.returncode == 0, done.stderr[-2000:]
    for name, classes in json.loads(done.stdout).items():
        assert classes == expected.tolist(), name


def test_detached_runs_are_collected_by_another_process(ready):
    bench, _ = ready
    bench.edgewise("bench", "model.onnx", "--on", ",".join(BOARDS), *QUICK, "--detach")
    collected = bench.json("attach")
    assert collected["failures"] == []
    assert sorted(run["device"] for run in collected["runs"]) == sorted(BOARDS)
    assert {run["verdict"] for run in collected["runs"]} <= {"valid", "invalid"}
    assert all(run["invocations"] >= 5 for run in collected["runs"])
    assert bench.json("attach")["runs"] == []  # nothing is left behind


def test_a_push_can_be_taken_back(ready):
    bench, _ = ready
    first = bench.json("push", "model.onnx", *BOARDS)
    (bench.folder / "model.onnx").write_bytes(other_version())
    try:
        second = bench.json("push", "model.onnx", *BOARDS)
        assert {row["sha256"] for row in first["pushed"]} != {row["sha256"] for row in second["pushed"]}
        back = bench.edgewise("rollback", "model.onnx", *BOARDS)
        assert back.stdout.count(first["pushed"][0]["sha256"][:8]) >= 3, back.stdout
    finally:
        shutil.copy(example.model_path(), bench.folder / "model.onnx")


def other_version() -> bytes:
    """The example with other weights in its last layer: another model of the same name."""
    import onnx
    from onnx import numpy_helper

    model = onnx.load(example.model_path())
    bias = next(tensor for tensor in model.graph.initializer if numpy_helper.to_array(tensor).shape == (10,))
    changed = numpy_helper.from_array(numpy_helper.to_array(bias) + np.float32(1.0), bias.name)
    bias.CopyFrom(changed)
    return model.SerializeToString()


def test_two_variants_are_measured_in_turns_over_ssh(ready):
    # The phone alone takes five minutes for its eight launches: see docs/comparing.md.
    bench, _ = ready
    short = ("--duration", "0.2", "--min-count", "5", "--warmup", "1", "--warmup-duration", "0")
    document = bench.json(
        "bench", "model.onnx", "--on", "board86", "--threads", "1,2", "--compare", "--runs", "4", *short
    )
    assert document["failures"] == []
    (found,) = document["comparisons"]
    assert found["device"] == "board86"
    (one,) = found["comparisons"]
    assert one["runs"] == [4, 4] and one["interleaved"]
    assert one["verdict"] in ("faster", "slower", "equivalent", "undecided")
    assert found["stopped"] == "runs"
    assert any("threads" in words for words in found["differs"])
