"""`edgewise bench --scenario` and `--together` as a user runs them, on this machine."""

from __future__ import annotations

import shutil

import pytest

from mobile import example
from mobile.cli.main import run as run_command
from tests.support import cli

NULL = ("bench", "--runner", "null", "--warmup-duration", "0.05")


def edgewise(*arguments, cwd):
    """The finished command, with a store that the tests of this module share."""
    return cli.edgewise(*arguments, cwd=cwd, EDGEWISE_STORE=str(cwd / "runs.sqlite"))


def edgewise_json(*arguments, cwd):
    """The JSON of a command that must succeed, with that store."""
    return cli.edgewise_json(*arguments, cwd=cwd, EDGEWISE_STORE=str(cwd / "runs.sqlite"))


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    made = tmp_path_factory.mktemp("scenarios")
    for name in ("a.onnx", "b.onnx"):
        shutil.copy(example.model_path(), made / name)
    return made


@pytest.fixture(scope="module")
def server(folder):
    asked = (
        "--scenario",
        "server",
        "--qps",
        "900",
        "--latency-bound",
        "50ms",
        "--duration",
        "0.5",
        "--min-count",
        "459",
    )
    (run,) = edgewise_json(*NULL, *asked, cwd=folder)["runs"]
    return run


def test_a_server_is_asked_at_random_moments_and_judged_by_its_bound(server):
    told = server["scenario"]
    assert server["spec"]["scenario"] == {"name": "server", "seed": 0, "qps": 900.0, "latency_bound_s": 0.05}
    assert told["queries"] == server["invocations"] >= 459
    assert told["latency_s"]["min"] >= server["latency_s"]["min"]  # from when it was due, which is before its start
    assert told["server"]["holds"] == (told["server"]["over"] <= told["server"]["allowed"])
    late = [reason for reason in server["reasons"] if "p99" in reason]
    assert bool(late) != told["server"]["holds"]
    assert 0 < server["harness"]["spin_s"] < 1.5
    assert server["throughput_per_s"] == pytest.approx(900, rel=0.3)


def test_its_figures_come_from_the_stored_schedule(folder, server):
    assert edgewise_json("report", server["id"], cwd=folder)["runs"][0]["scenario"] == server["scenario"]


def test_its_summary_in_loadgens_layout(folder, server):
    done = edgewise("report", server["id"], "--mlperf", cwd=folder)
    assert done.returncode == 0, done.stderr
    assert "Scenario : Server" in done.stdout
    assert f"Result is : {server['verdict'].upper()}" in done.stdout
    assert "not an MLPerf submission" in done.stdout


def test_a_server_is_not_compared_with_frames_silently(folder, server, frames):
    done = edgewise("compare", server["id"], frames["id"], "--include-invalid", cwd=folder)
    assert done.returncode == 2
    assert "scenario: server" in done.stderr


@pytest.fixture(scope="module")
def frames(folder):
    asked = ("--scenario", "rate", "--rate", "200", "--duration", "0.5", "--min-count", "20")
    (run,) = edgewise_json(*NULL, *asked, cwd=folder)["runs"]
    return run


def test_frames_at_a_rate(frames):
    told = frames["scenario"]["rate"]
    assert told["frames"] == told["answered"] + told["skipped"] >= 100
    assert told["missed"] == told["late_frames"] + told["skipped"]
    assert (told["deadline_s"], told["late"]) == (0.005, "newest")


def test_models_beside_each_other_start_together_and_say_so(folder):
    asked = ("--duration", "0.6", "--min-count", "5", "--warmup-duration", "0.05")
    document = edgewise_json("bench", "a.onnx", "b.onnx", "--together", *asked, cwd=folder)
    assert document["failures"] == []
    a, b = document["runs"]
    assert [run["model"]["name"] for run in (a, b)] == ["a.onnx", "b.onnx"]
    assert a["beside"] == [f"b.onnx {b['model']['sha256'][:8]}"]
    assert b["beside"] == [f"a.onnx {a['model']['sha256'][:8]}"]
    assert not [reason for run in (a, b) for reason in run["reasons"] if "beside" in reason]


def test_the_course_of_a_long_run_whose_preset_was_cut_short(folder):
    asked = ("--scenario", "sustained", "--preset", "full", "--duration", "0.6", "--warmup-duration", "0.05")
    (run,) = edgewise_json("bench", "a.onnx", *asked, cwd=folder)["runs"]
    spec = run["spec"]
    assert (spec["min_duration_s"], spec["min_count"], spec["max_duration_s"]) == (0.6, 1, 1860.0)
    done = edgewise("report", run["id"], "--minutes", cwd=folder)
    assert done.returncode == 0, done.stderr
    assert done.stdout.startswith(f"{run['id']}: last 0.06")
    assert len(done.stdout.splitlines()) >= 12


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["--qps", "5"], "--qps goes with --scenario"),
        (["--scenario", "server", "--qps", "5"], "needs --latency-bound"),
        (["--scenario", "server", "--latency-bound", "1s"], "needs --qps"),
        (["--scenario", "rate"], "needs --rate"),
        (["--scenario", "offline", "--rate", "5"], "--rate goes with --scenario rate"),
        (["--scenario", "server", "--qps", "0", "--latency-bound", "1s"], "--qps is 0"),
        (["--scenario", "multi-stream", "--samples-per-query", "3", "--batch", "2"], "no multiple of --batch 2"),
        (["--scenario", "rate", "--rate", "5", "--find-qps"], "--find-qps goes with --scenario server"),
        (["--together"], "--together needs two models"),
        (["--together", "--compare"], "exclude each other"),
    ],
)
def test_what_does_not_go_together(arguments, words, capsys, tmp_path, monkeypatch):
    monkeypatch.setenv("EDGEWISE_STORE", str(tmp_path / "runs.sqlite"))
    assert run_command(["bench", "--runner", "null", *arguments]) == 2
    assert words in capsys.readouterr().err
