"""The parsers of native benchmark programs, on output recorded by others (tests/data/commands/SOURCES.md)."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from device_agents.failures import AgentFailure
from device_agents.runners.delegates import node_share
from device_agents.runners.presets import (
    LATENCY_KEYS,
    PRESETS,
    complete,
    parse_benchmark_model,
    parse_trtexec,
)
from device_agents.spec import AgentSpec

DATA = Path(__file__).parent.parent / "data" / "commands"
MB = 1024 * 1024
KEYS = {
    "count",
    "latency_s",
    "percentiles_s",
    "throughput_per_s",
    "cold_start_s",
    "memory_bytes",
    "node_share",
    "stages_s",
    "missing",
}


def recorded(name):
    return (DATA / name).read_text(encoding="utf-8")


def check(summary):
    """What holds for every summary: the keys, and a reason for every null."""
    json.dumps(summary, allow_nan=False)
    assert set(summary) == KEYS
    assert set(summary["latency_s"]) == set(LATENCY_KEYS)
    for key in ("count", "percentiles_s", "throughput_per_s", "memory_bytes", "node_share"):
        assert summary[key] is not None or summary["missing"][key]
    for key, value in summary["cold_start_s"].items():
        assert value is not None or summary["missing"]["cold_start_s." + key]
    assert None not in summary["latency_s"].values() or summary["missing"]["latency_s"]
    return summary


@pytest.mark.parametrize(
    "name, count, us, cold_us, memory_mb, shares",
    [
        ("benchmark_model_2018_profiled_excerpt.txt", 50, (77385, 79732, None, 88213, 1929), (38467, None), None, None),
        ("benchmark_model_2020_xnnpack_raspberry_pi.txt", 50, (53077, 55043.2, None, 60727, 1562), (18777, 64791),
         (8.97656, 18.7227), None),
        ("benchmark_model_2022_riscv_profiled.txt", 50, (2727568, 2950340, None, 3189954, 109798), (17187, 3512391),
         (4.21094, 46.0859), None),
        ("benchmark_model_2022_logcat_nnapi_partial_excerpt.txt", 75, (11787, 12167.6, None, 13649, 325),
         (126059, 32942), None, None),
        ("benchmark_model_2023_nnapi_npu.txt", 520, (1171, 1885.74, None, 9925, 870), (66002, 637079),
         (7.40234, 7.83203), {"TfLiteNnapiDelegate": 1.0, "CPU": 0.0}),
        ("benchmark_model_2023_vx_delegate.txt", 876, (810, 1096.48, None, 6334, 476), (25573, 201009),
         (15.4688, 43.2852), {"Vx Delegate": 1.0, "CPU": 0.0}),
        ("benchmark_model_litert_cpu_profiled.txt", 2112, (442, 464.545, 462, 979, 13), (4478, 1033), (8.94, 11.51),
         {"TfLiteXNNPackDelegate": 1.0, "CPU": 0.0}),
    ],
)  # fmt: skip
def test_benchmark_model(name, count, us, cold_us, memory_mb, shares):
    summary = check(parse_benchmark_model(recorded(name)))
    assert summary["count"] == count
    for key, value in zip(("min", "mean", "p50", "max", "std"), us, strict=True):
        assert summary["latency_s"][key] == (None if value is None else pytest.approx(value * 1e-6))
    assert summary["latency_s"]["p90"] is None and summary["latency_s"]["p99"] is None
    assert "no single times" in summary["missing"]["latency_s"]
    for key, value in zip(("load", "first"), cold_us, strict=True):
        assert summary["cold_start_s"][key] == (None if value is None else pytest.approx(value * 1e-6))
    if memory_mb is None:
        assert summary["memory_bytes"] is None
    else:
        expected = {"init": round(memory_mb[0] * MB), "overall": round(memory_mb[1] * MB), "peak": None}
        assert summary["memory_bytes"] == expected
    assert summary["node_share"] == shares


def test_litert_prints_three_percentiles():
    summary = parse_benchmark_model(recorded("benchmark_model_litert_cpu_profiled.txt"))
    assert summary["percentiles_s"] == {
        "5": pytest.approx(460e-6),
        "50": pytest.approx(462e-6),
        "95": pytest.approx(478e-6),
    }


def test_one_run_is_its_own_minimum_and_maximum():
    # tensorflow/core/util/stats_calculator.h: one value, or several equal ones, are printed once.
    text = recorded("benchmark_model_2022_riscv_profiled.txt").split("Running benchmark for at least 50")[0]
    latency = check(parse_benchmark_model(text))["latency_s"]
    assert latency["min"] == latency["mean"] == latency["max"] == pytest.approx(3.512391)
    assert latency["std"] == 0
    latency = parse_benchmark_model("count=50 curr=7(all same)\n")["latency_s"]
    assert latency["min"] == latency["max"] == pytest.approx(7e-6)


def test_partly_delegated_model_says_why_there_is_no_share():
    summary = parse_benchmark_model(recorded("benchmark_model_2022_logcat_nnapi_partial_excerpt.txt"))
    assert "NNAPI runs a part" in summary["missing"]["node_share"]


def test_peak_memory_where_it_was_asked_for():
    # The line of tensorflow/lite/tools/benchmark/benchmark_model.cc for --report_peak_memory_footprint=true.
    line = "Overall peak memory footprint (MB) via periodic monitoring: 15.5\n"
    text = recorded("benchmark_model_2023_nnapi_npu.txt") + line
    assert parse_benchmark_model(text)["memory_bytes"]["peak"] == 15.5 * MB


@pytest.mark.parametrize(
    "text, shares",
    [
        (recorded("delegates_two_mt6899.txt"),
         {"TfLiteNnapiDelegate": 5 / 64, "TfLiteXNNPackDelegate": 59 / 64, "CPU": 0.0}),
        ("Replacing 539 out of 548 node(s) with delegate (TfLiteXNNPackDelegate) node, yielding 19 partitions for "
         "subgraph 0.", {"TfLiteXNNPackDelegate": 539 / 548, "CPU": 9 / 548}),
        ("Replacing 1 out of 3 node(s) with delegate (D) node, yielding 1 partitions for subgraph 0.\n"
         "Replacing 1 out of 1 node(s) with delegate (D) node, yielding 1 partitions for subgraph 1.",
         {"D": 0.5, "CPU": 0.5}),
        ("Replacing 31 node(s) with delegate (TfLiteNnapiDelegate) node, yielding 1 partitions.", None),
        ("Explicitly applied GPU delegate, and the model graph will be completely executed by the delegate.",
         {"GPU": 1.0, "CPU": 0.0}),
        ("Though EXTERNAL delegate is explicitly applied, the model graph will not be executed by the delegate.",
         {"EXTERNAL": 0.0, "CPU": 1.0}),
        ("Replacing 0 out of 0 node(s) with delegate (D) node, yielding 0 partitions.", {"D": 0.0, "CPU": 1.0}),
        ("", None),
    ],
)  # fmt: skip
def test_node_shares(text, shares):
    found, reason = node_share(text)
    assert found == (None if shares is None else pytest.approx(shares))
    assert (reason is None) == (shares is not None)


@pytest.mark.parametrize(
    "name, count, ms, qps, percentiles, stages",
    [
        ("trtexec_v100900.txt", 2077, (1.4209, 1.48372, 1.43823, 1.45624, 2.61597, 3.047), 691.435,
         {"90", "95", "99"}, {"enqueue", "host_to_device", "gpu_compute", "device_to_host"}),
        ("trtexec_8_end_to_end.txt", 378, (8.86523, 9.21912, 9.27188, None, 9.76582, 9.88672), 125.089, {"99"},
         {"enqueue", "host_to_device", "gpu_compute", "device_to_host"}),
        ("trtexec_7_block_excerpt.txt", 10000, (2.38086, 2.56869, 2.50391, None, 3.17871, 7.18164), 383.698, {"99"},
         {"gpu_compute"}),
    ],
)  # fmt: skip
def test_trtexec(name, count, ms, qps, percentiles, stages):
    summary = check(parse_trtexec(recorded(name)))
    for key, value in zip(("min", "mean", "p50", "p90", "p99", "max"), ms, strict=True):
        assert summary["latency_s"][key] == (None if value is None else pytest.approx(value * 1e-3))
    assert summary["latency_s"]["std"] is None
    assert summary["count"] == count
    assert summary["throughput_per_s"] == pytest.approx(qps)
    assert set(summary["percentiles_s"]) == percentiles
    assert set(summary["stages_s"]) == stages
    assert summary["stages_s"]["gpu_compute"]["mean"] < summary["latency_s"]["mean"]


def test_trtexec_count_agrees_with_throughput_times_walltime():
    summary = parse_trtexec(recorded("trtexec_v100900.txt"))
    assert summary["count"] == round(691.435 * 3.0039)


def test_no_throughput_is_null_not_zero():
    text = recorded("trtexec_7_block_excerpt.txt").replace("throughput: 383.698", "throughput: 0")
    summary = check(parse_trtexec(text))
    assert summary["throughput_per_s"] is None


@pytest.mark.parametrize("parse", [parse_benchmark_model, parse_trtexec])
@pytest.mark.parametrize("text", ["", "hello\nworld\n", recorded("trtexec_v8003_failed_excerpt.txt"), "count=0\n"])
def test_output_without_timings_is_told(parse, text):
    with pytest.raises(AgentFailure) as caught:
        parse(text)
    assert caught.value.code == "unparsed-output"


_TEXTS = [path.read_text(encoding="utf-8") for path in sorted(DATA.glob("*.txt"))]


@settings(max_examples=150, deadline=None)
@given(
    text=st.sampled_from(_TEXTS),
    start=st.integers(0, 3000),
    length=st.integers(0, 3000),
    noise=st.text(max_size=30),
    at=st.integers(0, 3000),
)
def test_cut_or_spoiled_output_is_parsed_or_told(text, start, length, noise, at):
    cut = text[start : start + length]
    spoiled = cut[:at] + noise + cut[at:]
    for parse in (parse_benchmark_model, parse_trtexec):
        try:
            check(parse(spoiled))
        except AgentFailure as error:
            assert error.code == "unparsed-output"


def test_options_ask_for_what_the_spec_says():
    spec = AgentSpec(
        runner="command",
        model_path="m.tflite",
        threads=2,
        min_count=7,
        min_duration_s=1.5,
        max_duration_s=9.0,
        warmup_count=1,
        warmup_duration_s=0.25,
        provider="gpu",
    )
    assert PRESETS["benchmark_model"].options(spec) == [
        ("graph", "m.tflite"),
        ("num_threads", "2"),
        ("num_runs", "7"),
        ("min_secs", "1.5"),
        ("max_secs", "9.0"),
        ("warmup_runs", "1"),
        ("warmup_min_secs", "0.25"),
        ("use_gpu", "true"),
    ]
    assert PRESETS["trtexec"].options(spec._replace(model_path="m.onnx")) == [
        ("onnx", "m.onnx"),
        ("iterations", "7"),
        ("duration", "2"),
        ("warmUp", "250"),
    ]
    assert PRESETS["trtexec"].options(spec._replace(model_path="m.plan"))[0] == ("loadEngine", "m.plan")
    with pytest.raises(AgentFailure, match="no delegate 'tpu'"):
        PRESETS["benchmark_model"].options(spec._replace(provider="tpu"))


def test_the_users_own_options_win():
    assert complete(["x", "--num_runs=3", "--graph", "y"], [("num_runs", "50"), ("graph", "z"), ("a", "b")]) == [
        "x",
        "--num_runs=3",
        "--graph",
        "y",
        "--a=b",
    ]
