"""Bad input ends in one clear line with the right exit code, and leaves nothing half done."""

from __future__ import annotations

import io
import os
import random
import shutil
import subprocess
import zipfile
from pathlib import Path

import numpy as np
import pytest

from mobile import example
from tests.support.cli import edgewise, edgewise_json

QUICK = ("--duration", "0.1", "--min-count", "3", "--warmup-duration", "0")


@pytest.fixture
def model(tmp_path):
    return Path(shutil.copy(example.model_path(), tmp_path / "model.onnx"))


def one_clear_error(done: subprocess.CompletedProcess[str], *words: str) -> None:
    """At most an error and its next step on stderr, the words in it, nothing on stdout, no traceback."""
    lines = [line for line in done.stderr.splitlines() if line.startswith(("edgewise:", "  next:", "failed:"))]
    assert 1 <= len(lines) <= 2, done.stderr
    assert "Traceback" not in done.stderr
    for word in words:
        assert word in done.stderr, (word, done.stderr)


def no_residue(home: Path) -> None:
    """No temporary file of a push or a store is left under the home folder."""
    assert not [path for path in home.rglob("*") if path.suffix in (".part", ".tmp")]


def test_a_missing_model(tmp_path):
    done = edgewise("bench", "nothing.onnx", "--on", "local", cwd=tmp_path)
    assert done.returncode == 2
    one_clear_error(done, "nothing.onnx", "no such file")


@pytest.mark.parametrize("name", ["model.onnx", "model.tflite"])
@pytest.mark.parametrize("kind", ["empty", "truncated", "random"])
def test_a_damaged_model(tmp_path, name, kind):
    source = {
        "model.onnx": example.model_path(),
        "model.tflite": Path(__file__).parents[2] / "data/models/face_detection_short_range.tflite",
    }[name].read_bytes()
    data = {
        "empty": b"", "truncated": source[: len(source) // 2], "random": random.Random(1).randbytes(5000),
    }[kind]  # fmt: skip
    (tmp_path / name).write_bytes(data)
    done = edgewise("bench", name, "--on", "local", *QUICK, cwd=tmp_path)
    assert done.returncode in (1, 2)
    one_clear_error(done, name)
    for verb in ("inspect", "push"):
        again = edgewise(verb, name, *(["local"] if verb == "push" else []), cwd=tmp_path)
        # A file that is only cut short may still have a whole header: a push of bytes is right then, a bench is not.
        assert again.returncode in ((2,) if kind != "truncated" else (0, 2)), again.stderr
        assert "Traceback" not in again.stderr


def test_one_damaged_model_does_not_spoil_the_other(tmp_path, model):
    (tmp_path / "broken.onnx").write_bytes(b"\x08\x07garbage")
    done = edgewise("bench", "broken.onnx", "model.onnx", "--on", "local", *QUICK, "--json", cwd=tmp_path)
    assert done.returncode == 1
    import json

    document = json.loads(done.stdout)
    assert [failure["model"] for failure in document["failures"]] == ["broken.onnx"]
    assert [run["model"]["name"] for run in document["runs"]] == ["model.onnx"]


def test_a_model_whose_external_data_is_missing(tmp_path):
    import onnx
    from onnx import TensorProto, helper, numpy_helper

    weight = numpy_helper.from_array(np.ones((64, 64), np.float32), "w")
    graph = helper.make_graph(
        [helper.make_node("MatMul", ["x", "w"], ["y"])], "g",
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, [1, 64])],
        [helper.make_tensor_value_info("y", TensorProto.FLOAT, [1, 64])], [weight],
    )  # fmt: skip
    whole = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)
    onnx.save(whole, tmp_path / "big.onnx", save_as_external_data=True, location="big.data", size_threshold=0)
    edgewise_json("bench", "big.onnx", "--on", "local", *QUICK, cwd=tmp_path)
    (tmp_path / "big.data").unlink()
    done = edgewise("bench", "big.onnx", "--on", "local", *QUICK, cwd=tmp_path)
    assert done.returncode in (1, 2)
    one_clear_error(done, "big.data")


def test_an_unknown_device_lists_near_names(tmp_path, model):
    done = edgewise("bench", "model.onnx", "--on", "lcal", cwd=tmp_path)
    assert done.returncode == 2
    one_clear_error(done, "lcal", "local")


