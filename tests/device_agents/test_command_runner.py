"""The command runner with real programs: what is launched, what it becomes, and every way in which it can end badly."""

from __future__ import annotations

import os
import sys
import textwrap
from pathlib import Path

import pytest

from device_agents.failures import AgentFailure
from device_agents.runners import make_runner
from device_agents.runners.command import CommandRunner, command_line
from device_agents.runners.launch import KEEP_BYTES, launch
from device_agents.runners.presets import PRESETS
from device_agents.spec import AgentSpec

DATA = Path(__file__).parent.parent / "data" / "commands"


def spec(argv, preset=None, **options):
    return AgentSpec(runner="command", command={"argv": argv, "preset": preset}, **options)


def program(path, code):
    """A small program of its own, written in Python."""
    path.write_text(f"#!{sys.executable}\n{textwrap.dedent(code)}")
    path.chmod(0o755)
    return str(path)


def run(the_spec):
    runner = CommandRunner()
    runner.start(the_spec)
    detail = runner.load(the_spec)
    runner.invoke()
    runner.close()
    return runner, detail


def failure_of(the_spec):
    with pytest.raises(AgentFailure) as caught:
        run(the_spec)
    return caught.value


def test_make_runner_knows_it():
    runner = make_runner("command")
    assert isinstance(runner, CommandRunner)
    assert not runner.summary_only


def test_each_launch_is_an_invocation(tmp_path):
    tool = program(tmp_path / "tool", "import sys; open(sys.argv[1], 'a').write(sys.argv[2] + ' ')")
    model = tmp_path / "m.tflite"
    model.write_bytes(b"12345")
    log = tmp_path / "log"
    the_spec = spec([tool, str(log), "{threads}:{batch}:{w}"], model_path=str(model), threads=2, batch=4, dims={"w": 8})
    runner, detail = run(the_spec)
    runner.invoke()
    assert log.read_text() == "2:4:8 2:4:8 "
    assert not runner.summary_only and runner.summary is None
    assert detail["model_bytes"] == 5
    assert detail["runtime"]["name"] == "tool"
    assert detail["argv"][1] == str(log)


@pytest.mark.parametrize("stream", ["stdout", "stderr"])
def test_a_preset_gives_a_summary_only(tmp_path, stream):
    model = tmp_path / "m.tflite"
    model.write_bytes(b"x")
    text = DATA / "benchmark_model_2023_nnapi_npu.txt"
    tool = program(
        tmp_path / "benchmark_model",
        """
        import sys
        print(*sys.argv[1:], file=open({!r}, "w"))
        sys.{}.write(open({!r}).read())
        """.format(str(tmp_path / "argv"), stream, str(text)),
    )
    the_spec = spec([tool], "benchmark_model", model_path=str(model), threads=2, min_count=5)
    runner, detail = run(the_spec)
    assert runner.summary_only
    assert runner.summary["count"] == 520
    assert runner.summary["node_share"] == {"TfLiteNnapiDelegate": 1.0, "CPU": 0.0}
    assert runner.summary["peak_rss_bytes"] is not None or runner.summary["missing"]["peak_rss_bytes"]
    passed = (tmp_path / "argv").read_text().split()
    assert f"--graph={model}" in passed and "--num_threads=2" in passed and "--num_runs=5" in passed
    assert detail["runtime"]["name"] == "benchmark_model"


def test_a_preset_finds_its_program_and_keeps_given_options(tmp_path, monkeypatch):
    model = tmp_path / "m.onnx"
    model.write_bytes(b"x")
    monkeypatch.setenv("PATH", str(tmp_path))
    program(tmp_path / "trtexec", "")
    argv = command_line(spec(["--fp16", "--duration=9"], "trtexec", model_path=str(model)), PRESETS["trtexec"])
    assert argv[0] == "trtexec"
    assert argv[1:3] == ["--fp16", "--duration=9"]
    assert f"--onnx={model}" in argv
    assert not any(word.startswith("--duration=3") for word in argv)


def test_what_a_program_says_in_a_preset_is_checked(tmp_path):
    tool = program(tmp_path / "trtexec", "print('nothing of use')")
    error = failure_of(spec([tool], "trtexec"))
    assert error.code == "unparsed-output" and "nothing of use" in error.message


