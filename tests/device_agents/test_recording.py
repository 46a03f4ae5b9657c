"""The agent records what its readers look at, with errors, links, programs and timing, and nothing besides."""

from __future__ import annotations

import ast
import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

import device_agents
from device_agents.recording import LIMIT_TOTAL_BYTES, Recorder
from tests.support.sysfs import make_tree, read_tsv

PACKAGE = Path(device_agents.__file__).parent


def record(root: Path | str, **more):
    return Recorder(str(root), **{"passes": 2, "pause_s": 0.0, **more}).record()


def zone(root: Path, kind: str, value: str) -> Path:
    make_tree(root, {"/sys/class/thermal/thermal_zone0/type": kind, "/sys/class/thermal/thermal_zone0/temp": value})
    return root / "sys/class/thermal/thermal_zone0/temp"


def entry(document, path: str):
    return next(file for file in document["files"] if file["path"] == path)


def test_each_file_of_a_sensor_is_there_with_its_content_and_the_time_it_took(tmp_path):
    zone(tmp_path, "cpu-thermal", "48312")
    document = record(tmp_path)
    temp = entry(document, "/sys/class/thermal/thermal_zone0/temp")
    assert temp["contents"] == [{"text": "48312\n"}]
    assert temp["turns"] == [[0, 0], [1, 0]]
    assert len(temp["took_us"]) == 2 and all(took > 0 for took in temp["took_us"])
    assert document["readings"]["temperature.cpu-thermal"] == pytest.approx(48.312)
    assert not any(str(tmp_path) in json.dumps(document[key]) for key in ("files", "folders", "sensors", "links"))


def test_a_value_that_moves_has_each_of_its_contents(tmp_path):
    temp = zone(tmp_path, "cpu-thermal", "48312")
    recorder = Recorder(str(tmp_path), passes=3, pause_s=0.0)
    read, values = recorder._read, iter(["50000\n", "48312\n", "51000\n"])

    def moving(number, path, written):
        if path.endswith("/temp"):
            temp.write_text(next(values))
        read(number, path, written)

    recorder._read = moving  # type: ignore[method-assign]
    moved = entry(recorder.record(), "/sys/class/thermal/thermal_zone0/temp")
    assert moved["contents"] == [{"text": "50000\n"}, {"text": "48312\n"}, {"text": "51000\n"}]
    assert moved["turns"] == [[0, 0], [1, 1], [2, 2]]


def test_errors_are_recorded_by_their_name(tmp_path):
    temp = zone(tmp_path, "cpu-thermal", "1")
    temp.unlink()
    temp.symlink_to("/proc/self/mem")  # reading it is an input/output error
    document = record(tmp_path)
    assert any(content == {"error": "EIO"} for file in document["files"] for content in file["contents"])
    assert "input/output" in document["readings"]["temperature.cpu-thermal"]["reason"]


def test_links_are_followed_and_kept_with_their_targets(tmp_path):
    real = "/sys/devices/platform/thermal/thermal_zone0"
    make_tree(tmp_path, {f"{real}/type": "soc", f"{real}/temp": "40000"})
    (tmp_path / "sys/class/thermal").mkdir(parents=True)
    (tmp_path / "sys/class/thermal/thermal_zone0").symlink_to("../../devices/platform/thermal/thermal_zone0")
    document = record(tmp_path)
    assert entry(document, f"{real}/temp")["contents"] == [{"text": "40000\n"}]
    links = {"/sys/class/thermal/thermal_zone0": "../../devices/platform/thermal/thermal_zone0"}
    assert document["links"] == links
    (folder,) = [folder for folder in document["folders"] if folder["path"] == "/sys/class/thermal"]
    assert folder["entries"] == {"thermal_zone0": "link to folder"}