BOMB = "a: &a [x,x,x,x,x,x,x,x,x]\n" + "".join(
    f"{chr(98 + i)}: &{chr(98 + i)} [{','.join(['*' + chr(97 + i)] * 9)}]\n" for i in range(12)
)


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("devices:\n  pi:\n    transport: ssh\n    host: a\n  pi:\n    transport: local\n", ["devices.yaml:5", "pi"]),
        ("devices:\n\tpi: {}\n", ["devices.yaml:2", "tab"]),
        ("devices:\n  pi:\n    transport: ssh\n    host: pi\n    port: abc\n", ["devices.yaml:5", "port", "abc"]),
        ("devices:\n  pi:\n    transport: carrier-pigeon\n", ["devices.yaml:3", "transport", "carrier-pigeon", "ssh"]),
        ("devices:\n  pi:\n    transport: ssh\n    host: pi\n    password: hunter2\n", ["devices.yaml:5", "password"]),
        ("- a\n- b\n", ["devices.yaml:1"]),
        (BOMB, ["devices.yaml"]),
    ],
    ids=["duplicate key", "tab", "wrong type", "wrong choice", "a secret", "a list", "anchor bomb"],
)
def test_a_wrong_inventory(tmp_path, text, words):
    (tmp_path / "devices.yaml").write_text(text)
    done = edgewise("devices", "--no-probe", cwd=tmp_path)
    assert done.returncode == 2
    one_clear_error(done, *words)
    assert "hunter2" not in done.stderr


def save(path: Path, **arrays: np.ndarray) -> Path:
    np.savez(path, **arrays)
    return path


@pytest.mark.parametrize(
    ("arrays", "words"),
    [
        ({"image": np.zeros((1, 3, 9, 9), np.float32)}, ["image", "9"]),
        ({"image": np.zeros((1, 1, 28, 28), np.complex64)}, ["image", "complex64"]),
        ({"picture": np.zeros((1, 1, 28, 28), np.float32)}, ["picture", "image"]),
    ],
    ids=["shape", "dtype", "name"],
)
def test_an_npz_that_does_not_fit(tmp_path, model, arrays, words):
    save(tmp_path / "in.npz", **arrays)
    done = edgewise("bench", "model.onnx", "--on", "local", "--inputs", "in.npz", *QUICK, cwd=tmp_path)
    assert done.returncode in (1, 2)
    one_clear_error(done, *words)


def test_an_npz_with_pickled_objects_is_refused(tmp_path, model):
    trap = tmp_path / "trap"

    class Bomb:
        def __reduce__(self):
            return (os.mkdir, (str(trap),))

    np.savez(tmp_path / "in.npz", image=np.array([Bomb()], dtype=object))
    done = edgewise("bench", "model.onnx", "--on", "local", "--inputs", "in.npz", *QUICK, cwd=tmp_path)
    assert done.returncode in (1, 2)
    one_clear_error(done, "image", "pickle")
    assert not trap.exists()


def test_an_npz_that_claims_to_be_huge_is_refused_before_memory_is_taken(tmp_path, model):
    header = io.BytesIO()
    np.lib.format.write_array_header_1_0(header, {"descr": "<f4", "fortran_order": False, "shape": (10**7, 1, 28, 28)})
    with zipfile.ZipFile(tmp_path / "in.npz", "w") as archive:
        archive.writestr("image.npy", header.getvalue())
    done = edgewise("bench", "model.onnx", "--on", "local", "--inputs", "in.npz", *QUICK, cwd=tmp_path)
    assert done.returncode in (1, 2)
    one_clear_error(done, "in.npz")


@pytest.mark.parametrize("data", [b"", b"PK\x03\x04", b"not a zip"], ids=["empty", "cut", "text"])
def test_an_npz_that_is_none(tmp_path, model, data):
    (tmp_path / "in.npz").write_bytes(data)
    done = edgewise("bench", "model.onnx", "--on", "local", "--inputs", "in.npz", *QUICK, cwd=tmp_path)
    assert done.returncode in (1, 2)
    one_clear_error(done, "in.npz")


def test_missing_inputs(tmp_path, model):
    done = edgewise("bench", "model.onnx", "--on", "local", "--inputs", "none.npz", *QUICK, cwd=tmp_path)
    assert done.returncode == 2
    one_clear_error(done, "none.npz")