@pytest.mark.parametrize(
    "code, expected, words",
    [
        ("import sys; sys.stderr.write('one\\nno such layer\\n\\n'); sys.exit(3)", "command-failed",
         "exit code 3; it last said: no such layer"),
        ("print('only stdout'); raise SystemExit(1)", "command-failed", "only stdout"),
        ("import os; os.kill(os.getpid(), 11)", "crashed", "SIGSEGV"),
        ("import os; os.kill(os.getpid(), 9)", "killed", "SIGKILL"),
        ("import os, sys; sys.stderr.write('std::bad_alloc'); sys.stderr.flush(); os.abort()", "out-of-memory",
         "SIGABRT"),
        ("import sys; sys.stderr.write('CUDA error: out of memory'); sys.exit(1)", "out-of-memory", "out of memory"),
    ],
)  # fmt: skip
def test_bad_ends(tmp_path, code, expected, words):
    error = failure_of(spec([program(tmp_path / "tool", code)]))
    assert error.code == expected
    assert words in error.message


def test_programs_that_cannot_be_started(tmp_path):
    assert failure_of(spec(["no-such-program-anywhere"])).code == "missing-runtime"
    assert failure_of(spec([], "benchmark_model", model_path=str(tmp_path))).code == "missing-runtime"
    plain = tmp_path / "plain"
    plain.write_text("text")
    error = failure_of(spec([str(plain)]))
    assert error.code == "command-failed" and "chmod" in error.hint
    plain.chmod(0o755)
    assert failure_of(spec([str(plain)])).code == "command-failed"  # no format the kernel knows
    foreign = tmp_path / "foreign"
    foreign.write_text("#!/no/such/interpreter\n")
    foreign.chmod(0o755)
    error = failure_of(spec([str(foreign)]))
    assert error.code == "missing-runtime" and "loader or interpreter" in error.message


@pytest.mark.parametrize(
    "the_spec, words",
    [
        (spec([]), "empty"),
        (spec(["true", 1]), "list of strings"),
        (spec("true"), "list of strings"),
        (spec(["true"], "llama-bench"), "expected one of benchmark_model, trtexec"),
        (spec(["true"], threads=2), "threads is 2, but the command would not be told"),
        (spec(["true"], batch=2), "batch is 2"),
        (spec(["true"], dims={"w": 3}), "w is 3"),
        (spec(["true"], provider="gpu"), "provider is 'gpu'"),
        (spec(["trtexec"], "trtexec", model_path="m.onnx", threads=2), "threads is 2"),
        (spec(["true", "{model}"]), "names no model"),
        (spec(["true"], task="evaluate"), "no outputs"),
        (spec(["true"], inputs={"kind": "npz", "path": "x"}), "own inputs"),
        (spec(["true", "a\0b"]), "cannot be started"),
    ],
)  # fmt: skip
def test_specs_that_a_command_cannot_honour(the_spec, words):
    error = failure_of(the_spec)
    assert error.code == "bad-spec"
    assert words in error.message


def test_a_missing_model_is_told():
    error = failure_of(spec(["true", "{model}"], model_path="/no/such/model.tflite"))
    assert error.code == "bad-model" and "/no/such/model.tflite" in error.message


def test_braces_that_are_no_placeholder_stay(tmp_path):
    assert command_line(spec(["true", "{}", "{other}", "{model}"], model_path="m"), None) == [
        "true",
        "{}",
        "{other}",
        "m",
    ]


def test_the_program_does_not_get_the_agents_python_path(tmp_path, monkeypatch):
    monkeypatch.setenv("PYTHONPATH", "/agent")
    monkeypatch.setenv("PYTHONSAFEPATH", "1")
    out = tmp_path / "out"
    code = f"""
        import os
        names = ("PYTHONPATH", "PYTHONSAFEPATH", "ORT_DISABLE_TELEMETRY", "MINE")
        open({str(out)!r}, "w").write(" ".join(str(os.environ.get(name)) for name in names))
    """
    run(spec([program(tmp_path / "tool", code)], env={"MINE": "yes"}))
    assert out.read_text() == "None None 1 yes"


def test_endless_output_is_kept_in_part():
    code = f"import sys; sys.stdout.write('first ' + 'x' * {3 * KEEP_BYTES} + ' last')"
    output = launch([sys.executable, "-c", code], dict(os.environ))
    assert output.stdout.startswith("first") and output.stdout.endswith("last")
    assert len(output.stdout) == 2 * KEEP_BYTES


def test_both_streams_full_do_not_block():
    code = "import sys\nfor _ in range(40): sys.stderr.write('e' * 9999); sys.stdout.write('o' * 9999)"
    output = launch([sys.executable, "-c", code], dict(os.environ))
    assert output.stdout == "o" * 399960 and output.stderr == "e" * 399960


def test_a_program_that_leaves_something_behind_does_not_hang():
    output = launch(["sh", "-c", "sleep 20 & echo $!"], dict(os.environ))
    os.kill(int(output.stdout), 9)
