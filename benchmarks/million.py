"""Storing and reporting a run of a million invocations: `python -m benchmarks.million`.

The peer is numpy writing and reading the same two columns as a compressed .npz, and its percentiles: the least that
keeping the raw samples can cost with that library.
"""

from __future__ import annotations

import tempfile
import time
from array import array
from pathlib import Path

from benchmarks.table import Line, show
from mobile.results import new_run_id
from mobile.results.figures import figures
from mobile.results.run import Invocations, ModelRef, Run, RunSpec
from mobile.results.store import RunStore

COUNT = 1_000_000
GOAL_S = 5.0


def million() -> Run:
    """A run with a million measured invocations of about 2 us (simulated durations: only their number matters here)."""
    import numpy as np

    durations = np.random.default_rng(0).gamma(4.0, 500.0, COUNT).astype(np.int64) + 1000
    starts = np.cumsum(durations + 300)
    model = ModelRef(name="none", sha256="", format="none", size_bytes=0)
    spec = RunSpec(device="local", model=model, agent_spec={"runner": "null", "min_count": 1, "min_duration_s": 0.0})
    run = Run(new_run_id(), "2026-01-01T00:00:00Z", "replayed", spec)
    run.phases["measure"] = Invocations(array("q", starts.tobytes()), array("q", durations.tobytes()))
    run.done = {"outcome": "completed", "invocations": COUNT}
    return run


def ours_s(run: Run, folder: Path) -> tuple[float, float]:
    """(seconds to store, seconds to read back and derive the figures)."""
    store = RunStore(folder / "runs.sqlite3")
    begin = time.perf_counter()
    store.add(run)
    stored = time.perf_counter()
    figures(store.get(run.id))
    return stored - begin, time.perf_counter() - stored


def numpy_s(run: Run, folder: Path) -> tuple[float, float]:
    """The same work with a compressed .npz."""
    import numpy as np

    measured = run.phase("measure")
    starts, durations = np.frombuffer(measured.start_ns, np.int64), np.frombuffer(measured.duration_ns, np.int64)
    begin = time.perf_counter()
    np.savez_compressed(folder / "run.npz", start=starts, duration=durations)
    stored = time.perf_counter()
    with np.load(folder / "run.npz") as arrays:
        np.percentile(arrays["duration"], [50, 90, 99])
        arrays["start"].max()
    return stored - begin, time.perf_counter() - stored


def main() -> None:
    """Prints both steps and the size."""
    run = million()
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        own, peer = ours_s(run, folder), numpy_s(run, folder)
        size = sum(path.stat().st_size for path in folder.glob("runs.sqlite3*"))
        peer_size = (folder / "run.npz").stat().st_size
    show(
        "A run of 10^6 invocations",
        [
            Line("store", f"{own[0]:.2f} s", f"{peer[0]:.2f} s (savez_compressed)", own[0] / peer[0], "seconds"),
            Line(
                "read and report", f"{own[1]:.2f} s", f"{peer[1]:.2f} s (load, percentile)", own[1] / peer[1], "seconds"
            ),
            Line("both, against the goal", f"{sum(own):.2f} s", f"{GOAL_S:g} s (limit)", sum(own) / GOAL_S, "<= 1"),
            Line("size on disk", f"{size / 1e6:.1f} MB", f"{peer_size / 1e6:.1f} MB (.npz)", size / peer_size, "shown"),
        ],
    )


if __name__ == "__main__":
    main()