def test_a_store_that_cannot_be_written(tmp_path, model):
    (tmp_path / "file").write_text("not a folder")
    done = edgewise("--store", tmp_path / "file" / "runs.db", "bench", "model.onnx", *QUICK, cwd=tmp_path)
    assert done.returncode == 1
    one_clear_error(done, "runs.db")


def test_a_store_that_is_no_database(tmp_path, model):
    (tmp_path / "runs.db").write_bytes(b"this is not a database" * 100)
    done = edgewise("--store", "runs.db", "runs", cwd=tmp_path)
    assert done.returncode == 1
    one_clear_error(done, "runs.db")
    assert (tmp_path / "runs.db").read_bytes().startswith(b"this is not")


@pytest.fixture
def small_disk(tmp_path):
    """A file system of 1 MiB; needs the right to mount."""
    if os.geteuid() != 0:
        pytest.skip("needs root: a small file system is mounted")
    folder = tmp_path / "disk"
    folder.mkdir()
    done = subprocess.run(["mount", "-t", "tmpfs", "-o", "size=1m", "tmpfs", folder], capture_output=True, timeout=20)
    if done.returncode:
        pytest.skip("needs root: mounting a tmpfs is not allowed here")
    yield folder
    subprocess.run(["umount", "-l", folder], check=True, timeout=20)


def fill(folder: Path, keep_bytes: int = 0) -> None:
    """Fills a file system up to ``keep_bytes``."""
    free = os.statvfs(folder)
    size = free.f_bavail * free.f_frsize - keep_bytes
    with (folder / "ballast").open("wb") as file:
        file.write(b"\1" * max(0, size))


def test_a_full_disk_under_the_store(tmp_path, model, small_disk):
    edgewise_json("--store", small_disk / "runs.db", "bench", "model.onnx", *QUICK, cwd=tmp_path)
    fill(small_disk)
    done = edgewise("--store", small_disk / "runs.db", "bench", "model.onnx", *QUICK, cwd=tmp_path)
    assert done.returncode == 1
    one_clear_error(done, "full")
    (small_disk / "ballast").unlink()
    listed = edgewise_json("--store", small_disk / "runs.db", "runs", cwd=tmp_path)
    assert len(listed["runs"]) == 1  # the first run is still there, no half one beside it


def test_a_full_disk_under_the_device(tmp_path, model, small_disk):
    home = small_disk / "home"
    home.mkdir()
    fill(small_disk, keep_bytes=200_000)  # enough for the agent, not for the model
    done = edgewise("push", "model.onnx", "local", cwd=tmp_path, HOME=str(home), XDG_DATA_HOME=str(tmp_path / "data"))
    assert done.returncode == 1
    assert "Traceback" not in done.stderr
    no_residue(home)


def test_a_full_disk_under_an_export(tmp_path, model, small_disk):
    fill(small_disk, keep_bytes=20_000)
    done = edgewise("export", "model.onnx", "-o", small_disk / "out.onnx", cwd=tmp_path)
    assert done.returncode == 1
    one_clear_error(done, "out.onnx")
    assert [path.name for path in small_disk.iterdir()] == ["ballast"]


@pytest.mark.parametrize(
    ("arguments", "word"),
    [
        (["bench", "model.onnx", "--threads", "0"], "0"),
        (["bench", "model.onnx", "--threads", "two"], "two"),
        (["bench", "model.onnx", "--dim", "batch"], "NAME=VALUE"),
        (["bench", "model.onnx", "--duration", "5", "--max-duration", "1"], "--max-duration"),
        (["bench", "--on", "local"], "no model"),
        (["bench", "model.onnx", "--runner", "litert"], "litert"),
        (["bench", "model.onnx", "--runner", "command"], "--command"),
        (["bnch"], "bench"),
        (["report", "nothing"], "nothing"),
    ],
)
def test_a_slip_on_the_command_line(tmp_path, model, arguments, word):
    done = edgewise(*arguments, cwd=tmp_path)
    assert done.returncode == 2, done.stderr
    one_clear_error(done, word)


def test_debug_shows_the_traceback_wherever_it_stands(tmp_path):
    (tmp_path / "devices.yaml").write_text("devices: 3\n")
    for arguments in (["--debug", "devices"], ["devices", "--debug"]):
        assert "Traceback" in edgewise(*arguments, cwd=tmp_path).stderr
