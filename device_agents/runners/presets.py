"""Native benchmark programs that edgewise knows: how they are asked, and how their text is read.

A program that times itself gives a summary and no single times: what it does not print is null, with the reason in
``missing``. Parsers are pure functions of the printed text, tested on recorded output (tests/data/commands).

A summary: count, latency_s {min, mean, p50, p90, p99, max, std}, percentiles_s {"5": ...} or null, throughput_per_s or
null (invocations a second as the program says), cold_start_s {load, first}, memory_bytes {init, overall, peak} or null
(as the program sees itself), node_share {delegate: share of the model's nodes, CPU: the rest} or null, stages_s
{name: the same as latency_s}, missing {key: reason}.
"""

import math
import os
import re
from typing import Any, Callable, Dict, List, NamedTuple, Optional, Sequence, Tuple

from device_agents.failures import AgentFailure
from device_agents.runners.delegates import node_share
from device_agents.runners.launch import last_line
from device_agents.spec import AgentSpec

S_PER_US, S_PER_MS = 1e-6, 1e-3
BYTES_PER_MB = 1024 * 1024  # TensorFlow's memory reports divide by 1024 twice (lite/profiling/memory_info.h)

LATENCY_KEYS = ("min", "mean", "p50", "p90", "p99", "max", "std")
NO_SAMPLES = "the program prints no single times"

_DIGITS = r"[0-9]{1,18}(?:\.[0-9]{1,18})?(?:e[+-]?[0-9]{1,2})?"  # always a finite float
_NUMBER = "(" + _DIGITS + ")"


class Preset(NamedTuple):
    """A known program: where it is looked for, the options made of a spec, its parser, and which options it takes."""

    programs: Tuple[str, ...]
    options: Callable[[AgentSpec], List[Tuple[str, str]]]
    parse: Callable[[str], Dict[str, Any]]
    takes: Tuple[str, ...]  # of "threads", "provider": what ``options`` passes on


def complete(argv: Sequence[str], options: Sequence[Tuple[str, str]]) -> List[str]:
    """``argv`` with every option that it does not name itself, as "--name=value".

    >>> complete(["trtexec", "--duration=9"], [("duration", "3"), ("iterations", "50")])
    ['trtexec', '--duration=9', '--iterations=50']
    """
    named = {word.split("=", 1)[0] for word in argv[1:]}
    return list(argv) + ["--{}={}".format(*option) for option in options if "--" + option[0] not in named]


# LiteRT and TFLite benchmark_model ------------------------------------------------------------------------------------

_DELEGATE_OPTIONS = {
    "xnnpack": "use_xnnpack",
    "gpu": "use_gpu",
    "nnapi": "use_nnapi",
    "hexagon": "use_hexagon",
    "coreml": "use_coreml",
}

# tensorflow/core/util/stats_calculator.h, Stat::OutputToStream: "(all same)" stands for first, min, max and avg.
_STAT = re.compile(
    r"(?:^|\s)count=(?P<count>[0-9]{{1,18}})(?: first=(?P<first>{0}))? curr=(?P<curr>{0})(?:\(all same\))?"
    r"(?: min=(?P<min>{0}) max=(?P<max>{0}) avg=(?P<avg>{0}) std=(?P<std>{0}|-?nan))?"
    r"(?: p5=(?P<p5>{0}) median=(?P<p50>{0}) p95=(?P<p95>{0}))?".format(_DIGITS),
    re.ASCII,
)
_TIMINGS = re.compile(
    r"Inference timings in us: Init: {0}, First inference: {0}, Warmup \(avg\): {0}, Inference \(avg\): {0}".format(
        _NUMBER
    )
)
_OLD_TIMINGS = re.compile(
    r"Average inference timings in us: Warmup: {0}, Init: {0}, (?:no stats|Inference): {0}".format(_NUMBER)
)
_SESSION = re.compile(r"Initialized session in {}ms".format(_NUMBER))
_MEMORY = re.compile(r"emory footprint[^\n]*\(MB\): init={0} overall={0}".format(_NUMBER))
_LITERT_MEMORY = re.compile(r"Init footprint:\s+{0} MB[\s\S]*?Overall footprint:\s+{0} MB".format(_NUMBER))
_PEAK_MEMORY = re.compile(r"Overall peak memory footprint \(MB\) via periodic monitoring: {}".format(_NUMBER))


def benchmark_model_options(spec: AgentSpec) -> List[Tuple[str, str]]:
    """The options of benchmark_model that ask for what the spec says."""
    options = [("graph", spec.model_path or "")]
    if spec.threads is not None:
        options.append(("num_threads", str(spec.threads)))
    options += [
        ("num_runs", str(spec.min_count)),
        ("min_secs", str(spec.min_duration_s)),
        ("max_secs", str(spec.max_duration_s)),
        ("warmup_runs", str(spec.warmup_count)),
        ("warmup_min_secs", str(spec.warmup_duration_s)),
    ]
    if spec.provider is not None and spec.provider.lower() != "cpu":
        name = _DELEGATE_OPTIONS.get(spec.provider.lower())
        if name is None:
            raise AgentFailure(
                "unsupported-provider",
                "benchmark_model has no delegate {!r}, known are cpu, {}".format(
                    spec.provider, ", ".join(sorted(_DELEGATE_OPTIONS))
                ),
                "Other delegates are given with --external_delegate_path=FILE in the command itself.",
            )
        options.append((name, "true"))
    return options


