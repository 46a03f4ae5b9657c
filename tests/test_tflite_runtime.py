"""The agent in an environment that has tflite-runtime and numpy 1 alone, as many boards have it."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from mobile.agent_zip import agent_zip

ROOT = Path(__file__).resolve().parents[1]
MODELS = ROOT / "tests/data/models"


@pytest.fixture(scope="module")
def python():
    """The interpreter of that environment, which `make test` makes."""
    path = Path(os.environ.get("EDGEWISE_TFLITE_PYTHON", ROOT / ".venv-tflite/bin/python"))
    if not path.is_file():
        pytest.skip(f"no environment with tflite-runtime at {path}: `make test` makes it (Python 3.11 at most)")
    return path


def records(python, tmp_path, model, **spec):
    """What the agent's zip says, run by that interpreter."""
    zip_path = tmp_path / agent_zip().name
    zip_path.write_bytes(agent_zip().data)
    document = {"runner": "litert", "model_path": str(model), "min_duration_s": 0.2, "warmup_duration_s": 0.0, **spec}
    done = subprocess.run(
        [python, zip_path, "run"], input=json.dumps(document).encode(), capture_output=True, timeout=60, cwd=tmp_path
    )
    return done, [json.loads(line) for line in done.stdout.splitlines()]


@pytest.mark.parametrize("name", ["alexa.tflite", "face_detection_short_range.tflite"])
def test_a_real_model_runs(python, tmp_path, name):
    done, found = records(python, tmp_path, MODELS / name)
    assert done.returncode == 0, done.stderr
    loaded = next(record["detail"] for record in found if record.get("name") == "loaded")
    assert loaded["runtime"]["name"] == "tflite-runtime"
    assert loaded["runtime"]["version"].startswith("2.14")
    assert found[-1]["outcome"] == "completed"
    assert found[-1]["invocations"] >= 50


def test_its_version_is_among_the_facts(python, tmp_path):
    zip_path = tmp_path / agent_zip().name
    zip_path.write_bytes(agent_zip().data)
    done = subprocess.run([python, zip_path, "facts"], capture_output=True, timeout=60, cwd=tmp_path)
    runtimes = {entry["name"]: entry["version"] for entry in json.loads(done.stdout)["device"]["runtimes"]}
    assert runtimes["tflite_runtime"].startswith("2.14")


def test_with_numpy_2_it_is_a_missing_runtime_that_says_what_to_do(python, tmp_path):
    import numpy

    # numpy 2 of the environment of the tests, put before the other one's numpy 1.
    (tmp_path / "wheels").mkdir()
    (tmp_path / "wheels/numpy").symlink_to(Path(numpy.__file__).parent)
    libraries = Path(numpy.__file__).parents[1] / "numpy.libs"
    if libraries.is_dir():
        (tmp_path / "wheels/numpy.libs").symlink_to(libraries)
    version = subprocess.run([python, "-c", "import sys; print(sys.version_info[:2])"], capture_output=True, timeout=30)
    if version.stdout.decode().strip() != str(tuple(sys.version_info[:2])):
        pytest.skip("the two environments have different Pythons")
    done, found = records(python, tmp_path, MODELS / "alexa.tflite", python_path=[str(tmp_path / "wheels")])
    assert done.returncode == 1
    failure = next(record for record in found if record["type"] == "failure")
    assert failure["code"] == "missing-runtime"
    assert "numpy<2" in failure["hint"] or "numpy<2" in failure["message"]
