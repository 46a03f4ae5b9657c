"""What the harness adds to an invocation: `python -m benchmarks.harness_cost`.

Null runner: the agent's own loop with a runner that does nothing, against an empty Python loop of as many turns; both
in this process, in turn, best of five.

ort runner: the agent's loop on a loaded session against a bare loop over the same session with the same feeds, in
blocks A B B A, so that drift of the machine meets both alike.
"""

from __future__ import annotations

import statistics
import tempfile
import time
from itertools import repeat
from pathlib import Path
from typing import Any

from benchmarks.table import Line, show
from device_agents.inputs import bind_shapes, make_feed
from device_agents.loop import Loop, StopFlag
from device_agents.runners import make_runner
from device_agents.runners.base import Runner
from device_agents.spec import AgentSpec

NULL_TURNS = 500_000
BLOCKS = 40
BLOCK_INVOCATIONS = 150


def main() -> None:
    """Prints both comparisons."""
    show("Harness cost per invocation", [null_line(), ort_line()])


def prepared(spec: AgentSpec) -> tuple[Runner, Loop]:
    """A loaded runner and the agent's loop on it, whose records go nowhere."""
    runner = make_runner(spec.runner)
    runner.start(spec)
    runner.load(spec)
    declared = runner.inputs()
    binding = bind_shapes(declared, spec.batch, spec.dims, None)
    runner.bind(binding.shapes)
    feed = make_feed(declared, binding, spec, None)
    loop = Loop(runner, feed, lambda record: None, StopFlag())
    loop.first()
    return runner, loop


def null_line() -> Line:
    """The null runner against an empty loop."""
    _, loop = prepared(AgentSpec(runner="null"))
    ours_s, empty_s = [], []
    for _ in range(5):
        begin = time.perf_counter()
        loop.phase("measure", NULL_TURNS, 0.0, 60.0)
        ours_s.append((time.perf_counter() - begin) / NULL_TURNS)
        begin = time.perf_counter()
        for _ in repeat(None, NULL_TURNS):
            pass
        empty_s.append((time.perf_counter() - begin) / NULL_TURNS)
    added_us = 1e6 * (min(ours_s) - min(empty_s))
    return Line(
        "null runner, added to an empty loop", f"{added_us:.2f} us", f"{1e6 * min(empty_s):.3f} us", added_us / 2.0,
        "<= 2 us (ratio to it)",
    )  # fmt: skip


def ort_line() -> Line:
    """The ort runner against a bare loop over the same session."""
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "probe.onnx"
        write_probe(path)
        runner, loop = prepared(AgentSpec(runner="ort", model_path=str(path), threads=1))
    session, feeds = bare(runner)
    loop.phase("measure", BLOCK_INVOCATIONS, 0.0, 60.0)
    ours_s, bare_s, kept = [], [], [None]
    for block in range(BLOCKS):
        ours_first = block % 4 in (0, 3)
        for ours in (ours_first, not ours_first):
            begin = time.perf_counter()
            if ours:
                loop.phase("measure", BLOCK_INVOCATIONS, 0.0, 60.0)
            else:
                for _ in repeat(None, BLOCK_INVOCATIONS):
                    kept[0] = session.run(None, feeds)  # until the next ones are there, as in any program
            (ours_s if ours else bare_s).append((time.perf_counter() - begin) / BLOCK_INVOCATIONS)
    ratio = statistics.median(own / peer for own, peer in zip(ours_s, bare_s, strict=True))
    return Line(
        "ort runner, wall time per invocation", f"{1e3 * statistics.median(ours_s):.3f} ms",
        f"{1e3 * statistics.median(bare_s):.3f} ms (bare loop, same session)", ratio, "<= 1.01 at >= 1 ms",
    )  # fmt: skip


def bare(runner: Runner) -> tuple[Any, dict[str, Any]]:
    """The session and the feeds of a loaded ort runner."""
    return runner._session, runner._feed  # type: ignore[attr-defined]


def write_probe(path: Path) -> None:
    """A model of about 2 ms on one thread: six multiplications by 1024 x 1024 of 16 rows."""
    import numpy as np
    import onnx
    from onnx import TensorProto, helper, numpy_helper

    generator = np.random.default_rng(0)
    weights = [
        numpy_helper.from_array(generator.standard_normal((1024, 1024), dtype=np.float32) / 32, f"w{i}")
        for i in range(6)
    ]
    names = ["x", *(f"h{i}" for i in range(5)), "y"]
    nodes = [helper.make_node("MatMul", [names[i], f"w{i}"], [names[i + 1]]) for i in range(6)]
    value = helper.make_tensor_value_info
    graph = helper.make_graph(
        nodes,
        "probe",
        [value("x", TensorProto.FLOAT, [16, 1024])],
        [value("y", TensorProto.FLOAT, [16, 1024])],
        weights,
    )
    onnx.save(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8), path)


if __name__ == "__main__":
    main()