def parse_benchmark_model(text: str) -> Dict[str, Any]:
    """The summary of benchmark_model's text, of TFLite since 2018 and of LiteRT. AgentFailure "unparsed-output"."""
    warmup, measured = _stats(text)
    timings, old = _last(_TIMINGS, text), _last(_OLD_TIMINGS, text)
    if measured is None:
        raise _unparsed("benchmark_model", text)
    missing = {}
    latency: Dict[str, Optional[float]] = dict.fromkeys(LATENCY_KEYS)
    for key, group in (("min", "min"), ("mean", "avg"), ("p50", "p50"), ("max", "max"), ("std", "std")):
        latency[key] = _seconds(measured, group)
    missing["latency_s"] = "{}; it gives neither p90 nor p99".format(NO_SAMPLES)
    percentiles = {key[1:]: _seconds(measured, key) for key in ("p5", "p50", "p95") if measured[key] is not None}
    if not percentiles:
        missing["percentiles_s"] = NO_SAMPLES
    load_s, first_s = _cold_start(text, timings, old, warmup)
    for key, value in (("load", load_s), ("first", first_s)):
        if value is None:
            missing["cold_start_s." + key] = "the program does not print it"
    shares, why_none = node_share(text)
    if why_none:
        missing["node_share"] = why_none
    memory = _memory(text)
    if memory is None:
        missing["memory_bytes"] = "the program does not print it"
    missing["throughput_per_s"] = "the program does not print it"
    return {
        "count": int(measured["count"]),
        "latency_s": latency,
        "percentiles_s": percentiles or None,
        "throughput_per_s": None,
        "cold_start_s": {"load": load_s, "first": first_s},
        "memory_bytes": memory,
        "node_share": shares,
        "stages_s": {},
        "missing": missing,
    }


def _stats(text: str) -> Tuple[Optional[Dict[str, Any]], Optional[Dict[str, Any]]]:
    """The statistics of the warm-up and of the measured runs, as printed (microseconds).

    Operator profiling prints lines of the same form afterwards, led by a title; only the program of 2018 has no other.
    """
    plain: List[Dict[str, Any]] = []
    titled: List[Dict[str, Any]] = []
    for line in text.splitlines():
        match = _STAT.search(line)
        if match is None or "Memory (bytes)" in line:
            continue
        (titled if "Timings (microseconds)" in line else plain).append(_filled(match))
    if plain:
        return (plain[-2] if len(plain) > 1 else None), plain[-1]
    return None, (titled[-1] if titled else None)


def _filled(match: "re.Match[str]") -> Dict[str, Any]:
    # One run, or all alike: the program prints the value once.
    stat = match.groupdict()
    if stat["avg"] is None:
        stat.update(dict.fromkeys(("first", "min", "max", "avg"), stat["curr"]), std="0")
    return stat


def _cold_start(
    text: str, timings: Optional[Tuple[str, ...]], old: Optional[Tuple[str, ...]], warmup: Optional[Dict[str, Any]]
) -> Tuple[Optional[float], Optional[float]]:
    if timings is not None:
        return float(timings[0]) * S_PER_US, float(timings[1]) * S_PER_US
    first_s = _seconds(warmup, "first") if warmup is not None else None
    if old is not None:
        return float(old[1]) * S_PER_US, first_s
    session = _last(_SESSION, text)
    return (float(session[0]) * S_PER_MS if session else None), first_s


def _memory(text: str) -> Optional[Dict[str, Optional[int]]]:
    footprint, peak = _last(_MEMORY, text) or _last(_LITERT_MEMORY, text), _last(_PEAK_MEMORY, text)
    if footprint is None and peak is None:
        return None
    values: List[Optional[float]] = [float(word) for word in footprint] if footprint else [None, None]
    values.append(float(peak[0]) if peak else None)
    names = ("init", "overall", "peak")
    return {name: None if value is None else round(value * BYTES_PER_MB) for name, value in zip(names, values)}


def _seconds(stat: Dict[str, Any], key: str) -> Optional[float]:
    return None if stat[key] is None or stat[key].endswith("nan") else float(stat[key]) * S_PER_US


# TensorRT trtexec -----------------------------------------------------------------------------------------------------

