"""Ctrl-C in each phase: exit 130, what is finished is kept, no process and no half file is left."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import sys
import time

import pytest

from mobile import example
from tests.support.cli import edgewise_json, start_edgewise
from tests.support.processes import MARK, all_gone, marked, new_mark

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="looks for processes under /proc")
LONG = ("--duration", "60", "--max-duration", "90")


@pytest.fixture
def home(tmp_path):
    shutil.copy(example.model_path(), tmp_path / "model.onnx")
    return tmp_path


def interrupt(process, mark, phrase, home):
    """Sends Ctrl-C once ``phrase`` was on stderr (at once for ""); the exit code and the whole stderr.

    For "" a second one follows after a while: the interpreter itself loses one that arrives in a weak reference's
    callback during an import ("Exception ignored in ..."), and a user would press again.
    """
    seen = ""
    try:
        while phrase and phrase not in seen:
            line = process.stderr.readline()
            assert line, f"ended before {phrase!r}: {seen}"
            seen += line
        os.killpg(process.pid, signal.SIGINT)
        try:
            _, rest = process.communicate(timeout=40 if phrase else 10)
        except subprocess.TimeoutExpired:
            assert not phrase
            os.killpg(process.pid, signal.SIGINT)
            _, rest = process.communicate(timeout=30)
    finally:
        if process.poll() is None:
            os.killpg(process.pid, signal.SIGKILL)
            process.wait(10)
        process.stdout.close()
        process.stderr.close()
    assert all_gone(mark), marked(mark)
    left = [path for path in home.rglob("*") if path.suffix in (".part", ".tmp") or ".part." in path.name]
    assert not left
    return process.returncode, seen + rest


@pytest.mark.parametrize("phrase", ["connecting", "pushing", "loading", "warming up", "measuring"])
def test_in_a_phase_of_a_bench(home, phrase):
    mark = new_mark()
    process = start_edgewise(
        "bench",
        "model.onnx",
        "--on",
        "local",
        *LONG,
        "--warmup-duration",
        "2",
        cwd=home,
        HOME=str(home),
        **{MARK: mark},
    )
    code, stderr = interrupt(process, mark, phrase, home)
    assert code == 130, stderr
    assert "interrupted" in stderr
    assert "Traceback" not in stderr


def test_before_anything_has_begun(home):
    mark = new_mark()
    process = start_edgewise("bench", "model.onnx", *LONG, cwd=home, HOME=str(home), **{MARK: mark})
    time.sleep(0.15)
    code, _ = interrupt(process, mark, "", home)
    assert code in (130, -signal.SIGINT)  # the interpreter itself may not have started yet


def test_what_is_finished_is_kept(home):
    shutil.copy(home / "model.onnx", home / "second.onnx")
    (home / "second.onnx").write_bytes((home / "model.onnx").read_bytes())
    mark = new_mark()
    process = start_edgewise(
        "bench",
        "model.onnx",
        "--on",
        "local",
        "--threads",
        "1,2",
        "--duration",
        "2",
        "--max-duration",
        "60",
        "--min-count",
        "5",
        cwd=home,
        HOME=str(home),
        **{MARK: mark},
    )
    code, stderr = interrupt(process, mark, "[2/2] local: model.onnx: measuring", home)
    assert code == 130, stderr
    listed = edgewise_json("runs", cwd=home, HOME=str(home))
    assert len(listed["runs"]) == 1


@pytest.mark.parametrize("delay_s", [0.4, 1.2, 2.0])
def test_during_an_export(home, delay_s):
    mark = new_mark()
    process = start_edgewise(
        "export",
        "model.onnx",
        "-o",
        "out.onnx",
        "--scheme",
        "int8",
        "--calibration",
        example.calibration_path(),
        *("--scale", "image=1/255"),
        cwd=home,
        HOME=str(home),
        **{MARK: mark},
    )
    time.sleep(delay_s)
    code, stderr = interrupt(process, mark, "", home)
    assert code in (130, 0, -signal.SIGINT), stderr  # 0: it was faster; SIGINT: it was about to exit
    files = {path.name for path in home.iterdir() if path.is_file()}
    whole = {"model.onnx", "out.onnx", "out.onnx.manifest.json"}
    assert files in ({"model.onnx"}, whole), files


@pytest.mark.parametrize("word", [signal.SIGTERM, signal.SIGHUP, signal.SIGKILL], ids=lambda word: word.name)
def test_an_edgewise_that_is_killed_leaves_no_process(home, word):
    mark = new_mark()
    process = start_edgewise("bench", "model.onnx", *LONG, cwd=home, HOME=str(home), **{MARK: mark})
    try:
        seen = ""
        while "measuring" not in seen:
            line = process.stderr.readline()
            assert line, seen
            seen += line
        process.send_signal(word)  # only edgewise itself, as `kill` does
        process.wait(20)
        assert all_gone(mark, within_s=15), marked(mark)
    finally:
        process.stdout.close()
        process.stderr.close()