def test_a_program_is_run_in_each_pass_with_its_exit_code_and_both_its_outputs(tmp_path):
    script = tmp_path / "usr/bin/getprop"
    script.parent.mkdir(parents=True)
    script.write_text("#!/bin/sh\necho Virtual Phone\necho warned >&2\n")
    script.chmod(0o755)
    document = record(tmp_path)
    program = next(one for one in document["programs"] if one["arguments"] == ["ro.product.model"])
    assert (program["name"], program["path"]) == ("getprop", "/usr/bin/getprop")
    assert len(program["runs"]) == 2
    run = program["runs"][0]
    assert (run["exit"], run["stdout"], run["stderr"], run["late"]) == (0, "Virtual Phone\n", "warned\n", False)
    assert run["took_s"] > 0
    assert document["looked_for"]["vcgencmd"] is None
    assert document["looked_for"]["getprop"] == "/usr/bin/getprop"


def test_serials_in_the_files_do_not_leave_the_board(tmp_path):
    make_tree(tmp_path, {"/proc/cpuinfo": "Hardware\t: BCM2835\nSerial\t\t: 10000000abcdef01\n"})
    text = json.dumps(record(tmp_path))
    assert "10000000abcdef01" not in text
    assert "BCM2835" in text
    assert json.loads(text)["redacted"] == {"serial": 1}


def test_nothing_but_what_the_readers_look_at_is_recorded(tmp_path):
    make_tree(tmp_path, {**read_tsv("constructed_pi5.tsv"), "/home/ann/diary": "dear diary", "/etc/shadow": "x"})
    paths = {file["path"] for file in record(tmp_path)["files"]}
    assert paths
    assert "/home/ann/diary" not in paths and "/etc/shadow" not in paths


def test_a_large_board_is_cut_at_the_limit_and_says_so(tmp_path, monkeypatch):
    zone(tmp_path, "cpu-thermal", "48312")
    monkeypatch.setattr("device_agents.recording.LIMIT_TOTAL_BYTES", 10)
    document = record(tmp_path)
    assert LIMIT_TOTAL_BYTES > 10
    assert any("the recording is full" in note for note in document["notes"])
    assert (
        sum(len(content["text"]) for file in document["files"] for content in file["contents"] if "text" in content)
        <= 10
    )


def test_the_time_has_a_limit(tmp_path):
    zone(tmp_path, "cpu-thermal", "48312")
    recorder = Recorder(str(tmp_path), passes=1000, pause_s=0.05)
    document = recorder.record(limit_s=0.2)
    assert any("the time was over" in note for note in document["notes"])
    assert 0 < len(document["times_s"]) < 1000


def test_this_machine_is_recorded_by_the_verb():
    done = subprocess.run(
        [sys.executable, "-m", "device_agents", "record"],
        cwd=PACKAGE.parent, env={**os.environ, "USER": "annlee"}, capture_output=True, timeout=60, check=True,
    )  # fmt: skip
    document = json.loads(done.stdout)
    assert document["type"] == "recording"
    assert {file["path"] for file in document["files"]} >= {"/proc/cpuinfo", "/proc/meminfo"}
    assert "python" not in document["facts"]


def test_readers_reach_files_and_programs_only_where_a_recording_hears_of_it():
    """Else a new reader would be missing from recordings without anybody noticing."""
    doors = {"files.py", "programs.py", "lines.py"}
    direct = {"open", "listdir", "scandir", "read_text", "read_bytes", "glob", "iglob", "run", "Popen", "check_output"}
    found = []
    for path in [*PACKAGE.glob("sensors/*.py"), PACKAGE / "facts/board.py", PACKAGE / "facts/cpu.py"]:
        if path.name in doors:
            continue
        tree = ast.parse(path.read_text(encoding="utf-8"))
        asks_again = [n for n in ast.walk(tree) if isinstance(n, ast.FunctionDef) and n.name == "why_unreadable"]
        known = {id(inner) for function in asks_again for inner in ast.walk(function)}  # of a file that was read before
        for node in ast.walk(tree):
            if not isinstance(node, ast.Call) or id(node) in known:
                continue
            function = node.func
            owner = getattr(getattr(function, "value", None), "id", "")
            name = getattr(function, "attr", getattr(function, "id", ""))
            if (name in direct and owner in ("os", "subprocess", "glob", "io")) or (name == "open" and not owner):
                found.append(f"{path.name}:{node.lineno}: {owner}.{name}")
    assert found == []