_MS = _NUMBER + r" ms"
# One line per quantity since 8.0; a block of lines before. The end-to-end latency overlaps queries: no latency.
_LINE = re.compile(
    r"(?:^|\]\s+)(?P<title>Latency|Enqueue Time|H2D Latency|GPU Compute Time|D2H Latency): (?P<rest>min = .*)$",
    re.MULTILINE,
)
_BLOCK = re.compile(
    r"\[I\] (?P<title>Host Latency|GPU Compute|Enqueue Time)[ \t\r]*\n"
    r"(?P<rest>(?:.*\[I\] (?:min|max|mean|median|percentile): .*\n?)+)"
)
_FIELD = re.compile(r"(min|max|mean|median)(?: =|:)? {}".format(_MS))
_PERCENTILE = re.compile(r"percentile\(([0-9.]+)%\)(?: =)? {0}|percentile: {0} at ([0-9.]+)%".format(_MS))
_QPS = re.compile(r"[Tt]hroughput: {} qps".format(_NUMBER))
_TOTAL_GPU = re.compile(r"(?:Total GPU Compute Time|total compute time): {} s".format(_NUMBER))

_TITLES = {
    "Latency": "latency",
    "Host Latency": "latency",
    "GPU Compute Time": "gpu_compute",
    "GPU Compute": "gpu_compute",
    "Enqueue Time": "enqueue",
    "H2D Latency": "host_to_device",
    "D2H Latency": "device_to_host",
}


def trtexec_options(spec: AgentSpec) -> List[Tuple[str, str]]:
    """The options of trtexec that ask for what the spec says; it has no longest duration."""
    model = spec.model_path or ""
    kind = "onnx" if os.path.splitext(model)[1].lower() == ".onnx" else "loadEngine"
    return [
        (kind, model),
        ("iterations", str(spec.min_count)),
        ("duration", str(math.ceil(spec.min_duration_s))),
        ("warmUp", str(round(spec.warmup_duration_s * 1000))),
    ]


def parse_trtexec(text: str) -> Dict[str, Any]:
    """The summary of trtexec's text, of TensorRT 7 to 10. AgentFailure "unparsed-output".

    latency_s is the host latency: copy in, compute, copy out. count is not printed; it is the total GPU time divided
    by its mean.
    """
    found = {_TITLES[match.group("title")]: _times(match.group("rest")) for match in _BLOCK.finditer(text)}
    found.update({_TITLES[match.group("title")]: _times(match.group("rest")) for match in _LINE.finditer(text)})
    if found.get("latency", {}).get("mean") is None:
        raise _unparsed("trtexec", text)
    missing = {"cold_start_s.load": "the program does not print it", "cold_start_s.first": NO_SAMPLES}
    missing["memory_bytes"] = "the program does not print its own"
    missing["node_share"] = "the whole model runs in one engine on the GPU or DLA"
    missing["latency_s"] = "{}; it gives no standard deviation".format(NO_SAMPLES)
    qps, total = _last(_QPS, text), _last(_TOTAL_GPU, text)
    throughput = float(qps[0]) if qps and float(qps[0]) > 0 else None  # version 7 prints 0 for implicit batches
    if throughput is None:
        missing["throughput_per_s"] = "the program prints none"
    mean = found.get("gpu_compute", {}).get("mean")
    count = round(float(total[0]) / mean) if total and mean else None
    if count is None:
        missing["count"] = "the program prints neither a count nor the total GPU time"
    latency = found.pop("latency")
    percentiles = latency.pop("percentiles")
    if not percentiles:
        missing["percentiles_s"] = "the program prints none"
    for stage in found.values():
        del stage["percentiles"]
    return {
        "count": count,
        "latency_s": latency,
        "percentiles_s": percentiles or None,
        "throughput_per_s": throughput,
        "cold_start_s": {"load": None, "first": None},
        "memory_bytes": None,
        "node_share": None,
        "stages_s": found,
        "missing": missing,
    }


def _times(text: str) -> Dict[str, Any]:
    times: Dict[str, Any] = dict.fromkeys(LATENCY_KEYS)
    for name, value in _FIELD.findall(text):
        times["p50" if name == "median" else name] = float(value) * S_PER_MS
    percentiles = {}
    for new_share, new_ms, old_ms, old_share in _PERCENTILE.findall(text):
        percentiles[new_share or old_share] = float(new_ms or old_ms) * S_PER_MS
    for share in ("90", "99"):
        times["p" + share] = percentiles.get(share)
    times["percentiles"] = percentiles
    return times


def _last(pattern: "re.Pattern[str]", text: str) -> Optional[Tuple[str, ...]]:
    """The groups of the last match: what a program prints more than once, it means at the end."""
    groups = None
    for match in pattern.finditer(text):
        groups = match.groups()
    return groups


def _unparsed(program: str, text: str) -> AgentFailure:
    said = last_line(text) or "nothing"
    return AgentFailure("unparsed-output", "{} printed no timings; it last said: {}".format(program, said))


PRESETS = {
    "benchmark_model": Preset(
        ("benchmark_model",), benchmark_model_options, parse_benchmark_model, ("threads", "provider")
    ),
    "trtexec": Preset(("trtexec", "/usr/src/tensorrt/bin/trtexec"), trtexec_options, parse_trtexec, ()),
}
